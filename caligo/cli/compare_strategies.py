"""`caligo compare-strategies`: every strategy, and Cascade beside them, on the same two key files."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from caligo.cli._options import (
    Count,
    Rates,
    bit_order_option,
    block_length_option,
    format_option,
    json_option,
    key_bits_option,
    list_size_option,
    seed_option,
)
from caligo.cli._output import Table, emit_json, format_value, many, print_facts, progress, warn

if TYPE_CHECKING:
    from caligo.bench import ComparedStrategy, StrategyComparison


@click.command("compare-strategies")
@click.argument("alice", metavar="ALICE", type=click.Path(path_type=Path))
@click.argument("bob", metavar="BOB", type=click.Path(path_type=Path))
@click.option(
    "--strategies",
    metavar="NAME,NAME",
    default=None,
    help="What to compare; the gain refers to the first. A strategy stands for all its wishes.  [default: everything]",
)
@click.option(
    "--qber",
    metavar="Q",
    type=Rates(),
    help="Error rate that all of them assume, as 0.02; or two, where Bob has 0 and where he has 1, as 0.049,0.024.  "
    "[default: estimated from sampled positions]",
)
@click.option(
    "--asymmetric",
    type=click.Choice(["auto", "off"]),
    default="auto",
    show_default=True,
    help="Two error rates, by Bob's bit, where the sample tells them apart; then only leakage both ways counts.",
)
@block_length_option()
@list_size_option(default=32)
@click.option(
    "--target-fer",
    metavar="P",
    type=float,
    help="Share of the blocks that may fail where nothing can be asked for.  [default: 0.01]",
)
@click.option(
    "--blocks",
    metavar="B",
    type=Count(minimum=1),
    help="Blocks to compare on, from the beginning of the keys.  [default: all whole ones, 2^24 bits at most]",
)
@click.option(
    "--round-trip-ms",
    metavar="MS",
    type=float,
    default=10.0,
    show_default=True,
    help="From Alice to Bob and back, in milliseconds.",
)
@seed_option(default=1, help="Seed of the sampled positions and of Cascade's shuffles.")
@format_option("--format", "format")
@bit_order_option
@key_bits_option
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw efficiency against rounds, as .svg, .png or .pdf.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print one line for each strategy, comma-separated.")
@json_option
def command(
    alice: Path,
    bob: Path,
    strategies: str | None,
    qber: float | tuple[float, float] | None,
    asymmetric: str,
    block_length: int | None,
    list_size: int,
    target_fer: float | None,
    blocks: int | None,
    round_trip_ms: float,
    seed: int,
    format: str | None,
    bit_order: Literal["little", "big"],
    key_bits: int | None,
    plot: Path | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Reconcile the same blocks of ALICE and BOB by every strategy and by Cascade, and compare what it costs.

    Nothing is written, sent or recorded; both keys are read. Cascade is a yardstick: its bits and messages are counted
    as two parties would exchange them, its times are those of a reference in NumPy.
    """
    from caligo.bench import compare_strategies, plot_comparison, require_plot

    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other.")
    if plot is not None:
        require_plot(plot)
    with progress() as listener:
        comparison = compare_strategies(
            alice,
            bob,
            qber=qber,
            asymmetric=asymmetric,
            block_length=block_length,
            list_size=list_size,
            target_fer=target_fer,
            blocks=blocks,
            strategies=None if strategies is None else [name.strip() for name in strategies.split(",")],
            round_trip_ms=round_trip_ms,
            seed=seed,
            key_bits=key_bits,
            format=format,
            bit_order=bit_order,
            progress=listener,
        )
    for warning in comparison.warnings:
        warn(warning)
    if plot is not None:
        plot_comparison(comparison, plot)
    if as_json:
        emit_json("caligo.compare-strategies/1", comparison.to_json() | {"plot": plot})
    elif as_csv:
        click.echo(_csv(comparison), nl=False)
    else:
        _print(comparison, plot)


def _csv(comparison: StrategyComparison) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    heading, lines = comparison.table()
    writer.writerow(heading)
    writer.writerows(["" if cell is None else cell for cell in line] for line in lines)
    return text.getvalue()


def _print(comparison: StrategyComparison, plot: Path | None) -> None:
    title = (
        f"{many(comparison.blocks, 'block')} of {comparison.payload_length:,} bits, {comparison.true_qber:.3%} errors"
    )
    talk = Table("what it takes", ">f", ">both ways", ">rounds", ">most", ">messages", title=title)
    for row in comparison.strategies:
        f, both = _three(row.efficiency), _three(row.efficiency_both_ways)
        talk.add(_name(row), f, both, f"{row.rounds_mean:,.1f}", row.rounds_max, f"{row.messages_mean:,.1f}")
    talk.add("best one-way code", _three(comparison.one_way_limit), "-", "0.0", "0", "2.0")
    talk.print()
    left = Table(
        "what is left", ">bits A to B", ">B to A", ">blocks", ">net key", ">gain", title="Per block, and in all"
    )
    for row in comparison.strategies:
        ends = f"{row.blocks_ok}/{row.failed_check + row.given_up}/{row.failed_verification}"
        said = (f"{row.alice_bits:,.0f}", f"{row.bob_bits:,.0f}")
        gain = "-" if row.gain is None else f"{row.gain:+.2%}"
        left.add(_name(row), *said, ends, f"{row.net_share:.2%}", gain)
    left.print()
    speed = Table(
        "how fast", ">coded Mbit/s", ">in flight", ">net Mbit/s", ">one at a time",
        title=f"One core, a round trip of {comparison.round_trip_ms:g} ms",
    )  # fmt: skip
    for row in comparison.strategies:
        rates = (_rate(row.net_mbps), _rate(row.net_mbps_alone))
        speed.add(_name(row), _rate(row.coded_mbps), row.blocks_in_flight, *rates)
    speed.print()
    known = f"{comparison.known_qber:.3%}, " + (
        f"estimated from {comparison.sampled_bits:,} sampled bits, left out here"
        if comparison.sampled_bits
        else "given"
    )
    assumed = dict.fromkeys(f"{row.assumed_qber:.3%}" for row in comparison.strategies if not row.yardstick)
    both_ways = any(row.account == "leakage_bits_both_ways" for row in comparison.strategies)
    charged = "bits both ways where two rates are assumed, Alice's otherwise" if both_ways else "Alice's bits for all"
    facts: dict[str, object] = {
        "f": f"what Alice discloses over payload · h2({comparison.true_qber:.3%}), check and tags included; then with "
        "what Bob says",
        "rounds": "how often Alice waits for an answer, and the most of a block",
        "blocks": "ok/without a candidate or given up/discarded by verification",
        "net key": f"payload of the blocks that are ok minus {charged}; gain: over the first line",
        "in flight": "blocks under way at once that keep the core busy; net key with so many, and with one",
        "error rate": known + (f"; codes designed for {', '.join(assumed)}" if assumed else ""),
        "best code": f"normal approximation, {comparison.target_fer:.3g} of the blocks failing",
        "decoder": f"list size {comparison.list_size}, {comparison.check}, engine {format_value(comparison.engine)}",
    }
    if any(row.yardstick for row in comparison.strategies):
        facts["*"] = "a yardstick: its times are those of a reference in NumPy, not of a good implementation"
    if plot is not None:
        facts["plot"] = str(plot)
    print_facts(facts)


def _name(row: ComparedStrategy) -> str:
    return f"{row.strategy} *" if row.yardstick else row.strategy


def _three(number: float | None) -> str:
    return "-" if number is None else f"{number:.3f}"


def _rate(mbps: float) -> str:
    return f"{mbps:,.0f}" if abs(mbps) >= 100 else f"{mbps:,.1f}" if abs(mbps) >= 1 else f"{mbps:.3f}"

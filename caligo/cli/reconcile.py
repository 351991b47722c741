"""`caligo reconcile`: two sifted key files made equal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from caligo.cli._options import (
    Count,
    Rates,
    asymmetric_option,
    bit_order_option,
    block_length_option,
    cap_options,
    check_option,
    engine_option,
    escalation_option,
    force_option,
    format_option,
    json_option,
    key_bits_option,
    list_size_option,
    out_option,
    precision_option,
    record_options,
    retry_options,
    seed_option,
    segment_options,
    store_option,
    strategy_options,
    threads_option,
)
from caligo.cli._output import (
    account_text,
    checks_text,
    efficiency_text,
    emit_json,
    format_bytes,
    format_seconds,
    format_value,
    many,
    outcome_text,
    print_facts,
    print_leakage,
    progress,
    talk_text,
    warn,
)
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from caligo.jobs import ReconciliationReport


@click.command("reconcile")
@click.argument("alice", metavar="ALICE", type=click.Path(path_type=Path))
@click.argument("bob", metavar="BOB", type=click.Path(path_type=Path))
@click.option(
    "--qber",
    metavar="Q",
    type=Rates(),
    help="Error rate to design the code for, as 0.02; or two, where Bob has 0 and where he has 1, as 0.049,0.024.  "
    "[default: estimated from sampled positions, then discarded]",
)
@asymmetric_option
@click.option(
    "--qber-from",
    metavar="RUN",
    help="Take the error rate from the blocks of an earlier run of this link: an id, `last`, or a directory.",
)
@click.option(
    "--sample-bits",
    metavar="BITS",
    type=Count(minimum=1),
    help="Positions to sample when --qber is not given.  [default: (key bits)^(2/3), at most 10^6]",
)
@block_length_option()
@list_size_option(default=32)
@click.option(
    "--efficiency",
    metavar="F",
    type=float,
    help="Syndrome and check bits over the Shannon limit at the design QBER, as 1.2.",
)
@click.option(
    "--target-fer",
    metavar="P",
    type=float,
    help="Disclose just enough that this share of the blocks fails.  [default: 0.01]",
)
@check_option()
@strategy_options
@segment_options
@escalation_option
@cap_options
@click.option(
    "--interleave",
    is_flag=True,
    help="Permute both keys first, publicly, to spread bursts of errors; the reconciled keys stay in that order.",
)
@precision_option()
@engine_option
@format_option("--format", "format")
@bit_order_option
@key_bits_option
@threads_option
@out_option(help="Directory for the reconciled keys, alice.bin and bob.bin.  [default: they are not written]")
@force_option
@store_option
@record_options
@seed_option(
    default=None,
    help="Derive the sampled positions and the verification key from S, to repeat a test. Not for keys in use: both "
    "must be unpredictable until the keys are fixed.  [default: drawn from the operating system]",
)
@retry_options
@click.option(
    "--follow-drift/--no-follow-drift",
    default=None,
    help="Design each stretch of the key for the error rate of the blocks before it.  "
    "[default: where the error rate is estimated]",
)
@click.option("--strict", is_flag=True, help="Exit with code 3 if any block failed.")
@json_option
def command(
    alice: Path,
    bob: Path,
    qber: float | tuple[float, float] | None,
    asymmetric: str,
    qber_from: str | None,
    sample_bits: int | None,
    block_length: int | None,
    list_size: int,
    efficiency: float | None,
    target_fer: float | None,
    check: str,
    strategy: str,
    wish: str | None,
    segment_length: int | None,
    segment_check: str | None,
    escalation: tuple[int, ...] | None,
    max_rounds: int,
    max_block_leakage: int,
    max_leakage: int,
    interleave: bool,
    precision: str,
    engine: str | None,
    format: str | None,
    bit_order: Literal["little", "big"],
    key_bits: int | None,
    threads: int,
    out: Path | None,
    force: bool,
    store: Path,
    campaign: str | None,
    compact: bool,
    seed: int | None,
    on_failure: str,
    retries: int | None,
    follow_drift: bool | None,
    strict: bool,
    as_json: bool,
) -> ExitCode:
    """Reconcile the sifted keys in the files ALICE and BOB, and account for every bit disclosed.

    Blocks that cannot be decoded, or whose verification fails, are left out of both reconciled keys; what was disclosed
    for them counts as leakage all the same. The run is recorded in the store, without a bit of either key.

    The default block length is the longest power of two of which the key holds 4, from 2^16 to 2^20.
    A key of at most 2^17 bits is one block.
    """
    from caligo.jobs import ReconcileOptions, reconcile
    from caligo.store import find_run

    options = ReconcileOptions(
        qber=qber,
        asymmetric=asymmetric,
        block_length=block_length,
        list_size=list_size,
        efficiency=efficiency,
        target_fer=target_fer,
        check=check,
        strategy=strategy,
        wish=wish,
        segment_length=segment_length,
        segment_check=segment_check,
        escalation=escalation,
        max_rounds=max_rounds,
        max_block_leakage_bits=max_block_leakage,
        max_leakage_bits=max_leakage,
        sample_bits=sample_bits,
        interleave=interleave,
        precision=precision,
        engine=engine,
        threads=threads,
        seed=seed,
        on_failure=on_failure,
        retries=retries,
        follow_drift=follow_drift,
    )
    with progress() as listener:
        report = reconcile(
            alice,
            bob,
            options=options,
            key_bits=key_bits,
            format=format,
            bit_order=bit_order,
            out=out,
            force=force,
            store=store,
            qber_from=None if qber_from is None else find_run(store, qber_from),
            campaign=campaign,
            compact=compact,
            progress=listener,
        )
    for warning in report.warnings:
        warn(warning)
    if as_json:
        emit_json("caligo.reconcile/1", report.to_json())
    else:
        print_report(report)
    return report.exit_code(strict=strict)


def print_report(report: ReconciliationReport) -> None:
    """What a reconciliation did, for people; `caligo demo` shows the same."""
    print_leakage(report.leakage, report.leakage_bits, report.leakage_bits_both_ways, report.key_bits)
    estimated = ""
    if report.estimated_qber is not None:
        estimated = (
            f", estimated {report.estimated_qber:.3%} (95 %: {report.estimated_qber_low:.3%} to "
            f"{report.estimated_qber_high:.3%}) "
            + (
                f"from {report.sampled_bits:,} sampled bits, now discarded"
                if report.sampled_bits
                else "from earlier blocks"
            )
        )
    short = f", {report.discarded_bits:,} at the end too few for a block" if report.discarded_bits else ""
    facts = {
        "outcome": outcome_text(
            report.blocks_ok,
            report.blocks,
            {
                "failed the check": report.failed_check,
                "given up": report.given_up,
                "failed the verification": report.failed_verification,
                "with undetected errors": report.undetected_errors,
                "took further attempts": report.blocks_retried,
            },
        ),
        "talk": talk_text(report.messages, report.rounds_mean, report.rounds_max),
        "key": f"{report.reconciled_bits:,} of {report.key_bits:,} bits reconciled{short}",
        "equal": report.keys_equal if report.blocks_ok else "nothing was reconciled",
        "error rate": f"{report.true_qber:.3%}{estimated}; designed for {_designed(report)}",
        "rely on": account_text(report.account, report.design_qber_pair),
        "efficiency": efficiency_text(report.efficiency, report.strategy, report.blocks_failed),
        "verification": f"wrong with probability at most {report.epsilon_correctness:.1e}" if report.blocks_ok else "-",
        "blocks": f"{report.block_length:,} bits, list size {report.list_size}, "
        f"{checks_text(report.check, report.leakage)}, engine {report.engine}",
        "whole job": f"{format_seconds(report.elapsed_s)}, {format_value(report.payload_mbps)} Mbit/s of key, "
        f"{many(report.threads, 'thread')}",
        "one core": f"{format_value(report.coded_mbps_per_core)} Mbit/s coded",
        "memory": f"{format_bytes(report.decoder_bytes)} per decoder, {format_bytes(report.peak_rss_bytes)} in all",
        "keys in": report.out or "not written (--out DIR)",
        "recorded in": report.run,
    }
    print_facts(facts)


def _designed(report: ReconciliationReport) -> str:
    """The design QBER, or the range of those that followed the blocks."""
    rates = {code.design_qber for code in report.codes} | {report.design_qber}
    return f"{min(rates):.3%} to {max(rates):.3%}" if len(rates) > 1 else f"{report.design_qber:.3%}"

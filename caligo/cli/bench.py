"""`caligo bench`: how fast this machine decodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from caligo.cli._channel import channel_options, require_channel
from caligo.cli._options import (
    Count,
    block_length_option,
    check_option,
    engine_option,
    escalation_option,
    json_option,
    list_size_option,
    precision_option,
    seed_option,
    segment_options,
    store_option,
)
from caligo.cli._output import (
    Table,
    emit_json,
    format_bytes,
    format_seconds,
    format_value,
    list_sizes,
    print_facts,
    progress,
)

if TYPE_CHECKING:
    from caligo.bench import SweepRow


@click.group("bench")
def group() -> None:
    """Measure how fast this machine decodes."""


@group.command("decoder", short_help="Time the decoder on random keys and real noise.")
@block_length_option()
@list_size_option()
@channel_options
@escalation_option
@check_option()
@segment_options
@click.option(
    "--segmented",
    is_flag=True,
    help="As the strategy segmented decodes: segments of 2^16 positions, list sizes 1 and 8 first.",
)
@precision_option(default=None)
@engine_option
@click.option("--seconds", metavar="S", type=float, default=5.0, show_default=True, help="Decoding time to spend.")
@click.option(
    "--threads", "-t", metavar="T", type=Count(minimum=1, maximum=4096), default=1, show_default=True,
    help="Decoders side by side; 1 measures one core.",
)  # fmt: skip
@click.option(
    "--batch", metavar="B", type=Count(minimum=1), help="Blocks in a call.  [default: 1 if N >= 2^18, else up to 1024]"
)
@seed_option(default=1, help="Seed of keys and noise.")
@click.option("--sweep", is_flag=True, help="Measure a table of codes, --seconds each, instead of one.")
@click.option(
    "--plot", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="With --sweep: draw it, as .svg, .png or .pdf.",
)  # fmt: skip
@store_option
@json_option
@click.pass_context
def decoder(
    context: click.Context,
    block_length: int | None,
    list_size: int | None,
    channel: str,
    qber: float | tuple[float, float] | None,
    efficiency: float | None,
    ebn0: float | None,
    info_length: int | None,
    escalation: tuple[int, ...] | None,
    check: str,
    segment_length: int | None,
    segment_check: str | None,
    segmented: bool,
    design: str | None,
    precision: Literal["int8", "f32"] | None,
    engine: str | None,
    seconds: float,
    threads: int,
    batch: int | None,
    seed: int,
    sweep: bool,
    plot: Path | None,
    store: Path,
    as_json: bool,
) -> None:
    """Time the decoder's batch call on random keys and real noise, and record it.

    Making frames and checking them is not timed; each call gets fresh ones. Smaller lists are tried first only if
    --escalation says so, while reconcile tries 8, and 1 before it up to 2^13 bits. Over the BSC give --qber with
    --efficiency or --info-length; over AWGN (BPSK) give --ebn0 and --info-length. The default precision is int8 for the
    BSC and f32 for AWGN.
    """
    from caligo.bench import bench_decoder
    from caligo.reconciliation.strategies.segmented import (
        DEFAULT_SEGMENT_CHECK,
        DEFAULT_SEGMENT_LENGTH,
        default_escalation,
    )

    if sweep:
        _sweep(context, seconds, engine, seed, plot, store, as_json)
        return
    if plot is not None:
        raise click.UsageError("--plot draws a --sweep.")
    if block_length is None or list_size is None:
        raise click.UsageError("Give --block-length and --list-size, or --sweep.")
    if segmented and segment_length is None and block_length < 2 * DEFAULT_SEGMENT_LENGTH:
        raise click.UsageError(
            f"--segmented: blocks of {block_length} are not cut, a segment has {DEFAULT_SEGMENT_LENGTH}; "
            "give --segment-length."
        )
    if segmented:
        segment_length = segment_length or DEFAULT_SEGMENT_LENGTH
        escalation = default_escalation(list_size) if escalation is None else escalation
    noise = require_channel(channel, qber, efficiency, ebn0, info_length)

    with progress("decoding", total=max(1, int(seconds * 1000)) if 0 < seconds < 1e9 else None) as bar:
        result = bench_decoder(
            noise,
            block_length,
            list_size,
            seconds=seconds,
            efficiency=efficiency,
            info_length=info_length,
            check=check,
            escalation=escalation or (),
            segment_length=segment_length,
            segment_check=segment_check or DEFAULT_SEGMENT_CHECK,
            design=design,
            precision=precision,
            engine=engine,
            threads=threads,
            batch=batch,
            seed=seed,
            store=store,
            progress=bar,
        )
    if as_json:
        emit_json("caligo.bench-decoder/1", result.to_json())
        return
    seen = f"BSC, QBER {result.qber:g}" if result.qber is not None else f"AWGN, Eb/N0 {result.ebn0_db:g} dB"
    budget = f", efficiency {result.efficiency:.4f}" if result.efficiency is not None else ""
    print_facts(
        {
            "code": f"N = {result.block_length}, K = {result.info_length} + {result.check}, {result.design} design"
            + (f", segments of {segment_length}" if segment_length else ""),
            "channel": seen + budget,
            "decoder": f"L = {list_sizes(result.escalation, result.list_size)}, {result.precision}, {result.engine}, "
            f"{result.threads} thread(s)",
            "coded": f"{format_value(result.coded_mbps)} Mbit/s ({format_value(result.coded_mbps_per_core)} per core)",
            "payload": f"{format_value(result.payload_mbps)} Mbit/s",
            "time per block": f"median {format_seconds(result.latency_s['median'])}, "
            f"mean {format_seconds(result.latency_s['mean'])}, p95 {format_seconds(result.latency_s['p95'])}",
            "blocks": f"{format_value(result.frames)} in {format_value(result.calls)} calls of {result.batch}",
            "frame error rate": f"{format_value(result.fer)} ({result.frame_errors} errors, 95 % "
            f"{format_value(result.fer_low)} to {format_value(result.fer_high)})",
            "memory": f"decoder {format_bytes(result.decoder_bytes)}, process {format_bytes(result.peak_rss_bytes)}",
            "allocations": format_value(result.allocations_per_decode) + " per decode",
            "run": result.run,
        },
        title="Decoder benchmark",
    )


_OF_A_SWEEP = {"sweep", "plot", "seconds", "engine", "seed", "store", "as_json"}


def _sweep(
    context: click.Context,
    seconds: float,
    engine: str | None,
    seed: int,
    plot: Path | None,
    store: Path,
    as_json: bool,
) -> None:
    from caligo.bench import bench_sweep, plot_sweep, require_plot
    from caligo.store.environment import machine_fingerprint

    given = click.core.ParameterSource.COMMANDLINE
    for parameter in context.command.params:
        if parameter.name not in _OF_A_SWEEP and context.get_parameter_source(parameter.name or "") == given:
            raise click.UsageError(f"{parameter.opts[0]} and --sweep exclude each other: a sweep has its own codes.")
    if plot is not None:
        require_plot(plot)
    with progress() as bar:
        rows, run = bench_sweep(seconds=seconds, engine=engine, seed=seed, store=store, progress=bar)
    machine = machine_fingerprint()
    title = f"caligo, {rows[0].engine}, {machine['cpu_model']}"
    if as_json:
        document = {"machine": machine, "rows": [row.to_json() for row in rows], "run": run, "plot": plot}
        emit_json("caligo.bench-sweep/1", document)
        if plot is not None:
            plot_sweep(rows, plot, title)
        return
    table = Table("one core", ">coded Mbit/s", ">quartiles", ">information", ">frame errors", ">memory")
    for row in rows:
        spread = f"{_rate(row.coded_mbps_q25)} – {_rate(row.coded_mbps_q75)}"
        information = "-" if row.information_mbps is None else _rate(row.information_mbps)
        table.add(row.name, _rate(row.coded_mbps), spread, information, _fer(row), format_bytes(row.decoder_bytes))
    table.print()
    print_facts({"machine": machine["cpu_model"], "engine": rows[0].engine, "run": run, "plot": plot and str(plot)})
    if plot is not None:
        plot_sweep(rows, plot, title)


def _fer(row: SweepRow) -> str:
    if row.fer is None or row.fer_low is None or row.fer_high is None:
        return "-"
    return f"{100 * row.fer:.2g} % ({100 * row.fer_low:.1g} – {100 * row.fer_high:.2g})"


def _rate(mbps: float) -> str:
    return f"{mbps:,.1f}" if mbps < 1000 else f"{mbps:,.0f}"

"""`caligo bench`: how fast this machine decodes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from caligo.cli._channel import channel_options, require_channel
from caligo.cli._options import (
    Count,
    block_length_option,
    check_option,
    engine_option,
    json_option,
    list_size_option,
    precision_option,
    seed_option,
    store_option,
)
from caligo.cli._output import emit_json, format_bytes, format_seconds, format_value, print_facts, progress


@click.group("bench")
def group() -> None:
    """Measure how fast this machine decodes."""


@group.command("decoder", short_help="Time the decoder on random keys and real noise.")
@block_length_option(required=True)
@list_size_option(required=True)
@channel_options
@check_option()
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
@store_option
@json_option
def decoder(
    block_length: int,
    list_size: int,
    channel: str,
    qber: float | None,
    efficiency: float | None,
    ebn0: float | None,
    info_length: int | None,
    check: str,
    design: str | None,
    precision: Literal["int8", "f32"] | None,
    engine: str | None,
    seconds: float,
    threads: int,
    batch: int | None,
    seed: int,
    store: Path,
    as_json: bool,
) -> None:
    """Time the decoder's batch call on random keys and real noise, and record it.

    Making frames and checking them is not timed; each call gets fresh ones. Over the BSC give --qber with --efficiency
    or --info-length; over AWGN (BPSK) give --ebn0 and --info-length. The default precision is int8 for the BSC and f32
    for AWGN.
    """
    from caligo.bench import bench_decoder

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
            "code": f"N = {result.block_length}, K = {result.info_length} + {result.check}, {result.design} design",
            "channel": seen + budget,
            "decoder": f"L = {result.list_size}, {result.precision}, {result.engine}, {result.threads} thread(s)",
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

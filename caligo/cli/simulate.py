"""`caligo simulate`: frame error rates by simulation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
    record_options,
    seed_option,
    segment_options,
    store_option,
    threads_option,
)
from caligo.cli._output import emit_json, format_bytes, format_value, list_sizes, many, print_facts, progress

if TYPE_CHECKING:
    from caligo.simulation import FrameBatch


@click.command("simulate")
@channel_options
@block_length_option(required=True)
@click.option(
    "--payload-length",
    metavar="BITS",
    type=Count(minimum=1),
    help="Key bits in a block; the rest is shortened.  [default: the block length]",
)
@list_size_option(required=True)
@escalation_option
@check_option()
@segment_options
@precision_option(default=None)
@engine_option
@click.option("--frames", metavar="N", type=Count(minimum=1), default=10_000, show_default=True, help="Most frames.")
@click.option(
    "--max-frame-errors",
    metavar="E",
    type=Count(minimum=1),
    default=None,
    help="Stop at the E-th frame error, in frame order.  [default: simulate all frames]",
)
@seed_option(default=1, help="Seed of keys and noise; frame i is the same whatever the threads.")
@threads_option
@store_option
@record_options
@json_option
def command(
    channel: str,
    qber: float | tuple[float, float] | None,
    efficiency: float | None,
    ebn0: float | None,
    info_length: int | None,
    block_length: int,
    payload_length: int | None,
    list_size: int,
    escalation: tuple[int, ...] | None,
    check: str,
    segment_length: int | None,
    segment_check: str | None,
    design: str | None,
    precision: Literal["int8", "f32"] | None,
    engine: str | None,
    frames: int,
    max_frame_errors: int | None,
    seed: int,
    threads: int,
    store: Path,
    campaign: str | None,
    compact: bool,
    as_json: bool,
) -> None:
    """Measure the frame error rate of a code and decoder, and record every frame.

    Over the BSC give --qber with --efficiency or --info-length; over AWGN (BPSK) give --ebn0 and --info-length. The
    default precision is int8 for the BSC and f32 for AWGN.
    """
    from caligo.channel import mean_qber
    from caligo.jobs.simulation_run import simulation_figures
    from caligo.simulation import Simulation, design_for_channel
    from caligo.store import RunWriter

    noise = require_channel(channel, qber, efficiency, ebn0, info_length)
    code = design_for_channel(
        noise,
        block_length,
        payload_length=payload_length,
        design=design,
        efficiency=efficiency,
        info_length=info_length,
        check=check,
        segment_length=segment_length,
        segment_check=segment_check or "crc16",
    )
    with Simulation(
        code,
        noise,
        list_size=list_size,
        seed=seed,
        precision=precision,
        engine=engine,
        threads=threads,
        escalation=escalation or (),
    ) as simulation:
        configuration: dict[str, Any] = {
            "channel": channel,
            "qber": None if qber is None else mean_qber(qber),
            "qber_pair": list(qber) if isinstance(qber, tuple) else None,
            "ebn0_db": ebn0,
            "block_length": code.block_length,
            "payload_length": code.payload_length,
            "info_length": code.info_length,
            "code_rate": code.code_rate,
            "check": code.check,
            "segment_length": code.segment_length,
            "segment_check": code.segment_check,
            "design": code.design,
            "design_qber": code.design_qber,
            "design_sigma": code.design_sigma,
            "code_digest": code.digest,
            "list_size": list_size,
            "escalation": list(escalation or ()),
            "precision": simulation.precision,
            "max_frames": frames,
            "max_frame_errors": max_frame_errors,
            "seed": seed,
            "threads": threads,
        }
        with (
            RunWriter.create(
                store,
                "simulate",
                configuration,
                seeds={"simulation": seed},
                engine={"engine": simulation.engine, "precision": simulation.precision},
                identity_excludes=("threads",),
                campaign=campaign,
                compact=compact,
            ) as run,
            progress("simulating", total=frames) as bar,
        ):

            def on_batch(batch: FrameBatch) -> None:
                run.record_many(batch.records())
                bar.advance(len(batch))

            result = simulation.run(frames, max_frame_errors, on_batch=on_batch)
            figures = simulation_figures(result, code, simulation, qber)
            run.seal(figures)
    document = configuration | figures | {"run": run.path}
    if as_json:
        emit_json("caligo.simulate/1", document)
        return
    _print(document)


def _print(document: dict[str, Any]) -> None:
    noise = f"BSC, QBER {document['qber']:g}" if document["channel"] == "bsc" else f"AWGN, {document['ebn0_db']:g} dB"
    if document["efficiency"] is not None:
        noise += f", efficiency {document['efficiency']:.4f}"
    print_facts(
        {
            "code": f"N = {document['block_length']}, K = {document['info_length']} + {document['check']}, "
            f"{document['design']} design",
            "channel": noise,
            "decoder": f"L = {list_sizes(document['escalation'], document['list_size'])}, {document['precision']}, "
            f"{document['engine']}, {many(document['threads'], 'thread')}",
            "frames": document["frames"],
            "frame errors": f"{document['frame_errors']:,} ({document['detected_failures']:,} detected, "
            f"{document['undetected_errors']:,} undetected)",
            "frame error rate": f"{document['fer']:.3g} "
            f"(95 %: {document['fer_low']:.3g} to {document['fer_high']:.3g})",
            "leakage": f"{document['leakage_bits']:,} bits a block ({document['syndrome_bits']:,} syndrome, "
            f"{document['check_bits']} check, {document['segment_check_bits']} checks of segments)",
            "one core": f"{format_value(document['coded_mbps'])} Mbit/s coded, "
            f"{format_value(document['payload_mbps'])} Mbit/s payload",
            "decoder memory": format_bytes(document["decoder_bytes"]),
            "run": document["run"],
        },
        title="Simulation",
    )

"""A simulation and its run: what a recorded configuration simulates, the simulation of it, the figures of its summary.

Covers: both forms of configuration, that of `caligo simulate` and that of a job. Does not cover: simulating
(:mod:`caligo.simulation`), the records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from caligo.channel import Qbers
from caligo.codes import PolarCode
from caligo.errors import ConfigError
from caligo.jobs.job_file import SimulateTable
from caligo.simulation import Simulation, SimulationResult

__all__ = ["frame_figures", "open_simulation", "simulation_figures", "simulation_of"]


def simulation_of(configuration: Mapping[str, Any]) -> SimulateTable:
    """What a recorded configuration simulates.

    Args:
        configuration: of a `simulate` run, by the command or by a job.

    Raises:
        ConfigError: it is of no simulation.
    """
    by_command = "max_frames" in configuration
    try:
        qber: Qbers | None = configuration["qber"]
        pair = configuration["qber_pair"] if by_command else qber
        segment_check = configuration["segment_check"]
        return SimulateTable(
            channel=configuration["channel"],
            qber=(pair[0], pair[1]) if isinstance(pair, list | tuple) else qber,
            ebn0=configuration["ebn0_db" if by_command else "ebn0"],
            efficiency=None if by_command else configuration["efficiency"],
            info_length=configuration["info_length"],
            block_length=configuration["block_length"],
            payload_length=configuration["payload_length"],
            list_size=configuration["list_size"],
            escalation=tuple(configuration["escalation"]),
            check=configuration["check"],
            segment_length=configuration["segment_length"],
            segment_check="crc16" if segment_check == "none" else segment_check,
            design=configuration["design"],
            precision=configuration["precision"],
            engine=configuration.get("engine"),
            frames=configuration["max_frames" if by_command else "frames"],
            max_frame_errors=configuration["max_frame_errors"],
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ConfigError(
            f"expected the configuration of a simulation, got one without {error}; it cannot be run again"
        ) from error


def open_simulation(table: SimulateTable, code: PolarCode, *, seed: int, threads: int = 1) -> Simulation:
    """The simulation of a table; whoever takes it closes it.

    Args:
        table: what is simulated.
        code: that of the table, designed.
        seed: of keys and noise.
        threads: worker threads, >= 1.

    Raises:
        ConfigError: the table does not fit its channel, or there is no such engine.
        ResourceError: there is not enough memory for the decoders.
    """
    return Simulation(
        code,
        table.noise(),
        list_size=table.list_size,
        seed=seed,
        precision=cast(Any, table.precision),
        engine=table.engine,
        threads=threads,
        escalation=table.escalation,
    )


def frame_figures(result: SimulationResult, code: PolarCode) -> dict[str, Any]:
    """The figures of a simulation that follow from its counts.

    Args:
        result: the counts.
        code: what was simulated.
    """
    low, high = result.fer_interval()
    return {
        "frames": result.frames,
        "frame_errors": result.frame_errors,
        "detected_failures": result.detected_failures,
        "undetected_errors": result.undetected_errors,
        "fer": result.fer,
        "fer_low": low,
        "fer_high": high,
        "decode_s": result.elapsed_ns / 1e9,
        "coded_mbps": result.mbps(code.block_length),
        "payload_mbps": result.mbps(code.payload_length),
    }


def simulation_figures(
    result: SimulationResult, code: PolarCode, simulation: Simulation, qber: Qbers | None
) -> dict[str, Any]:
    """The figures of a simulation, for the summary of its run.

    Args:
        result: the counts.
        code: what was simulated.
        simulation: with the decoder that did it.
        qber: of the channel, where it is a BSC.
    """
    return {
        **frame_figures(result, code),
        "efficiency": None if qber is None else code.efficiency(qber),
        "leakage_bits": code.leakage_bits,
        "syndrome_bits": code.syndrome_bits,
        "check_bits": code.check_bits,
        "segment_check_bits": code.segment_check_bits,
        "decoder_bytes": simulation.decoder_bytes,
        "engine": simulation.engine,
    }

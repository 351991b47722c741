"""`caligo demo`: the whole way on this machine, from two sifted keys on disk to two equal keys, in one command.

Covers: the order of the steps and what is shown of them. Does not cover: any step; each is a library call that users
make themselves (`caligo.keys.simulate_pair`, `caligo.jobs.reconcile`, `caligo.keys.count_differing_bits`).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caligo.cli._options import Count, json_option, seed_option, store_option, threads_option
from caligo.cli._output import emit_json, format_seconds, many, print_facts, progress, warn
from caligo.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from caligo.jobs import ReconciliationReport
    from caligo.keys import SimulatedPair

_QBER = 0.02
_DRIFT_AMPLITUDE = 0.05
_SIFTED, _RECONCILED = "sifted", "reconciled"


@click.command("demo")
@click.option(
    "--bits", metavar="N", type=Count(minimum=4096), default=1 << 24, show_default="2^24", help="Length of the keys."
)
@click.option(
    "--dir",
    "directory",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("caligo-demo"),
    show_default=True,
    help="Where the keys are written; an earlier demo there is overwritten.",
)
@seed_option(default=1, help="Seed of the simulated keys.")
@threads_option
@store_option
@json_option
def command(bits: int, directory: Path, seed: int, threads: int, store: Path, as_json: bool) -> ExitCode:
    """Write two sifted keys whose error rate drifts around 2 %, reconcile them from disk, and show the account.

    Takes seconds. Both reconciled files are read again and compared at the end.
    """
    from caligo.jobs import reconcile
    from caligo.keys import Drift, count_differing_bits, open_pair, simulate_pair

    sifted, reconciled = _prepare(directory)
    began = time.perf_counter()
    with progress("simulating two keys", bits) as bar:
        pair = simulate_pair(
            sifted,
            key_bits=bits,
            qber=_QBER,
            seed=seed,
            drift=Drift("sine", _DRIFT_AMPLITUDE),
            progress=bar.advance,
        )
    simulation_s = time.perf_counter() - began
    with progress() as listener:
        report = reconcile(
            pair.alice, pair.bob, out=reconciled, force=True, store=store, threads=threads, progress=listener
        )
    with open_pair(reconciled / "alice.bin", reconciled / "bob.bin", key_bits=report.reconciled_bits) as outputs:
        differing_bits = count_differing_bits(outputs.alice, outputs.bob)
    equal = differing_bits == 0 and report.keys_equal
    for warning in report.warnings:
        warn(warning)
    if as_json:
        emit_json(
            "caligo.demo/1",
            {
                "directory": directory.absolute(),
                "simulation_s": simulation_s,
                "keys_equal": equal,
                "differing_bits": differing_bits,
                "reconcile": report.to_json(),
            },
        )
    else:
        _print(directory, store, pair, report, simulation_s, equal)
    return report.exit_code() if equal else ExitCode.UNDETECTED_ERROR


def _prepare(directory: Path) -> tuple[Path, Path]:
    """The two directories of the demo, in a directory that holds nothing else."""
    foreign = sorted(set(os.listdir(directory)) - {_SIFTED, _RECONCILED}) if directory.is_dir() else []
    if foreign:
        raise ConfigError(
            f"expected an empty directory or one of an earlier demo, found {foreign[0]!r} in {directory}; choose "
            "another with --dir",
            path=str(directory),
        )
    sifted, reconciled = directory / _SIFTED, directory / _RECONCILED
    sifted.mkdir(parents=True, exist_ok=True)
    return sifted, reconciled


def _print(
    directory: Path, store: Path, pair: SimulatedPair, report: ReconciliationReport, simulation_s: float, equal: bool
) -> None:
    from caligo.cli.reconcile import print_report
    from caligo.store import default_store

    sifted, reconciled = directory / _SIFTED, directory / _RECONCILED
    left = max(0, report.reconciled_bits - report.leakage_bits)
    print_facts(
        {
            "sifted": f"{sifted}/alice.bin, bob.bin: {pair.key_bits:,} bits each, made in "
            f"{format_seconds(simulation_s)}; {many(pair.differing_bits, 'bit')} different "
            f"({pair.true_qber:.3%}, drifting by {_DRIFT_AMPLITUDE:.0%} of itself)",
            "reconciled": f"{reconciled}/alice.bin, bob.bin: {report.reconciled_bits:,} bits each; read again, the two "
            + ("are equal" if equal else "DIFFER"),
            "left": f"{many(left, 'bit')}, less what an eavesdropper may know: privacy amplification is yours",
        },
        title="Two sifted keys, made equal",
    )
    click.echo()
    print_report(report)
    click.echo()
    print_facts(
        {
            "what was recorded": "caligo store show last" + ("" if store == default_store() else f" --store {store}"),
            "the same by hand": f"caligo reconcile {sifted}/alice.bin {sifted}/bob.bin",
            "fewer failures": f"caligo reconcile {sifted}/alice.bin {sifted}/bob.bin --target-fer 0.001",
            "the decoder alone": "caligo bench decoder -N 2^20 -L 32 --qber 0.02 --efficiency 1.14",
            "this machine": "caligo doctor",
        },
        title="Try next",
    )

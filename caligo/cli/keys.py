"""`caligo keys`: make simulated key files, and say what a key file holds.

Covers: options and printing. Does not cover: the work, which is `caligo.keys`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from caligo.cli import _options, _output
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from caligo.keys import BitOrder


@click.group()
def group() -> None:
    """Simulate and inspect key files."""


@group.command(short_help="Write two simulated sifted keys.")
@click.option("--bits", metavar="N", type=_options.Count(minimum=1), required=True, help="Length of the keys.")
@click.option("--qber", metavar="Q", type=float, required=True, help="Mean error rate, 0 < Q < 0.5.")
@click.option(
    "--drift",
    metavar="KIND/A",
    default=None,
    help="Let the error rate move by up to A (relative to Q): sine/A, step/A, linear/A; a bare A is a sine.",
)
@click.option(
    "--drift-period",
    metavar="BITS",
    type=_options.Count(minimum=1),
    default=1 << 23,
    show_default=True,
    help="Period of a sine or step.",
)
@_options.seed_option(default=None, required=True, help="Seed; the same seed gives the same keys.")
@_options.out_option(required=True, help="Directory that receives alice.bin and bob.bin.")
@_options.force_option
@_options.json_option
def simulate(
    bits: int,
    qber: float,
    drift: str | None,
    drift_period: int,
    seed: int,
    out: Path,
    force: bool,
    as_json: bool,
) -> ExitCode:
    """Write two simulated sifted keys, alice.bin and bob.bin (packed, little bit order, readable by you alone)."""
    from caligo.keys import Drift, simulate_pair

    moving = None if drift is None else Drift.parse(drift, period_bits=drift_period)
    with _output.progress("simulating keys", bits, not as_json, "bits") as bar:
        pair = simulate_pair(
            out, key_bits=bits, qber=qber, seed=seed, drift=moving, overwrite=force, progress=bar.advance
        )
    if as_json:
        _output.emit_json(
            "caligo.keys-simulate/1",
            {
                "alice": pair.alice.absolute(),
                "bob": pair.bob.absolute(),
                "format": "packed",
                "bit_order": "little",
                "key_bits": pair.key_bits,
                "mean_qber": qber,
                "true_qber": pair.true_qber,
                "differing_bits": pair.differing_bits,
                "drift": None
                if moving is None
                else {"kind": moving.kind, "amplitude": moving.amplitude, "period_bits": moving.period_bits},
                "seed": seed,
            },
        )
    else:
        _output.print_facts(
            {
                "alice": str(pair.alice),
                "bob": str(pair.bob),
                "key bits": pair.key_bits,
                "differing bits": pair.differing_bits,
                "true QBER": pair.true_qber,
            }
        )
    return ExitCode.COMPLETED


@group.command(short_help="Say what a key file holds, never its bits.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["packed", "npy"]),
    default=None,
    help="Format of the file.  [default: npy if it is named or begins as one, else packed]",
)
@_options.bit_order_option
@_options.key_bits_option
@_options.json_option
def info(file: Path, format_name: str | None, bit_order: BitOrder, key_bits: int | None, as_json: bool) -> ExitCode:
    """Say what a key file holds: its format, length and share of ones; never its bits."""
    from caligo.keys import inspect_key

    with _output.progress("reading the key", None, not as_json, "bits") as bar:
        found = inspect_key(file, format=format_name, bit_order=bit_order, key_bits=key_bits, progress=bar.advance)
    for warning in found.warnings:
        _output.warn(warning)
    if as_json:
        _output.emit_json(
            "caligo.keys-info/1",
            {
                "file": found.path.absolute(),
                "format": found.format,
                "bit_order": found.bit_order,
                "key_bits": found.key_bits,
                "size_bytes": found.size_bytes,
                "ones": found.ones,
                "ones_fraction": found.ones_fraction,
                "mode": f"{found.mode:04o}",
                "warnings": list(found.warnings),
            },
        )
    else:
        facts: dict[str, object] = {"file": str(found.path), "format": found.format}
        if found.bit_order is not None:
            facts["bit order"] = found.bit_order
        facts |= {
            "key bits": found.key_bits,
            "size": _output.format_bytes(found.size_bytes),
            "ones": f"{found.ones:,} ({100 * found.ones_fraction:.3f} %)",
            "mode": f"{found.mode:04o}",
        }
        _output.print_facts(facts)
    return ExitCode.COMPLETED

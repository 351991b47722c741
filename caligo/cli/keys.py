"""`caligo keys`: make simulated key files, say what a key file holds, and write it in another format.

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
    """Simulate, inspect and convert key files."""


@group.command(short_help="Write two simulated sifted keys.")
@click.option("--bits", metavar="N", type=_options.Count(minimum=1), required=True, help="Length of the keys.")
@click.option(
    "--qber",
    metavar="Q",
    type=_options.Rates(),
    required=True,
    help="Mean error rate, 0 < Q < 0.5; or two, where Bob has 0 and where he has 1, as 0.049,0.024.",
)
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
    qber: float | tuple[float, float],
    drift: str | None,
    drift_period: int,
    seed: int,
    out: Path,
    force: bool,
    as_json: bool,
) -> ExitCode:
    """Write two simulated sifted keys, alice.bin and bob.bin (packed, little bit order, readable by you alone)."""
    from caligo.channel import mean_qber
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
                "mean_qber": mean_qber(qber),
                "qber_pair": list(qber) if isinstance(qber, tuple) else None,
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
@_options.format_option()
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
                "parts": found.parts,
                "part_word": found.part_word,
                "part_numbers": found.part_numbers,
                "state": None if found.state is None else found.state.label,
                "disclosed_bits": found.disclosed_bits,
                "stated_qber": found.stated_qber,
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
        if found.part_numbers is not None:
            first, last = found.part_numbers
            facts[f"{found.part_word}s"] = f"{found.parts:,}, number {first} to {last}"
        if found.state is not None:
            facts["state"] = f"{found.state.label}, {_output.many(found.disclosed_bits or 0, 'bit')} disclosed"
        if found.stated_qber is not None:
            facts["stated QBER"] = found.stated_qber
        _output.print_facts(facts)
    return ExitCode.COMPLETED


@group.command(short_help="Write a key file in another format.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("target", metavar="TARGET", type=click.Path(path_type=Path))
@_options.format_option()
@_options.bit_order_option
@_options.key_bits_option
@_options.format_option(
    "--to", "target_format", help="Format of TARGET.  [default: npy if it is named *.npy, else packed]"
)
@click.option(
    "--to-bit-order",
    type=click.Choice(["little", "big"]),
    default="little",
    show_default=True,
    help="Which bit of a byte comes first in a packed TARGET.",
)
@click.option(
    "--number",
    metavar="NUMBER",
    type=_options.Count(maximum=2**32 - 1),
    default=None,
    help="Epoch (qcrypto) or key id (ait) of TARGET.  [default: that of FILE if it has one, else 0 or 1]",
)
@click.option(
    "--state",
    type=click.Choice(["raw", "sifted", "corrected", "uncorrected", "confirmed", "unconfirmed", "disclosed"]),
    default=None,
    help="How far the bits have come, for ait.  [default: that of FILE if it says, else sifted]",
)
@click.option(
    "--disclosed-bits",
    metavar="BITS",
    type=_options.Count(),
    default=None,
    help="Bits disclosed about the key so far, for ait.  [default: those of FILE if it says, else 0]",
)
@click.option("--force", is_flag=True, help="Replace TARGET if it exists.")
@_options.json_option
def convert(
    file: Path,
    target: Path,
    format_name: str | None,
    bit_order: BitOrder,
    key_bits: int | None,
    target_format: str | None,
    to_bit_order: BitOrder,
    number: int | None,
    state: str | None,
    disclosed_bits: int | None,
    force: bool,
    as_json: bool,
) -> ExitCode:
    """Write the key in FILE to TARGET in another format, readable by you alone.

    What is written is never a final key: no format or state that says so can be chosen.
    """
    from caligo.keys import convert_key
    from caligo.states import KeyState

    with _output.progress("converting the key", None, not as_json, "bits") as bar:
        made = convert_key(
            file,
            target,
            format=format_name,
            bit_order=bit_order,
            key_bits=key_bits,
            target_format=target_format,
            target_bit_order=to_bit_order,
            number=number,
            state=None if state is None else KeyState[state.upper()],
            disclosed_bits=disclosed_bits,
            overwrite=force,
            progress=bar.advance,
        )
    if as_json:
        _output.emit_json(
            "caligo.keys-convert/1",
            {
                "file": made.source.absolute(),
                "format": made.source_format,
                "target": made.target.absolute(),
                "target_format": made.target_format,
                "key_bits": made.key_bits,
                "state": None if made.state is None else made.state.label,
            },
        )
    else:
        facts: dict[str, object] = {
            "from": f"{made.source} ({made.source_format})",
            "to": f"{made.target} ({made.target_format})",
            "key bits": made.key_bits,
        }
        if made.state is not None:
            facts["state"] = made.state.label
        _output.print_facts(facts)
    return ExitCode.COMPLETED

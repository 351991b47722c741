"""A key file in another format.

Covers: opening, choosing what the target says of the bits, copying in windows. Does not cover: joining or cutting keys,
and any change of the bits' state: what was not amplified does not become a final key by being written differently.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from caligo.errors import ConfigError
from caligo.keys.ait import AitKeyReader
from caligo.keys.opening import create_key, open_key
from caligo.keys.parts import InParts
from caligo.keys.protocols import BitOrder
from caligo.keys.windows import copy_key
from caligo.states import EXPORTABLE, KeyState

__all__ = ["Conversion", "convert_key"]


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was written.

    Args:
        source: the file or directory that was read.
        source_format: its format.
        target: the file that was written.
        target_format: its format.
        key_bits: length of the key.
        state: how far the target says its bits have come; None where its format says nothing.
    """

    source: Path
    source_format: str
    target: Path
    target_format: str
    key_bits: int
    state: KeyState | None


def convert_key(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    format: str | None = None,
    bit_order: BitOrder = "little",
    key_bits: int | None = None,
    target_format: str | None = None,
    target_bit_order: BitOrder = "little",
    number: int | None = None,
    state: KeyState | None = None,
    disclosed_bits: int | None = None,
    error_rate: float | None = None,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Conversion:
    """Write the key of one file to another, in bounded windows. Several epochs or records become one.

    Args:
        source: as of `open_key`.
        target: the file to be.
        format: as of `open_key`.
        bit_order: as of `open_key`.
        key_bits: as of `open_key`.
        target_format: as `format` of `create_key`.
        target_bit_order: as `bit_order` of `create_key`.
        number: epoch or key id; None: the first one of the source where it has the same kind, else the default.
        state: None: that of the source, else sifted.
        disclosed_bits: None: those of the source, else 0.
        error_rate: None: that of the source, else 0.
        overwrite: replace a target that exists.
        progress: called with the bits of each window that was written.

    Returns:
        What was written.

    Raises:
        KeyFileError: as of `open_key`; the target cannot be written, or cannot hold a key of this length.
        ResourceError: the disk is full.
        ConfigError: the target exists and `overwrite` is off, an option outside its range, or a state that says more
            than caligo can know (amplified, authenticated), asked for or taken from the source.
    """
    if Path(target).exists() and not overwrite:
        raise ConfigError(
            f"expected a new file, got {target}, which exists; name another or add --force (overwrite=True)",
            path=str(target),
        )
    with open_key(source, format=format, bit_order=bit_order, key_bits=key_bits) as reader:
        if isinstance(reader, AitKeyReader):
            state = reader.state if state is None else state
            disclosed_bits = reader.disclosed_bits if disclosed_bits is None else disclosed_bits
            error_rate = reader.error_rate if error_rate is None else error_rate
        state = KeyState.SIFTED if state is None else state
        if state not in EXPORTABLE:
            raise ConfigError(
                f"{source}: expected bits that are not final, got {state.label} ones; caligo handles no final keys: "
                "keep the file as it is",
                path=str(source),
                state=state.label,
            )
        if number is None and isinstance(reader, InParts) and reader.format == target_format:
            number = int(reader.parts.numbers[0])
        with create_key(
            target,
            format=target_format,
            bit_order=target_bit_order,
            number=number,
            state=state,
            disclosed_bits=disclosed_bits or 0,
            error_rate=error_rate or 0.0,
        ) as writer:
            copy_key(reader, writer, progress=progress)
        written = writer.format
        return Conversion(
            source=reader.path,
            source_format=reader.format,
            target=writer.path,
            target_format=written,
            key_bits=reader.key_bits,
            state=state if written == "ait" else None,
        )

"""What can be said of a key file without saying its bits.

Covers: format, length, parts, state, share of ones, permissions, and what looks wrong about them. Does not cover:
whether two keys belong together (`caligo.keys.windows.count_differing_bits`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from caligo.bits import count_ones
from caligo.keys.ait import AitKeyReader
from caligo.keys.opening import open_key
from caligo.keys.parts import InParts
from caligo.keys.protocols import BitOrder
from caligo.keys.windows import WINDOW_BITS
from caligo.states import KeyState

_SUSPICIOUS_DEVIATIONS = 6.0
_RECONCILABLE = (KeyState.SIFTED, KeyState.UNCORRECTED, KeyState.UNCONFIRMED)


@dataclass(frozen=True, slots=True)
class KeyInspection:
    """What a key file holds.

    Args:
        path: the file.
        format: name of its format.
        bit_order: as it was read; None where the format has none.
        key_bits: length in bits.
        size_bytes: size of the file.
        ones: number of ones.
        mode: permission bits of the file.
        warnings: sentences about what looks wrong.
        part_word: what the format calls its parts (``epoch``, ``record``); None where it has none.
        part_numbers: number of the first and of the last part; None likewise.
        parts: how many parts the key is in.
        state: how far its bits have come; None where the format does not say.
        disclosed_bits: bits disclosed about it, as the file says; None likewise.
        stated_qber: error rate, as the file says; None likewise.
    """

    path: Path
    format: str
    bit_order: BitOrder | None
    key_bits: int
    size_bytes: int
    ones: int
    mode: int
    warnings: tuple[str, ...]
    part_word: str | None = None
    part_numbers: tuple[int, int] | None = None
    parts: int = 1
    state: KeyState | None = None
    disclosed_bits: int | None = None
    stated_qber: float | None = None

    @property
    def ones_fraction(self) -> float:
        """Ones over all bits."""
        return self.ones / self.key_bits


def inspect_key(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    bit_order: BitOrder = "little",
    key_bits: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> KeyInspection:
    """Read a key file through, in windows, and describe it.

    Args:
        path: the file.
        format: as of `open_key`.
        bit_order: as of `open_key`.
        key_bits: as of `open_key`.
        progress: called with the bits of each window that was read.

    Returns:
        The description, with warnings for permissions other than the owner's, for a share of ones that is more than
        six standard deviations from one half, and for a state in which there is nothing to reconcile.

    Raises:
        KeyFileError: as of `open_key`, or the file cannot be read.
        ConfigError: as of `open_key`.
    """
    with open_key(path, format=format, bit_order=bit_order, key_bits=key_bits) as reader:
        ones = 0
        for start in range(0, reader.key_bits, WINDOW_BITS):
            count = min(WINDOW_BITS, reader.key_bits - start)
            ones += count_ones(reader.read_bits(start, count))
            if progress is not None:
                progress(count)
        warnings = []
        if reader.mode & 0o077:
            warnings.append(
                f"{path} is open to other users (mode {reader.mode:04o}); it holds key bits: chmod 600 {path}"
            )
        deviations = abs(2 * ones - reader.key_bits) / math.sqrt(reader.key_bits)
        if deviations > _SUSPICIOUS_DEVIATIONS:
            warnings.append(
                f"{path}: {100 * ones / reader.key_bits:.3f} % ones, {deviations:.0f} standard deviations from one "
                "half; a sifted key should look uniform: check the format, the length and the detectors"
            )
        of_ait = reader if isinstance(reader, AitKeyReader) else None
        if of_ait is not None and of_ait.state not in _RECONCILABLE:
            warnings.append(f"{path} holds {of_ait.state.label} bits; only sifted keys are reconciled")
        in_parts = reader if isinstance(reader, InParts) else None
        return KeyInspection(
            path=reader.path,
            format=reader.format,
            bit_order=bit_order if reader.format == "packed" else None,
            key_bits=reader.key_bits,
            size_bytes=reader.size_bytes,
            ones=ones,
            mode=reader.mode,
            warnings=tuple(warnings),
            part_word=None if in_parts is None else in_parts.part_word,
            part_numbers=None
            if in_parts is None
            else (int(in_parts.parts.numbers[0]), int(in_parts.parts.numbers[-1])),
            parts=1 if in_parts is None else len(in_parts.parts),
            state=None if of_ait is None else of_ait.state,
            disclosed_bits=None if of_ait is None else of_ait.disclosed_bits,
            stated_qber=None if of_ait is None else of_ait.error_rate,
        )

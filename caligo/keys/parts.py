"""A key that a file or directory holds in several numbered parts: epochs, records.

Covers: which part a bit is in, and what keeps two such keys from belonging together. Does not cover: what a part looks
like (`qcrypto.py`, `ait.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from caligo.bits import BitWriter, Packed
from caligo.errors import KeyFileError
from caligo.keys.protocols import KeyReader

__all__ = ["InParts", "Parts", "require_same_parts"]


class Parts:
    """The parts of a key in order: their numbers, and where each begins.

    Memory is 16 bytes a part.

    Args:
        numbers: what the format calls each part (epoch, key id).
        bits: length of each, >= 0.
    """

    __slots__ = ("_ends", "numbers")

    def __init__(self, numbers: Sequence[int], bits: Sequence[int]) -> None:
        self.numbers: NDArray[np.int64] = np.array(numbers, dtype=np.int64)
        self._ends: NDArray[np.int64] = np.cumsum(np.array(bits, dtype=np.int64))

    def __len__(self) -> int:
        return int(self.numbers.size)

    @property
    def key_bits(self) -> int:
        """Length of the key."""
        return int(self._ends[-1]) if self._ends.size else 0

    @property
    def bits(self) -> NDArray[np.int64]:
        """Length of each part, int64 `[parts]`."""
        return np.diff(self._ends, prepend=0)

    def stretch(self, start: int, bits: int) -> Iterator[tuple[int, int, int]]:
        """Which part holds what of a stretch within the key.

        Yields:
            (index of the part, first bit within it, bits), none empty, in order.
        """
        part = int(np.searchsorted(self._ends, start, side="right"))
        while bits:
            end = int(self._ends[part])
            begin = int(self._ends[part - 1]) if part else 0
            count = min(bits, end - start)
            if count:
                yield part, start - begin, count
            start, bits, part = start + count, bits - count, part + 1

    def read(self, start: int, bits: int, read_part: Callable[[int, int, int], Packed]) -> Packed:
        """Join a stretch.

        Args:
            start: first bit.
            bits: how many, within the key.
            read_part: reads (index of the part, first bit within it, bits) as packed bits.

        Returns:
            Packed uint8 `[ceil(bits / 8)]`.
        """
        pieces = list(self.stretch(start, bits))
        if len(pieces) == 1:
            return read_part(*pieces[0])
        joined = BitWriter()
        for piece in pieces:
            joined.append(read_part(*piece), piece[2])
        return np.frombuffer(joined.getvalue(), dtype=np.uint8).copy()


@runtime_checkable
class InParts(Protocol):
    """A reader whose format numbers the parts of a key."""

    @property
    def part_word(self) -> str:
        """What the format calls a part: ``epoch``, ``record``."""
        ...

    @property
    def parts(self) -> Parts:
        """The parts."""
        ...


def require_same_parts(alice: KeyReader, bob: KeyReader) -> None:
    """Where both keys are in parts, these must have the same numbers and lengths: anything else shifts one key.

    Raises:
        KeyFileError: they differ; the message names the first place.
    """
    if not (isinstance(alice, InParts) and isinstance(bob, InParts)) or alice.part_word != bob.part_word:
        return
    word, first, second = alice.part_word, alice.parts, bob.parts
    if len(first) == len(second):
        differ = np.flatnonzero((first.numbers != second.numbers) | (first.bits != second.bits))
        if not differ.size:
            return
        at = int(differ[0])
    else:
        common = min(len(first), len(second))
        differ = np.flatnonzero(first.numbers[:common] != second.numbers[:common])
        at = int(differ[0]) if differ.size else common
    raise KeyFileError(
        f"expected the same {word}s in both keys, got {_part(first, at, word)} in {alice.path} and "
        f"{_part(second, at, word)} in {bob.path}; keep the {word}s that both sides have",
        alice=str(alice.path),
        bob=str(bob.path),
        part=at,
    )


def _part(parts: Parts, at: int, word: str) -> str:
    if at >= len(parts):
        return f"no {word} after {len(parts)}"
    return f"{word} {int(parts.numbers[at])} of {int(parts.bits[at])} bits"

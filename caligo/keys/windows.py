"""Work on keys that are longer than memory: comparing, sampling, and reading around what was sampled.

Covers: the number of differing bits, copying a key, bits at given positions, a key without given positions. Does not
cover: estimates (`caligo.reconciliation`), and the choice of positions (`caligo.randomness.sampled_positions`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caligo.bits import Packed, hamming_distance, pack, remove_positions, take_bits, unpack
from caligo.errors import ShapeError
from caligo.keys.protocols import Closing, KeyReader, KeyWriter, require_stretch

WINDOW_BITS = 1 << 24


def count_differing_bits(
    alice: KeyReader,
    bob: KeyReader,
    *,
    window_bits: int = WINDOW_BITS,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Number of positions in which two keys differ, for the report: nobody who decodes may look at it.

    Args:
        alice: one key.
        bob: the other, of the same length.
        window_bits: bits read at a time, >= 1.
        progress: called with the bits of each window that was compared.

    Returns:
        A number in [0, key_bits].

    Raises:
        ShapeError: the lengths differ.
        KeyFileError: a file cannot be read.
    """
    if alice.key_bits != bob.key_bits:
        raise ShapeError(
            f"expected two keys of one length, got {alice.key_bits} and {bob.key_bits} bits; cut both first",
            alice_bits=alice.key_bits,
            bob_bits=bob.key_bits,
        )
    differing = 0
    for start in range(0, alice.key_bits, window_bits):
        count = min(window_bits, alice.key_bits - start)
        differing += hamming_distance(alice.read_bits(start, count), bob.read_bits(start, count))
        if progress is not None:
            progress(count)
    return differing


def copy_key(
    reader: KeyReader,
    writer: KeyWriter,
    *,
    window_bits: int = WINDOW_BITS,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Append a whole key to a writer, which the caller commits: this is how one format becomes another.

    Args:
        reader: the key.
        writer: where it goes.
        window_bits: bits copied at a time, >= 1.
        progress: called with the bits of each window that was written.

    Raises:
        KeyFileError: a file cannot be read or written.
        ResourceError: the disk is full.
    """
    for start in range(0, reader.key_bits, window_bits):
        count = min(window_bits, reader.key_bits - start)
        writer.append(reader.read_bits(start, count), count)
        if progress is not None:
            progress(count)


def read_positions(reader: KeyReader, positions: NDArray[np.integer[Any]], *, window_bits: int = WINDOW_BITS) -> Packed:
    """Read single bits of a key.

    Args:
        reader: the key.
        positions: any integer dtype `[count]`, strictly ascending, each in [0, key_bits).
        window_bits: longest stretch read at a time, >= 1.

    Returns:
        Packed uint8 `[ceil(count / 8)]`; bit j is the key's bit at `positions[j]`.

    Raises:
        ShapeError: positions out of range or not strictly ascending.
        KeyFileError: the file cannot be read.
    """
    places = _require_ascending(positions, reader.key_bits)
    bits = np.empty(places.size, dtype=np.uint8)
    done = 0
    while done < places.size:
        start = int(places[done])
        end = int(np.searchsorted(places, start + window_bits))
        stretch = reader.read_bits(start, int(places[end - 1]) - start + 1)
        bits[done:end] = unpack(take_bits(stretch, places[done:end] - start), end - done)
        done = end
    return pack(bits)


class RemainingKey(Closing):
    """A key without some of its positions, itself a `KeyReader`: what is left after sampled bits were disclosed.

    Any stretch is read directly; nothing is copied in advance. Closing it closes the key.

    Args:
        reader: the whole key.
        positions: any integer dtype `[count]`, strictly ascending, each in [0, key_bits), fewer than key_bits.

    Raises:
        ShapeError: positions out of range or not strictly ascending, or nothing would remain.
    """

    def __init__(self, reader: KeyReader, positions: NDArray[np.integer[Any]]) -> None:
        self._reader = reader
        self._removed = _require_ascending(positions, reader.key_bits)
        if self._removed.size == reader.key_bits:
            raise ShapeError(
                f"expected some of {reader.key_bits} bits to remain, got all of them removed; sample fewer bits",
                key_bits=reader.key_bits,
            )
        # Entry j counts the remaining bits before the j-th removed one.
        self._remaining_before = self._removed - np.arange(self._removed.size)

    def __repr__(self) -> str:
        return f"RemainingKey({self._reader!r}, key_bits={self.key_bits})"

    @property
    def path(self) -> Path:
        """The file of the whole key."""
        return self._reader.path

    @property
    def format(self) -> str:
        """Name of the format of the whole key."""
        return self._reader.format

    @property
    def key_bits(self) -> int:
        """Bits that remain."""
        return self._reader.key_bits - self._removed.size

    def read_bits(self, start: int, bits: int) -> Packed:
        """Read a stretch of what remains; see `KeyReader.read_bits`."""
        require_stretch(start, bits, self.key_bits, self.path)
        if bits == 0:
            return np.empty(0, dtype=np.uint8)
        first, before = self._place(start)
        last, until = self._place(start + bits - 1)
        stretch = self._reader.read_bits(first, last - first + 1)
        return remove_positions(stretch, last - first + 1, self._removed[before:until] - first)

    def close(self) -> None:
        """Release the file."""
        self._reader.close()

    def _place(self, index: int) -> tuple[int, int]:
        """Position in the whole key of a remaining bit, and the number of removed bits before it."""
        before = int(np.searchsorted(self._remaining_before, index, side="right"))
        return index + before, before


def _require_ascending(positions: NDArray[np.integer[Any]], key_bits: int) -> NDArray[np.int64]:
    places = positions.astype(np.int64, copy=False)
    ascending = places.ndim == 1 and not bool(np.any(places[1:] <= places[:-1]))
    if not ascending or (places.size and not 0 <= int(places[0]) <= int(places[-1]) < key_bits):
        raise ShapeError(
            f"positions: expected strictly ascending bit numbers in [0, {key_bits}), got others; "
            "use caligo.randomness.sampled_positions with this key's length",
            key_bits=key_bits,
        )
    return places

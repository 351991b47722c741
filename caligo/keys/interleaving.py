"""A public permutation of a key, so that errors in bursts reach the decoder spread over many blocks.

A detector that is blinded for a while gives some blocks far more errors than the code was designed for. Permuted in
windows longer than the bursts and the blocks, every block has nearly the mean error rate. Both parties apply the
permutation before reconciliation; the reconciled keys may stay permuted, since they are so on both sides alike, or be
put back.

The permutation is a function of a public 64-bit seed (`specs/randomness.md`). It hides nothing and leaks nothing. It
should not be known before the keys are fixed, for whoever disturbs the channel could then aim at single blocks:
`caligo.randomness.interleaving_seed` derives one from the run's security randomness.

Covers: the permutation of a window, reading and writing permuted keys in bounded memory. Does not cover: errors that
depend on the position for longer than a window; per-bit reliabilities.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from caligo.bits import BitWriter, Packed, packed_bytes, slice_bits
from caligo.errors import ConfigError, ShapeError
from caligo.keys.protocols import Closing, KeyReader, KeyWriter, require_stretch
from caligo.randomness import Stream, simulation_bits, validate_seed

__all__ = [
    "MAX_WINDOW_BITS",
    "WINDOW_BITS",
    "InterleavedKey",
    "InterleavingWriter",
    "Permutation",
    "interleaving_bytes",
]

WINDOW_BITS = 1 << 22
"""Default length of the windows: four of the longest default blocks. The permutation takes 16 MiB."""

MAX_WINDOW_BITS = 1 << 24
"""Longest window: the index has 24 bits of the 64 that are sorted."""

_CHUNK_BITS = 1 << 16
_INDEX = np.uint64(MAX_WINDOW_BITS - 1)


class Permutation:
    """Equal windows of a key, each permuted in itself.

    A key of n bits has k = ceil(n / window_bits) windows; window i is bits floor(i·n / k) to floor((i + 1)·n / k) - 1.
    They differ in length by one bit at most, so there are at most two permutations, which are made when first needed
    and kept. Objects may be shared by threads.

    Args:
        key_bits: length of the key, >= 1.
        seed: in [0, 2^64).
        window_bits: most bits in a window, 1 to `MAX_WINDOW_BITS`.

    Raises:
        ConfigError: an argument outside its range.
    """

    def __init__(self, key_bits: int, seed: int, *, window_bits: int = WINDOW_BITS) -> None:
        if key_bits < 1:
            raise ConfigError(f"expected key_bits >= 1, got {key_bits}; give the key's length", key_bits=key_bits)
        if not 1 <= window_bits <= MAX_WINDOW_BITS:
            raise ConfigError(
                f"expected window_bits in [1, {MAX_WINDOW_BITS}], got {window_bits}; leave it out for {WINDOW_BITS}",
                window_bits=window_bits,
            )
        self.key_bits = key_bits
        self.seed = validate_seed(seed)
        self.windows = -(-key_bits // window_bits)
        self._orders: dict[tuple[int, bool], NDArray[np.uint32]] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Permutation(key_bits={self.key_bits}, windows={self.windows}, seed={self.seed})"

    def start(self, window: int) -> int:
        """First bit of a window; of the window after the last one, the length of the key."""
        return window * self.key_bits // self.windows

    def window_of(self, bit: int) -> int:
        """The window that holds a bit of the key."""
        return ((bit + 1) * self.windows - 1) // self.key_bits

    def order(self, bits: int, *, inverse: bool = False) -> NDArray[np.uint32]:
        """Where each bit of a permuted window comes from.

        Args:
            bits: length of the window, 1 to `MAX_WINDOW_BITS`.
            inverse: of the permutation that puts the window back.

        Returns:
            uint32 `[bits]`, read-only: bit j of the permuted window is bit `order[j]` of the window.
        """
        with self._lock:
            found = self._orders.get((bits, inverse))
            if found is None:
                found = window_order(self.seed, bits)
                if inverse:
                    forward, found = found, np.empty(bits, dtype=np.uint32)
                    found[forward] = np.arange(bits, dtype=np.uint32)
                found.flags.writeable = False
                self._orders[bits, inverse] = found
            return found


def interleaving_bytes(key_bits: int, window_bits: int = WINDOW_BITS) -> int:
    """Memory that two keys of one length take at most when they are permuted alike.

    The orders of windows of two lengths, the words that are sorted to find one, and a window of each key, packed.

    Args:
        key_bits: length of the keys, >= 1.
        window_bits: as of `Permutation`.
    """
    longest = min(key_bits, window_bits)
    return longest * (2 * 4 + 2 * 8) + 2 * packed_bytes(longest)


def window_order(seed: int, bits: int) -> NDArray[np.uint32]:
    """The permutation of one window, by the rule of `specs/randomness.md`.

    Args:
        seed: in [0, 2^64).
        bits: length of the window, 1 to `MAX_WINDOW_BITS`.

    Returns:
        uint32 `[bits]`: the positions 0 to bits - 1, in order of their random words.
    """
    words = simulation_bits(seed, Stream.INTERLEAVING, bits, 64 * bits).view("<u8").astype(np.uint64, copy=False)
    words &= ~_INDEX
    words |= np.arange(bits, dtype=np.uint64)
    words.sort()
    words &= _INDEX
    return words.astype(np.uint32)


class InterleavedKey(Closing):
    """A key whose windows are permuted, itself a `KeyReader`. Closing it closes the key.

    Reading a stretch reads the windows it touches; the last one stays in memory, packed.

    Args:
        reader: the key.
        seed: public; the same on both sides.
        window_bits: as of `Permutation`.
        inverse: put a permuted key back instead.
        permutation: that of another key of the same length, seed and windows, to have it once in memory.

    Raises:
        ConfigError: an argument outside its range.
    """

    def __init__(
        self,
        reader: KeyReader,
        seed: int,
        *,
        window_bits: int = WINDOW_BITS,
        inverse: bool = False,
        permutation: Permutation | None = None,
    ) -> None:
        self._reader = reader
        self._inverse = inverse
        self.permutation = permutation or Permutation(reader.key_bits, seed, window_bits=window_bits)
        self._last: tuple[int, Packed] | None = None

    def __repr__(self) -> str:
        return f"InterleavedKey({self._reader!r}, {self.permutation!r})"

    @property
    def path(self) -> Path:
        """The file of the key."""
        return self._reader.path

    @property
    def format(self) -> str:
        """Name of its format."""
        return self._reader.format

    @property
    def key_bits(self) -> int:
        """Length of the key."""
        return self._reader.key_bits

    def read_bits(self, start: int, bits: int) -> Packed:
        """Read a stretch of the permuted key; see `KeyReader.read_bits`."""
        require_stretch(start, bits, self.key_bits, self.path)
        joined = BitWriter()
        end = start + bits
        while start < end:
            window = self.permutation.window_of(start)
            first, after = self.permutation.start(window), self.permutation.start(window + 1)
            stop = min(end, after)
            order = self.permutation.order(after - first, inverse=self._inverse)[start - first : stop - first]
            joined.append(_gather(self._window(window, first, after - first), order), stop - start)
            start = stop
        return np.frombuffer(joined.getvalue(), dtype=np.uint8).copy()

    def close(self) -> None:
        """Release the key."""
        self._last = None
        self._reader.close()

    def _window(self, window: int, first: int, bits: int) -> Packed:
        """A window as it is in the key. Threads that ask at once may both read it; what they get is the same."""
        last = self._last
        if last is None or last[0] != window:
            last = (window, self._reader.read_bits(first, bits))
            self._last = last
        return last[1]


class InterleavingWriter:
    """A `KeyWriter` that permutes what it is given, window by window, before another writer gets it.

    It has to know the length beforehand, since the windows follow from it.

    Args:
        writer: where the permuted key goes.
        key_bits: length of the whole key.
        seed: public; the same on both sides.
        window_bits: as of `Permutation`.
        inverse: put a permuted key back instead.

    Raises:
        ConfigError: an argument outside its range.
    """

    def __init__(
        self, writer: KeyWriter, key_bits: int, seed: int, *, window_bits: int = WINDOW_BITS, inverse: bool = False
    ) -> None:
        self._writer = writer
        self._inverse = inverse
        self.permutation = Permutation(key_bits, seed, window_bits=window_bits)
        self._window = 0
        self._pending = BitWriter()

    def __repr__(self) -> str:
        return f"InterleavingWriter({self._writer!r}, {self.permutation!r})"

    @property
    def path(self) -> Path:
        """The file to be."""
        return self._writer.path

    @property
    def format(self) -> str:
        """Name of the format."""
        return self._writer.format

    @property
    def key_bits(self) -> int:
        """Bits appended so far."""
        return self.permutation.start(self._window) + self._pending.bits

    def append(self, packed: Packed, bits: int) -> None:
        """Append rows; see `KeyWriter.append`.

        Raises:
            ShapeError: rows shorter than `bits`, or more bits than the key was said to have.
        """
        rows = packed[None, :] if packed.ndim == 1 else packed
        if self.key_bits + bits * len(rows) > self.permutation.key_bits:
            raise ShapeError(
                f"{self.path}: expected {self.permutation.key_bits} bits in all, got more; give the key's length",
                key_bits=self.permutation.key_bits,
            )
        for row in rows:
            at = 0
            while at < bits:
                length = self._length(self._window)
                count = min(bits - at, length - self._pending.bits)
                self._pending.append(slice_bits(row, at, count), count)
                at += count
                if self._pending.bits == length:
                    self._flush(length)

    def settle(self) -> None:
        """Write out everything; see `KeyWriter.settle`.

        Raises:
            ShapeError: fewer bits were appended than the key was said to have.
        """
        if self.key_bits != self.permutation.key_bits:
            raise ShapeError(
                f"{self.path}: expected {self.permutation.key_bits} bits in all, got {self.key_bits}; append the rest",
                key_bits=self.permutation.key_bits,
                got=self.key_bits,
            )
        self._writer.settle()

    def commit(self) -> None:
        """Make the file appear; see `KeyWriter.commit`."""
        self.settle()
        self._writer.commit()

    def abort(self) -> None:
        """Remove what was written."""
        self._writer.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
            return
        try:
            self.commit()
        except BaseException:
            self.abort()
            raise

    def _length(self, window: int) -> int:
        return self.permutation.start(window + 1) - self.permutation.start(window)

    def _flush(self, length: int) -> None:
        window = np.frombuffer(self._pending.getvalue(), dtype=np.uint8)
        self._writer.append(_gather(window, self.permutation.order(length, inverse=self._inverse)), length)
        self._pending = BitWriter()
        self._window += 1


def _gather(window: Packed, order: NDArray[np.uint32]) -> Packed:
    """Bits of a window in another order, in chunks whose scratch memory stays in the cache."""
    packed = np.empty(packed_bytes(order.size), dtype=np.uint8)
    for at in range(0, order.size, _CHUNK_BITS):
        places = order[at : at + _CHUNK_BITS]
        bits = (window[places >> 3] >> (places & 7).astype(np.uint8)) & np.uint8(1)
        packed[at // 8 : packed_bytes(at + places.size)] = np.packbits(bits, bitorder="little")
    return packed

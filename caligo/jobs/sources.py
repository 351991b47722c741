"""Where a job's keys come from: arrays in memory, read like key files, or key files.

Covers: keys in memory, and telling the two sources apart. Does not cover: the form of key files, and keys without
sampled positions (:mod:`caligo.keys`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np

from caligo.bits import Packed, require_packed, slice_bits
from caligo.errors import KeyFileError, ShapeError
from caligo.keys import BitOrder, KeyReader, open_key
from caligo.keys.protocols import Closing

__all__ = ["ArrayKey", "KeySource", "is_path", "open_source", "same_file", "source_name"]

KeySource: TypeAlias = "Packed | str | os.PathLike[str]"

_TELLING_BYTES = 32
"""A packed key of so many bytes has only bytes 0 and 1 with a probability of 2^-224."""


class ArrayKey(Closing):
    """A packed key in memory, as a :class:`caligo.keys.KeyReader`.

    Args:
        packed: uint8 `[ceil(key_bits / 8)]`, little bit order; kept, not copied.
        key_bits: its length; None takes every bit.
        name: whose it is, for messages.

    Raises:
        ShapeError: wrong dtype, shape, layout, or ones beyond the last bit; or one bit a byte, which no packed key of
            `_TELLING_BYTES` bytes looks like by chance.
        KeyFileError: the key is empty.
        ConfigError: a negative length.
    """

    format = "array"

    def __init__(self, packed: Packed, key_bits: int | None = None, name: str = "key") -> None:
        if key_bits is None:
            key_bits = 8 * int(packed.shape[-1]) if isinstance(packed, np.ndarray) and packed.ndim else 0
        self._packed = require_packed(packed, key_bits, name)
        if key_bits == 0:
            raise KeyFileError(f"{name}: expected at least one bit, got an empty array; pass a key", name=name)
        if self._packed.size >= _TELLING_BYTES and int(self._packed.max()) == 1:
            raise ShapeError(
                f"{name}: expected eight bits a byte, got nothing but the bytes 0 and 1, as if each held one bit; pack "
                "it with caligo.bits.pack",
                name=name,
            )
        self._key_bits = key_bits
        self._path = Path(name)

    def __repr__(self) -> str:
        return f"ArrayKey({self._path.name!r}, key_bits={self._key_bits})"

    @property
    def path(self) -> Path:
        """The name, in the place of a path."""
        return self._path

    @property
    def key_bits(self) -> int:
        """Length of the key in bits."""
        return self._key_bits

    def read_bits(self, start: int, bits: int) -> Packed:
        """Copy a stretch; see `KeyReader.read_bits`."""
        return slice_bits(self._packed, start, bits)

    def close(self) -> None:
        """Nothing to release."""


def open_source(
    source: KeySource, name: str, key_bits: int | None, format: str | None, bit_order: BitOrder
) -> KeyReader:
    """A reader of a key, wherever it is."""
    if isinstance(source, str | os.PathLike):
        return open_key(source, format=format, bit_order=bit_order, key_bits=key_bits)
    return ArrayKey(source, key_bits, name)


def is_path(source: KeySource) -> bool:
    """Whether the key is in a file."""
    return isinstance(source, str | os.PathLike)


def same_file(alice: KeySource, bob: KeySource) -> bool:
    """Whether two keys, both in files, are in one."""
    return os.path.samefile(os.fspath(cast(os.PathLike[str], alice)), os.fspath(cast(os.PathLike[str], bob)))


def source_name(source: KeySource) -> str:
    """What a record calls the source of a key."""
    return os.fspath(Path(source).absolute()) if isinstance(source, str | os.PathLike) else "array in memory"

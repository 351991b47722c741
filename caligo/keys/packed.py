"""Format `packed`: raw key bits, eight to a byte, in either bit order; no header.

In little order bit i of the key is bit i % 8 of byte i // 8, counted from the low end; in big order from the high end.
Unused bits of the last byte are ignored on reading and zero on writing. The file alone does not say the order, nor the
length where it is not a multiple of 8: the caller does.

Covers: reading and writing. Does not cover: headers of other software.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from caligo.bits import Packed, packed_bytes, slice_bits
from caligo.errors import ConfigError, KeyFileError
from caligo.keys.files import RegularFile
from caligo.keys.formats import FormatReader, FormatWriter
from caligo.keys.protocols import BitOrder, require_stretch

_REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1), axis=1, bitorder="little")[:, 0]


def reverse_bits(packed: Packed) -> Packed:
    """Each byte with its bits in the opposite order: from little to big bit order, or back."""
    return _REVERSED[packed]


class PackedKeyReader(FormatReader):
    """Reads a packed key file.

    Args:
        path: the file.
        bit_order: which bit of a byte comes first.
        key_bits: length of the key where it is not a multiple of 8; None for all bits of the file.

    Raises:
        KeyFileError: missing, unreadable, empty, not a regular file, or not of the size that `key_bits` implies.
        ConfigError: an unknown bit order, or `key_bits` < 1.
    """

    format = "packed"

    def __init__(
        self, path: str | os.PathLike[str], *, bit_order: BitOrder = "little", key_bits: int | None = None
    ) -> None:
        self._reverse = _is_big(bit_order)
        if key_bits is not None and key_bits < 1:
            raise ConfigError(
                f"expected key_bits >= 1, got {key_bits}; leave it out for whole bytes", key_bits=key_bits
            )
        self._file = RegularFile(Path(path))
        size = self._file.size_bytes
        if key_bits is not None and packed_bytes(key_bits) != size:
            self._file.close()
            trouble = "the file is truncated" if packed_bytes(key_bits) > size else "the file is longer"
            raise KeyFileError(
                f"{path}: expected {packed_bytes(key_bits)} bytes for {key_bits} bits, got {size}: {trouble}; "
                f"give a length of {8 * size - 7} to {8 * size} bits, or the right file",
                path=str(path),
                key_bits=key_bits,
                expected_bytes=packed_bytes(key_bits),
                got_bytes=size,
            )
        self._key_bits = 8 * size if key_bits is None else key_bits

    @property
    def bit_order(self) -> BitOrder:
        """Which bit of a byte comes first."""
        return "big" if self._reverse else "little"

    def read_bits(self, start: int, bits: int) -> Packed:
        """Read a stretch; see `KeyReader.read_bits`."""
        require_stretch(start, bits, self._key_bits, self.path)
        first, shift = divmod(start, 8)
        data = self._file.read(first, packed_bytes(shift + bits))
        if self._reverse:
            data = reverse_bits(data)
        if shift:
            return slice_bits(data, shift, bits)
        if bits % 8:
            data[-1] &= np.uint8((1 << bits % 8) - 1)
        return data


class PackedKeyWriter(FormatWriter):
    """Writes a packed key file; see `KeyWriter`.

    Args:
        path: the file to be; an existing one is replaced at `commit`.
        bit_order: which bit of a byte comes first.

    Raises:
        KeyFileError: the directory is missing or not writable, or the target is a directory.
        ConfigError: an unknown bit order.
    """

    format = "packed"

    def __init__(self, path: str | os.PathLike[str], *, bit_order: BitOrder = "little") -> None:
        self._reverse = _is_big(bit_order)
        super().__init__(path)

    def write(self, data: bytes | memoryview) -> None:
        """Take whole bytes in little order, as `caligo.bits.BitWriter` hands them over."""
        self._file.write(reverse_bits(np.frombuffer(data, dtype=np.uint8)).data if self._reverse else data)


def _is_big(bit_order: str) -> bool:
    if bit_order not in ("little", "big"):
        raise ConfigError(f"expected bit order little or big, got {bit_order!r}; name one of them", bit_order=bit_order)
    return bit_order == "big"

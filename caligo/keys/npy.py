"""Format `npy`: a one-dimensional NumPy array of 0 and 1, one byte per bit, dtype uint8 or bool.

Reading parses the header and then reads windows by position; `numpy.load` is never called, nothing is unpickled and
nothing is mapped. Each window is checked to hold 0 and 1 alone.

Covers: format versions 1.0 and 2.0. Does not cover: arrays of packed bytes (indistinguishable from a mistake; write
them raw, with `tofile`, and use format `packed`), other dtypes, `.npz` archives.

Source: NEP 1, "A simple file format for NumPy arrays".
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format

from caligo.bits import Packed, packed_bytes
from caligo.errors import KeyFileError
from caligo.keys.files import RegularFile
from caligo.keys.formats import FormatReader, FormatWriter
from caligo.keys.protocols import require_key_bits, require_stretch

MAGIC = npy_format.MAGIC_PREFIX

_WINDOW_BITS = 1 << 20
_MAX_HEADER_BYTES = 1 << 14
_WRITTEN_HEADER_BYTES = 128


class NpyKeyReader(FormatReader):
    """Reads a `.npy` key file.

    Args:
        path: the file.
        key_bits: length that the array must have; None for whatever it has.

    Raises:
        KeyFileError: missing, unreadable, empty, truncated, not a `.npy` file, pickled, of another dtype or shape, in
            Fortran order, with other values than 0 and 1 at its beginning, or not of `key_bits` elements.
        ConfigError: `key_bits` < 1.
    """

    format = "npy"

    def __init__(self, path: str | os.PathLike[str], *, key_bits: int | None = None) -> None:
        require_key_bits(key_bits)
        self._file = RegularFile(Path(path))
        try:
            self._offset, self._key_bits = self._parse(key_bits)
            self.read_bits(0, min(self._key_bits, 4096))
        except BaseException:
            self._file.close()
            raise

    def read_bits(self, start: int, bits: int) -> Packed:
        """Read a stretch; see `KeyReader.read_bits`. Scratch memory is a fixed window, whatever the stretch."""
        require_stretch(start, bits, self._key_bits, self.path)
        packed = np.empty(packed_bytes(bits), dtype=np.uint8)
        for at in range(0, bits, _WINDOW_BITS):
            count = min(_WINDOW_BITS, bits - at)
            window = self._file.read(self._offset + start + at, count)
            if int(window.max()) > 1:
                raise self._refuse(
                    "the values 0 and 1",
                    f"others among elements {start + at} to {start + at + count}",
                    "store one bit per element; packed bytes go raw into a file of format packed",
                )
            packed[at // 8 : packed_bytes(at + count)] = np.packbits(window, bitorder="little")
        return packed

    def _refuse(self, expected: str, got: str, remedy: str) -> KeyFileError:
        return KeyFileError(
            f"{self.path}: expected {expected}, got {got}; {remedy}", path=str(self.path), expected=expected, got=got
        )

    def _parse(self, key_bits: int | None) -> tuple[int, int]:
        """Offset of the first element, and their number."""
        head = io.BytesIO(self._file.read(0, min(self._file.size_bytes, _MAX_HEADER_BYTES)).tobytes())
        save = "save a one-dimensional uint8 or bool array with numpy.save"
        try:
            version = npy_format.read_magic(head)
            if version == (1, 0):
                shape, fortran, dtype = npy_format.read_array_header_1_0(head)
            elif version == (2, 0):
                shape, fortran, dtype = npy_format.read_array_header_2_0(head)
            else:
                raise self._refuse("npy version 1.0 or 2.0", f"{version[0]}.{version[1]}", save)
        except KeyFileError:
            raise
        except Exception as error:  # NumPy parses the header as Python; damage surfaces as whatever its parts raise
            raise self._refuse("a .npy file", "a header that cannot be parsed", save) from error
        if dtype.hasobject:
            raise self._refuse("dtype uint8 or bool", "pickled objects, which are never loaded", save)
        if dtype not in (np.dtype(np.uint8), np.dtype(np.bool_)):
            raise self._refuse("dtype uint8 or bool", str(dtype), save)
        if len(shape) != 1:
            raise self._refuse("one dimension", f"shape {shape}", "save array.reshape(-1)")
        if fortran:
            raise self._refuse("C order", "Fortran order", save)
        offset, elements = head.tell(), int(shape[0])
        if elements < 1:
            raise self._refuse("at least one bit", "an empty array", "a key has at least one bit")
        if self._file.size_bytes != offset + elements:
            trouble = "it is truncated" if self._file.size_bytes < offset + elements else "something follows the array"
            raise self._refuse(
                f"{offset + elements} bytes for {elements} elements",
                f"{self._file.size_bytes}: {trouble}",
                "restore the file",
            )
        if key_bits is not None and key_bits != elements:
            raise self._refuse(f"{key_bits} bits", f"{elements} elements", "leave --key-bits out: the header says it")
        return offset, elements


class NpyKeyWriter(FormatWriter):
    """Writes a `.npy` key file, dtype uint8; see `KeyWriter`.

    Args:
        path: the file to be; an existing one is replaced at `commit`.

    Raises:
        KeyFileError: the directory is missing or not writable, or the target is a directory.
    """

    format = "npy"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._written_bits = 0
        self._settled = False
        self._file.write(_header(0))

    def write(self, data: bytes | memoryview) -> None:
        """Take whole bytes in little order, as `caligo.bits.BitWriter` hands them over."""
        packed = np.frombuffer(data, dtype=np.uint8)
        for at in range(0, packed.size, _WINDOW_BITS // 8):
            window = packed[at : at + _WINDOW_BITS // 8]
            count = min(8 * window.size, self._joined.bits - self._written_bits)
            self._file.write(np.unpackbits(window, count=count, bitorder="little").data)
            self._written_bits += count

    def settle(self) -> None:
        """Write out the rest; see `KeyWriter.settle`."""
        if self._settled:
            return
        self._settled = True
        self._joined.finish()
        self._file.rewrite(0, _header(self._joined.bits))
        super().settle()


def _header(elements: int) -> bytes:
    """A version 1.0 header of fixed size, so that the number of elements can be filled in at the end."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({elements},), }}".encode("ascii")
    space = _WRITTEN_HEADER_BYTES - len(MAGIC) - 4
    return MAGIC + b"\x01\x00" + space.to_bytes(2, "little") + text.ljust(space - 1) + b"\n"

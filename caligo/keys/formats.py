"""What the formats have in common: a reader over one regular file, a writer that joins rows into one atomic file.

Covers: properties, closing, appending, settling, committing, and leaving a `with` block. Does not cover: what a stretch
of bits is in the file and how whole bytes are written: each format says that (`packed.py`, `npy.py`).
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from caligo.bits import BitWriter, Packed
from caligo.keys.files import AtomicFile, RegularFile
from caligo.keys.protocols import Closing


class FormatReader(Closing):
    """Base of the readers of key files; see `KeyFileReader`. A format opens `_file` and finds `_key_bits`."""

    format: ClassVar[str]
    _file: RegularFile
    _key_bits: int

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, key_bits={self._key_bits})"

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    @property
    def key_bits(self) -> int:
        """Length of the key in bits."""
        return self._key_bits

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self._file.size_bytes

    @property
    def mode(self) -> int:
        """Permission bits of the file."""
        return self._file.mode()

    @abstractmethod
    def read_bits(self, start: int, bits: int) -> Packed:
        """Read a stretch; see `KeyReader.read_bits`."""

    def close(self) -> None:
        """Release the file."""
        self._file.close()


class FormatWriter(ABC):
    """Base of the writers of key files; see `KeyWriter`.

    Args:
        path: the file to be; an existing one is replaced at `commit`.

    Raises:
        KeyFileError: the directory is missing or not writable, or the target is a directory.
    """

    format: ClassVar[str]

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = AtomicFile(Path(path))
        self._joined = BitWriter(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, key_bits={self.key_bits})"

    @property
    def path(self) -> Path:
        """The file to be."""
        return self._file.path

    @property
    def key_bits(self) -> int:
        """Bits appended so far."""
        return self._joined.bits

    def append(self, packed: Packed, bits: int) -> None:
        """Append rows; see `KeyWriter.append`."""
        self._joined.append(packed, bits)

    @abstractmethod
    def write(self, data: bytes | memoryview) -> None:
        """Take whole bytes in little order, as `caligo.bits.BitWriter` hands them over."""

    def settle(self) -> None:
        """Write out the rest; see `KeyWriter.settle`."""
        self._joined.finish()
        self._file.settle()

    def commit(self) -> None:
        """Make the file appear; see `KeyWriter.commit`."""
        self.settle()
        self._file.commit()

    def abort(self) -> None:
        """Remove what was written."""
        self._file.abort()

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

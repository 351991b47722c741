"""A packed key file written in pieces by several processes, which appears whole or not at all.

Covers: the hidden file that is filled, pieces written by position in either bit order, making it durable, giving it its
name. Does not cover: which bits go where; formats with headers.

One process makes the file with its final size and commits it; any number of them write pieces in between. The hidden
name is `.NAME.ATTEMPT.partial`: attempts that were given up leave files of other names, which :func:`remove_partials`
finds.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from caligo.bits import BitWriter, Packed, packed_bytes
from caligo.errors import ConfigError
from caligo.keys.files import explain, sync_directory
from caligo.keys.packed import reverse_bits
from caligo.keys.protocols import BitOrder

__all__ = ["PieceWriter", "commit_pieces", "create_pieces", "partial_path", "remove_partials"]


def partial_path(path: Path, attempt: str) -> Path:
    """The hidden name under which a file is filled.

    Args:
        path: the file to be.
        attempt: names those who fill it.
    """
    return path.with_name(f".{path.name}.{attempt}.partial")


def create_pieces(path: Path, attempt: str, key_bits: int) -> None:
    """Make the hidden file, of its final size, readable by its owner alone.

    Args:
        path: the file to be.
        attempt: names those who fill it.
        key_bits: of the whole key, >= 0.

    Raises:
        KeyFileError: the directory is missing or not writable.
        ResourceError: the disk is full.
    """
    partial = partial_path(path, attempt)
    try:
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, packed_bytes(key_bits))
        finally:
            os.close(fd)
    except OSError as error:
        raise explain(error, path, "write") from error


def commit_pieces(path: Path, attempt: str) -> None:
    """Make the file durable and give it its name.

    Raises:
        ResourceError: the disk is full.
        KeyFileError: any other failure to write.
    """
    partial = partial_path(path, attempt)
    try:
        fd = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(partial, path)
        sync_directory(path.parent)
    except OSError as error:
        raise explain(error, path, "write") from error


def remove_partials(path: Path) -> None:
    """Remove what any attempt has left of a file that was to be.

    Args:
        path: the file to be.
    """
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.startswith(f".{path.name}.") and entry.name.endswith(".partial"):
                with suppress(OSError):
                    os.unlink(entry.path)


class PieceWriter:
    """Writes one piece of the hidden file: rows joined bit for bit from a byte on.

    Args:
        path: the file to be.
        attempt: names those who fill it.
        start_bit: where the piece begins, a multiple of 8.
        bit_order: of the file.

    Raises:
        ConfigError: the piece begins within a byte.
        KeyFileError: there is no hidden file, or it cannot be written.
    """

    def __init__(self, path: Path, attempt: str, start_bit: int, bit_order: BitOrder = "little") -> None:
        if start_bit % 8:
            raise ConfigError(f"expected a piece that begins with a byte, got bit {start_bit}", start_bit=start_bit)
        self.path = path
        self._reverse = bit_order == "big"
        self._offset = start_bit // 8
        self._joined = BitWriter(self)
        self._fd = -1
        try:
            self._fd = os.open(partial_path(path, attempt), os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise explain(error, path, "write") from error

    def append(self, packed: Packed, bits: int) -> None:
        """Append a row.

        Args:
            packed: uint8, at least `bits` bits.
            bits: how many of them, >= 0.

        Raises:
            ResourceError: the disk is full.
            KeyFileError: the file cannot be written.
        """
        self._joined.append(packed, bits)

    def write(self, data: bytes | memoryview) -> None:
        """Take whole bytes in little order, as `caligo.bits.BitWriter` hands them over."""
        if self._reverse:
            data = reverse_bits(np.frombuffer(data, dtype=np.uint8)).tobytes()
        view = memoryview(data).cast("B")
        try:
            while view:
                written = os.pwrite(self._fd, view, self._offset)
                self._offset += written
                view = view[written:]
        except OSError as error:
            raise explain(error, self.path, "write") from error

    def close(self, *, durable: bool = False) -> None:
        """Write the last byte and release the file; twice is harmless.

        Args:
            durable: wait until the disk has it.

        Raises:
            ResourceError: the disk is full.
            KeyFileError: the file cannot be written.
        """
        if self._fd < 0:
            return
        try:
            self._joined.finish()
            if durable:
                os.fdatasync(self._fd)
        except OSError as error:
            raise explain(error, self.path, "write") from error
        finally:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

"""Archives with one form: tar files of which every byte follows from the names and contents in them.

Covers: writing such an archive, reading it in order and in bounded memory. Does not cover: what is in it
(:mod:`.bundle`), compression, any other kind of tar file.

Members are regular files in a given order, POSIX ustar headers with fixed owner, mode and time, padding of zeros, two
blocks of zeros at the end and nothing after them. ``tar`` reads it. The reader is told which member comes next and
compares the header with the only one that could be there, so links, paths that lead elsewhere, repeated or surplus
members and other header formats cannot occur: there is nothing to interpret.

Source: POSIX.1-2017, pax, "ustar Interchange Format".
"""

from __future__ import annotations

import os
import secrets
import stat
import tarfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Self

from caligo.store import files

BLOCK = 512
LARGEST_MEMBER = 8**11 - 1
"""Bytes that the size of a ustar header can say."""

_TIME = 315_532_800
"""1980-01-01: no tool finds that implausible."""

_PIECE = 1 << 20
_END = bytes(2 * BLOCK)


class ArchiveError(Exception):
    """An archive's bytes are not what a writer of this module leaves; says why."""


def safe_name(name: str) -> bool:
    """Whether a member's name is a plain relative path of printable characters, and fits a header."""
    parts = name.split("/")
    plain = all(part not in ("", ".", "..") for part in parts) and "\\" not in name and name.isprintable()
    if not plain or PurePosixPath(name).is_absolute():
        return False
    try:
        header(name, 0)
    except ValueError:
        return False
    return True


def header(name: str, size: int) -> bytes:
    """The only header of a member.

    Raises:
        ValueError: the name or the size does not fit.
    """
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, _TIME, 0o644
    return member.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")


def write_archive(path: Path, members: Iterable[tuple[str, int, Iterable[bytes]]], *, replace: bool = False) -> None:
    """Write an archive: there whole, or not at all.

    Args:
        path: where.
        members: name, size and content of each, in order.
        replace: a file of that name may be there.

    Raises:
        ArchiveError: a content is not of its size.
        OSError: as the system says; FileExistsError where something is there.
    """
    # Two writers of one name do not meet in one temporary file.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            for name, size, content in members:
                files.write_all(descriptor, header(name, size))
                left = size
                for piece in content:
                    files.write_all(descriptor, piece)
                    left -= len(piece)
                if left:
                    raise ArchiveError(f"{name} changed its size by {-left} bytes while it was read")
                files.write_all(descriptor, bytes(-size % BLOCK))
            files.write_all(descriptor, _END)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if replace:
            os.rename(temporary, path)
        else:
            os.link(temporary, path)
            os.unlink(temporary)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    files.sync_directory(path.parent)


class ArchiveReader:
    """An archive being read from its beginning to its end.

    Args:
        path: a regular file.

    Raises:
        ArchiveError: it is no regular file.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise ArchiveError("it is no regular file")
        self._file: IO[bytes] = os.fdopen(descriptor, "rb")
        self.size = status.st_size
        self._left = 0

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._file.tell()

    def begin(self, name: str, size: int | None = None, *, most: int = LARGEST_MEMBER) -> int:
        """Read the header of the next member.

        Args:
            name: that it must have.
            size: that it must have; None: any up to `most`.
            most: bytes.

        Returns:
            Its size.

        Raises:
            ArchiveError: it is another, or is larger than what is left of the archive.
        """
        found = self._file.read(BLOCK)
        if size is None:
            try:
                size = int(found[124:135], 8)
            except ValueError:
                size = -1
        if not 0 <= size <= most or found != header(name, size):
            raise ArchiveError(f"expected the member {name!r}, got {_described(found)}")
        if size > self.size - self.position:
            raise ArchiveError(f"it ends within {name!r}")
        self._left = size
        self._padding = -size % BLOCK
        return size

    def pieces(self, *tell: Callable[[bytes], object]) -> None:
        """Read the content of the member that was begun, piece by piece.

        Args:
            tell: each is called with each piece.

        Raises:
            ArchiveError: the archive ends before it, or is padded with anything but zeros.
        """
        while self._left:
            piece = self._file.read(min(_PIECE, self._left))
            if not piece:
                raise ArchiveError("it ends within a member")
            self._left -= len(piece)
            for told in tell:
                told(piece)
        padding = self._file.read(self._padding)
        if padding != bytes(self._padding):
            raise ArchiveError("it is padded with something else than zeros, or ends there")

    def content(self) -> bytes:
        """The content of the member that was begun. Raises as :meth:`pieces`."""
        collected: list[bytes] = []
        self.pieces(collected.append)
        return b"".join(collected)

    def end(self) -> None:
        """Nothing but the end comes.

        Raises:
            ArchiveError: something does.
        """
        found = self._file.read(len(_END) + 1)
        if found != _END:
            raise ArchiveError(f"expected the end, got {_described(found[:BLOCK])}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _described(found: bytes) -> str:
    if not found.strip(b"\0"):
        return "nothing" if len(found) < BLOCK else "its end"
    if len(found) < BLOCK:
        return f"{len(found)} bytes"
    name = found[:100].partition(b"\0")[0].decode("utf-8", "replace")
    kind = {b"0": "", b"1": " (a link)", b"2": " (a link)", b"5": " (a directory)"}.get(found[156:157], " (special)")
    return f"{name!r}{kind} with another header" if found[257:262] == b"ustar" else "bytes that are no header"

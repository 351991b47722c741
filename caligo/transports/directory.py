"""Frames as files in a directory: a shared file system, a synchronised folder, a medium carried through an air gap.

Covers: one directory for each direction, one file for each frame, named by its number; each appears whole. Does not
cover: carrying the directories, and removing them: afterwards they are the transcript.

``DIR/alice-to-bob/000000000000.frame`` and ``DIR/bob-to-alice/…``, readable by their owner alone: two users of one file
system need something that carries the files, or one account. A file is written under a hidden name, made durable and
renamed; the hidden name is made by one process only, so a second one that speaks for the same side is refused and
nothing is overwritten. Whoever carries files may do so in any order and at any time: a file that is not there yet, or
not yet whole, is waited for, also where its size is set before its bytes come. What is no regular file is refused.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

from caligo.errors import CaligoError, ConfigError, ConnectionLostError, ProtocolError, ResourceError
from caligo.reconciliation.wire import HEADER_BYTES, TAG_BYTES, Frame, FrameReader

__all__ = ["DIRECTIONS", "DirectoryTransport"]

DIRECTIONS = ("alice-to-bob", "bob-to-alice")
_POLL_S = 0.02
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_DIRECTORY_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


class DirectoryTransport:
    """One end.

    Args:
        directory: holds both directions; made when missing.
        role: whose end.
        poll_s: how often to look for the next file.

    Raises:
        ConfigError: a session was written there before, or it cannot be made.
    """

    reopens = False
    listens = False
    keep_alive_s: float | None = None

    def __init__(self, directory: Path, role: Literal["alice", "bob"], *, poll_s: float = _POLL_S) -> None:
        out, into = DIRECTIONS if role == "alice" else DIRECTIONS[::-1]
        self._out, self._in = directory / out, directory / into
        self._poll_s = poll_s
        self._sent = self._received = 0
        self._closed = False
        try:
            for path in (directory, self._out, self._in):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            occupied = next(self._out.iterdir(), None) is not None
        except OSError as error:
            raise ConfigError(
                f"cannot use the directory {directory}: {os.strerror(error.errno or 0)}; name one that you may write",
                path=str(directory),
            ) from error
        if occupied:
            raise ConfigError(
                f"expected no frames in {self._out}, found some of an earlier session; name another directory",
                path=str(self._out),
            )

    def __repr__(self) -> str:
        return f"DirectoryTransport({str(self._out)!r}, sent={self._sent}, received={self._received})"

    def open(self, timeout_s: float) -> None:
        """Nothing to wait for; see `Transport.open`."""

    def send(self, frame: bytes) -> None:
        """See `Transport.send`."""
        if self._closed:
            raise ConnectionLostError("cannot send: this end is closed")
        name = _name(self._sent)
        partial, path = self._out / f".{name}.partial", self._out / name
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError as error:
            raise _taken(partial) from error
        except OSError as error:
            raise self._trouble(error, "write", path) from error
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(frame)
                stream.flush()
                os.fsync(descriptor)
            # Only who made the hidden name comes here, so nobody can take the name between these two steps.
            if os.path.lexists(path):
                raise _taken(path)
            os.replace(partial, path)
            _sync_directory(self._out)
        except BaseException as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise self._trouble(error, "write", path) from error
            raise
        self._sent += 1

    def receive(self, timeout_s: float) -> Frame | None:
        """See `Transport.receive`."""
        path = self._in / _name(self._received)
        until = time.monotonic() + timeout_s
        while True:
            if self._closed:
                raise ConnectionLostError("cannot receive: this end is closed")
            frame = self._read(path)
            if frame is not None:
                self._received += 1
                return frame
            left = until - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(self._poll_s, left))

    def _read(self, path: Path) -> Frame | None:
        """The frame in a file; None while it is missing or not whole."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _refuse(path, "a regular file", "a symbolic link") from error
            raise self._trouble(error, "read", path) from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise _refuse(path, "a regular file", "another kind")
            with os.fdopen(descriptor, "rb", closefd=False) as stream:
                header = stream.read(HEADER_BYTES)
                # Zeros are what a tool leaves that sets a file's size before it writes.
                if len(header) < HEADER_BYTES or not any(header):
                    return None
                reader = FrameReader()
                reader.feed(header)
                if status.st_size < HEADER_BYTES + reader.wanted:
                    return None
                if status.st_size > HEADER_BYTES + reader.wanted:
                    raise _refuse(path, f"{HEADER_BYTES + reader.wanted} bytes", "more")
                rest = stream.read(reader.wanted)
        except OSError as error:
            raise self._trouble(error, "read", path) from error
        finally:
            os.close(descriptor)
        if len(rest) < reader.wanted or not any((header + rest)[-max(TAG_BYTES) :]):
            return None
        return reader.feed(rest)

    @staticmethod
    def _trouble(error: OSError, action: str, path: Path) -> CaligoError:
        reason = os.strerror(error.errno or 0)
        kind = ResourceError if error.errno in _FULL else ConnectionLostError
        return kind(f"cannot {action} {path}: {reason}; see to the directory and begin again", path=str(path))

    def close(self) -> None:
        """See `Transport.close`."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _name(number: int) -> str:
    return f"{number:012d}.frame"


def _refuse(path: Path, expected: str, got: str) -> ProtocolError:
    return ProtocolError(
        f"{path.name}: expected {expected}, got {got}; the peer did not write this", field="frame", path=str(path)
    )


def _taken(path: Path) -> ConfigError:
    return ConfigError(
        f"expected no {path}, found one: another process speaks for this side; run one of each side, in a directory of "
        "their own",
        path=str(path),
    )


def _sync_directory(path: Path) -> None:
    """Make a renaming durable; file systems that refuse this do so by themselves."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
    finally:
        os.close(descriptor)

"""Frames as files in a directory: a shared file system, a synchronised folder, a medium carried through an air gap.

Covers: one directory for each direction, one file for each frame, named by its number; each appears whole. Does not
cover: carrying the directories, and removing them: afterwards they are the transcript.

``DIR/alice-to-bob/000000000000.frame`` and ``DIR/bob-to-alice/…``, readable by their owner alone. A file is written
under a hidden name and renamed. Whoever carries files may do so in any order and at any time: a file that is not there
yet, or not yet whole, is waited for.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Literal, Self

from caligo.errors import CaligoError, ConfigError, ConnectionLostError, ProtocolError, ResourceError
from caligo.reconciliation.wire import HEADER_BYTES, MAX_FRAME_BYTES, Frame, FrameReader

__all__ = ["DIRECTIONS", "DirectoryTransport"]

DIRECTIONS = ("alice-to-bob", "bob-to-alice")
_POLL_S = 0.02
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
        partial = self._out / f".{name}.partial"
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(frame)
            os.replace(partial, self._out / name)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise self._trouble(error, "write", self._out / name) from error
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
        """The frame in a file; None while it is missing or shorter than its header says."""
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_FRAME_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._trouble(error, "read", path) from error
        reader = FrameReader()
        if reader.feed(data[:HEADER_BYTES]) is not None or len(data) < HEADER_BYTES:
            return None
        if len(data) - HEADER_BYTES > reader.wanted:
            raise ProtocolError(
                f"{path.name}: expected {HEADER_BYTES + reader.wanted} bytes, got more; the peer did not write this",
                field="frame",
                path=str(path),
            )
        return reader.feed(data[HEADER_BYTES:])

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

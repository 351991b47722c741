"""The state of a party, kept so that another process can go on when this one dies.

Covers: one file of mode 0600 that takes down a session's past (:class:`~caligo.reconciliation.endpoint.Past`) as it
happens. Does not cover: coming to a session's state from it (:meth:`caligo.reconciliation.endpoint.Endpoint.restore`).

The file holds what was received and, at Bob's, the blocks that were decoded: key material. It is one process's at a
time, and removed when the session has ended. Everything is handed to the operating system before anything that follows
from it is sent, so the file of a process that was killed lacks nothing that the peer may know of. It is not forced to
the disk: after a loss of power its end may be missing, and the peer then refuses to go on.

Layout: magic, then records of kind (1 byte), length (4 bytes, little-endian), content, CRC-32 of all three. A torn last
record is cut off. Kinds: 1 what was begun (JSON), 2 `Connected`, 3 `Heard`, 4 `Worked` and `Decoded`, 5 and `GivenUp`,
6 and `Ask`.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from caligo.errors import ConfigError
from caligo.keys.files import explain
from caligo.reconciliation.endpoint import Connected, Heard, Past, Worked
from caligo.reconciliation.strategies.dialogue import Ask, Decoded, GivenUp

__all__ = ["StateFile"]

_MAGIC = b"CLGOST1\n"
_RECORD = struct.Struct("<BI")
_CRC = struct.Struct("<I")
_WORK = struct.Struct("<QQ")
_WANT = struct.Struct("<II")
_MOST_BYTES = 1 << 23

_BEGUN, _CONNECTED, _HEARD, _DECODED, _GIVEN_UP, _ASKED = range(1, 7)


class StateFile:
    """Such a file, opened for this process alone.

    Args:
        path: the file; made if there is none.

    Raises:
        ConfigError: it is another file, or another process has it.
        KeyFileError: it cannot be opened.
        ResourceError: the disk is full.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.begun: dict[str, Any] | None = None
        """What `begin` was told, by this process or one before it."""
        self._unwritten: list[bytes] = []
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise explain(error, self.path, "open") from error
        try:
            self._claim()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"StateFile({str(self.path)!r})"

    def _claim(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"state: expected {self.path} for this process alone, another one has it; wait for it to end",
                path=str(self.path),
            ) from error
        try:
            os.fchmod(self._fd, 0o600)
            head = os.pread(self._fd, len(_MAGIC), 0)
            if head not in (b"", _MAGIC):
                raise ConfigError(
                    f"state: expected a file that caligo made, or none, got {self.path}; name another",
                    path=str(self.path),
                )
            if not head:
                os.pwrite(self._fd, _MAGIC, 0)
            end = len(_MAGIC)
            for kind, content, after in self._records():
                if kind == _BEGUN:
                    self.begun = json.loads(content)
                end = after
            os.ftruncate(self._fd, end)
            os.lseek(self._fd, end, os.SEEK_SET)
        except OSError as error:
            raise explain(error, self.path, "read") from error

    def _records(self) -> Iterator[tuple[int, bytes, int]]:
        """Kind, content and end of every whole record."""
        at = len(_MAGIC)
        while len(head := os.pread(self._fd, _RECORD.size, at)) == _RECORD.size:
            kind, length = _RECORD.unpack(head)
            rest = os.pread(self._fd, length + _CRC.size, at + _RECORD.size) if length <= _MOST_BYTES else b""
            if len(rest) < length + _CRC.size or _CRC.unpack_from(rest, length)[0] != zlib.crc32(head + rest[:length]):
                return
            at += _RECORD.size + length + _CRC.size
            yield kind, rest[:length], at

    def begin(self, begun: dict[str, Any]) -> None:
        """Say what session this is.

        Args:
            begun: JSON values.
        """
        self.begun = begun
        self._take(_BEGUN, json.dumps(begun, sort_keys=True).encode())
        self.flush()

    def note(self, past: Past) -> None:
        """See `Journal.note`."""
        if isinstance(past, Connected):
            self._take(_CONNECTED, past.session + past.window.to_bytes(4, "little"))
        elif isinstance(past, Heard):
            self._take(_HEARD, bytes((past.type,)) + past.payload)
        elif isinstance(past.step, Decoded):
            self._take(_DECODED, _WORK.pack(past.block, past.step.elapsed_ns) + past.step.row.tobytes())
        elif isinstance(past.step, GivenUp):
            self._take(_GIVEN_UP, _WORK.pack(past.block, past.step.elapsed_ns))
        else:
            wants = b"".join(_WANT.pack(*want) for want in past.step.wants)
            self._take(_ASKED, _WORK.pack(past.block, past.step.elapsed_ns) + wants)

    def _take(self, kind: int, content: bytes) -> None:
        record = _RECORD.pack(kind, len(content)) + content
        self._unwritten.append(record + _CRC.pack(zlib.crc32(record)))

    def flush(self) -> None:
        """See `Journal.flush`.

        Raises:
            ResourceError: the disk is full.
            KeyFileError: it fails.
        """
        data = memoryview(b"".join(self._unwritten))
        self._unwritten.clear()
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            raise explain(error, self.path, "write") from error

    def settled(self) -> frozenset[int]:
        """Blocks that Bob decoded or gave up."""
        return frozenset(
            _WORK.unpack_from(content)[0] for kind, content, _ in self._records() if kind in (_DECODED, _GIVEN_UP)
        )

    def past(self) -> Iterator[Past]:
        """What happened, in order."""
        for kind, content, _ in self._records():
            if kind == _CONNECTED:
                yield Connected(content[:16], int.from_bytes(content[16:], "little"))
            elif kind == _HEARD:
                yield Heard(content[0], content[1:])
            elif kind in (_DECODED, _GIVEN_UP, _ASKED):
                block, elapsed_ns = _WORK.unpack_from(content)
                rest = content[_WORK.size :]
                if kind == _DECODED:
                    yield Worked(block, Decoded(np.frombuffer(rest, dtype=np.uint8), elapsed_ns))
                elif kind == _GIVEN_UP:
                    yield Worked(block, GivenUp(elapsed_ns))
                else:
                    wants = tuple((segment, count) for segment, count in _WANT.iter_unpack(rest))
                    yield Worked(block, Ask(wants, elapsed_ns))

    def remove(self) -> None:
        """The session has ended: nothing is to be gone on with."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

"""Shards: what a rank has done, appended frame by frame, readable up to the last whole frame whatever happened.

Covers: writing (one writer a file, one system call a frame), scanning for whole frames in bounded memory, reading one
back. Does not cover: what a frame says, which frames count, the directory they are in (:mod:`.work_directory`).

A shard begins with 64 bytes: ``caligo shard 1`` and a line end, padded with zeros to 32, then the 32 bytes of the job's
digest. A frame is a header of 40 bytes (:data:`_HEADER`: magic, zero, task, sizes of head, body and payload, CRC-32 of
head and body, CRC-32 of the header), then head, body and payload. *Head* is what a coordinator has to know of the task,
*body* what its record is made of, *payload* its bits. All numbers are little-endian.

A writer that is killed leaves at most one frame that is not whole, at the end. After a failure of power the contents of
a file may be older than its length: head and body are then found by their CRC, the payload by whoever knows what it
should be (:meth:`Frame.payload`).
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

from caligo.bits import Packed
from caligo.errors import CaligoError, ResourceError, StoreError
from caligo.keys.protocols import Closing

__all__ = ["Frame", "Place", "ShardReader", "ShardWriter", "read_body"]

_MAGIC = b"caligo shard 1\n".ljust(32, b"\0")
_HEADER = struct.Struct("<4sIQIIQII")
_FRAME = b"CFRM"
_HEADER_BYTES = _HEADER.size
_DIGEST_BYTES = 32
_MOST_HEAD_BYTES = 1 << 30

Buffer: TypeAlias = "bytes | bytearray | memoryview | Packed"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame is.

    Args:
        offset: of its header.
        task: whose it is.
        head: what the coordinator has to know.
        body_bytes: size of the body.
        payload_bytes: size of the payload.
    """

    offset: int
    task: int
    head: bytes
    body_bytes: int
    payload_bytes: int


@dataclass(frozen=True, slots=True, repr=False)
class Frame:
    """One frame, read back.

    Args:
        task: whose it is.
        head: what the coordinator has to know.
        body: what the record is made of.
        payload: its bits; key material.
    """

    task: int
    head: bytes
    body: bytes
    payload: memoryview

    def __repr__(self) -> str:
        return f"Frame(task={self.task})"


class ShardWriter(Closing):
    """Appends frames to a new file, readable by its owner alone.

    Args:
        path: must not exist.
        digest: of the job, 32 bytes.

    Raises:
        StoreError: it exists, or cannot be written.
        ResourceError: the disk is full.
    """

    def __init__(self, path: Path, digest: bytes) -> None:
        self.path = path
        self._fd = -1
        self._size = 0
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._write([_MAGIC + digest])
        except OSError as error:
            raise _trouble(error, path, "write") from error

    @property
    def size_bytes(self) -> int:
        """Bytes written."""
        return self._size

    def append(self, task: int, head: bytes, body: bytes, payload: Sequence[Buffer] = ()) -> int:
        """Hand a frame to the kernel, whole; it is cut off again where it does not fit.

        Args:
            task: whose it is.
            head: at most 2^30 bytes.
            body: likewise.
            payload: parts of it, in order.

        Returns:
            Its offset.

        Raises:
            ResourceError: the disk is full; what was there before is still there.
            StoreError: the file cannot be written.
        """
        offset = self._size
        parts = [memoryview(cast(bytes, part)).cast("B") for part in payload if len(part)]
        size = sum(part.nbytes for part in parts)
        header = _header(task, len(head), len(body), size, zlib.crc32(body, zlib.crc32(head)))
        try:
            self._write([header, head, body, *parts])
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, offset)
                os.lseek(self._fd, offset, os.SEEK_SET)
            self._size = offset
            raise _trouble(error, self.path, "write") from error
        return offset

    def sync(self) -> None:
        """Make what was appended outlast a failure of power.

        Raises:
            ResourceError: the disk is full.
            StoreError: the system refuses.
        """
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise _trouble(error, self.path, "write") from error

    def close(self) -> None:
        """Release the file; twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _write(self, parts: Sequence[Buffer]) -> None:
        views = [memoryview(cast(bytes, part)).cast("B") for part in parts if len(part)]
        while views:
            written = os.writev(self._fd, views[:512])
            self._size += written
            while views and written >= views[0].nbytes:
                written -= views.pop(0).nbytes
            if written:
                views[0] = views[0][written:]


class ShardReader(Closing):
    """Reads frames of a shard, also of one that is being written.

    Args:
        path: the file.
        digest: of the job, 32 bytes.

    Raises:
        StoreError: there is no shard of this job there.
    """

    def __init__(self, path: Path, digest: bytes) -> None:
        self.path = path
        self._fd = -1
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            start = os.pread(self._fd, len(_MAGIC) + _DIGEST_BYTES, 0)
        except OSError as error:
            raise _trouble(error, path, "read") from error
        self.is_begun = len(start) == len(_MAGIC) + _DIGEST_BYTES
        if self.is_begun and start != _MAGIC + digest:
            self.close()
            raise StoreError(
                f"expected a shard of this job, got another file: {path}; give every job a work directory of its own",
                path=str(path),
            )

    def places(self, *, check: bool = False) -> Iterator[Place]:
        """The whole frames, in order, without their bodies and payloads.

        Args:
            check: leave out those whose head or body is not as it was written.

        Raises:
            StoreError: the file cannot be read.
        """
        if not self.is_begun:
            return
        try:
            size = os.fstat(self._fd).st_size
            offset = len(_MAGIC) + _DIGEST_BYTES
            while offset + _HEADER_BYTES <= size:
                found = self._place(offset)
                if found is None:
                    return
                place, end = found
                if end > size:
                    return
                if not check or self._is_as_written(place):
                    yield place
                offset = end
        except OSError as error:
            raise _trouble(error, self.path, "read") from error

    def read(self, offset: int, *, payload: bool = True) -> Frame:
        """Read a whole frame.

        Args:
            offset: of its header.
            payload: read its bits too.

        Raises:
            StoreError: there is no whole frame, its head or body is damaged, or the file cannot be read.
        """
        try:
            header = _parsed(os.pread(self._fd, _HEADER_BYTES, offset))
            if header is not None:
                task, head_bytes, body_bytes, payload_bytes, crc = header
                data = self._read(offset + _HEADER_BYTES, head_bytes + body_bytes + (payload_bytes if payload else 0))
                if data is not None and zlib.crc32(data[: head_bytes + body_bytes]) == crc:
                    middle = head_bytes + body_bytes
                    return Frame(task, bytes(data[:head_bytes]), bytes(data[head_bytes:middle]), data[middle:])
        except OSError as error:
            raise _trouble(error, self.path, "read") from error
        raise StoreError(
            f"expected a whole frame at byte {offset} of {self.path}, got other bytes: it was written when power "
            "failed, or is damaged; start the job again, which does these blocks anew",
            path=str(self.path),
            offset=offset,
        )

    def close(self) -> None:
        """Release the file; twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()

    def _place(self, offset: int) -> tuple[Place, int] | None:
        start = os.pread(self._fd, _HEADER_BYTES + 256, offset)
        header = _parsed(start)
        if header is None:
            return None
        task, head_bytes, body_bytes, payload_bytes, _ = header
        if head_bytes > _MOST_HEAD_BYTES:
            return None
        head: bytes | memoryview | None = start[_HEADER_BYTES : _HEADER_BYTES + head_bytes]
        if len(start) < _HEADER_BYTES + head_bytes:
            head = self._read(offset + _HEADER_BYTES, head_bytes)
        if head is None:
            return None
        end = offset + _HEADER_BYTES + head_bytes + body_bytes + payload_bytes
        return Place(offset, task, bytes(head), body_bytes, payload_bytes), end

    def _is_as_written(self, place: Place) -> bool:
        header = _parsed(os.pread(self._fd, _HEADER_BYTES, place.offset))
        size = len(place.head) + place.body_bytes
        data = self._read(place.offset + _HEADER_BYTES, size)
        return header is not None and data is not None and zlib.crc32(data) == header[4]

    def _read(self, offset: int, size: int) -> memoryview | None:
        data = bytearray(size)
        view = memoryview(data)
        done = 0
        while done < size:
            count = os.preadv(self._fd, [view[done:]], offset + done)
            if count == 0:
                return None
            done += count
        return view


def read_body(path: Path, digest: bytes, offset: int) -> bytes:
    """The body of one frame of a shard.

    Args:
        path: of the shard.
        digest: of the job, 32 bytes.
        offset: of the frame's header.

    Raises:
        StoreError: there is no whole frame, its head or body is damaged, or the file cannot be read.
    """
    with ShardReader(path, digest) as reader:
        return reader.read(offset, payload=False).body


def _header(task: int, head: int, body: int, payload: int, crc: int) -> bytes:
    fields = _HEADER.pack(_FRAME, 0, task, head, body, payload, crc, 0)
    return fields[:-4] + zlib.crc32(fields[:-4]).to_bytes(4, "little")


def _parsed(data: bytes) -> tuple[int, int, int, int, int] | None:
    """Task, sizes of head, body and payload, and CRC; None where there is no header."""
    if len(data) < _HEADER_BYTES:
        return None
    magic, _, task, head, body, payload, crc, own = _HEADER.unpack_from(data)
    if magic != _FRAME or zlib.crc32(data[: _HEADER_BYTES - 4]) != own:
        return None
    return task, head, body, payload, crc


def _trouble(error: OSError, path: Path, action: str) -> CaligoError:
    fields = {"path": str(path), "errno": error.errno}
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ResourceError(
            f"cannot {action} {path}: {reason}; free space or quota there and start the job again, it goes on", **fields
        )
    if error.errno == errno.EEXIST:
        return StoreError(f"expected a new file, got {path}, which exists; start the job again", **fields)
    return StoreError(f"cannot {action} {path}: {reason}; check the work directory of the job", **fields)

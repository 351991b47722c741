"""What the operating system has to do with key files: descriptors, windows, atomic appearance, errors with a remedy.

Covers: opening a regular file and reading windows of it by position; a file that appears whole or not at all; output
directories. Does not cover: what the bytes mean.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from caligo.bits import Packed
from caligo.errors import CaligoError, ConfigError, KeyFileError, ResourceError

_BUFFER_BYTES = 1 << 20

_REMEDIES = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path: a part of it is a file",
    errno.EACCES: "change its permissions or its owner, or choose another place",
    errno.EPERM: "change its permissions or its owner, or choose another place",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.EIO: "the disk or network file system fails; copy the file elsewhere",
    errno.ESTALE: "the file was replaced on the server; start again",
    errno.EMFILE: "close files, or raise the limit (ulimit -n)",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "the symbolic links go round in a circle; name the file itself",
}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def explain(error: OSError, path: Path, action: str) -> CaligoError:
    """The typed error for a failed system call: what was tried, what the system said, what to do."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    fields = {"path": str(path), "errno": error.errno}
    if error.errno in _FULL:
        return ResourceError(
            f"cannot {action} {path}: {reason}; free some space or choose another place, nothing was left there",
            **fields,
        )
    remedy = _REMEDIES.get(error.errno or 0, "check the path and the file system")
    return KeyFileError(f"cannot {action} {path}: {reason}; {remedy}", **fields)


class RegularFile:
    """A regular, non-empty file, open for reading by position.

    Args:
        path: the file.

    Raises:
        KeyFileError: missing, unreadable, empty, or not a regular file.
    """

    __slots__ = ("_fd", "path", "size_bytes")

    def __init__(self, path: Path) -> None:
        self._fd = -1
        self.path = path
        try:
            # A FIFO opened without O_NONBLOCK would wait for a writer before it could be refused.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            status = os.fstat(self._fd)
        except OSError as error:
            self.close()
            raise explain(error, path, "read") from error
        except ValueError as error:
            raise KeyFileError(f"cannot read {path!r}: {error}; check the path", path=str(path)) from error
        problem = None
        if stat.S_ISDIR(status.st_mode):
            problem = "is a directory; name the file in it"
        elif not stat.S_ISREG(status.st_mode):
            problem = "is not a regular file; copy the key into one, for it is read in windows by position"
        elif status.st_size == 0:
            problem = "is empty; a key has at least one bit"
        if problem is not None:
            self.close()
            raise KeyFileError(f"expected a key file, but {path} {problem}", path=str(path))
        self.size_bytes: int = status.st_size

    def __del__(self) -> None:
        self.close()

    def read(self, offset: int, size: int) -> Packed:
        """Read exactly `size` bytes from `offset` on.

        Returns:
            A new uint8 array `[size]`.

        Raises:
            KeyFileError: the read fails, or the file has become shorter; or it is closed.
        """
        if self._fd < 0:
            raise KeyFileError(f"cannot read {self.path}: it was closed; open it again", path=str(self.path))
        data = np.empty(size, dtype=np.uint8)
        filled = 0
        while filled < size:
            try:
                count = os.preadv(self._fd, [data[filled:].data], offset + filled)
            except OSError as error:
                raise explain(error, self.path, "read") from error
            if count == 0:
                raise KeyFileError(
                    f"{self.path}: expected {self.size_bytes} bytes, got {offset + filled}: the file was truncated "
                    "while it was read; restore it and start again",
                    path=str(self.path),
                    expected_bytes=self.size_bytes,
                    got_bytes=offset + filled,
                )
            filled += count
        return data

    def mode(self) -> int:
        """Permission bits of the file."""
        return stat.S_IMODE(os.fstat(self._fd).st_mode)

    def close(self) -> None:
        """Release the descriptor; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class AtomicFile:
    """A file that appears under its name at `commit`, whole and durable, or not at all.

    Until then it has a hidden name beside the target, `.NAME.RANDOM.partial`. It is readable by its owner alone. An
    existing target is replaced, at `commit`. What was not committed goes with the object, so that an interrupt leaves
    nothing behind even before a `with` block has been entered.

    Args:
        path: the file to be.

    Raises:
        KeyFileError: the directory is missing or not writable, or the target is a directory.
        ResourceError: the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open = False
        if path.is_dir():
            raise KeyFileError(f"cannot write {path}: it is a directory; name a file in it", path=str(path))
        self._partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        self._open = True
        try:
            fd = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._open = False
            raise explain(error, path, "write") from error
        self._stream = os.fdopen(fd, "wb", buffering=_BUFFER_BYTES)

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes.

        Raises:
            ResourceError: the disk is full.
            KeyFileError: any other failure to write.
        """
        try:
            self._stream.write(data)
        except OSError as error:
            raise explain(error, self.path, "write") from error

    def rewrite(self, offset: int, data: bytes) -> None:
        """Replace bytes written before, such as a header that states the length.

        Raises:
            ResourceError: the disk is full.
            KeyFileError: any other failure to write.
        """
        try:
            self._stream.seek(offset)
            self._stream.write(data)
            self._stream.seek(0, os.SEEK_END)
        except OSError as error:
            raise explain(error, self.path, "write") from error

    def settle(self) -> None:
        """Make everything durable, still under the hidden name: what `commit` has then left to do needs no space.
        Nothing can be written afterwards; a second call does nothing.

        Raises:
            ResourceError: the disk is full.
            KeyFileError: any other failure to write.
        """
        if self._stream.closed:
            return
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
        except OSError as error:
            self.abort()
            raise explain(error, self.path, "write") from error

    def commit(self) -> None:
        """Make the file durable and give it its name.

        Raises:
            ResourceError: the disk is full.
            KeyFileError: any other failure to write.
        """
        self.settle()
        try:
            os.replace(self._partial, self.path)
            self._open = False
            sync_directory(self.path.parent)
        except OSError as error:
            self.abort()
            raise explain(error, self.path, "write") from error

    def abort(self) -> None:
        """Remove what was written; does nothing after `commit`."""
        if not self._open:
            return
        self._open = False
        with contextlib.suppress(OSError):
            self._partial.unlink()
        with contextlib.suppress(OSError, AttributeError):  # interrupted before there was a stream
            self._stream.close()

    def __del__(self) -> None:
        self.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.abort()


def prepare_output_directory(path: Path, *, force: bool) -> Path:
    """Create a directory for keys, or take an empty one; with `force` also one that holds something.

    Args:
        path: the directory; missing parents are created. A new directory is open to its owner alone (0700).
        force: accept a directory that is not empty; files of the same names will be replaced, others stay.

    Returns:
        `path`, now a directory.

    Raises:
        ConfigError: the directory is not empty and `force` is off.
        KeyFileError: it is a file, or cannot be created or listed.
        ResourceError: the disk is full.
    """
    try:
        if not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700, exist_ok=True)
        with os.scandir(path) as entries:
            occupied = next(entries, None) is not None
    except FileExistsError as error:
        raise KeyFileError(f"cannot write into {path}: it is a file; name a directory", path=str(path)) from error
    except OSError as error:
        raise explain(error, path, "create the directory") from error
    if occupied and not force:
        raise ConfigError(
            f"expected an empty directory, got {path}, which is not empty; name another or add --force (force=True), "
            "which replaces files of the same names",
            path=str(path),
        )
    return path


def sync_directory(path: Path) -> None:
    """Make names in a directory durable, where the file system can."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network file systems cannot sync a directory; the rename is then as durable as they make it.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)

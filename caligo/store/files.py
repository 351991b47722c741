"""Durable files: written whole or not at all, and errors of the file system in the words of the store.

Covers: atomic writing (temporary name, fsync, rename, fsync of the directory), documents that carry their own hash, the
translation of ``OSError``. Does not cover: what the documents mean.

A *self-checked document* is readable JSON whose last member ``sha256`` is the SHA-256 of all bytes before that member's
leading comma, so that every byte of the file is covered by itself (``specs/run-directory.md``).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from caligo.errors import CaligoError, ResourceError, StoreError

DOCUMENT_BYTES = 16 * 1024 * 1024
"""No document of a run is larger; a larger file is not read."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_LINKLESS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK})
_TAIL = re.compile(rb',\n  "sha256": "([0-9a-f]{64})"\n\}\n\Z')
_TAIL_BYTES = len(b',\n  "sha256": "') + 64 + len(b'"\n}\n')


class DocumentError(Exception):
    """A document's bytes are not what its writer left; says why."""


def storage_error(error: OSError, operation: str, path: Path) -> CaligoError:
    """The store's own error for an error of the operating system.

    Args:
        error: what the system said.
        operation: what was tried, as a verb phrase ("write a record").
        path: file or directory.

    Returns:
        ResourceError when the disk, the quota, or the process's own limits are exhausted, StoreError otherwise.
    """
    reason = error.strerror or type(error).__name__
    fields = {"operation": operation, "path": str(path), "errno": error.errno}
    if error.errno in _FULL:
        return ResourceError(
            f"cannot {operation}: no space left for {path} ({reason}); free space or quota there, or choose "
            "another store with --store or CALIGO_STORE",
            **fields,
        )
    if error.errno in _SCARCE:
        return ResourceError(
            f"cannot {operation}: {path} ({reason}); the process has reached a limit, see `ulimit -a`", **fields
        )
    if error.errno in _REFUSED:
        return StoreError(
            f"cannot {operation}: {path} is not writable ({reason}); choose a writable store with --store or "
            "CALIGO_STORE",
            **fields,
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return StoreError(
            f"cannot {operation}: expected a directory on the way to {path}, got something else ({reason}); choose "
            "another store with --store or CALIGO_STORE",
            **fields,
        )
    return StoreError(
        f"cannot {operation}: {path} ({reason}); check the disk and the mount, or choose another store with --store",
        **fields,
    )


@contextmanager
def storing(operation: str, path: Path) -> Iterator[None]:
    """Turn every ``OSError`` of the body into :func:`storage_error`."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, operation, path) from error


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; a short write is continued, so that the error behind it is seen.

    Raises:
        OSError: as the system says.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_directory(path: Path) -> None:
    """Make renames and creations in a directory durable.

    Some network file systems refuse fsync on a directory (EINVAL, ENOTSUP, EBADF); they make renames durable
    themselves.

    Raises:
        OSError: any other refusal.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def put_whole(path: Path, data: bytes) -> None:
    """Write a new file so that it is there whole, or not at all, whatever happens in between.

    Raises:
        OSError: nothing is left under ``path``.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(path.parent)


def put_new(path: Path, data: bytes) -> bool:
    """Write a new read-only file whole, unless its name is taken; without a lock, whoever else tries the same.

    A hard link gives the finished file its name: it fails when the name is taken. Where hard links are refused, the
    name is claimed first (:func:`_claim`).

    Returns:
        True when the file is there, durable, and this call's; False when another file has the name.

    Raises:
        OSError: the file is either not there, or there and whole but perhaps not yet durable.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            write_all(descriptor, data)
            with suppress(OSError):
                os.fchmod(descriptor, 0o444)
            if path.exists():
                return False
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(temporary, path)
            ours = True
        except FileExistsError:
            # A network file system that lost its answer tries again and finds its own link.
            ours = os.stat(temporary).st_nlink > 1
        except OSError as error:
            if error.errno not in _LINKLESS:
                raise
            ours = _claim(temporary, path)
    finally:
        with suppress(OSError):
            os.unlink(temporary)
    if ours:
        sync_directory(path.parent)
    return ours


def _claim(temporary: Path, path: Path) -> bool:
    """Give a finished file a free name where there are no hard links; whether the name was free.

    The file is put in a directory, and the directory renamed to the name's claim: that fails when the claim is there,
    since a claim is never empty and never removed. Whoever finds a claim finishes it, so a killed claimant holds
    nobody up. All who write a name must do so through mounts of one kind: a link does not look for claims.
    """
    claim = path.with_name(f".{path.name}.claim")
    ours = not claim.exists() and _take(temporary, claim)
    if path.exists():
        return ours and not (claim / "content").exists()
    with suppress(FileNotFoundError):
        os.rename(claim / "content", path)
    return ours


def _take(temporary: Path, claim: Path) -> bool:
    """Make a claim that holds a finished file, unless it is there."""
    nascent = temporary.with_suffix(".claiming")
    os.mkdir(nascent)
    taken = False
    try:
        os.close(os.open(nascent / "taken", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
        os.rename(temporary, nascent / "content")
        sync_directory(nascent)
        try:
            os.rename(nascent, claim)
            taken = True
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    finally:
        if not taken:
            _discard(nascent)
    return taken


def _discard(nascent: Path) -> None:
    for name in ("taken", "content"):
        with suppress(OSError):
            os.unlink(nascent / name)
    with suppress(OSError):
        os.rmdir(nascent)


def document_bytes(content: Mapping[str, Any]) -> bytes:
    """A self-checked document of a plain value."""
    body = json.dumps(content, indent=2, allow_nan=False).encode("ascii")[: -len(b"\n}")]
    return body + b',\n  "sha256": "' + hashlib.sha256(body).hexdigest().encode("ascii") + b'"\n}\n'


def parse_document(data: bytes, form: str) -> dict[str, Any]:
    """The content of a self-checked document, without its hash.

    Args:
        data: all bytes of the file.
        form: the expected value of its member ``format``.

    Raises:
        DocumentError: the bytes are not as they were written, or are another kind of document.
    """
    tail = _TAIL.search(data, max(0, len(data) - _TAIL_BYTES))
    if tail is None:
        raise DocumentError("it does not end with its hash: truncated or overwritten")
    body = data[: tail.start()]
    if hashlib.sha256(body).hexdigest().encode("ascii") != tail.group(1):
        raise DocumentError("its content does not match its hash")
    try:
        content = json.loads(body + b"\n}")
    except ValueError as error:
        raise DocumentError("it is not JSON") from error
    if not isinstance(content, dict) or content.get("format") != form:
        raise DocumentError(f"it is not a {form} document")
    return content


def read_document(path: Path, form: str) -> dict[str, Any]:
    """Read and check a self-checked document.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
        DocumentError: see :func:`parse_document`.
    """
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > DOCUMENT_BYTES:
            raise DocumentError(f"it is larger than {DOCUMENT_BYTES} bytes")
        data = file.read()
    return parse_document(data, form)


def file_digest(path: Path) -> tuple[int, str, int]:
    """Size in bytes, SHA-256, and number of line ends of a file's raw bytes, read in pieces.

    Raises:
        OSError: it cannot be read.
    """
    digest, size, lines = hashlib.sha256(), 0, 0
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            size += len(piece)
            lines += piece.count(b"\n")
    return size, digest.hexdigest(), lines

"""Where finished designs are kept: in memory for this process, on disk for the next one.

Covers: the error probabilities of synthetic channels, keyed by what determines them. Does not cover: which of them
become an information set (:mod:`caligo.codes.design`).

An entry is a header line, ``caligo-design/1 <SHA-256 of the rest>``, and float32 values, little endian, in natural
order. It is written to a temporary file in the same directory and renamed, so a reader sees a whole entry or none;
entries of one key are identical whoever writes them, so any number of processes may race and no lock is needed. An
entry whose hash does not fit is ignored and overwritten. A directory that cannot be read or written costs time, never a
result. Entries are never removed by caligo: deleting the directory, or any file in it, is always safe.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import rfc8785
from numpy.typing import NDArray

__all__ = ["DesignCache", "DesignKey", "default_cache_directory"]

DesignKey: TypeAlias = tuple[str, int, int, int, str]
"""(design name, design version, block length, payload length, parameters as written by ``float.hex``, or "").

Two parameters, of a pair, are joined by a comma."""

_MAGIC = b"caligo-design/1 "
_MEMORY_BYTES = 256 << 20


def default_cache_directory() -> Path | None:
    """The directory of the on-disk cache.

    Returns:
        ``$CALIGO_CACHE`` if set (empty: None, no cache on disk), else ``$XDG_CACHE_HOME/caligo/designs``, else
        ``~/.cache/caligo/designs``, else (no home directory) None.
    """
    named = os.environ.get("CALIGO_CACHE")
    if named is not None:
        return Path(named) if named else None
    base = os.environ.get("XDG_CACHE_HOME")
    if base and Path(base).is_absolute():
        return Path(base) / "caligo" / "designs"
    try:
        return Path.home() / ".cache" / "caligo" / "designs"
    except RuntimeError:
        return None


class DesignCache:
    """Error probabilities by key, from memory, disk, or computed; safe with many threads and processes.

    Args:
        directory: the on-disk cache; None keeps designs in memory alone.
        memory_bytes: bound on what is kept in memory; the least recently used entries go first.
    """

    def __init__(self, directory: Path | None, memory_bytes: int = _MEMORY_BYTES) -> None:
        self.directory = directory
        self._memory_bytes = memory_bytes
        self._held: OrderedDict[DesignKey, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: DesignKey, compute: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """The design of a key, computed if it is nowhere to be found.

        Args:
            key: everything that determines the design.
            compute: makes it; called at most once, without any lock held.

        Returns:
            float32[block_length], read-only.
        """
        with self._lock:
            held = self._held.get(key)
            if held is not None:
                self._held.move_to_end(key)
                return held
        values = self._read(key)
        if values is None:
            values = np.ascontiguousarray(compute(), dtype="<f4")
            self._write(key, values)
        values.flags.writeable = False
        with self._lock:
            self._held[key] = values
            total = sum(entry.nbytes for entry in self._held.values())
            while total > self._memory_bytes and len(self._held) > 1:
                total -= self._held.popitem(last=False)[1].nbytes
        return values

    def path(self, key: DesignKey) -> Path | None:
        """The file an entry lives in, or None without a directory."""
        if self.directory is None:
            return None
        name, version, block_length, payload_length, parameter = key
        identity: dict[str, Any] = {
            "design": name,
            "version": version,
            "block_length": block_length,
            "payload_length": payload_length,
            "parameter": parameter,
        }
        return self.directory / f"{hashlib.sha256(rfc8785.dumps(identity)).hexdigest()}.design"

    def _read(self, key: DesignKey) -> NDArray[np.float32] | None:
        path = self.path(key)
        if path is None:
            return None
        try:
            data = path.read_bytes()
        except OSError:
            return None
        header = len(_MAGIC) + 65
        if len(data) != header + 4 * key[2] or not data.startswith(_MAGIC):
            return None
        body = memoryview(data)[header:]
        if hashlib.sha256(body).hexdigest().encode() + b"\n" != data[len(_MAGIC) : header]:
            return None
        return np.frombuffer(body, dtype="<f4")

    def _write(self, key: DesignKey, values: NDArray[np.float32]) -> None:
        path = self.path(key)
        if path is None:
            return
        body = values.tobytes()
        temporary = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=".writing-", suffix=".tmp", dir=path.parent)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n")
                file.write(body)
            os.replace(temporary, path)
        except OSError:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)

"""Pre-shared keys in files: what authenticates two parties to each other.

Covers: reading one, and refusing a file that others may read. Does not cover: what is derived from it
(:mod:`caligo.reconciliation.authentication`), making and distributing it.

The secret is all bytes of the file, as they are: ``head -c 32 /dev/urandom > psk`` makes one.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from caligo.errors import KeyFileError
from caligo.keys.files import RegularFile

__all__ = ["MAX_SECRET_BYTES", "MINIMUM_SECRET_BYTES", "read_secret"]

MINIMUM_SECRET_BYTES = 32
MAX_SECRET_BYTES = 4096


def read_secret(path: str | os.PathLike[str]) -> bytes:
    """Read a pre-shared key.

    Args:
        path: the file; of mode 0600 or less, `MINIMUM_SECRET_BYTES` to `MAX_SECRET_BYTES` bytes.

    Returns:
        Its bytes.

    Raises:
        KeyFileError: missing, unreadable, no regular file, open to others, or of another size.
    """
    file = RegularFile(Path(path))
    try:
        mode = file.mode()
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise KeyFileError(
                f"{path}: expected a pre-shared key that its owner alone may read (0600), got mode {mode:04o}; run "
                f"`chmod 600 {path}`, and make another key if others may have read it",
                path=str(path),
                mode=f"{mode:04o}",
            )
        if not MINIMUM_SECRET_BYTES <= file.size_bytes <= MAX_SECRET_BYTES:
            raise KeyFileError(
                f"{path}: expected a pre-shared key of {MINIMUM_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, got "
                f"{file.size_bytes}; make one with `head -c 32 /dev/urandom`",
                path=str(path),
                got_bytes=file.size_bytes,
            )
        return file.read(0, file.size_bytes).tobytes()
    finally:
        file.close()

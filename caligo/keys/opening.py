"""From a path to a reader or writer: which format, which options, and two keys that fit together.

Covers: the table of formats, opening one key or a pair. Does not cover: the formats themselves.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from caligo.bits import Packed
from caligo.errors import ConfigError, ShapeError
from caligo.keys.ait import AitKeyReader, AitKeyWriter, AitRecord
from caligo.keys.npy import MAGIC, NpyKeyReader, NpyKeyWriter
from caligo.keys.packed import PackedKeyReader, PackedKeyWriter
from caligo.keys.parts import require_same_parts
from caligo.keys.protocols import BitOrder, Closing, KeyFileReader, KeyReader, KeyWriter
from caligo.keys.qcrypto import QcryptoKeyReader, QcryptoKeyWriter, begins_as_qcrypto
from caligo.states import KeyState

FORMATS: Sequence[str] = ("packed", "npy", "qcrypto", "ait")
"""Names of the formats that can be read and written."""

_TELLING_BYTES = 16


def open_key(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    bit_order: BitOrder = "little",
    key_bits: int | None = None,
) -> KeyFileReader:
    """Open a key file for reading.

    Args:
        path: the file; for `qcrypto` also a directory of them.
        format: one of `FORMATS`; None takes `npy` for files that are named `.npy` or begin as one, `qcrypto` for
            directories and for files that begin as one, else `packed`. `ait` has to be named.
        bit_order: which bit of a byte comes first; means nothing but for `packed`.
        key_bits: length of the key, needed where a packed key is not a multiple of 8.

    Returns:
        A reader; close it, or use it as a context manager.

    Raises:
        KeyFileError: missing, unreadable, empty, truncated, not a regular file, or not what its format says.
        ConfigError: an unknown format or bit order, or `key_bits` < 1.
    """
    known = _format_of(Path(path)) if format is None else _require_format(format)
    if known == "npy":
        return NpyKeyReader(path, key_bits=key_bits)
    if known == "qcrypto":
        return QcryptoKeyReader(path, key_bits=key_bits)
    if known == "ait":
        return AitKeyReader(path, key_bits=key_bits)
    return PackedKeyReader(path, bit_order=bit_order, key_bits=key_bits)


def create_key(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    bit_order: BitOrder = "little",
    number: int | None = None,
    state: KeyState = KeyState.SIFTED,
    disclosed_bits: int = 0,
    error_rate: float = 0.0,
) -> KeyWriter:
    """Begin a key file.

    Args:
        path: the file to be; an existing one is replaced once the new one is complete.
        format: one of `FORMATS`; None takes `npy` for files named `.npy`, else `packed`.
        bit_order: which bit of a byte comes first; means nothing but for `packed`.
        number: epoch (`qcrypto`, default 0) or key id (`ait`, default 1).
        state: how far the bits have come (`ait`); one of `caligo.states.EXPORTABLE`.
        disclosed_bits: bits disclosed about them so far (`ait`).
        error_rate: what is known of it, 0 if nothing is (`ait`).

    Returns:
        A writer; use it as a context manager, or call `commit` or `abort`.

    Raises:
        KeyFileError: the directory is missing or not writable, or the target is a directory.
        ResourceError: the disk is full.
        ConfigError: an unknown format or bit order, a number, rate or count outside its range, or a state that caligo
            does not give.
    """
    known = ("npy" if Path(path).suffix == ".npy" else "packed") if format is None else _require_format(format)
    if known == "npy":
        return NpyKeyWriter(path)
    if known == "qcrypto":
        return QcryptoKeyWriter(path, epoch=0 if number is None else number)
    if known == "ait":
        record = AitRecord(1 if number is None else number, state, disclosed_bits, error_rate)
        return AitKeyWriter(path, record=record)
    return PackedKeyWriter(path, bit_order=bit_order)


@dataclass(frozen=True)
class KeyPair(Closing):
    """Alice's and Bob's keys, of one length.

    Args:
        alice: her key.
        bob: his.

    Raises:
        ShapeError: the lengths differ.
        KeyFileError: both are in numbered parts (epochs, records), and these differ.
    """

    alice: KeyReader
    bob: KeyReader

    def __post_init__(self) -> None:
        require_same_parts(self.alice, self.bob)
        if self.alice.key_bits != self.bob.key_bits:
            raise ShapeError(
                f"expected two keys of one length, got {self.alice.key_bits} bits in {self.alice.path} and "
                f"{self.bob.key_bits} in {self.bob.path}; cut both to the same sifted bits",
                alice_bits=self.alice.key_bits,
                bob_bits=self.bob.key_bits,
                alice=str(self.alice.path),
                bob=str(self.bob.path),
            )

    @property
    def key_bits(self) -> int:
        """Length of both keys in bits."""
        return self.alice.key_bits

    def read_bits(self, start: int, bits: int) -> tuple[Packed, Packed]:
        """The same stretch of both keys; see `KeyReader.read_bits`."""
        return self.alice.read_bits(start, bits), self.bob.read_bits(start, bits)

    def close(self) -> None:
        """Release both files."""
        self.alice.close()
        self.bob.close()


def open_pair(
    alice: str | os.PathLike[str],
    bob: str | os.PathLike[str],
    *,
    format: str | None = None,
    bit_order: BitOrder = "little",
    key_bits: int | None = None,
) -> KeyPair:
    """Open Alice's and Bob's key files; see `open_key` for the options, which hold for both.

    Raises:
        ShapeError: the lengths differ.
        KeyFileError: as of `open_key`.
        ConfigError: as of `open_key`.
    """
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(open_key(alice, format=format, bit_order=bit_order, key_bits=key_bits))
        second = stack.enter_context(open_key(bob, format=format, bit_order=bit_order, key_bits=key_bits))
        pair = KeyPair(first, second)
        stack.pop_all()
        return pair


def _require_format(format: str) -> str:
    if format not in FORMATS:
        raise ConfigError(f"expected a key format of {', '.join(FORMATS)}, got {format!r}; name one", format=format)
    return format


def _format_of(path: Path) -> str:
    if path.suffix == ".npy":
        return "npy"
    if path.is_dir():
        return "qcrypto"
    try:
        # Only a regular file is looked into: opening a FIFO would wait for its writer.
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(_TELLING_BYTES)
            if head.startswith(MAGIC):
                return "npy"
            return "qcrypto" if begins_as_qcrypto(head) else "packed"
    except OSError:
        pass  # the reader reports it
    return "packed"

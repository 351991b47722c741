"""What every key format offers: one way to read, one way to write.

Covers: the two protocols, the bit orders, and what every reader, like whatever else is to be closed, does at the end of
a `with` block. Does not cover: any format.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from caligo.bits import Packed
from caligo.errors import ConfigError, ShapeError

BitOrder = Literal["little", "big"]


class KeyReader(Protocol):
    """A key of known length, read in stretches. Reading is safe from several threads at once."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def format(self) -> str:
        """Name of the format."""
        ...

    @property
    def key_bits(self) -> int:
        """Length of the key in bits, >= 1."""
        ...

    def read_bits(self, start: int, bits: int) -> Packed:
        """Read a stretch of the key.

        Args:
            start: first bit, >= 0, any alignment.
            bits: length, >= 0; the caller keeps it bounded, for the result is `bits` / 8 bytes of memory.

        Returns:
            Packed uint8 `[ceil(bits / 8)]`, little bit order, unused high bits zero.

        Raises:
            ConfigError: a negative number.
            ShapeError: the stretch ends beyond the key.
            KeyFileError: the file cannot be read, or no longer holds what it held when it was opened.
        """
        ...

    def close(self) -> None:
        """Release the file; a second call does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class KeyFileReader(KeyReader, Protocol):
    """A key that is a file, rather than derived from one."""

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        ...

    @property
    def mode(self) -> int:
        """Permission bits of the file."""
        ...


class KeyWriter(Protocol):
    """A key in the making. The file appears, whole, at `commit`; used as a context manager, it commits on success and
    leaves nothing behind on an exception (an interrupt included).
    """

    @property
    def path(self) -> Path:
        """The file to be."""
        ...

    @property
    def format(self) -> str:
        """Name of the format."""
        ...

    @property
    def key_bits(self) -> int:
        """Bits appended so far."""
        ...

    def append(self, packed: Packed, bits: int) -> None:
        """Append one packed row, or each row of a batch, of `bits` bits.

        Args:
            packed: uint8 `[bytes]` or `[rows, bytes]`, little bit order.
            bits: bits to take of each row, >= 0.

        Raises:
            ShapeError: rows shorter than `bits`.
            ResourceError: the disk is full.
            KeyFileError: the file cannot be written.
        """
        ...

    def settle(self) -> None:
        """Write out everything, durably, without making the file appear; no row can be appended afterwards.

        What belongs together is settled together before any of it is committed: a disk that is full then leaves none.

        Raises:
            ResourceError: the disk is full.
            KeyFileError: the file cannot be written.
        """
        ...

    def commit(self) -> None:
        """Make the file appear under its name, durably.

        Raises:
            ResourceError: the disk is full.
            KeyFileError: the file cannot be written.
        """
        ...

    def abort(self) -> None:
        """Remove what was written; does nothing after `commit`."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Closing(ABC):
    """Base of what is closed at the end of a `with` block, however that ends."""

    @abstractmethod
    def close(self) -> None:
        """Release what is held; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def require_stretch(start: int, bits: int, key_bits: int, path: Path) -> None:
    """Check that a stretch lies within a key.

    Raises:
        ConfigError: a negative number.
        ShapeError: the stretch ends beyond the key.
    """
    if start < 0 or bits < 0:
        raise ConfigError(
            f"{path}: expected start >= 0 and bits >= 0, got {start} and {bits}; stretches run forward",
            path=str(path),
            start=start,
            bits=bits,
        )
    if start + bits > key_bits:
        raise ShapeError(
            f"{path}: expected a stretch within {key_bits} bits, got bits {start} to {start + bits}; read fewer",
            path=str(path),
            key_bits=key_bits,
            start=start,
            bits=bits,
        )


def require_key_bits(key_bits: int | None) -> None:
    """Check a length that a caller expects of a file whose header states its own.

    Raises:
        ConfigError: `key_bits` < 1.
    """
    if key_bits is not None and key_bits < 1:
        raise ConfigError(f"expected key_bits >= 1, got {key_bits}; leave it out", key_bits=key_bits)

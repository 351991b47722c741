"""The reconciled keys of both sides: streamed as the job goes, put in place together at its end.

Covers: the pair. Does not cover: writing a key file (:mod:`caligo.keys`), which blocks are written.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from caligo.bits import Packed
from caligo.jobs.runner import interrupts_deferred
from caligo.keys import BitOrder, create_key, prepare_output_directory

__all__ = ["OUTPUT_NAMES", "KeyOutputs"]

OUTPUT_NAMES = ("alice.bin", "bob.bin")


class KeyOutputs:
    """Two packed key files in the making. A context manager: leaving without `commit` removes what was written.

    Args:
        directory: where they go; made when missing.
        bit_order: of the files.
        force: accept a directory that is not empty, and replace the two files in it.

    Raises:
        ConfigError: the directory is not empty.
        KeyFileError: it cannot be made or written.
        ResourceError: the disk or quota is full.
    """

    def __init__(self, directory: Path, *, bit_order: BitOrder = "little", force: bool = False) -> None:
        self.directory = directory.absolute()
        prepare_output_directory(self.directory, force=force)
        self._writers = [create_key(self.directory / OUTPUT_NAMES[0], format="packed", bit_order=bit_order)]
        try:
            self._writers.append(create_key(self.directory / OUTPUT_NAMES[1], format="packed", bit_order=bit_order))
        except BaseException:
            self.discard()
            raise

    def __repr__(self) -> str:
        return f"KeyOutputs({str(self.directory)!r}, key_bits={self.key_bits})"

    @property
    def key_bits(self) -> int:
        """Bits appended so far, on each side."""
        return self._writers[0].key_bits

    def append(self, alice: Packed, bob: Packed, bits: int) -> None:
        """Append to both keys.

        Args:
            alice: packed uint8 `[ceil(bits / 8)]`.
            bob: likewise.
            bits: how many.

        Raises:
            ResourceError: the disk or quota is full.
            KeyFileError: the files cannot be written.
        """
        for writer, packed in zip(self._writers, (alice, bob), strict=True):
            writer.append(packed, bits)

    def commit(self) -> None:
        """Make both files durable, then give them their names; Ctrl-C waits until both have them.

        Raises:
            ResourceError: the disk or quota is full.
            KeyFileError: the files cannot be written.
        """
        with interrupts_deferred():
            for writer in self._writers:
                writer.settle()
            for writer in self._writers:
                writer.commit()

    def discard(self) -> None:
        """Remove what was not committed; twice is harmless."""
        for writer in self._writers:
            writer.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

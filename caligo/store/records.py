r"""Record files: one record a line, each line carrying its index, length and hash.

Covers: the framing, and a scan that yields every whole record of a file and names everything else. Does not cover:
what a record says, nor who writes it.

A line is ``{"i":INDEX,"n":LENGTH,"h":"HASH","r":RECORD}\n`` (``specs/run-directory.md``). HASH binds the record to its
run, its writer and its index, so a line that was changed, moved, repeated, removed or carried over from another run
is found; each record is checked on its own, so damage costs the records it hits and no other.
"""

from __future__ import annotations

import re
from binascii import hexlify
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

from caligo.store.findings import Code, Finding
from caligo.store.values import RECORD_LIMITS

HASH_DIGITS = 16
"""Hexadecimal digits of a record's hash: 64 bits against accidents; the seal's SHA-256 is against everything else."""

_OPENING = b'{"i":'
_FRAME = re.compile(rb'\{"i":(0|[1-9][0-9]{0,15}),"n":([1-9][0-9]{0,5}),"h":"([0-9a-f]{16})","r":')
_PIECE = 4 * (RECORD_LIMITS.size + 128)
"""Longest line read at once: a few of the longest records, should a line end between them be lost."""


def record_salt(run: str, writer: str) -> bytes:
    """What binds a record's hash to its place: run name and writer."""
    return f"caligo.record/1\n{run}\n{writer}\n".encode("utf-8", "surrogatepass")


def record_hash(salt: bytes, index: int, text: bytes) -> bytes:
    """The hash of one record: the first digits of SHA-256 over salt, index, line end and text."""
    return hexlify(sha256(b"%b%d\n%b" % (salt, index, text)).digest()[: HASH_DIGITS // 2])


def frame_record(salt: bytes, index: int, text: bytes) -> bytes:
    """The line of one record."""
    return b'{"i":%d,"n":%d,"h":"%b","r":%b}\n' % (index, len(text), record_hash(salt, index, text), text)


def _record_at(line: bytes, start: int, salt: bytes) -> tuple[int, bytes, int] | None:
    """Index, text and end of the whole record that begins at ``start``; None when there is none."""
    frame = _FRAME.match(line, start)
    if frame is None:
        return None
    index, length = int(frame[1]), int(frame[2])
    if length > RECORD_LIMITS.size:
        return None
    text = line[frame.end() : frame.end() + length]
    end = frame.end() + length + 1
    if len(text) != length or line[end - 1 : end] != b"}" or record_hash(salt, index, text) != frame[3]:
        return None
    return index, text, end


class _Scan:
    """State of one pass: what is expected next, and the stretch of bytes nothing could be made of."""

    def __init__(self, name: str, on_finding: Callable[[Finding], None]) -> None:
        self.name = name
        self.report = on_finding
        self.expected = 0
        self.lost_from: int | None = None

    def where(self, start: int, end: int) -> str:
        return f"{self.name}, bytes {start} to {end - 1}"

    def lose(self, start: int) -> None:
        if self.lost_from is None:
            self.lost_from = start

    def found(self, index: int, start: int) -> None:
        """A whole record ``index`` begins at ``start``: name what lies between it and the one before."""
        first, last = self.expected, index - 1
        missing = f"record {first}" if first == last else f"records {first} to {last}"
        if self.lost_from is not None:
            if first > last:
                missing = f"the bytes before record {index}"
            self.report(
                Finding(
                    Code.RECORD_DAMAGED,
                    f"{missing} cannot be trusted: bytes changed",
                    self.where(self.lost_from, start),
                )
            )
            self.lost_from = None
        elif index > self.expected:
            self.report(
                Finding(
                    Code.RECORD_OUT_OF_SEQUENCE,
                    f"{missing} missing before record {index}",
                    f"{self.name}, byte {start}",
                )
            )
        if index < self.expected:
            self.report(
                Finding(
                    Code.RECORD_OUT_OF_SEQUENCE,
                    f"record {index} comes again or too late: record {self.expected} was expected",
                    f"{self.name}, byte {start}",
                )
            )
        else:
            self.expected = index + 1

    def finish(self, end: int, ends_a_line: bool) -> None:
        if self.lost_from is None:
            return
        where = self.where(self.lost_from, end)
        if ends_a_line:
            self.report(Finding(Code.RECORD_DAMAGED, f"record {self.expected} cannot be trusted: bytes changed", where))
        else:
            self.report(Finding(Code.TORN_TAIL, f"record {self.expected} was not written to its end", where))


def scan_records(
    path: Path, salt: bytes, on_finding: Callable[[Finding], None], on_bytes: Callable[[bytes], object] | None = None
) -> Iterator[tuple[int, bytes]]:
    """Every whole record of a file, in file order; one pass, bounded memory.

    Args:
        path: record file.
        salt: see :func:`record_salt`.
        on_finding: told of each torn, damaged, missing or repeated record when the pass reaches it.
        on_bytes: told of all raw bytes in order (a hash's ``update``).

    Yields:
        Index and JSON text of a record whose hash is right. A repeated or late record is reported and not yielded.

    Raises:
        OSError: the file cannot be read.
    """
    scan = _Scan(path.name, on_finding)
    offset = 0
    ends_a_line = True
    with open(path, "rb") as file:
        while line := file.readline(_PIECE):
            if on_bytes is not None:
                on_bytes(line)
            ends_a_line = line.endswith(b"\n")
            position = 0
            while position < len(line):
                start = offset + position
                record = _record_at(line, position, salt)
                if record is None:
                    scan.lose(start)
                    again = line.find(_OPENING, position + 1)
                    position = again if again >= 0 else len(line)
                    continue
                index, text, end = record
                if end == len(line):
                    scan.lose(start)
                    break
                in_order = index >= scan.expected
                scan.found(index, start)
                if line[end : end + 1] != b"\n":
                    scan.report(
                        Finding(
                            Code.RECORD_END_DAMAGED,
                            f"record {index} is not followed by a line end",
                            scan.where(start, offset + end + 1),
                        )
                    )
                if in_order:
                    yield index, text
                position = end if line.startswith(_OPENING, end) else end + 1
            offset += len(line)
    scan.finish(offset, ends_a_line)

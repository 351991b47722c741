"""Format `ait`: keystream records of the AIT QKD software, each a key with its state, disclosed bits and error rate.

A record is a key id, the state, the bits disclosed so far, the error rate, two strings of the authentication scheme and
the key bytes, bit i being bit i mod 8 of byte i / 8. Integers are big-endian; the error rate is a binary64 in the byte
order of the machine that wrote it, which is little-endian on every machine that runs the software today. There is no
magic number: the format has to be named. `specs/key-files.md` has the layout, its sources and test vectors.

Covers: reading and writing streams of such records. Does not cover: the later releases, whose records carry XML; the
authentication strings, which are skipped unread and written empty; final keys (amplified, authenticated), which are
read, but never written.
"""

from __future__ import annotations

import math
import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from caligo.bits import Packed, packed_bytes, slice_bits
from caligo.errors import ConfigError, KeyFileError
from caligo.keys.files import RegularFile
from caligo.keys.formats import FormatReader, FormatWriter
from caligo.keys.parts import Parts
from caligo.keys.protocols import require_key_bits, require_stretch
from caligo.states import EXPORTABLE, KeyState

__all__ = ["AitKeyReader", "AitKeyWriter", "AitRecord"]

_FIXED = struct.Struct(">IBQ8sQ")  # id, state, disclosed bits, error rate (see _RATE), length of the first string
_RATE = struct.Struct("<d")
_LENGTH = struct.Struct(">Q")
_MAX_SCHEME_BYTES = 4096
_IDS = 1 << 32
_NAME = "check that the file is an AIT keystream, and whole"


@dataclass(frozen=True, slots=True)
class AitRecord:
    """What a record says of its bits.

    Args:
        key_id: in [0, 2^32).
        state: how far they have come.
        disclosed_bits: bits of information disclosed about them so far, in [0, 2^64).
        error_rate: estimated or counted, in [0, 1]; 0 where it is not known.

    Raises:
        ConfigError: a value outside its range.
    """

    key_id: int = 1
    state: KeyState = KeyState.SIFTED
    disclosed_bits: int = 0
    error_rate: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.key_id < _IDS:
            raise ConfigError(f"expected a key id in [0, 2^32), got {self.key_id}; give the first one")
        if not 0 <= self.disclosed_bits < 1 << 64:
            raise ConfigError(f"expected disclosed_bits in [0, 2^64), got {self.disclosed_bits}; count them from 0")
        if not _plausible(self.error_rate):
            raise ConfigError(f"expected an error rate in [0, 1], got {self.error_rate!r}; give 0.02 for 2 %")


class AitKeyReader(FormatReader):
    """Reads the records of a keystream as one key, in the order of the file.

    Opening reads every record but its key bytes. Memory is some hundred bytes a record.

    Args:
        path: the file.
        key_bits: length that all records must have together; None for whatever they have.

    Raises:
        KeyFileError: missing, unreadable, empty, truncated, an unknown state or one without key bits (`OTHER`), records
            of several states, a key id twice, an error rate outside [0, 1], a string longer than 4096 bytes, the XML of
            later releases, no bit at all, or not `key_bits` bits.
        ConfigError: `key_bits` < 1.
    """

    format = "ait"
    part_word = "record"

    def __init__(self, path: str | os.PathLike[str], *, key_bits: int | None = None) -> None:
        require_key_bits(key_bits)
        self._file = RegularFile(Path(path))
        try:
            records, offsets, sizes = self._scan()
            self.records = tuple(records)
            self._offsets = offsets
            self.parts = Parts([record.key_id for record in records], [8 * size for size in sizes])
            self._key_bits = self.parts.key_bits
            self._check(key_bits)
        except BaseException:
            self._file.close()
            raise

    @property
    def state(self) -> KeyState:
        """State of all records."""
        return self.records[0].state

    @property
    def disclosed_bits(self) -> int:
        """Bits disclosed about all records."""
        return sum(record.disclosed_bits for record in self.records)

    @property
    def error_rate(self) -> float | None:
        """Error rate of the whole key: the mean over its bits; None where no record states one."""
        bits = self.parts.bits
        if not any(record.error_rate for record in self.records):
            return None
        return math.fsum(record.error_rate * int(count) for record, count in zip(self.records, bits, strict=True)) / (
            self._key_bits
        )

    def read_bits(self, start: int, bits: int) -> Packed:
        """Read a stretch; see `KeyReader.read_bits`."""
        require_stretch(start, bits, self._key_bits, self.path)
        return self.parts.read(start, bits, self._read_part)

    def _read_part(self, part: int, start: int, bits: int) -> Packed:
        first, shift = divmod(start, 8)
        return slice_bits(self._file.read(self._offsets[part] + first, packed_bytes(shift + bits)), shift, bits)

    def _scan(self) -> tuple[list[AitRecord], list[int], list[int]]:
        """The records, where their key bytes are, and how many."""
        records: list[AitRecord] = []
        offsets: list[int] = []
        sizes: list[int] = []
        at = 0
        while at < self._file.size_bytes:
            where = f"record {len(records)} at byte {at}"
            record, at = self._head(at, where)
            size, at = self._length(at, where, "key bytes")
            records.append(record)
            offsets.append(at)
            sizes.append(size)
            at += size
        return records, offsets, sizes

    def _head(self, at: int, where: str) -> tuple[AitRecord, int]:
        """Everything of a record before the length of its key, and where that length is."""
        if self._file.size_bytes - at < _FIXED.size:
            raise self._refuse(
                f"{_FIXED.size} bytes of {where}", f"{self._file.size_bytes - at}: the file is truncated", _NAME
            )
        fixed = self._file.read(at, _FIXED.size).tobytes()
        if fixed[12:17] == b"<?xml":
            raise self._refuse(
                f"a binary {where}", "the XML of a later release", "write the keys raw there, and read them as packed"
            )
        key_id, number, disclosed, rate_bytes, _ = _FIXED.unpack(fixed)
        try:
            state = KeyState(number)
        except ValueError:
            raise self._refuse(f"a state of 1 to 9 in {where}", "another number", _NAME) from None
        if state is KeyState.OTHER:
            raise self._refuse(
                f"key bits in {where}", "state OTHER, whose content only its module understands", "take a later stage"
            )
        (rate,) = _RATE.unpack(rate_bytes)
        if not _plausible(rate):
            raise self._refuse(
                f"an error rate in [0, 1] in {where}", "another number", f"{_NAME}, from a little-endian machine"
            )
        at += _FIXED.size - _LENGTH.size
        for name in ("incoming", "outgoing"):
            size, at = self._length(at, where, f"bytes of the {name} authentication scheme", _MAX_SCHEME_BYTES)
            at += size
        return AitRecord(key_id, state, disclosed, rate), at

    def _length(self, at: int, where: str, what: str, most: int | None = None) -> tuple[int, int]:
        """A length at `at` that the file can hold, and where what it counts begins."""
        left = self._file.size_bytes - at - _LENGTH.size
        if left < 0:
            raise self._refuse(f"the number of {what} of {where}", "the end of the file", _NAME)
        (size,) = _LENGTH.unpack(self._file.read(at, _LENGTH.size).tobytes())
        if most is not None and size > most:
            raise self._refuse(f"at most {most} {what} in {where}", "more", _NAME)
        if size > left:
            raise self._refuse(
                f"all the {what} of {where}", f"{left} bytes, fewer than it says: the file is truncated", _NAME
            )
        return size, at + _LENGTH.size

    def _check(self, key_bits: int | None) -> None:
        seen: set[int] = set()
        for index, record in enumerate(self.records):
            if record.state is not self.records[0].state:
                raise self._refuse(
                    f"records of one state ({self.records[0].state.label})",
                    f"{record.state.label} in record {index}",
                    "put keys of different states into different files",
                )
            if record.key_id in seen:
                raise self._refuse("each key id once", f"{record.key_id} again in record {index}", "drop one of them")
            seen.add(record.key_id)
        if not self._key_bits:
            raise self._refuse("at least one bit", "records without key bytes", "a key has at least one bit")
        if key_bits is not None and key_bits != self._key_bits:
            raise self._refuse(f"{key_bits} bits", f"{self._key_bits}", "leave --key-bits out: the records say it")

    def _refuse(self, expected: str, got: str, remedy: str) -> KeyFileError:
        return KeyFileError(
            f"{self.path}: expected {expected}, got {got}; {remedy}", path=str(self.path), expected=expected, got=got
        )


class AitKeyWriter(FormatWriter):
    """Writes keystream records; see `KeyWriter`. One record, unless `next_record` begins another.

    Args:
        path: the file to be; an existing one is replaced at `commit`.
        record: what the first record says of its bits.

    Raises:
        KeyFileError: the directory is missing or not writable, or the target is a directory; while settling, or
            beginning another record: the record's length is no multiple of 8 bits, which it cannot say.
        ConfigError: a state that caligo does not give: nothing here is amplified or authenticated, and what is written
            are key bits.
    """

    format = "ait"

    def __init__(self, path: str | os.PathLike[str], *, record: AitRecord | None = None) -> None:
        first = _require_exportable(record or AitRecord())
        super().__init__(path)
        self._settled = False
        self._records = 0
        self._begin(first)

    def next_record(self, record: AitRecord) -> None:
        """End the record that is being written, and begin another.

        Args:
            record: what it says of its bits.

        Raises:
            ConfigError: a state that caligo does not give.
            KeyFileError: the record that ends has no whole number of bytes, or the disk cannot be written.
            ResourceError: the disk is full.
        """
        _require_exportable(record)
        self._end()
        self._begin(record)

    def write(self, data: bytes | memoryview) -> None:
        """Take whole bytes in little order, as `caligo.bits.BitWriter` hands them over."""
        self._file.write(data)

    def settle(self) -> None:
        """Write out the rest; see `KeyWriter.settle`."""
        if self._settled:
            return
        self._settled = True
        self._end()
        super().settle()

    def _begin(self, record: AitRecord) -> None:
        self._records += 1
        self._first_bit = self._joined.bits
        head = _FIXED.pack(record.key_id, record.state, record.disclosed_bits, _RATE.pack(record.error_rate), 0)
        self._file.write(head + _LENGTH.pack(0) + _LENGTH.pack(0))
        # Records before this one have this head too, and every byte of the key is behind a head.
        self._length_at = self._records * (_FIXED.size + 2 * _LENGTH.size) - _LENGTH.size + self._first_bit // 8

    def _end(self) -> None:
        bits = self._joined.bits - self._first_bit
        if bits % 8:
            raise KeyFileError(
                f"cannot write {self.path}: expected a multiple of 8 bits in a record, got {bits}; cut the key, or "
                "write it packed",
                path=str(self.path),
                bits=bits,
            )
        self._file.rewrite(self._length_at, _LENGTH.pack(bits // 8))


def _require_exportable(record: AitRecord) -> AitRecord:
    if record.state not in EXPORTABLE:
        words = ", ".join(state.label for state in sorted(EXPORTABLE))
        raise ConfigError(
            f"expected a state of {words}, got {record.state.label}; caligo neither amplifies nor authenticates keys, "
            "so it never writes that they are",
            state=record.state.label,
        )
    return record


def _plausible(rate: float) -> bool:
    """Whether a number is an error rate; another byte order turns most rates into subnormal or huge numbers."""
    return rate == 0.0 or sys.float_info.min <= rate <= 1.0

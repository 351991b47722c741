"""The wire format: messages as frames of bytes, and back.

Covers: framing, the fields of every message, limits, and a parser that takes hostile bytes. Does not cover: which
message may come when (:mod:`.session`), tags and keys (:mod:`.authentication`, :mod:`.link`). Contract, with test
vectors: ``specs/wire-format.md``.

The parser refuses as soon as it can: a frame's header is judged before a byte of its payload is waited for, so what it
holds is bounded by `MAX_FRAME_BYTES` whatever a peer sends. It raises :class:`~caligo.errors.ProtocolError` and nothing
else. No error shows a byte of a payload, nor of what is no frame: that may be a key file.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from operator import attrgetter
from typing import Any, Final, cast

from caligo.bits import packed_bytes
from caligo.errors import ProtocolError, ShapeError
from caligo.reconciliation.messages import (
    Abort,
    AbortReason,
    Answer,
    Bits,
    BlockTags,
    BlockVerdicts,
    Close,
    GroupTag,
    GroupVerdict,
    Hello,
    KeepAlive,
    Message,
    Opening,
    Outcome,
    Plan,
    PlanSection,
    Request,
    Resume,
    Role,
    Sample,
    Seeds,
    Settlement,
    Terms,
)

__all__ = [
    "BUNDLE_TYPE",
    "HEADER_BYTES",
    "MAGIC",
    "MAX_BLOCK_BITS",
    "MAX_FRAME_BYTES",
    "MAX_PAYLOAD_BYTES",
    "MAX_SEGMENTS",
    "MAX_TAGS",
    "OPTIONAL",
    "TAG_BYTES",
    "TYPE_OFFSET",
    "VERSION",
    "Frame",
    "FrameReader",
    "decode_messages",
    "decode_payload",
    "encode_bundles",
    "encode_frame",
    "encode_payload",
    "message_type",
    "read_frame",
    "split_bundle",
]

MAGIC: Final = b"CLGO"
VERSION: Final = 1
OPTIONAL: Final = 0x80
"""Types and fields from here on may be unknown to the receiver, who then passes over them."""

TAG_BYTES: Final = (4, 32)
"""Lengths of a tag: CRC-32, HMAC-SHA-256."""

_HEADER = struct.Struct("<4sBBBBI16sQ")
HEADER_BYTES: Final = _HEADER.size
TYPE_OFFSET: Final = 5
"""Where a frame has its type."""
MAX_PAYLOAD_BYTES: Final = 1 << 22
MAX_FRAME_BYTES: Final = HEADER_BYTES + MAX_PAYLOAD_BYTES + max(TAG_BYTES)

MAX_BLOCK_BITS: Final = 1 << 24
"""Of a block, hence of what is disclosed of it in one message."""
MAX_SEGMENTS: Final = 1 << 18
"""Of a block: those of 64 positions in the longest one."""
MAX_TAGS: Final = 1 << 17
"""Of the blocks of a group, in one message."""

BUNDLE_TYPE: Final = 14
"""A payload that is a row of other messages' types and payloads."""

_FIELD = struct.Struct("<BI")
_MAX_FIELDS = 64
_BUNDLED_BYTES = 1 << 16
_MAX_BUNDLED = 1 << 12
_SMALL = 1 << 10


def _unsayable(what: str, expected: object) -> ProtocolError:
    return ProtocolError(
        f"{what}: expected {expected}, got something else; wire format {VERSION} cannot say it, so do not ask for it",
        field=what,
        expected=expected,
    )


def _refuse(what: str, expected: object, got: object, **more: object) -> ProtocolError:
    return ProtocolError(
        f"{what}: expected {expected}, got {got}; the peer is no caligo of this version, or the message was damaged",
        field=what,
        expected=expected,
        got=got,
        **more,
    )


# --- frames ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class Frame:
    """A frame whose header is sound; neither its tag nor its payload has been looked at.

    Args:
        type: number of the message's type.
        connection: 16 bytes; zeros in a `Hello`.
        sequence: position in its connection and direction, from 0.
        payload: the fields.
        tag: 4 or 32 bytes.
        sealed: all that the tag is computed over.
    """

    type: int
    connection: bytes
    sequence: int
    payload: bytes
    tag: bytes
    sealed: bytes

    def __repr__(self) -> str:
        return f"Frame(type={self.type}, sequence={self.sequence}, payload={len(self.payload)} bytes)"


def encode_frame(
    type: int, connection: bytes, sequence: int, payload: bytes, tag_bytes: int, seal: Callable[[bytes], bytes]
) -> bytes:
    """Make a frame.

    Args:
        type: number of the message's type.
        connection: 16 bytes.
        sequence: >= 0.
        payload: from `encode_payload`.
        tag_bytes: 4 or 32.
        seal: computes the tag of header and payload.

    Raises:
        ProtocolError: the payload is longer than its type may be.
    """
    if len(payload) > _most_bytes(type):
        raise _unsayable("payload length", f"at most {_most_bytes(type)} bytes for type {type}")
    sealed = _HEADER.pack(MAGIC, VERSION, type, 0, tag_bytes, len(payload), connection, sequence) + payload
    return sealed + seal(sealed)


def _most_bytes(type: int) -> int:
    most = _MOST_BYTES.get(type, 1 << 16 if type >= OPTIONAL else 0)
    if not most:
        raise _refuse("type", "a known message type", type)
    return most


def _parse_header(data: bytes | bytearray | memoryview) -> tuple[int, int, int, bytes, int]:
    magic, version, type_, reserved, tag_bytes, length, connection, sequence = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise _refuse("magic", MAGIC.hex(), "other bytes")
    if version != VERSION:
        raise ProtocolError(
            f"version: expected wire format {VERSION}, got {version}; run the same caligo on both sides",
            field="version",
            expected=VERSION,
            got=version,
        )
    if reserved != 0:
        raise _refuse("reserved", 0, reserved)
    if tag_bytes not in TAG_BYTES:
        raise _refuse("tag length", "4 or 32", tag_bytes)
    most = _most_bytes(type_)
    if length > most:
        raise _refuse("payload length", f"at most {most} bytes for type {type_}", length)
    return type_, tag_bytes, length, connection, sequence


class FrameReader:
    """Cuts a stream of bytes into frames.

    `wanted` says how many bytes to feed at most; feeding more is refused, so a reader never holds more than one frame.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._total: int | None = None

    def __repr__(self) -> str:
        return f"FrameReader(held={len(self._data)} bytes, wanted={self.wanted})"

    @property
    def held(self) -> int:
        """Bytes of an incomplete frame."""
        return len(self._data)

    @property
    def wanted(self) -> int:
        """Bytes that are missing until the header, or then the frame, is complete."""
        return (HEADER_BYTES if self._total is None else self._total) - len(self._data)

    def feed(self, data: bytes) -> Frame | None:
        """Take bytes of the stream.

        Args:
            data: at most `wanted` bytes.

        Returns:
            The frame that these bytes complete, if they do.

        Raises:
            ProtocolError: this is no frame, or more bytes than wanted.
        """
        if len(data) > self.wanted:
            raise _refuse("stream", f"at most {self.wanted} bytes", len(data))
        self._data += data
        seen = min(len(self._data), len(MAGIC))
        if self._total is None and self._data[:seen] != MAGIC[:seen]:
            raise _refuse("magic", MAGIC.hex(), "other bytes")
        if self._total is None and len(self._data) == HEADER_BYTES:
            _, tag_bytes, length, _, _ = _parse_header(self._data)
            self._total = HEADER_BYTES + length + tag_bytes
        if self._total is None or len(self._data) < self._total:
            return None
        frame = read_frame(bytes(self._data))
        self._data.clear()
        self._total = None
        return frame


def read_frame(data: bytes) -> Frame:
    """Parse one whole frame.

    Args:
        data: its bytes, no more and no fewer.

    Raises:
        ProtocolError: this is no frame, or it is cut short, or something follows it.
    """
    if len(data) < HEADER_BYTES:
        raise _refuse("frame", f"at least {HEADER_BYTES} bytes", len(data))
    type_, tag_bytes, length, connection, sequence = _parse_header(data)
    end = HEADER_BYTES + length
    if len(data) != end + tag_bytes:
        raise _refuse("frame", f"{end + tag_bytes} bytes", len(data))
    return Frame(type_, connection, sequence, data[HEADER_BYTES:end], data[end:], data[:end])


# --- values of fields -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one kind of value is written and read, in the same range.

    Both raise `ValueError` with a text that says what is expected and shows no payload.
    """

    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


_Field = tuple[int, str, _Kind]


def _number(form: str) -> _Kind:
    layout = struct.Struct("<" + form)

    def write(value: int | float) -> bytes:
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("a finite number")
        try:
            return layout.pack(value)
        except struct.error:
            raise ValueError(f"a number of {layout.size} bytes") from None

    def read(data: bytes) -> int | float:
        if len(data) != layout.size:
            raise ValueError(f"{layout.size} bytes")
        value: int | float = layout.unpack(data)[0]
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("a finite number")
        return value

    return _Kind(write, read)


def _fixed(size: int) -> _Kind:
    def read(data: bytes) -> bytes:
        if len(data) != size:
            raise ValueError(f"{size} bytes")
        return data

    return _Kind(read, read)


def _one_of(values: type[Role] | type[Settlement] | type[AbortReason] | type[bool]) -> _Kind:
    known = {int(value): value for value in ((False, True) if values is bool else cast(Any, values))}

    def read(data: bytes) -> object:
        if len(data) != 1 or data[0] not in known:
            raise ValueError(f"one byte of {', '.join(map(str, known))}")
        return known[data[0]]

    def write(value: int) -> bytes:
        if value not in known:
            raise ValueError(f"one of {', '.join(map(str, known))}")
        return bytes((int(value),))

    return _Kind(write, read)


def _text(most: int) -> _Kind:
    def read(data: bytes) -> str:
        if len(data) > most or any(not 0x20 <= byte < 0x7F for byte in data):
            raise ValueError(f"at most {most} printable ASCII characters")
        return data.decode("ascii")

    def write(value: str) -> bytes:
        data = value.encode("utf-8", "replace")
        read(data)
        return data

    return _Kind(write, read)


def _bits(most: int) -> _Kind:
    def read(data: bytes) -> Bits:
        length = int.from_bytes(data[:4], "little")
        if len(data) < 4 or length > most or len(data) != 4 + packed_bytes(length):
            raise ValueError(f"a length of at most {most} bits and as many bytes as it takes")
        try:
            return Bits(length, data[4:])
        except ShapeError:
            raise ValueError("zeros beyond the last bit") from None

    def write(value: Bits) -> bytes:
        if value.length > most:
            raise ValueError(f"at most {most} bits")
        return value.length.to_bytes(4, "little") + value.packed

    return _Kind(write, read)


def _rows(form: str, most: int, make: Callable[..., Any] = lambda *row: row) -> _Kind:
    layout = struct.Struct("<" + form)

    def write(rows: tuple[Any, ...]) -> bytes:
        if len(rows) > most:
            raise ValueError(f"at most {most} entries")
        plain = (
            row
            if isinstance(row, tuple)
            else (row,)
            if isinstance(row, bytes)
            else tuple(getattr(row, item.name) for item in fields(row))
            for row in rows
        )
        try:
            return b"".join(layout.pack(*row) for row in plain)
        except struct.error:
            raise ValueError(f"entries of {layout.size} bytes") from None

    def read(data: bytes) -> tuple[Any, ...]:
        if len(data) % layout.size or len(data) // layout.size > most:
            raise ValueError(f"at most {most} entries of {layout.size} bytes")
        return tuple(make(*row) for row in layout.iter_unpack(data))

    return _Kind(write, read)


U32, U64, F64 = _number("I"), _number("Q"), _number("d")
BLOCK_BITS = _bits(MAX_BLOCK_BITS)


class _Head:
    """The whole numbers that a message's payload begins with, read at once.

    Most of what a session says is short messages that are little else, and there may be many a block.
    """

    def __init__(self, fields: tuple[_Field, ...]) -> None:
        numbers = list(itertools.takewhile(lambda field: field[2] in (U32, U64), fields))
        self.layout = struct.Struct("<" + "".join("5sI" if kind is U32 else "5sQ" for _, _, kind in numbers))
        self.between = tuple(_FIELD.pack(number, 4 if kind is U32 else 8) for number, _, kind in numbers)
        self.last = numbers[-1][0] if numbers else -1

    def read(self, payload: bytes) -> tuple[int, ...] | None:
        """The values; None where the payload begins otherwise."""
        if len(payload) < self.layout.size:
            return None
        found = self.layout.unpack_from(payload)
        return found[1::2] if found[::2] == self.between else None


@dataclass(frozen=True)
class _Layout:
    """A message: the number of its type, its fields by ascending number, its greatest payload."""

    make: type[Any]
    type: int
    fields: tuple[_Field, ...]
    most_bytes: int = _SMALL

    @cached_property
    def head(self) -> _Head:
        """What it begins with."""
        return _Head(self.fields)


_TERMS: tuple[_Field, ...] = (
    (16, "key_bits", U64),
    (17, "strategy", _text(64)),
    (18, "parameters", _text(4096)),
    (19, "block_length", U32),
    (20, "list_size", U32),
    (21, "check", _text(64)),
    (22, "efficiency", F64),
    (23, "target_fer", F64),
    (24, "qber", F64),
    (25, "sample_bits", U64),
    (26, "group_bits", U64),
    (27, "max_rounds", U32),
    (28, "max_block_leakage_bits", U64),
    (29, "max_leakage_bits", U64),
)

_LAYOUTS: tuple[_Layout, ...] = (
    _Layout(
        Hello,
        1,
        ((1, "role", _one_of(Role)), (2, "nonce", _fixed(32)), (3, "session", _fixed(16)), (4, "window", U32), *_TERMS),
        1 << 14,
    ),
    _Layout(
        Resume,
        2,
        (
            (1, "setup", U32),
            (2, "groups", U64),
            (3, "closed", _one_of(bool)),
            (4, "settled_before", U64),
            (5, "turns", _rows("QI", 1 << 18)),
        ),
        MAX_PAYLOAD_BYTES,
    ),
    _Layout(Seeds, 3, ((1, "sampling_seed", _fixed(32)), (2, "hash_key", _fixed(32)))),
    _Layout(Sample, 4, ((1, "bits", BLOCK_BITS),), MAX_PAYLOAD_BYTES),
    _Layout(
        Plan,
        5,
        (
            (1, "sampled_errors", U64),
            (2, "design_qber", F64),
            (3, "sections", _rows("QII32s", 256, PlanSection)),
        ),
        1 << 14,
    ),
    _Layout(
        Opening,
        6,
        (
            (1, "block", U64),
            (2, "frozen", BLOCK_BITS),
            (3, "segment_checks", _bits(MAX_SEGMENTS * 32)),
            (4, "check", _bits(256)),
        ),
        MAX_PAYLOAD_BYTES,
    ),
    _Layout(
        Request,
        7,
        ((1, "block", U64), (2, "round", U32), (3, "wants", _rows("II", MAX_SEGMENTS))),
        MAX_PAYLOAD_BYTES,
    ),
    _Layout(Answer, 8, ((1, "block", U64), (2, "round", U32), (3, "bits", BLOCK_BITS)), MAX_PAYLOAD_BYTES),
    _Layout(Outcome, 9, ((1, "block", U64), (2, "settlement", _one_of(Settlement)))),
    _Layout(GroupTag, 10, ((1, "group", U64), (2, "bits", U64), (3, "tag", _fixed(16)))),
    _Layout(GroupVerdict, 11, ((1, "group", U64), (2, "agrees", _one_of(bool)))),
    _Layout(
        Close,
        12,
        (
            (1, "leakage_bits", U64),
            (2, "leakage_bits_both_ways", U64),
            (3, "blocks_ok", U64),
            (4, "blocks_failed", U64),
            (5, "reconciled_bits", U64),
        ),
    ),
    _Layout(Abort, 13, ((1, "reason", _one_of(AbortReason)), (2, "text", _text(240)))),
    _Layout(BlockTags, 15, ((1, "group", U64), (2, "tags", _rows("16s", MAX_TAGS, bytes))), MAX_PAYLOAD_BYTES),
    _Layout(BlockVerdicts, 16, ((1, "group", U64), (2, "agree", _bits(MAX_TAGS))), 1 << 16),
    _Layout(KeepAlive, 128, ()),
)
_BY_TYPE = {layout.type: layout for layout in _LAYOUTS}
_BY_CLASS = {layout.make: layout for layout in _LAYOUTS}
_MOST_BYTES = {layout.type: layout.most_bytes for layout in _LAYOUTS} | {BUNDLE_TYPE: _BUNDLED_BYTES}
_TERM_NAMES = frozenset(name for _, name, _ in _TERMS)
_GETTERS: dict[type[Any], tuple[tuple[int, _Kind, Callable[[Any], Any]], ...]] = {
    layout.make: tuple(
        (number, kind, attrgetter(f"terms.{name}" if layout.make is Hello and name in _TERM_NAMES else name))
        for number, name, kind in layout.fields
    )
    for layout in _LAYOUTS
}
_BUNDLED = frozenset(
    _BY_CLASS[kind].type
    for kind in (Opening, Request, Answer, Outcome, GroupTag, GroupVerdict, BlockTags, BlockVerdicts)
)


def message_type(message: Message) -> int:
    """The number of a message's type."""
    return _BY_CLASS[type(message)].type


def encode_payload(message: Message) -> bytes:
    """The fields of a message.

    Args:
        message: what to say.

    Raises:
        ProtocolError: a value that no receiver would take.
    """
    parts = []
    for number, kind, get in _GETTERS[type(message)]:
        try:
            value = kind.write(get(message))
        except ValueError as error:
            raise _unsayable(f"{type(message).__name__}: field {number}", str(error)) from None
        parts.append(_FIELD.pack(number, len(value)))
        parts.append(value)
    return b"".join(parts)


def decode_payload(type: int, payload: bytes) -> Message | None:
    """Read the fields of a message.

    Args:
        type: number of its type.
        payload: all of its fields.

    Returns:
        The message; None where its type is unknown and optional.

    Raises:
        ProtocolError: an unknown type or field that is not optional, a missing field, fields out of order, a value out
            of range.
    """
    layout = _BY_TYPE.get(type)
    if layout is None:
        if type < OPTIONAL:
            raise _refuse("type", "a known message type", type)
        return None
    head = layout.head
    begun = head.read(payload)
    values: list[Any] = [] if begun is None else list(begun)
    at, last = (0, -1) if begun is None else (head.layout.size, head.last)
    missing = iter(layout.fields[len(values) :])
    expected = next(missing, None)
    for number, value in _fields(layout.make, payload, at, len(values), last):
        if expected is None or number < expected[0]:
            if number < OPTIONAL:
                raise _refuse(f"{layout.make.__name__}: field", "a known field", number)
            continue
        if number > expected[0]:
            break
        try:
            values.append(expected[2].read(value))
        except ValueError as error:
            raise _refuse(f"{layout.make.__name__}.{expected[1]}", str(error), f"{len(value)} bytes") from None
        expected = next(missing, None)
    if expected is not None:
        raise _refuse(f"{layout.make.__name__}.{expected[1]}", "a value", "none")
    if layout.make is Hello:
        own = len(values) - len(_TERMS)
        values = [*values[:own], Terms(*values[own:])]
    return cast(Message, layout.make(*values))


def _fields(kind: type[Any], payload: bytes, at: int, seen: int, last: int) -> Iterator[tuple[int, bytes]]:
    """The numbers and values of a payload's fields from `at`, in their order; `seen` come before, to number `last`."""
    size = len(payload)
    for _ in range(seen, _MAX_FIELDS):
        if at == size:
            return
        if size - at < _FIELD.size:
            raise _refuse(f"{kind.__name__}: field", f"{_FIELD.size} bytes of number and length", size - at)
        number, length = _FIELD.unpack_from(payload, at)
        at += _FIELD.size
        if number <= last:
            raise _refuse(f"{kind.__name__}: field", f"a number above {last}", number)
        if length > size - at:
            raise _refuse(f"{kind.__name__}: field {number}", f"at most {size - at} bytes", length)
        yield number, payload[at : at + length]
        at += length
        last = number
    if at < size:
        raise _refuse(f"{kind.__name__}: fields", f"at most {_MAX_FIELDS}", "more")


# --- several messages in one frame ------------------------------------------------------------------------------------


def encode_bundles(messages: Sequence[Message]) -> list[tuple[int, bytes]]:
    """Types and payloads of the frames that carry some messages, in their order.

    Consecutive messages about blocks and groups share a frame, as long as it stays small enough that nothing in it
    waits for the rest.

    Args:
        messages: what to say.
    """
    frames: list[tuple[int, bytes]] = []
    waiting: list[tuple[int, bytes]] = []
    waiting_bytes = 0

    def flush() -> None:
        nonlocal waiting_bytes
        if len(waiting) > 1:
            entries = (_FIELD.pack(type_, len(payload)) + payload for type_, payload in waiting)
            frames.append((BUNDLE_TYPE, b"".join(entries)))
        else:
            frames.extend(waiting)
        waiting.clear()
        waiting_bytes = 0

    for message in messages:
        entry = message_type(message), encode_payload(message)
        entry_bytes = _FIELD.size + len(entry[1])
        if entry[0] not in _BUNDLED or waiting_bytes + entry_bytes > _BUNDLED_BYTES or len(waiting) == _MAX_BUNDLED:
            flush()
        waiting.append(entry)
        waiting_bytes += entry_bytes
        if entry[0] not in _BUNDLED:
            flush()
    flush()
    return frames


def split_bundle(payload: bytes) -> list[tuple[int, bytes]]:
    """Types and payloads of the messages in a bundle.

    Args:
        payload: of a frame of type `BUNDLE_TYPE`.

    Raises:
        ProtocolError: cut short, too many, or a type that has no place in a bundle.
    """
    entries: list[tuple[int, bytes]] = []
    at, size = 0, len(payload)
    while at < size:
        if len(entries) == _MAX_BUNDLED:
            raise _refuse("bundle", f"at most {_MAX_BUNDLED} messages", "more")
        if size - at < _FIELD.size:
            raise _refuse("bundle", f"{_FIELD.size} bytes of type and length", size - at)
        type_, length = _FIELD.unpack_from(payload, at)
        at += _FIELD.size
        if type_ not in _BUNDLED and type_ < OPTIONAL:
            raise _refuse("bundle", "messages about blocks and groups", f"type {type_}")
        if length > size - at:
            raise _refuse("bundle", f"at most {size - at} bytes", length)
        entries.append((type_, payload[at : at + length]))
        at += length
    return entries


def decode_messages(type: int, payload: bytes) -> list[Message | None]:
    """All messages of a frame: one, or those of a bundle; None where one is optional and unknown.

    Args:
        type: of the frame.
        payload: of the frame.

    Raises:
        ProtocolError: as `split_bundle` and `decode_payload`.
    """
    entries = split_bundle(payload) if type == BUNDLE_TYPE else [(type, payload)]
    return [decode_payload(*entry) for entry in entries]

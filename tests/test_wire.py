"""The wire format: the vectors of specs/wire-format.md, limits, and a parser that hostile bytes cannot hurt."""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
import zlib
from contextlib import nullcontext
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from toy_dialogue import terms

from caligo import _native
from caligo.codes.polar_code import MAX_BLOCK_LENGTH, MIN_SEGMENT_LENGTH
from caligo.errors import ProtocolError, ShapeError
from caligo.jobs.party_terms import MAX_SESSION_SAMPLE_BITS
from caligo.reconciliation import wire
from caligo.reconciliation.authentication import PresharedKey, hkdf_expand, hkdf_extract
from caligo.reconciliation.link import Link
from caligo.reconciliation.messages import (
    SETTLED,
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
)
from caligo.reconciliation.session.common import MAX_WINDOW, SPAN

SPEC = (Path(__file__).resolve().parent.parent / "specs" / "wire-format.md").read_text()

TERMS = replace(terms(65536), check="crc32", block_length=4096, list_size=32, group_bits=1 << 20, max_rounds=100)
EXAMPLES: list[Message] = [
    Hello(Role.ALICE, bytes(range(32)), bytes(range(16)), 64, TERMS),
    Resume(3, 1, False, 7, ((7, 2), (8, SETTLED))),
    Seeds(bytes(range(32)), bytes(range(32, 64))),
    Sample(Bits(12, b"\xa5\x0c")),
    Plan(3, 0.0223, (PlanSection(15, 4096, 4096, bytes(range(32))), PlanSection(1, 3000, 4096, bytes(32)))),
    Opening(7, Bits(10, b"\xff\x02"), Bits(0, b""), Bits(32, b"\x01\x02\x03\x04")),
    Request(7, 1, ((0, 12), (3, 32))),
    Answer(7, 1, Bits(44, b"\x01\x02\x03\x04\x05\x06")),
    Outcome(7, Settlement.GIVEN_UP),
    GroupTag(2, 1_048_576, bytes(range(16))),
    GroupVerdict(2, True),
    BlockTags(2, (bytes(range(16)), bytes(range(16, 32)))),
    BlockVerdicts(2, Bits(2, b"\x02")),
    Close(13_000, 13_050, 15, 1, 61_440),
    Abort(AbortReason.LEAKAGE_CAP, "enough"),
    KeepAlive(),
]


def vectors(heading: str) -> dict[str, bytes]:
    """Name -> bytes, of the block under a heading of the spec."""
    section = SPEC[SPEC.index(f"### {heading}") :]
    block = section[section.index("```text") + 8 :].split("```")[0]
    found: dict[str, bytes] = {}
    for line in block.splitlines():
        name, _, digits = line.partition(":")
        found[name.strip()] = bytes.fromhex(digits)
    return found


def frame_of(message: Message, sequence: int = 0) -> bytes:
    payload = wire.encode_payload(message)
    return wire.encode_frame(
        wire.message_type(message), bytes(16), sequence, payload, 4, lambda data: zlib.crc32(data).to_bytes(4, "little")
    )


# --- the contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_every_message_has_the_bytes_of_its_vector_both_ways(message: Message) -> None:
    payload = vectors("Payloads")[type(message).__name__]
    assert wire.encode_payload(message) == payload
    assert wire.decode_payload(wire.message_type(message), payload) == message


def test_every_type_of_message_has_a_vector_and_a_row_in_the_spec() -> None:
    names = {kind.__name__ for kind in get_args(Message)}
    assert set(vectors("Payloads")) == names == {type(message).__name__ for message in EXAMPLES}
    for message in EXAMPLES:
        row = re.search(rf"^\| {wire.message_type(message)} \| `{type(message).__name__}` \|(.*)$", SPEC, re.MULTILINE)
        assert row, type(message).__name__
        for item in fields(message):
            assert f"`{item.name}`" in row.group(1), (type(message).__name__, item.name)


def test_whole_frames_have_the_bytes_of_their_vectors() -> None:
    expected = vectors("Frames")
    hello_of_alice = EXAMPLES[0]
    assert isinstance(hello_of_alice, Hello)
    hello_of_bob = replace(hello_of_alice, role=Role.BOB, nonce=bytes(range(32, 64)))
    assert frame_of(hello_of_alice) == expected["Hello with CRC-32"]
    secret = PresharedKey(bytes(range(100, 132)))
    alice, bob = Link(Role.ALICE, secret), Link(Role.BOB, secret)
    (first,), (second,) = alice.send([hello_of_alice]), bob.send([hello_of_bob])
    assert first == expected["Hello with HMAC"]
    alice.receive(wire.read_frame(second))
    bob.receive(wire.read_frame(first))
    assert alice.send([EXAMPLES[6]]) == [expected["Request from Alice with HMAC"]]
    assert bob.send([EXAMPLES[6]]) == [expected["Request from Bob with HMAC"]]


def test_a_bundle_has_the_bytes_of_its_vector_and_means_the_same_as_its_messages() -> None:
    said = [EXAMPLES[6], EXAMPLES[8]]
    [(type_, payload)] = wire.encode_bundles(said)
    assert (type_, payload) == (wire.BUNDLE_TYPE, vectors("Bundle")["Request, Outcome"])
    assert [wire.decode_payload(*entry) for entry in wire.split_bundle(payload)] == said


@pytest.mark.parametrize(
    ("secret", "salt", "info", "length", "expected"),
    [
        (
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            42,
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            "0b" * 22,
            "",
            "",
            42,
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
)
def test_keys_are_derived_as_rfc_5869_says(secret: str, salt: str, info: str, length: int, expected: str) -> None:
    root = hkdf_extract(bytes.fromhex(secret), bytes.fromhex(salt))
    assert hkdf_expand(root, bytes.fromhex(info), length).hex() == expected


def test_the_keys_of_a_connection_have_the_bytes_of_their_vectors() -> None:
    expected, frames = vectors("Keys"), vectors("Frames")
    secret = bytes(range(100, 132))
    assert hkdf_extract(secret, bytes(32)) == hkdf_extract(secret, b"") == expected["root"]
    hello_of_alice = EXAMPLES[0]
    assert isinstance(hello_of_alice, Hello)
    [hello_of_bob] = Link(Role.BOB, PresharedKey(secret)).send(
        [replace(hello_of_alice, role=Role.BOB, nonce=bytes(range(32, 64)))]
    )
    hellos = hashlib.sha256(
        b"".join(hashlib.sha256(frame).digest() for frame in (frames["Hello with HMAC"], hello_of_bob))
    ).digest()
    assert hellos == expected["hellos"]
    for role, way in ((Role.ALICE, "alice to bob"), (Role.BOB, "bob to alice")):
        hello = PresharedKey(secret).hello_seal(role)
        connection = PresharedKey(secret).connection_seal(role, hellos)
        assert hello.accepts(b"data", hmac.digest(expected[f"hello, {way}"], b"data", "sha256"))
        assert connection.accepts(b"data", hmac.digest(expected[f"connection, {way}"], b"data", "sha256"))


# --- values -----------------------------------------------------------------------------------------------------------

u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
ascii_text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=64)


@st.composite
def bit_rows(draw: st.DrawFn, most: int = 200) -> Bits:
    length = draw(st.integers(0, most))
    row = np.packbits(np.array(draw(st.lists(st.integers(0, 1), min_size=length, max_size=length)), dtype=np.uint8),
                      bitorder="little")  # fmt: skip
    return Bits.of(row, length)


messages = st.one_of(
    st.builds(
        Hello,
        st.sampled_from(Role),
        st.binary(min_size=32, max_size=32),
        st.binary(min_size=16, max_size=16),
        u32,
        st.builds(
            type(TERMS),
            **{item.name: {"float": floats, "str": ascii_text}.get(str(item.type), u32) for item in fields(TERMS)},
        ),
    ),
    st.builds(Resume, u32, u64, st.booleans(), u64, st.lists(st.tuples(u64, u32), max_size=5).map(tuple)),
    st.builds(Seeds, st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32)),
    st.builds(Sample, bit_rows()),
    st.builds(
        Plan,
        u64,
        floats,
        st.lists(st.builds(PlanSection, u64, u32, u32, st.binary(min_size=32, max_size=32)), max_size=3).map(tuple),
    ),
    st.builds(Opening, u64, bit_rows(), bit_rows(), bit_rows()),
    st.builds(Request, u64, u32, st.lists(st.tuples(u32, u32), max_size=5).map(tuple)),
    st.builds(Answer, u64, u32, bit_rows()),
    st.builds(Outcome, u64, st.sampled_from(Settlement)),
    st.builds(GroupTag, u64, u64, st.binary(min_size=16, max_size=16)),
    st.builds(GroupVerdict, u64, st.booleans()),
    st.builds(BlockTags, u64, st.lists(st.binary(min_size=16, max_size=16), max_size=4).map(tuple)),
    st.builds(BlockVerdicts, u64, bit_rows()),
    st.builds(Close, u64, u64, u64, u64, u64),
    st.builds(Abort, st.sampled_from(AbortReason), ascii_text),
    st.just(KeepAlive()),
)


@given(messages)
def test_every_message_survives_the_wire(message: Message) -> None:
    data = frame_of(message, 5)
    frame = wire.read_frame(data)
    assert frame.sequence == 5
    assert frame.sealed + frame.tag == data
    assert wire.decode_payload(frame.type, frame.payload) == message


@given(messages)
def test_what_is_disclosed_shows_only_its_size(message: Message) -> None:
    for bits in (value for item in fields(message) if isinstance(value := getattr(message, item.name), Bits)):
        assert repr(bits) == f"Bits({bits.length})"
    assert "tag" not in repr(GroupTag(1, 2, bytes(16)))
    assert repr(wire.read_frame(frame_of(message))).startswith("Frame(type=")


def test_a_row_of_bits_has_its_size_and_no_stray_bit() -> None:
    assert Bits.of(np.array([5, 0], dtype=np.uint8), 3) == Bits(3, b"\x05")
    for length, packed in [(3, b""), (3, b"\x08"), (9, b"\xff"), (-1, b""), (8, b"\x00\x00")]:
        with pytest.raises(ShapeError):
            Bits(length, packed)


@given(st.lists(messages, max_size=30))
def test_messages_keep_their_order_and_number_in_bundles(said: list[Message]) -> None:
    read: list[Message | None] = []
    for type_, payload in wire.encode_bundles(said):
        entries = wire.split_bundle(payload) if type_ == wire.BUNDLE_TYPE else [(type_, payload)]
        assert len(entries) > 1 or type_ != wire.BUNDLE_TYPE
        read += [wire.decode_payload(*entry) for entry in entries]
    assert read == said


def test_what_is_long_travels_alone_and_a_bundle_stays_small() -> None:
    short, long = Outcome(1, Settlement.OK), Answer(1, 1, Bits(8 << 16, bytes(1 << 16)))
    bundles = wire.encode_bundles([short] * 3 + [long] + [short] * 10_000)
    assert [type_ for type_, _ in bundles[:3]] == [wire.BUNDLE_TYPE, 8, wire.BUNDLE_TYPE]
    assert all(len(payload) <= 1 << 16 for type_, payload in bundles if type_ == wire.BUNDLE_TYPE)


wild = st.one_of(st.integers(-(2**70), 2**70), st.floats())
wild_messages = st.one_of(
    st.builds(
        Hello,
        st.sampled_from(Role),
        st.binary(max_size=40),
        st.just(bytes(16)),
        wild,
        st.builds(
            type(TERMS),
            **{
                item.name: st.text(max_size=70) if str(item.type) == "str" else st.floats()
                for item in fields(TERMS)
                if str(item.type) in ("str", "float")
            },
            **{item.name: wild for item in fields(TERMS) if str(item.type) == "int"},
        ),
    ),
    st.builds(Abort, st.sampled_from(AbortReason), st.text(min_size=230, max_size=250)),
    st.builds(Resume, wild, wild, st.booleans(), wild, st.lists(st.tuples(wild, wild), max_size=3).map(tuple)),
    st.builds(Seeds, st.binary(max_size=40), st.binary(max_size=40)),
    st.builds(Opening, wild, bit_rows(), bit_rows(), bit_rows(400)),
)


@settings(max_examples=40)
@given(wild_messages)
def test_what_can_be_said_is_what_can_be_heard_and_nothing_is_cut(message: Message) -> None:
    try:
        payload = wire.encode_payload(message)
    except ProtocolError:
        return
    assert wire.decode_payload(wire.message_type(message), payload) == message


@pytest.mark.parametrize(
    "message",
    [
        replace(EXAMPLES[0], terms=replace(TERMS, parameters="x" * 4097)),
        replace(EXAMPLES[0], terms=replace(TERMS, strategy="où")),
        replace(EXAMPLES[0], terms=replace(TERMS, max_rounds=1 << 32)),
        replace(EXAMPLES[0], terms=replace(TERMS, qber=float("nan"))),
        Abort(AbortReason.OTHER, "x" * 241),
        Sample(Bits(wire.MAX_BLOCK_BITS + 1, bytes(wire.MAX_BLOCK_BITS // 8 + 1))),
        Plan(0, 0.02, (PlanSection(1, 1, 1, bytes(32)),) * 257),
        Resume(0, 0, False, 0, ((0, 0),) * ((1 << 18) + 1)),
        Outcome(0, 7),  # type: ignore[arg-type]
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_no_receiver_would_take_is_not_said(message: Message) -> None:
    with pytest.raises(ProtocolError):
        wire.encode_payload(message)


def test_every_block_that_can_be_made_can_be_talked_about() -> None:
    longest, segments = MAX_BLOCK_LENGTH, MAX_BLOCK_LENGTH // MIN_SEGMENT_LENGTH
    check_bits = max(map(_native.check_bits, _native.check_names()))

    def bits_of(length: int) -> Bits:
        return Bits(length, bytes(-(-length // 8)))

    for message in (
        Opening(2**63, bits_of(longest), bits_of(segments * check_bits), bits_of(check_bits)),
        Request(2**63, 1, tuple((segment, MIN_SEGMENT_LENGTH) for segment in range(segments))),
        Answer(2**63, 1, bits_of(longest)),
        Sample(bits_of(MAX_SESSION_SAMPLE_BITS)),
        Resume(3, 2**63, False, 2**63, tuple((block, SETTLED) for block in range(SPAN * MAX_WINDOW))),
    ):
        frame = wire.read_frame(frame_of(message))
        assert wire.decode_payload(frame.type, frame.payload) == message


# --- hostile bytes ----------------------------------------------------------------------------------------------------


@given(messages, st.data())
def test_a_frame_in_pieces_is_the_same_frame_and_no_more_is_held(message: Message, data: st.DataObject) -> None:
    frame = frame_of(message)
    reader, at, result = wire.FrameReader(), 0, None
    while result is None:
        assert reader.held + reader.wanted <= wire.MAX_FRAME_BYTES
        size = data.draw(st.integers(1, min(reader.wanted, len(frame) - at)))
        result = reader.feed(frame[at : at + size])
        at += size
    assert at == len(frame)
    assert result.sealed + result.tag == frame
    assert reader.held == 0


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_waited_for_never_more(data: bytes) -> None:
    reader = wire.FrameReader()
    with pytest.raises(ProtocolError) if data and data[:4] != wire.MAGIC[: len(data)] else nullcontext():
        reader.feed(data[: reader.wanted])
    with pytest.raises(ProtocolError):
        wire.read_frame(data)


@given(st.binary(min_size=wire.HEADER_BYTES, max_size=wire.HEADER_BYTES))
def test_what_is_said_about_bytes_that_are_no_frame_does_not_depend_on_them(data: bytes) -> None:
    def complaints(given: bytes) -> list[str]:
        said = []
        for parse in (wire.FrameReader().feed, wire.read_frame):
            with pytest.raises(ProtocolError) as caught:
                parse(given)
            said.append(f"{caught.value} {caught.value.fields}")
        return said

    assume(data[:4] != wire.MAGIC)
    assert complaints(data) == complaints(bytes(wire.HEADER_BYTES))


@given(st.integers(0, 255), st.binary(max_size=300))
def test_an_arbitrary_payload_is_a_message_or_a_protocol_error(type_: int, payload: bytes) -> None:
    try:
        message = wire.decode_payload(type_, payload)
    except ProtocolError:
        return
    assert message is None or is_dataclass(message)


@given(st.binary(max_size=300))
def test_an_arbitrary_bundle_is_entries_or_a_protocol_error(payload: bytes) -> None:
    try:
        entries = wire.split_bundle(payload)
    except ProtocolError:
        return
    assert sum(5 + len(value) for _, value in entries) == len(payload)


@pytest.mark.parametrize("type_", [1, 12, 13, 14, 77])
def test_only_messages_about_blocks_and_groups_have_a_place_in_a_bundle(type_: int) -> None:
    with pytest.raises(ProtocolError):
        wire.split_bundle(struct.pack("<BI", type_, 0))
    with pytest.raises(ProtocolError):
        wire.split_bundle(struct.pack("<BI", 9, 0) * 4097)


@given(messages, st.data())
def test_a_mutilated_payload_is_a_message_or_a_protocol_error(message: Message, data: st.DataObject) -> None:
    payload = bytearray(wire.encode_payload(message))
    for _ in range(data.draw(st.integers(1, 4))):
        if not payload:
            break
        at = data.draw(st.integers(0, len(payload) - 1))
        change = data.draw(st.integers(0, 2))
        if change == 0:
            payload[at] ^= 1 << data.draw(st.integers(0, 7))
        elif change == 1:
            del payload[at:]
        else:
            payload[at:at] = data.draw(st.binary(min_size=1, max_size=8))
    try:
        decoded = wire.decode_payload(wire.message_type(message), bytes(payload))
    except ProtocolError:
        return
    assert type(decoded) is type(message)


@pytest.mark.parametrize(
    ("at", "form", "value", "field"),
    [
        (0, "4s", b"HTTP", "magic"),
        (4, "B", 2, "version"),
        (5, "B", 77, "type"),
        (6, "B", 1, "reserved"),
        (7, "B", 16, "tag length"),
        (8, "I", 0xFFFF_FFFF, "payload length"),
    ],
)
def test_a_header_is_judged_before_a_byte_of_payload_is_waited_for(at: int, form: str, value: Any, field: str) -> None:
    header = bytearray(frame_of(EXAMPLES[8])[: wire.HEADER_BYTES])
    struct.pack_into("<" + form, header, at, value)
    with pytest.raises(ProtocolError) as caught:
        wire.FrameReader().feed(bytes(header))
    assert caught.value.fields["field"] == field


def test_every_type_has_its_own_limit_and_none_exceeds_the_greatest() -> None:
    for type_ in range(256):
        header = bytearray(frame_of(EXAMPLES[8])[: wire.HEADER_BYTES])
        struct.pack_into("<B", header, 5, type_)
        struct.pack_into("<I", header, 8, wire.MAX_PAYLOAD_BYTES + 1)
        with pytest.raises(ProtocolError):
            wire.FrameReader().feed(bytes(header))
    with pytest.raises(ProtocolError):
        frame_of(Resume(0, 0, False, 0, tuple((block, 0) for block in range(400_000))))


def test_more_than_one_frame_at_a_time_is_refused() -> None:
    frame = frame_of(EXAMPLES[8])
    with pytest.raises(ProtocolError):
        wire.FrameReader().feed(frame)
    with pytest.raises(ProtocolError):
        wire.read_frame(frame + b"\0")
    with pytest.raises(ProtocolError):
        wire.read_frame(frame[:-1])


# --- the future -------------------------------------------------------------------------------------------------------


def test_what_is_unknown_and_optional_is_passed_over_and_what_is_not_is_refused() -> None:
    payload = wire.encode_payload(EXAMPLES[8])
    assert wire.decode_payload(9, payload + struct.pack("<BI", 0x80, 3) + b"new") == EXAMPLES[8]
    with pytest.raises(ProtocolError):
        wire.decode_payload(9, payload + struct.pack("<BI", 0x7F, 3) + b"new")
    assert wire.decode_payload(0xFE, b"anything") is None
    with pytest.raises(ProtocolError):
        wire.decode_payload(0x7E, b"anything")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        struct.pack("<BIQ", 1, 8, 7),
        struct.pack("<BIB", 2, 1, 0) + struct.pack("<BIQ", 1, 8, 7),
        struct.pack("<BIQ", 1, 8, 7) * 2 + struct.pack("<BIB", 2, 1, 0),
        struct.pack("<BIQ", 1, 8, 7) + struct.pack("<BIB", 2, 1, 3),
        struct.pack("<BIQ", 1, 8, 7) + struct.pack("<BI", 2, 2**31),
        struct.pack("<BIQ", 1, 8, 7) + b"\x02",
        struct.pack("<BII", 1, 4, 7) + struct.pack("<BIB", 2, 1, 0),
    ],
    ids=["empty", "missing", "order", "twice", "range", "beyond", "torn", "size"],
)
def test_fields_are_complete_in_order_once_and_in_range(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.decode_payload(9, payload)


def test_a_number_must_be_finite_and_a_text_printable() -> None:
    plan = bytearray(wire.encode_payload(EXAMPLES[4]))
    at = plan.index(struct.pack("<d", 0.0223))
    for value in (float("nan"), float("inf")):
        struct.pack_into("<d", plan, at, value)
        with pytest.raises(ProtocolError):
            wire.decode_payload(5, bytes(plan))
    abort = wire.encode_payload(Abort(AbortReason.LEAKAGE_CAP, "enough")).replace(b"enough", b"eno\x1b[h")
    with pytest.raises(ProtocolError):
        wire.decode_payload(13, abort)

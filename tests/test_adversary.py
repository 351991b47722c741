"""Whoever sits between the two parties without their secret can cost connections, and nothing else."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_dialogue import Party, alice_session, bob_session, terms, two_keys

from caligo.errors import CaligoError, ProtocolError
from caligo.reconciliation.authentication import Authentication, CallerChannel, PresharedKey
from caligo.reconciliation.link import MAX_IDLE_MESSAGES
from caligo.reconciliation.messages import Answer, Bits, KeepAlive, Message, Opening, Outcome, Role, Settlement
from caligo.reconciliation.wire import (
    MAX_FRAME_BYTES,
    FrameReader,
    encode_frame,
    encode_payload,
    message_type,
)

KEY_BITS = 256 * 10 + 13
ALICE, BOB = two_keys(KEY_BITS)
TOY = terms(KEY_BITS, strategy="toy", efficiency=1.3)
SAMPLED = terms(KEY_BITS, strategy="toy", efficiency=1.3, qber=0.0, sample_bits=500)
SECRET = PresharedKey(bytes(range(32)))


def parties(agreed: Any, by: Authentication) -> tuple[Party, Party]:
    return Party(alice_session(ALICE, agreed), by), Party(bob_session(BOB, agreed), by)


def feed(party: Party, reader: FrameReader, data: bytes) -> bool:
    """Give a party bytes as a connection would; whether the connection is still good."""
    try:
        while data:
            assert reader.held + reader.wanted <= MAX_FRAME_BYTES
            piece, data = data[: reader.wanted], data[reader.wanted :]
            frame = reader.feed(piece)
            if frame is not None:
                party.endpoint.receive(frame)
    except ProtocolError:
        return False
    return True


Disturb = Callable[[bool, bytes], bytes]
"""From the direction and what was said to what arrives."""


def one_connection(alice: Party, bob: Party, number: int, disturb: Disturb) -> None:
    """Until both are done, or one gives the connection up, or nothing moves any more."""
    sides = {True: alice, False: bob}
    readers = {True: FrameReader(), False: FrameReader()}
    for side, party in sides.items():
        party.endpoint.connect(bytes([1 + side, number % 256]) * 16)
    while True:
        moved = False
        for side, party in sides.items():
            for frame in party.endpoint.take_frames():
                moved = True
                good = feed(sides[not side], readers[not side], disturb(side, frame))
                for each in sides.values():
                    each.note()
                if not good:
                    return
        if not moved and not (frames := bob.work()):
            return
        if not moved:
            for frame in frames:
                if not feed(alice, readers[True], disturb(False, frame)):
                    return


def undisturbed(_: bool, frame: bytes) -> bytes:
    return frame


class Adversary:
    """Does one thing after another to the frames that pass; remembers all of them."""

    def __init__(self, plan: list[tuple[int, str, int]]) -> None:
        self._plan = {at: (what, number) for at, what, number in plan}
        self._seen: list[bytes] = []
        self._held: dict[bool, bytes] = {True: b"", False: b""}

    def __call__(self, side: bool, frame: bytes) -> bytes:
        self._seen.append(frame)
        what, number = self._plan.get(len(self._seen), ("", 0))
        held, self._held[side] = self._held[side], b""
        if what == "hold":
            self._held[side] = held + frame
            return b""
        return self._do(what, number, frame) + held

    def _do(self, what: str, number: int, frame: bytes) -> bytes:
        changed = bytearray(frame)
        other = self._seen[number % len(self._seen)]
        if what == "flip":
            changed[number // 8 % len(frame)] ^= 1 << number % 8
        elif what == "version":
            changed[4] = number % 256
        elif what == "length":
            struct.pack_into("<I", changed, 8, number * 2654435761 % (1 << 32))
        elif what == "sequence":
            struct.pack_into("<Q", changed, 28, number)
        elif what == "connection":
            changed[12:28] = other[12:28]
        actions: dict[str, bytes] = {
            "drop": b"",
            "cut": frame[: number % len(frame)],
            "repeat": frame + frame,
            "other": other,
            "before": other + frame,
            "behind": frame + other,
            "spliced": frame[: len(frame) // 2] + other[len(other) // 2 :],
            "garbage": frame + np.random.default_rng(number).bytes(number % 5000),
            "forged": frame + forged(SECRET, number, Outcome(number % 10, Settlement.OK)),
            "flood": b"".join(forged(SECRET, each, KeepAlive()) for each in range(number % 300)) + frame,
        }
        return actions.get(what, bytes(changed))


def forged(by: Authentication, sequence: int, message: Message) -> bytes:
    """A frame of somebody who knows everything but the secret."""
    return encode_frame(
        message_type(message), bytes(16), sequence, encode_payload(message), by.tag_bytes, lambda _: bytes(by.tag_bytes)
    )


ACTIONS = (
    "flip", "version", "length", "sequence", "connection", "drop", "cut", "repeat", "other", "before", "behind",
    "spliced", "garbage", "forged", "flood", "hold",
)  # fmt: skip


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.sampled_from(ACTIONS), st.integers(0, 1 << 20)), max_size=12),
    st.sampled_from([TOY, SAMPLED]),
)
def test_without_the_secret_nothing_can_be_changed_but_the_number_of_connections(
    plan: list[tuple[int, str, int]], agreed: Any
) -> None:
    alice, bob = parties(agreed, SECRET)
    adversary = Adversary(plan)
    for number in range(len(plan) + 1):
        one_connection(alice, bob, number, adversary)
    if not (alice.session.is_closed and bob.session.is_closed):
        one_connection(alice, bob, len(plan) + 1, undisturbed)
    assert alice.session.failure is bob.session.failure is None
    assert alice.session.is_closed or bob.session.is_closed, "only a last word can be missing"
    expected = parties(agreed, SECRET)
    one_connection(*expected, 0, undisturbed)
    assert bob.account == expected[1].account
    assert bob.key == expected[1].key
    assert alice.key == bob.key
    assert alice.account == bob.account


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.sampled_from(ACTIONS), st.integers(0, 1 << 20)), max_size=12),
    st.sampled_from([TOY, SAMPLED]),
)
def test_accidents_on_a_channel_of_the_callers_give_no_wrong_key_and_only_our_errors(
    plan: list[tuple[int, str, int]], agreed: Any
) -> None:
    alice, bob = parties(agreed, CallerChannel())
    adversary = Adversary(plan)
    for number in range(len(plan) + 2):
        if alice.session.failure is None is bob.session.failure:
            one_connection(alice, bob, number, adversary)
    shorter, longer = sorted((alice.key, bob.key), key=len)
    assert longer[: len(shorter)] == shorter or alice.session.failure is not None or bob.session.failure is not None


# --- a peer who has the secret, and is not to be trusted --------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 255), st.data())
def test_bits_of_another_block_or_of_another_length_never_make_a_wrong_key(
    first: int, second: int, seed: int, data: st.DataObject
) -> None:
    """Alice's machine is broken: her answers and openings carry other bits than her key's."""
    alice, bob = parties(TOY, SECRET)
    receive = bob.session.receive
    held: dict[int, Message] = {}

    def wrongly(*messages: Message) -> list[Message]:
        return receive(*(other(message) for message in messages))

    def other(message: Message) -> Message:
        if isinstance(message, (Opening, Answer)) and message.block in (first, second):
            name = "frozen" if isinstance(message, Opening) else "bits"
            row: Bits = getattr(message, name)
            last = held.setdefault(row.length, message)
            bits = getattr(last, name, row)
            length = row.length + data.draw(st.sampled_from([0, 0, 0, 0, -1, 8]))
            if length != row.length:
                bits = Bits(max(length, 0), bytes(-(-max(length, 0) // 8)))
            return type(message)(**{field: getattr(message, field) for field in message.__slots__} | {name: bits})
        return message

    bob.session.receive = wrongly  # type: ignore[method-assign]
    one_connection(alice, bob, 0, undisturbed)
    if alice.session.is_closed and bob.session.is_closed:
        assert alice.key == bob.key
        assert alice.account == bob.account
    else:
        assert isinstance(alice.session.failure or bob.session.failure, CaligoError)


@pytest.mark.parametrize(
    ("type_", "payload"),
    [(128, b""), (200, bytes(1 << 16)), (14, b""), (14, struct.pack("<BI", 200, 0) * 64)],
    ids=["keep alive", "unknown", "empty bundles", "bundles of unknown"],
)
def test_a_flood_of_what_says_nothing_is_ended_and_takes_bounded_memory(type_: int, payload: bytes) -> None:
    alice, bob = parties(TOY, CallerChannel())
    one_connection(alice, bob, 0, lambda _, frame: frame if len(frame) < 2000 else b"")
    link = bob.endpoint._link
    assert link is not None
    seal, reader = CallerChannel().hello_seal(Role.ALICE), FrameReader()
    tracemalloc.start()
    try:
        for _ in range(MAX_IDLE_MESSAGES + 1):
            frame = encode_frame(type_, link._connection, link._received, payload, 4, seal.tag)
            if not feed(bob, reader, frame):
                break
        else:
            pytest.fail("a flood is ended")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()

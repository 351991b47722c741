"""Two parties who talk: one key, one account, whatever is lost, late, hostile or wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_wire import bit_rows, messages
from toy_dialogue import (
    MemoryKey,
    Party,
    alice_session,
    bob_session,
    code_for,
    converse,
    talk,
    terms,
    two_keys,
    workshop,
)

from caligo import bits
from caligo.errors import CaligoError, KeyFileError, ProtocolError
from caligo.reconciliation.authentication import Authentication, CallerChannel, PresharedKey
from caligo.reconciliation.endpoint import Endpoint
from caligo.reconciliation.link import MAX_IDLE_MESSAGES, Link
from caligo.reconciliation.messages import (
    Abort,
    AbortReason,
    Answer,
    Bits,
    BlockTags,
    BlockVerdicts,
    Close,
    GroupVerdict,
    Hello,
    KeepAlive,
    Message,
    Opening,
    Outcome,
    Request,
    Resume,
    Role,
    Settlement,
)
from caligo.reconciliation.session import BobSession
from caligo.reconciliation.verification import TAG_BITS
from caligo.reconciliation.wire import encode_frame, read_frame

KEY_BITS = 256 * 12 + 13
ALICE, BOB = two_keys(KEY_BITS)
ONE_WAY = terms(KEY_BITS)
TOY = terms(KEY_BITS, strategy="toy", efficiency=1.3)
SAMPLED = terms(KEY_BITS, strategy="toy", efficiency=1.3, qber=0.0, sample_bits=700)
SECRET = PresharedKey(bytes(range(32)))


def parties(
    agreed: Any = TOY, *, window: int = 5, keys: tuple[Any, Any] = (ALICE, BOB), by: Authentication | None = None
) -> tuple[Party, Party]:
    return (
        Party(alice_session(keys[0], agreed, window=window), by),
        Party(bob_session(keys[1], agreed, window=window), by),
    )


def undisturbed(agreed: Any) -> dict[str, Any]:
    alice, bob = parties(agreed)
    talk(alice, bob)
    assert alice.session.is_closed
    assert alice.account == bob.account
    return alice.account | {"key": alice.key}


def disclosed_by(alice: Party) -> int:
    return alice.session.totals.leakage.leakage_bits


# --- the way through --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agreed", [ONE_WAY, TOY, SAMPLED], ids=["one-way", "asking", "asking, sampled"])
@pytest.mark.parametrize("window", [1, 3, 100])
def test_both_come_to_one_key_and_one_account(agreed: Any, window: int) -> None:
    alice, bob = parties(agreed, window=window, by=SECRET)
    talk(alice, bob)
    assert alice.session.is_closed
    assert bob.session.is_closed
    assert alice.account == bob.account
    assert alice.key == bob.key
    assert len(alice.key) == bits.packed_bytes(alice.session.totals.reconciled_bits) > 0
    code = code_for(agreed, bob.plan.design_qber)  # type: ignore[union-attr]
    totals = alice.session.totals
    assert totals.leakage.opened.syndrome_bits == bob.session.blocks * code.syndrome_bits
    assert totals.leakage.opened.check_bits == bob.session.blocks * code.check_bits
    assert totals.leakage.opened.verification_bits == TAG_BITS * totals.tags
    per_block = [block.leakage for group in alice.groups for block in group.blocks]
    assert sum(per_block[1:], per_block[0]) == totals.leakage


def test_a_strategy_that_asks_does_ask_and_every_answered_bit_counts() -> None:
    account = undisturbed(TOY)
    assert account["rounds"][0] > 0
    assert account["leakage"].answer_bits > 0
    assert account["leakage"].leakage_bits_both_ways > account["leakage"].leakage_bits


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 20))
def test_the_order_in_which_blocks_finish_changes_nothing(seed: int, window: int) -> None:
    alice, bob = parties(TOY, window=window)
    talk(alice, bob, rng=np.random.default_rng(seed))
    assert alice.account == bob.account
    assert alice.account | {"key": bob.key} == undisturbed(TOY)


@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.integers(2, 12))
def test_replies_come_in_the_order_of_what_they_answer_however_decoding_overtakes(rng: Random, window: int) -> None:
    alice, bob = (party.session for party in parties(TOY, window=window))
    assert isinstance(bob, BobSession)
    for_bob: list[Message] = [alice.connect(bytes(32))]
    for_alice: list[Message] = [bob.connect(bytes(32))]
    asked, replied, at_work = [], [], []
    while for_bob or for_alice or at_work:
        moves = [for_bob] * bool(for_bob) + [for_alice] * bool(for_alice) + [at_work] * bool(at_work)
        move: list[Any] = rng.choice(moves)
        if move is for_bob:
            message = for_bob.pop(0)
            asked += [message.block] if isinstance(message, Opening | Answer) else []
            said = bob.receive(message)
            while (piece := bob.next_work(1)) is not None:
                at_work.append(piece)
        elif move is at_work:
            piece = at_work.pop(rng.randrange(len(at_work)))
            said = bob.finish(piece, piece.run())
        else:
            for_bob += alice.receive(for_alice.pop(0))
            continue
        for_alice += said
        replied += [message.block for message in said if isinstance(message, Request | Outcome)]
    assert bob.is_closed
    assert len(asked) > bob.blocks
    assert asked == replied


def test_the_time_of_a_block_is_that_of_all_its_steps() -> None:
    agreed = replace(TOY, max_rounds=2)
    alice, bob = parties(agreed)
    talk(alice, bob)
    blocks = [block for group in bob.groups for block in group.blocks]
    assert {Settlement.OK, Settlement.GIVEN_UP} <= {block.settlement for block in blocks}
    # Every step of the toy takes a nanosecond.
    assert [block.elapsed_ns for block in blocks] == [block.rounds + 1 for block in blocks]


def test_the_blocks_in_flight_stay_within_the_smaller_window() -> None:
    alice = Party(alice_session(ALICE, TOY, window=3))
    bob = Party(bob_session(BOB, TOY, window=50))
    most = 0

    def watch() -> None:
        nonlocal most
        most = max(most, len(bob.session.unsettled), len(alice.session.unsettled))

    converse(alice, bob, watch=watch)
    assert most == 3


# --- lost connections -------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.lists(st.integers(0, 60), max_size=6), st.integers(0, 2**32), st.sampled_from([ONE_WAY, TOY, SAMPLED]))
def test_connections_lost_anywhere_and_often_change_nothing(cuts: list[int], seed: int, agreed: Any) -> None:
    alice, bob = parties(agreed, by=SECRET)
    rng = np.random.default_rng(seed)
    for number, cut in enumerate(cuts):
        talk(alice, bob, frames=cut, rng=rng, number=number)
    talk(alice, bob, rng=rng, number=len(cuts))
    assert alice.session.is_closed
    assert bob.session.is_closed
    assert alice.account == bob.account
    assert alice.key == bob.key
    assert alice.account | {"key": alice.key} == undisturbed(agreed)
    assert alice.session._key.samples_taken == (1 if agreed.sample_bits else 0)  # type: ignore[attr-defined]


def test_what_bob_decodes_while_there_is_no_connection_is_said_on_the_next() -> None:
    alice, bob = next(pair for pair in (midway(TOY, frames) for frames in range(30)) if pair[1].session.ready)  # type: ignore[union-attr]
    bob.session.connect(bytes(32))
    piece = bob.session.next_work()  # type: ignore[union-attr]
    assert piece is not None
    assert bob.session.finish(piece, piece.run()) == []  # type: ignore[union-attr]
    talk(alice, bob, number=1)
    assert alice.account | {"key": alice.key} == undisturbed(TOY)


def test_a_bob_who_forgot_everything_is_refused() -> None:
    alice, bob = parties(TOY)
    talk(alice, bob, frames=20)
    with pytest.raises(ProtocolError):
        talk(alice, Party(bob_session(BOB, TOY)), number=1)


def test_another_session_of_the_same_alice_is_refused() -> None:
    alice, bob = parties(TOY)
    talk(alice, bob, frames=12)
    with pytest.raises(ProtocolError) as caught:
        talk(Party(alice_session(ALICE, TOY, session=bytes(16)[:-1] + b"x")), bob, number=1)
    assert caught.value.fields["field"] == "session"


def test_a_replayed_hello_leaves_no_trace_in_a_session() -> None:
    alice, bob = parties(TOY)
    old = alice_session(ALICE, TOY, session=b"another session!").connect(bytes(32))
    bob.session.connect(bytes(32))
    bob.session.receive(old)
    talk(alice, bob, number=1)
    assert alice.session.is_closed
    assert alice.account | {"key": bob.key} == undisturbed(TOY)


def test_a_position_that_cannot_be_is_refused() -> None:
    for changes in (
        {"setup": 9},
        {"groups": 9},
        {"settled_before": 99},
        {"turns": ((0, 5),)},
        {"turns": ((0, 1), (0, 1))},
        {"turns": ((99, 1),)},
    ):
        for role in (Role.ALICE, Role.BOB):
            alice, bob = parties(TOY)
            talk(alice, bob, frames=14)
            victim = (alice if role is Role.ALICE else bob).session
            peer = (bob if role is Role.ALICE else alice).session
            hello = peer.connect(bytes(32))
            victim.connect(bytes(32))
            victim.receive(hello)
            resume = replace(peer._position(), **changes)
            with pytest.raises(ProtocolError):
                victim.receive(resume)


# --- agreement --------------------------------------------------------------------------------------------------------

OTHER: dict[str, Any] = {
    "key_bits": KEY_BITS + 1,
    "strategy": "one-way",
    "parameters": '{"a":1}',
    "block_length": 512,
    "list_size": 8,
    "check": "crc32",
    "efficiency": 1.31,
    "target_fer": 0.1,
    "qber": 0.021,
    "sample_bits": 7,
    "group_bits": 2048,
    "max_rounds": 9,
    "max_block_leakage_bits": 1000,
    "max_leakage_bits": 1000,
}


def test_every_term_is_in_the_table_of_this_test() -> None:
    assert set(OTHER) == {item.name for item in fields(TOY)}


@pytest.mark.parametrize("name", OTHER)
def test_terms_that_differ_are_refused_by_name_before_anything_is_disclosed(name: str) -> None:
    alice = Party(alice_session(ALICE, TOY))
    bob = Party(bob_session(BOB, replace(TOY, **{name: OTHER[name]})))
    with pytest.raises(ProtocolError) as caught:
        talk(alice, bob)
    assert caught.value.fields["field"] == name
    assert disclosed_by(alice) == 0
    assert alice.session._key.samples_taken == bob.session._key.samples_taken == 0  # type: ignore[attr-defined]


def test_another_design_is_refused_before_a_block_is_opened() -> None:
    alice = Party(alice_session(ALICE, ONE_WAY))
    session = BobSession(MemoryKey(BOB, KEY_BITS), ONE_WAY, workshop(replace(ONE_WAY, efficiency=2.0), "bob"), window=5)
    with pytest.raises(ProtocolError) as caught:
        talk(alice, Party(session))
    assert caught.value.fields["field"] == "code_digest"
    assert disclosed_by(alice) == 0


def test_another_layout_is_refused_before_a_block_is_opened() -> None:
    class Shorter:
        design_for = workshop(ONE_WAY, "bob").design_for

        def prepare(self, design_qber: Any, key_bits: int, seeds: Any) -> Any:
            return workshop(ONE_WAY, "bob").prepare(design_qber, key_bits - 256, seeds)

    alice = Party(alice_session(ALICE, ONE_WAY))
    with pytest.raises(ProtocolError) as caught:
        talk(alice, Party(BobSession(MemoryKey(BOB, KEY_BITS), ONE_WAY, Shorter(), window=5)))
    assert caught.value.fields["field"] == "blocks"
    assert disclosed_by(alice) == 0


# --- caps -------------------------------------------------------------------------------------------------------------


def test_bob_gives_a_block_up_before_the_cap_of_rounds() -> None:
    alice, bob = parties(replace(TOY, max_rounds=1))
    talk(alice, bob)
    assert alice.account == bob.account
    assert alice.key == bob.key
    assert alice.session.totals.rounds_max == 1
    assert alice.session.totals.given_up > 0


def test_bob_gives_a_block_up_before_the_cap_of_its_leakage() -> None:
    cap = code_for(TOY, 0.02).leakage_bits + 30
    alice, bob = parties(replace(TOY, max_block_leakage_bits=cap))
    talk(alice, bob)
    assert alice.account == bob.account
    assert alice.session.totals.given_up > 0
    for group in alice.groups:
        for block in group.blocks:
            assert block.leakage.leakage_bits - block.leakage.opened.verification_bits <= cap


@pytest.mark.parametrize("agreed", [ONE_WAY, TOY], ids=["one-way", "asking"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
def test_a_session_ends_for_both_before_its_leakage_cap(agreed: Any, share: float) -> None:
    cap = int(share * undisturbed(agreed)["leakage"].leakage_bits)
    alice, bob = parties(replace(agreed, max_leakage_bits=cap))
    talk(alice, bob)
    assert disclosed_by(alice) <= cap
    assert alice.session.failure is not None
    assert "leakage cap" in alice.session.failure.message
    assert bob.session.failure is not None
    assert bob.session.failure.fields["reason"] == "leakage_cap"
    assert not alice.session.is_closed
    assert not bob.session.is_closed
    enough = undisturbed(agreed)["leakage"].leakage_bits
    assert undisturbed(replace(agreed, max_leakage_bits=enough))["ok"] == undisturbed(agreed)["ok"]


def test_an_abort_ends_the_session_of_the_peer_with_its_reason() -> None:
    alice, bob = parties(TOY)
    talk(alice, bob, frames=20)
    for message in alice.session.abort(ProtocolError("disk full\x1b[2J"), AbortReason.RESOURCE):
        assert bob.session.receive(message) == []
    assert bob.session.failure is not None
    assert bob.session.failure.fields["reason"] == "resource"
    assert bob.session.next_work() is None  # type: ignore[union-attr]
    with pytest.raises(ProtocolError):
        bob.session.receive(KeepAlive())


@settings(max_examples=10)
@given(st.text(max_size=300), st.sampled_from(AbortReason))
def test_the_peer_is_told_the_reason_and_nothing_of_the_error(text: str, reason: AbortReason) -> None:
    alice, _ = midway(TOY, 20)
    said = alice.session.abort(ProtocolError(text, path=text), reason)
    assert said == [Abort(reason, reason.sentence)]
    assert alice.session.failure is not None
    assert alice.session.failure.message == text


# --- groups whose tags differ -----------------------------------------------------------------------------------------

LONG_BITS = 1024 * 40
UNCHECKED = terms(LONG_BITS, block_length=1024, check="none", efficiency=1.55, group_bits=1024 * 8)
LONG = two_keys(LONG_BITS)


@pytest.mark.parametrize("cut", [None, 30, 45])
def test_of_a_group_whose_tags_differ_only_the_wrong_blocks_are_lost(cut: int | None) -> None:
    alice, bob = parties(UNCHECKED, keys=LONG)
    if cut is not None:
        talk(alice, bob, frames=cut)
    talk(alice, bob, number=1)
    assert alice.session.is_closed
    assert alice.account == bob.account
    assert alice.key == bob.key
    totals = bob.session.totals
    assert totals.failed_verification > 0
    assert any(not group.agrees and group.key.bits for group in bob.groups)
    whole = bits.unpack(LONG[0], LONG_BITS).reshape(-1, 1024)
    kept = [whole[block.block] for group in bob.groups for block in group.blocks if block.confirmed]
    assert bytes(bits.pack(np.concatenate(kept))) == bob.key
    told_apart = sum(len(group.blocks) for group in bob.groups if not group.agrees)
    assert totals.leakage.opened.verification_bits == TAG_BITS * (len(bob.groups) + told_apart)


def test_blocks_are_not_told_apart_where_the_cap_forbids_it_or_they_are_too_short() -> None:
    one_group = replace(UNCHECKED, group_bits=LONG_BITS)
    enough = 40 * code_for(UNCHECKED, 0.02).leakage_bits + TAG_BITS
    for agreed in (replace(one_group, max_leakage_bits=enough), replace(UNCHECKED, block_length=256, efficiency=2.0)):
        alice, bob = parties(agreed, keys=LONG)
        talk(alice, bob)
        assert alice.session.is_closed
        assert alice.account == bob.account
        assert alice.key == bob.key
        for group in bob.groups:
            assert {block.confirmed for block in group.blocks} == {group.agrees}
        assert bob.session.totals.failed_verification > 0


# --- keys that do not belong together ---------------------------------------------------------------------------------


def odd_keys() -> dict[str, tuple[Any, Any]]:
    shifted = bits.slice_bits(ALICE, 1, KEY_BITS - 1)
    zeros = np.zeros_like(ALICE)
    return {
        "identical": (ALICE, ALICE),
        "unrelated": (ALICE, two_keys(KEY_BITS, seed=99)[0]),
        "shifted": (ALICE, bits.pack(np.append(bits.unpack(shifted, KEY_BITS - 1), 0).astype(np.uint8))),
        "constant": (zeros, zeros),
        "one constant": (ALICE, zeros),
    }


@pytest.mark.parametrize("name", odd_keys())
@pytest.mark.parametrize("agreed", [ONE_WAY, TOY], ids=["one-way", "asking"])
def test_no_wrong_key_comes_of_odd_keys(name: str, agreed: Any) -> None:
    alice, bob = parties(agreed, keys=odd_keys()[name])
    talk(alice, bob)
    assert alice.session.is_closed
    assert alice.account == bob.account
    assert alice.key == bob.key
    expected = bob.session.blocks if name in ("identical", "constant") else 0
    assert alice.session.totals.blocks_ok == expected


def test_a_sample_of_unrelated_keys_ends_the_session() -> None:
    agreed = replace(ONE_WAY, qber=0.0, sample_bits=500)
    alice, bob = parties(agreed, keys=odd_keys()["unrelated"])
    with pytest.raises(KeyFileError, match="do not look like two sides"):
        talk(alice, bob)
    assert disclosed_by(alice) == 0


# --- a hostile peer ---------------------------------------------------------------------------------------------------


def midway(agreed: Any, frames: int) -> tuple[Party, Party]:
    alice, bob = parties(agreed)
    talk(alice, bob, frames=frames)
    return alice, bob


def error_of(action: Callable[[], object]) -> CaligoError | None:
    """What an action is refused with, if it is; anything but an error of ours passes through and fails the test."""
    try:
        action()
    except CaligoError as error:
        return error
    return None


small = st.integers(0, 14)
plausible = st.one_of(
    messages.filter(lambda message: not isinstance(message, Hello)),
    st.builds(Opening, small, st.just(Bits(31, bytes(4))), st.just(Bits(0, b"")), st.just(Bits(16, b"ab"))),
    st.builds(Request, small, st.integers(0, 3), st.just(((0, 12), (1, 12)))),
    st.builds(Request, small, st.integers(0, 3), st.lists(st.tuples(small, small), max_size=3).map(tuple)),
    st.builds(Answer, small, st.integers(0, 3), st.one_of(bit_rows(40), st.just(Bits(24, bytes(3))))),
    st.builds(Outcome, small, st.sampled_from(Settlement)),
    st.builds(GroupVerdict, small, st.booleans()),
    st.builds(BlockTags, small, st.just((bytes(16),) * 4)),
    st.builds(BlockVerdicts, small, bit_rows(6)),
    st.builds(Resume, small, small, st.booleans(), small, st.lists(st.tuples(small, small), max_size=4).map(tuple)),
    st.just(Close(0, 0, 0, 0, 0)),
)


@settings(max_examples=80)
@given(
    st.sampled_from(["alice", "bob"]),
    st.integers(0, 60),
    st.lists(plausible, min_size=1, max_size=12),
    st.booleans(),
)
def test_a_hostile_peer_gets_protocol_errors_and_no_more_than_the_account_says(
    role: str, frames: int, said: list[Message], reconnects: bool
) -> None:
    alice, bob = midway(TOY, frames)
    victim = alice if role == "alice" else bob
    session = victim.session
    spoken: list[Message] = []
    before = session.totals.leakage.answer_bits

    def listen() -> None:
        if reconnects:
            hello = (bob if role == "alice" else alice).session.connect(bytes(32))
            session.connect(bytes(32))
            spoken.extend(session.receive(hello))
        for message in said:
            spoken.extend(session.receive(message))
            if isinstance(session, BobSession):
                while (piece := session.next_work()) is not None:
                    spoken.extend(session.finish(piece, piece.run()))

    error = error_of(listen)
    if error is not None:
        assert isinstance(error, ProtocolError)
        assert error_of(lambda: session.receive(KeepAlive())) is not None, "it is over"
    answers = {(m.block, m.round): m.bits.length for m in spoken if isinstance(m, Answer)}
    repeated = 0 if not reconnects else TOY.block_length * 12
    assert sum(answers.values()) <= session.totals.leakage.answer_bits - before + repeated
    victim.note()
    whole = bits.unpack(ALICE, KEY_BITS)
    if role == "bob":
        # Groups come in order, so what Bob accepts is what Alice has, block by block.
        for group in victim.groups:
            taken = [whole[256 * b.block : 256 * (b.block + 1)] for b in group.blocks if b.confirmed]
            if group.key.bits:
                assert np.array_equal(bits.unpack(group.key.packed, group.key.bits), np.concatenate(taken))


@settings(max_examples=40)
@given(st.integers(0, 11), st.integers(0, 11), st.sampled_from([ONE_WAY, TOY]), st.booleans(), st.data())
def test_bits_of_another_block_or_changed_bits_end_in_failed_blocks_never_in_a_wrong_key(
    first: int, second: int, agreed: Any, swap: bool, data: st.DataObject
) -> None:
    alice, bob = parties(agreed, window=100)
    held: dict[int, Opening] = {}

    def disturb(message: Message) -> list[Message]:
        if isinstance(message, Opening) and message.block in (first, second) and swap:
            held[message.block] = message
            return [replace(held.get(first + second - message.block, message), block=message.block)]
        if isinstance(message, (Opening, Answer)) and message.block == first:
            name = "frozen" if isinstance(message, Opening) else "bits"
            row: Bits = getattr(message, name)
            flipped = bytearray(row.packed)
            at = data.draw(st.integers(0, row.length - 1))
            flipped[at // 8] ^= 1 << at % 8
            return [replace(message, **{name: Bits(row.length, bytes(flipped))})]
        return [message]

    converse(alice, bob, to_bob=disturb)
    assert alice.session.is_closed
    assert alice.account == bob.account
    assert alice.key == bob.key


def test_a_repeated_message_is_refused_by_the_session_too() -> None:
    for kind in (Opening, Answer, Request, Outcome):
        alice, bob = parties(TOY)

        def twice(message: Message) -> list[Message]:
            return [message] * (2 if isinstance(message, kind) else 1)  # noqa: B023 - called at once

        with pytest.raises(ProtocolError):
            converse(alice, bob, to_bob=twice, to_alice=twice)


def test_neither_side_shows_a_bit_of_its_key() -> None:
    for keys in ((ALICE, BOB), (np.zeros_like(ALICE), np.zeros_like(ALICE))):
        alice, bob = parties(ONE_WAY, keys=keys)
        talk(alice, bob, frames=12)
        shown = f"{alice.session!r} {bob.session!r} {alice.endpoint!r} {alice.session.take_events()!r} {SECRET!r}"
        assert "array" not in shown
        assert "\\x" not in shown


# --- links ------------------------------------------------------------------------------------------------------------


def opened(by: Authentication) -> tuple[Link, Link]:
    alice, bob = Link(Role.ALICE, by), Link(Role.BOB, by)
    hello = alice_session(ALICE, TOY).connect(bytes(32))
    (first,), (second,) = alice.send([hello]), bob.send([replace(hello, role=Role.BOB, nonce=b"\1" * 32)])
    alice.receive(read_frame(second))
    bob.receive(read_frame(first))
    return alice, bob


@pytest.mark.parametrize("by", [SECRET, CallerChannel()], ids=["psk", "caller"])
def test_replayed_reordered_dropped_and_reflected_frames_are_refused(by: Authentication) -> None:
    said = [Outcome(block, Settlement.OK) for block in range(3)]

    def frames() -> tuple[Link, Link, list[bytes]]:
        alice, bob = opened(by)
        return alice, bob, [frame for message in said for frame in bob.send([message])]

    alice, _, sent = frames()
    assert [alice.receive(read_frame(frame)) for frame in sent] == [[message] for message in said]
    for order in ([0, 0], [1], [0, 2], [0, 1, 0]):
        alice, _, sent = frames()
        for index in order[:-1]:
            error = error_of(lambda: alice.receive(read_frame(sent[index])))  # noqa: B023 - called at once
        error = error_of(lambda: alice.receive(read_frame(sent[order[-1]])))  # noqa: B023 - called at once
        assert isinstance(error, ProtocolError)
        assert error_of(lambda: alice.receive(read_frame(sent[1]))) is not None, "a broken link stays broken"  # noqa: B023
    if by is SECRET:
        _, bob, sent = frames()
        with pytest.raises(ProtocolError) as caught:
            bob.receive(read_frame(sent[0]))
        assert caught.value.fields["field"] == "tag"


@settings(max_examples=100)
@given(st.data(), st.sampled_from([SECRET, CallerChannel()]))
def test_a_frame_with_a_flipped_bit_is_refused(data: st.DataObject, by: Authentication) -> None:
    alice, bob = opened(by)
    frame = bytearray(*bob.send([GroupVerdict(3, False)]))
    at = data.draw(st.integers(0, 8 * len(frame) - 1))
    frame[at // 8] ^= 1 << at % 8
    with pytest.raises(ProtocolError):
        alice.receive(read_frame(bytes(frame)))


def test_a_frame_of_another_connection_is_refused() -> None:
    _, bob = opened(SECRET)
    (old,) = bob.send([GroupVerdict(0, True)])
    alice, bob = Link(Role.ALICE, SECRET), Link(Role.BOB, SECRET)
    hello = alice_session(ALICE, TOY).connect(b"\7" * 32)
    bob.receive(read_frame(*alice.send([hello])))
    alice.receive(read_frame(*bob.send([replace(hello, role=Role.BOB, nonce=b"\1" * 32)])))
    with pytest.raises(ProtocolError) as caught:
        alice.receive(read_frame(old))
    assert caught.value.fields["field"] == "tag"


def test_another_secret_another_authentication_and_the_same_role_are_refused() -> None:
    hello = alice_session(ALICE, TOY).connect(bytes(32))
    as_bob = replace(hello, role=Role.BOB)
    for theirs, message, field in (
        (Link(Role.BOB, PresharedKey(b"\1" * 32)), as_bob, "tag"),
        (Link(Role.BOB, CallerChannel()), as_bob, "authentication"),
        (Link(Role.ALICE, SECRET), hello, "tag"),
    ):
        with pytest.raises(ProtocolError) as caught:
            Link(Role.ALICE, SECRET).receive(read_frame(*theirs.send([message])))
        assert caught.value.fields["field"] == field
    with pytest.raises(ProtocolError) as caught:
        Link(Role.ALICE, CallerChannel()).receive(read_frame(*Link(Role.ALICE, CallerChannel()).send([hello])))
    assert caught.value.fields["field"] == "role"


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(CaligoError):
        PresharedKey(bytes(31))


def test_a_link_says_hello_first_and_once() -> None:
    link = Link(Role.ALICE, SECRET)
    with pytest.raises(ProtocolError):
        link.send([KeepAlive()])
    hello = alice_session(ALICE, TOY).connect(bytes(32))
    link.send([hello])
    for message in (hello, KeepAlive()):
        with pytest.raises(ProtocolError):
            link.send([message])


def test_messages_that_say_nothing_are_a_flood_when_they_are_too_many() -> None:
    alice, bob = opened(SECRET)
    for _ in range(MAX_IDLE_MESSAGES):
        assert alice.receive(read_frame(*bob.send([KeepAlive()]))) == []
    with pytest.raises(ProtocolError) as caught:
        alice.receive(read_frame(*bob.send([KeepAlive()])))
    assert caught.value.fields["field"] == "flood"


@settings(max_examples=100)
@given(st.integers(0, 30), st.integers(0, 255), st.binary(max_size=200), st.booleans())
def test_an_endpoint_survives_any_frame_of_a_peer_who_has_the_channel(
    frames: int, type_: int, payload: bytes, first: bool
) -> None:
    channel = CallerChannel()
    alice, bob = midway(TOY, frames)
    for party in (alice, bob):
        endpoint: Endpoint = party.endpoint
        link = endpoint._link
        assert link is not None
        connection = bytes(16) if first else link._connection
        seal = channel.hello_seal(Role.ALICE)

        def say() -> None:
            endpoint.receive(encode_frame(type_, connection, link._received, payload, 4, seal.tag))  # noqa: B023

        assert isinstance(error_of(say), ProtocolError | None)

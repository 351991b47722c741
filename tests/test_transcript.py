"""What two parties say is what a security proof is told: the wire itself, strategy by strategy.

Covers: frames as an eavesdropper reads them, from two `Party` objects whose random values are fixed. Does not cover:
the time between messages; the decoder alone (tests/test_codec_polar.py).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import caligo
from caligo import bits
from caligo.randomness import SecurityRandomness
from caligo.reconciliation.leakage import OUTCOME_BITS, VERDICT_BITS
from caligo.reconciliation.messages import (
    Answer,
    BlockTags,
    BlockVerdicts,
    Close,
    GroupTag,
    GroupVerdict,
    Message,
    Opening,
    Outcome,
    Plan,
    Request,
    Resume,
    Sample,
    Seeds,
)
from caligo.reconciliation.strategies import STRATEGIES, strategy_type
from caligo.reconciliation.wire import BUNDLE_TYPE, decode_payload, read_frame, split_bundle

KEY_BITS = 10 * 4096 + 700
RNG = np.random.default_rng(5)
KEYS = [RNG.integers(0, 2, KEY_BITS, dtype=np.uint8) for _ in range(3)]
KEYS.append(KEYS[0] ^ KEYS[1] ^ KEYS[2])
ERRORS = (RNG.random(KEY_BITS) < 0.022).astype(np.uint8)


@dataclass
class Transcript:
    alice: list[Message]
    bob: list[Message]
    report: caligo.PartyReport


def read(frames: list[bytes]) -> Iterator[Message]:
    for data in frames:
        frame = read_frame(data)
        entries = split_bundle(frame.payload) if frame.type == BUNDLE_TYPE else [(frame.type, frame.payload)]
        for type_, payload in entries:
            message = decode_payload(type_, payload)
            assert message is not None
            yield message


def transcript(strategy: str, key: Any, **changes: Any) -> Transcript:
    """What is said about a key and the errors in it."""
    asks = strategy_type(strategy).asks
    usual: dict[str, Any] = {"strategy": strategy, "block_length": 4096, "list_size": 8, "qber": 0.02, "threads": 1}
    usual |= {} if asks else {"efficiency": 1.5}  # some blocks fail
    usual |= {"segment_length": 512, "efficiency": 1.8} if strategy == "segmented" else {}
    options = caligo.ReconcileOptions(**(usual | changes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets, "token_bytes", lambda size: bytes(range(size)))
        patch.setattr(SecurityRandomness, "draw", lambda: SecurityRandomness(bytes(range(32)), bytes(range(32, 64))))
        with (
            caligo.Party(
                "alice", bits.pack(key), authentication=caligo.CallerChannel(), options=options, key_bits=KEY_BITS
            ) as alice,
            caligo.Party(
                "bob",
                bits.pack(key ^ ERRORS),
                authentication=caligo.CallerChannel(),
                options=options,
                key_bits=KEY_BITS,
            ) as bob,
        ):
            said: dict[caligo.Party, list[Message]] = {alice: [], bob: []}
            for party in (alice, bob):
                party.connect()
            while not (alice.is_closed and bob.is_closed):
                while (work := bob.next_work()) is not None:
                    bob.finish(work, work.run())
                for party, peer in ((alice, bob), (bob, alice)):
                    frames = party.take_frames()
                    said[party] += read(frames)
                    for frame in frames:
                        peer.receive(frame)
            report = alice.conclude()
            other = bob.conclude()
    assert np.array_equal(report.key, other.key)
    assert report.leakage == other.leakage
    return Transcript(said[alice], said[bob], report)


WAYS: dict[str, dict[str, Any]] = {name: {"strategy": name} for name in STRATEGIES} | {
    "one-way, failed blocks again": {"strategy": "one-way", "on_failure": "retry", "retries": 1},
}


@pytest.fixture(scope="module", params=list(WAYS))
def four(request: pytest.FixtureRequest) -> list[Transcript]:
    """Four keys, of which the last is the sum of the others; the same errors in each."""
    return [transcript(key=key, **WAYS[request.param]) for key in KEYS]


def disclosed(messages: list[Message]) -> Any:
    """Every bit that Alice says about her key, in order."""
    rows: list[Any] = []
    for message in messages:
        if isinstance(message, Opening):
            rows += [message.frozen, message.segment_checks, message.check]
        elif isinstance(message, Answer):
            rows.append(message.bits)
    values = [bits.unpack(row.row, row.length) for row in rows]
    tags = [message.tag for message in messages if isinstance(message, GroupTag)]
    tags += [tag for message in messages if isinstance(message, BlockTags) for tag in message.tags]
    values += [np.unpackbits(np.frombuffer(tag, np.uint8)) for tag in tags]
    return np.concatenate(values)


def test_what_bob_says_is_a_function_of_the_errors_and_of_public_data(four: list[Transcript]) -> None:
    for other in four[1:]:
        assert other.bob == four[0].bob
    if not strategy_type(four[0].report.strategy).asks:
        assert len({message.settlement for message in four[0].bob if isinstance(message, Outcome)}) == 2


def test_what_alice_says_is_an_affine_function_of_her_key_while_the_errors_are_the_same(four: list[Transcript]) -> None:
    said = [disclosed(each.alice) for each in four]
    assert np.array_equal(said[0] ^ said[1] ^ said[2], said[3])
    assert not np.array_equal(said[0], said[1])


def test_every_bit_on_the_wire_is_in_the_account(four: list[Transcript]) -> None:
    for each in four:
        assert len(disclosed(each.alice)) == each.report.leakage_bits
        requests = [message for message in each.bob if isinstance(message, Request)]
        spoken = OUTCOME_BITS * sum(isinstance(message, Request | Outcome) for message in each.bob)
        verdicts = VERDICT_BITS * sum(isinstance(message, GroupVerdict) for message in each.bob)
        verdicts += VERDICT_BITS * sum(m.agree.length for m in each.bob if isinstance(m, BlockVerdicts))
        assert each.report.leakage["reply"] >= spoken + verdicts
        if not requests:
            assert each.report.leakage["reply"] == spoken + verdicts
        assert {type(m) for m in each.alice[2:]} <= {Seeds, Plan, Opening, Answer, GroupTag, BlockTags, Close}
        assert {type(m) for m in each.bob[2:]} <= {Plan, Request, Outcome, GroupVerdict, BlockVerdicts, Close}


def test_public_random_values_are_said_when_both_sides_have_their_keys_and_before_anything_about_them() -> None:
    each = transcript("one-way", KEYS[0], qber=None, sample_bits=2000)
    kinds = [type(message) for message in each.alice]
    assert kinds[1:5] == [Resume, Seeds, Sample, Plan]
    assert sum(message.bits.length for message in each.alice if isinstance(message, Sample)) == 2000
    assert Seeds not in {type(message) for message in each.bob}
    assert each.report.sampled_bits == 2000
    assert len(disclosed(each.alice)) == each.report.leakage_bits


@pytest.mark.parametrize("strategy", ["one-way", "interactive"])
def test_two_error_rates_change_what_is_said_but_not_that_all_of_it_is_counted(strategy: str) -> None:
    each = transcript(strategy, KEYS[0], qber=(0.03, 0.014))
    assert each.report.account == "leakage_bits_both_ways"
    assert len(disclosed(each.alice)) == each.report.leakage_bits
    assert transcript(strategy, KEYS[0]).report.account == "leakage_bits"

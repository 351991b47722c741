"""The interactive and the incremental strategy: laws of their codes, of what is asked, of what comes out.

Covers: one process that plays both sides, the rule of requests, cuts. Does not cover: the wire
(tests/test_transcript.py), the decoder (tests/test_codec_interactive.py), rates (tests/acceptance).
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from caligo import bits
from caligo.channel import binary_entropy
from caligo.codes import PolarCode, error_probabilities
from caligo.codes.dialogue_code import (
    LAST_CHECK_BITS,
    MIN_PART_LENGTH,
    DialogueCode,
    RequestRule,
    Talk,
    design_dialogue_code,
)
from caligo.errors import ConfigError, ProtocolError, ResourceError
from caligo.reconciliation.strategies import WISHES, BlockCaps, CodeRequest, strategy_type
from caligo.reconciliation.strategies.dialogue import Ask, play
from caligo.reconciliation.strategies.interactive import Interactive, InteractiveAlice, InteractiveBob
from caligo.reconciliation.strategies.one_way import OneWay

Packed = NDArray[np.uint8]
STRATEGIES = ("interactive", "incremental")


def request(block_length: int = 1024, payload_length: int | None = None, **changes: Any) -> CodeRequest:
    usual = {"design_qber": 0.02, "list_size": 8} | changes
    return CodeRequest(block_length, payload_length or block_length, **usual)


def both_keys(code: PolarCode, blocks: int, qber: float | tuple[float, float], seed: int = 1) -> tuple[Packed, Packed]:
    """Alice's and Bob's blocks; of a pair of error rates, the first is where Bob has 0."""
    rng = np.random.default_rng(seed)
    bob = rng.integers(0, 2, (blocks, code.block_length), dtype=np.uint8)
    zero, one = qber if isinstance(qber, tuple) else (qber, qber)
    errors = rng.random(bob.shape) < np.where(bob == 0, zero, one)
    alice = bob ^ errors
    alice[:, code.payload_length :] = bob[:, code.payload_length :] = 0
    return bits.pack(alice), bits.pack(bob)


def sides(code: PolarCode, list_size: int = 8, **changes: Any) -> tuple[InteractiveAlice, InteractiveBob]:
    return Interactive.alice(code), Interactive.bob(code, list_size, **changes)


@given(
    stages=st.integers(6, 12),
    shortened=st.floats(0.0, 0.4),
    qber=st.floats(0.003, 0.11),
    wish=st.sampled_from(WISHES),
    strategy=st.sampled_from(STRATEGIES),
)
@settings(max_examples=60, deadline=None)
def test_a_code_is_cut_at_nodes_and_discloses_every_information_bit_in_one_order(
    stages: int, shortened: float, qber: float, wish: str, strategy: str
) -> None:
    block_length = 1 << stages
    payload_length = max(40, round(block_length * (1.0 - shortened)))
    asked = request(block_length, payload_length, design_qber=qber, wish=wish)
    code = strategy_type(strategy).choose_code(asked)
    assert isinstance(code, DialogueCode)
    starts = np.cumsum([0, *(length for length, _ in code.parts)])
    assert starts[-1] == block_length
    assert all(
        length >= MIN_PART_LENGTH and start % length == 0
        for start, (length, _) in zip(starts[:-1], code.parts, strict=True)
    )
    assert code.parts[-1][1] == LAST_CHECK_BITS
    assert code.leakage_bits == code.frozen_bits + sum(check for _, check in code.parts)
    information = np.flatnonzero(bits.unpack(code.info_mask, block_length))
    assert np.array_equal(np.sort(code.disclosure_order), information)
    for segment in range(code.segments):
        own = code.disclosure_order[code.segment_starts[segment] : code.segment_starts[segment + 1]]
        assert np.all(own < code.segment_ends[segment])
        assert segment == 0 or np.all(own >= code.segment_ends[segment - 1])
    again = strategy_type(strategy).choose_code(asked)
    assert again == code == DialogueCode.from_json(code.to_json()) == pickle.loads(pickle.dumps(code))
    assert again.digest == code.digest


def test_all_that_both_sides_must_agree_on_is_in_the_digest() -> None:
    code = Interactive.choose_code(request())
    others = [
        replace(code, rule=replace(code.rule, first_bits=code.rule.first_bits + 1)),
        replace(code, parts=((512, 8), (512, 24))),
        replace(code, order_sha256="0" * 64),
    ]
    assert len({each.digest for each in (code, *others)}) == 4
    with pytest.raises(ConfigError, match="density evolution"):
        _ = others[-1].disclosure_order


@pytest.mark.parametrize(
    "parts", [(), ((1024, 0),), ((512, 8), (256, 24)), ((256, 8), (512, 8), (256, 24)), ((1024, 33),)]
)
def test_parts_that_are_no_cut_are_refused(parts: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ConfigError, match="parts"):
        replace(Interactive.choose_code(request()), parts=parts)


def test_another_kind_of_code_is_refused() -> None:
    code = OneWay.choose_code(request())
    with pytest.raises(ConfigError, match="choose_code"):
        Interactive.alice(code)
    with pytest.raises(ConfigError, match="choose_code"):
        Interactive(code, 8)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("wish", WISHES)
def test_what_comes_out_does_not_depend_on_how_a_batch_is_divided(strategy: str, wish: str) -> None:
    kind = strategy_type(strategy)
    code = kind.choose_code(request(payload_length=1000, wish=wish))
    alice, bob = both_keys(code, 24, 0.025)
    whole = kind(code, 8).reconcile(alice, bob)
    strategy_of_pieces = kind(code, 8)
    order = np.random.default_rng(2).permutation(24)
    for start in range(0, 24, 5):
        rows = order[start : start + 5]
        piece = strategy_of_pieces.reconcile(alice[rows], bob[rows])
        assert np.array_equal(piece.decoded, whole.decoded[rows])
        assert np.array_equal(piece.rounds, whole.rounds[rows])
        assert piece.leakage == tuple(whole.leakage[row] for row in rows)
    assert whole.ok.all()
    assert np.array_equal(whole.decoded, alice)
    assert whole.rounds.sum() > 0


def test_the_efficiency_of_an_opening_can_be_given() -> None:
    code = Interactive.choose_code(request(4096, efficiency=1.3))
    assert code.efficiency(0.02) == pytest.approx(1.3, abs=0.02)


@pytest.mark.parametrize("qber", [0.005, 0.11])
@pytest.mark.parametrize(("block_length", "payload_length"), [(64, 64), (64, 50), (128, 70), (512, 512), (4096, 3000)])
def test_blocks_of_any_length_come_through_at_any_qber(block_length: int, payload_length: int, qber: float) -> None:
    code = Interactive.choose_code(request(block_length, payload_length, design_qber=qber))
    alice, bob = both_keys(code, 40, qber)
    outcome = Interactive(code, 8).reconcile(alice, bob)
    # A short block with many errors has no room for all that it needs.
    assert np.count_nonzero(outcome.ok) >= (38 if block_length >= 512 or qber < 0.1 else 20)
    assert np.array_equal(outcome.decoded[outcome.ok], alice[outcome.ok])


def test_equal_keys_need_no_request() -> None:
    code = Interactive.choose_code(request())
    alice, _ = both_keys(code, 10, 0.0)
    outcome = Interactive(code, 8).reconcile(alice, alice)
    assert outcome.ok.all()
    assert not outcome.rounds.any()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("block_length", [1024, 1 << 16])
def test_unrelated_keys_are_given_up_within_the_bound(strategy: str, block_length: int) -> None:
    kind = strategy_type(strategy)
    code = kind.choose_code(request(block_length))
    assert isinstance(code, DialogueCode)
    alice, bob = both_keys(code, 2, 0.499)
    outcome = kind(code, 8).reconcile(alice, bob)
    assert not outcome.ok.any()
    assert all(each.leakage_bits <= code.rule.most_disclosed_bits < block_length for each in outcome.leakage)
    assert outcome.rounds.max() <= 100


def test_caps_end_a_block() -> None:
    code = Interactive.choose_code(request(wish="leakage"))
    alice, bob = both_keys(code, 20, 0.03)
    strategy = Interactive(code, 8)
    by_rounds = strategy.reconcile(alice, bob, BlockCaps(max_rounds=1))
    assert by_rounds.given_up.any()
    assert by_rounds.rounds.max() == 1
    most = code.leakage_bits + code.rule.first_bits
    by_leakage = strategy.reconcile(alice, bob, BlockCaps(max_leakage_bits=most))
    assert by_leakage.given_up.any()
    assert max(each.leakage_bits for each in by_leakage.leakage) <= most


def test_a_request_for_anything_else_than_the_rule_gives_is_refused() -> None:
    code = Interactive.choose_code(request(4096))
    alice, _ = sides(code)
    row = both_keys(code, 1, 0.02)[0][0]
    _, state = alice.open(row)
    (allowed, *_) = state.talk.wants(1)
    for wants in (
        (),
        ((-1, 8),),
        ((code.segments, 8),),
        ((1, allowed[1] + 1),),
        ((1, 0),),
        (allowed, (0, 1)),
        (allowed, allowed),
    ):
        with pytest.raises(ProtocolError, match="wants"):
            alice.answer_bits(state, wants)
    assert alice.answer_bits(state, (allowed,)) == allowed[1]


@given(data=st.data(), ahead=st.sampled_from([0, 80]), growth=st.sampled_from([0, 30, 100]))
@settings(max_examples=30, deadline=None)
def test_no_bit_is_disclosed_twice_and_the_bounds_hold(data: st.DataObject, ahead: int, growth: int) -> None:
    rule = RequestRule(9, 5, growth, 40, 12, ahead, 2, 420, 30)
    code = design_dialogue_code(512, payload_length=500, qber=0.03, frozen_bits=90, rule=rule, share=0.3, check_bits=8)
    talk = Talk(code)
    taken: list[int] = []
    while possible := [segment for segment in range(code.segments) if talk.wants(segment)]:
        segment = data.draw(st.sampled_from(possible))
        wants = talk.wants(segment)
        assert wants[0][0] == segment
        assert [each for each, _ in wants] == sorted({each for each, _ in wants})
        taken += talk.take(wants).tolist()
        assert talk.requests <= 30
        assert code.leakage_bits + len(taken) <= 420
    assert len(set(taken)) == len(taken) == talk.answered_bits
    assert set(taken) <= set(code.disclosure_order.tolist())


def test_requests_grow_and_are_smaller_on_the_way_back() -> None:
    rule = RequestRule(10, 4, 50, 30, 20, 0, 2, 10_000, 100)
    assert [rule.bits(asked, False) for asked in range(5)] == [10, 15, 22, 30, 30]
    assert [rule.bits(asked, True) for asked in range(5)] == [4, 6, 9, 13, 19]
    assert [rule.bits(0, False, requests) for requests in (19, 20, 39, 40)] == [10, 20, 20, 30]


def test_more_is_never_foreseen_than_is_needed() -> None:
    with pytest.raises(ConfigError, match="ahead_percent"):
        RequestRule(12, 4, 0, 12, 99, 101, 2, 10_000, 100)


def test_what_is_disclosed_ahead_is_what_more_frozen_bits_would_have_been() -> None:
    rule = RequestRule(12, 4, 0, 12, 99, 100, 2, 10_000, 100)
    code = design_dialogue_code(
        1 << 14, payload_length=1 << 14, qber=0.02, frozen_bits=2000, rule=rule, share=0.1, check_bits=8
    )
    order = np.lexsort((np.arange(1 << 14), -error_probabilities(1 << 14, qber=0.02)))[2000:]
    segments = np.searchsorted(code.segment_ends, order, side="right")
    talk = Talk(code)
    foreseen = 0
    for segment in (0, 1, 2, 2, 3, 3, 3, 4, 5, 7, 7, 7, 9):
        before = list(talk.taken)
        talk.take(talk.wants(segment))
        if talk.taken[segment + 1 :] == before[segment + 1 :]:
            continue
        foreseen += 1
        needed = sum(before[: segment + 1]) * (segment + 1) // (segment + 7)
        frozen = np.flatnonzero(np.cumsum(segments <= segment) == needed)[0] + 1
        counts = np.bincount(segments[:frozen], minlength=code.segments)
        assert talk.taken[segment + 1 :] == np.maximum(counts, before)[segment + 1 :].tolist()
    assert foreseen >= 3


def test_the_words_of_the_dialogue_give_what_whole_arrays_give() -> None:
    """`play` goes through the messages; here everything is counted in them."""
    code = Interactive.choose_code(request(payload_length=999))
    alice_rows, bob_rows = both_keys(code, 6, 0.03)
    alice, bob = sides(code)
    outcome = play(alice, bob, alice_rows, bob_rows)
    for row in range(6):
        disclosed, hers = alice.open(alice_rows[row])
        said = disclosed.frozen.length + disclosed.segment_checks.length + disclosed.check.length
        his = bob.start(bob_rows[row], disclosed)
        while isinstance(step := bob.step([his])[0], Ask):
            answer = alice.answer(hers, step.wants)
            said += answer.length
            bob.accept(his, step.wants, answer)
        assert said == outcome.leakage[row].leakage_bits
        assert (step.row == alice_rows[row]).all()  # type: ignore[union-attr]


def test_two_error_rates_disclose_less_than_their_mean() -> None:
    rates = (0.05, 0.012)
    leakage = []
    for qber in (0.031, rates):
        code = Interactive.choose_code(request(4096, design_qber=qber))
        alice, bob = both_keys(code, 60, rates)
        outcome = Interactive(code, 8).reconcile(alice, bob)
        assert outcome.ok.all()
        leakage.append(sum(each.leakage_bits for each in outcome.leakage))
    assert leakage[1] < leakage[0] - 60 * 4096 * 0.01 * binary_entropy(0.031)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_closed_strategy_says_so(strategy: str) -> None:
    kind = strategy_type(strategy)
    code = kind.choose_code(request())
    closed = kind(code, 8)
    closed.close()
    closed.close()
    with pytest.raises(ResourceError, match="closed"):
        closed.reconcile(*both_keys(code, 1, 0.02))

"""Decoding between questions: whoever answers them gets Alice's block, however blocks are stored, split and mixed."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from caligo import _native
from caligo.bits import pack, unpack
from caligo.codes.polar_code import PolarCode
from caligo.errors import ConfigError, ResourceError, ShapeError
from caligo.reconciliation.codecs.interactive import InteractiveCodec, Segment

LENGTH = 2048
SEGMENTS = (
    Segment(1024, 14),
    Segment(256, 14),
    Segment(128, 14),
    Segment(128, 14),
    Segment(256, 20),
    Segment(128, 20),
    Segment(128, 0),
)
ERROR_RATE = 0.03


def code_of(disclosed_bits: int, payload_length: int = LENGTH) -> PolarCode:
    errors = _native.design_density_evolution(LENGTH, payload_length, ERROR_RATE)
    info = np.zeros(LENGTH, np.uint8)
    info[np.argsort(errors[:payload_length], kind="stable")[: payload_length - disclosed_bits]] = 1
    return PolarCode(LENGTH, payload_length, pack(info).tobytes(), "none", "test")


def blocks_of(code: PolarCode, count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    random = np.random.default_rng(seed)
    alice = random.integers(0, 2, (count, LENGTH), dtype=np.uint8)
    bob = alice ^ (random.random(alice.shape) < ERROR_RATE)
    alice[:, code.payload_length :] = bob[:, code.payload_length :] = 0
    return pack(alice), pack(bob)


def answer(
    codec: InteractiveCodec, alice: NDArray[np.uint8], states: NDArray[np.uint8], questions: int = 12
) -> tuple[NDArray[np.uint8], list[list[int]]]:
    """Decode, disclosing `questions` positions of a segment that failed at a time; where blocks stopped."""
    u = unpack(codec.transform(alice), LENGTH)
    info = unpack(codec.code.info_mask, LENGTH)
    worst_first = np.argsort(-_native.design_density_evolution(LENGTH, LENGTH, ERROR_RATE)).astype(np.uint32)
    worst_first = worst_first[info[worst_first] == 1]
    asked = np.zeros((len(states), LENGTH), np.bool_)
    stops: list[list[int]] = [[] for _ in states]
    for _ in range(500):
        stopped = codec.run(states).stopped
        if (stopped == len(codec.segments)).all():
            return codec.finish(states), stops
        for block, segment in enumerate(stopped):
            if segment == len(codec.segments):
                continue
            stops[block].append(int(segment))
            # An earlier segment may be the one that is wrong: go back, and ask for the least reliable from there on.
            back = max(0, int(segment) - stops[block].count(int(segment)) // 3)
            codec.rollback(states[block], back)
            positions = worst_first[(worst_first >= codec.starts[back]) & (worst_first < codec.starts[segment + 1])]
            positions = positions[~asked[block, positions]][:questions]
            asked[block, positions] = True
            codec.disclose(states[block], positions, u[block, positions])
    raise AssertionError("blocks that never end")


@pytest.mark.parametrize("precision", ["int8", "f32"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("payload_length", [LENGTH, 1800])
def test_blocks_whose_questions_are_answered_become_alice_s(
    precision: Literal["int8", "f32"], soft: bool, payload_length: int
) -> None:
    code = code_of(390 * payload_length // LENGTH, payload_length)
    alice, bob = blocks_of(code, 12, 1)
    frozen_values = None
    outcomes = []
    for threads, engine, escalation in ((1, None, (1, 4)), (3, "portable", (1, 4))):
        with InteractiveCodec(
            code, SEGMENTS, 8, precision=precision, soft=soft, threads=threads, engine=engine, escalation=escalation
        ) as codec:
            frozen_values = codec.transform(alice) & code.frozen_mask
            if soft:
                llr = (3.5 * (1 - 2.0 * unpack(bob, LENGTH))).astype(np.float32)
                states = codec.begin_soft(llr, frozen_values, codec.check_values(alice))
            else:
                states = codec.begin(bob, frozen_values, codec.check_values(alice), ERROR_RATE)
            decoded, stops = answer(codec, alice, states)
        assert (decoded == alice).all()
        assert any(stops)
        outcomes.append((stops, states.tobytes()))
    assert outcomes[0] == outcomes[1]


def test_the_same_noise_on_another_key_asks_the_same_questions() -> None:
    code = code_of(400)
    alice, bob = blocks_of(code, 12, 2)
    other = blocks_of(code, 12, 3)[0]
    with InteractiveCodec(code, SEGMENTS, 8) as codec:
        stops = []
        for key in (alice, other):
            frozen_values = codec.transform(key) & code.frozen_mask
            states = codec.begin(alice ^ bob ^ key, frozen_values, codec.check_values(key), ERROR_RATE)
            decoded, stopped = answer(codec, key, states)
            assert (decoded == key).all()
            stops.append(stopped)
    assert stops[0] == stops[1]


def test_two_error_rates_that_are_true_ask_less() -> None:
    code = code_of(380)
    random = np.random.default_rng(4)
    bob_bits = random.integers(0, 2, (24, LENGTH), dtype=np.uint8)
    rates = (0.055, 0.005)
    alice, bob = (
        pack(bob_bits ^ (random.random(bob_bits.shape) < np.where(bob_bits, rates[1], rates[0]))),
        pack(bob_bits),
    )
    with InteractiveCodec(code, SEGMENTS, 8) as codec:
        frozen_values, check_values = codec.transform(alice) & code.frozen_mask, codec.check_values(alice)
        counts = []
        for qber in (ERROR_RATE, (ERROR_RATE, ERROR_RATE), rates):
            states = codec.begin(bob, frozen_values, check_values, qber)
            decoded, stops = answer(codec, alice, states)
            assert (decoded == alice).all()
            counts.append(sum(map(len, stops)))
    assert counts[0] == counts[1]
    assert counts[2] < 0.8 * counts[1]


def test_a_decoder_keeps_nothing_and_allocates_nothing() -> None:
    code = code_of(400)
    alice, bob = blocks_of(code, 8, 5)
    pairs = [(segment.length, segment.check_bits) for segment in SEGMENTS]
    decoder = _native.InteractiveDecoder(LENGTH, code.info_mask, pairs, 8, escalation=(1,))
    expected = _native.interactive_required_bytes(LENGTH, code.info_mask, pairs, 8, escalation=(1,))
    assert (decoder.allocated_bytes, decoder.state_bytes) == expected
    assert decoder.state_bytes <= LENGTH // 2 + 8 * len(SEGMENTS) + 64
    states = np.zeros((8, decoder.state_bytes), np.uint8)
    stopped, elapsed_ns = np.zeros(8, np.uint32), np.zeros(8, np.uint64)
    u = _native.polar_transform(alice, LENGTH)
    check_values = _native.interactive_check_values(alice, pairs)
    bits = unpack(u, LENGTH)
    info = np.flatnonzero(unpack(code.info_mask, LENGTH)).astype(np.uint32)
    values = bits[:, info].copy()
    frozen_values = u & code.frozen_mask
    decoded = np.zeros_like(alice)
    before = _native.allocation_count()
    decoder.begin(bob, frozen_values, check_values, ERROR_RATE, states)
    decoder.run(states, stopped, elapsed_ns)
    for block in range(8):
        decoder.rollback(states[block], 0)
        decoder.disclose(states[block], info, values[block])
    decoder.run(states, stopped, elapsed_ns)
    decoder.finish(states, decoded)
    assert _native.allocation_count() == before
    assert (decoded == alice).all()


def test_what_does_not_fit_is_refused() -> None:
    code = code_of(400)
    alice, bob = blocks_of(code, 2, 6)
    for segments in [(Segment(1024, 12),), (Segment(64, 8), Segment(2048, 8)), (Segment(LENGTH, 33),)]:
        with pytest.raises(ConfigError):
            InteractiveCodec(code, segments, 8)
    with InteractiveCodec(code, SEGMENTS, 8) as codec:
        frozen_values, check_values = codec.transform(alice) & code.frozen_mask, codec.check_values(alice)
        for qber in (0.0, 0.5, (0.1, 0.5), (0.1,)):
            with pytest.raises(ConfigError):
                codec.begin(bob, frozen_values, check_values, qber)  # type: ignore[arg-type]
        with pytest.raises(ShapeError):
            codec.begin(bob, frozen_values, check_values[:, 1:], ERROR_RATE)
        with pytest.raises(ConfigError):
            codec.begin(bob, frozen_values, check_values | np.uint32(1 << 31), ERROR_RATE)
        states = codec.begin(bob, frozen_values, check_values, ERROR_RATE)
        info = np.flatnonzero(unpack(code.info_mask, LENGTH)).astype(np.uint32)
        cases: list[tuple[Any, ...]] = [
            (codec.finish, states),
            (codec.rollback, states[0], 1),
            (codec.disclose, states[0], info[[0, 0]], np.zeros(2, np.uint8)),
            (codec.disclose, states[0], info[:1], np.full(1, 2, np.uint8)),
            (codec.run, np.zeros_like(states)),
        ]
        for call, *arguments in cases:
            with pytest.raises(ConfigError):
                call(*arguments)
        with pytest.raises(ShapeError):
            codec.run(states[:, 1:])
    with pytest.raises(ResourceError):
        codec.run(states)

"""Laws of the native codec: pooling, checking, agreement with the textbook decoder."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from conftest import Require
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from caligo import _native
from caligo.bits import unpack
from caligo.codes import DesignCache, PolarCode, design_code
from caligo.errors import ConfigError, ResourceError, ShapeError
from caligo.reconciliation.codecs import Codec, DecodedBatch, PolarCodec
from caligo.reconciliation.codecs.reference import _HAS_NUMBA, ReferenceCodec
from caligo.simulation import AwgnChannel, BscChannel, Channel, Simulation, design_for_channel, sample_frames

Packed = NDArray[np.uint8]
CACHE = DesignCache(None)


def noisy(code: PolarCode, qber: float, count: int, seed: int = 1) -> tuple[Packed, Packed]:
    frames = sample_frames(code, BscChannel(qber), seed, 0, count)
    assert frames.received is not None
    return frames.blocks, frames.received


def transform(rows: Packed, length: int) -> Packed:
    words: Packed = _native.polar_transform(rows, length)
    return words


def same(a: DecodedBatch, b: DecodedBatch) -> bool:
    return a.decoded.tobytes() == b.decoded.tobytes() and a.ok.tobytes() == b.ok.tobytes()


@pytest.mark.parametrize("payload", [1024, 1000, 3])
def test_any_number_of_threads_gives_the_same_answer(payload: int) -> None:
    check = "none" if payload < 40 else "crc32"
    code = design_code(1024, payload_length=payload, qber=0.05, info_length=payload // 2, check=check, cache=CACHE)
    blocks, received = noisy(code, 0.05, 101)
    answers = []
    for threads in (1, 2, 3, 8):
        with PolarCodec(code, 4, threads=threads) as codec:
            frozen_values, check_values = codec.syndrome(blocks)
            answers.append(codec.decode(received, frozen_values, check_values, 0.05))
            assert codec.decode(received[:0], frozen_values[:0], check_values[:0], 0.05).ok.size == 0
    assert all(same(answer, answers[0]) for answer in answers)


def test_a_codec_may_be_shared_by_threads() -> None:
    code = design_code(512, qber=0.04, efficiency=1.7, cache=CACHE)
    blocks, received = noisy(code, 0.04, 64)
    with PolarCodec(code, 8, threads=3) as codec, ThreadPoolExecutor(6) as executor:
        syndrome = codec.syndrome(blocks)
        expected = codec.decode(received, *syndrome, 0.04)
        answers = list(executor.map(lambda _: codec.decode(received, *syndrome, 0.04), range(12)))
    assert all(same(answer, expected) for answer in answers)


def test_what_is_disclosed_is_the_transform_on_the_frozen_set_and_the_check(require: Require) -> None:
    code = design_code(256, payload_length=250, qber=0.03, efficiency=2.0, check="crc24", cache=CACHE)
    blocks, _ = noisy(code, 0.03, 20)
    with PolarCodec(code, 1) as codec:
        frozen_values, check_values = codec.syndrome(blocks)
    assert not (frozen_values & ~code.frozen_mask).any()
    require("oracle", _HAS_NUMBA, "Numba is not installed")
    expected = ReferenceCodec(code, 1).syndrome(blocks)
    assert (frozen_values == expected[0]).all()
    assert (check_values == expected[1]).all()


@given(
    stages=st.integers(7, 12),
    short=st.integers(0, 3),
    cut=st.integers(0, 5),
    check=st.sampled_from(["crc16", "crc24", "crc32"]),
    design=st.sampled_from(["efficiency", "info_length"]),
)
@settings(max_examples=40, deadline=None)
def test_every_segment_that_carries_information_has_its_check_disclosed_and_counted(
    stages: int, short: int, cut: int, check: str, design: str
) -> None:
    block_length, segment_length = 1 << stages, 64 << min(cut, stages - 7)
    payload = block_length - short * block_length // 5
    budget: dict[str, Any] = {"efficiency": 3.0} if design == "efficiency" else {"info_length": block_length // 8}
    try:
        code = design_code(
            block_length,
            payload_length=payload,
            qber=0.05,
            segment_length=segment_length,
            segment_check=check,
            cache=CACHE,
            **budget,
        )
    except ConfigError:
        return  # no room for that many checks
    info = unpack(code.info_mask, block_length)
    carries = info.reshape(-1, segment_length).any(axis=1)
    bits = {"crc16": 16, "crc24": 24, "crc32": 32}[check]
    assert code.segments == len(carries)
    assert code.segment_check_bits == bits * carries.sum()
    assert code.leakage_bits == payload - info.sum() + 32 + code.segment_check_bits
    assert code.info_length + code.leakage_bits == payload
    blocks, received = noisy(code, 0.01, 5)
    with PolarCodec(code, 8, escalation=(1,)) as codec:
        frozen_values, check_values = codec.syndrome(blocks)
        answer = codec.decode(received, frozen_values, check_values, 0.01)
    assert check_values.shape == (5, 1 + code.segments)
    for row, values in zip(transform(blocks, block_length), check_values, strict=True):
        words = row.reshape(code.segments, -1).copy()
        expected = _native.check_values(check, transform(words, segment_length)) * carries
        assert values[1:].tolist() == expected.tolist()
    assert (answer.decoded == blocks)[answer.ok].all()


def test_a_segment_with_a_wrong_check_value_fails_its_block_and_no_other() -> None:
    code = design_code(2048, qber=0.02, efficiency=2.0, segment_length=256, cache=CACHE)
    blocks, received = noisy(code, 0.02, 16)
    with PolarCodec(code, 8, escalation=(1, 4)) as codec:
        frozen_values, check_values = codec.syndrome(blocks)
        good = codec.decode(received, frozen_values, check_values, 0.02)
        assert good.ok.all()
        assert (good.decoded == blocks).all()
        for segment in np.flatnonzero(code.checked_segments):
            spoilt = check_values.copy()
            spoilt[3, 1 + segment] ^= 1
            answer = codec.decode(received, frozen_values, spoilt, 0.02)
            assert np.flatnonzero(~answer.ok).tolist() == [3]
        for wrong in (check_values[:, 0].copy(), check_values[:, 1:].copy()):
            with pytest.raises(ShapeError, match="check_values"):
                codec.decode(received, frozen_values, wrong, 0.02)


@given(
    stages=st.integers(4, 11),
    shortened=st.integers(0, 5),
    list_size=st.sampled_from([1, 2, 4, 8, 16, 32]),
    precision=st.sampled_from(["int8", "f32"]),
    check=st.sampled_from(["none", "crc16", "crc32"]),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=60)
def test_the_same_noise_on_different_keys_has_the_same_outcome(
    stages: int, shortened: int, list_size: int, precision: Any, check: str, seed: int
) -> None:
    payload = (1 << stages) - shortened
    bits = {"none": 0, "crc16": 16, "crc32": 32}[check]
    code = design_code(
        1 << stages,
        payload_length=payload,
        qber=0.06,
        info_length=max(1, payload * 6 // 10 - bits),
        check="none" if payload <= 2 * bits else check,
        cache=CACHE,
    )
    _, errors = noisy(code, 0.06, 1, seed)
    frames = sample_frames(code, BscChannel(0.06), seed + 1, 0, 6)
    errors = errors ^ sample_frames(code, BscChannel(0.06), seed, 0, 1).blocks
    with PolarCodec(code, list_size, precision=precision) as codec:
        batch = codec.decode(frames.blocks ^ errors, *codec.syndrome(frames.blocks), 0.06)
    assert len(set(batch.ok.tolist())) == 1
    assert len({row.tobytes() for row in batch.decoded ^ frames.blocks}) == 1


@given(
    stages=st.integers(4, 11),
    shortened=st.integers(0, 5),
    list_size=st.sampled_from([1, 2, 8]),
    escalation=st.sampled_from([(), (1,)]),
    precision=st.sampled_from(["int8", "f32"]),
    segments=st.booleans(),
    blocks=st.sampled_from([1, 30]),
)
@settings(max_examples=40)
def test_a_pair_of_qbers_is_soft_values_by_bobs_bits(
    stages: int,
    shortened: int,
    list_size: int,
    escalation: tuple[int, ...],
    precision: Any,
    segments: bool,
    blocks: int,
) -> None:
    pair, payload = (0.07, 0.02), (1 << stages) - shortened
    code = design_code(
        1 << stages,
        payload_length=payload,
        qber=pair,
        info_length=1 << (stages - 1) if stages < 7 else (1 << (stages - 1)) - 48,
        check="none" if stages < 7 else "crc16",
        segment_length=1 << (stages - 1) if segments and stages > 8 else None,
        cache=CACHE,
    )
    if list_size == 1 or code.check == "none":
        escalation = ()
    frames = sample_frames(code, BscChannel(pair), 5, 0, blocks)
    assert frames.received is not None
    at_zero, at_one = (np.float32(math.log((1 - rate) / rate)) for rate in pair)
    llr = np.where(unpack(frames.received, code.block_length), -at_one, at_zero)
    with PolarCodec(code, list_size, precision=precision, escalation=escalation) as codec:
        disclosed = codec.syndrome(frames.blocks)
        by_bits, soft = codec.decode(frames.received, *disclosed, pair), codec.decode_soft(llr, *disclosed)
        assert same(by_bits, soft)
        either_way = codec.decode(frames.received, *disclosed, (0.05, 0.05))
        assert same(either_way, codec.decode(frames.received, *disclosed, 0.05))


def test_a_block_without_errors_is_always_found() -> None:
    for stages in range(1, 15):
        code = design_code(1 << stages, qber=0.02, info_length=1 << (stages - 1), check="none", cache=CACHE)
        blocks = sample_frames(code, BscChannel(0.02), 1, 0, 5).blocks
        for precision in ("int8", "f32"):
            with PolarCodec(code, 4, precision=precision) as codec:  # type: ignore[arg-type]
                batch = codec.decode(blocks, *codec.syndrome(blocks), 0.02)
            assert batch.ok.all()
            assert (batch.decoded == blocks).all()


def test_a_wrong_check_value_fails_every_candidate() -> None:
    code = design_code(256, qber=0.02, efficiency=2.0, cache=CACHE)
    blocks, _ = noisy(code, 0.02, 4)
    with PolarCodec(code, 8) as codec:
        frozen_values, check_values = codec.syndrome(blocks)
        assert not codec.decode(blocks, frozen_values, check_values ^ np.uint32(1), 0.02).ok.any()


def test_what_lies_at_shortened_positions_of_soft_input_is_ignored() -> None:
    code = design_code(256, payload_length=200, sigma=0.8, design="ga", info_length=90, check="crc16", cache=CACHE)
    frames = sample_frames(code, AwgnChannel(3.0), 1, 0, 50)
    assert frames.llr is not None
    with PolarCodec(code, 4, precision="f32") as codec:
        syndrome = codec.syndrome(frames.blocks)
        expected = codec.decode_soft(frames.llr, *syndrome)
        for filler in (7.0, -50.0, -3e38):
            llr = frames.llr.copy()
            llr[:, 200:] = filler
            assert same(codec.decode_soft(llr, *syndrome), expected)


def test_the_codec_keeps_the_protocol_and_states_its_memory() -> None:
    code = design_code(1024, qber=0.02, efficiency=1.8, cache=CACHE)
    with PolarCodec(code, 8, threads=2) as codec:
        assert isinstance(codec, Codec)
        assert codec.name == "polar"
        assert codec.decoder_bytes == PolarCodec.required_bytes(code, 8) > 0
        assert PolarCodec.required_bytes(code, 8, threads=2) == 2 * PolarCodec.required_bytes(code, 8)
        assert len(repr(codec)) < 400


def test_a_closed_codec_says_so() -> None:
    code = design_code(64, qber=0.02, info_length=20, cache=CACHE)
    blocks, received = noisy(code, 0.02, 4)
    codec = PolarCodec(code, 2, threads=2)
    syndrome = codec.syndrome(blocks)
    codec.close()
    codec.close()
    with pytest.raises(ResourceError):
        codec.decode(received, *syndrome, 0.02)


@pytest.mark.parametrize(
    "arguments",
    [
        {"list_size": 33},
        {"list_size": 3},
        {"list_size": 0},
        {"list_size": True},
        {"list_size": 8.0},
        {"precision": "f64"},
        {"engine": "no such engine"},
        {"threads": 0},
        {"escalation": (8, 8)},
        {"escalation": (16,)},
        {"escalation": (4, 2)},
        {"escalation": (3,)},
        {"escalation": "1"},
        {"escalation": 4},
        {"escalation": (1.0,)},
    ],
)
def test_a_codec_that_cannot_be_made_is_refused(arguments: dict[str, Any]) -> None:
    code = design_code(64, qber=0.02, info_length=20, cache=CACHE)
    with pytest.raises(ConfigError):
        PolarCodec(code, **({"list_size": 8} | arguments))


def test_an_escalation_needs_a_check() -> None:
    code = design_code(64, qber=0.02, info_length=20, check="none", cache=CACHE)
    with pytest.raises(ConfigError, match="check"):
        PolarCodec(code, 8, escalation=(1,))


@pytest.mark.parametrize("precision", ["int8", "f32"])
def test_an_escalation_fails_as_its_last_list_does(precision: Any) -> None:
    code = design_code(1024, payload_length=1000, qber=0.04, efficiency=1.45, cache=CACHE)
    blocks, received = noisy(code, 0.04, 300)
    with PolarCodec(code, 16, precision=precision) as codec:
        syndrome = codec.syndrome(blocks)
        full = codec.decode(received, *syndrome, 0.04)
    assert 0 < np.count_nonzero(full.ok) < 300
    for escalation in ((1,), (16,), (1, 4), (1, 4, 16)):
        with PolarCodec(code, 16, escalation=escalation, precision=precision, threads=2) as codec:
            got = codec.decode(received, *syndrome, 0.04)
            assert codec.decoder_bytes == codec.required_bytes(code, 16, precision, escalation=escalation)
        assert (got.ok >= full.ok).all()
        assert (got.decoded[got.ok] == blocks[got.ok]).all()
        assert (got.decoded[~got.ok] == full.decoded[~got.ok]).all()


def test_arrays_are_judged_where_they_enter() -> None:
    code = design_code(64, payload_length=60, qber=0.02, info_length=20, cache=CACHE)
    blocks, received = noisy(code, 0.02, 4)
    stray = received.copy()
    stray[2, 7] |= 0x10
    with PolarCodec(code, 2) as codec:
        frozen_values, check_values = codec.syndrome(blocks)
        outside = frozen_values | code.info_mask
        llr = np.zeros((4, 64), dtype=np.float32)
        for bad in (
            stray,
            received[:, :7],
            received[0],
            received.astype(np.int8),
            np.asfortranarray(received),
            received.tolist(),
        ):
            with pytest.raises(ShapeError):
                codec.decode(bad, frozen_values, check_values, 0.02)  # type: ignore[arg-type]
            with pytest.raises(ShapeError):
                codec.syndrome(bad)  # type: ignore[arg-type]
        for bad_frozen in (outside, frozen_values[:3], frozen_values.astype(bool)):
            with pytest.raises(ShapeError):
                codec.decode(received, bad_frozen, check_values, 0.02)  # type: ignore[arg-type]
        for bad_check in (check_values[:3], check_values.astype(np.uint64), check_values[:, None]):
            with pytest.raises(ShapeError):
                codec.decode(received, frozen_values, bad_check, 0.02)  # type: ignore[arg-type]
        for bad_llr in (llr[:, :60], llr.astype(np.float64), llr + np.float32(math.nan), llr - np.float32(math.inf)):
            with pytest.raises(ShapeError):
                codec.decode_soft(bad_llr, frozen_values, check_values)  # type: ignore[arg-type]
        for qber in (0.0, 0.5, -0.1, math.nan, (0.02, 0.5), (0.02,), (0.02, 0.03, 0.04)):
            with pytest.raises(ConfigError):
                codec.decode(received, frozen_values, check_values, qber)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("channel", "block_length", "budget", "list_size", "frames"),
    [
        (BscChannel(0.02), 512, {"efficiency": 1.55}, 1, 3000),
        (BscChannel(0.02), 512, {"efficiency": 1.55}, 8, 3000),
        (BscChannel(0.05), 256, {"efficiency": 1.35}, 32, 2500),
        (BscChannel((0.08, 0.02)), 256, {"efficiency": 1.28}, 8, 2500),
        (AwgnChannel(1.5), 256, {"info_length": 128}, 1, 3000),
        (AwgnChannel(1.0), 256, {"info_length": 128}, 8, 3000),
        (AwgnChannel(0.5), 128, {"info_length": 64}, 32, 2500),
    ],
    ids=str,
)
def test_error_rates_are_those_of_the_textbook_decoder(
    channel: Channel, block_length: int, budget: dict[str, Any], list_size: int, frames: int, require: Require
) -> None:
    """Same frames to both: the 99.9 % interval of the paired difference meets ±10 % of the textbook's rate."""
    require("oracle", _HAS_NUMBA, "Numba is not installed")
    code = design_for_channel(channel, block_length, check="crc16", **budget)
    wrong = []
    for codec in ("polar", "reference"):
        with Simulation(code, channel, list_size=list_size, seed=11, codec=codec) as simulation:  # type: ignore[arg-type]
            wrong.append(simulation.decode_batch(0, frames).outcomes != 0)
    native, textbook = wrong
    assert textbook.sum() >= 100, "too few errors to compare"
    only_native, only_textbook = int((native & ~textbook).sum()), int((textbook & ~native).sum())
    difference = only_native - only_textbook
    margin = 3.29 * math.sqrt(only_native + only_textbook) + 0.1 * int(textbook.sum())
    assert abs(difference) <= margin

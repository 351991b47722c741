"""Laws of seeds and streams: sampled positions are a uniform subset, security randomness is drawn and kept whole."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.bits import count_ones, pack, require_packed, slice_bits
from caligo.errors import ConfigError
from caligo.randomness import (
    SecurityRandomness,
    Stream,
    sampled_positions,
    simulation_bits,
    simulation_errors,
    simulation_noise,
    simulation_sampling_seed,
    validate_seed,
)

SEED = bytes(range(32))


def positions_by_the_written_rule(seed: bytes, n: int, count: int) -> list[int]:
    """The rule of `specs/sampled-positions.md`, word by word."""
    wanted = min(count, n - count)
    chosen: set[int] = set()
    index = 0
    while len(chosen) < wanted:
        message = b"caligo sampled positions 1" + seed + index.to_bytes(8, "little")
        data = hashlib.shake_256(message).digest(1 << 16)
        for at in range(0, len(data), 8):
            word = int.from_bytes(data[at : at + 8], "little")
            if len(chosen) < wanted and word < (1 << 64) // n * n:
                chosen.add(word % n)
        index += 1
    return sorted(chosen if 2 * count <= n else set(range(n)) - chosen)


@settings(max_examples=25)
@given(st.binary(min_size=32, max_size=32), st.integers(1, 30_000), st.floats(0, 1))
def test_sampled_positions_follow_the_written_rule(seed: bytes, key_bits: int, share: float) -> None:
    count = round(share * key_bits)
    assert sampled_positions(seed, key_bits, count).tolist() == positions_by_the_written_rule(seed, key_bits, count)


def test_skipped_words_follow_the_written_rule() -> None:
    key_bits = (1 << 62) + 12345  # a quarter of all words is skipped
    assert sampled_positions(SEED, key_bits, 9000).tolist() == positions_by_the_written_rule(SEED, key_bits, 9000)


def test_sampled_positions_have_their_published_values() -> None:
    assert sampled_positions(SEED, 10**10, 5).tolist() == [2334468067, 3613616316, 4462306586, 5322874084, 8565801628]
    assert sampled_positions(SEED, 6, 4).tolist() == [0, 1, 2, 5]
    digest = hashlib.sha256(sampled_positions(SEED, 10**10, 10**5).astype("<i8").tobytes()).hexdigest()
    assert digest == "5dc1278d0852948ba5ab61b37954ae66c9c9f1b391489ebe8a55e7806a1ff15e"


@given(st.integers(1, 10**12), st.integers(0, 3000), st.binary(min_size=32, max_size=32))
def test_sampled_positions_are_sorted_distinct_and_exact_in_number(key_bits: int, count: int, seed: bytes) -> None:
    count = min(count, key_bits)
    positions = sampled_positions(seed, key_bits, count)
    assert positions.dtype == np.int64
    assert positions.shape == (count,)
    assert np.all(np.diff(positions) > 0)
    if count:
        assert 0 <= positions[0] <= positions[-1] < key_bits


@pytest.mark.parametrize("count", [2, 4])
def test_every_subset_is_equally_likely(count: int) -> None:
    """Chi-squared over all subsets of {0..5}: 14 degrees of freedom, 0.1 % quantile 36.1."""
    draws = 3000
    seen = Counter(
        tuple(sampled_positions(hashlib.sha256(bytes([count]) + i.to_bytes(4, "little")).digest(), 6, count).tolist())
        for i in range(draws)
    )
    subsets = list(combinations(range(6), count))
    assert set(seen) == set(subsets)
    expected = draws / len(subsets)
    assert sum((seen[subset] - expected) ** 2 / expected for subset in subsets) < 36.1


def test_a_large_sample_of_a_long_key_covers_it_evenly() -> None:
    positions = sampled_positions(SEED, 10**10, 10**6)
    histogram = np.bincount((positions // 10**8).astype(np.int64), minlength=100)
    assert positions.size == 10**6
    assert ((histogram - 10**4) ** 2 / 10**4).sum() < 149  # 99 degrees of freedom, 0.1 % quantile


def test_sampling_out_of_range_is_refused() -> None:
    for arguments in ((SEED[:31], 10, 1), ("0" * 32, 10, 1), (SEED, 0, 0), (SEED, 10, 11), (SEED, 10, -1)):
        with pytest.raises(ConfigError):
            sampled_positions(*arguments)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        sampled_positions(SEED, 10**12, 1 << 28)


def test_security_randomness_survives_its_record_and_is_never_drawn_twice() -> None:
    drawn = SecurityRandomness.draw()
    assert SecurityRandomness.from_json(json.loads(json.dumps(drawn.to_json()))) == drawn
    assert drawn != SecurityRandomness.draw()
    assert drawn.hash_key != drawn.sampling_seed
    assert drawn.hash_key.hex() not in repr(drawn)


@pytest.mark.parametrize("wrong", [{}, {"hash_key": "00" * 32}, {"hash_key": "00", "sampling_seed": "00" * 32}])
def test_a_damaged_record_of_security_randomness_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        SecurityRandomness.from_json(wrong)
    with pytest.raises(ConfigError):
        SecurityRandomness.from_json({"hash_key": "zz" * 32, "sampling_seed": 7})
    with pytest.raises(ConfigError):
        SecurityRandomness(hash_key=b"short", sampling_seed=bytes(32))


@pytest.mark.parametrize("wrong", [-1, 1 << 64, 1.0, "1", True, None])
def test_a_seed_is_an_unsigned_64_bit_integer(wrong: object) -> None:
    with pytest.raises(ConfigError):
        validate_seed(wrong)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2000))
def test_a_draw_is_a_function_of_seed_stream_and_block(seed: int, block: int, count: int) -> None:
    bits = simulation_bits(seed, Stream.KEY_BITS, block, count)
    require_packed(bits, count, "simulated bits")
    longer = simulation_bits(seed, Stream.KEY_BITS, block, count + 500)
    assert np.array_equal(bits, slice_bits(longer, 0, count))
    assert np.array_equal(simulation_errors(seed, block, count, 1.0), pack(np.ones(count, np.uint8)))
    assert not simulation_errors(seed, block, count, 0.0).any()
    assert np.array_equal(simulation_noise(seed, block, count), simulation_noise(seed, block, count + 5)[:count])
    assert (
        simulation_sampling_seed(seed, block) == simulation_bits(seed, Stream.SAMPLED_POSITIONS, block, 256).tobytes()
    )


def test_streams_seeds_and_blocks_are_independent() -> None:
    draws = {
        simulation_bits(seed, stream, block, 256).tobytes() for seed in (1, 2) for stream in Stream for block in (0, 1)
    }
    assert len(draws) == 2 * len(Stream) * 2


def test_errors_and_noise_have_their_moments() -> None:
    errors = simulation_errors(3, 0, 1 << 20, 0.02)
    assert abs(count_ones(errors) - 0.02 * 2**20) < 5 * (0.02 * 0.98 * 2**20) ** 0.5
    noise = simulation_noise(3, 0, 1 << 18).astype(np.float64)
    assert abs(noise.mean()) < 5 / 2**9
    assert abs(noise.var() - 1) < 5 * 2**0.5 / 2**9
    assert abs((noise**4).mean() - 3) < 5 * 96**0.5 / 2**9


@pytest.mark.parametrize("qber", [-0.1, 1.1, float("nan")])
def test_impossible_draws_are_refused(qber: float) -> None:
    with pytest.raises(ConfigError):
        simulation_errors(1, 0, 10, qber)
    with pytest.raises(ConfigError):
        simulation_bits(-1, Stream.KEY_BITS, 0, 10)

"""Laws of simulated keys: a function of the seed, at the stated error rate, drifting as asked."""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.bits import count_ones, unpack
from caligo.errors import ConfigError
from caligo.keys import Drift, count_differing_bits, open_key, open_pair, simulate_pair
from caligo.keys.simulated import CHUNK_BITS


def deviations(count: int, trials: int, rate: float) -> float:
    return abs(count - trials * rate) / math.sqrt(trials * rate * (1 - rate))


def test_a_pair_has_the_error_rate_asked_for_and_uniform_bits(tmp_path: Path) -> None:
    pair = simulate_pair(tmp_path, key_bits=(1 << 22) + 77, qber=0.03, seed=5)
    options = {"key_bits": pair.key_bits}
    with open_key(pair.alice, **options) as alice, open_key(pair.bob, **options) as bob:
        assert count_differing_bits(alice, bob) == pair.differing_bits
        ones = count_ones(alice.read_bits(0, pair.key_bits))
    assert pair.true_qber == pair.differing_bits / pair.key_bits
    assert deviations(pair.differing_bits, pair.key_bits, 0.03) < 5
    assert deviations(ones, pair.key_bits, 0.5) < 5


def test_two_error_rates_follow_bobs_bits(tmp_path: Path) -> None:
    pair = simulate_pair(tmp_path, key_bits=(1 << 21) + 77, qber=(0.05, 0.01), seed=5, drift=Drift("linear", 0.5))
    with open_pair(pair.alice, pair.bob, key_bits=pair.key_bits) as keys:
        alice, bob = (key.read_bits(0, pair.key_bits) for key in (keys.alice, keys.bob))
    ones = count_ones(bob)
    assert deviations(ones, pair.key_bits, 0.5) < 5
    assert deviations(count_ones((alice ^ bob) & bob), ones, 0.01) < 5
    assert deviations(count_ones((alice ^ bob) & ~bob), pair.key_bits - ones, 0.05) < 5


def test_a_pair_is_a_function_of_its_seed_and_a_short_key_begins_a_long_one(tmp_path: Path) -> None:
    def contents(name: str, key_bits: int, seed: int) -> tuple[bytes, bytes]:
        (tmp_path / name).mkdir()
        pair = simulate_pair(tmp_path / name, key_bits=key_bits, qber=0.02, seed=seed, drift=Drift("sine", 0.3))
        return pair.alice.read_bytes(), pair.bob.read_bytes()

    first, again, other = contents("a", 80_000, 1), contents("b", 80_000, 1), contents("c", 80_000, 2)
    longer = contents("d", 2_400_000, 1)
    assert first == again
    assert first[0] != other[0]
    assert first[0] == longer[0][:10_000]
    assert first[1] == longer[1][:10_000]


def test_the_published_pair_is_reproduced(tmp_path: Path) -> None:
    pair = simulate_pair(tmp_path, key_bits=1 << 21, qber=0.02, seed=1, drift=Drift("sine", 0.2, 1 << 20))
    digests = [hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in (pair.alice, pair.bob)]
    assert digests == ["ac7392bb4fb55e62", "8a5b971ac875a155"]


@pytest.mark.parametrize("kind", ["sine", "step", "linear"])
def test_the_error_rate_moves_as_the_drift_says(tmp_path: Path, kind: str) -> None:
    key_bits, period = 1 << 22, 1 << 21
    pair = simulate_pair(tmp_path, key_bits=key_bits, qber=0.1, seed=3, drift=Drift(kind, 0.5, period))  # type: ignore[arg-type]
    with open_pair(pair.alice, pair.bob) as both:
        a, b = both.read_bits(0, key_bits)
    octants = (unpack(a, key_bits) ^ unpack(b, key_bits)).reshape(8, -1).mean(axis=1)
    two_over_pi = 2 / math.pi
    expected = {
        "sine": [1 + 0.5 * two_over_pi] * 2 + [1 - 0.5 * two_over_pi] * 2,
        "step": [1.5, 1.5, 0.5, 0.5],
    }.get(kind)
    shape = np.array(expected * 2 if expected else [1 + 0.5 * ((2 * i + 1) / 8 - 1) for i in range(8)])
    assert octants == pytest.approx(0.1 * shape, abs=5 * math.sqrt(0.1 / (key_bits / 8)))


@given(st.sampled_from(["sine", "step", "linear"]), st.floats(0.001, 0.2), st.floats(0, 0.9), st.integers(1, 500))
def test_rates_stay_within_the_amplitude_and_average_to_the_mean(
    kind: str, mean: float, amplitude: float, periods: int
) -> None:
    chunks = 16 * periods
    drift = Drift(kind, amplitude, 16 * CHUNK_BITS)  # type: ignore[arg-type]
    rates = [drift.error_rate(mean, chunk, chunks) for chunk in range(chunks)]
    assert max(rates) <= mean * (1 + amplitude) + 1e-9
    assert min(rates) >= mean * (1 - amplitude) - 1e-9
    assert sum(rates) / chunks == pytest.approx(mean, rel=1e-6)


def test_drifts_are_read_from_text() -> None:
    assert Drift.parse("0.2") == Drift("sine", 0.2)
    assert Drift.parse("step/0.5", period_bits=1 << 20) == Drift("step", 0.5, 1 << 20)
    for wrong in ("", "sine", "sine/", "/0.2", "square/0.2", "sine/1.0", "sine/-0.1", "sine/nan", "a/b/0.2"):
        with pytest.raises(ConfigError):
            Drift.parse(wrong)
    with pytest.raises(ConfigError):
        Drift("sine", 0.2, 100)


def test_what_cannot_be_simulated_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    good = {"key_bits": 1000, "qber": 0.02, "seed": 1}
    wrong: list[dict[str, object]] = [
        {"key_bits": 0},
        {"qber": 0.0},
        {"qber": 0.5},
        {"qber": -0.1},
        {"qber": math.nan},
        {"qber": (0.02, 0.5)},
        {"qber": (0.02,)},
        {"seed": -1},
        {"seed": 1 << 64},
        {"qber": 0.4, "drift": Drift("sine", 0.3)},
    ]
    for change in wrong:
        with pytest.raises(ConfigError):
            simulate_pair(tmp_path, **(good | change))  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


def test_an_interrupt_leaves_no_key_behind(tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_pair(tmp_path, key_bits=1 << 22, qber=0.02, seed=1, progress=interrupt)
    assert os.listdir(tmp_path) == []

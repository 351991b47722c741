"""Laws of the aggregates: sums do not depend on the sharding, intervals cover."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.errors import ConfigError
from caligo.statistics import Proportion, Samples, rank_test

COUNTS = st.tuples(st.integers(0, 500), st.integers(0, 500)).map(lambda c: Proportion(min(c), max(c)))
VALUES = st.lists(st.floats(-1e9, 1e9), max_size=30)


@given(st.lists(COUNTS, max_size=6), st.randoms())
def test_proportions_add_up_whatever_the_sharding(parts: list[Proportion], random: object) -> None:
    total = sum(parts, Proportion())
    random.shuffle(parts)  # type: ignore[attr-defined]
    assert sum(parts, Proportion()) == total
    assert total.trials == sum(part.trials for part in parts)


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_the_interval_ends_where_the_binomial_tails_have_the_stated_mass(
    successes: int, failures: int, confidence: float
) -> None:
    trials = successes + failures
    low, high = Proportion(successes, trials).interval(confidence)
    tail = (1 - confidence) / 2

    def mass(rate: float, chosen: range) -> float:
        return math.fsum(math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in chosen)

    assert 0.0 <= low <= high <= 1.0
    if successes:
        assert mass(low, range(successes, trials + 1)) == pytest.approx(tail, rel=1e-6)
    else:
        assert low == 0.0
    if failures:
        assert mass(high, range(successes + 1)) == pytest.approx(tail, rel=1e-6)
    else:
        assert high == 1.0


def test_intervals_at_the_ends_and_without_trials() -> None:
    assert Proportion().interval() == (0.0, 1.0)
    assert Proportion().estimate is None
    assert Proportion(3, 12).estimate == 0.25
    low, high = Proportion(0, 100).interval()
    assert low == 0.0
    assert high == pytest.approx(1 - 0.025 ** (1 / 100))
    assert Proportion(10, 100).interval() == pytest.approx((0.049005, 0.176223), abs=1e-6)


@pytest.mark.parametrize("counts", [(-1, 3), (4, 3), (0, -1)])
def test_counts_that_cannot_be_are_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(ConfigError):
        Proportion(*counts)
    with pytest.raises(ConfigError):
        Proportion(1, 2).interval(1.0)


@given(VALUES, VALUES, VALUES)
def test_samples_are_a_commutative_monoid(a: list[float], b: list[float], c: list[float]) -> None:
    left = (Samples(a) + Samples(b)) + Samples(c)
    right = Samples(c) + (Samples(b) + Samples(a))
    assert left == right == Samples.union([Samples(a + b), Samples(c)]) == Samples(c + b + a)
    assert hash(left) == hash(right)
    assert left + Samples() == left
    assert len(left) == len(a) + len(b) + len(c)


@given(VALUES.filter(bool), st.floats(0, 1))
def test_quantiles_are_numpys(values: list[float], share: float) -> None:
    samples = Samples(values)
    assert samples.quantile(share) == pytest.approx(np.quantile(values, share), rel=1e-12)
    assert samples.median == pytest.approx(np.median(values), rel=1e-12)
    assert samples.summary()["max"] == max(values)
    assert samples.summary()["min"] == min(values)


def test_no_samples_have_no_quantiles_and_no_sample_is_infinite() -> None:
    assert Samples().summary() == {"count": 0, "min": None, "median": None, "mean": None, "p95": None, "max": None}
    for wrong in ([math.nan], [math.inf], [[1.0]]):
        with pytest.raises(ConfigError):
            Samples(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        Samples([1.0]).quantile(1.5)


def test_the_rank_test_sees_a_shift_and_not_a_relabelling() -> None:
    random = np.random.default_rng(7)
    a, b = Samples(random.normal(0, 1, 200)), Samples(random.normal(0.7, 1, 200))
    assert rank_test(a, b).p_value < 1e-6
    assert rank_test(a, b, "less").p_value < 1e-6
    assert rank_test(a, b, "greater").p_value > 0.99
    assert rank_test(a, b).superiority > 0.6
    assert rank_test(a, a).p_value == pytest.approx(1.0)
    assert rank_test(a, a).superiority == pytest.approx(0.5)
    with pytest.raises(ConfigError):
        rank_test(a, Samples())


def test_scipy_waits_until_it_is_needed() -> None:
    code = "import sys, caligo.statistics as s; s.Proportion(1, 2) + s.Proportion(); print('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"

"""Laws of the rank tests that gates stand on."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.errors import ConfigError
from caligo.store.gating.shifts import least_p_value, least_pairs, paired_shift, unpaired_shift

FIGURES = st.lists(st.integers(-1000, 1000).map(float), min_size=1, max_size=12)


def test_the_p_value_of_pairs_is_that_of_every_way_to_sign_them() -> None:
    values = [0.5, -1.25, 2.0, 3.5, -0.75, 4.25]

    def statistic(signed: list[float]) -> int:
        pairs = itertools.combinations_with_replacement(signed, 2)
        return sum(a + b > 0 for a, b in pairs)

    ways = [
        statistic([sign * abs(value) for sign, value in zip(signs, values, strict=True)])
        for signs in itertools.product((-1, 1), repeat=len(values))
    ]
    expected = np.mean([way >= statistic(values) for way in ways])
    assert paired_shift(values, 0.9).p_value == pytest.approx(expected)


@given(FIGURES, FIGURES)
def test_the_p_value_of_two_sets_is_that_of_scipy(a: list[float], b: list[float]) -> None:
    from scipy.stats import mannwhitneyu

    first = [value + 1e-6 * place for place, value in enumerate(a)]
    second = [value + 0.37 + 1e-6 * place for place, value in enumerate(b)]
    expected = mannwhitneyu(first, second, alternative="greater", method="exact").pvalue
    assert unpaired_shift(first, second, 0.95).p_value == pytest.approx(expected)


@given(FIGURES, st.sampled_from([0.9, 0.95, 0.99]))
def test_the_bound_is_above_nought_just_when_the_test_rejects(values: list[float], level: float) -> None:
    distinct = [value + 0.001 * place + 1e-5 for place, value in enumerate(values)]
    shift = paired_shift(distinct, level)
    assert (shift.low > 0) == (shift.p_value <= (1.0 - level) * (1 + 1e-12))
    assert shift.low <= shift.estimate


@given(FIGURES, FIGURES, st.integers(-50, 50))
def test_a_shift_of_all_figures_shifts_estimate_and_bound(a: list[float], b: list[float], by: int) -> None:
    before, after = unpaired_shift(a, b, 0.9), unpaired_shift([value + by for value in a], b, 0.9)
    assert after.estimate == pytest.approx(before.estimate + by)
    assert after.low == before.low + by or math.isinf(before.low)


def test_ties_never_make_a_small_p_value() -> None:
    assert paired_shift([0.0] * 30, 0.99).p_value == 1.0
    assert unpaired_shift([1.0] * 20, [1.0] * 20, 0.99).p_value == 1.0


def test_exact_and_normal_tails_meet() -> None:
    random = np.random.default_rng(7)
    values = random.normal(0.2, 1.0, 64)
    exact = paired_shift(values, 0.99).p_value
    normal = paired_shift(np.append(values, 0.2), 0.99).p_value
    assert normal == pytest.approx(exact, rel=0.2)


def test_resolution_and_needed_agree() -> None:
    random = np.random.default_rng(3)
    shift = paired_shift(random.normal(0.0, 0.03, 40), 0.999)
    needed = shift.needed(math.log(1.05), 0.001, math.log(1.03))
    assert needed is not None
    assert 10 <= needed <= 40
    assert shift.resolution(0.001, math.log(1.03)) < math.log(1.06)
    assert shift.needed(0.01, 0.001, 0.02) is None


def test_many_figures_cost_what_their_quantiles_cost() -> None:
    random = np.random.default_rng(3)
    shift = unpaired_shift(random.normal(0.1, 1.0, 50_000), random.normal(0.0, 1.0, 50_000), 0.99)
    assert shift.estimate == pytest.approx(0.1, abs=0.03)
    assert shift.count == 2000


def test_too_few_and_bad_figures() -> None:
    assert least_pairs(0.001) == 10
    assert least_p_value(3, 3) == pytest.approx(1 / 20)
    assert least_p_value(5000, 5000) == 0.0
    assert paired_shift([1.0, 2.0], 0.999).low == -math.inf
    for bad in ([], [math.nan], [math.inf, 1.0]):
        with pytest.raises(ConfigError, match="figure"):
            paired_shift(bad, 0.9)

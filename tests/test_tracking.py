"""Laws of QBER tracking: observations add up, forecasts cover, drift is followed, a step is found again."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.bits import pack
from caligo.channel import DESIGN_QBER_MAX, DESIGN_QBER_MIN, design_qber
from caligo.errors import ConfigError, ShapeError
from caligo.reconciliation.estimation import design_qber_above, design_qber_below
from caligo.reconciliation.tracking import (
    ANNOUNCEMENT_BITS,
    BIN_BITS,
    HORIZON_BINS,
    ErrorCounts,
    QberForecast,
    QberTracker,
    following_design_qber,
)
from caligo.statistics import Proportion

BLOCK = 1 << 16


def counts(errors: int, bits: int) -> ErrorCounts:
    return ErrorCounts(unsplit=Proportion(errors, bits))


def followed(
    rates: list[float], seed: int, *, ratio: float = 1.0, block: int = BLOCK
) -> list[tuple[float, QberForecast]]:
    """True rate of each block and the forecast before it; `ratio` is P(error | 1) / P(error | 0)."""
    generator = np.random.default_rng(seed)
    tracker, out = QberTracker(), []
    for number, rate in enumerate(rates):
        middle = number * block + block // 2
        forecast = tracker.forecast(middle)
        if forecast is not None:
            out.append((rate, forecast))
        ones = int(generator.binomial(block, 0.5))
        zero_rate = 2 * rate / (1 + ratio)
        zeros_wrong = int(generator.binomial(block - ones, zero_rate))
        ones_wrong = int(generator.binomial(ones, zero_rate * ratio))
        tracker = tracker.observe(
            middle, ErrorCounts(Proportion(zeros_wrong, block - ones), Proportion(ones_wrong, ones))
        )
    return out


def coverage(outcomes: list[tuple[float, QberForecast]]) -> float:
    hits = sum(low <= rate <= high for rate, forecast in outcomes for low, high in [forecast.total.interval()])
    return hits / len(outcomes)


observations = st.lists(
    st.tuples(st.integers(0, 3 * HORIZON_BINS * BIN_BITS), st.integers(0, 1000), st.integers(1000, 10**6)), max_size=20
)


@given(observations, st.randoms(use_true_random=False), st.integers(0, 20))
def test_trackers_add_up_in_any_order_and_division(
    seen: list[tuple[int, int, int]], order: random.Random, cut: int
) -> None:
    def tracked(part: list[tuple[int, int, int]]) -> QberTracker:
        tracker = QberTracker()
        for position, errors, bits in part:
            tracker = tracker.observe(position, counts(errors, bits))
        return tracker

    whole = tracked(seen)
    shuffled = seen[:]
    order.shuffle(shuffled)
    assert tracked(shuffled) == whole
    assert tracked(shuffled[:cut]) + tracked(shuffled[cut:]) == whole
    assert QberTracker.union([tracked([one]) for one in shuffled]) == whole
    assert whole + QberTracker() == whole
    assert len(whole.bins) <= HORIZON_BINS
    if seen:
        newest = max(position for position, _, _ in seen)
        assert whole.forecast(newest) == tracked(shuffled).forecast(newest)


@given(st.integers(0, 2**32), st.integers(1, 500))
def test_a_decoded_block_tells_both_conditional_rates(seed: int, bits: int) -> None:
    generator = np.random.default_rng(seed)
    bob, alice = generator.integers(0, 2, (2, bits), dtype=np.uint8)
    found = ErrorCounts.compare(pack(bob), pack(alice), bits)
    assert found.at_zero == Proportion(int(((bob == 0) & (alice == 1)).sum()), int((bob == 0).sum()))
    assert found.at_one == Proportion(int(((bob == 1) & (alice == 0)).sum()), int((bob == 1).sum()))
    assert found.total == Proportion(int((bob != alice).sum()), bits)


def test_on_a_steady_channel_the_interval_covers_and_narrows() -> None:
    outcomes = [pair for seed in range(10) for pair in followed([0.02] * 100, seed)]
    assert coverage(outcomes) >= 0.93
    last = followed([0.02] * 400, 1)[-1][1]
    low, high = last.total.interval()
    assert 0.0195 < low < 0.02 < high < 0.0205
    assert last.half_life_bits >= 1 << 22
    assert 0.0195 <= last.design_qber("low") <= 0.02 <= last.design_qber("high") <= 0.0205


@pytest.mark.parametrize("amplitude", [0.05, 0.2])
def test_drift_is_followed_and_covered(amplitude: float) -> None:
    """A sine of period 2^24 key bits, as far as 256 blocks go round it."""
    rates = [0.02 * (1 + amplitude * math.sin(2 * math.pi * number * BLOCK / (1 << 24))) for number in range(1024)]
    outcomes = followed(rates, 3)[64:]
    assert coverage(outcomes) >= 0.85
    missed = np.array([forecast.qber / rate - 1 for rate, forecast in outcomes])
    assert float(np.sqrt((missed**2).mean())) < 0.3 * amplitude + 0.02
    widths = np.array([np.subtract(*forecast.total.interval()[::-1]) / rate for rate, forecast in outcomes])
    assert float(widths.mean()) < amplitude + 0.1


def test_after_a_step_the_forecast_is_at_the_new_rate_within_half_a_million_bits() -> None:
    outcomes = followed([0.02] * 200 + [0.03] * 200, 4)
    after = outcomes[199 + 12 :]
    assert all(abs(forecast.qber / rate - 1) < 0.06 for rate, forecast in after)
    assert coverage(after) >= 0.9


def test_failures_raise_the_forecast_until_blocks_decode_again() -> None:
    tracker = followed_until(0.02, 100)
    position, failed = 100 * BLOCK, 0
    forecast = tracker.forecast(position)
    assert forecast is not None
    while forecast.design_qber("high") < 0.03:
        tracker = tracker.observe_failure(position, BLOCK, forecast.design_qber("high"))
        position += BLOCK
        forecast = tracker.forecast(position)
        assert forecast is not None
        failed += 1
        assert failed < 30


def test_a_failure_in_a_hundred_moves_the_forecast_by_a_thousandth() -> None:
    tracker = followed_until(0.02, 100)
    before, after = (
        found.forecast(100 * BLOCK) for found in (tracker, tracker.observe_failure(50 * BLOCK, BLOCK, 0.0203))
    )
    assert before is not None
    assert after is not None
    assert after.qber == pytest.approx(before.qber, rel=0.005)


def followed_until(rate: float, blocks: int) -> QberTracker:
    generator = np.random.default_rng(5)
    return QberTracker.union(
        QberTracker().observe(n * BLOCK, counts(int(generator.binomial(BLOCK, rate)), BLOCK)) for n in range(blocks)
    )


def test_both_conditional_rates_are_estimated_and_told_apart() -> None:
    forecast = followed([0.0365] * 40, 6, ratio=2.4 / 4.9)[-1][1]
    assert forecast.at_zero is not None
    assert forecast.at_one is not None
    assert forecast.at_zero.rate == pytest.approx(0.049, rel=0.02)
    assert forecast.at_one.rate == pytest.approx(0.024, rel=0.02)
    assert forecast.is_asymmetric()
    for (low, high), rate in ((forecast.at_zero.interval(), 0.049), (forecast.at_one.interval(), 0.024)):
        assert low < rate < high
    for side in ("low", "high"):
        designed = forecast.design_qbers(side)
        assert isinstance(designed, tuple)
        assert designed[0] / designed[1] == pytest.approx(4.9 / 2.4, rel=0.03)
        assert sum(designed) / 2 == pytest.approx(forecast.design_qber(side), abs=1.01e-4)
    symmetric = [pair[1].is_asymmetric() for seed in range(40) for pair in followed([0.02] * 10, seed)[-1:]]
    assert sum(symmetric) <= 3
    bare = QberTracker().observe(0, counts(20, 1000)).forecast(BLOCK)
    assert bare is not None
    assert (bare.at_zero, bare.at_one, bare.is_asymmetric()) == (None, None, False)
    assert bare.design_qbers("high") == bare.design_qber("high")


def test_farther_ahead_is_less_certain_on_a_channel_that_drifts() -> None:
    rates = [0.02 * (1 + 0.2 * math.sin(number / 8)) for number in range(200)]
    generator = np.random.default_rng(2)
    tracker = QberTracker.union(
        QberTracker().observe(n * BLOCK, counts(int(generator.binomial(BLOCK, rate)), BLOCK))
        for n, rate in enumerate(rates)
    )
    widths = []
    for ahead in (0, 4, 32):
        forecast = tracker.forecast((200 + ahead) * BLOCK)
        assert forecast is not None
        low, high = forecast.total.interval()
        widths.append(high - low)
        assert forecast.drift > 0
    assert widths == sorted(set(widths))


def test_without_observations_there_is_no_forecast_and_nonsense_is_refused() -> None:
    tracker = QberTracker().observe(10 * BIN_BITS, counts(1, 100))
    assert QberTracker().forecast(0) is None
    assert tracker.forecast(0) is None
    forecast = tracker.forecast(10 * BIN_BITS)
    assert forecast is not None
    for wrong in (
        lambda: tracker.observe(-1, counts(1, 100)),
        lambda: tracker.observe_failure(0, 0, 0.02),
        lambda: tracker.observe_failure(0, 100, 0.7),
        lambda: forecast.design_qber("middle"),  # type: ignore[arg-type]
        lambda: forecast.total.interval(1.0),
    ):
        with pytest.raises(ConfigError):
            wrong()
    with pytest.raises(ShapeError):
        ErrorCounts.compare(np.zeros(2, np.uint8), np.zeros(3, np.uint8), 16)


@given(st.floats(1e-6, 0.2499))
def test_designs_below_and_above_enclose_a_qber_with_nothing_of_the_grid_between(qber: float) -> None:
    low, high = design_qber_below(qber), design_qber_above(qber)
    assert low == design_qber(low)
    assert DESIGN_QBER_MIN <= low <= high <= DESIGN_QBER_MAX
    if qber >= DESIGN_QBER_MIN:
        assert low <= qber <= high
        assert high - low <= 1.0001e-4
        assert low == high or design_qber((low + high) / 2) in (low, high)


@given(st.floats(1e-6, 0.49))
def test_the_coarse_grid_is_within_a_step_on_the_side_asked_for(rate: float) -> None:
    low, high = following_design_qber(rate, "low"), following_design_qber(rate, "high")
    assert {design_qber(point) for point in (low, high)} == {low, high}
    clipped = min(max(rate, DESIGN_QBER_MIN), DESIGN_QBER_MAX)
    assert low <= clipped <= high
    # The grid of designs below it is 1e-5 and 1e-4 wide.
    assert high - low <= 0.02 * clipped + 1e-4


def test_an_announcement_names_every_point_of_the_coarse_grid() -> None:
    points = {following_design_qber(rate, "high") for rate in np.geomspace(1e-4, 0.4, 20_000)}
    assert len(points) <= 1 << ANNOUNCEMENT_BITS


@given(st.floats(0.005, 0.1), st.integers(1, 200), st.integers(0, 200), st.integers(0, 2**32))
def test_rare_observations_are_not_drawn_to_one_half(rate: float, apart: int, ahead: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tracker, bits = QberTracker(), 1 << 20
    rates = rate * (1.0 + 0.05 * rng.standard_normal(12))
    for number, each in enumerate(rates):
        tracker = tracker.observe(number * apart * BIN_BITS, counts(round(each * bits), bits))
    forecast = tracker.forecast((11 * apart + ahead) * BIN_BITS)
    assert forecast is not None
    assert 0.999 * rates.min() <= forecast.qber <= 1.001 * rates.max()

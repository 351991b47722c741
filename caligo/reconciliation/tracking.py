"""The QBER along a key: what blocks already decoded say about the next ones.

A decoded block tells Bob exactly where he was wrong: its number of errors and, split by his own bit, the two error
rates P(error | 0) and P(error | 1) that asymmetric detectors have. A :class:`QberTracker` collects such counts by
position and forecasts the error rate at a later one, with an interval, so that the next code is designed on the low
side (where missing disclosure can be asked for) or on the high side (where it cannot).

**Collecting.** Counts go into bins of `BIN_BITS` key bits, by position. They are integers, and trackers add up: any
order of arrival, and any division of the blocks among threads, gives equal trackers. Bins more than `HORIZON_BINS`
behind the newest are dropped, so a tracker is of bounded size.

**Forecasting.** An observation that lies h bins before the newest has weight 2^(-h / half-life). The half-life is the
one of `HALF_LIVES` whose forecasts of every past bin from the bins before it had the greatest likelihood: long on a
steady channel, short on one that drifts. What those forecasts missed beyond the statistics of counting is the variance
of the drift; it grows with the distance to the newest bin. Both make the interval, that of a beta distribution with the
forecast's mean and variance.

**Designing.** Designs that follow forecasts are taken from a coarse grid (:func:`following_design_qber`), so that few
are made.

**Failed blocks** have no count, and leaving them out would bias what is left: after a step up, everything fails and
nothing is seen. A failed block therefore counts as `FAILURE_EXCESS` times the QBER it was designed for: the forecast
climbs until blocks decode again, and chance failures, one in a hundred, move it by a thousandth.

Covers: counts, the tracker, forecasts and designs from them, the two conditional rates. Does not cover: sampled
positions (:mod:`.estimation`; their counts can be the first observation), who tells whom (an error count depends on
both keys: Bob's telling it is counted with his requests), error rates that depend on anything but the position.

Pure: no clock, no randomness, no I/O.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from caligo.bits import Packed, count_ones
from caligo.channel import DESIGN_QBER_MAX, DESIGN_QBER_MIN, Qbers, validate_qber
from caligo.errors import ConfigError, ShapeError
from caligo.reconciliation.estimation import CONFIDENCE, design_qber_above, design_qber_below, divide_qber
from caligo.statistics import Proportion, beta_interval

__all__ = [
    "ANNOUNCEMENT_BITS",
    "BIN_BITS",
    "FAILURE_EXCESS",
    "HALF_LIVES",
    "FOLLOWING_STEP",
    "HORIZON_BINS",
    "ErrorCounts",
    "QberForecast",
    "QberTracker",
    "RateForecast",
    "following_design_qber",
]

BIN_BITS = 1 << 15
"""Key bits in a bin; at 2 % a bin tells its rate to 4 %."""

HORIZON_BINS = 1 << 10
"""Bins that are kept: 2^25 key bits."""

HALF_LIVES = tuple(1 << n for n in range(1, 10))
"""Candidates, in bins: 2^16 to 2^24 key bits."""

FAILURE_EXCESS = 1.1
"""What a failed block counts as, relative to the QBER it was designed for."""

FOLLOWING_STEP = 1.02
"""Ratio of neighbours on the coarse grid: half a step costs about 0.8 % of the disclosure."""

ANNOUNCEMENT_BITS = 9
"""What Bob says when he names a point of the coarse grid."""

Side = Literal["low", "high"]


def _coarse_grid() -> tuple[float, ...]:
    points = [DESIGN_QBER_MIN]
    rate = DESIGN_QBER_MIN
    while points[-1] < DESIGN_QBER_MAX:
        rate *= FOLLOWING_STEP
        points.append(design_qber_above(min(rate, DESIGN_QBER_MAX)))
    return tuple(sorted(set(points)))


_COARSE_GRID = _coarse_grid()


def following_design_qber(rate: float, side: Side) -> float:
    """The nearest point of the coarse grid on one side of a rate.

    Args:
        rate: of errors.
        side: ``low`` for the next point at or below it, ``high`` for the next at or above it.

    Returns:
        A point of the design grid; the last one beyond its ends.
    """
    if side == "low":
        return _COARSE_GRID[max(bisect_right(_COARSE_GRID, rate) - 1, 0)]
    return _COARSE_GRID[min(bisect_left(_COARSE_GRID, rate), len(_COARSE_GRID) - 1)]


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Errors among key bits, split by Bob's bit where that is known. `ErrorCounts()` is the neutral element of `+`.

    Args:
        at_zero: errors among the bits that were 0 at Bob's side, before correction.
        at_one: the same of those that were 1.
        unsplit: errors among bits of which nothing more is known.
    """

    at_zero: Proportion = field(default_factory=Proportion)
    at_one: Proportion = field(default_factory=Proportion)
    unsplit: Proportion = field(default_factory=Proportion)

    @classmethod
    def of(cls, errors: int, bits: int) -> ErrorCounts:
        """So many errors among bits of which nothing more is known."""
        return cls(unsplit=Proportion(errors, bits))

    @classmethod
    def compare(cls, bob: Packed, corrected: Packed, bits: int) -> ErrorCounts:
        """Count what a decoder corrected.

        Args:
            bob: Bob's bits before, packed, unused bits zero.
            corrected: the same after, or Alice's: packed, of the same shape.
            bits: key bits in them.

        Raises:
            ShapeError: the shapes differ.
        """
        if bob.shape != corrected.shape:
            raise ShapeError(
                f"expected two packed arrays of one shape, got {bob.shape} and {corrected.shape}; pass one block",
                shape_a=bob.shape,
                shape_b=corrected.shape,
            )
        errors = bob ^ corrected
        ones = count_ones(bob)
        of_ones = count_ones(errors & bob)
        return cls(Proportion(count_ones(errors) - of_ones, bits - ones), Proportion(of_ones, ones))

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        if not isinstance(other, ErrorCounts):
            return NotImplemented
        return ErrorCounts(self.at_zero + other.at_zero, self.at_one + other.at_one, self.unsplit + other.unsplit)

    @property
    def total(self) -> Proportion:
        """Errors among all bits."""
        return self.at_zero + self.at_one + self.unsplit


@dataclass(frozen=True, slots=True)
class RateForecast:
    """An error rate to be expected.

    Args:
        rate: mean of the forecast.
        variance: of the forecast: counting and drift together, > 0.
    """

    rate: float
    variance: float

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Two-sided interval of the true rate.

        Args:
            confidence: 0 < confidence < 1.

        Raises:
            ConfigError: outside its range.
        """
        trials = max(self.rate * (1.0 - self.rate) / self.variance - 1.0, 1.0)
        return beta_interval(self.rate * trials, (1.0 - self.rate) * trials, confidence)


@dataclass(frozen=True, slots=True)
class QberForecast:
    """What the next block will be like.

    Args:
        total: its QBER.
        at_zero: P(error | Bob has 0); None where nothing was observed split.
        at_one: P(error | Bob has 1); None likewise.
        half_life_bits: of the weights that were used, in key bits.
        drift: standard deviation of the rate from one observation to the next that counting does not explain.
    """

    total: RateForecast
    at_zero: RateForecast | None
    at_one: RateForecast | None
    half_life_bits: int
    drift: float

    @property
    def qber(self) -> float:
        """Mean of the forecast."""
        return self.total.rate

    def design_qber(self, side: Side, confidence: float = CONFIDENCE) -> float:
        """The QBER to design the next code for.

        Args:
            side: ``low`` takes the lower end of the interval, down to the design grid; ``high`` the upper, up to it.
            confidence: of the two-sided interval.

        Returns:
            A point of the design grid.

        Raises:
            ConfigError: an unknown side, or `confidence` outside (0, 1).
        """
        low, high = self.total.interval(confidence)
        if side == "low":
            return design_qber_below(_designable(low))
        if side == "high":
            return design_qber_above(_designable(high))
        raise ConfigError(f"expected side low or high, got {side!r}; high where nothing can be asked for", side=side)

    def is_asymmetric(self, confidence: float = CONFIDENCE) -> bool:
        """Whether the intervals of the two conditional rates are apart, so that two LLR magnitudes are worth having.

        Args:
            confidence: of each two-sided interval.
        """
        if self.at_zero is None or self.at_one is None:
            return False
        (low_zero, high_zero), (low_one, high_one) = self.at_zero.interval(confidence), self.at_one.interval(confidence)
        return high_zero < low_one or high_one < low_zero

    def design_qbers(self, side: Side, confidence: float = CONFIDENCE) -> Qbers:
        """The pair of QBERs to design the next code for where there are two rates, else `design_qber`.

        Args:
            side: as of `design_qber`, which the pair's mean is.
            confidence: of each two-sided interval.

        Returns:
            Points of the design grid.

        Raises:
            ConfigError: an unknown side, or `confidence` outside (0, 1).
        """
        mean = self.design_qber(side, confidence)
        if self.at_zero is None or self.at_one is None or not self.is_asymmetric(confidence):
            return mean
        return divide_qber(mean, (self.at_zero.rate, self.at_one.rate), asks=side == "low")


@dataclass(frozen=True, slots=True)
class QberTracker:
    """Error counts by position. Immutable; `QberTracker()` is the neutral element of `+`.

    Args:
        bins: (index, counts) by ascending index; use `observe` rather than this.
    """

    bins: tuple[tuple[int, ErrorCounts], ...] = ()

    def observe(self, position: int, counts: ErrorCounts) -> QberTracker:
        """Add what was seen at a position.

        Args:
            position: middle of the block, as a key bit, >= 0; the start of the key for a sample of all of it.
            counts: its errors.

        Returns:
            A new tracker.

        Raises:
            ConfigError: a negative position.
        """
        if position < 0:
            raise ConfigError(f"expected a position >= 0, got {position}; count key bits from 0", position=position)
        return self + QberTracker(((position // BIN_BITS, counts),))

    def observe_failure(self, position: int, bits: int, design_qber: float) -> QberTracker:
        """Add a block that could not be decoded.

        Args:
            position: middle of the block, as a key bit, >= 0.
            bits: key bits in it, >= 1.
            design_qber: that of its code.

        Returns:
            A new tracker.

        Raises:
            ConfigError: an argument outside its range.
        """
        if bits < 1:
            raise ConfigError(f"expected bits >= 1, got {bits}; give the payload of the block", bits=bits)
        errors = round(bits * min(FAILURE_EXCESS * validate_qber(design_qber), 0.5))
        return self.observe(position, ErrorCounts(unsplit=Proportion(errors, bits)))

    def __add__(self, other: QberTracker) -> QberTracker:
        if not isinstance(other, QberTracker):
            return NotImplemented
        return QberTracker.union((self, other))

    @classmethod
    def union(cls, parts: Iterable[QberTracker]) -> QberTracker:
        """Everything that any of them observed; the same as adding them."""
        merged: dict[int, ErrorCounts] = {}
        for part in parts:
            for index, counts in part.bins:
                merged[index] = merged[index] + counts if index in merged else counts
        oldest = max(merged, default=0) - HORIZON_BINS
        return cls(tuple((index, merged[index]) for index in sorted(merged) if index > oldest))

    def forecast(self, position: int) -> QberForecast | None:
        """What to expect at a position, from what was observed before it or in its bin.

        Args:
            position: middle of the next block, as a key bit.

        Returns:
            The forecast; None where nothing was observed.
        """
        target = position // BIN_BITS
        known = [(index, counts) for index, counts in self.bins if index <= target and counts.total.trials]
        if not known:
            return None
        index = np.array([index for index, _ in known], dtype=np.int64)
        total = _columns([counts.total for _, counts in known])
        choice, drift_variance, spacing = _choose(index, total)
        half_life = HALF_LIVES[choice]
        # Weights are relative to the newest observation, however far back it lies: what is added to counts is little.
        weights = np.exp2((index - index[-1]) / half_life)
        drift_ahead = drift_variance * max(1.0, float(target - index[-1]) / spacing)
        mean, counting = _weighted(weights, total)

        def conditional(column: list[Proportion]) -> RateForecast | None:
            counts = _columns(column)
            if not counts[1].any():
                return None
            rate, variance = _weighted(weights, counts)
            return RateForecast(rate, variance + drift_ahead * (rate / mean) ** 2)

        return QberForecast(
            total=RateForecast(mean, counting + drift_ahead),
            at_zero=conditional([counts.at_zero for _, counts in known]),
            at_one=conditional([counts.at_one for _, counts in known]),
            half_life_bits=half_life * BIN_BITS,
            drift=float(np.sqrt(drift_variance)),
        )


def _columns(counts: list[Proportion]) -> NDArray[np.float64]:
    """Errors and bits, float64 `[2, bins]`."""
    return np.array([[count.successes for count in counts], [count.trials for count in counts]], dtype=np.float64)


def _weighted(weights: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[float, float]:
    """Mean rate and its variance from counting, with Jeffreys' half an error and half a correct bit added."""
    errors, bits = (float(row @ weights) for row in counts)
    rate = (errors + 0.5) / (bits + 1.0)
    effective = bits * bits / float(counts[1] @ (weights * weights)) if bits else 0.0
    return rate, rate * (1.0 - rate) / (effective + 1.0)


def _choose(index: NDArray[np.int64], counts: NDArray[np.float64]) -> tuple[int, float, float]:
    """The half-life that would have forecast the past best, the variance its forecasts missed, and the mean distance
    of observations in bins.
    """
    bins = index.size
    if bins < 2:
        return len(HALF_LIVES) - 1, 0.0, 1.0
    half_lives = np.array(HALF_LIVES, dtype=np.float64)
    # Scaled around the middle of the horizon, weights and their squares stay far from the ends of the binary64 range.
    weights = np.exp2((index - (index[0] + index[-1]) / 2)[:, None] / half_lives)
    errors, bits = counts[0][:, None], counts[1][:, None]
    errors_before = np.cumsum(weights * errors, axis=0)[:-1]
    bits_before = np.cumsum(weights * bits, axis=0)[:-1]
    squares_before = np.cumsum(weights * weights * bits, axis=0)[:-1]
    scale = weights[:-1]
    rate = (errors_before / scale + 0.5) / (bits_before / scale + 1.0)
    likelihood = (errors[1:] * np.log(rate) + (bits - errors)[1:] * np.log1p(-rate)).sum(axis=0)
    best = half_lives.size - 1 - int(np.argmax(likelihood[::-1]))
    expected = (rate * (1.0 - rate) * (1.0 / bits[1:] + squares_before / bits_before**2))[:, best]
    excess = ((errors / bits)[1:, 0] - rate[:, best]) ** 2 - expected
    recent = np.exp2((index[1:] - index[-1]) / half_lives[-1])
    spacing = float(index[-1] - index[0]) / (bins - 1)
    return best, max(0.0, float(recent @ excess / recent.sum())), spacing


def _designable(rate: float) -> float:
    return min(max(rate, DESIGN_QBER_MIN), DESIGN_QBER_MAX)

"""By how much one set of figures exceeds another, by ranks alone: test, estimate, bound.

Covers: pairs (Wilcoxon's signed ranks) and two independent sets (Mann-Whitney), one-sided, each with the estimate of
Hodges and Lehmann and a lower bound that agrees with the test; the smallest shift that such a comparison could have
found. Does not cover: what is compared, or whether it may be (:mod:`.gates`).

Null distributions are exact up to :data:`EXACT_PAIRS` pairs or :data:`EXACT_PRODUCT` comparisons, normal beyond. Ties
count against a shift, so that they never make a false alarm.

Sources: F. Wilcoxon, Biometrics Bulletin 1 (1945); H. B. Mann, D. R. Whitney, Ann. Math. Statist. 18 (1947);
J. L. Hodges, E. L. Lehmann, Ann. Math. Statist. 34 (1963); M. Hollander, D. A. Wolfe, "Nonparametric Statistical
Methods" (1973), 3.1-3.3 and 4.1-4.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from caligo.errors import ConfigError

__all__ = ["EXACT_PAIRS", "EXACT_PRODUCT", "Shift", "least_pairs", "least_p_value", "paired_shift", "unpaired_shift"]

EXACT_PAIRS = 64
EXACT_PRODUCT = 900

MOST = 2000
"""Figures on a side; of more, evenly many quantiles are compared."""

_NORMAL = NormalDist()
_POWER = 0.95
_BAND = 0.90


@dataclass(frozen=True)
class Shift:
    """How much greater the figures of one side are.

    Attributes:
        p_value: one-sided: probability of ranks at least as high if both sides were alike.
        estimate: Hodges-Lehmann estimate of the shift, in the unit of the figures.
        low: lower confidence bound of the shift at the level asked for; minus infinity with too few figures. It is
            above 0 exactly where `p_value` is at most one minus the level, ties aside.
        error: standard error of the estimate, from the width of its 90 % interval; infinite with too few figures.
        count: pairs, or figures of the smaller side.
    """

    p_value: float
    estimate: float
    low: float
    error: float
    count: int

    def resolution(self, alpha: float, least: float) -> float:
        """The smallest true shift that would be found 19 times out of 20.

        Args:
            alpha: level of the test.
            least: shift below which the estimate is not taken for one.
        """
        sure = _NORMAL.inv_cdf(_POWER)
        return max((_NORMAL.inv_cdf(1.0 - alpha) + sure) * self.error, least + sure * self.error)

    def needed(self, target: float, alpha: float, least: float) -> int | None:
        """Pairs (or figures a side) with which a true shift would be found 19 times out of 20, at this spread.

        Args:
            target: the shift to find.
            alpha: level of the test.
            least: as in :meth:`resolution`.

        Returns:
            At least as many as can reach `alpha` at all; None where `target` does not exceed `least`, or the spread is
            not known.
        """
        if target <= least or not math.isfinite(self.error):
            return None
        sure = _NORMAL.inv_cdf(_POWER)
        wanted = min(target / (_NORMAL.inv_cdf(1.0 - alpha) + sure), (target - least) / sure)
        return max(least_pairs(alpha), math.ceil(self.count * (self.error / wanted) ** 2))


def least_pairs(alpha: float) -> int:
    """Fewest pairs whose signed ranks can reach a level."""
    return math.ceil(-math.log2(alpha))


def least_p_value(a: int, b: int) -> float:
    """The smallest p-value that ranks of so many figures a side can have."""
    return math.exp(math.lgamma(a + 1) + math.lgamma(b + 1) - math.lgamma(a + b + 1))


# --- null distributions -------------------------------------------------------------------------------------------


@cache
def _signed_rank_tail(count: int) -> NDArray[np.float64]:
    """P(W >= w) for w = 0 .. n (n + 1) / 2."""
    chances = np.ones(1)
    for rank in range(1, count + 1):
        grown = np.zeros(chances.size + rank)
        grown[: chances.size] += 0.5 * chances
        grown[rank:] += 0.5 * chances
        chances = grown
    return np.cumsum(chances[::-1])[::-1]


@cache
def _rank_sum_tail(a: int, b: int) -> NDArray[np.float64]:
    """P(U >= u) for u = 0 .. a b: the Gaussian binomial coefficient, in whole numbers."""
    ways = [1] + [0] * (a * b)
    for part in range(1, a + 1):
        for place in range(a * b, part + b - 1, -1):
            ways[place] -= ways[place - part - b]
        for place in range(part, a * b + 1):
            ways[place] += ways[place - part]
    total = math.comb(a + b, a)
    tail, seen = [], 0
    for way in reversed(ways):
        seen += way
        tail.append(seen / total)
    return np.array(tail[::-1])


def _normal_tail(statistic: float, most: float, variance: float) -> float:
    return 1.0 - _NORMAL.cdf((statistic - most / 2.0 - 0.5) / math.sqrt(variance))


class _Null:
    """A null distribution: symmetric on 0 .. most."""

    def __init__(self, most: int, variance: float, tail: NDArray[np.float64] | None) -> None:
        self.most = most
        self._variance = variance
        self._tail = tail

    def p_value(self, statistic: int) -> float:
        """P(at least so much)."""
        if self._tail is not None:
            return float(min(1.0, self._tail[statistic]))
        return _normal_tail(statistic, self.most, self._variance)

    def critical(self, alpha: float) -> int | None:
        """The least statistic with a p-value of at most alpha; None if there is none."""
        if self._tail is not None:
            reached = np.flatnonzero(self._tail <= alpha)
            return int(reached[0]) if reached.size else None
        found = math.ceil(self.most / 2.0 + 0.5 + _NORMAL.inv_cdf(1.0 - alpha) * math.sqrt(self._variance))
        return found if found <= self.most else None


# --- shifts -------------------------------------------------------------------------------------------------------


def _checked(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size or not bool(np.all(np.isfinite(array))):
        raise ConfigError("expected at least one finite figure on each side, got none or others; measure both sides")
    if array.size > MOST:
        array = np.quantile(array, (np.arange(MOST) + 0.5) / MOST)
    return array


def _shift(differences: NDArray[np.float64], null: _Null, level: float, count: int) -> Shift:
    """From all differences, one of which is positive for each unit of the statistic."""
    ordered = np.sort(differences)
    p_value = null.p_value(int(np.count_nonzero(ordered > 0)))
    tail = (1.0 - _BAND) / 2.0
    below, above = _bound(ordered, null, tail), -_bound(-ordered[::-1], null, tail)
    error = (above - below) / (2.0 * _NORMAL.inv_cdf(1.0 - tail))
    return Shift(p_value, float(np.median(ordered)), _bound(ordered, null, 1.0 - level), error, count)


def _bound(ordered: NDArray[np.float64], null: _Null, alpha: float) -> float:
    """The difference that is the lower bound: shifted down by any more, the test would not reject."""
    critical = null.critical(alpha)
    return -math.inf if critical is None else float(ordered[null.most - critical])


def paired_shift(differences: Sequence[float] | NDArray[np.float64], level: float) -> Shift:
    """Whether differences of pairs tend to be above 0.

    Args:
        differences: one a pair, finite; under the hypothesis symmetric around 0, which they are when either of a pair
            may come first.
        level: confidence of the lower bound, 0 < level < 1.

    Raises:
        ConfigError: no differences, or such that are not finite.
    """
    values = _checked(differences)
    count = values.size
    first, second = np.triu_indices(count)
    most = count * (count + 1) // 2
    tail = _signed_rank_tail(count) if count <= EXACT_PAIRS else None
    null = _Null(most, most * (2 * count + 1) / 12.0, tail)
    return _shift((values[first] + values[second]) / 2.0, null, level, count)


def unpaired_shift(
    greater: Sequence[float] | NDArray[np.float64], lesser: Sequence[float] | NDArray[np.float64], level: float
) -> Shift:
    """Whether the figures of one set tend to be above those of another.

    Args:
        greater: the set that may be greater, finite.
        lesser: the other; under the hypothesis all figures are exchangeable.
        level: as in :func:`paired_shift`.

    Raises:
        ConfigError: an empty set, or figures that are not finite.
    """
    first, second = _checked(greater), _checked(lesser)
    a, b = first.size, second.size
    tail = _rank_sum_tail(min(a, b), max(a, b)) if a * b <= EXACT_PRODUCT else None
    null = _Null(a * b, a * b * (a + b + 1) / 12.0, tail)
    return _shift((first[:, None] - second[None, :]).ravel(), null, level, min(a, b))

"""Aggregates that add up, and what may be concluded from them.

Covers: proportions with exact intervals, an exact test whether two differ, beta intervals, samples with quantiles and
an interval for their median, a rank test, intervals for a difference, p-values of several tests at once. Every
aggregate is a commutative monoid: `a + b` describes both sets of observations together, so any division of the work
over threads, ranks or runs ends in the same numbers. Does not cover: when a simulation stops
(`caligo.simulation`), what a run records (`caligo.store`).

Intervals are two-sided and 95 % unless the caller says otherwise. SciPy is imported when an interval or a test is asked
for, not with this module.

Sources: C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the
binomial", Biometrika 26 (1934); R. A. Fisher, "On the interpretation of χ² from contingency tables", J. Roy. Stat. Soc.
85 (1922); H. B. Mann, D. R. Whitney, "On a test of whether one of two random variables is
stochastically larger than the other", Ann. Math. Statist. 18 (1947); W. J. Conover, "Practical Nonparametric
Statistics", 3rd ed. (1999), 3.2; R. G. Newcombe, "Interval estimation for the difference between independent
proportions", Statist. Med. 17 (1998), method 10; G. Y. Zou, A. Donner, "Construction of confidence limits about effect
measures", Statist. Med. 27 (2008); S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J.
Statist. 6 (1979).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from caligo.errors import ConfigError

Alternative = Literal["two-sided", "less", "greater"]


@dataclass(frozen=True, slots=True)
class Proportion:
    """So many successes in so many independent trials.

    `Proportion()` is the neutral element of `+`.

    Args:
        successes: in [0, trials].
        trials: >= 0.

    Raises:
        ConfigError: negative counts, or more successes than trials.
    """

    successes: int = 0
    trials: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.successes <= self.trials:
            raise ConfigError(
                f"expected 0 <= successes <= trials, got {self.successes} of {self.trials}; "
                "count both over the same trials",
                successes=self.successes,
                trials=self.trials,
            )

    def __add__(self, other: Proportion) -> Proportion:
        if not isinstance(other, Proportion):
            return NotImplemented
        return Proportion(self.successes + other.successes, self.trials + other.trials)

    @property
    def estimate(self) -> float | None:
        """Successes over trials; None without trials."""
        return self.successes / self.trials if self.trials else None

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Clopper-Pearson interval: covers the true rate with at least the stated confidence, whatever the rate.

        Args:
            confidence: two-sided, 0 < confidence < 1.

        Returns:
            (low, high) within [0, 1]; low is 0 without successes, high is 1 without failures, (0, 1) without trials.

        Raises:
            ConfigError: `confidence` outside (0, 1).
        """
        if not 0.0 < confidence < 1.0:
            raise ConfigError(f"expected 0 < confidence < 1, got {confidence!r}; give 0.95 for 95 %")
        failures = self.trials - self.successes
        tail = (1.0 - confidence) / 2.0
        low, high = 0.0, 1.0
        if self.successes or failures:
            from scipy.special import betaincinv

            if self.successes:
                low = float(betaincinv(self.successes, failures + 1, tail))
            if failures:
                high = float(betaincinv(self.successes + 1, failures, 1.0 - tail))
        return low, high


def beta_interval(a: float, b: float, confidence: float = 0.95) -> tuple[float, float]:
    """Central interval of a beta distribution: what is believed of a rate after weighted counts.

    Args:
        a: > 0, such as the weighted successes.
        b: > 0, such as the weighted failures.
        confidence: 0 < confidence < 1.

    Returns:
        (low, high) within [0, 1].

    Raises:
        ConfigError: an argument outside its range.
    """
    if not 0.0 < confidence < 1.0 or not a > 0.0 or not b > 0.0:
        raise ConfigError(
            f"expected 0 < confidence < 1 and counts > 0, got {confidence!r}, {a!r} and {b!r}; give 0.95 for 95 %"
        )
    from scipy.special import betaincinv

    tail = (1.0 - confidence) / 2.0
    return float(betaincinv(a, b, tail)), float(betaincinv(a, b, 1.0 - tail))


class Samples:
    """A multiset of measurements, such as decode times; keeps every value.

    `Samples()` is the neutral element of `+`. Two are equal when they hold the same values, whatever the order of
    arrival.

    Args:
        values: finite numbers, all in one unit.

    Raises:
        ConfigError: more than one axis, or a value that is not finite.
    """

    __slots__ = ("_sorted",)

    def __init__(self, values: Iterable[float] | NDArray[np.generic] = ()) -> None:
        array = np.asarray(values if isinstance(values, np.ndarray | Sequence) else list(values), dtype=np.float64)
        if array.ndim != 1 or not bool(np.all(np.isfinite(array))):
            raise ConfigError("expected a sequence of finite numbers, got others; leave out what was not measured")
        self._sorted: NDArray[np.float64] = np.sort(array) + 0.0  # -0.0 becomes 0.0: equal samples hash alike
        self._sorted.flags.writeable = False

    def __repr__(self) -> str:
        return f"Samples(count={self.count}, median={self.median})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Samples) and np.array_equal(self._sorted, other._sorted)

    def __hash__(self) -> int:
        return hash(self._sorted.tobytes())

    def __len__(self) -> int:
        return self.count

    def __add__(self, other: Samples) -> Samples:
        if not isinstance(other, Samples):
            return NotImplemented
        return Samples.union((self, other))

    @classmethod
    def union(cls, parts: Iterable[Samples]) -> Samples:
        """All values of all parts; the same as adding them, in one sort."""
        arrays = [part._sorted for part in parts]
        return cls(np.concatenate(arrays) if arrays else ())

    @property
    def values(self) -> NDArray[np.float64]:
        """The values, float64 `[count]`, ascending, read-only."""
        return self._sorted

    @property
    def count(self) -> int:
        """Number of values."""
        return int(self._sorted.size)

    @property
    def mean(self) -> float | None:
        """Arithmetic mean; None without values."""
        return float(self._sorted.mean()) if self.count else None

    @property
    def median(self) -> float | None:
        """Median (mean of the middle two); None without values."""
        return self.quantile(0.5)

    def quantile(self, share: float) -> float | None:
        """Value below which a share of the values lies, linear between neighbours.

        Args:
            share: in [0, 1].

        Returns:
            The quantile, in the unit of the values; None without values.

        Raises:
            ConfigError: `share` outside [0, 1].
        """
        if not 0.0 <= share <= 1.0:
            raise ConfigError(f"expected a share in [0, 1], got {share!r}; give 0.95 for the 95th percentile")
        if self.count <= 1:  # NumPy takes a hundred times as long for what is plain
            return float(self._sorted[0]) if self.count else None
        return float(np.quantile(self._sorted, share))

    def summary(self) -> dict[str, float | int | None]:
        """Count, least, median, mean, 95th percentile, greatest: what a record says of a set of timings."""
        return {
            "count": self.count,
            "min": self.quantile(0.0),
            "median": self.median,
            "mean": self.mean,
            "p95": self.quantile(0.95),
            "max": self.quantile(1.0),
        }


@dataclass(frozen=True, slots=True)
class RankTest:
    """Outcome of a Mann-Whitney test of two sets of samples.

    Args:
        statistic: U of the first set.
        p_value: probability of a U at least as extreme if both sets came from one distribution.
        superiority: estimate of P(a < b) + P(a = b) / 2; 0.5 when neither tends to be smaller.
    """

    statistic: float
    p_value: float
    superiority: float


def difference_test(a: Proportion, b: Proportion) -> float:
    """Fisher's exact test whether two proportions differ.

    Args:
        a: any.
        b: any.

    Returns:
        Two-sided p-value: the probability, if both rates were equal, of a division of all successes between the two
        that is no more likely than the one seen; 1 without trials on a side.
    """
    from scipy.stats import fisher_exact

    table = np.array([[part.successes, part.trials - part.successes] for part in (a, b)], dtype=np.int64)
    return float(fisher_exact(table).pvalue)


def excess_test(a: Proportion, b: Proportion) -> float:
    """Fisher's exact test whether the rate of `b` exceeds that of `a`.

    Args:
        a: any.
        b: any.

    Returns:
        One-sided p-value: the probability, if both rates were equal, that at least as many of all successes fall to
        `b` as were seen there; 1 without trials on a side.
    """
    if not a.trials or not b.trials:
        return 1.0
    from scipy.stats import hypergeom

    both = a + b
    return float(min(1.0, hypergeom.sf(b.successes - 1, both.trials, both.successes, b.trials)))


def rank_test(a: Samples, b: Samples, alternative: Alternative = "two-sided") -> RankTest:
    """Mann-Whitney test whether values of `a` tend to be smaller or greater than those of `b`.

    Args:
        a: at least one value.
        b: at least one value.
        alternative: "less" asks whether `a` tends to be smaller, "greater" whether it tends to be greater.

    Returns:
        The test: exact for small sets without ties, the normal approximation with tie correction otherwise.

    Raises:
        ConfigError: an empty set.
    """
    if not a.count or not b.count:
        raise ConfigError(f"expected samples on both sides, got {a.count} and {b.count}; measure both")
    from scipy.stats import mannwhitneyu

    outcome = mannwhitneyu(a.values, b.values, alternative=alternative)
    statistic = float(outcome.statistic)
    return RankTest(
        statistic=statistic,
        p_value=float(outcome.pvalue),
        superiority=1.0 - statistic / (a.count * b.count),
    )


def median_interval(samples: Samples, confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval for the median of what the samples were drawn from, whatever its distribution.

    Two of the values, chosen by the binomial distribution of how many lie below the median (Conover).

    Args:
        samples: independent draws.
        confidence: two-sided, 0 < confidence < 1; held or exceeded.

    Returns:
        (low, high); None where too few values cannot reach the confidence: fewer than 6 at 95 %.

    Raises:
        ConfigError: `confidence` outside (0, 1).
    """
    if not 0.0 < confidence < 1.0:
        raise ConfigError(f"expected 0 < confidence < 1, got {confidence!r}; give 0.95 for 95 %")
    if 1.0 - 2.0 * 0.5**samples.count < confidence:
        return None
    from scipy.stats import quantile_test

    values = samples.values
    interval: Any = quantile_test(values, q=float(values[0]), p=0.5).confidence_interval(confidence)
    return float(interval.low), float(interval.high)


def difference_interval(
    a: float, a_interval: tuple[float, float], b: float, b_interval: tuple[float, float]
) -> tuple[float, float]:
    """Interval for b - a from an interval for each (Newcombe; Zou and Donner).

    The distances of the limits from their estimates are added as squares, so that the interval is as asymmetric as the
    two were. That of a - b is its mirror image. For a ratio give logarithms.

    Args:
        a: estimate.
        a_interval: (low, high) with low <= a <= high.
        b: estimate, independent of `a`.
        b_interval: of the same confidence.

    Returns:
        (low, high) around b - a, of about that confidence.
    """
    below = math.hypot(b - b_interval[0], a_interval[1] - a)
    above = math.hypot(b_interval[1] - b, a - a_interval[0])
    return (b - a) - below, (b - a) + above


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, adjusted so that any of them is below a level by chance no more often than that.

    Args:
        p_values: each in [0, 1], however the tests depend on each other.

    Returns:
        One a test, in the same order, none less than it was.
    """
    count = len(p_values)
    adjusted = [1.0] * count
    worst = 0.0
    for rank, place in enumerate(sorted(range(count), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (count - rank) * p_values[place]))
        adjusted[place] = worst
    return adjusted

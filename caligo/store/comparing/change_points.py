"""Where a series of figures changes its level: candidates from PELT, alarms from permutations.

Covers: a pure function over a list of numbers in order of time. Does not cover: which runs make a series
(:mod:`.history`), drift (a slow change is found as one step or several), series whose values depend on each
other beyond their level.

1. Values are scaled by the noise, estimated from the differences of neighbours so that steps do not count, and cut off
   at five times it, so that a single odd run is no change.
2. The whole series is tested once: the greatest standardised step inside any of the seeded intervals (Kovacs and
   others) against the same of the series in random order. If nothing changed, every order is equally likely, so this
   test raises an alarm in no more than the stated share of series, whatever the distribution of the values.
3. Only then PELT (Killick and others; the library `ruptures`) places the points, and each is tested in the same way
   between its neighbours; what is not confirmed is dropped. If nothing is left, the step of 2 stands.

Sources: R. Killick, P. Fearnhead, I. A. Eckley, "Optimal detection of changepoints with a linear computational cost",
JASA 107 (2012); S. Kovacs, P. Buhlmann, H. Li, A. Munk, "Seeded binary segmentation", Biometrika 110 (2023);
C. Truong, L. Oudre, N. Vayatis, "Selective review of offline change point detection methods", Signal Processing 167
(2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caligo.errors import ConfigError, ResourceError

__all__ = ["LEAST_RUNS", "PERMUTATIONS", "SIGNIFICANCE", "ChangePoint", "find_change_points"]

SIGNIFICANCE = 0.01
"""Share of series without a change in which one is reported, at most."""

PERMUTATIONS = 999
"""Random orders; the least p-value is 1 / 1000."""

LEAST_RUNS = 10
"""In a shorter series nothing can be shown at the significance above."""

_LEAST_SEGMENT = 3
_CUT_OFF = 5.0
_SEED = 0x5EED
_PIECE = 250

Series = NDArray[np.float64]


@dataclass(frozen=True)
class ChangePoint:
    """A place where the level changes.

    Args:
        index: of the first value on the new level.
        p_value: probability of so great a step between this point's neighbours without a change.
    """

    index: int
    p_value: float


def find_change_points(
    values: Sequence[float], *, significance: float = SIGNIFICANCE, permutations: int = PERMUTATIONS
) -> list[ChangePoint]:
    """Where the level of a series changes.

    Args:
        values: finite, in order of time.
        significance: in (0, 1): share of series without a change in which one may be reported.
        permutations: random orders that a series is compared with, at least 99.

    Returns:
        Points in order; at least three values lie between them and at either end. None for fewer than
        :data:`LEAST_RUNS` values.

    Raises:
        ConfigError: an argument outside its range.
        ResourceError: the library `ruptures` is missing.
    """
    if not 0.0 < significance < 1.0 or permutations < 99:
        raise ConfigError(
            f"expected 0 < significance < 1 and at least 99 permutations, got {significance!r} and {permutations}; "
            "give 0.01 for one false alarm in a hundred series"
        )
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1 or not bool(np.all(np.isfinite(series))):
        raise ConfigError("expected a sequence of finite numbers; leave out runs without the figure")
    if len(series) < LEAST_RUNS or bool(np.all(series == series[0])):
        return []
    scaled = _scaled(series)
    p_value, best = _tested(scaled, permutations)
    if p_value > significance:
        return []
    points = _pelt(scaled)
    while points:
        ends = [0, *points, len(scaled)]
        tested = [_tested(scaled[ends[i] : ends[i + 2]], permutations)[0] for i in range(len(points))]
        worst = max(range(len(points)), key=tested.__getitem__)
        if tested[worst] <= significance:
            return [ChangePoint(point, p) for point, p in zip(points, tested, strict=True)]
        del points[worst]
    return [ChangePoint(best, p_value)]


def _scaled(series: Series) -> Series:
    """Distances from the median in units of the noise, cut off."""
    steps = np.abs(np.diff(series))
    noise = float(np.median(steps)) / (0.6745 * math.sqrt(2.0))
    if noise == 0.0:
        noise = float(steps[steps > 0].min())
    return np.clip((series - np.median(series)) / noise, -_CUT_OFF, _CUT_OFF)


def _pelt(scaled: Series) -> list[int]:
    try:
        import ruptures
    except ImportError:
        raise ResourceError("change points need ruptures, which is missing; pip install 'caligo[history]'") from None
    # With a linear kernel the cost is that of least squares; this search is compiled, `ruptures.Pelt` is not.
    search = ruptures.KernelCPD(kernel="linear", min_size=_LEAST_SEGMENT).fit(scaled.reshape(-1, 1))
    return [int(point) for point in search.predict(pen=3.0 * math.log(len(scaled)))[:-1]]


def _tested(scaled: Series, permutations: int) -> tuple[float, int]:
    """The permutation test of a stretch: its p-value, and where the greatest step is."""
    count = len(scaled)
    intervals = _seeded_intervals(count)
    if not intervals:
        return 1.0, 0
    observed, place = _greatest_step(scaled[np.newaxis, :], intervals)
    generator = np.random.Generator(np.random.PCG64(_SEED))
    reached = 0
    for begun in range(0, permutations, _PIECE):
        orders = np.tile(scaled, (min(_PIECE, permutations - begun), 1))
        generator.permuted(orders, axis=1, out=orders)
        steps, _ = _greatest_step(orders, intervals)
        reached += int(np.count_nonzero(steps >= observed[0] * (1.0 - 1e-9)))
    return (1 + reached) / (1 + permutations), int(place[0])


def _seeded_intervals(count: int) -> list[tuple[int, int]]:
    """The whole, and layers of overlapping intervals, each twice as long as those of the next layer."""
    found: dict[tuple[int, int], None] = {}
    length = float(count)
    while length >= 2 * _LEAST_SEGMENT:
        whole = math.ceil(length)
        pieces = max(1, 2 * math.ceil(count / length) - 1)
        for number in range(pieces):
            begin = round(number * (count - whole) / (pieces - 1)) if pieces > 1 else 0
            found[(begin, begin + whole)] = None
        length /= 2.0
    return list(found)


def _greatest_step(rows: NDArray[np.float64], intervals: Sequence[tuple[int, int]]) -> tuple[Series, NDArray[np.intp]]:
    """For each row the greatest standardised difference of means on two sides of a place within an interval."""
    sums = np.concatenate([np.zeros((len(rows), 1)), np.cumsum(rows, axis=1)], axis=1)
    greatest = np.zeros(len(rows))
    places = np.zeros(len(rows), dtype=np.intp)
    for begin, end in intervals:
        left = np.arange(_LEAST_SEGMENT, end - begin - _LEAST_SEGMENT + 1)
        if not len(left):
            continue
        right = (end - begin) - left
        before = (sums[:, begin + left] - sums[:, [begin]]) / left
        after = (sums[:, [end]] - sums[:, begin + left]) / right
        steps = np.abs(after - before) * np.sqrt(left * right / (left + right))
        best = np.argmax(steps, axis=1)
        found = steps[np.arange(len(rows)), best]
        better = found > greatest
        greatest = np.where(better, found, greatest)
        places = np.where(better, begin + left[best], places)
    return greatest, places

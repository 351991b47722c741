"""Change points over many series: how often there is a false alarm, how often a step is missed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from caligo.store.comparing.change_points import find_change_points

pytestmark = pytest.mark.acceptance

RUNS = 60
SERIES_WITHOUT_A_CHANGE = 400
SERIES_WITH_A_STEP = 200


def noise(seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Figures of runs that differ by 2 %."""
    return 1000.0 * (1.0 + 0.02 * np.random.default_rng(seed).standard_normal(RUNS))


def test_series_without_a_change_raise_alarms_no_more_often_than_stated() -> None:
    """At the default significance of 1 %: 4 of 400 expected at most, and more than 11 have a probability of 0.1 %."""
    alarms = sum(bool(find_change_points(noise(seed).tolist())) for seed in range(SERIES_WITHOUT_A_CHANGE))
    assert alarms <= 11


def test_a_heavy_tailed_series_raises_no_more_alarms() -> None:
    rows = np.random.default_rng(99).standard_cauchy((100, RUNS))
    assert sum(bool(find_change_points(row.tolist())) for row in rows) <= 5


def test_a_step_of_five_per_cent_is_found_in_nineteen_of_twenty_series() -> None:
    """Ten runs or more on either side of it."""
    found = near = 0
    for seed in range(SERIES_WITH_A_STEP):
        values, at = noise(10_000 + seed), 10 + seed % 41
        values[at:] *= 1.05
        points = find_change_points(values.tolist())
        found += bool(points)
        near += any(abs(point.index - at) <= 3 for point in points)
    assert found >= 0.95 * SERIES_WITH_A_STEP
    assert near >= 0.9 * SERIES_WITH_A_STEP

"""Axes of plots: marks of dates that are few, even and unambiguous whatever the span; numbers that can be told apart.

Covers: places and labels of dates over spans from nothing to millennia, digits of numbers. Does not cover: how they
look (the browser does).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.reports.date_ticks import LEAST_SPAN_DAYS, date_ticks, widened
from caligo.reports.figures import axis_labels

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR = 365.2425


def days(text: str) -> float:
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) / timedelta(days=1)


@st.composite
def axes(draw: st.DrawFn) -> tuple[float, float]:
    begin = draw(st.floats(-1000 * YEAR, 3000 * YEAR))
    span = 10.0 ** draw(st.floats(-9, 6))
    return widened(begin, begin + span)


@given(axes())
def test_marks_are_two_to_five_in_order_inside_and_evenly_apart(axis: tuple[float, float]) -> None:
    ticks = date_ticks(*axis)
    assert 2 <= len(ticks.places) == len(ticks.labels) <= 5
    assert axis[0] - 1e-6 <= ticks.places[0] <= ticks.places[-1] <= axis[1] + 1e-6
    steps = [b - a for a, b in zip(ticks.places, ticks.places[1:], strict=False)]
    assert min(steps) > 0
    assert max(steps) < 1.06 * min(steps) + 1e-9 or max(steps) - min(steps) < 4.0
    assert sum(map(len, ticks.labels)) <= 32


@given(axes())
def test_labels_and_what_they_have_in_common_tell_each_mark(axis: tuple[float, float]) -> None:
    ticks = date_ticks(*axis)
    assert len(set(zip(ticks.labels, ticks.places, strict=True))) == len(ticks.places)
    for place, label in zip(ticks.places, ticks.labels, strict=True):
        mark = EPOCH + timedelta(seconds=round(place * 86400))
        stamp = f"{mark.year:04d}-{mark:%m-%d %H:%M:%S}"
        assert label in stamp
        if " to " not in ticks.common:
            assert stamp.startswith(ticks.common)
    if len(set(ticks.labels)) < len(ticks.labels):
        assert any("-" in label for label in ticks.labels), "hours of several days with no day between them"


@given(st.floats(-1000 * YEAR, 3000 * YEAR), st.floats(0, 10))
def test_limits_of_runs_begun_at_once_are_widened_about_them(begin: float, span: float) -> None:
    low, high = widened(begin, begin + span)
    assert low <= begin
    assert high >= begin + span
    assert high - low >= LEAST_SPAN_DAYS * 0.99
    if span > LEAST_SPAN_DAYS:
        assert (low, high) == (begin, begin + span)


@pytest.mark.parametrize(
    ("begin", "end", "labels", "common"),
    [
        ("2026-11-29 02:15:03", "2026-11-29 02:15:13", "02:15:03 02:15:06 02:15:09 02:15:12", "2026-11-29"),
        ("2026-11-29 02:14:00", "2026-11-29 03:20:00", "02:15 02:30 02:45 03:00 03:15", "2026-11-29"),
        ("2026-11-30 10:00:00", "2026-12-01 01:00:00", "12:00 15:00 18:00 21:00 12-01", "2026"),
        ("2026-12-31 23:59:56", "2027-01-01 00:00:04", "23:59:57 01-01 00:00:03", "2026 to 2027"),
        ("2026-12-20 00:00:00", "2027-01-20 00:00:00", "12-24 12-31 01-07 01-14", "2026 to 2027"),
        ("2026-11-15 00:00:00", "2027-04-10 00:00:00", "2027-01 2027-03", ""),
        ("2027-01-01 00:00:00", "2034-10-10 00:00:00", "2028 2030 2032 2034", ""),
    ],
)
def test_examples(begin: str, end: str, labels: str, common: str) -> None:
    ticks = date_ticks(days(begin), days(end))
    assert ticks.labels == tuple(labels.split())
    assert ticks.common == common


@pytest.mark.parametrize(
    ("values", "unit", "labels"),
    [
        ([117.72, 117.74, 117.76], "", ["117.72", "117.74", "117.76"]),
        ([1.234e6, 1.2342e6], "", ["1.234·10⁶", "1.2342·10⁶"]),
        ([0.0, 50.0, 100.0], "", ["0", "50", "100"]),
        ([1e6, 1.0002e6], "ns", ["1 ms", "1.0002 ms"]),
        ([0.1234, 0.12341], "share", ["12.34 %", "12.341 %"]),
        ([2.0**20, 2.0**20 + 1024], "bytes", ["1 MiB", "1.001 MiB"]),
        ([5.0, 5.0], "", ["5", "5"]),
    ],
)
def test_no_two_different_ticks_are_written_alike(values: list[float], unit: str, labels: list[str]) -> None:
    assert axis_labels(values, unit) == labels

"""Where an axis of dates is marked, and how: few marks, round in the calendar, each said once.

Covers: times in UTC from seconds to centuries, in figures only, so that no locale has a say. Does not cover: drawing.

Matplotlib's own locator, held to the few marks that a narrow plot has room for, found one or none where runs lay some
seconds apart, and warned on the terminal.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_SECONDS = (
    1, 2, 3, 5, 10, 15, 30,
    *(_MINUTE * count for count in (1, 2, 3, 5, 10, 15, 30)),
    *(_HOUR * count for count in (1, 2, 3, 6, 12)),
    *(_DAY * count for count in (1, 2, 3, 5, 7, 14)),
)  # fmt: skip
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 2400, 6000, 12000)
_FIRST_YEAR, _LAST_YEAR = 1, 9998
LEAST_SPAN_DAYS = 4 / _DAY
"""Length of the shortest axis, in days: three marks or four, one second apart."""


@dataclass(frozen=True)
class DateTicks:
    """Marks of an axis.

    Attributes:
        places: in days since 1970, ascending.
        labels: of each mark.
        common: what the labels leave out because it holds for all of them, such as the day; it may be empty.
    """

    places: tuple[float, ...]
    labels: tuple[str, ...]
    common: str


def widened(low: float, high: float) -> tuple[float, float]:
    """Limits with room for two marks, of the same centre."""
    lacking = max(0.0, LEAST_SPAN_DAYS - (high - low)) / 2.0
    return low - lacking, high + lacking


def date_ticks(low: float, high: float) -> DateTicks:
    """Two to five marks of an axis of dates.

    Args:
        low: begin of the axis in days since 1970 (UTC).
        high: its end, at least `LEAST_SPAN_DAYS` after it; both in the years 1 to 9998.
    """
    for seconds in _SECONDS:
        if (high - low) * _DAY < 6 * seconds:
            first, last = math.ceil(low * _DAY / seconds), math.floor(high * _DAY / seconds)
            form = "%H:%M:%S" if seconds < _MINUTE else "%H:%M" if seconds < _DAY else "%m-%d"
            if last - first < (4 if seconds < _MINUTE else 5):
                return _of_one_form([_EPOCH + timedelta(seconds=at * seconds) for at in range(first, last + 1)], form)
    marks: list[datetime] = []
    for months in _MONTHS:
        marks = list(_calendar(low, high, months))
        if len(marks) <= (4 if months < 12 else 5):
            break
    form = "%Y-%m" if any(mark.month != 1 for mark in marks) else "%Y"
    return DateTicks(tuple(map(_days, marks)), tuple(_text(mark, form) for mark in marks), "")


def _of_one_form(marks: list[datetime], form: str) -> DateTicks:
    first, last = marks[0], marks[-1]
    years = _text(first, "%Y") if first.year == last.year else f"{_text(first, '%Y')} to {_text(last, '%Y')}"
    labels = [_text(mark, form) for mark in marks]
    common = years
    if form != "%m-%d" and first.date() == last.date():
        common = _text(first, "%Y-%m-%d")
    elif form != "%m-%d":
        midnight = _EPOCH.time()
        labels = [
            _text(mark, "%m-%d") if mark.time() == midnight else text for mark, text in zip(marks, labels, strict=True)
        ]
    return DateTicks(tuple(map(_days, marks)), tuple(labels), common)


def _calendar(low: float, high: float, months: int) -> Iterator[datetime]:
    """First days of months, every so many of them counted from a January."""
    begin = (_EPOCH + timedelta(days=low)).year
    for count in itertools.count(begin * 12 // months * months, months):
        year, month = divmod(count, 12)
        if year > _LAST_YEAR:
            return
        if year < _FIRST_YEAR:
            continue
        mark = datetime(year, month + 1, 1, tzinfo=UTC)
        if _days(mark) > high:
            return
        if _days(mark) >= low:
            yield mark


def _days(mark: datetime) -> float:
    return (mark - _EPOCH) / timedelta(days=1)


def _text(mark: datetime, form: str) -> str:
    """The form, with years of four figures everywhere."""
    return mark.strftime(form.replace("%Y", f"{mark.year:04d}"))

"""Answering a query over rows in memory: the slow, obvious way, against which the database is held.

Covers: whether a row passes a filter, ordering, groups, aggregates. Does not cover: where rows come from
(:mod:`.flatten`, :mod:`.index`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from caligo.store.indexing.conditions import (
    All,
    Among,
    Column,
    Compare,
    Exists,
    Filter,
    Holds,
    Like,
    Moment,
    Name,
    Not,
    Null,
    Number,
    Query,
    Some,
    Text,
    Truth,
    Value,
)
from caligo.store.indexing.flatten import Scalar

Row: TypeAlias = Mapping[str, Scalar | None]

USUAL_COLUMNS = ("id", "kind", "state", "fer", "efficiency", "payload_mbps")
"""What a query shows that names no columns."""


@dataclass(frozen=True)
class Answer:
    """Columns by label, rows of values in their order."""

    labels: tuple[str, ...]
    rows: list[tuple[Scalar | None, ...]]


# --- filters ------------------------------------------------------------------------------------------------------


def matches(condition: Filter, row: Row) -> bool:
    """Whether a row passes a filter.

    Args:
        condition: with names as rows have them.
        row: a missing value and None are the same.
    """
    if isinstance(condition, All):
        return all(matches(part, row) for part in condition.parts)
    if isinstance(condition, Some):
        return any(matches(part, row) for part in condition.parts)
    if isinstance(condition, Not):
        return not matches(condition.inner, row)
    held = row.get(condition.name.text)
    if isinstance(condition, Exists):
        return held is not None
    if isinstance(condition, Holds):
        return held is True
    if isinstance(condition, Like):
        return isinstance(held, str) and is_like(held, condition.pattern)
    if isinstance(condition, Among):
        return any(_equal(held, value) for value in condition.values)
    return _compared(held, condition)


def is_like(text: str, pattern: str) -> bool:
    """Whether a text is like a pattern of ``*`` (any characters) and ``?`` (one), in time up to their product."""
    at = back = 0
    here, star = 0, -1
    while at < len(text):
        sign = pattern[here] if here < len(pattern) else ""
        if sign == "*":
            star, back = here, at
            here += 1
        elif sign and sign in ("?", text[at]):
            at, here = at + 1, here + 1
        elif star >= 0:
            back += 1
            at, here = back, star + 1
        else:
            return False
    return all(sign == "*" for sign in pattern[here:])


def _is_number(held: Scalar | None) -> bool:
    return isinstance(held, (int, float)) and not isinstance(held, bool)


def _equal(held: Scalar | None, value: Value) -> bool:
    if isinstance(value, Null):
        return held is None
    if isinstance(value, Truth):
        return held is value.value
    if isinstance(value, Number):
        return held == value.written if isinstance(held, str) else _is_number(held) and held == value.value
    if isinstance(value, Moment):
        return isinstance(held, str) and (held == value.written or value.begin <= held < value.end)
    return isinstance(held, str) and held == value.value


def _compared(held: Scalar | None, condition: Compare) -> bool:
    value, operator = condition.value, condition.operator
    if operator == "=":
        return _equal(held, value)
    if isinstance(value, Number):
        return _is_number(held) and _in_order(held, operator, value.value)  # type: ignore[arg-type]
    if not isinstance(held, str):
        return False
    if isinstance(value, Moment):
        return _in_order(held, *bound_of_moment(operator, value))
    return isinstance(value, Text) and _in_order(held, operator, value.value)


def bound_of_moment(operator: str, moment: Moment) -> tuple[str, str]:
    """The operator and text that stand for a comparison with a day, minute, second or millisecond."""
    if operator in ("<", ">="):
        return operator, moment.begin
    return ("<", moment.end) if operator == "<=" else (">=", moment.end)


def _in_order(held: float | str, operator: str, bound: float | str) -> bool:
    less: bool = held < bound  # type: ignore[operator]
    return {"<": less, "<=": less or held == bound, ">": not less and held != bound, ">=": not less}[operator]


# --- columns, groups, order ---------------------------------------------------------------------------------------


def needed_names(query: Query) -> list[str]:
    """The names whose values an answer is made of, each once; those of its filter are not among them."""
    columns = [*shown_columns(query), *(key.column for key in query.order)]
    names = [column.name.text for column in columns if column.name is not None]
    return list(dict.fromkeys([*names, *(name.text for name in query.group)]))


def shown_columns(query: Query) -> tuple[Column, ...]:
    """The columns of the answer: those of the query, the group's names before them if they are not shown anyway."""
    if not query.columns:
        return tuple(Column(Name(name), None, name) for name in USUAL_COLUMNS)
    shown = {column.name.text for column in query.columns if column.name is not None and column.function is None}
    before = (Column(name, None, name.text) for name in query.group if name.text not in shown)
    return (*before, *query.columns)


def arrange(query: Query, rows: Iterable[Row]) -> Answer:
    """The answer to a query over the rows that passed its filter.

    Args:
        query: with names as rows have them.
        rows: oldest run first.

    Returns:
        Rows in the order asked for; where nothing was asked, or keys are equal, groups by their values and runs by
        their start. A missing value comes last in either direction.
    """
    columns = shown_columns(query)
    keys = [key.column for key in query.order]
    found: list[tuple[list[Scalar | None], tuple[Scalar | None, ...]]] = []
    if query.aggregates:
        for group in _groups(query, rows):
            found.append(([_aggregate(key, group) for key in keys], tuple(_aggregate(one, group) for one in columns)))
    else:
        for row in rows:
            found.append(([_of(key, row) for key in keys], tuple(_of(one, row) for one in columns)))
    for index in reversed(range(len(keys))):
        found = _sorted(found, index, query.order[index].descending)
    answers = [values for _, values in found]
    return Answer(tuple(one.label for one in columns), answers if query.limit is None else answers[: query.limit])


def _groups(query: Query, rows: Iterable[Row]) -> list[list[Row]]:
    if not query.group:
        return [list(rows)]
    names = [name.text for name in query.group]
    groups: dict[tuple[tuple[int, Scalar], ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(rank(row.get(name)) for name in names), []).append(row)
    return [groups[key] for key in sorted(groups)]


def rank(value: Scalar | None) -> tuple[int, Scalar]:
    """A key that orders any two values: booleans, numbers, texts, then none."""
    if value is None:
        return (3, 0)
    return (0 if isinstance(value, bool) else 2 if isinstance(value, str) else 1, value)


Found: TypeAlias = tuple[list[Scalar | None], tuple[Scalar | None, ...]]


def _sorted(found: list[Found], index: int, descending: bool) -> list[Found]:
    there = [one for one in found if one[0][index] is not None]
    there.sort(key=lambda one: rank(one[0][index]), reverse=descending)
    return there + [one for one in found if one[0][index] is None]


def _of(column: Column, row: Row) -> Scalar | None:
    return None if column.name is None else row.get(column.name.text)


def _aggregate(column: Column, rows: Sequence[Row]) -> Scalar | None:
    if column.function is None:
        return _of(column, rows[0]) if rows else None
    if column.name is None:
        return len(rows)
    name = column.name.text
    values = [value for row in rows if (value := row.get(name)) is not None]
    return _AGGREGATES[column.function](values)


def _numbers(values: Sequence[Scalar]) -> list[int | float]:
    return [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]


def _sum(values: Sequence[Scalar]) -> Scalar | None:
    numbers = _numbers(values)
    if not numbers:
        return None
    return sum(numbers) if all(isinstance(number, int) for number in numbers) else _finite(math.fsum, numbers)


def _mean(values: Sequence[Scalar]) -> Scalar | None:
    numbers = _numbers(values)
    return _finite(lambda all_of_them: math.fsum(all_of_them) / len(all_of_them), numbers) if numbers else None


def _finite(function: Callable[[list[int | float]], float], numbers: list[int | float]) -> float | None:
    try:
        result = function(numbers)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def _median(values: Sequence[Scalar]) -> Scalar | None:
    numbers = sorted(_numbers(values))
    middle = len(numbers) // 2
    if not numbers or len(numbers) % 2:
        return numbers[middle] if numbers else None
    return numbers[middle - 1] / 2 + numbers[middle] / 2


def _extreme(choose: Callable[..., Scalar]) -> Callable[[Sequence[Scalar]], Scalar | None]:
    """Of the numbers; of the texts where there is no number."""

    def extreme(values: Sequence[Scalar]) -> Scalar | None:
        comparable: Sequence[Scalar] = _numbers(values) or [value for value in values if isinstance(value, str)]
        return choose(comparable) if comparable else None

    return extreme


_AGGREGATES: dict[str, Callable[[Sequence[Scalar]], Scalar | None]] = {
    "count": len,
    "sum": _sum,
    "mean": _mean,
    "min": _extreme(min),
    "max": _extreme(max),
    "median": _median,
    "first": lambda values: values[0] if values else None,
    "last": lambda values: values[-1] if values else None,
}

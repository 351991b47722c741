"""A filter as SQL, for SQLite and for PostgreSQL.

Covers: conditions on the index's tables (:mod:`.index_database` has the tables). Does not cover: columns,
groups and order, which :mod:`.selection` makes from the rows.

Every condition is true or false, never null, so that NOT is the exact contrary (:mod:`.conditions`).
Parameters are marked by ``?``; no value ever stands in the SQL itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from caligo.store.indexing.conditions import (
    All,
    Among,
    Compare,
    Exists,
    Filter,
    Holds,
    Like,
    Moment,
    Not,
    Null,
    Number,
    Some,
    Text,
    Truth,
    Value,
)
from caligo.store.indexing.flatten import NUMBERS, TOP_LEVEL
from caligo.store.indexing.selection import bound_of_moment

Parameters: TypeAlias = list[str | float]
Condition: TypeAlias = tuple[str, Parameters]
LikeSql: TypeAlias = Callable[[str, str], Condition]

NEVER: Condition = ("FALSE", [])
ALWAYS: Condition = ("TRUE", [])


def sqlite_like(column: str, pattern: str) -> Condition:
    """``column ~ pattern`` for SQLite, whose GLOB knows ``[...]`` besides."""
    return f"{column} GLOB ?", [pattern.replace("[", "[[]")]


def postgres_like(column: str, pattern: str) -> Condition:
    """``column ~ pattern`` for PostgreSQL."""
    for sign in "\\%_":
        pattern = pattern.replace(sign, f"\\{sign}")
    return f"{column} LIKE ?", [pattern.replace("*", "%").replace("?", "_")]


def filter_sql(condition: Filter, names: Mapping[str, int], like: LikeSql) -> Condition:
    """A condition on the runs table, whose rows are called ``r``.

    Args:
        condition: with names as runs have them.
        names: number of each dotted name in the index; a name that is not there has no value in any run.
        like: :func:`sqlite_like` or :func:`postgres_like`.

    Returns:
        SQL and the values of its parameters.
    """
    if isinstance(condition, (All, Some)):
        if not condition.parts:
            return ALWAYS if isinstance(condition, All) else NEVER
        parts = [filter_sql(part, names, like) for part in condition.parts]
        word = " AND " if isinstance(condition, All) else " OR "
        return f"({word.join(sql for sql, _ in parts)})", [value for _, values in parts for value in values]
    if isinstance(condition, Not):
        sql, values = filter_sql(condition.inner, names, like)
        return f"(NOT {sql})", values
    name = condition.name.text
    if name in TOP_LEVEL:
        return _on_column(condition, f"r.{name}", name in NUMBERS, like)
    number = names.get(name)
    if isinstance(condition, Among) and any(isinstance(value, Null) for value in condition.values):
        others = Among(condition.name, tuple(value for value in condition.values if not isinstance(value, Null)))
        return filter_sql(Some((Not(Exists(condition.name)), others)), names, like)
    if number is None:
        return NEVER
    sql, values = _on_value(condition, like)
    return f"(r.row_id IN (SELECT v.run FROM vals v WHERE v.name = ? AND {sql}))", [number, *values]


def _on_column(condition: Filter, column: str, is_number: bool, like: LikeSql) -> Condition:
    """On one of the runs table's own columns, which may be null and has one type."""
    if isinstance(condition, Exists):
        return f"({column} IS NOT NULL)", []
    if isinstance(condition, Like) and not is_number:
        sql, values = like(column, condition.pattern)
    elif isinstance(condition, Among):
        choices = [_equal(value, column, column, not is_number, is_number) for value in condition.values]
        sql = " OR ".join(sql for sql, _ in choices)
        values = [value for _, those in choices for value in those]
        if any(isinstance(value, Null) for value in condition.values):
            return f"({column} IS NULL OR {sql})", values
    elif isinstance(condition, Compare):
        sql, values = _compared(condition, column, column, not is_number, is_number)
    else:
        return NEVER
    return f"({column} IS NOT NULL AND ({sql}))", values


def _on_value(condition: Filter, like: LikeSql) -> Condition:
    """On a row of the values table: its kind tells which column has the value."""
    if isinstance(condition, Exists):
        return ALWAYS
    if isinstance(condition, Holds):
        return "(v.kind = 'b' AND v.number = 1)", []
    if isinstance(condition, Like):
        sql, values = like("v.text", condition.pattern)
        return f"(v.kind = 't' AND {sql})", values
    if isinstance(condition, Among):
        choices = [_equal(value, "v.number", "v.text", True, True, kinds=True) for value in condition.values]
        return f"({' OR '.join(sql for sql, _ in choices) or 'FALSE'})", [value for _, got in choices for value in got]
    if isinstance(condition, Compare):
        return _compared(condition, "v.number", "v.text", True, True, kinds=True)
    return NEVER


def _compared(
    condition: Compare, number: str, text: str, has_text: bool, has_number: bool, kinds: bool = False
) -> Condition:
    value, operator = condition.value, condition.operator
    if operator == "=":
        return _equal(value, number, text, has_text, has_number, kinds)
    of_number, of_text = ("v.kind = 'n' AND ", "v.kind = 't' AND ") if kinds else ("", "")
    if isinstance(value, Number) and has_number:
        return f"({of_number}{number} {operator} ?)", [value.value]
    if isinstance(value, Text) and has_text:
        return f"({of_text}{text} {operator} ?)", [value.value]
    if isinstance(value, Moment) and has_text:
        operator, bound = bound_of_moment(operator, value)
        return f"({of_text}{text} {operator} ?)", [bound]
    return NEVER


def _equal(value: Value, number: str, text: str, has_text: bool, has_number: bool, kinds: bool = False) -> Condition:
    """``=`` against one value; null is none of its business."""
    of_number, of_text = ("v.kind = 'n' AND ", "v.kind = 't' AND ") if kinds else ("", "")
    choices: list[str] = []
    values: Parameters = []
    if isinstance(value, Truth) and kinds:
        return "(v.kind = 'b' AND v.number = ?)", [float(value.value)]
    if isinstance(value, Number):
        if has_number:
            choices.append(f"({of_number}{number} = ?)")
            values.append(value.value)
        if has_text:
            choices.append(f"({of_text}{text} = ?)")
            values.append(value.written)
    elif isinstance(value, Moment) and has_text:
        choices.append(f"({of_text}({text} = ? OR ({text} >= ? AND {text} < ?)))")
        values += [value.written, value.begin, value.end]
    elif isinstance(value, Text) and has_text:
        choices.append(f"({of_text}{text} = ?)")
        values.append(value.value)
    return (f"({' OR '.join(choices)})", values) if choices else NEVER

"""What a query is made of: conditions on a run, columns, groups, order; and what its names mean.

Covers: plain dataclasses, and the step from names as written to names that runs have. Does not cover: reading a query
(:mod:`.query`), answering it (:mod:`.selection`, :mod:`.index_sql`).

Conditions are true or false, never unknown: a comparison with a value that a run does not have, or that is of another
type, is false, and a contrary is exactly that.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from caligo.errors import ConfigError
from caligo.store.indexing.flatten import SECTIONS, TOP_LEVEL

FUNCTIONS = ("count", "sum", "mean", "min", "max", "median", "first", "last")
"""Aggregates of a column."""


# --- what a query is made of --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Name:
    """A name as written, and where (a column of the query, from 0)."""

    text: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Number:
    """A number, and how it was written: a digest of digits alone is compared as a text."""

    value: float
    written: str


@dataclass(frozen=True)
class Text:
    """A text."""

    value: str


@dataclass(frozen=True)
class Moment:
    """A day, minute, second or millisecond in UTC: from ``begin`` to before ``end``, as texts that sort by time."""

    begin: str
    end: str
    written: str


@dataclass(frozen=True)
class Truth:
    """True or false."""

    value: bool


@dataclass(frozen=True)
class Null:
    """No value."""


Value: TypeAlias = Number | Text | Moment | Truth | Null


@dataclass(frozen=True)
class Compare:
    """``name operator value``; the operator is one of ``= < <= > >=``."""

    name: Name
    operator: str
    value: Value


@dataclass(frozen=True)
class Among:
    """``name in (values)``."""

    name: Name
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Like:
    """``name ~ pattern``: ``*`` stands for any characters, ``?`` for one; upper and lower case differ."""

    name: Name
    pattern: str


@dataclass(frozen=True)
class Exists:
    """The run has a value of this name."""

    name: Name


@dataclass(frozen=True)
class Holds:
    """The value is true."""

    name: Name


@dataclass(frozen=True)
class Not:
    """The contrary."""

    inner: Filter


@dataclass(frozen=True)
class All:
    """Every part is true; without parts always true."""

    parts: tuple[Filter, ...] = ()


@dataclass(frozen=True)
class Some:
    """One part at least is true."""

    parts: tuple[Filter, ...]


Filter: TypeAlias = Compare | Among | Like | Exists | Holds | Not | All | Some

EVERYTHING = All()
"""The filter that every run passes."""


@dataclass(frozen=True)
class Column:
    """A column of the answer.

    Attributes:
        name: which value; None for ``count()``.
        function: aggregate, one of :data:`FUNCTIONS`; None for the value itself.
        label: heading; as written where none was given.
    """

    name: Name | None
    function: str | None
    label: str


@dataclass(frozen=True)
class Key:
    """Something to order by."""

    column: Column
    descending: bool = False


@dataclass(frozen=True)
class Query:
    """A parsed query.

    Attributes:
        columns: what is shown; empty: the usual ones.
        where: which runs.
        group: names whose values make the groups.
        order: keys, the first first.
        limit: most rows; None: all.
    """

    columns: tuple[Column, ...] = ()
    where: Filter = EVERYTHING
    group: tuple[Name, ...] = ()
    order: tuple[Key, ...] = ()
    limit: int | None = None

    @property
    def aggregates(self) -> bool:
        """Whether a row of the answer stands for several runs."""
        return bool(self.group) or any(column.function for column in self.columns)


# --- names --------------------------------------------------------------------------------------------------------


def refuse(text: str, at: int, what: str) -> ConfigError:
    """An error that points at a column of a query.

    Args:
        text: the query.
        at: the column, from 0.
        what: expected and got.
    """
    at = min(max(at, 0), len(text))
    line = "".join(char if char.isprintable() else "?" for char in text)
    begin, end = max(0, at - 60), min(len(line), at + 40)
    shown = ("..." if begin else "") + line[begin:end] + ("..." if end < len(line) else "")
    pointer = " " * (at - begin + (3 if begin else 0)) + "^"
    return ConfigError(f"query, column {at + 1}: {what}\n  {shown}\n  {pointer}", column=at + 1)


def names_of(condition: Filter) -> Iterator[Name]:
    """Every name of a filter, from left to right."""
    if isinstance(condition, Not):
        yield from names_of(condition.inner)
    elif isinstance(condition, (All, Some)):
        for part in condition.parts:
            yield from names_of(part)
    else:
        yield condition.name


def full_name(name: Name, known: Collection[str], text: str, *, strict: bool = True) -> Name:
    """What a name means: itself, or the one name that ends in it after a dot; the least nested where there are several.

    Args:
        name: as written.
        known: names that runs have; those of :data:`.flatten.TOP_LEVEL` need not be among them.
        text: the query, for the message.
        strict: refuse a name that no run has; otherwise, and where no run has anything of its section yet, it stays as
            it is, and has no value.

    Raises:
        ConfigError: several names are meant, or none; the message names them, or those spelled alike.
    """
    if name.text in TOP_LEVEL or name.text in known:
        return name
    dotted = [other for other in known if other not in TOP_LEVEL]
    suffix = f".{name.text}"
    candidates = [other for other in dotted if other.endswith(suffix)]
    if candidates:
        least = min(other.count(".") for other in candidates)
        candidates = sorted(other for other in candidates if other.count(".") == least)
    if len(candidates) == 1:
        return replace(name, text=candidates[0])
    if candidates:
        shown = ", ".join(candidates[:5]) + (", ..." if len(candidates) > 5 else "")
        raise refuse(text, name.at, f"{name.text} could be {shown}; write the one that is meant")
    section = name.text.partition(".")[0]
    if not strict or not any(other.startswith(f"{section}." if section in SECTIONS else "") for other in dotted):
        return name
    lasts = {other.rpartition(".")[2]: other for other in sorted(dotted)}
    close = difflib.get_close_matches(name.text, [*TOP_LEVEL, *sorted(dotted)], 3, 0.7)
    close += [lasts[last] for last in difflib.get_close_matches(name.text.rpartition(".")[2], sorted(lasts), 3, 0.7)]
    hint = f"; did you mean {' or '.join(dict.fromkeys(close))}?" if close else "; `caligo store show` shows the names"
    raise refuse(text, name.at, f"no run has a value named {name.text}{hint}")


def resolve_filter(condition: Filter, known: Collection[str], text: str = "", *, strict: bool = True) -> Filter:
    """A filter with every name as runs have it.

    Args:
        condition: as parsed.
        known: names that runs have.
        text: what was parsed, for messages.
        strict: refuse names that no run has.

    Raises:
        ConfigError: see :func:`full_name`.
    """
    return _renamed(condition, lambda name: full_name(name, known, text, strict=strict))


def resolve_query(query: Query, known: Collection[str], text: str = "", *, strict: bool = True) -> Query:
    """A query with every name as runs have it; a key that repeats a column's label stands for that column.

    Raises:
        ConfigError: see :func:`full_name`.
    """
    labelled = {column.label: column for column in query.columns}

    def column(given: Column) -> Column:
        named = None if given.name is None else full_name(given.name, known, text, strict=strict)
        return replace(given, name=named)

    return replace(
        query,
        columns=tuple(map(column, query.columns)),
        where=resolve_filter(query.where, known, text, strict=strict),
        group=tuple(full_name(name, known, text, strict=strict) for name in query.group),
        order=tuple(replace(key, column=column(labelled.get(key.column.label, key.column))) for key in query.order),
    )


def _renamed(condition: Filter, rename: Callable[[Name], Name]) -> Filter:
    if isinstance(condition, Not):
        return Not(_renamed(condition.inner, rename))
    if isinstance(condition, All):
        return All(tuple(_renamed(part, rename) for part in condition.parts))
    if isinstance(condition, Some):
        return Some(tuple(_renamed(part, rename) for part in condition.parts))
    return replace(condition, name=rename(condition.name))

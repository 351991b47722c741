"""Runs and records as rows with one column a name, and which types a column has.

Covers: rows of runs and of records, their columns in order. Does not cover: writing them (:mod:`.tables`,
:mod:`.parquet`).

A record's members are columns as they are named, nested ones by dotted names; a list is one value. Before them stand
``run``, ``writer`` and ``number`` (from 0, in the order of the file).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from caligo.store.indexing.flatten import flatten_run
from caligo.store.reader import Run

KEYS = ("run", "writer", "number")
"""Columns that say which record it is."""


@dataclass
class Columns:
    """Names of columns in the order in which they first came, and the kinds of value that each has held."""

    kinds: dict[str, set[str]] = field(default_factory=dict)

    def see(self, row: Mapping[str, Any]) -> None:
        """Take a row into account."""
        for name, value in row.items():
            self.kinds.setdefault(name, set()).add(kind_of(value))

    @property
    def names(self) -> list[str]:
        """In order."""
        return list(self.kinds)


def kind_of(value: object) -> str:
    """``null``, ``boolean``, ``integer``, ``number``, ``text`` or ``list``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "text" if isinstance(value, str) else "list"


def run_rows(runs: Iterable[Run]) -> Iterator[dict[str, Any]]:
    """A row a run, as `caligo store query` sees it."""
    for run in runs:
        yield dict(flatten_run(run))


def record_rows(run: Run) -> Iterator[dict[str, Any]]:
    """A row a record of one run, in order of writer and number."""
    for writer in run.writers():
        for number, record in enumerate(run.records(writer)):
            row: dict[str, Any] = {"run": run.name, "writer": writer, "number": number}
            row.update(_leaves(record, ""))
            yield row


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{name}.")
        else:
            yield (f"record.{name}" if name in KEYS else name), value

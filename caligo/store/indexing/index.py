"""The index: every run of a store as a row of a database, so that a store of 10^5 runs is listed at once.

Covers: keeping the index in step with the run directories and the ledgers, and asking it for runs, rows and answers.
Does not cover: the databases (:mod:`.index_database`), the language (:mod:`.query`).

The directories are the truth; the index is a cache of their documents, and losing it costs the time to build it again.
A refresh looks at the directory ``runs`` (and lists it only when it has changed), looks again at every run that has not
ended, and at 256 of those that have, in turn, so that a document that was replaced is noticed too. It never looks at
records. Any number of processes may refresh one index at once: what they write is what the directories say, in pieces,
and a piece is written whole or not at all.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from caligo.store import layout
from caligo.store.governing.governance import Standing
from caligo.store.indexing.conditions import EVERYTHING, Filter, Query, names_of, resolve_filter
from caligo.store.indexing.flatten import TOP_LEVEL, Scalar
from caligo.store.indexing.index_database import (
    RUN_COLUMNS,
    VALUE_COLUMNS,
    Database,
    SqliteDatabase,
    index_place,
    open_database,
)
from caligo.store.indexing.index_source import LookedAt, changed_ns, inode_of, listed_runs, look_at, stamp_of
from caligo.store.indexing.index_sql import filter_sql
from caligo.store.indexing.index_standing import column_values, refresh_standings, standings_of
from caligo.store.indexing.query import parse_filter
from caligo.store.indexing.selection import Answer, arrange, needed_names
from caligo.store.values import LARGEST_INTEGER
from caligo.telemetry import NO_PROGRESS, Progress

PIECE = 500
"""Runs that are written in one transaction."""

CHECKED_AT_ONCE = 256
"""Ended runs whose documents a refresh looks for changes at."""

_SETTLED_NS = 10 * 10**9
"""A directory that changed this lately may change again within the clock's grain, so it is listed again."""

Result = TypeVar("Result")
Piece = TypeVar("Piece")


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did.

    Attributes:
        runs: runs in the index now.
        listed: whether the directory of runs was listed.
        checked: runs whose files were looked for changes at.
        read: runs whose documents were read.
        removed: runs that are not there any more.
        ledger_problem: why a ledger could not be read; empty when all could.
    """

    runs: int
    listed: bool
    checked: int
    read: int
    removed: int
    ledger_problem: str = ""


@dataclass(frozen=True)
class ListedRun:
    """One line of a list.

    Attributes:
        values: the top-level names that the run has (:data:`.flatten.TOP_LEVEL`).
        why: of a damaged run, what is wrong.
        process: of an open run, who writes it, as ``run.json`` tells; else empty.
        set_aside: whether it is quarantined, rejected or replaced.
    """

    values: dict[str, Scalar]
    why: str
    process: dict[str, Any]
    set_aside: bool


class Index:
    """The index of one store, open. Use it in a ``with`` statement.

    Args:
        store: directory of the store.
        url: a path or ``postgresql://`` URL; None is ``$CALIGO_INDEX``, else a file in the user's cache.

    Raises:
        ConfigError: the index would lie in the store, or in the place of another file.
        StoreError: the server cannot be reached.
        ResourceError: the PostgreSQL client library is missing.
    """

    def __init__(self, store: Path, url: str | None = None) -> None:
        self.store = store.absolute()
        place = index_place(self.store, url)
        own = url is None and not os.environ.get("CALIGO_INDEX")
        self._database: Database = open_database(place, own_place=own)
        self._number = 0
        self._names: dict[str, int] | None = None

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self._database.place

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    # --- keeping in step ------------------------------------------------------------------------------------------

    def refresh(self, *, progress: Progress = NO_PROGRESS, now_ns: int | None = None) -> Refreshed:
        """Bring the index up to date.

        Args:
            progress: told of every run whose documents are read.
            now_ns: the time in nanoseconds since 1970; None asks the clock.

        Raises:
            StoreError: the store cannot be read, or is not a directory; or the server fails.
        """
        moment = time.time_ns() if now_ns is None else now_ns
        return self._surely(lambda: self._refresh(progress, moment))

    def rebuild(self, *, progress: Progress = NO_PROGRESS) -> Refreshed:
        """Forget this store's runs and read them all again. Raises as :meth:`refresh`."""

        def forget() -> None:
            self._database.forget(self._store_number())

        self._surely(forget)
        self._number, self._names = 0, None
        return self.refresh(progress=progress)

    def _surely(self, work: Callable[[], Result]) -> Result:
        """Do it; again on new tables where a file turns out to be damaged, in memory where it cannot be written."""
        database = self._database
        if not isinstance(database, SqliteDatabase):
            return work()
        try:
            return work()
        except sqlite3.OperationalError:
            database.leave_file()
        except sqlite3.DatabaseError:
            database.replace()
        self._number, self._names = 0, None
        self._refresh(NO_PROGRESS, time.time_ns())
        return work()

    def _store_number(self) -> int:
        if not self._number:
            place = str(self.store)
            find = "SELECT id FROM stores WHERE place = ?"
            found = self._database.fetch(find, [place])
            if not found:
                with self._database.writing():
                    found = self._database.fetch(find, [place])
                    if not found:
                        number = self._database.fetch("SELECT COALESCE(max(id), 0) + 1 FROM stores")[0][0]
                        self._database.run("INSERT INTO stores (id, place, folded) VALUES (?, ?, '')", [number, place])
                        found = [(number,)]
            self._number = int(found[0][0])
        return self._number

    def _refresh(self, progress: Progress, now_ns: int) -> Refreshed:
        number = self._store_number()
        database = self._database
        runs = layout.runs_directory(self.store)
        changed = changed_ns(self.store, runs)
        known_ns = database.fetch("SELECT runs_changed FROM stores WHERE id = ?", [number])[0][0]
        again: list[str] = []
        gone: list[str] = []
        found: dict[str, str] = {}
        listed = changed is None or changed != known_ns
        if listed:
            found = {} if changed is None else listed_runs(runs)
            indexed: dict[str, str] = dict(database.fetch("SELECT run, inode FROM runs WHERE store = ?", [number]))
            gone = [name for name in indexed if name not in found]
            again = [name for name, inode in found.items() if indexed.get(name) != inode]
        left_out = {*again, *gone}
        checked = 0
        for name, stamp in self._to_check(now_ns):
            if name not in left_out:
                checked += 1
                if stamp_of(runs / name) != stamp:
                    again.append(name)
        self._remove(gone)
        read = self._read(sorted(again), found, progress)
        problem = refresh_standings(database, self.store, number)
        settled = changed if changed is not None and now_ns - changed > _SETTLED_NS else None
        if listed and settled != known_ns:
            with database.writing():
                database.run("UPDATE stores SET runs_changed = ? WHERE id = ?", [settled, number])
        return Refreshed(self._count(), listed, checked, read, len(gone), problem)

    def _to_check(self, now_ns: int) -> list[tuple[str, str]]:
        """Name and stamp of the runs that have not ended, and of those whose turn it is at this second."""
        number = self._store_number()
        unfinished = self._database.fetch("SELECT run, stamp FROM runs WHERE store = ? AND final = 0", [number])
        (last,) = self._database.fetch("SELECT COALESCE(max(row_id), 0) FROM runs")[0]
        turns = max(1, -(-last // CHECKED_AT_ONCE))
        first = now_ns // 10**9 % turns * CHECKED_AT_ONCE
        ended = self._database.fetch(
            "SELECT run, stamp FROM runs WHERE row_id > ? AND row_id <= ? AND store + 0 = ? AND final = 1",
            [first, first + CHECKED_AT_ONCE, number],
        )
        return [(name, stamp) for name, stamp in (*unfinished, *ended)]

    def _count(self) -> int:
        return int(self._database.fetch("SELECT count(*) FROM runs WHERE store = ?", [self._store_number()])[0][0])

    def _remove(self, runs: Sequence[str]) -> None:
        for piece in _pieces(runs):
            with self._database.writing():
                self._delete(piece)
        if runs:
            with self._database.writing():
                self._database.run(
                    "DELETE FROM names WHERE store = ? AND NOT EXISTS (SELECT 1 FROM vals v WHERE v.name = names.id)",
                    [self._store_number()],
                )
            self._names = None

    def _delete(self, runs: Sequence[str]) -> dict[str, int]:
        """Remove runs; returns the numbers of their rows."""
        marks = ", ".join("?" * len(runs))
        rows: dict[str, int] = dict(
            self._database.fetch(
                f"SELECT run, row_id FROM runs WHERE store = ? AND run IN ({marks})", [self._store_number(), *runs]
            )
        )
        if rows:
            names = list(self._name_numbers(anew=True).values())
            self._database.run_many(
                "DELETE FROM vals WHERE name = ? AND run = ?", [(name, row) for name in names for row in rows.values()]
            )
            self._database.run_many("DELETE FROM runs WHERE row_id = ?", [(row,) for row in rows.values()])
        return rows

    def _read(self, names: Sequence[str], inodes: dict[str, str], progress: Progress) -> int:
        """Read the documents of runs and put them into the index, a piece at a time."""
        if not names:
            return 0
        progress.start("indexing", len(names), "runs")
        runs = layout.runs_directory(self.store)
        read = 0
        for piece in _pieces(names):
            rows = [
                row
                for name in piece
                if (row := look_at(runs / name, inodes.get(name) or inode_of(runs / name))) is not None
            ]
            with self._database.writing():
                self._insert(rows, self._delete(piece))
            read += len(piece)
            progress.advance(len(piece))
        return read

    def _insert(self, looked: Sequence[LookedAt], kept: Mapping[str, int]) -> None:
        """Put runs into the index, those that had a row into the same one: rows are checked in the order of numbers."""
        database, number = self._database, self._store_number()
        numbers = self._name_numbers(anew=True)
        unknown = sorted({name for one in looked for name in one.row if name not in numbers}.difference(TOP_LEVEL))
        if unknown:
            first = database.fetch("SELECT COALESCE(max(id), 0) + 1 FROM names")[0][0]
            added = {name: first + offset for offset, name in enumerate(unknown)}
            database.insert("names", ("id", "store", "name"), [(added[name], number, name) for name in unknown])
            numbers.update(added)
        standings = standings_of(database, number, [str(one.row["run"]) for one in looked])
        (last,) = database.fetch("SELECT COALESCE(max(row_id), 0) FROM runs")[0]
        first = max(last, *kept.values(), 0) + 1
        rows: list[tuple[Any, ...]] = []
        values: list[tuple[Any, ...]] = []
        for offset, one in enumerate(looked):
            row_id = kept.get(str(one.row["run"]), first + offset)
            standing, set_aside = column_values(standings.get(str(one.row["run"])))
            top = {**one.row, "standing": standing}
            rows.append((row_id, number, *(top.get(name) for name in TOP_LEVEL), *one.behind(), set_aside))
            for name, value in one.row.items():
                if name in numbers:
                    kind, a_number, text = _value_columns(value)
                    values.append((numbers[name], row_id, kind, a_number, text))
        database.insert("runs", RUN_COLUMNS, rows)
        database.insert("vals", VALUE_COLUMNS, values)

    def _name_numbers(self, *, anew: bool = False) -> dict[str, int]:
        if self._names is None or anew:
            self._names = dict(
                self._database.fetch("SELECT name, id FROM names WHERE store = ?", [self._store_number()])
            )
        return self._names

    # --- asking ---------------------------------------------------------------------------------------------------
    #
    # Runs that are set aside (quarantined, rejected, replaced by a repair) take no part unless asked for; a filter that
    # names `standing` asks.

    def names(self) -> frozenset[str]:
        """Every dotted name that some run has, the top-level ones besides."""
        return frozenset((*TOP_LEVEL, *self._surely(self._name_numbers)))

    def count(self, where: Filter = EVERYTHING, *, include_set_aside: bool = False) -> int:
        """How many runs pass a filter with resolved names."""

        def ask() -> int:
            sql, values = self._condition(where, include_set_aside)
            return int(self._database.fetch(f"SELECT count(*) FROM runs r WHERE {sql}", values)[0][0])

        return self._surely(ask)

    def select(self, where: Filter = EVERYTHING, *, include_set_aside: bool = False) -> list[str]:
        """Names of the runs that pass a filter with resolved names, oldest first."""

        def ask() -> list[str]:
            sql, values = self._condition(where, include_set_aside)
            found = self._database.fetch(f"SELECT r.run FROM runs r WHERE {sql} ORDER BY r.begun, r.run", values)
            return [name for (name,) in found]

        return self._surely(ask)

    def newest(
        self, where: Filter = EVERYTHING, limit: int | None = None, *, include_set_aside: bool = True
    ) -> list[ListedRun]:
        """The runs that pass a filter, oldest first; with a limit the newest of them.

        Args:
            where: with resolved names.
            limit: most runs; None is all.
        """

        def ask() -> list[ListedRun]:
            sql, values = self._condition(where, include_set_aside)
            columns = ", ".join(f"r.{name}" for name in (*TOP_LEVEL, "why", "process", "set_aside"))
            cut = "" if limit is None else f" LIMIT {int(limit)}"
            found = self._database.fetch(
                f"SELECT {columns} FROM runs r WHERE {sql} ORDER BY r.begun DESC, r.run DESC{cut}", values
            )
            return [
                ListedRun(_top(row), row[-3], json.loads(row[-2]) if row[-2] else {}, bool(row[-1]))
                for row in reversed(found)
            ]

        return self._surely(ask)

    def standing(self, run: str) -> Standing | None:
        """What the ledgers say of a run; None where they do not name it."""
        return self._surely(lambda: standings_of(self._database, self._store_number(), [run]).get(run))

    def rows(
        self, names: Iterable[str], where: Filter = EVERYTHING, *, include_set_aside: bool = False
    ) -> list[dict[str, Scalar]]:
        """Values of the runs that pass a filter, oldest first.

        Args:
            names: which values, full names; those that a run does not have are not in its row.
            where: with resolved names.
        """
        wanted = tuple(dict.fromkeys(names))

        def ask() -> list[dict[str, Scalar]]:
            sql, values = self._condition(where, include_set_aside)
            top = [name for name in wanted if name in TOP_LEVEL]
            columns = ", ".join(["r.row_id", *(f"r.{name}" for name in top)])
            rows: dict[int, dict[str, Scalar]] = {
                found[0]: {
                    name: _number(value) for name, value in zip(top, found[1:], strict=True) if value is not None
                }
                for found in self._database.fetch(
                    f"SELECT {columns} FROM runs r WHERE {sql} ORDER BY r.begun, r.run", values
                )
            }
            numbers = self._name_numbers()
            for name in wanted:
                if name not in top and name in numbers:
                    for row_id, kind, number, text in self._database.fetch(
                        "SELECT v.run, v.kind, v.number, v.text FROM vals v WHERE v.name = ? AND v.run IN "
                        f"(SELECT r.row_id FROM runs r WHERE {sql})",
                        [numbers[name], *values],
                    ):
                        if row_id in rows:
                            rows[row_id][name] = _value_of(kind, number, text)
            return list(rows.values())

        return self._surely(ask)

    def near(
        self, row: Mapping[str, Scalar], sections: tuple[str, ...], ignored: Collection[str], most: int
    ) -> list[str]:
        """Runs of the kind of a row that differ from it in few names, oldest first.

        Args:
            row: names and values.
            sections: beginnings of the names that count, such as ``configuration.``.
            ignored: names that do not count.
            most: a run that differs in more names is left out; one that differs in none is not.

        Returns:
            Names of runs, those that are set aside too.
        """
        counted = {name: value for name, value in row.items() if name.startswith(sections) and name not in ignored}

        def ask() -> list[str]:
            store, kind = self._store_number(), row.get("kind", "")
            found = self._database.fetch(
                "SELECT row_id, run FROM runs WHERE store = ? AND kind = ? ORDER BY begun, run", [store, kind]
            )
            numbers = self._name_numbers()
            differing = dict.fromkeys((row_id for row_id, _ in found), len(counted.keys() - numbers.keys()))
            steps: list[tuple[int, bool, str, list[Any]]] = []
            for name, number in numbers.items():
                if name in ignored or not name.startswith(sections):
                    continue
                condition = "name = ?"
                values: list[Any] = [number]
                if name in counted:
                    held, value, text = _value_columns(counted[name])
                    condition += f" AND kind = ? AND {'text' if held == 't' else 'number'} = ?"
                    values += [held, text if held == "t" else value]
                count = self._database.fetch(f"SELECT count(*) FROM vals WHERE {condition}", values)[0][0]
                steps.append((-count if name in counted else count, name in counted, condition, values))
            # What most runs differ in comes first: then few runs are left to look at.
            for _, same_if_held, condition, values in sorted(steps, key=lambda step: -step[0]):
                holders = self._holders(condition, values, differing)
                for row_id in [row_id for row_id in differing if (row_id in holders) != same_if_held]:
                    differing[row_id] += 1
                    if differing[row_id] > most:
                        del differing[row_id]
            return [run for row_id, run in found if row_id in differing]

        return self._surely(ask)

    def _holders(self, condition: str, values: list[Any], runs: Collection[int]) -> set[int]:
        """Which runs have a value that meets a condition; others of the index may be among them."""
        if len(runs) > 4 * PIECE:
            return {row_id for (row_id,) in self._database.fetch(f"SELECT run FROM vals WHERE {condition}", values)}
        holders: set[int] = set()
        for piece in _pieces(list(runs)):
            marks = ", ".join("?" * len(piece))
            query = f"SELECT run FROM vals WHERE {condition} AND run IN ({marks})"
            holders.update(row_id for (row_id,) in self._database.fetch(query, [*values, *piece]))
        return holders

    def answer(self, query: Query, *, include_set_aside: bool = False) -> Answer:
        """The answer to a query with resolved names."""
        rows = self.rows(needed_names(query), query.where, include_set_aside=include_set_aside)
        return arrange(query, rows)

    def _condition(self, where: Filter, include_set_aside: bool) -> tuple[str, list[Any]]:
        sql, values = filter_sql(where, self._name_numbers(), self._database.like)
        if not include_set_aside and all(name.text != "standing" for name in names_of(where)):
            sql = f"r.set_aside = 0 AND {sql}"
        return f"r.store = ? AND {sql}", [self._store_number(), *values]


def open_index(store: str | os.PathLike[str], url: str | None = None) -> Index:
    """The index of a store, as it was when last refreshed (:meth:`Index.refresh`).

    Args and Raises as :class:`Index`.
    """
    return Index(Path(store), url)


def select_runs(
    store: str | os.PathLike[str], where: str = "", *, include_quarantined: bool = False, url: str | None = None
) -> list[Path]:
    """The directories of the runs that pass a filter, oldest first.

    Args:
        store: directory of the store.
        where: a filter (:mod:`.query`); empty passes every run.
        include_quarantined: also runs that are quarantined, rejected or replaced by a repair; a filter that names
            ``standing`` decides for itself.
        url: see :class:`Index`.

    Returns:
        Absolute paths.

    Raises:
        ConfigError: the filter is wrong, or names what no run has.
        StoreError: the store cannot be read.
    """
    condition = parse_filter(where)
    with open_index(store, url) as index:
        index.refresh()
        resolved = resolve_filter(condition, index.names(), where)
        runs = layout.runs_directory(index.store)
        return [runs / name for name in index.select(resolved, include_set_aside=include_quarantined)]


# --- values -------------------------------------------------------------------------------------------------------


def _value_columns(value: Scalar) -> tuple[str, float | None, str | None]:
    """Kind, number and text of a value."""
    if isinstance(value, bool):
        return "b", int(value), None
    return ("t", None, value) if isinstance(value, str) else ("n", value, None)


def _value_of(kind: str, number: float | None, text: str | None) -> Scalar:
    if kind == "t":
        return text or ""
    return bool(number) if kind == "b" else _number(number or 0)


def _number(value: Any) -> Any:
    """A whole number as an integer, whichever database held it."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_INTEGER else value


def _top(row: Sequence[Any]) -> dict[str, Scalar]:
    return {name: _number(value) for name, value in zip(TOP_LEVEL, row, strict=False) if value is not None}


def _pieces(items: Sequence[Piece]) -> Iterator[Sequence[Piece]]:
    for begin in range(0, len(items), PIECE):
        yield items[begin : begin + PIECE]

"""What the ledgers say of runs, kept in the index: new entries are read, old ones are not read again.

Covers: bringing standings up to date, from where the index stopped. Does not cover: what entries mean
(:mod:`caligo.store.governing.governance`).

New entries that come after all that were folded are folded onto what is there. Where one comes before (a merge brought
an older ledger), or a ledger has become shorter, everything is folded anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from caligo.errors import StoreError
from caligo.store.governing.governance import (
    BEFORE_ALL,
    Judgement,
    LedgerEntry,
    Place,
    Standing,
    Standings,
    fold,
    placed,
)
from caligo.store.indexing.index_database import Database

if TYPE_CHECKING:
    from caligo.store.audit.ledger import Ledger

_PIECE = 500
_ENTRIES = 10_000
"""Entries that are folded in one transaction."""

_FIELDS = [field.name for field in fields(Standing)]
"""What a standing is made of; standings of another make are folded anew."""


def refresh_standings(database: Database, store: Path, number: int) -> str:
    """Bring the standings of a store's runs up to date with its ledgers.

    Args:
        database: the index.
        store: directory of the store.
        number: of the store in the index.

    Returns:
        What keeps a ledger from being read, empty when nothing does; standings then stay as they were, or are what the
        entries before it say.
    """
    from caligo.store.audit.ledger import ledgers

    try:
        _ingest(database, number, lambda: ledgers(store))
    except StoreError as error:
        return error.message
    return ""


def standings_of(database: Database, number: int, runs: Iterable[str] | None) -> Standings:
    """Standings as the index has them.

    Args:
        database: the index.
        number: of the store.
        runs: names; None is all.
    """
    found: list[tuple[str, str]] = []
    if runs is None:
        found += database.fetch("SELECT run, content FROM standings WHERE store = ?", [number])
    else:
        names = list(runs)
        for begin in range(0, len(names), _PIECE):
            piece = names[begin : begin + _PIECE]
            marks = ", ".join("?" * len(piece))
            found += database.fetch(
                f"SELECT run, content FROM standings WHERE store = ? AND run IN ({marks})", [number, *piece]
            )
    return {run: _standing(content) for run, content in found}


def column_values(standing: Standing | None) -> tuple[str | None, int]:
    """The ``standing`` and ``set_aside`` of a run; without a judgement it has no standing."""
    if standing is None or standing.judgement is Judgement.NONE:
        return None, 0
    return standing.judgement.value, int(standing.is_set_aside)


@dataclass(frozen=True)
class _Folded:
    """How far the ledgers are folded: the size and latest time of each, the last place, and what standings are of."""

    sizes: dict[str, int]
    latest: dict[str, str]
    last: Place
    fields: list[str]

    @classmethod
    def of(cls, database: Database, number: int) -> Self:
        rows = database.fetch("SELECT origin, size, latest FROM ledgers WHERE store = ?", [number])
        state = json.loads(database.fetch("SELECT folded FROM stores WHERE id = ?", [number])[0][0] or "{}")
        last = tuple(state.get("last", BEFORE_ALL))
        sizes, latest = {row[0]: row[1] for row in rows}, {row[0]: row[2] for row in rows}
        return cls(sizes, latest, last, state.get("fields", _FIELDS))

    def after(self, piece: Iterable[tuple[Place, LedgerEntry]]) -> Self:
        """The same, some entries on."""
        sizes, latest, last = dict(self.sizes), dict(self.latest), self.last
        for last, entry in piece:
            sizes[entry.origin], latest[entry.origin] = entry.index + 1, last[0]
        return replace(self, sizes=sizes, latest=latest, last=last)

    def keep(self, database: Database, number: int) -> None:
        """Write it, within a transaction."""
        database.run("DELETE FROM ledgers WHERE store = ?", [number])
        database.run_many(
            "INSERT INTO ledgers (store, origin, size, latest) VALUES (?, ?, ?, ?)",
            [(number, origin, size, self.latest[origin]) for origin, size in self.sizes.items()],
        )
        state = json.dumps({"last": self.last, "fields": self.fields})
        database.run("UPDATE stores SET folded = ? WHERE id = ?", [state, number])


_NOTHING = _Folded({}, {}, BEFORE_ALL, _FIELDS)


def _ingest(database: Database, number: int, find: Callable[[], Sequence[Ledger]]) -> None:
    """Fold the entries that are new onto what is there, or all of them where that cannot be.

    What is read is written only onto the state that it was read for; where another process was quicker, this one goes
    on from there. Ledgers are looked for after what is known of them, so that one that another process has just folded
    is not taken for one that has gone.
    """
    is_done = False
    while not is_done:
        known = _Folded.of(database, number)
        found = find()
        sizes = {ledger.origin: size for ledger in found if (size := ledger.size())}
        if sizes == known.sizes and known.fields == _FIELDS:
            return
        is_done = any(sizes.get(origin, 0) < size for origin, size in known.sizes.items()) or known.fields != _FIELDS
        fresh = placed([ledger.entries(known.sizes.get(ledger.origin, 0)) for ledger in found], known.latest)
        first = None if is_done else next(fresh, None)
        if first is None or first[0] < known.last:
            is_done = _fold_anew(database, number, known, found)
        else:
            is_done = _fold_on(database, number, known, chain([first], fresh))


def _fold_on(database: Database, number: int, known: _Folded, fresh: Iterator[tuple[Place, LedgerEntry]]) -> bool:
    """Fold new entries, a piece at a time; false where another process was quicker."""
    while piece := list(islice(fresh, _ENTRIES)):
        entries = [entry for _, entry in piece]
        with database.writing():
            if _Folded.of(database, number) != known:
                return False
            before = _touched(database, number, entries)
            _keep(database, number, before, fold(entries, dict(before)))
            known = known.after(piece)
            known.keep(database, number)
    return True


def _fold_anew(database: Database, number: int, known: _Folded, found: Sequence[Ledger]) -> bool:
    """Fold all entries; false where another process was quicker."""
    folded = _NOTHING
    standings: Standings = {}
    entries = placed([ledger.entries() for ledger in found])
    while piece := list(islice(entries, _ENTRIES)):
        fold((entry for _, entry in piece), standings)
        folded = folded.after(piece)
    with database.writing():
        if _Folded.of(database, number) != known:
            return False
        database.run("DELETE FROM standings WHERE store = ?", [number])
        database.run("UPDATE runs SET standing = NULL, set_aside = 0 WHERE store = ?", [number])
        _keep(database, number, {}, standings)
        folded.keep(database, number)
    return True


def _touched(database: Database, number: int, entries: Iterable[LedgerEntry]) -> Standings:
    """The standings that entries may change: of the runs they name, or all where a validation covered all."""
    runs: set[str] = set()
    for entry in entries:
        content = entry.content
        if entry.kind == "validation":
            scope, unclean = content.get("scope"), content.get("unclean")
            if not isinstance(scope, list):
                return standings_of(database, number, None)
            runs.update(map(str, scope), map(str, unclean) if isinstance(unclean, list) else ())
        elif isinstance(content.get("run"), str):
            runs.add(content["run"])
    return standings_of(database, number, sorted(runs))


def _keep(database: Database, number: int, before: Standings, after: Standings) -> None:
    """Write the standings that have changed, and those columns of runs that have."""
    changed = {run: standing for run, standing in after.items() if before.get(run) != standing}
    database.run_many(
        "DELETE FROM standings WHERE store = ? AND run = ?", [(number, run) for run in changed if run in before]
    )
    database.insert(
        "standings",
        ("store", "run", "content"),
        [(number, run, _content(standing)) for run, standing in changed.items()],
    )
    database.run_many(
        "UPDATE runs SET standing = ?, set_aside = ? WHERE store = ? AND run = ?",
        [
            (*columns, number, run)
            for run, standing in changed.items()
            if (columns := column_values(standing)) != column_values(before.get(run))
        ],
    )


def _content(standing: Standing) -> str:
    return json.dumps({name: getattr(standing, name) for name in _FIELDS})


def _standing(content: str) -> Standing:
    held = json.loads(content)
    held["judgement"] = Judgement(held["judgement"])
    return Standing(**{name: _as_tuple(value) for name, value in held.items()})


def _as_tuple(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value

"""What the ledgers say of runs, kept in the index: new entries are read, old ones are not read again.

Covers: bringing standings up to date, from where the index stopped. Does not cover: what entries mean
(:mod:`caligo.store.governing.governance`).

New entries that come after all that were folded are folded onto what is there. Where one comes before (a merge brought
an older ledger), or a ledger has become shorter, everything is folded anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caligo.errors import StoreError
from caligo.store.governing.governance import Judgement, LedgerEntry, Standing, Standings, apply, fold, in_order
from caligo.store.indexing.index_database import Database

if TYPE_CHECKING:
    from caligo.store.audit.ledger import Entry, Ledger

_PIECE = 500
_BEFORE_ALL = ("", "", -1)
_FIELDS = [field.name for field in fields(Standing)]
"""What a standing is made of; standings of another make are folded anew."""


def refresh_standings(database: Database, store: Path, number: int) -> str:
    """Bring the standings of a store's runs up to date with its ledgers.

    Args:
        database: the index.
        store: directory of the store.
        number: of the store in the index.

    Returns:
        What keeps a ledger from being read, empty when nothing does; standings then stay as they were.
    """
    from caligo.store.audit.ledger import ledgers

    known = {
        origin: (size, latest)
        for origin, size, latest in database.fetch("SELECT origin, size, latest FROM ledgers WHERE store = ?", [number])
    }
    try:
        found = ledgers(store)
        if {ledger.origin: ledger.size() for ledger in found} != {origin: size for origin, (size, _) in known.items()}:
            _ingest(database, number, found, known)
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


def _ingest(database: Database, number: int, found: list[Ledger], known: dict[str, tuple[int, str]]) -> None:
    """Fold the entries that are new, or all of them, and keep what came of it."""
    folded = json.loads(database.fetch("SELECT folded FROM stores WHERE id = ?", [number])[0][0] or "{}")
    last = tuple(folded.get("last", _BEFORE_ALL))
    reading = _Reading(known)
    fresh = sorted(
        ((reading.keep(entry), entry) for ledger in found for entry in ledger.entries(reading.size(ledger.origin))),
        key=lambda keyed: keyed[0],
    )
    anew = (
        folded.get("fields", _FIELDS) != _FIELDS
        or any(ledger.size() < reading.size(ledger.origin) for ledger in found)
        or not known.keys() <= {ledger.origin for ledger in found}
        or bool(fresh and fresh[0][0] < last)
    )
    if anew:
        reading = _Reading({})
        standings = fold(reading.watch(in_order(ledger.entries() for ledger in found)))
        last = reading.last
    else:
        standings = _touched(database, number, [entry for _, entry in fresh]) if fresh else {}
        for key, entry in fresh:
            standings, last = apply(standings, entry), key
    with database.writing():
        if anew:
            database.run("DELETE FROM standings WHERE store = ?", [number])
            database.run("UPDATE runs SET standing = NULL, set_aside = 0 WHERE store = ?", [number])
        _keep(database, number, standings)
        database.run("DELETE FROM ledgers WHERE store = ?", [number])
        database.run_many(
            "INSERT INTO ledgers (store, origin, size, latest) VALUES (?, ?, ?, ?)",
            [(number, ledger.origin, reading.size(ledger.origin), reading.latest(ledger.origin)) for ledger in found],
        )
        state = json.dumps({"last": last, "fields": _FIELDS})
        database.run("UPDATE stores SET folded = ? WHERE id = ?", [state, number])


class _Reading:
    """How far each ledger has been read: its size, and its latest time."""

    def __init__(self, known: dict[str, tuple[int, str]]) -> None:
        self._known = dict(known)
        self.last: tuple[str, str, int] = _BEFORE_ALL

    def size(self, origin: str) -> int:
        return self._known.get(origin, (0, ""))[0]

    def latest(self, origin: str) -> str:
        return self._known.get(origin, (0, ""))[1]

    def keep(self, entry: LedgerEntry) -> tuple[str, str, int]:
        """Go on by one entry; returns its place in the order of folding."""
        latest = max(self.latest(entry.origin), entry.at)
        self._known[entry.origin] = (entry.index + 1, latest)
        self.last = (latest, entry.origin, entry.index)
        return self.last

    def watch(self, entries: Iterable[LedgerEntry]) -> Iterator[LedgerEntry]:
        """The entries, each kept."""
        for entry in entries:
            self.keep(entry)
            yield entry


def _touched(database: Database, number: int, entries: list[Entry]) -> Standings:
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


def _keep(database: Database, number: int, standings: Standings) -> None:
    database.run_many("DELETE FROM standings WHERE store = ? AND run = ?", [(number, run) for run in standings])
    database.insert(
        "standings",
        ("store", "run", "content"),
        [(number, run, json.dumps(asdict(standing))) for run, standing in standings.items()],
    )
    database.run_many(
        "UPDATE runs SET standing = ?, set_aside = ? WHERE store = ? AND run = ?",
        [(*column_values(standing), number, run) for run, standing in standings.items()],
    )


def _standing(content: str) -> Standing:
    held = json.loads(content)
    held["judgement"] = Judgement(held["judgement"])
    return Standing(**{name: _as_tuple(value) for name, value in held.items()})


def _as_tuple(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value

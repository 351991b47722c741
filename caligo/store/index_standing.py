"""What the ledgers say of runs, kept in the index: new entries are read, old ones are not read again.

Covers: bringing standings up to date, from where the index stopped. Does not cover: what entries mean
(:mod:`caligo.store.governance`).

New entries that come after all that were folded are folded onto what is there. Where one comes before (a merge brought
an older ledger), or a ledger has become shorter, everything is folded anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from caligo.errors import StoreError
from caligo.store.governance import Judgement, Standing, Standings, apply, fold, in_order
from caligo.store.index_database import Database

if TYPE_CHECKING:
    from caligo.store.ledger import Entry, Ledger

_PIECE = 500


def refresh_standings(database: Database, store: Path, number: int) -> str:
    """Bring the standings of a store's runs up to date with its ledgers.

    Args:
        database: the index.
        store: directory of the store.
        number: of the store in the index.

    Returns:
        What keeps a ledger from being read, empty when nothing does; standings then stay as they were.
    """
    from caligo.store.ledger import ledgers

    known = {
        origin: (size, latest)
        for origin, size, latest in database.fetch("SELECT origin, size, latest FROM ledgers WHERE store = ?", [number])
    }
    try:
        found = ledgers(store)
        sizes = {ledger.origin: ledger.size() for ledger in found}
        if sizes == {origin: size for origin, (size, _) in known.items()}:
            return ""
        _ingest(database, number, found, sizes, known)
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


def _ingest(
    database: Database, number: int, found: list[Ledger], sizes: dict[str, int], known: dict[str, tuple[int, str]]
) -> None:
    folded = database.fetch("SELECT folded FROM stores WHERE id = ?", [number])[0][0]
    last = tuple(json.loads(folded)) if folded else ("", "", -1)
    anew = any(sizes.get(origin, 0) < size for origin, (size, _) in known.items())
    fresh: list[tuple[tuple[str, str, int], Entry]] = []
    latest_of: dict[str, str] = {}
    if not anew:
        for ledger in found:
            size, latest = known.get(ledger.origin, (0, ""))
            for entry in ledger.entries(size):
                latest = max(latest, entry.at)
                fresh.append(((latest, entry.origin, entry.index), entry))
            latest_of[ledger.origin] = latest
        fresh.sort(key=lambda keyed: keyed[0])
        anew = bool(fresh) and fresh[0][0] < last
    if anew:
        latest_of = dict.fromkeys(sizes, "")
        keys: list[tuple[str, str, int]] = []

        def watched(entry: Entry) -> Entry:
            latest_of[entry.origin] = max(latest_of[entry.origin], entry.at)
            keys.append((latest_of[entry.origin], entry.origin, entry.index))
            del keys[:-1]
            return entry

        standings = fold(map(watched, in_order(ledger.entries() for ledger in found)))  # type: ignore[arg-type]
        sizes = {origin: sizes[origin] for origin in sizes}
        last = keys[-1] if keys else ("", "", -1)
    elif fresh:
        standings = _touched(database, number, [entry for _, entry in fresh])
        for _, entry in fresh:
            standings = apply(standings, entry)
        last = fresh[-1][0]
    else:
        standings = {}
    with database.writing():
        if anew:
            database.run("DELETE FROM standings WHERE store = ?", [number])
            database.run("UPDATE runs SET standing = NULL, set_aside = 0 WHERE store = ?", [number])
        _keep(database, number, standings)
        database.run("DELETE FROM ledgers WHERE store = ?", [number])
        database.run_many(
            "INSERT INTO ledgers (store, origin, size, latest) VALUES (?, ?, ?, ?)",
            [(number, origin, size, latest_of[origin]) for origin, size in sorted(sizes.items())],
        )
        database.run("UPDATE stores SET folded = ? WHERE id = ?", [json.dumps(last), number])


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
    held["codes"] = tuple(held["codes"])
    held["seals"] = tuple((origin, index) for origin, index in held["seals"])
    return Standing(**held)

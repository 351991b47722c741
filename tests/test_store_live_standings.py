"""Standings that go on with the ledgers, in memory and in the index, are those of reading every entry anew, always.

Covers: ledgers that grow, that merges bring, that are gone again; clocks that step back; other processes that are
quicker. Does not cover: what entries mean (test_store_governance.py), ledgers that cannot be read
(test_store_index_faults.py).
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from synthetic_store import write_runs

from caligo.errors import LedgerCorruptError
from caligo.store.audit.ledger import Ledger, encode_entry, foreign_ledger
from caligo.store.governing import governance
from caligo.store.governing.governance import LiveStandings, Standings, apply, in_order
from caligo.store.governing.validation import Ledgers
from caligo.store.indexing import index_standing
from caligo.store.indexing.index import Index, open_index
from caligo.store.indexing.index_standing import column_values, standings_of

FOREIGN = ("0" * 32, "f" * 32)
KINDS = ("seal", "seal", "validation", "quarantine", "release", "reject", "repair", "alert")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_runs(tmp_path / "store", 5)
    Ledger.open(tmp_path / "store", create=True)
    return tmp_path / "store"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return str(tmp_path / "index.sqlite")


def content(dice: random.Random, kind: str, runs: list[str], sizes: dict[str, int]) -> dict[str, Any]:
    run, other = dice.choice(runs), dice.choice(runs)
    if kind == "validation":
        scope = dice.choice([None, None, dice.sample(runs, 2)])
        return {"scope": scope, "ledgers": sizes, "unclean": dice.choice([[], [other], None])}
    return {
        "run": run,
        "seal_sha256": "ab" * 32,
        "codes": ["CAL-STORE-013"],
        "digests": [f"{dice.randrange(3):016x}"],
        "by": dice.choice([None, other]),
        "what": "put right",
        "reason": "looked at",
    }


def grow(dice: random.Random, store: Path, ledger: Ledger, count: int) -> None:
    """Entries as other writers leave them, durable or not."""
    for _ in range(count):
        index, kind = ledger.size(), dice.choice(KINDS)
        sizes = {one: foreign_ledger(store, one).size() for one in (*FOREIGN, Ledger.open(store).origin)}
        path = ledger.entry_path(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        at = f"2026-01-0{dice.randrange(1, 6)}T00:00:00.000Z"
        told = content(dice, kind, sorted(os.listdir(store / "runs")), sizes)
        previous = "ab" * 32 if index else None
        path.write_bytes(
            encode_entry(origin=ledger.origin, index=index, kind=kind, at=at, content=told, previous=previous)
        )


def read_anew(store: Path) -> Standings:
    """Every entry read, and applied to a copy of what was before: slow and obvious."""
    standings: Standings = {}
    places = sorted((store / "ledger").iterdir()) if (store / "ledger").is_dir() else []
    entries = [[Plain(path) for path in sorted(place.glob("entries/*/*/*.json"))] for place in places]
    for entry in in_order(entries):
        standings = apply(standings, entry)
    return standings


class Plain:
    """An entry as the fold sees it, whatever is wrong with it."""

    def __init__(self, path: Path) -> None:
        document = json.loads(path.read_bytes())
        self.index: int = document["index"]
        self.origin: str = document["origin"]
        self.kind: str = document["kind"]
        self.at: str = document["at"]
        self.content: dict[str, Any] = document["content"]


def of_index(index: Index) -> Standings:
    assert index.refresh().ledger_problem == ""
    return standings_of(index._database, index._store_number(), None)


def check_columns(index: Index, expected: Standings) -> None:
    for run in index.newest():
        columns = (run.values.get("standing"), int(run.set_aside))
        assert columns == column_values(expected.get(str(run.values["run"])))


@pytest.mark.parametrize("seed", range(6))
def test_what_goes_on_is_what_is_read_anew(seed: int, store: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_standing, "_ENTRIES", 3)
    dice = random.Random(seed)
    live, tolerant = LiveStandings(store), Ledgers(store)
    with open_index(store, url) as index, open_index(store, url) as seldom:
        for step in range(14):
            if dice.random() < 0.15:
                shutil.rmtree(store / "ledger" / dice.choice(FOREIGN), ignore_errors=True)
            origin = dice.choice([Ledger.open(store).origin, *FOREIGN])
            grow(dice, store, foreign_ledger(store, origin), dice.randrange(9))
            expected = read_anew(store)
            assert governance.standing(store) == live.read() == expected
            tolerant.read()
            assert tolerant.standings == expected
            assert of_index(index) == expected
            check_columns(index, expected)
            if step % 5 == 4:
                assert of_index(seldom) == expected
        index.rebuild()
        assert of_index(index) == expected


@pytest.mark.parametrize("step", ["_fold_on", "_fold_anew"])
def test_a_process_that_others_overtake_goes_on_from_where_they_are(
    step: str, store: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(1)
    grow(dice, store, Ledger.open(store), 5)
    real, answers = getattr(index_standing, step), []
    with open_index(store, url) as index, open_index(store, url) as other:
        of_index(index)
        if step == "_fold_anew":  # what a merge brought is older than what was folded
            grow(random.Random(5), store, foreign_ledger(store, FOREIGN[0]), 6)
        grow(dice, store, Ledger.open(store), 1)

        def overtaken(*arguments: Any) -> bool:
            monkeypatch.setattr(index_standing, step, real)
            of_index(other)
            grow(dice, store, Ledger.open(store), 4)
            answers.append(real(*arguments))
            return bool(answers[-1])

        monkeypatch.setattr(index_standing, step, overtaken)
        expected_later = of_index(index)
        assert answers == [False]
        assert expected_later == read_anew(store)


def test_a_ledger_that_another_process_finds_first_is_not_forgotten(
    store: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(2)
    grow(dice, store, Ledger.open(store), 5)
    real = index_standing._Folded.of
    with open_index(store, url) as index, open_index(store, url) as other:
        of_index(index)

        def after_a_merge(database: Any, number: int) -> Any:
            monkeypatch.setattr(index_standing._Folded, "of", real)
            grow(random.Random(5), store, foreign_ledger(store, FOREIGN[0]), 6)
            of_index(other)
            return real(database, number)

        monkeypatch.setattr(index_standing._Folded, "of", after_a_merge)
        assert of_index(index) == read_anew(store)
        assert of_index(other) == read_anew(store)


def test_an_entry_that_cannot_be_read_hides_nothing_that_is_before_or_was_folded(store: Path, tmp_path: Path) -> None:
    dice = random.Random(3)
    ledger = Ledger.open(store)
    grow(dice, store, ledger, 8)
    live = LiveStandings(store)
    before = dict(live.read())
    grow(dice, store, ledger, 4)
    whole = ledger.entry_path(9).read_bytes()
    ledger.entry_path(9).write_bytes(whole.replace(b'"schema"', b'"schemo"'))
    for _ in range(2):
        with pytest.raises(LedgerCorruptError, match="entry 9"):
            live.read()
    with open_index(store, str(tmp_path / "index")) as index:
        assert "entry 9" in index.refresh().ledger_problem
        ledger.entry_path(9).write_bytes(whole)
        assert of_index(index) == live.read() == read_anew(store)
    assert before != live.read()

"""Standings: a pure fold over ledger entries, the same however ledgers came together, and decisions that fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.errors import StandingError
from caligo.store import Code, Finding, RunWriter
from caligo.store.governing import governance
from caligo.store.governing.governance import Judgement, Standing, apply, fold, in_order


@dataclass(frozen=True)
class Entry:
    """A ledger entry as the fold sees it."""

    index: int
    origin: str
    kind: str
    at: str
    content: Mapping[str, Any] = field(hash=False)


_RUNS = ("a", "b", "c")


def _content(kind: str, run: str, other: str) -> dict[str, Any]:
    if kind == "validation":
        return {"scope": None, "ledgers": {"x": 3, "y": 2}, "unclean": [other]}
    more: dict[str, dict[str, Any]] = {
        "quarantine": {"codes": ["CAL-STORE-013"]},
        "release": {"reason": "looked at"},
        "reject": {"reason": "wrong fibre"},
        "repair": {"by": other if other != run else None, "what": "salvaged"},
    }
    return {"run": run, **more.get(kind, {})}


_KINDS = ("seal", "validation", "quarantine", "release", "reject", "repair", "merge")


@st.composite
def _ledgers(draw: st.DrawFn) -> list[list[Entry]]:
    ledgers = []
    for origin in ("x", "y", "z"):
        rows = draw(
            st.lists(
                st.tuples(st.sampled_from(_KINDS), st.sampled_from(_RUNS), st.sampled_from(_RUNS), st.integers(0, 5)),
                max_size=6,
            )
        )
        ledgers.append(
            [
                Entry(index, origin, kind, f"2026-01-0{day}T00:00:00.000Z", _content(kind, run, other))
                for index, (kind, run, other, day) in enumerate(rows)
            ]
        )
    return ledgers


@given(_ledgers(), st.permutations(range(3)))
def test_the_fold_is_the_same_however_ledgers_came_together(ledgers: list[list[Entry]], order: list[int]) -> None:
    assert fold(in_order(ledgers)) == fold(in_order(ledgers[place] for place in order))


@given(_ledgers())
def test_a_ledger_keeps_its_own_order_whatever_its_clock_said(ledgers: list[list[Entry]]) -> None:
    merged = list(in_order(ledgers))
    assert len(merged) == sum(map(len, ledgers))
    for ledger in ledgers:
        assert [entry for entry in merged if ledger and entry.origin == ledger[0].origin] == ledger


@given(_ledgers())
def test_applying_entries_one_by_one_is_the_fold(ledgers: list[list[Entry]]) -> None:
    standings: dict[str, Standing] = {}
    for entry in in_order(ledgers):
        before = dict(standings)
        standings_after = apply(standings, entry)
        assert standings == before
        standings = standings_after
    assert standings == fold(in_order(ledgers))


@given(_ledgers())
def test_nothing_follows_a_rejection(ledgers: list[list[Entry]]) -> None:
    rejected: set[str] = set()
    standings: dict[str, Standing] = {}
    for entry in in_order(ledgers):
        standings = apply(standings, entry)
        rejected |= {run for run, standing in standings.items() if standing.judgement is Judgement.REJECTED}
        assert all(standings[run].judgement is Judgement.REJECTED for run in rejected)


def _story(*steps: tuple[str, dict[str, Any]]) -> dict[str, Standing]:
    return fold(
        Entry(index, "x", kind, "2026-01-01T00:00:00.000Z", content) for index, (kind, content) in enumerate(steps)
    )


def test_a_validation_verifies_what_it_knew_of_and_nothing_else() -> None:
    standings = _story(
        ("seal", {"run": "a"}),
        ("seal", {"run": "b"}),
        ("seal", {"run": "late"}),
        ("validation", {"scope": None, "ledgers": {"x": 2}, "unclean": ["b"]}),
    )
    assert {run: standing.judgement.value for run, standing in standings.items()} == {
        "a": "verified",
        "b": "none",
        "late": "none",
    }


def test_a_validation_takes_back_what_it_finds_wanting_and_leaves_quarantine_alone() -> None:
    standings = _story(
        ("seal", {"run": "a"}),
        ("validation", {"scope": ["a"], "unclean": []}),
        ("validation", {"scope": ["a"], "unclean": ["a"]}),
        ("quarantine", {"run": "a", "codes": ["CAL-STORE-013"]}),
        ("validation", {"scope": ["a"], "unclean": []}),
    )
    assert standings["a"].judgement is Judgement.QUARANTINED
    assert standings["a"].text == "quarantined (CAL-STORE-013)"
    assert standings["a"].is_set_aside


def test_a_run_that_another_replaces_is_set_aside_and_one_that_was_put_right_is_not() -> None:
    replaced = _story(("repair", {"run": "a", "by": "b", "what": "salvaged"}))["a"]
    mended = _story(("quarantine", {"run": "a"}), ("repair", {"run": "a", "by": None, "what": "restored"}))["a"]
    assert replaced.is_set_aside
    assert replaced.text == "repaired by b"
    assert not mended.is_set_aside
    assert mended.text == "repaired"


def test_entries_of_unknown_shape_change_nothing() -> None:
    assert _story(("seal", {}), ("merge", {"runs": 3}), ("validation", {}), ("quarantine", {"run": 7})) == {}


# --- decisions ----------------------------------------------------------------------------------------------------

_FINDING = Finding(Code.FILE_CHANGED, "sealed as another", "records-main.jsonl")


@pytest.fixture
def sealed(tmp_path: Path) -> tuple[Path, str]:
    with RunWriter.create(tmp_path, "demo", {}) as run:
        run.record({"block": 0})
        run.seal({})
    return tmp_path, run.name


def test_a_run_goes_into_quarantine_and_out_of_it(sealed: tuple[Path, str]) -> None:
    store, run = sealed
    entry = governance.quarantine(store, run, [_FINDING], report="quarantine/x.md")
    assert entry is not None
    assert entry.kind == "quarantine"
    assert governance.quarantine(store, run, [_FINDING]) is None, "the same again says nothing new"
    before = governance.standing(store)[run]
    assert before.codes == ("CAL-STORE-013",)
    assert before.settles(_FINDING)
    assert not before.settles(Finding(Code.FILE_CHANGED, "sealed as another", "records-rank1.jsonl"))
    governance.release(store, run, "the disk was swapped")
    after = governance.standing(store)[run]
    assert (after.judgement, after.reason) == (Judgement.NONE, "the disk was swapped")
    assert after.settles(_FINDING), "somebody vouched for it"


def test_decisions_that_do_not_fit_are_refused(sealed: tuple[Path, str]) -> None:
    store, run = sealed
    with pytest.raises(StandingError, match="only a quarantined run"):
        governance.release(store, run, "why not")
    with pytest.raises(StandingError, match="expected findings"):
        governance.quarantine(store, run, [])
    with pytest.raises(StandingError, match="expected a reason"):
        governance.reject(store, run, "  ")
    for name in ("20200101T000000.000Z-demo-00000000", "..", "a/b", ""):
        with pytest.raises(StandingError, match="expected a run"):
            governance.reject(store, name, "no such run")
    governance.reject(store, run, "wrong fibre")
    for refused in (
        lambda: governance.reject(store, run, "again"),
        lambda: governance.quarantine(store, run, [_FINDING]),
        lambda: governance.release(store, run, "too late"),
        lambda: governance.note_repair(store, run, None, "too late"),
    ):
        with pytest.raises(StandingError) as refusal:
            refused()
        assert refusal.value.fields["standing"] == "rejected"


def test_a_run_that_was_replaced_is_not_judged_again(sealed: tuple[Path, str]) -> None:
    store, run = sealed
    governance.note_repair(store, run, "another", "salvaged")
    with pytest.raises(StandingError, match="set aside already"):
        governance.quarantine(store, run, [_FINDING])
    with pytest.raises(StandingError, match="nothing left to reject"):
        governance.reject(store, run, "why not")

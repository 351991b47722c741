"""Repair: what is recoverable is recovered as new records, twice is once, and a kill at any instant costs nothing."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from killed_repairs import KillTrials, done, tree
from test_store_validation import found, killed_run, later, loosen, make_run, tighten

from caligo.errors import StandingError
from caligo.store import State, layout, load_run
from caligo.store.audit.ledger import Ledger
from caligo.store.governing import governance
from caligo.store.governing.repair import RepairReport, repair
from caligo.store.governing.validation import validate_store


def mend(store: Path, source: Path | None = None, **when: float) -> RepairReport:
    """Say what would be done, see that nothing is, do it, and see that there is nothing left to do."""
    now = later(**when)
    before = tree(store)
    told = repair(store, dry_run=True, source=source, now=now)
    assert tree(store) == before
    report = repair(store, source=source, now=now)
    assert (report.actions, report.left, report.failed) == (told.actions, told.left, ())
    after = tree(store)
    assert repair(store, source=source, now=now).actions == ()
    assert tree(store) == after
    return report


def test_a_killed_run_is_salvaged_as_a_run_of_its_own(tmp_path: Path) -> None:
    old = killed_run(tmp_path)
    kept = tree(old)
    report = mend(tmp_path)
    assert done(report) == ["salvage"]
    assert tree(old) == kept, "the old run is only read"
    standing = governance.standing(tmp_path)[old.name]
    assert standing.by is not None
    assert standing.is_set_aside
    new = load_run(layout.runs_directory(tmp_path) / standing.by)
    assert new.state is State.SEALED
    summary = dict(new.summary or {})
    (lost,) = summary.pop("lost")
    assert summary == {"salvaged": True, "of": old.name, "records": 5, "outcomes": {"ok": 5}}
    assert lost.startswith("CAL-STORE-020 records-main.jsonl, bytes ")
    assert [record["block"] for record in new.records()] == [0, 1, 2, 3, 4]
    assert new.document["parents"] == [old.name]
    assert (new.kind, new.identity) == ("demo", load_run(old).identity)
    assert new.path.stat().st_mode & 0o077 == 0, "random values may not have been said yet"
    assert validate_store(tmp_path, now=later()).open_findings == ()


def test_a_salvage_is_the_same_wherever_it_is_made(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    old = killed_run(here)
    shutil.copytree(here, there)
    for store in (here, there):
        repair(store, now=later())
    name = governance.standing(here)[old.name].by
    assert name is not None
    assert governance.standing(there)[old.name].by == name
    assert tree(here / "runs" / name) == tree(there / "runs" / name)


def test_a_run_at_work_is_left_alone(tmp_path: Path) -> None:
    make_run(tmp_path, seal=False)
    killed_run(tmp_path)
    assert done(repair(tmp_path, now=datetime.now(UTC))) == []


def test_what_was_changed_comes_back_from_another_copy_and_only_as_it_was_sealed(tmp_path: Path) -> None:
    store, copy, bad_copy = tmp_path / "store", tmp_path / "copy", tmp_path / "bad"
    path = make_run(store)
    shutil.copytree(store, copy)
    shutil.copytree(store, bad_copy)
    sealed = tree(path)
    loosen(path)
    (path / "records-main.jsonl").write_bytes(b"junk\n")
    (path / "run.json").unlink()
    for place in (path, bad_copy / "runs" / path.name):
        loosen(place)
    (bad_copy / "runs" / path.name / "records-main.jsonl").write_bytes(b"other junk\n")
    (bad_copy / "runs" / path.name / "run.json").write_bytes(b"{}")
    tighten(path)
    os.chmod(path, 0o755)
    refused = repair(store, source=bad_copy, now=later())
    assert done(refused) == []
    assert {item.finding.where.partition(",")[0] for item in refused.left} == {"records-main.jsonl", "run.json"}
    report = mend(store, copy)
    assert done(report) == ["restore", "restore"]
    assert report.left == ()
    assert tree(path) == sealed
    assert found(store) == []
    entries = [entry for entry in Ledger.open(store).entries() if entry.kind == "repair"]
    assert [entry.content["run"] for entry in entries] == [path.name] * 2


def test_a_file_restored_among_files_without_protection_leaves_nothing_to_find(tmp_path: Path) -> None:
    store, copy = tmp_path / "store", tmp_path / "copy"
    path = make_run(store)
    shutil.copytree(store, copy)
    loosen(path)
    (path / "records-main.jsonl").write_bytes(b"junk\n")
    assert done(mend(store, copy)) == ["restore"]
    assert found(store) == []


def test_a_seal_comes_back_only_as_the_ledger_has_it(tmp_path: Path) -> None:
    store, copy = tmp_path / "store", tmp_path / "copy"
    path = make_run(store)
    shutil.copytree(store, copy)
    loosen(path)
    (path / "seal.json").write_bytes(b"{}")
    tighten(path)
    shutil.rmtree(store / "ledger")
    assert done(repair(store, source=copy, now=later())) == []
    shutil.copytree(copy / "ledger", store / "ledger")
    assert done(mend(store, copy)) == ["restore"]
    assert found(store) == []


def test_a_quarantined_run_that_is_restored_is_repaired(tmp_path: Path) -> None:
    store, copy = tmp_path / "store", tmp_path / "copy"
    path = make_run(store)
    shutil.copytree(store, copy)
    loosen(path)
    (path / "records-main.jsonl").write_bytes(b"junk\n")
    tighten(path)
    findings = validate_store(store, now=later()).of_run(path.name)
    governance.quarantine(store, path.name, findings)
    assert done(mend(store, copy)) == ["restore"]
    standing = governance.standing(store)[path.name]
    assert standing.judgement is governance.Judgement.REPAIRED
    assert not standing.is_set_aside


def test_a_rejected_run_is_left_as_it_is(tmp_path: Path) -> None:
    old = killed_run(tmp_path)
    governance.reject(tmp_path, old.name, "the fibre was cut")
    assert done(repair(tmp_path, now=later())) == []
    with pytest.raises(StandingError):
        governance.note_repair(tmp_path, old.name, "another", "salvaged")


def test_small_things_are_put_right(tmp_path: Path) -> None:
    first, second, third = make_run(tmp_path), make_run(tmp_path), make_run(tmp_path)
    os.chmod(first / "seal.json", 0o644)
    os.rename(second, second.with_name("renamed"))
    (tmp_path / "runs" / ".creating-x").mkdir()
    (tmp_path / "runs" / ".creating-x" / "run.json").write_bytes(b"{}")
    os.chmod(third, 0o755)
    (third / ".seal.json.partial").write_bytes(b"")
    for place in sorted((tmp_path / "ledger").rglob("000000002.json")):
        place.unlink()
    report = mend(tmp_path, days=2)
    assert sorted(done(report)) == ["admit", "protect", "remove", "remove", "rename"]
    assert found(tmp_path, later(days=2)) == []


def test_a_hidden_file_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    make_run(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref")
    assert done(repair(tmp_path, now=later(days=9))) == []
    assert (tmp_path / ".git" / "HEAD").exists()


def test_what_cannot_be_repaired_is_named(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    loosen(path)
    (path / "records-main.jsonl").write_bytes(b"junk\n")
    tighten(path)
    report = mend(tmp_path)
    assert report.actions == ()
    assert {item.finding.code.name for item in report.left} == {
        "RECORD_DAMAGED",
        "FILE_CHANGED",
        "RECORD_COUNT_MISMATCH",
    }


def test_a_repair_that_the_disk_refuses_is_said_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = killed_run(tmp_path)
    other = make_run(tmp_path)
    os.chmod(other / "seal.json", 0o644)
    before = {name: told for name, told in tree(tmp_path).items() if other.name not in name}

    def full(descriptor: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("caligo.store.files.write_all", full)
        report = repair(tmp_path, now=later())
    assert [action.kind for action, _ in report.failed] == ["salvage"]
    assert "no space left" in report.failed[0][1]
    assert {item.run for item in report.left} == {old.name}
    assert {name: told for name, told in tree(tmp_path).items() if other.name not in name} == before
    assert done(mend(tmp_path)) == ["salvage"]


# --- kills --------------------------------------------------------------------------------------------------------


def test_a_repair_killed_here_or_there_and_begun_again_ends_the_same(tmp_path: Path) -> None:
    trials = KillTrials(tmp_path)
    for step in (3, 17, 60, 110):
        trials.kill(step)
    assert trials.kills >= 3

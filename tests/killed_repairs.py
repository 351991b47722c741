"""Killing repairs: a process that is gone before its n-th call of the file system, and what is left of a store.

Covers: a store with something of each sort to repair, one trial, the comparison. Does not cover: which calls to try.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from test_store_validation import killed_run, loosen, make_run, tighten

from caligo.store.audit.ledger import Ledger
from caligo.store.governing.repair import RepairReport, repair
from caligo.store.governing.validation import validate_store


def tree(store: Path) -> dict[str, tuple[int, str]]:
    """Mode and content of everything below a directory."""
    told = {}
    for place in sorted(store.rglob("*")):
        content = hashlib.sha256(place.read_bytes()).hexdigest() if place.is_file() else "directory"
        told[place.relative_to(store).as_posix()] = (place.stat().st_mode & 0o7777, content)
    return told


def done(report: RepairReport) -> list[str]:
    return [action.kind for action in report.actions]


_CALLS = ("mkdir", "open", "write", "fsync", "close", "rename", "link", "unlink", "chmod", "fchmod", "rmdir")


def _repair_and_die(store: Path, source: Path, now: datetime, steps: int) -> bool:
    """Repair in a process that is gone before its n-th call of the file system; whether it came that far."""
    child = os.fork()
    if child == 0:
        try:
            left = steps

            def counted(call: Callable[..., object]) -> Callable[..., object]:
                def counting(*arguments: object, **named: object) -> object:
                    nonlocal left
                    left -= 1
                    if left < 0:
                        os._exit(9)
                    return call(*arguments, **named)

                return counting

            for name in _CALLS:
                setattr(os, name, counted(getattr(os, name)))
            repair(store, source=source, now=now)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9), f"the repair failed with {code}"
    return code == 9


def _broken_store(place: Path) -> tuple[Path, Path]:
    """A store with something of each sort to repair, and its sound copy."""
    store, copy = place / "store", place / "copy"
    changed, loose, unknown = make_run(store), make_run(store), make_run(store)
    shutil.copytree(store, copy)
    loosen(changed)
    (changed / "records-main.jsonl").write_bytes(b"junk\n")
    tighten(changed)
    os.chmod(changed, 0o755)
    os.chmod(loose / "run.json", 0o644)
    for entry in sorted((store / "ledger").rglob("000000002.json")):
        entry.unlink()
    os.rename(unknown, unknown.with_name("renamed"))
    killed_run(store)
    return store, copy


def _end(store: Path) -> dict[str, tuple[int, str]]:
    """The tree without times: the entries of the ledger by what they say, no temporary of today."""
    told = {
        name: content
        for name, content in tree(store).items()
        if not name.startswith("ledger/") and not name.endswith(".partial")
    }
    for entry in Ledger.open(store).entries():
        key = hashlib.sha256(repr((entry.kind, sorted(entry.content.items(), key=str))).encode()).hexdigest()
        count = told.get(key, (0, ""))[0]
        told[key] = (count + 1, entry.kind)
    return told


class KillTrials:
    """Trials with copies of one store.

    Args:
        place: empty directory.
    """

    def __init__(self, place: Path) -> None:
        self.kills = 0
        self._trial = place / "trial"
        self._store, self._copy = _broken_store(place)
        self._now = datetime.now(UTC) + timedelta(hours=2)
        whole = place / "whole"
        shutil.copytree(self._store, whole)
        report = repair(whole, source=self._copy, now=self._now)
        assert sorted(done(report)) == ["admit", "protect", "rename", "restore", "salvage"]
        self._expected = _end(whole)

    def kill(self, step: int) -> bool:
        """Kill a repair before a call, begin it again, and compare; whether it came to that call."""
        shutil.copytree(self._store, self._trial)
        died = _repair_and_die(self._trial, self._copy, self._now, step)
        repair(self._trial, source=self._copy, now=self._now)
        assert _end(self._trial) == self._expected, f"killed at call {step}"
        assert validate_store(self._trial, now=self._now).open_findings == (), f"killed at call {step}"
        shutil.rmtree(self._trial)
        self.kills += died
        return died

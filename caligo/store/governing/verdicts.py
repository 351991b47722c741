"""The verdict on one run directory: its bytes, its records, its protection, and physical sense.

Covers: everything that can be said of a run without the ledgers and other runs, while others may write to it. Does not
cover: where it stands, and the store around it (:mod:`.validation`).

Source: ``specs/validation.md``.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from caligo.errors import SchemaVersionError, StoreError
from caligo.store import environment, layout
from caligo.store.findings import Code, Finding
from caligo.store.governing.physics import physical_findings
from caligo.store.reader import Run, State, load_run

__all__ = ["QUIET_S", "STALE_S", "Verdict", "is_temporary", "judge_run", "without_place"]

STALE_S = 86400.0
"""Age at which a temporary file is nobody's."""

QUIET_S = 60.0
"""A writer that lives may leave things unfinished for so long."""

FORGOTTEN_S = 7 * 86400.0
"""An open run whose writer cannot be asked for (another machine or boot) is left alone for so long."""

_ATTEMPTS = 12


@dataclass(frozen=True)
class Verdict:
    """What was found in one run directory.

    Attributes:
        name: of the directory.
        findings: in the order of reading.
        run: name that ``run.json`` gives, else the seal; empty when unknown.
        seal_sha256: of the bytes of a readable ``seal.json``; None without one.
        fresh: its writer is at work, or was a moment ago.
        abandoned: nobody writes any more, and there is no ending.
    """

    name: str
    findings: tuple[Finding, ...]
    run: str = ""
    seal_sha256: str | None = None
    fresh: bool = False
    abandoned: bool = False


def judge_run(path: Path, now: datetime) -> Verdict:
    """Read every byte of one run, as often as it changes meanwhile.

    Args:
        path: its directory.
        now: time of the validation.

    Returns:
        What was found, without what the ledgers say.
    """
    verdict = Verdict(path.name, ())
    for attempt in range(_ATTEMPTS):
        before = _state_of(path)
        verdict = _judge_once(path, now)
        if not verdict.findings or before == _state_of(path):
            return verdict
        time.sleep(0.01 * 2 ** min(attempt, 5))
    if verdict.fresh:
        return Verdict(path.name, (), verdict.run, verdict.seal_sha256, fresh=True)
    return verdict


def _state_of(path: Path) -> tuple[tuple[str, int, int, int], ...]:
    """What tells that a directory has changed: names, sizes, times and inodes of its files."""
    found = []
    with suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            with suppress(OSError):
                told = entry.stat(follow_symlinks=False)
                found.append((entry.name, told.st_size, told.st_mtime_ns, told.st_ino))
    return tuple(sorted(found))


def _judge_once(path: Path, now: datetime) -> Verdict:
    try:
        run = load_run(path)
    except SchemaVersionError as error:
        return Verdict(
            path.name, (Finding(Code.NEWER_SCHEMA, without_place(error.message, path.parent), layout.RUN_FILE),)
        )
    except StoreError as error:
        if not path.exists():
            return Verdict(path.name, ())
        return Verdict(
            path.name, (Finding(Code.FOREIGN_FILE, without_place(error.message, path.parent), f"runs/{path.name}"),)
        )
    fresh, abandoned = _at_work(run, path, now)
    found = [finding for finding in run.findings if not (fresh and finding.code is Code.TORN_TAIL)]
    if run.state is not State.DAMAGED:
        with suppress(StoreError):
            found += physical_findings(run.document, run.seal, run.records(on_finding=found.append), now)
    found += _beside(path, run, now)
    name = str((run.document or run.seal or {}).get("run", ""))
    return Verdict(path.name, tuple(found), name, _seal_digest(path, run), fresh, abandoned)


def is_temporary(name: str) -> bool:
    """Whether caligo gives such names to what it has not finished."""
    return name.startswith(".") and (name.startswith(".creating-") or name.endswith(".partial"))


def without_place(text: str, place: Path) -> str:
    """A message without where a directory lies, so that copies of a store have the same findings."""
    return text.replace(f"{place}{os.sep}", "")


def _seal_digest(path: Path, run: Run) -> str | None:
    if run.seal is None:
        return None
    try:
        return hashlib.sha256((path / layout.SEAL_FILE).read_bytes()).hexdigest()
    except OSError:
        return None


def _at_work(run: Run, path: Path, now: datetime) -> tuple[bool, bool]:
    """Whether a writer is at work on a run, and whether it was left without an ending."""
    ended = run.seal is not None or run.interruption is not None
    running = environment.process_runs(run.document["process"]) if run.document else None
    quiet_s = _quiet_s(path, now)
    if ended:
        return running is True and quiet_s < QUIET_S, False
    if running is True:
        return True, False
    gone = bool(run.document) and quiet_s >= (QUIET_S if running is False else FORGOTTEN_S)
    return not gone, gone


def _quiet_s(path: Path, now: datetime) -> float:
    """Seconds since something in a directory changed; never negative."""
    latest = 0.0
    with suppress(OSError):
        latest = path.stat().st_mtime
        for name in os.listdir(path):
            with suppress(OSError):
                latest = max(latest, (path / name).lstat().st_mtime)
    return max(0.0, now.timestamp() - latest)


def _beside(path: Path, run: Run, now: datetime) -> Iterator[Finding]:
    """What belongs to no run, and files that lost their protection."""
    try:
        names = sorted(os.listdir(path))
    except OSError:
        return
    writable = []
    for name in names:
        file = path / name
        try:
            told = file.lstat()
        except OSError:
            continue
        if name.startswith("."):
            if is_temporary(name) and now.timestamp() - told.st_mtime >= STALE_S:
                yield Finding(Code.STALE_TEMPORARY, "a write that was never finished", name)
        elif not stat.S_ISREG(told.st_mode):
            yield Finding(Code.FOREIGN_FILE, "it is no plain file", name)
        elif run.seal is not None and told.st_mode & 0o222:
            writable.append(name)
    # Where all of them are writable, the file system keeps no such bits, or a copy did not.
    if writable and len(writable) < len([name for name in names if not name.startswith(".")]):
        for name in writable:
            yield Finding(Code.NOT_PROTECTED, "it belongs to a sealed run and may be written", name)

"""Repair: what can be put right without guessing, as new records; nothing that was sealed is ever edited.

Covers: planning what is to be done from what a validation finds, doing it, doing it again after a kill. Does not cover:
finding (:mod:`.validation`), the new run that takes the place of a killed one
(:mod:`.salvage`), copies of whole runs (:mod:`caligo.store.merge`).

A plan follows from the store alone, so it can be shown before it is carried out. Each action is either done whole or
not at all, and doing all of them again changes nothing: a repair that was killed is simply started again. What an
action needs to be remembered is in the ledger before it shows in the files.

Source: ``specs/validation.md``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from caligo.errors import CaligoError, StoreError
from caligo.store import files, layout
from caligo.store.findings import Code, Finding
from caligo.store.governing.governance import NO_STANDING, Judgement, LiveStandings, note_repair
from caligo.store.governing.salvage import plan_salvage, salvage
from caligo.store.governing.validation import Ledgers, StoreFinding, Validation, validate_store

__all__ = ["REPAIRABLE", "RESTORABLE", "Action", "RepairReport", "repair"]

RESTORABLE = frozenset(
    {
        Code.RUN_DOCUMENT_MISSING,
        Code.RUN_DOCUMENT_DAMAGED,
        Code.RUN_DOCUMENT_INCONSISTENT,
        Code.IDENTITY_MISMATCH,
        Code.SEAL_DAMAGED,
        Code.SEAL_FOREIGN,
        Code.SEAL_NOT_ADMITTED,
        Code.FILE_MISSING,
        Code.FILE_CHANGED,
        Code.RECORD_COUNT_MISMATCH,
        Code.INTERRUPTION_DAMAGED,
        Code.RECORD_DAMAGED,
        Code.RECORD_OUT_OF_SEQUENCE,
        Code.RECORD_END_DAMAGED,
        Code.COMPACTED_RECORDS_DAMAGED,
    }
)
"""Codes that a file of a sealed run has, and that end when the file comes back from a copy as it was sealed."""

REPAIRABLE = frozenset(
    {
        Code.DIRECTORY_RENAMED,
        Code.TORN_TAIL,
        Code.COMPACTION_UNFINISHED,
        Code.LINES_LEFT_OVER,
        Code.NOT_ADMITTED,
        Code.STALE_TEMPORARY,
        Code.WRITER_GONE,
        Code.NOT_PROTECTED,
    }
)
"""Codes that are repaired from what is there."""


@dataclass(frozen=True)
class Action:
    """One thing to do.

    Attributes:
        kind: ``restore``, ``remove``, ``protect``, ``admit``, ``salvage``, ``rename``.
        run: name of the run directory; None for something beside the runs.
        what: one sentence.
        codes: of the findings that it ends.
    """

    kind: str
    run: str | None
    what: str
    codes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The action as a JSON object."""
        return {"action": self.kind, "run": self.run, "what": self.what, "codes": list(self.codes)}


@dataclass(frozen=True)
class RepairReport:
    """What a repair did, or would do.

    Attributes:
        store: absolute path.
        dry_run: nothing was changed.
        actions: in order.
        failed: those that could not be done, each with why.
        left: findings that no action ends, those of failed actions among them; settled ones are not here.
    """

    store: Path
    dry_run: bool
    actions: tuple[Action, ...]
    failed: tuple[tuple[Action, str], ...]
    left: tuple[StoreFinding, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "store": str(self.store),
            "dry_run": self.dry_run,
            "actions": [action.to_json() for action in self.actions],
            "failed": [{**action.to_json(), "why": why} for action, why in self.failed],
            "left": [item.to_json() for item in self.left],
        }


@dataclass(frozen=True)
class _Step:
    """An action, the findings that it ends, and how it is done."""

    action: Action
    ends: tuple[StoreFinding, ...]
    do: Callable[[], object]


def repair(
    store: str | os.PathLike[str],
    runs: Iterable[str | os.PathLike[str]] | None = None,
    *,
    dry_run: bool = False,
    source: str | os.PathLike[str] | None = None,
    workers: int = 1,
    now: datetime | None = None,
) -> RepairReport:
    """Put right what can be put right.

    Args:
        store: directory of the store.
        runs: names of the runs to repair; None: all, and what lies beside them.
        dry_run: only say what would be done.
        source: another copy of the store, to take files from whose SHA-256 is the sealed one.
        workers: processes that read runs.
        now: time of the repair; None: this moment.

    Returns:
        What was done, or would be; the same actions either way.

    Raises:
        StoreError: the store cannot be read.
        ResourceError: a worker was killed.
    """
    base = Path(store).absolute()
    found = validate_store(base, runs, workers=workers, now=now)
    plan = _Plan(base, None if source is None else Path(source).absolute(), found, LiveStandings(base))
    steps = plan.steps()
    failed: list[tuple[Action, str]] = []
    ended: set[tuple[str | None, Finding]] = set()
    for step in steps:
        if not dry_run:
            try:
                step.do()
            except CaligoError as error:
                failed.append((step.action, error.message))
                continue
            except OSError as error:
                failed.append((step.action, files.storage_error(error, step.action.kind, base).message))
                continue
        ended.update((item.run, item.finding) for item in step.ends)
    left = tuple(item for item in found.open_findings if (item.run, item.finding) not in ended)
    return RepairReport(base, dry_run, tuple(step.action for step in steps), tuple(failed), left)


class _Plan:
    """What is to be done, from findings; looks, and changes nothing."""

    def __init__(self, store: Path, source: Path | None, found: Validation, live: LiveStandings) -> None:
        self.store = store
        self.source = source
        self.live = live
        self.standings = live.read()
        self.beside = [item for item in found.open_findings if item.run is None]
        self.of_runs: dict[str, list[StoreFinding]] = {}
        for item in found.open_findings:
            if item.run is not None:
                self.of_runs.setdefault(item.run, []).append(item)
        # A quarantined run may be restored too; its findings are settled, and that does not mend its files.
        for item in found.findings:
            name = item.known_as or item.run
            if item.settled and item.run is not None and self._is_quarantined(name):
                self.of_runs.setdefault(item.run, []).append(item)

    @cached_property
    def ledgers(self) -> Ledgers:
        """What the ledgers say, read when it is first needed."""
        return Ledgers(self.store)

    def _is_quarantined(self, run: str | None) -> bool:
        return self.standings.get(run or "", NO_STANDING).judgement is Judgement.QUARANTINED

    def steps(self) -> list[_Step]:
        """In the order in which they are done: beside the runs first, then run by run, renaming last."""
        steps = [
            self._remove(None, self.store / item.finding.where, item)
            for item in self.beside
            if item.finding.code is Code.STALE_TEMPORARY
        ]
        for run in sorted(self.of_runs):
            steps += self._of_run(run, self.of_runs[run])
        return steps

    def _of_run(self, run: str, items: list[StoreFinding]) -> Iterator[_Step]:
        path = layout.runs_directory(self.store) / run
        by_code: dict[Code, list[StoreFinding]] = {}
        for item in items:
            by_code.setdefault(item.finding.code, []).append(item)
        restored = list(self._restore(run, path, items))
        yield from restored
        for code in (Code.STALE_TEMPORARY, Code.LINES_LEFT_OVER):
            for item in by_code.get(code, ()):
                yield self._remove(run, path / item.finding.where, item)
        if Code.WRITER_GONE in by_code:
            for item in by_code.get(Code.COMPACTION_UNFINISHED, ()):
                yield self._remove(run, path / item.finding.where, item)
            yield from self._salvage(run, path, items)
        if Code.NOT_PROTECTED in by_code:
            ends = tuple(by_code[Code.NOT_PROTECTED])
            names = [item.finding.where for item in ends]
            what = f"take the permission to write away: {', '.join(names)}"
            yield _step("protect", run, what, ends, lambda: _protect(path, names))
        if Code.NOT_ADMITTED in by_code and self._sound(items, restored):
            ends = tuple(by_code[Code.NOT_ADMITTED])
            yield _step("admit", run, "enter its seal in the ledger", ends, lambda: _admit(path, self.ledgers))
        if Code.DIRECTORY_RENAMED in by_code:
            yield from self._rename(run, path, by_code[Code.DIRECTORY_RENAMED])

    def _sound(self, items: list[StoreFinding], steps: list[_Step]) -> bool:
        """Whether no damage is left of a run after some steps."""
        ended = {item.finding for step in steps for item in step.ends}
        return all(item.finding.severity == "note" or item.finding in ended for item in items)

    def _remove(self, run: str | None, path: Path, item: StoreFinding) -> _Step:
        where = path.relative_to(self.store).as_posix()
        return _step("remove", run, f"remove {where}: {item.finding.what}", (item,), lambda: _remove(path))

    def _salvage(self, run: str, path: Path, items: list[StoreFinding]) -> Iterator[_Step]:
        made = plan_salvage(path)
        if made is None:
            return
        name, records = made
        what = f"seal its {records} whole records as {name}, which takes its place"
        ends = tuple(item for item in items if item.finding.code not in (Code.STALE_TEMPORARY, Code.DIRECTORY_RENAMED))
        yield _step("salvage", run, what, ends, lambda: salvage(self.store, path, self.live))

    def _rename(self, run: str, path: Path, items: list[StoreFinding]) -> Iterator[_Step]:
        name = items[0].known_as
        target = path.with_name(name)
        if layout.RUN_NAME.fullmatch(name) and not target.exists():
            yield _step(
                "rename", run, f"rename the directory back to {name}", tuple(items), lambda: _rename(path, target)
            )

    # --- from another copy --------------------------------------------------------------------------------------------

    def _restore(self, run: str, path: Path, items: list[StoreFinding]) -> Iterator[_Step]:
        """Files of a sealed run that are not what was sealed, and are in the other copy."""
        if self.source is None:
            return
        relevant = [item for item in items if item.finding.code in (*RESTORABLE, Code.TORN_TAIL)]
        if not relevant:
            return
        name = relevant[0].known_as or run
        wanted = self._wanted(name, path)
        for file, digest in wanted.items():
            copy = layout.runs_directory(self.source) / name / file
            here = _sha256(path / file)
            if here == digest or _sha256(copy) != digest:
                continue
            ends = tuple(item for item in relevant if _is_about(item.finding, file))
            found = "is missing" if here is None else f"has {here}"
            what = f"restore {file} from the other copy, SHA-256 {digest}; here it {found}"
            restoration = _Restoration(self.store, name, copy, path / file, digest, what, self.live, self.ledgers)
            yield _step("restore", run, what, ends, restoration)

    def _wanted(self, run: str, path: Path) -> dict[str, str]:
        """SHA-256 of each file of a sealed run, by the seal here, or by the one that the ledger has."""
        seals = self.ledgers.seals(run)
        places = [path, layout.runs_directory(self.source or self.store) / run]
        for place in places:
            digest = _sha256(place / layout.SEAL_FILE)
            if digest is None or (seals and digest not in seals) or (not seals and place is not path):
                continue
            with suppress(OSError, files.DocumentError):
                seal = files.read_document(place / layout.SEAL_FILE, layout.SEAL_FORM)
                if seal.get("run") == run and isinstance(seal.get("files"), dict):
                    listed = {
                        name: entry["sha256"]
                        for name, entry in sorted(seal["files"].items())
                        if isinstance(entry, dict) and isinstance(entry.get("sha256"), str) and Path(name).name == name
                    }
                    return {**listed, layout.SEAL_FILE: digest}
        return {}


def _is_about(finding: Finding, file: str) -> bool:
    """Whether a finding ends when a file is as it was sealed."""
    if finding.code is Code.SEAL_NOT_ADMITTED:
        return file == layout.SEAL_FILE
    return finding.where.partition(",")[0] == file


def _step(kind: str, run: str | None, what: str, ends: tuple[StoreFinding, ...], do: Callable[[], object]) -> _Step:
    codes = tuple(sorted({item.finding.code.value for item in ends}))
    return _Step(Action(kind, run, what, codes), ends, do)


def _sha256(path: Path) -> str | None:
    """SHA-256 of a plain file; None where there is none, or it cannot be read."""
    try:
        return None if path.is_symlink() or not path.is_file() else files.file_digest(path)[1]
    except OSError:
        return None


# --- doing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Restoration:
    """One file of a sealed run put back from a copy: checked while it is copied, named when it is whole."""

    store: Path
    run: str
    copy: Path
    target: Path
    digest: str
    what: str
    live: LiveStandings
    ledgers: Ledgers

    def __call__(self) -> None:
        temporary = self.target.with_name(f".{self.target.name}.partial")
        mode = self.target.parent.stat().st_mode & 0o777
        with files.storing("restore a file", self.target):
            os.chmod(self.target.parent, mode | 0o700)
            try:
                self._copy(temporary)
                self._remember()
                os.rename(temporary, self.target)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise
            files.sync_directory(self.target.parent)
            self._protect_others()
            os.chmod(self.target.parent, mode)

    def _protect_others(self) -> None:
        """Beside a file that may not be written, those that may are a finding: a copy without modes has such."""
        _protect(self.target.parent, [entry.name for entry in os.scandir(self.target.parent) if _is_writable(entry)])

    def _copy(self, temporary: Path) -> None:
        digest = hashlib.sha256()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with open(self.copy, "rb", buffering=0) as source:
                while piece := source.read(1 << 20):
                    digest.update(piece)
                    files.write_all(descriptor, piece)
            if digest.hexdigest() != self.digest:
                raise StoreError(
                    f"expected SHA-256 {self.digest} of {self.copy}, got {digest.hexdigest()}; it changed while it was "
                    "read, start the repair again",
                    path=str(self.copy),
                )
            os.fchmod(descriptor, 0o444)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _remember(self) -> None:
        """The ledger has it before the file has its name, once however often the repair is begun."""
        self.live.read()  # a ledger that cannot be read whole takes no entry
        self.ledgers.read()
        if {"run": self.run, "by": None, "what": self.what} not in self.ledgers.repairs():
            note_repair(self.store, self.run, None, self.what, live=self.live)


def _remove(path: Path) -> None:
    """Remove a file, or a directory with what it holds; none is as good."""
    with files.storing("remove", path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        files.sync_directory(path.parent)


def _is_writable(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False) and bool(entry.stat(follow_symlinks=False).st_mode & 0o222)


def _protect(path: Path, names: Iterable[str]) -> None:
    with files.storing("protect", path):
        for name in names:
            os.chmod(path / name, 0o444)


def _admit(path: Path, ledgers: Ledgers) -> None:
    """Enter a seal in the ledger, unless it is there."""
    from caligo.store.audit.ledger import append_seal, seal_content

    content = seal_content(path)
    ledgers.read()
    if content["seal_sha256"] not in ledgers.seals(content["run"]):
        append_seal(path)


def _rename(path: Path, target: Path) -> None:
    with files.storing("rename", path):
        if target.exists():
            raise StoreError(f"expected no run at {target}, there is one now; move one of the two away")
        os.rename(path, target)
        files.sync_directory(path.parent)

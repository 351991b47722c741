"""Merging stores: shards of many jobs and clusters become one store, whatever the order, however often.

Covers: runs, the versions of a run that went different ways, interruption at any instant, the report. Does not cover:
which copy contains which (:mod:`caligo.store.versions`), ledgers of other stores
(:mod:`caligo.store.audit.merge_ledgers`).

A store holds of each run the maximal copies: the one to show in ``runs/<name>``, the others in
``conflicts/<name>/<digest>``. Merging adds the copies of the sources and removes what another copy contains, so the
result does not depend on order, grouping or repetition, and nothing that was sealed is lost. A copy comes in under a
hidden name, durable, and is renamed. One that is given up is hidden, and removed only when a copy in place is then seen
to contain it: where several merges go into one target, none removes what another brought, since of two that hide copies
of each other at least one sees so. A merge that is killed is completed by the same command. Sources are only read, and
may be written to meanwhile.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from caligo.errors import ConfigError, StoreError
from caligo.store import environment, files, layout
from caligo.store.audit.merge_ledgers import LedgerMerge, merge_ledgers, record_merge
from caligo.store.findings import Code, Finding
from caligo.store.versions import (
    DIGEST_DIGITS,
    ChangedError,
    NotPlainError,
    Version,
    maximal_versions,
    read_version,
)

_STAGED, _GIVEN_UP, _REMOVED = ".merging-", ".giving-up-", ".removing-"
_TRIES = 10
_NUMBERS = itertools.count()


@dataclass
class MergeReport:
    """What a merge did, or (``dry_run``) would do.

    Attributes:
        into: the target store.
        dry_run: whether nothing was written.
        added: names of runs that the target did not have.
        replaced: names of runs of which a copy came that contains the target's, or is to be shown instead of it.
        unchanged: number of runs of the sources that the target had.
        conflicts: names of runs that have several versions now.
        taken: source store -> how many of its copies came in.
        ledgers: ledgers of other stores.
        findings: what stands in the way of a clean merge; where it is, is a path.
    """

    into: Path
    dry_run: bool
    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    unchanged: int = 0
    conflicts: list[str] = field(default_factory=list)
    taken: dict[str, int] = field(default_factory=dict)
    ledgers: list[LedgerMerge] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether the target is not what it was."""
        return bool(self.added or self.replaced or any(self.taken.values()) or any(one.taken for one in self.ledgers))

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "into": str(self.into),
            "dry_run": self.dry_run,
            "added": self.added,
            "replaced": self.replaced,
            "unchanged": self.unchanged,
            "conflicts": self.conflicts,
            "taken": self.taken,
            "ledgers": [vars(one) for one in self.ledgers],
            "findings": [finding.to_json() for finding in self.findings],
        }


def merge_stores(
    sources: Sequence[str | os.PathLike[str]], into: str | os.PathLike[str], *, dry_run: bool = False
) -> MergeReport:
    """Bring the runs and ledgers of stores into one.

    Args:
        sources: stores; only read.
        into: the target, made when missing; its own ledger gets one entry ``merge`` for each source that brought
            something.
        dry_run: look only.

    Returns:
        What came in, and what could not be ordered.

    Raises:
        ConfigError: no source, or a source is the target.
        StoreError: a source is no store, or a store cannot be read or written.
        SchemaVersionError: a newer caligo wrote a run.
        ResourceError: the disk or the quota is full; the same command goes on from there.
    """
    target = Path(into).absolute()
    places = [_checked_source(Path(source).absolute(), target) for source in sources]
    if not places:
        raise ConfigError("expected a store to merge, got none; name one or more")
    report = MergeReport(target, dry_run)
    if not dry_run:
        clear_leftovers(target, report)
    names: dict[str, None] = {}
    origins: list[tuple[Path, dict[str, list[Path]]]] = []
    for place in places:
        found = _copies(place, report)
        origins.append((place, found))
        names.update(dict.fromkeys(found))
        report.taken.setdefault(str(place), 0)
    conflicts = (path.name for path in _directories(layout.conflicts_directory(target)))
    names.update((name, None) for name in conflicts if layout.RUN_NAME.fullmatch(name))
    for name in sorted(names):
        offered = [(place, path) for place, found in origins for path in found.get(name, ())]
        merge_run(name, offered, report)
    for place in dict.fromkeys(places):
        merge_ledgers(place, target, report)
    if report.changed and not dry_run:
        record_merge(places, target, report)
    return report


def _checked_source(source: Path, target: Path) -> Path:
    if not any((source / part).is_dir() for part in ("runs", "conflicts", "ledger")):
        raise StoreError(f"expected a store, {source} has no runs; name the directory that holds `runs`")
    if source.resolve() == target.resolve():
        raise ConfigError(f"expected another store than the target, got {source}; leave it out")
    return source


# --- where copies lie -------------------------------------------------------------------------------------------------


def _copies(store: Path, report: MergeReport) -> dict[str, list[Path]]:
    """Name of a run -> the directories of its copies in a store, the one that is shown first."""
    found: dict[str, list[Path]] = {}
    for path in _directories(layout.runs_directory(store)):
        name = path.name if layout.RUN_NAME.fullmatch(path.name) else _told_name(path)
        if name is not None:
            found.setdefault(name, []).append(path)
        else:
            report.findings.append(Finding(Code.NOT_MERGED, "it is not named as a run, and tells no name", str(path)))
    for run in _directories(layout.conflicts_directory(store)):
        if layout.RUN_NAME.fullmatch(run.name):
            found.setdefault(run.name, []).extend(_directories(run))
    return found


def _told_name(path: Path) -> str | None:
    """The name that a renamed run tells."""
    with suppress(OSError, files.DocumentError):
        name = files.read_document(path / layout.RUN_FILE, layout.RUN_FORM).get("run")
        if isinstance(name, str) and layout.RUN_NAME.fullmatch(name):
            return name
    return None


def _directories(place: Path) -> Iterator[Path]:
    with files.storing("list the store", place):
        try:
            with os.scandir(place) as entries:
                names = sorted(
                    entry.name
                    for entry in entries
                    if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
                )
        except FileNotFoundError:
            return
    yield from (place / name for name in names)


# --- one run ----------------------------------------------------------------------------------------------------------


def merge_run(name: str, offered: list[tuple[Path, Path]], report: MergeReport) -> None:
    """Merge the copies of one run.

    Args:
        name: of the run.
        offered: source store and directory of each copy that the sources have.
        report: gets what was done.
    """
    for _ in range(_TRIES):
        try:
            _try_run(name, offered, report)
        except (ChangedError, FileNotFoundError):
            continue
        except OSError as error:
            raise files.storage_error(error, f"merge {name}", report.into) from error
        return
    where = "; ".join(str(path) for _, path in offered)
    report.findings.append(Finding(Code.SOURCE_CHANGING, f"{name} changed each time it was read", where))


def _try_run(name: str, offered: list[tuple[Path, Path]], report: MergeReport) -> None:
    findings: list[Finding] = []
    own = [version for path in _own_copies(report.into, name) if (version := read_version(path)) is not None]
    brought: list[Version] = []
    for _, path in offered:
        try:
            version = read_version(path)
        except NotPlainError as error:
            findings.append(Finding(Code.NOT_MERGED, error.message, str(path)))
            continue
        except OSError as error:
            if isinstance(error, FileNotFoundError) and path.exists():
                raise
            findings.append(Finding(Code.UNREADABLE_FILE, f"it cannot be read: {error.strerror}", str(path)))
            continue
        if version is not None:
            brought.append(version)
    kept = maximal_versions((*own, *brought))
    if kept:
        plan = _Plan(report.into, name, kept, {version.path: version.digest for version in own})
        if not report.dry_run:
            plan.carry_out()
        plan.tell(offered, report)
    report.findings += findings


def _own_copies(store: Path, name: str) -> list[Path]:
    shown = layout.runs_directory(store) / name
    return [path for path in (shown, *_directories(layout.conflicts_directory(store) / name)) if path.is_dir()]


class _Plan:
    """Where the copies of one run belong in the target, and how they get there."""

    def __init__(self, store: Path, name: str, kept: list[Version], there: dict[Path, str]) -> None:
        self.store = store
        self.name = name
        self.kept = kept
        self.conflicts = layout.conflicts_directory(store) / name
        self.shown = layout.runs_directory(store) / name
        self.before = dict(there)
        self.there = there
        """Directory -> digest of what lies in it, of the target's copies as they are moved."""

    def _place(self, digest: str) -> Path:
        return self.conflicts / digest[:DIGEST_DIGITS]

    def tell(self, offered: list[tuple[Path, Path]], report: MergeReport) -> None:
        """Enter what is done in the report."""
        had = self.before.get(self.shown)
        if had is None:
            report.added.append(self.name)
        elif had != self.kept[0].digest:
            report.replaced.append(self.name)
        else:
            report.unchanged += bool(offered)
        for version in self.kept:
            if version.digest not in self.before.values():
                store = next(store for store, path in offered if path == version.path)
                report.taken[str(store)] = report.taken.get(str(store), 0) + 1
        for version in self.kept[1:]:
            what = f"another version of {self.name}, neither contains the other"
            where = str(self._place(version.digest).relative_to(self.store))
            report.findings.append(Finding(Code.VERSIONS_CONFLICT, what, where))
        if len(self.kept) > 1:
            report.conflicts.append(self.name)

    def carry_out(self) -> None:
        """Bring the copies to their places. Each step leaves a store that the next merge completes."""
        staged: dict[str, Path] = {}
        try:
            for version in self.kept:
                if version.digest not in self.there.values():
                    staged[version.digest] = _stage(self.store, version)
            for version in self.kept[1:]:
                place = self._place(version.digest)
                if version.digest in staged:
                    _rename(staged[version.digest], place)
                    self.there[place] = version.digest
                elif version.path not in (place, self.shown):
                    self._move(version.path, place)
            self._show(self.kept[0], staged.get(self.kept[0].digest))
        finally:
            for stage in staged.values():
                shutil.rmtree(stage, ignore_errors=True)
        wanted = {self.shown, *(self._place(version.digest) for version in self.kept[1:])}
        for path in self.there:
            if path not in wanted:
                _give_up(self.store, self.name, path)
        with suppress(OSError):
            self.conflicts.rmdir()

    def _show(self, winner: Version, stage: Path | None) -> None:
        digest = self.there.get(self.shown)
        if digest == winner.digest:
            return
        if digest is not None:
            # What was shown goes to the conflicts, where it can be seen until the winner is in place.
            if self.there.get(self._place(digest)) == digest:
                _give_up(self.store, self.name, self.shown)
                del self.there[self.shown]
            else:
                self._move(self.shown, self._place(digest))
        if stage is None:
            self._move(winner.path, self.shown)
        else:
            _rename(stage, self.shown)

    def _move(self, path: Path, place: Path) -> None:
        _rename(path, place)
        self.there[place] = self.there.pop(path)


def _rename(path: Path, place: Path) -> None:
    missing = [directory for directory in (place.parent, *place.parent.parents) if not directory.exists()]
    place.parent.mkdir(parents=True, exist_ok=True)
    for directory in missing:
        files.sync_directory(directory.parent)
    if os.path.lexists(place):
        _make_way(place)
    try:
        os.rename(path, place)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise ChangedError(place) from error
        raise
    files.sync_directory(place.parent)
    if path.parent != place.parent:
        files.sync_directory(path.parent)


def _make_way(place: Path) -> None:
    """Deal with what lies where a copy belongs: another merge's copy, which is put where the next try finds it.

    Raises:
        ChangedError: it is a copy of a run; read the target again.
        StoreError: it is something else.
    """
    version = read_version(place) if place.is_dir() and not place.is_symlink() else None
    if version is None:
        raise StoreError(f"expected nothing at {place} yet; move it out of the store, then merge again")
    if place.parent.parent.name == "conflicts" and version.short_digest != place.name:
        os.rename(place, place.with_name(f"{version.short_digest}-{_token()}"))
    raise ChangedError(place)


def hidden_directory(store: Path) -> Path:
    """Make a directory of this process in a store, hidden, private, and removed by the next merge if it is left."""
    runs = layout.runs_directory(store)
    runs.mkdir(parents=True, exist_ok=True)
    place = runs / f"{_STAGED}{_token()}"
    place.mkdir(0o700)
    return place


def _stage(store: Path, version: Version) -> Path:
    """A durable copy under a hidden name."""
    stage = hidden_directory(store)
    try:
        for name, stamp in version.files.items():
            _copy_file(version.path / name, stage / name, stamp.bytes, stamp.sha256)
            if version.sealed:
                with suppress(OSError):
                    os.chmod(stage / name, 0o444)
        files.sync_directory(stage)
        if version.sealed:
            with suppress(OSError):
                os.chmod(stage, stage.parent.stat().st_mode & 0o777)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    return stage


def _copy_file(source: Path, target: Path, size: int, sha256: str) -> None:
    """Copy the first bytes of a file.

    Raises:
        ChangedError: they are not what they were.
        OSError: as the system says.
    """
    digest, left = hashlib.sha256(), size
    outgoing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        incoming = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            while left and (piece := os.read(incoming, min(left, 1 << 20))):
                digest.update(piece)
                files.write_all(outgoing, piece)
                left -= len(piece)
        finally:
            os.close(incoming)
        if left or digest.hexdigest() != sha256:
            raise ChangedError(source)
        os.fsync(outgoing)
    finally:
        os.close(outgoing)


def _give_up(store: Path, name: str, path: Path) -> None:
    """Remove a copy that another contains: it leaves its place at once, and the disk after that."""
    hidden = layout.runs_directory(store) / f"{_GIVEN_UP}{_token()}.{name}"
    layout.runs_directory(store).mkdir(parents=True, exist_ok=True)
    os.rename(path, hidden)
    files.sync_directory(path.parent)
    _remove(store, name, hidden)


def _remove(store: Path, name: str, hidden: Path) -> None:
    """Remove a hidden copy if a copy in place supersedes it, else put it back.

    Raises:
        ChangedError: it was put back: another merge changed the target since it was read.
    """
    copy = read_version(hidden)
    if copy is not None:
        try:
            others = [read_version(path) for path in _own_copies(store, name)]
            superseded = any(other is not None and other.supersedes(copy) for other in others)
        except (ChangedError, FileNotFoundError):
            superseded = False
        if not superseded:
            _rename(hidden, layout.conflicts_directory(store) / name / f"{copy.short_digest}-{_token()}")
            raise ChangedError(hidden)
    removed = hidden.with_name(f"{_REMOVED}{_token()}")
    os.rename(hidden, removed)
    shutil.rmtree(removed)


# --- what a killed merge leaves ---------------------------------------------------------------------------------------


def _token() -> str:
    process = environment.this_process()
    return f"{process['boot_id']}.{process['pid']}.{process['start_ticks']}.{next(_NUMBERS)}"


def _writer(name: str) -> tuple[dict[str, Any], str | None] | None:
    """Which process made a hidden directory, and the run of a copy that is given up; None where the name is odd."""
    for start in (_STAGED, _GIVEN_UP, _REMOVED):
        if name.startswith(start):
            boot_id, *parts = name.removeprefix(start).split(".", 4)
            run = parts.pop() if start == _GIVEN_UP and len(parts) == 4 else None
            if len(parts) == 3 and all(part.isdecimal() for part in parts) and (run is None) == (start != _GIVEN_UP):
                return {"boot_id": boot_id, "pid": int(parts[0]), "start_ticks": int(parts[1])}, run
    return None


def clear_leftovers(store: Path, report: MergeReport) -> None:
    """Finish what dead merges of this machine left; name what may be another machine's."""
    runs = layout.runs_directory(store)
    with files.storing("clear what a killed merge left", runs):
        for path in unfinished_merges(store):
            process, run = _writer(path.name) or (None, None)
            if process is not None and environment.process_runs(process) is False:
                # Another merge may do the same at this moment; a copy that is put back is seen to below.
                with suppress(FileNotFoundError, ChangedError):
                    _remove(store, run, path) if run else shutil.rmtree(path)
            elif process is None or environment.process_runs(process) is None:
                what = "a merge of another machine, or before the last boot, works here or was killed"
                report.findings.append(Finding(Code.MERGE_UNFINISHED, what, str(path)))


def unfinished_merges(store: Path) -> list[Path]:
    """The hidden directories that merges into a store work in or left, in order of name."""
    try:
        names = os.listdir(layout.runs_directory(store))
    except (FileNotFoundError, NotADirectoryError):
        return []
    hidden = [name for name in sorted(names) if name.startswith((_STAGED, _GIVEN_UP, _REMOVED))]
    return [layout.runs_directory(store) / name for name in hidden]


def find_conflicts(store: str | os.PathLike[str]) -> list[Finding]:
    """The versions of runs and the branches of ledgers that merges kept aside, in order of path."""
    base = Path(store).absolute()
    found: list[Finding] = []
    for run in _directories(layout.conflicts_directory(base)):
        for path in _directories(run):
            if layout.RUN_NAME.fullmatch(run.name):
                what = f"another version of {run.name}, neither contains the other"
                found.append(Finding(Code.VERSIONS_CONFLICT, what, str(path.relative_to(base))))
            elif run.name.startswith("ledger-"):
                what = f"a branch of the ledger {run.name.removeprefix('ledger-')}"
                found.append(Finding(Code.MERGED_LEDGER_FORKED, what, str(path.relative_to(base))))
    return found

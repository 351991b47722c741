"""Merging ledgers: the entries and checkpoints of other stores come along with their runs.

Covers: taking over entries and checkpoints, branches of a ledger that forked, the entry that tells of a merge. Does not
cover: runs (:mod:`caligo.store.merge`), what entries mean, proofs.

An entry has one place and never changes, so a longer copy of a ledger extends a shorter one. Where two copies go apart,
one of them was rewritten or written to twice: the entries that came first stay, the others are kept as a branch under
``conflicts/ledger-<origin>/<hash of the first entry that differs>/``, and it is told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from caligo.errors import LedgerCorruptError
from caligo.store import files, layout
from caligo.store.audit.ledger import STORE_FILE, Ledger, foreign_ledger, ledgers, store_origin
from caligo.store.audit.notes import Note, NoteError, parse_checkpoint
from caligo.store.findings import Code, Finding

if TYPE_CHECKING:
    from caligo.store.merge import MergeReport

_BRANCH_DIGITS = 16


@dataclass(frozen=True)
class LedgerMerge:
    """What one merge took over of one foreign ledger.

    Attributes:
        origin: of the ledger.
        taken: entries that were not there before.
        size: entries now.
        root: Merkle tree hash over them, hexadecimal; None where the ledger cannot be read whole.
    """

    origin: str
    taken: int
    size: int
    root: str | None


def merge_ledgers(source: Path, target: Path, report: MergeReport) -> None:
    """Take over every ledger of a source.

    Args:
        source: store.
        target: store.
        report: gets what was taken, and what does not fit.

    Raises:
        StoreError: a ledger cannot be read or written.
        ResourceError: the disk or the quota is full.
    """
    for ledger in ledgers(source):
        own = (target / STORE_FILE).exists() and store_origin(target) == ledger.origin
        local = Ledger.open(target) if own else foreign_ledger(target, ledger.origin)
        _merge_ledger(ledger, local, target, report)
    _merge_branches(layout.conflicts_directory(source), layout.conflicts_directory(target), report)


def _merge_ledger(ledger: Ledger, local: Ledger, target: Path, report: MergeReport) -> None:
    taken, forked_at, place = 0, None, local
    size, have = ledger.size(), local.size()
    common = min(size, have)
    # An entry holds the hash of the one before it: where the last common one is the same, so are all before it.
    first = common if common and _same(ledger, local, common - 1) else 0
    for index in range(first, size):
        try:
            data = ledger.read(index)
        except LedgerCorruptError as error:
            report.findings.append(Finding(Code.NOT_MERGED, error.message, str(ledger.directory)))
            break
        if report.dry_run:
            if index >= have:
                taken += 1
            elif local.read(index) != data:
                forked_at = index
                break
            continue
        try:
            taken += place.adopt(data)
        except LedgerCorruptError as error:
            if error.fields.get("index") != index:
                report.findings.append(Finding(Code.NOT_MERGED, error.message, str(ledger.entry_path(index))))
                break
            forked_at = index if forked_at is None else forked_at
            place = Ledger(_branch_directory(target, ledger.origin, data), ledger.origin, foreign=True)
            _put(place.entry_path(index), data)
    if forked_at is not None:
        what = f"two copies of ledger {ledger.origin} go apart at entry {forked_at}"
        report.findings.append(Finding(Code.MERGED_LEDGER_FORKED, what, str(ledger.entry_path(forked_at))))
    if not report.dry_run:
        _merge_checkpoints(ledger, local, forked_at, place, report)
    if taken:
        root = None if report.dry_run else local.root().hex()
        report.ledgers.append(LedgerMerge(ledger.origin, taken, have + taken if report.dry_run else local.size(), root))


def _same(ledger: Ledger, local: Ledger, index: int) -> bool:
    with suppress(LedgerCorruptError):
        return ledger.read(index) == local.read(index)
    return False


def _branch_directory(target: Path, origin: str, data: bytes) -> Path:
    return layout.conflicts_directory(target) / f"ledger-{origin}" / hashlib.sha256(data).hexdigest()[:_BRANCH_DIGITS]


def _put(path: Path, data: bytes) -> bool:
    """Put an immutable file in place; false where another one is."""
    with files.storing("merge a ledger", path):
        missing = [directory for directory in path.parents if not directory.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        for directory in missing:
            files.sync_directory(directory.parent)
        return files.put_new(path, data) or path.read_bytes() == data


# --- checkpoints ------------------------------------------------------------------------------------------------------


def _merge_checkpoints(
    ledger: Ledger, local: Ledger, forked_at: int | None, branch: Ledger, report: MergeReport
) -> None:
    """Take over checkpoints; those of a forked copy that are larger than what both share go to its branch."""
    place = ledger.directory / "checkpoints"
    with files.storing("read checkpoints", place):
        paths = sorted(place.glob("[0-9]*.txt")) if place.is_dir() else []
    for path in paths:
        with files.storing("read a checkpoint", path):
            data = path.read_bytes()
        beyond = forked_at is not None and path.stem.isdecimal() and int(path.stem) > forked_at
        kept = (branch if beyond else local).directory / "checkpoints" / path.name
        if _put(kept, data):
            continue
        joined = _joined(kept.read_bytes(), data)
        if joined is None:
            aside = _branch_directory(report.into, ledger.origin, data) / "checkpoints" / path.name
            _put(aside, data)
            what = f"two checkpoints of ledger {ledger.origin} for the same size say different things"
            where = str(aside.relative_to(report.into))
            report.findings.append(Finding(Code.CHECKPOINTS_CONFLICT, what, where))
        elif joined != kept.read_bytes():
            with files.storing("join checkpoints", kept):
                files.put_whole(kept, joined)


def _joined(one: bytes, other: bytes) -> bytes | None:
    """One checkpoint with the signatures of two, in one order whichever came first; None where they say different
    things.
    """
    try:
        (first, kept), (second, brought) = parse_checkpoint(one), parse_checkpoint(other)
    except NoteError:
        return None
    if first != second:
        return None
    signatures = {signature.line: signature for signature in (*kept.signatures, *brought.signatures)}
    return Note(kept.text, tuple(signatures[line] for line in sorted(signatures))).data


# --- branches and the entry of a merge --------------------------------------------------------------------------------


def _merge_branches(source: Path, target: Path, report: MergeReport) -> None:
    """Take over the branches that a source keeps aside."""
    with files.storing("read branches of ledgers", source):
        paths = sorted(source.glob("ledger-*/*/**/*"))
        content = {path: path.read_bytes() for path in paths if path.is_file() and not path.name.startswith(".")}
    for path, data in content.items():
        kept = target / path.relative_to(source)
        if not report.dry_run and not _put(kept, data):
            what = "a branch of a ledger holds something else in the target"
            report.findings.append(Finding(Code.MERGED_LEDGER_FORKED, what, str(path)))


def record_merge(sources: Sequence[Path], target: Path, report: MergeReport) -> None:
    """Enter in the target's own ledger what each source brought.

    Raises:
        StoreError: the ledger cannot be written.
        ResourceError: the disk or the quota is full.
    """
    brought = {one.origin for one in report.ledgers}
    own = Ledger.open(target, create=True)
    for source in dict.fromkeys(sources):
        origin = store_origin(source) if (source / STORE_FILE).exists() else None
        runs = report.taken[str(source)]
        if not runs and origin not in brought:
            continue
        local = None if origin in (None, own.origin) else foreign_ledger(target, str(origin))
        size = 0 if local is None else local.size()
        root = None if local is None or not size else local.root().hex()
        own.append("merge", {"origin": origin, "runs": runs, "size": size, "root": root})

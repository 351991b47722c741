"""Holding a ledger against itself and against checkpoints: what was tampered with, and what shows it.

Covers: entries changed, missing, moved or foreign; the end cut off; an older state put back; the past rewritten;
checkpoints that are damaged or signed by nobody known. Does not cover: whether runs are what their seals say
(:mod:`caligo.store.governing.validation`), single entries proved to others (:mod:`.proofs`).

What only a checkpoint shows that was kept elsewhere: whoever may write to the store can rewrite every entry and every
checkpoint beside them. Without a held checkpoint that goes unseen (``docs/store.md``).

The standalone script :mod:`.verify_ledger` does the same without caligo.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from caligo.errors import SchemaVersionError, StoreError
from caligo.store import files
from caligo.store.audit import merkle
from caligo.store.audit.ledger import ORIGIN, EntryError, Ledger, ledgers, parse_entry
from caligo.store.audit.notes import CHECKPOINT_FILE, Checkpoint, NoteError, check_signatures, parse_checkpoint
from caligo.store.bundles.trust import Trust
from caligo.store.findings import Code, Finding

HELD = "the held checkpoint"
"""How findings name a checkpoint that was kept elsewhere."""

_GROUP = re.compile(r"[0-9]{3}")
_ENTRY_FILE = re.compile(r"[0-9]{9}\.json")
_NO_ORIGIN = "0" * 32


@dataclass(frozen=True)
class LedgerFinding(Finding):
    """A finding with what shows it.

    Attributes:
        evidence: sizes, hashes in hexadecimal, and the proof that fails.
    """

    evidence: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The finding as a JSON object."""
        return {**super().to_json(), "evidence": dict(self.evidence)}


@dataclass(frozen=True)
class CheckpointReport:
    """What became of one checkpoint.

    Attributes:
        where: file name, or :data:`HELD`.
        size: entries that it covers.
        root: hexadecimal.
        holds: whether the ledger still begins with what it covers.
        believed: names of trusted keys that signed it; empty when none did, or when no trust file was given.
    """

    where: str
    size: int
    root: str
    holds: bool
    believed: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "where": self.where,
            "size": self.size,
            "root": self.root,
            "holds": self.holds,
            "believed": list(self.believed),
        }


@dataclass(frozen=True)
class LedgerReport:
    """What a ledger is, and what is wrong with it.

    Attributes:
        origin: of the ledger.
        size: entries that are there, in one piece from the first.
        root: over them, hexadecimal.
        checkpoints: each that could be read, those beside the ledger first.
        findings: in the order of the entries, then of the checkpoints.
    """

    origin: str
    size: int
    root: str
    checkpoints: tuple[CheckpointReport, ...]
    findings: tuple[LedgerFinding, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "origin": self.origin,
            "size": self.size,
            "root": self.root,
            "checkpoints": [checkpoint.to_json() for checkpoint in self.checkpoints],
            "findings": [finding.to_json() for finding in self.findings],
        }


def verify_ledger(ledger: Ledger, checkpoint: bytes | None = None, trust: Trust | None = None) -> LedgerReport:
    """Hold a ledger against itself, the checkpoints beside it, and one that was kept elsewhere.

    Args:
        ledger: any ledger; one whose directory is gone is empty.
        checkpoint: a signed note that was kept elsewhere.
        trust: whose signatures count; None, or a trust file without keys, leaves signatures unchecked.

    Returns:
        The report; the same for the same files.

    Raises:
        StoreError: a directory cannot be read.
        ResourceError: the package cryptography is not installed, and there is a trust file.
    """
    entries = _Entries(ledger)
    findings = list(entries.check())
    reports: list[CheckpointReport] = []
    held = [] if checkpoint is None else [(HELD, checkpoint)]
    for where, data in (*_kept(ledger), *held):
        report, found = _hold(entries, where, data, trust)
        findings += found
        if report is not None:
            reports.append(report)
    tree = entries.tree
    return LedgerReport(ledger.origin, tree.size, tree.root().hex(), tuple(reports), tuple(findings))


def verify_store(
    store: str | os.PathLike[str], checkpoint: bytes | None = None, trust: Trust | None = None
) -> list[LedgerReport]:
    """Hold every ledger of a store against itself and its checkpoints.

    Args:
        store: directory of the store.
        checkpoint: a signed note that was kept elsewhere; it is held against the ledger that it names, which counts as
            empty when it is not there.
        trust: as in :func:`verify_ledger`.

    Returns:
        A report a ledger: the store's own first, then foreign ones by origin.

    Raises:
        StoreError: a directory cannot be read.
        ResourceError: as :func:`verify_ledger`.
    """
    base = Path(store).absolute()
    document: list[LedgerFinding] = []
    try:
        there = ledgers(base)
    except StoreError as error:
        document.append(LedgerFinding(Code.STORE_DOCUMENT_DAMAGED, error.message, "store.json"))
        names = sorted(os.listdir(base / "ledger")) if (base / "ledger").is_dir() else []
        there = [Ledger(base / "ledger" / name, name, foreign=True) for name in names if ORIGIN.fullmatch(name)]
    meant = there[0].origin if there else _NO_ORIGIN
    if checkpoint is not None:
        with suppress(NoteError):
            meant = parse_checkpoint(checkpoint)[0].origin
        if meant not in {ledger.origin for ledger in there}:
            there.append(Ledger(base / "ledger" / meant, meant, foreign=True))
    reports = [verify_ledger(ledger, checkpoint if ledger.origin == meant else None, trust) for ledger in there]
    if document:
        first = reports[0] if reports else LedgerReport(_NO_ORIGIN, 0, merkle.EMPTY_ROOT.hex(), (), ())
        whole = LedgerReport(first.origin, first.size, first.root, first.checkpoints, (*document, *first.findings))
        reports[:1] = [whole]
    return reports


# --- entries ----------------------------------------------------------------------------------------------------------


class _Entries:
    """The entries of a ledger as they lie there."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.tree = merkle.Tree(())
        """Over the entries from the first up to the first that is missing."""
        self.stop = 0
        """One more than the largest index that is there."""

    def check(self) -> Iterator[LedgerFinding]:
        """Read every entry once, and name what is wrong with it."""
        strays: list[str] = []
        indices = sorted(_listed(self.ledger.directory / "entries", (_GROUP, _GROUP, _ENTRY_FILE), strays))
        leaves: list[bytes] = []
        expected = 0
        named: str | None = None
        for index in indices:
            if index > expected:
                yield self._gap(expected, index)
            leaf = b""
            try:
                data = self.ledger.read(index)
            except StoreError as error:
                yield LedgerFinding(Code.LEDGER_ENTRY_DAMAGED, error.message, self._where(index))
                data = None
            if data is not None:
                leaf = merkle.leaf_hash(data)
                yield from self._entry(index, data, named if index == expected else None)
            if index == len(leaves) and data is not None:
                leaves.append(leaf)
            named = leaf.hex() or None
            expected = self.stop = index + 1
        self.tree = merkle.Tree(leaves)
        for stray in sorted(strays):
            yield LedgerFinding(Code.LEDGER_ENTRY_DAMAGED, "this is no entry", stray)

    def _where(self, index: int) -> str:
        return self.ledger.entry_path(index).relative_to(self.ledger.directory).as_posix()

    def _gap(self, first: int, stop: int) -> LedgerFinding:
        last = stop - 1
        what = f"entry {first} is missing" if first == last else f"entries {first} to {last} are missing"
        return LedgerFinding(
            Code.LEDGER_GAP, f"{what}, entry {stop} is there", self._where(first), {"first": first, "last": last}
        )

    def _entry(self, index: int, data: bytes, named: str | None) -> Iterator[LedgerFinding]:
        """What is wrong with one entry; ``named``: leaf hash of the one before it, where that is there."""
        try:
            entry = parse_entry(data)
        except EntryError as error:
            yield LedgerFinding(
                Code.LEDGER_ENTRY_DAMAGED,
                f"{error}",
                self._where(index),
                {"index": index, "leaf": merkle.leaf_hash(data).hex()},
            )
            return
        except SchemaVersionError as error:
            yield LedgerFinding(Code.NEWER_SCHEMA, error.message, self._where(index))
            return
        if entry.origin != self.ledger.origin:
            yield LedgerFinding(
                Code.LEDGER_ORIGIN,
                f"it is an entry of {entry.origin}",
                self._where(index),
                {"index": index, "expected": self.ledger.origin, "got": entry.origin},
            )
        if entry.index != index:
            yield LedgerFinding(
                Code.LEDGER_ORDER,
                f"it is entry {entry.index} in the place of entry {index}",
                self._where(index),
                {"expected": index, "got": entry.index},
            )
        elif named is not None and entry.previous != named:
            yield LedgerFinding(
                Code.LEDGER_ENTRY_DAMAGED,
                f"it is not what entry {index} followed: one of the two was changed",
                self._where(index - 1),
                {"index": index - 1, "leaf": named, "named_by": index, "previous": entry.previous},
            )


def _listed(place: Path, patterns: tuple[re.Pattern[str], ...], strays: list[str], above: str = "") -> Iterator[int]:
    """Indices of the files in a tree of numbered directories; what has no place there goes to ``strays``."""
    with files.storing("read the ledger", place):
        names = sorted(os.listdir(place)) if place.is_dir() else []
    pattern, *rest = patterns
    for name in names:
        if name.startswith("."):
            continue
        shown = f"entries/{above}{name}"
        if not pattern.fullmatch(name):
            strays.append(shown)
        elif rest:
            if not (place / name).is_dir():
                strays.append(shown)
            yield from _listed(place / name, tuple(rest), strays, f"{above}{name}/")
        elif above == f"{name[:3]}/{name[3:6]}/":
            yield int(name[:9])
        else:
            strays.append(shown)


# --- checkpoints ------------------------------------------------------------------------------------------------------


def _kept(ledger: Ledger) -> Iterator[tuple[str, bytes]]:
    """The checkpoints beside a ledger, by size."""
    place = ledger.directory / "checkpoints"
    with files.storing("read the checkpoints", place):
        names = sorted(os.listdir(place)) if place.is_dir() else []
        for name in names:
            if CHECKPOINT_FILE.fullmatch(name):
                yield f"checkpoints/{name}", (place / name).read_bytes()


def _hold(
    entries: _Entries, where: str, data: bytes, trust: Trust | None
) -> tuple[CheckpointReport | None, list[LedgerFinding]]:
    """Hold one checkpoint against the entries."""
    findings: list[LedgerFinding] = []
    try:
        checkpoint, note = parse_checkpoint(data)
    except NoteError as error:
        return None, [LedgerFinding(Code.CHECKPOINT_DAMAGED, f"{error}", where)]
    believed: tuple[str, ...] = ()
    if trust is not None and trust.keys:
        signatures = check_signatures(note, trust)
        believed = tuple(key.key.name for key in signatures.believed)
        findings += [
            LedgerFinding(Code.CHECKPOINT_DAMAGED, f"signature of {name}: {why}", where, {"key": name})
            for name, why in signatures.refused
        ]
        if not believed and not signatures.refused:
            findings.append(
                LedgerFinding(
                    Code.CHECKPOINT_UNKNOWN_KEY,
                    f"no key of the trust file signed it; signed by {', '.join(signatures.unknown)}",
                    where,
                    {"keys": list(signatures.unknown)},
                )
            )
    if where != HELD and where != f"checkpoints/{checkpoint.size:09}.txt":
        findings.append(
            LedgerFinding(Code.CHECKPOINT_DAMAGED, f"it is of {checkpoint.size} entries, which its name denies", where)
        )
    against = _against(entries, where, checkpoint)
    findings += against
    report = CheckpointReport(where, checkpoint.size, checkpoint.root.hex(), not against, believed)
    return report, findings


def _against(entries: _Entries, where: str, checkpoint: Checkpoint) -> list[LedgerFinding]:
    """What a checkpoint shows about the entries."""
    ledger, tree = entries.ledger, entries.tree
    if checkpoint.origin != ledger.origin:
        what = f"it is a checkpoint of {checkpoint.origin}"
        evidence = {"expected": ledger.origin, "got": checkpoint.origin}
        return [LedgerFinding(Code.LEDGER_ORIGIN, what, where, evidence)]
    shown: dict[str, Any] = {"checkpoint_size": checkpoint.size, "checkpoint_root": checkpoint.root.hex()}
    shown |= {"ledger_size": tree.size, "ledger_root": tree.root().hex()}
    if checkpoint.size > entries.stop:
        code = Code.LEDGER_ROLLED_BACK if where == HELD else Code.LEDGER_TRUNCATED
        what = f"it covers {checkpoint.size} entries, the ledger has {entries.stop}"
        return [LedgerFinding(code, what, where, shown)]
    if checkpoint.size > tree.size:
        what = f"it covers {checkpoint.size} entries, of which only the first {tree.size} are there"
        return [LedgerFinding(Code.LEDGER_FORKED, what, where, shown)]
    begun = tree.root(checkpoint.size)
    if begun == checkpoint.root:
        return []
    proof = tree.consistency_path(checkpoint.size)
    shown |= {"root_at_checkpoint": begun.hex(), "consistency_proof": [value.hex() for value in proof]}
    what = f"the first {checkpoint.size} entries are not those that it covers: the consistency proof fails"
    return [LedgerFinding(Code.LEDGER_FORKED, what, where, shown)]

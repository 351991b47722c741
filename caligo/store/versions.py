"""Versions of one run: copies of its directory that went different ways, and which of them contains which.

Covers: reading what a copy holds, the partial order "B supersedes A", and which of several is to be shown.
Does not cover: moving them (:mod:`caligo.store.merge`).

A copy A is contained in a copy B when every file of A is in B with the same bytes. A record file may also be the
beginning of B's, of its lines or of those that its Parquet file replaces, unless A is sealed: an open run that was
copied while it was written is contained in every later copy of it. A copy supersedes another that it contains, unless
it is damaged and the other is whole. Both are partial orders, so a set of copies has maximal ones, and they are the
same in whatever order copies come together: merging is associative, commutative and idempotent. The contract is
``specs/run-directory.md``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from caligo.errors import StoreError
from caligo.store import files, layout
from caligo.store.compaction import restored_lines
from caligo.store.findings import Finding, Severity
from caligo.store.reader import Run, load_run, verify_identity
from caligo.store.records import record_salt, scan_records
from caligo.store.values import canonical_json

DIGEST_DIGITS = 16
"""Hexadecimal digits of a version's digest in the name of its directory."""


class NotPlainError(StoreError):
    """Something in a run directory is neither a file nor hidden: a link, a directory, a device."""


class ChangedError(Exception):
    """A copy changed while it was read: read it again."""


@dataclass(frozen=True)
class Stamp:
    """What a file holds: size in bytes and SHA-256."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Version:
    """One copy of a run as it was read.

    Attributes:
        path: its directory.
        run: what its documents say.
        files: its files by name. Of a sealed copy those that the seal lists, and the seal; of any other copy all but
            Parquet files whose lines are there too. Hidden files never belong to a run.
    """

    path: Path
    run: Run
    files: Mapping[str, Stamp]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and contents of its files; equal digests are equal copies."""
        listed = {name: [stamp.bytes, stamp.sha256] for name, stamp in self.files.items()}
        return hashlib.sha256(canonical_json(listed)).hexdigest()

    @property
    def short_digest(self) -> str:
        """The beginning of the digest, which names its directory among conflicts."""
        return self.digest[:DIGEST_DIGITS]

    @property
    def sealed(self) -> bool:
        """Whether it has a seal, readable or not."""
        return layout.SEAL_FILE in self.files

    @property
    def rank(self) -> tuple[bool, int, int, str]:
        """What decides which of several maximal copies is shown, the greatest: whole before damaged, sealed before
        interrupted before open, more records before fewer, then the digest, so that it is the same everywhere.
        """
        return self.whole, self._ending(), self._checked[1], self.digest

    @property
    def whole(self) -> bool:
        """Whether nothing in it is damaged."""
        return self._checked[0]

    @cached_property
    def _checked(self) -> tuple[bool, int]:
        """Whether it is whole, and how many whole records it has."""
        findings = list(self.run.findings)
        if self.run.document:
            findings += verify_identity(self.run.document)
        records = 0
        sealed = {} if self.run.seal is None else self.run.seal["files"]
        for writer, name in layout.writers(self.files, sealed).items():
            if layout.RECORD_FILE.fullmatch(name):
                salt = record_salt(self.run.name, writer)
                records += sum(1 for _ in scan_records(self.path / name, salt, findings.append))
            elif isinstance(sealed.get(name), dict) and isinstance(sealed[name].get("records"), int):
                records += sealed[name]["records"]
        damaged = any(finding.severity is Severity.DAMAGE for finding in findings)
        return bool(self.run.document) and not damaged and self._as_sealed(), records

    def _ending(self) -> int:
        return 2 if self.sealed else 1 if layout.INTERRUPTION_FILE in self.files else 0

    def _as_sealed(self) -> bool:
        """Whether every file that the seal lists is here as it was; true without a seal."""
        if self.run.seal is None:
            return not self.sealed
        return all(_matches(self.files.get(name), entry) for name, entry in self.run.seal["files"].items())

    def supersedes(self, other: Version) -> bool:
        """Whether nothing is lost if only this copy is kept: it contains the other, and is whole if the other is.

        Raises:
            ResourceError, OSError: as :meth:`contains`.
        """
        return self.contains(other) and (self.digest == other.digest or self.whole or not other.whole)

    def contains(self, other: Version) -> bool:
        """Whether everything of another copy is in this one.

        Raises:
            ResourceError: lines must be compared with compacted records, and pyarrow is not installed.
            OSError: a file cannot be read.
        """
        return all(
            self.files.get(name) == stamp or (not other.sealed and self._continues(name, stamp))
            for name, stamp in other.files.items()
        )

    def _continues(self, name: str, beginning: Stamp) -> bool:
        """Whether this copy's records go on from a record file of another copy."""
        lines = layout.RECORD_FILE.fullmatch(name)
        if lines is None:
            return False
        own = self.files.get(name)
        if own is not None and own.bytes >= beginning.bytes and self._begins(name, beginning):
            return True
        compacted = layout.compacted_file(lines[1])
        entry = None if self.run.seal is None else self.run.seal["files"].get(compacted)
        if entry is None or not _matches(self.files.get(compacted), entry):
            return False
        if entry.get("replaces") == {"bytes": beginning.bytes, "sha256": beginning.sha256}:
            return True
        return self._restored_begins(compacted, lines[1], beginning)

    def _begins(self, name: str, beginning: Stamp) -> bool:
        digest, left = hashlib.sha256(), beginning.bytes
        with open(self.path / name, "rb", buffering=0) as file:
            while left and (piece := file.read(min(left, 1 << 20))):
                digest.update(piece)
                left -= len(piece)
        return not left and digest.hexdigest() == beginning.sha256

    def _restored_begins(self, name: str, writer: str, beginning: Stamp) -> bool:
        digest, left = hashlib.sha256(), beginning.bytes
        damage: list[Finding] = []
        for line in restored_lines(self.path / name, self.run.name, writer, damage.append):
            if damage or not left:
                break
            digest.update(line[:left])
            left -= min(left, len(line))
        return not left and not damage and digest.hexdigest() == beginning.sha256


def _matches(stamp: Stamp | None, entry: object) -> bool:
    return (
        stamp is not None
        and isinstance(entry, dict)
        and (entry.get("bytes"), entry.get("sha256")) == (stamp.bytes, stamp.sha256)
    )


def read_version(path: Path) -> Version | None:
    """Read one copy of a run: its documents, and the hash of every file.

    Args:
        path: run directory; it may be written to meanwhile.

    Returns:
        The copy; None where the directory holds no run.

    Raises:
        NotPlainError: a link, a directory or a device among its files.
        SchemaVersionError: a newer caligo wrote it.
        ChangedError, FileNotFoundError: it ended, or a file went away, meanwhile.
        OSError: it cannot be read.
    """
    names = []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not entry.is_file(follow_symlinks=False):
                raise NotPlainError(
                    f"expected only plain files in {path}, found {entry.name!r}; move it out", path=str(path)
                )
            names.append(entry.name)
    if not {layout.RUN_FILE, layout.SEAL_FILE}.intersection(names) and not any(map(layout.writer_of, names)):
        return None
    # Read after the names: whatever the seal lists was there before the seal.
    run = load_run(path, verify=False)
    if (run.seal and layout.SEAL_FILE not in names) or (run.interruption and layout.INTERRUPTION_FILE not in names):
        raise ChangedError(path)
    if layout.SEAL_FILE not in names:
        taken = [name for name in names if not _replaced(name, names)]
    elif run.seal is None:
        taken = names
    else:
        taken = [name for name in names if name in run.seal["files"] or name == layout.SEAL_FILE]
    stamps = {}
    for name in sorted(taken):
        size, digest, _ = files.file_digest(path / name)
        stamps[name] = Stamp(size, digest)
    return Version(path, run, stamps)


def _replaced(name: str, names: Iterable[str]) -> bool:
    """Whether a file is Parquet left of an attempt to seal, its lines being there."""
    compacted = layout.COMPACTED_FILE.fullmatch(name)
    return compacted is not None and layout.record_file(compacted[1]) in names


def maximal_versions(versions: Iterable[Version]) -> list[Version]:
    """The copies that no other copy supersedes, one of each, the one to show first.

    Args:
        versions: copies of one run; of equal ones the first is taken.

    Raises:
        ResourceError: as :meth:`Version.contains`.
        OSError: a file cannot be read.
    """
    distinct: dict[str, Version] = {}
    for version in versions:
        distinct.setdefault(version.digest, version)
    if len(distinct) == 1:
        return list(distinct.values())
    remaining = [
        version
        for version in distinct.values()
        if not any(other is not version and other.supersedes(version) for other in distinct.values())
    ]
    if len(remaining) == 1:
        return remaining
    return sorted(remaining, key=lambda version: version.rank, reverse=True)

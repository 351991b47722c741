"""Findings: what is odd or broken in a stored run, each with a stable code.

Covers: the code table, one value class. Does not cover: looking for them (:mod:`caligo.store.reader`,
:mod:`caligo.store.records`) or acting on them.

A *note* is what an honest crash leaves behind (a torn last line). A *damage* is what no caligo ever writes: bytes
changed, files missing or added. The codes are repeated in ``specs/run-directory.md`` and are never reused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """Whether a finding is an expected trace of an interruption or a broken promise."""

    NOTE = "note"
    DAMAGE = "damage"


class Code(StrEnum):
    """Stable finding codes."""

    RUN_DOCUMENT_MISSING = "CAL-STORE-001"
    RUN_DOCUMENT_DAMAGED = "CAL-STORE-002"
    RUN_DOCUMENT_INCONSISTENT = "CAL-STORE-003"
    IDENTITY_MISMATCH = "CAL-STORE-004"
    DIRECTORY_RENAMED = "CAL-STORE-005"
    NEWER_SCHEMA = "CAL-STORE-006"
    UNREADABLE_FILE = "CAL-STORE-007"
    SEAL_DAMAGED = "CAL-STORE-010"
    SEAL_FOREIGN = "CAL-STORE-011"
    FILE_MISSING = "CAL-STORE-012"
    FILE_CHANGED = "CAL-STORE-013"
    FILE_NOT_SEALED = "CAL-STORE-014"
    RECORD_COUNT_MISMATCH = "CAL-STORE-015"
    INTERRUPTION_DAMAGED = "CAL-STORE-016"
    TORN_TAIL = "CAL-STORE-020"
    RECORD_DAMAGED = "CAL-STORE-021"
    RECORD_OUT_OF_SEQUENCE = "CAL-STORE-022"
    RECORD_END_DAMAGED = "CAL-STORE-023"


_REMEDIES: dict[Code, str] = {
    Code.RUN_DOCUMENT_MISSING: "copy run.json back from another copy, or move the directory out of the store",
    Code.RUN_DOCUMENT_DAMAGED: "copy run.json back from another copy of the store; its records stay readable as text",
    Code.RUN_DOCUMENT_INCONSISTENT: "it was not written by caligo; move the directory out of the store",
    Code.IDENTITY_MISMATCH: "run.json was edited or written by other software; do not compare by identity",
    Code.DIRECTORY_RENAMED: "rename the directory back to the name in run.json",
    Code.NEWER_SCHEMA: "upgrade caligo, then read the run again",
    Code.UNREADABLE_FILE: "check permissions and the disk, then read the run again",
    Code.SEAL_DAMAGED: "copy seal.json back from another copy of the store",
    Code.SEAL_FOREIGN: "the seal belongs to another run; copy the right one back",
    Code.FILE_MISSING: "copy the file back from another copy of the store",
    Code.FILE_CHANGED: "copy the file back from another copy of the store",
    Code.FILE_NOT_SEALED: "move the file out of the run directory",
    Code.RECORD_COUNT_MISMATCH: "copy the record file back from another copy of the store",
    Code.INTERRUPTION_DAMAGED: "nothing is lost but the reason of the interruption; copy interrupted.json back",
    Code.TORN_TAIL: "nothing to do: the writer stopped within this record; the whole records before it are kept",
    Code.RECORD_DAMAGED: "copy the record file back from another copy of the store; the other records are readable",
    Code.RECORD_OUT_OF_SEQUENCE: "lines were removed, repeated or moved; copy the record file back",
    Code.RECORD_END_DAMAGED: "the record is whole, its line end is not; copy the record file back",
}

_NOTES = frozenset({Code.TORN_TAIL, Code.DIRECTORY_RENAMED})


@dataclass(frozen=True)
class Finding:
    """One thing found in one place.

    Attributes:
        code: stable code.
        what: one sentence.
        where: file name, and byte range where there is one.
    """

    code: Code
    what: str
    where: str

    @property
    def severity(self) -> Severity:
        """Note or damage; a property of the code."""
        return Severity.NOTE if self.code in _NOTES else Severity.DAMAGE

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return _REMEDIES[self.code]

    def to_json(self) -> dict[str, Any]:
        """The finding as a JSON object."""
        return {
            "code": self.code.value,
            "severity": self.severity.value,
            "what": self.what,
            "where": self.where,
            "remedy": self.remedy,
        }

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
    COMPACTION_UNFINISHED = "CAL-STORE-024"
    LINES_LEFT_OVER = "CAL-STORE-025"
    COMPACTED_RECORDS_DAMAGED = "CAL-STORE-026"
    NOT_MIGRATED = "CAL-STORE-027"
    VERSIONS_CONFLICT = "CAL-STORE-080"
    MERGE_UNFINISHED = "CAL-STORE-081"
    MERGED_LEDGER_FORKED = "CAL-STORE-082"
    CHECKPOINTS_CONFLICT = "CAL-STORE-083"
    NOT_MERGED = "CAL-STORE-084"
    SOURCE_CHANGING = "CAL-STORE-085"
    LEAKAGE_TOO_LOW = "CAL-STORE-030"
    LEAKAGE_TOO_HIGH = "CAL-STORE-031"
    SUMMARY_MISMATCH = "CAL-STORE-032"
    FIGURE_MISMATCH = "CAL-STORE-033"
    BEYOND_LIMIT = "CAL-STORE-034"
    TIME_IMPOSSIBLE = "CAL-STORE-035"
    OUT_OF_RANGE = "CAL-STORE-036"
    BLOCK_SEQUENCE = "CAL-STORE-037"
    CLOCK_STEP = "CAL-STORE-038"
    TIME_IN_FUTURE = "CAL-STORE-039"
    LEDGER_ENTRY_DAMAGED = "CAL-STORE-040"
    LEDGER_GAP = "CAL-STORE-041"
    LEDGER_ORDER = "CAL-STORE-042"
    LEDGER_ORIGIN = "CAL-STORE-043"
    LEDGER_TRUNCATED = "CAL-STORE-044"
    LEDGER_ROLLED_BACK = "CAL-STORE-045"
    LEDGER_FORKED = "CAL-STORE-046"
    CHECKPOINT_DAMAGED = "CAL-STORE-047"
    CHECKPOINT_UNKNOWN_KEY = "CAL-STORE-048"
    STORE_DOCUMENT_DAMAGED = "CAL-STORE-049"
    NOT_ADMITTED = "CAL-STORE-050"
    SEAL_NOT_ADMITTED = "CAL-STORE-051"
    RUN_GONE = "CAL-STORE-052"
    STALE_TEMPORARY = "CAL-STORE-054"
    FOREIGN_FILE = "CAL-STORE-055"
    WRITER_GONE = "CAL-STORE-056"
    NOT_PROTECTED = "CAL-STORE-057"
    BUNDLE_DAMAGED = "CAL-STORE-060"
    BUNDLE_SIGNATURE_WRONG = "CAL-STORE-061"
    BUNDLE_KEY_UNKNOWN = "CAL-STORE-062"
    BUNDLE_KEY_NOT_VALID = "CAL-STORE-063"
    BUNDLE_INCONSISTENT = "CAL-STORE-064"
    BUNDLE_PROOF_WRONG = "CAL-STORE-065"


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
    Code.COMPACTION_UNFINISHED: "nothing is lost: the lines are complete; remove the Parquet file",
    Code.LINES_LEFT_OVER: "nothing is lost: the seal holds the same records as Parquet; remove the file of lines",
    Code.COMPACTED_RECORDS_DAMAGED: "copy the Parquet file back from another copy of the store",
    Code.NOT_MIGRATED: "copy the run back from another copy of the store, then migrate again",
    Code.VERSIONS_CONFLICT: "look at both with `caligo store show PATH`; remove the wrong one, then merge again",
    Code.MERGE_UNFINISHED: "remove the hidden directory where no merge into this store runs on any machine",
    Code.MERGED_LEDGER_FORKED: "a copy was rewritten, or two went on; compare both with checkpoints held outside",
    Code.CHECKPOINTS_CONFLICT: "two roots were signed for one size: one ledger was rewritten; see who signed which",
    Code.NOT_MERGED: "move what does not belong to a run out of its directory, then merge again",
    Code.SOURCE_CHANGING: "nothing is lost: merge again when the source is at rest",
    Code.LEAKAGE_TOO_LOW: "do not amplify by this account: count again from the keys, and reject the run",
    Code.LEAKAGE_TOO_HIGH: "do not rely on the caps of this run: look at its records, then release or reject it",
    Code.SUMMARY_MISMATCH: "use the records, not the summary, or reject the run",
    Code.FIGURE_MISMATCH: "compute the figure again from the counts, or reject the run",
    Code.BEYOND_LIMIT: "no code does this: look for errors that were counted wrong, then reject the run",
    Code.TIME_IMPOSSIBLE: "do not compare its speed; measure again",
    Code.OUT_OF_RANGE: "it was not written by caligo as it stands; reject the run",
    Code.BLOCK_SEQUENCE: "use only blocks that are there once, or reject the run",
    Code.CLOCK_STEP: "nothing to do for its figures: the clock was set; do not order runs by this one's times",
    Code.TIME_IN_FUTURE: "set the clock of the machine that wrote it, or of this one",
    Code.LEDGER_ENTRY_DAMAGED: "copy the entry back from another copy of the ledger; it proves nothing as it is",
    Code.LEDGER_GAP: "copy the missing entries back from another copy of the ledger",
    Code.LEDGER_ORDER: "entries were moved or repeated: copy the ledger back from another copy",
    Code.LEDGER_ORIGIN: "an entry or checkpoint of another store lies here: copy the right one back",
    Code.LEDGER_TRUNCATED: "entries were removed at the end: copy the ledger back from another copy",
    Code.LEDGER_ROLLED_BACK: "this is an older state of the store: copy the newer one back, and ask who did this",
    Code.LEDGER_FORKED: "the past was rewritten: find the copy that fits the checkpoint, and do not rely on this one",
    Code.CHECKPOINT_DAMAGED: "do not rely on this checkpoint: get it again from whoever keeps it",
    Code.CHECKPOINT_UNKNOWN_KEY: "if its signer is to be believed, add the key with `caligo store key trust`",
    Code.STORE_DOCUMENT_DAMAGED: "copy store.json back from another copy of the store",
    Code.NOT_ADMITTED: "run `caligo store repair`: it enters the seal in the ledger",
    Code.SEAL_NOT_ADMITTED: "copy the run back from another copy of the store; this is not the run that was entered",
    Code.RUN_GONE: "merge another copy of the store into this one (`caligo store merge`), or reject the run",
    Code.STALE_TEMPORARY: "run `caligo store repair`: it removes what a killed process left",
    Code.FOREIGN_FILE: "move it out of the store",
    Code.WRITER_GONE: "run `caligo store repair`: it seals what was recorded as a run of its own",
    Code.NOT_PROTECTED: "run `caligo store repair`: it takes the permission to write away",
    Code.BUNDLE_DAMAGED: "get the bundle again from its maker",
    Code.BUNDLE_SIGNATURE_WRONG: "do not believe it; get the bundle again from its maker",
    Code.BUNDLE_KEY_UNKNOWN: "if its maker is to be believed, add the key with `caligo store key trust`",
    Code.BUNDLE_KEY_NOT_VALID: "have it signed again by a key that is valid",
    Code.BUNDLE_INCONSISTENT: "do not believe it: its statement says something else than its run; ask its maker",
    Code.BUNDLE_PROOF_WRONG: "do not believe that the ledger has this seal; ask its maker for another proof",
}

_NOTES = frozenset(
    {
        Code.TORN_TAIL,
        Code.DIRECTORY_RENAMED,
        Code.COMPACTION_UNFINISHED,
        Code.LINES_LEFT_OVER,
        Code.CLOCK_STEP,
        Code.TIME_IN_FUTURE,
        Code.CHECKPOINT_UNKNOWN_KEY,
        Code.NOT_ADMITTED,
        Code.STALE_TEMPORARY,
        Code.WRITER_GONE,
        Code.NOT_PROTECTED,
        Code.MERGE_UNFINISHED,
        Code.SOURCE_CHANGING,
    }
)


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

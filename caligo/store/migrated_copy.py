"""An older store, copied with its documents in the schema of this caligo.

Covers: copying every run of a store, new documents and seals, what the ledger says of it. Does not cover: the steps
(:mod:`caligo.store.migrations`), nor changing a store in place: there is no such thing.

Records, attachments and names stay byte for byte. A new seal lists the new ``run.json`` and names the schema and the
SHA-256 of the seal before it (``migrated_from``), so the copy can be held against the original. The same input gives
the same bytes, so migrating again changes nothing, and copies that were migrated apart are equal. A damaged run is not
copied: a new seal would cover the damage up.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from caligo.errors import ConfigError, StoreError
from caligo.store import files, layout
from caligo.store.audit.ledger import STORE_FILE, Ledger, append_seal
from caligo.store.audit.merge_ledgers import merge_ledgers
from caligo.store.findings import Code, Finding
from caligo.store.merge import MergeReport, clear_leftovers, hidden_directory, merge_run
from caligo.store.migrations import migrate_document
from caligo.store.reader import RunInfo, State, list_runs, load_run

_DOCUMENTS = {
    layout.RUN_FILE: layout.RUN_FORM,
    layout.INTERRUPTION_FILE: layout.INTERRUPTION_FORM,
    layout.SEAL_FILE: layout.SEAL_FORM,
}


@dataclass
class MigrationReport:
    """What a migration did.

    Attributes:
        into: the new store.
        migrated: names of runs whose documents were of an older schema.
        copied: names of runs that were of this schema already.
        unchanged: runs that the new store had.
        findings: runs that were left out, and why.
    """

    into: Path
    migrated: list[str] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    unchanged: int = 0
    findings: list[Finding] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "into": str(self.into),
            "schema": layout.SCHEMA,
            "migrated": self.migrated,
            "copied": self.copied,
            "unchanged": self.unchanged,
            "findings": [finding.to_json() for finding in self.findings],
        }


def migrate_store(source: str | os.PathLike[str], into: str | os.PathLike[str]) -> MigrationReport:
    """Copy a store into another with every document in the schema of this caligo.

    Args:
        source: the older store; only read.
        into: the new store, made when missing. Its ledger gets an entry ``migration`` for each run that was migrated,
            after one for its new seal, and the ledgers of the source come along.

    Returns:
        What was copied, and what was left out.

    Raises:
        ConfigError: source and target are the same.
        StoreError: the source is no store, or a store cannot be read or written.
        SchemaVersionError: a newer caligo wrote a run.
        ResourceError: the disk or the quota is full; the same command goes on from there.
    """
    origin, target = Path(source).absolute(), Path(into).absolute()
    if origin.resolve() == target.resolve():
        raise ConfigError(f"expected another store than {origin} to migrate into; an old store is never changed")
    if not layout.runs_directory(origin).is_dir():
        raise StoreError(f"expected a store, {origin} has no runs; name the directory that holds `runs`")
    report = MigrationReport(target)
    merged = MergeReport(target, dry_run=False)
    clear_leftovers(target, merged)
    told = _entered(target)
    for info in list_runs(origin):
        run = load_run(info.path)
        if run.state is State.DAMAGED:
            codes = ", ".join(sorted({finding.code.value for finding in run.findings}))
            report.findings.append(Finding(Code.NOT_MIGRATED, f"it is damaged ({codes})", str(info.path)))
            continue
        older, sealed_as = _migrate_run(run.name, info, target, report, merged)
        if older is not None and run.name not in told:
            particulars = {"run": run.name, "schema": layout.SCHEMA, "from": older, "seal_sha256": sealed_as}
            if sealed_as is not None:
                append_seal(layout.runs_directory(target) / run.name)
            Ledger.open(target, create=True).append("migration", particulars)
    merge_ledgers(origin, target, merged)
    report.findings += merged.findings
    return report


def _entered(store: Path) -> set[str]:
    """The runs of which the ledger of a store says that they were migrated."""
    if not (store / STORE_FILE).exists():
        return set()
    return {str(entry.content.get("run")) for entry in Ledger.open(store).entries() if entry.kind == "migration"}


def _migrate_run(
    name: str, info: RunInfo, target: Path, report: MigrationReport, merged: MergeReport
) -> tuple[dict[str, Any] | None, str | None]:
    """Copy one run; returns what :func:`_write_copy` does, and the SHA-256 of the new seal."""
    place = layout.runs_directory(target)
    with files.storing("migrate a run", place):
        scratch = hidden_directory(target)
        try:
            copy = scratch / "runs" / name
            origin = _write_copy(info.path, copy)
            before = len(merged.added) + len(merged.replaced)
            merge_run(name, [(scratch, copy)], merged)
            seal = copy / layout.SEAL_FILE
            sealed_as = hashlib.sha256(seal.read_bytes()).hexdigest() if seal.exists() else None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    if len(merged.added) + len(merged.replaced) == before:
        report.unchanged += 1
    elif origin is None:
        report.copied.append(name)
    else:
        report.migrated.append(name)
    return origin, sealed_as


def _write_copy(run: Path, copy: Path) -> dict[str, Any] | None:
    """Write the migrated copy of a run; returns schema and hash of the document that ended it (or began it, where it
    has not ended), or None where nothing had to be migrated.
    """
    copy.mkdir(parents=True)
    old: dict[str, dict[str, Any]] = {}
    for name in sorted(os.listdir(run)):
        if name.startswith("."):
            continue
        if name in _DOCUMENTS:
            data = (run / name).read_bytes()
            content = files.parse_document(data, _DOCUMENTS[name])
            old[name] = {"schema": content["schema"], "sha256": hashlib.sha256(data).hexdigest()}
        shutil.copyfile(run / name, copy / name, follow_symlinks=False)
    if all(told["schema"] == layout.SCHEMA for told in old.values()):
        return None
    for name, form in _DOCUMENTS.items():
        if name not in old:
            continue
        content = migrate_document(files.read_document(run / name, form), form)
        if name != layout.RUN_FILE:
            content["migrated_from"] = old[name]
        if name == layout.SEAL_FILE:
            for entry in (layout.RUN_FILE, layout.INTERRUPTION_FILE):
                if entry in content["files"]:
                    size, digest, _ = files.file_digest(copy / entry)
                    content["files"][entry] |= {"bytes": size, "sha256": digest}
        (copy / name).write_bytes(files.document_bytes(content))
    return old.get(layout.SEAL_FILE) or old.get(layout.INTERRUPTION_FILE) or old[layout.RUN_FILE]

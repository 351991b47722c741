"""Reading runs: list a store, find a run, load it, go through its records, verify it.

Covers: every state a run directory can be in, damage included. Does not cover: writing, repair, indexing.

Nothing here raises because a run is damaged, unless a caller asks for records that are not there any more: damage is
reported as findings. Records are streamed; memory does not grow with their number.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from caligo.errors import ConfigError, ResourceError, SchemaVersionError, StoreError
from caligo.store import environment, files, layout
from caligo.store.compaction import compacted_records
from caligo.store.findings import Code, Finding, Severity
from caligo.store.migrations import migrate_document
from caligo.store.records import record_salt, scan_records
from caligo.store.values import run_identity


class State(StrEnum):
    """Where a run stands."""

    OPEN = "open"
    INTERRUPTED = "interrupted"
    SEALED = "sealed"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class RunInfo:
    """One line of a store's list.

    Attributes:
        name: name of the run directory.
        path: its absolute path.
        state: from ``run.json`` and the presence of an ending; the records are not looked at.
        kind: kind of run, as far as known.
        started_at: UTC text.
        identity: identity of the experiment; None when ``run.json`` cannot be read.
        why: for a damaged run what is wrong, for others empty.
        running: for an open run, whether its process still runs; None when unknown.
    """

    name: str
    path: Path
    state: State
    kind: str
    started_at: str
    identity: str | None
    why: str = ""
    running: bool | None = None


@dataclass(frozen=True)
class Run:
    """One run, loaded. Records stay on disk.

    Attributes:
        path: absolute path of its directory.
        document: all of ``run.json``, in the schema of this caligo; empty when it cannot be read.
        state: damaged when a finding says so.
        seal: content of ``seal.json``; None without a readable one.
        interruption: content of ``interrupted.json``; None without a readable one.
        findings: what was found; with ``verify=False`` only what the documents show.
        verified: whether every byte was looked at.
        record_counts: whole records per record file; filled by verification, else from the seal.
        running: for an open run, whether its process still runs; None when unknown.
    """

    path: Path
    document: dict[str, Any]
    state: State
    seal: dict[str, Any] | None
    interruption: dict[str, Any] | None
    findings: tuple[Finding, ...]
    verified: bool
    record_counts: dict[str, int] = field(default_factory=dict)
    running: bool | None = None

    @property
    def name(self) -> str:
        """Name of the run: what ``run.json`` says, else the directory's."""
        return str(self.document.get("run", self.path.name))

    @property
    def kind(self) -> str:
        """Kind of run; empty when unknown."""
        return str(self.document.get("kind", ""))

    @property
    def identity(self) -> str | None:
        """Identity of the experiment."""
        return self.document.get("identity")

    @property
    def campaign(self) -> str | None:
        """The campaign that the run belongs to."""
        return self.document.get("campaign")

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the runs that this one derives from."""
        return tuple(self.document.get("parents", ()))

    @property
    def configuration(self) -> dict[str, Any]:
        """The full configuration."""
        return dict(self.document.get("configuration", {}))

    @property
    def summary(self) -> dict[str, Any] | None:
        """The figures given to the seal; None for a run that is not sealed."""
        return None if self.seal is None else dict(self.seal["summary"])

    def writers(self) -> list[str]:
        """The writers that have a file of records, in order of the files' names.

        Raises:
            StoreError: the directory cannot be read.
        """
        return list(self._files_of_writers())

    def record_files(self) -> list[Path]:
        """The files that hold records, one a writer, in order of name: lines (``.jsonl``) or compacted (``.parquet``).

        Raises:
            StoreError: the directory cannot be read.
        """
        return [self.path / name for name in self._files_of_writers().values()]

    def _files_of_writers(self) -> dict[str, str]:
        return layout.writers(_names(self.path), () if self.seal is None else self.seal["files"])

    def records(
        self, writer: str | None = None, on_finding: Callable[[Finding], None] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Every whole record, streamed: by writer's name, then in the order written.

        A torn last record of a run without a seal is passed over in silence.

        Args:
            writer: only this writer's records.
            on_finding: told of damage, which is then passed over; without it damage raises.

        Yields:
            The recorded object.

        Raises:
            StoreError: a record is damaged or missing (and ``on_finding`` is None), or a file cannot be read.
            ResourceError: the records are compacted, and pyarrow is not installed.
        """

        def complain(finding: Finding) -> None:
            if finding.severity is Severity.NOTE and self.seal is None:
                return
            if on_finding is not None:
                on_finding(finding)
                return
            raise StoreError(
                f"{finding.code}: {finding.what} ({finding.where} of {self.path}); {finding.remedy}",
                **finding.to_json(),
            )

        if writer is not None:
            layout.record_file(writer)
        for owner, name in self._files_of_writers().items():
            if writer is not None and owner != writer:
                continue
            path = self.path / name
            with files.storing("read records", path):
                if layout.COMPACTED_FILE.fullmatch(name):
                    for _, record in compacted_records(path, self.name, owner, complain):
                        yield record
                    continue
                for _, text in scan_records(path, record_salt(self.name, owner), complain):
                    yield json.loads(text)

    def salt(self, path: Path) -> bytes:
        """What binds the hashes of a record file's records to this run."""
        return record_salt(self.name, layout.writer_of(path.name) or "")

    def outcomes(self, on_finding: Callable[[Finding], None] | None = None) -> dict[str, int]:
        """How many records have each ``outcome``, most frequent first; records without one count under ``""``.

        Raises:
            StoreError: as :meth:`records`.
        """
        counts: dict[str, int] = {}
        for record in self.records(on_finding=on_finding):
            outcome = record.get("outcome", "")
            key = outcome if isinstance(outcome, str) else json.dumps(outcome)
            counts[key] = counts.get(key, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _read_documents(
    path: Path, found: list[Finding]
) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any] | None]:
    """``run.json``, ``seal.json`` and ``interrupted.json``, with findings for what cannot be read."""
    document = _read_one(path, layout.RUN_FILE, layout.RUN_FORM, Code.RUN_DOCUMENT_DAMAGED, found) or {}
    if not document and not found:
        found.append(Finding(Code.RUN_DOCUMENT_MISSING, "there is no run.json", layout.RUN_FILE))
    if document and not _consistent(document):
        found.append(
            Finding(Code.RUN_DOCUMENT_INCONSISTENT, "a member is missing or of the wrong type", layout.RUN_FILE)
        )
        document = {}
    if document and document["run"] != path.name:
        found.append(Finding(Code.DIRECTORY_RENAMED, f"the run calls itself {document['run']}", layout.RUN_FILE))
    seal = _read_one(path, layout.SEAL_FILE, layout.SEAL_FORM, Code.SEAL_DAMAGED, found)
    if seal is not None and not (
        isinstance(seal.get("files"), dict)
        and isinstance(seal.get("summary"), dict)
        and isinstance(seal.get("elapsed_s"), (int, float))
        and _tells_its_origin(seal)
    ):
        found.append(Finding(Code.SEAL_DAMAGED, "a member is missing or of the wrong type", layout.SEAL_FILE))
        seal = None
    if seal is not None and document and seal.get("run") != document["run"]:
        found.append(Finding(Code.SEAL_FOREIGN, f"it seals {seal.get('run')}", layout.SEAL_FILE))
    interruption = _read_one(path, layout.INTERRUPTION_FILE, layout.INTERRUPTION_FORM, Code.INTERRUPTION_DAMAGED, found)
    if interruption is not None and not (
        isinstance(interruption.get("elapsed_s"), (int, float)) and _tells_its_origin(interruption)
    ):
        found.append(
            Finding(Code.INTERRUPTION_DAMAGED, "a member is missing or of the wrong type", layout.INTERRUPTION_FILE)
        )
        interruption = None
    return document, seal, interruption


def _consistent(document: dict[str, Any]) -> bool:
    texts = all(isinstance(document.get(name), str) for name in ("run", "kind", "identity", "started_at", "attempt"))
    objects = all(
        isinstance(document.get(name), dict)
        for name in ("configuration", "seeds", "security_randomness", "code", "engine", "machine", "process")
    )
    lists = all(isinstance(document.get(name), list) for name in ("identity_excludes", "parents"))
    named = document.get("campaign") is None or isinstance(document["campaign"], str)
    return texts and objects and lists and named and all(isinstance(parent, str) for parent in document["parents"])


def _tells_its_origin(ending: dict[str, Any]) -> bool:
    """Whether ``migrated_from`` is null, or names the schema and the hash of an older document."""
    origin = ending.get("migrated_from")
    if not isinstance(origin, dict):
        return origin is None
    return isinstance(origin.get("schema"), int) and isinstance(origin.get("sha256"), str)


def _read_one(path: Path, name: str, form: str, damaged: Code, found: list[Finding]) -> dict[str, Any] | None:
    try:
        return migrate_document(files.read_document(path / name, form), form)
    except FileNotFoundError:
        return None
    except files.DocumentError as error:
        found.append(Finding(damaged, str(error), name))
        return None
    except SchemaVersionError as error:
        newer = f"schema {error.fields['schema']}, this caligo reads up to {error.fields['understood']}"
        found.append(Finding(Code.NEWER_SCHEMA, newer, name))
        return None
    except OSError as error:
        found.append(Finding(Code.UNREADABLE_FILE, f"it cannot be read: {error.strerror}", name))
        return None


def _state(found: list[Finding], seal: dict[str, Any] | None, interruption: dict[str, Any] | None) -> State:
    if any(finding.severity is Severity.DAMAGE for finding in found):
        return State.DAMAGED
    if seal is not None:
        return State.SEALED
    return State.OPEN if interruption is None else State.INTERRUPTED


def load_run(path: str | os.PathLike[str], *, verify: bool = True) -> Run:
    """Load a run from its directory.

    Args:
        path: the run directory.
        verify: read every byte and check it against record hashes and the seal; otherwise read the documents only.

    Returns:
        The run; what is wrong with it is in ``findings``.

    Raises:
        StoreError: there is no such directory, or it holds neither ``run.json`` nor any other file of a run.
        SchemaVersionError: ``run.json`` was written by a newer caligo.
    """
    directory = Path(path).absolute()
    names = _names(directory)
    if not {layout.RUN_FILE, layout.SEAL_FILE}.intersection(names) and not any(map(layout.writer_of, names)):
        raise StoreError(
            f"expected a run directory, {directory} holds no run; see `caligo store list`", path=str(directory)
        )
    found: list[Finding] = []
    document, seal, interruption = _read_documents(directory, found)
    for finding in found:
        if finding.code is Code.NEWER_SCHEMA and finding.where == layout.RUN_FILE:
            raise SchemaVersionError(f"cannot read {directory}: {finding.what}; {finding.remedy}", path=str(directory))
    counts = {}
    if verify:
        run_name = str(document.get("run", directory.name))
        if document:
            found.extend(verify_identity(document))
        counts = _verify_files(directory, names, run_name, seal, found)
    elif seal is not None:
        counts = {
            name: entry["records"]
            for name, entry in sorted(seal["files"].items())
            if isinstance(entry, dict) and isinstance(entry.get("records"), int)
        }
    state = _state(found, seal, interruption)
    running = environment.process_runs(document["process"]) if state is State.OPEN and document else None
    return Run(directory, document, state, seal, interruption, tuple(found), verify, counts, running)


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(f"expected a run directory, there is none at {directory}", path=str(directory)) from error
    except OSError as error:
        raise files.storage_error(error, "read the run", directory) from error


def verify_identity(document: dict[str, Any]) -> Iterator[Finding]:
    """What is wrong with the identity that a ``run.json`` tells: nothing, or one finding."""
    excludes = map(str, document["identity_excludes"])
    try:
        identity = run_identity(document["kind"], document["configuration"], document["seeds"], excludes)
    except ConfigError:
        identity = None
    if identity != document["identity"]:
        yield Finding(Code.IDENTITY_MISMATCH, "the identity is not that of its configuration", layout.RUN_FILE)


def _verify_files(
    directory: Path, names: list[str], run: str, seal: dict[str, Any] | None, found: list[Finding]
) -> dict[str, int]:
    """Hash every file, scan every record; returns the whole records per record file."""
    counts: dict[str, int] = {}
    sealed = (
        {} if seal is None else {str(name): entry for name, entry in seal["files"].items() if isinstance(entry, dict)}
    )
    holding = set(layout.writers(names, sealed).values())
    for name in names:
        if name == layout.SEAL_FILE or name.startswith("."):
            continue
        path = directory / name
        writer = layout.RECORD_FILE.fullmatch(name) if name in holding else None
        compacted = layout.COMPACTED_FILE.fullmatch(name) if name in holding else None
        try:
            if writer is not None:
                digest = hashlib.sha256()
                counts[name] = sum(
                    1 for _ in scan_records(path, record_salt(run, writer[1]), found.append, digest.update)
                )
                size, sha256 = path.stat().st_size, digest.hexdigest()
            else:
                size, sha256, _ = files.file_digest(path)
        except OSError as error:
            found.append(Finding(Code.UNREADABLE_FILE, f"it cannot be read: {error.strerror}", name))
            continue
        entry = sealed.get(name)
        if compacted is not None:
            counts[name] = _count_compacted(path, run, compacted[1], entry, sha256, found)
        if seal is None:
            if layout.COMPACTED_FILE.fullmatch(name) and name not in holding:
                found.append(Finding(Code.COMPACTION_UNFINISHED, "its lines were not yet replaced by it", name))
            continue
        if entry is None:
            found.append(_not_sealed(name, size, sha256, sealed))
            continue
        if entry.get("bytes") != size or entry.get("sha256") != sha256:
            found.append(
                Finding(
                    Code.FILE_CHANGED,
                    f"it differs from what was sealed ({entry.get('bytes')} bytes then, {size} now)",
                    name,
                )
            )
        if name in counts and entry.get("records") != counts[name]:
            found.append(
                Finding(
                    Code.RECORD_COUNT_MISMATCH,
                    f"{counts[name]} whole records, {entry.get('records')} were sealed",
                    name,
                )
            )
    found.extend(
        Finding(Code.FILE_MISSING, "it is in the seal and not in the directory", name)
        for name in sorted(sealed.keys() - set(names))
    )
    return counts


def _not_sealed(name: str, size: int, sha256: str, sealed: dict[str, dict[str, Any]]) -> Finding:
    """A file that the seal does not list; lines that it lists as Parquet were left by a killed process."""
    lines = layout.RECORD_FILE.fullmatch(name)
    if lines is not None:
        replaced = sealed.get(layout.compacted_file(lines[1]), {}).get("replaces")
        if replaced == {"bytes": size, "sha256": sha256}:
            return Finding(Code.LINES_LEFT_OVER, "the seal lists its records as Parquet", name)
    return Finding(Code.FILE_NOT_SEALED, "it is not in the seal", name)


def _count_compacted(
    path: Path, run: str, writer: str, entry: dict[str, Any] | None, sha256: str, found: list[Finding]
) -> int:
    """The records of a compacted file. One that is what was sealed was read back then; any other is read now."""
    if entry is not None and entry.get("sha256") == sha256 and isinstance(entry.get("records"), int):
        return int(entry["records"])
    try:
        return sum(1 for _ in compacted_records(path, run, writer, found.append))
    except ResourceError as error:
        found.append(Finding(Code.UNREADABLE_FILE, f"it cannot be read: {error.message}", path.name))
        return 0


def list_runs(store: str | os.PathLike[str] | None = None) -> list[RunInfo]:
    """Every run of a store, oldest first. Reads ``run.json`` of each and looks for its ending.

    Args:
        store: directory of the store; None is :func:`caligo.store.layout.default_store`.

    Returns:
        One entry per run directory; damaged ones with what is wrong. Empty when the store does not exist yet.

    Raises:
        StoreError: the store cannot be read, or is not a directory.
    """
    base = layout.default_store() if store is None else Path(store).absolute()
    runs = layout.runs_directory(base)
    try:
        names = sorted(name for name in os.listdir(runs) if not name.startswith("."))
    except FileNotFoundError:
        if base.exists() and not base.is_dir():
            raise StoreError(f"expected a store directory, {base} is a file; choose another with --store") from None
        return []
    except NotADirectoryError as error:
        raise StoreError(f"expected a directory of runs at {runs}; choose another store with --store") from error
    except OSError as error:
        raise files.storage_error(error, "list the store", runs) from error
    infos = (_info(runs / name) for name in names)
    return sorted((info for info in infos if info is not None), key=lambda info: (info.started_at, info.name))


def _info(path: Path) -> RunInfo | None:
    match = layout.RUN_NAME.fullmatch(path.name)
    try:
        names = set(os.listdir(path))
    except NotADirectoryError:
        return None
    except OSError as error:
        return RunInfo(
            path.name, path, State.DAMAGED, match[2] if match else "", _stamp(path.name), None, str(error.strerror)
        )
    found: list[Finding] = []
    document = _read_one(path, layout.RUN_FILE, layout.RUN_FORM, Code.RUN_DOCUMENT_DAMAGED, found)
    if document is None or not _consistent(document):
        why = found[0].what if found else "there is no run.json" if document is None else "run.json is not a run's"
        kind = match[2] if match else ""
        return RunInfo(
            path.name, path, State.DAMAGED, kind, _stamp(path.name), None, f"run.json: {why}" if found else why
        )
    state = State.OPEN
    if layout.SEAL_FILE in names:
        state = State.SEALED
    elif layout.INTERRUPTION_FILE in names:
        state = State.INTERRUPTED
    running = environment.process_runs(document["process"]) if state is State.OPEN else None
    return RunInfo(
        path.name, path, state, document["kind"], document["started_at"], document["identity"], running=running
    )


def _stamp(name: str) -> str:
    """The start time that a directory's name tells, as ISO text; empty when it tells none."""
    match = layout.RUN_NAME.fullmatch(name)
    if match is None:
        return ""
    text = match[1]
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[9:11]}:{text[11:13]}:{text[13:]}"


def find_run(store: str | os.PathLike[str] | None, text: str) -> Path:
    """The directory of the run that a person means.

    Args:
        store: directory of the store; None is the default one.
        text: a path to a run directory, ``last``, or the beginning of a run's name or of its short id.

    Returns:
        Absolute path of the run directory.

    Raises:
        StoreError: no run matches, or several do (they are named).
    """
    base = layout.default_store() if store is None else Path(store).absolute()
    runs = layout.runs_directory(base)
    try:
        with os.scandir(runs) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:
        names = []
    if text == "last" and names:
        return runs / names[-1]
    if text in names:
        return runs / text
    matching = [name for name in names if text and (name.startswith(text) or name.rpartition("-")[2].startswith(text))]
    if len(matching) == 1:
        return runs / matching[0]
    if len(matching) > 1:
        shown = ", ".join(matching[:5]) + (", ..." if len(matching) > 5 else "")
        raise StoreError(
            f"{text!r} means {len(matching)} runs: {shown}; give more of the name", text=text, matches=len(matching)
        )
    path = Path(text).absolute()
    if text and path.is_dir():
        return path
    raise StoreError(
        f"no run {text!r} in {base} ({len(names)} runs) and no such directory; see `caligo store list`",
        text=text,
        store=str(base),
    )

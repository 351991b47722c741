"""Salvage: the whole records of a run whose writer was killed, sealed as a run of its own.

Covers: what the new run is (its name, documents and files follow from the old one alone, so however often and wherever
it is made, it is the same), making it, and taking up a salvage that was itself killed. Does not cover: when
(:mod:`.repair`).

The old directory is only read. The new run has its kind, configuration and identity, names it in ``parents``, and its
summary says ``salvaged``: it has no figures, for the work was not finished. When the writer stopped is not known, so
the seal says no time of its own: ``sealed_at`` is the start, ``elapsed_s`` zero. Its directory stays the owner's alone,
since random values of a job that goes on elsewhere may not have been said yet.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from caligo.errors import StoreError
from caligo.store import environment, files, layout, sealing
from caligo.store.findings import Finding
from caligo.store.governing.governance import NO_STANDING, LiveStandings, note_repair
from caligo.store.reader import Run, load_run
from caligo.store.records import frame_record, record_salt, scan_records

__all__ = ["plan_salvage", "salvage"]

MOST_LOST = 20
"""Findings about what was lost that a summary repeats."""

MOST_OUTCOMES = 100
"""Outcomes that a summary counts one by one."""


def plan_salvage(path: Path) -> tuple[str, int] | None:
    """What a salvage of a run would make.

    Args:
        path: directory of a run without an ending.

    Returns:
        Name of the new run, and its number of records; None where ``run.json`` does not tell what the run is.

    Raises:
        StoreError: the run cannot be read.
    """
    content = _Content.read(path)
    return None if content is None else (content.name, content.records)


def salvage(store: Path, path: Path, live: LiveStandings | None = None) -> str:
    """Seal the whole records of a run as a run of its own, enter it in the ledger, and set the old one aside.

    Args:
        store: directory of the store.
        path: directory of the old run.
        live: standings of this store, where more runs are salvaged; None reads the ledgers for this one.

    Returns:
        Name of the new run, as :func:`plan_salvage`.

    Raises:
        StandingError: the old run was rejected.
        StoreError: it is not known what the run is, or the store cannot be read or written.
        ResourceError: the disk or the quota is full.
    """
    from caligo.store.audit.ledger import append_seal

    content = _Content.read(path)
    if content is None:
        raise StoreError(f"cannot salvage {path}: its run.json cannot be read; repair again, or copy run.json back")
    target = layout.runs_directory(store) / content.name
    with files.storing("salvage a run", target):
        _clear(target)
        if not target.is_dir():
            _make(target, content)
    known = live or LiveStandings(store)
    if not known.read().get(content.name, NO_STANDING).is_admitted:
        append_seal(target)
    if known.read().get(content.run.name, NO_STANDING).by != content.name:
        what = f"its {content.records} whole records were salvaged"
        note_repair(store, content.run.name, content.name, what, live=known)
    return content.name


class _Content:
    """What a killed run holds: found in a first pass, written in a second.

    Args:
        run: its documents.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.records = 0
        self.outcomes: dict[str, int] = {}
        self.lost: list[str] = []
        digest = hashlib.sha256(f"caligo.salvage/1\n{run.name}\n".encode("utf-8", "surrogatepass"))
        for writer, place in self.writers():
            digest.update(f"{writer}\n".encode())
            for text in _whole(run, writer, place, self._lose):
                digest.update(b"%d\n%b\n" % (len(text), text))
                self._count(text)
        for name in self.attachments():
            digest.update(f"{name} {files.file_digest(run.path / name)[1]}\n".encode("utf-8", "surrogatepass"))
        self.attempt = digest.hexdigest()[:32]
        started = datetime.fromisoformat(run.document["started_at"])
        self.name = layout.run_name(started, run.kind, self.attempt)

    @classmethod
    def read(cls, path: Path) -> _Content | None:
        """The first pass; None where it is not known what the run is."""
        run = load_run(path, verify=False)
        try:
            layout.check_kind(run.kind)
            datetime.fromisoformat(run.document["started_at"])
        except (KeyError, ValueError):
            return None
        with files.storing("read a run", path):
            return cls(run)

    def writers(self) -> list[tuple[str, Path]]:
        """Each writer and its file of lines."""
        names = sorted(os.listdir(self.run.path))
        return [(found[1], self.run.path / name) for name in names if (found := layout.RECORD_FILE.fullmatch(name))]

    def attachments(self) -> list[str]:
        """Files beside the records; a Parquet file beside lines was not finished."""
        found = []
        for name in sorted(os.listdir(self.run.path)):
            path = self.run.path / name
            own = name.startswith(".") or name == layout.RUN_FILE or layout.RECORD_FILE.fullmatch(name)
            if not own and not layout.COMPACTED_FILE.fullmatch(name) and path.is_file() and not path.is_symlink():
                found.append(name)
        return found

    def _lose(self, finding: Finding) -> None:
        if len(self.lost) < MOST_LOST:
            self.lost.append(f"{finding.code.value} {finding.where}: {finding.what}")

    def _count(self, text: bytes) -> None:
        self.records += 1
        outcome = json.loads(text).get("outcome", "")
        key = outcome if isinstance(outcome, str) else json.dumps(outcome)
        if key in self.outcomes or len(self.outcomes) < MOST_OUTCOMES:
            self.outcomes[key] = self.outcomes.get(key, 0) + 1

    def document(self) -> dict[str, Any]:
        """``run.json`` of the new run."""
        told = {name: value for name, value in self.run.document.items() if name != "sha256"}
        named = {"format": layout.RUN_FORM, "schema": layout.SCHEMA, "run": self.name, "attempt": self.attempt}
        return {**told, **named, "parents": [self.run.name]}

    def seal(self, listed: dict[str, Any]) -> dict[str, Any]:
        """``seal.json`` of the new run."""
        return {
            "format": layout.SEAL_FORM,
            "schema": layout.SCHEMA,
            "run": self.name,
            "sealed_at": self.run.document["started_at"],
            "elapsed_s": 0.0,
            "summary": {
                "salvaged": True,
                "of": self.run.name,
                "records": self.records,
                "outcomes": dict(sorted(self.outcomes.items())),
                "lost": self.lost,
            },
            "files": listed,
            "migrated_from": None,
        }


def _whole(run: Run, writer: str, path: Path, on_finding: Callable[[Finding], None]) -> Iterator[bytes]:
    for _, text in scan_records(path, record_salt(run.name, writer), on_finding):
        yield text


def _make(target: Path, content: _Content) -> None:
    """Make the directory of the new run appear, sealed, or not at all."""
    process = environment.this_process()
    owner = f"{process['pid']}-{process['start_ticks']}-{process['boot_id']}"
    nascent = target.with_name(f".creating-{target.name}-{owner}")
    nascent.mkdir(0o700)
    try:
        files.put_whole(nascent / layout.RUN_FILE, files.document_bytes(content.document()))
        for writer, place in content.writers():
            _copy_records(content, writer, place, nascent / layout.record_file(writer))
        for name in content.attachments():
            _copy_file(content.run.path / name, nascent / name)
        listed = sealing.list_files(nascent, {})
        files.put_whole(nascent / layout.SEAL_FILE, files.document_bytes(content.seal(listed)))
        for name in os.listdir(nascent):
            os.chmod(nascent / name, 0o444)
        try:
            os.rename(nascent, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(nascent)
    except BaseException:
        shutil.rmtree(nascent, ignore_errors=True)
        raise
    files.sync_directory(target.parent)


def _copy_records(content: _Content, writer: str, place: Path, target: Path) -> None:
    salt = record_salt(content.name, writer)
    with open(target, "xb") as file:
        for index, text in enumerate(_whole(content.run, writer, place, lambda finding: None)):
            file.write(frame_record(salt, index, text))
        file.flush()
        os.fsync(file.fileno())


def _copy_file(place: Path, target: Path) -> None:
    with open(place, "rb") as source, open(target, "xb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())


def _clear(target: Path) -> None:
    """Remove what killed salvages of the same run have left; those of living processes, or elsewhere, stay."""
    prefix = f".creating-{target.name}-"
    for name in os.listdir(target.parent):
        if not name.startswith(prefix):
            continue
        pid, _, rest = name.removeprefix(prefix).partition("-")
        ticks, _, boot = rest.partition("-")
        if pid.isdigit() and ticks.isdigit():
            process = {"pid": int(pid), "start_ticks": int(ticks), "boot_id": boot}
            if environment.process_runs(process) is False:
                with suppress(FileNotFoundError):
                    shutil.rmtree(target.with_name(name))

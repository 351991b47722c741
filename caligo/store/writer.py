"""Writing a run: its identity first, then its records, then its seal.

Covers: :class:`RunWriter`, the only thing that writes a run directory. Does not cover: reading, repair, the audit
ledger.

What holds whatever happens (``specs/run-directory.md``):

- A run directory appears under its name whole, with ``run.json`` durable, before any work starts.
- Records are appended by one writer per file. A killed process loses at most the records of its last
  ``flush_interval_s`` and leaves at most one torn line; a power failure may lose what the kernel had not yet written.
- ``seal.json`` appears whole, after everything it lists is durable. A run without it is open or interrupted.
- A failed write leaves what was written before it; records not yet written stay in the writer and are tried again by
  the next flush, seal or interrupt, without duplicates.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from caligo.errors import CaligoError, ConfigError, StoreError
from caligo.store import compaction, environment, files, layout, sealing
from caligo.store.audit import ledger
from caligo.store.migrations import migrate_document
from caligo.store.records import frame_record, record_salt
from caligo.store.values import encode_record, plain, run_identity

_ERROR_TEXT = 1000
_log = logging.getLogger("caligo.store")


class _RecordFile:
    """One append-only record file and the records not yet written to it.

    ``_state`` is (bytes written, records written, lines pending) and changes by one assignment, so an exception
    between any two steps, Ctrl-C included, leaves it true: what the file holds beyond ``bytes written`` is cut off
    before the next write.
    """

    def __init__(self, path: Path, run: str, writer: str) -> None:
        self.path = path
        self._salt = record_salt(run, writer)
        self._state: tuple[int, int, list[bytes]] = (0, 0, [])
        with files.storing("create a record file", path):
            self._descriptor: int | None = os.open(
                path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666
            )

    @property
    def count(self) -> int:
        """Records accepted."""
        return self._state[1] + len(self._state[2])

    @property
    def written(self) -> int:
        """Records handed to the kernel."""
        return self._state[1]

    @property
    def is_open(self) -> bool:
        """Whether records are accepted."""
        return self._descriptor is not None

    def append(self, text: bytes) -> int:
        """Accept one encoded record; returns the bytes of its line."""
        _, written, pending = self._state
        line = frame_record(self._salt, written + len(pending), text)
        pending.append(line)
        return len(line)

    def write(self) -> None:
        """Hand every pending line to the kernel, whole or not at all."""
        size, written, pending = self._state
        if self._descriptor is None or not pending:
            return
        data = b"".join(pending)
        with files.storing("write records", self.path):
            _cut(self._descriptor, size)
            try:
                files.write_all(self._descriptor, data)
            except BaseException:
                with suppress(OSError):
                    _cut(self._descriptor, size)
                raise
        self._state = (size + len(data), written + len(pending), [])

    def close(self) -> None:
        """Write, make durable, close.

        Raises:
            StoreError: the file is not what was written to it; also as :func:`caligo.store.files.storage_error`.
            ResourceError: no space.
        """
        if self._descriptor is None:
            return
        self.write()
        with files.storing("make records durable", self.path):
            size = os.fstat(self._descriptor).st_size
            if size != self._state[0]:
                raise StoreError(
                    f"expected {self._state[0]} bytes in {self.path}, found {size}: something else writes to it; "
                    "give every process its own writer name",
                    path=str(self.path),
                    expected=self._state[0],
                    got=size,
                )
            os.fsync(self._descriptor)
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def abandon(self) -> None:
        """Close without promises."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with suppress(OSError):
                os.close(descriptor)


def _cut(descriptor: int, size: int) -> None:
    """Remove what a failed or interrupted write left beyond ``size``."""
    if os.fstat(descriptor).st_size > size:
        os.ftruncate(descriptor, size)


class RunWriter:
    """One run being recorded. Safe to share between threads; not to be carried across a fork.

    Use it as a context manager: leaving the block by an exception interrupts the run and names the error's class;
    leaving it without :meth:`seal` interrupts it too.

        with RunWriter.create(None, "reconcile", configuration) as run:
            run.record({"block": 0, "outcome": "ok", "elapsed_ns": 2_000_000})
            run.seal({"blocks": 1})
    """

    def __init__(
        self,
        path: Path,
        records: _RecordFile,
        document: dict[str, Any],
        *,
        owner: bool,
        compact: bool = False,
        flush_bytes: int,
        flush_interval_s: float,
    ) -> None:
        self.path = path
        """Absolute path of the run directory."""
        self.document = document
        """Content of ``run.json``."""
        self.ended: str | None = None
        """None while records are accepted, then ``"sealed"``, ``"interrupted"`` or ``"closed"``."""
        self.ledger_error: CaligoError | None = None
        """Why the seal did not enter the audit ledger; validation finds the run, and a repair enters it."""
        self._records = records
        self._owner = owner
        self._compact = compact
        self._flush_bytes = flush_bytes
        self._flush_interval_s = flush_interval_s
        self._lock = threading.RLock()
        self._pending_bytes = 0
        self._flushed_at = self._started = time.monotonic()

    # --- beginning ----------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        store: str | os.PathLike[str] | None,
        kind: str,
        configuration: Mapping[str, Any],
        *,
        seeds: Mapping[str, Any] | None = None,
        security_randomness: Mapping[str, Any] | None = None,
        engine: Mapping[str, Any] | None = None,
        identity_excludes: Iterable[str] = (),
        resumes: str | None = None,
        campaign: str | None = None,
        parents: Iterable[str] = (),
        writer: str = "main",
        compact: bool = False,
        flush_bytes: int = 1 << 16,
        flush_interval_s: float = 0.2,
    ) -> Self:
        """Begin a run: its directory and ``run.json`` are durable when this returns.

        Args:
            store: directory of the store, made when missing; None is :func:`caligo.store.layout.default_store`.
            kind: kind of run, such as ``reconcile``, ``simulate``, ``bench``.
            configuration: everything that was asked for; small JSON values, never key bits.
            seeds: simulation seeds; part of the identity.
            security_randomness: public values drawn for this run, as hexadecimal text; not part of the identity.
            engine: engine and build of the decoder.
            identity_excludes: names of configuration entries that do not define the experiment (threads, paths).
            resumes: name of the run that this attempt continues.
            campaign: name of the campaign that the run belongs to; not part of the identity.
            parents: names of the runs that this one derives from (its lineage); not part of the identity.
            writer: name of this writer's record file.
            compact: write the records of all writers as Parquet when the run is sealed.
            flush_bytes: records are handed to the kernel when this many bytes wait,
            flush_interval_s: or, at the next record, when the last time is this long ago (seconds).

        Raises:
            ConfigError: a value that must not be stored, or a bad name of a kind, a writer or a campaign.
            ResourceError: the disk or the quota is full, or records cannot be compacted (pyarrow is not installed).
            StoreError: the store cannot be written, for any other reason.
        """
        if compact:
            compaction.require_parquet()
        layout.check_kind(kind)
        layout.record_file(writer)
        content = plain(configuration, "configuration")
        simulation_seeds = plain(seeds, "seeds")
        excludes = sorted(set(identity_excludes))
        base = layout.default_store() if store is None else Path(store).absolute()
        runs = layout.runs_directory(base)
        moment = datetime.now(UTC)
        attempt = secrets.token_hex(16)
        name = layout.run_name(moment, kind, attempt)
        document = {
            "format": layout.RUN_FORM,
            "schema": layout.SCHEMA,
            "run": name,
            "kind": kind,
            "identity": run_identity(kind, content, simulation_seeds, excludes),
            "identity_excludes": excludes,
            "started_at": layout.utc_text(moment),
            "attempt": attempt,
            "resumes": resumes,
            "campaign": layout.check_campaign(campaign),
            "parents": list(dict.fromkeys(parents)),
            "configuration": content,
            "seeds": simulation_seeds,
            "security_randomness": plain(security_randomness, "security_randomness"),
            "code": environment.code_version(),
            "engine": plain(engine, "engine"),
            "machine": plain(environment.machine_fingerprint(), "machine"),
            "process": environment.this_process(),
        }
        document = plain(document, "run.json")
        path = runs / name
        _make_run_directory(runs, path, files.document_bytes(document))
        records = _RecordFile(path / layout.record_file(writer), name, writer)
        return cls(
            path,
            records,
            document,
            owner=True,
            compact=compact,
            flush_bytes=flush_bytes,
            flush_interval_s=flush_interval_s,
        )

    @classmethod
    def join(
        cls,
        path: str | os.PathLike[str],
        writer: str,
        *,
        flush_bytes: int = 1 << 16,
        flush_interval_s: float = 0.2,
    ) -> Self:
        """Add a second writer to a run that another process began: its own record file, no right to seal.

        Args:
            path: directory of the run.
            writer: a name no other writer of this run has, such as ``rank0007``.
            flush_bytes: as in :meth:`create`.
            flush_interval_s: as in :meth:`create`.

        Raises:
            StoreError: no such run, it has ended, or the name is taken.
            SchemaVersionError: a newer caligo began it.
            ConfigError: a bad writer name.
            ResourceError: the disk or the quota is full.
        """
        directory = Path(path).absolute()
        name = layout.record_file(writer)
        try:
            document = migrate_document(
                files.read_document(directory / layout.RUN_FILE, layout.RUN_FORM), layout.RUN_FORM
            )
        except (OSError, files.DocumentError) as error:
            raise StoreError(
                f"cannot join {directory}: no readable run.json ({error}); name a run directory"
            ) from error
        for ending in (layout.SEAL_FILE, layout.INTERRUPTION_FILE):
            if (directory / ending).exists():
                raise StoreError(
                    f"cannot join {directory}: the run has ended ({ending}); begin a new run", path=str(directory)
                )
        if (directory / name).exists():
            raise StoreError(
                f"cannot join {directory}: {name} exists; every writer needs its own name", path=str(directory)
            )
        records = _RecordFile(directory / name, str(document["run"]), writer)
        return cls(
            directory, records, document, owner=False, flush_bytes=flush_bytes, flush_interval_s=flush_interval_s
        )

    # --- properties ---------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the run."""
        return str(self.document["run"])

    @property
    def identity(self) -> str:
        """Identity of the experiment, 64 hexadecimal digits."""
        return str(self.document["identity"])

    @property
    def count(self) -> int:
        """Records accepted by this writer."""
        return self._records.count

    def __repr__(self) -> str:
        return f"RunWriter({self.name!r}, {self.ended or 'open'}, {self.count} records)"

    # --- records ------------------------------------------------------------------------------------------------------

    def record(self, record: Mapping[str, Any]) -> None:
        """Append one record.

        Args:
            record: small JSON values (:data:`caligo.store.values.RECORD_LIMITS`); by custom ``block``, ``outcome``,
                ``elapsed_ns``, ``leakage_bits``.

        Raises:
            ConfigError: a value that must not be stored; nothing was recorded.
            StoreError: the run has ended, or cannot be written.
            ResourceError: the disk or the quota is full; the record is kept and tried again.
        """
        text = encode_record(record)
        with self._lock:
            if self.ended is not None or not self._records.is_open:
                self._require_open(recording=True)
            self._pending_bytes += self._records.append(text)
            if (
                self._pending_bytes >= self._flush_bytes
                or time.monotonic() - self._flushed_at >= self._flush_interval_s
            ):
                self._flush()

    def record_many(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append several records, all or (when one of them must not be stored) none. Raises as :meth:`record`."""
        texts = [encode_record(record) for record in records]
        with self._lock:
            self._require_open(recording=True)
            for text in texts:
                self._pending_bytes += self._records.append(text)
            self._flush_when_due()

    def flush(self) -> None:
        """Hand every record to the kernel now. Raises as :meth:`record`."""
        with self._lock:
            self._require_open(recording=True)
            self._flush()

    def _flush_when_due(self) -> None:
        if self._pending_bytes >= self._flush_bytes or time.monotonic() - self._flushed_at >= self._flush_interval_s:
            self._flush()

    def _flush(self) -> None:
        self._records.write()
        self._pending_bytes = 0
        self._flushed_at = time.monotonic()

    def _require_open(self, recording: bool = False) -> None:
        if self.ended is not None:
            raise StoreError(
                f"expected an open run, {self.name} is {self.ended}; begin a new run", run=self.name, ended=self.ended
            )
        if recording and not self._records.is_open:
            raise StoreError(
                f"{self.name} takes no more records since sealing it began; seal() again or interrupt()", run=self.name
            )

    def attach(self, name: str, data: bytes) -> None:
        """Put a file beside the records; the seal covers it.

        Args:
            name: of the file: no record file, nothing hidden, not one of the store's own.
            data: its content; never key bits.

        Raises:
            ConfigError: a name that is taken or not a plain one.
            StoreError: the run has ended, or cannot be written.
            ResourceError: the disk or the quota is full.
        """
        own = (layout.RUN_FILE, layout.SEAL_FILE, layout.INTERRUPTION_FILE)
        if Path(name).name != name or name.startswith(".") or name in own or layout.writer_of(name):
            raise ConfigError(f"expected the plain name of a file beside the records, got {name!r}; choose another")
        with self._lock:
            self._require_open()
            with files.storing("put a file beside the records", self.path / name):
                if (self.path / name).exists():
                    raise FileExistsError(None, "a file of this name exists")
                files.put_whole(self.path / name, data)

    # --- ending -------------------------------------------------------------------------------------------------------

    def seal(self, summary: Mapping[str, Any] | None = None, *, compact: bool | None = None) -> None:
        """End the run well: every file durable, hashed and listed in ``seal.json``; files become read-only where
        possible.

        Args:
            summary: the run's figures; JSON values.
            compact: write the records of all writers as Parquet instead of lines; None is what :meth:`create` was
                told. A file that could not be restored from Parquet bit for bit stays as it is.

        Raises:
            ConfigError: a value that must not be stored; the run stays open.
            StoreError: the run has ended, this is not the writer that began it, or the store cannot be written.
            ResourceError: the disk or the quota is full, or pyarrow is not installed; the run stays open.
        """
        figures = plain(summary, "summary")
        with self._lock:
            self._require_open()
            if not self._owner:
                raise StoreError(f"only the writer that began {self.name} may seal it; call close()", run=self.name)
            self._records.close()
            with files.storing("seal the run", self.path):
                wanted = self._compact if compact is None else compact
                replaced = sealing.compact_files(self.path, self.name) if wanted else {}
                listed = sealing.list_files(self.path, replaced)
                seal = {
                    "format": layout.SEAL_FORM,
                    "schema": layout.SCHEMA,
                    "run": self.name,
                    "sealed_at": layout.utc_text(datetime.now(UTC)),
                    "elapsed_s": round(time.monotonic() - self._started, 6),
                    "summary": figures,
                    "files": listed,
                    "migrated_from": None,
                }
                files.put_whole(self.path / layout.SEAL_FILE, files.document_bytes(seal))
            self.ended = "sealed"
            for name in replaced:
                with suppress(OSError):
                    os.unlink(self.path / name)
            for entry in (*listed, layout.SEAL_FILE):
                with suppress(OSError):
                    os.chmod(self.path / entry, 0o444)
            with suppress(OSError):
                os.chmod(self.path, self.path.parent.stat().st_mode & 0o777)
            self._enter_seal()

    def _enter_seal(self) -> None:
        """Enter the seal in the ledger of the store. The run is sealed whether that works or not."""
        try:
            ledger.append_seal(self.path)
        except CaligoError as error:
            self.ledger_error = error
            _log.warning(
                f"{self.name} is sealed, not in the audit ledger: {error.message}; `caligo store repair` enters it",
                extra={"run": self.name},
            )

    def interrupt(self, reason: str, error: BaseException | None = None) -> None:
        """End the run unfinished: what was recorded stays, ``interrupted.json`` says why.

        Args:
            reason: one sentence for the reader; at most 1000 characters are kept.
            error: what ended it. Its class is recorded; its message only when it is caligo's own or the operating
                system's, since a foreign message may quote data.

        Raises:
            StoreError: the run has ended, or cannot be written (what was flushed stays readable; the run shows as
                open).
            ResourceError: the disk or the quota is full; likewise.
        """
        with self._lock:
            self._require_open()
            if self._owner and (self.path / layout.SEAL_FILE).exists():
                self.ended = "sealed"
                return
            failure: CaligoError | None = None
            try:
                try:
                    self._records.close()
                except CaligoError as refused:
                    failure = refused
                if self._owner:
                    self._note_interruption(reason, error)
            finally:
                self._records.abandon()
                self.ended = "interrupted" if self._owner else "closed"
            if failure is not None:
                raise failure

    def _note_interruption(self, reason: str, error: BaseException | None) -> None:
        note = {
            "format": layout.INTERRUPTION_FORM,
            "schema": layout.SCHEMA,
            "run": self.name,
            "interrupted_at": layout.utc_text(datetime.now(UTC)),
            "elapsed_s": round(time.monotonic() - self._started, 6),
            "reason": reason[:_ERROR_TEXT],
            "error": None if error is None else _described(error),
            "records": self._records.written,
            "migrated_from": None,
        }
        with files.storing("record the interruption", self.path):
            files.put_whole(self.path / layout.INTERRUPTION_FILE, files.document_bytes(note))

    def close(self) -> None:
        """End a joined writer: its records are durable, the run goes on. Raises as :meth:`record`; twice is
        harmless.
        """
        with self._lock:
            if self._owner and self.ended is None:
                raise StoreError(f"{self.name} was begun here: end it with seal() or interrupt()", run=self.name)
            self._records.close()
            self.ended = self.ended or "closed"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.ended is not None:
            return
        if error is None:
            if self._owner:
                self.interrupt("the run ended without a seal")
            else:
                self.close()
            return
        reason = (
            "interrupted from the keyboard"
            if isinstance(error, KeyboardInterrupt)
            else f"ended by {type(error).__name__}"
        )
        with suppress(CaligoError):
            self.interrupt(reason, error)


def _make_run_directory(runs: Path, path: Path, document: bytes) -> None:
    """Make a run directory appear with its ``run.json``, or not at all."""
    nascent = runs / f".creating-{path.name}"
    with files.storing("make a run directory", path):
        new = [directory for directory in (runs, *runs.parents) if not directory.exists()]
        runs.mkdir(parents=True, exist_ok=True)
        for directory in new:
            files.sync_directory(directory.parent)
        # Random values are public only once they have been said.
        nascent.mkdir(0o700)
        try:
            files.put_whole(nascent / layout.RUN_FILE, document)
            if path.exists():
                raise FileExistsError(None, "a run of this name exists")
            nascent.rename(path)
        except BaseException:
            for leftover in (nascent / layout.RUN_FILE, nascent):
                with suppress(OSError):
                    leftover.rmdir() if leftover is nascent else leftover.unlink()
            raise
        files.sync_directory(runs)


def _described(error: BaseException) -> dict[str, Any]:
    message: str | None = None
    if isinstance(error, CaligoError):
        message = error.message
    elif isinstance(error, OSError):
        message = error.strerror
    frames = traceback.extract_tb(error.__traceback__)
    at = None
    if frames:
        last = frames[-1]
        at = f"{Path(last.filename).name}:{last.lineno} in {last.name}"
    return {
        "class": type(error).__name__,
        "message": None if message is None else message[:_ERROR_TEXT],
        "at": at,
    }

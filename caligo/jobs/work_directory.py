"""The work directory of a job: what it has to remember to go on after any interruption.

Covers: the job's own document, written once; what was decided from the sample; attempts, each with a directory of its
own, and which of them is the latest; the list of frames that turned out damaged; what is left when the job is done.
Does not cover: frames (:mod:`.shards`), the record in the experiment store, the reconciled keys (:mod:`.outputs`).

    WORK/                          0700: there are key bits in it until the job is done
      job.json                     definition, fingerprints of the key files, public random values; before any use
      plan.json                    what the sampled positions said; before any block
      attempts/0001-3fa94c1b/      one start of the job
        attempt.json               when, where, how many ranks
        schedule.jsonl             which rank was given which tasks
        rank00000.shard ...        what each rank has done
      damaged.jsonl                frames that a later reading found damaged, to be done anew
      done.json                    the report; the shards are gone then

An attempt writes in its own directory alone, and reads those before it. Of a rank that is still running after its
attempt was given up (its node was declared down, the network was cut) nothing is needed and nothing is feared: what it
appends is looked at by nobody, and before it would put a result in place it sees that there is a later attempt
(:meth:`WorkDirectory.require_latest`).
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from caligo.errors import ClusterError, ConfigError, StoreError
from caligo.store.files import (
    DocumentError,
    document_bytes,
    put_whole,
    read_document,
    storage_error,
    storing,
    sync_directory,
)
from caligo.telemetry.startup import parse_start_ticks

__all__ = ["Attempt", "WorkDirectory", "iterate_shards", "shard_name", "this_process"]

_JOB_FORM = "caligo.job/1"
_PLAN_FORM = "caligo.job-plan/1"
_ATTEMPT_FORM = "caligo.job-attempt/1"
_DONE_FORM = "caligo.job-done/1"


def shard_name(rank: int) -> str:
    """The file name of a rank's shard."""
    return f"rank{rank:05d}.shard"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of a job.

    Args:
        number: from 1.
        path: its directory.
    """

    number: int
    path: Path

    @property
    def name(self) -> str:
        """Of the directory."""
        return self.path.name

    def shards(self) -> list[Path]:
        """Its shards, by rank.

        Raises:
            StoreError: the directory cannot be read.
        """
        with storing("list the shards of an attempt", self.path):
            return sorted(self.path.glob("rank*.shard"))


class WorkDirectory:
    """The work directory of one job.

    Args:
        path: of the directory; need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._attempts = path / "attempts"

    def __repr__(self) -> str:
        return f"WorkDirectory({str(self.path)!r})"

    # --- the job ---------------------------------------------------------------------------------------------------

    def job(self) -> dict[str, Any] | None:
        """The job's document; None where none was begun.

        Raises:
            StoreError: it is damaged.
        """
        return self._document("job.json", _JOB_FORM)

    def begin(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Write the job's document, unless there is one: whoever is first decides.

        Args:
            content: JSON values.

        Returns:
            The document that holds from now on.

        Raises:
            ResourceError: the disk is full.
            StoreError: the directory cannot be made or written, or is damaged.
        """
        with storing("make the work directory", self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self.path.parent)
            own = self.path / f".job.json.{secrets.token_hex(4)}"
            put_whole(own, document_bytes({"format": _JOB_FORM, **content}))
            try:
                os.link(own, self.path / "job.json")
                sync_directory(self.path)
            except FileExistsError:
                pass
            finally:
                own.unlink()
        held = self.job()
        if held is None:
            raise StoreError(f"expected the job that was written in {self.path}, got none; check the file system")
        return held

    def require_same(self, digest: str, job_path: str) -> None:
        """Refuse to go on with another job than the one that was begun here.

        Args:
            digest: of the job's definition.
            job_path: of the job file, for the message.

        Raises:
            ConfigError: the definition has changed.
            StoreError: the document is damaged.
        """
        begun = self.job()
        if begun is not None and begun["digest"] != digest:
            raise ConfigError(
                f"expected the job that was begun in {self.path}, got another one in {job_path}: its definition has "
                "changed; put it back, or remove that directory to begin anew (or name another: work.dir)",
                work=str(self.path),
                begun=begun["digest"],
                got=digest,
            )

    def plan(self) -> dict[str, Any] | None:
        """What was decided before the first block; None where nothing was.

        Raises:
            StoreError: it is damaged.
        """
        return self._document("plan.json", _PLAN_FORM)

    def write_plan(self, content: Mapping[str, Any]) -> None:
        """Remember what was decided before the first block.

        Raises:
            ResourceError: the disk is full.
            StoreError: it cannot be written.
        """
        self._put("plan.json", _PLAN_FORM, content)

    # --- attempts --------------------------------------------------------------------------------------------------

    def attempts(self) -> list[Attempt]:
        """All attempts so far, in order.

        Raises:
            StoreError: the directory cannot be read.
        """
        with storing("list the attempts of the job", self._attempts):
            try:
                names = os.listdir(self._attempts)
            except FileNotFoundError:
                return []
        found = []
        for name in names:
            number, dash, _ = name.partition("-")
            if dash and number.isdigit():
                found.append(Attempt(int(number), self._attempts / name))
        return sorted(found, key=lambda attempt: (attempt.number, attempt.name))

    def attempt(self, content: Mapping[str, Any]) -> Attempt:
        """Begin an attempt, which is from now on the latest.

        Args:
            content: what is known of it, as JSON values.

        Raises:
            ResourceError: the disk is full.
            StoreError: it cannot be written.
        """
        before = self.attempts()
        number = before[-1].number + 1 if before else 1
        attempt = Attempt(number, self._attempts / f"{number:04d}-{secrets.token_hex(4)}")
        with storing("begin an attempt", attempt.path):
            self._attempts.mkdir(mode=0o700, exist_ok=True)
            attempt.path.mkdir(mode=0o700)
            document = {"format": _ATTEMPT_FORM, "started_at": _now(), **content}
            put_whole(attempt.path / "attempt.json", document_bytes(document))
            sync_directory(self._attempts)
        return attempt

    def facts(self, attempt: Attempt) -> dict[str, Any]:
        """What is known of an attempt; empty where it was killed before it said anything.

        Raises:
            StoreError: it is damaged.
        """
        return self._document(f"attempts/{attempt.name}/attempt.json", _ATTEMPT_FORM) or {}

    def require_nobody(self, takes_over: bool) -> None:
        """Refuse to begin beside an attempt that runs on this machine: it would be given up for nothing.

        What runs elsewhere cannot be seen from here; there a later attempt takes over.

        Args:
            takes_over: the scheduler has given up what runs here.

        Raises:
            ClusterError: an attempt runs here.
        """
        attempts = self.attempts()
        if takes_over or not attempts:
            return
        facts = self.facts(attempts[-1])
        if _runs_here(facts):
            raise ClusterError(
                f"expected nobody to work in {self.path}, got attempt {attempts[-1].number}, process {facts['pid']} of "
                "this machine; wait for it, or stop it (SIGTERM) and start again: the job goes on",
                pid=facts["pid"],
                work=str(self.path),
            )

    def require_latest(self, attempt: Attempt) -> None:
        """End an attempt that was given up: there is a later one.

        Raises:
            ClusterError: there is, or the job is done.
            StoreError: the directory cannot be read.
        """
        latest = self.attempts()
        if not latest or latest[-1] != attempt or self.done() is not None:
            raise ClusterError(
                f"expected attempt {attempt.number} of the job in {self.path} to be the latest, got a later one; this "
                "one ends here and has changed nothing: let one process at a time run a job",
                attempt=attempt.number,
                work=str(self.path),
            )

    # --- damaged frames --------------------------------------------------------------------------------------------

    def damaged(self) -> set[tuple[str, int]]:
        """Shards (attempt/file) and offsets of frames that a later reading found damaged.

        Raises:
            StoreError: the list cannot be read.
        """
        try:
            with storing("read the list of damaged frames", self.path), open(self.path / "damaged.jsonl") as file:
                lines = file.read().split("\n")[:-1]
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return set()
            raise
        found = set()
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                found.add((str(entry["shard"]), int(entry["offset"])))
        return found

    def add_damaged(self, shard: Path, offset: int) -> None:
        """Remember a frame that is damaged, so that its task is done anew.

        Raises:
            ResourceError: the disk is full.
            StoreError: it cannot be written.
        """
        line = json.dumps({"shard": f"{shard.parent.name}/{shard.name}", "offset": offset}) + "\n"
        with storing("remember a damaged frame", self.path):
            fd = os.open(self.path / "damaged.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, line.encode())
                os.fsync(fd)
            finally:
                os.close(fd)

    # --- the end ---------------------------------------------------------------------------------------------------

    def done(self) -> dict[str, Any] | None:
        """The report of the job that is done; None where it is not.

        Raises:
            StoreError: it is damaged.
        """
        return self._document("done.json", _DONE_FORM)

    def finish(self, report: Mapping[str, Any]) -> None:
        """Remember that the job is done, and remove the shards, which hold key bits.

        Args:
            report: JSON values.

        Raises:
            ResourceError: the disk is full.
            StoreError: it cannot be written.
        """
        self._put("done.json", _DONE_FORM, {"done_at": _now(), "report": report})
        self.remove_shards()

    def remove_shards(self) -> None:
        """Remove the shards of a job that is done, all that a death has left of them.

        Raises:
            StoreError: they cannot be removed.
        """
        for attempt in self.attempts():
            for shard in attempt.shards():
                with suppress(FileNotFoundError), storing("remove a shard", shard):
                    shard.unlink()

    def _document(self, name: str, form: str) -> dict[str, Any] | None:
        path = self.path / name
        try:
            return read_document(path, form)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, "read the job's state", path) from error
        except DocumentError as error:
            raise StoreError(
                f"expected the state of the job in {path}, got a damaged file: {error}; remove {self.path} to begin "
                "anew",
                path=str(path),
            ) from error

    def _put(self, name: str, form: str, content: Mapping[str, Any]) -> None:
        with storing("write the job's state", self.path / name):
            put_whole(self.path / name, document_bytes({"format": form, **content}))


def this_process() -> dict[str, Any]:
    """What tells this process from others, on this machine and later."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "began_ticks": _stat("self")[1]}


def _runs_here(facts: Mapping[str, Any]) -> bool:
    if facts.get("host") != socket.gethostname() or facts.get("pid") == os.getpid():
        return False
    state, ticks = _stat(str(facts.get("pid")))
    return ticks is not None and ticks == facts.get("began_ticks") and state not in ("Z", "T", "X")


def _stat(process: str) -> tuple[str, int | None]:
    """State of a process, and the tick in which it began; None: there is none."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", None
    return text.rpartition(")")[2].split()[0], parse_start_ticks(text)


def iterate_shards(attempts: list[Attempt]) -> Iterator[Path]:
    """The shards of attempts, the earliest first."""
    for attempt in attempts:
        yield from attempt.shards()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

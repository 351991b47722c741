"""What the index sees of a store: its directory of runs, the documents of one run, and when they were changed.

Covers: reading, as little as is needed. Does not cover: the database (:mod:`.index`). Nothing here raises
because a run is damaged.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caligo.errors import SchemaVersionError, StoreError
from caligo.store import files, layout
from caligo.store.findings import Severity
from caligo.store.indexing.flatten import Scalar, flatten_run
from caligo.store.reader import Run, State, load_run


@dataclass(frozen=True)
class LookedAt:
    """What the index keeps of a run."""

    row: dict[str, Scalar]
    why: str
    process: dict[str, Any]
    stamp: str
    inode: str
    final: bool

    def behind(self) -> tuple[str | int, ...]:
        """The columns of the runs table that follow the top-level names, but for the standing."""
        begun = self.row.get("started_at", "")
        process = json.dumps(self.process) if self.process else ""
        return str(begun), self.why, process, self.stamp, self.inode, int(self.final)


def changed_ns(store: Path, runs: Path) -> int | None:
    """When the directory of runs was changed; None where there is none."""
    try:
        return os.stat(runs).st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        if store.exists() and not store.is_dir():
            raise StoreError(f"expected a store directory, {store} is a file; choose another with --store") from None
        return None
    except OSError as error:
        raise files.storage_error(error, "list the store", runs) from error


def listed_runs(runs: Path) -> dict[str, str]:
    """Every run directory by name, with its inode."""
    try:
        with os.scandir(runs) as entries:
            return {
                entry.name: str(entry.inode())
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir() and _is_text(entry.name)
            }
    except NotADirectoryError as error:
        raise StoreError(f"expected a directory of runs at {runs}; choose another store with --store") from error
    except OSError as error:
        raise files.storage_error(error, "list the store", runs) from error


def stamp_of(path: Path) -> str:
    """Changes when a document of the run is written, replaced or removed; of a sealed run its seal is looked at."""
    marks = [_mark(os.path.join(path, "."), "")]
    for name in (layout.SEAL_FILE, layout.RUN_FILE, layout.INTERRUPTION_FILE):
        marks.append(_mark(os.path.join(path, name), name))
        if name == layout.SEAL_FILE and marks[-1]:
            break
    return " ".join(marks)


def _mark(path: str, name: str) -> str:
    """When a file was changed and its size, of a directory the time alone; empty where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{name}:{status.st_mtime_ns}/{status.st_size}" if name else str(status.st_mtime_ns)


def inode_of(path: Path) -> str:
    """The number that a directory keeps as long as it is the same one; empty when it is not there."""
    try:
        return str(os.stat(path).st_ino)
    except OSError:
        return ""


def look_at(path: Path, inode: str) -> LookedAt | None:
    """Read the documents of a run; None where there is no directory (any more)."""
    if not path.is_dir():
        return None
    stamp = stamp_of(path)
    try:
        run = load_run(path, verify=False)
    except SchemaVersionError as error:
        why = error.message
    except StoreError as error:
        why = "there is no run.json" if os.access(path, os.R_OK | os.X_OK) else error.message
    else:
        why = "; ".join(
            f"{finding.where}: {finding.what}" for finding in run.findings if finding.severity is Severity.DAMAGE
        )
        process = run.document.get("process")
        is_open = run.state is State.OPEN and isinstance(process, dict)
        return LookedAt(
            flatten_run(run),
            why,
            process if is_open and process else {},
            stamp,
            inode,
            run.state in (State.SEALED, State.INTERRUPTED),
        )
    unknown = Run(path, {}, State.DAMAGED, None, None, (), False)
    return LookedAt(flatten_run(unknown), why, {}, stamp, inode, False)


def _is_text(name: str) -> bool:
    """Whether a directory's name is Unicode text; others cannot be kept in a database and are no names of runs."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True

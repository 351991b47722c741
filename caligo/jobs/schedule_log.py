r"""The log of a schedule: which rank was given which chunk, one JSON line each.

Covers: writing it while a job runs, reading it for a replay. Does not cover: deciding
(:mod:`caligo.jobs.scheduling`), where the file lies.

The first line is ``{"schema":"caligo.schedule/1","tasks":T,"ranks":R,"policy":{...}}``, every other
``{"rank":R,"first":F,"count":C}``, in the order of the answers. Lines are handed to the system as they are written, not
forced to the disk: the log repeats a schedule, and no result depends on it. A line that a death cut short is left out;
what it says was not heard by any rank before it was written whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from caligo.errors import CaligoError, ConfigError, SchemaVersionError, StoreError
from caligo.jobs.scheduling import Chunk, Schedule, SchedulePolicy
from caligo.keys.protocols import Closing

__all__ = ["SCHEMA", "ScheduleLog", "read_schedule"]

SCHEMA = "caligo.schedule/1"

_LONGEST_LINE = 4096


class ScheduleLog(Closing):
    """Writes the log of one job; one writer for a file, which must not exist.

    A context manager; leaving it closes the file.

    Args:
        path: of the file.
        tasks: of the job.
        ranks: of the job.
        policy: that divides the tasks.

    Raises:
        StoreError: the file exists, or cannot be written.
    """

    def __init__(self, path: Path, tasks: int, ranks: int, policy: SchedulePolicy) -> None:
        self.path = path
        try:
            # No buffer: a line is one call, so that a death between two lines tears none.
            self._file = path.open("xb", buffering=0)
        except OSError as error:
            _refuse(path, error)
        shown = {name: getattr(policy, name) for name in ("kind", "least_tasks", "most_tasks", "divisor")}
        self._write({"schema": SCHEMA, "tasks": tasks, "ranks": ranks, "policy": shown})

    def add(self, rank: int, chunk: Chunk) -> None:
        """Record a chunk; call it before the rank learns of it.

        Raises:
            StoreError: the file cannot be written.
        """
        self._write({"rank": rank, "first": chunk.first, "count": chunk.count})

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._file.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        text = json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"
        try:
            while text:
                text = text[self._file.write(text) :]
        except OSError as error:
            _refuse(self.path, error)


def read_schedule(path: Path) -> Schedule:
    """Read the log of a schedule.

    Raises:
        ConfigError: a line is not what a log has there; the message has its number.
        SchemaVersionError: it was written by a newer caligo.
        StoreError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            head: Schedule | None = None
            assigned: list[tuple[int, Chunk]] = []
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), 1):
                if not line.endswith(b"\n") and len(line) < _LONGEST_LINE and head is not None:
                    break
                try:
                    record = json.loads(line)
                    if head is None:
                        head = _head(record)
                    else:
                        assigned.append(_assignment(record, head))
                except SchemaVersionError:
                    raise
                except (CaligoError, ValueError, RecursionError) as error:
                    what = error.message if isinstance(error, CaligoError) else "expected one JSON object"
                    raise ConfigError(
                        f"schedule log {path}, line {number}: {what}; give an untouched log of `caligo run`",
                        path=str(path),
                        line=number,
                    ) from None
    except OSError as error:
        _refuse(path, error)
    if head is None:
        raise ConfigError(f"schedule log {path}: expected a head line, got an empty file; give another", path=str(path))
    return Schedule(head.tasks, head.ranks, head.policy, tuple(assigned))


def _head(record: Any) -> Schedule:
    if isinstance(record, dict) and isinstance(record.get("schema"), str):
        name, _, version = record["schema"].partition("/")
        if name == "caligo.schedule" and version.isascii() and version.isdigit() and int(version) > 1:
            raise SchemaVersionError(
                f"schedule log: expected {SCHEMA}, got {record['schema']}; upgrade caligo", schema=record["schema"]
            )
    fields = _fields(record, {"schema": str, "tasks": int, "ranks": int, "policy": dict})
    if fields["schema"] != SCHEMA:
        raise ConfigError(f"expected the schema {SCHEMA}, got {fields['schema']!r}")
    policy = _fields(fields["policy"], {"kind": str, "least_tasks": int, "most_tasks": int, "divisor": int})
    if fields["tasks"] < 0 or fields["ranks"] < 1:
        raise ConfigError(f"expected tasks >= 0 and ranks >= 1, got {fields['tasks']} and {fields['ranks']}")
    return Schedule(fields["tasks"], fields["ranks"], SchedulePolicy(**policy), ())


def _assignment(record: Any, head: Schedule) -> tuple[int, Chunk]:
    fields = _fields(record, {"rank": int, "first": int, "count": int})
    chunk = Chunk(fields["first"], fields["count"])
    if not 0 <= fields["rank"] < head.ranks or chunk.end > head.tasks:
        raise ConfigError(
            f"expected a rank below {head.ranks} and tasks below {head.tasks}, got rank {fields['rank']} and tasks "
            f"{chunk.first} to {chunk.end - 1}"
        )
    return fields["rank"], chunk


def _fields(record: Any, types: Mapping[str, type]) -> dict[str, Any]:
    """A JSON object with just these members."""
    if not isinstance(record, dict) or record.keys() != types.keys():
        raise ConfigError(f"expected an object with the members {', '.join(types)}, got other ones")
    for name, wanted in types.items():
        if type(record[name]) is not wanted:
            raise ConfigError(f"{name}: expected {wanted.__name__}, got {type(record[name]).__name__}")
    return record


def _refuse(path: Path, error: OSError) -> NoReturn:
    reason = error.strerror or type(error).__name__
    raise StoreError(
        f"schedule log {path}: expected a file that can be written once and read, got: {reason}; give another path",
        path=str(path),
        reason=reason,
    ) from None

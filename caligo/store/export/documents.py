"""JSON: `runs.json` with every document of every run, `records.jsonl` with a line a record.

`runs.json` is ``{"schema": "caligo.export/1", "runs": [{"run", "state", "run_document", "seal", "interruption"}]}``; a
line of `records.jsonl` is ``{"run", "writer", "number", "record"}``. Nothing is left out and nothing is rounded:
:func:`read_documents` and :func:`read_records` give back what the store holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from caligo.errors import ConfigError
from caligo.store.reader import Run

RUNS = "runs.json"
RECORDS = "records.jsonl"
SCHEMA = "caligo.export/1"


def write(runs: Sequence[Run], place: Path, final: Path) -> int:
    """Write both files; returns how many records there are."""
    with (place / RUNS).open("w", encoding="ascii") as file:
        file.write(f'{{"schema": "{SCHEMA}", "runs": [')
        for number, run in enumerate(runs):
            entry = {
                "run": run.name,
                "state": run.state.value,
                "run_document": run.document,
                "seal": run.seal,
                "interruption": run.interruption,
            }
            file.write(("," if number else "") + "\n" + json.dumps(entry, allow_nan=False))
        file.write("\n]}\n")
    count = 0
    with (place / RECORDS).open("w", encoding="ascii") as file:
        for run in runs:
            for writer in run.writers():
                for number, record in enumerate(run.records(writer)):
                    line = {"run": run.name, "writer": writer, "number": number, "record": record}
                    file.write(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n")
                    count += 1
    return count


def read_documents(place: Path) -> list[dict[str, Any]]:
    """The runs of an export.

    Raises:
        ConfigError: it is no such export.
        OSError: it cannot be read.
    """
    try:
        content = json.loads((place / RUNS).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"expected an export of runs in {place / RUNS}, it is not JSON; export them again") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or not isinstance(content.get("runs"), list):
        raise ConfigError(f"expected {SCHEMA} in {place / RUNS}, got something else; export the runs again")
    runs: list[dict[str, Any]] = content["runs"]
    return runs


def read_records(place: Path) -> Iterator[dict[str, Any]]:
    """The records of an export, streamed.

    Raises:
        ConfigError: a line is torn.
        OSError: it cannot be read.
    """
    with (place / RECORDS).open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ConfigError(
                    f"expected a record in line {number} of {place / RECORDS}, it is torn; export the runs again",
                    line=number,
                ) from error
            yield record

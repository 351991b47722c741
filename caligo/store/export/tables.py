"""CSV: `runs.csv` with a line a run, `records.csv` with a line a record.

RFC 4180, UTF-8, lines ended by CR LF, a first line of names. A cell is a text as it is, where nothing else could be
meant by it; every other value, and a text that looks like one or that a spreadsheet would take for a formula, is its
JSON. An empty cell: the row has no such value. So :func:`read_table` gives back what was written, types included.

Source: Y. Shafranovich, RFC 4180 (2005).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from caligo.errors import ConfigError
from caligo.store.export.rows import Columns, record_rows, run_rows
from caligo.store.reader import Run

RUNS = "runs.csv"
RECORDS = "records.csv"
_FORMULA = tuple("=+-@\t\r")


def write(runs: Sequence[Run], place: Path, final: Path) -> int:
    """Write both tables; returns how many records there are."""
    columns = Columns()
    for row in run_rows(runs):
        columns.see(row)
    _write(place / RUNS, columns.names, run_rows(runs))
    columns = Columns()
    for run in runs:
        for row in record_rows(run):
            columns.see(row)
    return _write(place / RECORDS, columns.names, (row for run in runs for row in record_rows(run)))


def _write(path: Path, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for row in rows:
            writer.writerow([cell(row[name]) if name in row else "" for name in names])
            count += 1
    return count


def cell(value: Any) -> str:
    """A value as a cell: never empty, and no two values alike."""
    if not isinstance(value, str):
        return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)
    if not value or value[0] == '"' or value.startswith(_FORMULA) or "\0" in value or _is_json(value):
        return json.dumps(value)
    return value


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def value_of(text: str) -> Any:
    """The value of a cell that is not empty."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def read_table(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table, without the names that a row has no value for.

    Raises:
        ConfigError: it is no such table: not UTF-8, not CSV, or a line has more or fewer cells than there are names.
        OSError: it cannot be read.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        try:
            names = next(reader, [])
            for line in reader:
                if len(line) != len(names):
                    raise ConfigError(
                        f"expected {len(names)} cells in line {reader.line_num} of {path}, got {len(line)}; it is torn",
                        line=reader.line_num,
                    )
                yield {name: value_of(text) for name, text in zip(names, line, strict=True) if text}
        except (csv.Error, UnicodeDecodeError) as error:
            raise ConfigError(
                f"expected a table as `caligo store export` writes it, {path} is none ({error}); export it again",
                line=reader.line_num,
            ) from error

"""Parquet: `runs.parquet` and `records.parquet`, the tables of :mod:`.tables` with types.

A column that holds one kind of value has that type (int64, float64, bool, string), one of integers and other numbers is
float64 (the store's integers fit), any other, as one of lists, is JSON as text, and its name stands in the file's
metadata under ``caligo.json_columns``. Null and no value are one. :func:`read_table` gives back what was written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from caligo.errors import ResourceError
from caligo.store.export.rows import Columns, record_rows, run_rows
from caligo.store.reader import Run

RUNS = "runs.parquet"
RECORDS = "records.parquet"
_ROWS_IN_GROUP = 65_536
_JSON_COLUMNS = b"caligo.json_columns"


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ResourceError("Parquet needs pyarrow, it is not installed: pip install 'caligo[parquet]'") from error
    return pyarrow, parquet


def write(runs: Sequence[Run], place: Path, final: Path) -> int:
    """Write both tables; returns how many records there are."""
    _arrow()
    columns = Columns()
    for row in run_rows(runs):
        columns.see(row)
    _write(place / RUNS, columns, run_rows(runs))
    columns = Columns()
    for run in runs:
        for row in record_rows(run):
            columns.see(row)
    return _write(place / RECORDS, columns, (row for run in runs for row in record_rows(run)))


def _type(pyarrow: Any, kinds: set[str]) -> Any:
    single = {
        "boolean": pyarrow.bool_(),
        "integer": pyarrow.int64(),
        "number": pyarrow.float64(),
        "text": pyarrow.string(),
    }
    valued = kinds - {"null"}
    if valued == {"integer", "number"}:
        return pyarrow.float64()
    return single.get(min(valued, default="text")) if len(valued) <= 1 else None


def _write(path: Path, columns: Columns, rows: Iterable[Mapping[str, Any]]) -> int:
    pyarrow, parquet = _arrow()
    types = {name: _type(pyarrow, kinds) for name, kinds in columns.kinds.items()}
    as_json = [name for name, type_ in types.items() if type_ is None]
    schema = pyarrow.schema(
        [(name, pyarrow.string() if type_ is None else type_) for name, type_ in types.items()],
        metadata={_JSON_COLUMNS: json.dumps(as_json).encode()},
    )
    count = 0
    encoded = frozenset(as_json)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        remaining = iter(rows)
        while group := list(islice(remaining, _ROWS_IN_GROUP)):
            arrays = [
                pyarrow.array([_stored(row.get(name), name in encoded) for row in group], schema.field(name).type)
                for name in types
            ]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            count += len(group)
    return count


def _stored(value: Any, as_json: bool) -> Any:
    return json.dumps(value, sort_keys=True) if as_json and value is not None else value


def read_table(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table, without the names that a row has no value for; row group by row group.

    Raises:
        ResourceError: pyarrow is not installed.
        OSError: it cannot be read.
    """
    _, parquet = _arrow()
    with parquet.ParquetFile(path) as file:
        encoded = frozenset(json.loads((file.schema_arrow.metadata or {}).get(_JSON_COLUMNS, b"[]")))
        for number in range(file.num_row_groups):
            for row in file.read_row_group(number).to_pylist():
                yield {
                    name: json.loads(value) if name in encoded else value
                    for name, value in row.items()
                    if value is not None
                }

"""Records as columns: a record file written again as Parquet when a run is sealed, and read back bit for bit.

Covers: what a compacted record file holds, writing it, reading it, restoring the lines it replaces. Does not cover:
when a run is compacted and what happens to the lines (:mod:`caligo.store.writer`), nor compaction of a sealed run,
which is never changed.

A row is a record, in the order written. A column is a member of the record: ``int64``, ``double``, ``bool`` or
``string`` where every value of the file is of that JSON type, else ``string`` with JSON text in it. Three columns stand
beside them: ``#index`` (the record's index), ``#shape`` (which members it has and in what order, an entry of the table
``caligo.shapes`` in the metadata) and ``#text`` (the whole record as JSON text where its shape is -1: one that fits
no columns, as its members are too many, too rare or have odd names, or was written by other software in another
style). So nothing about a record is lost, 1 and 1.0 and the order of members included, and the lines can be restored;
a file is compacted only if restoring it gives its SHA-256 again.

The contract is ``specs/run-directory.md``. Source of the format: Apache Parquet, through pyarrow.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caligo.errors import ConfigError, ResourceError
from caligo.store import files
from caligo.store.findings import Code, Finding
from caligo.store.records import frame_record, record_salt, scan_records
from caligo.store.values import encode_record

GROUP_ROWS = 65536
GROUP_BYTES = 8 * 1024 * 1024
"""A row group ends at so many records, or so many bytes of their JSON text: what a reader holds at once."""

_SHAPES = 1024
_COLUMNS = 256
_MEMBERS = 64
_ODD_RECORDS = 65536
"""More records than this of another style, and the file is not compacted."""

_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_TEXT_SHAPE = -1
_TYPES = {int: "int64", float: "double", bool: "bool", str: "string"}


@dataclass(frozen=True)
class Compacted:
    """A compacted record file.

    Attributes:
        records: number of records.
        replaced_bytes: size of the lines that it replaces.
        replaced_sha256: their SHA-256, 64 hexadecimal digits.
    """

    records: int
    replaced_bytes: int
    replaced_sha256: str


def require_parquet() -> None:
    """Refuse early where records cannot be compacted.

    Raises:
        ResourceError: pyarrow is not installed.
    """
    _parquet()


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ResourceError(
            "compacted records need pyarrow, which is not installed; pip install 'caligo[parquet]'", extra="parquet"
        ) from error
    return pyarrow, pyarrow.parquet


# --- writing ----------------------------------------------------------------------------------------------------------


class _Survey:
    """First pass: which columns and shapes there are, and which records fit none."""

    def __init__(self) -> None:
        self.shapes: dict[tuple[str, ...], int] = {}
        self.kinds: dict[str, set[type]] = {}
        self.odd: set[int] = set()
        self.records = 0
        self._known: set[tuple[tuple[str, ...], tuple[type, ...]]] = set()

    def look(self, index: int, text: bytes) -> None:
        self.records += 1
        record = _parsed(text)
        if record is None:
            self.odd.add(index)
            return
        shape = tuple(record)
        sorts = tuple(map(type, record.values()))
        if (shape, sorts) in self._known:
            return
        if not self._fits(shape):
            self.odd.add(index)
            return
        self.shapes.setdefault(shape, len(self.shapes))
        for name, sort in zip(shape, sorts, strict=True):
            self.kinds.setdefault(name, set()).add(sort)
        if len(self._known) < _ODD_RECORDS:
            self._known.add((shape, sorts))

    def _fits(self, shape: tuple[str, ...]) -> bool:
        if shape in self.shapes:
            return True
        fresh = sum(1 for name in shape if name not in self.kinds)
        return (
            len(shape) <= _MEMBERS
            and len(self.shapes) < _SHAPES
            and len(self.kinds) + fresh <= _COLUMNS
            and all(map(_MEMBER.fullmatch, shape))
        )

    def column_types(self) -> dict[str, str]:
        """Member -> name of its column's type; ``json`` for values of several types, lists and objects."""
        types = {}
        for name, sorts in self.kinds.items():
            told = sorts - {type(None)}
            types[name] = _TYPES.get(next(iter(told)), "json") if len(told) == 1 else "json"
        return types


def _parsed(text: bytes) -> dict[str, Any] | None:
    """A record, if its JSON text is what caligo would write for it."""
    try:
        record = json.loads(text)
        exact = isinstance(record, dict) and encode_record(record) == text
    except (ValueError, RecursionError, ConfigError):
        return None
    return record if exact else None


def compact_records(source: Path, target: Path, run: str, writer: str) -> Compacted | None:
    """Write a record file as Parquet, read it back, and put it in place.

    Args:
        source: record file of lines, complete and durable.
        target: where the Parquet file goes, in the same directory; replaced when it exists.
        run: name of the run.
        writer: name of the writer.

    Returns:
        What was compacted; None, and no file, where the lines could not be restored bit for bit from it (a damaged
        file, or a great many records of another style).

    Raises:
        ResourceError: pyarrow is not installed.
        OSError: as the system says; nothing is left under ``target`` that was not there.
    """
    pyarrow, _ = _parquet()
    survey, digest = _Survey(), hashlib.sha256()
    findings: list[Finding] = []
    salt = record_salt(run, writer)
    size = source.stat().st_size
    for index, text in scan_records(source, salt, findings.append, digest.update):
        if findings or len(survey.odd) > _ODD_RECORDS:
            return None
        survey.look(index, text)
    if findings:
        return None
    told = Compacted(survey.records, size, digest.hexdigest())
    temporary = target.with_name(f".{target.name}.partial")
    try:
        with open(temporary, "wb") as file:
            _write_columns(file, source, salt, survey, told, run, writer)
            file.flush()
            os.fsync(file.fileno())
        if _restored_digest(temporary, run, writer) != (told.replaced_bytes, told.replaced_sha256):
            temporary.unlink()
            return None
        os.rename(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, pyarrow.lib.ArrowException) and not isinstance(error, OSError):
            return None
        raise
    files.sync_directory(target.parent)
    return told


def _write_columns(
    file: Any, source: Path, salt: bytes, survey: _Survey, told: Compacted, run: str, writer: str
) -> None:
    pyarrow, parquet = _parquet()
    types = survey.column_types()
    fields = [
        pyarrow.field("#index", pyarrow.int64(), nullable=False),
        pyarrow.field("#shape", pyarrow.int16(), nullable=False),
        pyarrow.field("#text", pyarrow.string()),
    ]
    for name, kind in types.items():
        stored = pyarrow.type_for_alias("string" if kind == "json" else kind)
        fields.append(pyarrow.field(name, stored, metadata={"caligo.form": "json"} if kind == "json" else None))
    metadata = {
        "caligo.format": "caligo.records/1",
        "caligo.run": run,
        "caligo.writer": writer,
        "caligo.records": str(told.records),
        "caligo.shapes": json.dumps([list(shape) for shape in survey.shapes], separators=(",", ":")),
        "caligo.replaced_sha256": told.replaced_sha256,
    }
    schema = pyarrow.schema(fields, metadata=metadata)
    encoded = {name for name, kind in types.items() if kind == "json"}

    def ignored(finding: Finding) -> None:
        """What the first pass did not find and this one does, the comparison of digests shows."""

    with parquet.ParquetWriter(
        file, schema, compression="zstd", version="2.6", write_page_checksum=True, write_statistics=True
    ) as output:
        columns: list[list[Any]] = [[] for _ in fields]
        by_name = {name: columns[3 + number] for number, name in enumerate(types)}
        held = 0
        for index, text in scan_records(source, salt, ignored):
            columns[0].append(index)
            if index in survey.odd:
                record: dict[str, Any] = {}
                columns[1].append(_TEXT_SHAPE)
                columns[2].append(text.decode("ascii"))
            else:
                record = json.loads(text)
                columns[1].append(survey.shapes[tuple(record)])
                columns[2].append(None)
            for name, column in by_name.items():
                value = record.get(name)
                if name in encoded and value is not None:
                    value = json.dumps(value, separators=(",", ":"))
                column.append(value)
            held += len(text)
            if len(columns[0]) >= GROUP_ROWS or held >= GROUP_BYTES:
                _write_group(output, schema, columns)
                held = 0
        if columns[0] or not told.records:
            _write_group(output, schema, columns)


def _write_group(output: Any, schema: Any, columns: list[list[Any]]) -> None:
    pyarrow, _ = _parquet()
    arrays = [pyarrow.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
    output.write_batch(pyarrow.record_batch(arrays, schema=schema))
    for column in columns:
        column.clear()


# --- reading ----------------------------------------------------------------------------------------------------------


def compacted_records(
    path: Path, run: str, writer: str, on_finding: Callable[[Finding], None]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every record of a compacted file, in order; memory is bounded by one row group.

    Args:
        path: Parquet file.
        run: name of the run that it should be of.
        writer: name of the writer that it should be of.
        on_finding: told of what cannot be read: the file, or one row group, which is passed over.

    Yields:
        Index and record.

    Raises:
        ResourceError: pyarrow is not installed.
        OSError: the file cannot be read.
    """
    for index, record, _ in _rows(path, run, writer, on_finding):
        yield index, record


def restored_lines(path: Path, run: str, writer: str, on_finding: Callable[[Finding], None]) -> Iterator[bytes]:
    """The lines that a compacted file replaces, one by one. Arguments and errors as :func:`compacted_records`."""
    salt = record_salt(run, writer)
    for index, record, text in _rows(path, run, writer, on_finding):
        yield frame_record(salt, index, encode_record(record) if text is None else text)


def _restored_digest(path: Path, run: str, writer: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    findings: list[Finding] = []
    for line in restored_lines(path, run, writer, findings.append):
        digest.update(line)
        size += len(line)
    return size, "" if findings else digest.hexdigest()


def _rows(
    path: Path, run: str, writer: str, on_finding: Callable[[Finding], None]
) -> Iterator[tuple[int, Any, bytes | None]]:
    """Index, record, and its JSON text where that was kept."""
    pyarrow, parquet = _parquet()

    def complain(what: str) -> None:
        on_finding(Finding(Code.COMPACTED_RECORDS_DAMAGED, what, path.name))

    with open(path, "rb") as file:
        try:
            opened = parquet.ParquetFile(file, page_checksum_verification=True)
            metadata = opened.schema_arrow.metadata or {}
            shapes = [tuple(map(str, shape)) for shape in json.loads(metadata[b"caligo.shapes"])]
            owner = (metadata[b"caligo.run"].decode(), metadata[b"caligo.writer"].decode())
            expected = int(metadata[b"caligo.records"])
        except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            complain(f"it is not a file of compacted records ({type(error).__name__})")
            return
        if owner != (run, writer):
            complain("it holds the records of another run or writer")
            return
        yielded = 0
        for group in range(opened.num_row_groups):
            rows, before = opened.metadata.row_group(group).num_rows, yielded
            try:
                for batch in opened.iter_batches(batch_size=8192, row_groups=[group], use_threads=False):
                    for row in _batch_rows(batch, shapes):
                        yield row
                        yielded += 1
            except (pyarrow.ArrowException, OSError, ValueError, KeyError, IndexError, TypeError) as error:
                lost = before + rows - yielded
                complain(f"{lost} records in row group {group} cannot be read ({type(error).__name__})")
                expected -= lost
        if yielded != expected:
            complain(f"{yielded} records, {expected} were compacted")


def _batch_rows(batch: Any, shapes: list[tuple[str, ...]]) -> Iterator[tuple[int, Any, bytes | None]]:
    columns: dict[str, list[Any]] = {}
    for field, column in zip(batch.schema, batch.columns, strict=True):
        values = column.to_pylist()
        if (field.metadata or {}).get(b"caligo.form") == b"json":
            values = [None if value is None else json.loads(value) for value in values]
        columns[field.name] = values
    texts = columns["#text"]
    for row, (index, number) in enumerate(zip(columns["#index"], columns["#shape"], strict=True)):
        if number == _TEXT_SHAPE:
            text = texts[row].encode("ascii")
            yield index, json.loads(text), text
        else:
            yield index, {name: columns[name][row] for name in shapes[number]}, None

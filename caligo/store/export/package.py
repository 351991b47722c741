"""An export as a directory that appears whole, or not at all.

Covers: formats by name, loading and verifying the runs, the hidden directory in which an export is made, errors of the
file system. Does not cover: what is written.
"""

from __future__ import annotations

import importlib
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from caligo.errors import ConfigError, StoreError
from caligo.store import files
from caligo.store.reader import Run, State, load_run

FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "csv": "two tables as text: a line a run, a line a record",
        "json": "all documents as one JSON text, all records as JSON lines",
        "parquet": "the two tables with types and compression, for Arrow, DuckDB, Polars and the like",
        "otlp": "OpenTelemetry protocol, JSON lines: spans, and metrics of every run",
        "ro-crate": "a research object: the run directories as they are, described in JSON-LD",
        "mlflow": "the file layout of MLflow tracking",
        "trace": "the Chrome traces of job runs, for Perfetto",
    }
)
"""Format -> what it is."""

_MODULES = {"csv": "tables", "json": "documents", "ro-crate": "ro_crate", "trace": "traces"}


@dataclass(frozen=True)
class Export:
    """What was exported.

    Args:
        out: the directory.
        format: one of :data:`FORMATS`.
        runs: how many.
        records: how many, of all runs.
        files: path within `out` -> bytes, in order of path.
    """

    out: Path
    format: str
    runs: int
    records: int
    files: Mapping[str, int]


def export_runs(paths: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], form: str) -> Export:
    """Write runs in another format.

    Every byte of every run is verified first. Records are streamed: memory does not grow with their number.

    Args:
        paths: run directories, in the order in which they are to appear; a run that is named twice appears once.
        out: directory that is made; it must not be there yet.
        form: one of :data:`FORMATS`.

    Returns:
        What was written.

    Raises:
        ConfigError: an unknown format, or no runs.
        StoreError: a run is damaged or lacks what the format needs, or `out` exists or cannot be written; nothing is
            left of the export.
        ResourceError: no space, or the library of the format is not installed.
    """
    if form not in FORMATS:
        raise ConfigError(f"expected a format of {', '.join(FORMATS)}, got {form!r}", format=form)
    if not paths:
        raise ConfigError("expected runs to export, got none; name some, or a --where that holds for some")
    place = Path(out).absolute()
    if os.path.lexists(place):
        raise StoreError(f"expected to make {place}, it is there already; name another directory", path=str(place))
    runs = [_load(path) for path in dict.fromkeys(Path(path).absolute() for path in paths)]
    module = importlib.import_module(f"caligo.store.export.{_MODULES.get(form, form)}")
    hidden = place.with_name(f".{place.name}.{secrets.token_hex(4)}.partial")
    with files.storing("export", place):
        place.parent.mkdir(parents=True, exist_ok=True)
        hidden.mkdir()
        try:
            records: int = module.write(runs, hidden, place)
            written = _make_durable(hidden)
            os.rename(hidden, place)
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise
        files.sync_directory(place.parent)
    return Export(place, form, len(runs), records, MappingProxyType(written))


def _load(path: Path) -> Run:
    run = load_run(path)
    if run.state is State.DAMAGED:
        worst = next(finding for finding in run.findings if finding.severity == "damage")
        raise StoreError(
            f"{run.name} is damaged and is not exported: {worst.code}: {worst.where}: {worst.what}; see "
            "`caligo store validate` and `caligo store repair`",
            run=run.name,
            code=worst.code.value,
        )
    return run


def _make_durable(place: Path) -> dict[str, int]:
    written = {}
    for directory, names, leaves in os.walk(place):
        names.sort()
        for leaf in sorted(leaves):
            path = Path(directory, leaf)
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                written[str(path.relative_to(place))] = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
        files.sync_directory(Path(directory))
    return dict(sorted(written.items()))

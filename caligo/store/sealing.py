"""What a seal covers: every file of a run as it stands on disk, and the compaction that may come before it.

Covers: the list of files of a seal, compacting the records of a run. Does not cover: the seal's document and when it is
written (:mod:`caligo.store.writer`), nor the columns of a compacted file (:mod:`caligo.store.compaction`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from caligo.errors import StoreError
from caligo.store import compaction, files, layout


def compact_files(path: Path, run: str) -> dict[str, dict[str, Any]]:
    """Write every file of lines of a run as Parquet beside it.

    Args:
        path: directory of the run.
        run: name of the run.

    Returns:
        Name of each file of lines that is replaced -> what the seal tells of its Parquet file beyond size and hash.

    Raises:
        OSError: as the system says.
        ResourceError: pyarrow is not installed.
    """
    replaced: dict[str, dict[str, Any]] = {}
    for name in sorted(os.listdir(path)):
        lines = layout.RECORD_FILE.fullmatch(name)
        if lines is None:
            continue
        told = compaction.compact_records(path / name, path / layout.compacted_file(lines[1]), run, lines[1])
        if told is not None:
            origin = {"bytes": told.replaced_bytes, "sha256": told.replaced_sha256}
            replaced[name] = {"records": told.records, "replaces": origin}
    return replaced


def list_files(path: Path, replaced: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Size, hash, and for record files the number of records, of every file that a seal covers.

    Any Parquet file beside lines that are not replaced is left of an earlier attempt to seal, and is removed.

    Args:
        path: directory of the run.
        replaced: from :func:`compact_files`; these files give way to their Parquet files.

    Raises:
        OSError: as the system says.
        StoreError: something in the directory is no plain file.
    """
    listed: dict[str, dict[str, Any]] = {}
    names = sorted(os.listdir(path))
    for name in names:
        file = path / name
        if name.startswith(".") or name == layout.SEAL_FILE or name in replaced:
            continue
        if file.is_symlink() or not file.is_file():
            raise StoreError(f"expected only plain files in {path}, found {name!r}; move it out", path=str(file))
        compacted = layout.COMPACTED_FILE.fullmatch(name)
        lines = None if compacted is None else layout.record_file(compacted[1])
        if lines in names and lines not in replaced:
            file.unlink()
            continue
        size, digest, line_ends = files.file_digest(file)
        listed[name] = {"bytes": size, "sha256": digest}
        if layout.RECORD_FILE.fullmatch(name):
            listed[name]["records"] = line_ends
        elif lines is not None and lines in replaced:
            listed[name] |= replaced[lines]
    return listed

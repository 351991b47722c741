"""Traces: `<run>.trace.json` of every run that recorded spans, as it is (:mod:`caligo.telemetry.trace`).

Trace event format, object form; pid: rank; tid: lane of a thread. Only runs of jobs record spans; a run's records have
durations and no starts, so that no trace can be made of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from caligo.errors import StoreError
from caligo.store.reader import Run

TRACE = "trace.json"
"""The file that a job attaches to its run."""


def write(runs: Sequence[Run], place: Path, final: Path) -> int:
    """Copy the traces; returns 0, they hold no records.

    Raises:
        StoreError: no run has one.
    """
    traced = [run for run in runs if (run.path / TRACE).is_file()]
    if not traced:
        raise StoreError(
            f"expected a run with {TRACE}, none of {len(runs)} has one; `caligo run` and ranks record spans, other "
            "commands do not"
        )
    for run in traced:
        shutil.copyfile(run.path / TRACE, place / f"{run.name}.trace.json")
    return 0

"""What a run says while it works: structured logs on stderr, progress, spans and counters, traces, what a start costs.

Covers: the set-up of logging, the :class:`Progress` protocol, in-memory spans and counters, traces of many ranks, how
far a job of many ranks is. Does not cover: the progress bar on a terminal (the command line draws it), nor the record
of a run (:mod:`caligo.store`).

Nothing here prints to stdout and nothing here holds key material.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caligo.telemetry.logs import configure_logging
    from caligo.telemetry.progress import NO_PROGRESS, NoProgress, Progress
    from caligo.telemetry.ranks import Announcer, JobProgress, ProgressReport, RankReport
    from caligo.telemetry.spans import Phase, Snapshot, Span, Telemetry
    from caligo.telemetry.startup import OpenCounter, StartupReport, startup_report
    from caligo.telemetry.trace import MergedTrace, merge_traces, write_spans

__all__ = [
    "NO_PROGRESS",
    "Announcer",
    "JobProgress",
    "MergedTrace",
    "NoProgress",
    "OpenCounter",
    "Phase",
    "Progress",
    "ProgressReport",
    "RankReport",
    "Snapshot",
    "Span",
    "StartupReport",
    "Telemetry",
    "configure_logging",
    "merge_traces",
    "startup_report",
    "write_spans",
]

_HOME = {
    "NO_PROGRESS": "progress",
    "Announcer": "ranks",
    "JobProgress": "ranks",
    "MergedTrace": "trace",
    "NoProgress": "progress",
    "OpenCounter": "startup",
    "Phase": "spans",
    "Progress": "progress",
    "ProgressReport": "ranks",
    "RankReport": "ranks",
    "Snapshot": "spans",
    "Span": "spans",
    "StartupReport": "startup",
    "Telemetry": "spans",
    "configure_logging": "logs",
    "merge_traces": "trace",
    "startup_report": "startup",
    "write_spans": "trace",
}
"""Public name -> the module of this package that defines it, loaded when it is first asked for."""


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value

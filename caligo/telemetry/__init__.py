"""What a run says while it works: structured logs on stderr, progress, spans and counters, traces, what a start costs.

Covers: the set-up of logging, the :class:`Progress` protocol, in-memory spans and counters, traces of many ranks, how
far a job of many ranks is. Does not cover: the progress bar on a terminal (the command line draws it), nor the record
of a run (:mod:`caligo.store`).

Nothing here prints to stdout and nothing here holds key material.
"""

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

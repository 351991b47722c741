"""What a run says while it works: structured logs on stderr, progress, spans and counters.

Covers: the set-up of logging, the :class:`Progress` protocol, in-memory spans and counters. Does not cover: the
progress bar on a terminal (the command line draws it), trace export, nor the record of a run (:mod:`caligo.store`).

Nothing here prints to stdout and nothing here holds key material.
"""

from caligo.telemetry.logs import configure_logging
from caligo.telemetry.progress import NO_PROGRESS, NoProgress, Progress
from caligo.telemetry.spans import Phase, Snapshot, Span, Telemetry
from caligo.telemetry.trace import MergedTrace, merge_traces, write_spans

__all__ = [
    "NO_PROGRESS",
    "MergedTrace",
    "NoProgress",
    "Phase",
    "Progress",
    "Snapshot",
    "Span",
    "Telemetry",
    "configure_logging",
    "merge_traces",
    "write_spans",
]

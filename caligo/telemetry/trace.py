"""Traces: what every rank did when, as one file for https://ui.perfetto.dev or chrome://tracing.

Each rank writes its own spans when it ends, well or not (:func:`write_spans`): a line that says whose they are, then a
line for each span. Afterwards one process joins them (:func:`merge_traces`) into JSON of the trace event format
(object form; ``X`` events with ``ts`` and ``dur`` in microseconds, ``pid`` the rank, ``tid`` the lane of a thread;
``M`` events with the names of both). Memory does not grow with the number of spans of all ranks together.

The clocks of ranks are set side by side by what each noted of the time since 1970 when its telemetry began: ranks of
one host agree within microseconds, hosts as well as their clocks do.

Covers: spans. Does not cover: counters over time, flows between ranks, what was running when a rank ended, clocks that
are set while a job runs. Source: "Trace Event Format", Google, 2016.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from caligo.errors import ConfigError
from caligo.telemetry.spans import Telemetry

SPANS_SCHEMA = "caligo.spans/1"
"""First line of a file of spans."""

TRACE_SCHEMA = "caligo.trace/1"
"""In ``otherData`` of a trace."""

_NS_PER_US = 1000


@dataclass(frozen=True)
class MergedTrace:
    """What became of the spans of all ranks.

    Args:
        path: the trace.
        ranks: files that are in it.
        spans: spans that are in it.
        dropped: spans that were measured and are not in it: past a rank's limit, or past that of the trace.
        unreadable: files that are not what `write_spans` writes.
    """

    path: Path
    ranks: int
    spans: int
    dropped: int
    unreadable: tuple[Path, ...]


@dataclass
class _Source:
    """A file of spans, as the first pass saw it."""

    path: Path
    rank: int
    host: str
    epoch_ns: int
    names: list[str]
    threads: dict[int, str]
    dropped: int
    lanes_before: int = 0
    earliest_ns: int | None = None
    durations: dict[int, int] = field(default_factory=dict)


def write_spans(path: Path, *, rank: int, host: str, telemetry: Telemetry, epoch_ns: int | None = None) -> int:
    """Write the spans of a rank, lane by lane in the order they began. A torn file is of use up to its last whole line.

    Args:
        path: where to; what is there is replaced.
        rank: number of this process in its job, >= 0.
        host: name of its host.
        telemetry: whose spans.
        epoch_ns: what has to be added to the monotonic clock for time since 1970; None for what telemetry noted.

    Returns:
        How many spans were written.

    Raises:
        ConfigError: `rank` < 0.
        OSError: the file cannot be written.
    """
    if rank < 0:
        raise ConfigError(f"expected a rank of 0 or more, got {rank}", rank=rank)
    spans = sorted(telemetry.iterate_spans(), key=lambda span: (span.lane, span.start_ns, -span.duration_ns))
    names = {name: number for number, name in enumerate(dict.fromkeys(span.name for span in spans))}
    first = {
        "schema": SPANS_SCHEMA,
        "rank": rank,
        "host": host,
        "epoch_ns": telemetry.epoch_ns if epoch_ns is None else epoch_ns,
        "names": list(names),
        "threads": {str(lane): name for lane, name in telemetry.threads.items()},
        "dropped": telemetry.dropped_spans,
    }
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(first) + "\n")
        for span in spans:
            file.write(f"[{names[span.name]},{span.lane},{span.start_ns},{span.duration_ns}]\n")
    return len(spans)


def merge_traces(paths: Sequence[Path], out: Path, *, limit: int = 1_000_000) -> MergedTrace:
    """Join the spans of ranks into one trace.

    Where there are more spans than fit, the longest stay, and of those that are about as long as the shortest of them
    an even selection. A rank that left several files, as after a restart within its job, has its lanes one after the
    other.

    Args:
        paths: what `write_spans` wrote. Files that it did not write are left out and named in the result.
        out: the trace; it appears whole, or not at all.
        limit: spans in it at most, about 100 bytes each, >= 0.

    Raises:
        ConfigError: `limit` < 0.
        OSError: a file cannot be read, or the trace not be written.
    """
    if limit < 0:
        raise ConfigError(f"expected a limit of 0 spans or more, got {limit}", limit=limit)
    sources: list[_Source] = []
    unreadable: list[Path] = []
    lanes: dict[int, int] = {}
    for path in paths:
        source = _survey(path)
        if source is None:
            unreadable.append(path)
            continue
        source.lanes_before = lanes.get(source.rank, 0)
        lanes[source.rank] = source.lanes_before + max(source.threads, default=-1) + 1
        sources.append(source)
    selection = _Selection(sources, limit)
    starts = [source.earliest_ns + source.epoch_ns for source in sources if source.earliest_ns is not None]
    origin_ns = min(starts, default=0)
    about = {
        "schema": TRACE_SCHEMA,
        "origin_unix_ns": origin_ns,
        "ranks": len(sources),
        "spans": selection.kept,
        "dropped_spans": selection.dropped,
    }
    part = out.with_name(out.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(f'{{"displayTimeUnit":"ms","otherData":{json.dumps(about)},"traceEvents":[')
            separator = "\n"
            for event in _events(sources, selection, origin_ns):
                file.write(separator + event)
                separator = ",\n"
            file.write("\n]}\n")
        os.replace(part, out)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    return MergedTrace(out, len(sources), selection.kept, selection.dropped, tuple(unreadable))


class _Selection:
    """Which spans stay. They are counted by the length of their duration in bits, so that memory is bounded."""

    def __init__(self, sources: Sequence[_Source], limit: int) -> None:
        counts: dict[int, int] = {}
        for source in sources:
            for size, count in source.durations.items():
                counts[size] = counts.get(size, 0) + count
        self._least_size = 0
        self._share = (1, 1)
        room = limit
        for size in sorted(counts, reverse=True):
            if counts[size] > room:
                self._least_size, self._share = size, (room, counts[size])
                room = 0
                break
            room -= counts[size]
        self._seen = 0
        total = sum(counts.values())
        self.kept = min(total, limit)
        self.dropped = total - self.kept + sum(source.dropped for source in sources)

    def takes(self, duration_ns: int) -> bool:
        """Whether the next span, of this duration, stays; asked once for each, in any order."""
        size = duration_ns.bit_length()
        if size != self._least_size:
            return size > self._least_size
        room, count = self._share
        self._seen += 1
        return self._seen * room // count > (self._seen - 1) * room // count


def _lines(file: TextIO, source: _Source) -> Iterator[tuple[int, int, int, int]]:
    """The spans of a file up to the first line that is torn: number of the name, lane, start, duration."""
    for line in file:
        try:
            name, lane, start_ns, duration_ns = numbers = json.loads(line)
        except (ValueError, TypeError):
            return
        if not all(type(number) is int for number in numbers):
            return
        if not (0 <= name < len(source.names) and lane in source.threads and duration_ns >= 0):
            return
        yield name, lane, start_ns, duration_ns


def _survey(path: Path) -> _Source | None:
    with path.open(encoding="utf-8", errors="replace") as file:
        try:
            first = json.loads(file.readline())
            if first["schema"] != SPANS_SCHEMA:
                return None
            source = _Source(
                path,
                int(first["rank"]),
                str(first["host"]),
                int(first["epoch_ns"]),
                [str(name) for name in first["names"]],
                {int(lane): str(name) for lane, name in first["threads"].items()},
                int(first["dropped"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        for _, _, start_ns, duration_ns in _lines(file, source):
            if source.earliest_ns is None or start_ns < source.earliest_ns:
                source.earliest_ns = start_ns
            size = duration_ns.bit_length()
            source.durations[size] = source.durations.get(size, 0) + 1
    return source


def _events(sources: Sequence[_Source], selection: _Selection, origin_ns: int) -> Iterator[str]:
    for source in sources:
        if source.lanes_before == 0:
            yield _naming("process_name", source.rank, 0, name=f"rank {source.rank} ({source.host})")
            yield _naming("process_sort_index", source.rank, 0, sort_index=source.rank)
        for lane, thread in source.threads.items():
            yield _naming("thread_name", source.rank, lane + source.lanes_before, name=thread)
        names = [json.dumps(name) for name in source.names]
        shift_ns = source.epoch_ns - origin_ns
        with source.path.open(encoding="utf-8", errors="replace") as file:
            file.readline()
            for name, lane, start_ns, duration_ns in _lines(file, source):
                if selection.takes(duration_ns):
                    yield (
                        f'{{"name":{names[name]},"ph":"X","pid":{source.rank},"tid":{lane + source.lanes_before},'
                        f'"ts":{_microseconds(start_ns + shift_ns)},"dur":{_microseconds(duration_ns)}}}'
                    )


def _microseconds(ns: int) -> str:
    """Exact to the nanosecond, which a float since 1970 would not be."""
    return f"{ns // _NS_PER_US}.{ns % _NS_PER_US:03d}"


def _naming(kind: str, rank: int, lane: int, **values: Any) -> str:
    return json.dumps({"name": kind, "ph": "M", "pid": rank, "tid": lane, "args": values}, separators=(",", ":"))

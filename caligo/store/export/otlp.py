"""OTLP: `traces.jsonl` and `metrics.jsonl`, a run a line, for any OpenTelemetry collector.

Each line is what the protocol sends in one request, in its JSON form: ids as hexadecimal digits, 64-bit integers as
texts, enumerations as numbers. A run is a trace: its id is the run's attempt, its first span the run, the others those
that a job recorded. Metrics: every number of the summary is a gauge ``caligo.<name>``; records give a counter
``caligo.blocks`` by outcome and a histogram ``caligo.block.decode_time`` in seconds.

Covers: runs as they ended. Does not cover: sending. Source: OpenTelemetry protocol 1.x, "JSON Protobuf Encoding" and
"File Exporter".
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from caligo.store.export.rows import kind_of
from caligo.store.export.traces import TRACE
from caligo.store.indexing.flatten import flatten_run
from caligo.store.reader import Run

TRACES = "traces.jsonl"
METRICS = "metrics.jsonl"

_INTERNAL = 1
_OK, _ERROR = 1, 2
_CUMULATIVE = 2

_BOUNDS_S = tuple(1e-6 * 2**step for step in range(31))
"""Upper bounds of the histogram: 1 us to 18 min, each twice the one before."""

_UNITS = {"_s": "s", "_ns": "ns", "_bits": "bit", "_bytes": "By", "_mbps": "Mbit/s"}


def write(runs: Sequence[Run], place: Path, final: Path) -> int:
    """Write both files; returns how many records were counted."""
    count = 0
    with (
        (place / TRACES).open("w", encoding="ascii") as traces,
        (place / METRICS).open("w", encoding="ascii") as metrics,
    ):
        for run in runs:
            for piece in _trace_line(run):
                traces.write(piece)
            line, records = _metrics_line(run)
            metrics.write(line)
            count += records
    return count


def _resource(run: Run) -> dict[str, Any]:
    document = run.document
    code, machine = document.get("code", {}), document.get("machine", {})
    given = {
        "service.name": "caligo",
        "service.version": code.get("version"),
        "vcs.ref.head.revision": code.get("commit"),
        "host.name": machine.get("hostname"),
        "host.arch": machine.get("architecture"),
        "host.cpu.model.name": machine.get("cpu_model"),
        "process.pid": document.get("process", {}).get("pid"),
        "caligo.machine.fingerprint": machine.get("fingerprint"),
        "caligo.run": run.name,
        "caligo.kind": run.kind,
        "caligo.identity": run.identity,
        "caligo.campaign": run.campaign,
    }
    return {"attributes": _attributes(given)}


def _scope(run: Run) -> dict[str, Any]:
    version = run.document.get("code", {}).get("version")
    return {"name": "caligo.store", **({"version": version} if version else {})}


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in values.items() if value is not None]


def _value(value: Any) -> dict[str, Any]:
    kind = kind_of(value)
    if kind == "integer":
        return {"intValue": str(value)}
    if kind == "number":
        return {"doubleValue": value}
    if kind == "boolean":
        return {"boolValue": value}
    return {"stringValue": value if kind == "text" else json.dumps(value, sort_keys=True)}


def started_ns(run: Run) -> int:
    """When a run began, in nanoseconds since 1970; 0 where it does not say."""
    text = str(run.document.get("started_at", ""))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0
    since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


def ended_ns(run: Run) -> int:
    """When a run ended, by the clock that does not step; its beginning where it has not ended."""
    ending = run.seal or run.interruption or {}
    elapsed = ending.get("elapsed_s")
    return started_ns(run) + (round(elapsed * 10**9) if isinstance(elapsed, (int, float)) else 0)


def _span_id(run: Run, what: str) -> str:
    return hashlib.sha256(f"{run.document.get('attempt', run.name)}\n{what}".encode()).hexdigest()[:16]


def _trace_line(run: Run) -> Iterator[str]:
    """The line of a run, in pieces: a job may have recorded a million spans."""
    trace, root = str(run.document.get("attempt", "")), _span_id(run, "run")
    row = flatten_run(run)
    status: dict[str, Any] = {"code": _OK} if run.seal is not None else {"code": _ERROR, "message": run.state.value}
    if run.interruption is not None:
        status["message"] = str(run.interruption.get("reason", run.state.value))
    first = {
        "traceId": trace,
        "spanId": root,
        "name": run.kind,
        "kind": _INTERNAL,
        "startTimeUnixNano": str(started_ns(run)),
        "endTimeUnixNano": str(ended_ns(run)),
        "attributes": _attributes(
            {f"caligo.{name}": value for name, value in row.items() if name.startswith(("configuration.", "seeds."))}
        ),
        "status": status,
    }
    yield '{"resourceSpans":[{"resource":' + _text(_resource(run)) + ',"scopeSpans":[{"scope":' + _text(_scope(run))
    yield ',"spans":[' + _text(first)
    for number, event in enumerate(_events(run)):
        span = {
            "traceId": trace,
            "spanId": _span_id(run, str(number)),
            "parentSpanId": root,
            "name": event["name"],
            "kind": _INTERNAL,
            "startTimeUnixNano": str(event["start_ns"]),
            "endTimeUnixNano": str(event["start_ns"] + event["duration_ns"]),
            "attributes": _attributes({"caligo.rank": event["pid"], "thread.id": event["tid"]}),
        }
        yield "," + _text(span)
    yield "]}]}]}\n"


def _events(run: Run) -> Iterator[dict[str, Any]]:
    """The complete events of a run's trace, which has one a line; times exact to the nanosecond."""
    path = run.path / TRACE
    if not path.is_file():
        return
    origin_ns = 0
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            if number == 0:
                about = json.loads(line.rstrip() + "]}")
                origin_ns = int(about["otherData"]["origin_unix_ns"])
                continue
            line = line.strip().removesuffix(",")
            if not line.startswith("{"):
                continue
            event = json.loads(line, parse_float=Decimal)
            if event.get("ph") == "X":
                yield {
                    "name": event["name"],
                    "pid": event["pid"],
                    "tid": event["tid"],
                    "start_ns": origin_ns + int(event["ts"] * 1000),
                    "duration_ns": int(event["dur"] * 1000),
                }


def _metrics_line(run: Run) -> tuple[str, int]:
    started, ended = str(started_ns(run)), str(ended_ns(run))
    metrics: list[dict[str, Any]] = []
    for name, value in flatten_run(run).items():
        if not name.startswith("summary.") or kind_of(value) not in ("integer", "number"):
            continue
        point = {
            "timeUnixNano": ended,
            **({"asInt": str(value)} if kind_of(value) == "integer" else {"asDouble": value}),
        }
        metrics.append(
            {"name": "caligo." + name.removeprefix("summary."), "unit": _unit(name), "gauge": {"dataPoints": [point]}}
        )
    outcomes: dict[str, int] = {}
    histogram = _Histogram()
    count = 0
    for record in run.records():
        count += 1
        outcome = record.get("outcome", "")
        outcomes[str(outcome)] = outcomes.get(str(outcome), 0) + 1
        elapsed = record.get("elapsed_ns")
        if isinstance(elapsed, int) and not isinstance(elapsed, bool):
            histogram.add(elapsed / 1e9)
    span = {"startTimeUnixNano": started, "timeUnixNano": ended}
    if outcomes:
        points = [
            {**span, "asInt": str(number), "attributes": _attributes({"outcome": outcome})}
            for outcome, number in sorted(outcomes.items())
        ]
        total = {"dataPoints": points, "aggregationTemporality": _CUMULATIVE, "isMonotonic": True}
        metrics.append({"name": "caligo.blocks", "unit": "{block}", "sum": total})
    if histogram.count:
        points = [{**span, **histogram.to_point()}]
        body = {"dataPoints": points, "aggregationTemporality": _CUMULATIVE}
        metrics.append({"name": "caligo.block.decode_time", "unit": "s", "histogram": body})
    content = {
        "resourceMetrics": [
            {"resource": _resource(run), "scopeMetrics": [{"scope": _scope(run), "metrics": metrics}]},
        ]
    }
    return _text(content) + "\n", count


class _Histogram:
    """Counts by upper bound, as the protocol has them."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0.0
        self._least = self._greatest = 0.0
        self._buckets = [0] * (len(_BOUNDS_S) + 1)

    def add(self, seconds: float) -> None:
        """Count a value; a bound belongs to the bucket below it."""
        self._least = min(self._least, seconds) if self.count else seconds
        self._greatest = max(self._greatest, seconds) if self.count else seconds
        self._buckets[bisect_left(_BOUNDS_S, seconds)] += 1
        self._sum += seconds
        self.count += 1

    def to_point(self) -> dict[str, Any]:
        """The members of a data point."""
        return {
            "count": str(self.count),
            "sum": self._sum,
            "min": self._least,
            "max": self._greatest,
            "bucketCounts": [str(number) for number in self._buckets],
            "explicitBounds": list(_BOUNDS_S),
        }


def _unit(name: str) -> str:
    return next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "1")


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)

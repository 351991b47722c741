"""The figures of a run as metrics: what each is called, its unit, which way is better, and how sure it is.

Covers: runs of every kind that caligo records (`reconcile`, `simulate`, `bench`, also of jobs) and imported benchmarks
(`benchmark`); sealed, interrupted and damaged ones, as far as they can be read; pooling the same metric of several
runs. Does not cover: whether two runs differ (:mod:`caligo.store.comparison`), whether a run is still what was written
(:func:`caligo.store.load_run`).

Rates of events are proportions with Clopper-Pearson intervals, times are raw samples with an order-statistics interval
for their median, everything else is a figure of the summary: one a run, an interval for its median once six runs are
pooled. Intervals are two-sided and 95 %. Nothing is invented: a run without a figure is without the metric.

Records are streamed. Of more than :data:`SAMPLE_LIMIT` timings those are kept whose number has a small hash, which is
a fair and repeatable choice; `Metric.share` then says which share they are.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from caligo.errors import ConfigError
from caligo.statistics import Proportion, Samples, median_interval
from caligo.store.findings import Finding
from caligo.store.reader import Run

__all__ = ["SAMPLE_LIMIT", "Better", "Metric", "is_known_metric", "pool_metrics", "pool_runs", "run_metrics"]

Better = Literal["lower", "higher"] | None

SAMPLE_LIMIT = 1 << 20
"""Timings kept of one run, over all its metrics; 20 MiB while they are read, 8 MiB then."""

_POOL_LIMIT = 1 << 22
"""Timings kept of one metric of pooled runs: 32 MiB."""

_CHUNK = 1 << 16
_KEYS = 4096
_ACCEPTED = frozenset({"ok", "confirmed"})
_DETECTED = frozenset({"detected_failure", "uncorrected", "unconfirmed"})
_UNDETECTED = frozenset({"undetected_error"})


@dataclass(frozen=True, slots=True)
class _Form:
    unit: str
    better: Better
    of: str


_FORMS: dict[str, _Form] = {
    "fer": _Form("", "lower", "frames or blocks that failed or were wrong, over all"),
    "undetected_error_rate": _Form("", "lower", "frames or blocks that passed every check and were wrong, over all"),
    "efficiency": _Form("", "lower", "leakage over Shannon's limit"),
    "leak_rate": _Form("", "lower", "leakage_bits over key bits"),
    "true_qber": _Form("", None, "share of key bits that differed"),
    "estimated_qber": _Form("", None, "from sampled positions"),
    "decode_time_ns": _Form("ns", "lower", "time of the decoder for a block"),
    "coded_mbps": _Form("Mbit/s", "higher", "bits of codewords per second of decoding"),
    "coded_mbps_per_core": _Form("Mbit/s", "higher", "the same of one core"),
    "payload_mbps": _Form("Mbit/s", "higher", "key bits per second"),
    "elapsed_s": _Form("s", "lower", "duration of the whole run"),
    "decode_share": _Form("", "higher", "share of the threads' time spent decoding"),
    "rounds_mean": _Form("", "lower", "requests per block"),
    "messages": _Form("", "lower", "between the two parties"),
    "peak_rss_bytes": _Form("B", "lower", "greatest resident memory"),
    "decoder_bytes": _Form("B", "lower", "memory of a decoder workspace"),
    "memory_share_max": _Form("", "lower", "greatest share of a rank's memory budget"),
    "allocations_per_decode": _Form("", "lower", "heap allocations for a frame"),
}
"""Metrics of any run, in the order in which they are shown."""

_NAMED_FORMS: dict[str, _Form] = {
    "time_ns": _Form("ns", "lower", "time of one round of a benchmark"),
    "coded_mbps": _Form("Mbit/s", "higher", "median over the calls of a row of a sweep"),
    "fer": _Form("", "lower", "of a row of a sweep"),
}
"""Metrics of one benchmark or row each, named `<metric>:<benchmark>`."""


@dataclass(frozen=True)
class Metric:
    """One figure of a run, or of several runs together.

    Args:
        name: as in :data:`_FORMS`, or `<metric>:<benchmark>`.
        unit: `ns`, `s`, `B`, `Mbit/s`, or empty for a pure number.
        better: which way is better; None where neither is.
        value: best estimate: the rate, the median of the samples, the figure, the median of the figures of several
            runs.
        low: lower end of the two-sided 95 % interval; None without one.
        high: upper end; None without one.
        proportion: the counts, of a rate.
        samples: the raw samples, of a time.
        figures: the estimate of each run, one a run; what tells runs apart from samples within one.
        share: share of the samples that was kept; 1 unless there were more than :data:`SAMPLE_LIMIT`.
        note: what to know of it, empty when nothing.
    """

    name: str
    unit: str
    better: Better
    value: float
    low: float | None
    high: float | None
    proportion: Proportion | None = None
    samples: Samples | None = None
    figures: Samples = field(default_factory=Samples)
    share: float = 1.0
    note: str = ""

    @property
    def one_sided_high(self) -> float | None:
        """Upper 95 % bound of a rate alone, without a lower one: 3.0 / n where none of n failed, for which the
        two-sided interval (`high`) says 3.69 / n. None for other metrics.
        """
        return None if self.proportion is None else self.proportion.interval(0.90)[1]

    def to_json(self) -> dict[str, Any]:
        """The metric without its raw samples, whose summary stands instead."""
        document: dict[str, Any] = {
            "unit": self.unit,
            "better": self.better,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "runs": self.figures.count,
        }
        if self.proportion is not None:
            document |= {"successes": self.proportion.successes, "trials": self.proportion.trials}
            document["one_sided_high"] = self.one_sided_high
        if self.samples is not None:
            document["samples"] = self.samples.summary() | {"share": self.share}
        return document | ({"note": self.note} if self.note else {})


def _form(name: str) -> _Form:
    base, named, _ = name.partition(":")
    form = (_NAMED_FORMS if named else _FORMS).get(base)
    if form is None:
        raise ConfigError(
            f"expected the name of a metric, got {name!r}; there are {', '.join(_FORMS)}, and of each benchmark "
            f"{', '.join(f'{base}:BENCHMARK' for base in _NAMED_FORMS)}",
            metric=name,
        )
    return form


def is_known_metric(name: str) -> bool:
    """Whether a run may have a metric of this name."""
    base, named, _ = name.partition(":")
    return base in (_NAMED_FORMS if named else _FORMS)


def _of_proportion(name: str, counts: Proportion, figures: Samples | None = None, note: str = "") -> Metric | None:
    if not counts.trials or counts.estimate is None:
        return None
    form = _form(name)
    low, high = counts.interval()
    each = Samples([counts.estimate]) if figures is None else figures
    return Metric(name, form.unit, form.better, counts.estimate, low, high, counts, None, each, note=note)


def _of_samples(
    name: str, samples: Samples, figures: Samples | None = None, share: float = 1.0, note: str = ""
) -> Metric | None:
    median = samples.median
    if median is None:
        return None
    form = _form(name)
    low, high = median_interval(samples) or (None, None)
    each = Samples([median]) if figures is None else figures
    return Metric(name, form.unit, form.better, median, low, high, None, samples, each, share, note)


def _of_figures(
    name: str, figures: Samples, interval: tuple[float, float] | None = None, note: str = ""
) -> Metric | None:
    median = figures.median
    if median is None:
        return None
    form = _form(name)
    low, high = interval or median_interval(figures) or (None, None)
    return Metric(name, form.unit, form.better, median, low, high, None, None, figures, note=note)


# --- records -------------------------------------------------------------------------------------------------------


def _mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A hash of each number: the output function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


class _Timings:
    """Timings under keys; of more than a limit those whose number has the smallest hashes, by halving the threshold."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._keys: dict[str | int, int] = {}
        self._offered: list[int] = []
        self._number = 0
        self._threshold = 1 << 64
        self._waiting_keys = array("i")
        self._waiting = array("d")
        self._places = np.empty(0, dtype=np.int32)
        self._values = np.empty(0, dtype=np.float64)
        self._hashes = np.empty(0, dtype=np.uint64)

    def add(self, key: str | int, value: float) -> None:
        place = self._keys.get(key)
        if place is None:
            if len(self._keys) >= _KEYS:
                return
            place = self._keys[key] = len(self._keys)
            self._offered.append(0)
        self._offered[place] += 1
        self._waiting_keys.append(place)
        self._waiting.append(value)
        if len(self._waiting) >= _CHUNK:
            self._settle()

    def _settle(self) -> None:
        count = len(self._waiting)
        hashes = _mix(np.arange(self._number, self._number + count, dtype=np.uint64))
        self._number += count
        self._places = np.concatenate([self._places, np.array(self._waiting_keys, dtype=np.int32)])
        self._values = np.concatenate([self._values, np.array(self._waiting, dtype=np.float64)])
        self._hashes = np.concatenate([self._hashes, hashes])
        self._waiting_keys, self._waiting = array("i"), array("d")
        self._keep()
        while len(self._values) > self._limit:
            self._threshold >>= 1
            self._keep()

    def _keep(self) -> None:
        if self._threshold >> 64:
            return
        kept = self._hashes < np.uint64(self._threshold)
        self._places, self._values, self._hashes = self._places[kept], self._values[kept], self._hashes[kept]

    @property
    def share(self) -> float:
        """Share of the timings that is kept."""
        return self._threshold / 2.0**64

    def counts(self) -> dict[str | int, int]:
        """How many were offered under each key."""
        return {key: self._offered[place] for key, place in self._keys.items()}

    def samples(self, key: str | int) -> Samples:
        """Those that are kept under a key."""
        self._settle()
        place = self._keys.get(key)
        return Samples() if place is None else Samples(self._values[self._places == place])


@dataclass
class _Tally:
    """What the records of a run say together."""

    timings: _Timings
    frames: int = 0
    detected: int = 0
    undetected: int = 0
    leakage_bits: int = 0
    payload_bits: int = 0
    damaged: int = 0


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _number(value: object) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def _tally(run: Run, limit: int) -> _Tally:
    tally = _Tally(_Timings(limit))

    def on_finding(finding: Finding) -> None:
        tally.damaged += 1

    for record in run.records(on_finding=on_finding):
        elapsed_ns = _number(record.get("elapsed_ns"))
        benchmark = record.get("benchmark")
        if isinstance(benchmark, str):
            if elapsed_ns is not None:
                tally.timings.add(benchmark, elapsed_ns)
            continue
        frames, outcome = _count(record.get("frames")), record.get("outcome")
        if outcome == "measured":
            if frames and "call" in record:
                tally.frames += frames
                tally.detected += min(frames, _count(record.get("detected_failures")) or 0)
                tally.undetected += min(frames, _count(record.get("undetected_errors")) or 0)
                if elapsed_ns is not None:
                    tally.timings.add(0, elapsed_ns / frames)
            continue
        if outcome in _ACCEPTED or outcome in _DETECTED or outcome in _UNDETECTED:
            tally.frames += 1
            tally.detected += outcome in _DETECTED
            tally.undetected += outcome in _UNDETECTED
        tally.leakage_bits += _count(record.get("leakage_bits")) or 0
        tally.payload_bits += _count(record.get("payload_bits")) or 0
        if elapsed_ns is not None:
            tally.timings.add(_count(record.get("block_length")) or 0, elapsed_ns)
    return tally


# --- one run -------------------------------------------------------------------------------------------------------

_FROM_RECORDS = frozenset({"decode_time_ns", "time_ns"})


def run_metrics(run: Run, *, records: bool = True, sample_limit: int = SAMPLE_LIMIT) -> dict[str, Metric]:
    """Every metric that a run has.

    Args:
        run: of any kind and state; damaged records are passed over, and the metrics made of the others say so.
        records: read the records, for the raw times, and for rates of a run that has no summary.
        sample_limit: timings to keep at most.

    Returns:
        Metrics by name, in a fixed order; empty for a run that says nothing.

    Raises:
        StoreError: a record file cannot be read.
    """
    summary = run.summary or {}
    tally = _tally(run, sample_limit) if records else None
    note = ""
    if tally is not None and tally.damaged:
        note = f"{tally.damaged} stretch(es) of damaged records left out"
    found: dict[str, Metric | None] = {}
    failed, undetected = _event_counts(run.kind, summary, tally)
    if failed is not None:
        found["fer"] = _of_proportion("fer", failed, note=note)
    if undetected is not None:
        found["undetected_error_rate"] = _of_proportion("undetected_error_rate", undetected, note=note)
    if tally is not None:
        found |= _times(run.kind, tally, note)
    found |= _figures(run, summary, tally)
    if run.kind == "bench":
        _invert_interval(found)
        found |= _sweep(run, summary) if records else {}
    present = {name: metric for name, metric in found.items() if metric is not None}
    order = {name: place for place, name in enumerate(_FORMS)}
    return dict(sorted(present.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))


def _event_counts(
    kind: str, summary: Mapping[str, Any], tally: _Tally | None
) -> tuple[Proportion | None, Proportion | None]:
    """Failed, and undetected, of all frames or blocks: from the summary, else from the records.

    The records of a reconciliation do not tell an undetected error from a success.
    """
    undetected = _count(summary.get("undetected_errors"))
    for trials_name, failed_name in (("frames", "frame_errors"), ("blocks", "blocks_failed")):
        trials, failed = _count(summary.get(trials_name)), _count(summary.get(failed_name))
        if trials is None or failed is None:
            continue
        if trials_name == "blocks":
            failed += undetected or 0
        if failed > trials or (undetected or 0) > trials:
            return None, None
        return Proportion(failed, trials), None if undetected is None else Proportion(undetected, trials)
    if tally is None or not tally.frames:
        return None, None
    failed = min(tally.frames, tally.detected + tally.undetected)
    seen = Proportion(tally.undetected, tally.frames) if kind in ("simulate", "bench") else None
    return Proportion(failed, tally.frames), seen


def _times(kind: str, tally: _Tally, note: str) -> dict[str, Metric | None]:
    counts = tally.timings.counts()
    found: dict[str, Metric | None] = {}
    for key in sorted(key for key in counts if isinstance(key, str)):
        name = f"time_ns:{key}"
        found[name] = _of_samples(name, tally.timings.samples(key), share=tally.timings.share, note=note)
    lengths = [key for key in counts if isinstance(key, int)]
    if lengths:
        length = max(lengths, key=lambda key: (counts[key], key))
        if len(lengths) > 1:
            of = f"blocks of {length} positions only, {counts[length]} of {sum(counts[key] for key in lengths)}"
            note = f"{note}; {of}" if note else of
        found["decode_time_ns"] = _of_samples(
            "decode_time_ns", tally.timings.samples(length), share=tally.timings.share, note=note
        )
    return found


def _figures(run: Run, summary: Mapping[str, Any], tally: _Tally | None) -> dict[str, Metric | None]:
    job = summary.get("job")
    places = [summary, job if isinstance(job, dict) else {}, {} if run.seal is None else run.seal]
    found: dict[str, Metric | None] = {}
    for name in _FORMS:
        if name in ("fer", "undetected_error_rate", "leak_rate") or name in _FROM_RECORDS:
            continue
        figure = next((value for place in places if (value := _number(place.get(name))) is not None), None)
        if figure is None:
            continue
        low, high = _number(summary.get(f"{name}_low")), _number(summary.get(f"{name}_high"))
        interval = (low, high) if low is not None and high is not None and low <= figure <= high else None
        found[name] = _of_figures(name, Samples([figure]), interval)
    leaked = _leak_rate(run, summary, tally)
    if leaked is not None:
        found["leak_rate"] = _of_figures("leak_rate", Samples([leaked]))
    return found


def _leak_rate(run: Run, summary: Mapping[str, Any], tally: _Tally | None) -> float | None:
    """Bits disclosed for each key bit of the blocks."""
    leakage = _number(summary.get("leakage_bits"))
    if leakage is None:
        if tally is None or not tally.payload_bits:
            return None
        return tally.leakage_bits / tally.payload_bits
    if "frames" in summary:
        payload = _number(summary.get("payload_length")) or _number(run.configuration.get("payload_length"))
    else:
        bits = [_number(summary.get(name)) or 0.0 for name in ("key_bits", "sampled_bits", "discarded_bits")]
        payload = bits[0] - bits[1] - bits[2]
    return leakage / payload if payload and payload > 0 else None


def _invert_interval(found: dict[str, Metric | None]) -> None:
    """`caligo bench decoder` takes its rates from the median call, so the interval of that median is theirs."""
    time = found.get("decode_time_ns")
    if time is None or not time.value or not time.low or not time.high:
        return
    for name in ("coded_mbps", "coded_mbps_per_core", "payload_mbps"):
        rate = found.get(name)
        if rate is not None:
            bits = rate.value * time.value
            found[name] = replace(rate, low=min(rate.value, bits / time.high), high=max(rate.value, bits / time.low))


def _sweep(run: Run, summary: Mapping[str, Any]) -> dict[str, Metric | None]:
    """The rows of `caligo bench decoder --sweep`, one record each."""
    found: dict[str, Metric | None] = {}
    if not isinstance(run.configuration.get("rows"), list):
        return found
    for record in run.records(on_finding=lambda finding: None):
        row, rate = record.get("name"), _number(record.get("coded_mbps"))
        if not isinstance(row, str) or rate is None or len(found) >= _KEYS:
            continue
        found[f"coded_mbps:{row}"] = _of_figures(f"coded_mbps:{row}", Samples([rate]))
        errors, frames = _count(record.get("frame_errors")), _count(record.get("frames"))
        if errors is not None and frames and errors <= frames:
            found[f"fer:{row}"] = _of_proportion(f"fer:{row}", Proportion(errors, frames))
    return found


# --- several runs --------------------------------------------------------------------------------------------------


def pool_metrics(metrics: Sequence[Metric]) -> Metric:
    """The same metric of several runs together: counts and samples add up, figures are put side by side.

    Any order and any grouping give the same, up to 2^22 samples; of more, every n-th of the sorted ones is kept.

    Args:
        metrics: at least one, all of one name.

    Returns:
        The metric of all runs.

    Raises:
        ConfigError: none, or metrics of different names.
    """
    names = sorted({metric.name for metric in metrics})
    if len(names) != 1:
        raise ConfigError(f"expected metrics of one name, got {names or 'none'}; pool each name by itself")
    if len(metrics) == 1:
        return metrics[0]
    name = names[0]
    figures = Samples.union(metric.figures for metric in metrics)
    note = "; ".join(sorted({metric.note for metric in metrics if metric.note}))
    counts = [metric.proportion for metric in metrics if metric.proportion is not None]
    raw = [metric.samples for metric in metrics if metric.samples is not None]
    pooled: Metric | None
    if len(counts) == len(metrics):
        pooled = _of_proportion(name, sum(counts, Proportion()), figures, note)
    elif len(raw) == len(metrics):
        offered = sum(metric.samples.count / metric.share for metric in metrics if metric.samples is not None)
        samples = _thin(Samples.union(raw))
        pooled = _of_samples(name, samples, figures, min(1.0, samples.count / offered), note)
    else:
        pooled = _of_figures(name, figures, note=note)
    if pooled is None:
        raise ConfigError(f"expected metrics with values, got none of {name}; leave out what was not measured")
    return pooled


def _thin(samples: Samples) -> Samples:
    step = -(-samples.count // _POOL_LIMIT)
    return samples if step <= 1 else Samples(samples.values[step // 2 :: step])


def pool_runs(each: Iterable[Mapping[str, Metric]]) -> dict[str, Metric]:
    """The metrics of several runs together; a metric that some runs lack is that of the others.

    Args:
        each: what :func:`run_metrics` says of each run.

    Returns:
        Pooled metrics by name, in the order in which metrics are shown.
    """
    grouped: dict[str, list[Metric]] = {}
    for metrics in each:
        for name, metric in metrics.items():
            grouped.setdefault(name, []).append(metric)
    order = {name: place for place, name in enumerate(_FORMS)}
    names = sorted(grouped, key=lambda name: (order.get(name, len(order)), name))
    return {name: pool_metrics(grouped[name]) for name in names}

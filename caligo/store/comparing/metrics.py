"""The figures of a run as metrics: what each is called, its unit, which way is better, and how sure it is.

Covers: runs of every kind that caligo records (`reconcile`, `simulate`, `bench`, also of jobs) and imported benchmarks
(`benchmark`); sealed, interrupted and damaged ones, as far as they can be read; pooling the same metric of several
runs. Does not cover: whether two runs differ (:mod:`.comparison`), whether a run is still what was written
(:func:`caligo.store.load_run`).

Rates of events are proportions with Clopper-Pearson intervals, times are raw samples with an order-statistics interval
for their median, everything else is a figure of the summary: one a run, an interval for its median once six runs are
pooled. Intervals are two-sided and 95 %. Nothing is invented: a run without a figure is without the metric.

A simulation with the same seed decodes the same frames again, so counts of repeats are not added up: each draw is
counted once, in the run that saw most of it.

Records are streamed (:mod:`.tally`). Of more than :data:`SAMPLE_LIMIT` timings a fair and repeatable choice
is kept; `Metric.share` then says which share it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from caligo.errors import ConfigError
from caligo.statistics import Proportion, Samples, median_interval
from caligo.store.comparing.tally import MOST_KEYS, Tally, count_in, number_in, tally_records
from caligo.store.reader import Run

__all__ = [
    "METRICS",
    "SAMPLE_LIMIT",
    "Better",
    "Metric",
    "MetricForm",
    "is_known_metric",
    "metric_form",
    "needs_records",
    "pool_metrics",
    "pool_runs",
    "run_metrics",
]

Better = Literal["lower", "higher"] | None

SAMPLE_LIMIT = 1 << 20
"""Timings kept of one run, over all its metrics; 20 MiB while they are read, 8 MiB then."""

_POOL_LIMIT = 1 << 22
"""Timings kept of one metric of pooled runs: 32 MiB."""


@dataclass(frozen=True, slots=True)
class MetricForm:
    """What a metric is.

    Args:
        unit: `ns`, `s`, `B`, `Mbit/s`, or empty for a pure number.
        better: which way is better; None where neither is.
        meaning: in a few words.
    """

    unit: str
    better: Better
    meaning: str


METRICS: dict[str, MetricForm] = {
    "fer": MetricForm("", "lower", "frames or blocks that failed or were wrong, over all"),
    "undetected_error_rate": MetricForm(
        "", "lower", "frames or blocks that passed every check and were wrong, over all"
    ),
    "efficiency": MetricForm("", "lower", "leakage over Shannon's limit"),
    "leak_rate": MetricForm("", "lower", "leakage_bits over key bits"),
    "true_qber": MetricForm("", None, "share of key bits that differed"),
    "estimated_qber": MetricForm("", None, "from sampled positions"),
    "decode_time_ns": MetricForm("ns", "lower", "time of the decoder for a block"),
    "coded_mbps": MetricForm("Mbit/s", "higher", "bits of codewords per second of decoding"),
    "coded_mbps_per_core": MetricForm("Mbit/s", "higher", "the same of one core"),
    "payload_mbps": MetricForm("Mbit/s", "higher", "key bits per second"),
    "elapsed_s": MetricForm("s", "lower", "duration of the whole run"),
    "decode_share": MetricForm("", "higher", "share of the threads' time spent decoding"),
    "rounds_mean": MetricForm("", "lower", "requests per block"),
    "messages": MetricForm("", "lower", "between the two parties"),
    "peak_rss_bytes": MetricForm("B", "lower", "greatest resident memory"),
    "decoder_bytes": MetricForm("B", "lower", "memory of a decoder workspace"),
    "memory_share_max": MetricForm("", "lower", "greatest share of a rank's memory budget"),
    "allocations_per_decode": MetricForm("", "lower", "heap allocations for a frame"),
}
"""Metrics of any run, in the order in which they are shown."""

_FROM_RECORDS = frozenset({"decode_time_ns"})

_NAMED_METRICS: dict[str, MetricForm] = {
    "time_ns": MetricForm("ns", "lower", "time of one round of a benchmark"),
    "coded_mbps": MetricForm("Mbit/s", "higher", "median over the calls of a row of a sweep"),
    "fer": MetricForm("", "lower", "of a row of a sweep"),
}
"""Metrics of one benchmark or row each, named `<metric>:<benchmark>`."""


@dataclass(frozen=True)
class Metric:
    """One figure of a run, or of several runs together.

    Args:
        name: as in :data:`METRICS`, or `<metric>:<benchmark>`.
        unit: `ns`, `s`, `B`, `Mbit/s`, or empty for a pure number.
        better: which way is better; None where neither is.
        value: best estimate: the rate, the median of the samples, the figure, the median of the figures of several
            runs.
        low: lower end of the two-sided 95 % interval; None without one.
        high: upper end; None without one.
        proportion: the counts, of a rate, every draw counted once.
        samples: the raw samples, of a time.
        figures: the estimate of each run, one a run; what tells runs apart from samples within one.
        draws: of a rate, the counts by set of frames or blocks that was drawn; runs that drew the same share its name.
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
    draws: tuple[tuple[str, Proportion], ...] = ()
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


def metric_form(name: str) -> MetricForm:
    """What a metric of this name is.

    Raises:
        ConfigError: no run has a metric of this name.
    """
    base, named, _ = name.partition(":")
    form = (_NAMED_METRICS if named else METRICS).get(base)
    if form is None:
        raise ConfigError(
            f"expected the name of a metric, got {name!r}; there are {', '.join(METRICS)}, and of each benchmark "
            f"{', '.join(f'{base}:BENCHMARK' for base in _NAMED_METRICS)}",
            metric=name,
        )
    return form


def is_known_metric(name: str) -> bool:
    """Whether a run may have a metric of this name."""
    base, named, _ = name.partition(":")
    return base in (_NAMED_METRICS if named else METRICS)


def needs_records(name: str) -> bool:
    """Whether a metric of a sealed run is made of its records and not of its summary."""
    return name in _FROM_RECORDS or ":" in name


def _of_proportion(
    name: str, draws: Mapping[str, Proportion], figures: Samples | None = None, note: str = ""
) -> Metric | None:
    counts = sum(draws.values(), Proportion())
    if counts.estimate is None:
        return None
    form = metric_form(name)
    low, high = counts.interval()
    each = Samples([counts.estimate]) if figures is None else figures
    drawn = tuple(sorted(draws.items()))
    return Metric(name, form.unit, form.better, counts.estimate, low, high, counts, None, each, drawn, note=note)


def _of_samples(
    name: str, samples: Samples, figures: Samples | None = None, share: float = 1.0, note: str = ""
) -> Metric | None:
    median = samples.median
    if median is None:
        return None
    form = metric_form(name)
    low, high = median_interval(samples) or (None, None)
    each = Samples([median]) if figures is None else figures
    return Metric(name, form.unit, form.better, median, low, high, None, samples, each, share=share, note=note)


def _of_figures(
    name: str, figures: Samples, interval: tuple[float, float] | None = None, note: str = ""
) -> Metric | None:
    median = figures.median
    if median is None:
        return None
    form = metric_form(name)
    low, high = interval or median_interval(figures) or (None, None)
    return Metric(name, form.unit, form.better, median, low, high, None, None, figures, note=note)


# --- one run -------------------------------------------------------------------------------------------------------


def run_metrics(
    run: Run, *, records: bool = True, sample_limit: int = SAMPLE_LIMIT, only: str | None = None
) -> dict[str, Metric]:
    """Every metric that a run has.

    Args:
        run: of any kind and state; damaged records are passed over, and the metrics made of the others say so.
        records: read the records, for the raw times, and for rates of a run that has no summary.
        sample_limit: timings to keep at most.
        only: the one metric that is wanted; others may then be missing. None: all.

    Returns:
        Metrics by name, in a fixed order; empty for a run that says nothing.

    Raises:
        StoreError: a record file cannot be read.
    """
    summary, draw = run.summary or {}, _draw(run)
    tally = tally_records(run, sample_limit) if records else None
    note = ""
    if tally is not None and tally.damaged:
        note = f"{tally.damaged} stretch(es) of damaged records left out"
    found: dict[str, Metric | None] = {}
    failed, undetected = _event_counts(run.kind, summary, tally)
    if failed is not None and only in (None, "fer"):
        found["fer"] = _of_proportion("fer", {draw: failed}, note=note)
    if undetected is not None and only in (None, "undetected_error_rate"):
        found["undetected_error_rate"] = _of_proportion("undetected_error_rate", {draw: undetected}, note=note)
    if tally is not None:
        found |= _times(run.kind, tally, note)
    found |= _figures(run, summary, tally, only)
    if run.kind == "bench":
        _invert_interval(found)
        found |= _sweep(run, summary) if records else {}
    present = {name: metric for name, metric in found.items() if metric is not None}
    order = {name: place for place, name in enumerate(METRICS)}
    return dict(sorted(present.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))


def _draw(run: Run) -> str:
    """A name for the noise that a run met: the same for runs that met the same.

    Runs of one experiment with a simulation seed meet the same noise. Reconciliations of one pair of keys are known by
    the share of bits that differ.
    """
    seeds, true_qber = run.document.get("seeds"), (run.summary or {}).get("true_qber")
    if run.identity is None or not (seeds or true_qber):
        return run.name
    return f"{run.identity}:{true_qber}" if true_qber else run.identity


def _event_counts(
    kind: str, summary: Mapping[str, Any], tally: Tally | None
) -> tuple[Proportion | None, Proportion | None]:
    """Failed, and undetected, of all frames or blocks: from the summary, else from the records.

    The records of a reconciliation do not tell an undetected error from a success.
    """
    undetected = count_in(summary.get("undetected_errors"))
    for trials_name, failed_name in (("frames", "frame_errors"), ("blocks", "blocks_failed")):
        trials, failed = count_in(summary.get(trials_name)), count_in(summary.get(failed_name))
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


def _times(kind: str, tally: Tally, note: str) -> dict[str, Metric | None]:
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


def _figures(run: Run, summary: Mapping[str, Any], tally: Tally | None, only: str | None) -> dict[str, Metric | None]:
    job = summary.get("job")
    places = [summary, job if isinstance(job, dict) else {}, {} if run.seal is None else run.seal]
    found: dict[str, Metric | None] = {}
    for name in METRICS if only is None else {only}.intersection(METRICS):
        if name in ("fer", "undetected_error_rate", "leak_rate") or name in _FROM_RECORDS:
            continue
        figure = next((value for place in places if (value := number_in(place.get(name))) is not None), None)
        if figure is None:
            continue
        low, high = number_in(summary.get(f"{name}_low")), number_in(summary.get(f"{name}_high"))
        interval = (low, high) if low is not None and high is not None and low <= figure <= high else None
        found[name] = _of_figures(name, Samples([figure]), interval)
    leaked = _leak_rate(run, summary, tally) if only in (None, "leak_rate") else None
    if leaked is not None:
        found["leak_rate"] = _of_figures("leak_rate", Samples([leaked]))
    return found


def _leak_rate(run: Run, summary: Mapping[str, Any], tally: Tally | None) -> float | None:
    """Bits disclosed for each key bit of the blocks."""
    leakage = number_in(summary.get("leakage_bits"))
    if leakage is None:
        if tally is None or not tally.payload_bits:
            return None
        return tally.leakage_bits / tally.payload_bits
    if "frames" in summary:
        payload = number_in(summary.get("payload_length")) or number_in(run.configuration.get("payload_length"))
    else:
        bits = [number_in(summary.get(name)) or 0.0 for name in ("key_bits", "sampled_bits", "discarded_bits")]
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
    draw = _draw(run)
    if not isinstance(run.configuration.get("rows"), list):
        return found
    for record in run.records(on_finding=lambda finding: None):
        row, rate = record.get("name"), number_in(record.get("coded_mbps"))
        if not isinstance(row, str) or rate is None or len(found) >= MOST_KEYS:
            continue
        found[f"coded_mbps:{row}"] = _of_figures(f"coded_mbps:{row}", Samples([rate]))
        errors, frames = count_in(record.get("frame_errors")), count_in(record.get("frames"))
        if errors is not None and frames and errors <= frames:
            found[f"fer:{row}"] = _of_proportion(f"fer:{row}", {draw: Proportion(errors, frames)})
    return found


# --- several runs --------------------------------------------------------------------------------------------------


def pool_metrics(metrics: Sequence[Metric]) -> Metric:
    """The same metric of several runs together: counts and samples add up, figures are put side by side.

    Counts of the same draw are not added: those of the run that saw most of it stand.

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
    raw = [metric.samples for metric in metrics if metric.samples is not None]
    pooled: Metric | None
    if all(metric.draws for metric in metrics):
        pooled = _of_proportion(name, _join(metrics), figures, note)
    elif len(raw) == len(metrics):
        offered = sum(metric.samples.count / metric.share for metric in metrics if metric.samples is not None)
        samples = _thin(Samples.union(raw))
        pooled = _of_samples(name, samples, figures, min(1.0, samples.count / offered), note)
    else:
        pooled = _of_figures(name, figures, note=note)
    if pooled is None:
        raise ConfigError(f"expected metrics with values, got none of {name}; leave out what was not measured")
    return pooled


def _join(metrics: Iterable[Metric]) -> dict[str, Proportion]:
    """Each draw once: the counts over the most frames, of equals those with the most errors."""
    most: dict[str, Proportion] = {}
    for metric in metrics:
        for draw, counts in metric.draws:
            known = most.get(draw, Proportion())
            most[draw] = max(known, counts, key=lambda part: (part.trials, part.successes))
    return most


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
    order = {name: place for place, name in enumerate(METRICS)}
    names = sorted(grouped, key=lambda name: (order.get(name, len(order)), name))
    return {name: pool_metrics(grouped[name]) for name in names}

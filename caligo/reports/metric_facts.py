"""Metrics of the store as facts of a page: what a person calls each.

Covers: labels, notes and intervals. Does not cover: what the metrics are (:mod:`caligo.store.comparing.metrics`).
"""

from __future__ import annotations

from collections.abc import Iterable

from caligo.reports.figures import figure, number
from caligo.reports.model import Fact
from caligo.store.comparing.metrics import Metric

_LABELS = {
    "fer": "Frame error rate",
    "undetected_error_rate": "Undetected errors",
    "efficiency": "Efficiency f",
    "leak_rate": "Leak rate",
    "true_qber": "True QBER",
    "estimated_qber": "Estimated QBER",
    "decode_time_ns": "Decode time of a block",
    "coded_mbps": "Coded throughput",
    "coded_mbps_per_core": "Coded throughput of a core",
    "payload_mbps": "Payload throughput",
    "elapsed_s": "Elapsed time",
    "decode_share": "Decoders busy",
    "rounds_mean": "Requests per block",
    "messages": "Messages",
    "peak_rss_bytes": "Greatest resident memory",
    "decoder_bytes": "Memory of a decoder",
    "memory_share_max": "Greatest share of a memory budget",
    "allocations_per_decode": "Allocations per decode",
    "time_ns": "Time",
}
_SHARES = frozenset({"decode_share", "memory_share_max"})


def metric_label(name: str) -> str:
    """What a person calls a metric; those of one benchmark each have its name behind a colon."""
    base, named, benchmark = name.partition(":")
    label = _LABELS.get(base, base)
    return f"{label}: {benchmark}" if named else label


def metric_unit(metric: Metric) -> str:
    """The unit in which a metric is read: that of the store, or per cent."""
    return "share" if metric.name in _SHARES else metric.unit


def metric_fact(metric: Metric) -> Fact:
    """A metric with its interval, and the counts or samples that it comes from."""
    notes = []
    if metric.proportion is not None:
        notes.append(f"{number(metric.proportion.successes)} of {number(metric.proportion.trials)}")
        if not metric.proportion.successes:
            notes.append(f"one-sided, 95 %: at most {figure(metric.one_sided_high, metric_unit(metric))}")
    if metric.samples is not None:
        notes.append(f"median of {number(metric.samples.count)}")
    notes += filter(None, [metric.note])
    return Fact(
        name=metric.name,
        label=metric_label(metric.name),
        value=metric.value,
        unit=metric_unit(metric),
        low=metric.low,
        high=metric.high,
        note="; ".join(notes),
    )


def metric_facts(metrics: Iterable[Metric]) -> tuple[Fact, ...]:
    """All metrics, in their order."""
    return tuple(map(metric_fact, metrics))

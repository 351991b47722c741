"""The plots of one run.

Covers: throughput along the run, over time and per rank, where ranks spent their time, decode times, efficiency against
the finite-length limit, failure rates with intervals, memory against its budget. Does not cover: drawing
(:mod:`caligo.reports.plots`), and figures that are not plotted. Each function gives None where its plot does not apply.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from caligo.channel import normal_approximation_efficiency
from caligo.errors import ConfigError
from caligo.reports.figures import figure, number
from caligo.reports.model import Axis, Plot, Reference, Series
from caligo.reports.rank_files import BusyTimes, Rank
from caligo.reports.record_profile import RecordProfile
from caligo.statistics import Samples
from caligo.store import Run
from caligo.store.comparing.metrics import Metric

_MOST_BARS = 32
_SINGLE_LINES = 6
_LATENCY_BINS = 48


def throughput_along_the_run(profile: RecordProfile) -> Plot | None:
    """Speed of one decoder on stretches of consecutive blocks, from the records' times."""
    stretches = [stretch for stretch in profile.stretches if stretch.elapsed_ns > 0]
    if len(stretches) < 4 or not any(stretch.payload_bits for stretch in stretches):
        return None
    speeds = [stretch.payload_mbps for stretch in stretches]
    last = stretches[-1]
    of_all = 1000.0 * sum(s.payload_bits for s in stretches) / sum(s.elapsed_ns for s in stretches)
    return Plot(
        name="throughput-along",
        title="Decoding speed along the run",
        description=(
            f"Key bits per second of one decoder, over {number(len(stretches))} stretches of consecutive blocks: "
            f"{figure(of_all, 'Mbit/s')} over all, from {figure(min(speeds))} to {figure(max(speeds), 'Mbit/s')}."
        ),
        x=Axis("block, in the order of the records"),
        y=Axis("payload", "Mbit/s"),
        series=(
            Series(
                "a stretch",
                "steps",
                (*(float(stretch.first) for stretch in stretches), float(last.first + last.blocks)),
                (*speeds, speeds[-1]),
            ),
        ),
        references=(Reference("the whole run", of_all, "y"),),
    )


def throughput_over_time(busy: BusyTimes | None, ranks: Sequence[Rank]) -> Plot | None:
    """Key bits per second over the time of the run: what each rank did per second in decoders, when it was there."""
    if busy is None:
        return None
    speeds: dict[int, Any] = {}
    for rank in ranks:
        shares, decode_s = busy.shares.get(rank.rank), rank.phases_s.get("decode", 0.0)
        if shares is not None and decode_s > 0 and rank.payload_bits:
            speeds[rank.rank] = shares * (rank.payload_bits / decode_s / 1e6)
    if not speeds:
        return None
    total = np.sum(list(speeds.values()), axis=0)
    edges = [index * busy.width_s for index in range(len(total) + 1)]
    series = [Series("all ranks", "steps", tuple(edges), (*map(float, total), float(total[-1])))]
    if 1 < len(speeds) <= _SINGLE_LINES - 1:
        middles = tuple((edge + busy.width_s / 2) for edge in edges[:-1])
        series += [Series(f"rank {rank}", "line", middles, tuple(map(float, speed))) for rank, speed in speeds.items()]
    mean = float(total.mean())
    return Plot(
        name="throughput-over-time",
        title="Throughput over time",
        description=(
            f"Key bits per second while decoders worked, from the trace of {number(len(speeds))} rank(s): "
            f"{figure(mean, 'Mbit/s')} on average, {figure(float(total.max()), 'Mbit/s')} at most."
        ),
        x=Axis("since the start", "s"),
        y=Axis("payload", "Mbit/s"),
        series=tuple(series),
    )


def throughput_per_rank(ranks: Sequence[Rank]) -> Plot | None:
    """Key bits per second of each rank, or of groups of ranks where there are many."""
    if len(ranks) < 2 or not any(rank.payload_mbps for rank in ranks):
        return None
    groups = _groups(ranks)
    speeds = [sum(rank.payload_mbps for rank in group) / len(group) for group in groups]
    single = [rank.payload_mbps for rank in ranks]
    slowest = min(ranks, key=lambda rank: (rank.payload_mbps, rank.rank))
    return Plot(
        name="throughput-per-rank",
        title="Throughput per rank",
        description=(
            f"Key bits per second of {_each(groups)}: from {figure(min(single))} (rank {slowest.rank}) to "
            f"{figure(max(single), 'Mbit/s')}."
        ),
        x=Axis("payload", "Mbit/s"),
        y=Axis("", categories=tuple(map(_group_name, groups))),
        series=(Series("payload", "bars", tuple(speeds), _places(groups)),),
    )


def time_per_rank(ranks: Sequence[Rank]) -> Plot | None:
    """Where the threads of each rank spent their time."""
    if not any(rank.phases_s for rank in ranks):
        return None
    totals: dict[str, float] = {}
    for rank in ranks:
        for phase, seconds in rank.phases_s.items():
            totals[phase] = totals.get(phase, 0.0) + seconds
    shown = sorted((phase for phase, seconds in totals.items() if seconds > 0), key=lambda phase: -totals[phase])[:7]
    if not shown:
        return None
    groups = _groups(ranks)
    series = tuple(
        Series(
            phase,
            "stack",
            tuple(sum(rank.phases_s.get(phase, 0.0) for rank in group) / len(group) for group in groups),
            _places(groups),
        )
        for phase in shown
    )
    everything = sum(totals.values())
    shares = ", ".join(f"{phase} {figure(totals[phase] / everything, 'share')}" for phase in shown)
    return Plot(
        name="time-per-rank",
        title="Where the time went",
        description=f"Time in each phase, over the threads of {_each(groups)}; of all ranks: {shares}.",
        x=Axis("time", "s"),
        y=Axis("", categories=tuple(map(_group_name, groups))),
        series=series,
    )


def decode_times(metric: Metric | None) -> Plot | None:
    """Distribution of the time that a decoder took for a block, over a logarithmic axis."""
    if metric is None or metric.samples is None or metric.samples.count < 8:
        return None
    samples = metric.samples
    series = latency_series("blocks", samples, latency_edges([samples]))
    middle, late = samples.quantile(0.5), samples.quantile(0.99)
    if series is None or middle is None or late is None:
        return None
    return Plot(
        name="decode-times",
        title="Decode times",
        description=(
            f"Time of the decoder for a block, {number(samples.count)} blocks: median {figure(middle, 'ns')}, "
            f"99 % within {figure(late, 'ns')}, longest {figure(samples.quantile(1.0), 'ns')}."
        ),
        x=Axis("time for a block", "ns", "log"),
        y=Axis("share of the blocks", "share"),
        series=(series,),
        references=(Reference("median", middle, "x"), Reference("99 %", late, "x")),
    )


def latency_edges(each: Iterable[Samples]) -> list[float]:
    """Edges of bins, evenly spaced on a logarithmic axis, that hold all positive samples; empty without any."""
    values = [samples.values[samples.values > 0] for samples in each]
    low = min((float(part[0]) for part in values if part.size), default=0.0)
    high = max((float(part[-1]) for part in values if part.size), default=0.0)
    if low <= 0.0:
        return []
    step = max(math.log(high / low), 0.05) * 1.0001 / _LATENCY_BINS
    return [low * 0.99999 * math.exp(index * step) for index in range(_LATENCY_BINS + 1)]


def latency_series(label: str, samples: Samples, edges: list[float]) -> Series | None:
    """The share of the samples in each bin; None without samples or edges."""
    if not samples.count or not edges:
        return None
    counts, _ = np.histogram(samples.values, bins=edges)
    shares = [float(count) / samples.count for count in counts]
    return Series(label, "steps", tuple(edges), (*shares, 0.0))


def failure_rates(metrics: Mapping[str, Metric], target: float | None) -> Plot | None:
    """Frame error rate and rate of undetected errors, with Clopper-Pearson intervals, beside the target."""
    names = {"fer": "failed", "undetected_error_rate": "undetected"}
    found = [
        (label, metrics[name].proportion)
        for name, label in names.items()
        if name in metrics and metrics[name].proportion is not None
    ]
    rates = [(label, part) for label, part in found if part is not None and part.trials]
    if not rates:
        return None
    bounds = [part.interval() for _, part in rates]
    told = "; ".join(
        f"{label} {number(part.successes)} of {number(part.trials)}, {figure(low, 'share')} to {figure(high, 'share')}"
        for (label, part), (low, high) in zip(rates, bounds, strict=True)
    )
    return Plot(
        name="failure-rates",
        title="Failure rates",
        description=(
            f"With 95 % Clopper-Pearson intervals: {told}"
            + (f"; the target is {figure(target, 'share')}." if target is not None else ".")
        ),
        x=Axis("share of the blocks", "share", "log"),
        y=Axis("", categories=tuple(label for label, _ in rates)),
        series=(
            Series(
                "measured",
                "intervals",
                tuple(part.estimate or 0.0 for _, part in rates),
                tuple(float(index) for index in range(len(rates))),
                tuple(low for low, _ in bounds),
                tuple(high for _, high in bounds),
            ),
        ),
        references=() if target is None else (Reference("target", target, "x"),),
    )


def efficiency_against_the_limit(run: Run, metrics: Mapping[str, Metric], target: float | None) -> Plot | None:
    """The run's efficiency among the least that is possible at each block length, by the normal approximation."""
    metric, summary = metrics.get("efficiency"), run.summary or {}
    length = _first_number(summary.get("payload_length"), run.configuration.get("payload_length"),
                           summary.get("block_length"), run.configuration.get("block_length"))  # fmt: skip
    qber = _first_number(summary.get("true_qber"), run.configuration.get("qber"), summary.get("estimated_qber"))
    if metric is None or length is None or qber is None or not 0.0 < qber < 0.5 or length < 100:
        return None
    rate, of = _failure_rate(metrics.get("fer"), target)
    if rate is None:
        return None
    middle = math.log2(length)
    lengths = [2.0 ** (middle - 4 + step / 4) for step in range(33)]
    lengths = [each for each in lengths if each >= 100]
    try:
        least = [normal_approximation_efficiency(round(each), qber, rate) for each in lengths]
        here = normal_approximation_efficiency(round(length), qber, rate)
    except ConfigError:
        return None
    low, high = metric.low, metric.high
    return Plot(
        name="efficiency",
        title="Efficiency against the finite-length limit",
        description=(
            f"f = {figure(metric.value)} at {number(round(length))} key bits a block and a QBER of "
            f"{figure(qber, 'share')}; one-way, {figure(here)} is the least there when {figure(rate, 'share')} of the "
            f"blocks may fail ({of}; normal approximation). Shannon's limit is 1."
        ),
        x=Axis("key bits in a block", "", "log2"),
        y=Axis("efficiency f"),
        series=(
            Series("finite-length limit", "line", tuple(lengths), tuple(least)),
            Series(
                "this run",
                "points",
                (length,),
                (metric.value,),
                () if low is None or high is None else (low,),
                () if low is None or high is None else (high,),
            ),
        ),
        references=(Reference("Shannon's limit", 1.0, "y"),),
    )


def _failure_rate(metric: Metric | None, target: float | None) -> tuple[float | None, str]:
    """At which failure rate the limit is taken, and where that comes from."""
    counts = None if metric is None else metric.proportion
    if counts is not None and 0 < counts.successes < counts.trials:
        return counts.successes / counts.trials, "the rate that was measured"
    if target is not None and 0.0 < target < 1.0:
        return target, "the target"
    if counts is not None and counts.trials and not counts.successes:
        return min(0.5, counts.interval()[1]), "the upper end of the interval, as none failed"
    return None, ""


def memory_against_budget(run: Run, ranks: Sequence[Rank]) -> Plot | None:
    """The most memory that each rank, or the process, had at once, beside what it may have."""
    if any(rank.peak_rss_bytes for rank in ranks):
        groups = _groups(ranks)
        peaks = [float(max(rank.peak_rss_bytes for rank in group)) for group in groups]
        budgets = [float(min(rank.memory_budget_bytes for rank in group)) for group in groups]
        names = tuple(map(_group_name, groups))
        worst = max(ranks, key=lambda rank: (rank.peak_rss_bytes / max(rank.memory_budget_bytes, 1), -rank.rank))
        told = f"rank {worst.rank} came nearest"
        peak, budget = float(worst.peak_rss_bytes), float(worst.memory_budget_bytes)
        whose = "memory budget"
    else:
        summary, machine = run.summary or {}, run.document.get("machine", {})
        peak_bytes, memory = _first_number(summary.get("peak_rss_bytes")), _first_number(machine.get("memory_bytes"))
        if peak_bytes is None or memory is None:
            return None
        peaks, budgets, names, told = [peak_bytes], [memory], ("process",), "of one process"
        peak, budget, whose = peak_bytes, memory, "memory of the machine"
    series = [Series("most used", "bars", tuple(peaks), tuple(map(float, range(len(peaks)))))]
    if budget > 0:
        series.append(Series(whose, "bars", tuple(budgets), tuple(map(float, range(len(peaks))))))
    share = f", {figure(peak / budget, 'share')} of the {whose}" if budget > 0 else ""
    return Plot(
        name="memory",
        title="Memory against its budget",
        description=f"Resident memory at its greatest: {told}, {figure(peak, 'bytes')}{share}.",
        x=Axis("memory", "bytes"),
        y=Axis("", categories=names),
        series=tuple(series),
    )


def _first_number(*values: object) -> float | None:
    for value in values:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return None


def _groups(ranks: Sequence[Rank]) -> list[Sequence[Rank]]:
    """Ranks by one, or by as many as make few enough bars."""
    size = -(-len(ranks) // _MOST_BARS)
    return [ranks[first : first + size] for first in range(0, len(ranks), size)]


def _group_name(group: Sequence[Rank]) -> str:
    first, last = group[0].rank, group[-1].rank
    return f"rank {first}" if first == last else f"ranks {first}–{last}"


def _each(groups: Sequence[Sequence[Rank]]) -> str:
    most = max(map(len, groups))
    return "each rank" if most == 1 else f"ranks in groups of {most} (the mean of each)"


def _places(groups: Sequence[object]) -> tuple[float, ...]:
    return tuple(float(index) for index in range(len(groups)))

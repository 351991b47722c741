"""One metric over time: every run of a selection in order, and where its level changed.

Covers: making series (one a machine and experiment, since others do not compare), the change points of each, the
commits between which a change came. Does not cover: how a change point is found (:mod:`.change_points`),
whether one run passes (:mod:`caligo.store.gating.gates`).

Sealed runs alone make a series: what an interrupted one got done is no figure of the experiment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caligo.statistics import Samples
from caligo.store.comparing.change_points import SIGNIFICANCE, find_change_points
from caligo.store.comparing.comparison import Effect, Verdict, effect_of_medians
from caligo.store.comparing.metrics import Metric, metric_form, needs_records, run_metrics
from caligo.store.indexing.index import select_runs
from caligo.store.reader import Run, State, load_run

__all__ = ["History", "HistoryChange", "HistoryPoint", "HistorySeries", "history_of_runs", "metric_history"]


@dataclass(frozen=True)
class HistoryPoint:
    """One run of a series.

    Args:
        run: its name.
        started_at: when it began.
        commit: of its code; empty where it is not known.
        dirty: whether the code had changes beyond the commit.
        value: of the metric.
        low: lower end of its interval; None without one.
        high: upper end.
    """

    run: str
    started_at: str
    commit: str
    dirty: bool
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class HistoryChange:
    """A change of level.

    Args:
        index: of the first point on the new level.
        before: the last run on the old level.
        after: the first run on the new one.
        commit_before: of the run before.
        commit_after: of the run after; the change of code, if it was one, lies between the two.
        effect: of the new level on the old one, from the runs of each.
        p_value: see :class:`.change_points.ChangePoint`.
        verdict: better, worse, or different where neither way is better.
    """

    index: int
    before: str
    after: str
    commit_before: str
    commit_after: str
    effect: Effect | None
    p_value: float
    verdict: Verdict


@dataclass(frozen=True)
class HistorySeries:
    """The runs that compare.

    Args:
        fingerprint: of their machine; empty where it is not known.
        identity: of their experiment; None where the selection as a whole is one series a machine.
        points: oldest first.
        changes: in order.
    """

    fingerprint: str
    identity: str | None
    points: tuple[HistoryPoint, ...]
    changes: tuple[HistoryChange, ...]


@dataclass(frozen=True)
class History:
    """What :func:`metric_history` found.

    Args:
        metric: its name.
        unit: its unit.
        significance: share of series without a change in which one may be reported.
        series: the longest first.
        left_out: runs without the metric, or not sealed.
    """

    metric: str
    unit: str
    significance: float
    series: tuple[HistorySeries, ...]
    left_out: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The history as a JSON object."""
        return {
            "metric": self.metric,
            "unit": self.unit,
            "significance": self.significance,
            "series": [_series_json(series) for series in self.series],
            "left_out": list(self.left_out),
        }


def _series_json(series: HistorySeries) -> dict[str, Any]:
    return {
        "fingerprint": series.fingerprint,
        "identity": series.identity,
        "points": [
            {
                "run": point.run,
                "started_at": point.started_at,
                "commit": point.commit,
                "dirty": point.dirty,
                "value": point.value,
                "low": point.low,
                "high": point.high,
            }
            for point in series.points
        ],
        "changes": [
            {
                "index": change.index,
                "before": change.before,
                "after": change.after,
                "commit_before": change.commit_before,
                "commit_after": change.commit_after,
                "effect": None if change.effect is None else change.effect.to_json(),
                "p_value": change.p_value,
                "verdict": change.verdict.value,
            }
            for change in series.changes
        ],
    }


def metric_history(
    store: str | os.PathLike[str],
    metric: str,
    where: str = "",
    *,
    significance: float = SIGNIFICANCE,
    together: bool = False,
    url: str | None = None,
) -> History:
    """The history of a metric in a store.

    Args:
        store: directory of the store.
        metric: its name (:data:`.metrics.METRICS`).
        where: a filter; empty takes every run that is not set aside.
        significance: in (0, 1): share of series without a change in which one may be reported.
        together: all selected runs of a machine are one series, whatever their experiments.
        url: of the index, see :class:`caligo.store.indexing.index.Index`.

    Returns:
        The history.

    Raises:
        ConfigError: no such metric, a wrong filter, or a significance outside its range.
        ResourceError: the library `ruptures` is missing.
        StoreError: the store, or a record file, cannot be read.
    """
    metric_form(metric)
    paths = select_runs(store, where, url=url)
    return history_of_runs(
        (load_run(Path(path), verify=False) for path in paths), metric, significance=significance, together=together
    )


def history_of_runs(
    runs: Iterable[Run], metric: str, *, significance: float = SIGNIFICANCE, together: bool = False
) -> History:
    """The history of a metric over given runs; arguments, result and errors as :func:`metric_history`.

    Args:
        runs: in any order; each is read once.
        metric: name.
        significance: as there.
        together: as there.
    """
    form = metric_form(metric)
    grouped: dict[tuple[str, str | None], list[HistoryPoint]] = {}
    left_out: list[str] = []
    for run in runs:
        found = None
        if run.state is State.SEALED:
            found = run_metrics(run, records=needs_records(metric), only=metric).get(metric)
        if found is None:
            left_out.append(run.name)
            continue
        fingerprint = str(run.document["machine"].get("fingerprint") or "")
        grouped.setdefault((fingerprint, None if together else run.identity), []).append(_point(run, found))
    series = [
        _series(fingerprint, identity, points, metric, significance)
        for (fingerprint, identity), points in grouped.items()
    ]
    series.sort(key=lambda one: (-len(one.points), one.fingerprint, one.identity or ""))
    return History(metric, form.unit, significance, tuple(series), tuple(sorted(left_out)))


def _point(run: Run, metric: Metric) -> HistoryPoint:
    code = run.document["code"]
    return HistoryPoint(
        run.name,
        str(run.document["started_at"]),
        str(code.get("commit") or ""),
        bool(code.get("dirty")),
        metric.value,
        metric.low,
        metric.high,
    )


def _series(
    fingerprint: str, identity: str | None, points: list[HistoryPoint], metric: str, significance: float
) -> HistorySeries:
    points.sort(key=lambda point: (point.started_at, point.run))
    values = [point.value for point in points]
    found = find_change_points(values, significance=significance)
    ends = [0, *(change.index for change in found), len(values)]
    changes = []
    for number, change in enumerate(found):
        old, new = values[ends[number] : change.index], values[change.index : ends[number + 2]]
        before, after = points[change.index - 1], points[change.index]
        changes.append(
            HistoryChange(
                change.index,
                before.run,
                after.run,
                before.commit,
                after.commit,
                effect_of_medians(Samples(old), Samples(new)),
                change.p_value,
                _verdict(metric, Samples(old), Samples(new)),
            )
        )
    return HistorySeries(fingerprint, identity, tuple(points), tuple(changes))


def _verdict(metric: str, old: Samples, new: Samples) -> Verdict:
    better = metric_form(metric).better
    mine, theirs = old.mean, new.mean
    if better is None or mine is None or theirs is None or mine == theirs:
        return Verdict.DIFFERENT
    return Verdict.BETTER if (theirs > mine) == (better == "higher") else Verdict.WORSE

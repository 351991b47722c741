"""Two runs side by side: what was asked differently, where it ran differently, and which figures differ for certain.

Covers: the configuration and environment deltas, every metric with its interval, a test and an effect, whether the
comparison is fair; one run or several of one experiment on a side. Does not cover: what a metric is
(:mod:`.metrics`), pass and fail (:mod:`caligo.store.gating.gates`), which runs are near
(:mod:`.neighbours`).

Rates are compared with Fisher's exact test and the difference of the rates. Times are compared with the Mann-Whitney
test and the ratio of the medians: from four runs on a side on, of the medians of the runs, since samples of one run
resemble each other more than those of another do; with fewer, of the raw samples, and the comparison says what that
leaves out. A figure that each run has once is tested from four runs on a side on. Intervals are two-sided and 95 %,
p-values two-sided; beside each stands its value adjusted for the number of tests (Holm), from which the verdict comes.

Comparing B with A mirrors comparing A with B.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from caligo.errors import ConfigError
from caligo.statistics import (
    Samples,
    difference_interval,
    difference_test,
    holm_adjusted,
    median_interval,
    rank_test,
)
from caligo.store.comparing.metrics import METRICS, Metric, pool_runs, run_metrics
from caligo.store.indexing.flatten import Scalar, flatten_run
from caligo.store.layout import default_store
from caligo.store.reader import Run, State, find_run, load_run

__all__ = [
    "LEVEL",
    "Change",
    "Comparison",
    "Effect",
    "MetricChange",
    "Side",
    "Verdict",
    "compare_runs",
    "effect_of_medians",
    "find_side",
    "is_timing",
]

LEVEL = 0.05
"""A verdict is given when the adjusted p-value is below this."""

RUNS_FOR_A_TEST = 4
"""From so many runs on each side on, runs are compared and not samples: four against four can reach p = 0.029."""

_ENVIRONMENT = ("code.", "engine.", "machine.")
_CONDITION = re.compile(r"[=<>~]|^\s*(?:not|exists)\s")
_TIMING_UNITS = frozenset({"ns", "s", "Mbit/s"})


class Verdict(StrEnum):
    """What may be said of B against A."""

    BETTER = "better"
    WORSE = "worse"
    DIFFERENT = "different"
    NOT_SHOWN = "no difference shown"
    EQUAL = "equal"
    UNTESTED = "untested"
    UNFAIR = "not comparable"
    ONE_SIDED = "one side only"


@dataclass(frozen=True)
class Change:
    """One dotted key that is not the same on both sides.

    Args:
        key: as `configuration.list_size`.
        a: the values of A's runs, each once; empty where only B has the key.
        b: those of B.
        defines: whether the key is part of the experiment's identity.
    """

    key: str
    a: tuple[Scalar, ...]
    b: tuple[Scalar, ...]
    defines: bool

    def to_json(self) -> dict[str, Any]:
        """The change as a JSON object."""
        return {"key": self.key, "a": list(self.a), "b": list(self.b), "defines_experiment": self.defines}


@dataclass(frozen=True)
class Effect:
    """How far B is from A.

    Args:
        kind: "ratio" is B over A (of medians), "difference" is B less A (of rates).
        value: estimate.
        low: lower end of its two-sided 95 % interval; None without one.
        high: upper end.
    """

    kind: Literal["ratio", "difference"]
    value: float
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, Any]:
        """The effect as a JSON object."""
        return {"kind": self.kind, "value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class MetricChange:
    """One metric on both sides.

    Args:
        name: of the metric.
        a: A's; None when it has none.
        b: B's.
        effect: None where one side has none.
        test: what was tested, in words; empty when nothing was.
        p_value: two-sided; None without a test.
        p_adjusted: adjusted for all tests of the comparison (Holm).
        verdict: on B against A.
    """

    name: str
    a: Metric | None
    b: Metric | None
    effect: Effect | None
    test: str
    p_value: float | None
    p_adjusted: float | None
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """The change as a JSON object."""
        return {
            "name": self.name,
            "a": None if self.a is None else self.a.to_json(),
            "b": None if self.b is None else self.b.to_json(),
            "effect": None if self.effect is None else self.effect.to_json(),
            "test": self.test,
            "p_value": self.p_value,
            "p_adjusted": self.p_adjusted,
            "verdict": self.verdict.value,
        }


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Args:
        runs: their names, in order.
        kind: of the runs.
        identity: of the experiment; None when no ``run.json`` can be read.
        states: how many runs are in each state, in order of the state's name.
        metrics: pooled.
        facts: dotted keys of configuration, seeds and environment, and the values that the runs have.
    """

    runs: tuple[str, ...]
    kind: str
    identity: str | None
    states: tuple[tuple[str, int], ...]
    metrics: Mapping[str, Metric]
    facts: Mapping[str, tuple[Scalar, ...]]

    def to_json(self) -> dict[str, Any]:
        """The side without metrics and facts."""
        return {
            "runs": list(self.runs),
            "kind": self.kind,
            "identity": self.identity,
            "states": dict(self.states),
            "commit": list(self.facts.get("code.commit", ())),
            "fingerprint": list(self.facts.get("machine.fingerprint", ())),
        }


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare_runs` found.

    Args:
        a: one side, by custom the older one.
        b: the other.
        configuration: keys of configuration and seeds that differ, by key.
        environment: keys of code, engine and machine that differ, by key.
        obstacles: why times of the two sides cannot be compared; empty when they can.
        cautions: what to keep in mind.
        metrics: in the order in which metrics are shown.
    """

    a: Side
    b: Side
    configuration: tuple[Change, ...]
    environment: tuple[Change, ...]
    obstacles: tuple[str, ...]
    cautions: tuple[str, ...]
    metrics: tuple[MetricChange, ...]

    @property
    def same_experiment(self) -> bool:
        """Whether both sides ran what is one experiment by its identity."""
        return self.a.identity is not None and self.a.identity == self.b.identity

    @property
    def differing_keys(self) -> tuple[str, ...]:
        """The keys that make the two sides different experiments."""
        return tuple(change.key for change in self.configuration if change.defines)

    def to_json(self) -> dict[str, Any]:
        """The comparison as a JSON object."""
        return {
            "a": self.a.to_json(),
            "b": self.b.to_json(),
            "same_experiment": self.same_experiment,
            "differing_keys": list(self.differing_keys),
            "timings_comparable": not self.obstacles,
            "obstacles": list(self.obstacles),
            "cautions": list(self.cautions),
            "configuration": [change.to_json() for change in self.configuration],
            "environment": [change.to_json() for change in self.environment],
            "metrics": [change.to_json() for change in self.metrics],
        }


def is_timing(metric: Metric) -> bool:
    """Whether a metric depends on the machine's speed, so that only one machine's are comparable."""
    return metric.unit in _TIMING_UNITS or metric.name == "decode_share"


def compare_runs(a: Run | Sequence[Run], b: Run | Sequence[Run], *, records: bool = True) -> Comparison:
    """Compare two runs, or two sets of runs of one experiment each.

    Args:
        a: one side, by custom the older one.
        b: the other.
        records: read the records; without them there are no raw times.

    Returns:
        The comparison.

    Raises:
        ConfigError: a side is empty, or its runs are of several experiments.
        StoreError: a record file cannot be read.
    """
    side_a, excluded_a = _side(a, "A", records)
    side_b, excluded_b = _side(b, "B", records)
    excluded = excluded_a | excluded_b
    obstacles = tuple(_obstacles(side_a, side_b))
    metrics = _compare_metrics(side_a.metrics, side_b.metrics, bool(obstacles))
    return Comparison(
        side_a,
        side_b,
        tuple(_changes(side_a, side_b, ("kind", "configuration.", "seeds."), excluded)),
        tuple(_changes(side_a, side_b, _ENVIRONMENT, excluded)),
        obstacles,
        tuple(_cautions(side_a, side_b, metrics)),
        metrics,
    )


# --- sides ---------------------------------------------------------------------------------------------------------


def _side(given: Run | Sequence[Run], name: str, records: bool) -> tuple[Side, frozenset[str]]:
    """The runs of a side together, and the keys that do not define the experiment."""
    loaded = {run.path: run for run in ([given] if isinstance(given, Run) else given)}
    runs = sorted(loaded.values(), key=lambda run: (run.name, str(run.path)))
    identities = {run.identity for run in runs}
    if len(identities) != 1:
        raise ConfigError(
            f"expected runs of one experiment as {name}, got {len(runs)} runs of {len(identities)}; choose a run, or a "
            "selector that names one identity (see `caligo store list`)",
            side=name,
            runs=len(runs),
            identities=len(identities),
        )
    facts: dict[str, set[Scalar]] = {}
    states: dict[str, int] = {}
    excluded: set[str] = set()
    for run in runs:
        states[run.state.value] = states.get(run.state.value, 0) + 1
        for key, value in flatten_run(run).items():
            if key == "kind" or key.startswith(("configuration.", "seeds.", *_ENVIRONMENT)):
                facts.setdefault(key, set()).add(value)
        excluded |= {f"configuration.{key}" for key in run.document.get("identity_excludes", [])}
    side = Side(
        tuple(run.name for run in runs),
        runs[0].kind,
        runs[0].identity,
        tuple(sorted(states.items())),
        pool_runs([run_metrics(run, records=records) for run in runs]),
        {key: tuple(sorted(values, key=repr)) for key, values in facts.items()},
    )
    return side, frozenset(excluded)


def _changes(a: Side, b: Side, prefixes: tuple[str, ...], excluded: frozenset[str]) -> list[Change]:
    keys = sorted(key for key in a.facts.keys() | b.facts.keys() if key.startswith(prefixes))
    return [
        Change(
            key,
            a.facts.get(key, ()),
            b.facts.get(key, ()),
            not key.startswith(_ENVIRONMENT)
            and key not in excluded
            and not any(key.startswith(f"{name}.") for name in excluded),
        )
        for key in keys
        if a.facts.get(key) != b.facts.get(key)
    ]


def _obstacles(a: Side, b: Side) -> list[str]:
    found = []
    prints = a.facts.get("machine.fingerprint", ()), b.facts.get("machine.fingerprint", ())
    if not all(prints):
        found.append("the machine of a run is not known")
    elif len(set(prints[0] + prints[1])) > 1:
        found.append("the machines differ: their fingerprints are not one")
    if a.kind != b.kind:
        found.append("the kinds of run differ")
    for key, what in (("configuration.threads", "threads"), ("machine.usable_cores", "usable cores")):
        if len(set(a.facts.get(key, ()) + b.facts.get(key, ()))) > 1:
            found.append(f"the numbers of {what} differ")
    return found


def _cautions(a: Side, b: Side, metrics: Sequence[MetricChange]) -> list[str]:
    found = []
    for name in (State.DAMAGED, State.OPEN, State.INTERRUPTED):
        count = dict(a.states).get(name.value, 0) + dict(b.states).get(name.value, 0)
        if count:
            found.append(f"{count} run(s) {name.value}: figures are of what there is")
    if any(change.test.endswith("samples") for change in metrics):
        found.append(
            "times are compared by samples and not by runs: how runs of one build differ from each other is not in "
            f"their p-values; give {RUNS_FOR_A_TEST} runs or more on each side for that"
        )
    if _shared_draws(metrics):
        found.append("both sides met the same frames or keys: their error rates are closer than Fisher's test supposes")
    if any(True in side.facts.get("code.dirty", ()) for side in (a, b)):
        found.append("code that was not committed: the commit does not tell all of it")
    return found


def _shared_draws(metrics: Sequence[MetricChange]) -> bool:
    """Whether a draw of frames is counted on both sides."""
    drawn = [
        ({draw for draw, _ in change.a.draws}, {draw for draw, _ in change.b.draws})
        for change in metrics
        if change.a is not None and change.b is not None
    ]
    return any(a & b for a, b in drawn)


# --- metrics -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tested:
    effect: Effect | None
    test: str
    p_value: float | None
    rises: bool | None


def _compare_metrics(a: Mapping[str, Metric], b: Mapping[str, Metric], unfair_times: bool) -> tuple[MetricChange, ...]:
    order = {name: place for place, name in enumerate(METRICS)}
    names = sorted(a.keys() | b.keys(), key=lambda name: (order.get(name, len(order)), name))
    tested = {name: _test(a[name], b[name]) for name in names if name in a and name in b}
    with_p = [name for name in tested if tested[name].p_value is not None]
    raw = [p for name in with_p if (p := tested[name].p_value) is not None]
    adjusted = dict(zip(with_p, holm_adjusted(raw), strict=True))
    changes = []
    for name in names:
        mine, theirs = a.get(name), b.get(name)
        outcome = tested.get(name)
        if outcome is None or mine is None or theirs is None:
            changes.append(MetricChange(name, mine, theirs, None, "", None, None, Verdict.ONE_SIDED))
            continue
        verdict = _verdict(mine, theirs, outcome, adjusted.get(name), unfair_times)
        changes.append(
            MetricChange(name, mine, theirs, outcome.effect, outcome.test, outcome.p_value, adjusted.get(name), verdict)
        )
    return tuple(changes)


def _verdict(a: Metric, b: Metric, tested: _Tested, adjusted: float | None, unfair_times: bool) -> Verdict:
    if adjusted is None:
        if a.value == b.value:
            return Verdict.EQUAL
        return Verdict.UNFAIR if unfair_times and is_timing(a) else Verdict.UNTESTED
    if adjusted >= LEVEL:
        return Verdict.NOT_SHOWN
    if unfair_times and is_timing(a):
        return Verdict.UNFAIR
    if a.better is None or tested.rises is None:
        return Verdict.DIFFERENT
    return Verdict.BETTER if tested.rises == (a.better == "higher") else Verdict.WORSE


def _test(a: Metric, b: Metric) -> _Tested:
    if a.proportion is not None and b.proportion is not None:
        limits = difference_interval(a.value, a.proportion.interval(), b.value, b.proportion.interval())
        difference = Effect("difference", b.value - a.value, *limits)
        p_value = min(1.0, difference_test(a.proportion, b.proportion))
        test = f"Fisher, {a.proportion.trials} and {b.proportion.trials} trials"
        return _Tested(difference, test, p_value, None if a.value == b.value else b.value > a.value)
    enough = min(a.figures.count, b.figures.count) >= RUNS_FOR_A_TEST
    if enough or a.samples is None or b.samples is None:
        mine, theirs, what = a.figures, b.figures, "runs"
    else:
        mine, theirs, what = a.samples, b.samples, "samples"
    effect = effect_of_medians(mine, theirs)
    if what == "runs" and not enough:
        return _Tested(effect, "", None, None)
    p_value, rises = _ranks(mine, theirs)
    return _Tested(effect, f"Mann-Whitney, {mine.count} and {theirs.count} {what}", p_value, rises)


def _ranks(a: Samples, b: Samples) -> tuple[float, bool | None]:
    """p-value, and whether values of `b` tend to be greater; None for neither."""
    if a.quantile(0.0) == a.quantile(1.0) == b.quantile(0.0) == b.quantile(1.0):
        return 1.0, None
    outcome = rank_test(a, b)
    return min(1.0, outcome.p_value), None if outcome.superiority == 0.5 else outcome.superiority > 0.5


def effect_of_medians(a: Samples, b: Samples) -> Effect | None:
    """Ratio of the medians where both are positive, else their difference; None without samples on a side."""
    mine, theirs = a.median, b.median
    if mine is None or theirs is None:
        return None
    intervals = median_interval(a), median_interval(b)
    positive = mine > 0 and theirs > 0
    value = theirs / mine if positive else theirs - mine
    kind: Literal["ratio", "difference"] = "ratio" if positive else "difference"
    if intervals[0] is None or intervals[1] is None or (positive and min(intervals[0][0], intervals[1][0]) <= 0):
        return Effect(kind, value, None, None)
    if not positive:
        return Effect(kind, value, *difference_interval(mine, intervals[0], theirs, intervals[1]))
    logs = [(math.log(low), math.log(high)) for low, high in (intervals[0], intervals[1])]
    low, high = difference_interval(math.log(mine), logs[0], math.log(theirs), logs[1])
    return Effect(kind, value, math.exp(low), math.exp(high))


def find_side(store: str | os.PathLike[str] | None, text: str, *, url: str | None = None) -> tuple[Run, ...]:
    """The runs that a person means by one side of a comparison.

    Args:
        store: directory of the store; None is the default one.
        text: a run as of :func:`caligo.store.find_run`, or a condition as of :mod:`caligo.store.indexing.query`.
        url: of the index, see :class:`caligo.store.indexing.index.Index`.

    Returns:
        The runs, oldest first, their documents read.

    Raises:
        ConfigError: a condition that is not one, or that no run meets.
        StoreError: no run of that name, or the store cannot be read.
    """
    if Path(text).is_dir() or not _CONDITION.search(text):
        return (load_run(find_run(store, text), verify=False),)
    from caligo.store.indexing.index import select_runs

    base = default_store() if store is None else Path(store)
    found = tuple(load_run(path, verify=False) for path in select_runs(base, text, url=url))
    if not found:
        raise ConfigError(f"expected runs, none in {base} has {text}; see `caligo store list`", where=text)
    return found

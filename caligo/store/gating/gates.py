"""Gates: whether some runs are worse than others, by so much and so surely that somebody should be stopped.

Covers: which runs may be compared with which, one check a metric, the verdict of all together. Does not cover: which
metrics by which test (:mod:`.gate_rules`), the ranks (:mod:`.shifts`), where a baseline comes
from (:mod:`.baselines`), exit codes.

*What is compared.* Runs of one kind and configuration, seeds aside. Times only of one machine fingerprint. What has no
counterpart is not comparable, and a gate that could not look is not a gate that has passed.

*What is a regression.* Every one of: p-value below alpha (Holm, over all tested checks together), an effect of at
least the minimum, and for times the same machine. Rates of failed frames are counts: Fisher's exact test, one-sided.
Memory and what is disclosed are exact figures.

*Times.* Blocks decoded one after the other share the state of the machine; thousands of them are not thousands of
observations. So one run is one observation: a low quantile of its samples, since what disturbs a run only adds time.
Runs made in turns (candidate, baseline, baseline, candidate, ...) are compared in pairs of neighbours, by signed ranks:
what drifts meanwhile falls on both. Runs made apart are compared as two sets, with a much wider minimum effect, since
the drift between them looks like a change. Every check tells the smallest slowdown that it would have found.

Source: `tests/acceptance/test_gate_rates.py` holds the false-alarm and detection rates on recorded times.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caligo.errors import ConfigError, StoreError
from caligo.statistics import Proportion, excess_test, holm_adjusted
from caligo.store.comparing.metrics import Metric, pool_metrics, run_metrics
from caligo.store.gating.gate_report import Check, GateReport, Verdict
from caligo.store.gating.gate_rules import Rule, Rules, Test, Unit
from caligo.store.gating.shifts import Shift, least_p_value, least_pairs, paired_shift, unpaired_shift
from caligo.store.reader import Run, State, load_run
from caligo.store.values import run_identity

__all__ = ["Check", "GateReport", "Observed", "Verdict", "gate", "gate_runs", "observe"]

SAMPLES_OF_A_RUN = 1 << 16
"""Timings of one run that are looked at; a fair choice of more."""

TARGET = 0.05
"""The slowdown for which a check says how many pairs would find it."""

_TURNS = 0.8
"""Share of the smaller side that must have a neighbour of the other side for runs to count as made in turns."""

_LEAST_NS = 1.0

_APART = "ranks of runs made apart"


@dataclass(frozen=True)
class Observed:
    """What a gate knows of one run.

    Attributes:
        run: its name.
        moment: when it was measured, UTC text.
        group: what makes runs comparable: kind and configuration, as a digest.
        label: the group for people.
        machine: machine fingerprint; None when unknown.
        metrics: of the run, by name.
    """

    run: str
    moment: str
    group: str
    label: str
    machine: str | None
    metrics: Mapping[str, Metric]


# --- what is known of a run ---------------------------------------------------------------------------------------


def observe(run: Run, ignore_configuration: Iterable[str] = ()) -> Observed:
    """What a gate needs of a sealed run.

    Args:
        run: loaded.
        ignore_configuration: entries in which compared runs may differ.

    Raises:
        StoreError: its records cannot be read.
    """
    document, summary = run.document, run.summary or {}
    machine: Any = document.get("machine", {})
    moment = document.get("started_at", "")
    if run.kind == "benchmark":
        machine, moment = summary.get("machine"), summary.get("recorded_at", moment)
    fingerprint = machine.get("fingerprint") if isinstance(machine, dict) else None
    configuration = dict(run.configuration)
    excludes = {*map(str, document.get("identity_excludes", [])), *ignore_configuration}
    if run.kind == "benchmark":
        excludes.add("suite")
    label = run.kind
    for name in ("block_length", "info_length", "list_size", "qber", "efficiency", "strategy", "seed"):
        if configuration.get(name) is not None and name not in excludes:
            label += f" {name}={configuration[name]}"
    return Observed(
        run.name,
        str(moment),
        run_identity(run.kind, configuration, {}, excludes),
        label,
        fingerprint if isinstance(fingerprint, str) else None,
        run_metrics(run, sample_limit=SAMPLES_OF_A_RUN),
    )


def _load(paths: Iterable[Path], ignore: Iterable[str], left_out: list[tuple[str, str]]) -> list[Observed]:
    found: dict[str, Observed] = {}
    for path in paths:
        run = load_run(path)
        if run.state is State.DAMAGED:
            damage = ", ".join(sorted({finding.code.value for finding in run.findings}))
            raise StoreError(
                f"cannot gate on {run.name}: it is damaged ({damage}); see `caligo store show {run.name}`, and "
                "quarantine or repair it",
                run=run.name,
            )
        if run.state is not State.SEALED:
            left_out.append((run.name, f"{run.state.value}, not sealed"))
            continue
        found[run.name] = observe(run, ignore)
    return list(found.values())


def gate_runs(candidates: Sequence[Path], baselines: Sequence[Path], rules: Rules | None = None) -> GateReport:
    """Judge runs of a store; every byte of them is checked first.

    Args:
        candidates: run directories to judge.
        baselines: run directories to hold them against.
        rules: what is too much; None is the usual rules.

    Returns:
        The report.

    Raises:
        StoreError: a run is damaged, or cannot be read.
        SchemaVersionError: a run was written by a newer caligo.
    """
    rules = rules or Rules()
    left_out: list[tuple[str, str]] = []
    held_against = _load(baselines, rules.ignore_configuration, left_out)
    names = {run.run for run in held_against}
    judged = _load(candidates, rules.ignore_configuration, left_out)
    left_out += [(run.run, "it is in the baseline") for run in judged if run.run in names]
    report = gate([run for run in judged if run.run not in names], held_against, rules)
    return replace(report, left_out=tuple(left_out))


# --- checks -------------------------------------------------------------------------------------------------------


def gate(candidates: Sequence[Observed], baselines: Sequence[Observed], rules: Rules | None = None) -> GateReport:
    """Judge observed runs; pure, and the same in any order of the runs.

    Args:
        candidates: runs to judge.
        baselines: runs to hold them against.
        rules: what is too much; None is the usual rules.

    Returns:
        The report.

    Raises:
        ConfigError: a rule that does not suit its metric.
    """
    rules = rules or Rules()
    pending: list[_Pending] = []
    sides = [sorted(side, key=lambda run: (run.moment, run.run)) for side in (candidates, baselines)]
    for group in sorted({run.group for side in sides for run in side}):
        first, second = ([run for run in side if run.group == group] for side in sides)
        names = sorted({name for run in (*first, *second) for name in run.metrics})
        for name in names:
            rule = rules.rule(name)
            if rule is not None:
                pending.extend(_pair_up(name, rule, first, second))
    tested = sum(item.is_tested for item in pending)
    level = rules.alpha / max(1, tested)
    measured = [item.measure(level) for item in pending]
    p_values = [check.p_value for check in measured if check.p_value is not None]
    adjusted = iter(holm_adjusted(p_values))
    checks = [
        _judged(replace(check, p_adjusted=next(adjusted)) if check.p_value is not None else check, rules.alpha)
        for check in measured
    ]
    order = {Verdict.REGRESSION: 0, Verdict.NOT_COMPARABLE: 1, Verdict.PASSED: 2}
    checks.sort(key=lambda check: (order[check.verdict], check.group, check.metric, check.test, check.why))
    return GateReport(
        tuple(checks),
        tuple(run.run for run in sides[0]),
        tuple(run.run for run in sides[1]),
        (),
        rules.alpha,
    )


@dataclass(frozen=True)
class _Pending:
    """A metric of runs that may be compared, before it is known how many checks there are."""

    metric: str
    rule: Rule
    candidates: Sequence[Observed]
    baselines: Sequence[Observed]
    obstacle: str = ""

    def __post_init__(self) -> None:
        kinds = {(run.metrics[self.metric].better, run.metrics[self.metric].proportion is None) for run in self._all}
        if self.rule.test is Test.RATE and any(plain for _, plain in kinds):
            raise ConfigError(
                f"gate rules: {self.metric} has no counts; expected test = figure, exact or time, got rate"
            )
        if None in {better for better, _ in kinds}:
            raise ConfigError(f"gate rules: no value of {self.metric} is better than another; expected test = ignore")

    @property
    def _all(self) -> Iterable[Observed]:
        return (*self.candidates, *self.baselines)

    @property
    def is_tested(self) -> bool:
        """Whether chance comes in."""
        if self.obstacle or self.rule.test is Test.EXACT:
            return False
        return self.rule.test is not Test.FIGURE or not self._is_constant

    @property
    def _is_constant(self) -> bool:
        return all(len({self._figure(run) for run in side}) == 1 for side in (self.candidates, self.baselines))

    @cached_property
    def _figures(self) -> Mapping[str, float]:
        """Every run as one number."""
        figures = {}
        for run in self._all:
            metric = run.metrics[self.metric]
            figures[run.run] = metric.value
            if metric.samples is not None and self.rule.test is Test.TIME:
                figures[run.run] = _quantile(metric.samples.values, self.rule.quantile)
        return figures

    def _figure(self, run: Observed) -> float:
        return self._figures[run.run]

    def _log(self, run: Observed) -> float:
        """The logarithm of its figure, greater when worse."""
        metric = run.metrics[self.metric]
        least = _LEAST_NS if metric.unit == "ns" else 1e-300
        log = math.log(max(self._figure(run), least))
        return -log if metric.better == "higher" else log

    def measure(self, level: float) -> Check:
        """The check without its verdict, except where it is plain already."""
        label = (*self.candidates, *self.baselines)[0].label
        check = Check(
            label,
            self.metric,
            self.rule.test.value,
            Verdict.PASSED,
            "",
            _median([self._figure(run) for run in self.candidates]),
            _median([self._figure(run) for run in self.baselines]),
            min_effect=self.rule.min_effect,
            candidates=len(self.candidates),
            baselines=len(self.baselines),
        )
        if self.obstacle:
            return replace(check, verdict=Verdict.NOT_COMPARABLE, why=self.obstacle)
        if self.rule.test is Test.RATE:
            return self._rate(check)
        if not self.is_tested:
            return self._exact(check)
        return self._shift(check, level)

    def _rate(self, check: Check) -> Check:
        sides = [self._counts(side) for side in (self.candidates, self.baselines)]
        candidate, baseline = sides
        ratio = None
        if candidate.estimate is not None and baseline.estimate is not None:
            ratio = candidate.estimate / baseline.estimate if baseline.successes else math.inf
            ratio = 1.0 if candidate.successes == baseline.successes == 0 else ratio
        return replace(
            check,
            test="Fisher's exact test",
            candidate=candidate.estimate,
            baseline=baseline.estimate,
            ratio=ratio,
            p_value=excess_test(baseline, candidate),
            why=f"{candidate.successes} of {candidate.trials}, against {baseline.successes} of {baseline.trials}",
        )

    def _counts(self, side: Sequence[Observed]) -> Proportion:
        return pool_metrics([run.metrics[self.metric] for run in side]).proportion or Proportion()

    def _exact(self, check: Check) -> Check:
        """The median of the candidates against the worst of the baseline."""
        is_higher_better = self.candidates[0].metrics[self.metric].better == "higher"
        worst = (min if is_higher_better else max)(self._figure(run) for run in self.baselines)
        candidate = check.candidate or 0.0
        pair = (worst, candidate) if is_higher_better else (candidate, worst)
        ratio = 1.0 if pair[0] == pair[1] else pair[0] / pair[1] if pair[1] else math.inf
        tolerance = self.rule.min_effect if self.rule.test is Test.EXACT else 0.0
        is_worse = ratio > (1.0 + tolerance) * (1.0 + 1e-9)
        return replace(
            check,
            test="exact",
            baseline=worst,
            ratio=ratio,
            min_effect=tolerance,
            verdict=Verdict.REGRESSION if is_worse else Verdict.PASSED,
            why="" if not is_worse else f"more than {tolerance:.3g} above the worst of the baseline",
        )

    def _shift(self, check: Check, level: float) -> Check:
        rule = self.rule
        if rule.unit is Unit.SAMPLE and rule.test is Test.TIME:
            return self._samples(check, level)
        pairs = _in_turns(self.candidates, self.baselines)
        if pairs:
            shift = paired_shift([self._log(c) - self._log(b) for c, b in pairs], 1.0 - level)
            check = replace(check, test=f"signed ranks of {len(pairs)} pairs of runs in turns")
            short = len(pairs) < least_pairs(level)
            need = f"{least_pairs(level)} pairs"
            effect = rule.min_effect
        else:
            shift = unpaired_shift(
                list(map(self._log, self.candidates)), list(map(self._log, self.baselines)), 1 - level
            )
            check = replace(check, test=_APART)
            short = least_p_value(check.candidates, check.baselines) > level
            need = "about 8 runs a side, better 10 or more made in turns"
            effect = rule.min_effect_apart if rule.test is Test.TIME else rule.min_effect
        if short:
            why = f"too few runs for alpha: expected at least {need}, got {check.candidates} and {check.baselines}"
            return replace(check, verdict=Verdict.NOT_COMPARABLE, why=why)
        return self._shifted(check, shift, level, effect)

    def _samples(self, check: Check, level: float) -> Check:
        sides = [
            [math.log(max(value, _LEAST_NS)) for run in side for value in self._values(run)]
            for side in (self.candidates, self.baselines)
        ]
        check = replace(check, test="ranks of single samples", candidates=len(sides[0]), baselines=len(sides[1]))
        if least_p_value(*map(len, sides)) > level:
            why = f"too few samples for alpha: expected about 8 a side or more, got {len(sides[0])} and {len(sides[1])}"
            return replace(check, verdict=Verdict.NOT_COMPARABLE, why=why)
        return self._shifted(check, unpaired_shift(sides[0], sides[1], 1.0 - level), level, self.rule.min_effect)

    def _values(self, run: Observed) -> Sequence[float]:
        samples = run.metrics[self.metric].samples
        if samples is None:
            raise ConfigError(f"gate rules: {self.metric} has no samples; expected unit = run, got sample")
        return list(map(float, samples.values))

    def _shifted(self, check: Check, shift: Shift, level: float, effect: float) -> Check:
        least = math.log1p(effect)
        resolution = shift.resolution(level, least)
        found = None if not math.isfinite(resolution) else math.expm1(resolution)
        check = replace(
            check,
            ratio=math.exp(shift.estimate),
            ratio_low=math.exp(shift.low),
            p_value=shift.p_value,
            min_effect=effect,
            resolution=found,
            needed=shift.needed(math.log1p(TARGET), level, least),
        )
        wanted = self.rule.resolution
        if wanted is not None and (found is None or found > wanted):
            told = "unknown" if found is None else f"{found:.1%}"
            needed = shift.needed(math.log1p(wanted), level, least)
            more = "" if needed is None else f"; about {needed} pairs would do"
            return replace(
                check, verdict=Verdict.NOT_COMPARABLE, why=f"resolution {told}, {wanted:.1%} asked for{more}"
            )
        return check


def _judged(check: Check, alpha: float) -> Check:
    """A tested check with its verdict."""
    if check.verdict is not Verdict.PASSED or check.p_adjusted is None or check.ratio is None:
        return check
    is_sure, is_much = check.p_adjusted <= alpha, check.ratio >= 1.0 + check.min_effect
    if is_sure and is_much:
        doubt = ", if the machine was as fast then; runs made in turns would tell" if check.test == _APART else ""
        return replace(check, verdict=Verdict.REGRESSION, why=check.why or f"worse, surely and by enough{doubt}")
    if is_sure and check.ratio > 1.0:
        return replace(check, why=check.why or f"worse, but by less than {check.min_effect:.3g}")
    return check


def _median(values: Sequence[float]) -> float | None:
    from statistics import median

    return median(values) if values else None


def _quantile(ascending: NDArray[np.float64], share: float) -> float:
    """Linear between neighbours, of at least one value that is sorted already."""
    below, part = divmod(share * (ascending.size - 1), 1.0)
    low, high = float(ascending[int(below)]), float(ascending[min(int(below) + 1, ascending.size - 1)])
    return low + part * (high - low)


def _pair_up(
    name: str, rule: Rule, candidates: Sequence[Observed], baselines: Sequence[Observed]
) -> Iterable[_Pending]:
    """The comparisons that one metric of one group allows, and what stands in the way of others."""
    first, second = ([run for run in side if name in run.metrics] for side in (candidates, baselines))
    if not first or not second:
        missing = "candidates" if not first else "baseline"
        reason = "no run of this configuration" if not (candidates if not first else baselines) else "no such metric"
        yield _Pending(name, rule, first, second, f"{reason} in the {missing}")
        return
    if rule.test is not Test.TIME:
        yield _Pending(name, rule, first, second)
        return
    known = sorted({run.machine for run in second if run.machine is not None})
    for machine in sorted({run.machine or "" for run in first}):
        judged = [run for run in first if (run.machine or "") == machine]
        held_against = [run for run in second if run.machine == machine] if machine else []
        if held_against:
            yield _Pending(name, rule, judged, held_against)
        else:
            seen = f"candidates {machine or 'unknown'}, baseline {', '.join(known) or 'unknown'}"
            yield _Pending(name, rule, judged, second, f"other fingerprint: {seen}")


def _in_turns(candidates: Sequence[Observed], baselines: Sequence[Observed]) -> list[tuple[Observed, Observed]]:
    """Neighbours in time of different sides, as (candidate, baseline); empty where runs were not made in turns."""
    everyone = sorted(
        [(run.moment, run.run, True, run) for run in candidates]
        + [(run.moment, run.run, False, run) for run in baselines],
        key=lambda item: item[:2],
    )
    pairs: list[tuple[Observed, Observed]] = []
    waiting: tuple[bool, Observed] | None = None
    for _, _, is_candidate, run in everyone:
        if waiting is not None and waiting[0] is not is_candidate:
            pairs.append((run, waiting[1]) if is_candidate else (waiting[1], run))
            waiting = None
        else:
            waiting = is_candidate, run
    return pairs if len(pairs) >= _TURNS * min(len(candidates), len(baselines)) and len(pairs) > 1 else []

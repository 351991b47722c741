"""What a gate found, as values, JSON and Markdown.

Covers: one check, the verdict of all together, a page to paste into a review. Does not cover: how it is found
(:mod:`.gates`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Check", "GateReport", "Verdict"]


class Verdict(StrEnum):
    """What a check, or all together, found."""

    PASSED = "passed"
    REGRESSION = "regression"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Check:
    """One metric of one group of comparable runs.

    Attributes:
        group: kind and configuration, for people.
        metric: name.
        test: how it was compared, in words.
        verdict: of this check.
        why: what decided.
        candidate: estimate of the candidates; None without one.
        baseline: estimate of the baseline.
        ratio: how many times worse the candidates are: above 1 is worse, whichever way is better.
        ratio_low: lower confidence bound of the ratio at 1 - alpha; None where figures are exact.
        p_value: one-sided; None where figures are exact.
        p_adjusted: the same for all checks together.
        min_effect: share by which the candidates must be worse.
        resolution: smallest share by which they could be worse and be found 19 times out of 20; None if unknown.
        needed: pairs, or runs a side, with which a slowdown of 5 % would be found so; None if unknown.
        candidates: runs (or samples) of the candidates.
        baselines: of the baseline.
    """

    group: str
    metric: str
    test: str
    verdict: Verdict
    why: str
    candidate: float | None = None
    baseline: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    min_effect: float = 0.0
    resolution: float | None = None
    needed: int | None = None
    candidates: int = 0
    baselines: int = 0

    def to_json(self) -> dict[str, Any]:
        """The check as a JSON object."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields["verdict"] = self.verdict.value
        for name in ("ratio", "ratio_low"):
            if fields[name] is not None and not math.isfinite(fields[name]):
                fields[name] = None
        return fields


@dataclass(frozen=True)
class GateReport:
    """What a gate found.

    Attributes:
        checks: by group and metric, regressions first.
        candidates: names of the runs that were judged.
        baselines: names of the runs that they were held against.
        left_out: (run, why) of those that were passed over.
        alpha: chance of a false alarm over all checks.
    """

    checks: tuple[Check, ...]
    candidates: tuple[str, ...]
    baselines: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    alpha: float

    def count(self, verdict: Verdict) -> int:
        """Checks of a verdict."""
        return sum(check.verdict is verdict for check in self.checks)

    @property
    def verdict(self) -> Verdict:
        """Regression if there is one; else not comparable if a check is, or there is none; else passed."""
        if self.count(Verdict.REGRESSION):
            return Verdict.REGRESSION
        if self.count(Verdict.NOT_COMPARABLE) or not self.checks:
            return Verdict.NOT_COMPARABLE
        return Verdict.PASSED

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "verdict": self.verdict.value,
            "alpha": self.alpha,
            "candidates": list(self.candidates),
            "baseline": list(self.baselines),
            "left_out": [{"run": run, "why": why} for run, why in self.left_out],
            "checks": [check.to_json() for check in self.checks],
        }

    def to_markdown(self) -> str:
        """The report as a table, regressions first."""
        lines = [
            f"**Gate: {self.verdict.value}.** {len(self.candidates)} runs against {len(self.baselines)}, "
            f"{self.count(Verdict.REGRESSION)} regressions, {self.count(Verdict.NOT_COMPARABLE)} not comparable, "
            f"{self.count(Verdict.PASSED)} passed; false alarms {self.alpha:g} over all.",
            "",
            "| verdict | metric | of | times worse | at least | p | found from | test |",
            "|---|---|---|---:|---:|---:|---:|---|",
        ]
        for check in self.checks:
            cells = [
                check.verdict.value,
                check.metric,
                check.group,
                _number(check.ratio, ".4f"),
                _number(check.ratio_low, ".4f"),
                _number(check.p_adjusted, ".2g"),
                _number(check.resolution, ".1%"),
                "; ".join(part for part in (check.test, check.why) if part),
            ]
            lines.append("| " + " | ".join(map(_cell, cells)) + " |")
        lines += [f"\nLeft out: {_cell(run)} ({_cell(why)})." for run, why in self.left_out]
        return "\n".join(lines) + "\n"


def _number(value: float | None, form: str) -> str:
    return "" if value is None or not math.isfinite(value) else format(value, form)


def _cell(text: str) -> str:
    """Text that cannot leave its cell, nor start markup."""
    shown = "".join(char if char.isprintable() else "?" for char in text)
    for char in "\\|`*_<>[]":
        shown = shown.replace(char, "\\" + char)
    return shown

"""Rules of a gate: which metrics it looks at, by which test, and how much worse is too much.

Covers: the rules that hold when nothing is said, rules as TOML, their validation. Does not cover: applying them
(:mod:`.gates`).

A file of rules::

    alpha = 0.001                      # chance of a false alarm, over all checks together
    ignore_configuration = ["threads"] # entries of the configuration that need not be equal

    [[metric]]
    name = "time_ns:*"                 # * and ? as in file names; the first table that fits a metric holds
    test = "time"
    min_effect = "5%"

A metric without a table is judged by :data:`DEFAULT_RULES`, and one that these do not name is not looked at.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from caligo.errors import ConfigError

__all__ = [
    "DEFAULT_RULES",
    "LEAST_SAMPLE_EFFECT",
    "Rule",
    "Rules",
    "Test",
    "Unit",
    "parse_alpha",
    "parse_rules",
    "parse_share",
]

LONGEST_RULES = 1 << 20
MOST_RULES = 1024

LEAST_SAMPLE_EFFECT = 0.25
"""Least minimum effect where single samples, which depend on each other, are taken for independent."""


class Test(StrEnum):
    """How a metric is compared.

    Attributes:
        TIME: ranks of one figure a run, on the same machine only.
        RATE: Fisher's exact test of counts.
        FIGURE: exactly where every run of a side says the same, else by ranks of one figure a run.
        EXACT: against the worst of the baseline, with a tolerance.
        IGNORE: not at all.
    """

    __test__ = False

    TIME = "time"
    RATE = "rate"
    FIGURE = "figure"
    EXACT = "exact"
    IGNORE = "ignore"


class Unit(StrEnum):
    """What is independent of what: whole runs, or (for wide effects only) the samples in them."""

    RUN = "run"
    SAMPLE = "sample"


@dataclass(frozen=True)
class Rule:
    """How one metric, or several of a pattern, is judged.

    Attributes:
        name: pattern of names.
        test: see :class:`Test`.
        min_effect: how much worse is too much, as a share: 0.03 is 3 %. Less is never a regression.
        min_effect_apart: the same for times of runs that were not made in turns, where the machine's drift comes in.
        quantile: of a run's samples, the figure that stands for it.
        unit: see :class:`Unit`.
        resolution: a slowdown that must not be missed, as a share: where the runs are too few or too unsteady to find
            it 19 times out of 20, the check is not comparable. None asks for nothing.
    """

    name: str
    test: Test
    min_effect: float = 0.0
    min_effect_apart: float = 0.25
    quantile: float = 0.25
    unit: Unit = Unit.RUN
    resolution: float | None = None


DEFAULT_RULES: tuple[Rule, ...] = (
    Rule("decode_time_ns", Test.TIME, 0.03),
    Rule("time_ns:*", Test.TIME, 0.03),
    Rule("coded_mbps:*", Test.TIME, 0.03),
    Rule("fer", Test.RATE, 0.25),
    Rule("fer:*", Test.RATE, 0.25),
    Rule("undetected_error_rate", Test.RATE, 0.25),
    Rule("efficiency", Test.FIGURE, 0.002),
    Rule("leak_rate", Test.FIGURE, 0.002),
    Rule("decoder_bytes", Test.EXACT, 0.0),
    Rule("allocations_per_decode", Test.EXACT, 0.0),
    Rule("peak_rss_bytes", Test.EXACT, 0.10),
)
"""What is looked at when nothing is said."""


@dataclass(frozen=True)
class Rules:
    """All that a gate goes by.

    Attributes:
        alpha: chance that any of the checks raises a false alarm (Holm).
        metrics: rules in order; the first whose pattern fits holds, and :data:`DEFAULT_RULES` come after them.
        ignore_configuration: entries of the configuration in which compared runs may differ.
    """

    alpha: float = 0.001
    metrics: tuple[Rule, ...] = ()
    ignore_configuration: tuple[str, ...] = ()
    defaults: tuple[Rule, ...] = field(default=DEFAULT_RULES, repr=False)

    def rule(self, metric: str) -> Rule | None:
        """The rule that a metric is judged by; None when it is not looked at."""
        for rule in (*self.metrics, *self.defaults):
            if rule.name == metric or fnmatchcase(metric, rule.name):
                return None if rule.test is Test.IGNORE else rule
        return None

    def with_times(self, *, min_effect: float | None = None, unit: Unit | None = None) -> Rules:
        """The rules with another minimum effect, or unit, for every time.

        Args:
            min_effect: for runs made in turns; where it is wider than `min_effect_apart`, for the others too.
            unit: see :class:`Unit`.

        Raises:
            ConfigError: single samples with too small a minimum effect.
        """

        def changed(rule: Rule) -> Rule:
            if rule.test is not Test.TIME:
                return rule
            effect = rule.min_effect if min_effect is None else min_effect
            apart = rule.min_effect_apart if min_effect is None else max(min_effect, rule.min_effect_apart)
            return _checked(
                replace(rule, min_effect=effect, min_effect_apart=apart, unit=rule.unit if unit is None else unit)
            )

        return replace(self, metrics=tuple(map(changed, self.metrics)), defaults=tuple(map(changed, self.defaults)))


# --- as text ------------------------------------------------------------------------------------------------------


def _refuse(where: str, expected: str, got: object) -> ConfigError:
    shown = repr(got) if isinstance(got, (str, int, float)) else type(got).__name__
    return ConfigError(
        f"gate rules, {where}: expected {expected}, got {shown[:80]}; see docs/store.md", where=where, expected=expected
    )


def parse_share(value: object, where: str = "share") -> float:
    """A share: a number such as 0.03, or a text such as ``3%``.

    Raises:
        ConfigError: neither, negative, or not finite.
    """
    number: float | None = None
    if isinstance(value, str):
        text = value.strip()
        try:
            number = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
        except ValueError:
            number = None
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6:
        number = float(value)
    if number is None or not math.isfinite(number) or number < 0:
        raise _refuse(where, "a share such as 0.03 or 3%", value)
    return number


def parse_alpha(value: object) -> float:
    """A chance of false alarms: above 0 and below 0.5.

    Raises:
        ConfigError: something else.
    """
    alpha = parse_share(value, "alpha")
    if not 0.0 < alpha < 0.5:
        raise _refuse("alpha", "a chance above 0 and below 0.5", value)
    return alpha


def _rule(table: object, number: int) -> Rule:
    where = f"metric {number + 1}"
    if not isinstance(table, dict):
        raise _refuse(where, "a table [[metric]]", table)
    known = {"name", "test", "min_effect", "min_effect_apart", "quantile", "unit", "resolution"}
    for key in table:
        if key not in known:
            raise _refuse(where, f"some of {', '.join(sorted(known))}", key)
    name = table.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= 256:
        raise _refuse(f"{where}, name", "the name of a metric, or a pattern", name)
    fallback = next((rule for rule in DEFAULT_RULES if fnmatchcase(name, rule.name)), Rule(name, Test.FIGURE))
    rule = replace(fallback, name=name)
    try:
        rule = replace(rule, test=Test(table.get("test", rule.test)), unit=Unit(table.get("unit", rule.unit)))
    except ValueError as error:
        choices = f"{', '.join(Test)} (test), {' or '.join(Unit)} (unit)"
        raise _refuse(where, choices, str(error)) from None
    shares: dict[str, Any] = {
        key: parse_share(table[key], f"{where}, {key}")
        for key in ("min_effect", "min_effect_apart", "quantile", "resolution")
        if key in table
    }
    return _checked(replace(rule, **shares))


def _checked(rule: Rule) -> Rule:
    if not 0.0 <= rule.quantile <= 1.0:
        raise _refuse(f"{rule.name}, quantile", "a share of at most 1", rule.quantile)
    if rule.unit is Unit.SAMPLE and rule.min_effect < LEAST_SAMPLE_EFFECT:
        raise _refuse(
            f"{rule.name}, min_effect",
            f"at least {LEAST_SAMPLE_EFFECT:.0%} with unit = sample, since samples of one run depend on each other",
            rule.min_effect,
        )
    return rule


def rules_from(document: Mapping[str, Any]) -> Rules:
    """Rules from the object that TOML or JSON makes of them.

    Raises:
        ConfigError: an unknown entry, or a value out of range; the message names the place.
    """
    for key in document:
        if key not in ("alpha", "metric", "ignore_configuration"):
            raise _refuse("top level", "some of alpha, ignore_configuration, [[metric]]", key)
    tables = document.get("metric", [])
    ignored = document.get("ignore_configuration", [])
    if not isinstance(tables, list) or len(tables) > MOST_RULES:
        raise _refuse("metric", f"at most {MOST_RULES} tables [[metric]]", tables)
    if not isinstance(ignored, list) or not all(isinstance(name, str) for name in ignored):
        raise _refuse("ignore_configuration", "a list of names", ignored)
    return Rules(
        parse_alpha(document.get("alpha", 0.001)),
        tuple(_rule(table, number) for number, table in enumerate(tables)),
        tuple(ignored),
    )


def parse_rules(text: str) -> Rules:
    """Read rules.

    Args:
        text: TOML; blank gives the rules that hold when nothing is said.

    Raises:
        ConfigError: not TOML, or not rules.
    """
    if len(text) > LONGEST_RULES:
        raise _refuse("the file", f"at most {LONGEST_RULES} characters", len(text))
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"gate rules: expected TOML, got something else ({error}); see docs/store.md") from None
    return rules_from(document)

"""Alert rules as text: what to be told of.

Covers: the language of rules and its parser. Does not cover: judging runs by them (:mod:`.alerts`).

A file has one rule a line; blank lines and lines that begin with ``#`` are passed over::

    fer > 1e-3 for kind = reconcile
    dear codes: efficiency > 1.2 where list_size = 32
    slow: median(decode_time_ns) rises by 10% against last 20 where machine.fingerprint = same

or, as TOML, tables ``[[alert]]`` with ``rule`` and, if it is to have one, ``name``. A rule is

    [NAME:] SUBJECT OPERATOR NUMBER [(for | where) FILTER]
    [NAME:] SUBJECT (rises | falls) by SHARE against last COUNT [(for | where) FILTER]

SUBJECT is a metric (:data:`caligo.store.comparing.metrics.METRICS`) or any other name that runs have, in backticks
where it holds other characters than letters, digits and ``_ . : -``; and it may stand in ``low( )`` or ``high( )``, the
ends of its 95 % interval, or in ``min( ) median( ) mean( ) p95( ) max( )``, of its raw samples. FILTER is that of every
store command; where it asks ``NAME = same`` besides other conditions, the earlier runs must have the value that this
run has.
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from typing import Any

from caligo.errors import ConfigError
from caligo.store.indexing.conditions import EVERYTHING, All, Compare, Filter, Text

__all__ = ["FUNCTIONS", "AlertRule", "Change", "Level", "parse_alert", "parse_alerts"]

FUNCTIONS = ("low", "high", "min", "median", "mean", "p95", "max")
"""What a subject may stand in."""

OPERATORS = (">=", "<=", "!=", ">", "<", "=")

LONGEST_FILE = 1 << 20
MOST_RULES = 1000
MOST_EARLIER = 10_000

_NAME = r"[A-Za-z0-9][A-Za-z0-9_ .-]{0,63}"
_METRIC = r"`[^`]+`|[A-Za-z_][A-Za-z0-9_.:-]*"
_SHARE = r"(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?\s*%?"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
_RULE = re.compile(
    rf"""\s*(?:(?P<name>{_NAME}?)\s*:\s+)?
    (?:(?P<function>[a-z][a-z0-9]*)\s*\(\s*(?P<inner>{_METRIC})\s*\)|(?P<metric>{_METRIC}))\s*
    (?:(?P<operator>{"|".join(map(re.escape, OPERATORS))})\s*(?P<number>{_NUMBER})
      |(?P<direction>rises|falls)\s+by\s+(?P<share>{_SHARE})\s+against\s+last\s+(?P<count>\d+))
    (?:\s+(?:for|where)\s+(?P<filter>.+))?\s*""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Level:
    """A comparison with a fixed number.

    Attributes:
        operator: one of :data:`OPERATORS`.
        number: the number.
    """

    operator: str
    number: float


@dataclass(frozen=True)
class Change:
    """A comparison with earlier runs: with the median of the last so many.

    Attributes:
        rises: whether to be told when it rises; else when it falls.
        share: by how much at least, as a share.
        earlier: how many runs to look back at. With fewer than half of these the rule is silent.
    """

    rises: bool
    share: float
    earlier: int


@dataclass(frozen=True)
class AlertRule:
    """One rule.

    Attributes:
        name: what it is called; the rule itself where it was given no name.
        text: the rule as written, without its name.
        metric: what is looked at.
        function: of :data:`FUNCTIONS`; None for the best estimate.
        condition: when it fires.
        where: which runs it looks at, names as written.
        same: names whose values earlier runs must share with the run that is judged, as written.
    """

    name: str
    text: str
    metric: str
    function: str | None
    condition: Level | Change
    where: Filter = EVERYTHING
    same: tuple[str, ...] = ()


def _refuse(text: str, place: str, expected: str) -> ConfigError:
    shown = "".join(char if char.isprintable() else "?" for char in text.strip())[:120]
    return ConfigError(f"alert rules, {place}: expected {expected}, got {shown!r}; see docs/store.md", place=place)


def parse_alert(text: str, name: str | None = None, place: str = "rule") -> AlertRule:
    """Read one rule.

    Args:
        text: the rule, with its name before a colon or without.
        name: what it is called, if not in the text.
        place: where it stands, for messages.

    Raises:
        ConfigError: not a rule; the message says what was expected.
    """
    match = _RULE.fullmatch(text)
    if match is None:
        raise _refuse(
            text, place, "METRIC > NUMBER, or METRIC rises by SHARE against last COUNT, and for FILTER behind it"
        )
    function = match["function"]
    if function is not None and function not in FUNCTIONS:
        raise _refuse(text, place, f"one of {', '.join(FUNCTIONS)} before the bracket")
    body = text[match.end("name") :].lstrip().removeprefix(":").strip() if match["name"] else text.strip()
    where, same = _filter(match["filter"] or "", place)
    given = name if name is not None else match["name"]
    metric = (match["inner"] or match["metric"]).strip("`")
    condition = _condition(match, text, place)
    if same and not isinstance(condition, Change):
        raise _refuse(text, place, "`= same` only where there are earlier runs, as with rises and falls")
    return AlertRule(given or body, body, metric, function, condition, where, same)


def _condition(match: re.Match[str], text: str, place: str) -> Level | Change:
    if match["operator"] is not None:
        number = float(match["number"])
        if not math.isfinite(number):
            raise _refuse(text, place, "a finite number")
        return Level(match["operator"], number)
    written = match["share"].strip()
    share = float(written.removesuffix("%").strip()) / (100.0 if written.endswith("%") else 1.0)
    digits = match["count"]
    if not 0.0 < share < 1e6 or len(digits) > 6 or not 1 <= int(digits) <= MOST_EARLIER:
        raise _refuse(text, place, f"a share above 0 and 1 to {MOST_EARLIER} earlier runs")
    return Change(match["direction"].lower() == "rises", share, int(digits))


def _filter(text: str, place: str) -> tuple[Filter, tuple[str, ...]]:
    """A filter, and the names that it asks to be the same."""
    from caligo.store.indexing.query import parse_filter

    try:
        parsed = parse_filter(text)
    except ConfigError as error:
        raise ConfigError(f"alert rules, {place}: {error.message}", place=place) from None
    parts = parsed.parts if isinstance(parsed, All) else (parsed,)
    same: list[str] = []
    kept: list[Filter] = []
    for part in parts:
        if isinstance(part, Compare) and part.operator == "=" and part.value == Text("same"):
            same.append(part.name.text)
        else:
            kept.append(part)
    return (kept[0] if len(kept) == 1 else All(tuple(kept))), tuple(dict.fromkeys(same))


def parse_alerts(text: str) -> tuple[AlertRule, ...]:
    """Read a file of rules, in lines or in TOML.

    Args:
        text: the whole file. It is TOML where a line is ``[[alert]]``.

    Returns:
        The rules in order.

    Raises:
        ConfigError: something is not a rule, two rules have one name, or there are none or too many.
    """
    if len(text) > LONGEST_FILE:
        raise _refuse("", "the file", f"at most {LONGEST_FILE} characters")
    lines = text.splitlines()
    if any(re.fullmatch(r"\s*\[\[\s*alert\s*\]\]\s*(#.*)?", line) for line in lines):
        rules = _from_toml(text)
    else:
        written = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and line.lstrip()[0] != "#"]
        if len(written) > MOST_RULES:
            raise _refuse("", "the file", f"at most {MOST_RULES} rules")
        rules = [parse_alert(line, place=f"line {number}") for number, line in written]
    if not rules:
        raise _refuse(text, "the file", "at least one rule")
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise _refuse(name, "the file", "every rule under its own name")
    return tuple(rules)


def _from_toml(text: str) -> list[AlertRule]:
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"alert rules: expected TOML, got something else ({error}); see docs/store.md") from None
    tables = document.get("alert")
    if set(document) != {"alert"} or not isinstance(tables, list) or len(tables) > MOST_RULES:
        raise _refuse("", "the file", f"nothing but at most {MOST_RULES} tables [[alert]]")
    rules = []
    for number, table in enumerate(tables, 1):
        place = f"alert {number}"
        if not isinstance(table, dict) or not set(table) <= {"name", "rule"} or not isinstance(table.get("rule"), str):
            raise _refuse("", place, 'rule = "..." and name = "...", no others')
        name = table.get("name")
        if name is not None and (not isinstance(name, str) or not re.fullmatch(_NAME, name)):
            raise _refuse(str(name), place, "a name of 1 to 64 letters, digits, spaces, '_', '.' or '-'")
        rules.append(parse_alert(table["rule"], name, place))
    return rules

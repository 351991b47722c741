"""Alerts: which runs a rule would have told of, now or over the whole history.

Covers: judging runs in order of time by rules, so that a rule can be tried on what was recorded before it is trusted;
noting in the ledger what fired. Does not cover: the language of rules (:mod:`.alert_rules`), whether a
difference is more than chance (:mod:`.gates`), telling people (:mod:`.hooks`).

A run is judged by what was known when it was made: by itself and by earlier runs alone. So :func:`judge` gives the same
for a run whether the store ends with it or goes on, and trying a rule shows exactly when it would have fired.

Content of the entry, of kind ``alert``: ``rule`` (its text), ``name``, ``run``, ``value``, ``against``.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Any

from caligo.errors import ConfigError, SchemaVersionError, StoreError
from caligo.store.comparing.metrics import Metric, is_known_metric, run_metrics
from caligo.store.gating.alert_rules import AlertRule, Change, Level
from caligo.store.indexing.conditions import Name, full_name, names_of, resolve_filter
from caligo.store.indexing.flatten import Scalar, flatten_run
from caligo.store.reader import State, list_runs, load_run

__all__ = ["Answer", "Judgement", "Seen", "alert_history", "current", "judge", "record_alerts", "tally_alerts"]

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "=": operator.eq, "!=": operator.ne,
}  # fmt: skip

_SAMPLED = frozenset({"min", "median", "mean", "p95", "max"})
_QUANTILES = {"min": 0.0, "median": 0.5, "p95": 0.95, "max": 1.0}


class Answer(StrEnum):
    """What a rule says of a run that it looks at."""

    FIRES = "fires"
    QUIET = "quiet"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Seen:
    """A run as rules see it.

    Attributes:
        run: its name.
        at: when it began, UTC text.
        row: dotted names and values.
        metrics: called for its metrics when a rule looks at one.
    """

    run: str
    at: str
    row: Mapping[str, Scalar]
    metrics: Callable[[], Mapping[str, Metric]]


@dataclass(frozen=True)
class Judgement:
    """One rule and one run that it looks at.

    Attributes:
        rule: name of the rule.
        run: name of the run.
        at: when the run began.
        answer: what the rule says.
        value: of the subject; None where the run has none.
        against: the number, or the median of earlier runs, that it was compared with; None where there are too few.
        why: in words.
    """

    rule: str
    run: str
    at: str
    answer: Answer
    value: float | None
    against: float | None
    why: str

    def to_json(self) -> dict[str, Any]:
        """The judgement as a JSON object."""
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "answer": self.answer.value}


# --- judging ------------------------------------------------------------------------------------------------------


def _value(rule: AlertRule, seen: Seen) -> float | None:
    """The subject of a rule, of one run."""
    if not is_known_metric(rule.metric):
        held = seen.row.get(rule.metric)
        if rule.function is not None:
            raise ConfigError(f"alert rules, {rule.name}: {rule.metric} is no metric, so it has no {rule.function}( )")
        return None if held is None or isinstance(held, (bool, str)) else float(held)
    metric = seen.metrics().get(rule.metric)
    if metric is None:
        return None
    if rule.function in ("low", "high"):
        return metric.low if rule.function == "low" else metric.high
    if rule.function in _SAMPLED and metric.samples is not None:
        return metric.samples.mean if rule.function == "mean" else metric.samples.quantile(_QUANTILES[rule.function])
    return metric.value


def _resolved(rules: Sequence[AlertRule], known: Iterable[str]) -> list[AlertRule]:
    """Rules with every name as runs have it."""
    names = frozenset(known)

    def meant(text: str, rule: AlertRule) -> str:
        return full_name(Name(text), names, rule.text, strict=False).text

    return [
        replace(
            rule,
            where=resolve_filter(rule.where, names, rule.text, strict=False),
            same=tuple(meant(name, rule) for name in rule.same),
            metric=rule.metric if is_known_metric(rule.metric) else meant(rule.metric, rule),
        )
        for rule in rules
    ]


def judge(
    rules: Sequence[AlertRule], history: Sequence[Seen], wanted: Collection[tuple[str, str]] | None = None
) -> list[Judgement]:
    """What every rule says of every run that it looks at; pure but for the metrics that `history` is asked for.

    Args:
        rules: as parsed.
        history: oldest first.
        wanted: (name of the rule, run) that are to be judged; None is all.

    Returns:
        By run in that order, and for one run by rule in theirs.

    Raises:
        ConfigError: a name in a rule means several values.
    """
    from caligo.store.indexing.selection import matches

    resolved = _resolved(rules, {name for seen in history for name in seen.row})
    earlier: dict[tuple[Any, ...], deque[float]] = {}
    found: list[Judgement] = []
    for seen in history:
        for place, rule in enumerate(resolved):
            if not matches(rule.where, seen.row):
                continue
            is_wanted = wanted is None or (rule.name, seen.run) in wanted
            if isinstance(rule.condition, Level):
                if is_wanted:
                    found.append(_by_level(rule, rule.condition, seen, _value(rule, seen)))
                continue
            value = _value(rule, seen)
            key = (place, *(seen.row.get(name) for name in rule.same))
            past = earlier.setdefault(key, deque(maxlen=rule.condition.earlier))
            if is_wanted:
                found.append(_by_change(rule, rule.condition, seen, value, past))
            if value is not None:
                past.append(value)
    return found


def current(rules: Sequence[AlertRule], history: Sequence[Seen], since: str | None = None) -> list[Judgement]:
    """What the rules say now: of the newest run that each looks at, or of all that began at a time or later.

    Args:
        rules: as parsed.
        history: oldest first.
        since: UTC text, or the beginning of one such as a day; None is the newest run of each rule.

    Returns:
        As :func:`judge`.

    Raises:
        ConfigError: as :func:`judge`.
    """
    from caligo.store.indexing.selection import matches

    resolved = _resolved(rules, {name for seen in history for name in seen.row})
    wanted: set[tuple[str, str]] = set()
    for rule in resolved:
        looked_at = [seen for seen in history if matches(rule.where, seen.row)]
        chosen = looked_at[-1:] if since is None else [seen for seen in looked_at if seen.at >= since]
        wanted.update((rule.name, seen.run) for seen in chosen)
    return judge(rules, history, wanted)


def _by_level(rule: AlertRule, level: Level, seen: Seen, value: float | None) -> Judgement:
    if value is None:
        return Judgement(rule.name, seen.run, seen.at, Answer.UNKNOWN, None, level.number, "the run has no such value")
    fires = _COMPARE[level.operator](value, level.number)
    why = f"{value:.6g} {'is' if fires else 'is not'} {level.operator} {level.number:.6g}"
    return Judgement(rule.name, seen.run, seen.at, Answer.FIRES if fires else Answer.QUIET, value, level.number, why)


def _by_change(rule: AlertRule, change: Change, seen: Seen, value: float | None, past: Sequence[float]) -> Judgement:
    if value is None:
        return Judgement(rule.name, seen.run, seen.at, Answer.UNKNOWN, None, None, "the run has no such value")
    least = -(-change.earlier // 2)
    if len(past) < least:
        why = f"{len(past)} of {least} earlier runs that are needed"
        return Judgement(rule.name, seen.run, seen.at, Answer.UNKNOWN, value, None, why)
    usual = median(past)
    if change.rises:
        fires = value > usual and value - usual >= change.share * abs(usual)
    else:
        fires = value < usual and usual - value >= change.share * abs(usual)
    against = f"{usual:.6g}, the median of the last {len(past)}"
    moved = f" ({(value - usual) / abs(usual):+.1%})" if usual else ""
    answer = Answer.FIRES if fires else Answer.QUIET
    return Judgement(rule.name, seen.run, seen.at, answer, value, usual, f"{value:.6g} against {against}{moved}")


def tally_alerts(rules: Sequence[AlertRule], judged: Iterable[Judgement]) -> list[dict[str, Any]]:
    """How often each rule fired: what trying it is for.

    Args:
        rules: in the order wanted.
        judged: judgements of these rules.

    Returns:
        For each rule its ``rule`` (name), ``text``, ``judged``, ``fires``, ``quiet``, ``unknown``, ``share`` (of those
        with an answer; None without) and ``last`` (run that fired last, or None).
    """
    counts = {rule.name: dict.fromkeys(Answer, 0) for rule in rules}
    last: dict[str, str] = {}
    for judgement in judged:
        counts[judgement.rule][judgement.answer] += 1
        if judgement.answer is Answer.FIRES:
            last[judgement.rule] = judgement.run
    rows = []
    for rule in rules:
        count = counts[rule.name]
        answered = count[Answer.FIRES] + count[Answer.QUIET]
        rows.append(
            {
                "rule": rule.name,
                "text": rule.text,
                "judged": sum(count.values()),
                **{answer.value: count[answer] for answer in Answer},
                "share": count[Answer.FIRES] / answered if answered else None,
                "last": last.get(rule.name),
            }
        )
    return rows


# --- the store ----------------------------------------------------------------------------------------------------


def _needs_records(rules: Iterable[AlertRule]) -> bool:
    return any(rule.metric.partition(":")[0] in ("decode_time_ns", "time_ns", "fer") for rule in rules)


def alert_history(store: Path, rules: Sequence[AlertRule]) -> list[Seen]:
    """The sealed runs of a store as rules see them, oldest first, without those that are set aside.

    Records are read only of runs that a rule looks at, and only where a rule needs them.

    Args:
        store: directory of the store.
        rules: that will look at them.

    Raises:
        StoreError: the store cannot be read.
    """
    from caligo.store.governing.governance import standing

    standings = standing(store)
    with_records = _needs_records(rules)
    return list(_seen(store, standings, with_records, needs_standing=_names_standing(rules)))


def _names_standing(rules: Iterable[AlertRule]) -> bool:
    return any(name.text == "standing" for rule in rules for name in names_of(rule.where))


def _seen(store: Path, standings: Mapping[str, Any], with_records: bool, needs_standing: bool) -> Iterator[Seen]:
    for info in list_runs(store):
        aside = standings.get(info.name)
        if info.state is not State.SEALED or (aside is not None and aside.is_set_aside and not needs_standing):
            continue
        try:
            run = load_run(info.path, verify=False)
        except SchemaVersionError:
            raise
        except StoreError:
            continue
        if run.state is not State.SEALED:
            continue
        row = flatten_run(run, None if aside is None else aside.judgement.value)
        yield Seen(info.name, info.started_at, row, _once(info.path, with_records))


def _once(path: Path, with_records: bool) -> Callable[[], Mapping[str, Metric]]:
    """The metrics of a run, read when they are first asked for."""
    held: list[Mapping[str, Metric]] = []

    def metrics() -> Mapping[str, Metric]:
        if not held:
            held.append(run_metrics(load_run(path, verify=False), records=with_records, sample_limit=1 << 14))
        return held[0]

    return metrics


def record_alerts(store: Path, rules: Sequence[AlertRule], judged: Iterable[Judgement]) -> int:
    """Append an ``alert`` entry to the store's own ledger for every rule that fires on a run, once for both.

    Args:
        store: directory of the store.
        rules: the rules.
        judged: their judgements.

    Returns:
        How many entries were new.

    Raises:
        StoreError, ResourceError: the ledger cannot be read or written.
    """
    from caligo.store.audit.ledger import Ledger, ledgers

    known = {
        (entry.content.get("rule"), entry.content.get("run"))
        for ledger in ledgers(store)
        for entry in ledger.entries()
        if entry.kind == "alert"
    }
    texts = {rule.name: rule.text for rule in rules}
    added = 0
    for judgement in judged:
        key = (texts[judgement.rule], judgement.run)
        if judgement.answer is not Answer.FIRES or key in known:
            continue
        known.add(key)
        content = {
            "rule": key[0],
            "name": judgement.rule,
            "run": judgement.run,
            "value": judgement.value,
            "against": judgement.against,
        }
        Ledger.open(store, create=True).append("alert", content)
        added += 1
    return added

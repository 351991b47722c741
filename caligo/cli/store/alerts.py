"""`caligo store alerts`: rules as text, tried on what was recorded before they are trusted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caligo.cli._options import json_option, store_option
from caligo.cli._output import Table, emit_json, many, message, print_wrapped, printable
from caligo.cli.store.gate import check_hooks, hook_options, read_text, run_hooks
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caligo.store.gating.alerts import Judgement

_rules_option = click.option(
    "--rules",
    "rules_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The rules, one a line, or TOML.",
)
_MOST_SHOWN = 20


@click.group("alerts")
def alerts_group() -> None:
    """Be told when a run is not as it should be.

    A rule is a line such as `fer > 1e-3 for kind = reconcile`, or
    `median(decode_time_ns) rises by 10% against last 20 where identity = same and machine.fingerprint = same`.
    """


@alerts_group.command("check")
@_rules_option
@click.option(
    "--since", metavar="TIME", help="Judge all runs since then (UTC), not only the newest that each rule looks at."
)
@click.option("--record", is_flag=True, help="Note in the ledger what fires.")
@hook_options
@store_option
@json_option
def check_command(
    rules_file: Path,
    since: str | None,
    record: bool,
    hooks: tuple[str, ...],
    hook_timeout: float,
    store: Path,
    as_json: bool,
) -> ExitCode:
    """Judge the newest runs by rules; exits with 10 if one fires.

    A hook runs only if a rule fires.
    """
    from caligo.errors import ConfigError
    from caligo.store.gating.alert_rules import parse_alerts
    from caligo.store.gating.alerts import Answer, alert_history, current, record_alerts

    check_hooks(hooks)
    if since is not None and not re.fullmatch(r"\d{4}-\d\d-\d\d(T[\d:.]{0,12}Z?)?", since):
        raise ConfigError(f"expected a day or time in UTC for --since, got {since!r}; write 2025-03-14")
    rules = parse_alerts(read_text(rules_file, "rules"))
    judged = current(rules, alert_history(store, rules), since)
    firing = [judgement for judgement in judged if judgement.answer is Answer.FIRES]
    code = ExitCode.GATE_FAILED if firing else ExitCode.COMPLETED
    noted = record_alerts(store, rules, firing) if record else 0
    told = {"judged": [judgement.to_json() for judgement in judged], "noted": noted, "exit_code": int(code)}
    outcomes = run_hooks(hooks, "alerts", told, hook_timeout) if firing else []
    if as_json:
        emit_json("caligo.store-alerts-check/1", {**told, "hooks": outcomes})
        return code
    for judgement in judged:
        if judgement.answer is not Answer.QUIET:
            color = "red" if judgement.answer is Answer.FIRES else "yellow"
            print_wrapped(printable(judgement.rule), label=f"{judgement.answer.value}  ", color=color)
            _print_why(judgement)
    told_to_people = f"{many(len(rules), 'rule')}, {many(len(judged), 'judgement')}, {len(firing)} firing"
    message(told_to_people + (f", {noted} noted" if record else ""))
    return code


@alerts_group.command("try")
@_rules_option
@store_option
@json_option
def try_command(rules_file: Path, store: Path, as_json: bool) -> None:
    """Replay rules over all runs, oldest first: when would each have fired, and how often?

    Nothing is noted, no hook runs, and the exit code is 0.
    """
    from caligo.store.gating.alert_rules import parse_alerts
    from caligo.store.gating.alerts import Answer, alert_history, judge, tally_alerts

    rules = parse_alerts(read_text(rules_file, "rules"))
    history = alert_history(store, rules)
    judged = judge(rules, history)
    rows = tally_alerts(rules, judged)
    firing = [judgement for judgement in judged if judgement.answer is Answer.FIRES]
    if as_json:
        fired = [judgement.to_json() for judgement in firing]
        emit_json("caligo.store-alerts-try/1", {"runs": len(history), "rules": rows, "fired": fired})
        return
    table = Table("rule", ">runs", ">fires", ">quiet", ">unknown", ">fires in")
    for row in rows:
        share = "-" if row["share"] is None else f"{row['share']:.1%}"
        table.add(printable(row["rule"]), row["judged"], row["fires"], row["quiet"], row["unknown"], share)
    table.print()
    _print_firing(firing)


def _print_firing(firing: Sequence[Judgement]) -> None:
    for judgement in firing[-_MOST_SHOWN:]:
        print_wrapped(f"{judgement.at[:16].replace('T', ' ')}  {printable(judgement.rule)}")
        _print_why(judgement)
    if len(firing) > _MOST_SHOWN:
        message(f"the last {_MOST_SHOWN} of {len(firing)}; --json shows all")


def _print_why(judgement: Judgement) -> None:
    print_wrapped(f"    {printable(judgement.why)} ({judgement.run})")

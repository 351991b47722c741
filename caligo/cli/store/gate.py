"""`caligo store import-benchmarks`, `baseline` and `gate`: is it still as good as it was?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caligo.cli._options import Duration, json_option, store_option
from caligo.cli._output import Table, emit_json, many, message, print_facts, print_wrapped, printable, warn
from caligo.cli.store._index import index_option
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from caligo.store.gating.baselines import Baseline
    from caligo.store.gating.gate_report import Check, GateReport
    from caligo.store.gating.gate_rules import Rules

_FILE = click.Path(dir_okay=False, path_type=Path)
_COLORS = {"regression": "red", "not comparable": "yellow", "passed": "green"}


def hook_options(function: Any) -> Any:
    """Adds `hooks: tuple[str, ...]` and `hook_timeout: float`."""
    function = click.option(
        "--hook-timeout",
        metavar="TIME",
        type=Duration(),
        default="30s",
        show_default=True,
        help="Time limit of a hook.",
    )(function)
    return click.option(
        "--hook",
        "hooks",
        metavar="COMMAND",
        multiple=True,
        help="Then run this command, without a shell, with the JSON result on its standard input.  [repeatable]",
    )(function)


def run_hooks(hooks: tuple[str, ...], event: str, told: Mapping[str, Any], timeout_s: float) -> list[dict[str, Any]]:
    """Run each hook in turn, and say which did not end well; the command's own exit code stays what it was."""
    from caligo.store.gating.hooks import run_hook

    outcomes = [run_hook(command, event, told, timeout_s=timeout_s) for command in hooks]
    for outcome in outcomes:
        if not outcome.is_ok:
            warn(f"hook {printable(outcome.command[0])} {printable(outcome.text)}")
    return [outcome.to_json() for outcome in outcomes]


def check_hooks(hooks: tuple[str, ...]) -> None:
    """Refuse a hook that is no command before any work is done."""
    from caligo.store.gating.hooks import split_command

    for command in hooks:
        split_command(command)


def read_text(file: Path, what: str) -> str:
    """The text of a file of rules."""
    from caligo.errors import ConfigError

    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"expected {what} as UTF-8 text, got other bytes in {file}") from None


# --- import-benchmarks --------------------------------------------------------------------------------------------


@click.command("import-benchmarks", short_help="Record a pytest-benchmark file as a run.")
@click.argument("file", type=_FILE)
@click.option("--campaign", metavar="NAME", help="Campaign that the run belongs to.")
@store_option
@json_option
def import_command(file: Path, campaign: str | None, store: Path, as_json: bool) -> None:
    """Record a file of `pytest --benchmark-json=FILE` as one sealed run of kind benchmark.

    A file that the store has already is recognised by its content, and not imported again.
    """
    from caligo.store.gating.import_benchmarks import import_benchmarks

    imported = import_benchmarks(file, store, campaign=campaign)
    if as_json:
        emit_json(
            "caligo.store-import-benchmarks/1",
            {
                "run": imported.run.name,
                "path": imported.run,
                "is_new": imported.is_new,
                "benchmarks": imported.benchmarks,
                "rounds": imported.rounds,
            },
        )
        return
    print_facts(
        {
            "run": imported.run.name,
            "benchmarks": imported.benchmarks,
            "rounds": imported.rounds,
            "imported": "now" if imported.is_new else "before: the store has this file",
        }
    )


# --- baseline -----------------------------------------------------------------------------------------------------


@click.group("baseline")
def baseline_group() -> None:
    """Declare runs good, by name, and see what was declared.

    A baseline is an entry of the ledger: its runs are those that the filter selects when it is set.
    """


@baseline_group.command("set")
@click.argument("name")
@click.option("--where", metavar="FILTER", help="Every sealed run that passes this filter.")
@click.option("--runs", metavar="RUN", multiple=True, help="This run.  [repeatable]")
@index_option
@store_option
@json_option
def set_command(
    name: str, where: str | None, runs: tuple[str, ...], index: str | None, store: Path, as_json: bool
) -> None:
    """Declare the baseline NAME, in place of one of that name."""
    from caligo.store.gating.baselines import set_baseline

    baseline = set_baseline(store, name, where=where, runs=runs, url=index)
    if as_json:
        emit_json("caligo.store-baseline-set/1", baseline.to_json())
        return
    message(f"baseline {baseline.name}: {many(len(baseline.runs), 'run')}")


@baseline_group.command("list")
@store_option
@json_option
def baseline_list_command(store: Path, as_json: bool) -> None:
    """List the baselines that hold."""
    from caligo.store.gating.baselines import baselines

    known = baselines(store)
    if as_json:
        emit_json("caligo.store-baseline-list/1", {"baselines": [known[name].to_json() for name in known]})
        return
    if not known:
        message(f"no baseline in {store.absolute()}; see `caligo store baseline set`")
        return
    table = Table("name", ">runs", "set at (UTC)", "filter")
    for baseline in known.values():
        table.add(baseline.name, len(baseline.runs), baseline.at[:16].replace("T", " "), _selector(baseline))
    table.print()


def _selector(baseline: Baseline) -> str:
    return "(named runs)" if baseline.selector is None else printable(baseline.selector) or "(every run)"


@baseline_group.command("show")
@click.argument("name")
@store_option
@json_option
def baseline_show_command(name: str, store: Path, as_json: bool) -> None:
    """Show the runs of the baseline NAME, and which of them are not used any more."""
    from caligo.store.gating.baselines import baseline_named, baseline_runs

    baseline = baseline_named(store, name)
    kept, left_out = baseline_runs(store, baseline)
    if as_json:
        left = [{"run": run, "why": why} for run, why in left_out]
        emit_json(
            "caligo.store-baseline-show/1",
            {**baseline.to_json(), "usable": [path.name for path in kept], "left_out": left},
        )
        return
    print_facts({"baseline": baseline.name, "set at": baseline.at, "filter": _selector(baseline), "runs": len(kept)})
    for path in kept:
        click.echo(f"  {path.name}")
    for run, why in left_out:
        print_wrapped(f"  {run}: left out, {printable(why)}")


# --- gate ---------------------------------------------------------------------------------------------------------


@click.command("gate", short_help="Fail if runs are worse than a baseline.")
@click.option("--baseline", "baseline_name", metavar="NAME", required=True, help="What to hold them against.")
@click.option("--where", metavar="FILTER", help="Judge every sealed run that passes this filter.")
@click.option("--run", "runs", metavar="RUN", multiple=True, help="Judge this run.  [repeatable]")
@click.option("--alpha", metavar="P", type=float, help="Chance of a false alarm over all checks.  [default: 0.001]")
@click.option("--min-effect", metavar="SHARE", help="Least slowdown that counts, such as 3%.  [default: 3%]")
@click.option(
    "--unit",
    type=click.Choice(["run", "sample"]),
    help="What is independent of what; sample only with --min-effect of 25% or more.  [default: run]",
)
@click.option("--rules", "rules_file", metavar="FILE", type=_FILE, help="Rules by metric, TOML.")
@click.option("--allow-missing", is_flag=True, help="Pass where something cannot be compared.")
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
@hook_options
@index_option
@store_option
@json_option
def gate_command(
    baseline_name: str,
    where: str | None,
    runs: tuple[str, ...],
    alpha: float | None,
    min_effect: str | None,
    unit: str | None,
    rules_file: Path | None,
    allow_missing: bool,
    markdown: bool,
    hooks: tuple[str, ...],
    hook_timeout: float,
    index: str | None,
    store: Path,
    as_json: bool,
) -> ExitCode:
    """Judge runs against a baseline.

    Exits with 0 if all checks pass, 10 if one finds a regression, 4 if something cannot be compared (0 with
    --allow-missing), 8 if a run is damaged.
    """
    from caligo.errors import ConfigError
    from caligo.store import find_run
    from caligo.store.gating.baselines import baseline_named, baseline_runs
    from caligo.store.gating.gates import gate_runs

    check_hooks(hooks)
    if (where is None) == (not runs):
        raise ConfigError("expected a filter or runs to judge, got both or neither; give --where or --run")
    rules = read_rules(rules_file, alpha, min_effect, unit)
    baseline = baseline_named(store, baseline_name)
    held_against, left_out = baseline_runs(store, baseline)
    if where is None:
        candidates = [find_run(store, run) for run in runs]
    else:
        from caligo.store.indexing.index import select_runs

        candidates = select_runs(store, where, url=index)
    report = gate_runs(candidates, held_against, rules)
    code = exit_code(report, allow_missing)
    told = {
        "baseline_name": baseline.name,
        **report.to_json(),
        "not_in_baseline": [{"run": run, "why": why} for run, why in left_out],
        "allow_missing": allow_missing,
        "exit_code": int(code),
    }
    outcomes = run_hooks(hooks, "gate", told, hook_timeout)
    if as_json:
        emit_json("caligo.store-gate/1", {**told, "hooks": outcomes})
    elif markdown:
        click.echo(report.to_markdown(), nl=False)
    else:
        print_report(report)
    for run, why in left_out:
        message(f"baseline: {run} is left out, {printable(why)}")
    if not report.checks:
        message("not comparable: there is nothing to compare; see --where and `caligo store baseline show`")
    return code


def read_rules(
    file: Path | None, alpha: float | None = None, min_effect: str | None = None, unit: str | None = None
) -> Rules:
    """The rules of a file, or the usual ones, with what the command line says instead."""
    from dataclasses import replace

    from caligo.store.gating.gate_rules import Rules, Unit, parse_alpha, parse_rules, parse_share

    rules = Rules() if file is None else parse_rules(read_text(file, "rules"))
    if alpha is not None:
        rules = replace(rules, alpha=parse_alpha(alpha))
    return rules.with_times(
        min_effect=None if min_effect is None else parse_share(min_effect, "--min-effect"),
        unit=None if unit is None else Unit(unit),
    )


def exit_code(report: GateReport, allow_missing: bool) -> ExitCode:
    """What a verdict ends a command with."""
    if report.verdict == "regression":
        return ExitCode.GATE_FAILED
    if report.verdict == "not comparable" and not allow_missing:
        return ExitCode.BAD_INPUT
    return ExitCode.COMPLETED


def print_report(report: GateReport) -> None:
    """A table of the checks of each configuration, what is wrong in words, and the verdict."""
    compared: dict[str, list[Check]] = {}
    others: dict[tuple[str, str], list[str]] = {}
    for check in report.checks:
        if check.ratio is None and check.verdict == "not comparable":
            others.setdefault((check.group, check.why + _needed(check)), []).append(check.metric)
        else:
            compared.setdefault(check.group, []).append(check)
    for group, checks in compared.items():
        _print_checks(group, checks)
    for check in report.checks:
        if check.why and check.verdict != "passed" and check in compared.get(check.group, ()):
            _print_verdict(check.verdict, f"{check.metric}: {check.group}; {check.test}; {check.why}{_needed(check)}")
    for (group, why), metrics in others.items():
        _print_verdict("not comparable", f"{group}: {why} ({', '.join(dict.fromkeys(metrics))})")
    for run, why in report.left_out:
        message(f"{run} is left out: {printable(why)}")
    click.echo(
        f"gate: {click.style(report.verdict.value, fg=_COLORS[report.verdict.value], bold=True)} "
        f"({many(len(report.candidates), 'run')} against {len(report.baselines)}, {many(len(report.checks), 'check')})"
    )


def _print_checks(group: str, checks: Sequence[Check]) -> None:
    """The checks of one configuration."""
    table = Table("metric", "verdict", ">times worse", ">at least", ">p", ">found from", title=printable(group))
    for check in checks:
        table.add(
            printable(check.metric),
            check.verdict.value,
            check.ratio,
            check.ratio_low,
            "-" if check.p_adjusted is None else f"{check.p_adjusted:.2g}",
            "-" if check.resolution is None else f"{check.resolution:.1%}",
        )
    table.print()


def _print_verdict(verdict: str, text: str) -> None:
    print_wrapped(printable(text), label=f"{verdict}: ", color=_COLORS[verdict])


def _needed(check: Check) -> str:
    return "" if check.needed is None else f"; 5 % would be found with {many(check.needed, 'pair')}"

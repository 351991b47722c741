"""`caligo store validate`, `repair`, `release` and `reject`: is it still what was recorded, and what follows."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caligo.cli._options import Count, json_option, store_option
from caligo.cli._output import (
    emit_json,
    format_bytes,
    format_value,
    many,
    message,
    print_columns,
    print_facts,
    print_wrapped,
    printable,
)
from caligo.cli.store._index import index_option
from caligo.cli.store.gate import check_hooks, hook_options, run_hooks
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caligo.store.governing.repair import RepairReport
    from caligo.store.governing.validation import StoreFinding, Validation
    from caligo.store.governing.validation_history import Day

_MOST_SHOWN = 50
_CODES_WIDTH = 40
_COLORS = {"damage": "red", "note": "yellow"}

_runs = click.argument("runs", metavar="[RUN]...", nargs=-1)
_workers = click.option(
    "--workers", metavar="N", type=Count(1, 1024), default=1, show_default=True, help="Processes that read runs."
)


def _names(store: Path, runs: Sequence[str]) -> list[str] | None:
    """Names of the runs that are meant; None: all."""
    from caligo.errors import ConfigError
    from caligo.store import find_run, layout

    if not runs:
        return None
    paths = [find_run(store, text) for text in runs]
    for path in paths:
        if path.parent != layout.runs_directory(store.absolute()):
            raise ConfigError(f"expected runs of {store}, got {path}; name its store with --store")
    return [path.name for path in paths]


# --- validate -----------------------------------------------------------------------------------------------------


@click.command("validate", short_help="Validate runs and the store around them.")
@_runs
@click.option("--where", metavar="FILTER", help="Only runs that pass, as `kind = simulate`.")
@_workers
@click.option("--quarantine", is_flag=True, help="Set damaged runs aside, each with a report.")
@click.option("--record", is_flag=True, help="Enter what was found in the ledger.")
@click.option("--history", is_flag=True, help="Validate nothing; show what validations found over time.")
@hook_options
@index_option
@store_option
@json_option
def validate_command(
    runs: tuple[str, ...],
    where: str | None,
    workers: int,
    quarantine: bool,
    record: bool,
    history: bool,
    hooks: tuple[str, ...],
    hook_timeout: float,
    index: str | None,
    store: Path,
    as_json: bool,
) -> ExitCode:
    """Validate runs, or all of them and the store around them: hashes, records, seals, ledgers, physical sense.

    RUN is meant as in `caligo store show`. Exits with 0 only if there is nothing to find; findings of runs that are
    set aside for them, or that somebody vouched for, are settled and do not count. Nothing is changed without
    --quarantine or --record. A hook runs only if there is something to find.
    """
    from caligo.store.governing.validation import record_validation, validate_store

    check_hooks(hooks)
    if history:
        if runs or where or quarantine or record or hooks or index:
            raise click.UsageError("--history shows what was found before; it takes no RUN and no other option")
        return _history(store, as_json)
    if runs and where:
        raise click.UsageError("give RUN or --where, not both")
    found = validate_store(store, _selected(store, runs, where, index), workers=workers)
    set_aside = _quarantine(found) if quarantine else []
    entry = record_validation(found) if record else None
    code = ExitCode.STORE if found.open_findings else ExitCode.COMPLETED
    told = {
        **found.to_json(),
        "quarantined": set_aside,
        "recorded": None if entry is None else entry.index,
        "exit_code": int(code),
    }
    outcomes = run_hooks(hooks, "validate", told, hook_timeout) if found.open_findings else []
    if as_json:
        emit_json("caligo.store-validate/1", {**told, "hooks": outcomes})
    else:
        _print_validation(found)
        for run in set_aside:
            message(f"quarantined: {printable(run['run'])}, see {printable(run['report'])}")
        if entry is not None:
            message(f"recorded as entry {entry.index} of the ledger")
    return code


def _selected(store: Path, runs: Sequence[str], where: str | None, index: str | None) -> list[str] | None:
    if where is None:
        return _names(store, runs)
    from caligo.store.indexing.index import select_runs

    return [path.name for path in select_runs(store, where, include_quarantined=True, url=index)]


def _quarantine(found: Validation) -> list[dict[str, Any]]:
    """Set damaged runs aside; those that are no runs by their name are left to a person."""
    from caligo.store import layout
    from caligo.store.governing import governance
    from caligo.store.governing.quarantine_report import write_report
    from caligo.store.governing.validation import damaged_runs

    done = []
    live = governance.LiveStandings(found.store)
    for run, findings in damaged_runs(found).items():
        if layout.RUN_NAME.fullmatch(run):
            report = write_report(found.store, run, findings)
            governance.quarantine(found.store, run, findings, report=report, live=live)
            done.append({"run": run, "report": report, "codes": sorted({item.code.value for item in findings})})
    return done


def _print_validation(found: Validation) -> None:
    settled = len(found.findings) - len(found.open_findings)
    _print_findings(found.open_findings)
    if found.open_findings:
        click.echo()
    print_facts(
        {
            "store": printable(str(found.store)),
            "runs": found.runs,
            "findings": len(found.open_findings),
            "settled": settled,
            **found.by_code,
            "digest": found.digest,
        }
    )


def _print_findings(findings: Sequence[StoreFinding]) -> None:
    for item in findings[:_MOST_SHOWN]:
        finding = item.finding
        place = printable(finding.where if item.run is None else f"{item.run}: {finding.where}")
        label, color = f"{finding.code}  ", _COLORS[finding.severity]
        print_wrapped(f"{place}: {printable(finding.what)}", label=label, color=color)
        print_wrapped(f"    -> {finding.remedy}")
    if len(findings) > _MOST_SHOWN:
        message(f"{many(len(findings) - _MOST_SHOWN, 'more finding')}; --json shows all")


def _history(store: Path, as_json: bool) -> ExitCode:
    from caligo.store.governing.validation_history import figures_by_day, past_validations

    past, days = past_validations(store.absolute()), figures_by_day(store)
    if as_json:
        validations = [each.to_json() for each in past]
        emit_json("caligo.store-validate-history/1", {"validations": validations, "days": [d.to_json() for d in days]})
        return ExitCode.COMPLETED
    rows = [("validated (UTC)", "runs", "findings", "by code")]
    for each in past:
        codes = ", ".join(f"{code} x {count}" for code, count in each.by_code.items())
        runs = f"{each.runs}{' of some' if each.partial else ''}"
        first, *more = textwrap.wrap(codes or "-", _CODES_WIDTH, break_on_hyphens=False)
        rows.append((each.at[:19].replace("T", " "), runs, str(each.findings), first))
        rows += [("", "", "", line) for line in more]
    if past:
        print_columns(rows, right=(1, 2))
    else:
        message("no validation was recorded; `caligo store validate --record` records one")
    if days:
        click.echo()
        _print_days(days)
    return ExitCode.COMPLETED


def _print_days(days: Sequence[Day]) -> None:
    """Medians by day, kind and machine, of which the first digits are shown."""
    lines = [
        ("", "", "", "", "", "", "coded", "payload", ""),
        ("day", "kind", "machine", "runs", "FER", "f", "Mbit/s", "Mbit/s", "memory"),
        *(
            (
                day.day,
                printable(day.kind),
                printable(day.fingerprint[:8]),
                str(day.runs),
                *(format_value(day.medians.get(name)) for name in ("fer", "efficiency", "coded_mbps", "payload_mbps")),
                format_bytes(day.medians.get("peak_rss_bytes")),
            )
            for day in days
        ),
    ]
    print_columns(lines, right=range(3, 9), headings=2)


# --- repair -------------------------------------------------------------------------------------------------------


@click.command("repair", short_help="Put right what can be put right, as new records.")
@_runs
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--from",
    "source",
    metavar="STORE",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Another copy of the store, to take files from whose SHA-256 is the sealed one.",
)
@_workers
@store_option
@json_option
def repair_command(
    runs: tuple[str, ...], dry_run: bool, source: Path | None, workers: int, store: Path, as_json: bool
) -> ExitCode:
    """Put right what can be put right, without guessing: nothing that was sealed is edited.

    Runs of killed writers are sealed as new runs, files come back from another copy, seals enter the ledger, what
    was never finished is removed. Exits with 8 if findings are left that it cannot repair.
    """
    from caligo.store.governing.repair import repair

    report = repair(store, _names(store, runs), dry_run=dry_run, source=source, workers=workers)
    if as_json:
        emit_json("caligo.store-repair/1", report.to_json())
    else:
        _print_repair(report)
    return ExitCode.STORE if report.left or report.failed else ExitCode.COMPLETED


def _print_repair(report: RepairReport) -> None:
    failed = dict(report.failed)
    for action in report.actions:
        place = "" if action.run is None else f"{printable(action.run)}: "
        print_wrapped(f"{action.kind:8} {place}{printable(action.what)}")
        if action in failed:
            print_wrapped(printable(failed[action]), label="    failed: ", color="red")
    if not report.actions:
        message("nothing to repair")
    elif report.dry_run:
        message("nothing was changed; leave out --dry-run to do this")
    if report.left:
        click.echo()
        _print_findings(report.left)


# --- release, reject ----------------------------------------------------------------------------------------------

_reason = click.option("--reason", metavar="TEXT", required=True, help="Why, in a sentence; it enters the ledger.")


@click.command("release", short_help="Take a run out of quarantine.")
@click.argument("run")
@_reason
@store_option
@json_option
def release_command(run: str, reason: str, store: Path, as_json: bool) -> ExitCode:
    """Take a run out of quarantine: you have looked, and vouch for it as it is.

    RUN is meant as in `caligo store show`. What it was quarantined for is settled; anything else that is found later
    is not.
    """
    from caligo.store.governing.governance import release

    return _judged(store, run, as_json, lambda name: release(store.absolute(), name, reason))


@click.command("reject", short_help="Declare a run void, for good.")
@click.argument("run")
@_reason
@store_option
@json_option
def reject_command(run: str, reason: str, store: Path, as_json: bool) -> ExitCode:
    """Declare a run void, for good. Its files stay; selections pass over it.

    RUN is meant as in `caligo store show`; a run that is gone is given by its whole name.
    """
    from caligo.store.governing.governance import reject

    return _judged(store, run, as_json, lambda name: reject(store.absolute(), name, reason))


def _judged(store: Path, run: str, as_json: bool, judge: Any) -> ExitCode:
    from caligo.store import find_run, layout
    from caligo.store.governing.governance import standing

    name = run if layout.RUN_NAME.fullmatch(run) else find_run(store, run).name
    entry = judge(name)
    now = standing(store.absolute())[name]
    if as_json:
        emit_json("caligo.store-standing/1", {"run": name, "entry": entry.index, **now.to_json()})
    else:
        click.echo(f"{printable(name)}: {now.text}, entry {entry.index} of the ledger")
    return ExitCode.COMPLETED

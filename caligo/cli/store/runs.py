"""`caligo store list` and `show`: what was recorded, and whether it is still what was recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caligo.cli._options import Count, json_option, store_option
from caligo.cli._output import (
    emit_json,
    format_seconds,
    format_value,
    many,
    message,
    print_columns,
    print_facts,
    print_wrapped,
    printable,
    progress,
)
from caligo.cli.store._index import csv_option, index_option, print_csv, print_table, refuse_both, tell_problems
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from caligo.store import Finding, Run
    from caligo.store.governing.governance import Standing
    from caligo.store.indexing.conditions import Filter
    from caligo.store.indexing.flatten import Scalar
    from caligo.store.indexing.index import Index, ListedRun

_COLORS = {"open": "cyan", "interrupted": "yellow", "sealed": "green", "damaged": "red"}
_FIGURES = ("fer", "efficiency", "payload_mbps", "coded_mbps")
_COLUMNS = ("run", "kind", "campaign", "started_at", "state", "standing", "elapsed_s", "records", *_FIGURES)


# --- list ---------------------------------------------------------------------------------------------------------


@click.command("list")
@click.option("--where", metavar="FILTER", default="", help="Only runs that pass, as 'fer < 0.01 and not code.dirty'.")
@click.option("--kind", metavar="KIND", help="Only runs of this kind (reconcile, simulate, bench).")
@click.option("--columns", metavar="NAMES", help="Show these values instead, as kind,summary.frames,fer.")
@click.option(
    "--limit",
    metavar="N",
    type=Count(),
    default=50,
    show_default=True,
    help="Show the N newest runs; 0 shows all.",
)
@index_option
@store_option
@json_option
@csv_option
def list_command(
    where: str,
    kind: str | None,
    columns: str | None,
    limit: int,
    index: str | None,
    store: Path,
    as_json: bool,
    as_csv: bool,
) -> ExitCode:
    """List the runs of a store, oldest first, with their key figures.

    Answered from an index that is brought up to date first. Documents are looked at, records are not:
    `caligo store show` looks at every byte of a run. FILTER is described in docs/store.md.
    """
    from caligo.store.indexing.conditions import All, Compare, Name, Text, resolve_filter
    from caligo.store.indexing.index import open_index
    from caligo.store.indexing.query import parse_filter

    refuse_both(as_json, as_csv)
    condition = parse_filter(where)
    with open_index(store, index) as opened:
        with progress() as listener:
            refreshed = opened.refresh(progress=listener)
        if where:
            condition = resolve_filter(condition, opened.names(), where)
        if kind is not None:
            condition = All((condition, Compare(Name("kind"), "=", Text(kind))))
        total = opened.count(condition, include_set_aside=True)
        if columns is not None:
            labels, values = _chosen(opened, columns, condition, limit)
            rows: list[dict[str, Any]] = [dict(zip(labels, row, strict=True)) for row in values]
        else:
            rows = [_row(run, opened.store) for run in opened.newest(condition, limit or None)]
            labels = _COLUMNS
            values = [[row[name] for name in labels] for row in rows]
    tell_problems(refreshed)
    if as_json:
        emit_json("caligo.store-list/1", {"store": str(store.absolute()), "total": total, "runs": rows})
        return ExitCode.COMPLETED
    if as_csv:
        print_csv(labels, values)
        return ExitCode.COMPLETED
    if not rows:
        what = "no run" + (f" of kind {kind}" if kind else "") + (" that passes" if where else "")
        message(f"{what} in {store.absolute()}" + ("" if store.is_dir() else " (there is no such directory yet)"))
        return ExitCode.COMPLETED
    if columns is not None:
        print_table(labels, values)
    else:
        _print_list(rows)
        for row in rows:
            if row["why"]:
                message(f"{printable(row['run'])}: {printable(row['why'])}")
    if len(rows) < total:
        message(f"the {len(rows)} newest of {many(total, 'run')}; --limit 0 shows all")
    return ExitCode.COMPLETED


def _chosen(
    index: Index, columns: str, condition: Filter, limit: int
) -> tuple[Sequence[str], list[Sequence[Scalar | None]]]:
    """The columns asked for, of the newest runs that pass."""
    from caligo.store.indexing.conditions import All, resolve_query
    from caligo.store.indexing.query import parse_query
    from caligo.store.indexing.selection import arrange, needed_names

    query = resolve_query(parse_query(columns), index.names(), columns)
    if query.aggregates or query.order or query.limit is not None or query.where != All():
        raise click.UsageError("--columns takes names alone; `caligo store query` does the rest.")
    rows = index.rows(needed_names(query), condition, include_set_aside=True)
    answer = arrange(query, rows[-limit:] if limit else rows)
    return answer.labels, list(answer.rows)


def _row(run: ListedRun, store: Path) -> dict[str, Any]:
    from caligo.store.environment import process_runs

    values = run.values
    return {
        "run": values["run"],
        "id": values["id"],
        "path": str(store / "runs" / str(values["run"])),
        "kind": values.get("kind", ""),
        "identity": values.get("identity"),
        "campaign": values.get("campaign"),
        "started_at": values.get("started_at", ""),
        "elapsed_s": values.get("elapsed_s"),
        "state": values["state"],
        "standing": values.get("standing"),
        "set_aside": run.set_aside,
        "running": process_runs(run.process) if run.process else None,
        "why": run.why,
        "records": values.get("records"),
        **{name: values.get(name) for name in _FIGURES},
    }


def _print_list(rows: list[dict[str, Any]]) -> None:
    """A line a run, 80 columns wide with the usual kinds."""
    lines = [
        ("", "", "", "", "", "", "payload"),
        ("id", "kind", "started (UTC)", "state", "FER", "f", "Mbit/s"),
        *(
            (
                printable(row["id"]),
                printable(row["kind"]),
                printable(row["started_at"][:16]).replace("T", " "),
                _state_text(row),
                *(format_value(row[name]) for name in ("fer", "efficiency", "payload_mbps")),
            )
            for row in rows
        ),
    ]
    styles = {
        (number, 3): "red" if row["set_aside"] else _COLORS[row["state"]] for number, row in enumerate(rows, start=2)
    }
    print_columns(lines, right=(4, 5, 6), headings=2, styles=styles)


def _state_text(row: Mapping[str, Any]) -> str:
    """The state of a run, or the judgement on it where there is one that matters more."""
    if row["standing"] and row["state"] != "damaged":
        return str(row["standing"])
    return "open, killed" if row["running"] is False else str(row["state"])


# --- show ---------------------------------------------------------------------------------------------------------


@click.command("show", short_help="Show one run, and what is wrong with its files.")
@click.argument("run")
@click.option("--quick", is_flag=True, help="Read the documents only: no record is counted, no hash is checked.")
@index_option
@store_option
@json_option
def show_command(run: str, quick: bool, index: str | None, store: Path, as_json: bool) -> ExitCode:
    """Show one run: configuration, figures, outcomes, and what is wrong with its files.

    RUN is an id, the beginning of an id or of a name, `last`, or the path of a run directory. Exits with 8 if the run
    is damaged.
    """
    from caligo.store import State, find_run, load_run

    loaded = load_run(find_run(store, run), verify=not quick)
    outcomes = None if quick else loaded.outcomes(on_finding=lambda finding: None)
    standing = _standing_of(loaded, index)
    if as_json:
        emit_json("caligo.store-show/1", _shown(loaded, outcomes, standing))
    else:
        _print_run(loaded, outcomes, standing)
    return ExitCode.STORE if loaded.state is State.DAMAGED else ExitCode.COMPLETED


def _shown(run: Run, outcomes: dict[str, int] | None, standing: Standing | None) -> dict[str, Any]:
    return {
        "run": run.name,
        "path": str(run.path),
        "kind": run.kind,
        "identity": run.identity,
        "campaign": run.campaign,
        "parents": run.parents,
        "state": run.state.value,
        "standing": None if standing is None else standing.to_json(),
        "running": run.running,
        "verified": run.verified,
        "configuration": run.configuration,
        "summary": run.summary,
        "outcomes": outcomes,
        "records": run.record_counts,
        "document": run.document,
        "interruption": run.interruption,
        "findings": [finding.to_json() for finding in run.findings],
    }


def _standing_of(run: Run, url: str | None) -> Standing | None:
    """What the ledgers of the run's store say; None where nothing is said, or the run lies in no store."""
    from caligo.store.indexing.index import open_index

    if run.path.parent.name != "runs":
        return None
    with open_index(run.path.parent.parent, url) as index:
        tell_problems(index.refresh())
        return index.standing(run.path.name)


def _descent(run: Run, standing: Standing | None) -> dict[str, str]:
    """What a run belongs to, comes from, and what was said of it, where there is any."""
    said = "" if standing is None or standing.judgement == "none" else standing.text
    facts = {
        "campaign": run.campaign or "",
        "parents": ", ".join(run.parents),
        "resumes": str(run.document.get("resumes") or ""),
        "standing": f"{said}: {standing.reason}" if said and standing and standing.reason else said,
    }
    return {name: printable(text) for name, text in facts.items() if text}


def _print_run(run: Run, outcomes: dict[str, int] | None, standing: Standing | None) -> None:
    document = run.document
    ending = run.seal or run.interruption or {}
    state = "open, killed" if run.running is False else run.state.value
    print_facts(
        {
            "run": printable(run.name),
            "state": state if run.verified else f"{state} (not verified)",
            "started": printable(document.get("started_at", "-")),
            "took": format_seconds(ending.get("elapsed_s")),
            "identity": printable(run.identity or "-"),
            **_descent(run, standing),
            "path": printable(str(run.path)),
        }
    )
    if run.interruption is not None:
        _section("interruption", {**_pick(run.interruption, "interrupted_at", "reason"), **_error(run.interruption)})
    _section("configuration", run.configuration)
    _section("seeds", document.get("seeds", {}))
    _section("code", {**document.get("code", {}), **document.get("engine", {})})
    _section(
        "machine", _pick(document.get("machine", {}), "hostname", "cpu_model", "usable_cores", "kernel", "fingerprint")
    )
    if run.summary is not None:
        click.echo()
        print_facts(
            {printable(name): printable(_figure(value)) for name, value in _flat(run.summary).items()},
            title="summary",
        )
    if outcomes is not None:
        click.echo()
        counted = {printable(name) or "(no outcome)": count for name, count in outcomes.items()}
        print_facts(counted or {"(none)": ""}, title="records")
    if run.findings:
        click.echo()
        print_findings(run.findings)


def _section(title: str, values: Mapping[str, Any]) -> None:
    flat = _flat(values)
    if flat:
        click.echo()
        print_facts({printable(name): printable(_short(_exact(value))) for name, value in flat.items()}, title=title)


def _short(text: str) -> str:
    """The beginning of a digest, as many digits as tell it from others; any other text as it is."""
    return f"{text[:16]}..." if re.fullmatch("[0-9a-f]{64}", text) else text


def print_findings(findings: Sequence[Finding]) -> None:
    """Print codes, places and remedies of the first findings."""
    shown = findings[:20]
    for finding in shown:
        color = "red" if finding.severity == "damage" else "yellow"
        print_wrapped(f"{printable(finding.where)}: {printable(finding.what)}", label=f"{finding.code}  ", color=color)
        print_wrapped(f"    -> {finding.remedy}")
    if len(shown) < len(findings):
        message(f"{many(len(findings) - len(shown), 'more finding')}; --json shows all")


def _pick(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _error(interruption: Mapping[str, Any]) -> dict[str, Any]:
    error = interruption.get("error")
    return {"error": _pick(error, "class", "message", "at")} if isinstance(error, dict) else {}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects, and lists of them by number, as one level of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = dict(enumerate(value)) if isinstance(value, list) and _holds_objects(value) else value
        if isinstance(nested, dict) and nested:
            flat.update(_flat({str(inner): item for inner, item in nested.items()}, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def _holds_objects(values: list[Any]) -> bool:
    return any(isinstance(value, dict) for value in values)


def _exact(value: object) -> str:
    """A value as it was given: no digit lost, no thousands separated."""
    if isinstance(value, str):
        return value
    return "-" if value is None else "yes" if value is True else "no" if value is False else json.dumps(value)


def _figure(value: object) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "; ".join(value) or "-"
    return json.dumps(value) if isinstance(value, (list, dict)) else format_value(value)

"""`caligo store list` and `show`: what was recorded, and whether it is still what was recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caligo.cli._options import Count, json_option, store_option
from caligo.cli._output import emit_json, format_seconds, format_value, message, print_facts, printable
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from caligo.store import Finding, Run, RunInfo

_COLORS = {"open": "cyan", "interrupted": "yellow", "sealed": "green", "damaged": "red"}
_FIGURES = ("fer", "efficiency", "payload_mbps", "coded_mbps")


# --- list ---------------------------------------------------------------------------------------------------------


@click.command("list")
@click.option("--kind", metavar="KIND", help="Only runs of this kind (reconcile, simulate, bench).")
@click.option(
    "--limit",
    metavar="N",
    type=Count(),
    default=50,
    show_default=True,
    help="Show the N newest runs; 0 shows all.",
)
@store_option
@json_option
def list_command(kind: str | None, limit: int, store: Path, as_json: bool) -> ExitCode:
    """List the runs of a store, oldest first, with their key figures.

    Only run.json, seal.json and the presence of an ending are looked at; `caligo store show` looks at every byte.
    """
    from caligo.store import list_runs

    runs = [run for run in list_runs(store) if kind is None or run.kind == kind]
    rows = [_row(run) for run in (runs[-limit:] if limit else runs)]
    if as_json:
        emit_json("caligo.store-list/1", {"store": str(store.absolute()), "total": len(runs), "runs": rows})
        return ExitCode.COMPLETED
    if not rows:
        what = f"no run of kind {kind}" if kind else "no run"
        message(f"{what} in {store.absolute()}" + ("" if store.is_dir() else " (there is no such directory yet)"))
        return ExitCode.COMPLETED
    _print_list(rows)
    for row in rows:
        if row["why"]:
            message(f"{printable(row['run'])}: {printable(row['why'])}")
    if len(rows) < len(runs):
        message(f"the {len(rows)} newest of {len(runs)} runs; --limit 0 shows all")
    return ExitCode.COMPLETED


def _row(info: RunInfo) -> dict[str, Any]:
    from caligo.errors import StoreError
    from caligo.store import State, load_run

    state, why, summary = info.state, info.why, None
    if state is State.SEALED:
        try:
            run = load_run(info.path, verify=False)
        except StoreError as error:
            state, why = State.DAMAGED, error.message
        else:
            state, summary = run.state, run.summary
            why = "; ".join(f"{finding.where}: {finding.what}" for finding in run.findings)
    return {
        "run": info.name,
        "id": info.short_id,
        "path": str(info.path),
        "kind": info.kind,
        "identity": info.identity,
        "started_at": info.started_at,
        "state": state.value,
        "running": info.running,
        "why": why,
        **_figures(summary or {}),
    }


def _print_list(rows: list[dict[str, Any]]) -> None:
    """A line a run, 80 columns wide with the usual kinds."""
    lines = [
        ("", "", "", "", "", "", "payload"),
        ("id", "kind", "started (UTC)", "state", "FER", "f", "Mbit/s"),
        *(
            (
                row["id"],
                printable(row["kind"]),
                printable(row["started_at"][:16]).replace("T", " "),
                _state_text(row),
                *(format_value(row[name]) for name in ("fer", "efficiency", "payload_mbps")),
            )
            for row in rows
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        cells = [
            cell.rjust(width) if column >= 4 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        if number >= 2:
            cells[3] = click.style(cells[3], fg=_COLORS[rows[number - 2]["state"]])
        else:
            cells = [click.style(cell, bold=True) for cell in cells]
        click.echo("  ".join(cells).rstrip())


def _figures(summary: Mapping[str, Any]) -> dict[str, int | float | None]:
    """The key figures of a summary; the share of blocks that failed stands in for a frame error rate."""
    figures = {name: _number(summary.get(name)) for name in _FIGURES}
    blocks, failed = _number(summary.get("blocks")), _number(summary.get("blocks_failed"))
    if figures["fer"] is None and blocks and failed is not None:
        figures["fer"] = failed / blocks
    return figures


def _number(value: object) -> int | float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _state_text(row: Mapping[str, Any]) -> str:
    return "open, killed" if row["running"] is False else str(row["state"])


# --- show ---------------------------------------------------------------------------------------------------------


@click.command("show", short_help="Show one run, and what is wrong with its files.")
@click.argument("run")
@click.option("--quick", is_flag=True, help="Read the documents only: no record is counted, no hash is checked.")
@store_option
@json_option
def show_command(run: str, quick: bool, store: Path, as_json: bool) -> ExitCode:
    """Show one run: configuration, figures, outcomes, and what is wrong with its files.

    RUN is an id, the beginning of an id or of a name, `last`, or the path of a run directory. Exits with 8 if the run
    is damaged.
    """
    from caligo.store import State, find_run, load_run

    loaded = load_run(find_run(store, run), verify=not quick)
    outcomes = None if quick else loaded.outcomes(on_finding=lambda finding: None)
    if as_json:
        emit_json("caligo.store-show/1", _shown(loaded, outcomes))
    else:
        _print_run(loaded, outcomes)
    return ExitCode.STORE if loaded.state is State.DAMAGED else ExitCode.COMPLETED


def _shown(run: Run, outcomes: dict[str, int] | None) -> dict[str, Any]:
    return {
        "run": run.name,
        "path": str(run.path),
        "kind": run.kind,
        "identity": run.identity,
        "state": run.state.value,
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


def _print_run(run: Run, outcomes: dict[str, int] | None) -> None:
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
        _print_findings(run.findings)


def _section(title: str, values: Mapping[str, Any]) -> None:
    flat = _flat(values)
    if flat:
        click.echo()
        print_facts({printable(name): printable(_exact(value)) for name, value in flat.items()}, title=title)


def _print_findings(findings: tuple[Finding, ...]) -> None:
    shown = findings[:20]
    for finding in shown:
        code = click.style(finding.code, fg="red" if finding.severity == "damage" else "yellow", bold=True)
        click.echo(f"{code}  {printable(finding.where)}: {printable(finding.what)}")
        click.echo(f"    -> {finding.remedy}")
    if len(shown) < len(findings):
        message(f"{len(findings) - len(shown)} more findings; --json shows all")


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

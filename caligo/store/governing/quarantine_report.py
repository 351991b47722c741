"""The report of a quarantined run: what was found, where, and what to do, as Markdown and as JSON.

Covers: ``<store>/quarantine/<run>.md`` and ``.json``. They follow from the run and its findings, say no time, and can
be written again from them. Does not cover: the decision (:mod:`.governance`), pages with plots
(:mod:`caligo.reports`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from caligo.errors import StoreError
from caligo.store import files, layout
from caligo.store.findings import Finding

DIRECTORY = "quarantine"
SCHEMA = "caligo.quarantine/1"

MOST_SHOWN = 200
"""Findings that a report lists; the others are counted."""


def report_json(store: Path, run: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """The report as a JSON object.

    Args:
        store: directory of the store.
        run: name of the run directory.
        findings: of the run.
    """
    from caligo.store.reader import load_run

    told: dict[str, Any] = {}
    try:
        loaded = load_run(layout.runs_directory(store) / run, verify=False)
    except StoreError:
        loaded = None
    if loaded is not None:
        told = {name: loaded.document.get(name) for name in ("kind", "identity", "started_at", "code", "machine")}
        told["state"] = loaded.state.value
    return {
        "schema": SCHEMA,
        "run": run,
        **told,
        "codes": sorted({finding.code.value for finding in findings}),
        "count": len(findings),
        "findings": [finding.to_json() for finding in findings[:MOST_SHOWN]],
    }


def report_markdown(report: dict[str, Any]) -> str:
    """The same for people.

    Args:
        report: from :func:`report_json`.
    """
    lines = [f"# Quarantined: {_inline(report['run'])}", ""]
    facts = {"kind": report.get("kind"), "started": report.get("started_at"), "state": report.get("state")}
    facts |= {"identity": report.get("identity"), "findings": report["count"]}
    lines += [f"- {name}: {_inline(value)}" for name, value in facts.items() if value is not None]
    lines += ["", "| code | severity | where | what |", "|---|---|---|---|"]
    for item in report["findings"]:
        lines.append("| " + " | ".join(_inline(item[name]) for name in ("code", "severity", "where", "what")) + " |")
    left = report["count"] - len(report["findings"])
    if left:
        lines += ["", f"{left} more findings are not listed."]
    lines += ["", "## What to do", ""]
    remedies = {item["code"]: item["remedy"] for item in report["findings"]}
    lines += [f"- {code}: {_inline(remedy)}" for code, remedy in sorted(remedies.items())]
    lines += [
        "",
        "Selections pass over this run. `caligo store release RUN --reason TEXT` takes it back for these findings,",
        "`caligo store reject RUN --reason TEXT` gives it up; its files stay either way.",
        "",
    ]
    return "\n".join(lines)


def _inline(value: object) -> str:
    """Text that cannot break out of a cell of a table, nor steer a terminal."""
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(value))
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def write_report(store: Path, run: str, findings: Sequence[Finding]) -> str:
    """Write the report of a run, unless it is there already as it would be written.

    Args:
        store: directory of the store.
        run: name of the run directory.
        findings: of the run.

    Returns:
        Path of the Markdown file within the store.

    Raises:
        StoreError: the store cannot be written.
        ResourceError: the disk or the quota is full.
    """
    report = report_json(store, run, findings)
    place = store / DIRECTORY
    contents = {f"{run}.md": report_markdown(report), f"{run}.json": json.dumps(report, indent=2) + "\n"}
    with files.storing("write a report", place):
        if not place.is_dir():
            place.mkdir(exist_ok=True)
            files.sync_directory(store)
        for name, text in contents.items():
            data = text.encode("utf-8", "backslashreplace")
            path = place / name
            if not path.is_file() or path.read_bytes() != data:
                files.put_whole(path, data)
    return os.path.join(DIRECTORY, f"{run}.md")

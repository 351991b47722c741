"""`caligo doctor`: what this installation and machine are fit for."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caligo.cli._options import json_option, store_option
from caligo.cli._output import emit_json
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from caligo.doctor import Finding

_MARK = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


def _print(findings: list[Finding]) -> None:
    topic_width = max(len(finding.topic) for finding in findings)
    indent = 6 + topic_width + 2
    columns = max(40, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
    for finding in findings:
        word, color = _MARK[finding.status.value]
        texts = [finding.what] + ([f"-> {finding.remedy}"] if finding.remedy else [])
        lines = [
            line
            for text in texts
            for line in (textwrap.wrap(text, columns - indent, break_long_words=False) if columns else [text])
        ]
        click.echo(f"{click.style(word, fg=color, bold=True)}  {finding.topic:<{topic_width}}  {lines[0]}")
        for line in lines[1:]:
            click.echo(" " * indent + line)


@click.command("doctor")
@store_option
@json_option
def command(store: Path, as_json: bool) -> ExitCode:
    """Check this installation and machine; name a remedy for everything that is not as it should be.

    Looks at the compiled extension and its engines, processor, cores, Python packages, memory limit, experiment store,
    design cache, MPI and environment variables, and changes nothing. Exits with 6 if caligo cannot work here.
    """
    from caligo import __version__
    from caligo.doctor import Status, diagnose

    findings = diagnose(store)
    worst = max((list(Status).index(finding.status) for finding in findings), default=0)
    status = list(Status)[worst]
    if as_json:
        emit_json(
            "caligo.doctor/1",
            {"version": __version__, "status": status.value, "findings": [finding.to_json() for finding in findings]},
        )
    else:
        _print(findings)
    return ExitCode.RESOURCE if status is Status.FAIL else ExitCode.COMPLETED

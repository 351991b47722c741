"""`caligo store merge` and `migrate`: several stores into one, an older store into a new one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from caligo.cli._options import json_option
from caligo.cli._output import emit_json, message, print_facts, printable
from caligo.cli.store.runs import print_findings
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from caligo.store.merge import MergeReport


@click.command("merge", short_help="Bring the runs and ledgers of stores into one.")
@click.argument("sources", metavar="SRC...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--into", metavar="DIR", required=True, type=click.Path(path_type=Path), help="The store that they go into."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@json_option
def merge_command(sources: tuple[Path, ...], into: Path, dry_run: bool, as_json: bool) -> ExitCode:
    """Bring the runs and ledgers of the stores SRC into one.

    Order, grouping and repetition make no difference, and nothing that was sealed is lost: where two copies of a run
    went different ways, one is shown and the others are kept under `conflicts`. A merge that was killed is completed by
    the same command. Exits with 8 when something could not be merged or ordered.
    """
    from caligo.store.merge import merge_stores

    report = merge_stores(sources, into, dry_run=dry_run)
    if as_json:
        emit_json("caligo.store-merge/1", report.to_json())
    else:
        _print_report(report)
    return ExitCode.STORE if report.findings else ExitCode.COMPLETED


def _print_report(report: MergeReport) -> None:
    print_facts(
        {
            "into": printable(str(report.into)),
            "runs added": len(report.added),
            "runs replaced": len(report.replaced),
            "runs already there": report.unchanged,
            "runs in conflict": len(report.conflicts),
            "ledger entries": sum(one.taken for one in report.ledgers),
        }
    )
    if report.dry_run:
        message("nothing was written (--dry-run)")
    print_findings(report.findings)


@click.command("migrate", short_help="Copy an older store into one of this caligo's schema.")
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@click.option("--into", metavar="DIR", required=True, type=click.Path(path_type=Path), help="The store for the copy.")
@json_option
def migrate_command(source: Path, into: Path, as_json: bool) -> ExitCode:
    """Copy the store SRC into another, its documents in the schema of this caligo.

    SRC is never changed, and need not be migrated to be read. Records stay as they are; each new seal names the one
    before it. Damaged runs are left out and named, and the command exits with 8.
    """
    from caligo.store.migrated_copy import migrate_store

    report = migrate_store(source, into)
    if as_json:
        emit_json("caligo.store-migrate/1", report.to_json())
    else:
        print_facts(
            {
                "into": printable(str(report.into)),
                "runs migrated": len(report.migrated),
                "runs copied": len(report.copied),
                "runs already there": report.unchanged,
            }
        )
        print_findings(report.findings)
    return ExitCode.STORE if report.findings else ExitCode.COMPLETED

"""`caligo store report`: pages about a run, two of them, or a store."""

from __future__ import annotations

from pathlib import Path

import click

from caligo.cli._options import json_option, store_option
from caligo.cli._output import emit_json, message
from caligo.cli.store._index import index_option
from caligo.errors import ExitCode, StoreError


@click.command("report", short_help="Write a page about a run, about two compared, or about the store.")
@click.argument("runs", metavar="[RUN [RUN]]", nargs=-1)
@click.option(
    "--out",
    metavar="PATH",
    type=click.Path(path_type=Path),
    default=Path("report"),
    show_default=True,
    help="Directory for the pages; or one file, whose suffix .html, .md or .json is its form.",
)
@click.option(
    "--format",
    "forms",
    type=click.Choice(["html", "md", "json"]),
    multiple=True,
    help="Form of the page; may be given more than once.  [default: all three]",
)
@click.option("--where", metavar="CONDITION", default="", help="Without RUN: only runs that meet this condition.")
@click.option("--quick", is_flag=True, help="With one RUN: do not look whether every byte is as it was written.")
@click.option("--enter", is_flag=True, help="With one or two RUN: enter the page in the ledger of the store.")
@index_option
@store_option
@json_option
def report_command(
    runs: tuple[str, ...],
    out: Path,
    forms: tuple[str, ...],
    where: str,
    quick: bool,
    enter: bool,
    index: str | None,
    store: Path,
    as_json: bool,
) -> ExitCode:
    """Write a page: of one RUN, of two compared, or without any of the store.

    A RUN is meant as in `caligo store show`; of two, each may also be a condition as of `caligo store query` that
    selects runs of one experiment. A page needs no network, and the same store gives the same page. An earlier page is
    replaced, any other file is not. Exits with 8 if the page is of a damaged run.
    """
    from caligo.reports import comparison_page, run_page, store_page, write_page
    from caligo.reports.writing import enter_page, page_name
    from caligo.store import find_run
    from caligo.store.comparing.comparison import find_side

    if len(runs) > 2:
        raise click.UsageError(f"expected at most two runs, got {len(runs)}")
    if where and runs:
        raise click.UsageError("--where chooses the runs of a store's page; leave it out, or RUN")
    if quick and len(runs) != 1:
        raise click.UsageError("--quick is for the page of one run")
    if enter and not runs:
        raise click.UsageError("--enter puts a page in the lineage of its runs; give one or two RUN")
    damaged, about = False, []
    if len(runs) == 2:
        a, b = (find_side(store, run, url=index) for run in runs)
        about = [run.name for run in (*a, *b)]
        page, name = comparison_page(a, b), f"{a[0].name}-and-{b[0].name}"
    elif runs:
        path = find_run(store, runs[0])
        page, name, about = run_page(path, verify=not quick), path.name, [path.name]
        damaged = any(fact.name == "state" and fact.value == "damaged" for fact in page.facts)
    else:
        if not store.is_dir():
            raise StoreError(f"expected a store at {store}, there is no such directory; check --store and CALIGO_STORE")
        page, name = store_page(store, where=where, url=index), "store"
    written = write_page(page, out, page_name(name), forms)
    if enter:
        for file in written:
            enter_page(store, about, file)
    if as_json:
        emit_json("caligo.store-report/1", {"page": page.kind, "title": page.title, "files": written})
    else:
        for path in written:
            click.echo(str(path))
        if damaged:
            message("the run is damaged; the page says how")
    return ExitCode.STORE if damaged else ExitCode.COMPLETED

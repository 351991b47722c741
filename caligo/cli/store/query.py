"""`caligo store query` and `reindex`: ask the index of a store, build it anew."""

from __future__ import annotations

import time
from pathlib import Path

import click

from caligo.cli._options import json_option, store_option
from caligo.cli._output import emit_json, format_seconds, message, print_facts, progress
from caligo.cli.store._index import csv_option, index_option, print_csv, print_table, refuse_both, tell_problems
from caligo.errors import ExitCode


@click.command("query")
@click.argument("text", metavar="QUERY")
@click.option(
    "--include-quarantined", is_flag=True, help="Also runs that are quarantined, rejected or replaced by a repair."
)
@index_option
@store_option
@json_option
@csv_option
def query_command(
    text: str, include_quarantined: bool, index: str | None, store: Path, as_json: bool, as_csv: bool
) -> ExitCode:
    r"""Ask which runs, which of their values, how many, or for means and medians of groups.

    QUERY is `columns where filter group by names order by columns limit N`; every part may be left out. The language is
    described in docs/store.md.

    \b
    caligo store query 'id, fer, efficiency where kind = simulate order by fer'
    caligo store query 'count(), median(coded_mbps) group by machine.fingerprint'
    """
    from caligo.store.indexing.conditions import resolve_query
    from caligo.store.indexing.index import open_index
    from caligo.store.indexing.query import parse_query

    refuse_both(as_json, as_csv)
    query = parse_query(text)
    with open_index(store, index) as opened:
        with progress() as listener:
            refreshed = opened.refresh(progress=listener)
        resolved = resolve_query(query, opened.names(), text)
        answer = opened.answer(resolved, include_set_aside=include_quarantined)
    tell_problems(refreshed)
    if as_json:
        emit_json(
            "caligo.store-query/1", {"store": str(store.absolute()), "columns": answer.labels, "rows": answer.rows}
        )
    elif as_csv:
        print_csv(answer.labels, answer.rows)
    elif answer.rows:
        print_table(answer.labels, answer.rows)
    else:
        message(f"no run of {store.absolute()} ({refreshed.runs:,} in all) is meant")
    return ExitCode.COMPLETED


@click.command("reindex")
@index_option
@store_option
@json_option
def reindex_command(index: str | None, store: Path, as_json: bool) -> ExitCode:
    """Forget what the index knows of a store, and read all its runs again.

    Never needed for right answers: every command brings the index up to date.
    """
    from caligo.store.indexing.index import open_index
    from caligo.store.indexing.query import parse_filter

    begin = time.monotonic()
    with open_index(store, index) as opened:
        with progress() as listener:
            done = opened.rebuild(progress=listener)
        damaged = opened.count(parse_filter("state = damaged"), include_set_aside=True)
        place = opened.place
    elapsed_s = time.monotonic() - begin
    tell_problems(done)
    if as_json:
        emit_json(
            "caligo.store-reindex/1",
            {
                "store": str(store.absolute()),
                "index": place,
                "runs": done.runs,
                "damaged": damaged,
                "elapsed_s": elapsed_s,
            },
        )
    else:
        print_facts({"runs": done.runs, "damaged": damaged, "took": format_seconds(elapsed_s), "index": place})
    return ExitCode.COMPLETED

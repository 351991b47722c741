"""`caligo store lineage`: where runs come from, and what was made of them."""

from __future__ import annotations

from pathlib import Path

import click

from caligo.cli._options import json_option, store_option
from caligo.cli._output import emit_json, message, printable
from caligo.cli.store._index import index_option
from caligo.errors import ExitCode


@click.command("lineage", short_help="Show where runs come from, and what was made of them.")
@click.argument("run", required=False)
@click.option("--dot", "form", flag_value="dot", help="Print the graph for Graphviz.")
@click.option("--mermaid", "form", flag_value="mermaid", help="Print the graph for Mermaid.")
@index_option
@store_option
@json_option
def lineage_command(run: str | None, form: str | None, index: str | None, store: Path, as_json: bool) -> ExitCode:
    """Show campaigns, runs, attempts, replays, repairs, bundles, baselines and reports as a graph.

    With RUN only what it came of and what came of it. A graph with a cycle exits with 8: documents were forged.
    """
    from caligo.store import find_run
    from caligo.store.comparing.lineage import dot_text, find_lineage, lineage_of, mermaid_text, tree_lines

    graph = find_lineage(store, url=index)
    if run is not None:
        graph = lineage_of(graph, find_run(store, run).name)
    if as_json:
        emit_json("caligo.store-lineage/1", graph.to_json())
    elif form is not None:
        click.echo((dot_text if form == "dot" else mermaid_text)(graph), nl=False)
    else:
        for line in tree_lines(graph):
            click.echo(printable(line))
        if not graph.facts:
            message(f"no run in {store.absolute()}")
    for problem in graph.problems:
        message(printable(problem))
    for cycle in graph.cycles:
        message("a cycle: " + " -> ".join(printable(node.label) for node in (*cycle, cycle[0])))
    return ExitCode.STORE if graph.cycles else ExitCode.COMPLETED

"""`caligo store neighbours`: the runs that differ from one in a single key, or a few."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caligo.cli._options import Count, json_option, store_option
from caligo.cli._output import cut, emit_json, format_value, many, message, print_columns, print_wrapped, printable
from caligo.cli.store._index import index_option
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from caligo.store.comparing.metrics import Metric
    from caligo.store.comparing.neighbours import Neighbour, NeighbourGroup
    from caligo.store.indexing.flatten import Scalar

_PAGE_WIDTH = 80
_HEADING_WIDTH = 10
_VALUE_WIDTH = 16


@click.command("neighbours", short_help="Show the runs that differ from one in a single key, or a few.")
@click.argument("run")
@click.option(
    "--keys",
    metavar="N",
    type=Count(minimum=1),
    default=1,
    show_default=True,
    help="Also runs that differ in up to N keys.",
)
@click.option(
    "--limit",
    metavar="N",
    type=Count(),
    default=20,
    show_default=True,
    help="Show N runs of each group; 0 shows all.",
)
@index_option
@store_option
@json_option
def neighbours_command(run: str, keys: int, limit: int, index: str | None, store: Path, as_json: bool) -> ExitCode:
    """Show the runs that were asked almost the same as RUN, by the keys in which they differ, with their figures.

    What counts is what defines the experiment: configuration and seeds, not threads, paths, code or machine.
    """
    from caligo.store import find_run, load_run
    from caligo.store.comparing.neighbours import find_neighbours

    loaded = load_run(find_run(store, run), verify=False)
    found = find_neighbours(store, loaded, keys, url=index)
    if as_json:
        emit_json("caligo.store-neighbours/1", found.to_json())
        return ExitCode.COMPLETED
    if found.repeats:
        message(f"{many(len(found.repeats), 'other run')} of the same experiment; `caligo store diff` compares them")
    if not found.groups:
        message(f"no run of {store.absolute()} differs from {printable(loaded.name)} in {many(keys, 'key')} or fewer")
    for number, group in enumerate(found.groups):
        if number:
            click.echo()
        _print_group(found.run, group, limit)
    return ExitCode.COMPLETED


def _print_group(run: Neighbour, group: NeighbourGroup, limit: int) -> None:
    """The run, then the others, a line each, with as many of the keys as there is room for."""
    shown = group.neighbours[:limit] if limit else group.neighbours
    names = [key.removeprefix("configuration.") for key in group.keys]
    print_wrapped(f"{_id(run)} and the runs that differ from it in {printable(', '.join(names))}")
    rows = [(run, group.values), *((neighbour, neighbour.values) for neighbour in shown)]
    ones = [one for one, _ in rows]
    columns = [
        (["id"], [_id(one) for one in ones]),
        (["state"], [one.state for one in ones]),
        (["FER"], [_figure(one.metrics.get("fer")) for one in ones]),
        (["f"], [_figure(one.metrics.get("efficiency")) for one in ones]),
        (["payload", "Mbit/s"], [_figure(one.metrics.get("payload_mbps")) for one in ones]),
    ]
    room = _PAGE_WIDTH - sum(map(_width, columns)) - 2 * len(columns)
    keys: list[tuple[list[str], list[str]]] = []
    for key, name in zip(group.keys, names, strict=True):
        column = (_heading(name), [_value(values, key) for _, values in rows])
        if keys and _width(column) > room:
            break
        keys.append(column)
        room -= _width(column) + 2
    columns[1:1] = keys
    headings = max(len(heading) for heading, _ in columns)
    whole = [[*[""] * (headings - len(heading)), *heading, *cells] for heading, cells in columns]
    print_columns(list(zip(*whole, strict=True)), right=range(len(whole) - 3, len(whole)), headings=headings)
    if len(keys) < len(names):
        message(f"{many(len(names) - len(keys), 'more key')}; --json shows all")
    if len(shown) < len(group.neighbours):
        message(f"{many(len(group.neighbours) - len(shown), 'more run')}; --limit 0 shows all")


def _id(one: Neighbour) -> str:
    return one.run.rpartition("-")[2]


def _width(column: tuple[list[str], list[str]]) -> int:
    return max(len(text) for texts in column for text in texts)


def _heading(name: str) -> list[str]:
    """A key on lines of its own, broken behind dots and underscores."""
    lines = [""]
    for part in re.findall(r"[^._]+[._]*|[._]+", name):
        if lines[-1] and len(lines[-1] + part) > _HEADING_WIDTH:
            lines.append("")
        lines[-1] += part
    return [cut(line, _VALUE_WIDTH) for line in lines]


def _value(values: Mapping[str, Scalar], key: str) -> str:
    return cut(str(values[key]), _VALUE_WIDTH) if key in values else "-"


def _figure(metric: Metric | None) -> str:
    if metric is None:
        return "-"
    interval = ""
    if metric.proportion is not None:
        interval = f" ({metric.low:.3g}..{metric.high:.3g})"
    return f"{format_value(metric.value)}{interval}"

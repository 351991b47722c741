"""`caligo store neighbours`: the runs that differ from one in a single key, or a few."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caligo.cli._options import Count, json_option, store_option
from caligo.cli._output import Table, emit_json, format_value, message, printable
from caligo.cli.store._index import index_option
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from caligo.store.comparing.metrics import Metric
    from caligo.store.comparing.neighbours import Neighbour, NeighbourGroup

_FIGURES = (("fer", "FER"), ("efficiency", "f"), ("payload_mbps", "payload Mbit/s"))


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
        message(f"{len(found.repeats)} other run(s) of the same experiment; `caligo store diff` compares them")
    if not found.groups:
        message(f"no run of {store.absolute()} differs from {printable(loaded.name)} in {keys} key(s) or fewer")
    for group in found.groups:
        _print_group(found.run, group, limit)
    return ExitCode.COMPLETED


def _print_group(run: Neighbour, group: NeighbourGroup, limit: int) -> None:
    shown = group.neighbours[:limit] if limit else group.neighbours
    names = [key.removeprefix("configuration.") for key in group.keys]
    table = Table("id", *map(printable, names), "state", *(f">{title}" for _, title in _FIGURES))
    table.add(*_cells(run, group, group.values, mark=" (this)"))
    for neighbour in shown:
        table.add(*_cells(neighbour, group, neighbour.values))
    table.print()
    if len(shown) < len(group.neighbours):
        message(f"{len(group.neighbours) - len(shown)} more; --limit 0 shows all")


def _cells(one: Neighbour, group: NeighbourGroup, values: Any, mark: str = "") -> list[str]:
    told = [printable(str(values[key])) if key in values else "-" for key in group.keys]
    return [
        one.run.rpartition("-")[2] + mark,
        *told,
        one.state,
        *(_figure(one.metrics.get(name)) for name, _ in _FIGURES),
    ]


def _figure(metric: Metric | None) -> str:
    if metric is None:
        return "-"
    interval = ""
    if metric.proportion is not None:
        interval = f" ({metric.low:.3g}..{metric.high:.3g})"
    return f"{format_value(metric.value)}{interval}"

"""`caligo store history`: one metric over time, and where its level changed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caligo.cli._options import json_option, store_option
from caligo.cli._output import Table, emit_json, format_value, many, message, printable
from caligo.cli.store._index import index_option
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from caligo.store.comparing.history import History, HistoryChange, HistorySeries

_SERIES_SHOWN = 20


@click.command("history", short_help="Show one metric over time, and where its level changed.")
@click.argument("metric")
@click.option("--where", metavar="CONDITION", default="", help="Only runs that meet it, as of `caligo store query`.")
@click.option(
    "--significance",
    metavar="P",
    type=click.FloatRange(0.0, 0.5, min_open=True),
    default=0.01,
    show_default=True,
    help="Share of series without a change in which one may be reported.",
)
@click.option("--together", is_flag=True, help="Take the runs of a machine as one series, whatever their experiments.")
@index_option
@store_option
@json_option
def history_command(
    metric: str, where: str, significance: float, together: bool, index: str | None, store: Path, as_json: bool
) -> ExitCode:
    """Show METRIC (such as decode_time_ns, fer or coded_mbps) over time, and the runs at which its level changed.

    Runs of one experiment on one machine make a series. A change is reported with the commits between which it came.
    """
    from caligo.store.comparing.change_points import LEAST_RUNS
    from caligo.store.comparing.history import metric_history

    history = metric_history(store, metric, where, significance=significance, together=together, url=index)
    if as_json:
        emit_json("caligo.store-history/1", history.to_json())
        return ExitCode.COMPLETED
    shown = [series for series in history.series if len(series.points) > 1][:_SERIES_SHOWN]
    for series in shown:
        _print_series(series, history.unit)
    if not history.series:
        message(f"no sealed run in {store.absolute()} has {metric}")
    short = sum(len(series.points) < LEAST_RUNS for series in shown)
    if short:
        message(f"fewer than {LEAST_RUNS} runs, too few to show a change: {short} of {len(shown)} series")
    if len(shown) < len(history.series):
        message(
            f"{len(history.series) - len(shown)} more series, the longest of {many(_longest(history, shown), 'run')}"
        )
    if history.left_out:
        message(f"{many(len(history.left_out), 'run')} left out: not sealed, or without {metric}")
    return ExitCode.COMPLETED


def _longest(history: History, shown: Sequence[HistorySeries]) -> int:
    return max(len(series.points) for series in history.series[len(shown) :])


def _print_series(series: HistorySeries, unit: str) -> None:
    title = f"machine {printable(series.fingerprint) or 'not known'}"
    if series.identity is not None:
        title += f", experiment {series.identity[:12]}"
    table = Table(
        "from",
        "commit",
        ">runs",
        f">median{f' {unit}' if unit else ''}",
        ">against before",
        ">p",
        "",
        title=title,
    )
    starts = [0, *(change.index for change in series.changes)]
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(series.points)], strict=True)):
        first, change = series.points[start], series.changes[number - 1] if number else None
        table.add(
            f"{first.run.rpartition('-')[2]} {first.started_at[:10]}",
            (first.commit[:10] or "-") + ("+" if first.dirty else ""),
            end - start,
            statistics.median(point.value for point in series.points[start:end]),
            _effect(change),
            "-" if change is None else f"{change.p_value:.3f}",
            "" if change is None else change.verdict.value,
        )
    table.print()


def _effect(change: HistoryChange | None) -> str:
    if change is None or change.effect is None:
        return "-"
    value = format_value(change.effect.value)
    return f"x {value}" if change.effect.kind == "ratio" else value

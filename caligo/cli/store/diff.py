"""`caligo store diff`: two runs, or two sets of runs, on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caligo.cli._options import json_option, store_option
from caligo.cli._output import cut, emit_json, format_value, many, message, print_columns, printable
from caligo.cli.store._index import index_option
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from caligo.store.comparing.comparison import Change, Comparison, Effect, MetricChange, Side
    from caligo.store.comparing.metrics import Metric

_PAGE_WIDTH = 80
_KEYS_SHOWN = 24
_NAME_WIDTH = 14
_KEY_WIDTH = 30
_VALUE_WIDTH = 23
_COLORS = {"better": "green", "worse": "red", "different": "yellow", "not comparable": "yellow"}
_WORDS = {"no difference shown": "unclear", "not comparable": "unfair", "one side only": "one side"}
_SCALES = {"ns": ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns")), "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))}
_BYTES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))


@click.command("diff", short_help="Compare two runs: configuration, environment, figures.")
@click.argument("a")
@click.argument("b")
@click.option("--quick", is_flag=True, help="Do not read the records: no raw times are compared.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown tables.")
@index_option
@store_option
@json_option
def diff_command(
    a: str, b: str, quick: bool, as_markdown: bool, index: str | None, store: Path, as_json: bool
) -> ExitCode:
    """Compare B with A: what was asked differently, where it ran, and which figures differ for certain.

    A and B are each a run as of `caligo store show`, or a condition as of `caligo store query` that selects runs of one
    experiment, such as 'kind = simulate and code.commit = 4be858e'. Several runs on a side are pooled.
    """
    from caligo.store.comparing.comparison import compare_runs, find_side

    comparison = compare_runs(find_side(store, a, url=index), find_side(store, b, url=index), records=not quick)
    if as_json:
        emit_json("caligo.store-diff/1", comparison.to_json())
    elif as_markdown:
        _print_markdown(comparison)
    else:
        _print_page(comparison)
    return ExitCode.COMPLETED


# --- a page for a terminal -------------------------------------------------------------------------------------------


def _print_page(comparison: Comparison) -> None:
    for label, side in (("A", comparison.a), ("B", comparison.b)):
        click.echo(f"{click.style(label, bold=True)}  {_side_text(side)}")
    click.echo(_experiment_text(comparison))
    for title, changes in (("configuration", comparison.configuration), ("environment", comparison.environment)):
        if changes:
            click.echo()
            _print_changes(title, changes)
    click.echo()
    _print_metrics(comparison.metrics)
    for text in comparison.obstacles:
        message(f"times are not comparable: {text}")
    for text in comparison.cautions:
        message(f"note: {text}")


def _side_text(side: Side) -> str:
    first, last = (run.rpartition("-")[2] for run in (side.runs[0], side.runs[-1]))
    what = side.runs[0] if len(side.runs) == 1 else f"{len(side.runs)} runs, {first} to {last}"
    states = ", ".join(state if len(side.runs) == 1 else f"{count} {state}" for state, count in side.states)
    commits = ", ".join(str(commit)[:10] for commit in side.facts.get("code.commit", ()))
    return cut(f"{what}  {states}" + (f"  commit {commits}" if commits else ""), _PAGE_WIDTH - 3)


def _experiment_text(comparison: Comparison) -> str:
    if comparison.same_experiment:
        return "one experiment: the identities are equal"
    keys = comparison.differing_keys
    shown = ", ".join(key.removeprefix("configuration.") for key in keys[:6]) + (", ..." if len(keys) > 6 else "")
    return cut(f"two experiments: they differ in {shown or 'what cannot be read'}", _PAGE_WIDTH)


def _print_changes(title: str, changes: Sequence[Change]) -> None:
    asked = title == "configuration"
    rows = [
        (
            cut(_key(change) + (" *" if asked and not change.defines else ""), _KEY_WIDTH),
            cut(_values(change.a), _VALUE_WIDTH),
            cut(_values(change.b), _VALUE_WIDTH),
        )
        for change in changes[:_KEYS_SHOWN]
    ]
    print_columns([(title, "A", "B"), *rows])
    if asked and any(not change.defines for change in changes):
        click.echo(click.style("* not part of the experiment's identity", dim=True))
    if len(changes) > _KEYS_SHOWN:
        message(f"{many(len(changes) - _KEYS_SHOWN, 'more key')}; --json shows all")


def _key(change: Change) -> str:
    return change.key.removeprefix("configuration.")


def _print_metrics(changes: Sequence[MetricChange]) -> None:
    if not changes:
        click.echo("no figures on either side")
        return
    lines: list[tuple[str, ...]] = [("metric", "A", "B", "B against A", "verdict")]
    styles: dict[tuple[int, int], str | None] = {}
    for change in changes:
        name = printable(change.name)
        if len(name) > _NAME_WIDTH:
            lines.append((name,))
            name = ""
        verdict = change.verdict.value
        styles[len(lines), 4] = _COLORS.get(verdict)
        lines.append(
            (
                name,
                _value_text(change.a, change),
                _value_text(change.b, change),
                _effect_text(change.effect),
                _WORDS.get(verdict, verdict),
            )
        )
        below = (
            _interval_text(change.a, change),
            _interval_text(change.b, change),
            _limits_text(change.effect),
            "" if change.p_adjusted is None else f"p {_p_text(change.p_adjusted)}",
        )
        if any(below):
            lines.append(("", *below))
    print_columns(lines, right=(1, 2, 3), styles=styles)


# --- Markdown --------------------------------------------------------------------------------------------------------


def _print_markdown(comparison: Comparison) -> None:
    click.echo("## B against A\n")
    for label, side in (("A", comparison.a), ("B", comparison.b)):
        click.echo(f"- {label}: {_markdown(_side_text(side))}")
    click.echo(f"- {_markdown(_experiment_text(comparison))}")
    for text in comparison.obstacles:
        click.echo(f"- times are not comparable: {text}")
    for text in comparison.cautions:
        click.echo(f"- {text}")
    for title, changes in (("configuration", comparison.configuration), ("environment", comparison.environment)):
        if changes:
            click.echo(f"\n| {title} | A | B |\n|---|---|---|")
            for change in changes:
                click.echo(
                    f"| {_markdown(_key(change))} | {_markdown(_values(change.a))} | {_markdown(_values(change.b))} |"
                )
    click.echo("\n| metric | A | B | B against A | p | Holm | verdict |\n|---|--:|--:|--:|--:|--:|---|")
    for entry in comparison.metrics:
        cells = [
            f"{_value_text(metric, entry)} {_bracketed(_interval_text(metric, entry))}".strip()
            for metric in (entry.a, entry.b)
        ]
        cells.append(f"{_effect_text(entry.effect)} {_bracketed(_limits_text(entry.effect))}".strip())
        cells += [_p_text(entry.p_value), _p_text(entry.p_adjusted), entry.verdict.value]
        click.echo(f"| {' | '.join([_markdown(entry.name), *cells])} |")


def _markdown(text: str) -> str:
    """Text that is no markup in a Markdown table."""
    for char in "\\`*_|[]<>":
        text = text.replace(char, f"\\{char}")
    return printable(text)


def _bracketed(text: str) -> str:
    return f"({text})" if text else ""


# --- cells -----------------------------------------------------------------------------------------------------------


def _scale(change: MetricChange) -> tuple[float, str]:
    """The unit that suits both sides."""
    metrics = [metric for metric in (change.a, change.b) if metric is not None]
    scales = _BYTES if metrics[0].unit == "B" else _SCALES.get(metrics[0].unit)
    if scales is None:
        return 1.0, ""
    most = max(abs(metric.value) for metric in metrics)
    return next((scale for scale in scales if most >= scale[0]), scales[-1])


def _value_text(metric: Metric | None, change: MetricChange) -> str:
    if metric is None:
        return "-"
    factor, unit = _scale(change)
    return f"{format_value(metric.value / factor)} {unit}".rstrip()


def _interval_text(metric: Metric | None, change: MetricChange) -> str:
    if metric is None or metric.low is None or metric.high is None:
        return ""
    if metric.proportion is not None:
        return f"{metric.low:.2g}..{metric.high:.2g}"
    factor, _ = _scale(change)
    return f"{format_value(metric.low / factor)}..{format_value(metric.high / factor)}"


def _effect_text(effect: Effect | None) -> str:
    if effect is None:
        return "-"
    return f"x {format_value(effect.value)}" if effect.kind == "ratio" else _signed(effect.value)


def _limits_text(effect: Effect | None) -> str:
    if effect is None or effect.low is None or effect.high is None:
        return ""
    if effect.kind == "ratio":
        return f"{format_value(effect.low)}..{format_value(effect.high)}"
    return f"{effect.low:+.2g}..{effect.high:+.2g}"


def _signed(value: float) -> str:
    return f"+{format_value(value)}" if value > 0 else format_value(value)


def _p_text(p_value: float | None) -> str:
    if p_value is None:
        return "-"
    if p_value >= 0.001:
        return f"{p_value:.3f}"
    return "<1e-99" if p_value < 1e-99 else f"{p_value:.0e}"


def _values(values: Sequence[object]) -> str:
    return "; ".join(str(value) for value in values) if values else "-"

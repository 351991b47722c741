"""The page of a comparison: what was asked differently, where it ran differently, which figures differ for certain.

Covers: two runs, or two sets of runs of one experiment each. Does not cover: the comparison
(:mod:`caligo.store.comparing.comparison`), which this page repeats and plots.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from caligo.reports.figures import exact, figure, number
from caligo.reports.metric_facts import metric_label, metric_unit
from caligo.reports.model import Axis, Column, Fact, PageModel, Plot, Reference, Section, Series, Table
from caligo.reports.run_plots import latency_edges, latency_series
from caligo.statistics import Samples
from caligo.store import Run
from caligo.store.comparing.comparison import Change, Comparison, MetricChange, Side, compare_runs
from caligo.store.comparing.metrics import Metric

_MOST_NAMED = 8
_MOST_DISTRIBUTIONS = 4
_MOST_ROWS = 200
_MOST_IN_PLOT = 24


def comparison_page(a: Run | Sequence[Run], b: Run | Sequence[Run], *, written_at: str = "") -> PageModel:
    """All that tells two runs apart, or two sets of runs.

    Args:
        a: one side, by custom the older one.
        b: the other.
        written_at: when the page was made, as UTC text; empty leaves it out.

    Returns:
        The page.

    Raises:
        ConfigError: a side is empty, or its runs are of several experiments.
        StoreError: a record file cannot be read.
    """
    comparison = compare_runs(a, b)
    sections = (
        Section("cautions", "What to keep in mind", tuple(_cautions(comparison))),
        Section(
            "metrics",
            "Figures",
            plots=tuple(filter(None, [_ratios(comparison), _rates(comparison)])),
            tables=tuple(filter(None, [_metrics(comparison)])),
        ),
        Section("distributions", "Distributions", plots=tuple(_distributions(comparison))),
        Section(
            "configuration",
            "Configuration",
            () if comparison.configuration else ("Both were asked the same.",),
            tables=tuple(filter(None, [_changes("configuration", "Asked differently", comparison.configuration)])),
        ),
        Section(
            "environment",
            "Environment",
            () if comparison.environment else ("Both had the same code, decoder and machine.",),
            tables=tuple(filter(None, [_changes("environment", "Not the same", comparison.environment)])),
        ),
    )
    return PageModel(
        kind="comparison",
        title="Comparison",
        subtitle=f"A: {_named(comparison.a)} – B: {_named(comparison.b)}",
        facts=tuple(_facts(comparison)),
        sections=tuple(section for section in sections if not section.is_empty),
        written_at=written_at,
    )


def _named(side: Side) -> str:
    return side.runs[0] if len(side.runs) == 1 else f"{number(len(side.runs))} runs from {side.runs[0]}"


def _facts(comparison: Comparison) -> Iterator[Fact]:
    for name, side in (("a", comparison.a), ("b", comparison.b)):
        shown = "; ".join(side.runs[:_MOST_NAMED])
        more = len(side.runs) - _MOST_NAMED
        states = ", ".join(f"{number(count)} {state}" for state, count in side.states)
        note = f"{side.kind}; {states}" + (f"; {number(more)} more runs" if more > 0 else "")
        yield Fact(name, name.upper(), shown, note=note)
    verdicts: dict[str, list[str]] = {}
    for change in comparison.metrics:
        verdicts.setdefault(change.verdict.value, []).append(metric_label(change.name))
    for verdict in ("worse", "better", "different"):
        if verdict in verdicts:
            yield Fact(verdict, f"B is {verdict}", ", ".join(verdicts[verdict][:20]))
    if not any(verdict in verdicts for verdict in ("worse", "better", "different")):
        yield Fact("difference", "Difference", "none shown")
    yield Fact("same_experiment", "The same experiment", comparison.same_experiment, note=_difference(comparison))
    yield Fact("timings_comparable", "Times comparable", not comparison.obstacles, note="; ".join(comparison.obstacles))


def _difference(comparison: Comparison) -> str:
    keys = comparison.differing_keys
    if not keys:
        return ""
    more = len(keys) - _MOST_NAMED
    return "they differ in " + ", ".join(keys[:_MOST_NAMED]) + (f" and {number(more)} more" if more > 0 else "")


def _cautions(comparison: Comparison) -> Iterator[str]:
    for caution in comparison.cautions:
        yield caution[:1].upper() + caution[1:] + "."


# --- tables -----------------------------------------------------------------------------------------------------------


def _metrics(comparison: Comparison) -> Table | None:
    if not comparison.metrics:
        return None
    shown = comparison.metrics[:_MOST_ROWS]
    return Table(
        "metrics",
        "Figures of both sides, with 95 % intervals; p adjusted for the number of tests (Holm)",
        (
            Column("metric", "Figure"),
            Column("verdict", "B is"),
            Column("a", "A"),
            Column("a_interval", "interval"),
            Column("b", "B"),
            Column("b_interval", "interval"),
            Column("effect", "B against A"),
            Column("p_adjusted", "p"),
            Column("test", "Test"),
        ),
        tuple(_metric_row(change) for change in shown),
        len(comparison.metrics) - len(shown),
    )


def _metric_row(change: MetricChange) -> tuple[str | float | None, ...]:
    return (
        metric_label(change.name),
        change.verdict.value,
        _value(change.a),
        _interval(change.a),
        _value(change.b),
        _interval(change.b),
        _effect(change),
        change.p_adjusted,
        change.test or None,
    )


def _value(metric: Metric | None) -> str | None:
    return None if metric is None else figure(metric.value, metric_unit(metric))


def _interval(metric: Metric | None) -> str | None:
    if metric is None or metric.low is None or metric.high is None:
        return None
    unit = metric_unit(metric)
    return f"{figure(metric.low, unit)} to {figure(metric.high, unit)}"


def _effect(change: MetricChange) -> str | None:
    effect = change.effect
    if effect is None:
        return None
    prefix = "×" if effect.kind == "ratio" else ""
    sign = "+" if effect.kind == "difference" and effect.value > 0 else ""
    text = f"{prefix}{sign}{figure(effect.value)}"
    if effect.low is None or effect.high is None:
        return text
    return f"{text} ({figure(effect.low)} to {figure(effect.high)})"


def _changes(name: str, caption: str, changes: Sequence[Change]) -> Table | None:
    if not changes:
        return None
    shown = changes[:_MOST_ROWS]
    columns = [Column("key", "Name", code=True), Column("a", "A", as_given=True), Column("b", "B", as_given=True)]
    rows = [
        (change.key, *("; ".join(map(exact, values)) or None for values in (change.a, change.b))) for change in shown
    ]
    if name == "configuration":
        columns.append(Column("defines", "Part of the experiment's identity"))
        return Table(
            name,
            caption,
            tuple(columns),
            tuple((*row, change.defines) for row, change in zip(rows, shown, strict=True)),
            len(changes) - len(shown),
        )
    return Table(name, caption, tuple(columns), tuple(rows), len(changes) - len(shown))


# --- plots ------------------------------------------------------------------------------------------------------------


def _ratios(comparison: Comparison) -> Plot | None:
    """B over A of every figure that has a ratio, with its interval: a forest plot."""
    found = [
        (change, effect)
        for change in comparison.metrics
        if (effect := change.effect) is not None and effect.kind == "ratio" and effect.value > 0
    ][:_MOST_IN_PLOT]
    if not found:
        return None
    told = "; ".join(f"{metric_label(change.name)} ×{figure(effect.value)}" for change, effect in found)
    return Plot(
        name="ratios",
        title="B over A",
        description=f"Ratio of each figure, with its 95 % interval where there is one; 1 is no change: {told}.",
        x=Axis("B over A", "", "log"),
        y=Axis("", categories=tuple(metric_label(change.name) for change, _ in found)),
        series=(
            Series(
                "B over A",
                "intervals",
                tuple(effect.value for _, effect in found),
                tuple(float(index) for index in range(len(found))),
                tuple(effect.value if effect.low is None else effect.low for _, effect in found),
                tuple(effect.value if effect.high is None else effect.high for _, effect in found),
            ),
        ),
        references=(Reference("no change", 1.0, "x"),),
    )


def _rates(comparison: Comparison) -> Plot | None:
    """Rates of both sides with their intervals."""
    found = [
        change
        for change in comparison.metrics
        if any(metric is not None and metric.proportion is not None for metric in (change.a, change.b))
    ][:_MOST_IN_PLOT]
    if not found:
        return None
    series, told = [], []
    for name, metrics in (("A", [change.a for change in found]), ("B", [change.b for change in found])):
        known = [
            (float(place), metric) for place, metric in enumerate(metrics) if metric is not None and metric.proportion
        ]
        if not known:
            continue
        series.append(
            Series(
                name,
                "intervals",
                tuple(metric.value for _, metric in known),
                tuple(place for place, _ in known),
                tuple(metric.low or 0.0 for _, metric in known),
                tuple(1.0 if metric.high is None else metric.high for _, metric in known),
            )
        )
        told += [f"{metric_label(metric.name)} of {name} {figure(metric.value, 'share')}" for _, metric in known]
    return Plot(
        name="rates",
        title="Failure rates",
        description=f"With 95 % Clopper-Pearson intervals: {'; '.join(told)}.",
        x=Axis("share of the blocks", "share", "log"),
        y=Axis("", categories=tuple(metric_label(change.name) for change in found)),
        series=tuple(series),
    )


def _distributions(comparison: Comparison) -> Iterator[Plot]:
    found = 0
    for change in comparison.metrics:
        pair = [(name, metric.samples) for name, metric in (("A", change.a), ("B", change.b)) if metric is not None]
        samples = [(name, each) for name, each in pair if each is not None and each.count >= 8]
        if len(samples) < 2 or found >= _MOST_DISTRIBUTIONS:
            continue
        found += 1
        edges = latency_edges(each for _, each in samples)
        series = [drawn for name, each in samples if (drawn := latency_series(name, each, edges)) is not None]
        if not series:
            continue
        yield Plot(
            name=f"distribution-{found}",
            title=metric_label(change.name),
            description="; ".join(_told(name, each) for name, each in samples) + ".",
            x=Axis("time", "ns", "log"),
            y=Axis("share of the samples", "share"),
            series=tuple(series),
        )


def _told(name: str, samples: Samples) -> str:
    middle, late = samples.quantile(0.5), samples.quantile(0.99)
    return f"{name}: {number(samples.count)} samples, median {figure(middle, 'ns')}, 99 % within {figure(late, 'ns')}"

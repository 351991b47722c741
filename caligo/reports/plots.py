"""Plots as SVG that belongs to its page: the page's colours, classes for styles, text that can be read and found.

Covers: drawing a :class:`~caligo.reports.model.Plot` with Matplotlib, without a display or a canvas of pixels, and
making the result part of an HTML page. Does not cover: what is plotted.

Matplotlib draws in colours that stand for roles; they become CSS variables, so that one drawing serves a light screen,
a dark one and paper. Style attributes become classes of the page's style sheet, so that the page needs no inline style.
The same plot gives the same bytes: identifiers are hashes with a fixed salt, and there is no date.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from caligo.errors import ResourceError
from caligo.reports.date_ticks import date_ticks, widened
from caligo.reports.figures import axis_labels, axis_scale, power_of_two, shown
from caligo.reports.model import Axis, Plot, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 4.2
"""Width of a plot at a scale of one: 302 points, about as many pixels as a phone has room for."""

_HEIGHT_IN = 2.8
_X_MARGIN = 0.05
_LONGEST_NAME, _LONGEST_LEGEND = 22, 40
_INK, _FAINT, _PAPER = "#010101", "#020202", "#030303"
_SERIES = ("#040101", "#040202", "#040303", "#040404", "#040505", "#040606", "#040707")
_ROLES = {_INK: "ink", _FAINT: "line", _PAPER: "paper"} | {color: f"s{index}" for index, color in enumerate(_SERIES)}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (3, 1)), (0, (8, 2)), (0, (1, 3)))

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.7,
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "caligo.report",
    "path.simplify": False,
    "axes.unicode_minus": True,
    "axes.ymargin": 0.08,
}


@dataclass
class StyleSheet:
    """Styles of the drawings of one page, each under a short class name, in order of first use."""

    classes: dict[str, str] = field(default_factory=dict)

    def name(self, style: str) -> str:
        """The class of a style."""
        return self.classes.setdefault(style, f"p{len(self.classes)}")

    def css(self) -> str:
        """The rules."""
        return "\n".join(f".{name}{{{style}}}" for style, name in self.classes.items())


def draw(plot: Plot, sheet: StyleSheet) -> str:
    """An `svg` element to stand in HTML.

    Args:
        plot: what is drawn.
        sheet: receives the styles, which the page has to carry.

    Raises:
        ResourceError: Matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ResourceError(
            "expected Matplotlib to draw the plots of an HTML page, it is not installed; install it with "
            "`pip install 'caligo[report]'`, or write the other forms with --format md or --format json",
            module="matplotlib",
        ) from error
    out = io.StringIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        rows = len(plot.y.categories)
        figure = Figure(figsize=(WIDTH_IN, _height(plot, rows)), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        _draw_on(axes, plot)
        _legend(figure, axes)
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _as_part_of_a_page(out.getvalue(), plot, sheet)


def _height(plot: Plot, rows: int) -> float:
    return _HEIGHT_IN if not rows else 1.1 + 0.24 * max(rows, 2) + 0.2 * math.ceil(len(plot.series) / 2)


def _draw_on(axes: Axes, plot: Plot) -> None:
    if plot.x.scale != "linear":
        axes.set_xscale("log")
    if plot.y.scale != "linear":
        axes.set_yscale("log")
    left: list[float] = [0.0] * len(plot.y.categories)
    for index, series in enumerate(plot.series):
        _STYLES[series.style](axes, series, index, plot, left)
    for index, reference in enumerate(plot.references):
        line = axes.axvline if reference.axis == "x" else axes.axhline
        line(
            reference.at,
            color=_SERIES[(len(plot.series) + index) % len(_SERIES)],
            linestyle=_DASHES[1 + index % 3],
            linewidth=1.4,
            label=_shortened(reference.label, _LONGEST_LEGEND),
        )
    if plot.y.categories:
        axes.set_ylim(len(plot.y.categories) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
    if plot.x.unit == "date":
        axes.set_xlim(*_date_limits(plot))
    _ticks(axes.xaxis, plot.x, axes.get_xlim())
    _ticks(axes.yaxis, plot.y, axes.get_ylim())


def _date_limits(plot: Plot) -> tuple[float, float]:
    """All that is drawn, with a margin; Matplotlib's own shows years where all runs begin in one second."""
    days = [day for series in plot.series for day in series.x]
    low, high = widened(min(days), max(days))
    margin = _X_MARGIN * (high - low)
    return low - margin, high + margin


def _ticks(axis: Any, meant: Axis, limits: tuple[float, float]) -> None:
    from matplotlib.ticker import (
        FixedFormatter,
        FixedLocator,
        FuncFormatter,
        LogLocator,
        MaxNLocator,
        NullFormatter,
        NullLocator,
    )

    label = shown(meant.label)
    if meant.categories:
        axis.set_major_locator(FixedLocator(range(len(meant.categories))))
        names = [_shortened(name) for name in meant.categories]
        axis.set_major_formatter(FuncFormatter(lambda at, _: names[round(at)] if 0 <= round(at) < len(names) else ""))
        axis.set_tick_params(length=0)
    elif meant.unit == "date":
        dates = date_ticks(*limits)
        axis.set_major_locator(FixedLocator(dates.places))
        axis.set_major_formatter(FixedFormatter(dates.labels))
        label = f"{label}, {dates.common}" if dates.common else label
    elif meant.scale == "linear":
        divisor, unit = axis_scale(meant.unit, max(abs(limit) for limit in limits))
        whole = meant.unit == "count"
        steps = [1, 2, 5, 10] if whole else [1, 2, 2.5, 5, 10]
        locator = MaxNLocator(nbins=5, steps=steps, integer=whole, min_n_ticks=1 if whole else 2)
        axis.set_major_locator(_scaled_locator(locator, divisor))
        axis.set_major_formatter(_formatter(divisor))
        label = f"{label} ({unit})" if unit and label else label or unit
    elif meant.scale == "log2":
        axis.set_major_locator(LogLocator(base=2, numticks=7))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda at, _: power_of_two(at)))
    else:
        decades = math.log10(limits[1] / limits[0]) if min(limits) > 0 else 1.0
        unit = meant.unit
        if decades < 0.7:
            axis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
        else:
            axis.set_major_locator(LogLocator(base=10, subs=(1.0,) if decades > 2 else (1.0, 2.0, 5.0), numticks=12))
        axis.set_minor_formatter(NullFormatter())
        own = unit in ("bytes", "s", "ns", "share")
        axis.set_major_formatter(_formatter(1.0, unit if own else ""))
        label = f"{label} ({unit})" if unit and not own else label
    axis.set_label_text(label)


def _formatter(divisor: float, unit: str = "") -> Any:
    """Writes all ticks of an axis together, so that no two look the same."""
    from matplotlib.ticker import Formatter

    class Together(Formatter):
        def __call__(self, at: float, pos: int | None = None) -> str:
            return self.format_ticks([at])[0]

        def format_ticks(self, values: Any) -> list[str]:
            return axis_labels([float(f"{value / divisor:.9g}") for value in values], unit)

    return Together()


def _scaled_locator(locator: Any, divisor: float) -> Any:
    """A locator whose ticks are round in the unit that is shown."""
    from matplotlib.ticker import Locator

    class Scaled(Locator):
        def __call__(self) -> Any:
            low, high = self.axis.get_view_interval()  # type: ignore[union-attr]
            return self.tick_values(low, high)

        def tick_values(self, low: float, high: float) -> Any:
            return locator.tick_values(low / divisor, high / divisor) * divisor

    return Scaled()


def _shortened(name: str, most: int = _LONGEST_NAME) -> str:
    text = shown(name)
    return text if len(text) <= most else text[: most - 1] + "…"


# --- one function a style ---------------------------------------------------------------------------------------------


def _line(axes: Axes, series: Series, index: int, plot: Plot, left: list[float]) -> None:
    color = _SERIES[index % len(_SERIES)]
    if series.low and series.high:
        axes.fill_between(series.x, series.low, series.high, color=color, alpha=0.18, linewidth=0)
    axes.plot(
        series.x, series.y, color=color, linestyle=_DASHES[index % len(_DASHES)], linewidth=1.5,
        label=_shortened(series.label, _LONGEST_LEGEND),
    )  # fmt: skip


def _points(axes: Axes, series: Series, index: int, plot: Plot, left: list[float]) -> None:
    color = _SERIES[index % len(_SERIES)]
    if series.low and series.high:
        axes.vlines(series.x, series.low, series.high, color=color, linewidth=1.2)
    axes.plot(
        series.x, series.y, color=color, linestyle="none", marker=_MARKERS[index % len(_MARKERS)],
        markersize=5.5 if len(series.x) < 60 else 2.5, label=_shortened(series.label, _LONGEST_LEGEND),
    )  # fmt: skip


def _steps(axes: Axes, series: Series, index: int, plot: Plot, left: list[float]) -> None:
    color = _SERIES[index % len(_SERIES)]
    axes.fill_between(series.x, series.y, step="post", color=color, alpha=0.22, linewidth=0)
    axes.plot(
        series.x, series.y, drawstyle="steps-post", color=color, linestyle=_DASHES[index % len(_DASHES)],
        linewidth=1.3, label=_shortened(series.label, _LONGEST_LEGEND),
    )  # fmt: skip


def _bars(axes: Axes, series: Series, index: int, plot: Plot, left: list[float]) -> None:
    count = sum(1 for each in plot.series if each.style == "bars")
    thickness = 0.72 / count
    places = [at - 0.36 + thickness * (index + 0.5) for at in series.y]
    axes.barh(
        places,
        series.x,
        height=thickness * 0.92,
        color=_SERIES[index % len(_SERIES)],
        label=_shortened(series.label, _LONGEST_LEGEND),
    )


def _stack(axes: Axes, series: Series, index: int, plot: Plot, left: list[float]) -> None:
    starts = [left[round(at)] for at in series.y]
    axes.barh(
        series.y, series.x, left=starts, height=0.72, color=_SERIES[index % len(_SERIES)], edgecolor=_PAPER,
        linewidth=0.4, label=_shortened(series.label, _LONGEST_LEGEND),
    )  # fmt: skip
    for at, length in zip(series.y, series.x, strict=True):
        left[round(at)] += length


def _intervals(axes: Axes, series: Series, index: int, plot: Plot, left: list[float]) -> None:
    color = _SERIES[index % len(_SERIES)]
    several = sum(1 for each in plot.series if each.style == "intervals")
    shift = 0.0 if several == 1 else (index - (several - 1) / 2.0) * 0.5 / several
    floor = 0.0
    if plot.x.scale == "log":
        everything = [value for each in plot.series for value in (*each.x, *each.low, *each.high) if value > 0]
        everything += [reference.at for reference in plot.references if reference.at > 0]
        floor = min(everything, default=1e-3) / 5.0
        top = max(everything, default=1.0) * 2.0
        axes.set_xlim(floor, min(top, 1.0) if plot.x.unit == "share" else top)
    bounded = [(max(value, floor), max(low, floor), high, at + shift) for value, low, high, at in zip(
        series.x, series.low, series.high, series.y, strict=True)]  # fmt: skip
    axes.hlines(
        [at for *_, at in bounded], [low for _, low, *_ in bounded], [high for _, _, high, _ in bounded],
        color=color, linewidth=1.8,
    )  # fmt: skip
    axes.plot([high for _, _, high, _ in bounded], [at for *_, at in bounded], "|", color=color, markersize=8)
    seen = [(value, at) for (value, *_, at), given in zip(bounded, series.x, strict=True) if given > floor]
    axes.plot(
        [value for value, _ in seen], [at for _, at in seen], linestyle="none", color=color,
        marker=_MARKERS[index % len(_MARKERS)], markersize=6, label=_shortened(series.label, _LONGEST_LEGEND),
    )  # fmt: skip


_STYLES: dict[str, Callable[[Axes, Series, int, Plot, list[float]], None]] = {
    "line": _line, "points": _points, "steps": _steps, "bars": _bars, "stack": _stack, "intervals": _intervals,
}  # fmt: skip


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) < 2:
        return
    columns = 1 if max(map(len, labels)) > 26 else 2 if max(map(len, labels)) > 14 else 3
    figure.legend(handles, labels, loc="outside upper left", ncols=min(columns, len(labels)), handlelength=2.0)


# --- from Matplotlib's file to a part of a page -----------------------------------------------------------------------


def _as_part_of_a_page(svg: str, plot: Plot, sheet: StyleSheet) -> str:
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<style [^>]*>.*?</style>", "", body, flags=re.DOTALL)
    for color, role in _ROLES.items():
        body = body.replace(color, f"var(--{role})")
    body = body.replace("'DejaVu Sans'", "sans-serif")
    body = re.sub(r' style="([^"]*)"', lambda match: f' class="{sheet.name(_style(match[1]))}"', body)
    prefix = plot.name
    body = re.sub(r' id="([^"]*)"', lambda match: f' id="{prefix}-{match[1]}"', body)
    body = re.sub(r'(xlink:href="#|url\(#)', lambda match: f"{match[1]}{prefix}-", body)
    head, _, rest = body.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    opening = f'<svg role="img" aria-labelledby="{prefix}-title" {box[0] if box else ""} focusable="false"'
    return re.sub(r"\n\s*", "\n", f"{opening}>{rest}").strip()


def _style(style: str) -> str:
    return re.sub(r"\s*([;:])\s*", r"\1", style.strip()).rstrip(";")


def draw_all(plots: Iterable[Plot]) -> tuple[dict[str, str], str]:
    """All plots of a page.

    Args:
        plots: with names of their own.

    Returns:
        The `svg` element of each by name, and the rules that the page's style sheet has to carry.

    Raises:
        ResourceError: Matplotlib is not installed.
    """
    sheet = StyleSheet()
    drawn = {plot.name: draw(plot, sheet) for plot in plots}
    return drawn, sheet.css()

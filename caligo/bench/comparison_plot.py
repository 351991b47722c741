"""The picture of a comparison of strategies: efficiency against rounds.

Covers: the plot. Does not cover: the figures (:mod:`.comparison`).

Few rounds are to the left, little disclosure is below. A mark is the mean of the blocks, the line to its right ends at
the block that took the most rounds. The rounds are on an axis that is linear up to one and logarithmic from there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from caligo.bench.comparison import ComparedStrategy, StrategyComparison
from caligo.bench.sweep import require_plot
from caligo.errors import ResourceError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_comparison"]

_COLORS = ("#4c78a8", "#72b7b2", "#54a24b", "#e45756", "#b279a2", "#9d755d")
_MARKS = ("o", "s", "^", "D")
_YARDSTICK_COLOR = "#888888"


def plot_comparison(comparison: StrategyComparison, path: Path) -> None:
    """Draw efficiency against rounds, with the limits of one-way reconciliation.

    Args:
        comparison: what :func:`caligo.bench.compare_strategies` found.
        path: the file to write; its suffix names the format, such as `.svg` or `.png`.

    Raises:
        ResourceError: Matplotlib is not installed (the extra `plot`), or the file cannot be written.
        ConfigError: the suffix is no format Matplotlib can write.
    """
    kind = require_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xscale("symlog", linthresh=1.0, linscale=0.6)
    drawn = [row for row in comparison.strategies if row.efficiency is not None]
    families = list(dict.fromkeys(_family(row) for row in drawn))
    for number, family in enumerate(families):
        _draw(axes, [row for row in drawn if _family(row) == family], number)
    limit = comparison.one_way_limit
    if limit is not None:
        axes.axhline(limit, color="#444444", linestyle="--", linewidth=1.2, label=f"best one-way code: {limit:.3f}")
    axes.axhline(1.0, color="#444444", linewidth=1.2, label="Shannon's limit: 1")
    most = max((row.rounds_max for row in drawn), default=0)
    axes.set_xlim(-0.12, max(10.0, 1.6 * most))
    highest = max([limit or 1.0, *(row.efficiency or 1.0 for row in drawn)])
    axes.set_ylim(1.0 - 0.04 * (highest - 1.0), highest + 0.08 * (highest - 1.0) + 1e-3)
    ticks = [0, 1, *(tick for tick in (3, 10, 30, 100, 300, 1000, 3000) if tick <= 1.6 * max(most, 6))]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("rounds per block: how often Alice waits for an answer (mean; line to the most)")
    axes.set_ylabel("efficiency f (Alice's bits, check and tag included)")
    blocks = "1 block" if comparison.blocks == 1 else f"{comparison.blocks:,} blocks"
    title = f"{blocks} of {comparison.payload_length:,} bits, {comparison.true_qber:.2%} errors"
    axes.set_title(f"{title}, list size {comparison.list_size}", loc="left", fontsize=10)
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    try:
        figure.savefig(path, format=kind)
    except OSError as error:
        raise ResourceError(f"cannot write the plot: {error.strerror}; name another file", path=str(path)) from error


def _family(row: ComparedStrategy) -> str:
    """The wishes of a strategy belong together, and so do the variants of Cascade."""
    return "cascade" if row.yardstick else row.strategy.partition("/")[0]


def _draw(axes: Axes, rows: list[ComparedStrategy], number: int) -> None:
    """One family: a colour, a thin line through its marks."""
    yardstick = rows[0].yardstick
    color = _YARDSTICK_COLOR if yardstick else _COLORS[number % len(_COLORS)]
    means = [row.rounds_mean for row in rows]
    found = [row.efficiency or 0.0 for row in rows]
    axes.plot(means, found, color=color, linewidth=0.8, linestyle=":")
    for place, (row, mean, f) in enumerate(zip(rows, means, found, strict=True)):
        axes.plot([mean, row.rounds_max], [f, f], color=color, linewidth=1.2)
        axes.plot(
            [mean],
            [f],
            marker=_MARKS[(place if len(rows) > 1 else number) % len(_MARKS)],
            markersize=11 if number == 0 else 7,  # a mark on top of the first one leaves its rim
            linestyle="none",
            color=color,
            markerfacecolor="white" if yardstick else color,
            label=f"{row.strategy}: {f:.3f}",
            clip_on=False,
        )

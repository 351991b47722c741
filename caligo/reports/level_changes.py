"""Where figures of an experiment that was repeated changed their level: one plot each, and a table of the changes.

Covers: the most repeated experiments of a store, each on one machine. Does not cover: finding the changes
(:mod:`caligo.store.comparing.change_points`), experiments that were repeated too few times to show one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from caligo.errors import ResourceError
from caligo.reports.figures import Scalar, figure, number
from caligo.reports.model import Axis, Column, Plot, Section, Series, Table
from caligo.reports.naming import described
from caligo.statistics import Samples
from caligo.store.comparing.change_points import LEAST_RUNS, ChangePoint, find_change_points

_MOST_EXPERIMENTS = 4
_MOST_RUNS = 400
_FIGURES = (("payload_mbps", "payload throughput", "Mbit/s"), ("fer", "frame error rate", ""))

Row = Mapping[str, Scalar]


def level_changes(timed: Sequence[tuple[float, Row]]) -> Section:
    """The history of the most repeated experiments.

    Args:
        timed: when each run began, in days since 1970, and its row; oldest first.
    """
    title = "History of repeated experiments"
    groups: dict[tuple[str, str], list[tuple[float, Row]]] = {}
    for days, row in timed:
        if row.get("state") == "sealed" and row.get("identity"):
            key = str(row["identity"]), str(row.get("machine.fingerprint", ""))
            groups.setdefault(key, []).append((days, row))
    chosen = [key for key in groups if len(groups[key]) >= LEAST_RUNS]
    chosen.sort(key=lambda key: (-len(groups[key]), key))
    plots: list[Plot] = []
    changes: list[tuple[Scalar, ...]] = []
    try:
        for experiment in chosen[:_MOST_EXPERIMENTS]:
            for name, label, unit in _FIGURES:
                _add(plots, changes, groups[experiment], experiment[0], name, label, unit)
    except ResourceError as error:
        return Section("history", title, (f"Changes of level are not looked for: {error.message}.",))
    if not plots:
        return Section("history", title)
    table = Table(
        "level-changes",
        "Changes of level, the first run of each new level",
        (
            Column("experiment", "Experiment", code=True),
            Column("figure", "Figure"),
            Column("run", "Run", code=True),
            Column("before", "Median before"),
            Column("after", "Median after"),
            Column("p_value", "p"),
        ),
        tuple(changes),
    )
    paragraphs = () if changes else ("No change of level was found.",)
    return Section("history", title, paragraphs, plots=tuple(plots), tables=(table,) if changes else ())


def _add(
    plots: list[Plot],
    changes: list[tuple[Scalar, ...]],
    runs: Sequence[tuple[float, Row]],
    identity: str,
    name: str,
    label: str,
    unit: str,
) -> None:
    known = [(days, float(row[name] or 0.0), str(row["run"])) for days, row in runs if _is_number(row.get(name))]
    known = known[-_MOST_RUNS:]
    values = [value for _, value, _ in known]
    if len(known) < LEAST_RUNS or len(set(values)) < 2:
        return
    found: list[ChangePoint] = find_change_points(values)
    edges = [0, *(point.index for point in found), len(known)]
    levels = [Samples(values[begin:end]).median or 0.0 for begin, end in pairwise(edges)]
    told = []
    for place, point in enumerate(found):
        before, after = figure(levels[place], unit), figure(levels[place + 1], unit)
        told.append(f"from {before} to {after} with run {known[point.index][2]}")
        changes.append((identity[:16], label, known[point.index][2], before, after, point.p_value))
    x, y = [], []
    for level, (begin, end) in zip(levels, pairwise(edges), strict=True):
        x += [known[begin][0], known[end - 1][0]]
        y += [level, level]
    plots.append(
        Plot(
            name=f"history-{identity[:12]}-{name.replace('_', '-')}-{len(plots)}",
            title=f"{label[:1].upper()}{label[1:]} of {identity[:8]}",
            description=(
                f"{described(runs[-1][1])}: {number(len(known))} runs on one machine"
                + (f"; the level changes {'; '.join(told)}." if told else "; no change of level was found.")
            ),
            x=Axis("begun (UTC)", "date"),
            y=Axis(label, unit),
            series=(
                Series("a run", "points", tuple(days for days, _, _ in known), tuple(values)),
                Series("level", "line", tuple(x), tuple(y)),
            ),
        )
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

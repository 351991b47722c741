"""The page of a store, or of the runs in it that meet a condition: what was run, how it went, what needs looking after.

Covers: any number of runs, summed up; the newest ones in a table. Does not cover: what the ledgers say
(:mod:`caligo.reports.ledger_history`); single runs and their records (:mod:`caligo.reports.runs`).

The page is made of the store's index and ledgers; no record is read. With 10^5 runs it is as long as with a hundred.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from caligo.reports.figures import Scalar, figure, number
from caligo.reports.ledger_history import LedgerHistory, read_ledgers, validation_section, where_ledgers_stand
from caligo.reports.level_changes import level_changes
from caligo.reports.model import Axis, Column, Fact, PageModel, Plot, Section, Series, Table
from caligo.reports.naming import DESCRIBING_NAMES, described
from caligo.statistics import Samples
from caligo.store.indexing.conditions import resolve_filter
from caligo.store.indexing.index import open_index
from caligo.store.indexing.query import parse_filter

_NAMES = (
    "run", "id", "kind", "identity", "campaign", "state", "standing", "started_at", "elapsed_s", "records",
    "fer", "efficiency", "payload_mbps", "coded_mbps", "code.commit", "machine.fingerprint",
    *DESCRIBING_NAMES[1:],
)  # fmt: skip
_MOST_RECENT = 50
_MOST_GROUPS = 20
_MOST_KINDS = 6
_MOST_POINTS = 400
_BINS = 60
_DAY_S = 86400.0

Row = Mapping[str, Scalar]


def store_page(
    store: str | os.PathLike[str], *, where: str = "", written_at: str = "", url: str | None = None
) -> PageModel:
    """What a store holds, or the runs in it that meet a condition.

    Args:
        store: its directory.
        where: a condition as of :mod:`caligo.store.indexing.query`; empty takes every run. Runs that were set aside
            (quarantined, rejected, replaced) are counted too.
        written_at: when the page was made, as UTC text; empty leaves it out.
        url: index to ask, as of :class:`caligo.store.indexing.index.Index`.

    Returns:
        The page.

    Raises:
        ConfigError: the condition is wrong, or names what no run has.
        StoreError: the store cannot be read.
    """
    place = Path(store)
    condition = parse_filter(where)
    with open_index(place, url) as index:
        index.refresh()
        resolved = resolve_filter(condition, index.names(), where)
        rows: Sequence[Row] = index.rows(_NAMES, resolved, include_set_aside=True)
    histories = read_ledgers(place)
    sections = (
        Section("runs", "Runs", plots=tuple(_runs_plots(rows)), tables=tuple(_groups(rows))),
        Section("figures", "Figures over time", plots=tuple(_figure_plots(rows))),
        level_changes(_timed(rows)),
        Section("attention", "Runs that need looking after", tables=tuple(filter(None, [_attention(rows)]))),
        validation_section(histories),
        where_ledgers_stand(histories),
        Section("recent", "Newest runs", tables=tuple(filter(None, [_recent(rows)]))),
    )
    return PageModel(
        kind="store",
        title=f"Store {place.absolute().name}",
        subtitle=f"{number(len(rows))} runs" + (f" where {where.strip()}" if where.strip() else ""),
        facts=tuple(_facts(rows, histories)),
        sections=tuple(section for section in sections if not section.is_empty),
        written_at=written_at,
    )


def _facts(rows: Sequence[Row], histories: Sequence[LedgerHistory]) -> Iterator[Fact]:
    yield Fact("runs", "Runs", len(rows), note=_told(Counter(str(row.get("state", "unknown")) for row in rows)))
    standings = Counter(str(row["standing"]) for row in rows if row.get("standing") not in (None, "none"))
    if standings:
        yield Fact("standings", "Judged by the ledger", standings.total(), note=_told(standings))
    started = [str(row["started_at"]) for row in rows if row.get("started_at")]
    if started:
        yield Fact("first", "First run", min(started))
        yield Fact("last", "Last run", max(started))
    total_s = sum(value for row in rows if (value := _number(row.get("elapsed_s"))) is not None)
    if total_s:
        yield Fact("elapsed_s", "Time of all runs", total_s, "s")
    records = sum(int(value) for row in rows if (value := _number(row.get("records"))) is not None)
    if records:
        yield Fact("records", "Records", records)
    for name, label in (("identity", "Experiments"), ("campaign", "Campaigns"), ("machine.fingerprint", "Machines")):
        count = len({row[name] for row in rows if row.get(name)})
        if count:
            yield Fact(name, label, count)
    if histories:
        yield Fact("ledger_entries", "Ledger entries", sum(history.size for history in histories))


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{number(count)} {name}" for name, count in sorted(counts.items(), key=lambda i: (-i[1], i[0])))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _days(row: Row) -> float | None:
    """When a run began, in days since 1970."""
    try:
        moment = datetime.fromisoformat(str(row.get("started_at")))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() / _DAY_S


def _timed(rows: Sequence[Row]) -> list[tuple[float, Row]]:
    return [(days, row) for row in rows if (days := _days(row)) is not None]


# --- plots ------------------------------------------------------------------------------------------------------------


def _runs_plots(rows: Sequence[Row]) -> Iterator[Plot]:
    timed = _timed(rows)
    if len(timed) < 2:
        return
    first, last = min(days for days, _ in timed), max(days for days, _ in timed)
    if last <= first:
        return
    for name, title, key in (
        ("runs-by-kind", "Runs by kind", "kind"),
        ("runs-by-state", "Runs by state", "state"),
    ):
        groups = Counter(str(row.get(key, "unknown")) for _, row in timed)
        chosen = [group for group, _ in sorted(groups.items(), key=lambda item: (-item[1], item[0]))[:_MOST_KINDS]]
        if key == "state" and len(chosen) < 2:
            continue
        series = []
        for group in chosen:
            counts = [0] * _BINS
            for days, row in timed:
                if str(row.get(key, "unknown")) == group:
                    counts[min(_BINS - 1, int((days - first) / (last - first) * _BINS))] += 1
            edges = [first + (last - first) * step / _BINS for step in range(_BINS + 1)]
            series.append(Series(group, "steps", tuple(edges), (*map(float, counts), float(counts[-1]))))
        yield Plot(
            name=name,
            title=title,
            description=f"Runs begun in each of {_BINS} intervals: {_told(groups)}.",
            x=Axis("begun (UTC)", "date"),
            y=Axis("runs", "count"),
            series=tuple(series),
        )


def _figure_plots(rows: Sequence[Row]) -> Iterator[Plot]:
    for name, title, unit, scale in (
        ("payload_mbps", "Payload throughput", "Mbit/s", "log"),
        ("fer", "Frame error rate", "", "log"),
        ("efficiency", "Efficiency f", "", "linear"),
    ):
        points: dict[str, list[tuple[float, float]]] = {}
        zeros = 0
        for row in rows:
            value, days = _number(row.get(name)), _days(row)
            if value is None or days is None:
                continue
            if value <= 0.0 and scale == "log":
                zeros += 1
                continue
            points.setdefault(str(row.get("kind", "unknown")), []).append((days, value))
        chosen = sorted(points, key=lambda kind: (-len(points[kind]), kind))[:_MOST_KINDS]
        if sum(len(points[kind]) for kind in chosen) < 2:
            continue
        told = []
        for kind in chosen:
            samples = Samples([value for _, value in points[kind]])
            low, middle, high = (figure(samples.quantile(share), unit) for share in (0.25, 0.5, 0.75))
            told.append(
                f"{kind}: {number(samples.count)} runs, median {middle}, half of them from {low} to {high}"
                if samples.count > 1
                else f"{kind}: one run, {middle}"
            )
        if zeros:
            told.append("one run at 0 is not drawn" if zeros == 1 else f"{number(zeros)} runs at 0 are not drawn")
        yield Plot(
            name=f"history-{name.replace('_', '-')}",
            title=title,
            description="; ".join(told) + ".",
            x=Axis("begun (UTC)", "date"),
            y=Axis(title.lower() if name == "fer" else title, unit, "log" if scale == "log" else "linear"),
            series=tuple(_over_time(kind, sorted(points[kind])) for kind in chosen),
        )


def _over_time(label: str, points: Sequence[tuple[float, float]]) -> Series:
    """Each value, or where there are many the median and the quartiles of intervals of time."""
    if len(points) <= _MOST_POINTS or points[-1][0] <= points[0][0]:
        shown = points[-_MOST_POINTS:]
        return Series(label, "points", tuple(days for days, _ in shown), tuple(value for _, value in shown))
    first, last = points[0][0], points[-1][0]
    bins: dict[int, list[float]] = {}
    for days, value in points:
        bins.setdefault(min(_BINS - 1, int((days - first) / (last - first) * _BINS)), []).append(value)
    width = (last - first) / _BINS
    samples = [(first + (place + 0.5) * width, Samples(values)) for place, values in sorted(bins.items())]
    low, middle, high = (
        tuple(each.quantile(share) or 0.0 for _, each in samples) for share in (0.25, 0.5, 0.75)
    )  # fmt: skip
    return Series(label, "line", tuple(days for days, _ in samples), middle, low, high)


# --- tables -----------------------------------------------------------------------------------------------------------


def _groups(rows: Sequence[Row]) -> Iterator[Table]:
    for name, caption, label in (
        ("kind", "By kind", "Kind"),
        ("campaign", "By campaign", "Campaign"),
        ("identity", "Experiments that were repeated", "Experiment"),
    ):
        groups: dict[str, list[Row]] = {}
        for row in rows:
            if row.get(name) is not None:
                groups.setdefault(str(row[name]), []).append(row)
        if name == "identity":
            groups = {key: members for key, members in groups.items() if len(members) > 1}
        if not groups:
            continue
        chosen = sorted(groups, key=lambda key: (-len(groups[key]), key))[:_MOST_GROUPS]
        yield Table(
            f"by-{name}",
            caption,
            (
                Column(name, label, code=name == "identity"),
                *([Column("what", "What")] if name == "identity" else []),
                Column("runs", "Runs"),
                Column("sealed", "Sealed"),
                Column("first", "First"),
                Column("last", "Last"),
                Column("payload_mbps", "Median payload", "Mbit/s"),
                Column("fer", "Median FER"),
                Column("efficiency", "Median f"),
            ),
            tuple(_group_row(key, groups[key], name == "identity") for key in chosen),
            len(groups) - len(chosen),
        )


def _group_row(key: str, rows: Sequence[Row], is_experiment: bool) -> tuple[Scalar, ...]:
    named: tuple[Scalar, ...] = (key[:16], described(rows[-1])) if is_experiment else (key,)
    started = [str(row["started_at"])[:10] for row in rows if row.get("started_at")]
    medians = [
        Samples([value for row in rows if (value := _number(row.get(name))) is not None]).median
        for name in ("payload_mbps", "fer", "efficiency")
    ]
    sealed = sum(row.get("state") == "sealed" for row in rows)
    return *named, len(rows), sealed, min(started, default=None), max(started, default=None), *medians


def _attention(rows: Sequence[Row]) -> Table | None:
    wanted = [
        row
        for row in rows
        if row.get("state") in ("damaged", "interrupted") or row.get("standing") in ("quarantined", "rejected")
    ]
    if not wanted:
        return None
    shown = wanted[: -_MOST_RECENT - 1 : -1]
    return Table(
        "attention",
        "Damaged, interrupted, quarantined or rejected; the newest first",
        (
            Column("run", "Run", code=True),
            Column("kind", "Kind"),
            Column("state", "State"),
            Column("standing", "Standing"),
            Column("started_at", "Began"),
        ),
        tuple(tuple(row.get(name) for name in ("run", "kind", "state", "standing", "started_at")) for row in shown),
        len(wanted) - len(shown),
    )


def _recent(rows: Sequence[Row]) -> Table | None:
    if not rows:
        return None
    shown = list(rows)[: -_MOST_RECENT - 1 : -1]
    names: tuple[Any, ...] = ("run", "kind", "state", "elapsed_s", "fer", "efficiency", "payload_mbps", "coded_mbps")
    return Table(
        "recent",
        "The newest first",
        (
            Column("run", "Run", code=True),
            Column("kind", "Kind"),
            Column("state", "State"),
            Column("elapsed_s", "Took", "s"),
            Column("fer", "FER"),
            Column("efficiency", "f"),
            Column("payload_mbps", "Payload", "Mbit/s"),
            Column("coded_mbps", "Coded", "Mbit/s"),
        ),
        tuple(tuple(row.get(name) for name in names) for row in shown),
        len(rows) - len(shown),
    )

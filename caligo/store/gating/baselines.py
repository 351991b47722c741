"""Baselines: runs that were once declared good, by name, in the ledger.

Covers: declaring a baseline, finding the one that holds, the runs of it that may still be relied on. Does not cover:
comparing with it (:mod:`.gates`).

A baseline names its runs, as the filter selected them when it was set: runs that come later do not join it. To set a
name again replaces it; what was before stays in the ledger. Where ledgers were merged, the latest entry holds, by
(time, origin, index). A run that is quarantined, rejected, replaced or gone is left out when the baseline is used.

Content of the entry, of kind ``baseline``: ``name``, ``selector`` (the filter, null where runs were named), ``runs``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caligo.errors import ConfigError
from caligo.store import layout
from caligo.store.governing.governance import LedgerEntry, Standings, in_order, standing
from caligo.store.reader import State, find_run, load_run

__all__ = ["Baseline", "baseline_named", "baseline_runs", "baselines", "baselines_in", "set_baseline"]

MOST_RUNS = 4096
"""Runs of one baseline."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Baseline:
    """A baseline as it was declared.

    Attributes:
        name: 1 to 64 of ``A-Z a-z 0-9 _ . -``.
        selector: the filter that chose the runs; None where they were named one by one.
        runs: their names, oldest first.
        at: when it was declared, UTC text.
        origin: the ledger that says so.
        index: of its entry there.
    """

    name: str
    selector: str | None
    runs: tuple[str, ...]
    at: str
    origin: str
    index: int

    def to_json(self) -> dict[str, Any]:
        """The baseline as a JSON object."""
        return {
            "name": self.name,
            "selector": self.selector,
            "runs": list(self.runs),
            "at": self.at,
            "origin": self.origin,
            "index": self.index,
        }


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"expected the name of a baseline, 1 to 64 letters, digits, '_', '.' or '-', got {name!r}", name=name
        )
    return name


def baselines_in(entries: Iterable[LedgerEntry]) -> dict[str, Baseline]:
    """The baselines that hold after some entries; pure and total.

    Args:
        entries: in the order of :func:`caligo.store.governing.governance.in_order`; other kinds, and what is no
        baseline, change
            nothing.

    Returns:
        By name, sorted.
    """
    found: dict[str, Baseline] = {}
    for entry in entries:
        if entry.kind != "baseline":
            continue
        name, selector, runs = (entry.content.get(key) for key in ("name", "selector", "runs"))
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(runs, list):
            continue
        known = tuple(run for run in runs if isinstance(run, str) and layout.RUN_NAME.fullmatch(run))
        text = selector if isinstance(selector, str) else None
        found[name] = Baseline(name, text, known, entry.at, entry.origin, entry.index)
    return dict(sorted(found.items()))


def baselines(store: Path) -> dict[str, Baseline]:
    """The baselines of a store that hold, by name.

    Raises:
        LedgerCorruptError: an entry cannot be read.
        StoreError: the store cannot be read.
    """
    from caligo.store.audit.ledger import ledgers

    return baselines_in(in_order(ledger.entries() for ledger in ledgers(store)))


def baseline_named(store: Path, name: str) -> Baseline:
    """The baseline of a name that holds.

    Raises:
        ConfigError: there is none.
        LedgerCorruptError, StoreError: as :func:`baselines`.
    """
    known = baselines(store)
    if name not in known:
        shown = ", ".join(known) or "none"
        raise ConfigError(
            f"no baseline {name!r} in {store}: there is {shown}; see `caligo store baseline set`", name=name
        )
    return known[name]


def set_baseline(
    store: Path, name: str, *, where: str | None = None, runs: Sequence[str] = (), url: str | None = None
) -> Baseline:
    """Declare a baseline, in the store's own ledger.

    Args:
        store: directory of the store.
        name: of the baseline.
        where: filter that selects the runs; with it no `runs`.
        runs: runs as :func:`caligo.store.find_run` takes them.
        url: index to select by, as of :class:`caligo.store.indexing.index.Index`.

    Returns:
        The baseline.

    Raises:
        ConfigError: a bad name or filter, both or neither of `where` and `runs`, no run or too many, or a run that is
            not sealed.
        StoreError, ResourceError: a run is not there or set aside, or the ledger cannot be written.
    """
    _checked_name(name)
    if (where is None) == (not runs):
        raise ConfigError("expected a filter or runs for the baseline, got both or neither; give --where or --runs")
    if where is not None:
        from caligo.store.indexing.index import select_runs

        selected = select_runs(store, where, url=url)
        paths = [path for path in selected if load_run(path, verify=False).state is State.SEALED]
    else:
        paths = sorted({find_run(store, run) for run in runs}, key=lambda path: path.name)
        standings = standing(store)
        for path in paths:
            _require_usable(store, path, standings)
    if not 0 < len(paths) <= MOST_RUNS:
        raise ConfigError(
            f"expected 1 to {MOST_RUNS} sealed runs for baseline {name}, got {len(paths)}; see `caligo store list`",
            name=name,
            runs=len(paths),
        )
    from caligo.store.audit.ledger import Ledger

    names = [path.name for path in paths]
    entry = Ledger.open(store, create=True).append("baseline", {"name": name, "selector": where, "runs": names})
    return Baseline(name, where, tuple(names), entry.at, entry.origin, entry.index)


def _require_usable(store: Path, path: Path, standings: Standings) -> None:
    if path.parent != layout.runs_directory(store.absolute()):
        raise ConfigError(f"expected a run of {store}, got {path}; merge it into the store first", path=str(path))
    state = load_run(path, verify=False).state
    if state is not State.SEALED:
        raise ConfigError(
            f"expected a sealed run, {path.name} is {state}; a baseline is of complete runs", run=path.name
        )
    aside = standings.get(path.name)
    if aside is not None and aside.is_set_aside:
        raise ConfigError(f"expected a run to rely on, {path.name} is {aside.text}; choose others", run=path.name)


def baseline_runs(store: Path, baseline: Baseline) -> tuple[list[Path], list[tuple[str, str]]]:
    """The runs of a baseline that can be relied on.

    Args:
        store: directory of the store.
        baseline: one of it.

    Returns:
        Their directories, oldest first, and (run, why) of those that are left out.

    Raises:
        LedgerCorruptError, StoreError: as :func:`baselines`.
    """
    standings = standing(store)
    kept: list[Path] = []
    left_out: list[tuple[str, str]] = []
    for run in baseline.runs:
        path = layout.runs_directory(store.absolute()) / run
        aside = standings.get(run)
        if aside is not None and aside.is_set_aside:
            left_out.append((run, aside.text))
        elif not path.is_dir():
            left_out.append((run, "not in this store"))
        else:
            kept.append(path)
    return kept, left_out

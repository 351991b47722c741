"""Runs that were asked almost the same: those that differ from one in a single key, or a few.

Covers: which runs are near by what defines the experiment (configuration without what is left out of the identity, and
seeds), in which keys they differ, and their key figures. Does not cover: whether their figures differ for certain
(:mod:`.comparison`), runs of another kind.

The index counts the differing keys of all runs of a kind at once, in time proportional to their values; only the
documents of those that are near are read then.

A key that follows from others counts only where nothing else differs (:data:`DERIVED`), and a simulation's seed, which
stands in the configuration and in the seeds, counts once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caligo.errors import ConfigError, StoreError
from caligo.store import layout
from caligo.store.comparing.metrics import Metric, run_metrics
from caligo.store.indexing.flatten import Scalar, flatten_run
from caligo.store.indexing.index import open_index
from caligo.store.indexing.selection import rank
from caligo.store.reader import Run, load_run

__all__ = ["DERIVED", "Neighbour", "NeighbourGroup", "Neighbours", "find_neighbours"]

DERIVED = frozenset({"configuration.code_digest", "configuration.code_rate"})
"""Keys that follow from the others."""

_SECTIONS = ("configuration.", "seeds.")
_SEED = "configuration.seed"
_FIGURES = ("fer", "efficiency", "coded_mbps", "payload_mbps")


@dataclass(frozen=True)
class Neighbour:
    """A run that is near.

    Args:
        run: its name.
        path: its directory.
        state: where it stands.
        values: its values of the keys of the group; a key that it lacks is left out.
        metrics: its key figures.
    """

    run: str
    path: Path
    state: str
    values: Mapping[str, Scalar]
    metrics: Mapping[str, Metric]

    def to_json(self) -> dict[str, Any]:
        """The neighbour as a JSON object."""
        figures = {name: metric.to_json() for name, metric in self.metrics.items()}
        return {"run": self.run, "path": str(self.path), "state": self.state, "values": dict(self.values)} | {
            "metrics": figures
        }


@dataclass(frozen=True)
class NeighbourGroup:
    """The runs that differ in the same keys.

    Args:
        keys: dotted names, sorted.
        values: those of the run that was asked about; a key that it lacks is left out.
        neighbours: by their values, then oldest first.
    """

    keys: tuple[str, ...]
    values: Mapping[str, Scalar]
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True)
class Neighbours:
    """What :func:`find_neighbours` found.

    Args:
        run: the run that was asked about, with its key figures.
        repeats: names of other runs of the same experiment, oldest first.
        groups: fewest keys first, then by name.
    """

    run: Neighbour
    repeats: tuple[str, ...]
    groups: tuple[NeighbourGroup, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        return {
            "run": self.run.to_json(),
            "repeats": list(self.repeats),
            "groups": [
                {
                    "keys": list(group.keys),
                    "values": dict(group.values),
                    "neighbours": [neighbour.to_json() for neighbour in group.neighbours],
                }
                for group in self.groups
            ],
        }


def find_neighbours(store: str | os.PathLike[str], run: Run, keys: int = 1, *, url: str | None = None) -> Neighbours:
    """The runs of a store that differ from one in few of the keys that define the experiment.

    Args:
        store: directory of the store.
        run: of any store.
        keys: differing keys at most, >= 1.
        url: of the index, see :class:`caligo.store.indexing.index.Index`.

    Returns:
        The neighbours; runs that are set aside are among them.

    Raises:
        ConfigError: `keys` is less than 1.
        StoreError: the store cannot be read, or the run says nothing of its configuration.
    """
    if keys < 1:
        raise ConfigError(f"expected at least 1 key, got {keys}; give 1 for runs that differ in one", keys=keys)
    if not run.document:
        raise StoreError(f"expected a run with a readable run.json, got {run.path}; see `caligo store show`")
    row = flatten_run(run)
    ignored = _ignored(run, row)
    with open_index(store, url) as index:
        index.refresh()
        near = index.near(row, _SECTIONS, ignored, keys)
        runs = layout.runs_directory(index.store)
    defining = _defining(row, run)
    repeats: list[str] = []
    groups: dict[tuple[str, ...], list[Neighbour]] = {}
    for name in near:
        if runs / name == run.path:
            continue
        try:
            other = load_run(runs / name, verify=False)
        except StoreError:
            continue  # removed since, or never readable: `caligo store list` names it
        if not other.document:
            continue
        if other.identity == run.identity:
            repeats.append(other.name)
            continue
        theirs = _defining(flatten_run(other), other)
        differing = {key for key in defining.keys() | theirs.keys() if defining.get(key) != theirs.get(key)}
        counted = tuple(sorted(differing - ignored)) or tuple(sorted(differing))
        if counted and len(set(counted) - ignored) <= keys:
            groups.setdefault(counted, []).append(_neighbour(other, theirs, counted))
    return Neighbours(
        _neighbour(run, defining, ()),
        tuple(repeats),
        tuple(
            NeighbourGroup(
                names,
                {key: defining[key] for key in names if key in defining},
                tuple(sorted(groups[names], key=lambda one: ([rank(one.values.get(key)) for key in names], one.run))),
            )
            for names in sorted(groups, key=lambda names: (len(names), names))
        ),
    )


def _ignored(run: Run, row: Mapping[str, Scalar]) -> frozenset[str]:
    """Names that do not count as differences."""
    excluded = {name for name in row if name.startswith("configuration.") and _is_excluded(name, run)}
    seed = {_SEED} if any(name.startswith("seeds.") for name in row) else set()
    return frozenset(excluded | seed | DERIVED | {f"configuration.{key}" for key in run.document["identity_excludes"]})


def _is_excluded(name: str, run: Run) -> bool:
    """Whether a name of the configuration is left out of the identity."""
    return any(f"{name}.".startswith(f"configuration.{key}.") for key in run.document["identity_excludes"])


def _defining(row: Mapping[str, Scalar], run: Run) -> dict[str, Scalar]:
    return {key: value for key, value in row.items() if key.startswith(_SECTIONS) and not _is_excluded(key, run)}


def _neighbour(run: Run, defining: Mapping[str, Scalar], keys: tuple[str, ...]) -> Neighbour:
    metrics = run_metrics(run, records=False)
    return Neighbour(
        run.name,
        run.path,
        run.state.value,
        {key: defining[key] for key in keys if key in defining},
        {name: metrics[name] for name in _FIGURES if name in metrics},
    )

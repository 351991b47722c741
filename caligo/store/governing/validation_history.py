"""Drift: what validations found over time, and how key figures went from day to day on each machine.

Covers: the `validation` entries of all ledgers, medians of key figures of sealed runs by day and machine fingerprint.
Does not cover: change points and tests (:mod:`caligo.store.gating.shifts`): this page shows, it does not judge.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from caligo.errors import StoreError
from caligo.store.governing.governance import NO_STANDING, in_order, standing
from caligo.store.reader import State, list_runs, load_run

FIGURES = ("fer", "efficiency", "coded_mbps", "payload_mbps", "peak_rss_bytes")
"""Key figures: members of a summary, as they are."""


@dataclass(frozen=True)
class PastValidation:
    """One `validation` entry.

    Attributes:
        at: when, UTC text.
        origin: ledger that has it.
        runs: that were read.
        findings: that were not settled.
        by_code: these by code.
        digest: over all findings.
        partial: it was asked for some runs alone.
    """

    at: str
    origin: str
    runs: int
    findings: int
    by_code: Mapping[str, int]
    digest: str
    partial: bool

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON object."""
        return {**vars(self), "by_code": dict(self.by_code)}


@dataclass(frozen=True)
class Day:
    """Figures of the runs of one kind that began on one day on one kind of machine.

    Attributes:
        day: UTC, as 2026-03-14.
        kind: kind of run.
        fingerprint: of the machine.
        runs: how many.
        medians: of those figures that some of them have.
    """

    day: str
    kind: str
    fingerprint: str
    runs: int
    medians: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """The day as a JSON object."""
        return {**vars(self), "medians": dict(self.medians)}


def past_validations(store: Path) -> list[PastValidation]:
    """What validations found, in the order of the ledgers.

    Args:
        store: directory of the store.

    Raises:
        LedgerCorruptError: an entry cannot be read.
        StoreError: the store cannot be read.
    """
    from caligo.store.audit.ledger import ledgers

    return list(_past(in_order(ledger.entries() for ledger in ledgers(store))))


def _past(entries: Iterator[Any]) -> Iterator[PastValidation]:
    for entry in entries:
        content = entry.content
        by_code = content.get("by_code")
        if entry.kind != "validation" or not isinstance(by_code, dict):
            continue
        yield PastValidation(
            at=entry.at,
            origin=entry.origin,
            runs=_count(content.get("runs")),
            findings=_count(content.get("findings")),
            by_code={str(code): _count(count) for code, count in sorted(by_code.items())},
            digest=str(content.get("digest", "")),
            partial=content.get("scope") is not None,
        )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def figures_by_day(store: str | os.PathLike[str]) -> list[Day]:
    """Medians of the key figures of sealed runs that are not set aside, by day, kind and fingerprint.

    Args:
        store: directory of the store.

    Returns:
        In that order.

    Raises:
        StoreError: the store cannot be read.
    """
    base = Path(store).absolute()
    standings = standing(base)
    groups: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for info in list_runs(base):
        if info.state is not State.SEALED or standings.get(info.name, NO_STANDING).is_set_aside:
            continue
        try:
            run = load_run(info.path, verify=False)
        except StoreError:
            continue
        if run.summary is None:
            continue
        machine = run.document.get("machine", {}).get("fingerprint")
        key = (info.started_at[:10], info.kind, str(machine or "unknown"))
        groups.setdefault(key, []).append(_figures(run.summary))
    return [Day(*key, len(rows), _medians(rows)) for key, rows in sorted(groups.items())]


def _figures(summary: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name in FIGURES
        if isinstance(value := summary.get(name), (int, float)) and not isinstance(value, bool)
    }


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    values = {name: [row[name] for row in rows if name in row] for name in FIGURES}
    return {name: median(known) for name, known in values.items() if known}

"""What a run's records say along the run, in one pass and in memory that does not grow with their number.

Covers: outcomes, and time and key bits of stretches of consecutive blocks. Does not cover: raw times and rates with
intervals, which are :mod:`caligo.store.comparing.metrics`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from caligo.store import Finding, Run

MOST_STRETCHES = 120
"""Stretches that a run is cut in, at most; at least half as many, of a run of so many blocks."""

_MOST_OUTCOMES = 64


@dataclass(frozen=True)
class Stretch:
    """Consecutive blocks, in the order of the record files.

    Attributes:
        first: number of the first block among all records with a time.
        blocks: how many.
        elapsed_ns: time that they took in decoders.
        payload_bits: key bits in them.
    """

    first: int
    blocks: int
    elapsed_ns: float
    payload_bits: int

    @property
    def payload_mbps(self) -> float:
        """10^6 key bits per second of one decoder."""
        return 1000.0 * self.payload_bits / self.elapsed_ns if self.elapsed_ns else 0.0


@dataclass(frozen=True)
class RecordProfile:
    """A run's records, summed up.

    Attributes:
        records: whole records.
        outcomes: how many have each outcome, most frequent first; those beyond 64 kinds under `other`.
        stretches: the run from first to last block; empty where records have no times or no key bits.
        findings: damage that was met, and passed over.
    """

    records: int
    outcomes: dict[str, int]
    stretches: tuple[Stretch, ...]
    findings: tuple[Finding, ...]


def profile_records(run: Run) -> RecordProfile:
    """Go through all records once.

    Args:
        run: of any kind and state.

    Raises:
        StoreError: a record file cannot be read.
    """
    outcomes: dict[str, int] = {}
    findings: list[Finding] = []
    times, bits = [0.0], [0]
    size, blocks, records = 1, 0, 0
    usual_bits = _count(run.configuration.get("payload_length"))
    for record in run.records(on_finding=findings.append):
        records += 1
        outcome = record.get("outcome", "")
        key = outcome if isinstance(outcome, str) else json.dumps(outcome)
        if key not in outcomes and len(outcomes) >= _MOST_OUTCOMES:
            key = "other"
        outcomes[key] = outcomes.get(key, 0) + 1
        elapsed_ns, payload_bits = _time(record.get("elapsed_ns")), _count(record.get("payload_bits", usual_bits))
        if elapsed_ns is None or payload_bits is None:
            continue
        if blocks == size * len(times):
            if len(times) == MOST_STRETCHES:
                times = [times[at] + times[at + 1] for at in range(0, MOST_STRETCHES, 2)]
                bits = [bits[at] + bits[at + 1] for at in range(0, MOST_STRETCHES, 2)]
                size *= 2
            times.append(0.0)
            bits.append(0)
        times[-1] += elapsed_ns
        bits[-1] += payload_bits
        blocks += 1
    stretches = tuple(
        Stretch(at * size, min(size, blocks - at * size), times[at], bits[at]) for at in range(len(times)) if blocks
    )
    ordered = dict(sorted(outcomes.items(), key=lambda item: (-item[1], item[0])))
    return RecordProfile(records, ordered, stretches, tuple(findings))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _time(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) and value > 0 else None

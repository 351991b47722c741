"""One pass over a run's records: outcomes counted, timings kept, memory bounded.

Covers: records of blocks and frames, of calls of a benchmark (`caligo bench decoder`), of imported benchmarks. Does not
cover: what the figures are called and how sure they are (:mod:`.metrics`).

Of more timings than a limit those are kept whose number has a small hash: a choice that is fair, the same every time,
and blind to the rhythm of batches.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caligo.statistics import Samples
from caligo.store.findings import Finding
from caligo.store.reader import Run

__all__ = ["Tally", "Timings", "count_in", "number_in", "tally_records"]

_CHUNK = 1 << 16
MOST_KEYS = 4096
"""Benchmarks or block lengths of one run; further ones are passed over."""

_ACCEPTED = frozenset({"ok", "confirmed"})
_DETECTED = frozenset({"detected_failure", "uncorrected", "unconfirmed"})
_UNDETECTED = frozenset({"undetected_error"})
_KNOWN = _ACCEPTED | _DETECTED | _UNDETECTED


def _mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A hash of each number: the output function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


class Timings:
    """Timings under keys; of more than a limit those whose number has the smallest hashes, by halving the threshold."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._keys: dict[str | int, int] = {}
        self._offered: list[int] = []
        self._number = 0
        self._threshold = 1 << 64
        self._waiting_keys = array("i")
        self._waiting = array("d")
        self._places = np.empty(0, dtype=np.int32)
        self._values = np.empty(0, dtype=np.float64)
        self._hashes = np.empty(0, dtype=np.uint64)

    def add(self, key: str | int, value: float) -> None:
        """Offer one."""
        place = self._keys.get(key)
        if place is None:
            if len(self._keys) >= MOST_KEYS:
                return
            place = self._keys[key] = len(self._keys)
            self._offered.append(0)
        self._offered[place] += 1
        self._waiting_keys.append(place)
        self._waiting.append(value)
        if len(self._waiting) >= _CHUNK:
            self._settle()

    def _settle(self) -> None:
        count = len(self._waiting)
        hashes = _mix(np.arange(self._number, self._number + count, dtype=np.uint64))
        self._number += count
        self._places = np.concatenate([self._places, np.array(self._waiting_keys, dtype=np.int32)])
        self._values = np.concatenate([self._values, np.array(self._waiting, dtype=np.float64)])
        self._hashes = np.concatenate([self._hashes, hashes])
        self._waiting_keys, self._waiting = array("i"), array("d")
        self._keep()
        while len(self._values) > self._limit:
            self._threshold >>= 1
            self._keep()

    def _keep(self) -> None:
        if self._threshold >> 64:
            return
        kept = self._hashes < np.uint64(self._threshold)
        self._places, self._values, self._hashes = self._places[kept], self._values[kept], self._hashes[kept]

    @property
    def share(self) -> float:
        """Share of the timings that is kept."""
        return self._threshold / 2.0**64

    def counts(self) -> dict[str | int, int]:
        """How many were offered under each key."""
        return {key: self._offered[place] for key, place in self._keys.items()}

    def samples(self, key: str | int) -> Samples:
        """Those that are kept under a key."""
        self._settle()
        place = self._keys.get(key)
        return Samples() if place is None else Samples(self._values[self._places == place])


@dataclass
class Tally:
    """What the records of a run say together.

    Args:
        timings: nanoseconds by name of benchmark, or by block_length (0 where a record does not say).
        frames: frames or blocks whose outcome is known.
        detected: of these, that failed.
        undetected: of these, that passed every check and were wrong.
        leakage_bits: sum over blocks.
        payload_bits: key bits in these blocks.
        damaged: stretches of damaged records that were passed over.
    """

    timings: Timings
    frames: int = 0
    detected: int = 0
    undetected: int = 0
    leakage_bits: int = 0
    payload_bits: int = 0
    damaged: int = 0


def count_in(value: object) -> int | None:
    """A value of a record or summary, if it is a count."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def number_in(value: object) -> float | None:
    """A value of a record or summary, if it is a finite number."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def tally_records(run: Run, limit: int) -> Tally:
    """Go through all records of a run once.

    Args:
        run: of any kind and state; damaged records are passed over.
        limit: timings to keep at most.

    Raises:
        StoreError: a record file cannot be read.
    """
    tally = Tally(Timings(limit))

    def on_finding(finding: Finding) -> None:
        tally.damaged += 1

    for record in run.records(on_finding=on_finding):
        elapsed_ns = number_in(record.get("elapsed_ns"))
        benchmark = record.get("benchmark")
        if isinstance(benchmark, str):
            if elapsed_ns is not None:
                tally.timings.add(benchmark, elapsed_ns)
            continue
        frames, outcome = count_in(record.get("frames")), record.get("outcome")
        if outcome == "measured":
            if frames and "call" in record:
                tally.frames += frames
                tally.detected += min(frames, count_in(record.get("detected_failures")) or 0)
                tally.undetected += min(frames, count_in(record.get("undetected_errors")) or 0)
                if elapsed_ns is not None:
                    tally.timings.add(0, elapsed_ns / frames)
            continue
        if isinstance(outcome, str) and outcome in _KNOWN:
            tally.frames += 1
            tally.detected += outcome in _DETECTED
            tally.undetected += outcome in _UNDETECTED
        tally.leakage_bits += count_in(record.get("leakage_bits")) or 0
        tally.payload_bits += count_in(record.get("payload_bits")) or 0
        if elapsed_ns is not None:
            tally.timings.add(count_in(record.get("block_length")) or 0, elapsed_ns)
    return tally

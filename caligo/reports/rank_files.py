"""What the ranks of a job left beside its records: `ranks.json` and `trace.json`.

Covers: reading both, as far as they can be read. Does not cover: plots of them. A file that is not there, or that is
not what its name says, gives nothing: whether it is still what was sealed is for the verification of the run to find.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RANKS_FILE = "ranks.json"
TRACE_FILE = "trace.json"

_MOST_BYTES = 256 * 1024 * 1024
_MOST_RANKS = 1 << 17
_MOST_SPANS = 2_000_000


@dataclass(frozen=True)
class Rank:
    """One rank of an attempt.

    Attributes:
        rank: its number.
        host: where it ran.
        threads: decoders side by side.
        elapsed_s: from its start to its end.
        memory_budget_bytes: what it may use.
        peak_rss_bytes: what it used at most.
        blocks: finished, failed ones among them.
        blocks_failed: of these, those that failed.
        payload_bits: key bits of finished blocks.
        phases_s: seconds in each phase, over its threads.
    """

    rank: int
    host: str
    threads: int
    elapsed_s: float
    memory_budget_bytes: int
    peak_rss_bytes: int
    blocks: int
    blocks_failed: int
    payload_bits: int
    phases_s: dict[str, float]

    @property
    def payload_mbps(self) -> float:
        """10^6 key bits per second of its time."""
        return self.payload_bits / self.elapsed_s / 1e6 if self.elapsed_s else 0.0


def read_ranks(run: Path) -> tuple[Rank, ...]:
    """The ranks of a run, by number; empty where it has none.

    Args:
        run: its directory.
    """
    path = run / RANKS_FILE
    try:
        if path.stat().st_size > _MOST_BYTES:
            return ()
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return ()
    listed = document.get("ranks") if isinstance(document, dict) else None
    found = [rank for each in listed[:_MOST_RANKS] if (rank := _rank(each))] if isinstance(listed, list) else []
    return tuple(sorted(found, key=lambda rank: rank.rank))


def _rank(report: Any) -> Rank | None:
    if not isinstance(report, dict) or not isinstance(report.get("rank"), int):
        return None
    sums = report.get("sums")
    sums = sums if isinstance(sums, dict) else {}
    phases, counters = sums.get("phases"), sums.get("counters")
    counters = counters if isinstance(counters, dict) else {}
    seconds = {
        str(name): _number(entry[1]) / 1e9
        for name, entry in (phases.items() if isinstance(phases, dict) else ())
        if isinstance(entry, list) and len(entry) == 3
    }
    return Rank(
        rank=report["rank"],
        host=str(report.get("host", "")),
        threads=max(1, int(_number(report.get("threads")))),
        elapsed_s=_number(report.get("elapsed_s")),
        memory_budget_bytes=int(_number(report.get("memory_budget_bytes"))),
        peak_rss_bytes=int(_number(report.get("peak_rss_bytes"))),
        blocks=int(_number(counters.get("blocks"))),
        blocks_failed=int(_number(counters.get("blocks_failed"))),
        payload_bits=int(_number(counters.get("payload_bits"))),
        phases_s=seconds,
    )


def _number(value: object) -> float:
    """A finite number from 0 on; 0 for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e18:
        return float(value)
    return 0.0


@dataclass(frozen=True)
class BusyTimes:
    """How busy the decoders of each rank were over time.

    Attributes:
        width_s: length of an interval.
        shares: of each rank, by number, decoding seconds per second in each interval.
    """

    width_s: float
    shares: dict[int, NDArray[np.float64]]


def read_busy_times(run: Path, intervals: int = 60) -> BusyTimes | None:
    """Time in decoders over time, from the spans of a trace; None without a trace.

    Args:
        run: directory of the run.
        intervals: into how many the run is cut.
    """
    ranks, starts, lengths = array("q"), array("d"), array("d")
    for rank, start_us, length_us in _decoding(run / TRACE_FILE):
        ranks.append(rank)
        starts.append(start_us * 1e-6)
        lengths.append(length_us * 1e-6)
    if not ranks:
        return None
    numbers, start, length = np.asarray(ranks), np.asarray(starts), np.asarray(lengths)
    total_s = float((start + length).max())
    if total_s <= 0.0:
        return None
    width_s = total_s / intervals
    edges: NDArray[np.float64] = np.arange(intervals + 1, dtype=np.float64) * width_s
    shares = {}
    for rank in np.unique(numbers):
        mine = numbers == rank
        shares[int(rank)] = np.diff(_until(edges, start[mine], length[mine])) / width_s
    return BusyTimes(width_s, shares)


def _until(edges: NDArray[np.float64], start: NDArray[np.float64], length: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds of all spans that lie before each edge."""
    started = np.sort(start)
    ended = np.sort(start + length)
    before = np.searchsorted(started, edges), np.searchsorted(ended, edges)
    sums = np.concatenate([[0.0], np.cumsum(started)]), np.concatenate([[0.0], np.cumsum(ended)])
    return np.asarray((edges * before[0] - sums[0][before[0]]) - (edges * before[1] - sums[1][before[1]]))


def _decoding(path: Path) -> Iterator[tuple[int, float, float]]:
    """Rank, start and length in µs of each span in a decoder. The trace has one event a line."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            return
        with path.open("rb") as file:
            taken = 0
            for line in file:
                if b'"decode"' not in line or taken >= _MOST_SPANS:
                    continue
                try:
                    event = json.loads(line.strip().rstrip(b","))
                except (ValueError, RecursionError):
                    continue
                if not isinstance(event, dict) or event.get("ph") != "X" or event.get("name") != "decode":
                    continue
                rank, start, length = event.get("pid"), event.get("ts"), event.get("dur")
                if not isinstance(rank, int) or not 0 <= rank < _MOST_RANKS:
                    continue
                if isinstance(start, (int, float)) and isinstance(length, (int, float)) and 0 <= start + length < 1e15:
                    taken += 1
                    yield rank, float(start), float(length)
    except OSError:
        return

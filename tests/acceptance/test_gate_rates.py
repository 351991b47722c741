"""How often a gate cries wolf, and how often it sees a slowdown of 5 %, on times that were recorded.

Covers: 1,000 comparisons each of runs of one program made in turns, and made apart; of runs that were slowed by
arithmetic, and by work. Does not cover: how the times were made (`benchmarks/record_gate_samples.py`).

The recording is of a machine that is as bad as machines get, so PAIRS is large; `docs/store.md` says how many a quieter
one needs. Windows of the recording overlap, so the comparisons are not independent of each other; the sides of every
pair are drawn anew.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from caligo.statistics import Samples
from caligo.store.comparing.metrics import Metric
from caligo.store.gating.gate_report import Verdict
from caligo.store.gating.gates import Observed, gate

pytestmark = pytest.mark.acceptance

RECORDING = Path(__file__).resolve().parents[1] / "data" / "gate_samples.csv"
COMPARISONS = 1000
PAIRS = 64
APART = 24


@cache
def rounds() -> list[dict[str, tuple[float, ...]]]:
    """For every round the call times of each kind, in nanoseconds."""
    found: list[dict[str, tuple[float, ...]]] = []
    for line in RECORDING.read_text(encoding="ascii").splitlines()[1:]:
        kind, _, calls = line.split(",")
        if kind == "A":
            found.append({})
        found[-1][kind] = tuple(1000.0 * int(call) for call in calls.split())
    return found


@cache
def metric(number: int, kind: str, slowed: float = 1.0) -> Metric:
    samples = Samples([slowed * value for value in rounds()[number][kind]])
    median = samples.median or 0.0
    return Metric("decode_time_ns", "ns", "lower", median, None, None, samples=samples, figures=Samples([median]))


def run(number: int, kind: str, side: str, slowed: float = 1.0) -> Observed:
    moment = f"2025-03-14T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000Z"
    return Observed(f"{side}{number:04}", moment, "g", "bench", "m", {"decode_time_ns": metric(number, kind, slowed)})


def found(candidates: list[Observed], baselines: list[Observed]) -> bool:
    report = gate(candidates, baselines)
    assert report.verdict is not Verdict.NOT_COMPARABLE
    return report.verdict is Verdict.REGRESSION


def windows(seed: int, width: int) -> list[tuple[int, np.random.Generator]]:
    random = np.random.default_rng(seed)
    starts = random.integers(0, len(rounds()) - width + 1, COMPARISONS)
    return [(int(start), random) for start in starts]


def in_turns(start: int, random: np.random.Generator, slowed: float = 1.0) -> bool:
    swapped = random.integers(0, 2, PAIRS).astype(bool)
    kinds = [("A", "C") if swap else ("C", "A") for swap in swapped]
    numbers = range(start, start + PAIRS)
    return found(
        [run(number, kind, "c", slowed) for number, (kind, _) in zip(numbers, kinds, strict=True)],
        [run(number, kind, "b") for number, (_, kind) in zip(numbers, kinds, strict=True)],
    )


def test_the_recording_is_what_it_says() -> None:
    assert len(rounds()) == 800
    assert all(set(each) == {"A", "B", "C"} and {len(calls) for calls in each.values()} == {21} for each in rounds())
    first = {kind: [np.quantile(each[kind], 0.25) for each in rounds()] for kind in "ABC"}
    slower = np.median(np.log(first["B"]) - np.log(first["A"]))
    assert abs(math.exp(slower) - 1.05) < 0.01
    assert abs(np.median(np.log(first["C"]) - np.log(first["A"]))) < 0.01


def test_runs_of_one_program_made_in_turns_raise_fewer_than_one_false_alarm_in_a_hundred() -> None:
    alarms = sum(in_turns(start, random) for start, random in windows(1, PAIRS))
    assert alarms < COMPARISONS / 100, alarms


def test_runs_of_one_program_made_apart_raise_fewer_than_one_false_alarm_in_a_hundred() -> None:
    alarms = 0
    for start, random in windows(2, APART):
        other = int(random.integers(0, len(rounds()) - APART + 1))
        baselines = [run(number, "A", "b") for number in range(start, start + APART)]
        moved = [run(number, "C", "c") for number in range(other, other + APART)]
        candidates = [Observed(each.run, f"2026{each.moment[4:]}", "g", "bench", "m", each.metrics) for each in moved]
        alarms += found(candidates, baselines)
    assert alarms < COMPARISONS / 100, alarms


def test_times_five_per_cent_longer_are_found_nineteen_times_in_twenty() -> None:
    seen = sum(in_turns(start, random, 1.05) for start, random in windows(3, PAIRS))
    assert seen >= 0.95 * COMPARISONS, seen


def test_five_per_cent_more_work_is_found_nineteen_times_in_twenty() -> None:
    seen = 0
    for start, random in windows(4, PAIRS):
        kinds = random.choice(["A", "C"], PAIRS)
        numbers = range(start, start + PAIRS)
        baselines = [run(number, str(kind), "b") for number, kind in zip(numbers, kinds, strict=True)]
        seen += found([run(number, "B", "c") for number in numbers], baselines)
    assert seen >= 0.95 * COMPARISONS, seen

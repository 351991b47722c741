"""How often a gate cries wolf, and how often it sees a slowdown of 5 %, on times that were recorded.

Covers: 1,000 comparisons each of runs of one program made in turns, and made apart; of runs that were slowed by
arithmetic, and by work. Does not cover: how the times were made (`benchmarks/record_gate_samples.py`).

The gate's quantile and minimum effects were chosen on the first recording; the second one, of another machine that was
busier still, had no part in that. Each needs as many pairs as it is noisy; `docs/store.md` says how many a quieter
machine needs. Windows of a recording overlap, so the comparisons are not independent of each other; the sides of every
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

DATA = Path(__file__).resolve().parents[1] / "data"
USUAL, HELD_OUT = "gate_samples.csv", "gate_samples_held_out.csv"
PAIRS = {USUAL: 64, HELD_OUT: 256}
COMPARISONS = 1000
APART = 24

each_recording = pytest.mark.parametrize("recording", [USUAL, HELD_OUT])


@cache
def rounds(recording: str) -> list[dict[str, tuple[float, ...]]]:
    """For every round the call times of each kind, in nanoseconds."""
    found: list[dict[str, tuple[float, ...]]] = []
    for line in (DATA / recording).read_text(encoding="ascii").splitlines()[1:]:
        kind, _, calls = line.split(",")
        if kind == "A":
            found.append({})
        found[-1][kind] = tuple(1000.0 * int(call) for call in calls.split())
    return found


@cache
def metric(recording: str, number: int, kind: str, slowed: float = 1.0) -> Metric:
    samples = Samples([slowed * value for value in rounds(recording)[number][kind]])
    median = samples.median or 0.0
    return Metric("decode_time_ns", "ns", "lower", median, None, None, samples=samples, figures=Samples([median]))


def run(recording: str, number: int, kind: str, side: str, slowed: float = 1.0) -> Observed:
    moment = f"2025-03-14T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000Z"
    metrics = {"decode_time_ns": metric(recording, number, kind, slowed)}
    return Observed(f"{side}{number:04}", moment, "g", "bench", "m", metrics)


def found(candidates: list[Observed], baselines: list[Observed]) -> bool:
    report = gate(candidates, baselines)
    assert report.verdict is not Verdict.NOT_COMPARABLE
    return report.verdict is Verdict.REGRESSION


def windows(recording: str, seed: int, width: int) -> list[tuple[int, np.random.Generator]]:
    random = np.random.default_rng(seed)
    starts = random.integers(0, len(rounds(recording)) - width + 1, COMPARISONS)
    return [(int(start), random) for start in starts]


def in_turns(recording: str, pairs: int, start: int, random: np.random.Generator, slowed: float = 1.0) -> bool:
    swapped = random.integers(0, 2, pairs).astype(bool)
    kinds = [("A", "C") if swap else ("C", "A") for swap in swapped]
    numbers = range(start, start + pairs)
    return found(
        [run(recording, number, kind, "c", slowed) for number, (kind, _) in zip(numbers, kinds, strict=True)],
        [run(recording, number, kind, "b") for number, (_, kind) in zip(numbers, kinds, strict=True)],
    )


@each_recording
def test_the_recording_is_what_it_says(recording: str) -> None:
    assert len(rounds(recording)) == 800
    for each in rounds(recording):
        assert set(each) == {"A", "B", "C"}
        assert {len(calls) for calls in each.values()} == {21}
    first = {kind: [np.quantile(each[kind], 0.25) for each in rounds(recording)] for kind in "ABC"}
    slower = np.median(np.log(first["B"]) - np.log(first["A"]))
    assert abs(math.exp(slower) - 1.05) < 0.01
    assert abs(np.median(np.log(first["C"]) - np.log(first["A"]))) < 0.01


@each_recording
@pytest.mark.parametrize("pairs", [16, 64, 256])
def test_runs_of_one_program_made_in_turns_raise_fewer_than_one_false_alarm_in_a_hundred(
    recording: str, pairs: int
) -> None:
    alarms = sum(in_turns(recording, pairs, start, random) for start, random in windows(recording, 1, pairs))
    print(f"{recording}, {pairs} pairs: {alarms} false alarms of {COMPARISONS}")
    assert alarms < COMPARISONS / 100, alarms


def alarms_apart(recording: str) -> int:
    alarms = 0
    for start, random in windows(recording, 2, APART):
        other = int(random.integers(0, len(rounds(recording)) - APART + 1))
        baselines = [run(recording, number, "A", "b") for number in range(start, start + APART)]
        moved = [run(recording, number, "C", "c") for number in range(other, other + APART)]
        candidates = [Observed(each.run, f"2026{each.moment[4:]}", "g", "bench", "m", each.metrics) for each in moved]
        alarms += found(candidates, baselines)
    print(f"{recording}, {APART} runs a side made apart: {alarms} false alarms of {COMPARISONS}")
    return alarms


def test_runs_of_one_program_made_apart_raise_fewer_than_one_false_alarm_in_a_hundred() -> None:
    assert alarms_apart(USUAL) < COMPARISONS / 100


def test_runs_made_apart_raise_more_where_the_load_changes_as_the_documentation_warns() -> None:
    assert COMPARISONS / 100 <= alarms_apart(HELD_OUT) < COMPARISONS / 10


@each_recording
def test_times_five_per_cent_longer_are_found_nineteen_times_in_twenty(recording: str) -> None:
    pairs = PAIRS[recording]
    seen = sum(in_turns(recording, pairs, start, random, 1.05) for start, random in windows(recording, 3, pairs))
    print(f"{recording}, {pairs} pairs: found {seen} of {COMPARISONS}")
    assert seen >= 0.95 * COMPARISONS, seen


def found_more_work(recording: str, pairs: int) -> int:
    seen = 0
    for start, random in windows(recording, 4, pairs):
        kinds = random.choice(["A", "C"], pairs)
        numbers = range(start, start + pairs)
        baselines = [run(recording, number, str(kind), "b") for number, kind in zip(numbers, kinds, strict=True)]
        seen += found([run(recording, number, "B", "c") for number in numbers], baselines)
    print(f"{recording}, {pairs} pairs: found {seen} of {COMPARISONS}")
    return seen


@each_recording
def test_five_per_cent_more_work_is_found_nineteen_times_in_twenty(recording: str) -> None:
    assert found_more_work(recording, PAIRS[recording]) >= 0.95 * COMPARISONS


def test_a_machine_that_is_busier_needs_more_pairs() -> None:
    assert found_more_work(HELD_OUT, PAIRS[USUAL]) < 0.95 * COMPARISONS

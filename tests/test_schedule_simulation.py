"""Laws of simulated schedules: none beats the ideal, the same arguments give the same, efficiency is as promised."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from caligo.cli.bench import group
from caligo.errors import ConfigError
from caligo.jobs.schedule_simulation import (
    SimulatedRank,
    draw_task_times,
    simulate_schedule,
    simulated_ranks,
)
from caligo.jobs.scheduling import SchedulePolicy, choose_policy

# Twenty quantiles of the time of a group of 2^20 bits, in ms, as docs/performance.md has them ("Scheduling").
SEGMENTED = (2.4, 2.9, 3.2, 3.5, 3.7, 3.9, 4.1, 4.2, 4.4, 4.6, 4.8, 4.9, 5.1, 5.3, 5.6, 6.1, 6.7, 7.4, 8.3, 10.0)
SIXTEEN_BLOCKS = (
    7.9, 9.4, 9.8, 10.3, 11.4, 11.8, 12.1, 12.8, 13.6, 14.1, 14.9, 16.0, 17.4, 18.9, 21.5, 28.2, 35.4, 45.8, 67.0, 98.7
)  # fmt: skip
GROUPS = 953_674
"""Of a key of 10^12 bits."""


def seconds(milliseconds: tuple[float, ...], times: float = 1.0) -> list[float]:
    return [1e-3 * times * one for one in milliseconds]


specs = st.builds(
    SimulatedRank,
    speed=st.sampled_from([1.0, 0.5, 0.1, 2.0]),
    starts_s=st.sampled_from([0.0, 0.0, 0.5, 3.0]),
    ends_s=st.sampled_from([math.inf, math.inf, 0.0, 0.2, 2.0]),
    noticed_s=st.sampled_from([math.inf, 0.0, 1.0]),
)


@given(
    st.lists(specs, max_size=8),
    st.integers(0, 300),
    st.integers(1, 4),
    st.integers(1, 20),
    st.sampled_from([0.0, 1e-4, 1e-2]),
    st.sampled_from([0.0, 1e-3]),
)
def test_a_dynamic_schedule_ends_if_one_rank_lives_and_never_beats_the_ideal(
    others: list[SimulatedRank], tasks: int, divisor: int, least: int, message_s: float, latency_s: float
) -> None:
    ranks = [SimulatedRank(), *others]
    times = draw_task_times(tasks, [0.01, 0.02, 0.05], 5)
    policy = SchedulePolicy(divisor=divisor, least_tasks=least)
    results = [simulate_schedule(times, ranks, policy, message_s=message_s, latency_s=latency_s) for _ in range(2)]
    assert results[0] == results[1]
    result = results[0]
    assert result.is_done
    assert result.makespan_s >= result.ideal_s - 1e-9
    assert 0 <= result.efficiency <= 1 + 1e-9
    assert 0 <= result.waiting_share <= 1
    assert 0 <= result.duplicated_share <= 1 - result.waiting_share + 1e-9
    assert 0 <= result.coordinator_share <= 1 + 1e-9
    assert result.work_s == pytest.approx(float(times.sum()))


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1.0, 3.0]))
def test_equal_shares_are_as_slow_as_the_slowest_rank(ranks: int, each: int, factor: float) -> None:
    machines = [*[SimulatedRank()] * (ranks - 1), SimulatedRank(speed=1 / factor)]
    result = simulate_schedule(
        np.full(ranks * each, 0.25), machines, SchedulePolicy("static"), message_s=0.0, latency_s=0.0
    )
    assert result.makespan_s == pytest.approx(0.25 * each * factor)
    assert result.ideal_s == pytest.approx(0.25 * each * ranks / (ranks - 1 + 1 / factor))
    assert result.waiting_share == pytest.approx((ranks - 1) * (1 - 1 / factor) / ranks)
    assert result.copied_tasks == 0


def test_what_a_rank_that_hangs_has_is_done_by_others_unless_shares_are_static() -> None:
    times = np.full(1000, 0.01)
    ranks = simulated_ranks(8, stalled=1, within_s=1.25)
    assert simulate_schedule(times, ranks, SchedulePolicy()).copied_tasks > 0
    assert simulate_schedule(times, ranks, SchedulePolicy()).efficiency > 0.85
    static = simulate_schedule(times, ranks, SchedulePolicy("static"))
    assert not static.is_done
    assert static.efficiency == 0
    noticed = simulated_ranks(8, failures=1, within_s=1.25, noticed_s=0.5)
    assert simulate_schedule(times, noticed, SchedulePolicy("static")).is_done


def test_a_schedule_without_ranks_that_live_never_ends() -> None:
    times = np.full(1000, 0.01)
    gone = [SimulatedRank(ends_s=1.0, noticed_s=0.5), SimulatedRank(starts_s=0.5, ends_s=2.0)]
    result = simulate_schedule(times, gone, SchedulePolicy())
    assert not result.is_done
    assert math.isinf(result.ideal_s)


def test_the_ideal_counts_ranks_only_while_they_are_there() -> None:
    times = np.full(100, 0.1)
    late = [SimulatedRank(), SimulatedRank(starts_s=4.0)]
    assert simulate_schedule(times, late, SchedulePolicy()).ideal_s == pytest.approx(7.0)
    gone = [SimulatedRank(), SimulatedRank(ends_s=4.0, noticed_s=0.0)]
    assert simulate_schedule(times, gone, SchedulePolicy()).ideal_s == pytest.approx(6.0)


def test_a_coordinator_that_cannot_keep_up_is_seen() -> None:
    times = np.full(2000, 0.001)
    result = simulate_schedule(times, simulated_ranks(100), SchedulePolicy(), message_s=1e-3)
    assert result.coordinator_share > 0.9
    assert result.efficiency < 0.2


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 2**64 - 1))
def test_the_time_of_a_task_does_not_depend_on_how_many_there_are(few: int, more: int, seed: int) -> None:
    samples = list(range(1, 1000))
    drawn = draw_task_times(few + more, samples, seed)
    assert np.array_equal(draw_task_times(few, samples, seed), drawn[:few])


def test_task_times_are_drawn_evenly_and_seeds_differ() -> None:
    drawn = [draw_task_times(40_000, [1.0, 2.0, 3.0, 4.0], seed) for seed in (1, 2)]
    for times in drawn:
        counts = np.unique(times, return_counts=True)[1]
        assert np.all(np.abs(counts - 10_000) < 5 * math.sqrt(7_500))
    for shift in range(4):
        same = np.mean(drawn[0][shift:] == drawn[1][: len(drawn[1]) - shift])
        assert abs(same - 0.25) < 0.02


@pytest.mark.parametrize("samples", [SEGMENTED, SIXTEEN_BLOCKS])
@pytest.mark.parametrize("gone", [0, 4])
def test_192_ranks_with_slow_nodes_and_failures_are_98_percent_efficient(samples: tuple[float, ...], gone: int) -> None:
    times = draw_task_times(GROUPS, seconds(samples), 1)
    mean = float(times.mean())
    ranks = simulated_ranks(192, slow_share=0.1, failures=gone, stalled=gone // 2, within_s=GROUPS * mean / 192)
    result = simulate_schedule(times, ranks, choose_policy(GROUPS, 192, mean))
    assert result.efficiency >= 0.98
    assert result.messages * 50e-6 < 0.01 * result.work_s, "coordination costs less than 1 % of decoding"


def test_10000_ranks_with_slow_nodes_are_95_percent_efficient_on_a_minute_of_work() -> None:
    # 50 groups make a task here, which only makes the chunks coarser: 10^14 bits.
    times = draw_task_times(2 * GROUPS, seconds(SEGMENTED, times=50), 1)
    ranks = simulated_ranks(10_000, slow_share=0.1)
    result = simulate_schedule(times, ranks, choose_policy(len(times), len(ranks), float(times.mean())))
    assert result.efficiency >= 0.95


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ranks": 0}, "ranks"),
        ({"slow_share": 1.5}, "slow_share"),
        ({"late_share": -0.1}, "late_share"),
        ({"slow_factor": 0}, "slow_factor"),
        ({"failures": 2, "stalled": 2}, "fewer than the 4 ranks"),
        ({"late_s": -1.0, "late_share": 1.0}, "starts_s"),
        ({"slow_share": 1.0, "slow_factor": math.inf}, "speed"),
    ],
)
def test_ranks_that_make_no_sense_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulated_ranks(**({"ranks": 4} | change))


def test_times_that_make_no_sense_are_refused() -> None:
    for samples in ([], [0.0], [math.inf], [math.nan]):
        with pytest.raises(ConfigError, match="task times"):
            draw_task_times(3, samples, 1)
    with pytest.raises(ConfigError, match="seed"):
        draw_task_times(3, [1.0], 1 << 64)
    with pytest.raises(ConfigError, match="message_s"):
        simulate_schedule(np.ones(2), [SimulatedRank()], SchedulePolicy(), message_s=-1.0)


def bench(*arguments: str) -> Any:
    return CliRunner().invoke(group, ["schedule", "--ranks", "4", "--tasks", "1000", *arguments])


def test_the_command_takes_one_time_several_or_a_file_of_them(tmp_path: Path) -> None:
    (tmp_path / "times").write_text("0.01 0.02\n0.03,0.04\n")
    results = []
    for times in ("0.01,0.02,0.03,0.04", str(tmp_path / "times")):
        done = bench("--task-time", times, "--slow-share", "0.25", "--json")
        assert done.exit_code == 0, done.output
        results.append(json.loads(done.output))
    assert results[0] == results[1]
    assert results[0]["schema"] == "caligo.bench-schedule/1"
    assert results[0]["policy"]["kind"] == "dynamic"
    assert 0.9 < results[0]["efficiency"] <= 1
    never = json.loads(bench("--task-time", "1", "--policy", "static", "--stalled", "1", "--json").output)
    assert (never["is_done"], never["makespan_s"]) == (False, None)
    for bad in ("0", "nan", "1,x", ""):
        assert bench("--task-time", bad).exit_code == 2
    people = bench("--task-time", "0.01", "--least-tasks", "2", "--divisor", "8")
    assert "chunks of 2 to 65,536 tasks, 1/8 of an equal share" in people.output

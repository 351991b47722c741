"""What a job will take: everything adds up, nothing depends on the keys' bits, and what does not fit is said to."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.errors import ConfigError, KeyFileError, MemoryBudgetError, ShapeError
from caligo.jobs.forecast import (
    COORDINATOR_BYTES_PER_TASK,
    EFFICIENCY,
    RECORD_BYTES_PER_BLOCK,
    SAMPLED_POSITION_BYTES,
    Forecast,
    Machine,
    Workload,
    forecast,
    ranks_that_fit,
    slurm_time,
    submit_command,
)
from caligo.jobs.job_file import JobFile, parse_job
from caligo.jobs.rehearsal import ASSUMED_QBER, checked, layout_of, open_keys, rehearse, sample_bits_of
from caligo.jobs.scheduling import SchedulePolicy
from caligo.memory import FIXED_BYTES, MemoryPlan, memory_limit

WORKLOAD = Workload(
    kind="reconcile",
    key_bits=10**10,
    sampled_bits=10**6,
    payload_bits=9_999_000_000,
    coded_bits=10**10,
    block_length=1 << 20,
    list_size=32,
    blocks=9536,
    groups=9536,
    tasks=4768,
    writes_keys=True,
)
GIB = 1 << 30


def machine(ranks: int = 192, per_node: int = 192, threads: int = 1, memory: int = 2 * GIB) -> Machine:
    return Machine(ranks, per_node, threads, memory, "the test")


def forecast_of(
    workload: Workload = WORKLOAD, on: Machine | None = None, *, speed: float = 100.0, limit_s: float | None = None
) -> Forecast:
    on = machine() if on is None else on
    beside = COORDINATOR_BYTES_PER_TASK * workload.tasks + SAMPLED_POSITION_BYTES * workload.sampled_bits
    memory = MemoryPlan(on.memory_per_rank, on.threads_per_rank, 8, FIXED_BYTES + beside + 1000, 5_000_000, 655_424)
    return forecast(
        workload,
        on,
        memory,
        policy=SchedulePolicy(),
        coded_mbps_per_core=speed,
        speed_source="the test",
        job="job.toml",
        time_limit_s=limit_s,
        stop_before_s=120.0,
    )


@given(st.integers(1, 20_000), st.integers(1, 64), st.floats(0.1, 1000.0))
def test_the_memory_of_a_rank_adds_up_and_time_is_work_over_cores(ranks: int, threads: int, speed: float) -> None:
    made = forecast_of(on=machine(ranks, 1, threads), speed=speed)
    assert sum(made.memory_bytes.values()) == 2 * GIB
    assert made.total_bytes + made.memory_bytes["spare_bytes"] == 2 * GIB
    assert made.memory_bytes["fixed_bytes"] == FIXED_BYTES
    assert made.memory_bytes["decoders_bytes"] == threads * 5_000_000 + 1000
    assert made.memory_bytes["coordinator_bytes"] == COORDINATOR_BYTES_PER_TASK * WORKLOAD.tasks
    cores = min(ranks, WORKLOAD.tasks) * threads
    assert made.expected_s == pytest.approx(WORKLOAD.coded_bits / (speed * 1e6 * cores * EFFICIENCY))
    assert made.read_mb_per_s * made.expected_s * 1e6 == pytest.approx(2 * WORKLOAD.key_bits / 8)
    assert made.time_limit_s >= made.expected_s + 120.0
    assert made.attempts == 1


def test_disk_holds_a_copy_while_the_job_works_and_two_when_it_is_done() -> None:
    copy = -(-WORKLOAD.payload_bits // 8)
    made = forecast_of()
    assert made.output_disk_bytes == 2 * copy
    assert made.work_disk_bytes == copy + RECORD_BYTES_PER_BLOCK * WORKLOAD.blocks
    unwritten = forecast_of(replace(WORKLOAD, writes_keys=False))
    assert unwritten.output_disk_bytes == 0
    assert unwritten.work_disk_bytes == RECORD_BYTES_PER_BLOCK * WORKLOAD.blocks


def test_a_limit_shorter_than_the_work_takes_several_submissions() -> None:
    made = forecast_of(on=machine(1, 1), limit_s=60.0 + 120.0)
    assert made.expected_s == pytest.approx(10**10 / 98e6)
    assert made.attempts == 2
    with pytest.raises(ConfigError, match=r"limits\.time: expected more than the 120 s"):
        forecast_of(limit_s=120.0)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf"), float("nan")])
def test_a_speed_is_above_nothing(speed: float) -> None:
    with pytest.raises(ConfigError, match="speed: expected a rate above 0"):
        forecast_of(speed=speed)


@pytest.mark.parametrize(
    ("ranks", "per_node", "threads", "memory"), [(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0), (4, 5, 1, 1)]
)
def test_a_machine_has_at_least_one_of_each(ranks: int, per_node: int, threads: int, memory: int) -> None:
    with pytest.raises(ConfigError, match="expected at"):
        machine(ranks, per_node, threads, memory)


@pytest.mark.parametrize(
    ("on", "command"),
    [
        (machine(1, 1, 8), "caligo run 'my job.toml' --threads 8"),
        (
            machine(192, 192),
            "sbatch --ntasks=192 --cpus-per-task=1 --mem-per-cpu=2G --time=02:00:00 slurm/one-node.sbatch "
            "'my job.toml'",
        ),
        (
            machine(192, 48, 2, 3 * GIB),
            "sbatch --nodes=4 --ntasks=192 --ntasks-per-node=48 --cpus-per-task=2 --mem-per-cpu=1536M --time=02:00:00 "
            "slurm/many-nodes.sbatch 'my job.toml'",
        ),
        (
            machine(100, 48),
            "sbatch --nodes=3 --ntasks=100 --ntasks-per-node=48 --cpus-per-task=1 --mem-per-cpu=2G --time=02:00:00 "
            "slurm/many-nodes.sbatch 'my job.toml'",
        ),
    ],
)
def test_the_line_that_submits_it(on: Machine, command: str) -> None:
    assert submit_command(on, "my job.toml", 7200.0) == command


@given(st.integers(1, 64), st.integers(1, 1 << 40))
def test_slurm_gives_a_rank_at_least_what_was_planned(threads: int, memory: int) -> None:
    words = submit_command(machine(2, 2, threads, memory), "j", 60.0).split()
    given_text = next(word for word in words if word.startswith("--mem-per-cpu=")).partition("=")[2]
    unit = {"M": 1 << 20, "G": 1 << 30}[given_text[-1]]
    assert memory <= int(given_text[:-1]) * unit * threads < memory + threads * (1 << 20) + threads


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00:00"), (59.1, "00:01:00"), (85_800, "23:50:00"), (93_784, "1-02:03:04")]
)
def test_a_time_as_slurm_takes_it(seconds: float, text: str) -> None:
    assert slurm_time(seconds) == text


def test_as_many_ranks_fit_as_the_memory_of_a_node_holds() -> None:
    on = machine(192, 48, memory=2 * GIB)
    assert ranks_that_fit(on, 3 * GIB) == 32
    assert ranks_that_fit(on, 97 * GIB) == 0


# --- rehearsed -------------------------------------------------------------------------------------------------------


def key_files(directory: Path, key_bytes: int = 20_000) -> None:
    for name in ("a.bin", "b.bin"):
        with (directory / name).open("wb") as file:
            file.truncate(key_bytes)


def job_of(directory: Path, more: str = "") -> JobFile:
    text = 'schema = 1\n[keys]\nalice = "a.bin"\nbob = "b.bin"\n[output]\ndir = "out"\n'
    return parse_job(text + more, directory)


SHORT = "[reconcile]\nblock_length = 1024\nlist_size = 4\nqber = 0.02\nefficiency = 1.8\n"
SIMULATION = (
    "schema = 1\n[simulate]\nqber = 0.02\nefficiency = 1.5\nblock_length = 1024\nlist_size = 4\nframes = 1000\n"
)


def test_a_key_of_10_to_the_12_bits_is_planned_by_its_length(tmp_path: Path) -> None:
    key_files(tmp_path, 125_000_000_000)
    if (tmp_path / "a.bin").stat().st_blocks > 1000:
        pytest.skip("this file system stores holes")
    job = job_of(tmp_path, '[reconcile]\nblock_length = "2^16"\nlist_size = 8\n[limits]\nmemory_per_rank = "2GiB"\n')
    made = rehearse(job, ranks=192, ranks_per_node=48, speed_mbps=100.0)
    work = made.workload
    assert (work.key_bits, work.sampled_bits) == (10**12, 10**6)
    assert work.payload_bits == 10**12 - 10**6
    assert work.blocks == -(-work.payload_bits >> 16)
    assert work.groups >= work.tasks > 192
    assert made.machine.nodes == 4
    assert made.machine.memory_source == "limits.memory_per_rank of the job file"
    assert made.total_bytes < 2 * GIB
    assert made.memory_bytes["positions_bytes"] == 8 * 10**6
    assert made.blocks_in_flight == 4 * 4, "four windows, of 2^18 bits each"
    assert made.submit.startswith("sbatch --nodes=4 --ntasks=192 ")
    document = json.loads(json.dumps(made.to_json()))
    assert document["workload"]["blocks"] == work.blocks
    assert document["policy"]["kind"] == "dynamic"


def test_the_speed_is_measured_where_nobody_gives_one(tmp_path: Path) -> None:
    key_files(tmp_path)
    made = rehearse(job_of(tmp_path, SHORT), measure_s=0.01, memory_per_rank=GIB)
    assert made.coded_mbps_per_core > 0.0
    assert made.speed_source.startswith("measured here")
    assert made.machine.threads_per_rank == len(os.sched_getaffinity(0))
    assert made.submit.startswith(f"caligo run {tmp_path / 'job.toml'} --threads ")


@pytest.mark.parametrize("strategy", ["segmented", "incremental", "interactive"])
def test_every_strategy_can_be_rehearsed(tmp_path: Path, strategy: str) -> None:
    key_files(tmp_path, 40_000)
    text = f'[reconcile]\nblock_length = 4096\nlist_size = 4\nstrategy = "{strategy}"\n'
    made = rehearse(job_of(tmp_path, text), measure_s=0.01, qber=0.02)
    assert made.coded_mbps_per_core > 0.0


def test_a_simulation_can_be_rehearsed(tmp_path: Path) -> None:
    job = parse_job(SIMULATION, tmp_path)
    made = rehearse(job, ranks=2, threads_per_rank=2, memory_per_rank=GIB, measure_s=0.01)
    assert made.workload.blocks == 1000
    assert made.workload.coded_bits == 1000 * 1024
    assert made.output_disk_bytes == 0
    assert sum(made.memory_bytes.values()) == GIB
    with pytest.raises(ConfigError, match="qber: expected none"):
        rehearse(job, qber=0.03)


def test_what_does_not_fit_is_refused_with_what_would(tmp_path: Path) -> None:
    key_files(tmp_path, 1 << 20)
    job = job_of(tmp_path, '[reconcile]\nblock_length = "2^20"\nlist_size = 32\nqber = 0.02\n')
    limit = FIXED_BYTES + (16 << 20)
    with pytest.raises(MemoryBudgetError, match="list size 8 at this block length") as caught:
        rehearse(job, ranks=48, memory_per_rank=limit, speed_mbps=1.0)
    fitting = caught.value.fields["fitting_ranks_per_node"]
    assert f"{fitting} ranks on a node in place of 48" in caught.value.message
    each = 48 * limit // fitting
    assert rehearse(job, ranks=fitting, memory_per_rank=each, speed_mbps=1.0).threads == 1
    with pytest.raises(MemoryBudgetError) as caught:
        rehearse(job, memory_per_rank=limit, speed_mbps=1.0)
    assert "fitting_ranks_per_node" not in caught.value.fields


def test_memory_is_that_of_the_option_of_the_job_or_of_a_share_of_the_machine(tmp_path: Path) -> None:
    key_files(tmp_path)
    job = job_of(tmp_path, SHORT + '[limits]\nmemory_per_rank = "1GiB"\nthreads_per_rank = 3\n')
    made = rehearse(job, ranks=2, memory_per_rank=2 * GIB, speed_mbps=1.0)
    assert (made.machine.memory_per_rank, made.machine.memory_source) == (2 * GIB, "--memory-per-rank")
    assert made.machine.threads_per_rank == 3
    assert rehearse(job, ranks=2, speed_mbps=1.0).machine.memory_per_rank == GIB
    found = rehearse(job_of(tmp_path, SHORT), ranks=2, ranks_per_node=2, speed_mbps=1.0).machine
    assert found.memory_per_rank == memory_limit(ranks_on_node=2).limit_bytes
    assert found.memory_source == memory_limit(ranks_on_node=2).source


def test_interleaving_takes_memory_of_its_own(tmp_path: Path) -> None:
    key_files(tmp_path)
    made = rehearse(job_of(tmp_path, SHORT + "interleave = true\n"), memory_per_rank=GIB, speed_mbps=1.0)
    assert made.memory_bytes["interleaving_bytes"] > 0
    assert sum(made.memory_bytes.values()) == GIB


def test_the_schedule_of_the_job_is_that_of_the_plan(tmp_path: Path) -> None:
    key_files(tmp_path)

    def policy(schedule: str) -> SchedulePolicy:
        return rehearse(job_of(tmp_path, f"{SHORT}[schedule]\n{schedule}\n"), ranks=4, speed_mbps=1.0).policy

    assert policy('kind = "static"').kind == "static"
    assert policy("divisor = 7").divisor == 7
    assert policy("least_tasks = 100000").most_tasks >= 100_000
    assert policy("most_tasks = 1").least_tasks == 1


def test_the_qber_is_assumed_only_where_it_is_not_given(tmp_path: Path) -> None:
    key_files(tmp_path)
    assert ASSUMED_QBER == 0.03
    with pytest.raises(ConfigError, match="qber: expected none, since the job gives one"):
        rehearse(job_of(tmp_path, SHORT), qber=0.02, speed_mbps=1.0)
    estimating = job_of(tmp_path, SHORT.replace("qber = 0.02\n", ""))
    assert rehearse(estimating, speed_mbps=1.0).workload.sampled_bits == sample_bits_of(estimating.options, 160_000) > 0
    for wrong in (0.0, 0.5, -1.0):
        with pytest.raises(ConfigError, match=r"qber: expected 0 < qber < 0\.5"):
            rehearse(estimating, qber=wrong, speed_mbps=1.0)


def test_a_plan_is_for_key_files_of_one_length(tmp_path: Path) -> None:
    job = job_of(tmp_path, SHORT)
    with pytest.raises(KeyFileError, match=r"a\.bin"):
        rehearse(job, speed_mbps=1.0)
    key_files(tmp_path)
    os.truncate(tmp_path / "b.bin", 10_000)
    for act in (lambda: rehearse(job, speed_mbps=1.0), lambda: checked(job)):
        with pytest.raises(ShapeError, match="expected two keys of one length"):
            act()
    with pytest.raises(ConfigError, match="it has no key files"):
        open_keys(parse_job(SIMULATION, tmp_path))


def test_a_sample_leaves_a_key(tmp_path: Path) -> None:
    options = job_of(tmp_path, "[reconcile]\nsample_bits = 1000\n").options
    assert layout_of(options, 2000).key_bits == 1000
    with pytest.raises(ConfigError, match=r"reconcile\.sample_bits: expected fewer than the key's 1000 bits"):
        layout_of(options, 1000)


def test_a_checked_job_says_what_it_will_do(tmp_path: Path) -> None:
    key_files(tmp_path)
    document = checked(job_of(tmp_path, SHORT))
    assert (document["key_bits"], document["blocks"], document["sampled_bits"]) == (160_000, 157, 0)
    assert checked(parse_job(SIMULATION, tmp_path))["blocks"] == 1000
    with pytest.raises(ConfigError, match="efficiency"):
        checked(parse_job(SIMULATION.replace("1.5", "50.0"), tmp_path))
    with pytest.raises(ConfigError, match=r"work\.dir: expected a directory on the file system"):
        checked(job_of(tmp_path, f'{SHORT}[work]\ndir = "/proc/self/work"\n'))

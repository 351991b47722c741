"""Jobs on ranks under a real `mpiexec`: the same bits from any number of them, and every way to go wrong ends.

What one process on one thread makes is the reference; ranks, schedules and hosts must change nothing but time.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from cluster_jobs import (
    MPIEXEC,
    Job,
    Results,
    Started,
    caligo_run,
    environment,
    mpiexec,
    rank_words,
    results,
    run_alone,
    run_ranks,
    sealed_run,
    write_job,
    write_keys,
)
from slurm_box import Hosts, clean_environment

from caligo.errors import ExitCode

pytestmark = [pytest.mark.acceptance, pytest.mark.alone]

SOON_S = 30.0
"""Where a job is to end at once: long enough for two busy cores to start eight interpreters."""

KEYS: dict[str, dict[str, Any]] = {
    "drifting": {"bits": 1 << 25, "qber": 0.02, "seed": 5, "drift": 0.2},
    "steady": {"bits": 1 << 23, "qber": 0.02, "seed": 6},
}

JOBS: dict[str, tuple[str, dict[str, Any]]] = {
    "one-way": ("drifting", {"block_length": "2^14", "list_size": 4}),
    "segmented": (
        "steady",
        {"qber": 0.02, "block_length": "2^16", "list_size": 8, "strategy": "segmented", "segment_length": "2^13"},
    ),
    "interactive": (
        "steady",
        {"qber": 0.02, "block_length": "2^14", "list_size": 4, "strategy": "interactive", "wish": "balanced"},
    ),
    "retry": (
        "steady",
        {"qber": 0.02, "block_length": "2^13", "list_size": 4, "efficiency": 1.25, "on_failure": "retry"},
    ),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write_keys(tmp_path_factory.mktemp(name), **options) for name, options in KEYS.items()}


def make(kind: str, places: dict[str, Path], directory: Path, **tables: Any) -> Job:
    keys, reconcile = JOBS[kind]
    return write_job(directory, "job", places[keys], reconcile, tables)


@pytest.fixture(scope="module")
def references(places: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    """By kind of job, what one process makes of it; made when first asked for."""

    class Made(dict[str, Results]):
        def __missing__(self, kind: str) -> Results:
            self[kind] = run_alone(make(kind, places, tmp_path_factory.mktemp(kind)))
            return self[kind]

    return Made()


def chunks_by_rank(path: Path) -> dict[int, list[tuple[int, int]]]:
    """What each rank was given, in order."""
    given: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for line in path.read_text().splitlines()[1:]:
        entry = json.loads(line)
        given[entry["rank"]].append((entry["first"], entry["count"]))
    return dict(given)


def documents(job: Job) -> tuple[dict[str, Any], dict[int, list[tuple[int, int]]]]:
    """Of the sealed run: ranks.json, and the schedule by rank."""
    run = sealed_run(job)
    return json.loads((run.path / "ranks.json").read_text()), chunks_by_rank(run.path / "schedule.jsonl")


START_TOGETHER = """
import pathlib, time
import caligo.jobs.rank_loop as module
work = module.RankLoop.run
def together(self):
    place = pathlib.Path({place!r})
    (place / f"ready-{{RANK}}").touch()
    while len(list(place.glob("ready-*"))) < {ranks}:
        time.sleep(0.001)
    return work(self)
module.RankLoop.run = together
"""
"""Jobs this small may be over before the last rank has loaded its code."""


@pytest.mark.parametrize(
    ("kind", "ranks"),
    [
        ("one-way", 1),
        ("one-way", 2),
        ("one-way", 3),
        ("one-way", 4),
        ("one-way", 8),
        ("segmented", 3),
        ("interactive", 2),
        ("interactive", 4),
        ("retry", 3),
    ],
)
def test_any_number_of_ranks_makes_what_one_thread_makes(
    kind: str, ranks: int, places: dict[str, Path], references: dict[str, Results], tmp_path: Path
) -> None:
    job = make(kind, places, tmp_path)
    assert run_ranks(ranks, job, prologue=START_TOGETHER.format(place=str(tmp_path), ranks=ranks)) == references[kind]
    told, schedule = documents(job)
    assert [rank["rank"] for rank in told["ranks"]] == list(range(ranks))
    assert len(schedule) == ranks
    assert sum(rank["sums"]["counters"]["blocks"] for rank in told["ranks"]) >= len(references[kind].blocks)
    print(
        f"{kind} on {ranks} ranks: {dict(sealed_run(job).summary or {})['elapsed_s']:.2f} s, peak RSS "
        f"{max(rank['peak_rss_bytes'] for rank in told['ranks']) / 2**20:.0f} MiB"
    )


def test_a_static_schedule_makes_the_same(
    places: dict[str, Path], references: dict[str, Results], tmp_path: Path
) -> None:
    job = make("one-way", places, tmp_path, schedule={"kind": "static"})
    assert run_ranks(3, job) == references["one-way"]


def test_a_schedule_that_is_replayed_is_the_same_on_every_rank(
    places: dict[str, Path], references: dict[str, Results], tmp_path: Path
) -> None:
    for kind in ("one-way", "retry"):
        directories = [tmp_path / kind / name for name in ("first", "second")]
        for directory in directories:
            directory.mkdir(parents=True)
        first, second = (make(kind, places, directory) for directory in directories)
        assert run_ranks(3, first) == references[kind]
        log = sealed_run(first).path / "schedule.jsonl"
        assert run_ranks(3, second, "--replay-schedule", str(log)) == references[kind]
        assert documents(second)[1] == chunks_by_rank(log)


def test_outputs_put_in_place_in_many_pieces_by_many_ranks_are_the_same(
    places: dict[str, Path], references: dict[str, Results], tmp_path: Path
) -> None:
    """As for keys of 2^29 bits and more."""
    job = make("retry", places, tmp_path)
    cuts = "import caligo.jobs.coordination as coordination\ncoordination.MERGE_BITS = 1 << 19"
    assert run_ranks(4, job, prologue=cuts) == references["retry"]
    assert len(sealed_run(job).record_counts) > 2


# --- what goes wrong -------------------------------------------------------------------------------------------------

UNREADABLE = """
if RANK == 1:
    import caligo.keys.packed as packed
    def unreadable(self, start, bits):
        raise RuntimeError("the disk of this node is gone")
    packed.PackedKeyReader.read_bits = unreadable
"""

SHORT = """
if RANK == 2:
    import dataclasses
    from caligo.jobs.job_file import KeysTable
    original = KeysTable.open
    def short(keys):
        shorter = keys.alice.with_name("short.bin")
        shorter.write_bytes(keys.alice.read_bytes()[:1000])
        return original(dataclasses.replace(keys, alice=shorter))
    KeysTable.open = short
"""


@pytest.mark.parametrize(
    ("prologue", "rank", "said"),
    [(UNREADABLE, 1, "RuntimeError: the disk of this node is gone"), (SHORT, 2, "bits")],
)
def test_an_exception_on_one_rank_ends_all_with_its_traceback_and_number(
    prologue: str, rank: int, said: str, places: dict[str, Path], references: dict[str, Results], tmp_path: Path
) -> None:
    job = make("one-way", places, tmp_path)
    with mpiexec(3, job, prologue=prologue) as started:
        assert started.wait(SOON_S) != 0
        text = started.text
        assert "Traceback" in text
        assert f"[rank {rank}]" in text
        assert said in text
        assert "[rank 0]" not in text
        started.wait_for_all(SOON_S)
    assert not job.is_done()
    assert run_ranks(2, job) == references["one-way"]


@pytest.mark.parametrize(
    ("env", "remedy"),
    [
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0"}, "mpiexec that belongs to this library"),
        (
            {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "7"},
            "srun --mpi=list",
        ),
    ],
)
def test_a_launcher_of_another_mpi_is_found_out_before_anything_is_done(
    env: dict[str, str], remedy: str, places: dict[str, Path], tmp_path: Path
) -> None:
    job = make("one-way", places, tmp_path)
    started = Started(rank_words(job), tmp_path / "log", env)
    try:
        assert started.wait(SOON_S) == ExitCode.CLUSTER, started.text
    finally:
        started.kill_all()
    assert "expected 4 ranks" in started.text
    assert "got a world of 1" in started.text
    assert remedy in started.text
    assert not job.work.exists()
    assert not job.out.exists()


def test_several_processes_of_the_command_for_one_are_refused_with_the_command_for_many(
    places: dict[str, Path], tmp_path: Path
) -> None:
    job = make("one-way", places, tmp_path)
    words = [Path(sys.executable).parent / "mpiexec", "-n", "2", sys.executable, "-m", "caligo", "run", job.path]
    started = Started(words, tmp_path / "log")
    try:
        assert started.wait(SOON_S) != 0, started.text
    finally:
        started.kill_all()
    assert "python -m caligo.cluster JOB.toml" in started.text
    assert not job.work.exists()


LATE_WORDS = """
import sys, time
from caligo.cluster.mpi import MpiMailbox
mailbox = MpiMailbox()
if mailbox.rank == 0:
    while mailbox.receive() is None:
        pass
    time.sleep(0.3)
    mailbox._world.iprobe()
else:
    mailbox.send(0, "first")
    mailbox.send(0, b"last" * int(sys.argv[1]))
mailbox.close(20.0, False)
print("left")
"""


@pytest.mark.parametrize("length", [1, 100_000])
def test_ranks_leave_together_over_words_that_nobody_reads(length: int) -> None:
    """MPI fails to end over a message that has come and was not taken; a sign of life may come behind the last word."""
    words = [MPIEXEC, "-n", "3", sys.executable, "-c", LATE_WORDS, str(length)]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.count("left")) == (0, 3), done.stderr


def test_a_job_that_is_done_is_not_done_again(
    places: dict[str, Path], references: dict[str, Results], tmp_path: Path
) -> None:
    job = make("retry", places, tmp_path)
    assert run_ranks(2, job) == references["retry"]
    before = {path: path.stat().st_mtime_ns for path in job.out.iterdir()}
    assert run_ranks(3, job) == references["retry"]
    with caligo_run(job) as started:
        assert started.wait() == 0, started.text
    assert results(job) == references["retry"]
    assert {path: path.stat().st_mtime_ns for path in job.out.iterdir()} == before
    assert len(job.attempts()) == 1


# --- what a start costs ----------------------------------------------------------------------------------------------

HEAVY = ("click", "rich", "numba", "llvmlite", "matplotlib", "scipy", "caligo.cli", "caligo.reports", "caligo.bench")

START = """
import resource, sys, time
before = time.perf_counter()
import {module}
wall_s = time.perf_counter() - before
usage = resource.getrusage(resource.RUSAGE_SELF)
import json
print(json.dumps({{"modules": sorted(sys.modules), "wall_s": wall_s, "cpu_s": usage.ru_utime + usage.ru_stime}}))
"""


def starts_of(module: str, count: int = 5) -> list[dict[str, Any]]:
    """Fresh interpreters that load a module; a first one, which leaves its byte code, is not counted."""
    found = []
    for _ in range(count + 1):
        done = subprocess.run(
            [sys.executable, "-c", START.format(module=module)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        found.append(json.loads(done.stdout))
    return found[1:]


def test_a_rank_loads_little_and_says_how_many_files_it_opened(places: dict[str, Path], tmp_path: Path) -> None:
    ranks, numpy = starts_of("caligo.cluster.__main__"), starts_of("numpy")
    for what, among in (("a rank", ranks), ("numpy alone", numpy)):
        wall_s = [start["wall_s"] for start in among]
        cpu_s = [start["cpu_s"] for start in among]
        print(
            f"{what}: {len(among[0]['modules'])} modules, loaded in {statistics.median(wall_s):.3f} s, at best "
            f"{min(wall_s):.3f} s; process time {statistics.median(cpu_s):.3f} s, at best {min(cpu_s):.3f} s"
        )
    loaded = ranks[0]["modules"]
    assert [name for name in loaded if name.startswith(HEAVY)] == []
    own = [name for name in loaded if name.startswith("caligo")]
    print(f"of these {len(own)} are caligo's")
    assert len(own) <= 110
    assert len(loaded) <= 420
    job = make("retry", places, tmp_path)
    run_ranks(3, job)
    startups = [rank["startup"] for rank in documents(job)[0]["ranks"]]
    print("files opened at the start of each rank:", [startup["files_opened"] for startup in startups])
    for number, startup in enumerate(startups):
        assert 0 < startup["files_opened"] <= (650 if number == 0 else 450)
        assert startup["import_s"] > 0


# --- several hosts ---------------------------------------------------------------------------------------------------


def test_eight_ranks_on_four_hosts_make_what_one_thread_makes(
    hosts: Hosts, places: dict[str, Path], references: dict[str, Results], tmp_path: Path
) -> None:
    job = make("one-way", places, tmp_path)
    done = hosts.mpiexec(8, rank_words(job), 2, env=environment_on(hosts))
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(job) == references["one-way"]
    assert (sealed_run(job).summary or {})["job"]["hosts"] == 4


def test_ranks_on_other_hosts_get_tasks_while_rank_0_decodes_long_blocks(
    hosts: Hosts, places: dict[str, Path], tmp_path: Path
) -> None:
    """Each window takes rank 0 two seconds; nobody else may wait for it to look up from its work."""
    slow = (
        "if RANK == 0:\n"
        "    import time, caligo.jobs.reconcile_work as module\n"
        "    original = module.reconcile_rows\n"
        "    def slow(*words, **named):\n"
        "        time.sleep(2.0)\n"
        "        return original(*words, **named)\n"
        "    module.reconcile_rows = slow\n"
    )
    job = write_job(
        tmp_path,
        "job",
        places["drifting"],
        {"qber": 0.02, "block_length": "2^14", "list_size": 4},
        {"schedule": {"least_tasks": 1, "most_tasks": 1}},
    )
    began = time.monotonic()
    done = hosts.mpiexec(4, rank_words(job, prologue=slow), 1, env=environment_on(hosts))
    assert done.returncode == 0, done.stdout + done.stderr
    told, schedule = documents(job)
    waited_s = {rank["rank"]: rank["sums"]["phases"]["wait"][1] / 1e9 for rank in told["ranks"]}
    chunks = {rank: len(given) for rank, given in sorted(schedule.items())}
    print(f"{time.monotonic() - began:.1f} s; chunks by rank {chunks}; seconds waited by rank {waited_s}")
    assert chunks[0] <= 3
    assert min(chunks[rank] for rank in (1, 2, 3)) >= 4
    assert max(waited_s[rank] for rank in (1, 2, 3)) < waited_s[0]
    results(job)


def environment_on(hosts: Hosts) -> dict[str, str]:
    """What ranks on hosts need to find caches of these tests."""
    return {key: value for key, value in environment().items() if clean_environment().get(key) != value}

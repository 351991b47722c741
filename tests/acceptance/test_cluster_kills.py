"""Jobs on ranks that are killed, stopped, frozen and asked to end: what was done is kept, and the end is the same."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from cluster_jobs import (
    Job,
    Results,
    Started,
    caligo_run,
    mpiexec,
    results,
    run_alone,
    sealed_run,
    wait_until,
    write_job,
    write_keys,
)

from caligo.errors import ExitCode
from caligo.jobs.shards import ShardReader
from caligo.jobs.work_directory import WorkDirectory

pytestmark = [pytest.mark.acceptance, pytest.mark.alone]

KILLS = 50
RANKS = 2
CUTS = "import caligo.jobs.coordination as coordination\ncoordination.MERGE_BITS = 1 << 21"
"""Outputs are put in place in many pieces, as those of keys of 2^29 bits and more are."""

RECONCILE = {"block_length": "2^14", "list_size": 8}

SLOW = """import time, caligo.jobs.reconcile_tasks as tasks
result = tasks.ReconcileWorker._result
def slow(*words):
    time.sleep(0.2)
    return result(*words)
tasks.ReconcileWorker._result = slow"""
"""Every task takes a while longer."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Designs follow their drift, so that tasks wait for others."""
    return write_keys(tmp_path_factory.mktemp("keys"), 1 << 25, 0.02, seed=5, drift=0.2)


@pytest.fixture(scope="module")
def reference(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_alone(write_job(tmp_path_factory.mktemp("reference"), "alone", keys, RECONCILE))


@pytest.fixture
def job(keys: Path, tmp_path: Path) -> Job:
    return write_job(tmp_path, "job", keys, RECONCILE)


def is_at_work(job: Job) -> bool:
    """Some task is done, so that there is something to lose, and something to go on with."""
    return sum(shard.stat().st_size for shard in job.shards()) > 300_000


def is_merging(job: Job, attempts_before: int = 0) -> bool:
    """A further attempt puts its outputs in place; hidden files of those before it lie there too."""
    names = [attempt.name for attempt in job.attempts()[attempts_before:]]
    return job.out.is_dir() and any(name in path.name for path in job.out.iterdir() for name in names)


def has_shards(job: Job, attempts_before: int) -> bool:
    """A further attempt has begun to work."""
    return any(any(attempt.glob("*.shard")) for attempt in job.attempts()[attempts_before:])


def where_it_is(job: Job, attempts_before: int) -> str:
    if job.is_done():
        return "ending"
    if is_merging(job, attempts_before):
        return "merging"
    return "working" if has_shards(job, attempts_before) else "starting"


def frames(job: Job) -> int:
    """Tasks that are kept, counting those done twice twice."""
    digest = bytes.fromhex(WorkDirectory(job.work).job()["digest"])  # type: ignore[index]
    kept = 0
    for shard in job.shards():
        with ShardReader(shard, digest) as reader:
            kept += sum(1 for _ in reader.places())
    return kept


def kill_one(started: Started, rng: random.Random) -> None:
    ranks = started.ranks()
    if ranks:
        with contextlib.suppress(ProcessLookupError):
            os.kill(ranks[rng.choice(sorted(ranks))], signal.SIGKILL)
    else:
        started.process.kill()


def kill_everybody(started: Started, rng: random.Random) -> None:
    started.kill_all()


def kill_launcher(started: Started, rng: random.Random) -> None:
    started.process.kill()


def finish(job: Job, reference: Results, ranks: int = RANKS) -> None:
    """Start once more; it goes on to the end, which is that of the job done by one process without any trouble."""
    with mpiexec(ranks, job) as started:
        assert started.wait() == 0, started.text
    assert results(job) == reference


def test_a_job_killed_at_fifty_random_instants_ends_as_if_it_never_had_been(
    keys: Path, reference: Results, tmp_path: Path
) -> None:
    rng = random.Random(20)
    with mpiexec(RANKS, write_job(tmp_path, "warm", keys, RECONCILE), prologue=CUTS) as started:
        assert started.wait() == 0, started.text
    whole_s = time.monotonic() - started.began
    began = time.monotonic()
    hit: Counter[str] = Counter()
    jobs = starts = resumed = kept = 0
    kills = 0
    while kills < KILLS:
        jobs += 1
        job = write_job(tmp_path, f"job{jobs}", keys, RECONCILE)
        while not job.is_done() and kills < KILLS:
            starts += 1
            attempts = len(job.attempts())
            kept_before = frames(job) if job.shards() else 0
            resumed += kept_before > 0
            kept += kept_before
            with mpiexec(RANKS, job, prologue=CUTS) as started:
                # Half of the instants are anywhere in a start; the others where they would seldom be by chance.
                if kills % 10 in (1, 4, 7):
                    wait_until(partial(has_shards, job, attempts), started)
                    delay_s = rng.uniform(0.0, 0.3 * whole_s)
                elif kills % 10 in (5, 9):
                    wait_until(partial(is_merging, job, attempts), started)
                    delay_s = rng.uniform(0.0, 0.1)
                else:
                    delay_s = rng.uniform(0.0, whole_s if kept_before == 0 else 0.7 * whole_s)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    started.process.wait(delay_s)
                if started.process.poll() is None:
                    hit[where_it_is(job, attempts)] += 1
                    rng.choice((kill_one, kill_everybody, kill_launcher))(started, rng)
                    assert started.wait() != 0 or job.is_done()
                else:
                    assert started.wait() == 0, started.text
                kills += 1
                started.wait_for_all()
        finish(job, reference)
    print(
        f"{kills} kills in {jobs} jobs and {starts} starts, {time.monotonic() - began:.0f} s; one start undisturbed is "
        f"{whole_s:.2f} s; hit: {dict(hit)}; {resumed} starts went on with {kept} tasks of others"
    )
    assert hit.total() >= 30
    assert hit["working"] >= 10
    assert hit["merging"] + hit["ending"] >= 3
    assert resumed >= 10


STEPS = {
    "while the job is written down": ("caligo.jobs.work_directory", "WorkDirectory.begin", 1),
    "while an attempt is begun": ("caligo.jobs.work_directory", "WorkDirectory.attempt", 1),
    "before Alice's key is put in place": ("caligo.jobs.conclusion", "commit_pieces", 1),
    "between Alice's key and Bob's": ("caligo.jobs.conclusion", "commit_pieces", 2),
    "before what lies beside the record": ("caligo.store", "RunWriter.attach", 1),
    "before the record is sealed": ("caligo.store", "RunWriter.seal", 1),
    "between the record and the end": ("caligo.jobs.work_directory", "WorkDirectory.finish", 1),
    "before the shards are removed": ("caligo.jobs.work_directory", "WorkDirectory.remove_shards", 1),
}
"""(module, function, at which call of it) at which rank 0 dies."""


@pytest.mark.parametrize("step", STEPS)
def test_a_death_at_any_step_of_the_beginning_or_the_end_changes_nothing(
    step: str, job: Job, reference: Results
) -> None:
    module, path, call = STEPS[step]
    holder = "".join(f".{part}" for part in path.split(".")[:-1])
    name = path.split(".")[-1]
    prologue = (
        f"import itertools, signal, {module} as module\n"
        f"calls, home = itertools.count(1), module{holder}\n"
        f"original = home.{name}\n"
        "def mortal(*words, **named):\n"
        f"    if RANK == 0 and next(calls) == {call}:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return original(*words, **named)\n"
        f"home.{name} = mortal"
    )
    with mpiexec(RANKS, job, prologue=prologue) as started:
        assert started.wait() == 9, started.text
        started.wait_for_all()
    finish(job, reference)


ASKED = {
    "a rank": lambda started, number: os.kill(started.ranks()[1], number),
    "every rank": lambda started, number: [os.kill(pid, number) for pid in started.ranks().values()],
    "the launcher": lambda started, number: started.process.send_signal(number),
}


@pytest.mark.parametrize(
    ("whom", "number"),
    [("a rank", signal.SIGTERM), ("every rank", signal.SIGUSR1), ("the launcher", signal.SIGTERM)],
)
def test_a_job_that_is_asked_to_stop_ends_with_75_and_goes_on_from_there(
    whom: str, number: signal.Signals, job: Job, reference: Results
) -> None:
    with mpiexec(3, job) as started:
        assert wait_until(lambda: is_at_work(job), started)
        ASKED[whom](started, number)
        assert started.wait() == ExitCode.RESUMABLE, started.text
        started.wait_for_all()
        assert f"stopped ({number.name})" in started.text
    kept = frames(job)
    assert kept > 0
    assert not job.is_done()
    assert not any(job.out.iterdir())
    finish(job, reference)


def test_a_near_time_limit_stops_a_job_in_time_and_the_next_start_goes_on(
    keys: Path, reference: Results, tmp_path: Path
) -> None:
    job = write_job(tmp_path, "job", keys, RECONCILE, {"limits": {"stop_before": "59s"}})
    with mpiexec(RANKS, job, "--time-limit", "4s", prologue=SLOW) as started:
        assert started.wait() == ExitCode.RESUMABLE, started.text
        assert "the time limit is near" in started.text
    assert not job.is_done()
    finish(job, reference)


LONG = """import time, caligo.jobs.reconcile_work as work
rows = work.reconcile_rows
def long(*words, **named):
    time.sleep(1.0)
    return rows(*words, **named)
work.reconcile_rows = long"""
"""Every window takes a thread a second, so that there is time for a second thought while some are being finished."""


def test_ctrl_c_asks_one_process_to_stop_and_twice_ends_it(job: Job, reference: Results) -> None:
    with caligo_run(job, "--threads", "1", prologue=LONG) as started:
        assert wait_until(lambda: bool(job.shards()), started)
        time.sleep(0.5)
        started.process.send_signal(signal.SIGINT)
        assert started.wait() == ExitCode.RESUMABLE, started.text
    with caligo_run(job, "--threads", "1", prologue=LONG) as started:
        attempts = len(job.attempts())
        assert wait_until(lambda: has_shards(job, attempts), started)
        time.sleep(0.5)
        started.process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        started.process.send_signal(signal.SIGINT)
        assert started.wait() == ExitCode.INTERRUPTED, started.text
        assert "second SIGINT" in started.text
    finish(job, reference)


@contextlib.contextmanager
def frozen(pids: list[int]) -> Iterator[Callable[[], None]]:
    """Processes that stand still, until the function that the block gets is called, or to its end."""

    def thaw() -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield thaw
    finally:
        thaw()


def test_a_rank_that_stands_still_is_given_up_and_the_others_finish(job: Job, reference: Results) -> None:
    with mpiexec(3, job, "--lost-after", "3s") as started:
        assert wait_until(lambda: is_at_work(job), started)
        with frozen([started.ranks()[2]]):
            code = started.wait()
            said = started.text
    print(f"mpiexec ended with {code} while a rank stood still, {time.monotonic() - started.began:.1f} s")
    assert code == ExitCode.COMPLETED
    assert results(job) == reference
    assert "lost rank 2" in said
    summary = sealed_run(job).summary or {}
    assert summary["job"]["lost"] == [2]


def test_a_rank_that_comes_back_after_it_was_given_up_is_welcome(job: Job, reference: Results) -> None:
    with mpiexec(3, job, "--lost-after", "2s", prologue=SLOW) as started:
        assert wait_until(lambda: is_at_work(job), started)
        with frozen([started.ranks()[2]]) as thaw:
            time.sleep(3.0)
            thaw()
            assert started.wait() == ExitCode.COMPLETED, started.text
    assert results(job) == reference


def test_a_ghost_of_an_attempt_that_was_given_up_harms_nothing(job: Job, reference: Results) -> None:
    with mpiexec(RANKS, job) as ghost:
        assert wait_until(lambda: is_at_work(job), ghost)
        with frozen([*ghost.ranks().values()]) as thaw:
            finish(job, reference)
            thaw()
            code = ghost.wait()
            assert code != 0
            assert "latest" in ghost.text
    assert results(job) == reference

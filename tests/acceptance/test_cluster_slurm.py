"""Real jobs under a real Slurm: whatever happens to their nodes, every block is there once and the bits are the same.

Covers: runs on one node and on several hosts, an array over key files, the notice before a time limit, requeueing,
preemption, a node set down, a daemon killed with its ranks running on, a host cut off, memory, a controller that comes
back, a rank killed. Does not cover: what the scripts make of exit codes (`test_slurm_box`), ranks without Slurm
(`test_cluster_kills`).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from cluster_jobs import Job, Results, results, run_alone, write_job, write_keys
from slurm_box import Box, alive, until

pytestmark = [pytest.mark.acceptance, pytest.mark.alone]

RECONCILE = {"block_length": "2^16", "list_size": 8, "qber": 0.02, "escalation": []}
SLOW = RECONCILE | {"engine": "portable"}
"""The same blocks, decoded more slowly, so that there is a job to disturb."""

RANKS = 4
SMALL = {"nodes": 1, "ntasks": RANKS, "ntasks_per_node": RANKS, "mem_per_cpu": "500M"}
ENVIRONMENT = {"CALIGO_PYTHON": sys.executable}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_keys(tmp_path_factory.mktemp("keys"), (1 << 27) + 4321, 0.02, seed=9)


@pytest.fixture(scope="module")
def reference(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_alone(write_job(tmp_path_factory.mktemp("reference"), "alone", keys, RECONCILE))


@pytest.fixture
def job(keys: Path, tmp_path: Path) -> Job:
    return write_job(tmp_path, "job", keys, SLOW, {"schedule": {"most_tasks": 4}})


def submitted(box: Box, job: Job, **flags: str | int | bool) -> str:
    return box.sbatch("one-node.sbatch", job.path, "--progress-interval", "1s", env=ENVIRONMENT, **(SMALL | flags))


def wait_for_work(box: Box, number: str, job: Job, attempt: int = 1) -> None:
    """Until the attempt has done something that is kept."""

    def is_at_work() -> bool:
        paths = [path for path in job.shards() if path.parent.name.startswith(f"{attempt:04d}-")]
        return sum(path.stat().st_size for path in paths) > 1_000_000

    until(is_at_work, 150, lambda: f"attempt {attempt} at work\n{box.story(number)}")


def require_same(job: Job, reference: Results) -> None:
    """Bits and blocks; the summary names the engine, which is another one."""
    found = results(job)
    assert (found.alice, found.bob) == (reference.alice, reference.bob)
    assert found.blocks == reference.blocks


def require_done(box: Box, number: str, job: Job, reference: Results, restarts: int, timeout: float = 150) -> None:
    assert box.wait(number, timeout=timeout) == "COMPLETED", box.story(number)
    assert box.restarts(number) == restarts, box.story(number)
    require_same(job, reference)
    assert len(job.attempts()) == restarts + 1


def ranks_of(job: Job) -> list[int]:
    """Processes that run the job."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if (
                words[0] == os.fsencode(sys.executable)
                and b"caligo.cluster" in words
                and os.fsencode(job.path) in words
                and alive(int(entry.name))
            ):
                found.append(int(entry.name))
    return sorted(found)


def test_a_job_runs_to_its_end_and_a_second_start_has_nothing_to_do(
    slurm_box: Box, job: Job, reference: Results
) -> None:
    number = submitted(slurm_box, job)
    require_done(slurm_box, number, job, reference, restarts=0)
    assert "ETA" in slurm_box.output(number)
    again = submitted(slurm_box, job)
    assert slurm_box.wait(again) == "COMPLETED"
    assert "done before" in slurm_box.output(again)
    require_same(job, reference)


def test_an_array_over_key_files_does_each_of_them(
    slurm_box: Box, keys: Path, tmp_path: Path, reference: Results
) -> None:
    jobs = [write_job(tmp_path, name, keys, RECONCILE) for name in ("first", "second")]
    listed = tmp_path / "jobs.txt"
    listed.write_text("".join(f"{job.path}\n" for job in jobs))
    array = slurm_box.sbatch("array-keys.sbatch", listed, env=ENVIRONMENT, array="1-2", ntasks=2, mem_per_cpu="500M")
    for task, job in enumerate(jobs, 1):
        assert slurm_box.wait(f"{array}_{task}") == "COMPLETED", slurm_box.story(f"{array}_{task}")
        assert (results(job).alice, results(job).bob) == (reference.alice, reference.bob)


def test_ranks_told_before_the_limit_checkpoint_and_the_job_goes_on(
    slurm_box: Box, job: Job, reference: Results
) -> None:
    number = submitted(slurm_box, job)
    wait_for_work(slurm_box, number, job)
    slurm_box.run("scancel", "--signal=USR1", number)
    require_done(slurm_box, number, job, reference, restarts=1)
    assert "stopped (SIGUSR1)" in slurm_box.output(number)
    assert "resumable: requeued" in slurm_box.output(number)


def test_a_job_requeued_by_hand_goes_on(slurm_box: Box, job: Job, reference: Results) -> None:
    number = submitted(slurm_box, job)
    wait_for_work(slurm_box, number, job)
    slurm_box.run("scontrol", "requeue", number)
    require_done(slurm_box, number, job, reference, restarts=1)


def test_a_preempted_job_comes_back(slurm_box: Box, job: Job, keys: Path, tmp_path: Path, reference: Results) -> None:
    number = submitted(slurm_box, job, nodelist="n2", exclusive=True)
    wait_for_work(slurm_box, number, job)
    urgent = write_job(tmp_path, "urgent", keys, RECONCILE)
    first = submitted(slurm_box, urgent, nodelist="n2", exclusive=True, partition="urgent")
    assert slurm_box.wait(first) == "COMPLETED", slurm_box.story(first)
    require_done(slurm_box, number, job, reference, restarts=1)


def test_a_job_of_a_node_that_is_set_down_runs_on_elsewhere(slurm_box: Box, job: Job, reference: Results) -> None:
    number = submitted(slurm_box, job)
    wait_for_work(slurm_box, number, job)
    slurm_box.set_down(slurm_box.details(number)["NodeList"])
    require_done(slurm_box, number, job, reference, restarts=1)


def test_ranks_that_run_on_without_their_daemon_harm_nothing(slurm_hosts: Box, job: Job, reference: Results) -> None:
    """Ghosts: frozen until the next attempt is at work, they then go on beside it; they write, and change nothing.

    On a host of their own: of its shared memory the next attempt has nothing, as elsewhere.
    """
    slurm_box = slurm_hosts
    number = slurm_box.sbatch("one-node.sbatch", job.path, "--lost-after", "5s", env=ENVIRONMENT, **SMALL)
    wait_for_work(slurm_box, number, job)
    ghosts = ranks_of(job)
    assert len(ghosts) == RANKS
    for ghost in ghosts:
        os.kill(ghost, signal.SIGSTOP)
    slurm_box.kill_slurmd(slurm_box.details(number)["NodeList"])
    wait_for_work(slurm_box, number, job, attempt=2)
    for ghost in ghosts:
        os.kill(ghost, signal.SIGCONT)
    assert slurm_box.wait(number, timeout=150) == "COMPLETED", slurm_box.story(number)
    require_same(job, reference)
    until(lambda: not ranks_of(job), 60, lambda: f"no rank to be left: {ranks_of(job)}\n{slurm_box.story(number)}")
    require_same(job, reference)


def test_a_controller_that_comes_back_finds_the_job_at_work(slurm_box: Box, job: Job, reference: Results) -> None:
    number = submitted(slurm_box, job)
    wait_for_work(slurm_box, number, job)
    slurm_box.kill_controller(number)
    assert slurm_box.start().returncode == 0
    require_done(slurm_box, number, job, reference, restarts=0)


def test_a_killed_rank_is_given_up_and_the_others_finish(slurm_box: Box, job: Job, reference: Results) -> None:
    number = slurm_box.sbatch("one-node.sbatch", job.path, "--lost-after", "4s", env=ENVIRONMENT, **SMALL)
    wait_for_work(slurm_box, number, job)
    environments = {pid: (Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0") for pid in ranks_of(job)}
    victim = next(pid for pid, words in environments.items() if b"SLURM_PROCID=2" in words)
    os.kill(victim, signal.SIGKILL)
    require_done(slurm_box, number, job, reference, restarts=0)


def test_a_job_that_outgrows_its_memory_ends_and_goes_on_with_more(
    slurm_box: Box, job: Job, reference: Results
) -> None:
    number = submitted(slurm_box, job, mem_per_cpu="20M")
    assert slurm_box.wait(number, timeout=150) in {"FAILED", "OUT_OF_MEMORY"}, slurm_box.story(number)
    # So little that ranks may not even meet, which is tried again twice, and no more.
    assert slurm_box.restarts(number) <= 2
    assert not list(job.out.glob("*.bin")) if job.out.exists() else True
    again = submitted(slurm_box, job)
    assert slurm_box.wait(again, timeout=150) == "COMPLETED", slurm_box.story(again)
    require_same(job, reference)


def test_four_hosts_share_a_job(slurm_hosts: Box, job: Job, reference: Results) -> None:
    number = slurm_hosts.sbatch(
        "many-nodes.sbatch", job.path, env=ENVIRONMENT, nodes=4, ntasks=8, ntasks_per_node=2, mem_per_cpu="500M"
    )
    require_done(slurm_hosts, number, job, reference, restarts=0)
    assert "8 ranks on 4 hosts" in slurm_hosts.output(number)


def test_a_host_that_is_cut_off_costs_blocks_in_flight(slurm_hosts: Box, job: Job, reference: Results) -> None:
    """The file system stays with it, so it goes on writing for a while: as a ghost."""
    number = slurm_hosts.sbatch(
        "many-nodes.sbatch",
        job.path,
        "--lost-after",
        "5s",
        env=ENVIRONMENT,
        nodes=2,
        ntasks=4,
        ntasks_per_node=2,
        mem_per_cpu="500M",
    )
    wait_for_work(slurm_hosts, number, job)
    nodes = slurm_hosts.run("scontrol", "show", "hostnames", slurm_hosts.details(number)["NodeList"]).split()
    slurm_hosts.cut(nodes[-1])
    assert slurm_hosts.wait(number, timeout=180) == "COMPLETED", slurm_hosts.story(number)
    require_same(job, reference)
    slurm_hosts.heal(nodes[-1])
    until(lambda: not ranks_of(job), 120, lambda: f"no rank to be left: {ranks_of(job)}\n{slurm_hosts.story(number)}")
    require_same(job, reference)

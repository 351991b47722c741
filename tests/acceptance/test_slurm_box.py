"""The Slurm of `slurm/box` behaves as a cluster does, and the scripts of `slurm/` are right about what that means.

Covers: nodes, arrays, requeueing, notices, hosts in namespaces, stopping. The ranks are a stand-in for `python -m
caligo.cluster`, with its exit codes. Does not cover: what becomes of real jobs, and preemption, lost nodes and daemons,
memory (`test_cluster_slurm`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_box import SCRIPTS, TOOLS, UNAVAILABLE, Box, Hosts, alive, clean_environment, scratch, until

pytestmark = [pytest.mark.acceptance, pytest.mark.alone]

RESUMABLE = 75
SMALL = {"nodes": 1, "ntasks": 4, "ntasks_per_node": 4, "mem_per_cpu": "100M"}

STAND_IN = """#!{python}
# Runs as `python -m caligo.cluster --threads T TASK ...`.
import os, signal, sys, time

assert sys.argv[1:3] == ["-m", "caligo.cluster"] and sys.argv[3] == "--threads", sys.argv
rank, attempt = int(os.environ["SLURM_PROCID"]), int(os.environ.get("SLURM_RESTART_COUNT", "0"))
threads, task, *rest = sys.argv[4:]

def verdict(code):
    if rank == 0:
        open(os.environ["CALIGO_VERDICT"], "w").write(str(code))

def leave(number=0, frame=None):
    # One after the other, as ranks that finish their blocks do.
    if number:
        print(f"rank {{rank}} got {{signal.Signals(number).name}}", flush=True)
    time.sleep(0.4 * rank)
    verdict(75)
    sys.exit(75)

signal.signal(signal.SIGUSR1, leave)
signal.signal(signal.SIGTERM, leave)
where = f"{{os.environ['SLURMD_NODENAME']}} pid {{os.getpid()}}"
print(f"attempt {{attempt}} rank {{rank}} of {{os.environ['SLURM_STEP_NUM_TASKS']}} on {{where}}", flush=True)
if task == "die-while-mpi-starts" and attempt == 0:
    sys.exit(15)
verdict(137)
if task == "exit":
    verdict(rest[0])
    sys.exit(int(rest[0]))
elif task == "leave":
    leave()
elif task.startswith("work-") and attempt == 0:
    time.sleep(200)
verdict(0)
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> dict[str, str]:
    """The environment in which the scripts run the stand-in."""
    path = tmp_path / "stand-in"
    path.write_text(STAND_IN.format(python=sys.executable))
    path.chmod(0o755)
    return {"CALIGO_PYTHON": str(path)}


def ranks_of(box: Box, job: str, attempt: int = 0) -> dict[int, tuple[str, int]]:
    """Node and pid by rank, as the stand-in prints them."""
    words = [line.split() for line in box.output(job).splitlines() if line.startswith(f"attempt {attempt} rank ")]
    return {int(line[3]): (line[7], int(line[9])) for line in words}


def wait_for_ranks(box: Box, job: str, count: int = 4, attempt: int = 0, timeout: float = 60) -> None:
    until(lambda: len(ranks_of(box, job, attempt)) == count, timeout, lambda: f"{count} ranks\n{box.story(job)}")


def box_is_whole(box: Box) -> bool:
    return all(alive(box.daemon_pid(name)) for name in ("munged", "slurmctld", "slurmd.n1", "slurmd.fat"))


def test_every_node_runs_a_step_and_a_second_start_changes_nothing(slurm_box: Box) -> None:
    assert slurm_box.node_states() == dict.fromkeys(("n1", "n2", "n3", "n4", "fat"), "idle")
    names = slurm_box.run("srun", "--nodes=4", "sh", "-c", "echo $SLURMD_NODENAME").split()
    assert sorted(names) == ["n1", "n2", "n3", "n4"]
    before = slurm_box.daemon_pid("slurmctld"), slurm_box.daemon_pid("slurmd.n3")
    assert slurm_box.start().returncode == 0
    assert (slurm_box.daemon_pid("slurmctld"), slurm_box.daemon_pid("slurmd.n3")) == before


def test_the_scripts_are_accepted_as_they_are(slurm_box: Box) -> None:
    def judge(*words: str) -> str:
        done = subprocess.run(
            ["sbatch", "--test-only", *words],
            env=slurm_box.environment,
            cwd=SCRIPTS,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert "using 192 processors on nodes fat" in judge("--partition=genoa", "one-node.sbatch", "JOB.toml")
    four = ["--nodes=4", "--ntasks-per-node=48", "many-nodes.sbatch", "JOB.toml"]
    assert "using 192 processors on nodes n[1-4]" in judge(*four)
    judge("--array=1-1000", "array-keys.sbatch", "LIST")
    judge("--array=1-1000", "--cpus-per-task=8", "array-simulations.sbatch", "POINTS")


def test_an_array_runs_each_line_of_its_list_once(slurm_box: Box, stand_in: dict[str, str], tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.txt"
    jobs.write_text("leave\nfinish\nfinish\n")
    array = slurm_box.sbatch(
        "array-keys.sbatch", "--max-requeues=0", jobs, env=stand_in, array="1-4", ntasks=2, mem_per_cpu="100M"
    )
    points = tmp_path / "points.txt"
    common = "--block-length 1024 --list-size 2 --frames 20 --store store"
    points.write_text(f"--qber 0.02 --efficiency 1.6 {common}\n--qber 0.03 --efficiency 1.5 {common}\n")
    simulations = slurm_box.sbatch(
        "array-simulations.sbatch", points, "--json", env={"CALIGO_PYTHON": sys.executable}, cwd=tmp_path, array="1-2"
    )
    for task in range(1, 5):
        slurm_box.wait(f"{array}_{task}")
    assert [slurm_box.exit_code(f"{array}_{task}") for task in range(1, 5)] == [RESUMABLE, 0, 0, 2]
    assert "expected a job file in line 4" in slurm_box.output(f"{array}_4")
    for task, qber in ((1, 0.02), (2, 0.03)):
        assert slurm_box.wait(f"{simulations}_{task}") == "COMPLETED", slurm_box.story(f"{simulations}_{task}")
        printed = next(line for line in slurm_box.output(f"{simulations}_{task}").splitlines() if line.startswith("{"))
        assert json.loads(printed)["qber"] == qber


def test_code_75_requeues_once_per_attempt_and_not_for_ever(slurm_box: Box, stand_in: dict[str, str]) -> None:
    job = slurm_box.sbatch("one-node.sbatch", "--max-requeues=1", "leave", env=stand_in, **SMALL)
    other = slurm_box.sbatch("one-node.sbatch", "exit", "4", env=stand_in, **SMALL)
    assert slurm_box.wait(other) == "FAILED"
    assert (slurm_box.exit_code(other), slurm_box.restarts(other)) == (4, 0)
    assert slurm_box.wait(job) == "FAILED", slurm_box.story(job)
    assert (slurm_box.exit_code(job), slurm_box.restarts(job)) == (RESUMABLE, 1)
    # The ranks leave 0.4 s apart, and still the step's code is theirs.
    assert slurm_box.output(job).count("caligo: exit code 75") == 2
    assert len(ranks_of(slurm_box, job, attempt=0)) == len(ranks_of(slurm_box, job, attempt=1)) == 4


def test_a_task_of_an_array_is_requeued_alone(slurm_box: Box, stand_in: dict[str, str], tmp_path: Path) -> None:
    """The last task has the number of the whole array: to requeue that number would requeue all."""
    jobs = tmp_path / "jobs.txt"
    jobs.write_text("finish\nwork-until-told\n")
    array = slurm_box.sbatch("array-keys.sbatch", jobs, env=stand_in, array="1-2", ntasks=2, mem_per_cpu="100M")
    wait_for_ranks(slurm_box, f"{array}_2", 2)
    assert slurm_box.wait(f"{array}_1") == "COMPLETED"
    slurm_box.run("scancel", "--signal=USR1", f"{array}_2")
    assert slurm_box.wait(f"{array}_2") == "COMPLETED", slurm_box.story(f"{array}_2")
    assert [slurm_box.restarts(f"{array}_{task}") for task in (1, 2)] == [0, 1]


def test_ranks_are_told_before_the_limit_and_through_the_batch_shell(slurm_box: Box, stand_in: dict[str, str]) -> None:
    limited = slurm_box.sbatch("one-node.sbatch", "work-until-told", env=stand_in, time=1, signal="USR1@50", **SMALL)
    told = slurm_box.sbatch("one-node.sbatch", "work-until-told", env=stand_in, **SMALL)
    wait_for_ranks(slurm_box, told)
    slurm_box.run("scancel", "--batch", "--signal=TERM", told)
    for job in (told, limited):
        assert slurm_box.wait(job, timeout=120) == "COMPLETED", slurm_box.story(job)
        assert slurm_box.restarts(job) == 1
        for rank in range(4):
            assert f"rank {rank} got SIGUSR1" in slurm_box.output(job)


def test_a_cancelled_job_stays_cancelled(slurm_box: Box, stand_in: dict[str, str]) -> None:
    job = slurm_box.sbatch("one-node.sbatch", "work-until-told", env=stand_in, **SMALL)
    wait_for_ranks(slurm_box, job)
    slurm_box.run("scancel", job)
    assert slurm_box.wait(job) == "CANCELLED"
    assert slurm_box.restarts(job) == 0
    assert len(ranks_of(slurm_box, job, attempt=1)) == 0


def test_a_job_that_has_lost_a_rank_goes_by_the_verdict_of_rank_0(slurm_box: Box, stand_in: dict[str, str]) -> None:
    job = slurm_box.sbatch("one-node.sbatch", "work-until-told", env=stand_in, **SMALL)
    wait_for_ranks(slurm_box, job)
    _, pid = ranks_of(slurm_box, job)[2]
    os.kill(pid, 9)
    slurm_box.wait_for_output(job, "task 2: Killed")
    assert slurm_box.state(job) == "RUNNING"
    slurm_box.run("scancel", "--signal=USR1", job)
    assert slurm_box.wait(job) == "COMPLETED", slurm_box.story(job)
    assert slurm_box.restarts(job) == 1


def test_a_start_in_which_mpi_does_not_come_up_is_tried_again(slurm_box: Box, stand_in: dict[str, str]) -> None:
    job = slurm_box.sbatch("one-node.sbatch", "die-while-mpi-starts", env=stand_in, **SMALL)
    assert slurm_box.wait(job) == "COMPLETED", slurm_box.story(job)
    assert slurm_box.restarts(job) == 1
    assert "before MPI had come up" in slurm_box.output(job)


def test_ranks_that_wait_for_one_that_is_gone_are_ended(slurm_box: Box, stand_in: dict[str, str]) -> None:
    job = slurm_box.sbatch("one-node.sbatch", "work-until-told", env={**stand_in, "SLURM_WAIT": "2"}, **SMALL)
    wait_for_ranks(slurm_box, job)
    _, pid = ranks_of(slurm_box, job)[2]
    os.kill(pid, 9)
    assert slurm_box.wait(job) == "FAILED"
    assert (slurm_box.exit_code(job), slurm_box.restarts(job)) == (137, 0)


def test_an_interactive_allocation_runs_a_step(slurm_box: Box) -> None:
    printed = slurm_box.run(
        SCRIPTS / "interactive.sh", "--ntasks=2", "srun", "sh", "-c", "echo rank $SLURM_PROCID $OMP_NUM_THREADS"
    )
    assert sorted(printed.splitlines()) == ["rank 0 1", "rank 1 1"]


def test_stop_ends_all_of_one_box_and_nothing_of_another(slurm_box: Box, stand_in: dict[str, str]) -> None:
    other = Box(scratch("caligo-box-"), "--nodes", "2")
    try:
        assert other.start().returncode == 0
        job = other.sbatch("one-node.sbatch", "work-until-told", env=stand_in, **SMALL)
        wait_for_ranks(other, job)
        pids = [pid for _, pid in ranks_of(other, job).values()]
        pids += [other.daemon_pid(name) for name in ("munged", "slurmctld", "slurmd.n1", "slurmd.n2", "slurmd.fat")]
        (node, _), *_ = ranks_of(other, job).values()
        other.kill_slurmd(node)
        assert all(alive(pid) for pid in pids[:4])
    finally:
        other.stop()
    assert [pid for pid in pids if alive(pid)] == []
    assert not other.directory.exists()
    other.stop()
    assert box_is_whole(slurm_box)
    assert slurm_box.node_state("n1") == "IDLE"


def test_start_takes_no_directory_over_and_says_what_it_lacks(tmp_path: Path) -> None:
    environment = clean_environment()
    place = scratch("caligo-box-")
    place.mkdir()
    try:
        (place / "thesis.tex").touch()
        for words in (["start", str(place)], ["stop", str(place)]):
            done = subprocess.run(
                [TOOLS / words[0], words[1]], env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == (2 if words[0] == "start" else 0)
        assert [path.name for path in place.iterdir()] == ["thesis.tex"]
    finally:
        (place / "thesis.tex").unlink()
        place.rmdir()
    bare = tmp_path / "bin"
    bare.mkdir()
    for tool in ("bash", "dirname", "readlink", "env"):
        (bare / tool).symlink_to(f"/usr/bin/{tool}")
    script = f"PATH={bare}; source {TOOLS / 'box.bash'}; require_tools"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == UNAVAILABLE
    assert "apt-get install" in done.stderr


RANK_OF_A_HOST = """
import os, socket
from mpi4py import MPI

ranks, name = MPI.COMM_WORLD, socket.gethostname()
open(f"/dev/shm/{name}", "w").close()
previous = ranks.sendrecv(ranks.rank, (ranks.rank + 1) % ranks.size)
found = sorted({"h1", "h2", "h3", "h4"} & set(os.listdir("/dev/shm")))
for seen in ranks.gather((name, previous, found)) or []:
    print(seen)
"""


def test_each_host_has_a_name_an_address_and_memory_of_its_own(hosts: Hosts) -> None:
    done = hosts.mpiexec(8, [sys.executable, "-c", RANK_OF_A_HOST], ppn=2)
    assert done.returncode == 0, done.stderr
    places = [f"h{1 + rank // 2}" for rank in range(8)]
    expected = [str((place, (rank - 1) % 8, [place])) for rank, place in enumerate(places)]
    assert done.stdout.splitlines() == expected


def test_a_cut_cable_separates_and_a_healed_one_joins(hosts: Hosts) -> None:
    def reaches(name: str, other: str) -> bool:
        """A closed port answers by refusing (exit code 1); a cut cable does not answer (124)."""
        words = ["timeout", "1", "bash", "-c", f"echo >/dev/tcp/{other}/9"]
        done = subprocess.run(
            [TOOLS / "hosts", "enter", name, *words], env=hosts.environment, capture_output=True, text=True, check=False
        )
        return "refused" in done.stderr

    assert reaches("h1", "h2")
    hosts.cut("h2")
    assert not reaches("h1", "h2")
    assert reaches("h1", "h3")
    hosts.heal("h2")
    until(lambda: reaches("h1", "h2"), 30, "h2 to answer again")

"""What launcher and scheduler say of themselves, and what killed ranks leave behind."""

from __future__ import annotations

import mmap
import time
from pathlib import Path

import pytest

from caligo.cluster.launch import launched, require_agreement, require_alone
from caligo.cluster.segments import remove_stale_segments
from caligo.cluster.slurm import parse_time_left, slurm_facts, slurm_time_left_s
from caligo.errors import ClusterError

STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"}


@pytest.mark.parametrize(
    ("environ", "size"),
    [
        ({}, None),
        ({"PMI_SIZE": "4", "PMI_RANK": "1"}, 4),
        ({"OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_RANK": "0"}, 8),
        (STEP, 4),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "192", "SLURM_PROCID": "0"}, None),
        ({"PMI_SIZE": "many", "PMI_RANK": "0"}, None),
        ({"PMI_SIZE": "4"}, None),
    ],
)
def test_a_launcher_is_known_by_what_it_tells_each_process(environ: dict[str, str], size: int | None) -> None:
    launch = launched(environ)
    assert (None if launch is None else launch.size) == size


def test_a_world_that_is_not_the_launchers_is_refused_with_a_remedy() -> None:
    require_agreement(STEP, 4, "MPICH")
    require_agreement({}, 1, "MPICH")
    with pytest.raises(ClusterError, match="srun --mpi=list"):
        require_agreement(STEP, 1, "Open MPI")
    with pytest.raises(ClusterError, match="mpiexec that belongs"):
        require_agreement({"PMI_SIZE": "4", "PMI_RANK": "0"}, 1, "Open MPI")


def test_one_process_is_not_one_of_several() -> None:
    require_alone({"PMI_SIZE": "1", "PMI_RANK": "0"})
    with pytest.raises(ClusterError, match=r"caligo\.cluster"):
        require_alone({"PMI_SIZE": "2", "PMI_RANK": "0"})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("23:50:00\n", 85800.0),
        ("1-02:03:04", 93784.0),
        ("3:04", 184.0),
        ("0:00", 0.0),
        ("UNLIMITED", None),
        ("INVALID", None),
        ("", None),
        ("x-1:00", None),
        ("5", None),
    ],
)
def test_the_time_that_is_left_is_read_as_squeue_prints_it(text: str, seconds: float | None) -> None:
    assert parse_time_left(text) == seconds


def test_the_end_of_a_job_is_what_slurm_put_in_the_environment() -> None:
    assert slurm_time_left_s({}) is None
    assert slurm_time_left_s({"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "1060"}, now=1000.0) == 60.0
    assert slurm_time_left_s({"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "900"}, now=1000.0) == 0.0


def test_what_slurm_says_is_recorded_inside_a_job_alone() -> None:
    assert slurm_facts({"SLURM_RESTART_COUNT": "3"}) == {}
    facts = slurm_facts({"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "3", "HOME": "/root"})
    assert facts == {"job": "7", "restarts": "3"}


def test_old_segments_that_nobody_has_open_are_removed_and_no_others(tmp_path: Path) -> None:
    stale, used, other, young = (tmp_path / name for name in ("mpich_shm_a_0", "mpich_shm_b_0", "mine", "mpich_shm_c"))
    for path in (stale, used, other):
        path.write_bytes(bytes(4096))
    time.sleep(1.0)
    young.write_bytes(bytes(4096))
    with used.open("r+b") as file, mmap.mmap(file.fileno(), 4096):
        assert remove_stale_segments(tmp_path, age_s=0.5) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mpich_shm_b_0", "mpich_shm_c"]
    assert remove_stale_segments(tmp_path / "missing") == 0

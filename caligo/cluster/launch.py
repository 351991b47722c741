"""What a launcher says of the processes it started, and whether MPI agrees.

A launcher of one MPI and a library of another start N processes that are each rank 0 of 1: N times the same job, with
exit code 0. So what the launcher put in the environment is held against what the library says, before anything is done.

Covers: MPICH and its relatives, Open MPI, Slurm, PMIx. Does not cover: starting processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from caligo.errors import ClusterError

__all__ = ["Launch", "launched", "require_agreement"]

_SIZES = (
    ("Open MPI (mpirun)", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("a launcher with PMI", "PMI_SIZE", "PMI_RANK"),
    ("srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)


class Launch(NamedTuple):
    """What a launcher said.

    Args:
        by: who.
        variable: where.
        size: processes that it started together.
    """

    by: str
    variable: str
    size: int


def launched(environ: Mapping[str, str]) -> Launch | None:
    """Who started this process as one of several; None: nobody did.

    A variable counts only together with the rank that the same launcher gives each process, and only where this process
    is in a step of its own: inside `sbatch` or `salloc` Slurm's numbers are there too, for the batch script.

    Args:
        environ: of this process.
    """
    for by, size, rank in _SIZES:
        number, place = environ.get(size, ""), environ.get(rank, "")
        if not (number.isdigit() and place.isdigit()):
            continue
        if size == "SLURM_STEP_NUM_TASKS" and environ.get("SLURM_STEP_ID", "").isdigit() is False:
            continue
        return Launch(by, size, int(number))
    return None


def require_agreement(environ: Mapping[str, str], size: int, library: str) -> None:
    """Refuse to run where the launcher started other processes than the library knows of.

    Args:
        environ: of this process.
        size: of MPI's world.
        library: name of the MPI library.

    Raises:
        ClusterError: they differ.
    """
    launch = launched(environ)
    if launch is None or launch.size == size:
        return
    remedy = (
        "ask `srun --mpi=list` which kinds Slurm has and name the one that fits the library (srun --mpi=pmi2 for MPICH "
        "and its relatives, --mpi=pmix for Open MPI)"
        if launch.by == "srun" or "SLURM_JOB_ID" in environ
        else "start it with the mpiexec that belongs to this library (`caligo doctor` shows both)"
    )
    raise ClusterError(
        f"expected {launch.size} ranks, as {launch.by} says ({launch.variable}), got a world of {size} from {library}: "
        f"launcher and library do not belong together; {remedy}",
        launcher=launch.by,
        expected=launch.size,
        got=size,
        library=library,
    )


def require_alone(environ: Mapping[str, str]) -> None:
    """Refuse to be one of several processes that each run the whole job.

    Args:
        environ: of this process.

    Raises:
        ClusterError: a launcher started several.
    """
    launch = launched(environ)
    if launch is not None and launch.size > 1:
        raise ClusterError(
            f"expected one process, got {launch.size} from {launch.by}; on several ranks the command is `python -m "
            "caligo.cluster JOB.toml`",
            launcher=launch.by,
            got=launch.size,
        )

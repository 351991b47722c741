"""What Slurm says of the job that this process is part of.

Covers: how much time is left, what the record should say. Does not cover: submitting (``slurm/``), launching.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["parse_time_left", "slurm_facts", "slurm_time_left_s"]

_FACTS = {
    "SLURM_JOB_ID": "job",
    "SLURM_ARRAY_JOB_ID": "array_job",
    "SLURM_ARRAY_TASK_ID": "array_task",
    "SLURM_RESTART_COUNT": "restarts",
    "SLURM_JOB_NAME": "name",
    "SLURM_JOB_PARTITION": "partition",
    "SLURM_JOB_NODELIST": "nodes",
    "SLURM_STEP_NUM_TASKS": "tasks",
    "SLURM_CLUSTER_NAME": "cluster",
}


def slurm_facts(environ: Mapping[str, str]) -> dict[str, Any]:
    """What a record should say of the Slurm job; empty outside one."""
    if "SLURM_JOB_ID" not in environ:
        return {}
    return {name: environ[variable] for variable, name in _FACTS.items() if variable in environ}


def slurm_time_left_s(environ: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds until Slurm ends this job; None: it does not, or nobody knows.

    From `SLURM_JOB_END_TIME` where there is one (23.02 and newer), else from one call of `squeue`.

    Args:
        environ: of this process.
        now: seconds since 1970; None: of the clock.
    """
    if "SLURM_JOB_ID" not in environ:
        return None
    end = environ.get("SLURM_JOB_END_TIME", "")
    if end.isdigit():
        return max(0.0, int(end) - (time.time() if now is None else now))
    squeue = shutil.which("squeue")
    if squeue is None:
        return None
    job = environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in environ and "SLURM_ARRAY_TASK_ID" in environ:
        job = f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    try:
        asked = subprocess.run(
            [squeue, "--noheader", "--job", job, "--format", "%L"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_time_left(asked.stdout)


def parse_time_left(text: str) -> float | None:
    """Seconds in what `squeue --format %L` prints: ``1-02:03:04``, ``02:03:04``, ``3:04``; None for all else."""
    words = text.split()
    if not words:
        return None
    days, dash, clock = words[0].rpartition("-")
    parts = clock.split(":")
    if (dash and not days.isdigit()) or not 2 <= len(parts) <= 3 or not all(part.isdigit() for part in parts):
        return None
    seconds = 0
    for part in parts:
        seconds = 60 * seconds + int(part)
    return float(86400 * int(days or 0) + seconds)

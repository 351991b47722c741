"""Shared-memory files that killed ranks have left, which the next attempt of a Slurm job would take for its own.

MPICH names the segment through which the ranks of a node meet after the job and step that Slurm tells it, and whoever
comes first makes it: a file of that name that is there already is taken as it is. A requeued job has the same numbers
again: where its ranks were killed while they met, what they left is not as MPI expects, and `MPI_Init` waits for ever,
or fails (seen with MPICH 5.0 under `srun --mpi=pmi2`). So each rank removes, before it enters MPI, the segments of its
user that are older than itself and that no process has mapped. No rank then meets the others in an old one.

Covers: Linux, MPICH's segments. Does not cover: other libraries, which delete theirs as soon as all have opened them.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from caligo.telemetry.startup import process_age_s

__all__ = ["remove_stale_segments"]

_PREFIX = "mpich_shm_"


def remove_stale_segments(
    directory: Path = Path("/dev/shm"), processes: Path = Path("/proc"), age_s: float | None = None
) -> int:
    """Remove this user's segments that are older than this process and that no process has mapped; how many.

    Args:
        directory: where they are.
        processes: where the processes are.
        age_s: of this process; None: asks the system.
    """
    if age_s is None:
        age_s = process_age_s() or 0.0
    born = time.time() - age_s
    found: dict[int, Path] = {}
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_uid == os.geteuid() and status.st_ctime < born:
                        found[status.st_ino] = Path(entry.path)
    if not found:
        return 0
    with suppress(OSError), os.scandir(processes) as entries:
        for entry in entries:
            if entry.name.isdigit():
                with suppress(OSError):
                    for line in (Path(entry.path) / "maps").read_bytes().splitlines():
                        if _PREFIX.encode() in line:
                            found.pop(int(line.split()[4]), None)
    removed = 0
    for path in found.values():
        with suppress(OSError):
            path.unlink()
            removed += 1
    return removed

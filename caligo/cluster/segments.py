"""Shared-memory files that killed ranks have left, which the next attempt of a Slurm job would take for its own.

MPICH names the segment through which the ranks of a node meet after the job and step that Slurm tells it, and opens a
file of that name that is there already. A requeued job has the same numbers again: where its ranks were killed before,
the counters in the file that they left are not zero, and `MPI_Init` waits for ever (seen with MPICH 5.0 under
`srun --mpi=pmi2`). So the first rank of a node removes, before it enters MPI, the segments of its user that no process
has open. The others of the node open the segment only once the first one has made it.

Covers: Linux, MPICH's segments. Does not cover: other libraries, which delete theirs as soon as all have opened them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

__all__ = ["is_first_of_node", "remove_stale_segments"]

_PREFIX = "mpich_shm_"

_LEAST_AGE_S = 2.0
"""A segment that is just being made is not yet mapped."""


def is_first_of_node(environ: Mapping[str, str]) -> bool:
    """Whether Slurm calls this process the first one of its step on its node.

    Args:
        environ: of this process.
    """
    return environ.get("SLURM_LOCALID") == "0"


def remove_stale_segments(directory: Path = Path("/dev/shm"), processes: Path = Path("/proc")) -> int:
    """Remove this user's segments that no process has mapped; how many.

    Args:
        directory: where they are.
        processes: where the processes are.
    """
    found: dict[int, Path] = {}
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                own = status.st_uid == os.geteuid() and time.time() - status.st_ctime > _LEAST_AGE_S
                if own and entry.name.startswith(_PREFIX):
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
    for path in found.values():
        with suppress(OSError):
            path.unlink()
    return len(found)

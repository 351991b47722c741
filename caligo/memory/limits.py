"""How much memory this process may use, and who says so.

The limit is the smallest finite one of: control group version 2 (`memory.max` of the group and of every group above
it, and `memory.high`, past which the kernel slows a process to a crawl), version 1 (`memory.limit_in_bytes` likewise),
Slurm (`SLURM_MEM_PER_CPU` times the CPUs, `SLURM_MEM_PER_NODE`), the limits on address space (`ulimit -v`) and data
(`ulimit -d`), the memory of the machine, and what the user states. Those that hold for a whole node are divided by the
ranks that share it; the group that Slurm makes for one task holds for that one.

Covers: Linux. Does not cover: how much of it is in use by others, swap, and the limit on resident memory (`ulimit -m`),
which Linux does not heed.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from caligo.errors import ConfigError, ResourceError

_UNSET_BYTES = 1 << 60
"""Limits from here on mean "none": an unset version 1 group reads about 2^63."""

_MIB = 1 << 20


class MemoryLimit(NamedTuple):
    """A bound on the memory of this process.

    Args:
        limit_bytes: the bound for this process, after division by the ranks on the node.
        source: where it comes from, in words.
    """

    limit_bytes: int
    source: str


def stated_limit(limit_bytes: int, source: str) -> MemoryLimit:
    """A bound for each process that a user states; alone where a plan is for another machine.

    Args:
        limit_bytes: the bound, >= 1.
        source: where it was stated, such as `--memory-per-rank`.

    Raises:
        ConfigError: `limit_bytes` < 1.
    """
    if limit_bytes < 1:
        raise ConfigError(
            f"expected at least one byte from {source}, got {limit_bytes}; state a size such as 2GiB",
            limit_bytes=limit_bytes,
            source=source,
        )
    return MemoryLimit(limit_bytes, source)


def memory_limit(
    *,
    ranks_on_node: int = 1,
    stated: MemoryLimit | None = None,
    root: Path = Path("/"),
    environ: Mapping[str, str] | None = None,
    address_space: int | None = None,
    data: int | None = None,
) -> MemoryLimit:
    """The smallest finite limit; see `memory_limits` for the arguments.

    Returns:
        `(limit_bytes, source)`.

    Raises:
        ResourceError: no limit and no size of the machine can be found.
        ConfigError: `ranks_on_node` < 1.
    """
    limits = memory_limits(
        ranks_on_node=ranks_on_node,
        stated=stated,
        root=root,
        environ=environ,
        address_space=address_space,
        data=data,
    )
    if not limits:
        raise ResourceError(
            "expected the size of this machine's memory in /proc/meminfo, got none; mount /proc, or state a budget"
        )
    return limits[0]


def memory_limits(
    *,
    ranks_on_node: int = 1,
    stated: MemoryLimit | None = None,
    root: Path = Path("/"),
    environ: Mapping[str, str] | None = None,
    address_space: int | None = None,
    data: int | None = None,
) -> list[MemoryLimit]:
    """Every finite limit, the smallest first.

    Args:
        ranks_on_node: processes of this job that share the node, >= 1.
        stated: what the user allows each process, one limit among the others.
        root: where `proc` and `sys` are; other than `/` in tests.
        environ: environment variables; None for those of this process.
        address_space: limit on address space in bytes; None asks the system.
        data: limit on data in bytes; None asks the system.

    Raises:
        ConfigError: `ranks_on_node` < 1.
    """
    if ranks_on_node < 1:
        raise ConfigError(
            f"expected ranks_on_node >= 1, got {ranks_on_node}; count this process too", ranks_on_node=ranks_on_node
        )
    environ = os.environ if environ is None else environ
    of_groups = list(_cgroup_limits(root))
    of_node = [limit for group, limit in of_groups if not _is_of_one_task(group)]
    of_node += slurm_node_limits(environ)
    total = parse_meminfo(_text(root / "proc/meminfo"))
    if total is not None:
        of_node.append(MemoryLimit(total, "memory of the machine"))
    found = [_divided(limit, ranks_on_node) for limit in of_node]
    found += [limit for group, limit in of_groups if _is_of_one_task(group)]
    found += slurm_task_limits(environ)
    for value, which, source in (
        (address_space, resource.RLIMIT_AS, "address space limit (ulimit -v)"),
        (data, resource.RLIMIT_DATA, "data limit (ulimit -d)"),
    ):
        if value is None:
            value = resource.getrlimit(which)[0]  # infinity is -1
        if 0 < value < _UNSET_BYTES:
            found.append(MemoryLimit(value, source))
    if stated is not None:
        found.append(stated)
    return sorted(found)


def parse_cgroup_limit(text: str | None) -> int | None:
    """Bytes in a `memory.max` or `memory.limit_in_bytes` file; None for no limit or no number."""
    value = _number(text)
    return value if value is not None and 0 < value < _UNSET_BYTES else None


def parse_cgroup_paths(text: str | None) -> dict[int, str]:
    """The control groups of a process that bound its memory.

    Args:
        text: content of `/proc/self/cgroup`.

    Returns:
        Path by version: 2 for the unified hierarchy, 1 for the memory controller of version 1.
    """
    paths: dict[int, str] = {}
    for line in (text or "").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            paths[2] = path
        elif "memory" in controllers.split(","):
            paths[1] = path
    return paths


def parse_meminfo(text: str | None) -> int | None:
    """Bytes of memory of the machine, from the content of `/proc/meminfo`; None if it does not say."""
    for line in (text or "").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if name == "MemTotal" and len(words) == 2 and words[1] == "kB":
            kib = _number(words[0])
            return kib * 1024 if kib else None
    return None


def slurm_node_limits(environ: Mapping[str, str]) -> list[MemoryLimit]:
    """Slurm's limits for the whole job on this node. Slurm counts in MiB; 0 means all of the node."""
    found = []
    per_node = _number(environ.get("SLURM_MEM_PER_NODE"))
    if per_node:
        found.append(MemoryLimit(per_node * _MIB, "SLURM_MEM_PER_NODE"))
    per_cpu = _number(environ.get("SLURM_MEM_PER_CPU"))
    cpus = _number(environ.get("SLURM_CPUS_ON_NODE"))
    if per_cpu and cpus:
        found.append(MemoryLimit(per_cpu * cpus * _MIB, "SLURM_MEM_PER_CPU x SLURM_CPUS_ON_NODE"))
    return found


def slurm_task_limits(environ: Mapping[str, str]) -> list[MemoryLimit]:
    """Slurm's limit for one task: memory per CPU times the CPUs of a task."""
    per_cpu = _number(environ.get("SLURM_MEM_PER_CPU"))
    cpus = _number(environ.get("SLURM_CPUS_PER_TASK"))
    if per_cpu and cpus:
        return [MemoryLimit(per_cpu * cpus * _MIB, "SLURM_MEM_PER_CPU x SLURM_CPUS_PER_TASK")]
    return []


def _cgroup_limits(root: Path) -> Iterator[tuple[PurePosixPath, MemoryLimit]]:
    paths = parse_cgroup_paths(_text(root / "proc/self/cgroup"))
    unified = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
    for version, mounts, name, remark in (
        (2, unified, "memory.max", ""),
        (2, unified, "memory.high", " (memory.high)"),
        (1, ("sys/fs/cgroup/memory",), "memory.limit_in_bytes", ""),
    ):
        group = PurePosixPath("/", paths.get(version, "/").lstrip("/"))
        # In a container the path may be the host's, and exist nowhere here; the root of the mount is then its group.
        for above in (group, *group.parents):
            for mount in mounts:
                limit = parse_cgroup_limit(_text(root / mount / str(above).lstrip("/") / name))
                if limit is not None:
                    yield above, MemoryLimit(limit, f"control group v{version} {above}{remark}")


def _is_of_one_task(group: PurePosixPath) -> bool:
    return any(re.fullmatch(r"task_\d+", part) for part in group.parts)


def _divided(limit: MemoryLimit, ranks: int) -> MemoryLimit:
    if ranks == 1:
        return limit
    return MemoryLimit(limit.limit_bytes // ranks, f"{limit.source} / {ranks} ranks")


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return None

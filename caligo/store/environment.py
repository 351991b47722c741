"""Where and by what a run was made: code version, machine, process.

Covers: the caligo version and the git commit when it runs from a checkout, a machine fingerprint, the writing process.
Does not cover: the compiled engine, which the caller knows and passes in.

Nothing here fails a run: what the system does not tell is null.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_GIT_TIMEOUT_S = 5.0


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _git(root: Path, *arguments: str) -> str | None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            env={**inherited, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip()


@functools.cache
def _code_version() -> tuple[str | None, str | None, bool | None]:
    from importlib import metadata  # loads the parser of mails; ranks beside the first never ask

    try:
        version: str | None = metadata.version("caligo")
    except metadata.PackageNotFoundError:
        version = None
    package = Path(__file__).resolve().parents[1]
    root = package.parent
    if not (root / ".git").exists() or not (root / "pyproject.toml").is_file():
        return version, None, None
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return version, commit, None if changes is None else bool(changes)


def code_version() -> dict[str, Any]:
    """``version``, and in a checkout ``commit`` and ``dirty`` (tracked files differ from the commit); null
    elsewhere.
    """
    version, commit, dirty = _code_version()
    return {"version": version, "commit": commit, "dirty": dirty}


def _processor() -> tuple[str | None, list[str]]:
    model, flags = None, list[str]()
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if name == "model name" and model is None:
            model = value
        elif name in ("flags", "Features") and not flags:
            flags = sorted(set(value.split()))
        elif not name and model is not None and flags:
            break
    return model or platform.processor() or None, flags


def _usable_cores() -> int | None:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


@functools.cache
def _machine() -> Mapping[str, Any]:
    model, flags = _processor()
    features = hashlib.sha256(" ".join(flags).encode()).hexdigest()[:16] if flags else None
    stable = {"cpu_model": model, "cpu_features": features, "cores": os.cpu_count(), "architecture": platform.machine()}
    fingerprint = hashlib.sha256(repr(sorted(stable.items())).encode()).hexdigest()[:16]
    return {
        "fingerprint": fingerprint,
        **stable,
        "kernel": platform.release(),
        "system": platform.system(),
        "hostname": platform.node(),
        "memory_bytes": _memory_bytes(),
        "python": platform.python_version(),
    }


def machine_fingerprint() -> dict[str, Any]:
    """What this machine is.

    ``fingerprint`` covers ``cpu_model``, ``cpu_features`` (hash of the sorted feature flags), ``cores`` and
    ``architecture``: timings are comparable where it is equal. ``usable_cores``, ``kernel``, ``system``,
    ``hostname``, ``memory_bytes`` and ``python`` stand beside it.
    """
    return {**_machine(), "usable_cores": _usable_cores()}


def _boot_id() -> str | None:
    text = _read("/proc/sys/kernel/random/boot_id")
    return text.strip() if text else None


def _start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; null when there is none or it is dead."""
    text = _read(f"/proc/{pid}/stat")
    if not text:
        return None
    rest = text[text.rfind(")") + 2 :].split()
    if len(rest) < 20 or rest[0] in ("Z", "X"):
        return None
    return int(rest[19])


def this_process() -> dict[str, Any]:
    """The writing process: ``pid``, and what tells it from a later one of the same number."""
    pid = os.getpid()
    return {"pid": pid, "boot_id": _boot_id(), "start_ticks": _start_ticks(pid)}


def process_runs(process: Mapping[str, Any]) -> bool | None:
    """Whether a process recorded by :func:`this_process` still runs; null when it belongs to another machine or
    boot.
    """
    boot, pid, ticks = process.get("boot_id"), process.get("pid"), process.get("start_ticks")
    if boot is None or boot != _boot_id() or not isinstance(pid, int) or not isinstance(ticks, int):
        return None
    return _start_ticks(pid) == ticks

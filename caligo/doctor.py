"""Diagnosis of this installation and machine: what is found, whether it will do, and what to change if not.

Covers: the compiled extension and its engines, processor and cores, Python packages, MPI, the memory limit, the
experiment store, the design cache, the environment variables. Does not cover: speed (`caligo bench`), or a running
cluster. Nothing is changed: no directory is made, no MPI is started in this process.

Every check is a function from facts to one :class:`Finding`; the facts are read at the edge, so a test brings its own.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any

from caligo import __version__
from caligo.errors import CaligoError

__all__ = ["Finding", "FileSystem", "Status", "diagnose", "file_system_of"]

_GIB = 1 << 30
_MIB = 1 << 20

_SHARED_FILE_SYSTEMS = frozenset(
    (
        "nfs",
        "nfs4",
        "lustre",
        "beegfs",
        "gpfs",
        "ceph",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "9p",
        "orangefs",
        "panfs",
        "glusterfs",
        "wekafs",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.ceph",
        "fuse.beegfs",
        "fuse.s3fs",
        "fuse.rclone",
    )
)
_FORGETFUL_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs"})

_REFERENCE_BLOCK_LENGTH = 1 << 20
_REFERENCE_LIST_SIZE = 32

_PACKAGES = ("numpy", "scipy", "click", "rich", "rfc8785")

_ENVIRONMENT = frozenset({"CALIGO_STORE", "CALIGO_CACHE", "CALIGO_TRACEBACK", "CALIGO_REQUIRE"})

_EXPECTED_ENGINES = (
    # (engine, processor flags that make it possible), fastest first
    ("avx512", frozenset({"avx512f", "avx512bw", "avx512vl"})),
    ("avx2", frozenset({"avx2"})),
)


class Status(Enum):
    """How serious a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Args:
        topic: what was looked at, one or two words.
        status: `FAIL` where caligo cannot work, `WARN` where it works less well or less safely.
        what: what was found, one sentence.
        remedy: what to do; always given unless the status is `OK`.
        facts: the same, machine-readable.
    """

    topic: str
    status: Status
    what: str
    remedy: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The finding as plain values."""
        return {
            "topic": self.topic,
            "status": self.status.value,
            "what": self.what,
            "remedy": self.remedy,
            "facts": dict(self.facts),
        }


@dataclass(frozen=True)
class FileSystem:
    """Where a path lies: type as the kernel names it, mount point."""

    kind: str
    mount_point: Path

    @property
    def is_shared(self) -> bool:
        """Whether other machines may write to it at the same time."""
        return self.kind in _SHARED_FILE_SYSTEMS


def diagnose(store: Path) -> list[Finding]:
    """Look at everything.

    Args:
        store: the experiment store that would be used; it need not exist.

    Returns:
        The findings, in a fixed order. A check that itself goes wrong is a `WARN`, never an exception.
    """
    flags = processor_flags(_read("/proc/cpuinfo"))
    checks = (
        ("extension", check_extension),
        ("processor", lambda: check_processor(flags, _native_engines())),
        ("cores", lambda: check_cores(len(os.sched_getaffinity(0)), processor_quota())),
        ("python", check_python),
        ("memory", check_memory),
        ("store", lambda: check_store(store)),
        ("store space", lambda: check_space(store)),
        ("design cache", check_design_cache),
        ("mpi", check_mpi),
        ("environment", lambda: check_environment(os.environ)),
    )
    findings = []
    for topic, check in checks:
        try:
            findings.append(check())
        except (OSError, ValueError, CaligoError) as error:
            findings.append(
                Finding(
                    topic, Status.WARN, f"could not be examined: {error}", "see the message; the other findings stand"
                )
            )
    return findings


# --- the extension and the processor ------------------------------------------------------------------------


def check_extension() -> Finding:
    """Is the compiled extension there, of this version, and built for speed?"""
    topic = "extension"
    try:
        from caligo import _native

        build = {str(name): str(value) for name, value in _native.build_info().items()}
    except CaligoError as error:
        return Finding(topic, Status.FAIL, error.message, "build it with `make setup`, or install a caligo wheel")
    described = f"version {build.get('version', 'unknown')}, " + ", ".join(
        build[name] for name in ("profile", "target", "rustc") if name in build
    )
    if build.get("version", __version__) != __version__:
        return Finding(
            topic,
            Status.FAIL,
            f"the extension is version {build['version']}, the Python package {__version__}",
            "build both together with `make setup`, or install one caligo wheel",
            build,
        )
    if build.get("profile", "release") != "release":
        return Finding(
            topic, Status.WARN, f"built without optimisation ({described})", "build it with `make setup`", build
        )
    return Finding(topic, Status.OK, described, None, build)


def processor_flags(cpuinfo: str) -> frozenset[str]:
    """The feature flags that `/proc/cpuinfo` lists for the first processor (x86: `flags`; Arm: `Features`)."""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    return frozenset(match[1].split()) if match else frozenset()


def _native_engines() -> tuple[list[str], list[str]] | None:
    try:
        from caligo import _native

        return [str(name) for name in _native.engines()], [str(name) for name in _native.cpu_features()]
    except CaligoError:
        return None


def chosen_engine() -> str:
    """The engine that a decoder gets when none is named, found by making a small one."""
    import numpy as np

    from caligo._native import PolarDecoder

    decoder = PolarDecoder(8, np.array([0b11111110], dtype=np.uint8), 1, check="none")
    return str(decoder.engine)


def check_processor(flags: frozenset[str], native: tuple[list[str], list[str]] | None) -> Finding:
    """Which engines can run here, and is the best that this processor could run among them?"""
    topic = "processor"
    if native is None:
        return Finding(
            topic,
            Status.WARN,
            "without the extension there is no engine",
            "build it with `make setup`",
            {"engines": [], "features": sorted(flags & {"avx2", "avx512f", "avx512bw", "avx512vl", "avx512_vbmi"})},
        )
    engines, features = native
    chosen = chosen_engine()
    facts = {"engine": chosen, "engines": engines, "features": features, "machine": platform.machine()}
    listed = f"engine {chosen} (of {', '.join(engines)}) on {' '.join(features) or platform.machine()}"
    missing = next((name for name, needs in _EXPECTED_ENGINES if needs <= flags), None)
    if missing is not None and missing not in engines:
        return Finding(
            topic,
            Status.WARN,
            f"{listed}; the processor could run {missing}, this build cannot",
            "install a current caligo wheel or build again with `make setup`",
            facts,
        )
    if chosen == "portable":
        return Finding(
            topic,
            Status.WARN,
            f"{listed}: no AVX2 and no AVX-512, decoding is several times slower than on a processor with them",
            "run on a processor with AVX2; in a virtual machine, pass the host's CPU features through",
            facts,
        )
    return Finding(topic, Status.OK, listed, None, facts)


def processor_quota(root: Path = Path("/sys/fs/cgroup"), membership: str | None = None) -> float | None:
    """Cores' worth of time per second that the control group grants, None without a bound.

    Args:
        root: where control groups (version 2) are mounted.
        membership: content of `/proc/self/cgroup`; None reads it.
    """
    text = _read("/proc/self/cgroup") if membership is None else membership
    match = re.search(r"^0::(/.*)$", text, re.MULTILINE)
    group = root / match[1].lstrip("/") if match else root
    quotas = []
    for directory in (group, *group.parents):
        words = _read(directory / "cpu.max").split()
        if len(words) == 2 and words[0] != "max":
            quotas.append(int(words[0]) / int(words[1]))
        if directory == root:
            break
    return min(quotas, default=None)


def check_cores(threads: int, quota: float | None) -> Finding:
    """May this process use as many cores as it would start threads for?"""
    facts = {"threads": threads, "quota": quota}
    if quota is not None and quota < threads:
        return Finding(
            "cores",
            Status.WARN,
            f"{threads} cores are visible but the control group grants the time of {quota:g}",
            f"pass --threads {max(1, int(quota))}, or ask the container or batch system for more",
            facts,
        )
    return Finding("cores", Status.OK, f"{threads} usable", None, facts)


# --- Python -------------------------------------------------------------------------------------------------


def check_python() -> Finding:
    """Are the packages there that caligo needs at run time?"""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    missing = [name for name, version in versions.items() if version is None]
    described = ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
    if missing:
        return Finding(
            "python",
            Status.FAIL,
            f"not installed: {', '.join(missing)} (found {described})",
            f"{sys.executable} -m pip install {' '.join(missing)}",
            versions,
        )
    return Finding("python", Status.OK, described, None, versions)


# --- MPI ----------------------------------------------------------------------------------------------------

_LIBRARY_PROBE = (
    "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; "
    "print(mpi4py.__version__); print(MPI.Get_library_version())"
)


def mpi_family(text: str) -> str | None:
    """`MPICH`, `Open MPI` or `Intel MPI`, as a launcher's or library's version text tells; None if it does not."""
    for family, pattern in (
        ("Intel MPI", r"Intel\(R\) MPI"),
        ("Open MPI", r"Open\s?MPI|OpenRTE|PRRTE|prterun"),
        ("MPICH", r"MPICH|HYDRA|mpich"),
    ):
        if re.search(pattern, text):
            return family
    return None


def _output_of(command: Sequence[str], timeout_s: float) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr if done.returncode == 0 else None


def check_mpi() -> Finding:
    """Would `mpiexec` and mpi4py work together? Asks both in processes of their own."""
    if importlib.util.find_spec("mpi4py") is None:
        return Finding(
            "mpi",
            Status.OK,
            "mpi4py is not installed; only work on several machines needs it",
            "for a cluster: pip install 'caligo[mpi]'",
            {"mpi4py": None, "mpiexec": None},
        )
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    launcher = shutil.which("mpiexec", path=beside)
    library = _output_of([sys.executable, "-c", _LIBRARY_PROBE], timeout_s=30)
    launcher_text = _output_of([launcher, "--version"], timeout_s=10) if launcher else None
    return judge_mpi(library, launcher, launcher_text)


def judge_mpi(library: str | None, launcher: str | None, launcher_text: str | None) -> Finding:
    """The finding from what mpi4py and the launcher said.

    Args:
        library: mpi4py's version and, after it, the library's version text; None when mpi4py cannot load a library.
        launcher: path of `mpiexec`; None when there is none.
        launcher_text: what `mpiexec --version` printed; None when it failed.
    """
    topic = "mpi"
    if library is None:
        return Finding(
            topic,
            Status.WARN,
            "mpi4py is installed but finds no MPI library",
            "pip install 'caligo[mpi]' brings one, or load your cluster's MPI module",
            {"mpi4py": "unusable", "mpiexec": launcher},
        )
    version, _, text = library.partition("\n")
    ours = mpi_family(text)
    facts = {"mpi4py": version, "library": ours, "mpiexec": launcher}
    if launcher is None:
        return Finding(
            topic,
            Status.WARN,
            f"mpi4py {version} with {ours or 'an unknown library'}, but no mpiexec on the path",
            "pip install 'caligo[mpi]' brings one; under Slurm start with srun instead",
            facts,
        )
    theirs = mpi_family(launcher_text or "")
    facts["launcher"] = theirs
    if ours is None or theirs is None:
        return Finding(topic, Status.OK, f"mpi4py {version}; launcher {launcher}", None, facts)
    if {ours, theirs} != {ours} and {ours, theirs} != {"MPICH", "Intel MPI"}:
        return Finding(
            topic,
            Status.WARN,
            f"mpi4py {version} uses {ours}, but {launcher} belongs to {theirs}: every rank would think it is alone",
            f"put the mpiexec of {ours} first on the path, or reinstall mpi4py with the launcher's library",
            facts,
        )
    return Finding(topic, Status.OK, f"mpi4py {version} and {launcher}, both {ours}", None, facts)


# --- memory -------------------------------------------------------------------------------------------------


def check_memory() -> Finding:
    """Does one large decoder per core fit under the memory limit?"""
    from caligo.memory import memory_limit

    limit, source = memory_limit()
    threads = len(os.sched_getaffinity(0))
    try:
        from caligo._native import required_bytes

        each = int(required_bytes(_REFERENCE_BLOCK_LENGTH, _REFERENCE_LIST_SIZE, "int8"))
    except CaligoError:
        each = 0
    return judge_memory(limit, str(source), threads, each)


def judge_memory(limit: int, source: str, threads: int, decoder_bytes: int) -> Finding:
    """The finding from the limit and the need.

    Args:
        limit: bytes this process may use.
        source: where that bound comes from.
        threads: decoders that would run side by side.
        decoder_bytes: need of one decoder with N = 2^20 and L = 32.
    """
    facts = {"limit_bytes": limit, "source": source, "decoder_bytes": decoder_bytes, "threads": threads}
    fitting = max(0, limit - 256 * _MIB) // max(1, decoder_bytes)
    what = f"{limit / _GIB:.1f} GiB ({source})"
    if decoder_bytes and fitting < threads:
        return Finding(
            "memory",
            Status.WARN,
            f"{what}: room for {fitting} decoders of {decoder_bytes / _MIB:.0f} MiB (N = 2^20, L = 32), not {threads}",
            f"pass --threads {max(1, fitting)}, shorter blocks or a smaller list, or raise the limit",
            facts,
        )
    return Finding("memory", Status.OK, what, None, facts)


# --- files --------------------------------------------------------------------------------------------------


def _existing(path: Path) -> Path:
    """The path with its links resolved, or its nearest ancestor that exists."""
    path = Path(os.path.realpath(path))
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def file_system_of(path: Path, mountinfo: str | None = None) -> FileSystem | None:
    """The file system that holds a path, or would hold it once it is made.

    Args:
        path: need not exist.
        mountinfo: content of `/proc/self/mountinfo`; None reads it.

    Returns:
        None where the kernel does not tell.
    """
    target = _existing(path)
    best: FileSystem | None = None
    for line in (_read("/proc/self/mountinfo") if mountinfo is None else mountinfo).splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split()
        if not separator or len(fields) < 5 or not right:
            continue
        mounted = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4]))
        # a later line hides an earlier one with the same mount point
        if target.is_relative_to(mounted) and (best is None or len(mounted.parts) >= len(best.mount_point.parts)):
            best = FileSystem(right.split()[0], mounted)
    return best


def check_store(store: Path, mountinfo: str | None = None) -> Finding:
    """Can runs be recorded there, and does the file system keep them?"""
    topic = "store"
    present = _existing(store)
    system = file_system_of(store, mountinfo)
    kind = system.kind if system else "unknown file system"
    facts = {"path": str(store), "exists": store.is_dir(), "file_system": system.kind if system else None}
    elsewhere = "choose another directory with --store or CALIGO_STORE"
    if not present.is_dir():
        return Finding(topic, Status.FAIL, f"{present} is not a directory", elsewhere, facts)
    if not os.access(present, os.W_OK | os.X_OK):
        return Finding(topic, Status.FAIL, f"{present} is not writable (for {store})", elsewhere, facts)
    what = f"{store} on {kind}" + ("" if store.is_dir() else ", made when first needed")
    if system is not None and system.is_shared:
        return Finding(
            topic,
            Status.WARN,
            f"{what}: a network file system; runs are safe there (plain files, one writer each) but slower to record",
            "record to local disk (--store) and copy the run directories afterwards, or accept slower recording",
            facts,
        )
    if system is not None and system.kind in _FORGETFUL_FILE_SYSTEMS:
        return Finding(topic, Status.WARN, f"{what}: its content is lost when the machine restarts", elsewhere, facts)
    return Finding(topic, Status.OK, what, None, facts)


def check_space(store: Path) -> Finding:
    """Is there room for records?"""
    usage = shutil.disk_usage(_existing(store))
    return judge_space(usage.free, usage.total)


def judge_space(free: int, total: int) -> Finding:
    """The finding from the file system's free and total bytes."""
    facts = {"free_bytes": free, "total_bytes": total}
    what = f"{free / _GIB:.1f} GiB free of {total / _GIB:.1f} GiB"
    remedy = "free some space, or choose another directory with --store or CALIGO_STORE"
    if free < 16 * _MIB:
        return Finding("store space", Status.FAIL, what, remedy, facts)
    if free < _GIB:
        return Finding("store space", Status.WARN, what, remedy, facts)
    return Finding("store space", Status.OK, what, None, facts)


def check_design_cache() -> Finding:
    """Will a design computed once be found again by the next process?"""
    from caligo.codes.cache import default_cache_directory

    topic = "design cache"
    directory = default_cache_directory()
    if directory is None:
        return Finding(
            topic,
            Status.WARN,
            "none: every process computes its designs again",
            "set CALIGO_CACHE to a directory",
            {"path": None},
        )
    present = _existing(directory)
    if not present.is_dir() or not os.access(present, os.W_OK | os.X_OK):
        return Finding(
            topic,
            Status.WARN,
            f"{directory} is not writable: every process computes its designs again",
            "set CALIGO_CACHE to a writable directory",
            {"path": str(directory)},
        )
    entries = [entry for entry in directory.iterdir() if entry.is_file()] if directory.is_dir() else []
    size = sum(entry.stat().st_size for entry in entries)
    return Finding(
        topic,
        Status.OK,
        f"{directory}: {len(entries)} designs, {size / _MIB:.1f} MiB (safe to delete)",
        None,
        {"path": str(directory), "entries": len(entries), "bytes": size},
    )


def check_environment(environment: Mapping[str, str]) -> Finding:
    """Which of caligo's variables are set, and is one of them misspelt?"""
    ours = {name: value for name, value in environment.items() if name.startswith("CALIGO_")}
    unknown = sorted(name for name in ours if name not in _ENVIRONMENT)
    if unknown:
        return Finding(
            "environment",
            Status.WARN,
            f"caligo does not know {', '.join(unknown)}",
            f"correct or unset it; known are {', '.join(sorted(_ENVIRONMENT))}",
            {"set": sorted(ours), "unknown": unknown},
        )
    what = ", ".join(f"{name}={value}" for name, value in sorted(ours.items())) or "no CALIGO_ variable is set"
    return Finding("environment", Status.OK, what, None, {"set": sorted(ours), "unknown": []})


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

"""Fixtures of tests that need a cluster: a real Slurm on this machine, and hosts in namespaces (`slurm/box`).

Covers: `slurm_box` (four nodes and `fat`), `slurm_hosts` (the same, each node a host with a network of its own) and
`hosts` (four hosts without Slurm, for mpiexec). Each starts once per session, when a test first asks for it; before a
test its jobs are gone, its nodes up and its cables plugged in. Does not cover: what runs there.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from conftest import REPOSITORY, Require

SCRIPTS = REPOSITORY / "slurm"
TOOLS = SCRIPTS / "box"
UNAVAILABLE = 77

ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY"})


def until(holds: Callable[[], bool], timeout: float, what: str | Callable[[], str]) -> None:
    """Poll until something holds; fail with what it was where it does not come about.

    Raises:
        AssertionError: it has not come about within ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.1)


def alive(pid: int) -> bool:
    """Whether a process has not ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def clean_environment() -> dict[str, str]:
    """The environment without a Slurm that the tests may run under; programs of this virtual environment first."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM", "SBATCH", "PMI", "CALIGO_BOX"))
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/sbin"
    return kept | {"PATH": path, "CALIGO_PYTHON": sys.executable}


class Hosts:
    """Hosts in namespaces, by name; those of a box too."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = clean_environment() | {"CALIGO_BOX": str(directory)}

    @property
    def names(self) -> list[str]:
        return (self.directory / "hosts/names").read_text().split()

    def command(self, name: str, *words: str, timeout: float = 60) -> str:
        """Run ``slurm/box/hosts NAME WORDS``; returns what it prints."""
        done = subprocess.run(
            [TOOLS / "hosts", name, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"hosts {name} {words}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def enter(self, name: str, *words: str, timeout: float = 60) -> str:
        """Run a command on a host; returns what it prints."""
        return self.command("enter", name, *words, timeout=timeout)

    def cut(self, name: str) -> None:
        self.command("cut", name)

    def heal(self, name: str) -> None:
        self.command("heal", name)

    def mpiexec_words(self, ranks: int, words: Sequence[str | Path], ranks_per_host: int | None = None) -> list[str]:
        """The command line that runs ranks over all hosts, for `subprocess.Popen` with ``env=hosts.environment``."""
        per_host = ranks_per_host or -(-ranks // len(self.names))
        return [str(TOOLS / "hosts"), "mpiexec", "-ppn", str(per_host), "-n", str(ranks), *map(str, words)]

    def mpiexec(
        self,
        ranks: int,
        words: Sequence[str | Path],
        ppn: int | None = None,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run ranks over all hosts, ``ppn`` on each (default: evenly)."""
        return subprocess.run(
            self.mpiexec_words(ranks, words, ppn),
            env=self.environment | dict(env or {}),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


class Box:
    """A Slurm on this machine.

    Args:
        directory: its state (`slurm/box/start DIR`), short and not there yet.
        options: further options of `start`.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.options = options
        self.outputs = Path(tempfile.mkdtemp(prefix="caligo-outputs-"))
        self.environment = clean_environment() | {
            "CALIGO_BOX": str(directory),
            "SLURM_CONF": str(directory / "slurm.conf"),
        }
        self._outputs_of: dict[str, str] = {}

    # --- the box itself ---

    def start(self) -> subprocess.CompletedProcess[str]:
        """Start it, or what of it has ended."""
        return subprocess.run(
            [TOOLS / "start", *self.options],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def stop(self) -> None:
        """End it with everything that runs in it."""
        subprocess.run([TOOLS / "stop"], env=self.environment, check=True, timeout=120)
        shutil.rmtree(self.outputs, ignore_errors=True)

    def clean(self) -> None:
        """No jobs, all daemons running, all nodes idle, all cables plugged in."""
        for name in self.nodes_of_namespaces():
            self.heal(name)
        started = self.start()
        assert started.returncode == 0, f"{started.stdout}{started.stderr}{self.logs()}"
        until(self._is_clean, 60, lambda: f"an idle box\n{self.run('squeue')}\n{self.run('sinfo', '-N', '-l')}")

    def _is_clean(self) -> bool:
        """Cancel and resume what there is to; true once there is nothing."""
        jobs = set(self.run("squeue", "--noheader", "--format=%A").split())
        if jobs:
            self.run("scancel", *jobs, check=False)
        for node, state in self.node_states().items():
            if state.startswith(("down", "drain")):
                self.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        return not jobs and set(self.node_states().values()) == {"idle"}

    def logs(self) -> str:
        """The last lines of every daemon's log."""
        files = sorted(self.directory.glob("log/*"))
        return "\n".join(
            f"== {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:]) for path in files
        )

    # --- commands ---

    def run(self, *words: str | Path, check: bool = True, timeout: float = 60, cwd: Path | None = None) -> str:
        """Run a program against this Slurm (`box.run("scontrol", "show", "nodes")`); returns its standard output."""
        done = subprocess.run(
            [str(word) for word in words],
            env=self.environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, f"{words}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def sbatch(
        self,
        script: str | Path,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        **flags: str | int | bool,
    ) -> str:
        """Submit a script; returns the job's number.

        Args:
            script: a script of `slurm/` by name, or the path of any other.
            arguments: the script's own.
            env: environment variables of the job beside the box's.
            cwd: where it runs; by default where its output goes.
            flags: options of sbatch, `_` for `-`: ``ntasks=4, exclusive=True``.
        """
        path = SCRIPTS / script if (SCRIPTS / script).exists() else Path(script)
        output = self.outputs / ("%A_%a.out" if "array" in flags else "%j.out")
        options = {"output": str(output), **flags}
        words = [
            f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in options.items()
        ]
        done = subprocess.run(
            ["sbatch", "--parsable", *words, str(path), *map(str, arguments)],
            env=self.environment | dict(env or {}),
            cwd=cwd or self.outputs,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"sbatch {words} {path}: exit code {done.returncode}\n{done.stderr}"
        job = done.stdout.strip()
        self._outputs_of[job] = str(options["output"])
        return job

    def details(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says of a job, or of one task of an array (``12_3``), by field."""
        lines = self.run("scontrol", "--oneliner", "show", "job", job).splitlines()
        return dict(word.partition("=")[::2] for word in lines[0].split() if "=" in word)

    def state(self, job: str) -> str:
        """``PENDING``, ``RUNNING``, ``COMPLETING``, ``COMPLETED``, ``FAILED``, ..."""
        return self.details(job)["JobState"]

    def restarts(self, job: str) -> int:
        """How often it was requeued."""
        return int(self.details(job)["Restarts"])

    def exit_code(self, job: str) -> int:
        """Its exit code, once it has ended."""
        return int(self.details(job)["ExitCode"].partition(":")[0])

    def wait(self, job: str, states: str | frozenset[str] = ENDED, timeout: float = 90) -> str:
        """Wait until a job is in one of some states; returns which.

        Raises:
            AssertionError: it is not within ``timeout`` seconds; the message has its state and output.
        """
        wanted = {states} if isinstance(states, str) else states
        until(lambda: self.state(job) in wanted, timeout, lambda: f"job {job} in {sorted(wanted)}\n{self.story(job)}")
        return self.state(job)

    def wait_for_output(self, job: str, *texts: str, timeout: float = 60) -> None:
        """Wait until a job has printed all of some texts."""
        until(
            lambda: all(text in self.output(job) for text in texts),
            timeout,
            lambda: f"{texts} in the output of job {job}\n{self.story(job)}",
        )

    def output(self, job: str) -> str:
        """What a job, or a task of an array, has printed so far, all attempts."""
        number, _, task = job.partition("_")
        path = Path(self._outputs_of[number].replace("%j", number).replace("%A", number).replace("%a", task))
        return path.read_text(errors="replace") if path.exists() else ""

    def story(self, job: str) -> str:
        """All there is to say about a job, for a failing test."""
        return f"{self.run('scontrol', 'show', 'job', job, check=False)}\n{self.output(job)}"

    # --- nodes and daemons ---

    def nodes(self) -> list[str]:
        return list(self.node_states())

    def node_states(self) -> dict[str, str]:
        """State by node, as sinfo names it: ``idle``, ``allocated``, ``down*``, ..."""
        lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
        return dict(line.split() for line in lines)

    def node_state(self, node: str) -> str:
        """``IDLE``, ``DOWN+NOT_RESPONDING``, ..."""
        words = self.run("scontrol", "--oneliner", "show", "node", node).split()
        return next(word.removeprefix("State=") for word in words if word.startswith("State="))

    def daemon_pid(self, name: str) -> int:
        """Of ``munged``, ``slurmctld``, or ``slurmd.NODE``."""
        return int((self.directory / f"{name}.pid").read_text())

    def kill_slurmd(self, node: str) -> None:
        """End a node's daemon as a crash would: what it started runs on. `start` brings it back."""
        self._kill(f"slurmd.{node}")

    def kill_controller(self, job: str) -> None:
        """End the controller as a crash would, once it has saved what it knows of a job (it does so every few seconds).

        `start` brings it back, with the state it saved.
        """
        mark = f"saved-{time.monotonic_ns()}"
        self.run("scontrol", "update", f"jobid={job}", f"comment={mark}")
        until(lambda: mark.encode() in (self.directory / "state/job_state").read_bytes(), 60, "the state of jobs saved")
        self._kill("slurmctld")

    def _kill(self, daemon: str) -> None:
        pid = self.daemon_pid(daemon)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not alive(pid), 30, f"{daemon} to end")

    def set_down(self, node: str) -> None:
        """Declare a node down, as an administrator would; `clean` resumes it."""
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def nodes_of_namespaces(self) -> list[str]:
        """The nodes that have a cable to cut: none without `--hosts`."""
        names = self.directory / "hosts/names"
        return names.read_text().split() if names.exists() else []

    @property
    def hosts(self) -> Hosts:
        return Hosts(self.directory)

    def cut(self, node: str) -> None:
        """Pull a node's cable: its processes run on, nothing reaches them."""
        self.hosts.cut(node)

    def heal(self, node: str) -> None:
        self.hosts.heal(node)


def scratch(prefix: str) -> Path:
    """A directory with a short path that is not there yet: sockets lie in it."""
    place = Path(tempfile.mkdtemp(prefix=prefix))
    place.rmdir()
    return place


def started(box: Box, require: Require, feature: str) -> Iterator[Box]:
    done = box.start()
    try:
        require(feature, done.returncode != UNAVAILABLE, done.stderr.strip())
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{box.logs()}"
        yield box
    finally:
        box.stop()


@pytest.fixture(scope="session")
def _slurm_box(require: Require) -> Iterator[Box]:
    yield from started(Box(scratch("caligo-box-")), require, "slurm")


@pytest.fixture(scope="session")
def _slurm_hosts(require: Require) -> Iterator[Box]:
    require("slurm", shutil.which("slurmctld", path=clean_environment()["PATH"]) is not None, "Slurm is not installed")
    yield from started(Box(scratch("caligo-box-"), "--hosts", "4"), require, "namespaces")


@pytest.fixture
def slurm_box(_slurm_box: Box) -> Box:
    """A Slurm whose nodes are idle and up."""
    _slurm_box.clean()
    return _slurm_box


@pytest.fixture
def slurm_hosts(_slurm_hosts: Box) -> Box:
    """A Slurm whose nodes are idle and up, each in a network of its own."""
    _slurm_hosts.clean()
    return _slurm_hosts


@pytest.fixture(scope="session")
def _hosts(require: Require) -> Iterator[Hosts]:
    hosts = Hosts(scratch("caligo-hosts-"))
    done = subprocess.run(
        [TOOLS / "hosts", "start", "4"], env=hosts.environment, capture_output=True, text=True, timeout=120, check=False
    )
    try:
        require("namespaces", done.returncode != UNAVAILABLE, done.stderr.strip())
        assert done.returncode == 0, done.stderr
        yield hosts
    finally:
        subprocess.run([TOOLS / "hosts", "stop"], env=hosts.environment, check=True, timeout=120)


@pytest.fixture
def hosts(_hosts: Hosts) -> Hosts:
    """Four hosts in namespaces, h1 to h4, all cables plugged in."""
    for name in _hosts.names:
        _hosts.heal(name)
    return _hosts

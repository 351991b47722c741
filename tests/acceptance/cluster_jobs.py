"""Jobs on ranks for the acceptance tests: key files, job files, `mpiexec` with ranks that can be found, what came out.

Covers: starting ranks so that each is found again by a mark in its environment (a launcher gives every rank a session
of its own), waiting with limits, what a job left behind. Does not cover: Slurm and hosts (`slurm_box`).

Output goes to files, not pipes: a rank that outlives its launcher would keep a pipe open, and the test waiting.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slurm_box import alive, clean_environment, until

from caligo.keys import Drift, simulate_pair
from caligo.store import Run, list_runs, load_run
from caligo.store.reader import State

MPIEXEC = Path(sys.executable).parent / "mpiexec"
OUTPUTS = ("alice.bin", "bob.bin")
SEED = 11
LIMIT_S = 120.0
"""No start of these small jobs takes so long, whatever happens to it."""

_MARK = "CALIGO_TEST_MARK"
_TIMES = {"elapsed_s", "payload_mbps", "coded_mbps_per_core", "threads", "peak_rss_bytes", "decoder_bytes"}
_PLACES = {"run", "out", "job"}


def environment() -> dict[str, str]:
    """That of a plain shell: no launcher around, byte code kept, as after any first start."""
    kept = clean_environment()
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept | {"PYTHONPYCACHEPREFIX": str(Path(kept["XDG_CACHE_HOME"]) / "bytecode")}


def write_keys(directory: Path, bits: int, qber: float, seed: int, drift: float = 0.0) -> Path:
    """Alice's and Bob's key; the error rate rises by ``drift`` of itself along the key."""
    simulate_pair(directory, key_bits=bits, qber=qber, seed=seed, drift=Drift("linear", drift) if drift else None)
    return directory


@dataclass(frozen=True)
class Job:
    """A job file and the places it names; ``name`` tells it from others over the same keys."""

    directory: Path
    name: str

    @property
    def path(self) -> Path:
        return self.directory / f"{self.name}.toml"

    @property
    def out(self) -> Path:
        return self.directory / f"{self.name}.out"

    @property
    def work(self) -> Path:
        return self.directory / f"{self.name}.out.work"

    @property
    def store(self) -> Path:
        return self.directory / f"{self.name}.store"

    def attempts(self) -> list[Path]:
        return sorted((self.work / "attempts").glob("*-*"))

    def shards(self) -> list[Path]:
        return sorted(self.work.glob("attempts/*/*.shard"))

    def is_done(self) -> bool:
        return (self.work / "done.json").exists()


def write_job(
    directory: Path, name: str, keys: Path, reconcile: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]] = {}
) -> Job:
    """A job over ``keys`` with the public random values of `SEED`."""
    job = Job(directory, name)
    content: dict[str, Mapping[str, Any]] = {
        "keys": {"alice": str(keys / "alice.bin"), "bob": str(keys / "bob.bin")},
        "reconcile": reconcile,
        "seeds": {"public_randomness": SEED},
        "output": {"dir": str(job.out)},
        "store": {"dir": str(job.store)},
        **tables,
    }
    lines = ["schema = 1"]
    for table, fields in content.items():
        lines += [f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in fields.items())]
    job.path.write_text("\n".join(lines) + "\n")
    return job


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


# --- what came out ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Results:
    """All of a job that is to be the same, however it was done."""

    alice: str
    bob: str
    blocks: tuple[tuple[tuple[str, Any], ...], ...]
    summary: tuple[tuple[str, Any], ...]


def sealed_run(job: Job) -> Run:
    """The one run of the job that was finished."""
    runs = [load_run(info.path) for info in list_runs(job.store)]
    sealed = [run for run in runs if run.state is State.SEALED]
    assert len(sealed) == 1, [(run.name, run.state) for run in runs]
    assert not sealed[0].findings
    assert all(run.state in (State.OPEN, State.INTERRUPTED) for run in runs if run is not sealed[0])
    return sealed[0]


def results(job: Job) -> Results:
    """What the job has put down, after holding it against all that is true of every job that is done."""
    assert sorted(path.name for path in job.out.iterdir()) == list(OUTPUTS)
    assert job.is_done()
    assert job.shards() == []
    run = sealed_run(job)
    records = sorted(run.records(), key=lambda record: int(record["block"]))
    assert [record["block"] for record in records] == list(range(len(records)))
    summary = run.summary or {}
    assert len(records) == summary["blocks"]
    assert sum(record["leakage_bits"] for record in records) == summary["leakage_bits"]
    alice, bob = (hashlib.sha256((job.out / name).read_bytes()).hexdigest() for name in OUTPUTS)
    return Results(
        alice,
        bob,
        tuple(tuple((key, value) for key, value in record.items() if key != "elapsed_ns") for record in records),
        tuple((key, str(value)) for key, value in summary.items() if key not in _TIMES | _PLACES),
    )


# --- running ---------------------------------------------------------------------------------------------------------


class Started:
    """A launcher and everything it started.

    Args:
        words: command line.
        log: receives what is printed, standard error behind standard output.
        env: in place of, and beside, `environment`.
    """

    def __init__(self, words: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> None:
        self._mark = secrets.token_hex(8)
        self.log = log
        self.began = time.monotonic()
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [str(word) for word in words],
                env=environment() | dict(env or {}) | {_MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        """All that was printed."""
        return self.log.read_text(errors="replace")

    def members(self) -> dict[int, dict[str, str]]:
        """Processes with this mark that have not ended, and their environments."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                content = (entry / "environ").read_bytes().decode(errors="replace")
                if self._mark in content:
                    found[int(entry.name)] = dict(word.partition("=")[::2] for word in content.split("\0"))
        return {pid: environ for pid, environ in found.items() if alive(pid)}

    def ranks(self) -> dict[int, int]:
        """Process of each rank that has not ended."""
        return {
            int(environ["PMI_RANK"]): pid
            for pid, environ in self.members().items()
            if "PMI_RANK" in environ and pid != self.process.pid
        }

    def wait_for_ranks(self, count: int) -> dict[int, int]:
        until(lambda: len(self.ranks()) == count, LIMIT_S, lambda: f"{count} ranks\n{self.text}")
        return self.ranks()

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """The launcher's exit code, once it has ended.

        Raises:
            AssertionError: it has not ended within the limit; everything is killed then.
        """
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            text = self.text
            self.kill_all()
            raise AssertionError(f"not over within {limit_s:g} s\n{text}") from None

    def wait_for_all(self, limit_s: float = 30.0) -> None:
        """Until nothing that was started is left."""
        until(lambda: not self.members(), limit_s, lambda: f"everybody to end: {self.members()}\n{self.text}")

    def kill_all(self) -> None:
        """End everything that was started."""
        for pid in [*self.members(), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(LIMIT_S)
        self.wait_for_all()


def rank_words(job: Job, *options: str, prologue: str = "") -> list[str]:
    """The program of a rank; with a prologue, statements that each rank runs first, knowing its number as RANK."""
    if not prologue:
        return [sys.executable, "-m", "caligo.cluster", str(job.path), *options]
    program = (
        f"import os, sys\nRANK = int(os.environ.get('PMI_RANK', '0'))\n{prologue}\n"
        "from caligo.cluster.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    return [sys.executable, "-c", program, str(job.path), *options]


@contextlib.contextmanager
def mpiexec(
    ranks: int, job: Job, *options: str, env: Mapping[str, str] | None = None, prologue: str = ""
) -> Iterator[Started]:
    """Ranks of a job under `mpiexec`; whatever is left of them ends with the block."""
    words = [MPIEXEC, "-n", str(ranks), *rank_words(job, *options, prologue=prologue)]
    started = Started(words, job.directory / f"{job.name}.log", env)
    try:
        yield started
    finally:
        started.kill_all()


@contextlib.contextmanager
def caligo_run(job: Job, *options: str, prologue: str = "") -> Iterator[Started]:
    """`caligo run` of a job; with a prologue, statements that the process runs first."""
    words = ["run", str(job.path), *options]
    if prologue:
        program = f"{prologue}\nimport runpy\nrunpy.run_module('caligo', run_name='__main__', alter_sys=True)\n"
        words = [sys.executable, "-c", program, *words]
    else:
        words = [sys.executable, "-m", "caligo", *words]
    started = Started(words, job.directory / f"{job.name}.log")
    try:
        yield started
    finally:
        started.kill_all()


def run_alone(job: Job, *options: str) -> Results:
    """The job in one process on one thread: what everything else is held against."""
    with caligo_run(job, "--threads", "1", *options) as started:
        assert started.wait() == 0, started.text
    return results(job)


def run_ranks(ranks: int, job: Job, *options: str, prologue: str = "") -> Results:
    """The job on ranks, undisturbed."""
    with mpiexec(ranks, job, *options, prologue=prologue) as started:
        assert started.wait() == 0, started.text
    return results(job)


def wait_until(holds: Callable[[], bool], started: Started, step_s: float = 0.002) -> bool:
    """Poll quickly; False where the launcher ended first."""
    while not holds():
        if started.process.poll() is not None:
            return False
        assert time.monotonic() - started.began < LIMIT_S, started.text
        time.sleep(step_s)
    return True

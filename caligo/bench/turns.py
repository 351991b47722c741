"""Two installations of caligo, timed in turns, call by call: what a gate needs to see a slowdown of a few per cent.

Covers: starting the sides, whose turn it is, the runs that come of it. Does not cover: what one side does in its turn
(:mod:`caligo.bench.in_turns`), judging the runs (:mod:`caligo.store.gating`).

A pair is two processes, one of each side, that measure the same code on the same frames. They take turns on one core,
in an order that is drawn anew for every call, and the one whose turn it is not waits: what else the machine does falls
on both alike. Each process is one run of the store, of kind `bench`, and the next pair is two new processes, since
where a process lies in memory is worth some per cent of its speed too.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, cast

from caligo.errors import CaligoError, ConfigError, ExitCode, ResourceError, StoreError
from caligo.simulation import AwgnChannel, Channel
from caligo.telemetry import NO_PROGRESS, Progress

__all__ = ["MOST_PAIRS", "PairedRuns", "Side", "measure_in_turns", "turn_batch"]

MOST_PAIRS = 4096
"""As many as a baseline may have runs."""

PATIENCE_S = 600.0
"""How long one call, or the design of a code, may take."""

TURN, DONE = b"t", b"."
"""What a side hears before a call, and says after it."""

_LAST_WORDS_S = 10.0
_LONGEST_LINE = 1 << 16
_MOST_WARM_UP = 1000

_TURN_BITS = 1 << 17
_ERRORS: dict[str, type[CaligoError]] = {
    str(int(ExitCode.USAGE)): ConfigError,
    str(int(ExitCode.STORE)): StoreError,
}


@dataclass(frozen=True)
class Side:
    """One of two installations.

    Args:
        name: `baseline` or `candidate`.
        python: an interpreter that has it.
        campaign: that its runs belong to.
    """

    name: str
    python: Path
    campaign: str


@dataclass(frozen=True)
class PairedRuns:
    """What was measured.

    Attributes:
        candidates: run directories, in the order of the pairs.
        baselines: likewise.
        versions: of the sides, by name.
        packages: directories that the sides were loaded from, by name.
        core: all ran on it; None where a process cannot be bound to one.
    """

    candidates: tuple[Path, ...]
    baselines: tuple[Path, ...]
    versions: Mapping[str, str]
    packages: Mapping[str, str]
    core: int | None


def turn_batch(block_length: int) -> int:
    """Blocks in a call when none are given: some milliseconds of work."""
    return max(1, _TURN_BITS // block_length)


class _Process:
    """One side of one pair; a context manager that ends the process."""

    def __init__(self, side: Side, options: Mapping[str, Any], core: int | None, errors: IO[bytes]) -> None:
        self.side = side
        self._errors = errors
        # Each side is to have its own caligo, not one in the directory or the environment of this process.
        words = [os.fspath(side.python), "-P", "-m", "caligo.bench.in_turns", json.dumps(options)]
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        try:
            self._process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0, env=environment
            )
        except OSError as error:
            raise ConfigError(
                f"{side.name}: expected a Python interpreter, got {side.python}: {error.strerror}; give the one of the "
                "environment that the other caligo is installed in",
                side=side.name,
                python=os.fspath(side.python),
            ) from None
        self._turns, self._answers = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        if core is not None:
            with suppress(OSError):  # it has ended already, or the core was taken away: what follows tells
                os.sched_setaffinity(self._process.pid, {core})

    def __enter__(self) -> _Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """The end of its turns lets it end its run; who does not hear that is ended."""
        self._turns.close()
        for end in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(_LAST_WORDS_S)
                break
            except subprocess.TimeoutExpired:
                end()
        self._process.wait()
        self._answers.close()

    def hear(self, name: str) -> Any:
        """A member of its next line, which has to be there."""
        return self._member(self._hear_rest(b""), name)

    def greet(self) -> tuple[str, str, int]:
        """Its first line: version, package, and how many calls it makes before those that count."""
        said = self._hear_rest(b"")
        warm_up = self._member(said, "warm_up")
        if not isinstance(warm_up, int) or not 0 <= warm_up <= _MOST_WARM_UP:
            raise self._refusal("expected to be told of a caligo, got other text")
        return str(self._member(said, "version")), str(self._member(said, "package")), warm_up

    def take_turn(self) -> None:
        """Let it do one call, and wait for the end of it."""
        with suppress(BrokenPipeError):  # it has ended; what it said at last is read below
            self._turns.write(TURN)
        heard = self._read()
        if heard != DONE:
            self._hear_rest(heard)
            raise self._refusal("expected the end of a turn, got other text")

    def _member(self, document: Mapping[str, Any], name: str) -> Any:
        if name not in document:
            raise self._refusal("expected to be told of a caligo, got other text")
        return document[name]

    def _hear_rest(self, line: bytes) -> dict[str, Any]:
        while not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
            line += self._read()
        try:
            document = json.loads(line)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise self._refusal("expected to be told of a caligo, got other text")
        if "error" in document:
            kind = _ERRORS.get(str(document.get("exit_code")), ResourceError)
            raise kind(f"{self.side.name}: {document['error']}", side=self.side.name)
        return document

    def _read(self) -> bytes:
        """One byte."""
        ready, _, _ = select.select([self._answers], [], [], PATIENCE_S)
        if not ready:
            raise self._refusal(f"expected an answer within {PATIENCE_S:.0f} s, got none")
        byte = self._answers.read(1)
        if not byte:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST_WORDS_S)
            raise self._refusal(f"expected it to take turns, but it ended with {self._process.poll()}")
        return byte

    def _refusal(self, what: str) -> ResourceError:
        self._errors.seek(0)
        said = self._errors.read()[-4096:].decode("utf-8", "replace").strip().splitlines()
        return ResourceError(
            f"{self.side.name}, {self.side.python}: {what}{': ' + said[-1] if said else ''}; give an interpreter whose "
            "caligo has `bench turns`",
            side=self.side.name,
            python=os.fspath(self.side.python),
        )


def measure_in_turns(
    candidate: Side,
    baseline: Side,
    channel: Channel,
    options: Mapping[str, Any],
    *,
    pairs: int,
    store: Path,
    seed: int = 1,
    progress: Progress = NO_PROGRESS,
) -> PairedRuns:
    """Measure the decoder of two installations in turns, on one core.

    Args:
        candidate: to be judged.
        baseline: to hold it against.
        channel: what happens to a block; also what the code is designed for.
        options: further arguments of :func:`caligo.bench.decoder.bench_decoder`, `calls` among them; the same for both.
        pairs: of processes, 1 to :data:`MOST_PAIRS`.
        store: experiment store for the runs.
        seed: of the frames, and of the order of turns, in [0, 2^64).
        progress: told the pairs; its total is `pairs`.

    Returns:
        The runs.

    Raises:
        ConfigError: a parameter outside its range, no interpreter, or an installation refuses the options.
        ResourceError: an installation cannot take turns, or ends before it has.
        StoreError: the store cannot be written.
    """
    if not 1 <= pairs <= MOST_PAIRS:
        raise ConfigError(f"pairs: expected 1 to {MOST_PAIRS}, got {pairs}; begin with 64", pairs=pairs)
    noise = {"ebn0_db": channel.ebn0_db} if isinstance(channel, AwgnChannel) else {"qber": channel.qber}
    given = {**options, "channel": noise, "seed": seed, "store": os.fspath(store.absolute())}
    core = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    order = random.Random(seed)
    runs: dict[str, list[Path]] = {candidate.name: [], baseline.name: []}
    versions: dict[str, str] = {}
    packages: dict[str, str] = {}
    for _ in range(pairs):
        sides = order.sample((candidate, baseline), 2)
        with ExitStack() as stack:
            processes = []
            for side in sides:
                whole = {**given, "campaign": side.campaign}
                errors = stack.enter_context(TemporaryFile())
                process = stack.enter_context(_Process(side, whole, core, errors))
                versions[side.name], packages[side.name], warm_up = process.greet()
                for _ in range(warm_up):
                    process.take_turn()
                processes.append(process)
            for _ in range(int(options["calls"])):
                for process in order.sample(processes, len(processes)):
                    process.take_turn()
            for process in processes:
                runs[process.side.name].append(Path(str(process.hear("run"))))
        progress.advance(1)
    return PairedRuns(tuple(runs[candidate.name]), tuple(runs[baseline.name]), versions, packages, core)

"""The tasks of a simulation: a batch of frames each, done on any rank, counted in frame order.

Covers: both sides of :mod:`.tasks` for frame-error simulations, the stop rule over tasks that come in any order. Does
not cover: channels and decoding (:mod:`caligo.simulation`), sharing out (:mod:`.coordination`).

A frame of a shard has in its head the figures and the outcome of every simulated frame, a byte each; in its body their
decode times, eight bytes each. The count stops at the simulated frame that is the E-th error in frame order, whoever
decoded how much beyond it, as in :func:`caligo.simulation.simulate`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from caligo.errors import DamagedFrameError, StoreError
from caligo.jobs.runner import in_order_or_idle, worker_pool
from caligo.jobs.scheduling import Chunk, SchedulePolicy
from caligo.jobs.shards import ShardReader
from caligo.jobs.tasks import HEAD_BYTES, Figures, MergeOrder, TaskItem, TaskResult, Wait, head_of
from caligo.simulation import FrameBatch, Simulation, SimulationResult, batch_frames
from caligo.simulation.frame_errors import Outcome
from caligo.store import RunWriter
from caligo.telemetry import Telemetry

__all__ = ["SimulateConductor", "SimulateWorker"]

_MOST_BATCHES = 4
"""Batches given out at a time where a stop rule may end the simulation: what is decoded beyond it is lost."""


class SimulateConductor:
    """Rank 0's view of a simulation.

    Args:
        block_length: N.
        frames: most frames.
        max_frame_errors: of the stop rule; None: there is none.
    """

    def __init__(self, block_length: int, frames: int, max_frame_errors: int | None) -> None:
        self._each = batch_frames(block_length)
        self._frames = frames
        self._wanted = max_frame_errors
        self._outcomes: dict[int, bytes] = {}
        self._counted = self._errors = 0
        self._settled: tuple[int, int | None] | None = None

    @property
    def tasks(self) -> int:
        """How many there are."""
        return -(-self._frames // self._each)

    @property
    def blocks(self) -> int:
        """Frames in all of them."""
        return self._frames

    @property
    def policy(self) -> SchedulePolicy | None:
        """Few batches at a time where they may be for nothing."""
        return None if self._wanted is None else SchedulePolicy(most_tasks=_MOST_BATCHES)

    def observe(self, task: int, head: bytes, read_body: Callable[[], bytes]) -> None:
        """Count errors in frame order."""
        if self._wanted is None or self._settled is not None:
            return
        self._outcomes[task] = head[HEAD_BYTES:]
        while (outcomes := self._outcomes.pop(self._counted, None)) is not None:
            errors = np.flatnonzero(np.frombuffer(outcomes, dtype=np.uint8) != Outcome.OK)
            missing = self._wanted - self._errors
            self._counted += 1
            self._errors += len(errors)
            if len(errors) >= missing:
                self._settled = (self._counted, int(errors[missing - 1]) + 1)
                self._outcomes.clear()
                return

    def limit(self) -> int:
        """Any may be begun."""
        return self.tasks

    def hint(self, chunk: Chunk) -> None:
        """Frames follow from seed and index."""

    def settled(self) -> tuple[int, int | None] | None:
        """Where the stop rule is met: tasks that count, and frames of the last one."""
        return self._settled

    def dropped_bits(self) -> dict[int, int]:
        """No bits are kept."""
        return {}

    def dropped_groups(self, first: int, tasks: int) -> tuple[int, ...]:
        """There are no groups."""
        return ()

    def close(self) -> None:
        """Nothing is held."""


class SimulateWorker:
    """One rank's side of a simulation.

    Args:
        simulation: with a decoder for each thread; closed with the worker.
        frames: most frames.
        telemetry: told how long everything takes.
        digest: of the job, 32 bytes, which its shards have.
        writer: name under which this rank records.
    """

    def __init__(
        self, simulation: Simulation, frames: int, telemetry: Telemetry, *, digest: bytes, writer: str
    ) -> None:
        self._simulation = simulation
        self._each = batch_frames(simulation.code.block_length)
        self._frames = frames
        self._telemetry = telemetry
        self._digest = digest
        self._writer = writer
        self._stack = ExitStack()
        self._stack.callback(simulation.close)
        self._pool = self._stack.enter_context(worker_pool(simulation.threads))
        self._run: RunWriter | None = None

    @property
    def threads(self) -> int:
        """Worker threads."""
        return self._simulation.threads

    @property
    def engine(self) -> str:
        """What runs the decoders' kernels."""
        return self._simulation.engine

    @property
    def decoder_bytes(self) -> int:
        """Memory of one decoder."""
        return self._simulation.decoder_bytes

    @property
    def planned_in_flight(self) -> int:
        """Batches."""
        return 2 * self._simulation.threads + 1

    def results(
        self, items: Iterable[TaskItem | None], *, in_flight: Callable[[], int], wait: Wait
    ) -> Generator[TaskResult | None, None, None]:
        """Do tasks; see `TaskWorker.results`."""
        begun: deque[int] = deque()

        def tasks() -> Iterator[int | None]:
            for item in items:
                if item is not None:
                    begun.append(item.task)
                yield None if item is None else item.task

        for batch in in_order_or_idle(self._pool, self._decode, tasks(), in_flight, wait):
            yield None if batch is None else self._result(begun.popleft(), batch)

    def _decode(self, task: int) -> FrameBatch:
        first = task * self._each
        with self._telemetry.span("decode"):
            return self._simulation.decode_batch(first, min(self._each, self._frames - first))

    def _result(self, task: int, batch: FrameBatch) -> TaskResult:
        code = self._simulation.code
        figures = Figures(
            blocks=len(batch),
            failed=int(np.count_nonzero(batch.outcomes != Outcome.OK)),
            key_bits=len(batch) * code.payload_length,
            coded_bits=len(batch) * code.block_length,
            decode_ns=int(batch.elapsed_ns.sum(dtype=np.uint64)),
        )
        outcomes = batch.outcomes.tobytes()
        return TaskResult(task, head_of(figures, [outcomes]) + outcomes, batch.elapsed_ns.astype("<u8").tobytes())

    def shrink(self, in_flight: int) -> None:
        """The decoders of a simulation stay."""

    def merge(self, order: MergeOrder) -> SimulationResult:
        """Count and record frames.

        Raises:
            DamagedFrameError: a frame of a shard is not what was written.
            StoreError: the run cannot be recorded.
        """
        total = SimulationResult()
        with self._telemetry.span("merge"):
            for number, piece in enumerate(order.pieces, 1):
                first = piece.task * self._each
                frames = min(self._each, self._frames - first)
                try:
                    with ShardReader(piece.shard, self._digest) as reader:
                        frame = reader.read(piece.offset)
                    outcomes = np.frombuffer(frame.head[HEAD_BYTES:], dtype=np.uint8)
                    elapsed_ns = np.frombuffer(frame.body, dtype="<u8")
                    whole = frame.task == piece.task and len(outcomes) == len(elapsed_ns) == frames
                except (StoreError, ValueError):
                    whole = False
                if not whole:
                    raise DamagedFrameError(
                        f"expected the frames of task {piece.task} at byte {piece.offset} of {piece.shard}, got other "
                        "bytes; start the job again, which does these frames anew",
                        shard=str(piece.shard),
                        offset=piece.offset,
                        task=piece.task,
                    )
                keep = order.keep if number == len(order.pieces) else None
                batch = FrameBatch(first, outcomes[:keep], elapsed_ns[:keep].astype(np.uint64))
                total += batch.result()
                if order.run is not None:
                    self._recorder(order.run).record_many(batch.records())
        return total

    def _recorder(self, run: Path) -> RunWriter:
        if self._run is None:
            self._run = self._stack.enter_context(RunWriter.join(run, self._writer))
        return self._run

    def close(self) -> None:
        """Wait for the threads, release the decoders; twice is harmless."""
        self._stack.close()

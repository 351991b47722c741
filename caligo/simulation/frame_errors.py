"""Frame errors: counting, stopping, adding up.

Covers: running frames through a codec on several threads, with an answer that does not depend on how many. Does not
cover: the channels (:mod:`caligo.simulation.channels`), recording.

Batches are decoded as threads come free and are counted in frame order; the count stops at the frame that is the E-th
error, and what was decoded beyond it is thrown away. So a simulation is a function of code, channel, decoder, seed and
stop rule; threads change only how long it takes.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from caligo.codes import PolarCode
from caligo.codes.validation import validate_count, validate_name
from caligo.errors import ConfigError
from caligo.randomness import validate_seed
from caligo.reconciliation.codecs import Codec
from caligo.simulation.channels import AwgnChannel, BscChannel, Channel, sample_frames
from caligo.statistics import Proportion

__all__ = ["FrameBatch", "Outcome", "Simulation", "SimulationResult", "batch_frames", "simulate"]

_BATCH_BITS = 1 << 18
_BATCH_FRAMES = 256


class Outcome(IntEnum):
    """What became of a frame."""

    OK = 0
    DETECTED_FAILURE = 1
    UNDETECTED_ERROR = 2


_OUTCOME_NAMES = tuple(outcome.name.lower() for outcome in Outcome)


@dataclass(frozen=True, eq=False, repr=False)
class FrameBatch:
    """Outcomes of consecutive frames.

    Args:
        first: index of the first frame.
        outcomes: uint8[B], values of :class:`Outcome`.
        elapsed_ns: uint64[B]: time spent decoding each.
    """

    first: int
    outcomes: NDArray[np.uint8]
    elapsed_ns: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.outcomes)

    def records(self) -> list[dict[str, int | str]]:
        """One record a frame, for the store: ``block``, ``outcome``, ``elapsed_ns``."""
        return [
            {"block": self.first + row, "outcome": _OUTCOME_NAMES[outcome], "elapsed_ns": elapsed_ns}
            for row, (outcome, elapsed_ns) in enumerate(
                zip(self.outcomes.tolist(), self.elapsed_ns.tolist(), strict=True)
            )
        ]

    def result(self) -> SimulationResult:
        """The counts of this batch."""
        return SimulationResult(
            frames=len(self.outcomes),
            detected_failures=int(np.count_nonzero(self.outcomes == Outcome.DETECTED_FAILURE)),
            undetected_errors=int(np.count_nonzero(self.outcomes == Outcome.UNDETECTED_ERROR)),
            elapsed_ns=int(self.elapsed_ns.sum(dtype=np.uint64)),
        )


@dataclass(frozen=True)
class SimulationResult:
    """Counts over frames; ``a + b`` counts the frames of both, ``SimulationResult()`` none.

    Args:
        frames: frames counted.
        detected_failures: frames in which no candidate passed the check.
        undetected_errors: frames in which a wrong candidate passed it.
        elapsed_ns: time spent decoding, summed over frames (not over threads: two at once count twice).
    """

    frames: int = 0
    detected_failures: int = 0
    undetected_errors: int = 0
    elapsed_ns: int = 0

    def __add__(self, other: SimulationResult) -> SimulationResult:
        return SimulationResult(
            self.frames + other.frames,
            self.detected_failures + other.detected_failures,
            self.undetected_errors + other.undetected_errors,
            self.elapsed_ns + other.elapsed_ns,
        )

    @property
    def frame_errors(self) -> int:
        """Detected failures and undetected errors."""
        return self.detected_failures + self.undetected_errors

    @property
    def fer(self) -> float | None:
        """Frame errors over frames; None without frames."""
        return self.frame_errors / self.frames if self.frames else None

    def fer_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Two-sided Clopper-Pearson interval of the frame error rate; (0, 1) without frames."""
        return Proportion(self.frame_errors, self.frames).interval(confidence)

    def mbps(self, bits_per_frame: int) -> float | None:
        """Decoding rate of one core in 10^6 bits per second, counting `bits_per_frame`; None without times."""
        return 1e3 * bits_per_frame * self.frames / self.elapsed_ns if self.elapsed_ns else None


def batch_frames(block_length: int) -> int:
    """Frames that are sampled and decoded together.

    Args:
        block_length: N.
    """
    return max(1, min(_BATCH_FRAMES, _BATCH_BITS // block_length))


class Simulation:
    """Frames of one seed through one decoder; holds a workspace for each thread.

    Args:
        code: the code.
        channel: what happens to a block.
        list_size: paths the decoder keeps.
        seed: 0..2^64 - 1; with the frame index it determines a frame.
        precision: ``int8`` or ``f32``; default ``int8`` for a BSC, ``f32`` for AWGN.
        engine: kernels to use; None takes the fastest this CPU has.
        threads: frames decoded at the same time.
        codec: ``polar``, or ``reference`` for the textbook decoder (slow; needs the ``oracle`` extra).
        escalation: list sizes tried before `list_size`, increasing (``polar`` alone).

    Raises:
        ConfigError: a parameter is out of range.
        ResourceError: no memory for the workspaces, or the oracle is not installed.
    """

    def __init__(
        self,
        code: PolarCode,
        channel: Channel,
        *,
        list_size: int,
        seed: int,
        precision: Literal["int8", "f32"] | None = None,
        engine: str | None = None,
        threads: int = 1,
        codec: Literal["polar", "reference"] = "polar",
        escalation: Sequence[int] = (),
    ) -> None:
        validate_seed(seed)
        validate_count(threads, "threads")
        validate_name(codec, "codec", ("polar", "reference"))
        if not isinstance(channel, BscChannel | AwgnChannel):
            raise ConfigError(
                f"channel: expected a BscChannel or an AwgnChannel, got {channel!r}", what="channel", got=repr(channel)
            )
        self.code = code
        self.channel = channel
        self.seed = seed
        self.threads = threads
        self.precision: str = precision or ("f32" if isinstance(channel, AwgnChannel) else "int8")
        self._codecs = [self._make(codec, list_size, engine, escalation) for _ in range(threads)]
        self._idle: queue.SimpleQueue[Codec] = queue.SimpleQueue()
        for each in self._codecs:
            self._idle.put(each)

    def _make(self, codec: str, list_size: int, engine: str | None, escalation: Sequence[int]) -> Codec:
        if codec == "reference":
            from caligo.reconciliation.codecs.reference import ReferenceCodec

            self.precision = "f64"
            return ReferenceCodec(self.code, list_size)
        from caligo.reconciliation.codecs.polar import PolarCodec

        return PolarCodec(
            self.code,
            list_size,
            precision=self.precision,  # type: ignore[arg-type]
            engine=engine,
            escalation=escalation,
        )

    @property
    def engine(self) -> str:
        """The kernels in use."""
        return self._codecs[0].engine

    @property
    def decoder_bytes(self) -> int:
        """Memory of one thread's workspace, in bytes."""
        return self._codecs[0].decoder_bytes

    def decode_batch(self, first: int, count: int) -> FrameBatch:
        """Sample and decode consecutive frames on the calling thread; may be called by several threads."""
        frames = sample_frames(self.code, self.channel, self.seed, first, count)
        codec = self._idle.get()
        try:
            frozen_values, check_values = codec.syndrome(frames.blocks)
            if isinstance(self.channel, BscChannel) and frames.received is not None:
                batch = codec.decode(frames.received, frozen_values, check_values, self.channel.qber)
            elif frames.llr is not None:
                batch = codec.decode_soft(frames.llr, frozen_values, check_values)
            else:
                raise ConfigError(f"no decoder input for channel {self.channel!r}")
        finally:
            self._idle.put(codec)
        wrong = (batch.decoded != frames.blocks).any(axis=1)
        outcomes = np.where(batch.ok, np.where(wrong, Outcome.UNDETECTED_ERROR, Outcome.OK), Outcome.DETECTED_FAILURE)
        return FrameBatch(first=first, outcomes=outcomes.astype(np.uint8), elapsed_ns=batch.elapsed_ns)

    def run(
        self,
        frames: int,
        max_frame_errors: int | None = None,
        *,
        first_frame: int = 0,
        on_batch: Callable[[FrameBatch], None] | None = None,
    ) -> SimulationResult:
        """Decode frames until there are enough of them, or of errors.

        Args:
            frames: most frames to decode, from 1.
            max_frame_errors: stop after the frame that is this many-th error, from 1; None decodes all frames.
            first_frame: index of the first frame; later frames of a seed continue an earlier run.
            on_batch: told of every batch in frame order, on the calling thread, after truncation.

        Returns:
            The counts.

        Raises:
            ConfigError: a parameter is out of range.
        """
        validate_count(frames, "frames")
        validate_count(first_frame, "first_frame", 0)
        if max_frame_errors is not None:
            validate_count(max_frame_errors, "max_frame_errors")
        size = batch_frames(self.code.block_length)
        starts = iter(range(first_frame, first_frame + frames, size))
        end = first_frame + frames
        total = SimulationResult()
        pending: deque[Future[FrameBatch]] = deque()
        with ThreadPoolExecutor(self.threads, thread_name_prefix="caligo-simulation") as executor:
            try:
                while True:
                    while len(pending) < 2 * self.threads and (start := next(starts, None)) is not None:
                        pending.append(executor.submit(self.decode_batch, start, min(size, end - start)))
                    if not pending:
                        return total
                    batch = pending.popleft().result()
                    batch, last = _truncate(batch, total.frame_errors, max_frame_errors)
                    total += batch.result()
                    if on_batch is not None:
                        on_batch(batch)
                    if last:
                        return total
            finally:
                for future in pending:
                    future.cancel()

    def close(self) -> None:
        """Release the workspaces."""
        for codec in self._codecs:
            codec.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _truncate(batch: FrameBatch, errors: int, max_frame_errors: int | None) -> tuple[FrameBatch, bool]:
    """The batch up to the frame that completes the errors, and whether it does."""
    if max_frame_errors is None:
        return batch, False
    places = np.flatnonzero(batch.outcomes != Outcome.OK)
    missing = max_frame_errors - errors
    if len(places) < missing:
        return batch, False
    keep = int(places[missing - 1]) + 1
    return FrameBatch(first=batch.first, outcomes=batch.outcomes[:keep], elapsed_ns=batch.elapsed_ns[:keep]), True


def simulate(
    code: PolarCode,
    channel: Channel,
    *,
    list_size: int,
    frames: int,
    max_frame_errors: int | None = None,
    seed: int = 0,
    threads: int = 1,
    precision: Literal["int8", "f32"] | None = None,
    engine: str | None = None,
    codec: Literal["polar", "reference"] = "polar",
    escalation: Sequence[int] = (),
    on_batch: Callable[[FrameBatch], None] | None = None,
) -> SimulationResult:
    """Measure a frame error rate.

    Args:
        code: the code.
        channel: what happens to a block.
        list_size: paths the decoder keeps.
        frames: most frames to decode, from 1.
        max_frame_errors: stop after the frame that is this many-th error in frame order; None decodes all frames.
        seed: 0..2^64 - 1.
        threads: frames decoded at the same time; the result does not depend on it (times do).
        precision: ``int8`` or ``f32``; default ``int8`` for a BSC, ``f32`` for AWGN.
        engine: kernels to use; None takes the fastest this CPU has.
        codec: ``polar`` or ``reference``.
        escalation: list sizes tried before `list_size`, increasing (``polar`` alone).
        on_batch: told of every batch in frame order.

    Returns:
        The counts.

    Raises:
        ConfigError: a parameter is out of range.
        ResourceError: no memory for the workspaces, or the oracle is not installed.
    """
    with Simulation(
        code,
        channel,
        list_size=list_size,
        seed=seed,
        precision=precision,
        engine=engine,
        threads=threads,
        codec=codec,
        escalation=escalation,
    ) as simulation:
        return simulation.run(frames, max_frame_errors, on_batch=on_batch)

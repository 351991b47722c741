"""How fast the decoder is on this machine: the batch call, timed as a user makes it.

Covers: throughput, latency, error rate, memory and allocations of one decoder on random keys and real noise. Does not
cover: several machines, or the time that making frames, reading keys or verifying takes.

What is timed is `PolarCodec.decode` (or `decode_soft`), arguments checked and results allocated, and nothing else:
every batch is made before its clock starts and compared with what was sent after it stops. One sample is the time of
one call divided by its frames; a batch is one frame from N = 2^18 on and up to 1024 frames below, so that the call's
own cost is shared as users share it. `coded_mbps` is N over the median sample.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from caligo import _native
from caligo.channel import binary_entropy, mean_qber
from caligo.codes import PolarCode
from caligo.errors import ConfigError
from caligo.memory import peak_rss_bytes
from caligo.reconciliation.codecs import DecodedBatch
from caligo.reconciliation.codecs.polar import PolarCodec
from caligo.simulation import AwgnChannel, BscChannel, Channel, design_for_channel, sample_frames
from caligo.statistics import Proportion, Samples
from caligo.telemetry import NO_PROGRESS, Progress

if TYPE_CHECKING:
    from caligo.store import Run, RunWriter

__all__ = ["Batch", "BatchSource", "DecoderBenchmark", "bench_decoder", "default_batch", "measure_again"]

_LONG_BLOCK = 1 << 18
_BATCH_BITS = 1 << 22
_LARGEST_BATCH = 1024
_WARM_UP_S = 0.2
WARM_UP_CALLS = 3
"""Calls before those that count, where their number is given and not the time."""
_LEAST_CALLS = 3
_OVERHEAD_FACTOR = 4.0
_REPEATED = (
    "block_length",
    "list_size",
    "seconds",
    "efficiency",
    "info_length",
    "check",
    "escalation",
    "segment_length",
    "design",
    "precision",
    "batch",
)


@dataclass(frozen=True)
class DecoderBenchmark:
    """Outcome of :func:`bench_decoder`; the fields are those of `caligo bench decoder --json`.

    Rates are in 10^6 bits per second: *coded* counts block_length bits per frame, *payload* the key bits. `latency_s`
    is in seconds per frame (time of a call over its frames). `allocations_per_decode` counts the extension's heap
    allocations per frame; None with several threads (the count is kept per thread).
    """

    block_length: int
    payload_length: int
    list_size: int
    escalation: list[int]
    segment_length: int | None
    segment_check: str
    channel: str
    qber: float | None
    ebn0_db: float | None
    efficiency: float | None
    info_length: int
    leakage_bits: int
    check: str
    design: str
    precision: str
    engine: str
    threads: int
    batch: int
    seed: int
    calls: int
    frames: int
    frame_errors: int
    detected_failures: int
    undetected_errors: int
    fer: float
    fer_low: float
    fer_high: float
    decoding_s: float
    coded_mbps: float
    coded_mbps_per_core: float
    payload_mbps: float
    latency_s: dict[str, float]
    decoder_bytes: int
    peak_rss_bytes: int
    allocations_per_decode: float | None
    run: str | None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        fields: dict[str, Any] = asdict(self)
        return fields


def default_batch(block_length: int, threads: int = 1) -> int:
    """Frames in a call when none is given: one per thread from N = 2^18 on, up to 1024 per thread below."""
    alone = 1 if block_length >= _LONG_BLOCK else min(_LARGEST_BATCH, _BATCH_BITS // block_length)
    return alone * threads


@dataclass(frozen=True, eq=False, repr=False)
class Batch:
    """Frames on the way: what Alice has, and everything the decoder is given.

    Args:
        sent: uint8[B, max(1, N // 8)], packed.
        noisy: packed uint8 of the same shape (BSC), or LLRs float32[B, N] (AWGN).
        frozen_values: uint8[B, max(1, N // 8)], packed.
        check_values: uint32[B], or uint32[B, 1 + segments].
    """

    sent: NDArray[np.uint8]
    noisy: NDArray[Any]
    frozen_values: NDArray[np.uint8]
    check_values: NDArray[np.uint32]


class BatchSource:
    """Makes fresh batches for a codec, and decodes one by the call that users make.

    Args:
        codec: the codec.
        channel: what happens to a block.
        frames: frames in a batch.
        seed: in [0, 2^64).
    """

    def __init__(self, codec: PolarCodec, channel: Channel, frames: int, seed: int) -> None:
        self._codec = codec
        self._channel = channel
        self._frames = frames
        self._seed = seed

    def make(self, number: int) -> Batch:
        """Batch `number`, from 0; the same number gives the same batch."""
        frames = sample_frames(self._codec.code, self._channel, self._seed, number * self._frames, self._frames)
        frozen_values, check_values = self._codec.syndrome(frames.blocks)
        noisy: NDArray[Any] | None = frames.llr if frames.received is None else frames.received
        return Batch(frames.blocks, np.asarray(noisy), frozen_values, check_values)

    def decode(self, batch: Batch) -> DecodedBatch:
        """The one call that is timed."""
        if isinstance(self._channel, BscChannel):
            return self._codec.decode(batch.noisy, batch.frozen_values, batch.check_values, self._channel.qber)
        return self._codec.decode_soft(batch.noisy, batch.frozen_values, batch.check_values)


def bench_decoder(
    channel: Channel,
    block_length: int,
    list_size: int,
    *,
    seconds: float | None = None,
    calls: int | None = None,
    efficiency: float | None = None,
    info_length: int | None = None,
    check: str = "crc32",
    escalation: Sequence[int] = (),
    segment_length: int | None = None,
    segment_check: str = "crc16",
    design: str | None = None,
    precision: Literal["int8", "f32"] | None = None,
    engine: str | None = None,
    threads: int = 1,
    batch: int | None = None,
    seed: int = 1,
    store: Path | None = None,
    parents: Sequence[str] = (),
    campaign: str | None = None,
    compact: bool = False,
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    progress: Progress = NO_PROGRESS,
) -> DecoderBenchmark:
    """Measure the decoder for one code and channel.

    Args:
        channel: what happens to a block; also what the code is designed for.
        block_length: N, a power of two.
        list_size: L.
        seconds: decoding time to spend, > 0; at least three calls are made, and the whole takes at most about four
            times as long even where making frames is slower than decoding them. Give this or `calls`.
        calls: calls to time, >= 1, after :data:`WARM_UP_CALLS` that are not.
        efficiency: leakage over the Shannon limit at the QBER (BSC; or give `info_length`).
        info_length: K, information bits without the check.
        check: name of the check value.
        escalation: list sizes tried before `list_size`, increasing.
        segment_length: positions of a segment, a power of two; None: the block is not cut.
        segment_check: name of the check value of a segment.
        design: name of the code design; None takes `de` for the BSC and `ga` for AWGN.
        precision: arithmetic of the decoder; None takes `int8` for the BSC and `f32` for AWGN.
        engine: name of the engine; None takes the fastest.
        threads: frames decoded at the same time.
        batch: frames in a call; None takes :func:`default_batch`.
        seed: simulation seed, in [0, 2^64).
        store: experiment store for the run's record; None records nothing.
        parents: names of the runs that this one derives from, for its record.
        campaign: name of the campaign that the run belongs to, for its record.
        compact: keep the records as Parquet.
        turn: entered before each call's frames are made, and left when the call is recorded.
        progress: told the milliseconds decoded; its total is 1000 times `seconds`.

    Returns:
        The measurement.

    Raises:
        ConfigError: a parameter outside its range, or contradictory ones.
        ResourceError: not enough memory.
        StoreError: the store cannot be written.
        NativeUnavailableError: the extension is not built.
    """
    if (seconds is None) == (calls is None):
        raise ConfigError("expected either seconds or calls, got both or neither; give one")
    if calls is not None and calls < 1:
        raise ConfigError(f"expected calls >= 1, got {calls}; give how many to time", calls=calls)
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise ConfigError(f"expected seconds > 0, got {seconds!r}; give a time such as 5", seconds=str(seconds))
    if batch is not None and batch < 1:
        raise ConfigError(f"expected batch >= 1, got {batch}; give the frames in a call", batch=batch)
    code = design_for_channel(
        channel,
        block_length,
        design=design,
        efficiency=efficiency,
        info_length=info_length,
        check=check,
        segment_length=segment_length,
        segment_check=segment_check,
    )
    arithmetic = precision or ("int8" if isinstance(channel, BscChannel) else "f32")
    frames = batch if batch is not None else default_batch(block_length, threads)
    configuration: dict[str, Any] = {
        "command": "bench decoder",
        "block_length": block_length,
        "list_size": list_size,
        "escalation": list(escalation),
        "segment_length": code.segment_length,
        "segment_check": code.segment_check,
        "channel": "bsc" if isinstance(channel, BscChannel) else "awgn",
        "qber": mean_qber(channel.qber) if isinstance(channel, BscChannel) else None,
        "ebn0_db": channel.ebn0_db if isinstance(channel, AwgnChannel) else None,
        "efficiency": efficiency,
        "info_length": info_length,
        "check": check,
        "design": code.design,
        "code_digest": code.digest,
        "precision": arithmetic,
        "threads": threads,
        "batch": frames,
        "seconds": seconds,
    }
    if isinstance(channel, BscChannel) and isinstance(channel.qber, tuple):
        configuration["qber_pair"] = list(channel.qber)
    if calls is not None:
        configuration["calls"] = calls
    with PolarCodec(
        code, list_size, precision=arithmetic, engine=engine, threads=threads, escalation=escalation
    ) as codec:
        source = BatchSource(codec, channel, frames, seed)
        record = {"parents": parents, "campaign": campaign, "compact": compact}
        with _recording(store, configuration, seed, codec.engine, record) as run:
            measured = _measure(source, seconds, calls, turn, run, progress)
            result = _summarise(configuration, code, codec, measured, seed, run)
            if run is not None:
                run.seal(result.to_json())
    return result


def _recording(
    store: Path | None, configuration: dict[str, Any], seed: int, engine: str, record: dict[str, Any]
) -> RunWriter | nullcontext[None]:
    if store is None:
        return nullcontext()
    from caligo.store import RunWriter

    return RunWriter.create(
        store,
        "bench",
        configuration,
        seeds={"simulation": seed},
        engine={"engine": engine, **_native.build_info()},
        **record,
    )


def measure_again(recorded: Run, store: Path, threads: int, engine: str | None) -> Path:
    """Repeat a recorded measurement, as :data:`caligo.jobs.replay.Measure`.

    Args:
        recorded: a run of :func:`bench_decoder`.
        store: where the repetition is recorded.
        threads: frames decoded at the same time.
        engine: name of the engine; None takes the fastest.

    Returns:
        The directory of the new run, whose parent is the recorded one.

    Raises:
        ConfigError: its configuration is of no such measurement.
        ResourceError: not enough memory.
        StoreError: the store cannot be written.
    """
    asked = recorded.configuration
    try:
        qber = tuple(asked["qber_pair"]) if "qber_pair" in asked else asked["qber"]
        channel = AwgnChannel(asked["ebn0_db"]) if asked["channel"] == "awgn" else BscChannel(qber)
        segment_check = asked["segment_check"]
        options = {name: asked[name] for name in _REPEATED} | {"calls": asked.get("calls")}
        seed = int(recorded.document["seeds"]["simulation"])
    except (KeyError, TypeError) as error:
        raise ConfigError(f"expected the configuration of a measurement, got one without {error}") from error
    measured = bench_decoder(
        channel,
        **options,
        segment_check="crc16" if segment_check == "none" else segment_check,
        engine=engine,
        threads=threads,
        seed=seed,
        store=store,
        parents=(recorded.name,),
    )
    return Path(str(measured.run))


@dataclass
class _Measured:
    samples: list[float]
    frames: int = 0
    decoding_s: float = 0.0
    detected: int = 0
    undetected: int = 0
    allocations: int = 0


def _measure(
    source: BatchSource,
    seconds: float | None,
    calls: int | None,
    turn: Callable[[], AbstractContextManager[None]],
    run: RunWriter | None,
    progress: Progress,
) -> _Measured:
    number = _warm_up(source, calls is None, turn)
    began = time.perf_counter()
    measured = _Measured([])

    def goes_on() -> bool:
        if seconds is None:
            return len(measured.samples) < (calls or 0)
        if len(measured.samples) < _LEAST_CALLS:
            return True
        return measured.decoding_s < seconds and time.perf_counter() - began <= _OVERHEAD_FACTOR * seconds

    told_ms = 0
    while goes_on():
        with turn():
            rate = _measure_call(source, number, measured, run)
        number += 1
        now_ms = int(measured.decoding_s * 1000)
        if seconds is not None:
            now_ms = min(int(seconds * 1000), now_ms)
        progress.advance(now_ms - told_ms, coded_mbps=rate)
        told_ms = now_ms
    return measured


def _measure_call(source: BatchSource, number: int, measured: _Measured, run: RunWriter | None) -> float:
    """Time one call, count and record its outcome; returns 10^6 coded bits per second so far."""
    batch = source.make(number)
    allocated = _native.allocation_count()
    start = time.perf_counter_ns()
    outcome = source.decode(batch)
    elapsed_ns = time.perf_counter_ns() - start
    measured.allocations += _native.allocation_count() - allocated
    wrong = np.any(outcome.decoded != batch.sent, axis=1)
    detected = int(np.count_nonzero(~outcome.ok))
    undetected = int(np.count_nonzero(outcome.ok & wrong))
    count = len(outcome)
    measured.samples.append(elapsed_ns * 1e-9 / count)
    measured.frames += count
    measured.decoding_s += elapsed_ns * 1e-9
    measured.detected += detected
    measured.undetected += undetected
    if run is not None:
        run.record(
            {
                "call": len(measured.samples) - 1,
                "outcome": "measured",
                "frames": count,
                "elapsed_ns": elapsed_ns,
                "detected_failures": detected,
                "undetected_errors": undetected,
            }
        )
    rate: float = measured.frames / measured.decoding_s * outcome.decoded.shape[1] * 8 / 1e6
    return rate


def _warm_up(source: BatchSource, for_a_time: bool, turn: Callable[[], AbstractContextManager[None]]) -> int:
    """Decode a little without counting: page in the workspace, let the clock rise. Returns the next batch number."""
    number = 0
    spent = 0.0
    while (spent < _WARM_UP_S and number < 16) if for_a_time else number < WARM_UP_CALLS:
        with turn():
            batch = source.make(number)
            start = time.perf_counter()
            source.decode(batch)
            spent += time.perf_counter() - start
        number += 1
    return number


def _summarise(
    configuration: dict[str, Any],
    code: PolarCode,
    codec: PolarCodec,
    measured: _Measured,
    seed: int,
    run: RunWriter | None,
) -> DecoderBenchmark:
    peak = peak_rss_bytes()  # before the interval below loads SciPy
    threads = codec.threads
    samples = Samples(measured.samples)
    mean = float(samples.mean or 0.0)
    shares = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "p95": 0.95}
    latency_s = {"mean": mean} | {name: float(samples.quantile(share) or 0.0) for name, share in shares.items()}
    median = latency_s["median"]
    errors = Proportion(measured.detected + measured.undetected, measured.frames)
    low, high = errors.interval()
    qber = configuration["qber"]
    coded_mbps = code.block_length / median / 1e6
    return DecoderBenchmark(
        block_length=code.block_length,
        payload_length=code.payload_length,
        list_size=codec.list_size,
        escalation=list(codec.escalation),
        segment_length=code.segment_length,
        segment_check=code.segment_check,
        channel=configuration["channel"],
        qber=qber,
        ebn0_db=configuration["ebn0_db"],
        efficiency=_efficiency(code, qber),
        info_length=code.info_length,
        leakage_bits=code.leakage_bits,
        check=code.check,
        design=code.design,
        precision=codec.precision,
        engine=codec.engine,
        threads=threads,
        batch=configuration["batch"],
        seed=seed,
        calls=samples.count,
        frames=measured.frames,
        frame_errors=errors.successes,
        detected_failures=measured.detected,
        undetected_errors=measured.undetected,
        fer=errors.successes / errors.trials,
        fer_low=low,
        fer_high=high,
        decoding_s=measured.decoding_s,
        coded_mbps=coded_mbps,
        coded_mbps_per_core=coded_mbps / threads,
        payload_mbps=code.payload_length / median / 1e6,
        latency_s=latency_s,
        decoder_bytes=codec.decoder_bytes,
        peak_rss_bytes=peak,
        allocations_per_decode=measured.allocations / measured.frames if threads == 1 else None,
        run=str(run.path) if run is not None else None,
    )


def _efficiency(code: PolarCode, qber: float | None) -> float | None:
    if qber is None:
        return None
    limit: float = code.payload_length * binary_entropy(qber)
    return code.leakage_bits / limit

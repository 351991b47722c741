"""The decoder over the codes that people ask about: one table for this machine.

Covers: the rows, their measurement one after the other, their record as one run, their plot. Does not cover: how one
row is measured (:mod:`caligo.bench.decoder`).

Every row is one core. Rates are from the median call; the quartiles of the calls say how steady the machine was. Other
work on the machine slows every row: the record names the machine, not what else ran on it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from caligo import _native
from caligo.bench.decoder import DecoderBenchmark, bench_decoder
from caligo.errors import ConfigError, ResourceError
from caligo.randomness import Stream, simulation_bits
from caligo.reconciliation.strategies.segmented import DEFAULT_SEGMENT_LENGTH, default_escalation
from caligo.simulation import AwgnChannel, BscChannel, Channel
from caligo.statistics import Samples
from caligo.telemetry import NO_PROGRESS, Progress

if TYPE_CHECKING:
    from caligo.store import RunWriter

__all__ = ["SWEEP", "SweepCase", "SweepRow", "bench_sweep", "plot_sweep", "require_plot"]

FRAMES_FOR_A_RATE = 100
"""Fewer frames say nothing about a frame error rate."""

_TRANSFORM_LENGTH = 1 << 20
_TRANSFORM_CALLS_MIN = 30


@dataclass(frozen=True)
class SweepCase:
    """One row to measure: a code and its channel, and how it is decoded.

    Args:
        name: what the row is called.
        channel: what happens to a block; also what the code is designed for.
        block_length: N.
        list_size: L.
        efficiency: leakage over the Shannon limit, for the BSC.
        info_length: information bits without the check, for AWGN.
        precision: arithmetic of the decoder.
        segment_length: positions in a segment; None: the block is not cut.
        escalation: list sizes tried before `list_size`.
    """

    name: str
    channel: Channel
    block_length: int
    list_size: int
    efficiency: float | None = None
    info_length: int | None = None
    precision: Literal["int8", "f32"] = "int8"
    segment_length: int | None = None
    escalation: tuple[int, ...] = ()


def _bsc(log2: int, list_size: int, efficiency: float, *first: int) -> SweepCase:
    name = f"N = 2^{log2}, L = {list_size}, f = {efficiency:g}"
    if first:
        name += f", {', '.join(map(str, first))} first"
    return SweepCase(name, BscChannel(0.02), 1 << log2, list_size, efficiency=efficiency, escalation=first)


def _segmented(log2: int, list_size: int, efficiency: float) -> SweepCase:
    name = f"N = 2^{log2}, L = {list_size}, f = {efficiency:g}, segmented"
    channel, escalation = BscChannel(0.02), default_escalation(list_size)
    length = DEFAULT_SEGMENT_LENGTH
    return SweepCase(
        name, channel, 1 << log2, list_size, efficiency=efficiency, segment_length=length, escalation=escalation
    )


def _awgn(list_size: int, precision: Literal["int8", "f32"]) -> SweepCase:
    name = f"N = 2^11, L = {list_size}, AWGN 4 dB, {precision}"
    return SweepCase(name, AwgnChannel(4.0), 2048, list_size, info_length=1723, precision=precision)


SWEEP: tuple[SweepCase, ...] = (
    _bsc(20, 32, 1.14),
    _bsc(20, 32, 1.14, 8),
    _segmented(20, 32, 1.145),
    _bsc(20, 8, 1.15),
    _bsc(16, 32, 1.24),
    _bsc(16, 32, 1.24, 8),
    _bsc(16, 8, 1.24),
    _bsc(12, 32, 1.5),
    _bsc(12, 32, 1.5, 1, 8),
    _bsc(12, 8, 1.5),
    _bsc(12, 1, 1.7),
    _bsc(20, 1, 1.26),
    _awgn(8, "int8"),
    _awgn(32, "int8"),
    _awgn(8, "f32"),
    _awgn(32, "f32"),
)
"""The rows; the transform follows them. The QBER is 2 %; over AWGN 1723 information bits and a 32-bit check."""


@dataclass(frozen=True)
class SweepRow:
    """One row, measured; rates in 10^6 bits per second of one core.

    `coded_mbps` counts block_length bits per block and comes from the median call, `q25` and `q75` from the quartiles
    (the slower call is the lower rate). `information_mbps` counts information bits, without the check; the transform
    has none. `fer` and its two-sided 95 % interval are None where there were too few frames to tell.
    """

    name: str
    block_length: int
    list_size: int | None
    efficiency: float | None
    precision: str | None
    engine: str | None
    calls: int
    frames: int
    frame_errors: int | None
    coded_mbps: float
    coded_mbps_q25: float
    coded_mbps_q75: float
    information_mbps: float | None
    fer: float | None
    fer_low: float | None
    fer_high: float | None
    decoder_bytes: int | None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        fields: dict[str, Any] = asdict(self)
        return fields


class _Row:
    """The share of one row in the progress of a sweep: never more than `total`, and all of it in the end."""

    def __init__(self, progress: Progress, total: int, number: int) -> None:
        self._progress = progress
        self._left = total
        self._number = number

    def start(self, description: str, total: int | None, unit: str) -> None:
        """Nothing: the sweep has started."""

    def advance(self, count: int = 1, **figures: float) -> None:
        """Pass on what fits."""
        told = min(count, self._left)
        self._left -= told
        self._progress.advance(told, row=self._number, **figures)

    def finish(self) -> None:
        """The rest of the row."""
        self._progress.advance(self._left, row=self._number)
        self._left = 0


def bench_sweep(
    *,
    seconds: float,
    engine: str | None = None,
    seed: int = 1,
    store: Path | None = None,
    progress: Progress = NO_PROGRESS,
    cases: Sequence[SweepCase] | None = None,
) -> tuple[list[SweepRow], str | None]:
    """Measure every case on one core, then the polar transform.

    Args:
        seconds: decoding time for each row, > 0.
        engine: name of the engine; None takes the fastest.
        seed: simulation seed, in [0, 2^64).
        store: experiment store for the run's record, a `bench` run with a record per row; None records nothing.
        progress: told the milliseconds decoded.
        cases: the rows; None takes `SWEEP`.

    Returns:
        The rows in the order of the cases, the transform last, and the path of the recorded run.

    Raises:
        ConfigError: a parameter outside its range.
        ResourceError: not enough memory.
        StoreError: the store cannot be written.
        NativeUnavailableError: the extension is not built.
    """
    cases = SWEEP if cases is None else cases
    each = int(1000 * seconds) if 0 < seconds < 1e9 else 0
    if each < 1:
        raise ConfigError(
            f"expected 0.001 <= seconds < 10^9, got {seconds!r}; give a time such as 5", seconds=str(seconds)
        )
    rows: list[SweepRow] = []
    progress.start("measuring", each * (len(cases) + 1), "ms")
    configuration = {
        "command": "bench decoder --sweep",
        "seconds": seconds,
        "engine": engine,
        "rows": [case.name for case in cases],
    }
    with _recording(store, configuration, seed, engine) as run:
        for number, case in enumerate(cases, 1):
            share = _Row(progress, each, number)
            measured = bench_decoder(
                case.channel,
                case.block_length,
                case.list_size,
                seconds=seconds,
                efficiency=case.efficiency,
                info_length=case.info_length,
                precision=case.precision,
                segment_length=case.segment_length,
                escalation=case.escalation,
                engine=engine,
                seed=seed,
                progress=share,
            )
            rows.append(_row(case, measured))
            _record(run, rows[-1])
            share.finish()
        share = _Row(progress, each, len(cases) + 1)
        rows.append(_transform_row(seconds, seed))
        _record(run, rows[-1])
        share.finish()
        if run is not None:
            run.seal({row.name: row.coded_mbps for row in rows})
    return rows, str(run.path) if run is not None else None


def _recording(
    store: Path | None, configuration: dict[str, Any], seed: int, engine: str | None
) -> RunWriter | nullcontext[None]:
    if store is None:
        return nullcontext()
    from caligo.store import RunWriter

    chosen = engine or _native.engines()[0]
    build = {"engine": chosen, **_native.build_info()}
    return RunWriter.create(store, "bench", configuration, seeds={"simulation": seed}, engine=build)


def _record(run: RunWriter | None, row: SweepRow) -> None:
    if run is not None:
        run.record({"outcome": "measured", **row.to_json()})


def _row(case: SweepCase, measured: DecoderBenchmark) -> SweepRow:
    enough = measured.frames >= FRAMES_FOR_A_RATE
    bits = measured.block_length / 1e6
    return SweepRow(
        name=case.name,
        block_length=measured.block_length,
        list_size=measured.list_size,
        efficiency=measured.efficiency,
        precision=measured.precision,
        engine=measured.engine,
        calls=measured.calls,
        frames=measured.frames,
        frame_errors=measured.frame_errors,
        coded_mbps=measured.coded_mbps,
        coded_mbps_q25=bits / measured.latency_s["q75"],
        coded_mbps_q75=bits / measured.latency_s["q25"],
        information_mbps=measured.coded_mbps * measured.info_length / measured.block_length,
        fer=measured.fer if enough else None,
        fer_low=measured.fer_low if enough else None,
        fer_high=measured.fer_high if enough else None,
        decoder_bytes=measured.decoder_bytes,
    )


def _transform_row(seconds: float, seed: int) -> SweepRow:
    packed = simulation_bits(seed, Stream.KEY_BITS, 0, _TRANSFORM_LENGTH).reshape(1, -1)
    times: list[float] = []
    began = time.perf_counter()
    # It takes tens of microseconds: a tenth of a row's time is thousands of calls.
    while len(times) < _TRANSFORM_CALLS_MIN or time.perf_counter() - began < seconds / 10:
        start = time.perf_counter_ns()
        packed = _native.polar_transform(packed, _TRANSFORM_LENGTH)
        times.append((time.perf_counter_ns() - start) * 1e-9)
    samples, bits = Samples(times), _TRANSFORM_LENGTH / 1e6
    slow, median, fast = (float(samples.quantile(share) or 1.0) for share in (0.75, 0.5, 0.25))
    return SweepRow(
        name="transform, N = 2^20",
        block_length=_TRANSFORM_LENGTH,
        list_size=None,
        efficiency=None,
        precision=None,
        engine=None,
        calls=samples.count,
        frames=samples.count,
        frame_errors=None,
        coded_mbps=bits / median,
        coded_mbps_q25=bits / slow,
        coded_mbps_q75=bits / fast,
        information_mbps=None,
        fer=None,
        fer_low=None,
        fer_high=None,
        decoder_bytes=None,
    )


def require_plot(path: Path) -> str:
    """The format of a plot's file, by its suffix.

    Raises:
        ResourceError: Matplotlib is not installed (the extra `plot`).
        ConfigError: the suffix is no format that Matplotlib can write, or there is no such directory to write to.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise ResourceError("a plot needs Matplotlib, which is missing; pip install 'caligo[plot]'") from None
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"no directory to write a plot to: {str(path.parent)!r}; make it first", path=str(path))
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FigureCanvasAgg.get_supported_filetypes():
        raise ConfigError(
            f"{path.suffix!r} is no format of a plot; name the file .svg, .png or .pdf", suffix=path.suffix
        )
    return kind


def plot_sweep(rows: Sequence[SweepRow], path: Path, title: str) -> None:
    """Draw the rows as bars on a logarithmic axis, the quartiles as whiskers.

    Args:
        rows: what :func:`bench_sweep` measured, at least one.
        path: the file to write; its suffix names the format, such as `.svg` or `.png`.
        title: a line above.

    Raises:
        ResourceError: Matplotlib is not installed (the extra `plot`), or the file cannot be written.
        ConfigError: the suffix is no format Matplotlib can write.
    """
    kind = require_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 0.36 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = range(len(rows))
    rates = [row.coded_mbps for row in rows]
    below = [max(0.0, row.coded_mbps - row.coded_mbps_q25) for row in rows]
    above = [max(0.0, row.coded_mbps_q75 - row.coded_mbps) for row in rows]
    axes.barh(places, rates, height=0.62, color="#4c78a8")
    axes.errorbar(rates, places, xerr=(below, above), fmt="none", ecolor="#222222", elinewidth=1.2, capsize=3)
    axes.set_xscale("log")
    axes.set_xlim(min(rates) / 2, max(rates) * 4)
    axes.set_yticks(places, [row.name for row in rows])
    axes.invert_yaxis()
    for place, row in enumerate(rows):
        axes.annotate(
            f"{row.coded_mbps:,.1f}" if row.coded_mbps < 100 else f"{row.coded_mbps:,.0f}",
            (max(row.coded_mbps, row.coded_mbps_q75), place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_xlabel("coded Mbit/s, one core")
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(axis="x", which="major", color="#dddddd")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    try:
        figure.savefig(path, format=kind)
    except OSError as error:
        raise ResourceError(f"cannot write the plot: {error.strerror}; name another file", path=str(path)) from error

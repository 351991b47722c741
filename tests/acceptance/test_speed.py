"""Speed that must not be lost: counted where counting is possible, compared within one process where it is not.

Covers: instructions per decode (`portable`, `avx2`), the engines against each other, one path against lists, input
that the code was not made for, the Python surface against a calibration kernel. Does not cover: rates in Mbit/s, which
belong to a machine (`caligo bench decoder`).

Comparisons in time are of this thread's processor time, in turns, by the median of each turn's ratio: what else the
machine does then matters little.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from caligo import _native
from caligo.bench.decoder import BatchSource
from caligo.channel import bsc_llr
from caligo.codes import design_code
from caligo.randomness import Stream, simulation_bits
from caligo.reconciliation.codecs.polar import PolarCodec
from caligo.simulation import BscChannel
from caligo.store import RunWriter

pytestmark = [pytest.mark.acceptance, pytest.mark.alone, pytest.mark.timeout(1800)]

Require = Callable[[str, bool, str], None]
Work = Callable[[], object]

QBER = 0.02
TURNS = 15


def speeds(works: list[Work], turns: int = TURNS) -> list[float]:
    """How fast each work is compared with the first: the median over turns of the ratio of processor times."""
    for work in works:
        work()
    ratios: list[list[float]] = [[] for _ in works]
    for _ in range(turns):
        times = []
        for work in works:
            began = time.thread_time_ns()
            work()
            times.append(time.thread_time_ns() - began)
        for place, elapsed in enumerate(times):
            ratios[place].append(times[0] / elapsed)
    return [statistics.median(ratio) for ratio in ratios]


def usual_work(codec: PolarCodec, frames: int) -> Work:
    """Decodes of a batch at the QBER of the design."""
    source = BatchSource(codec, BscChannel(QBER), frames, seed=1)
    batch = source.make(0)
    return lambda: source.decode(batch)


def run_script(repository: Path, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, *words], cwd=repository, capture_output=True, text=True, timeout=1500, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_decode_takes_more_instructions_than_accepted(repository: Path, require: Require) -> None:
    require("valgrind", shutil.which("valgrind") is not None, "valgrind is not installed")
    require("avx2", "avx2" in _native.engines(), "this CPU has no AVX2")
    run_script(repository, "benchmarks/instructions.py", "check")


def test_the_python_surface_is_as_fast_beside_a_calibration_kernel_as_accepted(repository: Path) -> None:
    run_script(repository, "benchmarks/ratios.py", "check")


@pytest.mark.parametrize(("log2", "list_size", "efficiency"), [(12, 8, 1.5), (12, 32, 1.5), (16, 32, 1.24)])
def test_no_engine_falls_far_behind_the_best(log2: int, list_size: int, efficiency: float, require: Require) -> None:
    require("avx512", "avx512" in _native.engines(), "this CPU has no AVX-512")
    code = design_code(1 << log2, qber=QBER, efficiency=efficiency)
    frames = max(2, (1 << 18) >> log2)
    engines = ("avx512", "avx2", "portable")
    _, avx2, portable = speeds([usual_work(PolarCodec(code, list_size, engine=engine), frames) for engine in engines])
    print(f"avx2 {avx2:.2f}, portable {portable:.2f} of avx512")
    assert avx2 >= 0.55
    assert portable >= 0.15


def test_one_path_is_much_faster_than_a_list() -> None:
    code = design_code(1 << 14, qber=QBER, efficiency=1.4)
    _, eight, one = speeds([usual_work(PolarCodec(code, list_size), 16) for list_size in (32, 8, 1)])
    print(f"L = 8 {eight:.1f}, L = 1 {one:.1f} times as fast as L = 32")
    assert eight >= 1.4
    assert one >= 6


def works_of_one_batch(codec: PolarCodec, frames: int) -> dict[str, Work]:
    """Decodes of a batch: the usual one first, then what nobody designed for."""
    source = BatchSource(codec, BscChannel(QBER), frames, seed=1)
    usual = source.make(0)
    excess = BatchSource(codec, BscChannel(1.5 * QBER), frames, seed=1).make(0)
    noise = simulation_bits(2, Stream.KEY_BITS, 0, 8 * usual.noisy.size).reshape(usual.noisy.shape)

    def hard(received: NDArray[np.uint8]) -> Work:
        return lambda: codec.decode(received, usual.frozen_values, usual.check_values, QBER)

    def soft(magnitude: float) -> Work:
        signs = 1 - 2 * np.unpackbits(usual.noisy, axis=1, bitorder="little").astype(np.float32)
        llr = np.float32(magnitude) * signs
        return lambda: codec.decode_soft(llr, usual.frozen_values, usual.check_values)

    return {
        "usual": hard(usual.noisy),
        "half as many errors again": hard(usual.sent ^ (excess.sent ^ excess.noisy)),
        "pure noise": hard(noise),
        "usual, soft": soft(bsc_llr(QBER)),
        "zeros": soft(0.0),
        "saturated": soft(1e9),
    }


@pytest.mark.parametrize(
    ("log2", "list_size", "efficiency"),
    [(12, 1, 1.7), (12, 8, 1.5), (12, 32, 1.5), (16, 8, 1.24), (16, 32, 1.24), (20, 8, 1.15), (20, 32, 1.14)],
)
def test_no_input_takes_three_times_as_long_as_the_usual(log2: int, list_size: int, efficiency: float) -> None:
    code = design_code(1 << log2, qber=QBER, efficiency=efficiency)
    with PolarCodec(code, list_size) as codec:
        works = works_of_one_batch(codec, max(1, (1 << 17) >> log2))
        speed = dict(zip(works, speeds(list(works.values()), turns=9), strict=True))
    print(log2, list_size, {name: round(ratio, 2) for name, ratio in speed.items()})
    assert min(speed["half as many errors again"], speed["pure noise"]) >= 0.3
    assert min(speed["zeros"], speed["saturated"]) >= 0.3 * speed["usual, soft"]


def test_recording_costs_less_than_half_a_percent_of_decoding_blocks_of_two_milliseconds(tmp_path: Path) -> None:
    """A record a block, as `caligo reconcile` writes them, between decodes that fill the caches.

    N = 2^16, L = 32 takes some 2 ms of a core's own time; where it takes less, the share is that of 2 ms.
    """
    blocks, records = 16, 3200
    block = {"outcome": "confirmed", "block_length": 1 << 16, "payload_bits": 1 << 16, "leakage_bits": 11123}
    rest = {"leakage_bits_both_ways": 11126, "verification_bits": 128, "answer_bits": 0, "rounds": 0, "given_up": False}
    last = {"attempts": 1, "design_qber": 0.0221, "true_errors": 1331, "elapsed_ns": 2_000_123}
    content = [{"block": number, **block, **rest, **last} for number in range(records)]
    decode = usual_work(PolarCodec(design_code(1 << 16, qber=QBER, efficiency=1.2), 32), blocks)
    with RunWriter.create(tmp_path, "reconcile", {}) as writer:

        def record() -> None:
            for entry in content:
                writer.record(entry)
            writer.flush()

        # Somebody else's work can spoil a measurement and cannot make it better.
        for _ in range(20):
            _, ratio = speeds([decode, record])
            began = time.thread_time()
            decode()
            block_s = (time.thread_time() - began) / blocks
            share = blocks / records / ratio * min(1.0, block_s / 0.002)
            if share < 0.005:
                break
        writer.seal()
    began = time.thread_time()
    record_all = RunWriter.create(tmp_path, "reconcile", {})
    for entry in content:
        record_all.record(entry)
    rate = records / (time.thread_time() - began)
    record_all.seal()
    costs = f"a record costs {100 * share:.2f} % of a block ({1e3 * block_s:.2f} ms)"
    print(f"{costs}; {rate:,.0f} records a second of processor time")
    assert share < 0.005

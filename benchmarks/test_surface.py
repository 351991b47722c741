"""The Python surface, one benchmark per thing a user waits for.

Covers: transform, checks, verification hash, design, decoding, reconciliation in memory. Does not cover: the crate's
kernels one by one (its `benches/`), key files on disk (`caligo demo`).

Times are processor times of all threads, so that a busy machine blurs them little; rates are per core.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

import numpy as np
import pytest

import caligo
from caligo import _native
from caligo.bench.decoder import BatchSource, default_batch
from caligo.codes import design_code
from caligo.codes.cache import DesignCache
from caligo.randomness import Stream, simulation_bits, simulation_errors
from caligo.reconciliation.codecs.polar import PolarCodec
from caligo.simulation import BscChannel

Benchmark = Any

pytestmark = pytest.mark.benchmark(timer=time.process_time)

QBER = 0.02


def _rate(benchmark: Benchmark, bits: int, name: str) -> None:
    benchmark.extra_info[name] = bits / benchmark.stats.stats.median / 1e6


def test_calibration(benchmark: Benchmark) -> None:
    """SHA-256 of 1 MiB: this core's pace, by code that is not ours."""
    data = bytes(1 << 20)
    benchmark(lambda: hashlib.sha256(data).digest())


@pytest.mark.parametrize("log2", [12, 16, 20, 24])
def test_transform(benchmark: Benchmark, log2: int) -> None:
    rows = 1 << max(0, 20 - log2)
    packed = simulation_bits(1, Stream.KEY_BITS, 0, rows << log2).reshape(rows, -1)
    benchmark(_native.polar_transform, packed, 1 << log2)
    _rate(benchmark, packed.size * 8, "coded_mbps")


@pytest.mark.parametrize("check", ["crc16", "crc24", "crc32"])
def test_check_values(benchmark: Benchmark, check: str) -> None:
    packed = simulation_bits(1, Stream.KEY_BITS, 0, 1 << 20).reshape(1, -1)
    benchmark(_native.check_values, check, packed)
    _rate(benchmark, packed.size * 8, "payload_mbps")


def test_verification_hash(benchmark: Benchmark) -> None:
    packed = simulation_bits(1, Stream.KEY_BITS, 0, 1 << 20)
    benchmark(_native.universal_hash, bytes(range(1, 33)), packed, 1 << 20)
    _rate(benchmark, packed.size * 8, "payload_mbps")


@pytest.mark.parametrize("log2", [12, 16, 20])
def test_design(benchmark: Benchmark, log2: int) -> None:
    """A density-evolution design with nothing cached."""

    def design() -> None:
        design_code(1 << log2, qber=QBER, efficiency=1.3, cache=DesignCache(None))

    benchmark.pedantic(design, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize(
    ("log2", "list_size", "efficiency"),
    [(12, 1, 1.7), (12, 8, 1.5), (12, 32, 1.5), (16, 8, 1.24), (16, 32, 1.24), (20, 1, 1.26), (20, 32, 1.14)],
)
def test_decode(benchmark: Benchmark, log2: int, list_size: int, efficiency: float) -> None:
    code = design_code(1 << log2, qber=QBER, efficiency=efficiency)
    with PolarCodec(code, list_size) as codec:
        frames = default_batch(code.block_length)
        source = BatchSource(codec, BscChannel(QBER), frames, seed=1)
        outcome = benchmark.pedantic(source.decode, (source.make(0),), rounds=7, warmup_rounds=1)
        _rate(benchmark, frames * code.block_length, "coded_mbps")
        assert np.count_nonzero(outcome.ok) >= 0.5 * frames


@pytest.mark.parametrize("log2", [16, 20])
def test_reconcile(benchmark: Benchmark, log2: int) -> None:
    """Two keys of eight blocks in memory, the QBER given, the design made before: both parties, on two threads."""
    key_bits = 8 << log2
    alice = simulation_bits(1, Stream.KEY_BITS, 0, key_bits)
    bob = alice ^ simulation_errors(1, 0, key_bits, QBER)
    options = caligo.ReconcileOptions(qber=QBER, block_length=1 << log2, threads=2)
    report = benchmark.pedantic(caligo.reconcile, (alice, bob), {"options": options}, rounds=3, warmup_rounds=1)
    _rate(benchmark, key_bits, "payload_mbps")
    assert report.keys_equal

"""Kernels through the Python door: transform, check values, universal hash, packed-bit selection.

Covers: throughput of one call on a warm cache. Does not cover: decoding (bench_decoder.py), files, threads. The crate's
own criterion benchmarks (caligo/_native/benches) time the same kernels without Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from caligo._native import check_values, polar_transform, random_bits, universal_hash


@pytest.mark.parametrize("stages", [12, 16, 20, 24])
def test_polar_transform(benchmark: Any, stages: int) -> None:
    block_length = 1 << stages
    packed = random_bits(1, 1, 0, block_length).reshape(1, -1)
    benchmark.extra_info["bits"] = block_length
    benchmark(polar_transform, packed, block_length)


@pytest.mark.parametrize("name", ["crc16", "crc24", "crc32"])
def test_check_values(benchmark: Any, name: str) -> None:
    packed = random_bits(1, 1, 0, 1 << 20).reshape(1, -1)
    benchmark.extra_info["bits"] = 1 << 20
    benchmark(check_values, name, packed)


def test_universal_hash(benchmark: Any) -> None:
    packed = random_bits(1, 1, 0, 1 << 24)
    benchmark.extra_info["bits"] = 1 << 24
    benchmark(universal_hash, np.arange(32, dtype=np.uint8).tobytes(), packed, 1 << 24)

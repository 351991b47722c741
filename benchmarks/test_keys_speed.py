"""How fast keys are read in each format, and permuted.

Times are processor times of the calling thread, so that a busy machine does not blur them. `make bench` runs it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caligo.keys import InterleavedKey, create_key, open_key
from caligo.keys.interleaving import WINDOW_BITS, window_order

pytestmark = pytest.mark.benchmark(timer=time.thread_time)


def made(path: Path, kind: str) -> Path:
    packed = np.random.default_rng(1).integers(0, 256, WINDOW_BITS // 8, dtype=np.uint8)
    with create_key(path, format=kind) as writer:
        writer.append(packed, WINDOW_BITS)
    return path


@pytest.mark.parametrize("kind", ["packed", "npy", "qcrypto", "ait"])
def test_read(benchmark: Any, tmp_path: Path, kind: str) -> None:
    with open_key(made(tmp_path / "key", kind), format=kind) as reader:
        benchmark.extra_info["key_bits"] = WINDOW_BITS
        benchmark.pedantic(reader.read_bits, (5, WINDOW_BITS - 5), rounds=10)


def test_interleave(benchmark: Any, tmp_path: Path) -> None:
    with InterleavedKey(open_key(made(tmp_path / "key", "packed")), 1) as key:
        key.read_bits(0, 1)
        benchmark.extra_info["key_bits"] = WINDOW_BITS
        benchmark.pedantic(key.read_bits, (0, WINDOW_BITS), rounds=10)


def test_draw_a_permutation(benchmark: Any) -> None:
    benchmark.extra_info["key_bits"] = WINDOW_BITS
    benchmark.pedantic(window_order, (1, WINDOW_BITS), rounds=3)

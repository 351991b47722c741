"""Decoding one block: the codec as a user calls it, one thread, one workspace.

Covers: block lengths and list sizes over the binary symmetric channel at 2 %, at an efficiency that is met there. Does
not cover: other channels and operating points; `caligo bench decoder` measures any of them.
"""

from __future__ import annotations

from typing import Any

import pytest

from caligo.codes import design_code
from caligo.reconciliation.codecs import PolarCodec
from caligo.simulation import BscChannel, sample_frames

QBER = 0.02
EFFICIENCY = {12: 1.40, 16: 1.26, 20: 1.16}


@pytest.mark.parametrize("stages", [12, 16, 20])
@pytest.mark.parametrize("list_size", [1, 8, 32])
def test_decode(benchmark: Any, stages: int, list_size: int) -> None:
    code = design_code(1 << stages, qber=QBER, efficiency=EFFICIENCY[stages])
    frames = sample_frames(code, BscChannel(QBER), seed=1, first=0, count=1)
    with PolarCodec(code, list_size) as codec:
        frozen_values, check_values = codec.syndrome(frames.blocks)
        benchmark.extra_info.update(block_length=code.block_length, list_size=list_size, engine=codec.engine)
        benchmark(codec.decode, frames.received, frozen_values, check_values, QBER)

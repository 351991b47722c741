"""Parameters of the interactive strategy, by block length, QBER and wish.

Covers: the table and how it is read between its entries. Does not cover: what the parameters do
(:mod:`caligo.codes.dialogue_code`). The entries were found by ``benchmarks/search_interactive.py``.

The entry is that of the stage (log2 N) nearest to log2 of the payload length, the smaller of two as near, and for
stages beyond the table of its last one. Between two tabled QBERs the efficiency of the frozen bits and the share are
interpolated linearly, all else is that of the nearer one (of the smaller of two as near); beyond the table its ends
hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["DEFAULT_WISH", "TABLE", "Parameters", "interpolated", "parameters"]

DEFAULT_WISH = "balanced"


@dataclass(frozen=True, slots=True)
class Parameters:
    """How much to disclose, how to cut, how to ask.

    Args:
        frozen_efficiency: frozen bits over payload · h2(design QBER); checks are not in it.
        share: most of the block's mass that a segment may have.
        check_bits: of a segment.
        first_bits: see `caligo.codes.dialogue_code.RequestRule`.
        back_bits: likewise.
        growth_percent: likewise.
        most_bits: likewise.
        hurry: likewise.
        ahead_percent: likewise.
        patience: likewise.
    """

    frozen_efficiency: float
    share: float
    check_bits: int
    first_bits: int
    back_bits: int
    growth_percent: int
    most_bits: int
    hurry: int
    ahead_percent: int
    patience: int


TABLE: dict[str, dict[int, dict[float, Parameters]]] = {
    "rounds": {
        10: {0.02: Parameters(1.2, 0.4, 7, 12, 6, 30, 64, 10, 80, 2)},
        12: {0.02: Parameters(1.07, 0.3, 9, 12, 6, 30, 128, 10, 80, 2)},
        14: {0.02: Parameters(1.06, 0.15, 11, 24, 12, 30, 256, 10, 80, 2)},
        16: {0.02: Parameters(1.09, 0.11, 11, 30, 15, 30, 512, 10, 80, 2)},
        18: {0.02: Parameters(1.09, 0.08, 11, 60, 30, 30, 1024, 10, 80, 2)},
        20: {0.02: Parameters(1.09, 0.075, 11, 60, 30, 30, 2048, 10, 80, 2)},
    },
    "balanced": {
        10: {0.02: Parameters(1.0, 0.4, 7, 7, 4, 0, 64, 16, 80, 2)},
        12: {0.02: Parameters(0.95, 0.3125, 9, 10, 5, 0, 64, 20, 80, 2)},
        14: {0.02: Parameters(0.99, 0.12, 10, 10, 5, 0, 128, 20, 80, 2)},
        16: {
            0.01: Parameters(1.04, 0.08, 11, 20, 10, 0, 256, 20, 80, 2),
            0.02: Parameters(1.04, 0.08, 10, 20, 10, 0, 256, 20, 80, 2),
            0.05: Parameters(1.05, 0.08, 10, 26, 13, 0, 256, 20, 80, 2),
        },
        18: {0.02: Parameters(1.06, 0.06, 10, 36, 18, 0, 512, 20, 80, 2)},
        20: {
            0.01: Parameters(1.075, 0.06, 11, 64, 32, 0, 1024, 20, 80, 2),
            0.02: Parameters(1.067, 0.05, 11, 64, 32, 0, 1024, 20, 80, 2),
            0.05: Parameters(1.055, 0.05, 11, 64, 32, 0, 1024, 20, 80, 2),
        },
    },
    "leakage": {
        10: {0.02: Parameters(0.9, 0.4, 7, 4, 2, 0, 64, 20, 80, 2)},
        12: {0.02: Parameters(0.9, 0.25, 9, 5, 3, 0, 64, 30, 80, 2)},
        14: {0.02: Parameters(0.95, 0.1, 10, 7, 4, 0, 128, 35, 80, 2)},
        16: {0.02: Parameters(1.0, 0.06, 11, 8, 4, 30, 256, 35, 80, 3)},
        18: {0.02: Parameters(1.03, 0.05, 11, 18, 9, 0, 512, 40, 80, 2)},
        20: {0.02: Parameters(1.045, 0.035, 11, 36, 18, 0, 1024, 40, 80, 2)},
    },
}
"""Wish -> stage -> QBER -> parameters."""


def parameters(payload_length: int, qber: float, wish: str) -> Parameters:
    """What is tabled for blocks of one shape.

    Args:
        payload_length: key bits in a block, >= 1.
        qber: design QBER.
        wish: a key of `TABLE`.
    """
    stages = TABLE[wish]
    stage = min(stages, key=lambda each: (abs(each - math.log2(payload_length)), each))
    tabled = stages[stage]
    below = max((each for each in tabled if each <= qber), default=min(tabled))
    above = min((each for each in tabled if each >= qber), default=max(tabled))
    weight = 0.0 if above == below else (qber - below) / (above - below)
    low, high = tabled[below], tabled[above]
    nearest = high if weight > 0.5 else low
    return replace(
        nearest,
        frozen_efficiency=low.frozen_efficiency + weight * (high.frozen_efficiency - low.frozen_efficiency),
        share=low.share + weight * (high.share - low.share),
    )


def interpolated(by_stage: dict[int, float], payload_length: int) -> float:
    """A number tabled by stage, linear between two; beyond the table its ends hold.

    Args:
        by_stage: stage -> number, stages ascending.
        payload_length: key bits in a block, >= 1.
    """
    return float(np.interp(math.log2(payload_length), list(by_stage), list(by_stage.values())))

"""Parameters of the interactive strategy, by block length, QBER and wish.

Covers: the table and how it is read between its entries. Does not cover: what the parameters do
(:mod:`caligo.codes.dialogue_code`). The entries of even stages at QBER 2 % were found by
``benchmarks/search_interactive.py``, with a few percent less requests than a wish allows; the others follow them, and
were tried with several hundred blocks each. What they cost: ``docs/performance.md``.

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
        10: {
            0.005: Parameters(1.15, 1.0, 24, 7, 7, 30, 32, 10, 0, 2),
            0.01: Parameters(1.15, 1.0, 24, 10, 10, 30, 46, 10, 0, 2),
            0.02: Parameters(1.15, 1.0, 24, 14, 14, 30, 64, 10, 0, 2),
            0.05: Parameters(1.15, 1.0, 24, 21, 21, 30, 98, 10, 0, 2),
            0.11: Parameters(1.15, 1.0, 24, 30, 30, 30, 137, 10, 0, 2),
        },
        11: {
            0.005: Parameters(1.115, 1.0, 24, 7, 5, 15, 46, 10, 0, 2),
            0.01: Parameters(1.115, 1.0, 24, 9, 6, 15, 65, 10, 0, 2),
            0.02: Parameters(1.115, 1.0, 24, 13, 9, 15, 91, 10, 0, 2),
            0.05: Parameters(1.115, 1.0, 24, 20, 14, 15, 139, 10, 0, 2),
            0.11: Parameters(1.115, 1.0, 24, 28, 19, 15, 194, 10, 0, 2),
        },
        12: {
            0.005: Parameters(1.08, 0.6, 10, 6, 3, 0, 65, 10, 80, 2),
            0.01: Parameters(1.08, 0.468, 10, 9, 4, 0, 91, 10, 80, 2),
            0.02: Parameters(1.08, 0.36, 10, 12, 6, 0, 128, 10, 80, 2),
            0.05: Parameters(1.08, 0.3312, 10, 18, 9, 0, 195, 10, 80, 2),
            0.11: Parameters(1.08, 0.306, 10, 26, 13, 0, 273, 10, 80, 2),
        },
        13: {
            0.005: Parameters(1.07, 0.4416, 11, 9, 4, 15, 92, 10, 80, 2),
            0.01: Parameters(1.07, 0.3021, 11, 12, 6, 15, 129, 10, 80, 2),
            0.02: Parameters(1.07, 0.2324, 11, 17, 8, 15, 181, 10, 80, 2),
            0.05: Parameters(1.07, 0.2138, 11, 26, 12, 15, 276, 10, 80, 2),
            0.11: Parameters(1.07, 0.1975, 11, 36, 17, 15, 386, 10, 80, 2),
        },
        14: {
            0.005: Parameters(1.06, 0.285, 11, 12, 6, 30, 129, 10, 80, 2),
            0.01: Parameters(1.06, 0.195, 11, 17, 9, 30, 183, 10, 80, 2),
            0.02: Parameters(1.06, 0.15, 11, 24, 12, 30, 256, 10, 80, 2),
            0.05: Parameters(1.06, 0.138, 11, 37, 18, 30, 391, 10, 80, 2),
            0.11: Parameters(1.06, 0.1275, 11, 51, 26, 30, 546, 10, 80, 2),
        },
        15: {
            0.005: Parameters(1.0797, 0.2327, 11, 15, 8, 30, 183, 10, 80, 2),
            0.01: Parameters(1.0775, 0.1593, 11, 21, 11, 30, 259, 10, 80, 2),
            0.02: Parameters(1.074, 0.1225, 11, 29, 15, 30, 362, 10, 80, 2),
            0.05: Parameters(1.0685, 0.1127, 11, 44, 23, 30, 553, 10, 80, 2),
            0.11: Parameters(1.0653, 0.1041, 11, 62, 32, 30, 772, 10, 80, 2),
        },
        16: {
            0.005: Parameters(1.0995, 0.19, 11, 18, 9, 30, 259, 10, 80, 2),
            0.01: Parameters(1.095, 0.13, 11, 26, 13, 30, 366, 10, 80, 2),
            0.02: Parameters(1.088, 0.1, 11, 36, 18, 30, 512, 10, 80, 2),
            0.05: Parameters(1.077, 0.092, 11, 55, 27, 30, 782, 10, 80, 2),
            0.11: Parameters(1.0705, 0.085, 11, 77, 38, 30, 1092, 10, 80, 2),
        },
        17: {
            0.005: Parameters(1.1053, 0.1232, 11, 24, 12, 30, 366, 10, 80, 2),
            0.01: Parameters(1.0985, 0.1019, 11, 34, 17, 30, 517, 10, 80, 2),
            0.02: Parameters(1.088, 0.0894, 11, 48, 24, 30, 724, 10, 80, 2),
            0.05: Parameters(1.0715, 0.0857, 11, 73, 37, 30, 1106, 10, 80, 2),
            0.11: Parameters(1.0617, 0.0824, 11, 102, 51, 30, 1544, 10, 80, 2),
        },
        18: {
            0.005: Parameters(1.111, 0.1103, 11, 32, 16, 30, 518, 10, 80, 2),
            0.01: Parameters(1.102, 0.0912, 11, 46, 23, 30, 732, 10, 80, 2),
            0.02: Parameters(1.088, 0.08, 11, 64, 32, 30, 1024, 10, 80, 2),
            0.05: Parameters(1.066, 0.0767, 11, 98, 49, 30, 1564, 10, 80, 2),
            0.11: Parameters(1.053, 0.0738, 11, 137, 68, 30, 2184, 10, 80, 2),
        },
        19: {
            0.005: Parameters(1.1105, 0.1103, 11, 45, 22, 30, 732, 10, 80, 2),
            0.01: Parameters(1.1015, 0.0912, 11, 63, 31, 30, 1035, 10, 80, 2),
            0.02: Parameters(1.0875, 0.08, 11, 88, 44, 30, 1448, 10, 80, 2),
            0.05: Parameters(1.0655, 0.0767, 11, 134, 67, 30, 2211, 10, 80, 2),
            0.11: Parameters(1.0525, 0.0738, 11, 188, 94, 30, 3089, 10, 80, 2),
        },
        20: {
            0.005: Parameters(1.11, 0.1103, 11, 61, 30, 30, 1036, 10, 80, 2),
            0.01: Parameters(1.101, 0.0912, 11, 86, 43, 30, 1464, 10, 80, 2),
            0.02: Parameters(1.087, 0.08, 11, 120, 60, 30, 2048, 10, 80, 2),
            0.05: Parameters(1.065, 0.0767, 11, 183, 92, 30, 3127, 10, 80, 2),
            0.11: Parameters(1.052, 0.0738, 11, 256, 128, 30, 4368, 10, 80, 2),
        },
    },
    "balanced": {
        10: {
            0.005: Parameters(1.0, 1.0, 24, 4, 4, 0, 32, 16, 0, 2),
            0.01: Parameters(1.0, 1.0, 24, 5, 5, 0, 46, 16, 0, 2),
            0.02: Parameters(1.0, 1.0, 24, 7, 7, 0, 64, 16, 0, 2),
            0.05: Parameters(1.0, 1.0, 24, 11, 11, 0, 98, 16, 0, 2),
            0.11: Parameters(1.0, 1.0, 24, 15, 15, 0, 137, 16, 0, 2),
        },
        11: {
            0.005: Parameters(0.98, 1.0, 24, 4, 3, 0, 32, 18, 0, 2),
            0.01: Parameters(0.98, 1.0, 24, 6, 4, 0, 46, 18, 0, 2),
            0.02: Parameters(0.98, 1.0, 24, 8, 6, 0, 64, 18, 0, 2),
            0.05: Parameters(0.98, 1.0, 24, 12, 9, 0, 98, 18, 0, 2),
            0.11: Parameters(0.98, 1.0, 24, 17, 13, 0, 137, 18, 0, 2),
        },
        12: {
            0.005: Parameters(0.96, 0.6, 10, 5, 3, 0, 32, 20, 80, 2),
            0.01: Parameters(0.96, 0.468, 10, 6, 4, 0, 46, 20, 80, 2),
            0.02: Parameters(0.96, 0.36, 10, 9, 5, 0, 64, 20, 80, 2),
            0.05: Parameters(0.96, 0.3312, 10, 14, 8, 0, 98, 20, 80, 2),
            0.11: Parameters(0.96, 0.306, 10, 19, 11, 0, 137, 20, 80, 2),
        },
        13: {
            0.005: Parameters(0.975, 0.3948, 10, 5, 3, 0, 46, 20, 80, 2),
            0.01: Parameters(0.975, 0.2701, 10, 6, 4, 0, 65, 20, 80, 2),
            0.02: Parameters(0.975, 0.2078, 10, 9, 5, 0, 91, 20, 80, 2),
            0.05: Parameters(0.975, 0.1912, 10, 14, 8, 0, 139, 20, 80, 2),
            0.11: Parameters(0.975, 0.1766, 10, 19, 11, 0, 194, 20, 80, 2),
        },
        14: {
            0.005: Parameters(0.99, 0.228, 10, 5, 3, 0, 65, 20, 80, 2),
            0.01: Parameters(0.99, 0.156, 10, 7, 4, 0, 91, 20, 80, 2),
            0.02: Parameters(0.99, 0.12, 10, 10, 5, 0, 128, 20, 80, 2),
            0.05: Parameters(0.99, 0.1104, 10, 15, 8, 0, 195, 20, 80, 2),
            0.11: Parameters(0.99, 0.102, 10, 21, 11, 0, 273, 20, 80, 2),
        },
        15: {
            0.005: Parameters(1.0225, 0.1742, 10, 8, 4, 0, 92, 20, 75, 2),
            0.01: Parameters(1.0203, 0.1192, 10, 11, 5, 0, 129, 20, 75, 2),
            0.02: Parameters(1.0175, 0.0917, 10, 15, 7, 0, 181, 20, 75, 2),
            0.05: Parameters(1.014, 0.0844, 10, 23, 11, 0, 276, 20, 75, 2),
            0.11: Parameters(1.0105, 0.0779, 10, 32, 15, 0, 386, 20, 75, 2),
        },
        16: {
            0.005: Parameters(1.055, 0.133, 10, 11, 6, 0, 129, 20, 70, 2),
            0.01: Parameters(1.0505, 0.091, 10, 16, 8, 0, 183, 20, 70, 2),
            0.02: Parameters(1.045, 0.07, 10, 22, 11, 0, 256, 20, 70, 2),
            0.05: Parameters(1.038, 0.0644, 10, 34, 17, 0, 391, 20, 70, 2),
            0.11: Parameters(1.031, 0.0595, 10, 47, 23, 0, 546, 20, 70, 2),
        },
        17: {
            0.005: Parameters(1.065, 0.0816, 10, 17, 9, 0, 183, 20, 75, 2),
            0.01: Parameters(1.0583, 0.0675, 10, 24, 12, 0, 259, 20, 75, 2),
            0.02: Parameters(1.05, 0.0592, 10, 33, 17, 0, 362, 20, 75, 2),
            0.05: Parameters(1.0395, 0.0568, 10, 50, 26, 0, 553, 20, 75, 2),
            0.11: Parameters(1.029, 0.0546, 10, 70, 36, 0, 772, 20, 75, 2),
        },
        18: {
            0.005: Parameters(1.075, 0.0689, 10, 25, 13, 0, 259, 20, 80, 2),
            0.01: Parameters(1.066, 0.057, 10, 36, 18, 0, 366, 20, 80, 2),
            0.02: Parameters(1.055, 0.05, 10, 50, 25, 0, 512, 20, 80, 2),
            0.05: Parameters(1.041, 0.048, 10, 76, 38, 0, 782, 20, 80, 2),
            0.11: Parameters(1.027, 0.0461, 10, 107, 53, 0, 1092, 20, 80, 2),
        },
        19: {
            0.005: Parameters(1.0785, 0.0616, 11, 40, 20, 0, 366, 20, 80, 2),
            0.01: Parameters(1.0695, 0.051, 11, 57, 29, 0, 517, 20, 80, 2),
            0.02: Parameters(1.0585, 0.0447, 11, 80, 40, 0, 724, 20, 80, 2),
            0.05: Parameters(1.0445, 0.0429, 11, 122, 61, 0, 1106, 20, 80, 2),
            0.11: Parameters(1.0305, 0.0412, 11, 171, 85, 0, 1544, 20, 80, 2),
        },
        20: {
            0.005: Parameters(1.082, 0.055, 11, 52, 26, 0, 1024, 20, 80, 2),
            0.01: Parameters(1.069, 0.038, 11, 80, 40, 0, 1024, 20, 75, 2),
            0.02: Parameters(1.0645, 0.04, 11, 90, 45, 0, 1024, 20, 80, 2),
            0.05: Parameters(1.051, 0.04, 11, 78, 39, 0, 1024, 20, 80, 2),
            0.11: Parameters(1.036, 0.04, 11, 90, 45, 0, 1024, 20, 80, 2),
        },
    },
    "leakage": {
        10: {
            0.005: Parameters(0.93, 1.0, 24, 2, 2, 0, 32, 20, 0, 2),
            0.01: Parameters(0.93, 1.0, 24, 2, 2, 0, 46, 20, 0, 2),
            0.02: Parameters(0.93, 1.0, 24, 3, 3, 0, 64, 20, 0, 2),
            0.05: Parameters(0.93, 1.0, 24, 5, 5, 0, 98, 20, 0, 2),
            0.11: Parameters(0.93, 1.0, 24, 6, 6, 0, 137, 20, 0, 2),
        },
        11: {
            0.005: Parameters(0.905, 1.0, 24, 2, 2, 0, 32, 24, 0, 2),
            0.01: Parameters(0.905, 1.0, 24, 3, 2, 0, 46, 24, 0, 2),
            0.02: Parameters(0.905, 1.0, 24, 4, 3, 0, 64, 24, 0, 2),
            0.05: Parameters(0.905, 1.0, 24, 6, 5, 0, 98, 24, 0, 2),
            0.11: Parameters(0.905, 1.0, 24, 9, 6, 0, 137, 24, 0, 2),
        },
        12: {
            0.005: Parameters(0.88, 0.6, 10, 3, 2, 0, 32, 30, 80, 2),
            0.01: Parameters(0.88, 0.468, 10, 4, 2, 0, 46, 30, 80, 2),
            0.02: Parameters(0.88, 0.36, 10, 5, 3, 0, 64, 30, 80, 2),
            0.05: Parameters(0.88, 0.3312, 10, 8, 5, 0, 98, 30, 80, 2),
            0.11: Parameters(0.88, 0.306, 10, 11, 6, 0, 137, 30, 80, 2),
        },
        13: {
            0.005: Parameters(0.915, 0.411, 10, 3, 2, 0, 46, 32, 80, 2),
            0.01: Parameters(0.915, 0.2812, 10, 4, 2, 0, 65, 32, 80, 2),
            0.02: Parameters(0.915, 0.2163, 10, 6, 3, 0, 91, 32, 80, 2),
            0.05: Parameters(0.915, 0.199, 10, 9, 5, 0, 139, 32, 80, 2),
            0.11: Parameters(0.915, 0.1839, 10, 13, 6, 0, 194, 32, 80, 2),
        },
        14: {
            0.005: Parameters(0.95, 0.247, 10, 4, 2, 0, 65, 35, 80, 2),
            0.01: Parameters(0.95, 0.169, 10, 5, 3, 0, 91, 35, 80, 2),
            0.02: Parameters(0.95, 0.13, 10, 7, 4, 0, 128, 35, 80, 2),
            0.05: Parameters(0.95, 0.1196, 10, 11, 6, 0, 195, 35, 80, 2),
            0.11: Parameters(0.95, 0.1105, 10, 15, 9, 0, 273, 35, 80, 2),
        },
        15: {
            0.005: Parameters(0.9725, 0.1531, 11, 4, 2, 10, 92, 37, 75, 2),
            0.01: Parameters(0.9703, 0.1048, 11, 6, 3, 10, 129, 37, 75, 2),
            0.02: Parameters(0.9675, 0.0806, 11, 8, 4, 10, 181, 37, 75, 2),
            0.05: Parameters(0.965, 0.0742, 11, 12, 6, 10, 276, 37, 75, 2),
            0.11: Parameters(0.9637, 0.0685, 11, 17, 9, 10, 386, 37, 75, 2),
        },
        16: {
            0.005: Parameters(0.995, 0.095, 11, 5, 3, 20, 129, 40, 70, 3),
            0.01: Parameters(0.9905, 0.065, 11, 7, 4, 20, 183, 40, 70, 3),
            0.02: Parameters(0.985, 0.05, 11, 10, 5, 20, 256, 40, 70, 3),
            0.05: Parameters(0.98, 0.046, 11, 15, 8, 20, 391, 40, 70, 3),
            0.11: Parameters(0.9775, 0.0425, 11, 21, 11, 20, 546, 40, 70, 3),
        },
        17: {
            0.005: Parameters(1.0175, 0.0689, 11, 7, 4, 10, 183, 37, 75, 2),
            0.01: Parameters(1.0108, 0.057, 11, 10, 5, 10, 259, 37, 75, 2),
            0.02: Parameters(1.0025, 0.05, 11, 14, 7, 10, 362, 37, 75, 2),
            0.05: Parameters(0.995, 0.048, 11, 21, 11, 10, 553, 37, 75, 2),
            0.11: Parameters(0.9912, 0.0461, 11, 30, 15, 10, 772, 37, 75, 2),
        },
        18: {
            0.005: Parameters(1.04, 0.0689, 11, 10, 5, 0, 259, 35, 80, 2),
            0.01: Parameters(1.031, 0.057, 11, 14, 7, 0, 366, 35, 80, 2),
            0.02: Parameters(1.02, 0.05, 11, 20, 10, 0, 512, 35, 80, 2),
            0.05: Parameters(1.01, 0.048, 11, 31, 15, 0, 782, 35, 80, 2),
            0.11: Parameters(1.005, 0.0461, 11, 43, 21, 0, 1092, 35, 80, 2),
        },
        19: {
            0.005: Parameters(1.05, 0.0576, 11, 18, 9, 0, 366, 35, 80, 2),
            0.01: Parameters(1.041, 0.0477, 11, 25, 12, 0, 517, 35, 80, 2),
            0.02: Parameters(1.03, 0.0418, 11, 35, 17, 0, 724, 35, 80, 2),
            0.05: Parameters(1.02, 0.0401, 11, 53, 26, 0, 1106, 35, 80, 2),
            0.11: Parameters(1.015, 0.0385, 11, 75, 36, 0, 1544, 35, 80, 2),
        },
        20: {
            0.005: Parameters(1.06, 0.0482, 11, 30, 15, 0, 518, 35, 80, 2),
            0.01: Parameters(1.051, 0.0399, 11, 43, 21, 0, 732, 35, 80, 2),
            0.02: Parameters(1.04, 0.035, 11, 60, 30, 0, 1024, 35, 80, 2),
            0.05: Parameters(1.03, 0.0336, 11, 92, 46, 0, 1564, 35, 80, 2),
            0.11: Parameters(1.025, 0.0323, 11, 128, 64, 0, 2184, 35, 80, 2),
        },
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

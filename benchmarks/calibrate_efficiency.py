"""Measures the curves of caligo/codes/efficiency_table.py and prints that file.

    python benchmarks/calibrate_efficiency.py > caligo/codes/efficiency_table.py

For every list size and block length, codes with a wanted sum S of error probabilities (see caligo/codes/efficiency.py)
are simulated at several QBERs; a point of the curve is S and the worst frame error rate among the QBERs. Points with
fewer than MIN_ERRORS errors are left out. Takes about half an hour on two cores; progress goes to standard error.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from caligo.codes import PolarCode, design_code, error_probabilities, reliability_order
from caligo.simulation import BscChannel, simulate

LIST_SIZES = (1, 2, 4, 8, 16, 32)
STAGES = (8, 10, 12, 14, 16, 18, 20)
QBERS = (0.01, 0.02, 0.05)
SUMS = (64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125)
MIN_ERRORS = 25
MAX_ERRORS = 150
MIN_FRAMES = 1200
CHECK = "crc32"

HEADER = '''"""Measured curves of :mod:`caligo.codes.efficiency`; written by ``benchmarks/calibrate_efficiency.py``.

``CURVES[list_size][log2 of block_length]`` is a tuple of (S, frame error rate), both increasing.
"""

from __future__ import annotations

__all__ = ["CURVES"]

CURVES: dict[int, dict[int, tuple[tuple[float, float], ...]]] = {'''


def code_with_sum(stages: int, qber: float, total: float) -> tuple[PolarCode, float]:
    """The largest code at this QBER whose sum stays within `total`, and that sum."""
    block_length = 1 << stages
    probabilities = error_probabilities(block_length, qber=qber)
    sums = np.cumsum(probabilities[reliability_order(probabilities, block_length)], dtype=np.float64)
    positions = int(np.searchsorted(sums, total, side="right"))
    return design_code(block_length, qber=qber, info_length=positions - 32, check=CHECK), float(sums[positions - 1])


def curve(list_size: int, stages: int, megabits: int, threads: int) -> list[tuple[float, float]]:
    """Points of one curve, S increasing."""
    frames = max(MIN_FRAMES, (megabits << 20) >> stages)
    found: dict[float, list[float]] = {}
    for qber in QBERS:
        for total in SUMS:
            code, reached = code_with_sum(stages, qber, total)
            if not 0.8 * total <= reached <= total:
                continue
            result = simulate(
                code,
                BscChannel(qber),
                list_size=list_size,
                frames=frames,
                max_frame_errors=MAX_ERRORS,
                seed=1,
                threads=threads,
            )
            rate = result.frame_errors / result.frames
            print(f"L {list_size} n {stages} qber {qber} S {total}: {rate:.3g} {result}", file=sys.stderr, flush=True)
            if result.frame_errors < MIN_ERRORS:
                break
            if rate < 0.9:
                found.setdefault(total, []).append(rate)
    points: list[tuple[float, float]] = []
    for total in sorted(found):
        rate = max(found[total])
        if not points or rate > points[-1][1]:
            points.append((total, rate))
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabits", type=int, default=96, help="most bits for one point, in units of 2^20")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    print(HEADER)
    for list_size in LIST_SIZES:
        print(f"    {list_size}: {{")
        for stages in STAGES:
            points = ", ".join(
                f"({total:g}, {rate:.3g})"
                for total, rate in curve(list_size, stages, arguments.megabits, arguments.threads)
            )
            print(f"        {stages}: ({points}),")
        print("    },")
    print("}")


if __name__ == "__main__":
    main()

"""Two ranks are nearly twice as fast as one, and sharing out costs next to nothing: ratios of one session, no times."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cluster_jobs import Job, mpiexec, sealed_run, write_job, write_keys
from conftest import Require

pytestmark = [pytest.mark.acceptance, pytest.mark.alone]

LONG = {"block_length": "2^17", "list_size": 32, "qber": 0.02, "escalation": []}
"""Blocks of some 2 ms on one core."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_keys(tmp_path_factory.mktemp("keys"), 1 << 28, 0.02, seed=9)


def reports(job: Job, ranks: int) -> list[dict[str, Any]]:
    """What every rank says of itself."""
    with mpiexec(ranks, job) as started:
        assert started.wait(240) == 0, started.text
    found: list[dict[str, Any]] = json.loads((sealed_run(job).path / "ranks.json").read_text())["ranks"]
    return found


def phase_s(ranks: list[dict[str, Any]], name: str) -> float:
    return sum(rank["sums"]["phases"].get(name, (0, 0, 0))[1] for rank in ranks) / 1e9


def test_two_ranks_are_nearly_twice_as_fast_as_one(require: Require, keys: Path, tmp_path: Path) -> None:
    """From when a rank is ready to its end, putting in place included: the best time of one beside the best of two.

    The two cores are shared with others, who can only make a time longer; measured until both were left alone once.
    """
    require("cores", len(os.sched_getaffinity(0)) >= 2 and "CI" in os.environ, "two cores are not known to be free")
    times: dict[int, list[float]] = {1: [], 2: []}
    ratio = 0.0
    for pair in range(10):
        for count in (1, 2):
            job = write_job(tmp_path, f"pair{pair}on{count}", keys, LONG)
            times[count].append(max(rank["elapsed_s"] for rank in reports(job, count)))
        ratio = min(times[1]) / min(times[2])
        if pair >= 2 and ratio >= 1.9:
            break
    ratios = [one / two for one, two in zip(times[1], times[2], strict=True)]
    print(f"best of one rank over best of two: {ratio:.3f}; in turn {[f'{each:.3f}' for each in ratios]}")
    assert ratio >= 1.9


def test_sharing_out_costs_less_than_a_hundredth_of_decoding(keys: Path, tmp_path: Path) -> None:
    """Of rank 0, which does it for all, and of all messages together."""
    job = write_job(tmp_path, "job", keys, LONG)
    ranks = reports(job, 2)
    messages = sum(rank["sums"]["counters"].get("messages", 0) for rank in ranks)
    coordinating, decoding = phase_s(ranks[:1], "coordinate"), phase_s(ranks, "decode")
    blocks = sum(rank["sums"]["counters"]["blocks"] for rank in ranks)
    print(
        f"{blocks} blocks of {1e3 * decoding / blocks:.2f} ms, {messages} messages, "
        f"{1e6 * coordinating / max(messages, 1):.0f} us each, {coordinating / decoding:.3%} of decoding"
    )
    assert coordinating < 0.01 * decoding
    assert messages < blocks / 4

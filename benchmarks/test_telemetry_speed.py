"""What a span, a counter, a snapshot and a look at the memory cost a rank.

Times are processor times of the calling thread, so that a busy machine does not blur them. `make bench` runs it.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from caligo.memory import MemoryGuard
from caligo.telemetry import Telemetry

CALLS = 10_000

pytestmark = pytest.mark.benchmark(timer=time.thread_time)


@pytest.mark.parametrize("span_limit", [0, 1 << 30], ids=["dropped", "kept"])
def test_spans(benchmark: Any, span_limit: int) -> None:
    telemetry = Telemetry(span_limit)

    def work() -> None:
        for _ in range(CALLS):
            with telemetry.span("decode"):
                pass

    benchmark.extra_info["spans"] = CALLS
    benchmark.pedantic(work, rounds=20)


def test_counts(benchmark: Any) -> None:
    telemetry = Telemetry()

    def work() -> None:
        for _ in range(CALLS):
            telemetry.count("blocks")

    benchmark.extra_info["counts"] = CALLS
    benchmark.pedantic(work, rounds=20)


def test_a_snapshot(benchmark: Any) -> None:
    telemetry = Telemetry()
    for number in range(7):
        telemetry.record(f"phase {number}", 0, 1)
        telemetry.count(f"counter {number}")
    assert benchmark(lambda: telemetry.snapshot().to_json())["counters"]


def test_looks_at_the_memory(benchmark: Any) -> None:
    with MemoryGuard(1 << 40) as guard:

        def work() -> None:
            for _ in range(CALLS):
                guard.check()

        benchmark.extra_info["checks"] = CALLS
        benchmark.pedantic(work, rounds=20)

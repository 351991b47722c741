"""How fast the store records, verifies, compacts and lists.

Times are processor times of the calling thread, so that a busy machine does not blur them. `make bench` runs it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from caligo.store import RunWriter, list_runs, load_run, sealing

RECORDS = 100_000
RUNS = 1000

pytestmark = pytest.mark.benchmark(timer=time.thread_time)


def one(block: int) -> dict[str, Any]:
    return {
        "block": block,
        "outcome": "ok",
        "elapsed_ns": 2_000_000 + block,
        "leakage_bits": 9000,
        "errors": 1300,
        "path_metric": 12.25,
    }


def test_record_one_by_one(benchmark: Any, tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "bench", {})

    def work() -> None:
        for block in range(RECORDS):
            writer.record(one(block))

    benchmark.extra_info["records"] = RECORDS
    benchmark.pedantic(work, rounds=5)
    writer.seal()


def test_verify(benchmark: Any, tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, "bench", {}) as writer:
        writer.record_many(one(block) for block in range(RECORDS))
        writer.seal()
    benchmark.extra_info["records"] = RECORDS
    run = benchmark.pedantic(load_run, (writer.path,), rounds=5)
    assert run.findings == ()


def test_compact(benchmark: Any, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with RunWriter.create(tmp_path, "bench", {}) as writer:
        writer.record_many(one(block) for block in range(RECORDS))
        writer.flush()
        benchmark.extra_info["records"] = RECORDS
        replaced = benchmark.pedantic(sealing.compact_files, (writer.path, writer.name), rounds=3)
        assert list(replaced) == ["records-main.jsonl"]
        writer.seal()


def test_list(benchmark: Any, tmp_path: Path) -> None:
    for _ in range(RUNS):
        RunWriter.create(tmp_path, "bench", {}).seal()
    benchmark.extra_info["runs"] = RUNS
    assert len(benchmark.pedantic(list_runs, (tmp_path,), rounds=5)) == RUNS

"""How long a store of many runs takes to index, list and query, and its ledger to fold and verify; memory of indexing.

Covers: 10^4 runs, which claim 10^7 records in their seals, and their entries in the ledger; `CALIGO_BENCH_RUNS=100000`
makes it 10^5 and 10^8. Times are processor times of the calling thread; `list` is a whole process, import and all, so
its wall time. `make bench` runs it; the memory is a child's peak, in `extra_info`.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from caligo.store.audit.ledger_check import verify_store
from caligo.store.comparing.history import metric_history
from caligo.store.governing.governance import standing
from caligo.store.indexing.conditions import resolve_query
from caligo.store.indexing.index import open_index
from caligo.store.indexing.query import parse_query

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from synthetic_store import enter_seals, write_runs

RUNS = int(os.environ.get("CALIGO_BENCH_RUNS", "10000"))
RECORDS = 1000

QUERIES = {
    "filter": "count() where summary.fer < 0.01 and not code.dirty",
    "columns": "id, fer, efficiency, configuration.list_size where campaign = night1 order by fer desc limit 20",
    "groups": "count(), median(coded_mbps) where fer < 0.05 group by configuration.strategy",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("many") / "store"
    enter_seals(store, write_runs(store, RUNS, records=RECORDS))
    return store


@pytest.fixture(scope="module")
def url(store: Path) -> str:
    url = str(store.parent / "index.sqlite")
    with open_index(store, url) as index:
        index.refresh()
    return url


def command(*words: str) -> int:
    """Run `caligo store` in a process of its own; returns its peak resident memory in bytes."""
    subprocess.run(
        [sys.executable, "-m", "caligo", "store", *words],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def test_reindex(benchmark: Any, store: Path) -> None:
    peak = benchmark.pedantic(
        command, ("reindex", "--store", str(store), "--index", str(store.parent / "anew.sqlite")), rounds=1
    )
    benchmark.extra_info.update(runs=RUNS, peak_rss_bytes=peak)
    assert peak < 128 * 2**20 + 500 * RUNS


def test_list_as_a_process(benchmark: Any, store: Path, url: str) -> None:
    benchmark.extra_info["runs"] = RUNS
    benchmark.pedantic(command, ("list", "--store", str(store), "--index", url), rounds=10, warmup_rounds=1)


@pytest.mark.benchmark(timer=time.thread_time)
def test_refresh(benchmark: Any, store: Path, url: str) -> None:
    with open_index(store, url) as index:
        done = benchmark.pedantic(index.refresh, rounds=10, warmup_rounds=1)
    assert (done.runs, done.read) == (RUNS, 0)


@pytest.mark.benchmark(timer=time.thread_time)
def test_standings_from_the_ledger(benchmark: Any, store: Path) -> None:
    assert len(benchmark.pedantic(standing, (store,), rounds=3, warmup_rounds=1)) == RUNS


@pytest.mark.benchmark(timer=time.thread_time)
def test_verifying_the_ledger(benchmark: Any, store: Path) -> None:
    (report,) = benchmark.pedantic(verify_store, (store,), rounds=3, warmup_rounds=1)
    assert (report.size, report.findings) == (RUNS, ())


@pytest.mark.benchmark(timer=time.thread_time)
def test_history(benchmark: Any, store: Path, url: str) -> None:
    history = benchmark.pedantic(metric_history, (store, "fer"), {"url": url}, rounds=1)
    assert sum(len(series.points) for series in history.series) == RUNS


@pytest.mark.benchmark(timer=time.thread_time)
@pytest.mark.parametrize("name", QUERIES)
def test_query(benchmark: Any, store: Path, url: str, name: str) -> None:
    text = QUERIES[name]
    with open_index(store, url) as index:
        query = resolve_query(parse_query(text), index.names(), text)
        assert benchmark.pedantic(index.answer, (query,), rounds=5).rows

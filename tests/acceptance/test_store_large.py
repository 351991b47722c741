"""Large runs: a million records are read, verified and compacted in memory that does not grow with them.

Each size is a process of its own, so that its peak is its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

_WORK = """
import json, resource, sys
from pathlib import Path
import pyarrow.parquet
from caligo.store import RunWriter, load_run

count = int(sys.argv[2])
writer = RunWriter.create(Path(sys.argv[1]), "simulate", {"frames": count})
for block in range(count):
    writer.record({"block": block, "outcome": "ok", "elapsed_ns": 2_000_000 + block % 997, "leakage_bits": 17})
writer.flush()
lines = sum(1 for _ in load_run(writer.path).records())
writer.seal({}, compact=True)
run = load_run(writer.path)
columns = sum(1 for _ in run.records())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"lines": lines, "columns": columns, "state": run.state, "counts": run.record_counts, "peak": peak}))
"""


def large_run(store: Path, count: int) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", _WORK, str(store), str(count)], check=True, capture_output=True)
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["state"] == "sealed"
    assert told["counts"] == {"records-main.parquet": count}
    assert told["lines"] == told["columns"] == count
    return told


def test_memory_does_not_grow_with_the_number_of_records(tmp_path: Path) -> None:
    few, many = large_run(tmp_path, 100_000), large_run(tmp_path, 1_000_000)
    assert many["peak"] - few["peak"] < 64 * 1024 * 1024

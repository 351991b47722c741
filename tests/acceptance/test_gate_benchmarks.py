"""The chain from benchmarks to a verdict: pytest-benchmark, import, baseline, gate, on caligo's own benchmarks.

Covers: two runs of one program, which pass, and one slowed to half its speed, which does not. Does not cover: small
changes, which single files cannot tell (`test_gate_rates.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from caligo.cli import main

pytestmark = [pytest.mark.acceptance, pytest.mark.alone]

BENCHMARKS = ("test_check_values", "test_calibration", "test_verification_hash")
REPOSITORY = Path(__file__).resolve().parents[2]


def benchmark(target: Path) -> Path:
    words = ["-q", "-p", "no:cacheprovider", "--benchmark-max-time=0.1", "--benchmark-min-rounds=20"]
    words += [f"--benchmark-json={target}", "benchmarks/test_surface.py", "-k", " or ".join(BENCHMARKS)]
    subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        capture_output=True,
        timeout=300,
    )
    return target


def slowed(source: Path, target: Path, name: str, factor: float) -> Path:
    """A recording in which one benchmark took longer."""
    document = json.loads(source.read_text())
    for entry in document["benchmarks"]:
        if entry["name"] == name:
            entry["stats"]["data"] = [factor * seconds for seconds in entry["stats"]["data"]]
    target.write_text(json.dumps(document))
    return target


ATTEMPTS, PASSES = 8, 2
"""Somebody else's work can make one of two runs half as fast as the other; hardly so most of the time."""


def test_benchmarks_that_are_run_twice_pass_and_one_at_half_its_speed_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = ("gate", "--baseline", "usual", "--unit", "sample", "--min-effect", "50%")
    passes = 0
    for attempt in range(ATTEMPTS):
        store = ["--store", str(tmp_path / f"store{attempt}")]

        def told(*words: str, store: list[str] = store) -> tuple[int, dict[str, Any]]:
            code = main(["store", *words, *store, "--json"])
            return code, json.loads(capsys.readouterr().out)

        first, second = (benchmark(tmp_path / f"{name}{attempt}.json") for name in ("first", "second"))
        runs = [told("import-benchmarks", str(path))[1] for path in (first, second)]
        assert [run["is_new"] for run in runs] == [True, True]
        assert runs[0]["benchmarks"] == 5
        assert told("import-benchmarks", str(first))[1] == {**runs[0], "is_new": False}
        assert told("baseline", "set", "usual", "--runs", runs[0]["run"])[0] == 0
        code, report = told(*gate, "--run", runs[1]["run"])
        assert len(report["checks"]) == 5
        passes += (code, report.get("verdict")) == (0, "passed")
        if passes == PASSES:
            break
    assert passes == PASSES, f"of {ATTEMPTS} pairs of runs of one program only {passes} passed: {report}"

    slow = slowed(first, tmp_path / "slow.json", "test_check_values[crc24]", 2.0)
    code, report = told(*gate, "--run", told("import-benchmarks", str(slow))[1]["run"])
    assert (code, report.get("verdict")) == (10, "regression"), report
    found = [check["metric"] for check in report["checks"] if check["verdict"] == "regression"]
    assert found == ["time_ns:benchmarks/test_surface.py::test_check_values[crc24]"]
    ratios = {check["metric"]: check["ratio"] for check in report["checks"]}
    assert ratios[found[0]] == pytest.approx(2.0)

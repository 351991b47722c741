"""`caligo bench turns` of a build that is slower than the other, by real processes.

Covers: the verdicts on one decoder that does its work twice. Does not cover: small slowdowns (`test_gate_rates.py`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from caligo.cli import main

pytestmark = pytest.mark.acceptance

TWICE = """
import sys
import caligo.bench.in_turns as in_turns
from caligo.bench.decoder import BatchSource
once = BatchSource.decode
def twice(self, batch):
    once(self, batch)
    return once(self, batch)
BatchSource.decode = twice
sys.exit(in_turns.main(sys.argv[1:]))
"""
CODE = ["-N", "1024", "-L", "8", "--qber", "0.02", "--efficiency", "1.7", "--calls", "9", "--pairs", "16"]


@pytest.fixture
def slow(tmp_path: Path) -> str:
    """An interpreter whose caligo decodes everything twice."""
    (tmp_path / "twice.py").write_text(TWICE)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path / "twice.py"}" "$4"\n')
    python.chmod(0o755)
    return str(python)


def test_a_build_that_works_twice_as_long_fails(slow: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides = ["--baseline", sys.executable, "--candidate", slow, "--store", str(tmp_path / "store"), "--json"]
    assert main(["bench", "turns", *CODE, *sides]) == 10
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "regression"
    checks = {check["metric"]: check for check in document["checks"]}
    assert {name for name, check in checks.items() if check["verdict"] == "regression"} == {"decode_time_ns"}
    assert checks["decode_time_ns"]["ratio"] == pytest.approx(2.0, abs=0.3)

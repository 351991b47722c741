"""The typed stub of the compiled extension against the extension as built."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def stubtest(directory: Path, module: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "mypy.stubtest", module]
    return subprocess.run(words, cwd=directory, capture_output=True, text=True, check=False)


def test_the_stub_describes_the_built_extension() -> None:
    done = stubtest(REPOSITORY, "caligo._native._core")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stub_that_lies_is_found(tmp_path: Path) -> None:
    (tmp_path / "lying.py").write_text("def f(a: int) -> int:\n    return a\n")
    (tmp_path / "lying.pyi").write_text("def f(b: int) -> int: ...\ndef g() -> None: ...\n")
    done = stubtest(tmp_path, "lying")
    assert done.returncode != 0
    assert "lying.f" in done.stdout
    assert "lying.g" in done.stdout

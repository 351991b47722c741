"""The demo: the whole way in one command, repeatable, careful with what is not its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from caligo.cli import main
from caligo.errors import ExitCode
from caligo.store import State, load_run

BITS = str(1 << 18)


def test_the_demo_makes_two_keys_equal_and_says_what_it_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["demo", "--bits", BITS, "--dir", str(tmp_path / "demo"), "--store", str(tmp_path / "store")]
    assert main(words) == ExitCode.COMPLETED
    out = capsys.readouterr().out
    for told in ("read again, the two are equal", "syndrome", "verification", "Mbit/s", "caligo store show"):
        assert told in out
    assert main([*words, "--json"]) == ExitCode.COMPLETED, "a second demo overwrites the first"
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "caligo.demo/1"
    assert document["keys_equal"] is True
    assert document["differing_bits"] == 0
    report = document["reconcile"]
    assert report["key_bits"] == int(BITS)
    assert 0.015 < report["true_qber"] < 0.025
    assert report["leakage_bits_both_ways"] == sum(report["leakage"].values()) > report["leakage_bits"] > 0
    assert load_run(report["run"]).state is State.SEALED
    keys = {path.relative_to(tmp_path / "demo").as_posix(): path for path in (tmp_path / "demo").rglob("*.bin")}
    assert sorted(keys) == ["reconciled/alice.bin", "reconciled/bob.bin", "sifted/alice.bin", "sifted/bob.bin"]
    assert keys["reconciled/alice.bin"].read_bytes() == keys["reconciled/bob.bin"].read_bytes()
    assert keys["sifted/alice.bin"].read_bytes() != keys["sifted/bob.bin"].read_bytes()
    assert {path.stat().st_mode & 0o777 for path in keys.values()} == {0o600}


def test_a_directory_with_anything_else_in_it_is_refused_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(["demo", "--bits", BITS, "--dir", str(tmp_path)]) == ExitCode.USAGE
    assert "thesis.tex" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_a_readable_run_and_no_half_written_key(
    number: signal.Signals, tmp_path: Path
) -> None:
    words = ["demo", "--bits", "2^24", "--dir", str(tmp_path / "demo"), "--store", str(tmp_path / "store")]
    process = subprocess.Popen(
        [sys.executable, "-m", "caligo", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while not any(path.stat().st_size for path in (tmp_path / "store").glob("**/records-*.jsonl")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == ExitCode.INTERRUPTED
    assert out == ""
    assert err.startswith("caligo: interrupted")
    assert "Traceback" not in err
    (run,) = (tmp_path / "store" / "runs").iterdir()
    assert load_run(run).state is State.INTERRUPTED
    reconciled = tmp_path / "demo" / "reconciled"
    assert not reconciled.exists() or list(reconciled.iterdir()) == []

"""Bad input and bad luck: each ends in its exit code and one message, or in a reported outcome.

Never a traceback, a wrong key, or a half-written file; whatever was begun is recorded and readable.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import caligo.cli
from caligo import reconcile
from caligo.errors import ExitCode, KeyFileError, ResourceError
from caligo.keys import PackedKeyWriter
from caligo.reconciliation.strategies import STRATEGIES
from caligo.store import list_runs, load_run

QUICK = ["-N", "1024", "-L", "2", "--efficiency", "2.2"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with two good keys, a store, and files that are wrong in one way each."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALIGO_STORE", str(tmp_path / "store"))
    rng = np.random.default_rng(5)
    alice = rng.integers(0, 256, 4096, dtype=np.uint8)
    bob = alice ^ np.packbits(rng.random(8 * 4096) < 0.02)
    alice.tofile("a.bin")
    bob.tofile("b.bin")
    bob[:-1].tofile("shorter.bin")
    rng.integers(0, 256, 4096, dtype=np.uint8).tofile("unrelated.bin")
    Path("empty.bin").touch()
    Path("directory").mkdir()
    alice[:8].tofile("tiny.bin")
    np.save("floats.npy", np.zeros(100))
    np.save("twos.npy", np.full(4096, 2, dtype=np.uint8))
    Path("broken.npy").write_bytes(b"\x93NUMPY\x01")
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], expected: ExitCode, *words: str) -> str:
    """Run a command that must fail in one way, with one message, and without a traceback; return the message."""
    assert caligo.cli.main(["reconcile", *words]) == expected
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert err.strip()
    return err


@pytest.mark.parametrize(
    ("words", "expected", "says"),
    [
        (["a.bin", "shorter.bin"], ExitCode.BAD_INPUT, "one length"),
        (["a.bin", "empty.bin"], ExitCode.BAD_INPUT, "empty"),
        (["empty.bin", "b.bin"], ExitCode.BAD_INPUT, "empty"),
        (["a.bin", "missing.bin"], ExitCode.BAD_INPUT, "missing.bin"),
        (["a.bin", "directory"], ExitCode.BAD_INPUT, "directory"),
        (["tiny.bin", "tiny.bin"], ExitCode.BAD_INPUT, "at least"),
        (["a.bin", "unrelated.bin"], ExitCode.BAD_INPUT, "do not look like"),
        (["floats.npy", "floats.npy"], ExitCode.BAD_INPUT, ""),
        (["twos.npy", "twos.npy", "--qber", "0.02"], ExitCode.BAD_INPUT, ""),
        (["broken.npy", "broken.npy"], ExitCode.BAD_INPUT, ""),
        (["a.bin", "b.bin", "--key-bits", "40000"], ExitCode.BAD_INPUT, "40000"),
        (["a.bin", "b.bin", "--qber", "0"], ExitCode.USAGE, "0 < qber"),
        (["a.bin", "b.bin", "--qber", "0.5"], ExitCode.USAGE, "0 < qber"),
        (["a.bin", "b.bin", "--qber", "-0.02"], ExitCode.USAGE, "0 < qber"),
        (["a.bin", "b.bin", "--qber", "nan"], ExitCode.USAGE, "0 < qber"),
        (["a.bin", "b.bin", "--qber", "2"], ExitCode.USAGE, "percentage"),
        (["a.bin", "b.bin", "--qber", "0.4"], ExitCode.USAGE, "0.25"),
        (["a.bin", "b.bin", "--qber", "x"], ExitCode.USAGE, "--qber"),
        (["a.bin", "b.bin", "-N", "1000"], ExitCode.USAGE, "power of two"),
        (["a.bin", "b.bin", "-N", "2^30"], ExitCode.USAGE, "block_length"),
        (["a.bin", "b.bin", "-L", "33"], ExitCode.USAGE, "list_size"),
        (["a.bin", "b.bin", "--efficiency", "9", "--qber", "0.05"], ExitCode.USAGE, "efficiency"),
        (["a.bin", "b.bin", "--efficiency", "0", "--qber", "0.05"], ExitCode.USAGE, "efficiency"),
        (["a.bin", "b.bin", "--efficiency", "1.2", "--target-fer", "0.1"], ExitCode.USAGE, "both"),
        (["a.bin", "b.bin", "--target-fer", "1"], ExitCode.USAGE, "target_fer"),
        (["a.bin", "b.bin", "--sample-bits", "9", "--qber", "0.02"], ExitCode.USAGE, "both"),
        (["a.bin", "b.bin", "--sample-bits", "32768"], ExitCode.USAGE, "sample_bits"),
        (["a.bin", "b.bin", "--engine", "abacus"], ExitCode.USAGE, "engine"),
        (["a.bin", "b.bin", "--check", "crc7"], ExitCode.USAGE, "--check"),
        (["a.bin", "b.bin", "--store", "a.bin/store", *QUICK], ExitCode.STORE, "a.bin/store"),
        (["a.bin", "b.bin", "--store", "/proc/store", *QUICK], ExitCode.STORE, "/proc/store"),
        (["a.bin", "b.bin", "--out", "a.bin/out", *QUICK], ExitCode.BAD_INPUT, "a.bin"),
        (["a.bin", "b.bin", "--out", "/proc/out", *QUICK], ExitCode.BAD_INPUT, "/proc/out"),
        (["a.bin"], ExitCode.USAGE, "BOB"),
    ],
)
def test_bad_input_ends_in_its_exit_code_and_a_message(
    place: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: ExitCode, says: str
) -> None:
    assert says in refused(capsys, expected, *words)
    assert not [name for name in os.listdir(place) if name.startswith((".", "alice", "bob"))]


def test_an_error_is_also_told_to_programs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert caligo.cli.main(["reconcile", "a.bin", "shorter.bin", "--json"]) == ExitCode.BAD_INPUT
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "caligo.error/1"
    assert document["fields"]["bob_bits"] == 8 * 4095


def test_unrelated_keys_at_a_given_qber_give_no_key(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reconcile", "a.bin", "unrelated.bin", *QUICK, "--qber", "0.02", "--out", "out", "--json"]
    assert caligo.cli.main(words) == ExitCode.COMPLETED
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["blocks_ok"] == document["reconciled_bits"] == document["undetected_errors"] == 0
    assert document["efficiency"] is None
    assert "leave out the QBER" in err
    assert Path("out/alice.bin").stat().st_size == Path("out/bob.bin").stat().st_size == 0


# --- keys that are no two sides of one, for every strategy -----------------------------------------------------------


def odd_keys(kind: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(8)
    alice = rng.integers(0, 256, 2048, dtype=np.uint8)
    bob = {
        "unrelated": rng.integers(0, 256, 2048, dtype=np.uint8),
        "identical": alice.copy(),
        "constant": np.zeros(2048, dtype=np.uint8),
        "both constant": np.zeros(2048, dtype=np.uint8),
        "shifted": np.packbits(np.roll(np.unpackbits(alice, bitorder="little"), 1), bitorder="little"),
        "opposite": ~alice,
        "noisy at the end": alice ^ np.where(np.arange(2048) < 1500, 0, rng.integers(0, 256, 2048)).astype(np.uint8),
    }[kind]
    return (np.zeros_like(alice) if kind == "both constant" else alice), bob


@pytest.mark.parametrize("further", [{"qber": 0.02}, {"qber": 0.02, "follow_drift": True}, {}])
@pytest.mark.parametrize(
    "kind", ["unrelated", "identical", "constant", "both constant", "shifted", "opposite", "noisy at the end"]
)
@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_odd_keys_end_in_an_error_or_reported_blocks_and_no_wrong_key(
    strategy: str, kind: str, further: dict[str, Any], tmp_path: Path
) -> None:
    alice, bob = odd_keys(kind)
    asked: dict[str, Any] = {"block_length": 1024, "list_size": 2, "strategy": strategy, "max_rounds": 12} | further
    try:
        report = reconcile(alice, bob, store=tmp_path, **asked)
    except KeyFileError:
        assert "qber" not in further
        assert kind not in ("identical", "both constant")
        (info,) = list_runs(tmp_path)
        run = load_run(info.path)
        assert run.state.value == "interrupted"
        assert not list(run.records())
        return
    assert report.undetected_errors == 0
    assert report.keys_equal
    assert np.array_equal(report.alice_key, report.bob_key)  # type: ignore[arg-type]
    run = load_run(Path(str(report.run)))
    records = list(run.records())
    assert len(records) == report.blocks == report.blocks_ok + report.blocks_discarded
    assert sum(record["leakage_bits"] for record in records) == report.leakage_bits
    assert sum(record["leakage_bits_both_ways"] for record in records) == report.leakage_bits_both_ways
    assert report.leakage_bits <= report.key_bits + report.leakage["verification"] + 64 * report.blocks
    assert all(record["rounds"] <= 12 for record in records)
    if kind in ("identical", "both constant"):
        assert report.blocks_ok == report.blocks
    elif kind != "noisy at the end":
        assert report.reconciled_bits == 0
    else:
        assert 0 < report.blocks_ok < report.blocks


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_a_disk_that_fills_up_leaves_no_key_of_any_strategy(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = PackedKeyWriter.append

    def full(self: PackedKeyWriter, packed: NDArray[np.uint8], bits: int) -> None:
        if self.key_bits:
            raise ResourceError("expected room on the disk, got none")
        append(self, packed, bits)

    monkeypatch.setattr(PackedKeyWriter, "append", full)
    monkeypatch.setattr("caligo.jobs.plan.MINIMUM_GROUP_BITS", 1)
    alice, _ = odd_keys("identical")
    asked: dict[str, Any] = {"qber": 0.02, "block_length": 1024, "list_size": 2, "strategy": strategy}
    with pytest.raises(ResourceError):
        reconcile(alice, alice, out=tmp_path / "out", store=tmp_path / "store", **asked)
    assert list((tmp_path / "out").iterdir()) == []
    (info,) = list_runs(tmp_path / "store")
    assert load_run(info.path).state.value == "interrupted"


# --- a machine that fails -----------------------------------------------------------------------------------------


def start(*words: str, limit: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "caligo", "reconcile", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,  # noqa: PLW1509
    )


def big_keys(megabits: int) -> None:
    """Two keys on disk that take a while."""
    rng = np.random.default_rng(6)
    alice = rng.integers(0, 256, megabits << 17, dtype=np.uint8)
    errors = np.packbits(rng.random(1 << 20) < 0.02)
    bob = alice ^ np.resize(errors, alice.size)
    alice.tofile("big-a.bin")
    bob.tofile("big-b.bin")


def test_a_full_disk_leaves_no_half_written_key(place: Path) -> None:
    big_keys(2)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    words = ["big-a.bin", "big-b.bin", "--qber", "0.02", "-N", "2^16", "-L", "1", "--efficiency", "1.7"]
    process = start(*words, "--out", "out", limit=limit)
    _, err = process.communicate(timeout=120)
    assert process.returncode == ExitCode.RESOURCE, err
    assert "Traceback" not in err
    assert os.listdir("out") == []
    (info,) = list_runs(place / "store")
    assert load_run(info.path).state.value == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_the_middle_leaves_a_readable_run_and_no_output(place: Path, number: signal.Signals) -> None:
    big_keys(64)
    words = ["big-a.bin", "big-b.bin", "--qber", "0.02", "-N", "2^14", "-L", "32", "--efficiency", "1.3"]
    process = start(*words, "--threads", "1", "--out", "out")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        records = list((place / "store").glob("runs/*/records-main.jsonl"))
        if records and records[0].stat().st_size:
            break
        time.sleep(0.01)
    signalled = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, err
    assert time.monotonic() - signalled < 10
    assert out == ""
    assert "Traceback" not in err
    assert os.listdir("out") == []
    (info,) = list_runs(place / "store")
    run = load_run(info.path)
    assert run.state.value == "interrupted"
    blocks = [record["block"] for record in run.records()]
    assert 0 < len(blocks) < 4096
    assert blocks == list(range(len(blocks)))

"""`caligo reconcile`: one JSON object with everything in it, tables for people, exit codes, files."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caligo.cli
from caligo import bits
from caligo.errors import ExitCode
from caligo.jobs import ReconciliationReport
from caligo.store import load_run

QUICK = ["-N", "1024", "-L", "4", "--efficiency", "2.2"]

PROMISED = {
    "schema", "key_bits", "payload_length", "block_length", "list_size", "strategy", "blocks", "blocks_ok",
    "blocks_failed", "undetected_errors", "estimated_qber", "true_qber", "design_qber", "leakage_bits", "leakage",
    "efficiency", "keys_equal", "payload_mbps", "coded_mbps_per_core", "decoder_bytes", "peak_rss_bytes", "engine",
    "run", "wish", "rounds_mean", "rounds_max", "messages", "leakage_bits_both_ways", "epsilon_correctness",
    "blocks_discarded",
}  # fmt: skip


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two files of 20,000 bits that differ in 2 %; a store of the test's own."""
    monkeypatch.setenv("CALIGO_STORE", str(tmp_path / "store"))
    rng = np.random.default_rng(11)
    alice = rng.integers(0, 2, 20_000, dtype=np.uint8)
    bob = alice ^ (rng.random(20_000) < 0.02).astype(np.uint8)
    for name, key in (("a.bin", alice), ("b.bin", bob)):
        bits.pack(key).tofile(tmp_path / name)
        np.save(tmp_path / name.replace(".bin", ".npy"), key)
    return str(tmp_path / "a.bin"), str(tmp_path / "b.bin")


def run(*words: str) -> int:
    return caligo.cli.main(["reconcile", *words])


def run_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert run(*words, "--json") == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    document: dict[str, Any] = json.loads(out)
    return document


def test_the_json_object_has_every_promised_field_and_is_consistent(
    keys: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    document = run_json(capsys, *keys, *QUICK, "--qber", "0.02")
    assert document.keys() >= PROMISED
    assert document["schema"] == "caligo.reconcile/1"
    assert document["key_bits"] == 20_000
    assert (document["block_length"], document["payload_length"], document["list_size"]) == (1024, 1024, 4)
    assert document["strategy"] == "one-way"
    assert document["blocks"] == document["blocks_ok"] + document["blocks_failed"] == math.ceil(20_000 / 1024)
    leakage = document["leakage"]
    assert set(leakage) == {"syndrome", "check", "segment_check", "verification", "answer", "reply"}
    assert document["leakage_bits_both_ways"] == sum(leakage.values()) == document["leakage_bits"] + leakage["reply"]
    assert document["rounds_mean"] == document["rounds_max"] == 0
    assert document["keys_equal"] is True
    assert document["estimated_qber"] is None
    assert document["design_qber"] == 0.02
    assert 0.015 < document["true_qber"] < 0.025
    assert document["efficiency"] > 2.2
    for name in ("payload_mbps", "coded_mbps_per_core", "decoder_bytes", "peak_rss_bytes"):
        assert document[name] > 0
    assert os.path.isabs(document["run"])
    recorded = load_run(Path(document["run"]))
    assert recorded.summary is not None
    assert recorded.summary["leakage_bits"] == document["leakage_bits"]


def test_every_field_of_the_report_is_documented() -> None:
    described = ReconciliationReport.__doc__ or ""
    for name in ReconciliationReport.__dataclass_fields__:
        assert f"        {name}: " in described


def test_the_qber_is_estimated_when_none_is_given(keys: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    document = run_json(capsys, *keys, "-N", "1024", "-L", "4", "--sample-bits", "2000")
    assert document["sampled_bits"] == 2000
    assert document["estimated_qber_low"] < document["estimated_qber"] < document["estimated_qber_high"]
    assert document["design_qber"] >= document["estimated_qber_high"]
    assert document["target_fer"] == 0.01


def test_the_qber_is_taken_from_an_earlier_run(keys: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    run_json(capsys, *keys, "-N", "1024", "-L", "4")
    document = run_json(capsys, *keys, "-N", "1024", "-L", "4", "--qber-from", "last")
    assert document["sampled_bits"] == 0
    assert document["estimated_qber"] == pytest.approx(0.02, rel=0.2)
    assert run(*keys, "--qber-from", "no such run") == ExitCode.STORE


def test_reconciled_keys_are_written_and_equal(
    keys: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    document = run_json(capsys, *keys, *QUICK, "--qber", "0.02", "--out", str(out))
    assert document["out"] == str(out)
    assert sorted(os.listdir(out)) == ["alice.bin", "bob.bin"]
    assert (out / "alice.bin").read_bytes() == (out / "bob.bin").read_bytes()
    assert (out / "alice.bin").stat().st_size == bits.packed_bytes(document["reconciled_bits"])


def test_a_directory_that_is_not_empty_is_refused_without_force(
    keys: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("kept")
    words = [*keys, *QUICK, "--qber", "0.02", "--out", str(out)]
    assert run(*words) == ExitCode.USAGE
    assert "--force" in capsys.readouterr().err
    assert os.listdir(out) == ["mine"]
    assert run(*words, "--force") == 0
    assert sorted(os.listdir(out)) == ["alice.bin", "bob.bin", "mine"]


def test_formats_and_lengths_are_taken_as_told(
    keys: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = run_json(capsys, *keys, *QUICK, "--qber", "0.02")
    npy = run_json(capsys, str(tmp_path / "a.npy"), str(tmp_path / "b.npy"), *QUICK, "--qber", "0.02")
    assert npy["true_qber"] == plain["true_qber"]
    assert npy["leakage"] == plain["leakage"]
    shorter = run_json(capsys, *keys, *QUICK, "--qber", "0.02", "--key-bits", "19999")
    assert shorter["key_bits"] == 19_999
    big = run_json(capsys, *keys, *QUICK, "--qber", "0.02", "--bit-order", "big", "--format", "packed")
    assert big["true_qber"] == plain["true_qber"]


def test_people_read_what_was_leaked_how_fast_and_where_it_was_recorded(
    keys: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*keys, *QUICK) == 0
    out = capsys.readouterr().out
    for words in (
        "What was leaked",
        "syndrome",
        "verification",
        "in all",
        "Mbit/s",
        "estimated",
        "recorded in",
        "equal",
    ):
        assert words in out


def test_failed_blocks_are_an_outcome_unless_strict(keys: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [*keys, "-N", "1024", "-L", "1", "--qber", "0.01", "--efficiency", "1.5"]
    assert run(*words) == ExitCode.COMPLETED
    err = capsys.readouterr().err
    assert "warning" in err
    assert "--qber" in err
    assert run(*words, "--strict") == ExitCode.BLOCKS_FAILED
    assert run(*keys, *QUICK, "--qber", "0.03", "--strict") == ExitCode.COMPLETED


def test_nothing_reconciled_is_not_called_equal(keys: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*keys, "-N", "1024", "-L", "1", "--qber", "0.001") == ExitCode.COMPLETED
    facts = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines() if len(line.split(None, 1)) == 2)
    assert facts["equal"] == "nothing was reconciled"
    assert facts["verification"] == "-"


def test_a_seed_repeats_the_public_randomness_and_help_says_what_it_costs(
    keys: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (run_json(capsys, *keys, *QUICK, "--seed", "4") for _ in range(2))
    assert first["estimated_qber"] == second["estimated_qber"]
    assert first["leakage"] == second["leakage"]
    assert run("--help") == 0
    assert "Not for keys in use" in " ".join(capsys.readouterr().out.split())

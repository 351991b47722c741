"""The `caligo simulate` command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from caligo.channel import binary_entropy
from caligo.cli import main
from caligo.errors import ExitCode
from caligo.store import load_run

BSC = ["--qber", "0.03", "--efficiency", "1.5", "--block-length", "512", "--list-size", "2"]
AWGN = ["--channel", "awgn", "--ebn0", "1.5", "--info-length", "128", "--block-length", "256", "--list-size", "4"]


class Caligo:
    """`caligo simulate` within this process, recording into a store of its own."""

    def __init__(self, store: Path, capture: pytest.CaptureFixture[str]) -> None:
        self._store = store
        self._capture = capture

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = main(["simulate", *arguments, "--store", str(self._store)])
        captured = self._capture.readouterr()
        return code, captured.out, captured.err

    def result(self, *arguments: str) -> dict[str, Any]:
        code, out, errors = self(*arguments, "--json")
        assert code == ExitCode.COMPLETED, errors
        document = json.loads(out)
        assert isinstance(document, dict)
        return document


@pytest.fixture
def caligo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Caligo:
    return Caligo(tmp_path, capsys)


def test_a_bsc_simulation_reports_counts_that_fit_together(caligo: Caligo) -> None:
    document = caligo.result(*BSC, "--frames", "600", "--seed", "3", "--threads", "2")
    assert document["schema"] == "caligo.simulate/1"
    assert document["frames"] == 600
    assert document["frame_errors"] == document["detected_failures"] + document["undetected_errors"]
    assert document["fer"] == document["frame_errors"] / 600
    assert document["fer_low"] < document["fer"] < document["fer_high"]
    assert document["leakage_bits"] == document["syndrome_bits"] + document["check_bits"]
    assert document["efficiency"] == pytest.approx(document["leakage_bits"] / (512 * binary_entropy(0.03)))
    assert document["efficiency"] == pytest.approx(1.5, abs=0.01)
    assert document["info_length"] == 512 - document["leakage_bits"]
    for name in ("coded_mbps", "payload_mbps", "decoder_bytes"):
        assert document[name] > 0
    assert document["engine"]
    assert document["precision"] == "int8"


def test_two_error_rates_are_simulated_and_counted_against_their_mean(caligo: Caligo) -> None:
    at_both = ["--qber", "0.05,0.01", *BSC[2:], "--frames", "300", "--seed", "3"]
    document = caligo.result(*at_both)
    assert (document["qber"], document["qber_pair"]) == (pytest.approx(0.03), [0.05, 0.01])
    assert document["efficiency"] == pytest.approx(1.5, abs=0.01)
    one = caligo.result(*BSC, "--frames", "300", "--seed", "3")
    assert one["qber_pair"] is None
    assert document["frame_errors"] < one["frame_errors"]


def test_an_escalation_finds_what_its_list_sizes_find(caligo: Caligo) -> None:
    document = caligo.result(*BSC, "--frames", "300", "--escalation", "1", "--efficiency", "1.4")
    assert document["escalation"] == [1]
    failed = []
    for list_size in ("1", "2"):
        plain = caligo.result(*BSC, "--frames", "300", "--list-size", list_size, "--efficiency", "1.4")
        failed.append({record["block"] for record in load_run(plain["run"]).records() if record["outcome"] != "ok"})
    run = load_run(document["run"])
    assert {record["block"] for record in run.records() if record["outcome"] != "ok"} == failed[0] & failed[1]
    assert len(failed[0] & failed[1]) < len(failed[0])
    assert run.configuration["escalation"] == [1]
    code, _, errors = caligo(*BSC, "--escalation", "2,1")
    assert (code, "escalation" in errors) == (ExitCode.USAGE, True)


def test_every_frame_is_recorded(caligo: Caligo) -> None:
    document = caligo.result(*BSC, "--frames", "400", "--max-frame-errors", "30")
    run = load_run(document["run"])
    records = list(run.records())
    assert [record["block"] for record in records] == list(range(document["frames"]))
    wrong = [record for record in records if record["outcome"] != "ok"]
    assert len(wrong) == document["frame_errors"] == 30
    assert records[-1]["outcome"] != "ok"
    assert all(record["elapsed_ns"] > 0 for record in records)
    assert run.configuration["code_digest"] == document["code_digest"]


def test_threads_change_neither_counts_nor_identity(caligo: Caligo) -> None:
    documents = [
        caligo.result(*AWGN, "--frames", "2000", "--max-frame-errors", "40", "--threads", threads)
        for threads in ("1", "3")
    ]
    assert documents[0]["precision"] == "f32"
    assert documents[0]["efficiency"] is None
    for name in ("frames", "frame_errors", "detected_failures", "undetected_errors", "code_digest"):
        assert documents[0][name] == documents[1][name]
    assert len({load_run(document["run"]).identity for document in documents}) == 1


@pytest.mark.parametrize(
    ("design", "check"),
    [("de", "none"), ("de", "crc32"), ("ga", "crc16"), ("nr", "crc24"), ("nr", "none"), ("pw", "crc32")],
)
def test_every_design_and_check_runs(design: str, check: str, caligo: Caligo) -> None:
    document = caligo.result(*BSC, "--frames", "20", "--design", design, "--check", check)
    assert document["design"] == design
    assert document["check"] == check


def test_shortened_blocks_leak_for_their_payload_alone(caligo: Caligo) -> None:
    document = caligo.result(*BSC, "--payload-length", "400", "--frames", "50")
    assert document["payload_length"] == 400
    assert document["leakage_bits"] == round(1.5 * 400 * binary_entropy(0.03))


def test_people_get_a_table(caligo: Caligo) -> None:
    code, out, _ = caligo(*BSC, "--frames", "50")
    assert code == ExitCode.COMPLETED
    assert "frame error rate" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--block-length", "512", "--list-size", "2"],
        [*BSC, "--info-length", "100"],
        [*BSC, "--ebn0", "1"],
        [*AWGN, "--qber", "0.02"],
        ["--channel", "awgn", "--ebn0", "1", "--block-length", "256", "--list-size", "2"],
        [*BSC, "--list-size", "33"],
        [*BSC, "--qber", "0.5"],
        [*BSC, "--qber", "nan"],
        [*BSC, "--block-length", "500"],
        [*BSC, "--frames", "0"],
        [*BSC, "--design", "nr", "--block-length", "2048"],
        [*AWGN, "--info-length", "250"],
        [*AWGN, "--ebn0", "inf"],
        [*BSC, "--engine", "none such"],
    ],
)
def test_bad_usage_is_one_message_and_no_traceback(arguments: list[str], caligo: Caligo) -> None:
    code, out, errors = caligo(*arguments)
    assert code == ExitCode.USAGE
    assert out == ""
    assert "Traceback" not in errors
    assert errors.strip()


def test_an_interrupted_simulation_leaves_a_readable_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "caligo", "simulate", *BSC, "--frames", "1e9", "--store", str(tmp_path), "--json"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    records: list[Path] = []
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 10_000 for path in records) and time.monotonic() < deadline:
        time.sleep(0.05)
        records = list(tmp_path.rglob("*.jsonl"))
    os.kill(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == ExitCode.INTERRUPTED, errors
    assert "Traceback" not in errors
    run = load_run(records[0].parent)
    blocks = [record["block"] for record in run.records()]
    assert blocks == list(range(len(blocks)))
    assert len(blocks) > 50

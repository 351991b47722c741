"""The benchmark measures what users do, on fresh frames, and says what it did."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from caligo.bench import bench_decoder, bench_sweep
from caligo.bench.decoder import BatchSource, default_batch
from caligo.bench.sweep import SweepCase
from caligo.cli import main
from caligo.codes import design_code
from caligo.errors import ConfigError, ExitCode
from caligo.reconciliation.codecs.polar import PolarCodec
from caligo.simulation import AwgnChannel, BscChannel
from caligo.store import State, load_run

BSC = ["--block-length", "1024", "--list-size", "4", "--qber", "0.02", "--efficiency", "1.8"]
REQUIRED = {
    "schema",
    "coded_mbps",
    "payload_mbps",
    "latency_s",
    "fer",
    "decoder_bytes",
    "peak_rss_bytes",
    "allocations_per_decode",
    "engine",
}


def test_every_batch_is_fresh_random_and_a_function_of_its_number() -> None:
    code = design_code(256, qber=0.02, efficiency=2.5)
    with PolarCodec(code, 1) as codec:
        source = BatchSource(codec, BscChannel(0.02), 8, seed=7)
        first, again, second = source.make(0), source.make(0), source.make(1)
        np.testing.assert_array_equal(first.sent, again.sent)
        np.testing.assert_array_equal(first.noisy, again.noisy)
        rows = np.concatenate([first.sent, second.sent])
        assert len(np.unique(rows, axis=0)) == 16
        assert rows.any(axis=1).all()
        assert (first.noisy != first.sent).any()
        outcome = source.decode(first)
        np.testing.assert_array_equal(outcome.decoded[outcome.ok], first.sent[outcome.ok])


@pytest.mark.parametrize("channel", [BscChannel(0.02), AwgnChannel(3.0)], ids=["bsc", "awgn"])
def test_figures_of_one_measurement_agree_with_each_other(channel: BscChannel | AwgnChannel) -> None:
    result = bench_decoder(channel, 512, 2, seconds=0.02, info_length=300, check="crc16", batch=5)
    assert result.frames == 5 * result.calls >= 15
    assert result.frame_errors == result.detected_failures + result.undetected_errors
    assert result.fer_low <= result.fer <= result.fer_high
    assert math.isclose(result.coded_mbps, 512 / result.latency_s["median"] / 1e6)
    assert result.latency_s["median"] <= result.latency_s["p95"]
    assert result.allocations_per_decode == 0
    assert result.decoder_bytes < result.peak_rss_bytes
    assert result.info_length == 300
    assert result.leakage_bits == 512 - 300
    assert (result.efficiency is None) == isinstance(channel, AwgnChannel)
    assert result.run is None


def test_a_batch_shares_the_cost_of_a_call_for_short_blocks_and_is_one_block_for_long_ones() -> None:
    assert default_batch(1 << 20) == 1
    assert default_batch(1 << 12) == 1024
    assert default_batch(1 << 16, threads=2) == 128


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match="seconds"):
        bench_decoder(BscChannel(0.02), 64, 1, seconds=seconds, info_length=20, check="none")


def test_the_command_prints_one_json_object_and_records_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "decoder", *BSC, "--seconds", "0.05", "--store", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.keys() >= REQUIRED
    assert document["schema"] == "caligo.bench-decoder/1"
    assert document["latency_s"].keys() == {"min", "q25", "median", "mean", "q75", "p95"}
    run = load_run(document["run"])
    assert run.state is State.SEALED
    assert run.outcomes() == {"measured": document["calls"]}
    assert run.summary is not None
    assert run.summary["coded_mbps"] == document["coded_mbps"]


def test_people_get_the_same_figures_in_eighty_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "decoder", *BSC, "--seconds", "0.05", "--store", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "Mbit/s" in out
    assert max(len(line) for line in out.splitlines() if str(tmp_path) not in line) <= 80


@pytest.mark.parametrize(
    "words",
    [
        ["--qber", "0.02"],
        ["--efficiency", "1.2"],
        ["--qber", "0.02", "--efficiency", "1.2", "--info-length", "10"],
        ["--qber", "0.02", "--efficiency", "1.2", "--ebn0", "2"],
        ["--channel", "awgn", "--ebn0", "2"],
        ["--channel", "awgn", "--ebn0", "2", "--info-length", "100", "--qber", "0.02"],
        ["--qber", "nan", "--efficiency", "1.2"],
        ["--qber", "0.5", "--efficiency", "1.2"],
        ["--qber", "0.02", "--efficiency", "1.2", "--engine", "abacus"],
        ["--qber", "0.02", "--efficiency", "1.2", "--block-length", "1000"],
        ["--qber", "0.02", "--efficiency", "1.2", "--list-size", "33"],
        ["--channel", "awgn", "--ebn0", "2", "--info-length", "2000"],
    ],
    ids=" ".join,
)
def test_contradictory_or_impossible_requests_are_usage_errors_and_record_nothing(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--block-length", "1024", "--list-size", "4", "--store", str(tmp_path)]
    assert main(["bench", "decoder", *base, *words]) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert not list(tmp_path.glob("**/run.json"))


SMALL_CASES = (
    SweepCase("short", BscChannel(0.02), 256, 2, efficiency=2.5),
    SweepCase("soft", AwgnChannel(4.0), 128, 4, info_length=60, precision="f32"),
)


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_a_sweep_measures_every_case_then_the_transform_and_records_and_draws_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("caligo.bench.sweep.SWEEP", SMALL_CASES)
    plot = tmp_path / f"sweep.{kind}"
    words = ["bench", "decoder", "--sweep", "--seconds", "0.02", "--store", str(tmp_path), "--plot", str(plot)]
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "caligo.bench-sweep/1"
    assert [row["name"] for row in document["rows"]] == ["short", "soft", "transform, N = 2^20"]
    for row in document["rows"]:
        assert 0 < row["coded_mbps_q25"] <= row["coded_mbps"] <= row["coded_mbps_q75"]
    assert plot.read_bytes()[:5] in (b"<?xml", b"\x89PNG\r")
    run = load_run(document["run"])
    assert run.state is State.SEALED
    assert run.outcomes() == {"measured": 3}
    assert main(words) == 0
    assert "transform, N = 2^20" in capsys.readouterr().out


def test_a_sweep_tells_all_its_progress_and_no_more() -> None:
    class Told:
        total: int | None = 0
        done = 0

        def start(self, description: str, total: int | None, unit: str) -> None:
            self.total = total

        def advance(self, count: int = 1, **figures: float) -> None:
            self.done += count

        def finish(self) -> None:
            pass

    told = Told()
    bench_sweep(seconds=0.02, cases=SMALL_CASES, progress=told)
    assert told.total == told.done == 60


@pytest.mark.parametrize(
    "words",
    [
        ["--sweep", "--list-size", "8"],
        ["--sweep", "--qber", "0.02"],
        ["--sweep", "--seconds", "0"],
        ["--sweep", "--seconds", "0.001", "--plot", "sweep.txt"],
        [*BSC, "--plot", "sweep.svg"],
        [],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_with_or_without_a_sweep_is_a_usage_error(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("caligo.bench.sweep.SWEEP", SMALL_CASES)
    assert main(["bench", "decoder", *words, "--store", str(tmp_path)]) == ExitCode.USAGE
    assert "Traceback" not in capsys.readouterr().err
    assert not list(tmp_path.glob("**/run.json"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_benchmark_leaves_a_readable_run(number: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "caligo", "bench", "decoder", *BSC, "--seconds", "600", "--store", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in tmp_path.glob("**/records-*.jsonl")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == ExitCode.INTERRUPTED
    assert out == ""
    assert err.startswith("caligo: interrupted")
    assert "Traceback" not in err
    (path,) = (tmp_path / "runs").iterdir()
    run = load_run(path)
    assert run.state is State.INTERRUPTED
    assert run.outcomes()["measured"] > 0

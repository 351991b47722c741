"""Laws of `caligo store diff`: one page of at most 80 columns, the same as JSON and as Markdown, nothing steers it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caligo.cli import main
from caligo.store import RunWriter

ODD = "a|b`\x1b[31m\n"


def recorded(store: Path, configuration: dict[str, Any], summary: dict[str, Any], kind: str = "simulate") -> str:
    with RunWriter.create(store, kind, configuration, identity_excludes=("out",)) as run:
        run.record_many([{"block": i, "outcome": "ok", "elapsed_ns": 1_234_567 + 1000 * i} for i in range(50)])
        run.seal(summary)
    return run.name


@pytest.fixture
def store(tmp_path: Path) -> Path:
    wide = {f"some_rather_long_key_{number}": f"a rather long value {number} " * 4 for number in range(30)}
    summary = {"frames": 1000, "frame_errors": 1, "undetected_errors": 0, "efficiency": 1.2345678, "leakage_bits": 3}
    figures = {"coded_mbps": 123.456789, "payload_mbps": 0.000012345, "peak_rss_bytes": 231288832, "messages": 10**9}
    recorded(tmp_path, {"out": ODD, ODD: ODD, "n": 1} | wide, summary | figures)
    recorded(tmp_path, {"out": "x", "n": 2}, summary | {"frame_errors": 90, "coded_mbps": 0.1, "elapsed_s": 1e6})
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], store: Path, *words: str) -> tuple[int, str, str]:
    code = main(["store", "diff", *words, "--store", str(store)])
    told = capsys.readouterr()
    return code, told.out, told.err


def names(store: Path) -> list[str]:
    return sorted(path.name for path in (store / "runs").iterdir())


def test_a_comparison_is_a_page_of_eighty_columns(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = names(store)
    code, out, err = call(capsys, store, a, b)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert len(out.splitlines()) <= 66
    for words in (
        "two experiments",
        "out *",
        "fer",
        "worse",
        "+0.0890",
        "1.259 ms",
        "x 1.000",
        "9 more keys",
        "p 1.000",
    ):
        assert words in out + err
    assert "\x1b" not in out
    assert r"\n" in out


def test_names_that_are_long_stand_on_a_line_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "tests/test_decoder.py::test_speed[" + "x" * 90 + "]"
    for factor in (1, 2):
        with RunWriter.create(tmp_path, "benchmark", {}) as run:
            run.record_many([{"benchmark": name, "elapsed_ns": factor * (100 + i)} for i in range(20)])
            run.seal({})
    code, out, _ = call(capsys, tmp_path, *names(tmp_path))
    assert code == 0
    assert f"time_ns:{name}" in out.splitlines()
    assert all(len(line) <= 80 for line in out.splitlines() if name not in line)
    assert "x 2.000" in out


def test_json_and_markdown_say_the_same(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = names(store)
    code, out, _ = call(capsys, store, a, b, "--json")
    told = json.loads(out)
    assert (code, told["schema"], told["same_experiment"]) == (0, "caligo.store-diff/1", False)
    assert told["a"]["runs"] == [a]
    metrics = {metric["name"]: metric for metric in told["metrics"]}
    assert metrics["fer"]["verdict"] == "worse"
    assert metrics["decode_time_ns"]["a"]["samples"]["count"] == 50
    code, out, _ = call(capsys, store, a, b, "--markdown")
    assert code == 0
    assert "| fer | 0.001000 (" in out
    rows = [line for line in out.splitlines() if line.startswith("|")]
    for row in rows:
        assert row.replace("\\|", "").count("|") in (4, 8)
    assert "\x1b" not in out


def test_a_side_may_be_a_condition_and_quick_reads_no_records(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(store, {"n": 2}, {"frames": 1000, "frame_errors": 80})
    code, out, _ = call(capsys, store, "configuration.n = 1", "configuration.n = 2", "--json", "--quick")
    told = json.loads(out)
    assert (code, len(told["a"]["runs"]), len(told["b"]["runs"])) == (0, 1, 2)
    metrics = {metric["name"]: metric for metric in told["metrics"]}
    assert metrics["fer"]["b"]["trials"] == 2000
    assert "decode_time_ns" not in metrics
    code, _, err = call(capsys, store, "kind = simulate", "last")
    assert (code, "runs of one experiment" in err) == (2, True)
    code, _, err = call(capsys, store, "configuration.n = 9", "last")
    assert (code, "expected runs, none" in err) == (2, True)
    code, _, err = call(capsys, store, "nosuchrun", "last")
    assert code == 8


def test_the_path_of_a_run_of_another_store_may_stand_on_a_side(
    store: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path_factory.mktemp("a=b")
    name = recorded(other, {"n": 1}, {})
    code, out, _ = call(capsys, store, str(other / "runs" / name), "last")
    assert code == 0
    assert name in out

"""Laws of importing pytest-benchmark files: every round, once, or a refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.cli import main
from caligo.errors import BenchmarkFileError
from caligo.store import State, list_runs, load_run
from caligo.store.comparing.metrics import run_metrics
from caligo.store.gating.gates import observe
from caligo.store.gating.import_benchmarks import import_benchmarks, parse_benchmarks


def document(**changes: Any) -> dict[str, Any]:
    benchmarks = [
        {
            "name": name,
            "fullname": f"test_x.py::{name}",
            "extra_info": {"coded_mbps": 12.5, "ratio": None, "list": [1], "wide": 10**400},
            "options": {"timer": "process_time"},
            "stats": {"data": [0.001, 0.002, 0.0015], "iterations": 2, "median": 0.0015},
        }
        for name in ("test_b[1-2]", "test_a")
    ]
    cpu = {"brand_raw": "A Processor", "count": 2, "flags": ["b", "a"]}
    return {
        "machine_info": {"node": "host", "machine": "x86_64", "system": "Linux", "cpu": cpu},
        "commit_info": {"id": "abc", "branch": "main", "dirty": True},
        "benchmarks": benchmarks,
        "datetime": "2025-03-14T09:26:53.589793+00:00",
        "version": "5.1.0",
        **changes,
    }


def written(directory: Path, content: object, name: str = "x.json") -> Path:
    path = directory / name
    path.write_text(json.dumps(content))
    return path


def test_every_round_becomes_a_record_of_a_sealed_run(tmp_path: Path) -> None:
    imported = import_benchmarks(written(tmp_path, document()), tmp_path / "store", campaign="nightly")
    assert (imported.is_new, imported.benchmarks, imported.rounds) == (True, 2, 6)
    run = load_run(imported.run)
    assert run.state is State.SEALED
    assert run.document["campaign"] == "nightly"
    assert list(run.records())[:2] == [
        {"benchmark": "test_x.py::test_a", "round": 0, "elapsed_ns": 1_000_000},
        {"benchmark": "test_x.py::test_a", "round": 1, "elapsed_ns": 2_000_000},
    ]
    summary = run.summary
    assert summary is not None
    assert summary["recorded_at"] == "2025-03-14T09:26:53.589Z"
    assert summary["commit"] == {"id": "abc", "branch": "main", "dirty": True}
    assert summary["machine"]["is_this"] is False
    figures = summary["benchmarks"]["test_x.py::test_a"]
    assert (figures["rounds"], figures["iterations"], figures["timer"]) == (3, 2, "process_time")
    assert figures["extra"] == {"coded_mbps": 12.5, "ratio": None}
    assert run_metrics(run)["time_ns:test_x.py::test_a"].value == 1_500_000


def test_a_file_is_imported_once_by_its_content(tmp_path: Path) -> None:
    first = import_benchmarks(written(tmp_path, document()), tmp_path / "store")
    again = import_benchmarks(written(tmp_path, document(), "copy.json"), tmp_path / "store")
    assert (again.is_new, again.run) == (False, first.run)
    other = import_benchmarks(written(tmp_path, document(version="9")), tmp_path / "store")
    assert other.is_new
    assert len(list_runs(tmp_path / "store")) == 2


def test_a_gate_goes_by_machine_and_time_of_the_file(tmp_path: Path) -> None:
    one = observe(load_run(import_benchmarks(written(tmp_path, document()), tmp_path / "store").run))
    moved = document(datetime="2025-03-15T00:00:00+01:00")
    moved["machine_info"]["cpu"]["flags"] = ["a", "b"]
    moved["benchmarks"].pop()
    two = observe(load_run(import_benchmarks(written(tmp_path, moved), tmp_path / "store").run))
    moved["machine_info"]["cpu"]["count"] = 4
    three = observe(load_run(import_benchmarks(written(tmp_path, moved), tmp_path / "store").run))
    assert one.moment == "2025-03-14T09:26:53.589Z"
    assert two.moment == "2025-03-14T23:00:00.000Z"
    assert one.machine is not None
    assert one.machine == two.machine != three.machine
    assert one.group == two.group == three.group
    del moved["machine_info"]["cpu"]["count"]
    assert observe(load_run(import_benchmarks(written(tmp_path, moved), tmp_path / "store").run)).machine is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([], "a list of benchmarks"),
        (document(benchmarks=[]), "a list of benchmarks"),
        (document(benchmarks={}), "a list of benchmarks"),
        (document(benchmarks=[3]), "fullname"),
        (document(benchmarks=[{"fullname": "a\ud800"}]), "fullname"),
        (document(benchmarks=[{"fullname": "a"}]), "stats.data"),
        (document(benchmarks=[{"fullname": "a", "stats": {"data": []}}]), "stats.data"),
        (document(benchmarks=[{"fullname": "a", "stats": {"data": ["1"]}}]), "seconds"),
        (document(benchmarks=[{"fullname": "a", "stats": {"data": [-1]}}]), "seconds >= 0"),
        (document(benchmarks=[{"fullname": "a", "stats": {"data": [float("nan")]}}]), "seconds >= 0"),
        (document(benchmarks=[{"fullname": "a", "stats": {"data": [10**400]}}]), "seconds >= 0"),
        (document(benchmarks=[{"fullname": "a", "stats": {"data": [1]}}] * 2), "a name twice"),
        (document(benchmarks=[{"fullname": str(i), "stats": {"data": [1]}} for i in range(1025)]), "at most 1024"),
        (document(datetime="yesterday"), "ISO 8601"),
        (document(datetime=None), "ISO 8601"),
    ],
)
def test_what_is_no_benchmark_file_is_refused(tmp_path: Path, content: object, expected: str) -> None:
    with pytest.raises(BenchmarkFileError, match=expected):
        import_benchmarks(written(tmp_path, content), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path, Path("a\0b")):
        with pytest.raises(BenchmarkFileError, match="cannot read"):
            import_benchmarks(path, tmp_path / "store")
    for data in (b"", b"\xff\xfe", b"[" * 100_000, b"1" * 10_000):
        with pytest.raises(BenchmarkFileError, match=r"JSON|a list of benchmarks"):
            parse_benchmarks(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PLACES = ["machine_info", "commit_info", "datetime", "benchmarks", "fullname", "stats", "options", "extra_info"]


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(BenchmarkFileError):
        parse_benchmarks(data)


@settings(max_examples=30)
@given(st.sampled_from(PLACES), JSON)
def test_any_value_in_any_place_is_imported_or_refused(place: str, value: Any) -> None:
    import tempfile

    content = document()
    holder = content if place in content else content["benchmarks"][0]
    holder[place] = value
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.json"
        path.write_text(json.dumps(content))
        try:
            imported = import_benchmarks(path, Path(directory) / "store")
        except BenchmarkFileError:
            return
        assert load_run(imported.run).state is State.SEALED


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(written(tmp_path, document()))
    command = ["store", "import-benchmarks", path, "--store", str(tmp_path / "store")]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["is_new"] is True
    assert main(command) == 0
    assert "before: the store has this file" in capsys.readouterr().out
    assert main(["store", "import-benchmarks", str(tmp_path / "none"), "--store", str(tmp_path)]) == 4

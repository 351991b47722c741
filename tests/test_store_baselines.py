"""Laws of baselines: the latest entry holds, and runs that are set aside are left out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.cli import main
from caligo.errors import ConfigError
from caligo.store import RunWriter
from caligo.store.audit.ledger import Ledger
from caligo.store.gating.baselines import baseline_named, baseline_runs, baselines, baselines_in, set_baseline
from caligo.store.governing.governance import in_order, reject


def sealed(store: Path, kind: str = "simulate") -> Path:
    with RunWriter.create(store, kind, {"n": 1}) as writer:
        writer.seal({"frames": 10, "frame_errors": 1})
    return writer.path


def test_a_baseline_keeps_the_runs_that_its_filter_selected_then(tmp_path: Path) -> None:
    first = sealed(tmp_path)
    sealed(tmp_path, "bench")
    declared = set_baseline(tmp_path, "usual", where="kind = simulate")
    later = sealed(tmp_path)
    assert declared.runs == (first.name,)
    assert baseline_named(tmp_path, "usual") == declared
    assert set_baseline(tmp_path, "usual", runs=[later.name, later.name]).runs == (later.name,)
    assert baselines(tmp_path)["usual"].runs == (later.name,)


def test_runs_that_are_rejected_or_gone_are_left_out(tmp_path: Path) -> None:
    kept, rejected, gone = (sealed(tmp_path) for _ in range(3))
    declared = set_baseline(tmp_path, "usual", where="")
    reject(tmp_path, rejected.name, "by the test")
    gone.rename(tmp_path / "elsewhere")
    usable, left_out = baseline_runs(tmp_path, declared)
    assert usable == [kept]
    assert left_out == [(rejected.name, "rejected"), (gone.name, "not in this store")]
    with pytest.raises(ConfigError, match="rejected"):
        set_baseline(tmp_path, "other", runs=[rejected.name])


def test_what_is_no_baseline_is_refused(tmp_path: Path) -> None:
    run = sealed(tmp_path)
    with RunWriter.create(tmp_path, "simulate", {}) as unfinished:
        unfinished.interrupt("by the test")
    elsewhere = sealed(tmp_path / "other")
    for name, where, runs, expected in (
        ("", "", (), "name of a baseline"),
        ("a b", "", (), "name of a baseline"),
        ("x", None, (), "both or neither"),
        ("x", "", (run.name,), "both or neither"),
        ("x", "kind = bench", (), "got 0"),
        ("x", None, (unfinished.name,), "not sealed|expected a sealed run"),
        ("x", None, (str(elsewhere),), "merge it into the store"),
    ):
        with pytest.raises(ConfigError, match=expected):
            set_baseline(tmp_path, name, where=where, runs=runs)
    with pytest.raises(ConfigError, match="there is none"):
        baseline_named(tmp_path, "x")
    assert baselines(tmp_path / "nowhere") == {}


@dataclass(frozen=True)
class Written:
    index: int
    origin: str
    at: str
    kind: str = "baseline"
    content: dict[str, Any] = field(default_factory=dict)


ENTRIES = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.sampled_from(["x", "y"])), max_size=12)


@settings(max_examples=40)
@given(ENTRIES, st.randoms())
def test_however_ledgers_come_together_the_same_baseline_holds(
    entries: list[tuple[str, int, str]], random: Any
) -> None:
    ledgers: dict[str, list[Written]] = {"a": [], "b": []}
    for origin, second, name in entries:
        index = len(ledgers[origin])
        run = f"20250314T092653.589Z-bench-{index:08x}"
        content = {"name": name, "selector": None, "runs": [run]}
        ledgers[origin].append(Written(index, origin, f"2025-03-14T09:26:0{second}.000Z", content=content))
    both = list(ledgers.values())
    expected = baselines_in(in_order(both))
    random.shuffle(both)
    assert baselines_in(in_order(both)) == expected


def test_entries_of_other_shapes_change_nothing() -> None:
    contents: list[dict[str, Any]] = [{}, {"name": 3, "runs": []}, {"name": "x"}, {"name": "a b", "runs": []}]
    odd = {"name": "x", "selector": 3, "runs": [1, "../..", "20250314T092653.589Z-bench-00000000"]}
    found = baselines_in(Written(place, "a", "t", content=content) for place, content in enumerate([*contents, odd]))
    assert found["x"].runs == ("20250314T092653.589Z-bench-00000000",)
    assert found["x"].selector is None
    assert list(found) == ["x"]


def test_the_commands_set_list_and_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, rejected = sealed(tmp_path), sealed(tmp_path)
    base = ["--store", str(tmp_path)]
    assert main(["store", "baseline", "list", *base]) == 0
    assert "no baseline" in capsys.readouterr().err
    assert main(["store", "baseline", "set", "usual", "--where", "kind = simulate", *base, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == [run.name, rejected.name]
    reject(tmp_path, rejected.name, "by the test")
    assert main(["store", "baseline", "show", "usual", *base, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["usable"], told["left_out"]) == ([run.name], [{"run": rejected.name, "why": "rejected"}])
    assert main(["store", "baseline", "set", "one", "--runs", run.name, *base]) == 0
    assert main(["store", "baseline", "list", *base]) == 0
    out = capsys.readouterr().out
    assert "kind = simulate" in out
    assert "(named runs)" in out
    assert main(["store", "baseline", "show", "usual", *base]) == 0
    assert "left out, rejected" in capsys.readouterr().out
    assert main(["store", "baseline", "show", "none", *base]) == 2
    entries = [entry for entry in Ledger.open(tmp_path).entries() if entry.kind == "baseline"]
    assert [entry.content["name"] for entry in entries] == ["usual", "one"]

"""Laws of history: a step is found and dated, and where nothing changed nearly nothing is reported."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.cli import main
from caligo.errors import ConfigError
from caligo.store import Run, RunWriter, load_run
from caligo.store.comparing.change_points import LEAST_RUNS, find_change_points
from caligo.store.comparing.comparison import Verdict
from caligo.store.comparing.history import history_of_runs, metric_history


def noise(seed: int, count: int = 60) -> np.ndarray[Any, np.dtype[np.float64]]:
    return 1000.0 * (1.0 + 0.02 * np.random.default_rng(seed).standard_normal(count))


def test_a_step_of_five_per_cent_in_noise_of_two_is_found_where_it_is_and_none_where_there_is_none() -> None:
    """A few series; `tests/acceptance/test_history_rates.py` counts over many."""
    for seed in range(12):
        values, at = noise(1000 + seed), 15 + 3 * seed % 31
        assert find_change_points(values.tolist()) == []
        values[at:] *= 1.05
        points = find_change_points(values.tolist())
        assert any(abs(point.index - at) <= 4 for point in points), (seed, at, points)


def test_a_regression_that_was_fixed_is_two_changes() -> None:
    values = noise(3)
    values[25:40] *= 1.06
    assert [point.index for point in find_change_points(values.tolist())] == pytest.approx([25, 40], abs=1)


def test_short_constant_and_odd_series() -> None:
    assert find_change_points([1.0] * 4 + [2.0] * (LEAST_RUNS - 5)) == []
    assert find_change_points([5.0] * 40) == []
    assert find_change_points([5.0] * 39 + [500.0]) == []
    assert [point.index for point in find_change_points([1.0] * 10 + [2.0] * 10)] == [10]
    values = noise(1).tolist()
    assert find_change_points(values) == find_change_points(values)
    for wrong in ({"significance": 0.0}, {"significance": 1.0}, {"permutations": 9}):
        with pytest.raises(ConfigError, match="significance"):
            find_change_points(values, **wrong)
    with pytest.raises(ConfigError, match="finite"):
        find_change_points([float("nan")] * 20)


@given(st.lists(st.floats(-1e12, 1e12), max_size=40))
@settings(max_examples=25)
def test_points_leave_room_and_do_not_depend_on_the_unit(values: list[float]) -> None:
    points = find_change_points(values, permutations=99, significance=0.05)
    ends = [0, *(point.index for point in points), len(values)]
    if points:
        assert all(end - begin >= 3 for begin, end in pairwise(ends))
    assert all(0 < point.p_value <= 0.05 for point in points)
    assert find_change_points([1024.0 * value for value in values], permutations=99, significance=0.05) == points


def recorded(
    store: Path,
    number: int,
    commit: str,
    summary: dict[str, Any] | None,
    seed: int = 1,
    times: tuple[int, ...] = (),
) -> Run:
    with RunWriter.create(store, "simulate", {"n": 1}, seeds={"simulation": seed}) as run:
        run.record_many([{"block": block, "outcome": "ok", "elapsed_ns": time} for block, time in enumerate(times)])
        if summary is not None:
            run.seal(summary)
    loaded = load_run(run.path)
    moment = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=number)
    loaded.document["started_at"] = moment.isoformat().replace("+00:00", "Z")
    loaded.document["code"] = {"commit": commit, "dirty": False}
    return loaded


def test_a_change_is_told_with_the_runs_and_commits_around_it(tmp_path: Path) -> None:
    runs = [
        recorded(tmp_path, number, f"commit{number}", {"coded_mbps": (20.0 if number < 8 else 15.0) + number % 3 * 0.1})
        for number in range(16)
    ]
    history = history_of_runs(reversed(runs), "coded_mbps")
    (series,) = history.series
    assert [point.run for point in series.points] == [run.name for run in runs]
    (change,) = series.changes
    assert (change.index, change.before, change.after) == (8, runs[7].name, runs[8].name)
    assert (change.commit_before, change.commit_after) == ("commit7", "commit8")
    assert change.verdict is Verdict.WORSE
    assert change.effect is not None
    assert change.effect.value == pytest.approx(0.75, abs=0.01)
    json.dumps(history.to_json(), allow_nan=False)


def test_machines_and_experiments_are_series_of_their_own(tmp_path: Path) -> None:
    runs = [recorded(tmp_path, number, "c", {"coded_mbps": 20.0 + number % 2}, number % 2) for number in range(12)]
    for run in runs[6:]:
        run.document["machine"]["fingerprint"] = "f" * 16
    unfinished, silent = recorded(tmp_path, 20, "c", None), recorded(tmp_path, 21, "c", {})
    history = history_of_runs([*runs, unfinished, silent], "coded_mbps")
    assert [len(series.points) for series in history.series] == [3, 3, 3, 3]
    assert history.left_out == tuple(sorted((unfinished.name, silent.name)))
    together = history_of_runs(runs, "coded_mbps", together=True)
    assert [len(series.points) for series in together.series] == [6, 6]
    assert all(series.identity is None for series in together.series)


def test_the_command_reads_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        recorded(tmp_path, number, "c", {}, times=(100 + number % 2, 102, 101) if number < 6 else (200, 201, 202))
    assert main(["store", "history", "decode_time_ns", "--store", str(tmp_path), "--significance", "0.05"]) == 0
    out = capsys.readouterr().out
    assert "worse" in out
    assert "x 1.9" in out
    arguments = ["store", "history", "decode_time_ns", "--store", str(tmp_path), "--json", "--where", "kind = simulate"]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], len(told["series"]), told["left_out"]) == ("caligo.store-history/1", 1, [])
    assert [point["value"] for point in told["series"][0]["points"]][::6] == [101.0, 201.0]
    assert main(["store", "history", "fer", "--store", str(tmp_path), "--where", "kind = bench"]) == 0
    assert "no sealed run" in capsys.readouterr().err
    assert main(["store", "history", "speed", "--store", str(tmp_path)]) == 2
    assert "decode_time_ns" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        metric_history(tmp_path, "fer", "kind = ")

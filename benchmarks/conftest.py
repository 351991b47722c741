"""Benchmarks of the Python surface: isolation from the user's files, and the ratio to the calibration kernel.

`make bench` keeps the JSON of every run under `.benchmarks/`. Wall times of two machines, or of one on two days,
cannot be compared; so every run also times a kernel that is not ours (`test_calibration`), and the JSON gets
`extra_info.ratio`, each median over the calibration's median. Only ratios are compared, with those accepted
(`benchmarks/ratios.py`), and nothing fails by time. Beside its times each benchmark states the wall time of all its
rounds and the process's peak memory (`extra_info.wall_s`, `extra_info.peak_rss_bytes`).
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from typing import Any

import pytest

CALIBRATION = "test_calibration"


@pytest.fixture(scope="session", autouse=True)
def _home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CALIGO_STORE", str(home / "store"))
        patch.setenv("CALIGO_CACHE", str(home / "cache"))
        yield


@pytest.fixture(autouse=True)
def _wall_time_and_memory(request: pytest.FixtureRequest) -> Iterator[None]:
    benchmark = request.getfixturevalue("benchmark") if "benchmark" in request.fixturenames else None
    began = time.monotonic()
    yield
    if benchmark is not None:
        benchmark.extra_info["wall_s"] = round(time.monotonic() - began, 3)
        benchmark.extra_info["peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]) -> None:
    medians = {entry["name"]: entry["stats"]["median"] for entry in output_json["benchmarks"]}
    calibration = medians.get(CALIBRATION)
    for entry in output_json["benchmarks"]:
        entry["extra_info"]["ratio"] = entry["stats"]["median"] / calibration if calibration else None

"""Benchmarks of the Python surface: isolation from the user's files, and the ratio to the calibration kernel.

`make bench` keeps the JSON of every run under `.benchmarks/`. Wall times of two machines, or of one on two days,
cannot be compared; so every run also times a kernel that is not ours (`test_calibration`), and the JSON gets
`extra_info.ratio`, each median over the calibration's median. Only ratios are compared, with those accepted
(`benchmarks/ratios.py`), and nothing fails by time.
"""

from __future__ import annotations

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


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]) -> None:
    medians = {entry["name"]: entry["stats"]["median"] for entry in output_json["benchmarks"]}
    calibration = medians.get(CALIBRATION)
    for entry in output_json["benchmarks"]:
        entry["extra_info"]["ratio"] = entry["stats"]["median"] / calibration if calibration else None

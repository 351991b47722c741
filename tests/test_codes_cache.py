"""Laws of the cache of designs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from caligo.codes import DesignCache, default_cache_directory, design_code, error_probabilities
from caligo.codes.cache import DesignKey

KEY: DesignKey = ("de", 1, 64, 64, (0.02).hex())
VALUES = np.linspace(0.0, 0.5, 64, dtype=np.float32)


class Counted:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> NDArray[np.float32]:
        self.calls += 1
        return VALUES.copy()


def never() -> NDArray[np.float32]:
    raise AssertionError("computed although it was cached")


def entry(cache: DesignCache) -> Path:
    path = cache.path(KEY)
    assert path is not None
    return path


def test_a_design_is_computed_once_for_memory_and_disk(tmp_path: Path) -> None:
    compute = Counted()
    cache = DesignCache(tmp_path / "deep" / "designs")
    first = cache.get(KEY, compute)
    assert cache.get(KEY, compute) is first
    assert compute.calls == 1
    again = DesignCache(tmp_path / "deep" / "designs").get(KEY, never)
    assert again.tobytes() == VALUES.tobytes()
    for values in (first, again):
        assert not values.flags.writeable


def test_every_part_of_the_key_has_an_entry_of_its_own(tmp_path: Path) -> None:
    cache = DesignCache(tmp_path)
    keys: list[DesignKey] = [
        KEY,
        ("ga", *KEY[1:]),
        ("de", 2, 64, 64, KEY[4]),
        ("de", 1, 128, 64, KEY[4]),
        ("de", 1, 64, 60, KEY[4]),
        ("de", 1, 64, 64, (0.03).hex()),
    ]
    assert len({cache.path(key) for key in keys}) == len(keys)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
        lambda data: b"x" + data[1:],
        lambda data: data[:20] + b"0" + data[21:] if data[20:21] != b"0" else data[:20] + b"1" + data[21:],
    ],
)
def test_a_damaged_entry_is_computed_again_and_replaced(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    DesignCache(tmp_path).get(KEY, Counted())
    path = entry(DesignCache(tmp_path))
    path.write_bytes(damage(path.read_bytes()))
    compute = Counted()
    assert DesignCache(tmp_path).get(KEY, compute).tobytes() == VALUES.tobytes()
    assert compute.calls == 1
    DesignCache(tmp_path).get(KEY, never)


def test_an_unwritable_cache_costs_time_and_nothing_else(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a directory")
    cache = DesignCache(in_the_way / "designs")
    assert cache.get(KEY, Counted()).tobytes() == VALUES.tobytes()
    directory_as_entry = DesignCache(tmp_path)
    entry(directory_as_entry).mkdir()
    assert directory_as_entry.get(KEY, Counted()).tobytes() == VALUES.tobytes()
    assert not list(tmp_path.glob(".writing-*"))


def test_without_a_directory_designs_stay_in_memory() -> None:
    cache = DesignCache(None)
    cache.get(KEY, Counted())
    cache.get(KEY, never)
    assert cache.path(KEY) is None


def test_memory_is_bounded_and_keeps_the_most_recently_used() -> None:
    cache = DesignCache(None, memory_bytes=2 * VALUES.nbytes)
    keys: list[DesignKey] = [("de", 1, 64, payload, "") for payload in (1, 2, 3)]
    cache.get(keys[0], Counted())
    cache.get(keys[1], Counted())
    cache.get(keys[0], never)
    cache.get(keys[2], Counted())
    cache.get(keys[0], never)
    again = Counted()
    cache.get(keys[1], again)
    assert again.calls == 1


def test_a_design_larger_than_the_bound_is_still_returned() -> None:
    cache = DesignCache(None, memory_bytes=1)
    assert cache.get(KEY, Counted()).tobytes() == VALUES.tobytes()


def test_the_environment_names_the_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CALIGO_CACHE", str(tmp_path / "a"))
    assert default_cache_directory() == tmp_path / "a"
    error_probabilities(64, qber=0.02)
    assert len(list((tmp_path / "a").iterdir())) == 1
    monkeypatch.setenv("CALIGO_CACHE", "")
    assert default_cache_directory() is None
    error_probabilities(64, qber=0.02)
    monkeypatch.delenv("CALIGO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert default_cache_directory() == tmp_path / "b" / "caligo" / "designs"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert default_cache_directory() == tmp_path / "c" / ".cache" / "caligo" / "designs"


def test_many_threads_get_the_same_values() -> None:
    cache = DesignCache(None)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(cache.get(KEY, Counted()).tobytes())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [VALUES.tobytes()] * 16


RACE = """
import sys
from caligo.codes import design_code
print(*[design_code(4096, qber=q, efficiency=1.5).digest for q in (0.01, 0.02, 0.03, 0.05) for _ in range(3)])
"""


def test_eight_processes_race_for_the_same_entries(tmp_path: Path, repository: Path) -> None:
    environment = os.environ | {"CALIGO_CACHE": str(tmp_path)}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE], env=environment, cwd=repository, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    answers = {racer.communicate(timeout=300)[0] for racer in racers}
    assert [racer.returncode for racer in racers] == [0] * 8
    assert len(answers) == 1
    digests = answers.pop().split()
    assert digests[::3] == [
        design_code(4096, qber=q, efficiency=1.5, cache=DesignCache(None)).digest for q in (0.01, 0.02, 0.03, 0.05)
    ]
    assert len(list(tmp_path.iterdir())) == 4

"""Laws of neighbours: exactly the runs that differ in so few keys, whatever else the store holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.cli import main
from caligo.errors import ConfigError, StoreError
from caligo.store import Run, RunWriter, load_run
from caligo.store.comparing.neighbours import Neighbours, find_neighbours


def recorded(store: Path, configuration: dict[str, Any], **options: Any) -> Run:
    with RunWriter.create(store, options.pop("kind", "simulate"), configuration, **options) as run:
        run.seal({"frames": 100, "frame_errors": 3, "efficiency": 1.2})
    return load_run(run.path)


def found(neighbours: Neighbours) -> dict[tuple[str, ...], list[str]]:
    return {group.keys: [one.run for one in group.neighbours] for group in neighbours.groups}


VALUES = st.sampled_from([1, 2, 2.5, "2", True, None])
CONFIGURATIONS = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), VALUES, max_size=4)


@given(st.lists(st.tuples(CONFIGURATIONS, st.sampled_from([{}, {"s": 1}, {"s": 2}])), min_size=1, max_size=9))
@settings(max_examples=8)
def test_neighbours_are_those_that_differ_in_so_many_keys(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[dict[str, Any], dict[str, int]]]
) -> None:
    store = tmp_path_factory.mktemp("store")
    runs = [recorded(store, configuration, seeds=seeds) for configuration, seeds in asked]

    def keys(configuration: dict[str, Any], seeds: dict[str, int]) -> dict[str, tuple[type, Any]]:
        named = {f"configuration.{key}": value for key, value in configuration.items() if value is not None}
        named |= {f"seeds.{key}": value for key, value in seeds.items()}
        return {key: (bool if value is True else str if value == "2" else int, value) for key, value in named.items()}

    mine = keys(*asked[0])
    for most in (1, 2):
        expected: dict[tuple[str, ...], list[str]] = {}
        for run, (configuration, seeds) in zip(runs[1:], asked[1:], strict=True):
            theirs = keys(configuration, seeds)
            differing = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
            if 1 <= len(differing) <= most:
                expected.setdefault(tuple(differing), []).append(run.name)
        told = found(find_neighbours(store, runs[0], most))
        assert {key: sorted(names) for key, names in told.items()} == {
            key: sorted(names) for key, names in expected.items()
        }
        assert list(told) == sorted(told, key=lambda names: (len(names), names))


def test_keys_outside_the_identity_do_not_count_and_derived_ones_only_alone(tmp_path: Path) -> None:
    base = {"list_size": 8, "threads": 1, "out": {"dir": "x"}, "code_digest": "aa", "code_rate": 0.8, "seed": 1}
    options: dict[str, Any] = {"identity_excludes": ("threads", "out"), "seeds": {"simulation": 1}}
    run = recorded(tmp_path, base, **options)
    repeat = recorded(tmp_path, base | {"threads": 4, "out": {"dir": "y", "more": 1}}, **options)
    larger = recorded(tmp_path, base | {"list_size": 32, "threads": 9}, **options)
    smaller = recorded(tmp_path, base | {"list_size": 4, "code_digest": "bb", "code_rate": 0.7}, **options)
    rebuilt = recorded(tmp_path, base | {"code_digest": "cc"}, **options)
    reseeded = recorded(tmp_path, base | {"seed": 2}, **(options | {"seeds": {"simulation": 2}}))
    recorded(tmp_path, base | {"list_size": 2}, kind="bench", **options)
    told = find_neighbours(tmp_path, run)
    assert told.repeats == (repeat.name,)
    assert found(told) == {
        ("configuration.code_digest",): [rebuilt.name],
        ("configuration.list_size",): [smaller.name, larger.name],
        ("seeds.simulation",): [reseeded.name],
    }
    group = next(group for group in told.groups if group.keys == ("configuration.list_size",))
    assert group.values == {"configuration.list_size": 8}
    assert [one.values["configuration.list_size"] for one in group.neighbours] == [4, 32]
    assert group.neighbours[0].metrics["fer"].value == 0.03


def test_a_damaged_run_is_no_neighbour_and_has_none(tmp_path: Path) -> None:
    run, other = (recorded(tmp_path, {"n": n}) for n in (1, 2))
    (other.path / "run.json").unlink()
    assert found(find_neighbours(tmp_path, run)) == {}
    with pytest.raises(StoreError, match=r"readable run\.json"):
        find_neighbours(tmp_path, load_run(other.path))
    with pytest.raises(ConfigError, match="at least 1"):
        find_neighbours(tmp_path, run, 0)


def test_the_command_shows_a_table_for_each_set_of_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [recorded(tmp_path, {"n": n, "x": "\x1b[31m"}) for n in (3, 1, 2)]
    assert main(["store", "neighbours", runs[0].name, "--store", str(tmp_path), "--limit", "1"]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert [line.split()[0] for line in lines if "sealed" in line] == [runs[0].name[-8:], runs[1].name[-8:]]
    assert "0.0300" in told.out
    assert "1 more" in told.err
    assert "\x1b" not in told.out
    assert main(["store", "neighbours", runs[0].name, "--store", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "caligo.store-neighbours/1"
    assert [one["values"] for one in document["groups"][0]["neighbours"]] == [
        {"configuration.n": 1},
        {"configuration.n": 2},
    ]
    recorded(tmp_path, {"n": 3, "x": "\x1b[31m"})
    (tmp_path / "none").mkdir()
    assert main(["store", "neighbours", str(runs[0].path), "--store", str(tmp_path / "none")]) == 0
    assert "no run of" in capsys.readouterr().err


def test_many_keys_are_named_and_as_many_shown_as_fit_eighty_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{letter}_rather_long_key" for letter in "abcdef"]
    runs = [recorded(tmp_path, {name: f"{name} {number} " * 9 for name in names}) for number in range(2)]
    assert main(["store", "neighbours", runs[0].name, "--store", str(tmp_path), "--keys", "6"]) == 0
    told = capsys.readouterr()
    title, *lines = told.out.splitlines()
    assert title.endswith(", ".join(names))
    assert max(map(len, lines)) <= 80
    assert sum("a_rather_long..." in line for line in lines) == 2
    assert "5 more keys; --json shows all" in told.err

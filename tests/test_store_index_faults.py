"""The index when things go wrong: lost, damaged, foreign, unwritable, shared by many, and without a server."""

from __future__ import annotations

import builtins
import multiprocessing
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_store import write_runs

import caligo.store.indexing.index as index_module
from caligo.errors import ConfigError, ResourceError, StoreError
from caligo.store import list_runs, load_run
from caligo.store.audit.ledger import Ledger
from caligo.store.findings import Code, Finding
from caligo.store.governing import governance
from caligo.store.indexing.index import Index, open_index, select_runs
from caligo.store.indexing.index_database import index_place
from caligo.store.indexing.query import parse_filter

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    write_runs(store, 30)
    return store


def names(store: Path, url: str | None = None) -> list[str]:
    return [path.name for path in select_runs(store, url=url)]


def all_names(store: Path) -> list[str]:
    return sorted(os.listdir(store / "runs"))


# --- where it is ----------------------------------------------------------------------------------------------------


def test_the_index_lies_in_the_cache_and_never_in_the_store(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert names(store) == all_names(store)
    (file,) = (tmp_path / "cache" / "caligo" / "index").iterdir()
    assert str(file) == index_place(store)
    assert sorted(os.listdir(store)) == ["runs"]
    monkeypatch.setenv("CALIGO_INDEX", str(tmp_path / "elsewhere.sqlite"))
    assert names(store) == all_names(store)
    assert (tmp_path / "elsewhere.sqlite").exists()
    for inside in (store / "index.sqlite", store / "runs" / "x"):
        monkeypatch.setenv("CALIGO_INDEX", str(inside))
        with pytest.raises(ConfigError, match="outside the store"):
            select_runs(store)


def test_without_a_home_the_index_is_in_memory(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError()))
    assert index_place(store) == ":memory:"
    assert names(store) == all_names(store)


def test_a_cache_that_cannot_be_written_is_read_and_not_missed(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "cache" / "index.sqlite"
    names(store, str(place))
    before = place.read_bytes()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with open_index(store, str(place)) as index:
        assert index.place == ":memory:"
        assert index.refresh().read == 0, "what the file has is not read again"
    write_runs(store, 1, first=30)
    assert names(store, str(place)) == all_names(store)
    assert place.read_bytes() == before
    assert names(store, str(tmp_path / "none" / "index.sqlite")) == all_names(store)


def test_a_place_that_cannot_be_a_file_is_not_missed(store: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert names(store, str(tmp_path / "file" / "index.sqlite")) == all_names(store)


# --- what is there already ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"my thesis", b"SQLite format 3\x00" + bytes(200), bytes(100)])
def test_a_file_that_is_no_index_is_refused_and_kept(store: Path, tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "thesis"
    place.write_bytes(content)
    with pytest.raises(ConfigError, match="another kind of file"):
        names(store, str(place))
    assert place.read_bytes() == content
    with closing(sqlite3.connect(tmp_path / "data.sqlite")) as connection:
        connection.execute("CREATE TABLE results (a)")
    with pytest.raises(ConfigError, match="another kind of file"):
        names(store, str(tmp_path / "data.sqlite"))


def test_in_the_cache_anything_is_replaced(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = Path(index_place(store))
    place.parent.mkdir(parents=True)
    for content in (b"not a database", b"", b"SQLite format 3\x00" + bytes(4000)):
        place.write_bytes(content)
        assert names(store) == all_names(store)
        with open_index(store) as index:
            assert index.place == str(place)


def test_an_index_of_another_layout_is_built_anew(store: Path, tmp_path: Path) -> None:
    place = tmp_path / "index.sqlite"
    names(store, str(place))
    with closing(sqlite3.connect(place)) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert names(store, str(place)) == all_names(store)
    with closing(sqlite3.connect(place)) as connection:
        connection.execute("DROP TABLE vals")
    assert names(store, str(place)) == all_names(store)
    with open_index(store, str(place)) as index:
        assert index.refresh().read == 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    place = tmp_path_factory.mktemp("whole")
    write_runs(place / "store", 30)
    names(place / "store", str(place / "index.sqlite"))
    return place / "store", (place / "index.sqlite").read_bytes()


@settings(max_examples=25)
@given(st.data())
def test_a_damaged_index_is_never_fatal_and_heals(whole: tuple[Path, bytes], data: st.DataObject) -> None:
    store, content = whole
    place = store.parent / "damaged.sqlite"
    damaged = bytearray(content)
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(100, len(content) - 1)) :]
    else:
        begin = data.draw(st.integers(100, len(content) - 1))
        length = data.draw(st.sampled_from([1, 50, 5000]))
        damaged[begin : begin + length] = data.draw(st.binary(min_size=1, max_size=1)) * length
    place.write_bytes(damaged)
    with open_index(store, str(place)) as index:
        index.refresh()
        index.rows(index.names(), parse_filter("fer < 0.5 and strategy ~ '*'"))
        index.newest()
        index.rebuild()
        assert index.select() == all_names(store)


# --- many at once ---------------------------------------------------------------------------------------------------


def refresh_often(store: Path, url: str, times: int) -> list[str]:
    with open_index(store, url) as index:
        for _ in range(times):
            index.refresh()
        return index.select()


def write_more(store: Path, first: int) -> None:
    write_runs(store, 20, first=first)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_many_may_refresh_one_index_while_runs_are_written(
    kind: str, store: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(request.getfixturevalue("postgres_url")) if kind == "postgres" else str(tmp_path / "index.sqlite")
    with SPAWN.Pool(4) as pool:
        waiting = [pool.apply_async(refresh_often, (store, url, 4)) for _ in range(3)]
        waiting += [pool.apply_async(write_more, (store, first)) for first in (100,)]
        for result in waiting:
            result.get(120)
    assert names(store, url) == all_names(store)
    with open_index(store, url) as index:
        rows = index.rows(("run", "summary.fer"))
        assert len(rows) == len(all_names(store)) == 50
        assert all("summary.fer" in row for row in rows)
        assert index.refresh().read == 0


def test_a_refresh_that_is_cut_short_is_taken_up_again(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "PIECE", 7)
    looked = index_module.look_at
    with open_index(store, str(tmp_path / "index")) as index:
        seen = 0

        def interrupted(path: Path, inode: str) -> object:
            nonlocal seen
            seen += 1
            if seen == 18:
                raise KeyboardInterrupt
            return looked(path, inode)

        monkeypatch.setattr(index_module, "look_at", interrupted)
        with pytest.raises(KeyboardInterrupt):
            index.refresh()
        monkeypatch.setattr(index_module, "look_at", looked)
        assert index.count() == 14
        assert index.refresh().read == 16
        assert index.select() == all_names(store)


# --- the ledger -----------------------------------------------------------------------------------------------------


def quarantine(store: Path, run: str) -> None:
    governance.quarantine(store, run, [Finding(Code.FILE_CHANGED, "changed", "run.json")])


def standings(index: Index) -> dict[str, object]:
    return {str(run.values["run"]): run.values.get("standing") for run in index.newest()}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_standings_follow_the_ledger(kind: str, store: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = str(request.getfixturevalue("postgres_url")) if kind == "postgres" else str(tmp_path / "index.sqlite")
    first, second, third, *_ = all_names(store)
    quarantine(store, first)
    with open_index(store, url) as index:
        index.refresh()
        assert standings(index)[first] == "quarantined"
        assert first not in index.select()
        assert first in index.select(include_set_aside=True)
        assert index.select(parse_filter("standing = quarantined")) == [first]
        assert first in index.select(parse_filter("standing != rejected"))
        quarantine(store, second)
        governance.reject(store, third, "a bad cable")
        governance.release(store, first, "looked at it")
        index.refresh()
        assert standings(index) == dict.fromkeys(all_names(store)) | {
            second: "quarantined",
            third: "rejected",
        }
        standing = index.standing(third)
        assert standing is not None
        assert standing == governance.standing(store)[third]
        shutil.rmtree(store / "runs" / second)
        index.refresh()
        assert second not in index.select(include_set_aside=True)
        write_runs(store, 1, first=1)  # it is back, as it was
        index.refresh()
        assert standings(index)[second] == "quarantined"
    assert names(store, url) == [name for name in all_names(store) if name not in (second, third)]


def test_a_ledger_that_comes_from_elsewhere_is_folded_in_its_time(store: Path, tmp_path: Path) -> None:
    url = str(tmp_path / "index.sqlite")
    other = tmp_path / "other"
    write_runs(other, 30)
    run = all_names(store)[0]
    quarantine(other, run)
    governance.release(other, run, "fine")
    quarantine(store, run)
    with open_index(store, url) as index:
        index.refresh()
        assert standings(index)[run] == "quarantined"
        shutil.copytree(other / "ledger", store / "ledger", dirs_exist_ok=True)
        index.refresh()
        for name, value in governance.standing(store).items():
            assert index.standing(name) == value
        shutil.rmtree(store / "ledger" / Ledger.open(other).origin)
        index.refresh()
        for name, value in governance.standing(store).items():
            assert index.standing(name) == value


def test_a_ledger_that_cannot_be_read_leaves_the_list_and_is_told(store: Path, tmp_path: Path) -> None:
    run = all_names(store)[0]
    quarantine(store, run)
    with open_index(store, str(tmp_path / "index")) as index:
        assert index.refresh().ledger_problem == ""
        quarantine(store, all_names(store)[1])
        entry = Ledger.open(store).entry_path(1)
        entry.chmod(0o644)
        entry.write_bytes(b"{}")
        done = index.refresh()
        assert "entry 1" in done.ledger_problem
        assert done.runs == 30
        assert standings(index)[run] == "quarantined"


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_named_without_its_password(store: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match="cannot reach the index at postgresql://localhost/none") as refused:
        select_runs(store, url="postgresql://somebody:se%63ret@localhost:1/none")
    assert "secret" not in refused.value.message
    assert "se%63ret" not in refused.value.message


def test_a_url_that_is_none_is_refused(store: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match="cannot reach"):
        select_runs(store, url="postgresql://localhost:port/x?nonsense=1")


def test_without_the_client_library_its_extra_is_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(ResourceError, match=r"caligo\[postgres\]"):
        select_runs(store, url="postgresql://localhost/x")


# --- what a refresh costs -------------------------------------------------------------------------------------------


def test_a_refresh_opens_no_file_of_a_run_that_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "CHECKED_AT_ONCE", 100)
    store, url = tmp_path / "store", str(tmp_path / "index.sqlite")
    write_runs(store, 400)
    with open_index(store, url) as index:
        assert index.refresh().read == 400
    touched: dict[str, list[str]] = {"open": [], "stat": [], "scandir": [], "listdir": []}

    def watch(module: Any, name: str) -> None:
        real = getattr(module, name)

        def watched(path: Any, *words: Any, **more: Any) -> Any:
            if str(path).startswith(str(store / "runs")):
                touched[name].append(str(path))
            return real(path, *words, **more)

        monkeypatch.setattr(module, name, watched)

    for module, name in ((builtins, "open"), (os, "stat"), (os, "scandir"), (os, "listdir"), (os, "open")):
        watch(module, name)
    later = os.stat(store / "runs").st_mtime_ns + 10**11
    with open_index(store, url) as index:
        done = index.refresh(now_ns=later)
        assert (done.listed, done.read, done.checked) == (True, 0, 100)
        assert touched["scandir"] == [str(store / "runs")]
        for paths in touched.values():
            paths.clear()
        done = index.refresh(now_ns=later)
    assert (done.listed, done.read, done.checked) == (False, 0, 100)
    assert touched["open"] == touched["scandir"] == touched["listdir"] == []
    assert len(touched["stat"]) <= 2 * 100 + 2, "the directory and the seal of those whose turn it is, and runs"


def test_every_ended_run_is_checked_in_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "CHECKED_AT_ONCE", 10)
    store = tmp_path / "store"
    paths = write_runs(store, 45)
    with open_index(store, str(tmp_path / "index")) as index:
        index.refresh()
        for path in paths:
            seal = path / "seal.json"
            seal.write_bytes(seal.read_bytes().replace(b'"sha256": "0', b'"sha256": "1'))
        assert sum(index.refresh(now_ns=10**18 + slot * 10**9).read for slot in range(5)) == 45
        assert index.refresh().read == 0
        damaged = index.select(parse_filter("state = damaged"))
    assert damaged == [info.name for info in list_runs(store) if load_run(info.path).state == "damaged"]
    assert len(damaged) == 45

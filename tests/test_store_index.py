"""Laws of the index: it says what the directories say, in SQLite and in PostgreSQL, and survives being lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.errors import ConfigError, StoreError
from caligo.store import RunWriter, list_runs, load_run
from caligo.store.indexing.conditions import resolve_query
from caligo.store.indexing.flatten import NUMBERS, TOP_LEVEL, Scalar, flatten_run
from caligo.store.indexing.index import Index, open_index, select_runs
from caligo.store.indexing.index_source import LookedAt
from caligo.store.indexing.query import parse_filter, parse_query
from caligo.store.indexing.selection import arrange, matches, needed_names

SUMMARY = {"fer": 0.0125, "efficiency": 1.2412, "payload_mbps": 31.5, "leakage": {"syndrome": 9000}, "ok": True}


def seal_one(store: Path, kind: str = "simulate", *, summary: Any = SUMMARY, **configuration: Any) -> Path:
    with RunWriter.create(store, kind, configuration) as writer:
        writer.record({"block": 0})
        writer.seal(summary)
    return writer.path


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return str(tmp_path / "index.sqlite")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    seal_one(store, list_size=8)
    seal_one(store, "reconcile", list_size=32, strategy="one-way", escalation=[1, 8])
    with RunWriter.create(store, "bench", {}) as writer:
        writer.record({"block": 0})
    RunWriter.create(store, "bench", {"odd key": "\x00é"})
    return store


def rewrite(path: Path, change: Any) -> None:
    path.chmod(0o644)
    path.write_bytes(change(path.read_bytes()))


def as_flattened(store: Path) -> list[dict[str, Scalar]]:
    return [flatten_run(load_run(info.path, verify=False)) for info in list_runs(store)]


def indexed(index: Index) -> list[dict[str, Scalar]]:
    return index.rows(index.names(), include_set_aside=True)


# --- the index says what the directories say -----------------------------------------------------------------------


def test_the_index_has_every_value_of_every_run(store: Path, url: str) -> None:
    with open_index(store, url) as index:
        done = index.refresh()
        assert (done.runs, done.listed, done.read, done.removed) == (4, True, 4, 0)
        rows = indexed(index)
    assert rows == as_flattened(store)
    for name, value in {
        "kind": "reconcile", "state": "sealed", "records": 1, "fer": 0.0125, "summary.leakage.syndrome": 9000,
        "summary.ok": True, "configuration.escalation": "[1,8]", "configuration.strategy": "one-way",
    }.items():  # fmt: skip
        assert rows[1][name] == value
    assert [row["state"] for row in rows] == ["sealed", "sealed", "interrupted", "open"]
    assert rows[3]["configuration.odd key"] == "\u2400é"


def test_a_second_refresh_reads_nothing(store: Path, url: str) -> None:
    with open_index(store, url) as index:
        index.refresh()
    with open_index(store, url) as index:
        done = index.refresh()
        assert (done.read, done.removed, done.checked) == (0, 0, 4)
        # Long after the last change the directory is not even listed.
        later = os.stat(store / "runs").st_mtime_ns + 10**11
        assert index.refresh(now_ns=later).listed
        assert not index.refresh(now_ns=later).listed
        seal_one(store)
        assert index.refresh(now_ns=later).read == 1


def test_runs_that_come_go_and_change_are_noticed(store: Path, url: str) -> None:
    with open_index(store, url) as index:
        index.refresh()
        first, second, *_ = (info.path for info in list_runs(store))
        new = seal_one(store, list_size=4)
        shutil.rmtree(first)
        assert index.refresh().removed == 1
        assert index.select()[0] == second.name
        assert index.select()[-1] == new.name
        (second / "seal.json").rename(second / "seal.json.away")
        index.refresh()
        assert index.select(parse_filter("state = open and kind = reconcile")) == [second.name]
        (second / "seal.json.away").rename(second / "seal.json")
        rewrite(second / "seal.json", lambda data: data.replace(b"0.0125", b"0.0126"))
        index.refresh()
        assert [run.why for run in index.newest() if run.values["run"] == second.name] == [
            "seal.json: its content does not match its hash"
        ]
        assert indexed(index) == as_flattened(store)


def test_an_open_run_is_looked_at_until_it_ends(tmp_path: Path) -> None:
    store, url = tmp_path / "store", str(tmp_path / "index")
    with open_index(store, url) as index:
        assert index.refresh().runs == 0
        writer = RunWriter.create(store, "bench", {"a": 1})
        index.refresh()
        assert index.newest()[0].process["pid"] == os.getpid()
        later = os.stat(store / "runs").st_mtime_ns + 10**11
        index.refresh(now_ns=later)
        writer.seal({"fer": 0.5})
        done = index.refresh(now_ns=later)
        assert (done.listed, done.read) == (False, 1)
        assert index.rows(["state", "summary.fer"]) == [{"state": "sealed", "summary.fer": 0.5}]


def test_a_directory_that_took_the_place_of_another_is_read_again(store: Path, tmp_path: Path, url: str) -> None:
    with open_index(store, url) as index:
        index.refresh()
        path = next(iter(list_runs(store))).path
        shutil.copytree(path, tmp_path / "copy")
        path.rename(tmp_path / "old")
        (tmp_path / "copy").rename(path)
        assert index.refresh().read == 1


def test_names_that_no_run_has_any_more_are_forgotten(tmp_path: Path, url: str) -> None:
    store = tmp_path / "store"
    path = seal_one(store, special=1)
    seal_one(store, usual=1)
    with open_index(store, url) as index:
        index.refresh()
        assert "configuration.special" in index.names()
        shutil.rmtree(path)
        index.refresh()
        assert "configuration.special" not in index.names()
        assert "configuration.usual" in index.names()


def test_two_stores_share_an_index_without_seeing_each_other(store: Path, tmp_path: Path, url: str) -> None:
    other = tmp_path / "other"
    seal_one(other, list_size=99, only_here=1)
    for one in (store, other):
        with open_index(one, url) as index:
            index.refresh()
    with open_index(store, url) as index:
        index.refresh()
        assert index.select(parse_filter("configuration.list_size = 99")) == []
        assert "configuration.only_here" not in index.names()
        index.rebuild()
        assert indexed(index) == as_flattened(store)
    with open_index(other, url) as index:
        assert indexed(index) == as_flattened(other)


def test_directories_that_are_no_runs_are_listed_as_damaged(store: Path, url: str) -> None:
    (store / "runs" / "20250101T000000.000Z-bench-00000000").mkdir()
    (store / "runs" / "a file").write_text("x")
    (store / "runs" / ".hidden").mkdir()
    broken = store / "runs" / "with a space\nand a line"
    broken.mkdir()
    (broken / "run.json").write_text("{}")
    os.mkdir(os.fsencode(store / "runs") + b"/\xff")
    with open_index(store, url) as index:
        index.refresh()
        runs = index.newest(parse_filter("state = damaged"))
    assert [(run.values["run"], run.values.get("started_at"), run.values.get("kind")) for run in runs] == [
        (broken.name, None, None),
        ("20250101T000000.000Z-bench-00000000", "2025-01-01T00:00:00.000Z", "bench"),
    ]
    assert all(run.why for run in runs)


def test_a_run_of_a_newer_schema_is_listed_with_the_remedy(store: Path, url: str) -> None:
    from caligo.store.files import document_bytes, read_document

    path = list_runs(store)[0].path / "run.json"
    document = read_document(path, "caligo.run") | {"schema": 99}
    rewrite(path, lambda data: document_bytes(document))
    with open_index(store, url) as index:
        index.refresh()
        (run,) = index.newest(parse_filter("state = damaged"))
    assert "upgrade caligo" in run.why


def test_a_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is a file"):
        select_runs(tmp_path / "file", url=str(tmp_path / "index"))
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "runs").write_text("x")
    with pytest.raises(StoreError, match="directory of runs"):
        select_runs(tmp_path / "store", url=str(tmp_path / "index"))


def test_runs_are_selected_oldest_first(store: Path, url: str) -> None:
    names = [info.name for info in list_runs(store)]
    assert [path.name for path in select_runs(store, url=url)] == names
    assert select_runs(store, "kind = simulate and fer < 0.1", url=url) == [store / "runs" / names[0]]
    assert select_runs(store, "syndrome = 9000", url=url) == [store / "runs" / name for name in names[:2]]
    with pytest.raises(ConfigError, match=r"did you mean summary\.efficiency|efficiency"):
        select_runs(store, "efficiensy > 1", url=url)
    assert select_runs(store.parent / "none", "summary.fer < 1", url=url) == []


def test_the_newest_come_out_oldest_first(store: Path, url: str) -> None:
    names = [info.name for info in list_runs(store)]
    with open_index(store, url) as index:
        index.refresh()
        assert [run.values["run"] for run in index.newest(limit=2)] == names[2:]
        assert [run.values["run"] for run in index.newest(limit=0)] == []


# --- the database against the slow evaluator -----------------------------------------------------------------------

NAMES = ("kind", "campaign", "id", "fer", "records", "summary.a", "summary.b", "configuration.x y", "seeds.none")
TEXTS = st.sampled_from(["", "a", "b", "ab", "A", "1", "1e0", "a*", "[a]", "a%", "a_", "a\\b", "é", "\U0001f600", "'",
                         '"', "2026-11-28", "2026-11-28T19:35:54.403Z", "2026-11-29T00:00:00.000Z",
                         "true"])  # fmt: skip
NUMBERS_ = st.sampled_from([0, 1, -1, 0.5, 1e-3, 1e300, 2**53 - 1, 5e-324])
VALUES = st.one_of(TEXTS, NUMBERS_, st.booleans())


def a_value(name: str) -> st.SearchStrategy[Scalar]:
    if name in NUMBERS:
        return NUMBERS_
    return TEXTS if name in TOP_LEVEL else VALUES


ROWS = st.lists(st.fixed_dictionaries({}, optional={name: a_value(name) for name in NAMES[:-1]}), max_size=8)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


WRITTEN = st.one_of(
    TEXTS.map(quoted),
    NUMBERS_.map(repr),
    st.sampled_from(["a", "1e0", "1.0", "true", "false", "2026-11-28", "2026-11-28T19:35", "2026-11-28T19:35:54.403"]),
)
NAME = st.sampled_from([f"`{name}`" for name in NAMES])
OPERATORS = st.sampled_from(["<", "<=", ">", ">="])
ORDERED = WRITTEN.filter(lambda text: text not in ("true", "false"))
PATTERNS = st.text("ab*?[%_\\'é", max_size=6).map(quoted)
LEAVES = st.one_of(
    st.tuples(NAME, st.sampled_from(["=", "!="]), st.one_of(WRITTEN, st.just("null"))).map(" ".join),
    st.tuples(NAME, OPERATORS, ORDERED).map(" ".join),
    st.tuples(NAME, st.sampled_from(["~", "!~"]), PATTERNS).map(" ".join),
    st.tuples(NAME, st.sampled_from(["in", "not in"]), st.lists(st.one_of(WRITTEN, st.just("null")), min_size=1)).map(
        lambda parts: f"{parts[0]} {parts[1]} ({', '.join(parts[2])})"
    ),
    NAME,
    NAME.map("exists {}".format),
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map("not ({})".format),
        st.lists(inner, min_size=2, max_size=3).map(" and ".join).map("({})".format),
        st.lists(inner, min_size=2, max_size=3).map(" or ".join).map("({})".format),
    ),
    max_leaves=6,
)
COLUMNS = st.lists(NAME, min_size=1, max_size=3).map(", ".join)
AGGREGATES = st.lists(
    st.tuples(st.sampled_from(["count", "sum", "mean", "min", "max", "median", "first", "last"]), NAME).map(
        lambda parts: f"{parts[0]}({parts[1]})"
    ),
    min_size=1,
    max_size=3,
).map(", ".join)
QUERIES = st.one_of(
    st.tuples(COLUMNS, FILTERS, NAME).map("{0[0]} where {0[1]} order by {0[2]} desc".format),
    st.tuples(AGGREGATES, FILTERS, NAME).map("{0[0]} where {0[1]} group by {0[2]} limit 5".format),
)


def fill(index: Index, rows: list[dict[str, Scalar]]) -> list[dict[str, Scalar]]:
    """Put rows into an index as if runs had them, in their order."""
    whole = [{"run": f"run{number:03}", **row} for number, row in enumerate(rows)]
    database = index._database
    database.forget(index._store_number())
    with database.writing():
        index._insert([LookedAt(row, "", {}, "", "", True) for row in whole], {})
    return whole


def same(index: Index, rows: list[dict[str, Scalar]], text: str) -> None:
    query = resolve_query(parse_query(text), NAMES, text)
    passing = [row for row in rows if matches(query.where, row)]
    assert index.select(query.where) == [row["run"] for row in passing]
    assert index.count(query.where) == len(passing)
    names = needed_names(query)
    kept = [{name: row[name] for name in names if name in row} for row in passing]
    assert index.rows(names, query.where) == kept
    assert index.answer(query) == arrange(query, passing)


@settings(max_examples=100)
@given(ROWS, QUERIES)
def test_sqlite_answers_as_the_slow_evaluator_does(rows: list[dict[str, Scalar]], text: str) -> None:
    with Index(Path("/nowhere"), ":memory:") as index:
        same(index, fill(index, rows), text)


def test_postgres_answers_as_the_slow_evaluator_does(tmp_path: Path, postgres_url: str) -> None:
    with Index(tmp_path / "nowhere", postgres_url) as index:

        @settings(max_examples=25)
        @given(ROWS, st.lists(QUERIES, min_size=1, max_size=4))
        def law(rows: list[dict[str, Scalar]], texts: list[str]) -> None:
            whole = fill(index, rows)
            for text in texts:
                same(index, whole, text)

        law()

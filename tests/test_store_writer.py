"""Laws of a run being written: identity first, records whole, the seal last.

Does not cover faults of the file system and kills (``test_store_faults.py``) nor damage found later
(``test_store_damage.py``).
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.errors import CaligoError, ConfigError, ShapeError, StoreError
from caligo.store import RunWriter, State, default_store, find_run, list_runs, load_run
from caligo.store.layout import RUN_NAME
from caligo.store.values import (
    LARGEST_INTEGER,
    RECORD_LIMITS,
    _encode_flat,
    check_value,
    encode_record,
    run_identity,
)

CONFIGURATION = {"block_length": 65536, "list_size": 32, "efficiency": 1.24, "threads": 2, "check": "crc32"}


def begin(store: Path, **options: object) -> RunWriter:
    return RunWriter.create(store, "reconcile", CONFIGURATION, **options)  # type: ignore[arg-type]


def records_of(path: Path) -> list[dict[str, object]]:
    return list(load_run(path).records())


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc_\n\u00e9", max_size=8), inner, max_size=4),
    max_leaves=12,
)
plain_records = st.dictionaries(st.text("abcdef_", max_size=8), plain_values, max_size=6)


def test_the_run_is_told_before_any_work(tmp_path: Path) -> None:
    writer = begin(tmp_path, seeds={"seed": 7}, security_randomness={"hash_key": "00ff"}, engine={"engine": "avx2"})
    document = json.loads((writer.path / "run.json").read_text())
    assert document["configuration"] == CONFIGURATION
    assert document["schema"] == 2
    assert document["kind"] == "reconcile"
    assert document["seeds"] == {"seed": 7}
    assert document["security_randomness"] == {"hash_key": "00ff"}
    assert document["engine"] == {"engine": "avx2"}
    assert document["machine"]["fingerprint"]
    assert document["process"]["pid"] == os.getpid()
    assert RUN_NAME.fullmatch(writer.path.name)
    assert writer.path.parent == tmp_path / "runs"
    run = load_run(writer.path)
    assert (run.state, run.running, list(run.records())) == (State.OPEN, True, [])
    assert writer.path.stat().st_mode & 0o777 == 0o700
    writer.seal()


def test_a_sealed_run_gives_back_what_was_recorded(tmp_path: Path) -> None:
    with begin(tmp_path) as writer:
        writer.record({"block": 0, "outcome": "ok"})
        writer.record_many([{"block": 1, "outcome": "ok"}, {"block": 2, "outcome": "failed"}])
        writer.seal({"fer": 1 / 3})
    run = load_run(writer.path)
    assert (run.state, run.findings, run.summary) == (State.SEALED, (), {"fer": 1 / 3})
    assert [record["block"] for record in run.records()] == [0, 1, 2]
    assert run.outcomes() == {"ok": 2, "failed": 1}
    assert run.record_counts == load_run(writer.path, verify=False).record_counts == {"records-main.jsonl": 3}
    assert [info.name for info in list_runs(tmp_path)] == [writer.name]
    assert {path.stat().st_mode & 0o777 for path in writer.path.iterdir()} == {0o444}
    assert writer.path.stat().st_mode == writer.path.parent.stat().st_mode


@settings(max_examples=40)
@given(recorded=st.lists(plain_records, max_size=8))
def test_every_plain_value_survives(
    tmp_path_factory: pytest.TempPathFactory, recorded: list[dict[str, object]]
) -> None:
    with begin(tmp_path_factory.mktemp("store")) as writer:
        writer.record_many(recorded)
        writer.seal()
    assert records_of(writer.path) == recorded


flat_values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=6)
    | st.text('a"\\\n%é', max_size=4)
)


@given(names=st.lists(st.text('a%{"\\é_', max_size=5), max_size=5, unique=True), data=st.data())
def test_records_of_a_form_seen_before_are_written_as_the_general_way_writes_them(
    names: list[str], data: st.DataObject
) -> None:
    for _ in range(3):
        record = {name: data.draw(flat_values) for name in names}
        flat = _encode_flat(dict(record))
        if flat is not None:
            check_value(record, RECORD_LIMITS)
            assert flat == json.dumps(record, separators=(",", ":"), allow_nan=False)


def test_numpy_scalars_are_numbers(tmp_path: Path) -> None:
    with begin(tmp_path) as writer:
        writer.record({"a": np.int64(3), "b": np.float32(0.5), "c": np.bool_(True), "d": np.float64(0.25)})
        writer.seal({"n": np.uint64(9)})
    assert records_of(writer.path) == [{"a": 3, "b": 0.5, "c": True, "d": 0.25}]
    assert load_run(writer.path).summary == {"n": 9}


@pytest.mark.parametrize(
    "value",
    [
        b"\x01\x00",
        bytearray(2),
        np.zeros(2, np.uint8),
        np.zeros((), np.uint8),
        {1, 2},
        object(),
        1j,
        float("nan"),
        float("inf"),
        np.float32("nan"),
        2**53,
        -(2**53),
        np.uint64(2**60),
        "x" * (RECORD_LIMITS.text + 1),
        [0] * (RECORD_LIMITS.items + 1),
        {1: 2},
        "\udc80",
        [[[[[[[[[1]]]]]]]]],
        ["x" * 200] * 400,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_could_hold_a_key_is_refused_unquoted(tmp_path: Path, value: object) -> None:
    with begin(tmp_path) as writer:
        for record in ({"v": value}, {"v": [{"w": value}]}):
            with pytest.raises(ConfigError) as caught:
                writer.record(record)
            assert len(str(caught.value)) < 300
        writer.record({"block": 0})
        writer.seal()
    assert records_of(writer.path) == [{"block": 0}]


def test_a_wide_seed_is_kept_as_text(tmp_path: Path) -> None:
    def seeds(seed: int) -> object:
        return load_run(RunWriter.create(tmp_path, "simulate", {"seed": seed}, seeds={"seed": seed}).path).document[
            "seeds"
        ]

    assert seeds(2**53 - 1) == {"seed": 2**53 - 1}
    assert seeds(2**64 - 1) == {"seed": "18446744073709551615"}
    with pytest.raises(ConfigError):
        seeds(2**65)


def test_one_bad_record_of_many_records_none(tmp_path: Path) -> None:
    with begin(tmp_path) as writer:
        with pytest.raises(ConfigError):
            writer.record_many([{"block": 0}, {"block": b""}])
        with pytest.raises(ConfigError):
            writer.record(["not", "an", "object"])  # type: ignore[arg-type]
        assert writer.count == 0
        writer.seal()


def test_a_bad_summary_leaves_the_run_open(tmp_path: Path) -> None:
    with begin(tmp_path) as writer:
        with pytest.raises(ConfigError):
            writer.seal({"fer": float("nan")})
        writer.record({"block": 0})
        writer.seal({"fer": None})
    assert load_run(writer.path).summary == {"fer": None}


@pytest.mark.parametrize(
    "options", [{"kind": "Two Words"}, {"kind": "../x"}, {"kind": ""}, {"writer": "a/b"}, {"writer": ""}]
)
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        RunWriter.create(tmp_path, options.pop("kind", "reconcile"), {}, **options)  # type: ignore[arg-type]
    assert list_runs(tmp_path) == []


def test_identity_is_the_experiment_and_nothing_else(tmp_path: Path) -> None:
    def identity(configuration: dict[str, object], **options: object) -> str:
        return RunWriter.create(tmp_path, "reconcile", configuration, **options).identity  # type: ignore[arg-type]

    base = identity({"a": 1, "b": {"x": 0.5, "y": [1]}}, seeds={"s": 1})
    assert base == identity({"b": {"y": [1], "x": 0.5}, "a": 1.0}, seeds={"s": 1}, security_randomness={"k": "ff"})
    assert base == identity(
        {"a": 1, "b": {"x": 0.5, "y": [1]}, "threads": 9}, seeds={"s": 1}, identity_excludes=["threads"]
    )
    assert base != identity({"a": 1, "b": {"x": 0.5, "y": [1]}}, seeds={"s": 2})
    assert base != identity({"a": 2, "b": {"x": 0.5, "y": [1]}}, seeds={"s": 1})
    written = b'{"configuration":{"n":1024,"p":0.02},"kind":"demo","seeds":{"s":1}}'
    assert run_identity("demo", {"p": 0.02, "n": 1024.0}, {"s": 1}) == hashlib.sha256(written).hexdigest()


def test_an_error_interrupts_and_its_data_stays_out(tmp_path: Path) -> None:
    def fail(error: BaseException) -> dict[str, object]:
        writer = begin(tmp_path)
        writer.record({"block": 0})
        with pytest.raises(type(error)), writer:
            raise error
        run = load_run(writer.path)
        assert run.state is State.INTERRUPTED
        assert list(run.records()) == [{"block": 0}]
        assert run.interruption is not None
        assert run.interruption["records"] == 1
        described: dict[str, object] = run.interruption["error"]
        assert described["class"] == type(error).__name__
        return described

    assert fail(ValueError("secret bits 0101"))["message"] is None
    assert fail(KeyboardInterrupt())["message"] is None
    assert fail(ShapeError("expected 8 bytes, got 7"))["message"] == "expected 8 bytes, got 7"
    assert fail(OSError(5, "Input/output error"))["message"] == "Input/output error"
    assert "secret" not in "".join(path.read_text() for path in tmp_path.rglob("*.json*"))


def test_leaving_without_a_seal_is_an_interruption(tmp_path: Path) -> None:
    with begin(tmp_path) as writer:
        pass
    assert load_run(writer.path).state is State.INTERRUPTED


def test_an_ended_run_takes_nothing_more(tmp_path: Path) -> None:
    for end in (RunWriter.seal, lambda writer: writer.interrupt("enough")):
        writer = begin(tmp_path)
        end(writer)
        for act in (writer.seal, writer.flush, lambda w=writer: w.record({}), lambda w=writer: w.interrupt("again")):
            with pytest.raises(StoreError):
                act()
        with pytest.raises(StoreError):
            RunWriter.join(writer.path, "rank0001")


def test_threads_share_a_writer(tmp_path: Path) -> None:
    with begin(tmp_path, flush_bytes=500) as writer:

        def work(worker: int) -> None:
            for step in range(300):
                writer.record({"worker": worker, "step": step})

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.seal()
    recorded = records_of(writer.path)
    for worker in range(8):
        assert [record["step"] for record in recorded if record["worker"] == worker] == list(range(300))


def test_writers_join_and_the_first_one_seals(tmp_path: Path) -> None:
    with begin(tmp_path, writer="rank0000") as first:
        for rank in (2, 1):
            with RunWriter.join(first.path, f"rank{rank:04d}") as other:
                other.record({"rank": rank})
                with pytest.raises(StoreError):
                    other.seal()
        with pytest.raises(StoreError):
            RunWriter.join(first.path, "rank0001")
        first.record({"rank": 0})
        first.seal()
    run = load_run(first.path)
    assert run.findings == ()
    assert [record["rank"] for record in run.records()] == [0, 1, 2]
    assert [record["rank"] for record in run.records(writer="rank0002")] == [2]


def test_a_run_is_found_by_any_unambiguous_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = begin(tmp_path), begin(tmp_path)
    second.seal()
    assert find_run(tmp_path, first.name) == first.path
    assert find_run(tmp_path, first.name[-8:-2]) == first.path
    assert find_run(tmp_path, "last") == max(first.path, second.path)
    assert find_run(tmp_path / "elsewhere", str(first.path)) == first.path
    monkeypatch.chdir(first.path)
    assert find_run(tmp_path, ".") == first.path
    with pytest.raises(StoreError, match="2 runs"):
        find_run(tmp_path, "20")
    for unknown in ("zzz", "", "../runs/none"):
        with pytest.raises(StoreError):
            find_run(tmp_path, unknown)


def test_the_default_store_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CALIGO_STORE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_store() == tmp_path / ".local/share/caligo/store"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert default_store() == tmp_path / "data/caligo/store"
    monkeypatch.setenv("CALIGO_STORE", "~/mine")
    assert default_store() == tmp_path / "mine"
    with RunWriter.create(None, "bench", {}) as writer:
        writer.seal()
    assert writer.path.parent == tmp_path / "mine/runs"
    assert [info.kind for info in list_runs()] == ["bench"]


def test_errors_survive_pickling(tmp_path: Path) -> None:
    with pytest.raises(CaligoError) as caught:
        find_run(tmp_path, "none")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again), again.fields) == (type(caught.value), str(caught.value), caught.value.fields)


def test_one_record_line_reads_as_the_specification_says(tmp_path: Path) -> None:
    with begin(tmp_path) as writer:
        writer.record({"block": 0, "outcome": "ok"})
        writer.seal()
    line = (writer.path / "records-main.jsonl").read_bytes()
    text = encode_record({"block": 0, "outcome": "ok"})
    salted = f"caligo.record/1\n{writer.name}\nmain\n0\n".encode() + text
    expected = f'{{"i":0,"n":{len(text)},"h":"{hashlib.sha256(salted).hexdigest()[:16]}","r":{text.decode()}}}\n'
    assert line.decode() == expected
    assert json.loads(line)["r"] == {"block": 0, "outcome": "ok"}

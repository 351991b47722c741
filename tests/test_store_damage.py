"""Laws of damaged runs: every change is found and named, and costs no record that it did not hit."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.errors import SchemaVersionError, StoreError
from caligo.store import Code, Finding, RunWriter, Severity, State, find_run, list_runs, load_run
from caligo.store.files import document_bytes
from caligo.store.layout import SCHEMA
from caligo.store.records import frame_record, record_salt, scan_records

RECORDS = [{"block": block, "outcome": "ok", "elapsed_ns": 10**block} for block in range(8)]
RECORD_FILE = "records-main.jsonl"


def sealed_run(store: Path) -> Path:
    with RunWriter.create(store, "simulate", {"frames": 8}, seeds={"seed": 3}) as writer:
        writer.record_many(RECORDS)
        writer.seal({"fer": 0.0})
    for path in writer.path.iterdir():
        path.chmod(0o644)
    return writer.path


def open_run(store: Path) -> Path:
    writer = RunWriter.create(store, "simulate", {"frames": 8}, seeds={"seed": 3})
    writer.record_many(RECORDS)
    writer.flush()
    return writer.path


def codes(path: Path) -> set[Code]:
    return {finding.code for finding in load_run(path).findings}


def readable(path: Path) -> list[dict[str, object]]:
    return list(load_run(path, verify=False).records(on_finding=lambda finding: None))


def test_every_flipped_byte_of_a_sealed_run_is_found(tmp_path: Path) -> None:
    path = sealed_run(tmp_path)
    flipped = 0
    for file in sorted(path.iterdir()):
        whole = file.read_bytes()
        for position in range(len(whole)):
            changed = bytearray(whole)
            changed[position] ^= 1 << (position * 5 + 3) % 8
            file.write_bytes(changed)
            run = load_run(path)
            assert run.state is State.DAMAGED, (file.name, position)
            assert any(file.name in finding.where for finding in run.findings), (file.name, position)
            flipped += 1
        file.write_bytes(whole)
    assert load_run(path).state is State.SEALED
    assert flipped > 2000


@pytest.mark.parametrize("make", [sealed_run, open_run])
def test_a_flipped_byte_is_named_and_costs_its_own_record_only(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    file = path / RECORD_FILE
    whole = file.read_bytes()
    hit = 0
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << (position * 3 + 1) % 8
        file.write_bytes(changed)
        index = whole.count(b"\n", 0, position)
        kept = readable(path)
        if whole[position : position + 1] == b"\n":
            assert kept == RECORDS
            expected = Finding(Code.RECORD_END_DAMAGED, f"record {index} is not followed by a line end", "")
        else:
            assert kept == RECORDS[:index] + RECORDS[index + 1 :]
            expected = Finding(Code.RECORD_DAMAGED, f"record {index} cannot be trusted: bytes changed", "")
        named = [finding for finding in load_run(path).findings if finding.code is not Code.FILE_CHANGED]
        assert (named[0].code, named[0].what) == (expected.code, expected.what)
        with pytest.raises(StoreError, match=expected.code):
            list(load_run(path, verify=False).records())
        hit += 1
    assert hit == len(whole)


def test_a_torn_record_loses_nothing_before_it(tmp_path: Path) -> None:
    path = open_run(tmp_path)
    file = path / RECORD_FILE
    whole = file.read_bytes()
    for length in range(len(whole) + 1):
        file.write_bytes(whole[:length])
        run = load_run(path)
        complete = whole.count(b"\n", 0, length)
        torn = length > 0 and whole[length - 1 : length] != b"\n"
        assert run.state is State.OPEN
        assert list(run.records()) == RECORDS[:complete]
        assert run.record_counts == {RECORD_FILE: complete}
        assert [finding.code for finding in run.findings] == [Code.TORN_TAIL] * torn
        assert all(finding.severity is Severity.NOTE for finding in run.findings)


def test_a_sealed_run_may_not_be_torn(tmp_path: Path) -> None:
    path = sealed_run(tmp_path)
    file = path / RECORD_FILE
    whole = file.read_bytes()
    for length in (0, 1, whole.index(b"\n") + 1, len(whole) - 1):
        file.write_bytes(whole[:length])
        assert load_run(path).state is State.DAMAGED
    file.write_bytes(whole[:-1])
    with pytest.raises(StoreError, match="not written to its end"):
        list(load_run(path, verify=False).records())


def test_zeros_after_a_power_failure_are_a_torn_tail(tmp_path: Path) -> None:
    path = open_run(tmp_path)
    with open(path / RECORD_FILE, "ab") as file:
        file.write(bytes(4096))
    run = load_run(path)
    assert (run.state, list(run.records())) == (State.OPEN, RECORDS)
    assert [finding.code for finding in run.findings] == [Code.TORN_TAIL]


def test_removed_repeated_moved_and_foreign_lines_are_found(tmp_path: Path) -> None:
    path, other = open_run(tmp_path), open_run(tmp_path)
    file = path / RECORD_FILE
    lines = file.read_bytes().splitlines(keepends=True)
    foreign = (other / RECORD_FILE).read_bytes().splitlines(keepends=True)
    changed = {
        "removed": (lines[:2] + lines[3:], RECORDS[:2] + RECORDS[3:], Code.RECORD_OUT_OF_SEQUENCE),
        "repeated": (lines[:3] + lines[2:], RECORDS, Code.RECORD_OUT_OF_SEQUENCE),
        "swapped": ([lines[1], lines[0], *lines[2:]], RECORDS[1:], Code.RECORD_OUT_OF_SEQUENCE),
        "foreign": ([*lines[:2], foreign[2], *lines[3:]], RECORDS[:2] + RECORDS[3:], Code.RECORD_DAMAGED),
    }
    for name, (now, kept, code) in changed.items():
        file.write_bytes(b"".join(now))
        assert codes(path) == {code}, name
        assert readable(path) == kept, name


edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "insert", "delete", "repeat"]),
        st.integers(0, 10**6),
        st.integers(1, 60),
        st.binary(max_size=40),
    ),
    min_size=1,
    max_size=4,
)


@given(edits=edits)
def test_whatever_the_edit_no_false_record_is_read(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[str, int, int, bytes]]
) -> None:
    salt = record_salt("20250314T092653.589Z-simulate-3f9a1c2e", "main")
    texts = [json.dumps(record, separators=(",", ":")).encode() for record in RECORDS]
    whole = b"".join(frame_record(salt, index, text) for index, text in enumerate(texts))
    changed = bytearray(whole)
    for what, place, length, data in edits:
        start = place % (len(changed) + 1)
        piece = bytes(changed[start : start + length])
        if what == "flip":
            changed[start : start + 1] = bytes(byte ^ (1 << length % 8) for byte in piece[:1])
        elif what == "insert":
            changed[start:start] = data
        elif what == "delete":
            del changed[start : start + length]
        else:
            changed[start:start] = piece
    file = tmp_path_factory.mktemp("records") / RECORD_FILE
    file.write_bytes(changed)
    found: list[Finding] = []
    raw = bytearray()
    scanned = list(scan_records(file, salt, found.append, raw.extend))
    assert raw == changed
    assert all(text == texts[index] for index, text in scanned)
    indices = [index for index, _ in scanned]
    assert indices == sorted(set(indices))
    cut_between_lines = whole.startswith(bytes(changed)) and (not changed or changed.endswith(b"\n"))
    assert bool(found) != cut_between_lines
    untouched = [index for index, text in enumerate(texts) if frame_record(salt, index, text) in changed]
    if all(what != "repeat" for what, *_ in edits):
        assert set(untouched) <= set(indices)


@given(garbage=st.lists(st.binary(max_size=300) | st.just(b'{"i":0,"n":9,"h":"'), max_size=6).map(b"".join))
def test_garbage_is_never_a_record_nor_a_crash(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    path = tmp_path_factory.mktemp("store") / "runs" / "20250314T092653.589Z-simulate-3f9a1c2e"
    path.mkdir(parents=True)
    for name in ("run.json", "seal.json", "interrupted.json", RECORD_FILE):
        (path / name).write_bytes(garbage)
    run = load_run(path)
    assert run.state is State.DAMAGED
    assert readable(path) == []
    assert [info.state for info in list_runs(path.parent.parent)] == [State.DAMAGED]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
def test_a_well_formed_document_with_wrong_members_is_reported(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = sealed_run(tmp_path_factory.mktemp("store"))
    name = data.draw(st.sampled_from(["run.json", "seal.json"]))
    document = json.loads((path / name).read_text())
    del document["sha256"]
    member = data.draw(st.sampled_from(sorted(document)))
    replacement = data.draw(json_values.filter(lambda value: value != document[member]))
    document[member] = replacement
    (path / name).write_bytes(document_bytes(document))
    try:
        run = load_run(path)
    except SchemaVersionError:
        assert member == "schema"
        return
    informative = {"sealed_at", "summary", "elapsed_s"}
    assert run.state is State.DAMAGED or (name == "seal.json" and member in informative)
    list_runs(path.parent.parent)


def test_missing_extra_and_foreign_files_are_found(tmp_path: Path) -> None:
    path, other = sealed_run(tmp_path), sealed_run(tmp_path)

    def changed(change: Callable[[Path], object]) -> set[Code]:
        copy = tmp_path / "copy" / path.name
        shutil.copytree(path, copy)
        change(copy)
        found = codes(copy)
        shutil.rmtree(copy)
        return found

    assert changed(lambda copy: None) == set()
    assert changed(lambda copy: (copy / RECORD_FILE).unlink()) == {Code.FILE_MISSING}
    assert changed(lambda copy: (copy / "records-x.jsonl").touch()) == {Code.FILE_NOT_SEALED}
    assert changed(lambda copy: (copy / "notes.txt").touch()) == {Code.FILE_NOT_SEALED}
    assert changed(lambda copy: (copy / "run.json").unlink()) == {Code.RUN_DOCUMENT_MISSING, Code.FILE_MISSING}
    assert Code.SEAL_FOREIGN in changed(lambda copy: shutil.copy(other / "seal.json", copy))
    assert Code.RECORD_DAMAGED in changed(lambda copy: shutil.copy(other / RECORD_FILE, copy))
    assert Code.FILE_CHANGED in changed(lambda copy: shutil.copy(other / "run.json", copy))


def test_a_renamed_run_is_noted_and_still_verified(tmp_path: Path) -> None:
    path = sealed_run(tmp_path).rename(tmp_path / "a name\nwith a line end")
    run = load_run(path)
    assert (run.state, codes(path)) == (State.SEALED, {Code.DIRECTORY_RENAMED})
    assert list(run.records()) == RECORDS
    assert find_run(tmp_path, str(path)) == path


def test_a_newer_schema_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = sealed_run(tmp_path)
    document = json.loads((path / "run.json").read_text())
    del document["sha256"]
    (path / "run.json").write_bytes(document_bytes({**document, "schema": SCHEMA + 1}))
    with pytest.raises(SchemaVersionError, match="upgrade caligo"):
        load_run(path)
    (info,) = list_runs(tmp_path)
    assert info.state is State.DAMAGED
    assert f"schema {SCHEMA + 1}" in info.why


def test_damaged_runs_are_listed_beside_whole_ones(tmp_path: Path) -> None:
    whole, empty, torn = sealed_run(tmp_path), sealed_run(tmp_path), sealed_run(tmp_path)
    (empty / "run.json").unlink()
    (torn / "run.json").write_bytes((torn / "run.json").read_bytes()[:100])
    (tmp_path / "runs" / "stray file").touch()
    (tmp_path / "runs" / "stray directory").mkdir()
    (tmp_path / "runs" / ".creating-x").mkdir()
    (tmp_path / "runs" / "dangling").symlink_to("nowhere")
    listed = {info.name: info for info in list_runs(tmp_path)}
    assert set(listed) == {whole.name, empty.name, torn.name, "stray directory", "dangling"}
    assert listed[whole.name].state is State.SEALED
    for name in (empty.name, torn.name, "stray directory", "dangling"):
        assert listed[name].state is State.DAMAGED
        assert listed[name].why
    assert listed[empty.name].kind == "simulate"


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(StoreError):
            load_run(path)
    with pytest.raises(StoreError):
        list_runs(tmp_path / "file")


def test_records_are_read_in_bounded_memory(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, "simulate", {}) as writer:
        for block in range(40):
            writer.record_many([{"block": block, "text": "x" * 200}] * 1000)
        writer.seal()
    assert os.path.getsize(writer.path / RECORD_FILE) > 9_000_000
    tracemalloc.start()
    try:
        assert sum(1 for _ in load_run(writer.path).records()) == 40_000
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_a_record_of_the_largest_size_is_read_back(tmp_path: Path) -> None:
    large = {f"name{number:02d}": "x" * 250 for number in range(240)}
    with RunWriter.create(tmp_path, "simulate", {}) as writer:
        writer.record_many([large, large, {"block": 2}])
        writer.seal()
    file = writer.path / RECORD_FILE
    file.chmod(0o644)
    assert readable(writer.path) == [large, large, {"block": 2}]
    file.write_bytes(file.read_bytes().replace(b"}\n", b"} "))
    assert readable(writer.path) == [large, large, {"block": 2}]

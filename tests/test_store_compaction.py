"""Laws of compacted records: the same records, bit for bit, and never neither lines nor Parquet."""

from __future__ import annotations

import builtins
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from caligo.errors import ResourceError, StoreError
from caligo.store import Code, RunWriter, Severity, State, compaction, load_run
from caligo.store.compaction import compact_records, compacted_records, restored_lines
from caligo.store.records import frame_record, record_salt
from caligo.store.values import LARGEST_INTEGER, RECORD_LIMITS, encode_record

RUN = "20250314T092653.589Z-simulate-3f9a1c2e"
LINES, COLUMNS = "records-main.jsonl", "records-main.parquet"
BLOCKS = [
    {"block": block, "outcome": "ok", "elapsed_ns": 2_000_000 + block, "leakage_bits": 17, "f": 1.5 * block}
    for block in range(20)
]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["block", "outcome", "x", "X", "#index", "#text", "", "a.b", "\u00e9", "\x00"])
many_records = st.lists(st.dictionaries(names, values, max_size=5), max_size=12)


def write_lines(path: Path, texts: list[bytes]) -> bytes:
    salt = record_salt(RUN, "main")
    data = b"".join(frame_record(salt, index, text) for index, text in enumerate(texts))
    path.write_bytes(data)
    return data


def compact_in(directory: Path, texts: list[bytes]) -> tuple[bytes, list[dict[str, Any]] | None, bytes]:
    lines, columns = directory / LINES, directory / COLUMNS
    data = write_lines(lines, texts)
    told = compact_records(lines, columns, RUN, "main")
    if told is None:
        assert not columns.exists()
        return data, None, b""
    findings: list[object] = []
    records = [record for _, record in compacted_records(columns, RUN, "main", findings.append)]
    restored = b"".join(restored_lines(columns, RUN, "main", findings.append))
    assert findings == []
    assert (told.records, told.replaced_bytes) == (len(texts), len(data))
    return data, records, restored


def exactly(records: list[dict[str, Any]]) -> list[bytes]:
    """What tells 1 from 1.0 from true, and the order of members."""
    return [encode_record(record) for record in records]


@settings(max_examples=60)
@given(records=many_records)
@example(records=[])
@example(records=[{"x": 1}, {"x": 1.0}, {"x": True}, {"x": None}, {}, {"x": -0.0}, {"x": "1"}, {"x": [1, {"y": 2.0}]}])
@example(records=[{"x": 1, "block": 2}, {"block": 2, "x": 1}])
def test_columns_hold_every_record_exactly(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]
) -> None:
    data, kept, restored = compact_in(tmp_path_factory.mktemp("run"), exactly(records))
    assert kept is not None
    assert exactly(kept) == exactly(records)
    assert restored == data


@pytest.mark.parametrize(
    "text",
    [
        b'{ "x":1}',
        b'{"x":1e2}',
        b'{"x":1,"x":2}',
        b'{"x":"\\ud800"}',
        b'{"x":1e999}',
        b'{"x":99999999999999999999}',
        b"[1,2]",
        b"7",
    ],
)
def test_records_in_the_style_of_other_software_keep_their_bytes(tmp_path: Path, text: bytes) -> None:
    data, kept, restored = compact_in(tmp_path, [encode_record(BLOCKS[0]), text, encode_record(BLOCKS[1])])
    assert restored == data
    assert kept is not None
    assert kept[1] == json.loads(text)


def test_many_shapes_and_columns_are_kept(tmp_path: Path) -> None:
    records = [{f"m{number}_{place}": place for place in range(3)} for number in range(400)]
    records += [{f"wide{place}": place for place in range(200)}]
    data, kept, restored = compact_in(tmp_path, exactly(records))
    assert kept is not None
    assert exactly(kept) == exactly(records)
    assert restored == data


@pytest.mark.parametrize("fault", ["torn", "flipped", "removed"])
def test_a_damaged_file_of_lines_is_not_compacted(tmp_path: Path, fault: str) -> None:
    data = write_lines(tmp_path / LINES, exactly(BLOCKS))
    lines = data.splitlines(keepends=True)
    changed = {
        "torn": data[:-5],
        "flipped": data[:60] + bytes([data[60] ^ 1]) + data[61:],
        "removed": b"".join(lines[:3] + lines[4:]),
    }
    (tmp_path / LINES).write_bytes(changed[fault])
    assert compact_records(tmp_path / LINES, tmp_path / COLUMNS, RUN, "main") is None
    assert sorted(os.listdir(tmp_path)) == [LINES]


def sealed(store: Path, **options: Any) -> Path:
    with RunWriter.create(store, "simulate", {"frames": 20}, **options) as writer:
        writer.record_many(BLOCKS)
        with RunWriter.join(writer.path, "rank0001") as second:
            second.record_many(BLOCKS[:3])
        writer.seal({"fer": 0.0})
    for path in writer.path.iterdir():
        path.chmod(0o644)
    return writer.path


def test_a_compacted_run_reads_like_one_of_lines(tmp_path: Path) -> None:
    lines, columns = load_run(sealed(tmp_path)), load_run(sealed(tmp_path, compact=True))
    assert (columns.state, columns.findings) == (State.SEALED, ())
    assert sorted(os.listdir(columns.path)) == [COLUMNS, "records-rank0001.parquet", "run.json", "seal.json"]
    assert exactly(list(columns.records())) == exactly(list(lines.records()))
    assert list(columns.records("rank0001")) == BLOCKS[:3]
    assert columns.outcomes() == lines.outcomes()
    assert columns.record_counts == {COLUMNS: 20, "records-rank0001.parquet": 3}
    assert load_run(columns.path, verify=False).record_counts == columns.record_counts
    assert [path.name for path in columns.record_files()] == [COLUMNS, "records-rank0001.parquet"]
    assert columns.seal is not None
    assert lines.seal is not None
    assert columns.seal["files"][COLUMNS]["records"] == 20


def test_the_seal_tells_the_lines_that_were_replaced(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "simulate", {})
    writer.record_many(BLOCKS)
    writer.flush()
    data = (writer.path / LINES).read_bytes()
    writer.seal(compact=True)
    run = load_run(writer.path)
    assert run.seal is not None
    told = run.seal["files"][COLUMNS]["replaces"]
    restored = b"".join(restored_lines(writer.path / COLUMNS, run.name, "main", lambda finding: None))
    assert restored == data
    assert told["bytes"] == len(data)


def test_every_flipped_byte_of_a_compacted_run_is_found(tmp_path: Path) -> None:
    path = sealed(tmp_path, compact=True)
    file = path / COLUMNS
    whole = file.read_bytes()
    for position in range(0, len(whole), 23):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        file.write_bytes(changed)
        run = load_run(path)
        assert run.state is State.DAMAGED
        assert any(finding.code is Code.FILE_CHANGED for finding in run.findings)
        kept = list(run.records("main", on_finding=lambda finding: None))
        assert all(record in BLOCKS for record in kept)


def test_damage_costs_a_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "GROUP_ROWS", 5)
    write_lines(tmp_path / LINES, exactly(BLOCKS))
    assert compact_records(tmp_path / LINES, tmp_path / COLUMNS, RUN, "main") is not None
    import pyarrow.parquet

    group = pyarrow.parquet.ParquetFile(tmp_path / COLUMNS).metadata.row_group(1)
    data = bytearray((tmp_path / COLUMNS).read_bytes())
    for column in range(group.num_columns):
        middle = group.column(column).data_page_offset + group.column(column).total_compressed_size // 2
        data[middle] ^= 0x55
    (tmp_path / COLUMNS).write_bytes(data)
    findings = []
    kept = [index for index, _ in compacted_records(tmp_path / COLUMNS, RUN, "main", findings.append)]
    assert kept == [*range(5), *range(10, 20)]
    assert [finding.code for finding in findings] == [Code.COMPACTED_RECORDS_DAMAGED]


def test_records_of_another_run_are_told(tmp_path: Path) -> None:
    compact_in(tmp_path, exactly(BLOCKS))
    findings = []
    assert list(compacted_records(tmp_path / COLUMNS, RUN + "0", "main", findings.append)) == []
    assert [finding.code for finding in findings] == [Code.COMPACTED_RECORDS_DAMAGED]


def test_lines_left_beside_a_seal_are_a_note(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "simulate", {}, compact=True)
    writer.record_many(BLOCKS)
    writer.flush()
    data = (writer.path / LINES).read_bytes()
    writer.seal()
    (writer.path / LINES).write_bytes(data)
    run = load_run(writer.path)
    assert run.state is State.SEALED
    assert [(finding.code, finding.severity) for finding in run.findings] == [(Code.LINES_LEFT_OVER, Severity.NOTE)]
    assert list(run.records()) == BLOCKS
    (writer.path / LINES).write_bytes(data + data)
    assert [finding.code for finding in load_run(writer.path).findings] == [Code.FILE_NOT_SEALED]


def test_a_seal_that_fails_after_compaction_leaves_an_open_run_and_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from caligo.store import files

    writer = RunWriter.create(tmp_path, "simulate", {}, compact=True)
    writer.record_many(BLOCKS)

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "put_whole", full)
        with pytest.raises(ResourceError):
            writer.seal()
    run = load_run(writer.path)
    assert (run.state, [finding.code for finding in run.findings]) == (State.OPEN, [Code.COMPACTION_UNFINISHED])
    assert list(run.records()) == BLOCKS
    writer.seal(compact=False)
    run = load_run(writer.path)
    assert (run.state, run.findings, run.record_counts) == (State.SEALED, (), {LINES: 20})


_KILLED = """
import os, signal, sys
from pathlib import Path
import pyarrow.parquet
from caligo.store import RunWriter

writer = RunWriter.create(Path(sys.argv[1]), "simulate", {}, compact=True)
writer.record_many([{"block": block, "x": block / 3} for block in range(50)])
left = int(sys.argv[2])

def count(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove", "os.chmod", "os.listdir"):
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

sys.addaudithook(count)
writer.seal()
"""


def test_a_kill_at_any_step_leaves_the_lines_or_the_seal(tmp_path: Path) -> None:
    states, step, ended = set(), 0, False
    while not ended:
        store = tmp_path / str(step)
        done = subprocess.run([sys.executable, "-c", _KILLED, str(store), str(step)], check=False)
        assert done.returncode in (0, -signal.SIGKILL)
        (path,) = (store / "runs").iterdir()
        run = load_run(path)
        assert run.state in (State.OPEN, State.SEALED), step
        assert all(finding.severity is Severity.NOTE for finding in run.findings), step
        assert len(list(run.records())) == 50, step
        states.add((run.state, *(finding.code for finding in run.findings)))
        ended = done.returncode == 0
        step += 3
    assert {state for state, *_ in states} == {State.OPEN, State.SEALED}


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sealed(tmp_path, compact=True)
    whole = builtins.__import__

    def missing(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return whole(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ResourceError, match=r"caligo\[parquet\]"):
        list(load_run(path).records())
    with pytest.raises(ResourceError, match=r"caligo\[parquet\]"):
        RunWriter.create(tmp_path, "simulate", {}, compact=True)
    assert load_run(path).state is State.SEALED
    (path / COLUMNS).write_bytes(b"PAR1")
    assert load_run(path).state is State.DAMAGED


def test_a_damaged_compacted_file_raises_where_nobody_listens(tmp_path: Path) -> None:
    path = sealed(tmp_path, compact=True)
    (path / COLUMNS).write_bytes(b"PAR1 is all that is left")
    with pytest.raises(StoreError, match="CAL-STORE-026"):
        list(load_run(path).records())


def test_the_largest_records_are_compacted_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = 1024 * 1024
    monkeypatch.setattr(compaction, "GROUP_BYTES", group)
    text = "x" * 256
    large = {"texts": [text] * 240, "block": 0}
    assert RECORD_LIMITS.size * 0.9 < len(encode_record(large)) <= RECORD_LIMITS.size
    count = 200
    salt, encoded = record_salt(RUN, "main"), encode_record(large)
    with open(tmp_path / LINES, "wb") as file:
        for index in range(count):
            file.write(frame_record(salt, index, encoded))
    import pyarrow.parquet  # its own start is not what is measured

    tracemalloc.start()
    assert compact_records(tmp_path / LINES, tmp_path / COLUMNS, RUN, "main") is not None
    seen = sum(1 for _ in compacted_records(tmp_path / COLUMNS, RUN, "main", lambda finding: None))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == count
    assert count * len(encoded) > 10 * group
    assert peak < 5 * group
    assert pyarrow.total_allocated_bytes() < 5 * group

"""The state of a job on disk is what specs/job-state.md says, byte by byte.

Covers: the test vectors of a shard and of a head, the tables of frame, head and account, the documents of a work
directory. Does not cover: what happens when a shard is torn or damaged (test_shards.py), whole jobs.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from itertools import pairwise
from pathlib import Path

import pytest

from caligo.jobs.accounting import _BLOCK
from caligo.jobs.reconcile_tasks import _GROUP
from caligo.jobs.shards import ShardReader, ShardWriter
from caligo.jobs.tasks import HEAD_BYTES, Figures, head_of, signature_of
from caligo.jobs.work_directory import WorkDirectory, shard_name

SPEC = (Path(__file__).resolve().parent.parent / "specs" / "job-state.md").read_text()
DIGEST = bytes(range(32))


def vectors() -> list[bytes]:
    """The hexadecimal dumps of the specification; every line has to continue the one before."""
    found = []
    for block in re.findall(r"```text\n(.*?)```", SPEC, flags=re.DOTALL):
        data = b""
        for line in block.splitlines():
            place, _, digits = line.partition("  ")
            assert int(place, 16) == len(data)
            data += bytes.fromhex(digits)
        found.append(data)
    return found


def rows_behind(words: str) -> list[tuple[int, str]]:
    """(offset, type) of each row of the table behind the paragraph that begins with these words."""
    table = SPEC[SPEC.index(words) :].split("\n\n")[1]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
    return [(int(row[0]), row[1]) for row in cells if row[0].isdigit()]


SIZES = {"4 bytes": 4, "8 bytes": 8, "u32": 4, "u64": 8}


def test_the_shard_of_the_test_vector_is_written_byte_by_byte(tmp_path: Path) -> None:
    shard, _ = vectors()
    with ShardWriter(tmp_path / "s", DIGEST) as writer:
        assert writer.append(5, bytes.fromhex("00112233"), b"body", [b"\x0d", b"\xf0\x01"]) == 64
        assert writer.append(6, b"", b"") == 115
    assert (tmp_path / "s").read_bytes() == shard


def test_the_shard_of_the_test_vector_is_read(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(vectors()[0])
    with ShardReader(tmp_path / "s", DIGEST) as reader:
        assert [(place.offset, place.task, place.head) for place in reader.places()] == [
            (64, 5, bytes.fromhex("00112233")),
            (115, 6, b""),
        ]
        frame = reader.read(64)
    assert (frame.body, bytes(frame.payload)) == (b"body", b"\x0d\xf0\x01")


def test_the_test_vector_is_a_shard_by_the_words_of_the_specification() -> None:
    """Read without caligo's reader."""
    shard, _ = vectors()
    assert shard[:32] == b"caligo shard 1\n" + bytes(17)
    assert shard[32:64] == DIGEST
    at, tasks = 64, []
    while at < len(shard):
        magic, zero, task, head, body, payload, crc, own = struct.unpack_from("<4sIQIIQII", shard, at)
        assert (magic, zero, own) == (b"CFRM", 0, zlib.crc32(shard[at : at + 36]))
        assert crc == zlib.crc32(shard[at + 40 : at + 40 + head + body])
        tasks.append(task)
        at += 40 + head + body + payload
    assert (at, tasks) == (len(shard), [5, 6])


@pytest.mark.parametrize("words", ["A *frame* is", "**Head**, for whoever"])
def test_the_rows_of_a_table_follow_one_another(words: str) -> None:
    rows = rows_behind(words)
    assert len(rows) >= 7
    for (offset, kind), (following, _) in pairwise(rows):
        assert offset + SIZES[kind] == following


def test_the_head_of_the_test_vector_is_written_byte_by_byte() -> None:
    _, head = vectors()
    figures = Figures(1024, 3, 4_194_304, 0, 4_194_304, 98_765_432_100)
    assert head_of(figures, [b"one", b"two"]) == head
    assert len(head) == HEAD_BYTES
    assert Figures.of_head(head) == figures
    assert signature_of(head) == int.from_bytes(head[48:], "little")


def test_bodies_have_the_sizes_that_are_specified() -> None:
    assert _GROUP.size == 8 + 4 + 1 + 16
    assert _BLOCK.itemsize == 46
    assert "B rows of 46 bytes" in SPEC


def test_a_work_directory_holds_the_files_that_are_specified(tmp_path: Path) -> None:
    work = WorkDirectory(tmp_path / "work")
    work.begin({"digest": "d"})
    work.write_plan({"sample": None})
    attempt = work.attempt({"ranks": 1})
    ShardWriter(attempt.path / shard_name(0), DIGEST).close()
    work.add_damaged(attempt.path / shard_name(0), 64)
    work.finish({})
    assert (tmp_path / "work").stat().st_mode & 0o777 == 0o700
    assert re.fullmatch(r"0001-[0-9a-f]{8}", attempt.name)
    held = sorted(path.relative_to(work.path).as_posix() for path in work.path.rglob("*") if path.is_file())
    assert held == [f"attempts/{attempt.name}/attempt.json", "damaged.jsonl", "done.json", "job.json", "plan.json"]
    for path in held:
        if path.endswith(".jsonl"):
            assert json.loads((work.path / path).read_text()).keys() == {"shard", "offset"}
            continue
        form = json.loads((work.path / path).read_text())["format"]
        assert f"`{form}`" in SPEC
        assert f"`{path.rpartition('/')[2]}`" in SPEC

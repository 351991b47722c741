"""Shards: a torn frame loses nothing before it, and nothing that is not whole is ever read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.errors import ResourceError, StoreError
from caligo.jobs.shards import ShardReader, ShardWriter

DIGEST = bytes(range(32))
frames = st.lists(
    st.tuples(st.integers(0, 2**40), st.binary(max_size=400), st.binary(max_size=50), st.binary(max_size=100)),
    max_size=6,
)


def written(path: Path, drawn: list[tuple[int, bytes, bytes, bytes]]) -> list[int]:
    with ShardWriter(path, DIGEST) as writer:
        return [writer.append(task, head, body, [payload[:7], payload[7:]]) for task, head, body, payload in drawn]


@settings(max_examples=60)
@given(frames)
def test_what_was_appended_is_read_back(tmp_path_factory: pytest.TempPathFactory, drawn: list) -> None:  # type: ignore[type-arg]
    path = tmp_path_factory.mktemp("shards") / "s"
    offsets = written(path, drawn)
    with ShardReader(path, DIGEST) as reader:
        places = list(reader.places())
        assert [(place.offset, place.task, place.head) for place in places] == [
            (offset, task, head) for offset, (task, head, _, _) in zip(offsets, drawn, strict=True)
        ]
        for offset, (task, head, body, payload) in zip(offsets, drawn, strict=True):
            frame = reader.read(offset)
            assert (frame.task, frame.head, frame.body, bytes(frame.payload)) == (task, head, body, payload)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_shard_cut_at_any_byte_keeps_every_whole_frame(tmp_path: Path) -> None:
    drawn = [(7, b"head", b"body", b"payload"), (8, b"h" * 300, b"", b""), (9, b"", b"b", b"p" * 40)]
    offsets = written(tmp_path / "whole", drawn)
    data = (tmp_path / "whole").read_bytes()
    ends = [*offsets[1:], len(data)]
    for size in range(len(data) + 1):
        (tmp_path / "cut").write_bytes(data[:size])
        with ShardReader(tmp_path / "cut", DIGEST) as reader:
            assert [place.task for place in reader.places()] == [
                task for (task, *_), end in zip(drawn, ends, strict=True) if end <= size
            ]


def test_no_changed_byte_of_a_header_head_or_body_is_taken_for_what_was_written(tmp_path: Path) -> None:
    offsets = written(tmp_path / "whole", [(7, b"head" * 9, b"body" * 5, b"payload"), (8, b"x", b"y", b"")])
    data = bytearray((tmp_path / "whole").read_bytes())
    for place in range(offsets[0], offsets[1] - len(b"payload")):
        changed = bytearray(data)
        changed[place] ^= 0x40
        (tmp_path / "changed").write_bytes(changed)
        with ShardReader(tmp_path / "changed", DIGEST) as reader, pytest.raises(StoreError, match="whole frame"):
            reader.read(offsets[0])


def test_the_shard_of_another_job_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "s", [(1, b"", b"", b"")])
    with pytest.raises(StoreError, match="another file"):
        ShardReader(tmp_path / "s", bytes(32))
    with pytest.raises(StoreError, match="exists"):
        ShardWriter(tmp_path / "s", DIGEST)
    with pytest.raises(StoreError, match="No such file"):
        ShardReader(tmp_path / "missing", DIGEST)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes writes short, then fail, as a full disk does."""
    program = (
        "import resource, signal, sys; from pathlib import Path; from caligo.jobs.shards import *;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "w = ShardWriter(Path(sys.argv[1]), bytes(range(32))); w.append(1, b'a', b'b', [b'c' * 50]);"
        "size = w.size_bytes; resource.setrlimit(resource.RLIMIT_FSIZE, (size + 60, resource.RLIM_INFINITY))\n"
        "try:\n    w.append(2, b'', b'', [b'd' * 100])\n"
        "except Exception as e:\n    print(type(e).__name__, w.size_bytes == size)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2); w.append(3, b'', b'', [b'e' * 9])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "s"], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.split() == [ResourceError.__name__, "True"]
    with ShardReader(tmp_path / "s", DIGEST) as reader:
        assert [place.task for place in reader.places()] == [1, 3]

"""Laws of key files in numbered parts (`qcrypto`, `ait`): the layout of specs/key-files.md, and nothing that only looks
like it.
"""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caligo.bits import pack, unpack
from caligo.errors import ConfigError, KeyFileError
from caligo.keys import (
    AitKeyReader,
    AitKeyWriter,
    AitRecord,
    QcryptoKeyReader,
    QcryptoKeyWriter,
    convert_key,
    create_key,
    inspect_key,
    open_key,
    open_pair,
)
from caligo.states import EXPORTABLE, KeyState

SPECIFICATION = Path(__file__).resolve().parent.parent / "specs" / "key-files.md"

in_one_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def random_bits(seed: int, length: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, length, dtype=np.uint8)


def packet(bits: np.ndarray, epoch: int, tag: int = 0x103, per_entry: int = 1) -> bytes:
    """A type-3 packet by the description in the specification, word by word."""
    words = []
    for at in range(0, len(bits), 32):
        chunk = "".join(map(str, bits[at : at + 32])).ljust(32, "0")
        words.append(int(chunk, 2))
    return struct.pack("<4I", tag, epoch, len(bits), per_entry) + struct.pack(f"<{len(words)}I", *words)


def record(
    data: bytes, key_id: int = 1, state: int = 2, disclosed: int = 0, rate: float = 0.0, **schemes: str
) -> bytes:
    head = struct.pack(">IBQ", key_id, state, disclosed) + struct.pack("<d", rate)
    for name in ("incoming", "outgoing"):
        text = schemes.get(name, "").encode()
        head += struct.pack(">Q", len(text)) + text
    return head + struct.pack(">Q", len(data)) + data


def vectors() -> list[dict[str, object]]:
    section = SPECIFICATION.read_text().split("### Test vectors", 1)[1]
    found = json.loads(re.search(r"```json\n(.*?)```", section, re.DOTALL)[1])  # type: ignore[index]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["name"])
def test_the_vectors_of_the_specification_are_read_and_written(tmp_path: Path, vector: dict[str, object]) -> None:
    path = tmp_path / "key"
    path.write_bytes(bytes.fromhex(str(vector["file"])))
    bits = np.array(list(map(int, str(vector["bits"]))), dtype=np.uint8)
    with open_key(path, format=str(vector["format"])) as reader:
        assert np.array_equal(unpack(reader.read_bits(0, reader.key_bits), reader.key_bits), bits)
    again = tmp_path / "again"
    if vector["format"] == "qcrypto":
        writer: QcryptoKeyWriter | AitKeyWriter = QcryptoKeyWriter(again, epoch=int(str(vector["number"])))
    else:
        writer = AitKeyWriter(
            again,
            record=AitRecord(
                int(str(vector["number"])),
                KeyState[str(vector["state"])],
                int(str(vector["disclosed_bits"])),
                float(str(vector["error_rate"])),
            ),
        )
    with writer:
        writer.append(pack(bits), bits.size)
    assert again.read_bytes() == path.read_bytes()


@in_one_directory
@given(
    seed=st.integers(0, 2**32),
    lengths=st.lists(st.integers(0, 100), min_size=1, max_size=6).filter(any),
    tag=st.sampled_from([0x3, 0x103]),
    data=st.data(),
)
def test_any_stretch_of_epochs_is_the_stretch_of_their_bits_in_a_file_and_in_a_directory(
    tmp_path: Path, seed: int, lengths: list[int], tag: int, data: st.DataObject
) -> None:
    rows = [random_bits(seed + i, length) for i, length in enumerate(lengths)]
    epochs = np.cumsum(data.draw(st.lists(st.integers(1, 1000), min_size=len(rows), max_size=len(rows))))
    directory = tmp_path / f"epochs-{seed}-{'-'.join(map(str, lengths))}-{tag}"
    directory.mkdir(exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    packets = [packet(row, int(epoch), tag) for row, epoch in zip(rows, epochs, strict=True)]
    (tmp_path / "file").write_bytes(b"".join(packets))
    for content, epoch in zip(packets, epochs, strict=True):
        (directory / f"{epoch:08x}").write_bytes(content)
    whole = np.concatenate(rows)
    for path in (tmp_path / "file", directory):
        with open_key(path, key_bits=whole.size) as reader:
            assert (reader.format, reader.key_bits) == ("qcrypto", whole.size)
            assert reader.size_bytes == sum(map(len, packets))
            start = data.draw(st.integers(0, whole.size))
            count = data.draw(st.integers(0, whole.size - start))
            assert np.array_equal(reader.read_bits(start, count), pack(whole[start : start + count]))


@in_one_directory
@given(
    pieces=st.lists(st.integers(1, 200), min_size=1, max_size=6),
    epoch_words=st.integers(1, 5),
    epoch=st.integers(0, 2**32 - 100),
)
def test_written_epochs_are_the_packets_of_the_specification(
    tmp_path: Path, pieces: list[int], epoch_words: int, epoch: int
) -> None:
    rows = [random_bits(i, length) for i, length in enumerate(pieces)]
    path = tmp_path / "key"
    with QcryptoKeyWriter(path, epoch=epoch, epoch_bits=32 * epoch_words) as writer:
        for row in rows:
            writer.append(pack(row), row.size)
    whole = np.concatenate(rows)
    cuts = [whole[at : at + 32 * epoch_words] for at in range(0, whole.size, 32 * epoch_words)]
    assert path.read_bytes() == b"".join(packet(cut, epoch + i) for i, cut in enumerate(cuts))


@in_one_directory
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(any),
    scheme=st.text(max_size=20),
    data=st.data(),
)
def test_any_stretch_of_records_is_the_stretch_of_their_bits(
    tmp_path: Path, sizes: list[int], scheme: str, data: st.DataObject
) -> None:
    keys = [np.random.default_rng(i).bytes(size) for i, size in enumerate(sizes)]
    path = tmp_path / "stream"
    path.write_bytes(
        b"".join(record(key, 7 * i, rate=0.02, disclosed=5, incoming=scheme) for i, key in enumerate(keys))
    )
    whole = unpack(np.frombuffer(b"".join(keys), dtype=np.uint8), 8 * sum(sizes))
    with AitKeyReader(path) as reader:
        assert (reader.key_bits, reader.state) == (whole.size, KeyState.SIFTED)
        assert reader.disclosed_bits == 5 * len(keys)
        assert reader.error_rate == pytest.approx(0.02)
        start = data.draw(st.integers(0, whole.size))
        count = data.draw(st.integers(0, whole.size - start))
        assert np.array_equal(reader.read_bits(start, count), pack(whole[start : start + count]))


def test_records_are_written_one_behind_the_other(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    with AitKeyWriter(path, record=AitRecord(3, KeyState.CONFIRMED, 17, 0.02)) as writer:
        writer.append(pack(random_bits(1, 80)), 80)
        writer.next_record(AitRecord(4, KeyState.UNCONFIRMED, 0, 0.03))
        writer.append(pack(random_bits(2, 9)), 9)
        writer.append(pack(random_bits(3, 7)), 7)
    second = np.concatenate((random_bits(2, 9), random_bits(3, 7)))
    assert path.read_bytes() == record(pack(random_bits(1, 80)).tobytes(), 3, 5, 17, 0.02) + record(
        pack(second).tobytes(), 4, 6, 0, 0.03
    )


GOOD = packet(random_bits(5, 40), 9)
KEY = bytes(range(10))
DAMAGED = [
    ("qcrypto", packet(random_bits(1, 40), 9, tag=0x107), "final key"),
    ("qcrypto", packet(random_bits(1, 40), 9, tag=0x03000000), "big-endian"),
    ("qcrypto", packet(random_bits(1, 40), 9, tag=0xDEADBEEF), "no tag at all"),
    ("qcrypto", packet(random_bits(1, 40), 9, per_entry=2), "1 bit per entry"),
    ("qcrypto", GOOD[:10], "truncated"),
    ("qcrypto", GOOD[:-1], "truncated"),
    ("qcrypto", GOOD[:-4], "truncated"),
    ("qcrypto", GOOD + b"\0", "tail"),
    ("qcrypto", GOOD + b"\0" * 16, "tag"),
    ("qcrypto", GOOD[:-4] + b"\1" + GOOD[-3:], "zeros behind"),
    ("qcrypto", GOOD + GOOD, "epoch after"),
    ("qcrypto", GOOD + packet(random_bits(1, 40), 10, tag=0x3), "do not mix"),
    ("qcrypto", packet(random_bits(1, 0), 9), "at least one bit"),
    ("qcrypto", struct.pack("<4I", 0x103, 1, 0xFFFFFFFF, 1), "truncated"),
    ("ait", record(KEY, state=0), "OTHER"),
    ("ait", record(KEY, state=10), "a state of 1 to 9"),
    ("ait", record(KEY, state=255), "a state of 1 to 9"),
    ("ait", record(KEY, rate=1.5), "error rate"),
    ("ait", record(KEY, rate=float("nan")), "error rate"),
    ("ait", record(KEY, rate=struct.unpack("<d", struct.pack(">d", 0.5))[0]), "little-endian"),
    ("ait", record(KEY)[:-1], "truncated"),
    ("ait", record(KEY)[:20], "truncated"),
    ("ait", record(KEY)[:40], "the end of the file"),
    ("ait", record(KEY) + b"\0", "truncated"),
    ("ait", record(KEY) + record(KEY), "each key id once"),
    ("ait", record(KEY) + record(KEY, key_id=2, state=3), "one state"),
    ("ait", struct.pack(">IBQQdQQQ", 1, 2, 0, 0, 0.0, 0, 0, len(KEY)) + KEY, "truncated"),  # the earlier layout
    ("ait", record(b""), "at least one bit"),
    ("ait", record(KEY, incoming="x" * 4097), "at most 4096"),
    ("ait", struct.pack(">IBQ", 1, 2, 0) + bytes(8) + b"\xff" * 8 + bytes(30), "at most 4096"),
    ("ait", record(KEY)[:-18] + b"\x7f" * 8 + KEY, "truncated"),
    ("ait", struct.pack(">IQ", 1, 60) + b'<?xml version="1.0" encoding="utf-8"?>' + bytes(60), "XML"),
]


@pytest.mark.parametrize(("kind", "content", "said"), DAMAGED)
def test_what_only_looks_like_the_format_is_refused_with_a_remedy(
    tmp_path: Path, kind: str, content: bytes, said: str
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=re.escape(said)) as caught:
        open_key(path, format=kind)
    assert re.search(r"expected .*, got .*; .", str(caught.value))


@in_one_directory
@given(kind=st.sampled_from(["qcrypto", "ait"]), content=st.binary(min_size=1, max_size=120))
def test_any_other_file_is_refused_not_crashed_on(tmp_path: Path, kind: str, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(KeyFileError):
        open_key(path, format=kind)


@pytest.mark.parametrize("kind", ["qcrypto", "ait"])
def test_a_key_of_another_format_is_refused_without_a_bit_of_it(tmp_path: Path, kind: str) -> None:
    """Random bytes fail at one of a few fields, and the refusal says which, not what they hold."""
    path, said = tmp_path / "key", set()
    for seed in range(400):
        path.write_bytes(random_bits(seed, 4000).tobytes())
        with pytest.raises(KeyFileError) as caught:
            open_key(path, format=kind)
        said.add((str(caught.value), repr(sorted(caught.value.fields.items()))))
    assert len(said) <= 4


@in_one_directory
@given(kind=st.sampled_from(["qcrypto", "ait"]), place=st.integers(0, 54), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_changes_what_it_says(tmp_path: Path, kind: str, place: int, bit: int) -> None:
    content = bytearray(GOOD if kind == "qcrypto" else record(KEY, key_id=2**31))
    content[place % len(content)] ^= 1 << bit
    path = tmp_path / "key"
    path.write_bytes(content)
    try:
        with open_key(path, format=kind) as reader:
            reader.read_bits(0, reader.key_bits)
    except KeyFileError:
        pass


def test_a_directory_of_epochs_holds_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="empty directory"):
        QcryptoKeyReader(tmp_path)
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / "0000000a").write_bytes(packet(random_bits(1, 40), 10))
    assert QcryptoKeyReader(tmp_path).key_bits == 40
    (tmp_path / "0000000b").write_bytes(packet(random_bits(1, 40), 12))
    with pytest.raises(KeyFileError, match="of epoch 0000000b"):
        QcryptoKeyReader(tmp_path)
    (tmp_path / "0000000b").rename(tmp_path / "notes.txt")
    with pytest.raises(KeyFileError, match=r"notes\.txt"):
        QcryptoKeyReader(tmp_path)


def test_a_pair_has_the_same_epochs(tmp_path: Path) -> None:
    (tmp_path / "alice").write_bytes(packet(random_bits(1, 40), 9) + packet(random_bits(2, 24), 10))
    (tmp_path / "bob").write_bytes(packet(random_bits(1, 40), 9) + packet(random_bits(2, 24), 11))
    (tmp_path / "short").write_bytes(packet(random_bits(1, 40), 9))
    (tmp_path / "shifted").write_bytes(packet(random_bits(1, 41), 9) + packet(random_bits(2, 23), 10))
    for other in ("bob", "short", "shifted"):
        with pytest.raises(KeyFileError, match="the same epochs"):
            open_pair(tmp_path / "alice", tmp_path / other)
    open_pair(tmp_path / "alice", tmp_path / "alice").close()


@pytest.mark.parametrize("state", sorted(set(KeyState) - EXPORTABLE))
def test_no_final_key_is_ever_written(tmp_path: Path, state: KeyState) -> None:
    with pytest.raises(ConfigError, match="never writes that they are"):
        create_key(tmp_path / "key", format="ait", state=state)
    with AitKeyWriter(tmp_path / "begun") as writer:
        writer.append(pack(random_bits(1, 8)), 8)
        with pytest.raises(ConfigError):
            writer.next_record(AitRecord(2, state))
    (tmp_path / "final").write_bytes(record(KEY, state=int(state)))
    if state is not KeyState.OTHER:
        with pytest.raises(ConfigError, match="no final keys"):
            convert_key(tmp_path / "final", tmp_path / "key", format="ait")
        assert "only sifted keys" in inspect_key(tmp_path / "final", format="ait").warnings[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "final"]


def test_a_record_of_no_whole_bytes_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="multiple of 8"), AitKeyWriter(tmp_path / "key") as writer:
        writer.append(pack(random_bits(1, 9)), 9)
    assert list(tmp_path.iterdir()) == []


@in_one_directory
@given(
    route=st.lists(st.sampled_from(["packed", "npy", "qcrypto", "ait"]), min_size=1, max_size=5),
    size=st.integers(1, 60),
)
def test_a_key_survives_any_way_through_the_formats(tmp_path: Path, route: list[str], size: int) -> None:
    row = random_bits(size, 8 * size)
    source = tmp_path / "start"
    source.write_bytes(pack(row).tobytes())
    previous = "packed"
    for step, kind in enumerate(route):
        target = tmp_path / f"step{step}"
        made = convert_key(source, target, format=previous, target_format=kind, overwrite=True)
        assert (made.target_format, made.key_bits) == (kind, row.size)
        source, previous = target, kind
    with open_key(source, format=previous) as reader:
        assert np.array_equal(reader.read_bits(0, row.size), pack(row))


def test_a_reader_shows_neither_bits_nor_authentication_keys(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    path.write_bytes(record(KEY, incoming="evhash-96:053f37b4f59af505c42ba169"))
    with AitKeyReader(path) as reader:
        assert "053f37" not in repr(reader) + repr(reader.records)

"""Laws of key files: any window of any format is the window of the key, and a file is whole or absent."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from caligo import keys
from caligo.bits import pack, unpack
from caligo.errors import CaligoError, ConfigError, KeyFileError, ResourceError, ShapeError
from caligo.keys import create_key, open_key, open_pair, simulate_pair
from caligo.keys.protocols import BitOrder

KINDS: list[tuple[str, BitOrder]] = [("packed", "little"), ("packed", "big"), ("npy", "little")]

in_one_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def random_bits(seed: int, length: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 2, length, dtype=np.uint8)


def write(path: Path, row: NDArray[np.uint8], kind: str, bit_order: BitOrder) -> None:
    with create_key(path, format=kind, bit_order=bit_order) as writer:
        writer.append(pack(row), row.size)


@in_one_directory
@pytest.mark.parametrize(("kind", "bit_order"), KINDS)
@given(seed=st.integers(0, 2**32), pieces=st.lists(st.integers(1, 200), min_size=1, max_size=8), data=st.data())
def test_any_stretch_of_a_written_key_reads_back(
    tmp_path: Path, kind: str, bit_order: BitOrder, seed: int, pieces: list[int], data: st.DataObject
) -> None:
    path = tmp_path / "key"
    rows = [random_bits(seed + i, length) for i, length in enumerate(pieces)]
    with create_key(path, format=kind, bit_order=bit_order) as writer:
        for row in rows:
            writer.append(pack(row), row.size)
    whole = np.concatenate(rows)
    assert writer.key_bits == whole.size
    with open_key(path, format=kind, bit_order=bit_order, key_bits=whole.size) as reader:
        assert reader.key_bits == whole.size
        start = data.draw(st.integers(0, whole.size))
        count = data.draw(st.integers(0, whole.size - start))
        assert np.array_equal(reader.read_bits(start, count), pack(whole[start : start + count]))


def test_the_formats_are_numpys(tmp_path: Path) -> None:
    row = random_bits(1, 1003)
    for name, bit_order in (("little", "little"), ("big", "big")):
        write(tmp_path / name, row, "packed", bit_order)  # type: ignore[arg-type]
        assert (tmp_path / name).read_bytes() == np.packbits(row, bitorder=bit_order).tobytes()  # type: ignore[arg-type]
    write(tmp_path / "key.npy", row, "npy", "little")
    loaded = np.load(tmp_path / "key.npy", allow_pickle=False)
    assert loaded.dtype == np.uint8
    assert np.array_equal(loaded, row)


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_])
def test_npy_files_are_known_by_name_or_content(tmp_path: Path, dtype: type[Any]) -> None:
    row = random_bits(2, 777)
    np.save(tmp_path / "key.npy", row.astype(dtype))
    (tmp_path / "other").write_bytes((tmp_path / "key.npy").read_bytes())
    for name in ("key.npy", "other"):
        with open_key(tmp_path / name) as reader:
            assert reader.format == "npy"
            assert np.array_equal(reader.read_bits(3, 700), pack(row[3:703]))


def test_npy_windows_longer_than_the_scratch_memory_read_alike(tmp_path: Path) -> None:
    row = random_bits(3, (1 << 20) + 4321)
    np.save(tmp_path / "key.npy", row)
    with open_key(tmp_path / "key.npy") as reader:
        assert np.array_equal(reader.read_bits(5, row.size - 5), pack(row[5:]))


def test_unused_bits_of_the_last_byte_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xff")
    with open_key(tmp_path / "key", key_bits=11) as reader:
        assert reader.read_bits(0, 11).tolist() == [0xFF, 0x07]
    with open_key(tmp_path / "key", key_bits=11, bit_order="big") as reader:
        assert reader.read_bits(4, 7).tolist() == [0x7F]


def npy(tmp_path: Path, array: NDArray[Any], **options: Any) -> Path:
    np.save(tmp_path / "bad.npy", array, **options)
    return tmp_path / "bad.npy"


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(8, np.int64),
        np.zeros(8, np.float32),
        np.zeros((2, 4), np.uint8),
        np.zeros((), np.uint8),
        np.zeros(0, np.uint8),
        np.asfortranarray(np.zeros((3, 3), np.uint8)),
        np.array([0, 1, 2], np.uint8),
        np.array([None, 1], dtype=object),
        np.zeros(2, dtype=[("a", np.uint8)]),
    ],
    ids=["int64", "float", "matrix", "scalar", "empty", "fortran", "not binary", "pickle", "structured"],
)
def test_npy_files_of_anything_else_are_refused(tmp_path: Path, array: NDArray[Any]) -> None:
    with pytest.raises(KeyFileError) as caught:
        open_key(npy(tmp_path, array, allow_pickle=True))
    assert "expected" in caught.value.message
    assert ";" in caught.value.message


@pytest.mark.parametrize("keep", [0.0, 3, 9, 60, 127, 130, 200, 2000])
def test_damaged_npy_files_are_refused(tmp_path: Path, keep: int) -> None:
    path = npy(tmp_path, random_bits(4, 1000))
    content = path.read_bytes()
    path.write_bytes((content + bytes(2000))[: int(keep)])
    with pytest.raises(KeyFileError):
        open_key(path)
    path.write_bytes(bytes([*content[:20], 0xFF, *content[21:]]))
    with pytest.raises(KeyFileError):
        open_key(path)


@in_one_directory
@given(st.data())
def test_a_npy_header_damaged_anywhere_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "key.npy"
    np.save(path, np.ones(300, dtype=np.uint8))
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, 127))] = data.draw(st.sampled_from(b"()[]{}',:0123|uibOV<>= \n\x00\xff\x93"))
    path.write_bytes(raw)
    with contextlib.suppress(KeyFileError), open_key(path) as reader:
        assert reader.read_bits(0, reader.key_bits).size


def test_values_deep_in_a_npy_file_are_checked_when_they_are_read(tmp_path: Path) -> None:
    row = random_bits(5, 100_000)
    row[70_000] = 7
    with open_key(npy(tmp_path, row)) as reader:
        reader.read_bits(0, 70_000)
        with pytest.raises(KeyFileError, match="0 and 1"):
            reader.read_bits(69_999, 10)


def test_what_is_no_file_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_bytes(b"1")
    for name in ("missing", "empty", ".", "fifo", "loop", "file/below", "nul\0"):
        with pytest.raises(KeyFileError) as caught:
            open_key(f"{tmp_path}/{name}")
        assert ";" in caught.value.message
    with pytest.raises(KeyFileError):
        open_key("/dev/zero")


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the error the system gives; root may read everything."""
    (tmp_path / "key").write_bytes(b"12")
    monkeypatch.setattr(os, "open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(errno.EACCES, "denied")))
    with pytest.raises(KeyFileError, match="permissions"):
        open_key(tmp_path / "key")


@pytest.mark.parametrize("key_bits", [1, 8, 16, 25, 1000])
def test_a_length_that_does_not_fit_the_file_is_refused(tmp_path: Path, key_bits: int) -> None:
    (tmp_path / "key").write_bytes(b"123")
    with pytest.raises(KeyFileError) as caught:
        open_key(tmp_path / "key", key_bits=key_bits)
    assert caught.value.fields["got_bytes"] == 3
    np.save(tmp_path / "key.npy", random_bits(1, 24))
    with pytest.raises(KeyFileError):
        open_key(tmp_path / "key.npy", key_bits=key_bits)


def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"123")
    for options in ({"format": "hdf5"}, {"bit_order": "middle"}, {"key_bits": 0}, {"key_bits": -3}):
        with pytest.raises(ConfigError):
            open_key(tmp_path / "key", **options)  # type: ignore[arg-type]
    with open_key(tmp_path / "key") as reader:
        with pytest.raises(ShapeError):
            reader.read_bits(20, 5)
        with pytest.raises(ConfigError):
            reader.read_bits(-1, 5)
        assert reader.read_bits(24, 0).size == 0
    with pytest.raises(KeyFileError, match="closed"):
        reader.read_bits(0, 1)


def test_a_file_that_shrinks_while_it_is_read_is_found(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(bytes(100))
    with open_key(path) as reader:
        os.truncate(path, 50)
        assert reader.read_bits(0, 400).size == 50
        with pytest.raises(KeyFileError, match="truncated"):
            reader.read_bits(0, 800)


@pytest.mark.parametrize(("kind", "bit_order"), KINDS)
def test_a_key_file_is_private_and_replaces_the_old_one_whole(tmp_path: Path, kind: str, bit_order: BitOrder) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    os.chmod(path, 0o644)
    old_umask = os.umask(0)
    try:
        with create_key(path, format=kind, bit_order=bit_order) as writer:
            writer.append(pack(random_bits(1, 99)), 99)
            assert path.read_bytes() == b"old"
    finally:
        os.umask(old_umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
@pytest.mark.parametrize("kind", ["packed", "npy"])
def test_an_interrupted_key_file_leaves_nothing_behind(tmp_path: Path, kind: str, error: type[BaseException]) -> None:
    with pytest.raises(error), create_key(tmp_path / "key", format=kind) as writer:  # noqa: PT012
        writer.append(pack(random_bits(1, 99)), 99)
        raise error
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["packed", "npy"])
def test_a_full_disk_is_a_resource_error_and_leaves_nothing_behind(tmp_path: Path, kind: str) -> None:
    """A limit on file size fails as a full disk does, in a process of its own."""
    code = (
        "import resource, signal, sys, numpy as np\n"
        "from caligo.errors import ResourceError\n"
        "from caligo.keys import create_key\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
        "try:\n"
        f"    with create_key(sys.argv[1], format={kind!r}) as writer:\n"
        "        for _ in range(100):\n"
        "            writer.append(np.zeros(1 << 15, np.uint8), 1 << 18)\n"
        "except ResourceError as error:\n"
        "    print('refused:', error.fields['errno'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "key")], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"refused: {errno.EFBIG}\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["packed", "npy"])
def test_a_settled_key_is_whole_on_disk_before_it_has_its_name(tmp_path: Path, kind: str) -> None:
    with create_key(tmp_path / "key", format=kind) as writer:
        writer.append(pack(random_bits(1, 99)), 99)
        writer.settle()
        writer.settle()
        (partial,) = tmp_path.iterdir()
        whole = partial.read_bytes()
        with pytest.raises(ConfigError):
            writer.append(pack(random_bits(1, 8)), 8)
    assert os.listdir(tmp_path) == ["key"]
    assert (tmp_path / "key").read_bytes() == whole


@pytest.mark.parametrize("full", ["alice.bin", "bob.bin"])
def test_a_disk_too_full_for_one_key_of_a_pair_leaves_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    synchronise = os.fsync

    def fail(fd: int) -> None:
        if full in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        synchronise(fd)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ResourceError, match=full):
        simulate_pair(tmp_path, key_bits=1000, qber=0.02, seed=1)
    assert os.listdir(tmp_path) == []


def test_places_where_no_key_can_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    for name in ("missing/key", "directory", "file/key"):
        with pytest.raises(KeyFileError):
            create_key(tmp_path / name)
    with pytest.raises(ConfigError):
        create_key(tmp_path / "key", format="hdf5")
    with pytest.raises(ConfigError):
        create_key(tmp_path / "key", bit_order="middle")  # type: ignore[arg-type]
    assert sorted(os.listdir(tmp_path)) == ["directory", "file"]


def test_a_failed_system_call_is_explained() -> None:
    full = keys.files.explain(OSError(errno.ENOSPC, "x"), Path("k"), "write")
    assert isinstance(full, ResourceError)
    for number in (errno.EROFS, errno.EACCES, errno.EIO, 9999):
        explained = keys.files.explain(OSError(number, "x"), Path("k"), "write")
        assert isinstance(explained, KeyFileError)
        assert explained.fields == {"path": "k", "errno": number}


def test_a_pair_has_one_length(tmp_path: Path) -> None:
    write(tmp_path / "a", random_bits(1, 800), "packed", "little")
    write(tmp_path / "b", random_bits(2, 808), "packed", "little")
    write(tmp_path / "c.npy", random_bits(3, 800), "npy", "little")
    with pytest.raises(ShapeError) as caught:
        open_pair(tmp_path / "a", tmp_path / "b")
    assert (caught.value.fields["alice_bits"], caught.value.fields["bob_bits"]) == (800, 808)
    with open_pair(tmp_path / "a", tmp_path / "c.npy") as pair:
        assert pair.key_bits == 800
        alice, bob = pair.read_bits(100, 50)
        assert np.array_equal(unpack(alice, 50), random_bits(1, 800)[100:150])
        assert np.array_equal(unpack(bob, 50), random_bits(3, 800)[100:150])


def test_no_descriptor_outlives_a_refusal(tmp_path: Path) -> None:
    write(tmp_path / "a", random_bits(1, 800), "packed", "little")
    np.save(tmp_path / "b.npy", np.zeros((2, 2)))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(CaligoError):
            open_pair(tmp_path / "a", tmp_path / "b.npy")
        with pytest.raises(CaligoError):
            open_key(tmp_path / "a", key_bits=7)
    assert len(os.listdir("/proc/self/fd")) == before


def test_output_directories_are_made_private_and_taken_only_when_empty(tmp_path: Path) -> None:
    made = keys.prepare_output_directory(tmp_path / "deep" / "out", force=False)
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert keys.prepare_output_directory(made, force=False) == made
    (made / "alice.bin").touch()
    with pytest.raises(ConfigError, match="--force"):
        keys.prepare_output_directory(made, force=False)
    assert keys.prepare_output_directory(made, force=True) == made
    for name in ("deep/out/alice.bin", "deep/out/alice.bin/below"):
        with pytest.raises(KeyFileError):
            keys.prepare_output_directory(tmp_path / name, force=True)


def test_key_bits_appear_in_no_repr_and_no_error(tmp_path: Path) -> None:
    row = random_bits(6, 64)
    write(tmp_path / "key", row, "packed", "little")
    with open_key(tmp_path / "key") as reader:
        assert repr(reader) == f"PackedKeyReader({str(tmp_path / 'key')!r}, key_bits=64)"
    writer = create_key(tmp_path / "other")
    writer.append(pack(row), 64)
    assert repr(writer) == f"PackedKeyWriter({str(tmp_path / 'other')!r}, key_bits=64)"
    writer.abort()
    writer.abort()
    assert os.listdir(tmp_path) == ["key"]


def test_a_key_of_ten_thousand_million_bits_is_read_in_little_memory(tmp_path: Path) -> None:
    """A sparse file, under a limit on address space that leaves no room to load or map it."""
    path = tmp_path / "key"
    with path.open("wb") as file:
        file.truncate(10**10 // 8)
    code = (
        "import resource, sys\n"
        "from caligo.keys import open_key\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)\n"
        "with open_key(sys.argv[1]) as reader:\n"
        "    assert reader.key_bits == 10**10\n"
        "    for start in range(1, 10**10 - (1 << 26), 1 << 30):\n"
        "        assert not reader.read_bits(start, 1 << 26).any()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)

"""Laws of keys longer than memory: comparing, sampling, and what remains, whatever the window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from caligo.bits import pack, unpack
from caligo.errors import ShapeError
from caligo.keys import RemainingKey, count_differing_bits, create_key, open_key, read_positions

in_one_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(path: Path, seed: int, length: int) -> NDArray[np.uint8]:
    row = np.random.default_rng(seed).integers(0, 2, length, dtype=np.uint8)
    with create_key(path) as writer:
        writer.append(pack(row), length)
    return row


@in_one_directory
@given(st.integers(0, 2**32), st.integers(1, 3000), st.integers(1, 700))
def test_differing_bits_are_counted_whatever_the_window(tmp_path: Path, seed: int, length: int, window: int) -> None:
    alice, bob = written(tmp_path / "a", seed, length), written(tmp_path / "b", seed + 1, length)
    seen: list[int] = []
    with open_key(tmp_path / "a", key_bits=length) as a, open_key(tmp_path / "b", key_bits=length) as b:
        assert count_differing_bits(a, b, window_bits=window, progress=seen.append) == int((alice != bob).sum())
    assert sum(seen) == length


@in_one_directory
@given(st.integers(0, 2**32), st.integers(1, 2000), st.floats(0, 1), st.integers(1, 500), st.data())
def test_a_key_is_its_sampled_and_its_remaining_bits(
    tmp_path: Path, seed: int, length: int, share: float, window: int, data: st.DataObject
) -> None:
    row = written(tmp_path / "key", seed, length)
    mask = np.random.default_rng(seed).random(length) < share
    mask[int(np.random.default_rng(seed).integers(length))] = False
    positions, rest = np.flatnonzero(mask), row[~mask]
    with open_key(tmp_path / "key", key_bits=length) as reader:
        sampled = read_positions(reader, positions, window_bits=window)
        assert np.array_equal(unpack(sampled, positions.size), row[mask])
        remaining = RemainingKey(reader, positions)
        assert remaining.key_bits == rest.size
        start = data.draw(st.integers(0, rest.size))
        count = data.draw(st.integers(0, rest.size - start))
        assert np.array_equal(remaining.read_bits(start, count), pack(rest[start : start + count]))
        with pytest.raises(ShapeError):
            remaining.read_bits(start, rest.size - start + 1)


def test_positions_that_do_not_fit_the_key_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "key", 1, 16)
    written(tmp_path / "longer", 1, 24)
    with open_key(tmp_path / "key") as reader, open_key(tmp_path / "longer") as longer:
        for wrong in ([16], [-1], [3, 3], [4, 3], [[1, 2]]):
            with pytest.raises(ShapeError):
                read_positions(reader, np.array(wrong))
            with pytest.raises(ShapeError):
                RemainingKey(reader, np.array(wrong))
        with pytest.raises(ShapeError):
            RemainingKey(reader, np.arange(16))
        with pytest.raises(ShapeError):
            count_differing_bits(reader, longer)
        with RemainingKey(reader, np.array([2])) as remaining:
            assert (remaining.path, remaining.format) == (reader.path, "packed")
            assert "key_bits=15" in repr(remaining)

"""Laws of packed bits, held against the obvious implementation on unpacked ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from caligo import bits
from caligo.errors import ConfigError, ShapeError

LENGTHS = st.one_of(st.integers(0, 300), st.sampled_from((1023, 1024, 1025, 4099)))


def random_row(seed: int, length: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 2, length, dtype=np.uint8)


@st.composite
def rows(draw: st.DrawFn) -> NDArray[np.uint8]:
    return random_row(draw(st.integers(0, 2**32)), draw(LENGTHS))


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows so small that short rows straddle many of them."""
    monkeypatch.setattr(bits, "WINDOW_BITS", 64)
    monkeypatch.setattr(bits, "_JOIN_BYTES", 3)


@given(rows())
def test_packing_is_numpys_little_order_and_unpacking_undoes_it(row: NDArray[np.uint8]) -> None:
    packed = bits.pack(row)
    assert packed.size == bits.packed_bytes(row.size)
    assert packed.tobytes() == np.packbits(row, bitorder="little").tobytes()
    assert np.array_equal(bits.unpack(packed, row.size), row)
    assert bits.count_ones(packed) == int(row.sum())
    bits.require_packed(packed, row.size, "row")


@given(st.integers(0, 2**32), LENGTHS, st.data())
def test_a_slice_is_the_slice_of_the_unpacked_row(seed: int, length: int, data: st.DataObject) -> None:
    row = random_row(seed, length)
    start = data.draw(st.integers(0, length))
    count = data.draw(st.integers(0, length - start))
    cut = bits.slice_bits(bits.pack(row), start, count)
    bits.require_packed(cut, count, "cut")
    assert np.array_equal(bits.unpack(cut, count), row[start : start + count])


@given(st.integers(0, 2**32), st.integers(0, 9), st.integers(0, 70), st.integers(0, 20))
def test_rows_are_cut_one_after_the_other_and_padded(seed: int, count: int, row_bits: int, start: int) -> None:
    row = random_row(seed, start + count * row_bits + 5)
    row_bytes = bits.packed_bytes(row_bits) + 2
    batch = bits.slice_rows(bits.pack(row), start, row_bits, count, row_bytes)
    assert batch.shape == (count, row_bytes)
    expected = np.zeros((count, 8 * row_bytes), dtype=np.uint8)
    expected[:, :row_bits] = row[start : start + count * row_bits].reshape(count, row_bits)
    assert np.array_equal(bits.unpack(batch, 8 * row_bytes), expected)


@given(st.integers(0, 2**32), st.lists(LENGTHS, max_size=12), st.booleans())
def test_joining_rows_is_concatenation(seed: int, lengths: list[int], into_a_file: bool) -> None:
    pieces = [random_row(seed + i, length) for i, length in enumerate(lengths)]
    sink = io.BytesIO() if into_a_file else None
    writer = bits.BitWriter(sink)
    for piece in pieces:
        garbage = np.append(bits.pack(piece), np.uint8(0xFF))
        if piece.size % 8:
            garbage[-2] |= np.uint8(0xFF << piece.size % 8 & 0xFF)
        writer.append(garbage, piece.size)
    writer.finish()
    joined = sink.getvalue() if sink is not None else writer.getvalue()
    expected = np.concatenate([np.zeros(0, np.uint8), *pieces])
    assert writer.bits == expected.size
    assert joined == np.packbits(expected, bitorder="little").tobytes()


@given(st.integers(0, 2**32), st.integers(0, 6), st.integers(0, 70))
def test_joining_a_batch_is_joining_its_rows(seed: int, count: int, row_bits: int) -> None:
    batch = random_row(seed, count * row_bits).reshape(count, row_bits)
    writer = bits.BitWriter()
    writer.append(np.ones(1, np.uint8), 3)
    writer.append(bits.pack(batch) if row_bits else np.zeros((count, 0), np.uint8), row_bits)
    assert writer.getvalue() == np.packbits(np.append([1, 0, 0], batch.reshape(-1)), bitorder="little").tobytes()


@given(st.integers(0, 2**32), LENGTHS, st.floats(0, 1))
def test_removing_and_selecting_are_the_two_halves_of_a_row(seed: int, length: int, share: float) -> None:
    row = random_row(seed, length)
    mask = (np.random.default_rng(seed + 1).random(length) < share).astype(np.uint8)
    packed, positions = bits.pack(row), np.flatnonzero(mask)
    kept = bits.remove_positions(packed, length, positions)
    taken = bits.select_bits(packed, bits.pack(mask), length)
    assert np.array_equal(bits.unpack(kept, length - positions.size), row[mask == 0])
    assert np.array_equal(bits.unpack(taken, positions.size), row[mask == 1])
    assert np.array_equal(taken, bits.take_bits(packed, positions))
    spread = bits.spread_bits(taken, bits.pack(mask), length)
    assert np.array_equal(bits.unpack(spread, length), row & mask)


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 200, 1000])
def test_no_law_depends_on_the_window(length: int) -> None:
    row, other = random_row(1, length), random_row(2, length)
    mask = random_row(3, length)
    packed = bits.pack(row)
    assert np.array_equal(
        bits.unpack(bits.remove_positions(packed, length, np.flatnonzero(mask)), int((mask == 0).sum())), row[mask == 0]
    )
    assert np.array_equal(
        bits.unpack(bits.select_bits(packed, bits.pack(mask), length), int(mask.sum())), row[mask == 1]
    )
    taken = bits.select_bits(packed, bits.pack(mask), length)
    assert np.array_equal(bits.unpack(bits.spread_bits(taken, bits.pack(mask), length), length), row & mask)
    assert bits.hamming_distance(packed, bits.pack(other)) == int((row != other).sum())
    writer = bits.BitWriter()
    writer.append(packed, length)
    writer.append(bits.pack(other), length)
    assert writer.getvalue() == np.packbits(np.concatenate([row, other]), bitorder="little").tobytes()


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 70))
def test_distance_counts_differing_bits_of_whole_batches(seed: int, count: int, row_bits: int) -> None:
    a = random_row(seed, count * row_bits).reshape(count, row_bits)
    b = random_row(seed + 1, count * row_bits).reshape(count, row_bits)
    assert bits.hamming_distance(bits.pack(a), bits.pack(b)) == int((a != b).sum())
    assert bits.count_ones(bits.pack(a)[::-1, ::-1]) == int(a.sum())


GOOD = np.array([0xFF, 0x03], dtype=np.uint8)


@pytest.mark.parametrize(
    "wrong",
    [
        [0xFF, 0x03],
        GOOD.astype(np.int64),
        GOOD.astype(np.bool_),
        GOOD.reshape(1, 2),
        GOOD[:1],
        np.append(GOOD, GOOD)[::2],
        np.array([0xFF, 0x07], dtype=np.uint8),
    ],
    ids=["a list", "int64", "bool", "two axes", "too short", "strided", "stray padding"],
)
def test_the_boundary_refuses_every_other_array(wrong: object) -> None:
    with pytest.raises(ShapeError) as caught:
        bits.require_packed(wrong, 10, "alice")
    assert caught.value.message.startswith("alice: expected ")
    assert "got" in caught.value.message
    assert caught.value.fields["what"] == "alice"


def test_the_boundary_passes_what_is_right() -> None:
    assert bits.require_packed(GOOD, 10, "alice") is GOOD
    batch = np.zeros((0, 2), np.uint8)
    assert bits.require_packed(batch, 10, "batch", axes=2) is batch
    with pytest.raises(ShapeError):
        bits.require_packed(GOOD, 10, "batch", axes=2)


@pytest.mark.parametrize(
    "wrong",
    [
        [0, 1],
        np.array([0.0, 1.0]),
        np.array([0, 1], dtype=np.int8),
        np.array(1, dtype=np.uint8),
        np.array([0, 2], dtype=np.uint8),
        np.array([0, 1, 0, 1], dtype=np.uint8)[::2],
    ],
    ids=["a list", "float", "int8", "scalar", "not binary", "strided"],
)
def test_unpacked_bits_are_checked_likewise(wrong: object) -> None:
    with pytest.raises(ShapeError):
        bits.require_bits(wrong, "bits")


def test_cuts_and_positions_out_of_range_are_refused() -> None:
    with pytest.raises(ShapeError):
        bits.slice_bits(GOOD, 10, 7)
    with pytest.raises(ConfigError):
        bits.slice_bits(GOOD, -1, 3)
    with pytest.raises(ConfigError):
        bits.slice_rows(GOOD, 0, 9, 1, row_bytes=1)
    with pytest.raises(ShapeError):
        bits.slice_rows(GOOD, 0, 9, 2)
    for positions in ([10], [-1], [3, 3], [4, 3]):
        with pytest.raises(ShapeError):
            bits.remove_positions(GOOD, 10, np.array(positions))
    for kept in (np.zeros(2, np.uint8), np.array([8], np.uint8)):
        with pytest.raises(ShapeError):
            bits.spread_bits(kept, np.array([7], np.uint8), 8)
    with pytest.raises(ShapeError):
        bits.hamming_distance(GOOD, GOOD[:1])
    with pytest.raises(ShapeError):
        bits.BitWriter().append(GOOD, 17)


def test_a_finished_writer_takes_nothing_more_and_shows_no_bits() -> None:
    writer = bits.BitWriter()
    writer.append(GOOD, 10)
    assert writer.getvalue() == GOOD.tobytes() == writer.getvalue()
    assert repr(writer) == "BitWriter(bits=10)"
    with pytest.raises(ConfigError):
        writer.append(GOOD, 1)
    with pytest.raises(ConfigError):
        bits.BitWriter(io.BytesIO()).getvalue()

"""Whatever is passed to the extension: a result or a typed error, never a panic and never a crash.

Not covered: what the results are, and the texts of single errors (`test_native_foundations.py`, `test_bad_input.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo import _native
from caligo.errors import ConfigError, ResourceError, ShapeError

TYPED = (ConfigError, ShapeError, ResourceError)


class Raises:
    """An object whose conversions all fail."""

    def _fail(self, *_: object) -> NoReturn:
        raise RuntimeError("no")

    __index__ = __int__ = __float__ = __len__ = __iter__ = __getitem__ = __array__ = _fail


class Unprintable(float):
    """A number without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no")


# No number here asks for much memory where it is in range.
NUMBERS: list[Any] = [-(2**80), -1, 0, 1, 2, 3, 4, 8, 33, 64, 2**24 + 1, 2**40, 2**63, 2**64 - 1, 2**64, 10**400]
NUMBERS += [True, -0.5, 0.0, 5e-324, 1e-320, 0.02, 0.5, 1.0, 1e308, float("nan"), float("inf"), float("-inf")]
NUMBERS += [np.float32(0.1), np.int8(-3), np.uint64(2**63), np.array(2), np.array([0.1]), Unprintable(7.0)]
OTHERS: list[Any] = [None, "", "none", "crc16", "int8", "f32", "portable", "ga", "\0", "\ud800", b"", bytes(32), []]
OTHERS += [
    (0,),
    (0, 0),
    (0, 0, 0, 0),
    {},
    object(),
    Raises(),
    np.ndarray,
    np.str_("crc32"),
    np.array(None),
    np.array("x"),
]
DTYPES = ["u1", "i1", "?", "<u4", ">u4", "<u8", ">u8", "<f4", ">f4", "<f8", "<c8", "O", "S3", "U2", "M8[s]", "V5", "V0"]


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """An array of any type, shape and layout: contiguous or not, aligned or not, read-only or not."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 3, 8, 16, 128]), max_size=3))
    if draw(st.booleans()) and not dtype.hasobject:
        count = int(np.prod(shape))
        offset = draw(st.integers(0, 3))
        filling = np.frombuffer(draw(st.binary(min_size=1, max_size=8)) * 8, np.uint8)
        memory = np.resize(filling, offset + count * dtype.itemsize)[offset:]
        array = np.ndarray(shape, dtype, memory.data if memory.size else bytearray(8))
    else:
        array = np.zeros(shape, dtype)
    layout = draw(st.sampled_from(["as it is", "every second", "backwards", "transposed", "broadcast", "Fortran"]))
    if array.ndim and layout == "every second":
        array = array[..., ::2]
    elif array.ndim and layout == "backwards":
        array = array[::-1]
    elif layout == "transposed":
        array = array.T
    elif array.ndim and layout == "broadcast":
        array = np.broadcast_to(array, (3, *array.shape))
    elif layout == "Fortran":
        array = np.asfortranarray(array)
    if array.flags.writeable:
        array.flags.writeable = draw(st.booleans())
    return array


JUNK = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(OTHERS), arrays())


def _rows(elements: int, dtype: str) -> st.SearchStrategy[Any]:
    """A batch of two rows of the right kind with any content."""
    size = 2 * elements * np.dtype(dtype).itemsize
    return st.binary(min_size=1, max_size=32).map(
        lambda part: np.frombuffer((part * size)[:size], dtype).reshape(2, elements).copy()
    )


def _outputs(blocks: int, row_bytes: int) -> list[st.SearchStrategy[Any]]:
    return [
        st.builds(lambda: np.zeros((blocks, row_bytes), np.uint8)),
        st.builds(lambda: np.frombuffer(b"\x07" * blocks, np.uint8).copy().view(np.bool_)),
        st.builds(lambda: np.zeros(blocks, np.uint64)),
    ]


CASES: dict[str, tuple[Callable[..., Any], list[st.SearchStrategy[Any]]]] = {
    "polar_transform": (_native.polar_transform, [_rows(16, "u1"), st.just(128)]),
    "check_bits": (_native.check_bits, [st.just("crc16")]),
    "check_values": (_native.check_values, [st.just("crc24"), _rows(16, "u1")]),
    "segment_check_values": (_native.segment_check_values, [st.just("crc16"), _rows(32, "u1"), st.just(64)]),
    "universal_hash": (_native.universal_hash, [st.just(bytes(32)), _rows(8, "u1").map(np.ravel), st.just(128)]),
    "philox4x32": (_native.philox4x32, [st.just((1, 2, 3, 4)), st.just((1, 2))]),
    "random_bits": (_native.random_bits, [st.just(1), st.just(2), st.just(3), st.just(100)]),
    "bernoulli_bits": (_native.bernoulli_bits, [st.just(1), st.just(2), st.just(3), st.just(100), st.just(0.1)]),
    "standard_normal": (_native.standard_normal, [st.just(1), st.just(2), st.just(3), st.just(100)]),
    "design_density_evolution": (_native.design_density_evolution, [*map(st.just, (8, 7, 0.1, 2))]),
    "design_gaussian": (_native.design_gaussian, [st.just(8), st.just(7), st.just(0.9)]),
    "design_nr": (_native.design_nr, [st.just(64)]),
    "design_polarization_weight": (_native.design_polarization_weight, [st.just(64)]),
    "required_bytes": (_native.required_bytes, [*map(st.just, (64, 4, "int8")), _rows(4, "u1").map(np.ravel)]),
}


def _typed_or_done(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
    refused: list[Any] = []
    try:
        function(*arguments, **keywords)
    except TYPED as error:
        refused.append(error)
    assert all(str(error) and error.fields["argument"] for error in refused)


def _some_replaced(data: st.DataObject, good: list[st.SearchStrategy[Any]]) -> list[Any]:
    replaced = data.draw(st.sets(st.sampled_from(range(len(good))), max_size=2))
    return [data.draw(JUNK if place in replaced else strategy) for place, strategy in enumerate(good)]


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
@settings(max_examples=40)
def test_every_function_answers_or_raises_a_typed_error(name: str, data: st.DataObject) -> None:
    function, good = CASES[name]
    # 2^40 bits or numbers are in range, and more than a test should ask for.
    arguments = _some_replaced(data, good)
    if name in ("random_bits", "standard_normal", "bernoulli_bits") and isinstance(arguments[3], int):
        arguments[3] %= 2**39 - 1 if arguments[3] < 2**24 else 2**70
    _typed_or_done(function, *arguments)


@given(data=st.data())
@settings(max_examples=100)
def test_a_decoder_is_made_or_refused_by_name(data: st.DataObject) -> None:
    good = [st.just(128), _rows(8, "u1").map(np.ravel), st.just(4)]
    keywords = {
        key: data.draw(JUNK)
        for key in data.draw(st.sets(st.sampled_from(["shortened", "check", "precision", "engine"]), max_size=2))
    }
    _typed_or_done(_native.PolarDecoder, *_some_replaced(data, good), **keywords)


@given(data=st.data(), block_length=st.sampled_from([2, 4, 8, 64, 128]), list_size=st.sampled_from([1, 2, 8, 32]))
@settings(max_examples=150)
def test_a_decode_answers_or_raises_a_typed_error(data: st.DataObject, block_length: int, list_size: int) -> None:
    row_bytes = max(1, block_length // 8)
    info = data.draw(st.integers(0, 2**block_length - 1)).to_bytes(row_bytes, "little")
    precision = data.draw(st.sampled_from(["int8", "f32"]))
    engine = data.draw(st.sampled_from(_native.engines()))
    decoder = _native.PolarDecoder(
        block_length, np.frombuffer(info, np.uint8), list_size, check="none", precision=precision, engine=engine
    )
    zeros = st.builds(lambda: np.zeros((2, row_bytes), np.uint8))
    checks = st.builds(lambda: np.zeros(2, np.uint32))
    outputs = _outputs(2, row_bytes)
    if data.draw(st.booleans()):
        received = st.one_of(_rows(row_bytes, "u1"), zeros)
        qber = st.sampled_from([0.02, (0.02, 0.03), (0.02,), (0.02, None), (0.5, 0.1)])
        _typed_or_done(decoder.decode_bsc, *_some_replaced(data, [received, zeros, checks, qber, *outputs]))
    else:
        llr = _rows(block_length, "<f4")
        _typed_or_done(decoder.decode_soft, *_some_replaced(data, [llr, zeros, checks, *outputs]))
    # Whatever went before: the decoder still decodes a block without errors.
    decoded, ok, elapsed_ns = np.full((1, row_bytes), 255, np.uint8), np.zeros(1, np.bool_), np.zeros(1, np.uint64)
    none = np.zeros((1, row_bytes), np.uint8)
    decoder.decode_bsc(none, none, np.zeros(1, np.uint32), 0.02, decoded, ok, elapsed_ns)
    assert ok.tolist() == [True]
    assert not decoded.any()


@pytest.mark.parametrize("rows", [0, 1, 2**40, 2**62])
def test_rows_without_bytes_are_answered_or_refused(rows: int) -> None:
    _typed_or_done(_native.check_values, "crc16", np.zeros((rows, 0), np.uint8))


@pytest.mark.parametrize("value", [0, 1, 7, 255])
def test_success_is_written_over_anything_as_zero_or_one(value: int) -> None:
    decoder = _native.PolarDecoder(8, np.array([0xF0], np.uint8), 1, check="crc16")
    row, decoded, elapsed_ns = np.zeros((2, 1), np.uint8), np.zeros((2, 1), np.uint8), np.zeros(2, np.uint64)
    ok = np.full(2, value, np.uint8)
    decoder.decode_bsc(row, row, np.array([0, 1], np.uint32), 0.02, decoded, ok.view(np.bool_), elapsed_ns)
    assert ok.tolist() == [1, 0]


def test_no_array_lies_about_being_read_only() -> None:
    class Liar(np.ndarray):
        @property
        def flags(self) -> Any:
            return np.zeros(1).flags

    constant = bytes(16)
    decoded = np.frombuffer(constant, np.uint8).view(Liar)
    decoder = _native.PolarDecoder(128, np.full(16, 255, np.uint8), 1, check="none")
    row = np.full(16, 255, np.uint8)
    ok, elapsed_ns = np.zeros(1, np.bool_), np.zeros(1, np.uint64)
    with pytest.raises(ShapeError, match="read-only"):
        decoder.decode_bsc(row, row & 0, np.zeros(1, np.uint32), 0.4, decoded, ok, elapsed_ns)
    assert constant == bytes(16)


@pytest.mark.parametrize("list_size", [1, 4])
def test_the_smallest_error_rates_are_decoded_with_finite_certainty(list_size: int) -> None:
    info = np.full(8, 0xF0, np.uint8)
    decoder = _native.PolarDecoder(64, info, list_size, check="none", precision="f32")
    row, decoded = np.zeros(8, np.uint8), np.ones(8, np.uint8)
    row[3] = 1
    frozen = np.zeros(8, np.uint8)
    ok, elapsed_ns, check = np.zeros(1, bool), np.zeros(1, np.uint64), np.zeros(1, np.uint32)
    expected = decoded.copy()
    decoder.decode_bsc(row, frozen, check, 1e-6, expected, ok, elapsed_ns)
    decoder.decode_bsc(row, frozen, check, 5e-324, decoded, ok, elapsed_ns)
    assert np.array_equal(decoded, expected)

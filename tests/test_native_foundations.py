"""The crate's foundations from Python: transform, checks, hash, randomness, designs.

Each is held against an independent implementation in plain Python or against the vectors of `specs/`. The same laws
hold in Rust (`caligo/_native/tests`); here they cover the bindings: shapes, errors, threads.
"""

from __future__ import annotations

import json
import math
import re
import resource
import statistics
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from caligo import _native
from caligo.channel import bsc_llr, design_qber
from caligo.errors import CaligoError, ConfigError, ResourceError, ShapeError

WORD = 0xFFFF_FFFF


def packed_blocks(seed: int, blocks: int, block_length: int) -> NDArray[np.uint8]:
    bits = np.random.default_rng(seed).integers(0, 2, (blocks, block_length), dtype=np.uint8)
    return np.packbits(bits, axis=1, bitorder="little")


# --- transform --------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 1000), log2_length=st.integers(1, 8), blocks=st.integers(0, 4))
def test_the_transform_is_the_product_with_the_kronecker_power(seed: int, log2_length: int, blocks: int) -> None:
    block_length = 1 << log2_length
    matrix = np.ones((1, 1), dtype=np.int64)
    for _ in range(log2_length):
        matrix = np.kron(np.array([[1, 0], [1, 1]]), matrix)
    u = packed_blocks(seed, blocks, block_length)
    x = _native.polar_transform(u, block_length)
    assert x.shape == u.shape
    u_bits = np.unpackbits(u, axis=1, count=block_length, bitorder="little").astype(np.int64)
    expected = np.packbits((u_bits @ matrix % 2).astype(np.uint8), axis=1, bitorder="little")
    assert np.array_equal(x, expected)
    assert np.array_equal(_native.polar_transform(x, block_length), u)
    for row_u, row_x in zip(u, x, strict=True):
        assert np.array_equal(_native.polar_transform(row_u, block_length), row_x)


# --- checks and hash --------------------------------------------------------------------------------------------------


def test_checks_have_their_published_values() -> None:
    message = np.frombuffer(b"123456789", dtype=np.uint8)
    published = {"none": (0, 0), "crc16": (16, 0x31C3), "crc24": (24, 0xCDE703), "crc32": (32, 0xCBF43926)}
    assert _native.check_names() == list(published)
    for name, (bits, value) in published.items():
        assert _native.check_bits(name) == bits
        assert _native.check_values(name, message).tolist() == [value]


@given(rows=st.lists(st.binary(min_size=40, max_size=40), max_size=5))
def test_every_row_of_a_batch_gets_its_own_check(rows: list[bytes]) -> None:
    packed = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), 40)
    values = _native.check_values("crc32", packed)
    assert values.dtype == np.uint32
    assert values.tolist() == [zlib.crc32(row) for row in rows]


def field_product(a: int, b: int) -> int:
    """Product modulo x^128 + x^7 + x^2 + x + 1, bit i of an integer being the coefficient of x^i."""
    product = 0
    while b:
        low = b & -b
        product ^= a * low
        b ^= low
    for place in range(product.bit_length() - 1, 127, -1):
        if product >> place & 1:
            product ^= (1 << 128 | 0x87) << (place - 128)
    return product


def polynomial_tag(key: bytes, message: bytes, bits: int) -> bytes:
    point, pad = int.from_bytes(key[:16], "little"), int.from_bytes(key[16:], "little")
    terms = [int.from_bytes(message[i : i + 16], "little") for i in range(0, len(message), 16)]
    powers, power = [], 1
    for _ in range(len(terms) + 1):
        power = field_product(power, point)
        powers.append(power)
    tag = pad
    for term, factor in zip([*terms, bits], reversed(powers), strict=True):
        tag ^= field_product(term, factor)
    return tag.to_bytes(16, "little")


@given(key=st.binary(min_size=32, max_size=32), message=st.binary(max_size=100), cut=st.integers(0, 7))
def test_the_universal_hash_is_the_polynomial(key: bytes, message: bytes, cut: int) -> None:
    bits = 8 * len(message)
    if message:
        message = message[:-1] + bytes([message[-1] & 0xFF >> cut])
        bits -= cut
    packed = np.frombuffer(message, dtype=np.uint8)
    assert _native.universal_hash(key, packed, bits) == polynomial_tag(key, message, bits)


# --- randomness -------------------------------------------------------------------------------------------------------


def philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & WORD, (p0 >> 32) ^ c3 ^ k1, p0 & WORD
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return c0, c1, c2, c3


def output(seed: int, stream: int, block: int, index: int) -> tuple[int, ...]:
    return philox((index, stream, block & WORD, block >> 32), (seed & WORD, seed >> 32))


def output_bits(seed: int, stream: int, block: int, index: int) -> int:
    return sum(word << 32 * place for place, word in enumerate(output(seed, stream, block, index)))


def pack_integer(value: int, bits: int) -> bytes:
    return (value & (1 << bits) - 1).to_bytes((bits + 7) // 8, "little")


seeds = st.integers(0, 2**64 - 1)
streams = st.integers(0, WORD)


@given(words=st.lists(streams, min_size=6, max_size=6))
def test_the_generator_is_philox(words: list[int]) -> None:
    counter, key = (words[0], words[1], words[2], words[3]), (words[4], words[5])
    assert _native.philox4x32(counter, key) == philox(counter, key)


@given(seed=seeds, stream=streams, block=seeds, bits=st.integers(0, 600))
def test_random_bits_follow_the_specification(seed: int, stream: int, block: int, bits: int) -> None:
    whole = sum(output_bits(seed, stream, block, i) << 128 * i for i in range(bits // 128 + 1))
    assert _native.random_bits(seed, stream, block, bits).tobytes() == pack_integer(whole, bits)


@given(seed=seeds, stream=streams, block=seeds, bits=st.integers(0, 300), probability=st.floats(0, 1))
def test_bernoulli_bits_follow_the_specification(
    seed: int, stream: int, block: int, bits: int, probability: float
) -> None:
    threshold = math.floor(probability.as_integer_ratio()[0] * 2**33 / probability.as_integer_ratio()[1])
    threshold = (threshold + 1) // 2
    row = 0
    for group in range((bits + 127) // 128):
        planes = [output_bits(seed, stream, block, 32 * group + plane) for plane in range(32)]
        for lane in range(128):
            number = sum((plane >> lane & 1) << 31 - k for k, plane in enumerate(planes))
            row |= (number < threshold) << 128 * group + lane
    assert _native.bernoulli_bits(seed, stream, block, bits, probability).tobytes() == pack_integer(row, bits)


@given(seed=seeds, stream=streams, block=seeds, count=st.integers(0, 50))
def test_normal_numbers_follow_the_specification(seed: int, stream: int, block: int, count: int) -> None:
    quantile = statistics.NormalDist().inv_cdf
    words = [word for index in range(count // 4 + 1) for word in output(seed, stream, block, index)]
    numbers = _native.standard_normal(seed, stream, block, count)
    assert numbers.dtype == np.float32
    expected = np.array([quantile((word + 0.5) / 2**32) for word in words[:count]])
    assert np.allclose(numbers, expected, rtol=1e-7, atol=0)


def test_the_written_vectors_hold(repository: Path) -> None:
    text = (repository / "specs" / "randomness.md").read_text(encoding="utf-8")
    found = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert found
    vectors = json.loads(found[1])
    assert len(vectors) == 3
    for vector in vectors:
        address = (vector["seed"], vector["stream"], vector["block"])
        assert _native.random_bits(*address, 300).tobytes().hex() == vector["random_bits"]
        for probability, row in vector["bernoulli_bits"].items():
            assert _native.bernoulli_bits(*address, 300, float(probability)).tobytes().hex() == row
        assert _native.standard_normal(*address, 6).tolist() == vector["standard_normal"]


def test_a_draw_begins_every_longer_one() -> None:
    long = np.unpackbits(_native.bernoulli_bits(5, 2, 9, 5000, 0.3), bitorder="little")
    for bits in (0, 1, 127, 128, 129, 2047, 2048, 2049, 4999):
        short = np.unpackbits(_native.bernoulli_bits(5, 2, 9, bits, 0.3), count=bits, bitorder="little")
        assert np.array_equal(short, long[:bits])


# --- designs ----------------------------------------------------------------------------------------------------------


def polarised(densities: list[dict[int, float]]) -> list[float]:
    """Exact density evolution, position by position, on dictionaries from LLR to probability."""
    if len(densities) == 1:
        return [sum(p * (1.0 if llr < 0 else 0.5 if llr == 0 else 0.0) for llr, p in densities[0].items())]
    half = len(densities) // 2
    checks: list[dict[int, float]] = []
    repeats: list[dict[int, float]] = []
    for a, b in zip(densities[:half], densities[half:], strict=True):
        check: dict[int, float] = {}
        repeat: dict[int, float] = {}
        for x, p in a.items():
            for y, q in b.items():
                low, high = sorted((abs(x), abs(y)))
                magnitude = max(low - (high - low <= 2), 0)
                sign = int(math.copysign(1, x)) * int(math.copysign(1, y))
                check[sign * magnitude] = check.get(sign * magnitude, 0.0) + p * q
                total = max(-127, min(127, x + y))
                repeat[total] = repeat.get(total, 0.0) + p * q
        checks.append(check)
        repeats.append(repeat)
    return polarised(checks) + polarised(repeats)


@pytest.mark.parametrize("qber", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("payload_length", [5, 16, 27, 32])
def test_density_evolution_is_exact(qber: float, payload_length: int) -> None:
    magnitude = min(max(round(2 * bsc_llr(qber)), 1), 127)
    channel = {magnitude: 1 - qber, -magnitude: qber}
    expected = np.array(polarised([channel] * payload_length + [{127: 1.0}] * (32 - payload_length)))
    errors = _native.design_density_evolution(32, payload_length, qber)
    assert errors.dtype == np.float32
    assert errors.shape == (32,)
    assert np.all(errors[payload_length:] == 0)
    assert np.allclose(errors[:payload_length], expected[:payload_length], rtol=1e-5, atol=1e-11)


def chosen(errors: NDArray[np.float32]) -> set[int]:
    """The positions a code would take: the most reliable ones that together fail one block in ten."""
    order = np.argsort(errors, kind="stable")
    return set(order[: int(np.searchsorted(np.cumsum(errors[order], dtype=np.float64), 0.1))].tolist())


@pytest.mark.parametrize("qber", [0.0105, 0.0203, 0.05, 0.11])
def test_neighbours_on_the_grid_are_nearly_the_same_design(qber: float) -> None:
    point = design_qber(qber)
    one, other = (chosen(_native.design_density_evolution(4096, 4096, p)) for p in (point, point + 1e-4))
    assert len(one ^ other) <= 0.01 * len(one)


def test_every_design_is_a_number_per_position() -> None:
    designs: list[Callable[[int], NDArray[np.float32]]] = [
        lambda n: _native.design_density_evolution(n, n, 0.02),
        lambda n: _native.design_gaussian(n, n, 0.9),
        _native.design_nr,
        _native.design_polarization_weight,
    ]
    for design in designs:
        for block_length in (2, 64, 1024):
            errors = design(block_length)
            assert errors.shape == (block_length,)
            assert errors.dtype == np.float32
            assert np.all((errors >= 0) & (errors <= 0.5))
            assert errors[-1] == errors.min()
            assert errors[0] >= 0.9999 * errors.max()


# --- bad input --------------------------------------------------------------------------------------------------------

ZEROS = np.zeros(4, dtype=np.uint8)
BAD_CALLS: list[tuple[type[CaligoError], str, tuple[Any, ...]]] = [
    (ShapeError, "polar_transform", ([0, 0, 0, 0], 32)),
    (ShapeError, "polar_transform", (b"0000", 32)),
    (ShapeError, "polar_transform", (ZEROS.astype(np.int64), 32)),
    (ShapeError, "polar_transform", (ZEROS.astype(np.bool_), 32)),
    (ShapeError, "polar_transform", (ZEROS[::2], 16)),
    (ShapeError, "polar_transform", (np.zeros((4, 4), dtype=np.uint8).T[:, :2], 16)),
    (ShapeError, "polar_transform", (ZEROS.reshape(1, 2, 2), 16)),
    (ShapeError, "polar_transform", (np.uint8(0), 8)),
    (ShapeError, "polar_transform", (np.zeros((), dtype=np.uint8), 8)),
    (ShapeError, "polar_transform", (ZEROS, 16)),
    (ShapeError, "polar_transform", (np.array([4], dtype=np.uint8), 2)),
    (ConfigError, "polar_transform", (ZEROS, 33)),
    (ConfigError, "polar_transform", (ZEROS, 1 << 25)),
    (ConfigError, "polar_transform", (ZEROS, -32)),
    (ConfigError, "polar_transform", (ZEROS, 32.0)),
    (ConfigError, "polar_transform", (ZEROS, None)),
    (ConfigError, "check_bits", ("crc8",)),
    (ConfigError, "check_bits", (16,)),
    (ConfigError, "check_values", ("CRC32", ZEROS)),
    (ShapeError, "check_values", ("crc32", ZEROS.astype(np.uint16))),
    (ConfigError, "universal_hash", (bytes(31), ZEROS, 32)),
    (ConfigError, "universal_hash", ("0" * 32, ZEROS, 32)),
    (ShapeError, "universal_hash", (bytes(32), ZEROS, 33)),
    (ShapeError, "universal_hash", (bytes(32), ZEROS.reshape(1, 4), 32)),
    (ShapeError, "universal_hash", (bytes(32), np.array([255], dtype=np.uint8), 7)),
    (ConfigError, "philox4x32", ((0, 0, 0), (0, 0))),
    (ConfigError, "philox4x32", ((0, 0, 0, 1 << 32), (0, 0))),
    (ConfigError, "random_bits", (-1, 0, 0, 8)),
    (ConfigError, "random_bits", (1 << 64, 0, 0, 8)),
    (ConfigError, "random_bits", (0, 1 << 32, 0, 8)),
    (ConfigError, "random_bits", (0, 0, 0, (1 << 39) + 1)),
    (ConfigError, "bernoulli_bits", (0, 0, 0, 8, math.nan)),
    (ConfigError, "bernoulli_bits", (0, 0, 0, 8, 1.5)),
    (ConfigError, "bernoulli_bits", (0, 0, 0, 8, "half")),
    (ConfigError, "standard_normal", (0, 0, 0, -1)),
    (ConfigError, "design_density_evolution", (1024, 1024, 0.0)),
    (ConfigError, "design_density_evolution", (1024, 1024, 0.5)),
    (ConfigError, "design_density_evolution", (1024, 1025, 0.02)),
    (ConfigError, "design_density_evolution", (1024, 0, 0.02)),
    (ConfigError, "design_gaussian", (1024, 1024, -1.0)),
    (ConfigError, "design_gaussian", (1000, 1000, 1.0)),
    (ConfigError, "design_nr", (2048,)),
    (ConfigError, "design_polarization_weight", (1 << 25,)),
]


@pytest.mark.parametrize(("kind", "function", "arguments"), BAD_CALLS)
def test_bad_input_is_a_typed_error_with_fields(
    kind: type[CaligoError], function: str, arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(kind) as caught:
        getattr(_native, function)(*arguments)
    assert caught.value.fields["argument"]
    assert "; " in caught.value.message


@contextmanager
def address_space(limit_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_more_than_the_machine_holds_is_a_resource_error() -> None:
    with address_space(32 << 30), pytest.raises(ResourceError):
        _native.random_bits(1, 1, 1, 1 << 39)
    info = np.zeros(1 << 21, np.uint8)
    with address_space(address_space_used() + (1 << 30)), pytest.raises(ResourceError) as caught:
        _native.PolarDecoder(1 << 24, info, 32, precision="f32")
    assert caught.value.fields["expected"] > 1 << 30
    assert _native.PolarDecoder(1 << 10, np.zeros(128, np.uint8), 32).list_size == 32


REFUSED = """
import resource, sys
from pathlib import Path
import numpy as np
from caligo import _native
from caligo.errors import ResourceError

info = np.zeros(1 << 17, np.uint8)
info[::2] = 0xE8
twice = np.tile(info, 2)
calls = {
    "decoder": lambda: _native.PolarDecoder(1 << 20, info, 8),
    "single": lambda: _native.PolarDecoder(1 << 21, twice, 1, precision="f32"),
    "density": lambda: _native.design_density_evolution(1 << 24, 1 << 24, 0.02),
    "gaussian": lambda: _native.design_gaussian(1 << 24, 1 << 24, 0.8),
    "weight": lambda: _native.design_polarization_weight(1 << 22),
}
call = calls[sys.argv[1]]
_native.design_nr(64)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
refused = 0
for megabytes in range(1, int(sys.argv[2])):
    resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20), -1))
    try:
        call()
    except ResourceError:
        refused += 1
print(refused)
"""


@pytest.mark.parametrize(
    ("call", "megabytes"), [("decoder", 40), ("single", 30), ("density", 60), ("gaussian", 60), ("weight", 120)]
)
def test_memory_refused_at_any_moment_ends_the_call_and_not_the_process(call: str, megabytes: int) -> None:
    words = [sys.executable, "-c", REFUSED, call, str(megabytes)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def address_space_used() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


# --- threads and allocations ------------------------------------------------------------------------------------------


def test_the_interpreter_runs_on_while_the_crate_works() -> None:
    done = threading.Event()
    ticks = 0

    def work() -> None:
        _native.design_density_evolution(1 << 17, 1 << 17, 0.05)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.wait(0.001):
        ticks += 1
    thread.join()
    assert ticks > 5


def test_allocations_are_counted_per_thread() -> None:
    before = _native.allocation_count()
    _native.random_bits(1, 1, 1, 1 << 16)
    mine = _native.allocation_count()
    assert mine > before
    thread = threading.Thread(target=_native.random_bits, args=(1, 1, 1, 1 << 16))
    thread.start()
    thread.join()
    assert _native.allocation_count() - mine <= 1


def test_the_build_says_what_it_is() -> None:
    assert set(_native.build_info()) == {"version", "rustc", "target", "profile", "opt"}
    assert all(isinstance(feature, str) for feature in _native.cpu_features())

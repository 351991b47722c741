"""The textbook decoder is what the textbooks say; nothing native decodes here."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Require
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from caligo.bits import pack, unpack
from caligo.codes import DesignCache, PolarCode, design_code
from caligo.errors import ConfigError, ResourceError, ShapeError
from caligo.reconciliation.codecs import Codec
from caligo.reconciliation.codecs.reference import _HAS_NUMBA, ReferenceCodec, check_value, transform

Bits = NDArray[np.uint8]
Llrs = NDArray[np.float64]


@pytest.fixture(autouse=True, scope="module")
def _oracle(require: Require) -> None:
    require("oracle", _HAS_NUMBA, "Numba is not installed")


def matrix(stages: int) -> Bits:
    """F^(⊗n) with F = [[1, 0], [1, 1]], as the Kronecker power says."""
    power = np.ones((1, 1), dtype=np.uint8)
    for _ in range(stages):
        power = np.kron(power, np.array([[1, 0], [1, 1]], dtype=np.uint8))
    return power


@pytest.mark.parametrize(("name", "value"), [("crc16", 0x31C3), ("crc24", 0xCDE703), ("crc32", 0xCBF43926)])
def test_checks_have_their_published_values(name: str, value: int) -> None:
    assert check_value(name, np.frombuffer(b"123456789", dtype=np.uint8)) == value


@pytest.mark.parametrize("stages", range(8))
def test_the_transform_is_the_matrix_product_and_its_own_inverse(stages: int) -> None:
    bits = np.random.default_rng(stages).integers(0, 2, (5, 1 << stages), dtype=np.uint8)
    assert (transform(bits) == bits @ matrix(stages) % 2).all()
    assert (transform(transform(bits)) == bits).all()


def code_with(block_length: int, info: list[int], payload: int | None = None, check: str = "none") -> PolarCode:
    mask = np.zeros(block_length, dtype=np.uint8)
    mask[info] = 1
    return PolarCode(
        block_length=block_length,
        payload_length=block_length if payload is None else payload,
        info_set=pack(mask).tobytes(),
        check=check,
        design="drawn",
    )


@st.composite
def small_blocks(draw: st.DrawFn) -> tuple[PolarCode, Bits, Llrs]:
    """A code of at most 8 positions, a block of Alice's, and LLRs that have nothing to do with it."""
    block_length = draw(st.sampled_from([2, 4, 8]))
    payload = draw(st.integers(1, block_length))
    info = draw(st.lists(st.integers(0, payload - 1), min_size=1, max_size=payload, unique=True))
    block = np.array(draw(st.lists(st.integers(0, 1), min_size=block_length, max_size=block_length)), dtype=np.uint8)
    block[payload:] = 0
    llr = np.array(draw(st.lists(st.floats(-6, 6, width=32), min_size=block_length, max_size=block_length)))
    return code_with(block_length, info, payload), block, llr


def cost(x: Bits, llr: Llrs) -> float:
    """-ln P(x | llr)."""
    return float(np.logaddexp(0.0, -(1.0 - 2.0 * x) * llr).sum())


@given(small_blocks())
def test_a_list_of_all_words_is_maximum_likelihood(drawn: tuple[PolarCode, Bits, Llrs]) -> None:
    """Brute force: of all words that agree with what Alice disclosed, none fits the LLRs better."""
    code, block, llr = drawn
    n, payload = code.block_length, code.payload_length
    codec = ReferenceCodec(code, 1 << code.info_positions)
    frozen_values, check_values = codec.syndrome(pack(block)[None])
    batch = codec.decode_soft(llr.astype(np.float32)[None], frozen_values, check_values)
    decoded = unpack(batch.decoded[0], n)
    u = transform(block)
    info = unpack(code.info_mask, n).view(np.bool_)
    words = []
    for choice in itertools.product((0, 1), repeat=code.info_positions):
        candidate = u.copy()
        candidate[info] = choice
        words.append(transform(candidate))
    assert any((decoded == word).all() for word in words)
    best = min(cost(word[:payload], llr[:payload]) for word in words)
    assert cost(decoded[:payload], llr[:payload]) == pytest.approx(best, abs=1e-5)
    assert batch.ok[0]


def successive_cancellation(llr: Llrs, frozen: Bits, values: Bits) -> tuple[Bits, float]:
    """Arikan's decoder by its recursive definition, boxplus from probabilities; x, and the least |LLR| decided on."""
    if len(llr) == 1:
        return (values.copy(), math.inf) if frozen[0] else ((llr < 0).astype(np.uint8), abs(float(llr[0])))
    half = len(llr) // 2
    upper, lower = llr[:half], llr[half:]
    combined = np.logaddexp(0.0, upper + lower) - np.logaddexp(upper, lower)
    left, left_least = successive_cancellation(combined, frozen[:half], values[:half])
    right, right_least = successive_cancellation(lower + (1.0 - 2.0 * left) * upper, frozen[half:], values[half:])
    return np.concatenate([left ^ right, right]), min(left_least, right_least)


@given(stages=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_a_list_of_one_is_successive_cancellation(stages: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 1 << stages
    info = np.flatnonzero(rng.random(n) < 0.7 * np.arange(1, n + 1) / n)
    code = code_with(n, info.tolist() or [n - 1])
    block = rng.integers(0, 2, n, dtype=np.uint8)
    llr = (1.2 * (1.0 - 2.0 * block) + 1.2 * rng.standard_normal(n)).astype(np.float32)
    codec = ReferenceCodec(code, 1)
    batch = codec.decode_soft(llr[None], *codec.syndrome(pack(block)[None]))
    frozen = 1 - unpack(code.info_mask, n)
    expected, least = successive_cancellation(llr.astype(np.float64), frozen, transform(block))
    assume(least > 1e-9)
    assert (unpack(batch.decoded[0], n) == expected).all()


@pytest.mark.parametrize("rule", ["exact", "minsum"])
def test_longer_lists_find_more(rule: str) -> None:
    code = design_code(128, qber=0.05, efficiency=1.4, check="crc16", cache=DesignCache(None))
    rng = np.random.default_rng(1)
    blocks = pack(rng.integers(0, 2, (400, 128), dtype=np.uint8))
    received = blocks ^ pack((rng.random((400, 128)) < 0.05).astype(np.uint8))
    found = []
    for list_size in (1, 2, 8, 32):
        codec = ReferenceCodec(code, list_size, rule=rule)  # type: ignore[arg-type]
        batch = codec.decode(received, *codec.syndrome(blocks), 0.05)
        right = (batch.decoded == blocks).all(axis=1)
        assert batch.ok[right].all()
        found.append(int(right.sum()))
    assert found == sorted(found)
    assert found[-1] > found[0] + 20


@given(
    seed=st.integers(0, 2**32 - 1),
    check=st.sampled_from(["none", "crc16", "crc32"]),
    list_size=st.sampled_from([1, 3, 8]),
    payload=st.integers(60, 64),
)
@settings(max_examples=50)
def test_outcomes_depend_on_the_noise_and_not_on_the_key(seed: int, check: str, list_size: int, payload: int) -> None:
    code = design_code(64, payload_length=payload, qber=0.05, info_length=20, check=check, cache=DesignCache(None))
    rng = np.random.default_rng(seed)
    errors = (rng.random(64) < 0.08).astype(np.uint8)
    blocks = rng.integers(0, 2, (4, 64), dtype=np.uint8)
    errors[payload:] = 0
    blocks[:, payload:] = 0
    with ReferenceCodec(code, list_size) as codec:
        batch = codec.decode(pack(blocks ^ errors), *codec.syndrome(pack(blocks)), 0.05)
    assert len(set(batch.ok.tolist())) == 1
    assert len({row.tobytes() for row in batch.decoded ^ pack(blocks)}) == 1


def test_a_wrong_check_value_fails_every_candidate() -> None:
    code = design_code(64, qber=0.02, info_length=20, check="crc32", cache=DesignCache(None))
    codec = ReferenceCodec(code, 4)
    blocks = pack(np.random.default_rng(2).integers(0, 2, (3, 64), dtype=np.uint8))
    frozen_values, check_values = codec.syndrome(blocks)
    batch = codec.decode(blocks, frozen_values, check_values ^ np.uint32(1), 0.02)
    assert not batch.ok.any()


def test_the_oracle_keeps_the_protocol_and_checks_what_enters() -> None:
    code = design_code(64, qber=0.02, info_length=20, cache=DesignCache(None))
    codec = ReferenceCodec(code, 2)
    assert isinstance(codec, Codec)
    assert codec.name == "reference"
    with pytest.raises(ShapeError):
        codec.syndrome(np.zeros((1, 7), dtype=np.uint8))
    with pytest.raises(ConfigError):
        ReferenceCodec(code, 0)
    with pytest.raises(ConfigError):
        ReferenceCodec(code, 2, rule="best")  # type: ignore[arg-type]


def test_without_numba_the_extra_is_named(repository: Path) -> None:
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'numba' else find(name, *rest)\n"
        "from caligo.codes import design_code\n"
        "from caligo.reconciliation.codecs.reference import ReferenceCodec\n"
        "from caligo.errors import ResourceError\n"
        "try: ReferenceCodec(design_code(64, qber=0.02, info_length=20), 2)\n"
        "except ResourceError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    assert "caligo[oracle]" in done.stdout
    assert issubclass(ResourceError, Exception)

"""Laws of polar codes as values and of their design."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.bits import unpack
from caligo.channel import binary_entropy
from caligo.codes import (
    DesignCache,
    PolarCode,
    design_code,
    error_probabilities,
    reliability_order,
    syndrome_bits_for_efficiency,
)
from caligo.errors import ConfigError

MEMORY_ONLY = DesignCache(None)


def code_of(**changes: object) -> PolarCode:
    fields: dict[str, object] = {
        "block_length": 64,
        "payload_length": 61,
        "info_set": (((1 << 61) - 1) & ~0b1011).to_bytes(8, "little"),
        "check": "crc16",
        "design": "de",
        "design_qber": 0.02,
        "design_sigma": None,
    }
    return PolarCode(**(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"block_length": 0},
        {"block_length": 1},
        {"block_length": 63},
        {"block_length": 1 << 25},
        {"block_length": 64.0},
        {"block_length": True},
        {"payload_length": 0},
        {"payload_length": 65},
        {"payload_length": -1},
        {"payload_length": "61"},
        {"info_set": b""},
        {"info_set": bytes(9)},
        {"info_set": bytes(8)},
        {"info_set": [0] * 8},
        {"info_set": (1 << 61).to_bytes(8, "little")},
        {"info_set": ((1 << 16) - 1).to_bytes(8, "little")},
        {"check": "crc8"},
        {"check": None},
        {"design": ""},
        {"design_qber": 0.5},
        {"design_qber": 0.0},
        {"design_qber": math.nan},
        {"design_sigma": 0.0},
        {"design_sigma": math.inf},
        {"segment_length": 32},
        {"segment_check": "crc16"},
        {"segment_length": 32, "segment_check": "crc16"},
        {"segment_length": 64, "segment_check": "crc16"},
        {"segment_length": 64, "segment_check": "none"},
        {"segment_length": 64, "segment_check": "crc8"},
        {"design_qber_pair": (0.03, 0.01, 0.02)},
        {"design_qber_pair": (0.03, 0.02)},
        {"design_qber_pair": (0.02, 0.02)},
        {"design_qber_pair": 0.02},
        {"design_qber": None, "design_qber_pair": (0.03, 0.01)},
    ],
)
def test_an_invalid_code_cannot_be_made(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        code_of(**changes)
    assert caught.value.fields
    assert pickle.loads(pickle.dumps(caught.value)).fields == caught.value.fields


def test_the_three_sets_partition_the_block_and_the_counts_add_up() -> None:
    code = code_of()
    info, frozen = unpack(code.info_mask, 64), unpack(code.frozen_mask, 64)
    assert not (info & frozen).any()
    assert (info | frozen)[: code.payload_length].all()
    assert not (info | frozen)[code.payload_length :].any()
    assert code.info_positions == info.sum() == 58
    assert code.frozen_bits == code.syndrome_bits == frozen.sum() == 3
    assert code.shortened_bits == 3
    assert code.check_bits == 16
    assert code.info_length == 42
    assert code.leakage_bits == 19
    assert code.code_rate == 42 / 61
    assert code.efficiency(0.02) == 19 / (61 * binary_entropy(0.02))


def test_the_masks_of_a_code_cannot_be_written() -> None:
    code = code_of()
    for mask in (code.info_mask, code.frozen_mask):
        with pytest.raises(ValueError, match="read-only"):
            mask[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        code.check = "none"  # type: ignore[misc]


@pytest.mark.parametrize(
    "changes", [{}, {"segment_length": 128, "segment_check": "crc16"}, {"design_qber_pair": (0.03, 0.01)}]
)
def test_a_code_survives_json_and_pickling(changes: dict[str, object]) -> None:
    code = code_of(block_length=256, payload_length=200, info_set=bytes(8) + bytes([255] * 8) + bytes(16), **changes)
    assert code.digest
    for again in (PolarCode.from_json(json.loads(json.dumps(code.to_json()))), pickle.loads(pickle.dumps(code))):
        assert again == code
        assert hash(again) == hash(code)
        assert again.digest == code.digest
        assert not again.info_mask.flags.writeable


def test_every_field_enters_the_digest() -> None:
    variants = [
        code_of(),
        code_of(payload_length=62),
        code_of(info_set=((1 << 61) - 1).to_bytes(8, "little")),
        code_of(check="crc24"),
        code_of(design="mine"),
        code_of(design_qber=0.03),
        code_of(design_qber=None),
        code_of(design_sigma=0.5),
        code_of(design_qber_pair=(0.03, 0.01)),
        code_of(design_qber_pair=(0.01, 0.03)),
        *(
            code_of(block_length=256, info_set=bytes([255] * 7) + bytes(25), **segments)
            for segments in (
                {},
                {"segment_length": 64, "segment_check": "crc16"},
                {"segment_length": 128, "segment_check": "crc16"},
                {"segment_length": 64, "segment_check": "crc24"},
            )
        ),
    ]
    assert len({code.digest for code in variants}) == len(variants)


def test_the_digest_is_a_written_function_of_the_fields() -> None:
    assert code_of().digest == "bde836a353bfd4c64bf9e51c1459bfa67a38c0144fd9327217608516833e7505"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", "caligo.code/2"),
        ("info_set", "!"),
        ("info_set", ""),
        ("info_set", "AAAA"),
        ("payload_length", 60),
        ("check", "crc32"),
        ("digest", "0" * 64),
        ("block_length", 128),
        ("block_length", "64"),
        ("design_qber", "0.02"),
    ],
)
def test_a_damaged_json_is_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError):
        PolarCode.from_json(code_of().to_json() | {key: value})
    with pytest.raises(ConfigError):
        PolarCode.from_json({name: item for name, item in code_of().to_json().items() if name != key})


def test_json_of_a_small_code_cannot_inflate_beyond_its_block() -> None:
    import base64
    import zlib

    bomb = base64.b64encode(zlib.compress(bytes(1 << 20))).decode()
    with pytest.raises(ConfigError):
        PolarCode.from_json(code_of().to_json() | {"info_set": bomb})


def test_no_mask_is_shown_by_repr() -> None:
    text = repr(code_of())
    assert len(text) < 250
    assert "block_length=64" in text


@given(
    stages=st.integers(1, 11),
    shortened=st.integers(0, 40),
    efficiency=st.floats(0.3, 4.0),
    qber=st.sampled_from([0.01, 0.02, 0.05, 0.11]),
    check=st.sampled_from(["none", "crc16", "crc24", "crc32"]),
    design=st.sampled_from(["de", "ga", "pw"]),
)
def test_an_efficiency_buys_exactly_its_leakage(
    stages: int, shortened: int, efficiency: float, qber: float, check: str, design: str
) -> None:
    payload = max(1, (1 << stages) - shortened)
    budget = round(efficiency * payload * binary_entropy(qber))
    bits = {"none": 0, "crc16": 16, "crc24": 24, "crc32": 32}[check]
    try:
        code = design_code(
            1 << stages,
            payload_length=payload,
            design=design,
            qber=qber,
            efficiency=efficiency,
            check=check,
            cache=MEMORY_ONLY,
        )
    except ConfigError:
        assert not bits <= budget <= payload - 1
        return
    assert code.leakage_bits == budget
    assert code.info_positions == payload - budget + bits
    assert code.efficiency(qber) == pytest.approx(budget / (payload * binary_entropy(qber)))


@given(
    stages=st.integers(2, 10),
    shortened=st.integers(0, 30),
    fewer=st.integers(1, 40),
    design=st.sampled_from(["de", "ga", "nr", "pw"]),
)
def test_a_larger_budget_only_adds_positions(stages: int, shortened: int, fewer: int, design: str) -> None:
    block_length = 1 << stages
    payload = max(2, block_length - shortened)

    def info(length: int) -> int:
        code = design_code(
            block_length,
            payload_length=payload,
            design=design,
            qber=0.03,
            info_length=length,
            check="none",
            cache=MEMORY_ONLY,
        )
        assert code.info_length == length
        return int.from_bytes(code.info_set, "little")

    small, large = info(max(1, payload - fewer)), info(payload)
    assert small & large == small


def test_of_equally_reliable_positions_the_higher_index_comes_first() -> None:
    order = reliability_order(np.array([0.5, 0.1, 0.1, 0.5, 0.0, 0.0], dtype=np.float32), 5)
    assert order.tolist() == [4, 2, 1, 3, 0]


def test_the_information_set_is_the_positions_of_least_error_probability() -> None:
    values = error_probabilities(512, payload_length=500, qber=0.02, cache=MEMORY_ONLY)
    code = design_code(512, payload_length=500, qber=0.02, info_length=300, check="crc16", cache=MEMORY_ONLY)
    info = unpack(code.info_mask, 512).view(np.bool_)
    assert values[:500][info[:500]].max() <= values[:500][~info[:500]].min()


@given(
    at_zero=st.sampled_from([0.01, 0.0234, 0.049]),
    at_one=st.sampled_from([0.01, 0.0234, 0.0491]),
    shortened=st.sampled_from([0, 100]),
    segment_length=st.sampled_from([None, 128]),
)
@settings(max_examples=20)
def test_an_efficiency_of_a_pair_is_counted_against_the_mean(
    at_zero: float, at_one: float, shortened: int, segment_length: int | None
) -> None:
    payload = 1024 - shortened
    budget: dict[str, object] = {"payload_length": payload, "efficiency": 2.2, "segment_length": segment_length}
    code = design_code(1024, qber=(at_zero, at_one), cache=MEMORY_ONLY, **budget)  # type: ignore[arg-type]
    mean = (at_zero + at_one) / 2
    assert code.leakage_bits == round(2.2 * payload * binary_entropy(mean))
    assert code.design_qber == pytest.approx(mean)
    if at_zero == at_one:
        assert code == design_code(1024, qber=at_zero, cache=MEMORY_ONLY, **budget)  # type: ignore[arg-type]
        assert code.assumed_qber == at_zero
    else:
        assert code.assumed_qber == code.design_qber_pair == (at_zero, at_one)


@pytest.mark.parametrize("design", ["de", "ga"])
def test_each_channel_design_accepts_the_other_channels_parameter(design: str) -> None:
    """Equal Bhattacharyya parameters: 2 sqrt(p (1 - p)) = exp(-1 / (2 sigma^2))."""
    qber = 0.05
    sigma = math.sqrt(-0.5 / math.log(2.0 * math.sqrt(qber * (1.0 - qber))))
    by_qber = error_probabilities(256, design=design, qber=qber, cache=MEMORY_ONLY)
    by_sigma = error_probabilities(256, design=design, sigma=sigma, cache=MEMORY_ONLY)
    np.testing.assert_allclose(by_qber, by_sigma, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize(
    "arguments",
    [
        {"block_length": 100, "qber": 0.02, "efficiency": 1.5},
        {"block_length": 1 << 25, "qber": 0.02, "efficiency": 1.5},
        {"block_length": 1024},
        {"block_length": 1024, "qber": 0.02},
        {"block_length": 1024, "qber": 0.02, "efficiency": 1.5, "info_length": 100},
        {"block_length": 1024, "efficiency": 1.5},
        {"block_length": 1024, "info_length": 100},
        {"block_length": 1024, "qber": 0.0, "efficiency": 1.5},
        {"block_length": 1024, "qber": 0.5, "efficiency": 1.5},
        {"block_length": 1024, "qber": -0.1, "efficiency": 1.5},
        {"block_length": 1024, "qber": math.nan, "efficiency": 1.5},
        {"block_length": 1024, "qber": 0.02, "efficiency": math.nan},
        {"block_length": 1024, "qber": 0.02, "efficiency": 0.0},
        {"block_length": 1024, "qber": 0.02, "efficiency": 0.1},
        {"block_length": 1024, "qber": 0.02, "efficiency": 9.0},
        {"block_length": 1024, "qber": 0.02, "efficiency": "1.5"},
        {"block_length": 1024, "qber": 0.02, "info_length": 0},
        {"block_length": 1024, "qber": 0.02, "info_length": 993},
        {"block_length": 1024, "qber": 0.02, "info_length": 1.5},
        {"block_length": 1024, "qber": 0.02, "info_length": 100, "payload_length": 120},
        {"block_length": 1024, "qber": 0.02, "info_length": 100, "payload_length": 1025},
        {"block_length": 1024, "qber": 0.02, "info_length": 100, "check": "md5"},
        {"block_length": 1024, "qber": 0.02, "info_length": 100, "design": "best"},
        {"block_length": 1024, "sigma": 0.0, "info_length": 100, "design": "ga"},
        {"block_length": 2048, "info_length": 100, "design": "nr"},
    ],
)
def test_a_contradictory_design_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        design_code(**arguments, cache=MEMORY_ONLY)  # type: ignore[arg-type]
    assert caught.value.fields


def test_the_budget_names_the_efficiencies_that_would_do() -> None:
    with pytest.raises(ConfigError) as caught:
        syndrome_bits_for_efficiency(1000, 0.02, 10.0, 32)
    assert syndrome_bits_for_efficiency(1000, 0.02, caught.value.fields["most"], 32) == 1000 - 33
    assert syndrome_bits_for_efficiency(1000, 0.02, caught.value.fields["least"], 32) == 0


GOLDEN = {
    ("de", 4096, 4096): "879596eeb24f01f7ab1c4019c9bc59feeca6c66e06bafe71f1e9ab6a904a2dee",
    ("de", 4096, 3333): "88a3dd563c58853ae7b365d6c505341a807334dd980d68e37b33920d2f5bd323",
    ("ga", 2048, 2048): "ac755a927fe0d477c5bdeb7ff73558eaa8ead97d2ac7ccab7558d3a17fc2b9da",
    ("nr", 1024, 1024): "ae5c5c7b0e90c61578810ed4515a11bf683c65d230dac2cd3baa04c1fa5bef7d",
    ("pw", 4096, 4096): "7e4786de3dc714a94f2e6ecf42b203ed2854b014ba17d83fd6ca2c6733bc041b",
}


@pytest.mark.parametrize("key", GOLDEN, ids=str)
def test_designs_are_bit_identical_everywhere(key: tuple[str, int, int]) -> None:
    """Codes made on any CPU are these; a change of a design's arithmetic raises its version and these digests."""
    design, block_length, payload = key
    code = design_code(
        block_length,
        payload_length=payload,
        design=design,
        qber=0.02,
        sigma=None if design == "de" else 0.8,
        info_length=payload * 2 // 3,
        cache=MEMORY_ONLY,
    )
    assert code.digest == GOLDEN[key]

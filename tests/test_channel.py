"""Laws of the channel formulas, and the published limit of one-way reconciliation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo import channel
from caligo.errors import ConfigError, ShapeError

QBERS = st.floats(1e-6, 0.5, exclude_max=True)


def test_entropy_is_zero_at_the_ends_and_one_in_the_middle() -> None:
    assert channel.binary_entropy(0.0) == channel.binary_entropy(1.0) == 0.0
    assert channel.binary_entropy(0.5) == 1.0
    assert np.array_equal(channel.binary_entropy(np.array([[0.0, 0.5, 1.0]])), [[0.0, 1.0, 0.0]])
    assert channel.binary_entropy(0.11) == pytest.approx(0.4999, abs=1e-4)


@given(st.floats(0, 1))
def test_entropy_is_symmetric_and_agrees_with_its_definition(p: float) -> None:
    h = channel.binary_entropy(p)
    assert isinstance(h, float)
    assert 0.0 <= h <= 1.0
    assert h == pytest.approx(channel.binary_entropy(1.0 - p), abs=1e-12)
    if 0.0 < p < 1.0 and 1.0 - p < 1.0:
        assert h == pytest.approx(-p * math.log2(p) - (1 - p) * math.log2(1 - p), abs=1e-12)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_entropy_refuses_what_is_no_probability(wrong: float) -> None:
    with pytest.raises(ConfigError):
        channel.binary_entropy(wrong)
    with pytest.raises(ConfigError):
        channel.binary_entropy(np.array([0.5, wrong]))


@given(QBERS)
def test_the_llr_of_a_qber_gives_the_qber_back(qber: float) -> None:
    assert 1.0 / (1.0 + math.exp(channel.bsc_llr(qber))) == pytest.approx(qber, rel=1e-9)


@pytest.mark.parametrize("wrong", [0.0, 0.5, 0.7, 2.0, -0.01, math.nan, math.inf, "two", None])
def test_a_qber_outside_its_range_is_refused_with_a_remedy(wrong: float) -> None:
    with pytest.raises(ConfigError) as caught:
        channel.validate_qber(wrong)
    assert "expected 0 < qber < 0.5" in caught.value.message
    assert ";" in caught.value.message


@given(QBERS, QBERS)
def test_a_pair_needs_less_than_its_mean_says(at_zero: float, at_one: float) -> None:
    pair = channel.validate_qbers((at_zero, at_one))
    assert pair == (at_zero if at_zero == at_one else (at_zero, at_one))
    mean = channel.mean_qber(pair)
    assert mean == pytest.approx((at_zero + at_one) / 2)
    assert channel.conditional_entropy(pair) <= channel.binary_entropy(mean) + 1e-12
    snapped = channel.design_qbers(pair)
    expected = (channel.design_qber(at_zero), channel.design_qber(at_one))
    assert snapped == (expected if expected[0] != expected[1] else expected[0])


@pytest.mark.parametrize(
    "wrong", [(), (0.02,), (0.02, 0.03, 0.04), (0.02, 0.5), (0.0, 0.02), [0.02, 0.03], "0.02,0.03"]
)
def test_what_is_no_pair_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError):
        channel.validate_qbers(wrong)


def test_a_percentage_is_recognised() -> None:
    with pytest.raises(ConfigError, match=r"0\.02"):
        channel.validate_qber(2.0)


@given(QBERS)
def test_the_design_grid_is_near_clipped_and_idempotent(qber: float) -> None:
    snapped = channel.design_qber(qber)
    assert channel.design_qber(snapped) == snapped
    assert 0.0005 <= snapped <= 0.25
    if 0.0005 <= qber <= 0.25:
        assert abs(snapped - qber) <= (0.5e-5 if qber < 0.01 else 0.5e-4) * (1 + 1e-9)
    assert snapped == float(f"{snapped:.5f}")


def test_the_design_grid_has_its_written_points() -> None:
    assert [channel.design_qber(q) for q in (0.02, 0.020049, 0.02006, 0.009994, 0.009996, 1e-5, 0.4)] == [
        0.02,
        0.02,
        0.0201,
        0.00999,
        0.01,
        0.0005,
        0.25,
    ]


@pytest.mark.parametrize(
    ("exponent", "expected", "digits"),
    [(12, (1.279, 1.192, 1.112), 3), (16, (1.073, 1.050, 1.029), 3), (20, (1.0184, 1.0126, 1.0073), 4)],
)
def test_the_limit_of_one_way_reconciliation_is_the_published_one(
    exponent: int, expected: tuple[float, ...], digits: int
) -> None:
    limits = [channel.normal_approximation_efficiency(1 << exponent, qber, 1e-2) for qber in (0.01, 0.02, 0.05)]
    assert limits == pytest.approx(expected, abs=0.6 * 10**-digits)


def test_the_limit_falls_with_length_and_with_allowed_failures() -> None:
    lengths = [channel.normal_approximation_efficiency(1 << k, 0.02, 1e-2) for k in range(10, 25)]
    assert lengths == sorted(lengths, reverse=True)
    rates = [channel.normal_approximation_efficiency(1 << 16, 0.02, fer) for fer in (1e-4, 1e-3, 1e-2, 1e-1)]
    assert rates == sorted(rates, reverse=True)
    for arguments in ((0, 0.02, 0.1), (1024, 0.02, 0.0), (1024, 0.02, 1.0), (1024, 0.5, 0.1)):
        with pytest.raises(ConfigError):
            channel.normal_approximation_efficiency(*arguments)


def test_capacity_agrees_with_published_thresholds() -> None:
    """Rate 1/2 over BI-AWGN needs Eb/N0 = 0.187 dB (sigma = 0.97869), rate 0.8 needs 2.040 dB."""
    assert channel.awgn_capacity(0.97869) == pytest.approx(0.5, abs=2e-5)
    assert channel.awgn_capacity(channel.ebn0_to_sigma(0.187, 0.5)) == pytest.approx(0.5, abs=2e-4)
    assert channel.awgn_capacity(channel.ebn0_to_sigma(2.040, 0.8)) == pytest.approx(0.8, abs=2e-4)
    assert channel.awgn_capacity(0.05) == pytest.approx(1.0)
    assert channel.awgn_capacity(1e3) == pytest.approx(1e-6 / (2 * math.log(2)), rel=1e-2)


@given(st.floats(-20, 20), st.floats(0.01, 1.0))
def test_sigma_and_ebn0_are_two_names_of_one_number(ebn0_db: float, code_rate: float) -> None:
    sigma = channel.ebn0_to_sigma(ebn0_db, code_rate)
    assert 1.0 / (2.0 * code_rate * sigma**2) == pytest.approx(10 ** (ebn0_db / 10))
    assert channel.sigma_to_ebn0(sigma, code_rate) == pytest.approx(ebn0_db, abs=1e-9)


@pytest.mark.parametrize(("ebn0_db", "code_rate"), [(1.0, 0.0), (1.0, 1.1), (math.nan, 0.5), (math.inf, 0.5)])
def test_noise_levels_out_of_range_are_refused(ebn0_db: float, code_rate: float) -> None:
    with pytest.raises(ConfigError):
        channel.ebn0_to_sigma(ebn0_db, code_rate)
    for sigma in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError):
            channel.awgn_capacity(sigma)


def test_soft_values_are_the_log_likelihood_ratios_of_the_received_ones() -> None:
    bits = np.array([0, 1, 0, 1], dtype=np.uint8)
    noise = np.array([0.0, 0.0, -1.5, 2.0], dtype=np.float32)
    llr = channel.awgn_llr(bits, noise, 0.8)
    received = np.array([1.0, -1.0, 1.0 - 0.8 * 1.5, -1.0 + 0.8 * 2.0])
    assert llr.dtype == np.float32
    assert llr == pytest.approx(((received + 1) ** 2 - (received - 1) ** 2) / (2 * 0.8**2), rel=1e-6)
    with pytest.raises(ShapeError):
        channel.awgn_llr(bits, noise[:2], 0.8)

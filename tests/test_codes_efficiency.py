"""Laws of the choice of efficiency, and that a chosen efficiency keeps its promise."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.channel import Qbers, normal_approximation_efficiency
from caligo.codes import design_code, efficiency_for_target_fer, expected_fer
from caligo.codes.efficiency_table import CURVES
from caligo.errors import ConfigError
from caligo.simulation import BscChannel, simulate
from caligo.statistics import Proportion


def test_every_curve_rises() -> None:
    assert set(CURVES) == {1, 2, 4, 8, 16, 32}
    for curves in CURVES.values():
        for points in curves.values():
            assert len(points) >= 2
            for (lower_sum, lower_rate), (sum_, rate) in itertools.pairwise(points):
                assert 0 < lower_sum < sum_
                assert 0 < lower_rate < rate < 1


@given(
    stages=st.integers(6, 13),
    shortened=st.integers(0, 20),
    qber=st.sampled_from([0.01, 0.0234, 0.05, 0.11]),
    list_size=st.sampled_from([1, 2, 8, 32]),
    target=st.floats(1e-6, 0.9),
    check=st.sampled_from(["none", "crc16", "crc24", "crc32"]),
)
@settings(max_examples=60)
def test_the_chosen_efficiency_is_expected_to_keep_the_target(
    stages: int, shortened: int, qber: float, list_size: int, target: float, check: str
) -> None:
    block_length = 1 << stages
    payload = block_length - shortened
    efficiency = efficiency_for_target_fer(block_length, payload, qber, list_size, target, check)
    code = design_code(block_length, payload_length=payload, qber=qber, efficiency=efficiency, check=check)
    assert expected_fer(code, list_size, qber) <= 1.1 * target or code.info_length == 1


def test_more_reliability_costs_more_and_a_longer_list_or_block_less() -> None:
    def chosen(stages: int, list_size: int, target: float) -> float:
        return efficiency_for_target_fer(1 << stages, 1 << stages, 0.02, list_size, target)

    by_target = [chosen(12, 8, target) for target in (0.5, 0.1, 0.01, 1e-3, 1e-5)]
    assert by_target == sorted(by_target)
    by_list = [chosen(12, list_size, 0.01) for list_size in (32, 16, 8, 4, 2, 1)]
    assert by_list == sorted(by_list)
    by_length = [chosen(stages, 32, 0.01) for stages in range(17, 7, -1)]
    assert by_length == sorted(by_length)
    assert all(
        chosen(stages, 32, 0.01) > normal_approximation_efficiency(1 << stages, 0.02, 0.01)
        for stages in (10, 12, 14, 16)
    )


def test_a_worse_channel_than_assumed_is_expected_to_fail_more() -> None:
    code = design_code(4096, qber=0.02, efficiency=efficiency_for_target_fer(4096, 4096, 0.02, 8, 0.01))
    rates = [expected_fer(code, 8, qber) for qber in (0.015, 0.02, 0.022, 0.025, 0.1)]
    assert rates == sorted(rates)
    assert rates[1] == pytest.approx(0.01, rel=0.05)
    assert rates[-1] > 0.999


@pytest.mark.parametrize(
    "changes",
    [
        {"target_fer": 0.0},
        {"target_fer": 1.0},
        {"target_fer": float("nan")},
        {"list_size": 33},
        {"list_size": 0},
        {"qber": 0.0},
        {"qber": 0.5},
        {"qber": 0.3},
        {"payload_length": 32},
        {"payload_length": 5000},
        {"block_length": 4095},
        {"check": "crc8"},
    ],
)
def test_an_impossible_wish_is_refused(changes: dict[str, object]) -> None:
    arguments: dict[str, object] = {
        "block_length": 4096,
        "payload_length": 4096,
        "qber": 0.02,
        "list_size": 8,
        "target_fer": 0.01,
    }
    with pytest.raises(ConfigError):
        efficiency_for_target_fer(**(arguments | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stages", "payload", "qber", "list_size", "target", "frames"),
    [
        (10, 1024, 0.02, 8, 0.05, 2000),
        (11, 2048, 0.03, 1, 0.1, 2000),
        (12, 4096, 0.02, 32, 0.03, 2000),
        (12, 3000, 0.035, 8, 0.05, 2000),
        (13, 8000, 0.01, 4, 0.05, 1000),
        (14, 3277, 0.02, 32, 0.01, 2000),
        (12, 4096, (0.049, 0.024), 32, 0.03, 2000),
        (13, 6000, (0.005, 0.03), 8, 0.05, 1000),
    ],
)
def test_a_chosen_efficiency_keeps_its_promise(
    stages: int, payload: int, qber: Qbers, list_size: int, target: float, frames: int
) -> None:
    """The 99.9 % interval of the measured rate meets [target / 2, target · 1.5], payloads of any length included."""
    efficiency = efficiency_for_target_fer(1 << stages, payload, qber, list_size, target)
    code = design_code(1 << stages, payload_length=payload, qber=qber, efficiency=efficiency)
    result = simulate(code, BscChannel(qber), list_size=list_size, frames=frames, seed=3, threads=2)
    low, high = Proportion(result.frame_errors, result.frames).interval(0.999)
    assert low <= 1.5 * target
    assert high >= target / 2

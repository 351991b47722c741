"""Published and promised error rates, with enough frames to tell."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from caligo.codes import design_code, efficiency_for_target_fer
from caligo.simulation import AwgnChannel, BscChannel, design_for_channel, simulate
from caligo.statistics import Proportion

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]

# N = 2048, 1024 information bits and CRC-32, BPSK over AWGN, Gaussian-approximation sets designed at each point;
# source: github.com/aff3ct/error_rate_references. The points at L = 1, 8 and 32 are to be met closely; the others,
# published with fewer errors, bracket them.
PUBLISHED = {
    (1.5, 1): 4.99e-1,
    (1.5, 2): 1.81e-1,
    (1.5, 4): 7.48e-2,
    (1.5, 8): 3.59e-2,
    (1.5, 16): 1.48e-2,
    (1.5, 32): 8.74e-3,
    (2.0, 1): 1.06e-1,
    (2.0, 2): 2.00e-2,
    (2.0, 4): 3.38e-3,
}


@pytest.mark.parametrize(("ebn0_db", "list_size"), PUBLISHED)
def test_published_awgn_error_rates_are_reproduced(ebn0_db: float, list_size: int) -> None:
    channel = AwgnChannel(ebn0_db)
    code = design_for_channel(channel, 2048, info_length=1024, check="crc32")
    result = simulate(code, channel, list_size=list_size, frames=1_000_000, max_frame_errors=400, seed=1, threads=2)
    print(ebn0_db, list_size, result.fer, result)
    assert result.frame_errors == 400
    assert result.fer is not None
    least, most = (0.8, 1.25) if ebn0_db == 1.5 and list_size in (1, 8, 32) else (0.7, 1.4)
    assert least <= result.fer / PUBLISHED[ebn0_db, list_size] <= most


@pytest.mark.parametrize(
    ("stages", "efficiency", "most", "frames"), [(16, 1.24, 0.018, 6000), (12, 1.35, 0.12, 20_000)]
)
def test_list_decoding_on_the_binary_symmetric_channel_is_as_good_as_promised(
    stages: int, efficiency: float, most: float, frames: int
) -> None:
    """L = 32, QBER 2 %, frozen and check bits counted."""
    code = design_code(1 << stages, qber=0.02, efficiency=efficiency, check="crc32")
    assert code.efficiency(0.02) == pytest.approx(efficiency, abs=1e-3)
    result = simulate(code, BscChannel(0.02), list_size=32, frames=frames, seed=1, threads=2)
    print(stages, efficiency, result.fer, result)
    assert result.undetected_errors == 0
    assert result.fer is not None
    assert result.fer <= most


def test_segments_of_a_long_block_keep_the_promised_error_rate() -> None:
    """N = 2^20, QBER 2 %, f = 1.145 with the checks of the segments, lists of 1 and 8 first: FER at most 2 %."""
    code = design_code(1 << 20, qber=0.02, efficiency=1.145, segment_length=1 << 16)
    assert code.segment_check_bits == 16 * 16
    assert code.efficiency(0.02) == pytest.approx(1.145, abs=1e-4)
    result = simulate(code, BscChannel(0.02), list_size=32, escalation=(1, 8), frames=2000, seed=1, threads=2)
    print(result.fer, result)
    assert result.undetected_errors == 0
    assert Proportion(result.frame_errors, result.frames).interval(0.95)[1] <= 0.02


@pytest.mark.parametrize("escalation", [(), (8,), (1, 8)])
def test_a_block_in_segments_fails_no_more_often_than_whole(escalation: tuple[int, ...]) -> None:
    """The same information set, L = 32, where whole blocks fail in 6 of 100."""
    whole = design_code(1 << 16, qber=0.02, efficiency=1.20)
    cut = replace(whole, segment_length=1 << 13, segment_check="crc16")
    channel, frames = BscChannel(0.02), 4000
    expected = simulate(whole, channel, list_size=32, frames=frames, seed=3, threads=2)
    result = simulate(cut, channel, list_size=32, escalation=escalation, frames=frames, seed=3, threads=2)
    print(escalation, expected.fer, result.fer, expected, result)
    assert result.undetected_errors == 0
    assert result.frame_errors <= expected.frame_errors + 3 * math.sqrt(expected.frame_errors)


@pytest.mark.parametrize(
    ("stages", "payload", "qber", "list_size", "target", "frames"),
    [
        (10, 1024, 0.01, 32, 0.01, 20_000),
        (12, 4096, 0.02, 32, 1e-3, 40_000),
        (14, 16384, 0.03, 8, 0.01, 10_000),
        (15, 30_000, 0.02, 32, 0.01, 8000),
        (16, 65536, 0.02, 32, 0.01, 6000),
        (17, 100_000, 0.05, 16, 0.03, 1500),
        (20, 1 << 20, 0.02, 32, 0.05, 400),
    ],
)
def test_a_chosen_efficiency_keeps_its_promise(
    stages: int, payload: int, qber: float, list_size: int, target: float, frames: int
) -> None:
    """The 99 % interval of the measured rate meets [target / 2.5, target · 1.25]."""
    efficiency = efficiency_for_target_fer(1 << stages, payload, qber, list_size, target)
    code = design_code(1 << stages, payload_length=payload, qber=qber, efficiency=efficiency)
    result = simulate(code, BscChannel(qber), list_size=list_size, frames=frames, seed=2, threads=2)
    low, high = Proportion(result.frame_errors, result.frames).interval(0.99)
    print(stages, payload, qber, list_size, target, round(efficiency, 4), result.fer, (low, high))
    assert low <= 1.25 * target
    assert high >= target / 2.5

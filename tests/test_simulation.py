"""Laws of Monte-Carlo simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.bits import count_ones, unpack
from caligo.codes import PolarCode, design_code
from caligo.errors import ConfigError
from caligo.simulation import (
    AwgnChannel,
    BscChannel,
    FrameBatch,
    Outcome,
    Simulation,
    SimulationResult,
    design_for_channel,
    sample_frames,
    simulate,
)

NOISY = BscChannel(0.03)


def noisy_code() -> PolarCode:
    return design_code(512, qber=0.03, efficiency=1.5)


def counted(result: SimulationResult) -> tuple[int, int, int]:
    return result.frames, result.detected_failures, result.undetected_errors


@pytest.mark.parametrize("channel", [NOISY, AwgnChannel(1.5)], ids=str)
@pytest.mark.parametrize("max_frame_errors", [None, 1, 17, 10_000])
def test_threads_change_nothing_but_the_time(channel: BscChannel | AwgnChannel, max_frame_errors: int | None) -> None:
    code = design_for_channel(channel, 256, info_length=128, check="crc16")
    answers = set()
    for threads in (1, 2, 5):
        records: list[tuple[int, int]] = []

        def keep(batch: FrameBatch, records: list[tuple[int, int]] = records) -> None:
            records.extend(enumerate(batch.outcomes.tolist(), batch.first))

        result = simulate(
            code,
            channel,
            list_size=2,
            frames=1500,
            max_frame_errors=max_frame_errors,
            seed=5,
            threads=threads,
            on_batch=keep,
        )
        assert [frame for frame, _ in records] == list(range(result.frames))
        assert sum(outcome != Outcome.OK for _, outcome in records) == result.frame_errors
        answers.add((counted(result), tuple(records)))
    assert len(answers) == 1


@pytest.mark.parametrize("wanted", [1, 2, 50, 200])
def test_a_simulation_stops_at_the_wanted_error(wanted: int) -> None:
    code = noisy_code()
    outcomes: list[int] = []
    everything = simulate(
        code, NOISY, list_size=1, frames=1000, seed=2, on_batch=lambda batch: outcomes.extend(batch.outcomes.tolist())
    )
    assert everything.frames == 1000
    assert everything.frame_errors > 200
    places = np.flatnonzero(np.array(outcomes) != Outcome.OK)
    stopped = simulate(code, NOISY, list_size=1, frames=1000, max_frame_errors=wanted, seed=2, threads=3)
    assert stopped.frame_errors == wanted
    assert stopped.frames == places[wanted - 1] + 1


def test_a_run_in_two_parts_adds_up_to_the_whole() -> None:
    with Simulation(noisy_code(), NOISY, list_size=2, seed=9, threads=2) as simulation:
        whole = simulation.run(900)
        parts = simulation.run(333) + simulation.run(567, first_frame=333)
    assert counted(parts) == counted(whole)


results = st.builds(
    SimulationResult,
    frames=st.integers(0, 10**6),
    detected_failures=st.integers(0, 10**3),
    undetected_errors=st.integers(0, 10**3),
    elapsed_ns=st.integers(0, 10**12),
)


@given(a=results, b=results, c=results)
def test_results_add_up_in_any_grouping_and_order(
    a: SimulationResult, b: SimulationResult, c: SimulationResult
) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + SimulationResult() == a


def test_rates_are_counts_over_frames() -> None:
    result = SimulationResult(frames=200, detected_failures=3, undetected_errors=1, elapsed_ns=2_000_000)
    assert result.frame_errors == 4
    assert result.fer == 0.02
    low, high = result.fer_interval()
    assert 0.005 < low < 0.02 < high < 0.051
    assert result.mbps(1000) == pytest.approx(100.0)
    assert SimulationResult().fer is None
    assert SimulationResult().mbps(1000) is None
    assert SimulationResult().fer_interval() == (0.0, 1.0)


def test_a_frame_depends_on_seed_and_index_alone() -> None:
    code = noisy_code()
    together = sample_frames(code, NOISY, 7, 0, 10)
    assert together.received is not None
    for index in (0, 3, 9):
        alone = sample_frames(code, NOISY, 7, index, 1)
        assert alone.received is not None
        assert (alone.blocks[0] == together.blocks[index]).all()
        assert (alone.received[0] == together.received[index]).all()
    other = sample_frames(code, NOISY, 8, 0, 10)
    assert (other.blocks != together.blocks).any(axis=1).all()
    wider = sample_frames(design_code(512, qber=0.03, efficiency=2.0), NOISY, 7, 0, 10)
    assert wider.received is not None
    assert (wider.received == together.received).all()


def test_the_binary_symmetric_channel_flips_as_often_as_it_says() -> None:
    code = design_code(4096, payload_length=4001, qber=0.03, efficiency=1.5)
    frames = sample_frames(code, NOISY, 1, 0, 250)
    assert frames.received is not None
    flips = count_ones(frames.blocks ^ frames.received)
    bits = 250 * 4001
    assert abs(flips - 0.03 * bits) < 4 * math.sqrt(bits * 0.03 * 0.97)
    assert abs(count_ones(frames.blocks) - bits / 2) < 4 * math.sqrt(bits / 4)
    assert not unpack(frames.blocks, 4096)[:, 4001:].any()
    assert not unpack(frames.received, 4096)[:, 4001:].any()


def test_errors_of_a_pair_are_as_frequent_at_each_of_bobs_bits_as_it_says() -> None:
    code = design_code(4096, payload_length=4001, qber=0.03, efficiency=1.5)
    frames = sample_frames(code, BscChannel((0.05, 0.01)), 1, 0, 250)
    assert frames.received is not None
    errors, ones = frames.blocks ^ frames.received, count_ones(frames.received)
    for flips, bits, rate in (
        (count_ones(errors & ~frames.received), 250 * 4001 - ones, 0.05),
        (count_ones(errors & frames.received), ones, 0.01),
    ):
        assert abs(bits - 250 * 4001 / 2) < 4 * math.sqrt(250 * 4001 / 4)
        assert abs(flips - rate * bits) < 4 * math.sqrt(bits * rate * (1 - rate))
    assert not unpack(frames.blocks, 4096)[:, 4001:].any()


def test_gaussian_llrs_have_the_mean_and_variance_of_the_channel() -> None:
    channel = AwgnChannel(1.0)
    code = design_for_channel(channel, 1024, payload_length=1000, info_length=500, check="none")
    sigma = channel.sigma(0.5)
    assert sigma == pytest.approx(10 ** (-1.0 / 20))
    frames = sample_frames(code, channel, 1, 0, 200)
    assert frames.llr is not None
    assert not frames.llr[:, 1000:].any()
    signs = 1.0 - 2.0 * unpack(frames.blocks, 1000)
    towards = frames.llr[:, :1000] * signs
    assert towards.mean() == pytest.approx(2 / sigma**2, rel=0.01)
    assert towards.var() == pytest.approx(4 / sigma**2, rel=0.02)


def test_without_a_check_every_error_is_undetected() -> None:
    code = design_code(512, qber=0.03, efficiency=1.2, check="none")
    result = simulate(code, NOISY, list_size=4, frames=200)
    assert result.detected_failures == 0
    assert result.undetected_errors > 0


def test_with_a_check_an_error_is_detected() -> None:
    result = simulate(noisy_code(), NOISY, list_size=4, frames=500)
    assert result.undetected_errors == 0
    assert result.detected_failures > 0


def test_a_broken_listener_stops_the_simulation() -> None:
    def broken(batch: FrameBatch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(noisy_code(), NOISY, list_size=1, frames=100_000, threads=2, on_batch=broken)


@pytest.mark.parametrize(
    "arguments",
    [
        {"frames": 0},
        {"frames": 1.5},
        {"max_frame_errors": 0},
        {"seed": -1},
        {"seed": 1 << 64},
        {"threads": 0},
        {"list_size": 33},
        {"codec": "turbo"},
        {"precision": "f16"},
        {"engine": "no such engine"},
        {"channel": "bsc"},
    ],
)
def test_a_simulation_that_cannot_run_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        simulate(noisy_code(), **({"channel": NOISY, "list_size": 2, "frames": 10} | arguments))


@pytest.mark.parametrize(
    "make",
    [
        lambda: BscChannel(0.0),
        lambda: BscChannel(0.5),
        lambda: BscChannel(math.nan),
        lambda: AwgnChannel(math.nan),
        lambda: AwgnChannel(math.inf),
        lambda: design_for_channel(AwgnChannel(1.0), 256),
        lambda: design_for_channel(AwgnChannel(1.0), 256, efficiency=1.5, info_length=100),
        lambda: design_for_channel(AwgnChannel(1.0), 256, info_length=257),
        lambda: design_for_channel(AwgnChannel(1.0), 256, info_length=250),
        lambda: design_for_channel(BscChannel(0.02), 256),
    ],
)
def test_an_impossible_channel_or_budget_is_refused(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()

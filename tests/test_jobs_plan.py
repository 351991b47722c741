"""Plans of jobs: every key bit has one place, whatever the length of the key."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.codes import efficiency_for_target_fer
from caligo.errors import ConfigError, KeyFileError
from caligo.jobs.plan import Group, default_block_length, minimum_payload, plan_layout
from caligo.reconciliation.verification import MINIMUM_GROUP_BITS, group_sizes

block_lengths = st.integers(1, 22).map(lambda n: 1 << n)


@given(st.integers(1, 1 << 27), block_lengths)
def test_every_key_bit_is_in_one_block_or_discarded(key_bits: int, block_length: int) -> None:
    if key_bits < minimum_payload(block_length):
        with pytest.raises(KeyFileError):
            plan_layout(key_bits, block_length)
        return
    layout = plan_layout(key_bits, block_length)
    position = block = 0
    for segment in layout.segments:
        assert (segment.start_bit, segment.first_block) == (position, block)
        position += segment.key_bits
        block += segment.blocks
        assert segment.payload_length <= segment.block_length <= block_length
        assert segment.block_length & (segment.block_length - 1) == 0
    assert position + layout.discarded_bits == key_bits
    assert block == layout.blocks
    assert layout.discarded_bits < minimum_payload(block_length) <= 256


@given(st.integers(1, 1 << 27), block_lengths)
def test_less_than_half_of_a_block_is_shortened(key_bits: int, block_length: int) -> None:
    if key_bits >= minimum_payload(block_length):
        for segment in plan_layout(key_bits, block_length).segments:
            assert 2 * segment.payload_length > segment.block_length or segment.block_length == 2


@given(st.integers(1 << 8, 1 << 23), st.integers(9, 20).map(lambda n: 1 << n), st.integers(1, 1 << 21))
def test_windows_take_every_block_once_in_order_within_one_group(
    key_bits: int, block_length: int, window_bits: int
) -> None:
    layout = plan_layout(key_bits, block_length)
    groups = list(layout.groups())
    block = position = 0
    for window in itertools.islice(layout.windows(window_bits), 5000):
        assert (window.first_block, window.start_bit) == (block, position)
        assert window.blocks == 1 or window.key_bits <= window_bits
        group = groups[window.group]
        assert group.first_block <= window.first_block
        assert window.first_block + window.blocks <= group.first_block + group.blocks
        assert window.block_length == layout.segments[window.segment].block_length
        block += window.blocks
        position += window.key_bits
    if block < layout.blocks:
        assert len(list(itertools.islice(layout.windows(window_bits), 5001))) == 5001


@given(st.integers(1 << 8, 1 << 27), st.integers(9, 24).map(lambda n: 1 << n))
def test_a_group_is_found_without_those_before_it(key_bits: int, block_length: int) -> None:
    layout = plan_layout(key_bits, block_length)
    sizes = list(group_sizes([(segment.blocks, segment.payload_length) for segment in layout.segments]))
    assert layout.group_count == len(sizes)
    first = 0
    for index, blocks in enumerate(sizes):
        assert layout.group(index) == Group(index, first, blocks)
        windows = list(layout.windows_of(layout.group(index)))
        assert layout.start_bit(first) == windows[0].start_bit
        assert [window.ends_group for window in windows] == [False] * (len(windows) - 1) + [True]
        first += blocks
    assert layout.start_bit(first) == layout.key_bits - layout.discarded_bits


def test_a_plan_for_ten_billion_bits_takes_no_memory_or_time() -> None:
    layout = plan_layout(10**10 + 12345, 1 << 12)
    assert layout.blocks == 10**10 // 4096 + 1 + (10**10 % 4096 + 12345) // 4096
    first = next(iter(layout.windows()))
    assert first.key_bits == 1 << 18
    assert next(iter(layout.groups())).blocks == MINIMUM_GROUP_BITS >> 12


@given(st.integers(1, 10**12))
def test_the_default_block_length_suits_the_key(key_bits: int) -> None:
    block_length = default_block_length(key_bits)
    assert block_length & (block_length - 1) == 0
    if key_bits <= 1 << 17:
        assert key_bits <= block_length < max(2 * key_bits, 3)
    else:
        assert 1 << 16 <= block_length <= 1 << 20
        assert block_length == 1 << 16 or 4 * block_length <= key_bits
        assert block_length == 1 << 20 or 8 * block_length > key_bits


@pytest.mark.parametrize("key_bits", [70_000, 100_000, 131_072, 300_000, 1 << 20, 5_000_000])
def test_the_default_layout_discloses_no_more_than_that_of_shorter_blocks(key_bits: int) -> None:
    def disclosed(block_length: int) -> float:
        return sum(
            segment.key_bits * efficiency_for_target_fer(segment.block_length, segment.payload_length, 0.02, 32, 0.01)
            for segment in plan_layout(key_bits, block_length).segments
        )

    chosen = default_block_length(key_bits)
    assert disclosed(chosen) == min(disclosed(length) for length in (chosen, chosen // 2, chosen // 4))


@pytest.mark.parametrize("block_length", [0, 1, -8, 1000, 1 << 25, True, 2.0])
def test_a_block_length_that_is_no_power_of_two_is_refused(block_length: int) -> None:
    with pytest.raises(ConfigError):
        plan_layout(10_000, block_length)

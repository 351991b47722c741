"""Laws of the public interleaver: a permutation by the written rule, invertible, in any stretch; and what it is for."""

from __future__ import annotations

import hashlib
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caligo import _native, reconcile
from caligo.bits import count_ones, pack, unpack
from caligo.errors import ConfigError, ShapeError
from caligo.jobs.sources import ArrayKey
from caligo.keys import InterleavedKey, InterleavingWriter, PackedKeyReader, PackedKeyWriter, copy_key
from caligo.keys.interleaving import Permutation, interleaving_bytes, window_order
from caligo.randomness import interleaving_seed, simulation_bits, simulation_errors

SPECIFICATION = Path(__file__).resolve().parent.parent / "specs" / "randomness.md"

in_one_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)


def vectors() -> dict[str, Any]:
    section = SPECIFICATION.read_text().split("## Interleaving", 1)[1]
    found = json.loads(re.search(r"```json\n(.*?)```", section, re.DOTALL)[1])  # type: ignore[index]
    assert isinstance(found, dict)
    return found


def written_rule(seed: int, bits: int) -> list[int]:
    """The permutation as specs/randomness.md has it, one word at a time."""

    def word(index: int) -> int:
        counter = (index // 2, 5, bits & 0xFFFFFFFF, bits >> 32)
        low, high = _native.philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))[2 * (index % 2) :][:2]
        return low | high << 32

    return sorted(range(bits), key=lambda index: (word(index) >> 24, index))


@given(st.integers(0, 2**64 - 1), st.integers(1, 300))
def test_the_permutation_is_that_of_the_written_rule(seed: int, bits: int) -> None:
    assert window_order(seed, bits).tolist() == written_rule(seed, bits)


def test_the_vectors_of_the_specification_hold() -> None:
    written = vectors()
    for vector in written["orders"]:
        assert window_order(vector["seed"], vector["bits"]).tolist() == vector["order"]
    long = written["long"]
    order = window_order(long["seed"], long["bits"])
    assert hashlib.sha256(order.astype("<u4").tobytes()).hexdigest() == long["sha256"]
    assert interleaving_seed(bytes(range(32))) == written["interleaving_seed"]


@given(st.integers(1, 10**7), st.integers(1, 10**5))
def test_windows_take_every_bit_once_and_differ_by_one_bit_at_most(key_bits: int, window_bits: int) -> None:
    permutation = Permutation(key_bits, 1, window_bits=window_bits)
    assert permutation.start(0) == 0
    assert permutation.start(permutation.windows) == key_bits
    for window in {0, permutation.windows // 2, permutation.windows - 1}:
        first, after = permutation.start(window), permutation.start(window + 1)
        assert key_bits // permutation.windows <= after - first <= min(window_bits, -(-key_bits // permutation.windows))
        assert permutation.window_of(first) == permutation.window_of(after - 1) == window


@in_one_directory
@given(st.integers(1, 3000), st.integers(1, 700), st.integers(0, 2**64 - 1), st.data())
def test_interleaving_is_undone_by_its_inverse_in_any_stretch(
    tmp_path: Path, key_bits: int, window_bits: int, seed: int, data: st.DataObject
) -> None:
    bits = np.random.default_rng(key_bits).integers(0, 2, key_bits, dtype=np.uint8)
    permuted = InterleavedKey(ArrayKey(pack(bits), key_bits), seed, window_bits=window_bits)
    whole = unpack(permuted.read_bits(0, key_bits), key_bits)
    start = data.draw(st.integers(0, key_bits))
    count = data.draw(st.integers(0, key_bits - start))
    assert np.array_equal(permuted.read_bits(start, count), pack(whole[start : start + count]))
    again = InterleavedKey(ArrayKey(pack(whole), key_bits), seed, window_bits=window_bits, inverse=True)
    assert np.array_equal(again.read_bits(start, count), pack(bits[start : start + count]))
    path = tmp_path / "key"
    with InterleavingWriter(
        PackedKeyWriter(path), key_bits, seed, window_bits=window_bits, inverse=data.draw(st.booleans())
    ) as writer:
        copy_key(permuted if writer._inverse else ArrayKey(pack(bits), key_bits), writer, window_bits=97)
    with PackedKeyReader(path, key_bits=key_bits) as reader:
        assert np.array_equal(reader.read_bits(0, key_bits), pack(bits if writer._inverse else whole))


def test_a_writer_takes_exactly_the_key_it_was_told_of(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="got 8"), InterleavingWriter(PackedKeyWriter(tmp_path / "a"), 9, 1) as writer:
        writer.append(pack(np.zeros(8, np.uint8)), 8)
    with pytest.raises(ShapeError, match="got more"), InterleavingWriter(PackedKeyWriter(tmp_path / "b"), 7, 1) as more:
        more.append(pack(np.zeros(8, np.uint8)), 8)
    assert list(tmp_path.iterdir()) == []
    for window_bits in (0, (1 << 24) + 1):
        with pytest.raises(ConfigError):
            Permutation(8, 1, window_bits=window_bits)


def test_interleaving_a_bursty_key_makes_the_decoder_fail_far_less() -> None:
    """Nine tenths of the key at 1.2 %, stretches of 2^12 bits, one tenth in all, at 9 %: 2 % on average."""
    block, blocks = 1 << 12, 80
    key_bits = block * blocks
    alice = simulation_bits(3, 1, 0, key_bits)  # type: ignore[arg-type]
    rates = [0.09 if chunk % 10 == 7 else 0.0122 for chunk in range(blocks)]
    errors = np.concatenate([simulation_errors(3, chunk, block, rate) for chunk, rate in enumerate(rates)])
    bob = alice ^ errors
    settings_ = {"qber": 0.02, "block_length": block, "list_size": 8, "efficiency": 1.65, "threads": 1}
    plain = reconcile(alice, bob, **settings_)
    spread = reconcile(alice, bob, interleave=True, seed=5, **settings_)
    assert count_ones(errors) / key_bits == pytest.approx(0.02, abs=0.001)
    assert plain.blocks_failed >= 8
    assert spread.blocks_failed == 0
    assert spread.keys_equal
    assert spread.alice_key is not None
    assert spread.bob_key is not None
    assert np.array_equal(spread.alice_key, spread.bob_key)
    assert not np.array_equal(spread.alice_key, alice)
    assert count_ones(spread.alice_key) == count_ones(alice)


def test_two_keys_permuted_alike_take_what_is_planned_for_them() -> None:
    key_bits, window_bits = 3_000_001, 1 << 20
    keys = [np.zeros(-(-key_bits // 8), dtype=np.uint8) for _ in range(2)]
    tracemalloc.start()
    try:
        alice = InterleavedKey(ArrayKey(keys[0], key_bits), 1, window_bits=window_bits)
        bob = InterleavedKey(ArrayKey(keys[1], key_bits), 1, permutation=alice.permutation)
        for start in range(0, key_bits - 4096, 1 << 18):
            assert np.array_equal(alice.read_bits(start, 4096), bob.read_bits(start, 4096))
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    planned = interleaving_bytes(key_bits, window_bits)
    # The random words, a third of it, are allocated where tracemalloc does not see them.
    assert 0.4 * planned < taken < planned

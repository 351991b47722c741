"""The decoder as shipped: the engines of the built extension agree with each other.

The same law, and agreement with the written rules, is tested in Rust (`caligo/_native/tests/engines.rs`), but there
with other compiler settings than the extension is built with.
"""

from __future__ import annotations

import numpy as np
import pytest

from caligo import _native


@pytest.mark.parametrize("precision", ["int8", "f32"])
@pytest.mark.parametrize("log2_length", range(1, 15))
def test_the_engines_of_the_extension_agree(log2_length: int, precision: str) -> None:
    random = np.random.default_rng(log2_length)
    block_length, row_bytes, blocks = 1 << log2_length, max(1, (1 << log2_length) // 8), 4
    errors = _native.design_density_evolution(block_length, block_length, 0.05)
    for list_size in (1, 2, 4, 8, 16, 32):
        info = np.zeros(block_length, np.uint8)
        info[np.argsort(errors, kind="stable")[: random.integers(block_length // 2, block_length)]] = 1
        info_set = np.packbits(info, bitorder="little")
        received_bits = (random.random((blocks, block_length)) < 0.05).astype(np.uint8)
        received = np.packbits(received_bits, axis=1, bitorder="little")
        llr = ((1 - 2.0 * received_bits) * random.integers(0, 9, received_bits.shape)).astype(np.float32)
        zeros, checks = np.zeros((blocks, row_bytes), np.uint8), np.zeros(blocks, np.uint32)
        outcomes = []
        for engine in _native.engines():
            decoder = _native.PolarDecoder(
                block_length, info_set, list_size, check="crc16", precision=precision, engine=engine
            )
            outcome = []
            for decode, arguments in (
                (decoder.decode_bsc, (received, zeros, checks, 0.05)),
                (decoder.decode_bsc, (received, zeros, checks, (0.08, 0.02))),
                (decoder.decode_soft, (llr, zeros, checks)),
            ):
                decoded, ok = np.zeros_like(zeros), np.zeros(blocks, np.bool_)
                decode(*arguments, decoded, ok, np.zeros(blocks, np.uint64))
                outcome += [decoded.tobytes(), ok.tobytes()]
            outcomes.append(outcome)
        assert all(outcome == outcomes[0] for outcome in outcomes)

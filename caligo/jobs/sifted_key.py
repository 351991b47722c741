"""A key file as a session of two parties wants it.

Covers: disclosing the sample, permuting what remains, cutting it into blocks. Does not cover: reading files
(:mod:`caligo.keys`), what a session does with the bits (:mod:`caligo.reconciliation.session`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from caligo.bits import Packed, packed_bytes
from caligo.keys import InterleavedKey, KeyReader, RemainingKey, read_positions
from caligo.randomness import interleaving_seed, sampled_positions

__all__ = ["SiftedKey"]


class SiftedKey:
    """One side's key, less and less of it.

    Args:
        reader: of the whole key; whoever opened it closes it.
    """

    def __init__(self, reader: KeyReader) -> None:
        self._reader = reader
        self.key_bits = reader.key_bits

    def sample(self, sampling_seed: bytes, sample_bits: int) -> Packed:
        """See `caligo.reconciliation.session.Key.sample`."""
        positions = sampled_positions(sampling_seed, self.key_bits, sample_bits)
        disclosed = read_positions(self._reader, positions)
        self._reader = RemainingKey(self._reader, positions)
        return disclosed

    def interleave(self, sampling_seed: bytes) -> None:
        """Permute what remains, publicly; the reconciled key stays in that order."""
        self._reader = InterleavedKey(self._reader, interleaving_seed(sampling_seed))

    def block(self, start_bit: int, payload_length: int, block_length: int) -> NDArray[np.uint8]:
        """See `caligo.reconciliation.session.Key.block`."""
        row = np.zeros(max(1, block_length // 8), dtype=np.uint8)
        row[: packed_bytes(payload_length)] = self._reader.read_bits(start_bit, payload_length)
        return row

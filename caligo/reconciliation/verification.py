"""Verification: does Bob now hold Alice's key, with a probability of error that can be stated?

Covers: tags of groups of blocks by an ε-almost-universal hash over GF(2^128), how blocks form groups, how the wrong
blocks of a group are told apart from the others, the ε of a run. Does not cover: the hash itself
(:func:`caligo._native.universal_hash`, ``specs/rust-polar-crate.md``), the key it is used with
(:class:`caligo.randomness.SecurityRandomness`: fresh from the operating system after the keys are fixed, public).

A group is a run of consecutive blocks with at least `MINIMUM_GROUP_BITS` payload bits; what is left at the end of the
key joins the last group. The blocks of a group that passed their check are joined, bit for bit and in order, and
hashed: Alice discloses her tag, Bob compares. A group without such a block has no tag and discloses none.

If the tags differ, some block is wrong. Where that is worth it (:func:`worth_telling_apart`) Alice discloses a tag of
each hashed block, Bob says which agree, and the others have failed; otherwise, or if all of these agree, every hashed
block of the group has failed.

For two different keys of n bits the tags agree with probability at most (⌈n / 128⌉ + 1) / 2^128 over the hash key.
Which blocks are wrong is settled before the hash key is used, so all tags of a run may use one key: the probability
that a run accepts any wrong block is at most the sum over the tags of groups, and over those of blocks in groups that
hold a wrong one. Such a group is one whose tags differ, unless they agree by chance, which the first sum counts. So the
sum over all tags that a run compared is the bound.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from caligo import _native
from caligo.bits import BitWriter, Packed, slice_bits
from caligo.errors import ConfigError

__all__ = [
    "MINIMUM_GROUP_BITS",
    "MINIMUM_TOLD_APART_BITS",
    "TAG_BITS",
    "Payload",
    "group_epsilon",
    "group_sizes",
    "tags_agree",
    "worth_telling_apart",
]

TAG_BITS = 128
"""Bits of a tag, all of them disclosed."""

MINIMUM_GROUP_BITS = 1 << 20
"""Least payload of a group: a tag then costs at most 0.012 % of the key."""

MINIMUM_TOLD_APART_BITS = 1 << 9
"""Least mean payload of blocks that are told apart: their tags then cost at most a quarter of them."""


def group_sizes(runs: Iterable[tuple[int, int]], minimum_bits: int = MINIMUM_GROUP_BITS) -> Iterator[int]:
    """How many consecutive blocks each group takes.

    Args:
        runs: (blocks, payload length in bits) of consecutive runs of equal blocks.
        minimum_bits: least payload of a group, >= 1.

    Yields:
        Numbers of blocks; they add up to all blocks. Every group but a single one has at least `minimum_bits`.
    """
    remaining = [(blocks, payload) for blocks, payload in runs if blocks > 0]
    left = sum(blocks * payload for blocks, payload in remaining)
    blocks_here = bits_here = 0
    for blocks, payload in remaining:
        while blocks:
            missing = max(0, minimum_bits - bits_here)
            taken = min(blocks, max(1, -(-missing // payload)))
            blocks_here += taken
            bits_here += taken * payload
            blocks -= taken
            left -= taken * payload
            if bits_here >= minimum_bits and left >= minimum_bits:
                yield blocks_here
                blocks_here = bits_here = 0
    if blocks_here:
        yield blocks_here


def group_epsilon(bits: int) -> Fraction:
    """Greatest probability, over the hash key, that two different keys have equal tags.

    Args:
        bits: length of the hashed key, >= 0.

    Returns:
        (⌈bits / 128⌉ + 1) / 2^128, exactly; add the groups of a run for its ``epsilon_correctness``.
    """
    return Fraction(-(-bits // TAG_BITS) + 1, 1 << TAG_BITS)


def worth_telling_apart(block_bits: Sequence[int]) -> bool:
    """Whether a group whose tags differ is worth the tags of its blocks.

    Args:
        block_bits: payloads of its hashed blocks.
    """
    return len(block_bits) > 1 and sum(block_bits) >= MINIMUM_TOLD_APART_BITS * len(block_bits)


class Payload:
    """The decoded blocks of one group on one side, joined bit for bit.

    Its content is key material: it has no `repr` of it.
    """

    __slots__ = ("_joined", "_rows", "_writer", "block_bits")

    def __init__(self) -> None:
        # Rows of whole bytes are kept as they came and joined at once; from the first other one on, bit by bit.
        self._rows: list[Packed] = []
        self._writer: BitWriter | None = None
        self._joined: Packed | None = None
        self.block_bits: list[int] = []
        """Payload of each block."""

    def __repr__(self) -> str:
        return f"Payload(bits={self.bits})"

    @property
    def bits(self) -> int:
        """Bits joined so far."""
        return sum(self.block_bits)

    def append(self, rows: NDArray[np.uint8], payload_length: int) -> None:
        """Join more blocks.

        Args:
            rows: uint8 `[blocks, bytes]`, packed blocks, not to be changed afterwards; what lies beyond
                `payload_length` in a row is left out.
            payload_length: key bits in each.

        Raises:
            ShapeError: rows too short.
            ConfigError: the payload was already read.
        """
        if self._joined is not None:
            raise ConfigError("expected an open payload, got one that was read; append every block before")
        batch = np.atleast_2d(rows)
        if self._writer is None and payload_length % 8 == 0 and 8 * batch.shape[1] == payload_length:
            self._rows.append(batch.reshape(-1))
        else:
            if self._writer is None:
                self._writer = BitWriter()
                for row in self._rows:
                    self._writer.append(row, 8 * len(row))
                self._rows.clear()
            self._writer.append(rows, payload_length)
        self.block_bits += [payload_length] * len(batch)

    @property
    def packed(self) -> Packed:
        """All of it, packed uint8 `[ceil(bits / 8)]`; nothing can be appended afterwards."""
        if self._joined is None:
            if self._writer is not None:
                self._joined = np.frombuffer(self._writer.getvalue(), dtype=np.uint8)
            elif len(self._rows) == 1:
                self._joined = self._rows[0]
            else:
                self._joined = np.concatenate(self._rows) if self._rows else np.empty(0, dtype=np.uint8)
        return self._joined

    def tag(self, hash_key: bytes) -> bytes:
        """The tag this side discloses or compares.

        Args:
            hash_key: 32 bytes.

        Returns:
            16 bytes.
        """
        return bytes(_native.universal_hash(hash_key, self.packed, self.bits))

    def block_tags(self, hash_key: bytes) -> list[bytes]:
        """The tags of its blocks, where the group's differ.

        Args:
            hash_key: 32 bytes.

        Returns:
            16 bytes for each block.
        """
        return [bytes(_native.universal_hash(hash_key, block, bits)) for block, bits in self._blocks()]

    def only(self, kept: Sequence[bool]) -> Payload:
        """Some of its blocks, joined anew.

        Args:
            kept: for each block, whether it is one of them.
        """
        part = Payload()
        for (block, bits), wanted in zip(self._blocks(), kept, strict=True):
            if wanted:
                part.append(block[None], bits)
        return part

    def _blocks(self) -> Iterator[tuple[Packed, int]]:
        start = 0
        for bits in self.block_bits:
            yield slice_bits(self.packed, start, bits), bits
            start += bits


def tags_agree(alice: bytes, bob: bytes) -> bool:
    """Whether two tags are the same."""
    return hmac.compare_digest(alice, bob)

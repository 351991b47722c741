"""Cascade, the usual way to reconcile: a yardstick to compare strategies with, not one of them.

Covers: the original protocol and the variant with the parameters of Yan et al., as a compact reference implementation
that counts messages and bits as two real parties would exchange them. Does not cover: verification; reconciling key
files, for which it cannot be chosen; transports; any further refinement (reuse of sub-blocks between passes, parities
inferred from other passes, power-of-two block sizes: options 3 to 8 of Martinez-Mateo et al.).

*The protocol.* A pass cuts the key, shuffled by a public permutation (the first pass: as it is), into blocks. Alice
sends the parity of every block, and Bob answers which of his differ: there is an odd number of errors in each of those.
Each is bisected: Alice sends the parity of a half, Bob answers whether his differs, until one position is left, which
he flips. A flip makes the blocks of earlier passes that hold it odd again, so another error is found in them: that is
the cascade. As in the original, the smallest odd blocks come first; a pass ends when no block is odd. Every parity of
Alice is a linear function of her key and counts as one bit of leakage, also where it follows from others; every answer
of Bob depends on both keys and is one bit of his. A parity that she sent once is not sent again.

*Rounds and messages.* All blocks of one pass that are odd at the same time are bisected side by side, one message each
way for a step of all of them: the textbook's thousands of messages become dozens to hundreds. Alice's first message
opens the first pass; each further one waits for an answer, and that is a round; the last answer is the outcome. There
are ``2 + 2 · rounds`` messages, as for every strategy. Bisecting blocks of different passes at once would save a few
rounds, and disclose more: both hunt the same errors.

*Sources.* Original: G. Brassard, L. Salvail, "Secret-key reconciliation by public discussion", EUROCRYPT '93, LNCS 765
(1994): 4 passes, first blocks of 0.73 / QBER, doubled from pass to pass. Variant: H. Yan et al., "Information
reconciliation protocol in quantum key distribution system", ICNC 2008: 10 passes of 0.80 / QBER, five times that, then
halves of the key. Both as in J. Martinez-Mateo et al., "Demystifying the information reconciliation protocol Cascade",
Quantum Inf. Comput. 15 (2015), arXiv:1407.3257 (the variant is its option 2), with block lengths rounded up. Figures
that others measured, at N = 10^4 and a QBER of 2 to 2.7 %: f = 1.14 to 1.17 in 40 to 57 requests for the original,
1.07 to 1.10 in 95 to 170 for the variant (B. Rijsman, cascade-cpp, ``study/data/papers``); here 1.144 in 46 and 1.064
in 129 (``tests/test_cascade.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caligo.bits import Packed, require_packed, unpack
from caligo.channel import validate_qber
from caligo.codes.validation import validate_count
from caligo.randomness import Stream, simulation_bits, validate_seed

__all__ = ["CASCADES", "ORIGINAL", "YAN", "Cascade", "CascadeOutcome", "CascadeVariant"]

MIN_KEY_BITS = 16
MAX_KEY_BITS = 1 << 24
"""Longest key: an index has 24 bits of the 64 that are sorted for a shuffle."""

_INDEX = np.uint64(MAX_KEY_BITS - 1)
_ONE = np.uint64(1)
_IN_WORD = np.uint64(63)


@dataclass(frozen=True, slots=True)
class CascadeVariant:
    """A choice of parameters.

    Args:
        name: what a comparison calls it.
        source: where the parameters are from.
        rule: block length of every pass from the length of the key and the QBER.
    """

    name: str
    source: str
    rule: Callable[[int, float], tuple[int, ...]]

    def block_lengths(self, key_bits: int, qber: float) -> tuple[int, ...]:
        """Block length of every pass, none longer than the key.

        Args:
            key_bits: length of the key.
            qber: 0 < qber < 0.5.
        """
        return tuple(min(length, key_bits) for length in self.rule(key_bits, qber))


def _original(key_bits: int, qber: float) -> tuple[int, ...]:
    first = math.ceil(0.73 / qber)
    return tuple(first << passed for passed in range(4))


def _yan(key_bits: int, qber: float) -> tuple[int, ...]:
    first = math.ceil(0.80 / qber)
    return (first, 5 * first, *[key_bits // 2] * 8)


ORIGINAL = CascadeVariant("cascade-original", "Brassard and Salvail 1994", _original)
YAN = CascadeVariant("cascade-yan", "Yan et al. 2008", _yan)

CASCADES: dict[str, CascadeVariant] = {variant.name: variant for variant in (ORIGINAL, YAN)}
"""By name."""


@dataclass(frozen=True, eq=False, repr=False)
class CascadeOutcome:
    """What became of one key.

    Args:
        decoded: Bob's key afterwards, packed uint8 `[ceil(key_bits / 8)]`. Whether it is Alice's is for verification.
        leakage_bits: parities that Alice sent.
        reply_bits: answers of Bob, one for each.
        rounds: how often Alice waited for an answer before she sent more.
    """

    decoded: Packed
    leakage_bits: int
    reply_bits: int
    rounds: int

    @property
    def messages(self) -> int:
        """Of both."""
        return 2 + 2 * self.rounds

    def __repr__(self) -> str:
        return f"CascadeOutcome(leakage_bits={self.leakage_bits}, rounds={self.rounds})"


class Cascade:
    """One variant for keys of one length; the shuffles are made once and serve any number of keys.

    Args:
        variant: the parameters.
        key_bits: length of the keys, `MIN_KEY_BITS` to `MAX_KEY_BITS`.
        qber: the error rate that both assume, 0 < qber < 0.5.
        seed: names the shuffles, in [0, 2^64); public.

    Raises:
        ConfigError: an argument outside its range.
    """

    def __init__(self, variant: CascadeVariant, key_bits: int, qber: float, *, seed: int = 1) -> None:
        self.variant = variant
        self.key_bits = validate_count(key_bits, "key_bits", MIN_KEY_BITS, MAX_KEY_BITS)
        self.qber = validate_qber(qber)
        self.block_lengths = variant.block_lengths(self.key_bits, self.qber)
        self._layout = _Layout(self.key_bits, self.block_lengths, validate_seed(seed))

    @staticmethod
    def required_bytes(variant: CascadeVariant, key_bits: int, qber: float) -> int:
        """Memory of one object while it reconciles, at most, in bytes: shuffles, their inverses and both parties."""
        passes = len(variant.block_lengths(key_bits, qber))
        return (10 * passes + 16) * key_bits

    def __repr__(self) -> str:
        return f"Cascade({self.variant.name}, key_bits={self.key_bits}, block_lengths={self.block_lengths})"

    def reconcile(self, alice: Packed, bob: Packed) -> CascadeOutcome:
        """Let both talk until the last pass is over.

        Args:
            alice: her key, packed uint8 `[ceil(key_bits / 8)]`; only her side reads it.
            bob: his, likewise.

        Raises:
            ShapeError: wrong dtype, shape, layout, or stray bits.
        """
        layout = self._layout
        her, him = (_Party(layout, require_packed(key, self.key_bits, "a key")) for key in (alice, bob))
        sent = np.zeros(layout.positions, dtype=np.bool_)
        odd = np.zeros(layout.first.size, dtype=np.bool_)
        lows = highs = np.empty(0, dtype=np.int64)
        leakage_bits = messages_of_alice = 0
        for opened in range(1, len(self.block_lengths) + 1):
            fresh = layout.blocks_of(opened - 1)
            odd[fresh] = _differ(her, him, layout.first[fresh], layout.end[fresh])
            leakage_bits += fresh.stop - fresh.start
            messages_of_alice += 1
            while lows.size or odd.any():
                if not lows.size:
                    blocks = layout.of_the_first_pass(np.flatnonzero(odd))
                    lows, highs = layout.first[blocks], layout.end[blocks]
                found = highs - lows == 1
                if found.any():
                    flips = layout.places(lows[found])
                    him.flip(flips)
                    odd ^= layout.hit_oddly(flips[:opened])
                    lows, highs = lows[~found], highs[~found]
                    continue
                middles = (lows + highs) >> 1
                stepping = sent[middles]
                if not stepping.any():
                    sent[middles] = stepping[:] = True
                    leakage_bits += middles.size
                    messages_of_alice += 1
                left = _differ(her, him, lows, middles)
                highs = np.where(stepping & left, middles, highs)
                lows = np.where(stepping & ~left, middles, lows)
        return CascadeOutcome(him.key(), leakage_bits, leakage_bits, messages_of_alice - 1)


class _Layout:
    """What is public: shuffles and blocks of every pass, in one range of places.

    Pass p of a key of n bits has the places p · stride to p · stride + n; the stride is n rounded up to whole words.
    """

    def __init__(self, key_bits: int, block_lengths: tuple[int, ...], seed: int) -> None:
        passes = len(block_lengths)
        self.key_bits = key_bits
        self.stride = -(-key_bits // 64) * 64
        self.positions = passes * self.stride + 1
        self.order = np.empty((passes, key_bits), dtype=np.int32)
        self.place = np.empty((passes, key_bits), dtype=np.int32)
        starts = []
        for passed, length in enumerate(block_lengths):
            self.order[passed] = np.arange(key_bits) if passed == 0 else _shuffle(seed, passed, key_bits)
            self.place[passed, self.order[passed]] = np.arange(key_bits) + passed * self.stride
            starts.append(np.arange(0, key_bits, length, dtype=np.int64))
        self._blocks_before = np.cumsum([0, *map(len, starts)])
        self._length = np.array(block_lengths)
        self.first = np.concatenate([start + passed * self.stride for passed, start in enumerate(starts)])
        lengths = np.repeat(self._length, np.diff(self._blocks_before))
        ends = np.repeat(np.arange(passes) * self.stride + key_bits, np.diff(self._blocks_before))
        self.end = np.minimum(self.first + lengths, ends)

    def blocks_of(self, passed: int) -> slice:
        """The blocks of one pass, among those of all."""
        return slice(int(self._blocks_before[passed]), int(self._blocks_before[passed + 1]))

    def of_the_first_pass(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the earliest pass among them: the smallest. `blocks` ascend, and there is one at least."""
        passed = np.searchsorted(self._blocks_before, blocks[0], side="right")
        return blocks[: np.searchsorted(blocks, self._blocks_before[passed])]

    def places(self, found: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the bits at these places of one pass are in every pass: `[passes, len(found)]`."""
        passed, index = found // self.stride, found % self.stride
        return self.place[:, self.order[passed, index]].astype(np.int64)

    def hit_oddly(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which blocks hold an odd number of these places."""
        passed, index = places // self.stride, places % self.stride
        blocks = self._blocks_before[passed] + index // self._length[passed]
        return (np.bincount(blocks.ravel(), minlength=self.first.size) & 1).astype(np.bool_)


def _shuffle(seed: int, passed: int, key_bits: int) -> NDArray[np.uint64]:
    """The positions of the key in order of their random words (``specs/randomness.md``, Cascade)."""
    words = simulation_bits(seed, Stream.CASCADE, passed, 64 * key_bits).view("<u8").astype(np.uint64, copy=False)
    words &= ~_INDEX
    words |= np.arange(key_bits, dtype=np.uint64)
    words.sort()
    return words & _INDEX


class _Party:
    """One side's key in the order of every pass, made so that the parity of any stretch is quick to tell."""

    def __init__(self, layout: _Layout, key: Packed) -> None:
        self._layout = layout
        bits = unpack(key, layout.key_bits)
        shuffled = np.zeros((len(layout.order), layout.stride), dtype=np.uint8)
        for row, order in zip(shuffled, layout.order, strict=True):
            row[: layout.key_bits] = bits[order]
        words = np.packbits(shuffled.ravel(), bitorder="little").view("<u8").astype(np.uint64, copy=False)
        self._words = np.append(words, np.uint64(0))
        self._sum()

    def _sum(self) -> None:
        odd = np.bitwise_count(self._words) & np.uint8(1)
        self._before = np.bitwise_xor.accumulate(odd) ^ odd
        """Parity of all words before each."""

    def parities(self, lows: NDArray[np.int64], highs: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Of the stretches from a low place up to a high one."""
        return self._until(lows) ^ self._until(highs)

    def _until(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        word = places >> 6
        below = (_ONE << (places.astype(np.uint64) & _IN_WORD)) - _ONE
        parity: NDArray[np.uint8] = self._before[word] ^ (np.bitwise_count(self._words[word] & below) & np.uint8(1))
        return parity

    def flip(self, places: NDArray[np.int64]) -> None:
        """Flip bits, which are at these places."""
        flat = places.ravel()
        np.bitwise_xor.at(self._words, flat >> 6, _ONE << (flat.astype(np.uint64) & _IN_WORD))
        self._sum()

    def key(self) -> Packed:
        """The key as it is now."""
        # The first pass is not shuffled.
        whole = self._words[: self._layout.stride // 64].astype("<u8", copy=False).view(np.uint8)
        return whole[: -(-self._layout.key_bits // 8)].copy()


def _differ(her: _Party, him: _Party, lows: NDArray[np.int64], highs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """What Bob answers to the parities of these stretches."""
    differing: NDArray[np.bool_] = her.parities(lows, highs) != him.parities(lows, highs)
    return differing

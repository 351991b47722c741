"""Search the parameters of the interactive strategy: `caligo.reconciliation.strategies.interactive_table`.

Covers: what one set of parameters costs on simulated keys, and a descent from one set to better ones, coordinate by
coordinate. Does not cover: other QBERs than the designed for, real keys, time.

Run ``python benchmarks/search_interactive.py --help``. The same numbers come out for the same arguments: blocks are
drawn from the seed, all sets of parameters see the same blocks, and neither time nor threads enter. What is minimised
is f (every bit that Alice discloses, with the share of the group's tag, over the entropy of the errors that there
were), with a penalty on requests beyond the wanted number, on failed blocks and on wrong ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from caligo import bits
from caligo.channel import binary_entropy
from caligo.reconciliation.strategies import CodeRequest
from caligo.reconciliation.strategies.interactive import Interactive, code_of
from caligo.reconciliation.strategies.interactive_table import Parameters, parameters
from caligo.reconciliation.verification import MINIMUM_GROUP_BITS, TAG_BITS

ROUNDS: dict[str, dict[int, float]] = {
    "rounds": {10: 1.0, 12: 2.0, 14: 2.6, 16: 3.2, 18: 2.6, 20: 1.6},
    "balanced": {10: 3.0, 12: 6.0, 14: 10.0, 16: 10.5, 18: 9.0, 20: 7.0},
    "leakage": {10: 8.0, 12: 16.0, 14: 24.0, 16: 30.0, 18: 35.0, 20: 35.0},
}
"""Wish -> stage -> mean requests of a block that are not to be exceeded."""

SEARCHED_BITS = 1 << 23
"""Bits of the blocks that a set of parameters is tried on, about."""


@dataclass(frozen=True)
class Sample:
    """Blocks of both sides.

    Args:
        alice: hers, packed uint8 `[B, N / 8]`.
        bob: his.
        entropy: of the errors, bits: the sum of N · h2(errors / N).
    """

    alice: NDArray[np.uint8]
    bob: NDArray[np.uint8]
    entropy: float

    @classmethod
    def draw(cls, block_length: int, blocks: int, qber: float, seed: int) -> Sample:
        """Blocks from a seed."""
        rng = np.random.default_rng((seed, block_length, round(1e6 * qber)))
        alice = rng.integers(0, 256, (blocks, block_length // 8), dtype=np.uint8)
        errors = np.stack([bits.pack(rng.random(block_length) < qber) for _ in range(blocks)])
        counts = np.bitwise_count(errors).sum(axis=1, dtype=np.int64)
        return cls(alice, alice ^ errors, float(block_length * binary_entropy(counts / block_length).sum()))


@dataclass(frozen=True)
class Cost:
    """What a set of parameters costs: f, mean and greatest number of requests, blocks that failed or came out wrong."""

    efficiency: float
    rounds: float
    rounds_max: int
    failed: int

    def objective(self, rounds: float) -> float:
        """What is minimised."""
        return self.efficiency + 0.1 * max(0.0, self.rounds / rounds - 1.0) + 0.01 * self.failed


def cost(block_length: int, qber: float, chosen: Parameters, sample: Sample, list_size: int = 32) -> Cost:
    """Reconcile a sample."""
    code = code_of(CodeRequest(block_length, block_length, qber, list_size), chosen)
    strategy = Interactive(code, list_size)
    outcome = strategy.reconcile(sample.alice, sample.bob)
    strategy.close()
    tags = TAG_BITS * len(outcome.ok) * min(1.0, block_length / MINIMUM_GROUP_BITS)
    disclosed = sum(leakage.leakage_bits for leakage in outcome.leakage) + tags
    failed = int(np.count_nonzero(~outcome.ok | (outcome.decoded != sample.alice).any(axis=1)))
    return Cost(disclosed / sample.entropy, float(outcome.rounds.mean()), int(outcome.rounds.max()), failed)


def neighbours(chosen: Parameters) -> Iterator[Parameters]:
    """Sets of parameters that differ in one of them."""
    for step in (0.01, -0.01, -0.02):
        yield replace(chosen, frozen_efficiency=round(chosen.frozen_efficiency + step, 4))
    for factor in (1.25, 0.8):
        yield replace(chosen, share=min(1.0, round(chosen.share * factor, 4)))
    for factor in (1.3, 0.77):
        first = max(2, round(chosen.first_bits * factor))
        yield replace(chosen, first_bits=first, back_bits=max(2, first // 2))
    for step in (1, -1):
        yield replace(chosen, check_bits=min(20, max(4, chosen.check_bits + step)))
    for growth in (0, 30):
        yield replace(chosen, growth_percent=growth)
    for ahead in (60, 80, 100):
        yield replace(chosen, ahead_percent=ahead)
    yield replace(chosen, back_bits=chosen.first_bits)
    yield replace(chosen, patience=5 - chosen.patience)


def search(
    block_length: int, qber: float, wish: str, start: Parameters, blocks: int, seed: int, sweeps: int
) -> tuple[Parameters, Cost]:
    """Descend from a set of parameters, until no neighbour is better or for so many sweeps."""
    rounds = ROUNDS[wish][block_length.bit_length() - 1]
    sample = Sample.draw(block_length, blocks, qber, seed)
    best, least = start, cost(block_length, qber, start, sample)
    tried = {start}
    for _ in range(sweeps):
        before = best
        for index in range(len(list(neighbours(best)))):
            candidate = list(neighbours(best))[index]
            if candidate in tried:
                continue
            tried.add(candidate)
            found = cost(block_length, qber, candidate, sample)
            if found.objective(rounds) < least.objective(rounds):
                best, least = candidate, found
        if best == before:
            break
    return best, least


def main() -> None:
    """Print the best set found for each combination, as a line of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", type=int, nargs="+", default=[16], help="log2 of the block length")
    parser.add_argument("--qbers", type=float, nargs="+", default=[0.02])
    parser.add_argument("--wishes", nargs="+", choices=sorted(ROUNDS), default=["balanced"])
    parser.add_argument("--blocks", type=int, help="default: about 2^23 bits of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sweeps", type=int, default=3, help="0: only say what the table costs")
    asked = parser.parse_args()
    for stage in asked.stages:
        blocks = asked.blocks or max(8, min(SEARCHED_BITS >> stage, 1024))
        for wish in asked.wishes:
            for qber in asked.qbers:
                start = parameters(1 << stage, qber, wish)
                best, least = search(1 << stage, qber, wish, start, blocks, asked.seed, asked.sweeps)
                values = ", ".join(repr(getattr(best, name)) for name in best.__dataclass_fields__)
                sys.stdout.write(
                    f"{wish} {stage} {qber}: Parameters({values}),  # f {least.efficiency:.4f}, {least.rounds:.2f} "
                    f"requests, {least.rounds_max} at most, {least.failed} failed of {blocks}\n"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main()

"""What the interactive strategy discloses and how often it asks, with enough blocks to tell (specs/interactive.md)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from caligo import bits
from caligo.channel import binary_entropy
from caligo.reconciliation.strategies import CodeRequest
from caligo.reconciliation.strategies.interactive import Interactive
from caligo.reconciliation.verification import MINIMUM_GROUP_BITS, TAG_BITS

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

BLOCKS = {12: 2000, 14: 600, 16: 200, 20: 40}


@lru_cache
def cost(stage: int, wish: str, design_qber: float, true_qber: float) -> tuple[float, float]:
    """Efficiency, with every bit that Alice discloses and the share of the group's tag, and mean requests."""
    block_length, blocks = 1 << stage, BLOCKS[stage]
    code = Interactive.choose_code(CodeRequest(block_length, block_length, design_qber, 32, wish=wish))
    strategy = Interactive(code, 32)
    rng = np.random.default_rng((stage, round(1e4 * true_qber)))
    disclosed, requests = TAG_BITS * max(1.0, blocks * block_length / MINIMUM_GROUP_BITS), 0
    together = max(1, (1 << 21) // block_length)
    for start in range(0, blocks, together):
        count = min(together, blocks - start)
        alice = rng.integers(0, 256, (count, block_length // 8), dtype=np.uint8)
        bob = alice ^ bits.pack(rng.random((count, block_length), dtype=np.float32) < true_qber)
        outcome = strategy.reconcile(alice, bob)
        assert outcome.ok.all()
        assert np.array_equal(outcome.decoded, alice)
        disclosed += sum(leakage.leakage_bits for leakage in outcome.leakage)
        requests += int(outcome.rounds.sum())
    strategy.close()
    efficiency = disclosed / (blocks * block_length * binary_entropy(true_qber))
    print(f"2^{stage} {wish} {design_qber} {true_qber}: f {efficiency:.4f}, {requests / blocks:.2f} requests")
    return efficiency, requests / blocks


@pytest.mark.parametrize(
    ("stage", "wish", "most", "most_requests"),
    [
        (20, "rounds", 1.10, 2.0),
        (20, "balanced", 1.075, 8.0),
        (16, "rounds", 1.13, 4.0),
        (16, "balanced", 1.105, 12.0),
        (16, "leakage", 1.085, 35.0),
        (14, "balanced", 1.14, 15.0),
        (12, "balanced", 1.21, 8.0),
    ],
)
def test_little_is_disclosed_in_few_requests(stage: int, wish: str, most: float, most_requests: float) -> None:
    efficiency, requests = cost(stage, wish, 0.02, 0.02)
    assert efficiency <= most
    assert requests <= most_requests


@pytest.mark.parametrize(
    ("stage", "qber", "most", "most_requests"),
    [(20, 0.01, 1.09, 10.0), (20, 0.05, 1.06, 10.0), (16, 0.01, 1.14, 14.0), (16, 0.05, 1.09, 14.0)],
)
def test_other_error_rates_cost_about_as_much(stage: int, qber: float, most: float, most_requests: float) -> None:
    efficiency, requests = cost(stage, "balanced", qber, qber)
    assert efficiency <= most
    assert requests <= most_requests


@pytest.mark.parametrize("stage", [16, 20])
@pytest.mark.parametrize("qber", [0.01, 0.02, 0.05])
def test_a_wrong_error_rate_costs_little(stage: int, qber: float) -> None:
    nominal, _ = cost(stage, "balanced", qber, qber)
    more_errors, _ = cost(stage, "balanced", qber, 1.1 * qber)
    fewer_errors, _ = cost(stage, "balanced", qber, 0.9 * qber)
    assert more_errors <= nominal
    assert fewer_errors <= nominal + 0.09

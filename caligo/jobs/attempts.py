"""One window of a key reconciled: the first attempt, and further ones for blocks that failed.

Covers: which code each attempt has, what each discloses, what the followers of the error rate are told. Does not cover:
what a strategy does (:mod:`caligo.reconciliation.strategies`), the choice of codes (:mod:`.drift`), verification.

**Further attempts.** A block of which no candidate passed its check is tried again on a code that freezes the same
positions and more: Bob asks once, Alice discloses u at the further positions and nothing twice, Bob decodes anew. The
account of a block has all its attempts. Strategies in which Bob asks of himself have none.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from caligo.jobs.drift import Design, Designs
from caligo.jobs.options import ReconcileOptions
from caligo.jobs.plan import Window
from caligo.jobs.workshop import Workshop
from caligo.reconciliation.leakage import OUTCOME_BITS, TwoWayLeakage
from caligo.reconciliation.strategies import ReconciledBlocks
from caligo.reconciliation.tracking import ANNOUNCEMENT_BITS, ErrorCounts, QberTracker

__all__ = ["ALL_FAILED_EXCESS", "reconcile_rows"]

ALL_FAILED_EXCESS = 1.1
"""By how much further the error rate of a window of several blocks is from its design if none was decoded."""


def reconcile_rows(
    designs: Designs,
    workshop: Workshop,
    options: ReconcileOptions,
    window: Window,
    alice: NDArray[np.uint8],
    bob: NDArray[np.uint8],
) -> tuple[ReconciledBlocks, NDArray[np.int64], Design, QberTracker]:
    """Let both parties reconcile a window.

    Args:
        designs: which codes.
        workshop: of the window's segment.
        options: caps and further attempts.
        window: which.
        alice: her blocks, packed uint8 `[B, max(1, N // 8)]`, zero beyond the payload.
        bob: his, likewise.

    Returns:
        What became of the blocks, the attempts that each took, the design of the first, and where designs follow it,
        what Bob has learned of the error rate.
    """
    design = designs.of(window)
    code = design.codes[window.segment]
    caps = options.block_caps
    with workshop.borrowed(code) as strategy:
        outcome = strategy.reconcile(alice, bob, caps)
    leakage = list(outcome.leakage)
    if designs.announces(window):
        leakage[0] += TwoWayLeakage(reply_bits=ANNOUNCEMENT_BITS)
    decoded, ok, rounds = outcome.decoded.copy(), outcome.ok.copy(), outcome.rounds.copy()
    given_up, elapsed_ns = outcome.given_up.copy(), outcome.elapsed_ns.copy()
    attempts = np.ones(len(ok), dtype=np.int64)
    disclosed = code
    for attempt in range(1, 1 + options.further_attempts):
        rows = np.flatnonzero(~ok & ~given_up)
        further = designs.further(window, code, attempt) if rows.size else None
        if further is None:
            break
        more = further.syndrome_bits - disclosed.syndrome_bits
        allowed = [caps.allow(int(rounds[row]) + 1, leakage[row].leakage_bits + more) for row in rows]
        given_up[rows] = np.logical_not(allowed)
        rows = rows[allowed]
        if rows.size:
            with workshop.borrowed(further) as strategy:
                again = strategy.reconcile(np.ascontiguousarray(alice[rows]), np.ascontiguousarray(bob[rows]), caps)
            decoded[rows], ok[rows] = again.decoded, again.ok
            elapsed_ns[rows] += again.elapsed_ns
            rounds[rows] += 1
            attempts[rows] += 1
            for row in rows:
                leakage[row] += TwoWayLeakage(answer_bits=more, reply_bits=OUTCOME_BITS)
        disclosed = further
    outcome = replace(
        outcome,
        decoded=decoded,
        ok=ok,
        rounds=rounds,
        given_up=given_up,
        elapsed_ns=elapsed_ns,
        leakage=tuple(leakage),
    )
    seen = _seen(window, design, bob, decoded, ok) if designs.follows else QberTracker()
    return outcome, attempts, design, seen


def _seen(
    window: Window, design: Design, bob: NDArray[np.uint8], decoded: NDArray[np.uint8], ok: NDArray[np.bool_]
) -> QberTracker:
    """What Bob has learned of the error rate."""
    middle = window.start_bit + window.key_bits // 2
    seen = QberTracker()
    right = int(np.count_nonzero(ok))
    if right:
        bits = right * window.payload_length
        seen = seen.observe(middle, ErrorCounts.compare(bob[ok].reshape(-1), decoded[ok].reshape(-1), bits))
    if right < len(ok):
        designed = design.qber * (ALL_FAILED_EXCESS if len(ok) > 1 and not right else 1.0)
        seen = seen.observe_failure(middle, (len(ok) - right) * window.payload_length, designed)
    return seen

"""What the blocks of a run before say about the error rate of the next key.

Covers: an estimate from a run's record, in place of sampled positions. Does not cover: following the rate within a key
(:mod:`.drift`).

Bob knows how many errors he corrected in a confirmed block; a block that failed counts as more than it was designed
for (:mod:`caligo.reconciliation.tracking`). The forecast for what follows the last block, as if the next key began
there, is put as the estimate from as many positions as would tell the rate equally well. It discloses no bit of the
next key; that its error rate goes on from the one before is the caller's word.
"""

from __future__ import annotations

import os
from typing import Any

from caligo.errors import ConfigError
from caligo.reconciliation.estimation import QberEstimate
from caligo.reconciliation.tracking import ErrorCounts, QberTracker
from caligo.states import KeyState
from caligo.store import load_run

__all__ = ["estimate_of_run"]

_CHUNK = 4096


def estimate_of_run(path: str | os.PathLike[str]) -> QberEstimate:
    """Estimate the QBER of the key that follows a run's.

    Args:
        path: directory of a recorded reconciliation, Bob's or of both sides.

    Raises:
        ConfigError: it has no block of which Bob knows the errors.
        StoreError: there is no such run, or it cannot be read.
    """
    run = load_run(path)
    tracker, position = QberTracker(), 0
    chunk: list[QberTracker] = []
    for record in run.records():
        bits = record.get("payload_bits")
        if not isinstance(bits, int) or bits < 1:
            continue
        chunk.append(_seen(record, position + bits // 2, bits))
        position += bits
        if len(chunk) == _CHUNK:
            tracker = QberTracker.union((tracker, *chunk))
            chunk.clear()
    forecast = QberTracker.union((tracker, *chunk)).forecast(position)
    if forecast is None:
        raise ConfigError(
            f"qber_from: expected a reconciliation with blocks whose errors Bob knows, got {run.name}; name Bob's run, "
            "or leave it out to have the error rate estimated",
            run=run.name,
        )
    rate, variance = forecast.total.rate, forecast.total.variance
    positions = max(round(rate * (1.0 - rate) / variance) - 1, 1)
    return QberEstimate(round(rate * positions), positions)


def _seen(record: dict[str, Any], middle: int, bits: int) -> QberTracker:
    """What a record says; nothing where it is of no use."""
    errors = record.get("corrected_errors", record.get("true_errors"))
    design_qber = record.get("design_qber")
    if record.get("outcome") == KeyState.CONFIRMED.label and isinstance(errors, int):
        return QberTracker().observe(middle, ErrorCounts.of(errors, bits))
    if record.get("outcome") == KeyState.UNCORRECTED.label and isinstance(design_qber, float):
        return QberTracker().observe_failure(middle, bits, design_qber)
    return QberTracker()

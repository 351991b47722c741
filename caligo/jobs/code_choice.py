"""The codes of a key's segments, as its options ask for them.

Covers: what is requested for each segment, designing for all of them at once. Does not cover: the choice
(:mod:`caligo.reconciliation.strategies`), codes that follow the blocks (:mod:`.drift`).
"""

from __future__ import annotations

from collections.abc import Sequence

from caligo.channel import Qbers
from caligo.codes import PolarCode
from caligo.jobs.options import ReconcileOptions
from caligo.jobs.plan import Layout
from caligo.jobs.runner import worker_pool
from caligo.reconciliation.strategies import DEFAULT_TARGET_FER, CodeRequest, StrategyType

__all__ = ["choose_codes", "code_requests"]


def code_requests(layout: Layout, design_qber: Qbers, options: ReconcileOptions) -> list[CodeRequest]:
    """What is requested for each segment, in order.

    Args:
        layout: of the key.
        design_qber: what the codes are designed for, or the pair.
        options: what was asked.
    """
    return [
        CodeRequest(
            block_length=segment.block_length,
            payload_length=segment.payload_length,
            design_qber=design_qber,
            list_size=options.list_size,
            check=options.check,
            efficiency=options.efficiency,
            target_fer=DEFAULT_TARGET_FER if options.target_fer is None else options.target_fer,
            raise_efficiency=segment.first_block > 0,
            segment_length=options.segment_length,
            segment_check=options.segment_check,
            wish=options.wish,
        )
        for segment in layout.segments
    ]


def choose_codes(kind: StrategyType, requests: Sequence[CodeRequest]) -> list[PolarCode]:
    """The code of each request, chosen side by side.

    Args:
        kind: the strategy.
        requests: at least one.

    Raises:
        ConfigError: no code fits a request.
    """
    with worker_pool(len(requests)) as pool:
        return list(pool.map(kind.choose_code, requests))

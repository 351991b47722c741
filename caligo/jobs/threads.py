"""How many worker threads a job can have in the memory there is.

Covers: what a job's threads share and what each needs, put to :func:`caligo.memory.plan_memory`. Does not cover:
finding the limit (:mod:`caligo.memory`), running threads (:mod:`.runner`).
"""

from __future__ import annotations

from caligo.jobs.options import ReconcileOptions
from caligo.jobs.plan import WINDOW_BITS, Layout
from caligo.memory import FIXED_BYTES, MemoryLimit, MemoryPlan, plan_memory
from caligo.reconciliation.strategies import StrategyType

__all__ = ["plan_thread_memory"]

_WINDOWS_PER_THREAD = 4
"""One that a thread has, one that waits for it, and as many again that wait for their group."""


def plan_thread_memory(
    limit: MemoryLimit,
    kind: StrategyType,
    options: ReconcileOptions,
    layout: Layout,
    wanted: int,
    *,
    beside_bytes: int = 0,
) -> MemoryPlan:
    """Fit worker threads into memory.

    The decoders of all segments of the layout live side by side.

    Args:
        limit: what this process may use.
        kind: the strategy; its decoders' memory includes the states of blocks that wait for an answer in one process.
        options: of the decoders.
        layout: the blocks.
        wanted: threads, >= 1.
        beside_bytes: what the job needs beside a process, its decoders and its blocks.

    Returns:
        A plan with at least one thread, at most `wanted`; its `fixed_bytes` hold the process, what is beside it, and
        the decoders of all segments but the one of the longest blocks.

    Raises:
        MemoryBudgetError: not even one fits.
    """

    def decoder_bytes(block_length: int, list_size: int, precision: str) -> int:
        return kind.required_bytes(
            block_length, list_size, precision, options.check, options.escalation, options.segment_length
        )

    longest, *others = sorted(layout.segments, key=lambda segment: segment.block_length, reverse=True)
    return plan_memory(
        limit.limit_bytes,
        block_length=longest.block_length,
        list_size=options.list_size,
        precision=options.precision,
        threads=wanted,
        blocks_per_thread=_WINDOWS_PER_THREAD * max(1, WINDOW_BITS // longest.payload_length),
        fixed_bytes=FIXED_BYTES
        + beside_bytes
        + sum(
            min(wanted, segment.blocks) * decoder_bytes(segment.block_length, options.list_size, options.precision)
            for segment in others
        ),
        source=limit.source,
        required_bytes=decoder_bytes,
    )

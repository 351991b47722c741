"""Memory: how much this process may use, how much work fits into it, how much it has used.

Covers: the limits of the machine and its schedulers, a plan by pure arithmetic over the crate's own figures, watching
the limits while work goes on, the high-water mark. Does not cover: what a decoder needs, which the crate alone knows
(`caligo._native.required_bytes`).
"""

from __future__ import annotations

from caligo.memory.budget import (
    FIXED_BYTES,
    MemoryPlan,
    block_buffer_bytes,
    dialogue_block_bytes,
    dialogue_window,
    plan_memory,
)
from caligo.memory.guard import InFlight, MemoryGuard, MemoryUse, Pressure
from caligo.memory.limits import MemoryLimit, memory_limit, memory_limits, stated_limit
from caligo.memory.usage import peak_rss_bytes

__all__ = [
    "FIXED_BYTES",
    "InFlight",
    "MemoryGuard",
    "MemoryLimit",
    "MemoryPlan",
    "MemoryUse",
    "Pressure",
    "block_buffer_bytes",
    "dialogue_block_bytes",
    "dialogue_window",
    "memory_limit",
    "memory_limits",
    "peak_rss_bytes",
    "plan_memory",
    "stated_limit",
]

"""How much work fits into how much memory: pure arithmetic, done before anything is allocated.

A plan has three parts: what the process needs anyway, one decoder workspace per thread, and the buffers of the blocks
in flight. The memory of a decoder comes from the crate (`required_bytes`), which has the only formula for it.

Covers: threads and blocks in flight under a budget; what would fit where nothing does. Does not cover: finding the
budget (`caligo.memory.limits`). No I/O, no clock, no environment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from caligo import _native
from caligo.errors import ConfigError, MemoryBudgetError

FIXED_BYTES = 128 << 20
"""Room for the interpreter, its libraries, a design and the windows of keys being read and written."""

LIST_SIZES = (32, 16, 8, 4, 2, 1)

_PACKED_ROWS_PER_BLOCK = 5
"""Alice's bits, Bob's, their syndrome, the decoded bits, and one copy on its way out."""
_RESULT_BYTES_PER_BLOCK = 64

_ROWS_PER_BLOCK_IN_DIALOGUE = 8
"""A party's bits, the last message, a decoder's state, the decoded bits; and those of settled blocks that wait for
their group, which may be four windows."""
_DIALOGUE_BYTES_PER_BLOCK = 4096
_DIALOGUE_SHARE = 8
_DIALOGUE_BITS = 1 << 30
_DIALOGUE_BLOCKS = (8, 4096)

RequiredBytes = Callable[[int, int, str], int]


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What runs within a budget.

    Args:
        budget_bytes: the budget.
        threads: decoders side by side, >= 1.
        blocks_in_flight: blocks read but not yet written, >= threads.
        fixed_bytes: what the process needs anyway.
        decoder_bytes: one decoder.
        block_bytes: the buffers of one block.
    """

    budget_bytes: int
    threads: int
    blocks_in_flight: int
    fixed_bytes: int
    decoder_bytes: int
    block_bytes: int

    @property
    def total_bytes(self) -> int:
        """Everything together, <= budget_bytes."""
        return self.fixed_bytes + self.threads * self.decoder_bytes + self.blocks_in_flight * self.block_bytes

    def by_purpose(self) -> dict[str, int]:
        """Bytes by purpose, and what is left."""
        return {
            "fixed_bytes": self.fixed_bytes,
            "decoders_bytes": self.threads * self.decoder_bytes,
            "blocks_bytes": self.blocks_in_flight * self.block_bytes,
            "spare_bytes": self.budget_bytes - self.total_bytes,
        }


def block_buffer_bytes(block_length: int, precision: str = "int8") -> int:
    """Bytes that one block in flight takes outside its decoder.

    Args:
        block_length: N, >= 1.
        precision: "int8" (packed bits) or "f32" (and one float32 LLR per bit).

    Raises:
        ConfigError: an unknown precision, or a block length below 1.
    """
    if block_length < 1 or precision not in ("int8", "f32"):
        raise ConfigError(
            f"expected a block length >= 1 and precision int8 or f32, got {block_length} and {precision!r}; name one",
            block_length=block_length,
            precision=precision,
        )
    packed = max(1, block_length // 8) * _PACKED_ROWS_PER_BLOCK
    return packed + _RESULT_BYTES_PER_BLOCK + (4 * block_length if precision == "f32" else 0)


def dialogue_block_bytes(block_length: int) -> int:
    """Bytes that one block of a dialogue with another machine takes at most, outside its decoder.

    Args:
        block_length: N, >= 1.
    """
    return max(1, block_length // 8) * _ROWS_PER_BLOCK_IN_DIALOGUE + _DIALOGUE_BYTES_PER_BLOCK


def dialogue_window(budget_bytes: int, block_length: int) -> int:
    """How many blocks two machines may have in flight: an eighth of the budget, 2^30 bits, 8 to 4096 blocks.

    Nobody waits for a network if that is at least rounds * round trip * rate / N: with ten rounds and 40 ms, 2^28 bits
    are enough for 670 Mbit/s. The rest is for many threads: replies go out in order, so what is decoded while one
    block takes ten times as long as others waits for it, and counts as in flight.

    Args:
        budget_bytes: what the process may use.
        block_length: N, >= 1.
    """
    fits = min(budget_bytes // _DIALOGUE_SHARE // dialogue_block_bytes(block_length), _DIALOGUE_BITS // block_length)
    return min(max(fits, _DIALOGUE_BLOCKS[0]), _DIALOGUE_BLOCKS[1])


def plan_memory(
    budget_bytes: int,
    *,
    block_length: int,
    list_size: int,
    precision: str = "int8",
    threads: int = 1,
    blocks_per_thread: int = 4,
    fixed_bytes: int = FIXED_BYTES,
    source: str = "",
    required_bytes: RequiredBytes | None = None,
) -> MemoryPlan:
    """Fit threads and blocks in flight into a budget: first as many threads as wanted, then blocks for them.

    Args:
        budget_bytes: what the process may use, such as `memory_limit().limit_bytes`.
        block_length: N, a power of two.
        list_size: L.
        precision: "int8" or "f32".
        threads: decoders wanted side by side, >= 1.
        blocks_per_thread: blocks in flight wanted for each thread, >= 1.
        fixed_bytes: what the process needs anyway, >= 0.
        source: where the budget comes from, for the message.
        required_bytes: (block_length, list_size, precision) -> bytes of a decoder; None asks the crate.

    Returns:
        A plan with at least one thread and as many blocks as threads; it may have fewer threads than wanted.

    Raises:
        MemoryBudgetError: not even one thread fits; the message names the list size and the block length that would.
        ConfigError: an argument outside its range.
    """
    if threads < 1 or blocks_per_thread < 1 or fixed_bytes < 0:
        raise ConfigError(
            f"expected threads >= 1, blocks_per_thread >= 1 and fixed_bytes >= 0, got {threads}, "
            f"{blocks_per_thread} and {fixed_bytes}; plan for at least one of each",
            threads=threads,
            blocks_per_thread=blocks_per_thread,
            fixed_bytes=fixed_bytes,
        )
    formula = required_bytes or _crate_formula
    decoder = formula(block_length, list_size, precision)
    block = block_buffer_bytes(block_length, precision)
    free = budget_bytes - fixed_bytes
    fitting = max(0, free) // (decoder + block)
    if fitting < 1:
        raise _nothing_fits(budget_bytes, block_length, list_size, precision, fixed_bytes, source, formula)
    running = min(threads, fitting)
    in_flight = min(running * blocks_per_thread, (free - running * decoder) // block)
    return MemoryPlan(
        budget_bytes=budget_bytes,
        threads=running,
        blocks_in_flight=in_flight,
        fixed_bytes=fixed_bytes,
        decoder_bytes=decoder,
        block_bytes=block,
    )


def _crate_formula(block_length: int, list_size: int, precision: str) -> int:
    return int(_native.required_bytes(block_length, list_size, precision))


def _nothing_fits(
    budget_bytes: int,
    block_length: int,
    list_size: int,
    precision: str,
    fixed_bytes: int,
    source: str,
    formula: RequiredBytes,
) -> MemoryBudgetError:
    def needed(n: int, size: int) -> int:
        return fixed_bytes + formula(n, size, precision) + block_buffer_bytes(n, precision)

    smaller_list = next((s for s in LIST_SIZES if s < list_size and needed(block_length, s) <= budget_bytes), None)
    shorter_block = next(
        (n for n in _halvings(block_length) if needed(n, list_size) <= budget_bytes),
        None,
    )
    least = needed(block_length, list_size)
    options = [f"a budget of {_mib(least)}"]
    if smaller_list is not None:
        options.append(f"list size {smaller_list} at this block length")
    if shorter_block is not None:
        options.append(f"block length {shorter_block} at this list size")
    origin = f" ({source})" if source else ""
    return MemoryBudgetError(
        f"expected at most {_mib(budget_bytes)}{origin}, got a need of {_mib(least)} for one decoder with block length "
        f"{block_length} and list size {list_size} ({precision}); what would fit: {', or '.join(options)}",
        budget_bytes=budget_bytes,
        needed_bytes=least,
        source=source,
        fitting_list_size=smaller_list,
        fitting_block_length=shorter_block,
    )


def _halvings(block_length: int) -> list[int]:
    return [block_length >> k for k in range(1, block_length.bit_length() - 1)]


def _mib(count: int) -> str:
    return f"{count / (1 << 20):,.1f} MiB"

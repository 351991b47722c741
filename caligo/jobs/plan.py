"""How a key is cut into blocks, blocks into windows, windows into groups; pure arithmetic.

Covers: the default block length, the layout of a key of any length, the order of work. Does not cover: reading keys,
which code a block gets, when and where a window is worked on (:mod:`caligo.jobs.runner`). Reads no clock, no file, no
environment and no random source: equal arguments, equal plans, on every machine and for any number of threads.

**Layout.** Whole blocks of `block_length` bits, then one shortened block for the rest on a code of its own, whose
length is the least power of two that holds it (so less than half of it is shortened). Twice that length would save
about 1 % of the rest's disclosure (measured: 13,107 bits, N = 2^15), for twice the work. A rest below `minimum_payload`
bits is discarded and reported: a code for it would disclose about as much as it keeps. Every key bit is in exactly one
block, or among the discarded bits at the end.

**Windows** are what one worker reads, reconciles and hands over: consecutive blocks of one code and one group, about
`WINDOW_BITS` long. **Groups** are verified together (:mod:`caligo.reconciliation.verification`). Both depend on the
layout alone. A plan of any length takes constant memory: windows are generated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from caligo.codes.polar_code import validate_block_length
from caligo.errors import KeyFileError
from caligo.reconciliation.verification import MINIMUM_GROUP_BITS

__all__ = [
    "LONG_BLOCK_LENGTH",
    "SHORT_BLOCK_LENGTH",
    "WINDOW_BITS",
    "Group",
    "Layout",
    "Segment",
    "Window",
    "default_block_length",
    "minimum_payload",
    "plan_layout",
]

LONG_BLOCK_LENGTH = 1 << 20
"""Default for long keys: longer blocks disclose less (about f = 1.14 here, 1.24 at 2^16) and cost latency and
memory."""

SHORT_BLOCK_LENGTH = 1 << 16
"""Least default for keys that are more than one block."""

MINIMUM_PAYLOAD = 256
"""Least rest that gets a block of its own."""

WINDOW_BITS = 1 << 18
"""Payload of a window, or one block where that is longer: some milliseconds of decoding."""

_BLOCKS_WANTED = 4


@dataclass(frozen=True, slots=True)
class Blocks:
    """Consecutive blocks of one code.

    Args:
        first_block: index of the first block in the key.
        blocks: how many, >= 1.
        start_bit: position of the first bit, among the key bits that are reconciled.
        payload_length: key bits in each block.
        block_length: N, a power of two >= payload_length.
    """

    first_block: int
    blocks: int
    start_bit: int
    payload_length: int
    block_length: int

    @property
    def key_bits(self) -> int:
        """Key bits in all of them."""
        return self.blocks * self.payload_length


class Segment(Blocks):
    """All the blocks of one code."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Window(Blocks):
    """Blocks of one segment that one worker takes at a time.

    Args:
        segment: index of their segment.
        group: index of their verification group.
        ends_group: no window of the group comes after.
    """

    segment: int
    group: int
    ends_group: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Consecutive blocks that are verified together.

    Args:
        index: from 0.
        first_block: index of the first block in the key.
        blocks: how many, >= 1.
    """

    index: int
    first_block: int
    blocks: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The blocks of a key.

    Args:
        key_bits: key bits to lay out, sampled positions already removed.
        segments: at most two: the whole blocks and the rest.
        discarded_bits: bits at the end that are in no block.
    """

    key_bits: int
    segments: tuple[Segment, ...]
    discarded_bits: int

    @property
    def blocks(self) -> int:
        """Blocks in all."""
        return sum(segment.blocks for segment in self.segments)

    @property
    def group_count(self) -> int:
        """Verification groups in all."""
        return self._whole_groups + 1

    @property
    def _group_blocks(self) -> int:
        """Blocks in every group but the last."""
        return -(-MINIMUM_GROUP_BITS // self.segments[0].payload_length)

    @property
    def _whole_groups(self) -> int:
        """Groups before the last, which takes what is left; the rule of :func:`group_sizes` in closed form."""
        first, blocks = self.segments[0], self._group_blocks
        behind = sum(segment.key_bits for segment in self.segments) - MINIMUM_GROUP_BITS
        return min(first.blocks // blocks, max(behind, 0) // (blocks * first.payload_length))

    def group(self, index: int) -> Group:
        """One verification group, found without those before it.

        Args:
            index: in [0, group_count).
        """
        blocks = self._group_blocks
        first = index * blocks
        return Group(index, first, blocks if index < self._whole_groups else self.blocks - first)

    def groups(self) -> Iterator[Group]:
        """The verification groups, in order: those of :func:`caligo.reconciliation.verification.group_sizes`."""
        for index in range(self.group_count):
            yield self.group(index)

    def windows(self, window_bits: int = WINDOW_BITS) -> Iterator[Window]:
        """The windows, in order; none crosses a segment or a group.

        Args:
            window_bits: most payload of a window of several blocks.
        """
        for group in self.groups():
            yield from self.windows_of(group, window_bits)

    def windows_of(self, group: Group, window_bits: int = WINDOW_BITS) -> Iterator[Window]:
        """The windows of one group, in order.

        Args:
            group: one of `groups`.
            window_bits: as of `windows`.
        """
        group_end = group.first_block + group.blocks
        for number, segment in enumerate(self.segments):
            block = max(group.first_block, segment.first_block)
            end = min(group_end, segment.first_block + segment.blocks)
            most = max(1, window_bits // segment.payload_length)
            while block < end:
                blocks = min(most, end - block)
                yield Window(
                    segment=number,
                    group=group.index,
                    first_block=block,
                    blocks=blocks,
                    start_bit=segment.start_bit + (block - segment.first_block) * segment.payload_length,
                    payload_length=segment.payload_length,
                    block_length=segment.block_length,
                    ends_group=block + blocks == group_end,
                )
                block += blocks

    def start_bit(self, block: int) -> int:
        """Position of a block's first bit; of the block after the last one, the end of the blocks.

        Args:
            block: in [0, blocks].
        """
        segment = next(each for each in reversed(self.segments) if block >= each.first_block)
        return segment.start_bit + (block - segment.first_block) * segment.payload_length

    def window_count(self, segment: int, window_bits: int = WINDOW_BITS) -> int:
        """A lower bound on the windows of a segment, exact where no group boundary cuts one short.

        Args:
            segment: index of the segment.
            window_bits: as in `windows`.
        """
        most = max(1, window_bits // self.segments[segment].payload_length)
        return -(-self.segments[segment].blocks // most)


def default_block_length(key_bits: int) -> int:
    """The block length when nobody says: the longest power of two of which the key holds 4, from 2^16 to 2^20.

    A key of at most 2^17 bits becomes one block. Long blocks disclose less: at 2 %, L = 32, 4 blocks of 2^18 bits take
    5 % less than 16 of 2^16, and one shortened block of 2^17 bits 1 to 3 % less than a whole one of 2^16 and a rest
    (`efficiency_for_target_fer`). More blocks than 4 would serve more threads, but keys so short take well under a
    second of one core; fewer would lose too much of the key with a block that fails.

    Args:
        key_bits: length of the key, sampled positions included, >= 1.

    Returns:
        A power of two.
    """
    if key_bits <= 2 * SHORT_BLOCK_LENGTH:
        return _least_power_of_two(key_bits)
    largest = 1 << (key_bits // _BLOCKS_WANTED).bit_length() - 1
    return min(max(largest, SHORT_BLOCK_LENGTH), LONG_BLOCK_LENGTH)


def minimum_payload(block_length: int) -> int:
    """Least rest that gets a block of its own: 256 bits, or a whole block where that is shorter.

    Args:
        block_length: N of the whole blocks.
    """
    return min(MINIMUM_PAYLOAD, block_length)


def plan_layout(key_bits: int, block_length: int) -> Layout:
    """Cut a key into blocks.

    Args:
        key_bits: key bits to reconcile, >= 1, sampled positions already removed.
        block_length: N of the whole blocks, a power of two.

    Returns:
        The layout.

    Raises:
        ConfigError: `block_length` is not a power of two in range.
        KeyFileError: the key is too short for any block.
    """
    validate_block_length(block_length)
    least = minimum_payload(block_length)
    whole, rest = divmod(max(key_bits, 0), block_length)
    segments: list[Segment] = []
    if whole:
        segments.append(Segment(0, whole, 0, block_length, block_length))
    if rest >= least:
        segments.append(Segment(whole, 1, whole * block_length, rest, max(2, _least_power_of_two(rest))))
        rest = 0
    if not segments:
        raise KeyFileError(
            f"expected a key of at least {least} bits to reconcile, got {key_bits}; join it with another key first",
            key_bits=key_bits,
            least=least,
        )
    return Layout(key_bits, tuple(segments), rest)


def _least_power_of_two(bits: int) -> int:
    return 1 << max(bits - 1, 0).bit_length()

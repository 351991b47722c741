"""Decoding between questions: blocks that stop where a segment fails, learn a few bits more, and go on.

Covers: the segments of a block, Alice's check values, Bob's decoder on a pool of workspaces, the rows in which blocks
wait. Does not cover: which positions are asked for and when (the strategies), the decoding rules
(``specs/rust-polar-crate.md``, "Interactive decoding"), and whether a block that comes out is Alice's: checks of
segments do not prove that.

A waiting block is one row of bytes; the decoder keeps nothing of it. Rows hold key bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray

from caligo import _native
from caligo.channel import Qbers, validate_qbers
from caligo.codes.polar_code import PolarCode
from caligo.codes.validation import validate_count, validate_name
from caligo.errors import ConfigError
from caligo.reconciliation.codecs.boundary import (
    require_array,
    require_batch,
    require_escalation,
    require_frozen_values,
    require_list_size,
    require_llr,
)
from caligo.reconciliation.codecs.pool import WorkspacePool

if TYPE_CHECKING:
    from caligo._native._core import InteractiveDecoder

__all__ = ["InteractiveCodec", "Segment", "StoppedBatch", "validate_cut"]

MIN_SEGMENT_LENGTH = 64
MAX_CHECK_BITS = 32


@dataclass(frozen=True)
class Segment:
    """A run of positions of u, the subtree of a node of the code tree, with a check of all segments up to it.

    Args:
        length: its positions, a power of two from 64 that divides its first position.
        check_bits: bits of its check, 0 (none) to 32.
    """

    length: int
    check_bits: int


def validate_cut(block_length: int, segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Check that segments, one after the other, are subtrees and make up the block.

    Args:
        block_length: N.
        segments: in order of their positions.

    Returns:
        The same segments.

    Raises:
        ConfigError: they do not.
    """
    start = 0
    for index, segment in enumerate(segments):
        length = validate_count(segment.length, "segments: length", MIN_SEGMENT_LENGTH)
        validate_count(segment.check_bits, "segments: check_bits", 0, MAX_CHECK_BITS)
        if length & (length - 1) or start % length:
            raise ConfigError(
                f"segments: expected segment {index} to be a power of two that divides its start {start}, got {length}",
                what="segments",
                index=index,
                start=start,
                got=length,
            )
        start += length
    if start != block_length:
        raise ConfigError(
            f"segments: expected {block_length} positions in all, got {start}",
            what="segments",
            expected=block_length,
            got=start,
        )
    return tuple(segments)


@dataclass(frozen=True, eq=False, repr=False)
class StoppedBatch:
    """Where a batch of B blocks stands.

    Args:
        stopped: uint32[B]: the segment that no candidate passes; the number of segments where all are decided.
        elapsed_ns: uint64[B]: time spent decoding each block in this call.
    """

    stopped: NDArray[np.uint32]
    elapsed_ns: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.stopped)

    def __repr__(self) -> str:
        return f"StoppedBatch(blocks={len(self.stopped)})"


class InteractiveCodec:
    """A code cut in segments, and decoders that stop where one fails; may be shared by threads.

    Args:
        code: the code: which positions Alice discloses at first. Its check and segments are not used.
        segments: how its blocks are cut.
        list_size: paths the decoder keeps: 1, 2, 4, 8, 16 or 32.
        precision: arithmetic of the decoder, ``int8`` (LLRs in half nats) or ``f32``.
        engine: name of the kernels to use; None takes the fastest this CPU has.
        threads: workspaces, and blocks decoded at the same time.
        escalation: list sizes tried on a segment before `list_size`, but not again where it has failed; see
            `PolarCodec`.
        soft: blocks come with LLRs; else as hard decisions.

    Raises:
        ConfigError: a parameter is out of range, or this CPU does not have the engine.
        ResourceError: there is not enough memory for the workspaces.
    """

    def __init__(
        self,
        code: PolarCode,
        segments: Sequence[Segment],
        list_size: int,
        *,
        precision: Literal["int8", "f32"] = "int8",
        engine: str | None = None,
        threads: int = 1,
        escalation: Sequence[int] = (),
        soft: bool = False,
    ) -> None:
        validate_name(precision, "precision", ("int8", "f32"))
        self.code = code
        self.segments = validate_cut(code.block_length, segments)
        self.list_size = require_list_size(list_size)
        self.escalation = require_escalation(escalation, self.list_size, "crc32")
        self.precision = precision
        self.threads = validate_count(threads, "threads")
        self.soft = soft
        decoders: list[InteractiveDecoder] = [
            _native.InteractiveDecoder(
                code.block_length,
                code.info_mask,
                self._pairs,
                list_size,
                shortened=code.shortened_bits,
                escalation=self.escalation,
                precision=precision,
                engine=engine,
                soft=soft,
            )
            for _ in range(threads)
        ]
        self._engine = str(decoders[0].engine)
        self._decoder_bytes = int(decoders[0].allocated_bytes)
        self._state_bytes = int(decoders[0].state_bytes)
        self._pool = WorkspacePool(decoders)

    @staticmethod
    def required_bytes(
        code: PolarCode,
        segments: Sequence[Segment],
        list_size: int,
        precision: str = "int8",
        threads: int = 1,
        escalation: Sequence[int] = (),
        soft: bool = False,
    ) -> tuple[int, int]:
        """Memory the workspaces of such a codec take, and that of one waiting block, in bytes (the crate's figures)."""
        each, state = _native.interactive_required_bytes(
            code.block_length,
            code.info_mask,
            [(segment.length, segment.check_bits) for segment in segments],
            list_size,
            precision,
            escalation,
            soft,
        )
        return threads * int(each), int(state)

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        return [(segment.length, segment.check_bits) for segment in self.segments]

    @property
    def starts(self) -> tuple[int, ...]:
        """The first position of each segment, and N."""
        return tuple(accumulate((segment.length for segment in self.segments), initial=0))

    @property
    def engine(self) -> str:
        """The kernels in use."""
        return self._engine

    @property
    def decoder_bytes(self) -> int:
        """Memory of one workspace, in bytes."""
        return self._decoder_bytes

    @property
    def state_bytes(self) -> int:
        """Bytes of a waiting block."""
        return self._state_bytes

    def __repr__(self) -> str:
        escalation = f", escalation={self.escalation}" if self.escalation else ""
        return (
            f"InteractiveCodec({self.code!r}, segments={len(self.segments)}, list_size={self.list_size}, "
            f"precision={self.precision!r}, engine={self._engine!r}, threads={self.threads}{escalation})"
        )

    def transform(self, blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Alice's u, from which she discloses the frozen values and answers questions.

        Args:
            blocks: uint8[B, N // 8], packed; shortened positions zero.

        Returns:
            uint8[B, N // 8], packed.

        Raises:
            ShapeError: wrong dtype, shape, layout, or stray bits.
        """
        require_batch(blocks, self.code, "blocks")
        transformed: NDArray[np.uint8] = _native.polar_transform(blocks, self.code.block_length)
        return transformed

    def check_values(self, blocks: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """The checks that Alice discloses.

        Args:
            blocks: as for `transform`.

        Returns:
            uint32[B, segments]; 0 where a segment has none.

        Raises:
            ShapeError: wrong dtype, shape, layout, or stray bits.
        """
        require_batch(blocks, self.code, "blocks")
        values: NDArray[np.uint32] = _native.interactive_check_values(blocks, self._pairs)
        return values

    def begin(
        self,
        received: NDArray[np.uint8],
        frozen_values: NDArray[np.uint8],
        check_values: NDArray[np.uint32],
        qber: Qbers,
    ) -> NDArray[np.uint8]:
        """Begin blocks received over a binary symmetric channel.

        Args:
            received: uint8[B, N // 8], packed; shortened positions zero.
            frozen_values: uint8[B, N // 8], packed; Alice's u on the frozen set, zero elsewhere.
            check_values: uint32[B, segments].
            qber: the error rate; or a pair, that of positions where Bob has 0 and where he has 1.

        Returns:
            uint8[B, state_bytes]: the blocks as they wait.

        Raises:
            ShapeError: wrong dtype, shape, layout, or stray bits.
            ConfigError: an error rate outside (0, 0.5), a check value that is too long, a codec of soft input.
        """
        require_batch(received, self.code, "received")
        require_frozen_values(frozen_values, self.code, len(received))
        qber = validate_qbers(qber)
        self._require_checks(check_values, len(received))
        states = self._states(len(received))

        def begin_slice(decoder: InteractiveDecoder, rows: slice) -> None:
            decoder.begin(received[rows], frozen_values[rows], check_values[rows], qber, states[rows])

        self._pool.over_slices(len(received), begin_slice)
        return states

    def begin_soft(
        self, llr: NDArray[np.float32], frozen_values: NDArray[np.uint8], check_values: NDArray[np.uint32]
    ) -> NDArray[np.uint8]:
        """Begin blocks of soft values.

        Args:
            llr: float32[B, N], in nats, positive means 0; those of shortened positions are ignored.
            frozen_values: as for `begin`.
            check_values: as for `begin`.

        Returns:
            uint8[B, state_bytes]: the blocks as they wait.

        Raises:
            ShapeError: wrong dtype, shape, layout, stray bits, or values that are not finite.
            ConfigError: a check value that is too long, a codec of hard input.
        """
        require_llr(llr, self.code)
        require_frozen_values(frozen_values, self.code, len(llr))
        self._require_checks(check_values, len(llr))
        states = self._states(len(llr))

        def begin_slice(decoder: InteractiveDecoder, rows: slice) -> None:
            decoder.begin_soft(llr[rows], frozen_values[rows], check_values[rows], states[rows])

        self._pool.over_slices(len(llr), begin_slice)
        return states

    def run(self, states: NDArray[np.uint8]) -> StoppedBatch:
        """Decode blocks from where each stands until a segment fails or all are decided.

        Args:
            states: uint8[B, state_bytes], changed in place.

        Returns:
            Where each block then stands.

        Raises:
            ShapeError: wrong dtype, shape, layout.
            ConfigError: a row that no such codec has begun.
        """
        self._require_states(states)
        batch = StoppedBatch(np.zeros(len(states), np.uint32), np.zeros(len(states), np.uint64))

        def run_slice(decoder: InteractiveDecoder, rows: slice) -> None:
            decoder.run(states[rows], batch.stopped[rows], batch.elapsed_ns[rows])

        self._pool.over_slices(len(states), run_slice)
        return batch

    def disclose(self, state: NDArray[np.uint8], positions: NDArray[np.uint32], values: NDArray[np.uint8]) -> None:
        """Tell a block Alice's u at some information positions of segments that are not decided.

        Args:
            state: uint8[state_bytes], changed in place.
            positions: uint32[m], none of them disclosed before.
            values: uint8[m], 0 or 1.

        Raises:
            ShapeError: wrong dtype, shape, layout.
            ConfigError: a position that cannot be disclosed, another value, a row that no such codec has begun.
        """
        with self._pool.lend() as decoder:
            decoder.disclose(state, positions, values)

    def rollback(self, state: NDArray[np.uint8], segment: int) -> None:
        """Send a block back to a segment that was decided; what was disclosed stays known.

        Args:
            state: uint8[state_bytes], changed in place.
            segment: the segment to be decided next.

        Raises:
            ShapeError: wrong dtype, shape, layout.
            ConfigError: a segment that is not decided, a row that no such codec has begun.
        """
        with self._pool.lend() as decoder:
            decoder.rollback(state, segment)

    def finish(self, states: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Alice's blocks, if no segment was decided wrongly, of blocks that are through.

        Args:
            states: uint8[B, state_bytes].

        Returns:
            uint8[B, N // 8], packed.

        Raises:
            ShapeError: wrong dtype, shape, layout.
            ConfigError: a block that is not through, a row that no such codec has begun.
        """
        self._require_states(states)
        decoded = np.zeros((len(states), self.code.block_length // 8), np.uint8)
        with self._pool.lend() as decoder:
            decoder.finish(states, decoded)
        return decoded

    def close(self) -> None:
        """Wait for running calls, then release threads and workspaces; a second call does nothing."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _states(self, blocks: int) -> NDArray[np.uint8]:
        return np.zeros((blocks, self._state_bytes), np.uint8)

    def _require_states(self, states: NDArray[np.uint8]) -> None:
        require_array(states, "states", np.uint8, (None, self._state_bytes))

    def _require_checks(self, check_values: NDArray[np.uint32], blocks: int) -> None:
        require_array(check_values, "check_values", np.uint32, (blocks, len(self.segments)))

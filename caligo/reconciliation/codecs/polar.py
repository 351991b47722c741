"""The codec that does the work: the native decoder on a pool of workspaces.

Covers: workspaces made once, arguments checked once, Alice's side. Does not cover: the
decoding rules (``specs/rust-polar-crate.md``), threads (:mod:`.pool`), nor what is done with blocks that fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray

from caligo import _native
from caligo.channel import Qbers, validate_qbers
from caligo.codes.polar_code import PolarCode
from caligo.codes.validation import validate_count, validate_name
from caligo.reconciliation.codecs import DecodedBatch
from caligo.reconciliation.codecs.boundary import (
    require_batch,
    require_check_values,
    require_escalation,
    require_frozen_values,
    require_list_size,
    require_llr,
)
from caligo.reconciliation.codecs.pool import WorkspacePool

if TYPE_CHECKING:
    from caligo._native._core import PolarDecoder

__all__ = ["PolarCodec"]


class PolarCodec:
    """Syndromes and CRC-aided list decoding of batches, by the crate; may be shared by threads.

    Args:
        code: the code.
        list_size: paths the decoder keeps: 1, 2, 4, 8, 16 or 32.
        precision: arithmetic of the decoder, ``int8`` (LLRs in half nats) or ``f32``.
        engine: name of the kernels to use; None takes the fastest this CPU has.
        threads: workspaces, and blocks decoded at the same time.
        escalation: list sizes tried before `list_size`, increasing, the last perhaps `list_size` itself: ``(1, 32)``
            for 32. A block, or a segment of one, goes on to the next only where no candidate has its check. All tries
            but the last keep only paths near the best, which is many times faster and loses about one block in ten.

    Raises:
        ConfigError: a parameter is out of range, or this CPU does not have the engine.
        ResourceError: there is not enough memory for the workspaces.
    """

    def __init__(
        self,
        code: PolarCode,
        list_size: int,
        *,
        precision: Literal["int8", "f32"] = "int8",
        engine: str | None = None,
        threads: int = 1,
        escalation: Sequence[int] = (),
    ) -> None:
        validate_name(precision, "precision", ("int8", "f32"))
        validate_count(threads, "threads")
        self.code = code
        self.list_size = require_list_size(list_size)
        self.escalation = require_escalation(
            escalation, self.list_size, code.segment_check if code.segments else code.check
        )
        self.precision = precision
        self.threads = threads
        decoders: list[PolarDecoder] = [
            _native.PolarDecoder(
                code.block_length,
                code.info_mask,
                list_size,
                shortened=code.shortened_bits,
                check=code.check,
                precision=precision,
                engine=engine,
                escalation=self.escalation,
                segment_length=code.segment_length,
                segment_check=code.segment_check,
            )
            for _ in range(threads)
        ]
        self._engine = str(decoders[0].engine)
        self._decoder_bytes = int(decoders[0].allocated_bytes)
        self._pool = WorkspacePool(decoders)

    @staticmethod
    def required_bytes(
        code: PolarCode, list_size: int, precision: str = "int8", threads: int = 1, escalation: Sequence[int] = ()
    ) -> int:
        """Memory the workspaces of such a codec take, in bytes (the crate's own figure, times `threads`)."""
        each = int(
            _native.required_bytes(
                code.block_length,
                list_size,
                precision,
                info_set=code.info_mask,
                escalation=escalation,
                segment_length=code.segment_length,
            )
        )
        return threads * each

    @property
    def name(self) -> str:
        """``polar``."""
        return "polar"

    @property
    def engine(self) -> str:
        """The kernels in use."""
        return self._engine

    @property
    def decoder_bytes(self) -> int:
        """Memory of one workspace, in bytes."""
        return self._decoder_bytes

    def __repr__(self) -> str:
        escalation = f", escalation={self.escalation}" if self.escalation else ""
        return (
            f"PolarCodec({self.code!r}, list_size={self.list_size}, precision={self.precision!r}, "
            f"engine={self._engine!r}, threads={self.threads}{escalation})"
        )

    def syndrome(self, blocks: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
        """What Alice discloses; see `Codec.syndrome`."""
        require_batch(blocks, self.code, "blocks")
        frozen_values: NDArray[np.uint8] = _native.polar_transform(blocks, self.code.block_length)
        frozen_values &= self.code.frozen_mask
        check_values: NDArray[np.uint32] = _native.check_values(self.code.check, blocks)
        if self.code.segment_length is not None:
            segments = _native.segment_check_values(self.code.segment_check, blocks, self.code.segment_length)
            segments *= self.code.checked_segments
            check_values = np.concatenate([check_values[:, None], segments], axis=1)
        return frozen_values, check_values

    def decode(
        self,
        received: NDArray[np.uint8],
        frozen_values: NDArray[np.uint8],
        check_values: NDArray[np.uint32],
        qber: Qbers,
    ) -> DecodedBatch:
        """Decode blocks received over a binary symmetric channel; see `Codec.decode`."""
        require_batch(received, self.code, "received")
        require_frozen_values(frozen_values, self.code, len(received))
        require_check_values(check_values, self.code, len(received))
        qber = validate_qbers(qber)
        batch = DecodedBatch.undecided(self.code, len(received))

        def decode_slice(decoder: PolarDecoder, rows: slice) -> None:
            decoder.decode_bsc(
                received[rows],
                frozen_values[rows],
                check_values[rows],
                qber,
                batch.decoded[rows],
                batch.ok[rows],
                batch.elapsed_ns[rows],
            )

        self._pool.over_slices(len(received), decode_slice)
        return batch

    def decode_soft(
        self, llr: NDArray[np.float32], frozen_values: NDArray[np.uint8], check_values: NDArray[np.uint32]
    ) -> DecodedBatch:
        """Decode blocks from soft values; see `Codec.decode_soft`."""
        require_llr(llr, self.code)
        require_frozen_values(frozen_values, self.code, len(llr))
        require_check_values(check_values, self.code, len(llr))
        batch = DecodedBatch.undecided(self.code, len(llr))

        def decode_slice(decoder: PolarDecoder, rows: slice) -> None:
            decoder.decode_soft(
                llr[rows],
                frozen_values[rows],
                check_values[rows],
                batch.decoded[rows],
                batch.ok[rows],
                batch.elapsed_ns[rows],
            )

        self._pool.over_slices(len(llr), decode_slice)
        return batch

    def close(self) -> None:
        """Wait for running calls, then release threads and workspaces; a second call does nothing."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

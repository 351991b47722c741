"""Codecs: what turns Alice's block into a syndrome, and Bob's block and that syndrome into Alice's block.

Covers: the protocol every codec keeps, and the shape of its answers. Does not cover: any codec; :mod:`.polar` is the
one to use, :mod:`.reference` the textbook it is held against (it needs Numba, the ``oracle`` extra).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from caligo.channel import Qbers

if TYPE_CHECKING:
    from caligo.codes import PolarCode

__all__ = ["Codec", "DecodedBatch", "InteractiveCodec", "PolarCodec", "ReferenceCodec"]


@dataclass(frozen=True, eq=False, repr=False)
class DecodedBatch:
    """What a codec found for a batch of B blocks.

    Args:
        decoded: uint8[B, max(1, N // 8)], packed: Alice's block where ``ok``, else the best guess.
        ok: bool[B]: a candidate passed the check (always True for check ``none``).
        elapsed_ns: uint64[B]: time spent decoding each block; of blocks decoded together, their common time divided by
            their number.
    """

    decoded: NDArray[np.uint8]
    ok: NDArray[np.bool_]
    elapsed_ns: NDArray[np.uint64]

    @classmethod
    def undecided(cls, code: PolarCode, blocks: int) -> Self:
        """A batch to be filled in: zeros, and no block that passed.

        Args:
            code: the code.
            blocks: B.
        """
        return cls(
            decoded=np.zeros((blocks, max(1, code.block_length // 8)), dtype=np.uint8),
            ok=np.zeros(blocks, dtype=np.bool_),
            elapsed_ns=np.zeros(blocks, dtype=np.uint64),
        )

    def __len__(self) -> int:
        return len(self.ok)

    def __repr__(self) -> str:
        return f"DecodedBatch(blocks={len(self.ok)}, ok={int(np.count_nonzero(self.ok))})"


@runtime_checkable
class Codec(Protocol):
    """One code, one decoder, batches of packed blocks. Implementations may be shared by threads."""

    @property
    def code(self) -> PolarCode:
        """The code it works on."""
        ...

    @property
    def list_size(self) -> int:
        """Paths the decoder keeps."""
        ...

    @property
    def name(self) -> str:
        """What a record calls it."""
        ...

    @property
    def engine(self) -> str:
        """What runs the decoder's kernels."""
        ...

    @property
    def decoder_bytes(self) -> int:
        """Memory of one decoder workspace."""
        ...

    def syndrome(self, blocks: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
        """What Alice discloses.

        Args:
            blocks: uint8[B, max(1, N // 8)], packed; shortened positions zero.

        Returns:
            The frozen values uint8[B, max(1, N // 8)], packed, zero outside the frozen set (``code.syndrome_bits`` of
            these bits are disclosed); the check values uint32[B]. For a code with segments they are
            uint32[B, 1 + segments]: of the block, then of its segments, 0 for those that have no check.

        Raises:
            ShapeError: wrong dtype, shape, layout, or stray bits.
        """
        ...

    def decode(
        self,
        received: NDArray[np.uint8],
        frozen_values: NDArray[np.uint8],
        check_values: NDArray[np.uint32],
        qber: Qbers,
    ) -> DecodedBatch:
        """Find Alice's blocks from Bob's, received over a binary symmetric channel, and what she disclosed.

        Args:
            received: uint8[B, max(1, N // 8)], packed: Bob's blocks; shortened positions zero.
            frozen_values: uint8[B, max(1, N // 8)], packed: Alice's u on the frozen set, zero elsewhere.
            check_values: uint32[B], or uint32[B, 1 + segments]: her check values.
            qber: crossover probability, in (0, 0.5), or a pair: where Bob has 0, where he has 1.

        Raises:
            ShapeError: wrong dtype, shape, layout, or stray bits.
            ConfigError: ``qber`` is out of range.
            ResourceError: the codec is closed, and holds nothing to decode with.
        """
        ...

    def decode_soft(
        self, llr: NDArray[np.float32], frozen_values: NDArray[np.uint8], check_values: NDArray[np.uint32]
    ) -> DecodedBatch:
        """Find Alice's blocks from soft values and what she disclosed.

        Args:
            llr: float32[B, N], ln P(0)/P(1), finite; what stands at shortened positions does not matter.
            frozen_values: uint8[B, max(1, N // 8)], packed: Alice's u on the frozen set, zero elsewhere.
            check_values: uint32[B], or uint32[B, 1 + segments]: her check values.

        Raises:
            ShapeError: wrong dtype, shape, layout, a NaN or an infinity, or stray bits.
            ResourceError: the codec is closed, and holds nothing to decode with.
        """
        ...

    def close(self) -> None:
        """Release workspaces and threads; the codec cannot be used afterwards."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


def __getattr__(name: str) -> Any:
    if name == "InteractiveCodec":
        from caligo.reconciliation.codecs.interactive import InteractiveCodec

        return InteractiveCodec
    if name == "PolarCodec":
        from caligo.reconciliation.codecs.polar import PolarCodec

        return PolarCodec
    if name == "ReferenceCodec":
        from caligo.reconciliation.codecs.reference import ReferenceCodec

        return ReferenceCodec
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""One-way reconciliation: Alice speaks once for each block, Bob decodes.

Covers: the choice of a code, and both parties on a batch of blocks. Does not cover: verification, which joins blocks
into groups (:mod:`caligo.reconciliation.verification`). What is exchanged and what leaks: ``specs/one-way.md``.

The code of a block is designed by density evolution for the design QBER. Given an efficiency, that is what is
disclosed. For a target frame error rate the efficiency is that of :func:`caligo.codes.efficiency_for_target_fer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from caligo import _native
from caligo.channel import binary_entropy
from caligo.codes import PolarCode, design_code, efficiency_for_target_fer
from caligo.errors import ConfigError
from caligo.reconciliation.codecs import Codec
from caligo.reconciliation.codecs.boundary import require_escalation, require_list_size
from caligo.reconciliation.codecs.polar import PolarCodec
from caligo.reconciliation.leakage import Leakage
from caligo.reconciliation.parties import Alice, Bob
from caligo.reconciliation.strategies import CodeRequest, ReconciledBlocks

__all__ = ["OneWay", "chosen_efficiency", "default_escalation", "validate_decoder"]

SHORT_BLOCK_LENGTH = 1 << 13
"""Blocks up to this length are tried without a list first, many side by side."""


def default_escalation(block_length: int, list_size: int, check: str) -> tuple[int, ...]:
    """The list sizes tried on a block before `list_size`: the fastest way to the same error rate.

    A list of 8, or a smaller `list_size` itself, within the narrow threshold; for short blocks successive cancellation
    before it (``docs/performance.md``). None without a check, which says when to go on, or without a list.
    """
    if list_size == 1 or check == "none":
        return ()
    first = (1,) if block_length <= SHORT_BLOCK_LENGTH else ()
    return (*first, min(list_size, 8))


def validate_decoder(*, list_size: int, check: str, precision: str, engine: str | None) -> None:
    """Check the settings of a decoder of whole blocks; see `OneWay.validate`."""
    require_list_size(list_size)
    known: tuple[tuple[str, str | None, list[str]], ...] = (
        ("check", check, list(_native.check_names())),
        ("precision", precision, ["int8", "f32"]),
        ("engine", engine, list(_native.engines())),
    )
    for what, got, allowed in known:
        if got is not None and got not in allowed:
            raise ConfigError(f"{what}: expected one of {', '.join(allowed)}, got {got!r}", what=what, got=str(got))


def chosen_efficiency(request: CodeRequest, segment_check_bits: int = 0) -> float:
    """The efficiency asked for, or what the target frame error rate needs.

    Args:
        request: what is asked for.
        segment_check_bits: bits of checks that the target's efficiency does not know of, added to it.

    Raises:
        ConfigError: the request is out of range.
    """
    efficiency = request.efficiency
    if efficiency is not None and not request.raise_efficiency:
        return efficiency
    unit = request.payload_length * binary_entropy(request.design_qber)
    needed = segment_check_bits / unit + efficiency_for_target_fer(
        request.block_length,
        request.payload_length,
        request.design_qber,
        request.list_size,
        request.target_fer,
        request.check,
    )
    # Rounding may leave a short block no information bit at an efficiency that leaves a long one some.
    most = (request.payload_length - 1) / unit
    return needed if efficiency is None else min(max(efficiency, needed), max(most, needed))


class OneWay:
    """Both parties of the one-way strategy on one code.

    Args:
        code: must have a design QBER; it is what the decoder assumes.
        list_size: paths the decoder keeps.
        precision: arithmetic of the decoder, ``int8`` or ``f32``.
        engine: name of the kernels to use; None takes the fastest.
        escalation: list sizes tried before `list_size`; None: :func:`default_escalation`.
        codec: decode with this instead of a :class:`PolarCodec` made from the above.

    Raises:
        ConfigError: a parameter is out of range.
        ResourceError: there is not enough memory for the decoder.
    """

    name = "one-way"

    def __init__(
        self,
        code: PolarCode,
        list_size: int,
        *,
        precision: str = "int8",
        engine: str | None = None,
        escalation: Sequence[int] | None = None,
        codec: Codec | None = None,
    ) -> None:
        if code.design_qber is None:
            raise ConfigError("expected a code designed for a QBER, got one that is not; design it with qber=...")
        if codec is None:
            codec = PolarCodec(
                code,
                list_size,
                precision=cast(Literal["int8", "f32"], precision),
                engine=engine,
                threads=1,
                escalation=default_escalation(code.block_length, list_size, code.check)
                if escalation is None
                else escalation,
            )
        self.code = code
        self._codec = codec
        self._alice = Alice(codec)
        self._bob = Bob(codec, code.design_qber)
        self._leakage = Leakage.of_blocks(code)

    @staticmethod
    def validate(
        *,
        list_size: int,
        check: str,
        precision: str,
        engine: str | None,
        escalation: Sequence[int] | None = None,
        segment_length: int | None = None,
        segment_check: str | None = None,
    ) -> None:
        """Check settings without making a decoder.

        Args:
            list_size: 1, 2, 4, 8, 16 or 32.
            check: name of a check the crate has.
            precision: ``int8`` or ``f32``.
            engine: name of an engine this CPU has, or None.
            escalation: list sizes to try before `list_size`, increasing, or None.
            segment_length: None, since no block is cut.
            segment_check: None, likewise.

        Raises:
            ConfigError: one of them is something else.
        """
        if segment_length is not None or segment_check is not None:
            raise ConfigError(
                "segment_length and segment_check belong to the strategy segmented; choose it, or leave them out",
                what="segment_length",
            )
        validate_decoder(list_size=list_size, check=check, precision=precision, engine=engine)
        require_escalation(escalation or (), list_size, check)

    @staticmethod
    def required_bytes(
        block_length: int,
        list_size: int,
        precision: str,
        check: str,
        escalation: Sequence[int] | None = None,
        segment_length: int | None = None,
    ) -> int:
        """Memory of the decoder for blocks of a length, in bytes, apart from what depends on their code."""
        if escalation is None:
            escalation = default_escalation(block_length, list_size, check)
        return int(_native.required_bytes(block_length, list_size, precision, escalation=escalation))

    @staticmethod
    def choose_code(request: CodeRequest) -> PolarCode:
        """The code for blocks of one shape.

        Args:
            request: what is asked for.

        Returns:
            A code of `request.payload_length` key bits.

        Raises:
            ConfigError: the request is out of range, or its efficiency leaves no key.
        """
        return design_code(
            request.block_length,
            payload_length=request.payload_length,
            design="de",
            qber=request.design_qber,
            efficiency=chosen_efficiency(request),
            check=request.check,
        )

    @property
    def engine(self) -> str:
        """What runs the decoder's kernels."""
        return self._codec.engine

    @property
    def decoder_bytes(self) -> int:
        """Memory of the decoder workspace."""
        return self._codec.decoder_bytes

    def __repr__(self) -> str:
        return f"OneWay({self.code!r})"

    def reconcile(self, alice: NDArray[np.uint8], bob: NDArray[np.uint8]) -> ReconciledBlocks:
        """Alice discloses, Bob decodes.

        Args:
            alice: her blocks, packed uint8 `[B, max(1, N // 8)]`, zero beyond the payload; only her side reads them.
            bob: his blocks, likewise.

        Returns:
            What Bob holds, and whether each block passed its check.

        Raises:
            ShapeError: wrong dtype, shape, layout, or stray bits.
        """
        decoded = self._bob.decode(self._alice.disclose(alice), bob)
        return ReconciledBlocks(decoded.decoded, decoded.ok, decoded.elapsed_ns, (self._leakage,) * len(decoded.ok))

    def close(self) -> None:
        """Release the workspace."""
        self._codec.close()

"""One-way reconciliation of blocks that are cut in segments, each with a check of its own.

Covers: the choice of a code with segments, and of the list sizes that decode it. Does not cover: what both parties do,
which is as in :mod:`.one_way`, nor the decoding rule (``specs/rust-polar-crate.md``).

Alice discloses a short check for every segment, beside frozen values and the check of the block. Bob's decoder settles
one segment at a time: nearly all with a small list, and only where that finds no word with the check, with a longer
one. That is several times as fast as a long list for the whole block, and on the same information set finds a few more
blocks, since a list starts afresh after every segment (``tests/acceptance/test_error_rates.py``); it costs the bits of
the checks, 0.15 % of the disclosure at N = 2^20 and QBER 2 %.

A block too short for two segments is not cut.
"""

from __future__ import annotations

from collections.abc import Sequence

from caligo import _native
from caligo.codes import PolarCode, design_code
from caligo.codes.polar_code import MAX_BLOCK_LENGTH, validate_segments
from caligo.reconciliation.codecs import Codec
from caligo.reconciliation.codecs.boundary import require_escalation
from caligo.reconciliation.strategies import CodeRequest
from caligo.reconciliation.strategies.one_way import OneWay, OneWayBob, chosen_efficiency, validate_decoder

__all__ = ["DEFAULT_SEGMENT_CHECK", "DEFAULT_SEGMENT_LENGTH", "Segmented", "default_escalation"]

DEFAULT_SEGMENT_LENGTH = 1 << 16
DEFAULT_SEGMENT_CHECK = "crc16"


def default_escalation(list_size: int) -> tuple[int, ...]:
    """The list sizes tried on a segment before `list_size`: 1 and 8, as far as they are smaller."""
    return tuple(size for size in (1, 8) if size < list_size)


def _escalation(code: PolarCode, list_size: int, escalation: Sequence[int] | None) -> Sequence[int] | None:
    if escalation is None and code.segments:
        return default_escalation(list_size)
    if not code.segments and code.check == "none":
        return ()  # nothing says whether a list was long enough
    return escalation


class Segmented(OneWay):
    """Both parties of the segmented strategy on one code.

    Args:
        code: must have a design QBER, or a pair; that is what the decoder assumes.
        list_size: paths the decoder keeps at most.
        precision: arithmetic of the decoder, ``int8`` or ``f32``.
        engine: name of the kernels to use; None takes the fastest.
        escalation: list sizes tried before `list_size`; None: :func:`default_escalation`, or where the block
            is not cut as `OneWay`.
        codec: decode with this instead of a :class:`PolarCodec` made from the above.

    Raises:
        ConfigError: a parameter is out of range.
        ResourceError: there is not enough memory for the decoder.
    """

    name = "segmented"

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
        super().__init__(
            code,
            list_size,
            precision=precision,
            engine=engine,
            escalation=_escalation(code, list_size, escalation),
            codec=codec,
        )

    @staticmethod
    def bob(
        code: PolarCode,
        list_size: int,
        *,
        precision: str = "int8",
        engine: str | None = None,
        escalation: Sequence[int] | None = None,
        workers: int = 1,
    ) -> OneWayBob:
        """His side of a dialogue; see `OneWay.bob`, but without an `escalation` :func:`default_escalation`."""
        return OneWay.bob(
            code,
            list_size,
            precision=precision,
            engine=engine,
            escalation=_escalation(code, list_size, escalation),
            workers=workers,
        )

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
            segment_length: positions of a segment, a power of two from 64 on, or None.
            segment_check: ``crc16``, ``crc24`` or ``crc32``, or None.

        Raises:
            ConfigError: one of them is something else.
        """
        validate_decoder(list_size=list_size, check=check, precision=precision, engine=engine)
        segment_check = DEFAULT_SEGMENT_CHECK if segment_check is None else segment_check
        segment_length = DEFAULT_SEGMENT_LENGTH if segment_length is None else segment_length
        validate_segments(MAX_BLOCK_LENGTH, segment_length, segment_check)
        require_escalation(escalation or (), list_size, segment_check)

    @staticmethod
    def required_bytes(
        block_length: int,
        list_size: int,
        precision: str,
        check: str,
        escalation: Sequence[int] | None = None,
        segment_length: int | None = None,
    ) -> int:
        """As `OneWay.required_bytes`, for blocks in segments and for shorter ones that are not cut."""
        if escalation is None:
            escalation = default_escalation(list_size)
        length = segment_length or DEFAULT_SEGMENT_LENGTH
        whole = OneWay.required_bytes(min(block_length, 2 * length), list_size, precision, check, escalation)
        if 2 * length > block_length:
            return whole
        cut = _native.required_bytes(block_length, list_size, precision, escalation=escalation, segment_length=length)
        return max(whole, int(cut))

    @staticmethod
    def choose_code(request: CodeRequest) -> PolarCode:
        """The code for blocks of one shape.

        Args:
            request: what is asked for.

        Returns:
            A code of `request.payload_length` key bits, with segments if there is room for two and for their checks.

        Raises:
            ConfigError: the request is out of range, or its efficiency leaves no key.
        """
        segment_length = request.segment_length or DEFAULT_SEGMENT_LENGTH
        segment_check = request.segment_check or DEFAULT_SEGMENT_CHECK
        if 2 * segment_length > min(request.block_length, request.payload_length):
            return OneWay.choose_code(request)
        segments = -(-request.payload_length // segment_length)
        efficiency = chosen_efficiency(request, segments * int(_native.check_bits(segment_check)))
        if request.efficiency != efficiency and efficiency * request.unit >= request.payload_length - 1:
            return OneWay.choose_code(request)
        return design_code(
            request.block_length,
            payload_length=request.payload_length,
            design="de",
            qber=request.design_qber,
            efficiency=efficiency,
            check=request.check,
            segment_length=segment_length,
            segment_check=segment_check,
        )

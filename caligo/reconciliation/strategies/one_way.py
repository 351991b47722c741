"""One-way reconciliation: Alice speaks once for each block, Bob decodes.

Covers: the choice of a code, both parties on a batch of blocks, and each side of a dialogue (which ends with the first
word). Does not cover: verification, which joins blocks into groups (:mod:`caligo.reconciliation.verification`). What
is exchanged and what leaks: ``specs/one-way.md``.

The code of a block is designed by density evolution for the design QBER. Given an efficiency, that is what is
disclosed. For a target frame error rate the efficiency is that of :func:`caligo.codes.efficiency_for_target_fer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from caligo import _native
from caligo.bits import select_bits, spread_bits
from caligo.codes import PolarCode, design_code, efficiency_for_target_fer
from caligo.errors import ConfigError, ProtocolError
from caligo.reconciliation.codecs import Codec, DecodedBatch
from caligo.reconciliation.codecs.boundary import require_escalation, require_list_size
from caligo.reconciliation.codecs.polar import PolarCodec
from caligo.reconciliation.codecs.pool import WorkspacePool
from caligo.reconciliation.leakage import OUTCOME_BITS, Leakage, TwoWayLeakage
from caligo.reconciliation.messages import Bits
from caligo.reconciliation.parties import Alice, Bob
from caligo.reconciliation.strategies import NO_CAPS, BlockCaps, CodeRequest, ReconciledBlocks
from caligo.reconciliation.strategies.dialogue import Decoded, Disclosed, GivenUp, OpeningSizes, State, Step

__all__ = ["OneWay", "OneWayAlice", "OneWayBob", "chosen_efficiency", "default_escalation", "validate_decoder"]

_BATCH_BITS = 1 << 18
"""Blocks are decoded side by side up to about so many bits, as a window of a job is."""

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
    needed = segment_check_bits / request.unit + efficiency_for_target_fer(
        request.block_length,
        request.payload_length,
        request.design_qber,
        request.list_size,
        request.target_fer,
        request.check,
    )
    # Rounding may leave a short block no information bit at an efficiency that leaves a long one some.
    most = (request.payload_length - 1) / request.unit
    return needed if efficiency is None else min(max(efficiency, needed), max(most, needed))


class OneWay:
    """Both parties of the one-way strategy on one code.

    Args:
        code: must have a design QBER, or a pair; that is what the decoder assumes.
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
    wishes: tuple[str, ...] = ()
    asks = False

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
        if code.assumed_qber is None:
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
        self._bob = Bob(codec, code.assumed_qber)
        self._leakage = TwoWayLeakage(Leakage.of_blocks(code), reply_bits=OUTCOME_BITS)

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

    @staticmethod
    def alice(code: PolarCode) -> OneWayAlice:
        """Her side of a dialogue.

        Args:
            code: the code.
        """
        return OneWayAlice(code)

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
        """His side of a dialogue.

        Args:
            code: must have a design QBER; it is what the decoder assumes.
            list_size: paths the decoder keeps.
            precision: arithmetic of the decoder, ``int8`` or ``f32``.
            engine: name of the kernels to use; None takes the fastest.
            escalation: list sizes tried before `list_size`; None: :func:`default_escalation`.
            workers: threads that may decode at the same time.

        Raises:
            ConfigError: a parameter is out of range.
            ResourceError: there is not enough memory for the decoders.
        """
        if escalation is None:
            escalation = default_escalation(code.block_length, list_size, code.check)
        return OneWayBob(code, list_size, precision=precision, engine=engine, escalation=escalation, workers=workers)

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

    def reconcile(
        self, alice: NDArray[np.uint8], bob: NDArray[np.uint8], caps: BlockCaps = NO_CAPS
    ) -> ReconciledBlocks:
        """Alice discloses, Bob decodes.

        Args:
            alice: her blocks, packed uint8 `[B, max(1, N // 8)]`, zero beyond the payload; only her side reads them.
            bob: his blocks, likewise.
            caps: nothing is asked, so they hold if they allow what every block discloses.

        Returns:
            What Bob holds, and whether each block passed its check.

        Raises:
            ShapeError: wrong dtype, shape, layout, or stray bits.
        """
        return self._outcome(self._bob.decode(self._alice.disclose(alice), bob))

    def reconcile_soft(self, alice: NDArray[np.uint8], bob_llr: NDArray[np.float32]) -> ReconciledBlocks:
        """As `reconcile`, where Bob knows of each of his bits how reliable it is.

        Whether a block decodes then depends on what he has, and not on the errors alone: `leakage_bits_both_ways` is
        the account to rely on.

        Args:
            alice: her blocks, packed uint8 `[B, max(1, N // 8)]`, zero beyond the payload; only her side reads them.
            bob_llr: ln P(0)/P(1) of her bits by what he has, float32 `[B, N]`, finite; his own bit is 1 where it is
                negative, and beyond the payload it does not matter.

        Returns:
            What Bob holds, and whether each block passed its check.

        Raises:
            ShapeError: wrong dtype, shape, layout, a NaN or an infinity, or stray bits.
        """
        return self._outcome(self._bob.decode_soft(self._alice.disclose(alice), bob_llr))

    def _outcome(self, decoded: DecodedBatch) -> ReconciledBlocks:
        blocks = len(decoded.ok)
        return ReconciledBlocks(
            decoded.decoded,
            decoded.ok,
            decoded.elapsed_ns,
            (self._leakage,) * blocks,
            rounds=np.zeros(blocks, dtype=np.int64),
            given_up=np.zeros(blocks, dtype=np.bool_),
        )

    def close(self) -> None:
        """Release the workspace."""
        self._codec.close()


class _OneWaySide:
    """What both sides of the dialogue know."""

    def __init__(self, code: PolarCode) -> None:
        self.code = code
        self.sizes = OpeningSizes(code.syndrome_bits, code.segment_check_bits, code.check_bits)

    def answer_bits(self, state: State, wants: tuple[tuple[int, int], ...]) -> int:
        """Nothing may be asked; see `Side.answer_bits`."""
        raise ProtocolError(
            "expected no request, since the strategy is one-way, got one; the peer does not follow the protocol",
            field="wants",
        )

    def request_bits(self, wants: tuple[tuple[int, int], ...]) -> int:
        """See `Side.request_bits`."""
        return 0


class OneWayAlice(_OneWaySide):
    """Alice's side of the dialogue: she speaks once.

    Args:
        code: the code.
    """

    def open(self, row: NDArray[np.uint8]) -> tuple[Disclosed, State]:
        """Disclose frozen values and check values; see `AliceSide.open`."""
        code = self.code
        transformed: NDArray[np.uint8] = _native.polar_transform(row[None], code.block_length)[0]
        segments = b""
        if code.segment_length is not None:
            values = _native.segment_check_values(code.segment_check, row[None], code.segment_length)[0]
            segments = _check_bytes(values[code.checked_segments], code.segment_check)
        return (
            Disclosed(
                frozen=Bits.of(select_bits(transformed, code.frozen_mask, code.block_length), code.syndrome_bits),
                segment_checks=Bits(code.segment_check_bits, segments),
                check=Bits(code.check_bits, _check_bytes(_native.check_values(code.check, row[None]), code.check)),
            ),
            None,
        )

    def answer(self, state: State, wants: tuple[tuple[int, int], ...]) -> Bits:
        """Never reached: `answer_bits` refuses every request."""
        raise ProtocolError("expected no request, since the strategy is one-way, got one", field="wants")

    def close(self) -> None:
        """Nothing is held."""


class OneWayBob(_OneWaySide):
    """Bob's side of the dialogue: one step, one result.

    Args:
        code: must have a design QBER; it is what the decoder assumes.
        list_size: paths the decoder keeps.
        precision: arithmetic of the decoder.
        engine: name of the kernels to use; None takes the fastest.
        escalation: list sizes tried before `list_size`.
        workers: threads that may decode at the same time.

    Raises:
        ConfigError: a parameter is out of range.
        ResourceError: there is not enough memory for the decoders.
    """

    def __init__(
        self,
        code: PolarCode,
        list_size: int,
        *,
        precision: str,
        engine: str | None,
        escalation: Sequence[int],
        workers: int,
    ) -> None:
        super().__init__(code)
        if code.assumed_qber is None:
            raise ConfigError("expected a code designed for a QBER, got one that is not; design it with qber=...")
        self._qber = code.assumed_qber
        arithmetic = cast(Literal["int8", "f32"], precision)
        self._codecs = WorkspacePool(
            [
                PolarCodec(code, list_size, precision=arithmetic, engine=engine, escalation=escalation)
                for _ in range(workers)
            ]
        )

    @property
    def batch(self) -> int:
        """Blocks to decode side by side."""
        return max(1, _BATCH_BITS // self.code.block_length)

    def start(self, row: NDArray[np.uint8], disclosed: Disclosed) -> State:
        """Keep what came; see `BobSide.start`."""
        return row, disclosed

    def step(self, states: Sequence[State]) -> list[Step]:
        """Decode; see `BobSide.step`."""
        code = self.code
        rows = np.stack([row for row, _ in states])
        frozen_values = np.stack(
            [spread_bits(disclosed.frozen.row, code.frozen_mask, code.block_length) for _, disclosed in states]
        )
        check_values = np.stack([self._check_values(disclosed) for _, disclosed in states])
        with self._codecs.lend() as codec:
            batch = codec.decode(rows, frozen_values, check_values, self._qber)
        return [
            Decoded(decoded, int(elapsed)) if ok else GivenUp(int(elapsed))
            for decoded, ok, elapsed in zip(batch.decoded, batch.ok, batch.elapsed_ns, strict=True)
        ]

    def _check_values(self, disclosed: Disclosed) -> NDArray[np.uint32]:
        """As `Codec.decode` takes them: a number, or one for the block and one for each segment."""
        code = self.code
        of_block = _checks_of(disclosed.check.packed, code.check)
        whole = of_block[0] if of_block.size else np.uint32(0)
        if not code.segments:
            return np.array(whole, dtype=np.uint32)
        values = np.zeros(1 + code.segments, dtype=np.uint32)
        values[0] = whole
        values[1:][code.checked_segments] = _checks_of(disclosed.segment_checks.packed, code.segment_check)
        return values

    def accept(self, state: State, wants: tuple[tuple[int, int], ...], bits: Bits) -> None:
        """Never reached: nothing is asked."""
        raise ProtocolError("expected no answer, since the strategy is one-way, got one", field="bits")

    def close(self) -> None:
        """Release the decoders; waits for those at work."""
        self._codecs.close()


def _check_bytes(values: NDArray[np.uint32], check: str) -> bytes:
    """Check values one after the other, each in as many bytes as it has, the lowest first."""
    width = int(_native.check_bits(check)) // 8
    return values.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :width].tobytes()


def _checks_of(data: bytes, check: str) -> NDArray[np.uint32]:
    """The inverse of `_check_bytes`."""
    width = int(_native.check_bits(check)) // 8
    if width == 0:
        return np.zeros(0, dtype=np.uint32)
    padded = np.zeros((len(data) // width, 4), dtype=np.uint8)
    padded[:, :width] = np.frombuffer(data, dtype=np.uint8).reshape(-1, width)
    return padded.view("<u4")[:, 0].astype(np.uint32)

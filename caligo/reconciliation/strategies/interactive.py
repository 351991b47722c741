"""Interactive reconciliation: Alice discloses too little, Bob names the segments he cannot decode, she adds to them.

Covers: both sides of the dialogue, the choice of a code, both parties on a batch of blocks. Does not cover: the cuts,
the order of disclosure and what a request is for (:mod:`caligo.codes.dialogue_code`), the parameters
(:mod:`.interactive_table`), decoding (:mod:`caligo.reconciliation.codecs.interactive`). Contract:
``specs/interactive.md``.

A block begins with frozen bits for less than its errors demand, and a short check for every segment. Bob decodes
segment by segment; a segment without a word that has its check stops him. He names it, Alice discloses its least
reliable information bits, and he decodes it again. If that has happened several times, the fault is likely to lie
before it: a wrong word may have had the check of the segment before. He then goes back by one segment and asks there.
A check covers all words before it, so the last one decides about the block.

What Bob asks is a function of the error pattern and of public data: he decodes the difference of the two keys, and his
rule looks at nothing but which segments failed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from caligo import _native
from caligo.bits import unpack
from caligo.channel import bsc_llr, mean_qber
from caligo.codes import PolarCode
from caligo.codes.dialogue_code import (
    LAST_CHECK_BITS,
    MAX_PART_LENGTH,
    DialogueCode,
    RequestRule,
    Talk,
    design_dialogue_code,
)
from caligo.errors import ConfigError, ProtocolError
from caligo.reconciliation.codecs.boundary import require_batch, require_escalation
from caligo.reconciliation.codecs.pool import WorkspacePool
from caligo.reconciliation.messages import Bits
from caligo.reconciliation.strategies import NO_CAPS, WISHES, BlockCaps, CodeRequest, ReconciledBlocks
from caligo.reconciliation.strategies.dialogue import Ask, Decoded, Disclosed, GivenUp, OpeningSizes, Step, play
from caligo.reconciliation.strategies.interactive_table import DEFAULT_WISH, Parameters, parameters
from caligo.reconciliation.strategies.one_way import validate_decoder

if TYPE_CHECKING:
    from caligo._native._core import InteractiveDecoder

__all__ = ["Interactive", "InteractiveAlice", "InteractiveBob", "code_of", "default_escalation"]

Wants = tuple[tuple[int, int], ...]

_BATCH_BITS = 1 << 20
"""Blocks are decoded in one call up to about so many bits."""


def code_of(request: CodeRequest, chosen: Parameters) -> DialogueCode:
    """Design a code with given parameters.

    Args:
        request: shape and QBER; an efficiency is that of the opening, and replaces the tabled one.
        chosen: how much to disclose, how to cut, how to ask.

    Raises:
        ConfigError: the request is out of range, or leaves no key.
    """
    payload = request.payload_length
    qber = mean_qber(request.design_qber)
    # Errors vary from block to block; far beyond that the keys do not belong together.
    deviation = math.sqrt(payload * qber * (1.0 - qber)) * bsc_llr(qber) / math.log(2.0)
    rule = RequestRule(
        first_bits=chosen.first_bits,
        back_bits=chosen.back_bits,
        growth_percent=chosen.growth_percent,
        most_bits=chosen.most_bits,
        hurry=chosen.hurry,
        ahead_percent=chosen.ahead_percent,
        patience=chosen.patience,
        most_disclosed_bits=min(
            payload, round(MOST_EFFICIENCY * request.unit + MOST_DEVIATIONS * deviation) + MOST_BESIDE
        ),
        most_requests=MOST_REQUESTS,
    )

    def design(frozen_bits: int) -> DialogueCode:
        return design_dialogue_code(
            request.block_length,
            payload_length=payload,
            qber=request.design_qber,
            frozen_bits=frozen_bits,
            rule=rule,
            share=chosen.share,
            check_bits=chosen.check_bits,
        )

    # A block too short for all of it keeps one bit; an efficiency that was asked for pays for the checks too.
    most = payload - LAST_CHECK_BITS - 1
    code = design(max(0, min(round(chosen.frozen_efficiency * request.least_bits), most)))
    if request.efficiency is None:
        return code
    return design(max(0, min(round(request.efficiency * request.unit) - code.segment_check_bits, most)))


MOST_EFFICIENCY = 1.6
MOST_DEVIATIONS = 16.0
MOST_BESIDE = 64
"""Of a block no more is disclosed than this many times what the design QBER demands, so many standard deviations of
what its errors demand, and so many bits."""

MOST_REQUESTS = 400
"""For one block, whatever they are for."""


def default_escalation(list_size: int) -> tuple[int, ...]:
    """The list sizes tried on a segment before `list_size`: 8, if it is smaller."""
    return (8,) if list_size > 8 else ()


@dataclass(slots=True, eq=False, repr=False)
class _AliceState:
    """What Alice keeps of a block."""

    talk: Talk
    transformed: NDArray[np.uint8]


@dataclass(slots=True, eq=False, repr=False)
class _BobState:
    """What Bob keeps of a block.

    Args:
        talk: what was said since the opening.
        opening: his row, her frozen values and checks of segments, until he first decodes them.
        failures: of each segment, since he last went back from it.
        saved: where the decoder stopped; None before the first time, and when all is done.
        part: the part there.
        answer: first part to decode anew, positions and values disclosed, until he next decodes.
    """

    talk: Talk
    opening: tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint32]] | None
    failures: list[int]
    saved: NDArray[np.uint8] | None = None
    part: int = 0
    answer: tuple[int, NDArray[np.uint32], NDArray[np.uint8]] | None = None


class _InteractiveSide:
    """What both sides of the dialogue know."""

    def __init__(self, code: DialogueCode) -> None:
        self.code = code
        self.sizes = OpeningSizes(code.syndrome_bits, code.segment_check_bits, code.check_bits)
        self._request_bits = (code.segments - 1).bit_length()
        self._frozen = np.flatnonzero(unpack(code.frozen_mask, code.block_length))
        widths = np.array([bits for _, bits in code.parts])
        self._disclosed_check_bits = np.arange(32) < widths[:, None]

    def answer_bits(self, state: _AliceState | _BobState, wants: Wants) -> int:
        """See `Side.answer_bits`: exactly what follows from the segment that is named."""
        named = wants[0][0] if wants else -1
        allowed = state.talk.wants(named) if 0 <= named < self.code.segments else ()
        if wants != allowed or not allowed:
            raise ProtocolError(
                f"wants: expected what the rule gives for one of {self.code.segments} segments, got {wants[:4]}; the "
                "peer does not follow the protocol",
                field="wants",
                expected=allowed,
            )
        return sum(count for _, count in allowed)

    def request_bits(self, wants: Wants) -> int:
        """See `Side.request_bits`: the number of a segment; all else follows from it."""
        return self._request_bits


class InteractiveAlice(_InteractiveSide):
    """Alice's side of the dialogue.

    Args:
        code: the code.
    """

    def open(self, row: NDArray[np.uint8]) -> tuple[Disclosed, _AliceState]:
        """See `AliceSide.open`."""
        code = self.code
        transformed: NDArray[np.uint8] = _native.polar_transform(row[None], code.block_length)[0]
        values: NDArray[np.uint32] = _native.interactive_check_values(row[None], code.parts)[0]
        checks = np.unpackbits(values.astype("<u4").view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")
        disclosed = Disclosed(
            frozen=_bits_of(np.unpackbits(transformed, bitorder="little")[self._frozen]),
            segment_checks=_bits_of(checks[self._disclosed_check_bits]),
            check=Bits(0, b""),
        )
        return disclosed, _AliceState(Talk(code), transformed)

    def answer(self, state: _AliceState, wants: Wants) -> Bits:
        """See `AliceSide.answer`."""
        positions = state.talk.take(wants)
        return _bits_of(state.transformed[positions >> 3] >> (positions & 7).astype(np.uint8) & np.uint8(1))

    def close(self) -> None:
        """Nothing is held."""


class InteractiveBob(_InteractiveSide):
    """Bob's side of the dialogue.

    Args:
        code: the code; its design QBER, or pair, is what the decoder assumes.
        list_size: paths the decoder keeps at most.
        precision: arithmetic of the decoder.
        engine: name of the kernels to use; None takes the fastest.
        escalation: list sizes tried on a segment before `list_size`.
        workers: threads that may decode at the same time.

    Raises:
        ConfigError: a parameter is out of range.
        ResourceError: there is not enough memory for the decoders.
    """

    def __init__(
        self,
        code: DialogueCode,
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
        decoders = [
            _native.InteractiveDecoder(
                code.block_length,
                code.info_mask,
                code.parts,
                list_size,
                shortened=code.shortened_bits,
                escalation=tuple(escalation),
                precision=precision,
                engine=engine,
            )
            for _ in range(workers)
        ]
        self.engine = str(decoders[0].engine)
        self.decoder_bytes = int(decoders[0].allocated_bytes)
        self._state_bytes = int(decoders[0].state_bytes)
        self._decoders = WorkspacePool(decoders)

    @property
    def batch(self) -> int:
        """Blocks to decode in one call."""
        return max(1, _BATCH_BITS // self.code.block_length)

    def start(self, row: NDArray[np.uint8], disclosed: Disclosed) -> _BobState:
        """Keep what came; see `BobSide.start`."""
        code = self.code
        values = np.zeros(max(8, code.block_length), dtype=np.uint8)
        values[self._frozen] = unpack(disclosed.frozen.row, disclosed.frozen.length)
        checks = np.zeros((len(code.parts), 32), dtype=np.uint8)
        checks[self._disclosed_check_bits] = unpack(disclosed.segment_checks.row, disclosed.segment_checks.length)
        opening = (
            row,
            np.packbits(values, bitorder="little"),
            np.packbits(checks, axis=1, bitorder="little").view("<u4")[:, 0].astype(np.uint32),
        )
        return _BobState(Talk(code), opening, [0] * code.segments)

    def step(self, states: Sequence[_BobState]) -> list[Step]:
        """Decode; see `BobSide.step`."""
        code = self.code
        parts = len(code.parts)
        saved = np.empty((len(states), self._state_bytes), dtype=np.uint8)
        stopped = np.empty(len(states), dtype=np.uint32)
        elapsed = np.empty(len(states), dtype=np.uint64)
        with self._decoders.lend() as decoder:
            self._prepare(decoder, states, saved)
            decoder.run(saved, stopped, elapsed)
            ended = np.flatnonzero(stopped == parts)
            decoded = np.zeros((len(ended), max(1, code.block_length // 8)), dtype=np.uint8)
            if len(ended):
                decoder.finish(np.ascontiguousarray(saved[ended]), decoded)
        rows = iter(decoded)
        steps: list[Step] = []
        for state, row, part, elapsed_ns in zip(states, saved, stopped.tolist(), elapsed.tolist(), strict=True):
            state.part = part
            state.saved = None
            if part == parts:
                steps.append(Decoded(next(rows), elapsed_ns))
                continue
            wants = self._choose(state, code.segment_of_part[part])
            if wants:
                state.saved = row.copy()
                steps.append(Ask(wants, elapsed_ns))
            else:
                steps.append(GivenUp(elapsed_ns))
        return steps

    def _prepare(self, decoder: InteractiveDecoder, states: Sequence[_BobState], saved: NDArray[np.uint8]) -> None:
        """Put every block where it is to be decoded from."""
        openings = [state.opening for state in states if state.opening is not None]
        if openings:
            rows, frozen_values, checks = (np.stack(column) for column in zip(*openings, strict=True))
            begun = np.empty((len(openings), self._state_bytes), dtype=np.uint8)
            decoder.begin(rows, frozen_values, checks, self._qber, begun)
            fresh = iter(begun)
            for state in states:
                if state.opening is not None:
                    state.saved, state.opening = next(fresh), None
        for state, row in zip(states, saved, strict=True):
            row[:] = state.saved
            if state.answer is not None:
                first_part, positions, values = state.answer
                if first_part < state.part:
                    decoder.rollback(row, first_part)
                decoder.disclose(row, positions, values)
                state.answer = None

    def _choose(self, state: _BobState, segment: int) -> Wants:
        """What to ask after a segment had no word with its check; nothing if nothing may be asked."""
        target = segment
        state.failures[segment] += 1
        if state.failures[segment] > self.code.rule.patience and segment > 0:
            state.failures[segment] = 0
            target -= 1
            state.failures[target] += 1
        # A segment may have nothing left; where all before it are known, the fault is its own.
        for each in (*range(target, -1, -1), segment):
            wants = state.talk.wants(each)
            if wants:
                return wants
        return ()

    def accept(self, state: _BobState, wants: Wants, bits: Bits) -> None:
        """See `BobSide.accept`."""
        positions = state.talk.take(wants).astype(np.uint32)
        state.answer = self.code.segment_parts[wants[0][0]][0], positions, unpack(bits.row, bits.length)

    def close(self) -> None:
        """Release the decoders; waits for those at work."""
        self._decoders.close()


class Interactive:
    """Both parties of the interactive strategy on one code.

    Args:
        code: from `choose_code`.
        list_size: paths the decoder keeps at most.
        precision: arithmetic of the decoder, ``int8`` or ``f32``.
        engine: name of the kernels to use; None takes the fastest.
        escalation: list sizes tried on a segment before `list_size`; None: :func:`default_escalation`.

    Raises:
        ConfigError: a parameter is out of range.
        ResourceError: there is not enough memory for the decoder.
    """

    name = "interactive"
    wishes: tuple[str, ...] = WISHES
    asks = True

    def __init__(
        self,
        code: PolarCode,
        list_size: int,
        *,
        precision: str = "int8",
        engine: str | None = None,
        escalation: Sequence[int] | None = None,
    ) -> None:
        self._alice = self.alice(code)
        self._bob = self.bob(code, list_size, precision=precision, engine=engine, escalation=escalation)
        self.code = code

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
            check: name of a check the crate has; the strategy chooses its own checks.
            precision: ``int8`` or ``f32``.
            engine: name of an engine this CPU has, or None.
            escalation: list sizes to try before `list_size`, increasing, or None.
            segment_length: None, since the strategy chooses its own cuts.
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
        require_escalation(escalation or (), list_size, "crc32")

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
            escalation = default_escalation(list_size)
        length = min(block_length, MAX_PART_LENGTH)
        workspace, state = _native.interactive_required_bytes(
            block_length,
            np.full(max(1, block_length // 8), 0xFF, dtype=np.uint8),
            ((length, LAST_CHECK_BITS),) * (block_length // length),
            list_size,
            precision,
            escalation,
        )
        return int(workspace) + 2 * max(1, _BATCH_BITS // block_length) * int(state)

    @classmethod
    def parameters(cls, request: CodeRequest) -> Parameters:
        """What is tabled for blocks of one shape."""
        return parameters(request.payload_length, mean_qber(request.design_qber), request.wish or DEFAULT_WISH)

    @classmethod
    def choose_code(cls, request: CodeRequest) -> DialogueCode:
        """The code for blocks of one shape.

        Args:
            request: what is asked for; an efficiency is that of the opening. The target frame error rate does not
                matter, since Bob asks until he has the block, nor does the check.

        Returns:
            A code of `request.payload_length` key bits.

        Raises:
            ConfigError: the request is out of range, or leaves no key.
        """
        return code_of(request, cls.parameters(request))

    @staticmethod
    def alice(code: PolarCode) -> InteractiveAlice:
        """Her side of a dialogue.

        Args:
            code: from `choose_code`.

        Raises:
            ConfigError: it is another kind of code.
        """
        return InteractiveAlice(_require_dialogue(code))

    @staticmethod
    def bob(
        code: PolarCode,
        list_size: int,
        *,
        precision: str = "int8",
        engine: str | None = None,
        escalation: Sequence[int] | None = None,
        workers: int = 1,
    ) -> InteractiveBob:
        """His side of a dialogue.

        Args:
            code: from `choose_code`.
            list_size: paths the decoder keeps at most.
            precision: arithmetic of the decoder, ``int8`` or ``f32``.
            engine: name of the kernels to use; None takes the fastest.
            escalation: list sizes tried on a segment before `list_size`; None: :func:`default_escalation`.
            workers: threads that may decode at the same time.

        Raises:
            ConfigError: a parameter is out of range, or the code is of another kind.
            ResourceError: there is not enough memory for the decoders.
        """
        if escalation is None:
            escalation = default_escalation(list_size)
        dialogue = _require_dialogue(code)
        return InteractiveBob(
            dialogue, list_size, precision=precision, engine=engine, escalation=escalation, workers=workers
        )

    @property
    def engine(self) -> str:
        """What runs the decoder's kernels."""
        return self._bob.engine

    @property
    def decoder_bytes(self) -> int:
        """Memory of the decoder workspace."""
        return self._bob.decoder_bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code!r})"

    def reconcile(
        self, alice: NDArray[np.uint8], bob: NDArray[np.uint8], caps: BlockCaps = NO_CAPS
    ) -> ReconciledBlocks:
        """The two sides talk about a batch of blocks, many at the same time.

        Args:
            alice: her blocks, packed uint8 `[B, max(1, N // 8)]`, zero beyond the payload; only her side reads them.
            bob: his blocks, likewise.
            caps: where a block is given up, if not before.

        Returns:
            What Bob holds, whether he came to an end with each block, and what was said about it.

        Raises:
            ShapeError: wrong dtype, shape, layout, or stray bits.
        """
        require_batch(alice, self.code, "alice")
        require_batch(bob, self.code, "bob")
        return play(self._alice, self._bob, alice, bob, caps)

    def close(self) -> None:
        """Release the workspace."""
        self._bob.close()


def _bits_of(values: NDArray[np.uint8]) -> Bits:
    """Bits of a message from one byte for each."""
    return Bits(len(values), np.packbits(values, bitorder="little").tobytes())


def _require_dialogue(code: PolarCode) -> DialogueCode:
    if not isinstance(code, DialogueCode):
        raise ConfigError(
            f"expected a code to talk about, got {type(code).__name__}; choose it by the strategy's choose_code",
            what="code",
        )
    return code

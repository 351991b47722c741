"""What a strategy offers to two parties who talk: each side of one code, block by block.

Covers: the protocols `AliceSide` and `BobSide`, what passes between them and a session, a side's sizes, and both sides
played in one process (:func:`play`), counted to the bit as a session counts. Does not cover: any strategy; messages,
windows, caps and accounts of two processes (:mod:`caligo.reconciliation.session`).

A block is a dialogue in strict alternation: Alice opens it; then Bob settles it, or asks and she answers, until he
settles it. Bob's side decodes in `step`, which is the only method that takes long. It is called from any thread, never
for one block by two at a time, and for as many blocks at once as the side can make use of. Between steps a block's
state is whatever the side keeps of it: the received bits for a code that is decoded in one go; a saved position for a
decoder that runs to the end of a segment (`run_to`), takes further bits (`disclose`), tries again (`retry`) or goes
back (`rollback`).

Everything here is public, the keys' bits excepted. Both sides compute what a request costs by `request_bits`, so their
accounts agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from caligo.codes import PolarCode
from caligo.reconciliation.leakage import OUTCOME_BITS, Leakage, TwoWayLeakage
from caligo.reconciliation.messages import Bits
from caligo.reconciliation.strategies import NO_CAPS, BlockCaps, ReconciledBlocks

__all__ = [
    "AliceSide",
    "Ask",
    "BobSide",
    "Decoded",
    "Disclosed",
    "GivenUp",
    "OpeningSizes",
    "Side",
    "State",
    "Step",
    "play",
]

State: TypeAlias = Any
"""What a side keeps of a block between calls; the session carries it and never looks inside."""


@dataclass(frozen=True, slots=True)
class OpeningSizes:
    """Bits that an opening discloses; the same for every block of a code.

    Args:
        frozen_bits: polar syndrome.
        segment_check_bits: checks of segments.
        check_bits: check value of the block.
    """

    frozen_bits: int
    segment_check_bits: int
    check_bits: int

    @property
    def total_bits(self) -> int:
        """All of them."""
        return self.frozen_bits + self.segment_check_bits + self.check_bits

    @property
    def leakage(self) -> Leakage:
        """The same as an account has it."""
        return Leakage(
            syndrome_bits=self.frozen_bits, check_bits=self.check_bits, segment_check_bits=self.segment_check_bits
        )


@dataclass(frozen=True, slots=True)
class Disclosed:
    """What Alice discloses when she opens a block; sizes as in `OpeningSizes`."""

    frozen: Bits
    segment_checks: Bits
    check: Bits


@dataclass(frozen=True, slots=True)
class Ask:
    """Bob needs more.

    Args:
        wants: so many further bits of each of these segments, in design order.
        elapsed_ns: decoding time that no earlier step of the block has told.
    """

    wants: tuple[tuple[int, int], ...]
    elapsed_ns: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Decoded:
    """Bob found a candidate that passes every check.

    Args:
        row: his block now, packed uint8 `[max(1, N // 8)]`, zero beyond the payload.
        elapsed_ns: decoding time that no earlier step of the block has told.
    """

    row: NDArray[np.uint8]
    elapsed_ns: int

    def __repr__(self) -> str:
        return "Decoded()"


@dataclass(frozen=True, slots=True)
class GivenUp:
    """No candidate, and nothing more to ask.

    Args:
        elapsed_ns: decoding time that no earlier step of the block has told.
    """

    elapsed_ns: int


Step: TypeAlias = Ask | Decoded | GivenUp


class Side(Protocol):
    """What both sides of a strategy know of a code."""

    @property
    def code(self) -> PolarCode:
        """The code."""
        ...

    @property
    def sizes(self) -> OpeningSizes:
        """Of every opening."""
        ...

    def answer_bits(self, state: State, wants: tuple[tuple[int, int], ...]) -> int:
        """How many bits an answer discloses.

        Args:
            state: of the block.
            wants: as in a request; may come from a hostile peer.

        Returns:
            A number >= 1.

        Raises:
            ProtocolError: the request is not one that this block allows now.
        """
        ...

    def request_bits(self, wants: tuple[tuple[int, int], ...]) -> int:
        """How many bits a request says about the keys: its length in a code that tells all possible requests apart."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class AliceSide(Side, Protocol):
    """Alice's side of a strategy on one code."""

    def open(self, row: NDArray[np.uint8]) -> tuple[Disclosed, State]:
        """Begin a block.

        Args:
            row: hers, packed uint8 `[max(1, N // 8)]`, zero beyond the payload.
        """
        ...

    def answer(self, state: State, wants: tuple[tuple[int, int], ...]) -> Bits:
        """Disclose what was asked for, after `answer_bits` has allowed it; each bit is disclosed once."""
        ...


class BobSide(Side, Protocol):
    """Bob's side of a strategy on one code."""

    @property
    def batch(self) -> int:
        """Most blocks that one `step` makes use of, >= 1."""
        ...

    def start(self, row: NDArray[np.uint8], disclosed: Disclosed) -> State:
        """Begin a block.

        Args:
            row: his, packed uint8 `[max(1, N // 8)]`, zero beyond the payload.
            disclosed: Alice's opening; of the right sizes.
        """
        ...

    def step(self, states: Sequence[State]) -> list[Step]:
        """Decode as far as possible; one result for each block."""
        ...

    def accept(self, state: State, wants: tuple[tuple[int, int], ...], bits: Bits) -> None:
        """Take the answer to the last `Ask`; of the right size.

        When a session is restored after its process died, blocks that are settled are taken through their openings and
        answers without a `step` between them.
        """
        ...


@dataclass(slots=True)
class _Block:
    """A block in the middle of its dialogue."""

    number: int
    alice: State
    bob: State
    answer_bits: int = 0
    reply_bits: int = 0
    rounds: int = 0


def play(
    alice: AliceSide,
    bob: BobSide,
    rows_of_alice: NDArray[np.uint8],
    rows_of_bob: NDArray[np.uint8],
    caps: BlockCaps = NO_CAPS,
) -> ReconciledBlocks:
    """Carry the dialogues of a batch of blocks to their ends; each side is given its own rows and the other's words.

    Args:
        alice: her side.
        bob: his side, of the same code.
        rows_of_alice: uint8 `[B, max(1, N // 8)]`, zero beyond the payload.
        rows_of_bob: likewise.
        caps: a block whose next request would exceed them is given up.

    Returns:
        What Bob holds, and what both said.
    """
    blocks = len(rows_of_alice)
    outcome = ReconciledBlocks(
        decoded=np.zeros_like(rows_of_bob),
        ok=np.zeros(blocks, dtype=np.bool_),
        elapsed_ns=np.zeros(blocks, dtype=np.uint64),
        leakage=(TwoWayLeakage(),) * blocks,
        rounds=np.zeros(blocks, dtype=np.int64),
        given_up=np.zeros(blocks, dtype=np.bool_),
    )
    leakage = [TwoWayLeakage()] * blocks
    for first in range(0, blocks, bob.batch):
        together = []
        for number in range(first, min(first + bob.batch, blocks)):
            disclosed, hers = alice.open(rows_of_alice[number])
            his = bob.start(rows_of_bob[number], disclosed)
            together.append(_Block(number, hers, his))
        while together:
            waiting = []
            for block, step in zip(together, bob.step([block.bob for block in together]), strict=True):
                block.reply_bits += OUTCOME_BITS
                outcome.elapsed_ns[block.number] += step.elapsed_ns
                if isinstance(step, Ask) and _answered(alice, bob, block, step, caps):
                    waiting.append(block)
                    continue
                number = block.number
                leakage[number] = TwoWayLeakage(alice.sizes.leakage, block.answer_bits, block.reply_bits)
                outcome.rounds[number] = block.rounds
                if isinstance(step, Ask):
                    outcome.given_up[number] = True
                    continue
                if isinstance(step, Decoded):
                    outcome.decoded[number] = step.row
                    outcome.ok[number] = True
            together = waiting
    return replace(outcome, leakage=tuple(leakage))


def _answered(alice: AliceSide, bob: BobSide, block: _Block, ask: Ask, caps: BlockCaps) -> bool:
    """Whether Bob may ask; if so, he has the answer."""
    more = bob.answer_bits(block.bob, ask.wants)
    if not caps.allow(block.rounds + 1, alice.sizes.total_bits + block.answer_bits + more):
        return False
    block.rounds += 1
    block.answer_bits += alice.answer_bits(block.alice, ask.wants)
    block.reply_bits += bob.request_bits(ask.wants)
    bob.accept(block.bob, ask.wants, alice.answer(block.alice, ask.wants))
    return True

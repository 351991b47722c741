"""Further attempts at blocks that failed, between two machines: sides that ask although their strategy does not.

Covers: both sides of a strategy in which Alice speaks once, on one code after the other, each of which freezes what the
one before it does and more. Does not cover: which codes (:mod:`caligo.jobs.drift`), the same in one process
(:mod:`caligo.jobs.attempts`), which these count alike to the bit.

Where no candidate has the check, Bob asks for the positions by which the next code exceeds the last one, Alice
discloses u there, and he decodes anew. The request names a number that both know beforehand, so it says nothing but
that it is one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caligo import _native
from caligo.bits import select_bits, spread_bits
from caligo.codes import PolarCode
from caligo.errors import ProtocolError
from caligo.reconciliation.messages import Bits
from caligo.reconciliation.strategies.dialogue import (
    AliceSide,
    Ask,
    BobSide,
    Disclosed,
    GivenUp,
    State,
    Step,
)

__all__ = ["RetryingAlice", "RetryingBob"]


@dataclass(slots=True, eq=False, repr=False)
class _Block:
    """What both sides keep: the attempt that a block is at, its row, and Bob's part."""

    row: NDArray[np.uint8]
    attempt: int = 0
    disclosed: Disclosed | None = None
    inner: State = None


class _RetryingSide:
    """What both sides know.

    Args:
        codes: of the first attempt and all further ones.
    """

    def __init__(self, codes: Sequence[PolarCode]) -> None:
        self.code = codes[0]
        self._codes = tuple(codes)

    def _more_bits(self, attempt: int) -> int:
        """How many positions the next attempt discloses; 0 where there is none."""
        if attempt + 1 >= len(self._codes):
            return 0
        return self._codes[attempt + 1].syndrome_bits - self._codes[attempt].syndrome_bits

    def _more_mask(self, attempt: int) -> NDArray[np.uint8]:
        """Which they are."""
        return self._codes[attempt].info_mask & ~self._codes[attempt + 1].info_mask

    def answer_bits(self, state: State, wants: tuple[tuple[int, int], ...]) -> int:
        """See `Side.answer_bits`; the only request is for all of the next attempt's positions."""
        more = self._more_bits(state.attempt)
        if not more or wants != ((0, more),):
            raise ProtocolError(
                f"wants: expected {more} bits of segment 0, or no request where that is 0, got {len(wants)} entries; "
                "the peer does not follow the protocol",
                field="wants",
                expected=more,
            )
        return more

    def request_bits(self, wants: tuple[tuple[int, int], ...]) -> int:
        """See `Side.request_bits`."""
        return 0


class RetryingAlice(_RetryingSide):
    """Alice's side.

    Args:
        side: hers of the first attempt.
        codes: of all attempts.
    """

    def __init__(self, side: AliceSide, codes: Sequence[PolarCode]) -> None:
        super().__init__(codes)
        self._side = side
        self.sizes = side.sizes

    def open(self, row: NDArray[np.uint8]) -> tuple[Disclosed, State]:
        """See `AliceSide.open`."""
        return self._side.open(row)[0], _Block(row)

    def answer(self, state: State, wants: tuple[tuple[int, int], ...]) -> Bits:
        """See `AliceSide.answer`."""
        length, attempt = self.code.block_length, state.attempt
        state.attempt += 1
        transformed = _native.polar_transform(state.row[None], length)[0]
        return Bits.of(select_bits(transformed, self._more_mask(attempt), length), self._more_bits(attempt))

    def close(self) -> None:
        """See `Side.close`."""
        self._side.close()


class RetryingBob(_RetryingSide):
    """Bob's side.

    Args:
        make: makes his side of one attempt, of its code and for so many threads.
        codes: of all attempts.
        workers: threads that may decode at the same time.
    """

    def __init__(self, make: Callable[[PolarCode, int], BobSide], codes: Sequence[PolarCode], workers: int) -> None:
        super().__init__(codes)
        self._make = make
        self._lock = threading.Lock()
        self._sides: dict[int, BobSide] = {0: make(codes[0], workers)}
        self.sizes = self._sides[0].sizes

    @property
    def batch(self) -> int:
        """See `BobSide.batch`."""
        return self._sides[0].batch

    def _side(self, attempt: int) -> BobSide:
        """Further attempts are few: one decoder each, made when the first block needs it."""
        with self._lock:
            if attempt not in self._sides:
                self._sides[attempt] = self._make(self._codes[attempt], 1)
            return self._sides[attempt]

    def start(self, row: NDArray[np.uint8], disclosed: Disclosed) -> State:
        """See `BobSide.start`."""
        return _Block(row, 0, disclosed, self._sides[0].start(row, disclosed))

    def step(self, states: Sequence[State]) -> list[Step]:
        """See `BobSide.step`."""
        steps: dict[int, Step] = {}
        for attempt in sorted({state.attempt for state in states}):
            places = [place for place, state in enumerate(states) if state.attempt == attempt]
            more = self._more_bits(attempt)
            for place, step in zip(
                places, self._side(attempt).step([states[place].inner for place in places]), strict=True
            ):
                again = more and isinstance(step, GivenUp)
                steps[place] = Ask(((0, more),), step.elapsed_ns) if again else step
        return [steps[place] for place in range(len(states))]

    def accept(self, state: State, wants: tuple[tuple[int, int], ...], bits: Bits) -> None:
        """See `BobSide.accept`."""
        length, attempt = self.code.block_length, state.attempt
        before, code = self._codes[attempt], self._codes[attempt + 1]
        known = spread_bits(state.disclosed.frozen.row, before.frozen_mask, length)
        known |= spread_bits(bits.row, self._more_mask(attempt), length)
        state.disclosed = Disclosed(
            Bits.of(select_bits(known, code.frozen_mask, length), code.syndrome_bits),
            _checks_that_remain(state.disclosed.segment_checks, before, code),
            state.disclosed.check,
        )
        state.attempt += 1
        state.inner = self._side(state.attempt).start(state.row, state.disclosed)

    def close(self) -> None:
        """See `Side.close`."""
        with self._lock:
            for side in self._sides.values():
                side.close()


def _checks_that_remain(checks: Bits, before: PolarCode, code: PolarCode) -> Bits:
    """Those of segments that still have information positions."""
    kept = code.checked_segments[before.checked_segments]
    if kept.all():
        return checks
    values = checks.row.reshape(kept.size, -1)[kept]
    return Bits.of(values.reshape(-1), 8 * values.size)

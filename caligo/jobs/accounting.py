"""From reconciled windows to sums: what became of every block, what was disclosed for it, what all of them add up to.

Covers: windows joined into verification groups, both parties' verification of a group, the state and leakage of each
block and its record, totals over the groups. Does not cover: reconciling, and what verification is
(:mod:`caligo.reconciliation`); the report (:mod:`.report`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caligo.codes import PolarCode
from caligo.errors import LeakageCapError
from caligo.jobs.plan import Window
from caligo.reconciliation.leakage import VERDICT_BITS, Leakage, TwoWayLeakage
from caligo.reconciliation.parties import Alice, Bob
from caligo.reconciliation.strategies import ReconciledBlocks
from caligo.reconciliation.verification import TAG_BITS, Payload, group_epsilon, worth_telling_apart
from caligo.states import KeyState

__all__ = ["AccountedBlock", "ReconciledWindow", "Totals", "VerifiedGroup", "by_group", "exchanged_messages"]


@dataclass(frozen=True, eq=False, repr=False)
class ReconciledWindow:
    """A reconciled window; holds key material until its group is verified.

    Args:
        place: where it lies.
        alice: her blocks.
        outcome: what the strategy made of them.
        errors: places in which the two keys differed, of each block.
        wrong: whether each block differs from hers now.
        attempts: that each block took; None: one.
        code: of the first attempt, where there is one.
        announced: Bob named its design, which follows the blocks before.
    """

    place: Window
    alice: NDArray[np.uint8]
    outcome: ReconciledBlocks
    errors: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    attempts: NDArray[np.int64] | None = None
    code: PolarCode | None = None
    announced: bool = False


_TAG = TwoWayLeakage(Leakage(verification_bits=TAG_BITS), reply_bits=VERDICT_BITS)
"""A tag and Bob's verdict on it."""


@dataclass(frozen=True, eq=False, repr=False)
class VerifiedGroup:
    """A verified group.

    Args:
        windows: its blocks.
        alice: her bits of the blocks that are confirmed.
        bob: his.
        hashed_bits: payload of each block that was hashed.
        agreeing: whether each of them is confirmed.
        told_apart: the tags of the group differed, and each hashed block had one of its own.
    """

    windows: list[ReconciledWindow]
    alice: Payload
    bob: Payload
    hashed_bits: list[int]
    agreeing: list[bool]
    told_apart: bool = False

    @classmethod
    def of(cls, windows: list[ReconciledWindow], hash_key: bytes) -> VerifiedGroup:
        """Join the blocks that passed their check, compare the tags of both sides, and tell the wrong ones apart.

        Args:
            windows: all windows of one group.
            hash_key: 32 bytes, public, drawn after both keys were fixed.
        """
        alice, bob = Payload(), Payload()
        for window in windows:
            passed = window.outcome.ok
            alice.append(np.ascontiguousarray(window.alice[passed]), window.place.payload_length)
            bob.append(np.ascontiguousarray(window.outcome.decoded[passed]), window.place.payload_length)
        hashed = alice.block_bits
        if not hashed or Bob.verify(hash_key, bob, Alice.tag(hash_key, alice)).agrees:
            return cls(windows, alice, bob, hashed, [True] * len(hashed))
        told_apart = worth_telling_apart(hashed)
        agreeing = [False] * len(hashed)
        if told_apart:
            agreeing = Bob.tell_apart(hash_key, bob, Alice.block_tags(hash_key, alice))
        return cls(windows, alice.only(agreeing), bob.only(agreeing), hashed, agreeing, told_apart)

    @property
    def bits(self) -> int:
        """Payload of the blocks that are confirmed."""
        return self.alice.bits

    def undivided(self) -> VerifiedGroup:
        """The same where blocks are not told apart: every hashed one has failed."""
        return VerifiedGroup(self.windows, Payload(), Payload(), self.hashed_bits, [False] * len(self.hashed_bits))

    @property
    def epsilon(self) -> Fraction:
        """Sum over its tags of what each leaves to chance."""
        told_apart = sum((group_epsilon(bits) for bits in self.hashed_bits), Fraction(0)) if self.told_apart else 0
        return told_apart + group_epsilon(sum(self.hashed_bits)) if self.hashed_bits else Fraction(0)

    @property
    def states(self) -> list[KeyState]:
        """Of each block, in order: confirmed, uncorrected or unconfirmed."""
        hashed = iter(self.agreeing)

        def state(ok: bool) -> KeyState:
            if not ok:
                return KeyState.UNCORRECTED
            return KeyState.CONFIRMED if next(hashed) else KeyState.UNCONFIRMED

        return [state(bool(ok)) for window in self.windows for ok in window.outcome.ok]

    def blocks(self) -> Iterator[AccountedBlock]:
        """Every block, in order; the group's tag is told of its first confirmed block, or of the first hashed one."""
        states = iter(self.states)
        bearer = KeyState.CONFIRMED if any(self.agreeing) else KeyState.UNCONFIRMED
        tag_due = True
        for window in self.windows:
            for row in range(window.place.blocks):
                state = next(states)
                leakage = window.outcome.leakage[row]
                if tag_due and state is bearer:
                    leakage += _TAG
                    tag_due = False
                if self.told_apart and state is not KeyState.UNCORRECTED:
                    leakage += _TAG
                yield AccountedBlock(
                    index=window.place.first_block + row,
                    state=state,
                    block_length=window.place.block_length,
                    payload_bits=window.place.payload_length,
                    leakage=leakage,
                    true_errors=int(window.errors[row]),
                    elapsed_ns=int(window.outcome.elapsed_ns[row]),
                    wrong=bool(window.wrong[row]),
                    rounds=int(window.outcome.rounds[row]),
                    given_up=bool(window.outcome.given_up[row]),
                    attempts=1 if window.attempts is None else int(window.attempts[row]),
                    code=window.code,
                )


@dataclass(frozen=True, slots=True)
class AccountedBlock:
    """What is known of one block when its group is verified."""

    index: int
    state: KeyState
    block_length: int
    payload_bits: int
    leakage: TwoWayLeakage
    true_errors: int
    elapsed_ns: int
    wrong: bool
    rounds: int
    given_up: bool
    attempts: int
    code: PolarCode | None

    def record(self) -> dict[str, Any]:
        """What the store keeps of it."""
        return {
            "block": self.index,
            "outcome": self.state.label,
            "block_length": self.block_length,
            "payload_bits": self.payload_bits,
            "leakage_bits": self.leakage.leakage_bits,
            "leakage_bits_both_ways": self.leakage.leakage_bits_both_ways,
            "verification_bits": self.leakage.opened.verification_bits,
            "answer_bits": self.leakage.answer_bits,
            "rounds": self.rounds,
            "given_up": self.given_up,
            "attempts": self.attempts,
            "design_qber": None if self.code is None else self.code.design_qber,
            "true_errors": self.true_errors,
            "elapsed_ns": self.elapsed_ns,
        }


class Totals:
    """Sums over the groups."""

    def __init__(self) -> None:
        self.blocks = self.blocks_ok = self.failed_check = self.given_up = self.failed_verification = 0
        self.undetected_errors = self.payload_ok = self.errors = self.errors_ok = 0
        self.coded_bits = self.elapsed_ns = self.rounds = self.rounds_max = self.comparisons = 0
        self.blocks_retried = self.announcements = 0
        self.codes: dict[PolarCode, int] = {}
        self.leakage = TwoWayLeakage()
        self.leakage_ok = TwoWayLeakage()
        self.epsilon = Fraction(0)

    def add(self, group: VerifiedGroup, blocks: Iterable[AccountedBlock]) -> None:
        """Count a group and its blocks."""
        for block in blocks:
            self.blocks += 1
            self.leakage += block.leakage
            self.errors += block.true_errors
            self.coded_bits += block.block_length * block.attempts
            self.blocks_retried += block.attempts > 1
            if block.code is not None:
                self.codes[block.code] = self.codes.get(block.code, 0) + 1
            self.elapsed_ns += block.elapsed_ns
            self.rounds += block.rounds
            self.rounds_max = max(self.rounds_max, block.rounds)
            if block.state is KeyState.CONFIRMED:
                self.blocks_ok += 1
                self.payload_ok += block.payload_bits
                self.errors_ok += block.true_errors
                self.leakage_ok += block.leakage
                self.undetected_errors += block.wrong
            elif block.given_up:
                self.given_up += 1
            elif block.state is KeyState.UNCORRECTED:
                self.failed_check += 1
            else:
                self.failed_verification += 1
        self.announcements += sum(window.announced for window in group.windows)
        self.comparisons += bool(group.hashed_bits) + group.told_apart
        self.epsilon += group.epsilon

    def messages(self, *, sampled: bool) -> int:
        """Messages that two machines would have sent for all this; see `exchanged_messages`.

        Args:
            sampled: positions were sampled.
        """
        return self.announcements + exchanged_messages(
            sampled=sampled, blocks=self.blocks, rounds=self.rounds, comparisons=self.comparisons
        )


def exchanged_messages(*, sampled: bool, blocks: int, rounds: int, comparisons: int) -> int:
    """Messages of both sides for all blocks, on one connection; frames on a wire may carry several.

    Two greetings each way, the random values, a plan each way, a last word each way, where positions are sampled these
    each way; an opening and an outcome for each block, a request and an answer for each round, tags and a verdict for
    each comparison of tags. Designs that follow the blocks take one message each beside these.

    Args:
        sampled: positions were sampled.
        blocks: of the key.
        rounds: requests in all.
        comparisons: of tags, of groups or of the blocks of a group.
    """
    return 9 + 2 * sampled + 2 * (blocks + rounds + comparisons)


class LeakageBudget:
    """What may still be disclosed under a cap, in the order of the key, and so the same for any number of threads.

    A window that would exceed the cap ends the work: it and what follows is not opened. Its group is verified without
    it. A group that it would be too dear to tell apart is not.

    Args:
        cap_bits: most bits that Alice may disclose, 0: no cap.
    """

    def __init__(self, cap_bits: int) -> None:
        self._cap = cap_bits
        self._spent = 0
        self._exceeded = False

    def within(self, windows: Iterable[ReconciledWindow]) -> Iterator[ReconciledWindow]:
        """The windows that the cap allows, each group's tag included."""
        group = -1
        for window in windows:
            bits = sum(leakage.leakage_bits for leakage in window.outcome.leakage)
            if window.place.group != group:
                bits += TAG_BITS
            if not self._spend(bits):
                self._exceeded = True
                return
            group = window.place.group
            yield window

    def affordable(self, group: VerifiedGroup) -> VerifiedGroup:
        """The group, told apart only if the cap allows it."""
        if group.told_apart and not self._spend(TAG_BITS * len(group.hashed_bits)):
            return group.undivided()
        return group

    def require_unspent(self, blocks: int, totals: Totals) -> None:
        """End the job if there were windows beyond the cap.

        Args:
            blocks: of the key.
            totals: of the blocks that were opened.

        Raises:
            LeakageCapError: there were; with the account.
        """
        if self._exceeded:
            leakage = totals.leakage
            raise LeakageCapError(
                f"max_leakage: expected at most {self._cap} bits to be disclosed, got {leakage.leakage_bits} after "
                f"{totals.blocks} of {blocks} blocks, and the next blocks, which are worked on together, would "
                "exceed it; use neither key, or begin again with a greater cap",
                max_leakage_bits=self._cap,
                leakage_bits=leakage.leakage_bits,
                leakage_bits_both_ways=leakage.leakage_bits_both_ways,
                leakage=leakage.by_kind(),
                blocks=totals.blocks,
                blocks_ok=totals.blocks_ok,
            )

    def _spend(self, bits: int) -> bool:
        if self._cap and self._spent + bits > self._cap:
            return False
        self._spent += bits
        return True


def by_group(windows: Iterable[ReconciledWindow]) -> Iterator[list[ReconciledWindow]]:
    """Collect consecutive windows of one group."""
    collected: list[ReconciledWindow] = []
    for window in windows:
        if collected and collected[-1].place.group != window.place.group:
            yield collected
            collected = []
        collected.append(window)
    if collected:
        yield collected

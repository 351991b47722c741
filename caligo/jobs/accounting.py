"""From reconciled windows to sums: what became of every block, what was disclosed for it, what all of them add up to.

Covers: windows joined into verification groups, both parties' verification of a group, the state and leakage of each
block and its record, the account of a group in few bytes, totals over the groups. Does not cover: reconciling, and what
verification is (:mod:`caligo.reconciliation`); the report (:mod:`.report`).

Totals are a monoid: however the groups are divided among processes, the sums of the parts are those of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caligo.codes import PolarCode
from caligo.errors import LeakageCapError
from caligo.jobs.plan import Group, Layout, Window
from caligo.reconciliation.leakage import VERDICT_BITS, Leakage, TwoWayLeakage
from caligo.reconciliation.parties import Alice, Bob
from caligo.reconciliation.strategies import ReconciledBlocks
from caligo.reconciliation.tracking import QberTracker
from caligo.reconciliation.verification import TAG_BITS, Payload, group_epsilon, worth_telling_apart
from caligo.states import KeyState

__all__ = [
    "AccountedBlock",
    "GroupAccount",
    "LeakageBudget",
    "ReconciledWindow",
    "Totals",
    "VerifiedGroup",
    "by_group",
    "exchanged_messages",
]

_BLOCK = np.dtype(
    [
        ("state", "u1"),
        ("wrong", "?"),
        ("given_up", "?"),
        ("attempts", "u1"),
        ("design", "<u2"),
        ("check_bits", "<u4"),
        ("syndrome_bits", "<u4"),
        ("segment_check_bits", "<u4"),
        ("verification_bits", "<u4"),
        ("answer_bits", "<u4"),
        ("reply_bits", "<u4"),
        ("true_errors", "<u4"),
        ("rounds", "<u4"),
        ("elapsed_ns", "<u8"),
    ]
)
"""One block of an account in bytes; what follows from the layout is not in it."""


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
        design_qber: what that code was asked for.
        announced: Bob named its design, which follows the blocks before.
        seen: what Bob learned of the error rate.
    """

    place: Window
    alice: NDArray[np.uint8]
    outcome: ReconciledBlocks
    errors: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    attempts: NDArray[np.int64] | None = None
    code: PolarCode | None = None
    design_qber: float = 0.0
    announced: bool = False
    seen: QberTracker = field(default_factory=QberTracker)


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
        tag: Alice's, of her bits here, where it was disclosed; b"" elsewhere.
    """

    windows: list[ReconciledWindow]
    alice: Payload
    bob: Payload
    hashed_bits: list[int]
    agreeing: list[bool]
    told_apart: bool = False
    tag: bytes = b""

    @classmethod
    def of(cls, windows: list[ReconciledWindow], hash_key: bytes) -> VerifiedGroup:
        """Join the blocks that passed their check, compare the tags of both sides, and tell the wrong ones apart.

        Args:
            windows: all windows of one group.
            hash_key: 32 bytes, public, drawn after both keys were fixed.
        """
        alice, bob = Payload(), Payload()
        for window in windows:
            passed, hers, his = window.outcome.ok, window.alice, window.outcome.decoded
            if not passed.all():
                hers, his = hers[passed], his[passed]
            alice.append(hers, window.place.payload_length)
            bob.append(his, window.place.payload_length)
        hashed = alice.block_bits
        if not hashed:
            return cls(windows, alice, bob, [], [])
        tag = Alice.tag(hash_key, alice)
        if Bob.verify(hash_key, bob, tag).agrees:
            return cls(windows, alice, bob, hashed, [True] * len(hashed), tag=tag.value)
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

    def account(self) -> GroupAccount:
        """What is kept of it when its bits are gone."""
        return GroupAccount(
            tuple(self.blocks()), announced=sum(window.announced for window in self.windows), told_apart=self.told_apart
        )

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
                    design_qber=window.design_qber,
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
    design_qber: float = 0.0

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


@dataclass(frozen=True, slots=True)
class GroupAccount:
    """The blocks of one verified group, without their bits.

    Args:
        blocks: in order.
        announced: designs that Bob named for it.
        told_apart: its tags differed, and each hashed block had one of its own.
    """

    blocks: tuple[AccountedBlock, ...]
    announced: int = 0
    told_apart: bool = False

    @property
    def hashed_bits(self) -> list[int]:
        """Payload of each block that was hashed: of those that passed their check."""
        return [block.payload_bits for block in self.blocks if block.state is not KeyState.UNCORRECTED]

    @property
    def comparisons(self) -> int:
        """Comparisons of tags: of the group's, and of its blocks' where they were told apart."""
        return any(block.state is not KeyState.UNCORRECTED for block in self.blocks) + self.told_apart

    @property
    def epsilon(self) -> Fraction:
        """Sum over its tags of what each leaves to chance."""
        hashed = self.hashed_bits
        told_apart = sum((group_epsilon(bits) for bits in hashed), Fraction(0)) if self.told_apart else 0
        return told_apart + group_epsilon(sum(hashed)) if hashed else Fraction(0)

    def undivided(self) -> GroupAccount:
        """The same where blocks are not told apart: every hashed one has failed, under the tag of the group alone."""
        blocks = []
        tag = _TAG
        for block in self.blocks:
            if block.state is not KeyState.UNCORRECTED:
                tags = block.leakage.opened.verification_bits // TAG_BITS
                bare = replace(
                    block.leakage,
                    opened=replace(block.leakage.opened, verification_bits=0),
                    reply_bits=block.leakage.reply_bits - tags * VERDICT_BITS,
                )
                block = replace(block, state=KeyState.UNCONFIRMED, leakage=bare + tag)
                tag = TwoWayLeakage()
            blocks.append(block)
        return GroupAccount(tuple(blocks), self.announced)

    def to_bytes(self) -> bytes:
        """The account without what the layout says: designs, then 46 bytes a block."""
        designs = sorted({block.design_qber for block in self.blocks})
        places = {qber: number for number, qber in enumerate(designs)}
        rows = np.array(
            [
                (
                    block.state,
                    block.wrong,
                    block.given_up,
                    block.attempts,
                    places[block.design_qber],
                    block.leakage.opened.check_bits,
                    block.leakage.opened.syndrome_bits,
                    block.leakage.opened.segment_check_bits,
                    block.leakage.opened.verification_bits,
                    block.leakage.answer_bits,
                    block.leakage.reply_bits,
                    block.true_errors,
                    block.rounds,
                    block.elapsed_ns,
                )
                for block in self.blocks
            ],
            dtype=_BLOCK,
        )
        head = np.array([self.announced, self.told_apart, len(designs), len(self.blocks)], dtype="<u4")
        return head.tobytes() + np.array(designs, dtype="<f8").tobytes() + rows.tobytes()

    @staticmethod
    def timeless(data: bytes) -> bytes:
        """The bytes of an account without decode times, which differ whenever a group is decoded again."""
        designs = int.from_bytes(data[8:12], "little")
        start = 16 + 8 * designs
        rows = np.frombuffer(data, _BLOCK, offset=start).copy()
        rows["elapsed_ns"] = 0
        return data[:start] + rows.tobytes()

    @classmethod
    def from_bytes(
        cls, data: bytes, group: Group, layout: Layout, code_of: Callable[[float, int], PolarCode | None]
    ) -> GroupAccount:
        """The inverse of `to_bytes`.

        Args:
            data: all of it.
            group: whose account it is.
            layout: of the key.
            code_of: (design QBER, segment) -> the code.

        Raises:
            ValueError: the bytes are not the account of such a group.
        """
        announced, told_apart, designs, blocks = (int(value) for value in np.frombuffer(data, "<u4", 4))
        if blocks != group.blocks or len(data) != 16 + 8 * designs + _BLOCK.itemsize * blocks:
            raise ValueError("the account of another group, or not whole")
        qbers = np.frombuffer(data, "<f8", designs, 16).tolist()
        rows = np.frombuffer(data, _BLOCK, blocks, 16 + 8 * designs).tolist()
        found = []
        index = group.first_block
        for number, segment in enumerate(layout.segments):
            end = min(segment.first_block + segment.blocks, group.first_block + group.blocks)
            while index < end:
                state, wrong, given_up, attempts, design, check, syndrome, checks, tags, answer, reply, *rest = rows[
                    index - group.first_block
                ]
                true_errors, rounds, elapsed_ns = rest
                found.append(
                    AccountedBlock(
                        index=index,
                        state=KeyState(state),
                        block_length=segment.block_length,
                        payload_bits=segment.payload_length,
                        leakage=TwoWayLeakage(Leakage(syndrome, check, tags, checks), answer, reply),
                        true_errors=true_errors,
                        elapsed_ns=elapsed_ns,
                        wrong=wrong,
                        rounds=rounds,
                        given_up=given_up,
                        attempts=attempts,
                        code=code_of(qbers[design], number),
                        design_qber=qbers[design],
                    )
                )
                index += 1
        return cls(tuple(found), announced, bool(told_apart))


class Totals:
    """Sums over groups; `a + b` are those of both, whatever their order, and `Totals()` of none."""

    def __init__(self) -> None:
        self.blocks = self.blocks_ok = self.failed_check = self.given_up = self.failed_verification = 0
        self.undetected_errors = self.payload_ok = self.errors = self.errors_ok = 0
        self.coded_bits = self.elapsed_ns = self.rounds = self.rounds_max = self.comparisons = 0
        self.blocks_retried = self.announcements = 0
        self.leakage = TwoWayLeakage()
        self.leakage_ok = TwoWayLeakage()
        self.epsilon = Fraction(0)
        self._codes: dict[PolarCode, tuple[int, int]] = {}

    @property
    def codes(self) -> dict[PolarCode, int]:
        """Blocks of each code, in the order of their first blocks."""
        used = sorted(self._codes.items(), key=lambda use: (use[1][0], use[0].digest))
        return {code: blocks for code, (_, blocks) in used}

    def add(self, group: GroupAccount) -> None:
        """Count a group and its blocks."""
        for block in group.blocks:
            self.blocks += 1
            self.leakage += block.leakage
            self.errors += block.true_errors
            self.coded_bits += block.block_length * block.attempts
            self.blocks_retried += block.attempts > 1
            if block.code is not None:
                self._use(block.code, block.index, 1)
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
        self.announcements += group.announced
        self.comparisons += group.comparisons
        self.epsilon += group.epsilon

    def __add__(self, other: Totals) -> Totals:
        if not isinstance(other, Totals):
            return NotImplemented
        both = Totals()
        for name, value in vars(self).items():
            if name not in ("_codes", "rounds_max"):
                setattr(both, name, value + getattr(other, name))
        both.rounds_max = max(self.rounds_max, other.rounds_max)
        for part in (self, other):
            for code, (first, blocks) in part._codes.items():
                both._use(code, first, blocks)
        return both

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if isinstance(other, Totals) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def _use(self, code: PolarCode, first: int, blocks: int) -> None:
        known = self._codes.get(code)
        self._codes[code] = (first, blocks) if known is None else (min(known[0], first), known[1] + blocks)

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
    """What may still be disclosed under a cap, group by group in the order of the key, and so the same however the work
    is divided.

    A window that would exceed the cap ends the work: it and what follows is not opened, and its group is verified
    without it. A group that it would be too dear to tell apart is not.

    Args:
        cap_bits: most bits that Alice may disclose, 0: no cap.
    """

    def __init__(self, cap_bits: int) -> None:
        self._cap = cap_bits
        self._spent = 0
        self.exceeded = False
        """A window was refused: there is no more to do."""

    def windows_within(self, group: GroupAccount, windows: Iterable[Window]) -> int:
        """How many of a group's windows the cap allows, the group's tag included.

        Args:
            group: the next one in the order of the key.
            windows: of it, in order.
        """
        if not self._cap:
            return sum(1 for _ in windows)
        blocks = iter(group.blocks)
        allowed = 0
        for window in windows:
            bits = 0 if allowed else TAG_BITS
            for _ in range(window.blocks):
                leakage = next(blocks).leakage
                bits += leakage.leakage_bits - leakage.opened.verification_bits
            if not self._spend(bits):
                self.exceeded = True
                break
            allowed += 1
        return allowed

    def affords_telling_apart(self, group: GroupAccount) -> bool:
        """Whether a group whose blocks were told apart may have been, tags of blocks included."""
        return not group.told_apart or self._spend(TAG_BITS * len(group.hashed_bits))

    def affordable(self, group: VerifiedGroup, hash_key: bytes) -> VerifiedGroup | None:
        """What the cap allows of a group; None where that is nothing.

        Args:
            group: the next one in the order of the key.
            hash_key: to verify what is left of it.
        """
        allowed = self.windows_within(group.account(), (window.place for window in group.windows))
        if not allowed:
            return None
        if allowed < len(group.windows):
            group = VerifiedGroup.of(group.windows[:allowed], hash_key)
        return group if self.affords_telling_apart(group.account()) else group.undivided()

    def require_unspent(self, blocks: int, totals: Totals) -> None:
        """End the job if there were windows beyond the cap.

        Args:
            blocks: of the key.
            totals: of the blocks that were opened.

        Raises:
            LeakageCapError: there were; with the account.
        """
        if self.exceeded:
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


def by_group(windows: Iterable[ReconciledWindow | None]) -> Iterator[list[ReconciledWindow] | None]:
    """Collect consecutive windows of one group, until its last one has come or there are no more.

    None goes through: there is nothing at present.
    """
    collected: list[ReconciledWindow] = []
    for window in windows:
        if window is None:
            yield None
            continue
        collected.append(window)
        if window.place.ends_group:
            yield collected
            collected = []
    if collected:
        yield collected

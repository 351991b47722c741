"""What both sides of a session have in common: terms, set-up, resuming, caps, groups, the end.

Covers: all that does not depend on who discloses and who decodes. Does not cover: that (:mod:`.alice`, :mod:`.bob`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import Enum
from fractions import Fraction
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from caligo.bits import Packed
from caligo.channel import Qbers, mean_qber
from caligo.errors import CaligoError, ProtocolError
from caligo.reconciliation.estimation import QberEstimate, estimate_qber
from caligo.reconciliation.leakage import VERDICT_BITS, Leakage, TwoWayLeakage
from caligo.reconciliation.messages import (
    NO_SESSION,
    SETTLED,
    Abort,
    AbortReason,
    Bits,
    Close,
    Hello,
    KeepAlive,
    Message,
    Plan,
    Resume,
    Role,
    Sample,
    Seeds,
    Settlement,
    Terms,
)
from caligo.reconciliation.session.accounts import BlockAccount, GroupSettled, PlanAgreed, Totals
from caligo.reconciliation.session.sections import AnySide_co, Key, Section, Workshop
from caligo.reconciliation.strategies.dialogue import State
from caligo.reconciliation.verification import TAG_BITS, Payload, group_epsilon, group_sizes

__all__ = [
    "MAX_WINDOW",
    "OUT_OF_STEP",
    "SPAN",
    "Flight",
    "Group",
    "Session",
    "SettledBlock",
    "Stage",
    "Verifying",
    "wrong",
]


MAX_WINDOW = 1 << 16
"""Most blocks in flight that a side may ask for."""

SPAN = 4
"""Openings run at most so many windows ahead of the first block that is not settled."""


class Stage(Enum):
    """Of a connection."""

    NONE = 0
    HELLO = 1
    RESUME = 2
    LIVE = 3


@dataclass(slots=True)
class Flight(Generic[AnySide_co]):
    """A block in flight on one side; `last` is what that side said last about it."""

    block: int
    section: Section[AnySide_co]
    row: NDArray[np.uint8]
    state: State
    answer_bits: int = 0
    reply_bits: int = 0
    sent: int = 0
    received: int = 0
    rounds: int = 0
    last: Message | None = None
    wants: tuple[tuple[int, int], ...] = ()
    busy: bool = False
    elapsed_ns: int = 0

    @property
    def leakage(self) -> TwoWayLeakage:
        """Its account so far."""
        return TwoWayLeakage(self.section.side.sizes.leakage, self.answer_bits, self.reply_bits)

    @property
    def disclosed_bits(self) -> int:
        """By Alice, so far."""
        return self.section.side.sizes.total_bits + self.answer_bits


@dataclass(slots=True)
class SettledBlock:
    """A settled block whose group is not whole; `row` is this side's, where it is OK."""

    account: BlockAccount
    row: NDArray[np.uint8] | None


@dataclass(slots=True)
class Group:
    """Consecutive blocks that are verified together."""

    index: int
    first_block: int
    blocks: int


@dataclass(slots=True)
class Verifying:
    """A group on its way from its tag to its end.

    Args:
        group: which.
        members: its blocks.
        payload: this side's bits of those that are OK, which are hashed.
        agreeing: whether each hashed block is confirmed; None: not known yet.
        told_apart: each hashed block had a tag of its own.
    """

    group: Group
    members: list[SettledBlock]
    payload: Payload
    agreeing: list[bool] | None
    told_apart: bool = False

    def fail(self) -> None:
        """No hashed block is confirmed."""
        self.agreeing = [False] * len(self.payload.block_bits)


def wrong(what: str, expected: object, got: object, remedy: str) -> ProtocolError:
    """The error for what a peer said: the field it is about, as a field too."""
    return ProtocolError(f"{what}: expected {expected}, got {got}; {remedy}", field=what, expected=expected, got=got)


OUT_OF_STEP = "the peer does not follow the protocol"


class Session(ABC, Generic[AnySide_co]):
    """What both sides have in common.

    Args:
        key: this side's key.
        terms: what this side wants.
        workshop: makes this side's sections.
        window: most blocks in flight, 1..`MAX_WINDOW`; the smaller of both sides' holds.
    """

    role: Role

    def __init__(self, key: Key, terms: Terms, workshop: Workshop[AnySide_co], *, window: int) -> None:
        self.terms = terms
        self.totals = Totals()
        self.failure: CaligoError | None = None
        """Why the session is over, if it ended badly."""
        self._key = key
        self._workshop = workshop
        self._asked_window = max(1, min(window, MAX_WINDOW))
        self._window = self._asked_window
        self._session = NO_SESSION
        self._stage = Stage.NONE
        self._met = False
        self._hello: Hello | None = None
        self._setup_sent: list[Message] = []
        self._setup_received: list[Message] = []
        self._seeds: Seeds | None = None
        self._sample: Packed | None = None
        self._estimate: QberEstimate | None = None
        self._design: Qbers = 0.0
        self._sections: tuple[Section[AnySide_co], ...] = ()
        self._agreed = False
        self._blocks = 0
        self._next_block = 0
        self._first_unsettled = 0
        self._flights: dict[int, Flight[AnySide_co]] = {}
        self._settled: dict[int, SettledBlock] = {}
        self._groups: Iterator[Group] = iter(())
        self._group: Group | None = None
        self._verifying: deque[Verifying] = deque()
        self._groups_received = 0
        self._close_sent: Close | None = None
        self._close_received = False
        self._events: list[PlanAgreed | GroupSettled] = []

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(blocks={self._blocks}, in_flight={len(self._flights)}, "
            f"settled_before={self._first_unsettled}, closed={self.is_closed})"
        )

    # --- for the caller -----------------------------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether both sides have said that they are done, and agree on the account."""
        return self._close_sent is not None and self._close_received

    @property
    def is_live(self) -> bool:
        """Whether the present connection has proven to be with the peer."""
        return self._stage is Stage.LIVE

    @property
    def met_another(self) -> bool:
        """Whether something has been said in this session, and whoever came last knows another one or none."""
        return bool(self._setup_sent or self._setup_received) and not self._met

    @property
    def blocks(self) -> int:
        """Blocks in all; 0 before the plan is agreed."""
        return self._blocks

    @property
    def identifier(self) -> bytes:
        """16 bytes that name the session; zeros before Bob has heard of it."""
        return self._session

    @property
    def window(self) -> int:
        """Most blocks in flight: the smaller of what both sides want, once they have spoken."""
        return self._window

    @property
    def sampled_bits(self) -> int:
        """Positions of the key that were shown to the peer, or are about to be."""
        return 0 if self._sample is None else self.terms.sample_bits

    @property
    def unsettled(self) -> tuple[int, ...]:
        """Blocks in flight."""
        return tuple(sorted(self._flights))

    def take_events(self) -> list[PlanAgreed | GroupSettled]:
        """What happened since the last call."""
        events, self._events = self._events, []
        return events

    def connect(self, nonce: bytes) -> Hello:
        """Begin a connection, the first or one after a loss.

        Args:
            nonce: 32 bytes, fresh from the operating system.
        """
        self._stage = Stage.HELLO
        self._met = False
        self._hello = None
        return Hello(self.role, nonce, self._session, self._asked_window, self.terms)

    def relive(self, session: bytes, window: int) -> None:
        """Begin, or go on with, the past of a session that another process had: until `rest`, messages are taken as if
        there were a connection, and what this side says goes nowhere, as what is lost with one.

        Args:
            session: 16 bytes, its name.
            window: as it was agreed.
        """
        self._session = session
        self._window = window
        self._stage = Stage.LIVE

    def rest(self) -> None:
        """There is no connection; `connect` begins one."""
        self._stage = Stage.NONE

    def abort(self, error: CaligoError, reason: AbortReason) -> list[Message]:
        """Give up.

        Args:
            error: why; kept as `failure`.
            reason: the same, for the peer.

        Returns:
            What to send, if there is still someone to send it to.
        """
        if self.failure is None:
            self.failure = error
        said = self._stage in (Stage.RESUME, Stage.LIVE)
        self._stage = Stage.NONE
        return [Abort(reason, reason.sentence)] if said else []

    def receive(self, *messages: Message) -> list[Message]:
        """Take messages of the peer.

        Args:
            messages: from a sound link, in their order.

        Returns:
            What to send.

        Raises:
            ProtocolError: a message does not belong here; the session is over.
            CaligoError: what it asks for cannot be had (the keys do not belong together, no code fits, a key cannot be
                read); the session is over.
        """
        if self.failure is not None:
            raise ProtocolError("expected no message, the session is over; begin another", field="session")
        out: list[Message] = []
        try:
            for message in messages:
                if self.failure is None:
                    self._receive(message, out)
            if self._stage is Stage.LIVE and self.failure is None:
                self._advance(out)
        except CaligoError as error:
            self.failure = error
            raise
        return out

    # --- connections --------------------------------------------------------------------------------------------------

    def _receive(self, message: Message, out: list[Message]) -> None:
        if isinstance(message, KeepAlive):
            return
        if isinstance(message, Abort):
            self.failure = ProtocolError(
                f"the peer gave up ({message.reason.name.lower().replace('_', ' ')}): {message.text}",
                field="abort",
                reason=message.reason.name.lower(),
            )
        elif isinstance(message, Hello):
            self._require(self._stage is Stage.HELLO, message)
            self._stage = Stage.RESUME
            self._hello = message
            out.append(self._position())
        elif isinstance(message, Resume):
            self._require(self._stage is Stage.RESUME and self._hello is not None, message)
            # Only now is the Hello known to be fresh: an old one could have been replayed, this message could not.
            if self._hello is not None:
                self._greet(self._hello)
            self._stage = Stage.LIVE
            self._repeat(message, out)
            self._met = True
        else:
            self._require(self._stage is Stage.LIVE, message)
            if isinstance(message, Seeds | Sample | Plan):
                self._set_up(message)
            elif isinstance(message, Close):
                self._close(message)
                if self._close_sent is not None:
                    out.append(KeepAlive())  # Bob, whose word was the last, need not wonder whether it came
            else:
                self._require(self._agreed and self._close_sent is None, message)
                self._converse(message, out)

    def _greet(self, hello: Hello) -> None:
        self._require(hello.role is self.role.peer, hello)
        if hello.terms != self.terms:
            ours, theirs = asdict(self.terms), asdict(hello.terms)
            name = next(name for name in ours if ours[name] != theirs[name])
            # Zero stands for what was not given.
            raise wrong(
                name,
                repr(ours[name] or "none"),
                repr(theirs[name] or "none"),
                "give the same on both sides (this side's is expected)",
            )
        if not 1 <= hello.window <= MAX_WINDOW:
            raise wrong("window", f"1 to {MAX_WINDOW}", hello.window, OUT_OF_STEP)
        if self._agreed and min(self._asked_window, hello.window) < self._window:
            raise wrong("window", f"at least {self._window}, as before", hello.window, OUT_OF_STEP)
        if not self._agreed:
            self._window = min(self._asked_window, hello.window)
        self._identify(hello.session)

    @abstractmethod
    def _identify(self, session: bytes) -> None: ...

    def _position(self) -> Resume:
        turns = []
        for block in range(self._first_unsettled, self._next_block):
            flight = self._flights.get(block)
            turns.append((block, SETTLED if flight is None else flight.received))
        return Resume(
            len(self._setup_received), self._groups_received, self._close_received, self._first_unsettled, tuple(turns)
        )

    def _repeat(self, theirs: Resume, out: list[Message]) -> None:
        """Say again what the peer has not received."""
        if self._agreed and self.role is Role.ALICE and not theirs.setup:
            raise wrong(
                "setup",
                f"a peer in the middle of this session, in which {self.totals.leakage_bits} bits are disclosed",
                "one that knows nothing of it",
                "begin again on both sides, and count what is disclosed (with --state, the peer could go on)",
            )
        if theirs.setup > len(self._setup_sent):
            remedy = "the peer goes on with a session that this side knows nothing of; begin again on both sides"
            raise wrong("setup", f"at most {len(self._setup_sent)}", theirs.setup, remedy)
        out.extend(self._setup_sent[theirs.setup :])
        turns = dict(theirs.turns)
        if len(turns) != len(theirs.turns) or any(block < theirs.settled_before for block in turns):
            raise wrong("turns", "every block once", "repetitions", OUT_OF_STEP)
        self._repeat_blocks(theirs.settled_before, turns, out)
        self._repeat_groups(theirs.groups, out)
        if self._close_sent is not None and not theirs.closed:
            out.append(self._close_sent)

    @abstractmethod
    def _repeat_blocks(self, settled_before: int, turns: dict[int, int], out: list[Message]) -> None: ...

    @abstractmethod
    def _repeat_groups(self, received: int, out: list[Message]) -> None: ...

    @staticmethod
    def _lost(flight: Flight[Any], received: int) -> list[Message]:
        """The last message about a block, if the peer has received all but that one."""
        if flight.sent - received not in (0, 1):
            raise wrong("turns", f"{flight.sent} or one less", received, OUT_OF_STEP)
        return [flight.last] if flight.sent > received and flight.last is not None else []

    def _say(self, message: Message, out: list[Message]) -> None:
        """Send now, or leave it to be found missing when the next connection resumes."""
        if self._stage is Stage.LIVE:
            out.append(message)

    def _require(self, condition: bool, message: Message) -> None:
        if not condition:
            raise wrong("message", "one that may come now", type(message).__name__, OUT_OF_STEP)

    # --- set-up -------------------------------------------------------------------------------------------------------

    @property
    def _sampling(self) -> bool:
        return self.terms.sample_bits > 0

    @abstractmethod
    def _expected_setup(self) -> list[type[Message]]: ...

    def _set_up(self, message: Seeds | Sample | Plan) -> None:
        expected = self._expected_setup()
        index = len(self._setup_received)
        self._require(index < len(expected) and type(message) is expected[index], message)
        if isinstance(message, Seeds):
            self._seeds = message
        elif isinstance(message, Sample):
            if message.bits.length != self.terms.sample_bits:
                raise wrong("sample", f"{self.terms.sample_bits} bits", message.bits.length, OUT_OF_STEP)
        else:
            self._require(bool(self._sections), message)
            self._compare(message)
        self._setup_received.append(message)

    @property
    def _known_seeds(self) -> Seeds:
        """Alice has them from the beginning; Bob's come first of all."""
        if self._seeds is None:
            raise wrong("seeds", "32 bytes each", "none", OUT_OF_STEP)
        return self._seeds

    def _send_setup(self, message: Message, out: list[Message]) -> None:
        self._setup_sent.append(message)
        self._say(message, out)

    def _own_sample(self) -> Sample:
        seeds = self._known_seeds
        self._sample = self._key.sample(seeds.sampling_seed, self.terms.sample_bits)
        return Sample(Bits.of(self._sample, self.terms.sample_bits))

    def _make_plan(self) -> Plan:
        remaining = self._key.key_bits - self.terms.sample_bits
        theirs = next((message for message in self._setup_received if isinstance(message, Sample)), None)
        if theirs is not None and self._sample is not None:
            samples = (self._sample, theirs.bits.row)
            alice, bob = samples if self.role is Role.ALICE else samples[::-1]
            self._estimate = estimate_qber(alice, bob, self.terms.sample_bits)
        self._design = self._workshop.design_for(self._estimate)
        self._sections = tuple(self._workshop.prepare(self._design, remaining, self._known_seeds))
        errors = 0 if self._estimate is None else self._estimate.errors
        return Plan(errors, mean_qber(self._design), tuple(section.stated for section in self._sections))

    def _compare(self, theirs: Plan) -> None:
        ours = next(message for message in self._setup_sent if isinstance(message, Plan))
        remedy = "run the same caligo with the same options on both sides"
        if theirs.sampled_errors != ours.sampled_errors:
            raise wrong("sampled_errors", ours.sampled_errors, theirs.sampled_errors, remedy)
        if theirs.design_qber != ours.design_qber:
            raise wrong("design_qber", ours.design_qber, theirs.design_qber, remedy)
        if len(theirs.sections) != len(ours.sections):
            raise wrong("sections", len(ours.sections), len(theirs.sections), remedy)
        for mine, other in zip(ours.sections, theirs.sections, strict=True):
            for name in ("blocks", "payload_length", "block_length"):
                if getattr(mine, name) != getattr(other, name):
                    raise wrong(name, getattr(mine, name), getattr(other, name), remedy)
            if mine.digest != other.digest:
                raise wrong("code_digest", mine.digest.hex(), other.digest.hex(), remedy)
        self._blocks = sum(section.blocks for section in self._sections)
        self._groups = self._lay_groups()
        self._group = next(self._groups, None)
        self._agreed = True
        self._events.append(PlanAgreed(self._known_seeds, self._estimate, self._design, self._sections))

    def _lay_groups(self) -> Iterator[Group]:
        runs = [(section.blocks, section.side.code.payload_length) for section in self._sections]
        first = 0
        for index, blocks in enumerate(group_sizes(runs, self.terms.group_bits)):
            yield Group(index, first, blocks)
            first += blocks

    # --- blocks -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def _advance(self, out: list[Message]) -> None:
        """Do what has become possible."""

    @abstractmethod
    def _converse(self, message: Message, out: list[Message]) -> None:
        """Take a message about blocks or groups."""

    def _section_of(self, block: int) -> Section[AnySide_co]:
        return next(section for section in reversed(self._sections) if block >= section.first_block)

    def _row(self, section: Section[AnySide_co], block: int) -> NDArray[np.uint8]:
        code = section.side.code
        start = section.start_bit + (block - section.first_block) * code.payload_length
        return self._key.block(start, code.payload_length, code.block_length)

    def _may_open(self) -> bool:
        return (
            self._next_block < self._blocks
            and len(self._flights) < self._window
            and self._next_block < self._first_unsettled + SPAN * self._window
        )

    def _count_answer(self, flight: Flight[AnySide_co], bits: int) -> None:
        flight.answer_bits += bits
        self.totals.answer_bits += bits

    def _count_reply(self, flight: Flight[AnySide_co], bits: int) -> None:
        flight.reply_bits += bits
        self.totals.reply_bits += bits

    def _over_block_cap(self, disclosed_bits: int) -> bool:
        cap = self.terms.max_block_leakage_bits
        return bool(cap) and disclosed_bits > cap

    def _over_cap(self, more_bits: int) -> bool:
        cap = self.terms.max_leakage_bits
        return bool(cap) and self.totals.leakage_bits + more_bits > cap

    def _settle(
        self,
        flight: Flight[AnySide_co],
        settlement: Settlement,
        row: NDArray[np.uint8] | None,
        errors: int | None = None,
    ) -> None:
        code = flight.section.side.code
        account = BlockAccount(
            block=flight.block,
            payload_length=code.payload_length,
            block_length=code.block_length,
            settlement=settlement,
            rounds=flight.rounds,
            leakage=flight.leakage,
            elapsed_ns=flight.elapsed_ns,
            corrected_errors=errors,
        )
        del self._flights[flight.block]
        self._settled[flight.block] = SettledBlock(account, row if settlement is Settlement.OK else None)
        self.totals.rounds += flight.rounds
        self.totals.rounds_max = max(self.totals.rounds_max, flight.rounds)
        while self._first_unsettled < self._next_block and self._first_unsettled not in self._flights:
            self._first_unsettled += 1

    # --- groups -------------------------------------------------------------------------------------------------------

    def _gather(self) -> Verifying | None:
        """The next group, when all of its blocks are settled; one without a block that is OK has nothing to verify."""
        group = self._group
        if group is None or self._first_unsettled < group.first_block + group.blocks:
            return None
        self._group = next(self._groups, None)
        members = [self._settled.pop(block) for block in range(group.first_block, group.first_block + group.blocks)]
        payload = Payload()
        for member in members:
            if member.row is not None:
                payload.append(member.row, member.account.payload_length)
                member.row = None
        gathered = Verifying(group, members, payload, None if payload.bits else [])
        self._verifying.append(gathered)
        return gathered

    def _count_tags(self, *bits: int) -> None:
        """Enter the tags of one message, of so many bits each, into the account, with the verdicts that follow them."""
        self.totals.opened += Leakage(verification_bits=TAG_BITS * len(bits))
        self.totals.reply_bits += VERDICT_BITS * len(bits)
        self.totals.tags += len(bits)
        self.totals.comparisons += 1
        self.totals.epsilon += sum(map(group_epsilon, bits), Fraction(0))

    def _conclude_known(self) -> None:
        """Conclude the groups of which all is known, in order."""
        while self._verifying and self._verifying[0].agreeing is not None:
            self._conclude(self._verifying.popleft())

    def _conclude(self, done: Verifying) -> None:
        totals, agreeing = self.totals, done.agreeing or []
        hashed = iter(agreeing)
        accounts = []
        tag_due = bool(agreeing)
        for member in done.members:
            account = member.account
            if account.settlement is Settlement.OK:
                confirmed = next(hashed)
                tags = int(done.told_apart)
                if tag_due and confirmed is any(agreeing):
                    tags, tag_due = tags + 1, False
                cost = TwoWayLeakage(Leakage(verification_bits=TAG_BITS * tags), reply_bits=VERDICT_BITS * tags)
                account = replace(account, confirmed=confirmed, leakage=account.leakage + cost)
            if account.confirmed:
                totals.blocks_ok += 1
                totals.reconciled_bits += account.payload_length
            elif account.settlement is Settlement.OK:
                totals.failed_verification += 1
            elif account.settlement is Settlement.GIVEN_UP:
                totals.given_up += 1
            else:
                totals.failed_check += 1
            accounts.append(account)
        key = done.payload if all(agreeing) else done.payload.only(agreeing)
        self._events.append(GroupSettled(done.group.index, tuple(accounts), all(agreeing), key))

    @property
    def _all_concluded(self) -> bool:
        return self._agreed and self.totals.blocks_ok + self.totals.blocks_failed == self._blocks

    # --- the end ------------------------------------------------------------------------------------------------------

    def _close(self, theirs: Close) -> None:
        self._require(self._all_concluded and not self._close_received, theirs)
        ours = self.totals.closing()
        for name, value in asdict(ours).items():
            if getattr(theirs, name) != value:
                raise wrong(name, value, getattr(theirs, name), "the two accounts must be one; use neither key")
        self._close_received = True

    def _send_close(self, out: list[Message]) -> None:
        self._close_sent = self.totals.closing()
        self._say(self._close_sent, out)

"""Bob's side of a session: he decodes, asks, settles, verifies.

Covers: that, and work for other threads. Does not cover: what both sides share (:mod:`.common`).

What he says about blocks goes out in the order of what it answers (openings and answers, as they came), however the
decoding of blocks overtakes one another: so the order of his replies says nothing about the keys. Their times and their
grouping into frames are not hidden.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from caligo.bits import pack
from caligo.errors import ConfigError
from caligo.reconciliation.leakage import OUTCOME_BITS
from caligo.reconciliation.messages import (
    NO_SESSION,
    SETTLED,
    Answer,
    Bits,
    BlockTags,
    BlockVerdicts,
    GroupTag,
    GroupVerdict,
    Message,
    Opening,
    Outcome,
    Plan,
    Request,
    Role,
    Sample,
    Seeds,
    Settlement,
    Tag,
    Terms,
)
from caligo.reconciliation.parties import Bob
from caligo.reconciliation.session.common import (
    OUT_OF_STEP,
    SPAN,
    Flight,
    Session,
    Verifying,
    wrong,
)
from caligo.reconciliation.session.sections import Key, Workshop
from caligo.reconciliation.strategies.dialogue import (
    Ask,
    BobSide,
    Decoded,
    Disclosed,
    State,
    Step,
)
from caligo.reconciliation.verification import TAG_BITS, tags_agree, worth_telling_apart

__all__ = ["BobSession", "Work"]

_NOTHING = np.zeros(0, dtype=np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Blocks that can be decoded now, on any thread.

    Args:
        side: decodes them.
        blocks: their indices.
        states: what the side keeps of them.
    """

    side: BobSide
    blocks: tuple[int, ...]
    states: tuple[State, ...]

    def run(self) -> list[Step]:
        """Decode; the only thing here that takes long."""
        return self.side.step(self.states)


class BobSession(Session[BobSide]):
    """The side that corrects its key.

    Args:
        key: his.
        terms: what he wants.
        workshop: makes his sections.
        window: most blocks in flight.
    """

    role = Role.BOB

    def __init__(self, key: Key, terms: Terms, workshop: Workshop[BobSide], *, window: int) -> None:
        super().__init__(key, terms, workshop, window=window)
        self._ready: deque[int] = deque()
        self._unreplied: deque[int] = deque()
        self._steps: dict[int, Step] = {}
        self._outcomes: dict[int, Flight[BobSide]] = {}
        self._verdicts: list[GroupVerdict | BlockVerdicts] = []
        self._untagged: deque[Verifying] = deque()
        self._differing: deque[Verifying] = deque()

    # --- work ---------------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> int:
        """Blocks that wait for work."""
        return len(self._ready)

    def next_work(self, most_blocks: int = 1 << 30) -> Work | None:
        """Take what can be decoded now; None when there is nothing.

        Args:
            most_blocks: take no more blocks than this, >= 1.
        """
        if not self._ready or self.failure is not None:
            return None
        section = self._flights[self._ready[0]].section
        most = min(max(1, section.side.batch), max(1, most_blocks))
        taken: list[int] = []
        while self._ready and len(taken) < most and self._flights[self._ready[0]].section is section:
            taken.append(self._ready.popleft())
        return Work(section.side, tuple(taken), tuple(self._flights[block].state for block in taken))

    def finish(self, work: Work, steps: Sequence[Step]) -> list[Message]:
        """Take what came of some work.

        Args:
            work: from `next_work`.
            steps: from its `run`.

        Returns:
            What to send: replies to all that came before the first block that is still decoded, in their order.
            Nothing while there is no connection: it is then sent when one resumes.
        """
        out: list[Message] = []
        if self.failure is not None:
            return out
        self._steps.update(zip(work.blocks, steps, strict=True))
        while self._unreplied and self._unreplied[0] in self._steps:
            block = self._unreplied.popleft()
            self._reply(self._flights[block], self._steps.pop(block), out)
        self._advance(out)
        return out

    def _reply(self, flight: Flight[BobSide], step: Step, out: list[Message]) -> None:
        """Say what came of the last opening or answer of a block."""
        flight.busy = False
        flight.elapsed_ns += step.elapsed_ns
        if isinstance(step, Ask) and self._ask(flight, step, out):
            return
        errors, row = None, None
        settlement = Settlement.GIVEN_UP if isinstance(step, Ask) else Settlement.FAILED
        if isinstance(step, Decoded):
            row = step.row
            errors = int(np.bitwise_count(row ^ flight.row).sum(dtype=np.int64))
            settlement = Settlement.OK
        self._count_reply(flight, OUTCOME_BITS)
        flight.last = Outcome(flight.block, settlement)
        flight.sent += 1
        self._settle(flight, settlement, row, errors)
        self._outcomes[flight.block] = replace(flight, row=_NOTHING, state=None)
        self._say(flight.last, out)

    def finish_again(self, block: int, step: Step, *, decode: bool) -> None:
        """Take what came of some work before this process began; see `relive`.

        Args:
            block: its index.
            step: what came of it.
            decode: whether the block is to be brought to where it was, since it is not settled.

        Raises:
            ConfigError: this decoder decides otherwise, or there was no such work.
        """
        flight = self._flights.get(block)
        again: Step | None = None
        if flight is not None and block in self._ready:
            self._ready.remove(block)
            again = flight.section.side.step((flight.state,))[0] if decode else step
        if flight is None or again is None or (decode and again != step):
            raise ConfigError(
                f"state: expected work on block {block} to end as it did before; give the same options (list size, "
                "escalation, precision) as then",
                block=block,
            )
        self.finish(Work(flight.section.side, (block,), (flight.state,)), [step])

    def _ask(self, flight: Flight[BobSide], step: Ask, out: list[Message]) -> bool:
        """Ask Alice, unless a cap forbids it."""
        side = flight.section.side
        more = side.answer_bits(flight.state, step.wants)
        if flight.rounds >= self.terms.max_rounds or self._over_block_cap(flight.disclosed_bits + more):
            return False
        flight.rounds += 1
        flight.wants = step.wants
        self._count_reply(flight, OUTCOME_BITS + side.request_bits(step.wants))
        flight.last = Request(flight.block, flight.rounds, step.wants)
        flight.sent += 1
        self._say(flight.last, out)
        return True

    # --- messages -----------------------------------------------------------------------------------------------------

    def _identify(self, session: bytes) -> None:
        if session == NO_SESSION or self._session not in (NO_SESSION, session):
            raise wrong("session", "this one", "another", "connect the two sides of one session, or begin both again")
        self._session = session

    def _expected_setup(self) -> list[type[Message]]:
        return [Seeds, Sample, Plan] if self._sampling else [Seeds, Plan]

    def _advance(self, out: list[Message]) -> None:
        if self._setup_received and not self._setup_sent and self._sampling:
            self._send_setup(self._own_sample(), out)
        if not self._sections and len(self._setup_received) == (2 if self._sampling else 1):
            self._send_setup(self._make_plan(), out)
        if not self._agreed or self._close_sent is not None:
            return
        self._advance_groups()
        if self._close_received:
            self._send_close(out)

    def _converse(self, message: Message, out: list[Message]) -> None:
        if isinstance(message, Opening):
            self._start(message)
        elif isinstance(message, Answer):
            self._accept(message)
        elif isinstance(message, GroupTag):
            self._verify(message, out)
        elif isinstance(message, BlockTags):
            self._tell_apart(message, out)
        else:
            self._require(False, message)

    def _start(self, opening: Opening) -> None:
        if not self._may_open() or opening.block != self._next_block:
            expected = self._next_block if self._may_open() else "none: the window is full"
            raise wrong("block", expected, opening.block, OUT_OF_STEP)
        section = self._section_of(opening.block)
        sizes = section.side.sizes
        for name, bits, expected_bits in (
            ("frozen", opening.frozen, sizes.frozen_bits),
            ("segment_checks", opening.segment_checks, sizes.segment_check_bits),
            ("check", opening.check, sizes.check_bits),
        ):
            if bits.length != expected_bits:
                raise wrong(name, f"{expected_bits} bits", bits.length, OUT_OF_STEP)
        if self._over_cap(sizes.total_bits):
            raise wrong("max_leakage_bits", self.terms.max_leakage_bits, "more", OUT_OF_STEP)
        row = self._row(section, opening.block)
        state = section.side.start(row, Disclosed(opening.frozen, opening.segment_checks, opening.check))
        flight = Flight(opening.block, section, row, state, received=1, busy=True)
        self._flights[opening.block] = flight
        self._next_block += 1
        self.totals.opened += sizes.leakage
        self._await(opening.block)
        # Alice opens this block only after she has heard what became of one so far behind.
        self._outcomes.pop(opening.block - SPAN * self._window, None)

    def _accept(self, answer: Answer) -> None:
        flight = self._flights.get(answer.block)
        if flight is None or flight.busy:
            raise wrong("block", "one that waits for an answer", answer.block, OUT_OF_STEP)
        if answer.round != flight.rounds:
            raise wrong("round", flight.rounds, answer.round, OUT_OF_STEP)
        side = flight.section.side
        expected = side.answer_bits(flight.state, flight.wants)
        if answer.bits.length != expected:
            raise wrong("bits", f"{expected} bits", answer.bits.length, OUT_OF_STEP)
        if self._over_cap(expected):
            raise wrong("max_leakage_bits", self.terms.max_leakage_bits, "more", OUT_OF_STEP)
        self._count_answer(flight, expected)
        flight.received += 1
        side.accept(flight.state, flight.wants, answer.bits)
        flight.busy = True
        self._await(answer.block)

    def _await(self, block: int) -> None:
        self._ready.append(block)
        self._unreplied.append(block)

    def _advance_groups(self) -> None:
        while (gathered := self._gather()) is not None:
            if gathered.payload.bits:
                self._untagged.append(gathered)
        self._conclude_known()

    def _next(self, waiting: deque[Verifying], theirs: GroupTag | BlockTags, tags: int) -> Verifying:
        """What tags are about; they come in the order of the groups."""
        if not waiting or waiting[0].group.index != theirs.group:
            raise wrong("group", waiting[0].group.index if waiting else "none", theirs.group, OUT_OF_STEP)
        if self._over_cap(TAG_BITS * tags):
            raise wrong("max_leakage_bits", self.terms.max_leakage_bits, "more", OUT_OF_STEP)
        self._groups_received += 1
        return waiting.popleft()

    def _judge(self, verdict: GroupVerdict | BlockVerdicts, out: list[Message]) -> None:
        self._verdicts.append(verdict)
        self._say(verdict, out)
        self._conclude_known()

    def _verify(self, theirs: GroupTag, out: list[Message]) -> None:
        verifying = self._next(self._untagged, theirs, 1)
        payload = verifying.payload
        if theirs.bits != payload.bits:
            raise wrong("bits", payload.bits, theirs.bits, OUT_OF_STEP)
        self._count_tags(payload.bits)
        agrees = tags_agree(payload.tag(self._known_seeds.hash_key), theirs.tag)
        if agrees:
            verifying.agreeing = [True] * len(payload.block_bits)
        elif worth_telling_apart(payload.block_bits):
            self._differing.append(verifying)
        else:
            verifying.fail()
        self._judge(GroupVerdict(verifying.group.index, agrees), out)

    def _tell_apart(self, theirs: BlockTags, out: list[Message]) -> None:
        verifying = self._next(self._differing, theirs, len(theirs.tags))
        payload = verifying.payload
        if theirs.tags:
            if len(theirs.tags) != len(payload.block_bits):
                raise wrong("tags", len(payload.block_bits), len(theirs.tags), OUT_OF_STEP)
            verifying.told_apart = True
            self._count_tags(*payload.block_bits)
            verifying.agreeing = Bob.tell_apart(self._known_seeds.hash_key, payload, [Tag(tag) for tag in theirs.tags])
        else:
            verifying.fail()
        agree = pack(np.array(verifying.agreeing if theirs.tags else [], dtype=np.uint8))
        self._judge(BlockVerdicts(verifying.group.index, Bits.of(agree, len(theirs.tags))), out)

    def _repeat_blocks(self, settled_before: int, turns: dict[int, int], out: list[Message]) -> None:
        if settled_before > self._first_unsettled:
            raise wrong("settled_before", f"at most {self._first_unsettled}", settled_before, OUT_OF_STEP)
        for block, received in sorted(turns.items()):
            flight = self._flights.get(block) or self._outcomes.get(block)
            if received == SETTLED:
                self._settled_at_alice(block)
            elif flight is not None:
                out.extend(self._lost(flight, received))
            elif received or block < self._next_block:
                raise wrong("turns", 0, received, OUT_OF_STEP)

    def _settled_at_alice(self, block: int) -> None:
        if block in self._flights or block >= self._next_block:
            raise wrong("turns", "unsettled", f"block {block} settled", OUT_OF_STEP)

    def _repeat_groups(self, received: int, out: list[Message]) -> None:
        if received > len(self._verdicts):
            raise wrong("groups", f"at most {len(self._verdicts)}", received, OUT_OF_STEP)
        out.extend(self._verdicts[received:])

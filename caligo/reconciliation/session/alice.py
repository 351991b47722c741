"""Alice's side of a session: she opens blocks, answers, discloses tags.

Covers: that. Does not cover: what both sides share (:mod:`.common`).
"""

from __future__ import annotations

from collections import deque

from caligo.bits import unpack
from caligo.errors import ProtocolError
from caligo.reconciliation.leakage import OUTCOME_BITS
from caligo.reconciliation.messages import (
    NO_SESSION,
    SETTLED,
    AbortReason,
    Answer,
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
    Terms,
)
from caligo.reconciliation.session.common import (
    OUT_OF_STEP,
    Flight,
    Session,
    Stage,
    Verifying,
    wrong,
)
from caligo.reconciliation.session.sections import Key, Section, Workshop
from caligo.reconciliation.strategies.dialogue import (
    AliceSide,
)
from caligo.reconciliation.verification import TAG_BITS, worth_telling_apart

__all__ = ["AliceSession"]


class AliceSession(Session[AliceSide]):
    """The side whose key is the reference.

    Args:
        key: hers.
        terms: what she wants.
        workshop: makes her sections.
        window: most blocks in flight.
        session: 16 bytes, fresh from the operating system; names the session.
        seeds: the session's public random values, drawn when both keys were fixed.
    """

    role = Role.ALICE

    def __init__(
        self, key: Key, terms: Terms, workshop: Workshop[AliceSide], *, window: int, session: bytes, seeds: Seeds
    ) -> None:
        super().__init__(key, terms, workshop, window=window)
        self._session = session
        self._seeds = seeds
        self._unanswered: deque[tuple[GroupTag | BlockTags, Verifying]] = deque()

    def _identify(self, session: bytes) -> None:
        if session not in (NO_SESSION, self._session):
            raise wrong("session", "this one", "another", "connect the two sides of one session, or begin both again")

    def _expected_setup(self) -> list[type[Message]]:
        return [Sample, Plan] if self._sampling else [Plan]

    def _advance(self, out: list[Message]) -> None:
        if self.failure is not None:
            return
        if not self._setup_sent:
            self._send_setup(self._known_seeds, out)
            if self._sampling:
                self._send_setup(self._own_sample(), out)
        if not self._sections and (not self._sampling or self._setup_received):
            self._send_setup(self._make_plan(), out)
        if not self._agreed or self._close_sent is not None:
            return
        self._advance_groups(out)
        while self.failure is None and self._stage is Stage.LIVE and self._may_open():
            section = self._section_of(self._next_block)
            if self._over_cap(section.side.sizes.total_bits) or self._over_block_cap(section.side.sizes.total_bits):
                self._stop_at_cap(out)
                return
            self._open(section, out)
        if self._all_concluded:
            self._send_close(out)

    def _open(self, section: Section[AliceSide], out: list[Message]) -> None:
        block = self._next_block
        row = self._row(section, block)
        disclosed, state = section.side.open(row)
        flight = Flight(block, section, row, state)
        self._flights[block] = flight
        self._next_block += 1
        self.totals.opened += section.side.sizes.leakage
        flight.last = Opening(block, disclosed.frozen, disclosed.segment_checks, disclosed.check)
        flight.sent = 1
        self._say(flight.last, out)

    def _stop_at_cap(self, out: list[Message]) -> None:
        disclosed = self.totals.leakage_bits
        error = ProtocolError(
            f"leakage cap: the next disclosure would exceed it, after {disclosed} bits; use neither key, and "
            "give the next ones a greater cap",
            field="leakage_cap",
            max_leakage_bits=self.terms.max_leakage_bits,
            max_block_leakage_bits=self.terms.max_block_leakage_bits,
            leakage_bits=disclosed,
        )
        out.extend(self.abort(error, AbortReason.LEAKAGE_CAP))

    def _converse(self, message: Message, out: list[Message]) -> None:
        if isinstance(message, Request):
            self._answer(message, out)
        elif isinstance(message, Outcome):
            flight = self._flight(message.block, message)
            flight.received += 1
            self._count_reply(flight, OUTCOME_BITS)
            self._settle(flight, message.settlement, flight.row)
        elif isinstance(message, GroupVerdict):
            self._hear(message, out)
        elif isinstance(message, BlockVerdicts):
            self._hear_of_blocks(message)
        else:
            self._require(False, message)

    def _flight(self, block: int, message: Message) -> Flight[AliceSide]:
        flight = self._flights.get(block)
        if flight is None:
            raise wrong("block", "one in flight", block, f"{type(message).__name__}: {OUT_OF_STEP}, or repeats itself")
        return flight

    def _answer(self, request: Request, out: list[Message]) -> None:
        flight = self._flight(request.block, request)
        side = flight.section.side
        if request.round != flight.rounds + 1 or request.round > self.terms.max_rounds:
            expected = min(flight.rounds + 1, self.terms.max_rounds)
            raise wrong("round", expected, request.round, OUT_OF_STEP)
        more = side.answer_bits(flight.state, request.wants)
        if self._over_block_cap(flight.disclosed_bits + more):
            raise wrong("max_block_leakage_bits", self.terms.max_block_leakage_bits, "a request beyond", OUT_OF_STEP)
        flight.received += 1
        flight.rounds += 1
        self._count_reply(flight, OUTCOME_BITS + side.request_bits(request.wants))
        if self._over_cap(more):
            self._stop_at_cap(out)
            return
        bits = side.answer(flight.state, request.wants)
        self._count_answer(flight, more)
        flight.last = Answer(request.block, request.round, bits)
        flight.sent += 1
        self._say(flight.last, out)

    def _advance_groups(self, out: list[Message]) -> None:
        """Disclose the tags of groups that are whole; conclude those that need none, in order."""
        while (gathered := self._gather()) is not None:
            payload = gathered.payload
            if not payload.bits:
                continue
            if self._over_cap(TAG_BITS):
                self._stop_at_cap(out)
                return
            self._count_tags(payload.bits)
            tag = GroupTag(gathered.group.index, payload.bits, payload.tag(self._known_seeds.hash_key))
            self._tell_tags(tag, gathered, out)
        self._conclude_known()

    def _tell_tags(self, tags: GroupTag | BlockTags, verifying: Verifying, out: list[Message]) -> None:
        self._unanswered.append((tags, verifying))
        self._say(tags, out)

    def _answered(self, verdict: GroupVerdict | BlockVerdicts, kind: type[GroupTag | BlockTags]) -> Verifying:
        """What a verdict is about; verdicts come in the order of the tags."""
        asked, verifying = self._unanswered[0] if self._unanswered else (None, None)
        if not isinstance(asked, kind) or verifying is None or asked.group != verdict.group:
            raise wrong("group", "none" if asked is None else asked.group, verdict.group, OUT_OF_STEP)
        self._unanswered.popleft()
        self._groups_received += 1
        return verifying

    def _hear(self, verdict: GroupVerdict, out: list[Message]) -> None:
        verifying = self._answered(verdict, GroupTag)
        payload = verifying.payload
        if verdict.agrees:
            verifying.agreeing = [True] * len(payload.block_bits)
        elif worth_telling_apart(payload.block_bits):
            tags: list[bytes] = []
            if not self._over_cap(TAG_BITS * len(payload.block_bits)):
                tags = payload.block_tags(self._known_seeds.hash_key)
                verifying.told_apart = True
                self._count_tags(*payload.block_bits)
            self._tell_tags(BlockTags(verifying.group.index, tuple(tags)), verifying, out)
        else:
            verifying.fail()
        self._conclude_known()

    def _hear_of_blocks(self, verdicts: BlockVerdicts) -> None:
        verifying = self._answered(verdicts, BlockTags)
        expected = len(verifying.payload.block_bits) if verifying.told_apart else 0
        agreeing = [bool(bit) for bit in unpack(verdicts.agree.row, verdicts.agree.length)]
        if len(agreeing) != expected or (agreeing and all(agreeing)):
            raise wrong("agree", f"{expected} bits, not all ones", len(agreeing), OUT_OF_STEP)
        if verifying.told_apart:
            verifying.agreeing = agreeing
        else:
            verifying.fail()
        self._conclude_known()

    def _repeat_blocks(self, settled_before: int, turns: dict[int, int], out: list[Message]) -> None:
        if settled_before > self._next_block or any(block >= self._next_block for block in turns):
            raise wrong("turns", f"blocks below {self._next_block}", "others", OUT_OF_STEP)
        for block, flight in sorted(self._flights.items()):
            received = turns.get(block, 0)
            if block >= settled_before and received != SETTLED:
                out.extend(self._lost(flight, received))

    def _repeat_groups(self, received: int, out: list[Message]) -> None:
        """Bob counts all messages with tags; those without a verdict are the last ones."""
        said = self._groups_received + len(self._unanswered)
        if not self._groups_received <= received <= said:
            raise wrong("groups", f"at least {self._groups_received}", received, OUT_OF_STEP)
        out.extend(tags for tags, _ in list(self._unanswered)[received - self._groups_received :])

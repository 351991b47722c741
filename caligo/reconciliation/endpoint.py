"""One side as whoever carries frames sees it: frames in, frames out.

`connect`, `receive` and `finish` say things; `take_frames` seals what was said since the last time, so that whoever
carries frames decides how much goes together.

Covers: a session behind one link after the other, and its past. Does not cover: what carries the frames
(:mod:`caligo.transports`), what keeps the past, threads and clocks (:mod:`caligo.jobs`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from caligo.errors import CaligoError
from caligo.reconciliation.authentication import Authentication
from caligo.reconciliation.link import Link
from caligo.reconciliation.messages import AbortReason, KeepAlive, Message
from caligo.reconciliation.session import AliceSession, BobSession, GroupSettled, PlanAgreed, Work
from caligo.reconciliation.strategies.dialogue import Step
from caligo.reconciliation.wire import OPTIONAL, TYPE_OFFSET, Frame, decode_messages, read_frame

__all__ = ["Connected", "Endpoint", "Heard", "Journal", "Past", "Worked"]


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection proved to be with the peer.

    Args:
        session: 16 bytes, names the session.
        window: most blocks in flight.
    """

    session: bytes
    window: int


@dataclass(frozen=True, slots=True, repr=False)
class Heard:
    """A frame of the peer, which the session took.

    Args:
        type: of its message, or a bundle.
        payload: its fields, or messages.
    """

    type: int
    payload: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Worked:
    """What came of Bob's work on a block.

    Args:
        block: its index.
        step: may hold key material.
    """

    block: int
    step: Step


Past: TypeAlias = Connected | Heard | Worked
"""Everything that a session's state follows from, beside what it was made of."""


class Journal(Protocol):
    """Keeps the past, so that another process can go on after this one died."""

    def note(self, past: Past) -> None:
        """Take something that has happened."""
        ...

    def flush(self) -> None:
        """Let everything taken outlive this process; called before anything that follows from it is sent."""
        ...


class Endpoint:
    """A session and its present connection.

    Args:
        session: Alice's or Bob's.
        authentication: how frames are sealed.
        on_event: told of the plan and of every group before anything that follows from it is sealed, so that a side
            that cannot keep a key never says that it has it; None leaves events to `session.take_events`.
        on_closed: called once, when both sides are done, before this side's last word is sealed: so that a side that
            cannot put its key in place never says that it has it.
        journal: takes down what happens; None: nothing is kept.
    """

    def __init__(
        self,
        session: AliceSession | BobSession,
        authentication: Authentication,
        *,
        on_event: Callable[[PlanAgreed | GroupSettled], None] | None = None,
        on_closed: Callable[[], None] | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.session = session
        self.frames_sent = self.frames_received = self.bytes_sent = self.bytes_received = 0
        self.connections = 0
        self._authentication = authentication
        self._on_event = on_event
        self._on_closed = on_closed
        self._journal = journal
        self._link: Link | None = None
        self._unsent: list[Message] = []

    def __repr__(self) -> str:
        return f"Endpoint({self.session!r})"

    @property
    def is_open(self) -> bool:
        """Whether the present connection has passed its first messages."""
        return self._link is not None and self._link.is_open

    def connect(self, nonce: bytes) -> None:
        """Begin a connection; what was not sent in the last one is left to the session, which resumes.

        Args:
            nonce: 32 bytes, fresh from the operating system.
        """
        self._link = Link(self.session.role, self._authentication)
        self.connections += 1
        self._unsent = [self.session.connect(nonce)]

    def receive(self, frame: Frame | bytes) -> None:
        """Take a frame. Where the session ends by what came, `session.failure` says why.

        Args:
            frame: as a transport brings it, or its bytes.

        Raises:
            CaligoError: as `Link.receive` and `Session.receive`, and what `on_event` raises; call `abort` with it.
        """
        if self._link is None:
            self._link = Link(self.session.role, self._authentication)
        if isinstance(frame, bytes):
            frame = read_frame(frame)
        messages = self._link.receive(frame)
        if not messages:
            return
        self.frames_received += 1
        self.bytes_received += len(frame.sealed) + len(frame.tag)
        was_live = self.session.is_live
        said = self.session.receive(*messages)
        if self.session.failure is None and self.session.is_live:
            self._note(
                Heard(frame.type, frame.payload)
                if was_live
                else Connected(self.session.identifier, self.session.window)
            )
        self._say(said)

    def finish(self, work: Work, steps: Sequence[Step]) -> None:
        """Take what came of Bob's work; see `BobSession.finish`."""
        if isinstance(self.session, BobSession):
            said = self.session.finish(work, steps)
            for block, step in zip(work.blocks, steps, strict=True):
                self._note(Worked(block, step))
            self._say(said)

    def restore(self, past: Iterable[Past], settled: Collection[int]) -> None:
        """Come to the state of an endpoint that died, from its past. Call it first of all.

        What was said then is not said again unless the peer turns out to miss it. Blocks in flight are decoded again
        as far as they had come.

        Args:
            past: all of it, in order; the end may be missing if nothing that follows from it was sent.
            settled: the blocks of it that Bob decoded or gave up, which need not be decoded again.

        Raises:
            CaligoError: it is the past of another session, or of a decoder that decides otherwise.
        """
        session = self.session
        for item in past:
            if isinstance(item, Connected):
                session.relive(item.session, item.window)
                session.receive()
            elif isinstance(item, Heard):
                messages = decode_messages(item.type, item.payload)
                session.receive(*(message for message in messages if message is not None))
            elif isinstance(session, BobSession):
                session.finish_again(item.block, item.step, decode=item.block not in settled)
            self._tell()
        session.rest()

    def keep_alive(self) -> None:
        """Say that this side is still at work, if there is someone to say it to."""
        if self.is_open:
            self._unsent.append(KeepAlive())

    def abort(self, error: CaligoError, reason: AbortReason) -> None:
        """Give up; see `Session.abort`."""
        self._unsent += self.session.abort(error, reason)

    def take_frames(self) -> list[bytes]:
        """What is to be sent since the last call, sealed; messages about blocks share frames."""
        messages, self._unsent = self._unsent, []
        if self._journal is not None:
            self._journal.flush()
        if self._link is None or not messages:
            return []
        frames = self._link.send(messages)
        telling = [len(frame) for frame in frames if frame[TYPE_OFFSET] < OPTIONAL]
        self.frames_sent += len(telling)
        self.bytes_sent += sum(telling)
        return frames

    def _note(self, past: Past) -> None:
        if self._journal is not None:
            self._journal.note(past)

    def _say(self, messages: Sequence[Message]) -> None:
        self._tell()
        self._unsent += messages

    def _tell(self) -> None:
        if self._on_event is not None:
            for event in self.session.take_events():
                self._on_event(event)
        if self.session.is_closed and self._on_closed is not None:
            on_closed, self._on_closed = self._on_closed, None
            on_closed()

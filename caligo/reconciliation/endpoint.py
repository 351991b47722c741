"""One side as whoever carries frames sees it: frames in, frames out.

`connect`, `receive` and `finish` say things; `take_frames` seals what was said since the last time, so that whoever
carries frames decides how much goes together.

Covers: a session behind one link after the other. Does not cover: what carries the frames (:mod:`caligo.transports`),
threads and clocks (:mod:`caligo.jobs`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from caligo.errors import CaligoError
from caligo.reconciliation.authentication import Authentication
from caligo.reconciliation.link import Link
from caligo.reconciliation.messages import AbortReason, KeepAlive, Message
from caligo.reconciliation.session import AliceSession, BobSession, GroupSettled, PlanAgreed, Work
from caligo.reconciliation.strategies.dialogue import Step
from caligo.reconciliation.wire import Frame, read_frame

__all__ = ["Endpoint"]


class Endpoint:
    """A session and its present connection.

    Args:
        session: Alice's or Bob's.
        authentication: how frames are sealed.
        on_event: told of the plan and of every group before anything that follows from it is sealed, so that a side
            that cannot keep a key never says that it has it; None leaves events to `session.take_events`.
    """

    def __init__(
        self,
        session: AliceSession | BobSession,
        authentication: Authentication,
        *,
        on_event: Callable[[PlanAgreed | GroupSettled], None] | None = None,
    ) -> None:
        self.session = session
        self.frames_sent = self.frames_received = self.bytes_sent = self.bytes_received = 0
        self.connections = 0
        self._authentication = authentication
        self._on_event = on_event
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
        self.frames_received += 1
        self.bytes_received += len(frame.sealed) + len(frame.tag)
        messages = self._link.receive(frame)
        if messages:
            self._say(self.session.receive(*messages))

    def finish(self, work: Work, steps: Sequence[Step]) -> None:
        """Take what came of Bob's work; see `BobSession.finish`."""
        if isinstance(self.session, BobSession):
            self._say(self.session.finish(work, steps))

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
        if self._link is None or not messages:
            return []
        frames = self._link.send(messages)
        self.frames_sent += len(frames)
        self.bytes_sent += sum(map(len, frames))
        return frames

    def _say(self, messages: Sequence[Message]) -> None:
        if self._on_event is not None:
            for event in self.session.take_events():
                self._on_event(event)
        self._unsent += messages

"""One side as whoever carries frames sees it: frames in, frames out.

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
        self._authentication = authentication
        self._on_event = on_event
        self._link: Link | None = None

    def __repr__(self) -> str:
        return f"Endpoint({self.session!r})"

    @property
    def is_open(self) -> bool:
        """Whether the present connection has passed its first messages."""
        return self._link is not None and self._link.is_open

    def connect(self, nonce: bytes) -> list[bytes]:
        """Begin a connection.

        Args:
            nonce: 32 bytes, fresh from the operating system.

        Returns:
            Frames to send.
        """
        self._link = Link(self.session.role, self._authentication)
        return self._seal([self.session.connect(nonce)])

    def receive(self, frame: Frame | bytes) -> list[bytes]:
        """Take a frame.

        Args:
            frame: as a transport brings it, or its bytes.

        Returns:
            Frames to send. Where the session has ended by what came, `session.failure` says why.

        Raises:
            CaligoError: as `Link.receive` and `Session.receive`, and what `on_event` raises; call `abort` with it.
        """
        if self._link is None:
            self._link = Link(self.session.role, self._authentication)
        if isinstance(frame, bytes):
            frame = read_frame(frame)
        self.frames_received += 1
        self.bytes_received += len(frame.sealed) + len(frame.tag)
        message = self._link.receive(frame)
        return [] if message is None else self._told(self.session.receive(message))

    def finish(self, work: Work, steps: Sequence[Step]) -> list[bytes]:
        """Take what came of Bob's work; see `BobSession.finish`."""
        if not isinstance(self.session, BobSession):
            return []
        return self._told(self.session.finish(work, steps))

    def keep_alive(self) -> list[bytes]:
        """Say that this side is still at work, if there is someone to say it to."""
        return self._seal([KeepAlive()]) if self.is_open else []

    def abort(self, error: CaligoError, reason: AbortReason) -> list[bytes]:
        """Give up; see `Session.abort`."""
        return self._seal(self.session.abort(error, reason))

    def _told(self, messages: Sequence[Message]) -> list[bytes]:
        if self._on_event is not None:
            for event in self.session.take_events():
                self._on_event(event)
        return self._seal(messages)

    def _seal(self, messages: Sequence[Message]) -> list[bytes]:
        if self._link is None or not messages:
            return []
        link = self._link
        frames = [link.send(message) for message in messages]
        self.frames_sent += len(frames)
        self.bytes_sent += sum(map(len, frames))
        return frames

"""Frames through queues of one process: for tests, and for both parties in one program.

Covers: a pair of ends. Does not cover: loss; what was sent arrives until an end is closed.
"""

from __future__ import annotations

import queue
from typing import Self

from caligo.errors import ConnectionLostError
from caligo.reconciliation.wire import Frame, read_frame

__all__ = ["MemoryTransport", "memory_pair"]


class MemoryTransport:
    """One end; make both with `memory_pair`.

    Args:
        inbox: frames for this end; None in it says that the other has closed.
        outbox: frames for the other.
    """

    reopens = False
    listens = False
    keep_alive_s: float | None = None

    def __init__(self, inbox: queue.Queue[bytes | None], outbox: queue.Queue[bytes | None]) -> None:
        self._inbox = inbox
        self._outbox = outbox
        self._closed = False
        self._ended = False

    def open(self, timeout_s: float) -> None:
        """Nothing to wait for; see `Transport.open`."""

    def send(self, frame: bytes) -> None:
        """See `Transport.send`."""
        if self._closed:
            raise ConnectionLostError("cannot send: this end is closed; make another pair")
        self._outbox.put(frame)

    def receive(self, timeout_s: float) -> Frame | None:
        """See `Transport.receive`."""
        if self._ended or self._closed:
            raise ConnectionLostError("the other end is closed; nothing more will come")
        try:
            # Of a SimpleQueue this may wait for ever, where the time is up at once (CPython 3.11).
            frame = self._inbox.get(timeout=max(timeout_s, 0.0))
        except queue.Empty:
            return None
        if frame is None:
            self._ended = True
            raise ConnectionLostError("the other end is closed; nothing more will come")
        return read_frame(frame)

    def close(self) -> None:
        """See `Transport.close`."""
        if not self._closed:
            self._closed = True
            self._outbox.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def memory_pair() -> tuple[MemoryTransport, MemoryTransport]:
    """Two ends that reach each other."""
    first: queue.Queue[bytes | None] = queue.Queue()
    second: queue.Queue[bytes | None] = queue.Queue()
    return MemoryTransport(first, second), MemoryTransport(second, first)

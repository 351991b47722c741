"""What carries the parties' frames: queues in one process, files in directories, TCP.

Covers: the protocol that all of them keep, and one file for each. Does not cover: what the frames say, seals and
sequence numbers (:mod:`caligo.reconciliation.link`), threads (:mod:`caligo.jobs`).

A transport keeps the order of frames and may lose the last ones when it breaks. It is used by two threads at a time at
most: one that sends, one that receives.
"""

from __future__ import annotations

from typing import Protocol, Self

from caligo.reconciliation.wire import Frame
from caligo.transports.directory import DirectoryTransport
from caligo.transports.memory import MemoryTransport, memory_pair
from caligo.transports.tcp import TcpTransport

__all__ = ["DirectoryTransport", "MemoryTransport", "TcpTransport", "Transport", "memory_pair"]


class Transport(Protocol):
    """One end of a way to the peer."""

    def open(self, timeout_s: float) -> None:
        """Come to a connection, the first or another after a loss.

        Args:
            timeout_s: how long to wait for the peer, > 0.

        Raises:
            ConnectionLostError: nobody came.
            ConfigError: the place does not exist, or is taken.
        """
        ...

    def send(self, frame: bytes) -> None:
        """Carry a frame to the peer, or at least on its way.

        Raises:
            ConnectionLostError: the connection is gone, or the peer takes nothing.
            ResourceError: no space.
            ConfigError: the place is taken by another process.
        """
        ...

    def receive(self, timeout_s: float) -> Frame | None:
        """The next frame.

        Args:
            timeout_s: how long to wait, >= 0.

        Returns:
            None when none came in time.

        Raises:
            ConnectionLostError: the connection is gone.
            ProtocolError: what came is no frame.
        """
        ...

    @property
    def keep_alive_s(self) -> float | None:
        """How often a side that has nothing to say should say so (seconds); None: never."""
        ...

    @property
    def reopens(self) -> bool:
        """Whether `open` can be tried again after a loss."""
        ...

    @property
    def listens(self) -> bool:
        """Whether anybody may come, so that who came need not be the peer."""
        ...

    def close(self) -> None:
        """Release everything; a second call does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

"""Frames over TCP: one side listens, the other connects; either may be Alice.

Covers: timeouts, keeping what came of a frame until the rest comes, listening and connecting again after a loss. Does
not cover: encryption (nothing is secret), authentication (:mod:`caligo.reconciliation.authentication`).

A listener serves one peer at a time. `close` says that nothing more will be sent and waits a moment for the peer to say
the same, so that the last frame is not lost with the socket.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from dataclasses import dataclass, field
from typing import Self

from caligo.errors import ConfigError, ConnectionLostError
from caligo.reconciliation.wire import Frame, FrameReader

__all__ = ["TcpTransport", "parse_address"]

_PIECE = 1 << 16
_RETRY_S = 0.1
_SEND_TIMEOUT_S = 60.0
_LINGER_S = 2.0


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[IPv6]:PORT``.

    Args:
        text: the address; an empty host means every interface.

    Raises:
        ConfigError: it is none.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        raise ConfigError(f"address: expected HOST:PORT, got {text!r}; write it as localhost:7000", got=text)
    if int(port) > 65535:
        raise ConfigError(f"address: expected a port from 0 to 65535, got {port}; choose another", got=text)
    return host.removeprefix("[").removesuffix("]"), int(port)


@dataclass(frozen=True, slots=True)
class _Connection:
    """A socket, and what came of a frame on it; a thread that is late with an old one disturbs nobody."""

    peer: socket.socket
    reader: FrameReader = field(default_factory=FrameReader)


class TcpTransport:
    """One end; make it with `listen` or `connect`.

    Args:
        address: host and port.
        listener: the listening socket; None for the side that connects.
        send_timeout_s: longest wait for the peer to take a frame.
    """

    reopens = True
    keep_alive_s: float | None = 5.0

    def __init__(
        self, address: tuple[str, int], listener: socket.socket | None, *, send_timeout_s: float = _SEND_TIMEOUT_S
    ) -> None:
        self.address = address
        """Where it listens (with the port that the system chose, if that was 0) or connects to."""
        self._listener = listener
        self._send_timeout_s = send_timeout_s
        self._connection: _Connection | None = None
        self._closed = False

    @property
    def listens(self) -> bool:
        """See `Transport.listens`."""
        return self._listener is not None

    def __repr__(self) -> str:
        way = "connect" if self._listener is None else "listen"
        return f"TcpTransport({way} {self.address[0]}:{self.address[1]})"

    @classmethod
    def listen(cls, address: tuple[str, int], *, send_timeout_s: float = _SEND_TIMEOUT_S) -> Self:
        """Listen.

        Args:
            address: host and port; port 0 lets the system choose.
            send_timeout_s: longest wait for the peer to take a frame.

        Raises:
            ConfigError: the address cannot be had.
        """
        try:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            listener = socket.create_server(address, family=family, backlog=4)
        except (OSError, UnicodeError) as error:
            raise _unusable("listen on", address, error) from error
        host, port = listener.getsockname()[:2]
        return cls((host, port), listener, send_timeout_s=send_timeout_s)

    @classmethod
    def connect(cls, address: tuple[str, int], *, send_timeout_s: float = _SEND_TIMEOUT_S) -> Self:
        """Connect, once `open` is called.

        Args:
            address: host and port of the peer.
            send_timeout_s: longest wait for the peer to take a frame.
        """
        return cls(address, None, send_timeout_s=send_timeout_s)

    def open(self, timeout_s: float) -> None:
        """See `Transport.open`."""
        self._drop()
        until = time.monotonic() + timeout_s
        peer = self._accept(until) if self._listener is not None else self._dial(until)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer.setblocking(False)
        self._connection = _Connection(peer)

    def _accept(self, until: float) -> socket.socket:
        while self._listener is not None and not self._closed:
            left = until - time.monotonic()
            if left <= 0:
                break
            self._listener.settimeout(min(left, 0.5))
            try:
                peer, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                break
            return peer
        raise ConnectionLostError(
            f"expected a peer at {self.address[0]}:{self.address[1]}, none came in time; start the other side with "
            "--connect",
            address=f"{self.address[0]}:{self.address[1]}",
        )

    def _dial(self, until: float) -> socket.socket:
        while not self._closed:
            left = until - time.monotonic()
            if left <= 0:
                break
            try:
                return socket.create_connection(self.address, timeout=min(left, 5.0))
            except socket.gaierror as error:
                raise _unusable("connect to", self.address, error) from error
            except (OSError, UnicodeError):
                time.sleep(min(_RETRY_S, max(left, 0.0)))
        raise ConnectionLostError(
            f"cannot connect to {self.address[0]}:{self.address[1]} in time; start the other side with --listen, and "
            "see to the network between",
            address=f"{self.address[0]}:{self.address[1]}",
        )

    def send(self, frame: bytes) -> None:
        """See `Transport.send`."""
        peer = self._require_connection().peer
        view = memoryview(frame)
        until = time.monotonic() + self._send_timeout_s
        try:
            while view:
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                _wait(peer, writing=True, timeout_s=left)
                with contextlib.suppress(BlockingIOError, InterruptedError):
                    view = view[peer.send(view[: 1 << 20]) :]
        except (OSError, ValueError) as error:
            raise _lost(error, self.address) from error

    def receive(self, timeout_s: float) -> Frame | None:
        """See `Transport.receive`."""
        connection = self._require_connection()
        peer, reader = connection.peer, connection.reader
        until = time.monotonic() + timeout_s
        while True:
            try:
                if not _wait(peer, writing=False, timeout_s=max(0.0, until - time.monotonic())):
                    return None
                data = peer.recv(min(reader.wanted, _PIECE))
            except (BlockingIOError, InterruptedError):
                continue
            except (OSError, ValueError) as error:
                raise _lost(error, self.address) from error
            if not data:
                raise _lost(None, self.address)
            frame = reader.feed(data)
            if frame is not None or time.monotonic() > until:
                return frame

    def _require_connection(self) -> _Connection:
        if self._connection is None:
            raise ConnectionLostError("expected an open connection, got none; open it again")
        return self._connection

    @staticmethod
    def _linger(peer: socket.socket) -> None:
        """Closing over data that was not read would take back what was sent."""
        until = time.monotonic() + _LINGER_S
        with contextlib.suppress(OSError, ValueError):
            peer.shutdown(socket.SHUT_WR)
            while _wait(peer, writing=False, timeout_s=until - time.monotonic()):
                if time.monotonic() > until or not peer.recv(_PIECE):
                    return

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.peer.shutdown(socket.SHUT_RDWR)
            connection.peer.close()

    def close(self) -> None:
        """See `Transport.close`."""
        self._closed = True
        if self._connection is not None:
            self._linger(self._connection.peer)
        self._drop()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _wait(peer: socket.socket, *, writing: bool, timeout_s: float) -> bool:
    poller = select.poll()
    poller.register(peer, select.POLLOUT if writing else select.POLLIN)
    return bool(poller.poll(max(0, int(timeout_s * 1000) + 1)))


def _lost(error: Exception | None, address: tuple[str, int]) -> ConnectionLostError:
    if isinstance(error, TimeoutError):
        reason = "the peer takes nothing"
    elif isinstance(error, OSError) and error.errno is not None:
        reason = os.strerror(error.errno)
    else:
        reason = "the peer closed it" if error is None else "it was closed"
    return ConnectionLostError(
        f"the connection with {address[0]}:{address[1]} was lost: {reason}; see to the other side",
        address=f"{address[0]}:{address[1]}",
    )


def _unusable(action: str, address: tuple[str, int], error: Exception) -> ConfigError:
    return ConfigError(
        f"cannot {action} {address[0]}:{address[1]}: {error}; name an address of this machine that is free"
        if action == "listen on"
        else f"cannot {action} {address[0]}:{address[1]}: {error}; check the name",
        address=f"{address[0]}:{address[1]}",
    )

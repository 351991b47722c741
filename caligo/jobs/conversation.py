"""One side of a session at work: a transport, an endpoint, threads that decode.

Covers: threads, time limits, connecting again after a loss, giving up in order. Does not cover: what is said
(:mod:`caligo.reconciliation`), what becomes of keys and records (:mod:`.party_job`).

The calling thread alone touches the endpoint. One thread receives, one sends, a pool decodes; they hand over through
queues, so nobody waits for the network while there is something to decode. What has come by the time that this thread
looks is answered together, in few frames. What waits to be sent is bounded by the window; what was received and not yet
looked at by `_WAITING_FRAMES`.
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from concurrent.futures import Executor
from dataclasses import dataclass

from caligo.errors import (
    AuthenticationError,
    CaligoError,
    ConfigError,
    ConnectionLostError,
    ConnectionSpoiledError,
    KeyFileError,
    ProtocolError,
    ResourceError,
)
from caligo.reconciliation.endpoint import Endpoint
from caligo.reconciliation.messages import AbortReason, Role
from caligo.reconciliation.session import BobSession, Work
from caligo.reconciliation.strategies.dialogue import Step
from caligo.reconciliation.wire import Frame
from caligo.transports import Transport

__all__ = ["Conversation", "abort_reason", "ends_for_good"]

_WAITING_FRAMES = 16
_TICK_S = 0.2
_FLUSH_S = 5.0
_PAUSE_S = 0.05
_TOGETHER_S = 0.001
_GREETING_S = 5.0
_FAREWELL_S = 3.0


@dataclass(frozen=True, slots=True)
class _Came:
    """Something for the calling thread; `connection` tells an old connection's echo from the present one's."""

    connection: int
    what: Frame | CaligoError


@dataclass(frozen=True, slots=True)
class _Decoded:
    work: Work
    result: list[Step] | BaseException


class _Wires:
    """The two threads of one connection."""

    def __init__(self, transport: Transport, number: int, inbox: queue.Queue[_Came | _Decoded]) -> None:
        self._transport = transport
        self._number = number
        self._inbox = inbox
        self._outbox: queue.Queue[bytes | None] = queue.Queue()
        self._stopping = threading.Event()
        self._room = threading.Semaphore(_WAITING_FRAMES)
        self._threads = [
            threading.Thread(target=self._receive, name="caligo-receive", daemon=True),
            threading.Thread(target=self._send, name="caligo-send", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def send(self, frame: bytes) -> None:
        self._outbox.put(frame)

    def looked_at(self) -> None:
        """A received frame was taken out of the inbox."""
        self._room.release()

    def stop(self, *, flush: bool) -> None:
        """End both threads; with `flush`, after what waits has been sent, if that takes no longer than a moment."""
        self._outbox.put(None)
        if flush:
            self._threads[1].join(_FLUSH_S)
        self._stopping.set()
        for thread in self._threads:
            thread.join(_FLUSH_S)

    def _receive(self) -> None:
        try:
            while not self._stopping.is_set():
                if not self._room.acquire(timeout=_TICK_S):
                    continue
                frame = None
                while frame is None and not self._stopping.is_set():
                    frame = self._transport.receive(_TICK_S)
                if frame is not None:
                    self._inbox.put(_Came(self._number, frame))
        except CaligoError as error:
            self._inbox.put(_Came(self._number, error))

    def _send(self) -> None:
        try:
            while not self._stopping.is_set():
                frame = self._outbox.get()
                if frame is None:
                    return
                self._transport.send(frame)
        except CaligoError as error:
            self._inbox.put(_Came(self._number, error))


class Conversation:
    """Runs one side to its end.

    Args:
        endpoint: this side.
        transport: the way to the peer.
        pool: threads that decode; unused for Alice.
        workers: how many decode at a time.
        timeout_s: longest silence of the peer, > 0.
        reconnections: how often a lost connection is opened again.
        resumable: another process can go on after this one; then the peer is told to give up only where it must.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        transport: Transport,
        pool: Executor,
        *,
        workers: int,
        timeout_s: float,
        reconnections: int,
        resumable: bool = False,
    ) -> None:
        self._endpoint = endpoint
        self._session = endpoint.session
        self._transport = transport
        self._pool = pool
        self._workers = workers
        self._timeout_s = timeout_s
        self._reconnections = reconnections
        self._resumable = resumable
        self._inbox: queue.Queue[_Came | _Decoded] = queue.Queue()
        self._wires: _Wires | None = None
        self._connections = 0
        self._at_work = 0
        self._heard = self._said = self._alone_since = 0.0
        self._strange: CaligoError | None = None
        self._was_live = False
        self._spoiled = 0

    @property
    def spoiled(self) -> int:
        """Connections with the peer that were given up because of bytes that it did not send."""
        return self._spoiled

    def run(self) -> None:
        """Talk until both sides are done.

        Raises:
            AuthenticationError: the peer has another secret, or none.
            ProtocolError: the peer breaks a rule, gives up, or a leakage cap is reached.
            ConnectionLostError: it cannot be reached, or says nothing for too long.
            ConnectionSpoiledError: one connection after the other carries what the peer did not say.
            CaligoError: this side cannot go on.
        """
        self._alone_since = time.monotonic()
        try:
            if not self._session.is_closed:
                self._connect()
            while not self._session.is_closed:
                self._turn()
            if self._session.role is Role.BOB and self._transport.reopens:
                self._see_off()
            self._stop(flush=True)
        except BaseException as error:
            self._leave(error)
            raise
        finally:
            self._stop(flush=False)

    # --- connections --------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._transport.open(max(0.01, self._alone_since + self._timeout_s - time.monotonic()))
        self._connections += 1
        self._wires = _Wires(self._transport, self._connections, self._inbox)
        self._heard = time.monotonic()
        self._endpoint.connect(secrets.token_bytes(32))
        self._send()

    def _lost(self, error: CaligoError) -> None:
        """Open another connection, or let go."""
        now = time.monotonic()
        if self._session.is_live:
            self._reconnections -= 1
            self._alone_since = now
            self._strange = None
        else:
            # Who leaves before proving to be the peer was none, and the wait goes on.
            self._strange = error
            time.sleep(_PAUSE_S)
        if not self._transport.reopens or self._reconnections < 0 or now > self._alone_since + self._timeout_s:
            raise error
        self._stop(flush=False)
        try:
            self._connect()
        except ConnectionLostError as nobody:
            raise self._strange or nobody from nobody

    def _see_off(self) -> None:
        """Bob has all he needs; Alice has not if his last word was lost. For a moment he is there to say it again."""
        until = time.monotonic() + min(_FAREWELL_S, self._timeout_s)
        self._alone_since = until - self._timeout_s
        try:
            if self._wires is None:
                self._connect()
            while True:
                item = self._inbox.get(timeout=max(0.0, until - time.monotonic()))
                if isinstance(item, _Decoded) or item.connection != self._connections:
                    continue
                if isinstance(item.what, CaligoError):
                    self._stop(flush=False)
                    self._connect()
                    continue
                heard_before = self._session.is_live
                self._endpoint.receive(item.what)
                self._send()
                if heard_before:
                    return
        except (CaligoError, queue.Empty):
            return

    def _stop(self, *, flush: bool) -> None:
        wires, self._wires = self._wires, None
        if wires is not None:
            wires.stop(flush=flush)

    def _send(self) -> None:
        frames = self._endpoint.take_frames()
        if frames and self._wires is not None:
            self._said = time.monotonic()
            for frame in frames:
                self._wires.send(frame)

    def _leave(self, error: BaseException) -> None:
        """Whatever ends this side, the peer need not wait for it, unless another process will go on."""
        if self._session.is_closed and not isinstance(error, CaligoError):
            self._stop(flush=True)
        elif isinstance(error, ConnectionLostError) and (
            self._resumable or not isinstance(error, ConnectionSpoiledError)
        ):
            self._stop(flush=False)
            self._session.abort(error, AbortReason.OTHER)
        elif self._resumable and not ends_for_good(error):
            self._stop(flush=True)
        elif isinstance(error, CaligoError):
            self._give_up(error, abort_reason(error))
        else:
            stopped = ProtocolError(f"interrupted by {type(error).__name__}", field="interrupt")
            self._give_up(stopped, AbortReason.INTERRUPTED)

    def _give_up(self, error: CaligoError, reason: AbortReason) -> None:
        self._endpoint.abort(error, reason)
        self._send()
        self._stop(flush=True)

    # --- turns --------------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Look at what has come, then send what there is to say about all of it together."""
        try:
            item = self._inbox.get(timeout=_TICK_S)
            until = time.monotonic() + _TOGETHER_S
            self._look_at(item)
            while not self._is_over and time.monotonic() < until:
                self._look_at(self._inbox.get_nowait())
        except queue.Empty:
            pass
        self._send()
        if self._session.failure is not None:
            self._stop(flush=True)
            raise self._session.failure
        self._set_to_work()
        self._while_silent()

    @property
    def _is_over(self) -> bool:
        return self._session.failure is not None or self._session.is_closed

    def _look_at(self, item: _Came | _Decoded) -> None:
        if isinstance(item, _Decoded):
            self._at_work -= 1
            if isinstance(item.result, BaseException):
                raise item.result
            self._endpoint.finish(item.work, item.result)
            self._set_to_work()
        elif item.connection != self._connections:
            return
        elif isinstance(item.what, CaligoError):
            self._fail(item.what, said=False)
        else:
            self._heard = time.monotonic()
            if self._wires is not None:
                self._wires.looked_at()
            try:
                self._endpoint.receive(item.what)
                self._was_live = self._was_live or self._session.is_live
            except ProtocolError as error:
                self._fail(error, said=True)

    def _fail(self, error: CaligoError, *, said: bool) -> None:
        """Go on with another connection where that may help, else raise.

        Whatever the peer need not have said costs a connection, never the session. Before anything has been agreed,
        a peer with another secret ends it at once, since nobody should wait for a wrong file to become the right one.
        """
        if self._session.failure is not None or not isinstance(error, ProtocolError):
            raise error
        if not said and not isinstance(error, ConnectionLostError):
            # These bytes are no frame. Whoever came to a listener may be a stranger; who was gone to is no caligo.
            if not self._was_live and (not self._transport.listens or error.fields.get("field") == "version"):
                raise error
            error = ConnectionSpoiledError(error.message, **error.fields)
        strange = isinstance(error, AuthenticationError | ConnectionSpoiledError)
        if not isinstance(error, ConnectionLostError) and not (strange and self._was_live):
            raise error
        self._spoiled += strange and self._session.is_live
        self._lost(error)

    def _set_to_work(self) -> None:
        session = self._session
        if not isinstance(session, BobSession):
            return
        while self._at_work < self._workers + 1:
            # No thread should wait while another has many blocks.
            work = session.next_work(max(1, session.ready // self._workers))
            if work is None:
                return
            self._at_work += 1
            self._pool.submit(self._decode, work)

    def _decode(self, work: Work) -> None:
        result: list[Step] | BaseException
        try:
            result = work.run()
        except BaseException as error:
            result = error
        self._inbox.put(_Decoded(work, result))

    def _while_silent(self) -> None:
        now = time.monotonic()
        stranger = self._transport.listens and not self._session.is_live
        if now - self._heard > (min(_GREETING_S, self._timeout_s) if stranger else self._timeout_s):
            self._lost(
                ConnectionLostError(
                    f"expected a message within {self._timeout_s:g} s, got none; see to the other side, or allow more "
                    "time (--timeout)",
                    timeout_s=self._timeout_s,
                )
            )
        keep_alive_s = self._transport.keep_alive_s
        if keep_alive_s is not None and now - self._said > min(keep_alive_s, self._timeout_s / 4):
            self._endpoint.keep_alive()
            self._send()
            self._said = now


def ends_for_good(error: BaseException) -> bool:
    """Whether a session that ended so cannot be gone on with."""
    return isinstance(error, ProtocolError | KeyFileError | ConfigError) and not isinstance(error, ConnectionLostError)


def abort_reason(error: CaligoError) -> AbortReason:
    """What the peer is told of an error."""
    if isinstance(error, ProtocolError):
        return AbortReason.PROTOCOL
    if isinstance(error, ResourceError):
        return AbortReason.RESOURCE
    return AbortReason.KEYS if isinstance(error, KeyFileError) else AbortReason.OTHER

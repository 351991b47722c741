"""A network between two sides: delays, cuts, and bytes that nobody sent."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress


class Proxy:
    """Carries TCP between two sides with a delay each way.

    The connections that come are cut after so many bytes (`cuts`), or one piece of each is changed after so many bytes
    (`changes`), in this order.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        delay_s: float = 0.0,
        cuts: Sequence[int] = (),
        changes: Sequence[tuple[int, Callable[[bytes], bytes]]] = (),
    ) -> None:
        self._target = target
        self._delay_s = delay_s
        self._cuts = list(cuts)
        self._changes = list(changes)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()[:2]
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        self._listener.settimeout(0.05)
        while not self._stopping.is_set():
            with suppress(OSError):
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(self._target)
                except OSError:
                    near.close()
                    continue
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._carry(near, far, self._cuts.pop(0) if self._cuts else None)

    def _carry(self, near: socket.socket, far: socket.socket, most: int | None) -> None:
        """Until one side ends or enough was carried; what is on its way is delivered `delay_s` after it came."""
        waiting: list[tuple[float, socket.socket, bytes]] = []
        carried, ends = 0, {near: far, far: near}
        change = self._changes.pop(0) if self._changes else None
        while not self._stopping.is_set() and (most is None or carried < most) and ends:
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                _, end, data = waiting.pop(0)
                with suppress(OSError):
                    end.sendall(data)
                    if not data:
                        end.shutdown(socket.SHUT_WR)
            timeout = max(0.0, waiting[0][0] - now) if waiting else 0.05
            for end in select.select(list(ends), [], [], timeout)[0]:
                try:
                    data = end.recv(1 << 16)
                except OSError:
                    data = b""
                if change is not None and data and carried + len(data) > change[0]:
                    data, change = change[1](data), None
                carried += len(data)
                waiting.append((time.monotonic() + self._delay_s, near if end is far else far, data))
                if not data:
                    del ends[end]
        time.sleep(self._delay_s)
        for _, end, data in waiting if most is None else []:
            with suppress(OSError):
                end.sendall(data)
        near.close()
        far.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._listener.close()
        for thread in self._threads:
            thread.join()

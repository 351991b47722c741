"""Being asked to stop: signals that end a job where it can be resumed.

Covers: SIGTERM and SIGUSR1 (what schedulers send before a time limit or a preemption), Ctrl-C, and a deadline. Does not
cover: what stopping is (:mod:`.coordination`).

A first signal asks; a second Ctrl-C, or a second SIGTERM, ends the process as if nobody had listened. Nothing is lost
then but what was in flight.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopFlag", "stop_requests"]


class StopFlag:
    """Raised by a signal, looked at by the work.

    Args:
        deadline: when to stop of oneself, on the clock that `asked` is given; None: never.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.reason: str | None = None

    def asked(self, now: float) -> str | None:
        """Why to stop; None: go on.

        Args:
            now: seconds of the deadline's clock.
        """
        if self.reason is None and self.deadline is not None and now >= self.deadline:
            self.reason = "the time limit is near"
        return self.reason


@contextmanager
def stop_requests(flag: StopFlag) -> Iterator[None]:
    """Let SIGTERM, SIGUSR1 and SIGINT raise a flag while the block runs; in other threads than the main one, nothing.

    Args:
        flag: raised with the name of the first signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if flag.reason is not None and number != signal.SIGUSR1:
            raise KeyboardInterrupt(f"interrupted by a second {name}")
        flag.reason = flag.reason or name

    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    previous = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

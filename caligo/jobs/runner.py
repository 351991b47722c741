"""Work on a pool of threads, results in order, memory bounded.

Covers: generators that keep a bounded number of items in flight, what happens on an error or Ctrl-C, and stretches that
Ctrl-C must not cut. Does not cover: what the work is, nor who shares it out among ranks (:mod:`.coordination`).

Decoding releases the GIL, so threads are enough. Results come in the order of the items whatever the number of threads,
so whoever consumes them behaves the same for any.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar, cast

__all__ = ["in_order", "in_order_or_idle", "interrupts_deferred", "worker_pool"]

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def worker_pool(threads: int) -> Iterator[Executor]:
    """A pool of threads; leaving the block cancels what has not begun and waits for what has.

    Args:
        threads: how many, >= 1.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="caligo-worker")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_order(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], in_flight: int
) -> Generator[Result, None, None]:
    """Apply `work` to items on a pool and yield the results in the order of the items.

    At most `in_flight` items are begun and not yet yielded: taking no results stops the reading of items. If work on
    one raises, that is raised here in its turn, and what has not begun is cancelled; the same when the consumer stops
    early.

    Args:
        pool: where to work.
        work: called in the pool's threads; must not wait for other work of the same pool.
        items: taken one by one in the consumer's thread.
        in_flight: >= 1.

    Yields:
        Results.
    """
    for result in in_order_or_idle(pool, work, items, lambda: in_flight):
        yield cast(Result, result)


def in_order_or_idle(
    pool: Executor,
    work: Callable[[Item], Result],
    items: Iterable[Item | None],
    in_flight: Callable[[], int],
    wait: Callable[[Future[Result]], Result] = Future.result,
) -> Generator[Result | None, None, None]:
    """As `in_order`, for items that may be late: None among them says that there is none at present.

    Args:
        pool: where to work.
        work: called in the pool's threads; must not wait for other work of the same pool.
        items: taken one by one in the consumer's thread.
        in_flight: most items begun and not yet yielded, >= 1; asked before each.
        wait: for a result, in the consumer's thread; may do other things meanwhile.

    Yields:
        Results, and None where there was no item and nothing was in flight.
    """
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            if item is None:
                yield wait(pending.popleft()) if pending else None
                continue
            pending.append(pool.submit(work, item))
            while pending and len(pending) >= in_flight():
                yield wait(pending.popleft())
        while pending:
            yield wait(pending.popleft())
    finally:
        for future in pending:
            future.cancel()


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back while the block runs, and deliver the first of them at its end.

    For short stretches that leave something half done when cut. Signals reach Python in the main thread alone, so
    elsewhere there is nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    replaced = [number for number, handler in previous.items() if callable(handler)]
    for number in replaced:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, previous[number])
        if caught:
            signal.raise_signal(caught[0])

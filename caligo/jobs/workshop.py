"""The strategies of one segment, lent to worker threads.

Covers: making as many as there are workers, lending each to one thread at a time, changing the code of one, releasing
them. Does not cover: what a strategy does (:mod:`caligo.reconciliation.strategies`), which code a window gets
(:mod:`.drift`), the threads (:mod:`.runner`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from caligo.codes.polar_code import PolarCode
from caligo.jobs.options import ReconcileOptions
from caligo.reconciliation.strategies import Strategy, StrategyType

__all__ = ["Workshop"]


class Workshop:
    """The strategies of one segment, at most one for each worker that may work on it at a time.

    Args:
        kind: the strategy.
        code: of the first blocks; all strategies are made for it, so that memory that is short says so at once.
        options: of the decoders.
        workers: threads that may borrow at the same time, >= 1.
    """

    def __init__(self, kind: StrategyType, code: PolarCode, options: ReconcileOptions, workers: int) -> None:
        self._kind = kind
        self._options = options
        self._workers = workers
        self._lock = threading.Lock()
        self._places = threading.Semaphore(workers)
        self._idle: list[Strategy] = []
        self._alive = 0
        for _ in range(workers):
            self._idle.append(self._make(code))
            self._alive += 1
        self.engine = self._idle[0].engine
        self.decoder_bytes = self._idle[0].decoder_bytes

    @contextmanager
    def borrowed(self, code: PolarCode) -> Iterator[Strategy]:
        """A strategy on a code for the calling thread alone; one that is idle on another code makes place for it."""
        with self._places:
            strategy = self._take(code)
            try:
                yield strategy
            finally:
                with self._lock:
                    self._idle.append(strategy)

    def release_idle(self, keep: int) -> None:
        """Close idle strategies, and have their memory back; they are made again when they are wanted.

        Args:
            keep: most that stay, >= 0.
        """
        with self._lock:
            while len(self._idle) > keep:
                self._idle.pop(0).close()
                self._alive -= 1

    def close(self) -> None:
        """Release every workspace; waits for those at work."""
        for _ in range(self._workers):
            self._places.acquire()
        with self._lock:
            for strategy in self._idle:
                strategy.close()
            self._idle.clear()

    def _take(self, code: PolarCode) -> Strategy:
        with self._lock:
            for place, strategy in enumerate(self._idle):
                if strategy.code is code:
                    return self._idle.pop(place)
            if self._alive == self._workers:
                self._idle.pop(0).close()
            else:
                self._alive += 1
        try:
            strategy = self._make(code)
        except BaseException:
            with self._lock:
                self._alive -= 1
            raise
        with self._lock:
            self.decoder_bytes = max(self.decoder_bytes, strategy.decoder_bytes)
        return strategy

    def _make(self, code: PolarCode) -> Strategy:
        options = self._options
        return self._kind(
            code, options.list_size, precision=options.precision, engine=options.engine, escalation=options.escalation
        )

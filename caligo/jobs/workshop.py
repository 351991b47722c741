"""The strategies of one segment, lent to worker threads.

Covers: making as many as there are workers, lending each to one thread at a time, releasing them. Does not cover: what
a strategy does (:mod:`caligo.reconciliation.strategies`), the threads (:mod:`.runner`).
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager

from caligo.codes.polar_code import PolarCode
from caligo.jobs.options import ReconcileOptions
from caligo.jobs.plan import Segment
from caligo.reconciliation.strategies import Strategy, StrategyType

__all__ = ["Workshop"]


class Workshop:
    """The strategies of one segment, one for each worker that may work on it at a time."""

    def __init__(
        self, kind: StrategyType, code: PolarCode, segment: Segment, options: ReconcileOptions, workers: int
    ) -> None:
        self.segment = segment
        self.workers = workers
        made = [
            kind(
                code,
                options.list_size,
                precision=options.precision,
                engine=options.engine,
                escalation=options.escalation,
            )
            for _ in range(workers)
        ]
        self.engine = made[0].engine
        self.decoder_bytes = made[0].decoder_bytes
        self._idle: queue.SimpleQueue[Strategy] = queue.SimpleQueue()
        for strategy in made:
            self._idle.put(strategy)

    @contextmanager
    def borrowed(self) -> Iterator[Strategy]:
        """A strategy for the calling thread alone."""
        strategy = self._idle.get()
        try:
            yield strategy
        finally:
            self._idle.put(strategy)

    def close(self) -> None:
        """Release every workspace."""
        for _ in range(self.workers):
            self._idle.get().close()

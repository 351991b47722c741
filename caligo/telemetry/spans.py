"""Spans and counters, kept in memory.

Covers: how long named pieces of work took in which thread, and named sums. Does not cover: export, sampling, remote
collection. Spans are bounded in number: past the bound they are counted, not kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from caligo.errors import ConfigError


@dataclass(frozen=True)
class Span:
    """One piece of work: ``start_ns`` on the monotonic clock, ``duration_ns``, and the thread that did it."""

    name: str
    thread: int
    start_ns: int
    duration_ns: int


class Telemetry:
    """Collects spans and counters of one piece of work; safe to share between threads.

    Args:
        span_limit: spans kept at most.

    Raises:
        ConfigError: a negative limit.
    """

    def __init__(self, span_limit: int = 100_000) -> None:
        if span_limit < 0:
            raise ConfigError(f"expected a span limit of 0 or more, got {span_limit}", span_limit=span_limit)
        self._limit = span_limit
        self._lock = threading.Lock()
        self._spans: list[Span] = []
        self._dropped = 0
        self._counters: dict[str, int] = {}

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Time the body."""
        start = time.monotonic_ns()
        try:
            yield
        finally:
            span = Span(name, threading.get_ident(), start, time.monotonic_ns() - start)
            with self._lock:
                if len(self._spans) < self._limit:
                    self._spans.append(span)
                else:
                    self._dropped += 1

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._counters[name] = self._counters.get(name, 0) + amount

    @property
    def spans(self) -> tuple[Span, ...]:
        """Spans kept, in the order they ended."""
        with self._lock:
            return tuple(self._spans)

    @property
    def dropped_spans(self) -> int:
        """Spans past the limit."""
        with self._lock:
            return self._dropped

    @property
    def counters(self) -> dict[str, int]:
        """Counters by name."""
        with self._lock:
            return dict(self._counters)

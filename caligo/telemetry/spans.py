"""Spans, totals by name, and counters, kept in memory and cheap enough for every block.

Covers: how long named pieces of work took in which thread, their sums, named counters, and snapshots of sums that add
up over ranks. Does not cover: export (:mod:`caligo.telemetry.trace`), sampling, remote collection.

Each thread writes to a lane of its own, so that no work waits for a lock; a thread that begins takes over the lane of
one that has ended. Spans are bounded in number: past the bound they are dropped and counted, while the totals go on.
A span of a thread lies inside another of it, or apart from it: ``with`` sees to that as long as no generator or
coroutine keeps one open while others go on. The cost of a span: ``benchmarks/test_telemetry_speed.py``.
"""

from __future__ import annotations

import struct
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from caligo.errors import ConfigError, ProtocolError

_KEPT = struct.Struct("<Iqq")
"""What a lane keeps of a span: number of its name, start, duration."""
_pack = _KEPT.pack
_now = time.monotonic_ns


class Span(NamedTuple):
    """One piece of work: ``start_ns`` on the monotonic clock, ``duration_ns``, and the lane of the thread that did it.

    Lanes are small numbers, 0 for the first thread that had anything to say.
    """

    name: str
    lane: int
    start_ns: int
    duration_ns: int


class Phase(NamedTuple):
    """All spans of one name: how many, how long together, how long the longest took."""

    spans: int
    total_ns: int
    longest_ns: int

    def merged(self, other: Phase) -> Phase:
        """These spans and those."""
        return Phase(self.spans + other.spans, self.total_ns + other.total_ns, max(self.longest_ns, other.longest_ns))


_NO_SPANS = Phase(0, 0, 0)


@dataclass(frozen=True)
class Snapshot:
    """Sums of a piece of work: phases by name, counters by name. ``a + b`` is that of both; ``Snapshot()`` of neither.

    Sums are exact integers, so that any order of adding gives the same.
    """

    phases: Mapping[str, Phase] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Snapshot) -> Snapshot:
        phases = dict(self.phases)
        for name, phase in other.phases.items():
            phases[name] = phases.get(name, _NO_SPANS).merged(phase)
        counters = dict(self.counters)
        for name, amount in other.counters.items():
            counters[name] = counters.get(name, 0) + amount
        return Snapshot(phases, counters)

    def to_json(self) -> dict[str, Any]:
        """``phases`` (name -> [spans, total_ns, longest_ns]) and ``counters`` (name -> number)."""
        return {
            "phases": {name: list(phase) for name, phase in sorted(self.phases.items())},
            "counters": dict(sorted(self.counters.items())),
        }

    @classmethod
    def from_json(cls, document: object) -> Self:
        """What :meth:`to_json` gave.

        Raises:
            ProtocolError: the document is something else.
        """
        try:
            phases = {name: Phase(*numbers) for name, numbers in document["phases"].items()}  # type: ignore[index]
            counters = dict(document["counters"])  # type: ignore[index]
            numbers = [*counters.values(), *(number for phase in phases.values() for number in phase)]
            lawful = all(type(number) is int for number in numbers) and all(
                isinstance(name, str) for name in (*phases, *counters)
            )
        except (TypeError, KeyError, AttributeError, ValueError):
            lawful = False
        if not lawful:
            raise ProtocolError(
                "expected a snapshot with phases and counters of integers, got something else; "
                "let all ranks run the same version of caligo"
            )
        return cls(phases, counters)


class _Lane:
    """What one thread writes: nobody else does, and each write is one step for those who read."""

    __slots__ = ("counters", "dropped", "kept", "number", "owner", "thread_name", "timers")

    def __init__(self, number: int) -> None:
        self.number = number
        self.timers: dict[str, _Timer] = {}
        self.counters: dict[str, int] = {}
        self.kept = bytearray()
        self.dropped = 0
        self.thread_name = ""
        self.owner: weakref.ref[threading.Thread] | None = None

    def take(self, thread: threading.Thread) -> None:
        self.owner = weakref.ref(thread)
        self.thread_name = thread.name

    def is_free(self) -> bool:
        thread = self.owner() if self.owner is not None else None
        return thread is None or not thread.is_alive()


class _Timer:
    """Times the bodies of ``with`` in one lane under one name; they may lie inside each other."""

    __slots__ = ("_keep", "_lane", "_number", "_starts", "_tickets", "sums")

    def __init__(self, lane: _Lane, number: int, tickets: Iterator[int]) -> None:
        self._lane = lane
        self._number = number
        self._tickets = tickets
        self._keep = lane.kept.extend
        self._starts: list[int] = []
        self.sums = (0, 0, 0)

    def __enter__(self) -> None:
        self._starts.append(_now())

    def __exit__(self, *_: object) -> None:
        end = _now()
        start = self._starts.pop()
        self.add(start, end - start)

    def add(self, start_ns: int, duration_ns: int) -> None:
        spans, total, longest = self.sums
        self.sums = (spans + 1, total + duration_ns, longest if longest > duration_ns else duration_ns)
        for _ in self._tickets:
            self._keep(_pack(self._number, start_ns, duration_ns))
            return
        self._lane.dropped += 1


class Telemetry:
    """Collects spans and counters of one piece of work; safe to share between threads.

    Args:
        span_limit: spans kept at most, 20 bytes each.

    Attributes:
        epoch_ns: what has to be added to the monotonic clock for time since 1970, as it was when this was made.

    Raises:
        ConfigError: a negative limit.
    """

    def __init__(self, span_limit: int = 100_000) -> None:
        if span_limit < 0:
            raise ConfigError(f"expected a span limit of 0 or more, got {span_limit}", span_limit=span_limit)
        self.epoch_ns = time.time_ns() - time.monotonic_ns()
        # One ticket for each span that may be kept: taking one needs no lock.
        self._tickets = iter(range(span_limit))
        # A signal handler may begin a lane while its own thread does.
        self._lock = threading.RLock()
        self._lanes: list[_Lane] = []
        self._own = threading.local()

    def span(self, name: str) -> AbstractContextManager[None]:
        """Time the body of a ``with`` in this thread, also where it raises."""
        return self._timer(name)

    def record(self, name: str, start_ns: int, duration_ns: int) -> None:
        """Add a span of this thread that has been timed by other means.

        Args:
            name: what was done.
            start_ns: when, on the monotonic clock.
            duration_ns: for how long. The span is to lie inside or apart from every other of this thread.
        """
        self._timer(name).add(start_ns, duration_ns)

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        try:
            counters: dict[str, int] = self._own.lane.counters
        except AttributeError:
            counters = self._begin_lane().counters
        counters[name] = counters.get(name, 0) + amount

    def _timer(self, name: str) -> _Timer:
        try:
            timer: _Timer = self._own.lane.timers[name]
        except AttributeError:
            self._begin_lane()
            return self._timer(name)
        except KeyError:
            lane: _Lane = self._own.lane
            timer = _Timer(lane, len(lane.timers), self._tickets)
            lane.timers[name] = timer
        return timer

    def _begin_lane(self) -> _Lane:
        thread = threading.current_thread()
        with self._lock:
            lane = next((lane for lane in self._lanes if lane.is_free()), None)
            if lane is None:
                lane = _Lane(len(self._lanes))
                self._lanes.append(lane)
            lane.take(thread)
        self._own.lane = lane
        return lane

    def iterate_spans(self) -> Iterator[Span]:
        """Spans kept, lane by lane, in the order they ended; those still running are not among them."""
        for lane in list(self._lanes):
            kept = bytes(lane.kept)
            names = list(lane.timers)
            for number, start_ns, duration_ns in _KEPT.iter_unpack(kept):
                yield Span(names[number], lane.number, start_ns, duration_ns)

    @property
    def spans(self) -> tuple[Span, ...]:
        """Spans kept, see :meth:`iterate_spans`."""
        return tuple(self.iterate_spans())

    @property
    def threads(self) -> dict[int, str]:
        """Name of the thread that has each lane, or had it last."""
        return {lane.number: lane.thread_name for lane in list(self._lanes)}

    @property
    def dropped_spans(self) -> int:
        """Spans past the limit; they are in the totals."""
        return sum(lane.dropped for lane in list(self._lanes))

    def phases(self) -> dict[str, Phase]:
        """Totals by name, of all spans, kept or dropped."""
        return dict(self.snapshot().phases)

    @property
    def counters(self) -> dict[str, int]:
        """Counters by name."""
        return dict(self.snapshot().counters)

    def snapshot(self) -> Snapshot:
        """All sums so far. May be asked for from any thread; what others do meanwhile may or may not be in it."""
        total = Snapshot()
        for lane in list(self._lanes):
            phases = {name: Phase(*timer.sums) for name, timer in lane.timers.copy().items()}
            total += Snapshot(phases, lane.counters.copy())
        return total

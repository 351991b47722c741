"""Watching memory while work goes on: less in flight before the system kills the process.

A guard compares what the process has with what it may have; a policy turns that into how many items may be in flight.
Resident memory counts against the budget. Where the system limits address space or data (`ulimit -v`, `-d`), mapped
memory and data count against these limits too: an allocation fails there though little is resident. Threads' stacks
and the arenas of the allocator are address space long before they are used.

Covers: Linux (`/proc/self/statm`). Does not cover: what a budget is made of (`caligo.memory.limits`), other processes
of the same budget, and a child that was forked with a guard (it would watch its parent).
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from enum import IntEnum
from types import TracebackType
from typing import NamedTuple, Self

from caligo.errors import ConfigError, ResourceError

_BAND = 0.05
"""A pressure ends this share of the budget below where it begins, so that it does not flicker."""


class Pressure(IntEnum):
    """How near the limit the process is; the greater, the nearer."""

    NONE = 0
    SHRINK = 1
    STOP = 2


class MemoryUse(NamedTuple):
    """What a process has now, in bytes: resident memory, address space, and data (heap, private mappings, stack)."""

    resident_bytes: int
    address_space_bytes: int
    data_bytes: int


class StatmReader:
    """Reads :class:`MemoryUse` of this process, without opening a file each time.

    Raises:
        ResourceError: there is no `/proc`.
    """

    def __init__(self) -> None:
        self._page = os.sysconf("SC_PAGE_SIZE")
        try:
            self._file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ResourceError(
                "expected the memory of this process in /proc/self/statm, got none; mount /proc"
            ) from error

    def __call__(self) -> MemoryUse:
        """As it is now."""
        words = os.pread(self._file, 256, 0).split()
        page = self._page
        return MemoryUse(int(words[1]) * page, int(words[0]) * page, int(words[5]) * page)

    def close(self) -> None:
        """Let go of the file. May be called again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class MemoryGuard:
    """Says how near its limits this process is. For one thread; closes with `close` or as a context manager.

    Args:
        budget_bytes: what may be resident, such as `memory_limit().limit_bytes`, >= 1.
        address_space_bytes: limit on address space; None asks the system, 0 is none.
        data_bytes: limit on data; None asks the system, 0 is none.
        read: gives what the process has; None reads it from the system.
        soft: share of a limit from which less is to be in flight.
        hard: share of a limit from which work is to stop, > soft.
        every: look at each `every`-th check only, and answer as before otherwise, >= 1.

    Raises:
        ConfigError: an argument out of range.
        ResourceError: `read` is None and there is no `/proc`.
    """

    def __init__(
        self,
        budget_bytes: int,
        *,
        address_space_bytes: int | None = None,
        data_bytes: int | None = None,
        read: Callable[[], MemoryUse] | None = None,
        soft: float = 0.85,
        hard: float = 0.95,
        every: int = 1,
    ) -> None:
        if budget_bytes < 1 or every < 1 or not _BAND < soft < hard <= 1:
            raise ConfigError(
                f"expected budget_bytes and every >= 1 and {_BAND} < soft < hard <= 1, got {budget_bytes}, {every}, "
                f"{soft} and {hard}",
                budget_bytes=budget_bytes,
                every=every,
                soft=soft,
                hard=hard,
            )
        self.budget_bytes = budget_bytes
        self._limits = MemoryUse(
            budget_bytes,
            _system_limit(resource.RLIMIT_AS) if address_space_bytes is None else address_space_bytes,
            _system_limit(resource.RLIMIT_DATA) if data_bytes is None else data_bytes,
        )
        self._soft = soft
        self._hard = hard
        self._every = every
        self._read = StatmReader() if read is None else read
        self._skip = 0
        self._pressure = Pressure.NONE
        self._use = MemoryUse(0, 0, 0)
        self._peak = MemoryUse(0, 0, 0)

    def check(self) -> Pressure:
        """Look, and say how near the limit is nearest."""
        if self._skip > 0:
            self._skip -= 1
            return self._pressure
        self._skip = self._every - 1
        use = self._use = self._read()
        self._peak = MemoryUse(*map(max, self._peak, use))
        share = max(map(_share, use, self._limits))
        before = self._pressure
        if share >= self._hard or (before is Pressure.STOP and share >= self._hard - _BAND):
            self._pressure = Pressure.STOP
        elif share >= self._soft or (before is not Pressure.NONE and share >= self._soft - _BAND):
            self._pressure = Pressure.SHRINK
        else:
            self._pressure = Pressure.NONE
        return self._pressure

    @property
    def pressure(self) -> Pressure:
        """What the last check said."""
        return self._pressure

    @property
    def use(self) -> MemoryUse:
        """What the last look saw; nothing before the first."""
        return self._use

    @property
    def peak_bytes(self) -> int:
        """The most resident memory that a look saw. What came and went between two is in `peak_rss_bytes` alone."""
        return self._peak.resident_bytes

    @property
    def headroom_bytes(self) -> int:
        """Bytes to the nearest limit at the last look; below 0 past it."""
        return min(limit - used for limit, used in zip(self._limits, self._use, strict=True) if limit > 0)

    def close(self) -> None:
        """Let go of the file that is read; no check after it. May be called again."""
        if isinstance(self._read, StatmReader):
            self._read.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class InFlight:
    """How many items may be in flight, as pressure comes and goes: pure, it knows no more than it is told.

    Under pressure the number is halved; it takes some checks for what is in flight to come down, so that it is halved
    again after `settle` checks at the earliest. After `calm` checks without pressure in a row it grows by one, up to
    the plan. An allocator keeps much of what it was given back, so that resident memory may stay where it was: then
    one item at a time goes on, in memory that the process has. At the hard limit one item is left, and the work is
    asked to end where it can be resumed; this is not taken back.

    Args:
        planned: most items in flight, >= 1.
        settle: checks between two halvings, >= 1.
        calm: checks without pressure for one item more, >= 1.

    Raises:
        ConfigError: an argument below 1.
    """

    def __init__(self, planned: int, *, settle: int = 8, calm: int = 64) -> None:
        if min(planned, settle, calm) < 1:
            raise ConfigError(
                f"expected planned, settle and calm >= 1, got {planned}, {settle} and {calm}",
                planned=planned,
                settle=settle,
                calm=calm,
            )
        self.planned = planned
        self._settle = settle
        self._calm = calm
        self._allowed = planned
        self._least = planned
        self._wait = 0
        self._calm_checks = 0
        self._stop = False

    def update(self, pressure: Pressure) -> int:
        """Take one more check; how many items may be in flight from now on, 1 to planned."""
        self._wait = max(0, self._wait - 1)
        self._calm_checks = self._calm_checks + 1 if pressure is Pressure.NONE else 0
        if pressure is Pressure.STOP:
            self._stop = True
        if self._stop:
            self._allowed = 1
        elif pressure is Pressure.SHRINK and self._wait == 0:
            self._allowed = max(1, self._allowed // 2)
            self._wait = self._settle
        elif self._calm_checks >= self._calm and self._allowed < self.planned:
            self._allowed += 1
            self._calm_checks = 0
        self._least = min(self._least, self._allowed)
        return self._allowed

    @property
    def allowed(self) -> int:
        """How many items may be in flight."""
        return self._allowed

    @property
    def least(self) -> int:
        """The fewest that were allowed so far."""
        return self._least

    @property
    def stop_wanted(self) -> bool:
        """Whether the work is to end where it can be resumed."""
        return self._stop


def _system_limit(which: int) -> int:
    """A limit of this process; 0 for none."""
    limit = resource.getrlimit(which)[0]
    return 0 if limit == resource.RLIM_INFINITY else limit


def _share(used: int, limit: int) -> float:
    return used / limit if limit > 0 else 0.0

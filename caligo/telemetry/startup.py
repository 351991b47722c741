"""What it costs to start: time, modules, and files opened, which is what a shared file system feels at 192 ranks.

A counter that is made first thing in a program sees every file that Python opens and every directory that it lists
from then on, through the interpreter's audit events. An audit hook cannot be taken away; a stopped one returns at once.

Covers: Linux. Does not cover, so that these are lower bounds: files that the interpreter itself opens before any code
of ours runs, libraries that the dynamic linker loads for an extension module, opens by C code (MPI, name services),
and looking for files (`stat`).
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LISTINGS = frozenset({"os.listdir", "os.scandir"})
_FIELDS_BEFORE_START = 19
"""Fields of `/proc/self/stat` between the name of the program and the tick in which it started."""


class OpenCounter:
    """Counts from when it is made until `stop`.

    Attributes:
        files: files opened.
        directories: directories listed.
        extensions: extension modules loaded.
        modules_before: modules that had been loaded from files before, each at least one file opened.
    """

    def __init__(self) -> None:
        self.modules_before = _modules_from_files()
        self.files = 0
        self.directories = 0
        self.extensions = 0
        self.began_ns = time.monotonic_ns()
        self._is_counting = True
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_counting:
            return
        if event == "open":
            self.files += 1
        elif event in _LISTINGS:
            self.directories += 1
        elif event == "import" and arguments[1] is not None:  # a file is named where an extension module is loaded
            self.extensions += 1

    def stop(self) -> None:
        """Count no more. May be called again."""
        self._is_counting = False


@dataclass(frozen=True)
class StartupReport:
    """What it cost to start.

    Args:
        process_s: seconds since the process was started, to a tick of the system (usually 10 ms); None where the system
            does not say.
        import_s: seconds since the counter was made; None without one.
        modules: modules that are loaded.
        files_opened: files opened for that, at least: those counted, and one for each module that was loaded from a
            file before; None without a counter.
        directories_listed: directories listed; None without a counter.
        extensions_loaded: extension modules loaded; None without a counter.
    """

    process_s: float | None
    import_s: float | None
    modules: int
    files_opened: int | None
    directories_listed: int | None
    extensions_loaded: int | None


def startup_report(counter: OpenCounter | None = None) -> StartupReport:
    """What it has cost to come to here. The counter, if there is one, is stopped."""
    if counter is None:
        return StartupReport(process_age_s(), None, len(sys.modules), None, None, None)
    counter.stop()
    return StartupReport(
        process_s=process_age_s(),
        import_s=(time.monotonic_ns() - counter.began_ns) / 1e9,
        modules=len(sys.modules),
        files_opened=counter.modules_before + counter.files + counter.extensions,
        directories_listed=counter.directories,
        extensions_loaded=counter.extensions,
    )


def process_age_s(stat: Path = Path("/proc/self/stat")) -> float | None:
    """Seconds since this process was started; None where the system does not say."""
    try:
        ticks = parse_start_ticks(stat.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    if ticks is None:
        return None
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))


def parse_start_ticks(text: str) -> int | None:
    """The tick since boot in which a process started, from the content of `/proc/self/stat`; None if it has none."""
    _, closing, rest = text.rpartition(")")  # the name of the program may hold spaces and brackets
    words = rest.split()
    if not closing or len(words) <= _FIELDS_BEFORE_START:
        return None
    word = words[_FIELDS_BEFORE_START]
    return int(word) if word.isascii() and word.isdigit() else None


def _modules_from_files() -> int:
    """Modules that were read from files; those that are built in or frozen were not."""
    return sum(
        1
        for module in list(sys.modules.values())
        if getattr(getattr(module, "__spec__", None), "has_location", False)
        and getattr(module.__spec__, "origin", None) != "frozen"
    )

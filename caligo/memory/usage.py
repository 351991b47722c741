"""How much memory this process has used.

Covers: the high-water mark of resident memory. Does not cover: who used it.
"""

from __future__ import annotations

import resource
from pathlib import Path


def parse_high_water_mark(text: str) -> int | None:
    """Bytes of `VmHWM` in the content of `/proc/self/status`; None if it does not say."""
    for line in text.splitlines():
        if line.startswith("VmHWM:"):
            words = line.split()
            if len(words) == 3 and words[1].isdigit() and words[2] == "kB":
                return int(words[1]) * 1024
    return None


def peak_rss_bytes(status: Path = Path("/proc/self/status")) -> int:
    """Greatest resident memory of this process so far, in bytes.

    From `VmHWM`, which starts anew with each program; where there is none, from `getrusage`, whose mark a program
    inherits from the one that started it.
    """
    try:
        mark = parse_high_water_mark(status.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        mark = None
    return mark if mark is not None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

"""Whole numbers, durations and sizes as people write them.

Covers: reading `"2^20"`, `"23h50m"` and `"2GiB"`, and writing them so that they read back to the same value. Does not
cover: where they stand, and which values make sense there.
"""

from __future__ import annotations

import math
import re

from caligo.errors import ConfigError

__all__ = [
    "LEAST_MEMORY_BYTES",
    "MAX_DURATION_S",
    "duration_text",
    "parse_count",
    "parse_duration",
    "parse_size",
    "size_text",
]

MAX_DURATION_S = 1e9
"""Thirty-one years: beyond any job, and exact to the microsecond in a float."""

LEAST_MEMORY_BYTES = 1 << 20
"""Less is no memory of a process, but a unit that was forgotten."""

_MAX_SIZE_BYTES = 1 << 60
_MOST_DIGITS = 400
"""As many as the smallest float has; more is refused before it costs time."""

_UNITS_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
_PLAIN = re.compile(r"\d+(?:\.\d+)?")

_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = re.compile(r"(\d+)(?:\.(\d+))?\s*(?:([kKMGT])(i?B|)|B)?")


def parse_count(text: str) -> int:
    """A whole number: `1048576`, `1_048_576`, `2^20`, `2**20` or `1e6`.

    Raises:
        ConfigError: it is none.
    """
    stripped = text.strip()
    if re.fullmatch(r"[+-]?[0-9]+(_[0-9]+)*", stripped) and len(stripped) <= _MOST_DIGITS:
        return int(stripped)
    if match := re.fullmatch(r"2(?:\^|\*\*)([0-9]{1,2})", stripped):
        return 1 << int(match[1])
    if match := re.fullmatch(r"([0-9]{1,30})(?:\.([0-9]{1,30}))?[eE]\+?([0-9]{1,2})", stripped):
        whole, fraction, exponent = match[1], (match[2] or "").rstrip("0"), int(match[3])
        if len(fraction) <= exponent:
            return int(whole + fraction + "0" * (exponent - len(fraction)))
    raise ConfigError(f"expected a whole number (1048576, 2^20 or 1e6), got {text!r}", got=text)


def parse_duration(text: str) -> float:
    """A time: `90s`, `15m`, `23h50m`, `1d`, `250ms`, units from the longest to the shortest; bare, seconds.

    Returns:
        Seconds, 0 to `MAX_DURATION_S`.

    Raises:
        ConfigError: it is none, or longer.
    """
    stripped = text.strip()
    match = _DURATION.fullmatch(stripped)
    if _PLAIN.fullmatch(stripped) and len(stripped) <= _MOST_DIGITS:
        seconds = float(stripped)
    elif stripped and match and len(stripped) <= _MOST_DIGITS:
        parts = zip(match.groups(), _UNITS_S.values(), strict=True)
        seconds = math.fsum(float(part) * unit for part, unit in parts if part)
    else:
        raise ConfigError(f"expected a time as 90s, 15m, 23h50m or 1d, got {text!r}", got=text)
    if seconds > MAX_DURATION_S:
        raise ConfigError(f"expected a time up to {duration_text(MAX_DURATION_S)}, got {text!r}", got=text)
    return seconds


def duration_text(seconds: float) -> str:
    """A time as `parse_duration` reads it, exactly: `23h50m`, `0s`, `0.25s`.

    Args:
        seconds: 0 to `MAX_DURATION_S`.
    """
    if seconds != int(seconds):
        return f"{_decimal(seconds)}s"
    left, parts = int(seconds), []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, int(_UNITS_S[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """A size: `2GiB`, `512MiB`, `1.5GiB`, `2GB` (10^9), `2G` (GiB, as Slurm counts), `2e9` or a number of bytes.

    Returns:
        Bytes, 0 to 2^60; a fraction of a byte is dropped.

    Raises:
        ConfigError: it is none, or larger.
    """
    stripped = text.strip()
    match = _SIZE.fullmatch(stripped)
    if match and len(stripped) <= _MOST_DIGITS:
        whole, fraction, letter, suffix = match.groups()
        base = 1000 if suffix == "B" else 1024
        unit = base ** _POWERS[letter.upper()] if letter else 1
        digits = len(fraction or "")
        size: int = int(whole + (fraction or "")) * unit // 10**digits
    else:
        try:
            size = parse_count(text)
        except ConfigError:
            size = -1
    if size < 0:
        raise ConfigError(f"expected a size as 2GiB, 512MiB or 2e9, got {text!r}", got=text)
    if size > _MAX_SIZE_BYTES:
        raise ConfigError(f"expected a size up to 2^60 bytes, got {text!r}", got=text)
    return size


def size_text(size: int) -> str:
    """A size as `parse_size` reads it, exactly: `2GiB`, `1536MiB`, `1000B`.

    Args:
        size: bytes, >= 0.
    """
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size and size % (1 << power) == 0:
            return f"{size >> power}{unit}"
    return f"{size}B"


def _decimal(value: float) -> str:
    """All digits of a float, without an exponent."""
    text = repr(value)
    if "e" not in text:
        return text
    mantissa, _, exponent = text.partition("e")
    digits = mantissa.replace(".", "")
    places = len(mantissa.partition(".")[2]) - int(exponent)
    return "0." + digits.rjust(places, "0")

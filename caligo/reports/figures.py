"""Numbers as people read them: units, thousands, four significant digits, and text that steers nothing.

Covers: one text for a value and its unit, the same in every form of a page; short labels for the axes of plots. Does
not cover: what is shown (:mod:`caligo.reports.model`).

Figures are rounded to be read; a page's JSON has them whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TypeAlias

Scalar: TypeAlias = str | int | float | bool | None

ABSENT = "–"
"""What stands where there is no value."""

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_BYTES = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def shown(text: str) -> str:
    """Text whose control, format and other invisible characters are written out."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def figure(value: Scalar, unit: str = "") -> str:
    """A value to be read.

    Args:
        value: a figure, or a text, which is taken as it is.
        unit: `bytes` (or `B`), `s` and `ns` are scaled; `share` is shown in per cent; any other is put behind.

    Returns:
        One line.
    """
    if isinstance(value, str):
        return shown(value)
    if value is None or value is True or value is False:
        return ABSENT if value is None else "yes" if value else "no"
    if isinstance(value, float) and not math.isfinite(value):
        return number(value)
    if unit in ("bytes", "B"):
        return _size(value)
    if unit in ("s", "ns"):
        return _time(float(value) * (1e-9 if unit == "ns" else 1.0))
    if unit == "share":
        return f"{number(100.0 * value)} %"
    return f"{number(value)} {unit}" if unit else number(value)


def exact(value: object) -> str:
    """A value as it was given: no digit lost, no thousands separated."""
    if isinstance(value, str):
        return shown(value)
    if value is None or value is True or value is False:
        return ABSENT if value is None else "yes" if value else "no"
    return json.dumps(value)


def number(value: int | float) -> str:
    """A number with thousands separated; of a fraction four significant digits."""
    if isinstance(value, float) and not math.isfinite(value):
        return "∞" if value > 0 else "-∞" if value < 0 else ABSENT
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    size = abs(value)
    if size >= 1e15 or size < 1e-4:
        mantissa, _, exponent = f"{value:.3e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')} × 10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    decimals = max(0, 3 - math.floor(math.log10(size)))
    return f"{value:,.{decimals}f}"


def axis_scale(unit: str, top: float) -> tuple[float, str]:
    """How the ticks of a linear axis are written: all in one unit.

    Args:
        unit: of the values, as :func:`figure` takes it.
        top: the largest magnitude on the axis.

    Returns:
        What the values are divided by, and the unit that stands behind the axis's label.
    """
    if unit in ("bytes", "B"):
        step = 0
        while top >= 1024.0 ** (step + 1) and step < len(_BYTES) - 1:
            step += 1
        return 1024.0**step, _BYTES[step]
    if unit in ("s", "ns"):
        second = 1e9 if unit == "ns" else 1.0
        seconds = top / second
        for least, long in ((2 * 86400.0, "d"), (2 * 3600.0, "h"), (120.0, "min")):
            if seconds >= least:
                return second * {"d": 86400.0, "h": 3600.0, "min": 60.0}[long], long
        scale, name = next((pair for pair in _TIMES if seconds >= pair[0]), _TIMES[-1])
        return second * scale, name
    return (0.01, "%") if unit == "share" else (1.0, "" if unit == "count" else unit)


def axis_labels(values: Sequence[float], unit: str = "") -> list[str]:
    """The ticks of an axis, each as short as can be, no two different ones alike.

    Args:
        values: their places, in the unit.
        unit: as :func:`axis_label` takes it.
    """
    labels: list[str] = []
    for digits in range(3, 10):
        labels = [axis_label(value, unit, digits) for value in values]
        if len(set(labels)) == len(set(values)):
            break
    return labels


def axis_label(value: float, unit: str = "", digits: int = 3) -> str:
    """A tick of an axis, as short as can be.

    Args:
        value: its place, in the unit.
        unit: `bytes`, `s`, `ns` and `share` are scaled as :func:`figure` does.
        digits: significant ones of a value with a unit or a power of ten; of any other one more.
    """
    if unit in ("bytes", "B"):
        return _size(value, digits)
    if unit in ("s", "ns"):
        return _time(value * (1e-9 if unit == "ns" else 1.0), digits)
    if unit == "share":
        return f"{axis_label(100.0 * value, '', digits)} %"
    if value == 0.0:
        return "0"
    if isinstance(value, float) and not math.isfinite(value):
        return number(value)
    size = abs(value)
    if size >= 1e6 or size < 1e-3:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".")
        power = f"10{str(int(exponent)).translate(_SUPERSCRIPT)}"
        return power if mantissa == "1" else f"{mantissa}·{power}"
    return f"{value:,.{max(6, digits + 1)}g}" if size >= 1000 else f"{value:.{digits + 1}g}"


def power_of_two(value: float) -> str:
    """A power of two in binary multiples: 512, 64 Ki, 1 Mi."""
    exponent = round(math.log2(value)) if value > 0 else 0
    step = min(max(exponent // 10, 0), len(_BYTES) - 1)
    prefix = f" {_BYTES[step][:2]}" if step else ""
    return f"{2.0 ** (exponent - 10 * step):,.6g}{prefix}"


def _size(value: float, digits: int = 4) -> str:
    step = 0
    scaled = float(value)
    while abs(scaled) >= 1024.0 and step < len(_BYTES) - 1:
        scaled, step = scaled / 1024.0, step + 1
    return f"{_rounded(scaled, digits) if step else f'{value:,.0f}'} {_BYTES[step]}"


def _time(seconds: float, digits: int = 4) -> str:
    if seconds == 0.0:
        return "0 s"
    if abs(seconds) >= 120.0:
        whole = round(seconds)
        days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
        parts = [(days, "d"), (hours, "h"), (minutes, "min"), (whole % 60, "s")]
        first = next(index for index, (count, _) in enumerate(parts) if count)
        return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)
    scale, unit = next((pair for pair in _TIMES if abs(seconds) >= 0.9999 * pair[0]), _TIMES[-1])
    return f"{_rounded(seconds / scale, digits)} {unit}"


def _rounded(value: float, digits: int) -> str:
    if value == 0.0:
        return "0"
    if not 1e-4 <= abs(value) < 1e15:
        return number(value)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

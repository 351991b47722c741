"""Checks of single numbers and names where they enter codes, codecs and simulation.

Covers: kind and range, with one wording. Does not cover: QBERs and noise levels (:mod:`caligo.channel`), arrays
(:mod:`caligo.reconciliation.codecs.boundary`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from caligo.errors import ConfigError

__all__ = ["validate_count", "validate_name", "validate_number"]


def validate_count(value: object, what: str, least: int = 1, most: int | None = None, remedy: str = "") -> int:
    """A whole number in ``least..most`` (None: no upper bound).

    Raises:
        ConfigError: another kind, or out of range.
    """
    bounds = f"from {least}" if most is None else f"from {least} to {most}"
    if (
        isinstance(value, bool)
        or not isinstance(value, int | np.integer)
        or value < least
        or (most is not None and value > most)
    ):
        raise ConfigError(
            f"{what}: expected an integer {bounds}, got {value!r}" + (f"; {remedy}" if remedy else ""),
            what=what,
            got=repr(value),
            least=least,
            most=most,
        )
    return int(value)


def validate_number(value: object, what: str, above: float, below: float = math.inf) -> float:
    """A number strictly between two bounds.

    Raises:
        ConfigError: another kind, or out of range.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | np.integer | np.floating)
        or not above < value < below
    ):
        bounds = f"a finite number above {above:g}" if below == math.inf else f"a number in ({above:g}, {below:g})"
        raise ConfigError(f"{what}: expected {bounds}, got {value!r}", what=what, got=repr(value))
    return float(value)


def validate_name(value: object, what: str, names: Sequence[str]) -> str:
    """One of the given names.

    Raises:
        ConfigError: another.
    """
    if not isinstance(value, str) or value not in names:
        raise ConfigError(f"{what}: expected one of {', '.join(names)}, got {value!r}", what=what, got=repr(value))
    return value

"""What a run is, in a few words.

Covers: kind, strategy, code size and channel, from dotted names and values. Does not cover: figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from caligo.reports.figures import figure, number

DESCRIBING_NAMES = (
    "kind", "configuration.strategy", "configuration.block_length", "configuration.list_size", "configuration.qber",
    "configuration.ebn0_db",
)  # fmt: skip
"""Dotted names that :func:`described` looks at."""


def described(values: Mapping[str, Any]) -> str:
    """Kind, strategy, N, L and QBER or Eb/N0 of a run, as far as they are known.

    Args:
        values: by dotted name; what was measured (`summary.`) goes before what was asked (`configuration.`).
    """

    def value(*names: str) -> Any:
        for place in ("summary.", "configuration."):
            for name in names:
                if values.get(place + name) is not None:
                    return values[place + name]
        return None

    parts = [str(values.get("kind") or "run of unknown kind")]
    strategy = value("strategy")
    if isinstance(strategy, str):
        parts.append(strategy)
    for name, label in (("block_length", "N"), ("list_size", "L")):
        size = value(name)
        if isinstance(size, (int, float)):
            parts.append(f"{label} = {number(size)}")
    qber, ebn0_db = value("true_qber", "qber"), value("ebn0_db")
    if isinstance(qber, (int, float)):
        parts.append(f"QBER {figure(qber, 'share')}")
    elif isinstance(ebn0_db, (int, float)):
        parts.append(f"Eb/N0 {figure(ebn0_db, 'dB')}")
    return ", ".join(parts)

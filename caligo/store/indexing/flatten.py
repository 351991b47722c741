"""A run as one flat row: dotted name -> number, text or boolean.

Covers: which names a run has (``run``, ``state``, ``summary.fer``, ``configuration.list_size``, ...), how nested values
become scalars. Does not cover: records, which are never flattened; asking for rows (:mod:`.query`).

A value that is null, or that a number cannot hold (NaN), has no name in the row: for every reader of rows a missing
value and null are the same. Lists of objects are flattened by number (``summary.codes.0.block_length``), other lists
become their compact JSON text (``[1,8]``). Integers beyond 2^53 - 1 become the text of their decimal digits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from caligo.store import layout
from caligo.store.values import LARGEST_INTEGER

if TYPE_CHECKING:
    from caligo.store.reader import Run

Scalar: TypeAlias = bool | int | float | str
"""One value of a row."""

TOP_LEVEL = (
    "run", "id", "kind", "identity", "campaign", "state", "standing", "started_at", "ended_at", "elapsed_s", "records",
    "attempt", "resumes", "parents", "reason", "fer", "efficiency", "payload_mbps", "coded_mbps",
)  # fmt: skip
"""The names without a dot, the same for every kind of run. The last four are the key figures."""

NUMBERS = frozenset({"elapsed_s", "records", "fer", "efficiency", "payload_mbps", "coded_mbps"})
"""Those of :data:`TOP_LEVEL` that are numbers; the others are texts."""

SECTIONS = ("configuration", "seeds", "code", "engine", "machine", "summary")
"""Objects of ``run.json`` and ``seal.json`` whose members become dotted names."""

FIGURES = ("fer", "efficiency", "payload_mbps", "coded_mbps")
"""The key figures: of the summary, where it has them."""

_LONGEST_TEXT = 4096
_MOST_OBJECTS = 64
_MOST_NAMES = 4096
_DEEPEST = 16


def flatten_run(run: Run, standing: str | None = None) -> dict[str, Scalar]:
    """The row of a run.

    Args:
        run: loaded, verified or not; nothing but its documents is looked at.
        standing: what the ledger says of it (``quarantined``, ...); None where nobody has judged it.

    Returns:
        Dotted names and values: those of :data:`TOP_LEVEL` first, then the sections in order.
    """
    document = run.document
    kind, started_at = _by_name(run.path.name)
    ending = run.seal or run.interruption or {}
    parents = document.get("parents")
    top: dict[str, Any] = {
        "run": run.path.name,
        "id": run.path.name.rpartition("-")[2],
        "kind": run.kind or kind or None,
        "identity": run.identity,
        "campaign": document.get("campaign"),
        "state": run.state.value,
        "standing": standing,
        "started_at": document.get("started_at", started_at or None),
        "ended_at": ending.get("sealed_at", ending.get("interrupted_at")),
        "elapsed_s": ending.get("elapsed_s"),
        "records": sum(run.record_counts.values()) if run.seal is not None else ending.get("records"),
        "attempt": document.get("attempt"),
        "resumes": document.get("resumes"),
        "parents": parents if parents else None,
        "reason": ending.get("reason"),
        **key_figures(run.seal["summary"] if run.seal is not None else {}),
    }
    row: dict[str, Scalar] = {}
    for name, given in top.items():
        value = scalar(_number(given)) if name in NUMBERS else scalar(given)
        if value is not None:
            row[name] = value if name in NUMBERS or isinstance(value, str) else json.dumps(value)
    for section in SECTIONS:
        source = (run.seal or {}) if section == "summary" else document
        values = source.get(section)
        if isinstance(values, dict):
            for name, value in _leaves(values, f"{section}.", 0):
                if len(row) >= _MOST_NAMES:
                    return row
                row[name] = value
    return row


def key_figures(summary: Mapping[str, Any]) -> dict[str, int | float | None]:
    """The key figures of a summary; the share of blocks that failed stands in for a frame error rate.

    Args:
        summary: of a seal.

    Returns:
        A number or None for each of :data:`FIGURES`.
    """
    figures = {name: _number(summary.get(name)) for name in FIGURES}
    blocks, failed = _number(summary.get("blocks")), _number(summary.get("blocks_failed"))
    if figures["fer"] is None and blocks and failed is not None:
        figures["fer"] = failed / blocks
    return figures


def scalar(value: Any) -> Scalar | None:
    """A plain JSON value as one scalar: lists and objects as compact JSON text; None where there is no value.

    Texts lose what a database cannot hold: NUL becomes U+2400, a lone surrogate U+FFFD; they are cut at 4096
    characters.
    """
    kind = type(value)
    if kind is str:
        return _text(value)
    if value is None or value is True or value is False:
        return value
    if kind is int:
        number: int = value
        return number if -LARGEST_INTEGER <= number <= LARGEST_INTEGER else str(number)[:_LONGEST_TEXT]
    if kind is float:
        real: float = value
        return real if math.isfinite(real) else None
    return _text(json.dumps(value, separators=(",", ":"), sort_keys=True))


def _text(text: str) -> str:
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT]
    if "\0" in text:
        text = text.replace("\0", "\u2400")
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _by_name(name: str) -> tuple[str, str]:
    """Kind and start that a directory's name tells; empty where it tells none."""
    match = layout.RUN_NAME.fullmatch(name)
    if match is None:
        return "", ""
    text = match[1]
    return match[2], f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[9:11]}:{text[11:13]}:{text[13:]}"


def _number(value: object) -> int | float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _leaves(values: dict[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Scalar]]:
    for key, value in values.items():
        name = prefix + _text(key)
        nested = value
        if type(value) is list and any(type(item) is dict for item in value[:_MOST_OBJECTS]):
            nested = {str(index): item for index, item in enumerate(value[:_MOST_OBJECTS])}
        if type(nested) is dict and nested and depth < _DEEPEST:
            yield from _leaves(nested, f"{name}.", depth + 1)
            continue
        leaf = scalar(value)
        if leaf is not None:
            yield name, leaf

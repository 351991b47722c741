"""Logs: to stderr, for people or one JSON object a line for machines.

Covers: the set-up of the logger ``caligo``, its two formats, and the rank on every line of a job of several. Does not
cover: what is logged.

Fields go in as ``logger.info("designed", extra={"block_length": 1024})``. Only numbers, short texts, booleans and
null come out; anything else, and so anything that could hold key bits, is replaced by the name of its type, as a
field and as an argument of the message alike.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LONGEST_TEXT = 1000


def _safe(value: object) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT else f"<text of {len(value)} characters>"
    return f"<{type(value).__name__}>"


def _message(record: logging.LogRecord) -> str:
    if isinstance(record.args, dict):
        return str(record.msg) % {name: _safe(value) for name, value in record.args.items()}
    if record.args:
        return str(record.msg) % tuple(_safe(value) for value in record.args)
    return str(record.msg)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: _safe(value) for name, value in vars(record).items() if name not in _STANDARD}


def _cause(record: logging.LogRecord) -> str | None:
    """The class of the exception logged; its message and frames may quote data and stay out."""
    return record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **_fields(record),
        }
        cause = _cause(record)
        if cause is not None:
            line["error"] = cause
        return json.dumps(line)


class PlainFormatter(logging.Formatter):
    """One line for people: level, message, ``name=value`` fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        parts = [f"caligo: {record.levelname.lower()}: {_message(record)}"]
        parts += [f"{name}={value}" for name, value in _fields(record).items()]
        cause = _cause(record)
        if cause is not None:
            parts.append(f"error={cause}")
        return " ".join(parts).replace("\n", "\\n")


class _Handler(logging.StreamHandler[TextIO]):
    """The handler that :func:`configure_logging` put there, and may replace."""

    def __init__(self, stream: TextIO, rank: int | None) -> None:
        super().__init__(stream)
        self._rank = rank

    def emit(self, record: logging.LogRecord) -> None:
        """Show the record, with the rank, unless it says another, as of a rank it is about."""
        if self._rank is not None and not hasattr(record, "rank"):
            record.rank = self._rank
        super().emit(record)


def configure_logging(
    level: str | int = "WARNING",
    *,
    structured: bool = False,
    stream: TextIO | None = None,
    rank: int | None = None,
) -> None:
    """Send caligo's logs to stderr. May be called again; the last call holds.

    Args:
        level: the least level shown.
        structured: JSON lines instead of text.
        stream: where to, instead of stderr.
        rank: number of this process in its job, for a field ``rank`` on every line; None in a job of one.

    Raises:
        ValueError: an unknown level.
    """
    logger = logging.getLogger("caligo")
    logger.setLevel(level)
    for handler in [handler for handler in logger.handlers if isinstance(handler, _Handler)]:
        logger.removeHandler(handler)
    added = _Handler(stream if stream is not None else sys.stderr, rank)
    added.setFormatter(JsonFormatter() if structured else PlainFormatter())
    logger.addHandler(added)
    logger.propagate = False

"""Progress of long work, told to whoever wants to show it.

Covers: the protocol and a listener that shows nothing. Does not cover: drawing.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self


class Progress(Protocol):
    """A listener, made by the caller who knows how much work there is. Work calls ``advance`` from any thread."""

    def advance(self, n: int, **fields: Any) -> None:
        """``n`` more units are done; ``fields`` are current figures worth showing, such as ``fer``."""

    def close(self) -> None:
        """Work has ended, well or not; twice is harmless."""


class NoProgress:
    """Shows nothing. Also a context manager, so that it can stand where a drawn bar does."""

    def advance(self, n: int, **fields: Any) -> None:
        """See :meth:`Progress.advance`."""

    def close(self) -> None:
        """See :meth:`Progress.close`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


NO_PROGRESS = NoProgress()
"""The default listener."""

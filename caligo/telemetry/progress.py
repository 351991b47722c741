"""Progress of long work, told to whoever wants to show it.

Covers: the protocol and an implementation that shows nothing. Does not cover: drawing.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self


class Progress(Protocol):
    """A listener. Work calls ``start`` once, ``advance`` as it goes (from any thread), ``finish`` at the end."""

    def start(self, description: str, total: int | None, unit: str) -> None:
        """Work begins.

        Args:
            description: what is done, in a few words.
            total: how many units there will be; None when unknown.
            unit: name of a unit, such as ``blocks``.
        """

    def advance(self, count: int = 1, **figures: float) -> None:
        """``count`` more units are done; ``figures`` are current values worth showing, such as ``fer``."""

    def finish(self) -> None:
        """Work has ended, well or not."""


class NoProgress:
    """Shows nothing. Also a context manager, so that it can stand where a drawn bar does."""

    def start(self, description: str, total: int | None, unit: str) -> None:
        """See :meth:`Progress.start`."""

    def advance(self, count: int = 1, **figures: float) -> None:
        """See :meth:`Progress.advance`."""

    def finish(self) -> None:
        """See :meth:`Progress.finish`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()


NO_PROGRESS = NoProgress()
"""The default listener."""

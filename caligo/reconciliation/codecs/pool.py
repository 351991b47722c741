"""Native workspaces for several threads, and batches that are split over them.

Covers: lending, slices, threads, closing. Does not cover: what is done with a workspace.

A batch is cut into contiguous slices, one workspace each; a workspace keeps nothing from one block to the next, so what
comes out does not depend on the number of threads. Native decoding releases the GIL.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import pairwise
from typing import Generic, TypeVar

from caligo.errors import ResourceError

__all__ = ["WorkspacePool"]

_SLICES_PER_THREAD = 4
"""More slices than threads, since blocks take unequal time."""

Workspace = TypeVar("Workspace")


class WorkspacePool(Generic[Workspace]):
    """As many threads as workspaces; may be shared by threads.

    Args:
        workspaces: at least one.
    """

    def __init__(self, workspaces: Sequence[Workspace]) -> None:
        self._count = len(workspaces)
        self._idle: queue.SimpleQueue[Workspace] = queue.SimpleQueue()
        for workspace in workspaces:
            self._idle.put(workspace)
        self._executor = (
            ThreadPoolExecutor(self._count, thread_name_prefix="caligo-decoder") if self._count > 1 else None
        )
        self._closed = False
        self._calls = 0
        self._changed = threading.Condition()

    @contextmanager
    def lend(self) -> Iterator[Workspace]:
        """A workspace that nobody else uses meanwhile.

        Raises:
            ResourceError: the pool is closed.
        """
        with self._call(), self._lent() as workspace:
            yield workspace

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Keep the pool open meanwhile."""
        with self._changed:
            if self._closed:
                raise ResourceError("the codec is closed; make another one")
            self._calls += 1
        try:
            yield
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    @contextmanager
    def _lent(self) -> Iterator[Workspace]:
        workspace = self._idle.get()
        try:
            yield workspace
        finally:
            self._idle.put(workspace)

    def over_slices(self, blocks: int, work: Callable[[Workspace, slice], None]) -> None:
        """Do `work` on slices of a batch, several at a time, and wait for all; the first error is raised.

        Args:
            blocks: how many blocks the batch has.
            work: what is done with a workspace on a slice of the batch.

        Raises:
            ResourceError: the pool is closed.
        """
        with self._call():
            self._split(blocks, work)

    def _split(self, blocks: int, work: Callable[[Workspace, slice], None]) -> None:
        if blocks == 0:
            return

        def with_workspace(rows: slice) -> None:
            with self._lent() as workspace:
                work(workspace, rows)

        pieces = min(blocks, self._count * _SLICES_PER_THREAD)
        if self._executor is None or pieces == 1:
            with_workspace(slice(0, blocks))
            return
        bounds = [blocks * piece // pieces for piece in range(pieces + 1)]
        futures = [self._executor.submit(with_workspace, slice(start, stop)) for start, stop in pairwise(bounds)]
        try:
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
        finally:
            for future in futures:
                future.cancel()
            wait(futures)

    def close(self) -> None:
        """Wait for running calls, then release threads and workspaces; a second call does nothing."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.wait_for(lambda: not self._calls)
        if self._executor is not None:
            self._executor.shutdown()
        for _ in range(self._count):
            self._idle.get()

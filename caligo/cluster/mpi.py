"""Messages between ranks over MPI; the only module that knows mpi4py.

Covers: whole messages, any rank to any rank, never waiting; ending all ranks at once. Does not cover: what is said
(:mod:`caligo.jobs.coordination`).

One thread, the main one, calls MPI, so a library without thread support is enough. Sends and receives are two-sided and
non-blocking: on several hosts a one-sided operation completes only when its target enters the library, which a rank
that decodes may not do for seconds. Messages are Python objects, pickled; ranks of a job trust each other.

Sends are synchronous: one is over when its message was taken. So a rank knows at the end that nothing of its own is
under way, and all ranks know it once each has said so; MPI does not end well over a message that nobody took.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import mpi4py

mpi4py.rc.initialize = False
mpi4py.rc.finalize = False

from mpi4py import MPI  # noqa: E402 - after its settings

from caligo.cluster.heap import heap_without_holes  # noqa: E402
from caligo.errors import ClusterError  # noqa: E402

__all__ = ["MpiMailbox", "library_name"]

_TAG = 7217


def library_name() -> str:
    """First line of what the MPI library says of itself."""
    return MPI.Get_library_version().split("\n")[0].strip("\0 ").replace("\t", " ")


class MpiMailbox:
    """See :class:`caligo.jobs.coordination.Mailbox`. Starts MPI, which a process can do once."""

    def __init__(self) -> None:
        if not MPI.Is_initialized():
            with heap_without_holes():
                MPI.Init_thread(MPI.THREAD_FUNNELED)
        self._world = MPI.COMM_WORLD
        self.rank: int = self._world.Get_rank()
        self.size: int = self._world.Get_size()
        self._sending: list[Any] = []

    def ranks_on_node(self) -> int:
        """Ranks that share this one's memory; all ranks must ask at the same time."""
        node = self._world.Split_type(MPI.COMM_TYPE_SHARED)
        try:
            return int(node.Get_size())
        finally:
            node.Free()

    def send(self, rank: int, message: Any) -> None:
        """Hand a message over."""
        try:
            self._sending.append(self._world.issend(message, dest=rank, tag=_TAG))
        except MPI.Exception:  # that rank is gone; who watches will notice
            return
        self._clear()

    def receive(self) -> tuple[int, Any] | None:
        """A message and who sent it; None: there is none now."""
        status = MPI.Status()
        found = self._world.improbe(source=MPI.ANY_SOURCE, tag=_TAG, status=status)
        if self._sending:
            self._clear()
        if found is None:
            return None
        return int(status.Get_source()), found.recv()

    def _clear(self) -> None:
        """Forget what has been taken; what a rank that hangs does not take stays, and nothing behind it."""
        self._sending = [request for request in self._sending if not _is_over(request)]

    def close(self, wait_s: float, lost: bool) -> None:
        """Leave MPI together with all ranks, once every message was taken; what is taken here is not read.

        Args:
            wait_s: longest wait for that.
            lost: a rank is gone, so that leaving together would wait for it for ever: end all processes instead.

        Raises:
            ClusterError: a message was not taken in time, or a rank has not come to leave.
        """
        until = time.monotonic() + wait_s
        self._drain(lambda: not self._sending, until)
        if lost:
            return
        if self._sending:
            raise ClusterError(f"rank {self.rank}: a message was not taken for {wait_s:.0f} s", rank=self.rank)
        try:
            all_here = self._world.Ibarrier()
            if not self._drain(all_here.Test, until):
                raise ClusterError(f"rank {self.rank}: not all ranks have ended within {wait_s:.0f} s", rank=self.rank)
            MPI.Finalize()
        except MPI.Exception as error:
            raise ClusterError(f"rank {self.rank}: MPI does not end: {error}", rank=self.rank) from error

    def _drain(self, is_over: Callable[[], bool], until: float) -> bool:
        """Take messages until something holds; whether it does."""
        while not is_over():
            if time.monotonic() > until:
                return False
            while self.receive() is not None:
                pass
            self._clear()
            time.sleep(0.001)
        return True

    def flush(self, wait_s: float) -> None:
        """Wait for a while until everything has been sent."""
        until = time.monotonic() + wait_s
        while self._sending and time.monotonic() < until:
            self._clear()
            time.sleep(0.001)

    def abort(self, code: int) -> None:
        """End every rank's process at once."""
        self._world.Abort(code)


def _is_over(request: Any) -> bool:
    try:
        return bool(request.Test())
    except MPI.Exception:
        return True

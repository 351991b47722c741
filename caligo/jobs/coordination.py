"""Sharing the tasks of a job out among ranks, and keeping the books; the state machine of rank 0.

Covers: the messages between ranks, what the coordinator answers to each, the phases of an attempt, ranks that are lost.
Does not cover: which tasks a rank gets (:mod:`.scheduling`), what tasks are (:mod:`.tasks`), carrying messages
(:class:`Mailbox`; :mod:`caligo.cluster.mpi`), the loop of a rank (:mod:`.rank_loop`). Reads no clock: times come as
arguments.

**Phases.** *Working*: ranks ask, get chunks, report. *Draining*: every rank finishes what it has begun; this comes when
all tasks are done, when a stop rule is met, or when the job is to stop. *Merging*: ranks put tasks in place. *Ended*:
with the exit code that every rank gets.

**Progress across hosts.** Nothing here relies on one-sided communication or on a collective call: a rank that decodes
for long, starts late, or hangs keeps nobody waiting but itself. A rank that is silent for `lost_after_s` is lost: its
tasks are given to others, its messages are still welcome, and the attempt ends without it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from caligo.errors import ClusterError, ExitCode
from caligo.jobs.scheduling import Chunk, Scheduler
from caligo.jobs.tasks import Figures, MergeOrder, Piece, TaskConductor, signature_of

__all__ = [
    "Alive",
    "Ask",
    "Coordinator",
    "Damaged",
    "Drain",
    "Drained",
    "End",
    "Failed",
    "Finished",
    "Ledger",
    "Mailbox",
    "Merge",
    "Merged",
    "Message",
    "Phase",
    "Report",
    "Stop",
    "Work",
]

MERGE_BITS = 1 << 29
"""Bits of the outputs that are put in place at a time: 64 MiB of each."""

_MERGE_BLOCKS = 1 << 16
"""Blocks that are recorded at a time: some seconds."""

_RETRY_S = 0.25


@dataclass(frozen=True, slots=True)
class Ask:
    """Rank to coordinator: give me tasks."""


@dataclass(frozen=True, slots=True)
class Report:
    """Rank to coordinator: these tasks are done and in my shard.

    Args:
        done: (task, offset of its frame, head).
    """

    done: tuple[tuple[int, int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Alive:
    """Rank to coordinator: sums of what was done so far; coordinator to rank: go on."""

    sums: Any = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Rank to coordinator: the job is to stop where it can be resumed.

    Args:
        reason: in words.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Drained:
    """Rank to coordinator: nothing is in flight here, everything is reported."""


@dataclass(frozen=True, slots=True)
class Merged:
    """Rank to coordinator: an order is in place.

    Args:
        number: of the order.
        totals: over its tasks.
    """

    number: int
    totals: Any


@dataclass(frozen=True, slots=True)
class Damaged:
    """Rank to coordinator: a frame is not what was written.

    Args:
        shard: its file.
        offset: of its header.
    """

    shard: Path
    offset: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Rank to coordinator: an error ends this rank, and so the job.

    Args:
        code: that the job is to exit with.
        reason: in words.
    """

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Rank to coordinator: all is put down, the last word before the end.

    Args:
        report: what is recorded of the rank.
    """

    report: Any


@dataclass(frozen=True, slots=True)
class Work:
    """Coordinator to rank: tasks, and what to know of them."""

    chunk: Chunk
    hint: Any


@dataclass(frozen=True, slots=True)
class Drain:
    """Coordinator to rank: begin no task any more."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Coordinator to rank: put this in place; None: there is no more, put everything down and say so."""

    order: MergeOrder | None


@dataclass(frozen=True, slots=True)
class End:
    """Coordinator to rank: the attempt is over.

    Args:
        code: that every rank exits with.
    """

    code: int


Message = Any


class Mailbox(Protocol):
    """Carries messages between ranks, whole and in order between any two; never waits."""

    @property
    def rank(self) -> int:
        """This process, 0 <= rank < size."""
        ...

    @property
    def size(self) -> int:
        """Ranks of the job."""
        ...

    def send(self, rank: int, message: Message) -> None:
        """Hand a message over."""
        ...

    def receive(self) -> tuple[int, Message] | None:
        """A message and who sent it; None: there is none now."""
        ...

    def abort(self, code: int) -> None:
        """End every rank's process at once."""
        ...


class Phase(Enum):
    """Where an attempt is."""

    WORKING = "working"
    DRAINING = "draining"
    MERGING = "merging"
    ENDED = "ended"


class Ledger:
    """Where the frame of every task is: 28 bytes a task.

    Args:
        tasks: how many there are.
    """

    def __init__(self, tasks: int) -> None:
        self.shard = np.full(tasks, -1, dtype=np.int32)
        self.signature = np.zeros(tasks, dtype=np.uint64)
        self.offset = np.zeros(tasks, dtype=np.uint64)
        self.kept_bits = np.zeros(tasks, dtype=np.uint64)

    def enter(self, task: int, shard: int, offset: int, head: bytes) -> None:
        """Note the frame that counts."""
        self.shard[task], self.offset[task] = shard, offset
        self.kept_bits[task] = Figures.of_head(head).kept_bits
        self.signature[task] = signature_of(head)

    def require_same(self, task: int, head: bytes) -> None:
        """Hold a second result of a task against the one that counts.

        Raises:
            ClusterError: they are not the same.
        """
        if int(self.signature[task]) != signature_of(head):
            raise ClusterError(
                f"expected two results of task {task} to be the same, got different ones; a machine of this job "
                "computes wrongly, or has another version of caligo: find it before you use these keys",
                task=task,
            )

    def starts(self, tasks: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """First output bit of every task, and behind it the number of all bits."""
        ends = np.zeros(tasks + 1, dtype=np.uint64)
        np.cumsum(self.kept_bits[:tasks], out=ends[1:])
        return ends


@dataclass(slots=True)
class _Rank:
    heard: float
    is_lost: bool = False
    is_drained: bool = False
    is_finished: bool = False
    has_merged: bool = False
    merging: int | None = None


@dataclass(slots=True)
class _Merging:
    """What is still to be put in place."""

    cuts: deque[tuple[int, int, int]] = field(default_factory=deque)
    open: int = 0


class Coordinator:
    """Rank 0's books. Messages go in by `hear`, out by `take`; `step` lets time pass.

    Args:
        conductor: of the job; has been told of what earlier attempts have done.
        scheduler: likewise.
        ledger: likewise; shards are numbered by the caller, this attempt's rank r having `first_shard` + r.
        first_shard: of this attempt.
        ranks: how many.
        now: the time, in seconds of any clock that runs evenly.
        lost_after_s: a rank that is silent for so long is lost.
        order: makes a merge order of (number, first task, tasks, first bit, frames kept of the last task).
        log: told of every chunk that is given out.
    """

    def __init__(
        self,
        conductor: TaskConductor,
        scheduler: Scheduler,
        ledger: Ledger,
        *,
        first_shard: int,
        ranks: int,
        now: float,
        lost_after_s: float,
        order: Callable[[int, int, int, int, int | None], MergeOrder],
        log: Callable[[int, Chunk], None] = lambda rank, chunk: None,
    ) -> None:
        self._conductor = conductor
        self._scheduler = scheduler
        self._ledger = ledger
        self._first_shard = first_shard
        self._ranks = [_Rank(now) for _ in range(ranks)]
        self._lost_after_s = lost_after_s
        self._order = order
        self._log = log
        self._outbox: deque[tuple[int, Message]] = deque()
        self._asking: dict[int, None] = {}
        self._retry_at = self._watch_at = now
        self._changed = True
        self._limit = -1
        self._merging = _Merging()
        self.phase = Phase.WORKING
        self.stop_reason: str | None = None
        self.figures = Figures()
        """Of what this attempt has done."""
        self.totals: list[Any] = []
        """Of all orders that are in place, added up; none before the first."""
        self.sums: dict[int, tuple[float, Any]] = {}
        """When each rank was heard of its work, and what it said."""
        self.reports: dict[int, Any] = {}
        """Last words, by rank."""
        self.damaged: list[tuple[Path, int]] = []
        """Frames that are not what was written."""
        self.lost: set[int] = set()
        """Ranks that were given up, whatever they said later."""
        self.code: int | None = None

    # --- messages --------------------------------------------------------------------------------------------------

    def take(self) -> Iterator[tuple[int, Message]]:
        """The messages to send, once."""
        while self._outbox:
            yield self._outbox.popleft()

    def hear(self, rank: int, message: Message, now: float, read_body: Callable[[int, int], bytes]) -> None:
        """Take a message.

        Args:
            rank: who sent it.
            message: what.
            now: when.
            read_body: (shard, offset) -> body of a frame, where the conductor asks for it.
        """
        state = self._ranks[rank]
        state.heard = now
        if state.is_lost:
            state.is_lost, self._changed = False, True
        match message:
            case Ask():
                self._asking[rank] = None
                self._changed = True
            case Report(done):
                for task, offset, head in done:
                    self._complete(rank, task, offset, head, read_body)
            case Stop(reason):
                self.stop(reason)
            case Drained():
                state.is_drained = True
            case Damaged(shard, offset):
                self.damaged.append((shard, offset))
                self._end(ExitCode.RESUMABLE)
            case Merged(_, totals):
                self.totals = [sum(self.totals, totals)]
                self._merging.open -= 1
                state.merging = None
                state.has_merged = True
            case Failed(code, reason):
                raise ClusterError(f"rank {rank} has failed: {reason}", rank=rank, code=code)
            case Finished(report):
                self.reports[rank] = report
                state.is_finished = True
            case Alive(sums):
                self.sums[rank] = (now, sums)
                self._outbox.append((rank, Alive()))

    def _complete(self, rank: int, task: int, offset: int, head: bytes, read_body: Callable[[int, int], bytes]) -> None:
        if not self._scheduler.complete(rank, task):
            self._ledger.require_same(task, head)
            return
        shard = self._first_shard + rank
        figures = Figures.of_head(head)
        self._ledger.enter(task, shard, offset, head)
        self.figures = self.figures.plus(figures)
        self._conductor.observe(task, head, lambda: read_body(shard, offset))
        self._changed = True

    def stop(self, reason: str) -> None:
        """Stop the job where it can be resumed, if it is not past that.

        Args:
            reason: in words.
        """
        if self.stop_reason is None and self.phase is not Phase.ENDED and not self.is_merged:
            self.stop_reason = reason
            if self.phase is Phase.MERGING:
                self._end(ExitCode.RESUMABLE)

    # --- time ------------------------------------------------------------------------------------------------------

    def is_due(self, now: float) -> bool:
        """Whether `step` and `take` have something to do."""
        busy = self.phase in (Phase.DRAINING, Phase.MERGING) or self.stop_reason is not None
        return bool(self._outbox) or self._changed or busy or now >= self._retry_at or now >= self._watch_at

    def step(self, now: float) -> None:
        """Let time pass: answer who asks, give up who is silent, go on to the next phase."""
        self._watch(now)
        if self.phase is Phase.WORKING:
            if self.stop_reason is not None or self._is_over():
                self._drain()
            else:
                self._answer(now)
        if self.phase is Phase.DRAINING and all(rank.is_drained or rank.is_lost for rank in self._ranks):
            self._begin_merging()
        if self.phase is Phase.MERGING:
            self._merge()

    def _is_worked(self) -> bool:
        return self._scheduler.is_done or self._conductor.settled() is not None

    def _is_over(self) -> bool:
        """Nothing is left to give: in a replay, not even to a rank whose tasks others have done by now."""
        return self._is_worked() and (self._scheduler.is_given_out or self._conductor.settled() is not None)

    def _watch(self, now: float) -> None:
        if now < self._watch_at:
            return
        self._watch_at = now + _RETRY_S
        for number, rank in enumerate(self._ranks):
            silent = now - rank.heard > self._lost_after_s
            if number and silent and not rank.is_lost and not rank.is_finished:
                rank.is_lost = True
                self.lost.add(number)
                self._changed = True
                if self.phase is Phase.WORKING:
                    self._scheduler.lose(number)
                if rank.merging is not None or rank.has_merged:
                    # What it was putting in place is half done, or its records are; a new attempt does it anew.
                    self._end(ExitCode.RESUMABLE)

    def _answer(self, now: float) -> None:
        """Give tasks to who asks; again when anything has changed, and from time to time, for the sake of copies."""
        limit = self._conductor.limit()
        if not self._changed and now < self._retry_at and limit == self._limit:
            return
        self._changed, self._retry_at, self._limit = False, now + _RETRY_S, limit
        self._scheduler.release(limit)
        for number in [each for each in self._asking if not self._ranks[each].is_lost]:
            chunk = self._scheduler.next(number)
            if chunk is not None:
                del self._asking[number]
                self._log(number, chunk)
                self._outbox.append((number, Work(chunk, self._conductor.hint(chunk))))

    def _drain(self) -> None:
        self.phase = Phase.DRAINING
        self._tell_all(Drain())

    def _begin_merging(self) -> None:
        if not self._is_worked():
            self._end(ExitCode.RESUMABLE)
            return
        self.phase = Phase.MERGING
        settled = self._conductor.settled()
        tasks, keep = (self._scheduler.tasks, None) if settled is None else settled
        for task, bits in self._conductor.dropped_bits().items():
            self._ledger.kept_bits[task] -= np.uint64(bits)
        starts = self._ledger.starts(tasks)
        pieces = max(1, _MERGE_BLOCKS * self._scheduler.tasks // max(self._conductor.blocks, 1))
        first = 0
        for task in range(1, tasks + 1):
            bits = int(starts[task]) - int(starts[first])
            full = bits >= MERGE_BITS or task - first >= pieces
            if task == tasks or (full and int(starts[task]) % 8 == 0):
                self._merging.cuts.append((first, task - first, int(starts[first])))
                first = task
        self._keep = keep
        self._orders = 0

    def _merge(self) -> None:
        merging = self._merging
        for number, rank in enumerate(self._ranks):
            if rank.is_lost or rank.is_finished or rank.merging is not None or not merging.cuts:
                continue
            first, tasks, start_bit = merging.cuts.popleft()
            order = self._order(self._orders, first, tasks, start_bit, None if merging.cuts else self._keep)
            self._orders += 1
            rank.merging = order.number
            merging.open += 1
            self._outbox.append((number, Merge(order)))
        if not merging.cuts and not merging.open:
            for number, rank in enumerate(self._ranks):
                if not rank.is_finished and not rank.is_lost and rank.merging is None:
                    rank.merging = -1
                    self._outbox.append((number, Merge(None)))

    @property
    def is_merged(self) -> bool:
        """Everything is in place, and every rank that is not lost has said its last word."""
        return (
            self.phase is Phase.MERGING
            and not self._merging.cuts
            and not self._merging.open
            and all(rank.is_finished or rank.is_lost for rank in self._ranks)
        )

    @property
    def kept_bits(self) -> int:
        """Bits of the outputs, from the merging phase on."""
        settled = self._conductor.settled()
        tasks = self._scheduler.tasks if settled is None else settled[0]
        return int(self._ledger.kept_bits[:tasks].sum(dtype=np.uint64))

    def finish(self, code: int = ExitCode.COMPLETED) -> None:
        """End an attempt whose results are put down."""
        self._end(code)

    def _end(self, code: int) -> None:
        self.phase, self.code = Phase.ENDED, int(code)
        self._tell_all(End(int(code)))

    def _tell_all(self, message: Message) -> None:
        self._outbox.extend((number, message) for number in range(len(self._ranks)))

    def pieces(self, first: int, tasks: int, shard_path: Callable[[int], Path]) -> tuple[Piece, ...]:
        """The frames of consecutive tasks.

        Args:
            first: task.
            tasks: how many.
            shard_path: of a shard's number.
        """
        ledger = self._ledger
        return tuple(
            Piece(
                task,
                shard_path(int(ledger.shard[task])),
                int(ledger.offset[task]),
                check=int(ledger.shard[task]) < self._first_shard,
            )
            for task in range(first, first + tasks)
        )

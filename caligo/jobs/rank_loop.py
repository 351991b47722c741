"""What a rank does from its first task to its last word; rank 0 coordinates between its own windows.

Covers: asking, working, reporting, putting in place, staying alive, keeping within memory, stopping. Does not cover:
what is decided (:mod:`.coordination`), what tasks are (:mod:`.tasks`), how a job begins and ends (:mod:`.job`).

One thread of a rank, the main one, sends and receives messages and writes the shard; decoding goes on in other threads.
It never waits for a message: while it waits for a window it looks for messages every now and then, and where there is
nothing to do it sleeps, longer and longer, up to some milliseconds. So a rank that has a core to itself leaves it to
its decoder, and no message needs another rank to be in any particular call.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from caligo.errors import ClusterError, DamagedFrameError, ExitCode
from caligo.jobs.coordination import (
    Alive,
    Ask,
    Coordinator,
    Damaged,
    Drain,
    Drained,
    End,
    Finished,
    Mailbox,
    Merge,
    Merged,
    Message,
    Report,
    Stop,
    Work,
)
from caligo.jobs.shards import ShardWriter
from caligo.jobs.stopping import StopFlag
from caligo.jobs.tasks import Figures, MergeOrder, TaskItem, TaskResult, TaskWorker
from caligo.memory import InFlight, MemoryGuard
from caligo.telemetry import Telemetry

__all__ = ["RankLoop"]

_LOOK_S = (0.001, 0.05)
"""How often messages are looked for while a window is decoded: on rank 0, on others."""

_SLEEP_S = (0.0002, 0.005)
"""Shortest and longest sleep where there is nothing to do."""

_REPORT_S = 0.2
_REPORT_TASKS = 64
_ALIVE_S = 1.0
"""Between two signs of life of a rank; longer where more than `_ALIVE_RANKS` would give rank 0 too many to hear."""

_ALIVE_RANKS = 500

_CONCLUDE_S = 3600.0

_WINDOWS_PER_LOOK = 16
"""A look at memory is a system call, for which a thread gives the interpreter away and has to get it back."""


class RankLoop:
    """One rank of one attempt.

    Args:
        worker: of the job.
        mailbox: to the other ranks.
        shard: of this rank; closed by whoever made it.
        telemetry: of this rank.
        guard: of its memory.
        stop: raised where the job is to stop.
        coordinator: on rank 0.
        read_body: (shard, offset) -> body of a frame, on rank 0.
        look: called now and then on rank 0, with the time.
        sync_interval_s: how often the shard is made durable.
        lost_after_s: a coordinator that is silent for twice as long is lost.
        last_word: makes the report of this rank when all is put down.
    """

    def __init__(
        self,
        worker: TaskWorker,
        mailbox: Mailbox,
        shard: ShardWriter,
        *,
        telemetry: Telemetry,
        guard: MemoryGuard,
        stop: StopFlag,
        coordinator: Coordinator | None = None,
        read_body: Callable[[int, int], bytes] | None = None,
        look: Callable[[float], None] = lambda now: None,
        sync_interval_s: float = 30.0,
        lost_after_s: float = 60.0,
        last_word: Callable[[RankLoop], Any],
    ) -> None:
        self._worker = worker
        self._mailbox = mailbox
        self._shard = shard
        self._telemetry = telemetry
        self._guard = guard
        self._stop = stop
        self._coordinator = coordinator
        self._read_body = read_body
        self._look = look
        self._sync_interval_s = sync_interval_s
        self._lost_after_s = lost_after_s
        self._last_word = last_word
        self.in_flight = InFlight(worker.planned_in_flight)
        self._queue: deque[TaskItem] = deque()
        self._orders: deque[MergeOrder | None] = deque()
        self._done: list[tuple[int, int, bytes]] = []
        self._has_asked = self._has_said_stop = self._draining = self._has_finished = False
        self._code: int | None = None
        self._until_look = 0
        now = time.monotonic()
        self._heard = self._said = self._reported = self._synced = now
        self._alive_s = _ALIVE_S * max(1.0, mailbox.size / _ALIVE_RANKS)
        self._look_s = _LOOK_S[0] if coordinator is not None and mailbox.size > 1 else _LOOK_S[1]

    def run(self) -> int:
        """Work until the attempt ends; on rank 0, until everything is in place or the attempt has ended.

        Returns:
            The exit code that the coordinator gave; on rank 0, `COMPLETED` where there is still to be concluded.

        Raises:
            ClusterError: the coordinator is lost.
            CaligoError: what came of the work.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="caligo-beside") as beside:
            self._work(beside)
            self._flush()
            # Others read the shard from here on, perhaps from another host.
            self._wait(beside.submit(self._shard.sync))
            self._say(Drained())
            return self._finish(beside)

    # --- working ---------------------------------------------------------------------------------------------------

    def _work(self, beside: ThreadPoolExecutor) -> None:
        sleep = _SLEEP_S[0]
        syncing: Future[None] | None = None
        for result in self._worker.results(self._items(), in_flight=self._allowed, wait=self._wait):
            if result is None:
                self._flush()
                with self._telemetry.span("wait"):
                    time.sleep(sleep)
                sleep = min(2 * sleep, _SLEEP_S[1])
                continue
            sleep = _SLEEP_S[0]
            self._keep(result)
            now = time.monotonic()
            if len(self._done) >= _REPORT_TASKS or now - self._reported >= _REPORT_S or not self._queue:
                self._flush()
            if now - self._synced >= self._sync_interval_s and (syncing is None or syncing.done()):
                if syncing is not None:
                    syncing.result()
                self._synced = now
                syncing = beside.submit(self._shard.sync)
        if syncing is not None:
            self._wait(syncing)

    def _items(self) -> Iterator[TaskItem | None]:
        while True:
            self._pump()
            if self._draining:
                self._queue.clear()
                return
            if not self._queue:
                self._ask()
                yield None
                continue
            item = self._queue.popleft()
            if not self._queue:
                self._ask()
            yield item

    def _ask(self) -> None:
        if not self._has_asked:
            self._has_asked = True
            self._flush()
            self._say(Ask())

    def _allowed(self) -> int:
        self._until_look -= 1
        if self._until_look > 0:
            return self.in_flight.allowed
        self._until_look = _WINDOWS_PER_LOOK
        before = self.in_flight.allowed
        allowed = self.in_flight.update(self._guard.check())
        if allowed < before:
            self._worker.shrink(allowed)
        if self.in_flight.stop_wanted and self._stop.reason is None:
            self._stop.reason = f"rank {self._mailbox.rank} is at its limit of memory"
        return allowed

    def _wait(self, future: Future[Any]) -> Any:
        """The result of a future, looking for messages meanwhile."""
        if future.done():
            return future.result()
        with self._telemetry.span("wait"):
            while True:
                try:
                    return future.result(self._look_s)
                except TimeoutError:
                    if future.done():
                        return future.result()
                    self._pump()

    def _keep(self, result: TaskResult) -> None:
        with self._telemetry.span("write"):
            before = self._shard.size_bytes
            offset = self._shard.append(result.task, result.head, result.body, result.payload)
        figures = Figures.of_head(result.head)
        count = self._telemetry.count
        count("tasks")
        count("blocks", figures.blocks)
        count("blocks_failed", figures.failed)
        count("payload_bits", figures.key_bits)
        count("coded_bits", figures.coded_bits)
        count("bytes_written", self._shard.size_bytes - before)
        self._done.append((result.task, offset, result.head))

    def _flush(self) -> None:
        self._reported = time.monotonic()
        if self._done:
            done, self._done = tuple(self._done), []
            self._say(Report(done))

    # --- putting in place ------------------------------------------------------------------------------------------

    def _finish(self, beside: ThreadPoolExecutor) -> int:
        """Put in place what is asked for, say the last word, wait for the end; messages are looked for meanwhile."""
        sleep = _SLEEP_S[0]
        while True:
            self._pump()
            if self._code is not None:
                return self._code
            if self._orders:
                sleep = _SLEEP_S[0]
                order = self._orders.popleft()
                if order is None:
                    self._wait(beside.submit(self._worker.close))
                    self._say(Finished(self._last_word(self)))
                    self._has_finished = True
                else:
                    self._say(self._wait(beside.submit(self._merged, order)))
                continue
            if self._coordinator is not None and self._coordinator.is_merged:
                return int(ExitCode.COMPLETED)
            time.sleep(sleep)
            sleep = min(2 * sleep, _SLEEP_S[1])

    def _merged(self, order: MergeOrder) -> Message:
        try:
            return Merged(order.number, self._worker.merge(order))
        except DamagedFrameError as error:
            return Damaged(Path(error.fields["shard"]), int(error.fields["offset"]))

    # --- messages --------------------------------------------------------------------------------------------------

    def _say(self, message: Message) -> None:
        if self._coordinator is None:
            self._telemetry.count("messages")
            self._mailbox.send(0, message)
            return
        self._hear(0, message)

    def _hear(self, rank: int, message: Message) -> None:
        if self._coordinator is not None and self._read_body is not None:
            with self._telemetry.span("coordinate"):
                self._coordinator.hear(rank, message, time.monotonic(), self._read_body)

    def _pump(self) -> None:
        """Receive, let the coordinator answer, say what is due."""
        while (received := self._mailbox.receive()) is not None:
            sender, message = received
            self._heard = time.monotonic()
            if self._coordinator is not None:
                self._hear(sender, message)
            else:
                self._take(message)
        now = time.monotonic()
        if not self._has_said_stop and (reason := self._stop.asked(now)) is not None:
            self._has_said_stop = True
            self._say(Stop(reason))
        if self._coordinator is not None:
            self._coordinate(now)
            return
        if now - self._said >= self._alive_s:
            self._said = now
            self._say(self._alive())
        # What rank 0 has to do at the end, hashing all records, takes as long as it takes.
        if now - self._heard > (_CONCLUDE_S if self._has_finished else 2 * self._lost_after_s):
            raise ClusterError(
                f"rank {self._mailbox.rank} has not heard of rank 0 for {now - self._heard:.0f} s; what was done is "
                "kept, start the job again",
                rank=self._mailbox.rank,
            )

    def _alive(self) -> Alive:
        return Alive((self._telemetry.snapshot(), self._worker.threads, self._guard.headroom_bytes))

    @property
    def sums(self) -> Any:
        """What this rank would say of itself now."""
        return self._alive().sums

    def _coordinate(self, now: float) -> None:
        coordinator = self._coordinator
        if coordinator is None:
            return
        if coordinator.is_due(now):
            with self._telemetry.span("coordinate"):
                coordinator.step(now)
                for rank, message in coordinator.take():
                    if rank == 0:
                        self._take(message)
                    else:
                        self._telemetry.count("messages")
                        self._mailbox.send(rank, message)
        self._look(now)

    def _take(self, message: Message) -> None:
        match message:
            case Work(chunk, hint):
                self._has_asked = False
                self._queue.extend(TaskItem(task, hint) for task in chunk)
            case Drain():
                self._draining = True
            case Merge(order):
                self._orders.append(order)
            case End(code):
                self._code, self._draining = code, True

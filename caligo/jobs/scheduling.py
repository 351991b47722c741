"""Which rank works on which tasks: a state machine that answers "what next?"; pure.

Covers: chunks of decreasing size for ranks that ask, equal shares, copies of what is late at the end, what is lost and
begun again, work that is released bit by bit, a schedule repeated from its log, and which policy suits a job. Does not
cover: messages between ranks, the log as a file (:mod:`caligo.jobs.schedule_log`), what a schedule would cost
(:mod:`caligo.jobs.schedule_simulation`). Reads no clock, no file, no environment and no random source: the same calls
in the same order get the same answers.

**Dynamic.** A rank that asks gets the lowest pending tasks, a 1/(divisor · ranks) part of what is pending then, but no
less than `least_tasks`: large chunks while there is much to do, small ones at the end. This is guided self-scheduling
(Polychronopoulos and Kuck, IEEE Trans. Computers C-36, 1987) with the caution of factoring (Hummel, Schonberg and
Flynn, CACM 35(8), 1992), which gives a part of what is left at a time, so that a rank which is slower than the others
does not end last with its first chunk. It departs from factoring in that chunks shrink with every answer, not in
rounds.

**Copies.** When nothing is pending, a rank that is idle gets tasks that another holds: the oldest assignment first,
from its end, since whoever holds it begins in front. Each task is copied once; a second copy waits until all have one
and as many questions as there are ranks were asked since, a third for twice as many, so that the end does not drown in
copies.
Results are functions of their task, so a second result is harmless, and a rank that hangs holds up nobody.

**Static.** Rank r gets the r-th equal part of what was pending at the start and nothing else, but for what was lost.

Memory is a bit per task, the stretches of pending tasks, and the chunks that are held.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from caligo.errors import ConfigError

__all__ = [
    "Chunk",
    "ReplayScheduler",
    "Schedule",
    "SchedulePolicy",
    "Scheduler",
    "choose_policy",
    "least_tasks_for",
]

MESSAGE_S = 50e-6
"""What a question and its answer are assumed to cost the coordinator: see docs/performance.md."""

MOST_TASKS = 1 << 16
"""Most tasks of a chunk where a policy does not say."""

_MOST_SCANNED = 1 << 16
"""Tasks looked at in one step."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive tasks; iterating gives them.

    Args:
        first: index of the first.
        count: how many, >= 1.

    Raises:
        ConfigError: an argument outside its range.
    """

    first: int
    count: int

    def __post_init__(self) -> None:
        if self.first < 0 or self.count < 1:
            raise ConfigError(
                f"chunk: expected a first task >= 0 and at least one task, got {self.first} and {self.count}",
                first=self.first,
                count=self.count,
            )

    @property
    def end(self) -> int:
        """The task behind the last."""
        return self.first + self.count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.end))

    def __len__(self) -> int:
        return self.count


@dataclass(frozen=True, slots=True)
class SchedulePolicy:
    """How tasks are divided among ranks.

    Args:
        kind: `dynamic` or `static`.
        least_tasks: no chunk has fewer, but the last of a stretch of pending tasks; >= 1.
        most_tasks: no chunk has more; >= least_tasks.
        divisor: a chunk is this part of an equal share of what is pending; >= 1.

    Raises:
        ConfigError: an argument outside its range.
    """

    kind: str = "dynamic"
    least_tasks: int = 1
    most_tasks: int = MOST_TASKS
    divisor: int = 4

    def __post_init__(self) -> None:
        if self.kind not in ("dynamic", "static"):
            raise ConfigError(f"kind: expected dynamic or static, got {self.kind!r}; use dynamic", kind=self.kind)
        for name in ("least_tasks", "most_tasks", "divisor"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name}: expected a whole number >= 1, got {value!r}; leave it out", name=name)
        if self.most_tasks < self.least_tasks:
            raise ConfigError(
                f"most_tasks: expected at least least_tasks, {self.least_tasks}, got {self.most_tasks}; raise it",
                least_tasks=self.least_tasks,
                most_tasks=self.most_tasks,
            )


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which chunks were given to which ranks, in the order of the answers.

    Args:
        tasks: of the job.
        ranks: of the job.
        policy: that divided them.
        assigned: rank and chunk, in order.
    """

    tasks: int
    ranks: int
    policy: SchedulePolicy
    assigned: tuple[tuple[int, Chunk], ...]


class _Held:
    """A chunk that a rank has.

    Args:
        first: first task.
        end: behind the last.
        order: of assignment, from 1; 0: it is a copy.
    """

    __slots__ = ("asked", "end", "first", "order", "uncopied")

    def __init__(self, first: int, end: int, order: int) -> None:
        self.first = first
        self.end = end
        self.order = order
        self.uncopied = end
        """Tasks from here on have been copied in this round."""
        self.asked = 0
        """Questions when it was last copied."""

    def drop(self) -> None:
        """Nobody has it any more."""
        self.first = self.uncopied = self.end


class Scheduler:
    """Divides the tasks of a job among ranks that ask; a state machine without I/O.

    Not for several threads at a time.

    Args:
        tasks: 0 to `tasks - 1` are to be completed.
        ranks: 0 to `ranks - 1` may ask; how many of them do, and when, is open.
        policy: how to divide.
        done: tasks that are completed already; may overlap.

    Raises:
        ConfigError: an argument outside its range.
    """

    def __init__(self, tasks: int, ranks: int, policy: SchedulePolicy, *, done: Iterable[Chunk] = ()) -> None:
        if tasks < 0:
            raise ConfigError(f"tasks: expected at least 0, got {tasks}", tasks=tasks)
        if ranks < 1:
            raise ConfigError(f"ranks: expected at least 1, got {ranks}", ranks=ranks)
        self.tasks = tasks
        self.ranks = ranks
        self.policy = policy
        self.completed = 0
        self.copied = 0
        """Tasks that were given out as copies."""
        self._done = bytearray((tasks + 7) // 8)
        for chunk in done:
            self._require_tasks(chunk)
            self._mark(chunk.first, chunk.end)
        self._first_unfinished = 0
        self._held: list[list[_Held]] = [[] for _ in range(ranks)]
        self._lost: set[int] = set()
        self._limit: int | None = None
        # What any rank may have: stretches below the limit, and stretches that wait for it. They may contain tasks that
        # are done, and overlap where tasks were begun again; both are seen when a stretch is taken.
        self._open: list[tuple[int, int]] = []
        self._closed: list[tuple[int, int]] = []
        self._pending = 0  # tasks in _open that are not done, and at times too many: it only sizes chunks
        self._asks = 0
        self._order = 0
        self._offers = 0
        # (round, order of assignment, number, chunk): what may be copied, oldest first.
        self._copyable: list[tuple[int, int, int, _Held]] = []
        self._copyable_most = 4 * ranks + 64
        self._share_begins: list[int] = []
        self._share_next: list[int] = []
        self._share_ends: list[int] = []
        self._plan()

    # What the job asks

    @property
    def is_done(self) -> bool:
        """Every task is completed."""
        return self.completed == self.tasks

    @property
    def is_given_out(self) -> bool:
        """No rank is still to get chunks that are meant for it whether or not they are done."""
        return True

    def outstanding(self, rank: int) -> int:
        """Tasks that were given to a rank and that nobody has completed yet."""
        self._require_rank(rank)
        held = self._held[rank]
        total = 0
        finished = False
        for chunk in held:
            undone = self._undone(chunk.first, chunk.end)
            total += undone
            finished |= not undone
        if finished:
            self._held[rank] = [chunk for chunk in held if self._undone(chunk.first, chunk.end)]
        return total

    def first_unfinished(self) -> int:
        """Every task below it is completed; `tasks` when all are."""
        position = self._first_unfinished >> 3
        done = self._done
        size = len(done)
        while position < size and done[position] == 0xFF:
            position += 1
        self._first_unfinished = position << 3
        if position == size:
            return self.tasks
        bits = done[position]
        return self._first_unfinished + (~bits & (bits + 1)).bit_length() - 1

    # What the ranks do

    def next(self, rank: int) -> Chunk | None:
        """What a rank is to work on, beside what it has already; None: nothing at present, ask again.

        A rank that still has tasks is asking ahead: it gets no copies.
        """
        self._require_rank(rank)
        if self._limit is None:
            self.release(self.tasks)
        self._asks += 1
        self._lost.discard(rank)
        chunk = self._own(rank) or self._take()
        if chunk is not None:
            self._hold(rank, chunk)
            return chunk
        if self.policy.kind == "dynamic" and not self.is_done and not self.outstanding(rank):
            chunk = self._copy()
            if chunk is not None:
                self._held[rank].append(_Held(chunk.first, chunk.end, order=0))
                self.copied += chunk.count
        return chunk

    def release(self, limit: int) -> None:
        """Allow tasks below a limit to be given out.

        Everything is, unless this is called before the first question. The limit only rises: a lower one changes
        nothing.
        """
        if self._limit is not None and limit <= self._limit:
            return
        self._limit = limit = max(0, min(limit, self.tasks))
        while self._closed and self._closed[0][0] < limit:
            first, end = heapq.heappop(self._closed)
            self._add(first, end)

    def complete(self, rank: int, task: int) -> bool:
        """A rank has finished a task; whoever it was given to.

        Returns:
            True the first time; False if it was completed before, and this is a duplicate.
        """
        self._require_rank(rank)
        if not 0 <= task < self.tasks:
            raise ConfigError(f"task: expected 0 to {self.tasks - 1}, got {task}", task=task, tasks=self.tasks)
        bit = 1 << (task & 7)
        if self._done[task >> 3] & bit:
            return False
        self._done[task >> 3] |= bit
        self.completed += 1
        return True

    def complete_all(self, rank: int, chunk: Chunk) -> int:
        """A rank has finished all tasks of a chunk.

        Returns:
            How many of them were completed for the first time.
        """
        self._require_rank(rank)
        self._require_tasks(chunk)
        return self._mark(chunk.first, chunk.end)

    def lose(self, rank: int) -> None:
        """A rank is gone: what it has not finished is pending again, and so is what only it would have got.

        What another rank has a copy of stays with that one. If the lost rank asks again it is back.
        """
        self._require_rank(rank)
        self._lost.add(rank)
        held, self._held[rank] = self._held[rank], []
        for chunk in held:
            for first, end in self._held_by_nobody(chunk):
                for stretch in self._undone_stretches(first, end):
                    self._add(*stretch)
            chunk.drop()
        for first, end in self._disown(rank):
            self._add(first, end)

    def reopen(self, chunk: Chunk) -> None:
        """Tasks that were completed are pending again, for any rank; those that were not are left as they are."""
        self._require_tasks(chunk)
        for rank, held in enumerate(self._held):
            # Who completed a task of a larger chunk does not have it any more.
            if any(other.first < chunk.end and chunk.first < other.end for other in held):
                self._held[rank] = [piece for other in held for piece in self._undone_pieces(other)]
        for task in chunk:
            bit = 1 << (task & 7)
            if not self._done[task >> 3] & bit:
                continue
            self._done[task >> 3] &= ~bit
            self.completed -= 1
            self._first_unfinished = min(self._first_unfinished, task)
            if not self._is_to_come(task):
                self._add(task, task + 1)

    # How tasks are divided at the start

    def _plan(self) -> None:
        if self.policy.kind == "dynamic":
            if self.tasks:
                self._closed = [(0, self.tasks)]
            return
        undone = self.tasks - self.completed
        begins = self._positions([undone * rank // self.ranks for rank in range(self.ranks)])
        self._share_begins = begins
        self._share_next = begins.copy()
        self._share_ends = [*begins[1:], self.tasks]

    def _positions(self, ordinals: list[int]) -> list[int]:
        """Where the tasks lie that are the n-th of those that are not done; `tasks` where there are fewer."""
        found: list[int] = []
        before, start = 0, 0
        while len(found) < len(ordinals) and start < self.tasks:
            end = min(self.tasks, start + 4096)
            here = self._undone(start, end)
            while len(found) < len(ordinals) and ordinals[len(found)] < before + here:
                found.append(self._position(start, end, ordinals[len(found)] - before))
            before, start = before + here, end
        return found + [self.tasks] * (len(ordinals) - len(found))

    def _position(self, first: int, end: int, ordinal: int) -> int:
        """Where the task lies that is the n-th from `first` on that is not done."""
        return bisect_right(range(first, end), ordinal, key=lambda last: self._undone(first, last + 1)) + first

    def _own(self, rank: int) -> Chunk | None:
        """What this rank alone gets."""
        if not self._share_next:
            return None
        end = min(self._share_ends[rank], self._limit or 0)
        first = self._skip_done(self._share_next[rank], end)
        if first >= end:
            return None
        count = self._undone_run(first, min(end, first + self.policy.most_tasks))
        self._share_next[rank] = first + count
        return Chunk(first, count)

    def _disown(self, rank: int) -> list[tuple[int, int]]:
        """What this rank alone would still have got; from now on others do."""
        if not self._share_next:
            return []
        first, end = self._share_next[rank], self._share_ends[rank]
        self._share_next[rank] = end
        return [(first, end)] if first < end else []

    def _is_to_come(self, task: int) -> bool:
        """The task lies in what will be given out anyway, once it is not done."""
        if self._share_next:
            owner = bisect_right(self._share_begins, task) - 1
            return self._share_next[owner] <= task < self._share_ends[owner]
        return task >= (self._limit or 0)

    # Pending tasks

    def _add(self, first: int, end: int) -> None:
        """Tasks that are not done are pending, for any rank."""
        limit = self._limit or 0
        if first < limit:
            heapq.heappush(self._open, (first, min(end, limit)))
            self._pending += self._undone(first, min(end, limit))
        if end > limit:
            heapq.heappush(self._closed, (max(first, limit), end))

    def _take(self) -> Chunk | None:
        """The lowest pending tasks."""
        stretches = self._open
        while stretches:
            first, end = heapq.heappop(stretches)
            while stretches and stretches[0][0] <= end:
                end = max(end, heapq.heappop(stretches)[1])
            first = self._skip_done(first, end)
            if first == end:
                continue
            count = self._undone_run(first, min(end, first + self._size(self._pending)))
            if first + count < end:
                heapq.heappush(stretches, (first + count, end))
            self._pending = max(0, self._pending - count)
            return Chunk(first, count)
        self._pending = 0
        return None

    def _size(self, pending: int) -> int:
        """How large a chunk of so many pending tasks is."""
        parts = self.policy.divisor * self._alive
        return max(self.policy.least_tasks, min(self.policy.most_tasks, -(-pending // parts)))

    @property
    def _alive(self) -> int:
        return max(1, self.ranks - len(self._lost))

    # Tasks that ranks have

    def _hold(self, rank: int, chunk: Chunk) -> None:
        mine = self._held[rank]
        if len(mine) > 1:
            mine = self._held[rank] = [other for other in mine if self._undone(other.first, other.end)]
        self._order += 1
        held = _Held(chunk.first, chunk.end, self._order)
        mine.append(held)
        self._offer(held)

    def _held_by_nobody(self, lost: _Held) -> Iterator[tuple[int, int]]:
        """The stretches of a lost chunk that no rank has; a copy of the others counts as the original from now on."""
        first = lost.first
        copies = [other for mine in self._held for other in mine if other.first < lost.end and lost.first < other.end]
        for other in sorted(copies, key=lambda other: other.first):
            if not other.order:
                self._order += 1
                other.order = self._order
                self._offer(other)
            if first < other.first:
                yield first, other.first
            first = max(first, other.end)
        if first < lost.end:
            yield first, lost.end

    def _offer(self, held: _Held) -> None:
        """A chunk may be copied."""
        self._offers += 1
        heapq.heappush(self._copyable, (0, held.order, self._offers, held))
        if len(self._copyable) > self._copyable_most:
            self._copyable = [entry for entry in self._copyable if self._undone(entry[3].first, entry[3].end)]
            heapq.heapify(self._copyable)
            self._copyable_most = max(4 * self.ranks + 64, 2 * len(self._copyable))

    def _undone_pieces(self, held: _Held) -> Iterator[_Held]:
        """A chunk without its tasks that are done."""
        stretches = list(self._undone_stretches(held.first, held.end))
        if stretches == [(held.first, held.end)]:
            yield held
            return
        held.drop()
        for first, end in stretches:
            piece = _Held(first, end, held.order)
            if piece.order:
                self._offer(piece)
            yield piece

    def _copy(self) -> Chunk | None:
        """Tasks that a rank has and that are not done, for another."""
        while self._copyable:
            turn, order, number, held = self._copyable[0]
            end = self._behind_last_undone(held.first, held.uncopied)
            if end == held.first:
                if self._undone(held.first, held.end):
                    held.uncopied = held.end
                    heapq.heapreplace(self._copyable, (turn + 1, order, number, held))
                else:
                    heapq.heappop(self._copyable)
                continue
            if turn and self._asks - held.asked < turn * self._alive:
                return None
            first = max(held.first, end - self._size(self._undone(held.first, end)))
            first += self._done_bits(first, end).bit_length()  # behind the last that is done: no gap
            held.uncopied = first
            held.asked = self._asks
            return Chunk(first, end - first)
        return None

    # The bits of tasks that are done

    def _done_bits(self, first: int, end: int) -> int:
        """Bit i is one if task first + i is done."""
        bits = int.from_bytes(self._done[first >> 3 : (end + 7) >> 3], "little") >> (first & 7)
        return bits & ((1 << (end - first)) - 1)

    def _undone(self, first: int, end: int) -> int:
        return end - first - self._done_bits(first, end).bit_count()

    def _skip_done(self, first: int, end: int) -> int:
        """The first task from `first` on that is not done, or `end`."""
        window = 8
        while first < end:
            stop = min(end, first + window)
            bits = self._done_bits(first, stop)
            run = (~bits & (bits + 1)).bit_length() - 1
            if first + run < stop:
                return first + run
            first = stop
            window = min(2 * window, _MOST_SCANNED)
        return first

    def _undone_run(self, first: int, end: int) -> int:
        """How many tasks from `first` on are not done."""
        bits = self._done_bits(first, end)
        return (bits & -bits).bit_length() - 1 if bits else end - first

    def _undone_stretches(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        while (first := self._skip_done(first, end)) < end:
            run = self._undone_run(first, end)
            yield first, first + run
            first += run

    def _behind_last_undone(self, first: int, end: int) -> int:
        """Behind the last task before `end` that is not done; `first` if there is none."""
        undone = self._done_bits(first, end) ^ ((1 << (end - first)) - 1)
        return first + undone.bit_length()

    def _mark(self, first: int, end: int) -> int:
        """Tasks are done; returns how many were not."""
        new = self._undone(first, end)
        if new:
            low, high = first >> 3, (end + 7) >> 3
            bits = int.from_bytes(self._done[low:high], "little") | (((1 << (end - first)) - 1) << (first & 7))
            self._done[low:high] = bits.to_bytes(high - low, "little")
            self.completed += new
        return new

    # What must not be

    def _require_rank(self, rank: int) -> None:
        if not 0 <= rank < self.ranks:
            raise ConfigError(f"rank: expected 0 to {self.ranks - 1}, got {rank}", rank=rank, ranks=self.ranks)

    def _require_tasks(self, chunk: Chunk) -> None:
        if chunk.end > self.tasks:
            raise ConfigError(
                f"chunk: expected tasks below {self.tasks}, got {chunk.first} to {chunk.end - 1}; it is of another job",
                first=chunk.first,
                count=chunk.count,
                tasks=self.tasks,
            )


class ReplayScheduler(Scheduler):
    """Gives every rank the chunks that a schedule gave it, in that order, copies too, and no copies beyond those.

    A copy is given even where its tasks are done by then, so that which rank is given what does not depend on how fast
    the others are; whether it still comes to do the last of it does. Chunks of which every task was done at the start
    are left out. A chunk waits until all of it is released. What a rank loses, or what is begun again, is divided as by
    the policy `dynamic`.

    Args:
        tasks: of the job.
        ranks: of the job.
        schedule: to repeat.
        done: tasks that are completed already; may overlap.

    Raises:
        ConfigError: the schedule is for another number of tasks or ranks, or leaves a task out that is not done.
    """

    def __init__(self, tasks: int, ranks: int, schedule: Schedule, *, done: Iterable[Chunk] = ()) -> None:
        for what, expected, got in (("tasks", tasks, schedule.tasks), ("ranks", ranks, schedule.ranks)):
            if expected != got:
                raise ConfigError(
                    f"schedule: expected one of {expected} {what}, got one of {got}; give the log of this very job, "
                    "with as many ranks",
                    what=what,
                    expected=expected,
                    got=got,
                )
        self._schedule = schedule
        self._queues: list[list[Chunk]] = []
        super().__init__(tasks, ranks, schedule.policy, done=done)

    @property
    def is_given_out(self) -> bool:
        """Every chunk of the schedule was given to its rank, or that one was lost."""
        return not any(self._queues)

    def _plan(self) -> None:
        self._queues = [[] for _ in range(self.ranks)]
        for rank, chunk in self._schedule.assigned:
            self._require_rank(rank)
            self._require_tasks(chunk)
            if self._undone(chunk.first, chunk.end):
                self._queues[rank].append(chunk)
        done, completed = bytes(self._done), self.completed
        for _, chunk in self._schedule.assigned:
            self._mark(chunk.first, chunk.end)
        missing = self._skip_done(0, self.tasks)
        if missing < self.tasks:
            raise ConfigError(
                f"schedule: expected every task that is not done, but task {missing} is missing; give the log of this "
                "very job, from a run that began where this one does and ended",
                task=missing,
            )
        self._done[:] = done
        self.completed = completed
        for queue in self._queues:
            queue.reverse()

    def _own(self, rank: int) -> Chunk | None:
        queue = self._queues[rank]
        if queue and queue[-1].end <= (self._limit or 0):
            return queue.pop()
        return None

    def _disown(self, rank: int) -> list[tuple[int, int]]:
        queue, self._queues[rank] = self._queues[rank], []
        return [(chunk.first, chunk.end) for chunk in queue]

    def _is_to_come(self, task: int) -> bool:
        return any(chunk.first <= task < chunk.end for queue in self._queues for chunk in queue)

    def _copy(self) -> Chunk | None:
        return None


def least_tasks_for(task_s: float, ranks: int, message_s: float = MESSAGE_S) -> int:
    """Fewest tasks of a chunk for which coordination costs less than 1 % and the coordinator keeps up.

    A chunk is worth 100 messages of decoding, so that all of them together cost 1 % of the work at most. And when all
    ranks have chunks that small, the coordinator's messages take up half of its time.

    Args:
        task_s: mean time of a task on one rank, in seconds, > 0.
        ranks: that ask, >= 1.
        message_s: what one question, its reports and its answer cost the coordinator, in seconds, >= 0.

    Raises:
        ConfigError: an argument outside its range.
    """
    if not task_s > 0:
        raise ConfigError(f"task_s: expected more than 0 seconds, got {task_s}", task_s=task_s)
    if not message_s >= 0:
        raise ConfigError(f"message_s: expected at least 0 seconds, got {message_s}", message_s=message_s)
    if ranks < 1:
        raise ConfigError(f"ranks: expected at least 1, got {ranks}", ranks=ranks)
    return max(1, -int(-max(100, 2 * ranks) * message_s // task_s))


def choose_policy(tasks: int, ranks: int, task_s: float, message_s: float = MESSAGE_S) -> SchedulePolicy:
    """A dynamic policy that suits a job.

    Args:
        tasks: of the job, >= 0.
        ranks: that will ask, >= 1.
        task_s: mean time of a task on one rank, in seconds, > 0.
        message_s: what a message costs the coordinator, in seconds, >= 0.

    Raises:
        ConfigError: an argument outside its range.
    """
    least = least_tasks_for(task_s, ranks, message_s)
    # A short job is divided all the same: every rank gets something.
    least = max(1, min(least, tasks // (2 * ranks)))
    return SchedulePolicy(least_tasks=least, most_tasks=max(least, MOST_TASKS))

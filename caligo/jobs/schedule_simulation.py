"""What a schedule would cost on a machine that is not here: a discrete-event simulation of the scheduler itself; pure.

Covers: ranks of different speeds that come late, die or hang, messages that take time, a coordinator that serves them
one by one, and the efficiency that results. Does not cover: measuring a task or a message (`caligo bench decoder`,
docs/performance.md), nodes that share anything but the coordinator.

A rank works on one chunk and has asked for the next. When it ends one, one message reports all its tasks and asks
again. Messages queue before the coordinator, each takes it `message_s`, and each way takes `latency_s`. Who has nothing
to do and can be given nothing is not answered until something is pending again, or the coordinator looks again, every
`poll_s`. What a rank had begun when it died counts for nothing. The scheduler is
:class:`~caligo.jobs.scheduling.Scheduler`, call for call.

The time of a task is one of the given samples, chosen by splitmix64 (Steele, Lea and Flood, OOPSLA 2014) at
(seed, task): the same for every rank, every policy and every repetition. Equal arguments, equal results.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caligo.errors import ConfigError
from caligo.jobs.scheduling import MESSAGE_S, Chunk, SchedulePolicy, Scheduler

__all__ = ["ScheduleSimulation", "SimulatedRank", "draw_task_times", "simulate_schedule", "simulated_ranks"]

LATENCY_S = 20e-6
POLL_S = 0.1
"""How long who is idle waits before the coordinator looks again, when nothing else happens."""


@dataclass(frozen=True, slots=True)
class SimulatedRank:
    """A rank.

    Args:
        speed: 1 does a task in its time, 0.5 takes twice as long; > 0.
        starts_s: when it begins to ask, >= 0.
        ends_s: when it dies or hangs; infinite: it does not.
        noticed_s: how long after that the coordinator knows; infinite: never.

    Raises:
        ConfigError: an argument outside its range.
    """

    speed: float = 1.0
    starts_s: float = 0.0
    ends_s: float = math.inf
    noticed_s: float = math.inf

    def __post_init__(self) -> None:
        if not 0 < self.speed < math.inf:
            raise ConfigError(f"speed: expected more than 0, got {self.speed}", speed=self.speed)
        for name in ("starts_s", "ends_s", "noticed_s"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name}: expected at least 0 seconds, got {getattr(self, name)}", name=name)


@dataclass(frozen=True, slots=True)
class ScheduleSimulation:
    """What came of a simulated schedule.

    Args:
        makespan_s: when the coordinator knew that every task is completed; infinite if that never was.
        ideal_s: when that would have been, had the ranks that were there shared the work evenly to the last instant.
        work_s: of all tasks, at speed 1.
        chunks: that were given.
        messages: that the coordinator served.
        coordinator_share: of the makespan that it was serving.
        copied_tasks: given to another rank beside the one that had them.
        waiting_share: of the time of all ranks, while they were there, in which they had nothing to do.
        duplicated_share: of that time, in which they did what somebody else completed first.
    """

    makespan_s: float
    ideal_s: float
    work_s: float
    chunks: int
    messages: int
    coordinator_share: float
    copied_tasks: int
    waiting_share: float
    duplicated_share: float

    @property
    def efficiency(self) -> float:
        """Ideal over actual time; 0 for a schedule that never ended."""
        return self.ideal_s / self.makespan_s if self.makespan_s else 1.0

    @property
    def is_done(self) -> bool:
        """It ended."""
        return math.isfinite(self.makespan_s)


def draw_task_times(tasks: int, samples_s: Sequence[float], seed: int) -> NDArray[np.float64]:
    """A time for each task, each one of the samples.

    Args:
        tasks: how many, >= 0.
        samples_s: measured times in seconds, > 0; one or more.
        seed: in [0, 2^64).

    Returns:
        float64 `[tasks]`; a task's time depends on the seed and its index alone.

    Raises:
        ConfigError: no samples, or one that is not a positive time; a seed outside its range.
    """
    if not samples_s or not all(0 < sample < math.inf for sample in samples_s):
        raise ConfigError("task times: expected one or more samples of more than 0 seconds; measure some tasks")
    if not 0 <= seed < 1 << 64:
        raise ConfigError(f"seed: expected an integer in [0, 2^64), got {seed}", seed=seed)
    golden = 0x9E3779B97F4A7C15
    # The seed is a step of its own, so that neighbouring seeds do not share shifted sequences.
    start = np.uint64(_mixed(seed + golden))
    state = np.arange(1, tasks + 1, dtype=np.uint64) * np.uint64(golden) + start
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    uniform = ((state ^ (state >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    times = np.asarray(samples_s, dtype=np.float64)
    drawn: NDArray[np.float64] = times[(uniform * len(times)).astype(np.int64)]
    return drawn


def _mixed(word: int) -> int:
    mask = (1 << 64) - 1
    word &= mask
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & mask
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & mask
    return word ^ (word >> 31)


def simulated_ranks(
    ranks: int,
    *,
    slow_share: float = 0.0,
    slow_factor: float = 2.0,
    late_share: float = 0.0,
    late_s: float = 0.0,
    failures: int = 0,
    stalled: int = 0,
    within_s: float = 0.0,
    noticed_s: float = 5.0,
) -> tuple[SimulatedRank, ...]:
    """Ranks of which some are slow, late, or lost; which ones, and when, is spread evenly, and never rank 0.

    Args:
        ranks: how many, >= 1.
        slow_share: of them takes longer for a task, 0 to 1.
        slow_factor: how many times as long, > 0.
        late_share: of them begins late, 0 to 1.
        late_s: how late.
        failures: ranks that die; with those that hang less than `ranks`.
        stalled: ranks that hang, which the coordinator never learns.
        within_s: they do so at times spread evenly over so many seconds.
        noticed_s: after so many the coordinator knows of a death.

    Raises:
        ConfigError: an argument outside its range.
    """
    if ranks < 1:
        raise ConfigError(f"ranks: expected at least 1, got {ranks}", ranks=ranks)
    for name, share in (("slow_share", slow_share), ("late_share", late_share)):
        if not 0 <= share <= 1:
            raise ConfigError(f"{name}: expected 0 to 1, got {share}", name=name)
    if not slow_factor > 0:
        raise ConfigError(f"slow_factor: expected more than 0, got {slow_factor}", slow_factor=slow_factor)
    gone = failures + stalled
    if failures < 0 or stalled < 0 or gone >= ranks:
        raise ConfigError(
            f"failures and stalled ranks: expected fewer than the {ranks} ranks, got {failures} and {stalled}",
            ranks=ranks,
            failures=failures,
            stalled=stalled,
        )

    def within(share: float, rank: int) -> bool:
        return math.floor((rank + 1) * share + 1e-9) > math.floor(rank * share + 1e-9)

    # Of those that are gone, which die and which hang alternates as evenly as it can.
    ends = {
        1 + number * (ranks - 1) // gone: (within_s * (number + 1) / (gone + 1), within(failures / gone, number))
        for number in range(gone)
    }
    made = []
    for rank in range(ranks):
        ends_s, dies = ends.get(rank, (math.inf, False))
        made.append(
            SimulatedRank(
                speed=1 / slow_factor if within(slow_share, rank) else 1.0,
                starts_s=late_s if rank and within(late_share, rank) else 0.0,
                ends_s=ends_s,
                noticed_s=noticed_s if dies else math.inf,
            )
        )
    return tuple(made)


def _ideal_s(work_s: float, ranks: Sequence[SimulatedRank]) -> float:
    """When the ranks that are there would have done the work, divided at will."""
    changes = sorted(
        [(rank.starts_s, rank.speed) for rank in ranks if rank.starts_s < rank.ends_s]
        + [(rank.ends_s, -rank.speed) for rank in ranks if rank.starts_s < rank.ends_s < math.inf]
    )
    at_s, speed = 0.0, 0.0
    for then_s, change in changes:
        if speed > 0 and work_s <= speed * (then_s - at_s):
            break
        work_s -= speed * (then_s - at_s)
        at_s, speed = then_s, speed + change
    # Speeds that were added and taken away again leave rounding errors behind.
    return at_s + work_s / speed if speed > 1e-9 else math.inf


_ARRIVES, _ANSWERED, _ENDS, _NOTICED, _LOOKS = range(5)


class _Rank:
    """What a rank does at the moment."""

    __slots__ = ("ahead", "asking", "ends_s", "running", "spec")

    def __init__(self, spec: SimulatedRank) -> None:
        self.spec = spec
        self.running: Chunk | None = None
        self.ahead: Chunk | None = None
        self.asking = False
        self.ends_s = 0.0


class _Simulation:
    """Events in the order of time; equal times in the order in which they were foreseen."""

    def __init__(
        self,
        times_s: NDArray[np.float64],
        ranks: Sequence[SimulatedRank],
        policy: SchedulePolicy,
        *,
        message_s: float,
        latency_s: float,
        poll_s: float,
    ) -> None:
        self.scheduler = Scheduler(len(times_s), len(ranks), policy)
        self.until_s = np.concatenate(([0.0], np.cumsum(times_s)))
        self.ranks = [_Rank(spec) for spec in ranks]
        self.message_s = message_s
        self.latency_s = latency_s
        self.poll_s = poll_s
        self.events: list[tuple[float, int, int, int, Chunk | None]] = []
        self.foreseen = 0
        self.idle: dict[int, None] = {}
        self.looking = False
        self.free_s = 0.0
        self.messages = self.chunks = 0
        self.busy_s = self.duplicated_s = 0.0
        for number, spec in enumerate(ranks):
            if spec.starts_s < spec.ends_s:
                self.ask(spec.starts_s, number, None)
            if math.isfinite(spec.ends_s + spec.noticed_s):
                self.foresee(spec.ends_s + spec.noticed_s, _NOTICED, number, None)

    def foresee(self, at_s: float, kind: int, rank: int, chunk: Chunk | None) -> None:
        self.foreseen += 1
        heapq.heappush(self.events, (at_s, self.foreseen, kind, rank, chunk))

    def run(self) -> float:
        """Until all is done; when that is."""
        if self.scheduler.is_done:
            return 0.0
        handlers = {
            _ARRIVES: self.arrives,
            _ANSWERED: self.answered,
            _ENDS: self.ends,
            _NOTICED: self.noticed,
            _LOOKS: self.looks,
        }
        while self.events:
            at_s, _, kind, rank, chunk = heapq.heappop(self.events)
            handlers[kind](at_s, rank, chunk)
            if self.scheduler.is_done:
                return self.free_s
        return math.inf

    # The ranks

    def ask(self, now_s: float, number: int, finished: Chunk | None) -> None:
        """Report a chunk, if there is one, and ask for another, unless an answer is on its way."""
        self.foresee(now_s + self.latency_s, _ARRIVES, number, finished)

    def begin(self, now_s: float, number: int, chunk: Chunk) -> None:
        rank = self.ranks[number]
        took_s = float(self.until_s[chunk.end] - self.until_s[chunk.first]) / rank.spec.speed
        rank.running = chunk
        rank.ends_s = now_s + took_s
        self.busy_s += max(0.0, min(took_s, rank.spec.ends_s - now_s))
        if rank.ends_s < rank.spec.ends_s:
            self.foresee(rank.ends_s, _ENDS, number, chunk)

    def answered(self, now_s: float, number: int, chunk: Chunk | None) -> None:
        rank = self.ranks[number]
        if now_s >= rank.spec.ends_s:
            return
        rank.asking = False
        if rank.running is not None:
            rank.ahead = chunk
            return
        if chunk is not None:
            self.begin(now_s, number, chunk)
        # Nothing ahead; or the last chunk ended while the coordinator said that there is nothing beside it.
        self.request(now_s, number)

    def request(self, now_s: float, number: int) -> None:
        self.ranks[number].asking = True
        self.ask(now_s, number, None)

    def ends(self, now_s: float, number: int, chunk: Chunk | None) -> None:
        rank = self.ranks[number]
        rank.running = None
        if rank.ahead is not None:
            following, rank.ahead = rank.ahead, None
            self.begin(now_s, number, following)
        self.ask(now_s, number, chunk)

    # The coordinator

    def serve(self, now_s: float) -> float:
        """One message; when it is done."""
        self.free_s = max(self.free_s, now_s) + self.message_s
        self.messages += 1
        return self.free_s

    def arrives(self, now_s: float, number: int, finished: Chunk | None) -> None:
        rank = self.ranks[number]
        done_s = self.serve(now_s)
        asks = finished is None or not rank.asking
        if finished is not None:
            new = self.scheduler.complete_all(number, finished)
            if new < finished.count:
                took_s = float(self.until_s[finished.end] - self.until_s[finished.first]) / rank.spec.speed
                self.duplicated_s += took_s * (finished.count - new) / finished.count
        if asks and not self.scheduler.is_done:
            rank.asking = True
            self.answer(done_s, number)

    def answer(self, now_s: float, number: int) -> bool:
        """Give a rank work, say that there is none, or let it wait; whether it was given any."""
        chunk = self.scheduler.next(number)
        if chunk is None and not self.scheduler.outstanding(number):
            self.idle[number] = None
            # In a static schedule nothing comes of waiting, and the end of all events is the end.
            if not self.looking and self.scheduler.policy.kind == "dynamic":
                self.looking = True
                self.foresee(now_s + self.poll_s, _LOOKS, number, None)
            return False
        self.chunks += chunk is not None
        self.foresee(now_s + self.latency_s, _ANSWERED, number, chunk)
        return chunk is not None

    def look(self, now_s: float) -> None:
        """Answer those who wait, if there is something now."""
        waiting, self.idle = list(self.idle), {}
        for number in waiting:
            if self.answer(max(self.free_s, now_s) + self.message_s, number):
                self.serve(now_s)

    def noticed(self, now_s: float, number: int, chunk: Chunk | None) -> None:
        self.scheduler.lose(number)
        self.idle.pop(number, None)
        self.look(now_s)

    def looks(self, now_s: float, number: int, chunk: Chunk | None) -> None:
        self.looking = False
        self.look(now_s)


def simulate_schedule(
    times_s: NDArray[np.float64],
    ranks: Sequence[SimulatedRank],
    policy: SchedulePolicy,
    *,
    message_s: float = MESSAGE_S,
    latency_s: float = LATENCY_S,
    poll_s: float = POLL_S,
) -> ScheduleSimulation:
    """Run the scheduler on ranks that are not here.

    Args:
        times_s: float64 `[tasks]`, of each task at speed 1, in seconds, > 0 (:func:`draw_task_times`).
        ranks: one or more.
        policy: how tasks are divided.
        message_s: what one message and its answer cost the coordinator, >= 0.
        latency_s: what a message takes each way, >= 0.
        poll_s: how often the coordinator looks again for those who wait, > 0.

    Returns:
        What came of it.

    Raises:
        ConfigError: an argument outside its range, or no ranks.
    """
    if not (message_s >= 0 and latency_s >= 0 and poll_s > 0):
        raise ConfigError(
            f"simulation: expected message_s >= 0, latency_s >= 0 and poll_s > 0, got {message_s}, {latency_s} and "
            f"{poll_s}",
            message_s=message_s,
            latency_s=latency_s,
            poll_s=poll_s,
        )
    simulation = _Simulation(times_s, ranks, policy, message_s=message_s, latency_s=latency_s, poll_s=poll_s)
    makespan_s = simulation.run()
    work_s = float(simulation.until_s[-1])
    busy_s, present_s = simulation.busy_s, 0.0
    if math.isfinite(makespan_s):
        present_s = sum(max(0.0, min(rank.ends_s, makespan_s) - rank.starts_s) for rank in ranks)
        # What ranks still run when all is done is no work of this job any more.
        busy_s -= sum(
            max(0.0, min(rank.ends_s, rank.spec.ends_s) - makespan_s)
            for rank in simulation.ranks
            if rank.running is not None
        )
    return ScheduleSimulation(
        makespan_s=makespan_s,
        ideal_s=_ideal_s(work_s, ranks),
        work_s=work_s,
        chunks=simulation.chunks,
        messages=simulation.messages,
        coordinator_share=simulation.messages * simulation.message_s / makespan_s if makespan_s else 0.0,
        copied_tasks=simulation.scheduler.copied,
        waiting_share=max(0.0, 1 - busy_s / present_s) if present_s else 0.0,
        duplicated_share=simulation.duplicated_s / present_s if present_s else 0.0,
    )

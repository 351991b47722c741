"""Laws of scheduling: nothing is lost or given early, nobody is waited for, the same calls get the same answers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.errors import ConfigError, SchemaVersionError, StoreError
from caligo.jobs.schedule_log import ScheduleLog, read_schedule
from caligo.jobs.scheduling import (
    Chunk,
    ReplayScheduler,
    Schedule,
    SchedulePolicy,
    Scheduler,
    choose_policy,
    least_tasks_for,
)

policies = st.builds(
    lambda kind, least, more, divisor: SchedulePolicy(kind, least, least + more, divisor),
    st.sampled_from(["dynamic", "static"]),
    st.integers(1, 8),
    st.integers(0, 40),
    st.integers(1, 6),
)


@st.composite
def jobs(draw: st.DrawFn) -> tuple[int, int, SchedulePolicy, list[Chunk]]:
    tasks = draw(st.integers(0, 300))
    done = draw(st.lists(st.tuples(st.integers(0, 299), st.integers(1, 40)), max_size=8))
    chunks = [Chunk(first, min(count, tasks - first)) for first, count in done if first < tasks]
    return tasks, draw(st.integers(1, 7)), draw(policies), chunks


class Drive:
    """Ranks that ask, work and report in an order drawn from `order`; checks every answer."""

    def __init__(self, scheduler: Scheduler, done: list[Chunk], order: random.Random) -> None:
        self.scheduler = scheduler
        self.order = order
        self.limit: int | None = None
        self.undone = set(range(scheduler.tasks)) - {task for chunk in done for task in chunk}
        self.held: list[list[int]] = [[] for _ in range(scheduler.ranks)]
        self.given: list[tuple[int, Chunk]] = []

    def ask(self, rank: int) -> Chunk | None:
        mine = self.undone.intersection(self.held[rank])
        assert self.scheduler.outstanding(rank) == len(mine)
        chunk = self.scheduler.next(rank)
        if chunk is not None:
            assert set(chunk) <= self.undone, "only what is not completed"
            assert not mine.intersection(chunk), "never what the rank has already"
            assert self.limit is None or chunk.end <= self.limit
            if mine:
                others = {task for tasks in self.held for task in tasks}
                assert not others.intersection(chunk), "who asks ahead gets no copy"
            self.held[rank].extend(chunk)
            self.given.append((rank, chunk))
        return chunk

    def work(self, rank: int) -> None:
        if self.held[rank]:
            task = self.held[rank].pop(self.order.randrange(len(self.held[rank])))
            assert self.scheduler.complete(rank, task) == (task in self.undone)
            self.undone.discard(task)
            self.check()

    def release(self) -> None:
        limit = self.order.randrange(self.scheduler.tasks + 1)
        self.scheduler.release(limit)
        if self.limit is None and not self.given:
            self.limit = limit
        elif self.limit is not None:
            self.limit = max(self.limit, limit)

    def lose(self, rank: int) -> None:
        self.scheduler.lose(rank)
        self.held[rank] = []
        assert self.scheduler.outstanding(rank) == 0

    def reopen(self) -> None:
        if self.scheduler.tasks:
            first = self.order.randrange(self.scheduler.tasks)
            chunk = Chunk(first, self.order.randint(1, min(9, self.scheduler.tasks - first)))
            # A task that is done is with nobody any more, as far as this test's ranks go.
            again = set(chunk) - self.undone
            self.held = [[task for task in tasks if task not in again] for tasks in self.held]
            self.scheduler.reopen(chunk)
            self.undone |= again
            self.check()

    def check(self) -> None:
        assert self.scheduler.completed == self.scheduler.tasks - len(self.undone)
        assert self.scheduler.is_done == (not self.undone)
        assert self.scheduler.first_unfinished() == min(self.undone, default=self.scheduler.tasks)

    def finish(self, ranks: list[int]) -> None:
        """Only these go on, until all is done."""
        self.scheduler.release(self.scheduler.tasks)
        self.limit = None
        patience = 400 + 20 * self.scheduler.ranks * (len(self.undone) + 1)
        while self.undone:
            rank = self.order.choice(ranks)
            if self.ask(rank) is None:
                patience -= 1
            assert patience, "those who ask are given what is left"
            self.work(rank)
            self.work(rank)


@given(jobs(), st.randoms(use_true_random=False), st.lists(st.sampled_from("aaaawwwwwrlo"), max_size=120))
def test_every_task_is_completed_once_whatever_the_order(
    job: tuple[int, int, SchedulePolicy, list[Chunk]], order: random.Random, moves: list[str]
) -> None:
    tasks, ranks, policy, done = job
    drive = Drive(Scheduler(tasks, ranks, policy, done=done), done, order)
    drive.check()
    for move in moves:
        rank = order.randrange(ranks)
        {
            "a": drive.ask,
            "w": drive.work,
            "l": drive.lose,
            "r": lambda _: drive.release(),
            "o": lambda _: drive.reopen(),
        }[move](rank)
    drive.finish(list(range(ranks)))


@given(jobs(), st.randoms(use_true_random=False), st.integers(0, 6))
def test_ranks_that_stall_hold_up_nobody_in_a_dynamic_schedule(
    job: tuple[int, int, SchedulePolicy, list[Chunk]], order: random.Random, alive: int
) -> None:
    tasks, ranks, policy, done = job
    policy = SchedulePolicy("dynamic", policy.least_tasks, policy.most_tasks, policy.divisor)
    drive = Drive(Scheduler(tasks, ranks, policy, done=done), done, order)
    for _ in range(order.randrange(40)):
        drive.ask(order.randrange(ranks))
    drive.finish([alive % ranks])


@given(jobs(), st.randoms(use_true_random=False))
def test_the_same_calls_get_the_same_answers_and_a_replay_gives_them_again(
    job: tuple[int, int, SchedulePolicy, list[Chunk]], order: random.Random
) -> None:
    tasks, ranks, policy, done = job
    seed = order.randrange(1 << 32)
    given_twice = []
    for _ in range(2):
        drive = Drive(Scheduler(tasks, ranks, policy, done=done), done, random.Random(seed))
        drive.finish(list(range(ranks)))
        given_twice.append(drive.given)
    assert given_twice[0] == given_twice[1]

    schedule = Schedule(tasks, ranks, policy, tuple(given_twice[0]))
    replay = ReplayScheduler(tasks, ranks, schedule, done=done)
    again: list[list[Chunk]] = [[] for _ in range(ranks)]
    idle = 0
    while idle < 50:
        rank = order.randrange(ranks)
        chunk = replay.next(rank)
        idle = 0 if chunk else idle + 1
        if chunk:
            again[rank].append(chunk)
            for task in chunk:
                replay.complete(rank, task)
    for rank in range(ranks):
        while chunk := replay.next(rank):
            assert not replay.is_given_out or len(again[rank]) + 1 == sum(who == rank for who, _ in given_twice[0])
            again[rank].append(chunk)
            replay.complete_all(rank, chunk)
    assert replay.is_given_out
    assert again == [[chunk for who, chunk in given_twice[0] if who == rank] for rank in range(ranks)]
    assert replay.is_done


@given(jobs(), st.randoms(use_true_random=False), st.lists(st.sampled_from("aaawwwl"), max_size=60))
def test_a_replay_that_loses_ranks_still_completes_everything(
    job: tuple[int, int, SchedulePolicy, list[Chunk]], order: random.Random, moves: list[str]
) -> None:
    tasks, ranks, policy, done = job
    first = Drive(Scheduler(tasks, ranks, policy, done=done), done, order)
    first.finish(list(range(ranks)))
    replay = ReplayScheduler(tasks, ranks, Schedule(tasks, ranks, policy, tuple(first.given)), done=done)
    undone = set(range(tasks)) - {task for chunk in done for task in chunk}
    held: list[list[int]] = [[] for _ in range(ranks)]
    for move in [*moves, *"l" * (ranks - 1)]:
        rank = order.randrange(ranks)
        if move == "a":
            held[rank].extend(replay.next(rank) or ())
        elif move == "l":
            replay.lose(rank)
            held[rank] = []
        elif held[rank]:
            task = held[rank].pop()
            assert replay.complete(rank, task) == (task in undone)
            undone.discard(task)
    for rank, tasks_held in enumerate(held):
        for task in tasks_held:
            replay.complete(rank, task)
    for rank in range(ranks):
        while chunk := replay.next(rank):
            replay.complete_all(rank, chunk)
    assert replay.is_done


@given(jobs())
def test_a_static_schedule_gives_each_rank_an_equal_part_and_no_other(
    job: tuple[int, int, SchedulePolicy, list[Chunk]],
) -> None:
    tasks, ranks, policy, done = job
    policy = SchedulePolicy("static", policy.least_tasks, policy.most_tasks, policy.divisor)
    scheduler = Scheduler(tasks, ranks, policy, done=done)
    pending = sorted(set(range(tasks)) - {task for chunk in done for task in chunk})
    for rank in reversed(range(ranks)):
        mine: list[int] = []
        while chunk := scheduler.next(rank):
            assert chunk.count <= policy.most_tasks
            mine.extend(chunk)
        assert mine == pending[len(pending) * rank // ranks : len(pending) * (rank + 1) // ranks]


@given(st.integers(1, 5000), st.integers(1, 50), policies)
def test_chunks_of_a_dynamic_schedule_are_in_order_and_shrink(tasks: int, ranks: int, policy: SchedulePolicy) -> None:
    policy = SchedulePolicy("dynamic", policy.least_tasks, policy.most_tasks, policy.divisor)
    scheduler = Scheduler(tasks, ranks, policy)
    sizes, expected = [], 0
    while expected < tasks:
        chunk = scheduler.next(len(sizes) % ranks)
        assert chunk is not None
        assert chunk.first == expected
        assert policy.least_tasks <= chunk.count <= policy.most_tasks or chunk.end == tasks
        share = (tasks - expected) / (policy.divisor * ranks)
        assert chunk.count <= max(policy.least_tasks, share + 1)
        sizes.append(chunk.count)
        expected = chunk.end
    assert sizes == sorted(sizes, reverse=True)


def test_what_is_released_is_what_is_divided() -> None:
    scheduler = Scheduler(1000, 5, SchedulePolicy(divisor=2))
    scheduler.release(100)
    assert scheduler.next(0) == Chunk(0, 10)
    scheduler.release(50)
    scheduler.release(200)
    assert scheduler.next(1) == Chunk(10, 19)


def test_the_oldest_chunk_is_copied_first_from_its_end_and_once() -> None:
    scheduler = Scheduler(8, 4, SchedulePolicy(divisor=1, least_tasks=2))
    assert [scheduler.next(rank) for rank in (0, 1, 2)] == [Chunk(0, 2), Chunk(2, 2), Chunk(4, 2)]
    assert scheduler.next(3) == Chunk(6, 2)
    assert scheduler.complete_all(3, Chunk(6, 2)) == 2
    assert scheduler.complete(0, 1)
    assert scheduler.next(3) == Chunk(0, 1), "the rest of the oldest"
    assert scheduler.next(3) is None, "who has a copy gets no other"
    assert scheduler.complete(3, 0)
    assert not scheduler.complete(0, 0), "the second result is a duplicate"
    assert scheduler.next(3) == Chunk(2, 2)
    assert scheduler.next(0) == Chunk(4, 2)
    scheduler.complete_all(2, Chunk(4, 2))
    answers = [scheduler.next(2) for _ in range(4)]
    assert answers[0] is None, "there is a copy of each"
    assert Chunk(2, 2) in answers, "and when neither comes, another"


def test_what_a_rank_loses_goes_to_the_next_who_asks_and_its_late_result_counts() -> None:
    scheduler = Scheduler(100, 2, SchedulePolicy())
    lost = scheduler.next(0)
    assert lost == Chunk(0, 13)
    assert scheduler.next(1) == Chunk(13, 11)
    scheduler.complete(0, 0)
    scheduler.lose(0)
    assert scheduler.complete(0, 2), "a ghost's result is a result"
    assert scheduler.next(1) == Chunk(1, 1)
    assert scheduler.next(1) == Chunk(3, 10)
    assert not scheduler.complete(0, 2)


def test_unreadable_tasks_are_given_again_even_if_their_new_holder_hangs() -> None:
    scheduler = Scheduler(10, 2, SchedulePolicy(divisor=1, least_tasks=10))
    assert scheduler.next(0) == Chunk(0, 10)
    for task in range(9):
        scheduler.complete(0, task)
    scheduler.reopen(Chunk(3, 1))
    assert (scheduler.completed, scheduler.first_unfinished(), scheduler.outstanding(0)) == (8, 3, 1)
    assert scheduler.next(1) == Chunk(3, 1)
    scheduler.complete(0, 9)
    assert scheduler.outstanding(0) == 0
    assert scheduler.next(0) == Chunk(3, 1)


def test_a_log_that_does_not_fit_is_refused() -> None:
    policy = SchedulePolicy()
    fits = Schedule(4, 2, policy, ((0, Chunk(0, 2)), (1, Chunk(2, 2))))
    assert ReplayScheduler(4, 2, fits).next(1) == Chunk(2, 2)
    with pytest.raises(ConfigError, match="5 tasks, got one of 4"):
        ReplayScheduler(5, 2, fits)
    with pytest.raises(ConfigError, match="3 ranks, got one of 2"):
        ReplayScheduler(4, 3, fits)
    short = Schedule(4, 2, policy, ((0, Chunk(0, 2)), (1, Chunk(3, 1))))
    with pytest.raises(ConfigError, match="task 2 is missing"):
        ReplayScheduler(4, 2, short)
    resumed = ReplayScheduler(4, 2, short, done=[Chunk(2, 2)])
    assert resumed.next(0) == Chunk(0, 2)
    assert resumed.next(1) is None, "what was done at the start is not done again"
    for broken in ((2, Chunk(0, 4)), (-1, Chunk(0, 4)), (0, Chunk(0, 5))):
        with pytest.raises(ConfigError):
            ReplayScheduler(4, 2, Schedule(4, 2, policy, (broken,)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SchedulePolicy("guided"), "expected dynamic or static, got 'guided'"),
        (lambda: SchedulePolicy(least_tasks=0), "least_tasks: expected a whole number >= 1, got 0"),
        (lambda: SchedulePolicy(divisor=True), "divisor"),
        (lambda: SchedulePolicy(least_tasks=9, most_tasks=8), "most_tasks: expected at least least_tasks, 9, got 8"),
        (lambda: Chunk(-1, 1), "chunk"),
        (lambda: Chunk(0, 0), "chunk"),
        (lambda: Scheduler(-1, 1, SchedulePolicy()), "tasks"),
        (lambda: Scheduler(1, 0, SchedulePolicy()), "ranks"),
        (lambda: Scheduler(4, 1, SchedulePolicy(), done=[Chunk(3, 2)]), "expected tasks below 4"),
        (lambda: Scheduler(4, 1, SchedulePolicy()).next(1), "rank: expected 0 to 0, got 1"),
        (lambda: Scheduler(4, 1, SchedulePolicy()).next(-1), "rank: expected 0 to 0, got -1"),
        (lambda: Scheduler(4, 1, SchedulePolicy()).complete(0, 4), "task: expected 0 to 3, got 4"),
        (lambda: Scheduler(4, 1, SchedulePolicy()).reopen(Chunk(2, 3)), "expected tasks below 4"),
        (lambda: least_tasks_for(0.0, 1), "task_s"),
        (lambda: least_tasks_for(1.0, 0), "ranks"),
        (lambda: least_tasks_for(1.0, 1, -1.0), "message_s"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@given(st.floats(1e-4, 10), st.integers(1, 20000), st.floats(0, 1e-3))
def test_chunks_pay_for_their_messages_and_the_coordinator_keeps_up(
    task_s: float, ranks: int, message_s: float
) -> None:
    least = least_tasks_for(task_s, ranks, message_s)
    assert message_s <= 0.01 * least * task_s * (1 + 1e-9)
    assert ranks * message_s <= 0.5 * least * task_s * (1 + 1e-9)
    assert least == 1 or (least - 1) * task_s < max(100, 2 * ranks) * message_s * (1 + 1e-9), "and are no larger"


@given(st.integers(0, 10**7), st.integers(1, 20000), st.floats(1e-4, 10))
def test_a_policy_is_found_for_every_job(tasks: int, ranks: int, task_s: float) -> None:
    policy = choose_policy(tasks, ranks, task_s)
    assert policy.kind == "dynamic"
    assert policy.least_tasks <= max(1, tasks // (2 * ranks)), "every rank of a short job gets something"


schedules = st.builds(
    lambda ranks, policy, assigned: Schedule(
        1000, ranks, policy, tuple((rank % ranks, Chunk(first, count)) for rank, first, count in assigned)
    ),
    st.integers(1, 300),
    policies,
    st.lists(st.tuples(st.integers(0, 299), st.integers(0, 900), st.integers(1, 100)), max_size=20),
)


def write(path: Path, schedule: Schedule) -> None:
    path.unlink(missing_ok=True)
    with ScheduleLog(path, schedule.tasks, schedule.ranks, schedule.policy) as log:
        for rank, chunk in schedule.assigned:
            log.add(rank, chunk)


@given(schedules, st.data())
def test_a_log_reads_as_it_was_written_and_a_torn_line_loses_only_itself(
    tmp_path_factory: pytest.TempPathFactory, schedule: Schedule, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("log") / "schedule.jsonl"
    write(path, schedule)
    assert read_schedule(path) == schedule
    text = path.read_bytes()
    head = text.index(b"\n") + 1
    cut = data.draw(st.integers(head, len(text)))
    path.write_bytes(text[:cut])
    whole = text[head:cut].count(b"\n")
    assert read_schedule(path).assigned == schedule.assigned[:whole]


def test_what_was_added_is_in_the_file_before_it_is_closed(tmp_path: Path) -> None:
    log = ScheduleLog(tmp_path / "log", 10, 2, SchedulePolicy())
    log.add(1, Chunk(3, 4))
    assert read_schedule(tmp_path / "log").assigned == ((1, Chunk(3, 4)),)
    log.close()
    log.close()
    with pytest.raises(StoreError, match="File exists"):
        ScheduleLog(tmp_path / "log", 10, 2, SchedulePolicy())
    with pytest.raises(StoreError, match="No such file"):
        read_schedule(tmp_path / "none")


HEAD: dict[str, object] = {
    "schema": "caligo.schedule/1",
    "tasks": 9,
    "ranks": 2,
    "policy": {"kind": "dynamic", "least_tasks": 1, "most_tasks": 8, "divisor": 4},
}
LINE = {"rank": 1, "first": 0, "count": 9}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "got an empty file"),
        (["{"], "line 1: expected one JSON object"),
        (["[]"], "line 1: expected an object with the members schema, tasks, ranks, policy"),
        ([HEAD | {"schema": "caligo.run/1"}], "line 1: expected the schema caligo.schedule/1, got 'caligo.run/1'"),
        ([HEAD | {"tasks": -1}], "line 1: expected tasks >= 0"),
        ([HEAD | {"ranks": True}], "line 1: ranks: expected int, got bool"),
        ([HEAD | {"policy": {"kind": "dynamic"}}], "line 1: expected an object with the members kind"),
        ([HEAD, LINE, "}"], "line 3: expected one JSON object"),
        ([HEAD, LINE, "\xff\xfe"], "line 3: expected one JSON object"),
        ([HEAD, LINE | {"rank": 2}], "line 2: expected a rank below 2"),
        ([HEAD, LINE | {"first": 1}], "line 2: expected a rank below 2 and tasks below 9, got rank 1 and tasks 1 to 9"),
        ([HEAD, LINE | {"count": 0}], "line 2: chunk"),
        ([HEAD, LINE | {"count": 1.0}], "line 2: count: expected int, got float"),
        ([HEAD, LINE | {"more": 1}], "line 2: expected an object with the members rank, first, count"),
        ([HEAD, "[" * 100_000], "line 2: expected one JSON object"),
    ],
)
def test_a_log_that_is_none_is_refused_with_the_line(
    tmp_path: Path, lines: list[str | dict[str, object]], message: str
) -> None:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (tmp_path / "log").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=message):
        read_schedule(tmp_path / "log")


def test_a_log_of_a_newer_caligo_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(json.dumps(HEAD | {"schema": "caligo.schedule/2", "else": 1}) + "\n")
    with pytest.raises(SchemaVersionError, match="upgrade caligo"):
        read_schedule(tmp_path / "log")

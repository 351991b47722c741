"""A job from its file to its end, on one rank or many: begin or go on, share out, put in place, record.

Covers: what rank 0 decides and what it tells the others, going on after an interruption, the record, the end. Does not
cover: the job file (:mod:`.job_file`), the loop of a rank (:mod:`.rank_loop`), carrying messages and starting processes
(:mod:`caligo.cluster`), printing.

**Once for a job**: its definition, the fingerprints of its key files and its public random values, in the work
directory before anything is disclosed; what the sampled positions said, before the first block. **For each attempt**:
a directory, a record in the store, a shard for each rank. An attempt reads what earlier ones have done and does the
rest; when all is done the blocks are recorded and the bits put in place in the order of the key, whoever did them. So
outputs and records are the same for any number of threads, ranks and attempts, and any schedule; times are not.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from caligo.errors import ClusterError, ConfigError, ExitCode, KeyFileError, StoreError
from caligo.jobs.accounting import Totals
from caligo.jobs.coordination import Coordinator, End, Ledger, Mailbox, Message, Phase
from caligo.jobs.job_file import JobFile, KeysTable, SimulateTable, require_one_file_system
from caligo.jobs.outputs import OUTPUT_NAMES
from caligo.jobs.rank_loop import RankLoop
from caligo.jobs.reconcile_tasks import ReconcileConductor, ReconcileWorker
from caligo.jobs.reconcile_work import ReconcileWork, replayed_randomness
from caligo.jobs.report import ReconciliationReport
from caligo.jobs.run_settings import JobOutcome, LocalMailbox, RunSettings
from caligo.jobs.runner import interrupts_deferred
from caligo.jobs.schedule_log import ScheduleLog, read_schedule
from caligo.jobs.scheduling import Chunk, ReplayScheduler, SchedulePolicy, Scheduler, choose_policy
from caligo.jobs.shards import ShardReader, ShardWriter
from caligo.jobs.simulate_tasks import SimulateConductor, SimulateWorker
from caligo.jobs.sources import same_file
from caligo.jobs.stopping import StopFlag, stop_requests
from caligo.jobs.tasks import Figures, MergeOrder, TaskConductor, TaskWorker
from caligo.jobs.work_directory import Attempt, WorkDirectory, iterate_shards, shard_name, this_process
from caligo.keys import KeyPair, KeyReader, open_key, prepare_output_directory
from caligo.keys.pieces import commit_pieces, create_pieces, remove_partials
from caligo.memory import MemoryGuard, MemoryLimit, memory_limit, peak_rss_bytes, stated_limit
from caligo.randomness import SecurityRandomness
from caligo.reconciliation.estimation import QberEstimate
from caligo.simulation import Simulation, SimulationResult
from caligo.statistics import Proportion
from caligo.store import RunWriter, find_run, load_run
from caligo.telemetry import (
    NO_PROGRESS,
    Announcer,
    JobProgress,
    RankReport,
    Snapshot,
    Telemetry,
    merge_traces,
    startup_report,
    write_spans,
)

__all__ = ["JobOutcome", "LocalMailbox", "RunSettings", "run_job"]

ASSUMED_MBPS = 400.0
"""Decoding rate of a core by which chunks are sized where nobody says: it decides what sharing out costs, no more."""

_BEGIN_S = 900.0
"""How long a rank waits for rank 0 to have sampled, designed and looked at earlier attempts."""

_LATEST_S = 5.0

_MOST_STOPPING = 0.25
"""Of a time limit, as much as `limits.stop_before` may take."""

_log = logging.getLogger("caligo.jobs")


@dataclass(frozen=True, slots=True)
class _Begin:
    """Rank 0 to all others: what is to be done, and where.

    Args:
        job: as rank 0 read it.
        attempt: directory.
        digest: of the job.
        randomness: public random values, in a reconciliation.
        estimate: what the sampled positions said, if any were.
    """

    job: JobFile
    attempt: Path
    digest: str
    randomness: SecurityRandomness | None
    estimate: QberEstimate | None


def run_job(job: JobFile, mailbox: Mailbox, settings: RunSettings) -> JobOutcome:
    """Take part in a job until it is done, or stopped where it can be resumed.

    Args:
        job: what is to be done; rank 0's counts.
        mailbox: to the other ranks.
        settings: of this rank.

    Returns:
        How it ended; with a report on rank 0.

    Raises:
        ConfigError: the job does not fit its files, or what was begun in its work directory.
        LeakageCapError: more would have to be disclosed than its cap.
        MemoryBudgetError: not even one decoder fits.
        KeyFileError: a key cannot be read, or an output not be written.
        StoreError: a record cannot be written, or state of the job is damaged.
        ResourceError: memory or disk is exhausted.
        ClusterError: ranks do not fit together, or this attempt was given up for a later one.
    """
    started = time.monotonic()
    limit_s = settings.time_limit_s if job.limits.time_s is None else job.limits.time_s
    if settings.time_limit_s is not None and limit_s is not None:
        limit_s = min(limit_s, settings.time_limit_s)
    deadline = None
    if limit_s is not None:
        # A short limit, as for a trial in a queue for short jobs, is not spent on stopping.
        deadline = started + limit_s - min(job.limits.stop_before_s, _MOST_STOPPING * limit_s)
    flag = StopFlag(deadline)
    with stop_requests(flag):
        if mailbox.rank == 0:
            return _Leader(job, mailbox, settings, flag, started).run()
        return _follow(mailbox, settings, flag)


def _threads(job: JobFile, settings: RunSettings) -> int:
    return settings.threads or job.limits.threads_per_rank or settings.default_threads


def _memory(job: JobFile, settings: RunSettings) -> MemoryLimit:
    stated = job.limits.memory_per_rank
    return memory_limit(
        ranks_on_node=settings.ranks_on_node,
        stated=None if stated is None else stated_limit(stated, "limits.memory_per_rank"),
    )


def _open_keys(stack: ExitStack, keys: KeysTable) -> KeyPair:
    def opened(path: Path) -> KeyReader:
        return stack.enter_context(open_key(path, format=keys.format, bit_order=keys.bit_order, key_bits=keys.key_bits))

    return KeyPair(opened(keys.alice), opened(keys.bob))


def _simulation(table: SimulateTable, seed: int, threads: int) -> Simulation:
    return Simulation(
        table.code(),
        table.noise(),
        list_size=table.list_size,
        seed=seed,
        precision=cast(Any, table.precision),
        engine=table.engine,
        threads=threads,
        escalation=table.escalation,
    )


class _Seat:
    """What a rank has while it takes part: telemetry, a guard, a shard, a worker."""

    def __init__(self, stack: ExitStack, job: JobFile, settings: RunSettings, rank: int, attempt: Path, digest: str):
        self.job, self.settings, self.rank, self.attempt = job, settings, rank, attempt
        self.telemetry = Telemetry(job.telemetry.trace_spans if job.telemetry.trace else 0)
        self.limit = _memory(job, settings)
        self.guard = stack.enter_context(MemoryGuard(self.limit.limit_bytes))
        self.writer = f"rank{rank:05d}"
        self.digest = bytes.fromhex(digest)
        self.shard = stack.enter_context(ShardWriter(attempt / shard_name(rank), self.digest))
        self.startup = startup_report(settings.startup)
        self.started = time.monotonic()

    def last_word(self, loop: RankLoop) -> RankReport:
        """The report of this rank, when all is put down."""
        if self.job.telemetry.trace:
            with suppress(OSError):  # what is missing of a trace is missing; the job is not worse for it
                write_spans(
                    self.attempt / f"{self.writer}.spans.jsonl",
                    rank=self.rank,
                    host=socket.gethostname(),
                    telemetry=self.telemetry,
                )
        self.guard.check()
        sums, threads, _ = loop.sums
        return RankReport(
            rank=self.rank,
            host=socket.gethostname(),
            pid=os.getpid(),
            threads=threads,
            elapsed_s=round(time.monotonic() - self.started, 6),
            memory_budget_bytes=self.limit.limit_bytes,
            memory_source=self.limit.source,
            peak_rss_bytes=peak_rss_bytes(),
            in_flight_planned=loop.in_flight.planned,
            in_flight_least=loop.in_flight.least,
            startup=self.startup,
            sums=sums,
            dropped_spans=self.telemetry.dropped_spans,
        )


def _follow(mailbox: Mailbox, settings: RunSettings, flag: StopFlag) -> JobOutcome:
    """Any rank but 0."""
    waited = time.monotonic()
    while True:
        received = mailbox.receive()
        if received is not None:
            break
        if time.monotonic() - waited > _BEGIN_S:
            raise ClusterError(
                f"rank {mailbox.rank} has not heard of rank 0 for {_BEGIN_S:.0f} s; start the job again",
                rank=mailbox.rank,
            )
        time.sleep(0.005)
    begin = received[1]
    if isinstance(begin, End):
        return JobOutcome(code=ExitCode(begin.code), work=Path(), ranks=mailbox.size)
    job = begin.job
    with ExitStack() as stack:
        seat = _Seat(stack, job, settings, mailbox.rank, begin.attempt, begin.digest)
        worker: TaskWorker
        if job.keys is not None and begin.randomness is not None:
            keys = _open_keys(stack, job.keys)
            options = replace(job.options, threads=_threads(job, settings))
            work = ReconcileWork((keys.alice, keys.bob), options, begin.randomness, limit=seat.limit)
            if begin.estimate is None:
                work.plan_for(cast(Any, options.qber))
            else:
                work.estimate(begin.estimate)
            worker = ReconcileWorker(work, seat.telemetry, digest=seat.digest, writer=seat.writer)
        else:
            table = cast(SimulateTable, job.simulate)
            simulation = _simulation(table, job.seed or 0, _threads(job, settings))
            worker = SimulateWorker(simulation, table.frames, seat.telemetry, digest=seat.digest, writer=seat.writer)
        stack.callback(worker.close)
        loop = RankLoop(
            worker,
            mailbox,
            seat.shard,
            telemetry=seat.telemetry,
            guard=seat.guard,
            stop=flag,
            sync_interval_s=job.limits.sync_interval_s,
            lost_after_s=settings.lost_after_s,
            last_word=seat.last_word,
        )
        code = loop.run()
    return JobOutcome(code=ExitCode(code), work=job.work, ranks=mailbox.size)


class _Leader:
    """Rank 0."""

    def __init__(self, job: JobFile, mailbox: Mailbox, settings: RunSettings, flag: StopFlag, started: float) -> None:
        self.job, self.mailbox, self.settings, self.flag, self.started = job, mailbox, settings, flag, started
        self.directory = WorkDirectory(job.work)
        self.work: ReconcileWork | None = None
        self.run_writer: RunWriter | None = None
        self.randomness: SecurityRandomness | None = None
        self.shards: list[Path] = []

    def run(self) -> JobOutcome:
        job, directory = self.job, self.directory
        directory.require_same(job.digest, os.fspath(job.path))
        self._finish_sealed()
        done = directory.done()
        if done is not None:
            return self._done_before(done["report"])
        require_one_file_system(job)
        directory.require_nobody(self.settings.takes_over)
        with ExitStack() as stack:
            conductor, make_worker = self._prepare(stack)
            stack.callback(conductor.close)
            ledger, done_tasks, blocks_before = self._look_at_earlier(conductor)
            policy = self._policy(conductor)
            scheduler = self._scheduler(conductor.tasks, policy, done_tasks)
            self._record(stack)
            attempt = directory.attempt(self._attempt_facts(policy))
            self._tell(
                _Begin(
                    job,
                    attempt.path,
                    job.digest,
                    self.randomness,
                    None if self.work is None else self.work.sampled,
                )
            )
            seat = _Seat(stack, job, self.settings, 0, attempt.path, job.digest)
            first_shard = len(self.shards)
            self.shards += [attempt.path / shard_name(rank) for rank in range(self.mailbox.size)]
            log = stack.enter_context(
                ScheduleLog(attempt.path / "schedule.jsonl", scheduler.tasks, self.mailbox.size, scheduler.policy)
            )
            worker = make_worker(seat)
            stack.callback(worker.close)
            coordinator = Coordinator(
                conductor,
                scheduler,
                ledger,
                first_shard=first_shard,
                ranks=self.mailbox.size,
                now=time.monotonic(),
                lost_after_s=self.settings.lost_after_s,
                order=lambda *cut: self._order(coordinator, conductor, attempt, *cut),
                log=log.add,
            )
            watch = _Watch(self, coordinator, attempt, conductor.blocks, blocks_before)
            stack.callback(watch.close)
            loop = RankLoop(
                worker,
                self.mailbox,
                seat.shard,
                telemetry=seat.telemetry,
                guard=seat.guard,
                stop=self.flag,
                coordinator=coordinator,
                read_body=self._read_body,
                look=lambda now: watch.look(now, loop),
                sync_interval_s=job.limits.sync_interval_s,
                lost_after_s=self.settings.lost_after_s,
                last_word=seat.last_word,
            )
            code = loop.run()
            for shard, offset in coordinator.damaged:
                directory.add_damaged(shard, offset)
            watch.close()
            outcome = JobOutcome(
                code=ExitCode(code),
                work=job.work,
                attempt=attempt.number,
                tasks_done=scheduler.completed,
                tasks=scheduler.tasks,
                reason=self._reason(coordinator),
                ranks=self.mailbox.size,
                lost=tuple(sorted(coordinator.lost)),
            )
            if code == ExitCode.COMPLETED:
                worker.close()
                outcome = self._conclude(outcome, coordinator, scheduler, worker, attempt)
                coordinator.finish(int(outcome.code))
                for rank, message in coordinator.take():
                    if rank:
                        self.mailbox.send(rank, message)
            elif self.run_writer is not None:
                self.run_writer.interrupt(f"stopped, can be resumed: {outcome.reason}")
            return outcome

    # --- beginning -------------------------------------------------------------------------------------------------

    def _finish_sealed(self) -> None:
        """Where an attempt died between sealing its record, when all is in place, and saying that the job is done."""
        if self.job.store is None or self.directory.done() is not None:
            return
        for attempt in self.directory.attempts():
            name = self.directory.facts(attempt).get("run")
            if name is None:
                continue
            with suppress(StoreError):  # a record that was removed since says nothing
                summary = load_run(find_run(self.job.store, name), verify=False).summary
                if summary is not None:
                    self.directory.finish(summary)
                    return

    def _done_before(self, report: dict[str, Any]) -> JobOutcome:
        """There is nothing to do."""
        job = self.job
        self.directory.remove_shards()
        if job.keys is not None and job.out is not None:
            for name in OUTPUT_NAMES:
                if not (job.out / name).exists():
                    raise ConfigError(
                        f"expected {job.out / name}, since the job was done, got none; remove {job.work} to do it anew",
                        path=str(job.out / name),
                        work=str(job.work),
                    )
        code = ExitCode.UNDETECTED_ERROR if report.get("undetected_errors") and job.keys else ExitCode.COMPLETED
        self._tell(End(int(code)))
        return JobOutcome(code=code, work=job.work, report=report, ranks=self.mailbox.size)

    def _tell(self, message: Message) -> None:
        for rank in range(1, self.mailbox.size):
            self.mailbox.send(rank, message)

    def _prepare(self, stack: ExitStack) -> tuple[TaskConductor, Callable[[_Seat], TaskWorker]]:
        """Begin the job, or find out what was begun."""
        job = self.job
        threads = _threads(job, self.settings)
        if job.keys is None:
            table = cast(SimulateTable, job.simulate)
            self.directory.begin({"digest": job.digest, "definition": job.definition()})
            code = table.code()
            self.code = code
            conductor = SimulateConductor(code.block_length, table.frames, table.max_frame_errors)
            seed = job.seed or 0

            def simulate(seat: _Seat) -> TaskWorker:
                simulation = _simulation(table, seed, threads)
                self.simulation = simulation
                return SimulateWorker(simulation, table.frames, seat.telemetry, digest=seat.digest, writer=seat.writer)

            return conductor, simulate
        keys = _open_keys(stack, job.keys)
        self.randomness = self._begin_keys(keys)
        options = replace(job.options, threads=threads)
        work = self.work = ReconcileWork(
            (keys.alice, keys.bob), options, self.randomness, limit=_memory(job, self.settings)
        )
        if options.qber is not None:
            work.plan_for(options.qber)
        else:
            plan = self.directory.plan()
            if plan is None:
                work.check_sample()
                work.estimate()
                self.directory.write_plan({"sample": _sample_to(cast(QberEstimate, work.sampled))})
            else:
                work.estimate(_sample_from(plan["sample"]))

        def reconcile(seat: _Seat) -> TaskWorker:
            return ReconcileWorker(work, seat.telemetry, digest=seat.digest, writer=seat.writer)

        return ReconcileConductor(work), reconcile

    def _begin_keys(self, keys: KeyPair) -> SecurityRandomness:
        """The public random values of the job, kept before they are used; and that the keys are those it began with."""
        job = self.job
        seed = job.options.seed
        held = self.directory.job()
        if held is None:
            if job.out is not None:
                prepare_output_directory(job.out, force=job.force)
            drawn = SecurityRandomness.draw() if seed is None else replayed_randomness(seed)
            held = self.directory.begin(
                {
                    "digest": job.digest,
                    "definition": job.definition(),
                    "security_randomness": drawn.to_json(),
                    "keys": _fingerprints(keys, drawn),
                }
            )
        self.directory.require_same(job.digest, os.fspath(job.path))
        randomness = SecurityRandomness.from_json(held["security_randomness"])
        found = _fingerprints(keys, randomness)
        for side, fingerprint in held["keys"].items():
            if found[side] != fingerprint:
                path = getattr(job.keys, side)
                raise KeyFileError(
                    f"expected the key that the job was begun with, got another one in {path}; put it back, or remove "
                    f"{job.work} to begin anew",
                    path=str(path),
                    work=str(job.work),
                )
        if job.out is not None:
            prepare_output_directory(job.out, force=True)
        return randomness

    def _look_at_earlier(self, conductor: TaskConductor) -> tuple[Ledger, list[Chunk], int]:
        """What earlier attempts have done."""
        ledger = Ledger(conductor.tasks)
        damaged = self.directory.damaged()
        digest = bytes.fromhex(self.job.digest)
        blocks = 0
        for shard in iterate_shards(self.directory.attempts()):
            number = len(self.shards)
            self.shards.append(shard)
            try:
                reader = ShardReader(shard, digest)
            except StoreError as error:  # made when power failed: its tasks are done anew
                _log.warning("a shard cannot be read", extra={"shard": os.fspath(shard), "reason": error.message})
                continue
            with reader:
                for place in reader.places(check=True):
                    task = place.task
                    if task >= conductor.tasks or (f"{shard.parent.name}/{shard.name}", place.offset) in damaged:
                        continue
                    if ledger.shard[task] >= 0:
                        ledger.require_same(task, place.head)
                        continue
                    ledger.enter(task, number, place.offset, place.head)
                    blocks += Figures.of_head(place.head).blocks
                    conductor.observe(task, place.head, partial(self._read_body, number, place.offset))
        done = np.flatnonzero(ledger.shard >= 0)
        stretches = np.split(done, np.flatnonzero(np.diff(done) != 1) + 1) if done.size else []
        chunks = [Chunk(int(stretch[0]), len(stretch)) for stretch in stretches]
        return ledger, chunks, blocks

    def _policy(self, conductor: TaskConductor) -> SchedulePolicy:
        table = self.job.schedule
        bits = conductor.task_bits if isinstance(conductor, ReconcileConductor) else 1 << 18
        policy = conductor.policy or choose_policy(conductor.tasks, self.mailbox.size, bits / ASSUMED_MBPS / 1e6)
        most = policy.most_tasks if table.most_tasks is None else table.most_tasks
        least = min(policy.least_tasks, most) if table.least_tasks is None else table.least_tasks
        divisor = policy.divisor if table.divisor is None else table.divisor
        return SchedulePolicy(table.kind, least, max(most, least), divisor)

    def _scheduler(self, tasks: int, policy: SchedulePolicy, done: list[Chunk]) -> Scheduler:
        if self.settings.replay is None:
            return Scheduler(tasks, self.mailbox.size, policy, done=done)
        return ReplayScheduler(tasks, self.mailbox.size, read_schedule(self.settings.replay), done=done)

    def _record(self, stack: ExitStack) -> None:
        """Begin the record of this attempt in the store."""
        job = self.job
        if job.store is None:
            return
        before = self.directory.attempts()
        resumes = self.directory.facts(before[-1]).get("run") if before else None
        asked: dict[str, Any]
        if job.keys is not None:
            options = asdict(replace(job.options, threads=None))
            asked = {**options, "alice": os.fspath(job.keys.alice), "bob": os.fspath(job.keys.bob)}
            asked |= {"key_bits": cast(ReconcileWork, self.work).whole_bits, "qber_from": None}
            asked |= {"bit_order": job.keys.bit_order, "out": None if job.out is None else os.fspath(job.out)}
            asked["randomness"] = "operating system" if asked.pop("seed") is None else "seed: not for keys in use"
            seeds = {} if job.options.seed is None else {"public_randomness": job.options.seed}
        else:
            table = cast(SimulateTable, job.simulate)
            asked = asdict(table) | {"seed": job.seed, "threads": None}
            seeds = {"simulation": job.seed or 0}
        self.run_writer = stack.enter_context(
            RunWriter.create(
                job.store,
                job.kind,
                asked,
                seeds=seeds,
                security_randomness={} if self.randomness is None else self.randomness.to_json(),
                identity_excludes=("alice", "bob", "out", "threads"),
                resumes=resumes,
                campaign=job.campaign,
                compact=job.compact,
            )
        )

    def _attempt_facts(self, policy: SchedulePolicy) -> dict[str, Any]:
        return {
            "ranks": self.mailbox.size,
            **this_process(),
            "policy": asdict(policy),
            "replay": None if self.settings.replay is None else os.fspath(self.settings.replay),
            "run": None if self.run_writer is None else self.run_writer.name,
            "launcher": self.settings.facts,
        }

    # --- while it goes ---------------------------------------------------------------------------------------------

    def _read_body(self, shard: int, offset: int) -> bytes:
        with ShardReader(self.shards[shard], bytes.fromhex(self.job.digest)) as reader:
            return reader.read(offset, payload=False).body

    def _order(
        self,
        coordinator: Coordinator,
        conductor: TaskConductor,
        attempt: Attempt,
        number: int,
        first: int,
        tasks: int,
        start_bit: int,
        keep: int | None,
    ) -> MergeOrder:
        job = self.job
        out = job.out if job.keys is not None else None
        if number == 0:
            self.directory.require_latest(attempt)
            if out is not None:
                for name in OUTPUT_NAMES:
                    remove_partials(out / name)
                    create_pieces(out / name, attempt.name, coordinator.kept_bits)
        return MergeOrder(
            number,
            coordinator.pieces(first, tasks, self.shards.__getitem__),
            start_bit,
            None if self.run_writer is None else self.run_writer.path,
            out,
            attempt.name,
            "little" if job.keys is None else job.keys.bit_order,
            keep,
            conductor.dropped_groups(first, tasks),
        )

    def _reason(self, coordinator: Coordinator) -> str | None:
        if coordinator.damaged:
            return f"{len(coordinator.damaged)} frame(s) of earlier attempts are damaged and are done anew"
        if coordinator.stop_reason is not None:
            return coordinator.stop_reason
        return f"ranks lost: {sorted(coordinator.lost)}" if coordinator.lost else None

    # --- the end ---------------------------------------------------------------------------------------------------

    def _conclude(
        self,
        outcome: JobOutcome,
        coordinator: Coordinator,
        scheduler: Scheduler,
        worker: TaskWorker,
        attempt: Attempt,
    ) -> JobOutcome:
        """Put the outputs in place, seal the record, remember that the job is done."""
        job = self.job
        self.directory.require_latest(attempt)
        with interrupts_deferred():
            if job.keys is not None and job.out is not None:
                for name in OUTPUT_NAMES:
                    self.directory.require_latest(attempt)
                    commit_pieces(job.out / name, attempt.name)
            reports = [report for _, report in sorted(coordinator.reports.items())]
            elapsed_s = self._elapsed_s(attempt)
            reconciliation = None
            if self.work is not None and job.keys is not None:
                totals = sum(coordinator.totals, Totals())
                reconciliation = ReconciliationReport.of(
                    self.work,
                    totals,
                    elapsed_s=elapsed_s,
                    threads=sum(report.threads for report in reports),
                    decoder_bytes=worker.decoder_bytes,
                    peak_rss_bytes=max(report.peak_rss_bytes for report in reports),
                    engine=worker.engine,
                    one_file=same_file(job.keys.alice, job.keys.bob),
                    run=None if self.run_writer is None else os.fspath(self.run_writer.path),
                    out=None if job.out is None else os.fspath(job.out),
                )
                report = reconciliation.to_json()
            else:
                counts = sum(coordinator.totals, SimulationResult())
                report = self._simulated(counts, worker, elapsed_s)
            report["job"] = self._job_summary(reports, coordinator, scheduler, attempt, elapsed_s)
            if self.run_writer is not None:
                self._put_beside(self.run_writer, reports, attempt)
                self.run_writer.seal(report)
            self.directory.finish(report)
        code = ExitCode.COMPLETED if reconciliation is None else reconciliation.exit_code()
        return replace(outcome, code=code, report=report, reconciliation=reconciliation)

    def _elapsed_s(self, attempt: Attempt) -> float:
        """Seconds of all attempts, of those that were killed until they wrote last."""
        total = time.monotonic() - self.started
        for earlier in self.directory.attempts():
            if earlier.number < attempt.number:
                with suppress(OSError, KeyError):
                    began = datetime.fromisoformat(self.directory.facts(earlier)["started_at"]).timestamp()
                    total += max(0.0, max(path.stat().st_mtime for path in earlier.path.iterdir()) - began)
        return total

    def _job_summary(
        self,
        reports: list[RankReport],
        coordinator: Coordinator,
        scheduler: Scheduler,
        attempt: Attempt,
        elapsed_s: float,
    ) -> dict[str, Any]:
        sums = sum((report.sums for report in reports), Snapshot())
        decode = sums.phases.get("decode")
        busy_s = 0.0 if decode is None else decode.total_ns / 1e9
        threads_s = sum(report.threads * report.elapsed_s for report in reports)
        return {
            "ranks": self.mailbox.size,
            "hosts": len({report.host for report in reports}),
            "attempts": attempt.number,
            "attempt": attempt.name,
            "elapsed_s": round(elapsed_s, 6),
            "tasks": scheduler.tasks,
            "copies": scheduler.copied,
            "policy": asdict(scheduler.policy),
            "lost": sorted(coordinator.lost),
            "decode_share": busy_s / threads_s if threads_s else None,
            "sums": sums.to_json(),
            "memory_share_max": max(
                (report.peak_rss_bytes / report.memory_budget_bytes for report in reports), default=None
            ),
            "launcher": self.settings.facts,
        }

    def _put_beside(self, run: RunWriter, reports: list[RankReport], attempt: Attempt) -> None:
        """Schedule, ranks and trace, beside the records of the run."""
        run.attach("schedule.jsonl", (attempt.path / "schedule.jsonl").read_bytes())
        ranks = {"schema": "caligo.ranks/1", "ranks": [report.to_json() for report in reports]}
        run.attach("ranks.json", json.dumps(ranks, indent=1).encode("ascii"))
        if self.job.telemetry.trace:
            try:
                merge_traces(sorted(attempt.path.glob("rank*.spans.jsonl")), run.path / "trace.json")
            except OSError as error:
                _log.warning("the trace cannot be written", extra={"reason": error.strerror})

    def _simulated(self, counts: SimulationResult, worker: TaskWorker, elapsed_s: float) -> dict[str, Any]:
        code = self.code
        low, high = counts.fer_interval()
        return {
            "frames": counts.frames,
            "frame_errors": counts.frame_errors,
            "detected_failures": counts.detected_failures,
            "undetected_errors": counts.undetected_errors,
            "fer": counts.fer,
            "fer_low": low,
            "fer_high": high,
            "decode_s": counts.elapsed_ns / 1e9,
            "coded_mbps": counts.mbps(code.block_length),
            "payload_mbps": counts.mbps(code.payload_length),
            "leakage_bits": code.leakage_bits,
            "code_digest": code.digest,
            "decoder_bytes": worker.decoder_bytes,
            "engine": worker.engine,
            "elapsed_s": elapsed_s,
            "run": None if self.run_writer is None else os.fspath(self.run_writer.path),
        }


class _Watch:
    """What rank 0 looks at now and then: progress, and whether this attempt is still the latest."""

    def __init__(
        self, leader: _Leader, coordinator: Coordinator, attempt: Attempt, blocks: int, blocks_before: int
    ) -> None:
        settings, job = leader.settings, leader.job
        now = time.monotonic()
        self._leader, self._coordinator, self._attempt = leader, coordinator, attempt
        self._progress = JobProgress(
            ranks=leader.mailbox.size, blocks_total=blocks, now=now, blocks_before=min(blocks_before, blocks)
        )
        self._announcer: Announcer | None = None
        if settings.stream is not None or settings.progress is not NO_PROGRESS:
            self._announcer = Announcer(
                settings.stream or sys.stderr,
                interval_s=settings.progress_interval_s or job.telemetry.progress_interval_s,
                progress=settings.progress,
                description="reconciling" if job.keys is not None else "simulating",
            )
        self._latest_at = now + _LATEST_S

    def look(self, now: float, loop: RankLoop) -> None:
        """Look.

        Raises:
            ClusterError: there is a later attempt.
        """
        if now >= self._latest_at:
            self._latest_at = now + _LATEST_S
            self._leader.directory.require_latest(self._attempt)
        if self._announcer is not None and self._announcer.is_due(now):
            self._tell(now, loop)

    def _tell(self, now: float, loop: RankLoop) -> None:
        if self._announcer is None or self._coordinator.phase is Phase.ENDED:
            return
        self._coordinator.sums[0] = (now, loop.sums)
        for rank, (heard, (sums, threads, headroom)) in self._coordinator.sums.items():
            self._progress.hear(rank, sums, heard, threads=threads, headroom_bytes=headroom)
        self._announcer.tell(self._progress.report(now), now)

    def close(self) -> None:
        """Nothing more to tell; twice is harmless."""
        if self._announcer is not None:
            self._announcer.finish()


def _fingerprints(keys: KeyPair, randomness: SecurityRandomness) -> dict[str, dict[str, Any]]:
    """Length of each key, and a keyed hash of 64 stretches of it, so that another file is noticed.

    Who has the work directory has the key files too; elsewhere these never go.
    """
    found = {}
    for side, key in (("alice", keys.alice), ("bob", keys.bob)):
        digest = hashlib.blake2b(key=randomness.sampling_seed, digest_size=16, person=b"caligo keys")
        bits = key.key_bits
        stretch = min(bits, 1 << 12)
        for start in sorted({(bits - stretch) * number // 63 for number in range(64)}):
            digest.update(key.read_bits(start, stretch).tobytes())
        found[side] = {"key_bits": bits, "fingerprint": digest.hexdigest()}
    return found


def _sample_to(estimate: QberEstimate) -> dict[str, Any]:
    def pair(counts: Proportion | None) -> list[int] | None:
        return None if counts is None else [counts.successes, counts.trials]

    return {
        "errors": estimate.errors,
        "sampled_bits": estimate.sampled_bits,
        "at_zero": pair(estimate.at_zero),
        "at_one": pair(estimate.at_one),
    }


def _sample_from(content: dict[str, Any]) -> QberEstimate:
    def pair(counts: list[int] | None) -> Proportion | None:
        return None if counts is None else Proportion(*counts)

    return QberEstimate(content["errors"], content["sampled_bits"], pair(content["at_zero"]), pair(content["at_one"]))

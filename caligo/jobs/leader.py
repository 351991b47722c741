"""A job on rank 0: begun or gone on with, shared out, recorded, stopped where it can be resumed, or concluded.

Covers: what rank 0 decides and tells the others, in which order the parts of a job follow each other. Does not cover:
these parts (what is decided once: :mod:`.job_beginning`; what was done before: :mod:`.earlier_attempts`; who is given
what: :mod:`.coordination`; the end: :mod:`.conclusion`), what every rank does (:mod:`.rank_loop`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from caligo.codes import PolarCode
from caligo.errors import ConfigError, ExitCode
from caligo.jobs.conclusion import LastAttempt, conclude
from caligo.jobs.coordination import Coordinator, End, Mailbox, Message
from caligo.jobs.earlier_attempts import finish_sealed, look_at_earlier
from caligo.jobs.job_beginning import begin_keys, plan_once
from caligo.jobs.job_file import JobFile, SimulateTable, require_one_file_system
from caligo.jobs.outputs import OUTPUT_NAMES
from caligo.jobs.rank_loop import RankLoop
from caligo.jobs.reconcile_tasks import ReconcileConductor, ReconcileWorker
from caligo.jobs.reconcile_work import ReconcileWork
from caligo.jobs.run_settings import JobOutcome, RunSettings
from caligo.jobs.schedule_log import ScheduleLog, read_schedule
from caligo.jobs.scheduling import Chunk, ReplayScheduler, SchedulePolicy, Scheduler, choose_policy
from caligo.jobs.seat import Begin, Seat, rank_memory, rank_threads
from caligo.jobs.shards import read_body
from caligo.jobs.simulate_tasks import SimulateConductor, SimulateWorker
from caligo.jobs.simulation_run import open_simulation
from caligo.jobs.stopping import StopFlag
from caligo.jobs.tasks import MergeOrder, TaskConductor, TaskWorker
from caligo.jobs.watch import Watch, announcer_of
from caligo.jobs.work_directory import Attempt, WorkDirectory, shard_name, this_process
from caligo.keys.pieces import create_pieces, remove_partials
from caligo.randomness import SecurityRandomness
from caligo.reconciliation.estimation import QberEstimate
from caligo.store import RunWriter
from caligo.telemetry import JobProgress

__all__ = ["lead"]

_ASSUMED_MBPS = 400.0
"""Decoding rate of a core by which chunks are sized where nobody says: it decides what sharing out costs, no more."""


def lead(job: JobFile, mailbox: Mailbox, settings: RunSettings, flag: StopFlag, started: float) -> JobOutcome:
    """Take part in a job as rank 0.

    Args:
        job: what is to be done.
        mailbox: to the other ranks.
        settings: of this rank.
        flag: whether to stop.
        started: seconds of `time.monotonic` when this attempt began.

    Returns:
        How it ended, with a report where it is done.

    Raises:
        CaligoError: as :func:`caligo.jobs.job.run_job`.
    """
    return _Leader(job, mailbox, settings, flag, started).run()


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A job that is begun, on rank 0.

    Args:
        subject: the work on two keys, or the code that is simulated.
        conductor: of its tasks.
        make_worker: rank 0's own side of them.
        randomness: public random values, in a reconciliation.
    """

    subject: ReconcileWork | PolarCode
    conductor: TaskConductor
    make_worker: Callable[[Seat], TaskWorker]
    randomness: SecurityRandomness | None = None

    @property
    def sampled(self) -> QberEstimate | None:
        """What the sampled positions said, if any were."""
        return self.subject.sampled if isinstance(self.subject, ReconcileWork) else None


class _Leader:
    """Rank 0."""

    def __init__(self, job: JobFile, mailbox: Mailbox, settings: RunSettings, flag: StopFlag, started: float) -> None:
        self.job, self.mailbox, self.settings, self.flag, self.started = job, mailbox, settings, flag, started
        self.directory = WorkDirectory(job.work)
        self.digest = bytes.fromhex(job.digest)
        self.shards: list[Path] = []

    def run(self) -> JobOutcome:
        job, directory = self.job, self.directory
        directory.require_same(job.digest, os.fspath(job.path))
        finish_sealed(directory, job.store)
        done = directory.done()
        if done is not None:
            return self._done_before(done["report"])
        require_one_file_system(job)
        directory.require_nobody(self.settings.takes_over)
        with ExitStack() as stack:
            prepared = self._prepare(stack)
            conductor = prepared.conductor
            stack.callback(conductor.close)
            earlier = look_at_earlier(directory, self.digest, conductor)
            policy = self._policy(conductor)
            scheduler = self._scheduler(conductor.tasks, policy, earlier.done)
            run = self._record(stack, prepared)
            attempt = directory.attempt(self._attempt_facts(policy, run))
            begin = Begin(job, attempt.path, job.digest, prepared.randomness, prepared.sampled)
            self._tell(begin)
            seat = Seat(stack, begin, self.settings, 0)
            first_shard = len(earlier.shards)
            self.shards = earlier.shards + [attempt.path / shard_name(rank) for rank in range(self.mailbox.size)]
            log = stack.enter_context(
                ScheduleLog(attempt.path / "schedule.jsonl", scheduler.tasks, self.mailbox.size, scheduler.policy)
            )
            worker = prepared.make_worker(seat)
            stack.callback(worker.close)
            coordinator = Coordinator(
                conductor,
                scheduler,
                earlier.ledger,
                first_shard=first_shard,
                ranks=self.mailbox.size,
                now=time.monotonic(),
                lost_after_s=self.settings.lost_after_s,
                order=lambda *cut: self._order(coordinator, conductor, attempt, run, *cut),
                log=log.add,
            )
            progress = JobProgress(
                ranks=self.mailbox.size,
                blocks_total=conductor.blocks,
                now=time.monotonic(),
                blocks_before=min(earlier.blocks, conductor.blocks),
            )
            watch = Watch(directory, attempt, coordinator, progress, announcer_of(job, self.settings))
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
            sealing = code == ExitCode.COMPLETED and run is not None
            watch.close(f"sealing the record of {conductor.blocks:,} blocks" if sealing else "")
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
                concluded = conclude(
                    LastAttempt(
                        job=job,
                        directory=directory,
                        attempt=attempt,
                        started=self.started,
                        ranks=self.mailbox.size,
                        launcher=self.settings.facts,
                        subject=prepared.subject,
                        worker=worker,
                        coordinator=coordinator,
                        scheduler=scheduler,
                        run=run,
                    )
                )
                outcome = replace(
                    outcome,
                    code=concluded.code,
                    report=concluded.report,
                    reconciliation=concluded.reconciliation,
                )
                coordinator.finish(int(outcome.code))
                for rank, message in coordinator.take():
                    if rank:
                        self.mailbox.send(rank, message)
            elif run is not None:
                run.interrupt(f"stopped, can be resumed: {outcome.reason}")
            return outcome

    # --- beginning -------------------------------------------------------------------------------------------------

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

    def _prepare(self, stack: ExitStack) -> _Prepared:
        """Begin the job, or find out what was begun."""
        job = self.job
        threads = rank_threads(job, self.settings)
        if job.keys is None:
            table = cast(SimulateTable, job.simulate)
            self.directory.begin({"digest": job.digest, "definition": job.definition()})
            code = table.code()

            def simulate(seat: Seat) -> TaskWorker:
                simulation = open_simulation(table, code, seed=job.seed or 0, threads=threads)
                return SimulateWorker(simulation, table.frames, seat.telemetry, digest=seat.digest, writer=seat.writer)

            return _Prepared(code, SimulateConductor(code.block_length, table.frames, table.max_frame_errors), simulate)
        keys = stack.enter_context(job.keys.open())
        randomness = begin_keys(job, self.directory, keys)
        options = replace(job.options, threads=threads)
        work = ReconcileWork((keys.alice, keys.bob), options, randomness, limit=rank_memory(job, self.settings))
        plan_once(work, self.directory)

        def reconcile(seat: Seat) -> TaskWorker:
            return ReconcileWorker(work, seat.telemetry, digest=seat.digest, writer=seat.writer)

        return _Prepared(work, ReconcileConductor(work), reconcile, randomness)

    def _policy(self, conductor: TaskConductor) -> SchedulePolicy:
        table = self.job.schedule
        bits = conductor.task_bits if isinstance(conductor, ReconcileConductor) else 1 << 18
        policy = conductor.policy or choose_policy(conductor.tasks, self.mailbox.size, bits / _ASSUMED_MBPS / 1e6)
        most = policy.most_tasks if table.most_tasks is None else table.most_tasks
        least = min(policy.least_tasks, most) if table.least_tasks is None else table.least_tasks
        divisor = policy.divisor if table.divisor is None else table.divisor
        return SchedulePolicy(table.kind, least, max(most, least), divisor)

    def _scheduler(self, tasks: int, policy: SchedulePolicy, done: list[Chunk]) -> Scheduler:
        if self.settings.replay is None:
            return Scheduler(tasks, self.mailbox.size, policy, done=done)
        return ReplayScheduler(tasks, self.mailbox.size, read_schedule(self.settings.replay), done=done)

    def _record(self, stack: ExitStack, prepared: _Prepared) -> RunWriter | None:
        """Begin the record of this attempt in the store."""
        job = self.job
        if job.store is None:
            return None
        before = self.directory.attempts()
        resumes = self.directory.facts(before[-1]).get("run") if before else None
        asked: dict[str, Any]
        if job.keys is not None:
            options = asdict(replace(job.options, threads=None))
            asked = {**options, "alice": os.fspath(job.keys.alice), "bob": os.fspath(job.keys.bob)}
            asked |= {"key_bits": cast(ReconcileWork, prepared.subject).whole_bits, "qber_from": None}
            asked |= {"bit_order": job.keys.bit_order, "out": None if job.out is None else os.fspath(job.out)}
            asked["randomness"] = "operating system" if asked.pop("seed") is None else "seed: not for keys in use"
            seeds = {} if job.options.seed is None else {"public_randomness": job.options.seed}
        else:
            table = cast(SimulateTable, job.simulate)
            asked = asdict(table) | {"seed": job.seed, "threads": None}
            seeds = {"simulation": job.seed or 0}
        return stack.enter_context(
            RunWriter.create(
                job.store,
                job.kind,
                asked,
                seeds=seeds,
                security_randomness={} if prepared.randomness is None else prepared.randomness.to_json(),
                identity_excludes=("alice", "bob", "out", "threads"),
                resumes=resumes,
                campaign=job.campaign,
                compact=job.compact,
            )
        )

    def _attempt_facts(self, policy: SchedulePolicy, run: RunWriter | None) -> dict[str, Any]:
        return {
            "ranks": self.mailbox.size,
            **this_process(),
            "policy": asdict(policy),
            "replay": None if self.settings.replay is None else os.fspath(self.settings.replay),
            "run": None if run is None else run.name,
            "launcher": self.settings.facts,
        }

    # --- while it goes ---------------------------------------------------------------------------------------------

    def _read_body(self, shard: int, offset: int) -> bytes:
        return read_body(self.shards[shard], self.digest, offset)

    def _order(
        self,
        coordinator: Coordinator,
        conductor: TaskConductor,
        attempt: Attempt,
        run: RunWriter | None,
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
            None if run is None else run.path,
            out,
            attempt.name,
            "little" if job.keys is None else job.keys.bit_order,
            keep,
            conductor.dropped_groups(first, tasks),
        )

    def _reason(self, coordinator: Coordinator) -> str | None:
        if coordinator.damaged:
            return "frames of earlier attempts are damaged and are done anew"
        if coordinator.stop_reason is not None:
            return coordinator.stop_reason
        return f"ranks lost: {sorted(coordinator.lost)}" if coordinator.lost else None

"""A job on one rank of one or many, from its file to its end.

Covers: when to stop, what any rank but 0 does with what rank 0 tells it, and the whole of what a job promises. Does not
cover: what rank 0 does beside (:mod:`.leader`), the job file (:mod:`.job_file`), the loop of a rank
(:mod:`.rank_loop`), carrying messages and starting processes (:mod:`caligo.cluster`), printing.

**Once for a job**: its definition, the fingerprints of its key files and its public random values, in the work
directory before anything is disclosed; what the sampled positions said, before the first block. **For each attempt**:
a directory, a record in the store, a shard for each rank. An attempt reads what earlier ones have done and does the
rest; when all is done the blocks are recorded and the bits put in place in the order of the key, whoever did them. So
outputs and records are the same for any number of threads, ranks and attempts, and any schedule; times are not.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from caligo.errors import ClusterError, ExitCode
from caligo.jobs.coordination import End, Mailbox
from caligo.jobs.job_file import JobFile, SimulateTable
from caligo.jobs.rank_loop import RankLoop
from caligo.jobs.reconcile_tasks import ReconcileWorker
from caligo.jobs.reconcile_work import ReconcileWork
from caligo.jobs.run_settings import JobOutcome, LocalMailbox, RunSettings
from caligo.jobs.seat import Seat, rank_threads
from caligo.jobs.simulate_tasks import SimulateWorker
from caligo.jobs.simulation_run import open_simulation
from caligo.jobs.stopping import StopFlag, stop_requests
from caligo.jobs.tasks import TaskWorker

__all__ = ["JobOutcome", "LocalMailbox", "RunSettings", "run_job"]

_BEGIN_S = 900.0
"""How long a rank waits for rank 0 to have sampled, designed and looked at earlier attempts."""

_MOST_STOPPING = 0.25
"""Of a time limit, as much as `limits.stop_before` may take."""


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
            from caligo.jobs.leader import lead  # most of a job's modules: no other rank needs them

            return lead(job, mailbox, settings, flag, started)
        return _follow(mailbox, settings, flag)


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
        seat = Seat(stack, begin, settings, mailbox.rank)
        worker: TaskWorker
        if job.keys is not None and begin.randomness is not None:
            keys = stack.enter_context(job.keys.open())
            options = replace(job.options, threads=rank_threads(job, settings))
            work = ReconcileWork((keys.alice, keys.bob), options, begin.randomness, limit=seat.limit)
            if begin.estimate is None:
                work.plan_for(cast(Any, options.qber))
            else:
                work.estimate(begin.estimate)
            worker = ReconcileWorker(work, seat.telemetry, digest=seat.digest, writer=seat.writer)
        else:
            table = cast(SimulateTable, job.simulate)
            threads = rank_threads(job, settings)
            simulation = open_simulation(table, table.code(), seed=job.seed or 0, threads=threads)
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

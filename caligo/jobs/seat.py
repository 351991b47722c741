"""What a rank has while it takes part in a job, whichever rank it is.

Covers: what rank 0 tells it to begin with, its memory, threads and shard, its report at the end. Does not cover: what
it does (:mod:`.rank_loop`), what rank 0 has beside (:mod:`.leader`).
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from caligo.jobs.job_file import JobFile
from caligo.jobs.rank_loop import RankLoop
from caligo.jobs.run_settings import RunSettings
from caligo.jobs.shards import ShardWriter
from caligo.jobs.work_directory import shard_name
from caligo.memory import MemoryGuard, MemoryLimit, memory_limit, peak_rss_bytes, stated_limit
from caligo.randomness import SecurityRandomness
from caligo.reconciliation.estimation import QberEstimate
from caligo.telemetry import RankReport, Telemetry, startup_report, write_spans

__all__ = ["Begin", "Seat", "rank_memory", "rank_threads"]


def rank_threads(job: JobFile, settings: RunSettings) -> int:
    """Worker threads of a rank: what its settings say, else the job file, else the launcher's default."""
    return settings.threads or job.limits.threads_per_rank or settings.default_threads


def rank_memory(job: JobFile, settings: RunSettings) -> MemoryLimit:
    """Memory that a rank may use.

    Raises:
        ConfigError: the job file states less than a byte.
    """
    stated = job.limits.memory_per_rank
    return memory_limit(
        ranks_on_node=settings.ranks_on_node,
        stated=None if stated is None else stated_limit(stated, "limits.memory_per_rank"),
    )


@dataclass(frozen=True, slots=True)
class Begin:
    """Rank 0 to all others: what is to be done, and where.

    Args:
        job: as rank 0 read it.
        attempt: directory.
        digest: of the job, in hexadecimal.
        randomness: public random values, in a reconciliation.
        estimate: what the sampled positions said, if any were.
    """

    job: JobFile
    attempt: Path
    digest: str
    randomness: SecurityRandomness | None
    estimate: QberEstimate | None


class Seat:
    """Telemetry, a guard of memory, and a shard.

    Args:
        stack: releases them.
        begin: what rank 0 has told all ranks.
        settings: of this rank.
        rank: which.

    Raises:
        ResourceError: the disk is full.
        StoreError: the shard cannot be written.
    """

    def __init__(self, stack: ExitStack, begin: Begin, settings: RunSettings, rank: int) -> None:
        job, attempt = begin.job, begin.attempt
        self.telemetry = Telemetry(job.telemetry.trace_spans if job.telemetry.trace else 0)
        self.limit = rank_memory(job, settings)
        self.guard = stack.enter_context(MemoryGuard(self.limit.limit_bytes))
        self.writer = f"rank{rank:05d}"
        self.digest = bytes.fromhex(begin.digest)
        self.shard = stack.enter_context(ShardWriter(attempt / shard_name(rank), self.digest))
        self._rank, self._attempt, self._traced = rank, attempt, job.telemetry.trace
        self._startup = startup_report(settings.startup)
        self._started = time.monotonic()

    def last_word(self, loop: RankLoop) -> RankReport:
        """The report of this rank, when all is put down."""
        if self._traced:
            with suppress(OSError):  # what is missing of a trace is missing; the job is not worse for it
                write_spans(
                    self._attempt / f"{self.writer}.spans.jsonl",
                    rank=self._rank,
                    host=socket.gethostname(),
                    telemetry=self.telemetry,
                )
        self.guard.check()
        sums, threads, _ = loop.sums
        return RankReport(
            rank=self._rank,
            host=socket.gethostname(),
            pid=os.getpid(),
            threads=threads,
            elapsed_s=round(time.monotonic() - self._started, 6),
            memory_budget_bytes=self.limit.limit_bytes,
            memory_source=self.limit.source,
            peak_rss_bytes=peak_rss_bytes(),
            in_flight_planned=loop.in_flight.planned,
            in_flight_least=loop.in_flight.least,
            startup=self._startup,
            sums=sums,
            dropped_spans=self.telemetry.dropped_spans,
        )

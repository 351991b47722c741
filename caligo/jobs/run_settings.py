"""How a process takes part in a job, and how that ended.

Covers: settings that change nothing of what comes out, the outcome, the mailbox of a job with one rank. Does not cover:
the job (:mod:`.job`) and its file (:mod:`.job_file`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from caligo.errors import ClusterError, ExitCode
from caligo.jobs.coordination import Message
from caligo.jobs.report import ReconciliationReport
from caligo.telemetry import NO_PROGRESS, OpenCounter, Progress

__all__ = ["JobOutcome", "LocalMailbox", "RunSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How this process takes part in a job; nothing here changes what comes out.

    Args:
        threads: worker threads of this rank; None: what the job file says, else `default_threads`.
        default_threads: where nobody says.
        time_limit_s: seconds from now until this process is ended by somebody else; None: what the job file says.
        replay: log of a schedule to repeat.
        progress: a bar on rank 0; without one, lines go to `stream`.
        stream: where lines of progress go; None: nowhere.
        progress_interval_s: between lines; None: what the job file says.
        ranks_on_node: processes of this job on this node.
        startup: counter of what the start cost.
        lost_after_s: a rank that is silent for so long is lost.
        takes_over: begin beside an attempt that seems to run on this machine: a scheduler has given it up.
        facts: of the launcher and the scheduler, for the record.
    """

    threads: int | None = None
    default_threads: int = 1
    time_limit_s: float | None = None
    replay: Path | None = None
    progress: Progress = NO_PROGRESS
    stream: TextIO | None = None
    progress_interval_s: float | None = None
    ranks_on_node: int = 1
    startup: OpenCounter | None = None
    lost_after_s: float = 60.0
    takes_over: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """How an attempt ended.

    Args:
        code: `COMPLETED`, `RESUMABLE`, or `UNDETECTED_ERROR`.
        work: directory of the job.
        attempt: number of the attempt; 0 where the job was done before.
        tasks_done: by all attempts.
        tasks: of the job.
        reason: why it stopped, where it did.
        report: of the job that is done, on rank 0, as JSON values.
        reconciliation: the same, where this attempt has done the last of it.
        ranks: how many there were.
        lost: ranks that were given up.
    """

    code: ExitCode
    work: Path
    attempt: int = 0
    tasks_done: int = 0
    tasks: int = 0
    reason: str | None = None
    report: dict[str, Any] | None = None
    reconciliation: ReconciliationReport | None = None
    ranks: int = 1
    lost: tuple[int, ...] = ()


class LocalMailbox:
    """Of a job with one rank: nobody to write to."""

    rank = 0
    size = 1

    def send(self, rank: int, message: Message) -> None:
        """Nobody is there.

        Raises:
            ClusterError: always.
        """
        raise ClusterError(f"expected one rank, got a message for rank {rank}", rank=rank)

    def receive(self) -> None:
        """Nobody writes."""

    def abort(self, code: int) -> None:
        """End this process at once."""
        os._exit(code)

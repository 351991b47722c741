"""The end of a job on rank 0: the outputs in place, the report, the record sealed, the work directory told.

Covers: what is done once when all tasks are merged, in the order that any death in between is made good by the next
start. Does not cover: merging (:mod:`.coordination`), the figures of a reconciliation (:mod:`.report`), an attempt that
stops before the end (:mod:`.leader`).
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from caligo.codes import PolarCode
from caligo.errors import ExitCode
from caligo.jobs.accounting import Totals
from caligo.jobs.coordination import Coordinator
from caligo.jobs.earlier_attempts import seconds_before
from caligo.jobs.job_file import JobFile, KeysTable
from caligo.jobs.outputs import OUTPUT_NAMES
from caligo.jobs.reconcile_work import ReconcileWork
from caligo.jobs.report import ReconciliationReport
from caligo.jobs.runner import interrupts_deferred
from caligo.jobs.scheduling import Scheduler
from caligo.jobs.simulation_run import frame_figures
from caligo.jobs.sources import same_file
from caligo.jobs.tasks import TaskWorker
from caligo.jobs.work_directory import Attempt, WorkDirectory
from caligo.keys.pieces import commit_pieces
from caligo.simulation import SimulationResult
from caligo.store import RunWriter
from caligo.telemetry import RankReport, Snapshot, merge_traces

__all__ = ["Conclusion", "LastAttempt", "conclude"]

_log = logging.getLogger("caligo.jobs")


@dataclass(frozen=True, slots=True)
class LastAttempt:
    """The attempt that has done the last of a job, when all its tasks are merged.

    Args:
        job: what was to be done.
        directory: of the job.
        attempt: that this is.
        started: seconds of `time.monotonic`.
        ranks: that took part.
        launcher: facts of the launcher and the scheduler.
        subject: the work on two keys, or the code that was simulated.
        worker: rank 0's, closed.
        coordinator: with the totals of all tasks, and what each rank said last.
        scheduler: of the tasks.
        run: the record; None: there is none.
    """

    job: JobFile
    directory: WorkDirectory
    attempt: Attempt
    started: float
    ranks: int
    launcher: dict[str, Any]
    subject: ReconcileWork | PolarCode
    worker: TaskWorker
    coordinator: Coordinator
    scheduler: Scheduler
    run: RunWriter | None


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What came of a job.

    Args:
        code: with which its ranks end.
        report: as JSON values.
        reconciliation: the same of two keys; None of a simulation.
    """

    code: ExitCode
    report: dict[str, Any]
    reconciliation: ReconciliationReport | None


def conclude(last: LastAttempt) -> Conclusion:
    """Put the outputs in place, seal the record, remember that the job is done.

    Args:
        last: what is concluded.

    Raises:
        ClusterError: there is a later attempt.
        KeyFileError: an output cannot be put in place.
        ResourceError: the disk is full.
        StoreError: the record or the work directory cannot be written.
    """
    job, directory, attempt, run = last.job, last.directory, last.attempt, last.run
    directory.require_latest(attempt)
    with interrupts_deferred():
        if job.keys is not None and job.out is not None:
            for name in OUTPUT_NAMES:
                directory.require_latest(attempt)
                commit_pieces(job.out / name, attempt.name)
        reports = [report for _, report in sorted(last.coordinator.reports.items())]
        elapsed_s = time.monotonic() - last.started + seconds_before(directory, attempt)
        reconciliation = None
        if isinstance(last.subject, ReconcileWork):
            reconciliation = _reconciled(last, last.subject, reports, elapsed_s)
            report = reconciliation.to_json()
        else:
            report = _simulated(last, last.subject, elapsed_s)
        report["job"] = _job_summary(last, reports, elapsed_s)
        if run is not None:
            _put_beside(run, reports, attempt, traced=job.telemetry.trace)
            run.seal(report)
        directory.finish(report)
    code = ExitCode.COMPLETED if reconciliation is None else reconciliation.exit_code()
    return Conclusion(code, report, reconciliation)


def _reconciled(
    last: LastAttempt, work: ReconcileWork, reports: Sequence[RankReport], elapsed_s: float
) -> ReconciliationReport:
    keys = cast(KeysTable, last.job.keys)
    return ReconciliationReport.of(
        work,
        sum(last.coordinator.totals, Totals()),
        elapsed_s=elapsed_s,
        threads=sum(report.threads for report in reports),
        decoder_bytes=last.worker.decoder_bytes,
        peak_rss_bytes=max(report.peak_rss_bytes for report in reports),
        engine=last.worker.engine,
        one_file=same_file(keys.alice, keys.bob),
        run=_run_path(last.run),
        out=None if last.job.out is None else os.fspath(last.job.out),
    )


def _simulated(last: LastAttempt, code: PolarCode, elapsed_s: float) -> dict[str, Any]:
    return {
        **frame_figures(sum(last.coordinator.totals, SimulationResult()), code),
        "leakage_bits": code.leakage_bits,
        "code_digest": code.digest,
        "decoder_bytes": last.worker.decoder_bytes,
        "engine": last.worker.engine,
        "elapsed_s": elapsed_s,
        "run": _run_path(last.run),
    }


def _run_path(run: RunWriter | None) -> str | None:
    return None if run is None else os.fspath(run.path)


def _job_summary(last: LastAttempt, reports: Sequence[RankReport], elapsed_s: float) -> dict[str, Any]:
    sums = sum((report.sums for report in reports), Snapshot())
    decode = sums.phases.get("decode")
    busy_s = 0.0 if decode is None else decode.total_ns / 1e9
    threads_s = sum(report.threads * report.elapsed_s for report in reports)
    return {
        "ranks": last.ranks,
        "hosts": len({report.host for report in reports}),
        "attempts": last.attempt.number,
        "attempt": last.attempt.name,
        "elapsed_s": round(elapsed_s, 6),
        "tasks": last.scheduler.tasks,
        "copies": last.scheduler.copied,
        "policy": asdict(last.scheduler.policy),
        "lost": sorted(last.coordinator.lost),
        "decode_share": busy_s / threads_s if threads_s else None,
        "sums": sums.to_json(),
        "memory_share_max": max(
            (report.peak_rss_bytes / report.memory_budget_bytes for report in reports), default=None
        ),
        "launcher": last.launcher,
    }


def _put_beside(run: RunWriter, reports: Sequence[RankReport], attempt: Attempt, *, traced: bool) -> None:
    """Schedule, ranks and trace, beside the records of the run."""
    run.attach("schedule.jsonl", (attempt.path / "schedule.jsonl").read_bytes())
    ranks = {"schema": "caligo.ranks/1", "ranks": [report.to_json() for report in reports]}
    run.attach("ranks.json", json.dumps(ranks, indent=1).encode("ascii"))
    if traced:
        try:
            merge_traces(sorted(attempt.path.glob("rank*.spans.jsonl")), run.path / "trace.json")
        except OSError as error:
            _log.warning("the trace cannot be written", extra={"reason": error.strerror})

"""What rank 0 looks at now and then while a job goes on: how far it is, and whether its attempt is still the latest.

Covers: when to look, telling the progress of all ranks. Does not cover: how progress is worded and where it goes
(:mod:`caligo.telemetry`), ranks that are silent (:mod:`.coordination`).
"""

from __future__ import annotations

import sys
import time

from caligo.jobs.coordination import Coordinator, Phase
from caligo.jobs.job_file import JobFile
from caligo.jobs.rank_loop import RankLoop
from caligo.jobs.run_settings import RunSettings
from caligo.jobs.work_directory import Attempt, WorkDirectory
from caligo.telemetry import NO_PROGRESS, Announcer, JobProgress

__all__ = ["Watch", "announcer_of"]

_LATEST_S = 5.0


def announcer_of(job: JobFile, settings: RunSettings) -> Announcer | None:
    """Who tells of the progress of a job; None where nobody wants to hear of it."""
    if settings.stream is None and settings.progress is NO_PROGRESS:
        return None
    return Announcer(
        settings.stream or sys.stderr,
        interval_s=settings.progress_interval_s or job.telemetry.progress_interval_s,
        progress=settings.progress,
        description="reconciling" if job.keys is not None else "simulating",
    )


class Watch:
    """One attempt, looked at.

    Args:
        directory: of the job.
        attempt: that runs.
        coordinator: of the attempt.
        progress: is told what the ranks say.
        announcer: tells it on; None: nobody does.
    """

    def __init__(
        self,
        directory: WorkDirectory,
        attempt: Attempt,
        coordinator: Coordinator,
        progress: JobProgress,
        announcer: Announcer | None,
    ) -> None:
        self._directory = directory
        self._attempt = attempt
        self._coordinator = coordinator
        self._progress = progress
        self._announcer = announcer
        self._latest_at = time.monotonic() + _LATEST_S

    def look(self, now: float, loop: RankLoop) -> None:
        """Look.

        Args:
            now: seconds of `time.monotonic`.
            loop: of rank 0.

        Raises:
            ClusterError: there is a later attempt.
            StoreError: the work directory cannot be read.
        """
        if now >= self._latest_at:
            self._latest_at = now + _LATEST_S
            self._directory.require_latest(self._attempt)
        if self._announcer is not None and self._announcer.is_due(now):
            self._tell(self._announcer, now, loop)

    def _tell(self, announcer: Announcer, now: float, loop: RankLoop) -> None:
        if self._coordinator.phase is Phase.ENDED:
            return
        self._coordinator.sums[0] = (now, loop.sums)
        for rank, (heard, (sums, threads, headroom)) in self._coordinator.sums.items():
            self._progress.hear(rank, sums, heard, threads=threads, headroom_bytes=headroom)
        announcer.tell(self._progress.report(now), now)

    def close(self, then: str = "") -> None:
        """Nothing more to tell, but what comes then; twice is harmless.

        Args:
            then: in a few words, for who has seen progress; empty: nothing.
        """
        if self._announcer is not None:
            self._announcer.finish(then)

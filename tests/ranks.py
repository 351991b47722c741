"""Ranks of a job as threads of one process: the messages, the shards and the outputs are those of many processes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from caligo.jobs.job import JobOutcome, RunSettings, run_job
from caligo.jobs.job_file import JobFile, parse_job

Tamper = Callable[[int, int, Any], Any]


class ThreadMailbox:
    """One rank's mailbox; `tamper(sender, receiver, message)` may change a message, or drop it by None."""

    def __init__(self, rank: int, boxes: list[queue.SimpleQueue[tuple[int, Any]]], tamper: Tamper | None) -> None:
        self.rank = rank
        self.size = len(boxes)
        self._boxes = boxes
        self._tamper = tamper

    def send(self, rank: int, message: Any) -> None:
        if self._tamper is not None:
            message = self._tamper(self.rank, rank, message)
        if message is not None:
            self._boxes[rank].put((self.rank, message))

    def receive(self) -> tuple[int, Any] | None:
        try:
            return self._boxes[self.rank].get_nowait()
        except queue.Empty:
            return None

    def abort(self, code: int) -> None:
        raise AssertionError(f"rank {self.rank} aborts with {code}")


def run_ranks(
    job: JobFile, ranks: int, *, tamper: Tamper | None = None, settings: RunSettings | None = None, absent: int = 0
) -> JobOutcome:
    """Run a job on so many threads; the outcome, or the error, of rank 0.

    Args:
        job: to run.
        ranks: of the job.
        tamper: see `ThreadMailbox`.
        settings: of every rank.
        absent: so many of the last ranks never come.
    """
    boxes: list[queue.SimpleQueue[tuple[int, Any]]] = [queue.SimpleQueue() for _ in range(ranks)]
    outcomes: dict[int, JobOutcome | BaseException] = {}

    def rank(number: int) -> None:
        try:
            outcomes[number] = run_job(job, ThreadMailbox(number, boxes, tamper), settings or RunSettings(threads=1))
        except BaseException as error:
            outcomes[number] = error

    threads = [threading.Thread(target=rank, args=(number,), daemon=True) for number in range(ranks - absent)]
    for thread in threads:
        thread.start()
    threads[0].join(120)
    assert not threads[0].is_alive(), "rank 0 hangs"
    leader = outcomes[0]
    if isinstance(leader, BaseException):
        raise leader
    for number, thread in enumerate(threads):
        thread.join(60)
        assert not thread.is_alive(), f"rank {number} hangs"
        outcome = outcomes[number]
        if isinstance(outcome, BaseException):
            raise outcome
        assert outcome.code == leader.code, f"rank {number} ends with {outcome.code}"
    return leader


def write_job(directory: Path, name: str, body: str, *, alice: Path, bob: Path, seed: int | None = 1) -> JobFile:
    """A job that reconciles two key files into ``directory/name``.

    Args:
        directory: of everything.
        name: of the output, and of the job file.
        body: lines of the table ``reconcile``, then other tables.
        alice: her key.
        bob: his.
        seed: of the public random values; None: drawn.
    """
    seeds = "" if seed is None else f"public_randomness = {seed}"
    text = (
        f'schema = 1\n[keys]\nalice = "{alice}"\nbob = "{bob}"\n[seeds]\n{seeds}\n[output]\ndir = "{name}"\n'
        f'[store]\ndir = "store"\n[reconcile]\n{body}\n'
    )
    (directory / f"{name}.toml").write_text(text)
    return parse_job(text, directory, f"{name}.toml")

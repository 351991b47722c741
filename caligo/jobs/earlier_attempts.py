"""What earlier attempts of a job have left behind, which the next one need not do again.

Covers: reading their shards, an attempt that died when all but the last word was in place, how long they took. Does not
cover: the form of shards (:mod:`.shards`) and of the work directory (:mod:`.work_directory`), what is done next
(:mod:`.scheduling`).
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np

from caligo.errors import StoreError
from caligo.jobs.coordination import Ledger
from caligo.jobs.scheduling import Chunk
from caligo.jobs.shards import ShardReader, read_body
from caligo.jobs.tasks import Figures, TaskConductor
from caligo.jobs.work_directory import Attempt, WorkDirectory, iterate_shards
from caligo.store import find_run, load_run

__all__ = ["EarlierWork", "finish_sealed", "look_at_earlier", "seconds_before"]

_log = logging.getLogger("caligo.jobs")


@dataclass(frozen=True, slots=True)
class EarlierWork:
    """What earlier attempts have done.

    Args:
        shards: theirs, the earliest first; the ledger has their places in this list.
        ledger: where the result of each task that is done lies.
        done: these tasks, as consecutive ones.
        blocks: in them.
    """

    shards: list[Path]
    ledger: Ledger
    done: list[Chunk]
    blocks: int


def look_at_earlier(directory: WorkDirectory, digest: bytes, conductor: TaskConductor) -> EarlierWork:
    """Read the shards of earlier attempts.

    Args:
        directory: of the job.
        digest: of the job, 32 bytes.
        conductor: is told of every task that is done.

    Raises:
        ClusterError: two results of a task differ.
        StoreError: the directory is damaged, or cannot be read.
    """
    ledger = Ledger(conductor.tasks)
    damaged = directory.damaged()
    shards: list[Path] = []
    blocks = 0
    for shard in iterate_shards(directory.attempts()):
        number = len(shards)
        shards.append(shard)
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
                conductor.observe(task, place.head, partial(read_body, shard, digest, place.offset))
    done = np.flatnonzero(ledger.shard >= 0)
    stretches = np.split(done, np.flatnonzero(np.diff(done) != 1) + 1) if done.size else []
    return EarlierWork(shards, ledger, [Chunk(int(stretch[0]), len(stretch)) for stretch in stretches], blocks)


def finish_sealed(directory: WorkDirectory, store: Path | None) -> None:
    """Where an attempt died between sealing its record, when all is in place, and saying that the job is done: say it.

    Args:
        directory: of the job.
        store: that the job is recorded in; None: it is not.

    Raises:
        StoreError: the directory is damaged, or cannot be written.
    """
    if store is None or directory.done() is not None:
        return
    for attempt in directory.attempts():
        name = directory.facts(attempt).get("run")
        if name is None:
            continue
        with suppress(StoreError):  # a record that was removed since says nothing
            summary = load_run(find_run(store, name), verify=False).summary
            if summary is not None:
                directory.finish(summary)
                return


def seconds_before(directory: WorkDirectory, attempt: Attempt) -> float:
    """Seconds that the attempts before one took, of those that were killed until they wrote last.

    Args:
        directory: of the job.
        attempt: the one.

    Raises:
        StoreError: the directory is damaged.
    """
    total = 0.0
    for earlier in directory.attempts():
        if earlier.number < attempt.number:
            with suppress(OSError, KeyError):
                began = datetime.fromisoformat(directory.facts(earlier)["started_at"]).timestamp()
                total += max(0.0, max(path.stat().st_mtime for path in earlier.path.iterdir()) - began)
    return total

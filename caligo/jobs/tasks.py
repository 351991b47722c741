"""What a job must offer so that its tasks can be shared out, done anywhere, and put together at the end.

Covers: the two sides of a kind of job, and what passes between them. Does not cover: any kind
(:mod:`.reconcile_tasks`, :mod:`.simulate_tasks`), sharing out (:mod:`.coordination`), keeping (:mod:`.shards`).

Every rank has a :class:`TaskWorker`. Rank 0 also has a :class:`TaskConductor`, which is told of every task that is done
and says which may be begun. A task's result is a function of the job and of the hint that comes with the task, and the
hint is one of what was observed; so results do not depend on who does a task, when, or how often.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from caligo.jobs.scheduling import Chunk, SchedulePolicy
from caligo.jobs.shards import Buffer
from caligo.keys import BitOrder

__all__ = [
    "HEAD_BYTES",
    "Figures",
    "MergeOrder",
    "Piece",
    "TaskConductor",
    "TaskItem",
    "TaskResult",
    "TaskWorker",
    "Wait",
    "head_of",
    "signature_of",
]

Wait = Callable[["Future[Any]"], Any]

_FIGURES = struct.Struct("<6Q")


class Figures(NamedTuple):
    """What a coordinator counts of every task, whatever its kind; the beginning of a head.

    Args:
        blocks: in it.
        failed: of these.
        key_bits: payload of all of them.
        kept_bits: bits that go into the outputs.
        coded_bits: bits of the codewords, of further attempts too.
        decode_ns: time spent decoding.
    """

    blocks: int = 0
    failed: int = 0
    key_bits: int = 0
    kept_bits: int = 0
    coded_bits: int = 0
    decode_ns: int = 0

    def to_bytes(self) -> bytes:
        """48 bytes."""
        return _FIGURES.pack(*self)

    @classmethod
    def of_head(cls, head: bytes) -> Figures:
        """Those at the beginning of a head."""
        return cls(*_FIGURES.unpack_from(head))

    def plus(self, other: Figures) -> Figures:
        """Of both."""
        return Figures(*(own + its for own, its in zip(self, other, strict=True)))


_SIGNATURE_BYTES = 8

HEAD_BYTES = _FIGURES.size + _SIGNATURE_BYTES
"""What every head begins with: figures, and a signature."""


def head_of(figures: Figures, result: Iterable[bytes]) -> bytes:
    """The beginning of a head.

    Args:
        figures: of the task.
        result: everything that must be the same whoever does the task: no times.
    """
    digest = hashlib.blake2b(digest_size=_SIGNATURE_BYTES)
    for part in result:
        digest.update(part)
    return figures.to_bytes() + digest.digest()


def signature_of(head: bytes) -> int:
    """What two results of one task have in common."""
    return int.from_bytes(head[_FIGURES.size : HEAD_BYTES], "little")


@dataclass(frozen=True, slots=True)
class TaskItem:
    """A task to do.

    Args:
        task: index.
        hint: what the conductor says about it; small.
    """

    task: int
    hint: Any = None


@dataclass(frozen=True, slots=True, repr=False)
class TaskResult:
    """A task that is done; what a frame of a shard holds.

    Args:
        task: index.
        head: figures, and what else the conductor has to know.
        body: what the record is made of.
        payload: bits for the outputs; key material.
    """

    task: int
    head: bytes
    body: bytes
    payload: Sequence[Buffer] = ()

    def __repr__(self) -> str:
        return f"TaskResult(task={self.task})"


@dataclass(frozen=True, slots=True)
class Piece:
    """A frame that counts.

    Args:
        task: whose it is.
        shard: its file.
        offset: of its header.
        check: it was written by an earlier attempt, and power may have failed since.
    """

    task: int
    shard: Path
    offset: int
    check: bool


@dataclass(frozen=True, slots=True)
class MergeOrder:
    """Consecutive tasks to be put in place.

    Args:
        number: of the order.
        pieces: one for each task, in order.
        start_bit: where the first one's bits go in the outputs.
        run: run directory to record in; None: the job is not recorded.
        out: directory of the outputs; None: there are none.
        attempt: names the hidden files of the outputs.
        bit_order: of the outputs.
        keep: of the last task, only so much counts (its kind says of what); None: all of it.
        undivided: verification groups that may not be told apart.
    """

    number: int
    pieces: tuple[Piece, ...]
    start_bit: int
    run: Path | None
    out: Path | None
    attempt: str
    bit_order: BitOrder = "little"
    keep: int | None = None
    undivided: tuple[int, ...] = ()


class TaskWorker(Protocol):
    """One rank's side."""

    @property
    def threads(self) -> int:
        """Worker threads."""
        ...

    @property
    def engine(self) -> str:
        """What runs the decoders' kernels."""
        ...

    @property
    def decoder_bytes(self) -> int:
        """Memory of one decoder."""
        ...

    @property
    def planned_in_flight(self) -> int:
        """Items in flight that keep every thread at work."""
        ...

    def results(
        self, items: Iterable[TaskItem | None], *, in_flight: Callable[[], int], wait: Wait
    ) -> Generator[TaskResult | None, None, None]:
        """Do tasks; see :func:`caligo.jobs.runner.in_order_or_idle` for the arguments and what None means."""
        ...

    def shrink(self, in_flight: int) -> None:
        """Give memory back that so few items in flight do not need."""
        ...

    def merge(self, order: MergeOrder) -> Any:
        """Put tasks in place and record them; sums over them, which add up.

        Raises:
            DamagedFrameError: a frame is not what was written.
        """
        ...

    def close(self) -> None:
        """Wait for the threads, release the decoders; twice is harmless."""
        ...


class TaskConductor(Protocol):
    """Rank 0's view of all tasks."""

    @property
    def tasks(self) -> int:
        """How many there are."""
        ...

    @property
    def blocks(self) -> int:
        """Blocks in all of them."""
        ...

    @property
    def policy(self) -> SchedulePolicy | None:
        """How tasks are best shared out, where the kind of job knows better than the rule; else None."""
        ...

    def observe(self, task: int, head: bytes, read_body: Callable[[], bytes]) -> None:
        """A task is done, told once, in any order.

        Args:
            task: index.
            head: of its result.
            read_body: gives its body, where the head is not enough.
        """
        ...

    def limit(self) -> int:
        """Tasks below it may be begun."""
        ...

    def hint(self, chunk: Chunk) -> Any:
        """What whoever does these tasks has to know."""
        ...

    def settled(self) -> tuple[int, int | None] | None:
        """Where a stop rule is met: how many tasks count, and how much of the last one; else None."""
        ...

    def dropped_bits(self) -> dict[int, int]:
        """Tasks of which fewer bits count than their figures say, and by how much."""
        ...

    def dropped_groups(self, first: int, tasks: int) -> tuple[int, ...]:
        """What of consecutive tasks does not count; for a merge order."""
        ...

    def close(self) -> None:
        """Stop; twice is harmless."""
        ...

"""The tasks of a reconciliation: a few verification groups each, done on any rank, put in place in the key's order.

Covers: both sides of :mod:`.tasks` for keys, the form of a task's result, the sums of what was put in place. Does not
cover: the work on windows and groups (:mod:`.reconcile_work`), sharing out (:mod:`.coordination`).

A frame's head is the figures, then what Bob learned of the error rate: only where designs follow it. The body has, for
each group, one line of :data:`_GROUP`, and its account (:meth:`GroupAccount.to_bytes`). The payload has, for each
group, the confirmed bits: Alice's, and Bob's where they are not the same. Tags agree wherever bits are confirmed, so
they are the same but for an undetected error, and are kept once.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from caligo.bits import Packed, packed_bytes
from caligo.errors import DamagedFrameError, StoreError
from caligo.jobs.accounting import GroupAccount, LeakageBudget, Totals, VerifiedGroup
from caligo.jobs.drift import Designs
from caligo.jobs.outputs import OUTPUT_NAMES
from caligo.jobs.plan import Group, Window
from caligo.jobs.reconcile_work import ReconcileWork
from caligo.jobs.scheduling import Chunk, SchedulePolicy
from caligo.jobs.shards import ShardReader
from caligo.jobs.tasks import HEAD_BYTES, Figures, MergeOrder, Piece, TaskItem, TaskResult, Wait, head_of
from caligo.keys.pieces import PieceWriter
from caligo.reconciliation.tracking import ErrorCounts, QberTracker
from caligo.reconciliation.verification import Payload, tags_agree
from caligo.states import KeyState
from caligo.statistics import Proportion
from caligo.store import RunWriter
from caligo.telemetry import Telemetry

__all__ = ["ReconcileConductor", "ReconcileWorker"]

_READERS = 64
"""Shards held open at a time."""

_GROUP = struct.Struct("<QIB16s")
"""Confirmed bits, bytes of the account, whether Bob's bits are kept too, tag of Alice's."""


class _Tasks:
    """Which groups a task has."""

    def __init__(self, work: ReconcileWork, designs: Designs) -> None:
        self.layout = work.layout
        self.groups_each = work.groups_in_a_task(designs)
        self.count = -(-self.layout.group_count // self.groups_each)

    def groups(self, task: int) -> list[Group]:
        first = task * self.groups_each
        return [self.layout.group(index) for index in range(first, min(first + self.groups_each, self._all))]

    def windows(self, task: int) -> Iterator[Window]:
        for group in self.groups(task):
            yield from self.layout.windows_of(group)

    def bits(self, task: int) -> tuple[int, int]:
        """First bit, and the bit after the last."""
        groups = self.groups(task)
        last = groups[-1]
        return self.layout.start_bit(groups[0].first_block), self.layout.start_bit(last.first_block + last.blocks)

    @property
    def _all(self) -> int:
        return self.layout.group_count


class ReconcileConductor:
    """Rank 0's view of a reconciliation.

    Args:
        work: planned.
    """

    def __init__(self, work: ReconcileWork) -> None:
        self._work = work
        self._designs = work.designs()
        self._of = _Tasks(work, self._designs)
        self._alone = self._of.count == 1
        self._follows = self._designs.follows and not self._alone
        self._budget = LeakageBudget(work.options.max_leakage_bits)
        self._capped = work.options.max_leakage_bits > 0
        self._totals = Totals()
        # Of tasks that are done ahead of others: where to find what they are held against the cap by.
        self._ahead: dict[int, Callable[[], bytes]] = {}
        self._judged = 0
        self._limit = 0
        # Task -> groups that the cap does not allow to be told apart, and the bits that they lose by it.
        self._undivided: dict[int, dict[int, int]] = {}

    @property
    def tasks(self) -> int:
        """How many there are."""
        return self._of.count

    @property
    def blocks(self) -> int:
        """Blocks in all of them."""
        return self._work.layout.blocks

    @property
    def policy(self) -> SchedulePolicy | None:
        """The rule is good."""
        return None

    @property
    def task_bits(self) -> int:
        """Key bits of the first task, and of all but the last."""
        return self._of.bits(0)[1]

    def observe(self, task: int, head: bytes, read_body: Callable[[], bytes]) -> None:
        """See `TaskConductor.observe`.

        Raises:
            LeakageCapError: more would have to be disclosed than the cap; with the account until there.
        """
        if self._follows:
            seen = _trackers_from(head[HEAD_BYTES:])
            for window in self._of.windows(task):
                stretch = self._designs.stretch_of(window)
                self._designs.observe(window, seen.pop(stretch, QberTracker()))
        if self._capped:
            self._ahead[task] = read_body
            while self._judged in self._ahead:
                body = self._ahead.pop(self._judged)()
                groups = self._of.groups(self._judged)
                self._judge(self._judged, list(_accounts(body, groups, self._work, self._designs)))
                self._judged += 1

    def _judge(self, task: int, accounts: list[GroupAccount]) -> None:
        """Hold a task against the cap, in the order of the key."""
        for group, account in zip(self._of.groups(task), accounts, strict=True):
            windows = list(self._work.layout.windows_of(group))
            allowed = self._budget.windows_within(account, windows)
            if allowed < len(windows):
                blocks = sum(window.blocks for window in windows[:allowed])
                account = GroupAccount(account.blocks[:blocks], account.announced, account.told_apart)
            elif not self._budget.affords_telling_apart(account):
                lost = sum(block.payload_bits for block in account.blocks if block.state is KeyState.CONFIRMED)
                self._undivided.setdefault(task, {})[group.index] = lost
                account = account.undivided()
            self._totals.add(account)
            self._budget.require_unspent(self._work.layout.blocks, self._totals)

    def limit(self) -> int:
        """Tasks whose stretches all have designs."""
        if not self._follows:
            return self.tasks
        bits = self._designs.decided_bits()
        while self._limit < self.tasks and self._of.bits(self._limit)[1] <= bits:
            self._limit += 1
        return self._limit

    def hint(self, chunk: Chunk) -> dict[int, float]:
        """Design QBERs by stretch."""
        if not self._follows:
            return {}
        stretches = {
            stretch
            for task in (chunk.first, chunk.end - 1)
            for stretch in self._designs.stretches(self._of.windows(task))
        }
        if not stretches:
            return {}
        return {stretch: self._designs.decided(stretch) for stretch in range(min(stretches), max(stretches) + 1)}

    def settled(self) -> tuple[int, int | None] | None:
        """Every block counts."""
        return None

    def dropped_bits(self) -> dict[int, int]:
        """See `TaskConductor.dropped_bits`."""
        return {task: sum(groups.values()) for task, groups in self._undivided.items()}

    def dropped_groups(self, first: int, tasks: int) -> tuple[int, ...]:
        """See `TaskConductor.dropped_groups`."""
        return tuple(group for task in range(first, first + tasks) for group in self._undivided.get(task, ()))

    def close(self) -> None:
        """Stop designing."""
        self._designs.close()


class ReconcileWorker:
    """One rank's side of a reconciliation.

    Args:
        work: planned.
        telemetry: told how long everything takes.
        digest: of the job, 32 bytes, which its shards have.
        writer: name under which this rank records.

    Raises:
        ResourceError: there is not enough memory for the decoders.
    """

    def __init__(self, work: ReconcileWork, telemetry: Telemetry, *, digest: bytes, writer: str) -> None:
        self._work = work
        self._digest = digest
        self._writer = writer
        self._telemetry = telemetry
        self._stack = ExitStack()
        alone = work.designs()
        self._of = _Tasks(work, alone)
        self._told = self._of.count > 1
        self._designs = work.designs(told=True) if self._told else alone
        if self._told:
            alone.close()
        self._stack.callback(self._designs.close)
        self._bench = self._stack.enter_context(work.bench(self._designs, telemetry))
        self._readers: dict[Path, ShardReader] = {}
        self._run: RunWriter | None = None

    @property
    def threads(self) -> int:
        """Worker threads."""
        return self._work.threads

    @property
    def engine(self) -> str:
        """What runs the decoders' kernels."""
        return self._bench.engine

    @property
    def decoder_bytes(self) -> int:
        """Memory of the largest decoder."""
        return self._bench.decoder_bytes

    @property
    def planned_in_flight(self) -> int:
        """Windows."""
        return self._bench.windows_in_flight

    def results(
        self, items: Iterable[TaskItem | None], *, in_flight: Callable[[], int], wait: Wait
    ) -> Generator[TaskResult | None, None, None]:
        """Do tasks; see `TaskWorker.results`."""
        begun: deque[tuple[int, int]] = deque()

        def windows() -> Iterator[Window | None]:
            for item in items:
                if item is None:
                    yield None
                    continue
                for stretch, qber in (item.hint or {}).items():
                    self._designs.tell(stretch, qber)
                begun.append((item.task, len(self._of.groups(item.task))))
                yield from self._of.windows(item.task)

        collected: list[VerifiedGroup] = []
        for group in self._bench.verified(windows(), in_flight=in_flight, wait=wait):
            if group is None:
                yield None
                continue
            collected.append(group)
            task, groups = begun[0]
            if len(collected) == groups:
                begun.popleft()
                yield self._result(task, collected)
                collected = []

    def _result(self, task: int, groups: list[VerifiedGroup]) -> TaskResult:
        hash_key = self._work.randomness.hash_key
        body, payload, timeless = bytearray(), [], []
        blocks = failed = kept = coded = decode_ns = key_bits = 0
        trackers: dict[int, QberTracker] = {}
        for group in groups:
            account = group.account()
            data = account.to_bytes()
            same = not any(block.wrong for block in account.blocks if block.state is KeyState.CONFIRMED)
            tag = (group.tag or group.alice.tag(hash_key)) if group.bits else b""
            line = _GROUP.pack(group.bits, len(data), not same, tag)
            body += line + data
            timeless += [line, GroupAccount.timeless(data)]
            if group.bits:
                payload.append(group.alice.packed)
                if not same:
                    payload.append(group.bob.packed)
            blocks += len(account.blocks)
            failed += len(account.blocks) - sum(group.agreeing)
            kept += group.bits
            for block in account.blocks:
                coded += block.block_length * block.attempts
                decode_ns += block.elapsed_ns
                key_bits += block.payload_bits
            if self._told and self._designs.follows:
                for window in group.windows:
                    stretch = self._designs.stretch_of(window.place)
                    trackers[stretch] = trackers.get(stretch, QberTracker()) + window.seen
        figures = Figures(blocks, failed, key_bits, kept, coded, decode_ns)
        learned = _trackers_to(trackers)
        return TaskResult(task, head_of(figures, [*timeless, learned]) + learned, bytes(body), payload)

    def shrink(self, in_flight: int) -> None:
        """Release decoders beyond one for each window in flight."""
        self._bench.release_idle(in_flight)

    # --- putting in place ------------------------------------------------------------------------------------------

    def merge(self, order: MergeOrder) -> Totals:
        """Write the tasks' bits where they belong, record their blocks.

        Args:
            order: what to put in place.

        Raises:
            DamagedFrameError: a frame is not what was written.
            KeyFileError: the outputs cannot be written.
            ResourceError: the disk is full.
            StoreError: the run cannot be recorded.
        """
        totals = Totals()
        with self._telemetry.span("merge"), ExitStack() as stack:
            writers: list[PieceWriter] = []
            if order.out is not None:
                writers = [
                    stack.enter_context(PieceWriter(order.out / name, order.attempt, order.start_bit, order.bit_order))
                    for name in OUTPUT_NAMES
                ]
            for piece in order.pieces:
                for account, alice, bob, bits in self._groups_of(piece, order.undivided):
                    totals.add(account)
                    for writer, packed in zip(writers, (alice, bob), strict=False):
                        writer.append(packed, bits)
                    if order.run is not None:
                        self._recorder(order.run).record_many(block.record() for block in account.blocks)
            for writer in writers:
                writer.close(durable=True)
        return totals

    def _groups_of(self, piece: Piece, undivided: Sequence[int]) -> Iterator[tuple[GroupAccount, Packed, Packed, int]]:
        reader = self._readers.get(piece.shard)
        if reader is None:
            while len(self._readers) >= _READERS:
                self._readers.pop(next(iter(self._readers))).close()
            reader = self._readers[piece.shard] = ShardReader(piece.shard, self._digest)
        try:
            frame = reader.read(piece.offset)
        except StoreError as error:
            raise _damaged(piece, "it is not whole") from error
        if frame.task != piece.task:
            raise _damaged(piece, f"it is of task {frame.task}")
        groups = self._of.groups(piece.task)
        at = 0
        try:
            accounts = list(_accounts(frame.body, groups, self._work, self._designs))
            for group, account, (bits, _, separate, tag) in zip(groups, accounts, _lines(frame.body), strict=True):
                size = packed_bytes(bits)
                alice = np.frombuffer(frame.payload[at : at + size], dtype=np.uint8)
                at += size
                bob = alice
                if separate:
                    bob = np.frombuffer(frame.payload[at : at + size], dtype=np.uint8)
                    at += size
                if bits and piece.check and not self._is_whole(alice, bits, tag):
                    raise _damaged(piece, "its bits do not have their tag")
                if group.index in undivided:
                    account, bits = account.undivided(), 0
                yield account, alice, bob, bits
        except (ValueError, struct.error) as error:
            raise _damaged(piece, str(error)) from error

    def _is_whole(self, packed: Packed, bits: int, tag: bytes) -> bool:
        payload = Payload()
        payload.append(packed[None], bits)
        return tags_agree(payload.tag(self._work.randomness.hash_key), tag)

    def _recorder(self, run: Path) -> RunWriter:
        if self._run is None:
            self._run = self._stack.enter_context(RunWriter.join(run, self._writer))
        return self._run

    def close(self) -> None:
        """Wait for the threads, release the decoders; twice is harmless."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
        self._stack.close()


def _damaged(piece: Piece, reason: str) -> DamagedFrameError:
    return DamagedFrameError(
        f"expected the frame of task {piece.task} at byte {piece.offset} of {piece.shard} as it was written, got other "
        f"bytes ({reason}); start the job again, which does these blocks anew",
        shard=str(piece.shard),
        offset=piece.offset,
        task=piece.task,
    )


def _lines(body: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """What a body says of each group before its account."""
    at = 0
    while at < len(body):
        line = _GROUP.unpack_from(body, at)
        yield line
        at += _GROUP.size + line[1]


def _accounts(body: bytes, groups: Sequence[Group], work: ReconcileWork, designs: Designs) -> Iterator[GroupAccount]:
    at = 0
    for group, (_, size, _, _) in zip(groups, _lines(body), strict=True):
        at += _GROUP.size
        yield GroupAccount.from_bytes(body[at : at + size], group, work.layout, designs.code)
        at += size


def _trackers_to(trackers: dict[int, QberTracker]) -> bytes:
    """Stretch, bin and counts of every bin, eight numbers of eight bytes each."""
    rows = [
        (stretch, index, *_pair(counts.at_zero), *_pair(counts.at_one), *_pair(counts.unsplit))
        for stretch, tracker in sorted(trackers.items())
        for index, counts in tracker.bins
    ]
    return np.array(rows, dtype="<i8").tobytes()


def _trackers_from(data: bytes) -> dict[int, QberTracker]:
    """The inverse of `_trackers_to`."""
    rows: NDArray[np.int64] = np.frombuffer(data, dtype="<i8").reshape(-1, 8)
    trackers: dict[int, list[tuple[int, ErrorCounts]]] = {}
    for stretch, index, *counts in rows.tolist():
        pairs = [Proportion(*counts[at : at + 2]) for at in (0, 2, 4)]
        trackers.setdefault(stretch, []).append((index, ErrorCounts(*pairs)))
    return {stretch: QberTracker(tuple(bins)) for stretch, bins in trackers.items()}


def _pair(counts: Proportion) -> tuple[int, int]:
    return counts.successes, counts.trials

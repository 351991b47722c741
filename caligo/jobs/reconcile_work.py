"""The blocks of two keys: prepared, reconciled window by window, verified group by group, on threads of one process.

Covers: what is decided before the first block (the sample, the layout, the codes, the threads), the work on windows and
groups that a caller names. Does not cover: which groups are worked on here and what becomes of them: all of them in
order and into one report (:mod:`.reconcile_job`), or those that a coordinator shares out (:mod:`.coordination`).

Both parties are played: each of them is given its own key and the other's messages
(:mod:`caligo.reconciliation.parties`). Where the two keys are compared here, the result goes into the account and
nowhere else: true error counts, undetected errors.

**Tasks** are what is shared out: a few consecutive groups, so many that long keys have at most some ten thousand tasks
for each thousand cores, and so few that a task lasts some milliseconds. They follow from the layout alone, so what one
attempt has done the next one need not do again, on any number of ranks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caligo.bits import slice_rows
from caligo.channel import Qbers, mean_qber
from caligo.errors import ConfigError
from caligo.jobs.accounting import ReconciledWindow, VerifiedGroup, by_group
from caligo.jobs.attempts import reconcile_rows
from caligo.jobs.code_choice import choose_codes, code_requests
from caligo.jobs.drift import BANDS, Design, Designs
from caligo.jobs.options import ReconcileOptions
from caligo.jobs.plan import Group, Layout, Window, default_block_length, plan_layout
from caligo.jobs.runner import in_order_or_idle, worker_pool
from caligo.jobs.threads import plan_thread_memory
from caligo.jobs.workshop import Workshop
from caligo.keys import InterleavedKey, KeyReader, RemainingKey, interleaving_bytes, read_positions
from caligo.memory import MemoryLimit, memory_limit
from caligo.randomness import SecurityRandomness, interleaving_seed, sampled_positions
from caligo.reconciliation.estimation import (
    QberEstimate,
    default_sample_bits,
    design_qbers_for,
    estimate_qber,
)
from caligo.reconciliation.strategies import StrategyType, strategy_type
from caligo.telemetry import Telemetry

__all__ = ["MOST_GROUPS_IN_A_TASK", "Bench", "ReconcileWork", "replayed_randomness"]

MOST_GROUPS_IN_A_TASK = 8
"""2^23 bits: some 20 ms of the fastest decoding, against which the 50 us of sharing it out are little."""

_TASKS_WANTED = 4096
_INTERLEAVED_GROUPS = 4
"""Groups in a window of the interleaver, which is permuted anew for every task that touches it."""


class ReconcileWork:
    """Two opened keys and what is to be done with them.

    Args:
        keys: Alice's and Bob's, of equal length.
        options: what was asked.
        randomness: public values of the run.
        limit: of memory; None: this process's own.
    """

    def __init__(
        self,
        keys: tuple[KeyReader, KeyReader],
        options: ReconcileOptions,
        randomness: SecurityRandomness,
        *,
        limit: MemoryLimit | None = None,
    ) -> None:
        self.options = options
        self.randomness = randomness
        self.limit = memory_limit() if limit is None else limit
        self.whole_bits = keys[0].key_bits
        self.threads_wanted = options.threads or len(os.sched_getaffinity(0))
        self.threads = self.threads_wanted
        self.kind: StrategyType = strategy_type(options.strategy)
        self.sampled: QberEstimate | None = None
        self.estimated: QberEstimate | None = None
        self.is_planned = False
        self._keys = keys

    # --- before the first block ------------------------------------------------------------------------------------

    def check_sample(self) -> None:
        """Refuse a sample that leaves no key, before anything is disclosed or recorded."""
        sample = self._sample_bits()
        if sample >= self.whole_bits:
            raise ConfigError(
                f"sample_bits: expected fewer than the key's {self.whole_bits} bits, got {sample}; they are lost",
                got=sample,
                key_bits=self.whole_bits,
            )
        block_length = self.options.block_length or default_block_length(self.whole_bits)
        layout = plan_layout(self.whole_bits - sample, block_length)
        self.options.require_blocks(segment.block_length for segment in layout.segments)

    def estimate(self, known: QberEstimate | None = None) -> QberEstimate:
        """Disclose the sampled positions, remove them from both keys, plan for what they say.

        Args:
            known: what they say, where they were compared before.

        Returns:
            What they say.
        """
        sample_bits = self._sample_bits()
        positions = sampled_positions(self.randomness.sampling_seed, self.whole_bits, sample_bits)
        if known is None:
            values = [read_positions(key, positions) for key in self._keys]
            known = estimate_qber(values[0], values[1], sample_bits)
        self._keys = (RemainingKey(self._keys[0], positions), RemainingKey(self._keys[1], positions))
        self.sampled = known
        self.plan_for(known)
        return known

    def plan_for(self, known: Qbers | QberEstimate) -> None:
        """Lay out the key and choose the codes, by what is known of the QBER."""
        options = self.options
        assumed = design_qbers_for(known, asks=self.kind.asks, asymmetric=options.asymmetric == "auto")
        self.assumed_qber, self.design_qber = assumed, mean_qber(assumed)
        self.estimated = known if isinstance(known, QberEstimate) else None
        self.is_planned = True
        remaining = self._keys[0].key_bits
        self.block_length = options.block_length or default_block_length(self.whole_bits)
        self.layout: Layout = plan_layout(remaining, self.block_length)
        options.require_blocks(segment.block_length for segment in self.layout.segments)
        interleaving = interleaving_bytes(remaining) if options.interleave else 0
        self.threads = plan_thread_memory(
            self.limit, self.kind, options, self.layout, self.threads_wanted, beside_bytes=interleaving
        ).threads
        self.requests = code_requests(self.layout, assumed, options)
        self.codes = choose_codes(self.kind, self.requests)
        least = max(code.leakage_bits for code in self.codes)
        if not options.block_caps.allow(0, least):
            raise ConfigError(
                f"max_block_leakage: expected at least the {least} bits that open a block, got "
                f"{options.max_block_leakage_bits}; no block could be reconciled",
                got=options.max_block_leakage_bits,
                least=least,
            )

    def _sample_bits(self) -> int:
        asked = self.options.sample_bits
        return default_sample_bits(self.whole_bits) if asked is None else asked

    # --- tasks -----------------------------------------------------------------------------------------------------

    def groups_in_a_task(self, designs: Designs) -> int:
        """How many consecutive groups are shared out together; see the head of this module.

        Where designs follow the blocks it is as few as can be: only so much may be worked on at a time. A key so short
        that designs follow blocks of the same task is one task.

        Args:
            designs: of the key.
        """
        layout = self.layout
        groups = 1
        if not designs.follows:
            groups = min(max(layout.group_count // _TASKS_WANTED, 1), MOST_GROUPS_IN_A_TASK)
        if self.options.interleave:
            groups = max(groups, _INTERLEAVED_GROUPS)
        if designs.follows:
            # The last task has the longest group.
            last = (layout.group_count - 1) // groups * groups
            longest = max(self._bits_of(0, groups), self._bits_of(last, layout.group_count))
            if longest > designs.lagging_bits:
                return layout.group_count
        return groups

    def _bits_of(self, first: int, end: int) -> int:
        layout = self.layout
        last = layout.group(min(end, layout.group_count) - 1)
        return layout.start_bit(last.first_block + last.blocks) - layout.start_bit(layout.group(first).first_block)

    # --- work ------------------------------------------------------------------------------------------------------

    def designs(self, *, told: bool = False) -> Designs:
        """The codes of the key's windows, for `bench`; whoever takes it closes it.

        Args:
            told: designs that follow the blocks are decided elsewhere.
        """
        return Designs(
            self.kind,
            self.layout,
            self.requests,
            Design(self.design_qber, tuple(self.codes)),
            allows=lambda code: self.options.block_caps.allow(0, code.leakage_bits),
            band=BANDS[self.options.on_failure],
            follow=self.options.follows_drift,
            told=told,
        )

    @contextmanager
    def bench(self, designs: Designs, telemetry: Telemetry | None = None) -> Iterator[Bench]:
        """Decoders and threads, for as long as the block lasts.

        Args:
            designs: from `designs`.
            telemetry: told how long reading, decoding and verifying take.

        Raises:
            ResourceError: there is not enough memory for the decoders.
        """
        with ExitStack() as stack:
            keys = self._keys
            if self.options.interleave:
                seed = interleaving_seed(self.randomness.sampling_seed)
                alice = InterleavedKey(keys[0], seed)
                keys = (alice, InterleavedKey(keys[1], seed, permutation=alice.permutation))
            workshops = []
            for number, code in enumerate(self.codes):
                workers = min(self.threads, self.layout.window_count(number))
                workshop = Workshop(self.kind, code, self.options, workers)
                stack.callback(workshop.close)
                workshops.append(workshop)
            pool = stack.enter_context(worker_pool(self.threads))
            yield Bench(self, keys, workshops, pool, designs, telemetry or Telemetry(span_limit=0))

    def errors_beyond_blocks(self) -> int:
        """Places in which the keys differ among the bits at the end that are in no block."""
        bits = self.layout.discarded_bits
        if not bits:
            return 0
        rest = [key.read_bits(self.layout.key_bits - bits, bits) for key in self._keys]
        return int(_ones_in_rows((rest[0] ^ rest[1])[None, :])[0])


@dataclass(frozen=True, eq=False, repr=False)
class Bench:
    """Where windows are worked on: decoders lent to the threads of a pool."""

    work: ReconcileWork
    keys: tuple[KeyReader, KeyReader]
    workshops: list[Workshop]
    pool: Executor
    designs: Designs
    telemetry: Telemetry

    @property
    def engine(self) -> str:
        """What runs the decoders' kernels."""
        return self.workshops[0].engine

    @property
    def decoder_bytes(self) -> int:
        """Memory of the largest decoder."""
        return max(workshop.decoder_bytes for workshop in self.workshops)

    @property
    def windows_in_flight(self) -> int:
        """Windows that keep every thread at work: one that it has, one that waits for it, and one more in all."""
        return 2 * self.work.threads + 1

    def verified(
        self,
        windows: Iterable[Window | None],
        *,
        in_flight: Callable[[], int] | None = None,
        wait: Callable[[Future[Any]], Any] = Future.result,
    ) -> Generator[VerifiedGroup | None, None, None]:
        """Reconcile windows on the pool, and verify each group whose last window has come.

        Args:
            windows: whole groups, each in order; None where there is none at present.
            in_flight: most windows in flight; None: `windows_in_flight`.
            wait: as of :func:`caligo.jobs.runner.in_order_or_idle`.

        Yields:
            The groups in the order of their windows, and None where nothing was there to do.
        """
        limit = in_flight or (lambda: self.windows_in_flight)
        reconciled = in_order_or_idle(self.pool, self._reconcile, windows, limit, wait)
        return in_order_or_idle(self.pool, self._verify, by_group(reconciled), lambda: 2, wait)

    def groups_windows(self, groups: Iterable[Group]) -> Iterator[Window]:
        """The windows of groups, in order."""
        for group in groups:
            yield from self.work.layout.windows_of(group)

    def release_idle(self, keep: int) -> None:
        """Give back the memory of decoders that nobody uses.

        Args:
            keep: most idle ones to keep, of each kind.
        """
        for workshop in self.workshops:
            workshop.release_idle(keep)

    def _reconcile(self, window: Window) -> ReconciledWindow:
        """Read one window of both keys and let the parties reconcile it; compare the keys for the account."""
        try:
            return self._reconciled(window)
        except BaseException as error:
            self.designs.fail(error)
            raise

    def _reconciled(self, window: Window) -> ReconciledWindow:
        with self.telemetry.span("read"):
            rows_of_alice, rows_of_bob = (
                slice_rows(
                    key.read_bits(window.start_bit, window.key_bits),
                    0,
                    window.payload_length,
                    window.blocks,
                    max(1, window.block_length // 8),
                )
                for key in self.keys
            )
        designs, workshop = self.designs, self.workshops[window.segment]
        with self.telemetry.span("decode"):
            outcome, attempts, design, seen = reconcile_rows(
                designs, workshop, self.work.options, window, rows_of_alice, rows_of_bob
            )
        designs.observe(window, seen)
        return ReconciledWindow(
            window,
            rows_of_alice,
            outcome,
            attempts=attempts,
            code=design.codes[window.segment],
            design_qber=design.qber,
            announced=designs.announces(window),
            errors=_ones_in_rows(rows_of_alice ^ rows_of_bob),
            wrong=(outcome.decoded != rows_of_alice).any(axis=1),
            seen=seen,
        )

    def _verify(self, windows: list[ReconciledWindow]) -> VerifiedGroup:
        with self.telemetry.span("verify"):
            return VerifiedGroup.of(windows, self.work.randomness.hash_key)


def _ones_in_rows(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    words = rows.view(np.uint64) if rows.shape[1] % 8 == 0 else rows
    counts: NDArray[np.int64] = np.bitwise_count(words).sum(axis=1, dtype=np.int64)
    return counts


def replayed_randomness(seed: int) -> SecurityRandomness:
    """Public random values as a function of a seed: SHA-256 of a purpose and the seed's eight bytes, little-endian."""
    written = seed.to_bytes(8, "little")
    return SecurityRandomness(
        hash_key=hashlib.sha256(b"caligo replayed hash key 1" + written).digest(),
        sampling_seed=hashlib.sha256(b"caligo replayed sampling seed 1" + written).digest(),
    )

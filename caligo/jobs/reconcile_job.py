"""The reconcile job: two keys in, two equal keys, a leakage account and a recorded run out.

Covers: the whole way for one process with threads. Does not cover: what can be asked (:mod:`.options`), cutting the key
(:mod:`.plan`), how blocks are reconciled (:mod:`caligo.reconciliation`), sums and what is made of them
(:mod:`.accounting`, :mod:`.report`, :mod:`.advice`), many ranks (:mod:`caligo.cluster`).

This job holds both keys, and plays both parties: each of them is given its own key and the other's messages
(:mod:`caligo.reconciliation.parties`). Where the job itself compares the two keys, the result goes into the report and
nowhere else: true error counts, undetected errors, `keys_equal`.

Order of events: the keys are opened and their lengths compared; public random values are drawn and persisted in the
run's record; sampled positions are compared and removed, unless the QBER is given; codes are designed; windows of
blocks are reconciled on a pool of threads; every group of blocks is verified, recorded and written in the order of the
key; the outputs are put in place and the run is sealed. Equal inputs and random values give equal outputs for any
number of threads.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import ExitStack
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caligo.bits import slice_rows
from caligo.channel import Qbers, mean_qber
from caligo.codes.validation import validate_count
from caligo.errors import ConfigError
from caligo.jobs.accounting import LeakageBudget, ReconciledWindow, Totals, VerifiedGroup, by_group
from caligo.jobs.advice import advise
from caligo.jobs.attempts import reconcile_rows
from caligo.jobs.drift import BANDS, Design, Designs
from caligo.jobs.options import ReconcileOptions
from caligo.jobs.outputs import KeyOutputs
from caligo.jobs.plan import Layout, Window, default_block_length, plan_layout
from caligo.jobs.previous import estimate_of_run
from caligo.jobs.report import CodeUse, ReconciliationReport
from caligo.jobs.runner import in_order, interrupts_deferred, worker_pool
from caligo.jobs.sources import KeySource, is_path, open_source, same_file, source_name
from caligo.jobs.threads import plan_threads
from caligo.jobs.workshop import Workshop
from caligo.keys import (
    BitOrder,
    InterleavedKey,
    KeyPair,
    KeyReader,
    RemainingKey,
    interleaving_bytes,
    read_positions,
)
from caligo.memory import memory_limit, peak_rss_bytes
from caligo.randomness import SecurityRandomness, interleaving_seed, sampled_positions
from caligo.reconciliation.estimation import (
    QberEstimate,
    default_sample_bits,
    design_qbers_for,
    estimate_qber,
    leakage_account,
)
from caligo.reconciliation.leakage import efficiency
from caligo.reconciliation.strategies import (
    DEFAULT_TARGET_FER,
    CodeRequest,
    StrategyType,
    strategy_type,
)
from caligo.reconciliation.verification import Payload
from caligo.store import RunWriter
from caligo.telemetry import NO_PROGRESS, Progress

__all__ = ["reconcile"]


def reconcile(
    alice: KeySource,
    bob: KeySource,
    *,
    options: ReconcileOptions | None = None,
    key_bits: int | None = None,
    format: str | None = None,
    bit_order: BitOrder = "little",
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    store: str | os.PathLike[str] | None = None,
    qber_from: str | os.PathLike[str] | None = None,
    progress: Progress = NO_PROGRESS,
    **settings: Any,
) -> ReconciliationReport:
    """Make two sifted keys equal, and account for what that discloses.

    Args:
        alice: her key: packed uint8 `[ceil(key_bits / 8)]` (see :func:`caligo.bits.pack`), or the path of a key file.
        bob: his key, likewise; of the same length.
        options: what to do; None takes `settings`.
        key_bits: length of the keys when it is not a multiple of 8; None: all bits.
        format: format of the key files; None: by their names.
        bit_order: of packed key files, read and written; arrays are always little.
        out: directory for the reconciled keys ``alice.bin`` and ``bob.bin``; None: none are written.
        force: accept an `out` that is not empty.
        store: experiment store to record the run in; None: the run is not recorded.
        qber_from: directory of the run of an earlier key of the same link, whose blocks tell the QBER in place of
            sampled positions (:mod:`caligo.jobs.previous`).
        progress: told of every block that is done.
        **settings: fields of :class:`ReconcileOptions`, as in ``reconcile(a, b, qber=0.02, list_size=8)``.

    Returns:
        The report; it has the reconciled keys when both keys came as arrays and `out` is None.

    Raises:
        ConfigError: a parameter is out of range, or `out` is not empty.
        ShapeError: an array is no packed key, or the keys differ in length.
        LeakageCapError: more would have to be disclosed than `max_leakage_bits`; nothing is written, the run's record
            has every block until then.
        KeyFileError: a key file is missing, empty, damaged or too short, or the keys are not two sides of one key.
        ResourceError: memory or disk is exhausted.
        StoreError: the run cannot be recorded.
    """
    started = time.perf_counter()
    if options is None:
        try:
            options = ReconcileOptions(**settings)
        except TypeError as error:
            unknown = sorted(set(settings) - {item.name for item in fields(ReconcileOptions)})
            if not unknown:
                raise
            raise ConfigError(
                f"expected settings of ReconcileOptions, got {', '.join(unknown)}", unknown=unknown
            ) from error
    elif settings:
        raise ConfigError(f"expected options or settings, got both; drop {', '.join(sorted(settings))}")
    if key_bits is not None:
        key_bits = validate_count(key_bits, "key_bits", remedy="leave it out for all bits")
    with ExitStack() as stack:
        keys = KeyPair(
            stack.enter_context(open_source(alice, "Alice's key", key_bits, format, bit_order)),
            stack.enter_context(open_source(bob, "Bob's key", key_bits, format, bit_order)),
        )
        keep = out is None and not (is_path(alice) or is_path(bob))
        job = _Job(keys, options, keep=keep, one_file=is_path(alice) and is_path(bob) and same_file(alice, bob))
        if qber_from is not None:
            if options.qber is not None or options.sample_bits is not None:
                raise ConfigError(
                    "expected a run to take the QBER from, a QBER, or positions to sample, got two of them"
                )
            job.plan_for(estimate_of_run(qber_from))
        elif options.qber is not None:
            job.plan_for(options.qber)
        else:
            job.check_sample()
        outputs = None if out is None else stack.enter_context(KeyOutputs(Path(out), bit_order=bit_order, force=force))
        run = None
        if store is not None:
            asked = {**asdict(options), "alice": source_name(alice), "bob": source_name(bob), "key_bits": keys.key_bits}
            asked |= {"qber_from": None if qber_from is None else Path(qber_from).name}
            asked |= {"bit_order": bit_order, "out": None if out is None else os.fspath(Path(out).absolute())}
            del asked["seed"]
            run = stack.enter_context(
                RunWriter.create(
                    store,
                    "reconcile",
                    asked | {"randomness": "operating system" if options.seed is None else "seed: not for keys in use"},
                    seeds={} if options.seed is None else {"public_randomness": options.seed},
                    security_randomness=job.randomness.to_json(),
                    identity_excludes=("alice", "bob", "out", "threads"),
                )
            )
        job.perform(outputs, run, progress)
        with interrupts_deferred():
            if outputs is not None:
                outputs.commit()
            report = job.report(outputs, run, time.perf_counter() - started)
            if run is not None:
                run.seal(report.to_json())
        return report


class _Job:
    """One reconcile job, from opened keys to a report."""

    def __init__(self, keys: KeyPair, options: ReconcileOptions, *, keep: bool, one_file: bool) -> None:
        self.options = options
        self._one_file = one_file
        self._threads_wanted = options.threads or len(os.sched_getaffinity(0))
        self.threads = self._threads_wanted
        self.randomness = SecurityRandomness.draw() if options.seed is None else _replayed_randomness(options.seed)
        self._keys: tuple[KeyReader, KeyReader] = (keys.alice, keys.bob)
        self._whole_bits = keys.key_bits
        self._type: StrategyType = strategy_type(options.strategy)
        self._kept = (Payload(), Payload()) if keep else None
        self._totals = Totals()
        self.sampled: QberEstimate | None = None
        self._planned = False
        self._engine = ""
        self._decoder_bytes = 0

    # --- before the first block ------------------------------------------------------------------------------------

    def check_sample(self) -> None:
        """Refuse a sample that leaves no key, before anything is disclosed or recorded."""
        sample = self._sample_bits()
        if sample >= self._whole_bits:
            raise ConfigError(
                f"sample_bits: expected fewer than the key's {self._whole_bits} bits, got {sample}; they are lost",
                got=sample,
                key_bits=self._whole_bits,
            )
        block_length = self.options.block_length or default_block_length(self._whole_bits)
        layout = plan_layout(self._whole_bits - sample, block_length)
        self.options.require_blocks(segment.block_length for segment in layout.segments)

    def estimate(self) -> None:
        """Disclose the sampled positions, remove them from both keys, plan for what they say."""
        sample_bits = self._sample_bits()
        positions = sampled_positions(self.randomness.sampling_seed, self._whole_bits, sample_bits)
        disclosed = [read_positions(key, positions) for key in self._keys]
        estimate = estimate_qber(disclosed[0], disclosed[1], sample_bits)
        self._keys = (RemainingKey(self._keys[0], positions), RemainingKey(self._keys[1], positions))
        self.sampled = estimate
        self.plan_for(estimate)

    def plan_for(self, known: Qbers | QberEstimate) -> None:
        """Lay out the key and choose the codes, by what is known of the QBER."""
        options = self.options
        assumed = design_qbers_for(known, asks=self._type.asks, asymmetric=options.asymmetric == "auto")
        self.assumed_qber, self.design_qber = assumed, mean_qber(assumed)
        self.estimated = known if isinstance(known, QberEstimate) else None
        self._planned = True
        remaining = self._keys[0].key_bits
        self.block_length = options.block_length or default_block_length(self._whole_bits)
        self.layout: Layout = plan_layout(remaining, self.block_length)
        options.require_blocks(segment.block_length for segment in self.layout.segments)
        interleaving = interleaving_bytes(remaining) if options.interleave else 0
        self.threads = plan_threads(
            memory_limit(), self._type, options, self.layout, self._threads_wanted, beside_bytes=interleaving
        )
        self._requests = [
            CodeRequest(
                block_length=segment.block_length,
                payload_length=segment.payload_length,
                design_qber=assumed,
                list_size=options.list_size,
                check=options.check,
                efficiency=options.efficiency,
                target_fer=DEFAULT_TARGET_FER if options.target_fer is None else options.target_fer,
                raise_efficiency=segment.first_block > 0,
                segment_length=options.segment_length,
                segment_check=options.segment_check,
                wish=options.wish,
            )
            for segment in self.layout.segments
        ]
        with worker_pool(len(self._requests)) as pool:
            self.codes = list(pool.map(self._type.choose_code, self._requests))
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
        return default_sample_bits(self._whole_bits) if asked is None else asked

    # --- blocks ----------------------------------------------------------------------------------------------------

    def perform(self, outputs: KeyOutputs | None, run: RunWriter | None, progress: Progress) -> None:
        """Do all of it; outputs are filled, not committed."""
        if not self._planned:
            self.estimate()
        if self.options.interleave:
            seed = interleaving_seed(self.randomness.sampling_seed)
            alice = InterleavedKey(self._keys[0], seed)
            self._keys = (alice, InterleavedKey(self._keys[1], seed, permutation=alice.permutation))
        totals = self._totals
        with ExitStack() as stack:
            workshops = [self._workshop(stack, number) for number in range(len(self.layout.segments))]
            designs = Designs(
                self._type,
                self.layout,
                self._requests,
                Design(self.design_qber, tuple(self.codes)),
                allows=lambda code: self.options.block_caps.allow(0, code.leakage_bits),
                band=BANDS[self.options.on_failure],
                follow=self.options.follows_drift,
            )
            stack.callback(designs.close)
            progress.start("reconciling", self.layout.blocks, "blocks")
            stack.callback(progress.finish)
            pool = stack.enter_context(worker_pool(self.threads))
            done = in_order(
                pool,
                lambda window: self._work(designs, workshops[window.segment], window),
                self.layout.windows(),
                2 * self.threads + 1,
            )
            budget = LeakageBudget(self.options.max_leakage_bits)
            for group in in_order(pool, self._verify, by_group(budget.within(done)), 2):
                group = budget.affordable(group)
                blocks = list(group.blocks())
                totals.add(group, blocks)
                if run is not None:
                    run.record_many(block.record() for block in blocks)
                if group.bits:
                    if outputs is not None:
                        outputs.append(group.alice.packed, group.bob.packed, group.bits)
                    if self._kept is not None:
                        self._kept[0].append(group.alice.packed, group.bits)
                        self._kept[1].append(group.bob.packed, group.bits)
                progress.advance(len(blocks), failed=totals.blocks - totals.blocks_ok)
            budget.require_unspent(self.layout.blocks, totals)
            self._engine = workshops[0].engine
            self._decoder_bytes = max(workshop.decoder_bytes for workshop in workshops)

    def _workshop(self, stack: ExitStack, number: int) -> Workshop:
        workers = min(self.threads, self.layout.window_count(number))
        workshop = Workshop(self._type, self.codes[number], self.options, workers)
        stack.callback(workshop.close)
        return workshop

    def _work(self, designs: Designs, workshop: Workshop, window: Window) -> ReconciledWindow:
        """Read one window of both keys and let the parties reconcile it; compare the keys for the report."""
        try:
            return self._reconciled(designs, workshop, window)
        except BaseException as error:
            designs.fail(error)
            raise

    def _reconciled(self, designs: Designs, workshop: Workshop, window: Window) -> ReconciledWindow:
        rows_of_alice, rows_of_bob = (
            slice_rows(
                key.read_bits(window.start_bit, window.key_bits),
                0,
                window.payload_length,
                window.blocks,
                max(1, window.block_length // 8),
            )
            for key in self._keys
        )
        outcome, attempts, design = reconcile_rows(designs, workshop, self.options, window, rows_of_alice, rows_of_bob)
        return ReconciledWindow(
            window,
            rows_of_alice,
            outcome,
            attempts=attempts,
            code=design.codes[window.segment],
            announced=designs.announces(window),
            errors=_ones_in_rows(rows_of_alice ^ rows_of_bob),
            wrong=(outcome.decoded != rows_of_alice).any(axis=1),
        )

    def _verify(self, windows: list[ReconciledWindow]) -> VerifiedGroup:
        return VerifiedGroup.of(windows, self.randomness.hash_key)

    # --- after the last block --------------------------------------------------------------------------------------

    def report(self, outputs: KeyOutputs | None, run: RunWriter | None, elapsed_s: float) -> ReconciliationReport:
        """What was done, after `perform`."""
        layout, estimate, options, totals = self.layout, self.estimated, self.options, self._totals
        low, high = (None, None) if estimate is None else estimate.interval
        sampled_errors = 0 if self.sampled is None else self.sampled.errors
        errors = totals.errors + sampled_errors + self._errors_beyond_blocks()
        true_qber = errors / self._whole_bits
        payload_bits = layout.key_bits - layout.discarded_bits
        return ReconciliationReport(
            key_bits=self._whole_bits,
            sampled_bits=0 if self.sampled is None else self.sampled.sampled_bits,
            discarded_bits=layout.discarded_bits,
            reconciled_bits=totals.payload_ok,
            payload_length=layout.segments[0].payload_length,
            block_length=self.block_length,
            list_size=options.list_size,
            strategy=options.strategy,
            wish=options.wish,
            check=options.block_check,
            blocks=totals.blocks,
            blocks_ok=totals.blocks_ok,
            blocks_failed=totals.blocks - totals.blocks_ok,
            blocks_discarded=totals.blocks - totals.blocks_ok,
            failed_check=totals.failed_check,
            given_up=totals.given_up,
            failed_verification=totals.failed_verification,
            undetected_errors=totals.undetected_errors,
            estimated_qber=None if estimate is None else estimate.qber,
            estimated_qber_low=low,
            estimated_qber_high=high,
            true_qber=true_qber,
            design_qber=self.design_qber,
            design_qber_pair=self.assumed_qber if isinstance(self.assumed_qber, tuple) else None,
            account=leakage_account(self.assumed_qber),
            target_fer=options.aimed_fer,
            leakage_bits=totals.leakage.leakage_bits,
            leakage_bits_both_ways=totals.leakage.leakage_bits_both_ways,
            leakage=totals.leakage.by_kind(),
            efficiency=efficiency(totals.leakage_ok.leakage_bits, totals.payload_ok, totals.errors_ok),
            epsilon_correctness=float(totals.epsilon),
            blocks_retried=totals.blocks_retried,
            rounds_mean=totals.rounds / totals.blocks,
            rounds_max=totals.rounds_max,
            messages=totals.messages(sampled=self.sampled is not None),
            keys_equal=totals.undetected_errors == 0,
            payload_mbps=payload_bits / elapsed_s / 1e6,
            coded_mbps_per_core=totals.coded_bits * 1e3 / totals.elapsed_ns if totals.elapsed_ns else None,
            elapsed_s=elapsed_s,
            threads=self.threads,
            decoder_bytes=self._decoder_bytes,
            peak_rss_bytes=peak_rss_bytes(),
            engine=self._engine,
            codes=tuple(CodeUse.of(code, blocks) for code, blocks in totals.codes.items()),
            warnings=tuple(
                advise(
                    options,
                    totals,
                    true_qber=true_qber,
                    design_qber=self.design_qber,
                    one_file=self._one_file,
                    threads=self.threads,
                    threads_wanted=self._threads_wanted,
                )
            ),
            run=None if run is None else os.fspath(run.path),
            out=None if outputs is None else os.fspath(outputs.directory),
            alice_key=None if self._kept is None else self._kept[0].packed.copy(),
            bob_key=None if self._kept is None else self._kept[1].packed.copy(),
        )

    def _errors_beyond_blocks(self) -> int:
        bits = self.layout.discarded_bits
        if not bits:
            return 0
        rest = [key.read_bits(self.layout.key_bits - bits, bits) for key in self._keys]
        return int(_ones_in_rows((rest[0] ^ rest[1])[None, :])[0])


def _ones_in_rows(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = np.bitwise_count(rows).sum(axis=1, dtype=np.int64)
    return counts


def _replayed_randomness(seed: int) -> SecurityRandomness:
    """Public random values as a function of a seed: SHA-256 of a purpose and the seed's eight bytes, little-endian."""
    written = seed.to_bytes(8, "little")
    return SecurityRandomness(
        hash_key=hashlib.sha256(b"caligo replayed hash key 1" + written).digest(),
        sampling_seed=hashlib.sha256(b"caligo replayed sampling seed 1" + written).digest(),
    )

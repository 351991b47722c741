"""The reconcile job: two keys in, two equal keys, a leakage account and a recorded run out.

Covers: the whole way for one process with threads. Does not cover: cutting the key (:mod:`caligo.jobs.plan`), how
blocks are reconciled (:mod:`caligo.reconciliation`), many ranks (:mod:`caligo.cluster`).

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
import queue
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from caligo.bits import Packed, slice_rows
from caligo.codes.polar_code import PolarCode, validate_block_length
from caligo.codes.validation import validate_count
from caligo.errors import ConfigError, ExitCode
from caligo.jobs.outputs import KeyOutputs
from caligo.jobs.plan import Layout, Segment, Window, default_block_length, plan_layout
from caligo.jobs.runner import in_order, interrupts_deferred, worker_pool
from caligo.jobs.sources import ArrayKey
from caligo.keys import BitOrder, KeyPair, KeyReader, RemainingKey, open_key, read_positions
from caligo.memory import memory_limit, peak_rss_bytes, plan_memory
from caligo.randomness import MAX_SAMPLE_BITS, SecurityRandomness, sampled_positions, validate_seed
from caligo.reconciliation.estimation import (
    QberEstimate,
    default_sample_bits,
    design_qber_above,
    estimate_qber,
)
from caligo.reconciliation.leakage import Leakage, efficiency
from caligo.reconciliation.parties import Alice, Bob
from caligo.reconciliation.strategies import (
    DEFAULT_STRATEGY,
    DEFAULT_TARGET_FER,
    CodeRequest,
    ReconciledBlocks,
    Strategy,
    StrategyType,
    strategy_type,
)
from caligo.reconciliation.verification import TAG_BITS, Payload, group_epsilon
from caligo.store import RunWriter
from caligo.telemetry import NO_PROGRESS, Progress

__all__ = ["BlockOutcome", "CodeUse", "ReconcileOptions", "ReconciliationReport", "reconcile"]

BlockOutcome: TypeAlias = Literal["decoded", "failed_check", "failed_verification"]

KeySource: TypeAlias = "Packed | str | os.PathLike[str]"

DEFAULT_LIST_SIZE = 32


@dataclass(frozen=True, slots=True)
class ReconcileOptions:
    """Everything that can be asked of a reconcile job, beside the keys and the places.

    Args:
        qber: error rate to design for, 0 < qber <= 0.25; None: estimate it from sampled positions.
        block_length: N, a power of two; None: by the length of the key
            (:func:`~caligo.jobs.plan.default_block_length`).
        list_size: paths the decoder keeps: 1, 2, 4, 8, 16 or 32.
        efficiency: syndrome and check bits over payload · h2(design QBER); None: what `target_fer` needs. A shortened
            block behind whole ones takes what `target_fer` needs where that is more.
        target_fer: frame error rate to aim at, 0 < target_fer < 1; None: 0.01.
        check: check value disclosed with each block.
        strategy: name of the strategy.
        sample_bits: positions to sample when `qber` is None; None: about key_bits^(2/3).
        precision: arithmetic of the decoder, ``int8`` or ``f32``.
        engine: decoder kernels; None: the fastest this CPU has.
        threads: worker threads, each with a decoder; None: the cores this process may use.
        seed: derives the public random values from this number instead of drawing them. The sampled positions and the
            hash key are then known before the keys are fixed, which voids both: for tests and replays, not for keys.

    Raises:
        ConfigError: a value outside its range.
    """

    qber: float | None = None
    block_length: int | None = None
    list_size: int = DEFAULT_LIST_SIZE
    efficiency: float | None = None
    target_fer: float | None = None
    check: str = "crc32"
    strategy: str = DEFAULT_STRATEGY
    sample_bits: int | None = None
    precision: str = "int8"
    engine: str | None = None
    threads: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        strategy_type(self.strategy).validate(
            list_size=self.list_size, check=self.check, precision=self.precision, engine=self.engine
        )
        if self.qber is not None:
            design_qber_above(self.qber)
            self._set("qber", float(self.qber))
            if self.sample_bits is not None:
                raise ConfigError("expected a QBER or a number of positions to sample, got both; leave one out")
        if self.block_length is not None:
            self._set("block_length", validate_block_length(self.block_length))
        self._set("list_size", validate_count(self.list_size, "list_size"))
        for name in ("efficiency", "target_fer"):
            if getattr(self, name) is not None:
                self._set(name, _number(getattr(self, name), name))
        if self.efficiency is not None:
            if self.target_fer is not None:
                raise ConfigError("expected an efficiency or a target frame error rate, got both; leave one out")
            if not 0.0 < self.efficiency < float("inf"):
                raise ConfigError(
                    f"efficiency: expected a finite number > 0 (1.1 to 1.5 is usual), got {self.efficiency!r}",
                    got=str(self.efficiency),
                )
        if self.target_fer is not None and not 0.0 < self.target_fer < 1.0:
            raise ConfigError(
                f"target_fer: expected 0 < target_fer < 1, got {self.target_fer!r}", got=str(self.target_fer)
            )
        if self.sample_bits is not None:
            most, remedy = MAX_SAMPLE_BITS, "leave it out for the default"
            self._set("sample_bits", validate_count(self.sample_bits, "sample_bits", 1, most, remedy))
        if self.threads is not None:
            self._set("threads", validate_count(self.threads, "threads"))
        if self.seed is not None:
            validate_seed(self.seed)

    def _set(self, name: str, value: float) -> None:
        """Keep a checked number as a plain one: NumPy's have no place in a record."""
        object.__setattr__(self, name, value)


@dataclass(frozen=True, slots=True)
class CodeUse:
    """One code of a job and how often it was used.

    Args:
        block_length: N.
        payload_length: key bits in a block.
        blocks: blocks of this code.
        leakage_bits: syndrome and check bits disclosed for each.
        info_length: K, information bits of a block without the check.
        efficiency: `leakage_bits` over payload · h2(design QBER).
        design_qber: QBER it was designed for.
        digest: SHA-256 of the code.
    """

    block_length: int
    payload_length: int
    blocks: int
    leakage_bits: int
    info_length: int
    efficiency: float
    design_qber: float
    digest: str


@dataclass(frozen=True)
class ReconciliationReport:
    """What a reconciliation did; the content of ``caligo.reconcile/1``.

    Args:
        key_bits: bits of each key as it came.
        sampled_bits: positions disclosed for the estimate and removed from both keys; not leakage.
        discarded_bits: bits at the end, too few for a block, that are in neither output.
        reconciled_bits: bits of each reconciled key: the payload of the decoded blocks.
        payload_length: key bits in a whole block.
        block_length: N of the whole blocks.
        list_size: paths the decoder kept.
        strategy: name of the strategy.
        check: name of the check.
        blocks: all blocks.
        blocks_ok: blocks that passed check and verification.
        blocks_failed: the others.
        failed_check: failed blocks of which no candidate passed the check.
        failed_verification: failed blocks whose group's tags differed.
        undetected_errors: blocks that passed everything and differ; must be 0.
        estimated_qber: from the sampled positions; None if the QBER was given.
        estimated_qber_low: lower end of its 95 % interval.
        estimated_qber_high: upper end.
        true_qber: share of the key's bits in which the two keys differ; for the report only.
        design_qber: what the codes were designed for.
        target_fer: frame error rate aimed at; None if the efficiency was given.
        leakage_bits: bits disclosed for all blocks, failed ones too, tags included.
        leakage: the same by kind.
        efficiency: leakage of the decoded blocks, with the whole tags of their groups, over their payload times h2 of
            their pooled true error rate; None if there is none or that is zero.
        epsilon_correctness: bound on the probability that a wrong block was accepted.
        keys_equal: the two reconciled keys are the same.
        payload_mbps: key bits in blocks, in 10^6 per second of the whole job.
        coded_mbps_per_core: bits of the codewords, in 10^6 per second of decode time.
        elapsed_s: duration of the whole job.
        threads: worker threads; fewer than asked for where memory is short.
        decoder_bytes: memory of one decoder workspace, the largest.
        peak_rss_bytes: greatest resident memory of this process so far.
        engine: decoder kernels.
        codes: every code that was used.
        warnings: what the user should know.
        run: absolute path of the run directory; None if not recorded.
        out: absolute path of the directory with the reconciled keys; None if not written.
        alice_key: Alice's reconciled key, packed uint8 `[ceil(reconciled_bits / 8)]`, when the keys came as arrays and
            were not written to files.
        bob_key: Bob's, likewise.
    """

    key_bits: int
    sampled_bits: int
    discarded_bits: int
    reconciled_bits: int
    payload_length: int
    block_length: int
    list_size: int
    strategy: str
    check: str
    blocks: int
    blocks_ok: int
    blocks_failed: int
    failed_check: int
    failed_verification: int
    undetected_errors: int
    estimated_qber: float | None
    estimated_qber_low: float | None
    estimated_qber_high: float | None
    true_qber: float
    design_qber: float
    target_fer: float | None
    leakage_bits: int
    leakage: dict[str, int]
    efficiency: float | None
    epsilon_correctness: float
    keys_equal: bool
    payload_mbps: float
    coded_mbps_per_core: float | None
    elapsed_s: float
    threads: int
    decoder_bytes: int
    peak_rss_bytes: int
    engine: str
    codes: tuple[CodeUse, ...]
    warnings: tuple[str, ...] = ()
    run: str | None = None
    out: str | None = None
    alice_key: Packed | None = field(default=None, repr=False, compare=False)
    bob_key: Packed | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Every field but the keys, as JSON values."""
        document = {item.name: getattr(self, item.name) for item in fields(self)}
        del document["alice_key"], document["bob_key"]
        document["codes"] = [asdict(code) for code in self.codes]
        document["warnings"] = list(self.warnings)
        return document

    def exit_code(self, *, strict: bool = False) -> ExitCode:
        """How a command that ran this job ends.

        Args:
            strict: failed blocks are no success.
        """
        if self.undetected_errors or not self.keys_equal:
            return ExitCode.UNDETECTED_ERROR
        if strict and self.blocks_failed:
            return ExitCode.BLOCKS_FAILED
        return ExitCode.COMPLETED


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
        progress: told of every block that is done.
        **settings: fields of :class:`ReconcileOptions`, as in ``reconcile(a, b, qber=0.02, list_size=8)``.

    Returns:
        The report; it has the reconciled keys when both keys came as arrays and `out` is None.

    Raises:
        ConfigError: a parameter is out of range, or `out` is not empty.
        ShapeError: an array is no packed key, or the keys differ in length.
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
            stack.enter_context(_opened(alice, "Alice's key", key_bits, format, bit_order)),
            stack.enter_context(_opened(bob, "Bob's key", key_bits, format, bit_order)),
        )
        keep = out is None and not (_is_path(alice) or _is_path(bob))
        job = _Job(keys, options, keep=keep, one_file=_is_path(alice) and _is_path(bob) and _same_file(alice, bob))
        if options.qber is not None:
            job.plan_for(design_qber_above(options.qber), None, 0)
        else:
            job.check_sample()
        outputs = None if out is None else stack.enter_context(KeyOutputs(Path(out), bit_order=bit_order, force=force))
        run = None
        if store is not None:
            asked = {**asdict(options), "alice": _named(alice), "bob": _named(bob), "key_bits": keys.key_bits}
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
        self._totals = _Totals()
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
        plan_layout(self._whole_bits - sample, block_length)

    def estimate(self) -> None:
        """Disclose the sampled positions, remove them from both keys, plan for what they say."""
        sample_bits = self._sample_bits()
        positions = sampled_positions(self.randomness.sampling_seed, self._whole_bits, sample_bits)
        disclosed = [read_positions(key, positions) for key in self._keys]
        estimate = estimate_qber(disclosed[0], disclosed[1], sample_bits)
        self._keys = (RemainingKey(self._keys[0], positions), RemainingKey(self._keys[1], positions))
        self.plan_for(estimate.design_qber(), estimate, estimate.errors)

    def plan_for(self, design_qber: float, estimate: QberEstimate | None, sampled_errors: int) -> None:
        """Lay out the key and choose the codes."""
        options = self.options
        self.design_qber = design_qber
        self.estimated = estimate
        self.sampled_errors = sampled_errors
        remaining = self._keys[0].key_bits
        self.block_length = options.block_length or default_block_length(self._whole_bits)
        self.layout: Layout = plan_layout(remaining, self.block_length)
        limit = memory_limit()
        self.threads = plan_memory(
            limit.limit_bytes,
            block_length=max(segment.block_length for segment in self.layout.segments),
            list_size=options.list_size,
            precision=options.precision,
            threads=self._threads_wanted,
            source=limit.source,
        ).threads
        requests = [
            CodeRequest(
                block_length=segment.block_length,
                payload_length=segment.payload_length,
                design_qber=design_qber,
                list_size=options.list_size,
                check=options.check,
                efficiency=options.efficiency,
                target_fer=DEFAULT_TARGET_FER if options.target_fer is None else options.target_fer,
                raise_efficiency=segment.first_block > 0,
            )
            for segment in self.layout.segments
        ]
        with worker_pool(len(requests)) as pool:
            self.codes = list(pool.map(self._type.choose_code, requests))

    def _sample_bits(self) -> int:
        asked = self.options.sample_bits
        return default_sample_bits(self._whole_bits) if asked is None else asked

    # --- blocks ----------------------------------------------------------------------------------------------------

    def perform(self, outputs: KeyOutputs | None, run: RunWriter | None, progress: Progress) -> None:
        """Do all of it; outputs are filled, not committed."""
        if self.options.qber is None:
            self.estimate()
        totals = self._totals
        with ExitStack() as stack:
            workshops = [self._workshop(stack, number, segment) for number, segment in enumerate(self.layout.segments)]
            progress.start("reconciling", self.layout.blocks, "blocks")
            stack.callback(progress.finish)
            pool = stack.enter_context(worker_pool(self.threads))
            done = in_order(
                pool,
                lambda window: self._work(workshops[window.segment], window),
                self.layout.windows(),
                2 * self.threads + 1,
            )
            for group in in_order(pool, self._verify, _by_group(done), 2):
                blocks = list(group.blocks())
                totals.add(blocks, group.bits)
                if run is not None:
                    run.record_many(block.record() for block in blocks)
                if group.agrees and group.bits:
                    if outputs is not None:
                        outputs.append(group.alice.packed, group.bob.packed, group.bits)
                    if self._kept is not None:
                        self._kept[0].append(group.alice.packed, group.bits)
                        self._kept[1].append(group.bob.packed, group.bits)
                progress.advance(len(blocks), failed=totals.blocks - totals.blocks_ok)
            self._engine = workshops[0].engine
            self._decoder_bytes = max(workshop.decoder_bytes for workshop in workshops)

    def _workshop(self, stack: ExitStack, number: int, segment: Segment) -> _Workshop:
        workers = min(self.threads, self.layout.window_count(number))
        workshop = _Workshop(self._type, self.codes[number], segment, self.options, workers)
        stack.callback(workshop.close)
        return workshop

    def _work(self, workshop: _Workshop, window: Window) -> _Window:
        """Read one window of both keys and let the parties reconcile it; compare the keys for the report."""
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
        with workshop.borrowed() as strategy:
            outcome = strategy.reconcile(rows_of_alice, rows_of_bob)
        return _Window(
            window,
            rows_of_alice,
            outcome,
            errors=_ones_in_rows(rows_of_alice ^ rows_of_bob),
            wrong=(outcome.decoded != rows_of_alice).any(axis=1),
        )

    def _verify(self, windows: list[_Window]) -> _Group:
        """Join the blocks that passed their check, and compare the tags of both sides."""
        alice, bob = Payload(), Payload()
        for window in windows:
            passed = window.outcome.ok
            alice.append(np.ascontiguousarray(window.alice[passed]), window.place.payload_length)
            bob.append(np.ascontiguousarray(window.outcome.decoded[passed]), window.place.payload_length)
        agrees = True
        if alice.bits:
            tag = Alice.tag(self.randomness.hash_key, alice)
            agrees = Bob.verify(self.randomness.hash_key, bob, tag).agrees
        return _Group(windows, alice, bob, agrees)

    # --- after the last block --------------------------------------------------------------------------------------

    def report(self, outputs: KeyOutputs | None, run: RunWriter | None, elapsed_s: float) -> ReconciliationReport:
        """What was done, after `perform`."""
        layout, estimate, options, totals = self.layout, self.estimated, self.options, self._totals
        low, high = (None, None) if estimate is None else estimate.interval
        errors = totals.errors + self.sampled_errors + self._errors_beyond_blocks()
        true_qber = errors / self._whole_bits
        payload_bits = layout.key_bits - layout.discarded_bits
        return ReconciliationReport(
            key_bits=self._whole_bits,
            sampled_bits=0 if estimate is None else estimate.sampled_bits,
            discarded_bits=layout.discarded_bits,
            reconciled_bits=totals.payload_ok,
            payload_length=layout.segments[0].payload_length,
            block_length=self.block_length,
            list_size=options.list_size,
            strategy=options.strategy,
            check=options.check,
            blocks=totals.blocks,
            blocks_ok=totals.blocks_ok,
            blocks_failed=totals.blocks - totals.blocks_ok,
            failed_check=totals.failed_check,
            failed_verification=totals.failed_verification,
            undetected_errors=totals.undetected_errors,
            estimated_qber=None if estimate is None else estimate.qber,
            estimated_qber_low=low,
            estimated_qber_high=high,
            true_qber=true_qber,
            design_qber=self.design_qber,
            target_fer=None
            if options.efficiency is not None
            else (DEFAULT_TARGET_FER if options.target_fer is None else options.target_fer),
            leakage_bits=totals.leakage.total_bits,
            leakage=totals.leakage.by_kind(),
            efficiency=efficiency(totals.leakage_ok.total_bits, totals.payload_ok, totals.errors_ok),
            epsilon_correctness=float(totals.epsilon),
            keys_equal=totals.undetected_errors == 0,
            payload_mbps=payload_bits / elapsed_s / 1e6,
            coded_mbps_per_core=totals.coded_bits * 1e3 / totals.elapsed_ns if totals.elapsed_ns else None,
            elapsed_s=elapsed_s,
            threads=self.threads,
            decoder_bytes=self._decoder_bytes,
            peak_rss_bytes=peak_rss_bytes(),
            engine=self._engine,
            codes=tuple(
                CodeUse(
                    block_length=code.block_length,
                    payload_length=code.payload_length,
                    blocks=segment.blocks,
                    leakage_bits=code.leakage_bits,
                    info_length=code.info_length,
                    efficiency=code.efficiency(self.design_qber),
                    design_qber=self.design_qber,
                    digest=code.digest,
                )
                for code, segment in zip(self.codes, layout.segments, strict=True)
            ),
            warnings=tuple(self._warnings(totals, true_qber)),
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

    def _warnings(self, totals: _Totals, true_qber: float) -> Iterator[str]:
        failed = totals.blocks - totals.blocks_ok
        given = self.options.qber is not None
        differ = f"the keys differ in {true_qber:.2%} of their bits, the code is designed for {self.design_qber:.2%}"
        if 2 * failed > totals.blocks:
            yield f"{failed} of {totals.blocks} blocks failed: {differ}; {self._remedy(true_qber, totals)}"
        elif given and true_qber > 1.1 * self.design_qber:
            yield f"{differ}; {self._remedy(true_qber, totals)}"
        elif given and true_qber < self.design_qber / 1.5:
            yield f"more was disclosed than needed: {differ}; leave out the QBER (--qber), or give a smaller one"
        if self._one_file:
            yield "both keys come from the same file; name Alice's and Bob's"
        if self.threads < self._threads_wanted:
            yield f"memory suffices for {self.threads} of {self._threads_wanted} threads (see `caligo doctor`)"
        if self.options.seed is not None:
            yield "the public random values follow from --seed and were known before the keys: do not use these keys"

    def _remedy(self, true_qber: float, totals: _Totals) -> str:
        """What to change when blocks fail."""
        if totals.failed_verification > totals.failed_check:
            return "one wrong block fails all that are verified with it: take a longer check (--check) to find it alone"
        if true_qber > 1.05 * self.design_qber and self.options.qber is not None:
            return "leave out the QBER (--qber) to have it estimated, or give a greater one"
        if self.options.efficiency is not None:
            return "give a greater efficiency (--efficiency), or a target frame error rate instead (--target-fer)"
        if self.options.qber is not None:
            return "give a greater QBER (--qber), or a smaller target frame error rate (--target-fer)"
        return "the error rate varies along the key, or the sample is small: give a greater QBER (--qber)"


class _Workshop:
    """The strategies of one segment, one for each worker that may work on it at a time."""

    def __init__(
        self, kind: StrategyType, code: PolarCode, segment: Segment, options: ReconcileOptions, workers: int
    ) -> None:
        self.segment = segment
        self.workers = workers
        made = [
            kind(code, options.list_size, precision=options.precision, engine=options.engine) for _ in range(workers)
        ]
        self.engine = made[0].engine
        self.decoder_bytes = made[0].decoder_bytes
        self._idle: queue.SimpleQueue[Strategy] = queue.SimpleQueue()
        for strategy in made:
            self._idle.put(strategy)

    @contextmanager
    def borrowed(self) -> Iterator[Strategy]:
        """A strategy for the calling thread alone."""
        strategy = self._idle.get()
        try:
            yield strategy
        finally:
            self._idle.put(strategy)

    def close(self) -> None:
        """Release every workspace."""
        for _ in range(self.workers):
            self._idle.get().close()


@dataclass(frozen=True, eq=False, repr=False)
class _Window:
    """A reconciled window; holds key material until its group is verified."""

    place: Window
    alice: NDArray[np.uint8]
    outcome: ReconciledBlocks
    errors: NDArray[np.int64]
    wrong: NDArray[np.bool_]


@dataclass(frozen=True, eq=False, repr=False)
class _Group:
    """A verified group."""

    windows: list[_Window]
    alice: Payload
    bob: Payload
    agrees: bool

    @property
    def bits(self) -> int:
        """Payload of the blocks that were verified."""
        return self.alice.bits

    @property
    def outcomes(self) -> list[BlockOutcome]:
        """Of each block, in order."""
        passed: BlockOutcome = "decoded" if self.agrees else "failed_verification"
        return [passed if ok else "failed_check" for window in self.windows for ok in window.outcome.ok]

    def blocks(self) -> Iterator[_Block]:
        """Every block, in order; the first that was hashed carries the leakage of the tag."""
        outcomes = iter(self.outcomes)
        tag_due = self.bits > 0
        for window in self.windows:
            for row in range(window.place.blocks):
                outcome = next(outcomes)
                leakage = window.outcome.leakage[row]
                if tag_due and outcome != "failed_check":
                    leakage += Leakage(verification_bits=TAG_BITS)
                    tag_due = False
                yield _Block(
                    index=window.place.first_block + row,
                    outcome=outcome,
                    block_length=window.place.block_length,
                    payload_bits=window.place.payload_length,
                    leakage=leakage,
                    true_errors=int(window.errors[row]),
                    elapsed_ns=int(window.outcome.elapsed_ns[row]),
                    wrong=bool(window.wrong[row]),
                )


@dataclass(frozen=True, slots=True)
class _Block:
    """What is known of one block when its group is verified."""

    index: int
    outcome: BlockOutcome
    block_length: int
    payload_bits: int
    leakage: Leakage
    true_errors: int
    elapsed_ns: int
    wrong: bool

    def record(self) -> dict[str, Any]:
        """What the store keeps of it."""
        return {
            "block": self.index,
            "outcome": self.outcome,
            "block_length": self.block_length,
            "payload_bits": self.payload_bits,
            "leakage_bits": self.leakage.total_bits,
            "verification_bits": self.leakage.verification_bits,
            "true_errors": self.true_errors,
            "elapsed_ns": self.elapsed_ns,
        }


class _Totals:
    """Sums over the groups."""

    def __init__(self) -> None:
        self.blocks = self.blocks_ok = self.failed_check = self.failed_verification = self.undetected_errors = 0
        self.payload_ok = self.errors = self.errors_ok = self.coded_bits = self.elapsed_ns = 0
        self.leakage = Leakage()
        self.leakage_ok = Leakage()
        self.epsilon = Fraction(0)

    def add(self, blocks: Iterable[_Block], verified_bits: int) -> None:
        """Count the blocks of one group, of whose payload so many bits were hashed."""
        for block in blocks:
            self.blocks += 1
            self.leakage += block.leakage
            self.errors += block.true_errors
            self.coded_bits += block.block_length
            self.elapsed_ns += block.elapsed_ns
            if block.outcome == "decoded":
                self.blocks_ok += 1
                self.payload_ok += block.payload_bits
                self.errors_ok += block.true_errors
                self.leakage_ok += block.leakage
                self.undetected_errors += block.wrong
            elif block.outcome == "failed_check":
                self.failed_check += 1
            else:
                self.failed_verification += 1
        if verified_bits:
            self.epsilon += group_epsilon(verified_bits)


def _by_group(windows: Iterable[_Window]) -> Iterator[list[_Window]]:
    """Collect consecutive windows of one group."""
    collected: list[_Window] = []
    for window in windows:
        if collected and collected[-1].place.group != window.place.group:
            yield collected
            collected = []
        collected.append(window)
    if collected:
        yield collected


def _opened(source: KeySource, name: str, key_bits: int | None, format: str | None, bit_order: BitOrder) -> KeyReader:
    """A reader of a key, wherever it is."""
    if isinstance(source, str | os.PathLike):
        return open_key(source, format=format, bit_order=bit_order, key_bits=key_bits)
    return ArrayKey(source, key_bits, name)


def _is_path(source: KeySource) -> bool:
    return isinstance(source, str | os.PathLike)


def _same_file(alice: KeySource, bob: KeySource) -> bool:
    return os.path.samefile(os.fspath(cast(os.PathLike[str], alice)), os.fspath(cast(os.PathLike[str], bob)))


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ConfigError(f"{name}: expected a number, got {value!r}", got=repr(value))
    return float(value)


def _named(source: KeySource) -> str:
    return os.fspath(Path(source).absolute()) if isinstance(source, str | os.PathLike) else "array in memory"


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

"""The reconcile job: two keys in, two equal keys, a leakage account and a recorded run out.

Covers: the whole way for one process with threads, all of it at once. Does not cover: what can be asked
(:mod:`.options`), how blocks are prepared and worked on (:mod:`.reconcile_work`), sums and what is made of them
(:mod:`.accounting`, :mod:`.report`, :mod:`.advice`), jobs that go on after an interruption, and many ranks
(:mod:`.coordination`, :mod:`caligo.cluster`).

Order of events: the keys are opened and their lengths compared; public random values are drawn and persisted in the
run's record; sampled positions are compared and removed, unless the QBER is given; codes are designed; windows of
blocks are reconciled on a pool of threads; every group of blocks is verified, recorded and written in the order of the
key; the outputs are put in place and the run is sealed. Equal inputs and random values give equal outputs for any
number of threads.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from caligo.codes.validation import validate_count
from caligo.errors import ConfigError
from caligo.jobs.accounting import LeakageBudget, Totals, VerifiedGroup
from caligo.jobs.options import ReconcileOptions
from caligo.jobs.outputs import KeyOutputs
from caligo.jobs.previous import estimate_of_run
from caligo.jobs.reconcile_work import ReconcileWork, replayed_randomness
from caligo.jobs.report import ReconciliationReport
from caligo.jobs.runner import interrupts_deferred
from caligo.jobs.sources import KeySource, is_path, open_source, same_file, source_name
from caligo.keys import BitOrder, KeyPair
from caligo.memory import peak_rss_bytes
from caligo.randomness import SecurityRandomness
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
    randomness: SecurityRandomness | None = None,
    parents: Sequence[str] = (),
    campaign: str | None = None,
    compact: bool = False,
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
        randomness: public values of an earlier run of the same two keys, to repeat it; None: drawn anew. Values that
            were said before these keys were fixed void the sample and the verification.
        parents: names of the runs that this one derives from, for its record; that of `qber_from` joins them.
        campaign: name of the campaign that the run belongs to, for its record.
        compact: keep the records as Parquet (:mod:`caligo.store.compaction`).
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
        one_file = is_path(alice) and is_path(bob) and same_file(alice, bob)
        job = _Job(keys, options, randomness, keep=keep, one_file=one_file)
        if qber_from is not None:
            if options.qber is not None or options.sample_bits is not None:
                raise ConfigError(
                    "expected a run to take the QBER from, a QBER, or positions to sample, got two of them"
                )
            job.work.plan_for(estimate_of_run(qber_from))
        elif options.qber is not None:
            job.work.plan_for(options.qber)
        else:
            job.work.check_sample()
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
                    parents=parents if qber_from is None else (*parents, Path(qber_from).name),
                    campaign=campaign,
                    compact=compact,
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
    """One reconcile job in one process, from opened keys to a report."""

    def __init__(
        self,
        keys: KeyPair,
        options: ReconcileOptions,
        randomness: SecurityRandomness | None,
        *,
        keep: bool,
        one_file: bool,
    ) -> None:
        self.options = options
        if randomness is None:
            randomness = SecurityRandomness.draw() if options.seed is None else replayed_randomness(options.seed)
        self.randomness = randomness
        self.work = ReconcileWork((keys.alice, keys.bob), options, self.randomness)
        self._one_file = one_file
        self._kept = (Payload(), Payload()) if keep else None
        self._totals = Totals()
        self._engine = ""
        self._decoder_bytes = 0

    def perform(self, outputs: KeyOutputs | None, run: RunWriter | None, progress: Progress) -> None:
        """Do all of it; outputs are filled, not committed."""
        work, totals = self.work, self._totals
        if not work.is_planned:
            work.estimate()
        designs = work.designs()
        with ExitStack() as stack:
            stack.callback(designs.close)
            bench = stack.enter_context(work.bench(designs))
            progress.start("reconciling", work.layout.blocks, "blocks")
            stack.callback(progress.finish)
            budget = LeakageBudget(self.options.max_leakage_bits)
            groups = stack.enter_context(closing(bench.verified(work.layout.windows())))
            for verified in groups:
                group = None if verified is None else budget.affordable(verified, self.randomness.hash_key)
                if group is not None:
                    account = group.account()
                    totals.add(account)
                    if run is not None:
                        run.record_many(block.record() for block in account.blocks)
                    self._take(group, outputs)
                    progress.advance(len(account.blocks), failed=totals.blocks - totals.blocks_ok)
                if budget.exceeded:
                    break
            budget.require_unspent(work.layout.blocks, totals)
            self._engine, self._decoder_bytes = bench.engine, bench.decoder_bytes

    def _take(self, group: VerifiedGroup, outputs: KeyOutputs | None) -> None:
        """Keep the bits of a group where they were asked for."""
        if not group.bits:
            return
        if outputs is not None:
            outputs.append(group.alice.packed, group.bob.packed, group.bits)
        if self._kept is not None:
            self._kept[0].append(group.alice.packed, group.bits)
            self._kept[1].append(group.bob.packed, group.bits)

    def report(self, outputs: KeyOutputs | None, run: RunWriter | None, elapsed_s: float) -> ReconciliationReport:
        """What was done, after `perform`."""
        return ReconciliationReport.of(
            self.work,
            self._totals,
            elapsed_s=elapsed_s,
            threads=self.work.threads,
            decoder_bytes=self._decoder_bytes,
            peak_rss_bytes=peak_rss_bytes(),
            engine=self._engine,
            one_file=self._one_file,
            run=None if run is None else os.fspath(run.path),
            out=None if outputs is None else os.fspath(outputs.directory),
            keys=None if self._kept is None else (self._kept[0].packed.copy(), self._kept[1].packed.copy()),
        )

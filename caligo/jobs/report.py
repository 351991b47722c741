"""What a reconcile job says when it is done; the content of ``caligo.reconcile/1``.

Covers: the report, its JSON form, the exit code that follows from it. Does not cover: the sums it is made of
(:mod:`.accounting`), its warnings (:mod:`.advice`), printing it (:mod:`caligo.cli`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from caligo.bits import Packed
from caligo.codes import PolarCode
from caligo.errors import ExitCode
from caligo.jobs.accounting import Totals
from caligo.jobs.advice import advise
from caligo.jobs.reconcile_work import ReconcileWork
from caligo.reconciliation.estimation import leakage_account
from caligo.reconciliation.leakage import efficiency

__all__ = ["CodeUse", "ReconciliationReport"]


@dataclass(frozen=True, slots=True)
class CodeUse:
    """One code of a job and how often it was used.

    Args:
        block_length: N.
        payload_length: key bits in a block.
        blocks: blocks of this code.
        leakage_bits: bits disclosed for each: syndrome, check, checks of segments.
        segment_length: positions in a segment of a block; None: it is not cut.
        segment_check: name of the check of a segment, ``none`` if there are none.
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
    segment_length: int | None = None
    segment_check: str = "none"

    @classmethod
    def of(
        cls, code: PolarCode, blocks: int, *, design_qber: float | None = None, leakage_bits: int | None = None
    ) -> CodeUse:
        """The use of a code that was designed for a QBER.

        Args:
            code: which.
            blocks: of it.
            design_qber: as the field; None: what the code itself says.
            leakage_bits: as the field; None: likewise.
        """
        qber = (code.design_qber or 0.0) if design_qber is None else design_qber
        return cls(
            block_length=code.block_length,
            payload_length=code.payload_length,
            blocks=blocks,
            leakage_bits=code.leakage_bits if leakage_bits is None else leakage_bits,
            info_length=code.info_length,
            efficiency=code.efficiency(qber),
            design_qber=qber,
            digest=code.digest,
            segment_length=code.segment_length,
            segment_check=code.segment_check,
        )


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
        wish: what was wished of it; None: nothing.
        check: name of the check of a block; ``none`` where a strategy has checks of segments alone.
        blocks: all blocks.
        blocks_ok: blocks that passed check and verification.
        blocks_failed: the others.
        blocks_discarded: blocks that are in neither reconciled key: those that failed.
        failed_check: failed blocks of which no candidate passed the check.
        given_up: failed blocks that a cap kept Bob from asking about.
        failed_verification: failed blocks whose group's tags differed.
        undetected_errors: blocks that passed everything and differ; must be 0.
        estimated_qber: from the sampled positions, or the blocks of an earlier run; None if the QBER was given.
        estimated_qber_low: lower end of its 95 % interval.
        estimated_qber_high: upper end.
        true_qber: share of the key's bits in which the two keys differ; for the report only.
        design_qber: what the plan's codes were designed for, of a pair the mean; where designs follow the blocks,
            `codes` has the others.
        design_qber_pair: P(error | Bob has 0) and P(error | Bob has 1) of the plan's codes, whose proportion all others
            have; None: designed for one rate.
        account: name of the account that privacy amplification may rely on: ``leakage_bits``, or where there is a pair
            ``leakage_bits_both_ways``, since what Bob says depends on his bits then.
        target_fer: frame error rate aimed at; None if the efficiency was given, or Bob asks until he has the block.
        leakage_bits: bits that Alice disclosed for all blocks, failed ones too, tags included.
        leakage_bits_both_ways: these, and what Bob's replies say about the keys.
        leakage: both by kind; ``reply`` is Bob's, all others are Alice's.
        efficiency: leakage of the decoded blocks, with the whole tags of their groups, over their payload times h2 of
            their pooled true error rate; None if there is none or that is zero.
        epsilon_correctness: bound on the probability that a wrong block was accepted.
        blocks_retried: blocks that took more than one attempt.
        rounds_mean: requests per block.
        rounds_max: most requests for one block.
        messages: that two machines would have exchanged for all this; a frame on a wire may carry several.
        keys_equal: the two reconciled keys are the same.
        payload_mbps: key bits in blocks, in 10^6 per second of the whole job.
        coded_mbps_per_core: bits of the codewords, in 10^6 per second of decode time.
        elapsed_s: duration of the whole job.
        threads: worker threads; fewer than asked for where memory is short.
        decoder_bytes: memory of one decoder workspace, the largest.
        peak_rss_bytes: greatest resident memory of this process so far.
        engine: decoder kernels.
        codes: every code on which blocks were opened, in the order of their first blocks.
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
    wish: str | None
    check: str
    blocks: int
    blocks_ok: int
    blocks_failed: int
    blocks_discarded: int
    failed_check: int
    given_up: int
    failed_verification: int
    undetected_errors: int
    estimated_qber: float | None
    estimated_qber_low: float | None
    estimated_qber_high: float | None
    true_qber: float
    design_qber: float
    design_qber_pair: tuple[float, float] | None
    account: str
    target_fer: float | None
    leakage_bits: int
    leakage_bits_both_ways: int
    leakage: dict[str, int]
    efficiency: float | None
    epsilon_correctness: float
    blocks_retried: int
    rounds_mean: float
    rounds_max: int
    messages: int
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

    @classmethod
    def of(
        cls,
        work: ReconcileWork,
        totals: Totals,
        *,
        elapsed_s: float,
        threads: int,
        decoder_bytes: int,
        peak_rss_bytes: int,
        engine: str,
        one_file: bool,
        run: str | None,
        out: str | None,
        keys: tuple[Packed, Packed] | None = None,
    ) -> ReconciliationReport:
        """What was done.

        Args:
            work: what there was to do.
            totals: what became of all its blocks.
            elapsed_s: duration of the job, of all attempts.
            threads: that decoded at the same time, on all ranks.
            decoder_bytes: as the field.
            peak_rss_bytes: as the field.
            engine: as the field.
            one_file: both keys came from the same file.
            run: as the field.
            out: as the field.
            keys: Alice's and Bob's reconciled keys, where they are wanted.
        """
        layout, estimate, options = work.layout, work.estimated, work.options
        low, high = (None, None) if estimate is None else estimate.interval
        sampled_errors = 0 if work.sampled is None else work.sampled.errors
        true_qber = (totals.errors + sampled_errors + work.errors_beyond_blocks()) / work.whole_bits
        return cls(
            key_bits=work.whole_bits,
            sampled_bits=0 if work.sampled is None else work.sampled.sampled_bits,
            discarded_bits=layout.discarded_bits,
            reconciled_bits=totals.payload_ok,
            payload_length=layout.segments[0].payload_length,
            block_length=work.block_length,
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
            design_qber=work.design_qber,
            design_qber_pair=work.assumed_qber if isinstance(work.assumed_qber, tuple) else None,
            account=leakage_account(work.assumed_qber),
            target_fer=options.aimed_fer,
            leakage_bits=totals.leakage.leakage_bits,
            leakage_bits_both_ways=totals.leakage.leakage_bits_both_ways,
            leakage=totals.leakage.by_kind(),
            efficiency=efficiency(totals.leakage_ok.leakage_bits, totals.payload_ok, totals.errors_ok),
            epsilon_correctness=float(totals.epsilon),
            blocks_retried=totals.blocks_retried,
            rounds_mean=totals.rounds / totals.blocks,
            rounds_max=totals.rounds_max,
            messages=totals.messages(sampled=work.sampled is not None),
            keys_equal=totals.undetected_errors == 0,
            payload_mbps=(layout.key_bits - layout.discarded_bits) / elapsed_s / 1e6,
            coded_mbps_per_core=totals.coded_bits * 1e3 / totals.elapsed_ns if totals.elapsed_ns else None,
            elapsed_s=elapsed_s,
            threads=threads,
            decoder_bytes=decoder_bytes,
            peak_rss_bytes=peak_rss_bytes,
            engine=engine,
            codes=tuple(CodeUse.of(code, blocks) for code, blocks in totals.codes.items()),
            warnings=tuple(
                advise(
                    options,
                    totals,
                    true_qber=true_qber,
                    design_qber=work.design_qber,
                    one_file=one_file,
                    threads=work.threads,
                    threads_wanted=work.threads_wanted,
                )
            ),
            run=run,
            out=out,
            alice_key=None if keys is None else keys[0],
            bob_key=None if keys is None else keys[1],
        )

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

"""What one party's job says when it is done; the content of ``caligo.alice/1`` and ``caligo.bob/1``.

Covers: the report of a session, its JSON form, the exit code that follows from it. Does not cover: the sums it is made
of (:mod:`.party_blocks`), its warnings (:mod:`.advice`), printing it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from caligo.bits import Packed
from caligo.channel import mean_qber
from caligo.errors import ExitCode
from caligo.jobs.accounting import exchanged_messages
from caligo.jobs.options import ReconcileOptions
from caligo.jobs.party_blocks import BlockTally
from caligo.jobs.report import CodeUse
from caligo.memory import peak_rss_bytes
from caligo.reconciliation.endpoint import Endpoint
from caligo.reconciliation.estimation import leakage_account
from caligo.reconciliation.leakage import efficiency
from caligo.reconciliation.messages import Role
from caligo.reconciliation.session import AliceSession, BobSession, PlanAgreed

__all__ = ["PartyReport"]


@dataclass(frozen=True)
class PartyReport:
    """What one side of a session did. Both sides' reports agree on all that both can know.

    Args:
        role: ``alice`` or ``bob``.
        key_bits: bits of this side's key as it came.
        sampled_bits: positions disclosed for the estimate and removed from both keys; not leakage.
        discarded_bits: bits at the end, too few for a block.
        reconciled_bits: bits of the reconciled key: the payload of the blocks that are OK.
        block_length: N of the whole blocks.
        list_size: paths Bob's decoder keeps.
        strategy: name of the strategy.
        check: name of the check of a block; ``none`` where a strategy has checks of segments alone.
        authentication: ``psk`` or ``caller``.
        blocks: all blocks.
        blocks_ok: blocks that passed check and verification.
        blocks_failed: the others.
        blocks_discarded: blocks that are in neither reconciled key: those that failed.
        failed_check: blocks without a candidate.
        given_up: blocks that Bob stopped asking about.
        failed_verification: decoded blocks whose group's tags differed.
        estimated_qber: from the sampled positions; None if the QBER was given.
        estimated_qber_low: lower end of its 95 % interval.
        estimated_qber_high: upper end.
        corrected_errors: bits that Bob changed in the blocks that are OK; None for Alice, who is not told.
        design_qber: what the codes were designed for; of a pair, the mean.
        design_qber_pair: P(error | Bob has 0) and P(error | Bob has 1) that they were designed for; None: for one rate.
        account: name of the account that privacy amplification may rely on: ``leakage_bits``, or where there is a pair
            ``leakage_bits_both_ways``, since what Bob says depends on his bits then.
        leakage_bits: bits that Alice disclosed, for failed blocks too, tags included.
        leakage_bits_both_ways: these, and what Bob's replies say about the keys.
        leakage: both by kind.
        efficiency: leakage of the blocks that are OK over their payload times h2 of their error rate; None for Alice.
        epsilon_correctness: bound on the probability that a wrong block was accepted, given authentic messages.
        rounds_mean: requests per block.
        rounds_max: most requests for one block.
        messages: of both sides for all blocks, as if on one connection; a frame may carry several.
        frames_sent: that say something, on all connections.
        frames_received: likewise.
        bytes_sent: of these.
        bytes_received: of these.
        window: most blocks in flight.
        connections: how often this side was connected.
        payload_mbps: key bits in blocks, in 10^6 per second of the whole job.
        coded_mbps_per_core: bits of the codewords, in 10^6 per second of decoding; None for Alice.
        elapsed_s: duration of the whole job.
        threads: worker threads.
        peak_rss_bytes: greatest resident memory of this process so far.
        codes: every code that was used.
        warnings: what the user should know.
        run: absolute path of the run directory; None if not recorded.
        out: absolute path of the directory with the reconciled key; None if not written.
        key: the reconciled key, packed uint8 `[ceil(reconciled_bits / 8)]`, when the key came as an array and was not
            written to a file.
    """

    role: str
    key_bits: int
    sampled_bits: int
    discarded_bits: int
    reconciled_bits: int
    block_length: int
    list_size: int
    strategy: str
    check: str
    authentication: str
    blocks: int
    blocks_ok: int
    blocks_failed: int
    blocks_discarded: int
    failed_check: int
    given_up: int
    failed_verification: int
    estimated_qber: float | None
    estimated_qber_low: float | None
    estimated_qber_high: float | None
    corrected_errors: int | None
    design_qber: float
    design_qber_pair: tuple[float, float] | None
    account: str
    leakage_bits: int
    leakage_bits_both_ways: int
    leakage: dict[str, int]
    efficiency: float | None
    epsilon_correctness: float
    rounds_mean: float
    rounds_max: int
    messages: int
    frames_sent: int
    frames_received: int
    bytes_sent: int
    bytes_received: int
    window: int
    connections: int
    payload_mbps: float
    coded_mbps_per_core: float | None
    elapsed_s: float
    threads: int
    peak_rss_bytes: int
    codes: tuple[CodeUse, ...]
    warnings: tuple[str, ...] = ()
    run: str | None = None
    out: str | None = None
    key: Packed | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        session: AliceSession | BobSession,
        endpoint: Endpoint,
        plan: PlanAgreed | None,
        options: ReconcileOptions,
        tally: BlockTally,
        *,
        discarded_bits: int,
        authentication: str,
        elapsed_s: float,
        threads: int,
        warnings: tuple[str, ...] = (),
        run: str | None = None,
        out: str | None = None,
        key: Packed | None = None,
    ) -> PartyReport:
        """The report of a session that is closed.

        Args:
            session: with its totals.
            endpoint: that carried it.
            plan: as it was agreed; None: there was none.
            options: what was asked.
            tally: of the blocks.
            discarded_bits: as the field.
            authentication: as the field.
            elapsed_s: as the field.
            threads: Bob's worker threads.
            warnings: as the field.
            run: as the field.
            out: as the field.
            key: as the field.
        """
        totals = session.totals
        sections = () if plan is None else plan.sections
        assumed = 0.0 if plan is None else plan.design_qber
        design_qber = mean_qber(assumed)
        estimate = None if plan is None else plan.estimate
        low, high = (None, None) if estimate is None else estimate.interval
        payload = sum(section.blocks * section.side.code.payload_length for section in sections)
        is_bob = session.role is Role.BOB
        return cls(
            role=session.role.name.lower(),
            key_bits=session.terms.key_bits,
            sampled_bits=0 if estimate is None else estimate.sampled_bits,
            discarded_bits=discarded_bits,
            reconciled_bits=totals.reconciled_bits,
            block_length=session.terms.block_length,
            list_size=options.list_size,
            strategy=options.strategy,
            check=options.block_check,
            authentication=authentication,
            blocks=session.blocks,
            blocks_ok=totals.blocks_ok,
            blocks_failed=totals.blocks_failed,
            blocks_discarded=totals.blocks_failed,
            failed_check=totals.failed_check,
            given_up=totals.given_up,
            failed_verification=totals.failed_verification,
            estimated_qber=None if estimate is None else estimate.qber,
            estimated_qber_low=low,
            estimated_qber_high=high,
            corrected_errors=tally.errors_ok if is_bob else None,
            design_qber=design_qber,
            design_qber_pair=assumed if isinstance(assumed, tuple) else None,
            account=leakage_account(assumed),
            leakage_bits=totals.leakage.leakage_bits,
            leakage_bits_both_ways=totals.leakage.leakage_bits_both_ways,
            leakage=totals.leakage.by_kind(),
            efficiency=efficiency(tally.leakage_ok, totals.reconciled_bits, tally.errors_ok) if is_bob else None,
            epsilon_correctness=float(totals.epsilon),
            rounds_mean=totals.rounds / session.blocks if session.blocks else 0.0,
            rounds_max=totals.rounds_max,
            messages=exchanged_messages(
                sampled=estimate is not None,
                blocks=session.blocks,
                rounds=totals.rounds,
                comparisons=totals.comparisons,
            ),
            frames_sent=endpoint.frames_sent,
            frames_received=endpoint.frames_received,
            bytes_sent=endpoint.bytes_sent,
            bytes_received=endpoint.bytes_received,
            window=session.window,
            connections=endpoint.connections,
            payload_mbps=payload / elapsed_s / 1e6,
            coded_mbps_per_core=tally.coded_bits * 1e3 / tally.decode_ns if tally.decode_ns else None,
            elapsed_s=elapsed_s,
            threads=threads if is_bob else 1,
            peak_rss_bytes=peak_rss_bytes(),
            codes=tuple(
                CodeUse.of(
                    section.side.code,
                    section.blocks,
                    design_qber=design_qber,
                    leakage_bits=section.side.sizes.total_bits,
                )
                for section in sections
            ),
            warnings=warnings,
            run=run,
            out=out,
            key=key,
        )

    def to_json(self) -> dict[str, Any]:
        """Every field but the key, as JSON values."""
        document = {item.name: getattr(self, item.name) for item in fields(self)}
        del document["key"]
        document["codes"] = [asdict(code) for code in self.codes]
        document["warnings"] = list(self.warnings)
        return document

    def exit_code(self, *, strict: bool = False) -> ExitCode:
        """How a command that ran this job ends.

        Args:
            strict: failed blocks are no success.
        """
        return ExitCode.BLOCKS_FAILED if strict and self.blocks_failed else ExitCode.COMPLETED

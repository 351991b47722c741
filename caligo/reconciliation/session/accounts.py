"""What a session tells its caller: the plan, groups that are settled, sums.

Covers: these values. Does not cover: how they come about.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from caligo.channel import Qbers
from caligo.reconciliation.estimation import QberEstimate
from caligo.reconciliation.leakage import Leakage, TwoWayLeakage
from caligo.reconciliation.messages import (
    Close,
    Seeds,
    Settlement,
)
from caligo.reconciliation.session.sections import Section
from caligo.reconciliation.verification import Payload

__all__ = ["BlockAccount", "GroupSettled", "PlanAgreed", "Totals"]


@dataclass(frozen=True, slots=True)
class PlanAgreed:
    """Both sides have the same plan; blocks follow.

    Args:
        seeds: the session's public random values.
        estimate: from the sample; None where the QBER was given.
        design_qber: what the codes are designed for, or the pair.
        sections: the blocks, in order.
    """

    seeds: Seeds
    estimate: QberEstimate | None
    design_qber: Qbers
    sections: tuple[Section[Any], ...]


@dataclass(frozen=True, slots=True)
class BlockAccount:
    """What became of a block, and what it cost.

    Args:
        block: its index.
        payload_length: key bits in it.
        block_length: N.
        settlement: Bob's word.
        confirmed: it is OK, and the tags of its group, or its own, are the same on both sides.
        rounds: requests.
        leakage: of this block; the first confirmed block of a group, or else the first hashed one, carries its tag and
            verdict.
        elapsed_ns: Bob's decoding time; 0 for Alice.
        corrected_errors: bits that Bob changed; None for Alice, and where nothing was decoded.
    """

    block: int
    payload_length: int
    block_length: int
    settlement: Settlement
    rounds: int
    leakage: TwoWayLeakage
    confirmed: bool = False
    elapsed_ns: int = 0
    corrected_errors: int | None = None


@dataclass(frozen=True, slots=True)
class GroupSettled:
    """A group is verified, or had nothing to verify. Groups come in order.

    Args:
        group: its index.
        blocks: all of its blocks, in order.
        agrees: the group's tags were the same; True without a tag.
        key: this side's bits of the blocks that are confirmed.
    """

    group: int
    blocks: tuple[BlockAccount, ...]
    agrees: bool
    key: Payload


@dataclass(slots=True)
class Totals:
    """Sums over what is settled; the account also counts what is in flight.

    Args:
        opened: what Alice disclosed unasked, and her tags; for blocks that failed too.
        answer_bits: what she disclosed on request.
        reply_bits: what Bob said.
        rounds: requests.
        rounds_max: most requests for one block.
        blocks_ok: blocks that are confirmed.
        failed_check: blocks without a candidate.
        given_up: blocks that Bob stopped asking about.
        failed_verification: decoded blocks that are not.
        reconciled_bits: payload of the blocks that are OK.
        tags: of groups and of blocks, that were compared.
        comparisons: messages that carried them.
        epsilon: sum of what each tag leaves to chance.
    """

    opened: Leakage = field(default_factory=Leakage)
    answer_bits: int = 0
    reply_bits: int = 0
    rounds: int = 0
    rounds_max: int = 0
    blocks_ok: int = 0
    failed_check: int = 0
    given_up: int = 0
    failed_verification: int = 0
    reconciled_bits: int = 0
    tags: int = 0
    comparisons: int = 0
    epsilon: Fraction = Fraction(0)

    @property
    def leakage(self) -> TwoWayLeakage:
        """The whole account."""
        return TwoWayLeakage(self.opened, self.answer_bits, self.reply_bits)

    @property
    def leakage_bits(self) -> int:
        """Disclosed by Alice."""
        return self.opened.total_bits + self.answer_bits

    @property
    def blocks_failed(self) -> int:
        """All blocks that are settled and not OK."""
        return self.failed_check + self.given_up + self.failed_verification

    def closing(self) -> Close:
        """What the last message says."""
        return Close(
            leakage_bits=self.leakage_bits,
            leakage_bits_both_ways=self.leakage_bits + self.reply_bits,
            blocks_ok=self.blocks_ok,
            blocks_failed=self.blocks_failed,
            reconciled_bits=self.reconciled_bits,
        )

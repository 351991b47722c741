"""The leakage account: how many bits about Alice's key were disclosed, by kind.

Covers: the sum of what a strategy discloses, and the efficiency that follows from it. Does not cover: sampled
positions, which are disclosed *and removed from the key*, so they cost key bits and leak nothing about what is left
(:mod:`caligo.reconciliation.estimation`); privacy amplification, which subtracts the account from the key.

Every disclosed bit is a linear function of Alice's block and counts once, whether the block was then decoded or not.
Shortened positions are public constants and leak nothing. Source: ``specs/one-way.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from caligo.channel import binary_entropy
from caligo.codes import PolarCode
from caligo.errors import ConfigError

__all__ = ["OUTCOME_BITS", "VERDICT_BITS", "Leakage", "TwoWayLeakage", "efficiency"]

OUTCOME_BITS = 2
"""A block's outcome tells a request, and three ways to settle it, apart."""

VERDICT_BITS = 1


@dataclass(frozen=True, slots=True)
class Leakage:
    """Disclosed bits by kind; a commutative monoid under ``+`` with ``Leakage()`` as its neutral element.

    Args:
        syndrome_bits: bits of polar syndromes.
        check_bits: bits of check values of blocks.
        verification_bits: bits of verification tags.
        segment_check_bits: bits of check values of segments.
    """

    syndrome_bits: int = 0
    check_bits: int = 0
    verification_bits: int = 0
    segment_check_bits: int = 0

    @classmethod
    def of_blocks(cls, code: PolarCode, blocks: int = 1) -> Leakage:
        """What one-way reconciliation discloses for blocks of one code, before verification.

        Args:
            code: the code of the blocks.
            blocks: how many, >= 0.
        """
        return cls(
            syndrome_bits=blocks * code.syndrome_bits,
            check_bits=blocks * code.check_bits,
            segment_check_bits=blocks * code.segment_check_bits,
        )

    def __add__(self, other: Leakage) -> Leakage:
        if not isinstance(other, Leakage):
            return NotImplemented
        return Leakage(
            self.syndrome_bits + other.syndrome_bits,
            self.check_bits + other.check_bits,
            self.verification_bits + other.verification_bits,
            self.segment_check_bits + other.segment_check_bits,
        )

    @property
    def total_bits(self) -> int:
        """All disclosed bits."""
        return self.syndrome_bits + self.check_bits + self.segment_check_bits + self.verification_bits

    def by_kind(self) -> dict[str, int]:
        """The account as a record has it: ``syndrome``, ``check``, ``segment_check``, ``verification``."""
        return {
            "syndrome": self.syndrome_bits,
            "check": self.check_bits,
            "segment_check": self.segment_check_bits,
            "verification": self.verification_bits,
        }


@dataclass(frozen=True, slots=True)
class TwoWayLeakage:
    """The account of a dialogue; a commutative monoid under ``+`` with ``TwoWayLeakage()`` as its neutral element.

    Bob's replies depend on both keys. Where a proof hands the error pattern to the eavesdropper, `leakage_bits` is the
    account; where it does not, or where Bob's reliabilities depend on his bits, `leakage_bits_both_ways` is.

    Args:
        opened: what Alice disclosed unasked, and her tags.
        answer_bits: bits she disclosed on request.
        reply_bits: bits of Bob's requests, outcomes and verdicts.
    """

    opened: Leakage = Leakage()
    answer_bits: int = 0
    reply_bits: int = 0

    def __add__(self, other: TwoWayLeakage) -> TwoWayLeakage:
        if not isinstance(other, TwoWayLeakage):
            return NotImplemented
        return TwoWayLeakage(
            self.opened + other.opened, self.answer_bits + other.answer_bits, self.reply_bits + other.reply_bits
        )

    @property
    def leakage_bits(self) -> int:
        """Disclosed by Alice."""
        return self.opened.total_bits + self.answer_bits

    @property
    def leakage_bits_both_ways(self) -> int:
        """Disclosed by Alice, and said by Bob."""
        return self.leakage_bits + self.reply_bits

    def by_kind(self) -> dict[str, int]:
        """As of `Leakage.by_kind`, and ``answer``: Alice's; ``reply``: Bob's."""
        return self.opened.by_kind() | {"answer": self.answer_bits, "reply": self.reply_bits}


def efficiency(leakage_bits: int, payload_bits: int, errors: int) -> float | None:
    """Efficiency f: disclosed bits over the least that the errors demand, payload · h2(errors / payload).

    Args:
        leakage_bits: bits disclosed for these blocks, tags included, >= 0.
        payload_bits: their key bits, >= 0.
        errors: places in which the two keys differed in them, in [0, payload_bits].

    Returns:
        f, or None where h2 is zero (no blocks, no errors, or nothing but errors).

    Raises:
        ConfigError: more errors than bits.
    """
    if not 0 <= errors <= payload_bits:
        raise ConfigError(
            f"expected 0 <= errors <= payload_bits, got {errors} of {payload_bits}; count both over the same blocks",
            errors=errors,
            payload_bits=payload_bits,
        )
    if errors in (0, payload_bits):
        return None
    return leakage_bits / (payload_bits * binary_entropy(errors / payload_bits))

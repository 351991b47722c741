"""What one party counts and records of its blocks.

Covers: the sums that a session's own totals lack, the record of a block. Does not cover: those totals
(:mod:`caligo.reconciliation.session`), the report (:mod:`.party_report`), the blocks of a job that has both keys
(:mod:`.accounting`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from caligo.reconciliation.leakage import Leakage
from caligo.reconciliation.messages import Settlement
from caligo.reconciliation.session import BlockAccount
from caligo.states import KeyState

__all__ = ["BlockTally", "block_record"]


@dataclass(slots=True)
class BlockTally:
    """Sums over the blocks that are concluded.

    Args:
        blocks: how many.
        decode_ns: Bob's time spent decoding.
        coded_bits: bits of the codewords.
        leakage_ok: bits that Alice disclosed for confirmed blocks.
        errors_ok: bits that Bob changed in them.
    """

    blocks: int = 0
    decode_ns: int = 0
    coded_bits: int = 0
    leakage_ok: int = 0
    errors_ok: int = 0

    def add(self, blocks: Iterable[BlockAccount]) -> None:
        """Count blocks that are concluded."""
        for block in blocks:
            self.blocks += 1
            self.decode_ns += block.elapsed_ns
            self.coded_bits += block.block_length
            if block.confirmed:
                self.leakage_ok += block.leakage.leakage_bits
                self.errors_ok += block.corrected_errors or 0


def block_record(block: BlockAccount) -> dict[str, Any]:
    """What the store keeps of a block, as JSON values."""
    opened: Leakage = block.leakage.opened
    state = KeyState.UNCORRECTED
    if block.settlement is Settlement.OK:
        state = KeyState.CONFIRMED if block.confirmed else KeyState.UNCONFIRMED
    record: dict[str, Any] = {
        "block": block.block,
        "outcome": state.label,
        "block_length": block.block_length,
        "payload_bits": block.payload_length,
        "leakage_bits": block.leakage.leakage_bits,
        "leakage_bits_both_ways": block.leakage.leakage_bits_both_ways,
        "verification_bits": opened.verification_bits,
        "rounds": block.rounds,
        "elapsed_ns": block.elapsed_ns,
    }
    if block.corrected_errors is not None:
        record["corrected_errors"] = block.corrected_errors
    return record

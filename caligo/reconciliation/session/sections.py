"""What a session is given: a key, and what opens or decodes its blocks.

Covers: protocols and the sections of a plan. Does not cover: any key, any strategy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from caligo.bits import Packed
from caligo.channel import Qbers
from caligo.reconciliation.estimation import QberEstimate
from caligo.reconciliation.messages import PlanSection, Seeds
from caligo.reconciliation.strategies.dialogue import (
    Side,
)

__all__ = ["AnySide_co", "Key", "Section", "Workshop"]

AnySide_co = TypeVar("AnySide_co", bound=Side, covariant=True)


class Key(Protocol):
    """A side's own key."""

    @property
    def key_bits(self) -> int:
        """Its length, before anything is sampled."""
        ...

    def sample(self, sampling_seed: bytes, sample_bits: int) -> Packed:
        """The bits at the sampled positions, which are no part of the key from then on."""
        ...

    def block(self, start_bit: int, payload_length: int, block_length: int) -> NDArray[np.uint8]:
        """A block of what remains, packed uint8 `[max(1, N // 8)]`, zero beyond the payload."""
        ...


@dataclass(frozen=True, slots=True)
class Section(Generic[AnySide_co]):
    """Consecutive blocks of one code, with what decodes or opens them.

    Args:
        first_block: index of the first.
        blocks: how many, >= 1.
        start_bit: first bit, among those that remain after sampling.
        side: of the strategy, on the code of these blocks.
    """

    first_block: int
    blocks: int
    start_bit: int
    side: AnySide_co

    @property
    def stated(self) -> PlanSection:
        """The same as a plan states it."""
        code = self.side.code
        return PlanSection(self.blocks, code.payload_length, code.block_length, bytes.fromhex(code.digest))


class Workshop(Protocol[AnySide_co]):
    """Makes the sections of a key; both sides' must come to the same codes."""

    def design_for(self, estimate: QberEstimate | None) -> Qbers:
        """What codes are to be designed for.

        Args:
            estimate: from the sample, both sides having the same; None where the terms give the QBER.

        Returns:
            On the design grid: a QBER, or a pair.
        """
        ...

    def prepare(self, design_qber: Qbers, key_bits: int, seeds: Seeds) -> Sequence[Section[AnySide_co]]:
        """Lay out what remains of the key and make a side for every code.

        Args:
            design_qber: as of `design_for`.
            key_bits: bits that remain after sampling.
            seeds: the session's public random values; what the key is permuted by, where it is.
        """
        ...

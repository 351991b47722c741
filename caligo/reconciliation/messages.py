"""What the parties tell each other in one-way reconciliation, as values.

Covers: the content of each message. Does not cover: its form on a wire, nor authentication, which the classical channel
of the key exchange provides.

All of it is public. Bob's answers say which blocks passed and whether a tag agreed; they depend on both keys and are
part of the transcript a security proof is told about (``specs/one-way.md``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Disclosure", "Tag", "Verdict"]


@dataclass(frozen=True, eq=False, repr=False)
class Disclosure:
    """Alice to Bob: what she discloses for a batch of B blocks of one code.

    Args:
        frozen_values: uint8 `[B, max(1, N // 8)]`: her transformed blocks at the frozen positions, zero elsewhere.
        check_values: uint32 `[B]`: check values of her blocks; uint32 `[B, 1 + segments]` if the code has segments,
            whose check values follow the block's.
    """

    frozen_values: NDArray[np.uint8]
    check_values: NDArray[np.uint32]

    def __repr__(self) -> str:
        return f"Disclosure(blocks={len(self.check_values)})"


@dataclass(frozen=True, slots=True, repr=False)
class Tag:
    """Alice to Bob: the verification tag of the decoded blocks of one group.

    Args:
        value: 16 bytes.
    """

    value: bytes

    def __repr__(self) -> str:
        return "Tag()"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Bob to Alice: whether his tag of a group agrees with hers.

    Args:
        agrees: if not, both sides discard every block of the group.
    """

    agrees: bool

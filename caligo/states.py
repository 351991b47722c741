"""How far the bits of a key or a block have come: one vocabulary for blocks, records and key files.

The words and their numbers are those of the AIT QKD software (`qkd::key::key_state`), whose keystream files carry them
(`specs/key-files.md`). A key goes raw, sifted, corrected, confirmed, amplified, authenticated; what fails on the way is
uncorrected or unconfirmed.

Covers: the states, which of them caligo may give to bits, and which bits can still be reconciled. Does not cover: how a
state is reached (`caligo.reconciliation`).
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["EXPORTABLE", "KeyState"]


class KeyState(IntEnum):
    """State of a key or of one block of it."""

    OTHER = 0
    """No key bits: data that only the module that made them understands."""
    RAW = 1
    """Everything detected, bases not yet compared."""
    SIFTED = 2
    """Bases agree; the bits differ at the QBER."""
    CORRECTED = 3
    """Bob's decoder found bits that pass their check."""
    UNCORRECTED = 4
    """No path of the decoder passed the check."""
    CONFIRMED = 5
    """The verification hash of both sides agrees."""
    UNCONFIRMED = 6
    """The verification hash of both sides differs."""
    AMPLIFIED = 7
    """What was disclosed is subtracted: a secret key."""
    AUTHENTICATED = 8
    """A secret key whose making was authenticated from end to end."""
    DISCLOSED = 9
    """The bits are public."""

    @property
    def label(self) -> str:
        """The word, as records and tables show it: ``sifted``."""
        return self.name.lower()


EXPORTABLE = frozenset(KeyState) - {KeyState.OTHER, KeyState.AMPLIFIED, KeyState.AUTHENTICATED}
"""States that caligo may write: it amplifies nothing and authenticates nothing, so it never says that of bits."""

"""What one party asks for: its own settings, and the terms that both sides must want alike.

Covers: what beside `ReconcileOptions` can be asked, the terms that follow from options and the length of a key. Does
not cover: comparing terms (:mod:`caligo.reconciliation.session`), what each of them means on the wire
(:mod:`caligo.reconciliation.messages`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from caligo.channel import mean_qber
from caligo.codes.validation import validate_count
from caligo.errors import ConfigError
from caligo.jobs.options import ReconcileOptions
from caligo.jobs.plan import default_block_length, plan_layout
from caligo.reconciliation.estimation import default_sample_bits
from caligo.reconciliation.messages import Terms
from caligo.reconciliation.session import MAX_WINDOW
from caligo.reconciliation.strategies import DEFAULT_TARGET_FER
from caligo.reconciliation.verification import MINIMUM_GROUP_BITS

__all__ = ["MAX_SESSION_SAMPLE_BITS", "PartyOptions", "terms_for"]

MAX_SESSION_SAMPLE_BITS = 1 << 24
"""A sample is one message."""

_MOST_RECONNECTIONS = 1 << 20


@dataclass(frozen=True, slots=True)
class PartyOptions:
    """What can be asked of a party, beside what both sides must want alike (`ReconcileOptions`).

    Args:
        window: most blocks in flight; None: as many as an eighth of the memory holds
            (`caligo.memory.dialogue_window`). The smaller of both sides' holds.
        timeout_s: longest silence of the peer, and longest wait for it, > 0.
        reconnections: how often a lost connection is opened again, >= 0.

    Raises:
        ConfigError: a value outside its range.
    """

    window: int | None = None
    timeout_s: float = 60.0
    reconnections: int = 10

    def __post_init__(self) -> None:
        if self.window is not None:
            validate_count(self.window, "window", 1, MAX_WINDOW)
        if not 0.0 < self.timeout_s < float("inf"):
            raise ConfigError(f"timeout: expected a number of seconds > 0, got {self.timeout_s!r}", got=self.timeout_s)
        validate_count(self.reconnections, "reconnections", 0, _MOST_RECONNECTIONS)


def terms_for(options: ReconcileOptions, key_bits: int) -> Terms:
    """What this side wants of a session.

    Args:
        options: what was asked.
        key_bits: length of its key.

    Raises:
        ConfigError: the sample leaves no key or is too large for a message, or the blocks do not fit the options.
        KeyFileError: the key is too short for a block.
    """
    block_length = options.block_length or default_block_length(key_bits)
    sample_bits = 0
    if options.qber is None:
        asked = options.sample_bits
        sample_bits = default_sample_bits(key_bits) if asked is None else asked
        if not 1 <= sample_bits < min(key_bits, MAX_SESSION_SAMPLE_BITS + 1):
            raise ConfigError(
                f"sample_bits: expected 1 to {min(key_bits - 1, MAX_SESSION_SAMPLE_BITS)} of the key's "
                f"{key_bits} bits, got {sample_bits}; or give the QBER",
                got=sample_bits,
                key_bits=key_bits,
            )
    layout = plan_layout(key_bits - sample_bits, block_length)
    options.require_blocks(segment.block_length for segment in layout.segments)
    target_fer = DEFAULT_TARGET_FER if options.target_fer is None else options.target_fer
    return Terms(
        key_bits=key_bits,
        strategy=options.strategy,
        parameters=_parameters(options),
        block_length=block_length,
        list_size=options.list_size,
        check=options.check,
        efficiency=options.efficiency or 0.0,
        target_fer=target_fer if options.efficiency is None else 0.0,
        qber=0.0 if options.qber is None else mean_qber(options.qber),
        sample_bits=sample_bits,
        group_bits=MINIMUM_GROUP_BITS,
        max_rounds=options.max_rounds,
        max_block_leakage_bits=options.max_block_leakage_bits,
        max_leakage_bits=options.max_leakage_bits,
    )


def _parameters(options: ReconcileOptions) -> str:
    """What else decides about blocks and codes, as far as it was given; not how Bob decodes."""
    given = {
        "asymmetric": None if options.asymmetric == "auto" else options.asymmetric,
        "interleave": options.interleave or None,
        "qber_pair": options.qber if isinstance(options.qber, tuple) else None,
        "retries": options.further_attempts or None,
        "segment_check": options.segment_check,
        "segment_length": options.segment_length,
        "wish": options.wish,
    }
    return json.dumps({name: value for name, value in given.items() if value is not None}, sort_keys=True)

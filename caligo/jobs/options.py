"""What can be asked of a reconcile job, checked before anything is opened.

Covers: the options, their ranges and which of them exclude each other. Does not cover: the keys and the places
(:func:`caligo.jobs.reconcile`), nor defaults that depend on the key (:mod:`.plan`, :mod:`caligo.reconciliation`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from caligo.channel import Qbers, validate_qbers
from caligo.codes.polar_code import validate_block_length
from caligo.codes.validation import validate_count
from caligo.errors import ConfigError
from caligo.randomness import MAX_SAMPLE_BITS, validate_seed
from caligo.reconciliation.estimation import design_qbers_for
from caligo.reconciliation.strategies import DEFAULT_STRATEGY, DEFAULT_TARGET_FER, NO_CAPS, BlockCaps, strategy_type

__all__ = ["DEFAULT_LIST_SIZE", "MAX_RETRIES", "ReconcileOptions"]

DEFAULT_LIST_SIZE = 32

_MOST_ROUNDS = 1 << 20
_MOST_BITS = 1 << 62
"""Beyond any key; a message and a record hold it."""

DEFAULT_CHECK = "crc32"
DEFAULT_RETRIES = 2

MAX_RETRIES = 4
"""By then a block has been given as much as if its QBER were 1.6 times what it was designed for."""


@dataclass(frozen=True, slots=True)
class ReconcileOptions:
    """Everything that can be asked of a reconcile job, beside the keys and the places.

    Args:
        qber: error rate to design for, 0 < qber <= 0.25, or a pair: where Bob has 0, where he has 1; None: estimate it
            from sampled positions.
        asymmetric: ``auto``: design for two rates where the sample tells two apart
            (:mod:`caligo.reconciliation.estimation`); ``off``: for one. A pair that is given is used.
        block_length: N, a power of two; None: by the length of the key
            (:func:`~caligo.jobs.plan.default_block_length`).
        list_size: paths the decoder keeps: 1, 2, 4, 8, 16 or 32.
        efficiency: syndrome and check bits over payload · h2(design QBER); None: what `target_fer` needs. A shortened
            block behind whole ones takes what `target_fer` needs where that is more.
        target_fer: frame error rate to aim at, 0 < target_fer < 1; None: 0.01. Not where Bob asks until he has the
            block.
        check: check value disclosed with each block. Not to be chosen where Bob asks: such strategies have their own.
        strategy: name of the strategy, one of `caligo.reconciliation.strategies.STRATEGIES`.
        wish: what matters most to a strategy that knows different ways, one of its `wishes`; None: its own choice.
        segment_length: positions of a segment, a power of two from 64 on, for ``segmented``, at most the longest
            block; None: 2^16. A block too short for two segments is not cut.
        segment_check: check value disclosed with each segment, likewise; None: ``crc16``.
        escalation: list sizes tried before `list_size`, increasing: (1, 8); None: the strategy's own, which is as
            good and the fastest; (): none.
        max_rounds: most requests for one block, >= 0; a block that needs more is given up.
        max_block_leakage_bits: most bits that Alice discloses for one block before verification, 0: no cap; a block
            that needs more is given up.
        max_leakage_bits: most bits that Alice discloses in all, 0: no cap; the job ends in a `LeakageCapError` before
            it would disclose more.
        on_failure: what becomes of a block of which no candidate passed its check: ``discard``, or ``retry``: Alice
            discloses more of it, for strategies in which Bob does not ask of himself.
        retries: most further attempts for a block, 1 to `MAX_RETRIES`, where failed blocks are tried again; None: 2.
        follow_drift: design each stretch of the key for what the blocks before it say (:mod:`caligo.jobs.drift`); None:
            where the QBER is estimated.
        sample_bits: positions to sample when `qber` is None; None: about key_bits^(2/3).
        interleave: permute both keys first, so that bursts of errors are spread over many blocks
            (:mod:`caligo.keys.interleaving`); the reconciled keys are in the permuted order.
        precision: arithmetic of the decoder, ``int8`` or ``f32``.
        engine: decoder kernels; None: the fastest this CPU has.
        threads: worker threads, each with a decoder; None: the cores this process may use.
        seed: derives the public random values from this number instead of drawing them. The sampled positions and the
            hash key are then known before the keys are fixed, which voids both: for tests and replays, not for keys.

    Raises:
        ConfigError: a value outside its range.
    """

    qber: Qbers | None = None
    asymmetric: str = "auto"
    block_length: int | None = None
    list_size: int = DEFAULT_LIST_SIZE
    efficiency: float | None = None
    target_fer: float | None = None
    check: str = DEFAULT_CHECK
    strategy: str = DEFAULT_STRATEGY
    wish: str | None = None
    segment_length: int | None = None
    segment_check: str | None = None
    escalation: tuple[int, ...] | None = None
    max_rounds: int = NO_CAPS.max_rounds
    max_block_leakage_bits: int = NO_CAPS.max_leakage_bits
    max_leakage_bits: int = 0
    on_failure: str = "discard"
    retries: int | None = None
    follow_drift: bool | None = None
    sample_bits: int | None = None
    interleave: bool = False
    precision: str = "int8"
    engine: str | None = None
    threads: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        kind = strategy_type(self.strategy)
        if self.wish is not None and self.wish not in kind.wishes:
            known = ", ".join(kind.wishes) or f"none, since the strategy {self.strategy} knows one way only"
            raise ConfigError(f"wish: expected {known}, got {self.wish!r}", what="wish", got=str(self.wish))
        kind.validate(
            list_size=self.list_size,
            check=self.check,
            precision=self.precision,
            engine=self.engine,
            escalation=self.escalation,
            segment_length=self.segment_length,
            segment_check=self.segment_check,
        )
        if kind.asks:
            self._require_unused("target_fer", self.target_fer is None, "Bob asks until he has the block")
            self._require_unused("check", self.check == DEFAULT_CHECK, "its segments have checks of their own")
        if self.escalation is not None:
            object.__setattr__(self, "escalation", tuple(int(size) for size in self.escalation))
        if self.segment_length is not None:
            self._set("segment_length", validate_count(self.segment_length, "segment_length"))
        if self.qber is not None:
            object.__setattr__(self, "qber", validate_qbers(self.qber))
            design_qbers_for(self.qber, asks=False)
            if self.sample_bits is not None:
                raise ConfigError("expected a QBER or a number of positions to sample, got both; leave one out")
        if self.asymmetric not in ("auto", "off"):
            raise ConfigError(f"asymmetric: expected auto or off, got {self.asymmetric!r}", got=str(self.asymmetric))
        if self.block_length is not None:
            self._set("block_length", validate_block_length(self.block_length))
        self._set("list_size", validate_count(self.list_size, "list_size"))
        for name in ("efficiency", "target_fer"):
            if getattr(self, name) is not None:
                self._set(name, _number(getattr(self, name), name))
        if self.efficiency is not None:
            if self.target_fer is not None:
                raise ConfigError("expected an efficiency or a target frame error rate, got both; leave one out")
            if not 0.0 < self.efficiency < float("inf"):
                raise ConfigError(
                    f"efficiency: expected a finite number > 0 (1.1 to 1.5 is usual), got {self.efficiency!r}",
                    got=str(self.efficiency),
                )
        if self.target_fer is not None and not 0.0 < self.target_fer < 1.0:
            raise ConfigError(
                f"target_fer: expected 0 < target_fer < 1, got {self.target_fer!r}", got=str(self.target_fer)
            )
        if self.sample_bits is not None:
            most, remedy = MAX_SAMPLE_BITS, "leave it out for the default"
            self._set("sample_bits", validate_count(self.sample_bits, "sample_bits", 1, most, remedy))
        for name, most in (
            ("max_rounds", _MOST_ROUNDS),
            ("max_block_leakage_bits", _MOST_BITS),
            ("max_leakage_bits", _MOST_BITS),
        ):
            self._set(name, validate_count(getattr(self, name), name, 0, most))
        if self.on_failure not in ("discard", "retry"):
            raise ConfigError(f"on_failure: expected discard or retry, got {self.on_failure!r}", got=self.on_failure)
        if self.on_failure == "retry" and kind.asks:
            raise ConfigError(
                f"on_failure: expected discard, got retry; in the strategy {self.strategy} Bob asks of himself until a "
                "cap is reached (--max-rounds)",
                strategy=self.strategy,
            )
        if self.retries is not None:
            self._set("retries", validate_count(self.retries, "retries", 1, MAX_RETRIES))
            if self.on_failure != "retry":
                raise ConfigError(
                    f"retries: expected none with on_failure {self.on_failure}, got {self.retries}; add on_failure "
                    "retry (--on-failure retry), or leave it out",
                    what="retries",
                    got=self.retries,
                )
        if self.follow_drift is not None and not isinstance(self.follow_drift, bool):
            raise ConfigError(f"follow_drift: expected True, False or None, got {self.follow_drift!r}")
        if not isinstance(self.interleave, bool):
            raise ConfigError(f"interleave: expected True or False, got {self.interleave!r}")
        if self.threads is not None:
            self._set("threads", validate_count(self.threads, "threads"))
        if self.seed is not None:
            validate_seed(self.seed)

    @property
    def further_attempts(self) -> int:
        """Most further attempts for a block that failed."""
        if self.on_failure != "retry":
            return 0
        return DEFAULT_RETRIES if self.retries is None else self.retries

    @property
    def aimed_fer(self) -> float | None:
        """Frame error rate that codes are chosen for; None where they are not."""
        if self.efficiency is not None or strategy_type(self.strategy).asks:
            return None
        return DEFAULT_TARGET_FER if self.target_fer is None else self.target_fer

    @property
    def block_check(self) -> str:
        """Name of the check that is disclosed with each block."""
        return "none" if strategy_type(self.strategy).asks else self.check

    @property
    def follows_drift(self) -> bool:
        """Whether designs follow the blocks."""
        return self.qber is None if self.follow_drift is None else self.follow_drift

    @property
    def block_caps(self) -> BlockCaps:
        """Where a block is given up."""
        return BlockCaps(self.max_rounds, self.max_block_leakage_bits)

    def require_blocks(self, block_lengths: Iterable[int]) -> None:
        """Refuse what asks for longer blocks than there are.

        Args:
            block_lengths: of all blocks.

        Raises:
            ConfigError: no block is as long as the segments that were asked for.
        """
        longest = max(block_lengths)
        if self.segment_length is not None and self.segment_length > longest:
            raise ConfigError(
                f"segment_length: expected at most the {longest} positions of the longest block, got "
                f"{self.segment_length}; the strategy {self.strategy} would cut no block: give shorter segments, or "
                "leave it out",
                what="segment_length",
                strategy=self.strategy,
                got=self.segment_length,
            )

    def _require_unused(self, name: str, unused: bool, reason: str) -> None:
        if not unused:
            raise ConfigError(
                f"{name}: expected none, since in the strategy {self.strategy} {reason}, got {getattr(self, name)!r}; "
                "leave it out, or choose the strategy one-way or segmented",
                what=name,
                strategy=self.strategy,
                got=str(getattr(self, name)),
            )

    def _set(self, name: str, value: float) -> None:
        """Keep a checked number as a plain one: NumPy's have no place in a record."""
        object.__setattr__(self, name, value)


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ConfigError(f"{name}: expected a number, got {value!r}", got=repr(value))
    return float(value)

"""Strategies: how two parties come to one key, block by block; one file each, selected by name.

Covers: what every strategy offers, and the registry. Does not cover: any strategy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from caligo.channel import Qbers, binary_entropy, conditional_entropy, mean_qber
from caligo.codes import PolarCode
from caligo.errors import ConfigError
from caligo.reconciliation.leakage import TwoWayLeakage

if TYPE_CHECKING:
    from caligo.reconciliation.strategies.dialogue import AliceSide, BobSide

__all__ = [
    "DEFAULT_STRATEGY",
    "DEFAULT_TARGET_FER",
    "NO_CAPS",
    "STRATEGIES",
    "WISHES",
    "BlockCaps",
    "CodeRequest",
    "ReconciledBlocks",
    "Strategy",
    "StrategyType",
    "strategy_type",
]

DEFAULT_STRATEGY = "one-way"

DEFAULT_TARGET_FER = 0.01
"""Frame error rate aimed at when neither it nor an efficiency is given."""

STRATEGIES: dict[str, str] = {
    "one-way": "caligo.reconciliation.strategies.one_way:OneWay",
    "segmented": "caligo.reconciliation.strategies.segmented:Segmented",
    "incremental": "caligo.reconciliation.strategies.incremental:Incremental",
    "interactive": "caligo.reconciliation.strategies.interactive:Interactive",
}
"""Name -> module and class; loaded when it is asked for."""


WISHES = ("rounds", "balanced", "leakage")
"""What can be wished of a strategy that knows different ways: few requests, a balance, little disclosure."""


@dataclass(frozen=True, slots=True)
class BlockCaps:
    """Where Bob gives a block up.

    Args:
        max_rounds: most requests for one block, >= 0.
        max_leakage_bits: most bits disclosed for one block, >= 0; 0: no cap.
    """

    max_rounds: int = 100
    max_leakage_bits: int = 0

    def allow(self, rounds: int, leakage_bits: int) -> bool:
        """Whether a block may have had so many requests, and so many bits disclosed."""
        return rounds <= self.max_rounds and not (self.max_leakage_bits and leakage_bits > self.max_leakage_bits)


NO_CAPS = BlockCaps()
"""A hundred requests, and as many bits as they ask for."""


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """What a strategy needs to know to choose a code.

    Args:
        block_length: N.
        payload_length: key bits in the block, at most N.
        design_qber: on the design grid; of a pair, both.
        list_size: paths the decoder will keep.
        check: name of the check value.
        efficiency: syndrome and bits of checks over payload · h2(mean design QBER); None: choose it for `target_fer`.
        target_fer: frame error rate aimed at, 0 < target_fer < 1.
        raise_efficiency: take the efficiency that `target_fer` needs where that is greater than the one given.
        segment_length: positions of a segment, for strategies that cut blocks; None: the strategy's own.
        segment_check: name of the check value of a segment, likewise.
        wish: one of the strategy's `wishes`; None: the strategy's own.
    """

    block_length: int
    payload_length: int
    design_qber: Qbers
    list_size: int
    check: str = "crc32"
    efficiency: float | None = None
    target_fer: float = DEFAULT_TARGET_FER
    raise_efficiency: bool = False
    segment_length: int | None = None
    segment_check: str | None = None
    wish: str | None = None

    @property
    def unit(self) -> float:
        """What an efficiency of one discloses: payload · h2 of the design QBER, of a pair of their mean."""
        return self.payload_length * binary_entropy(mean_qber(self.design_qber))

    @property
    def least_bits(self) -> float:
        """What has to be disclosed at least: payload · H(X|Y) of the design QBER; of a pair it is less than `unit`."""
        return self.payload_length * conditional_entropy(self.design_qber)


@dataclass(frozen=True, eq=False, repr=False)
class ReconciledBlocks:
    """Outcome of a batch of B blocks.

    Args:
        decoded: uint8 `[B, max(1, N // 8)]`, Bob's blocks after reconciliation; rows that are not ok mean nothing.
        ok: bool `[B]`: the block passed its check.
        elapsed_ns: uint64 `[B]`: decode time.
        leakage: of each block, both ways, verification not included.
        rounds: int64 `[B]`: requests; every one is two further messages.
        given_up: bool `[B]`: a cap kept Bob from asking; such a block is not ok.
    """

    decoded: NDArray[np.uint8]
    ok: NDArray[np.bool_]
    elapsed_ns: NDArray[np.uint64]
    leakage: tuple[TwoWayLeakage, ...]
    rounds: NDArray[np.int64]
    given_up: NDArray[np.bool_]

    def __repr__(self) -> str:
        return f"ReconciledBlocks(blocks={len(self.ok)}, ok={int(np.count_nonzero(self.ok))})"


class Strategy(Protocol):
    """Both parties of one strategy, on one code, with one decoder workspace; used by one thread at a time."""

    @property
    def code(self) -> PolarCode:
        """The code of the blocks."""
        ...

    @property
    def engine(self) -> str:
        """What runs the decoder's kernels."""
        ...

    @property
    def decoder_bytes(self) -> int:
        """Memory of the decoder workspace."""
        ...

    def reconcile(
        self, alice: NDArray[np.uint8], bob: NDArray[np.uint8], caps: BlockCaps = NO_CAPS
    ) -> ReconciledBlocks:
        """Play both parties on a batch of blocks, packed uint8 `[B, max(1, N // 8)]`; each sees its own alone."""
        ...

    def close(self) -> None:
        """Release the workspace."""
        ...


class StrategyType(Protocol):
    """What a strategy's class offers.

    Attributes:
        name: by which it is selected.
        wishes: those of `WISHES` that it knows; none where there is one way only.
        asks: Bob may ask for more, so that codes are designed on the low side of what is known of the QBER; otherwise
            on the high side.
    """

    name: str
    wishes: tuple[str, ...]
    asks: bool

    def __call__(
        self,
        code: PolarCode,
        list_size: int,
        *,
        precision: str = "int8",
        engine: str | None = None,
        escalation: Sequence[int] | None = None,
    ) -> Strategy:
        """Make one; an escalation of None is the strategy's own."""
        ...

    def validate(
        self,
        *,
        list_size: int,
        check: str,
        precision: str,
        engine: str | None,
        escalation: Sequence[int] | None = None,
        segment_length: int | None = None,
        segment_check: str | None = None,
    ) -> None:
        """Refuse settings that are out of range."""
        ...

    def required_bytes(
        self,
        block_length: int,
        list_size: int,
        precision: str,
        check: str,
        escalation: Sequence[int] | None = None,
        segment_length: int | None = None,
    ) -> int:
        """Memory of a decoder for blocks of a length, in bytes; an escalation of None is the strategy's own."""
        ...

    def choose_code(self, request: CodeRequest) -> PolarCode:
        """The code for blocks of one shape."""
        ...

    def alice(self, code: PolarCode) -> AliceSide:
        """Her side of a dialogue on one code."""
        ...

    def bob(
        self,
        code: PolarCode,
        list_size: int,
        *,
        precision: str = "int8",
        engine: str | None = None,
        escalation: Sequence[int] | None = None,
        workers: int = 1,
    ) -> BobSide:
        """His side of a dialogue on one code, for so many threads at a time."""
        ...


def strategy_type(name: str) -> StrategyType:
    """Find a strategy by name.

    Args:
        name: one of `STRATEGIES`.

    Raises:
        ConfigError: there is none of that name.
    """
    home = STRATEGIES.get(name)
    if home is None:
        raise ConfigError(f"strategy: expected one of {', '.join(STRATEGIES)}, got {name!r}", got=str(name))
    module, _, attribute = home.partition(":")
    return cast(StrategyType, getattr(import_module(module), attribute))

"""Every strategy on the same keys, and Cascade beside them: what each discloses, how often it talks, what it yields.

Covers: the strategies of the registry, one for each wish where they have wishes, and both variants of Cascade; the
same blocks and the same knowledge of the error rate for all; the figures and the time model. Does not cover: what a
strategy does (:mod:`caligo.reconciliation`), drawing (:mod:`.comparison_plot`), keys that are then used
(:func:`caligo.jobs.reconcile`): nothing is written or sent, and the comparison holds both keys.

*Account.* Everybody has a check of the block (Cascade is charged its bits, too) and is verified in groups of blocks, as
in a reconcile job; check and tags are in every figure. ``efficiency`` counts Alice's bits, ``efficiency_both_ways``
Bob's also, over payload · h2(true error rate) of the blocks that are ok. ``net_bits`` are the payload of these blocks
minus what was disclosed for all: what is left for privacy amplification, which deducts what the quantum channel leaked
as well. They are charged what Alice disclosed; where the decoder assumes two error rates, by Bob's bit, both ways
(`account`, :func:`~caligo.reconciliation.estimation.leakage_account`).

*Time.* One core decodes; d is its time for a block, r the rounds, T the round trip. A block alone takes d + r · T. The
core is never idle once 1 + r · T / d blocks, rounded up, are in flight (`blocks_in_flight`), and then yields a block
every d: `net_mbps` is net bits per second with so many, `net_mbps_alone` with one. Messages are as quick as the round
trip says, whatever their size. The times of Cascade are those of a reference in NumPy, not of a good implementation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caligo import _native
from caligo.bits import slice_rows
from caligo.channel import DESIGN_QBER_MAX, DESIGN_QBER_MIN, Qbers, mean_qber, normal_approximation_efficiency
from caligo.codes.polar_code import validate_block_length
from caligo.codes.validation import validate_count
from caligo.errors import ConfigError, KeyFileError, MemoryBudgetError
from caligo.jobs.accounting import ReconciledWindow, Totals, VerifiedGroup, by_group
from caligo.jobs.options import DEFAULT_LIST_SIZE, ReconcileOptions
from caligo.jobs.plan import Layout, Window, default_block_length, plan_layout
from caligo.jobs.sources import KeySource, is_path, open_source, same_file
from caligo.keys import BitOrder, KeyPair, KeyReader, RemainingKey, read_positions
from caligo.memory import memory_limit, plan_memory
from caligo.randomness import SecurityRandomness, sampled_positions, simulation_sampling_seed, validate_seed
from caligo.reconciliation.cascade import CASCADES, Cascade, CascadeVariant
from caligo.reconciliation.estimation import (
    QberEstimate,
    default_sample_bits,
    design_qbers_for,
    estimate_qber,
    leakage_account,
)
from caligo.reconciliation.leakage import OUTCOME_BITS, Leakage, TwoWayLeakage, efficiency
from caligo.reconciliation.strategies import (
    DEFAULT_TARGET_FER,
    STRATEGIES,
    CodeRequest,
    ReconciledBlocks,
    Strategy,
    strategy_type,
)
from caligo.telemetry import NO_PROGRESS, Progress

__all__ = ["ComparedStrategy", "StrategyComparison", "compare_strategies", "contestant_names"]

DEFAULT_WORK_BITS = 1 << 24
"""Key bits to compare on when nobody says how many blocks: seconds for each strategy."""

MAX_ROUND_TRIP_MS = 1e6
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class ComparedStrategy:
    """The figures of one strategy; also a line of the CSV.

    Args:
        strategy: name, with the wish behind a slash where there is one.
        yardstick: Cascade: not a strategy to reconcile with.
        assumed_qber: what codes are designed for: on the high side of what is known, or where Bob can ask on the low
            side; of two rates, by Bob's bit, the mean. Cascade takes what is known as it is.
        account: what `net_bits` are charged: ``leakage_bits``, or ``leakage_bits_both_ways`` where two rates are
            assumed.
        blocks: blocks that were tried.
        blocks_ok: blocks that passed check and verification.
        failed_check: blocks without a candidate that passes the check.
        given_up: blocks that Bob stopped asking about.
        failed_verification: wrong blocks, and those that verification could not tell from them.
        efficiency: Alice's bits over payload · h2(true error rate), of the blocks that are ok; None if there is none.
        efficiency_both_ways: the same with Bob's bits.
        rounds_mean: how often Alice waited for an answer before she sent more, per block.
        rounds_max: the most of any block.
        messages_mean: messages of both per block: an opening and an outcome, two for each round; without tags.
        alice_bits: what Alice discloses for a block, tags included; mean.
        bob_bits: what Bob's requests, answers, outcomes and verdicts say about the keys; mean.
        decode_ms: time of one core for a block; mean.
        coded_mbps: code bits, in 10^6 per second of one core.
        net_bits: payload of the blocks that are ok minus what was disclosed for all blocks, by `account`.
        net_share: `net_bits` over the payload of all blocks.
        gain: net bits more than those of the first strategy compared, as a fraction of those; None if there are none.
        blocks_in_flight: blocks under way at once that keep one core busy.
        net_mbps: net bits, in 10^6 per second of one core, with so many in flight.
        net_mbps_alone: with one block in flight.
    """

    strategy: str
    yardstick: bool
    assumed_qber: float
    account: str
    blocks: int
    blocks_ok: int
    failed_check: int
    given_up: int
    failed_verification: int
    efficiency: float | None
    efficiency_both_ways: float | None
    rounds_mean: float
    rounds_max: int
    messages_mean: float
    alice_bits: float
    bob_bits: float
    decode_ms: float
    coded_mbps: float
    net_bits: int
    net_share: float
    gain: float | None
    blocks_in_flight: int
    net_mbps: float
    net_mbps_alone: float


@dataclass(frozen=True, slots=True)
class StrategyComparison:
    """What a comparison found; the content of ``caligo.compare-strategies/1``.

    Args:
        key_bits: bits of each key as it came.
        sampled_bits: positions sampled for the estimate, and left out; 0 if the QBER was given.
        block_length: N.
        payload_length: key bits in a block.
        blocks: blocks that every strategy tried.
        list_size: paths of the decoders.
        check: name of the check of a block.
        engine: decoder kernels; None if no decoder was compared.
        known_qber: what all know of the error rate: given, or estimated from the sampled positions.
        true_qber: share of the compared bits in which the keys differ.
        target_fer: frame error rate that one-way codes aim at.
        one_way_limit: least f of any one-way code of this length at the true error rate and `target_fer`, in the
            normal approximation; None without errors.
        round_trip_ms: between the two, of the time model.
        seed: of the sampled positions and Cascade's shuffles.
        strategies: the figures.
        warnings: what the reader should know.
    """

    key_bits: int
    sampled_bits: int
    block_length: int
    payload_length: int
    blocks: int
    list_size: int
    check: str
    engine: str | None
    known_qber: float
    true_qber: float
    target_fer: float
    one_way_limit: float | None
    round_trip_ms: float
    seed: int
    strategies: tuple[ComparedStrategy, ...]
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Every field, as JSON values."""
        document: dict[str, Any] = asdict(self)
        return document

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Heading and lines of the CSV: one line for each strategy, which begins with what all have in common."""
        common = ["key_bits", "block_length", "payload_length", "list_size", "known_qber", "true_qber"]
        common += ["one_way_limit", "round_trip_ms"]
        own = [item.name for item in fields(ComparedStrategy)]
        shared = [getattr(self, name) for name in common]
        return [*common, *own], [[*shared, *(getattr(row, name) for name in own)] for row in self.strategies]


@dataclass(frozen=True, slots=True)
class _Contestant:
    """One row to come: a strategy of the registry with a wish or without, or a variant of Cascade."""

    name: str
    strategy: str = ""
    wish: str | None = None
    cascade: CascadeVariant | None = None


def _contestants() -> dict[str, _Contestant]:
    found: list[_Contestant] = []
    for strategy in STRATEGIES:
        wishes = strategy_type(strategy).wishes
        if wishes:
            found += [_Contestant(f"{strategy}/{wish}", strategy, wish) for wish in wishes]
        else:
            found.append(_Contestant(strategy, strategy))
    found += [_Contestant(name, cascade=variant) for name, variant in CASCADES.items()]
    return {contestant.name: contestant for contestant in found}


def contestant_names() -> list[str]:
    """What can be compared, in the order of a comparison; a strategy with wishes is there once for each."""
    return list(_contestants())


def _chosen(names: Iterable[str] | None) -> list[_Contestant]:
    known = _contestants()
    if names is None:
        return list(known.values())
    if isinstance(names, str):
        names = names.split(",")
    chosen: dict[str, _Contestant] = {}
    for name in names:
        matching = {key: item for key, item in known.items() if name in (key, item.strategy or key)}
        if not matching:
            raise ConfigError(f"strategies: expected some of {', '.join(known)}, got {name!r}", got=str(name))
        chosen |= matching
    if not chosen:
        raise ConfigError(f"strategies: expected some of {', '.join(known)}, got none; leave it out for all")
    return list(chosen.values())


def compare_strategies(
    alice: KeySource,
    bob: KeySource,
    *,
    qber: Qbers | None = None,
    asymmetric: str = "auto",
    block_length: int | None = None,
    list_size: int = DEFAULT_LIST_SIZE,
    target_fer: float | None = None,
    blocks: int | None = None,
    strategies: Iterable[str] | None = None,
    round_trip_ms: float = 10.0,
    seed: int = 1,
    key_bits: int | None = None,
    format: str | None = None,
    bit_order: BitOrder = "little",
    progress: Progress = NO_PROGRESS,
) -> StrategyComparison:
    """Reconcile the same blocks of two sifted keys by every strategy, and by Cascade.

    Args:
        alice: her key: packed uint8 `[ceil(key_bits / 8)]`, or the path of a key file.
        bob: his key, likewise; of the same length.
        qber: error rate that all assume, 0 < qber <= 0.25, or a pair: where Bob has 0, where he has 1; None: from
            sampled positions, as a reconcile job does.
        asymmetric: ``auto``: design for two rates where the sample tells them apart; ``off``: for one.
        block_length: N, a power of two; None: that of a reconcile job. A key shorter than a block is one.
        list_size: paths of the decoders: 1, 2, 4, 8, 16 or 32.
        target_fer: frame error rate that one-way codes aim at, 0 < target_fer < 1; None: 0.01.
        blocks: how many blocks, from the beginning of the keys; None: all whole ones, 2^24 bits at most.
        strategies: what to compare, of :func:`contestant_names`; the name of a strategy stands for all its wishes;
            None: everything. The first one is what `gain` refers to.
        round_trip_ms: between the two, in milliseconds, 0 <= round_trip_ms <= 10^6.
        seed: names the sampled positions and Cascade's shuffles, in [0, 2^64).
        key_bits: length of the keys when it is not a multiple of 8; None: all bits.
        format: format of the key files; None: by their names.
        bit_order: of packed key files.
        progress: told of every block of every strategy.

    Raises:
        ConfigError: a parameter is out of range, or there are fewer blocks in the key.
        ShapeError: an array is no packed key, or the keys differ in length.
        KeyFileError: a key file is missing, empty, damaged or too short, or the keys are not two sides of one key.
        ResourceError: memory is exhausted.
    """
    options = ReconcileOptions(
        qber=qber,
        asymmetric=asymmetric,
        block_length=block_length,
        list_size=list_size,
        target_fer=target_fer,
        threads=1,
    )
    validate_seed(seed)
    contestants = _chosen(strategies)
    if blocks is not None:
        blocks = validate_count(blocks, "blocks", remedy="leave it out for as many as there are")
    if key_bits is not None:
        key_bits = validate_count(key_bits, "key_bits", remedy="leave it out for all bits")
    if isinstance(round_trip_ms, bool | str) or not 0.0 <= round_trip_ms <= MAX_ROUND_TRIP_MS:
        raise ConfigError(
            f"round_trip_ms: expected 0 <= round_trip_ms <= {MAX_ROUND_TRIP_MS:g}, got {round_trip_ms!r}; give "
            "milliseconds",
            got=str(round_trip_ms),
        )
    with ExitStack() as stack:
        keys = KeyPair(
            stack.enter_context(open_source(alice, "Alice's key", key_bits, format, bit_order)),
            stack.enter_context(open_source(bob, "Bob's key", key_bits, format, bit_order)),
        )
        ground = _Ground(keys, options, blocks, seed)
        progress.start("comparing", len(contestants) * ground.place.blocks, "blocks")
        stack.callback(progress.finish)
        played = [_play(contestant, ground, progress) for contestant in contestants]
        warnings = []
        if is_path(alice) and is_path(bob) and same_file(alice, bob):
            warnings.append("both keys come from the same file; name Alice's and Bob's")
    rows = [_figures(item, ground, round_trip_ms / 1e3) for item in played]
    first = rows[0].net_bits
    finished = tuple(_with_gain(row, first) for row in rows)
    return StrategyComparison(
        key_bits=keys.key_bits,
        sampled_bits=ground.known.sampled_bits if isinstance(ground.known, QberEstimate) else 0,
        block_length=ground.place.block_length,
        payload_length=ground.place.payload_length,
        blocks=ground.place.blocks,
        list_size=options.list_size,
        check=options.check,
        engine=next((item.engine for item in played if item.engine is not None), None),
        known_qber=ground.qber,
        true_qber=ground.true_qber,
        target_fer=ground.target_fer,
        one_way_limit=normal_approximation_efficiency(ground.place.payload_length, ground.true_qber, ground.target_fer)
        if ground.true_qber
        else None,
        round_trip_ms=float(round_trip_ms),
        seed=seed,
        strategies=finished,
        warnings=tuple(warnings),
    )


class _Ground:
    """What is the same for all: blocks, what is known of the error rate, and what is true of it."""

    def __init__(self, keys: KeyPair, options: ReconcileOptions, blocks: int | None, seed: int) -> None:
        self.options = options
        self.seed = seed
        self.hash_key = SecurityRandomness.draw().hash_key
        self.target_fer = DEFAULT_TARGET_FER if options.target_fer is None else options.target_fer
        self._keys: tuple[KeyReader, KeyReader] = (keys.alice, keys.bob)
        length = options.block_length or default_block_length(keys.key_bits)
        validate_block_length(length)
        self.known: Qbers | QberEstimate
        if options.qber is None:
            sample_bits = default_sample_bits(keys.key_bits)
            plan_layout(keys.key_bits - sample_bits, length)
            positions = sampled_positions(simulation_sampling_seed(seed), keys.key_bits, sample_bits)
            disclosed = [read_positions(key, positions) for key in self._keys]
            self.known = estimate_qber(disclosed[0], disclosed[1], sample_bits)
            self._keys = (RemainingKey(keys.alice, positions), RemainingKey(keys.bob, positions))
        else:
            self.known = options.qber
        self.assumed_qber(asks=False)
        self.layout = self._lay_out(self._keys[0].key_bits, length, blocks)
        self.place = self.layout.segments[0]
        errors = sum(int(_ones_in_rows(hers ^ his).sum()) for _, hers, his in self.windows())
        self.true_qber = errors / self.place.key_bits
        if self.true_qber >= DESIGN_QBER_MAX:
            raise KeyFileError(
                f"the keys differ in {self.true_qber:.1%} of {self.place.key_bits} bits (expected well below "
                f"{DESIGN_QBER_MAX:.0%}): they do not look like two sides of one sifted key; check that the files "
                "belong together, start at the same bit and have the bit order given by --bit-order",
                true_qber=self.true_qber,
            )

    @property
    def qber(self) -> float:
        """What is known of the error rate, as one number that codes can be designed for."""
        known = self.known.qber if isinstance(self.known, QberEstimate) else mean_qber(self.known)
        return max(known, DESIGN_QBER_MIN)

    def assumed_qber(self, *, asks: bool) -> Qbers:
        """What codes are designed for."""
        return design_qbers_for(self.known, asks=asks, asymmetric=self.options.asymmetric == "auto")

    @staticmethod
    def _lay_out(key_bits: int, length: int, blocks: int | None) -> Layout:
        whole = plan_layout(key_bits, length).segments[0].blocks
        if blocks is not None and blocks > whole:
            raise ConfigError(
                f"blocks: expected at most the {whole} of {length} bits that the keys hold, got {blocks}; compare on "
                "fewer or shorter ones",
                got=blocks,
                most=whole,
            )
        wanted = max(1, min(whole, DEFAULT_WORK_BITS // length)) if blocks is None else blocks
        return plan_layout(min(key_bits, wanted * length), length)

    def windows(self) -> Iterator[tuple[Window, NDArray[np.uint8], NDArray[np.uint8]]]:
        """The blocks, a few at a time, as rows of both keys."""
        for window in self.layout.windows():
            row_bytes = max(1, window.block_length // 8)
            hers, his = (
                slice_rows(
                    key.read_bits(window.start_bit, window.key_bits), 0, window.payload_length, window.blocks, row_bytes
                )
                for key in self._keys
            )
            yield window, hers, his


@dataclass(frozen=True, slots=True)
class _Played:
    """What one contestant did with all blocks."""

    contestant: _Contestant
    totals: Totals
    engine: str | None
    assumed_qber: Qbers


Player = Callable[[NDArray[np.uint8], NDArray[np.uint8]], ReconciledBlocks]


def _play(contestant: _Contestant, ground: _Ground, progress: Progress) -> _Played:
    totals = Totals()
    engine: str | None = None
    assumed_qber: Qbers = ground.qber
    with ExitStack() as stack:
        if contestant.cascade is not None:
            player = _cascade_player(contestant.cascade, ground)
        else:
            strategy = _make(contestant, ground)
            stack.callback(strategy.close)
            engine, assumed_qber = strategy.engine, strategy.code.assumed_qber or ground.qber
            player = partial(strategy.reconcile, caps=ground.options.block_caps)

        def reconciled() -> Iterator[ReconciledWindow]:
            for window, hers, his in ground.windows():
                outcome = player(hers, his)
                progress.advance(window.blocks)
                wrong = (outcome.decoded != hers).any(axis=1)
                yield ReconciledWindow(window, hers, outcome, _ones_in_rows(hers ^ his), wrong)

        for windows in by_group(reconciled()):
            if windows is not None:
                totals.add(VerifiedGroup.of(windows, ground.hash_key).account())
    return _Played(contestant, totals, engine, assumed_qber)


def _make(contestant: _Contestant, ground: _Ground) -> Strategy:
    kind = strategy_type(contestant.strategy)
    options, place = ground.options, ground.place
    limit = memory_limit()
    plan_memory(
        limit.limit_bytes,
        block_length=place.block_length,
        list_size=options.list_size,
        precision=options.precision,
        source=limit.source,
        required_bytes=lambda length, size, precision: kind.required_bytes(length, size, precision, options.check),
    )
    code = kind.choose_code(
        CodeRequest(
            block_length=place.block_length,
            payload_length=place.payload_length,
            design_qber=ground.assumed_qber(asks=kind.asks),
            list_size=options.list_size,
            check=options.check,
            target_fer=ground.target_fer,
            wish=contestant.wish,
        )
    )
    return kind(code, options.list_size)


def _cascade_player(variant: CascadeVariant, ground: _Ground) -> Player:
    place = ground.place
    limit = memory_limit()
    needed = Cascade.required_bytes(variant, place.payload_length, ground.qber)
    if needed > limit.limit_bytes:
        raise MemoryBudgetError(
            f"{variant.name}: expected at most {limit.limit_bytes // _MIB:,} MiB ({limit.source}), got a need of "
            f"{needed // _MIB:,} MiB for blocks of {place.block_length}; compare on shorter ones",
            budget_bytes=limit.limit_bytes,
            needed_bytes=needed,
            source=limit.source,
        )
    cascade = Cascade(variant, place.payload_length, ground.qber, seed=ground.seed)
    row_bytes = -(-place.payload_length // 8)
    check = Leakage(check_bits=int(_native.check_bits(ground.options.check)))

    def play(hers: NDArray[np.uint8], his: NDArray[np.uint8]) -> ReconciledBlocks:
        decoded = np.zeros_like(his)
        elapsed_ns = np.zeros(len(his), dtype=np.uint64)
        rounds = np.zeros(len(his), dtype=np.int64)
        leakage = []
        for row, (alice, bob) in enumerate(zip(hers, his, strict=True)):
            began = time.perf_counter_ns()
            outcome = cascade.reconcile(alice[:row_bytes], bob[:row_bytes])
            elapsed_ns[row] = time.perf_counter_ns() - began
            decoded[row, :row_bytes] = outcome.decoded
            rounds[row] = outcome.rounds
            leakage.append(TwoWayLeakage(check, outcome.leakage_bits, outcome.reply_bits + OUTCOME_BITS))
        # What its check would tell, were it computed.
        ok = (decoded == hers).all(axis=1)
        return ReconciledBlocks(decoded, ok, elapsed_ns, tuple(leakage), rounds, np.zeros(len(his), dtype=np.bool_))

    return play


def _figures(played: _Played, ground: _Ground, round_trip_s: float) -> ComparedStrategy:
    totals, place = played.totals, ground.place
    account = leakage_account(played.assumed_qber)
    net_bits = totals.payload_ok - int(getattr(totals.leakage, account))
    spent = totals.leakage_ok
    decode_s = max(totals.elapsed_ns / place.blocks, 1.0) * 1e-9
    rounds = totals.rounds / place.blocks
    net_per_block = net_bits / place.blocks / 1e6
    return ComparedStrategy(
        strategy=played.contestant.name,
        yardstick=played.contestant.cascade is not None,
        assumed_qber=mean_qber(played.assumed_qber),
        account=account,
        blocks=place.blocks,
        blocks_ok=totals.blocks_ok,
        failed_check=totals.failed_check,
        given_up=totals.given_up,
        failed_verification=totals.failed_verification,
        efficiency=efficiency(spent.leakage_bits, totals.payload_ok, totals.errors_ok),
        efficiency_both_ways=efficiency(spent.leakage_bits_both_ways, totals.payload_ok, totals.errors_ok),
        rounds_mean=rounds,
        rounds_max=totals.rounds_max,
        messages_mean=2.0 + 2.0 * rounds,
        alice_bits=totals.leakage.leakage_bits / place.blocks,
        bob_bits=totals.leakage.reply_bits / place.blocks,
        decode_ms=decode_s * 1e3,
        coded_mbps=place.block_length / decode_s / 1e6,
        net_bits=net_bits,
        net_share=net_bits / place.key_bits,
        gain=None,
        blocks_in_flight=math.ceil(1.0 + rounds * round_trip_s / decode_s),
        net_mbps=net_per_block / decode_s,
        net_mbps_alone=net_per_block / (decode_s + rounds * round_trip_s),
    )


def _with_gain(row: ComparedStrategy, first: int) -> ComparedStrategy:
    if first <= 0:
        return row
    return replace(row, gain=(row.net_bits - first) / first)


def _ones_in_rows(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = np.bitwise_count(rows).sum(axis=1, dtype=np.int64)
    return counts

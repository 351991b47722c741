"""What the tests of the dialogue share: keys in memory, workshops, and a strategy that really asks.

The toy strategy is slow and obvious: after every answer Bob decodes the whole block again, on a code with that many
more frozen positions. The segments are the halves of the block's information set; the order within one is that of the
index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caligo import _native, bits
from caligo.channel import Qbers
from caligo.codes import PolarCode, design_code
from caligo.errors import ProtocolError
from caligo.randomness import sampled_positions
from caligo.reconciliation.authentication import Authentication, CallerChannel
from caligo.reconciliation.codecs import PolarCodec
from caligo.reconciliation.endpoint import Endpoint, Journal
from caligo.reconciliation.estimation import QberEstimate, design_qbers_for
from caligo.reconciliation.messages import Bits, Message, Seeds, Terms
from caligo.reconciliation.session import AliceSession, BobSession, GroupSettled, PlanAgreed, Section
from caligo.reconciliation.strategies.dialogue import Ask, Decoded, Disclosed, GivenUp, OpeningSizes, Step
from caligo.reconciliation.strategies.one_way import OneWay

Packed = NDArray[np.uint8]
SEEDS = Seeds(bytes(range(32)), bytes(range(32, 64)))
SESSION = bytes(range(16))


def two_keys(key_bits: int, qber: float = 0.02, seed: int = 1) -> tuple[Packed, Packed]:
    rng = np.random.default_rng(seed)
    alice = rng.integers(0, 2, key_bits, dtype=np.uint8)
    return bits.pack(alice), bits.pack(alice ^ (rng.random(key_bits) < qber))


class MemoryKey:
    """A key in memory; counts what was disclosed of it by sampling."""

    def __init__(self, packed: Packed, key_bits: int) -> None:
        self.key_bits = key_bits
        self.remaining = packed
        self.samples_taken = 0

    def sample(self, sampling_seed: bytes, sample_bits: int) -> Packed:
        positions = sampled_positions(sampling_seed, self.key_bits, sample_bits)
        taken = bits.take_bits(self.remaining, positions)
        self.remaining = bits.remove_positions(self.remaining, self.key_bits, positions)
        self.samples_taken += 1
        return taken

    def block(self, start_bit: int, payload_length: int, block_length: int) -> Packed:
        row = np.zeros(max(1, block_length // 8), dtype=np.uint8)
        cut = bits.slice_bits(self.remaining, start_bit, payload_length)
        row[: cut.size] = cut
        return row


@dataclass
class Blocks:
    """A workshop: whole blocks of one length, the rest is left out."""

    make: Callable[[Qbers], Any]
    block_length: int
    qber: float

    def design_for(self, estimate: QberEstimate | None) -> Qbers:
        return design_qbers_for(self.qber if estimate is None else estimate, asks=False)

    def prepare(self, design_qber: Qbers, key_bits: int, seeds: Seeds) -> Sequence[Section[Any]]:
        return [Section(0, key_bits // self.block_length, 0, self.make(design_qber))]


def terms(key_bits: int, **changes: Any) -> Terms:
    usual: dict[str, Any] = {
        "key_bits": key_bits,
        "strategy": "one-way",
        "parameters": "{}",
        "block_length": 256,
        "list_size": 4,
        "check": "crc16",
        "efficiency": 2.6,
        "target_fer": 0.0,
        "qber": 0.02,
        "sample_bits": 0,
        "group_bits": 1024,
        "max_rounds": 8,
        "max_block_leakage_bits": 0,
        "max_leakage_bits": 0,
    }
    return Terms(**(usual | changes))


def code_for(agreed: Terms, design_qber: Qbers) -> PolarCode:
    return design_code(agreed.block_length, qber=design_qber, efficiency=agreed.efficiency, check=agreed.check)


# --- a strategy that asks ---------------------------------------------------------------------------------------------


class ToyState:
    def __init__(self, code: PolarCode, row: Packed, u: Packed | None = None) -> None:
        unfrozen = np.flatnonzero(bits.unpack(code.info_mask, code.block_length))
        self.open = [list(half) for half in np.array_split(unfrozen, 2)]
        self.row = row
        self.u = u
        self.frozen_values: Packed = np.zeros_like(row)
        self.check = 0
        self.code = code

    def take(self, wants: tuple[tuple[int, int], ...]) -> list[int]:
        taken: list[int] = []
        for segment, count in wants:
            taken += self.open[segment][:count]
            self.open[segment] = self.open[segment][count:]
        return taken


class ToySide:
    def __init__(self, code: PolarCode, step_bits: int = 12) -> None:
        self.code = code
        self.step_bits = step_bits
        self.sizes = OpeningSizes(code.syndrome_bits, 0, code.check_bits)
        self.batch = 3

    def answer_bits(self, state: ToyState, wants: tuple[tuple[int, int], ...]) -> int:
        segments = [segment for segment, _ in wants]
        if not wants or segments != sorted(set(segments)) or segments[-1] > 1:
            raise ProtocolError("wants: expected segments 0 and 1, ascending", field="wants")
        for segment, count in wants:
            if not 1 <= count <= len(state.open[segment]):
                raise ProtocolError("wants: expected a count of what is left", field="wants")
        return sum(count for _, count in wants)

    def request_bits(self, wants: tuple[tuple[int, int], ...]) -> int:
        return 7 * len(wants)

    def close(self) -> None:
        pass

    # Alice

    def open(self, row: Packed) -> tuple[Disclosed, ToyState]:
        code = self.code
        u = _native.polar_transform(row[None], code.block_length)[0]
        value = int(_native.check_values(code.check, row[None])[0])
        disclosed = Disclosed(
            Bits.of(bits.select_bits(u, code.frozen_mask, code.block_length), code.syndrome_bits),
            Bits(0, b""),
            Bits(code.check_bits, value.to_bytes(code.check_bits // 8, "little")),
        )
        return disclosed, ToyState(code, row, u)

    def answer(self, state: ToyState, wants: tuple[tuple[int, int], ...]) -> Bits:
        positions = np.array(state.take(wants))
        return Bits.of(bits.take_bits(state.u, positions), positions.size)

    # Bob

    def start(self, row: Packed, disclosed: Disclosed) -> ToyState:
        state = ToyState(self.code, row)
        state.frozen_values = bits.spread_bits(disclosed.frozen.row, self.code.frozen_mask, self.code.block_length)
        state.check = int.from_bytes(disclosed.check.packed, "little")
        return state

    def accept(self, state: ToyState, wants: tuple[tuple[int, int], ...], answer: Bits) -> None:
        values = bits.unpack(state.frozen_values, self.code.block_length)
        values[state.take(wants)] = bits.unpack(answer.row, answer.length)
        state.frozen_values = bits.pack(values)

    def step(self, states: Sequence[ToyState]) -> list[Step]:
        return [self._step(state) for state in states]

    def _step(self, state: ToyState) -> Step:
        left = np.zeros(self.code.block_length, dtype=np.uint8)
        left[[position for half in state.open for position in half]] = 1
        if left.sum() <= self.code.check_bits + 1:
            return GivenUp(1)
        code = replace(self.code, info_set=bits.pack(left).tobytes())
        with PolarCodec(code, 4) as codec:
            batch = codec.decode(
                state.row[None], state.frozen_values[None], np.array([state.check], dtype=np.uint32), 0.02
            )
        if batch.ok[0]:
            return Decoded(batch.decoded[0], 1)
        wants = tuple((s, min(self.step_bits, len(half))) for s, half in enumerate(state.open) if half)
        return Ask(wants, 1)


# --- two parties ------------------------------------------------------------------------------------------------------


def workshop(agreed: Terms, side: str) -> Blocks:
    def make(design_qber: Qbers) -> Any:
        code = code_for(agreed, design_qber)
        if agreed.strategy == "toy":
            return ToySide(code)
        return OneWay.alice(code) if side == "alice" else OneWay.bob(code, agreed.list_size)

    return Blocks(make, agreed.block_length, agreed.qber)


def alice_session(key: Packed, agreed: Terms, *, window: int = 5, **changes: Any) -> AliceSession:
    given = {"session": SESSION, "seeds": SEEDS} | changes
    return AliceSession(MemoryKey(key, agreed.key_bits), agreed, workshop(agreed, "alice"), window=window, **given)


def bob_session(key: Packed, agreed: Terms, *, window: int = 5) -> BobSession:
    return BobSession(MemoryKey(key, agreed.key_bits), agreed, workshop(agreed, "bob"), window=window)


class Party:
    """A session with its endpoint, and everything it told."""

    def __init__(
        self,
        session: AliceSession | BobSession,
        authentication: Authentication | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.session = session
        self.endpoint = Endpoint(session, authentication or CallerChannel(), journal=journal)
        self.plan: PlanAgreed | None = None
        self.groups: list[GroupSettled] = []

    def note(self) -> None:
        for event in self.session.take_events():
            if isinstance(event, PlanAgreed):
                self.plan = event
            else:
                self.groups.append(event)

    def work(self, rng: np.random.Generator | None = None) -> list[bytes]:
        """Do all that can be decoded now; with a generator, some of it, in any order."""
        if not isinstance(self.session, BobSession):
            return []
        pieces = []
        while (piece := self.session.next_work()) is not None:
            pieces.append(piece)
        if rng is not None:
            rng.shuffle(pieces)  # type: ignore[arg-type]
        for piece in pieces:
            self.endpoint.finish(piece, piece.run())
        return self.endpoint.take_frames()

    @property
    def key(self) -> bytes:
        joined = bits.BitWriter()
        for group in self.groups:
            joined.append(group.key.packed, group.key.bits)
        return joined.getvalue()

    @property
    def account(self) -> dict[str, Any]:
        """Everything that both sides must hold alike."""
        totals = self.session.totals
        return {
            "leakage": totals.leakage,
            "rounds": (totals.rounds, totals.rounds_max),
            "ok": totals.blocks_ok,
            "failed": (totals.failed_check, totals.given_up, totals.failed_verification),
            "bits": totals.reconciled_bits,
            "epsilon": totals.epsilon,
            "blocks": [
                (block.block, block.settlement, block.confirmed, block.rounds, block.leakage, group.agrees)
                for group in self.groups
                for block in group.blocks
            ],
        }


def talk(
    alice: Party,
    bob: Party,
    *,
    frames: int | None = None,
    rng: np.random.Generator | None = None,
    number: int = 0,
) -> int:
    """Carry frames on a fresh connection until nothing moves, or for so many frames, after which all others are lost.

    Returns:
        How many were carried.
    """
    alice.endpoint.connect(bytes([1, number % 256]) * 16)
    bob.endpoint.connect(bytes([2, number % 256]) * 16)
    to_bob, to_alice = alice.endpoint.take_frames(), bob.endpoint.take_frames()
    carried = 0
    while True:
        if not to_bob and not to_alice:
            to_alice += bob.work(rng)
            to_bob += alice.endpoint.take_frames()
            if not to_bob and not to_alice:
                break
        alices_turn = bool(to_alice) and (not to_bob or (rng is not None and rng.random() < 0.5))
        if frames is not None and carried == frames:
            break
        carried += 1
        if (alice if alices_turn else bob).session.failure is not None:
            (to_alice if alices_turn else to_bob).clear()  # who has given up does not listen
        elif alices_turn:
            alice.endpoint.receive(to_alice.pop(0))
        else:
            bob.endpoint.receive(to_bob.pop(0))
            if rng is not None and rng.random() < 0.3:
                to_alice += bob.work(rng)
        if rng is None or rng.random() < 0.5:
            to_bob += alice.endpoint.take_frames()
        if rng is None or rng.random() < 0.5:
            to_alice += bob.endpoint.take_frames()
        alice.note()
        bob.note()
    alice.note()
    bob.note()
    return carried


def converse(
    alice: Party,
    bob: Party,
    *,
    to_bob: Callable[[Message], list[Message]] = lambda message: [message],
    to_alice: Callable[[Message], list[Message]] = lambda message: [message],
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Carry messages without links until nothing moves; what is carried may be disturbed on the way."""
    for_bob: list[Message] = [alice.session.connect(bytes(32))]
    for_alice: list[Message] = [bob.session.connect(bytes(32))]
    session = bob.session
    assert isinstance(session, BobSession)
    while for_bob or for_alice or session.ready:
        while for_bob:
            for carried in to_bob(for_bob.pop(0)):
                for_alice += session.receive(carried)
        watch()
        while not for_alice and (piece := session.next_work()) is not None:
            for_alice += session.finish(piece, piece.run())
        while for_alice:
            for carried in to_alice(for_alice.pop(0)):
                for_bob += alice.session.receive(carried)
        alice.note()
        bob.note()

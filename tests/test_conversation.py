"""Conversations: one side at work over a transport, with threads; what a network costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from proxy import Proxy
from toy_dialogue import SEEDS, SESSION, Blocks, MemoryKey, code_for, terms

from caligo import bits
from caligo.jobs.conversation import Conversation
from caligo.reconciliation.authentication import PresharedKey
from caligo.reconciliation.endpoint import Endpoint
from caligo.reconciliation.messages import Bits
from caligo.reconciliation.session import AliceSession, BobSession
from caligo.reconciliation.strategies.dialogue import Ask, Decoded, Disclosed, OpeningSizes, Step
from caligo.transports import TcpTransport

SECRET = PresharedKey(bytes(range(32)))


class ScriptedSide:
    """Asks so many times, decodes nothing, and takes a given time for each step."""

    def __init__(self, code: Any, rounds: int, step_s: float) -> None:
        self.code, self.rounds, self.step_s = code, rounds, step_s
        self.sizes = OpeningSizes(code.syndrome_bits, 0, code.check_bits)
        self.batch = 8

    def answer_bits(self, state: Any, wants: tuple[tuple[int, int], ...]) -> int:
        return wants[0][1]

    def request_bits(self, wants: tuple[tuple[int, int], ...]) -> int:
        return 7

    def close(self) -> None:
        pass

    def open(self, row: Any) -> tuple[Disclosed, Any]:
        frozen, check = self.sizes.frozen_bits, self.sizes.check_bits
        return Disclosed(
            Bits(frozen, bytes(bits.packed_bytes(frozen))), Bits(0, b""), Bits(check, bytes(bits.packed_bytes(check)))
        ), None

    def answer(self, state: Any, wants: tuple[tuple[int, int], ...]) -> Bits:
        return Bits(16, b"\0\0")

    def start(self, row: Any, disclosed: Disclosed) -> Any:
        return [0, row]

    def accept(self, state: Any, wants: tuple[tuple[int, int], ...], answer: Bits) -> None:
        pass

    def step(self, states: Sequence[Any]) -> list[Step]:
        time.sleep(self.step_s * len(states))
        for state in states:
            state[0] += 1
        return [Ask(((3, 16),)) if asked <= self.rounds else Decoded(row, 1) for asked, row in states]


def scripted(
    blocks: int, rounds: int, *, step_s: float = 0.0, block_length: int = 4096, window: int = 1000
) -> tuple[Endpoint, Endpoint]:
    key_bits = blocks * block_length
    agreed = terms(key_bits, strategy="toy", block_length=block_length, efficiency=1.5, max_rounds=100)
    code = code_for(agreed, 0.02)
    shop = Blocks(lambda _: ScriptedSide(code, rounds, step_s), block_length, agreed.qber)
    zeros = np.zeros(key_bits // 8, dtype=np.uint8)
    alice = AliceSession(MemoryKey(zeros, key_bits), agreed, shop, window=window, session=SESSION, seeds=SEEDS)
    bob = BobSession(MemoryKey(zeros, key_bits), agreed, shop, window=window)
    return Endpoint(alice, SECRET), Endpoint(bob, SECRET)


def talk_over(ends: tuple[TcpTransport, TcpTransport], endpoints: tuple[Endpoint, Endpoint], **changes: Any) -> float:
    """Until both are done; how long that took."""
    with ThreadPoolExecutor(2) as decoding, ThreadPoolExecutor(2) as sides:
        usual = {"workers": 2, "timeout_s": 20.0, "reconnections": 0} | changes

        def run(endpoint: Endpoint, end: TcpTransport) -> None:
            with end:
                Conversation(endpoint, end, decoding, **usual).run()

        started = time.monotonic()
        for future in [sides.submit(run, *both) for both in zip(endpoints, ends, strict=True)]:
            future.result()
        return time.monotonic() - started


def test_ten_rounds_a_block_cost_little_at_20_ms_because_many_blocks_are_in_flight() -> None:
    """A step takes a given time here, so that the ratio does not depend on what else this machine does."""

    def elapsed_s(delay_s: float) -> float:
        here = TcpTransport.listen(("127.0.0.1", 0))
        with Proxy(here.address, delay_s=delay_s) as proxy:
            endpoints = scripted(250, 10, step_s=0.002)
            return talk_over((here, TcpTransport.connect(proxy.address)), endpoints)

    without = elapsed_s(0.0)
    assert without > 2.5
    # The least of two: a machine that does something else for a second is no property either.
    assert any(without / elapsed_s(0.02) >= 0.8 for _ in range(2))


def test_what_is_ready_together_is_sent_together() -> None:
    here = TcpTransport.listen(("127.0.0.1", 0))
    endpoints = scripted(300, 10)
    talk_over((here, TcpTransport.connect(here.address)), endpoints)
    assert endpoints[0].session.totals.rounds == endpoints[1].session.totals.rounds == 3000
    assert endpoints[0].frames_sent + endpoints[1].frames_sent < 3000

"""Records what gates are tested with: one decoder timed by three processes that take turns, over and over.

A round is three runs, each a process that makes a decoder of its own. Two of them, A and C, time calls of 20 blocks; B
times calls of 21, which is exactly 5 % more work. They take turns call by call, in an order that is shuffled every
time, so that what else the machine does falls on all three alike. Between rounds there is a pause, so that it changes
within the recording. A line of it is one run: its kind, when its round began (seconds since the first), and its raw
call times in microseconds.

    python benchmarks/record_gate_samples.py tests/data/gate_samples.csv [rounds]

Does not cover: other machines, or a machine that is quiet; leave it as busy as it usually is.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import numpy as np

from caligo.bench.decoder import Batch, BatchSource
from caligo.codes import design_code
from caligo.reconciliation.codecs.polar import PolarCodec
from caligo.simulation import BscChannel

QBER = 0.02
BLOCK_LENGTH = 4096
EFFICIENCY = 1.5
LIST_SIZE = 8
BLOCKS = {"A": 20, "B": 21, "C": 20}
CALLS = 21
WARM_UP = 3
CADENCE_S = 0.9
TURN, END = b"t", b"e"


def take_turns(kind: str, turn: int, done: int) -> None:
    """One run: a call for every `TURN` that comes, each answered with its time in nanoseconds (8 bytes).

    The blocks are the same in every run, so that only the machine differs.
    """
    code = design_code(BLOCK_LENGTH, qber=QBER, efficiency=EFFICIENCY)
    with PolarCodec(code, LIST_SIZE) as codec:
        source = BatchSource(codec, BscChannel(QBER), max(BLOCKS.values()), seed=1)
        whole = source.make(0)
        parts = (whole.sent, whole.noisy, whole.frozen_values, whole.check_values)
        batch = Batch(*(np.ascontiguousarray(part[: BLOCKS[kind]]) for part in parts))
        while os.read(turn, 1) == TURN:
            start = time.perf_counter_ns()
            source.decode(batch)
            os.write(done, (time.perf_counter_ns() - start).to_bytes(8, "little"))


class Runner:
    """A process that decodes when it is told to."""

    def __init__(self, kind: str) -> None:
        turn, self._turn = os.pipe()
        self._done, done = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._turn)
            take_turns(kind, turn, done)
            os._exit(0)
        os.close(turn)
        os.close(done)

    def call_us(self) -> int:
        os.write(self._turn, TURN)
        return round(int.from_bytes(os.read(self._done, 8), "little") / 1000)

    def end(self) -> None:
        os.write(self._turn, END)
        os.close(self._turn)
        os.close(self._done)
        os.waitpid(self._child, 0)


def one_round(shuffle: random.Random) -> dict[str, list[int]]:
    """The call times of three runs in microseconds."""
    runners = {kind: Runner(kind) for kind in BLOCKS}
    times: dict[str, list[int]] = {kind: [] for kind in BLOCKS}
    order = list(BLOCKS)
    for _ in range(WARM_UP + CALLS):
        shuffle.shuffle(order)
        for kind in order:
            times[kind].append(runners[kind].call_us())
    for runner in runners.values():
        runner.end()
    return {kind: calls[WARM_UP:] for kind, calls in times.items()}


def main(target: Path, rounds: int) -> None:
    design_code(BLOCK_LENGTH, qber=QBER, efficiency=EFFICIENCY)  # the cache holds it from here on
    shuffle = random.Random(1)
    began = time.monotonic()
    with target.open("w", encoding="ascii") as file:
        file.write("kind,at_s,call_us\n")
        for number in range(rounds):
            time.sleep(max(0.0, number * CADENCE_S - (time.monotonic() - began)))
            at = time.monotonic() - began
            for kind, calls in one_round(shuffle).items():
                file.write(f"{kind},{at:.1f},{' '.join(map(str, calls))}\n")
            file.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 800)

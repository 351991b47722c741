"""caligo inside a post-processing stack that has its own event loop, channel and threads.

The stack's `Channel` carries messages of many kinds between the two ends of a link, authenticated already; caligo's
frames are one kind. `caligo.Party` is a state machine without I/O: it takes frames and gives frames, and hands out
Bob's decoding, which runs in an executor so that the event loop stays free.

Both ends are in this program, joined by a pair of sockets. It makes two keys that differ in 2 % of places.

    python asyncio_stack.py
"""

from __future__ import annotations

import asyncio
import socket
import sys
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

import caligo

KEY_BITS = 1 << 18
THREADS = 2
SILENCE_S = 20.0


class Channel:
    """Stands for the stack's own channel: messages of several kinds, in order, each kind waited for on its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._queues: dict[str, asyncio.Queue[bytes]] = {}
        self._reading = asyncio.create_task(self._read())

    def send(self, kind: str, message: bytes) -> None:
        """Send, or keep until there is room; caligo's window bounds how much that can be."""
        self._writer.write(f"{kind} {len(message)}\n".encode() + message)

    async def receive(self, kind: str) -> bytes:
        """The next message of a kind."""
        return await self._queue(kind).get()

    async def close(self) -> None:
        """Send what waits, and close."""
        self._reading.cancel()
        self._writer.close()
        await self._writer.wait_closed()

    def _queue(self, kind: str) -> asyncio.Queue[bytes]:
        return self._queues.setdefault(kind, asyncio.Queue())

    async def _read(self) -> None:
        while header := await self._reader.readline():
            kind, length = header.decode().split()
            self._queue(kind).put_nowait(await self._reader.readexactly(int(length)))


async def converse(party: caligo.Party, channel: Channel, pool: Executor) -> caligo.PartyReport:
    """Carry the frames of one side, and have its blocks decoded, until both sides are done."""
    loop = asyncio.get_running_loop()
    incoming = asyncio.create_task(channel.receive("caligo"))
    working = {}
    heard = loop.time()

    try:
        party.connect()
        while not party.is_closed:
            while len(working) <= THREADS and (work := party.next_work()) is not None:
                working[loop.run_in_executor(pool, work.run)] = work
            for frame in party.take_frames():
                channel.send("caligo", frame)
            done, _ = await asyncio.wait(
                {incoming, *working}, timeout=SILENCE_S / 4, return_when=asyncio.FIRST_COMPLETED
            )
            if incoming in done:
                heard = loop.time()
            elif loop.time() - heard > SILENCE_S:
                raise TimeoutError(f"the other end said nothing for {SILENCE_S:g} s")
            if not done:
                party.keep_alive()
            for future in done:
                if future is incoming:
                    party.receive(future.result())
                    incoming = asyncio.create_task(channel.receive("caligo"))
                else:
                    party.finish(working.pop(future), future.result())
            if party.failure is not None:
                raise party.failure
    except caligo.CaligoError as error:
        # The other end need not wait. Neither key may be used now: what was disclosed stays disclosed.
        party.abort(error)
        raise
    finally:
        for frame in party.take_frames():
            channel.send("caligo", frame)
        incoming.cancel()
        if working:
            await asyncio.wait(working)
    return party.conclude()


async def post_process(role: str, sifted: NDArray[np.uint8], channel: Channel, pool: Executor) -> caligo.PartyReport:
    """One end of the link, from its sifted key (packed, eight bits a byte, first bit lowest) to a reconciled one."""
    options = caligo.ReconcileOptions(strategy="interactive", qber=0.02, threads=THREADS)
    with caligo.Party(role, sifted, authentication=caligo.CallerChannel(), options=options) as party:
        report = await converse(party, channel, pool)
    # The stack goes on with report.key, and messages of other kinds.
    channel.send("amplification", f"subtract {report.leakage_bits}".encode())
    assert await channel.receive("amplification") == f"subtract {report.leakage_bits}".encode()
    return report


async def main() -> int:
    """Both ends of a link."""
    rng = np.random.default_rng(1)
    sifted = rng.integers(0, 256, KEY_BITS // 8, dtype=np.uint8)
    errors = np.packbits(rng.random(KEY_BITS) < 0.02, bitorder="little")
    ends = [Channel(*await asyncio.open_connection(sock=end)) for end in socket.socketpair()]
    with ThreadPoolExecutor(THREADS) as pool:
        alice, bob = await asyncio.gather(
            post_process("alice", sifted, ends[0], pool), post_process("bob", sifted ^ errors, ends[1], pool)
        )
    for end in ends:
        await end.close()
    assert np.array_equal(alice.key, bob.key), "the keys differ"
    print(
        f"{alice.reconciled_bits} equal bits; {alice.leakage_bits} disclosed, {alice.leakage_bits_both_ways} both "
        f"ways; {alice.frames_sent} frames one way, {alice.frames_received} the other"
    )
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

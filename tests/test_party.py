"""Two parties' jobs and the two commands: over every transport, through losses and delays, when things go wrong."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from proxy import Proxy
from test_transports import frame
from toy_dialogue import two_keys

import caligo.cli
from caligo import bits
from caligo.errors import (
    AuthenticationError,
    CaligoError,
    ConfigError,
    ConnectionLostError,
    ConnectionSpoiledError,
    ExitCode,
    ProtocolError,
    ResourceError,
)
from caligo.jobs import Party, PartyOptions, PartyReport, ReconcileOptions, reconcile_party
from caligo.keys.packed import PackedKeyWriter
from caligo.memory import FIXED_BYTES, MemoryLimit, block_buffer_bytes, dialogue_block_bytes
from caligo.reconciliation.authentication import CallerChannel, PresharedKey
from caligo.reconciliation.messages import Outcome, Settlement
from caligo.reconciliation.session import BobSession
from caligo.reconciliation.strategies.one_way import OneWay
from caligo.store import list_runs, load_run
from caligo.telemetry.progress import NoProgress
from caligo.transports import DirectoryTransport, TcpTransport, memory_pair

SECRET = PresharedKey(bytes(range(32)))
QUICK: dict[str, Any] = {"block_length": 1024, "list_size": 2, "efficiency": 2.2, "threads": 2}
KEY_BITS = 60_000
ALICE, BOB = two_keys(KEY_BITS)


def both(
    ends: tuple[Any, Any],
    *,
    options: dict[str, Any] | None = None,
    party: dict[str, Any] | None = None,
    keys: tuple[Any, Any] = (ALICE, BOB),
    alice: dict[str, Any] | None = None,
    bob: dict[str, Any] | None = None,
) -> list[PartyReport | BaseException]:
    """Run both sides to their ends; reports, or what was raised."""

    def run(role: Any, end: Any, key: Any, changes: dict[str, Any]) -> PartyReport:
        settings: dict[str, Any] = {
            "authentication": SECRET,
            "options": ReconcileOptions(**(QUICK | {"qber": 0.02} | (options or {}))),
            "party": PartyOptions(**({"timeout_s": 20.0} | (party or {}))),
            "key_bits": KEY_BITS,
        }
        with end:
            return reconcile_party(role, key, end, **(settings | changes))

    with ThreadPoolExecutor(2) as pool:
        futures = [
            pool.submit(run, role, end, key, changes or {})
            for role, end, key, changes in zip(("alice", "bob"), ends, keys, (alice, bob), strict=True)
        ]
        return [future.exception() or future.result() for future in futures]


def over_tcp() -> tuple[TcpTransport, TcpTransport]:
    here = TcpTransport.listen(("127.0.0.1", 0))
    return here, TcpTransport.connect(here.address)


def reports(outcome: Sequence[PartyReport | BaseException]) -> tuple[PartyReport, PartyReport]:
    for report in outcome:
        if isinstance(report, BaseException):
            raise report
    one, other = outcome
    assert isinstance(one, PartyReport)
    assert isinstance(other, PartyReport)
    return one, other


SIDED = {
    "role", "corrected_errors", "efficiency", "frames_sent", "frames_received", "bytes_sent", "bytes_received",
    "payload_mbps", "coded_mbps_per_core", "elapsed_s", "threads", "peak_rss_bytes", "run", "out", "connections",
    "warnings",
}  # fmt: skip


def common(report: PartyReport) -> dict[str, Any]:
    """What both sides must say alike."""
    return {name: value for name, value in report.to_json().items() if name not in SIDED}


# --- the way through --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["memory", "directory", "tcp"])
@pytest.mark.parametrize(
    "options",
    [
        {"qber": 0.02},
        {"qber": None, "sample_bits": 4000},
        {"strategy": "segmented", "segment_length": 256, "segment_check": "crc24", "efficiency": 3.6},
        {"check": "none", "efficiency": 2.6},
        {"qber": None, "sample_bits": 4000, "interleave": True},
        {"qber": 0.014, "on_failure": "retry", "retries": 4},
    ],
    ids=["given", "sampled", "segmented", "without check", "interleaved", "retried"],
)
def test_both_sides_end_with_one_key_and_one_account(way: str, options: dict[str, Any], tmp_path: Path) -> None:
    if way == "memory":
        ends: tuple[Any, Any] = memory_pair()
    elif way == "tcp":
        ends = over_tcp()
    else:
        ends = DirectoryTransport(tmp_path, "alice"), DirectoryTransport(tmp_path, "bob")
    alice, bob = reports(both(ends, options=options))
    assert common(alice) == common(bob)
    assert alice.key is not None
    assert np.array_equal(alice.key, bob.key)
    assert alice.blocks_ok > 0.9 * alice.blocks
    assert alice.reconciled_bits == sum(code.payload_length for code in alice.codes for _ in range(code.blocks)) - sum(
        1024 for _ in range(alice.blocks_failed)
    )
    opened = alice.leakage["syndrome"] + alice.leakage["check"] + alice.leakage["segment_check"]
    assert opened == sum(code.blocks * code.leakage_bits for code in alice.codes)
    assert alice.key_bits == alice.sampled_bits + alice.discarded_bits + sum(
        code.blocks * code.payload_length for code in alice.codes
    )
    assert alice.corrected_errors is None
    assert bob.corrected_errors is not None
    assert bob.efficiency is not None
    left_out = alice.key_bits - alice.reconciled_bits
    assert 0 <= bits.hamming_distance(ALICE, BOB) - bob.corrected_errors <= 30 + 0.06 * left_out
    assert (alice.frames_sent, alice.bytes_sent) == (bob.frames_received, bob.bytes_received)


def test_many_threads_and_windows_give_the_same_key() -> None:
    expected = reports(both(memory_pair()))[0]
    for threads, window in ((1, 1), (4, 3), (3, 1000)):
        alice, bob = reports(both(memory_pair(), options={"threads": threads}, party={"window": window}))
        assert np.array_equal(alice.key, expected.key)
        assert np.array_equal(bob.key, expected.key)
        assert alice.leakage == expected.leakage


def test_each_side_writes_its_own_file_and_records_its_own_run(tmp_path: Path) -> None:
    out, store = tmp_path / "out", tmp_path / "store"
    place = {"out": out, "store": store}
    alice, bob = reports(both(over_tcp(), alice=place, bob=place))
    assert sorted(os.listdir(out)) == ["alice.bin", "bob.bin"]
    assert (out / "alice.bin").read_bytes() == (out / "bob.bin").read_bytes()
    assert stat.S_IMODE((out / "alice.bin").stat().st_mode) == 0o600
    assert (out / "alice.bin").stat().st_size == bits.packed_bytes(alice.reconciled_bits)
    assert alice.key is None
    assert len(list_runs(store)) == 2
    seeds = set()
    for report in (alice, bob):
        assert report.run is not None
        run = load_run(report.run)
        assert run.outcomes() == {"confirmed": report.blocks_ok} | (
            {"uncorrected": report.failed_check} if report.failed_check else {}
        )
        assert sum(record["leakage_bits"] for record in run.records()) == report.leakage_bits
        document = json.loads((Path(report.run) / "run.json").read_text())
        seeds.add(json.dumps(document["security_randomness"], sort_keys=True))
        everything = b"".join(path.read_bytes() for path in Path(report.run).iterdir())
        assert (out / "alice.bin").read_bytes()[:16].hex().encode() not in everything
    assert len(seeds) == 1
    again = both(over_tcp(), alice=place, bob=place, party={"timeout_s": 1.0})
    assert all(isinstance(error, ConfigError) for error in again)
    reports(both(over_tcp(), alice=place | {"force": True}, bob=place | {"force": True}))


def carried(alice: Party, bob: Party, most_frames: int | None = None) -> None:
    """Carry frames by hand until nothing moves, decoding in this thread."""
    for side in (alice, bob):
        side.connect()
    to_bob, to_alice = alice.take_frames(), bob.take_frames()
    while (to_bob or to_alice) and most_frames != 0:
        most_frames = None if most_frames is None else most_frames - 1
        if to_alice:
            alice.receive(to_alice.pop(0))
        else:
            bob.receive(to_bob.pop(0))
        while not to_bob and (work := bob.next_work()) is not None:
            bob.finish(work, work.run())
        to_bob += alice.take_frames()
        to_alice += bob.take_frames()


def party(role: Any, key: Any, **changes: Any) -> Party:
    return Party(
        role, key, authentication=SECRET, options=ReconcileOptions(**QUICK, qber=0.02), key_bits=KEY_BITS, **changes
    )


def test_a_program_that_carries_the_frames_comes_to_the_same_key_and_account() -> None:
    expected = reports(both(memory_pair()))
    with party("alice", ALICE) as alice, party("bob", BOB) as bob:
        carried(alice, bob, 9)
        assert not alice.is_closed
        carried(alice, bob)
        assert alice.is_closed
        for job, report in zip((alice, bob), expected, strict=True):
            own = job.conclude()
            assert common(own) == common(report)
            assert np.array_equal(own.key, report.key)
            assert own.connections == 2


def test_groups_that_are_concluded_together_are_all_in_the_key(tmp_path: Path) -> None:
    """All replies in one frame: Alice tags two groups at once, and Bob concludes them at once."""
    key_bits = (1 << 21) + 1000
    keys = two_keys(key_bits)
    settings: dict[str, Any] = {
        "authentication": SECRET,
        "options": ReconcileOptions(block_length=4096, list_size=2, efficiency=2.2, threads=1, qber=0.02),
        "party": PartyOptions(window=4096),
        "key_bits": key_bits,
        "out": tmp_path,
    }
    with Party("alice", keys[0], **settings) as alice, Party("bob", keys[1], **settings) as bob:
        carried(alice, bob)
        own, other = alice.conclude(), bob.conclude()
    assert own.reconciled_bits == other.reconciled_bits > 2 << 20
    assert (tmp_path / "alice.bin").read_bytes() == (tmp_path / "bob.bin").read_bytes()


def test_what_leaves_a_session_early_leaves_no_key(tmp_path: Path) -> None:
    with party("alice", ALICE, out=tmp_path) as alice, party("bob", BOB, out=tmp_path) as bob:
        carried(alice, bob, 9)
        with pytest.raises(ProtocolError):
            bob.conclude()
        alice.abort(ResourceError("enough"))
        assert len(alice.take_frames()) == 1
        assert isinstance(alice.failure, ResourceError)
    assert list(tmp_path.iterdir()) == []


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [[500], [3000, 3000], [1200, 40, 9000, 7000, 5000]])
def test_connections_that_break_again_and_again_change_nothing(cuts: list[int]) -> None:
    expected = reports(both(memory_pair()))[0]
    here = TcpTransport.listen(("127.0.0.1", 0))
    with Proxy(here.address, cuts=cuts) as proxy:
        alice, bob = reports(both((here, TcpTransport.connect(proxy.address)), party={"window": 8}))
    assert common(alice) == common(bob)
    assert alice.leakage == expected.leakage
    assert np.array_equal(alice.key, expected.key)
    assert np.array_equal(bob.key, expected.key)
    assert bob.connections > 1


def test_a_last_word_that_is_lost_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    send, lost = TcpTransport.send, []

    def lose(self: TcpTransport, data: bytes) -> None:
        if data[5] == 12 and not self.listens and not lost:
            lost.append(data)
            self._drop()
        else:
            send(self, data)

    monkeypatch.setattr(TcpTransport, "send", lose)
    alice, bob = reports(both(over_tcp()))
    assert lost
    assert np.array_equal(alice.key, bob.key)
    assert (alice.connections, bob.connections) == (2, 2)


GARBAGE = {
    "added": lambda data: data + b"GET / HTTP/1.1\r\n\r\n" + bytes(5000),
    "frame added": lambda data: data + frame(50),
    "repeated": lambda data: data + data,
    "flipped": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "left out": lambda data: b"x",
}


@pytest.mark.parametrize(
    ("change", "listening"),
    [(change, ("alice", "bob")[number % 2]) for number, change in enumerate(GARBAGE.values())],
    ids=GARBAGE,
)
def test_bytes_that_the_peer_did_not_send_cost_a_connection_never_the_session(change: Any, listening: str) -> None:
    expected = reports(both(memory_pair()))[0]
    here = TcpTransport.listen(("127.0.0.1", 0))
    with Proxy(here.address, changes=[(at, change) for at in (6000, 2500, 5)]) as proxy:
        ends = (here, TcpTransport.connect(proxy.address))
        alice, bob = reports(both(ends if listening == "alice" else ends[::-1], party={"window": 8}))
    assert common(alice) | {"window": 0} == common(bob) | {"window": 0} == common(expected) | {"window": 0}
    assert np.array_equal(alice.key, expected.key)
    assert np.array_equal(bob.key, expected.key)
    assert alice.connections > 2
    assert any("changed, repeated or added" in warning for warning in alice.warnings + bob.warnings)


def test_a_network_that_spoils_every_connection_is_given_up_in_the_end() -> None:
    here = TcpTransport.listen(("127.0.0.1", 0))
    with Proxy(here.address, changes=[(1500, GARBAGE["added"])] * 50) as proxy:
        ends = (here, TcpTransport.connect(proxy.address))
        outcome = errors(both(ends, party={"reconnections": 3, "window": 4, "timeout_s": 5.0}))
    assert all(isinstance(error, ConnectionLostError) or "gave up" in error.message for error in outcome)
    assert any(isinstance(error, ConnectionSpoiledError) for error in outcome)


def test_a_wrong_message_that_the_peer_did_say_ends_the_session_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    finish = BobSession.finish

    def wrongly(self: BobSession, *given: Any) -> Any:
        said = finish(self, *given)
        return [*said, Outcome(40_000, Settlement.OK)] if self.unsettled else said

    monkeypatch.setattr(BobSession, "finish", wrongly)
    alice, bob = errors(both(over_tcp()))
    assert (alice.fields["field"], bob.fields["field"]) == ("block", "abort")
    assert {alice.exit_code, bob.exit_code} == {ExitCode.PROTOCOL}
    assert not isinstance(alice, ConnectionLostError)


def test_a_silent_stranger_at_the_port_does_not_keep_the_peer_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caligo.jobs.conversation._GREETING_S", 0.3)
    here, there = over_tcp()
    with socket.create_connection(here.address):
        alice, bob = reports(both((here, there)))
    assert np.array_equal(alice.key, bob.key)


def test_strangers_at_the_port_do_not_end_a_session_that_has_not_begun() -> None:
    here, there = over_tcp()
    for said in (b"", b"GET / HTTP/1.1\r\n\r\n", frame(3)):
        with socket.create_connection(here.address) as stranger:
            stranger.sendall(said)
    alice, bob = reports(both((here, there)))
    assert np.array_equal(alice.key, bob.key)


# --- when things go wrong ---------------------------------------------------------------------------------------------


def errors(outcome: Sequence[PartyReport | BaseException]) -> tuple[CaligoError, CaligoError]:
    one, other = outcome
    assert isinstance(one, CaligoError), one
    assert isinstance(other, CaligoError), other
    return one, other


@pytest.mark.parametrize("way", ["tcp", "directory"])
@pytest.mark.parametrize("other", [PresharedKey(b"\1" * 32), CallerChannel()], ids=["another secret", "none"])
def test_another_secret_ends_both_sides_at_once_before_anything_is_disclosed(
    way: str, other: Any, tmp_path: Path
) -> None:
    if way == "tcp":
        ends: tuple[Any, Any] = over_tcp()
    else:
        ends = DirectoryTransport(tmp_path, "alice"), DirectoryTransport(tmp_path, "bob")
    started = time.monotonic()
    for error in errors(both(ends, bob={"authentication": other}, party={"timeout_s": 60.0})):
        assert isinstance(error, AuthenticationError)
        assert error.exit_code == ExitCode.PROTOCOL
    assert time.monotonic() - started < 20


def test_other_terms_end_both_sides_and_name_the_difference() -> None:
    alice = {"options": ReconcileOptions(**(QUICK | {"qber": 0.03}))}
    outcome = errors(both(over_tcp(), alice=alice))
    assert [error.exit_code for error in outcome] == [ExitCode.PROTOCOL] * 2
    assert "qber" in [error.fields["field"] for error in outcome]


def test_other_segments_are_other_terms() -> None:
    segmented = {"strategy": "segmented", "efficiency": 3.0, "segment_length": 128}
    bob = {"options": ReconcileOptions(**(QUICK | {"qber": 0.02} | segmented | {"segment_check": "crc24"}))}
    outcome = errors(both(over_tcp(), options=segmented, bob=bob))
    assert "parameters" in [error.fields["field"] for error in outcome]


def test_unrelated_keys_are_refused_by_both_or_give_no_key() -> None:
    unrelated = two_keys(KEY_BITS, seed=9)[0]
    outcome = errors(both(over_tcp(), keys=(ALICE, unrelated), options={"qber": None, "sample_bits": 2000}))
    assert any("do not look like two sides" in error.message for error in outcome)
    alice, bob = reports(both(over_tcp(), keys=(ALICE, unrelated)))
    assert alice.blocks_ok == bob.blocks_ok == alice.reconciled_bits == 0
    assert "blocks failed" in alice.warnings[0]


def test_a_leakage_cap_ends_both_sides_which_say_what_was_disclosed(tmp_path: Path) -> None:
    outcome = both(
        over_tcp(), options={"qber": None, "sample_bits": 4000, "max_leakage_bits": 5000}, alice={"store": tmp_path}
    )
    for error in errors(outcome):
        assert isinstance(error, ProtocolError)
        assert "leakage cap" in error.message
        (note,) = error.__notes__
        assert "4,000 of its bits as a sample" in note
        assert 0 < int(note.split()[0].replace(",", "")) <= 5000
    (run,) = list_runs(tmp_path)
    assert errors(outcome)[0].__notes__[0] in (run.path / "interrupted.json").read_text()


def test_a_session_that_disclosed_nothing_leaves_the_key_as_it_was() -> None:
    outcome = errors(both(over_tcp(), alice={"options": ReconcileOptions(**(QUICK | {"qber": 0.03}))}))
    assert not any(hasattr(error, "__notes__") for error in outcome)


@pytest.mark.parametrize("role", ["alice", "bob"])
def test_a_full_disk_in_the_middle_ends_both_sides_and_leaves_no_key(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: PackedKeyWriter, data: bytes | memoryview) -> None:
        if self.path.name == f"{role}.bin":
            raise ResourceError(f"cannot write {self.path}: No space left on device; free some space")

    monkeypatch.setattr(PackedKeyWriter, "write", full)
    place = {"out": tmp_path / "out", "store": tmp_path / "store"}
    alice, bob = errors(both(over_tcp(), alice=place, bob=place))
    struck, other = (alice, bob) if role == "alice" else (bob, alice)
    assert isinstance(struck, ResourceError)
    assert isinstance(other, ProtocolError)
    assert other.fields["reason"] == "resource"
    assert list((tmp_path / "out").iterdir()) == []
    assert {run.state for run in list_runs(tmp_path / "store")} == {"interrupted"}


def test_who_cannot_put_a_key_in_place_does_not_say_that_both_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: PackedKeyWriter) -> None:
        raise ResourceError("cannot write: No space left on device; free some space")

    monkeypatch.setattr(PackedKeyWriter, "commit", full)
    alice, bob = errors(both(over_tcp(), bob={"out": tmp_path}))
    assert isinstance(bob, ResourceError)
    assert alice.fields["reason"] == "resource"
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_after_the_last_word_takes_no_key_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conclude = Party.conclude

    def interrupted(self: Party) -> PartyReport:
        if self.role == "bob":
            raise KeyboardInterrupt
        return conclude(self)

    monkeypatch.setattr(Party, "conclude", interrupted)
    alice, bob = both(over_tcp(), alice={"out": tmp_path}, bob={"out": tmp_path})
    assert isinstance(alice, PartyReport)
    assert isinstance(bob, KeyboardInterrupt)
    assert "in place" in bob.__notes__[0]
    assert (tmp_path / "alice.bin").read_bytes() == (tmp_path / "bob.bin").read_bytes() != b""


def test_an_interrupted_side_tells_the_other() -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    listener = NoProgress()
    listener.advance = interrupt  # type: ignore[method-assign]
    alice, bob = both(over_tcp(), bob={"progress": listener})
    assert isinstance(bob, KeyboardInterrupt)
    assert isinstance(alice, ProtocolError)
    assert alice.fields["reason"] == "interrupted"


def test_a_run_that_ends_after_groups_were_confirmed_says_that_no_key_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caligo.jobs.party_terms.MINIMUM_GROUP_BITS", 8192)
    groups = iter(range(3))

    def interrupt(*_: object, **__: object) -> None:
        if next(groups, None) is None:
            raise KeyboardInterrupt

    listener = NoProgress()
    listener.advance = interrupt  # type: ignore[method-assign]
    place = {"store": tmp_path / "store", "out": tmp_path / "out"}
    both(over_tcp(), alice=place, bob=place | {"progress": listener})
    runs = [run.path for run in list_runs(tmp_path / "store")]
    assert "confirmed" in {record["outcome"] for path in runs for record in load_run(path).records()}
    for path in runs:
        assert "no reconciled key was kept" in json.loads((path / "interrupted.json").read_text())["reason"]
    assert list((tmp_path / "out").iterdir()) == []


def test_threads_fit_beside_the_decoders_of_every_section(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = OneWay.required_bytes(1024, 2, "int8", "crc32") + block_buffer_bytes(1024)
    beside = FIXED_BYTES + 8 * dialogue_block_bytes(1024)
    for fitting, threads in ((2.5, 1), (3.5, 2)):
        limit = MemoryLimit(int(beside + fitting * decoder), "this test")
        monkeypatch.setattr("caligo.jobs.party_workshop.memory_limit", lambda limit=limit: limit)
        # The key's end is a shortened block of its own, so a section and a decoder of its own.
        _, bob = reports(both(over_tcp(), party={"window": 8}))
        assert len(bob.codes) == 2
        assert bob.threads == threads


@pytest.fixture
def silent_peer() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[:2]


def test_a_peer_that_never_speaks_is_given_up_in_time(silent_peer: tuple[str, int]) -> None:
    started = time.monotonic()
    with TcpTransport.connect(silent_peer) as end, pytest.raises(ConnectionLostError):
        reconcile_party("bob", BOB, end, authentication=SECRET, key_bits=KEY_BITS, party=PartyOptions(timeout_s=0.5))
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9, frame(500) * 50], ids=["noise", "flood"])
def test_a_peer_that_says_something_else_is_a_protocol_error(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            peer, _ = listener.accept()
            with peer, suppress(OSError):
                peer.sendall(said)
                while peer.recv(1 << 16):
                    pass

        thread = threading.Thread(target=talk)
        thread.start()
        with TcpTransport.connect(listener.getsockname()[:2]) as end, pytest.raises(ProtocolError):
            reconcile_party(
                "alice", ALICE, end, authentication=SECRET, key_bits=KEY_BITS, party=PartyOptions(timeout_s=1.0)
            )
        thread.join()


def test_a_peer_that_stops_in_the_middle_is_given_up_in_time() -> None:
    here = TcpTransport.listen(("127.0.0.1", 0))
    with Proxy(here.address, cuts=[4000] + [0] * 10_000) as proxy:
        started = time.monotonic()
        outcome = errors(
            both(
                (here, TcpTransport.connect(proxy.address)),
                party={"timeout_s": 1.0, "reconnections": 3},
            )
        )
        assert all(isinstance(error, ConnectionLostError) for error in outcome)
        assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: PartyOptions(window=0),
        lambda: PartyOptions(timeout_s=0.0),
        lambda: PartyOptions(timeout_s=float("nan")),
        lambda: ReconcileOptions(max_leakage_bits=-1),
        lambda: ReconcileOptions(max_leakage_bits=10**20),
        lambda: ReconcileOptions(max_block_leakage_bits=1 << 64),
        lambda: ReconcileOptions(max_rounds=5_000_000_000),
        lambda: PartyOptions(reconnections=1 << 32),
        lambda: reconcile_party("eve", ALICE, memory_pair()[0], authentication=SECRET),  # type: ignore[arg-type]
        lambda: reconcile_party("bob", BOB, memory_pair()[0], authentication=SECRET, options=ReconcileOptions(seed=1)),
        lambda: reconcile_party(
            "bob", BOB, memory_pair()[0], authentication=SECRET, options=ReconcileOptions(sample_bits=10**7)
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_said(wrong: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        wrong()


# --- two processes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALIGO_STORE", str(tmp_path / "store"))
    ALICE.tofile("a.bin")
    BOB.tofile("b.bin")
    Path("psk").write_bytes(os.urandom(32))
    Path("psk").chmod(0o600)
    Path("open-psk").write_bytes(os.urandom(32))
    Path("open-psk").chmod(0o644)
    return tmp_path


WORDS = ["-N", "1024", "-L", "2", "--efficiency", "2.2", "--timeout", "20", "--key-bits", str(KEY_BITS)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def processes(alice: Sequence[str], bob: Sequence[str]) -> list[subprocess.CompletedProcess[str]]:
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "caligo", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for words in (["alice", "a.bin", *WORDS, *alice], ["bob", "b.bin", *WORDS, *bob])
    ]
    done = []
    for process in running:
        out, err = process.communicate(timeout=120)
        done.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return done


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("way", ["tcp", "directory"])
def test_two_processes_come_to_one_key(way: str) -> None:
    port = free_port()
    ways = {
        "tcp": (["--connect", f"127.0.0.1:{port}"], ["--listen", f"127.0.0.1:{port}"]),
        "directory": (["--directory", "frames"], ["--directory", "frames"]),
    }[way]
    shared = ["--psk", "psk", "--out", "out", "--json"]
    alice, bob = processes([*ways[0], *shared], [*ways[1], *shared])
    assert (alice.returncode, bob.returncode) == (0, 0), alice.stderr + bob.stderr
    said = [json.loads(done.stdout) for done in (alice, bob)]
    assert [document["schema"] for document in said] == ["caligo.alice/1", "caligo.bob/1"]
    for name in said[0].keys() - SIDED - {"schema"}:
        assert said[0][name] == said[1][name], name
    assert Path("out/alice.bin").read_bytes() == Path("out/bob.bin").read_bytes()
    assert len(list_runs("store")) == 2


@pytest.mark.usefixtures("place")
def test_people_read_both_accounts() -> None:
    alice, bob = processes(
        ["--directory", "frames", "--authentication", "caller", "--qber", "0.02"],
        ["--directory", "frames", "--authentication", "caller", "--qber", "0.02", "--strict"],
    )
    assert alice.returncode == 0, alice.stderr
    for words in ("by both", "reply", "messages", "frames", "recorded in"):
        assert words in alice.stdout
    assert "corrected" not in alice.stdout
    assert "times the Shannon limit" in bob.stdout


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--psk", "psk"], ExitCode.USAGE, "--listen"),
        (["--psk", "psk", "--listen", "127.0.0.1:0", "--directory", "d"], ExitCode.USAGE, "one of"),
        (["--directory", "d"], ExitCode.USAGE, "--psk"),
        (["--directory", "d", "--psk", "psk", "--authentication", "caller"], ExitCode.USAGE, "both"),
        (["--directory", "d", "--psk", "open-psk"], ExitCode.BAD_INPUT, "chmod 600"),
        (["--directory", "d", "--psk", "missing"], ExitCode.BAD_INPUT, "missing"),
        (["--connect", "nowhere", "--psk", "psk"], ExitCode.USAGE, "HOST:PORT"),
        (["--connect", "localhost:99999", "--psk", "psk"], ExitCode.USAGE, "0 to 65535"),
        (["--listen", "127.0.0.1:0", "--psk", "psk", "--timeout", "0.2"], ExitCode.PROTOCOL, "none came in time"),
        (["--directory", "d", "--psk", "psk", "--timeout", "0.2"], ExitCode.PROTOCOL, "--timeout"),
    ],
)
def test_a_command_that_cannot_begin_says_why(
    words: list[str], code: ExitCode, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert caligo.cli.main(["bob", "b.bin", *WORDS[:6], *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert "Traceback" not in err

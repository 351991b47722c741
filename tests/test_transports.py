"""Transports: frames arrive whole and in order, or an error says why they do not."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caligo.errors import ConfigError, ConnectionLostError, ProtocolError, ResourceError
from caligo.reconciliation.messages import Bits, Sample
from caligo.reconciliation.wire import HEADER_BYTES, encode_frame, encode_payload
from caligo.transports import DirectoryTransport, TcpTransport, Transport, memory_pair
from caligo.transports.tcp import parse_address

Pair = tuple[Transport, Transport]


def frame(size: int, number: int = 0) -> bytes:
    payload = encode_payload(Sample(Bits(8 * size, bytes([number % 256]) * size)))
    return encode_frame(4, bytes(16), number, payload, 4, lambda data: b"tag!")


def over_tcp() -> Pair:
    here = TcpTransport.listen(("127.0.0.1", 0))
    there = TcpTransport.connect(here.address)
    opening = threading.Thread(target=there.open, args=(10.0,))
    opening.start()
    here.open(10.0)
    opening.join()
    return here, there


def close_both(pair: Pair) -> None:
    """At once: the first of two would wait for the other's farewell."""
    with ThreadPoolExecutor() as pool:
        deque(pool.map(lambda end: end.close(), pair), maxlen=0)


@pytest.fixture(params=["memory", "directory", "tcp"])
def make_pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Pair]]:
    with ExitStack() as stack:
        count = 0

        def make() -> Pair:
            nonlocal count
            count += 1
            if request.param == "memory":
                pair: Pair = memory_pair()
            elif request.param == "tcp":
                pair = over_tcp()
            else:
                place = tmp_path / str(count)
                pair = DirectoryTransport(place, "alice", poll_s=0.001), DirectoryTransport(place, "bob", poll_s=0.001)
            stack.callback(close_both, pair)
            return pair

        yield make


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0, 1, 100, 70_000])), max_size=30))
def test_frames_arrive_whole_and_in_order_each_way(make_pair: Callable[[], Pair], sent: list[tuple[bool, int]]) -> None:
    ends = make_pair()
    expected: dict[bool, list[bytes]] = {True: [], False: []}
    for number, (way, size) in enumerate(sent):
        data = frame(size, number)
        expected[way].append(data)
        ends[way].send(data)
    for way, frames in expected.items():
        for data in frames:
            got = ends[not way].receive(5.0)
            assert got is not None
            assert got.sealed + got.tag == data
        assert ends[not way].receive(0.0) is None


def test_a_closed_end_neither_sends_nor_receives(make_pair: Callable[[], Pair]) -> None:
    here, there = make_pair()
    there.send(frame(3))
    here.close()
    here.close()
    with pytest.raises(ConnectionLostError):
        here.send(frame(1))
    with pytest.raises(ConnectionLostError):
        here.receive(0.1)


# --- TCP --------------------------------------------------------------------------------------------------------------


def raw_peer() -> tuple[TcpTransport, socket.socket]:
    transport = TcpTransport.listen(("127.0.0.1", 0), send_timeout_s=0.3)
    peer = socket.create_connection(transport.address)
    transport.open(5.0)
    return transport, peer


def test_a_frame_in_small_pieces_and_late_is_one_frame() -> None:
    transport, peer = raw_peer()
    data = frame(50)
    with transport, peer:
        for at in range(0, len(data), 7):
            peer.sendall(data[at : at + 7])
            if at == 21:
                assert transport.receive(0.01) is None
        got = transport.receive(5.0)
        assert got is not None
        assert got.sealed + got.tag == data


def test_a_peer_that_dribbles_holds_a_reader_no_longer_than_it_asked_for() -> None:
    transport, peer = raw_peer()
    stopping = threading.Event()

    def dribble() -> None:
        for byte in frame(4000):
            if stopping.wait(0.0005):
                return
            peer.sendall(bytes([byte]))

    dribbling = threading.Thread(target=dribble)
    with transport, peer:
        dribbling.start()
        started = time.monotonic()
        assert transport.receive(0.05) is None
        assert time.monotonic() - started < 1.0
        stopping.set()
        dribbling.join()


def test_a_reader_of_an_old_connection_takes_nothing_of_the_next() -> None:
    transport, peer = raw_peer()
    peer.sendall(frame(50, 1)[:40])
    assert transport.receive(0.05) is None
    taken: list[object] = []

    def read() -> None:
        with suppress(ConnectionLostError):
            taken.append(transport.receive(0.5))

    late = threading.Thread(target=read)
    with transport, peer:
        late.start()
        time.sleep(0.05)
        with socket.create_connection(transport.address) as second:
            transport.open(5.0)
            second.sendall(frame(50, 2))
            got = transport.receive(5.0)
            late.join()
            assert taken in ([], [None])
            assert got is not None
            assert got.sequence == 2


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", frame(50)[:4] + b"\x02" + frame(50)[5:], frame(9)[:8] + b"\xff" * 4 + bytes(24)]
)
def test_what_is_no_frame_is_refused_at_its_header(data: bytes) -> None:
    transport, peer = raw_peer()
    with transport, peer:
        peer.sendall(data)
        with pytest.raises(ProtocolError):
            transport.receive(5.0)


@pytest.mark.parametrize("sent", [0, 10, HEADER_BYTES + 3])
def test_a_peer_that_goes_away_is_a_lost_connection_even_within_a_frame(sent: int) -> None:
    transport, peer = raw_peer()
    with transport:
        peer.sendall(frame(50)[:sent])
        peer.close()
        with pytest.raises(ConnectionLostError):
            transport.receive(5.0)


def test_a_peer_that_takes_nothing_is_a_lost_connection_in_time() -> None:
    transport, peer = raw_peer()
    with transport, peer:
        started = time.monotonic()
        much = [frame(500_000) for _ in range(100)]
        with pytest.raises(ConnectionLostError, match="takes nothing"):
            deque(map(transport.send, much), maxlen=0)
        assert time.monotonic() - started < 30


def test_what_was_sent_before_closing_arrives_although_the_peer_had_more_to_say() -> None:
    here, there = over_tcp()
    there.send(frame(10, 1))
    here.send(frame(10, 2))
    closing = threading.Thread(target=here.close)
    closing.start()
    time.sleep(0.05)
    got = there.receive(5.0)
    assert got is not None
    assert got.sequence == 2
    with pytest.raises(ConnectionLostError):
        there.receive(5.0)
    there.close()
    closing.join()


def test_nobody_there_is_said_in_time_and_the_port_can_be_listened_to_once() -> None:
    with TcpTransport.listen(("127.0.0.1", 0)) as listening:
        with pytest.raises(ConnectionLostError):
            listening.open(0.05)
        with pytest.raises(ConfigError):
            TcpTransport.listen(listening.address)
        address = listening.address
    with TcpTransport.connect(address) as dialling, pytest.raises(ConnectionLostError):
        dialling.open(0.05)


def test_a_lost_connection_is_opened_again() -> None:
    here, there = over_tcp()
    with here, there:
        here.send(frame(20)[:30])  # torn, and never finished
        opening = threading.Thread(target=there.open, args=(10.0,))
        opening.start()
        here.open(10.0)
        opening.join()
        here.send(frame(7, 3))
        got = there.receive(5.0)
        assert got is not None
        assert got.sequence == 3


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:7000", ("localhost", 7000)),
        (":7", ("", 7)),
        ("[::1]:80", ("::1", 80)),
        ("10.0.0.1:0", ("10.0.0.1", 0)),
    ],
)
def test_an_address_is_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "localhost", "localhost:", "localhost:x", "host:65536", "host:-1", ":²"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_address(text)


# --- directories ------------------------------------------------------------------------------------------------------


def test_frames_are_files_of_their_owner_alone_and_stay_as_the_transcript(tmp_path: Path) -> None:
    place = tmp_path / "frames"
    with DirectoryTransport(place, "alice") as alice, DirectoryTransport(place, "bob") as bob:
        for number in range(3):
            alice.send(frame(9, number))
        assert [bob.receive(1.0) is not None for _ in range(3)] == [True] * 3
    files = sorted((place / "alice-to-bob").iterdir())
    assert [path.name for path in files] == [f"{number:012d}.frame" for number in range(3)]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert [path.read_bytes() for path in files] == [frame(9, number) for number in range(3)]


def test_files_are_waited_for_in_whatever_order_and_pieces_they_are_carried(tmp_path: Path) -> None:
    bob = DirectoryTransport(tmp_path, "bob", poll_s=0.001)
    frames = [frame(30, number) for number in range(3)]
    inbox = tmp_path / "alice-to-bob"
    for number in (2, 1):
        (inbox / f"{number:012d}.frame").write_bytes(frames[number])
        assert bob.receive(0.0) is None
    for size in (0, 5, HEADER_BYTES, HEADER_BYTES + 9):
        (inbox / f"{0:012d}.frame").write_bytes(frames[0][:size])
        assert bob.receive(0.0) is None
    (inbox / f"{0:012d}.frame").write_bytes(frames[0])
    for number in range(3):
        got = bob.receive(1.0)
        assert got is not None
        assert got.sequence == number


def test_a_file_that_is_no_frame_is_refused(tmp_path: Path) -> None:
    for number, data in enumerate([b"x" * 80, frame(5) + b"more", frame(5)[:7] + b"\x09" + frame(5)[8:]]):
        bob = DirectoryTransport(tmp_path / str(number), "bob")
        (tmp_path / str(number) / "alice-to-bob" / f"{0:012d}.frame").write_bytes(data)
        with pytest.raises(ProtocolError):
            bob.receive(0.1)


def test_a_directory_of_an_earlier_session_is_refused(tmp_path: Path) -> None:
    DirectoryTransport(tmp_path / "d", "alice").send(frame(1))
    with pytest.raises(ConfigError, match="earlier session"):
        DirectoryTransport(tmp_path / "d", "alice")
    DirectoryTransport(tmp_path / "d", "bob")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError):
        DirectoryTransport(tmp_path / "file", "bob")


def test_a_file_of_full_size_whose_bytes_are_still_to_come_is_waited_for(tmp_path: Path) -> None:
    bob = DirectoryTransport(tmp_path, "bob")
    path, data = tmp_path / "alice-to-bob" / f"{0:012d}.frame", frame(5000, 1)
    for written in (0, HEADER_BYTES, 4096):
        path.write_bytes(data[:written] + bytes(len(data) - written))
        assert bob.receive(0.0) is None
    path.write_bytes(data)
    assert bob.receive(0.0) is not None


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_what_is_no_regular_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    bob = DirectoryTransport(tmp_path / "d", "bob")
    path = tmp_path / "d" / "alice-to-bob" / f"{0:012d}.frame"
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(frame(9))
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(ProtocolError, match="regular file"):
        bob.receive(0.0)


def test_two_processes_that_speak_for_one_side_are_told_apart_and_nothing_is_overwritten(tmp_path: Path) -> None:
    one, other = DirectoryTransport(tmp_path, "alice"), DirectoryTransport(tmp_path, "alice")
    one.send(frame(9, 1))
    for _ in range(2):
        with pytest.raises(ConfigError, match="another process"):
            other.send(frame(9, 2))
    one.send(frame(9, 3))
    bob = DirectoryTransport(tmp_path, "bob")
    assert [bob.receive(0.0).payload for _ in range(2)] == [  # type: ignore[union-attr]
        encode_payload(Sample(Bits(72, bytes([number]) * 9))) for number in (1, 3)
    ]


@pytest.mark.parametrize("name", [f".{0:012d}.frame.partial", f"{0:012d}.frame"])
def test_a_planted_link_is_neither_followed_nor_replaced(name: str, tmp_path: Path) -> None:
    alice = DirectoryTransport(tmp_path / "d", "alice")
    victim, link = tmp_path / "victim", tmp_path / "d" / "alice-to-bob" / name
    victim.write_bytes(b"mine")
    link.symlink_to(victim)
    with pytest.raises(ConfigError):
        alice.send(frame(9))
    assert victim.read_bytes() == b"mine"
    assert link.is_symlink()
    assert [path.name for path in link.parent.iterdir()] == [name]


def test_a_direction_that_is_taken_away_is_a_lost_connection(tmp_path: Path) -> None:
    alice = DirectoryTransport(tmp_path, "alice")
    (tmp_path / "alice-to-bob").rmdir()
    (tmp_path / "alice-to-bob").touch()
    with pytest.raises(ConnectionLostError):
        alice.send(frame(1))


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, ResourceError), (errno.EIO, ConnectionLostError)])
def test_a_disk_that_is_full_or_fails_leaves_no_half_frame(
    number: int, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = DirectoryTransport(tmp_path, "alice")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(kind):
            alice.send(frame(1))
    assert list((tmp_path / "alice-to-bob").iterdir()) == []
    alice.send(frame(1))
    assert [path.name for path in (tmp_path / "alice-to-bob").iterdir()] == [f"{0:012d}.frame"]

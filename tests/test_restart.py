"""Processes that die in the middle: another one goes on from the state that was kept, and nothing is said twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_dialogue import Party, alice_session, bob_session, talk, terms, two_keys

from caligo.errors import ConfigError, ExitCode, KeyFileError, ProtocolError, ResourceError, SuspendedError
from caligo.jobs import PartyOptions, ReconcileOptions, reconcile_party
from caligo.jobs.state_file import StateFile
from caligo.reconciliation.authentication import PresharedKey
from caligo.reconciliation.endpoint import Connected, Heard, Past, Worked
from caligo.reconciliation.strategies import STRATEGIES, strategy_type
from caligo.reconciliation.strategies.dialogue import Ask, Decoded, GivenUp
from caligo.store import list_runs
from caligo.telemetry.progress import NoProgress
from caligo.transports import TcpTransport

KEY_BITS = 256 * 12 + 13
ALICE, BOB = two_keys(KEY_BITS)
ONE_WAY = terms(KEY_BITS)
TOY = terms(KEY_BITS, strategy="toy", efficiency=1.3)
SAMPLED = terms(KEY_BITS, strategy="toy", efficiency=1.3, qber=0.0, sample_bits=700)
SECRET = PresharedKey(bytes(range(32)))


class Notes:
    """A journal in memory, which loses what was not flushed."""

    def __init__(self) -> None:
        self.kept: list[Past] = []
        self._taken: list[Past] = []

    def note(self, past: Past) -> None:
        self._taken.append(past)

    def flush(self) -> None:
        self.kept += self._taken
        self._taken.clear()

    def settled(self) -> set[int]:
        return {past.block for past in self.kept if isinstance(past, Worked) and not isinstance(past.step, Ask)}


def begin(role: str, agreed: Any, notes: Notes) -> Party:
    """A process: from nothing, or from what the one before it kept."""
    session = alice_session(ALICE, agreed) if role == "alice" else bob_session(BOB, agreed)
    fresh = Notes()
    party = Party(session, SECRET, fresh)
    party.endpoint.restore(notes.kept, notes.settled())
    party.note()
    fresh.kept, notes.kept = notes.kept, []
    notes.__dict__ = fresh.__dict__
    return party


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["alice", "bob", "both"])), max_size=5),
    st.integers(0, 2**32),
    st.sampled_from([ONE_WAY, TOY, SAMPLED]),
)
def test_processes_killed_anywhere_and_often_change_nothing(
    deaths: list[tuple[int, str]], seed: int, agreed: Any
) -> None:
    rng = np.random.default_rng(seed)
    notes = {"alice": Notes(), "bob": Notes()}
    parties = {role: begin(role, agreed, notes[role]) for role in notes}
    for number, (frames, who) in enumerate(deaths):
        talk(parties["alice"], parties["bob"], frames=frames, rng=rng, number=number)
        for role in notes if who == "both" else [who]:
            parties[role] = begin(role, agreed, notes[role])
    alice, bob = parties["alice"], parties["bob"]
    if not (alice.session.is_closed and bob.session.is_closed):
        talk(alice, bob, rng=rng, number=len(deaths))
    assert alice.session.is_closed
    assert bob.session.is_closed
    assert alice.account == bob.account
    assert alice.key == bob.key
    undisturbed = begin("alice", agreed, Notes()), begin("bob", agreed, Notes())
    talk(*undisturbed)
    assert (alice.account, alice.key) == (undisturbed[0].account, undisturbed[0].key)


def test_a_peer_who_forgot_everything_is_told_what_to_do() -> None:
    for role in ("alice", "bob"):
        parties = {each: begin(each, TOY, Notes()) for each in ("alice", "bob")}
        talk(parties["alice"], parties["bob"], frames=20)
        changes = {"session": b"another session!"} if role == "alice" else {}
        session = alice_session(ALICE, TOY, **changes) if role == "alice" else bob_session(BOB, TOY)
        parties[role] = Party(session, SECRET)
        with pytest.raises(ProtocolError, match="begin"):
            talk(parties["alice"], parties["bob"], number=1)


# --- the file ---------------------------------------------------------------------------------------------------------

PAST: list[Past] = [
    Connected(bytes(range(16)), 64),
    Heard(6, b"payload"),
    Worked(3, Ask(((0, 12), (4, 1)))),
    Worked(3, Decoded(np.arange(32, dtype=np.uint8), 1234)),
    Worked(4, GivenUp(5)),
]


def shown(past: Past) -> Any:
    if isinstance(past, Worked) and isinstance(past.step, Decoded):
        return past.block, past.step.row.tobytes(), past.step.elapsed_ns
    return past


def filled(path: Path) -> None:
    with StateFile(path) as state:
        state.begin({"role": "bob"})
        for past in PAST:
            state.note(past)
        state.flush()


def test_a_state_file_gives_back_what_it_took_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "state"
    filled(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with StateFile(path) as state:
        assert state.begun == {"role": "bob"}
        assert state.settled() == {3, 4}
        assert [shown(past) for past in state.past()] == [shown(past) for past in PAST]
        with pytest.raises(ConfigError, match="another one has it"):
            StateFile(path)
        state.remove()
    assert not path.exists()


def test_a_torn_state_file_keeps_its_whole_records_and_goes_on_behind_them(tmp_path: Path) -> None:
    path = tmp_path / "state"
    filled(path)
    whole = path.read_bytes()
    for end in range(8, len(whole), 7):
        path.write_bytes(whole[:end])
        with StateFile(path) as state:
            kept = [shown(past) for past in state.past()]
            assert kept == [shown(past) for past in PAST][: len(kept)]
            state.note(PAST[0])
            state.flush()
            assert [shown(past) for past in state.past()] == [*kept, PAST[0]]


def test_another_file_is_no_state(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"something else")
    with pytest.raises(ConfigError):
        StateFile(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == b"something else"
    (tmp_path / "link").symlink_to(tmp_path / "key")
    for path in (tmp_path / "link", tmp_path / "missing" / "state"):
        with pytest.raises(KeyFileError):
            StateFile(path)


# --- processes --------------------------------------------------------------------------------------------------------

LONG_BITS = 240_000
WORDS = ["-N", "1024", "--qber", "0.02", "--psk", "psk", "--json", "--window", "8"]
ONCE = ["-L", "16", "--efficiency", "2.0"]


class Pair:
    """Two commands in a directory of their own, started and started again."""

    def __init__(self) -> None:
        self.words = ONCE
        for role, key in zip(("alice", "bob"), two_keys(LONG_BITS), strict=True):
            key.tofile(f"{role}.key")
        Path("psk").write_bytes(os.urandom(32))
        Path("psk").chmod(0o600)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
        self.running: dict[str, subprocess.Popen[str]] = {}

    def start(self, role: str, *more: str, file_bytes: int | None = None) -> None:
        """Start a side; with `file_bytes`, on a disk on which no file can grow beyond that."""
        way = ["--connect" if role == "alice" else "--listen", f"127.0.0.1:{self._port}"]
        words = [
            sys.executable,
            "-m",
            "caligo",
            role,
            f"{role}.key",
            *WORDS,
            *way,
            "--out",
            "out",
            "--force",
            "-t",
            "1",
        ]
        if file_bytes is not None:
            limited = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({file_bytes},) * 2); "
            words = [sys.executable, "-c", limited + "os.execv(sys.argv[1], sys.argv[1:])", *words]
        self.running[role] = subprocess.Popen(
            [*words, "--out", "out", "--force", "-t", "1", *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self) -> dict[str, tuple[int, str, str]]:
        """Exit code, standard output and error of both."""
        ended = {}
        for role, process in self.running.items():
            out, err = process.communicate(timeout=60)
            ended[role] = process.returncode, out, err
        return ended


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALIGO_STORE", str(tmp_path / "store"))
    return Pair()


def both_have_one_key(ended: dict[str, tuple[int, str, str]]) -> None:
    for code, _, err in ended.values():
        assert code == ExitCode.COMPLETED, err
    said = {role: json.loads(out) for role, (_, out, _) in ended.items()}
    assert Path("out/alice.bin").read_bytes() == Path("out/bob.bin").read_bytes()
    assert said["alice"]["leakage"] == said["bob"]["leakage"]
    assert said["alice"]["blocks_ok"] == said["bob"]["blocks_ok"] > 0
    assert not Path("alice.state").exists()
    assert not Path("bob.state").exists()


@pytest.mark.parametrize("victim", ["alice", "bob"])
@pytest.mark.parametrize(
    "words",
    [ONCE, *([["--strategy", name] for name in STRATEGIES if strategy_type(name).asks])],
    ids=lambda words: words[-1],
)
def test_a_killed_process_goes_on_from_its_state(words: list[str], victim: str, pair: Pair, tmp_path: Path) -> None:
    pair.words = words
    state = Path(f"{victim}.state")
    for role in ("bob", "alice"):
        pair.start(role, "--state", f"{role}.state")
    least = 2000 if victim == "alice" else 12_000
    killed = pair.running[victim]
    while (not state.exists() or state.stat().st_size < least) and killed.poll() is None:
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert state.exists(), "it was killed in the middle"
    pair.start(victim, "--state", f"{victim}.state")
    both_have_one_key(pair.end())
    assert sorted(run.state for run in list_runs(tmp_path / "store")) == ["open", "sealed", "sealed"]


def test_a_disk_that_fills_up_ends_both_sides_and_leaves_no_key(pair: Pair) -> None:
    pair.start("bob", file_bytes=20_000)
    pair.start("alice")
    ended = pair.end()
    assert ended["bob"][0] == ExitCode.RESOURCE, ended["bob"][2]
    assert ended["alice"][0] == ExitCode.PROTOCOL, ended["alice"][2]
    assert "lacks memory or space" in ended["alice"][2]
    assert list(Path("out").iterdir()) == []


def test_with_a_state_room_on_the_disk_is_all_it_takes_to_go_on(pair: Pair) -> None:
    pair.start("bob", "--state", "bob.state", file_bytes=20_000)
    pair.start("alice", "--state", "alice.state", "--timeout", "2")
    ended = pair.end()
    assert ended["bob"][0] == ExitCode.RESOURCE, ended["bob"][2]
    assert ended["alice"][0] == ExitCode.RESUMABLE, ended["alice"][2]
    assert list(Path("out").iterdir()) == []
    for role in ("bob", "alice"):
        pair.start(role, "--state", f"{role}.state")
    both_have_one_key(pair.end())


def test_a_peer_that_knows_nothing_of_the_session_does_not_end_it(tmp_path: Path) -> None:
    """Bob is started again without his state: both say so, and a Bob who has it can still go on with Alice."""
    keys = dict(zip(("alice", "bob"), two_keys(60_000), strict=True))
    options = ReconcileOptions(qber=0.02, block_length=1024, efficiency=2.2, list_size=2)

    class Stop(NoProgress):
        def __init__(self, after: int) -> None:
            self.left = after

        def advance(self, steps: int = 1, **_: int) -> None:
            self.left -= steps
            if self.left < 0:
                raise ResourceError("full")

    def run(bobs_state: Path, stop: bool) -> list[Any]:
        here = TcpTransport.listen(("127.0.0.1", 0))
        ends = {"alice": here, "bob": TcpTransport.connect(here.address)}
        states = {"alice": tmp_path / "alice", "bob": bobs_state}

        def side(role: Any) -> Any:
            with ends[role] as end:
                return reconcile_party(
                    role,
                    keys[role],
                    end,
                    authentication=SECRET,
                    options=options,
                    party=PartyOptions(timeout_s=2.0, window=4),
                    key_bits=60_000,
                    state=states[role],
                    progress=Stop(-1) if stop and role == "bob" else NoProgress(),
                )

        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(side, role) for role in ends]
            return [future.exception() or future.result() for future in futures]

    alice, bob = run(tmp_path / "bob", stop=True)
    assert isinstance(alice, SuspendedError)
    assert isinstance(bob, ResourceError)
    for error in run(tmp_path / "another", stop=False):
        assert isinstance(error, ProtocolError)
        assert not isinstance(error, SuspendedError)
    alice, bob = run(tmp_path / "bob", stop=False)
    assert np.array_equal(alice.key, bob.key)
    assert alice.leakage == bob.leakage


def test_a_state_of_other_options_or_another_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def run(key: Any, **changes: Any) -> None:
        with TcpTransport.listen(("127.0.0.1", 0)) as end:
            reconcile_party(
                "alice",
                key,
                end,
                authentication=SECRET,
                options=ReconcileOptions(**({"qber": 0.02, "block_length": 1024, "efficiency": 2.2} | changes)),
                party=PartyOptions(timeout_s=0.1),
                state="state",
            )

    for _ in range(2):
        with pytest.raises(SuspendedError) as caught:
            run(ALICE)
        assert caught.value.exit_code == ExitCode.RESUMABLE
    with pytest.raises(ConfigError, match="key"):
        run(BOB)
    with pytest.raises(ConfigError, match="terms"):
        run(ALICE, qber=0.03)

"""The examples run as they are, and end with equal keys.

Covers: every program in docs/examples. Does not cover: the pages around them (tests/test_docs.py).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLES = REPOSITORY / "docs" / "examples"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALIGO_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def run(*words: str | Path) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def test_every_example_is_run_here() -> None:
    found = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")}
    assert found == {"two-machines.sh", "two_machines.py", "asyncio_stack.py", "air-gap.sh"}


def test_two_processes_over_tcp_end_with_equal_keys(place: Path) -> None:
    assert "the two keys are equal" in run(EXAMPLES / "two-machines.sh", free_port())
    alice, bob = (place / role / f"{role}.bin" for role in ("alice", "bob"))
    assert alice.read_bytes() == bob.read_bytes() != b""


def test_two_python_programs_over_tcp_end_with_equal_keys(place: Path) -> None:
    run("caligo", "keys", "simulate", "--bits", "2^18", "--qber", "0.02", "--seed", "1", "--out", "sifted")
    Path("psk").write_bytes(bytes(range(32)))
    Path("psk").chmod(0o600)
    address = f"127.0.0.1:{free_port()}"
    words = {role: [role, f"sifted/{role}.bin", address, "psk", "out"] for role in ("alice", "bob")}
    program = [sys.executable, str(EXAMPLES / "two_machines.py")]
    with subprocess.Popen([*program, *words["alice"]], stdout=subprocess.PIPE, text=True) as listening:
        said = run(*program, *words["bob"])
        assert listening.stdout is not None
        assert "subtract" in said
        assert listening.stdout.read().removeprefix("alice") == said.removeprefix("bob")
    assert listening.returncode == 0
    assert (place / "out/alice.bin").read_bytes() == (place / "out/bob.bin").read_bytes() != b""


@pytest.mark.usefixtures("place")
def test_a_stack_with_an_event_loop_ends_with_equal_keys() -> None:
    assert "equal bits" in run(sys.executable, EXAMPLES / "asyncio_stack.py")


def test_files_through_an_air_gap_end_with_equal_keys(place: Path) -> None:
    assert "the two keys are equal" in run(EXAMPLES / "air-gap.sh")
    assert (place / "alice-site/alice.bin").read_bytes() == (place / "bob-site/bob.bin").read_bytes() != b""
    names = {path.name for path in (place / "alice-site/frames/alice-to-bob").iterdir()}
    assert names == {path.name for path in (place / "bob-site/frames/alice-to-bob").iterdir()}

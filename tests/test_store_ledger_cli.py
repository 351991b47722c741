"""`caligo store ledger`: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from caligo.cli import main
from caligo.store import RunWriter
from caligo.store.audit.ledger import Ledger, foreign_ledger

Run = Callable[..., "Result"]


class Result(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both."""
        return self.stdout + self.stderr


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `caligo store ...` with a store and a trust file of its own."""
    monkeypatch.setenv("CALIGO_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("CALIGO_TRUST", "CALIGO_SIGNING_KEY", "CALIGO_KEY_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str, code: int = 0) -> Result:
        ended = main(["store", *arguments])
        result = Result(*capsys.readouterr())
        assert ended == code, result.output
        return result

    return invoke


def sealed(store: Path, count: int = 1) -> str:
    for _ in range(count):
        with RunWriter.create(store, "simulate", {"frames": 1}) as writer:
            writer.seal({})
    return writer.name


def document(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_log_lists_entries_of_every_ledger(run: Run, tmp_path: Path) -> None:
    assert "no ledger yet" in run("ledger", "log").output
    store = tmp_path / "store"
    name = sealed(store, 3)
    other = Ledger.open(tmp_path / "other", create=True)
    other.append("note", {"text": "\x1b[31mred", "long": "x" * 200})
    foreign_ledger(store, other.origin).adopt(other.read(0))
    text = run("ledger", "log", "--limit", "1").output
    assert f"run={name}" in text
    assert text.count("run=") == 1
    assert "of another store, 1 entry\n" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b[31mred" not in text
    shown = document(run("ledger", "log", "--limit", "0", "--json"))
    assert [(ledger["size"], ledger["foreign"], len(ledger["entries"])) for ledger in shown["ledgers"]] == [
        (3, False, 3),
        (1, True, 1),
    ]
    first, second = shown["ledgers"][0]["entries"][:2]
    assert second["previous"] == first["leaf"]


def test_a_store_is_signed_proved_and_verified(run: Run, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run("ledger", "checkpoint", code=8)
    first = sealed(store, 2)
    run("key", "new", "lab")
    run("ledger", "prove", first, code=2)
    printed = run("ledger", "checkpoint", "--out", "held.txt")
    assert printed.stdout.encode() == Path("held.txt").read_bytes()
    sealed(store)
    signed = document(run("ledger", "checkpoint", "--json"))
    assert (signed["size"], signed["signed_by"]) == (3, ["lab"])
    run("ledger", "prove", first)
    proved = document(run("ledger", "prove", first, "--out", "proof.json", "--json"))
    assert (proved["index"], proved["size"]) == (1, 3)
    assert (tmp_path / f"{first}.proof.json").read_bytes() == Path("proof.json").read_bytes()
    verified = document(run("ledger", "verify", "--checkpoint", "held.txt", "--json"))
    assert (verified["findings"], verified["signatures_checked"]) == (0, True)
    text = run("ledger", "verify").output
    assert "signed by lab: holds" in text
    assert "rewritten as a whole would look the same" in text
    run("ledger", "export-verifier", "verify.py")
    key = document(run("key", "show", "lab", "--json"))["verifier_key"]
    command = [sys.executable, "-I", "verify.py", "--proof", "proof.json", "--key", key]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f'"run":"{first}"' in done.stdout
    run("key", "revoke", "lab")
    assert "is revoked" in run("ledger", "checkpoint", code=8).output
    assert "CAL-STORE-047" in run("ledger", "verify", code=8).output


def test_tampering_ends_with_8_and_shows_the_proof(run: Run, tmp_path: Path) -> None:
    store = tmp_path / "store"
    sealed(store, 3)
    run("key", "new", "lab")
    run("ledger", "checkpoint", "--out", "held.txt")
    sealed(store)
    path = Ledger.open(store).entry_path(1)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"identity":"', b'"identity":"0', 1))
    text = run("ledger", "verify", "--checkpoint", "held.txt", code=8).output
    for part in (
        "CAL-STORE-040",
        "CAL-STORE-046",
        "DOES NOT HOLD",
        "consistency_proof = [",
        "checkpoint_root = ",
        "-> ",
    ):
        assert part in text
    found = document(run("ledger", "verify", "--checkpoint", "held.txt", "--json", code=8))
    assert found["findings"] == 3
    shown = found["ledgers"][0]["findings"][-1]
    assert shown["where"] == "the held checkpoint"
    assert shown["evidence"]["consistency_proof"]


def test_a_store_without_a_ledger_or_key_says_so(run: Run) -> None:
    text = run("ledger", "verify").output
    assert "there is no ledger yet" in text
    assert "signatures were not checked" in text
    run("ledger", "verify", "--checkpoint", "nowhere", code=2)
    run("ledger", "export-verifier", "nowhere/verify.py", code=8)

"""Laws of hooks: no shell, one JSON object, a time limit, and nothing that a hook does is an error of caligo."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.errors import ConfigError
from caligo.store.gating.hooks import hook_environment, run_hook, split_command

READ = "import json, sys; json.dump(json.load(sys.stdin), open({path!r}, 'w'))"


def test_a_hook_gets_one_object_and_its_code_is_told(tmp_path: Path) -> None:
    told = tmp_path / "told it's.json"
    script = READ.format(path=str(told)) + "; sys.exit(7)"
    outcome = run_hook(shlex.join([sys.executable, "-c", script]), "gate", {"verdict": "passed", "big": "x" * 300_000})
    assert (outcome.exit_code, outcome.timed_out, outcome.is_ok) == (7, False, False)
    document = json.loads(told.read_text())
    assert (document["event"], document["verdict"], len(document["big"])) == ("gate", "passed", 300_000)


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    outcome = run_hook(f"echo $HOME ; touch {marker} | cat", "gate", {})
    assert outcome.is_ok
    assert outcome.command[:3] == ("echo", "$HOME", ";")
    assert not marker.exists()


def test_a_hook_that_does_not_read_does_not_start_or_dies_is_only_told_of() -> None:
    assert run_hook("true", "gate", {"big": "x" * 1_000_000}).is_ok
    assert run_hook("no-such-program-anywhere", "gate", {}).error == "No such file or directory"
    assert run_hook("/", "gate", {}).error
    assert run_hook("sh -c 'kill -9 $$'", "gate", {}).exit_code == -9


@pytest.mark.parametrize("script", ["sleep 60 & sleep 60", "trap '' TERM; while :; do sleep 1; done"])
def test_a_hook_that_takes_too_long_is_ended_with_what_it_started(script: str) -> None:
    began = time.monotonic()
    outcome = run_hook(shlex.join(["sh", "-c", script]), "gate", {}, timeout_s=0.2)
    assert (outcome.timed_out, outcome.exit_code) == (True, None)
    assert time.monotonic() - began < 30.0
    assert "was ended after" in outcome.text


def test_the_environment_says_what_happened_and_keeps_secrets_out(monkeypatch: pytest.MonkeyPatch) -> None:
    given_names = {"PATH": "/bin", "CALIGO_STORE": "s", "CALIGO_KEY_PASSPHRASE": "p", "CALIGO_SECRET_FILE": "q"}
    assert hook_environment("alerts", given_names) == {"PATH": "/bin", "CALIGO_STORE": "s", "CALIGO_HOOK": "alerts"}
    monkeypatch.setenv("CALIGO_KEY_PASSPHRASE", "p")
    assert run_hook('sh -c \'test -z "$CALIGO_KEY_PASSPHRASE" && test "$CALIGO_HOOK" = gate\'', "gate", {}).is_ok


@pytest.mark.parametrize("command", ["", "  ", "'", "a\0b", '"open'])
def test_what_is_no_command_is_refused(command: str) -> None:
    with pytest.raises(ConfigError, match="command for the hook"):
        run_hook(command, "gate", {})
    with pytest.raises(ConfigError, match="time limit"):
        run_hook("true", "gate", {}, timeout_s=0.0)


@given(st.text(max_size=40))
def test_any_text_is_a_command_or_refused(text: str) -> None:
    try:
        words = split_command(text)
    except ConfigError:
        return
    assert words
    assert all("\0" not in word for word in words)

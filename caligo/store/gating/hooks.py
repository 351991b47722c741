"""Hooks: tell another program what a command found.

Covers: starting a command without a shell, handing it one JSON object on standard input, its time limit and how it
ended. Does not cover: what is told, and what a failing hook means for the exit code of caligo: nothing. The code of a
gate says what the gate found.

The command is split into words as a shell would (:func:`shlex.split`), and run as it is: no globs, no variables, no
pipes. It gets the caller's environment without what could hold a secret of caligo (`CALIGO_*PASSPHRASE*`,
`CALIGO_*SECRET*`, `CALIGO_*KEY*`), and with ``CALIGO_HOOK`` set to the name of what happened, so that a caligo that a
hook starts can tell. What is told holds no key material, since nothing in a store does. What the hook prints is not
kept: its standard output goes to standard error.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from caligo.errors import ConfigError

__all__ = ["DEFAULT_TIMEOUT_S", "HookOutcome", "hook_environment", "run_hook", "split_command"]

DEFAULT_TIMEOUT_S = 30.0
_GRACE_S = 2.0
_SECRET_MARKS = ("PASSPHRASE", "SECRET", "KEY")


@dataclass(frozen=True)
class HookOutcome:
    """How a hook ended.

    Attributes:
        command: its words.
        exit_code: None where it did not start or was ended; negative as of :mod:`subprocess` where a signal ended it.
        timed_out: whether it was ended for taking too long.
        error: why it did not start; empty otherwise.
        elapsed_s: how long it took.
    """

    command: tuple[str, ...]
    exit_code: int | None
    timed_out: bool
    error: str
    elapsed_s: float

    @property
    def is_ok(self) -> bool:
        """Whether it ended with 0."""
        return self.exit_code == 0

    @property
    def text(self) -> str:
        """How it ended, in words."""
        if self.error:
            return f"did not start: {self.error}"
        if self.timed_out:
            return f"was ended after {self.elapsed_s:.1f} s"
        return f"ended with {self.exit_code}"

    def to_json(self) -> dict[str, Any]:
        """The outcome as a JSON object."""
        return {
            "command": list(self.command),
            "exit_code": self.exit_code,
            "timed_out": self.timed_out,
            "error": self.error,
            "elapsed_s": round(self.elapsed_s, 3),
        }


def split_command(text: str) -> tuple[str, ...]:
    """The words of a hook's command.

    Raises:
        ConfigError: no word, an open quotation, or a NUL.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigError(
            f"expected a command for the hook, got {text[:80]!r} ({error}); close the quotation"
        ) from None
    if not words or "\0" in text:
        raise ConfigError(f"expected a command for the hook, got {text[:80]!r}; give a program and its arguments")
    return words


def hook_environment(event: str, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a hook finds in its environment.

    Args:
        event: what happened, such as ``gate``.
        environment: the caller's; None is this process's.
    """
    inherited = os.environ if environment is None else environment
    kept = {
        name: value
        for name, value in inherited.items()
        if not (name.startswith("CALIGO_") and any(mark in name for mark in _SECRET_MARKS))
    }
    return {**kept, "CALIGO_HOOK": event}


def run_hook(command: str, event: str, told: Mapping[str, Any], *, timeout_s: float = DEFAULT_TIMEOUT_S) -> HookOutcome:
    """Run a hook to its end, and never raise for what it does.

    Args:
        command: a program and its arguments, quoted as for a shell.
        event: what happened, such as ``gate``.
        told: JSON values for its standard input.
        timeout_s: after which it, and what it started, is ended.

    Returns:
        How it ended.

    Raises:
        ConfigError: no command, or a time limit that is none.
    """
    words = split_command(command)
    if not 0.0 < timeout_s < 1e6:
        raise ConfigError(f"expected a time limit of the hook > 0, got {timeout_s!r}; give seconds such as 30")
    text = json.dumps({"event": event, **told}, allow_nan=False).encode() + b"\n"
    began = time.monotonic()
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=_standard_error(),
            env=hook_environment(event),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        return HookOutcome(words, None, False, reason, time.monotonic() - began)
    timed_out = False
    try:
        process.communicate(text, timeout=timeout_s)  # a hook that does not read its input is no error
    except subprocess.TimeoutExpired:
        timed_out = True
    finally:
        _end(process)
    code = None if timed_out else process.returncode
    return HookOutcome(words, code, timed_out, "", time.monotonic() - began)


def _standard_error() -> int:
    """A descriptor that a child can write messages to."""
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return subprocess.DEVNULL


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a hook that still runs, with everything in its session: asked first, then made to."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        with suppress(OSError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()

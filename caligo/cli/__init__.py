"""The `caligo` command: finds the subcommand, turns every outcome into one exit code and one clear message.

Covers: the list of subcommands (each loaded only when it is used, so `caligo --help` is quick), errors, signals, closed
pipes. Does not cover: what a subcommand does; that is a library call, and the file here named after the subcommand only
reads options and prints the result.

A subcommand returns an :class:`~caligo.errors.ExitCode`, or None for completed, and raises
:class:`~caligo.errors.CaligoError` for everything it refuses. `CALIGO_TRACEBACK=1` shows where that was raised.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

import click

from caligo.cli._lazy import Entry, LazyGroup
from caligo.cli._output import JSON_EMITTED, emit_json
from caligo.errors import CaligoError, ExitCode

PROGRAM = "caligo"

BROKEN_PIPE_EXIT = 128 + 13
"""As of a program that SIGPIPE ended: the reader of standard output went away."""


COMMANDS: dict[str, Entry] = {
    "demo": Entry("command", "Reconcile two 2^24-bit keys here and show the account."),
    "keys": Entry("group", "Simulate and inspect key files."),
    "reconcile": Entry("command", "Make two sifted key files equal, and account for the leakage."),
    "run": Entry("command", "Run the job of a job file, or go on with it."),
    "alice": Entry("command", "Reconcile Alice's key file with a Bob on another machine."),
    "bob": Entry("command", "Reconcile Bob's key file with an Alice on another machine."),
    "compare-strategies": Entry("command", "Compare every strategy, and Cascade, on two key files."),
    "job": Entry("group", "Write and check job files, for unattended work on many cores."),
    "plan": Entry("command", "Say what a job needs on so many ranks, before it is submitted."),
    "simulate": Entry("command", "Measure the frame error rate of a code and decoder."),
    "bench": Entry("group", "Measure how fast this machine decodes."),
    "store": Entry("group", "Look at, compare, validate, prove and export what was recorded."),
    "replay": Entry("command", "Run again what a signed bundle records, and compare."),
    "doctor": Entry("command", "Check this installation and machine; name remedies."),
}
"""Subcommand -> object in `caligo/cli/<name>.py` (`_` for `-`), and its line in `caligo --help` (in this order)."""


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from caligo import __version__

        click.echo(f"{PROGRAM} {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    package="caligo.cli",
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command takes --help. Exit codes: 0 completed, 2 usage, 3 failed blocks (with --strict), 4 bad "
    "input, 5 undetected error, 6 resource, 7 protocol, 8 store, 9 cluster, 10 gate failed, 75 resumable, 130 "
    "interrupted.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def group() -> None:
    """Information reconciliation for quantum key distribution with polar codes.

    Turns two sifted keys that differ in a few per cent of their bits into two equal keys, and accounts for every bit
    that was disclosed on the way.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one `caligo` command line.

    Args:
        arguments: the words after `caligo`; None takes them from the process.

    Returns:
        The exit code, one of :class:`~caligo.errors.ExitCode`, or 141 when the reader of standard output went away.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _let_any_encoding_print()
    complete = os.environ.get("_CALIGO_COMPLETE")
    if complete:
        from click.shell_completion import shell_complete

        return shell_complete(group, {}, PROGRAM, "_CALIGO_COMPLETE", complete)
    context: click.Context | None = None
    with _interruptible() as interruptions:
        try:
            try:
                context = group.make_context(PROGRAM, words, color=_color())
                with context:
                    code = _exit_code(group.invoke(context))
                sys.stdout.flush()
                return code
            except click.exceptions.Exit as leaving:
                sys.stdout.flush()
                return leaving.exit_code
            except BaseException as error:
                if interruptions and not isinstance(error, KeyboardInterrupt):
                    error = KeyboardInterrupt(_interruption(interruptions))
                code, message = _judge(error)
                _report(error, message)
                already_emitted = context is not None and JSON_EMITTED in context.meta
                if "--json" in words and not already_emitted and code not in (BROKEN_PIPE_EXIT, ExitCode.INTERRUPTED):
                    _emit_error(error, message, code)
                sys.stdout.flush()
                return code
        except OSError as error:  # standard output itself: closed by its reader, or on a full disk
            _abandon_standard_output()
            return _judge(error)[0]


def _exit_code(result: object) -> int:
    return int(result) if isinstance(result, int) else int(ExitCode.COMPLETED)


def _judge(error: BaseException) -> tuple[int, str]:
    """The exit code of an error, and what to tell the user; an empty message means that nothing need be said."""
    if isinstance(error, CaligoError):
        return int(error.exit_code), error.message
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return int(ExitCode.INTERRUPTED), str(error) or "interrupted"
    if isinstance(error, click.ClickException):
        return int(ExitCode.USAGE), error.format_message()
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE_EXIT, ""
    if isinstance(error, MemoryError):
        return int(
            ExitCode.RESOURCE
        ), "out of memory; use fewer threads or smaller blocks (`caligo doctor` names the limit)"
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith(PROGRAM):
        return int(
            ExitCode.RESOURCE
        ), f"the Python package {error.name!r} is not installed; install caligo again with pip"
    if isinstance(error, OSError) and error.errno is not None:
        where = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, (str, bytes)) else ""
        exhausted = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
        code = ExitCode.RESOURCE if exhausted else ExitCode.BAD_INPUT
        return int(code), f"{os.strerror(error.errno)}{where}"
    return int(ExitCode.INTERNAL), f"internal error ({type(error).__name__}): {error}"


def _report(error: BaseException, message: str) -> None:
    if isinstance(error, click.ClickException):
        with suppress(OSError):
            error.show(file=sys.stderr)
        return
    if not message:
        return
    interrupted = isinstance(error, (KeyboardInterrupt, click.Abort))
    bug = _judge(error)[0] == ExitCode.INTERNAL and not isinstance(error, CaligoError)
    with suppress(OSError):
        if bug or (os.environ.get("CALIGO_TRACEBACK", "") not in ("", "0") and not interrupted):
            traceback.print_exception(error, file=sys.stderr)
        label = click.style("error: ", fg="red", bold=True) if not interrupted else ""
        click.echo(f"{PROGRAM}: {label}{message}", err=True, color=_color())
        for note in getattr(error, "__notes__", ()):
            click.echo(f"{PROGRAM}: {note}", err=True, color=_color())
        if bug:
            click.echo(f"{PROGRAM}: this is a bug in caligo; please report it with the traceback above", err=True)


def _emit_error(error: BaseException, message: str, code: int) -> None:
    fields = error.fields if isinstance(error, CaligoError) else {}
    emit_json(
        "caligo.error/1",
        {"error": type(error).__name__, "message": message, "fields": fields, "exit_code": code},
        foreign=repr,
    )


@contextmanager
def _interruptible() -> Iterator[list[signal.Signals]]:
    """Let SIGTERM, and a hang-up that is not ignored, end a command as Ctrl-C does: records kept, exit code 130.

    Yields:
        The signals that have come so far. What fails after one, fails because of it: code that is interrupted where it
        cannot be (loading a library, say) may turn the `KeyboardInterrupt` into an error of its own.
    """
    received: list[signal.Signals] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        raise KeyboardInterrupt(_interruption(received))

    previous = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        handler = signal.getsignal(number)
        if handler in (signal.SIG_DFL, signal.default_int_handler):
            with suppress(ValueError):  # only the main thread may set handlers
                previous[number] = signal.signal(number, interrupt)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interruption(received: Sequence[signal.Signals]) -> str:
    by = [number.name for number in received[:1] if number != signal.SIGINT]
    return "interrupted by " + by[0] if by else "interrupted"


def _color() -> bool | None:
    """False where NO_COLOR (no-color.org) asks for it, else None: colours on a terminal."""
    return False if os.environ.get("NO_COLOR") else None


def _let_any_encoding_print() -> None:
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _abandon_standard_output() -> None:
    """Point standard output at nothing, so that the interpreter's last flush does not fail again and aloud."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)

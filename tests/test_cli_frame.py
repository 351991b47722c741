"""The command-line frame: every outcome has one exit code and one message; help is quick; output is whole."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import click
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import caligo.cli as frame
from caligo.cli._options import Count
from caligo.cli._output import Table, emit_json, format_bytes, format_seconds, format_value, print_facts, to_json
from caligo.errors import CaligoError, ConfigError, ExitCode, KeyFileError, StoreError


def _subclasses(root: type[CaligoError]) -> list[type[CaligoError]]:
    return [root, *(leaf for branch in root.__subclasses__() for leaf in _subclasses(branch))]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Makes `caligo probe` run a given function."""

    def install(body: Callable[[], object]) -> None:
        @click.command()
        @click.option("--json", "as_json", is_flag=True)
        def command(as_json: bool) -> object:
            return body()

        monkeypatch.setattr(
            frame.LazyGroup, "get_command", lambda self, ctx, name: command if name == "probe" else None
        )
        monkeypatch.setitem(frame.COMMANDS, "probe", frame.Entry("command", "A probe."))

    return install


def _raise(error: BaseException) -> Callable[[], object]:
    def body() -> object:
        raise error

    return body


@pytest.mark.parametrize("kind", _subclasses(CaligoError))
def test_every_error_family_ends_in_its_exit_code_and_one_message(
    kind: type[CaligoError], probe: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    probe(_raise(kind("expected a, got b; do c", got="b")))
    assert frame.main(["probe"]) == kind.exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "caligo: error: expected a, got b; do c\n"


def test_a_traceback_of_an_expected_error_is_shown_only_on_request(
    probe: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    probe(_raise(ConfigError("wrong")))
    monkeypatch.setenv("CALIGO_TRACEBACK", "1")
    assert frame.main(["probe"]) == ExitCode.USAGE
    assert "Traceback" in capsys.readouterr().err


def test_an_unexpected_exception_is_called_a_bug(
    probe: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    probe(_raise(ZeroDivisionError("oops")))
    assert frame.main(["probe"]) == ExitCode.INTERNAL
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "this is a bug" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (MemoryError(), ExitCode.RESOURCE),
        (OSError(28, "No space left on device", "/somewhere"), ExitCode.RESOURCE),
        (PermissionError(13, "Permission denied", "/somewhere"), ExitCode.BAD_INPUT),
        (ModuleNotFoundError("No module named 'scipy'", name="scipy"), ExitCode.RESOURCE),
        (BrokenPipeError(32, "Broken pipe"), frame.BROKEN_PIPE_EXIT),
    ],
)
def test_foreseeable_failures_of_the_system_show_no_traceback(
    error: BaseException, code: int, probe: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    probe(_raise(error))
    assert frame.main(["probe"]) == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("code", [None, *ExitCode])
def test_the_code_a_command_returns_is_the_exit_code(code: ExitCode | None, probe: Callable[..., None]) -> None:
    probe(lambda: code)
    assert frame.main(["probe"]) == (code or 0)


def test_json_gives_exactly_one_object_whether_the_command_succeeds_fails_early_or_fails_late(
    probe: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def late() -> object:
        emit_json("caligo.probe/1", {"a": 1})
        raise StoreError("too late")

    probe(lambda: emit_json("caligo.probe/1", {"a": math.nan}))
    assert frame.main(["probe", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": "caligo.probe/1", "a": None}

    probe(_raise(KeyFileError("no such file", path="x", tried={1, 2})))
    assert frame.main(["probe", "--json"]) == ExitCode.BAD_INPUT
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "caligo.error/1"
    assert document["error"] == "KeyFileError"
    assert document["fields"]["path"] == "x"

    probe(late)
    assert frame.main(["probe", "--json"]) == ExitCode.STORE
    assert json.loads(capsys.readouterr().out)["schema"] == "caligo.probe/1"


def test_an_unknown_command_is_refused_with_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.main(["recncile"]) == ExitCode.USAGE
    assert "Did you mean 'reconcile'?" in capsys.readouterr().err


def test_sigterm_ends_a_command_like_ctrl_c(probe: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    probe(lambda: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert frame.main(["probe"]) == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "caligo: interrupted by SIGTERM\n"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_an_interrupt_breaks_is_an_interruption_and_no_bug(
    number: signal.Signals, probe: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> object:
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt as error:
            raise RuntimeError("the library could not be loaded") from error

    probe(body)
    # Whoever started the tests with nohup ignores hang-ups; SIGINT has Python's own handler.
    before = signal.getsignal(number)
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    try:
        assert frame.main(["probe"]) == ExitCode.INTERRUPTED
    finally:
        signal.signal(number, before)
    err = capsys.readouterr().err
    assert err.startswith("caligo: interrupted")
    assert "bug" not in err


def test_help_and_version_load_no_subcommand_and_nothing_heavy() -> None:
    code = (
        "import sys; from caligo.cli import main; main(['--help']); main(['--version']);"
        "heavy = {'rich', 'numpy', 'scipy', 'numba', 'mpi4py', 'caligo._native._core'} & set(sys.modules);"
        "loaded = [m for m in sys.modules if m.startswith('caligo.cli.') and not m.startswith('caligo.cli._')];"
        "sys.exit(str(heavy or loaded) if heavy or loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in frame.COMMANDS)
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("name", ["", *frame.COMMANDS])
def test_help_fits_eighty_columns_and_cuts_no_sentence(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.main([*name.split(), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line.endswith("...") and not line.startswith("Usage:")]


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("simulate --qber 0.02 --efficiency 1.3 -L 1", "--block-length"),
        ("simulate --qber 0.02 --efficiency 1.3 -N 1024", "--list-size"),
        ("keys simulate --bits 100 --qber 0.02 --out out", "--seed"),
        ("keys simulate --qber 0.02 --seed 1 --out out", "--bits"),
        ("keys simulate --bits 100 --seed 1 --out out", "--qber"),
        ("keys simulate --bits 100 --qber 0.02 --seed 1", "--out"),
    ],
)
def test_an_option_that_is_required_is_missed(words: str, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.main(words.split()) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert "Missing option" in err
    assert missing in err


@pytest.mark.parametrize("given", ["-L 1", "-N 1024", ""])
def test_a_benchmark_is_of_a_code_or_of_the_table(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.main(f"bench decoder --qber 0.02 --efficiency 1.3 {given}".split()) == ExitCode.USAGE
    assert "--block-length and --list-size, or --sweep" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "caligo", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == frame.BROKEN_PIPE_EXIT
    assert errors == ""


def test_a_full_disk_under_standard_output_is_a_resource_error() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "caligo", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == ExitCode.RESOURCE
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@given(st.integers(0, 2**64 - 1))
def test_a_count_reads_back_what_is_written_plainly_or_with_underscores(number: int) -> None:
    assert Count().convert(str(number), None, None) == number
    assert Count().convert(f"{number:_}", None, None) == number


@pytest.mark.parametrize(("text", "number"), [("2^20", 1 << 20), ("2**10", 1024), ("1e6", 10**6), ("2.5e3", 2500)])
def test_a_count_takes_powers(text: str, number: int) -> None:
    assert Count().convert(text, None, None) == number


@pytest.mark.parametrize("text", ["", "x", "1.5", "2.55e1", "nan", "1e-3", "2^999", "0x10", "--1"])
def test_a_count_refuses_what_is_not_whole(text: str) -> None:
    with pytest.raises(click.BadParameter, match="not a whole number"):
        Count().convert(text, None, None)


def test_a_json_result_is_plain() -> None:
    document = to_json(
        "caligo.x/1",
        {"schema": "other", "a": np.float32("inf"), "b": np.uint64(2**63), "c": [np.bool_(True)], "d": ExitCode.USAGE},
    )
    assert json.loads(json.dumps(document, allow_nan=False)) == {
        "schema": "caligo.x/1",
        "a": None,
        "b": 2**63,
        "c": [True],
        "d": 2,
    }
    with pytest.raises(TypeError, match="bytes"):
        to_json("caligo.x/1", {"key": b"\x01"})


def test_a_table_in_a_pipe_is_cut_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name", ">bits", title="Keys")
    table.add("/a/very/long/path" * 12, 1048576)
    table.print()
    print_facts({"run": "/a/very/long/path" * 12, "efficiency": 1.24, "none": None})
    out = capsys.readouterr().out
    assert out.count("/a/very/long/path" * 12) == 2
    assert "1,048,576" in out
    assert "\x1b" not in out


def test_numbers_are_written_for_people() -> None:
    assert [format_value(v) for v in (0.0, 1.24, 0.02, 123456.7, 1e-7, math.nan, True, None)] == [
        "0",
        "1.240",
        "0.02000",
        "123,457",
        "1e-07",
        "-",
        "yes",
        "-",
    ]
    assert format_bytes(45_000_000) == "42.9 MiB"
    assert format_seconds(0.0123) == "12.30 ms"
    assert format_seconds(2e-9) == "2 ns"


def test_a_progress_bar_is_drawn_on_a_terminal_and_only_there() -> None:
    script = (
        "import sys; from caligo.cli._output import progress\n"
        "with progress('counting', 4) as bar:\n"
        "    [bar.advance(1, fer=0.25) for _ in range(4)]\n"
    )
    piped = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=True)
    assert (piped.stdout, piped.stderr) == (b"", b"")
    primary, secondary = os.openpty()
    subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=secondary, timeout=60, check=True)
    os.close(secondary)
    drawn = os.read(primary, 1 << 16).decode()
    os.close(primary)
    assert "counting" in drawn
    assert "fer 0.2500" in drawn


@pytest.mark.parametrize(("environment", "colored"), [({"TERM": "xterm"}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_has_colours_unless_it_asks_for_none(environment: dict[str, str], colored: bool) -> None:
    primary, secondary = os.openpty()
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    for words in (["doctor"], ["keys", "info", "/no/such/file"]):
        subprocess.run(
            [sys.executable, "-m", "caligo", *words],
            stdout=secondary,
            stderr=secondary,
            env=inherited | environment,
            timeout=60,
            check=False,
        )
        assert (b"\x1b[3" in os.read(primary, 1 << 16)) is colored
    os.close(secondary)
    os.close(primary)

"""Two installations that take turns: whose turn it is, what is recorded, what is said of a side that cannot."""

from __future__ import annotations

import json
import os
import stat
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import caligo
from caligo.bench import Side, measure_in_turns
from caligo.channel import binary_entropy
from caligo.cli import main
from caligo.errors import ConfigError, ResourceError
from caligo.simulation import AwgnChannel, BscChannel, Channel
from caligo.store import State, list_runs, load_run

OPTIONS = {"block_length": 256, "list_size": 2, "info_length": 130, "check": "crc16", "batch": 4, "calls": 3}
HERE = Path(sys.executable)
GREETING = '#!/bin/sh\necho \'{"version": "1", "package": "p", "warm_up": 1}\'\n'

LOGGED = """
import contextlib, json, os, sys, time
import caligo.bench.in_turns as in_turns
turn = in_turns._turn
@contextlib.contextmanager
def logged():
    with turn():
        began = time.monotonic_ns()
        yield
        with open({log!r}, "a") as file:
            file.write(json.dumps([os.getpid(), began, time.monotonic_ns(), sorted(os.sched_getaffinity(0))]) + "\\n")
in_turns._turn = logged
sys.exit(in_turns.main(sys.argv[1:]))
"""


def interpreter(path: Path, body: str) -> Path:
    """A program that stands for an interpreter: it is called with `-P -m caligo.bench.in_turns OPTIONS`."""
    path.write_text(body)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def running(path: Path, script: str) -> Path:
    """An interpreter that runs a script instead of the module."""
    code = path.with_suffix(".py")
    code.write_text(script)
    return interpreter(path, f'#!/bin/sh\nexec "{sys.executable}" "{code}" "$4"\n')


@pytest.mark.parametrize("channel", [BscChannel(0.02), BscChannel((0.03, 0.01)), AwgnChannel(4.0)])
def test_sides_take_turns_on_one_core_and_measure_the_same(tmp_path: Path, channel: Channel) -> None:
    log = tmp_path / "log"
    logged = running(tmp_path / "logged", LOGGED.format(log=str(log)))
    sides = [Side(name, logged, name) for name in ("candidate", "baseline")]
    measured = measure_in_turns(*sides, channel, OPTIONS, pairs=2, store=tmp_path / "store")

    turns = sorted(json.loads(line) for line in log.read_text().splitlines())
    in_order = sorted(turns, key=lambda turn: turn[1])
    assert all(before[2] <= after[1] for before, after in pairwise(in_order)), "never two at once"
    assert len({turn[0] for turn in turns}) == 4
    assert {tuple(turn[3]) for turn in turns} == {(measured.core,)}
    assert len(turns) == 4 * (3 + OPTIONS["calls"])

    runs = {
        name: [load_run(path) for path in paths]
        for name, paths in (("candidate", measured.candidates), ("baseline", measured.baselines))
    }
    for name, found in runs.items():
        assert [run.state for run in found] == [State.SEALED] * 2
        assert {run.document["campaign"] for run in found} == {name}
        assert all(len(list(run.records())) == OPTIONS["calls"] for run in found)
    outcomes = [[[record["detected_failures"] for record in run.records()] for run in found] for found in runs.values()]
    assert outcomes[0] == outcomes[1]
    assert len({run.identity for found in runs.values() for run in found}) == 1


@pytest.mark.parametrize(
    ("body", "error", "told"),
    [
        ("no program", ConfigError, "expected a Python interpreter"),
        ("#!/bin/sh\necho No module named caligo >&2\nexit 1\n", ResourceError, "ended with 1: No module named caligo"),
        ("#!/bin/sh\necho hello\n", ResourceError, "got other text"),
        ("#!/bin/sh\necho '{}'\nexit 3\n", ResourceError, "got other text"),
        (GREETING + "exit 3\n", ResourceError, "ended with 3"),
        (GREETING + "head -c 1 >/dev/null\necho no\n", ResourceError, "got other text"),
        ("#!/bin/sh\necho '[]'\n", ResourceError, "got other text"),
        ("#!/bin/sh\nhead -c 70000 /dev/zero | tr '\\0' x\n", ResourceError, "got other text"),
        ('#!/bin/sh\necho \'{"error": "so"}\'\n', ResourceError, "baseline: so"),
        (GREETING + "head -c 1 >/dev/null\necho '{\"error\": 3}'\n", ResourceError, "baseline: 3"),
    ],
)
def test_a_side_that_cannot_take_turns_is_named(tmp_path: Path, body: str, error: type[Exception], told: str) -> None:
    bad = interpreter(tmp_path / "python", body)
    with pytest.raises(error, match=told) as refusal:
        measure_in_turns(
            Side("candidate", HERE, "c"),
            Side("baseline", bad, "b"),
            BscChannel(0.02),
            OPTIONS,
            pairs=1,
            store=tmp_path / "store",
        )
    assert str(refusal.value).startswith("baseline")


def test_what_an_installation_refuses_is_told_as_it_says_it(tmp_path: Path) -> None:
    sides = [Side(name, HERE, name) for name in ("candidate", "baseline")]
    with pytest.raises(ConfigError, match=r"^(candidate|baseline): .*list_size"):
        measure_in_turns(*sides, BscChannel(0.02), OPTIONS | {"list_size": 3}, pairs=1, store=tmp_path / "store")
    with pytest.raises(ConfigError, match="pairs"):
        measure_in_turns(*sides, BscChannel(0.02), OPTIONS, pairs=0, store=tmp_path / "store")


def test_a_side_that_is_left_waiting_ends(tmp_path: Path) -> None:
    """The other one is dead: nobody stays behind and decodes for nobody."""
    pid = tmp_path / "pid"
    remembered = "import os, sys\nimport caligo.bench.in_turns as in_turns\n"
    remembered += f"open({str(pid)!r}, 'w').write(str(os.getpid()))\nsys.exit(in_turns.main(sys.argv[1:]))\n"
    waiting = Side("candidate", running(tmp_path / "waiting", remembered), "c")
    bad = Side("baseline", interpreter(tmp_path / "python", GREETING + "head -c 1 >/dev/null\nexit 3\n"), "b")
    with pytest.raises(ResourceError, match="ended with 3"):
        measure_in_turns(waiting, bad, BscChannel(0.02), OPTIONS, pairs=1, store=tmp_path / "store")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert [info.state for info in list_runs(tmp_path / "store")] == ["interrupted"]


def test_a_side_is_its_own_installation_wherever_it_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout in the working directory, or on the path of this process, is not what an interpreter has installed."""
    decoy = tmp_path / "caligo"
    decoy.mkdir()
    (decoy / "__init__.py").write_text("raise SystemExit('not this one')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    sides = [Side(name, HERE, name) for name in ("candidate", "baseline")]
    measured = measure_in_turns(*sides, BscChannel(0.02), OPTIONS, pairs=1, store=Path("store"))
    assert set(measured.packages.values()) == {os.path.dirname(caligo.__file__)}
    assert (tmp_path / "store").is_dir()


def test_the_command_judges_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = ["-N", "256", "-L", "2", "--qber", "0.02", "--efficiency", f"{60 / (196 * binary_entropy(0.02)):.3f}"]
    words = ["bench", "turns", "--baseline", sys.executable, *code, "--check", "crc16", "--calls", "2", "--batch", "1"]
    rules = tmp_path / "rules.toml"
    rules.write_text("alpha = 0.4\n[[metric]]\nname = '*rss*'\ntest = 'ignore'\n")
    told = [*words, "--rules", str(rules), "--pairs", "2", "--store", str(tmp_path / "store"), "--json"]
    exit_code = main(told)
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "caligo.bench-turns/1"
    assert exit_code == document["exit_code"]
    assert document["sides"]["baseline"]["package"] == document["sides"]["candidate"]["package"]
    checks = {check["metric"]: check for check in document["checks"]}
    assert "in turns" in checks["decode_time_ns"]["test"]
    assert checks["fer"]["verdict"] == "passed"
    assert main([*words, "--pairs", "9", "--store", str(tmp_path / "store")]) == 2
    assert "at least 10" in capsys.readouterr().err

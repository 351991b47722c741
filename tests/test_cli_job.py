"""`caligo job` and `caligo plan`: a newcomer gets from two key files to a line that submits a job."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
import pytest

import caligo.cli
from caligo.cli import job as job_commands
from caligo.cli import reconcile as reconcile_command
from caligo.cli import simulate as simulate_command
from caligo.errors import ExitCode
from caligo.jobs.job_file import load_job, parse_job

SHORT = ["-N", "1024", "-L", "4", "--efficiency", "1.8", "--qber", "0.02"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with two key files of 20,000 bytes, a store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALIGO_STORE", str(tmp_path / "store"))
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(bytes(20_000))
    return tmp_path


def run(*words: str) -> int:
    return caligo.cli.main(list(words))


def init(*words: str) -> int:
    return run("job", "init", "--alice", "a.bin", "--bob", "b.bin", "--out", "out", *words)


def run_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run(*words, "--json") == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def options_of(command: click.Command) -> set[str]:
    return {parameter.name for parameter in command.params if parameter.name}


def test_a_job_takes_what_the_command_of_the_same_work_takes() -> None:
    beside = {"work", "memory_per_rank", "time_s", "file", "force"}
    own = {"threads", "as_json", "strict", "qber_from", "force"}
    assert options_of(job_commands.init) - beside == options_of(reconcile_command.command) - own
    assert options_of(job_commands.init_simulation) - beside == options_of(simulate_command.command) - own


def test_what_is_printed_is_a_job_file_and_nothing_else(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(*SHORT, "--seed", "7", "--memory-per-rank", "2GiB", "--time", "1h", "--strategy", "segmented") == 0
    job = parse_job(capsys.readouterr().out, "/elsewhere")
    assert job.keys is not None
    assert (job.keys.alice, job.keys.bob, job.out) == (here / "a.bin", here / "b.bin", here / "out")
    assert (job.work, job.store) == (here / "out.work", here / "store")
    options = job.options
    assert (options.block_length, options.list_size, options.efficiency, options.qber) == (1024, 4, 1.8, 0.02)
    assert (options.strategy, options.seed) == ("segmented", 7)
    assert (job.limits.memory_per_rank, job.limits.time_s) == (2 << 30, 3600.0)


def test_a_job_file_is_written_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(*SHORT, "--file", "night.toml", "--work", "scratch") == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "caligo plan night.toml" in captured.err
    written = Path("night.toml").read_text()
    job = load_job("night.toml")
    assert (job.path, job.work) == (here / "night.toml", here / "scratch")
    assert init("--file", "night.toml") == ExitCode.USAGE
    assert "--force" in capsys.readouterr().err
    assert Path("night.toml").read_text() == written
    assert init("--file", "night.toml", "--force") == 0
    assert load_job("night.toml").options.block_length is None


def test_a_job_file_that_could_not_run_is_not_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init("--qber", "0.7", "--file", "job.toml") == ExitCode.USAGE
    assert init("--work", "out/inside", "--file", "job.toml") == ExitCode.USAGE
    assert "work.dir: expected a directory apart from output.dir" in capsys.readouterr().err
    assert init("--time", "23:50") == ExitCode.USAGE
    assert "23h50m" in capsys.readouterr().err
    assert init("--memory-per-rank", "2") == ExitCode.USAGE
    assert "2 is 2 bytes" in capsys.readouterr().err
    simulation = ["job", "init-simulation", "--efficiency", "1.2", "-N", "1000", "-L", "3", "--file", "job.toml"]
    assert run(*simulation, "--qber", "0.02") == ExitCode.USAGE
    err = capsys.readouterr().err
    assert "simulate.block_length" in err
    assert "simulate.list_size" in err
    assert run(*simulation) == ExitCode.USAGE
    assert "--qber" in capsys.readouterr().err
    assert not Path("job.toml").exists()


def test_keys_that_are_not_there_yet_are_pointed_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("b.bin").unlink()
    assert init("--file", "job.toml") == 0
    assert "no key file b.bin yet" in capsys.readouterr().err
    for command in (["job", "check"], ["plan"]):
        assert run(*command, "job.toml") == ExitCode.BAD_INPUT
        assert "b.bin" in capsys.readouterr().err


def test_a_good_job_is_said_what_it_will_do(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(*SHORT, "--seed", "7", "--file", "job.toml") == 0
    document = run_json(capsys, "job", "check", "job.toml")
    assert document["schema"] == "caligo.job-check/1"
    assert (document["key_bits"], document["blocks"], document["block_length"]) == (160_000, 157, 1024)
    assert document["digest"] == load_job("job.toml").digest
    assert run("job", "check", "job.toml") == 0
    out = capsys.readouterr().out
    for told in ("reconcile two keys", "160,000 bits", "157 of up to 1,024", "not for keys in use", str(here / "out")):
        assert told in out, told


def test_everything_that_is_wrong_with_a_job_is_said_at_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("job.toml").write_text('schema = 1\n[keys]\nalice = 3\nbob = "b.bin"\n[reconcile]\nlst_size = 4\nqber = 0.7\n')
    assert run("job", "check", "job.toml", "--json") == ExitCode.USAGE
    captured = capsys.readouterr()
    fields = json.loads(captured.out)["fields"]
    assert [problem.partition(":")[0] for problem in fields["problems"]] == [
        "keys.alice", "reconcile.lst_size", "reconcile.qber",
    ]  # fmt: skip
    assert all(problem in captured.err for problem in fields["problems"])


def test_a_plan_ends_in_the_line_that_submits_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(*SHORT, "--file", "job.toml") == 0
    words = ["plan", "job.toml", "--ranks", "192", "--ranks-per-node", "48", "--memory-per-rank", "2GiB"]
    assert run(*words, "--speed", "50", "--threads-per-rank", "2") == 0
    out = capsys.readouterr().out
    assert (
        out.splitlines()[-1]
        .split(maxsplit=2)[2]
        .startswith("sbatch --nodes=4 --ntasks=192 --ntasks-per-node=48 --cpus-per-task=2 --mem-per-cpu=1G --time=")
    )
    for told in (
        "decoders",
        "left over",
        "by --memory-per-rank",
        "157 of up to 1,024 bits",
        "50.00 Mbit/s coded, as given",
    ):
        assert told in out, told
    assert "assumed" not in out
    document = run_json(capsys, *words, "--speed", "50")
    assert document["schema"] == "caligo.plan/1"
    assert sum(document["memory_bytes"].values()) == 2 << 30
    assert document["submit"].endswith(".sbatch job.toml")
    assert document["assumed_qber"] is None
    assert not {"out", "out.work", "store"} & set(os.listdir()), "a plan writes nothing"


def test_a_plan_says_which_error_rate_it_assumes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init("-N", "1024", "-L", "4", "--file", "job.toml") == 0
    assert run("plan", "job.toml", "--speed", "50") == 0
    assert "3.000% assumed (--qber)" in capsys.readouterr().out
    assert run_json(capsys, "plan", "job.toml", "--speed", "50", "--qber", "0.02")["assumed_qber"] == 0.02


def test_a_plan_that_does_not_fit_says_what_would(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(*SHORT, "--file", "job.toml") == 0
    assert run("plan", "job.toml", "--ranks", "192", "--memory-per-rank", "100MiB", "--speed", "1") == ExitCode.RESOURCE
    assert "ranks on a node in place of 192" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["plan"], "JOB"),
        (["plan", "none.toml"], "caligo job init"),
        (["plan", "a.bin"], "is it a key file?"),
        (["plan", "job.toml", "--ranks", "0"], "out of range"),
        (["plan", "job.toml", "--ranks", "2", "--ranks-per-node", "3"], "ranks_per_node: expected at most the 2 ranks"),
        (["plan", "job.toml", "--speed", "0"], "speed: expected a rate above 0"),
        (["plan", "job.toml", "--qber", "0.02"], "qber: expected none"),
        (["plan", "job.toml", "--memory-per-rank", "2Gb"], "2GiB"),
        (["job", "ini"], "Did you mean 'init'"),
        (["job", "init", "--alice", "a.bin", "--bob", "b.bin"], "--out"),
    ],
)
def test_wrong_words_are_answered_with_right_ones(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert init(*SHORT, "--file", "job.toml") == 0
    assert run(*words) == ExitCode.USAGE
    assert told in capsys.readouterr().err


def test_a_simulation_is_written_checked_and_planned(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--qber", "0.02", "--efficiency", "1.5", "-N", "1024", "-L", "8", "--frames", "1000", "--seed", "5"]
    assert run("job", "init-simulation", *words, "--escalation", "1,4", "--file", "sim.toml") == 0
    job = load_job("sim.toml")
    assert job.simulate is not None
    assert (job.kind, job.seed, job.simulate.frames, job.simulate.escalation) == ("simulate", 5, 1000, (1, 4))
    assert run("job", "check", "sim.toml") == 0
    out = capsys.readouterr().out
    assert "simulate up to 1,000 frames" in out
    assert "QBER 2.000%" in out
    assert run("plan", "sim.toml", "--speed", "10", "--ranks", "2") == 0
    assert "frames" in capsys.readouterr().out
    awgn = ["--channel", "awgn", "--ebn0", "2", "-K", "512", "-N", "1024", "-L", "8"]
    assert run("job", "init-simulation", *awgn, "--file", "awgn.toml") == 0
    assert run("job", "check", "awgn.toml") == 0
    assert "awgn, 2 dB" in capsys.readouterr().out

"""Laws of `caligo store list` and `show`, and of `--index`, the same wherever runs are selected."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import caligo.store
from caligo.cli import main
from caligo.cli._output import many
from caligo.cli.store import group
from caligo.store import RunWriter

SUMMARY = {"fer": 0.0125, "efficiency": 1.2412, "payload_mbps": 31.5, "leakage": {"syndrome": 9000, "check": 32}}


REPORT = {
    "blocks": 8,
    "blocks_failed": 2,
    "warnings": ["too short", "too late"],
    "codes": [{"block_length": 4096, "blocks": 7}, {"block_length": 1024, "blocks": 1}],
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with RunWriter.create(tmp_path, "reconcile", {"list_size": 32, "qber": 0.02, "out": "a\nb\x1b[31m"}) as run:
        run.record_many([{"block": block, "outcome": "ok" if block else "failed"} for block in range(5)])
        run.seal(SUMMARY)
    with RunWriter.create(tmp_path, "bench", {}) as run:
        run.record({"block": 0})
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["store", *words])
    told = capsys.readouterr()
    return code, told.out, told.err


def call_json(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = call(capsys, *words, "--json")
    return code, json.loads(out)


def test_list_shows_every_run_and_its_figures(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = call_json(capsys, "list", "--store", str(store))
    assert (code, told["schema"], told["total"]) == (0, "caligo.store-list/1", 2)
    assert [run["state"] for run in told["runs"]] == ["sealed", "interrupted"]
    assert [told["runs"][0][name] for name in ("fer", "efficiency", "payload_mbps", "coded_mbps")] == [
        0.0125,
        1.2412,
        31.5,
        None,
    ]
    code, out, _ = call(capsys, "list", "--store", str(store))
    assert code == 0
    for word in ("reconcile", "bench", "sealed", "interrupted", "0.0125", "1.241", "31.50", told["runs"][0]["id"]):
        assert word in out
    code, told = call_json(capsys, "list", "--store", str(store), "--kind", "bench", "--limit", "1")
    assert [run["kind"] for run in told["runs"]] == ["bench"]


def test_a_store_that_does_not_exist_is_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "list", "--store", str(tmp_path / "none"))
    assert (code, out) == (0, "")
    assert "no such directory" in err
    assert call_json(capsys, "list", "--store", str(tmp_path / "none"))[1]["runs"] == []


def test_show_tells_the_run_and_counts_its_outcomes(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = call_json(capsys, "list", "--store", str(store))[1]["runs"][0]
    code, told = call_json(capsys, "show", run["id"], "--store", str(store))
    assert (code, told["schema"], told["state"], told["verified"]) == (0, "caligo.store-show/1", "sealed", True)
    assert (told["outcomes"], told["summary"], told["findings"]) == ({"ok": 4, "failed": 1}, SUMMARY, [])
    assert told["configuration"]["list_size"] == 32
    code, out, _ = call(capsys, "show", run["path"], "--store", str(store))
    assert code == 0
    for word in ("sealed", "list_size", "leakage.syndrome", "9,000", "failed", r"a\nb\x1b[31m"):
        assert word in out
    assert "\x1b[31m" not in out
    code, told = call_json(capsys, "show", "last", "--quick", "--store", str(store))
    assert (code, told["state"], told["outcomes"]) == (0, "interrupted", None)


def test_a_summary_without_an_error_rate_is_listed_with_the_share_of_failed_blocks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunWriter.create(tmp_path, "reconcile", {}) as run:
        run.seal(REPORT)
    assert call_json(capsys, "list", "--store", str(tmp_path))[1]["runs"][0]["fer"] == 0.25
    _, out, _ = call(capsys, "show", "last", "--store", str(tmp_path))
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for line in ("warnings too short; too late", "codes.0.block_length 4,096", "codes.1.blocks 1"):
        assert line in lines
    assert "{" not in out


def test_damage_is_shown_and_has_its_exit_code(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = call_json(capsys, "list", "--store", str(store))[1]["runs"][0]
    records = Path(run["path"], "records-main.jsonl")
    records.chmod(0o644)
    records.write_bytes(records.read_bytes().replace(b'"block":2', b'"block":3'))
    code, told = call_json(capsys, "show", run["id"], "--store", str(store))
    assert (code, told["state"]) == (8, "damaged")
    assert {finding["code"] for finding in told["findings"]} == {"CAL-STORE-013", "CAL-STORE-015", "CAL-STORE-021"}
    assert told["outcomes"] == {"ok": 3, "failed": 1}
    code, out, _ = call(capsys, "show", run["id"], "--store", str(store))
    assert code == 8
    assert "CAL-STORE-021" in out
    Path(run["path"], "run.json").unlink()
    code, out, err = call(capsys, "list", "--store", str(store))
    assert code == 0
    assert "damaged" in out
    assert "there is no run.json" in err


def test_an_unknown_run_is_refused_in_one_line(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "show", "nosuchrun", "--store", str(store))
    assert (code, out) == (8, "")
    assert len(err.strip().splitlines()) == 1


def test_every_public_name_of_the_store_can_be_imported() -> None:
    """They are loaded on first use, from modules that are named by strings."""
    for name in caligo.store.__all__:
        assert getattr(caligo.store, name) is not None


# --- --index ------------------------------------------------------------------------------------------------------

ASKING = {
    "list": [],
    "show": ["last"],
    "query": ["count()"],
    "reindex": [],
    "diff": ["kind = reconcile", "last"],
    "neighbours": ["last"],
    "history": ["fer"],
    "lineage": [],
    "validate": ["--where", "kind = reconcile"],
    "export": ["--where", "kind = reconcile", "--format", "csv", "--out", "exported"],
    "baseline set": ["usual", "--where", "kind = reconcile"],
    "gate": ["--baseline", "usual", "--where", "kind = bench", "--allow-missing"],
    "report": ["--where", "kind = reconcile", "--format", "md"],
}
"""Words of each command that asks the index."""


def commands(within: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(within)
    for name in within.list_commands(context):
        command = within.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        elif command is not None:
            yield before + name, command


def test_whatever_selects_runs_takes_an_index() -> None:
    options = {name: {parameter.name for parameter in command.params} for name, command in commands(group)}
    assert {name for name, named in options.items() if "index" in named} == set(ASKING)
    assert {name for name, named in options.items() if "where" in named} <= set(ASKING)


@pytest.mark.parametrize("command", ASKING)
def test_the_index_that_is_named_is_used_and_no_other(
    command: str, store: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        main(["store", "baseline", "set", "usual", "--runs", min(store.glob("runs/*")).name, "--store", str(store)])
        == 0
    )
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("CALIGO_INDEX", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(elsewhere / "cache"))
    words = ["store", *command.split(), *ASKING[command], "--store", str(store), "--index"]
    assert main([*words, "named.sqlite"]) == 0
    assert Path("named.sqlite").is_file()
    assert not Path("cache").exists()
    Path("other").write_text("no index")
    assert main([*words, "other"]) == 2
    assert Path("other").read_text() == "no index"


# --- for people ---------------------------------------------------------------------------------------------------


@pytest.fixture
def simulated(tmp_path: Path) -> Path:
    """Three runs that differ in several keys; a baseline of which one was rejected; a validation with findings."""
    store = tmp_path / "simulated"
    for seed in (1, 2, 3):
        asked = {"block_length": 4096, "list_size": 8 * seed, "seed": seed, "code_digest": f"{seed:064x}"}
        asked |= {"a_key_of_many_words_": "a long value of many words", "an.other": seed, "max_frame_errors": None}
        with RunWriter.create(store, "simulate", asked, seeds={"simulation": seed}) as run:
            run.record_many(
                [{"frame": 0, "elapsed_ns": 98_000 + 10 * i, "frames": 1, "frame_errors": 0} for i in range(9)]
            )
            figures = {
                "frames": 100_000,
                "frame_errors": seed,
                "undetected_errors": 0,
                "efficiency": 1.2,
                "decode_s": 1.0,
            }
            run.seal({**figures, "coded_mbps": 123.456, "payload_mbps": 123.456, "peak_rss_bytes": 231_288_832})
    first, second, _ = sorted(path.name for path in store.glob("runs/*"))
    assert main(["store", "baseline", "set", "usual", "--runs", first, "--runs", second, "--store", str(store)]) == 0
    why = "a reason that takes more than a line of eighty columns, since much was wrong with this run"
    assert main(["store", "reject", second, "--reason", why, "--store", str(store)]) == 0
    assert main(["store", "validate", "--record", "--store", str(store)]) == 8
    return store


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["show", "last"],
        ["diff", "kind = simulate and seed = 1", "last"],
        ["neighbours", "last", "--keys", "9"],
        ["history", "fer"],
        ["lineage"],
        ["validate"],
        ["validate", "--history"],
        ["baseline", "list"],
        ["baseline", "show", "usual"],
        ["gate", "--baseline", "usual", "--where", "kind = simulate", "--allow-missing"],
        ["alerts", "check", "--rules", "rules"],
        ["alerts", "try", "--rules", "rules"],
        ["ledger", "log"],
        ["ledger", "verify"],
        ["reindex"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_terminal_of_eighty_columns_is_wide_enough(
    words: list[str], simulated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(simulated.parent)
    monkeypatch.setenv("COLUMNS", "80")
    change = "median(decode_time_ns) rises by 10% against last 20 where identity = same and machine.fingerprint = same"
    Path("rules").write_text(f"fer >= 0 for kind = simulate and configuration.block_length > 1024\n{change}\n")
    capsys.readouterr()
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    assert main(["store", *words, "--store", str(simulated)]) in (0, 8, 10)
    told = capsys.readouterr()
    lines = [click.unstyle(line) for line in (told.out + told.err).splitlines()]
    assert lines
    # A path is never broken, so that it can be copied.
    assert [line for line in lines if len(line) > 80 and " /" not in line] == []


def test_one_of_a_thing_is_not_said_to_be_several(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--where", "kind = reconcile", "--store", str(store))
    assert "exported  1 run\n" in call(capsys, "export", "--format", "csv", "--out", str(store / "out"), *where)[1]
    assert "baseline usual: 1 run\n" in call(capsys, "baseline", "set", "usual", *where)[2]
    assert [many(count, "run") for count in (0, 1, 1000)] == ["0 runs", "1 run", "1,000 runs"]
    assert [many(count, "entry", "entries") for count in (1, 2)] == ["1 entry", "2 entries"]

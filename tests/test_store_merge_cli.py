"""What `caligo store merge`, `migrate`, `--campaign` and `--compact` do at the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caligo.cli import main
from caligo.errors import ExitCode
from caligo.jobs.job_file import job_text, parse_job
from caligo.store import RunWriter, State, list_runs, load_run
from caligo.store.files import document_bytes, parse_document
from caligo.store.layout import SEAL_FORM

SIMULATE = ["simulate", "--qber", "0.02", "--efficiency", "1.5", "-N", "256", "-L", "2", "--frames", "20"]


def sealed(store: Path, fer: float = 0.0) -> Path:
    with RunWriter.create(store, "simulate", {}) as run:
        run.record({"block": 0})
        run.seal({"fer": fer})
    return run.path


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    code = main(["store", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_merging_tells_what_came_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = sealed(tmp_path / "one"), sealed(tmp_path / "two")
    stores = (tmp_path / "one", tmp_path / "two", "--into", tmp_path / "into")
    code, told = call(capsys, "merge", *stores, "--dry-run")
    assert (code, told["dry_run"], told["added"]) == (0, True, sorted([one.name, two.name]))
    assert not (tmp_path / "into").exists()
    code, told = call(capsys, "merge", *stores)
    assert (code, told["schema"], told["added"]) == (0, "caligo.store-merge/1", sorted([one.name, two.name]))
    assert {run.state for run in list_runs(tmp_path / "into")} == {State.SEALED}
    assert main(["store", "merge", *map(str, stores)]) == 0
    assert "runs already there  2" in capsys.readouterr().out


def test_a_conflict_is_named_with_its_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sealed(tmp_path / "one")
    twin = tmp_path / "two" / "runs" / path.name
    twin.mkdir(parents=True)
    for file in path.iterdir():
        (twin / file.name).write_bytes(file.read_bytes())
    seal = parse_document((twin / "seal.json").read_bytes(), SEAL_FORM)
    (twin / "seal.json").write_bytes(document_bytes({**seal, "summary": {"fer": 0.5}}))
    stores = [str(tmp_path / "one"), str(tmp_path / "two"), "--into", str(tmp_path / "into")]
    assert main(["store", "merge", *stores]) == ExitCode.STORE
    out = capsys.readouterr().out
    assert "CAL-STORE-080" in out
    assert "merge again" in out


def test_merging_refuses_what_is_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "merge", str(tmp_path), "--into", str(tmp_path / "into")]) == ExitCode.STORE
    assert "holds `runs`" in capsys.readouterr().err
    assert main(["store", "merge", "--into", str(tmp_path / "into")]) == ExitCode.USAGE


def test_an_old_store_is_migrated(tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = repository / "tests" / "data" / "store_schema_1"
    code, told = call(capsys, "migrate", old, "--into", tmp_path)
    assert (code, told["schema"], len(told["migrated"])) == (0, "caligo.store-migrate/1", 3)
    assert main(["store", "migrate", str(old), "--into", str(tmp_path)]) == 0
    assert "runs already there  3" in capsys.readouterr().out


def test_campaign_and_compaction_are_options_of_what_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, told = [*SIMULATE, "--store", str(tmp_path)], ["--campaign", "spring", "--compact"]
    assert main(plain) == 0
    assert main([*plain, *told]) == 0
    capsys.readouterr()
    first, second = (load_run(info.path) for info in list_runs(tmp_path))
    assert (first.campaign, second.campaign) == (None, "spring")
    assert first.identity == second.identity
    assert [path.suffix for path in second.record_files()] == [".parquet"]

    def counts(run: Any) -> list[dict[str, Any]]:
        return [{name: value for name, value in record.items() if name != "elapsed_ns"} for record in run.records()]

    assert counts(first) == counts(second)
    assert main([*plain, "--campaign", "a\nb"]) == ExitCode.USAGE


def test_a_job_file_tells_campaign_and_compaction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--qber", "0.02", "--efficiency", "1.5", "-N", "256", "-L", "2", "--frames", "20"]
    assert main(["job", "init-simulation", *words, "--campaign", "spring", "--compact"]) == 0
    job = parse_job(capsys.readouterr().out, tmp_path)
    assert (job.campaign, job.compact) == ("spring", True)
    assert parse_job(job_text(job), tmp_path).campaign == "spring"
    assert main(["job", "init-simulation", *words]) == 0
    other = parse_job(capsys.readouterr().out, tmp_path)
    assert (other.campaign, other.compact) == (None, False)
    assert other.digest == job.digest


def test_a_job_is_recorded_with_its_campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--qber", "0.02", "--efficiency", "1.5", "-N", "256", "-L", "2", "--frames", "20"]
    words += ["--store", "store", "--campaign", "spring", "--compact", "--file", "job.toml"]
    assert main(["job", "init-simulation", *words]) == 0
    assert main(["run", "job.toml"]) == 0
    (info,) = list_runs(tmp_path / "store")
    run = load_run(info.path)
    assert (run.state, run.campaign) == (State.SEALED, "spring")
    assert {path.suffix for path in run.record_files()} == {".parquet"}

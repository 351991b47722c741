"""`caligo store validate`, `repair`, `release`, `reject`: output, exit codes, what they change and what not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from killed_repairs import tree
from test_store_validation import killed_run, loosen, make_run, tighten

from caligo.cli import main
from caligo.store.governing import governance


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["store", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, object]]:
    code, out, _ = run(capsys, *words, "--json")
    document: dict[str, object] = json.loads(out)
    return code, document


def spoil(path: Path) -> None:
    loosen(path)
    (path / "records-main.jsonl").write_bytes(b"junk\n")
    tighten(path)


def test_a_sound_store_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path)
    before = tree(tmp_path)
    code, out, _ = run(capsys, "validate", "--store", str(tmp_path))
    assert code == 0
    assert "findings  0" in out
    assert tree(tmp_path) == before, "validating changes nothing"


def test_damage_ends_with_8_until_it_is_settled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ("--store", str(tmp_path))
    bad, good = make_run(tmp_path), make_run(tmp_path)
    spoil(bad)
    code, out, _ = run(capsys, "validate", *store)
    assert code == 8
    assert f"CAL-STORE-013  {bad.name}: records-main.jsonl" in out
    assert "-> copy the file back from another copy of the store" in out
    assert run(capsys, "validate", good.name, *store)[0] == 0
    assert run(capsys, "validate", bad.name[-8:], *store)[0] == 8
    assert run(capsys, "validate", "--where", "n = 3", *store)[0] == 8
    code, document = told(capsys, "validate", "--quarantine", "--record", *store)
    assert code == 8, "what was found just now is said"
    assert [item["run"] for item in document["quarantined"]] == [bad.name]  # type: ignore[attr-defined]
    assert (tmp_path / "quarantine" / f"{bad.name}.md").is_file()
    code, document = told(capsys, "validate", *store)
    assert (code, document["open"]) == (0, 0)
    assert run(capsys, "release", bad.name, "--reason", "looked at it", *store)[0] == 0
    assert run(capsys, "validate", *store)[0] == 0
    code, document = told(capsys, "reject", bad.name, "--reason", "the disk lied", *store)
    assert (code, document["standing"], document["reason"]) == (0, "rejected", "the disk lied")
    assert run(capsys, "reject", bad.name, "--reason", "again", *store)[0] == 8


def test_a_store_that_is_not_there_is_not_one_without_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["validate"], ["validate", "--record"], ["repair"]):
        code, _, err = run(capsys, *words, "--store", str(tmp_path / "mistyped"))
        assert code == 8
        assert "there is no such directory; check --store" in err
    assert tree(tmp_path) == {}, "nothing is made"


def test_a_hook_of_a_validation_runs_only_if_there_is_something_to_find(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, marker = tmp_path / "store", tmp_path / "told.json"
    words = ("--store", str(store), "--hook", f"sh -c 'cat > {marker}; exit 3'")
    bad = make_run(store)
    assert run(capsys, "validate", *words)[0] == 0
    assert not marker.exists()
    spoil(bad)
    code, document = told(capsys, "validate", *words)
    assert (code, document["exit_code"]) == (8, 8)
    assert [outcome["exit_code"] for outcome in document["hooks"]] == [3]  # type: ignore[attr-defined]
    seen = json.loads(marker.read_text())
    assert (seen["event"], seen["by_code"]) == ("validate", document["by_code"])
    assert run(capsys, "validate", "--store", str(store), "--hook", "'")[0] == 2
    assert run(capsys, "validate", "--history", *words)[0] == 2


def test_a_run_that_was_released_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ("--store", str(tmp_path))
    bad, good = make_run(tmp_path), make_run(tmp_path)
    spoil(bad)
    run(capsys, "validate", "--quarantine", *store)
    assert ": released, entry" in run(capsys, "release", bad.name, "--reason", "looked", *store)[1]
    run(capsys, "validate", "--record", *store)
    assert governance.standing(tmp_path)[bad.name].text == "released", "damage that is vouched for is not verified"
    assert governance.standing(tmp_path)[good.name].text == "verified"
    run(capsys, "validate", "--quarantine", *store)
    assert "it is verified, and only" in run(capsys, "release", good.name, "--reason", "looked", *store)[2]


def test_drift_is_shown_over_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ("--store", str(tmp_path))
    bad = make_run(tmp_path)
    run(capsys, "validate", "--record", *store)
    spoil(bad)
    run(capsys, "validate", "--record", *store)
    code, document = told(capsys, "validate", "--history", *store)
    assert code == 0
    validations = document["validations"]
    assert isinstance(validations, list)
    assert [each["findings"] for each in validations] == [0, 3]
    code, out, _ = run(capsys, "validate", "--history", *store)
    assert "CAL-STORE-013 x 1" in out
    assert "demo" in out


def test_options_that_do_not_fit_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_run(tmp_path / "one")
    store = ("--store", str(tmp_path / "one"))
    assert run(capsys, "validate", "--history", "--record", *store)[0] == 2
    assert run(capsys, "validate", path.name, "--where", "n = 3", *store)[0] == 2
    make_run(tmp_path / "two")
    code, _, err = run(capsys, "validate", str(path), "--store", str(tmp_path / "two"))
    assert (code, "name its store with --store" in err) == (2, True)
    assert run(capsys, "validate", "nothing", *store)[0] == 8


def test_a_dry_run_says_what_a_repair_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ("--store", str(tmp_path))
    path = make_run(tmp_path)
    os.chmod(path / "seal.json", 0o644)
    before = tree(tmp_path)
    code, out, err = run(capsys, "repair", "--dry-run", *store)
    assert (code, tree(tmp_path)) == (0, before)
    assert out == f"protect  {path.name}: take the permission to write away: seal.json\n"
    assert "nothing was changed" in err
    assert run(capsys, "repair", *store)[:2] == (0, out)
    assert run(capsys, "repair", *store) == (0, "", "nothing to repair\n")


def test_what_a_repair_leaves_ends_with_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(make_run(tmp_path))
    code, document = told(capsys, "repair", "--store", str(tmp_path))
    assert code == 8
    assert document["actions"] == []
    assert len(document["left"]) == 3  # type: ignore[arg-type]


def test_names_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path)
    (tmp_path / "runs" / "a\x1b[31m\nb").mkdir()
    code, out, _ = run(capsys, "validate", "--store", str(tmp_path))
    assert code == 8
    assert "\x1b" not in out
    assert r"a\x1b[31m\nb" in out


def test_a_killed_run_of_a_moment_ago_may_still_be_somebodys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed_run(tmp_path)
    assert run(capsys, "validate", "--store", str(tmp_path))[0] == 0

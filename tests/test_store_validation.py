"""Validation of a store: what it finds, that it finds nothing where nothing is, and that it is always the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from true_runs import PlainRun, forge, record_reconciliation

from caligo.errors import StoreError
from caligo.store import Code, RunWriter, layout
from caligo.store.audit.ledger import Ledger
from caligo.store.governing import governance
from caligo.store.governing.quarantine_report import write_report
from caligo.store.governing.validation import Validation, damaged_runs, record_validation, validate_store
from caligo.store.governing.validation_history import figures_by_day, past_validations


def later(**how: float) -> datetime:
    return datetime.now(UTC) + timedelta(**(how or {"hours": 1}))


def make_run(store: Path, records: int = 3, *, seal: bool = True, kind: str = "demo", **more: object) -> Path:
    run = RunWriter.create(store, kind, {"n": records}, **more)  # type: ignore[arg-type]
    for block in range(records):
        run.record({"block": block, "outcome": "ok"})
    if seal:
        run.seal({"blocks": records})
    else:
        run.flush()
    return run.path


def loosen(path: Path) -> None:
    """Let a sealed run be changed."""
    os.chmod(path, 0o755)
    for name in os.listdir(path):
        os.chmod(path / name, 0o644)


def tighten(path: Path) -> None:
    for name in os.listdir(path):
        os.chmod(path / name, 0o444)


def found(store: Path, now: datetime | None = None) -> list[tuple[str | None, str]]:
    return [(item.run, item.finding.code.name) for item in validate_store(store, now=now or later()).findings]


def test_a_store_that_caligo_wrote_has_no_findings(tmp_path: Path) -> None:
    assert found(tmp_path) == []
    make_run(tmp_path)
    make_run(tmp_path, seal=False)
    with RunWriter.create(tmp_path, "demo", {}) as interrupted:
        interrupted.record({"block": 0})
    assert found(tmp_path) == []


def test_a_forged_summary_is_found_in_the_ledger_and_by_what_it_says(tmp_path: Path) -> None:
    path = record_reconciliation(tmp_path, block_length=4096, list_size=8, qber=0.02)
    assert found(tmp_path) == []

    def flatter(run: PlainRun) -> None:
        run.summary["efficiency"] *= 0.9

    forge(path, flatter)
    assert found(tmp_path) == [(path.name, "FIGURE_MISMATCH"), (path.name, "SEAL_NOT_ADMITTED")]


def _change_a_byte(path: Path) -> None:
    loosen(path)
    data = bytearray((path / "records-main.jsonl").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "records-main.jsonl").write_bytes(data)
    tighten(path)


def test_damage_of_every_sort_is_found_once_and_named(tmp_path: Path) -> None:
    base = tmp_path / "store"
    runs = [make_run(base) for _ in range(6)]
    _change_a_byte(runs[0])
    (base / "runs" / "notes.txt").write_text("mine")
    (base / "notes.txt").write_text("mine")
    (base / "runs" / "empty").mkdir()
    os.chmod(runs[1] / "run.json", 0o644)
    os.rename(runs[2], runs[2].with_name("renamed"))
    loosen(runs[3])
    for name in os.listdir(runs[3]):
        os.unlink(runs[3] / name)
    runs[3].rmdir()
    (base / "conflicts" / runs[4].name / "0123456789abcdef").mkdir(parents=True)
    (base / "runs" / ".creating-x").mkdir()
    (base / "runs" / ".merging-x").mkdir()
    os.chmod(runs[5], 0o755)
    (runs[5] / ".seal.json.partial").write_bytes(b"")
    codes = found(base, later(days=2))
    assert codes == [
        (runs[3].name, "RUN_GONE"),
        (runs[4].name, "VERSIONS_CONFLICT"),
        (None, "FOREIGN_FILE"),
        (None, "FOREIGN_FILE"),
        (None, "MERGE_UNFINISHED"),
        (None, "STALE_TEMPORARY"),
        (runs[0].name, "RECORD_DAMAGED"),
        (runs[0].name, "FILE_CHANGED"),
        (runs[0].name, "RECORD_COUNT_MISMATCH"),
        (runs[1].name, "NOT_PROTECTED"),
        (runs[5].name, "STALE_TEMPORARY"),
        ("empty", "FOREIGN_FILE"),
        ("renamed", "DIRECTORY_RENAMED"),
    ]


def test_a_temporary_of_today_is_somebodys(tmp_path: Path) -> None:
    make_run(tmp_path)
    (tmp_path / "runs" / ".creating-x").mkdir()
    assert found(tmp_path, later(hours=23)) == []


def test_a_seal_that_no_ledger_has_is_found(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    for place in sorted((tmp_path / "ledger").rglob("*.json")):
        place.unlink()
    assert found(tmp_path) == [(path.name, "NOT_ADMITTED")]
    now = datetime.now(UTC)
    assert found(tmp_path, now) == [], "its writer may be about to enter it"


def test_a_damaged_ledger_is_a_finding_and_hides_no_other(tmp_path: Path) -> None:
    path, other = make_run(tmp_path), make_run(tmp_path)
    entry = Ledger.open(tmp_path).entry_path(0)
    os.chmod(entry, 0o644)
    entry.write_bytes(b"{}")
    _change_a_byte(other)
    codes = {code for _, code in found(tmp_path)}
    assert {"LEDGER_ENTRY_DAMAGED", "NOT_ADMITTED", "FILE_CHANGED"} <= codes
    assert (path.name, "NOT_ADMITTED") in found(tmp_path)


def test_a_store_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="expected a directory of runs"):
        validate_store(tmp_path / "file")
    with pytest.raises(StoreError, match="there is no such directory"):
        validate_store(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert validate_store(tmp_path / "empty").findings == ()


# --- killed writers -----------------------------------------------------------------------------------------------

_KILLED = """
import os, sys
from caligo.store import RunWriter
run = RunWriter.create(sys.argv[1], "demo", {"n": 1}, resumes=sys.argv[2] or None)
for block in range(5):
    run.record({"block": block, "outcome": "ok", "elapsed_ns": 7})
run.flush()
with open(run.path / "records-main.jsonl", "ab") as file:
    file.write(b'{"i":5,"n":11,"h":"0123')
print(run.name, flush=True)
os._exit(9)
"""


def killed_run(store: Path, resumes: str = "") -> Path:
    """A run whose process died in the middle of a line."""
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(store), resumes], capture_output=True, text=True, check=False
    )
    assert done.returncode == 9, done.stderr
    return store / "runs" / done.stdout.strip()


def test_a_killed_run_is_found_when_it_has_been_quiet(tmp_path: Path) -> None:
    path = killed_run(tmp_path)
    assert found(tmp_path, datetime.now(UTC)) == []
    assert found(tmp_path) == [(path.name, "TORN_TAIL"), (path.name, "WRITER_GONE")]


def test_a_killed_run_that_a_later_one_goes_on_with_needs_nothing(tmp_path: Path) -> None:
    path = killed_run(tmp_path)
    make_run(tmp_path, resumes=path.name)
    assert (path.name, "WRITER_GONE") not in found(tmp_path)


def test_a_run_that_is_being_written_has_no_findings(tmp_path: Path) -> None:
    run = RunWriter.create(tmp_path, "demo", {})
    run.record({"block": 0})
    run.flush()
    with open(run.path / "records-main.jsonl", "ab") as half_a_line:
        half_a_line.write(b'{"i":1,')
    assert found(tmp_path, later(days=3)) == []
    with pytest.raises(StoreError, match="something else writes to it"):
        run.interrupt("enough")


# --- always the same ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def motley(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("motley")
    paths = [make_run(store, records) for records in range(20)]
    for path in paths[::5]:
        _change_a_byte(path) if path != paths[0] else None
    os.chmod(paths[7] / "run.json", 0o644)
    return store


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_finds_the_same(motley: Path, workers: int) -> None:
    now = later()
    alone, together = validate_store(motley, now=now), validate_store(motley, workers=workers, now=now)
    assert together.findings == alone.findings
    assert together.digest == alone.digest
    assert len(alone.findings) > 8


def test_the_order_of_directory_listings_does_not_matter(motley: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = later()
    expected = validate_store(motley, now=now)
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda *place: sorted(listdir(*place), reverse=True))
    assert validate_store(motley, now=now).findings == expected.findings


def test_a_copy_elsewhere_has_the_same_digest(motley: Path, tmp_path: Path) -> None:
    now = later()
    copy = tmp_path / "a copy\nwith a line end"
    subprocess.run(["cp", "-a", str(motley), str(copy)], check=True)
    assert validate_store(copy, now=now).digest == validate_store(motley, now=now).digest


def test_some_runs_are_validated_alone(motley: Path) -> None:
    names = sorted(os.listdir(motley / "runs"))
    some = validate_store(motley, [names[5], motley / "runs" / names[6]], now=later())
    assert (some.runs, some.scope) == (2, (names[5], names[6]))
    assert {item.run for item in some.findings} == {names[5]}


def test_validators_and_writers_at_once_disturb_nobody(tmp_path: Path) -> None:
    stop = threading.Event()
    seen: list[tuple[str | None, str]] = []
    errors: list[BaseException] = []

    def write() -> None:
        count = 0
        while not stop.is_set() and count < 25:
            make_run(tmp_path, 20)
            count += 1
        stop.set()

    def validate() -> None:
        try:
            while not stop.is_set():
                seen.extend(found(tmp_path, datetime.now(UTC)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for work in (write, validate, validate)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert seen == []
    assert found(tmp_path) == []


# --- what follows -------------------------------------------------------------------------------------------------


def test_what_was_found_enters_the_ledger_and_verifies_the_others(tmp_path: Path) -> None:
    good, bad = make_run(tmp_path), make_run(tmp_path)
    _change_a_byte(bad)
    validation = validate_store(tmp_path, now=later())
    entry = record_validation(validation)
    assert (
        entry.content["by_code"]
        == validation.by_code
        == {
            "CAL-STORE-013": 1,
            "CAL-STORE-015": 1,
            "CAL-STORE-021": 1,
        }
    )
    late = make_run(tmp_path)
    standings = governance.standing(tmp_path)
    assert standings[good.name].judgement is governance.Judgement.VERIFIED
    assert standings[bad.name].judgement is governance.Judgement.NONE
    assert standings[late.name].judgement is governance.Judgement.NONE
    again = record_validation(validate_store(tmp_path, [good.name, bad.name], now=later()))
    assert again.content["digest"] == entry.content["digest"], "the same findings, the same digest"
    told = past_validations(tmp_path)
    assert [(past.runs, past.findings, past.partial) for past in told] == [(2, 3, False), (2, 3, True)]
    (day,) = figures_by_day(tmp_path)
    assert (day.kind, day.runs, day.medians) == ("demo", 3, {})


def test_a_quarantined_run_is_settled_until_something_else_is_found(tmp_path: Path) -> None:
    bad = make_run(tmp_path)
    _change_a_byte(bad)
    before = validate_store(tmp_path, now=later())
    ((run, findings),) = damaged_runs(before).items()
    report = write_report(tmp_path, run, findings)
    governance.quarantine(tmp_path, run, findings, report=report)
    after = validate_store(tmp_path, now=later())
    assert after.open_findings == ()
    assert after.digest == before.digest
    os.chmod(bad, 0o755)
    (bad / "more").write_text("")
    os.chmod(bad / "more", 0o444)
    worse = validate_store(tmp_path, now=later())
    assert [item.finding.code for item in worse.open_findings] == [Code.FILE_NOT_SEALED]
    os.chmod(bad, 0o755)
    (bad / "more").unlink()
    governance.release(tmp_path, run, "somebody looked")
    assert validate_store(tmp_path, now=later()).open_findings == ()


def test_a_report_can_be_written_again(tmp_path: Path) -> None:
    bad = make_run(tmp_path)
    _change_a_byte(bad)
    findings = validate_store(tmp_path, now=later()).of_run(bad.name)
    where = tmp_path / write_report(tmp_path, bad.name, findings)
    first = where.read_bytes(), where.with_suffix(".json").read_bytes()
    for place in (where, where.with_suffix(".json")):
        place.unlink()
    write_report(tmp_path, bad.name, findings)
    assert (where.read_bytes(), where.with_suffix(".json").read_bytes()) == first
    told = json.loads(first[1])
    assert told["codes"] == ["CAL-STORE-013", "CAL-STORE-015", "CAL-STORE-021"]
    assert told["kind"] == "demo"
    assert "CAL-STORE-013" in first[0].decode()


def test_a_report_lets_no_name_break_out_of_it(tmp_path: Path) -> None:
    from caligo.store import Finding

    make_run(tmp_path)
    text = (
        tmp_path / write_report(tmp_path, "x", [Finding(Code.FOREIGN_FILE, "a|b\n# c <i>", "\x1b[31m")])
    ).read_text()
    (row,) = (line for line in text.splitlines() if line.startswith("| CAL"))
    assert row.endswith(r"\\x1b[31m | a\|b\\n# c &lt;i> |")


def test_findings_of_a_schema_that_is_newer_are_named(tmp_path: Path) -> None:
    from caligo.store.files import document_bytes

    path = make_run(tmp_path)
    loosen(path)
    document = json.loads((path / "run.json").read_bytes())
    del document["sha256"]
    (path / "run.json").write_bytes(document_bytes(document | {"schema": layout.SCHEMA + 1}))
    validation: Validation = validate_store(tmp_path, now=later())
    assert Code.NEWER_SCHEMA in {item.finding.code for item in validation.findings}


# --- the contract -------------------------------------------------------------------------------------------------


def test_every_code_is_in_the_contract_with_its_severity_repair_and_remedy(repository: Path) -> None:
    from caligo.store import Finding
    from caligo.store.governing.repair import REPAIRABLE, RESTORABLE

    lines = (repository / "specs" / "validation.md").read_text().splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| CAL-STORE-")
    ]
    told = {row[0]: (row[1], row[2], row[4]) for row in rows}
    expected = {}
    for code in Code:
        finding = Finding(code, "", "")
        repair = "yes" if code in REPAIRABLE else "copy" if code in RESTORABLE else "no"
        expected[code.value] = (finding.severity.value, repair, finding.remedy)
    assert told == expected
    assert [row[0] for row in rows] == sorted(expected)

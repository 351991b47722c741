"""Laws of older schemas: they are read as if written today, and nothing on disk changes by it."""

from __future__ import annotations

import copy
import hashlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.errors import ConfigError, SchemaVersionError, StoreError
from caligo.store import Code, RunWriter, Severity, State, list_runs, load_run
from caligo.store.audit.ledger import Ledger
from caligo.store.files import DocumentError, document_bytes, read_document
from caligo.store.layout import INTERRUPTION_FORM, RUN_FORM, SCHEMA, SEAL_FORM
from caligo.store.migrated_copy import migrate_store
from caligo.store.migrations import STEPS, migrate_document

SEALED = "20250314T092653.589Z-simulate-3f9a1c2e"
INTERRUPTED = "20250314T093000.000Z-reconcile-77b00000"
OPEN = "20250314T094000.000Z-reconcile-88c00000"
FORMS = (RUN_FORM, SEAL_FORM, INTERRUPTION_FORM)

# SHA-256 of every file of the store that a caligo of schema 1 wrote.
GOLDEN = "323454d9"

documents = st.dictionaries(
    st.sampled_from(["run", "kind", "resumes", "files", "campaign", "parents", "migrated_from", "x"]),
    st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
)


def tree(directory: Path) -> dict[str, bytes]:
    """Every file under a directory, by path."""
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }


@pytest.fixture
def old_store(repository: Path) -> Path:
    return repository / "tests" / "data" / "store_schema_1"


def test_the_old_store_is_the_one_that_was_written(old_store: Path) -> None:
    whole = hashlib.sha256()
    for name, data in tree(old_store).items():
        whole.update(f"{name}\n{len(data)}\n".encode() + data)
    assert whole.hexdigest()[:8] == GOLDEN


def test_an_old_store_is_read_as_if_written_today(old_store: Path) -> None:
    before = tree(old_store)
    assert [(run.name, run.state) for run in list_runs(old_store)] == [
        (SEALED, State.SEALED),
        (INTERRUPTED, State.INTERRUPTED),
        (OPEN, State.OPEN),
    ]
    sealed = load_run(old_store / "runs" / SEALED)
    assert (sealed.state, sealed.findings) == (State.SEALED, ())
    assert sealed.seal is not None
    assert sealed.seal["migrated_from"] is None
    assert sealed.record_counts == {"records-main.jsonl": 3, "records-rank0001.jsonl": 1}
    assert [record["outcome"] for record in sealed.records("main")] == ["detected_failure", "ok", "ok"]
    interrupted = load_run(old_store / "runs" / INTERRUPTED)
    assert (interrupted.state, interrupted.record_counts) == (State.INTERRUPTED, {"records-main.jsonl": 2})
    for run in (sealed, interrupted, load_run(old_store / "runs" / OPEN)):
        assert run.document["schema"] == SCHEMA
        assert (run.campaign, run.parents) == (None, ())
    assert tree(old_store) == before


@pytest.mark.parametrize("form", FORMS)
def test_every_schema_has_a_step_to_the_next(form: str) -> None:
    assert sorted(STEPS[form]) == list(range(1, SCHEMA))


@pytest.mark.parametrize("form", FORMS)
@given(members=documents, schema=st.integers(1, SCHEMA))
def test_migration_is_pure_and_idempotent(form: str, members: dict[str, Any], schema: int) -> None:
    document = {"format": form, "schema": schema, **members}
    kept = copy.deepcopy(document)
    migrated = migrate_document(document, form)
    assert document == kept
    assert migrated["schema"] == SCHEMA
    assert document_bytes(migrated) == document_bytes(migrate_document(kept, form))
    assert migrate_document(migrated, form) == migrated
    told = {"schema", "campaign", "parents", "migrated_from"}
    assert {name: migrated[name] for name in members if name not in told} == {
        name: value for name, value in members.items() if name not in told
    }


@pytest.mark.parametrize("schema", [None, "1", 0, -1, True, 1.0])
def test_a_document_without_schema_number_is_refused(schema: object) -> None:
    with pytest.raises(DocumentError):
        migrate_document({"schema": schema}, RUN_FORM)


def test_a_newer_document_is_refused_with_the_remedy() -> None:
    with pytest.raises(SchemaVersionError, match="upgrade caligo") as raised:
        migrate_document({"schema": SCHEMA + 1}, RUN_FORM)
    assert raised.value.fields == {"schema": SCHEMA + 1, "understood": SCHEMA}


def test_campaign_and_parents_are_told_and_define_nothing(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, "simulate", {"frames": 1}) as alone:
        alone.seal()
    with RunWriter.create(
        tmp_path, "simulate", {"frames": 1}, campaign="spring", parents=[alone.name, alone.name]
    ) as writer:
        writer.seal()
    run = load_run(writer.path)
    assert (run.campaign, run.parents) == ("spring", (alone.name,))
    assert run.identity == alone.identity


@pytest.mark.parametrize("campaign", ["", "a\nb", "\x1b[31m", "x" * 129])
def test_a_campaign_that_cannot_be_shown_is_refused(tmp_path: Path, campaign: str) -> None:
    with pytest.raises(ConfigError, match="campaign"):
        RunWriter.create(tmp_path, "simulate", {}, campaign=campaign)
    assert list_runs(tmp_path) == []


def sealed_names(store: Path) -> list[str]:
    return [run.name for run in list_runs(store) if run.state is State.SEALED]


def runs_of(store: Path) -> dict[str, bytes]:
    return tree(store / "runs")


def test_a_store_is_migrated_to_a_copy(old_store: Path, tmp_path: Path) -> None:
    before = tree(old_store)
    report = migrate_store(old_store, tmp_path / "new")
    assert tree(old_store) == before
    assert report.migrated == [SEALED, INTERRUPTED, OPEN]
    assert report.findings == []
    for old in list_runs(old_store):
        new = load_run(tmp_path / "new" / "runs" / old.name)
        assert new.state is old.state
        assert [finding for finding in new.findings if finding.severity is Severity.DAMAGE] == []
        assert new.document == load_run(old.path).document
        for name, data in tree(old.path).items():
            if name.startswith("records-"):
                assert (new.path / name).read_bytes() == data
    seal = load_run(tmp_path / "new" / "runs" / SEALED).seal
    assert seal is not None
    old_seal = (old_store / "runs" / SEALED / "seal.json").read_bytes()
    assert seal["migrated_from"] == {"schema": 1, "sha256": hashlib.sha256(old_seal).hexdigest()}
    entries = [(entry.kind, entry.content["run"]) for entry in Ledger.open(tmp_path / "new").entries()]
    assert entries == [("seal", SEALED), ("migration", SEALED), ("migration", INTERRUPTED), ("migration", OPEN)]


def test_migrating_again_or_elsewhere_gives_the_same_bytes(old_store: Path, tmp_path: Path) -> None:
    migrate_store(old_store, tmp_path / "one")
    first = tree(tmp_path / "one")
    again = migrate_store(old_store, tmp_path / "one")
    assert (again.migrated, again.copied, again.unchanged) == ([], [], 3)
    assert tree(tmp_path / "one") == first
    migrate_store(old_store, tmp_path / "two")
    assert runs_of(tmp_path / "two") == runs_of(tmp_path / "one")
    onward = migrate_store(tmp_path / "one", tmp_path / "three")
    assert (onward.migrated, len(onward.copied)) == ([], 3)
    assert runs_of(tmp_path / "three") == runs_of(tmp_path / "one")


_KILLED = """
import os, signal, sys
from caligo.store import migrated_copy

left = int(sys.argv[1])

def count(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
migrated_copy.migrate_store(sys.argv[2], sys.argv[3])
"""


def test_a_migration_killed_at_any_step_is_completed_by_the_same_command(old_store: Path, tmp_path: Path) -> None:
    migrate_store(old_store, tmp_path / "expected")

    def runs(store: Path) -> dict[str, bytes]:
        place = store / "runs"
        return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}

    expected, step, killed = runs(tmp_path / "expected"), 1, True
    while killed:
        into = tmp_path / f"into{step}"
        command = [sys.executable, "-c", _KILLED, str(step), str(old_store), str(into)]
        killed = subprocess.run(command, check=False).returncode == -signal.SIGKILL
        migrate_store(old_store, into)
        assert runs(into) == expected, step
        assert not [path.name for path in into.iterdir() if path.name.startswith(".")], step
        step += 17
    assert step > 60


def test_a_damaged_run_is_not_migrated(old_store: Path, tmp_path: Path) -> None:
    shutil.copytree(old_store, tmp_path / "old")
    file = tmp_path / "old" / "runs" / SEALED / "records-main.jsonl"
    file.write_bytes(file.read_bytes().replace(b"ok", b"OK"))
    report = migrate_store(tmp_path / "old", tmp_path / "new")
    assert [finding.code for finding in report.findings] == [Code.NOT_MIGRATED]
    assert sealed_names(tmp_path / "new") == []
    assert report.migrated == [INTERRUPTED, OPEN]


def test_a_store_is_not_migrated_into_itself(old_store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="never changed"):
        migrate_store(old_store, old_store)
    with pytest.raises(StoreError, match="no runs"):
        migrate_store(tmp_path, tmp_path / "new")


def test_nobody_joins_a_run_of_a_newer_caligo(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "simulate", {})
    document = read_document(writer.path / "run.json", RUN_FORM)
    (writer.path / "run.json").write_bytes(document_bytes({**document, "schema": SCHEMA + 1}))
    with pytest.raises(StoreError, match="upgrade caligo"):
        RunWriter.join(writer.path, "rank0001")
    writer.interrupt("over")

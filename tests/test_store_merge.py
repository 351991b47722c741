"""Laws of merging: associative, commutative, idempotent; nothing sealed is lost; a killed merge is completed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.errors import ConfigError, ResourceError, SchemaVersionError, StoreError
from caligo.store import Code, RunWriter, State, list_runs, load_run
from caligo.store.audit.ledger import Ledger, foreign_ledger, ledgers
from caligo.store.files import document_bytes, parse_document
from caligo.store.layout import RUN_FORM, SCHEMA, SEAL_FORM
from caligo.store.merge import find_conflicts, merge_stores, unfinished_merges
from caligo.store.versions import read_version

Files = dict[str, bytes]
RECORDS = [{"block": block, "outcome": "ok", "elapsed_ns": 10**block} for block in range(6)]


def content(directory: Path) -> Files:
    """Every file under a directory, hidden ones included, by path."""
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }


def merged_part(store: Path) -> Files:
    """What the laws speak of: runs and their conflicts. A ledger tells how a store came about."""
    return {name: data for name, data in content(store).items() if not name.startswith(("ledger/", "store.json"))}


@cache
def copies() -> tuple[str, dict[str, Files]]:
    """One run as it was at various moments: name, and its files in each state."""
    with TemporaryDirectory() as scratch:
        made: dict[str, Files] = {}
        writer = RunWriter.create(scratch, "simulate", {"frames": 6})
        made["begun"] = content(writer.path)
        second = RunWriter.join(writer.path, "rank0001")
        second.record_many(RECORDS[:3])
        second.close()
        writer.record_many(RECORDS)
        writer.flush()
        made["open"] = content(writer.path)
        writer.seal({"fer": 0.0})
        made["sealed"] = content(writer.path)
        other = dict(made["sealed"])
        document = parse_document(other["seal.json"], SEAL_FORM)
        other["seal.json"] = document_bytes({**document, "summary": {"fer": 0.5}})
        made["twin"] = other
        note = parse_document(_interruption(Path(scratch, "other"), writer.name), "caligo.interruption")
        made["interrupted"] = {**made["open"], "interrupted.json": document_bytes(note)}
        made["compacted"] = _compacted(made["open"], writer.name, Path(scratch, "compacted"))
        return writer.name, made


def _interruption(store: Path, run: str) -> bytes:
    writer = RunWriter.create(store, "simulate", {})
    writer.interrupt("ended by a test")
    document = parse_document((writer.path / "interrupted.json").read_bytes(), "caligo.interruption")
    return document_bytes({**document, "run": run})


def _compacted(opened: Files, run: str, store: Path) -> Files:
    from caligo.store import sealing

    path = store / "runs" / run
    write(path, opened)
    replaced = sealing.compact_files(path, run)
    seal = {
        "format": SEAL_FORM,
        "schema": SCHEMA,
        "run": run,
        "sealed_at": "2026-01-01T00:00:00.000Z",
        "elapsed_s": 1.0,
        "summary": {},
        "files": sealing.list_files(path, replaced),
        "migrated_from": None,
    }
    for name in replaced:
        (path / name).unlink()
    return {**content(path), "seal.json": document_bytes(seal)}


def write(path: Path, files: Files) -> Path:
    path.mkdir(parents=True)
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


@st.composite
def some_copies(draw: st.DrawFn) -> Files:
    """A copy as a cluster may have it: any moment, torn, incomplete, or damaged."""
    _, made = copies()
    files = dict(made[draw(st.sampled_from(sorted(made)))])
    fault = draw(st.sampled_from(["none", "none", "cut", "flip", "lost", "left over"]))
    records = [name for name in sorted(files) if name.endswith(".jsonl")]
    if fault == "cut" and records:
        for name in records:
            files[name] = files[name][: draw(st.sampled_from([0, 7, 90, 200, len(files[name]) - 1, len(files[name])]))]
    elif fault == "flip":
        name = draw(st.sampled_from(sorted(files)))
        if files[name]:
            position = draw(st.integers(0, len(files[name]) - 1))
            files[name] = files[name][:position] + bytes([files[name][position] ^ 1]) + files[name][position + 1 :]
    elif fault == "lost":
        del files[draw(st.sampled_from(sorted(files)))]
    elif fault == "left over":
        files = {**made["open"], **files, ".x.partial": b"torn"}
    return files


families = st.lists(some_copies(), min_size=1, max_size=5)


def stores_of(base: Path, family: Sequence[Files]) -> list[Path]:
    name, _ = copies()
    return [write(base / f"shard{number}" / "runs" / name, files).parent.parent for number, files in enumerate(family)]


@pytest.fixture(scope="module")
def quick_disk() -> Iterator[None]:
    """The laws are about content; durability is for the tests of kills and faults."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.mark.usefixtures("quick_disk")
@settings(max_examples=30)
@given(family=families, data=st.data())
def test_merging_is_associative_commutative_and_idempotent(family: list[Files], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(family))))
    cut = data.draw(st.integers(0, len(family)))
    with TemporaryDirectory() as scratch:
        base = Path(scratch)
        shards = stores_of(base, family)
        merge_stores(shards, base / "together")
        expected = merged_part(base / "together")

        for number in order:
            merge_stores([shards[number]], base / "one by one")
        assert merged_part(base / "one by one") == expected

        groups = [part for part in (order[:cut], order[cut:]) if part]
        for number, part in enumerate(groups):
            merge_stores([shards[shard] for shard in part], base / f"group{number}")
        merge_stores([base / f"group{number}" for number in range(len(groups))], base / "grouped")
        assert merged_part(base / "grouped") == expected

        whole = content(base / "together")
        report = merge_stores([*reversed(shards), base / "one by one"], base / "together")
        assert not any(report.taken.values())
        assert merged_part(base / "together") == expected
        again = merge_stores(shards, base / "together")
        assert not again.changed
        assert {name for name in whole if name.startswith(("runs", "conflicts"))} == set(expected)
        assert not [name for name in expected if "/." in name or name.startswith(".")]


@pytest.mark.usefixtures("quick_disk")
@settings(max_examples=25)
@given(family=families)
def test_nothing_that_is_whole_is_lost_and_damage_displaces_nothing(family: list[Files]) -> None:
    name, _ = copies()
    with TemporaryDirectory() as scratch:
        base = Path(scratch)
        shards = stores_of(base, family)
        merge_stores(shards, base / "all")
        kept = [
            version
            for path in (base / "all" / "runs" / name, *(base / "all" / "conflicts" / name).glob("*"))
            if path.is_dir() and (version := read_version(path)) is not None
        ]
        states = [load_run(shard / "runs" / name).state if _readable(shard, name) else None for shard in shards]
        for shard in shards:
            version = read_version(shard / "runs" / name)
            if version is not None:
                assert any(copy.supersedes(version) for copy in kept)
        if kept:
            shown = load_run(base / "all" / "runs" / name)
            if State.SEALED in states:
                assert shown.state is State.SEALED
            elif any(state in (State.OPEN, State.INTERRUPTED) for state in states):
                assert shown.state is not State.DAMAGED


def _readable(shard: Path, name: str) -> bool:
    return read_version(shard / "runs" / name) is not None


@pytest.mark.usefixtures("quick_disk")
@settings(max_examples=60)
@given(family=st.lists(some_copies(), min_size=3, max_size=3))
def test_superseding_is_a_partial_order(family: list[Files]) -> None:
    with TemporaryDirectory() as scratch:
        shards = stores_of(Path(scratch), family)
        name, _ = copies()
        versions = [version for shard in shards if (version := read_version(shard / "runs" / name)) is not None]
        for a in versions:
            assert a.supersedes(a)
            for b in versions:
                if a.supersedes(b) and b.supersedes(a):
                    assert a.digest == b.digest
                for c in versions:
                    if a.supersedes(b) and b.supersedes(c):
                        assert a.supersedes(c)


# --- what comes of which copies ---------------------------------------------------------------------------------------


def merged(base: Path, *states: str) -> tuple[Path, list[Code]]:
    _, made = copies()
    report = merge_stores(stores_of(base, [made[state] for state in states]), base / "into")
    return base / "into", [finding.code for finding in report.findings]


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        (("begun", "open"), "open"),
        (("open", "interrupted"), "interrupted"),
        (("sealed", "open", "begun"), "sealed"),
        (("open", "compacted"), "compacted"),
    ],
)
def test_a_later_copy_takes_the_place_of_an_earlier_one(tmp_path: Path, states: tuple[str, ...], shown: str) -> None:
    name, made = copies()
    store, found = merged(tmp_path, *states)
    assert found == []
    assert merged_part(store) == {f"runs/{name}/{file}": data for file, data in made[shown].items()}
    assert load_run(store / "runs" / name).findings == ()


def test_two_seals_of_one_run_are_both_kept(tmp_path: Path) -> None:
    name, made = copies()
    store, found = merged(tmp_path, "sealed", "twin")
    assert found == [Code.VERSIONS_CONFLICT]
    (aside,) = (store / "conflicts" / name).iterdir()
    assert len(aside.name) == 16
    kept = {(path / "seal.json").read_bytes() for path in (store / "runs" / name, aside)}
    assert kept == {made["sealed"]["seal.json"], made["twin"]["seal.json"]}
    assert [finding.code for finding in find_conflicts(store)] == [Code.VERSIONS_CONFLICT]
    assert load_run(aside).state is State.SEALED


def test_a_damaged_copy_gives_way_to_a_whole_one_and_is_kept(tmp_path: Path) -> None:
    name, made = copies()
    damaged = {**made["sealed"], "records-main.jsonl": made["sealed"]["records-main.jsonl"].replace(b"ok", b"OK")}
    shards = stores_of(tmp_path, [damaged, made["sealed"]])
    merge_stores([shards[0]], tmp_path / "into")
    assert load_run(tmp_path / "into" / "runs" / name).state is State.DAMAGED
    report = merge_stores([shards[1]], tmp_path / "into")
    assert report.replaced == [name]
    assert load_run(tmp_path / "into" / "runs" / name).state is State.SEALED
    assert len(list((tmp_path / "into" / "conflicts" / name).iterdir())) == 1


def test_a_dry_run_tells_and_writes_nothing(tmp_path: Path) -> None:
    name, made = copies()
    shards = stores_of(tmp_path, [made["sealed"], made["twin"]])
    report = merge_stores(shards, tmp_path / "into", dry_run=True)
    assert (report.added, report.conflicts) == ([name], [name])
    assert not (tmp_path / "into").exists()


def test_shards_with_odd_names_and_odd_files(tmp_path: Path) -> None:
    name, made = copies()
    shard = write(tmp_path / "a path\nwith a line end" / "runs" / name, made["sealed"]).parent.parent
    (shard / "runs" / ".creating-x").mkdir()
    (shard / "runs" / "stray file").touch()
    (shard / "notes").mkdir()
    write(shard / "runs" / "not a run", {"x": b""})
    into = tmp_path / "in to\n"
    (into / "runs").mkdir(parents=True)
    (into / "runs" / "unknown").touch()
    (into / "mine.txt").write_text("left alone")
    report = merge_stores([shard], into)
    assert [finding.code for finding in report.findings] == [Code.NOT_MERGED]
    assert [run.name for run in list_runs(into)] == [name]
    assert (into / "mine.txt").read_text() == "left alone"
    assert (into / "runs" / "unknown").exists()


def test_a_renamed_run_comes_in_under_its_name(tmp_path: Path) -> None:
    name, made = copies()
    write(tmp_path / "shard" / "runs" / "renamed\n", made["sealed"])
    report = merge_stores([tmp_path / "shard"], tmp_path / "into")
    assert report.added == [name]
    assert load_run(tmp_path / "into" / "runs" / name).findings == ()


@pytest.mark.parametrize("odd", ["link", "directory"])
def test_what_is_no_plain_file_is_refused_and_told(tmp_path: Path, odd: str) -> None:
    name, made = copies()
    (shard,) = stores_of(tmp_path, [made["sealed"]])
    if odd == "link":
        (shard / "runs" / name / "extra").symlink_to("/etc/passwd")
    else:
        (shard / "runs" / name / "extra").mkdir()
    report = merge_stores([shard], tmp_path / "into")
    assert [finding.code for finding in report.findings] == [Code.NOT_MERGED]
    assert list_runs(tmp_path / "into") == []


def test_sources_are_only_read(tmp_path: Path) -> None:
    name, made = copies()
    (shard,) = stores_of(tmp_path, [made["sealed"]])
    for directory in (shard / "runs" / name, shard / "runs", shard):
        directory.chmod(0o555)
    before = content(shard)
    merge_stores([shard], tmp_path / "into")
    assert content(shard) == before
    for directory in (shard, shard / "runs", shard / "runs" / name):
        directory.chmod(0o755)


def test_bad_sources_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "store" / "runs").mkdir(parents=True)
    with pytest.raises(StoreError, match="no runs"):
        merge_stores([tmp_path / "empty"], tmp_path / "into")
    with pytest.raises(ConfigError, match="another store"):
        merge_stores([tmp_path / "store"], tmp_path / "store" / ".." / "store")
    with pytest.raises(ConfigError, match="got none"):
        merge_stores([], tmp_path / "into")
    name, made = copies()
    newer = parse_document(made["sealed"]["run.json"], RUN_FORM)
    files = {**made["sealed"], "run.json": document_bytes({**newer, "schema": SCHEMA + 1})}
    write(tmp_path / "newer" / "runs" / name, files)
    with pytest.raises(SchemaVersionError, match="upgrade caligo"):
        merge_stores([tmp_path / "newer"], tmp_path / "into")


# --- while others write, and faults -----------------------------------------------------------------------------------


def test_a_run_that_is_being_written_comes_in_as_it_is_and_is_completed_later(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path / "shard", "simulate", {}, flush_bytes=1)
    for number, record in enumerate(RECORDS):
        writer.record(record)
        merge_stores([tmp_path / "shard"], tmp_path / "into")
        copy = load_run(tmp_path / "into" / "runs" / writer.name)
        assert (copy.state, len(list(copy.records()))) == (State.OPEN, number + 1)
    writer.seal({}, compact=True)
    report = merge_stores([tmp_path / "shard"], tmp_path / "into")
    assert report.replaced == [writer.name]
    assert load_run(tmp_path / "into" / "runs" / writer.name).state is State.SEALED
    assert not (tmp_path / "into" / "conflicts" / writer.name).exists()


def test_a_source_that_changes_while_it_is_copied_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import caligo.store.merge as module

    writer = RunWriter.create(tmp_path / "shard", "simulate", {}, flush_bytes=1)
    writer.record_many(RECORDS)
    copy_file, left = module._copy_file, [1]

    def sealing_meanwhile(source: Path, *rest: object) -> None:
        if left.pop() if left else False:
            writer.seal({}, compact=True)
        copy_file(source, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_copy_file", sealing_meanwhile)
    report = merge_stores([tmp_path / "shard"], tmp_path / "into")
    assert report.findings == []
    assert load_run(tmp_path / "into" / "runs" / writer.name).state is State.SEALED
    assert unfinished_merges(tmp_path / "into") == []


_KILLED = """
import os, signal, sys
from pathlib import Path
from caligo.store import merge
from caligo.store.audit import merge_ledgers

left = int(sys.argv[1])
def count(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove", "os.chmod", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
merge.merge_stores(list(map(Path, sys.argv[3:])), Path(sys.argv[2]))
"""


def test_a_merge_killed_at_any_step_is_completed_by_the_same_command(tmp_path: Path) -> None:
    name, made = copies()
    family = [made["open"], made["sealed"], made["twin"]]
    shards = stores_of(tmp_path, family)
    merge_stores([shards[0]], tmp_path / "start")
    merge_stores(shards, tmp_path / "expected")
    expected = merged_part(tmp_path / "expected")
    sealed = {made["sealed"]["seal.json"], made["twin"]["seal.json"]}
    step, killed = 1, True
    while killed:
        into = tmp_path / f"into{step}"
        shutil.copytree(tmp_path / "start", into)
        command = [sys.executable, "-c", _KILLED, str(step), str(into), str(shards[1]), str(shards[2])]
        killed = subprocess.run(command, check=False).returncode == -signal.SIGKILL
        for path in (into / "runs" / name, *(into / "conflicts" / name).glob("*")):
            if path.exists():
                assert load_run(path).state in (State.OPEN, State.SEALED), step
        merge_stores(shards[1:], into)
        assert merged_part(into) == expected, step
        assert {
            (path / "seal.json").read_bytes() for path in (into / "runs" / name, *(into / "conflicts" / name).glob("*"))
        } == sealed
        step += 5
    assert step > 30


_AT_ONCE = """
import sys, time
from caligo.store.merge import merge_stores
print("ready", flush=True)
sys.stdin.readline()
merge_stores(sys.argv[2:], sys.argv[1])
"""


def test_merges_into_one_target_at_once_lose_nothing(tmp_path: Path) -> None:
    name, made = copies()
    family = [made[state] for state in ("open", "sealed", "twin", "interrupted", "compacted")]
    shards = stores_of(tmp_path, family)
    merge_stores(shards, tmp_path / "expected")
    expected = merged_part(tmp_path / "expected")
    for number in range(4):
        into = tmp_path / f"into{number}"
        merge_stores(shards[:1], into)
        merges = [
            subprocess.Popen(
                [sys.executable, "-c", _AT_ONCE, str(into), *map(str, sources)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for sources in (shards[1:2], shards[2:3], shards[1:4], shards[4:])
        ]
        for merge in merges:
            assert merge.stdout is not None
            assert merge.stdout.readline() == "ready\n"
        for merge in merges:
            merge.communicate("\n")
        assert [merge.returncode for merge in merges] == [0, 0, 0, 0]
        assert _digests(into, name) == _digests(tmp_path / "expected", name)
        assert unfinished_merges(into) == []
        merge_stores(shards[:1], into)
        assert merged_part(into) == expected


def _digests(store: Path, name: str) -> set[str]:
    versions = map(read_version, (store / "runs" / name, *(store / "conflicts" / name).glob("*")))
    return {version.digest for version in versions if version is not None}


def test_a_copy_that_came_meanwhile_is_put_back_and_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another merge puts its copy where this one is about to give up an older copy."""
    from caligo.store import merge

    name, made = copies()
    shards = stores_of(tmp_path, [made["open"], made["sealed"], made["twin"]])
    merge_stores(shards, tmp_path / "expected")
    into = tmp_path / "into"
    merge_stores(shards[:1], into)
    give_up, met = merge._give_up, 0

    def late(store: Path, run: str, path: Path) -> None:
        nonlocal met
        met += 1
        if met == 1:
            shutil.rmtree(path)
            shutil.copytree(shards[2] / "runs" / name, path)
        give_up(store, run, path)

    monkeypatch.setattr(merge, "_give_up", late)
    merge_stores(shards[1:2], into)
    assert met
    assert merged_part(into) == merged_part(tmp_path / "expected")


def test_a_copy_that_a_killed_merge_was_giving_up_is_kept_unless_another_contains_it(tmp_path: Path) -> None:
    name, made = copies()
    shards = stores_of(tmp_path, [made["sealed"], made["twin"], made["open"]])
    merge_stores(shards[:2], tmp_path / "expected")
    into = tmp_path / "into"
    merge_stores(shards[:1], into)
    dead = subprocess.run([sys.executable, "-c", _TOKEN], check=True, capture_output=True, text=True).stdout.strip()
    for number, state in enumerate(("twin", "open")):
        write(into / "runs" / f".giving-up-{dead}.{number}.{name}", made[state])
    report = merge_stores(shards[2:], into)
    assert report.conflicts == [name]
    assert unfinished_merges(into) == []
    assert merged_part(into) == merged_part(tmp_path / "expected")


_TOKEN = """
from caligo.store.environment import this_process
process = this_process()
print(process["boot_id"], process["pid"], process["start_ticks"], sep=".")
"""


def test_a_full_disk_is_told_and_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from caligo.store import files

    name, made = copies()
    shards = stores_of(tmp_path, [made["sealed"]])

    def full(descriptor: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_all", full)
        with pytest.raises(ResourceError, match="free space"):
            merge_stores(shards, tmp_path / "into")
    assert content(tmp_path / "into") == {}
    merge_stores(shards, tmp_path / "into")
    assert load_run(tmp_path / "into" / "runs" / name).state is State.SEALED


def test_what_another_machine_left_is_told_and_left_alone(tmp_path: Path) -> None:
    _, made = copies()
    shards = stores_of(tmp_path, [made["sealed"]])
    left = tmp_path / "into" / "runs" / ".merging-00000000-0000-4000-8000-000000000000.1.1.0"
    left.mkdir(parents=True)
    report = merge_stores(shards, tmp_path / "into")
    assert [finding.code for finding in report.findings] == [Code.MERGE_UNFINISHED]
    assert unfinished_merges(tmp_path / "into") == [left]


# --- ledgers ----------------------------------------------------------------------------------------------------------


def store_with_ledger(base: Path, entries: int) -> Ledger:
    (base / "runs").mkdir(parents=True, exist_ok=True)
    ledger = Ledger.open(base, create=True)
    for number in range(entries):
        ledger.append("repair", {"run": "x", "by": "test", "what": str(number)})
    return ledger


def test_a_foreign_ledger_comes_along_and_is_extended(tmp_path: Path) -> None:
    source = store_with_ledger(tmp_path / "source", 3)
    report = merge_stores([tmp_path / "source"], tmp_path / "into")
    copy = foreign_ledger(tmp_path / "into", source.origin)
    assert [(one.origin, one.taken, one.size, one.root) for one in report.ledgers] == [
        (source.origin, 3, 3, source.root().hex())
    ]
    source.append("repair", {"run": "x", "by": "test", "what": "more"})
    merge_stores([tmp_path / "source"], tmp_path / "into")
    assert copy.root() == source.root()
    assert not merge_stores([tmp_path / "source"], tmp_path / "into").changed
    own = ledgers(tmp_path / "into")[0]
    assert [(entry.kind, entry.content["size"]) for entry in own.entries()] == [("merge", 3), ("merge", 4)]
    merge_stores([tmp_path / "into"], tmp_path / "third")
    assert foreign_ledger(tmp_path / "third", source.origin).root() == source.root()
    assert foreign_ledger(tmp_path / "third", own.origin).root() == own.root()


def test_a_copy_of_a_store_that_went_on_extends_its_own_ledger(tmp_path: Path) -> None:
    first = store_with_ledger(tmp_path / "one", 2)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    second = store_with_ledger(tmp_path / "two", 2)
    merge_stores([tmp_path / "two"], tmp_path / "one")
    assert [entry.data for entry in first.entries()][:4] == [entry.data for entry in second.entries()]


def test_a_forked_ledger_is_told_and_both_branches_are_kept(tmp_path: Path) -> None:
    store_with_ledger(tmp_path / "one", 2)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    first, second = Ledger.open(tmp_path / "one"), Ledger.open(tmp_path / "two")
    for ledger, what in ((first, "one"), (second, "another"), (second, "more")):
        ledger.append("repair", {"run": "y", "by": "test", "what": what})
    for _ in range(2):
        report = merge_stores([tmp_path / "one", tmp_path / "two"], tmp_path / "into")
        assert [finding.code for finding in report.findings] == [Code.MERGED_LEDGER_FORKED]
    assert foreign_ledger(tmp_path / "into", first.origin).root() == first.root()
    (branch,) = (tmp_path / "into" / "conflicts" / f"ledger-{first.origin}").iterdir()
    kept = sorted(path.read_bytes() for path in branch.rglob("*.json"))
    assert kept == sorted(second.read(index) for index in range(2, second.size()))
    assert [finding.code for finding in find_conflicts(tmp_path / "into")] == [Code.MERGED_LEDGER_FORKED]
    onward = merge_stores([tmp_path / "into"], tmp_path / "third")
    assert onward.findings == []
    assert content(tmp_path / "third" / "conflicts") == content(tmp_path / "into" / "conflicts")

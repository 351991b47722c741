"""Everything that writes, with every system call failing in every way: the program behind `test_store_endurance`.

Run under the preloaded `faults.c`, as ``store_faults.py SHIM PLACE SCENARIO MOST``: builds what the scenario needs,
learns how many calls it makes, and then, for each kind of fault and each of at most MOST of those calls, lets a child
do the work with that call misbehaving, and looks at what is left. With MOST = 0 PLACE lies on a small file system,
which is filled up, with ever more room left, until the work succeeds. Prints one JSON object with counts, and what
went wrong.

What must hold after each fault:

- the child succeeded (and then all is done), or raised an error of caligo's own, or was killed where it was to be;
- every file that was sealed or in a ledger before is there, bit for bit; no run is damaged; the ledger has no gap;
- the same work done again, without faults, succeeds, and ends as if there had been no fault.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from caligo.errors import CaligoError, StoreError
from caligo.store import RunWriter, Severity, State, list_runs, load_run
from caligo.store.audit.ledger import Ledger, ledgers

READS, WRITES, SYNCS, NAMES, REMOVALS = 1, 2, 4, 8, 16
REFUSE, KILL_BEFORE, KILL_AFTER, SHORT = range(4)

CHANGES = WRITES | SYNCS | NAMES | REMOVALS

OK, TOLD, STRANGE = 0, 10, 11


@dataclass(frozen=True)
class Fault:
    """One way for a call to misbehave."""

    name: str
    classes: int
    code: int = 0
    mode: int = REFUSE
    lasting: bool = False


FAULTS = (
    Fault("ENOSPC", WRITES | SYNCS | NAMES, errno.ENOSPC),
    Fault("ENOSPC from then on", WRITES | SYNCS | NAMES, errno.ENOSPC, lasting=True),
    Fault("EIO", READS | CHANGES, errno.EIO),
    Fault("EROFS from then on", WRITES | NAMES | REMOVALS, errno.EROFS, lasting=True),
    Fault("short write", WRITES, mode=SHORT),
    Fault("kill before", CHANGES, mode=KILL_BEFORE),
    Fault("kill after", CHANGES, mode=KILL_AFTER),
)


@dataclass(frozen=True)
class Scenario:
    """Something that writes.

    Args:
        prepare: makes what there is before, in a directory.
        act: the work.
        facts: what is true of the directory when the work is done, by whatever way it came there.
    """

    prepare: Callable[[Path], None]
    act: Callable[[Path], None]
    facts: Callable[[Path], Any]


# --- what there is before -------------------------------------------------------------------------------------------


def sealed(store: Path, number: int = 0, records: int = 6) -> Path:
    with RunWriter.create(store, "simulate", {"number": number}, seeds={"simulation": number}) as writer:
        writer.record_many([{"block": block, "outcome": "ok", "elapsed_ns": 1000 + block} for block in range(records)])
        writer.seal({"frames": records, "frame_errors": 0, "detected_failures": 0, "undetected_errors": 0, "fer": 0.0})
    return writer.path


def some_runs(place: Path) -> None:
    for number in range(2):
        sealed(place / "store", number)


def first_name(store: Path) -> str:
    return min(os.listdir(store / "runs"))


def sealed_contents(store: Path) -> list[int]:
    """Of each sealed run, what was asked for."""
    found = [load_run(info.path) for info in list_runs(store)]
    return sorted(run.configuration["number"] for run in found if run.state is State.SEALED)


def entry_kinds(store: Path) -> dict[str, int]:
    return dict(sorted(Counter(entry.kind for entry in Ledger.open(store).entries()).items()))


# --- scenarios ------------------------------------------------------------------------------------------------------


def record(place: Path) -> None:
    if 7 not in sealed_contents(place / "store"):
        sealed(place / "store", 7)


def record_compact(place: Path) -> None:
    if 7 in sealed_contents(place / "store"):
        return
    with RunWriter.create(place / "store", "simulate", {"number": 7}) as writer:
        writer.record_many([{"block": block, "outcome": "ok", "elapsed_ns": 1000 + block} for block in range(50)])
        writer.seal({"frames": 50}, compact="parquet")


def append(place: Path) -> None:
    Ledger.open(place / "store", create=True).append("rejection", {"run": "none", "reason": "a test"})


def quarantine(place: Path) -> None:
    from caligo.store.findings import Code, Finding
    from caligo.store.governing.governance import quarantine as set_aside

    name = first_name(place / "store")
    set_aside(place / "store", name, [Finding(Code.FILE_CHANGED, "a test", "run.json")])


def export(form: str) -> Callable[[Path], None]:
    def act(place: Path) -> None:
        from caligo.store.export import export_runs

        if not (place / "out").exists():
            export_runs([info.path for info in list_runs(place / "store")], place / "out", form)

    return act


def exported(place: Path) -> dict[str, str]:
    found = place / "out"
    return {str(path.relative_to(found)): digest(path) for path in sorted(found.rglob("*")) if path.is_file()}


def refresh(place: Path) -> None:
    from caligo.store.indexing.index import select_runs

    os.environ["CALIGO_INDEX"] = str(place / "index" / "index.sqlite")
    assert len(select_runs(place / "store")) == 2


def with_key(place: Path) -> None:
    from caligo.store.bundles.signing import generate_key

    some_runs(place)
    generate_key(place / "key.pem", "lab")


def checkpoint(place: Path) -> None:
    from caligo.store.audit.notes import checkpoint_path, make_checkpoint
    from caligo.store.bundles.signing import load_signer
    from caligo.store.files import put_whole, storing

    ledger = Ledger.open(place / "store")
    path = checkpoint_path(ledger, ledger.size())
    with storing("keep a checkpoint", path):
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            put_whole(path, make_checkpoint(ledger, load_signer(place / "key.pem")))


def checkpoints(place: Path) -> list[str]:
    return [path.name for path in sorted(place.glob("store/ledger/*/checkpoints/[!.]*"))]


def bundle(place: Path) -> None:
    from caligo.store.bundles.bundle_writer import write_bundle
    from caligo.store.bundles.signing import load_signer

    if not (place / "run.caligo-bundle.tar").exists():
        name = first_name(place / "store")
        write_bundle(
            place / "store" / "runs" / name, load_signer(place / "key.pem"), out=place / "run.caligo-bundle.tar"
        )


def bundled(place: Path) -> list[str]:
    import tarfile

    with tarfile.open(place / "run.caligo-bundle.tar") as file:
        return sorted(file.getnames())


def baseline(place: Path) -> None:
    from caligo.store.gating.baselines import set_baseline

    set_baseline(place / "store", "accepted", where="kind = simulate")


def baseline_set(place: Path) -> str:
    from caligo.store.gating.baselines import baseline_named

    return baseline_named(place / "store", "accepted").name


def with_benchmarks(place: Path) -> None:
    some_runs(place)
    stats = {
        "min": 1e-3,
        "max": 2e-3,
        "mean": 1.5e-3,
        "median": 1.5e-3,
        "stddev": 1e-4,
        "rounds": 2,
        "data": [1e-3, 2e-3],
    }
    entry = {
        "name": "test_a",
        "fullname": "a.py::test_a",
        "stats": stats,
        "extra_info": {},
        "params": None,
        "group": None,
    }
    content = {
        "machine_info": {"node": "n", "machine": "x86_64", "cpu": {}},
        "commit_info": {"id": "0" * 40, "dirty": False},
        "benchmarks": [entry],
        "datetime": "2026-01-01T00:00:00+00:00",
        "version": "5.1.0",
    }
    (place / "benchmarks.json").write_text(json.dumps(content))


def import_them(place: Path) -> None:
    from caligo.store.gating.import_benchmarks import import_benchmarks

    import_benchmarks(place / "benchmarks.json", place / "store")


def kinds(place: Path) -> list[str]:
    return sorted(info.kind for info in list_runs(place / "store") if info.state is State.SEALED)


def two_stores(place: Path) -> None:
    some_runs(place)
    sealed(place / "other", 11)
    with RunWriter.create(place / "other", "simulate", {"number": 12}) as writer:
        writer.record({"block": 0})
        writer.interrupt("a test")


def merge(place: Path) -> None:
    from caligo.store.merge import merge_stores

    report = merge_stores([place / "other"], place / "store")
    if report.findings:
        raise StoreError(str(report.findings))


def merged(place: Path) -> list[Any]:
    return [sealed_contents(place / "store"), len(list_runs(place / "store")), len(ledgers(place / "store"))]


def with_old_runs(place: Path) -> None:
    old = Path(__file__).parent.parent / "data" / "store_schema_1"
    shutil.copytree(old, place / "old")


def migrate(place: Path) -> None:
    from caligo.store.migrated_copy import migrate_store

    report = migrate_store(place / "old", place / "store")
    if report.findings:
        raise StoreError(str(report.findings))


def migrated(place: Path) -> list[Any]:
    found = [load_run(info.path) for info in list_runs(place / "store")]
    # An entry that could not be made durable may be there all the same, and is then made again.
    return [[(run.name, run.state.value, run.document["schema"]) for run in found], list(entry_kinds(place / "store"))]


def with_a_killed_run(place: Path) -> None:
    """Its writer is dead, its last record torn, a seal was never entered, and a sealed file is writable."""
    some_runs(place)
    child = os.fork()
    if child == 0:
        try:
            writer = RunWriter.create(place / "store", "simulate", {"number": 7}, flush_bytes=1)
            writer.record_many([{"block": block, "outcome": "ok", "elapsed_ns": 1000} for block in range(4)])
            writer.flush()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    (killed,) = [info.path for info in list_runs(place / "store") if info.state is State.OPEN]
    with (killed / "records-main.jsonl").open("ab") as file:
        file.write(b'{"i":4,"n":')


def repair(place: Path) -> None:
    from caligo.store.governing.repair import repair as put_right

    done = put_right(place / "store", now=datetime.now(UTC) + timedelta(days=2))
    if done.failed or done.left:
        raise StoreError(f"{done.failed} {done.left}")


def page(place: Path) -> None:
    from caligo.reports.stores import store_page
    from caligo.reports.writing import write_page

    os.environ["CALIGO_INDEX"] = str(place.parent / "index.sqlite")
    write_page(store_page(place / "store"), place / "out", "store", ("md", "json"))


SCENARIOS: dict[str, Scenario] = {
    "merge": Scenario(two_stores, merge, merged),
    "migrate": Scenario(with_old_runs, migrate, migrated),
    "repair": Scenario(with_a_killed_run, repair, lambda place: sealed_contents(place / "store")),
    "page": Scenario(some_runs, page, lambda place: sorted(exported(place))),
    "checkpoint": Scenario(with_key, checkpoint, checkpoints),
    "bundle": Scenario(with_key, bundle, bundled),
    "baseline": Scenario(some_runs, baseline, baseline_set),
    "import": Scenario(with_benchmarks, import_them, kinds),
    "record": Scenario(some_runs, record, lambda place: sealed_contents(place / "store")),
    "compact": Scenario(some_runs, record_compact, lambda place: sealed_contents(place / "store")),
    "ledger": Scenario(some_runs, append, lambda place: "rejection" in entry_kinds(place / "store")),
    "quarantine": Scenario(some_runs, quarantine, lambda place: "quarantine" in entry_kinds(place / "store")),
    "export-csv": Scenario(some_runs, export("csv"), exported),
    "export-parquet": Scenario(some_runs, export("parquet"), exported),
    "export-ro-crate": Scenario(some_runs, export("ro-crate"), exported),
    "index": Scenario(some_runs, refresh, lambda place: True),
}


# --- trying ---------------------------------------------------------------------------------------------------------


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def protected(place: Path) -> dict[str, str]:
    """Files that nothing may lose or change: those of sealed runs, entries of ledgers, and stores' origins."""
    found = {}
    for seal in place.glob("[!.]*/runs/*/seal.json"):
        found.update({str(path.relative_to(place)): digest(path) for path in seal.parent.iterdir() if path.is_file()})
    for pattern in ("[!.]*/ledger/*/entries/*/*/*.json", "[!.]*/store.json"):
        for path in place.glob(pattern):
            if not path.name.startswith("."):
                found[str(path.relative_to(place))] = digest(path)
    return found


def lost(before: dict[str, str], place: Path) -> list[str]:
    return [name for name, was in before.items() if not (place / name).is_file() or digest(place / name) != was]


def damage(place: Path) -> list[str]:
    """What no fault may leave: damaged runs, gaps in ledgers."""
    found = []
    for runs in place.glob("[!.]*/runs"):
        for info in list_runs(runs.parent):
            run = load_run(info.path)
            found += [f"{info.name}: {f.code} {f.what}" for f in run.findings if f.severity is Severity.DAMAGE]
        for ledger in ledgers(runs.parent):
            found += [f"entry {n}" for n, entry in enumerate(ledger.entries()) if entry.index != n]
    return found


class Shim:
    """The preloaded library."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.faults_failed.restype = ctypes.c_char_p
        self._library.faults_count.restype = ctypes.c_long

    def arm(self, place: Path, turn: int, fault: Fault) -> None:
        self._library.faults_arm(
            os.fsencode(place),
            ctypes.c_long(turn),
            ctypes.c_int(fault.code),
            ctypes.c_int(fault.mode),
            ctypes.c_int(fault.classes),
            ctypes.c_int(fault.lasting),
        )

    def disarm(self) -> int:
        self._library.faults_disarm()
        return int(self._library.faults_count())


def in_child(work: Callable[[], None], log: Path) -> int:
    """Do work in a child; its wait status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    status = STRANGE
    try:
        work()
        status = OK
    except CaligoError as error:
        status = TOLD
        with contextlib.suppress(OSError):
            log.write_text(f"{type(error).__name__}: {error.message}")
    except BaseException:
        with contextlib.suppress(OSError):
            log.write_text(traceback.format_exc())
    finally:
        os._exit(status)


class Trials:
    """Tries one scenario in one directory, over and over."""

    def __init__(self, name: str, place: Path, shim: Shim) -> None:
        self.name = name
        self._scenario = SCENARIOS[name]
        self._shim = shim
        self._template, self._trial, self._log = place / "template", place / "trial", place / "log"
        self._template.mkdir(parents=True)
        self._scenario.prepare(self._template)
        shutil.copytree(self._template, self._trial)
        self._scenario.act(self._trial)
        self._wanted = self._scenario.facts(self._trial)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def _afresh(self) -> None:
        shutil.rmtree(self._trial)
        shutil.copytree(self._template, self._trial)

    def calls(self, fault: Fault) -> int:
        """How many calls of a fault's classes the work makes."""
        self._afresh()

        def learn() -> None:
            self._shim.arm(self._trial, -1, fault)
            try:
                self._scenario.act(self._trial)
            finally:
                self._log.write_text(str(self._shim.disarm()))

        assert in_child(learn, self._log) == 0, self._log.read_text()
        return int(self._log.read_text())

    def try_fault(self, fault: Fault, turn: int, calls: int) -> None:
        """The work, with one call misbehaving."""
        self._afresh()

        def work() -> None:
            self._shim.arm(self._trial, turn, fault)
            try:
                self._scenario.act(self._trial)
            finally:
                self._shim.disarm()

        may_die = fault.mode in (KILL_BEFORE, KILL_AFTER)
        self._try(work, f"{fault.name}, call {turn} of {calls}", may_die, lambda: None)

    def try_full(self, ballast: Path, free: int) -> bool:
        """The work on a file system that has no more room than this; whether it had enough."""
        self._afresh()
        descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
        try:
            os.posix_fallocate(
                descriptor, 0, max(1, os.fstatvfs(descriptor).f_bavail * os.fstatvfs(descriptor).f_bsize - free)
            )
        finally:
            os.close(descriptor)
        survived = self.counts["survived"]
        self._try(lambda: self._scenario.act(self._trial), f"{free} bytes left", False, ballast.unlink)
        return self.counts["survived"] > survived

    def _try(self, work: Callable[[], None], what: str, may_die: bool, mend: Callable[[], None]) -> None:
        before = protected(self._trial)
        status = in_child(work, self._log)
        mend()
        what = f"{self.name}, {what}"
        self.counts["tried"] += 1
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and may_die:
            self.counts["killed"] += 1
        elif os.waitstatus_to_exitcode(status) == TOLD:
            self.counts["told"] += 1
        elif os.waitstatus_to_exitcode(status) == OK:
            self.counts["survived"] += 1
            if (facts := self._scenario.facts(self._trial)) != self._wanted:
                self.wrong.append(f"{what}: said it was done, but ended as {facts}, not as {self._wanted}")
        else:
            self.wrong.append(f"{what}: {self._log.read_text()}")
        gone = lost(before, self._trial)
        self.counts["lost"] += len(gone)
        self.wrong += [f"{what}: lost or changed {path}" for path in gone]
        self.wrong += [f"{what}: {found}" for found in damage(self._trial)]
        if in_child(lambda: self._scenario.act(self._trial), self._log) != 0:
            self.wrong.append(f"{what}: not done again: {self._log.read_text()}")
        elif (facts := self._scenario.facts(self._trial)) != self._wanted:
            self.wrong.append(f"{what}: ended as {facts}, not as {self._wanted}")
        self.wrong += [f"{what}: afterwards lost or changed {path}" for path in lost(before, self._trial)]
        self.wrong += [f"{what}: afterwards {found}" for found in damage(self._trial)]


def main() -> None:
    library, place, name, most = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    warnings.simplefilter("ignore")
    trials = Trials(name, place, Shim(library))
    if most:
        for fault in FAULTS:
            calls = trials.calls(fault)
            for turn in sorted({turn * calls // min(calls, most) for turn in range(min(calls, most))}) if calls else ():
                trials.try_fault(fault, turn, calls)
    else:
        free = 0
        while not trials.try_full(place / "ballast", free):
            free += 4096 * max(1, free // 32768)
    told = {"scenario": name, "counts": dict(trials.counts), "wrong": trials.wrong[:20], "wrongs": len(trials.wrong)}
    print(json.dumps(told))


if __name__ == "__main__":
    main()

"""Laws under faults: kills at any instant, and every system call of a recording failing in every way.

Whatever fails, the error is the store's own and names a remedy; nothing half-written is taken for whole; nothing that
was written is lost or doubled; and where the fault passes, the run goes on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Require

from caligo.errors import CaligoError, ResourceError, StoreError
from caligo.store import RunWriter, Severity, State, list_runs, load_run
from caligo.store.audit.ledger import Ledger

BATCHES = 3
BATCH = 4


def record(store: Path, tries: int = 1) -> RunWriter:
    """Record and seal a run, each step tried ``tries`` times."""

    def attempt(act: Callable[[], Any]) -> Any:
        for _ in range(tries - 1):
            with contextlib.suppress(CaligoError):
                return act()
        return act()

    writer: RunWriter = attempt(lambda: RunWriter.create(store, "simulate", {"frames": 12}))
    with writer:
        for batch in range(BATCHES):
            writer.record_many([{"block": batch * BATCH + step} for step in range(BATCH)])
            attempt(writer.flush)
        attempt(lambda: writer.seal({"frames": BATCHES * BATCH}))
    return writer


def refusal(act: Callable[[], object]) -> CaligoError | None:
    """The error that an action raises, if it does."""
    try:
        act()
    except CaligoError as error:
        return error
    return None


def blocks(path: Path) -> list[int]:
    return [int(record["block"]) for record in load_run(path).records()]


def check_nothing_false(store: Path, *, kept: int = 0) -> None:
    """Every run of the store reads as a beginning of what was recorded; damage nowhere."""
    for info in list_runs(store):
        run = load_run(info.path)
        assert info.state is run.state
        assert [finding for finding in run.findings if finding.severity is Severity.DAMAGE] == []
        found = blocks(info.path)
        assert found == list(range(len(found)))
        assert len(found) >= kept
        if run.state is State.SEALED:
            assert len(found) == BATCHES * BATCH


class Faults:
    """Makes one system call of the store misbehave: the ``at``-th of those it makes."""

    CALLS = ("open", "write", "fsync", "ftruncate", "fstat", "close", "mkdir", "rename", "unlink", "rmdir", "listdir")

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.at = -1
        self.failed: str | None = None
        self.error: Callable[[], BaseException] = lambda: OSError(errno.EIO, os.strerror(errno.EIO))
        self.after = False
        self.short = False
        for name in self.CALLS:
            patch.setattr(os, name, self._wrap(name, getattr(os, name)))

    def arm(self, at: int, error: Callable[[], BaseException], *, after: bool = False, short: bool = False) -> None:
        self.count, self.at, self.error, self.after, self.short, self.failed = 0, at, error, after, short, None

    def _wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            position, self.count = self.count, self.count + 1
            if position != self.at:
                return real(*arguments, **options)
            self.failed = name
            if self.short and name == "write":
                real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                raise self.error()
            if self.after:
                real(*arguments, **options)
            raise self.error()

        return call


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


def every_fault(
    faults: Faults, tmp_path: Path, error: Callable[[], BaseException], **how: bool
) -> Iterator[tuple[Path, int]]:
    """A fresh store for every system call of a recording, that call armed; ends when all have had their turn."""
    position = 0
    while True:
        store = tmp_path / f"store{position}"
        faults.arm(position, error, **how)
        yield store, position
        failed = faults.failed
        faults.arm(-1, error)
        check_nothing_false(store)
        if failed is None:
            return
        position += 1


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, ResourceError),
        (errno.EDQUOT, ResourceError),
        (errno.EMFILE, ResourceError),
        (errno.EROFS, StoreError),
        (errno.EACCES, StoreError),
        (errno.EIO, StoreError),
        (errno.ESTALE, StoreError),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else "",
)
def test_every_failing_call_is_told_and_nothing_is_false(
    faults: Faults, tmp_path: Path, code: int, kind: type[CaligoError], short: bool
) -> None:
    told = 0
    for store, _ in every_fault(faults, tmp_path, lambda: OSError(code, os.strerror(code)), short=short):
        error = refusal(lambda store=store: record(store))
        if error is not None:
            assert type(error) is kind
            assert error.fields["errno"] == code
            assert "; " in error.message
            told += 1
    assert told >= 20


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("short", [False, True])
def test_a_fault_that_passes_costs_nothing(faults: Faults, tmp_path: Path, code: int, short: bool) -> None:
    for store, _ in every_fault(faults, tmp_path, lambda: OSError(code, os.strerror(code)), short=short):
        writer = record(store, tries=2)
        faults.at = -1
        run = load_run(writer.path)
        assert (run.state, run.findings) == (State.SEALED, ())
        assert blocks(writer.path) == list(range(BATCHES * BATCH))


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_at_any_call_leaves_a_readable_run(faults: Faults, tmp_path: Path, after: bool) -> None:
    states = set()
    for store, _ in every_fault(faults, tmp_path, KeyboardInterrupt, after=after):
        with contextlib.suppress(KeyboardInterrupt):
            record(store)
        faults.at = -1
        states.update(run.state for run in list_runs(store))
    assert {State.INTERRUPTED, State.SEALED} <= states


def test_a_run_that_cannot_be_finished_keeps_what_was_flushed(
    faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RunWriter.create(tmp_path, "simulate", {})
    writer.record({"block": 0})
    writer.flush()
    writer.record({"block": 1})

    def refuse(*arguments: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        with pytest.raises(ResourceError) as caught, writer:
            writer.flush()
        assert caught.value.fields["operation"] == "write records"
    assert writer.ended == "interrupted"
    assert load_run(writer.path).state is State.OPEN
    assert blocks(writer.path) == [0]


def test_a_second_process_in_the_record_file_is_found(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "simulate", {})
    writer.record({"block": 0})
    writer.flush()
    (writer.path / "records-main.jsonl").write_bytes(b"")
    with pytest.raises(StoreError, match="something else writes to it"):
        writer.seal()
    with pytest.raises(StoreError, match="something else writes to it"):
        writer.interrupt("enough")
    assert load_run(writer.path).state is State.INTERRUPTED


# --- real file systems ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(require: Require, place: Path, options: str) -> Iterator[Path]:
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        done = subprocess.CompletedProcess(command, 127, stderr="no mount command")
    require("mount", done.returncode == 0, f"may not mount a tmpfs: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_a_resource_error_and_loses_nothing(tmp_path: Path, require: Require) -> None:
    with mounted(require, tmp_path / "small", "size=128k") as store:
        writer = RunWriter.create(store, "simulate", {}, flush_bytes=1000)
        accepted = 0
        error = None
        while error is None:
            error = refusal(lambda block=accepted: writer.record({"block": block, "text": "x" * 100}))
            accepted += 1
        assert isinstance(error, ResourceError)
        assert error.fields["errno"] == errno.ENOSPC
        assert accepted - 20 <= len(blocks(writer.path)) <= accepted
        assert load_run(writer.path).state is State.OPEN
        with pytest.raises(ResourceError):
            writer.seal()
        before = len(list_runs(store))
        (store / "ballast").write_bytes(b"")
        with contextlib.suppress(OSError):
            (store / "ballast").write_bytes(bytes(1 << 20))
        with pytest.raises(ResourceError):
            RunWriter.create(store, "simulate", {})
        assert len(list_runs(store)) == before
        subprocess.run(["mount", "-o", "remount,size=1m", str(store)], check=True)
        writer.seal({"blocks": accepted})
        assert load_run(writer.path).state is State.SEALED
        assert blocks(writer.path) == list(range(accepted))


def test_a_read_only_store_is_refused_and_still_read(tmp_path: Path, require: Require) -> None:
    with mounted(require, tmp_path / "frozen", "size=1m,ro") as empty:
        with pytest.raises(StoreError, match="not writable"):
            RunWriter.create(empty, "simulate", {})
        assert list_runs(empty) == []
    with mounted(require, tmp_path / "store", "size=1m") as store:
        path = record(store).path
        subprocess.run(["mount", "-o", "remount,ro", str(store)], check=True)
        with pytest.raises(StoreError, match="not writable"):
            RunWriter.create(store, "simulate", {})
        assert load_run(path).state is State.SEALED


def test_a_file_in_the_place_of_the_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "runs").touch()
    for store in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "store"):
        with pytest.raises(StoreError, match="--store"):
            RunWriter.create(store, "simulate", {})


# --- kills ----------------------------------------------------------------------------------------------------------

KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from caligo.store import RunWriter

store, acknowledged, kills, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
chance = random.Random(seed)

def work():
    tell = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        writer = RunWriter.create(store, "simulate", {}, flush_bytes=200, flush_interval_s=10)
        for batch in range(6):
            for step in range(10):
                writer.record({"block": batch * 10 + step})
            writer.flush()
            os.write(tell, f"{writer.name} {writer.count} open\\n".encode())
        writer.seal({})
        os.write(tell, f"{writer.name} {writer.count} sealed\\n".encode())

RunWriter.create(store.parent / "warm", "simulate", {}).seal({})
Path(acknowledged).touch()
done = 0
while done < kills or Path(acknowledged).read_text().count("sealed") < kills // 4:
    done += 1
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    time.sleep(chance.uniform(0.0, 0.0006 * min(done, 1000)))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
"""


def test_a_killed_run_is_readable_up_to_its_last_flush(tmp_path: Path) -> None:
    store, acknowledged, kills = tmp_path / "store", tmp_path / "acknowledged", 100
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(store), str(acknowledged), str(kills), "1"],
        check=True,
        timeout=300,
    )
    told = [line.split() for line in acknowledged.read_text().splitlines()]
    flushed = {name: int(count) for name, count, _ in told}
    sealed = {name for name, _, state in told if state == "sealed"}
    seen = {State.OPEN: 0, State.SEALED: 0}
    for info in list_runs(store):
        run = load_run(info.path)
        assert [finding for finding in run.findings if finding.severity is Severity.DAMAGE] == []
        found = blocks(info.path)
        assert found == list(range(len(found)))
        assert len(found) >= flushed.pop(info.name, 0)
        assert run.state is State.SEALED or info.name not in sealed
        assert run.running is (False if run.state is State.OPEN else None)
        seen[run.state] += 1
    assert flushed == {}
    assert sealed <= {entry.content["run"] for entry in Ledger.open(store).entries()}
    assert seen[State.OPEN] >= 20
    assert seen[State.SEALED] >= 20

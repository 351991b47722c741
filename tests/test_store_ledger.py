"""Laws of the ledger: no entry lost, doubled or half there, whoever writes and whatever fails.

Covers: the origin, appending, the fallback without hard links, taking over entries, seals of runs. Does not cover:
looking for tampering (test_store_ledger_check.py), Merkle trees, checkpoints.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.errors import CaligoError, ConfigError, LedgerCorruptError, ResourceError, SchemaVersionError, StoreError
from caligo.store import RunWriter, State, files, load_run
from caligo.store.audit import ledger as ledger_module
from caligo.store.audit.ledger import (
    Entry,
    EntryError,
    Ledger,
    append_seal,
    encode_entry,
    foreign_ledger,
    ledgers,
    parse_entry,
    store_origin,
)

AT = datetime(2026, 3, 14, 9, 26, 53, 589000, tzinfo=UTC)
ORIGIN = "0123456789abcdef" * 2
# The bytes of specs/ledger.md.
FIRST = (
    b'{"at":"2026-03-14T09:26:53.589Z","content":{"run":"demo"},"format":"caligo.ledger-entry","index":0,'
    b'"kind":"seal","origin":"0123456789abcdef0123456789abcdef","previous":null,"schema":1}\n'
)
SECOND = (
    b'{"at":"2026-03-14T09:26:53.589Z","content":{"reason":"\xc3\xa9","x":0.000001},"format":"caligo.ledger-entry",'
    b'"index":1,"kind":"reject","origin":"0123456789abcdef0123456789abcdef",'
    b'"previous":"19214ffae2c44ca78e050df27e337ad71bf745360f8cd0e790338418721ad4ba","schema":1}\n'
)


def filled(store: Path, count: int) -> Ledger:
    ledger = Ledger.open(store, create=True)
    for number in range(count):
        ledger.append("note", {"number": number}, at=AT)
    return ledger


def check_whole(ledger: Ledger) -> list[Entry]:
    """Every entry is there, in its place, and follows the one before it."""
    entries = list(ledger.entries())
    assert [entry.index for entry in entries] == list(range(ledger.size()))
    assert [entry.previous for entry in entries[1:]] == [entry.leaf.hex() for entry in entries[:-1]]
    return entries


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.rglob("*") if path.is_file())


# --- one writer -----------------------------------------------------------------------------------------------------


def test_an_entry_is_what_was_appended(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, create=True)
    first = ledger.append("seal", {"run": "demo"}, at=AT)
    second = ledger.append("reject", {"run": "demo", "wide": 2**60, "list": (1, 2)}, at=AT)
    assert [entry.index for entry in (first, second)] == [0, 1]
    assert second.content == {"run": "demo", "wide": str(2**60), "list": [1, 2]}
    assert (second.at, second.previous) == ("2026-03-14T09:26:53.589Z", hashlib.sha256(b"\0" + first.data).hexdigest())
    assert check_whole(ledger) == [first, second] == [ledger.entry(0), ledger.entry(1)]
    assert list(ledger.entries(1)) == [second]
    assert ledger.entry_path(1) == tmp_path / "ledger" / ledger.origin / "entries/000/000/000000001.json"
    assert ledger.entry_path(1).read_bytes() == second.data
    assert ledger.entry_path(1).stat().st_mode & 0o777 == 0o444
    assert ledger.origin in repr(ledger)
    other = Ledger.open(tmp_path)
    assert (other.origin, other.size(), other.root()) == (ledger.origin, 2, ledger.root())


def test_the_bytes_are_those_of_the_contract() -> None:
    data = encode_entry(
        origin=ORIGIN, index=0, kind="seal", at="2026-03-14T09:26:53.589Z", content={"run": "demo"}, previous=None
    )
    assert data == FIRST
    entry = parse_entry(data)
    assert (entry.index, entry.kind, entry.content, entry.previous) == (0, "seal", {"run": "demo"}, None)
    assert entry.leaf == hashlib.sha256(b"\0" + FIRST).digest()
    second = parse_entry(SECOND)
    assert second.content == {"reason": "é", "x": 1e-6}
    assert second.previous == entry.leaf.hex()
    contract = (Path(__file__).parents[1] / "specs" / "ledger.md").read_text()
    for line in (FIRST.decode(), SECOND.decode(), entry.leaf.hex(), second.leaf.hex()):
        assert line in contract


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(content=st.dictionaries(st.text(max_size=8), values, max_size=5), index=st.integers(0, 10**9 - 1))
def test_an_entry_reads_as_it_was_written(content: dict[str, Any], index: int) -> None:
    previous = None if index == 0 else "ab" * 32
    at = "2026-03-14T09:26:53.589Z"
    data = encode_entry(origin=ORIGIN, index=index, kind="x", at=at, content=content, previous=previous)
    entry = parse_entry(data)
    assert (entry.index, entry.content, entry.previous) == (index, content, previous)
    assert data.count(b"\n") == 1


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=80) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_an_entry_or_refused(data: bytes) -> None:
    with pytest.raises(EntryError):
        parse_entry(data)


@settings(max_examples=300, deadline=None)
@given(
    content=st.dictionaries(st.text(st.characters(max_codepoint=0x7F), max_size=8), values, max_size=4),
    index=st.sampled_from([0, 1, 10**9 - 1]),
    place=st.integers(0, 400),
    put=st.sampled_from(
        [b"", b" ", b"0", b"1", b'"', b"\\", b",", b"}", b"{", b"\n", b"-0", b"\x7f", b'"a":1,', b"1e0"]
    ),
    cut=st.integers(0, 2),
)
def test_the_usual_spelling_is_read_as_any_other(
    content: dict[str, Any], index: int, place: int, put: bytes, cut: int
) -> None:
    previous = "ab" * 32 if index else None
    at = "2026-03-14T09:26:53.589Z"
    data = encode_entry(origin=ORIGIN, index=index, kind="x", at=at, content=content, previous=previous)
    where = place % len(data)
    for spelt in (data, data[:where] + put + data[where + cut :]):
        usual = ledger_module._usual_entry(spelt)
        if usual is not None:
            assert usual == ledger_module._parse_any(spelt)


def test_entries_without_doubles_or_other_scripts_are_usual() -> None:
    assert ledger_module._usual_entry(FIRST) is not None
    second = SECOND.replace(b'"\xc3\xa9"', b'"\\n"').replace(b"0.000001", b"[-3,true,null]")
    assert ledger_module._usual_entry(second) == ledger_module._parse_any(second)


@pytest.mark.parametrize("size", [4095, 4096, 4097, 60_000])
def test_an_entry_of_any_length_is_read_whole(tmp_path: Path, size: int) -> None:
    ledger = Ledger.open(tmp_path, create=True)
    rest = len(ledger.append("note", {"text": ""}, at=AT).data)
    texts = ["x" * 4000] * ((size - rest) // 4100)
    bare = len(encode_entry(origin=ledger.origin, index=1, kind="note", at="2026-03-14T09:26:53.589Z",
                            content={"more": texts, "text": ""}, previous="ab" * 32))  # fmt: skip
    entry = ledger.append("note", {"more": texts, "text": "y" * (size - bare)}, at=AT)
    assert len(entry.data) == size
    assert ledger.read(1) == entry.data
    assert ledger.entry(1) == entry


@pytest.mark.parametrize("data", [FIRST, SECOND])
def test_any_changed_byte_of_an_entry_changes_its_leaf_and_most_are_refused(data: bytes) -> None:
    accepted = 0
    for place in range(len(data)):
        for changed in (data[place] ^ 1, data[place] ^ 0x20, 0x80):
            forged = data[:place] + bytes([changed]) + data[place + 1 :]
            with contextlib.suppress(EntryError, SchemaVersionError):
                assert parse_entry(forged).leaf != hashlib.sha256(b"\0" + data).digest()
                accepted += 1
    assert accepted < len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]\n",
        b"[" * 100_000,
        FIRST[:-1],
        FIRST + b"\n",
        FIRST.replace(b'"index":0', b'"index":0.0'),
        FIRST.replace(b'"index":0', b'"index":true'),
        FIRST.replace(b'"index":0', b'"index":-1'),
        FIRST.replace(b'"index":0', b'"index":1'),
        FIRST.replace(b'"schema":1', b'"schema":true'),
        FIRST.replace(b'"schema":1', b'"schema":0'),
        FIRST.replace(b'"schema":1', b'"schema":1,"zzz":1'),
        FIRST.replace(b'"kind":"seal"', b'"kind":"Seal"'),
        FIRST.replace(b'"run":"demo"', b'"run":"demo","run":"demo"'),
        FIRST.replace(b'"demo"', b'"d\\u0065mo"'),
        FIRST.replace(b'"demo"', b'"\\ud800"'),
        FIRST.replace(b'"demo"', b"NaN"),
        FIRST.replace(b'"demo"', b"12345678901234567890"),
        FIRST.replace(b'"demo"', b"1.0"),
        FIRST.replace(b'"demo"', b"1" * 5000),
        FIRST.replace(b'"demo"', b"[" * 3000 + b"]" * 3000),
        FIRST.replace(b":53.589Z", b":53Z"),
        FIRST.decode().encode("utf-16"),
    ],
)
def test_what_is_no_canonical_entry_is_refused(data: bytes) -> None:
    with pytest.raises(EntryError):
        parse_entry(data)


def test_a_newer_schema_asks_for_an_upgrade(tmp_path: Path) -> None:
    with pytest.raises(SchemaVersionError, match="upgrade caligo"):
        parse_entry(FIRST.replace(b'"schema":1', b'"schema":2'))
    document = {"format": "caligo.store", "schema": 2, "origin": ORIGIN, "created_at": ""}
    (tmp_path / "store.json").write_bytes(files.document_bytes(document))
    with pytest.raises(SchemaVersionError, match="upgrade caligo"):
        store_origin(tmp_path)


@pytest.mark.parametrize("kind", ["", "Seal", "a b", "9", "x" * 33])
def test_a_kind_that_is_none_is_refused(tmp_path: Path, kind: str) -> None:
    ledger = Ledger.open(tmp_path, create=True)
    with pytest.raises(ConfigError, match="kind"):
        ledger.append(kind, {})
    with pytest.raises(ConfigError, match="never key bits"):
        ledger.append("note", {"key": b"\x00"})
    assert ledger.size() == 0


# --- origin and layout ------------------------------------------------------------------------------------------------


def test_an_origin_is_made_once_and_kept(tmp_path: Path) -> None:
    store = tmp_path / "a" / "store"
    with pytest.raises(StoreError, match="has no ledger yet"):
        store_origin(store, create=False)
    with pytest.raises(StoreError, match="has no ledger yet"):
        Ledger.open(store)
    assert ledgers(store) == []
    origin = store_origin(store)
    assert store_origin(store) == store_origin(store, create=False) == origin == Ledger.open(store).origin
    assert Ledger.open(store).size() == 0
    assert [ledger.origin for ledger in ledgers(store)] == [origin]


def test_a_damaged_store_document_is_refused(tmp_path: Path) -> None:
    store_origin(tmp_path)
    path = tmp_path / "store.json"
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data.replace(b'"origin": "', b'"origin": "0', 1))
    with pytest.raises(StoreError, match="does not match its hash"):
        store_origin(tmp_path)
    path.write_bytes(files.document_bytes({"format": "caligo.store", "schema": 1, "origin": "x"}))
    with pytest.raises(StoreError, match="32 hexadecimal digits"):
        store_origin(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match=r"store\.json"):
        store_origin(tmp_path)


def test_many_threads_agree_on_one_origin(tmp_path: Path) -> None:
    found: list[str] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        found.append(store_origin(tmp_path))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert names(tmp_path) == ["store.json"]


def test_buckets_follow_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.open(tmp_path, create=True)
    previous = ledger.append("note", {}, at=AT)
    previous = ledger.append("note", {}, at=AT)
    # As if everything up to the last entry of the first million were there.
    for last in (999, 999_999):
        path = ledger.entry_path(last)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(previous.data)
        assert ledger.size() == last + 1
        ledger.entry_path(last + 1).parent.mkdir(parents=True)
        assert ledger.size() == last + 1
        entry = ledger.append("note", {"after": last}, at=AT)
        assert (entry.index, entry.previous) == (last + 1, previous.leaf.hex())
        assert ledger.size() == last + 2
    assert ledger.entry_path(10**6).relative_to(ledger.directory).as_posix() == "entries/001/000/001000000.json"
    monkeypatch.setattr(ledger_module, "LARGEST_SIZE", 10**6 + 1)
    with pytest.raises(StoreError, match="full"):
        ledger.append("note", {})


def test_leftovers_and_foreign_names_are_passed_over(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 2)
    bucket = ledger.entry_path(0).parent
    for name in (".000000002.json.1-abc.partial", "notes.txt", "000000009.json.bak", "99.json"):
        (bucket / name).write_bytes(b"{")
    assert ledger.size() == 2
    assert ledger.append("note", {}).index == 2
    check_whole(ledger)


def test_a_gap_is_never_written_over(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 3)
    ledger.entry_path(2).rename(ledger.entry_path(5))
    with pytest.raises(LedgerCorruptError, match="entry 2 of the ledger is missing"):
        list(ledger.entries())
    with pytest.raises(LedgerCorruptError, match="is missing"):
        ledger.root()
    ledger.entry_path(5).rename(ledger.entry_path(2))
    bucket = ledger.directory / "entries" / "007" / "000"
    bucket.mkdir(parents=True)
    with pytest.raises(LedgerCorruptError, match="entry 6999999 of the ledger is missing"):
        ledger.append("note", {})
    bucket.rmdir()
    bucket.parent.rmdir()
    assert ledger.append("note", {}).index == 3


def test_an_entry_that_was_changed_or_moved_is_refused(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 3)
    path = ledger.entry_path(1)
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data + b" ")
    with pytest.raises(LedgerCorruptError, match="not in canonical form") as caught:
        list(ledger.entries())
    assert caught.value.fields["index"] == 1
    path.write_bytes(ledger.entry_path(2).read_bytes())
    with pytest.raises(LedgerCorruptError, match="it is entry 2"):
        ledger.entry(1)
    with open(path, "wb") as file:
        file.truncate(files.DOCUMENT_BYTES + 1)
    with pytest.raises(LedgerCorruptError, match="it is no entry"):
        ledger.entry(1)
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="cannot read the ledger"):
        ledger.entry(1)


# --- many writers ---------------------------------------------------------------------------------------------------

WRITERS = """
import os, sys
from pathlib import Path
from caligo.store.audit.ledger import Ledger

store, writers, each = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
children = []
for writer in range(writers):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for number in range(each):
                Ledger.open(store, create=True).append("note", {"writer": writer, "number": number})
            status = 0
        finally:
            os._exit(status)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * writers
"""


def test_64_processes_lose_nothing_leave_no_gap_and_double_nothing(tmp_path: Path) -> None:
    writers, each = 64, 2
    program = [sys.executable, "-c", WRITERS, str(tmp_path / "store"), str(writers), str(each)]
    subprocess.run(program, check=True, timeout=300)
    ledger = Ledger.open(tmp_path / "store")
    entries = check_whole(ledger)
    written = [(entry.content["writer"], entry.content["number"]) for entry in entries]
    assert sorted(written) == [(writer, number) for writer in range(writers) for number in range(each)]
    for writer in range(writers):
        assert [number for by, number in written if by == writer] == list(range(each))
    assert [name for name in names(ledger.directory) if name.startswith(".")] == []


@pytest.mark.parametrize("linkless", [False, True])
def test_threads_share_a_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linkless: bool) -> None:
    if linkless:
        refuse_links(monkeypatch)
    ledger = Ledger.open(tmp_path, create=True)

    def work(writer: int) -> None:
        for number in range(6):
            ledger.append("note", {"writer": writer, "number": number})

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(entry.content["writer"], entry.content["number"]) for entry in check_whole(ledger)}) == 36


def test_an_impatient_writer_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = filled(tmp_path, 1)
    monkeypatch.setattr(files, "put_new", lambda path, data: False)
    monkeypatch.setattr(Ledger, "_previous", lambda self, index: "00" * 32)
    with pytest.raises(StoreError, match=r"other writers were quicker for 0\.02 s"):
        ledger.append("note", {}, patience_s=0.02)


def test_a_stale_listing_does_not_stop_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = filled(tmp_path, 4)
    monkeypatch.setattr(Ledger, "size", lambda self: 1)
    assert ledger.append("note", {}).index == 4


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from caligo.store import files
from caligo.store.audit.ledger import Ledger

store, told, kills = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
chance = random.Random(7)
if sys.argv[4] == "linkless":
    def refuse(*arguments, **options):
        raise OSError(95, "Operation not supported")
    os.link = refuse
ledger = Ledger.open(store, create=True)
for kill in range(kills):
    children = []
    for writer in range(2):
        child = os.fork()
        if child == 0:
            tell = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            number = 0
            while True:
                entry = ledger.append("note", {"kill": kill, "writer": writer, "number": number})
                os.write(tell, f"{entry.index} {kill} {writer} {number}\\n".encode())
                number += 1
        children.append(child)
    time.sleep(chance.uniform(0.0, 0.12))
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
"""


@pytest.mark.parametrize("way", ["link", "linkless"])
def test_killed_writers_leave_a_whole_ledger(tmp_path: Path, way: str) -> None:
    told = tmp_path / "told"
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "store"), str(told), "20", way]
    subprocess.run(command, check=True, timeout=300)
    ledger = Ledger.open(tmp_path / "store")
    entries = check_whole(ledger)
    lines = [tuple(map(int, line.split())) for line in told.read_text().splitlines()]
    assert len(lines) >= 5
    for index, *content in lines:
        found = entries[index].content
        assert [found["kill"], found["writer"], found["number"]] == content
    assert ledger.append("note", {}).index == len(entries)


# --- faults ---------------------------------------------------------------------------------------------------------

CALLS = ("open", "write", "fsync", "close", "link", "rename", "unlink", "mkdir", "rmdir", "stat", "listdir")


class Stop(BaseException):
    """A process that ends here."""


class Faults:
    """Lets the ``at``-th system call of a ledger misbehave; ``before`` it happens, or ``after``."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count, self.at, self.after = 0, -1, False
        self.error: Callable[[], BaseException] = Stop
        self.failed: str | None = None
        self.dead = False
        # No power fails here: waiting for the disk would only take time.
        patch.setattr(os, "fsync", lambda descriptor: None)
        for name in CALLS:
            patch.setattr(os, name, self._wrap(name, getattr(os, name)))

    def arm(self, at: int, error: Callable[[], BaseException], *, after: bool = False) -> None:
        self.count, self.at, self.error, self.after, self.failed, self.dead = 0, at, error, after, None, False

    def _wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if self.dead and name not in ("close", "stat"):
                raise Stop
            position, self.count = self.count, self.count + 1
            if position != self.at:
                return real(*arguments, **options)
            self.failed = name
            if self.error is Stop:
                self.dead = True
                if name == "write" and self.after:
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                    raise Stop
            if self.after:
                real(*arguments, **options)
            raise self.error()

        return call


def refusal(act: Callable[[], object]) -> CaligoError | None:
    """The error that an action raises, if it does."""
    try:
        act()
    except CaligoError as error:
        return error
    return None


def refuse_links(patch: pytest.MonkeyPatch, code: int = errno.EOPNOTSUPP) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(code, os.strerror(code))

    patch.setattr(os, "link", refuse)


@pytest.mark.parametrize("linkless", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_a_process_may_die_at_any_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linkless: bool, after: bool
) -> None:
    if linkless:
        refuse_links(monkeypatch)
    faults = Faults(monkeypatch)
    position = 0
    while True:
        store = tmp_path / f"{position}"
        faults.arm(position, Stop, after=after)
        with contextlib.suppress(Stop):
            ledger = Ledger.open(store, create=True)
            ledger.append("note", {"number": 0})
            ledger.append("note", {"number": 1})
        failed = faults.failed
        faults.arm(-1, Stop)
        survivor = Ledger.open(store, create=True)
        before = check_whole(survivor)
        assert [entry.content["number"] for entry in before] == list(range(len(before)))
        entry = survivor.append("note", {"number": 2})
        # In a claim that a dead process left, its entry is finished first.
        assert entry.index - len(before) in ((0, 1) if linkless else (0,))
        assert len(check_whole(survivor)) == entry.index + 1
        if failed is None:
            break
        position += 1
    assert position >= 25


@pytest.mark.parametrize("linkless", [False, True])
@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, ResourceError), (errno.EIO, StoreError), (errno.EROFS, StoreError)]
)
def test_every_failing_call_is_told_and_leaves_a_whole_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[CaligoError], linkless: bool
) -> None:
    if linkless:
        refuse_links(monkeypatch)
    faults = Faults(monkeypatch)
    told = position = 0
    while True:
        store = tmp_path / f"{position}"
        faults.arm(position, lambda: OSError(code, os.strerror(code)))
        error = refusal(lambda store=store: Ledger.open(store, create=True).append("note", {"number": 0}))
        assert error is None or type(error) is kind
        told += error is not None
        failed = faults.failed
        faults.arm(-1, Stop)
        ledger = Ledger.open(store, create=True)
        ledger.append("note", {"number": 1})
        assert check_whole(ledger)[-1].content == {"number": 1}
        if failed is None:
            break
        position += 1
    assert told >= 15


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV, errno.EMLINK])
def test_without_hard_links_names_are_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    refuse_links(monkeypatch, code)
    ledger = filled(tmp_path, 3)
    check_whole(ledger)
    bucket = ledger.entry_path(0).parent
    assert not files.put_new(ledger.entry_path(1), b"another")
    check_whole(ledger)
    assert {path.name for path in bucket.iterdir() if path.name.startswith(".")} == {
        f".{index:09}.json.claim" for index in range(3)
    }
    assert sorted(path.name for path in bucket.rglob("*") if path.is_file() and path.name[0] != "0") == ["taken"] * 3


def test_a_dead_claim_is_finished_by_the_next_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_links(monkeypatch)
    path = tmp_path / "entry"
    claim = tmp_path / ".entry.claim"
    claim.mkdir()
    (claim / "taken").touch()
    (claim / "content").write_bytes(b"theirs")
    assert not files.put_new(path, b"ours")
    assert path.read_bytes() == b"theirs"
    assert sorted(names(tmp_path)) == ["entry", "taken"]


def test_a_claim_that_another_finished_is_still_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_links(monkeypatch)
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        real(source, target)
        if str(target).endswith(".claim"):
            real(target / "content", tmp_path / "entry")

    monkeypatch.setattr(os, "rename", rename)
    assert files.put_new(tmp_path / "entry", b"ours")
    assert (tmp_path / "entry").read_bytes() == b"ours"


def test_a_link_whose_answer_was_lost_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def link(source: Path, target: Path) -> None:
        real(source, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", link)
    assert files.put_new(tmp_path / "entry", b"ours")
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


# --- taking over ----------------------------------------------------------------------------------------------------


def test_another_copys_entries_are_taken_over_once(tmp_path: Path) -> None:
    source = filled(tmp_path / "a", 5)
    target = foreign_ledger(tmp_path / "b", source.origin)
    for _ in range(2):
        taken = [target.adopt(entry.data) for entry in source.entries()]
    assert taken == [False] * 5
    assert check_whole(target) == check_whole(source)
    assert target.root() == source.root()
    with pytest.raises(LedgerCorruptError, match="came from another store"):
        target.append("note", {})
    own = store_origin(tmp_path / "b")
    assert [(ledger.origin, ledger.foreign) for ledger in ledgers(tmp_path / "b")] == [
        (own, False),
        (source.origin, True),
    ]
    with pytest.raises(ConfigError, match="32 hexadecimal"):
        foreign_ledger(tmp_path, "..")


def test_a_fork_is_not_taken_over(tmp_path: Path) -> None:
    source = filled(tmp_path / "a", 3)
    entries = list(source.entries())
    target = foreign_ledger(tmp_path / "b", source.origin)
    for entry in entries[:2]:
        target.adopt(entry.data)
    fork = encode_entry(
        origin=source.origin, index=1, kind="note", at=entries[1].at, content={}, previous=entries[0].leaf.hex()
    )
    with pytest.raises(LedgerCorruptError, match="go apart at entry 1"):
        target.adopt(fork)
    later = encode_entry(origin=source.origin, index=2, kind="note", at=entries[1].at, content={}, previous="00" * 32)
    with pytest.raises(LedgerCorruptError, match="go apart at entry 2"):
        target.adopt(later)
    with pytest.raises(LedgerCorruptError, match="in order"):
        foreign_ledger(tmp_path / "c", source.origin).adopt(entries[2].data)
    with pytest.raises(LedgerCorruptError, match="each origin"):
        foreign_ledger(tmp_path / "c", ORIGIN).adopt(entries[0].data)
    with pytest.raises(LedgerCorruptError, match="cannot take over"):
        target.adopt(b"{}")
    assert target.size() == 2


# --- proofs, seals --------------------------------------------------------------------------------------------------


def test_a_ledger_proves_its_entries(tmp_path: Path) -> None:
    from caligo.store.audit import merkle

    ledger = filled(tmp_path, 7)
    leaf = ledger.entry(2).leaf
    assert merkle.verify_inclusion(leaf, 2, 5, ledger.inclusion_proof(2, 5), ledger.root(5))
    assert merkle.verify_consistency(3, 7, ledger.consistency_proof(3), ledger.root(3), ledger.root())
    with pytest.raises(ConfigError, match="0 to 7 entries"):
        ledger.root(8)


def test_every_seal_enters_the_ledger(tmp_path: Path) -> None:
    for _ in range(3):
        with RunWriter.create(tmp_path, "simulate", {"frames": 1}) as writer:
            writer.record({"block": 0})
            writer.seal({})
        entry = list(Ledger.open(tmp_path).entries())[-1]
        assert writer.ledger_error is None
        assert entry.kind == "seal"
        assert entry.content == {
            "run": writer.name,
            "identity": writer.identity,
            "seal_sha256": hashlib.sha256((writer.path / "seal.json").read_bytes()).hexdigest(),
        }
    assert Ledger.open(tmp_path).size() == 3


def test_a_ledger_that_refuses_does_not_hold_up_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "store.json").write_bytes(b"torn")
    with RunWriter.create(tmp_path, "simulate", {}) as writer:
        writer.seal({})
    assert isinstance(writer.ledger_error, StoreError)
    assert [record.name for record in caplog.records] == ["caligo.store"]
    assert "`caligo store repair` enters it" in caplog.text
    assert load_run(writer.path).state is State.SEALED
    (tmp_path / "store.json").unlink()
    assert append_seal(writer.path).content["run"] == writer.name


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE])
def test_a_seal_stands_whatever_the_disk_says_to_its_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The last bytes that fit are those of the seal, or the store became read-only after it."""
    writer = RunWriter.create(tmp_path, "simulate", {})
    sealed, real = writer.path / "seal.json", os.open

    def refuse(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_CREAT and sealed.exists():
            raise OSError(code, os.strerror(code))
        return real(path, flags, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        writer.seal({})
    assert writer.ended == "sealed"
    assert isinstance(writer.ledger_error, ResourceError if code in (errno.ENOSPC, errno.EDQUOT) else StoreError)
    assert load_run(writer.path).state is State.SEALED
    assert append_seal(writer.path).index == 0


def test_only_sealed_runs_of_a_store_are_entered(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, "simulate", {}) as writer:
        with pytest.raises(StoreError, match="cannot enter"):
            append_seal(writer.path)
        writer.seal({})
    with pytest.raises(ConfigError, match="runs of a store"):
        append_seal(tmp_path)


def test_recording_loads_nothing_heavy() -> None:
    script = "import sys, caligo.store; print(*sorted(name.split('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"numpy", "scipy", "cryptography", "pyarrow", "securesystemslib", "sqlite3"}
    assert json.loads(FIRST)["format"] == ledger_module.ENTRY_FORM

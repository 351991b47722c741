"""The audit ledger: an append-only log of one file an entry, written by many without locks.

Covers: the store's origin, appending, reading, and taking over entries of other stores. Does not cover: the proofs
(:mod:`.merkle`), checkpoints (:mod:`.notes`), looking for tampering
(:mod:`.ledger_check`), what entries mean (:mod:`caligo.store.governing.governance`).

An entry is one line of RFC 8785 JSON that names its origin, its index and the leaf hash of the entry before it. It gets
its index by taking the next free file name, which the file system gives to one writer only; a loser writes its entry
anew for the index after that. An index is taken only when the one before it is, so there are no gaps; and an entry
appears whole, so a killed writer leaves nothing but a hidden file. The contract is ``specs/ledger.md``.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from caligo.errors import ConfigError, LedgerCorruptError, SchemaVersionError, StoreError
from caligo.store import files, layout
from caligo.store.audit import merkle
from caligo.store.values import LARGEST_INTEGER, canonical_json, plain

ENTRY_FORM = "caligo.ledger-entry"
STORE_FORM = "caligo.store"
STORE_FILE = "store.json"
SCHEMA = 1
"""Schema number of entries and of ``store.json``."""

LARGEST_SIZE = 10**9
"""Entries that the file names have room for."""

ORIGIN = re.compile(r"[0-9a-f]{32}")
_BUCKET = 1000
_GROUP = re.compile(r"[0-9]{3}")
_ENTRY_FILE = re.compile(r"([0-9]{9})\.json")
_KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")
_HASH = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_MEMBERS = {"at", "content", "format", "index", "kind", "origin", "previous", "schema"}
_sorted_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_USUAL = re.compile(
    rf'\{{"at":"(?P<at>{_TIME.pattern})","content":(?P<content>\{{.*\}}),'
    rf'"format":"{re.escape(ENTRY_FORM)}","index":(?P<index>0|[1-9][0-9]{{0,8}}),"kind":"(?P<kind>{_KIND.pattern})",'
    rf'"origin":"(?P<origin>{ORIGIN.pattern})","previous":(?:null|"(?P<previous>{_HASH.pattern})"),"schema":{SCHEMA}\}}\n',
    re.ASCII,
)
"""An entry whose members are in order; what its content is remains to be seen."""
_USUAL_BYTES = 4096
"""An entry that is shorter is read in one go, without asking for its size."""
_LONGEST_PAUSE_S = 0.5
_LATE_PAUSES_S = (0.01, 0.05, 0.25)


class EntryError(Exception):
    """Bytes that are not an entry as caligo writes it; says why."""


@dataclass(frozen=True)
class Entry:
    """One entry of a ledger.

    Attributes:
        index: place in the ledger, from 0.
        origin: identity of the ledger, 32 hexadecimal digits.
        kind: what happened, such as ``seal`` or ``quarantine``.
        at: when, ISO 8601 in UTC, by the clock of the machine that wrote it.
        content: the particulars.
        previous: leaf hash of the entry before it in hexadecimal, None for the first.
        data: the bytes of its file, which its leaf hash covers.
    """

    index: int
    origin: str
    kind: str
    at: str
    content: dict[str, Any]
    previous: str | None
    data: bytes

    @property
    def leaf(self) -> bytes:
        """Its leaf hash, 32 bytes."""
        return merkle.leaf_hash(self.data)


def encode_entry(
    *, origin: str, index: int, kind: str, at: str, content: Mapping[str, Any], previous: str | None
) -> bytes:
    """The bytes of an entry; arguments as the attributes of :class:`Entry`."""
    return (
        canonical_json(
            {
                "at": at,
                "content": content,
                "format": ENTRY_FORM,
                "index": index,
                "kind": kind,
                "origin": origin,
                "previous": previous,
                "schema": SCHEMA,
            }
        )
        + b"\n"
    )


def _small_integer(digits: str) -> int:
    if len(digits) > 15:
        raise ValueError(digits)
    return int(digits)


def _unusual(text: str) -> Any:
    raise ValueError(text)


_decode_usual = json.JSONDecoder(parse_int=_small_integer, parse_float=_unusual, parse_constant=_unusual).decode


def parse_entry(data: bytes) -> Entry:
    """The entry that bytes hold.

    Raises:
        EntryError: they are not an entry, or not in its canonical form.
        SchemaVersionError: a newer caligo wrote it.
    """
    entry = _usual_entry(data)
    return _parse_any(data) if entry is None else entry


def _usual_entry(data: bytes) -> Entry | None:
    """The entry that ASCII bytes without doubles hold; None: look closer.

    Outside of the content an entry is one pattern. So it is an entry in canonical form when its content is: an object
    that comes out the same when it is written again, members sorted.
    """
    if not data.isascii():
        return None
    found = _USUAL.fullmatch(data.decode("ascii"))
    if found is None:
        return None
    at, text, index, kind, origin, previous = found.groups()
    try:
        content = _decode_usual(text)
        if _sorted_json(content) != text:
            return None
    except (ValueError, RecursionError):
        return None
    number = int(index)
    if (number == 0) != (previous is None):
        return None
    return Entry(number, origin, kind, at, content, previous, data)


def _parse_any(data: bytes) -> Entry:
    """As :func:`parse_entry`, for every spelling."""

    def whole(digits: str) -> int | float:
        # Beyond 2^53 - 1 canonical JSON has doubles only.
        return float(digits) if len(digits) > 17 or abs(int(digits)) > LARGEST_INTEGER else int(digits)

    try:
        document = json.loads(data, parse_int=whole)
    except (ValueError, RecursionError) as error:
        raise EntryError("it is not JSON") from error
    if not isinstance(document, dict) or document.get("format") != ENTRY_FORM:
        raise EntryError(f"it is not a {ENTRY_FORM}")
    schema = document.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise SchemaVersionError(
            f"expected ledger entries up to schema {SCHEMA}, got {schema}; upgrade caligo", expected=SCHEMA, got=schema
        )
    index, previous = document.get("index"), document.get("previous")
    if (
        set(document) != _MEMBERS
        or type(schema) is not int
        or schema < 1
        or type(index) is not int
        or not 0 <= index < LARGEST_SIZE
        or not _is_text(document["origin"], ORIGIN)
        or not _is_text(document["kind"], _KIND)
        or not _is_text(document["at"], _TIME)
        or not isinstance(document["content"], dict)
        or not (previous is None if index == 0 else _is_text(previous, _HASH))
    ):
        raise EntryError("a member is missing, too much, or of the wrong type")
    try:
        canonical = canonical_json(document) + b"\n"
    except (ConfigError, RecursionError, UnicodeEncodeError) as error:
        raise EntryError("it has no canonical form") from error
    if canonical != data:
        raise EntryError("it is not in canonical form")
    return Entry(index, document["origin"], document["kind"], document["at"], document["content"], previous, data)


def _is_text(value: object, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


# --- origin -----------------------------------------------------------------------------------------------------------


def store_origin(store: str | os.PathLike[str], *, create: bool = True) -> str:
    """The identity of a store and of its ledger.

    Args:
        store: directory of the store.
        create: give the store one when it has none.

    Returns:
        32 hexadecimal digits.

    Raises:
        StoreError: there is none and ``create`` is false, or ``store.json`` cannot be read or written.
        SchemaVersionError: a newer caligo wrote it.
        ResourceError: no space.
    """
    base = Path(store).absolute()
    path = base / STORE_FILE
    for _ in range(2):
        try:
            document = files.read_document(path, STORE_FORM)
        except FileNotFoundError:
            if not create:
                break
            _make_origin(base)
            continue
        except OSError as error:
            raise files.storage_error(error, "read the store's origin", path) from error
        except files.DocumentError as error:
            raise StoreError(
                f"cannot use {path}: {error}; copy it back from another copy of the store", path=str(path)
            ) from error
        schema, origin = document.get("schema"), document.get("origin")
        if isinstance(schema, int) and schema > SCHEMA:
            raise SchemaVersionError(
                f"expected a store up to schema {SCHEMA}, {path} has {schema}; upgrade caligo", path=str(path)
            )
        if not _is_text(origin, ORIGIN):
            raise StoreError(f"expected 32 hexadecimal digits as the origin in {path}; copy it back from another copy")
        return str(origin)
    raise StoreError(
        f"{base} has no {STORE_FILE}, so it has no ledger yet; seal a run there, or name another store with --store",
        path=str(base),
    )


def _make_origin(base: Path) -> None:
    document = {
        "format": STORE_FORM,
        "schema": SCHEMA,
        "origin": secrets.token_hex(16),
        "created_at": layout.utc_text(datetime.now(UTC)),
    }
    with files.storing("give the store an origin", base / STORE_FILE):
        base.mkdir(parents=True, exist_ok=True)
        files.put_new(base / STORE_FILE, files.document_bytes(document))


# --- ledger -----------------------------------------------------------------------------------------------------------


class Ledger:
    """One append-only log of a store. Holds no open file: any number of processes and threads may use the same one.

    Its size is what the directory shows at the moment; an entry, once there, never changes.
    """

    def __init__(self, directory: Path, origin: str, *, foreign: bool = False) -> None:
        self.directory = directory
        """``<store>/ledger/<origin>``."""
        self._entries = os.fspath(directory / "entries")
        self.origin = origin
        """Identity of the ledger, 32 hexadecimal digits."""
        self.foreign = foreign
        """Whether it came from another store by a merge; such a ledger takes no entries of its own."""

    @classmethod
    def open(cls, store: str | os.PathLike[str], create: bool = False) -> Self:
        """The store's own ledger.

        Args:
            store: directory of the store.
            create: give the store an origin, and thereby a ledger, when it has none.

        Raises:
            StoreError: there is none and ``create`` is false; also as :func:`store_origin`.
            ResourceError: no space.
        """
        origin = store_origin(store, create=create)
        return cls(_ledger_directory(Path(store).absolute(), origin), origin)

    def __repr__(self) -> str:
        return f"Ledger({str(self.directory)!r})"

    # --- reading ------------------------------------------------------------------------------------------------------

    def entry_path(self, index: int) -> Path:
        """Where the entry of an index lies, whether there is one or not."""
        return Path(self._place_of(index))

    def _place_of(self, index: int) -> str:
        digits = f"{index:09}"
        return f"{self._entries}/{digits[:3]}/{digits[3:6]}/{digits}.json"

    def size(self) -> int:
        """Number of entries, from three directory listings.

        Raises:
            StoreError: the directory cannot be read.
        """
        place = self.directory / "entries"
        numbers: list[int] = []
        with files.storing("read the ledger", place):
            for _ in range(2):
                number = _largest(place, _GROUP)
                if number is None:
                    break
                numbers.append(number)
                place = place / f"{number:03}"
            if len(numbers) == 2:
                last = _largest(place, _ENTRY_FILE)
                # A bucket is made only when the one before it is full.
                return numbers[0] * _BUCKET**2 + numbers[1] * _BUCKET if last is None else last + 1
        return numbers[0] * _BUCKET**2 if numbers else 0

    def read(self, index: int) -> bytes:
        """The bytes of one entry, unchecked.

        Raises:
            LedgerCorruptError: there is no such entry, or it is too large to be one.
            StoreError: it cannot be read.
        """
        path = self._place_of(index)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.read(descriptor, _USUAL_BYTES)
                if len(data) == _USUAL_BYTES:
                    data = self._read_long(descriptor, path)
                return data
            finally:
                os.close(descriptor)
        except FileNotFoundError as error:
            raise LedgerCorruptError(
                f"entry {index} of the ledger is missing ({path}); copy it back from another copy of the store",
                path=path,
                index=index,
            ) from error
        except OSError as error:
            raise files.storage_error(error, "read the ledger", Path(path)) from error

    @staticmethod
    def _read_long(descriptor: int, path: str) -> bytes:
        """All bytes of a file that is longer than usual."""
        size = os.fstat(descriptor).st_size
        if size > files.DOCUMENT_BYTES:
            raise LedgerCorruptError(
                f"expected at most {files.DOCUMENT_BYTES} bytes in {path}; it is no entry", path=path
            )
        return os.pread(descriptor, size, 0)

    def entries(self, first: int = 0) -> Iterator[Entry]:
        """The entries in order, as many as there are when reading begins.

        Args:
            first: index to begin with.

        Raises:
            LedgerCorruptError: one is missing, or is not what was written there.
            SchemaVersionError: a newer caligo wrote it.
            StoreError: one cannot be read.
        """
        for index in range(first, self.size()):
            yield self.entry(index)

    def entry(self, index: int) -> Entry:
        """One entry. Raises as :meth:`entries`."""
        try:
            entry = parse_entry(self.read(index))
        except EntryError as error:
            raise self._corrupt(index, str(error)) from error
        if (entry.index, entry.origin) != (index, self.origin):
            raise self._corrupt(index, f"it is entry {entry.index} of {entry.origin}")
        return entry

    def _corrupt(self, index: int, why: str) -> LedgerCorruptError:
        path = self.entry_path(index)
        return LedgerCorruptError(
            f"entry {index} of the ledger is not what was written ({path}: {why}); `caligo store ledger verify` shows "
            "all that is wrong; copy the ledger back from another copy of the store",
            path=str(path),
            index=index,
        )

    # --- proofs -------------------------------------------------------------------------------------------------------

    def leaves(self, size: int | None = None) -> list[bytes]:
        """Leaf hashes of the first ``size`` entries (None: all), over their bytes as they are.

        Raises:
            ConfigError: there are fewer.
            LedgerCorruptError: one is missing.
        """
        there = self.size()
        if size is None:
            size = there
        if not 0 <= size <= there:
            raise ConfigError(f"expected a size of 0 to {there} entries, got {size}; the ledger holds no more")
        return [merkle.leaf_hash(self.read(index)) for index in range(size)]

    def root(self, size: int | None = None) -> bytes:
        """Merkle tree hash of the first ``size`` entries (None: all). Raises as :meth:`leaves`."""
        return merkle.root(self.leaves(size))

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Proof that an entry is the ``index``-th of the first ``size``. Raises as :meth:`leaves`."""
        return merkle.inclusion_path(self.leaves(size), index)

    def consistency_proof(self, first: int, second: int | None = None) -> list[bytes]:
        """Proof that the first ``first`` entries begin the first ``second``. Raises as :meth:`leaves`."""
        return merkle.consistency_path(self.leaves(second), first)

    # --- appending ----------------------------------------------------------------------------------------------------

    def append(
        self, kind: str, content: Mapping[str, Any], *, at: datetime | None = None, patience_s: float = 60.0
    ) -> Entry:
        """Append one entry; it is durable when this returns.

        Args:
            kind: what happened: 1 to 32 of ``a-z 0-9 -``, a letter first.
            content: the particulars; small JSON values, never key bits.
            at: when; None is now.
            patience_s: seconds to try while other writers are quicker.

        Returns:
            The entry with its index.

        Raises:
            ConfigError: a bad kind, or a value that must not be stored.
            LedgerCorruptError: the ledger has a gap, or is another store's.
            StoreError: the ledger cannot be written; the entry is not there, or (when only making it durable failed)
                is there whole.
            ResourceError: the disk or the quota is full; likewise.
        """
        if not _KIND.fullmatch(kind):
            raise ConfigError(f"expected a kind of 1 to 32 of 'a-z 0-9 -', a letter first, got {kind!r}", kind=kind)
        if self.foreign:
            raise LedgerCorruptError(
                f"{self.directory} came from another store and takes no entries; append to the store's own ledger"
            )
        particulars = plain(content, "content")
        moment = layout.utc_text(datetime.now(UTC) if at is None else at)
        give_up = time.monotonic() + patience_s
        # Jitter only keeps rivals apart; nothing that is written depends on it.
        jitter, pause_s, index = random.Random(), 0.001, 0
        while True:
            index = max(index, self.size())
            previous = self._previous(index)
            data = encode_entry(
                origin=self.origin, index=index, kind=kind, at=moment, content=particulars, previous=previous
            )
            if self._place(index, data):
                return Entry(index, self.origin, kind, moment, particulars, previous, data)
            if time.monotonic() >= give_up:
                raise StoreError(
                    f"cannot append to {self.directory}: other writers were quicker for {patience_s} s; try again",
                    path=str(self.directory),
                )
            index += 1
            time.sleep(jitter.uniform(0.0, pause_s))
            pause_s = min(pause_s * 2.0, _LONGEST_PAUSE_S)

    def adopt(self, data: bytes) -> bool:
        """Take over one entry from another copy of this ledger, at its own index and byte for byte.

        Args:
            data: bytes of the entry.

        Returns:
            True when it was taken, False when it was there already.

        Raises:
            LedgerCorruptError: it is no entry of this ledger, does not follow the entries here, or another entry has
                its index (a fork).
            SchemaVersionError: a newer caligo wrote it.
            StoreError: the ledger cannot be written.
            ResourceError: the disk or the quota is full.
        """
        try:
            entry = parse_entry(data)
        except EntryError as error:
            raise LedgerCorruptError(f"cannot take over an entry: {error}; verify the ledger it comes from") from error
        if entry.origin != self.origin:
            raise LedgerCorruptError(
                f"expected an entry of {self.origin}, got one of {entry.origin}; each origin has its own ledger"
            )
        if entry.index > self.size():
            raise LedgerCorruptError(
                f"expected entry {self.size()} of {self.origin}, got {entry.index}; take them over in order"
            )
        if not self.entry_path(entry.index).exists():
            previous = self._previous(entry.index)
            if previous == entry.previous and self._place(entry.index, data):
                return True
            if previous != entry.previous:
                raise self._forked(entry.index)
        if self.read(entry.index) != data:
            raise self._forked(entry.index)
        return False

    def _forked(self, index: int) -> LedgerCorruptError:
        return LedgerCorruptError(
            f"two copies of ledger {self.origin} go apart at entry {index}: a copy of the store was written to, or a "
            "ledger was rewritten; compare both with a checkpoint (`caligo store ledger verify --checkpoint`)",
            origin=self.origin,
            index=index,
        )

    def _previous(self, index: int) -> str | None:
        """Leaf hash of the entry before an index; asks again where a file system shows a new file late."""
        if index == 0:
            return None
        for pause_s in _LATE_PAUSES_S:
            with suppress(LedgerCorruptError):
                return merkle.leaf_hash(self.read(index - 1)).hex()
            time.sleep(pause_s)
        return merkle.leaf_hash(self.read(index - 1)).hex()

    def _place(self, index: int, data: bytes) -> bool:
        """Put an entry at an index unless that is taken."""
        if index >= LARGEST_SIZE:
            raise StoreError(f"the ledger {self.directory} is full: it has {index} entries; begin another store")
        path = self.entry_path(index)
        with files.storing("append to the ledger", path):
            if index % _BUCKET == 0:
                self._make_bucket(index)
            return files.put_new(path, data)

    def _make_bucket(self, index: int) -> None:
        """The directory of an index, durable, after the entries before it.

        Whoever writes the first entry of a bucket makes its directories durable, whoever made them: every later entry
        rests on that.
        """
        if index:
            files.sync_directory(self.entry_path(index - 1).parent)
        bucket = self.entry_path(index).parent
        bucket.mkdir(parents=True, exist_ok=True)
        for directory in bucket.parents:
            files.sync_directory(directory)
            if directory == self.directory.parent.parent:
                break


def _largest(place: Path, pattern: re.Pattern[str]) -> int | None:
    """The largest number among the names of a directory; None when there is none."""
    try:
        names = os.listdir(place)
    except FileNotFoundError:
        return None
    return max((int(name[:9].partition(".")[0]) for name in names if pattern.fullmatch(name)), default=None)


def _ledger_directory(store: Path, origin: str) -> Path:
    return store / "ledger" / origin


def ledgers(store: str | os.PathLike[str]) -> list[Ledger]:
    """Every ledger of a store: its own first (when it has an origin), then those that merges brought, by origin.

    Raises:
        StoreError: ``store.json`` or the directory cannot be read.
    """
    base = Path(store).absolute()
    found: list[Ledger] = []
    if (base / STORE_FILE).exists():
        found.append(Ledger.open(base))
    place = base / "ledger"
    with files.storing("list the ledgers", place):
        names = sorted(os.listdir(place)) if place.is_dir() else []
    own = {ledger.origin for ledger in found}
    found += [Ledger(place / name, name, foreign=True) for name in names if ORIGIN.fullmatch(name) and name not in own]
    return found


def foreign_ledger(store: str | os.PathLike[str], origin: str) -> Ledger:
    """The ledger of another origin within a store, to take over entries with :meth:`Ledger.adopt`."""
    if not ORIGIN.fullmatch(origin):
        raise ConfigError(f"expected an origin of 32 hexadecimal digits, got {origin!r}")
    return Ledger(_ledger_directory(Path(store).absolute(), origin), origin, foreign=True)


# --- seals ------------------------------------------------------------------------------------------------------------


def append_seal(run_directory: str | os.PathLike[str], *, patience_s: float = 10.0) -> Entry:
    """Enter the seal of a run in the ledger of its store.

    Args:
        run_directory: ``<store>/runs/<name>``, sealed.
        patience_s: as in :meth:`Ledger.append`.

    Returns:
        The entry, of kind ``seal``: ``run``, ``identity``, ``seal_sha256`` (over the bytes of ``seal.json``).

    Raises:
        ConfigError: the directory does not lie in the runs of a store.
        StoreError: the run has no readable ``run.json`` and ``seal.json``; also as :meth:`Ledger.append`.
        ResourceError: no space.
    """
    directory = Path(run_directory).absolute()
    if directory.parent.name != "runs":
        raise ConfigError(f"expected a run in the runs of a store, got {directory}; only those enter its ledger")
    ledger = Ledger.open(directory.parent.parent, create=True)
    return ledger.append("seal", seal_content(directory), patience_s=patience_s)


def seal_content(run_directory: Path) -> dict[str, Any]:
    """What the entry of a sealed run says.

    Raises:
        StoreError: no readable ``run.json`` and ``seal.json``.
    """
    try:
        document = files.read_document(run_directory / layout.RUN_FILE, layout.RUN_FORM)
        seal = (run_directory / layout.SEAL_FILE).read_bytes()
    except (OSError, files.DocumentError) as error:
        raise StoreError(
            f"cannot enter {run_directory} in the ledger: no readable run.json and seal.json ({error})",
            path=str(run_directory),
        ) from error
    return {
        "run": document.get("run"),
        "identity": document.get("identity"),
        "seal_sha256": hashlib.sha256(seal).hexdigest(),
    }

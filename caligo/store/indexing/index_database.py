"""The two databases that can hold an index: a local SQLite file (or memory), and PostgreSQL by URL.

Covers: connecting, the tables, transactions, bulk insertion, and what is specific to each. Does not cover: what is put
into the tables (:mod:`.index`), filters (:mod:`.index_sql`).

Both have the same tables and take the same SQL with ``?`` for parameters. The index is disposable: it lies on local
disk, never in a store, and whatever is wrong with a file of ours is answered by building it anew. A file that was never
ours is refused, never overwritten.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from caligo.errors import ConfigError, ResourceError, StoreError
from caligo.store.indexing.flatten import NUMBERS, TOP_LEVEL
from caligo.store.indexing.index_sql import LikeSql, postgres_like, sqlite_like

SCHEMA = 1
"""Number of the tables' layout; an index of another is built anew."""

_APPLICATION = 0x63616C69
_PATIENCE_S = 60.0
_LOCK = 0x63616C6967
"""Key of the advisory lock under which an index in PostgreSQL is written."""

Tuple: TypeAlias = tuple[Any, ...]

BEHIND_TOP_LEVEL = ("begun", "why", "process", "stamp", "inode", "final", "set_aside")
"""Columns of the runs table besides ``row_id``, ``store`` and the top-level names."""

RUN_COLUMNS = ("row_id", "store", *TOP_LEVEL, *BEHIND_TOP_LEVEL)
VALUE_COLUMNS = ("name", "run", "kind", "number", "text")

_TABLES = f"""
CREATE TABLE stores (id INTEGER PRIMARY KEY, place TEXT NOT NULL UNIQUE, runs_changed BIGINT, folded TEXT NOT NULL);
CREATE TABLE names (id INTEGER PRIMARY KEY, store INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (store, name));
CREATE TABLE runs (row_id INTEGER PRIMARY KEY, store INTEGER NOT NULL,
    {", ".join(f"{name} {'FLOATING' if name in NUMBERS else 'TEXT'}" for name in TOP_LEVEL)},
    begun TEXT NOT NULL, why TEXT NOT NULL, process TEXT NOT NULL, stamp TEXT NOT NULL, inode TEXT NOT NULL,
    final INTEGER NOT NULL, set_aside INTEGER NOT NULL, UNIQUE (store, run));
CREATE INDEX runs_by_time ON runs (store, begun, run);
CREATE INDEX runs_unfinished ON runs (store, row_id) WHERE final = 0;
CREATE TABLE vals (name INTEGER NOT NULL, run INTEGER NOT NULL, kind TEXT NOT NULL, number FLOATING, text TEXT,
    PRIMARY KEY (name, run)) ROWLESS;
CREATE TABLE ledgers (store INTEGER NOT NULL, origin TEXT NOT NULL, size INTEGER NOT NULL, latest TEXT NOT NULL,
    PRIMARY KEY (store, origin)) ROWLESS;
CREATE TABLE standings (store INTEGER NOT NULL, run TEXT NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (store, run)) ROWLESS
"""


class Database(ABC):
    """A connection to an index."""

    like: LikeSql
    """How this database says that a text is like a pattern."""
    place: str
    """Where the index is, for people."""

    @abstractmethod
    def fetch(self, sql: str, values: Sequence[Any] = ()) -> list[Tuple]:
        """The rows of a SELECT."""

    @abstractmethod
    def run(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Execute a statement."""

    @abstractmethod
    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute a statement for each row of values."""

    @abstractmethod
    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows."""

    def forget(self, store: int) -> None:
        """Remove everything about one store but its number."""
        with self.writing():
            self.run("DELETE FROM vals WHERE name IN (SELECT id FROM names WHERE store = ?)", [store])
            for table in ("names", "runs", "ledgers", "standings"):
                self.run(f"DELETE FROM {table} WHERE store = ?", [store])
            self.run("UPDATE stores SET runs_changed = NULL, folded = '' WHERE id = ?", [store])

    @abstractmethod
    def writing(self) -> Any:
        """A context: a transaction in which no other process writes."""

    @abstractmethod
    def close(self) -> None:
        """End the connection."""


def index_place(store: Path, url: str | None = None) -> str:
    """Where the index of a store is.

    Args:
        store: directory of the store.
        url: a path, ``:memory:``, or a ``postgresql://`` URL; None is ``$CALIGO_INDEX``, else a file in the cache.

    Returns:
        A URL, an absolute path, or ``:memory:`` where there is no place for a cache.

    Raises:
        ConfigError: it would lie inside the store.
    """
    named = os.environ.get("CALIGO_INDEX", "") if url is None else url
    if is_url(named) or named == ":memory:":
        return named
    if named:
        path = Path(named).expanduser().absolute()
    else:
        cache = os.environ.get("XDG_CACHE_HOME", "")
        try:
            base = Path(cache) if os.path.isabs(cache) else Path.home() / ".cache"
        except RuntimeError:
            return ":memory:"
        digest = hashlib.sha256(os.fsencode(store.absolute())).hexdigest()[:32]
        path = base / "caligo" / "index" / f"{digest}.sqlite"
    if path.is_relative_to(store.absolute()):
        raise ConfigError(
            f"expected a place for the index outside the store, got {path}: a store may lie on a file system that "
            "databases do not survive on; name a local file or leave CALIGO_INDEX and --index out",
            path=str(path),
        )
    return str(path)


def is_url(place: str) -> bool:
    """Whether a place is a PostgreSQL URL rather than a path."""
    return place.startswith(("postgresql://", "postgres://"))


def open_database(place: str, *, own_place: bool) -> Database:
    """Connect, and make the tables where they are missing.

    Args:
        place: of :func:`index_place`.
        own_place: a file there is ours whatever it looks like (the user's cache), so that it may be replaced.

    Raises:
        ConfigError: there is a file that is not an index.
        StoreError: the server cannot be reached.
        ResourceError: the PostgreSQL client library is missing.
    """
    return PostgresDatabase(place) if is_url(place) else SqliteDatabase(place, own_place=own_place)


# --- SQLite -------------------------------------------------------------------------------------------------------


class SqliteDatabase(Database):
    """An index in a local file; in memory where that cannot be written.

    Args:
        place: path, or ``:memory:``.
        own_place: whether whatever lies there may be replaced.
    """

    like = staticmethod(sqlite_like)

    def __init__(self, place: str, *, own_place: bool) -> None:
        self.place = place
        self._own_place = own_place
        self._connection = self._connect()

    @property
    def in_memory(self) -> bool:
        """Whether nothing of it will last."""
        return self.place == ":memory:"

    def _connect(self) -> sqlite3.Connection:
        if self.in_memory:
            return self._prepared(self._raw(":memory:"))
        path = Path(self.place)
        self._refuse_foreign(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(path if path.exists() else path.parent, os.W_OK) or not os.access(path.parent, os.W_OK):
                return self._into_memory()
            try:
                return self._prepared(self._raw(self.place))
            except _Unusable:
                return self._anew()
        except (OSError, sqlite3.OperationalError):
            return self._into_memory()

    @staticmethod
    def _raw(place: str, *, uri: bool = False) -> sqlite3.Connection:
        return sqlite3.connect(place, timeout=_PATIENCE_S, isolation_level=None, uri=uri)

    def _refuse_foreign(self, path: Path) -> None:
        try:
            with open(path, "rb") as file:
                head = file.read(100)
        except OSError:
            return
        if self._own_place or not head or head[68:72] == _APPLICATION.to_bytes(4, "big"):
            return
        raise ConfigError(
            f"expected an index of caligo at {path}, it is another kind of file; name another place with --index or "
            "CALIGO_INDEX, or remove the file",
            path=str(path),
        )

    @staticmethod
    def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
        """With the tables in it.

        Raises:
            _Unusable: it is damaged, or has other tables.
        """
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA cache_size = -16384")
            if connection.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
                connection.execute("BEGIN IMMEDIATE")
                if connection.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
                    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                        raise _Unusable
                    for statement in _TABLES.split(";"):
                        connection.execute(statement.replace("FLOATING", "").replace("ROWLESS", "WITHOUT ROWID"))
                    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                    connection.execute(f"PRAGMA user_version = {SCHEMA}")
                connection.execute("COMMIT")
            connection.execute("SELECT count(*) FROM stores").fetchone()
        except (sqlite3.DatabaseError, _Unusable) as error:
            connection.close()
            if isinstance(error, sqlite3.OperationalError) and "no such table" not in str(error):
                raise
            raise _Unusable from error
        return connection

    def _anew(self) -> sqlite3.Connection:
        """A new file in the place of one that cannot be used."""
        for name in (self.place, f"{self.place}-journal"):
            with suppress(FileNotFoundError):
                os.unlink(name)
        try:
            return self._prepared(self._raw(self.place))
        except _Unusable:
            return self._into_memory()

    def _into_memory(self) -> sqlite3.Connection:
        """A copy in memory of what the file has, if it can be read."""
        path, self.place = Path(self.place).absolute(), ":memory:"
        connection = self._raw(":memory:")
        with suppress(sqlite3.Error):
            source = self._raw(f"{path.as_uri()}?mode=ro", uri=True)
            try:
                source.backup(connection)
            finally:
                source.close()
        try:
            return self._prepared(connection)
        except _Unusable:
            return self._prepared(self._raw(":memory:"))

    def replace(self) -> None:
        """Begin anew with empty tables: the file was found to be damaged."""
        self._connection.close()
        self._connection = self._prepared(self._raw(":memory:")) if self.in_memory else self._anew()

    def leave_file(self) -> None:
        """Go on in memory: the file cannot be written."""
        self._connection.close()
        self._connection = self._into_memory()

    def fetch(self, sql: str, values: Sequence[Any] = ()) -> list[Tuple]:
        """The rows of a SELECT."""
        return self._connection.execute(sql, values).fetchall()

    def run(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Execute a statement."""
        self._connection.execute(sql, values)

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute a statement for each row of values."""
        self._connection.executemany(sql, rows)

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows."""
        marks = ", ".join("?" * len(columns))
        self._connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction in which no other process writes."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


class _Unusable(Exception):
    """The file is not an index as this caligo makes it."""


# --- PostgreSQL ---------------------------------------------------------------------------------------------------


class PostgresDatabase(Database):
    """An index on a server, in a schema of its own that also names the layout of the tables.

    Args:
        url: ``postgresql://user@host/database``; passwords belong in ``~/.pgpass`` and are never shown.
    """

    like = staticmethod(postgres_like)

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise ResourceError(
                "an index in PostgreSQL needs its client library: pip install 'caligo[postgres]'"
            ) from error
        parts = urlsplit(url)
        self.place = f"postgresql://{parts.hostname or ''}{parts.path}"
        self._error = psycopg.Error
        self._schema = f"caligo_index_{SCHEMA}"
        with self._translating("reach"):
            self._connection = psycopg.connect(url, autocommit=True, connect_timeout=10, application_name="caligo")
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def _translating(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise StoreError(
                f"cannot {what} the index at {self.place}: {reason}; check the server and your rights there, or leave "
                "--index and CALIGO_INDEX out for a local index",
                place=self.place,
            ) from error

    def _prepare(self) -> None:
        with self._translating("prepare"):
            found = self._connection.execute(
                "SELECT 1 FROM pg_namespace WHERE nspname = %s", (self._schema,)
            ).fetchone()
            if found is None:
                with self._connection.transaction():
                    self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                    self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self._schema}".encode())
                    self._connection.execute(f"SET search_path TO {self._schema}".encode())
                    if self._connection.execute("SELECT to_regclass('stores')").fetchone() == (None,):
                        for statement in _TABLES.split(";"):
                            tables = statement.replace("FLOATING", "DOUBLE PRECISION").replace("ROWLESS", "")
                            self._connection.execute(tables.replace("TEXT", 'TEXT COLLATE "C"').encode())
            self._connection.execute(f"SET search_path TO {self._schema}".encode())

    def fetch(self, sql: str, values: Sequence[Any] = ()) -> list[Tuple]:
        """The rows of a SELECT."""
        with self._translating("read"):
            return list(self._connection.execute(_marked(sql), values).fetchall())

    def run(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Execute a statement."""
        with self._translating("write"):
            self._connection.execute(_marked(sql), values)

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute a statement for each row of values."""
        with self._translating("write"), self._connection.cursor() as cursor:
            cursor.executemany(_marked(sql), rows)

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows."""
        statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()
        with self._translating("write"), self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction in which no other process writes."""
        with self._translating("write"), self._connection.transaction():
            self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            yield

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _marked(sql: str) -> bytes:
    """The SQL with this library's mark for parameters; ours has no ``?`` but marks."""
    return sql.replace("%", "%%").replace("?", "%s").encode()

"""A real PostgreSQL server for tests, on a Unix socket, in a scratch directory, gone afterwards.

Covers: the fixtures ``postgres_server`` (one a session) and ``postgres_url`` (a database, emptied after each test).
Does not cover: what is asked of it. Where the tests run as root, the server runs as an unprivileged user: it refuses
root.
"""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

_PATIENCE_S = 60.0


def program(name: str) -> str | None:
    """A program of the newest server that is installed."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: float(path.split("/")[4]))
    return found[-1] if found else shutil.which(name)


def _unprivileged() -> tuple[list[str], pwd.struct_passwd | None] | None:
    """What goes before a command so that root does not run it, and who runs it; None: there is nobody else."""
    if os.geteuid() != 0:
        return [], None
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"], user
    return None


@pytest.fixture(scope="session")
def postgres_server(require: object) -> Iterator[str]:
    """The directory of a server's socket."""
    assert callable(require)
    initdb, postgres = program("initdb"), program("postgres")
    require("postgres", bool(initdb and postgres), "no server is installed (Debian/Ubuntu: apt install postgresql)")
    pytest.importorskip("psycopg")
    assert initdb
    assert postgres
    runner = _unprivileged()
    require("postgres", runner is not None, "there is no unprivileged user to run it as")
    assert runner
    prefix, user = runner
    place = Path(tempfile.mkdtemp(prefix="caligo-postgres-"))
    if user is not None:
        os.chown(place, user.pw_uid, user.pw_gid)
    data, log = place / "data", place / "log"
    server: subprocess.Popen[bytes] | None = None
    try:
        subprocess.run(
            [*prefix, initdb, "-D", data, "-U", "caligo", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
            cwd=place,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        settings = {"listen_addresses": "", "unix_socket_directories": place, "fsync": "off", "full_page_writes": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with open(log, "wb") as out:
            server = subprocess.Popen(
                [*prefix, postgres, "-D", data, *options], cwd=place, stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )
        _wait(place, server, log)
        yield str(place)
    finally:
        if server is not None:
            server.send_signal(signal.SIGINT)
            server.wait(_PATIENCE_S)
        shutil.rmtree(place, ignore_errors=True)


def _wait(place: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    give_up = time.monotonic() + _PATIENCE_S
    while True:
        try:
            psycopg.connect(_url(str(place), "postgres")).close()
        except psycopg.OperationalError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.02)
        else:
            return


def _url(place: str, database: str) -> str:
    return f"postgresql://caligo@/{database}?host={quote(place, safe='')}"


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A database without any schema but its own."""
    import psycopg

    yield _url(postgres_server, "postgres")
    with psycopg.connect(_url(postgres_server, "postgres"), autocommit=True) as connection:
        names = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname <> 'public' AND nspname NOT LIKE 'pg%' "
            "AND nspname <> 'information_schema'"
        ).fetchall()
        for (name,) in names:
            connection.execute(f"DROP SCHEMA {name} CASCADE".encode())

"""Names: where a store lies, what its directories and files are called.

Covers: the default store, run names, file names, format names and the schema number. Does not cover: content.

A store is a directory; its runs are ``runs/<name>/``. A run's name is ``<UTC time>-<kind>-<short id>``, such as
``20250314T092653.589Z-reconcile-3f9a1c2e``: names sort by time, and the short id (the first eight digits of the
attempt id) keeps hundreds of ranks that start in the same millisecond apart.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from caligo.errors import ConfigError, StoreError

SCHEMA = 2
"""Schema number written to every document of a run."""

RUN_FORM = "caligo.run"
SEAL_FORM = "caligo.seal"
INTERRUPTION_FORM = "caligo.interruption"

RUN_FILE = "run.json"
SEAL_FILE = "seal.json"
INTERRUPTION_FILE = "interrupted.json"

RUN_NAME = re.compile(r"(\d{8}T\d{6}\.\d{3}Z)-([a-z][a-z0-9_-]{0,31})-([0-9a-f]{8})")
RECORD_FILE = re.compile(r"records-([a-z0-9][a-z0-9_.-]{0,63})\.jsonl")
COMPACTED_FILE = re.compile(r"records-([a-z0-9][a-z0-9_.-]{0,63})\.parquet")
_KIND = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_WRITER = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def default_store() -> Path:
    """The store when none is named: ``$CALIGO_STORE``, else ``$XDG_DATA_HOME/caligo/store``, else
    ``~/.local/share/caligo/store``.

    Returns:
        An absolute path; it need not exist.

    Raises:
        StoreError: there is no home directory to fall back on.
    """
    named = os.environ.get("CALIGO_STORE")
    if named:
        return Path(named).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(data):
        return Path(data, "caligo", "store")
    try:
        home = Path.home()
    except RuntimeError as error:
        raise StoreError(
            "no place for the store: there is no home directory; set CALIGO_STORE or pass --store"
        ) from error
    return home / ".local" / "share" / "caligo" / "store"


def runs_directory(store: Path) -> Path:
    """Where a store keeps its runs."""
    return store / "runs"


def conflicts_directory(store: Path) -> Path:
    """Where a store keeps other versions of runs and branches of ledgers, which a merge could not order."""
    return store / "conflicts"


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run_name(moment: datetime, kind: str, attempt: str) -> str:
    """The name of a run's directory."""
    stamp = utc_text(moment).replace("-", "").replace(":", "")
    return f"{stamp}-{kind}-{attempt[:8]}"


def check_kind(kind: str) -> str:
    """Refuse a kind that does not fit a directory name.

    Raises:
        ConfigError: not lower-case letters, digits, ``_`` and ``-``, at most 32.
    """
    if not _KIND.fullmatch(kind):
        raise ConfigError(
            f"expected a kind of 1 to 32 lower-case letters, digits, '_' or '-', a letter first, got {kind!r}",
            kind=kind,
        )
    return kind


def check_campaign(campaign: str | None) -> str | None:
    """Refuse a campaign's name that no list could show.

    Raises:
        ConfigError: empty, longer than 128 characters, or with characters that cannot be printed.
    """
    if campaign is not None and not (0 < len(campaign) <= 128 and campaign.isprintable()):
        raise ConfigError(
            f"expected a campaign's name of 1 to 128 printable characters, got {campaign[:200]!r}; choose another name"
        )
    return campaign


def record_file(writer: str) -> str:
    """The name of a writer's record file.

    Raises:
        ConfigError: the writer's name does not fit a file name.
    """
    if not _WRITER.fullmatch(writer):
        raise ConfigError(
            f"expected a writer name of 1 to 64 lower-case letters, digits, '_', '-' or '.', got {writer!r}; "
            "name it after its rank, such as rank0007",
            writer=writer,
        )
    return f"records-{writer}.jsonl"


def writer_of(name: str) -> str | None:
    """The writer whose records a file holds, as lines or compacted; None for any other file."""
    match = RECORD_FILE.fullmatch(name) or COMPACTED_FILE.fullmatch(name)
    return None if match is None else match[1]


def compacted_file(writer: str) -> str:
    """The name of a writer's records as Parquet."""
    return record_file(writer).removesuffix(".jsonl") + ".parquet"


def writers(names: Iterable[str], sealed: Iterable[str] = ()) -> dict[str, str]:
    """Which file holds the records of each writer.

    Args:
        names: the files of a run.
        sealed: those that its seal lists.

    Returns:
        Writer -> file name, in order of file name. Where a writer has lines and a Parquet file, the lines are
        meant unless the seal lists the Parquet file and not them: compaction ends with the seal.
    """
    listed, chosen = set(sealed), {}
    for name in sorted(names):
        writer = writer_of(name)
        if writer is None:
            continue
        lines, compacted = record_file(writer), compacted_file(writer)
        replaced = compacted in listed and lines not in listed
        if writer not in chosen or name == (compacted if replaced else lines):
            chosen[writer] = name
    return dict(sorted(chosen.items(), key=lambda item: item[1]))

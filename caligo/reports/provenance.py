"""Where a run comes from and what stands for it: its place in the ledger, its proof, its lineage.

Covers: the sections of a run's page about the audit ledger and about runs it is related to. Does not cover: the ledger
itself (:mod:`caligo.store.ledger`), which it only reads.
"""

from __future__ import annotations

from pathlib import Path

from caligo.errors import LedgerCorruptError, StoreError
from caligo.reports.model import Column, Fact, Section, Table
from caligo.store import Run, governance
from caligo.store.ledger import Entry, Ledger, ledgers

_MOST_PATH = 64


def store_of(run: Run) -> Path | None:
    """The store that a run lies in; None for a run directory elsewhere."""
    return run.path.parent.parent if run.path.parent.name == "runs" else None


def standing_text(run: Run) -> str:
    """What the ledger says of a run; empty where it says nothing or cannot be read."""
    store = store_of(run)
    if store is None:
        return ""
    try:
        return governance.standing(store).get(run.name, governance.NO_STANDING).text
    except (StoreError, LedgerCorruptError):
        return ""


def ledger_section(run: Run) -> Section:
    """The entry of the run's seal, and the proof that it is in the ledger."""
    title = "Audit ledger"
    store = store_of(run)
    if store is None or run.seal is None:
        return Section("ledger", title)
    try:
        found = _seal_entry(store, run.name)
    except (StoreError, LedgerCorruptError) as error:
        return Section("ledger", title, (f"The ledger cannot be read: {error}",))
    if found is None:
        return Section("ledger", title)
    ledger, entry = found
    size = ledger.size()
    proof = ledger.inclusion_proof(entry.index, size)
    rows = tuple((level, node.hex()) for level, node in enumerate(proof[:_MOST_PATH]))
    columns = (Column("level", "Level"), Column("hash", "Hash beside the path", code=True))
    table = Table("inclusion-proof", "Inclusion proof, from the leaf to the root (RFC 6962)", columns, rows)
    return Section(
        "ledger",
        title,
        (
            "The seal of this run is an entry of an append-only log. With the leaf, the path below and the root, "
            "anybody can check that it is there; only who has kept an earlier checkpoint elsewhere can tell that the "
            "log was not written anew.",
        ),
        facts=(
            Fact("origin", "Log", ledger.origin),
            Fact("index", "Entry", entry.index, note=f"entered {entry.at}"),
            Fact("leaf", "Leaf hash", entry.leaf.hex()),
            Fact("size", "Size of the log", size),
            Fact("root", "Root hash", ledger.root(size).hex()),
            Fact("seal_sha256", "SHA-256 of the seal", str(entry.content.get("seal_sha256"))),
        ),
        tables=(table,) if rows else (),
    )


def _seal_entry(store: Path, run: str) -> tuple[Ledger, Entry] | None:
    for ledger in ledgers(store):
        for index in range(ledger.size() - 1, -1, -1):
            entry = ledger.entry(index)
            if entry.kind == "seal" and entry.content.get("run") == run:
                return ledger, entry
    return None


def lineage_section(run: Run) -> Section:
    """Runs that this one goes on with, or follows from."""
    parents = run.document.get("parents")
    rows = tuple((str(parent),) for parent in parents) if isinstance(parents, list) else ()
    table = Table("parents", "Runs that this one follows from", (Column("run", "Run", code=True),), rows)
    return Section("lineage", "Lineage", tables=(table,) if rows else ())

"""Where a run comes from and what stands for it: its place in the ledger, its proof, its lineage.

Covers: the sections of a run's page about the audit ledger and about runs it is related to. Does not cover: the ledger
itself (:mod:`caligo.store.audit.ledger`), which it only reads.
"""

from __future__ import annotations

from pathlib import Path

from caligo.errors import ConfigError, LedgerCorruptError, StoreError
from caligo.reports.figures import number
from caligo.reports.model import Column, Fact, Section, Table
from caligo.store import Run
from caligo.store.audit import merkle
from caligo.store.audit.ledger import Ledger, seal_content
from caligo.store.audit.notes import Checkpoint, NoteError, parse_checkpoint
from caligo.store.audit.proofs import covering_checkpoint, find_seal
from caligo.store.comparing.lineage import Lineage, Node, find_lineage, lineage_of
from caligo.store.governing import governance

_MOST_EDGES = 100
_MEANING = (
    "The seal of this run is an entry of an append-only ledger. With the leaf, the path and the root, anybody can "
    "check that it is there; only who has kept an earlier checkpoint elsewhere can tell that the ledger was not "
    "written anew."
)


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
        ledger, entry = find_seal(store, run.name)
        checkpoint, signers = _checkpoint(ledger, entry.index)
        size = ledger.size() if checkpoint is None else checkpoint.size
        leaves = ledger.leaves(size)
        sealed_now = seal_content(run.path)["seal_sha256"]
    except ConfigError:
        return Section("ledger", title)
    except (StoreError, LedgerCorruptError) as error:
        return Section("ledger", title, (f"The ledger cannot be read: {error.message}",))
    root = merkle.root(leaves)
    paragraphs = [_MEANING]
    if checkpoint is not None and checkpoint.root != root:
        paragraphs.append(
            f"The ledger does not have the root that its checkpoint of {number(size)} entries says: entries were "
            "changed, removed or put elsewhere after it was signed. `caligo store ledger verify` shows what is wrong."
        )
    if entry.content.get("seal_sha256") != sealed_now:
        paragraphs.append(
            "The entry does not have the hash of seal.json as it is now: it was changed, or written anew."
        )
    rows = tuple((level, node.hex()) for level, node in enumerate(merkle.inclusion_path(leaves, entry.index)))
    columns = (Column("level", "Level"), Column("hash", "Hash beside the path", code=True))
    table = Table("inclusion-proof", "Inclusion proof, from the leaf to the root (RFC 6962)", columns, rows)
    facts = [
        Fact("origin", "Ledger", ledger.origin),
        Fact("index", "Entry", entry.index, note=f"entered {entry.at}"),
        Fact("seal_sha256", "SHA-256 of the seal", str(entry.content.get("seal_sha256"))),
        Fact("leaf", "Leaf hash", entry.leaf.hex()),
        Fact("size", "Entries under the root", size, note="as of the checkpoint" if checkpoint else "of all so far"),
        Fact("root", "Root hash", root.hex()),
    ]
    if checkpoint is not None:
        said = Fact("checkpoint_root", "Root hash of the checkpoint", checkpoint.root.hex())
        facts += [said, Fact("checkpoint_signers", "Checkpoint signed by", signers, note="signatures not checked here")]
    short = run.name.rpartition("-")[2]
    return Section(
        "ledger",
        title,
        tuple(paragraphs),
        facts=tuple(facts),
        tables=(table,) if rows else (),
        commands=(
            (f"caligo store ledger prove {short}", "writes the proof as a file that can be checked without this store"),
            ("caligo store ledger verify", "reads every ledger and holds it against the checkpoints beside it"),
        ),
    )


def _checkpoint(ledger: Ledger, index: int) -> tuple[Checkpoint | None, str]:
    """The largest checkpoint that covers an entry, and who says to have signed it; None where there is none."""
    try:
        checkpoint, note = parse_checkpoint(covering_checkpoint(ledger, index))
    except (ConfigError, NoteError):
        return None, ""
    return checkpoint, ", ".join(signature.name for signature in note.signatures)


def lineage_section(run: Run) -> Section:
    """What the run came of, and what came of it."""
    title = "Lineage"
    store = store_of(run)
    if store is None:
        return Section("lineage", title)
    try:
        graph = lineage_of(find_lineage(store), run.name)
    except (StoreError, LedgerCorruptError) as error:
        return Section("lineage", title, (f"It cannot be read: {error.message}",))
    shown = graph.edges[:_MOST_EDGES]
    rows = tuple((_named(edge.first, graph), edge.relation, _named(edge.then, graph)) for edge in shown)
    columns = (Column("first", "First", code=True), Column("relation", "Relation"), Column("then", "Then", code=True))
    table = Table("lineage", "What came of what", columns, rows, len(graph.edges) - len(shown))
    problems = tuple(f"Not all of it can be read: {problem}" for problem in graph.problems)
    return Section("lineage", title, problems, tables=(table,) if rows else ())


def _named(node: Node, graph: Lineage) -> str:
    missing = " (missing)" if graph.facts[node].get("missing") else ""
    return f"{node.label}{missing}" if node.kind == "run" else f"{node.kind} {node.label}{missing}"

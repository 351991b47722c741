"""The ledger's proof in a bundle: that the seal of its run was entered, and where.

Covers: making the proof for a run's seal, checking it without the store. Does not cover: the ledger
(:mod:`caligo.store.ledger`), what a checkpoint is worth to whom (:mod:`caligo.store.notes`).

The proof is against the newest checkpoint that is kept beside the ledger and covers the entry, since others may hold a
copy of it; where there is none, against the ledger as it was when the seal was entered, under a checkpoint that the
bundle's signer signs. So later entries do not change a bundle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caligo.errors import BundleError, SchemaVersionError, StoreError
from caligo.store import layout, merkle, notes
from caligo.store.ledger import Entry, EntryError, Ledger, ledgers, parse_entry
from caligo.store.signing import Signer
from caligo.store.trust import Trust

ENTRY_FILE = "ledger/entry.json"
CHECKPOINT_FILE = "ledger/checkpoint.txt"
LEDGER_PROOF = (CHECKPOINT_FILE, ENTRY_FILE)
"""Files of the proof in a bundle."""


@dataclass(frozen=True)
class SealProof:
    """Proof that a ledger has a seal.

    Attributes:
        facts: for the statement: ``origin``, ``index``, ``size``, ``root`` and ``path`` (hexadecimal).
        files: name in the bundle -> content.
    """

    facts: dict[str, Any]
    files: dict[str, bytes]


def proof_of_seal(directory: Path, run: str, signer: Signer) -> SealProof | None:
    """Proof that the ledger of a run's store has its seal as it is.

    Args:
        directory: of the run.
        run: its name.
        signer: signs a checkpoint where none is kept.

    Returns:
        None for a run outside a store, and where no ledger of the store has the seal.

    Raises:
        LedgerCorruptError: an entry is missing or damaged.
        StoreError: the seal or a ledger cannot be read.
    """
    if directory.parent.name != "runs":
        return None
    seal_sha256 = hashlib.sha256((directory / layout.SEAL_FILE).read_bytes()).hexdigest()
    for ledger in ledgers(directory.parent.parent):
        entry = next((entry for entry in ledger.entries() if _is_of(entry, run, seal_sha256)), None)
        if entry is not None:
            return _proof(ledger, entry, signer)
    return None


def _is_of(entry: Entry, run: str, seal_sha256: str) -> bool:
    content = entry.content
    return entry.kind == "seal" and (content.get("run"), content.get("seal_sha256")) == (run, seal_sha256)


def _proof(ledger: Ledger, entry: Entry, signer: Signer) -> SealProof:
    size, note = entry.index + 1, b""
    for path in sorted((ledger.directory / "checkpoints").glob("*.txt"), reverse=True):
        match = notes.CHECKPOINT_FILE.fullmatch(path.name)
        if match is None or not entry.index < int(match[1]) <= ledger.size():
            continue
        with suppress(notes.NoteError):
            kept = path.read_bytes()
            checkpoint, _ = notes.parse_checkpoint(kept)
            if checkpoint.origin == ledger.origin and checkpoint.root == ledger.root(checkpoint.size):
                size, note = checkpoint.size, kept
                break
    root = ledger.root(size)
    if not note:
        text = notes.Checkpoint(ledger.origin, size, root).text
        note = notes.Note(text, (notes.sign_text(text, signer),)).data
    return SealProof(
        {
            "origin": ledger.origin,
            "index": entry.index,
            "size": size,
            "root": root.hex(),
            "path": [node.hex() for node in ledger.inclusion_proof(entry.index, size)],
        },
        {ENTRY_FILE: entry.data, CHECKPOINT_FILE: note},
    )


def check_proof(
    facts: Mapping[str, Any] | None, files: Mapping[str, bytes], run: str, seal_sha256: str, trust: Trust
) -> str:
    """Check the proof of a bundle.

    Args:
        facts: what the statement says; None: that there is no proof.
        files: content of the proof's files.
        run: name of the run.
        seal_sha256: of its ``seal.json``.
        trust: whose signatures on a checkpoint count.

    Returns:
        ``none``; ``included`` where nobody who is trusted signed the checkpoint; else ``included, checkpoint signed
        by`` and names.

    Raises:
        BundleError: it does not prove what it claims.
    """
    if facts is None:
        return "none"
    try:
        entry = parse_entry(files[ENTRY_FILE])
        checkpoint, note = notes.parse_checkpoint(files[CHECKPOINT_FILE])
        index, size, root = facts["index"], facts["size"], bytes.fromhex(facts["root"])
        path = [bytes.fromhex(node) for node in facts["path"]]
        same = (entry.index, entry.origin) == (index, facts["origin"])
        same = same and (checkpoint.origin, checkpoint.size, checkpoint.root) == (facts["origin"], size, root)
        proved = type(size) is int and merkle.verify_inclusion(entry.leaf, index, size, path, root)
    except SchemaVersionError:
        raise
    except (KeyError, TypeError, ValueError, EntryError, StoreError) as error:
        raise BundleError(f"the ledger's proof is incomplete or malformed ({error})") from error
    if not same or not _is_of(entry, run, seal_sha256):
        raise BundleError("the ledger's proof is of another entry, or of another seal")
    if not proved:
        raise BundleError("the ledger's proof does not lead to the root of its checkpoint")
    believed = notes.check_signatures(note, trust).believed
    if not believed:
        return "included"
    return "included, checkpoint signed by " + ", ".join(sorted({key.key.name for key in believed}))

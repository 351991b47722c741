"""The ledger's proof in a bundle: that the seal of its run was entered, and where.

Covers: making the proof for a run's seal, checking it without the store. Does not cover: the ledger
(:mod:`caligo.store.audit.ledger`), proof files as such (:mod:`caligo.store.audit.proofs`), what a checkpoint is worth
to whom (:mod:`caligo.store.audit.notes`).

The proof is against the newest checkpoint that is kept beside the ledger and covers the entry, since others may hold a
copy of it; where there is none, against the ledger as it was when the seal was entered, under a checkpoint that the
bundle's signer signs. So later entries do not change a bundle. Beside the proof file lies the script that checks it
without caligo.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caligo.errors import BundleError, ConfigError, LedgerCorruptError, SignatureError
from caligo.store import layout
from caligo.store.audit import notes, proofs
from caligo.store.audit.ledger import Entry, Ledger, ledgers
from caligo.store.bundles.signing import Signer
from caligo.store.bundles.trust import Trust

PROOF_FILE = "ledger/proof.json"
SCRIPT_FILE = "ledger/verify_ledger.py"


@dataclass(frozen=True)
class SealProof:
    """Proof that a ledger has a seal.

    Attributes:
        facts: for the statement: ``origin``, ``index`` and ``size``.
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
            proof = proofs.make_proof(ledger, entry.index, _checkpoint(ledger, entry.index, signer))
            script = (Path(__file__).parents[1] / "audit" / "verify_ledger.py").read_bytes()
            return SealProof(
                {name: proof[name] for name in ("origin", "index", "size")},
                {PROOF_FILE: proofs.proof_bytes(proof), SCRIPT_FILE: script},
            )
    return None


def _is_of(entry: Entry, run: str, seal_sha256: str) -> bool:
    content = entry.content
    return entry.kind == "seal" and (content.get("run"), content.get("seal_sha256")) == (run, seal_sha256)


def _checkpoint(ledger: Ledger, index: int, signer: Signer) -> bytes:
    """The largest kept checkpoint that covers an entry, else one over the ledger as it was with that entry."""
    with suppress(ConfigError):
        return proofs.covering_checkpoint(ledger, index)
    text = notes.Checkpoint(ledger.origin, index + 1, ledger.root(index + 1)).text
    return notes.Note(text, (notes.sign_text(text, signer),)).data


def check_proof(facts: Mapping[str, Any] | None, data: bytes | None, run: str, seal_sha256: str, trust: Trust) -> str:
    """Check the proof of a bundle.

    Args:
        facts: what the statement says; None: that there is no proof.
        data: the proof file.
        run: name of the run.
        seal_sha256: of its ``seal.json``.
        trust: whose signatures on a checkpoint count.

    Returns:
        ``none``; ``included`` where nobody who is trusted signed the checkpoint; else ``included, checkpoint signed
        by`` and names.

    Raises:
        BundleError: it does not prove what it claims.
        SchemaVersionError: a newer caligo wrote it.
    """
    if facts is None or data is None:
        if facts is None and data is None:
            return "none"
        raise BundleError("the ledger's proof is incomplete")
    try:
        proved = proofs.check_proof(data)
    except LedgerCorruptError as error:
        raise BundleError(error.message) from error
    entry, checkpoint = proved.entry, proved.checkpoint
    said = {"origin": entry.origin, "index": entry.index, "size": checkpoint.size}
    if dict(facts) != said or not _is_of(entry, run, seal_sha256):
        raise BundleError("the ledger's proof is of another entry, or of another seal")
    try:
        believed = proofs.check_proof(data, trust).believed
    except SignatureError:
        return "included"
    return f"included, checkpoint signed by {', '.join(sorted(set(believed)))}" if believed else "included"

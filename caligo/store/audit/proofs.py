"""Proof files: that one entry is in a ledger, for someone who has neither the ledger nor caligo.

Covers: making a proof file from a ledger and a checkpoint of it, checking one. Does not cover: the ledger as a whole
(:mod:`.ledger_check`).

A proof file is JSON with the entry's bytes as a text, its inclusion path, and the signed checkpoint that the path leads
to. The standalone script :mod:`.verify_ledger` checks it as well.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from caligo.errors import ConfigError, LedgerCorruptError, SchemaVersionError, SignatureError
from caligo.store import files
from caligo.store.audit import merkle
from caligo.store.audit.ledger import Entry, EntryError, Ledger, ledgers, parse_entry
from caligo.store.audit.notes import CHECKPOINT_FILE, Checkpoint, NoteError, check_signatures, parse_checkpoint
from caligo.store.bundles.trust import Trust

PROOF_FORM = "caligo.ledger-proof"
SCHEMA = 1
"""Schema number of proof files."""

_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Proved:
    """What a proof file shows.

    Attributes:
        entry: the entry.
        checkpoint: of the ledger that it is in.
        believed: names of trusted keys that signed the checkpoint; empty when there was no trust file.
    """

    entry: Entry
    checkpoint: Checkpoint
    believed: tuple[str, ...]


def find_seal(store: str | os.PathLike[str], run: str) -> tuple[Ledger, Entry]:
    """The last entry of kind ``seal`` for a run, in the store's own ledger or, where that has none, in a foreign one.

    Raises:
        ConfigError: no ledger has one.
        LedgerCorruptError: an entry is missing, or is not what was written.
    """
    for ledger in ledgers(store):
        found = None
        for entry in ledger.entries():
            if entry.kind == "seal" and entry.content.get("run") == run:
                found = entry
        if found is not None:
            return ledger, found
    raise ConfigError(
        f"no ledger of {os.fspath(store)} has the seal of {run}; `caligo store repair` enters it", run=run
    )


def covering_checkpoint(ledger: Ledger, index: int) -> bytes:
    """The largest checkpoint beside a ledger, which must cover an entry.

    Raises:
        ConfigError: none does.
        StoreError: it cannot be read.
    """
    place = ledger.directory / "checkpoints"
    with files.storing("read the checkpoints", place):
        names = sorted(os.listdir(place)) if place.is_dir() else []
        names = [name for name in names if CHECKPOINT_FILE.fullmatch(name) and int(name[:9]) > index]
        if names:
            return (place / names[-1]).read_bytes()
    raise ConfigError(
        f"no checkpoint covers entry {index} of {ledger.directory}; make one with `caligo store ledger checkpoint`",
        index=index,
    )


def make_proof(ledger: Ledger, index: int, checkpoint: bytes) -> dict[str, Any]:
    """The proof that an entry is in a ledger.

    Args:
        ledger: with all entries that the checkpoint covers.
        index: of the entry.
        checkpoint: a signed note of this ledger that covers it.

    Returns:
        The content of a proof file.

    Raises:
        ConfigError: the checkpoint is none, or does not cover the entry.
        LedgerCorruptError: the ledger does not have the root of the checkpoint, or an entry is missing.
    """
    try:
        parsed, _ = parse_checkpoint(checkpoint)
    except NoteError as error:
        raise ConfigError(f"cannot use the checkpoint: {error}") from error
    if parsed.origin != ledger.origin or not 0 <= index < parsed.size:
        raise ConfigError(
            f"expected a checkpoint of {ledger.origin} over more than {index} entries, got one of {parsed.origin} over "
            f"{parsed.size}"
        )
    leaves = ledger.leaves(parsed.size)
    if merkle.root(leaves) != parsed.root:
        raise LedgerCorruptError(
            "the ledger does not have the root of the checkpoint; `caligo store ledger verify` shows what is wrong",
            size=parsed.size,
        )
    return {
        "format": PROOF_FORM,
        "schema": SCHEMA,
        "origin": ledger.origin,
        "index": index,
        "size": parsed.size,
        "entry": ledger.entry(index).data.decode("utf-8"),
        "inclusion": [value.hex() for value in merkle.inclusion_path(leaves, index)],
        "checkpoint": checkpoint.decode("utf-8"),
    }


def proof_bytes(proof: Mapping[str, Any]) -> bytes:
    """A proof as the bytes of its file."""
    return json.dumps(proof, indent=2, ensure_ascii=True).encode("ascii") + b"\n"


def check_proof(data: bytes, trust: Trust | None = None) -> Proved:
    """Check a proof file, without the ledger.

    Args:
        data: bytes of the file.
        trust: whose signatures count; None, or a trust file without keys, leaves the signature unchecked.

    Returns:
        What it shows.

    Raises:
        LedgerCorruptError: it proves nothing; the message says why.
        SignatureError: no trusted key signed the checkpoint, or one has a wrong signature there.
        SchemaVersionError: a newer caligo wrote it.
        ResourceError: the package cryptography is not installed, and there is a trust file.
    """
    document = _parsed(data)
    try:
        entry = parse_entry(document["entry"].encode("utf-8"))
        checkpoint, note = parse_checkpoint(document["checkpoint"].encode("utf-8"))
    except (EntryError, NoteError, UnicodeEncodeError) as error:
        raise _worthless(f"its entry or checkpoint is none ({error})") from error
    named = (document["origin"], document["index"], document["size"])
    if (entry.origin, entry.index, checkpoint.size) != named or checkpoint.origin != entry.origin:
        raise _worthless("entry, checkpoint and proof are not of one ledger, index and size")
    path = [bytes.fromhex(value) for value in document["inclusion"]]
    reached = merkle.root_from_inclusion(entry.leaf, entry.index, checkpoint.size, path)
    if reached != checkpoint.root:
        raise _worthless(
            f"the path leads to {'nothing' if reached is None else reached.hex()}, the checkpoint has "
            f"{checkpoint.root.hex()}"
        )
    believed: tuple[str, ...] = ()
    if trust is not None and trust.keys:
        signatures = check_signatures(note, trust)
        if signatures.refused or not signatures.believed:
            why = "; ".join(f"{name}: {reason}" for name, reason in signatures.refused) or "no trusted key signed it"
            raise SignatureError(f"cannot believe the checkpoint of the proof: {why}; see `caligo store key list`")
        believed = tuple(key.key.name for key in signatures.believed)
    return Proved(entry, checkpoint, believed)


def _parsed(data: bytes) -> dict[str, Any]:
    """The members of a proof file, of the right types."""
    if len(data) > files.DOCUMENT_BYTES:
        raise _worthless(f"it is larger than {files.DOCUMENT_BYTES} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _worthless("it is not JSON") from error
    if not isinstance(document, dict) or document.get("format") != PROOF_FORM:
        raise _worthless(f"it is not a {PROOF_FORM}")
    schema, inclusion = document.get("schema"), document.get("inclusion")
    if isinstance(schema, int) and schema > SCHEMA:
        raise SchemaVersionError(f"expected proofs up to schema {SCHEMA}, got {schema}; upgrade caligo")
    if (
        type(schema) is not int
        or schema < 1
        or not all(isinstance(document.get(name), str) for name in ("entry", "checkpoint", "origin"))
        or not all(type(document.get(name)) is int for name in ("index", "size"))
        or not isinstance(inclusion, list)
        or not all(isinstance(value, str) and _HASH.fullmatch(value) for value in inclusion)
    ):
        raise _worthless("a member is missing or of the wrong type")
    return document


def _worthless(why: str) -> LedgerCorruptError:
    return LedgerCorruptError(f"this proof proves nothing: {why}; ask for another", reason=why)

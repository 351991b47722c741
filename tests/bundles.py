"""Bundles as a signer without scruples would make them: changed, sealed anew, signed again."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from caligo.store.bundles.archive import write_archive
from caligo.store.bundles.bundle import ENVELOPE_FILE, PAYLOAD_TYPE, STATEMENT_FILE
from caligo.store.bundles.envelope import seal_envelope
from caligo.store.bundles.signing import Signer
from caligo.store.files import document_bytes
from caligo.store.records import frame_record, record_salt
from caligo.store.values import canonical_json, encode_record


def members_of(path: Path) -> dict[str, bytes]:
    """Name -> content of everything in a bundle, by the standard library's reader."""
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def opened(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The statement and the other files."""
    contents = members_of(path)
    del contents[ENVELOPE_FILE]
    return json.loads(contents.pop(STATEMENT_FILE)), contents


def sign_again(statement: dict[str, Any], contents: dict[str, bytes], signer: Signer, path: Path) -> None:
    """Write a bundle whose digests, sizes and signature are right."""
    statement["predicate"]["sizes"] = {name: len(data) for name, data in sorted(contents.items())}
    statement["subject"] = [
        {"name": name, "digest": {"sha256": hashlib.sha256(data).hexdigest()}}
        for name, data in sorted(contents.items())
    ]
    payload = canonical_json(statement)
    whole = [
        (ENVELOPE_FILE, seal_envelope(payload, PAYLOAD_TYPE, signer)),
        (STATEMENT_FILE, payload),
        *sorted(contents.items()),
    ]
    write_archive(path, ((name, len(data), [data]) for name, data in whole), replace=True)


def document_of(data: bytes) -> dict[str, Any]:
    """The content of a self-checked document."""
    document: dict[str, Any] = json.loads(data)
    del document["sha256"]
    return document


class Forgery:
    """The run of a bundle in the hands of somebody who can rewrite all of it and has a trusted key."""

    def __init__(self, path: Path) -> None:
        self.statement, self.contents = opened(path)
        self.statement["predicate"]["ledger"] = None
        for name in [name for name in self.contents if name.startswith("ledger/")]:
            del self.contents[name]
        self.run = self.statement["predicate"]["run"]["name"]
        self.place = f"runs/{self.run}/"
        self.document = document_of(self.contents[f"{self.place}run.json"])
        self.seal = document_of(self.contents[f"{self.place}seal.json"])

    def change_records(self, change: Callable[[list[dict[str, Any]]], object], writer: str = "main") -> None:
        """Change the records of a writer, their hashes made right."""
        name = f"{self.place}records-{writer}.jsonl"
        records = [json.loads(line)["r"] for line in self.contents[name].splitlines()]
        change(records)
        salt = record_salt(self.run, writer)
        lines = [frame_record(salt, index, encode_record(record)) for index, record in enumerate(records)]
        self.contents[name] = b"".join(lines)

    def write(self, signer: Signer, path: Path) -> Path:
        """Seal and sign again."""
        self.contents[f"{self.place}run.json"] = document_bytes(self.document)
        for name, entry in self.seal["files"].items():
            data = self.contents[self.place + name]
            entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            if "records" in entry:
                entry["records"] = data.count(b"\n")
        self.contents[f"{self.place}seal.json"] = document_bytes(self.seal)
        predicate = self.statement["predicate"]
        predicate["seal_sha256"] = hashlib.sha256(self.contents[f"{self.place}seal.json"]).hexdigest()
        predicate["results"] = self.seal["summary"]
        for name in ("configuration", "seeds", "security_randomness", "engine", "machine", "code"):
            predicate[name] = self.document[name]
        sign_again(self.statement, self.contents, signer, path)
        return path

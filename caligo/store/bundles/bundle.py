"""Signed bundles: one file with a run, what made it, and proof that nothing of it was changed.

Covers: what is in a bundle, verifying one, taking the run out of it. Does not cover: writing one
(:mod:`.bundle_writer`), the envelope (:mod:`.envelope`), the archive
(:mod:`.archive`), running it again (:mod:`caligo.jobs.replay`).

A bundle is an archive: the envelope, the statement that is signed in it, the run's files as they are, the environment,
and the ledger's proof for the seal. The statement names every other file with its SHA-256 and repeats what the run says
of itself, so that a reader of the statement alone is not misled; verification holds one against the other. Equal run,
key, time and environment give an equal file.

No key bits and no digest of a key are in a bundle: what a run directory holds is all there is, and a run directory has
none. Contract: ``specs/bundle.md``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caligo.errors import BundleError, ConfigError, SchemaVersionError, SignatureError, StoreError
from caligo.store import files, layout
from caligo.store.bundles import archive
from caligo.store.bundles.archive import ArchiveError, ArchiveReader, safe_name
from caligo.store.bundles.bundle_ledger import PROOF_FILE, check_proof
from caligo.store.bundles.envelope import open_envelope
from caligo.store.bundles.trust import Trust, TrustedKey, key_moment
from caligo.store.findings import Code, Finding
from caligo.store.migrations import migrate_document
from caligo.store.values import run_identity

PAYLOAD_TYPE = "application/vnd.caligo.bundle+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:caligo:bundle:1"
SUFFIX = ".caligo-bundle.tar"

ENVELOPE_FILE = "bundle.dsse.json"
STATEMENT_FILE = "bundle.json"
LOCK_DIRECTORY = "environment"

MOST_FILES = 4096
"""Files in a bundle."""

LARGEST_STATEMENT = 16 * 1024 * 1024
REPEATED = ("configuration", "seeds", "security_randomness", "engine", "machine", "code")
"""Members of ``run.json`` that the statement repeats."""

KEY_POLICY = (
    "This bundle holds no key bits and no digest of a key. To replay a reconciliation, ask the owner of its two key "
    "files for them."
)


@dataclass(frozen=True)
class BundledFile:
    """One file of a bundle.

    Attributes:
        name: in the archive.
        size: bytes.
        sha256: of its content.
        offset: of its content within the bundle, in bytes.
    """

    name: str
    size: int
    sha256: str
    offset: int


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        path: of the file.
        size: of it, in bytes.
        sha256: of it.
        statement: what was signed.
        signer: the trusted key that signed.
        files: all that the statement names, in order.
        proof: what was found of the ledger: see :func:`.bundle_ledger.check_proof`.
    """

    path: Path
    size: int
    sha256: str
    statement: dict[str, Any]
    signer: TrustedKey
    files: tuple[BundledFile, ...]
    proof: str

    @property
    def predicate(self) -> dict[str, Any]:
        """What the statement says of the run."""
        predicate: dict[str, Any] = self.statement["predicate"]
        return predicate

    @property
    def run(self) -> str:
        """Name of the run."""
        return str(self.predicate["run"]["name"])

    def read(self, name: str) -> bytes:
        """The content of one file, checked again.

        Raises:
            BundleError: there is no such file, or the bundle was changed since it was verified.
            StoreError: it cannot be read.
        """
        for entry in self.files:
            if entry.name == name:
                return b"".join(self._pieces(entry))
        raise BundleError(f"expected {name!r} in {self.path}, there is none", path=str(self.path))

    def extract_run(self, store: str | os.PathLike[str]) -> Path:
        """Put the run into a directory as into a store.

        Args:
            store: the directory; made when missing.

        Returns:
            The run directory.

        Raises:
            BundleError: the bundle was changed since it was verified.
            StoreError: it cannot be written, or the run is there already.
            ResourceError: the disk is full.
        """
        directory = layout.runs_directory(Path(store).absolute()) / self.run
        prefix = f"runs/{self.run}/"
        with files.storing("take the run out of its bundle", directory):
            directory.mkdir(parents=True)
            for entry in self.files:
                if not entry.name.startswith(prefix):
                    continue
                with open(directory / entry.name.removeprefix(prefix), "xb") as file:
                    for piece in self._pieces(entry):
                        file.write(piece)
        return directory

    def _pieces(self, entry: BundledFile) -> Iterator[bytes]:
        digest = hashlib.sha256()
        with files.storing("read the bundle", self.path), open(self.path, "rb") as file:
            file.seek(entry.offset)
            left = entry.size
            while left and (piece := file.read(min(left, 1 << 20))):
                left -= len(piece)
                digest.update(piece)
                yield piece
        if left or digest.hexdigest() != entry.sha256:
            raise BundleError(f"{self.path} was changed since it was verified; get it again", path=str(self.path))


def _refuse(code: Code, path: Path, what: str, where: str = "") -> BundleError:
    finding = Finding(code, what, where or path.name)
    return BundleError(f"{code}: {path}: {what}; {finding.remedy}", **finding.to_json())


def read_bundle(path: str | os.PathLike[str], trust: Trust) -> Bundle:
    """Verify all of a bundle, in bounded memory.

    Args:
        path: the file.
        trust: whose signatures count.

    Raises:
        BundleError: a byte is not what was signed, or the statement contradicts the run; its fields have the finding.
        SignatureError: nobody who is trusted signed it.
        SchemaVersionError: a newer caligo wrote it.
        StoreError: it cannot be read.
    """
    file = Path(path).absolute()
    if not file.exists():
        raise StoreError(f"expected a bundle at {file}, there is none; name a file that `caligo store bundle` wrote")
    with files.storing("read the bundle", file):
        try:
            with ArchiveReader(file) as reader:
                return _verified(file, reader, trust)
        except ArchiveError as error:
            raise _refuse(Code.BUNDLE_DAMAGED, file, str(error)) from error


def _verified(file: Path, reader: ArchiveReader, trust: Trust) -> Bundle:
    reader.begin(ENVELOPE_FILE, most=2 * LARGEST_STATEMENT)
    envelope = reader.content()
    try:
        payload, signer = open_envelope(envelope, PAYLOAD_TYPE, trust)
    except SignatureError as error:
        code = Code.BUNDLE_KEY_UNKNOWN if error.fields.get("reason") == "unknown key" else Code.BUNDLE_SIGNATURE_WRONG
        raise _signature(code, file, error.message, signer=error.fields.get("key_id")) from error
    except BundleError as error:
        raise _refuse(Code.BUNDLE_DAMAGED, file, error.message, ENVELOPE_FILE) from error
    statement, sizes = _statement(file, payload)
    refusal = signer.refusal(key_moment(statement["predicate"]["signed_at"]))
    if refusal:
        raise _signature(Code.BUNDLE_KEY_NOT_VALID, file, f"signed by {signer.key.name}: {refusal}", signer.key.key_id)
    reader.begin(STATEMENT_FILE, len(payload))
    if reader.content() != payload:
        raise _refuse(Code.BUNDLE_DAMAGED, file, "the statement is not the one that was signed", STATEMENT_FILE)
    run = statement["predicate"]["run"]["name"]
    kept: dict[str, bytes] = {}
    listed: list[BundledFile] = []
    for subject in statement["subject"]:
        name, sha256 = subject["name"], subject["digest"]["sha256"]
        size = reader.begin(name, sizes[name])
        offset, digest, pieces = reader.position, hashlib.sha256(), list[bytes]()
        keep = name in (f"runs/{run}/{layout.RUN_FILE}", f"runs/{run}/{layout.SEAL_FILE}", PROOF_FILE)
        if keep and size > files.DOCUMENT_BYTES:
            raise _refuse(Code.BUNDLE_INCONSISTENT, file, f"it has {size} bytes, too many for a document", name)
        reader.pieces(digest.update, *([pieces.append] if keep else []))
        if digest.hexdigest() != sha256:
            raise _refuse(Code.BUNDLE_DAMAGED, file, "it is not the file that was signed", name)
        if keep:
            kept[name] = b"".join(pieces)
        listed.append(BundledFile(name, size, sha256, offset))
    reader.end()
    _hold_against_run(file, statement, kept)
    try:
        predicate = statement["predicate"]
        proof = check_proof(predicate["ledger"], kept.get(PROOF_FILE), run, predicate["seal_sha256"], trust)
    except BundleError as error:
        raise _refuse(Code.BUNDLE_PROOF_WRONG, file, error.message) from error
    size, sha256, _ = files.file_digest(file)
    return Bundle(file, size, sha256, statement, signer, tuple(listed), proof)


def _signature(code: Code, path: Path, what: str, signer: str | None) -> SignatureError:
    finding = Finding(code, what, path.name)
    return SignatureError(f"{code}: {path}: {what}; {finding.remedy}", key_id=signer, **finding.to_json())


def _statement(file: Path, payload: bytes) -> tuple[dict[str, Any], dict[str, int]]:
    """The statement, its shape checked, and the size of each file."""
    try:
        statement = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise _refuse(Code.BUNDLE_INCONSISTENT, file, "the statement is not JSON", STATEMENT_FILE) from error
    try:
        if statement["_type"] != STATEMENT_TYPE or statement["predicateType"] != PREDICATE_TYPE:
            raise KeyError("type")
        predicate = statement["predicate"]
        schema = predicate["schema"]
        if isinstance(schema, int) and schema > 1:
            raise SchemaVersionError(
                f"expected a bundle up to schema 1, {file} has {schema}; upgrade caligo", path=str(file)
            )
        sizes = dict(predicate["sizes"])
        names = [subject["name"] for subject in statement["subject"]]
        digests = [subject["digest"]["sha256"] for subject in statement["subject"]]
        run = predicate["run"]["name"]
        key_moment(predicate["signed_at"])
        sound = (
            schema == 1
            and names == sorted(sizes)
            and len(names) <= MOST_FILES
            and all(type(size) is int and 0 <= size <= archive.LARGEST_MEMBER for size in sizes.values())
            and all(isinstance(digest, str) for digest in digests)
            and all(safe_name(name) and name not in (ENVELOPE_FILE, STATEMENT_FILE) for name in names)
            and safe_name(run)
            and "/" not in run
            and isinstance(predicate["seal_sha256"], str)
            and all(isinstance(predicate[name], dict) for name in (*REPEATED, "results", "environment"))
            and (predicate["ledger"] is None or isinstance(predicate["ledger"], dict))
        )
    except (KeyError, TypeError, AttributeError, ValueError, ConfigError):
        sound = False
    if not sound:
        raise _refuse(
            Code.BUNDLE_INCONSISTENT,
            file,
            "the statement is not of a bundle, or is incomplete",
            STATEMENT_FILE,
        )
    return statement, sizes


def _hold_against_run(file: Path, statement: Mapping[str, Any], kept: Mapping[str, bytes]) -> None:
    """The statement repeats what run and seal say, and the seal lists the files that are there."""
    predicate = statement["predicate"]
    name = predicate["run"]["name"]
    prefix = f"runs/{name}/"
    try:
        run = migrate_document(files.parse_document(kept[prefix + layout.RUN_FILE], layout.RUN_FORM), layout.RUN_FORM)
        seal = migrate_document(
            files.parse_document(kept[prefix + layout.SEAL_FILE], layout.SEAL_FORM), layout.SEAL_FORM
        )
        excludes = map(str, run["identity_excludes"])
        sealed = {prefix + entry: (facts["bytes"], facts["sha256"]) for entry, facts in seal["files"].items()}
        there = {
            subject["name"]: (predicate["sizes"][subject["name"]], subject["digest"]["sha256"])
            for subject in statement["subject"]
            if subject["name"].startswith("runs/") and subject["name"] != prefix + layout.SEAL_FILE
        }
        seal_sha256 = hashlib.sha256(kept[prefix + layout.SEAL_FILE]).hexdigest()
        differing = [
            what
            for what, same in (
                ("the name of the run", run["run"] == seal["run"] == name),
                ("the files of the seal", sealed == there),
                ("the hash of the seal", predicate["seal_sha256"] == seal_sha256),
                ("the results", predicate["results"] == seal["summary"]),
                ("the end of the run", predicate["run"]["sealed_at"] == seal["sealed_at"]),
                ("the duration", predicate["run"]["elapsed_s"] == seal["elapsed_s"]),
                (
                    "the identity",
                    run["identity"] == run_identity(run["kind"], run["configuration"], run["seeds"], excludes),
                ),
                *((f"the {member}", predicate["run"][member] == run[member]) for member in ("kind", "started_at")),
                ("the identity of the statement", predicate["run"]["identity"] == run["identity"]),
                *((f"the {member}", predicate[member] == run[member]) for member in REPEATED),
            )
            if not same
        ]
    except (KeyError, TypeError, AttributeError, files.DocumentError, ConfigError) as error:
        raise _refuse(
            Code.BUNDLE_INCONSISTENT, file, f"run.json or seal.json of the run is missing or damaged ({error})", name
        ) from error
    if differing:
        raise _refuse(
            Code.BUNDLE_INCONSISTENT,
            file,
            f"the statement and the run differ in {', '.join(differing)}",
            STATEMENT_FILE,
        )

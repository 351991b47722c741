"""Checkpoints: the size and root of a ledger at one moment, as signed notes that can be handed to others.

Covers: the note and checkpoint formats, signing, checking signatures against a trust file, keeping checkpoints beside
the ledger. Does not cover: holding a checkpoint against a ledger (:mod:`.ledger_check`), keys
(:mod:`caligo.store.bundles.signing`), timestamps: a checkpoint does not say when it was made.

A checkpoint is text: the ledger's name, its size, its root in base64, further lines; then an empty line; then signature
lines. Signatures by keys that the reader does not know do no harm.

Source: C2SP signed-note and tlog-checkpoint (https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint), Ed25519
signatures (type 0x01) only. Departs from them in one place: a signer's name is its key's, not the ledger's.
"""

from __future__ import annotations

import base64
import binascii
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from caligo.errors import ConfigError, StoreError
from caligo.store import files
from caligo.store.audit import merkle
from caligo.store.audit.ledger import LARGEST_SIZE, ORIGIN

if TYPE_CHECKING:
    from caligo.store.audit.ledger import Ledger
    from caligo.store.bundles.signing import Signer
    from caligo.store.bundles.trust import Trust, TrustedKey

NOTE_BYTES = 1 << 20
"""No note is larger."""

MOST_SIGNATURES = 100
"""A note with more signatures is refused."""

_SIGNATURE_START = "\N{EM DASH} "
_NAME_PREFIX = "caligo.ledger/"
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_KEY_NAME = re.compile(r"[^\s+]+")
CHECKPOINT_FILE = re.compile(r"([0-9]{9})\.txt")


class NoteError(ValueError):
    """Bytes that are not a signed note, or a note that is not a checkpoint; says why."""


@dataclass(frozen=True)
class NoteSignature:
    """One signature line.

    Attributes:
        name: of the key.
        key_hash: 4 bytes that tell keys of the same name apart.
        signature: of an Ed25519 key 64 bytes; of other kinds whatever they have.
    """

    name: str
    key_hash: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """The line, with its end."""
        return f"{_SIGNATURE_START}{self.name} {base64.b64encode(self.key_hash + self.signature).decode()}\n"


@dataclass(frozen=True)
class Note:
    """A signed text.

    Attributes:
        text: what is signed, its last line end included.
        signatures: at least one; none twice by the same key.
    """

    text: str
    signatures: tuple[NoteSignature, ...]

    @property
    def data(self) -> bytes:
        """The note as bytes."""
        return (self.text + "\n" + "".join(signature.line for signature in self.signatures)).encode()


@dataclass(frozen=True)
class Checkpoint:
    """What a ledger was at one moment.

    Attributes:
        origin: of the ledger, 32 hexadecimal digits.
        size: entries.
        root: Merkle tree hash over them, 32 bytes.
        extensions: further lines; caligo writes none.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What is signed."""
        lines = (f"{_NAME_PREFIX}{self.origin}", str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class Signatures:
    """What the signatures of a note are worth to a reader.

    Attributes:
        believed: trusted keys with a valid signature.
        refused: (name, why) of trusted keys whose signature is wrong, or which do not count any more.
        unknown: names of keys that the trust file does not have.
    """

    believed: tuple[TrustedKey, ...]
    refused: tuple[tuple[str, str], ...]
    unknown: tuple[str, ...]


def _base64(text: str, what: str) -> bytes:
    """Strict base64: one text for one value."""
    try:
        value = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise NoteError(f"{what} is not base64") from error
    if base64.b64encode(value).decode() != text:
        raise NoteError(f"{what} is not base64 in its one form")
    return value


def parse_note(data: bytes) -> Note:
    """Take a signed note apart; signatures are not checked.

    Raises:
        NoteError: it is not one.
    """
    if len(data) > NOTE_BYTES:
        raise NoteError(f"it is larger than {NOTE_BYTES} bytes")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoteError("it is not UTF-8 text") from error
    if any(ord(char) < 0x20 and char != "\n" for char in whole):
        raise NoteError("it holds control characters")
    text, gap, tail = whole.rpartition("\n\n")
    if not gap or not tail.endswith("\n"):
        raise NoteError("it does not end in signature lines after an empty line")
    lines = tail[:-1].split("\n")
    if len(lines) > MOST_SIGNATURES:
        raise NoteError(f"it has more than {MOST_SIGNATURES} signatures")
    signatures: dict[tuple[str, bytes], NoteSignature] = {}
    for line in lines:
        if not line.startswith(_SIGNATURE_START):
            raise NoteError("a signature line does not begin with a dash")
        name, _, encoded = line[len(_SIGNATURE_START) :].partition(" ")
        value = _base64(encoded, "a signature")
        if not _KEY_NAME.fullmatch(name) or len(value) < 5:
            raise NoteError("a signature line has no name, or no signature")
        signatures.setdefault((name, value[:4]), NoteSignature(name, value[:4], value[4:]))
    return Note(text + "\n", tuple(signatures.values()))


def parse_checkpoint(data: bytes) -> tuple[Checkpoint, Note]:
    """Take a checkpoint apart; signatures are not checked.

    Raises:
        NoteError: it is not a checkpoint of a caligo ledger.
    """
    note = parse_note(data)
    lines = note.text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise NoteError("it does not have a name, a size and a root")
    name, size, root, *extensions = lines
    origin = name.removeprefix(_NAME_PREFIX)
    if name == origin or not ORIGIN.fullmatch(origin):
        raise NoteError("it is not of a caligo ledger")
    if not _SIZE.fullmatch(size) or int(size) > LARGEST_SIZE:
        raise NoteError("its size is not a decimal number")
    value = _base64(root, "its root")
    if len(value) != merkle.HASH_BYTES:
        raise NoteError("its root is not 32 bytes")
    return Checkpoint(origin, int(size), value, tuple(extensions)), note


def sign_text(text: str, signer: Signer) -> NoteSignature:
    """A signer's signature line for the text of a note."""
    return NoteSignature(signer.name, signer.public_key.key_hash, signer.sign(text.encode()))


def check_signatures(note: Note, trust: Trust) -> Signatures:
    """Hold every signature of a note against a trust file.

    Raises:
        ResourceError: the package cryptography is not installed.
    """
    believed: list[TrustedKey] = []
    refused: list[tuple[str, str]] = []
    unknown: list[str] = []
    for signature in note.signatures:
        key = trust.find_note_key(signature.name, signature.key_hash)
        if key is None:
            unknown.append(signature.name)
        elif not key.key.verifies(note.text.encode(), signature.signature):
            refused.append((signature.name, "the signature is wrong"))
        elif key.refusal(None):
            refused.append((signature.name, key.refusal(None)))
        else:
            believed.append(key)
    return Signatures(tuple(believed), tuple(refused), tuple(unknown))


def checkpoint_path(ledger: Ledger, size: int) -> Path:
    """Where a ledger keeps its checkpoint of a size."""
    return ledger.directory / "checkpoints" / f"{size:09}.txt"


def make_checkpoint(ledger: Ledger, signer: Signer, *, size: int | None = None) -> bytes:
    """Sign a ledger as it stands, and keep the checkpoint beside it; hand copies of it to others.

    A checkpoint of the same size by other keys is kept: the new signature joins it.

    Args:
        ledger: whose entries are all there.
        signer: with the private key.
        size: entries to sign; None: all.

    Returns:
        The signed note.

    Raises:
        ConfigError: the ledger is empty, or does not have so many entries.
        LedgerCorruptError: an entry is missing.
        StoreError: a checkpoint of this size is kept that says otherwise, or it cannot be written.
        ResourceError: the disk or the quota is full.
    """
    size = ledger.size() if size is None else size
    if size == 0:
        raise ConfigError(f"expected a ledger with entries, {ledger.directory} has none; seal a run first")
    checkpoint = Checkpoint(ledger.origin, size, ledger.root(size))
    note = Note(checkpoint.text, (sign_text(checkpoint.text, signer),))
    path = checkpoint_path(ledger, size)
    with files.storing("keep the checkpoint", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.sync_directory(path.parent.parent)
        if files.put_new(path, note.data):
            return note.data
        kept = None
        with suppress(NoteError):
            kept = parse_checkpoint(path.read_bytes())
        if kept is None or kept[0] != checkpoint:
            raise StoreError(
                f"expected no other checkpoint in {path}, it says otherwise than the ledger does; run `caligo store "
                "ledger verify`",
                path=str(path),
            )
        others = tuple(
            signature
            for signature in kept[1].signatures
            if (signature.name, signature.key_hash) != (signer.name, signer.public_key.key_hash)
        )
        joined = Note(checkpoint.text, (*others, *note.signatures))
        if joined.data != kept[1].data:
            files.put_whole(path, joined.data)
    return joined.data

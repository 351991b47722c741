"""Signing keys and whom to believe: Ed25519 key files, public keys as text, the trust file.

Covers: making and loading a key file, signing, the text form of a public key, the trust file with rotation and
revocation, verification of one signature. Does not cover: what is signed (:mod:`caligo.store.bundle`, the ledger's
checkpoints), hardware keys, key servers.

A key file is PKCS#8 in PEM (RFC 8410, RFC 7468), readable by its owner alone, with the key's name above the PEM part.
A **key id** is the SHA-256 of the 32 raw bytes of the public key, in hexadecimal: not the id that securesystemslib
derives from its own JSON form. A public key is written as a C2SP verifier key,
``<name>+<8 hexadecimal digits>+<base64 of 0x01 and the key>`` (c2sp.org/signed-note).

The trust file says whose signatures count, and for when. A key that was *retired* is believed for signatures that say
they were made before; a *revoked* one for none, whatever they say. The time of a signature is its signer's word.

Source: RFC 8032 (Ed25519), C2SP signed-note for names and key hashes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caligo.errors import ConfigError, ResourceError, SignatureError, SigningKeyError, StoreError
from caligo.store import files
from caligo.store.layout import utc_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PUBLIC_BYTES = 32
"""Bytes of an Ed25519 public key."""

SIGNATURE_BYTES = 64
"""Bytes of an Ed25519 signature."""

STATUSES = ("active", "retired", "revoked")

PASSPHRASE_VARIABLE = "CALIGO_KEY_PASSPHRASE"
KEY_VARIABLE = "CALIGO_SIGNING_KEY"
TRUST_VARIABLE = "CALIGO_TRUST"

_FILE_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@-]{0,63}")
_KEY_ID = re.compile(r"[0-9a-f]{64}")
_VERIFIER = re.compile(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")
_NAMED = re.compile(rb"^name: (.+)$", re.MULTILINE)
_FIELDS = {"name", "key_id", "public", "status", "valid_from", "valid_until", "note"}


def _library() -> Any:
    """The Ed25519 module of the cryptography package.

    Raises:
        ResourceError: it is not installed.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ResourceError(
            "signatures need the package cryptography; install it with pip install 'caligo[sign]'", extra="sign"
        ) from error
    return ed25519


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"expected a key name of 1 to 64 letters, digits, '.', '_', '/', '@' or '-', a letter or digit first, got "
            f"{name!r}",
            name=name,
        )
    return name


def key_moment(text: str) -> datetime:
    """A moment as the trust file and statements write it.

    Args:
        text: ISO 8601 with a time zone, such as ``2026-03-14T09:26:53.000Z``.

    Raises:
        ConfigError: it is not.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigError(
            f"expected a time such as 2026-03-14T09:26:53Z (with its zone), got {text!r}", got=text
        ) from None
    return moment.astimezone(UTC)


# --- keys ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PublicKey:
    """A named Ed25519 public key.

    Args:
        name: whose; no more than a name.
        public_bytes: the key, 32 bytes.
    """

    name: str
    public_bytes: bytes

    @property
    def key_id(self) -> str:
        """SHA-256 of the raw public key, 64 hexadecimal digits."""
        return hashlib.sha256(self.public_bytes).hexdigest()

    @property
    def key_hash(self) -> bytes:
        """The four bytes by which a signed note refers to the key: they cover its name too."""
        return hashlib.sha256(self.name.encode() + b"\n\x01" + self.public_bytes).digest()[:4]

    @property
    def verifier_key(self) -> str:
        """The key as text, for people to hand on."""
        text = base64.b64encode(b"\x01" + self.public_bytes).decode()
        return f"{self.name}+{self.key_hash.hex()}+{text}"

    @classmethod
    def of_text(cls, text: str) -> PublicKey:
        """The inverse of `verifier_key`.

        Raises:
            SigningKeyError: damaged text, or a key of another kind.
        """
        match = _VERIFIER.fullmatch(text.strip())
        try:
            data = b"" if match is None else base64.b64decode(match[3], validate=True)
        except binascii.Error:
            data = b""
        if match is None or len(data) != 1 + PUBLIC_BYTES or data[0] != 1:
            raise SigningKeyError(
                "expected an Ed25519 verifier key (name+hash+base64), got other text; take it from `caligo store key "
                "show` of its owner"
            )
        key = cls(match[1], data[1:])
        if key.key_hash.hex() != match[2]:
            raise SigningKeyError(
                f"expected the verifier key of {key.name}, got one whose hash is another's; it was damaged on its way",
                name=key.name,
            )
        return key

    def verifies(self, data: bytes, signature: bytes) -> bool:
        """Whether a signature over data is this key's.

        Raises:
            ResourceError: the package cryptography is not installed.
        """
        library = _library()
        from cryptography.exceptions import InvalidSignature

        try:
            library.Ed25519PublicKey.from_public_bytes(self.public_bytes).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Signer:
    """A loaded private key. Its bits are in no attribute that is printed.

    Args:
        name: of the key.
        public_bytes: 32 bytes.
        path: the file that it came from.
    """

    name: str
    public_bytes: bytes
    path: Path
    private: Ed25519PrivateKey = field(repr=False, compare=False)

    @property
    def public_key(self) -> PublicKey:
        """What others verify with."""
        return PublicKey(self.name, self.public_bytes)

    @property
    def key_id(self) -> str:
        """SHA-256 of the raw public key, 64 hexadecimal digits."""
        return self.public_key.key_id

    def sign(self, data: bytes) -> bytes:
        """The Ed25519 signature of data, 64 bytes; equal data have equal signatures."""
        return self.private.sign(data)


def configuration_directory() -> Path:
    """Where keys and the trust file lie: ``$XDG_CONFIG_HOME/caligo``, else ``~/.config/caligo``.

    Raises:
        StoreError: there is no home directory to fall back on.
    """
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(base):
        return Path(base, "caligo")
    try:
        return Path.home() / ".config" / "caligo"
    except RuntimeError as error:
        raise StoreError("no place for keys: there is no home directory; set XDG_CONFIG_HOME or name files") from error


def default_trust() -> Path:
    """The trust file when none is named: ``$CALIGO_TRUST``, else ``trust.toml`` of the configuration directory."""
    named = os.environ.get(TRUST_VARIABLE)
    return Path(named).absolute() if named else configuration_directory() / "trust.toml"


def keys_directory() -> Path:
    """Where key files lie when nobody says."""
    return configuration_directory() / "keys"


def find_key(text: str | os.PathLike[str] | None = None) -> Path:
    """The key file that a person means.

    Args:
        text: a path, or the name of a key in the keys directory; None is ``$CALIGO_SIGNING_KEY``, else the only key
            there.

    Raises:
        SigningKeyError: there is none, or there are several.
    """
    meant = os.fspath(text) if text is not None else os.environ.get(KEY_VARIABLE) or None
    directory = keys_directory()
    if meant is not None:
        for path in (Path(meant), directory / meant, directory / f"{meant}.pem"):
            if path.is_file():
                return path.absolute()
        raise SigningKeyError(
            f"expected a key file, or the name of a key in {directory}, got {meant!r}; make one with `caligo store "
            "key new NAME`",
            got=meant,
        )
    found = sorted(directory.glob("*.pem")) if directory.is_dir() else []
    if len(found) != 1:
        got = ", ".join(path.stem for path in found) or "none"
        raise SigningKeyError(
            f"expected one key in {directory}, got {got}; name one with --key, or make one with `caligo store key new "
            "NAME`",
            directory=str(directory),
        )
    return found[0]


def read_passphrase(path: str | os.PathLike[str] | None = None) -> bytes | None:
    """The passphrase of a key file: of a file, else of ``$CALIGO_KEY_PASSPHRASE``; never of the command line.

    Args:
        path: a file that its owner alone may read; one line end at its end is not part of the passphrase.

    Returns:
        None where neither is given.

    Raises:
        SigningKeyError: the file is missing, empty, or open to others.
    """
    if path is None:
        named = os.environ.get(PASSPHRASE_VARIABLE)
        return os.fsencode(named) if named else None
    data = _read_private(Path(path), "a passphrase file")
    phrase = data.removesuffix(b"\n").removesuffix(b"\r")
    if not phrase:
        raise SigningKeyError(f"{path}: expected a passphrase, got an empty file", path=str(path))
    return phrase


def _read_private(path: Path, what: str) -> bytes:
    """All bytes of a small regular file that only its owner may read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SigningKeyError(
            f"{path}: expected {what}, which cannot be opened ({error.strerror}); check the name", path=str(path)
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _FILE_BYTES:
            raise SigningKeyError(f"{path}: expected {what}, got no small regular file", path=str(path))
        if mode & 0o077:
            raise SigningKeyError(
                f"{path}: expected {what} that its owner alone may read (0600), got mode {mode:04o}; run `chmod 600 "
                f"{path}`, and make another key if others may have read it",
                path=str(path),
                mode=f"{mode:04o}",
            )
        return file.read()


def generate_key(path: str | os.PathLike[str], name: str, *, passphrase: bytes | None = None) -> PublicKey:
    """Make a key file that was not there before, mode 0600.

    Args:
        path: where; directories on the way are made (0700).
        name: of the key.
        passphrase: encrypts the file; None leaves it to the file's permissions.

    Raises:
        ConfigError: a bad name, or an empty passphrase.
        SigningKeyError: the file exists.
        StoreError: it cannot be written.
        ResourceError: the disk is full, or the package cryptography is not installed.
    """
    library = _library()
    from cryptography.hazmat.primitives import serialization

    file = Path(path).absolute()
    _checked_name(name)
    if passphrase == b"":
        raise ConfigError("expected a passphrase, got an empty one; leave it out for none")
    private = library.Ed25519PrivateKey.generate()
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    key = PublicKey(name, private.public_key().public_bytes_raw())
    head = f"Signing key of caligo; keep it secret.\nname: {name}\nkey id: {key.key_id}\n"
    with files.storing("write the key", file):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise SigningKeyError(
                f"{file}: expected no file there, and a key is never overwritten; choose another name", path=str(file)
            ) from None
        try:
            try:
                files.write_all(descriptor, head.encode("ascii") + pem)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        files.sync_directory(file.parent)
    return key


def load_signer(path: str | os.PathLike[str], passphrase: bytes | None = None) -> Signer:
    """Load a private key.

    Args:
        path: a key file of :func:`generate_key`, or any Ed25519 key in PKCS#8 PEM; its name is then the file's.
        passphrase: of an encrypted file; see :func:`read_passphrase`.

    Raises:
        SigningKeyError: missing, open to others, damaged, of another kind, or the passphrase is wrong or missing.
        ResourceError: the package cryptography is not installed.
    """
    library = _library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    file = Path(path).absolute()
    data = _read_private(file, "a key file")
    start = data.find(b"-----BEGIN")
    head, pem = (data[:start], data[start:]) if start >= 0 else (b"", b"")
    encrypted = pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    if encrypted and passphrase is None:
        raise SigningKeyError(
            f"{file}: expected a passphrase, since the key is encrypted, got none; name its file with "
            f"--passphrase-file, or set {PASSPHRASE_VARIABLE}",
            path=str(file),
        )
    try:
        private = serialization.load_pem_private_key(pem, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Its message is left out: it may quote what was read.
        expected = "a private key that this passphrase opens" if encrypted else "a private key in PEM (PKCS#8)"
        raise SigningKeyError(
            f"{file}: expected {expected}, got other content; copy the key back from its backup", path=str(file)
        ) from None
    if not isinstance(private, library.Ed25519PrivateKey):
        raise SigningKeyError(
            f"{file}: expected an Ed25519 key, got {type(private).__name__}; make one with `caligo store key new NAME`",
            path=str(file),
        )
    named = _NAMED.search(head)
    name = named[1].decode("ascii", "replace") if named else re.sub(r"[^A-Za-z0-9._@-]", "-", file.stem).lstrip("._@-")
    if not _NAME.fullmatch(name):
        raise SigningKeyError(f"{file}: expected the name of a key in its head, got {name!r}", path=str(file))
    return Signer(name, private.public_key().public_bytes_raw(), file, private)


# --- trust --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrustedKey:
    """A public key of the trust file.

    Args:
        key: the key.
        status: ``active``, ``retired`` or ``revoked``.
        valid_from: signatures made before are not believed; None: no limit.
        valid_until: signatures made after are not believed; None: no limit.
        note: for people.
    """

    key: PublicKey
    status: str = "active"
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    note: str = ""

    def refusal(self, at: datetime | None) -> str:
        """Why a signature of this key that was made then is not believed; empty where it is.

        Args:
            at: when it says it was made; None: it does not say, and only a revoked key is refused.
        """
        if self.status == "revoked":
            return "the key was revoked"
        if at is not None and self.valid_from is not None and at < self.valid_from:
            return f"it says it was made at {utc_text(at)}, and the key is valid from {utc_text(self.valid_from)}"
        if at is not None and self.valid_until is not None and at > self.valid_until:
            return f"it says it was made at {utc_text(at)}, and the key was valid until {utc_text(self.valid_until)}"
        return ""

    def to_json(self) -> dict[str, Any]:
        """The entry as JSON values."""
        return {
            "name": self.key.name,
            "key_id": self.key.key_id,
            "public": base64.b64encode(self.key.public_bytes).decode(),
            "verifier_key": self.key.verifier_key,
            "status": self.status,
            "valid_from": None if self.valid_from is None else utc_text(self.valid_from),
            "valid_until": None if self.valid_until is None else utc_text(self.valid_until),
            "note": self.note,
        }


@dataclass(frozen=True)
class Trust:
    """Whose signatures count.

    Args:
        keys: in the order of the file; each key id once.
        path: the file; None: made in memory.
    """

    keys: tuple[TrustedKey, ...] = ()
    path: Path | None = None

    def find(self, text: str) -> TrustedKey | None:
        """The key of that key id, or the beginning of one (8 digits or more), or of that name: the active one first.

        Raises:
            ConfigError: several keys fit.
        """
        fitting = [entry for entry in self.keys if entry.key.key_id == text]
        if not fitting and re.fullmatch(r"[0-9a-f]{8,63}", text):
            fitting = [entry for entry in self.keys if entry.key.key_id.startswith(text)]
        if not fitting:
            named = [entry for entry in self.keys if entry.key.name == text]
            fitting = [entry for entry in named if entry.status == "active"] or named
        if len(fitting) > 1:
            ids = ", ".join(entry.key.key_id[:16] for entry in fitting)
            raise ConfigError(f"expected one key, {text!r} means {len(fitting)}: {ids}; give a key id", text=text)
        return fitting[0] if fitting else None

    def find_note_key(self, name: str, key_hash: bytes) -> TrustedKey | None:
        """The key that a signed note refers to by name and four bytes of a hash."""
        return next((entry for entry in self.keys if entry.key.name == name and entry.key.key_hash == key_hash), None)

    def verify(
        self, data: bytes, signature: bytes, key_id: str, *, at: datetime | str | None = None, what: str = "it"
    ) -> TrustedKey:
        """Check a signature, and that its key is believed for that time.

        Args:
            data: what was signed.
            signature: 64 bytes.
            key_id: of the signing key.
            at: when the signature says it was made; None: it does not say.
            what: was signed, for messages.

        Returns:
            The key that signed.

        Raises:
            SignatureError: the key is not trusted, or not for then, or the signature is another's.
            ResourceError: the package cryptography is not installed.
        """
        entry = next((entry for entry in self.keys if entry.key.key_id == key_id), None)
        place = "the trust file" if self.path is None else str(self.path)
        if entry is None:
            raise SignatureError(
                f"{what} is signed by a key that {place} does not have ({key_id[:16]}); if it is to be believed, add "
                "it with `caligo store key trust`",
                key_id=key_id,
                reason="unknown key",
            )
        moment = key_moment(at) if isinstance(at, str) else at
        refusal = entry.refusal(moment)
        if refusal:
            raise SignatureError(
                f"{what} is signed by {entry.key.name} ({key_id[:16]}), which does not count: {refusal}",
                key_id=key_id,
                name=entry.key.name,
                reason=refusal,
            )
        if not entry.key.verifies(data, signature):
            raise SignatureError(
                f"{what} does not have the signature of {entry.key.name} ({key_id[:16]}): it was changed after it was "
                "signed, or signed by somebody else; get it again from its maker",
                key_id=key_id,
                name=entry.key.name,
                reason="wrong signature",
            )
        return entry

    def require_usable(self, key_id: str) -> None:
        """Refuse to sign with a key that this file says not to use any more.

        Raises:
            SigningKeyError: it is retired or revoked here.
        """
        for entry in self.keys:
            if entry.key.key_id == key_id and entry.status != "active":
                raise SigningKeyError(
                    f"expected an active key, {entry.key.name} ({key_id[:16]}) is {entry.status}; sign with its "
                    "successor",
                    key_id=key_id,
                    status=entry.status,
                )

    def adding(self, entry: TrustedKey) -> Trust:
        """This and one more key.

        Raises:
            ConfigError: the key is there already: a revoked one does not come back under another status.
        """
        for known in self.keys:
            if known.key.key_id == entry.key.key_id:
                raise ConfigError(
                    f"expected a new key, {entry.key.key_id[:16]} is there as {known.key.name} ({known.status})",
                    key_id=entry.key.key_id,
                )
        return replace(self, keys=(*self.keys, entry))

    def retiring(self, key_id: str, at: datetime) -> Trust:
        """With one key retired: signatures made until then stay valid.

        Raises:
            ConfigError: there is no such key, or it was revoked.
        """
        entry = self._known(key_id)
        if entry.status == "revoked":
            raise ConfigError(f"expected a key in use, {entry.key.name} was revoked", key_id=key_id)
        until = at if entry.valid_until is None else min(at, entry.valid_until)
        return self._with(replace(entry, status="retired", valid_until=until))

    def revoking(self, key_id: str, note: str = "") -> Trust:
        """With one key revoked: none of its signatures counts any more.

        Raises:
            ConfigError: there is no such key.
        """
        entry = self._known(key_id)
        return self._with(replace(entry, status="revoked", note=note or entry.note))

    def _known(self, key_id: str) -> TrustedKey:
        for entry in self.keys:
            if entry.key.key_id == key_id:
                return entry
        raise ConfigError(f"expected a key of the trust file, got {key_id!r}; see `caligo store key list`", got=key_id)

    def _with(self, changed: TrustedKey) -> Trust:
        keys = tuple(changed if entry.key == changed.key else entry for entry in self.keys)
        return replace(self, keys=keys)


def load_trust(path: str | os.PathLike[str] | None = None) -> Trust:
    """Read a trust file.

    Args:
        path: the file; None is :func:`default_trust`, of which nobody is trusted where it does not exist.

    Raises:
        StoreError: a file that was named does not exist, or cannot be read.
        ConfigError: it is no trust file; the message names the entry.
    """
    file = default_trust() if path is None else Path(path).absolute()
    try:
        if file.stat().st_size > _FILE_BYTES:
            raise ConfigError(f"{file}: expected a trust file, got more than {_FILE_BYTES} bytes", path=str(file))
        document = tomllib.loads(file.read_bytes().decode("utf-8"))
    except FileNotFoundError as error:
        if path is None:
            return Trust(path=file)
        raise StoreError(f"expected a trust file at {file}, there is none; see `caligo store key`") from error
    except OSError as error:
        raise files.storage_error(error, "read the trust file", file) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{file}: expected TOML, got: {error}", path=str(file)) from None
    entries = document.get("key", [])
    if document.get("schema") != 1 or not isinstance(entries, list) or set(document) - {"schema", "key"}:
        raise ConfigError(
            f"{file}: expected schema = 1 and tables [[key]], got something else; a newer one needs a newer caligo",
            path=str(file),
        )
    keys: list[TrustedKey] = []
    for number, entry in enumerate(entries, 1):
        key = _trusted(entry, f"{file}: key {number}")
        if any(known.key.key_id == key.key.key_id for known in keys):
            raise ConfigError(f"{file}: key {number}: {key.key.name} is there twice; keep one", path=str(file))
        keys.append(key)
    return Trust(tuple(keys), file)


def _trusted(entry: object, where: str) -> TrustedKey:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise ConfigError(f"{where}: expected a table of texts, got something else")
    unknown = sorted(set(entry) - _FIELDS)
    missing = sorted({"name", "key_id", "public", "status"} - set(entry))
    if unknown or missing:
        raise ConfigError(
            f"{where}: expected {', '.join(sorted(_FIELDS))}, got unknown {unknown}, missing {missing}", unknown=unknown
        )
    try:
        public = base64.b64decode(entry["public"], validate=True)
    except (binascii.Error, ValueError):
        public = b""
    key = PublicKey(_checked_name(entry["name"]), public)
    if len(public) != PUBLIC_BYTES or entry["key_id"] != key.key_id:
        raise ConfigError(f"{where}: expected 32 bytes of base64 under public and their SHA-256 under key_id")
    if entry["status"] not in STATUSES:
        raise ConfigError(f"{where}: status: expected {', '.join(STATUSES)}, got {entry['status']!r}")
    times = {name: key_moment(entry[name]) if name in entry else None for name in ("valid_from", "valid_until")}
    if entry["status"] == "retired" and times["valid_until"] is None:
        raise ConfigError(f"{where}: expected valid_until for a retired key, got none")
    return TrustedKey(key, entry["status"], times["valid_from"], times["valid_until"], entry.get("note", ""))


def save_trust(trust: Trust, path: str | os.PathLike[str] | None = None) -> Path:
    """Write a trust file whole, in place of the one before.

    Args:
        trust: what it is to say.
        path: where; None is the file that it came from, else :func:`default_trust`.

    Raises:
        StoreError: it cannot be written.
        ResourceError: no space.
    """
    file = Path(path).absolute() if path is not None else trust.path or default_trust()
    with files.storing("write the trust file", file):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.put_whole(file, _trust_text(trust.keys).encode("utf-8"))
    return file


def _trust_text(keys: Iterable[TrustedKey]) -> str:
    parts = ["# Whose signatures caligo believes; written by `caligo store key`.\nschema = 1\n"]
    for entry in keys:
        values = {name: value for name, value in entry.to_json().items() if name in _FIELDS and value is not None}
        lines = [f"{name} = {_quoted(value)}\n" for name, value in values.items() if value != "" or name != "note"]
        parts.append("\n[[key]]\n" + "".join(lines))
    return "".join(parts)


def _quoted(text: str) -> str:
    """A TOML basic string."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    plain = (char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in text)
    return f'"{"".join(plain)}"'

"""Signing keys: Ed25519 key files, signatures, public keys as text.

Covers: making, finding and loading a key file, signing, the text form of a public key. Does not cover: whose signatures
count (:mod:`.trust`), what is signed (:mod:`.bundle`, the ledger's checkpoints), hardware keys,
key servers.

A key file is PKCS#8 in PEM (RFC 8410, RFC 7468), readable by its owner alone, with the key's name above the PEM part.
A **key id** is the SHA-256 of the 32 raw bytes of the public key, in hexadecimal: not the id that securesystemslib
derives from its own JSON form. A public key is written as a C2SP verifier key,
``<name>+<8 hexadecimal digits>+<base64 of 0x01 and the key>`` (c2sp.org/signed-note).

Source: RFC 8032 (Ed25519), C2SP signed-note for names and key hashes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caligo.errors import ConfigError, ResourceError, SigningKeyError, StoreError
from caligo.store import files

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PUBLIC_BYTES = 32
"""Bytes of an Ed25519 public key."""

PASSPHRASE_VARIABLE = "CALIGO_KEY_PASSPHRASE"
KEY_VARIABLE = "CALIGO_SIGNING_KEY"

_FILE_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@-]{0,63}")
_VERIFIER = re.compile(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")
_NAMED = re.compile(rb"^name: (.+)$", re.MULTILINE)
_IDENTIFIED = re.compile(rb"^key id: ([0-9a-f]{64})$", re.MULTILINE)


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


def checked_name(name: str) -> str:
    """Refuse what is no name of a key.

    Raises:
        ConfigError: not 1 to 64 of the characters that a signed note and a file name take.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"expected a key name of 1 to 64 letters, digits, '.', '_', '/', '@' or '-', a letter or digit first, got "
            f"{name!r}",
            name=name,
        )
    return name


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


def own_keys() -> dict[str, Path]:
    """Key id -> file, of the keys directory; by what the files say above their PEM part, so no passphrase is needed."""
    found: dict[str, Path] = {}
    directory = keys_directory()
    for path in sorted(directory.glob("*.pem")) if directory.is_dir() else []:
        try:
            with open(path, "rb") as file:
                head = file.read(1024).partition(b"-----BEGIN")[0]
        except OSError:
            continue
        match = _IDENTIFIED.search(head)
        if match:
            found[match[1].decode("ascii")] = path
    return found


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
    checked_name(name)
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

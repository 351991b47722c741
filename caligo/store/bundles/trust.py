"""Whom to believe: the trust file, and the verification of one signature against it.

Covers: reading and writing the trust file, validity in time, retirement, revocation, verification. Does not cover:
making keys (:mod:`.signing`), what is signed.

A key that was *retired* is believed for signatures that say they were made before; a *revoked* one for none, whatever
they say. The time of a signature is its signer's word, so a key that somebody else may have is to be revoked.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from caligo.errors import ConfigError, SignatureError, SigningKeyError, StoreError
from caligo.store import files
from caligo.store.bundles.signing import PUBLIC_BYTES, PublicKey, checked_name, configuration_directory
from caligo.store.layout import utc_text

STATUSES = ("active", "retired", "revoked")
TRUST_VARIABLE = "CALIGO_TRUST"

_FILE_BYTES = 1 << 20
_FIELDS = {"name", "key_id", "public", "status", "valid_from", "valid_until", "note"}


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
        entry = self.known(key_id)
        if entry.status == "revoked":
            raise ConfigError(f"expected a key in use, {entry.key.name} was revoked", key_id=key_id)
        until = at if entry.valid_until is None else min(at, entry.valid_until)
        return self._with(replace(entry, status="retired", valid_until=until))

    def revoking(self, key_id: str, note: str = "") -> Trust:
        """With one key revoked: none of its signatures counts any more.

        Raises:
            ConfigError: there is no such key.
        """
        entry = self.known(key_id)
        return self._with(replace(entry, status="revoked", note=note or entry.note))

    def known(self, text: str) -> TrustedKey:
        """As `find`, for a key that must be there.

        Raises:
            ConfigError: there is no such key, or several fit.
        """
        entry = self.find(text)
        if entry is None:
            raise ConfigError(f"expected a key of the trust file, got {text!r}; see `caligo store key list`", got=text)
        return entry

    def _with(self, changed: TrustedKey) -> Trust:
        keys = tuple(changed if entry.key == changed.key else entry for entry in self.keys)
        return replace(self, keys=keys)


def default_trust() -> Path:
    """The trust file when none is named: ``$CALIGO_TRUST``, else ``trust.toml`` of the configuration directory."""
    named = os.environ.get(TRUST_VARIABLE)
    return Path(named).absolute() if named else configuration_directory() / "trust.toml"


def load_trust(path: str | os.PathLike[str] | None = None, *, missing_ok: bool = False) -> Trust:
    """Read a trust file.

    Args:
        path: the file; None is :func:`default_trust`, of which nobody is trusted where it does not exist.
        missing_ok: nobody is trusted where a file that was named does not exist.

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
        if path is None or missing_ok:
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
    key = PublicKey(checked_name(entry["name"]), public)
    if len(public) != PUBLIC_BYTES or entry["key_id"] != key.key_id:
        raise ConfigError(f"{where}: expected 32 bytes of base64 under public and their SHA-256 under key_id")
    if entry["status"] not in STATUSES:
        raise ConfigError(f"{where}: status: expected {', '.join(STATUSES)}, got {entry['status']!r}")
    times = {name: key_moment(entry[name]) if name in entry else None for name in ("valid_from", "valid_until")}
    if entry["status"] == "retired" and times["valid_until"] is None:
        raise ConfigError(f"{where}: expected valid_until for a retired key, got none")
    return TrustedKey(key, entry["status"], times["valid_from"], times["valid_until"], entry.get("note", ""))


def log_key(store: str | os.PathLike[str], action: str, entry: TrustedKey) -> None:
    """Append to a store's ledger what was done with a key.

    Args:
        store: directory of the store.
        action: ``created``, ``trusted``, ``retired`` or ``revoked``.
        entry: the key as the trust file has it now.

    Raises:
        StoreError: the ledger cannot be written.
        ResourceError: no space.
    """
    from caligo.store.audit.ledger import Ledger

    content = entry.to_json()
    content = {name: content[name] for name in ("key_id", "name", "public", "status", "valid_from", "valid_until")}
    Ledger.open(store, create=True).append("key", {**content, "action": action})


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
    for special in ("\\", '"'):
        text = text.replace(special, f"\\{special}")
    return '"' + "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in text) + '"'

"""Whether a message comes from the peer: tags under a pre-shared key, or none of our business.

Covers: key derivation, tags, their comparison. Does not cover: sequence numbers and what a wrong tag does
(:mod:`.link`), reading a key from a file (:mod:`caligo.keys`).

`PresharedKey`: HMAC-SHA-256 (RFC 2104), whole tags. Keys by HKDF (RFC 5869) with SHA-256: extracted once from the
pre-shared key, under a salt that nobody chooses, and expanded for each direction: for a `Hello` from that alone, for
everything after it with both `Hello` frames as the context, which hold fresh nonces and all terms. So no frame is good
in another connection or in the other direction, and nobody can change terms unseen. What a stranger can choose enters
an HMAC whose key he does not know, and nothing else. Both come from the interpreter's own `hmac` and `hashlib`, which
call OpenSSL: a MAC needs no package of its own, and HKDF on top of it is a few lines, held against the vectors of RFC
5869.

This is authentication under a computational assumption. A link that promises information-theoretic security has a
channel that is authenticated so, and takes `CallerChannel`: every frame then carries a CRC-32, which finds accidents
and stops nobody.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from caligo.errors import ConfigError
from caligo.reconciliation.messages import Role

__all__ = [
    "MINIMUM_SECRET_BYTES",
    "Authentication",
    "CallerChannel",
    "PresharedKey",
    "Seal",
    "hkdf_expand",
    "hkdf_extract",
]

MINIMUM_SECRET_BYTES = 32

_LABELS = {Role.ALICE: b"alice to bob", Role.BOB: b"bob to alice"}


@dataclass(frozen=True, slots=True, repr=False)
class Seal:
    """Makes and judges the tags of one direction.

    Args:
        tag_bytes: length of a tag.
        tag: computes one.
    """

    tag_bytes: int
    tag: Callable[[bytes], bytes]

    def __repr__(self) -> str:
        return f"Seal(tag_bytes={self.tag_bytes})"

    def accepts(self, data: bytes, tag: bytes) -> bool:
        """Whether a tag is that of the data; the time it takes does not depend on where they differ."""
        return hmac.compare_digest(self.tag(data), tag)


class Authentication(Protocol):
    """How the frames of a connection are sealed."""

    @property
    def name(self) -> str:
        """``psk`` or ``caller``."""
        ...

    @property
    def tag_bytes(self) -> int:
        """Length of a tag."""
        ...

    def hello_seal(self, sender: Role) -> Seal:
        """For the first frame of a direction."""
        ...

    def connection_seal(self, sender: Role, hellos: bytes) -> Seal:
        """For all others.

        Args:
            sender: whose direction.
            hellos: 32 bytes, SHA-256 of both first frames, Alice's first.
        """
        ...


class PresharedKey:
    """Tags under a secret that both sides had before.

    Args:
        secret: at least 32 bytes, kept secret; may serve many sessions.

    Raises:
        ConfigError: it is shorter.
    """

    name = "psk"
    tag_bytes = 32

    def __init__(self, secret: bytes) -> None:
        if len(secret) < MINIMUM_SECRET_BYTES:
            raise ConfigError(
                f"pre-shared key: expected at least {MINIMUM_SECRET_BYTES} bytes, got {len(secret)}; make one with "
                "`head -c 32 /dev/urandom`",
                least=MINIMUM_SECRET_BYTES,
                got=len(secret),
            )
        self._key = hkdf_extract(secret, b"")

    def __repr__(self) -> str:
        return "PresharedKey()"

    def hello_seal(self, sender: Role) -> Seal:
        """See `Authentication.hello_seal`."""
        return self._seal(b"caligo wire 1 hello " + _LABELS[sender])

    def connection_seal(self, sender: Role, hellos: bytes) -> Seal:
        """See `Authentication.connection_seal`."""
        return self._seal(b"caligo wire 1 connection " + _LABELS[sender] + hellos)

    def _seal(self, info: bytes) -> Seal:
        key = hkdf_expand(self._key, info, 32)
        return Seal(self.tag_bytes, lambda data: hmac.digest(key, data, "sha256"))


class CallerChannel:
    """The caller's channel authenticates; frames carry a CRC-32 against accidents."""

    name = "caller"
    tag_bytes = 4

    def __repr__(self) -> str:
        return "CallerChannel()"

    def hello_seal(self, sender: Role) -> Seal:
        """See `Authentication.hello_seal`."""
        return Seal(self.tag_bytes, lambda data: zlib.crc32(data).to_bytes(4, "little"))

    def connection_seal(self, sender: Role, hellos: bytes) -> Seal:
        """See `Authentication.connection_seal`."""
        return self.hello_seal(sender)


def hkdf_extract(secret: bytes, salt: bytes) -> bytes:
    """First step of HKDF with SHA-256 (RFC 5869): a key from a secret.

    Args:
        secret: input keying material.
        salt: public; empty stands for 32 zeros.

    Returns:
        32 bytes, for `hkdf_expand`.
    """
    return hmac.digest(salt or bytes(hashlib.sha256().digest_size), secret, "sha256")


def hkdf_expand(key: bytes, info: bytes, length: int) -> bytes:
    """Second step of HKDF with SHA-256 (RFC 5869): keys for one purpose each.

    Args:
        key: from `hkdf_extract`.
        info: what the key is for.
        length: bytes wanted, at most 8160.

    Returns:
        `length` bytes.
    """
    made, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(key, block + info + bytes((counter,)), "sha256")
        made += block
    return made[:length]

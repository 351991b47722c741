"""DSSE envelopes: a payload, its type, and one Ed25519 signature over both.

Covers: signing and opening, through securesystemslib. Does not cover: what payloads mean (:mod:`.bundle`),
whose signatures count (:mod:`.trust`), envelopes with several signatures.

An envelope has one form only: compact JSON with sorted keys and a line end. Base64 and JSON allow others for the same
content; they are refused, so that no byte of an envelope can be changed.

Source: DSSE 1.0 (github.com/secure-systems-lab/dsse), protocol and envelope.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from caligo.errors import BundleError, ResourceError, SignatureError
from caligo.store.bundles.signing import PublicKey, Signer
from caligo.store.bundles.trust import Trust, TrustedKey

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope


def _library() -> tuple[Any, Any]:
    try:
        import securesystemslib.dsse as dsse
        import securesystemslib.signer as signing
    except ImportError as error:
        raise ResourceError(
            "signed bundles need the package securesystemslib; install it with pip install 'caligo[sign]'",
            extra="sign",
        ) from error
    return dsse, signing


def _public(key: PublicKey) -> Any:
    """A key as securesystemslib has it, under our key id."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    _, signing = _library()
    return signing.SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(key.public_bytes), keyid=key.key_id)


def seal_envelope(payload: bytes, payload_type: str, signer: Signer) -> bytes:
    """Sign a payload.

    Args:
        payload: what is signed.
        payload_type: its media type, signed too.
        signer: with which key.

    Returns:
        The envelope, ending in a line end; equal arguments give equal bytes.

    Raises:
        ResourceError: a package is not installed.
    """
    dsse, signing = _library()
    envelope = dsse.Envelope(payload, payload_type, {})
    envelope.sign(signing.CryptoSigner(signer.private, _public(signer.public_key)))
    return _written(envelope)


def _written(envelope: Envelope) -> bytes:
    return json.dumps(envelope.to_dict(), sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"


def open_envelope(data: bytes, payload_type: str, trust: Trust) -> tuple[bytes, TrustedKey]:
    """The payload of an envelope, when a trusted key signed it.

    Whether the key was valid when it signed is for the caller to ask (:meth:`TrustedKey.refusal`): the time is in the
    payload, which is not to be read before its signature is known to be right.

    Args:
        data: bytes of the envelope.
        payload_type: the media type that it must have.
        trust: whose signatures count.

    Raises:
        BundleError: it is no envelope, or not in its one form.
        SignatureError: it is not signed, or by a key that is not trusted, or it was changed.
        ResourceError: a package is not installed.
    """
    dsse, _ = _library()
    from securesystemslib.exceptions import VerificationError

    try:
        envelope = dsse.Envelope.from_dict(json.loads(data))
        written = _written(envelope)
    # Any of these, and no others, come of JSON of another shape; the library does not wrap them.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError("it is no DSSE envelope", reason=type(error).__name__) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "securesystemslib":
            raise
        raise BundleError("it is no DSSE envelope", reason=type(error).__name__) from None
    if written != data:
        raise BundleError("it is a DSSE envelope, but not in the form that caligo writes")
    if envelope.payload_type != payload_type:
        raise BundleError(f"its payload is of type {envelope.payload_type!r}, expected {payload_type!r}")
    if len(envelope.signatures) != 1:
        raise SignatureError(f"it has {len(envelope.signatures)} signatures, expected one", reason="signatures")
    key_id = next(iter(envelope.signatures))
    entry = next((entry for entry in trust.keys if entry.key.key_id == key_id), None)
    if entry is None:
        place = "the trust file" if trust.path is None else str(trust.path)
        raise SignatureError(
            f"it is signed by a key that {place} does not have ({key_id[:16]})", key_id=key_id, reason="unknown key"
        )
    try:
        envelope.verify([_public(entry.key)], 1)
    except VerificationError:
        raise SignatureError(
            f"it does not have the signature of {entry.key.name} ({key_id[:16]})",
            key_id=key_id,
            reason="wrong signature",
        ) from None
    return envelope.payload, entry

"""What a party's session begins with: drawn, or taken from the state of a process that began it.

Covers: the session's name and public random values on Alice's side, and that a state is of this key and these terms.
Does not cover: the form of the state file (:mod:`.state_file`), going on from what it holds
(:meth:`caligo.reconciliation.endpoint.Endpoint.restore`).
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import asdict, dataclass
from typing import Any, Literal

from caligo.errors import ConfigError
from caligo.jobs.state_file import StateFile
from caligo.keys import KeyReader
from caligo.randomness import SecurityRandomness
from caligo.reconciliation.messages import Seeds, Terms

__all__ = ["Beginning", "begin_with_state", "draw_beginning"]

_FINGERPRINT_BITS = 1 << 24
_SEEDS = ("sampling_seed", "hash_key")


@dataclass(frozen=True, slots=True)
class Beginning:
    """What Alice begins a session with; Bob is told.

    Args:
        session: its name, 16 bytes.
        seeds: its public random values.
    """

    session: bytes
    seeds: Seeds


def draw_beginning() -> Beginning:
    """One that nobody has had."""
    randomness = SecurityRandomness.draw()
    return Beginning(secrets.token_bytes(16), Seeds(randomness.sampling_seed, randomness.hash_key))


def begin_with_state(
    state: StateFile, role: Literal["alice", "bob"], terms: Terms, reader: KeyReader
) -> Beginning | None:
    """What the session of a state began with; a state of nothing becomes one of this session.

    Args:
        state: claimed by this process.
        role: which side this is.
        terms: what this side wants.
        reader: of its whole key.

    Returns:
        None for Bob.

    Raises:
        ConfigError: the state is of another role, other terms, or another key.
        KeyFileError: the key cannot be read, or the state not be written.
        ResourceError: the disk is full.
    """
    salt = secrets.token_hex(16) if state.begun is None else str(state.begun["salt"])
    mine = {"role": role, "terms": asdict(terms), "key": _fingerprint(reader, bytes.fromhex(salt))}
    if state.begun is None:
        own = _to_json(draw_beginning()) if role == "alice" else {}
        state.begin(mine | own | {"salt": salt})
    begun: dict[str, Any] = state.begun or {}
    for name, value in mine.items():
        if begun[name] != value:
            raise ConfigError(
                f"state: expected the {name} of {state.path}, got another; give the same key and options as then, "
                "or another file",
                field=name,
                path=str(state.path),
            )
    return _from_json(begun) if role == "alice" else None


def _to_json(beginning: Beginning) -> dict[str, str]:
    return {name: value.hex() for name, value in asdict(beginning.seeds).items()} | {"session": beginning.session.hex()}


def _from_json(content: dict[str, Any]) -> Beginning:
    seeds = Seeds(**{name: bytes.fromhex(content[name]) for name in _SEEDS})
    return Beginning(bytes.fromhex(content["session"]), seeds)


def _fingerprint(reader: KeyReader, salt: bytes) -> str:
    """Tells keys apart; as secret as the file that it is kept in."""
    hashed = hmac.new(salt, digestmod="sha256")
    for start in range(0, reader.key_bits, _FINGERPRINT_BITS):
        hashed.update(reader.read_bits(start, min(_FINGERPRINT_BITS, reader.key_bits - start)).tobytes())
    return hashed.hexdigest()

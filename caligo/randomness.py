"""Seeds and streams: two kinds of randomness that never mix.

*Simulation* randomness is a function of (seed, stream, block): Philox4x32-10 in the crate, so that a simulated key or
noise is the same whatever the number of threads or ranks (`specs/randomness.md`). It protects nothing.

*Security* randomness (`SecurityRandomness`) comes from the operating system, once per run, after the keys are fixed. It
is public afterwards: whoever draws it persists it before use, and restart and replay use it again.

Covers: both, and the rule by which a seed names a uniformly random subset of a key's positions. Does not cover: the
generator itself (`caligo._native`), hashing (`caligo._native.universal_hash`), who sends what to whom.

The rule for sampled positions is in `specs/sampled-positions.md`: distinct words of SHAKE-256 over the seed, without
modulo bias, so that every subset is equally likely and every implementation finds the same one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import cast

import numpy as np
from numpy.typing import NDArray

from caligo import _native
from caligo.errors import ConfigError

MAX_SAMPLE_BITS = 1 << 27
"""Most positions that `sampled_positions` draws: eight bytes each, and as much again while they are sorted."""

_SAMPLING_DOMAIN = b"caligo sampled positions 1"
_INTERLEAVING_DOMAIN = b"caligo interleaving seed 1"
_SAMPLING_CHUNK_BYTES = 1 << 16


class Stream(IntEnum):
    """Independent streams under one simulation seed."""

    KEY_BITS = 1
    CHANNEL_ERRORS = 2
    GAUSSIAN_NOISE = 3
    SAMPLED_POSITIONS = 4
    INTERLEAVING = 5
    CASCADE = 6


def validate_seed(seed: object, what: str = "seed") -> int:
    """Check a simulation seed: an integer in [0, 2^64).

    Raises:
        ConfigError: anything else.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 64:
        raise ConfigError(f"{what}: expected an integer in [0, 2^64), got {seed!r}; give one such as 1", what=what)
    return seed


def simulation_bits(seed: int, stream: Stream, block: int, bits: int) -> NDArray[np.uint8]:
    """Uniform bits of a simulation.

    Args:
        seed: in [0, 2^64).
        stream: which of the independent streams.
        block: in [0, 2^64); the same block gives the same bits, and the first bits of a longer draw.
        bits: >= 0.

    Returns:
        Packed uint8 `[ceil(bits / 8)]`.

    Raises:
        ConfigError: an argument outside its range.
        NativeUnavailableError: the crate is not built.
    """
    return cast("NDArray[np.uint8]", _native.random_bits(validate_seed(seed), int(stream), block, bits))


def simulation_errors(
    seed: int, block: int, bits: int, qber: float | tuple[float, float], bob: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Error pattern of a simulated channel: each bit is one with probability `qber`, independently.

    Args:
        seed: in [0, 2^64).
        block: in [0, 2^64).
        bits: >= 0.
        qber: in [0, 1]; of a pair, the first where Bob has 0, the second where he has 1.
        bob: his bits, packed, where there is a pair.

    Returns:
        Packed uint8 `[ceil(bits / 8)]`.

    Raises:
        ConfigError: an argument outside its range.
        NativeUnavailableError: the crate is not built.
    """
    if isinstance(qber, tuple):
        if bob is None:
            raise ConfigError("expected Bob's bits beside a pair of error rates, got none; pass bob")
        # A bit is an error where one uniform number is below its rate, so the two patterns are of one draw.
        at_zero, at_one = (simulation_errors(seed, block, bits, rate) for rate in qber)
        return (at_zero & ~bob) | (at_one & bob)
    errors = _native.bernoulli_bits(validate_seed(seed), int(Stream.CHANNEL_ERRORS), block, bits, qber)
    return cast("NDArray[np.uint8]", errors)


def simulation_noise(seed: int, block: int, count: int) -> NDArray[np.float32]:
    """Standard normal samples of a simulated AWGN channel.

    Args:
        seed: in [0, 2^64).
        block: in [0, 2^64).
        count: >= 0.

    Returns:
        float32 `[count]`, mean 0, variance 1.

    Raises:
        ConfigError: an argument outside its range.
        NativeUnavailableError: the crate is not built.
    """
    noise = _native.standard_normal(validate_seed(seed), int(Stream.GAUSSIAN_NOISE), block, count)
    return cast("NDArray[np.float32]", noise)


@dataclass(frozen=True, slots=True)
class SecurityRandomness:
    """Public random values of one run, drawn from the operating system after the keys are fixed.

    Args:
        hash_key: 32 bytes, the key of the verification hash.
        sampling_seed: 32 bytes, names the sampled positions.

    Raises:
        ConfigError: a value that is not 32 bytes.
    """

    hash_key: bytes = field(repr=False)
    sampling_seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _require_32_bytes(self.hash_key, "hash_key")
        _require_32_bytes(self.sampling_seed, "sampling_seed")

    @classmethod
    def draw(cls) -> SecurityRandomness:
        """Draw fresh values from the operating system (`secrets`)."""
        return cls(hash_key=secrets.token_bytes(32), sampling_seed=secrets.token_bytes(32))

    def to_json(self) -> dict[str, str]:
        """The values in hexadecimal, for the run's record."""
        return {"hash_key": self.hash_key.hex(), "sampling_seed": self.sampling_seed.hex()}

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> SecurityRandomness:
        """The inverse of `to_json`.

        Raises:
            ConfigError: a value missing, or not 64 hexadecimal digits.
        """
        values: dict[str, bytes] = {}
        for name in ("hash_key", "sampling_seed"):
            text = record.get(name)
            try:
                values[name] = bytes.fromhex(text) if isinstance(text, str) else b""
            except ValueError:
                values[name] = b""
            if len(values[name]) != 32:
                raise ConfigError(
                    f"security randomness: expected 64 hexadecimal digits under {name!r}, got another value; "
                    "take it from the record of the run unchanged",
                    name=name,
                )
        return cls(**values)


def sampled_positions(seed: bytes, key_bits: int, sample_bits: int) -> NDArray[np.int64]:
    """A uniformly random subset of a key's positions, by the rule of `specs/sampled-positions.md`.

    Memory is proportional to `sample_bits` (to `key_bits` only where more than half of the key is sampled), not to the
    key.

    Args:
        seed: 32 bytes: `SecurityRandomness.sampling_seed`, or `simulation_sampling_seed` in a simulation.
        key_bits: n, 1 <= n < 2^63.
        sample_bits: in [0, n], at most `MAX_SAMPLE_BITS`.

    Returns:
        int64 `[sample_bits]`, strictly ascending, each in [0, key_bits).

    Raises:
        ConfigError: an argument outside its range.
    """
    _require_32_bytes(seed, "sampling_seed")
    if not 1 <= key_bits < 1 << 63:
        raise ConfigError(f"expected 1 <= key_bits < 2^63, got {key_bits}; give the key's length", key_bits=key_bits)
    most = min(key_bits, MAX_SAMPLE_BITS)
    if not 0 <= sample_bits <= most:
        raise ConfigError(
            f"expected 0 <= sample_bits <= {most}, got {sample_bits}; sample fewer bits of this key",
            sample_bits=sample_bits,
            most=most,
        )
    if 2 * sample_bits <= key_bits:
        return _distinct_candidates(seed, key_bits, sample_bits)
    keep = np.ones(key_bits, dtype=np.bool_)
    keep[_distinct_candidates(seed, key_bits, key_bits - sample_bits)] = False
    return np.flatnonzero(keep).astype(np.int64, copy=False)


def simulation_sampling_seed(seed: int, block: int = 0) -> bytes:
    """A sampling seed that is a function of a simulation seed, for simulations that must repeat.

    Args:
        seed: in [0, 2^64).
        block: in [0, 2^64); one per simulated session.

    Returns:
        32 bytes of stream `SAMPLED_POSITIONS`.

    Raises:
        ConfigError: an argument outside its range.
        NativeUnavailableError: the crate is not built.
    """
    return simulation_bits(seed, Stream.SAMPLED_POSITIONS, block, 256).tobytes()


def interleaving_seed(sampling_seed: bytes) -> int:
    """The seed of a run's public interleaver, derived from what was drawn after the keys were fixed.

    Args:
        sampling_seed: 32 bytes: `SecurityRandomness.sampling_seed`.

    Returns:
        In [0, 2^64): the first eight bytes, little-endian, of SHA-256("caligo interleaving seed 1" | sampling_seed).

    Raises:
        ConfigError: not 32 bytes.
    """
    _require_32_bytes(sampling_seed, "sampling_seed")
    return int.from_bytes(hashlib.sha256(_INTERLEAVING_DOMAIN + sampling_seed).digest()[:8], "little")


def _require_32_bytes(value: object, what: str) -> None:
    if not isinstance(value, bytes) or len(value) != 32:
        raise ConfigError(f"{what}: expected 32 bytes, got another value; use SecurityRandomness.draw()", what=what)


def _distinct_candidates(seed: bytes, key_bits: int, count: int) -> NDArray[np.int64]:
    """The first `count` distinct candidates, sorted.

    Drawing exactly as many candidates as are missing never overshoots: the set is then that of the first `count`
    distinct values of the sequence, without looking at their order.
    """
    chosen = np.empty(0, dtype=np.int64)
    candidates = _Candidates(seed, key_bits)
    while chosen.size < count:
        drawn = candidates.take(count - chosen.size)
        merged = np.concatenate((chosen, drawn))
        merged.sort()
        first = np.ones(merged.size, dtype=np.bool_)
        np.not_equal(merged[1:], merged[:-1], out=first[1:])
        chosen = merged[first]
    return chosen


class _Candidates:
    """The sequence of candidates of a seed, taken from the front."""

    def __init__(self, seed: bytes, key_bits: int) -> None:
        self._chunks = self._generate(seed, key_bits)
        self._rest = np.empty(0, dtype=np.int64)

    def take(self, count: int) -> NDArray[np.int64]:
        out = np.empty(count, dtype=np.int64)
        filled = 0
        while filled < count:
            if not self._rest.size:
                self._rest = next(self._chunks)
            part = self._rest[: count - filled]
            out[filled : filled + part.size] = part
            self._rest = self._rest[part.size :]
            filled += part.size
        return out

    @staticmethod
    def _generate(seed: bytes, key_bits: int) -> Iterator[NDArray[np.int64]]:
        limit = (1 << 64) // key_bits * key_bits
        index = 0
        while True:
            block = hashlib.shake_256(_SAMPLING_DOMAIN + seed + index.to_bytes(8, "little"))
            words = np.frombuffer(block.digest(_SAMPLING_CHUNK_BYTES), dtype="<u8")
            if limit < 1 << 64:
                words = words[words < np.uint64(limit)]
            yield (words % np.uint64(key_bits)).astype(np.int64)
            index += 1

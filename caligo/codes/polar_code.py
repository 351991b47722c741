"""A polar code as a value: which positions carry information, which are disclosed, which are known to be zero.

Covers: validation, derived counts, JSON, the digest by which a run names its code. Does not cover: how the information
set was chosen (:mod:`caligo.codes.design`) nor decoding (:mod:`caligo.reconciliation.codecs`).

Natural order throughout: u = x·F^(⊗n) with F = [[1, 0], [1, 1]]. The positions of a block fall into three sets:

- the *information set*: Bob's decoder finds these. It holds K information bits and what pays for the check;
- the *frozen set*: Alice discloses u there (the syndrome);
- the *shortened* positions, the last ``block_length - payload_length``: x and u are zero there and everybody knows it,
  so they are neither disclosed nor decoded.

A block may be cut in *segments*, equal runs of u, each with a check of its own beside the block's: Bob's decoder
settles a segment by its check before it goes on. A segment without information positions has none.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import rfc8785
from numpy.typing import NDArray

from caligo import _native
from caligo.channel import Qbers, binary_entropy, mean_qber, validate_qber, validate_qbers, validate_sigma
from caligo.codes.validation import validate_count, validate_name
from caligo.errors import ConfigError

__all__ = ["MAX_BLOCK_LENGTH", "PolarCode", "validate_block_length", "validate_segments"]

MAX_BLOCK_LENGTH = 1 << 24
MIN_SEGMENT_LENGTH = 64


def validate_block_length(block_length: object) -> int:
    """Check that a block length is a power of two in 2..2^24.

    Args:
        block_length: N.

    Returns:
        The same number.

    Raises:
        ConfigError: it is not.
    """
    remedy = "take a power of two; other payloads are carried by shortening (payload_length)"
    value = validate_count(block_length, "block_length", 2, MAX_BLOCK_LENGTH, remedy)
    if value & (value - 1):
        raise ConfigError(
            f"block_length: expected a power of two from 2 to {MAX_BLOCK_LENGTH}, got {value}; {remedy}",
            what="block_length",
            got=repr(value),
        )
    return value


def validate_segments(block_length: int, segment_length: int | None, segment_check: str) -> None:
    """Check that a block can be cut so: not at all and without a check, or in two or more equal parts with one.

    Args:
        block_length: N, validated.
        segment_length: positions of u in a segment, or None.
        segment_check: name of the check of a segment.

    Raises:
        ConfigError: it cannot.
    """
    validate_name(segment_check, "segment_check", _native.check_names())
    if (segment_length is None) != (segment_check == "none"):
        raise ConfigError(
            f"expected a segment length together with a check of segments, got {segment_length} and {segment_check!r}",
            what="segment_check",
            segment_length=segment_length,
            got=segment_check,
        )
    if segment_length is None:
        return
    most = block_length // 2
    remedy = "take a power of two, and longer blocks for longer segments"
    value = validate_count(segment_length, "segment_length", MIN_SEGMENT_LENGTH, None, remedy)
    if value & (value - 1) or value > most:
        raise ConfigError(
            f"segment_length: expected a power of two from {MIN_SEGMENT_LENGTH} to {most}, half the block, got {value}",
            what="segment_length",
            got=value,
            most=most,
        )


@dataclass(frozen=True, repr=False)
class PolarCode:
    """A validated, immutable, hashable polar code.

    Args:
        block_length: N, a power of two from 2 to 2^24.
        payload_length: key bits in a block, 1..N; the last ``N - payload_length`` positions are shortened.
        info_set: packed mask of the information set, ``max(1, N // 8)`` bytes, little bit order.
        check: name of the check whose value is disclosed with the syndrome (``none``, ``crc16``, ``crc24``, ``crc32``).
        design: how the information set was found: ``de``, ``ga``, ``nr``, ``pw``, or a name of your own.
        design_qber: crossover probability the set was designed for, or None; of a pair, the mean.
        design_sigma: noise standard deviation the set was designed for (BPSK amplitude 1), or None.
        segment_length: positions of u in a segment, a power of two from 64 to N/2; None: the block is not cut.
        segment_check: name of the check disclosed for each segment that has information positions; ``none`` if the
            block is not cut.
        design_qber_pair: (P(error | Bob has 0), P(error | Bob has 1)), two different values, if the set was designed
            for such a pair; else None.

    Raises:
        ConfigError: a field is out of range or contradicts another.
    """

    block_length: int
    payload_length: int
    info_set: bytes
    check: str
    design: str
    design_qber: float | None = None
    design_sigma: float | None = None
    segment_length: int | None = None
    segment_check: str = "none"
    design_qber_pair: tuple[float, float] | None = None

    _schema: ClassVar[str] = "caligo.code/1"

    def __post_init__(self) -> None:
        n = validate_block_length(self.block_length)
        validate_count(self.payload_length, "payload_length", 1, n)
        expected = max(1, n // 8)
        if type(self.info_set) is not bytes or len(self.info_set) != expected:
            raise ConfigError(
                f"info_set: expected {expected} bytes, the packed mask of {n} positions, "
                f"got {len(self.info_set)} of {type(self.info_set).__name__}",
                what="info_set",
                expected=expected,
            )
        mask = int.from_bytes(self.info_set, "little")
        if mask >> self.payload_length:
            raise ConfigError(
                f"info_set names a shortened position (at or beyond payload_length {self.payload_length}); "
                "a shortened position is known and carries no information",
                what="info_set",
                payload_length=self.payload_length,
            )
        validate_name(self.check, "check", _native.check_names())
        if type(self.design) is not str or not self.design:
            raise ConfigError(f"design: expected a name, got {self.design!r}", what="design")
        if self.design_qber is not None:
            validate_qber(self.design_qber, "design_qber")
        if self.design_qber_pair is not None:
            pair = validate_qbers(self.design_qber_pair, "design_qber_pair")
            if not isinstance(pair, tuple) or self.design_qber != mean_qber(pair):
                raise ConfigError(
                    f"design_qber_pair: expected a tuple of two different QBERs whose mean is design_qber, got {pair} "
                    f"and {self.design_qber}; a code for one QBER has no pair",
                    what="design_qber_pair",
                    got=repr(pair),
                    design_qber=self.design_qber,
                )
        if self.design_sigma is not None:
            validate_sigma(self.design_sigma, "design_sigma")
        validate_segments(n, self.segment_length, self.segment_check)
        positions = mask.bit_count()
        checks = self.check_bits + self.segment_check_bits
        if positions <= checks:
            raise ConfigError(
                f"the information set has {positions} positions, too few for one bit beside the {checks} bits of its "
                "checks; disclose less, or take shorter checks",
                what="info_set",
                got=positions,
                check_bits=checks,
            )

    @cached_property
    def check_bits(self) -> int:
        """Length of the check value in bits."""
        return int(_native.check_bits(self.check))

    @property
    def segments(self) -> int:
        """Segments of a block; 0 if it is not cut."""
        return 0 if self.segment_length is None else self.block_length // self.segment_length

    @cached_property
    def checked_segments(self) -> NDArray[np.bool_]:
        """Whether each segment has information positions, and so a check; read-only."""
        words = self.info_mask.reshape(self.segments, -1) if self.segments else np.zeros((0, 1), dtype=np.uint8)
        checked: NDArray[np.bool_] = np.asarray(words.any(axis=1))
        checked.flags.writeable = False
        return checked

    @cached_property
    def segment_check_bits(self) -> int:
        """Bits of all check values of segments."""
        return int(self.checked_segments.sum()) * int(_native.check_bits(self.segment_check))

    @cached_property
    def info_positions(self) -> int:
        """Positions in the information set: information bits and bits of checks together."""
        return int.from_bytes(self.info_set, "little").bit_count()

    @property
    def info_length(self) -> int:
        """K, the information bits without the checks: ``info_positions - check_bits - segment_check_bits``."""
        return self.info_positions - self.check_bits - self.segment_check_bits

    @property
    def shortened_bits(self) -> int:
        """Positions known to be zero at the end of the block."""
        return self.block_length - self.payload_length

    @property
    def frozen_bits(self) -> int:
        """Positions whose u is disclosed (shortened positions excluded)."""
        return self.payload_length - self.info_positions

    @property
    def syndrome_bits(self) -> int:
        """Bits of the polar syndrome: the frozen positions."""
        return self.frozen_bits

    @property
    def leakage_bits(self) -> int:
        """Bits disclosed for one block: syndrome, check, checks of segments."""
        return self.syndrome_bits + self.check_bits + self.segment_check_bits

    @property
    def assumed_qber(self) -> Qbers | None:
        """What a decoder of this code assumes: the pair of design QBERs if there is one, else the design QBER."""
        return self.design_qber if self.design_qber_pair is None else self.design_qber_pair

    @property
    def code_rate(self) -> float:
        """Information bits (checks excluded) per payload bit."""
        return self.info_length / self.payload_length

    def efficiency(self, qber: Qbers) -> float:
        """``leakage_bits / (payload_length · h2(qber))``, for a QBER in (0, 0.5), or the mean of a pair."""
        return self.leakage_bits / (self.payload_length * binary_entropy(mean_qber(validate_qbers(qber))))

    @cached_property
    def info_mask(self) -> NDArray[np.uint8]:
        """The information set as a packed mask, uint8, read-only."""
        return np.frombuffer(self.info_set, dtype=np.uint8)

    @cached_property
    def frozen_mask(self) -> NDArray[np.uint8]:
        """The disclosed positions as a packed mask, uint8, read-only; shortened positions are not in it."""
        full = np.zeros(len(self.info_set), dtype=np.uint8)
        whole, rest = divmod(self.payload_length, 8)
        full[:whole] = 0xFF
        if rest:
            full[whole] = (1 << rest) - 1
        frozen = full & ~self.info_mask
        frozen.flags.writeable = False
        return frozen

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of every field, the mask by its own SHA-256, as canonical JSON (RFC 8785)."""
        return hashlib.sha256(rfc8785.dumps(self._identity())).hexdigest()

    def _identity(self) -> dict[str, Any]:
        """What the digest covers; the mask enters by its own digest, so how JSON carries it does not matter.

        A code without segments, or without a pair of QBERs, says nothing of them, so that its digest is the one it
        always had.
        """
        more: dict[str, Any] = {}
        if self.segment_length is not None:
            more |= {"segment_length": self.segment_length, "segment_check": self.segment_check}
        if self.design_qber_pair is not None:
            more["design_qber_pair"] = list(self.design_qber_pair)
        return more | {
            "schema": self._schema,
            "block_length": self.block_length,
            "payload_length": self.payload_length,
            "info_set_sha256": hashlib.sha256(self.info_set).hexdigest(),
            "check": self.check,
            "design": self.design,
            "design_qber": self.design_qber,
            "design_sigma": self.design_sigma,
        }

    def to_json(self) -> dict[str, Any]:
        """The code as a JSON object; :meth:`from_json` reads it back.

        Returns:
            The identity (what ``digest`` covers), the digest, and ``info_set``: the packed mask, zlib, base64.
        """
        packed = base64.b64encode(zlib.compress(self.info_set, 9)).decode("ascii")
        return self._identity() | {"digest": self.digest, "info_set": packed}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PolarCode:
        """Read a code written by :meth:`to_json`.

        Args:
            value: the parsed JSON object.

        Raises:
            ConfigError: it is not such an object, or its content does not have its digest.
        """
        try:
            if value["schema"] != cls._schema:
                raise ConfigError(
                    f"expected a code of schema {cls._schema!r}, got {value['schema']!r}; write it with this caligo",
                    what="schema",
                    got=repr(value["schema"]),
                )
            block_length = validate_block_length(value["block_length"])
            inflate = zlib.decompressobj()
            info_set = inflate.decompress(base64.b64decode(value["info_set"], validate=True), max(1, block_length // 8))
            pair = value.get("design_qber_pair")
            code = cls(
                block_length=block_length,
                payload_length=value["payload_length"],
                info_set=info_set,
                check=value["check"],
                design=value["design"],
                design_qber=value["design_qber"],
                design_sigma=value["design_sigma"],
                segment_length=value.get("segment_length"),
                segment_check=value.get("segment_check", "none"),
                design_qber_pair=None if pair is None else tuple(pair),
                **cls._further_fields(value),
            )
            digest = value["digest"]
        except (AttributeError, KeyError, TypeError, binascii.Error, zlib.error) as error:
            raise ConfigError(
                f"the code cannot be read: {type(error).__name__}: {error}; write it with PolarCode.to_json"
            ) from error
        if digest != code.digest:
            raise ConfigError(
                f"the code's content has digest {code.digest}, but it names {digest}; it was damaged or edited",
                what="digest",
                expected=digest,
                got=code.digest,
            )
        return code

    @classmethod
    def _further_fields(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        """Fields that a kind of code has beyond those of every code, from its JSON object."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Fields only: what is derived is derived again after unpickling."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __repr__(self) -> str:
        designed = ""
        if self.design_qber_pair is not None:
            designed = f", design_qber_pair={self.design_qber_pair}"
        elif self.design_qber is not None:
            designed = f", design_qber={self.design_qber}"
        elif self.design_sigma is not None:
            designed = f", design_sigma={self.design_sigma}"
        if self.segment_length is not None:
            designed += f", segment_length={self.segment_length}, segment_check={self.segment_check!r}"
        return (
            f"PolarCode(block_length={self.block_length}, payload_length={self.payload_length}, "
            f"info_length={self.info_length}, check={self.check!r}, design={self.design!r}{designed}, "
            f"digest={self.digest[:12]})"
        )

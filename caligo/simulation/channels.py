"""Random frames: what Alice sent and what Bob got.

Covers: the binary symmetric channel and BPSK over additive white Gaussian noise. Does not cover: keys on disk, drifting
error rates.

A frame depends on (seed, frame index) alone: not on the thread, the batch or the code's information set, so two codecs,
or two codes of one length, can be given the same noise. All payload bits are random; the code's frozen values are then
random too, and are disclosed: a coset of the classical code, with the same error rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from caligo.channel import Qbers, awgn_llr, ebn0_to_sigma, validate_qbers
from caligo.codes import PolarCode, design_code
from caligo.errors import ConfigError
from caligo.randomness import Stream, simulation_bits, simulation_errors, simulation_noise

__all__ = ["AwgnChannel", "BscChannel", "Channel", "Frames", "design_for_channel", "sample_frames"]


@dataclass(frozen=True)
class BscChannel:
    """A binary symmetric channel, or one whose errors are more frequent at one of Bob's bits.

    Args:
        qber: crossover probability, in (0, 0.5), or a pair: where Bob has 0, where he has 1.

    Raises:
        ConfigError: it is not.
    """

    qber: Qbers

    def __post_init__(self) -> None:
        validate_qbers(self.qber)


@dataclass(frozen=True)
class AwgnChannel:
    """BPSK (0 is sent as +1, 1 as -1) over additive white Gaussian noise.

    Args:
        ebn0_db: energy per information bit over noise density, in decibels; the check counts as overhead.

    Raises:
        ConfigError: it is not finite, or beyond 60 dB.
    """

    ebn0_db: float

    def __post_init__(self) -> None:
        if not -60.0 <= self.ebn0_db <= 60.0:
            raise ConfigError(f"ebn0_db must be from -60 to 60, got {self.ebn0_db}", what="ebn0_db", got=self.ebn0_db)

    def sigma(self, code_rate: float) -> float:
        """Noise standard deviation at a code rate (information bits per transmitted bit)."""
        return ebn0_to_sigma(self.ebn0_db, code_rate)


Channel: TypeAlias = BscChannel | AwgnChannel


@dataclass(frozen=True, eq=False, repr=False)
class Frames:
    """Consecutive frames.

    Args:
        first: index of the first.
        blocks: uint8[B, max(1, N // 8)], packed: what Alice has; shortened positions zero.
        received: the same shape: what Bob has over a BSC; None for AWGN.
        llr: float32[B, N], ln P(0)/P(1), zero at shortened positions: what Bob has over AWGN; None for a BSC.
    """

    first: int
    blocks: NDArray[np.uint8]
    received: NDArray[np.uint8] | None
    llr: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.blocks)


def design_for_channel(
    channel: Channel,
    block_length: int,
    *,
    payload_length: int | None = None,
    design: str | None = None,
    efficiency: float | None = None,
    info_length: int | None = None,
    check: str = "crc32",
    segment_length: int | None = None,
    segment_check: str = "crc16",
) -> PolarCode:
    """Design a code for the very channel it will be simulated on.

    Args:
        channel: the design channel.
        block_length: N, a power of two.
        payload_length: bits sent, 1..N; default N.
        design: ``de``, ``ga``, ``nr`` or ``pw``; default ``de`` for a BSC, ``ga`` for AWGN.
        efficiency: budget over a BSC, as for :func:`caligo.codes.design_code`.
        info_length: K, information bits without the checks; for AWGN it also sets the rate, hence the noise.
        check: ``none``, ``crc16``, ``crc24`` or ``crc32``.
        segment_length: positions of u in a segment, a power of two from 64 to N/2; None: the block is not cut.
        segment_check: check of a segment, ``crc16``, ``crc24`` or ``crc32``; without segments there is none.

    Raises:
        ConfigError: a parameter is out of range, or the budget does not fit the channel.
    """
    if isinstance(channel, BscChannel):
        return design_code(
            block_length,
            payload_length=payload_length,
            design=design or "de",
            qber=channel.qber,
            efficiency=efficiency,
            info_length=info_length,
            check=check,
            segment_length=segment_length,
            segment_check=segment_check,
        )
    if efficiency is not None or info_length is None:
        raise ConfigError("over AWGN the budget is info_length, the information bits without the check")
    sent = block_length if payload_length is None else payload_length
    if not 1 <= info_length <= sent:
        raise ConfigError(
            f"info_length must be in 1..{sent}, got {info_length}", what="info_length", got=info_length, most=sent
        )
    return design_code(
        block_length,
        payload_length=payload_length,
        design=design or "ga",
        sigma=channel.sigma(info_length / sent),
        info_length=info_length,
        check=check,
        segment_length=segment_length,
        segment_check=segment_check,
    )


def sample_frames(code: PolarCode, channel: Channel, seed: int, first: int, count: int) -> Frames:
    """The frames ``first .. first + count - 1`` of a seed.

    Args:
        code: gives the lengths and, for AWGN, the rate.
        channel: what happens on the way.
        seed: 0..2^64 - 1.
        first: index of the first frame, from 0.
        count: frames, from 0.
    """
    payload = code.payload_length
    payload_bytes = (payload + 7) // 8
    blocks = np.zeros((count, max(1, code.block_length // 8)), dtype=np.uint8)
    for row in range(count):
        blocks[row, :payload_bytes] = simulation_bits(seed, Stream.KEY_BITS, first + row, payload)
    if isinstance(channel, BscChannel):
        received = blocks.copy()
        # Of a pair it is Bob who has what was drawn: his bits say how likely errors are.
        changed = blocks if isinstance(channel.qber, tuple) else received
        for row in range(count):
            bob = received[row, :payload_bytes].copy()
            changed[row, :payload_bytes] ^= simulation_errors(seed, first + row, payload, channel.qber, bob)
        return Frames(first=first, blocks=blocks, received=received, llr=None)
    sigma = channel.sigma(code.code_rate)
    llr = np.zeros((count, code.block_length), dtype=np.float32)
    for row in range(count):
        sent = np.unpackbits(blocks[row], count=payload, bitorder="little")
        llr[row, :payload] = awgn_llr(sent, simulation_noise(seed, first + row, payload), sigma)
    return Frames(first=first, blocks=blocks, received=None, llr=llr)

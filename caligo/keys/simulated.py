"""Simulated sifted keys: two files that differ like those of a link whose error rate drifts.

Alice's bits are uniform. Bob's differ independently, with a probability that is constant within chunks of `CHUNK_BITS`
bits and drifts from chunk to chunk around its mean; it may be one where Bob has 0 and another where he has 1.
Everything is a function of the seed.

Covers: generating a pair in bounded memory. Does not cover: bursts, timing.

Alice's bits are block i of stream `KEY_BITS` for the i-th 2^20 bits; the errors are block j of stream `CHANNEL_ERRORS`
for the j-th 2^12 bits. With two error rates the bits of that stream are Bob's, and Alice's are his with the errors.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from caligo.bits import Packed, count_ones, packed_bytes
from caligo.channel import Qbers, validate_qber, validate_qbers
from caligo.errors import ConfigError
from caligo.keys.files import prepare_output_directory
from caligo.keys.packed import PackedKeyWriter
from caligo.randomness import Stream, simulation_bits, simulation_errors, validate_seed

CHUNK_BITS = 1 << 12
"""Bits over which the error rate of a simulated key is constant."""

_WINDOW_BITS = 1 << 20
_QBER_STEP = 1 << 32

DriftKind = Literal["sine", "linear", "step"]


@dataclass(frozen=True, slots=True)
class Drift:
    """How the error rate of a simulated key moves around its mean.

    Args:
        kind: "sine": mean (1 + amplitude sin(2 pi t / period)); "step": mean (1 + amplitude) for the first half of each
            period, mean (1 - amplitude) for the second; "linear": from mean (1 - amplitude) at the key's beginning to
            mean (1 + amplitude) at its end, whatever the period.
        amplitude: greatest deviation relative to the mean, in [0, 1).
        period_bits: >= 2 * CHUNK_BITS.

    Raises:
        ConfigError: an argument outside its range.
    """

    kind: DriftKind = "sine"
    amplitude: float = 0.0
    period_bits: int = 1 << 23

    def __post_init__(self) -> None:
        if self.kind not in get_args(DriftKind):
            raise ConfigError(
                f"expected a drift of {', '.join(get_args(DriftKind))}, got {self.kind!r}; write --drift sine/0.2",
                kind=self.kind,
            )
        if not 0.0 <= self.amplitude < 1.0:
            raise ConfigError(
                f"expected a drift amplitude in [0, 1), relative to the mean, got {self.amplitude!r}; 0.2 is +-20 %",
                amplitude=str(self.amplitude),
            )
        if self.period_bits < 2 * CHUNK_BITS:
            raise ConfigError(
                f"expected a drift period of at least {2 * CHUNK_BITS} bits, got {self.period_bits}; make it longer",
                period_bits=self.period_bits,
            )

    @classmethod
    def parse(cls, text: str, *, period_bits: int = 1 << 23) -> Drift:
        """Read `KIND/AMPLITUDE` or `AMPLITUDE` (a sine).

        Raises:
            ConfigError: not of that form, or out of range.
        """
        kind, slash, amplitude = text.rpartition("/")
        try:
            value = float(amplitude)
        except ValueError:
            value = math.nan
        if math.isnan(value) or (slash and not kind):
            raise ConfigError(f"expected a drift KIND/AMPLITUDE, got {text!r}; write sine/0.2", got=text)
        return cls(kind=(kind or "sine"), amplitude=value, period_bits=period_bits)  # type: ignore[arg-type]

    def error_rate(self, mean: float, chunk: int, chunks: int) -> float:
        """Error rate of one chunk, rounded to a multiple of 2^-32: mathematical libraries differ in the last digit.

        Args:
            mean: in (0, 0.5).
            chunk: in [0, chunks).
            chunks: number of chunks in the key.
        """
        if self.amplitude == 0.0:
            return mean
        phase = ((2 * chunk + 1) * CHUNK_BITS / 2 / self.period_bits) % 1.0
        if self.kind == "sine":
            deviation = math.sin(2.0 * math.pi * phase)
        elif self.kind == "step":
            deviation = 1.0 if phase < 0.5 else -1.0
        else:
            deviation = (2 * chunk + 1) / chunks - 1.0
        return round(mean * (1.0 + self.amplitude * deviation) * _QBER_STEP) / _QBER_STEP


@dataclass(frozen=True, slots=True)
class SimulatedPair:
    """What was written.

    Args:
        alice: her file.
        bob: his.
        key_bits: length of both.
        differing_bits: positions in which they differ.
    """

    alice: Path
    bob: Path
    key_bits: int
    differing_bits: int

    @property
    def true_qber(self) -> float:
        """Differing bits over all bits."""
        return self.differing_bits / self.key_bits


def simulate_pair(
    directory: str | os.PathLike[str],
    *,
    key_bits: int,
    qber: Qbers,
    seed: int,
    drift: Drift | None = None,
    overwrite: bool = True,
    progress: Callable[[int], None] | None = None,
) -> SimulatedPair:
    """Write `alice.bin` and `bob.bin`: packed, little bit order, 0600; neither appears before both are whole.

    Args:
        directory: where to; created when everything else about the call is right, see `prepare_output_directory`.
        key_bits: length of the keys, >= 1.
        qber: mean error rate, 0 < qber < 0.5, or a pair: where Bob has 0, where he has 1.
        seed: in [0, 2^64).
        drift: how the error rate, or both of a pair, moves; None for a constant one. The greatest must be below 0.5.
        overwrite: write into a directory that is not empty, too.
        progress: called with the bits of each window that was written.

    Returns:
        Paths, length and the number of differing bits.

    Raises:
        ConfigError: an argument outside its range, or the directory is not empty and `overwrite` is off.
        KeyFileError: a file cannot be written.
        ResourceError: the disk is full.
        NativeUnavailableError: the crate is not built.
    """
    validate_seed(seed)
    rates = validate_qbers(qber)
    drift = drift or Drift()
    validate_qber(max(rates if isinstance(rates, tuple) else (rates,)) * (1.0 + drift.amplitude), "greatest qber")
    if key_bits < 1:
        raise ConfigError(f"expected key_bits >= 1, got {key_bits}; give a length", key_bits=key_bits)
    target = prepare_output_directory(Path(directory), force=overwrite)
    differing = 0
    with PackedKeyWriter(target / "alice.bin") as alice, PackedKeyWriter(target / "bob.bin") as bob:
        for window in range(-(-key_bits // _WINDOW_BITS)):
            count = min(_WINDOW_BITS, key_bits - window * _WINDOW_BITS)
            bits = simulation_bits(seed, Stream.KEY_BITS, window, count)
            errors = _errors(seed, rates, drift, key_bits, window * _WINDOW_BITS, bits, count)
            differing += count_ones(errors)
            # Of a pair it is Bob who has what was drawn: his bits say how likely errors are.
            other = bits ^ errors
            alice.append(other if isinstance(rates, tuple) else bits, count)
            bob.append(bits if isinstance(rates, tuple) else other, count)
            if progress is not None:
                progress(count)
        alice.settle()
        bob.settle()
    return SimulatedPair(alice.path, bob.path, key_bits, differing)


def _errors(seed: int, qber: Qbers, drift: Drift, key_bits: int, start: int, bob: Packed, bits: int) -> Packed:
    chunks = -(-key_bits // CHUNK_BITS)
    errors = np.empty(packed_bytes(bits), dtype=np.uint8)
    for at in range(0, bits, CHUNK_BITS):
        chunk = (start + at) // CHUNK_BITS
        count = min(CHUNK_BITS, bits - at)
        place = slice(at // 8, packed_bytes(at + count))
        rates: Qbers
        if isinstance(qber, tuple):
            rates = (drift.error_rate(qber[0], chunk, chunks), drift.error_rate(qber[1], chunk, chunks))
        else:
            rates = drift.error_rate(qber, chunk, chunks)
        errors[place] = simulation_errors(seed, chunk, count, rates, bob[place])
    return errors

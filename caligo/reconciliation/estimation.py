"""The QBER: how it is estimated from sampled positions, and which QBER a code is designed for.

Covers: how many positions to sample, the estimate and its interval, the step from an estimate to a design. Does not
cover: which positions (:func:`caligo.randomness.sampled_positions`), reading them from a key (:mod:`caligo.jobs`).

Both sides disclose their bits at the sampled positions and remove them from their keys. These bits cost key length and
are reported as ``sampled_bits``; they are no leakage about the rest.

**How many.** With s of n bits sampled, the design must allow for the estimate's standard error, which costs disclosure
proportional to n / sqrt(s), and the sample itself costs s. The sum is least at s proportional to n^(2/3); at a QBER of
2 % and the design quantile used here the factor is close to 1, so the default is s = n^(2/3), at most
`MAX_DEFAULT_SAMPLE`.

**Design QBER.** Where nothing can be asked for, the *high* side: the upper end of the two-sided 95 % Clopper-Pearson
interval of the estimate (so the true QBER of a key without drift lies above it once in forty keys), or the QBER that
was given, in both cases moved *up* to the next point of the design grid. Where Bob can ask for what is missing, the
*low* side, since too much disclosure cannot be taken back and too little costs requests alone: the lower end of the
interval at `ASKING_CONFIDENCE`, about one standard error below the estimate, or the QBER that was given, moved *down*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caligo.bits import Packed, hamming_distance
from caligo.channel import DESIGN_QBER_MAX, DESIGN_QBER_MIN, design_qber, validate_qber
from caligo.errors import ConfigError, KeyFileError
from caligo.statistics import Proportion

__all__ = [
    "ASKING_CONFIDENCE",
    "CONFIDENCE",
    "MAX_DEFAULT_SAMPLE",
    "QberEstimate",
    "default_sample_bits",
    "design_qber_above",
    "design_qber_below",
    "design_qber_for",
    "estimate_qber",
]

CONFIDENCE = 0.95
"""Of the two-sided interval reported with an estimate."""

ASKING_CONFIDENCE = 0.68
"""Of the two-sided interval whose lower end is designed for where Bob can ask: every further standard error would cost
more requests than disclosure it saves."""

MAX_DEFAULT_SAMPLE = 1_000_000
"""Above this the estimate is better than the grid of designs: at 2 % its interval is within 1.4 % of it."""


def default_sample_bits(key_bits: int) -> int:
    """How many positions to sample when nobody says: the integer next to n^(2/3), at most half of the key.

    Args:
        key_bits: n, >= 1.

    Returns:
        At least 1 for n >= 2, at most `MAX_DEFAULT_SAMPLE`; 0 for a key of one bit.
    """
    wanted: float = key_bits ** (2.0 / 3.0)
    return min(round(wanted), key_bits // 2, MAX_DEFAULT_SAMPLE)


def design_qber_above(qber: float) -> float:
    """The least point of the design grid that is not below a QBER.

    Args:
        qber: 0 < qber <= `caligo.channel.DESIGN_QBER_MAX`.

    Returns:
        A grid point, at least `caligo.channel.DESIGN_QBER_MIN`.

    Raises:
        ConfigError: `qber` outside its range.
    """
    value = validate_qber(qber)
    if value > DESIGN_QBER_MAX:
        raise ConfigError(
            f"qber: expected at most {DESIGN_QBER_MAX}, got {value:g}; no code is designed beyond it, since next to no "
            "key would be left",
            got=value,
            high=DESIGN_QBER_MAX,
        )
    snapped = design_qber(value)
    if snapped < value:
        steps = 100_000 if snapped < 0.01 else 10_000
        snapped = design_qber((round(snapped * steps) + 1) / steps)
    return max(snapped, DESIGN_QBER_MIN)


def design_qber_below(qber: float) -> float:
    """The greatest point of the design grid that is not above a QBER, for strategies that can ask for what is missing.

    Args:
        qber: `caligo.channel.DESIGN_QBER_MIN` <= qber < 0.5.

    Returns:
        A grid point, at most `caligo.channel.DESIGN_QBER_MAX`; for a smaller QBER the least point there is.

    Raises:
        ConfigError: `qber` outside (0, 0.5).
    """
    value = validate_qber(qber)
    snapped = design_qber(value)
    if snapped > value and snapped > DESIGN_QBER_MIN:
        steps = 100_000 if snapped <= 0.01 else 10_000
        snapped = design_qber((round(snapped * steps) - 1) / steps)
    return snapped


@dataclass(frozen=True, slots=True)
class QberEstimate:
    """What the sampled positions say.

    Args:
        errors: sampled positions in which the keys differ.
        sampled_bits: sampled positions, >= 1.
    """

    errors: int
    sampled_bits: int

    @property
    def qber(self) -> float:
        """Errors over sampled positions."""
        return self.errors / self.sampled_bits

    @property
    def interval(self) -> tuple[float, float]:
        """Two-sided Clopper-Pearson interval at `CONFIDENCE`."""
        return Proportion(self.errors, self.sampled_bits).interval(CONFIDENCE)

    def design_qber(self, *, asks: bool = False) -> float:
        """The QBER to design for: an end of an interval, on the grid.

        Args:
            asks: Bob can ask for what is missing, so design on the low side.

        Raises:
            KeyFileError: even the lower end lies beyond what any code here is designed for: the keys do not belong
                together, or the sample is far too small to tell.
        """
        low, high = self.interval
        if self.qber >= DESIGN_QBER_MAX:
            raise KeyFileError(
                f"the keys differ in {self.qber:.1%} of {self.sampled_bits} sampled positions (expected well below "
                f"{DESIGN_QBER_MAX:.0%}): they do not look like two sides of one sifted key; check that the files "
                "belong together, start at the same bit and have the bit order given by --bit-order",
                estimated_qber=self.qber,
                low=low,
                high=high,
                sampled_bits=self.sampled_bits,
            )
        if asks:
            low, _ = Proportion(self.errors, self.sampled_bits).interval(ASKING_CONFIDENCE)
            return design_qber_below(min(max(low, DESIGN_QBER_MIN), DESIGN_QBER_MAX))
        return design_qber_above(min(max(high, DESIGN_QBER_MIN), DESIGN_QBER_MAX))


def design_qber_for(known: float | QberEstimate, *, asks: bool) -> float:
    """The QBER to design for, by what is known of it.

    Args:
        known: the QBER that was given, 0 < qber <= `caligo.channel.DESIGN_QBER_MAX`, or an estimate.
        asks: Bob can ask for what is missing.

    Returns:
        A grid point.

    Raises:
        ConfigError: a given QBER outside its range.
        KeyFileError: the estimate says that the keys do not belong together.
    """
    if isinstance(known, QberEstimate):
        return known.design_qber(asks=asks)
    above = design_qber_above(known)
    return min(above, design_qber_below(max(known, DESIGN_QBER_MIN))) if asks else above


def estimate_qber(alice_sample: Packed, bob_sample: Packed, sampled_bits: int) -> QberEstimate:
    """Compare the disclosed samples.

    Args:
        alice_sample: packed bits of Alice's key at the sampled positions, uint8 `[ceil(sampled_bits / 8)]`.
        bob_sample: Bob's, likewise.
        sampled_bits: number of positions, >= 1.

    Raises:
        ConfigError: no position was sampled.
        ShapeError: the samples differ in shape.
    """
    if sampled_bits < 1:
        raise ConfigError(
            f"expected at least one sampled position, got {sampled_bits}; give --qber or sample some",
            sampled_bits=sampled_bits,
        )
    return QberEstimate(
        hamming_distance(np.ascontiguousarray(alice_sample), np.ascontiguousarray(bob_sample)), sampled_bits
    )

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
interval at `ASKING_CONFIDENCE`, half a standard error below the estimate, or the QBER that was given, moved *down*.

**Two rates.** Detectors differ, and so do P(error | Bob has 0) and P(error | Bob has 1): the sample tells both. Where
they differ significantly (Fisher's exact test at the level `SIGNIFICANCE`), and by enough that a decoder which knows it
needs at least `LEAST_SAVING` less, a code is designed for the pair. The pair's mean is the design QBER of above,
whichever side that is on, divided in the proportion of the estimates; each part is moved to the grid on the same side.
So what is disclosed allows once for not knowing the QBER, and not at all for not knowing the proportion, which matters
little: rates that are off by a tenth in opposite directions cost 0.12 % of the disclosure. His bits need not be as
often 0 as 1: the mean is that of all errors.

Decoding by two rates makes the decoder's doing depend on Bob's bits, so that his replies and requests must be counted:
`leakage_bits_both_ways` is then the only account (:func:`leakage_account`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caligo.bits import Packed, count_ones, hamming_distance
from caligo.channel import (
    DESIGN_QBER_MAX,
    DESIGN_QBER_MIN,
    Qbers,
    binary_entropy,
    conditional_entropy,
    design_qber,
    mean_qber,
    validate_qber,
    validate_qbers,
)
from caligo.errors import ConfigError, KeyFileError
from caligo.statistics import Proportion, difference_test

__all__ = [
    "ASKING_CONFIDENCE",
    "CONFIDENCE",
    "LEAST_SAVING",
    "MAX_DEFAULT_SAMPLE",
    "SIGNIFICANCE",
    "QberEstimate",
    "default_sample_bits",
    "design_qber_above",
    "design_qber_below",
    "design_qber_for",
    "design_qbers_for",
    "divide_qber",
    "estimate_qber",
    "leakage_account",
]

CONFIDENCE = 0.95
"""Of the two-sided interval reported with an estimate."""

ASKING_CONFIDENCE = 0.38
"""Of the two-sided interval whose lower end is designed for where Bob can ask: half a standard error low. Lower still,
requests would outweigh what the strategy was wished to do."""

SIGNIFICANCE = 0.01
"""Level of the test for two rates: so rarely is a pair designed for where there is one rate."""

LEAST_SAVING = 0.002
"""Part of the disclosure that a pair must save, 1 - H(X|Y) / h2(mean): at 2 %, rates that are 14 % from their mean."""

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
        at_zero: errors among the sampled positions where Bob has 0; None: not told apart.
        at_one: errors among those where he has 1; None likewise.
    """

    errors: int
    sampled_bits: int
    at_zero: Proportion | None = None
    at_one: Proportion | None = None

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

    @property
    def rates(self) -> tuple[float, float] | None:
        """P(error | Bob has 0) and P(error | Bob has 1), with Jeffreys' half an error and half a correct bit added.

        None where they were not told apart.
        """
        if self.at_zero is None or self.at_one is None:
            return None
        at_zero, at_one = ((part.successes + 0.5) / (part.trials + 1.0) for part in (self.at_zero, self.at_one))
        return at_zero, at_one

    @property
    def is_asymmetric(self) -> bool:
        """Whether the two rates differ, by the sample at the level `SIGNIFICANCE`, and by enough to save
        `LEAST_SAVING`.
        """
        if self.rates is None or self.at_zero is None or self.at_one is None or max(self.rates) >= 0.5:
            return False
        saving = 1.0 - conditional_entropy(self.rates) / binary_entropy(mean_qber(self.rates))
        return saving >= LEAST_SAVING and difference_test(self.at_zero, self.at_one) <= SIGNIFICANCE

    def design_qbers(self, *, asks: bool = False) -> Qbers:
        """The pair to design for where the sample says that there are two rates, else `design_qber`.

        Args:
            asks: Bob can ask for what is missing, so design on the low side.

        Raises:
            KeyFileError: as `design_qber`.
        """
        mean = self.design_qber(asks=asks)
        return divide_qber(mean, self.rates, asks=asks) if self.rates is not None and self.is_asymmetric else mean


def divide_qber(mean: float, rates: tuple[float, float], *, asks: bool) -> Qbers:
    """A pair of design QBERs of a given mean.

    Args:
        mean: a point of the design grid.
        rates: P(error | Bob has 0) and P(error | Bob has 1), in whose proportion it is divided; not both zero.
        asks: Bob can ask for what is missing: both go down to the grid, not up.

    Returns:
        The pair, on the grid; a number where both come to the same point.
    """
    to_grid = design_qber_below if asks else design_qber_above
    parts = (min(max(rate * 2.0 * mean / sum(rates), DESIGN_QBER_MIN), DESIGN_QBER_MAX) for rate in rates)
    return validate_qbers(tuple(to_grid(part) for part in parts))


def leakage_account(qbers: Qbers) -> str:
    """The account that privacy amplification may rely on, by what decoders assume.

    Args:
        qbers: a QBER, or a pair.

    Returns:
        ``leakage_bits_both_ways`` for a pair: what Bob says depends on his bits then, not on the errors alone; else
        ``leakage_bits``, which suffices where a proof allows for Bob's messages (``leakage_bits_both_ways`` does
        always).
    """
    return "leakage_bits_both_ways" if isinstance(qbers, tuple) else "leakage_bits"


def design_qbers_for(known: Qbers | QberEstimate, *, asks: bool, asymmetric: bool = True) -> Qbers:
    """The QBER or the pair to design for, by what is known.

    Args:
        known: the QBER or the pair that was given, 0 < qber <= `caligo.channel.DESIGN_QBER_MAX`, or an estimate.
        asks: Bob can ask for what is missing.
        asymmetric: take a pair where an estimate says that there are two rates. A pair that is given is taken as it is.

    Returns:
        Grid points.

    Raises:
        ConfigError: a given QBER outside its range.
        KeyFileError: the estimate says that the keys do not belong together.
    """
    if isinstance(known, QberEstimate) and asymmetric:
        return known.design_qbers(asks=asks)
    if isinstance(known, tuple):
        return validate_qbers(tuple(design_qber_for(qber, asks=asks) for qber in known))
    return design_qber_for(known, asks=asks)


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
    """Compare the disclosed samples, and tell apart the positions where Bob has 0 and where he has 1.

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
    alice_sample, bob_sample = np.ascontiguousarray(alice_sample), np.ascontiguousarray(bob_sample)
    errors, ones = hamming_distance(alice_sample, bob_sample), count_ones(bob_sample)
    errors_at_one = count_ones((alice_sample ^ bob_sample) & bob_sample)
    return QberEstimate(
        errors,
        sampled_bits,
        Proportion(errors - errors_at_one, sampled_bits - ones),
        Proportion(errors_at_one, ones),
    )

"""The two channels of caligo: binary symmetric (BSC) and binary-input additive white Gaussian noise (BI-AWGN).

Covers: entropy, capacity, log-likelihood ratios, the grid of design QBERs, pairs of QBERs, the normal approximation to
the best one-way efficiency, the arithmetic of Eb/N0. Does not cover: drawing noise (`caligo.randomness`), estimating a
QBER (`caligo.reconciliation`), the int8 LLRs of the decoder (the crate quantises; `specs/rust-polar-crate.md`).

A log-likelihood ratio is ln P(0)/P(1): positive means 0. BPSK sends bit 0 as +1 and bit 1 as -1. `sigma` is the
standard deviation of the noise per real dimension at unit symbol energy.

Errors of real keys are asymmetric: a *pair* (at_zero, at_one) is P(error | Bob has 0) and P(error | Bob has 1), his
bits being as often 0 as 1. What must be disclosed is then H(X|Y) = (h2(at_zero) + h2(at_one)) / 2, less than h2 of the
mean.

Source of the normal approximation: Y. Polyanskiy, H. V. Poor, S. Verdú, "Channel coding rate in the finite blocklength
regime", IEEE Trans. Inf. Theory 56 (2010), eq. (291) for the BSC, with the third-order term (1/2) log2 n.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from caligo.errors import ConfigError, ShapeError

Qbers: TypeAlias = float | tuple[float, float]
"""A QBER, or the pair (where Bob has 0, where he has 1)."""

DESIGN_QBER_MIN = 0.0005
DESIGN_QBER_MAX = 0.25


def validate_qber(qber: float, what: str = "qber") -> float:
    """Check a QBER where it enters caligo.

    Args:
        qber: the value; an error rate, not a percentage.
        what: name of the argument, for the message.

    Returns:
        `qber` as a float, with 0 < qber < 0.5.

    Raises:
        ConfigError: 0, 0.5 or more, negative, NaN, or not a number.
    """
    try:
        value = float(qber)
    except (TypeError, ValueError):
        value = math.nan
    if 0.0 < value < 0.5:
        return value
    if value == 0.0:
        remedy = "keys without errors need no reconciliation; give a small positive bound such as 0.0005"
    elif 0.5 <= value <= 1.0:
        remedy = "at 0.5 the keys are unrelated; above it one of them is inverted"
    elif 1.0 < value <= 50.0:
        remedy = f"give a fraction, not a percentage: {value / 100:g}"
    else:
        remedy = "give the fraction of differing bits, such as 0.02"
    raise ConfigError(
        f"{what}: expected 0 < {what} < 0.5, got {qber!r}; {remedy}", what=what, got=str(qber), low=0.0, high=0.5
    )


def validate_qbers(qbers: object, what: str = "qber") -> Qbers:
    """Check a QBER, or a pair of them, where it enters caligo.

    Args:
        qbers: a number, or a tuple of two: where Bob has 0, where he has 1.
        what: name of the argument, for the message.

    Returns:
        A pair, or a number where there is one or both are equal; each with 0 < qber < 0.5.

    Raises:
        ConfigError: neither, or out of range.
    """
    if not isinstance(qbers, tuple):
        return validate_qber(qbers, what)  # type: ignore[arg-type]
    if len(qbers) != 2:
        raise ConfigError(
            f"{what}: expected a number or a pair, where Bob has 0 and where he has 1, got {len(qbers)} values; give "
            "one or two",
            what=what,
            got=len(qbers),
        )
    at_zero, at_one = (validate_qber(value, what) for value in qbers)
    return at_zero if at_zero == at_one else (at_zero, at_one)


def mean_qber(qbers: Qbers) -> float:
    """The share of places in which the keys differ: the QBER itself, or the mean of a pair.

    Args:
        qbers: validated.
    """
    return sum(qbers) / 2.0 if isinstance(qbers, tuple) else qbers


def conditional_entropy(qbers: Qbers) -> float:
    """H(X|Y): the bits about a bit of Alice's that Bob's does not tell; the least that must be disclosed.

    Args:
        qbers: validated.

    Returns:
        h2 of a QBER, the mean of h2 over a pair: at most h2 of the mean.
    """
    if isinstance(qbers, tuple):
        return (binary_entropy(qbers[0]) + binary_entropy(qbers[1])) / 2.0
    return binary_entropy(qbers)


@overload
def binary_entropy(probability: float) -> float: ...
@overload
def binary_entropy(probability: NDArray[np.float64]) -> NDArray[np.float64]: ...
def binary_entropy(probability: float | NDArray[np.float64]) -> float | NDArray[np.float64]:
    """Entropy h2 of a bit that is one with the given probability, in bits.

    Args:
        probability: in [0, 1]; a float, or float64 of any shape.

    Returns:
        h2 in [0, 1], of the same kind and shape; exactly 0 at 0 and 1.

    Raises:
        ConfigError: a value outside [0, 1], or NaN.
    """
    p = np.asarray(probability, dtype=np.float64)
    if not bool(np.all((p >= 0.0) & (p <= 1.0))):
        raise ConfigError("expected probabilities in [0, 1], got others; give fractions, not percentages")
    q = 1.0 - p
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.asarray(
            -np.where(p > 0.0, p * np.log2(p), 0.0) - np.where(q > 0.0, q * np.log1p(-p) / math.log(2.0), 0.0)
        )
    return float(entropy) if entropy.ndim == 0 else entropy


def bsc_llr(qber: float) -> float:
    """LLR magnitude of a bit received over a BSC, ln((1 - qber) / qber), in nats.

    Args:
        qber: 0 < qber < 0.5.

    Returns:
        A positive float; a received 0 has this LLR, a received 1 its negative.

    Raises:
        ConfigError: `qber` outside its range.
    """
    value = validate_qber(qber)
    return math.log1p(-value) - math.log(value)


def design_qber(qber: float) -> float:
    """Snap a QBER to the grid on which codes are designed.

    The grid: multiples of 1e-4 from 0.01 on, multiples of 1e-5 below, clipped to [0.0005, 0.25]. A design is a function
    of its grid point, so that caches are shared and designs can be compared. Rounding is to the nearest point.

    Args:
        qber: 0 < qber < 0.5.

    Returns:
        The grid point, as the float nearest to its decimal value (`repr` shows at most five decimals).

    Raises:
        ConfigError: `qber` outside its range.
    """
    value = min(max(validate_qber(qber), DESIGN_QBER_MIN), DESIGN_QBER_MAX)
    steps = 100_000 if value < 0.01 else 10_000
    return round(value * steps) / steps


def design_qbers(qbers: Qbers) -> Qbers:
    """Snap a QBER, or both of a pair, to the grid on which codes are designed; see `design_qber`.

    Args:
        qbers: 0 < qber < 0.5 each.

    Raises:
        ConfigError: outside its range.
    """
    if isinstance(qbers, tuple):
        return validate_qbers(tuple(design_qber(value) for value in qbers))
    return design_qber(qbers)


def normal_approximation_bits(block_length: int, qber: float, fer: float) -> float:
    """Fewest bits that a one-way protocol can disclose for a block, in the normal approximation.

    n h2(p) + sqrt(n V) Q^-1(fer) - (1/2) log2 n, with V = p (1 - p) log2((1 - p) / p)^2.

    Args:
        block_length: n, key bits in the block, >= 1.
        qber: p, 0 < p < 0.5.
        fer: frame error rate, 0 < fer < 1.

    Returns:
        Bits, not rounded; meaningful from about a hundred bits on.

    Raises:
        ConfigError: an argument outside its range.
    """
    p = validate_qber(qber)
    if block_length < 1:
        raise ConfigError(f"expected block_length >= 1, got {block_length}; give a length", block_length=block_length)
    if not 0.0 < fer < 1.0:
        raise ConfigError(f"expected 0 < fer < 1, got {fer!r}; give a rate such as 0.01", fer=fer)
    dispersion = p * (1.0 - p) * (bsc_llr(p) / math.log(2.0)) ** 2
    tail = -NormalDist().inv_cdf(fer)
    return (
        block_length * binary_entropy(p) + math.sqrt(block_length * dispersion) * tail - 0.5 * math.log2(block_length)
    )


def normal_approximation_efficiency(block_length: int, qber: float, fer: float) -> float:
    """Least efficiency f of one-way reconciliation, in the normal approximation.

    Args:
        block_length: key bits in the block, >= 1.
        qber: 0 < qber < 0.5.
        fer: frame error rate, 0 < fer < 1.

    Returns:
        `normal_approximation_bits` over block_length * h2(qber).

    Raises:
        ConfigError: an argument outside its range.
    """
    return normal_approximation_bits(block_length, qber, fer) / (block_length * binary_entropy(qber))


def ebn0_to_sigma(ebn0_db: float, code_rate: float) -> float:
    """Standard deviation of the noise for a ratio of energy per information bit to noise density.

    Args:
        ebn0_db: Eb/N0 in decibels, finite.
        code_rate: information bits per channel bit, 0 < code_rate <= 1.

    Returns:
        sigma = 1 / sqrt(2 code_rate 10^(ebn0_db / 10)).

    Raises:
        ConfigError: an argument outside its range.
    """
    if not 0.0 < code_rate <= 1.0:
        raise ConfigError(
            f"expected 0 < code_rate <= 1, got {code_rate!r}; give information bits per channel bit",
            code_rate=code_rate,
        )
    if not -100.0 <= ebn0_db <= 100.0:
        raise ConfigError(f"expected Eb/N0 in [-100, 100] dB, got {ebn0_db!r}; give decibels", ebn0_db=ebn0_db)
    return math.sqrt(0.5 / code_rate) * math.pow(10.0, -ebn0_db / 20.0)


def sigma_to_ebn0(sigma: float, code_rate: float) -> float:
    """Eb/N0 in decibels of a noise level; the inverse of `ebn0_to_sigma`.

    Args:
        sigma: standard deviation of the noise, > 0.
        code_rate: information bits per channel bit, 0 < code_rate <= 1.

    Raises:
        ConfigError: an argument outside its range.
    """
    validate_sigma(sigma)
    if not 0.0 < code_rate <= 1.0:
        raise ConfigError(
            f"expected 0 < code_rate <= 1, got {code_rate!r}; give information bits per channel bit",
            code_rate=code_rate,
        )
    return -10.0 * math.log10(2.0 * code_rate * sigma * sigma)


def validate_sigma(sigma: float, what: str = "sigma") -> float:
    """Check a noise level where it enters caligo: finite and positive.

    Raises:
        ConfigError: anything else.
    """
    if not (math.isfinite(sigma) and sigma > 0.0):
        raise ConfigError(
            f"{what}: expected a finite standard deviation > 0, got {sigma!r}; compute it with ebn0_to_sigma",
            what=what,
            got=str(sigma),
        )
    return float(sigma)


def awgn_capacity(sigma: float) -> float:
    """Capacity of the BI-AWGN channel, in bits per channel bit.

    1 - E[log2(1 + exp(-L))] for L normal with mean 2 / sigma^2 and variance 4 / sigma^2, by the trapezoidal rule on
    4001 points over sixteen standard deviations to either side. The rule converges faster than any power of the step
    where an integrand is smooth and vanishes at both ends.

    Args:
        sigma: standard deviation of the noise, > 0.

    Returns:
        A float in [0, 1].

    Raises:
        ConfigError: `sigma` is not finite and positive.
    """
    validate_sigma(sigma)
    z = np.linspace(-16.0, 16.0, 4001)
    weight = np.exp(-0.5 * z * z)
    llr = 2.0 / sigma**2 + 2.0 / sigma * z
    loss = np.logaddexp(0.0, -llr) / math.log(2.0)
    return min(max(1.0 - float(np.sum(weight * loss) / np.sum(weight)), 0.0), 1.0)


def bpsk(bits: NDArray[np.uint8]) -> NDArray[np.float32]:
    """BPSK symbols of unpacked bits: +1 for 0, -1 for 1.

    Args:
        bits: uint8 0/1, any shape.

    Returns:
        float32 of the same shape.
    """
    return (1 - 2 * bits.astype(np.int8)).astype(np.float32)


def awgn_llr(bits: NDArray[np.uint8], noise: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """LLRs that a BI-AWGN receiver computes: 2 (bpsk(bits) + sigma noise) / sigma^2.

    Args:
        bits: uint8 0/1, any shape: what was sent.
        noise: float32 of the same shape, standard normal.
        sigma: standard deviation of the noise, > 0.

    Returns:
        float32 of the same shape, in nats.

    Raises:
        ConfigError: `sigma` is not finite and positive.
        ShapeError: the shapes differ.
    """
    validate_sigma(sigma)
    if bits.shape != noise.shape:
        raise ShapeError(
            f"expected noise of shape {bits.shape}, got {noise.shape}; draw one sample per bit",
            expected=bits.shape,
            got=noise.shape,
        )
    received = bpsk(bits) + np.float32(sigma) * noise
    return received * np.float32(2.0 / sigma**2)

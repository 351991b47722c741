"""What no code can do: bounds that hold for every decoder, by counting.

Covers: how many bits a block of so many errors needs at least, how often a frame can be decoded at most over a BSC or
a BI-AWGN channel, and how unlikely a count of successes is. Does not cover: what good codes achieve
(:mod:`caligo.channel`), reading runs (:mod:`caligo.store.governing.physics`).

- A disclosure of l bits tells at most 2^l error patterns apart, so of the C(n, e) patterns of e errors in n places a
  decoder that knows y finds at most that many: a block is decoded with probability at most 2^(l - log2 C(n, e)),
  whatever the code. Over a BSC all patterns of one weight are equally likely; that is the strong converse of coding.
- Over a symmetric channel a code of K information bits is decoded with probability at most
  P(i(X; Y) >= K - t) + 2^-t for any t, i the information density (S. Verdú, T. S. Han, "A general formula for channel
  capacity", IEEE Trans. Inf. Theory 40 (1994), theorem 4 in its converse form); the first term by Chebyshev's
  inequality.
- k successes in m trials of probability at most p < k/m have probability at most exp(-m · KL(k/m, p)) (W. Hoeffding,
  1963, theorem 1).
"""

from __future__ import annotations

import math

__all__ = ["awgn_success_bound", "bsc_success_bound", "log2_patterns", "log_tail"]

_SPREAD = 12.0
"""Standard deviations of the number of errors beyond which nothing is summed; the rest is added to the bound."""

_DISPERSION_BITS2 = 2.0
"""More than the variance of i(X; Y) of a BI-AWGN symbol at any noise, in bits^2."""


def log2_patterns(n: int, errors: int) -> float:
    """log2 C(n, errors): the bits that tell all error patterns of one weight apart.

    Args:
        n: places, >= 0.
        errors: of them wrong, in [0, n].
    """
    return (math.lgamma(n + 1) - math.lgamma(errors + 1) - math.lgamma(n - errors + 1)) / math.log(2.0)


def bsc_success_bound(n: int, disclosed_bits: int, qber: float) -> float:
    """Greatest probability with which any code decodes a block over a BSC.

    Args:
        n: places that the channel may change.
        disclosed_bits: all that the receiver is told about the block.
        qber: crossover probability, in (0, 0.5).

    Returns:
        In [0, 1].
    """
    mean, deviation = n * qber, math.sqrt(n * qber * (1.0 - qber))
    low = max(0, math.floor(mean - _SPREAD * deviation - _SPREAD))
    high = min(n, math.ceil(mean + _SPREAD * deviation + _SPREAD))
    total = inside = 0.0
    for errors in range(low, high + 1):
        patterns = log2_patterns(n, errors)
        weight = 2.0 ** (patterns + errors * math.log2(qber) + (n - errors) * math.log2(1.0 - qber))
        inside += weight
        total += weight * (1.0 if patterns <= disclosed_bits else 2.0 ** (disclosed_bits - patterns))
    return min(1.0, total + max(0.0, 1.0 - inside))


def awgn_success_bound(n: int, info_bits: int, capacity: float) -> float:
    """Greatest probability with which any code decodes a block over a BI-AWGN channel, up to a crude variance.

    Args:
        n: symbols.
        info_bits: information bits of the block.
        capacity: of the channel, bits per symbol.

    Returns:
        In [0, 1].
    """
    margin = min(64.0, info_bits / 2.0)
    excess = info_bits - margin - n * capacity
    if excess <= 0.0:
        return 1.0
    return min(1.0, n * _DISPERSION_BITS2 / excess**2 + math.pow(2.0, -margin))


def log_tail(successes: int, trials: int, probability: float) -> float:
    """Natural logarithm of a bound on the probability of at least so many successes.

    Args:
        successes: in [0, trials].
        trials: >= 0.
        probability: of one, at most.

    Returns:
        At most 0; 0 where that many are to be expected.
    """
    if not trials or successes <= trials * probability:
        return 0.0
    if probability <= 0.0:
        return -math.inf
    share = successes / trials
    divergence = share * math.log(share / probability)
    if share < 1.0:
        divergence += (1.0 - share) * math.log((1.0 - share) / (1.0 - probability))
    return -trials * divergence

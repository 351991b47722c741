"""How much to disclose for a wanted frame error rate.

Covers: the frame error rate a list decoder will show with a code on a binary symmetric channel, and its inverse. Does
not cover: the QBER being other than assumed (leave a margin for what the estimate does not know), soft-decision
channels.

The model: let S be the sum, over the information set, of the error probabilities that exact density evolution gives
each synthetic channel: the number of first errors that successive cancellation makes per block, nearly. How often a
list of L paths fails depends on S, L and N, and hardly on anything else (not on the QBER, at equal S). So one measured
curve for each L and N is all it takes: :mod:`caligo.codes.efficiency_table` holds them, with the command that made it.
Between block lengths the curves are interpolated in log N; below the smallest measured frame error rate they are
continued with a slope that is too flat, so what is promised there is kept with a margin. Blocks shorter or longer
than any measured use the nearest curve: the promise is then safe for longer ones, and rough for shorter ones.

Where errors are asymmetric, S is that of the pair's density evolution, which sees how much less must be disclosed:
H(X|Y) and not h2 of the mean. Efficiencies are counted against h2 of the mean all the same. Lists help a little less
there: codes for 1 %, L = 32, 4.9 % and 2.4 %, failed in 0.9 % of 6000 blocks at N = 2^16 and in 1.3 % of 3500 at 2^17;
with one rate in 0.8 % and 0.6 % (`tests/acceptance/test_asymmetric.py`).

A shortened block fails, at equal S, hardly more often than a whole one of the length of its payload: the longer the
block, the more a list helps, and zeros that everyone knows do not make it longer. So the curve is that of the payload
length. By the curve of N, codes for 1 % failed in 1.7 % of the blocks at N = 2^14, L = 32 and 52 % payload, and in
3.5 % at 20 %; by that of the payload in 0.9 % and 0.4 % (`tests/test_codes_efficiency.py` holds the last one).

Without a check the list's best path is taken. That is no worse than successive cancellation, whose curve is used.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from caligo import _native
from caligo.channel import DESIGN_QBER_MAX, Qbers, binary_entropy, mean_qber, validate_qbers
from caligo.codes.cache import DesignCache
from caligo.codes.design import error_probabilities
from caligo.codes.efficiency_table import CURVES
from caligo.codes.polar_code import PolarCode
from caligo.codes.validation import validate_name, validate_number
from caligo.errors import ConfigError

__all__ = ["efficiency_for_target_fer", "expected_fer"]


def _curve(list_size: int, stages: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measured log S and log(-log(1 - FER)) of the measured points of one list size and block length, increasing."""
    points = CURVES[list_size][stages]
    sums = np.array([point[0] for point in points])
    rates = np.array([point[1] for point in points])
    return np.log(sums), np.log(-np.log1p(-rates))


def _interpolated(x: float, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> float:
    """Piecewise linear through (xs, ys), the first and last segment continued."""
    k = int(np.clip(np.searchsorted(xs, x) - 1, 0, len(xs) - 2))
    return float(ys[k] + (x - xs[k]) * (ys[k + 1] - ys[k]) / (xs[k + 1] - xs[k]))


def _neighbours(list_size: int, payload_length: int) -> list[tuple[int, float]]:
    """Measured stages around log2 of the payload length with their weights; the nearest one outside their range."""
    measured = sorted(CURVES[list_size])
    stages = min(max(math.log2(payload_length), measured[0]), measured[-1])
    above = next(m for m in measured if m >= stages)
    below = max(m for m in measured if m <= stages)
    if above == below:
        return [(above, 1.0)]
    weight = (stages - below) / (above - below)
    return [(below, 1.0 - weight), (above, weight)]


def _modelled_qber(qber: Qbers) -> Qbers:
    modelled = validate_qbers(qber)
    if max(modelled if isinstance(modelled, tuple) else (modelled,)) > DESIGN_QBER_MAX:
        raise ConfigError(
            f"qber: expected at most {DESIGN_QBER_MAX} for a prediction, got {qber!r}; codes are designed up to there",
            what="qber",
            got=repr(qber),
            most=DESIGN_QBER_MAX,
        )
    return modelled


def _effective_list_size(list_size: int, check: str) -> int:
    if list_size not in CURVES:
        raise ConfigError(
            f"list_size: expected one of {', '.join(map(str, sorted(CURVES)))}, got {list_size!r}",
            what="list_size",
            got=repr(list_size),
        )
    return 1 if check == "none" else list_size


def _tolerable_sum(list_size: int, payload_length: int, fer: float) -> float:
    """The S at which a list decoder shows this frame error rate."""
    wanted = math.log(-math.log1p(-fer))
    log_sum = 0.0
    for stages, weight in _neighbours(list_size, payload_length):
        sums, rates = _curve(list_size, stages)
        log_sum += weight * _interpolated(wanted, rates, sums)
    return math.exp(log_sum)


def expected_fer(code: PolarCode, list_size: int, qber: Qbers, *, cache: DesignCache | None = None) -> float:
    """The frame error rate a code will show, by the calibrated model, with a decoder that knows the channel.

    Args:
        code: any code.
        list_size: 1, 2, 4, 8, 16 or 32.
        qber: crossover probability, in (0, 0.25], or a pair: where Bob has 0, where he has 1; it need not be the one
            the code was designed for.
        cache: where designs are kept; default the process-wide one.

    Returns:
        In [0, 1].

    Raises:
        ConfigError: a parameter is out of range.
    """
    effective = _effective_list_size(list_size, code.check)
    qber = _modelled_qber(qber)
    probabilities = error_probabilities(
        code.block_length, payload_length=code.payload_length, design="de", qber=qber, cache=cache
    )
    info = np.unpackbits(code.info_mask, count=code.block_length, bitorder="little").view(np.bool_)
    total = float(probabilities[info].sum(dtype=np.float64))
    if total <= 0.0:
        return 0.0
    log_rate = 0.0
    for stages, weight in _neighbours(effective, code.payload_length):
        sums, rates = _curve(effective, stages)
        log_rate += weight * _interpolated(math.log(total), sums, rates)
    return -math.expm1(-math.exp(min(log_rate, 10.0)))


def efficiency_for_target_fer(
    block_length: int,
    payload_length: int,
    qber: Qbers,
    list_size: int,
    target_fer: float,
    check: str = "crc32",
    *,
    cache: DesignCache | None = None,
) -> float:
    """The least efficiency (that is, the least disclosure) at which blocks fail no more often than wanted.

    Args:
        block_length: N, a power of two from 2 to 2^24.
        payload_length: key bits in a block, 1..N.
        qber: crossover probability, in (0, 0.25], or a pair: where Bob has 0, where he has 1.
        list_size: 1, 2, 4, 8, 16 or 32.
        target_fer: wanted frame error rate, in (0, 1).
        check: ``none``, ``crc16``, ``crc24`` or ``crc32``.
        cache: where designs are kept; default the process-wide one.

    Returns:
        ``(syndrome_bits + check_bits) / (payload_length · h2(qber))``, h2 of the mean of a pair, to be given to
        :func:`design_code` with the same arguments. It is never more than what leaves one information bit.

    Raises:
        ConfigError: a parameter is out of range, or the payload has no room for the check and one bit.
    """
    target_fer = validate_number(target_fer, "target_fer", 0.0, 1.0)
    qber = _modelled_qber(qber)
    probabilities = error_probabilities(
        block_length, payload_length=payload_length, design="de", qber=qber, cache=cache
    )
    validate_name(check, "check", _native.check_names())
    check_bits = int(_native.check_bits(check))
    if payload_length <= check_bits:
        raise ConfigError(
            f"a payload of {payload_length} bits has no room for the {check_bits} bits of {check} and one bit of "
            "information; take longer blocks or a shorter check",
            what="payload_length",
            got=payload_length,
            check_bits=check_bits,
        )
    tolerable = _tolerable_sum(_effective_list_size(list_size, check), payload_length, target_fer)
    ordered = np.sort(probabilities[:payload_length])
    positions = int(np.searchsorted(np.cumsum(ordered, dtype=np.float64), tolerable, side="right"))
    positions = max(positions, check_bits + 1)
    return (payload_length - positions + check_bits) / (payload_length * binary_entropy(mean_qber(qber)))

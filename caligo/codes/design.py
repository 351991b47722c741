"""From a channel and a budget to an information set.

Covers: the four reliability orders, their parameters, how many positions a budget leaves for information. Does not
cover: the density evolution and Gaussian approximation themselves (the crate), nor how much to disclose for a wanted
frame error rate (:mod:`caligo.codes.efficiency`).

The orders:

- ``de``: exact density evolution of the decoder's own int8 arithmetic on a binary symmetric channel. QBERs are snapped
  to a written grid (:func:`caligo.channel.design_qber`), so equal codes come from nearly equal estimates. A pair of
  QBERs, where Bob has 0 and where he has 1, is the mixture of two such channels; efficiency refers to h2 of their mean.
- ``ga``: Gaussian approximation for BPSK on an AWGN channel (Chung, Richardson and Urbanke 2001).
- ``nr``: the sequence of 3GPP TS 38.212 table 5.3.1.2-1, N <= 1024; knows no channel.
- ``pw``: polarisation weight with β = 2^(1/4) (He et al. 2017); knows no channel.

The information set is the ``info_positions`` unshortened positions of least error probability; of equal ones the higher
index is taken first (it is the more reliable one of any two that a design cannot tell apart).

``de`` and ``ga`` each know one kind of channel. Given only the parameter of the other they take the channel of equal
Bhattacharyya parameter, 2·sqrt(p(1-p)) = exp(-1/(2σ²)).
"""

from __future__ import annotations

import math
import os
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from caligo import _native
from caligo.channel import (
    Qbers,
    binary_entropy,
    design_qber,
    design_qbers,
    mean_qber,
    validate_qber,
    validate_qbers,
    validate_sigma,
)
from caligo.codes.cache import DesignCache, DesignKey, default_cache_directory
from caligo.codes.polar_code import PolarCode, validate_block_length, validate_segments
from caligo.codes.validation import validate_count, validate_name, validate_number
from caligo.errors import ConfigError

__all__ = ["Design", "design_code", "error_probabilities", "reliability_order", "syndrome_bits_for_efficiency"]

Design: TypeAlias = Literal["de", "ga", "nr", "pw"]

MAX_NR_BLOCK_LENGTH = 1024
# More threads than that are a mistake; a design has 64 branches to share out.
MAX_THREADS = 1024

_VERSIONS: dict[str, int] = {"de": 1, "ga": 1, "nr": 1, "pw": 1}
"""Part of the key of a cached design: raise a number when the arithmetic behind that design changes."""


@lru_cache(maxsize=1)
def _cache_of(directory: Path | None) -> DesignCache:
    return DesignCache(directory)


def default_cache() -> DesignCache:
    """The cache of this process, for the directory that the environment names now."""
    return _cache_of(default_cache_directory())


def _payload(block_length: int, payload_length: int | None) -> int:
    most = validate_block_length(block_length)
    return most if payload_length is None else validate_count(payload_length, "payload_length", 1, most)


def _parameter(design: str, qber: Qbers | None, sigma: float | None) -> Qbers | None:
    """What the design depends on: the gridded QBER or pair for ``de``, sigma for ``ga``, None otherwise."""
    validate_name(design, "design", get_args(Design))
    qber = None if qber is None else validate_qbers(qber)
    sigma = None if sigma is None else validate_sigma(sigma)
    if design in ("nr", "pw"):
        return None
    if design == "de" and qber is not None:
        return design_qbers(qber)
    if design == "ga" and sigma is not None:
        return sigma
    if sigma is not None:
        z = math.exp(-0.5 / sigma**2)
        return design_qber(0.5 * z * z / (1.0 + math.sqrt(1.0 - z * z)))
    if qber is not None:
        mean = mean_qber(qber)
        return math.sqrt(-0.5 / math.log(2.0 * math.sqrt(mean * (1.0 - mean))))
    raise ConfigError(f"design {design!r} depends on the channel: give qber or sigma", what="qber")


def error_probabilities(
    block_length: int,
    *,
    payload_length: int | None = None,
    design: str = "de",
    qber: Qbers | None = None,
    sigma: float | None = None,
    threads: int | None = None,
    cache: DesignCache | None = None,
) -> NDArray[np.float32]:
    """How unreliable each synthetic channel is under successive cancellation.

    Args:
        block_length: N, a power of two from 2 to 2^24 (``nr``: to 1024).
        payload_length: unshortened positions, 1..N; default N. Only ``de`` and ``ga`` depend on it.
        design: ``de``, ``ga``, ``nr`` or ``pw``.
        qber: crossover probability of a BSC, in (0, 0.5), or a pair: where Bob has 0, where he has 1.
        sigma: noise standard deviation of an AWGN channel, BPSK amplitude 1.
        threads: how many threads ``de`` may use, at least 1; default the cores this process may run on. The result does
            not depend on it.
        cache: where to look and keep; default the process-wide one.

    Returns:
        float32[N], read-only, natural order, smaller is more reliable. For ``de`` and ``ga``: error probabilities;
        for ``nr`` and ``pw`` the order alone has a meaning.

    Raises:
        ConfigError: a parameter is out of range, or the design's channel is not given.
    """
    payload = _payload(block_length, payload_length)
    parameter = _parameter(design, qber, sigma)
    if design == "nr" and block_length > MAX_NR_BLOCK_LENGTH:
        raise ConfigError(
            f"design 'nr' is defined for block lengths to {MAX_NR_BLOCK_LENGTH}, got {block_length}; "
            "take 'de' (BSC), 'ga' (AWGN) or 'pw'",
            what="block_length",
            got=block_length,
        )
    cores = len(os.sched_getaffinity(0)) if threads is None else validate_count(threads, "threads", 1, MAX_THREADS)
    cache = default_cache() if cache is None else cache
    parameters = parameter if isinstance(parameter, tuple) else () if parameter is None else (parameter,)
    written = ",".join(value.hex() for value in parameters)
    key: DesignKey = (design, _VERSIONS[design], block_length, payload if parameter is not None else 0, written)

    def compute() -> NDArray[np.float32]:
        values: NDArray[np.float32]
        if design == "nr":
            values = _native.design_nr(block_length)
        elif design == "pw":
            values = _native.design_polarization_weight(block_length)
        elif design == "ga":
            values = _native.design_gaussian(block_length, payload, parameter)
        else:
            values = _native.design_density_evolution(block_length, payload, parameter, cores)
        return values

    return cache.get(key, compute)


def reliability_order(probabilities: NDArray[np.float32], payload_length: int) -> NDArray[np.intp]:
    """The unshortened positions, most reliable first.

    Args:
        probabilities: float32[N], smaller is more reliable.
        payload_length: positions at or beyond it are left out.

    Returns:
        intp[payload_length]: positions by increasing probability; of equal ones the higher index first.
    """
    return payload_length - 1 - np.argsort(probabilities[:payload_length][::-1], kind="stable")


def _most_reliable(probabilities: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """The first `count` >= 1 positions of `reliability_order`, ascending, without the order of all."""
    # A sort of plain numbers is several times as fast as a partition of these, of which a great many are equal.
    threshold = np.sort(probabilities)[count - 1]
    chosen = probabilities < threshold
    equal = np.flatnonzero(probabilities == threshold)
    chosen[equal[equal.size + np.count_nonzero(chosen) - count :]] = True
    return np.flatnonzero(chosen)


def syndrome_bits_for_efficiency(payload_length: int, qber: float, efficiency: float, check_bits: int) -> int:
    """How many syndrome bits an efficiency pays for: ``round(efficiency · payload_length · h2(qber)) - check_bits``.

    Args:
        payload_length: key bits in the block.
        qber: the crossover probability the efficiency refers to, in (0, 0.5); of a pair, the mean.
        efficiency: leakage (syndrome and check) over ``payload_length · h2(qber)``.
        check_bits: bits of the check value.

    Raises:
        ConfigError: the efficiency leaves no syndrome, or no information.
    """
    validate_number(efficiency, "efficiency", -1.0)
    unit = payload_length * binary_entropy(validate_qber(qber))
    syndrome_bits = round(efficiency * unit) - check_bits
    most = payload_length - check_bits - 1
    if not 0 <= syndrome_bits <= most:
        raise ConfigError(
            f"efficiency {efficiency:g} discloses {syndrome_bits} syndrome bits beside {check_bits} check bits of "
            f"{payload_length} key bits at QBER {qber:g}; it must be from {check_bits / unit:.4g} to "
            f"{(most + check_bits) / unit:.4g}",
            what="efficiency",
            got=efficiency,
            least=check_bits / unit,
            most=(most + check_bits) / unit,
        )
    return syndrome_bits


def design_code(
    block_length: int,
    *,
    payload_length: int | None = None,
    design: str = "de",
    qber: Qbers | None = None,
    sigma: float | None = None,
    efficiency: float | None = None,
    info_length: int | None = None,
    check: str = "crc32",
    segment_length: int | None = None,
    segment_check: str = "crc16",
    threads: int | None = None,
    cache: DesignCache | None = None,
) -> PolarCode:
    """Design a polar code for a channel and a budget.

    Args:
        block_length: N, a power of two from 2 to 2^24.
        payload_length: key bits in a block, 1..N; default N. The last ``N - payload_length`` positions are shortened.
        design: the reliability order: ``de``, ``ga``, ``nr`` (N <= 1024) or ``pw``.
        qber: crossover probability, in (0, 0.5), or a pair: where Bob has 0, where he has 1. The design channel of
            ``de``; what ``efficiency`` refers to, by the mean of a pair. Other designs take the mean.
        sigma: noise standard deviation of an AWGN channel, BPSK amplitude 1: the design channel of ``ga``.
        efficiency: budget as leakage (syndrome and all checks) over ``payload_length · h2(qber)``, h2 of the mean of a
            pair. Exactly one of ``efficiency`` and ``info_length`` is given.
        info_length: budget as K, the information bits without the checks; the set gets K positions and one for each bit
            of a check.
        check: ``none``, ``crc16``, ``crc24`` or ``crc32``.
        segment_length: positions of u in a segment, a power of two from 64 to N/2; None: the block is not cut.
        segment_check: check of a segment, ``crc16``, ``crc24`` or ``crc32``; without segments there is none.
        threads: how many threads a ``de`` design may use; default the cores this process may run on.
        cache: where designs are kept; default the process-wide one.

    Returns:
        The code.

    Raises:
        ConfigError: a parameter is out of range, or parameters contradict each other.
    """
    payload = _payload(block_length, payload_length)
    if (efficiency is None) == (info_length is None):
        raise ConfigError("give exactly one of efficiency and info_length", what="efficiency")
    validate_name(check, "check", _native.check_names())
    check_bits = int(_native.check_bits(check))
    segment_check = segment_check if segment_length is not None else "none"
    validate_segments(block_length, segment_length, segment_check)
    if efficiency is not None and qber is None:
        raise ConfigError("efficiency refers to a QBER: give qber, or info_length instead", what="qber")

    mean = None if qber is None else mean_qber(validate_qbers(qber))

    def positions_beside(check_bits: int) -> int:
        if efficiency is not None and mean is not None:
            return payload - syndrome_bits_for_efficiency(payload, mean, efficiency, check_bits)
        most = payload - check_bits
        remedy = f"the checks take {check_bits} of {payload} payload bits"
        return validate_count(info_length, "info_length", 1, most, remedy) + check_bits

    # All segments of the payload have a check, unless it turns out that some hold no information.
    segments = 0 if segment_length is None else -(-payload // segment_length)
    bits_each = int(_native.check_bits(segment_check))
    positions_beside(check_bits + segments * bits_each)
    probabilities = error_probabilities(
        block_length, payload_length=payload, design=design, qber=qber, sigma=sigma, threads=threads, cache=cache
    )
    while True:
        chosen = _most_reliable(probabilities[:payload], positions_beside(check_bits + segments * bits_each))
        checked = segments if segment_length is None else len(np.unique(chosen // segment_length))
        if checked == segments:
            break
        segments = checked
    parameter = _parameter(design, qber, sigma)
    mask = np.zeros(max(8, block_length), dtype=np.uint8)
    mask[chosen] = 1
    return PolarCode(
        block_length=block_length,
        payload_length=payload,
        info_set=np.packbits(mask, bitorder="little").tobytes(),
        check=check,
        design=design,
        design_qber=mean_qber(parameter) if design == "de" and parameter is not None else None,
        design_sigma=parameter if design == "ga" and not isinstance(parameter, tuple) else None,
        segment_length=segment_length,
        segment_check=segment_check,
        design_qber_pair=parameter if isinstance(parameter, tuple) else None,
    )

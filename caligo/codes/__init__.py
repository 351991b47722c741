"""Code design: which positions of a block are disclosed, for a channel and a budget.

Covers: :class:`PolarCode` as a value, the reliability orders behind it, the budget for a wanted frame error rate, the
cache of designs. Does not cover: decoding (:mod:`caligo.reconciliation.codecs`), error rates by simulation
(:mod:`caligo.simulation`), the arithmetic of a design (the crate).
"""

from __future__ import annotations

from caligo.codes.cache import DesignCache, default_cache_directory
from caligo.codes.design import (
    Design,
    design_code,
    error_probabilities,
    reliability_order,
    syndrome_bits_for_efficiency,
)
from caligo.codes.efficiency import efficiency_for_target_fer, expected_fer
from caligo.codes.polar_code import MAX_BLOCK_LENGTH, PolarCode

__all__ = [
    "MAX_BLOCK_LENGTH",
    "Design",
    "DesignCache",
    "PolarCode",
    "default_cache_directory",
    "design_code",
    "efficiency_for_target_fer",
    "error_probabilities",
    "expected_fer",
    "reliability_order",
    "syndrome_bits_for_efficiency",
]

"""Incremental (blind) reconciliation: Alice discloses too little, and more for as long as Bob does not come through.

Covers: the parameters that make it a special case of the interactive strategy: one segment, large steps. Does not
cover: anything else (:mod:`.interactive`).

It is the simplest way to talk, and a yardstick: every answer costs a whole decoding, and helps the whole block where a
part of it is in want. Bob's requests say nothing but that he failed.
"""

from __future__ import annotations

from caligo.codes.dialogue_code import LAST_CHECK_BITS, DialogueCode
from caligo.reconciliation.strategies import CodeRequest
from caligo.reconciliation.strategies.interactive import Interactive, code_of
from caligo.reconciliation.strategies.interactive_table import DEFAULT_WISH, Parameters, interpolated

__all__ = ["Incremental"]

FROZEN_EFFICIENCIES: dict[str, dict[int, float]] = {
    "rounds": {10: 1.35, 12: 1.25, 14: 1.17, 16: 1.12, 18: 1.09, 20: 1.08},
    "balanced": {10: 1.2, 12: 1.14, 14: 1.1, 16: 1.08, 18: 1.07, 20: 1.06},
    "leakage": {10: 1.0, 12: 1.0, 14: 1.03, 16: 1.05, 18: 1.05, 20: 1.05},
}
"""Wish -> stage (log2 of the payload length, linear between entries) -> frozen bits over payload · h2(design QBER)."""

STEPS = {"rounds": 0.04, "balanced": 0.02, "leakage": 0.008}
"""Wish -> bits of a first request, likewise; later ones grow by a tenth each, to `MOST_STEPS` times as much."""

LEAST_STEP = 4
MOST_STEPS = 4
HURRY = 20


class Incremental(Interactive):
    """Both parties of the incremental strategy on one code; see `Interactive`."""

    name = "incremental"

    @classmethod
    def choose_code(cls, request: CodeRequest) -> DialogueCode:
        """The code for blocks of one shape; see `Interactive.choose_code`."""
        wish = request.wish or DEFAULT_WISH
        step = max(LEAST_STEP, round(STEPS[wish] * request.unit))
        chosen = Parameters(
            frozen_efficiency=interpolated(FROZEN_EFFICIENCIES[wish], request.payload_length),
            share=1.0,
            check_bits=LAST_CHECK_BITS,
            first_bits=step,
            back_bits=step,
            growth_percent=10,
            most_bits=MOST_STEPS * step,
            hurry=HURRY,
            ahead_percent=0,
            patience=1,
        )
        return code_of(request, chosen)

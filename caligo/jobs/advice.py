"""What the user of a reconcile job should know, and what to change.

Covers: the warnings of a report, each with its remedy. Does not cover: errors, which carry their own
(:mod:`caligo.errors`).
"""

from __future__ import annotations

from collections.abc import Iterator

from caligo.jobs.accounting import Totals
from caligo.jobs.options import ReconcileOptions

__all__ = ["advise"]


def advise(
    options: ReconcileOptions,
    totals: Totals,
    *,
    true_qber: float,
    design_qber: float,
    one_file: bool,
    threads: int,
    threads_wanted: int,
) -> Iterator[str]:
    """The warnings of a job that is done.

    Args:
        options: what was asked.
        totals: what became of the blocks.
        true_qber: share of the key's bits in which the two keys differ.
        design_qber: what the codes were designed for.
        one_file: both keys came from the same file.
        threads: worker threads there were.
        threads_wanted: worker threads that were asked for.
    """
    failed = totals.blocks - totals.blocks_ok
    given = options.qber is not None
    differ = f"the keys differ in {true_qber:.2%} of their bits, the code is designed for {design_qber:.2%}"
    if 2 * failed > totals.blocks:
        yield f"{failed} of {totals.blocks} blocks failed: {differ}; {_remedy(options, totals, true_qber, design_qber)}"
    elif given and true_qber > 1.1 * design_qber:
        yield f"{differ}; {_remedy(options, totals, true_qber, design_qber)}"
    elif given and true_qber < design_qber / 1.5:
        yield f"more was disclosed than needed: {differ}; leave out the QBER (--qber), or give a smaller one"
    if one_file:
        yield "both keys come from the same file; name Alice's and Bob's"
    if threads < threads_wanted:
        yield f"memory suffices for {threads} of {threads_wanted} threads (see `caligo doctor`)"
    if options.seed is not None:
        yield "the public random values follow from --seed and were known before the keys: do not use these keys"


def _remedy(options: ReconcileOptions, totals: Totals, true_qber: float, design_qber: float) -> str:
    """What to change when blocks fail."""
    if totals.failed_verification > totals.failed_check:
        return "blocks passed their check and were wrong: take a longer check (--check), which finds them sooner"
    if true_qber > 1.05 * design_qber and options.qber is not None:
        return "leave out the QBER (--qber) to have it estimated, or give a greater one"
    if options.efficiency is not None:
        return "give a greater efficiency (--efficiency), or a target frame error rate instead (--target-fer)"
    if options.qber is not None:
        return "give a greater QBER (--qber), or a smaller target frame error rate (--target-fer)"
    return "the error rate varies along the key, or the sample is small: give a greater QBER (--qber)"

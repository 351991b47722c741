"""What the user of a reconcile job should know, and what to change.

Covers: the warnings of a report, each with its remedy. Blocks that fail are pointed out when they are far more than the
target says, and when a cap that was set is what failed them, that cap is named. Does not cover: errors, which carry
their own (:mod:`caligo.errors`).
"""

from __future__ import annotations

from collections.abc import Iterator

from caligo.jobs.accounting import Totals
from caligo.jobs.options import ReconcileOptions
from caligo.reconciliation.strategies import DEFAULT_TARGET_FER, strategy_type

__all__ = ["advise", "advise_party"]

_MUCH = 5
_BY_CHANCE = 2
"""Failed blocks are too many when they are more than `_MUCH` times the target, and so many more: at a target of
1 % chance alone does that to less than one key in a thousand."""


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
    remedy = _remedy(options, totals, true_qber, design_qber)
    failures = list(
        _advise_on_failures(
            options,
            blocks=totals.blocks,
            failed=failed,
            given_up=totals.given_up,
            rounds_max=totals.rounds_max,
            otherwise=f"{differ}; {remedy}",
        )
    )
    if failures:
        yield from failures
    elif given and true_qber > 1.1 * design_qber:
        yield f"{differ}; {remedy}"
    elif given and true_qber < design_qber / 1.5:
        yield f"more was disclosed than needed: {differ}; leave out the QBER (--qber), or give a smaller one"
    if one_file:
        yield "both keys come from the same file; name Alice's and Bob's"
    yield from _advise_on_threads(threads, threads_wanted)
    if options.seed is not None:
        yield "the public random values follow from --seed and were known before the keys: do not use these keys"


def advise_party(
    options: ReconcileOptions,
    *,
    blocks: int,
    failed: int,
    given_up: int,
    rounds_max: int,
    spoiled: int,
    threads: int,
    threads_wanted: int,
) -> Iterator[str]:
    """The warnings of one party's job that is done.

    Args:
        options: what was asked.
        blocks: in all.
        failed: of them.
        given_up: of these.
        rounds_max: most requests for one block.
        spoiled: connections that carried what the peer did not say.
        threads: worker threads there were.
        threads_wanted: worker threads that were asked for.
    """
    yield from _advise_on_failures(
        options,
        blocks=blocks,
        failed=failed,
        given_up=given_up,
        rounds_max=rounds_max,
        otherwise="check that both sides have the same sifted bits (--bit-order, --key-bits), and give a greater QBER "
        "or leave it out to have it estimated (--qber)",
    )
    if spoiled:
        yield (
            f"{spoiled} connections were given up because something between the two sides changed, repeated or added "
            "messages; the key is not touched by it, but see to the network"
        )
    yield from _advise_on_threads(threads, threads_wanted)


def _advise_on_threads(threads: int, wanted: int) -> Iterator[str]:
    if threads < wanted:
        yield f"memory suffices for {threads} of {wanted} threads (see `caligo doctor`)"


def _advise_on_failures(
    options: ReconcileOptions, *, blocks: int, failed: int, given_up: int, rounds_max: int, otherwise: str
) -> Iterator[str]:
    """The warning of a job in which far more blocks failed than was aimed at; none otherwise.

    Args:
        options: what was asked.
        blocks: in all.
        failed: of them.
        given_up: of these, where a cap or the strategy's own rule kept Bob from asking.
        rounds_max: most requests for one block.
        otherwise: why, and what to change, where no cap is the reason.
    """
    capped = _caps(options, failed, given_up, rounds_max)
    # With an efficiency that is given, how many blocks fail is the user's choice; what a cap takes is not.
    aimed = DEFAULT_TARGET_FER if capped or strategy_type(options.strategy).asks else options.aimed_fer
    too_many = aimed is not None and failed > _MUCH * aimed * blocks + _BY_CHANCE
    if too_many or 2 * failed > blocks:
        yield f"{failed} of {blocks} blocks failed: {capped or otherwise}"


def _caps(options: ReconcileOptions, failed: int, given_up: int, rounds_max: int) -> str:
    """The caps that failed the blocks, and what to change; empty where others failed most of them."""
    caps = []
    if given_up and rounds_max >= options.max_rounds:
        caps.append(f"{options.max_rounds} requests (--max-rounds)")
    if given_up and options.max_block_leakage_bits:
        caps.append(f"{options.max_block_leakage_bits} disclosed bits (--max-block-leakage)")
    if not caps or 2 * given_up < failed:
        return ""
    fewer = rounds_max >= options.max_rounds and strategy_type(options.strategy).wishes and options.wish != "rounds"
    wish = ", or wish for fewer requests (--wish rounds)" if fewer else ""
    return f"{given_up} were given up at the cap of {' or '.join(caps)}; allow more{wish}"


def _remedy(options: ReconcileOptions, totals: Totals, true_qber: float, design_qber: float) -> str:
    """What to change when blocks fail."""
    if totals.failed_verification > totals.failed_check:
        return "blocks passed their check and were wrong: take a longer check (--check), which finds them sooner"
    if true_qber > 1.05 * design_qber and options.qber is not None:
        return "leave out the QBER (--qber) to have it estimated, or give a greater one"
    if options.efficiency is not None:
        return "give a greater efficiency (--efficiency), or a target frame error rate instead (--target-fer)"
    if strategy_type(options.strategy).asks:
        return (
            "Bob would have had to ask for more than the strategy allows: see whether these keys belong together, "
            "and give a greater QBER (--qber)"
        )
    if options.qber is not None:
        return "give a greater QBER (--qber), or a smaller target frame error rate (--target-fer)"
    return "the error rate varies along the key, or the sample is small: give a greater QBER (--qber)"

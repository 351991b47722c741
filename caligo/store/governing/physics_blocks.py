"""Physical sense of reconciliations: blocks, what was disclosed for them, and what follows.

Covers: runs of the kind reconcile, by `caligo reconcile`, a job, or one party of a session: each block against its
code, the caps that were asked for and what counting allows; the figures of the summary against the records. Does not
cover: whether the codes are what their digests say (the store never designs codes).

Source: ``specs/one-way.md`` and ``specs/interactive.md`` (the account), ``specs/validation.md`` (what is judged).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from caligo.channel import binary_entropy
from caligo.store.findings import Code
from caligo.store.governing.bounds import log2_patterns
from caligo.store.governing.physics import (
    RELATIVE,
    Claims,
    Places,
    integer,
    judge_block_time,
    judge_decode_time,
    judge_memory,
    number,
)
from caligo.store.layout import SEAL_FILE

__all__ = ["judge_blocks"]

TAG_BITS = 128
"""Bits of a verification tag, and of the field its hash is over."""

OUTCOME_BITS = 2
"""Least that Bob says of a block."""

SURPRISE_BITS = 64.0
"""What is less likely than two to the power of minus this did not happen."""

_OUTCOMES = ("confirmed", "uncorrected", "unconfirmed")
_ALICES = ("syndrome", "check", "segment_check", "verification", "answer")


class _Sums:
    """What the records add up to."""

    def __init__(self) -> None:
        self.blocks = 0
        self.outcomes = dict.fromkeys(_OUTCOMES, 0)
        self.given_up = self.retried = self.rounds = self.rounds_max = 0
        self.payload = self.payload_ok = self.payload_hashed = 0
        self.leakage = self.both_ways = self.verification = self.answers = self.leakage_ok = 0
        self.errors = self.errors_ok = self.coded_bits = self.elapsed_ns = 0
        self.missing_bits = 0.0
        self.knows_errors = self.knows_answers = True


def judge_blocks(claims: Claims, asked: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> None:
    """Judge a reconciliation.

    Args:
        claims: its summary; told what cannot be.
        asked: its configuration.
        records: of its blocks, in any order.
    """
    codes = _Codes(claims.summary)
    sums = _Sums()
    places = Places(integer(claims.summary, "blocks") or 0)
    for record in records:
        figures = {name: integer(record, name) for name in _REQUIRED}
        if None in figures.values() or record.get("outcome") not in _OUTCOMES:
            claims.refuse(Code.OUT_OF_RANGE, "a record is not that of a block: a figure or its outcome", "records")
            continue
        where = f"records, block {figures['block']}"
        places.take(claims, figures["block"] or 0, where)
        _judge_block(claims, asked, codes, record, where)
        _add(sums, record, claims.summary)
    places.finish(claims)
    _judge_sums(claims, codes, sums)
    _judge_figures(claims, asked, sums)


_REQUIRED = (
    "block",
    "block_length",
    "payload_bits",
    "leakage_bits",
    "leakage_bits_both_ways",
    "verification_bits",
    "rounds",
    "elapsed_ns",
)


class _Codes:
    """The codes of a summary: what each discloses for a block."""

    def __init__(self, summary: Mapping[str, Any]) -> None:
        listed = summary.get("codes")
        self.uses = [use for use in listed if isinstance(use, dict)] if isinstance(listed, list) else []
        self._disclosed: dict[tuple[int, int], dict[float | None, int]] = {}
        for use in self.uses:
            length, payload, bits = (integer(use, name) for name in ("block_length", "payload_length", "leakage_bits"))
            if length is not None and payload is not None and bits is not None:
                self._disclosed.setdefault((length, payload), {})[number(use, "design_qber")] = bits

    def disclosed(self, length: int, payload: int, design: float | None) -> tuple[int, int] | None:
        """Least and most that a code for such a block discloses; None where there is no such code."""
        uses = self._disclosed.get((length, payload))
        if not uses:
            return None
        if design is not None and design in uses:
            return uses[design], uses[design]
        return min(uses.values()), max(uses.values())

    def total(self, blocks: int) -> int | None:
        """What the openings of all blocks disclose; None where not all of them have a code here."""
        counts = [integer(use, "blocks") for use in self.uses]
        bits = [integer(use, "leakage_bits") for use in self.uses]
        if None in counts or None in bits or sum(count or 0 for count in counts) != blocks:
            return None
        return sum((count or 0) * (each or 0) for count, each in zip(counts, bits, strict=True))


def _judge_block(
    claims: Claims, asked: Mapping[str, Any], codes: _Codes, record: Mapping[str, Any], where: str
) -> None:
    length, payload, leakage = record["block_length"], record["payload_bits"], record["leakage_bits"]
    tags, rounds, both_ways = record["verification_bits"], record["rounds"], record["leakage_bits_both_ways"]
    answers = integer(record, "answer_bits")
    attempts = integer(record, "attempts") or 1
    if not 0 < payload <= length or rounds < 0 or tags < 0 or tags % TAG_BITS or (answers or 0) < 0 or attempts < 1:
        claims.refuse(
            Code.OUT_OF_RANGE,
            f"{payload} key bits in a block of {length}, {rounds} rounds, {tags} bits of tags, {attempts} attempts",
            where,
        )
        return
    opened = leakage - tags - (answers or 0)
    disclosed = codes.disclosed(length, payload, number(record, "design_qber"))
    least = 0 if disclosed is None else disclosed[0]
    if opened < least:
        claims.refuse(
            Code.LEAKAGE_TOO_LOW,
            f"{opened} bits were disclosed beside tags and answers, its code discloses {least}",
            where,
        )
    elif answers is not None and disclosed is not None and opened > disclosed[1]:
        claims.refuse(
            Code.LEAKAGE_TOO_HIGH,
            f"{opened} bits were disclosed beside tags and answers, its code discloses {disclosed[1]}",
            where,
        )
    if both_ways - leakage < OUTCOME_BITS:
        claims.refuse(
            Code.LEAKAGE_TOO_LOW,
            f"Bob said {both_ways - leakage} bits of it, its outcome alone takes {OUTCOME_BITS}",
            where,
        )
    _judge_caps(claims, asked, record, opened, where)
    _judge_errors(claims, record, where)
    if claims.summary.get("role") != "alice":
        judge_block_time(claims, record["elapsed_ns"], length, where)


def _judge_caps(claims: Claims, asked: Mapping[str, Any], record: Mapping[str, Any], opened: int, where: str) -> None:
    """What was asked for on request stays within what was allowed; an opening discloses what it discloses."""
    cap, answers = integer(asked, "max_block_leakage_bits"), integer(record, "answer_bits") or 0
    if cap and answers and opened + answers > cap:
        claims.refuse(Code.LEAKAGE_TOO_HIGH, f"{opened + answers} bits were disclosed, the cap is {cap}", where)
    most = integer(asked, "max_rounds")
    if most is not None and record["rounds"] > max(most, integer(asked, "retries") or 0):
        claims.refuse(Code.OUT_OF_RANGE, f"{record['rounds']} rounds, at most {most} were allowed", where)


def _judge_errors(claims: Claims, record: Mapping[str, Any], where: str) -> None:
    for name in ("true_errors", "corrected_errors"):
        errors = integer(record, name)
        if errors is not None and not 0 <= errors <= record["payload_bits"]:
            claims.refuse(Code.OUT_OF_RANGE, f"{name} is {errors} in {record['payload_bits']} key bits", where)


def _errors(record: Mapping[str, Any]) -> int | None:
    """Errors of a block as far as its recorder knows them."""
    errors = integer(record, "true_errors")
    return integer(record, "corrected_errors") if errors is None else errors


def _missing_bits(record: Mapping[str, Any], errors: int, pair: tuple[float, float] | None) -> float:
    """log2 of the error patterns that were possible, less what was disclosed to tell them apart."""
    payload = record["payload_bits"]
    if not 0 <= errors <= payload:
        return 0.0
    if pair is None:
        patterns = log2_patterns(payload, errors)
    else:
        # Half of the places are Bob's zeros; how many, and how the errors divide, is not recorded: allow for both.
        share = pair[0] / (pair[0] + pair[1])
        half, at_zero = payload // 2, min(payload // 2, round(errors * share))
        at_one = min(payload - half, errors - at_zero)
        patterns = log2_patterns(half, at_zero) + log2_patterns(payload - half, at_one) - 8.0 * payload**0.5
    return patterns - float(record["leakage_bits"])


def _add(sums: _Sums, record: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    outcome, payload, leakage = record["outcome"], record["payload_bits"], record["leakage_bits"]
    errors, answers = _errors(record), integer(record, "answer_bits")
    attempts = integer(record, "attempts") or 1
    sums.blocks += 1
    sums.outcomes[outcome] += 1
    sums.given_up += record.get("given_up") is True
    sums.retried += attempts > 1
    sums.rounds += record["rounds"]
    sums.rounds_max = max(sums.rounds_max, record["rounds"])
    sums.payload += payload
    sums.leakage += leakage
    sums.both_ways += record["leakage_bits_both_ways"]
    sums.verification += record["verification_bits"]
    sums.coded_bits += record["block_length"] * attempts
    sums.elapsed_ns += record["elapsed_ns"]
    sums.knows_answers &= answers is not None
    sums.answers += answers or 0
    if outcome != "uncorrected":
        sums.payload_hashed += payload
    if outcome == "confirmed":
        sums.payload_ok += payload
        sums.leakage_ok += leakage
        if errors is not None:
            sums.errors_ok += errors
            sums.missing_bits += _missing_bits(record, errors, _pair(summary))
    if integer(record, "true_errors") is None:
        sums.knows_errors = False
    sums.errors += errors or 0


def _pair(summary: Mapping[str, Any]) -> tuple[float, float] | None:
    pair = summary.get("design_qber_pair")
    if isinstance(pair, list) and len(pair) == 2 and all(isinstance(rate, float) and rate > 0.0 for rate in pair):
        return pair[0], pair[1]
    return None


def _judge_sums(claims: Claims, codes: _Codes, sums: _Sums) -> None:
    """The summary is the sum of the records."""
    failed = sums.blocks - sums.outcomes["confirmed"]
    claims.expect_sum("blocks", sums.blocks, "the number of records")
    claims.expect_sum("blocks_ok", sums.outcomes["confirmed"], "the number of confirmed blocks")
    claims.expect_sum("blocks_failed", failed, "the number of the others")
    claims.expect_sum("blocks_discarded", failed, "the number of blocks that are not confirmed")
    claims.expect_sum("reconciled_bits", sums.payload_ok, "the payload of the confirmed blocks")
    claims.expect_sum("leakage_bits", sums.leakage, "the sum over the records")
    claims.expect_sum("leakage_bits_both_ways", sums.both_ways, "the sum over the records")
    claims.expect_sum("rounds_max", sums.rounds_max, "the most of a record")
    if sums.blocks:
        claims.expect_figure("rounds_mean", sums.rounds / sums.blocks, "the mean over the records")
    if sums.knows_errors:
        claims.expect_sum("given_up", sums.given_up, "the number of records that say so")
        claims.expect_sum("blocks_retried", sums.retried, "the number of blocks with several attempts")
    reasons = [integer(claims.summary, name) for name in ("failed_check", "given_up", "failed_verification")]
    if None not in reasons and sum(reason or 0 for reason in reasons) != failed:
        claims.refuse(
            Code.SUMMARY_MISMATCH,
            f"{' + '.join(map(str, reasons))} blocks failed for a reason, {failed} failed",
            f"{SEAL_FILE}, failed_check",
        )
    claims.expect_sum("failed_verification", sums.outcomes["unconfirmed"], "the number of unconfirmed blocks")
    key_bits = [integer(claims.summary, name) for name in ("sampled_bits", "discarded_bits")]
    if None not in key_bits:
        claims.expect_sum(
            "key_bits",
            sums.payload + sum(bits or 0 for bits in key_bits),
            "sampled + discarded + payload of all blocks",
        )
    _judge_kinds(claims, codes, sums)


def _judge_kinds(claims: Claims, codes: _Codes, sums: _Sums) -> None:
    """The leakage by kind adds up, and is what the codes disclose."""
    kinds = claims.summary.get("leakage")
    if not isinstance(kinds, Mapping):
        return
    values = {kind: integer(kinds, kind) for kind in (*_ALICES, "reply")}
    if None in values.values():
        return
    bits = {kind: value or 0 for kind, value in values.items()}
    alices = sum(bits[kind] for kind in _ALICES)
    opened = alices - bits["verification"] - bits["answer"]
    wanted = codes.total(sums.blocks)
    for what, claimed, expected, of in (
        ("what Alice disclosed by kind", alices, sums.leakage, "the sum over the records"),
        ("what both disclosed by kind", alices + bits["reply"], sums.both_ways, "the sum over the records"),
        ("verification", bits["verification"], sums.verification, "the sum over the records"),
        ("answer", bits["answer"], sums.answers if sums.knows_answers else None, "the sum over the records"),
        ("what openings disclosed", opened, wanted, "what the codes disclose for their blocks"),
    ):
        if expected is not None and claimed != expected:
            claims.refuse(Code.SUMMARY_MISMATCH, f"{what} is {claimed}, {of} is {expected}", f"{SEAL_FILE}, leakage")
    for place, use in enumerate(codes.uses):
        _judge_code(claims, use, f"{SEAL_FILE}, codes.{place}")


def _judge_code(claims: Claims, use: Mapping[str, Any], where: str) -> None:
    """A code leaves no more than its information bits unsaid, and costs what its efficiency says."""
    payload, info, bits = (integer(use, name) for name in ("payload_length", "info_length", "leakage_bits"))
    if payload is None or info is None or bits is None:
        return
    if bits < payload - info:
        claims.refuse(
            Code.LEAKAGE_TOO_LOW,
            f"it discloses {bits} bits, with {info} information bits in {payload} it is at least {payload - info}",
            where,
        )
    elif bits > payload:
        claims.refuse(Code.LEAKAGE_TOO_HIGH, f"it discloses {bits} bits of {payload}", where)
    design, efficiency = number(use, "design_qber"), number(use, "efficiency")
    if design is None or efficiency is None or not 0.0 < design < 0.5 or payload <= 0:
        return
    expected = bits / (payload * binary_entropy(design))
    if abs(efficiency - expected) > RELATIVE * expected:
        claims.refuse(
            Code.FIGURE_MISMATCH, f"efficiency is {efficiency:.10g}, at its design QBER it is {expected:.10g}", where
        )


def _judge_figures(claims: Claims, asked: Mapping[str, Any], sums: _Sums) -> None:
    """What follows from the sums."""
    summary = claims.summary
    for name in ("estimated_qber", "estimated_qber_low", "estimated_qber_high", "true_qber"):
        claims.expect_range(name, 0.0, 1.0)
    claims.expect_range("design_qber", 0.0, 0.5)
    claims.expect_range("threads", 1.0, 2.0**20)
    claims.expect_interval("estimated_qber_low", "estimated_qber", "estimated_qber_high")
    cap, leakage = integer(asked, "max_leakage_bits"), integer(summary, "leakage_bits")
    if cap and leakage is not None and leakage > cap:
        claims.refuse(
            Code.LEAKAGE_TOO_HIGH, f"{leakage} bits were disclosed, the cap is {cap}", f"{SEAL_FILE}, leakage_bits"
        )
    _judge_true_errors(claims, sums)
    _judge_efficiency(claims, sums)
    _judge_epsilon(claims, sums)
    elapsed_s = number(summary, "elapsed_s")
    if elapsed_s is not None and elapsed_s > 0.0:
        claims.expect_figure("payload_mbps", sums.payload / elapsed_s / 1e6, "payload over time")
    elif elapsed_s is not None:
        claims.refuse(Code.TIME_IMPOSSIBLE, f"the job took {elapsed_s:g} s", f"{SEAL_FILE}, elapsed_s")
    if sums.elapsed_ns:
        claims.expect_figure(
            "coded_mbps_per_core", sums.coded_bits * 1e3 / sums.elapsed_ns, "coded bits over decode time"
        )
    job = summary.get("job")
    in_one_go = not isinstance(job, Mapping) or (job.get("attempts") == 1 and not job.get("lost"))
    judge_decode_time(claims, sums.elapsed_ns, number(summary, "threads") if in_one_go else None, elapsed_s)
    judge_memory(claims)


def _judge_true_errors(claims: Claims, sums: _Sums) -> None:
    """The share of wrong bits is that of the blocks and of what is in none."""
    summary = claims.summary
    rate, key_bits = number(summary, "true_qber"), integer(summary, "key_bits")
    outside = [integer(summary, name) for name in ("sampled_bits", "discarded_bits")]
    if rate is not None and key_bits and None not in outside and sums.knows_errors:
        errors = round(rate * key_bits)
        if not sums.errors <= errors <= sums.errors + sum(bits or 0 for bits in outside):
            claims.refuse(
                Code.FIGURE_MISMATCH,
                f"true_qber is {rate:.10g}, that is {errors} errors; the blocks alone have {sums.errors}",
                f"{SEAL_FILE}, true_qber",
            )
    claims.expect_sum(
        "corrected_errors",
        None if sums.knows_errors or claims.summary.get("role") != "bob" else sums.errors_ok,
        "the sum over the confirmed blocks",
    )
    undetected, equal = integer(summary, "undetected_errors"), summary.get("keys_equal")
    if undetected is not None and isinstance(equal, bool) and equal != (undetected == 0):
        claims.refuse(
            Code.FIGURE_MISMATCH,
            f"the keys are {'equal' if equal else 'different'} with {undetected} undetected errors",
            f"{SEAL_FILE}, keys_equal",
        )


def _judge_efficiency(claims: Claims, sums: _Sums) -> None:
    if claims.summary.get("role") == "alice":
        return
    if 0 < sums.errors_ok < sums.payload_ok:
        limit = sums.payload_ok * binary_entropy(sums.errors_ok / sums.payload_ok)
        claims.expect_figure("efficiency", sums.leakage_ok / limit, "leakage over payload · h2(error rate)")
    # Of all blocks those that were decoded are chosen afterwards: that many choices there were.
    choices = log2_patterns(sums.blocks, sums.outcomes["confirmed"])
    if sums.missing_bits > SURPRISE_BITS + choices:
        claims.refuse(
            Code.BEYOND_LIMIT,
            f"{sums.leakage_ok} bits were disclosed for {sums.outcomes['confirmed']} confirmed blocks with "
            f"{sums.errors_ok} errors in {sums.payload_ok} bits; telling their error patterns apart takes "
            f"{sums.missing_bits:.0f} bits more",
            f"{SEAL_FILE}, efficiency",
        )


def _judge_epsilon(claims: Claims, sums: _Sums) -> None:
    """Every confirmed block is under a tag, and each tag leaves its share to chance."""
    tags = sums.verification // TAG_BITS
    if sums.payload_ok and not tags:
        claims.refuse(
            Code.LEAKAGE_TOO_LOW,
            f"{sums.outcomes['confirmed']} blocks are confirmed, and no tag was disclosed",
            f"{SEAL_FILE}, leakage",
        )
        return
    epsilon = number(claims.summary, "epsilon_correctness")
    if epsilon is None:
        return
    unit = 2.0**-TAG_BITS
    low = (-(-sums.payload_ok // TAG_BITS) + tags) * unit
    high = 2.0 * (sums.payload_hashed / TAG_BITS + 2 * tags) * unit
    if not low * (1 - RELATIVE) <= epsilon <= high * (1 + RELATIVE):
        claims.refuse(
            Code.FIGURE_MISMATCH,
            f"epsilon_correctness is {epsilon:.6g}, {tags} tags over {sums.payload_hashed} bits give {low:.6g} to "
            f"{high:.6g}",
            f"{SEAL_FILE}, epsilon_correctness",
        )

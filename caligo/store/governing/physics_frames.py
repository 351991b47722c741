"""Physical sense of simulations and benchmarks of the decoder: frames, calls, rows.

Covers: runs of the kind simulate (by `caligo simulate` or a job) and of the kind bench (`caligo bench decoder`, one
code or a sweep). Does not cover: reconciliations (:mod:`.physics_blocks`).

Source: ``specs/validation.md``.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Any

from caligo.channel import awgn_capacity, binary_entropy, ebn0_to_sigma
from caligo.store.findings import Code
from caligo.store.governing.bounds import awgn_success_bound, bsc_success_bound, log_tail
from caligo.store.governing.physics import (
    Claims,
    Places,
    integer,
    judge_block_time,
    judge_decode_time,
    judge_memory,
    judge_rate_interval,
    number,
)
from caligo.store.layout import SEAL_FILE

__all__ = ["judge_calls", "judge_frames", "judge_rows"]

LOG_SURPRISE = -44.0
"""Natural logarithm of 2^-64, about: what is less likely did not happen."""

MOST_EBN0_DB = 100.0
"""Beyond it there is no channel (:func:`caligo.channel.ebn0_to_sigma`)."""

_FRAME_OUTCOMES = ("ok", "detected_failure", "undetected_error")


def judge_frames(
    claims: Claims, asked: Mapping[str, Any], records: Iterable[Mapping[str, Any]], elapsed_s: float | None
) -> None:
    """Judge a simulation.

    Args:
        claims: its summary; told what cannot be.
        asked: its configuration.
        records: of its frames, in any order.
        elapsed_s: from the beginning of its record to the seal.
    """
    summary = claims.summary
    frames = integer(summary, "frames") or 0
    length, payload = integer(asked, "block_length"), integer(asked, "payload_length")
    payload = length if payload is None else payload
    counts = dict.fromkeys(_FRAME_OUTCOMES, 0)
    decode_ns = seen = 0
    places = Places(frames)
    for record in records:
        block, outcome, elapsed_ns = integer(record, "block"), record.get("outcome"), integer(record, "elapsed_ns")
        if block is None or elapsed_ns is None or not isinstance(outcome, str) or outcome not in counts:
            claims.refuse(Code.OUT_OF_RANGE, "a record is not that of a frame: a figure or its outcome", "records")
            continue
        where = f"records, block {block}"
        places.take(claims, block, where)
        counts[outcome] += 1
        decode_ns += elapsed_ns
        seen += 1
        judge_block_time(claims, elapsed_ns, length or 1, where)
    places.finish(claims)
    claims.expect_sum("frames", seen, "the number of records")
    claims.expect_sum("detected_failures", counts["detected_failure"], "the number of records that say so")
    claims.expect_sum("undetected_errors", counts["undetected_error"], "the number of records that say so")
    claims.expect_sum("frame_errors", seen - counts["ok"], "detected failures and undetected errors")
    judge_rate_interval(claims, seen - counts["ok"], seen)
    _judge_stop(claims, asked, seen, seen - counts["ok"])
    if decode_ns and length is not None and payload is not None:
        claims.expect_figure("decode_s", decode_ns / 1e9, "the sum over the records")
        claims.expect_figure("coded_mbps", 1e3 * length * seen / decode_ns, "coded bits over decode time")
        claims.expect_figure("payload_mbps", 1e3 * payload * seen / decode_ns, "payload over decode time")
    job = summary.get("job")
    if isinstance(job, Mapping):
        share = number(job, "decode_share")
        if share is not None and not 0.0 <= share <= 1.05:
            claims.refuse(
                Code.TIME_IMPOSSIBLE,
                f"decoding took {share:.3g} of the threads' time",
                f"{SEAL_FILE}, job.decode_share",
            )
    else:
        judge_decode_time(claims, decode_ns, number(asked, "threads"), elapsed_s)
    _judge_code(claims, asked, length, payload)
    _judge_limit(claims, asked, counts["ok"], seen, payload)
    judge_memory(claims)


def _judge_stop(claims: Claims, asked: Mapping[str, Any], frames: int, errors: int) -> None:
    most_frames = integer(asked, "max_frames")
    most_frames = integer(asked, "frames") if most_frames is None else most_frames
    most_errors = integer(asked, "max_frame_errors")
    if (most_frames is not None and frames > most_frames) or (most_errors is not None and errors > most_errors):
        claims.refuse(
            Code.OUT_OF_RANGE,
            f"{frames} frames and {errors} errors, at most {most_frames} and {most_errors} were asked for",
            f"{SEAL_FILE}, frames",
        )


def _info_length(claims: Claims, asked: Mapping[str, Any]) -> int | None:
    told = integer(claims.summary, "info_length")
    return integer(asked, "info_length") if told is None else told


def _judge_code(claims: Claims, asked: Mapping[str, Any], length: int | None, payload: int | None) -> None:
    """What a block discloses is what its code leaves no room for, and its efficiency follows."""
    summary = claims.summary
    leakage, info = integer(summary, "leakage_bits"), _info_length(claims, asked)
    if leakage is None or payload is None or length is None:
        return
    if info is not None and leakage < payload - info:
        claims.refuse(
            Code.LEAKAGE_TOO_LOW,
            f"{leakage} bits, with {info} information bits in {payload} it is at least {payload - info}",
            f"{SEAL_FILE}, leakage_bits",
        )
    elif leakage > payload:
        claims.refuse(Code.LEAKAGE_TOO_HIGH, f"{leakage} bits of {payload}", f"{SEAL_FILE}, leakage_bits")
    parts = [integer(summary, name) for name in ("syndrome_bits", "check_bits", "segment_check_bits")]
    if None not in parts and sum(bits or 0 for bits in parts) != leakage:
        claims.refuse(
            Code.SUMMARY_MISMATCH,
            f"leakage_bits is {leakage}, syndrome and checks are {' + '.join(map(str, parts))}",
            f"{SEAL_FILE}, leakage_bits",
        )
    claims.expect_range("qber", 0.0, 0.5)
    qber = number(asked, "qber")
    if qber is not None and 0.0 < qber < 0.5:
        claims.expect_figure(
            "efficiency", leakage / (payload * binary_entropy(qber)), "leakage over payload · h2(qber)"
        )


def _judge_limit(claims: Claims, asked: Mapping[str, Any], decoded: int, frames: int, payload: int | None) -> None:
    """No more frames are decoded than the best of all codes decodes."""
    bound = _success_bound(claims, asked, payload)
    if bound is not None and 0 <= decoded <= frames and log_tail(decoded, frames, bound) < LOG_SURPRISE:
        claims.refuse(
            Code.BEYOND_LIMIT,
            f"{decoded} of {frames} frames were decoded, no code decodes more than a share of {bound:.3g} here",
            f"{SEAL_FILE}, fer",
        )


def _success_bound(claims: Claims, asked: Mapping[str, Any], payload: int | None) -> float | None:
    leakage, info = integer(claims.summary, "leakage_bits"), _info_length(claims, asked)
    qber, ebn0 = number(asked, "qber"), number(asked, "ebn0_db")
    ebn0 = number(asked, "ebn0") if ebn0 is None else ebn0
    if payload is None or payload < 1:
        return None
    if qber is not None and leakage is not None and 0.0 < qber < 0.5 and not isinstance(asked.get("qber_pair"), list):
        return bsc_success_bound(payload, leakage, qber)
    if ebn0 is not None and info is not None and 0 < info <= payload and abs(ebn0) <= MOST_EBN0_DB:
        return awgn_success_bound(payload, info, awgn_capacity(ebn0_to_sigma(ebn0, info / payload)))
    return None


def judge_calls(
    claims: Claims, asked: Mapping[str, Any], records: Iterable[Mapping[str, Any]], elapsed_s: float | None
) -> None:
    """Judge a benchmark of one code; arguments as of :func:`judge_frames`, a record a call."""
    summary = claims.summary
    length, payload = integer(summary, "block_length"), integer(summary, "payload_length")
    threads = integer(summary, "threads") or 1
    frames = detected = undetected = decode_ns = 0
    times = array("d")
    for number_of_call, record in enumerate(records):
        figures = [integer(record, name) for name in ("call", "frames", "elapsed_ns", *_FAILURES)]
        call, count, elapsed_ns, *failures = (-1 if value is None else value for value in figures)
        where = f"records, call {call}"
        if min(call, *failures) < 0 or count < 1 or sum(failures) > count:
            claims.refuse(Code.OUT_OF_RANGE, "a record is not that of a call: its figures", where)
            continue
        if call != number_of_call:
            claims.refuse(Code.BLOCK_SEQUENCE, f"call {call} where {number_of_call} was expected", where)
        frames += count
        detected += failures[0]
        undetected += failures[1]
        decode_ns += elapsed_ns
        times.append(elapsed_ns * 1e-9 / count)
        judge_block_time(claims, elapsed_ns * threads, (length or 1) * count, where)
    errors = detected + undetected
    claims.expect_sum("calls", len(times), "the number of records")
    claims.expect_sum("frames", frames, "the sum over the records")
    claims.expect_sum("detected_failures", detected, "the sum over the records")
    claims.expect_sum("undetected_errors", undetected, "the sum over the records")
    claims.expect_sum("frame_errors", errors, "detected failures and undetected errors")
    judge_rate_interval(claims, errors, frames)
    claims.expect_figure("decoding_s", decode_ns / 1e9, "the sum over the records")
    judge_decode_time(claims, decode_ns, 1.0, elapsed_s)
    if times and length is not None and payload is not None:
        _judge_rates(claims, times, length, payload, threads)
    _judge_code(claims, asked, length, payload)
    _judge_limit(claims, asked, frames - errors, frames, payload)
    judge_memory(claims)


_FAILURES = ("detected_failures", "undetected_errors")


def _judge_rates(claims: Claims, times: array[float], length: int, payload: int, threads: int) -> None:
    """Rates are those of the median call, and the latencies are those of the calls."""
    from statistics import fmean, median

    middle = median(times)
    if middle <= 0.0:
        return
    claims.expect_figure("coded_mbps", length / middle / 1e6, "the median call")
    claims.expect_figure("payload_mbps", payload / middle / 1e6, "the median call")
    claims.expect_figure("coded_mbps_per_core", length / middle / 1e6 / threads, "the median call")
    told = claims.summary.get("latency_s")
    if not isinstance(told, Mapping):
        return
    latencies = Claims(told)
    latencies.expect_figure("mean", fmean(times), "the mean over the calls")
    latencies.expect_figure("median", middle, "the median over the calls")
    latencies.expect_figure("min", min(times), "the least of the calls")
    latencies.expect_interval("min", "q25", "median")
    latencies.expect_interval("median", "q75", "p95")
    for finding in latencies.findings():
        claims.refuse(finding.code, f"latency_s: {finding.what}", finding.where)


def judge_rows(claims: Claims, asked: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> None:
    """Judge a sweep: a record a row.

    Args:
        claims: its summary, the coded rate of each row; told what cannot be.
        asked: its configuration.
        records: of its rows.
    """
    listed = asked.get("rows")
    rates: dict[str, float] = {}
    for record in records:
        name = record.get("name")
        row = Claims(record)
        where = f"records, {name}"
        row.expect_range("fer", 0.0, 1.0)
        row.expect_interval("fer_low", "fer", "fer_high")
        row.expect_interval("coded_mbps_q25", "coded_mbps", "coded_mbps_q75")
        rate, frames, errors = number(record, "coded_mbps"), integer(record, "frames"), integer(record, "frame_errors")
        if frames is not None and errors is not None and not 0 <= errors <= frames:
            row.refuse(Code.OUT_OF_RANGE, f"{errors} frame errors in {frames} frames", where)
        for finding in row.findings():
            claims.refuse(finding.code, finding.what, where)
        if isinstance(name, str) and rate is not None:
            rates[name] = rate
            claims.expect_sum(name, rate, "the rate in its record")
    missing = [name for name in listed if name not in rates] if isinstance(listed, list) else []
    if missing or set(claims.summary) != set(rates):
        claims.refuse(Code.SUMMARY_MISMATCH, "the rows of the summary are not those of the records", SEAL_FILE)

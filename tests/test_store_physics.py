"""Physical sense: true runs pass, and a run with one figure changed is found by exactly the code that says so."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from true_runs import PlainRun, plain_run, record_command, record_reconciliation

from caligo.store import Code
from caligo.store.governing.bounds import awgn_success_bound, bsc_success_bound, log2_patterns, log_tail
from caligo.store.governing.physics import Claims, physical_findings

_SIMULATE = ("simulate", "-N", "1024", "-L", "4", "--frames", "200", "--threads", "2")
_AWGN = ("--channel", "awgn", "--ebn0", "1.5", "-K", "400", "--max-frame-errors", "9")
_BENCH = ("bench", "decoder", "-N", "1024", "-L", "2", "--qber", "0.02", "--efficiency", "1.5", "--seconds", "0.02")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PlainRun]:
    store = tmp_path_factory.mktemp("true")
    usual: dict[str, Any] = {"block_length": 4096, "list_size": 8, "qber": 0.02, "threads": 2}
    made = {
        "reconcile": record_reconciliation(store, **usual),
        "interactive": record_reconciliation(store, **usual, strategy="interactive", max_block_leakage_bits=1500),
        "estimated": record_reconciliation(store, block_length=4096, list_size=8, bits=70001, strategy="incremental"),
        "retry": record_reconciliation(store, **{**usual, "qber": 0.015}, on_failure="retry"),
        "pair": record_reconciliation(store, (0.05, 0.02), **{**usual, "qber": (0.05, 0.02)}, strategy="segmented"),
        "simulate": record_command(store, *_SIMULATE, "--qber", "0.02", "--efficiency", "1.3"),
        "awgn": record_command(store, *_SIMULATE, *_AWGN),
        "bench": record_command(store, *_BENCH),
    }
    return {name: plain_run(path) for name, path in made.items()}


@pytest.mark.parametrize(
    "name", ["reconcile", "interactive", "estimated", "retry", "pair", "simulate", "awgn", "bench"]
)
def test_a_true_run_makes_sense(runs: dict[str, PlainRun], name: str) -> None:
    assert runs[name].findings() == []


Change = Callable[[PlainRun], object]


def _figure(name: str, change: Callable[[Any], Any]) -> Change:
    return lambda run: run.summary.__setitem__(name, change(run.summary[name]))


def _part(part: str, name: str, change: Callable[[Any], Any]) -> Change:
    return lambda run: run.summary[part].__setitem__(name, change(run.summary[part][name]))


def _asked(**asked: Any) -> Change:
    return lambda run: run.configuration.update(asked)


def _record(name: str, change: Callable[[Any], Any]) -> Change:
    return lambda run: run.records[1].__setitem__(name, change(run.records[1][name]))


def _code(name: str, change: Callable[[Any], Any]) -> Change:
    return lambda run: run.summary["codes"][0].__setitem__(name, change(run.summary["codes"][0][name]))


def _less(value: Any) -> Any:
    return value - 1


def _more(value: Any) -> Any:
    return value + 1


def _half(value: Any) -> Any:
    return value / 2


_SUM, _FIG, _RANGE = "SUMMARY_MISMATCH", "FIGURE_MISMATCH", "OUT_OF_RANGE"
_LOW, _HIGH, _TIME, _SEQ = "LEAKAGE_TOO_LOW", "LEAKAGE_TOO_HIGH", "TIME_IMPOSSIBLE", "BLOCK_SEQUENCE"

FORGERIES: list[tuple[str, str, Change, set[str]]] = [
    # One figure of the summary.
    ("reconcile", "blocks_ok", _figure("blocks_ok", _more), {_SUM}),
    ("reconcile", "blocks_discarded", _figure("blocks_discarded", _more), {_SUM}),
    ("reconcile", "failed_check", _figure("failed_check", _more), {_SUM}),
    ("reconcile", "failed_verification", _figure("failed_verification", _more), {_SUM}),
    ("reconcile", "reconciled_bits", _figure("reconciled_bits", _less), {_SUM}),
    ("reconcile", "key_bits", _figure("key_bits", lambda bits: bits + 8), {_SUM}),
    ("estimated", "sampled_bits", _figure("sampled_bits", _less), {_SUM}),
    ("reconcile", "leakage_bits", _figure("leakage_bits", _less), {_SUM}),
    ("reconcile", "leakage_bits_both_ways", _figure("leakage_bits_both_ways", _less), {_SUM}),
    ("reconcile", "leakage.syndrome", _part("leakage", "syndrome", _less), {_SUM}),
    ("reconcile", "leakage.verification", _part("leakage", "verification", lambda bits: bits + 128), {_SUM}),
    ("interactive", "leakage.answer", _part("leakage", "answer", _less), {_SUM}),
    ("reconcile", "leakage.reply", _part("leakage", "reply", _less), {_SUM}),
    ("interactive", "rounds_max", _figure("rounds_max", _more), {_SUM}),
    ("interactive", "rounds_mean", _figure("rounds_mean", _half), {_FIG}),
    ("retry", "blocks_retried", _figure("blocks_retried", _more), {_SUM}),
    ("reconcile", "efficiency", _figure("efficiency", lambda f: f * 0.99), {_FIG}),
    ("reconcile", "no efficiency", _figure("efficiency", lambda f: None), {_FIG}),
    ("reconcile", "payload_mbps", _figure("payload_mbps", lambda rate: rate * 2), {_FIG}),
    ("reconcile", "coded_mbps_per_core", _figure("coded_mbps_per_core", lambda rate: rate * 1.01), {_FIG}),
    ("reconcile", "true_qber", _figure("true_qber", _half), {_FIG}),
    ("reconcile", "keys_equal", _figure("keys_equal", lambda equal: not equal), {_FIG}),
    ("reconcile", "undetected_errors", _figure("undetected_errors", _more), {_FIG}),
    ("reconcile", "epsilon_correctness", _figure("epsilon_correctness", lambda e: e / 100), {_FIG}),
    ("reconcile", "design_qber", _figure("design_qber", lambda q: 2.0), {_RANGE}),
    ("estimated", "estimated_qber", _figure("estimated_qber", lambda q: q * 2), {_FIG}),
    ("estimated", "estimated_qber_high", _figure("estimated_qber_high", lambda q: 0.0), {_FIG}),
    ("reconcile", "peak_rss_bytes", _figure("peak_rss_bytes", lambda size: 1000), {_RANGE}),
    ("reconcile", "threads", _figure("threads", lambda count: 0), {_RANGE}),
    # One figure of a code.
    ("reconcile", "code.leakage_bits, raised", _code("leakage_bits", _more), {_LOW, _SUM, _FIG}),
    ("reconcile", "code.info_length", _code("info_length", _less), {_LOW}),
    ("reconcile", "code.efficiency", _code("efficiency", _half), {_FIG}),
    ("reconcile", "code.blocks", _code("blocks", _less), set()),
    # One figure of a record: the sums no longer hold, and what it says by itself may be impossible.
    ("reconcile", "record.leakage_bits", _record("leakage_bits", _less), {_LOW, _SUM, _FIG}),
    ("reconcile", "record.leakage_bits, raised", _record("leakage_bits", _more), {_HIGH, _LOW, _SUM, _FIG}),
    ("reconcile", "record.leakage_bits_both_ways", _record("leakage_bits_both_ways", lambda b: b - 2), {_LOW, _SUM}),
    ("reconcile", "record.verification_bits", _record("verification_bits", _more), {_RANGE, _SUM}),
    ("reconcile", "record.outcome", _record("outcome", lambda outcome: "fine"), {_RANGE, _SUM, _FIG, _SEQ}),
    ("reconcile", "record.block", _record("block", lambda block: 0), {_SEQ}),
    ("reconcile", "record.elapsed_ns", _record("elapsed_ns", lambda ns: 0), {_TIME, _FIG}),
    ("reconcile", "record.elapsed_ns, small", _record("elapsed_ns", lambda ns: 3), {_TIME, _FIG}),
    ("reconcile", "record.elapsed_ns, large", _record("elapsed_ns", lambda ns: 10**13), {_TIME, _FIG}),
    ("reconcile", "record.true_errors", _record("true_errors", lambda errors: errors + 4096), {_RANGE, _FIG}),
    ("reconcile", "record.payload_bits", _record("payload_bits", lambda bits: 0), {_RANGE, _SUM, _FIG}),
    ("reconcile", "a record less", lambda run: run.records.pop(), {_SEQ, _SUM, _FIG}),
    ("reconcile", "a record more", lambda run: run.records.append(run.records[0]), {_SEQ, _SUM, _FIG}),
    # What was asked for.
    ("reconcile", "max_leakage_bits", _asked(max_leakage_bits=5000), {_HIGH}),
    ("interactive", "max_block_leakage_bits", _asked(max_block_leakage_bits=10), {_HIGH}),
    ("interactive", "max_rounds", _asked(max_rounds=0), {_RANGE}),
    # Simulations.
    ("simulate", "frames", _figure("frames", _more), {_SEQ, _SUM}),
    ("simulate", "frame_errors", _figure("frame_errors", _more), {_SUM}),
    ("simulate", "detected_failures", _figure("detected_failures", _less), {_SUM}),
    ("simulate", "undetected_errors", _figure("undetected_errors", _more), {_SUM}),
    ("simulate", "fer", _figure("fer", _half), {_FIG}),
    ("simulate", "fer_low", _figure("fer_low", lambda low: low * 0.99), {_FIG}),
    ("simulate", "fer_high", _figure("fer_high", lambda high: high * 1.01), {_FIG}),
    ("simulate", "decode_s", _figure("decode_s", _half), {_FIG}),
    ("simulate", "coded_mbps", _figure("coded_mbps", _half), {_FIG}),
    ("simulate", "payload_mbps", _figure("payload_mbps", _half), {_FIG}),
    ("simulate", "efficiency", _figure("efficiency", _half), {_FIG}),
    ("simulate", "leakage_bits", _figure("leakage_bits", _less), {_LOW, _SUM, _FIG}),
    ("simulate", "syndrome_bits", _figure("syndrome_bits", _less), {_SUM}),
    ("simulate", "record.block", _record("block", lambda block: 0), {_SEQ}),
    ("simulate", "record.elapsed_ns", _record("elapsed_ns", lambda ns: 10**13), {_TIME, _FIG}),
    ("simulate", "max_frames", _asked(max_frames=10), {_RANGE}),
    ("awgn", "max_frame_errors", _asked(max_frame_errors=1), {_RANGE}),
    ("awgn", "ebn0_db", _asked(ebn0_db=-9.0), {"BEYOND_LIMIT"}),
    # Benchmarks.
    ("bench", "calls", _figure("calls", _more), {_SUM}),
    ("bench", "frames", _figure("frames", _more), {_SUM}),
    ("bench", "fer_high", _figure("fer_high", lambda high: 0.0), {_FIG}),
    ("bench", "decoding_s", _figure("decoding_s", _half), {_FIG}),
    ("bench", "coded_mbps", _figure("coded_mbps", lambda rate: rate * 2), {_FIG}),
    ("bench", "coded_mbps_per_core", _figure("coded_mbps_per_core", lambda rate: rate * 2), {_FIG}),
    ("bench", "latency median", _part("latency_s", "median", _half), {_FIG}),
    ("bench", "latency q75", _part("latency_s", "q75", lambda value: 0.0), {_FIG}),
    ("bench", "peak_rss_bytes", _figure("peak_rss_bytes", lambda size: 1), {_RANGE}),
    ("bench", "record.call", _record("call", _more), {_SEQ}),
    ("bench", "record.frames", _record("frames", lambda count: 0), {_RANGE, _SUM, _FIG}),
]


@pytest.mark.parametrize(
    ("name", "change", "codes"),
    [(name, change, codes) for name, _, change, codes in FORGERIES],
    ids=[f"{name}: {what}" for name, what, _, _ in FORGERIES],
)
def test_one_changed_figure_is_found_by_exactly_its_code(
    runs: dict[str, PlainRun], name: str, change: Change, codes: set[str]
) -> None:
    forged = runs[name].copy()
    change(forged)
    assert set(forged.codes()) == codes


# --- what no code can do ------------------------------------------------------------------------------------------


def _beat_shannon(run: PlainRun, share: float) -> None:
    """Claim, consistently, that each block took less disclosure, by fewer syndrome bits of its code."""
    from caligo.channel import binary_entropy

    (code,) = run.summary["codes"]
    saved = round(code["leakage_bits"] * share)
    code["leakage_bits"] -= saved
    code["info_length"] += saved
    code["efficiency"] = code["leakage_bits"] / (code["payload_length"] * binary_entropy(code["design_qber"]))
    confirmed = [record for record in run.records if record["outcome"] == "confirmed"]
    for record in run.records:
        record["leakage_bits"] -= saved
        record["leakage_bits_both_ways"] -= saved
    for name in ("leakage_bits", "leakage_bits_both_ways"):
        run.summary[name] -= saved * len(run.records)
    run.summary["leakage"]["syndrome"] -= saved * len(run.records)
    errors, bits = sum(r["true_errors"] for r in confirmed), sum(r["payload_bits"] for r in confirmed)
    run.summary["efficiency"] = sum(r["leakage_bits"] for r in confirmed) / (bits * binary_entropy(errors / bits))


def test_a_consistent_story_that_beats_shannon_is_found(runs: dict[str, PlainRun]) -> None:
    forged = runs["reconcile"].copy()
    _beat_shannon(forged, 0.45)
    assert forged.summary["efficiency"] < 1
    assert forged.codes() == ["BEYOND_LIMIT"]


def test_a_story_at_the_limit_is_believed(runs: dict[str, PlainRun]) -> None:
    forged = runs["reconcile"].copy()
    _beat_shannon(forged, 0.1)
    assert forged.codes() == []


def test_confirmed_blocks_without_a_tag_are_found(runs: dict[str, PlainRun]) -> None:
    forged = runs["reconcile"].copy()
    for record in forged.records:
        for name in ("leakage_bits", "leakage_bits_both_ways"):
            forged.summary[name] -= record["verification_bits"]
            record[name] -= record["verification_bits"]
        record["verification_bits"] = 0
    forged.summary["leakage"]["verification"] = 0
    assert "LEAKAGE_TOO_LOW" in forged.codes()


def test_frames_that_no_code_decodes_are_found(runs: dict[str, PlainRun]) -> None:
    from caligo.channel import binary_entropy

    forged = runs["simulate"].copy()
    for record in forged.records:
        record["outcome"] = "ok"
    forged.summary.update(frame_errors=0, detected_failures=0, undetected_errors=0, fer=0.0, fer_low=0.0)
    forged.summary["fer_high"] = 1 - 0.025 ** (1 / 200)
    assert forged.codes() == [], "at this efficiency good codes do it"
    leakage = forged.summary["leakage_bits"] // 2
    forged.summary.update(leakage_bits=leakage, syndrome_bits=leakage - forged.summary["check_bits"])
    forged.summary["efficiency"] = leakage / (1024 * binary_entropy(0.02))
    forged.configuration["info_length"] = 1024 - leakage
    assert forged.codes() == ["BEYOND_LIMIT"]


@given(st.integers(1, 60), st.data())
def test_patterns_are_counted(n: int, data: st.DataObject) -> None:
    errors = data.draw(st.integers(0, n))
    assert math.isclose(log2_patterns(n, errors), math.log2(math.comb(n, errors)), abs_tol=1e-9)


@settings(max_examples=30)
@given(st.integers(2, 14), st.floats(0.01, 0.4), st.data())
def test_the_bound_over_a_bsc_is_that_of_guessing_the_likeliest_of_each_weight(
    n: int, qber: float, data: st.DataObject
) -> None:
    disclosed = data.draw(st.integers(0, n))
    exact = sum(
        min(math.comb(n, errors), 2**disclosed) * qber**errors * (1 - qber) ** (n - errors) for errors in range(n + 1)
    )
    assert bsc_success_bound(n, disclosed, qber) >= min(1.0, exact) - 1e-9
    assert bsc_success_bound(n, disclosed, qber) <= min(1.0, exact) + 1e-6


def test_a_bound_says_nothing_below_capacity_and_much_above_it() -> None:
    assert awgn_success_bound(2048, 1000, 0.8) == 1.0
    assert awgn_success_bound(2048, 2000, 0.5) < 0.02


@given(st.integers(1, 400), st.floats(0.001, 0.999), st.data())
def test_the_tail_of_a_count_is_bounded(trials: int, probability: float, data: st.DataObject) -> None:
    from scipy.stats import binom

    successes = data.draw(st.integers(0, trials))
    exact = float(binom.logsf(successes - 1, trials, probability))
    assert log_tail(successes, trials, probability) >= exact - 1e-6 * (1 - exact)


def test_a_success_where_none_can_be_is_impossible() -> None:
    assert log_tail(1, 1, 0.0) == -math.inf
    assert log_tail(0, 0, 0.5) == 0.0


# --- times --------------------------------------------------------------------------------------------------------


def _seal_time(seconds: float) -> Change:
    def change(run: PlainRun) -> None:
        moment = datetime.fromisoformat(run.document["started_at"]) + timedelta(seconds=seconds)
        run.seal["sealed_at"] = moment.isoformat()

    return change


@pytest.mark.parametrize("seconds", [-3600.0, -7.0, 60.0, 1e6])
def test_a_clock_that_was_set_is_a_note(runs: dict[str, PlainRun], seconds: float) -> None:
    forged = runs["reconcile"].copy()
    _seal_time(seconds)(forged)
    later = datetime.now(UTC) + timedelta(days=30)
    (finding,) = forged.findings(later)
    assert (finding.code, finding.severity.value) == (Code.CLOCK_STEP, "note")


def test_a_run_of_the_future_is_a_note_and_time_heals_it(runs: dict[str, PlainRun]) -> None:
    run = runs["reconcile"]
    started = datetime.fromisoformat(run.document["started_at"])
    codes = [finding.code for finding in run.findings(started - timedelta(days=2))]
    assert codes == [Code.TIME_IN_FUTURE] * 2
    assert run.findings(started + timedelta(days=2)) == []


def test_a_run_without_a_seal_is_judged_by_its_times_alone(runs: dict[str, PlainRun]) -> None:
    run = runs["reconcile"]
    started = datetime.fromisoformat(run.document["started_at"])
    assert physical_findings(run.document, None, [], started) == []
    assert len(physical_findings(run.document, None, [], started - timedelta(days=2))) == 1


# --- anything at all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["reconcile", "simulate", "bench", "demo"])
def test_runs_of_other_programs_are_not_judged_by_what_they_do_not_say(kind: str) -> None:
    document = {"kind": kind, "started_at": "2026-01-01T00:00:00.000Z", "configuration": {"n": 1}}
    seal = {"sealed_at": "2026-01-01T00:00:01.000Z", "elapsed_s": 1.0, "summary": {"fer": 0.1, "blocks": 3}}
    assert physical_findings(document, seal, [{"block": 0}], datetime(2026, 2, 1, tzinfo=UTC)) == []


_JUNK = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=3)


@settings(max_examples=60)
@given(st.data())
def test_any_figure_of_any_type_is_judged_without_an_accident(runs: dict[str, PlainRun], data: st.DataObject) -> None:
    run = runs[data.draw(st.sampled_from(sorted(runs)))].copy()
    for part in (run.summary, run.configuration, run.records[0], run.seal, run.document):
        for name in data.draw(st.lists(st.sampled_from(sorted(part)), max_size=2)):
            part[name] = data.draw(_JUNK | st.lists(_JUNK, max_size=2))
    run.findings()


def test_a_claim_of_very_many_blocks_costs_no_memory(runs: dict[str, PlainRun]) -> None:
    for name, claimed in (("reconcile", "blocks"), ("simulate", "frames")):
        forged = runs[name].copy()
        forged.summary[claimed] = 2**53 - 1
        assert {"BLOCK_SEQUENCE", "SUMMARY_MISMATCH"} <= set(forged.codes())


def test_many_findings_of_a_code_are_counted_after_the_first_ones() -> None:
    claims = Claims({})
    for block in range(100):
        claims.refuse(Code.BLOCK_SEQUENCE, "twice", f"block {block}")
    told = claims.findings()
    assert len(told) == 6
    assert told[-1].what == "95 more of this kind"

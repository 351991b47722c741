"""Laws of a run's metrics: right for every kind and state, sure of themselves, the same however runs are pooled."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.errors import ConfigError
from caligo.statistics import Proportion, Samples
from caligo.store import Run, RunWriter, load_run
from caligo.store.comparing.metrics import (
    METRICS,
    Metric,
    is_known_metric,
    metric_form,
    pool_metrics,
    pool_runs,
    run_metrics,
)
from caligo.store.comparing.tally import Timings

SIMULATED = {
    "frames": 1000,
    "frame_errors": 5,
    "detected_failures": 4,
    "undetected_errors": 1,
    "coded_mbps": 34.0,
    "payload_mbps": 33.0,
    "efficiency": 1.2,
    "leakage_bits": 695,
    "decoder_bytes": 95264,
}


def recorded(
    store: Path,
    kind: str,
    records: Iterable[Mapping[str, Any]] = (),
    summary: Mapping[str, Any] | None = None,
    configuration: Mapping[str, Any] | None = None,
    seeds: Mapping[str, int] | None = None,
) -> Run:
    """A run on disk, sealed if it has a summary, interrupted otherwise."""
    with RunWriter.create(store, kind, configuration or {}, seeds=seeds or {}) as run:
        run.record_many(list(records))
        if summary is not None:
            run.seal(summary)
    return load_run(run.path)


def frames(times: Sequence[int], failed: int = 0) -> list[dict[str, Any]]:
    return [
        {"block": block, "outcome": "detected_failure" if block < failed else "ok", "elapsed_ns": time}
        for block, time in enumerate(times)
    ]


def test_a_simulation_has_its_rates_with_intervals_and_its_times_as_samples(tmp_path: Path) -> None:
    run = recorded(tmp_path, "simulate", frames(range(100, 200)), SIMULATED, {"payload_length": 4000})
    metrics = run_metrics(run)
    assert list(metrics) == [
        "fer", "undetected_error_rate", "efficiency", "leak_rate", "decode_time_ns", "coded_mbps", "payload_mbps",
        "elapsed_s", "decoder_bytes",
    ]  # fmt: skip
    fer = metrics["fer"]
    assert (fer.proportion, fer.value, fer.better) == (Proportion(5, 1000), 0.005, "lower")
    assert (fer.low, fer.high) == Proportion(5, 1000).interval()
    assert metrics["undetected_error_rate"].proportion == Proportion(1, 1000)
    assert metrics["leak_rate"].value == 695 / 4000
    time = metrics["decode_time_ns"]
    assert time.samples == Samples(range(100, 200))
    assert (time.value, time.low, time.high, time.share) == (149.5, 139.0, 160.0, 1.0)
    assert (metrics["efficiency"].low, metrics["efficiency"].figures) == (None, Samples([1.2]))
    assert "decode_time_ns" not in run_metrics(run, records=False)


def test_a_reconciliation_counts_wrong_blocks_as_failed_and_tells_what_leaked(tmp_path: Path) -> None:
    blocks = [
        {"block": 0, "outcome": "confirmed", "block_length": 4096, "elapsed_ns": 10},
        {"block": 1, "outcome": "confirmed", "block_length": 4096, "elapsed_ns": 30},
        {"block": 2, "outcome": "uncorrected", "block_length": 1024, "elapsed_ns": 5},
    ]
    summary = {
        "blocks": 3, "blocks_failed": 1, "undetected_errors": 1, "leakage_bits": 300, "key_bits": 1100,
        "sampled_bits": 60, "discarded_bits": 40, "elapsed_s": 2.5, "peak_rss_bytes": 1 << 20,
        "estimated_qber": 0.02, "estimated_qber_low": 0.019, "estimated_qber_high": 0.021, "true_qber": 0.0203,
        "job": {"decode_share": 0.9},
    }  # fmt: skip
    metrics = run_metrics(recorded(tmp_path, "reconcile", blocks, summary))
    assert metrics["fer"].proportion == Proportion(2, 3)
    assert metrics["leak_rate"].value == 0.3
    assert metrics["decode_time_ns"].samples == Samples([10, 30])
    assert "4096" in metrics["decode_time_ns"].note
    assert metrics["elapsed_s"].value == 2.5
    assert metrics["decode_share"].value == 0.9
    assert (metrics["estimated_qber"].low, metrics["estimated_qber"].high) == (0.019, 0.021)


def test_a_benchmark_of_the_decoder_counts_frames_and_times_each(tmp_path: Path) -> None:
    calls = [
        {"call": call, "outcome": "measured", "frames": 4, "elapsed_ns": 400 + 4 * call, "detected_failures": 1}
        for call in range(9)
    ]
    summary = {"coded_mbps": 10.0, "coded_mbps_per_core": 5.0, "allocations_per_decode": 0.0}
    metrics = run_metrics(recorded(tmp_path, "bench", calls, summary))
    assert metrics["fer"].proportion == Proportion(9, 36)
    assert metrics["decode_time_ns"].samples == Samples(range(100, 109))
    rate, time = metrics["coded_mbps"], metrics["decode_time_ns"]
    assert (rate.low, rate.high) == (10.0 * 104 / time.high, 10.0 * 104 / time.low)  # type: ignore[operator]
    assert metrics["allocations_per_decode"].value == 0.0


def test_a_sweep_has_a_rate_for_each_row_and_imported_benchmarks_have_times(tmp_path: Path) -> None:
    rows = [
        {"outcome": "measured", "name": "N = 2^20", "coded_mbps": 40.5, "frames": 200, "frame_errors": 3},
        {"outcome": "measured", "name": "transform", "coded_mbps": 9000.0, "frames": 1, "frame_errors": None},
    ]
    metrics = run_metrics(recorded(tmp_path, "bench", rows, {"N = 2^20": 40.5}, {"rows": ["N = 2^20"]}))
    assert {name: metric.value for name, metric in metrics.items() if name != "elapsed_s"} == {
        "coded_mbps:N = 2^20": 40.5, "coded_mbps:transform": 9000.0, "fer:N = 2^20": 0.015,
    }  # fmt: skip
    rounds = [{"benchmark": f"test[{name}]", "elapsed_ns": time} for name in "ba" for time in (3, 1, 2)]
    metrics = run_metrics(recorded(tmp_path, "benchmark", rounds, {}))
    assert list(metrics) == ["elapsed_s", "time_ns:test[a]", "time_ns:test[b]"]
    assert metrics["time_ns:test[a]"].samples == Samples([1, 2, 3])


def test_no_errors_in_n_frames_is_at_most_three_over_n_on_one_side_and_more_on_two(tmp_path: Path) -> None:
    fer = run_metrics(recorded(tmp_path, "simulate", (), {"frames": 10_000, "frame_errors": 0}))["fer"]
    assert fer.low == 0.0
    assert fer.high == pytest.approx(3.69 / 10_000, rel=1e-3)
    assert fer.one_sided_high == pytest.approx(3.0 / 10_000, rel=2e-3)
    assert fer.to_json()["one_sided_high"] == fer.one_sided_high


def test_an_interrupted_run_has_what_its_records_say_and_an_empty_one_nothing(tmp_path: Path) -> None:
    metrics = run_metrics(recorded(tmp_path, "simulate", frames([7], failed=1)))
    assert list(metrics) == ["fer", "undetected_error_rate", "decode_time_ns"]
    assert metrics["fer"].proportion == Proportion(1, 1)
    single = metrics["decode_time_ns"]
    assert (single.value, single.low, single.high) == (7.0, None, None)
    assert run_metrics(recorded(tmp_path, "reconcile")) == {}


def test_values_of_the_wrong_type_are_no_metrics(tmp_path: Path) -> None:
    summary = {"frames": "many", "frame_errors": 3, "efficiency": True, "coded_mbps": None, "job": [], "elapsed_s": "1"}
    odd: list[dict[str, Any]] = [
        {"elapsed_ns": "fast"},
        {"benchmark": 3},
        {"outcome": [], "frames": -1},
        {"outcome": "measured", "call": 0},
    ]
    assert list(run_metrics(recorded(tmp_path, "simulate", odd, summary))) == ["elapsed_s"]
    assert "fer" not in run_metrics(recorded(tmp_path, "simulate", (), {"frames": 1, "frame_errors": 3}))


def test_damaged_records_are_left_out_and_the_metric_says_so(tmp_path: Path) -> None:
    run = recorded(tmp_path, "simulate", frames(range(100, 120)))
    path = run.path / "records-main.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"elapsed_ns":110', b'"elapsed_ns":999'))
    time = run_metrics(load_run(run.path))["decode_time_ns"]
    assert time.samples == Samples([value for value in range(100, 120) if value != 110])
    assert "damaged" in time.note


def test_of_too_many_timings_a_fair_and_repeatable_choice_is_kept() -> None:
    times = np.random.default_rng(5).integers(1000, 2000, 200_000).tolist()

    def kept() -> Timings:
        timings = Timings(20_000)
        for number, time in enumerate(times):
            timings.add("even" if number % 2 == 0 else "odd", time)
        return timings

    first = kept()
    even, odd = first.samples("even"), first.samples("odd")
    assert first.counts() == {"even": 100_000, "odd": 100_000}
    assert 9_000 < even.count + odd.count <= 20_000
    for samples in (even, odd):
        assert samples.count == pytest.approx(100_000 * first.share, rel=0.05)
        assert samples.median == pytest.approx(1500, rel=0.02)
    assert kept().samples("even") == even
    assert first.samples("neither") == Samples()


COUNTS = st.tuples(st.integers(0, 40), st.integers(1, 40)).map(lambda c: Proportion(min(c), max(c)))


@st.composite
def some_metrics(draw: st.DrawFn) -> list[Metric]:
    from caligo.store.comparing.metrics import _of_figures, _of_proportion, _of_samples

    kind = draw(st.sampled_from(["fer", "decode_time_ns", "efficiency"]))
    made: list[Metric | None] = []
    values = st.lists(st.integers(1, 99), min_size=1, max_size=9)
    for _ in range(draw(st.integers(1, 6))):
        if kind == "fer":
            made.append(_of_proportion(kind, {draw(st.sampled_from("abc")): draw(COUNTS)}))
        elif kind == "decode_time_ns":
            made.append(_of_samples(kind, Samples(draw(values))))
        else:
            made.append(_of_figures(kind, Samples(draw(values)[:1])))
    return [metric for metric in made if metric is not None]


@given(some_metrics(), st.randoms(), st.data())
@settings(max_examples=60)
def test_pooling_gives_the_same_in_any_order_and_grouping(
    metrics: list[Metric], shuffler: random.Random, data: st.DataObject
) -> None:
    whole = pool_metrics(metrics)
    assert whole.figures.count == len(metrics)
    cut = data.draw(st.integers(0, len(metrics)))
    shuffled = list(metrics)
    shuffler.shuffle(shuffled)
    parts = [part for part in (shuffled[:cut], shuffled[cut:]) if part]
    assert pool_metrics([pool_metrics(part) for part in parts]) == whole
    assert whole.low is None or whole.low <= whole.value <= whole.high  # type: ignore[operator]


def test_the_same_frames_are_counted_once_and_others_are_added(tmp_path: Path) -> None:
    def simulated(seed: int, frame_count: int, errors: int) -> dict[str, Metric]:
        summary = {"frames": frame_count, "frame_errors": errors}
        return run_metrics(recorded(tmp_path, "simulate", frames([5]), summary, seeds={"simulation": seed}))

    pooled = pool_runs([simulated(1, 100, 2), simulated(1, 200, 3), simulated(2, 100, 7)])
    assert pooled["fer"].proportion == Proportion(10, 300)
    assert pooled["fer"].figures.count == 3
    assert pooled["decode_time_ns"].samples == Samples([5, 5, 5])
    keys = {"blocks": 10, "blocks_failed": 1, "true_qber": 0.02}
    twice = [run_metrics(recorded(tmp_path, "reconcile", (), keys)) for _ in range(2)]
    assert pool_runs(twice)["fer"].proportion == Proportion(1, 10)
    other = run_metrics(recorded(tmp_path, "reconcile", (), keys | {"true_qber": 0.021}))
    assert pool_runs([*twice, other])["fer"].proportion == Proportion(2, 20)


def test_six_figures_have_an_interval_and_one_has_none(tmp_path: Path) -> None:
    each = [run_metrics(recorded(tmp_path, "reconcile", (), {"elapsed_s": float(value)})) for value in range(6)]
    pooled = pool_runs(each)["elapsed_s"]
    assert (pooled.value, pooled.low, pooled.high) == (2.5, 0.0, 5.0)
    assert each[0]["elapsed_s"].low is None
    assert not any(isinstance(value, float) and math.isnan(value) for value in pooled.to_json().values())


def test_names_are_known_or_refused() -> None:
    assert is_known_metric("fer")
    assert is_known_metric("time_ns:test_x[a:b]")
    assert metric_form("time_ns:anything").unit == "ns"
    for name in ("time_ns", "decode_time_ns:x", "speed", ""):
        assert not is_known_metric(name)
        with pytest.raises(ConfigError, match="decode_time_ns"):
            metric_form(name)
    with pytest.raises(ConfigError, match="one name"):
        pool_metrics([])


def test_one_metric_alone_is_what_it_is_among_all(tmp_path: Path) -> None:
    runs = [
        recorded(tmp_path, "simulate", frames(range(100, 200)), SIMULATED, {"payload_length": 4000}),
        recorded(tmp_path, "reconcile", [], {"blocks": 20, "blocks_failed": 2, "undetected_errors": 0, "messages": 4}),
        recorded(tmp_path, "bench", frames(range(1, 40), failed=3), {"coded_mbps": 34.0, "payload_mbps": 30.0}),
        recorded(tmp_path, "simulate", frames(range(9), failed=2)),
    ]
    for run in runs:
        for records in (True, False):
            every = run_metrics(run, records=records)
            for name in METRICS:
                assert run_metrics(run, records=records, only=name).get(name) == every.get(name)

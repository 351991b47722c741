"""Laws of comparing runs: both ways the same, no difference found where there is none, one found where there is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.errors import ConfigError
from caligo.statistics import Samples, difference_interval, holm_adjusted, median_interval
from caligo.store import Run, RunWriter, load_run
from caligo.store.comparing.comparison import Comparison, Verdict, compare_runs

MIRROR = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER}


def recorded(
    store: Path,
    times: Sequence[int] = (),
    summary: Mapping[str, Any] | None = None,
    configuration: Mapping[str, Any] | None = None,
    kind: str = "simulate",
    seed: int | None = None,
    excludes: Sequence[str] = (),
) -> Run:
    seeds = {} if seed is None else {"simulation": seed}
    with RunWriter.create(store, kind, configuration or {}, seeds=seeds, identity_excludes=tuple(excludes)) as run:
        run.record_many([{"block": block, "outcome": "ok", "elapsed_ns": time} for block, time in enumerate(times)])
        if summary is not None:
            run.seal(summary)
    return load_run(run.path)


def named(comparison: Comparison) -> dict[str, Any]:
    return {change.name: change for change in comparison.metrics}


def assert_mirrored(forth: Comparison, back: Comparison) -> None:
    assert (back.a, back.b) == (forth.b, forth.a)
    assert [(change.key, change.b, change.a, change.defines) for change in back.configuration] == [
        (change.key, change.a, change.b, change.defines) for change in forth.configuration
    ]
    assert (back.obstacles, back.cautions, back.differing_keys) == (
        forth.obstacles,
        forth.cautions,
        forth.differing_keys,
    )
    for one, other in zip(forth.metrics, back.metrics, strict=True):
        assert (one.name, one.a, one.b) == (other.name, other.b, other.a)
        assert other.verdict == MIRROR.get(one.verdict, one.verdict)
        assert (one.p_value is None) == (other.p_value is None)
        if one.p_value is not None:
            assert other.p_value == pytest.approx(one.p_value, rel=1e-9, abs=1e-300)
            assert other.p_adjusted == pytest.approx(one.p_adjusted, rel=1e-9, abs=1e-300)
        if one.effect is None or other.effect is None:
            assert one.effect is other.effect
            continue

        def turn(value: float, ratio: bool = one.effect.kind == "ratio") -> float:
            return 1 / value if ratio else -value

        assert other.effect.value == pytest.approx(turn(one.effect.value), rel=1e-9, abs=1e-12)
        if one.effect.low is not None and one.effect.high is not None:
            assert other.effect.low == pytest.approx(turn(one.effect.high), rel=1e-9, abs=1e-12)
            assert other.effect.high == pytest.approx(turn(one.effect.low), rel=1e-9, abs=1e-12)


TIMES = st.lists(st.integers(0, 50), max_size=12)


@given(
    st.lists(TIMES, min_size=1, max_size=5),
    st.lists(TIMES, min_size=1, max_size=5),
    st.tuples(st.integers(0, 9), st.integers(9, 30)),
    st.booleans(),
)
@settings(max_examples=25)
def test_comparing_the_other_way_round_is_the_mirror_image(
    tmp_path_factory: pytest.TempPathFactory,
    a: list[list[int]],
    b: list[list[int]],
    errors: tuple[int, int],
    sealed: bool,
) -> None:
    store = tmp_path_factory.mktemp("mirror")
    summary = {"frames": 100, "frame_errors": errors[0], "efficiency": 1.2, "estimated_qber": 0.0}
    other = {"frames": 100, "frame_errors": errors[1], "efficiency": 1.3, "coded_mbps": 3.0}
    left = [recorded(store, times, summary, {"n": 1, "x": {"y": 2}}) for times in a]
    right = [recorded(store, times, other if sealed else None, {"n": 2}) for times in b]
    assert_mirrored(compare_runs(left, right), compare_runs(right, left))
    same = compare_runs(left, left)
    assert not same.configuration
    assert {change.verdict for change in same.metrics} <= {Verdict.NOT_SHOWN, Verdict.EQUAL}


def test_deltas_name_what_only_one_side_has_and_what_differs(tmp_path: Path) -> None:
    a = recorded(tmp_path, (), {}, {"list_size": 8, "code": {"n": 4}, "threads": 1}, excludes=("threads",), seed=1)
    b = recorded(tmp_path, (), {}, {"list_size": 16, "extra": None, "more": [1], "threads": 2}, excludes=("threads",))
    comparison = compare_runs(a, b)
    assert [(change.key, change.a, change.b, change.defines) for change in comparison.configuration] == [
        ("configuration.code.n", (4,), (), True),
        ("configuration.list_size", (8,), (16,), True),
        ("configuration.more", (), ("[1]",), True),
        ("configuration.threads", (1,), (2,), False),
        ("seeds.simulation", (1,), (), True),
    ]
    assert not comparison.same_experiment
    assert comparison.obstacles == ("the numbers of threads differ",)
    assert comparison.environment == ()
    json.dumps(comparison.to_json(), allow_nan=False)


def test_other_machines_make_times_incomparable_and_rates_not(tmp_path: Path) -> None:
    a = recorded(tmp_path, range(100, 200), {"frames": 1000, "frame_errors": 1})
    b = recorded(tmp_path, range(300, 400), {"frames": 1000, "frame_errors": 100})
    b.document["machine"]["fingerprint"] = "0" * 16
    comparison = compare_runs(a, b)
    assert [change.key for change in comparison.environment] == ["machine.fingerprint"]
    assert any("fingerprint" in obstacle for obstacle in comparison.obstacles)
    verdicts = {name: change.verdict for name, change in named(comparison).items()}
    assert verdicts["decode_time_ns"] is Verdict.UNFAIR
    assert verdicts["fer"] is Verdict.WORSE
    del b.document["machine"]["fingerprint"]
    assert "not known" in compare_runs(a, b).obstacles[0]


def test_a_slower_decoder_and_a_better_code_are_seen_with_their_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    times = rng.normal(1000, 20, 400).astype(int).tolist()
    slower = (rng.normal(1000, 20, 400) * 1.05).astype(int).tolist()
    a = recorded(tmp_path, times, {"frames": 10_000, "frame_errors": 200})
    b = recorded(tmp_path, slower, {"frames": 10_000, "frame_errors": 100})
    changes = named(compare_runs(a, b))
    time = changes["decode_time_ns"]
    assert time.verdict is Verdict.WORSE
    assert time.effect.low < 1.05 < time.effect.high
    assert time.effect.high - time.effect.low < 0.02
    assert time.p_value < time.p_adjusted < 1e-6
    fer = changes["fer"]
    assert fer.verdict is Verdict.BETTER
    assert fer.effect.low < -0.01 < fer.effect.high < 0


def test_no_errors_on_either_side_and_single_samples_show_nothing(tmp_path: Path) -> None:
    a = recorded(tmp_path, [5], {"frames": 10, "frame_errors": 0, "efficiency": 1.2})
    b = recorded(tmp_path, [9], {"frames": 10_000, "frame_errors": 0, "efficiency": 1.3})
    changes = named(compare_runs(a, b))
    assert (changes["fer"].p_value, changes["fer"].verdict) == (1.0, Verdict.NOT_SHOWN)
    assert changes["fer"].effect.low < 0 < changes["fer"].effect.high
    assert changes["decode_time_ns"].verdict is Verdict.NOT_SHOWN
    assert changes["decode_time_ns"].effect.low is None
    assert changes["efficiency"].verdict is Verdict.UNTESTED
    assert changes["efficiency"].effect.value == pytest.approx(1.3 / 1.2)


def test_four_runs_a_side_are_tested_as_runs(tmp_path: Path) -> None:
    """Samples of one run resemble each other: of runs of the same build each at its own speed, nothing may be shown."""
    rng = np.random.default_rng(3)

    def side(number: int) -> list[Run]:
        speeds = rng.normal(1000, 30, number)
        return [recorded(tmp_path, rng.normal(speed, 1, 200).astype(int).tolist(), {}) for speed in speeds]

    a, b = side(4), side(4)
    one = named(compare_runs(a[0], b[0]))["decode_time_ns"]
    assert one.p_value < 1e-9
    assert one.test.endswith("samples")
    assert any("not by runs" in caution for caution in compare_runs(a[0], b[0]).cautions)
    several = named(compare_runs(a, b))["decode_time_ns"]
    assert several.test == "Mann-Whitney, 4 and 4 runs"
    assert several.verdict is Verdict.NOT_SHOWN
    assert not any("not by runs" in caution for caution in compare_runs(a, b).cautions)


def test_runs_without_records_interrupted_ones_and_other_kinds_compare(tmp_path: Path) -> None:
    a = recorded(tmp_path, (), {"frames": 10, "frame_errors": 1})
    b = recorded(tmp_path, [3, 4, 5])
    c = recorded(tmp_path, (), {"blocks": 10, "blocks_failed": 1, "elapsed_s": 3.0}, kind="reconcile")
    comparison = compare_runs(a, b)
    assert any("1 run(s) interrupted" in caution for caution in comparison.cautions)
    assert named(comparison)["decode_time_ns"].verdict is Verdict.ONE_SIDED
    other = compare_runs(a, c)
    assert "the kinds of run differ" in other.obstacles
    assert other.differing_keys == ("kind",)
    assert compare_runs(b, b).metrics


def test_the_same_frames_on_both_sides_are_said_to_be_so(tmp_path: Path) -> None:
    a = recorded(tmp_path, (), {"frames": 10, "frame_errors": 1}, seed=1)
    b = recorded(tmp_path, (), {"frames": 10, "frame_errors": 1}, seed=1)
    comparison = compare_runs(a, b)
    assert comparison.same_experiment
    assert any("same frames" in caution for caution in comparison.cautions)


def test_a_side_of_several_experiments_or_none_is_refused(tmp_path: Path) -> None:
    runs = [recorded(tmp_path, (), {}, {"n": n}) for n in (1, 2)]
    with pytest.raises(ConfigError, match="2 runs of 2"):
        compare_runs(runs, runs[0])
    with pytest.raises(ConfigError, match="as B, got 0 runs"):
        compare_runs(runs[0], [])


def test_an_unreadable_run_still_compares(tmp_path: Path) -> None:
    a, b = recorded(tmp_path, [1, 2], {}), recorded(tmp_path, [3, 4], {})
    (b.path / "run.json").unlink()
    comparison = compare_runs(a, load_run(b.path))
    assert comparison.b.identity is None
    assert not comparison.same_experiment
    assert any("damaged" in caution for caution in comparison.cautions)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = holm_adjusted(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [adjusted[i] for i in order] == sorted(adjusted)
    if p_values:
        assert min(adjusted) == min(1.0, len(p_values) * min(p_values))


def test_holm_is_right_on_a_worked_example() -> None:
    assert holm_adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm_adjusted([]) == []


def test_the_interval_of_a_median_covers_it_as_often_as_stated() -> None:
    rng = np.random.default_rng(11)
    for count in (6, 40):
        drawn = rng.exponential(1.0, (300, count))
        found = [median_interval(Samples(row)) for row in drawn]
        covered = sum(low <= np.log(2) <= high for low, high in (limits for limits in found if limits))
        assert len(found) == 300
        assert covered >= 273
    assert median_interval(Samples(range(5))) is None
    assert median_interval(Samples(range(6))) == (0.0, 5.0)
    with pytest.raises(ConfigError):
        median_interval(Samples(range(9)), 1.0)


def test_the_interval_of_a_difference_is_that_of_the_source() -> None:
    """Newcombe 1998, table II (a), method 10: 56/70 against 48/80 with Wilson intervals."""
    from scipy.stats import binomtest

    wilson = [binomtest(errors, trials).proportion_ci(method="wilson") for errors, trials in ((48, 80), (56, 70))]
    a, b = ((float(interval.low), float(interval.high)) for interval in wilson)
    assert difference_interval(48 / 80, a, 56 / 70, b) == pytest.approx((0.0524, 0.3339), abs=5e-5)

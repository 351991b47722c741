"""Laws of gates: what is compared, what is a regression, what is said where nothing can be."""

from __future__ import annotations

import json
import math
import random as random_module
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.cli import main
from caligo.errors import ConfigError, StoreError
from caligo.statistics import Proportion, Samples
from caligo.store import RunWriter
from caligo.store.comparing.metrics import Metric
from caligo.store.gating.baselines import set_baseline
from caligo.store.gating.gate_report import Check, Verdict
from caligo.store.gating.gate_rules import Rule, Rules, Test, Unit, parse_rules, parse_share
from caligo.store.gating.gates import Observed, gate, gate_runs


def times(median: float, count: int = 21) -> Metric:
    values = Samples([median * (1.0 + 0.001 * place) for place in range(count)])
    return Metric("decode_time_ns", "ns", "lower", median, None, None, samples=values, figures=Samples([median]))


def rate(successes: int, trials: int, draw: str) -> Metric:
    counts = Proportion(successes, trials)
    value = successes / trials
    return Metric("fer", "", "lower", value, 0.0, 1.0, counts, figures=Samples([value]), draws=((draw, counts),))


def figure(name: str, value: float, better: str = "lower") -> Metric:
    return Metric(name, "", better, value, None, None, figures=Samples([value]))  # type: ignore[arg-type]


def run(name: str, second: int, metrics: Mapping[str, Metric], machine: str | None = "m", group: str = "g") -> Observed:
    moment = f"2025-03-14T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.000Z"
    return Observed(name, moment, group, f"bench {group}", machine, metrics)


def two_sides(
    slower: float, count: int = 12, *, apart: bool = False, machine: str | None = "m"
) -> tuple[list[Observed], list[Observed]]:
    """Runs in turns of a machine that gets slower and faster all the while."""
    noise = random_module.Random(5)
    candidates, baselines = [], []
    for number in range(count):
        drift = 1.0 + 0.2 * math.sin(number)
        base, other = (drift * 1e6 * (1.0 + noise.uniform(-0.01, 0.01)) for _ in range(2))
        baselines.append(run(f"b{number}", 10 * number, {"decode_time_ns": times(base)}))
        second = 50_000 + number if apart else 10 * number + (1 if number % 2 else -1) + 1
        candidates.append(run(f"c{number}", second, {"decode_time_ns": times(slower * other)}, machine))
    return candidates, baselines


def only(checks: tuple[Check, ...]) -> Check:
    assert len(checks) == 1
    return checks[0]


# --- times --------------------------------------------------------------------------------------------------------


def test_a_slowdown_of_runs_in_turns_is_a_regression_whatever_the_drift() -> None:
    report = gate(*two_sides(1.05))
    check = only(report.checks)
    assert report.verdict is Verdict.REGRESSION
    assert "signed ranks of 12 pairs" in check.test
    assert check.ratio == pytest.approx(1.05, abs=0.01)
    assert check.ratio is not None
    assert check.ratio_low is not None
    assert check.p_adjusted is not None
    assert check.resolution is not None
    assert 1.0 < check.ratio_low <= check.ratio
    assert check.p_adjusted <= 0.001
    assert 0.03 < check.resolution < 0.08


def test_no_slowdown_and_one_below_the_minimum_pass() -> None:
    assert gate(*two_sides(1.0)).verdict is Verdict.PASSED
    assert gate(*two_sides(0.8)).verdict is Verdict.PASSED
    check = only(gate(*two_sides(1.025)).checks)
    assert check.verdict is Verdict.PASSED
    assert "less than" in check.why


def test_runs_made_apart_need_a_wide_effect() -> None:
    check = only(gate(*two_sides(1.1, apart=True)).checks)
    assert check.test == "ranks of runs made apart"
    assert check.verdict is Verdict.PASSED
    assert check.min_effect == 0.25
    assert gate(*two_sides(2.0, apart=True)).verdict is Verdict.REGRESSION


def test_a_higher_rate_is_better() -> None:
    def turned(side: list[Observed]) -> list[Observed]:
        return [
            replace(
                each,
                metrics={"coded_mbps:x": figure("coded_mbps:x", 1e9 / each.metrics["decode_time_ns"].value, "higher")},
            )
            for each in side
        ]

    slow, usual = two_sides(1.1)
    assert gate(turned(slow), turned(usual)).verdict is Verdict.REGRESSION
    assert gate(turned(usual), turned(slow)).verdict is Verdict.PASSED


def test_another_machine_is_not_comparable() -> None:
    for machine in ("other", None):
        check = only(gate(*two_sides(1.5, machine=machine)).checks)
        assert check.verdict is Verdict.NOT_COMPARABLE
        assert "other fingerprint" in check.why


def test_too_few_runs_are_not_comparable_and_said_to_be_too_few() -> None:
    for count in (1, 2, 9):
        report = gate(*two_sides(1.5, count))
        assert report.verdict is Verdict.NOT_COMPARABLE
        assert "too few runs" in only(report.checks).why


def test_a_resolution_asked_for_and_not_reached_is_not_comparable() -> None:
    rules = parse_rules('[[metric]]\nname = "decode_time_ns"\nresolution = "3.1%"\nmin_effect = "3%"')
    check = only(gate(*two_sides(1.0), rules).checks)
    assert check.verdict is Verdict.NOT_COMPARABLE
    assert "3.1% asked for; about" in check.why


def test_single_samples_serve_wide_effects_only() -> None:
    rules = Rules().with_times(min_effect=0.5, unit=Unit.SAMPLE)
    slow, usual = two_sides(2.0, 1)
    assert gate(slow, usual, rules).verdict is Verdict.REGRESSION
    assert gate(usual, slow, rules).verdict is Verdict.PASSED
    few = [replace(each, metrics={"decode_time_ns": times(1e6, 2)}) for each in usual]
    assert gate(slow, few, rules).verdict is Verdict.NOT_COMPARABLE
    with pytest.raises(ConfigError, match="depend on each other"):
        Rules().with_times(unit=Unit.SAMPLE)


# --- counts and figures -------------------------------------------------------------------------------------------


def judged(candidate: Metric, baseline: Metric, rules: Rules | None = None, runs: int = 1) -> Check:
    sides = [
        [run(f"{side}{number}", 10 * number + place, {metric.name: metric}) for number in range(runs)]
        for place, (side, metric) in enumerate((("c", candidate), ("b", baseline)))
    ]
    return only(gate(sides[0], sides[1], rules).checks)


def test_frame_error_rates_are_compared_by_counts() -> None:
    assert judged(rate(60, 10_000, "x"), rate(20, 10_000, "y")).verdict is Verdict.REGRESSION
    assert judged(rate(22, 10_000, "x"), rate(20, 10_000, "y")).verdict is Verdict.PASSED
    assert judged(rate(20, 10_000, "x"), rate(60, 10_000, "y")).verdict is Verdict.PASSED
    assert judged(rate(40, 100, "x"), rate(0, 10_000, "y")).verdict is Verdict.REGRESSION
    assert judged(rate(0, 100, "x"), rate(0, 10_000, "y")).ratio == 1.0
    surely_a_little = judged(rate(110_000, 10**7, "x"), rate(100_000, 10**7, "y"))
    assert surely_a_little.verdict is Verdict.PASSED
    assert "110000 of 10000000" in surely_a_little.why


def test_one_draw_of_frames_counts_once_however_many_runs_decoded_it() -> None:
    assert judged(rate(8, 1000, "x"), rate(2, 1000, "y"), runs=10).verdict is Verdict.PASSED


def test_memory_and_leakage_are_exact() -> None:
    assert judged(figure("decoder_bytes", 1001), figure("decoder_bytes", 1000)).verdict is Verdict.REGRESSION
    assert judged(figure("decoder_bytes", 1000), figure("decoder_bytes", 1000)).verdict is Verdict.PASSED
    assert judged(figure("peak_rss_bytes", 1090), figure("peak_rss_bytes", 1000)).verdict is Verdict.PASSED
    assert judged(figure("peak_rss_bytes", 1200), figure("peak_rss_bytes", 1000)).verdict is Verdict.REGRESSION
    assert judged(figure("efficiency", 1.2001), figure("efficiency", 1.2)).verdict is Verdict.REGRESSION
    assert judged(figure("efficiency", 1.19), figure("efficiency", 1.2)).verdict is Verdict.PASSED
    assert (
        judged(figure("allocations_per_decode", 1), figure("allocations_per_decode", 0)).verdict is Verdict.REGRESSION
    )


def test_leakage_that_chance_moves_is_compared_by_ranks() -> None:
    noise = random_module.Random(2)
    sides = [
        [
            run(
                f"{side}{number}",
                2 * number + place,
                {"efficiency": figure("efficiency", mean + noise.uniform(0, 0.01))},
            )
            for number in range(14)
        ]
        for place, (side, mean) in enumerate((("c", 1.25), ("b", 1.2)))
    ]
    assert gate(sides[0], sides[1]).verdict is Verdict.REGRESSION
    assert gate(sides[1], sides[0]).verdict is Verdict.PASSED
    assert gate(sides[0][:2], sides[1][:2]).verdict is Verdict.NOT_COMPARABLE


# --- all together -------------------------------------------------------------------------------------------------


def test_p_values_are_adjusted_over_all_checks() -> None:
    candidates = [run("c", 1, {f"fer:{i}": replace(rate(i % 2, 100, f"c{i}"), name=f"fer:{i}") for i in range(20)})]
    baselines = [run("b", 0, {f"fer:{i}": replace(rate(0, 100, f"b{i}"), name=f"fer:{i}") for i in range(20)})]
    report = gate(candidates, baselines)
    assert all(check.p_adjusted == 1.0 for check in report.checks)
    raw = {check.p_value for check in report.checks}
    assert min(value for value in raw if value is not None) < 0.6


def test_what_has_no_counterpart_is_not_comparable() -> None:
    report = gate([run("c", 1, {"decoder_bytes": figure("decoder_bytes", 1)}, group="h")], [])
    assert report.verdict is Verdict.NOT_COMPARABLE
    assert "no run of this configuration in the baseline" in only(report.checks).why
    both = [run(name, 0, metrics) for name, metrics in (("c", {"efficiency": figure("efficiency", 1)}), ("b", {}))]
    assert "no such metric in the baseline" in only(gate(both[:1], both[1:]).checks).why
    assert gate([], []).verdict is Verdict.NOT_COMPARABLE


def test_the_order_of_runs_does_not_matter() -> None:
    candidates, baselines = two_sides(1.05)
    shuffled = random_module.Random(1)
    expected = gate(candidates, baselines).to_json()
    for _ in range(3):
        shuffled.shuffle(candidates)
        shuffled.shuffle(baselines)
        assert gate(candidates, baselines).to_json() == expected


def test_the_report_is_json_and_markdown() -> None:
    report = gate(*two_sides(1.05))
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["verdict"] == "regression"
    table = report.to_markdown().splitlines()
    assert table[0].startswith("**Gate: regression.**")
    assert table[4].startswith("| regression | decode\\_time\\_ns |")
    infinite = judged(rate(40, 100, "x"), rate(0, 10_000, "y"))
    json.dumps(infinite.to_json(), allow_nan=False)


# --- rules --------------------------------------------------------------------------------------------------------


def test_rules_are_read_and_the_first_that_fits_holds() -> None:
    rules = parse_rules(
        """
        alpha = "1%"
        ignore_configuration = ["threads"]
        [[metric]]
        name = "time_ns:slow*"
        min_effect = "50%"
        [[metric]]
        name = "time_ns:*"
        test = "ignore"
        [[metric]]
        name = "elapsed_s"
        test = "time"
        """
    )
    assert rules.alpha == 0.01
    assert rules.ignore_configuration == ("threads",)
    slow, elapsed = rules.rule("time_ns:slow[1]"), rules.rule("elapsed_s")
    assert slow is not None
    assert elapsed is not None
    assert (slow.test, slow.min_effect) == (Test.TIME, 0.5)
    assert rules.rule("time_ns:fast") is None
    assert elapsed.test is Test.TIME
    assert rules.rule("messages") is None
    assert rules.rule("fer:row 1") == replace(Rule("fer:*", Test.RATE, 0.25))
    assert parse_rules("") == Rules()


@pytest.mark.parametrize(
    "text",
    [
        "alpha = 0",
        "alpha = 0.6",
        "alpha = nan",
        "beta = 1",
        "metric = 3",
        "[[metric]]",
        '[[metric]]\nname = "fer"\ntest = "guess"',
        '[[metric]]\nname = "fer"\nunit = "day"',
        '[[metric]]\nname = "fer"\nmin_effect = "much"',
        '[[metric]]\nname = "fer"\nmin_effect = -1',
        '[[metric]]\nname = "fer"\nquantile = 1.5',
        '[[metric]]\nname = "fer"\nfoo = 1',
        '[[metric]]\nname = "time_ns:*"\nunit = "sample"',
        "ignore_configuration = [1]",
        "alpha = [",
        "a" * 2_000_000,
    ],
)
def test_bad_rules_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="gate rules"):
        parse_rules(text)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_any_text_gives_rules_or_a_refusal(text: str) -> None:
    with suppress(ConfigError):
        parse_rules(text)


@given(st.floats(0, 1e5) | st.integers(0, 1000))
def test_shares_read_as_they_are_written(value: float) -> None:
    assert parse_share(value) == value
    assert parse_share(f"{value}%") == pytest.approx(value / 100.0)


def test_a_rule_that_does_not_suit_its_metric_is_refused() -> None:
    with pytest.raises(ConfigError, match="no counts"):
        judged(
            figure("efficiency", 1),
            figure("efficiency", 1),
            parse_rules('[[metric]]\nname = "efficiency"\ntest = "rate"'),
        )
    neutral = replace(figure("true_qber", 1), better=None)
    rules = parse_rules('[[metric]]\nname = "true_qber"\ntest = "exact"')
    with pytest.raises(ConfigError, match="no value of"):
        judged(neutral, neutral, rules)


# --- runs of a store ----------------------------------------------------------------------------------------------


def sealed(store: Path, errors: int, configuration: dict[str, Any] | None = None, seed: int = 0) -> Path:
    with RunWriter.create(store, "simulate", configuration or {"list_size": 8}, seeds={"s": seed}) as writer:
        writer.seal({"frames": 1000, "frame_errors": errors, "undetected_errors": 0, "decoder_bytes": 5})
    return writer.path


def test_runs_of_a_store_are_gated_by_configuration(tmp_path: Path) -> None:
    good, bad, other = sealed(tmp_path, 3), sealed(tmp_path, 90, seed=1), sealed(tmp_path, 3, {"list_size": 1})
    assert gate_runs([bad], [good]).verdict is Verdict.REGRESSION
    assert gate_runs([other], [good]).verdict is Verdict.NOT_COMPARABLE
    assert gate_runs([other], [good], Rules(ignore_configuration=("list_size",))).verdict is Verdict.PASSED
    report = gate_runs([good], [good])
    assert report.left_out == ((good.name, "it is in the baseline"),)
    assert report.verdict is Verdict.NOT_COMPARABLE
    with RunWriter.create(tmp_path, "simulate", {"list_size": 8}) as unfinished:
        unfinished.interrupt("by the test")
    assert gate_runs([unfinished.path], [good]).left_out == ((unfinished.name, "interrupted, not sealed"),)
    seal = good / "seal.json"
    seal.chmod(0o644)
    seal.write_bytes(seal.read_bytes().replace(b'"frames": 1000', b'"frames": 9000'))
    with pytest.raises(StoreError, match="damaged"):
        gate_runs([bad], [good])


def test_the_command_ends_with_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = sealed(tmp_path, 3), sealed(tmp_path, 90, seed=1)
    other = sealed(tmp_path, 3, {"list_size": 1})
    set_baseline(tmp_path, "usual", runs=[good.name])
    command = ["store", "gate", "--baseline", "usual", "--store", str(tmp_path)]
    assert main([*command, "--run", bad.name]) == 10
    assert "gate: regression" in capsys.readouterr().out
    marker = tmp_path / "told.json"
    hook = f"sh -c 'cat > {marker}; exit 3'"
    assert main([*command, "--run", bad.name, "--json", "--hook", hook, "--hook", "no-such-program"]) == 10
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert [outcome["exit_code"] for outcome in document["hooks"]] == [3, None]
    assert "ended with 3" in told.err
    assert json.loads(marker.read_text())["exit_code"] == 10
    assert main([*command, "--run", other.name]) == 4
    assert "no run of this configuration" in capsys.readouterr().out
    assert main([*command, "--run", other.name, "--allow-missing"]) == 0
    rules = tmp_path / "rules.toml"
    rules.write_text('[[metric]]\nname = "*"\ntest = "ignore"')
    assert main([*command, "--run", bad.name, "--rules", str(rules)]) == 4
    assert "nothing to compare" in capsys.readouterr().err
    rules.write_bytes(b"\xff")
    assert main([*command, "--run", bad.name, "--rules", str(rules)]) == 2
    assert main([*command, "--run", bad.name, "--where", "kind = simulate"]) == 2
    assert main([*command, "--run", bad.name, "--alpha", "2"]) == 2
    assert main([*command, "--run", bad.name, "--hook", "'"]) == 2
    assert main(["store", "gate", "--baseline", "none", "--run", "last", "--store", str(tmp_path)]) == 2
    assert main([*command, "--where", "kind = simulate and configuration.list_size = 8", "--markdown"]) == 10
    assert "| regression | fer |" in capsys.readouterr().out

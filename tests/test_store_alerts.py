"""Laws of alert rules: how they are read, when they fire, and that trying them shows just that."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.cli import main
from caligo.errors import ConfigError
from caligo.statistics import Samples
from caligo.store import RunWriter
from caligo.store.audit.ledger import Ledger
from caligo.store.comparing.metrics import Metric
from caligo.store.gating.alert_rules import AlertRule, Change, Level, parse_alert, parse_alerts
from caligo.store.gating.alerts import Seen, current, judge, tally_alerts
from caligo.store.indexing.flatten import Scalar


def seen(number: int, value: float | None, **row: Scalar) -> Seen:
    samples = None if value is None else Samples([value, 2 * value, 3 * value])
    held = (
        {}
        if value is None
        else {"decode_time_ns": Metric("decode_time_ns", "ns", "lower", value, value / 2, 2 * value, samples=samples)}
    )
    run = f"run{number:03}"
    at = f"2025-03-{1 + number // 24:02}T{number % 24:02}:00:00.000Z"
    return Seen(run, at, {"run": run, "kind": "bench", **row}, lambda: held)


def answers(rule: str, history: list[Seen]) -> str:
    """f, q or u for every judgement."""
    return "".join(judgement.answer.value[0] for judgement in judge([parse_alert(rule)], history))


def test_the_rules_of_the_documentation_are_read() -> None:
    first, second, third = parse_alerts(
        """
        # a comment
        fer > 1e-3 for kind = reconcile
        dear codes: efficiency > 1.2 where list_size = 32

        slow: median(decode_time_ns) rises by 10% against last 20 where machine.fingerprint = same and kind = bench
        """
    )
    assert (first.name, first.metric, first.condition) == (first.text, "fer", Level(">", 1e-3))
    assert (second.name, second.text) == ("dear codes", "efficiency > 1.2 where list_size = 32")
    assert (third.function, third.condition, third.same) == ("median", Change(True, 0.1, 20), ("machine.fingerprint",))
    assert third.where == parse_alert("fer > 1 where kind = bench").where


def test_toml_says_the_same_as_lines() -> None:
    lines = parse_alerts("slow: fer falls by 0.5 against last 3\nfer = 0")
    tables = parse_alerts(
        '[[alert]]\nname = "slow"\nrule = "fer falls by 0.5 against last 3"\n[[alert]]\nrule = "fer = 0"'
    )
    assert lines == tables


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "fer",
        "fer >",
        "fer > many",
        "fer > 1 if kind = bench",
        "fer > 1 for",
        "fer > 1 for kind =",
        "fer > 1 where kind = same",
        "fer > 1e999",
        "best(fer) > 1",
        "fer rises by 0% against last 3",
        "fer rises by 10% against last 0",
        "fer rises by 10% against last 10001",
        "fer rises by 10% against last 99999999999",
        "fer rises by -1% against last 3",
        "a: fer > 1\na: fer > 2",
        "fer > 1\n" * 1001,
        "[[alert]]\nrule = 3",
        '[[alert]]\nrule = "fer > 1"\nextra = 1',
        '[[alert]]\nrule = "fer > 1"\nname = "\\u0007"',
        '[[alert]]\nrule = "fer > 1"\n[other]',
        "[[alert]]\nrule =",
        "x" * 2_000_000,
    ],
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="alert rules"):
        parse_alerts(text)


WORDS = st.sampled_from(
    [
        *(
            "fer",
            "efficiency",
            "machine.fingerprint",
            "`",
            "(",
            ")",
            "median",
            "low",
            "rises",
            "falls",
            "by",
            "against",
        ),
        *("last", "20", "for", "where", "kind", "same", "and", "not", "x", ">", ">=", "=", "1", "1e-3", "10%", ":"),
        *("\n", "#", "[[alert]]", "rule", "'q'", '"'),
    ]
)


@given(st.lists(WORDS, max_size=14).map(" ".join) | st.text(max_size=60))
def test_any_text_gives_rules_or_a_refusal(text: str) -> None:
    with suppress(ConfigError):
        for rule in parse_alerts(text):
            again = parse_alert(rule.text)
            assert (again.metric, again.function, again.condition, again.where) == (
                rule.metric,
                rule.function,
                rule.condition,
                rule.where,
            )


def test_a_level_is_of_each_run_and_the_runs_of_the_filter() -> None:
    history = [seen(0, 1.0), seen(1, 3.0), seen(2, None), seen(3, 3.0, kind="other")]
    assert answers("decode_time_ns > 2", history) == "qfuf"
    assert answers("decode_time_ns > 2 for kind = bench", history) == "qfu"
    assert answers("low(decode_time_ns) > 1.4", history[:2]) == "qf"
    assert answers("high(decode_time_ns) >= 2", history[:2]) == "ff"
    assert answers("max(decode_time_ns) = 3", history[:2]) == "fq"
    assert answers("mean(decode_time_ns) != 2", history[:2]) == "qf"
    assert answers("configuration.x <= 4", [seen(0, 1.0, **{"configuration.x": 4}), seen(1, 1.0)]) == "fu"
    assert answers("x < 4", [seen(0, 1.0, **{"configuration.x": 4})]) == "q"
    with pytest.raises(ConfigError, match="no metric"):
        answers("median(configuration.x) > 4", history)


def test_a_change_is_against_the_median_of_earlier_runs_alone() -> None:
    history = [seen(number, value) for number, value in enumerate([10.0, 10.0, 11.0, 10.9, 12.1, 9.0])]
    assert answers("decode_time_ns rises by 10% against last 2", history) == "uqfqfq"
    assert answers("decode_time_ns rises by 10% against last 4", history) == "uufqfq"
    assert answers("decode_time_ns falls by 10% against last 4", history) == "uuqqqf"
    assert answers("decode_time_ns rises by 1% against last 100", history) == "u" * 6


def test_earlier_runs_share_what_is_to_be_the_same() -> None:
    history = [
        seen(number, 10.0 + 10 * (number % 2), **{"machine.fingerprint": "ab"[number % 2]}) for number in range(8)
    ]
    rule = "decode_time_ns rises by 10% against last 2"
    assert "f" in answers(rule, history)
    assert answers(f"{rule} where machine.fingerprint = same", history) == "uuqqqqqq"


@given(st.lists(st.floats(0.1, 10.0) | st.none(), max_size=20), st.integers(0, 20))
def test_what_comes_later_changes_nothing_and_now_is_the_end_of_history(values: list[float | None], cut: int) -> None:
    rules = parse_alerts("decode_time_ns > 5\nslow: decode_time_ns rises by 20% against last 3")
    history = [seen(number, value) for number, value in enumerate(values)]
    whole = judge(rules, history)
    kept = {each.run for each in history[:cut]}
    assert judge(rules, history[:cut]) == [judgement for judgement in whole if judgement.run in kept]
    newest = history[-1].run if history else ""
    assert current(rules, history) == [judgement for judgement in whole if judgement.run == newest]
    assert current(rules, history, "2025-03-01T05") == [each for each in whole if each.at >= "2025-03-01T05"]


def test_the_tally_adds_up() -> None:
    rules = parse_alerts("a: decode_time_ns > 2\nb: decode_time_ns < 0")
    rows = tally_alerts(rules, judge(rules, [seen(0, 1.0), seen(1, 3.0), seen(2, None)]))
    assert rows[0] == {
        "rule": "a", "text": "decode_time_ns > 2", "judged": 3, "fires": 1, "quiet": 1, "unknown": 1, "share": 0.5,
        "last": "run001",
    }  # fmt: skip
    assert rows[1]["last"] is None
    assert tally_alerts([AlertRule("c", "t", "fer", None, Level(">", 1.0))], [])[0]["share"] is None


def sealed(store: Path, errors: int) -> None:
    with RunWriter.create(store, "simulate", {"n": 1}, seeds={"s": errors}) as writer:
        writer.seal({"frames": 1000, "frame_errors": errors, "undetected_errors": 0})


def test_the_commands_try_check_and_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    for errors in (1, 2, 50):
        sealed(store, errors)
    rules = tmp_path / "rules"
    rules.write_text("bad: fer > 0.01 for kind = simulate\nnever: fer > 1")
    base = ["--rules", str(rules), "--store", str(store)]
    assert main(["store", "alerts", "try", *base, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["fires"] for row in told["rules"]] == [1, 0]
    assert told["runs"] == 3
    assert main(["store", "alerts", "try", *base]) == 0
    assert "  bad\n    0.05 is > 0.01 (" in capsys.readouterr().out
    marker = tmp_path / "marker"
    hook = ["--hook", f"sh -c 'cat > {marker}; exit 1'"]
    for noted in (1, 0):
        assert main(["store", "alerts", "check", *base, "--record", "--json", *hook]) == 10
        assert json.loads(capsys.readouterr().out)["noted"] == noted
    assert json.loads(marker.read_text())["event"] == "alerts"
    marker.unlink()
    entries = [entry.content for entry in Ledger.open(store).entries() if entry.kind == "alert"]
    assert [(entry["name"], entry["value"], entry["against"]) for entry in entries] == [("bad", 0.05, 0.01)]
    sealed(store, 3)
    assert main(["store", "alerts", "check", *base, *hook]) == 0
    assert not marker.exists()
    assert main(["store", "alerts", "check", *base, "--since", "2001-01-01"]) == 10
    assert "fires" in capsys.readouterr().out
    assert main(["store", "alerts", "check", *base, "--since", "yesterday"]) == 2
    rules.write_text("fer >")
    assert main(["store", "alerts", "check", *base]) == 2
    assert main(["store", "alerts", "try", "--rules", str(tmp_path / "none"), "--store", str(store)]) == 4

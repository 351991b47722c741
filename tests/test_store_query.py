"""Laws of the query language: what is read, what is refused and where, and what a condition means."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from caligo.errors import ConfigError
from caligo.store.indexing.conditions import (
    EVERYTHING,
    All,
    Among,
    Column,
    Compare,
    Exists,
    Holds,
    Like,
    Moment,
    Name,
    Not,
    Null,
    Number,
    Query,
    Some,
    Text,
    Truth,
    resolve_filter,
    resolve_query,
)
from caligo.store.indexing.query import DEEPEST, GRAMMAR, LONGEST_QUERY, parse_filter, parse_query
from caligo.store.indexing.selection import arrange, is_like, matches

DAY = Moment("2026-11-01T00:00:00.000Z", "2026-11-02T00:00:00.000Z", "2026-11-01")

ROW: Mapping[str, Any] = {
    "run": "20261128T193554.403Z-simulate-1d140070",
    "kind": "simulate",
    "started_at": "2026-11-28T19:35:54.403Z",
    "id": "12345678",
    "fer": 0.25,
    "records": 500,
    "code.dirty": True,
    "engine.engine": "avx2",
    "summary.note": "a*b",
    "configuration.list_size": 8,
}


def holds(text: str, row: Mapping[str, Any] = ROW) -> bool:
    return matches(parse_filter(text), row)


# --- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", EVERYTHING),
        (" \n ", EVERYTHING),
        ("kind = simulate", Compare(Name("kind"), "=", Text("simulate"))),
        ("kind == 'simulate'", Compare(Name("kind"), "=", Text("simulate"))),
        ("fer<1e-3", Compare(Name("fer"), "<", Number(0.001, "1e-3"))),
        ("a >= -.5", Compare(Name("a"), ">=", Number(-0.5, "-.5"))),
        ("a = 2^20", Compare(Name("a"), "=", Number(1048576.0, "2^20"))),
        ('a = "2"', Compare(Name("a"), "=", Text("2"))),
        (r'a = "say \"x\"\\ \n"', Compare(Name("a"), "=", Text('say "x"\\ \n'))),
        ("started_at >= 2026-11-01", Compare(Name("started_at"), ">=", DAY)),
        ("a = true", Compare(Name("a"), "=", Truth(True))),
        ("a = null", Not(Exists(Name("a")))),
        ("a != null", Exists(Name("a"))),
        ("not a != null", Not(Exists(Name("a")))),
        ("not exists a", Not(Exists(Name("a")))),
        ("a != 1", Not(Compare(Name("a"), "=", Number(1.0, "1")))),
        ("not not code.dirty", Holds(Name("code.dirty"))),
        ("campaign ~ night*", Like(Name("campaign"), "night*")),
        ("campaign !~ 'a b?'", Not(Like(Name("campaign"), "a b?"))),
        ("a in (one-way, 'x', null)", Among(Name("a"), (Text("one-way"), Text("x"), Null()))),
        ("a not in (1)", Not(Among(Name("a"), (Number(1.0, "1"),)))),
        ("a or b and not c", Some((Holds(Name("a")), All((Holds(Name("b")), Not(Holds(Name("c")))))))),
        ("(a or b) and c", All((Some((Holds(Name("a")), Holds(Name("b")))), Holds(Name("c"))))),
        ("`configuration.odd key` = 1", Compare(Name("configuration.odd key"), "=", Number(1.0, "1"))),
        ("summary.codes.0.blocks = 1", Compare(Name("summary.codes.0.blocks"), "=", Number(1.0, "1"))),
        ("interleave and android", All((Holds(Name("interleave")), Holds(Name("android"))))),
    ],
)
def test_a_filter_is_read_as_meant(text: str, expected: object) -> None:
    assert parse_filter(text) == expected


def test_a_query_is_read_as_meant() -> None:
    query = parse_query(
        "list_size, count(), min(fer) as best where kind = simulate "
        "group by list_size order by best desc, count() limit 7"
    )
    assert query.columns == (
        Column(Name("list_size"), None, "list_size"),
        Column(None, "count", "count()"),
        Column(Name("fer"), "min", "best"),
    )
    assert query.where == parse_filter("kind = simulate")
    assert query.group == (Name("list_size"),)
    assert [(key.column.label, key.descending) for key in query.order] == [("best", True), ("count()", False)]
    assert query.limit == 7
    assert parse_query("") == Query()
    assert parse_query("limit 1").limit == 1
    assert parse_query("group by kind").columns == (Column(None, "count", "count()"),)


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("where kind = ", 13, "the end"),
        ("where kind = and b", 14, "'and'"),
        ("fer fer", 5, "'fer'"),
        ("where a < true", 11, "no order"),
        ("where a > null", 11, "no order"),
        ("where a = 2026-13-01", 11, "month"),
        ("where a = 1e999", 11, "finite"),
        ("limit x", 7, "number of rows"),
        ("limit 1e9", 7, "number of rows"),
        ("best(fer)", 1, "count, sum"),
        ("mean()", 1, "a name"),
        ("fer, count()", 1, "mean(fer)"),
        ("count() order by fer", 18, "mean(fer)"),
        ('where a = "b', 11, "a text that ends"),
        ("where 3a = 1", 7, "a name"),
        ("where a.b. = 1", 7, "a name"),
        ("where (a = 1", 13, "')'"),
        ("where a ~ 1 2", 13, "'2'"),
        ("where a ; b", 9, "';'"),
        ("where a in ()", 13, "a name or value"),
        ("a group by", 11, "a name"),
    ],
)
def test_a_refusal_points_at_the_place(text: str, column: int, what: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_query(text)
    first, shown, pointer = refused.value.message.split("\n")
    assert f"column {column}:" in first
    assert what in first
    assert shown[2 : 2 + len(text)] == text
    assert pointer.index("^") == column + 1


def test_a_refusal_shows_the_neighbourhood_of_a_long_query() -> None:
    with pytest.raises(ConfigError) as refused:
        parse_filter(" and ".join(f"a{number} = 1" for number in range(100)) + " and )")
    _, shown, pointer = refused.value.message.split("\n")
    assert shown[pointer.index("^")] == ")"
    assert len(shown) < 120


@pytest.mark.parametrize(
    "text",
    [
        "a = 1 and " * 2000 + "a = 1",
        "(" * (DEEPEST + 1) + "a" + ")" * (DEEPEST + 1),
        "a in (" + ",".join(["1"] * 2500) + ")",
        "a = '\0'",
        "a = '\ud800'",
    ],
)
def test_what_is_too_long_too_deep_or_no_text_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_filter(text)


def test_the_deepest_query_is_read_and_answered() -> None:
    text = "(not " * DEEPEST + "exists kind" + " or a)" * DEEPEST
    assert holds(text) == (DEEPEST % 2 == 0)


KEYWORDS = sorted(set(re.findall(r'"([a-z]+)"', GRAMMAR)))

PIECES = [
    *KEYWORDS,
    *"=~!<>(),`'\"\\ \n",
    "a",
    "fer",
    "1",
    "1e-3",
    "2026-11-01",
    "count",
    "'x'",
    "`y z`",
    "true",
    "é",
    ".",
]


@pytest.mark.parametrize("word", KEYWORDS)
def test_a_word_of_the_language_is_a_value_in_quotes_and_a_name_in_backticks(word: str) -> None:
    assert parse_filter(f"`{word}` = '{word}'") == Compare(Name(word, 0), "=", Text(word))
    with pytest.raises(ConfigError, match=f"got '{word}', a word of the language: put it into quotes"):
        parse_filter(f"kind = {word}")
    with pytest.raises(ConfigError, match=f"got '{word}', a word of the language: put it into backticks"):
        parse_query(f"kind, {word}")


@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join)))
@example("a = " + "9" * 400)
@example("not " * 500 + "a")
@example("a = 1_000")
@example("\u0661 = \u0662")
@example("a = 2^64 or a = 9999^999")
@example("limit \u0663")
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_filter, parse_query):
        with suppress(ConfigError):
            parse(text)


@pytest.mark.parametrize(
    "piece", ["(", "a=1 and ", "not ", "'", "\\", "a,", "a in (1) or ", "`", "1" * 50 + " ", "-", "="]
)
def test_reading_takes_time_in_proportion_to_the_length(piece: str) -> None:
    def seconds(size: int) -> float:
        text = (piece * size)[:size]
        best = float("inf")
        for _ in range(3):
            begin = time.process_time()
            with pytest.raises(ConfigError):
                parse_filter(text + " ;")
            best = min(best, time.process_time() - begin)
        return best

    assert seconds(LONGEST_QUERY - 2) < 64 * max(seconds(LONGEST_QUERY // 8), 1e-3)


# --- meaning ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "fer = 0.25", "fer < 1", "fer <= .25", "fer >= 0.25", "fer > 0.2", "fer != 0.3", "records = 500.0",
        "kind = simulate", "kind < t", "kind > s", "kind != reconcile", "kind in (reconcile, simulate)",
        "kind not in (reconcile)", "kind ~ sim*", "kind ~ '?imulat?'", "kind !~ Sim*",
        "id = 12345678", "id in (12345678)", "nothing in (1, null)",
        "code.dirty", "code.dirty = true", "code.dirty != false", "not nothing", "nothing = null",
        "exists fer", "not exists nothing", "nothing != 1", "nothing not in (1)", "nothing !~ '*'", "not nothing < 1",
        "started_at >= 2026-11-28", "started_at = 2026-11-28", "started_at <= 2026-11-28", "started_at < 2026-11-29",
        "started_at > 2026-11-27", "started_at = 2026-11-28T19:35Z", "started_at = 2026-11-28T19:35:54",
        "started_at = 2026-11-28T19:35:54.403Z", "started_at < 2026-11-28T19:35:54.404", "summary.note = 'a*b'",
        "run ~ 2026*-1d14????", "fer = 0.25 and (kind = x or records > 1)",
    ],
)  # fmt: skip
def test_what_holds(text: str) -> None:
    assert holds(text)
    assert not holds(f"not ({text})")


@pytest.mark.parametrize(
    "text",
    [
        "fer < 0.25", "fer > .25", "fer = '0.25'", "kind = Simulate", "kind < 5", "fer < abc", "fer ~ '*'", "nothing",
        "nothing < 1", "nothing = false", "nothing ~ '*'", "code.dirty = 1", "code.dirty < 2", "records = true",
        "started_at < 2026-11-28", "started_at > 2026-11-28", "started_at = 2026-11-27", "exists nothing", "records",
        "started_at > 2026-11-28T19:35:54.403", "id = 12345678.0", "id > 1", "kind ~ sim", "kind ~ SIM*",
    ],
)  # fmt: skip
def test_what_does_not_hold(text: str) -> None:
    assert not holds(text)


@given(st.text("ab*?", max_size=8), st.text("ab[.", max_size=10))
def test_a_pattern_is_what_its_regular_expression_is(pattern: str, text: str) -> None:
    expression = "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern)
    assert is_like(text, pattern) == bool(re.fullmatch(expression, text, re.DOTALL))


def test_a_pattern_of_many_stars_is_answered_at_once() -> None:
    assert not is_like("a" * 4096, "a*" * 30 + "b")


# --- names --------------------------------------------------------------------------------------------------------

KNOWN = frozenset(
    {"summary.fer", "summary.frames", "configuration.list_size", "summary.list_size", "summary.codes.0.blocks",
     "configuration.qber", "summary.codes.0.qber", "engine.engine"}
)  # fmt: skip


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("fer", "fer"), ("summary.fer", "summary.fer"), ("frames", "summary.frames"), ("qber", "configuration.qber"),
        ("codes.0.qber", "summary.codes.0.qber"), ("engine", "engine.engine"), ("standing", "standing"),
    ],
)  # fmt: skip
def test_a_name_means_itself_or_the_least_nested_one_that_ends_in_it(written: str, meant: str) -> None:
    assert resolve_filter(Exists(Name(written)), KNOWN) == Exists(Name(meant))


def test_a_name_of_several_meanings_is_refused_with_them() -> None:
    text = "kind = x and list_size = 8"
    with pytest.raises(ConfigError, match=r"configuration\.list_size, summary\.list_size") as refused:
        resolve_filter(parse_filter(text), KNOWN, text)
    assert "column 14" in refused.value.message


@pytest.mark.parametrize(
    ("written", "close"), [("frame", "summary.frames"), ("knd", "kind"), ("summary.ferr", "summary.fer")]
)
def test_an_unknown_name_is_refused_with_those_spelled_alike(written: str, close: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean .*{re.escape(close)}"):
        resolve_filter(Exists(Name(written)), KNOWN, written)
    assert resolve_filter(Exists(Name(written)), KNOWN, written, strict=False) == Exists(Name(written))


def test_in_an_empty_store_every_name_stands_for_nothing() -> None:
    assert resolve_filter(parse_filter("summary.fer < 1"), ()) == parse_filter("summary.fer < 1")
    assert resolve_filter(parse_filter("any_name < 1"), {"kind", "run"}) == parse_filter("any_name < 1")


def test_before_any_run_is_sealed_every_name_of_a_summary_stands_for_nothing() -> None:
    assert resolve_filter(Exists(Name("summary.x")), {"configuration.y"}) == Exists(Name("summary.x"))
    with pytest.raises(ConfigError):
        resolve_filter(Exists(Name("summary.x")), {"configuration.y", "summary.z"})


# --- answers ------------------------------------------------------------------------------------------------------

ROWS = [
    {"run": "a", "kind": "x", "fer": 3, "note": "t"},
    {"run": "b", "kind": "y", "fer": 1.5},
    {"run": "c", "kind": "x", "fer": 2, "note": True},
    {"run": "d", "kind": "x"},
    {"run": "e", "fer": "2"},
]


def answered(text: str, rows: list[dict[str, Any]] = ROWS) -> list[tuple[Any, ...]]:
    names = {name for row in ROWS for name in row}
    return arrange(resolve_query(parse_query(text), names, text), rows).rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("run, fer limit 2", [("a", 3), ("b", 1.5)]),
        ("run order by fer", [("b",), ("c",), ("a",), ("e",), ("d",)]),
        ("run order by fer desc", [("e",), ("a",), ("c",), ("b",), ("d",)]),
        ("run order by kind desc, run desc", [("b",), ("d",), ("c",), ("a",), ("e",)]),
        ("run order by note", [("c",), ("a",), ("b",), ("d",), ("e",)]),
        ("count()", [(5,)]),
        ("count(fer), sum(fer), mean(fer), median(fer), min(fer), max(fer)", [(4, 6.5, 6.5 / 3, 2, 1.5, 3)]),
        ("first(note), last(note), min(note), max(kind)", [("t", True, "t", "y")]),
        ("sum(note), mean(note), median(note)", [(None, None, None)]),
        ("count() group by kind", [("x", 3), ("y", 1), (None, 1)]),
        ("max(fer) as most group by kind order by most desc", [(None, "2"), ("x", 3), ("y", 1.5)]),
        ("kind, count() group by kind order by count() desc limit 1", [("x", 3)]),
        ("group by note, kind", [(True, "x", 1), ("t", "x", 1), (None, "x", 1), (None, "y", 1), (None, None, 1)]),
    ],
)
def test_columns_groups_and_order(text: str, rows: list[tuple[Any, ...]]) -> None:
    assert answered(text) == rows


def test_without_runs_there_is_one_count_and_no_group() -> None:
    assert answered("count(), mean(fer)", []) == [(0, None)]
    assert answered("count() group by kind", []) == []
    assert answered("run, fer", []) == []


def test_sums_that_no_number_holds_are_no_values() -> None:
    rows = [{"fer": sys.float_info.max}, {"fer": sys.float_info.max}]
    assert answered("sum(fer), mean(fer), median(fer)", rows) == [(None, None, sys.float_info.max)]

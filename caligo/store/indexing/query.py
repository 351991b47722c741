"""The query language: which runs, which columns, in which groups and order.

Covers: the grammar and the parser. Does not cover: what a parsed query is made of (:mod:`.conditions`),
answering it (:mod:`.selection` over rows in memory, :mod:`.index` over a store).

A *filter* is a condition on one run::

    kind = simulate and summary.fer < 1e-3 and not code.dirty and campaign ~ "night*"

A *query* has columns before it, and groups, order and limit behind it; every part may be left out::

    count(), min(fer), median(coded_mbps) where kind = simulate group by list_size order by min(fer) desc limit 9

``docs/store.md`` describes the language for its users. Any text whatsoever is read, or refused with a ConfigError, in
time proportional to its length.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from caligo.errors import ConfigError
from caligo.store.indexing.conditions import (
    EVERYTHING,
    FUNCTIONS,
    All,
    Among,
    Column,
    Compare,
    Exists,
    Filter,
    Holds,
    Key,
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
    Value,
    refuse,
)

if TYPE_CHECKING:
    from lark import Token

LONGEST_QUERY = 8192
"""Characters."""
MOST_VALUES = 500
"""Names and values in one query."""
DEEPEST = 32
"""Nested brackets."""

GRAMMAR = r"""
filter: or_
query: columns? where? group? order? limit?
columns: column ("," column)*
column: name label?                               -> plain
      | ATOM "(" name? ")" label?                 -> aggregate
label: "as" name
where: "where" or_
group: "group" "by" name ("," name)*
order: "order" "by" key ("," key)*
key: column "asc"?
   | column "desc"                                -> descending
limit: "limit" ATOM

?or_: and_ ("or" and_)*
?and_: not_ ("and" not_)*
?not_: negation | "(" or_ ")" | exists | compare | among | not_among | holds
negation: "not" not_
exists: "exists" name
compare: name OPERATOR value
among: name "in" "(" value ("," value)* ")"
not_among: name "not" "in" "(" value ("," value)* ")"
holds: name

name: ATOM | BACKTICKED
value: ATOM | QUOTED

ATOM: /[A-Za-z0-9_.:+\/*?^%@-]+/
QUOTED: /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/s
BACKTICKED: /`[^`]+`/
OPERATOR: "==" | "=" | "!=" | "<=" | "<" | ">=" | ">" | "!~" | "~"
%ignore /[ \t\r\n]+/
"""
"""The whole language, as lark reads it."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_POWER = re.compile(r"(\d{1,4})\^(\d{1,3})", re.ASCII)
_MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{3}))?)?Z?)?", re.ASCII)
_SCAN = re.compile(r"""(?s)(?P<word>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`|[^\s"'`(),]+)|(?P<sign>\S)""")
_ESCAPES = {"n": "\n", "t": "\t"}
_WORDS = {
    "ATOM": "a name or value",
    "BACKTICKED": "a name",
    "QUOTED": "a text",
    "OPERATOR": "a comparison (= != < <= > >= ~ !~)",
    "COMMA": "','",
    "LPAR": "'('",
    "RPAR": "')'",
    "$END": "the end",
}
"""What to call each kind of token; those that are not here are words of the language."""


class _Misplaced(Exception):
    """Something wrong at a column of the query."""

    def __init__(self, at: int, what: str) -> None:
        super().__init__(what)
        self.at = at
        self.what = what


def parse_filter(text: str) -> Filter:
    """Read a filter.

    Args:
        text: the condition; a blank one is true for every run.

    Returns:
        The filter, with names as written; :func:`.conditions.resolve_filter` finds what they mean.

    Raises:
        ConfigError: it is not a filter; the message points at the place.
    """
    if not text.strip():
        return EVERYTHING
    condition: Filter = _parse(text, "filter")
    return condition


def parse_query(text: str) -> Query:
    """Read a query.

    Args:
        text: columns, where, group by, order by, limit; each may be left out.

    Returns:
        The query, with names as written; :func:`.conditions.resolve_query` finds what they mean.

    Raises:
        ConfigError: it is not a query; the message points at the place.
    """
    if not text.strip():
        return Query()
    query: Query = _parse(text, "query")
    if query.group and not query.columns:
        query = replace(query, columns=(Column(None, "count", "count()"),))
    if query.aggregates:
        _check_aggregates(query, text)
    return query


def _check_aggregates(query: Query, text: str) -> None:
    grouped = {name.text for name in query.group}
    labels = {column.label for column in query.columns}
    keys = [key.column for key in query.order if key.column.label not in labels]
    for column in (*query.columns, *keys):
        if column.function is None and column.name is not None and column.name.text not in grouped:
            name = column.name.text
            raise refuse(
                text,
                column.name.at,
                f"a row stands for several runs here: expected an aggregate such as mean({name}), "
                f"or {name} behind 'group by'; got {name}",
            )


def _parse(text: str, start: str) -> Any:
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken, VisitError

    _check_size(text)
    try:
        return _parser().parse(text, start=start)
    except _Misplaced as error:
        raise refuse(text, error.at, error.what) from None
    except VisitError as error:
        if isinstance(error.orig_exc, _Misplaced):
            raise refuse(text, error.orig_exc.at, error.orig_exc.what) from None
        raise
    except UnexpectedToken as error:
        ended = error.token.type == "$END"
        at = len(text.rstrip()) if ended else error.token.start_pos or 0
        got = "the end" if ended else repr(str(error.token))
        expected, hint = sorted(error.expected), _hint(error.token.type, error.expected)
        raise refuse(text, at, f"expected {_expected(expected)}, got {got}{hint}") from None
    except UnexpectedCharacters as error:
        at = error.pos_in_stream or 0
        what = "a text that ends" if text[at] in "\"'`" else "a name, a value or a sign (a text goes into quotes)"
        raise refuse(text, at, f"expected {what}, got {text[at]!r}") from None


def _hint(got: str, expected: Collection[str]) -> str:
    """How to write a word of the language where a name or a value is expected, if that is what was got."""
    if got in _WORDS or "ATOM" not in expected:
        return ""
    return f", a word of the language: put it into {'backticks' if 'BACKTICKED' in expected else 'quotes'}"


def _expected(terminals: Sequence[str]) -> str:
    words = list(dict.fromkeys(_WORDS.get(terminal, f"'{terminal.lower()}'") for terminal in terminals))
    if "a name or value" in words and "a text" not in words:
        words = ["a name" if word == "a name or value" else word for word in words]
    if "a text" in words:
        words.remove("a text")
    words = list(dict.fromkeys(words))
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _check_size(text: str) -> None:
    """Refuse what is too long or nested too deep before it is parsed."""
    if len(text) > LONGEST_QUERY:
        raise ConfigError(
            f"expected a query of at most {LONGEST_QUERY} characters, got {len(text)}; select by campaign or by time "
            "instead of naming many runs"
        )
    if "\0" in text or not _encodable(text):
        raise ConfigError("expected a query of Unicode text without NUL, got other bytes; quote what is meant")
    depth = words = 0
    for match in _SCAN.finditer(text):
        words += match["word"] is not None
        depth += 1 if match["sign"] == "(" else -1 if match["sign"] == ")" else 0
        if depth > DEEPEST:
            raise refuse(text, match.start(), f"expected at most {DEEPEST} nested brackets, got more")
        if words > 4 * MOST_VALUES:
            raise refuse(text, match.start(), f"expected at most {4 * MOST_VALUES} words, got more; split the query")


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


# --- what the parser builds ---------------------------------------------------------------------------------------


@cache
def _parser() -> Any:
    from lark import Lark, Transformer

    class Build(Transformer[Any, Any]):
        """Builds the query bottom-up while it is parsed."""

        filter = staticmethod(lambda parts: parts[0])
        where = staticmethod(lambda parts: ("where", parts[0]))
        columns = staticmethod(lambda parts: ("columns", tuple(parts)))
        group = staticmethod(lambda parts: ("group", tuple(parts)))
        order = staticmethod(lambda parts: ("order", tuple(parts)))
        limit = staticmethod(lambda parts: ("limit", _row_count(parts[0])))
        query = staticmethod(lambda parts: Query(**dict(parts)))
        plain = staticmethod(_plain)
        aggregate = staticmethod(_aggregate)
        label = staticmethod(lambda parts: parts[0].text)
        key = staticmethod(lambda parts: Key(parts[0]))
        descending = staticmethod(lambda parts: Key(parts[0], True))
        or_ = staticmethod(lambda parts: Some(tuple(parts)))
        and_ = staticmethod(lambda parts: All(tuple(parts)))
        negation = staticmethod(lambda parts: _contrary(parts[0]))
        exists = staticmethod(lambda parts: Exists(parts[0]))
        holds = staticmethod(lambda parts: Holds(parts[0]))
        compare = staticmethod(lambda parts: _comparison(*parts))
        among = staticmethod(lambda parts: Among(parts[0], tuple(map(_value, parts[1:]))))
        not_among = staticmethod(lambda parts: Not(Among(parts[0], tuple(map(_value, parts[1:])))))
        name = staticmethod(lambda parts: _name(parts[0]))
        value = staticmethod(lambda parts: parts[0])

    return Lark(GRAMMAR, parser="lalr", lexer="basic", start=["filter", "query"], transformer=Build())


def _row_count(token: Token) -> int:
    text = str(token)
    if not text.isdecimal() or len(text) > 9:
        raise _Misplaced(token.start_pos or 0, f"expected a number of rows, got {text}")
    return int(text)


def _name(token: Token) -> Name:
    text = str(token)
    if token.type == "BACKTICKED":
        return Name(text[1:-1], token.start_pos or 0)
    if not _NAME.fullmatch(text):
        raise _Misplaced(token.start_pos or 0, f"expected a name (other names go into backticks), got {text}")
    return Name(text, token.start_pos or 0)


def _plain(parts: Sequence[Any]) -> Column:
    name: Name = parts[0]
    return Column(name, None, parts[1] if len(parts) > 1 else name.text)


def _aggregate(parts: Sequence[Any]) -> Column:
    """From a function's token, perhaps a name, perhaps a label (a plain text)."""
    token = parts[0]
    name = next((part for part in parts[1:] if isinstance(part, Name)), None)
    label = next((part for part in parts[1:] if type(part) is str), None)
    function = str(token)
    if function not in FUNCTIONS:
        raise _Misplaced(token.start_pos or 0, f"expected one of {', '.join(FUNCTIONS)}, got {function}")
    if name is None and function != "count":
        raise _Misplaced(token.start_pos or 0, f"expected a name in {function}(...), got none")
    return Column(name, function, label or f"{function}({name.text if name else ''})")


def _contrary(condition: Filter) -> Filter:
    return condition.inner if isinstance(condition, Not) else Not(condition)


def _comparison(name: Name, sign: Token, token: Token) -> Filter:
    operator = "=" if str(sign) == "==" else str(sign)
    if operator in ("~", "!~"):
        like = Like(name, _quoted(token) if token.type == "QUOTED" else str(token))
        return like if operator == "~" else Not(like)
    value = _value(token)
    if operator in ("=", "!="):
        condition: Filter = Not(Exists(name)) if isinstance(value, Null) else Compare(name, "=", value)
        return condition if operator == "=" else _contrary(condition)
    if isinstance(value, (Truth, Null)):
        raise _Misplaced(token.start_pos or 0, f"{token} has no order: expected = or !=, got {operator}")
    return Compare(name, operator, value)


def _quoted(token: Token) -> str:
    return re.sub(r"(?s)\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), str(token)[1:-1])


def _value(token: Token) -> Value:
    """What a word stands for: true, false, null, a number, a time, else a text; a quoted one is always a text."""
    text = str(token)
    if token.type == "QUOTED":
        return Text(_quoted(token))
    if text in ("true", "false"):
        return Truth(text == "true")
    if text == "null":
        return Null()
    power = _POWER.fullmatch(text)
    if power is not None and int(power[2]) <= 64:
        return Number(float(int(power[1]) ** int(power[2])), text)
    if _NUMBER.fullmatch(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise _Misplaced(token.start_pos or 0, f"expected a finite number, got {text}")
        return Number(number, text)
    moment = _MOMENT.fullmatch(text)
    return Text(text) if moment is None else _moment(token, moment.groups())


def _moment(token: Token, parts: Sequence[str | None]) -> Moment:
    year, month, day, hour, minute, second, millisecond = (int(part or 0) for part in parts)
    try:
        begin = datetime(year, month, day, hour, minute, second, 1000 * millisecond)
    except ValueError as error:
        raise _Misplaced(token.start_pos or 0, f"expected a time (UTC), got {token}: {error}") from None
    given = sum(part is not None for part in parts)
    length = {3: timedelta(days=1), 5: timedelta(minutes=1), 6: timedelta(seconds=1), 7: timedelta(milliseconds=1)}
    try:
        end = _stamp(begin + length[given])
    except OverflowError:
        end = "9999-12-31T24:00:00.000Z"
    return Moment(_stamp(begin), end, str(token))


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds") + "Z"

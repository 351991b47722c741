"""A page as Markdown, for a notebook, an issue or a terminal; as JSON, for programs.

Covers: both forms, without any library. Does not cover: plots as pictures; Markdown has their descriptions, JSON has
their points. HTML is :mod:`caligo.reports.html`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from caligo.reports.figures import Scalar, shown
from caligo.reports.model import SCHEMA, Fact, PageModel, Section, Table

_SPECIAL = re.compile(r"[\\`*_{}\[\]<>#|~!&$]")


def escape(text: str) -> str:
    """Text that means nothing in Markdown; every special character of ASCII may stand behind a backslash there."""
    return _SPECIAL.sub(lambda match: "\\" + match[0], text)


def _code(text: str) -> str:
    """Text as code, whatever backticks it has."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") or not text else ""
    return f"{fence}{space}{text}{space}{fence}"


def render_markdown(page: PageModel) -> str:
    """The page as Markdown (CommonMark with tables), ended by one line feed.

    Args:
        page: what it says.
    """
    lines = [f"<!-- {SCHEMA} -->", "", f"# {escape(shown(page.title))}", "", escape(shown(page.subtitle)), ""]
    lines += _fact_lines(page.facts)
    for section in page.sections:
        lines += _section_lines(section)
    if page.written_at:
        lines += [f"Written {escape(page.written_at)}.", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _section_lines(section: Section) -> Iterator[str]:
    yield from (f"## {escape(shown(section.title))}", "")
    for paragraph in section.paragraphs:
        yield from (escape(shown(paragraph)), "")
    yield from _fact_lines(section.facts)
    for plot in section.plots:
        yield from (f"**{escape(shown(plot.title))}.** {escape(shown(plot.description))}", "")
    for table in section.tables:
        yield from _table_lines(table)
    for command, meaning in section.commands:
        yield from (f"- {_code(shown(command))} – {escape(shown(meaning))}",)
    if section.commands:
        yield ""


def _fact_lines(facts: tuple[Fact, ...]) -> Iterator[str]:
    for fact in facts:
        rest = "; ".join(escape(text) for text in (fact.interval, shown(fact.note)) if text)
        yield f"- {escape(shown(fact.label))}: **{escape(fact.text)}**" + (f" ({rest})" if rest else "")
    if facts:
        yield ""


def _table_lines(table: Table) -> Iterator[str]:
    yield from (f"**{escape(shown(table.caption))}**", "")
    yield "| " + " | ".join(escape(shown(column.label)) for column in table.columns) + " |"
    yield "|" + "|".join("---:" if numeric else "---" for numeric in table.numeric_columns()) + "|"
    for row in table.rows:
        cells = (escape(column.text(value)) for column, value in zip(table.columns, row, strict=True))
        yield "| " + " | ".join(cells) + " |"
    yield ""
    if table.rest:
        yield from (escape(table.rest), "")


def render_json(page: PageModel) -> str:
    """The page as one JSON object, ended by one line feed; its shape is that of the model.

    Args:
        page: what it says.
    """
    return json.dumps({"schema": SCHEMA, **page_document(page)}, indent=1, allow_nan=False) + "\n"


def page_document(page: PageModel) -> dict[str, Any]:
    """The page as plain values: the model, with the text of each fact and cell beside its value."""
    document: dict[str, Any] = {
        "page": page.kind,
        "title": page.title,
        "subtitle": page.subtitle,
        "facts": [_fact(fact) for fact in page.facts],
        "sections": [_section(section) for section in page.sections],
    }
    if page.written_at:
        document["written_at"] = page.written_at
    return document


def _section(section: Section) -> dict[str, Any]:
    return {
        "name": section.name,
        "title": section.title,
        "paragraphs": list(section.paragraphs),
        "facts": [_fact(fact) for fact in section.facts],
        "plots": [_finite(asdict(plot)) for plot in section.plots],
        "tables": [_table(table) for table in section.tables],
        "commands": [{"command": command, "meaning": meaning} for command, meaning in section.commands],
    }


def _fact(fact: Fact) -> dict[str, Any]:
    document = _finite(asdict(fact))
    del document["as_given"]
    return {**document, "text": fact.text, "interval": fact.interval}


def _table(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "caption": table.caption,
        "columns": [{"name": column.name, "label": column.label, "unit": column.unit} for column in table.columns],
        "rows": [[_finite(value) for value in row] for row in table.rows],
        "texts": [[column.text(value) for column, value in zip(table.columns, row, strict=True)] for row in table.rows],
        "left_out": table.left_out,
        "rest": table.rest,
    }


def _finite(value: Scalar | Any) -> Any:
    """The value with null for what JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return value

"""What a page says, before it has a form: sections of facts, tables and plots.

Covers: the values that every form of a page is made of. Does not cover: where they come from (`runs`,
`comparisons`, `stores`), how they look (`html`, `markdown`).

A page's HTML, Markdown and JSON are made of one :class:`PageModel`, so that they cannot say different things. What does
not apply to a run has no fact, table, plot or section.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from caligo.reports.figures import Scalar, exact, figure, number, shown

SCHEMA = "caligo.report/1"
"""What a page's JSON names as its schema, and its other forms as what made them."""

PageKind = Literal["run", "comparison", "store"]
SeriesStyle = Literal["line", "points", "steps", "bars", "stack", "intervals"]
Scale = Literal["linear", "log", "log2"]


@dataclass(frozen=True)
class Fact:
    """One named value.

    Attributes:
        name: what a program calls it.
        label: what a person calls it.
        value: the value; None where there is none although it applies.
        unit: as :func:`caligo.reports.figures.figure` takes it.
        low: lower end of the 95 % interval, in the unit; None without one.
        high: upper end.
        note: what has to be said about it.
        as_given: show it digit by digit, not rounded.
    """

    name: str
    label: str
    value: Scalar
    unit: str = ""
    low: float | None = None
    high: float | None = None
    note: str = ""
    as_given: bool = False

    @property
    def text(self) -> str:
        """The value, to be read."""
        return exact(self.value) if self.as_given else figure(self.value, self.unit)

    @property
    def interval(self) -> str:
        """The interval, to be read; empty without one."""
        if self.low is None or self.high is None:
            return ""
        return f"95 % interval {figure(self.low, self.unit)} to {figure(self.high, self.unit)}"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: what a program calls it.
        label: its head.
        unit: of its figures.
        as_given: show values digit by digit.
        code: identifiers: names, hashes, codes.
    """

    name: str
    label: str
    unit: str = ""
    as_given: bool = False
    code: bool = False

    def text(self, value: Scalar) -> str:
        """A cell, to be read."""
        return exact(value) if self.as_given else figure(value, self.unit)


@dataclass(frozen=True)
class Table:
    """Rows of values.

    Attributes:
        name: what a program calls it.
        caption: what it shows.
        columns: its columns; the first one names the row.
        rows: as many values each as there are columns.
        left_out: rows that there are beyond those shown.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Scalar, ...], ...]
    left_out: int = 0

    @property
    def rest(self) -> str:
        """What is said of the rows that are not shown; empty where there are none."""
        return f"{number(self.left_out)} more are not shown." if self.left_out else ""

    def numeric_columns(self) -> list[bool]:
        """Of each column, whether it holds numbers, which are set flush right."""
        found = []
        for index in range(len(self.columns)):
            values = [row[index] for row in self.rows if row[index] is not None]
            numbers = [isinstance(value, (int, float)) and not isinstance(value, bool) for value in values]
            found.append(bool(values) and all(numbers))
        return found


@dataclass(frozen=True)
class Axis:
    """One axis of a plot.

    Attributes:
        label: what it measures.
        unit: as :func:`caligo.reports.figures.figure` takes it, shown at the ticks or behind the label; `date` for
            days since 1970, or `count` for whole numbers.
        scale: of the axis; `log2` has powers of two at its ticks.
        categories: names at 0, 1, 2, ...; empty for a measure.
    """

    label: str
    unit: str = ""
    scale: Scale = "linear"
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Series:
    """Values that belong together.

    Attributes:
        label: for the legend.
        style: how they are drawn. `intervals` have `low` and `high` along the x axis at the category y.
        x: places, in the unit of the axis.
        y: as many.
        low: lower ends, as many, or none.
        high: upper ends, as many, or none.
    """

    label: str
    style: SeriesStyle
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Reference:
    """A line across a plot, to compare with.

    Attributes:
        label: for the legend.
        at: its place.
        axis: which axis the place is on.
    """

    label: str
    at: float
    axis: Literal["x", "y"]


@dataclass(frozen=True)
class Plot:
    """Series over two axes.

    Attributes:
        name: what a program calls it; unique on a page.
        title: what it shows.
        description: what is to be seen on it, with its main figures: for those who do not see it.
        x: horizontal axis.
        y: vertical axis.
        series: what is drawn, first at the back.
        references: lines to compare with.
    """

    name: str
    title: str
    description: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True)
class Section:
    """One part of a page.

    Attributes:
        name: what a program calls it; unique on a page.
        title: its heading.
        paragraphs: plain text before anything else.
        facts: named values.
        as_cards: show the facts large, as key figures, not as a table.
        plots: plots.
        tables: tables.
        commands: command lines that a reader may type, with what each does.
    """

    name: str
    title: str
    paragraphs: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    as_cards: bool = False
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    commands: tuple[tuple[str, str], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not (self.paragraphs or self.facts or self.plots or self.tables or self.commands)


@dataclass(frozen=True)
class PageModel:
    """All that a page says.

    Attributes:
        kind: what it is about.
        title: its title.
        subtitle: one line below it.
        sections: in reading order, without empty ones.
        facts: what heads the page.
        written_at: when the page was made, as UTC text; empty where the same store is to give the same page.
    """

    kind: PageKind
    title: str
    subtitle: str
    sections: tuple[Section, ...]
    facts: tuple[Fact, ...] = field(default=())
    written_at: str = ""

    def plots(self) -> Iterator[Plot]:
        """All plots, in reading order."""
        for section in self.sections:
            yield from section.plots

    def texts(self) -> Iterator[str]:
        """Every text that each form of the page has to have, as it is read there, before escaping."""
        yield shown(self.title)
        yield shown(self.subtitle)
        for fact in self.facts:
            yield from _fact_texts(fact)
        for section in self.sections:
            yield shown(section.title)
            yield from map(shown, section.paragraphs)
            for fact in section.facts:
                yield from _fact_texts(fact)
            for plot in section.plots:
                yield from (shown(plot.title), shown(plot.description))
            for table in section.tables:
                yield shown(table.caption)
                yield from (shown(column.label) for column in table.columns)
                for row in table.rows:
                    yield from (column.text(value) for column, value in zip(table.columns, row, strict=True))
                yield from filter(None, [table.rest])
            for command, meaning in section.commands:
                yield from (shown(command), shown(meaning))


def _fact_texts(fact: Fact) -> Iterator[str]:
    yield from (shown(fact.label), fact.text)
    yield from filter(None, (fact.interval, shown(fact.note)))


__all__ = [
    "SCHEMA",
    "Axis",
    "Column",
    "Fact",
    "PageKind",
    "PageModel",
    "Plot",
    "Reference",
    "Section",
    "Series",
    "Table",
]

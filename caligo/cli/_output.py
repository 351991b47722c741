"""What commands print: one JSON object for programs; tables, facts and a progress bar for people.

Covers: standard output (results) and standard error (messages, progress). Does not cover: what is printed, which the
command decides; logs and traces, which are `caligo.telemetry`.

Only results go to standard output. A progress bar is drawn only when standard error is a terminal.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any

import click

from caligo.telemetry import NO_PROGRESS, Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

JSON_EMITTED = "caligo.json_emitted"
"""Key in the click context's `meta`, set once a command has printed its JSON object."""

_UNBOUNDED_WIDTH = 400


def _plain(value: Any, foreign: Callable[[Any], Any] | None) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Enum):
        return _plain(value.value, foreign)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item, foreign) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, foreign) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "dtype") and hasattr(value, "tolist"):  # a NumPy scalar or array
        return _plain(value.tolist(), foreign)
    if foreign is not None:
        return foreign(value)
    raise TypeError(f"{type(value).__name__} has no place in a JSON result")


def to_json(schema: str, document: Mapping[str, Any], *, foreign: Callable[[Any], Any] | None = None) -> dict[str, Any]:
    """A document ready for `json.dumps`: `schema` first, NaN and infinities null, NumPy scalars and paths plain.

    Args:
        schema: name and version, as `caligo.reconcile/1`.
        document: nested mappings, sequences, numbers, strings, paths, NumPy scalars and arrays.
        foreign: turns anything else into a JSON value; None refuses it.

    Returns:
        A new dictionary.

    Raises:
        TypeError: the document holds something else and `foreign` is None.
    """
    plain = _plain(document, foreign)
    plain.pop("schema", None)
    return {"schema": schema, **plain}


def emit_json(schema: str, document: Mapping[str, Any], *, foreign: Callable[[Any], Any] | None = None) -> None:
    """Print the command's one JSON object: on one line, or indented when standard output is a terminal."""
    indent = 2 if sys.stdout.isatty() else None
    text = json.dumps(to_json(schema, document, foreign=foreign), allow_nan=False, indent=indent)
    click.echo(text)
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[JSON_EMITTED] = True


def message(text: str) -> None:
    """One line for people, on standard error; on a terminal wrapped as :func:`print_wrapped` does."""
    print_wrapped(text, err=True)


def print_wrapped(text: str, *, label: str = "", color: str | None = None, err: bool = False) -> None:
    """Print one line; on a terminal wrapped between words and indented from the second line on, elsewhere as it is.

    Args:
        text: the line.
        label: words before it, in bold.
        color: of the label.
        err: print to standard error.
    """
    whole = label + text
    lines = [whole]
    if (sys.stderr if err else sys.stdout).isatty():
        indent = " " * (len(whole) - len(whole.lstrip()) + 2)
        lines = _wrapped(whole, shutil.get_terminal_size().columns, indent)
    if label and lines[0].startswith(label):
        lines[0] = click.style(label, fg=color, bold=True) + lines[0].removeprefix(label)
    for line in lines:
        click.echo(line, err=err)


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of a text, broken between words and never inside one, so that a path can be copied."""
    lines = textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return lines or [""]


def warn(text: str) -> None:
    """One warning, on standard error, wrapped as a message is."""
    print_wrapped(text, label="warning: ", color="yellow", err=True)


def _console(*, err: bool = False) -> Console:
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    # A pipe or file has no width: nothing may be cut off there.
    width = None if stream.isatty() else _UNBOUNDED_WIDTH
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def format_value(value: object) -> str:
    """A number for people: thousands separated, four significant digits, `-` for nothing."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "-"
        if value != 0 and not 1e-4 <= abs(value) < 1e15:
            return f"{value:.3g}"
        decimals = 0 if value == 0 else max(0, 3 - math.floor(math.log10(abs(value))))
        return f"{value:,.{decimals}f}"
    return str(value)


def many(count: int, one: str, several: str = "") -> str:
    """A count and what is counted: `1 run`, `2 runs`; the plural where it is more than the singular and an s."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def printable(text: str) -> str:
    """Text that cannot steer a terminal: control characters written out."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def print_leakage(leakage: Mapping[str, int], by_alice: int, by_both: int, key_bits: int) -> None:
    """What was disclosed, as a table on standard output.

    Args:
        leakage: bits by kind; kinds without any are left out.
        by_alice: sum of Alice's.
        by_both: these and Bob's.
        key_bits: of the key.
    """
    table = Table("disclosed", ">bits", ">share of the key", title="What was leaked")
    kinds = [(kind, leaked) for kind, leaked in leakage.items() if leaked]
    for name, leaked in (*kinds, ("by Alice", by_alice), ("by both", by_both)):
        table.add(name, leaked, f"{leaked / key_bits:.3%}")
    table.print()


def outcome_text(ok: int, blocks: int, failures: Mapping[str, int]) -> str:
    """How many blocks are reconciled, and what became of the others.

    Args:
        ok: reconciled blocks.
        blocks: all.
        failures: what happened, as `failed the check`, to how many.
    """
    others = [f"{count:,} {what}" for what, count in failures.items() if count]
    return ", ".join([f"{ok:,} of {many(blocks, 'block')} reconciled", *others])


def talk_text(messages: int, rounds_mean: float, rounds_max: int) -> str:
    """How much was said."""
    return f"{many(messages, 'message')}, {rounds_mean:.2f} requests per block, {rounds_max:,} at most"


def efficiency_text(efficiency: float | None, strategy: str, blocks_failed: int) -> str:
    """What the reconciled blocks cost, and that others did too."""
    if efficiency is None:
        return "-"
    beside = f"; of the reconciled blocks alone, not of {blocks_failed:,} that failed" if blocks_failed else ""
    return f"{efficiency:.4f} times the Shannon limit, {strategy}{beside}"


def checks_text(check: str, leakage: Mapping[str, int]) -> str:
    """The checks of a block: its own, those of its segments."""
    checks = [check] if check != "none" else []
    if leakage.get("segment_check"):
        checks.append("a check for each segment")
    return " and ".join(checks) or "no check"


def account_text(account: str, pair: tuple[float, float] | None) -> str:
    """Which account to rely on, and why if it is not the usual one."""
    if pair is None:
        return account
    return f"{account}, since codes are for {pair[0]:.3%} at Bob's 0 and {pair[1]:.3%} at his 1"


def format_bytes(count: float | None) -> str:
    """A number of bytes in binary units, as `43.2 MiB`."""
    if count is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024 or unit == "TiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def list_sizes(escalation: Sequence[int], list_size: int) -> str:
    """The list sizes a decoder tries, as `1, 4, 32`."""
    return ", ".join(map(str, (*escalation, list_size)))


def format_seconds(seconds: float | None) -> str:
    """A duration in a unit that suits it, as `12.3 ms`."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if abs(seconds) >= scale:
            return f"{format_value(float(seconds / scale))} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def cut(text: str, width: int) -> str:
    """Printable text of so many characters at most, with three dots where others were."""
    text = printable(text)
    return text if len(text) <= width else f"{text[: width - 3]}..."


class Table:
    """A table for people on standard output.

    Args:
        columns: headings; one that starts with `>` is right-aligned (numbers), without it left-aligned (words).
        title: a line above, or None.

    Cells may be anything :func:`format_value` takes; strings are printed as they are.
    """

    def __init__(self, *columns: str, title: str | None = None) -> None:
        self._columns = columns
        self._title = title
        self._rows: list[list[str]] = []

    def add(self, *cells: object) -> None:
        """Append one row, a cell for each column."""
        if len(cells) != len(self._columns):
            raise ValueError(f"a row of {len(cells)} cells in a table of {len(self._columns)} columns")
        self._rows.append([format_value(cell) for cell in cells])

    def print(self) -> None:
        """Write the table to standard output."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(
            title=Text(self._title) if self._title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
        )
        for heading in self._columns:
            right = heading.startswith(">")
            table.add_column(
                Text(heading.removeprefix(">")), justify="right" if right else "left", no_wrap=right, overflow="fold"
            )
        for row in self._rows:
            table.add_row(*(Text(cell) for cell in row))
        console = _console()
        with console.capture() as drawn:
            console.print(table)
        for line in drawn.get().splitlines():
            click.echo(line.rstrip())


def print_columns(
    lines: Sequence[tuple[str, ...]],
    *,
    right: Collection[int] = (),
    headings: int = 1,
    styles: Mapping[tuple[int, int], str | None] | None = None,
) -> None:
    """Print aligned columns, two spaces apart, on standard output: narrower than a :class:`Table`, never wrapped.

    Args:
        lines: cells; a line of one cell alone does not widen its column.
        right: columns that are right-aligned.
        headings: how many lines, from the first, are headings.
        styles: colours of cells, by line and column.
    """
    widths = [0] * max(map(len, lines))
    for line in lines:
        for column, cell in enumerate(line if len(line) > 1 else ()):
            widths[column] = max(widths[column], len(cell))
    for number, line in enumerate(lines):
        cells = []
        for column, (cell, width) in enumerate(zip(line, widths, strict=False)):
            aligned = cell.rjust(width) if column in right else cell.ljust(width)
            color = (styles or {}).get((number, column))
            blank = aligned if column + 1 < len(line) else aligned.rstrip()
            cells.append(click.style(blank, fg=color) if color else blank)
        text = "  ".join(cells).rstrip()
        click.echo(click.style(text, bold=True) if number < headings else text)


def print_facts(facts: Mapping[str, object], *, title: str | None = None) -> None:
    """Print names and values in two aligned columns on standard output.

    On a terminal a long value is wrapped between words, never inside one, so that a path can be copied.
    """
    if title:
        click.echo(click.style(title, bold=True))
    indent = "  " if title else ""
    width = max(map(len, facts), default=0) + 2
    room = max(20, shutil.get_terminal_size().columns - len(indent) - width) if sys.stdout.isatty() else None
    for name, value in facts.items():
        text = format_value(value)
        lines = _wrapped(text, room) if room else [text]
        click.echo((indent + click.style(name.ljust(width), dim=True) + lines[0]).rstrip())
        for line in lines[1:]:
            click.echo(" " * (len(indent) + width) + line)


def format_figure(name: str, value: float) -> str:
    """A figure beside a progress bar: its name and value, sizes and shares (`_bytes`, `_share`) as people say them."""
    if name.endswith("_bytes"):
        return f"{name.removesuffix('_bytes').replace('_', ' ')} {format_bytes(value)}"
    if name.endswith("_share"):
        return f"{name.removesuffix('_share').replace('_', ' ')} {value:.1%}"
    return f"{name.replace('_', ' ')} {format_value(value)}"


class _Bar:
    """A rich progress bar on standard error, drawn from `start` on; the figures of `advance` are shown behind it."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._drawn = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", markup=False),
            console=_console(err=True),
            transient=True,
            expand=True,
        )
        self._task: TaskID | None = None

    def start(self, description: str, total: int | None, unit: str) -> None:
        if self._task is not None:
            self._drawn.remove_task(self._task)
        self._task = self._drawn.add_task(description, total=total, note="")
        self._drawn.start()

    def advance(self, count: int = 1, **figures: float) -> None:
        if self._task is None:
            return
        if figures:
            note = "  ".join(format_figure(name, value) for name, value in figures.items())
            self._drawn.update(self._task, advance=count, note=note)
        else:
            self._drawn.update(self._task, advance=count)

    def finish(self) -> None:
        self._drawn.stop()


@contextmanager
def progress(
    description: str | None = None, total: int | None = None, enabled: bool = True, unit: str = ""
) -> Iterator[Progress]:
    """A progress bar while the body runs.

    Args:
        description: what is being done, two or three words; None where the work itself calls `start`.
        total: units of work in all; None when it is not known.
        enabled: False draws nothing; neither does a standard error that is not a terminal.
        unit: name of a unit, such as `blocks`.

    Yields:
        The listener to hand to the work; its `advance` may be called from any thread.
    """
    listener: Progress = _Bar() if enabled and sys.stderr.isatty() else NO_PROGRESS
    if description is not None:
        listener.start(description, total, unit)
    try:
        yield listener
    finally:
        listener.finish()

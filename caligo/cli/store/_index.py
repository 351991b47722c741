"""What the commands over the index share: options, messages about an index, tables of values.

Covers: `--index`, `--where`, `--csv`, CSV and tables. Does not cover: what is asked of the index.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from caligo.cli._output import Table, message, printable

if TYPE_CHECKING:
    from caligo.store.indexing.flatten import Scalar
    from caligo.store.indexing.index import Refreshed

Command = TypeVar("Command", bound=Callable[..., Any])


def index_option(function: Command) -> Command:
    """Adds `index: str | None`."""
    return click.option(
        "--index",
        metavar="URL",
        help="Index to use: a file, or postgresql://...  [default: $CALIGO_INDEX, else a file in the user's cache]",
    )(function)


def csv_option(function: Command) -> Command:
    """Adds `as_csv: bool`."""
    return click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values, headings first.")(function)


def refuse_both(as_json: bool, as_csv: bool) -> None:
    """Refuse `--json` beside `--csv`.

    Raises:
        click.UsageError: both are given.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")


def print_csv(labels: Sequence[str], rows: Sequence[Sequence[Scalar | None]]) -> None:
    """Comma-separated values (RFC 4180, but for the line ends): numbers with every digit, true and false, nothing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(labels)
    writer.writerows([exact(value) for value in row] for row in rows)
    click.echo(out.getvalue(), nl=False)


def exact(value: Scalar | None) -> str:
    """A value with every digit; empty where there is none."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value)


def print_table(labels: Sequence[str], rows: Sequence[Sequence[Scalar | None]]) -> None:
    """A table for people; columns without any text are right-aligned."""
    texts = [any(isinstance(row[number], str) for row in rows) for number in range(len(labels))]
    table = Table(*(label if text else f">{label}" for label, text in zip(labels, texts, strict=True)))
    for row in rows:
        table.add(*(printable(value) if isinstance(value, str) else value for value in row))
    table.print()


def tell_problems(refreshed: Refreshed) -> None:
    """A message where a ledger could not be read: standings are then as they were."""
    if refreshed.ledger_problem:
        message(f"the standing of runs may be out of date: {printable(refreshed.ledger_problem)}")

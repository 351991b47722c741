"""Groups of commands that load a command when it is named, so that help and completion are quick.

Covers: finding, suggesting and listing commands of a table. Does not cover: what commands there are; each group says.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True)
class Entry:
    """One command of a table.

    Args:
        attribute: name of the click object in its module.
        help: line in the group's help.
        module: its module, within the package; empty: named as the command, `_` for `-`.
    """

    attribute: str
    help: str
    module: str = ""


class LazyGroup(click.Group):
    """A group whose subcommands are imported when they are named, never to print help.

    Args:
        package: where the modules of the commands lie.
        table: command -> where it is; listed in this order.
    """

    def __init__(self, *arguments: Any, package: str, table: Mapping[str, Entry], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._package = package
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every subcommand, in the order of the help page."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one subcommand."""
        entry = self._table.get(cmd_name)
        if entry is None:
            return None
        module = f"{self._package}.{entry.module or cmd_name.replace('-', '_')}"
        command = getattr(importlib.import_module(module), entry.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{entry.attribute} is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand, or suggest the one that was meant."""
        name = args[0]
        if name not in self._table and not name.startswith("-") and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, self._table, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Commands: {', '.join(self._table)}."
            ctx.fail(f"No such command '{name}'. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self._table.items()])

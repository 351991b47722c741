"""`caligo alice`: the reference side of two machines."""

from __future__ import annotations

from caligo.cli._party import party_command

command = party_command("alice")

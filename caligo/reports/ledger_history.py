"""What the ledgers of a store say over time: how much was entered, and what validation found each time.

Covers: one pass over every entry of every ledger, and the sections made of it. Does not cover: whether a ledger is
intact, which `caligo store ledger verify` finds; a page only says where it stands.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from caligo.errors import LedgerCorruptError, StoreError
from caligo.reports.figures import Scalar, number
from caligo.reports.model import Axis, Column, Plot, Section, Series, Table
from caligo.store.audit.ledger import ledgers
from caligo.store.audit.merkle import Frontier
from caligo.store.audit.notes import CHECKPOINT_FILE

_MOST_VALIDATIONS = 400
_MOST_SHOWN = 20
_MOST_CODES = 100
_DAY_S = 86400.0


@dataclass(frozen=True)
class ValidationSeen:
    """One entry of kind ``validation``.

    Attributes:
        at: when, UTC text.
        runs: how many were looked at.
        findings: how many there were.
        by_code: how many of each code.
    """

    at: str
    runs: int | None
    findings: int
    by_code: dict[str, int]


@dataclass(frozen=True)
class LedgerHistory:
    """One ledger, read through.

    Attributes:
        origin: identity of the ledger.
        size: entries.
        root: root hash over them; empty where the ledger cannot be read to its end.
        last_at: when the last entry was made.
        kinds: entries of each kind.
        validations: the newest ones, oldest first.
        checkpoint: size of the largest checkpoint beside it; None without one.
        problem: why it cannot be read to its end; empty when it can.
    """

    origin: str
    size: int
    root: str
    last_at: str
    kinds: dict[str, int]
    validations: tuple[ValidationSeen, ...]
    checkpoint: int | None
    problem: str = ""


def read_ledgers(store: Path) -> list[LedgerHistory]:
    """Every ledger of a store, its own first; empty where there is none.

    Args:
        store: its directory.
    """
    try:
        found = ledgers(store)
    except (StoreError, LedgerCorruptError):
        return []
    histories = []
    for ledger in found:
        frontier, kinds, last_at, size, problem = Frontier(), Counter[str](), "", 0, ""
        validations: list[ValidationSeen] = []
        try:
            for entry in ledger.entries():
                frontier.append(entry.leaf)
                kinds[entry.kind] += 1
                last_at, size = entry.at, size + 1
                if entry.kind == "validation":
                    validations.append(_validation(entry.at, entry.content))
                    del validations[:-_MOST_VALIDATIONS]
        except (StoreError, LedgerCorruptError) as error:
            problem = error.message
        if size or problem:
            root = "" if problem else frontier.root().hex()
            histories.append(
                LedgerHistory(
                    ledger.origin, size, root, last_at, dict(sorted(kinds.items())), tuple(validations),
                    _largest_checkpoint(ledger.directory), problem,
                )
            )  # fmt: skip
    return histories


def _largest_checkpoint(directory: Path) -> int | None:
    try:
        names = [name for name in os.listdir(directory / "checkpoints") if CHECKPOINT_FILE.fullmatch(name)]
    except OSError:
        return None
    return max((int(name[:9]) for name in names), default=None)


def _validation(at: str, content: Mapping[str, Any]) -> ValidationSeen:
    listed = content.get("by_code")
    by_code = {
        str(code): count
        for code, count in sorted(listed.items() if isinstance(listed, dict) else ())[:_MOST_CODES]
        if isinstance(count, int)
    }
    runs, findings = content.get("runs"), content.get("findings")
    return ValidationSeen(
        at,
        runs if isinstance(runs, int) else len(runs) if isinstance(runs, (list, dict)) else None,
        findings if isinstance(findings, int) else sum(by_code.values()),
        by_code,
    )


def where_ledgers_stand(histories: Sequence[LedgerHistory]) -> Section:
    """Size, root and checkpoint of each ledger, and what its entries are."""
    if not histories:
        return Section("ledgers", "Audit ledger")
    kinds = sorted({kind for history in histories for kind in history.kinds})
    standing = Table(
        "ledgers",
        "Where each ledger stands; the store's own first",
        (
            Column("origin", "Ledger", code=True),
            Column("size", "Entries"),
            Column("last_at", "Last entry"),
            Column("checkpoint", "Largest checkpoint"),
            Column("root", "Root hash", code=True),
        ),
        tuple((h.origin, h.size, h.last_at or None, h.checkpoint, h.root or None) for h in histories[:_MOST_SHOWN]),
        max(0, len(histories) - _MOST_SHOWN),
    )
    entries = Table(
        "ledger-entries",
        "Entries of each kind, over all ledgers",
        (Column("kind", "Kind"), Column("entries", "Entries")),
        tuple((kind, sum(history.kinds.get(kind, 0) for history in histories)) for kind in kinds[:_MOST_CODES]),
    )
    return Section(
        "ledgers",
        "Audit ledger",
        (
            "Keep a checkpoint where whoever can write this store cannot: only then will a ledger that was cut, "
            "or written anew, be told from one that was not.",
            *(f"Ledger {h.origin} cannot be read to its end: {h.problem}" for h in histories if h.problem),
        ),
        tables=(standing, entries),
        commands=(("caligo store ledger verify", "reads every ledger and holds it against the checkpoints beside it"),),
    )


def validation_section(histories: Sequence[LedgerHistory]) -> Section:
    """What validation found the last time, and how that changed over time."""
    seen = sorted((validation for history in histories for validation in history.validations), key=lambda v: v.at)
    if not seen:
        return Section("validation", "Validation")
    last = seen[-1]
    shown = seen[: -_MOST_SHOWN - 1 : -1]
    runs = Table(
        "validations",
        "Validations, the newest first",
        (Column("at", "When"), Column("runs", "Runs"), Column("findings", "Findings"), Column("codes", "Codes")),
        tuple((v.at, v.runs, v.findings, _codes(v.by_code)) for v in shown),
        len(seen) - len(shown),
    )
    codes: list[Table] = []
    if last.by_code:
        often = sorted(last.by_code.items(), key=lambda item: (-item[1], item[0]))
        columns = (Column("code", "Code", code=True), Column("count", "Findings"))
        codes.append(Table("findings-by-code", "Findings of the last validation", columns, tuple(often)))
    return Section(
        "validation",
        "Validation",
        (f"The last one, at {last.at}, had {number(last.findings)} finding(s).",),
        plots=tuple(filter(None, [_drift(seen)])),
        tables=(*codes, runs),
    )


def _codes(by_code: Mapping[str, int]) -> Scalar:
    return ", ".join(f"{code} {number(count)}" for code, count in by_code.items()) or None


def _drift(seen: Sequence[ValidationSeen]) -> Plot | None:
    """Findings of each validation over time, with the most frequent codes."""
    timed = [(days, each) for each in seen[-_MOST_VALIDATIONS:] if (days := _days(each.at)) is not None]
    if len(timed) < 2:
        return None
    codes = sum((Counter(each.by_code) for _, each in timed), Counter[str]())
    often = [code for code, _ in sorted(codes.items(), key=lambda item: (-item[1], item[0]))[:4]]
    x = tuple(days for days, _ in timed)
    series = [Series("all findings", "steps", x, tuple(float(each.findings) for _, each in timed))]
    series += [Series(code, "steps", x, tuple(float(each.by_code.get(code, 0)) for _, each in timed)) for code in often]
    first, last = timed[0][1], timed[-1][1]
    return Plot(
        name="validation-drift",
        title="Findings of validations over time",
        description=(
            f"{number(len(timed))} validations, from {number(first.findings)} finding(s) at {first.at} to "
            f"{number(last.findings)} at {last.at}."
        ),
        x=Axis("validated (UTC)", "date"),
        y=Axis("findings", "count"),
        series=tuple(series),
    )


def _days(at: str) -> float | None:
    try:
        return datetime.fromisoformat(at).timestamp() / _DAY_S
    except ValueError:
        return None

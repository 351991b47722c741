"""The experiment store: plain files that say what was run, how it went, and whether they are still what was written.

Covers: writing a run (:class:`RunWriter`), listing, finding, loading, selecting and verifying runs; each name is loaded
on first use, so that a command that lists does not load what writes. Does not cover: decoding (the store never
decodes) and what has a module of its own: comparison, the index, the audit ledger.

The shape on disk is a contract: ``specs/run-directory.md``. Key material never enters a store;
:mod:`caligo.store.values` refuses what could hold it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caligo.store.findings import Code, Finding, Severity
    from caligo.store.indexing.index import select_runs
    from caligo.store.layout import default_store
    from caligo.store.reader import Run, RunInfo, State, find_run, list_runs, load_run
    from caligo.store.writer import RunWriter

__all__ = [
    "Code",
    "Finding",
    "Run",
    "RunInfo",
    "RunWriter",
    "Severity",
    "State",
    "default_store",
    "find_run",
    "list_runs",
    "load_run",
    "select_runs",
]

_HOME = {
    "Code": "findings",
    "Finding": "findings",
    "Run": "reader",
    "RunInfo": "reader",
    "RunWriter": "writer",
    "Severity": "findings",
    "State": "reader",
    "default_store": "layout",
    "find_run": "reader",
    "list_runs": "reader",
    "load_run": "reader",
    "select_runs": "indexing.index",
}
"""Public name -> the module of this package that defines it."""


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value

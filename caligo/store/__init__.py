"""The experiment store: plain files that say what was run, how it went, and whether they are still what was written.

Covers: writing a run (:class:`RunWriter`), listing, finding, loading and verifying runs. Does not cover: decoding
(the store never decodes), comparison, the index, the audit ledger.

The shape on disk is a contract: ``specs/run-directory.md``. Key material never enters a store;
:mod:`caligo.store.values` refuses what could hold it.
"""

from caligo.store.findings import Code, Finding, Severity
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
]

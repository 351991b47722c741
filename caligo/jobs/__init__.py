"""Jobs: keys in, reconciled keys and a record out.

Covers: planning (:mod:`.plan`, pure), running on threads (:mod:`.runner`), the reconcile job (:mod:`.reconcile_job`)
with what goes in (:mod:`.options`, :mod:`.sources`) and what comes out (:mod:`.outputs`, :mod:`.report`), one party's
job (:mod:`.party_job`, :mod:`.party_terms`, :mod:`.conversation`, :mod:`.party_report`).
Does not cover: decoding (:mod:`caligo.reconciliation`), the form of key files (:mod:`caligo.keys`) and of records
(:mod:`caligo.store`), many ranks (:mod:`caligo.cluster`).

The public names are loaded on first use: a rank of a job needs nothing of two parties that talk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caligo.jobs.options import ReconcileOptions
    from caligo.jobs.party_job import Party, reconcile_party
    from caligo.jobs.party_report import PartyReport
    from caligo.jobs.party_terms import PartyOptions
    from caligo.jobs.reconcile_job import reconcile
    from caligo.jobs.report import CodeUse, ReconciliationReport

__all__ = [
    "CodeUse",
    "Party",
    "PartyOptions",
    "PartyReport",
    "ReconcileOptions",
    "ReconciliationReport",
    "reconcile",
    "reconcile_party",
]

_HOME = {
    "CodeUse": "report",
    "Party": "party_job",
    "PartyOptions": "party_terms",
    "PartyReport": "party_report",
    "ReconcileOptions": "options",
    "ReconciliationReport": "report",
    "reconcile": "reconcile_job",
    "reconcile_party": "party_job",
}
"""Public name -> the module of this package that defines it."""


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'caligo.jobs' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"caligo.jobs.{home}"), name)
    globals()[name] = value
    return value

"""Jobs: keys in, reconciled keys and a record out.

Covers: planning (:mod:`.plan`, pure), running on threads (:mod:`.runner`), the reconcile job (:mod:`.reconcile_job`)
with what goes in (:mod:`.options`, :mod:`.sources`) and what comes out (:mod:`.outputs`, :mod:`.report`), one party's
job (:mod:`.party_job`, :mod:`.conversation`, :mod:`.party_report`).
Does not cover: decoding (:mod:`caligo.reconciliation`), the form of key files (:mod:`caligo.keys`) and of records
(:mod:`caligo.store`), many ranks (:mod:`caligo.cluster`).
"""

from __future__ import annotations

from caligo.jobs.options import ReconcileOptions
from caligo.jobs.party_job import Party, PartyOptions, reconcile_party
from caligo.jobs.party_report import PartyReport
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

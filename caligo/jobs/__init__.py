"""Jobs: keys in, reconciled keys and a record out.

Covers: planning (:mod:`.plan`, pure), running on threads (:mod:`.runner`), the reconcile job (:mod:`.reconcile_job`)
with what goes in (:mod:`.options`, :mod:`.sources`) and what comes out (:mod:`.outputs`, :mod:`.report`).
Does not cover: decoding (:mod:`caligo.reconciliation`), the form of key files (:mod:`caligo.keys`) and of records
(:mod:`caligo.store`), many ranks (:mod:`caligo.cluster`).
"""

from __future__ import annotations

from caligo.jobs.options import ReconcileOptions
from caligo.jobs.reconcile_job import reconcile
from caligo.jobs.report import CodeUse, ReconciliationReport

__all__ = ["CodeUse", "ReconcileOptions", "ReconciliationReport", "reconcile"]

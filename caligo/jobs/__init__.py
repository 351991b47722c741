"""Jobs: keys in, reconciled keys and a record out.

Covers: planning (:mod:`.plan`, pure), running on threads (:mod:`.runner`), the reconcile job (:mod:`.reconcile_job`).
Does not cover: decoding (:mod:`caligo.reconciliation`), the form of key files (:mod:`caligo.keys`) and of records
(:mod:`caligo.store`), many ranks (:mod:`caligo.cluster`).
"""

from __future__ import annotations

from caligo.jobs.reconcile_job import CodeUse, ReconcileOptions, ReconciliationReport, reconcile

__all__ = ["CodeUse", "ReconcileOptions", "ReconciliationReport", "reconcile"]

"""Taking runs out of a store in the formats of others.

Covers: the list of formats, :func:`export_runs`. Does not cover: the formats themselves, one module each. A run that is
damaged is not exported: what leaves the store is what was recorded.

Every export is a directory that appears whole, or not at all; the same runs give the same bytes.
"""

from __future__ import annotations

from caligo.store.export.package import FORMATS, Export, export_runs

__all__ = ["FORMATS", "Export", "export_runs"]

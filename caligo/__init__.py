"""Information reconciliation for quantum key distribution.

Two parties hold sifted keys that differ in a few per cent of places; caligo makes them equal, counts every bit that was
disclosed on the way, and records what was done.

Covers: the public names, loaded on first use. Does not cover: anything else; `import caligo` loads neither the command
line, nor MPI, nor Numba, nor SciPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caligo.bench import StrategyComparison, compare_strategies
    from caligo.codes import PolarCode, design_code, efficiency_for_target_fer, expected_fer
    from caligo.errors import CaligoError
    from caligo.jobs import (
        Party,
        PartyOptions,
        PartyReport,
        ReconcileOptions,
        ReconciliationReport,
        reconcile,
        reconcile_party,
    )
    from caligo.keys import read_secret, simulate_pair
    from caligo.reconciliation.authentication import CallerChannel, PresharedKey
    from caligo.reconciliation.codecs import PolarCodec
    from caligo.simulation import AwgnChannel, BscChannel, simulate
    from caligo.store import list_runs, load_run
    from caligo.transports import DirectoryTransport, TcpTransport

__version__ = "0.1.0"

__all__ = [
    "AwgnChannel",
    "BscChannel",
    "CaligoError",
    "CallerChannel",
    "DirectoryTransport",
    "Party",
    "PartyOptions",
    "PartyReport",
    "PolarCode",
    "PolarCodec",
    "PresharedKey",
    "ReconcileOptions",
    "ReconciliationReport",
    "StrategyComparison",
    "TcpTransport",
    "__version__",
    "compare_strategies",
    "design_code",
    "efficiency_for_target_fer",
    "expected_fer",
    "list_runs",
    "load_run",
    "read_secret",
    "reconcile",
    "reconcile_party",
    "simulate",
    "simulate_pair",
]

_HOME = {
    "AwgnChannel": "caligo.simulation",
    "BscChannel": "caligo.simulation",
    "CaligoError": "caligo.errors",
    "CallerChannel": "caligo.reconciliation.authentication",
    "DirectoryTransport": "caligo.transports",
    "Party": "caligo.jobs",
    "PartyOptions": "caligo.jobs",
    "PartyReport": "caligo.jobs",
    "PolarCode": "caligo.codes",
    "PolarCodec": "caligo.reconciliation.codecs",
    "PresharedKey": "caligo.reconciliation.authentication",
    "ReconcileOptions": "caligo.jobs",
    "ReconciliationReport": "caligo.jobs",
    "StrategyComparison": "caligo.bench",
    "TcpTransport": "caligo.transports",
    "compare_strategies": "caligo.bench",
    "design_code": "caligo.codes",
    "efficiency_for_target_fer": "caligo.codes",
    "expected_fer": "caligo.codes",
    "list_runs": "caligo.store",
    "load_run": "caligo.store",
    "read_secret": "caligo.keys",
    "reconcile": "caligo.jobs",
    "reconcile_party": "caligo.jobs",
    "simulate": "caligo.simulation",
    "simulate_pair": "caligo.keys",
}
"""Public name -> the module that defines it."""


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'caligo' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Information reconciliation for quantum key distribution.

Two parties hold sifted keys that differ in a few per cent of places; caligo makes them equal, counts every bit that was
disclosed on the way, and records what was done.

Covers: the public names, loaded on first use. Does not cover: anything else; `import caligo` loads neither the command
line, nor MPI, nor Numba, nor SciPy.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

# public name -> the module that defines it
_HOME: dict[str, str] = {
    "AwgnChannel": "caligo.simulation",
    "BscChannel": "caligo.simulation",
    "PolarCode": "caligo.codes",
    "PolarCodec": "caligo.reconciliation.codecs",
    "ReconcileOptions": "caligo.jobs",
    "ReconciliationReport": "caligo.jobs",
    "design_code": "caligo.codes",
    "efficiency_for_target_fer": "caligo.codes",
    "expected_fer": "caligo.codes",
    "reconcile": "caligo.jobs",
    "simulate": "caligo.simulation",
}

__all__ = [  # noqa: PLE0604
    "__version__",
    *_HOME,
]


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

"""Who may import whom: the table of docs/architecture.md, held against every source file.

Covers: arrows between rooms, the modules that alone may name a heavy dependency, the modules that must stay pure, the
Rust files that may name pyo3, and what `import caligo` loads. Does not cover: what a function does at run time.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "caligo"

# Room -> what it may import besides itself and `errors`. A dotted entry allows that module only.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "bits": set(),
    "states": set(),
    "quantities": set(),
    "channel": set(),
    "statistics": set(),
    "randomness": {"_native"},
    "telemetry": set(),
    "_native": set(),
    "codes": {"_native", "bits", "channel", "randomness"},
    "keys": {"bits", "states", "channel", "randomness"},
    "memory": {"_native"},
    "reconciliation": {"codes", "_native", "bits", "states", "channel", "statistics", "randomness", "telemetry"},
    "simulation": {"reconciliation", "codes", "channel", "statistics", "randomness"},
    "store": {"channel", "statistics", "telemetry"},
    "transports": {"reconciliation.messages", "reconciliation.wire"},
    "jobs": {
        "_native",
        "bits",
        "states",
        "quantities",
        "channel",
        "codes",
        "randomness",
        "reconciliation",
        "simulation",
        "keys",
        "memory",
        "statistics",
        "store",
        "telemetry",
        "transports",
    },
    "cluster": {"quantities", "jobs", "memory", "telemetry"},
    "reports": {"store", "channel", "statistics"},
}  # fmt: skip
EVERYTHING_BELOW_CLI = set(ALLOWED) | {"bench", "doctor"}
ALLOWED["bench"] = ALLOWED["doctor"] = EVERYTHING_BELOW_CLI
ALLOWED["__init__"] = EVERYTHING_BELOW_CLI
ALLOWED["cli"] = EVERYTHING_BELOW_CLI
ALLOWED["__main__"] = {"cli"}
ROOMS = set(ALLOWED)

# Dependency -> the only modules (prefixes) that may import it.
HOMES = {
    "mpi4py": ("cluster.mpi",),
    "numba": ("reconciliation.codecs.reference",),
    "scipy": ("statistics",),
    "ruptures": ("store.comparing.change_points",),
    "jinja2": ("reports.html",),
    "click": ("cli",),
    "rich": ("cli",),
}

# Modules without I/O, clock, environment or randomness.
PURE = (
    "quantities",
    "jobs.forecast", "jobs.plan", "jobs.schedule_simulation", "jobs.scheduling", "memory.budget",
    "reconciliation.authentication", "reconciliation.endpoint",
    "reconciliation.link", "reconciliation.messages", "reconciliation.parties", "reconciliation.session",
    "reconciliation.tracking", "reconciliation.wire",
)  # fmt: skip
IMPURE_IMPORTS = {
    "asyncio", "datetime", "fcntl", "glob", "io", "logging", "mmap", "multiprocessing", "os", "pathlib", "random",
    "resource", "secrets", "select", "shutil", "signal", "socket", "subprocess", "sys", "tempfile", "threading", "time",
    "uuid", "caligo.randomness", "caligo.telemetry", "numpy.random",
}  # fmt: skip
# The decoder never writes files.
FILELESS = ("reconciliation.codecs",)
FILE_IMPORTS = {"fcntl", "glob", "io", "mmap", "os", "pathlib", "shutil", "tempfile"}
IMPURE_CALLS = {"open", "input", "print"}


@dataclass(frozen=True)
class Import:
    target: str  # absolute dotted name
    line: int
    module_level: bool


def imports_of(module: str, tree: ast.Module, *, is_package: bool) -> Iterator[Import]:
    """Every import of a module, inside functions and `if TYPE_CHECKING` too, as absolute dotted names."""
    nested = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        module_level = node not in nested
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, module_level)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                above = parts[: len(parts) - node.level + (1 if is_package else 0)]
                base = ".".join([*above, base]) if base else ".".join(above)
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", node.lineno, module_level)


def within(name: str, prefixes: tuple[str, ...] | set[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """What a module, named as ``caligo.room.module``, does against the rules."""
    tree = ast.parse(source)
    inner = module.removeprefix("caligo").removeprefix(".") or "__init__"
    room = inner.split(".")[0]
    found: list[str] = []
    if room not in ROOMS:
        return [f"{module}: {room!r} is not a room of the import table"]
    for item in imports_of(module, tree, is_package=is_package):
        at = f"{module}:{item.line}"
        top = item.target.split(".")[0]
        if top == "caligo":
            target = item.target.removeprefix("caligo").removeprefix(".")
            target_room = target.split(".")[0]
            if target in {"", "__version__"} or target_room in {room, "errors"}:
                pass
            elif target_room not in ROOMS:
                found.append(f"{at}: {item.target} is imported through the public package; import it from its room")
            elif target_room == "cli" and room != "__main__":
                found.append(f"{at}: nothing imports cli")
            elif not within(target, ALLOWED[room]):
                found.append(f"{at}: {room} may not import {target}")
        if top in HOMES and not within(inner, HOMES[top]):
            found.append(f"{at}: {top} may be imported in {', '.join(HOMES[top])} alone")
        if top == "scipy" and item.module_level:
            found.append(f"{at}: scipy is imported inside functions, so that importing caligo stays light")
        if within(inner, PURE) and within(item.target, IMPURE_IMPORTS):
            found.append(f"{at}: a pure module may not import {item.target}")
        if within(inner, FILELESS) and within(item.target, FILE_IMPORTS):
            found.append(f"{at}: the decoder never touches files, so it may not import {item.target}")
    if within(inner, PURE + FILELESS):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
                found.append(f"{module}:{node.lineno}: a module without I/O may not call {node.func.id}()")
            if (
                within(inner, PURE)
                and isinstance(node, ast.Attribute)
                and node.attr == "random"
                and isinstance(node.value, ast.Name)
                and node.value.id in {"np", "numpy"}
            ):
                found.append(f"{module}:{node.lineno}: a pure module may not use numpy.random")
    return found


def rust_violations(path: str, source: str) -> list[str]:
    """``path`` relative to the crate's ``src``: pyo3 and the numpy crate are named under ``python`` alone."""
    if path == "python.rs" or path.startswith("python/"):
        return []
    found = []
    for number, line in enumerate(source.splitlines(), 1):
        code = line.split("//")[0]
        if re.search(r"\bpyo3\b|\bnumpy::", code):
            found.append(f"src/{path}:{number}: pyo3 is named under src/python alone")
    return found


def module_name(path: Path) -> str:
    parts = list(path.relative_to(REPOSITORY).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def python_sources() -> list[Path]:
    return sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")])


def test_every_import_is_an_arrow_of_the_table() -> None:
    found = [
        line
        for path in python_sources()
        for line in violations(module_name(path), path.read_text(), is_package=path.stem == "__init__")
    ]
    assert not found, "\n".join(found)


def test_the_architecture_page_shows_this_very_table() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    table = page[page.index("| room | may import |") :].split("\n\n")[0]
    shown: dict[str, set[str]] = {}
    for line in table.splitlines()[2:]:
        rooms, allowed = (re.findall(r"`([\w.]+)`", cell) for cell in line.strip("|").split("|"))
        shown |= {room: set(allowed) for room in rooms}
    in_words = {"bench", "doctor", "cli"}
    assert in_words <= shown.keys()
    entries = in_words | {"__init__", "__main__"}
    assert {room: shown[room] for room in shown if room not in in_words} == {
        room: allowed for room, allowed in ALLOWED.items() if room not in entries
    }


def test_pyo3_is_named_under_src_python_alone() -> None:
    root = PACKAGE / "_native" / "src"
    sources = sorted(root.rglob("*.rs"))
    assert sources
    found = [line for path in sources for line in rust_violations(path.relative_to(root).as_posix(), path.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("caligo.bits", "from caligo.codes import design_code", "bits may not import codes.design_code"),
        ("caligo.bits", "from caligo import codes", "bits may not import codes"),
        ("caligo.bits", "def f():\n    import caligo.store", "bits may not import store"),
        ("caligo.bits", "from .channel import binary_entropy", "bits may not import channel"),
        (
            "caligo.bits",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import caligo.keys",
            "may not import keys",
        ),
        ("caligo.store.runs", "from ..reconciliation import codecs", "store may not import reconciliation"),
        ("caligo.transports.tcp", "from caligo.reconciliation.parties import Alice", "transports may not import"),
        ("caligo.errors", "import caligo.bits", "errors may not import bits"),
        ("caligo.jobs.run", "from caligo.cli import main", "nothing imports cli"),
        ("caligo.doctor", "import caligo.cli.main", "nothing imports cli"),
        ("caligo.codes.design", "from caligo import PolarCode", "through the public package"),
        ("caligo.cluster.slurm", "from mpi4py import MPI", "mpi4py may be imported in cluster.mpi alone"),
        ("caligo.reconciliation.codecs.polar", "import numba", "numba may be imported in"),
        ("caligo.channel", "def f():\n    from scipy.stats import norm", "scipy may be imported in statistics alone"),
        ("caligo.statistics", "import scipy.stats", "scipy is imported inside functions"),
        ("caligo.jobs.run", "import rich.table", "rich may be imported in cli alone"),
        ("caligo.jobs.plan", "import os.path", "a pure module may not import os.path"),
        ("caligo.jobs.plan", "from time import monotonic", "a pure module may not import time.monotonic"),
        ("caligo.jobs.scheduling", "import datetime", "a pure module may not import datetime"),
        ("caligo.jobs.scheduling", "import numpy as np\nnp.random.default_rng()", "may not use numpy.random"),
        ("caligo.reconciliation.parties", "from caligo import randomness", "may not import caligo.randomness"),
        ("caligo.memory.budget", "def f():\n    return open('/proc/meminfo')", "may not call open()"),
        ("caligo.reconciliation.codecs.polar", "from pathlib import Path", "never touches files"),
        ("caligo.utils", "", "is not a room"),
    ],
)
def test_an_offending_source_is_found(module: str, source: str, expected: str) -> None:
    found = violations(module, source)
    assert len(found) == 1, found
    assert expected in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("caligo.bits", "from caligo.errors import ShapeError\nimport numpy"),
        ("caligo.store.runs", "from caligo import __version__\nfrom . import ledger\nfrom caligo.store.x import y"),
        ("caligo.cluster.mpi", "from mpi4py import MPI\nfrom caligo.jobs import plan"),
        ("caligo.statistics", "def f():\n    import scipy.stats"),
        ("caligo.cli.reconcile", "import click\nimport rich\nfrom caligo.jobs.run import reconcile"),
        ("caligo.transports.tcp", "from caligo.reconciliation.messages import Message"),
        ("caligo.transports.tcp", "from caligo.reconciliation import messages"),
        ("caligo.jobs.plan", "import math\nfrom dataclasses import dataclass"),
        ("caligo.__main__", "from caligo.cli import main"),
    ],
)
def test_a_lawful_source_passes(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_a_rust_file_that_names_pyo3_is_found() -> None:
    assert rust_violations("decoder.rs", "use pyo3::prelude::*;")
    assert rust_violations("simd/avx2.rs", "fn f(a: numpy::PyArray1<u8>) {}")
    assert not rust_violations("python/error.rs", "use pyo3::prelude::*;")
    assert not rust_violations("lib.rs", "// pyo3 lives in python.rs\nmod python;")


def test_relative_imports_resolve_from_packages_and_modules() -> None:
    tree = ast.parse("from . import a\nfrom .b import c\nfrom ..d import e")
    for module, is_package in [("caligo.keys.npy", False), ("caligo.keys", True)]:
        targets = [item.target for item in imports_of(module, tree, is_package=is_package)]
        assert targets == ["caligo.keys.a", "caligo.keys.b.c", "caligo.d.e"]


HEAVY = ("click", "rich", "scipy", "numba", "mpi4py", "matplotlib", "caligo.cli")


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    return set(done.stdout.split())


def test_importing_caligo_loads_nothing_heavy() -> None:
    assert loaded_after("import caligo") == set()


def test_using_every_public_name_loads_nothing_heavy() -> None:
    assert loaded_after("import caligo\nfor name in caligo.__all__: getattr(caligo, name)") == set()


def test_the_heaviness_probe_sees_what_is_loaded() -> None:
    assert "click" in loaded_after("import click")


def test_every_public_name_resolves_and_others_do_not() -> None:
    import caligo

    for name in caligo.__all__:
        assert getattr(caligo, name) is not None
        assert name in dir(caligo)
    declared = {
        alias.name
        for node in ast.walk(ast.parse((PACKAGE / "__init__.py").read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("caligo.")
        for alias in node.names
    }
    assert declared | {"__version__"} == set(caligo.__all__), "what type checkers see is what there is"
    with pytest.raises(AttributeError, match="no_such_name"):
        caligo.no_such_name  # noqa: B018

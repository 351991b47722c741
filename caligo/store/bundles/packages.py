"""Which packages caligo runs with: the installed distributions, and the lock file of a checkout.

Covers: names and versions of what caligo's own metadata asks for, directly and through others, where it is installed;
the lock file. Does not cover: packages that are installed for something else, and what was installed when an earlier
run was made.
"""

from __future__ import annotations

import re
from pathlib import Path

_REQUIRED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

LOCK_FILE = "requirements.lock"


def installed_packages(root: str = "caligo") -> dict[str, str]:
    """Version of every installed distribution that a distribution needs, itself included.

    Args:
        root: where to begin; its extras count, those of the others do not.

    Returns:
        Normalised name -> version, sorted.
    """
    from importlib import metadata

    found: dict[str, str] = {}
    missing: set[str] = set()
    wanted = [root]
    while wanted:
        name = _normalised(wanted.pop())
        if name in found or name in missing:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            missing.add(name)
            continue
        found[name] = distribution.version
        for requirement in distribution.requires or ():
            match = _REQUIRED.match(requirement)
            if match and (found.keys() == {_normalised(root)} or "extra ==" not in requirement):
                wanted.append(match[0])
    return dict(sorted(found.items()))


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def checkout_lock() -> Path | None:
    """The lock file of the checkout that this caligo runs from; None where it does not."""
    root = Path(__file__).resolve().parents[3]
    lock = root / LOCK_FILE
    return lock if lock.is_file() and (root / "pyproject.toml").is_file() else None

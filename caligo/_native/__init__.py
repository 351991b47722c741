"""The compiled crate, behind one door.

Import what you need from here: ``from caligo._native import PolarDecoder``. An unbuilt checkout raises
:class:`caligo.errors.NativeUnavailableError` naming the build command instead of failing later and elsewhere.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from caligo.errors import NativeUnavailableError

_BUILD_COMMAND = "make setup"


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        # not `from caligo._native import _core`, which asks this function again
        extension = import_module("caligo._native._core")
    except ImportError as error:
        raise NativeUnavailableError(
            "the compiled extension caligo._native._core cannot be imported "
            f"({error}); build it with `{_BUILD_COMMAND}` or install a caligo wheel",
            build_command=_BUILD_COMMAND,
        ) from error
    if name == "_core":
        return extension
    try:
        return getattr(extension, name)
    except AttributeError:
        raise NativeUnavailableError(
            f"the compiled extension has no {name!r}: it was built from other sources; "
            f"rebuild it with `{_BUILD_COMMAND}`",
            build_command=_BUILD_COMMAND,
        ) from None

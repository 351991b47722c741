"""The compiled crate, behind one door.

Import what you need from here: ``from caligo._native import PolarDecoder``. An unbuilt checkout raises
:class:`caligo.errors.NativeUnavailableError` naming the build command instead of failing later and elsewhere.
"""

from __future__ import annotations

from typing import Any

from caligo.errors import NativeUnavailableError

_BUILD_COMMAND = "make setup"


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        from caligo._native import _core
    except ImportError as error:
        raise NativeUnavailableError(
            "the compiled extension caligo._native._core cannot be imported "
            f"({error}); build it with `{_BUILD_COMMAND}` or install a caligo wheel",
            build_command=_BUILD_COMMAND,
        ) from error
    try:
        return getattr(_core, name)
    except AttributeError:
        raise NativeUnavailableError(
            f"the compiled extension has no {name!r}: it was built from other sources; "
            f"rebuild it with `{_BUILD_COMMAND}`",
            build_command=_BUILD_COMMAND,
        ) from None

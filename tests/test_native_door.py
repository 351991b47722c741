"""The door to the compiled extension: an unbuilt or foreign one says how to build it, at once."""

from __future__ import annotations

import sys
import types

import pytest

from caligo import _native
from caligo.errors import NativeUnavailableError


def test_an_unbuilt_extension_names_the_build_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "caligo._native._core", None)
    monkeypatch.delitem(vars(_native), "_core", raising=False)
    for name in ("PolarDecoder", "_core"):
        with pytest.raises(NativeUnavailableError, match="make setup"):
            getattr(_native, name)


def test_an_extension_of_other_sources_names_the_build_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "caligo._native._core", types.ModuleType("caligo._native._core"))
    with pytest.raises(NativeUnavailableError, match="built from other sources"):
        _native.no_such_function  # noqa: B018

"""Pre-shared keys in files: taken whole, or refused before anything is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from caligo.errors import KeyFileError
from caligo.keys import read_secret


def secret(path: Path, size: int, mode: int = 0o600) -> Path:
    path.write_bytes(bytes(range(256)) * 20)
    path.write_bytes(path.read_bytes()[:size])
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
@pytest.mark.parametrize("size", [32, 33, 4096])
def test_a_secret_is_all_bytes_of_its_file(size: int, mode: int, tmp_path: Path) -> None:
    path = secret(tmp_path / "psk", size, mode)
    assert read_secret(path) == path.read_bytes()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o610, 0o777])
def test_a_file_that_others_may_touch_is_refused_with_the_remedy(mode: int, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="chmod 600"):
        read_secret(secret(tmp_path / "psk", 32, mode))


@pytest.mark.parametrize("size", [0, 1, 31, 4097])
def test_a_secret_of_another_size_is_refused(size: int, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError):
        read_secret(secret(tmp_path / "psk", size))


def test_a_missing_secret_and_a_directory_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(KeyFileError):
            read_secret(path)

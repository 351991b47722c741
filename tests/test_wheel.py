"""What a user installs: the wheel in an empty environment, the source distribution, and a checkout that is not built.

The quick suite builds a wheel for this machine from the sources as they are (a warm Cargo cache makes that seconds) or
takes a fresh one from dist/. The acceptance suite takes the portable wheel and the source distribution that
`make acceptance` has put into dist/, the latter built without optimisation. Does not cover: other Python versions than
the one running.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(1500)

REPOSITORY = Path(__file__).resolve().parent.parent
CRATE = REPOSITORY / "caligo" / "_native"
DIST = REPOSITORY / "dist"


UNOPTIMISED = {
    "CARGO_PROFILE_RELEASE_LTO": "off",
    "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
    "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
    "CARGO_PROFILE_RELEASE_DEBUG": "none",
}
"""For a build that only has to show that it can be made: optimising takes most of the time."""


def clean_environment() -> dict[str, str]:
    """The environment without whatever points at this checkout or its virtual environment."""
    foreign = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CALIGO_STORE"}
    return {name: value for name, value in os.environ.items() if name not in foreign}


def run(*words: str | Path, cwd: Path, timeout: int = 1200, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd, env=clean_environment() | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def shipped_sources() -> Iterator[Path]:
    yield from (REPOSITORY / "pyproject.toml", REPOSITORY / "README.md", CRATE / "Cargo.toml", CRATE / "Cargo.lock")
    yield from (CRATE / "src").rglob("*.rs")
    for pattern in ("*.py", "*.pyi", "templates/*"):
        yield from (REPOSITORY / "caligo").rglob(pattern)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    newest = max(path.stat().st_mtime for path in shipped_sources())
    fresh = [path for path in DIST.glob("caligo-*.whl") if path.stat().st_mtime > newest]
    if fresh:
        return fresh[0]
    out = tmp_path_factory.mktemp("wheel")
    words = [
        sys.executable,
        "-m",
        "maturin",
        "build",
        "--release",
        "--locked",
        "--compatibility",
        "linux",
        "--out",
        str(out),
    ]
    environment = os.environ | {"PYO3_PYTHON": sys.executable}
    done = subprocess.run(words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


def locked_runtime(directory: Path) -> Path:
    """The lock file as constraints (versions without hashes: the wheel itself has none)."""
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    pins = [line.rstrip("\\ ") for line in lines if re.match(r"^[A-Za-z0-9]", line)]
    constraints = directory / "constraints.txt"
    constraints.write_text("\n".join(pins) + "\n")
    return constraints


def install(package: Path, directory: Path, **environment: str) -> Path:
    """A new virtual environment with the package and its runtime dependencies, nothing else; returns its bin."""
    venv.create(directory / "venv", with_pip=True, symlinks=True)
    binaries = directory / "venv" / "bin"
    run(
        binaries / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--constraint",
        locked_runtime(directory),
        package,
        cwd=directory,
        **environment,
    )
    return binaries


def check_installed(binaries: Path, directory: Path) -> None:
    """Import, help, and the whole way from two key files to two equal keys, away from the checkout."""
    home = run(binaries / "python", "-c", "import caligo; print(caligo.__file__)", cwd=directory).strip()
    assert Path(home).is_relative_to(directory), home
    run(binaries / "python", "-m", "pip", "check", cwd=directory)
    assert "reconcile" in run(binaries / "caligo", "--help", cwd=directory)
    assert "reconcile" in run(binaries / "python", "-m", "caligo", "--help", cwd=directory)
    simulate = ["keys", "simulate", "--bits", "40000", "--qber", "0.02", "--seed", "7", "--out", "keys"]
    run(binaries / "caligo", *simulate, cwd=directory)
    words = [
        "reconcile",
        "keys/alice.bin",
        "keys/bob.bin",
        "--qber",
        "0.02",
        "--block-length",
        "4096",
        "--list-size",
        "8",
    ]
    output = run(binaries / "caligo", *words, "--store", "store", "--out", "equal", "--json", cwd=directory)
    result = json.loads(output)
    assert result["keys_equal"] is True
    assert result["blocks_ok"] > 0
    assert (directory / "equal/alice.bin").read_bytes() == (directory / "equal/bob.bin").read_bytes()
    assert Path(result["run"]).is_dir()


def check_contents(package: Path) -> None:
    names = zipfile.ZipFile(package).namelist()
    forbidden = [
        name for name in names
        if name.endswith((".rs", "Cargo.toml", "Cargo.lock")) or name.startswith(("tests/", "src/", "benches/"))
    ]  # fmt: skip
    assert forbidden == []
    assert "caligo/_native/_core.abi3.so" in names
    assert "caligo/_native/_core.pyi" in names
    assert "caligo/py.typed" in names
    python = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "caligo").rglob("*.py")}
    assert python == {name for name in names if name.endswith(".py")}
    pages = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "caligo").rglob("templates/*")}
    assert pages
    assert pages == {name for name in names if "/templates/" in name}


def test_the_wheel_carries_the_package_and_no_rust_sources(wheel: Path) -> None:
    check_contents(wheel)


def test_the_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    check_installed(install(wheel, tmp_path), tmp_path)


@pytest.mark.acceptance
def test_the_portable_wheel_is_manylinux2014_and_works(tmp_path: Path) -> None:
    wheels = list(DIST.glob("caligo-*.whl"))
    assert len(wheels) == 1, f"run `make wheel` first; found {wheels}"
    assert re.search(r"-cp311-abi3-manylinux2014_\w+\.manylinux_2_17_\w+\.whl$", wheels[0].name)
    check_contents(wheels[0])
    extension = zipfile.ZipFile(wheels[0]).read("caligo/_native/_core.abi3.so")
    versions = {tuple(map(int, match.split(b"."))) for match in re.findall(rb"GLIBC_(2\.\d+)", extension)}
    assert max(versions) <= (2, 17)
    for trace in (str(REPOSITORY), str(Path.home() / ".cargo")):
        assert trace.encode() not in extension, "the wheel names the machine that built it"
    check_installed(install(wheels[0], tmp_path), tmp_path)


@pytest.mark.acceptance
def test_the_source_distribution_carries_the_crate_and_builds(tmp_path: Path) -> None:
    (sdist,) = DIST.glob("caligo-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    crate = [path for folder in ("src", "tests", "benches") for path in (CRATE / folder).rglob("*.rs")]
    crate += [CRATE / "Cargo.toml", CRATE / "Cargo.lock"]
    assert {path.relative_to(REPOSITORY).as_posix() for path in crate} <= names
    assert not any(name.endswith(".so") for name in names)
    check_installed(install(sdist, tmp_path, **UNOPTIMISED), tmp_path)


def test_an_unbuilt_checkout_names_the_build_command(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "caligo", tmp_path / "caligo", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    code = (
        "import caligo._native, caligo.errors\n"
        f"assert caligo.__file__.startswith({str(tmp_path)!r}), caligo.__file__\n"
        "try:\n"
        "    caligo._native.PolarDecoder\n"
        "except caligo.errors.NativeUnavailableError as error:\n"
        "    assert isinstance(error, ImportError)\n"
        "    print(error, error.fields['build_command'])\n"
        "else:\n"
        "    raise SystemExit('an unbuilt extension was imported')\n"
    )
    assert "make setup" in run(sys.executable, "-c", code, cwd=tmp_path)


def test_an_unbuilt_checkout_fails_on_the_command_line_without_a_traceback(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "caligo", tmp_path / "caligo", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    words = ["-m", "caligo", "keys", "simulate", "--bits", "4096", "--qber", "0.02", "--seed", "1", "--out", "keys"]
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 6
    assert "make setup" in done.stderr
    assert "Traceback" not in done.stderr

"""The crate's unsafe parts under AddressSanitizer, and its doors under generated input for a while.

Covers: what the crate's own tests reach: kernels of all engines, aligned buffers, checks, transform, decodes of
generated blocks. Does not cover: the few lines that lend Python's arrays to Rust, whose shapes and aliases are tested
from Python (`test_native_arguments.py`, `test_native_door.py`).

AddressSanitizer is an unstable option of the stable compiler, hence RUSTC_BOOTSTRAP, for this build alone.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]

TARGET = "x86_64-unknown-linux-gnu"
SANITIZED = [
    "--lib",
    "--test",
    "bits",
    "--test",
    "checksum",
    "--test",
    "transform",
    "--test",
    "decoding",
    "--test",
    "fuzz",
]


def cargo_test(repository: Path, words: list[str], **environment: str) -> None:
    manifest = str(repository / "caligo" / "_native" / "Cargo.toml")
    done = subprocess.run(
        ["cargo", "test", "--locked", "--manifest-path", manifest, *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=1700,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-20_000:]


def sanitizes() -> bool:
    """Whether the toolchain builds for the target that has the sanitizer, and brings its run-time library."""
    try:
        libraries = subprocess.run(
            ["rustc", "--print", "target-libdir", "--target", TARGET], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return False
    return libraries.returncode == 0 and any(Path(libraries.stdout.strip()).glob("librustc*_rt.asan.a"))


def test_no_generated_input_makes_the_crate_panic_or_its_engines_differ(repository: Path) -> None:
    cargo_test(repository, ["--test", "fuzz"], CALIGO_FUZZ_SECONDS="10")


def test_no_memory_is_touched_that_is_not_ours(repository: Path, require: Callable[[str, bool, str], None]) -> None:
    require("sanitizer", sanitizes(), f"the Rust toolchain has no AddressSanitizer for {TARGET}")
    cargo_test(
        repository,
        ["--target", TARGET, *SANITIZED],
        RUSTC_BOOTSTRAP="1",
        RUSTFLAGS="-Zsanitizer=address",
        ASAN_OPTIONS="detect_leaks=0",
        CALIGO_FUZZ_SECONDS="5",
    )

"""What every test gets: isolation from the user's files, hypothesis settings, and the rule for missing features."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

pytest_plugins = ["slurm_box", "postgres_server"]

Require = Callable[[str, bool, str], None]

# Time is no property: two cores may be shared by anything.
PATIENT = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("laptop", **PATIENT)
hypothesis.settings.register_profile("ci", derandomize=True, print_blob=True, **PATIENT)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "laptop")

# A shell that starts something in the background may let it ignore Ctrl-C, and so all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What builds for minutes on one core begins first, so that other files run beside it to the end."""
    items.sort(key=lambda item: item.path.name != "test_wheel.py")


def required_features() -> frozenset[str]:
    """Features named by ``CALIGO_REQUIRE`` (comma-separated): their absence is a failure, not a skip."""
    return frozenset(name.strip() for name in os.environ.get("CALIGO_REQUIRE", "").split(",") if name.strip())


@pytest.fixture(scope="session")
def require() -> Require:
    """``require(feature, available, reason)``: skip, or fail where ``CALIGO_REQUIRE`` names the feature.

    Features in use: ``avx2``, ``avx512``, ``mpi``, ``slurm`` (installed: `slurm/box/start` runs one), ``namespaces``
    (`slurm/box/hosts` can make some), ``oracle`` (Numba), ``wheel`` (a build from sources), ``cores`` (two of them,
    free), ``mount`` (a tmpfs may be mounted), ``valgrind``, ``sanitizer`` (a toolchain that builds with
    AddressSanitizer), ``postgres`` (a server's programs), ``chromium``. `tests/features` prints those of this machine.
    """

    def check(feature: str, available: bool, reason: str) -> None:
        if available:
            return
        if feature in required_features():
            pytest.fail(f"{feature} is required by CALIGO_REQUIRE but missing: {reason}", pytrace=False)
        pytest.skip(f"{feature}: {reason}")

    return check


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session", autouse=True)
def _home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's store or design cache; designs are shared within the session."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(home / "data"))
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        patch.setenv("XDG_CONFIG_HOME", str(home / "config"))
        for name in [name for name in os.environ if name.startswith("CALIGO_") and name != "CALIGO_REQUIRE"]:
            patch.delenv(name)
        yield

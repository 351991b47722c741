"""Installing without any network: the sources with their crates, and the wheels they need, are all that is needed.

Runs the commands of docs/hpc.md on what `make sdist-vendored wheelhouse` left in dist/air-gapped, in a network
namespace that has no interface but loopback. Does not cover: other Python versions, and the speed of what is built (it
is built without optimisation, which would take most of the time).
"""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
AIR_GAPPED = REPOSITORY / "dist" / "air-gapped"

Require = Callable[[str, bool, str], None]

NO_NETWORK = ["unshare", "--net", "--"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net", "--"]
FAST_BUILD = {
    "CARGO_PROFILE_RELEASE_LTO": "off",
    "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
    "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
    "CARGO_PROFILE_RELEASE_DEBUG": "none",
}

pytestmark = pytest.mark.acceptance


def without_network(script: str, directory: Path) -> str:
    """Run a script where nothing can be reached, with nothing in the environment that points at this checkout."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "UV_", "CARGO_PROFILE_", "CALIGO_"))
        and name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CARGO_TARGET_DIR")
    }
    done = subprocess.run(
        [*NO_NETWORK, "bash", "-euo", "pipefail", "-c", script],
        cwd=directory, env=environment | FAST_BUILD, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def documented_commands() -> str:
    """What docs/hpc.md tells to type on the machine without network."""
    page = (REPOSITORY / "docs" / "hpc.md").read_text()
    (block,) = re.findall(r"<!-- air-gapped: .*?-->\n+```text\n(.*?)```", page, flags=re.DOTALL)
    return block


@pytest.fixture(scope="module")
def sources() -> Path:
    found = list(AIR_GAPPED.glob("caligo-*.tar.gz"))
    assert len(found) == 1, f"run `make sdist-vendored wheelhouse` first; found {found}"
    return found[0]


def test_the_vendored_sources_name_no_host_to_fetch_from_and_carry_the_scripts(sources: Path) -> None:
    with tarfile.open(sources) as archive:
        members = {member.name.partition("/")[2]: member for member in archive.getmembers()}
        config = archive.extractfile(members[".cargo/config.toml"])
        assert config is not None
        text = config.read().decode()
    assert 'directory = "vendor"' in text
    assert "://" not in text
    crates = re.findall(r'^name = "(.*)"', (REPOSITORY / "caligo/_native/Cargo.lock").read_text(), flags=re.MULTILINE)
    vendored = {name.split("/")[1].rpartition("-")[0] for name in members if name.startswith("vendor/")}
    assert set(crates) - {"caligo-polar"} <= vendored
    assert members["slurm/one-node.sbatch"].mode & 0o111
    assert members["slurm/box/start"].mode & 0o111
    assert "docs/hpc.md" in members


def test_it_is_built_and_installed_without_network(sources: Path, tmp_path: Path, require: Require) -> None:
    probe = subprocess.run([*NO_NETWORK, "true"], capture_output=True, text=True, check=False)
    require("namespaces", probe.returncode == 0, f"no network namespace can be made here: {probe.stderr.strip()}")
    assert (AIR_GAPPED / "wheelhouse").is_dir(), "run `make sdist-vendored wheelhouse` first"
    (tmp_path / sources.name).symlink_to(sources)
    (tmp_path / "wheelhouse").symlink_to(AIR_GAPPED / "wheelhouse")
    without_network(documented_commands(), tmp_path)
    check = """
        test "$(wc -l </proc/net/route)" -le 1
        caligo-env/bin/python -c 'import caligo; print(caligo.__file__)'
        exec >&2
        caligo-env/bin/caligo keys simulate --bits 40000 --qber 0.02 --seed 7 --out keys
        caligo-env/bin/caligo job init --alice keys/alice.bin --bob keys/bob.bin --out equal --store store \\
            -N 4096 -L 8 --file job.toml
        caligo-env/bin/mpiexec -n 2 caligo-env/bin/python -m caligo.cluster job.toml
    """
    home = without_network(check, tmp_path).strip()
    assert Path(home).is_relative_to(tmp_path / "caligo-env"), home
    assert (tmp_path / "equal/alice.bin").read_bytes() == (tmp_path / "equal/bob.bin").read_bytes()

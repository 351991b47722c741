"""The scripts of `slurm/` before any cluster sees them: they parse, they are documented, they end by the same rules.

Does not cover: what they do under Slurm (`tests/acceptance/test_slurm_box.py`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import REPOSITORY

SLURM = REPOSITORY / "slurm"
BATCH_SCRIPTS = sorted(SLURM.glob("*.sbatch"))
BOX_TOOLS = sorted(path for path in (SLURM / "box").iterdir() if path.is_file())
SHELL = [*BATCH_SCRIPTS, SLURM / "interactive.sh", *BOX_TOOLS]
README = (SLURM / "README.md").read_text()


def options_of(text: str) -> set[str]:
    """Options that a script gives to sbatch or salloc."""
    lines = [line for line in text.splitlines() if line.startswith("#SBATCH ") or "salloc " in line.partition("#")[0]]
    return {option for line in lines for option in re.findall(r"(--[a-z-]+)", line)}


def name_of(path: Path) -> str:
    return str(path.relative_to(SLURM))


@pytest.mark.parametrize("path", SHELL, ids=name_of)
def test_every_script_parses_and_is_ascii(path: Path) -> None:
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert path.read_bytes().isascii()
    assert path.suffix in {".bash", ".sbatch"} or os.access(path, os.X_OK)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    words = ["shellcheck", "--external-sources", "--source-path=SCRIPTDIR", *map(str, SHELL)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", [*BATCH_SCRIPTS, SLURM / "interactive.sh"], ids=name_of)
def test_every_option_and_variable_is_documented(path: Path) -> None:
    text = path.read_text()
    options = options_of(text)
    assert {"--nodes", "--cpus-per-task", "--mem-per-cpu", "--time"} <= options
    assert {option for option in options if f"`{option}`" not in README} == set()
    assert {
        name for name in re.findall(r"\$\{(\w+):-", text) if name.startswith("CALIGO_") and name not in README
    } == set()
    assert f"`{path.name}" in README


@pytest.mark.parametrize("path", BATCH_SCRIPTS, ids=name_of)
def test_every_batch_script_survives_a_requeue(path: Path) -> None:
    assert {"--requeue", "--open-mode", "--output"} <= options_of(path.read_text())


def test_every_batch_script_ends_by_the_same_rules() -> None:
    endings = {path.read_text().partition("# --- the same in every script")[2] for path in BATCH_SCRIPTS}
    assert len(endings) == 1
    assert "scontrol requeue" in endings.pop()


@pytest.mark.parametrize("path", BATCH_SCRIPTS, ids=name_of)
def test_a_batch_script_without_arguments_says_how_it_is_used(path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "SLURM_ARRAY_TASK_ID": "1"}
    done = subprocess.run(["bash", str(path)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: sbatch")


def test_the_tools_of_the_box_are_documented_with_their_options() -> None:
    for tool in ("start", "stop", "hosts", "enter"):
        assert re.search(rf"^\| `{tool}\b", README, flags=re.MULTILINE), tool
    for tool in ("start", "stop"):
        flags = set(re.findall(r"(--[a-z]+(?:-[a-z]+)*)\)?(?: \||\)|\s\]\])", (SLURM / "box" / tool).read_text()))
        assert {flag for flag in flags - {"--help"} if flag not in README} == set()
    usage = subprocess.run([SLURM / "box/hosts", "--help"], capture_output=True, text=True, check=True).stdout
    commands = set(re.findall(r"hosts ([a-z]+) ", usage))
    assert len(commands) >= 7
    assert {command for command in commands if f"hosts {command}" not in README} == set()

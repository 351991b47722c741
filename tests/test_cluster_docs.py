"""What the pages say of many ranks is so: options of the program of a rank, wheels for machines without network.

Covers: docs/cli.md against the parser of `python -m caligo.cluster`, docs/vocabulary.md against the words of the code,
requirements-offline.lock against requirements.lock. Does not cover: the command line of `caligo`, links and blocks
(test_docs.py), installing without network (acceptance/test_air_gapped.py).
"""

from __future__ import annotations

import re
from pathlib import Path

from caligo.cluster.__main__ import _parser
from caligo.jobs.coordination import Phase

REPOSITORY = Path(__file__).resolve().parent.parent


def test_every_option_of_a_rank_is_documented_and_no_other() -> None:
    page = (REPOSITORY / "docs" / "cli.md").read_text()
    section = page.split("\n## `python -m caligo.cluster", 1)[1].split("\n## ", 1)[0]
    documented = set(re.findall(r"^\| `(--[a-z-]+)", section, flags=re.MULTILINE))
    known = {word for action in _parser()._actions for word in action.option_strings if word.startswith("--")}
    assert documented == known - {"--help"}


def test_the_phases_of_an_attempt_are_those_of_the_vocabulary() -> None:
    page = (REPOSITORY / "docs" / "vocabulary.md").read_text()
    (row,) = re.findall(r"^\| phase \(of an attempt\) \| (.*) \|$", page, flags=re.MULTILINE)
    named = [part.split(" ")[0] for part in re.sub(r"\(.*?\)", "", row).split(", ")]
    assert named == [phase.value for phase in Phase]


def pins(name: str) -> dict[str, str]:
    """Requirement with its markers -> its hashes, of a lock file."""
    text = (REPOSITORY / name).read_text()
    found = re.findall(r"^([a-z0-9-]+==[^\\\n]*?) \\\n((?:    --hash=\S+(?: \\)?\n)+)", text, flags=re.MULTILINE)
    return dict(found)


def test_wheels_for_machines_without_network_are_those_that_are_locked() -> None:
    offline, locked = pins("requirements-offline.lock"), pins("requirements.lock")
    assert offline.items() <= locked.items()
    names = {requirement.split("==")[0] for requirement in offline}
    assert {"numpy", "scipy", "click", "rich", "rfc8785", "maturin", "mpi4py", "mpich"} <= names
    assert not names & {"pytest", "numba", "matplotlib", "mypy", "ruff"}

"""A repair that is killed before any of its calls of the file system is begun again and ends as if nothing had been."""

from __future__ import annotations

from pathlib import Path

import pytest
from killed_repairs import KillTrials

pytestmark = pytest.mark.acceptance


def test_a_repair_killed_at_any_instant_and_begun_again_ends_the_same(tmp_path: Path) -> None:
    trials = KillTrials(tmp_path)
    step = 0
    while trials.kill(step):
        step += 1 if step < 40 else 2
    assert trials.kills > 60

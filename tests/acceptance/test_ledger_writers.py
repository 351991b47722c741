"""Many processes append at once, with hard links and without: nothing lost, nothing doubled, no gap."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from caligo.store.audit.ledger import Ledger
from caligo.store.audit.ledger_check import verify_ledger

pytestmark = pytest.mark.acceptance

PROGRAM = """
import os, sys
from caligo.store.audit.ledger import Ledger

def refuse(*arguments, **options):
    raise OSError(95, "Operation not supported")

store, writers, each = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if sys.argv[4] == "linkless":
    os.link = refuse
children = []
for writer in range(writers):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for number in range(each):
                Ledger.open(store, create=True).append("note", {"writer": writer, "number": number}, patience_s=300)
            status = 0
        finally:
            os._exit(status)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * writers
"""


@pytest.mark.parametrize(("way", "writers", "each"), [("link", 64, 20), ("linkless", 16, 10)])
def test_many_writers_share_a_ledger(tmp_path: Path, way: str, writers: int, each: int) -> None:
    store = tmp_path / "store"
    command = [sys.executable, "-c", PROGRAM, str(store), str(writers), str(each), way]
    subprocess.run(command, check=True, timeout=600)
    ledger = Ledger.open(store)
    entries = list(ledger.entries())
    assert verify_ledger(ledger).findings == ()
    written = sorted((entry.content["writer"], entry.content["number"]) for entry in entries)
    assert written == [(writer, number) for writer in range(writers) for number in range(each)]

"""A long job under a cap on its address space: it runs to the end, in memory that does not grow with the key."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_jobs import OUTPUTS, Started, sealed_run, write_job

from caligo.keys import open_pair
from caligo.keys.windows import count_differing_bits

pytestmark = [pytest.mark.acceptance, pytest.mark.alone]

CAP_BYTES = 2 << 30
KEY_BITS = int(os.environ.get("CALIGO_LONG_KEY_BITS", "0")) or 1 << 32
"""2^32 takes about a minute on two cores; 10^10, the length that is promised, takes some minutes."""

ROOM_BYTES = 8 * KEY_BITS // 8 + (1 << 30)
EVERY_S = 0.05
START_S = 3.0
"""Samples before are those of a start: libraries, designs, the first windows."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory on a disk with room, which goes with the test, not with the session."""
    directory = Path(tempfile.mkdtemp(prefix="caligo-long-"))
    try:
        free = shutil.disk_usage(directory).free
        if free < ROOM_BYTES:
            pytest.skip(f"{directory} has {free >> 30} GiB free, {ROOM_BYTES >> 30} GiB are needed")
        yield directory
    finally:
        shutil.rmtree(directory)


def resident_and_virtual_bytes(pid: int) -> tuple[int, int] | None:
    """What /proc says of a process; None once it has ended."""
    try:
        virtual, resident, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    page = os.sysconf("SC_PAGE_SIZE")
    return (int(resident) * page, int(virtual) * page) if int(resident) else None


@pytest.mark.timeout(2400)
def test_a_long_key_is_reconciled_within_two_gibibytes_in_flat_memory(place: Path) -> None:
    words = [sys.executable, "-m", "caligo", "keys", "simulate", "--bits", str(KEY_BITS), "--qber", "0.02"]
    subprocess.run([*words, "--seed", "9", "--out", place / "keys"], check=True, capture_output=True, timeout=1200)
    reconcile = {"qber": 0.02, "block_length": "2^20", "list_size": 32, "escalation": [1], "efficiency": 1.35}
    job = write_job(place, "job", place / "keys", reconcile)
    capped = ["prlimit", f"--as={CAP_BYTES}", sys.executable, "-m", "caligo", "run", job.path]
    started = Started(capped, place / "log")
    samples: list[tuple[float, int, int]] = []
    try:
        while started.process.poll() is None:
            measured = resident_and_virtual_bytes(started.process.pid)
            if measured is not None:
                samples.append((time.monotonic() - started.began, *measured))
            assert time.monotonic() - started.began < 2000, started.text
            time.sleep(EVERY_S)
        assert started.process.returncode == 0, started.text
    finally:
        started.kill_all()
    at_work = [(when, resident) for when, resident, _ in samples if when > START_S]
    third = len(at_work) // 3
    first, last = (max(resident for _, resident in part) for part in (at_work[:third], at_work[-third:]))
    summary = sealed_run(job).summary or {}
    print(
        f"{KEY_BITS:,} bits under a cap of {CAP_BYTES >> 20} MiB of addresses: {samples[-1][0]:.0f} s with "
        f"{summary['threads']} threads; resident {first >> 20} MiB in the first third, {last >> 20} MiB in the last, "
        f"{max(resident for _, resident, _ in samples) >> 20} MiB at most; addresses "
        f"{max(virtual for _, _, virtual in samples) >> 20} MiB at most; {summary['blocks_ok']} of {summary['blocks']} "
        "blocks reconciled"
    )
    assert third >= 20
    assert last <= 1.1 * first
    assert summary["blocks_ok"] > 0.9 * summary["blocks"]
    with open_pair(*(job.out / name for name in OUTPUTS), key_bits=summary["reconciled_bits"]) as pair:
        assert count_differing_bits(pair.alice, pair.bob) == 0

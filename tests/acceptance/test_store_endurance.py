"""Nothing sealed is lost or silently changed: every fault in every kind of write, every flipped byte, many at once.

Each test prints counts: faults tried, told, survived; bytes flipped, found. `make acceptance` runs them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cluster_jobs import environment
from conftest import Require
from store_faults import SCENARIOS

from caligo.store import RunWriter, Severity, State, list_runs, load_run
from caligo.store.audit.ledger import Ledger, append_seal
from caligo.store.governing.validation import validate_store

pytestmark = pytest.mark.acceptance

HERE = Path(__file__).parent
MOST_CALLS = 16
"""Of the calls that a scenario makes, how many misbehave, evenly spread, for each kind of fault."""


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("shim") / "faults.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "faults.c", "-ldl"], check=True)
    return library


def trials(shim: Path, place: Path, scenario: str, most: int) -> dict[str, int]:
    """The counts of a scenario's trials, once nothing went wrong in them."""
    words = [sys.executable, HERE / "store_faults.py", shim, place, scenario, most]
    done = subprocess.run(
        [str(word) for word in words],
        env=environment() | {"LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(json.dumps(told))
    assert told["wrong"] == []
    assert told["counts"]["lost"] == 0
    return dict(told["counts"])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whatever_fails_nothing_is_lost_and_the_work_can_be_done_again(
    scenario: str, shim: Path, tmp_path: Path
) -> None:
    counts = trials(shim, tmp_path / "place", scenario, MOST_CALLS)
    told, survived = counts.get("told", 0), counts.get("survived", 0)
    assert counts["killed"] > 0
    assert told + survived > 0
    assert counts["tried"] == told + survived + counts["killed"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_disk_that_is_full_loses_nothing(scenario: str, shim: Path, tmp_path: Path, require: Require) -> None:
    """A real one: a file system of 32 MiB with 0, 4, 8, ... KiB left, until that is enough."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(small)], capture_output=True, text=True, check=False
    )
    require("mount", mounted.returncode == 0, f"a tmpfs cannot be mounted: {mounted.stderr.strip()}")
    try:
        counts = trials(shim, small / "place", scenario, 0)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
    assert counts["survived"] == 1
    assert counts.get("told", 0) + 1 == counts["tried"]


def recorded(store: Path, *, compact: str | None) -> Path:
    chance = random.Random(7)
    with RunWriter.create(store, "reconcile", {"block_length": 65_536, "strategy": "one-way"}) as writer:
        for block in range(60):
            writer.record(
                {
                    "block": block,
                    "outcome": chance.choice(["confirmed", "failed_check"]),
                    "leakage_bits": 9000 + block,
                    "elapsed_ns": chance.randrange(1 << 22),
                    "estimated_qber": chance.random() / 50,
                }
            )
        writer.attach("ranks.json", json.dumps({"ranks": [{"rank": rank} for rank in range(40)]}).encode())
        writer.seal({"blocks": 60, "efficiency": 1.17}, **({"compact": compact} if compact else {}))
    return writer.path


@pytest.mark.parametrize("compact", [None, "parquet"])
def test_ten_thousand_flipped_bytes_of_sealed_runs_are_all_found(tmp_path: Path, compact: str | None) -> None:
    """Each flip alone; the byte and the bit at random, every file in proportion to its size."""
    path = recorded(tmp_path, compact=compact)
    chance = random.Random(2026)
    files = sorted(path.iterdir())
    for file in files:
        os.chmod(file, 0o644)
    sizes = [file.stat().st_size for file in files]
    flips = 5000
    missed = []
    for file in chance.choices(files, weights=sizes, k=flips):
        whole = file.read_bytes()
        changed = bytearray(whole)
        position = chance.randrange(len(whole))
        changed[position] ^= 1 << chance.randrange(8)
        file.write_bytes(changed)
        run = load_run(path)
        if run.state is not State.DAMAGED or not any(file.name in finding.where for finding in run.findings):
            missed.append((file.name, position))
        file.write_bytes(whole)
    print(f"{flips} bytes flipped, {flips - len(missed)} found")
    assert missed == []
    assert load_run(path).state is State.SEALED


def write_runs(store: Path, number: int, runs: int) -> None:
    chance = random.Random(number)
    for count in range(runs):
        with RunWriter.create(store, "simulate", {"writer": number, "run": count}, flush_bytes=200) as writer:
            for block in range(20):
                writer.record({"block": block, "outcome": "ok", "elapsed_ns": 1000 + block})
                if chance.random() < 0.2:
                    time.sleep(chance.random() / 500)
            if chance.random() < 0.9:
                writer.seal({"frames": 20, "frame_errors": 0, "detected_failures": 0, "undetected_errors": 0})
            else:
                writer.interrupt("a test")


def validate_again_and_again(store: Path, stop: Any, found: Any) -> None:
    rounds, damage = 0, []
    while not stop.is_set():
        validation = validate_store(store)
        damage += [finding.line() for finding in validation.findings if finding.finding.severity is Severity.DAMAGE]
        rounds += 1
    found.put((rounds, damage[:5]))


def test_64_writers_and_4_validators_at_once_see_no_damage_and_lose_nothing(tmp_path: Path) -> None:
    store, writers, runs = tmp_path / "store", 64, 3
    RunWriter.create(store, "simulate", {}).seal({})
    context = multiprocessing.get_context("fork")
    stop, found = context.Event(), context.Queue()
    validators = [context.Process(target=validate_again_and_again, args=(store, stop, found)) for _ in range(4)]
    began = time.monotonic()
    at_work = [context.Process(target=write_runs, args=(store, number, runs)) for number in range(writers)]
    for process in (*validators, *at_work):
        process.start()
    for process in at_work:
        process.join()
        assert process.exitcode == 0
    took = time.monotonic() - began
    stop.set()
    results = [found.get(timeout=120) for _ in validators]
    for process in validators:
        process.join()
    infos = list_runs(store)
    assert len(infos) == writers * runs + 1
    assert {info.state for info in infos} <= {State.SEALED, State.INTERRUPTED}
    sealed = {info.name for info in infos if info.state is State.SEALED}
    entries = list(Ledger.open(store).entries())
    assert [entry.index for entry in entries] == list(range(len(entries)))
    entered = [entry.content["run"] for entry in entries if entry.kind == "seal"]
    assert len(entered) == len(set(entered))
    # A writer that found the ledger too busy leaves its entry to `caligo store repair`.
    assert set(entered) <= sealed
    for name in sorted(sealed - set(entered)):
        append_seal(store / "runs" / name)
    damage = [line for _, lines in results for line in lines]
    print(f"{writers} writers, {len(infos)} runs, {sum(r for r, _ in results)} validations meanwhile, {took:.1f} s")
    assert damage == []
    assert all(rounds for rounds, _ in results)
    last = validate_store(store)
    assert [f.line() for f in last.findings if f.finding.severity is Severity.DAMAGE] == []
    assert [f.line() for f in validate_store(store, workers=3).findings] == [f.line() for f in last.findings]

"""No false alarm: runs of every sort that caligo makes, in one store, and a validation that finds nothing in any."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from true_runs import key_pair, record_command, record_reconciliation

from caligo.cli import main
from caligo.store.governing.validation import validate_store

pytestmark = pytest.mark.acceptance

_STRATEGIES = ("one-way", "segmented", "incremental", "interactive")

_RECONCILIATIONS: list[tuple[Any, dict[str, Any]]] = [
    *((0.02, {"strategy": strategy, "block_length": 16384}) for strategy in _STRATEGIES),
    *((0.02, {"strategy": strategy, "block_length": 4096, "qber": 0.02, "list_size": 8}) for strategy in _STRATEGIES),
    *(((0.045, 0.02), {"strategy": strategy, "block_length": 8192}) for strategy in _STRATEGIES),
    (0.02, {"block_length": 4096, "qber": 0.016, "on_failure": "retry"}),
    (0.02, {"block_length": 4096, "qber": 0.016}),
    (0.02, {"block_length": 4096, "qber": 0.016, "efficiency": 1.05, "check": "crc16"}),
    (0.02, {"block_length": 256, "qber": 0.02, "efficiency": 1.6, "check": "crc16"}),
    (0.02, {"block_length": 64, "qber": 0.02, "efficiency": 3.0, "check": "none"}),
    (0.02, {"block_length": 4096, "strategy": "interactive", "max_block_leakage_bits": 900}),
    (0.02, {"block_length": 4096, "strategy": "incremental", "max_rounds": 1, "qber": 0.017}),
    (0.02, {"block_length": 16384, "interleave": True, "threads": 1, "bits": 100_003}),
    (0.03, {"block_length": 4096, "follow_drift": True, "strategy": "interactive", "bits": 1 << 18}),
    (1e-12, {"block_length": 4096, "qber": 0.01}),
    (0.11, {"block_length": 4096, "qber": 0.11}),
]

_COMMANDS = (
    "simulate --qber 0.02 --efficiency 1.2 -N 4096 -L 8 --frames 300",
    "simulate --qber 0.02 --efficiency 0.95 -N 1024 -L 8 --frames 300",
    "simulate --qber 0.05,0.02 --efficiency 1.3 -N 2048 -L 8 --frames 300",
    "simulate --qber 0.02 --efficiency 1.02 -N 256 -L 32 --check none --frames 2000",
    "simulate --qber 0.02 --efficiency 1.0 -N 32 -L 32 --check none --frames 4000",
    "simulate --qber 0.02 --efficiency 1.5 -N 4096 -L 8 --segment-length 1024 --frames 200",
    "simulate --channel awgn --ebn0 4 -K 1723 -N 2048 -L 8 --frames 200",
    "simulate --channel awgn --ebn0 1 -K 512 -N 1024 -L 8 --frames 300 --max-frame-errors 20",
    "simulate --channel awgn --ebn0 2 -K 16 -N 32 -L 8 --frames 3000 --check none",
    "bench decoder -N 4096 -L 8 --qber 0.02 --efficiency 1.5 --seconds 0.2",
    "bench decoder -N 2048 -L 8 --channel awgn --ebn0 4 -K 1723 --seconds 0.2 --threads 2",
    "bench decoder -N 2 -L 1 --qber 0.02 -K 1 --check none --seconds 0.05",
)


def _run_job(store: Path, place: Path, text: str) -> None:
    file = place / "job.toml"
    file.write_text(f'schema = 1\n{text}[store]\ndir = "{store}"\n[work]\ndir = "{place / "work"}"\n')
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["run", str(file), "--json"]) == 0


def _converse(store: Path, place: Path, strategy: str) -> None:
    """Both parties, each in a process, over a directory."""
    for name, key in zip(("alice", "bob"), key_pair(0.02, 7), strict=True):
        (place / f"{name}.bin").write_bytes(key.tobytes())
        (place / f"{name}.bin").chmod(0o600)
    (place / "psk").write_bytes(bytes(range(64)))
    (place / "psk").chmod(0o600)
    (place / "mail").mkdir()
    more = ["--directory", str(place / "mail"), "--psk", str(place / "psk"), "-N", "8192", "--strategy", strategy]
    sides = [
        subprocess.Popen(
            [sys.executable, "-m", "caligo", name, str(place / f"{name}.bin"), *more, "--store", str(store), "--json"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ),
        )
        for name in ("alice", "bob")
    ]
    assert [side.wait(timeout=120) for side in sides] == [0, 0]


def test_no_true_run_is_found_wanting(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for seed, (rate, settings) in enumerate(_RECONCILIATIONS):
        record_reconciliation(store, rate, seed, **{"threads": 2, **settings})
    for words in _COMMANDS:
        record_command(store, *words.split())
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["bench", "decoder", "--sweep", "--seconds", "0.005", "--store", str(store), "--json"]) == 0
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    for name, key in zip(("alice", "bob"), key_pair(0.02, 9), strict=True):
        (tmp_path / f"{name}.bin").write_bytes(key.tobytes())
        (tmp_path / f"{name}.bin").chmod(0o600)
    keys = f'[keys]\nalice = "{tmp_path}/alice.bin"\nbob = "{tmp_path}/bob.bin"\n[reconcile]\nblock_length = 4096\n'
    _run_job(store, tmp_path / "one", keys)
    bsc = '[simulate]\nchannel = "bsc"\nqber = 0.02\nefficiency = 1.25\nblock_length = 1024\nlist_size = 4\n'
    _run_job(store, tmp_path / "two", f"{bsc}frames = 500\n")
    for number, strategy in enumerate(("one-way", "interactive")):
        place = tmp_path / f"parties{number}"
        place.mkdir()
        _converse(store, place, strategy)
    for when in (timedelta(), timedelta(days=400)):
        found = validate_store(store, now=datetime.now(UTC) + when)
        assert [item.line() for item in found.findings] == []
    expected = len(_RECONCILIATIONS) + len(_COMMANDS) + 1 + 2 + 2 * 2
    assert found.runs == expected


def test_every_length_of_block_makes_sense(tmp_path: Path) -> None:
    lengths, sizes = (2, 8, 64, 512), (1, 32)
    for length, size in itertools.product(lengths, sizes):
        info = str(max(1, length // 2))
        words = ["simulate", "-N", str(length), "-L", str(size), "--qber", "0.03", "-K", info, "--check", "none"]
        record_command(tmp_path, *words, "--frames", "500")
    assert [item.line() for item in validate_store(tmp_path).findings] == []

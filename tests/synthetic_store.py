"""Stores of many small sealed runs, written quickly, for tests and benchmarks of what scales with their number.

Covers: documents as a simulation writes them, sealed, without their record files: the seals speak of records
that are not there, as in a store whose records were moved away. Does not cover: anything that looks at records.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from caligo.store import layout
from caligo.store.files import document_bytes

STRATEGIES = ("one-way", "segmented", "incremental", "interactive")
_FIRST_DAY = 1_767_225_600  # 2026-01-01


def write_runs(store: Path, count: int, *, first: int = 0, records: int = 1000) -> list[Path]:
    """Write sealed runs, one a minute from 2026 on.

    Args:
        store: directory of the store, made if need be.
        count: how many.
        first: number of the first, so that more can be added later.
        records: how many records each seal claims.

    Returns:
        The run directories, oldest first.
    """
    from datetime import UTC, datetime

    runs = layout.runs_directory(store)
    runs.mkdir(parents=True, exist_ok=True)
    written = []
    for number in range(first, first + count):
        moment = datetime.fromtimestamp(_FIRST_DAY + 60 * number, UTC)
        dice = random.Random(number)
        attempt = f"{dice.getrandbits(128):032x}"
        path = runs / layout.run_name(moment, "simulate", attempt)
        path.mkdir()
        (path / layout.RUN_FILE).write_bytes(document_bytes(_document(path.name, number, moment, attempt)))
        (path / layout.SEAL_FILE).write_bytes(document_bytes(_seal(path.name, moment, dice, records)))
        written.append(path)
    return written


def enter_seals(store: Path, runs: Sequence[Path]) -> None:
    """Enter the seals of runs in the store's ledger as sealing does, without its syncs and its care for other writers.

    Args:
        store: directory of the store, whose ledger is still empty.
        runs: directories of sealed runs.
    """
    from caligo.store.audit.ledger import Ledger, encode_entry, seal_content
    from caligo.store.audit.merkle import leaf_hash

    ledger, previous = Ledger.open(store, create=True), None
    for index, run in enumerate(runs):
        content = seal_content(run)
        at = f"{run.name[:4]}-{run.name[4:6]}-{run.name[6:8]}T23:59:59.000Z"
        data = encode_entry(origin=ledger.origin, index=index, kind="seal", at=at, content=content, previous=previous)
        path = ledger.entry_path(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        previous = leaf_hash(data).hex()


def _document(name: str, number: int, moment: Any, attempt: str) -> dict[str, Any]:
    return {
        "format": layout.RUN_FORM,
        "schema": layout.SCHEMA,
        "run": name,
        "kind": "simulate",
        "identity": f"{number % 997:064x}",
        "identity_excludes": ["threads"],
        "started_at": layout.utc_text(moment),
        "attempt": attempt,
        "resumes": None,
        "campaign": f"night{number // 1000}",
        "parents": [],
        "configuration": {
            "channel": "bsc",
            "qber": (number % 40) / 1000,
            "block_length": 2 ** (12 + number % 9),
            "payload_length": 2 ** (12 + number % 9),
            "info_length": 3401,
            "code_rate": 0.830322265625,
            "check": "crc32",
            "strategy": STRATEGIES[number % 4],
            "design": "de",
            "code_digest": f"{number % 40:064x}",
            "list_size": 2 ** (number % 6),
            "escalation": [],
            "precision": "int8",
            "max_frames": 1000,
            "seed": number,
            "threads": 2,
        },
        "seeds": {"simulation": number},
        "security_randomness": {},
        "code": {"version": "0.1.0", "commit": f"{number // 5000:040x}", "dirty": number % 7 == 0},
        "engine": {"engine": "avx2", "precision": "int8"},
        "machine": {
            "fingerprint": f"{number % 5:016x}",
            "cpu_model": "A Processor",
            "cpu_features": "ecfefe0ffbf1781d",
            "cores": 2,
            "architecture": "x86_64",
            "kernel": "6.1.0",
            "system": "Linux",
            "hostname": f"node{number % 200}",
            "memory_bytes": 2**34,
            "python": "3.11.7",
            "usable_cores": 2,
        },
        "process": {"pid": 1000 + number % 30000, "boot_id": f"{number % 5:036}", "start_ticks": number},
    }


def _seal(name: str, moment: Any, dice: random.Random, records: int) -> dict[str, Any]:
    errors = dice.randrange(100)
    return {
        "format": layout.SEAL_FORM,
        "schema": layout.SCHEMA,
        "run": name,
        "sealed_at": layout.utc_text(moment),
        "elapsed_s": dice.uniform(1, 50),
        "summary": {
            "frames": 1000,
            "frame_errors": errors,
            "detected_failures": errors,
            "undetected_errors": 0,
            "fer": errors / 1000,
            "decode_s": dice.uniform(0, 1),
            "coded_mbps": dice.uniform(30, 40),
            "payload_mbps": dice.uniform(20, 30),
            "efficiency": dice.uniform(1.1, 1.3),
            "leakage_bits": 695,
            "decoder_bytes": 95264,
            "engine": "avx2",
        },
        "files": {"records-main.jsonl": {"bytes": 100 * records, "sha256": "0" * 64, "records": records}},
    }

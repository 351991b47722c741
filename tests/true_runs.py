"""True runs for the tests of physical sense, and how to forge one: change a figure and seal it anew.

Covers: small runs of every kind, made in this process; a run as plain values; a run directory written from them. Does
not cover: what is wrong with a forgery.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caligo.channel import Qbers
from caligo.cli import main
from caligo.store import Finding, layout, load_run
from caligo.store.files import document_bytes
from caligo.store.governing.physics import physical_findings
from caligo.store.records import frame_record, record_salt
from caligo.store.values import encode_record

BITS = 1 << 16


@dataclass
class PlainRun:
    """A run as plain values; change them as you like."""

    document: dict[str, Any]
    seal: dict[str, Any]
    records: list[dict[str, Any]]

    @property
    def summary(self) -> dict[str, Any]:
        """The figures."""
        figures: dict[str, Any] = self.seal["summary"]
        return figures

    @property
    def configuration(self) -> dict[str, Any]:
        """What was asked for."""
        asked: dict[str, Any] = self.document["configuration"]
        return asked

    def copy(self) -> PlainRun:
        """Another one."""
        return copy.deepcopy(self)

    def findings(self, now: datetime | None = None) -> list[Finding]:
        """What of it cannot have happened."""
        return physical_findings(self.document, self.seal, self.records, now or datetime.now(UTC))

    def codes(self) -> list[str]:
        """The codes of these, once each."""
        return sorted({finding.code.name for finding in self.findings()})


def plain_run(path: Path) -> PlainRun:
    """The run of a directory."""
    run = load_run(path)
    assert run.seal is not None
    return PlainRun(run.document, run.seal, list(run.records()))


def forge(path: Path, change: Callable[[PlainRun], object]) -> None:
    """Change figures of a sealed run of one record file, and seal it anew, as who may write the directory can."""
    run = plain_run(path)
    change(run)
    os.chmod(path, 0o755)
    for name in os.listdir(path):
        os.chmod(path / name, 0o644)
    salt = record_salt(run.document["run"], "main")
    lines = [frame_record(salt, index, encode_record(record)) for index, record in enumerate(run.records)]
    contents = {"records-main.jsonl": b"".join(lines), layout.RUN_FILE: document_bytes(run.document)}
    for name, data in contents.items():
        run.seal["files"][name] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (path / name).write_bytes(data)
    run.seal["files"]["records-main.jsonl"]["records"] = len(run.records)
    (path / layout.SEAL_FILE).write_bytes(document_bytes(json.loads(json.dumps(run.seal))))
    for name in os.listdir(path):
        os.chmod(path / name, 0o444)


def key_pair(qber: Qbers, seed: int, bits: int = BITS) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two sifted keys, packed."""
    noise = np.random.default_rng(seed)
    hers = noise.integers(0, 2, bits, dtype=np.uint8)
    rates = np.where(hers == 0, qber[0], qber[1]) if isinstance(qber, tuple) else np.full(bits, qber)
    his = hers ^ (noise.random(bits) < rates).astype(np.uint8)
    return np.packbits(hers, bitorder="little"), np.packbits(his, bitorder="little")


def record_reconciliation(store: Path, rate: Qbers = 0.02, seed: int = 1, bits: int = BITS, **settings: Any) -> Path:
    """Reconcile two simulated keys, and say where the run is."""
    from caligo.jobs import reconcile

    report = reconcile(*key_pair(rate, seed, bits), store=store, key_bits=bits, **settings)
    assert report.run is not None
    return Path(report.run)


def record_command(store: Path, *words: str) -> Path:
    """Run a command that records, and say where the run is."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = main([*words, "--store", str(store), "--json"])
    assert code == 0, words
    return Path(json.loads(output.getvalue())["run"])

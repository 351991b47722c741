"""MLflow: an `mlruns` directory as MLflow tracking keeps it, a courtesy to who compares runs there.

Campaigns, and kinds of runs without one, are experiments; configuration and seeds are parameters, the numbers of the
summary metrics, everything else tags; `run.json` and `seal.json` are artifacts. Ids follow from names and attempts, so
the same run is the same there too. Open it with `MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri OUT`, or
take it over into a database with `mlflow migrate-filestore`.

Source: mlflow.store.tracking.file_store of MLflow 2 and 3.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from caligo.store.export.otlp import ended_ns, started_ns
from caligo.store.export.rows import kind_of
from caligo.store.indexing.flatten import flatten_run
from caligo.store.reader import Run

_FORBIDDEN = re.compile(r"[^\w. /:-]")
_LONGEST = 5000
_FINISHED, _FAILED, _RUNNING = 3, 4, 1


def write(runs: Sequence[Run], place: Path, final: Path) -> int:
    """Write the layout; returns 0, no records are in it."""
    (place / ".trash").mkdir()
    experiments: dict[str, list[Run]] = {}
    for run in runs:
        experiments.setdefault(run.campaign or f"caligo {run.kind}", []).append(run)
    for name, members in experiments.items():
        number = str(int(hashlib.sha256(f"caligo.mlflow/1\n{name}".encode()).hexdigest()[:15], 16))
        directory = place / number
        directory.mkdir()
        times = [started_ns(run) // 10**6 for run in members]
        _meta(
            directory,
            {
                "artifact_location": (final / number).as_uri(),
                "creation_time": min(times),
                "experiment_id": number,
                "last_update_time": max(times),
                "lifecycle_stage": "active",
                "name": name,
            },
        )
        for run in members:
            _write_run(run, directory, final / number, number)
    return 0


def _write_run(run: Run, directory: Path, final: Path, experiment: str) -> None:
    identifier = str(run.document["attempt"])
    place = directory / identifier
    for name in ("params", "metrics", "tags", "artifacts"):
        (place / name).mkdir(parents=True)
    user = "caligo"
    _meta(
        place,
        {
            "artifact_uri": (final / identifier / "artifacts").as_uri(),
            "end_time": None if run.seal is None and run.interruption is None else ended_ns(run) // 10**6,
            "entry_point_name": "",
            "experiment_id": experiment,
            "lifecycle_stage": "active",
            "run_id": identifier,
            "run_name": run.name,
            "run_uuid": identifier,
            "source_name": "",
            "source_type": 4,
            "source_version": "",
            "start_time": started_ns(run) // 10**6,
            "status": _FINISHED if run.seal is not None else _FAILED if run.interruption is not None else _RUNNING,
            "tags": [],
            "user_id": user,
        },
    )
    stamp = ended_ns(run) // 10**6
    _put(place / "tags" / "mlflow.runName", run.name)
    _put(place / "tags" / "mlflow.user", user)
    for name, value in flatten_run(run).items():
        leaf = _FORBIDDEN.sub("_", name)
        section = name.partition(".")[0]
        if section in ("configuration", "seeds"):
            _put(place / "params" / leaf, _text(value))
        elif section == "summary" and kind_of(value) in ("integer", "number"):
            _put(place / "metrics" / leaf.removeprefix("summary."), f"{stamp} {value!r} 0\n")
        else:
            _put(place / "tags" / f"caligo.{leaf}", _text(value))
    for name in ("run.json", "seal.json", "interrupted.json"):
        if (run.path / name).is_file():
            shutil.copyfile(run.path / name, place / "artifacts" / name)


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:_LONGEST]


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _meta(directory: Path, content: dict[str, Any]) -> None:
    """YAML, of which JSON is a part."""
    _put(directory / "meta.yaml", json.dumps(content, indent=2) + "\n")

"""RO-Crate: the run directories as they are, and `ro-crate-metadata.json` that says what they are.

RO-Crate 1.1 with the profile Process Run Crate 0.5: every run is a ``CreateAction`` with its instrument (caligo, in its
version), its settings as ``PropertyValue``, its times, status and result: the run directory, file by file with size and
SHA-256. Whoever has the crate has the runs: `caligo store merge` takes them in again.

Source: https://www.researchobject.org/ro-crate/specification/1.1/, https://w3id.org/ro/wfrun/process/0.5.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from caligo.store import files
from caligo.store.indexing.flatten import flatten_run
from caligo.store.reader import Run

METADATA = "ro-crate-metadata.json"

_SPECIFICATION = "https://w3id.org/ro/crate/1.1"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_STATUS = {"sealed": "CompletedActionStatus", "interrupted": "FailedActionStatus", "open": "ActiveActionStatus"}
_MEDIA = {".json": "application/json", ".jsonl": "application/jsonl", ".parquet": "application/vnd.apache.parquet"}


def write(runs: Sequence[Run], place: Path, final: Path) -> int:
    """Copy the runs and describe them; returns how many records they hold."""
    graph: list[dict[str, Any]] = []
    for run in runs:
        graph.extend(_describe(run, place))
    software = {run.document.get("code", {}).get("version"): run for run in runs}
    graph.extend(_software(run) for run in software.values())
    started = sorted(str(run.document.get("started_at", "")) for run in runs)
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{len(runs)} run{'s' if len(runs) > 1 else ''} of caligo",
        "description": "Information reconciliation for quantum key distribution: configuration, records and figures of "
        "runs as caligo recorded them; no key bits.",
        "datePublished": started[-1],
        "license": "The license of these results is up to who publishes them; none is stated.",
        "conformsTo": {"@id": _PROFILE},
        "hasPart": [{"@id": _directory(run)} for run in runs],
        "mentions": [{"@id": f"#{run.name}"} for run in runs],
    }
    descriptor = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": {"@id": _SPECIFICATION},
        "about": {"@id": "./"},
    }
    profile = {"@id": _PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    content = {
        "@context": [f"{_SPECIFICATION}/context", "https://w3id.org/ro/terms/workflow-run/context"],
        "@graph": [descriptor, root, profile, *graph],
    }
    (place / METADATA).write_text(json.dumps(content, indent=2, ensure_ascii=True) + "\n", encoding="ascii")
    return sum(sum(run.record_counts.values()) for run in runs)


def _directory(run: Run) -> str:
    return f"runs/{quote(run.path.name)}/"


def _software_id(run: Run) -> str:
    return f"#caligo-{quote(str(run.document.get('code', {}).get('version') or 'unknown'))}"


def _software(run: Run) -> dict[str, Any]:
    version = run.document.get("code", {}).get("version")
    described = {"@id": _software_id(run), "@type": "SoftwareApplication", "name": "caligo"}
    return {**described, "softwareVersion": version} if version else described


def _describe(run: Run, place: Path) -> list[dict[str, Any]]:
    directory = place / "runs" / run.path.name
    directory.mkdir(parents=True)
    entities: list[dict[str, Any]] = []
    for source in sorted(path for path in run.path.iterdir() if path.is_file() and not path.name.startswith(".")):
        copy = directory / source.name
        shutil.copyfile(source, copy)
        size, digest, _ = files.file_digest(copy)
        entities.append(
            {
                "@id": _directory(run) + quote(source.name),
                "@type": "File",
                "name": source.name,
                "contentSize": str(size),
                "sha256": digest,
                "encodingFormat": _MEDIA.get(source.suffix, "application/octet-stream"),
            }
        )
    settings = [
        {"@id": f"#{run.name}/{quote(name)}", "@type": "PropertyValue", "name": name, "value": value}
        for name, value in flatten_run(run).items()
        if name.startswith(("configuration.", "seeds."))
    ]
    ending = run.seal or run.interruption or {}
    ended = ending.get("sealed_at", ending.get("interrupted_at"))
    action = {
        "@id": f"#{run.name}",
        "@type": "CreateAction",
        "name": f"caligo {run.kind}",
        "startTime": run.document.get("started_at"),
        **({"endTime": ended} if ended else {}),
        "actionStatus": f"http://schema.org/{_STATUS[run.state.value]}",
        "instrument": {"@id": _software_id(run)},
        "object": [{"@id": setting["@id"]} for setting in settings],
        "result": {"@id": _directory(run)},
    }
    dataset = {
        "@id": _directory(run),
        "@type": "Dataset",
        "name": run.name,
        "hasPart": [{"@id": entity["@id"]} for entity in entities],
    }
    return [action, dataset, *entities, *settings]

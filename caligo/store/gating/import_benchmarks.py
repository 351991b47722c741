"""What pytest-benchmark measured, as a run of the store.

Covers: a JSON file of ``pytest --benchmark-json`` becomes one sealed run of kind ``benchmark``: a record a round, in a
summary the figures of each benchmark, and the machine and commit that the file names. Does not cover: running
benchmarks, comparing them (:mod:`.gates`), criterion's files.

A file is known by the hash of its bytes: what is in the store already is not imported again. Two imports of one file at
the same instant may both go through; no lock is taken.

Source: the format of pytest-benchmark 4 and 5 (`Metadata.as_dict`): ``benchmarks[].stats.data`` holds the seconds of
each round, divided by its iterations.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from caligo.errors import BenchmarkFileError
from caligo.store import environment, files, layout
from caligo.store.reader import State, list_runs
from caligo.store.values import LARGEST_INTEGER
from caligo.store.writer import RunWriter

__all__ = ["KIND", "Benchmark", "BenchmarkFile", "Imported", "import_benchmarks", "parse_benchmarks"]

KIND = "benchmark"
"""Kind of a run that holds an imported file."""

LARGEST_FILE_BYTES = 256 * 1024 * 1024
MOST_BENCHMARKS = 1024
"""Benchmarks in one file; with their figures they fit the limits of a summary."""

_LONGEST_NAME = 256
_MOST_EXTRA = 64


@dataclass(frozen=True)
class Benchmark:
    """One benchmark of a file.

    Attributes:
        name: its full name, ``file.py::test[parameters]``.
        elapsed_ns: time of each round in nanoseconds, in the order measured.
        iterations: calls in a round, over which its time is averaged.
        timer: what told the time, such as ``perf_counter``; empty when unknown.
        extra: numbers and short texts that the benchmark added.
    """

    name: str
    elapsed_ns: tuple[int, ...]
    iterations: int
    timer: str
    extra: Mapping[str, int | float | str | bool | None]


@dataclass(frozen=True)
class BenchmarkFile:
    """A parsed file.

    Attributes:
        benchmarks: by full name, sorted.
        recorded_at: when it was written, UTC text.
        machine: ``fingerprint`` over ``cpu_model``, ``cpu_features``, ``cores`` and ``architecture`` as the file names
            them, and ``hostname``, ``system``, ``kernel``, ``python``. The fingerprint tells machines of imported files
            apart, not from the fingerprints of other runs.
        commit: ``id``, ``branch``, ``dirty``.
        sha256: of the bytes.
    """

    benchmarks: tuple[Benchmark, ...]
    recorded_at: str
    machine: Mapping[str, Any]
    commit: Mapping[str, Any]
    sha256: str


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        run: directory of the run.
        is_new: False where the store had the file already.
        benchmarks: how many.
        rounds: over all benchmarks.
    """

    run: Path
    is_new: bool
    benchmarks: int
    rounds: int


# --- reading a file -----------------------------------------------------------------------------------------------


def _refuse(what: str, expected: str, got: str) -> BenchmarkFileError:
    return BenchmarkFileError(
        f"cannot read {what}: expected {expected}, got {got}; write the file with pytest --benchmark-json=FILE",
        where=what,
        expected=expected,
        got=got,
    )


def _kind_of(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "nothing"}
    return names.get(type(value), "a number")


def _text(value: object, longest: int = _LONGEST_NAME) -> str | None:
    """A text that a store can hold, or None: control characters stay, lone surrogates are replaced."""
    if not isinstance(value, str):
        return None
    return value[:longest].encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _whole(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_INTEGER:
        return value
    return None


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _elapsed_ns(data: object, where: str) -> tuple[int, ...]:
    if not isinstance(data, list) or not data:
        raise _refuse(f"{where}.stats.data", "the seconds of each round", _kind_of(data))
    times: list[int] = []
    for value in data:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _refuse(f"{where}.stats.data", "seconds", _kind_of(value))
        if not 0 <= value < LARGEST_INTEGER / 1e9:
            raise _refuse(f"{where}.stats.data", "seconds >= 0", "a number that is none")
        times.append(round(value * 1e9))
    return tuple(times)


def _extra(values: Mapping[str, Any]) -> Iterator[tuple[str, int | float | str | bool | None]]:
    for key, value in sorted(values.items())[:_MOST_EXTRA]:
        name = _text(key, 64) or ""
        is_number = isinstance(value, (int, float)) and abs(value) <= LARGEST_INTEGER
        if isinstance(value, str):
            yield name, _text(value)
        elif value is None or is_number:
            yield name, value


def _benchmark(entry: object, number: int) -> Benchmark:
    where = f"benchmarks[{number}]"
    values = _object(entry)
    name = values.get("fullname")
    if not isinstance(name, str) or not name or len(name) > _LONGEST_NAME or _text(name) != name:
        raise _refuse(f"{where}.fullname", f"a name of 1 to {_LONGEST_NAME} characters", _kind_of(name))
    stats = _object(values.get("stats"))
    timer = _object(values.get("options")).get("timer")
    return Benchmark(
        name,
        _elapsed_ns(stats.get("data"), where),
        _whole(stats.get("iterations")) or 1,
        _text(timer) or "",
        dict(_extra(_object(values.get("extra_info")))),
    )


def _moment(value: object) -> str:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            return layout.utc_text(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        except (ValueError, OverflowError):
            pass
    raise _refuse("datetime", "the time of recording in ISO 8601", _kind_of(value))


def _machine(info: Mapping[str, Any]) -> dict[str, Any]:
    cpu = _object(info.get("cpu"))
    flags = cpu.get("flags")
    known = sorted({flag for flag in flags if isinstance(flag, str)}) if isinstance(flags, list) else []
    stable = {
        "cpu_model": _text(cpu.get("brand_raw")),
        "cpu_features": hashlib.sha256(repr(known).encode("utf-8", "replace")).hexdigest()[:16] if known else None,
        "cores": _whole(cpu.get("count")),
        "architecture": _text(info.get("machine")),
    }
    is_known = stable["cpu_model"] is not None and stable["cores"] is not None
    fingerprint = hashlib.sha256(repr(sorted(stable.items())).encode("utf-8", "replace")).hexdigest()[:16]
    return {
        "fingerprint": f"pytest-benchmark:{fingerprint}" if is_known else None,
        **stable,
        "hostname": _text(info.get("node")),
        "system": _text(info.get("system")),
        "kernel": _text(info.get("release")),
        "python": _text(info.get("python_version")),
    }


def parse_benchmarks(data: bytes) -> BenchmarkFile:
    """Read what ``pytest --benchmark-json`` wrote.

    Args:
        data: all bytes of the file.

    Raises:
        BenchmarkFileError: they are something else, or lack the rounds; the message names the place.
    """
    if len(data) > LARGEST_FILE_BYTES:
        raise _refuse("the file", f"at most {LARGEST_FILE_BYTES} bytes", f"{len(data)}")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _refuse("the file", "JSON", type(error).__name__) from None
    entries = _object(document).get("benchmarks")
    if not isinstance(entries, list) or not entries:
        raise _refuse("benchmarks", "a list of benchmarks", _kind_of(entries) if entries else "none")
    if len(entries) > MOST_BENCHMARKS:
        raise _refuse("benchmarks", f"at most {MOST_BENCHMARKS}", f"{len(entries)}")
    found = [_benchmark(entry, number) for number, entry in enumerate(entries)]
    names = {benchmark.name for benchmark in found}
    if len(names) < len(found):
        raise _refuse("benchmarks", "each full name once", "a name twice")
    commit = _object(document.get("commit_info"))
    dirty = commit.get("dirty")
    return BenchmarkFile(
        tuple(sorted(found, key=lambda benchmark: benchmark.name)),
        _moment(document.get("datetime")),
        _machine(_object(document.get("machine_info"))),
        {
            "id": _text(commit.get("id")),
            "branch": _text(commit.get("branch")),
            "dirty": dirty if isinstance(dirty, bool) else None,
        },
        hashlib.sha256(data).hexdigest(),
    )


# --- into a store -------------------------------------------------------------------------------------------------


def _figures(benchmark: Benchmark) -> dict[str, Any]:
    from caligo.statistics import Samples

    return {
        "rounds": len(benchmark.elapsed_ns),
        "iterations": benchmark.iterations,
        "timer": benchmark.timer,
        "elapsed_ns": Samples(benchmark.elapsed_ns).summary(),
        "extra": dict(benchmark.extra),
    }


def _is_this_machine(machine: Mapping[str, Any]) -> bool:
    here = environment.machine_fingerprint()
    return all(machine[name] == here[name] for name in ("cpu_model", "cores", "architecture"))


def _known(store: Path, sha256: str) -> Path | None:
    """The run that holds a file, whole."""
    for info in list_runs(store):
        if info.kind != KIND or info.state is not State.SEALED:
            continue
        try:
            document = files.read_document(info.path / layout.RUN_FILE, layout.RUN_FORM)
        except (OSError, files.DocumentError):
            continue
        if _object(document.get("configuration")).get("sha256") == sha256:
            return info.path
    return None


def import_benchmarks(
    path: str | os.PathLike[str], store: str | os.PathLike[str] | None = None, *, campaign: str | None = None
) -> Imported:
    """Record a pytest-benchmark file as a sealed run, unless the store has it.

    Args:
        path: the file.
        store: directory of the store; None is the default one.
        campaign: name of the campaign that the run belongs to.

    Returns:
        The run, new or known.

    Raises:
        BenchmarkFileError: the file cannot be read, or is something else; nothing is written.
        ConfigError: a bad name of a campaign.
        StoreError, ResourceError: the store cannot be written.
    """
    file = Path(path)
    try:
        if file.stat().st_size > LARGEST_FILE_BYTES:
            raise _refuse("the file", f"at most {LARGEST_FILE_BYTES} bytes", f"{file.stat().st_size}")
        data = file.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise BenchmarkFileError(
            f"cannot read {file}: {reason}; name a file of pytest --benchmark-json", path=str(file)
        ) from error
    parsed = parse_benchmarks(data)
    base = layout.default_store() if store is None else Path(store).absolute()
    rounds = sum(len(benchmark.elapsed_ns) for benchmark in parsed.benchmarks)
    known = _known(base, parsed.sha256)
    if known is not None:
        return Imported(known, False, len(parsed.benchmarks), rounds)
    names = hashlib.sha256("\n".join(benchmark.name for benchmark in parsed.benchmarks).encode()).hexdigest()
    configuration = {"command": "store import-benchmarks", "suite": names, "sha256": parsed.sha256}
    with RunWriter.create(base, KIND, configuration, identity_excludes=["sha256"], campaign=campaign) as run:
        for benchmark in parsed.benchmarks:
            run.record_many(
                {"benchmark": benchmark.name, "round": number, "elapsed_ns": elapsed_ns}
                for number, elapsed_ns in enumerate(benchmark.elapsed_ns)
            )
        run.seal(
            {
                "recorded_at": parsed.recorded_at,
                "machine": {**parsed.machine, "is_this": _is_this_machine(parsed.machine)},
                "commit": dict(parsed.commit),
                "benchmarks": {benchmark.name: _figures(benchmark) for benchmark in parsed.benchmarks},
            }
        )
        return Imported(run.path, True, len(parsed.benchmarks), rounds)

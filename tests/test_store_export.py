"""Exports: what left the store is what is in it, as each format's own library reads it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.errors import CaligoError, ConfigError, ResourceError, StoreError
from caligo.store import RunWriter, load_run
from caligo.store.export import FORMATS, documents, export_runs, otlp, parquet, rows, tables
from caligo.store.export.package import Export
from caligo.store.indexing.flatten import flatten_run

RECORDS: list[dict[str, Any]] = [
    {"block": 0, "outcome": "confirmed", "elapsed_ns": 2_000_000, "leakage_bits": 700, "qber": 0.02},
    {"block": 1, "outcome": "failed", "elapsed_ns": 4_100_000, "leakage_bits": 700, "note": "=1+1"},
    {"block": 2, "outcome": "confirmed", "elapsed_ns": 1000, "qber": 1, "by": {"rank": 3, "host": "n,1\r\n"}},
    {"block": 3, "outcome": "", "sizes": [1, 8], "run": "not this one", "last": None, "ok": True},
]
TEXTS = ("plain", "", "1", "true", "null", '"', "=SUM(A1)", "-1", "007", "a\nb", "NaN", "ä")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A sealed run, one with two writers that was interrupted, and one without records."""
    store = tmp_path_factory.mktemp("with a space\nand a line") / "store"
    paths = []
    for number, kind in enumerate(("reconcile", "simulate", "bench")):
        configuration = {"n": 1 << number, "p": 0.02, **{f"text{place}": text for place, text in enumerate(TEXTS)}}
        with RunWriter.create(store, kind, configuration, seeds={"simulation": 2**64 - 1}) as writer:
            paths.append(writer.path)
            if kind == "bench":
                writer.seal({"coded_mbps": 8.5})
                continue
            writer.record_many(RECORDS)
            if kind == "simulate":
                with RunWriter.join(writer.path, "rank0001") as second:
                    second.record_many(RECORDS[:2])
                writer.interrupt("Ctrl-C")
            else:
                writer.seal({"blocks": 4, "efficiency": 1.25, "leakage": {"syndrome": 600}, "big": 2**60})
    return paths


def recorded(paths: list[Path]) -> list[dict[str, Any]]:
    return [row for path in paths for row in rows.record_rows(load_run(path))]


def tree(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def export(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Export]:
    made: dict[str, Export] = {}

    def exported(form: str) -> Export:
        if form not in made:
            made[form] = export_runs(runs, tmp_path_factory.mktemp(form) / "out", form)
        return made[form]

    return exported


def test_csv_and_parquet_give_back_what_was_recorded(export: Callable[[str], Export], runs: list[Path]) -> None:
    expected = [dict(flatten_run(load_run(path))) for path in runs]
    for form, module in (("csv", tables), ("parquet", parquet)):
        done = export(form)
        assert (done.runs, done.records) == (3, 10)
        assert list(module.read_table(done.out / module.RUNS)) == expected
        read = list(module.read_table(done.out / module.RECORDS))
        # A table has no null beside a missing value, in Parquet.
        wanted = recorded(runs)
        if form == "parquet":
            wanted = [{name: value for name, value in row.items() if value is not None} for row in wanted]
        assert read == wanted
        assert [[type(row[name]) for name in row if name != "qber"] for row in read] == [
            [type(row[name]) for name in row if name != "qber"] for row in wanted
        ]


def test_json_gives_back_every_document_and_record(export: Callable[[str], Export], runs: list[Path]) -> None:
    done = export("json")
    for entry, path in zip(documents.read_documents(done.out), runs, strict=True):
        run = load_run(path)
        assert entry == {
            "run": run.name,
            "state": run.state.value,
            "run_document": run.document,
            "seal": run.seal,
            "interruption": run.interruption,
        }
    assert [line["record"] for line in documents.read_records(done.out)] == [
        record for path in runs for record in load_run(path).records()
    ]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.recursive(SCALARS, st.lists, max_leaves=5))
def test_every_value_has_a_cell_of_its_own(value: Any) -> None:
    text = tables.cell(value)
    assert text
    assert not text.startswith(("=", "+", "@")) or not isinstance(value, str)
    again = tables.value_of(text)
    assert again == value
    assert type(again) is type(value)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_refused(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        path = Path(place, tables.RUNS)
        path.write_bytes(data)
        with contextlib.suppress(ConfigError):
            list(tables.read_table(path))
        path.rename(Path(place, documents.RUNS))
        with pytest.raises(ConfigError):
            documents.read_documents(Path(place))


def test_otlp_is_what_the_protocol_defines(export: Callable[[str], Export], runs: list[Path]) -> None:
    from google.protobuf import json_format
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    done = export("otlp")
    lines = (done.out / otlp.TRACES).read_text().splitlines()
    for text, path in zip(lines, runs, strict=True):
        run = load_run(path)
        content = json.loads(text)
        for span in content["resourceSpans"][0]["scopeSpans"][0]["spans"]:
            # The one place where the protocol's JSON is not that of protobuf: ids are hexadecimal.
            for name in ("traceId", "spanId"):
                span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
        request = json_format.ParseDict(content, ExportTraceServiceRequest())
        (span,) = request.resource_spans[0].scope_spans[0].spans
        assert span.trace_id.hex() == run.document["attempt"]
        assert len(span.span_id) == 8
        assert span.name == run.kind
        took = (run.seal or run.interruption or {})["elapsed_s"]
        assert (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9 == pytest.approx(took, abs=1e-6)
        assert span.status.code == (1 if run.seal else 2)
    metrics = {}
    for text in (done.out / otlp.METRICS).read_text().splitlines():
        request = json_format.Parse(text, ExportMetricsServiceRequest())
        resource = request.resource_metrics[0]
        kind = next(a.value.string_value for a in resource.resource.attributes if a.key == "caligo.kind")
        metrics[kind] = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    found = metrics["reconcile"]
    assert found["caligo.efficiency"].gauge.data_points[0].as_double == 1.25
    assert found["caligo.leakage.syndrome"].gauge.data_points[0].as_int == 600
    blocks = {point.attributes[0].value.string_value: point.as_int for point in found["caligo.blocks"].sum.data_points}
    assert blocks == {"": 1, "confirmed": 2, "failed": 1}
    (point,) = found["caligo.block.decode_time"].histogram.data_points
    assert (point.count, point.sum, point.min, point.max) == (3, pytest.approx(6.101e-3), 1e-6, 4.1e-3)
    assert sum(point.bucket_counts) == 3
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    below = sum(n for n, bound in zip(point.bucket_counts, point.explicit_bounds, strict=False) if bound <= 2.048e-3)
    assert below == 2


def test_otlp_has_the_spans_of_a_job(tmp_path: Path) -> None:
    trace = (
        '{"displayTimeUnit":"ms","otherData":{"schema":"caligo.trace/1","origin_unix_ns":1700000000000000001},'
        '"traceEvents":[\n{"name":"process_name","ph":"M","pid":0,"tid":0,"args":{"name":"rank 0 (n1)"}},\n'
        '{"name":"decode","ph":"X","pid":1,"tid":2,"ts":12.345,"dur":0.007}\n]}\n'
    )
    with RunWriter.create(tmp_path / "store", "reconcile", {}) as writer:
        writer.attach("trace.json", trace.encode())
        writer.seal({})
    export_runs([writer.path], tmp_path / "otlp", "otlp")
    content = json.loads((tmp_path / "otlp" / otlp.TRACES).read_text())
    run, span = content["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert span["startTimeUnixNano"] == "1700000000000012346"
    assert span["endTimeUnixNano"] == "1700000000000012353"
    assert span["parentSpanId"] == run["spanId"]
    assert span["attributes"][0] == {"key": "caligo.rank", "value": {"intValue": "1"}}
    done = export_runs([writer.path], tmp_path / "trace", "trace")
    assert (done.out / f"{writer.name}.trace.json").read_text() == trace


def test_an_ro_crate_is_read_by_its_own_library_and_holds_the_runs(
    export: Callable[[str], Export], runs: list[Path]
) -> None:
    from rocrate.rocrate import ROCrate

    done = export("ro-crate")
    crate = ROCrate(done.out)
    actions = [entity for entity in crate.get_entities() if entity.type == "CreateAction"]
    assert [action["name"] for action in actions] == ["caligo reconcile", "caligo simulate", "caligo bench"]
    assert [str(action["actionStatus"]).rpartition("/")[2] for action in actions] == [
        "CompletedActionStatus",
        "FailedActionStatus",
        "CompletedActionStatus",
    ]
    assert actions[0]["instrument"]["name"] == "caligo"
    described = {entity.id: entity for entity in crate.get_entities() if entity.type == "File"}
    for path in runs:
        copy = load_run(done.out / "runs" / path.name)
        assert copy.state is load_run(path).state
        assert not copy.findings
        for file in path.iterdir():
            entity = described[f"runs/{path.name}/{file.name}"]
            assert entity["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
            assert int(entity["contentSize"]) == file.stat().st_size
    assert {part.id for part in crate.root_dataset["hasPart"]} >= {f"runs/{path.name}/" for path in runs}


@pytest.mark.filterwarnings("ignore")
def test_mlflow_reads_its_layout(
    export: Callable[[str], Export], runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.entities import ViewType
    from mlflow.store.tracking.file_store import FileStore

    done = export("mlflow")
    store = FileStore(str(done.out))
    experiments = {experiment.name: experiment for experiment in store.search_experiments()}
    assert set(experiments) >= {"caligo reconcile", "caligo simulate", "caligo bench"}
    found = {
        run.info.run_name: run
        for experiment in experiments.values()
        for run in store.search_runs([experiment.experiment_id], "", ViewType.ALL, 10)
    }
    assert set(found) == {path.name for path in runs}
    run = found[runs[0].name]
    assert run.info.status == "FINISHED"
    assert found[runs[1].name].info.status == "FAILED"
    assert run.data.metrics["efficiency"] == 1.25
    assert run.data.metrics["leakage.syndrome"] == 600
    assert run.data.params["configuration.p"] == "0.02"
    assert run.data.tags["caligo.identity"] == load_run(runs[0]).identity
    artifacts = Path(run.info.artifact_uri.removeprefix("file://").replace("%20", " ").replace("%0A", "\n"))
    assert json.loads((artifacts / "seal.json").read_text())["summary"]["efficiency"] == 1.25


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "trace"])
def test_the_same_runs_give_the_same_bytes(
    form: str, export: Callable[[str], Export], runs: list[Path], tmp_path: Path
) -> None:
    first = export(form)
    again = export_runs([*runs, runs[0]], tmp_path / "again", form)
    assert again.files.keys() == first.files.keys()
    if form != "mlflow":  # names where it lies
        assert tree(again.out) == tree(first.out)
    assert {name: len(data) for name, data in tree(again.out).items()} == dict(again.files)


def test_a_damaged_run_is_not_exported_and_nothing_is_left(runs: list[Path], tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "store" / "runs" / runs[0].name
    shutil.copytree(runs[0], copy)
    records = copy / "records-main.jsonl"
    data = bytearray(records.read_bytes())
    data[40] ^= 1
    os.chmod(records, 0o644)
    records.write_bytes(data)
    with pytest.raises(StoreError, match="CAL-STORE-0"):
        export_runs([runs[1], copy], tmp_path / "out", "csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


def test_what_cannot_be_is_said(runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="format"):
        export_runs(runs, tmp_path / "out", "xml")
    with pytest.raises(ConfigError, match="got none"):
        export_runs([], tmp_path / "out", "csv")
    with pytest.raises(StoreError, match=r"trace\.json"):
        export_runs(runs, tmp_path / "out", "trace")
    (tmp_path / "taken").mkdir()
    with pytest.raises(StoreError, match="already"):
        export_runs(runs, tmp_path / "taken", "csv")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ResourceError, match=r"caligo\[parquet\]"):
        export_runs(runs, tmp_path / "out", "parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


def test_a_full_disk_leaves_nothing(runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables, "_write", full)
    with pytest.raises(CaligoError, match="space"):
        export_runs(runs, tmp_path / "out", "csv")
    assert list(tmp_path.iterdir()) == []

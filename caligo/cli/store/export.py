"""`caligo store export`: runs in the formats of others.

Covers: options and printing. Does not cover: the formats (`caligo.store.export`).
"""

from __future__ import annotations

from pathlib import Path

import click

from caligo.cli._options import json_option, store_option
from caligo.cli._output import emit_json, format_bytes, many, print_facts
from caligo.cli.store._index import index_option
from caligo.errors import ConfigError

_FORMATS = ("csv", "json", "parquet", "otlp", "ro-crate", "mlflow", "trace")


@click.command("export", short_help="Write runs as CSV, JSON, Parquet, OTLP, RO-Crate, MLflow files or traces.")
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("--where", metavar="FILTER", default=None, help="Every run for which this holds, oldest first.")
@click.option("--format", "form", type=click.Choice(_FORMATS), required=True, help="Format.")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    required=True,
    help="Directory that is made; it must not be there yet.",
)
@index_option
@store_option
@json_option
def command(
    runs: tuple[str, ...], where: str | None, form: str, out: Path, index: str | None, store: Path, as_json: bool
) -> None:
    """Write runs in another format: RUN as of `caligo store show`, or all that a filter selects.

    Every byte of the runs is verified first; a damaged run is not exported. Quarantined runs are exported only where
    they are named.
    """
    from caligo.store import find_run
    from caligo.store.export import export_runs
    from caligo.store.indexing.index import select_runs

    if bool(runs) == (where is not None):
        raise ConfigError("expected runs or --where FILTER, got both or neither; --where '' selects every run")
    paths = [find_run(store, run) for run in runs] if where is None else select_runs(store, where, url=index)
    done = export_runs(paths, out, form)
    if as_json:
        document = {"out": str(done.out), "format": done.format, "runs": done.runs, "records": done.records}
        emit_json("caligo.store-export/1", {**document, "files": dict(done.files)})
        return
    size = format_bytes(sum(done.files.values()))
    print_facts({"exported": many(done.runs, "run"), "files": f"{len(done.files):,} ({size})", "in": str(done.out)})

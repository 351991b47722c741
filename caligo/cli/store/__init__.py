"""`caligo store`: everything about what was recorded; one file per family of commands.

Covers: the list of commands. Does not cover: what they do; each reads options, calls `caligo.store`, and prints.
"""

from __future__ import annotations

import click

from caligo.cli._lazy import Entry, LazyGroup

COMMANDS: dict[str, Entry] = {
    "list": Entry("list_command", "List the runs of a store, with their key figures.", "runs"),
    "show": Entry("show_command", "Show one run, and what is wrong with its files.", "runs"),
    "query": Entry("query_command", "Ask which runs, which values, how many, and for groups.", "query"),
    "reindex": Entry("reindex_command", "Build the index of a store anew.", "query"),
    "merge": Entry("merge_command", "Bring the runs and ledgers of stores into one.", "merge"),
    "migrate": Entry("migrate_command", "Copy an older store into one of this caligo's schema.", "merge"),
    "diff": Entry("diff_command", "Compare two runs: configuration, environment, figures.", "diff"),
    "neighbours": Entry(
        "neighbours_command", "Show the runs that differ from one in a single key, or a few.", "neighbours"
    ),
    "history": Entry("history_command", "Show one metric over time, and where its level changed.", "history"),
    "lineage": Entry("lineage_command", "Show where runs come from, and what was made of them.", "lineage"),
    "validate": Entry("validate_command", "Validate runs and the store around them.", "validate"),
    "repair": Entry("repair_command", "Put right what can be put right, as new records.", "validate"),
    "release": Entry("release_command", "Take a run out of quarantine.", "validate"),
    "reject": Entry("reject_command", "Declare a run void, for good.", "validate"),
    "bundle": Entry("bundle_command", "Put a run into one signed file, for others to check and run again.", "bundle"),
    "verify-bundle": Entry("verify_command", "Verify a signed bundle, without the store that it came from.", "bundle"),
    "ledger": Entry("ledger_group", "Sign, prove and verify what was done to a store.", "ledger"),
    "key": Entry("key_group", "Make signing keys, and say whose signatures are believed.", "key"),
    "export": Entry("command", "Write runs as CSV, JSON, Parquet, OTLP, RO-Crate, MLflow files or traces.", "export"),
    "import-benchmarks": Entry("import_command", "Record a pytest-benchmark file as a run.", "gate"),
    "baseline": Entry("baseline_group", "Declare runs good, by name.", "gate"),
    "gate": Entry("gate_command", "Fail if runs are worse than a baseline.", "gate"),
    "alerts": Entry("alerts_group", "Be told when a run is not as it should be.", "alerts"),
    "report": Entry("report_command", "Write a page about a run, about two compared, or about the store.", "report"),
}
"""Subcommand -> object in a file of this package, and its line in `caligo store --help` (in this order)."""


@click.group("store", cls=LazyGroup, package="caligo.cli.store", table=COMMANDS)
def group() -> None:
    """Look at, compare, validate, prove and export what was recorded.

    Every reconcile, simulate and bench command records its run in a store: a directory of plain files, one run a
    directory.
    """

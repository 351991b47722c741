"""The page of one run: what it was, how it went, whether it is still what was recorded.

Covers: runs of every kind and state. Does not cover: how the page looks; plots (:mod:`caligo.reports.run_plots`); the
sections about the ledger and the origin of a run (:mod:`caligo.reports.provenance`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from caligo.reports import provenance, run_plots
from caligo.reports.figures import Scalar, exact, number
from caligo.reports.metric_facts import metric_facts
from caligo.reports.model import Column, Fact, PageModel, Plot, Section, Table
from caligo.reports.naming import described
from caligo.reports.rank_files import Rank, read_busy_times, read_ranks
from caligo.reports.record_profile import RecordProfile, profile_records
from caligo.statistics import Proportion
from caligo.store import Finding, Run, State, load_run
from caligo.store.comparing.metrics import Metric, run_metrics

_MOST_KEY_FIGURES = 24
_MOST_FINDINGS = 100
_MOST_RANKS = 64
_MOST_FILES = 64
_MOST_VALUES = 400


def run_page(path: str | os.PathLike[str], *, verify: bool = True, written_at: str = "") -> PageModel:
    """All that a store knows of one run.

    Args:
        path: the run's directory.
        verify: look at every byte; otherwise the page says that nobody did.
        written_at: when the page was made, as UTC text; empty leaves it out, and the same store gives the same page.

    Returns:
        The page; damage of the run is on it, not raised.

    Raises:
        StoreError: there is no such run, or a file cannot be read.
        SchemaVersionError: a newer caligo wrote it.
    """
    run = load_run(path, verify=verify)
    metrics = run_metrics(run)
    profile = profile_records(run)
    ranks = read_ranks(run.path)
    target = _target(run)
    sections = (
        Section(
            "key-figures", "Key figures", facts=metric_facts(list(metrics.values())[:_MOST_KEY_FIGURES]), as_cards=True
        ),
        Section("findings", "Findings", tables=tuple(filter(None, [findings_table(run.findings)]))),
        Section("plots", "Plots", plots=tuple(_plots(run, metrics, profile, ranks, target))),
        Section("outcomes", "Outcomes", tables=tuple(filter(None, [_outcomes(profile)]))),
        Section("ranks", "Ranks", tables=tuple(filter(None, [_ranks(ranks)]))),
        _configuration(run),
        _environment(run),
        provenance.ledger_section(run),
        provenance.lineage_section(run),
        _files(run),
        Section("summary", "All figures", tables=tuple(filter(None, [_summary(run)]))),
    )
    return PageModel(
        kind="run",
        title=f"Run {run.name}",
        subtitle=_subtitle(run),
        facts=tuple(_facts(run, profile)),
        sections=tuple(section for section in sections if not section.is_empty),
        written_at=written_at,
    )


def _subtitle(run: Run) -> str:
    values = {"kind": run.kind}
    for place, given in (("summary", run.summary or {}), ("configuration", run.configuration)):
        values |= {f"{place}.{name}": value for name, value in given.items()}
    return f"{described(values)}; {_state(run)}"


def _state(run: Run) -> str:
    if run.state is State.OPEN and run.running is False:
        return "open, killed"
    return run.state.value


def _facts(run: Run, profile: RecordProfile) -> Iterator[Fact]:
    document, ending = run.document, run.seal or run.interruption or {}
    yield Fact("run", "Run", run.name)
    yield Fact("kind", "Kind", run.kind or None)
    yield Fact("state", "State", _state(run), note=_verification(run))
    standing = provenance.standing_text(run)
    if standing:
        yield Fact("standing", "Standing", standing, note="by the ledger of the store")
    yield Fact("started_at", "Started", _text(document.get("started_at")))
    for name, label in (("sealed_at", "Sealed"), ("interrupted_at", "Interrupted")):
        if _text(ending.get(name)):
            yield Fact(name, label, _text(ending.get(name)))
    if isinstance(ending.get("elapsed_s"), (int, float)):
        yield Fact("elapsed_s", "Took", ending["elapsed_s"], "s", note="of the record, from its start to its end")
    yield Fact("records", "Records", profile.records)
    if _text(ending.get("reason")):
        yield Fact("reason", "Reason of the interruption", _text(ending.get("reason")))
    error = ending.get("error")
    if isinstance(error, dict):
        told = ": ".join(filter(None, (_text(error.get("class")), _text(error.get("message")))))
        yield Fact("error", "Error", told or None, note=_text(error.get("at")) or "")
    for name, label in (("campaign", "Campaign"), ("resumes", "Goes on with")):
        if _text(document.get(name)):
            yield Fact(name, label, _text(document.get(name)))
    yield Fact("identity", "Identity of the experiment", run.identity)


def _verification(run: Run) -> str:
    if not run.verified:
        return "not verified: the documents alone were read"
    damage = sum(finding.severity == "damage" for finding in run.findings)
    if damage:
        return f"verified just now: {number(damage)} finding(s) of damage"
    held = "against the hashes of the records and the seal" if run.seal else "against the hashes of the records"
    return f"verified just now: every byte, {held}"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _target(run: Run) -> float | None:
    for source in (run.summary or {}, run.configuration):
        value = source.get("target_fer")
        if isinstance(value, float) and 0.0 < value < 1.0:
            return value
    return None


def _plots(
    run: Run, metrics: Mapping[str, Metric], profile: RecordProfile, ranks: tuple[Rank, ...], target: float | None
) -> Iterator[Plot]:
    busy = read_busy_times(run.path) if ranks else None
    plots = (
        run_plots.throughput_over_time(busy, ranks),
        run_plots.throughput_per_rank(ranks),
        run_plots.time_per_rank(ranks),
        run_plots.throughput_along_the_run(profile),
        run_plots.decode_times(metrics.get("decode_time_ns")),
        run_plots.failure_rates(metrics, target),
        run_plots.efficiency_against_the_limit(run, metrics, target),
        run_plots.memory_against_budget(run, ranks),
    )
    yield from (plot for plot in plots if plot is not None)


# --- tables -----------------------------------------------------------------------------------------------------------


def findings_table(findings: tuple[Finding, ...]) -> Table | None:
    """What was found wrong, each with its remedy; None where nothing was."""
    if not findings:
        return None
    shown = findings[:_MOST_FINDINGS]
    return Table(
        "findings",
        "What is not as it was written, and what to do",
        (
            Column("code", "Code", code=True),
            Column("severity", "Severity"),
            Column("where", "Where", code=True),
            Column("what", "What"),
            Column("remedy", "Remedy"),
        ),
        tuple((f.code.value, f.severity.value, f.where, f.what, f.remedy) for f in shown),
        len(findings) - len(shown),
    )


def _outcomes(profile: RecordProfile) -> Table | None:
    if not profile.outcomes or set(profile.outcomes) == {""}:
        return None
    rows = []
    for outcome, count in profile.outcomes.items():
        low, high = Proportion(count, profile.records).interval()
        rows.append((outcome or "(none)", count, count / profile.records, low, high))
    return Table(
        "outcomes",
        f"Outcomes of {number(profile.records)} records, with 95 % Clopper-Pearson intervals",
        (
            Column("outcome", "Outcome"),
            Column("records", "Records"),
            Column("share", "Share", "share"),
            Column("low", "from", "share"),
            Column("high", "to", "share"),
        ),
        tuple(rows),
    )


def _ranks(ranks: tuple[Rank, ...]) -> Table | None:
    if not ranks:
        return None
    shown = ranks[:_MOST_RANKS]
    return Table(
        "ranks",
        "Ranks of the job",
        (
            Column("rank", "Rank"),
            Column("host", "Host"),
            Column("threads", "Threads"),
            Column("elapsed_s", "Time", "s"),
            Column("blocks", "Blocks"),
            Column("blocks_failed", "Failed"),
            Column("payload_mbps", "Payload", "Mbit/s"),
            Column("decode_s", "Decoding", "s"),
            Column("peak_rss_bytes", "Memory used", "bytes"),
            Column("memory_budget_bytes", "of", "bytes"),
        ),
        tuple(
            (
                rank.rank,
                rank.host,
                rank.threads,
                rank.elapsed_s,
                rank.blocks,
                rank.blocks_failed,
                rank.payload_mbps,
                rank.phases_s.get("decode"),
                rank.peak_rss_bytes,
                rank.memory_budget_bytes,
            )
            for rank in shown
        ),
        len(ranks) - len(shown),
    )


def _configuration(run: Run) -> Section:
    settings = dict(flat(run.configuration))
    unset = sorted(name for name, value in settings.items() if value is None)
    table = values_table(
        "configuration", "What was asked for", {name: value for name, value in settings.items() if value is not None}
    )
    seeds = values_table("seeds", "Seeds of the simulation", dict(flat(run.document.get("seeds", {}))))
    paragraphs = (f"Left to caligo: {', '.join(unset)}.",) if unset else ()
    return Section("configuration", "Configuration", paragraphs, tables=tuple(filter(None, (table, seeds))))


def _environment(run: Run) -> Section:
    document = run.document
    code = {**document.get("code", {}), **document.get("engine", {})}
    tables = (
        values_table("code", "Code and decoder", dict(flat(code))),
        values_table("machine", "Machine", dict(flat(document.get("machine", {})))),
    )
    return Section("environment", "Environment", tables=tuple(filter(None, tables)))


def _files(run: Run) -> Section:
    if run.seal is None:
        return Section("files", "Files")
    listed = [(name, entry) for name, entry in sorted(run.seal["files"].items()) if isinstance(entry, dict)]
    rows = tuple(
        (name, _scalar(entry.get("bytes")), _scalar(entry.get("records")), _scalar(entry.get("sha256")))
        for name, entry in islice(listed, _MOST_FILES)
    )
    table = Table(
        "files",
        "Files under the seal",
        (
            Column("file", "File", code=True),
            Column("bytes", "Size", "bytes"),
            Column("records", "Records"),
            Column("sha256", "SHA-256", code=True),
        ),
        rows,
        max(0, len(listed) - _MOST_FILES),
    )
    return Section("files", "Files", tables=(table,) if rows else ())


def _summary(run: Run) -> Table | None:
    return values_table("summary", "The summary under the seal", dict(flat(run.summary or {})))


def values_table(name: str, caption: str, values: Mapping[str, Scalar]) -> Table | None:
    """Named values, digit by digit; None without any."""
    if not values:
        return None
    shown = tuple((key, exact(value)) for key, value in islice(values.items(), _MOST_VALUES))
    columns = (Column("name", "Name", code=True), Column("value", "Value", as_given=True))
    return Table(name, caption, columns, shown, max(0, len(values) - _MOST_VALUES))


def flat(values: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Scalar]]:
    """Nested objects, and lists of them by number, as one level of dotted names; other lists as compact JSON.

    Args:
        values: of a document.
        prefix: of the names.
        depth: of nesting, which ends at 16.
    """
    for name, value in values.items():
        nested = value
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            nested = {str(index): item for index, item in enumerate(value)}
        if isinstance(nested, Mapping) and nested and depth < 16:
            yield from flat(nested, f"{prefix}{name}.", depth + 1)
        else:
            yield f"{prefix}{name}", _scalar(value)


def _scalar(value: object) -> Scalar:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return "; ".join(value)
    return json.dumps(value)

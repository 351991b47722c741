"""Pages: one model in three forms, the same bytes for the same store, nothing that does not apply, nothing that acts.

Covers: what is on the pages of runs, comparisons and stores, and their forms. Does not cover: how a browser shows them
(tests/acceptance/test_reports_browser.py).
"""

from __future__ import annotations

import html.parser
import json
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.errors import ConfigError, ExitCode, ResourceError
from caligo.reports import (
    PageModel,
    comparison_page,
    render_html,
    render_json,
    render_markdown,
    run_page,
    store_page,
    write_page,
)
from caligo.reports.figures import axis_scale, exact, figure, power_of_two, shown
from caligo.reports.level_changes import level_changes
from caligo.reports.model import Axis, Column, Fact, Plot, Section, Series, Table
from caligo.reports.plots import StyleSheet, draw
from caligo.reports.rank_files import read_busy_times, read_ranks
from caligo.reports.record_profile import MOST_STRETCHES, profile_records
from caligo.store import RunWriter, load_run

HOSTILE = "<script>alert(1)</script> \" ' & | `x` $y$ \n\t\x1b[31m \u202e end"


def record(
    store: Path,
    *,
    blocks: int = 60,
    failed: int = 3,
    qber: float = 0.02,
    time_ns: int = 1_000_000,
    seal: bool = True,
    extra: dict[str, Any] | None = None,
    attach: dict[str, bytes] | None = None,
) -> Path:
    """A run as a reconciliation leaves it."""
    configuration = {
        "qber": qber, "block_length": 4096, "list_size": 8, "strategy": "one-way", "engine": None, "threads": 2,
        **(extra or {}),
    }  # fmt: skip
    writer = RunWriter.create(store, "reconcile", configuration, identity_excludes=["threads"])
    for block in range(blocks):
        writer.record(
            {
                "block": block, "outcome": "uncorrected" if block < failed else "confirmed", "block_length": 4096,
                "payload_bits": 4096, "leakage_bits": 700, "elapsed_ns": time_ns + 1000 * (block * 7 % 31),
            }
        )  # fmt: skip
    for name, data in (attach or {}).items():
        writer.attach(name, data)
    if seal:
        writer.seal(
            {
                "blocks": blocks, "blocks_failed": failed, "undetected_errors": 0, "key_bits": 4096 * blocks,
                "sampled_bits": 0, "discarded_bits": 0, "payload_length": 4096, "block_length": 4096, "list_size": 8,
                "strategy": "one-way", "true_qber": qber, "target_fer": 0.01, "leakage_bits": 700 * blocks,
                "efficiency": 1.21, "payload_mbps": 12.5, "peak_rss_bytes": 50_000_000,
            }
        )  # fmt: skip
    return writer.path


def rank(number: int) -> dict[str, Any]:
    return {
        "rank": number, "host": f"node{number}", "threads": 1, "elapsed_s": 0.5, "memory_budget_bytes": 2_000_000_000,
        "peak_rss_bytes": 60_000_000 + number, "sums": {
            "phases": {"decode": [30, 200_000_000, 9_000_000], "wait": [4, 50_000_000, 20_000_000]},
            "counters": {"blocks": 30, "blocks_failed": number, "payload_bits": 122_880},
        },
    }  # fmt: skip


def job_files(ranks: int = 2) -> dict[str, bytes]:
    spans = [
        {"name": "decode", "ph": "X", "pid": number, "tid": 1, "ts": 1000.0 * step, "dur": 800.0}
        for number in range(ranks)
        for step in range(40)
    ]
    trace = '{"traceEvents":[\n' + ",\n".join(json.dumps(span, separators=(",", ":")) for span in spans) + "\n]}\n"
    document = {"schema": "caligo.ranks/1", "ranks": [rank(number) for number in range(ranks)]}
    return {"ranks.json": json.dumps(document).encode(), "trace.json": trace.encode()}


class Reader(html.parser.HTMLParser):
    """Well-formedness, and the text that a reader sees."""

    VOID = frozenset({"meta", "col", "br", "link", "input", "img", "hr"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        values = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value is not None]
        self.links += [str(values[name]) for name in ("href", "xlink:href", "src") if name in values]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open[-1] == tag, f"</{tag}> where </{self.open[-1]}> is due"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)


def read_html(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def without_white_space(text: str) -> str:
    return "".join(text.split())


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "store"


@pytest.fixture(scope="module")
def pages(shared: Path) -> dict[str, PageModel]:
    store = shared
    first = record(store, extra={"note": HOSTILE}, attach=job_files())
    second = record(store, failed=9, time_ns=1_300_000, extra={"note": "x"})
    record(store, seal=False)
    return {
        "run": run_page(first),
        "comparison": comparison_page(load_run(first), load_run(second)),
        "store": store_page(store),
    }


@pytest.fixture(scope="module")
def html_pages(pages: dict[str, PageModel]) -> dict[str, str]:
    return {name: render_html(page) for name, page in pages.items()}


# --- three forms of one model -----------------------------------------------------------------------------------------


def test_every_fact_of_a_page_is_in_all_three_forms(pages: dict[str, PageModel], html_pages: dict[str, str]) -> None:
    for name, page in pages.items():
        texts = [without_white_space(text) for text in page.texts() if text]
        assert len(texts) > 40
        seen = without_white_space("".join(read_html(html_pages[name]).texts))
        markdown = without_white_space(re.sub(r"\\([\\`*_{}\[\]<>#|~!&$])", r"\1", render_markdown(page)))
        document = json.loads(render_json(page))
        values = without_white_space("\n".join(_strings(document)))
        for text in texts:
            assert text in seen
            assert text in markdown
            assert text in values or text in without_white_space(shown(values))


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for entry in value.values() for text in _strings(entry)]
    if isinstance(value, list):
        return [text for entry in value for text in _strings(entry)]
    return [shown(value)] if isinstance(value, str) else []


def test_the_same_store_gives_the_same_bytes(
    shared: Path, pages: dict[str, PageModel], html_pages: dict[str, str]
) -> None:
    assert store_page(shared) == pages["store"]
    path = next(path for path in (shared / "runs").iterdir() if path.name in pages["run"].title)
    again = run_page(path)
    assert render_html(again) == html_pages["run"]
    for render in (render_markdown, render_json):
        assert render(again) == render(pages["run"])


def test_a_page_is_whole_html_with_unique_names_and_nothing_from_elsewhere(html_pages: dict[str, str]) -> None:
    for text in html_pages.values():
        reader = read_html(text)
        assert len(reader.ids) == len(set(reader.ids))
        assert all(link.startswith("#") and link[1:] in reader.ids for link in reader.links)
        assert not reader.tags & {"script", "img", "iframe", "object", "embed", "link", "form", "base"}
        assert not {name for name in reader.attributes if name.startswith("on") or name == "style"}
        assert {"main", "h1", "h2", "caption", "th"} <= reader.tags


def test_the_policy_of_a_page_allows_its_style_sheet_alone(html_pages: dict[str, str]) -> None:
    import base64
    import hashlib

    text = html_pages["run"]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    style = re.search(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    assert policy is not None
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy[1] == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_a_name_from_a_run_is_text_and_nothing_else(pages: dict[str, PageModel], html_pages: dict[str, str]) -> None:
    text = html_pages["run"]
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    markdown = render_markdown(pages["run"])
    assert "<script" not in markdown.replace("\\<", "")
    rows = [line for line in markdown.splitlines() if "script" in line]
    assert rows
    assert all(len(re.findall(r"(?<!\\)\|", row)) in (0, 3) for row in rows)
    assert json.loads(render_json(pages["run"]))["sections"]


@settings(max_examples=40)
@given(st.text(max_size=60))
def test_any_text_stays_in_its_cell(text: str) -> None:
    table = Table("t", text, (Column("a", "A"), Column("b", text)), ((text, 1),))
    page = PageModel("run", text, text, (Section("s", text, (text,), tables=(table,)),), (Fact("f", text, text),))
    assert "".join(shown(text).split()) in without_white_space("".join(read_html(render_html(page)).texts))
    row = next(line for line in render_markdown(page).splitlines() if line.endswith("| 1 |"))
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 3
    json.loads(render_json(page))


# --- what is on a page ------------------------------------------------------------------------------------------------


def names(page: PageModel) -> set[str]:
    return {section.name for section in page.sections} | {plot.name for plot in page.plots()}


def test_a_run_of_ranks_has_their_plots_and_another_has_not(store: Path, pages: dict[str, PageModel]) -> None:
    of_ranks = {"throughput-over-time", "throughput-per-rank", "time-per-rank", "ranks"}
    assert of_ranks <= names(pages["run"])
    plain = names(run_page(record(store)))
    assert not of_ranks & plain
    assert {"throughput-along", "decode-times", "failure-rates", "efficiency", "memory", "outcomes"} <= plain
    assert "findings" not in plain


def test_a_section_that_does_not_apply_is_left_out(store: Path) -> None:
    page = run_page(record(store, blocks=0, failed=0, seal=False))
    assert {section.name for section in page.sections} == {"configuration", "environment"}
    assert all(not section.is_empty for section in page.sections)


def test_a_damaged_run_says_how_and_what_to_do(store: Path) -> None:
    path = record(store)
    file = path / "records-main.jsonl"
    os.chmod(file, 0o644)
    data = bytearray(file.read_bytes())
    data[200] ^= 1
    file.write_bytes(data)
    page = run_page(path)
    assert next(fact.value for fact in page.facts if fact.name == "state") == "damaged"
    table = next(section.tables[0] for section in page.sections if section.name == "findings")
    assert "CAL-STORE-021" in {row[0] for row in table.rows}
    assert all(row[-1] for row in table.rows)


def test_the_efficiency_stands_beside_the_limit_at_its_own_length(store: Path) -> None:
    from caligo.channel import normal_approximation_efficiency

    plot = next(plot for plot in run_page(record(store)).plots() if plot.name == "efficiency")
    limit, point = plot.series
    here = normal_approximation_efficiency(4096, 0.02, 3 / 60)
    assert point.x == (4096.0,)
    assert point.y == (1.21,)
    assert np.interp(4096, limit.x, limit.y) == pytest.approx(here)
    assert figure(here) in plot.description


def test_failure_rates_have_exact_intervals_and_their_target(store: Path) -> None:
    from caligo.statistics import Proportion

    plot = next(plot for plot in run_page(record(store)).plots() if plot.name == "failure-rates")
    (series,) = plot.series
    assert (series.low[0], series.high[0]) == Proportion(3, 60).interval()
    assert (series.low[1], series.high[1]) == Proportion(0, 60).interval()
    assert plot.references[0].at == 0.01


def test_throughput_over_time_adds_up_to_the_key_bits_of_all_ranks(store: Path) -> None:
    path = record(store, attach=job_files(3))
    busy = read_busy_times(path)
    ranks = read_ranks(path)
    assert busy is not None
    assert [each.rank for each in ranks] == [0, 1, 2]
    for shares in busy.shares.values():
        assert shares.sum() * busy.width_s == pytest.approx(40 * 800e-6)
        assert shares.max() <= 1.0 + 1e-9
    plot = next(plot for plot in run_page(path).plots() if plot.name == "throughput-over-time")
    bits = sum(plot.series[0].y[:-1]) * busy.width_s * 1e6
    assert bits == pytest.approx(3 * 122_880 * 40 * 800e-6 / 0.2)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"ranks":1}', b'{"ranks":[1,{"rank":"x"},{"rank":3}]}', b"[" * 100_000, b'{"ranks":[{"rank":1,'
     b'"sums":{"phases":{"decode":[1]},"counters":[]},"threads":"x","elapsed_s":-1}]}'],
)  # fmt: skip
def test_files_of_ranks_that_are_not_what_they_say_give_nothing_and_no_error(store: Path, content: bytes) -> None:
    path = record(store, blocks=20, attach={"ranks.json": content, "trace.json": content})
    assert read_busy_times(path) is None
    assert all(each.payload_bits == 0 for each in read_ranks(path))
    assert "throughput-per-rank" not in names(run_page(path))


@pytest.mark.parametrize("blocks", [0, 1, MOST_STRETCHES, MOST_STRETCHES + 1, 1000])
def test_stretches_hold_every_block_once(store: Path, blocks: int) -> None:
    profile = profile_records(load_run(record(store, blocks=blocks, failed=0)))
    assert profile.records == blocks
    assert sum(stretch.blocks for stretch in profile.stretches) == blocks
    assert sum(stretch.payload_bits for stretch in profile.stretches) == 4096 * blocks
    assert len(profile.stretches) <= MOST_STRETCHES
    ends = [stretch.first + stretch.blocks for stretch in profile.stretches]
    assert [stretch.first for stretch in profile.stretches] == [0, *ends][: len(ends)]


def test_a_comparison_names_what_differs_and_draws_both_distributions(pages: dict[str, PageModel]) -> None:
    page = pages["comparison"]
    verdict = next(fact for fact in page.facts if fact.name == "worse")
    assert "Decode time" in str(verdict.value)
    assert {"ratios", "rates", "distribution-1"} <= names(page)
    distribution = next(plot for plot in page.plots() if plot.name == "distribution-1")
    assert [series.label for series in distribution.series] == ["A", "B"]
    for series in distribution.series:
        assert sum(series.y) == pytest.approx(1.0)
    changed = next(section for section in page.sections if section.name == "configuration").tables[0]
    assert [row[0] for row in changed.rows] == ["configuration.note"]


def test_a_page_of_a_store_counts_every_run_and_lists_the_newest(shared: Path, pages: dict[str, PageModel]) -> None:
    store = shared
    page = pages["store"]
    runs = next(fact for fact in page.facts if fact.name == "runs")
    assert runs.value == 3
    assert runs.note == "2 sealed, 1 open"
    recent = next(section for section in page.sections if section.name == "recent").tables[0]
    assert [row[0] for row in recent.rows] == sorted(os.listdir(store / "runs"), reverse=True)
    assert store_page(store, where="state = open").facts[0].value == 1


def test_a_store_without_runs_has_a_page(tmp_path: Path) -> None:
    page = store_page(tmp_path / "nothing")
    assert page.facts[0].value == 0
    read_html(render_html(page))


def section(page: PageModel, name: str) -> Section:
    return next(section for section in page.sections if section.name == name)


def test_the_proof_on_a_page_leads_from_the_leaf_to_the_root(store: Path) -> None:
    from caligo.store.audit.ledger import Ledger
    from caligo.store.audit.merkle import root_from_inclusion

    paths = [record(store) for _ in range(5)]
    ledger = section(run_page(paths[2]), "ledger")
    facts = {fact.name: fact.value for fact in ledger.facts}
    path = [bytes.fromhex(str(row[1])) for row in ledger.tables[0].rows]
    leaf, index, size = bytes.fromhex(str(facts["leaf"])), facts["index"], facts["size"]
    assert isinstance(index, int)
    assert isinstance(size, int)
    found = root_from_inclusion(leaf, index, size, path)
    assert found is not None
    assert found.hex() == facts["root"] == Ledger.open(store).root().hex()
    standing = section(store_page(store), "ledgers").tables[0]
    assert standing.rows[0][1] == 5
    assert standing.rows[0][-1] == facts["root"]


def test_a_ledger_that_was_changed_is_said_to_be_unreadable(store: Path) -> None:
    path = record(store)
    (entry,) = store.glob("ledger/*/entries/*/*/*.json")
    os.chmod(entry, 0o644)
    whole = entry.read_bytes()
    entry.write_bytes(whole.replace(b'"seal_sha256":"', b'"seal_sha256":"0'))
    assert any("does not have the hash" in text for text in section(run_page(path), "ledger").paragraphs)
    entry.write_bytes(whole[:-9])
    assert "cannot be read" in section(run_page(path), "ledger").paragraphs[0]
    assert "cannot be read" in " ".join(section(store_page(store), "ledgers").paragraphs)


def test_a_page_that_was_entered_is_in_the_lineage_of_its_run(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    path = record(store)
    run = _command(monkeypatch)
    assert run(path.name, "--store", store, "--out", tmp_path / "x.md", "--enter") == 0
    sha256 = hashlib.sha256((tmp_path / "x.md").read_bytes()).hexdigest()
    (row,) = section(run_page(path), "lineage").tables[0].rows
    assert row[:2] == (path.name, "reported in")
    assert sha256[:16] in str(row[2])
    assert run("--store", store, "--enter") == ExitCode.USAGE


def test_a_step_of_a_repeated_experiment_is_drawn_and_named() -> None:
    generator = np.random.default_rng(5)
    speeds = [10.0 if number < 30 else 8.0 for number in range(60)] + generator.normal(0.0, 0.1, 60)
    rows = [
        (float(number), {"run": f"run-{number:02}", "state": "sealed", "identity": "a" * 64, "kind": "bench",
                         "payload_mbps": float(speed)})
        for number, speed in enumerate(speeds)
    ]  # fmt: skip
    history = level_changes(rows)
    (change,) = history.tables[0].rows
    assert change[2] == "run-30"
    assert "run-30" in history.plots[0].description
    assert history.plots[0].series[1].y[0] == pytest.approx(10.0, abs=0.1)
    assert level_changes(rows[:9]).is_empty
    assert level_changes(rows[:30]).paragraphs == ("No change of level was found.",)


def test_findings_of_validations_are_drawn_over_time(store: Path) -> None:
    from caligo.store.audit.ledger import Ledger

    record(store)
    ledger = Ledger.open(store, create=True)
    for count in (0, 3, 1):
        codes = {"CAL-STORE-020": count} if count else {}
        ledger.append("validation", {"runs": 1, "findings": count, "by_code": codes, "digest": "0"})
    ledger.append("validation", {"runs": "many", "by_code": 7})
    validation = section(store_page(store), "validation")
    assert validation.plots[0].series[0].y == (0.0, 3.0, 1.0, 0.0)
    assert [row[2] for row in validation.tables[-1].rows] == [0, 1, 3, 0]


def test_a_page_says_when_it_was_made_only_if_it_is_told(store: Path) -> None:
    path = record(store, blocks=0, failed=0)
    for render in (render_html, render_markdown, render_json):
        assert "2031-05-06" not in render(run_page(path))
        assert "2031-05-06" in render(run_page(path, written_at="2031-05-06T07:08:09Z"))


class ManyRuns:
    """An index of so many runs that a page has to sum them up."""

    def __init__(self, runs: int) -> None:
        generator = np.random.default_rng(1)
        figures = generator.uniform(0.5, 1.5, (runs, 2))
        self.found = [
            {
                "run": f"run-{number:06}", "kind": f"kind{number % 9}", "identity": f"{number % 5000:064x}",
                "campaign": f"campaign {number % 300}", "state": ("sealed", "damaged")[number % 50 == 0], "records": 10,
                "started_at": f"20{20 + number % 8}-0{1 + number % 9}-11T10:{number % 60:02}:00.000Z", "elapsed_s": 2.0,
                "fer": float(figures[number, 0]) / 100, "payload_mbps": float(figures[number, 1]), "efficiency": 1.2,
            }
            for number in range(runs)
        ]  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def refresh(self) -> None:
        return None

    def names(self) -> list[str]:
        return list(self.found[0])

    def rows(self, *asked: object, **options: object) -> list[dict[str, Any]]:
        return self.found


def test_a_page_of_many_runs_is_no_longer_than_it_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    for runs in (2_000, 20_000):
        index = ManyRuns(runs)
        monkeypatch.setattr("caligo.reports.stores.open_index", lambda place, url, index=index: index)
        page = store_page(tmp_path)
        assert page.facts[0].value == runs
        sizes.append(len(render_markdown(page)) + sum(len(series.x) for plot in page.plots() for series in plot.series))
    assert sizes[1] < 1.5 * sizes[0] < 100_000


# --- figures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1048576, "", "1,048,576"), (0.016326, "", "0.01633"), (1.17283e-5, "", "1.173 × 10⁻⁵"), (0.0, "", "0"),
        (776900.0, "ns", "776.9 µs"), (1.568155, "s", "1.568 s"), (3725.0, "s", "1 h 2 min"),
        (65814528, "bytes", "62.77 MiB"),
        (0.016326, "share", "1.633 %"), (37.2478, "Mbit/s", "37.25 Mbit/s"), (12345.678, "", "12,346"), (None, "", "–"),
        (True, "", "yes"), (math.inf, "", "∞"), ("a\nb", "", "a\\nb"), (999, "B", "999 bytes"), (-0.5, "", "-0.5000"),
    ],
)  # fmt: skip
def test_figures_are_written_to_be_read(value: Any, unit: str, text: str) -> None:
    assert figure(value, unit) == text


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["", "s", "ns", "bytes", "share", "Mbit/s"]))
def test_every_number_has_a_short_text(value: float, unit: str) -> None:
    assert 0 < len(figure(abs(value), unit)) < 40 or abs(value) > 1e15
    assert json.loads(exact(value)) == value


@pytest.mark.parametrize(("exponent", "text"), [(9, "512"), (10, "1 Ki"), (16, "64 Ki"), (20, "1 Mi"), (33, "8 Gi")])
def test_powers_of_two_are_written_in_binary_multiples(exponent: int, text: str) -> None:
    assert power_of_two(2.0**exponent) == text


def test_an_axis_has_one_unit() -> None:
    assert axis_scale("ns", 3e6) == (1e6, "ms")
    assert axis_scale("s", 500.0) == (60.0, "min")
    assert axis_scale("bytes", 3 * 2**30) == (2.0**30, "GiB")
    assert axis_scale("share", 0.5) == (0.01, "%")


def test_a_plot_takes_its_colours_from_the_page(store: Path) -> None:
    sheet = StyleSheet()
    plot = Plot(
        "p", "t", "d", Axis("x $a_b$ <y>", "s"), Axis("", "", "log"),
        (Series("<b>one</b>", "line", (0.0, 1.0), (1.0, 2.0), (0.5, 1.5), (1.5, 2.5)),
         Series("two", "points", (1.0,), (3.0,))),
    )  # fmt: skip
    svg = draw(plot, sheet)
    assert "<b>" not in svg
    assert "$a_b$" in svg
    assert 'style="' not in svg
    assert "#0" not in svg + sheet.css()
    assert "var(--s0)" in sheet.css()
    assert draw(plot, StyleSheet()) == svg


# --- files and libraries ----------------------------------------------------------------------------------------------


def test_a_page_replaces_a_page_and_nothing_else(pages: dict[str, PageModel], tmp_path: Path) -> None:
    out = tmp_path / "a b" / "pages"
    page = replace(pages["run"], sections=pages["run"].sections[:1])
    written = write_page(page, out, "run")
    assert [path.name for path in written] == ["run.html", "run.md", "run.json"]
    before = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in write_page(page, out, "run")] == before
    (out / "notes.md").write_text("mine")
    with pytest.raises(ConfigError, match="something else"):
        write_page(pages["run"], out / "notes.md", "run")
    assert (out / "notes.md").read_text() == "mine"
    assert not [name for name in os.listdir(out) if name.startswith(".")]


def test_the_suffix_of_a_file_is_its_form(pages: dict[str, PageModel], tmp_path: Path) -> None:
    (path,) = write_page(pages["run"], tmp_path / "x.json", "unused")
    assert json.loads(path.read_text())["schema"] == "caligo.report/1"
    with pytest.raises(ConfigError, match="leave its suffix out"):
        write_page(pages["run"], tmp_path / "x.json", "unused", ["html"])
    with pytest.raises(ConfigError, match="expected a form"):
        write_page(pages["run"], tmp_path, "x", ["pdf"])


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_without_its_libraries_html_names_the_extra_and_the_other_forms_are_written(
    pages: dict[str, PageModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ResourceError, match=r"caligo\[report\]"):
        write_page(pages["run"], tmp_path, "x")
    assert os.listdir(tmp_path) == []
    assert len(write_page(pages["run"], tmp_path, "x", ["md", "json"])) == 2


def test_the_command_writes_each_kind_of_page(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run: Callable[..., int] = _command(monkeypatch)
    first, second = record(store), record(store, failed=5)
    out = tmp_path / "out"
    assert run("last", "--store", store, "--out", out, "--format", "md", "--format", "json") == 0
    assert capsys.readouterr().out.split() == [str(out / f"{second.name}.{form}") for form in ("md", "json")]
    assert run(first.name, second.name, "--store", store, "--out", out, "--format", "json", "--json") == 0
    assert json.loads(capsys.readouterr().out)["page"] == "comparison"
    assert run("--store", store, "--out", out / "s.md", "--where", "kind = reconcile") == 0
    assert "2 runs where kind" in (out / "s.md").read_text().replace("\\", "")
    for words in (["a", "b", "c"], ["last", "--where", "kind = x"], ["--quick"]):
        assert run(*words, "--store", store) == ExitCode.USAGE
    assert run("--store", tmp_path / "no store", "--out", tmp_path / "none") == ExitCode.STORE
    assert not (tmp_path / "none").exists()
    os.chmod(second / "run.json", 0o644)
    (second / "run.json").write_bytes((second / "run.json").read_bytes().replace(b"one-way", b"two-way"))
    assert run(second.name, "--store", store, "--out", out, "--format", "json") == ExitCode.STORE


def _command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    from caligo.cli import main

    def run(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["caligo", "store", "report", *map(str, words)])
        try:
            return int(main() or 0)
        except SystemExit as ended:
            return int(ended.code or 0)

    return run

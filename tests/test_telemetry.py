"""Laws of logs, progress, spans, counters and their sums, jobs of many ranks, and what a start costs."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.cli._output import format_figure
from caligo.errors import ConfigError, ProtocolError
from caligo.telemetry import (
    NO_PROGRESS,
    Announcer,
    JobProgress,
    Phase,
    Progress,
    ProgressReport,
    RankReport,
    Snapshot,
    Span,
    StartupReport,
    Telemetry,
    configure_logging,
    startup_report,
)
from caligo.telemetry.ranks import format_duration
from caligo.telemetry.startup import parse_start_ticks, process_age_s


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    logger = logging.getLogger("caligo")
    before = (logger.level, list(logger.handlers), logger.propagate)
    yield io.StringIO()
    logger.setLevel(before[0])
    logger.handlers[:] = before[1]
    logger.propagate = before[2]


def test_structured_logs_are_one_json_object_a_line(stream: io.StringIO) -> None:
    configure_logging("INFO", structured=True, stream=io.StringIO())
    configure_logging("INFO", structured=True, stream=stream)
    logger = logging.getLogger("caligo.codes")
    logger.info("designed %s\n", "now", extra={"block_length": 1024})
    logger.debug("not shown")
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert (told["level"], told["logger"], told["message"], told["block_length"]) == (
        "info",
        "caligo.codes",
        "designed now\n",
        1024,
    )


@pytest.mark.parametrize(("structured", "shown"), [(True, '"rank": 7'), (False, " rank=7")])
def test_every_line_of_a_rank_has_its_number(stream: io.StringIO, structured: bool, shown: str) -> None:
    configure_logging("INFO", structured=structured, stream=stream, rank=7)
    logging.getLogger("caligo.jobs").info("begins")
    logging.getLogger("caligo.cluster").info("lost", extra={"rank": 3})
    first, second = stream.getvalue().splitlines()
    assert shown in first
    assert shown.replace("7", "3") in second


@pytest.mark.parametrize("structured", [True, False])
def test_logs_never_show_what_could_be_a_key(stream: io.StringIO, structured: bool) -> None:
    configure_logging("INFO", structured=structured, stream=stream)
    logger = logging.getLogger("caligo.keys")
    secret = b"\xde\xad\xbe\xef"
    try:
        raise ValueError(secret)
    except ValueError:
        logger.exception("read %s of %s", secret, [secret], extra={"key": secret, "list": [222], "text": "ab" * 999})
    logger.warning("read %(key)s", {"key": secret})
    shown = stream.getvalue()
    assert len(shown.splitlines()) == 2
    assert "<bytes>" in shown
    for trace in ("xde", "dead", "222", "abab"):
        assert trace not in shown


def test_progress_may_be_ignored() -> None:
    progress: Progress = NO_PROGRESS
    with NO_PROGRESS:
        progress.start("decode", None, "blocks")
        progress.advance(3, fer=0.5)


def test_spans_and_counters_add_up_over_threads() -> None:
    telemetry = Telemetry(span_limit=50)

    def work() -> None:
        for _ in range(20):
            with telemetry.span("decode"):
                telemetry.count("blocks", 2)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert telemetry.counters == {"blocks": 160}
    assert len(telemetry.spans) == 50
    assert telemetry.dropped_spans == 30
    assert all(span.duration_ns >= 0 for span in telemetry.spans)
    with pytest.raises(ConfigError):
        Telemetry(-1)


def test_totals_count_every_span_kept_or_dropped() -> None:
    telemetry = Telemetry(span_limit=1)
    for duration in (5, 9, 2):
        telemetry.record("read", 100, duration)
    telemetry.record("write", 200, 4)
    assert telemetry.phases() == {"read": Phase(3, 16, 9), "write": Phase(1, 4, 4)}
    assert telemetry.spans == (Span("read", 0, 100, 5),)
    assert telemetry.dropped_spans == 3


def test_a_span_that_raises_is_timed_and_spans_of_one_name_nest() -> None:
    telemetry = Telemetry()
    with pytest.raises(KeyError), telemetry.span("decode"), telemetry.span("decode"):
        raise KeyError
    inner, outer = telemetry.spans
    assert outer.start_ns <= inner.start_ns
    assert inner.start_ns + inner.duration_ns <= outer.start_ns + outer.duration_ns


def test_a_thread_takes_over_the_lane_of_one_that_has_ended() -> None:
    telemetry = Telemetry()

    def work() -> None:
        telemetry.record("decode", 0, 1)

    with telemetry.span("wait"):
        for number in range(5):
            thread = threading.Thread(target=work, name=f"decoder {number}")
            thread.start()
            thread.join()
    assert telemetry.threads == {0: threading.current_thread().name, 1: "decoder 4"}
    assert {span.lane for span in telemetry.spans if span.name == "decode"} == {1}
    assert telemetry.phases()["decode"].spans == 5


def test_sums_can_be_read_while_threads_add_to_them() -> None:
    telemetry = Telemetry(span_limit=100)
    more = threading.Event()
    more.set()

    def work() -> None:
        number = 0
        while more.is_set():
            number += 1
            telemetry.record(f"phase {number % 100}", number, 1)
            telemetry.count(f"counter {number % 100}")

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    seen = 0
    for _ in range(200):
        snapshot = telemetry.snapshot()
        now = sum(phase.total_ns for phase in snapshot.phases.values())
        assert now >= seen
        assert now == sum(phase.spans for phase in snapshot.phases.values())
        assert len(telemetry.spans) <= 100
        seen = now
    more.clear()
    for thread in threads:
        thread.join()


numbers = st.integers(0, 1 << 62)
snapshots = st.builds(
    Snapshot,
    st.dictionaries(st.sampled_from(["read", "decode", "wait"]), st.builds(Phase, numbers, numbers, numbers)),
    st.dictionaries(st.sampled_from(["blocks", "messages", "payload_bits"]), numbers),
)


@given(snapshots, snapshots, snapshots)
def test_snapshots_add_up_in_any_order_and_travel_as_json(a: Snapshot, b: Snapshot, c: Snapshot) -> None:
    assert a + Snapshot() == a == Snapshot() + a
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert Snapshot.from_json(json.loads(json.dumps((a + b).to_json()))) == a + b


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"phases": {}},
        {"phases": [], "counters": {}},
        {"phases": {"read": [1, 2]}, "counters": {}},
        {"phases": {"read": [1, 2, "3"]}, "counters": {}},
        {"phases": {}, "counters": {"blocks": 1.5}},
        {"phases": {}, "counters": {"blocks": True}},
        {"phases": {}, "counters": {7: 1}},
    ],
)
def test_what_is_no_snapshot_is_refused(document: object) -> None:
    with pytest.raises(ProtocolError):
        Snapshot.from_json(document)


def sums(blocks: int, *, failed: int = 0, decode_s: float = 0.0) -> Snapshot:
    return Snapshot(
        {"decode": Phase(blocks, round(decode_s * 1e9), 0)},
        {"blocks": blocks, "blocks_failed": failed, "payload_bits": blocks * 10**6},
    )


def test_a_job_is_the_sum_of_its_ranks_now_and_overall() -> None:
    job = JobProgress(ranks=3, blocks_total=1000, now=100.0, blocks_before=400, silent_after_s=15)
    assert job.report(100.0).eta_s is None
    job.hear(0, sums(60, failed=1, decode_s=18), 110.0, threads=2, headroom_bytes=7 << 20)
    job.hear(1, sums(40, decode_s=9), 110.0, headroom_bytes=5 << 20)
    report = job.report(110.0)
    assert (report.blocks_done, report.blocks_failed, report.elapsed_s) == (500, 1, 10)
    assert report.payload_mbps == report.payload_mbps_now == 10
    assert report.decode_share == pytest.approx(27 / 30)
    assert report.eta_s == pytest.approx(50)
    assert (report.headroom_bytes, report.headroom_rank) == (5 << 20, 1)
    assert (report.ranks, report.ranks_heard, report.ranks_silent) == (3, 2, ())
    job.hear(0, sums(160), 120.0)
    job.hear(0, sums(160), 120.0)
    report = job.report(120.0, efficiency=1.05)
    assert (report.payload_mbps_now, report.payload_mbps) == (10, 10)
    assert report.ranks_silent == (2,)
    assert report.efficiency == 1.05
    job.hear(1, sums(440), 140.0, has_ended=True)
    report = job.report(140.0)
    assert (report.blocks_done, report.eta_s) == (1000, 0)
    assert report.ranks_silent == (0, 2)
    assert job.report(160.0).ranks_silent == (0, 2), "a rank that has ended is not silent"
    with pytest.raises(ProtocolError):
        job.hear(3, Snapshot(), 1.0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 9), st.booleans()), max_size=30))
def test_no_course_of_a_job_gives_nonsense(course: list[tuple[int, int, int, bool]]) -> None:
    job = JobProgress(ranks=4, blocks_total=500, now=0.0)
    now, done = 0, [0] * 4
    for rank, more, wait, asked in course:
        now += wait
        done[rank] += more
        job.hear(rank, sums(done[rank], decode_s=0.3 * now), now)
        if asked:
            report = job.report(now)
            assert report.blocks_done == sum(done)
            assert min(report.payload_mbps, report.payload_mbps_now) >= 0
            assert report.eta_s is None or report.eta_s >= 0
            assert report.decode_share is None or 0 <= report.decode_share <= 0.3 + 1e-6
            assert json.loads(json.dumps(report.to_json()))["schema"] == "caligo.progress/1"
            assert "\n" not in report.line()


REPORT = ProgressReport(
    elapsed_s=60.0,
    blocks_done=9999,
    blocks_total=10_000,
    blocks_failed=3,
    payload_mbps_now=512.34,
    payload_mbps=498.7,
    decode_share=0.971,
    efficiency=1.05,
    eta_s=93784.2,
    headroom_bytes=312 << 20,
    headroom_rank=17,
    ranks=192,
    ranks_heard=190,
    ranks_silent=(3, 33),
)


def test_a_line_says_everything_once() -> None:
    assert REPORT.line() == (
        "9,999/10,000 blocks (99.9 %); 3 failed; key 512.3 Mbit/s now, 498.7 overall; decoders 97.1 % busy; "
        "efficiency 1.0500; ETA 1 d 2:03:05; memory head-room 312 MiB (rank 17); 190/192 ranks heard; silent: 3, 33"
    )
    little = replace(
        REPORT,
        decode_share=None,
        efficiency=None,
        eta_s=None,
        headroom_bytes=None,
        blocks_failed=0,
        ranks_silent=tuple(range(8)),
    )
    assert little.line() == (
        "9,999/10,000 blocks (99.9 %); key 512.3 Mbit/s now, 498.7 overall; ETA unknown; 190/192 ranks heard; "
        "silent: 0, 1, 2, 3, 4 and 3 more"
    )
    assert little.figures().keys() == {"payload_mbps_now", "payload_mbps"}
    assert format_duration(59.5) == "0:01:00"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Bar:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def start(self, description: str, total: int | None, unit: str) -> None:
        self.heard.append((description, total, unit))

    def advance(self, count: int = 1, **figures: float) -> None:
        self.heard.append((count, figures["payload_mbps_now"]))

    def finish(self) -> None:
        self.heard.append("finished")


def test_a_file_gets_a_line_each_interval_and_a_terminal_one_that_changes() -> None:
    file, terminal = io.StringIO(), Terminal()
    for stream in (file, terminal):
        announcer = Announcer(stream, interval_s=10)
        assert not announcer.is_due(100)
        for moment in (105.0, 110.0, 119.0, 120.0):
            if announcer.is_due(moment):
                announcer.tell(REPORT, moment)
        announcer.finish("sealing")
        announcer.finish("sealing")
    assert file.getvalue() == f"caligo: {REPORT.line()}\n" * 2 + "caligo: sealing\n"
    assert terminal.getvalue().count("\r") == 4
    assert terminal.getvalue().endswith("\ncaligo: sealing\n")
    assert terminal.getvalue().count("\n") == 2
    with pytest.raises(ConfigError):
        Announcer(file, interval_s=0)


def test_a_bar_gets_what_is_done_since_it_was_told_last() -> None:
    file, bar = io.StringIO(), Bar()
    announcer = Announcer(file, progress=bar, description="decode")
    announcer.finish("nothing was told, so nothing is")
    announcer.tell(replace(REPORT, blocks_done=40), 1.0)
    announcer.tell(replace(REPORT, blocks_done=50), 2.0)
    announcer.finish()
    assert bar.heard == [("decode", 10_000, "blocks"), (40, 512.34), (10, 512.34), "finished"]
    assert file.getvalue() == ""


def test_figures_beside_a_bar_are_sizes_and_shares_as_people_say_them() -> None:
    assert [format_figure(name, value) for name, value in REPORT.figures().items()] == [
        "payload mbps now 512.3",
        "payload mbps 498.7",
        "decode 97.1%",
        "efficiency 1.050",
        "headroom 312.0 MiB",
    ]


def test_jobs_out_of_range_are_refused() -> None:
    for change in ({"ranks": 0}, {"blocks_total": -1}, {"blocks_before": 2}, {"silent_after_s": 0}):
        with pytest.raises(ConfigError):
            JobProgress(**({"ranks": 1, "blocks_total": 1, "now": 0.0} | change))  # type: ignore[arg-type]


@given(snapshots, st.sampled_from([startup_report(), StartupReport(None, 0.1, 7, 8, 9, 10)]))
def test_the_report_of_a_rank_travels_as_json(done: Snapshot, startup: StartupReport) -> None:
    report = RankReport(
        rank=7,
        host="genoa",
        pid=4711,
        threads=2,
        elapsed_s=1.5,
        memory_budget_bytes=2 << 30,
        memory_source="SLURM_MEM_PER_CPU x SLURM_CPUS_PER_TASK",
        peak_rss_bytes=1 << 30,
        in_flight_planned=8,
        in_flight_least=4,
        startup=startup,
        sums=done,
    )
    document = json.loads(json.dumps(report.to_json()))
    assert RankReport.from_json(document) == report
    refused: list[object] = [None, [], {}, document | {"schema": "x"}, document | {"more": 1}, document | {"sums": 1}]
    for spoiled in refused:
        with pytest.raises(ProtocolError):
            RankReport.from_json(spoiled)


COUNTED = """
import os, sys
from caligo.telemetry.startup import OpenCounter, startup_report
counter = OpenCounter()
before = (counter.files, counter.directories, counter.extensions)
open("one").close()
os.close(os.open("two", os.O_RDONLY))
os.listdir(".")
print(before, counter.files, counter.directories, counter.extensions)
sys.path.insert(0, ".")
import three
print(counter.files >= 3, counter.directories >= 2)
report = startup_report(counter)
seen = counter.files
open("one").close()
print(counter.files - seen, report.files_opened == counter.modules_before + counter.files + counter.extensions)
print(counter.modules_before >= 5, report.modules > counter.modules_before, report.import_s >= 0)
"""


def test_files_opened_from_the_counter_on_are_counted(tmp_path: Path, repository: Path) -> None:
    for name in ("one", "two", "three.py"):
        (tmp_path / name).write_text("")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(repository)!r})\n{COUNTED}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.splitlines() == ["(0, 0, 0) 2 1 0", "True True", "0 True", "True True True"]


def test_a_process_knows_its_age_or_that_it_does_not() -> None:
    first = process_age_s()
    second = process_age_s()
    assert first is not None
    assert second is not None
    assert 0 < first <= second
    assert process_age_s(Path("/nonexistent")) is None
    assert startup_report().files_opened is None


@given(st.text(max_size=80))
def test_no_text_breaks_the_reading_of_a_start(text: str) -> None:
    parse_start_ticks(text)
    fields = ["S"] + [str(number) for number in range(1, 25)]
    assert parse_start_ticks(f"12 ({text}) {' '.join(fields)}") == 19
    assert parse_start_ticks(f"12 ({text}) S 1") is None

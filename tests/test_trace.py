"""Laws of traces: what ranks did comes back whole, side by side, well formed, and within its limits."""

from __future__ import annotations

import json
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.errors import ConfigError
from caligo.telemetry import Telemetry, merge_traces, write_spans

NAMES = ["read", "decode", "verify", 'a "quoted"\nname']


def events_of(trace: Path) -> list[dict[str, Any]]:
    """The events of a trace, checked for form; ``ts`` and ``dur`` as nanoseconds."""
    document = json.loads(trace.read_text(), parse_float=lambda text: round(float(text) * 1000))
    assert isinstance(document["otherData"], dict)
    open_until: dict[tuple[int, int], list[int]] = {}
    last: dict[tuple[int, int], int] = {}
    named = set()
    for event in document["traceEvents"]:
        assert event.keys() >= {"name", "ph", "pid", "tid"}
        assert all(isinstance(event[key], int) for key in ("pid", "tid"))
        lane = (event["pid"], event["tid"])
        if event["ph"] == "M":
            named.add(lane)
            assert isinstance(event["args"], dict)
            continue
        assert event["ph"] == "X"
        start, end = event["ts"], event["ts"] + event["dur"]
        assert 0 <= start <= end
        assert lane in named
        assert start >= last.get(lane, 0)
        last[lane] = start
        enclosing = open_until.setdefault(lane, [])
        while enclosing and enclosing[-1] <= start:
            enclosing.pop()
        assert not enclosing or end <= enclosing[-1], "spans of a lane nest or are apart"
        enclosing.append(end)
    spans: list[dict[str, Any]] = [event for event in document["traceEvents"] if event["ph"] == "X"]
    assert document["otherData"]["spans"] == len(spans)
    return spans


@st.composite
def nested(draw: st.DrawFn, start: int = 0, length: int = 1 << 20) -> list[tuple[str, int, int]]:
    """Spans of one thread within a stretch, as (name, start, duration), in the order they end."""
    if length < 2 or not draw(st.booleans()):
        return []
    cuts = sorted(draw(st.lists(st.integers(start, start + length), min_size=2, max_size=4)))
    found = []
    for begin, end in zip(cuts[::2], cuts[1::2], strict=False):
        found += draw(nested(begin, (end - begin) // 3))
        found.append((draw(st.sampled_from(NAMES)), begin, end - begin))
    return found


def telemetry_of(threads: list[list[tuple[str, int, int]]], span_limit: int = 1000) -> Telemetry:
    telemetry = Telemetry(span_limit)
    meet = threading.Barrier(max(1, len(threads)))

    def work(spans: list[tuple[str, int, int]]) -> None:
        telemetry.count("spans", len(spans))
        meet.wait()  # no thread may take over the lane of one that has ended
        for span in spans:
            telemetry.record(*span)

    workers = [threading.Thread(target=work, args=(spans,)) for spans in threads]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return telemetry


@given(
    st.lists(
        st.tuples(st.lists(nested(), max_size=3), st.integers(0, 3), st.integers(1_700_000_000, 1_700_000_100)),
        max_size=4,
    )
)
def test_what_ranks_did_comes_back_whole_and_side_by_side(
    tmp_path_factory: pytest.TempPathFactory, ranks: list[tuple[list[list[tuple[str, int, int]]], int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("trace")
    paths, expected = [], []
    for number, (threads, rank, epoch_s) in enumerate(ranks):
        epoch_ns = epoch_s * 10**9 + number
        paths.append(folder / f"{number}.spans")
        telemetry = telemetry_of(threads)
        written = write_spans(paths[-1], rank=rank, host="n1", telemetry=telemetry, epoch_ns=epoch_ns)
        assert written == len(telemetry.spans)
        expected += [(rank, name, start + epoch_ns, duration) for spans in threads for name, start, duration in spans]
    merged = merge_traces(paths, folder / "trace.json")
    events = events_of(merged.path)
    origin = min((start for _, _, start, _ in expected), default=0)
    assert sorted((event["pid"], event["name"], event["ts"] + origin, event["dur"]) for event in events) == sorted(
        expected
    )
    assert (merged.ranks, merged.spans, merged.dropped, merged.unreadable) == (len(ranks), len(expected), 0, ())
    assert list(folder.glob("*.part")) == []


@given(st.lists(st.lists(nested(), max_size=2), min_size=1, max_size=3), st.integers(0, 12))
def test_a_trace_keeps_its_limit_and_says_what_it_left_out(
    tmp_path_factory: pytest.TempPathFactory, ranks: list[list[list[tuple[str, int, int]]]], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("trace")
    paths, durations, dropped = [], [], 0
    for rank, threads in enumerate(ranks):
        paths.append(folder / f"{rank}.spans")
        telemetry = telemetry_of(threads, span_limit=8)
        write_spans(paths[-1], rank=rank, host="n1", telemetry=telemetry)
        durations += [span.duration_ns for span in telemetry.spans]
        dropped += telemetry.dropped_spans
    merged = merge_traces(paths, folder / "trace.json", limit=limit)
    kept = sorted(event["dur"] for event in events_of(merged.path))
    assert len(kept) == merged.spans == min(limit, len(durations))
    assert merged.dropped == dropped + len(durations) - merged.spans
    if kept:
        longest = sorted(durations)[-len(kept) :]
        assert all(2 * mine >= best for mine, best in zip(kept, longest, strict=True))


def test_ranks_and_threads_have_their_names(tmp_path: Path) -> None:
    for rank in (7, 12):
        telemetry = telemetry_of([[("decode", 5, 5)], [("decode", 6, 5)]])
        write_spans(tmp_path / f"{rank}.spans", rank=rank, host="genoa", telemetry=telemetry)
    merge_traces([tmp_path / "7.spans", tmp_path / "12.spans"], tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = {(event["pid"], event["args"]["name"]) for event in events if event["name"] == "process_name"}
    assert names == {(7, "rank 7 (genoa)"), (12, "rank 12 (genoa)")}
    assert len([event for event in events if event["name"] == "thread_name"]) == 4


def test_spans_of_real_work_line_up_with_the_time_of_day(tmp_path: Path) -> None:
    telemetry = Telemetry()
    for _ in range(3):
        with telemetry.span("read"), telemetry.span("decode"):
            pass
    write_spans(tmp_path / "0.spans", rank=0, host="n1", telemetry=telemetry)
    events = events_of(merge_traces([tmp_path / "0.spans"], tmp_path / "trace.json").path)
    assert [event["name"] for event in events] == ["read", "decode"] * 3
    about = json.loads((tmp_path / "trace.json").read_text())["otherData"]
    assert about["origin_unix_ns"] == min(span.start_ns for span in telemetry.spans) + telemetry.epoch_ns


def test_a_torn_file_of_spans_gives_its_whole_lines(tmp_path: Path) -> None:
    spans = [("decode", 10 * number, 7) for number in range(20)]
    path = tmp_path / "0.spans"
    write_spans(path, rank=0, host="n1", telemetry=telemetry_of([spans]), epoch_ns=0)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        merged = merge_traces([path], tmp_path / "trace.json")
        lines = max(0, whole[:length].count(b"\n") - 1)
        first_is_whole = length >= whole.index(b"\n")
        assert merged.unreadable == (() if first_is_whole else (path,))
        assert lines <= len(events_of(merged.path)) <= lines + 1


@pytest.mark.parametrize(
    "line", ["[9,0,1,1]", "[0,9,1,1]", "[0,0,1,-1]", "[0,0,1]", '["0",0,1,1]', "7", "{}", "[true,0,1,1]"]
)
def test_a_line_that_is_no_span_ends_what_is_read(tmp_path: Path, line: str) -> None:
    path = tmp_path / "0.spans"
    write_spans(path, rank=0, host="n1", telemetry=telemetry_of([[("decode", 1, 2)]]), epoch_ns=0)
    path.write_text(path.read_text() + line + "\n[0,0,5,5]\n")
    assert len(events_of(merge_traces([path], tmp_path / "trace.json").path)) == 1


@pytest.mark.parametrize("text", ["", "\n", "7\n", "{}\n", '{"schema": "caligo.spans/1"}\n', '{"schema": "other"}\n'])
def test_a_file_of_something_else_is_named_and_left_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "0.spans").write_text(text)
    merged = merge_traces([tmp_path / "0.spans"], tmp_path / "trace.json")
    assert merged.unreadable == (tmp_path / "0.spans",)
    assert events_of(merged.path) == []


def test_joining_takes_no_more_memory_for_more_spans(tmp_path: Path) -> None:
    peaks = []
    for count in (500, 5000):
        path = tmp_path / f"{count}.spans"
        telemetry = telemetry_of([[("decode", 10 * number, 7) for number in range(count)]], span_limit=count)
        write_spans(path, rank=0, host="n1", telemetry=telemetry)
        tracemalloc.start()
        try:
            merge_traces([path] * 2, tmp_path / "trace.json")
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]
    assert len(events_of(tmp_path / "trace.json")) == 10_000


def test_a_trace_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "0.spans"
    write_spans(path, rank=0, host="n1", telemetry=telemetry_of([[("decode", 1, 2)]]))
    (tmp_path / "trace.json").mkdir()
    with pytest.raises(OSError, match=r"trace\.json"):
        merge_traces([path], tmp_path / "trace.json")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["0.spans", "trace.json"]


def test_arguments_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        write_spans(tmp_path / "x", rank=-1, host="n1", telemetry=Telemetry())
    with pytest.raises(ConfigError):
        merge_traces([], tmp_path / "x", limit=-1)

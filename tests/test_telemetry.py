"""Laws of logs, progress, spans, counters and their sums."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.errors import ConfigError, ProtocolError
from caligo.telemetry import NO_PROGRESS, Phase, Progress, Snapshot, Span, Telemetry, configure_logging


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

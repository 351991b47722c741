"""Laws of logs, progress, spans and counters."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest

from caligo.errors import ConfigError
from caligo.telemetry import NO_PROGRESS, Progress, Telemetry, configure_logging


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
    assert len(telemetry.spans) + telemetry.dropped_spans == 80
    assert all(span.duration_ns >= 0 for span in telemetry.spans)
    with pytest.raises(ConfigError):
        Telemetry(-1)

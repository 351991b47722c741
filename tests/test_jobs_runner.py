"""Work on threads: results in order, memory bounded, errors and signals in their place."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.jobs.runner import in_order, interrupts_deferred, worker_pool


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 5), st.integers(1, 8))
def test_results_come_in_order_for_any_number_of_threads(delays: list[int], threads: int, in_flight: int) -> None:
    def work(item: tuple[int, int]) -> int:
        time.sleep(item[1] / 5000)
        return item[0]

    with worker_pool(threads) as pool:
        assert list(in_order(pool, work, enumerate(delays), in_flight)) == list(range(len(delays)))


def test_no_more_items_are_taken_than_may_be_in_flight() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    with worker_pool(2) as pool:
        results = in_order(pool, lambda item: item, items(), 5)
        for consumed, _ in enumerate(results):
            assert taken - consumed <= 5


def test_an_error_is_raised_in_its_turn_and_ends_the_rest() -> None:
    done: list[int] = []

    def work(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        done.append(item)
        return item

    with worker_pool(1) as pool:
        results = in_order(pool, work, range(1000), 4)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="three"):
            next(results)
    assert len(done) < 10


def test_a_consumer_that_stops_early_cancels_what_has_not_begun() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.01)
        return item

    with worker_pool(1) as pool:
        results = in_order(pool, work, range(50), 20)
        next(results)
        results.close()
    assert len(begun) < 20


def test_a_signal_waits_for_the_end_of_a_deferred_stretch() -> None:
    reached = False

    def body() -> None:
        nonlocal reached
        with interrupts_deferred():
            signal.raise_signal(signal.SIGINT)
            reached = True

    with pytest.raises(KeyboardInterrupt):
        body()
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_deferring_in_another_thread_is_harmless() -> None:
    ran = []

    def body() -> None:
        with interrupts_deferred():
            ran.append(True)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert ran == [True]

"""The pool of workspaces: laws of closing while others work.

Covers: lending and slices against closing. Does not cover: what is done with a workspace (tests/test_codec_polar.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from caligo.errors import ResourceError
from caligo.reconciliation.codecs.pool import WorkspacePool


def slices(pool: WorkspacePool[int], work: Callable[[], None]) -> None:
    pool.over_slices(8, lambda _workspace, _rows: work())


def loan(pool: WorkspacePool[int], work: Callable[[], None]) -> None:
    with pool.lend():
        work()


@pytest.mark.parametrize("call", [slices, loan])
@pytest.mark.parametrize("workspaces", [1, 2])
def test_closing_waits_for_calls_that_have_begun_and_refuses_later_ones(
    call: Callable[[WorkspacePool[int], Callable[[], None]], None], workspaces: int
) -> None:
    pool = WorkspacePool(range(workspaces))
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(10)

    with ThreadPoolExecutor(4) as threads:
        callers = [threads.submit(call, pool, work) for _ in range(3)]
        assert begun.wait(10)
        closing = threads.submit(pool.close)
        time.sleep(0.02)
        assert not closing.done()
        go_on.set()
        closing.result(10)
        for caller in callers:
            error = caller.exception(10)
            assert error is None or isinstance(error, ResourceError)
    with pytest.raises(ResourceError, match="closed"):
        call(pool, work)

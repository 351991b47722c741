"""Laws of the watch over memory: pressure is told in time and does not flicker, and less in flight follows it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.errors import ConfigError
from caligo.memory import InFlight, MemoryGuard, MemoryUse, Pressure, peak_rss_bytes

MIB = 1 << 20
NONE, SHRINK, STOP = Pressure


def reading(*resident: int) -> Callable[[], MemoryUse]:
    return iter([MemoryUse(value, 10 * value, 5 * value) for value in resident]).__next__


def test_pressure_begins_at_its_share_and_ends_below_it() -> None:
    steps = [
        (849, NONE),
        (850, SHRINK),
        (801, SHRINK),
        (799, NONE),
        (801, NONE),
        (950, STOP),
        (901, STOP),
        (899, SHRINK),
        (950, STOP),
        (100, NONE),
    ]
    guard = MemoryGuard(
        1000, read=reading(*(used for used, _ in steps)), address_space_bytes=0, data_bytes=0, soft=0.85, hard=0.95
    )
    assert [guard.check() for _ in steps] == [pressure for _, pressure in steps]
    assert guard.peak_bytes == 950
    assert guard.headroom_bytes == 900
    assert guard.pressure is NONE
    assert guard.use.resident_bytes == 100


@given(st.lists(st.integers(0, 1200)))
def test_pressure_is_never_less_than_what_is_seen(resident: list[int]) -> None:
    guard = MemoryGuard(1000, read=reading(*resident), address_space_bytes=0, data_bytes=0)
    for used in resident:
        pressure = guard.check()
        assert pressure >= (STOP if used >= 950 else SHRINK if used >= 850 else NONE)
        assert pressure <= (NONE if used < 800 else SHRINK if used < 900 else STOP)
    assert guard.peak_bytes == max(resident, default=0)


@pytest.mark.parametrize(
    ("address_space", "data", "expected", "headroom"),
    [(0, 0, NONE, 900), (1100, 0, SHRINK, 100), (0, 520, STOP, 20), (4000, 600, NONE, 100), (900, 0, STOP, -100)],
)
def test_the_nearest_of_all_limits_counts(address_space: int, data: int, expected: Pressure, headroom: int) -> None:
    guard = MemoryGuard(1000, read=reading(100), address_space_bytes=address_space, data_bytes=data)
    assert guard.check() is expected
    assert guard.headroom_bytes == headroom


def test_only_each_nth_check_looks() -> None:
    guard = MemoryGuard(1000, read=reading(900, 100), address_space_bytes=0, data_bytes=0, every=3)
    assert [guard.check() for _ in range(6)] == [SHRINK] * 3 + [NONE] * 3


def test_what_this_process_has_is_read() -> None:
    with MemoryGuard(1 << 50) as guard:
        guard.check()
        before = guard.use
        kept = bytearray(64 * MIB)
        guard.check()
        assert guard.use.address_space_bytes >= before.address_space_bytes + 60 * MIB
        kept[:: 1 << 12] = b"\1" * len(kept[:: 1 << 12])
        assert guard.check() is NONE
        assert guard.use.resident_bytes >= before.resident_bytes + 60 * MIB
        assert guard.use.data_bytes >= before.data_bytes + 60 * MIB
        assert before.resident_bytes < guard.peak_bytes <= peak_rss_bytes() + MIB
    guard.close()


LIMITED = """
import resource, sys
import numpy
from caligo.memory import InFlight, MemoryGuard, Pressure
limit, mib = sys.argv[1], 1 << 20
with MemoryGuard(1 << 50, address_space_bytes=0, data_bytes=0) as guard:
    guard.check()
    use = guard.use.address_space_bytes if limit == "RLIMIT_AS" else guard.use.data_bytes
bound = 4 * use + (256 << 20)
resource.setrlimit(getattr(resource, limit), (bound, bound))
policy, kept, seen = InFlight(8), [], []
with MemoryGuard(1 << 50) as guard:
    while not policy.stop_wanted:
        kept.append(numpy.empty(4 * mib, numpy.uint8))
        pressure = guard.check()
        policy.update(pressure)
        if pressure.name not in seen:
            seen.append(pressure.name)
    print(*seen, policy.allowed, guard.headroom_bytes > 4 * mib, guard.peak_bytes < bound // 2)
try:
    while True:
        kept.append(numpy.empty(4 * mib, numpy.uint8))
except MemoryError:
    print("then none")
"""


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_process_near_what_the_system_grants_is_stopped_before_an_allocation_fails(limit: str) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, limit], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["NONE SHRINK STOP 1 True True", "then none"]


pressures = st.sampled_from(list(Pressure))


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 9), st.lists(pressures, max_size=80))
def test_what_is_in_flight_follows_the_pressure(planned: int, settle: int, calm: int, told: list[Pressure]) -> None:
    policy = InFlight(planned, settle=settle, calm=calm)
    assert policy.allowed == planned
    stopped = False
    for pressure in told:
        before = policy.allowed
        now = policy.update(pressure)
        stopped = stopped or pressure is STOP
        assert policy.allowed == now
        assert 1 <= now <= planned
        assert policy.stop_wanted == stopped
        if stopped:
            assert now == 1
        elif pressure is SHRINK:
            assert now in {before, max(1, before // 2)}
        else:
            assert now in {before, before + 1}
        assert policy.least <= now


def test_it_is_halved_with_time_between_and_grows_by_one_after_calm() -> None:
    policy = InFlight(8, settle=2, calm=3)
    assert [policy.update(SHRINK) for _ in range(7)] == [4, 4, 2, 2, 1, 1, 1]
    assert [policy.update(NONE) for _ in range(7)] == [1, 1, 2, 2, 2, 3, 3]
    assert policy.update(SHRINK) == 1
    assert [policy.update(NONE) for _ in range(30)][-4:] == [8, 8, 8, 8]
    assert policy.least == 1


def test_arguments_out_of_range_are_refused() -> None:
    for change in ({"budget_bytes": 0}, {"soft": 0.99}, {"hard": 1.1}, {"soft": 0.01}, {"every": 0}):
        with pytest.raises(ConfigError):
            MemoryGuard(**({"budget_bytes": 1000, "read": reading()} | change))  # type: ignore[arg-type]
    for change in ({"planned": 0}, {"settle": 0}, {"calm": 0}):
        with pytest.raises(ConfigError):
            InFlight(**({"planned": 1} | change))

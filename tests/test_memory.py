"""Laws of memory: the smallest finite limit wins, a plan fits its budget, and a refusal names what would fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo import _native
from caligo.errors import ConfigError, MemoryBudgetError, ResourceError
from caligo.memory import (
    block_buffer_bytes,
    dialogue_block_bytes,
    dialogue_window,
    memory_limit,
    memory_limits,
    peak_rss_bytes,
    plan_memory,
    stated_limit,
)
from caligo.memory.limits import parse_cgroup_limit, parse_cgroup_paths, parse_meminfo
from caligo.memory.usage import parse_high_water_mark

GIB = 1 << 30
MIB = 1 << 20
NO_LIMIT = 1 << 62


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, content in {"proc/meminfo": "MemTotal:       67108864 kB\nMemFree: 1 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


V2 = {"proc/self/cgroup": "0::/slurm/job_7/step_0\n"}
V1 = {"proc/self/cgroup": "9:name=systemd:/\n4:cpuset,memory:/job/7\n0::/\n"}
UNSET = "9223372036854771712\n"


@pytest.mark.parametrize(
    ("files", "environ", "address_space", "expected", "source"),
    [
        ({}, {}, NO_LIMIT, 64 * GIB, "memory of the machine"),
        ({}, {}, 2 * GIB, 2 * GIB, "ulimit"),
        (V2 | {"sys/fs/cgroup/slurm/memory.high": f"{7 * GIB}\n"}, {}, NO_LIMIT, 7 * GIB, "memory.high"),
        (V2 | {"sys/fs/cgroup/slurm/job_7/memory.max": f"{3 * GIB}\n"}, {}, NO_LIMIT, 3 * GIB, "v2 /slurm/job_7"),
        (V2 | {"sys/fs/cgroup/memory.max": f"{5 * GIB}\n"}, {}, NO_LIMIT, 5 * GIB, "control group v2 /"),
        (V2 | {"sys/fs/cgroup/slurm/job_7/step_0/memory.max": "max\n"}, {}, NO_LIMIT, 64 * GIB, "machine"),
        (V1 | {"sys/fs/cgroup/memory/job/7/memory.limit_in_bytes": UNSET}, {}, NO_LIMIT, 64 * GIB, "machine"),
        (
            V1 | {"sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{GIB}\n"},
            {},
            NO_LIMIT,
            GIB,
            "control group v1 /job",
        ),
        (V1 | {"sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GIB}\n"}, {}, NO_LIMIT, GIB, "control group v1 /"),
        ({}, {"SLURM_MEM_PER_NODE": "4096"}, NO_LIMIT, 4 * GIB, "SLURM_MEM_PER_NODE"),
        ({}, {"SLURM_MEM_PER_NODE": "0"}, NO_LIMIT, 64 * GIB, "machine"),
        ({}, {"SLURM_MEM_PER_CPU": "2048", "SLURM_CPUS_PER_TASK": "2"}, NO_LIMIT, 4 * GIB, "SLURM_CPUS_PER_TASK"),
        ({}, {"SLURM_MEM_PER_CPU": "2048", "SLURM_CPUS_ON_NODE": "8"}, NO_LIMIT, 16 * GIB, "SLURM_CPUS_ON_NODE"),
        (
            {},
            {"SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_PER_TASK": "8", "SLURM_CPUS_ON_NODE": "4"},
            NO_LIMIT,
            4 * GIB,
            "SLURM_CPUS_ON_NODE",
        ),
        ({}, {"SLURM_MEM_PER_CPU": "nonsense", "SLURM_CPUS_PER_TASK": "2"}, NO_LIMIT, 64 * GIB, "machine"),
    ],
)
def test_the_smallest_finite_limit_wins_and_says_where_it_comes_from(
    tmp_path: Path, files: dict[str, str], environ: dict[str, str], address_space: int, expected: int, source: str
) -> None:
    limit, where = memory_limit(root=machine(tmp_path, files), environ=environ, address_space=address_space)
    assert limit == expected
    assert source in where


def test_limits_of_a_node_are_divided_by_its_ranks_and_limits_of_a_process_are_not(tmp_path: Path) -> None:
    root = machine(tmp_path, V2 | {"sys/fs/cgroup/slurm/memory.max": str(32 * GIB)})
    environ = {"SLURM_MEM_PER_NODE": str(40 * 1024), "SLURM_MEM_PER_CPU": "3000", "SLURM_CPUS_PER_TASK": "1"}
    limits = memory_limits(ranks_on_node=8, root=root, environ=environ, address_space=10 * GIB)
    assert [limit for limit, _ in limits] == [3000 * MIB, 4 * GIB, 5 * GIB, 8 * GIB, 10 * GIB]
    assert "8 ranks" in limits[1].source
    with pytest.raises(ConfigError):
        memory_limit(ranks_on_node=0)


def test_the_group_of_one_task_is_not_divided_and_those_above_it_are(tmp_path: Path) -> None:
    groups = {
        "proc/self/cgroup": "0::/job_7/step_0/user/task_3\n",
        "sys/fs/cgroup/job_7/step_0/user/task_3/memory.max": str(3 * GIB),
        "sys/fs/cgroup/job_7/memory.max": str(8 * GIB),
    }
    limits = memory_limits(ranks_on_node=4, root=machine(tmp_path, groups), environ={}, address_space=NO_LIMIT)
    assert [limit for limit, _ in limits] == [2 * GIB, 3 * GIB, 16 * GIB]


def test_what_the_user_states_and_a_limit_on_data_hold_for_each_process(tmp_path: Path) -> None:
    root = machine(tmp_path, {})
    stated = stated_limit(2 * GIB, "--memory-per-rank")
    for data, expected in ((3 * GIB, (2 * GIB, "--memory-per-rank")), (GIB, (GIB, "data limit (ulimit -d)"))):
        limit = memory_limit(ranks_on_node=8, stated=stated, root=root, environ={}, address_space=NO_LIMIT, data=data)
        assert limit == expected
    with pytest.raises(ConfigError, match="--memory-per-rank"):
        stated_limit(0, "--memory-per-rank")


def test_a_machine_that_says_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ResourceError):
        memory_limit(root=tmp_path, environ={}, address_space=NO_LIMIT)


@pytest.mark.parametrize("text", ["", "max", "max\n", "-1", "0", "12 34", UNSET, "9223372036854775807", "x", None])
def test_what_is_no_limit_is_none(text: str | None) -> None:
    assert parse_cgroup_limit(text) is None


@given(st.text(max_size=60))
def test_no_text_breaks_a_parser(text: str) -> None:
    parse_cgroup_limit(text)
    parse_cgroup_paths(text)
    parse_meminfo(text)
    parse_high_water_mark(text)


def test_this_process_is_bounded_by_its_address_space_limit() -> None:
    code = (
        "import resource\n"
        "from caligo.memory import memory_limit\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1500 << 20, 1500 << 20))\n"
        "print(memory_limit().limit_bytes <= 1500 << 20)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"
    limit, source = memory_limit()
    assert limit > 0
    assert source


def test_the_high_water_mark_rises_with_use() -> None:
    before = peak_rss_bytes()
    kept = bytearray(before + (32 << 20))
    kept[:: 1 << 12] = b"\1" * len(kept[:: 1 << 12])
    assert peak_rss_bytes() >= before + (32 << 20)
    assert peak_rss_bytes(Path("/nonexistent")) > 0


def formula(block_length: int, list_size: int, precision: str) -> int:
    return block_length * list_size * (4 if precision == "f32" else 1) + 1000


@given(
    st.integers(0, 1 << 34),
    st.integers(0, 24),
    st.sampled_from([1, 2, 4, 8, 16, 32]),
    st.sampled_from(["int8", "f32"]),
    st.integers(1, 300),
    st.integers(1, 16),
)
def test_a_plan_fits_its_budget_and_one_thread_or_block_more_would_not(
    budget: int, exponent: int, list_size: int, precision: str, threads: int, blocks_per_thread: int
) -> None:
    try:
        plan = plan_memory(
            budget,
            block_length=1 << exponent,
            list_size=list_size,
            precision=precision,
            threads=threads,
            blocks_per_thread=blocks_per_thread,
            required_bytes=formula,
        )
    except MemoryBudgetError as error:
        refused = error.fields
        plan = None
    if plan is None:
        assert refused["needed_bytes"] > budget
        for name, value in (("list_size", list_size), ("block_length", 1 << exponent)):
            fitting = refused[f"fitting_{name}"]
            if fitting is not None:
                assert fitting < value
                other = {"block_length": 1 << exponent, "list_size": list_size, name: fitting}
                assert plan_memory(budget, precision=precision, required_bytes=formula, **other).threads == 1
        return
    assert plan.total_bytes <= budget
    assert sum(plan.by_purpose().values()) == budget
    assert 1 <= plan.threads <= threads
    assert plan.threads <= plan.blocks_in_flight <= plan.threads * blocks_per_thread
    if plan.threads < threads:
        assert plan.total_bytes + plan.decoder_bytes + plan.block_bytes > budget or plan.blocks_in_flight > plan.threads
    if plan.blocks_in_flight < plan.threads * blocks_per_thread:
        assert plan.total_bytes + plan.block_bytes > budget


def test_a_plan_asks_the_crate_what_a_decoder_needs() -> None:
    plan = plan_memory(2 * GIB, block_length=1 << 20, list_size=32, threads=2)
    assert plan.decoder_bytes == _native.required_bytes(1 << 20, 32, "int8")
    assert plan.threads == 2
    assert plan.decoder_bytes < 128 * MIB


def test_a_refusal_names_what_would_fit() -> None:
    with pytest.raises(MemoryBudgetError) as caught:
        plan_memory(300 * MIB, block_length=1 << 24, list_size=32, source="ulimit -v", required_bytes=formula)
    message = caught.value.message
    assert "ulimit -v" in message
    assert "list size 8 at this block length" in message
    assert "block length 4194304 at this list size" in message


def test_plans_out_of_range_are_refused() -> None:
    for change in ({"threads": 0}, {"blocks_per_thread": 0}, {"fixed_bytes": -1}, {"precision": "int4"}):
        with pytest.raises(ConfigError):
            plan_memory(GIB, **({"block_length": 1024, "list_size": 8, "required_bytes": formula} | change))  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        block_buffer_bytes(0)


@given(st.integers(0, 1 << 40), st.integers(0, 24))
def test_a_window_of_a_dialogue_takes_its_share_of_the_memory_or_is_the_least(budget: int, log2_length: int) -> None:
    length = 1 << log2_length
    window = dialogue_window(budget, length)
    assert 8 <= window <= 4096
    assert window == 8 or window * dialogue_block_bytes(length) <= budget // 8
    assert dialogue_window(2 * budget, length) >= window


def test_ten_rounds_over_40_ms_keep_several_hundred_mbit_a_second_busy_in_two_gib() -> None:
    for length in (1 << 16, 1 << 20):
        assert dialogue_window(2 * GIB, length) * length / (10 * 0.04) > 500e6


@pytest.mark.parametrize("cores", [1, 16, 192])
def test_a_window_holds_several_long_blocks_for_each_core_with_two_gib(cores: int) -> None:
    assert dialogue_window(cores * 2 * GIB, 1 << 20) >= 5 * cores

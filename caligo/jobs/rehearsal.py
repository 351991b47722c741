"""What a job will do, found out before it starts: lengths of its keys, layout, codes, how fast they are decoded here.

Covers: what the job file and the lengths of its key files say, and a second of decoding on simulated keys. Does not
cover: adding it up (:mod:`.forecast`). Not a bit of a key is read: a key file of 10^12 bits takes no longer than one of
10^6. Where the QBER is to be estimated from the keys, one is assumed.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from caligo.codes import PolarCode
from caligo.errors import ConfigError, MemoryBudgetError
from caligo.jobs.forecast import (
    COORDINATOR_BYTES_PER_TASK,
    SAMPLED_POSITION_BYTES,
    Forecast,
    Machine,
    Workload,
    forecast,
    ranks_that_fit,
)
from caligo.jobs.job_file import JobFile, ScheduleTable, SimulateTable, require_one_file_system
from caligo.jobs.options import ReconcileOptions
from caligo.jobs.plan import WINDOW_BITS, Layout, default_block_length, plan_layout
from caligo.jobs.reconcile_work import ReconcileWork, replayed_randomness
from caligo.jobs.scheduling import SchedulePolicy, choose_policy
from caligo.jobs.simulation_run import open_simulation
from caligo.jobs.threads import plan_thread_memory
from caligo.keys import KeyPair, interleaving_bytes
from caligo.memory import FIXED_BYTES, MemoryLimit, MemoryPlan, memory_limit, plan_memory
from caligo.reconciliation.estimation import QberEstimate, default_sample_bits
from caligo.reconciliation.strategies import strategy_type
from caligo.reconciliation.strategies.one_way import OneWay
from caligo.simulation import BscChannel, sample_frames

__all__ = ["ASSUMED_QBER", "checked", "layout_of", "open_keys", "rehearse", "sample_bits_of"]

ASSUMED_QBER = 0.03

_UNBOUNDED = MemoryLimit(1 << 60, "")
_FEWEST_CALLS = 2
_SIMULATED_TASK_BITS = 1 << 18
_SIMULATED_TASK_FRAMES = 256


def open_keys(job: JobFile) -> KeyPair:
    """The two key files of a job, of one length; close the pair.

    Raises:
        ConfigError: the job has none.
        KeyFileError: a file is missing, empty, damaged or too short.
        ShapeError: the lengths differ.
    """
    if job.keys is None:
        raise ConfigError("expected a job that reconciles keys, got a simulation; it has no key files")
    return job.keys.open()


def sample_bits_of(options: ReconcileOptions, key_bits: int) -> int:
    """How many positions a job samples: none where the QBER is given."""
    if options.qber is not None:
        return 0
    return default_sample_bits(key_bits) if options.sample_bits is None else options.sample_bits


def layout_of(options: ReconcileOptions, key_bits: int) -> Layout:
    """The blocks of a job.

    Args:
        options: of the job.
        key_bits: length of the keys.

    Raises:
        ConfigError: the sample leaves no key, or no block is as long as the segments asked for.
        KeyFileError: the key is too short for any block.
    """
    sample = sample_bits_of(options, key_bits)
    if sample >= key_bits:
        raise ConfigError(
            f"reconcile.sample_bits: expected fewer than the key's {key_bits} bits, got {sample}; they are lost",
            got=sample,
            key_bits=key_bits,
        )
    layout = plan_layout(key_bits - sample, options.block_length or default_block_length(key_bits))
    options.require_blocks(segment.block_length for segment in layout.segments)
    return layout


def checked(job: JobFile) -> dict[str, Any]:
    """What a job would do, as far as it is known without designing a code for keys.

    Args:
        job: the job.

    Returns:
        The fields of `caligo job check --json`.

    Raises:
        ConfigError: the sample leaves no key, the work directory is on another file system than the output, or lengths
            and efficiency of a simulation do not fit together.
        KeyFileError, ShapeError: as of `open_keys`.
    """
    document: dict[str, Any] = {"job": job.path, "kind": job.kind, "digest": job.digest}
    document |= {"work": job.work, "store": job.store, "out": job.out}
    if job.simulate is not None:
        code = job.simulate.code()
        return (
            document
            | {"block_length": code.block_length, "info_length": code.info_length}
            | {"blocks": job.simulate.frames}
        )
    require_one_file_system(job)
    with open_keys(job) as keys:
        key_bits = keys.key_bits
    layout = layout_of(job.options, key_bits)
    return document | {
        "key_bits": key_bits,
        "sampled_bits": sample_bits_of(job.options, key_bits),
        "discarded_bits": layout.discarded_bits,
        "block_length": layout.segments[0].block_length,
        "blocks": layout.blocks,
        "groups": layout.group_count,
    }


def rehearse(
    job: JobFile,
    *,
    ranks: int = 1,
    ranks_per_node: int | None = None,
    threads_per_rank: int | None = None,
    memory_per_rank: int | None = None,
    qber: float | None = None,
    speed_mbps: float | None = None,
    measure_s: float = 1.0,
    name: str | None = None,
) -> Forecast:
    """What a job will take on so many ranks.

    Args:
        job: the job.
        ranks: processes, >= 1.
        ranks_per_node: of them on one node; None: all.
        threads_per_rank: None: what the job says, else one, or for a single rank the cores this process may use.
        memory_per_rank: bytes; None: what the job says, else this machine's, divided by the ranks of a node.
        qber: to assume where the job estimates it; None: `ASSUMED_QBER`.
        speed_mbps: coded Mbit/s of one core; None: measured here.
        measure_s: how long to measure.
        name: of the job file, for the command; None: its path.

    Raises:
        ConfigError: an argument outside its range, or one that the job contradicts.
        MemoryBudgetError: a rank does not fit its memory; the message says what would.
        KeyFileError, ShapeError: as of `open_keys`.
    """
    if qber is not None and (job.simulate is not None or job.options.qber is not None):
        raise ConfigError(
            "qber: expected none, since the job gives one, got one to assume; leave it out", what="qber", got=qber
        )
    per_node = ranks if ranks_per_node is None else ranks_per_node
    threads = threads_per_rank or job.limits.threads_per_rank or (1 if ranks > 1 else len(os.sched_getaffinity(0)))
    limit = _limit(job, memory_per_rank, min(per_node, ranks))
    machine = Machine(ranks, per_node, threads, limit.limit_bytes, limit.source)
    rehearsed = _simulation(job.simulate, machine) if job.simulate else _reconciliation(job, machine, qber)
    if speed_mbps is None:
        speed_mbps = rehearsed.measure(measure_s)
        source = "measured here just now on one core; where all cores are busy each may be slower"
    else:
        source = "as given"
    workload = rehearsed.workload
    # What a task takes is what a core needs for its share of all coded bits, over the threads that work on it.
    if not 0.0 < speed_mbps < math.inf:
        raise ConfigError(
            f"speed: expected a rate above 0 Mbit/s, got {speed_mbps!r}", what="speed", got=str(speed_mbps)
        )
    task_s = workload.coded_bits / workload.tasks / (speed_mbps * 1e6 * rehearsed.memory.threads)
    return forecast(
        workload,
        machine,
        rehearsed.memory,
        policy=_policy(job.schedule, workload.tasks, ranks, task_s),
        coded_mbps_per_core=speed_mbps,
        speed_source=source,
        job=os.fspath(job.path) if name is None else name,
        interleaving_bytes=rehearsed.interleaving_bytes,
        time_limit_s=job.limits.time_s,
        stop_before_s=job.limits.stop_before_s,
    )


@dataclass(frozen=True)
class _Rehearsed:
    """What was found out about a job.

    Args:
        workload: what there is to do.
        memory: of rank 0.
        interleaving_bytes: that the interleaver takes.
        measure: seconds to spend to coded Mbit/s of one core.
    """

    workload: Workload
    memory: MemoryPlan
    interleaving_bytes: int
    measure: Callable[[float], float]


def _limit(job: JobFile, asked: int | None, ranks_on_node: int) -> MemoryLimit:
    if asked is not None:
        return MemoryLimit(asked, "--memory-per-rank")
    if job.limits.memory_per_rank is not None:
        return MemoryLimit(job.limits.memory_per_rank, "limits.memory_per_rank of the job file")
    return memory_limit(ranks_on_node=max(1, ranks_on_node))


def _policy(schedule: ScheduleTable, tasks: int, ranks: int, task_s: float) -> SchedulePolicy:
    asked = {
        name: getattr(schedule, name)
        for name in ("least_tasks", "most_tasks", "divisor")
        if getattr(schedule, name) is not None
    }
    if schedule.kind == "static":
        return SchedulePolicy(kind="static")
    chosen = choose_policy(tasks, ranks, task_s)
    if "most_tasks" in asked and "least_tasks" not in asked:
        asked["least_tasks"] = min(chosen.least_tasks, asked["most_tasks"])
    if "least_tasks" in asked and "most_tasks" not in asked:
        asked["most_tasks"] = max(chosen.most_tasks, asked["least_tasks"])
    return replace(chosen, **asked)


def _fitted(machine: Machine, plan: Callable[[MemoryLimit], MemoryPlan]) -> MemoryPlan:
    """The plan within a rank's memory; where nothing fits, the ranks of a node that would are named too."""
    try:
        return plan(MemoryLimit(machine.memory_per_rank, machine.memory_source))
    except MemoryBudgetError as error:
        fitting = ranks_that_fit(machine, error.fields["needed_bytes"])
        if not fitting or machine.ranks_per_node == 1:
            raise
        each = machine.ranks_per_node * machine.memory_per_rank // fitting
        raise MemoryBudgetError(
            f"{error.message}, or {fitting} ranks on a node in place of {machine.ranks_per_node}, with "
            f"{each / (1 << 20):,.1f} MiB each",
            **error.fields,
            fitting_ranks_per_node=fitting,
        ) from None


def _reconciliation(job: JobFile, machine: Machine, qber: float | None) -> _Rehearsed:
    options = replace(job.options, threads=machine.threads_per_rank)
    kind = strategy_type(options.strategy)
    with open_keys(job) as keys:
        key_bits = keys.key_bits
        layout, sample = layout_of(options, key_bits), sample_bits_of(options, key_bits)
        interleaving = interleaving_bytes(layout.key_bits) if options.interleave else 0
        beside = SAMPLED_POSITION_BYTES * sample + interleaving

        def fitted(coordinator_bytes: int) -> MemoryPlan:
            return _fitted(
                machine,
                lambda limit: plan_thread_memory(
                    limit,
                    kind,
                    options,
                    layout,
                    machine.threads_per_rank,
                    beside_bytes=beside + coordinator_bytes,
                ),
            )

        fitted(0)  # before a code is designed, which may take longer than anybody waits for a refusal
        work = ReconcileWork((keys.alice, keys.bob), options, replayed_randomness(0), limit=_UNBOUNDED)
        if options.qber is not None:
            work.plan_for(options.qber)
        else:
            assumed = ASSUMED_QBER if qber is None else qber
            if not 0.0 < assumed < 0.5:
                raise ConfigError(f"qber: expected 0 < qber < 0.5, got {assumed!r}", what="qber", got=assumed)
            work.estimate(QberEstimate(round(assumed * sample), sample))
        designs = work.designs()
        try:
            tasks = -(-layout.group_count // work.groups_in_a_task(designs))
            ahead = max(1, tasks * designs.lagging_bits // layout.key_bits) if designs.follows and tasks > 1 else None
        finally:
            designs.close()
        code = work.codes[0]
        noise = BscChannel(options.qber or (ASSUMED_QBER if qber is None else qber))
    return _Rehearsed(
        Workload(
            kind="reconcile",
            key_bits=key_bits,
            sampled_bits=sample,
            payload_bits=sum(segment.key_bits for segment in layout.segments),
            coded_bits=sum(segment.blocks * segment.block_length for segment in layout.segments),
            block_length=layout.segments[0].block_length,
            list_size=options.list_size,
            blocks=layout.blocks,
            groups=layout.group_count,
            tasks=tasks,
            writes_keys=job.out is not None,
            tasks_ahead=ahead,
        ),
        fitted(COORDINATOR_BYTES_PER_TASK * tasks),
        interleaving,
        lambda seconds: _measured_reconciliation(options, code, noise, seconds),
    )


def _measured_reconciliation(options: ReconcileOptions, code: PolarCode, noise: BscChannel, seconds: float) -> float:
    """Coded Mbit/s of one thread that plays both parties on simulated blocks."""
    strategy = strategy_type(options.strategy)(
        code, options.list_size, precision=options.precision, engine=options.engine, escalation=options.escalation
    )
    rows = max(1, WINDOW_BITS // code.payload_length)
    try:

        def decode(number: int) -> Callable[[], Any]:
            frames = sample_frames(code, noise, 1, number * rows, rows)
            assert frames.received is not None
            alice, bob = frames.blocks, frames.received
            return lambda: strategy.reconcile(alice, bob, options.block_caps)

        return rows * code.block_length / _seconds_per_call(decode, seconds) / 1e6
    finally:
        strategy.close()


def _simulation(table: SimulateTable, machine: Machine) -> _Rehearsed:
    per_task = max(1, min(_SIMULATED_TASK_FRAMES, _SIMULATED_TASK_BITS // table.block_length))
    tasks = -(-table.frames // per_task)
    precision = table.precision or ("f32" if table.channel == "awgn" else "int8")

    def decoder_bytes(block_length: int, list_size: int, precision: str) -> int:
        return OneWay.required_bytes(
            block_length, list_size, precision, table.check, table.escalation, table.segment_length
        )

    memory = _fitted(
        machine,
        lambda limit: plan_memory(
            limit.limit_bytes,
            block_length=table.block_length,
            list_size=table.list_size,
            precision=precision,
            threads=machine.threads_per_rank,
            blocks_per_thread=2 * per_task,
            fixed_bytes=FIXED_BYTES + COORDINATOR_BYTES_PER_TASK * tasks,
            source=limit.source,
            required_bytes=decoder_bytes,
        ),
    )
    code = table.code()
    return _Rehearsed(
        Workload(
            kind="simulate",
            key_bits=0,
            sampled_bits=0,
            payload_bits=table.frames * code.payload_length,
            coded_bits=table.frames * code.block_length,
            block_length=code.block_length,
            list_size=table.list_size,
            blocks=table.frames,
            groups=0,
            tasks=tasks,
            writes_keys=False,
        ),
        memory,
        0,
        lambda seconds: _measured_simulation(table, code, per_task, seconds),
    )


def _measured_simulation(table: SimulateTable, code: PolarCode, frames: int, seconds: float) -> float:
    """Coded Mbit/s of one thread that makes frames and decodes them."""
    with open_simulation(table, code, seed=1) as simulation:

        def decode(number: int) -> Callable[[], Any]:
            return lambda: simulation.decode_batch(number * frames, frames)

        return frames * code.block_length / _seconds_per_call(decode, seconds) / 1e6


def _seconds_per_call(prepare: Callable[[int], Callable[[], Any]], seconds: float) -> float:
    """Mean time of a call, the first not counted; what `prepare` does is not timed."""
    prepare(0)()
    spent, calls = 0.0, 0
    began = time.perf_counter()
    while calls < _FEWEST_CALLS or (spent < seconds and time.perf_counter() - began < 3 * seconds):
        call = prepare(calls + 1)
        start = time.perf_counter()
        call()
        spent += time.perf_counter() - start
        calls += 1
    return spent / calls

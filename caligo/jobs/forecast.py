"""What a job will take on so many ranks: memory, disk, time, and the line that submits it; pure arithmetic.

Covers: adding up what was found out elsewhere. Does not cover: finding it out (:mod:`.rehearsal`), fitting threads into
memory (:mod:`caligo.memory.budget`), choosing chunks (:mod:`.scheduling`). Reads no clock, no file, no environment and
no random source: equal arguments, equal forecasts.

Time is coded bits over what all cores decode, at `EFFICIENCY`. It leaves out what does not shrink with the number of
ranks: starting them, and putting the shards together at the end, which is bound by the file system.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from caligo.errors import ConfigError
from caligo.jobs.scheduling import SchedulePolicy
from caligo.memory.budget import FIXED_BYTES, MemoryPlan

__all__ = [
    "EFFICIENCY",
    "COORDINATOR_BYTES_PER_TASK",
    "RECORD_BYTES_PER_BLOCK",
    "SAMPLED_POSITION_BYTES",
    "Forecast",
    "Machine",
    "Workload",
    "forecast",
    "ranks_that_fit",
]

EFFICIENCY = 0.98
"""Share of the ranks' time that is spent decoding: what the simulated schedules give 192 ranks at least."""

TASKS_PER_CORE = 16
"""That may be begun ahead for a core to wait for no design: 192 cores then work 99 % of the time, where a tenth of them
has half the speed."""

COORDINATOR_BYTES_PER_TASK = 28
SAMPLED_POSITION_BYTES = 8
RECORD_BYTES_PER_BLOCK = 120

_MIB = 1 << 20
_MARGIN = 1.25
"""Of time asked for over time expected: nodes differ, and the end is not decoding."""
_ROUNDED_S = 600


@dataclass(frozen=True, slots=True)
class Workload:
    """What there is to do.

    Args:
        kind: ``reconcile`` or ``simulate``.
        key_bits: of each key, sampled positions included; 0 in a simulation.
        sampled_bits: positions that are disclosed and dropped.
        payload_bits: key bits in all blocks.
        coded_bits: block lengths of all blocks added up, >= 1.
        block_length: N of most blocks.
        list_size: L.
        blocks: >= 1.
        groups: verified together; 0 in a simulation.
        tasks: shared out one by one, >= 1.
        writes_keys: reconciled keys are written.
        tasks_ahead: where designs follow the error rate, so many tasks may be begun before the first of them is done;
            None: any.
    """

    kind: str
    key_bits: int
    sampled_bits: int
    payload_bits: int
    coded_bits: int
    block_length: int
    list_size: int
    blocks: int
    groups: int
    tasks: int
    writes_keys: bool
    tasks_ahead: int | None = None

    @property
    def cores_fed(self) -> int | None:
        """Cores that have enough to do ahead of the designs that follow; None: any number."""
        return None if self.tasks_ahead is None else max(1, self.tasks_ahead // TASKS_PER_CORE)


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to do it with.

    Args:
        ranks: >= 1.
        ranks_per_node: >= 1, at most `ranks`.
        threads_per_rank: cores of a rank, >= 1.
        memory_per_rank: bytes.
        memory_source: who says so.

    Raises:
        ConfigError: an argument outside its range.
    """

    ranks: int
    ranks_per_node: int
    threads_per_rank: int
    memory_per_rank: int
    memory_source: str

    def __post_init__(self) -> None:
        for name in ("ranks", "ranks_per_node", "threads_per_rank", "memory_per_rank"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}", what=name)
        if self.ranks_per_node > self.ranks:
            raise ConfigError(
                f"ranks_per_node: expected at most the {self.ranks} ranks, got {self.ranks_per_node}; give fewer",
                what="ranks_per_node",
                got=self.ranks_per_node,
                most=self.ranks,
            )

    @property
    def nodes(self) -> int:
        """Nodes that hold them all."""
        return -(-self.ranks // self.ranks_per_node)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a job will take; the fields are those of `caligo plan --json`.

    Args:
        workload: what there is to do.
        machine: what there is to do it with.
        threads: of each rank; fewer than its cores where memory is short.
        blocks_in_flight: of each rank.
        memory_bytes: of a rank by purpose, in bytes: of rank 0, which has most. `spare_bytes` is left.
        total_bytes: all of them but what is left.
        work_disk_bytes: in the work directory at most.
        output_disk_bytes: in the output directory.
        coded_mbps_per_core: decoding, in 10^6 bits per second.
        speed_source: where that figure comes from.
        coded_mbps: all ranks together.
        payload_mbps: key bits per second, all ranks together.
        expected_s: decoding, all ranks together.
        time_limit_s: of one submission.
        attempts: how many submissions so long are needed at least.
        read_mb_per_s: what the file system must deliver to all ranks together, in 10^6 bytes per second; below it,
            reading is what the job waits for.
        write_mb_per_s: likewise, what it must take.
        policy: how tasks are shared out.
        submit: the command that starts it.
    """

    workload: Workload
    machine: Machine
    threads: int
    blocks_in_flight: int
    memory_bytes: dict[str, int]
    total_bytes: int
    work_disk_bytes: int
    output_disk_bytes: int
    coded_mbps_per_core: float
    speed_source: str
    coded_mbps: float
    payload_mbps: float
    expected_s: float
    time_limit_s: float
    attempts: int
    read_mb_per_s: float
    write_mb_per_s: float
    policy: SchedulePolicy
    submit: str

    @property
    def spare_share(self) -> float:
        """What is left of the memory, over all of it."""
        return self.memory_bytes["spare_bytes"] / self.machine.memory_per_rank

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        document: dict[str, Any] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            if hasattr(value, "__slots__"):
                value = {inner: getattr(value, inner) for inner in value.__slots__}
            document[name] = value
        return document | {"nodes": self.machine.nodes}


def forecast(
    workload: Workload,
    machine: Machine,
    memory: MemoryPlan,
    *,
    policy: SchedulePolicy,
    coded_mbps_per_core: float,
    speed_source: str,
    job: str,
    interleaving_bytes: int = 0,
    time_limit_s: float | None = None,
    stop_before_s: float = 0.0,
) -> Forecast:
    """Add it all up.

    Args:
        workload: what there is to do.
        machine: what there is to do it with.
        memory: of rank 0, its `fixed_bytes` with what this function names by purpose.
        policy: how tasks are shared out.
        coded_mbps_per_core: decoding, > 0.
        speed_source: where that figure comes from.
        job: name of the job file, for the command.
        interleaving_bytes: that the interleaver takes.
        time_limit_s: of one submission; None: what is expected and a quarter more, rounded up.
        stop_before_s: how long before the limit work ends.

    Raises:
        ConfigError: a speed that is not above 0, or a limit that leaves no time to work.
    """
    if not 0.0 < coded_mbps_per_core < float("inf"):
        raise ConfigError(
            f"speed: expected a rate above 0 Mbit/s, got {coded_mbps_per_core!r}; `caligo bench decoder` measures it",
            what="speed",
            got=str(coded_mbps_per_core),
        )
    # A key of few tasks does not keep all ranks busy.
    cores = min(machine.ranks, workload.tasks) * memory.threads
    coded_mbps = coded_mbps_per_core * cores * EFFICIENCY
    expected_s = workload.coded_bits / coded_mbps / 1e6
    if time_limit_s is None:
        wanted = expected_s * _MARGIN + stop_before_s + _ROUNDED_S / 2
        time_limit_s = -(-wanted // _ROUNDED_S) * _ROUNDED_S
    usable_s = time_limit_s - stop_before_s
    if usable_s <= 0.0:
        raise ConfigError(
            f"limits.time: expected more than the {stop_before_s:g} s of limits.stop_before, got {time_limit_s:g} s; "
            "raise one or lower the other",
            what="limits.time",
            got=time_limit_s,
        )
    copy = -(-workload.payload_bits // 8) if workload.writes_keys else 0
    records = RECORD_BYTES_PER_BLOCK * workload.blocks
    read = 2 * (workload.key_bits // 8)
    purposes = _purposes(workload, memory, interleaving_bytes)
    return Forecast(
        workload=workload,
        machine=machine,
        threads=memory.threads,
        blocks_in_flight=memory.blocks_in_flight,
        memory_bytes=purposes,
        total_bytes=memory.total_bytes,
        work_disk_bytes=copy + records,
        output_disk_bytes=2 * copy,
        coded_mbps_per_core=coded_mbps_per_core,
        speed_source=speed_source,
        coded_mbps=coded_mbps,
        payload_mbps=coded_mbps * workload.payload_bits / workload.coded_bits,
        expected_s=expected_s,
        time_limit_s=time_limit_s,
        attempts=max(1, int(-(-expected_s // usable_s))),
        read_mb_per_s=read / expected_s / 1e6,
        write_mb_per_s=(copy + records) / expected_s / 1e6,
        policy=policy,
        submit=submit_command(machine, job, time_limit_s),
    )


def _purposes(workload: Workload, memory: MemoryPlan, interleaving_bytes: int) -> dict[str, int]:
    named = {
        "positions_bytes": SAMPLED_POSITION_BYTES * workload.sampled_bits,
        "interleaving_bytes": interleaving_bytes,
        "coordinator_bytes": COORDINATOR_BYTES_PER_TASK * workload.tasks,
    }
    purposes = memory.by_purpose()
    shorter_decoders = memory.fixed_bytes - sum(named.values()) - FIXED_BYTES
    purposes["fixed_bytes"] = FIXED_BYTES
    purposes["decoders_bytes"] += shorter_decoders
    spare = purposes.pop("spare_bytes")
    return purposes | named | {"spare_bytes": spare}


def ranks_that_fit(machine: Machine, needed_bytes: int) -> int:
    """How many ranks fit on a node of which `machine` fills the memory; 0: none.

    Args:
        machine: its ranks per node and their memory say how much a node has.
        needed_bytes: of one rank.
    """
    return machine.ranks_per_node * machine.memory_per_rank // needed_bytes


def submit_command(machine: Machine, job: str, time_limit_s: float) -> str:
    """What starts the job: by Slurm where there are several ranks, on this machine where there is one.

    Args:
        machine: for `--ntasks` and the like.
        job: name of the job file.
        time_limit_s: of one submission.
    """
    name = shlex.quote(job)
    if machine.ranks == 1:
        return f"caligo run {name} --threads {machine.threads_per_rank}"
    mib = -(-machine.memory_per_rank // machine.threads_per_rank // _MIB) or 1
    memory = f"{mib // 1024}G" if mib % 1024 == 0 else f"{mib}M"
    words = ["sbatch"]
    if machine.nodes > 1:
        words += [f"--nodes={machine.nodes}"]
    words += [f"--ntasks={machine.ranks}"]
    if machine.nodes > 1:
        words += [f"--ntasks-per-node={machine.ranks_per_node}"]
    words += [f"--cpus-per-task={machine.threads_per_rank}", f"--mem-per-cpu={memory}"]
    words += [f"--time={slurm_time(time_limit_s)}"]
    words += [f"slurm/{'one-node' if machine.nodes == 1 else 'many-nodes'}.sbatch", name]
    return " ".join(words)


def slurm_time(seconds: float) -> str:
    """A time as Slurm takes it: `1-02:30:00`, rounded up to a second.

    Args:
        seconds: >= 0.
    """
    whole = int(-(-seconds // 1))
    days, rest = divmod(whole, 86_400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock

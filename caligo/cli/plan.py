"""`caligo plan`: what a job needs on so many ranks, before anything is submitted.

Covers: options and printing. Does not cover: the forecast itself (`caligo.jobs.rehearsal`, `caligo.jobs.forecast`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caligo.cli import _options, _output

if TYPE_CHECKING:
    from caligo.jobs.forecast import Forecast
    from caligo.jobs.job_file import JobFile

_PURPOSES = {
    "fixed_bytes": "interpreter, libraries, designs, windows of keys",
    "decoders_bytes": "decoders",
    "blocks_bytes": "blocks in flight",
    "positions_bytes": "sampled positions",
    "interleaving_bytes": "interleaving",
    "coordinator_bytes": "table of tasks, on rank 0 alone",
}


@click.command("plan")
@click.argument("job_file", metavar="JOB", type=click.Path(path_type=Path))
@click.option(
    "--ranks",
    "-n",
    metavar="R",
    type=_options.Count(minimum=1, maximum=1_000_000),
    default=1,
    show_default=True,
    help="Processes, as many as --ntasks of sbatch; 1: this machine, without MPI.",
)
@_options.memory_per_rank_option(
    help="Memory of a rank, as 2GiB.  [default: what the job file says, else a share of this machine's]"
)
@click.option(
    "--ranks-per-node",
    metavar="R",
    type=_options.Count(minimum=1),
    default=None,
    help="Ranks on a node.  [default: all on one]",
)
@click.option(
    "--threads-per-rank",
    metavar="T",
    type=_options.Count(minimum=1, maximum=4096),
    default=None,
    help="Cores of a rank.  [default: what the job file says, else 1, or with one rank all of this machine]",
)
@click.option(
    "--qber",
    metavar="Q",
    type=float,
    default=None,
    help="Error rate to assume where the job estimates it from the keys, which are not read here.  [default: 0.03]",
)
@click.option(
    "--speed",
    "speed_mbps",
    metavar="MBPS",
    type=float,
    default=None,
    help="Coded Mbit/s of one core, as `caligo bench decoder` shows.  [default: measured here for a second]",
)
@_options.json_option
def command(
    job_file: Path,
    ranks: int,
    memory_per_rank: int | None,
    ranks_per_node: int | None,
    threads_per_rank: int | None,
    qber: float | None,
    speed_mbps: float | None,
    as_json: bool,
) -> None:
    """Say what the job file JOB will take on so many ranks: memory, disk, time, and the line that submits it.

    Nothing is submitted or written, and not a bit of the keys is read. What does not fit its memory is refused (exit
    code 6) with what would fit.
    """
    from caligo.jobs.job_file import load_job
    from caligo.jobs.rehearsal import ASSUMED_QBER, rehearse

    job = load_job(job_file)
    plan = rehearse(
        job,
        ranks=ranks,
        ranks_per_node=ranks_per_node,
        threads_per_rank=threads_per_rank,
        memory_per_rank=memory_per_rank,
        qber=qber,
        speed_mbps=speed_mbps,
        name=os.fspath(job_file),
    )
    assumed = None
    if job.simulate is None and job.options.qber is None:
        assumed = ASSUMED_QBER if qber is None else qber
    if as_json:
        _output.emit_json("caligo.plan/1", plan.to_json() | {"assumed_qber": assumed})
        return
    _print(job, plan, assumed)


def _print(job: JobFile, plan: Forecast, assumed_qber: float | None) -> None:
    work, machine = plan.workload, plan.machine
    number, many = _output.format_value, _output.many
    table = _output.Table("memory of a rank", ">bytes", ">share", title="What each rank needs")
    for name, purpose in _PURPOSES.items():
        if plan.memory_bytes[name]:
            _row(table, purpose, plan.memory_bytes[name], machine.memory_per_rank)
    _row(table, "in all", plan.total_bytes, machine.memory_per_rank)
    _row(table, "left over", plan.memory_bytes["spare_bytes"], machine.memory_per_rank)
    table.print()
    nodes = f" on {many(machine.nodes, 'node')}" if machine.ranks > 1 else ""
    fewer = "" if plan.threads == machine.threads_per_rank else f" (of {machine.threads_per_rank}: no memory for more)"
    facts: dict[str, object] = {
        "ranks": f"{machine.ranks:,}{nodes}, {many(plan.threads, 'thread')} each{fewer}",
        "memory": f"{_output.format_bytes(machine.memory_per_rank)} a rank, by {machine.memory_source}",
        "in flight": f"{many(plan.blocks_in_flight, 'block')} a rank",
    }
    if work.kind == "reconcile":
        facts |= {
            "key": f"{work.key_bits:,} bits, {work.sampled_bits:,} of them sampled",
            "blocks": f"{work.blocks:,} of up to {work.block_length:,} bits, list size {work.list_size}; "
            f"{many(work.groups, 'group')} in {many(work.tasks, 'task')}",
        }
    else:
        facts["frames"] = (
            f"{work.blocks:,} of {work.block_length:,} bits, list size {work.list_size}, in {many(work.tasks, 'task')}"
        )
    if machine.ranks > work.tasks:
        facts["idle"] = f"{many(machine.ranks - work.tasks, 'rank')}: there are fewer tasks than ranks"
    policy = plan.policy
    facts["chunks"] = (
        "equal shares, given at the start"
        if policy.kind == "static"
        else f"1/{policy.divisor} of an equal share of what is left, {policy.least_tasks:,} to {policy.most_tasks:,} "
        "tasks, to each rank that asks"
    )
    if work.cores_fed is not None:
        wanted = machine.ranks * machine.threads_per_rank
        facts["designs"] = (
            f"follow the error rate along the key: work for about {many(work.cores_fed, 'core')} at a time"
            + ("; the others wait: give a qber, or follow_drift = false" if work.cores_fed < wanted else "")
        )
    if assumed_qber is not None:
        facts["error rate"] = f"{assumed_qber:.3%} assumed (--qber); the job will estimate it from the keys"
    facts |= {
        "one core": f"{number(plan.coded_mbps_per_core)} Mbit/s coded, {plan.speed_source}",
        "all": f"{number(plan.coded_mbps)} Mbit/s coded, {number(plan.payload_mbps)} Mbit/s payload",
        "time": f"{_duration(plan.expected_s)} of decoding, start and end not counted"
        + ("" if plan.attempts == 1 else f"; at least {plan.attempts} submissions of {_duration(plan.time_limit_s)}"),
    }
    if work.kind == "reconcile":
        facts["file system"] = (
            f"{number(plan.read_mb_per_s)} MB/s of reading and {number(plan.write_mb_per_s)} MB/s of writing for all "
            "ranks together; with less, the job waits for it"
        )
    facts["disk"] = f"{_output.format_bytes(plan.work_disk_bytes)} in {job.work}" + (
        f", {_output.format_bytes(plan.output_disk_bytes)} in {job.out}" if job.out else ""
    )
    facts["start it"] = plan.submit
    _output.print_facts(facts)


def _row(table: _output.Table, what: str, count: int, whole: int) -> None:
    table.add(what, _output.format_bytes(count), f"{count / whole:.1%}")


def _duration(seconds: float) -> str:
    from caligo.quantities import duration_text

    if seconds < 60.0:
        return _output.format_seconds(seconds)
    unit = 60 if seconds < 86_400.0 else 3_600
    return duration_text(float(round(seconds / unit) * unit))

"""`caligo bench`: how fast this machine decodes, and what sharing the work among many ranks would cost."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from caligo.cli._channel import channel_options, require_channel
from caligo.cli._options import (
    Count,
    block_length_option,
    check_option,
    engine_option,
    escalation_option,
    json_option,
    list_size_option,
    precision_option,
    record_options,
    seed_option,
    segment_options,
    store_option,
)
from caligo.cli._output import (
    Table,
    emit_json,
    format_bytes,
    format_seconds,
    format_value,
    list_sizes,
    many,
    message,
    print_facts,
    printable,
    progress,
)
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from caligo.bench import SweepRow

    _TimesType = click.ParamType[tuple[float, ...]]
else:
    _TimesType = click.ParamType  # not subscriptable in click 8.1

_MOST_TIMES_BYTES = 1 << 24


@click.group("bench")
def group() -> None:
    """Measure how fast this machine decodes, and simulate many of its kind."""


@group.command("decoder", short_help="Time the decoder on random keys and real noise.")
@block_length_option()
@list_size_option()
@channel_options
@escalation_option
@check_option()
@segment_options
@click.option(
    "--segmented",
    is_flag=True,
    help="As the strategy segmented decodes: segments of 2^16 positions, list sizes 1 and 8 first.",
)
@precision_option(default=None)
@engine_option
@click.option("--seconds", metavar="S", type=float, default=5.0, show_default=True, help="Decoding time to spend.")
@click.option(
    "--threads", "-t", metavar="T", type=Count(minimum=1, maximum=4096), default=1, show_default=True,
    help="Decoders side by side; 1 measures one core.",
)  # fmt: skip
@click.option(
    "--batch", metavar="B", type=Count(minimum=1), help="Blocks in a call.  [default: 1 if N >= 2^18, else up to 1024]"
)
@seed_option(default=1, help="Seed of keys and noise.")
@click.option("--sweep", is_flag=True, help="Measure a table of codes, --seconds each, instead of one.")
@click.option(
    "--plot", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="With --sweep: draw it, as .svg, .png or .pdf.",
)  # fmt: skip
@store_option
@record_options
@json_option
@click.pass_context
def decoder(
    context: click.Context,
    block_length: int | None,
    list_size: int | None,
    channel: str,
    qber: float | tuple[float, float] | None,
    efficiency: float | None,
    ebn0: float | None,
    info_length: int | None,
    escalation: tuple[int, ...] | None,
    check: str,
    segment_length: int | None,
    segment_check: str | None,
    segmented: bool,
    design: str | None,
    precision: Literal["int8", "f32"] | None,
    engine: str | None,
    seconds: float,
    threads: int,
    batch: int | None,
    seed: int,
    sweep: bool,
    plot: Path | None,
    store: Path,
    campaign: str | None,
    compact: bool,
    as_json: bool,
) -> None:
    """Time the decoder's batch call on random keys and real noise, and record it.

    Making frames and checking them is not timed; each call gets fresh ones. Smaller lists are tried first only if
    --escalation says so, while reconcile tries 8, and 1 before it up to 2^13 bits. Over the BSC give --qber with
    --efficiency or --info-length; over AWGN (BPSK) give --ebn0 and --info-length. The default precision is int8 for the
    BSC and f32 for AWGN.
    """
    from caligo.bench import bench_decoder
    from caligo.reconciliation.strategies.segmented import (
        DEFAULT_SEGMENT_CHECK,
        DEFAULT_SEGMENT_LENGTH,
        default_escalation,
    )

    if sweep:
        _sweep(context, seconds, engine, seed, plot, store, as_json)
        return
    if plot is not None:
        raise click.UsageError("--plot draws a --sweep.")
    if block_length is None or list_size is None:
        raise click.UsageError("Give --block-length and --list-size, or --sweep.")
    if segmented and segment_length is None and block_length < 2 * DEFAULT_SEGMENT_LENGTH:
        raise click.UsageError(
            f"--segmented: blocks of {block_length} are not cut, a segment has {DEFAULT_SEGMENT_LENGTH}; "
            "give --segment-length."
        )
    if segmented:
        segment_length = segment_length or DEFAULT_SEGMENT_LENGTH
        escalation = default_escalation(list_size) if escalation is None else escalation
    noise = require_channel(channel, qber, efficiency, ebn0, info_length)

    with progress("decoding", total=max(1, int(seconds * 1000)) if 0 < seconds < 1e9 else None) as bar:
        result = bench_decoder(
            noise,
            block_length,
            list_size,
            seconds=seconds,
            efficiency=efficiency,
            info_length=info_length,
            check=check,
            escalation=escalation or (),
            segment_length=segment_length,
            segment_check=segment_check or DEFAULT_SEGMENT_CHECK,
            design=design,
            precision=precision,
            engine=engine,
            threads=threads,
            batch=batch,
            seed=seed,
            store=store,
            campaign=campaign,
            compact=compact,
            progress=bar,
        )
    if as_json:
        emit_json("caligo.bench-decoder/1", result.to_json())
        return
    seen = f"BSC, QBER {result.qber:g}" if result.qber is not None else f"AWGN, Eb/N0 {result.ebn0_db:g} dB"
    budget = f", efficiency {result.efficiency:.4f}" if result.efficiency is not None else ""
    print_facts(
        {
            "code": f"N = {result.block_length}, K = {result.info_length} + {result.check}, {result.design} design"
            + (f", segments of {segment_length}" if segment_length else ""),
            "channel": seen + budget,
            "decoder": f"L = {list_sizes(result.escalation, result.list_size)}, {result.precision}, {result.engine}, "
            f"{many(result.threads, 'thread')}",
            "coded": f"{format_value(result.coded_mbps)} Mbit/s ({format_value(result.coded_mbps_per_core)} per core)",
            "payload": f"{format_value(result.payload_mbps)} Mbit/s",
            "time per block": f"median {format_seconds(result.latency_s['median'])}, "
            f"mean {format_seconds(result.latency_s['mean'])}, p95 {format_seconds(result.latency_s['p95'])}",
            "blocks": f"{format_value(result.frames)} in {many(result.calls, 'call')} of {result.batch}",
            "frame error rate": f"{format_value(result.fer)} ({many(result.frame_errors, 'error')}, 95 % "
            f"{format_value(result.fer_low)} to {format_value(result.fer_high)})",
            "memory": f"decoder {format_bytes(result.decoder_bytes)}, process {format_bytes(result.peak_rss_bytes)}",
            "allocations": format_value(result.allocations_per_decode) + " per decode",
            "run": result.run,
        },
        title="Decoder benchmark",
    )


@group.command("turns", short_help="Time two installations in turns, and fail if one is slower.")
@click.option(
    "--baseline", metavar="PYTHON", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True,
    help="Interpreter of the installation to hold the other against.",
)  # fmt: skip
@click.option(
    "--candidate", metavar="PYTHON", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Interpreter of the installation to judge.  [default: the one that runs this]",
)  # fmt: skip
@click.option(
    "--pairs", metavar="P", type=Count(minimum=1, maximum=4096), default=64, show_default=True,
    help="Pairs of processes; docs/store.md says how many see what.",
)  # fmt: skip
@click.option(
    "--calls", metavar="C", type=Count(minimum=1), default=21, show_default=True, help="Calls timed in each process."
)
@block_length_option(required=True)
@list_size_option(required=True)
@channel_options
@escalation_option
@check_option()
@precision_option(default=None)
@engine_option
@click.option("--batch", metavar="B", type=Count(minimum=1), help="Blocks in a call.  [default: 2^17 bits, at least 1]")
@seed_option(default=1, help="Seed of keys, noise and the order of turns.")
@click.option(
    "--rules", "rules_file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Rules of the gate."
)
@click.option(
    "--campaign", metavar="NAME", default="turns", show_default=True,
    help="The runs belong to the campaigns NAME-baseline and NAME-candidate.",
)  # fmt: skip
@store_option
@json_option
def turns(
    baseline: Path,
    candidate: Path | None,
    pairs: int,
    calls: int,
    block_length: int,
    list_size: int,
    channel: str,
    qber: float | tuple[float, float] | None,
    efficiency: float | None,
    ebn0: float | None,
    info_length: int | None,
    design: str | None,
    escalation: tuple[int, ...] | None,
    check: str,
    precision: Literal["int8", "f32"] | None,
    engine: str | None,
    batch: int | None,
    seed: int,
    rules_file: Path | None,
    campaign: str,
    store: Path,
    as_json: bool,
) -> ExitCode:
    """Time the decoders of two installations call by call in turns, record their runs, and judge them as a gate does.

    Both measure the same code on the same frames, on one core, in pairs of new processes. Exits with 0 if the candidate
    is no worse, 10 if it is, 4 if they cannot be compared.
    """
    from caligo.bench.turns import Side, measure_in_turns, turn_batch
    from caligo.cli.store.gate import exit_code, print_report, read_rules
    from caligo.errors import ConfigError
    from caligo.store.gating.gates import gate_runs
    from caligo.store.gating.shifts import least_pairs

    noise = require_channel(channel, qber, efficiency, ebn0, info_length)
    rules = read_rules(rules_file)
    if pairs < least_pairs(rules.alpha):
        raise ConfigError(
            f"--pairs: expected at least {least_pairs(rules.alpha)}, the fewest that can show anything at alpha "
            f"{rules.alpha:g}, got {pairs}; begin with 64: the verdict says how many would find 5 %",
            pairs=pairs,
        )
    options = {
        "block_length": block_length,
        "list_size": list_size,
        "efficiency": efficiency,
        "info_length": info_length,
        "check": check,
        "design": design,
        "escalation": escalation or (),
        "precision": precision,
        "engine": engine,
        "batch": batch or turn_batch(block_length),
        "calls": calls,
    }
    with progress("measuring", total=pairs) as bar:
        measured = measure_in_turns(
            Side("candidate", candidate or Path(sys.executable), f"{campaign}-candidate"),
            Side("baseline", baseline, f"{campaign}-baseline"),
            noise,
            options,
            pairs=pairs,
            store=store,
            seed=seed,
            progress=bar,
        )
    report = gate_runs(measured.candidates, measured.baselines, rules)
    code = exit_code(report, allow_missing=False)
    if as_json:
        sides = {}
        for side, version in measured.versions.items():
            package = measured.packages[side]
            sides[side] = {"version": version, "package": package, "campaign": f"{campaign}-{side}"}
        document = {"sides": sides, "pairs": pairs, "calls": calls, "core": measured.core, **report.to_json()}
        emit_json("caligo.bench-turns/1", document | {"exit_code": int(code)})
        return code
    print_report(report)
    if measured.packages["baseline"] == measured.packages["candidate"]:
        message(f"both sides are the caligo in {printable(measured.packages['baseline'])}: compared with itself")
    print_facts(
        {side: f"caligo {measured.versions[side]}, {measured.packages[side]}" for side in ("baseline", "candidate")}
        | {"runs": f"campaigns {campaign}-baseline and {campaign}-candidate of {store}"}
    )
    return code


_OF_A_SWEEP = {"sweep", "plot", "seconds", "engine", "seed", "store", "as_json"}


def _sweep(
    context: click.Context,
    seconds: float,
    engine: str | None,
    seed: int,
    plot: Path | None,
    store: Path,
    as_json: bool,
) -> None:
    from caligo.bench import bench_sweep, plot_sweep, require_plot
    from caligo.store.environment import machine_fingerprint

    given = click.core.ParameterSource.COMMANDLINE
    for parameter in context.command.params:
        if parameter.name not in _OF_A_SWEEP and context.get_parameter_source(parameter.name or "") == given:
            raise click.UsageError(f"{parameter.opts[0]} and --sweep exclude each other: a sweep has its own codes.")
    if plot is not None:
        require_plot(plot)
    with progress() as bar:
        rows, run = bench_sweep(seconds=seconds, engine=engine, seed=seed, store=store, progress=bar)
    machine = machine_fingerprint()
    title = f"caligo, {rows[0].engine}, {machine['cpu_model']}"
    if as_json:
        document = {"machine": machine, "rows": [row.to_json() for row in rows], "run": run, "plot": plot}
        emit_json("caligo.bench-sweep/1", document)
        if plot is not None:
            plot_sweep(rows, plot, title)
        return
    table = Table("one core", ">coded Mbit/s", ">quartiles", ">information", ">frame errors", ">memory")
    for row in rows:
        spread = f"{_rate(row.coded_mbps_q25)} – {_rate(row.coded_mbps_q75)}"
        information = "-" if row.information_mbps is None else _rate(row.information_mbps)
        table.add(row.name, _rate(row.coded_mbps), spread, information, _fer(row), format_bytes(row.decoder_bytes))
    table.print()
    print_facts({"machine": machine["cpu_model"], "engine": rows[0].engine, "run": run, "plot": plot and str(plot)})
    if plot is not None:
        plot_sweep(rows, plot, title)


def _fer(row: SweepRow) -> str:
    if row.fer is None or row.fer_low is None or row.fer_high is None:
        return "-"
    return f"{100 * row.fer:.2g} % ({100 * row.fer_low:.1g} – {100 * row.fer_high:.2g})"


def _rate(mbps: float) -> str:
    return f"{mbps:,.1f}" if mbps < 1000 else f"{mbps:,.0f}"


class TaskTimes(_TimesType):
    """Seconds: `0.006`, `0.004,0.006,0.02`, or a file of such numbers, with commas or white space between them."""

    name = "times"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The times that a value stands for."""
        if not isinstance(value, str):
            return cast("tuple[float, ...]", value)
        times = self._parse(value)
        if times is None:
            try:
                with Path(value).open(encoding="ascii") as file:
                    text = file.read(_MOST_TIMES_BYTES + 1)
            except (OSError, ValueError):
                self.fail(f"{value!r} is neither a time in seconds, nor several with commas, nor a file", param, ctx)
            times = self._parse(text) if len(text) <= _MOST_TIMES_BYTES else None
        if not times or not all(0 < time < math.inf for time in times):
            self.fail(f"{value!r}: expected times of more than 0 seconds", param, ctx)
        return times

    @staticmethod
    def _parse(text: str) -> tuple[float, ...] | None:
        try:
            return tuple(float(part) for part in text.replace(",", " ").split())
        except ValueError:
            return None


@group.command("schedule", short_help="Simulate the sharing of a job among many ranks.")
@click.option(
    "--ranks", metavar="R", type=Count(minimum=1, maximum=100_000), required=True, help="Ranks that share the work."
)
@click.option(
    "--tasks", metavar="T", type=Count(minimum=1, maximum=20_000_000), required=True,
    help="Tasks of the job: groups of blocks, of about 2^20 key bits.",
)  # fmt: skip
@click.option(
    "--task-time", metavar="S", type=TaskTimes(), required=True,
    help="Seconds of a task: one number, several with commas, or a file of them, drawn at random.",
)  # fmt: skip
@click.option("--slow-share", metavar="P", type=float, default=0.0, help="Share of the ranks that is slow.")
@click.option(
    "--slow-factor", metavar="X", type=float, default=2.0, show_default=True, help="How much longer a slow rank takes."
)
@click.option("--late-share", metavar="P", type=float, default=0.0, help="Share of the ranks that comes late.")
@click.option("--late", "late_s", metavar="S", type=float, default=0.0, help="How many seconds late.")
@click.option("--failures", metavar="K", type=Count(), default=0, help="Ranks that die, spread over the job.")
@click.option("--stalled", metavar="K", type=Count(), default=0, help="Ranks that hang, and nobody knows.")
@click.option(
    "--noticed", "noticed_s", metavar="S", type=float, default=5.0, show_default=True,
    help="Seconds until a death is known.",
)  # fmt: skip
@click.option(
    "--latency", "latency_s", metavar="S", type=float, default=20e-6, show_default=True,
    help="Seconds of a message, each way.",
)  # fmt: skip
@click.option(
    "--coordinator-us", metavar="US", type=float, default=50.0, show_default=True,
    help="Microseconds that a message costs the coordinator, its answer included.",
)  # fmt: skip
@click.option(
    "--policy", "kind", type=click.Choice(["dynamic", "static"]), default="dynamic", show_default=True,
    help="Chunks for who asks, or equal shares.",
)  # fmt: skip
@click.option("--least-tasks", metavar="N", type=Count(minimum=1), help="Of a chunk.  [default: as a job chooses]")
@click.option("--divisor", metavar="D", type=Count(minimum=1), help="Of what is pending.  [default: as a job chooses]")
@seed_option(default=1, help="Seed of the tasks' times.")
@json_option
def schedule(
    ranks: int,
    tasks: int,
    task_time: tuple[float, ...],
    slow_share: float,
    slow_factor: float,
    late_share: float,
    late_s: float,
    failures: int,
    stalled: int,
    noticed_s: float,
    latency_s: float,
    coordinator_us: float,
    kind: str,
    least_tasks: int | None,
    divisor: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Simulate the sharing of a job among many ranks, with the scheduler that a job runs.

    Nothing is decoded: the time of a task is given, as measured by `caligo bench decoder`. The same arguments give the
    same answer.
    """
    from dataclasses import asdict, replace

    from caligo.jobs.schedule_simulation import draw_task_times, simulate_schedule, simulated_ranks
    from caligo.jobs.scheduling import SchedulePolicy, choose_policy

    mean_s = sum(task_time) / len(task_time)
    policy = choose_policy(tasks, ranks, mean_s, coordinator_us * 1e-6)
    least = least_tasks or policy.least_tasks
    policy = replace(
        policy if kind == "dynamic" else SchedulePolicy(kind),
        least_tasks=least,
        most_tasks=max(least, policy.most_tasks),
        divisor=divisor or policy.divisor,
    )
    machines = simulated_ranks(
        ranks,
        slow_share=slow_share,
        slow_factor=slow_factor,
        late_share=late_share,
        late_s=late_s,
        failures=failures,
        stalled=stalled,
        within_s=mean_s * tasks / ranks,
        noticed_s=noticed_s,
    )
    result = simulate_schedule(
        draw_task_times(tasks, task_time, seed),
        machines,
        policy,
        message_s=coordinator_us * 1e-6,
        latency_s=latency_s,
    )
    if as_json:
        document = {"ranks": ranks, "tasks": tasks, "policy": asdict(policy), "seed": seed, **asdict(result)}
        emit_json("caligo.bench-schedule/1", document | {"efficiency": result.efficiency, "is_done": result.is_done})
        return
    print_facts(
        {
            "policy": f"{policy.kind}, chunks of {policy.least_tasks:,} to {many(policy.most_tasks, 'task')}"
            + (f", 1/{policy.divisor} of an equal share" if kind == "dynamic" else ""),
            "work": f"{format_seconds(result.work_s)} of one rank",
            "time": f"{format_seconds(result.makespan_s)}, ideally {format_seconds(result.ideal_s)}"
            if result.is_done
            else "it never ends: what a rank that hangs has is nobody else's",
            "efficiency": f"{result.efficiency:.2%}",
            "waiting": f"{result.waiting_share:.2%} of the ranks' time",
            "done twice": f"{result.duplicated_share:.2%} of the ranks' time; "
            f"{many(result.copied_tasks, 'task')} copied",
            "coordinator": f"{many(result.messages, 'message')} for {many(result.chunks, 'chunk')}, busy "
            f"{result.coordinator_share:.1%} of the time",
        },
        title="Simulated schedule",
    )

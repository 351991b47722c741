"""`caligo job`: write a job file, and check one.

Covers: options and printing. Does not cover: the form of job files (`caligo.jobs.job_file`), what a job needs
(`caligo plan`), running it.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from caligo.cli import _options, _output
from caligo.cli._channel import channel_options, require_channel
from caligo.errors import ConfigError

if TYPE_CHECKING:
    from caligo.jobs.job_file import JobFile
    from caligo.keys import BitOrder

DEFAULT_NAME = "job.toml"


@click.group()
def group() -> None:
    """Write and check job files, for work that runs unattended or on many cores."""


def _file_options(function: _options.Command) -> _options.Command:
    """Adds `file: Path | None`, `force: bool`, `work: Path | None`, `memory_per_rank` and `time`."""
    for decorate in (
        click.option(
            "--force", is_flag=True, help="Replace the job file if it exists; not the output directory's contents."
        ),
        click.option(
            "--file",
            metavar="FILE",
            type=click.Path(dir_okay=False, path_type=Path),
            default=None,
            help="Write the job file there.  [default: to standard output]",
        ),
        click.option(
            "--time",
            "time_s",
            metavar="TIME",
            type=_options.Duration(),
            default=None,
            help="Time for the job, as 23h50m; it stops before, and can be resumed.",
        ),
        _options.memory_per_rank_option(help="Memory of a rank, as 2GiB.  [default: what it finds where it runs]"),
        click.option(
            "--work",
            metavar="DIR",
            type=click.Path(file_okay=False, path_type=Path),
            default=None,
            help="Where the job keeps what it has done until it is done.  [default: beside the output]",
        ),
    ):
        function = decorate(function)
    return function


@group.command(short_help="Print a commented job file that reconciles two keys.")
@click.option("--alice", metavar="FILE", type=click.Path(path_type=Path), required=True, help="Alice's key file.")
@click.option("--bob", metavar="FILE", type=click.Path(path_type=Path), required=True, help="Bob's key file.")
@_options.out_option(required=True, help="Directory that will receive the reconciled keys, alice.bin and bob.bin.")
@click.option(
    "--qber",
    metavar="Q",
    type=_options.Rates(),
    help="Error rate to design the code for, as 0.02; or two, where Bob has 0 and where he has 1, as 0.049,0.024.  "
    "[default: estimated from sampled positions, then discarded]",
)
@_options.asymmetric_option
@click.option(
    "--sample-bits",
    metavar="BITS",
    type=_options.Count(minimum=1),
    help="Positions to sample when --qber is not given.  [default: (key bits)^(2/3), at most 10^6]",
)
@_options.block_length_option()
@_options.list_size_option(default=32)
@click.option(
    "--efficiency",
    metavar="F",
    type=float,
    help="Syndrome and check bits over the Shannon limit at the design QBER, as 1.2.",
)
@click.option(
    "--target-fer",
    metavar="P",
    type=float,
    help="Disclose just enough that this share of the blocks fails.  [default: 0.01]",
)
@_options.check_option()
@_options.strategy_options
@_options.segment_options
@_options.escalation_option
@_options.cap_options
@click.option(
    "--interleave",
    is_flag=True,
    help="Permute both keys first, publicly, to spread bursts of errors; the reconciled keys stay in that order.",
)
@_options.precision_option()
@_options.engine_option
@_options.format_option("--format", "format")
@_options.bit_order_option
@_options.key_bits_option
@_options.store_option
@_options.record_options
@_options.seed_option(
    default=None,
    help="Derive the sampled positions and the verification key from S, to repeat a test. Not for keys in use.  "
    "[default: drawn from the operating system, once for the job]",
)
@_options.retry_options
@click.option(
    "--follow-drift/--no-follow-drift",
    default=None,
    help="Design each stretch of the key for the error rate of the blocks before it.  "
    "[default: where the error rate is estimated]",
)
@_file_options
def init(
    alice: Path,
    bob: Path,
    out: Path,
    qber: float | tuple[float, float] | None,
    asymmetric: str,
    sample_bits: int | None,
    block_length: int | None,
    list_size: int,
    efficiency: float | None,
    target_fer: float | None,
    check: str,
    strategy: str,
    wish: str | None,
    segment_length: int | None,
    segment_check: str | None,
    escalation: tuple[int, ...] | None,
    max_rounds: int,
    max_block_leakage: int,
    max_leakage: int,
    interleave: bool,
    precision: str,
    engine: str | None,
    format: str | None,
    bit_order: BitOrder,
    key_bits: int | None,
    store: Path,
    campaign: str | None,
    compact: bool,
    seed: int | None,
    on_failure: str,
    retries: int | None,
    follow_drift: bool | None,
    work: Path | None,
    memory_per_rank: int | None,
    time_s: float | None,
    file: Path | None,
    force: bool,
) -> None:
    """Print a job file that makes two sifted key files equal, as `caligo reconcile` with the same options does.

    Every setting is in it with one line of explanation; defaults are commented out. Go on with `caligo job check`,
    `caligo plan` and `caligo run`.
    """
    from caligo.jobs import ReconcileOptions
    from caligo.jobs.job_file import JobFile, KeysTable, LimitsTable, usual_work

    options = ReconcileOptions(
        qber=qber,
        asymmetric=asymmetric,
        block_length=block_length,
        list_size=list_size,
        efficiency=efficiency,
        target_fer=target_fer,
        check=check,
        strategy=strategy,
        wish=wish,
        segment_length=segment_length,
        segment_check=segment_check,
        escalation=escalation,
        max_rounds=max_rounds,
        max_block_leakage_bits=max_block_leakage,
        max_leakage_bits=max_leakage,
        sample_bits=sample_bits,
        interleave=interleave,
        precision=precision,
        engine=engine,
        seed=seed,
        on_failure=on_failure,
        retries=retries,
        follow_drift=follow_drift,
    )
    for key in (alice, bob):
        if not key.exists():
            _output.warn(f"there is no key file {key} yet")
    job = JobFile(
        path=_path(file),
        kind="reconcile",
        keys=KeysTable(
            alice=_absolute(alice), bob=_absolute(bob), format=format, bit_order=bit_order, key_bits=key_bits
        ),
        options=options,
        seed=seed,
        out=_absolute(out),
        store=_absolute(store),
        campaign=campaign,
        compact=compact,
        work=usual_work(_absolute(out), _path(file)) if work is None else _absolute(work),
        limits=LimitsTable(memory_per_rank=memory_per_rank, time_s=time_s),
    )
    _write(job, file, force)


@group.command("init-simulation", short_help="Print a commented job file that measures a frame error rate.")
@channel_options
@_options.block_length_option(required=True)
@click.option(
    "--payload-length",
    metavar="BITS",
    type=_options.Count(minimum=1),
    help="Key bits in a block; the rest is shortened.  [default: the block length]",
)
@_options.list_size_option(required=True)
@_options.escalation_option
@_options.check_option()
@_options.segment_options
@_options.precision_option(default=None)
@_options.engine_option
@click.option(
    "--frames", metavar="N", type=_options.Count(minimum=1), default=10_000, show_default=True, help="Most frames."
)
@click.option(
    "--max-frame-errors",
    metavar="E",
    type=_options.Count(minimum=1),
    default=None,
    help="Stop at the E-th frame error, in frame order.  [default: simulate all frames]",
)
@_options.seed_option(default=1, help="Seed of keys and noise; frame i is the same wherever it is simulated.")
@_options.store_option
@_options.record_options
@_file_options
def init_simulation(
    channel: str,
    qber: float | tuple[float, float] | None,
    efficiency: float | None,
    ebn0: float | None,
    info_length: int | None,
    block_length: int,
    payload_length: int | None,
    list_size: int,
    escalation: tuple[int, ...] | None,
    check: str,
    segment_length: int | None,
    segment_check: str | None,
    design: str | None,
    precision: Literal["int8", "f32"] | None,
    engine: str | None,
    frames: int,
    max_frame_errors: int | None,
    seed: int,
    store: Path,
    campaign: str | None,
    compact: bool,
    work: Path | None,
    memory_per_rank: int | None,
    time_s: float | None,
    file: Path | None,
    force: bool,
) -> None:
    """Print a job file that measures a frame error rate, as `caligo simulate` with the same options does."""
    from caligo.jobs.job_file import JobFile, LimitsTable, SimulateTable, usual_work

    require_channel(channel, qber, efficiency, ebn0, info_length)
    job = JobFile(
        path=_path(file),
        kind="simulate",
        simulate=SimulateTable(
            channel=channel,
            qber=qber,
            ebn0=ebn0,
            efficiency=efficiency,
            info_length=info_length,
            block_length=block_length,
            payload_length=payload_length,
            list_size=list_size,
            escalation=escalation or (),
            check=check,
            segment_length=segment_length,
            segment_check=segment_check or "crc16",
            design=design,
            precision=precision,
            engine=engine,
            frames=frames,
            max_frame_errors=max_frame_errors,
        ),
        seed=seed,
        store=_absolute(store),
        campaign=campaign,
        compact=compact,
        work=usual_work(None, _path(file)) if work is None else _absolute(work),
        limits=LimitsTable(memory_per_rank=memory_per_rank, time_s=time_s),
    )
    _write(job, file, force)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _path(file: Path | None) -> Path:
    return _absolute(Path(DEFAULT_NAME) if file is None else file)


def _write(job: JobFile, file: Path | None, force: bool) -> None:
    """Print or write a job, which is read again first: nothing is given out that `caligo run` would refuse."""
    from caligo.jobs.job_file import job_text, parse_job

    text = job_text(job)
    parse_job(text, job.path.parent, os.fspath(job.path.name))
    if file is None:
        click.echo(text, nl=False)
        return
    try:
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise ConfigError(
            f"expected no file at {file}, got one; take another name, or --force", path=str(file)
        ) from None
    name = shlex.quote(os.fspath(file))
    _output.message(f"wrote {file}; next: caligo job check {name}, caligo plan {name}, caligo run {name}")


@group.command(short_help="Check a job file, and say what it would do.")
@click.argument("job_file", metavar="JOB", type=click.Path(path_type=Path))
@_options.json_option
def check(job_file: Path, as_json: bool) -> None:
    """Check the job file JOB, all of it, and say what it would do.

    The key files are opened, and their lengths compared; not a bit of them is read. What is wrong is named by its
    place, as `keys.alice`.
    """
    from caligo.jobs.job_file import load_job
    from caligo.jobs.rehearsal import checked

    job = load_job(job_file)
    document = checked(job)
    if as_json:
        _output.emit_json("caligo.job-check/1", document)
        return
    facts: dict[str, Any] = {"job": f"{job_file} is a job that can run: it will {_verb(job)}"}
    if job.keys is not None:
        facts |= {
            "keys": f"{document['key_bits']:,} bits each, {job.keys.alice} and {job.keys.bob}",
            "error rate": _rates(job.options.qber, document["sampled_bits"]),
            "blocks": f"{document['blocks']:,} of up to {document['block_length']:,} bits in "
            f"{_output.many(document['groups'], 'group')}, {job.options.strategy}, list size {job.options.list_size}",
            "randomness": "from the operating system, once for the job"
            if job.seed is None
            else f"from seed {job.seed}: not for keys in use",
            "output": f"{job.out}{', replacing what is there' if job.force else ''}" if job.out else "none is written",
        }
        if document["discarded_bits"]:
            facts["left out"] = f"{_output.many(document['discarded_bits'], 'bit')} at the end, too few for a block"
    if job.simulate is not None:
        table = job.simulate
        facts |= {
            "code": f"N = {table.block_length:,}, K = {document['info_length']:,}, {table.check}, list size "
            f"{table.list_size}",
            "channel": f"{table.channel}, "
            + (f"{table.ebn0:g} dB" if table.ebn0 is not None else f"QBER {_rates(table.qber, 0)}"),
            "seed": job.seed,
        }
    facts |= {
        "work": job.work,
        "store": job.store or "not recorded",
        "definition": f"{job.digest[:16]}...; what is done so far can be taken up as long as it stays the same",
    }
    _output.print_facts(facts)


def _verb(job: JobFile) -> str:
    if job.simulate is None:
        return "reconcile two keys"
    return f"simulate up to {_output.many(job.simulate.frames, 'frame')}"


def _rates(qber: Any, sampled_bits: int) -> str:
    if isinstance(qber, tuple):
        return f"{qber[0]:.3%} where Bob has 0, {qber[1]:.3%} where he has 1"
    if qber is None:
        return f"estimated from {sampled_bits:,} sampled bits, which are then discarded"
    return f"{qber:.3%}"

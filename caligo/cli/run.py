"""`caligo run`: a job file, on the threads of this machine, to be continued whenever it was stopped."""

from __future__ import annotations

import os
from pathlib import Path

import click

from caligo.cli._options import Duration, available_threads, json_option
from caligo.cli._output import emit_json, many, print_facts, progress
from caligo.cli.reconcile import print_report
from caligo.errors import ExitCode


@click.command("run")
@click.argument("job_file", metavar="JOB.toml", type=click.Path(path_type=Path))
@click.option(
    "--threads", "-t", metavar="T", type=click.IntRange(1, 4096), help="Worker threads.  [default: the job's]"
)
@click.option(
    "--time-limit",
    metavar="TIME",
    type=Duration(),
    help="Stop in time before so much has passed, as 55m or 3300; the same command goes on.",
)
@click.option(
    "--replay-schedule",
    metavar="LOG",
    type=click.Path(path_type=Path),
    help="Work on the tasks in the order of a log that a run of one rank has written.",
)
@json_option
def command(
    job_file: Path, threads: int | None, time_limit: float | None, replay_schedule: Path | None, as_json: bool
) -> ExitCode:
    """Run the job in JOB.toml, or go on with it.

    What is done is kept in the job's work directory. Ctrl-C, SIGTERM, SIGUSR1 and a near time limit end the blocks in
    flight and exit with 75; a second start goes on. After a kill -9 it does too. Where the job is done, there is
    nothing to do, and its report is shown.

    On several ranks: mpiexec -n R python -m caligo.cluster JOB.toml
    """
    from caligo.cluster.launch import require_alone
    from caligo.cluster.slurm import slurm_facts, slurm_time_left_s
    from caligo.jobs.job import LocalMailbox, RunSettings, run_job
    from caligo.jobs.job_file import load_job

    require_alone(os.environ)
    job = load_job(job_file)
    limits = [limit for limit in (time_limit, slurm_time_left_s(os.environ)) if limit is not None]
    with progress() as listener:
        outcome = run_job(
            job,
            LocalMailbox(),
            RunSettings(
                threads=threads,
                default_threads=available_threads(),
                time_limit_s=min(limits, default=None),
                replay=replay_schedule,
                takes_over=os.environ.get("SLURM_RESTART_COUNT", "0") != "0",
                facts=slurm_facts(os.environ),
                progress=listener,
            ),
        )
    if outcome.code == ExitCode.RESUMABLE:
        click.echo(
            f"caligo: stopped ({outcome.reason}) with {outcome.tasks_done:,} of {many(outcome.tasks, 'task')} done; "
            "start the same command again, it goes on",
            err=True,
        )
        return outcome.code
    report = outcome.report or {}
    if as_json:
        emit_json("caligo.run/1", report)
    elif outcome.reconciliation is not None:
        print_report(outcome.reconciliation)
    else:
        if outcome.attempt == 0:
            click.echo(f"caligo: the job was done before ({outcome.work / 'done.json'})", err=True)
        print_facts({name: value for name, value in report.items() if not isinstance(value, dict | list)})
    return outcome.code

"""``python -m caligo.cluster JOB.toml``: one rank of a job.

Started by `mpiexec` or `srun`, once for each rank. Exit codes are those of ``caligo`` (docs/cli.md); all ranks end with
the same one. Where one rank fails, its traceback is printed with its number, and all ranks end: a job never waits for a
rank that is gone.

Covers: options, what the launcher says, the first and the last word of a rank. Does not cover: the job
(:mod:`caligo.jobs.job`). Loads neither the command line's libraries nor plots nor Numba: 192 ranks load it from one
file system.
"""

from __future__ import annotations

from caligo.telemetry.startup import OpenCounter

_COUNTER = OpenCounter()

import gc  # noqa: E402 - the counter sees what follows

gc.disable()  # what is loaded stays, and looking for what does not took a twentieth of the time

import argparse  # noqa: E402
import faulthandler  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from pathlib import Path  # noqa: E402

from caligo.cluster.launch import require_agreement  # noqa: E402
from caligo.cluster.segments import remove_stale_segments  # noqa: E402
from caligo.cluster.slurm import slurm_facts, slurm_time_left_s  # noqa: E402
from caligo.errors import CaligoError, ClusterError, ConfigError, ExitCode  # noqa: E402
from caligo.jobs.coordination import Failed  # noqa: E402
from caligo.jobs.job import JobOutcome, RunSettings, run_job  # noqa: E402
from caligo.jobs.job_file import load_job  # noqa: E402
from caligo.quantities import parse_duration  # noqa: E402

gc.freeze()
gc.enable()

_LEAVE_S = 30.0

_TELL_S = 2.0
"""How long a rank that has failed gives rank 0 to end the job."""

_INIT_S = 300.0
"""Longest start of MPI: it waits for every rank, and for ever for one that never comes."""

_KILLED = 128 + 9

_VERDICT = "CALIGO_VERDICT"
"""Names a file that is given the exit code: a launcher that has lost a rank returns one of its own."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m caligo.cluster",
        description="Take part in a job as one rank; start it with mpiexec or srun.",
        epilog="Exit codes: 0 done, 75 stopped where the same command goes on; others as of `caligo`.",
    )
    parser.add_argument("job", metavar="JOB.toml", type=Path, help="job file (`caligo job init` writes one)")
    parser.add_argument(
        "--threads",
        type=int,
        metavar="T",
        help="worker threads of each rank (default: limits.threads_per_rank, else 1)",
    )
    parser.add_argument(
        "--time-limit",
        metavar="TIME",
        help="how long this start may take, as 55m or 3300 (default: limits.time, and what Slurm says)",
    )
    parser.add_argument("--replay-schedule", type=Path, metavar="LOG", help="give every rank the tasks of a log")
    parser.add_argument("--progress-interval", metavar="TIME", help="between lines of progress, as 10s")
    parser.add_argument(
        "--lost-after", metavar="TIME", default="60s", help="give a rank up that is silent for so long (default: 60s)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one rank.

    Args:
        arguments: the words after the program; None: of this process.

    Returns:
        The exit code.
    """
    words = _parser().parse_args(arguments)
    environ = os.environ
    time_left_s = slurm_time_left_s(environ) if int(environ.get("SLURM_PROCID", "0") or 0) == 0 else None
    try:
        from caligo.cluster.mpi import MpiMailbox, library_name
    except ImportError as error:
        print(f"caligo: error: no MPI: {error}; pip install 'caligo[mpi]', or mpi4py for the site's", file=sys.stderr)
        _leave_verdict(int(ExitCode.RESOURCE))
        return int(ExitCode.RESOURCE)
    if "SLURM_STEP_ID" in environ:
        remove_stale_segments()
    faulthandler.dump_traceback_later(_INIT_S, exit=True)
    mailbox = MpiMailbox()
    faulthandler.cancel_dump_traceback_later()
    if mailbox.rank == 0:
        # What holds if rank 0 is killed; a launcher's code alone does not tell that from ranks that never met.
        _leave_verdict(_KILLED)
    try:
        require_agreement(environ, mailbox.size, library_name())
        ranks_on_node = mailbox.ranks_on_node()
        stated_s = None if words.time_limit is None else parse_duration(words.time_limit)
        limits = [limit for limit in (stated_s, time_left_s) if limit is not None]
        interval = words.progress_interval
        settings = RunSettings(
            threads=words.threads,
            default_threads=int(environ.get("SLURM_CPUS_PER_TASK", "1") or 1),
            time_limit_s=min(limits, default=None),
            replay=words.replay_schedule,
            stream=sys.stderr if mailbox.rank == 0 else None,
            progress_interval_s=None if interval is None else parse_duration(interval),
            ranks_on_node=ranks_on_node,
            startup=_COUNTER,
            lost_after_s=parse_duration(words.lost_after),
            takes_over=environ.get("SLURM_RESTART_COUNT", "0") != "0",
            facts={"library": library_name(), "ranks_on_node": ranks_on_node, **slurm_facts(environ)},
        )
        outcome = run_job(load_job(words.job), mailbox, settings)
    except BaseException as error:
        return _fail(error, mailbox)
    if mailbox.rank == 0:
        _tell(outcome, as_json=words.json)
        _leave_verdict(int(outcome.code))
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        mailbox.close(_LEAVE_S, bool(outcome.lost))
    except CaligoError as error:
        print(f"caligo: rank {mailbox.rank}: {error.message}", file=sys.stderr)
        mailbox.abort(int(outcome.code))
    if outcome.lost:
        mailbox.abort(int(outcome.code))
    return int(outcome.code)


def _fail(error: BaseException, mailbox: object) -> int:
    """Say what happened, with the rank, and end all ranks."""
    from caligo.cluster.mpi import MpiMailbox

    rank = mailbox.rank if isinstance(mailbox, MpiMailbox) else 0
    where = f"rank {rank} on {socket.gethostname()}"
    code = ExitCode.INTERNAL
    told_by_another = isinstance(error, ClusterError) and "code" in error.fields
    if isinstance(error, CaligoError):
        code = ExitCode(error.fields["code"]) if told_by_another else error.exit_code
        print(f"caligo: {where}: error: {error.message}", file=sys.stderr)
    elif isinstance(error, KeyboardInterrupt):
        code = ExitCode.INTERRUPTED
        print(f"caligo: {where}: {str(error) or 'interrupted'}", file=sys.stderr)
    elif isinstance(error, MemoryError):
        code = ExitCode.RESOURCE
        print(f"caligo: {where}: error: out of memory; see limits.memory_per_rank", file=sys.stderr)
    if not told_by_another and not isinstance(error, ConfigError | KeyboardInterrupt):
        text = "".join(traceback.format_exception(error))
        print("".join(f"[rank {rank}] {line}\n" for line in text.splitlines()), end="", file=sys.stderr)
    sys.stderr.flush()
    if isinstance(mailbox, MpiMailbox) and mailbox.rank:
        # Rank 0 ends the job, and says so where the batch script looks; if it does not, this rank does.
        mailbox.send(0, Failed(int(code), f"{type(error).__name__}, {where}"))
        mailbox.flush(_TELL_S)
        time.sleep(_TELL_S)
        mailbox.abort(int(code))
    _leave_verdict(int(code))
    if isinstance(mailbox, MpiMailbox):
        if mailbox.size == 1:
            return int(code)
        mailbox.abort(int(code))
    return int(code)


def _leave_verdict(code: int) -> None:
    """Tell the batch script how the job ended, whatever the launcher makes of it; on its node, where the file is."""
    path = os.environ.get(_VERDICT)
    if path and os.path.exists(path):
        try:
            Path(path).write_text(f"{code}\n", encoding="ascii")
        except OSError as error:
            print(f"caligo: cannot leave the exit code in {path}: {error.strerror}", file=sys.stderr)


def _tell(outcome: JobOutcome, *, as_json: bool) -> None:
    """What rank 0 says at the end."""
    if outcome.lost:
        ranks = ", ".join(map(str, outcome.lost))
        print(f"caligo: warning: lost rank {ranks}: silent for too long (--lost-after) and given up", file=sys.stderr)
    if as_json and outcome.report is not None:
        print(json.dumps({"schema": "caligo.run/1", **outcome.report}))
        return
    if outcome.code == ExitCode.RESUMABLE:
        print(
            f"caligo: stopped ({outcome.reason}) with {outcome.tasks_done:,} of {outcome.tasks:,} tasks done; start "
            "the same command again, it goes on",
            file=sys.stderr,
        )
        return
    report = outcome.report or {}
    if outcome.attempt == 0:
        print(f"caligo: the job was done before; its report is in {outcome.work / 'done.json'}", file=sys.stderr)
    if "reconciled_bits" in report:
        f = report["efficiency"]
        print(
            f"caligo: {report['blocks_ok']:,} of {report['blocks']:,} blocks reconciled, {report['reconciled_bits']:,} "
            f"equal bits, {report['leakage_bits']:,} disclosed" + ("" if f is None else f", f = {f:.4f}")
        )
    elif "frames" in report:
        print(f"caligo: {report['frames']:,} frames, {report['frame_errors']:,} errors, FER {report['fer']:.3g}")
    job = report.get("job", {})
    if job:
        share = job.get("decode_share")
        print(
            f"caligo: {_count(job['ranks'], 'rank')} on {_count(job['hosts'], 'host')}, {report['elapsed_s']:.1f} s"
            + ("" if share is None else f", decoders {100 * share:.1f} % busy")
            + (
                f", {report['payload_mbps']:,.1f} Mbit/s of key"
                if "payload_mbps" in report and "key_bits" in report
                else ""
            )
        )
    for warning in report.get("warnings", ()):
        print(f"caligo: warning: {warning}", file=sys.stderr)
    for name in ("out", "run"):
        if report.get(name):
            print(f"caligo: {'keys in' if name == 'out' else 'recorded in'} {report[name]}")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


if __name__ == "__main__":
    sys.exit(main())

"""Jobs on any number of ranks, with any schedule and any interruption: the same bits, every block once."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ranks import run_ranks, write_job

from caligo.errors import ClusterError, ConfigError, ExitCode, KeyFileError, LeakageCapError, StoreError
from caligo.jobs import ReconciliationReport, coordination, reconcile
from caligo.jobs.coordination import Coordinator, Drained, Merged, Report
from caligo.jobs.job import JobOutcome, LocalMailbox, RunSettings, run_job
from caligo.jobs.job_file import JobFile, parse_job
from caligo.jobs.shards import ShardReader
from caligo.jobs.work_directory import WorkDirectory
from caligo.keys import Drift, simulate_pair
from caligo.simulation import BscChannel, design_for_channel, simulate
from caligo.store import list_runs, load_run
from caligo.store.files import document_bytes
from caligo.telemetry.startup import parse_start_ticks

QUICK = "block_length = 4096\nlist_size = 4\nefficiency = 1.5\nqber = 0.02"
TIMES = {"elapsed_ns"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve groups and a bit, of 2 % errors."""
    directory = tmp_path_factory.mktemp("keys")
    simulate_pair(directory, key_bits=12 * 2**20 + 5003, qber=0.02, seed=11)
    return directory


@pytest.fixture(scope="module")
def drifting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough that designs follow the blocks across tasks."""
    directory = tmp_path_factory.mktemp("drifting")
    simulate_pair(directory, key_bits=2**25 + 777, qber=0.02, seed=5, drift=Drift("linear", 0.3))
    return directory


def job_on(tmp_path: Path, keys: Path, name: str, body: str, **more: Any) -> JobFile:
    return write_job(tmp_path, name, body, alice=keys / "alice.bin", bob=keys / "bob.bin", **more)


def reference(job: JobFile, tmp_path: Path) -> tuple[ReconciliationReport, Path]:
    """What one process makes of it, all at once."""
    assert job.keys is not None
    out = tmp_path / "reference"
    report = reconcile(job.keys.alice, job.keys.bob, options=job.options, out=out, store=tmp_path / "once", force=True)
    return report, out


def records_of(run: str) -> list[dict[str, Any]]:
    records = [dict(record) for record in load_run(run).records() if "block" in record]
    return sorted(({k: v for k, v in r.items() if k not in TIMES} for r in records), key=lambda r: r["block"])


def same_report(job: dict[str, Any], once: ReconciliationReport) -> None:
    """Equal but for times, places, threads, and what the decoders of a process have had to hold."""
    machine = {
        "elapsed_s",
        "payload_mbps",
        "coded_mbps_per_core",
        "threads",
        "peak_rss_bytes",
        "decoder_bytes",
        "run",
        "out",
        "job",
    }
    expected = json.loads(json.dumps(once.to_json()))
    for name in expected.keys() - machine:
        assert job[name] == expected[name], name


def require_same(outcome: JobOutcome, job: JobFile, once: tuple[ReconciliationReport, Path]) -> None:
    report, out = once
    assert outcome.code == ExitCode.COMPLETED
    assert outcome.report is not None
    assert job.out is not None
    assert sorted(path.name for path in job.out.iterdir()) == ["alice.bin", "bob.bin"]
    for name in ("alice.bin", "bob.bin"):
        assert (job.out / name).read_bytes() == (out / name).read_bytes(), name
        assert (job.out / name).stat().st_mode & 0o777 == 0o600
    same_report(outcome.report, report)
    assert report.run is not None
    assert records_of(outcome.report["run"]) == records_of(report.run)
    assert not list(job.work.rglob("*.shard"))
    run = load_run(outcome.report["run"])
    assert run.state.value == "sealed"
    assert not list(run.findings)


STRATEGIES = {
    "one-way": QUICK,
    "estimated": "block_length = 4096\nlist_size = 4\nefficiency = 1.5",
    "failing": "block_length = 4096\nlist_size = 1\nefficiency = 1.25\nqber = 0.02",
    "retried": 'block_length = 4096\nlist_size = 4\nefficiency = 1.25\nqber = 0.02\non_failure = "retry"',
    "segmented": 'block_length = 65536\nlist_size = 4\nqber = 0.02\nstrategy = "segmented"\nsegment_length = 8192',
    "interactive": 'block_length = 16384\nlist_size = 4\nqber = 0.02\nstrategy = "interactive"',
    "interleaved": QUICK + "\ninterleave = true",
    "long blocks": "block_length = 1048576\nlist_size = 2\nqber = 0.02",
}


@pytest.mark.parametrize("body", STRATEGIES.values(), ids=STRATEGIES.keys())
def test_outputs_and_records_do_not_depend_on_the_number_of_ranks(tmp_path: Path, keys: Path, body: str) -> None:
    once = reference(job_on(tmp_path, keys, "reference", body), tmp_path)
    for ranks in (1, 3):
        job = job_on(tmp_path, keys, f"on{ranks}", body)
        require_same(run_ranks(job, ranks), job, once)
    job = job_on(tmp_path, keys, "static", body + '\n[schedule]\nkind = "static"')
    require_same(run_ranks(job, 2, settings=RunSettings(threads=2)), job, once)


@pytest.mark.parametrize("failure", ["discard", "retry"])
def test_designs_that_follow_the_blocks_are_the_same_on_all_ranks(tmp_path: Path, drifting: Path, failure: str) -> None:
    body = f'block_length = 65536\nlist_size = 2\non_failure = "{failure}"'
    once = reference(job_on(tmp_path, drifting, "reference", body), tmp_path)
    assert len(once[0].codes) > 3
    job = job_on(tmp_path, drifting, "ranks", body)
    require_same(run_ranks(job, 3), job, once)


def test_an_interrupted_job_goes_on_with_the_designs_that_it_had(tmp_path: Path, drifting: Path) -> None:
    body = "block_length = 65536\nlist_size = 2"
    once = reference(job_on(tmp_path, drifting, "reference", body), tmp_path)
    job = job_on(tmp_path, drifting, "job", body + "\n[schedule]\nmost_tasks = 2")
    for after in (4, 11, 20):
        stopped(job, 2, after)
    outcome = run_ranks(job, 4)
    assert outcome.attempt == 4
    require_same(outcome, job, once)


@contextmanager
def stopping_after(tasks: int) -> Iterator[None]:
    """The job is asked to stop when so many tasks are done, those of earlier attempts among them."""

    def complete(self: Any, *arguments: Any) -> None:
        _COMPLETE(self, *arguments)
        if self._scheduler.completed >= tasks:
            self.stop("a test says so")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Coordinator, "_complete", complete)
        yield


_COMPLETE = Coordinator._complete


def stopped(job: JobFile, ranks: int, after: int) -> JobOutcome:
    with stopping_after(after):
        outcome = run_ranks(job, ranks)
    assert outcome.code == ExitCode.RESUMABLE
    assert outcome.reason == "a test says so"
    assert after <= outcome.tasks_done < outcome.tasks
    return outcome


def test_a_report_that_is_lost_costs_work_and_no_block(tmp_path: Path, keys: Path) -> None:
    """A rank that is never heard of is given up, and its tasks are done by others."""
    once = reference(job_on(tmp_path, keys, "reference", QUICK), tmp_path)
    job = job_on(tmp_path, keys, "job", QUICK)
    settings = RunSettings(threads=1, lost_after_s=1.0)
    outcome = run_ranks(job, 3, settings=settings, absent=1)
    assert 2 in outcome.lost
    if outcome.code != ExitCode.COMPLETED:  # the machine let rank 1 wait for so long as well: as a user, start again
        outcome = run_ranks(job, 1)
    require_same(outcome, job, once)


def test_a_rank_that_hangs_with_its_tasks_holds_up_nobody(tmp_path: Path, keys: Path) -> None:
    """Its messages never come, though it lives; copies of its tasks are done long before it would be given up."""
    once = reference(job_on(tmp_path, keys, "reference", QUICK), tmp_path)
    job = job_on(tmp_path, keys, "job", QUICK)

    def mute(sender: int, receiver: int, message: Any) -> Any:
        return None if sender == 2 and isinstance(message, Report) else message

    outcome = run_ranks(job, 3, tamper=mute)
    assert outcome.report is not None
    assert outcome.lost == ()
    assert outcome.report["job"]["copies"] > 0
    require_same(outcome, job, once)


def test_what_two_ranks_make_of_one_task_must_be_the_same(tmp_path: Path, keys: Path) -> None:
    """A machine that computes wrongly is found where its result meets another's."""
    job = job_on(tmp_path, keys, "job", QUICK)

    def twice(sender: int, receiver: int, message: Any) -> Any:
        if isinstance(message, Report):
            task, offset, head = message.done[0]
            wrong = head[:48] + bytes(8) + head[56:]
            return Report((*message.done, (task, offset, wrong)))
        return message

    with pytest.raises(ClusterError, match="same"):
        run_ranks(job, 2, tamper=twice)


def test_a_job_that_is_done_is_not_done_again(tmp_path: Path, keys: Path) -> None:
    job = job_on(tmp_path, keys, "job", QUICK)
    first = run_ranks(job, 2)
    runs = len(list_runs(tmp_path / "store"))
    again = run_ranks(job, 3)
    assert again.attempt == 0
    assert again.report == json.loads(json.dumps(first.report))
    assert len(list_runs(tmp_path / "store")) == runs


def test_public_random_values_are_drawn_once_for_a_job(tmp_path: Path, drifting: Path) -> None:
    """Sampled positions, and with them the reconciled keys, are those of the first attempt."""
    body = "block_length = 65536\nlist_size = 2\n[schedule]\nmost_tasks = 1"
    job = job_on(tmp_path, drifting, "job", body, seed=None)
    stopped(job, 2, 2)
    drawn = WorkDirectory(job.work).job()
    plan = WorkDirectory(job.work).plan()
    assert drawn is not None
    assert plan is not None
    assert plan["sample"]["sampled_bits"] > 0
    assert run_ranks(job, 3).code == ExitCode.COMPLETED
    assert WorkDirectory(job.work).job() == drawn
    assert WorkDirectory(job.work).plan() == plan
    recorded = {info.path.name: load_run(info.path).document for info in list_runs(tmp_path / "store")}
    assert len(recorded) == 2
    values = [document["security_randomness"] for document in recorded.values()]
    assert values[0] == values[1] == drawn["security_randomness"]
    assert {document["resumes"] for document in recorded.values()} & recorded.keys()


def test_a_torn_shard_loses_its_last_frame_alone(tmp_path: Path, keys: Path) -> None:
    once = reference(job_on(tmp_path, keys, "reference", QUICK), tmp_path)
    job = job_on(tmp_path, keys, "job", QUICK + "\n[schedule]\nmost_tasks = 1")
    stopped(job, 2, 3)
    shard = max(job.work.rglob("*.shard"), key=lambda path: path.stat().st_size)
    with ShardReader(shard, bytes.fromhex(job.digest)) as reader:
        frames = len(list(reader.places()))
    with shard.open("r+b") as file:
        file.truncate(shard.stat().st_size - 100)
    with ShardReader(shard, bytes.fromhex(job.digest)) as reader:
        assert len(list(reader.places())) == frames - 1
    outcome = run_ranks(job, 2)
    require_same(outcome, job, once)


def test_a_frame_whose_account_is_damaged_does_not_count(tmp_path: Path, keys: Path) -> None:
    once = reference(job_on(tmp_path, keys, "reference", QUICK), tmp_path)
    job = job_on(tmp_path, keys, "job", QUICK + "\n[schedule]\nmost_tasks = 1")
    stopped(job, 2, 4)
    shards = sorted(job.work.rglob("*.shard"), key=lambda path: path.stat().st_size)
    with ShardReader(shards[-1], bytes.fromhex(job.digest)) as reader:
        place = next(reader.places())
    change_byte(shards[-1], place.offset + 40 + len(place.head) + 30)
    change_byte(shards[0], 5)
    require_same(run_ranks(job, 2), job, once)


def change_byte(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 4]))


def test_damaged_bits_are_found_and_done_anew(tmp_path: Path, keys: Path) -> None:
    """As after a failure of power: lengths are right, bytes are not. Nothing of it gets into the outputs."""
    once = reference(job_on(tmp_path, keys, "reference", QUICK), tmp_path)
    job = job_on(tmp_path, keys, "job", QUICK + "\n[schedule]\nmost_tasks = 1")
    stopped(job, 2, 4)
    shard = max(job.work.rglob("*.shard"), key=lambda path: path.stat().st_size)
    with ShardReader(shard, bytes.fromhex(job.digest)) as reader:
        place = next(reader.places())
    change_byte(shard, place.offset + 40 + len(place.head) + place.body_bytes + 1000)
    outcome = run_ranks(job, 2)
    assert outcome.code == ExitCode.RESUMABLE
    assert "damaged" in str(outcome.reason)
    assert job.out is not None
    assert not (job.out / "alice.bin").exists()
    require_same(run_ranks(job, 2), job, once)


def test_the_merge_may_be_cut_anywhere(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small orders give the outputs of a large one; a death between two of them leaves a job that goes on."""
    monkeypatch.setattr(coordination, "MERGE_BITS", 1 << 20)
    once = reference(job_on(tmp_path, keys, "reference", QUICK), tmp_path)
    job = job_on(tmp_path, keys, "job", QUICK)

    def die(sender: int, receiver: int, message: Any) -> Any:
        if isinstance(message, Merged) and message.number >= 3:
            raise MemoryError("dies while it puts things in place")
        return message

    with pytest.raises((MemoryError, AssertionError)):
        run_ranks(job, 3, tamper=die, settings=RunSettings(threads=1, lost_after_s=1.0))
    require_same(run_ranks(job, 3), job, once)


def test_an_attempt_that_was_given_up_changes_nothing(tmp_path: Path, keys: Path) -> None:
    """While a ghost works a later attempt begins, and ends; the ghost sees it before it puts anything in place."""
    once = reference(job_on(tmp_path, keys, "reference", QUICK), tmp_path)
    job = job_on(tmp_path, keys, "job", QUICK)
    outcomes: list[JobOutcome] = []

    def overtake(sender: int, receiver: int, message: Any) -> Any:
        if isinstance(message, Drained) and not outcomes:
            outcomes.append(run_ranks(job, 1))
        return message

    with pytest.raises(ClusterError, match="later one"):
        run_ranks(job, 2, tamper=overtake)
    require_same(outcomes[0], job, once)


def test_another_job_or_another_key_is_not_gone_on_with(tmp_path: Path, keys: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(keys, own)
    job = job_on(tmp_path, own, "job", QUICK + "\n[schedule]\nmost_tasks = 1")
    stopped(job, 2, 2)
    changed = dataclasses.replace(job, options=dataclasses.replace(job.options, list_size=8))
    with pytest.raises(ConfigError, match="changed"):
        run_ranks(changed, 1)
    with (own / "bob.bin").open("r+b") as file:
        file.write(b"\xff" * 512)
    with pytest.raises(KeyFileError, match="begun with"):
        run_ranks(job, 1)


def test_a_full_output_directory_is_refused_before_anything_is_drawn(tmp_path: Path, keys: Path) -> None:
    job = job_on(tmp_path, keys, "job", QUICK)
    assert job.out is not None
    job.out.mkdir()
    (job.out / "mine").write_text("keep")
    with pytest.raises(ConfigError, match="empty"):
        run_ranks(job, 1)
    assert not job.work.exists()
    assert (job.out / "mine").read_text() == "keep"


@pytest.mark.parametrize("share", [0.3, 0.9999])
def test_a_cap_ends_a_job_where_it_ends_one_process(tmp_path: Path, keys: Path, share: float) -> None:
    body = "block_length = 4096\nlist_size = 4\nefficiency = 1.5\nqber = 0.02"
    whole, _ = reference(job_on(tmp_path, keys, "whole", body), tmp_path)
    cap = int(whole.leakage_bits * share)
    capped = job_on(tmp_path, keys, "job", f"{body}\nmax_leakage_bits = {cap}")
    with pytest.raises(LeakageCapError) as once:
        reference(capped, tmp_path)
    for ranks in (1, 3):
        with pytest.raises(LeakageCapError) as many:
            run_ranks(capped, ranks)
        assert many.value.fields == once.value.fields
        assert many.value.fields["leakage_bits"] <= cap
    assert capped.out is not None
    assert not list(capped.out.iterdir())


def test_a_schedule_is_repeated_from_its_log(tmp_path: Path, keys: Path) -> None:
    job = job_on(tmp_path, keys, "job", QUICK)
    first = run_ranks(job, 3)
    assert first.report is not None
    log = Path(first.report["run"]) / "schedule.jsonl"
    again = job_on(tmp_path, keys, "again", QUICK)
    second = run_ranks(again, 3, settings=RunSettings(threads=1, replay=log))
    assert second.report is not None

    def by_rank(report: dict[str, Any]) -> dict[int, list[tuple[int, int]]]:
        lines = [json.loads(line) for line in (Path(report["run"]) / "schedule.jsonl").read_text().splitlines()[1:]]
        return {rank: [(e["first"], e["count"]) for e in lines if e["rank"] == rank] for rank in range(3)}

    assert by_rank(second.report) == by_rank(first.report)
    with pytest.raises(ConfigError, match="rank"):
        run_ranks(job_on(tmp_path, keys, "two", QUICK), 2, settings=RunSettings(threads=1, replay=log))


def test_a_replay_gives_copies_though_their_tasks_are_done(tmp_path: Path, keys: Path) -> None:
    """Rank 0 does all tasks, rank 1 all of them again from the end: they meet half way, and rank 1 goes on."""
    first = run_ranks(job_on(tmp_path, keys, "job", QUICK), 1)
    assert first.report is not None
    head, *_ = (Path(first.report["run"]) / "schedule.jsonl").read_text().splitlines()
    tasks = json.loads(head)["tasks"]
    given = [{"rank": 0, "first": 0, "count": tasks}]
    given += [{"rank": 1, "first": task, "count": 1} for task in reversed(range(tasks))]
    log = tmp_path / "schedule.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in [json.loads(head) | {"ranks": 2}, *given]))
    again = run_ranks(job_on(tmp_path, keys, "again", QUICK), 2, settings=RunSettings(threads=1, replay=log))
    assert again.report is not None
    lines = [json.loads(line) for line in (Path(again.report["run"]) / "schedule.jsonl").read_text().splitlines()[1:]]
    for rank in (0, 1):
        assert [line for line in lines if line["rank"] == rank] == [line for line in given if line["rank"] == rank]


def test_every_rank_says_what_it_has_done(tmp_path: Path, keys: Path) -> None:
    job = job_on(tmp_path, keys, "job", QUICK + "\n[telemetry]\ntrace = true")
    outcome = run_ranks(job, 3)
    assert outcome.report is not None
    run = Path(outcome.report["run"])
    ranks = json.loads((run / "ranks.json").read_text())["ranks"]
    assert [entry["rank"] for entry in ranks] == [0, 1, 2]
    assert sum(entry["sums"]["counters"].get("tasks", 0) for entry in ranks) >= outcome.tasks
    for entry in ranks:
        assert entry["peak_rss_bytes"] > 0
        assert entry["memory_budget_bytes"] > 0
        assert entry["memory_source"]
    trace = json.loads((run / "trace.json").read_text())["traceEvents"]
    counted = Counter((event["pid"], event["name"]) for event in trace if event["ph"] == "X")
    assert {pid for pid, name in counted if name == "decode"} <= {0, 1, 2}
    assert sum(number for (_, name), number in counted.items() if name == "decode") >= outcome.tasks


SIMULATION = (
    "schema = 1\n[simulate]\nqber = 0.02\nblock_length = 1024\nlist_size = 2\nefficiency = 1.55\n"
    'frames = 20000\n{stop}\n[seeds]\nsimulation = 3\n[store]\ndir = "store"\n[work]\ndir = "{work}"\n'
)


@pytest.mark.parametrize("stop", ["", "max_frame_errors = 60"])
def test_a_simulation_counts_the_same_frames_on_any_number_of_ranks(tmp_path: Path, stop: str) -> None:
    channel = BscChannel(0.02)
    code = design_for_channel(channel, 1024, efficiency=1.55)
    once = simulate(code, channel, list_size=2, frames=20000, seed=3, max_frame_errors=60 if stop else None, threads=1)
    for ranks in (1, 3):
        job = parse_job(SIMULATION.format(stop=stop, work=f"work{ranks}"), tmp_path, "simulation.toml")
        outcome = run_ranks(job, ranks)
        report = outcome.report
        assert report is not None
        for name in ("frames", "detected_failures", "undetected_errors"):
            assert report[name] == getattr(once, name), name
        blocks = [record["block"] for record in load_run(report["run"]).records() if "block" in record]
        assert sorted(blocks) == list(range(once.frames))


def test_a_simulation_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    job = parse_job(SIMULATION.format(stop="", work="work"), tmp_path, "simulation.toml")
    stopped(job, 2, 3)
    outcome = run_ranks(job, 1)
    assert outcome.report is not None
    assert outcome.report["frames"] == 20000
    assert outcome.attempt == 2


def test_a_near_time_limit_stops_a_job_where_it_can_go_on(tmp_path: Path, keys: Path) -> None:
    """Of a short limit most is worked, however long before the end the job is to stop."""
    once = reference(job_on(tmp_path, keys, "reference", QUICK), tmp_path)
    job = job_on(tmp_path, keys, "job", QUICK + '\n[limits]\nstop_before = "1h"')
    outcome = run_job(job, LocalMailbox(), RunSettings(threads=1, time_limit_s=0.001))
    assert outcome.code == ExitCode.RESUMABLE
    assert "time limit" in str(outcome.reason)
    require_same(run_job(job, LocalMailbox(), RunSettings(threads=1, time_limit_s=600.0)), job, once)


def test_a_job_that_runs_is_not_started_beside_itself(tmp_path: Path, keys: Path) -> None:
    once = reference(job_on(tmp_path, keys, "reference", QUICK), tmp_path)
    job = job_on(tmp_path, keys, "job", QUICK)
    stopped(job, 2, 2)
    attempt = WorkDirectory(job.work).attempts()[-1]
    facts = WorkDirectory(job.work).facts(attempt)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        ticks = parse_start_ticks(Path(f"/proc/{other.pid}/stat").read_text())
        facts |= {"pid": other.pid, "began_ticks": ticks}
        (attempt.path / "attempt.json").write_bytes(document_bytes(facts))
        with pytest.raises(ClusterError, match="wait for it"):
            run_ranks(job, 2)
        other.kill()
        other.wait()
        require_same(run_ranks(job, 2), job, once)


def test_a_job_that_was_done_and_whose_keys_are_gone_says_so(tmp_path: Path, keys: Path) -> None:
    job = job_on(tmp_path, keys, "job", QUICK)
    run_ranks(job, 1)
    assert job.out is not None
    (job.out / "bob.bin").unlink()
    with pytest.raises(ConfigError, match="do it anew"):
        run_ranks(job, 1)


def test_a_work_directory_of_another_job_is_refused(tmp_path: Path, keys: Path) -> None:
    job = job_on(tmp_path, keys, "job", QUICK + "\n[schedule]\nmost_tasks = 1")
    stopped(job, 2, 2)
    (job.work / "job.json").write_text("{}")
    with pytest.raises(StoreError, match="damaged"):
        run_ranks(job, 1)

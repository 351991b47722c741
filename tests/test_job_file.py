"""The job file: every wrong field is named, what is written reads back, what defines a job is what it should be."""

from __future__ import annotations

import os
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from caligo import quantities
from caligo.errors import ConfigError
from caligo.jobs import ReconcileOptions, job_file
from caligo.jobs.job_file import (
    JobFile,
    KeysTable,
    LimitsTable,
    ScheduleTable,
    SimulateTable,
    TelemetryTable,
    job_text,
    load_job,
    parse_job,
    require_one_file_system,
    usual_work,
)
from caligo.jobs.job_keys import TABLES, Key
from caligo.simulation import AwgnChannel, BscChannel

DIRECTORY = Path("/data/link")
KEYS = 'schema = 1\n[keys]\nalice = "a.bin"\nbob = "b.bin"\n'
SIMULATION = "schema = 1\n[simulate]\nqber = 0.02\nefficiency = 1.3\nblock_length = 1024\nlist_size = 8\n"


def parse(text: str) -> JobFile:
    return parse_job(text, DIRECTORY)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    found: list[str] = caught.value.fields["problems"]
    assert all(problem in caught.value.message for problem in found)
    assert caught.value.message.startswith("job.toml: ")
    return found


# --- writing and reading ---------------------------------------------------------------------------------------------

NAMES = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="/\x00"), min_size=1, max_size=8
).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: Path("/", *parts))
SECONDS = st.one_of(
    st.integers(1, 10**9).map(float), st.floats(0.001, 1e9, allow_nan=False), st.sampled_from([0.1, 1e-3, 85_800.0])
)
SEEDS = st.one_of(st.none(), st.integers(0, 2**64 - 1))


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


def counts(least: int = 1, most: int = 1 << 40) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(least, most), st.sampled_from([1 << power for power in range(20, 40)]))


@st.composite
def options(draw: st.DrawFn) -> ReconcileOptions:
    rate = st.floats(0.001, 0.11)
    chosen = {
        "qber": draw(maybe(st.one_of(rate, st.tuples(rate, rate)))),
        "asymmetric": draw(st.sampled_from(["auto", "off"])),
        "block_length": draw(maybe(st.integers(1, 24).map(lambda power: 1 << power))),
        "list_size": draw(st.sampled_from([1, 2, 4, 8, 16, 32])),
        "strategy": draw(st.sampled_from(["one-way", "segmented", "incremental", "interactive"])),
        "max_rounds": draw(st.integers(0, 1000)),
        "max_block_leakage_bits": draw(st.integers(0, 1 << 62)),
        "max_leakage_bits": draw(st.integers(0, 1 << 62)),
        "follow_drift": draw(maybe(st.booleans())),
        "interleave": draw(st.booleans()),
        "precision": draw(st.sampled_from(["int8", "f32"])),
        "engine": draw(maybe(st.just("portable"))),
    }
    if chosen["qber"] is None:
        chosen["sample_bits"] = draw(maybe(st.integers(1, 1 << 27)))
    if chosen["strategy"] in ("one-way", "segmented"):
        chosen["check"] = draw(st.sampled_from(["crc16", "crc24", "crc32"]))
        chosen[draw(st.sampled_from(["efficiency", "target_fer"]))] = draw(maybe(st.floats(0.01, 0.99)))
        if draw(st.booleans()):
            chosen |= {"on_failure": "retry", "retries": draw(maybe(st.integers(1, 4)))}
        smaller = [size for size in (1, 2, 4, 8, 16) if size < chosen["list_size"]]
        chosen["escalation"] = draw(maybe(st.sets(st.sampled_from(smaller)).map(lambda sizes: tuple(sorted(sizes)))
                                          if smaller else st.just(())))  # fmt: skip
    else:
        chosen["wish"] = draw(maybe(st.sampled_from(["rounds", "balanced", "leakage"])))
    if chosen["strategy"] == "segmented":
        chosen["segment_length"] = draw(maybe(st.integers(6, 20).map(lambda power: 1 << power)))
        chosen["segment_check"] = draw(maybe(st.sampled_from(["crc16", "crc24", "crc32"])))
    try:
        return ReconcileOptions(**chosen)
    except ConfigError:
        assume(False)
        raise


@st.composite
def limits(draw: st.DrawFn) -> LimitsTable:
    time_s = draw(maybe(SECONDS))
    return LimitsTable(
        memory_per_rank=draw(maybe(counts(1 << 20, 1 << 60))),
        threads_per_rank=draw(maybe(counts())),
        time_s=time_s,
        stop_before_s=draw(SECONDS) if time_s is None else time_s / 2,
        sync_interval_s=draw(SECONDS),
    )


@st.composite
def schedules(draw: st.DrawFn) -> ScheduleTable:
    if draw(st.booleans()):
        return ScheduleTable(kind="static")
    fewest, most = sorted((draw(counts()), draw(counts())))
    return ScheduleTable(
        least_tasks=draw(maybe(st.just(fewest))), most_tasks=draw(maybe(st.just(most))), divisor=draw(maybe(counts()))
    )


def telemetries() -> st.SearchStrategy[TelemetryTable]:
    return st.builds(TelemetryTable, progress_interval_s=SECONDS, trace=st.booleans(), trace_spans=counts())


@st.composite
def jobs(draw: st.DrawFn) -> JobFile:
    """Any valid job of either kind."""
    common = {
        "path": DIRECTORY / "job.toml",
        "store": draw(maybe(PATHS)),
        "schedule": draw(schedules()),
        "limits": draw(limits()),
        "telemetry": draw(telemetries()),
    }
    if draw(st.booleans()):
        awgn = draw(st.booleans())
        table = SimulateTable(
            channel="awgn" if awgn else "bsc",
            qber=None if awgn else draw(st.floats(0.001, 0.4)),
            ebn0=draw(st.floats(-60.0, 60.0)) if awgn else None,
            info_length=draw(st.integers(1, 1024)),
            block_length=draw(st.sampled_from([1024, 1 << 20])),
            payload_length=draw(maybe(st.just(1024))),
            list_size=draw(st.sampled_from([8, 32])),
            escalation=draw(st.sampled_from([(), (1,), (1, 4)])),
            segment_length=draw(maybe(st.just(512))),
            segment_check=draw(st.sampled_from(["crc16", "crc32"])),
            design=draw(maybe(st.sampled_from(["de", "ga", "nr", "pw"]))),
            precision=draw(maybe(st.sampled_from(["int8", "f32"]))),
            frames=draw(counts()),
            max_frame_errors=draw(maybe(counts())),
        )
        simulated = draw(st.integers(0, 2**64 - 1))
        work = draw(maybe(PATHS)) or usual_work(None, DIRECTORY / "job.toml")
        return JobFile(kind="simulate", simulate=table, seed=simulated, work=work, **common)
    out, seed = draw(maybe(PATHS)), draw(SEEDS)
    work = draw(maybe(PATHS))
    if work is None or (out is not None and (work == out or work in out.parents or out in work.parents)):
        work = usual_work(out, DIRECTORY / "job.toml")
    keys = KeysTable(
        alice=draw(PATHS),
        bob=draw(PATHS),
        format=draw(maybe(st.sampled_from(["packed", "npy", "qcrypto", "ait"]))),
        bit_order=draw(st.sampled_from(["little", "big"])),
        key_bits=draw(maybe(counts())),
    )
    return JobFile(
        kind="reconcile",
        keys=keys,
        options=replace(draw(options()), seed=seed),
        seed=seed,
        out=out,
        force=draw(st.booleans()),
        work=work,
        **common,
    )


@given(jobs())
def test_what_is_written_reads_back_to_the_same_job(job: JobFile) -> None:
    again = parse(job_text(job))
    assert again == job
    assert again.digest == job.digest
    assert job_text(again) == job_text(job)


@given(jobs())
def test_defaults_that_are_commented_out_are_the_defaults(job: JobFile) -> None:
    lines = []
    table = ""
    for line in job_text(job).split("\n"):
        if line.startswith("["):
            table = line[1 : line.index("]")]
        if line.startswith("#: "):
            key = next(key for key in TABLES[table].keys if key.name == line[3:].partition(" ")[0])
            statically = job.schedule.kind == "static" and table == "schedule"
            if key.default is not None and not statically:
                line = line.removeprefix("#: ")
        lines.append(line)
    assert parse("\n".join(lines)) == job


def every_key() -> list[tuple[str, Key]]:
    return [(table.name, key) for table in TABLES.values() for key in table.keys]


@pytest.mark.parametrize(("table", "key"), every_key(), ids=lambda value: getattr(value, "name", value))
def test_the_example_or_default_of_a_key_reads_back(table: str, key: Key) -> None:
    shown = key.example if key.default is None else key.default
    assert shown is not None
    written = tomllib.loads(f"value = {key.kind.write(shown)}")["value"]
    read = key.kind.read(written)
    assert read == (os.fspath(shown) if isinstance(shown, Path) else shown)
    assert "\n" not in key.help
    assert key.help.endswith(".")


@pytest.mark.parametrize(("table", "key"), every_key(), ids=lambda value: getattr(value, "name", value))
def test_a_value_of_another_kind_is_named_by_its_path(table: str, key: Key) -> None:
    base = SIMULATION if table == "simulate" or key.name == "simulation" else KEYS
    given_already = f"\n{key.name} = "
    wrong = f"{key.name} = 2000-01-01\n"
    if f"[{table}]" not in base:
        text = f"{base}[{table}]\n{wrong}"
    else:
        kept = "".join(line for line in base.splitlines(True) if not line.startswith(f"{key.name} = "))
        text = kept.replace(f"[{table}]\n", f"[{table}]\n{wrong}")
    assert given_already not in text.replace(wrong, "")
    found = problems(text)
    assert len([problem for problem in found if problem.startswith(f"{table}.{key.name}: expected ")]) == 1, found
    assert "2000-01-01" in next(problem for problem in found if problem.startswith(f"{table}.{key.name}: "))


def test_the_tables_are_the_fields() -> None:
    def names(table: str) -> set[str]:
        return {key.name for key in TABLES[table].keys}

    assert names("reconcile") == {item.name for item in fields(ReconcileOptions)} - {"threads", "seed"}
    kinds: dict[str, Any] = {"keys": KeysTable, "simulate": SimulateTable, "schedule": ScheduleTable}
    kinds |= {"limits": LimitsTable, "telemetry": TelemetryTable}
    for table, kind in kinds.items():
        assert names(table) == {item.name.removesuffix("_s") for item in fields(kind)}
    assert parse(KEYS).limits == LimitsTable()
    assert parse(KEYS).telemetry == TelemetryTable()
    assert parse(KEYS).schedule == ScheduleTable()


def test_the_specification_shows_these_very_tables() -> None:
    page = (Path(__file__).parent.parent / "specs" / "job-file.md").read_text()
    for table in TABLES.values():
        section = page[page.index(f"### `[{table.name}]`") :].split("\n### ")[0].split("\n## ")[0]
        assert table.help in section
        rows = [line for line in section.splitlines() if line.startswith("| `")]
        assert rows == [f"| `{key.name}` | {key.kind.name} | {_default(key)} | {key.help} |" for key in table.keys], (
            f"write the table {table.name} anew"
        )


def _default(key: Key) -> str:
    if key.required:
        return "required"
    return "–" if key.default is None else f"`{key.kind.write(key.default)}`"


# --- what is wrong ---------------------------------------------------------------------------------------------------


def test_all_problems_come_together() -> None:
    found = problems(
        'schema = 2\n[keys]\nalice = 3\n[reconcil]\n[output]\nfroce = true\n[limits]\nmemory_per_rank = "2GB/s"\n'
        'time = "23:50"\n[telemetry]\nqber = 0.1\n'
    )
    assert sorted(problem.partition(":")[0] for problem in found) == [
        "keys.alice", "keys.bob", "limits.memory_per_rank", "limits.time", "output.froce", "reconcil", "schema",
        "telemetry.qber",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "schema: expected 1, got none"),
        ('schema = "1"\n[keys]\nalice = "a"\nbob = "b"', "schema: expected 1, got the text '1'"),
        ("schema = true\n" + KEYS[11:], "schema: expected 1, got true"),
        ("schema = 1\n", "keys: expected the table [keys] (or [simulate]"),
        ("schema = 1\nkeys = 3\n", "keys: expected a table, got the integer 3; write [keys]"),
        (KEYS.replace("[keys]", "[[keys]]"), "keys: expected a table, got an array"),
        ("schema = 1\n[keys]\nalice = \"\"\nbob = \"b\"", "keys.alice: expected a path"),
        ("schema = 1\n[keys]\nalice = \"a\\u0000\"\nbob = \"b\"", "keys.alice: expected a path"),
        (KEYS + "bit_order = \"bgi\"", "keys.bit_order: expected 'little' or 'big', got the text 'bgi'; did you mean"),
        (KEYS + "key_bits = 0", "keys.key_bits: expected a whole number from 1"),
        (KEYS + "key_bits = 1.5", "keys.key_bits: expected a whole number"),
        (KEYS + "key_bits = true", "keys.key_bits: expected a whole number"),
        (KEYS + "[reconcile]\nlst_size = 4", "reconcile.lst_size: no such key; did you mean list_size?"),
        (KEYS + "[reconcile]\nalice = 4", "reconcile.alice: no such key; it belongs under [keys]"),
        (KEYS + "[reconcile]\nthreads = 4", "reconcile.threads: no such key; known: qber"),
        ("qber = 0.02\n" + KEYS, "qber: no such key here; it belongs under [reconcile] or [simulate]"),
        (KEYS + "[limit]\n", "limit: no such table; did you mean limits?"),
        (KEYS + "[reconcile]\nqber = [0.1]", "reconcile.qber: expected an error rate, or two"),
        (KEYS + "[reconcile]\nqber = 0.7", "reconcile.qber: expected 0 < qber < 0.5"),
        (KEYS + "[reconcile]\nefficiency = nan", "reconcile.efficiency: expected a finite number"),
        (KEYS + "[reconcile]\nblock_length = 1000", "reconcile.block_length: expected a power of two"),
        (KEYS + "[reconcile]\nstrategy = \"onewy\"\nwish = \"x\"", "reconcile.strategy: expected one of"),
        (KEYS + "[reconcile]\nescalation = 8", "reconcile.escalation: expected an array of list sizes"),
        (KEYS + "[reconcile]\nretries = 3", "reconcile.retries: expected none with on_failure discard"),
        (KEYS + "[seeds]\nsimulation = 3", "seeds.simulation: no place in a job that is to reconcile"),
        (KEYS + "[seeds]\npublic_randomness = -1", "seeds.public_randomness: expected a whole number from 0"),
        (KEYS + f"[seeds]\npublic_randomness = \"{2**64}\"", "seeds.public_randomness: expected a whole number"),
        (KEYS + '[output]\ndir = "x"\n[work]\ndir = "x"', "work.dir: expected a directory apart from output.dir"),
        (KEYS + '[output]\ndir = "x"\n[work]\ndir = "x/y"', "work.dir: expected a directory apart from output.dir"),
        (KEYS + '[output]\ndir = "x/y"\n[work]\ndir = "x"', "work.dir: expected a directory apart from output.dir"),
        (KEYS + '[store]\ndir = "x"\nrecord = false', "store.dir: no place beside record = false"),
        (KEYS + "[schedule]\nleast_tasks = 3\nmost_tasks = 2", "schedule.most_tasks: expected at least the 3"),
        (KEYS + '[schedule]\nkind = "static"\ndivisor = 2', "schedule.divisor: no place beside kind"),
        (KEYS + '[limits]\ntime = "2m"', "limits.time: expected more than the 2m of limits.stop_before, got 2m"),
        (KEYS + "[limits]\nmemory_per_rank = 2", "limits.memory_per_rank: expected a size of at least"),
        (KEYS + "[telemetry]\nprogress_interval = 0", "telemetry.progress_interval: expected a time above 0s"),
        (SIMULATION + "ebn0 = 1.0", 'simulate.ebn0: no place beside channel = "bsc"'),
        (SIMULATION + "info_length = 500", "simulate.efficiency: expected it or info_length, got both"),
        (SIMULATION.replace("efficiency = 1.3\n", ""), "simulate.efficiency: expected it or info_length, got neither"),
        (SIMULATION.replace("qber = 0.02\n", ""), 'simulate.qber: expected one beside channel = "bsc", got none'),
        (SIMULATION.replace("list_size = 8", "list_size = 7"), "simulate.list_size: expected one of"),
        (SIMULATION.replace("list_size = 8\n", ""), "simulate.list_size: expected an integer"),
        (SIMULATION.replace("1.3", "-1"), "simulate.efficiency: expected a finite number above 0"),
        (SIMULATION + "escalation = [4, 2]", "simulate.escalation: "),
        (SIMULATION + 'check = "md5"', "simulate.check: expected one of"),
        (SIMULATION + 'engine = "abacus"', "simulate.engine: expected one of"),
        (SIMULATION + "payload_length = 2000", "simulate.payload_length: expected at most the block_length 1024"),
        (SIMULATION + "segment_length = 1000", "simulate.segment_length: "),
        (SIMULATION + "[output]\ndir = \"x\"", "output: no place in a job that is to simulate"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_by_its_path_and_said_what_would_be_right(text: str, expected: str) -> None:
    found = problems(text)
    if text:
        assert len(found) == 1, found
    assert found[0].startswith(expected), found


def test_a_job_reconciles_or_simulates() -> None:
    text = KEYS + SIMULATION.removeprefix("schema = 1\n")
    assert problems(text)[0].startswith("simulate: expected keys to reconcile or a simulation, got [keys] too")


def test_two_wrong_options_are_two_problems_and_what_hangs_on_them_is_none() -> None:
    found = problems(KEYS + '[reconcile]\nstrategy = "x"\nlist_size = 5\nqber = 0.9\nwish = "balanced"\nretries = 1\n')
    assert {problem.partition(":")[0] for problem in found} == {
        "reconcile.strategy", "reconcile.list_size", "reconcile.qber",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("schema = 1\n[keys]\nalice = bob\n", 3, 9),
        ("schema = 1\n[keys\n", 2, 6),
        ("schema = 1\n[keys]\nalice = \"a", 3, 11),
        ("schema = 1\nschema = 1\n", 2, 11),
    ],
)  # fmt: skip
def test_what_is_no_toml_is_refused_with_its_place(text: str, line: int, column: int) -> None:
    with pytest.raises(ConfigError, match=rf"job.toml: line {line}, column {column}: expected TOML") as caught:
        parse(text)
    assert (caught.value.fields["line"], caught.value.fields["column"]) == (line, column)


@pytest.mark.parametrize("text", ["x = " + "9" * 5000, "x = " + "[" * 5000])
def test_toml_that_python_refuses_is_refused_too(text: str) -> None:
    with pytest.raises(ConfigError, match="expected TOML"):
        parse(text)


def test_a_file_that_is_no_job_file_is_said_to_be_none(tmp_path: Path) -> None:
    key = tmp_path / "key.bin"
    for content, expected in (
        (bytes(64), "key file"),
        (b"x\n\xff", "in line 2"),
        (b"#" * (1 << 20) + b"#", "more than"),
    ):
        key.write_bytes(content)
        with pytest.raises(ConfigError, match=expected):
            load_job(key)
    with pytest.raises(ConfigError, match="No such file or directory; `caligo job init`"):
        load_job(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_job(tmp_path)


# --- what a job is ---------------------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_directory_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/alice")
    text = '\ufeffschema = 1\n[keys]\nalice = "../a.bin"\nbob = "~/b.bin"\n[output]\ndir = "out"\n[store]\ndir = "/s"\n'
    Path("jobs/night.toml").write_text(text, encoding="utf-8")
    job = load_job("jobs/night.toml")
    assert job.keys is not None
    assert job.path == tmp_path / "jobs" / "night.toml"
    assert (job.keys.alice, job.keys.bob) == (tmp_path / "a.bin", Path("/home/alice/b.bin"))
    assert (job.out, job.work, job.store) == (tmp_path / "jobs/out", tmp_path / "jobs/out.work", Path("/s"))


def test_without_an_output_the_job_works_beside_its_file() -> None:
    assert parse(KEYS).work == DIRECTORY / "job.work"
    assert parse(SIMULATION).work == DIRECTORY / "job.work"


def test_whole_numbers_may_be_written_as_on_the_command_line() -> None:
    for written in ("1048576", '"1048576"', '"2^20"', "1_048_576", "1048576.0"):
        assert parse(f"{KEYS}[reconcile]\nblock_length = {written}").options.block_length == 1 << 20
    keys = parse(f'{KEYS}key_bits = "1e6"').keys
    assert keys is not None
    assert keys.key_bits == 10**6


def test_the_seed_is_that_of_the_kind() -> None:
    assert parse(KEYS).seed is None
    assert parse(SIMULATION).seed == 1
    job = parse(KEYS + "[seeds]\npublic_randomness = 7")
    assert job.seed == job.options.seed == 7
    assert parse(SIMULATION + "[seeds]\nsimulation = 0").seed == 0


def test_a_job_that_is_not_recorded_has_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse(KEYS + "[store]\nrecord = false").store is None
    monkeypatch.setenv("CALIGO_STORE", "/there")
    assert parse(KEYS).store == Path("/there")


def test_a_simulation_has_a_channel_and_a_code() -> None:
    table = parse(SIMULATION).simulate
    assert table is not None
    assert table.noise() == BscChannel(0.02)
    assert table.code().block_length == 1024
    over_awgn = replace(table, channel="awgn", qber=None, efficiency=None, ebn0=2.0, info_length=512)
    assert over_awgn.noise() == AwgnChannel(2.0)
    assert over_awgn.code().info_length == 512
    with pytest.raises(ConfigError, match="expected a qber for bsc or ebn0 for awgn"):
        replace(table, qber=None).noise()


SAME = [
    '[limits]\nmemory_per_rank = "2GiB"\ntime = "1d"', "[schedule]\ndivisor = 3", "[telemetry]\ntrace = true",
    '[store]\ndir = "elsewhere"', '[work]\ndir = "elsewhere"', "[output]\nforce = true", "[reconcile]\nlist_size = 32",
]  # fmt: skip
OTHER = [
    "[reconcile]\nlist_size = 8", "[reconcile]\nqber = 0.02", "[reconcile]\nqber = [0.02, 0.03]",
    "[seeds]\npublic_randomness = 1", f'[seeds]\npublic_randomness = "{2**64 - 1}"', '[output]\ndir = "elsewhere"',
    "[reconcile]\nescalation = []",
]  # fmt: skip


def test_a_job_is_defined_by_what_its_results_follow_from() -> None:
    digest = parse(KEYS).digest
    assert len(digest) == 64
    assert {parse(f"{KEYS}{text}\n").digest for text in SAME} == {digest}
    assert len({digest} | {parse(f"{KEYS}{text}\n").digest for text in OTHER}) == len(OTHER) + 1
    assert parse(KEYS.replace("a.bin", "c.bin")).digest != digest
    assert parse(SIMULATION).digest != parse(SIMULATION + "[seeds]\nsimulation = 2").digest
    assert parse_job(KEYS, "/elsewhere").digest != digest


def test_the_definition_is_plain_json() -> None:
    text = f'{KEYS}[reconcile]\nqber = [0.02, 0.03]\n[seeds]\npublic_randomness = "{2**64 - 1}"'
    definition = parse(text).definition()
    assert definition["keys"]["alice"] == "/data/link/a.bin"
    assert definition["reconcile"]["qber"] == [0.02, 0.03]
    assert definition["seeds"] == {"public_randomness": str(2**64 - 1)}
    assert "threads" not in definition["reconcile"]


def test_a_work_directory_on_another_file_system_is_refused(tmp_path: Path) -> None:
    job = replace(parse(KEYS), out=tmp_path / "a" / "out", work=tmp_path / "b" / "work")
    require_one_file_system(job)
    require_one_file_system(replace(job, out=None, work=Path("/proc/self/work")))
    with pytest.raises(ConfigError, match=r"work\.dir: expected a directory on the file system of output\.dir"):
        require_one_file_system(replace(job, work=Path("/proc/self/work")))


def test_a_path_that_toml_cannot_hold_is_refused() -> None:
    job = replace(parse(KEYS), out=Path(os.fsdecode(b"/data/\xff")))
    with pytest.raises(ConfigError, match="rename the file or directory"):
        job_text(job)


def test_public_names_are_there() -> None:
    assert all(hasattr(job_file, name) for name in job_file.__all__)


# --- quantities ------------------------------------------------------------------------------------------------------


@given(st.one_of(st.integers(0, 10**9).map(float), st.floats(0.0, 1e9)))
def test_a_duration_reads_back(seconds: float) -> None:
    assert quantities.parse_duration(quantities.duration_text(seconds)) == seconds


@given(counts(0, 1 << 60))
def test_a_size_reads_back(size: int) -> None:
    assert quantities.parse_size(quantities.size_text(size)) == size


@given(st.integers(0, 10**30))
def test_a_count_reads_back(count: int) -> None:
    assert quantities.parse_count(str(count)) == quantities.parse_count(f"{count:_}") == count


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("23h50m", 85_800), ("1d", 86_400), ("1d2h3m4s", 93_784), ("250ms", 0.25), ("90", 90),
     ("0.5s", 0.5), ("0", 0), (" 1h ", 3600), ("90m", 5400)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert quantities.parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "23:50", "-1s", "1m1h", "1h 5m", "1s5", "1e3", "nan", "2000000000s", "1" * 500]
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a time"):
        quantities.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GiB", 2 << 30), ("512MiB", 512 << 20), ("1.5GiB", 3 << 29), ("2GB", 2 * 10**9), ("2G", 2 << 30),
     ("2e9", 2 * 10**9),
     ("7", 7), ("7B", 7), ("2^30", 1 << 30), ("1kB", 1000), ("1KiB", 1024), ("2 GiB", 2 << 30), ("0.5KiB", 512)],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert quantities.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "2Gb", "2GB/s", "2 gib", "1e30", "2EiB", "nan", "1" * 200])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a size"):
        quantities.parse_size(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [("1_000", 1000), ("2^20", 1 << 20), ("2**4", 16), ("1e6", 10**6), ("1.5e3", 1500), ("1E+2", 100), ("-3", -3)],
)
def test_counts(text: str, count: int) -> None:
    assert quantities.parse_count(text) == count


@pytest.mark.parametrize("text", ["", "1.5", "1e-3", "1.55e1", "3^4", "0x10", "one", "1__", "9" * 5000])
def test_no_counts(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a whole number"):
        quantities.parse_count(text)

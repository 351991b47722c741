"""The job file: what an unattended job is to do, in one TOML file, checked whole before anything is opened.

Covers: reading (`specs/job-file.md`), every wrong field named by its path and all of them together, what defines the
results of a job, writing a commented file that reads back to the same job. Does not cover: the form of single values
(:mod:`.job_keys`), opening the keys, planning (:mod:`.forecast`) and running.

A file is read once, by whoever starts a job; ranks are given the `JobFile`. Relative paths in it are relative to its
directory.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from caligo.channel import Qbers
from caligo.codes import PolarCode
from caligo.codes.polar_code import validate_block_length, validate_segments
from caligo.codes.validation import validate_number
from caligo.errors import CaligoError, ConfigError
from caligo.jobs.job_keys import OPTION_DEFAULTS, TABLES, JobKind, Table, describe
from caligo.jobs.options import ReconcileOptions
from caligo.keys import BitOrder, KeyPair, open_pair
from caligo.quantities import duration_text
from caligo.reconciliation.codecs.boundary import require_escalation
from caligo.reconciliation.strategies.one_way import validate_decoder
from caligo.simulation import AwgnChannel, BscChannel, Channel, design_for_channel
from caligo.store import default_store
from caligo.store.layout import check_campaign
from caligo.store.values import canonical_json, plain

__all__ = [
    "SCHEMA",
    "JobFile",
    "KeysTable",
    "LimitsTable",
    "ScheduleTable",
    "SimulateTable",
    "TelemetryTable",
    "job_text",
    "load_job",
    "parse_job",
    "require_one_file_system",
    "usual_work",
]

SCHEMA = 1
"""Version of the form of job files."""

_MOST_BYTES = 1 << 20
"""More is no job file: a key, most likely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysTable:
    """The two key files.

    Args:
        alice: absolute path.
        bob: absolute path.
        format: one of `caligo.keys.FORMATS`; None: by name and content.
        bit_order: of packed files, read and written.
        key_bits: length; None: all bits.
    """

    alice: Path
    bob: Path
    format: str | None = None
    bit_order: BitOrder = "little"
    key_bits: int | None = None

    def open(self) -> KeyPair:
        """Both keys, of one length; close the pair.

        Raises:
            KeyFileError: a file is missing, empty, damaged or too short.
            ShapeError: the lengths differ.
        """
        return open_pair(self.alice, self.bob, format=self.format, bit_order=self.bit_order, key_bits=self.key_bits)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateTable:
    """A simulation of frame errors; the meaning of each field is that of the option of `caligo simulate`."""

    channel: str = "bsc"
    qber: Qbers | None = None
    ebn0: float | None = None
    efficiency: float | None = None
    info_length: int | None = None
    block_length: int
    payload_length: int | None = None
    list_size: int
    escalation: tuple[int, ...] = ()
    check: str = "crc32"
    segment_length: int | None = None
    segment_check: str = "crc16"
    design: str | None = None
    precision: str | None = None
    engine: str | None = None
    frames: int = 10_000
    max_frame_errors: int | None = None

    def noise(self) -> Channel:
        """The channel.

        Raises:
            ConfigError: what the channel needs is missing.
        """
        if self.channel == "awgn" and self.ebn0 is not None:
            return AwgnChannel(self.ebn0)
        if self.channel == "bsc" and self.qber is not None:
            return BscChannel(self.qber)
        raise ConfigError(f"expected a qber for bsc or ebn0 for awgn, got none for {self.channel}")

    def code(self) -> PolarCode:
        """Design the code; takes up to seconds for long blocks that are not in the cache.

        Raises:
            ConfigError: lengths and efficiency do not fit together.
        """
        return design_for_channel(
            self.noise(),
            self.block_length,
            payload_length=self.payload_length,
            design=self.design,
            efficiency=self.efficiency,
            info_length=self.info_length,
            check=self.check,
            segment_length=self.segment_length,
            segment_check=self.segment_check,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleTable:
    """How tasks are given to ranks; None: planned.

    Args:
        kind: ``dynamic`` or ``static``.
        least_tasks: fewest tasks at a time, >= 1.
        most_tasks: most tasks at a time, >= least_tasks.
        divisor: of the tasks left over the ranks, >= 1.
    """

    kind: str = "dynamic"
    least_tasks: int | None = None
    most_tasks: int | None = None
    divisor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsTable:
    """What each rank may use.

    Args:
        memory_per_rank: bytes; None: found on the machine.
        threads_per_rank: None: the cores a rank may use.
        time_s: for the job; None: found on the machine, or none.
        stop_before_s: how long before the end of the time the job begins to stop.
        sync_interval_s: how often results are made durable at least.
    """

    memory_per_rank: int | None = None
    threads_per_rank: int | None = None
    time_s: float | None = None
    stop_before_s: float = 120.0
    sync_interval_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryTable:
    """What the job says about itself.

    Args:
        progress_interval_s: between lines of progress.
        trace: whether spans of every rank are recorded.
        trace_spans: most of them for a rank.
    """

    progress_interval_s: float = 10.0
    trace: bool = False
    trace_spans: int = 100_000


_SECONDS = ("time", "stop_before", "sync_interval", "progress_interval")
"""Keys whose fields have `_s` behind the name: a file says the unit in the value."""


@dataclass(frozen=True, kw_only=True)
class JobFile:
    """A whole job, valid and with absolute paths.

    Args:
        path: of the file.
        kind: ``reconcile`` or ``simulate``.
        keys: the keys to reconcile; None in a simulation.
        options: of the reconciliation, `seed` among them, without `threads`; the defaults in a simulation.
        simulate: the simulation; None in a reconciliation.
        seed: of the public random values (None: from the operating system), or of the simulation.
        out: directory for the reconciled keys; None: they are not written.
        force: accept an `out` that is not empty.
        store: experiment store; None: the run is not recorded.
        campaign: name of the campaign that the run belongs to, for its record.
        compact: keep the records of the run as Parquet.
        work: directory of shards, checkpoints and attempts; usually `usual_work`.
        schedule: how tasks are given to ranks.
        limits: what each rank may use.
        telemetry: what the job says about itself.
    """

    path: Path
    kind: JobKind
    keys: KeysTable | None = None
    options: ReconcileOptions = field(default_factory=ReconcileOptions)
    simulate: SimulateTable | None = None
    seed: int | None = None
    out: Path | None = None
    force: bool = False
    store: Path | None = None
    campaign: str | None = None
    compact: bool = False
    work: Path
    schedule: ScheduleTable = field(default_factory=ScheduleTable)
    limits: LimitsTable = field(default_factory=LimitsTable)
    telemetry: TelemetryTable = field(default_factory=TelemetryTable)

    def definition(self) -> dict[str, Any]:
        """What defines the results, as JSON values; a job that is resumed must have the same.

        Limits, schedule, telemetry, store, work directory and `force` are not in it. Numbers beyond 2^53 are texts.
        """
        document: dict[str, Any] = {"schema": SCHEMA, "kind": self.kind}
        if self.keys is not None:
            options = asdict(self.options)
            del options["threads"], options["seed"]
            document["keys"] = asdict(self.keys) | {
                name: os.fspath(getattr(self.keys, name)) for name in ("alice", "bob")
            }
            document["reconcile"] = options
            document["seeds"] = {"public_randomness": self.seed}
            document["output"] = {"dir": None if self.out is None else os.fspath(self.out)}
        if self.simulate is not None:
            document["simulate"] = asdict(self.simulate)
            document["seeds"] = {"simulation": self.seed}
        return plain(document, "job")

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON (RFC 8785) of `definition`, 64 hexadecimal digits."""
        return hashlib.sha256(canonical_json(self.definition())).hexdigest()


# --- reading ---------------------------------------------------------------------------------------------------------


def load_job(path: str | os.PathLike[str]) -> JobFile:
    """Read and check a job file.

    Args:
        path: of the file.

    Raises:
        ConfigError: there is no such file, it is no TOML, or fields are wrong; `problems` has all of them.
    """
    file = Path(path)
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{file}: expected a job file, got: {os.strerror(error.errno or 0)}; `caligo job init` writes one",
            path=os.fspath(file),
        ) from error
    if len(content) > _MOST_BYTES:
        raise ConfigError(
            f"{file}: expected a job file, got more than {_MOST_BYTES} bytes; is it a key file?",
            path=os.fspath(file),
        )
    text, wrong_at = "", content.find(b"\x00")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wrong_at = error.start
    if wrong_at >= 0:
        line = content.count(b"\n", 0, wrong_at) + 1
        raise ConfigError(
            f"{file}: expected a job file, which is UTF-8 text, got other bytes in line {line}; is it a key file?",
            path=os.fspath(file),
            line=line,
        )
    return parse_job(text, file.absolute().parent, os.fspath(file))


def parse_job(text: str, directory: str | os.PathLike[str], name: str = "job.toml") -> JobFile:
    """Check the text of a job file.

    Args:
        text: TOML.
        directory: that relative paths are relative to.
        name: of the file, for messages.

    Raises:
        ConfigError: it is no TOML (`line`, `column`), or fields are wrong; `problems` has all of them.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _no_toml(error, text, name) from None
    except (RecursionError, ValueError) as error:  # brackets without end; an integer of thousands of digits
        raise ConfigError(f"{name}: expected TOML, got {error}", path=name) from None
    reading = _Reading(document, Path(os.path.abspath(directory)), name)
    job = reading.job()
    if job is None:
        raise _wrong(name, reading.problems)
    return job


def usual_work(out: Path | None, file: Path) -> Path:
    """Where a job works if nobody says: beside its output, ".work" behind the name; else beside the job file.

    Args:
        out: directory of the output, absolute, if there is one.
        file: the job file.
    """
    if out is not None and out.name:
        return out.with_name(f"{out.name}.work")
    return file.with_name(f"{file.stem}.work")


def require_one_file_system(job: JobFile) -> None:
    """Refuse a work directory on another file system than the output: what is done there is renamed into place.

    Raises:
        ConfigError: it is.
    """
    if job.out is None:
        return
    (out, on_out), (work, on_work) = (_nearest(place) for place in (job.out, job.work))
    if on_out != on_work:
        raise ConfigError(
            f"work.dir: expected a directory on the file system of output.dir, got {work} beside {out}, which is on "
            "another; leave work.dir out",
            work=os.fspath(job.work),
            out=os.fspath(job.out),
        )


def _nearest(path: Path) -> tuple[Path, int]:
    """The nearest directory above that exists, and its device."""
    for place in (path, *path.parents):
        try:
            return place, place.stat().st_dev
        except OSError:
            continue
    raise ConfigError(f"expected a directory that can be reached, got {path}", path=os.fspath(path))


def _no_toml(error: tomllib.TOMLDecodeError, text: str, name: str) -> ConfigError:
    match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error), re.DOTALL)
    if match:
        reason, line, column = match[1], int(match[2]), int(match[3])
    else:
        lines = text.split("\n")
        reason, line, column = str(error).removesuffix(" (at end of document)"), len(lines), len(lines[-1]) + 1
    return ConfigError(
        f'{name}: line {line}, column {column}: expected TOML, got: {reason}; texts and paths are in "quotes", true '
        "and false are not",
        path=name,
        line=line,
        column=column,
    )


def _wrong(name: str, problems: Sequence[str]) -> ConfigError:
    if len(problems) == 1:
        message = f"{name}: {problems[0]}"
    else:
        message = "\n  ".join([f"{name}: {len(problems)} problems:", *problems])
    return ConfigError(message, path=name, problems=list(problems))


class _Reading:
    """One pass over a document; collects problems."""

    def __init__(self, document: Mapping[str, object], directory: Path, name: str) -> None:
        self._document = document
        self._directory = directory
        self._name = name
        self.problems: list[str] = []
        self._unread: set[str] = set()

    def job(self) -> JobFile | None:
        """The job; None where there are problems."""
        self._schema()
        kind = self._kind()
        self._unknown_tables(kind)
        tables = {name: self._table(table) for name, table in TABLES.items() if kind in table.jobs}
        self._exclusive_seeds(kind, tables["seeds"])
        seed = tables["seeds"]["public_randomness" if kind == "reconcile" else "simulation"]
        if kind == "simulate" and seed is None:
            seed = 1
        options = self._options(tables["reconcile"], seed) if kind == "reconcile" else ReconcileOptions()
        if kind == "simulate":
            self._simulation(tables["simulate"])
        self._schedule(tables["schedule"])
        self._time(tables["limits"])
        out = self._path(tables["output"]["dir"]) if kind == "reconcile" else None
        path = self._directory / Path(self._name).name
        work = self._work(tables["work"]["dir"], out, path)
        store = self._store(tables["store"])
        if self.problems:
            return None
        keys = simulate = None
        if kind == "reconcile":
            files = {name: cast(Path, self._path(tables["keys"][name])) for name in ("alice", "bob")}
            keys = KeysTable(**(tables["keys"] | files))
        else:
            simulate = SimulateTable(**tables["simulate"])
        return JobFile(
            path=path,
            kind=kind,
            keys=keys,
            options=options,
            simulate=simulate,
            seed=seed,
            out=out,
            force=kind == "reconcile" and tables["output"]["force"],
            store=store,
            campaign=tables["store"]["campaign"],
            compact=tables["store"]["compact"],
            work=work,
            schedule=ScheduleTable(**tables["schedule"]),
            limits=LimitsTable(**_with_units(tables["limits"])),
            telemetry=TelemetryTable(**_with_units(tables["telemetry"])),
        )

    def _problem(self, path: str, what: object) -> None:
        """One problem; a message that names its field already is not made to say it twice."""
        text = what.message if isinstance(what, CaligoError) else str(what)
        text = text.removeprefix(f"{path.rpartition('.')[2]}: ")
        self.problems.append(f"{path}: {text}")

    def _schema(self) -> None:
        if "schema" not in self._document:
            self._problem("schema", f"expected {SCHEMA}, got none; begin the file with schema = {SCHEMA}")
        else:
            got = self._document["schema"]
            if isinstance(got, bool) or got != SCHEMA:
                self._problem("schema", f"expected {SCHEMA}, got {describe(got)}; this caligo knows no other form")

    def _kind(self) -> JobKind:
        reconciles = [name for name in ("keys", "reconcile") if name in self._document]
        if "simulate" in self._document:
            if reconciles:
                found = " and ".join(f"[{name}]" for name in reconciles)
                self._problem("simulate", f"expected keys to reconcile or a simulation, got {found} too; make two jobs")
                return "reconcile"
            return "simulate"
        if "keys" not in self._document:
            self._problem("keys", "expected the table [keys] (or [simulate], for a simulation), got none")
        return "reconcile"

    def _unknown_tables(self, kind: JobKind) -> None:
        for name in self._document:
            if name == "schema" or (name in TABLES and kind in TABLES[name].jobs):
                continue
            if name in TABLES:
                if name not in ("keys", "reconcile", "simulate"):
                    self._problem(name, f"no place in a job that is to {kind}; leave the table out")
                continue
            homes = [table.name for table in TABLES.values() if any(key.name == name for key in table.keys)]
            if homes and not isinstance(self._document[name], dict):
                self._problem(name, f"no such key here; it belongs under [{'] or ['.join(homes)}]")
            else:
                self._problem(name, "no such table" + _meant(name, list(TABLES)))

    def _table(self, table: Table) -> dict[str, Any]:
        """Values of all keys of a table; None where there is a problem."""
        given = self._document.get(table.name, {})
        absent = table.name not in self._document
        if not isinstance(given, dict):
            self._problem(
                table.name, f"expected a table, got {describe(given)}; write [{table.name}] on a line of its own"
            )
            given, absent = {}, True
        known = {key.name: key for key in table.keys}
        for name in given:
            if name not in known:
                homes = [other.name for other in TABLES.values() if any(key.name == name for key in other.keys)]
                meant = f"; it belongs under [{'] or ['.join(homes)}]" if homes else _meant(name, list(known))
                self._problem(f"{table.name}.{name}", f"no such key{meant}")
        values = {}
        for name, key in known.items():
            values[name] = key.default
            if name in given:
                try:
                    values[name] = key.kind.read(given[name])
                except ConfigError as error:
                    self._problem(f"{table.name}.{name}", error)
                    self._unread.add(f"{table.name}.{name}")
            elif key.required and not absent:
                self._problem(f"{table.name}.{name}", f"expected {_article(key.kind.name)}, got none")
        return values

    def _exclusive_seeds(self, kind: JobKind, seeds: Mapping[str, Any]) -> None:
        other = "simulation" if kind == "reconcile" else "public_randomness"
        if seeds[other] is not None:
            self._problem(f"seeds.{other}", f"no place in a job that is to {kind}; leave it out")

    def _options(self, values: Mapping[str, Any], seed: int | None) -> ReconcileOptions:
        """The options; every field that they refuse is a problem, one after the other."""
        left = dict(values)
        for name, dependent in _DEPENDENT.items():
            if f"reconcile.{name}" in self._unread:
                left |= {other: OPTION_DEFAULTS[other] for other in dependent}
        while True:
            try:
                return replace(ReconcileOptions(**left), seed=seed)
            except ConfigError as error:
                at_fault = _field_at_fault(left, error)
                if at_fault is None:
                    self._problem("reconcile", error)
                    return ReconcileOptions()
                self._problem(f"reconcile.{at_fault}", error)
                left[at_fault] = OPTION_DEFAULTS[at_fault]
                for name in _DEPENDENT.get(at_fault, ()):
                    left[name] = OPTION_DEFAULTS[name]

    def _simulation(self, values: Mapping[str, Any]) -> None:
        given = self._document["simulate"]
        present = set(given) if isinstance(given, dict) else set()
        unread = {name for name in present if f"simulate.{name}" in self._unread}
        for name, error in _simulation_problems(values, present, unread):
            self._problem(f"simulate.{name}", error)

    def _schedule(self, values: Mapping[str, Any]) -> None:
        least, most = values["least_tasks"], values["most_tasks"]
        if least is not None and most is not None and least > most:
            self._problem("schedule.most_tasks", f"expected at least the {least} of least_tasks, got {most}")
        if values["kind"] == "static":
            for name in ("least_tasks", "most_tasks", "divisor"):
                if values[name] is not None:
                    self._problem(f"schedule.{name}", 'no place beside kind = "static", which gives equal shares')

    def _time(self, values: Mapping[str, Any]) -> None:
        time_s, before_s = values["time"], values["stop_before"]
        if time_s is not None and time_s <= before_s:
            self._problem(
                "limits.time",
                f"expected more than the {duration_text(before_s)} of limits.stop_before, got {duration_text(time_s)}; "
                "nothing could be done",
            )

    def _path(self, text: str | None) -> Path | None:
        if text is None:
            return None
        expanded = os.path.expanduser(text) if text.startswith("~") else text
        return Path(os.path.abspath(self._directory / expanded))

    def _work(self, asked: str | None, out: Path | None, file: Path) -> Path:
        if asked is None:
            return usual_work(out, file)
        work = cast(Path, self._path(asked))
        if out is not None and (work == out or work in out.parents or out in work.parents):
            self._problem(
                "work.dir",
                f"expected a directory apart from output.dir ({out}), got {work}; leave it out for {out}.work",
            )
        return work

    def _store(self, values: Mapping[str, Any]) -> Path | None:
        if not values["record"]:
            for name in ("dir", "campaign", "compact"):
                if values[name]:
                    self._problem(f"store.{name}", "no place beside record = false; leave one of them out")
            return None
        try:
            check_campaign(values["campaign"])
        except CaligoError as error:
            self._problem("store.campaign", error)
        if values["dir"] is not None:
            return self._path(values["dir"])
        try:
            return default_store()
        except CaligoError as error:
            self._problem("store.dir", error)
            return None


_DEPENDENT = {
    "strategy": (
        "wish", "segment_length", "segment_check", "escalation", "check", "target_fer", "on_failure", "retries",
    ),
    "on_failure": ("retries",),
    "list_size": ("escalation",),
    "check": ("escalation",),
}  # fmt: skip
"""Options that cannot be judged where another is wrong."""


def _field_at_fault(values: Mapping[str, Any], error: ConfigError) -> str | None:
    """The option that an error is about: the one it names, else one without which it does not come."""
    named = (error.message.partition(":")[0], str(error.fields.get("what")))
    for name in named:
        if name in values and values[name] != OPTION_DEFAULTS[name]:
            return name
    for name in values:
        if values[name] == OPTION_DEFAULTS[name]:
            continue
        try:
            ReconcileOptions(**{**values, name: OPTION_DEFAULTS[name]})
        except ConfigError as other:
            if other.message == error.message:
                continue
        return name
    return None


def _simulation_problems(
    values: Mapping[str, Any], present: set[str], unread: set[str]
) -> Iterator[tuple[str, object]]:
    """What is wrong with a simulation, field by field; fields that could not be read are judged no more."""

    def refused(check: Callable[[], object]) -> ConfigError | None:
        try:
            check()
        except ConfigError as error:
            return error
        return None

    channel, awgn = values["channel"], values["channel"] == "awgn"
    if "channel" not in unread:
        for name in ("qber", "efficiency") if awgn else ("ebn0",):
            if name in present:
                yield name, f'no place beside channel = "{channel}"; leave it out'
        for name in ("ebn0", "info_length") if awgn else ("qber",):
            if name not in present:
                yield name, f'expected one beside channel = "{channel}", got none'
        budgets = [name for name in ("efficiency", "info_length") if name in present]
        if not awgn and len(budgets) != 1:
            yield "efficiency", f"expected it or info_length, got {'both' if budgets else 'neither'}"
    usual = {"list_size": 1, "check": "crc32", "precision": "int8", "engine": None}
    length, segments = values["block_length"], values["segment_length"]
    checked: tuple[tuple[str, Callable[[], object]], ...] = (
        ("ebn0", lambda: AwgnChannel(values["ebn0"])),
        ("efficiency", lambda: validate_number(values["efficiency"], "efficiency", 0.0)),
        ("block_length", lambda: validate_block_length(length)),
        *((name, lambda name=name: validate_decoder(**(usual | {name: values[name]}))) for name in usual),
    )
    wrong = set()
    for name, check in checked:
        if values[name] is not None and (error := refused(check)) is not None:
            wrong.add(name)
            yield name, error
    if length is not None and "block_length" not in wrong:
        payload = values["payload_length"]
        if payload is not None and payload > length:
            yield "payload_length", f"expected at most the block_length {length}, got {payload}"
        sent = length if payload is None else min(payload, length)
        if values["info_length"] is not None and values["info_length"] > sent:
            yield "info_length", f"expected at most the {sent} bits that are sent, got {values['info_length']}"
        if segments is not None:
            error = refused(lambda: validate_segments(length, segments, values["segment_check"]))
            if error is not None:
                yield "segment_length", error
    if values["list_size"] is not None and not wrong & {"list_size", "check"} and "check" not in unread:
        error = refused(lambda: require_escalation(values["escalation"], values["list_size"], values["check"]))
        if error is not None:
            yield "escalation", error


def _with_units(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}_s" if name in _SECONDS else name: value for name, value in values.items()}


def _meant(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


# --- writing ---------------------------------------------------------------------------------------------------------


def job_text(job: JobFile) -> str:
    """A commented job file: every table and key, defaults commented out; `parse_job` reads it back to the same job.

    Args:
        job: what to write; paths are written absolute, so that the file may be moved.

    Raises:
        ConfigError: a path is not Unicode.
    """
    lines = [
        "# A caligo job. `caligo job check` checks it, `caligo plan` says what it needs, `caligo run` runs it.",
        "# Relative paths are relative to the directory of this file. Lines after #: are defaults or examples.",
        f"schema = {SCHEMA}",
    ]
    for table in TABLES.values():
        if job.kind not in table.jobs:
            continue
        values = _values(job, table.name)
        lines += ["", f"[{table.name}]  # {table.help}"]
        for key in table.keys:
            if (key.name == "simulation" and job.kind == "reconcile") or (
                key.name == "public_randomness" and job.kind == "simulate"
            ):
                continue
            value = values[key.name]
            lines.append(f"# {key.help}")
            if value is not None and (key.required or value != key.default):
                lines.append(f"{key.name} = {key.kind.write(value)}")
            else:
                lines.append(f"#: {key.name} = {key.kind.write(key.example if key.default is None else key.default)}")
    return "\n".join(lines) + "\n"


def _values(job: JobFile, table: str) -> dict[str, Any]:
    """The values of a table's keys; None for an absent one."""
    if table == "reconcile":
        return asdict(job.options)
    if table == "seeds":
        return {"public_randomness": job.seed, "simulation": None if job.seed == 1 else job.seed}
    if table == "output":
        return {"dir": job.out, "force": job.force}
    if table == "store":
        named = job.store if job.store is not None and job.store != default_store() else None
        return {
            "dir": named,
            "record": job.store is not None,
            "campaign": job.campaign,
            "compact": job.compact,
        }
    if table == "work":
        return {"dir": None if job.work == usual_work(job.out, job.path) else job.work}
    values = asdict(getattr(job, table))
    return {
        name.removesuffix("_s") if name.removesuffix("_s") in _SECONDS else name: value
        for name, value in values.items()
    }

"""The form of a job file: its tables, their keys, and what may stand behind each.

Covers: reading a value, writing it so that it reads back, the table of tables. Does not cover: what a value means
beside others, and making a job of them (:mod:`.job_file`). `specs/job-file.md` says the same in words.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

from caligo.channel import Qbers, validate_qbers
from caligo.errors import ConfigError
from caligo.jobs.options import ReconcileOptions
from caligo.keys import FORMATS
from caligo.quantities import (
    LEAST_MEMORY_BYTES,
    MAX_DURATION_S,
    duration_text,
    parse_count,
    parse_duration,
    parse_size,
    size_text,
)

__all__ = ["OPTION_DEFAULTS", "TABLES", "JobKind", "Key", "Table", "ValueKind", "describe"]

_TOML_INTEGER = (1 << 63) - 1
"""Other readers of TOML take no larger one."""

JobKind = Literal["reconcile", "simulate"]


@dataclass(frozen=True)
class ValueKind:
    """One kind of value.

    Args:
        name: for the specification.
        read: TOML value to value; raises a `ConfigError` that says what was expected and what came.
        write: value to TOML text that `read` takes back to it.
    """

    name: str
    read: Callable[[object], Any]
    write: Callable[[Any], str]


def describe(value: object) -> str:
    """A TOML value for a message; never long."""
    names = {bool: "boolean", int: "integer", float: "number", str: "text", list: "array", dict: "table"}
    kind = names.get(type(value), "date or time")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
    text = repr(value) if isinstance(value, str) else str(value)
    return f"the {kind} {text if len(text) <= 60 else text[:57] + '...'}"


def _refuse(expected: str, value: object) -> ConfigError:
    return ConfigError(f"expected {expected}, got {describe(value)}", expected=expected)


def _text(value: str) -> str:
    """A basic TOML string."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError(
            f"expected text that is Unicode, got {value!r}; a TOML file cannot hold it: rename the file or directory",
            got=repr(value),
        ) from None
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", escaped) + '"'


def _number_text(value: float) -> str:
    text = repr(float(value))
    return text if re.search(r"[.e]", text) else text + ".0"


def _read_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _refuse("a finite number", value)
    return float(value)


def _read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _refuse("true or false", value)
    return value


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise _refuse('text, in "quotes"', value)
    return value


def _read_path(value: object) -> str:
    if not isinstance(value, str) or not value or "\x00" in value:
        raise _refuse('a path, in "quotes"', value)
    return value


def _counts(least: int = 0, most: int | None = None) -> ValueKind:
    bounds = f"from {least}" if most is None else f"from {least} to {most}"

    def read(value: object) -> int:
        number = value
        if isinstance(value, str):
            number = parse_count(value)
        elif isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
            number = int(value)
        if isinstance(number, bool) or not isinstance(number, int):
            raise _refuse('a whole number (1048576, "2^20" or "1e6")', value)
        if number < least or (most is not None and number > most):
            raise _refuse(f"a whole number {bounds}", value)
        return number

    def write(value: int) -> str:
        if value >= 1 << 10 and value & (value - 1) == 0:
            return f'"2^{value.bit_length() - 1}"'
        return str(value) if value <= _TOML_INTEGER else f'"{value}"'

    return ValueKind(f"integer {bounds}", read, write)


def _durations(least: float) -> ValueKind:
    bound = f"above {duration_text(0)}" if least > 0 else f"from {duration_text(0)}"

    def read(value: object) -> float:
        if isinstance(value, str):
            seconds = parse_duration(value)
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_DURATION_S:
            raise _refuse('a time ("90s", "15m", "23h50m", or seconds)', value)
        else:
            seconds = float(value)
        if seconds < least:
            raise _refuse(f"a time {bound}", value)
        return seconds

    return ValueKind(f"time {bound}", read, lambda value: _text(duration_text(value)))


def _read_size(value: object) -> int:
    if isinstance(value, str):
        size = parse_size(value)
    elif isinstance(value, float) and value.is_integer():
        size = int(value)
    else:
        size = value if isinstance(value, int) and not isinstance(value, bool) else -1
    if not LEAST_MEMORY_BYTES <= size <= 1 << 60:
        raise _refuse('a size of at least "1MiB" ("2GiB", "512MiB", or bytes)', value)
    return size


def _read_qbers(value: object) -> Qbers:
    if isinstance(value, list):
        if len(value) != 2:
            raise ConfigError(
                f"expected an error rate, or two as [0.049, 0.024], where Bob has 0 and where he has 1, got an array "
                f"of {len(value)}"
            )
        return validate_qbers(tuple(_read_number(rate) for rate in value))
    return validate_qbers(_read_number(value))


def _write_qbers(value: Qbers) -> str:
    if isinstance(value, tuple):
        return f"[{_number_text(value[0])}, {_number_text(value[1])}]"
    return _number_text(value)


def _read_sizes(value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise _refuse("an array of list sizes, as [1, 8], or [] for none", value)
    return tuple(COUNT.read(size) for size in value)


COUNT = _counts(1)
COUNT_OR_ZERO = _counts(0)
SEED = _counts(0, (1 << 64) - 1)
NUMBER = ValueKind("number", _read_number, _number_text)
FLAG = ValueKind("true or false", _read_flag, lambda value: "true" if value else "false")
TEXT = ValueKind("text", _read_text, _text)
PATH = ValueKind("path", _read_path, lambda value: _text(os.fspath(value)))
TIME = _durations(1e-3)
TIME_OR_ZERO = _durations(0.0)
SIZE = ValueKind("size", _read_size, lambda value: _text(size_text(value)))
QBERS = ValueKind("number, or array of two", _read_qbers, _write_qbers)
SIZES = ValueKind("array of integers", _read_sizes, lambda value: f"[{', '.join(map(str, value))}]")


def _choice(*names: str) -> ValueKind:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in names:
            close = difflib.get_close_matches(value, names, n=1) if isinstance(value, str) else []
            raise ConfigError(
                f"expected {' or '.join(map(repr, names))}, got {describe(value)}"
                + (f"; did you mean {close[0]!r}?" if close else "")
            )
        return value

    return ValueKind(", ".join(f"`{name}`" for name in names), read, _text)


@dataclass(frozen=True)
class Key:
    """One key of a table.

    Args:
        name: of the key.
        kind: of its value.
        help: one line: what it means, and what holds where it is absent and there is no default.
        default: the value of an absent key; None: absence means something of its own, which `help` says.
        example: a value to show where there is no default.
        required: it may not be absent.
    """

    name: str
    kind: ValueKind
    help: str
    default: Any = None
    example: Any = None
    required: bool = False


@dataclass(frozen=True)
class Table:
    """One table of a job file.

    Args:
        name: of the table.
        help: one line.
        keys: what may stand in it.
        jobs: the kinds of jobs it belongs to.
    """

    name: str
    help: str
    keys: tuple[Key, ...]
    jobs: tuple[JobKind, ...] = ("reconcile", "simulate")


OPTION_DEFAULTS = {item.name: None if item.default is MISSING else item.default for item in fields(ReconcileOptions)}


def _option(name: str, kind: ValueKind, help: str, example: Any = None) -> Key:
    return Key(name, kind, help, default=OPTION_DEFAULTS[name], example=example)


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "keys",
            "The two sifted key files.",
            (
                Key("alice", PATH, "Alice's key file: the reference.", required=True, example="alice.bin"),
                Key(
                    "bob",
                    PATH,
                    "Bob's key file, of the same length: it is corrected.",
                    required=True,
                    example="bob.bin",
                ),
                Key(
                    "format",
                    _choice(*FORMATS),
                    "packed, npy, qcrypto or ait. Absent: by the files' names and first bytes, never ait.",
                    example="packed",
                ),
                Key(
                    "bit_order", _choice("little", "big"), "Which bit of a byte in a packed file comes first.", "little"
                ),
                Key(
                    "key_bits",
                    COUNT,
                    "Length of the keys when it is not a multiple of 8. Absent: all bits of the files.",
                    example=1_000_000,
                ),
            ),
            jobs=("reconcile",),
        ),
        Table(
            "reconcile",
            "Strategy and code, as the options of `caligo reconcile`.",
            (
                _option(
                    "qber",
                    QBERS,
                    "Error rate to design for; or two, where Bob has 0 and where he has 1. Absent: estimated.",
                    0.02,
                ),
                _option("asymmetric", TEXT, "auto: design for two error rates where the sample tells them apart; off."),
                _option(
                    "sample_bits",
                    COUNT,
                    "Positions to sample where there is no qber. Absent: (key bits)^(2/3), at most 10^6.",
                    1_000_000,
                ),
                _option(
                    "block_length",
                    COUNT,
                    "Bits in a block, a power of two. Absent: by the length of the key, 2^16 to 2^20.",
                    1 << 20,
                ),
                _option("list_size", COUNT, "Paths the decoder keeps: 1, 2, 4, 8, 16 or 32."),
                _option(
                    "efficiency",
                    NUMBER,
                    "Syndrome and checks over the Shannon limit at the design QBER. Absent: what target_fer needs.",
                    1.2,
                ),
                _option(
                    "target_fer",
                    NUMBER,
                    "Disclose just enough that this share of the blocks fails. Absent: 0.01, or efficiency decides.",
                    0.01,
                ),
                _option("check", TEXT, "Check value disclosed with each block: none, crc16, crc24 or crc32."),
                _option("strategy", TEXT, "one-way, segmented, incremental or interactive."),
                _option(
                    "wish",
                    TEXT,
                    "rounds, balanced or leakage, for a strategy that asks back. Absent: its own choice.",
                    "balanced",
                ),
                _option(
                    "segment_length",
                    COUNT,
                    "Positions in a segment of a block, for segmented, a power of two. Absent: 2^16.",
                    1 << 16,
                ),
                _option(
                    "segment_check",
                    TEXT,
                    "Check value disclosed with each segment, for segmented. Absent: crc16.",
                    "crc16",
                ),
                _option(
                    "escalation",
                    SIZES,
                    "List sizes tried first; the next where no candidate has the check. Absent: the strategy's own.",
                    (1, 8),
                ),
                _option("max_rounds", COUNT_OR_ZERO, "Most requests for one block; it is given up before more."),
                _option("max_block_leakage_bits", COUNT_OR_ZERO, "Most bits disclosed for one block. 0: no cap."),
                _option(
                    "max_leakage_bits", COUNT_OR_ZERO, "Most bits disclosed in all; the job ends before. 0: no cap."
                ),
                _option("on_failure", TEXT, "discard a block that fails, or retry: Alice discloses more of it."),
                _option(
                    "retries", COUNT, 'Most further attempts for a block, with on_failure = "retry". Absent: 2.', 2
                ),
                _option(
                    "follow_drift",
                    FLAG,
                    "Design each stretch for the error rate of the blocks before it. Absent: where it is estimated.",
                    True,
                ),
                _option("interleave", FLAG, "Permute both keys first, publicly, to spread bursts of errors."),
                _option("precision", TEXT, "Arithmetic of the decoder: int8 or f32."),
                _option("engine", TEXT, "Decoder engine. Absent: the fastest that each CPU has.", "portable"),
            ),
            jobs=("reconcile",),
        ),
        Table(
            "simulate",
            "A frame error rate, as the options of `caligo simulate`.",
            (
                Key(
                    "channel",
                    _choice("bsc", "awgn"),
                    "bsc, binary symmetric, or awgn, BPSK over Gaussian noise.",
                    "bsc",
                ),
                Key(
                    "qber",
                    QBERS,
                    "Error rate of the BSC; or two, where Bob has 0 and where he has 1.",
                    example=0.02,
                ),
                Key("ebn0", NUMBER, "Eb/N0 per information bit in dB, for awgn. With info_length.", example=1.5),
                Key("efficiency", NUMBER, "Leakage over the Shannon limit, for bsc.", example=1.2),
                Key("info_length", COUNT, "Information bits without the checks.", example=1024),
                Key("block_length", COUNT, "Bits in a block, a power of two.", required=True, example=1 << 16),
                Key(
                    "payload_length", COUNT, "Key bits in a block; the rest is shortened. Absent: all.", example=60_000
                ),
                Key("list_size", COUNT, "Paths the decoder keeps: 1, 2, 4, 8, 16 or 32.", required=True, example=32),
                Key("escalation", SIZES, "List sizes tried first, increasing.", ()),
                Key("check", TEXT, "Check value of a block: none, crc16, crc24 or crc32.", "crc32"),
                Key(
                    "segment_length",
                    COUNT,
                    "Positions in a segment of a block, a power of two. Absent: the block is not cut.",
                    example=1 << 15,
                ),
                Key(
                    "segment_check",
                    _choice("crc16", "crc24", "crc32"),
                    "Check value of a segment, if there are any.",
                    "crc16",
                ),
                Key(
                    "design",
                    _choice("de", "ga", "nr", "pw"),
                    "de, ga, nr or pw. Absent: de for bsc, ga for awgn.",
                    example="de",
                ),
                Key("precision", TEXT, "int8 or f32. Absent: int8 for bsc, f32 for awgn.", example="int8"),
                Key("engine", TEXT, "Decoder engine. Absent: the fastest that each CPU has.", example="portable"),
                Key("frames", COUNT, "Most frames to simulate.", 10_000),
                Key(
                    "max_frame_errors",
                    COUNT,
                    "Stop at so many frame errors, in frame order. Absent: simulate all frames.",
                    example=100,
                ),
            ),
            jobs=("simulate",),
        ),
        Table(
            "seeds",
            "Numbers that make a job repeatable.",
            (
                Key(
                    "public_randomness",
                    SEED,
                    "Tests only, not for keys in use: sampled positions and hash key from this. Absent: drawn once.",
                    example=1,
                ),
                Key("simulation", SEED, "Keys and noise of a simulation. Absent: 1.", example=1),
            ),
        ),
        Table(
            "output",
            "Where the reconciled keys go.",
            (
                Key("dir", PATH, "Receives alice.bin and bob.bin. Absent: they are not written.", example="reconciled"),
                Key("force", FLAG, "Accept a directory that is not empty, and replace the two files in it.", False),
            ),
            jobs=("reconcile",),
        ),
        Table(
            "store",
            "The experiment store.",
            (
                Key("dir", PATH, "Absent: $CALIGO_STORE, else $XDG_DATA_HOME/caligo/store.", example="store"),
                Key("record", FLAG, "Record the run there.", True),
                Key("campaign", TEXT, "Campaign that the run belongs to. Absent: none.", example="spring"),
                Key("compact", FLAG, "Keep the records as Parquet; needs caligo[parquet].", False),
            ),
        ),
        Table(
            "work",
            "Where the job keeps shards, checkpoints and attempts until it is done.",
            (
                Key(
                    "dir",
                    PATH,
                    'On the same file system as output.dir. Absent: output.dir with ".work" behind its name.',
                    example="reconciled.work",
                ),
            ),
        ),
        Table(
            "schedule",
            "How blocks are given to ranks; the results do not depend on it.",
            (
                Key(
                    "kind",
                    _choice("dynamic", "static"),
                    "dynamic: as ranks come free; static: equal shares.",
                    "dynamic",
                ),
                Key("least_tasks", COUNT, "Fewest tasks given to a rank at a time. Absent: planned.", example=1),
                Key("most_tasks", COUNT, "Most tasks given to a rank at a time. Absent: planned.", example=256),
                Key(
                    "divisor",
                    COUNT,
                    "A rank is given (tasks left) / (divisor x ranks) at a time. Absent: planned.",
                    example=4,
                ),
            ),
        ),
        Table(
            "limits",
            "What each rank may use, and for how long.",
            (
                Key(
                    "memory_per_rank",
                    SIZE,
                    "Memory. Absent: the smallest limit of control group, Slurm, ulimit and machine.",
                    example=2 << 30,
                ),
                Key(
                    "threads_per_rank",
                    COUNT,
                    "Threads. Absent: all cores in one process, the task's CPUs or 1 for a rank.",
                    example=1,
                ),
                Key(
                    "time", TIME, "Time for one start. Absent: what Slurm says of a rank, else none.", example=85_800.0
                ),
                Key(
                    "stop_before",
                    TIME_OR_ZERO,
                    "Begin to stop so long before the time is over, at most a quarter of it.",
                    120.0,
                ),
                Key("sync_interval", TIME_OR_ZERO, "Make what is done durable so often, at least.", 30.0),
            ),
        ),
        Table(
            "telemetry",
            "What the job says about itself.",
            (
                Key("progress_interval", TIME, "One line of progress so often.", 10.0),
                Key("trace", FLAG, "Record spans of every rank, for Perfetto.", False),
                Key("trace_spans", COUNT, "Most spans that a rank keeps.", 100_000),
            ),
        ),
    )
}
"""Every table, in the order of a written file; the form is specified in `specs/job-file.md`."""

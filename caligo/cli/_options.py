"""Options that several commands share: one spelling, one help text, one meaning.

Covers: names, types, defaults. Does not cover: judgement. A value that is a number but makes no sense (a QBER of 0.7,
a block length of 1000) is refused by the library with a `ConfigError`, so Python users get the same answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    _IntegerType = click.ParamType[int]
    _NumberType = click.ParamType[float]
    _RatesType = click.ParamType[float | tuple[float, float]]
else:
    _IntegerType = _NumberType = _RatesType = click.ParamType  # not subscriptable in click 8.1

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]


class Count(_IntegerType):
    """A whole number: `1048576`, `1_048_576`, `2^20` or `1e6`."""

    name = "count"

    def __init__(self, minimum: int = 0, maximum: int | None = None) -> None:
        self.minimum = minimum
        self.maximum = maximum

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number = value if isinstance(value, int) else self._parse(str(value))
        if number is None:
            self.fail(f"{value!r} is not a whole number (write 1048576, 2^20 or 1e6)", param, ctx)
        if number < self.minimum or (self.maximum is not None and number > self.maximum):
            bounds = f"at least {self.minimum}" if self.maximum is None else f"{self.minimum} to {self.maximum}"
            self.fail(f"{value} is out of range: expected {bounds}", param, ctx)
        return number

    @staticmethod
    def _parse(text: str) -> int | None:
        from caligo.errors import ConfigError
        from caligo.quantities import parse_count

        try:
            return parse_count(text)
        except ConfigError:
            return None


class Size(_IntegerType):
    """Memory: `2GiB`, `512MiB`, `2e9`; at least 1 MiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from caligo.errors import ConfigError
        from caligo.quantities import LEAST_MEMORY_BYTES, parse_size

        try:
            size = value if isinstance(value, int) else parse_size(str(value))
        except ConfigError as error:
            self.fail(error.message, param, ctx)
        if size < LEAST_MEMORY_BYTES:
            self.fail(f"{value} is {size} bytes: expected at least 1MiB; name a unit, as in 2GiB", param, ctx)
        return size


class Duration(_NumberType):
    """A time in seconds: `90s`, `15m`, `23h50m`, `1d`, or a bare number of seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from caligo.errors import ConfigError
        from caligo.quantities import parse_duration

        try:
            return value if isinstance(value, float) else parse_duration(str(value))
        except ConfigError as error:
            self.fail(error.message, param, ctx)


class Rates(_RatesType):
    """An error rate, or two where Bob's 0 and his 1 differ: `0.02` or `0.049,0.024`."""

    name = "rates"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | tuple[float, float]:
        if not isinstance(value, str):
            return cast("float | tuple[float, float]", value)
        try:
            rates = [float(part) for part in value.split(",")]
        except ValueError:
            rates = []
        if len(rates) == 2:
            return rates[0], rates[1]
        if len(rates) != 1:
            self.fail(f"{value!r} is not an error rate, or two (write 0.02, or 0.049,0.024)", param, ctx)
        return rates[0]


def memory_per_rank_option(*, help: str) -> Decorator[Any]:
    """Adds `memory_per_rank: int | None`, bytes."""
    return click.option("--memory-per-rank", metavar="SIZE", type=Size(), default=None, help=help)


def available_threads() -> int:
    """Cores that this process may run on (its affinity, which Slurm and containers set)."""
    return len(os.sched_getaffinity(0))


def _store_directory(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path:
    if value is not None:
        return value
    from caligo.store import default_store

    store: Path = default_store()
    return store


def json_option(function: Command) -> Command:
    """Adds `as_json: bool`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")(function)


def store_option(function: Command) -> Command:
    """Adds `store: Path`, never None: `--store`, else $CALIGO_STORE, else $XDG_DATA_HOME/caligo/store."""
    return click.option(
        "--store",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        callback=_store_directory,
        help="Experiment store.  [default: $CALIGO_STORE, else $XDG_DATA_HOME/caligo/store]",
    )(function)


def record_options(function: Command) -> Command:
    """Adds `campaign: str | None` and `compact: bool`: how the run is recorded."""
    campaign = click.option(
        "--campaign", metavar="NAME", help="Campaign that the run belongs to, for its record.  [default: none]"
    )
    compact = click.option("--compact", is_flag=True, help="Keep the records as Parquet; needs caligo[parquet].")
    return campaign(compact(function))


def threads_option(function: Command) -> Command:
    """Adds `threads: int`, at least 1."""
    return click.option(
        "--threads",
        "-t",
        metavar="T",
        type=Count(minimum=1, maximum=4096),
        default=available_threads,
        show_default="all cores this process may use",
        help="Worker threads, each with its own decoder.",
    )(function)


def _presence(default: object, required: bool) -> dict[str, Any]:
    """The settings of an option that is required, or has a default; an explicit None would count as a value given."""
    return {"required": True} if required else {"default": default, "show_default": default is not None}


def seed_option(*, default: int | None, help: str, required: bool = False) -> Decorator[Any]:
    """Adds `seed: int` (or None when `default` is None), 0 to 2^64 - 1."""
    return click.option("--seed", metavar="S", type=Count(maximum=2**64 - 1), help=help, **_presence(default, required))


def engine_option(function: Command) -> Command:
    """Adds `engine: str | None`; None lets the decoder choose the fastest the CPU has."""
    return click.option(
        "--engine",
        metavar="NAME",
        default=None,
        help="Decoder engine (`caligo doctor` lists them).  [default: the fastest this CPU has]",
    )(function)


def force_option(function: Command) -> Command:
    """Adds `force: bool`."""
    return click.option("--force", is_flag=True, help="Write into --out even if it is not empty.")(function)


def out_option(*, required: bool = False, help: str = "Directory for the results.") -> Decorator[Any]:
    """Adds `out: Path` (or None when it is not required)."""
    return click.option(
        "--out", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), required=required, help=help
    )


def asymmetric_option(function: Command) -> Command:
    """Adds `asymmetric: str`."""
    return click.option(
        "--asymmetric",
        type=click.Choice(["auto", "off"]),
        default="auto",
        show_default=True,
        help="Two error rates, by Bob's bit, where the sample tells them apart; then only leakage both ways counts.",
    )(function)


def format_option(
    *names: str, help: str = "Format of the key files.  [default: by name and content; ait has to be named]"
) -> Decorator[Any]:
    """Adds `format_name: str | None`, one of the key formats (or a parameter of another name, with its own flag)."""
    flags = names or ("--format", "format_name")
    return click.option(*flags, type=click.Choice(["packed", "npy", "qcrypto", "ait"]), default=None, help=help)


def bit_order_option(function: Command) -> Command:
    """Adds `bit_order: "little" | "big"`."""
    return click.option(
        "--bit-order",
        type=click.Choice(["little", "big"]),
        default="little",
        show_default=True,
        help="Which bit of a byte in a packed key file comes first.",
    )(function)


def key_bits_option(function: Command) -> Command:
    """Adds `key_bits: int | None`."""
    return click.option(
        "--key-bits",
        metavar="BITS",
        type=Count(minimum=1),
        default=None,
        help="Length of the keys when it is not a multiple of 8.  [default: all bits of the file]",
    )(function)


def block_length_option(*, default: int | None = None, required: bool = False) -> Decorator[Any]:
    """Adds `block_length: int`, a power of two (judged by the library)."""
    return click.option(
        "--block-length",
        "-N",
        metavar="N",
        type=Count(minimum=1),
        help="Bits in a block, a power of two (2^20 or 1048576).",
        **_presence(default, required),
    )


def list_size_option(*, default: int | None = None, required: bool = False) -> Decorator[Any]:
    """Adds `list_size: int`."""
    return click.option(
        "--list-size",
        "-L",
        metavar="L",
        type=Count(minimum=1),
        help="Paths the decoder keeps: 1, 2, 4, 8, 16 or 32.",
        **_presence(default, required),
    )


def check_option(*, default: str = "crc32") -> Decorator[Any]:
    """Adds `check: str`."""
    return click.option(
        "--check",
        type=click.Choice(["none", "crc16", "crc24", "crc32"]),
        default=default,
        show_default=True,
        help="Check value disclosed with each block.",
    )


def strategy_options(function: Command) -> Command:
    """Adds `strategy: str` and `wish: str | None`."""
    for decorate in (
        click.option(
            "--wish",
            type=click.Choice(["rounds", "balanced", "leakage"]),
            default=None,
            help="What matters most to a strategy that asks back: few requests, a balance, or little disclosure.",
        ),
        click.option(
            "--strategy",
            type=click.Choice(["one-way", "segmented", "incremental", "interactive"]),
            default="one-way",
            show_default=True,
            help="How they talk. segmented: a check for each segment of a block, faster for long blocks; incremental: "
            "Bob asks for more until he has the block; interactive: he asks for what single segments lack, which "
            "discloses least.",
        ),
    ):
        function = decorate(function)
    return function


def cap_options(function: Command) -> Command:
    """Adds `max_rounds: int`, `max_block_leakage: int` and `max_leakage: int`."""
    for decorate in (
        click.option(
            "--max-leakage",
            metavar="BITS",
            type=Count(),
            default=0,
            help="Most bits disclosed in all; the work ends before more.  [default: no cap]",
        ),
        click.option(
            "--max-block-leakage",
            metavar="BITS",
            type=Count(),
            default=0,
            help="Most bits disclosed for one block; it is given up before more.  [default: no cap]",
        ),
        click.option(
            "--max-rounds",
            metavar="R",
            type=Count(),
            default=100,
            show_default=True,
            help="Most requests for one block; it is given up before more.",
        ),
    ):
        function = decorate(function)
    return function


def segment_options(function: Command) -> Command:
    """Adds `segment_length: int | None` and `segment_check: str | None`."""
    function = click.option(
        "--segment-check",
        type=click.Choice(["crc16", "crc24", "crc32"]),
        default=None,
        help="Check value disclosed with each segment.  [default: crc16]",
    )(function)
    return click.option(
        "--segment-length",
        metavar="S",
        type=Count(minimum=1),
        default=None,
        help="Positions in a segment of a block, a power of two.",
    )(function)


def retry_options(function: Command) -> Command:
    """Adds `on_failure: str` and `retries: int | None`."""
    function = click.option(
        "--retries",
        metavar="K",
        type=Count(minimum=1),
        default=None,
        help="Most further attempts for a block, with --on-failure retry.  [default: 2]",
    )(function)
    return click.option(
        "--on-failure",
        type=click.Choice(["discard", "retry"]),
        default="discard",
        show_default=True,
        help="What becomes of a block that cannot be decoded; retry: Alice discloses more of it.",
    )(function)


def _sizes(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    if value == "none":
        return ()
    return tuple(Count(minimum=1).convert(part, param, ctx) for part in value.split(","))


def escalation_option(function: Command) -> Command:
    """Adds `escalation: tuple[int, ...] | None`."""
    return click.option(
        "--escalation",
        metavar="L,L",
        default=None,
        callback=_sizes,
        help="List sizes tried first, as 1,8; the next where no candidate has the check. Or none.",
    )(function)


def precision_option(*, default: str | None = "int8") -> Decorator[Any]:
    """Adds `precision: str`; a default of None leaves the choice to the command."""
    return click.option(
        "--precision",
        type=click.Choice(["int8", "f32"]),
        default=default,
        show_default=default is not None,
        help="Arithmetic of the decoder: int8 is fast, f32 takes soft values as they are.",
    )

"""The options by which `simulate` and `bench decoder` name a channel and a code, and what they demand together.

Covers: `--channel`, `--qber`, `--efficiency`, `--ebn0`, `--info-length`, `--design`. Does not cover: the ranges of
their values, which the library judges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from caligo.cli._options import Command, Count, Rates

if TYPE_CHECKING:
    from caligo.simulation import Channel


def channel_options(function: Command) -> Command:
    """Adds `channel`, `qber`, `efficiency`, `ebn0`, `info_length` and `design`; :func:`require_channel` judges them."""
    for option in reversed(
        (
            click.option(
                "--channel",
                type=click.Choice(["bsc", "awgn"]),
                default="bsc",
                show_default=True,
                help="Binary symmetric, or BPSK over additive white Gaussian noise.",
            ),
            click.option(
                "--qber",
                metavar="Q",
                type=Rates(),
                help="Error rate of the BSC, as 0.02; or two, where Bob has 0 and where he has 1.",
            ),
            click.option(
                "--efficiency",
                metavar="F",
                type=float,
                help="Leakage (syndrome and check) over the Shannon limit (BSC).",
            ),
            click.option("--ebn0", metavar="DB", type=float, help="Eb/N0 per information bit in dB (AWGN)."),
            click.option(
                "--info-length",
                "-K",
                metavar="K",
                type=Count(minimum=1),
                help="Information bits without the check.",
            ),
            click.option(
                "--design",
                type=click.Choice(["de", "ga", "nr", "pw"]),
                default=None,
                help="Density evolution, Gaussian approximation, 5G NR sequence, polarisation weight.  "
                "[default: de for bsc, ga for awgn]",
            ),
        )
    ):
        function = option(function)
    return function


def require_channel(
    channel: str,
    qber: float | tuple[float, float] | None,
    efficiency: float | None,
    ebn0: float | None,
    info_length: int | None,
) -> Channel:
    """The channel that the options name.

    Raises:
        click.UsageError: options are missing or contradict each other.
        ConfigError: a value outside its range.
    """
    from caligo.simulation import AwgnChannel, BscChannel

    if channel == "awgn":
        if qber is not None or efficiency is not None:
            raise click.UsageError(
                "--qber and --efficiency belong to --channel bsc; AWGN takes --ebn0 and --info-length."
            )
        if ebn0 is None or info_length is None:
            raise click.UsageError("--channel awgn needs --ebn0 and --info-length.")
        return AwgnChannel(ebn0)
    if ebn0 is not None:
        raise click.UsageError("--ebn0 belongs to --channel awgn; the BSC takes --qber.")
    if qber is None or (efficiency is None) == (info_length is None):
        raise click.UsageError("--channel bsc needs --qber, and one of --efficiency and --info-length.")
    return BscChannel(qber)

"""What `caligo alice` and `caligo bob` share: all but their names.

Covers: options, the transport and the authentication they name, the printed report. Does not cover: the job
(:func:`caligo.jobs.reconcile_party`).
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from caligo.cli._options import (
    Count,
    Rates,
    asymmetric_option,
    bit_order_option,
    block_length_option,
    cap_options,
    check_option,
    engine_option,
    escalation_option,
    format_option,
    json_option,
    key_bits_option,
    list_size_option,
    out_option,
    precision_option,
    retry_options,
    segment_options,
    store_option,
    strategy_options,
    threads_option,
)
from caligo.cli._output import (
    account_text,
    efficiency_text,
    emit_json,
    format_bytes,
    format_seconds,
    format_value,
    many,
    message,
    outcome_text,
    print_facts,
    print_leakage,
    progress,
    talk_text,
    warn,
)
from caligo.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from caligo.jobs import PartyReport
    from caligo.reconciliation.authentication import Authentication
    from caligo.transports import Transport

_DAY_S = 86_400.0

_HELP = {
    "alice": """Reconcile the sifted key in the file KEY as Alice: her key is the reference.

    Bob runs `caligo bob` with his key and the same options. Both take the same steps and end with the same account;
    each writes its own reconciled key. One side listens and the other connects, whoever is Alice; or both use a
    directory.
    """,
    "bob": """Reconcile the sifted key in the file KEY as Bob: his key is corrected to Alice's.

    Alice runs `caligo alice` with her key and the same options. Decoding happens here, on all cores this process may
    use. One side listens and the other connects, whoever is Bob; or both use a directory.
    """,
}

_EPILOG = """
\b
For example, with the same secret on both machines:
  (umask 077 && head -c 32 /dev/urandom > psk)
  caligo alice sifted.bin --listen 0.0.0.0:7117 --psk psk --out reconciled
  caligo bob sifted.bin --connect alice:7117 --psk psk --out reconciled
"""


def party_command(role: Literal["alice", "bob"]) -> click.Command:
    """The command of one side.

    Args:
        role: which.
    """

    @click.command(role, help=_HELP[role], epilog=_EPILOG)
    @click.argument("key", metavar="KEY", type=click.Path(path_type=Path))
    @click.option("--listen", metavar="HOST:PORT", help="Wait for the peer at this address of this machine.")
    @click.option("--connect", metavar="HOST:PORT", help="Go to the peer that listens there.")
    @click.option(
        "--directory",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="Exchange files in DIR, which something else carries to the peer's and back.",
    )
    @click.option(
        "--psk",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Authenticate every message with the secret in FILE: the same on both sides, 32 bytes or more, mode 0600.",
    )
    @click.option(
        "--authentication",
        type=click.Choice(["psk", "caller"]),
        default="psk",
        show_default=True,
        help="caller: the channel is authenticated already; messages carry a checksum only.",
    )
    @click.option(
        "--qber",
        metavar="Q",
        type=Rates(),
        help="Error rate to design for, or two as 0.049,0.024: where Bob has 0, where he has 1.  "
        "[default: estimated by sampling]",
    )
    @asymmetric_option
    @click.option(
        "--sample-bits",
        metavar="BITS",
        type=Count(minimum=1),
        help="Positions to sample when --qber is not given.  [default: (key bits)^(2/3), at most 10^6]",
    )
    @block_length_option()
    @list_size_option(default=32)
    @click.option("--efficiency", metavar="F", type=float, help="Syndrome and check bits over the Shannon limit.")
    @click.option("--target-fer", metavar="P", type=float, help="Share of blocks that may fail.  [default: 0.01]")
    @check_option()
    @strategy_options
    @segment_options
    @escalation_option
    @retry_options
    @cap_options
    @click.option(
        "--window",
        metavar="BLOCKS",
        type=Count(minimum=1, maximum=1 << 16),
        default=None,
        help="Most blocks in flight.  [default: as an eighth of the memory holds, at most 2^30 bits; 8 to 4096 blocks]",
    )
    @click.option(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=None,
        help="Longest silence of the peer, and longest wait for it.  [default: 60; with --directory, a day]",
    )
    @click.option(
        "--reconnections",
        metavar="COUNT",
        type=Count(),
        default=10,
        show_default=True,
        help="How often a lost connection is opened again.",
    )
    @precision_option()
    @engine_option
    @click.option(
        "--interleave",
        is_flag=True,
        help="Permute both keys first, publicly, to spread bursts of errors; the reconciled keys stay in that order.",
    )
    @format_option(help="Format of the key file.  [default: by name and content; ait has to be named]")
    @bit_order_option
    @key_bits_option
    @threads_option
    @out_option(help=f"Directory for the reconciled key, {role}.bin.  [default: it is not written]")
    @click.option("--force", is_flag=True, help=f"Replace {role}.bin in --out.")
    @store_option
    @click.option(
        "--state",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Keep what is needed to go on here; if it is there, go on where the process that wrote it stopped.",
    )
    @click.option("--strict", is_flag=True, help="Exit with code 3 if any block failed.")
    @json_option
    def command(
        key: Path,
        listen: str | None,
        connect: str | None,
        directory: Path | None,
        psk: Path | None,
        authentication: Literal["psk", "caller"],
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
        on_failure: str,
        retries: int | None,
        max_rounds: int,
        max_block_leakage: int,
        max_leakage: int,
        window: int | None,
        timeout: float | None,
        reconnections: int,
        precision: str,
        engine: str | None,
        interleave: bool,
        format_name: str | None,
        bit_order: Literal["little", "big"],
        key_bits: int | None,
        threads: int,
        out: Path | None,
        force: bool,
        store: Path,
        state: Path | None,
        strict: bool,
        as_json: bool,
    ) -> ExitCode:
        from caligo.jobs import PartyOptions, ReconcileOptions, reconcile_party

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
            on_failure=on_failure,
            retries=retries,
            sample_bits=sample_bits,
            interleave=interleave,
            precision=precision,
            engine=engine,
            threads=threads,
            max_rounds=max_rounds,
            max_block_leakage_bits=max_block_leakage,
            max_leakage_bits=max_leakage,
        )
        party = PartyOptions(
            window=window,
            timeout_s=timeout if timeout is not None else (_DAY_S if directory is not None else 60.0),
            reconnections=reconnections,
        )
        if state is not None and directory is not None:
            raise ConfigError("expected --state with --listen or --connect, got it with --directory; leave one out")
        sealing = _authentication(authentication, psk)
        if out is None:
            warn("the reconciled key will not be written, and the sifted one is spent all the same; give --out DIR")
        with ExitStack() as stack:
            transport = stack.enter_context(_transport(role, listen, connect, directory))
            listener = stack.enter_context(progress())
            report = reconcile_party(
                role,
                key,
                transport,
                authentication=sealing,
                options=options,
                party=party,
                key_bits=key_bits,
                format=format_name,
                bit_order=bit_order,
                out=out,
                force=force,
                store=store,
                state=state,
                progress=listener,
            )
        for warning in report.warnings:
            warn(warning)
        if as_json:
            emit_json(f"caligo.{role}/1", report.to_json())
        else:
            _print_report(report)
        return report.exit_code(strict=strict)

    return command


def _authentication(name: Literal["psk", "caller"], psk: Path | None) -> Authentication:
    from caligo.keys import read_secret
    from caligo.reconciliation.authentication import CallerChannel, PresharedKey

    if name == "caller":
        if psk is not None:
            raise ConfigError("expected --psk or --authentication caller, got both; leave one out")
        return CallerChannel()
    if psk is None:
        raise ConfigError(
            "expected --psk FILE, got none; give the file with the shared secret, or --authentication caller if the "
            "channel is authenticated already"
        )
    return PresharedKey(read_secret(psk))


def _transport(
    role: Literal["alice", "bob"], listen: str | None, connect: str | None, directory: Path | None
) -> Transport:
    from caligo.transports import DirectoryTransport, TcpTransport
    from caligo.transports.directory import DIRECTIONS
    from caligo.transports.tcp import parse_address

    if sum(way is not None for way in (listen, connect, directory)) != 1:
        raise ConfigError("expected one of --listen, --connect and --directory; say how to reach the peer")
    if directory is not None:
        out, into = DIRECTIONS if role == "alice" else DIRECTIONS[::-1]
        exchange = DirectoryTransport(directory, role)
        message(f"carry what appears in {directory / out} to the peer's, and what appears there in {into} to here")
        return exchange
    if connect is not None:
        return TcpTransport.connect(parse_address(connect))
    transport = TcpTransport.listen(parse_address(listen or ""))
    message(f"waiting for the peer at {transport.address[0]}:{transport.address[1]}")
    return transport


def _print_report(report: PartyReport) -> None:
    print_leakage(report.leakage, report.leakage_bits, report.leakage_bits_both_ways, report.key_bits)
    estimated = ""
    if report.estimated_qber is not None:
        estimated = (
            f"{report.estimated_qber:.3%} estimated (95 %: {report.estimated_qber_low:.3%} to "
            f"{report.estimated_qber_high:.3%}) from {report.sampled_bits:,} sampled bits, now discarded; "
        )
    corrected: dict[str, object] = {}
    if report.corrected_errors is not None:
        corrected = {"corrected": f"{many(report.corrected_errors, 'bit')} in the reconciled blocks"}
    print_facts(
        {
            "outcome": outcome_text(
                report.blocks_ok,
                report.blocks,
                {
                    "failed the check": report.failed_check,
                    "given up": report.given_up,
                    "failed the verification": report.failed_verification,
                },
            ),
            "talk": talk_text(report.messages, report.rounds_mean, report.rounds_max),
            "key": f"{report.reconciled_bits:,} of {report.key_bits:,} bits reconciled",
            "error rate": f"{estimated}designed for {report.design_qber:.3%}",
            "rely on": account_text(report.account, report.design_qber_pair),
            **corrected,
            "efficiency": efficiency_text(report.efficiency, report.strategy, report.blocks_failed),
            "verification": f"wrong with probability at most {report.epsilon_correctness:.1e}"
            if report.blocks_ok
            else "-",
            "in flight": f"at most {many(report.window, 'block')}",
            "frames": f"{report.frames_sent:,} sent ({format_bytes(report.bytes_sent)}), "
            f"{report.frames_received:,} received ({format_bytes(report.bytes_received)}), authentication: "
            f"{report.authentication}",
            "whole job": f"{format_seconds(report.elapsed_s)}, {format_value(report.payload_mbps)} Mbit/s of key, "
            f"{many(report.threads, 'thread')}",
            "key in": report.out or "not written (--out DIR)",
            "recorded in": report.run,
        }
    )

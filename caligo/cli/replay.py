"""`caligo replay`: run again what a signed bundle records, and compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caligo.cli._options import Count, format_option, json_option, store_option
from caligo.cli._output import Table, emit_json, message, print_facts, progress
from caligo.cli.store.key import trust_option
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from caligo.jobs.replay import Replay

_COLORS = {"reproduced": "green", "not reproduced": "red", "not comparable": "yellow"}
_SHOWN = 40


@click.command("replay")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--alice", metavar="FILE", type=click.Path(path_type=Path), help="Alice's key file of a reconciliation.")
@click.option("--bob", metavar="FILE", type=click.Path(path_type=Path), help="Bob's key file of a reconciliation.")
@format_option()
@click.option(
    "--outputs",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The reconciled keys of then: the new ones are held against them, bit for bit.",
)
@click.option(
    "--threads",
    "-t",
    metavar="T",
    type=Count(minimum=1, maximum=4096),
    default=None,
    help="Worker threads.  [default: as many as then, as far as there are cores]",
)
@click.option("--no-timings", is_flag=True, help="Compare no times, even on the same machine.")
@trust_option
@store_option
@json_option
def command(
    bundle: Path,
    alice: Path | None,
    bob: Path | None,
    format_name: str | None,
    outputs: Path | None,
    threads: int | None,
    no_timings: bool,
    trust_file: Path | None,
    store: Path,
    as_json: bool,
) -> ExitCode:
    """Verify BUNDLE, run again what it records, and say claim by claim what was reproduced.

    Records and figures have to be equal bit for bit, whatever the machine, the engine and the number of threads. Times
    are compared on the same machine alone. A reconciliation needs its two key files again. The new run is recorded in
    the store, as a child of the old one.

    Exits with 8 unless every claim that can be compared was reproduced.
    """
    from caligo.bench.decoder import measure_again
    from caligo.jobs.replay import ReplayKeys, replay
    from caligo.store.bundles.bundle import read_bundle
    from caligo.store.bundles.trust import load_trust

    if (alice is None) != (bob is None):
        raise click.UsageError("--alice and --bob go together: both keys are needed.")
    if alice is None and (outputs is not None or format_name is not None):
        raise click.UsageError("--outputs and --format belong to --alice and --bob.")
    read = read_bundle(bundle, load_trust(trust_file))
    keys = None if alice is None or bob is None else ReplayKeys(alice, bob, format_name, outputs)
    with progress() as listener:
        outcome = replay(
            read,
            keys=keys,
            threads=threads,
            store=store,
            timings=not no_timings,
            measure=measure_again,
            progress=listener,
        )
    if as_json:
        emit_json("caligo.replay/1", outcome.to_json())
    else:
        _print(outcome)
    return ExitCode.COMPLETED if outcome.comparison.reproduced else ExitCode.STORE


def _print(outcome: Replay) -> None:
    comparison = outcome.comparison
    table = Table("claim", "verdict", "recorded", "replayed", "why")
    for claim in comparison.claims:
        table.add(claim.name, claim.verdict.value, _cell(claim.recorded), _cell(claim.replayed), claim.why)
    table.print()
    if comparison.environment:
        table = Table("around it", "recorded", "here")
        for what, recorded, here in comparison.environment:
            table.add(what, _cell(recorded), _cell(here))
        table.print()
    print_facts({"run": outcome.run, "replayed as": str(outcome.replayed)})
    counts = {verdict: sum(claim.verdict == verdict for claim in comparison.claims) for verdict in _COLORS}
    text = ", ".join(
        f"{count} {click.style(verdict, fg=_COLORS[verdict])}" for verdict, count in counts.items() if count
    )
    message(f"{'reproduced' if comparison.reproduced else 'not reproduced'}: {text}")


def _cell(value: Any) -> str:
    """A value in a cell: short, and without what could steer a terminal."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value)
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."

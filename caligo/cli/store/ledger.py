"""`caligo store ledger`: what was done to a store, and whether its past is still what it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caligo.cli._options import Count, json_option, store_option
from caligo.cli._output import cut, emit_json, many, message, print_columns, print_facts, print_wrapped, printable
from caligo.cli.store.key import passphrase_option, trust_option
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from caligo.store.audit.ledger import Entry
    from caligo.store.audit.ledger_check import LedgerReport
    from caligo.store.bundles.trust import Trust

_FILE = click.Path(dir_okay=False, path_type=Path)
_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
_SHOWN_CHARACTERS = 43


@click.group("ledger")
def ledger_group() -> None:
    """Look at the audit ledger of a store, sign it, prove entries of it, verify it.

    Every seal and every decision about a run is an entry: a file that names the hash of the entry before it. A signed
    checkpoint that somebody else keeps shows whether the entries before it were changed.
    """


@ledger_group.command("log")
@click.option(
    "--limit",
    metavar="N",
    type=Count(),
    default=50,
    show_default=True,
    help="Show the N newest entries of each ledger; 0 shows all.",
)
@store_option
@json_option
def log_command(limit: int, store: Path, as_json: bool) -> None:
    """List the entries: of the store's own ledger, then of ledgers that merges brought."""
    from caligo.store.audit.ledger import ledgers

    shown: list[dict[str, Any]] = []
    for ledger in ledgers(store):
        size = ledger.size()
        entries = list(ledger.entries(max(0, size - limit) if limit else 0))
        shown.append({"origin": ledger.origin, "foreign": ledger.foreign, "size": size, "entries": entries})
    if as_json:
        listed = [{**facts, "entries": [_entry(entry) for entry in facts["entries"]]} for facts in shown]
        emit_json("caligo.store-ledger-log/1", {"store": str(store.absolute()), "ledgers": listed})
        return
    if not shown:
        message(f"{store.absolute()} has no ledger yet; the first seal begins it")
    for facts in shown:
        whose = "of another store" if facts["foreign"] else "of this store"
        click.echo(
            click.style(f"ledger {facts['origin']} {whose}, {many(facts['size'], 'entry', 'entries')}", bold=True)
        )
        lines = [(str(one.index), one.at[:16].replace("T", " "), one.kind, _content(one)) for one in facts["entries"]]
        print_columns([("entry", "time (UTC)", "kind", "content"), *lines], right=(0,))


@ledger_group.command("checkpoint")
@click.option(
    "--key", metavar="FILE", help="Signing key: a file, or a name.  [default: $CALIGO_SIGNING_KEY, else the only one]"
)
@passphrase_option
@click.option("--out", metavar="FILE", type=_FILE, help="Write the checkpoint there, too, to be kept elsewhere.")
@trust_option
@store_option
@json_option
def checkpoint_command(
    key: str | None,
    passphrase_file: Path | None,
    out: Path | None,
    trust_file: Path | None,
    store: Path,
    as_json: bool,
) -> None:
    """Sign the store's ledger as it stands.

    The checkpoint is kept in the store; a copy that somebody else keeps is what shows later that the past was changed.
    """
    from caligo.store import files
    from caligo.store.audit.ledger import Ledger
    from caligo.store.audit.notes import make_checkpoint, parse_checkpoint
    from caligo.store.bundles.signing import find_key, load_signer, read_passphrase
    from caligo.store.bundles.trust import load_trust

    signer = load_signer(find_key(key), read_passphrase(passphrase_file))
    load_trust(trust_file).require_usable(signer.key_id)
    note = make_checkpoint(Ledger.open(store), signer)
    if out is not None:
        with files.storing("write the checkpoint", out):
            files.put_whole(out.absolute(), note)
    checkpoint, signed = parse_checkpoint(note)
    if as_json:
        document = {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}
        signers = [signature.name for signature in signed.signatures]
        emit_json("caligo.store-ledger-checkpoint/1", {**document, "signed_by": signers, "checkpoint": note.decode()})
        return
    click.echo(note.decode(), nl=False)
    if out is None:
        message("give a copy to somebody who cannot write to this store (--out FILE)")


@ledger_group.command("prove")
@click.argument("run")
@click.option(
    "--out", metavar="FILE", type=_FILE, help="The proof file.  [default: the run's name with .proof.json, here]"
)
@store_option
@json_option
def prove_command(run: str, out: Path | None, store: Path, as_json: bool) -> None:
    """Write a proof that the seal of RUN is in the ledger, for someone who has neither the ledger nor caligo.

    The proof leads to the newest checkpoint beside the ledger, which must cover the entry. RUN is as for `caligo store
    show`. `verify_ledger.py --proof FILE` checks it (`caligo store ledger export-verifier`).
    """
    from caligo.store import files, find_run
    from caligo.store.audit.proofs import covering_checkpoint, find_seal, make_proof, proof_bytes

    name = find_run(store, run).name
    ledger, entry = find_seal(store, name)
    proof = make_proof(ledger, entry.index, covering_checkpoint(ledger, entry.index))
    path = (Path(f"{name}.proof.json") if out is None else out).absolute()
    with files.storing("write the proof", path):
        files.put_whole(path, proof_bytes(proof))
    facts = {"run": name, "origin": ledger.origin, "index": entry.index, "size": proof["size"], "proof": str(path)}
    if as_json:
        emit_json("caligo.store-ledger-prove/1", facts)
    else:
        print_facts({name: printable(str(value)) for name, value in facts.items()})


@ledger_group.command("verify")
@click.option("--checkpoint", metavar="FILE", type=_EXISTING, help="A checkpoint that was kept elsewhere.")
@trust_option
@store_option
@json_option
def verify_command(checkpoint: Path | None, trust_file: Path | None, store: Path, as_json: bool) -> ExitCode:
    """Hold every ledger of a store against itself, the checkpoints beside it, and one that was kept elsewhere.

    Exits with 8 if there is a finding. Without --checkpoint nobody can tell a ledger that was rewritten as a whole, or
    an older state of it, from an honest one.
    """
    from caligo.store import files
    from caligo.store.audit.ledger_check import verify_store
    from caligo.store.bundles.trust import load_trust

    held = None
    if checkpoint is not None:
        with files.storing("read the checkpoint", checkpoint), checkpoint.open("rb") as file:
            held = file.read(files.DOCUMENT_BYTES)
    trust = load_trust(trust_file)
    reports = verify_store(store, held, trust)
    count = sum(len(report.findings) for report in reports)
    if as_json:
        document = {"store": str(store.absolute()), "signatures_checked": bool(trust.keys), "findings": count}
        emit_json("caligo.store-ledger-verify/1", {**document, "ledgers": [report.to_json() for report in reports]})
    else:
        _print_reports(reports, trust, held is not None)
    return ExitCode.STORE if count else ExitCode.COMPLETED


@ledger_group.command("export-verifier")
@click.argument("file", type=_FILE)
def export_command(file: Path) -> None:
    """Write the standalone verifier to FILE: one Python script that needs nothing of caligo."""
    from caligo.store import files
    from caligo.store.audit import verify_ledger

    with files.storing("write the verifier", file):
        files.put_whole(file.absolute(), Path(verify_ledger.__file__).read_bytes())
    message(f"run it as: python {file} STORE --checkpoint FILE --key NAME+HASH+BASE64")


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "index": entry.index,
        "at": entry.at,
        "kind": entry.kind,
        "content": entry.content,
        "leaf": entry.leaf.hex(),
        "previous": entry.previous,
    }


def _content(entry: Entry) -> str:
    """The particulars on one line: the first ones, without those that are hashes."""
    plain = {name: value for name, value in entry.content.items() if not _is_hash(value)}
    words = [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in plain.items()]
    return cut(" ".join(words), _SHOWN_CHARACTERS)


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _print_reports(reports: list[LedgerReport], trust: Trust, is_held: bool) -> None:
    if not reports:
        message("there is no ledger yet")
    for report in reports:
        print_facts({"ledger": report.origin, "entries": str(report.size), "root": report.root})
        for checkpoint in report.checkpoints:
            signers = ", ".join(checkpoint.believed) or ("nobody trusted" if trust.keys else "not checked")
            state = click.style("holds", fg="green") if checkpoint.holds else click.style("DOES NOT HOLD", fg="red")
            click.echo(
                f"{checkpoint.where}: {many(checkpoint.size, 'entry', 'entries')}, signed by {printable(signers)}: "
                f"{state}"
            )
        for finding in report.findings:
            color = "red" if finding.severity == "damage" else "yellow"
            print_wrapped(
                f"{printable(finding.where)}: {printable(finding.what)}", label=f"{finding.code}  ", color=color
            )
            for name, value in finding.evidence.items():
                click.echo(f"    {name} = {printable(str(value))}")
            print_wrapped(f"    -> {finding.remedy}")
    if not trust.keys:
        message("there is no key to trust (--trust FILE): signatures were not checked")
    if not is_held:
        message("no checkpoint was given (--checkpoint FILE): a ledger rewritten as a whole would look the same")

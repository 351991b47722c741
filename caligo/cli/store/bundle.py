"""`caligo store bundle` and `verify-bundle`: a run in one signed file, for others to check and run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caligo.cli._options import json_option, store_option
from caligo.cli._output import emit_json, format_bytes, message, print_facts
from caligo.cli.store.key import passphrase_option, trust_option
from caligo.errors import ExitCode

if TYPE_CHECKING:
    from caligo.store.bundles.bundle import Bundle


@click.command("bundle", short_help="Put a run into one signed file, for others to check and run again.")
@click.argument("run")
@click.option(
    "--key", metavar="FILE", help="Signing key: a file, or a name.  [default: $CALIGO_SIGNING_KEY, else the only one]"
)
@passphrase_option
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The bundle.  [default: the run's name with .caligo-bundle.tar, here]",
)
@click.option("--force", is_flag=True, help="Replace a file of that name.")
@click.option(
    "--lock",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Lock file of the Python packages.  [default: that of the checkout, if caligo runs from one]",
)
@click.option(
    "--no-log", is_flag=True, help="Do not note it in the store's ledger; for a store that cannot be written."
)
@trust_option
@store_option
@json_option
def bundle_command(
    run: str,
    key: str | None,
    passphrase_file: Path | None,
    out: Path | None,
    force: bool,
    lock: Path | None,
    no_log: bool,
    trust_file: Path | None,
    store: Path,
    as_json: bool,
) -> None:
    """Put a sealed run into one signed file.

    It holds the run's files as they are, the package versions and the lock file, and the ledger's proof that the seal
    was entered; and a statement about all of them, signed with an Ed25519 key. It holds no key bits and no digest of a
    key, but the names of hosts and paths that run.json has. RUN is as for `caligo store show`.
    """
    from caligo.store import find_run
    from caligo.store.bundles.bundle_writer import write_bundle
    from caligo.store.bundles.signing import find_key, load_signer, read_passphrase
    from caligo.store.bundles.trust import load_trust

    signer = load_signer(find_key(key), read_passphrase(passphrase_file))
    written = write_bundle(
        find_run(store, run),
        signer,
        out=out,
        lock=lock,
        trust=load_trust(trust_file),
        force=force,
        log=not no_log,
    )
    predicate = written.statement["predicate"]
    ledger = predicate["ledger"]
    facts: dict[str, Any] = {
        "bundle": str(written.path),
        "sha256": written.sha256,
        "bytes": written.size,
        "run": predicate["run"]["name"],
        "signed_by": f"{signer.name} ({signer.key_id[:16]})",
        "signed_at": predicate["signed_at"],
        "files": len(written.statement["subject"]),
        "ledger": None if ledger is None else f"entry {ledger['index']} of {ledger['origin']}",
    }
    if as_json:
        emit_json("caligo.store-bundle/1", {**facts, "key_id": signer.key_id})
    else:
        facts["bytes"] = format_bytes(written.size)
        print_facts({name.replace("_", " "): value for name, value in facts.items()})


@click.command("verify-bundle", short_help="Verify a signed bundle, without the store that it came from.")
@click.argument("bundle", type=click.Path(path_type=Path))
@trust_option
@json_option
def verify_command(bundle: Path, trust_file: Path | None, as_json: bool) -> ExitCode:
    """Verify every byte of a bundle, its signature, and that its statement says what its run says.

    Exits with 8 where it is not what a trusted key signed. Neither the store nor the network is needed.
    """
    from caligo.errors import BundleError, SignatureError
    from caligo.store.bundles.bundle import read_bundle
    from caligo.store.bundles.trust import load_trust

    trust = load_trust(trust_file)
    try:
        read = read_bundle(bundle, trust)
    except (BundleError, SignatureError) as error:
        if not as_json:
            raise
        emit_json("caligo.store-verify-bundle/1", {"bundle": bundle, "verified": False, "finding": error.fields})
        message(error.message)
        return ExitCode.STORE
    facts = _facts(read)
    if as_json:
        emit_json(
            "caligo.store-verify-bundle/1",
            {"bundle": bundle, "verified": True, "finding": None, **facts, "statement": read.statement},
        )
    else:
        print_facts({name.replace("_", " "): value for name, value in facts.items()})
    return ExitCode.COMPLETED


def _facts(bundle: Bundle) -> dict[str, Any]:
    predicate = bundle.predicate
    return {
        "run": bundle.run,
        "kind": predicate["run"]["kind"],
        "identity": predicate["run"]["identity"],
        "signed_by": f"{bundle.signer.key.name} ({bundle.signer.key.key_id[:16]}, {bundle.signer.status})",
        "signed_at": predicate["signed_at"],
        "code": " ".join(str(part) for part in predicate["code"].values() if isinstance(part, str)),
        "files": len(bundle.files),
        "ledger": bundle.proof,
        "sha256": bundle.sha256,
    }

"""`caligo store key`: signing keys of one's own, and whose signatures are believed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caligo.cli._options import json_option
from caligo.cli._output import Table, emit_json, message, print_facts

if TYPE_CHECKING:
    from caligo.store.bundles.trust import Trust, TrustedKey

trust_option = click.option(
    "--trust",
    "trust_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Trust file.  [default: $CALIGO_TRUST, else trust.toml beside the keys]",
)
passphrase_option = click.option(
    "--passphrase-file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the key's passphrase.  [default: $CALIGO_KEY_PASSPHRASE, else none]",
)
_log_option = click.option(
    "--store",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Note it in the ledger of this store, too.",
)
_note_option = click.option("--note", metavar="TEXT", default="", help="A remark for the trust file.")


def _moment(context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    from caligo.store.bundles.trust import key_moment

    return None if text is None else key_moment(text)


def _time_option(name: str, help: str) -> Callable[[Any], Any]:
    return click.option(name, metavar="TIME", callback=_moment, help=help)


@click.group("key")
def key_group() -> None:
    """Make signing keys, and say whose signatures are believed.

    Keys lie in $XDG_CONFIG_HOME/caligo/keys (else ~/.config/caligo/keys), the trust file beside them.
    """


@key_group.command("new")
@click.argument("name")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The key file.  [default: NAME.pem in the keys directory]",
)
@passphrase_option
@_note_option
@trust_option
@_log_option
@json_option
def new_command(
    name: str,
    out: Path | None,
    passphrase_file: Path | None,
    note: str,
    trust_file: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Make an Ed25519 key named NAME, and trust it from now on.

    The key file is readable by its owner alone and is never overwritten. Print the line after `verifier key` to those
    who are to believe its signatures: they add it with `caligo store key trust`.
    """
    from caligo.store.bundles import signing
    from caligo.store.bundles import trust as trusting

    trust = trusting.load_trust(trust_file, missing_ok=True)
    path = signing.keys_directory() / f"{name.replace('/', '-')}.pem" if out is None else out
    began = datetime.now(UTC).replace(microsecond=0)
    public = signing.generate_key(path, name, passphrase=signing.read_passphrase(passphrase_file))
    entry = trusting.TrustedKey(public, valid_from=began, note=note)
    _finish("created", trust.adding(entry), entry, store, as_json, {"key_file": str(path.absolute())})


@key_group.command("list")
@trust_option
@json_option
def list_command(trust_file: Path | None, as_json: bool) -> None:
    """List the keys of the trust file, and which of them can be signed with here."""
    from caligo.store.bundles import signing
    from caligo.store.bundles import trust as trusting

    trust, own = trusting.load_trust(trust_file), signing.own_keys()
    rows = [{**entry.to_json(), "file": own.get(entry.key.key_id)} for entry in trust.keys]
    if as_json:
        emit_json("caligo.store-keys/1", {"trust": trust.path, "keys": rows})
    elif not rows:
        message(f"{trust.path} has no key; make one with `caligo store key new NAME`")
    else:
        table = Table("name", "key id", "status", "valid from", "valid until", "signs here")
        for row in rows:
            cells = [row[name] or "-" for name in ("status", "valid_from", "valid_until")]
            table.add(row["name"], row["key_id"][:16], *cells, "yes" if row["file"] else "-")
        table.print()


@key_group.command("show")
@click.argument("key", required=False)
@passphrase_option
@trust_option
@json_option
def show_command(key: str | None, passphrase_file: Path | None, trust_file: Path | None, as_json: bool) -> None:
    """Show a public key: of the trust file by id or name, else of a key file.

    Without KEY it is the key that would sign. The line `verifier key` is what others add to their trust file.
    """
    from caligo.store.bundles import signing
    from caligo.store.bundles import trust as trusting

    entry = None if key is None else trusting.load_trust(trust_file).find(key)
    if entry is None:
        signer = signing.load_signer(signing.find_key(key), signing.read_passphrase(passphrase_file))
        known = trusting.load_trust(trust_file).find(signer.key_id)
        entry = trusting.TrustedKey(signer.public_key, status="not trusted") if known is None else known
    if as_json:
        emit_json("caligo.store-key/1", entry.to_json())
    else:
        print_facts(_facts(entry))


@key_group.command("trust")
@click.argument("key")
@_time_option("--from", "Do not believe signatures made before TIME, as 2026-03-14T09:00:00Z.")
@_time_option("--until", "Do not believe signatures made after TIME.")
@_note_option
@trust_option
@_log_option
@json_option
def trust_command(
    key: str,
    note: str,
    trust_file: Path | None,
    store: Path | None,
    as_json: bool,
    **limits: datetime | None,
) -> None:
    """Believe the signatures of KEY, a verifier key (name+hash+base64) or a file that holds one.

    Whoever can change the line on its way can have his own signatures believed: compare the key id with its owner.
    """
    from caligo.store.bundles import signing
    from caligo.store.bundles import trust as trusting

    path = Path(key)
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else key
    public = signing.PublicKey.of_text(text)
    entry = trusting.TrustedKey(public, valid_from=limits["from"], valid_until=limits["until"], note=note)
    trust = trusting.load_trust(trust_file, missing_ok=True).adding(entry)
    _finish("trusted", trust, entry, store, as_json, {})


@key_group.command("retire")
@click.argument("key")
@_time_option("--at", "Signatures made until TIME stay valid.  [default: now]")
@trust_option
@_log_option
@json_option
def retire_command(key: str, at: datetime | None, trust_file: Path | None, store: Path | None, as_json: bool) -> None:
    """Put KEY out of use: what it signed until then stays valid, nothing after that does.

    For the ordinary change of keys. If somebody else may have the key, revoke it: a date on a signature is its
    signer's word.
    """
    from caligo.store.bundles import trust as trusting

    trust = trusting.load_trust(trust_file)
    key_id = trust.known(key).key.key_id
    changed = trust.retiring(key_id, at or datetime.now(UTC).replace(microsecond=0))
    _finish("retired", changed, changed.known(key_id), store, as_json, {})


@key_group.command("revoke")
@click.argument("key")
@_note_option
@trust_option
@_log_option
@json_option
def revoke_command(key: str, note: str, trust_file: Path | None, store: Path | None, as_json: bool) -> None:
    """Believe nothing that KEY signed, whenever that was. There is no way back."""
    from caligo.store.bundles import trust as trusting

    trust = trusting.load_trust(trust_file)
    key_id = trust.known(key).key.key_id
    changed = trust.revoking(key_id, note)
    _finish("revoked", changed, changed.known(key_id), store, as_json, {})


def _finish(
    action: str, trust: Trust, entry: TrustedKey, store: Path | None, as_json: bool, beside: dict[str, str]
) -> None:
    """Save the trust file, note the action in a ledger where that was asked for, print the key."""
    from caligo.store.bundles import trust as trusting

    saved = trusting.save_trust(trust)
    if store is not None:
        trusting.log_key(store, action, entry)
    if as_json:
        emit_json("caligo.store-key/1", {**entry.to_json(), **beside, "trust": saved})
    else:
        print_facts({name.replace("_", " "): value for name, value in beside.items()} | _facts(entry))
        message(f"{action} in {saved}")


def _facts(entry: TrustedKey) -> dict[str, object]:
    values = entry.to_json()
    del values["public"]
    return {name.replace("_", " "): value for name, value in values.items() if value}

"""Writing signed bundles: the statement of a sealed run, its signature, and all files in one archive.

Covers: what goes into a bundle and from where. Does not cover: what a reader checks (:mod:`.bundle`).

Every file is hashed twice: when the run is verified against its seal, and on its way into the archive.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from caligo.errors import ConfigError, StoreError
from caligo.store import environment, files, layout
from caligo.store.bundles import archive
from caligo.store.bundles.archive import ArchiveError, safe_name
from caligo.store.bundles.bundle import (
    ENVELOPE_FILE,
    KEY_POLICY,
    LARGEST_STATEMENT,
    LOCK_DIRECTORY,
    MOST_FILES,
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    REPEATED,
    STATEMENT_FILE,
    STATEMENT_TYPE,
    SUFFIX,
)
from caligo.store.bundles.bundle_ledger import proof_of_seal
from caligo.store.bundles.envelope import seal_envelope
from caligo.store.bundles.packages import LOCK_FILE, checkout_lock, installed_packages
from caligo.store.bundles.signing import Signer
from caligo.store.bundles.trust import Trust
from caligo.store.governing.governance import standing
from caligo.store.reader import State, load_run
from caligo.store.values import canonical_json

_LARGEST_LOCK = 4 * 1024 * 1024


@dataclass(frozen=True)
class WrittenBundle:
    """A bundle that was written.

    Attributes:
        path: of the file.
        size: of it, in bytes.
        sha256: of it.
        statement: what was signed.
    """

    path: Path
    size: int
    sha256: str
    statement: dict[str, Any]


def write_bundle(
    run: str | os.PathLike[str],
    signer: Signer,
    *,
    out: str | os.PathLike[str] | None = None,
    lock: str | os.PathLike[str] | None = None,
    trust: Trust | None = None,
    at: datetime | None = None,
    force: bool = False,
    log: bool = True,
) -> WrittenBundle:
    """Write the signed bundle of a sealed run.

    Args:
        run: directory of the run.
        signer: with which key.
        out: the file; None is the run's name and ``.caligo-bundle.tar`` in the working directory.
        lock: lock file of the environment; None is that of the checkout that this caligo runs from, if it does.
        trust: a key that is retired or revoked there does not sign.
        at: time of signing; None is ``$SOURCE_DATE_EPOCH``, else now.
        force: replace a file.
        log: append the bundle to the ledger of the run's store.

    Raises:
        StoreError: the run is not sealed, damaged, or set aside by the ledger; a file cannot be read or written.
        SigningKeyError: the key is not to be used any more.
        ConfigError: there is a file already, or the lock file is none.
        ResourceError: no space, or a package is missing.
    """
    if trust is not None:
        trust.require_usable(signer.key_id)
    loaded = load_run(run)
    if loaded.state is not State.SEALED or loaded.seal is None:
        why = "; ".join(f"{finding.code}: {finding.what}" for finding in loaded.findings[:3])
        raise StoreError(
            f"expected a sealed run, {loaded.name} is {loaded.state}{f' ({why})' if why else ''}; only what was "
            "sealed and is whole can be bundled",
            run=loaded.name,
            state=loaded.state.value,
        )
    _require_standing(loaded.path, loaded.name)
    moment = signing_time() if at is None else at
    members = _run_members(loaded.path, loaded.name, loaded.seal)
    small = dict(_environment(lock))
    proof = proof_of_seal(loaded.path, loaded.name, signer)
    small.update({} if proof is None else proof.files)
    for name, data in small.items():
        members[name] = (len(data), hashlib.sha256(data).hexdigest())
    for name in members:
        if not safe_name(name):
            raise ConfigError(f"expected plain file names in the run, got {name!r}; it cannot be bundled", name=name)
    if len(members) > MOST_FILES:
        raise ConfigError(f"expected at most {MOST_FILES} files in a run, got {len(members)}; compact it first")
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": sha256}} for name, (_, sha256) in sorted(members.items())],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "schema": 1,
            "signed_at": layout.utc_text(moment),
            "signer": {"name": signer.name, "key_id": signer.key_id},
            "run": {
                **{name: loaded.document[name] for name in ("kind", "identity", "started_at")},
                "name": loaded.name,
                "sealed_at": loaded.seal["sealed_at"],
                "elapsed_s": loaded.seal["elapsed_s"],
            },
            **{name: loaded.document[name] for name in REPEATED},
            "results": loaded.seal["summary"],
            "seal_sha256": members[f"runs/{loaded.name}/{layout.SEAL_FILE}"][1],
            "sizes": {name: size for name, (size, _) in sorted(members.items())},
            "environment": {
                "bundled_by": environment.code_version(),
                "packages": installed_packages(),
                "lock": next((name for name in small if name.startswith(f"{LOCK_DIRECTORY}/")), None),
            },
            "ledger": None if proof is None else proof.facts,
            "keys": KEY_POLICY,
        },
    }
    payload = canonical_json(statement)
    if len(payload) > LARGEST_STATEMENT:
        raise ConfigError(f"expected a statement of at most {LARGEST_STATEMENT} bytes, got {len(payload)}")
    small |= {ENVELOPE_FILE: seal_envelope(payload, PAYLOAD_TYPE, signer), STATEMENT_FILE: payload}
    path = Path(f"{loaded.name}{SUFFIX}" if out is None else out).absolute()
    with files.storing("write the bundle", path):
        try:
            archive.write_archive(path, _contents(loaded.path, loaded.name, members, small), replace=force)
        except FileExistsError:
            raise ConfigError(
                f"expected no file at {path}, there is one; choose another with --out, or replace it with --force",
                path=str(path),
            ) from None
        except ArchiveError as error:
            raise StoreError(f"the run changed while it was bundled: {error}", run=loaded.name) from error
        size, sha256, _ = files.file_digest(path)
    if log:
        _note(loaded.path, loaded.name, sha256, signer)
    return WrittenBundle(path, size, sha256, statement)


def _require_standing(directory: Path, run: str) -> None:
    """Refuse a run that its store has set aside: a signature would vouch for it to people who do not see the store."""
    if directory.parent.name != "runs":
        return
    found = standing(directory.parent.parent).get(run)
    if found is not None and found.is_set_aside:
        why = found.reason or ", ".join(found.codes) or f"{found.by} takes its place"
        raise StoreError(
            f"expected a run that counts, {run} is {found.judgement} ({why}); release it if it "
            "was wronged, or bundle another",
            run=run,
            judgement=found.judgement.value,
        )


def signing_time() -> datetime:
    """``$SOURCE_DATE_EPOCH`` (reproducible-builds.org), else now; whole milliseconds.

    Raises:
        ConfigError: the variable is no number of seconds.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        now = datetime.now(UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)
    try:
        return datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigError(f"SOURCE_DATE_EPOCH: expected seconds since 1970, got {epoch!r}") from error


def _run_members(directory: Path, name: str, seal: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    """Size and hash of every file of a run that its seal covers, and of the seal."""
    members = {
        f"runs/{name}/{file}": (int(entry["bytes"]), str(entry["sha256"])) for file, entry in seal["files"].items()
    }
    with files.storing("read the run", directory):
        size, sha256, _ = files.file_digest(directory / layout.SEAL_FILE)
    members[f"runs/{name}/{layout.SEAL_FILE}"] = (size, sha256)
    return members


def _environment(lock: str | os.PathLike[str] | None) -> Iterator[tuple[str, bytes]]:
    file = checkout_lock() if lock is None else Path(lock)
    if file is None:
        return
    with files.storing("read the lock file", file):
        if not file.is_file() or file.stat().st_size > _LARGEST_LOCK:
            raise ConfigError(f"expected a lock file of at most {_LARGEST_LOCK} bytes at {file}", path=str(file))
        yield f"{LOCK_DIRECTORY}/{LOCK_FILE}", file.read_bytes()


def _contents(
    directory: Path, name: str, members: Mapping[str, tuple[int, str]], small: Mapping[str, bytes]
) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """Every member of the archive in its order, the run's files hashed once more on their way."""
    for member in (ENVELOPE_FILE, STATEMENT_FILE, *sorted(members)):
        if member in small:
            yield member, len(small[member]), iter((small[member],))
        else:
            size, sha256 = members[member]
            yield member, size, _hashed(directory / member.removeprefix(f"runs/{name}/"), sha256)


def _hashed(path: Path, sha256: str) -> Iterator[bytes]:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            yield piece
    if digest.hexdigest() != sha256:
        raise ArchiveError(f"{path.name} is not what it was a moment ago")


def _note(directory: Path, run: str, sha256: str, signer: Signer) -> None:
    """Append the bundle to the ledger of the run's store."""
    if directory.parent.name != "runs":
        return
    from caligo.store.audit.ledger import Ledger

    ledger = Ledger.open(directory.parent.parent, create=True)
    ledger.append("bundle", {"run": run, "sha256": sha256, "key_id": signer.key_id})

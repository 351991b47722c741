#!/usr/bin/env python3
"""Verify an audit ledger of caligo, a checkpoint of it, or a proof file; offline and without caligo.

Covers: what caligo.store.audit.ledger_check and caligo.store.audit.proofs do, written a second time from the contract
(specs/ledger.md). Needs Python 3.11 and, for signatures, the package `cryptography`; imports nothing else. Does not
cover: whether runs are what the ledger says of them.

    python verify_ledger.py DIRECTORY [--key KEY]... [--checkpoint FILE] [--json]
    python verify_ledger.py --proof FILE [--key KEY]... [--json]

DIRECTORY is a store (with `ledger/` in it) or one ledger (with `entries/`). KEY is a verifier key, NAME+HASH+BASE64, as
`caligo store key show` prints it. A checkpoint that was kept elsewhere is what shows that the past was rewritten.

Ends with 0 when nothing is wrong, 8 when something is, 2 when it was called wrongly.

Source: RFC 6962 (Merkle trees), RFC 8785 (canonical JSON), C2SP signed-note and tlog-checkpoint, RFC 8032 (Ed25519).
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

LARGEST_SIZE = 10**9
MOST_BYTES = 16 * 1024 * 1024
NOTE_BYTES = 1 << 20
MOST_SIGNATURES = 100
SCHEMA = 1
HELD = "the held checkpoint"
EMPTY_ROOT = hashlib.sha256().digest()

ORIGIN = re.compile(r"[0-9a-f]{32}")
HASH = re.compile(r"[0-9a-f]{64}")
KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
MEMBERS = {"at", "content", "format", "index", "kind", "origin", "previous", "schema"}


class Wrong(Exception):
    """Bytes are not what they claim to be; says why, and under which code where it is not the usual one."""

    def __init__(self, why: str, code: str = "") -> None:
        super().__init__(why)
        self.code = code


class Found(NamedTuple):
    """One finding."""

    code: str
    where: str
    what: str


# --- RFC 6962 ---------------------------------------------------------------------------------------------------------


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Level by level: pair neighbours, carry an odd one up."""
    if not leaves:
        return EMPTY_ROOT
    level = list(leaves)
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) & ~1 :]
    return level[0]


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to, by recursion from the top; None: the proof does not fit."""
    if size == 1:
        return leaf if index == 0 and not path else None
    if not 0 <= index < size or not path:
        return None
    left = 1 << ((size - 1).bit_length() - 1)
    if index < left:
        below = root_of_path(leaf, index, left, path[:-1])
        return None if below is None else hashlib.sha256(b"\x01" + below + path[-1]).digest()
    below = root_of_path(leaf, index - left, size - left, path[:-1])
    return None if below is None else hashlib.sha256(b"\x01" + path[-1] + below).digest()


# --- RFC 8785 ---------------------------------------------------------------------------------------------------------


def canonical(value: Any) -> str:
    """Canonical JSON of a parsed value."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return canonical_number(value)
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    names = sorted(value, key=lambda name: name.encode("utf-16-be"))
    return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in names) + "}"


def whole_number(digits: str) -> int | float:
    """The value of digits without a point: beyond 2^53 - 1 canonical JSON has doubles only."""
    value = int(digits) if len(digits) <= 17 else float(digits)
    return value if abs(value) <= 2**53 - 1 else float(value)


def canonical_number(value: float) -> str:
    """A number as ECMAScript writes it."""
    if value != value or value in (float("inf"), float("-inf")):
        raise Wrong("it has no canonical form")
    if value == 0:
        return "0"
    negative, places, exponent = Decimal(repr(value)).as_tuple()
    digits = "".join(map(str, places)).rstrip("0")
    point = len(places) + int(exponent)
    if len(digits) <= point <= 21:
        text = digits + "0" * (point - len(digits))
    elif 0 < point <= 21:
        text = digits[:point] + "." + digits[point:]
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        text = digits[0] + ("." + digits[1:] if digits[1:] else "") + f"e{point - 1:+d}"
    return "-" * negative + text


# --- entries ----------------------------------------------------------------------------------------------------------


def fits(value: Any, pattern: re.Pattern[str]) -> bool:
    """Whether a value is a text of this form."""
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def parse_entry(data: bytes) -> dict[str, Any]:
    """The members of an entry, all of the right type, in canonical form."""
    try:
        entry = json.loads(data, parse_int=whole_number)
    except (ValueError, RecursionError):
        raise Wrong("it is not JSON") from None
    if not isinstance(entry, dict) or entry.get("format") != "caligo.ledger-entry":
        raise Wrong("it is not a caligo.ledger-entry")
    schema, index = entry.get("schema"), entry.get("index")
    if isinstance(schema, int) and schema > SCHEMA:
        raise Wrong(f"it has schema {schema}, this script knows {SCHEMA}: get a newer one", "CAL-STORE-006")
    if (
        set(entry) != MEMBERS
        or type(schema) is not int
        or schema < 1
        or type(index) is not int
        or not 0 <= index < LARGEST_SIZE
        or not fits(entry["origin"], ORIGIN)
        or not fits(entry["kind"], KIND)
        or not fits(entry["at"], TIME)
        or not isinstance(entry["content"], dict)
        or not (entry["previous"] is None if index == 0 else fits(entry["previous"], HASH))
    ):
        raise Wrong("a member is missing, too much, or of the wrong type")
    try:
        same = canonical(entry).encode() + b"\n" == data
    except (UnicodeEncodeError, RecursionError):
        raise Wrong("it has no canonical form") from None
    if not same:
        raise Wrong("it is not in canonical form")
    return entry


def listed(place: Path, patterns: list[str], strays: list[str], above: str = "") -> Iterator[int]:
    """Indices of the entry files in the tree of numbered directories; anything else goes to strays."""
    pattern, *rest = patterns
    for name in sorted(os.listdir(place)) if place.is_dir() else []:
        shown = f"entries/{above}{name}"
        if name.startswith("."):
            continue
        if not re.fullmatch(pattern, name):
            strays.append(shown)
        elif rest:
            if not (place / name).is_dir():
                strays.append(shown)
            yield from listed(place / name, rest, strays, f"{above}{name}/")
        elif above == f"{name[:3]}/{name[3:6]}/":
            yield int(name[:9])
        else:
            strays.append(shown)


def entry_file(index: int) -> str:
    """Where an entry lies in its ledger."""
    return f"entries/{index // 10**6:03}/{index // 1000 % 1000:03}/{index:09}.json"


def check_entries(ledger: Path, origin: str, found: list[Found]) -> tuple[list[bytes], int]:
    """Every entry held against its place and its predecessor.

    Returns the leaf hashes from the first entry to the first gap, and one more than the last index.
    """
    strays: list[str] = []
    leaves: list[bytes] = []
    stop, named = 0, None
    for index in sorted(listed(ledger / "entries", ["[0-9]{3}", "[0-9]{3}", r"[0-9]{9}\.json"], strays)):
        where = entry_file(index)
        if index > stop:
            found.append(Found("CAL-STORE-041", entry_file(stop), f"entries {stop} to {index - 1} are missing"))
            named = None
        data = read_small(ledger / where)
        stop = index + 1
        if data is None:
            found.append(Found("CAL-STORE-040", where, "it cannot be read, or is too large for an entry"))
            named = None
            continue
        leaf = leaf_hash(data)
        try:
            entry = parse_entry(data)
        except Wrong as error:
            found.append(Found(error.code or "CAL-STORE-040", where, str(error)))
        else:
            if entry["origin"] != origin:
                found.append(Found("CAL-STORE-043", where, f"it is an entry of {entry['origin']}"))
            if entry["index"] != index:
                found.append(Found("CAL-STORE-042", where, f"it is entry {entry['index']} in the place of {index}"))
            elif named is not None and entry["previous"] != named:
                what = f"it is not what entry {index} followed: one of the two was changed"
                found.append(Found("CAL-STORE-040", entry_file(index - 1), what))
        if index == len(leaves):
            leaves.append(leaf)
        named = leaf.hex()
    found += [Found("CAL-STORE-040", stray, "this is no entry") for stray in sorted(strays)]
    return leaves, stop


def read_small(path: Path) -> bytes | None:
    """The bytes of a file; None when it cannot be read or is too large."""
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError:
        return None
    return data if len(data) <= MOST_BYTES else None


# --- signed notes -----------------------------------------------------------------------------------------------------


class Checkpoint(NamedTuple):
    """A parsed checkpoint; signatures are (name, key hash, signature)."""

    origin: str
    size: int
    root: bytes
    text: str
    signatures: list[tuple[str, bytes, bytes]]


def strict_base64(text: str) -> bytes:
    """Base64 of which there is one text for one value."""
    try:
        value = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Wrong("it holds what is not base64") from None
    if base64.b64encode(value).decode() != text:
        raise Wrong("it holds base64 that is not in its one form")
    return value


def parse_checkpoint(data: bytes) -> Checkpoint:
    """Take a checkpoint apart; signatures are not checked."""
    if len(data) > NOTE_BYTES:
        raise Wrong("it is too large for a checkpoint")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Wrong("it is not UTF-8 text") from None
    if re.search(r"[\x00-\x09\x0b-\x1f]", whole):
        raise Wrong("it holds control characters")
    text, gap, tail = whole.rpartition("\n\n")
    if not gap or not tail.endswith("\n"):
        raise Wrong("it does not end in signature lines after an empty line")
    lines = tail[:-1].split("\n")
    if len(lines) > MOST_SIGNATURES:
        raise Wrong("it has too many signatures")
    signatures: list[tuple[str, bytes, bytes]] = []
    for line in lines:
        dash, name, value = [*line.split(" ", 2), "", ""][:3]
        raw = strict_base64(value)
        if dash != "\u2014" or not re.fullmatch(r"[^\s+]+", name) or len(raw) < 5:
            raise Wrong("a signature line is malformed")
        if (name, raw[:4]) not in [signature[:2] for signature in signatures]:
            signatures.append((name, raw[:4], raw[4:]))
    first, *others = text.split("\n")
    origin = first.removeprefix("caligo.ledger/")
    if len(others) < 2 or not all(others) or origin == first or not ORIGIN.fullmatch(origin):
        raise Wrong("it is not a checkpoint of a caligo ledger")
    root = strict_base64(others[1])
    if not SIZE.fullmatch(others[0]) or int(others[0]) > LARGEST_SIZE or len(root) != 32:
        raise Wrong("its size or root is malformed")
    return Checkpoint(origin, int(others[0]), root, text + "\n", signatures)


class Key(NamedTuple):
    """A verifier key."""

    name: str
    key_hash: bytes
    public: bytes


def parse_key(text: str) -> Key:
    """Take a verifier key apart."""
    name, _, rest = text.strip().partition("+")
    digits, _, encoded = rest.partition("+")
    value = strict_base64(encoded)
    key_hash = hashlib.sha256(name.encode() + b"\n" + value).digest()[:4]
    if not name or len(value) != 33 or value[0] != 1 or key_hash.hex() != digits:
        raise Wrong("expected an Ed25519 verifier key, NAME+HASH+BASE64")
    return Key(name, key_hash, value[1:])


def is_signed(key: Key, text: str, signature: bytes) -> bool:
    """Whether a signature over a text is this key's."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        sys.exit("checking signatures needs the package cryptography: pip install cryptography")
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def check_signatures(checkpoint: Checkpoint, keys: list[Key], where: str, found: list[Found]) -> list[str]:
    """Names of the keys that signed it; what is wrong goes to found. Without keys nothing is checked."""
    believed: list[str] = []
    refused = False
    for name, key_hash, signature in checkpoint.signatures if keys else []:
        key = next((key for key in keys if key[:2] == (name, key_hash)), None)
        if key is None:
            continue
        if is_signed(key, checkpoint.text, signature):
            believed.append(name)
        else:
            refused = True
            found.append(Found("CAL-STORE-047", where, f"the signature of {name} is wrong"))
    if keys and not believed and not refused:
        found.append(Found("CAL-STORE-048", where, "none of the given keys signed it"))
    return believed


# --- what is asked for ------------------------------------------------------------------------------------------------


def check_checkpoint(
    origin: str, where: str, data: bytes, leaves: list[bytes], stop: int, keys: list[Key], found: list[Found]
) -> dict[str, Any] | None:
    """Hold one checkpoint against the entries."""
    try:
        checkpoint = parse_checkpoint(data)
    except Wrong as error:
        found.append(Found("CAL-STORE-047", where, str(error)))
        return None
    believed = check_signatures(checkpoint, keys, where, found)
    if where not in (HELD, f"checkpoints/{checkpoint.size:09}.txt"):
        found.append(Found("CAL-STORE-047", where, f"it is of {checkpoint.size} entries, which its name denies"))
    before = len(found)
    size = checkpoint.size
    if checkpoint.origin != origin:
        found.append(Found("CAL-STORE-043", where, f"it is a checkpoint of {checkpoint.origin}"))
    elif size > stop:
        code = "CAL-STORE-045" if where == HELD else "CAL-STORE-044"
        found.append(Found(code, where, f"it covers {size} entries, the ledger has {stop}"))
    elif size > len(leaves):
        what = f"it covers {size} entries, of which only the first {len(leaves)} are there"
        found.append(Found("CAL-STORE-046", where, what))
    elif tree_root(leaves[:size]) != checkpoint.root:
        what = f"it has root {checkpoint.root.hex()}, the first {size} entries have {tree_root(leaves[:size]).hex()}"
        found.append(Found("CAL-STORE-046", where, what))
    holds = len(found) == before
    return {"where": where, "size": size, "root": checkpoint.root.hex(), "holds": holds, "believed": believed}


def check_ledger(ledger: Path, origin: str, held: bytes | None, keys: list[Key]) -> dict[str, Any]:
    """Everything about one ledger."""
    found: list[Found] = []
    leaves, stop = check_entries(ledger, origin, found)
    place = ledger / "checkpoints"
    notes = sorted(os.listdir(place)) if place.is_dir() else []
    checkpoints = [
        (f"checkpoints/{name}", (place / name).read_bytes()) for name in notes if re.fullmatch(r"[0-9]{9}\.txt", name)
    ]
    checkpoints += [] if held is None else [(HELD, held)]
    reports = [check_checkpoint(origin, where, data, leaves, stop, keys, found) for where, data in checkpoints]
    return {
        "origin": origin,
        "size": len(leaves),
        "root": tree_root(leaves).hex(),
        "checkpoints": [report for report in reports if report is not None],
        "findings": [item._asdict() for item in found],
    }


def store_origin(store: Path) -> str | None:
    """The origin in store.json; None where there is no store.json."""
    data = read_small(store / "store.json")
    if data is None:
        return None
    tail = re.search(rb',\n  "sha256": "([0-9a-f]{64})"\n\}\n\Z', data)
    if tail is None or hashlib.sha256(data[: tail.start()]).hexdigest().encode() != tail[1]:
        raise Wrong("it does not match its own hash")
    try:
        document = json.loads(data)
    except ValueError:
        raise Wrong("it is not JSON") from None
    if not isinstance(document, dict) or document.get("format") != "caligo.store":
        raise Wrong("it is not a caligo.store document")
    schema = document.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise Wrong(f"it has schema {schema}, this script knows {SCHEMA}: get a newer one")
    if not fits(document.get("origin"), ORIGIN):
        raise Wrong("it has no origin")
    return str(document["origin"])


def check_directory(directory: Path, held: bytes | None, keys: list[Key]) -> list[dict[str, Any]]:
    """Every ledger of a store, or the one ledger that the directory is."""
    if (directory / "entries").is_dir() or (not (directory / "ledger").is_dir() and ORIGIN.fullmatch(directory.name)):
        return [check_ledger(directory, directory.name, held, keys)]
    places = directory / "ledger"
    origins = [name for name in sorted(os.listdir(places)) if ORIGIN.fullmatch(name)] if places.is_dir() else []
    document = None
    try:
        own = store_origin(directory)
    except Wrong as error:
        own, document = None, Found("CAL-STORE-049", "store.json", str(error))
    if own is not None:
        origins = [own, *(origin for origin in origins if origin != own)]
    meant = origins[0] if origins else "0" * 32
    if held is not None:
        with suppress(Wrong):
            meant = parse_checkpoint(held).origin
        if meant not in origins:
            origins.append(meant)
    if document is not None and not origins:
        origins.append(meant)
    reports = [check_ledger(places / origin, origin, held if origin == meant else None, keys) for origin in origins]
    if document is not None:
        reports[0]["findings"].insert(0, document._asdict())
    return reports


def check_proof(data: bytes, keys: list[Key]) -> dict[str, Any]:
    """Hold a proof file against itself and the keys."""
    found: list[Found] = []
    report: dict[str, Any] = {"origin": None, "index": None, "size": None, "entry": None, "believed": []}
    try:
        report |= prove(data, keys, found)
    except Wrong as error:
        found.append(Found(error.code or "CAL-STORE-046", "proof", str(error)))
    return {**report, "findings": [item._asdict() for item in found]}


def prove(data: bytes, keys: list[Key], found: list[Found]) -> dict[str, Any]:
    """What a proof file shows; raises Wrong when it shows nothing."""
    try:
        proof = json.loads(data)
    except (ValueError, RecursionError):
        raise Wrong("it is not JSON") from None
    if not isinstance(proof, dict) or proof.get("format") != "caligo.ledger-proof":
        raise Wrong("it is not a caligo.ledger-proof")
    schema, path = proof.get("schema"), proof.get("inclusion")
    if isinstance(schema, int) and schema > SCHEMA:
        raise Wrong(f"it has schema {schema}, this script knows {SCHEMA}: get a newer one", "CAL-STORE-006")
    if (
        type(schema) is not int
        or schema < 1
        or not all(isinstance(proof.get(name), str) for name in ("entry", "checkpoint", "origin"))
        or not all(type(proof.get(name)) is int for name in ("index", "size"))
        or not isinstance(path, list)
        or not all(fits(value, HASH) for value in path)
    ):
        raise Wrong("a member is missing or of the wrong type")
    try:
        line, note = proof["entry"].encode(), proof["checkpoint"].encode()
    except UnicodeEncodeError:
        raise Wrong("it holds what is not text") from None
    entry, checkpoint = parse_entry(line), parse_checkpoint(note)
    if (entry["origin"], entry["index"], checkpoint.size, checkpoint.origin) != (
        proof["origin"],
        proof["index"],
        proof["size"],
        proof["origin"],
    ):
        raise Wrong("entry, checkpoint and proof are not of one ledger, index and size")
    hashes = [bytes.fromhex(value) for value in path]
    reached = None
    if len(hashes) <= 64 and entry["index"] < checkpoint.size:
        reached = root_of_path(leaf_hash(line), entry["index"], checkpoint.size, hashes)
    if reached != checkpoint.root:
        raise Wrong("the path does not lead to the root of the checkpoint")
    believed = check_signatures(checkpoint, keys, "proof", found)
    return {
        "origin": entry["origin"],
        "index": entry["index"],
        "size": checkpoint.size,
        "entry": entry,
        "believed": believed,
    }


def say(line: str) -> None:
    """A line on standard output."""
    sys.stdout.write(line + "\n")


def printable(text: str) -> str:
    """Text that cannot steer a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def print_reports(reports: list[dict[str, Any]], signed: bool) -> None:
    """The reports for people."""
    for report in reports:
        if "entry" in report:
            if report["entry"] is not None:
                signers = printable(", ".join(report["believed"])) or ("nobody known" if signed else "not checked")
                say(f"a ledger of {report['size']} entries, signed by {signers}, has this one:")
                say(f"entry {report['index']} of {report['origin']}: {printable(canonical(report['entry']))}")
        else:
            say(f"ledger {report['origin']}: {report['size']} entries, root {report['root']}")
            for checkpoint in report["checkpoints"]:
                signers = printable(", ".join(checkpoint["believed"])) or ("nobody known" if signed else "not checked")
                state = "holds" if checkpoint["holds"] else "DOES NOT HOLD"
                say(f"  {checkpoint['where']}: {checkpoint['size']} entries, signed by {signers}: {state}")
        for item in report["findings"]:
            say(f"{item['code']}  {printable(item['where'])}: {printable(item['what'])}")
    wrong = sum(len(report["findings"]) for report in reports)
    say(f"{wrong} findings" if wrong else "nothing is wrong")
    if not signed:
        say("no key was given: signatures were not checked")


def main() -> int:
    """Read the command line, check, print."""
    parser = argparse.ArgumentParser(description="Verify an audit ledger of caligo, offline and without caligo.")
    parser.add_argument("directory", nargs="?", type=Path, help="a store, or one ledger")
    parser.add_argument("--key", action="append", default=[], help="a verifier key, NAME+HASH+BASE64; repeatable")
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint that was kept elsewhere")
    parser.add_argument("--proof", type=Path, help="a proof file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if (options.directory is None) == (options.proof is None):
        parser.error("expected a directory or --proof FILE, one of the two")
    if options.proof is not None and options.checkpoint is not None:
        parser.error("a proof file brings its checkpoint with it: leave out --checkpoint")
    if options.directory is not None and not options.directory.is_dir():
        parser.error(f"{options.directory}: no such directory")
    try:
        keys = [parse_key(text) for text in options.key]
    except Wrong as error:
        parser.error(f"--key: {error}")
    files: dict[Path, bytes] = {}
    for path in filter(None, (options.checkpoint, options.proof)):
        data = read_small(path)
        if data is None:
            parser.error(f"{path}: cannot be read, or is too large")
        files[path] = data
    if options.proof is not None:
        reports = [check_proof(files[options.proof], keys)]
    else:
        held = None if options.checkpoint is None else files[options.checkpoint]
        reports = check_directory(options.directory.absolute(), held, keys)
    if options.json:
        say(json.dumps({"schema": "caligo.verify-ledger/1", "signatures_checked": bool(keys), "reports": reports}))
    else:
        print_reports(reports, bool(keys))
    return 8 if any(report["findings"] for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())

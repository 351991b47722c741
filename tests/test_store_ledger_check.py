"""Laws of verification: every way to tamper with a ledger is named, with what shows it; by caligo and by the script.

Covers: checkpoints as signed notes, holding them against ledgers, proof files, the standalone script, and what nobody
can see without a checkpoint that was kept elsewhere. Does not cover: appending (test_store_ledger.py).
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.errors import ConfigError, LedgerCorruptError, SchemaVersionError, SignatureError, StoreError
from caligo.store.audit import merkle, verify_ledger
from caligo.store.audit.ledger import Ledger, encode_entry, foreign_ledger
from caligo.store.audit.ledger_check import HELD, LedgerReport, verify_store
from caligo.store.audit.ledger_check import verify_ledger as verify
from caligo.store.audit.notes import (
    Checkpoint,
    Note,
    NoteError,
    check_signatures,
    checkpoint_path,
    make_checkpoint,
    parse_checkpoint,
    parse_note,
    sign_text,
)
from caligo.store.audit.proofs import check_proof, covering_checkpoint, find_seal, make_proof, proof_bytes
from caligo.store.bundles.signing import PublicKey, Signer, generate_key, load_signer
from caligo.store.bundles.trust import Trust, TrustedKey
from caligo.store.files import document_bytes
from caligo.store.findings import Code

AT = datetime(2026, 3, 14, 9, 26, 53, 589000, tzinfo=UTC)
SCRIPT = Path(verify_ledger.__file__)
ORIGIN = "0123456789abcdef" * 2


def signer_of(seed: int, name: str = "lab.example/ledger") -> Signer:
    private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    return Signer(name, private.public_key().public_bytes_raw(), Path("memory"), private)


SIGNER, OTHER = signer_of(1), signer_of(2, "other.example")
TRUST = Trust((TrustedKey(SIGNER.public_key),))
KEY = SIGNER.public_key.verifier_key
# The checkpoint of specs/ledger.md, signed with the private key of 32 bytes 0x01.
VECTOR = Checkpoint(ORIGIN, 2, bytes.fromhex("f7ddb0702b273818f71cacf1a0967199abfe0dd66b5ca4714be18c873d2eca3f"))


# --- notes ----------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_what_its_contract_says() -> None:
    note = Note(VECTOR.text, (sign_text(VECTOR.text, SIGNER),)).data
    text = b"caligo.ledger/0123456789abcdef0123456789abcdef\n2\n992wcCsnOBj3HKzxoJZxmav+DdZrXKRxS+GMhz0uyj8=\n"
    # By hand, from C2SP signed-note: key hash = SHA-256(name, line feed, 0x01, public key)[:4].
    private = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
    public = private.public_key().public_bytes_raw()
    key_hash = hashlib.sha256(b"lab.example/ledger\n\x01" + public).digest()[:4]
    line = "\u2014 lab.example/ledger ".encode() + base64.b64encode(key_hash + private.sign(text)) + b"\n"
    assert note == text + b"\n" + line
    parsed, again = parse_checkpoint(note)
    assert (parsed, again.data) == (VECTOR, note)
    contract = (Path(__file__).parents[1] / "specs" / "ledger.md").read_text()
    for line in (*note.decode().splitlines(), KEY, public.hex(), VECTOR.root.hex()):
        assert line in contract
    # And read back by hand.
    body, _, tail = note.rpartition(b"\n\n")
    raw = base64.b64decode(tail.split(b" ")[2])
    Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], body + b"\n")


def test_the_example_of_the_note_format_is_read_and_verified() -> None:
    # golang.org/x/mod/sumdb/note, package documentation.
    key = PublicKey.of_text("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    note = parse_note(
        text.encode() + b"\n\xe2\x80\x94 PeterNeumann "
        b"x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    assert note.text == text
    signatures = check_signatures(note, Trust((TrustedKey(key),)))
    assert [believed.key for believed in signatures.believed] == [key]
    with pytest.raises(NoteError, match="does not have a name"):
        parse_checkpoint(note.data)


def test_unknown_revoked_and_wrong_signatures_are_told_apart() -> None:
    good, other = sign_text(VECTOR.text, SIGNER), sign_text(VECTOR.text, OTHER)
    cosigned = Note(VECTOR.text, (other, good))
    signatures = check_signatures(parse_note(cosigned.data), TRUST)
    assert [key.key.name for key in signatures.believed] == [SIGNER.name]
    assert (signatures.refused, signatures.unknown) == ((), (OTHER.name,))
    assert check_signatures(cosigned, TRUST.revoking(SIGNER.key_id)).refused == ((SIGNER.name, "the key was revoked"),)
    assert [key.key.name for key in check_signatures(cosigned, TRUST.retiring(SIGNER.key_id, AT)).believed] == [
        SIGNER.name
    ]
    moved = Note(Checkpoint(ORIGIN, 8, merkle.EMPTY_ROOT).text, (good,))
    assert check_signatures(moved, TRUST).refused == ((SIGNER.name, "the signature is wrong"),)
    renamed = Note(VECTOR.text, (sign_text(VECTOR.text, signer_of(1, "renamed")),))
    assert check_signatures(renamed, TRUST).unknown == ("renamed",)


GOOD = Note(VECTOR.text, (sign_text(VECTOR.text, SIGNER),)).data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:-1],
        GOOD + b"\n",
        GOOD.replace(b"\n\n", b"\n"),
        GOOD.replace(b"\n2\n", b"\n02\n"),
        GOOD.replace(b"\n2\n", b"\n-2\n"),
        GOOD.replace(b"\n2\n", b"\n9999999999\n"),
        GOOD.replace(b"\n2\n", b"\n\n2\n"),
        GOOD.replace(b"\n2\n", b"\n2\r\n"),
        GOOD.replace(b"caligo.ledger/", b"caligo.other/"),
        GOOD.replace(b"0123456789abcdef", b"0123456789ABCDEF"),
        GOOD.replace(b"yj8=\n", b"yj9=\n"),
        GOOD.replace(b"yj8=\n", b"yj8\n"),
        GOOD.replace(b"992wcCsn", b""),
        GOOD.replace("\u2014".encode(), b"-"),
        GOOD.replace(b" lab.example/ledger ", b" lab+example "),
        GOOD.replace(b" lab.example/ledger ", b"  "),
        VECTOR.text.encode() + "\n\u2014 name AAAA\n".encode(),
        VECTOR.text.encode() + "\n\u2014 name é===\n".encode(),
        VECTOR.text.encode() + b"\n" + 101 * GOOD.rpartition(b"\n\n")[2],
        b"\xff" + GOOD,
        bytes(1 << 20) + GOOD,
    ],
)
def test_what_is_no_checkpoint_is_refused_by_both(data: bytes) -> None:
    with pytest.raises(NoteError):
        parse_checkpoint(data)
    with pytest.raises(verify_ledger.Wrong):
        verify_ledger.parse_checkpoint(data)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_both_parsers_agree_on_damaged_checkpoints(data: st.DataObject) -> None:
    note = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(note) - 1))
        how = data.draw(st.sampled_from(["flip", "drop", "double", "insert"]))
        if how == "flip":
            note[place] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "drop":
            del note[place : place + data.draw(st.integers(1, 40))]
        elif how == "double":
            note[place:place] = note[place : place + data.draw(st.integers(1, 120))]
        else:
            note[place:place] = data.draw(st.sampled_from([b"\n", b" ", b"\n\n", b"+", b"=", b"\xe2\x80\x94 "]))
        if not note:
            break
    found: list[object] = []
    for parse in (lambda raw: parse_checkpoint(raw)[0], verify_ledger.parse_checkpoint):
        try:
            checkpoint = parse(bytes(note))
            found.append((checkpoint.origin, checkpoint.size, checkpoint.root))
        except (NoteError, verify_ledger.Wrong):
            found.append(None)
    assert found[0] == found[1]
    if found[0] is not None and bytes(note) != GOOD:
        whole = parse_checkpoint(bytes(note))[1]
        assert whole.text == VECTOR.text or check_signatures(whole, TRUST).believed == ()


@settings(max_examples=200, deadline=None)
@given(value=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63), text=st.text())
def test_the_script_writes_canonical_json_as_the_library(value: float, text: str) -> None:
    data = encode_entry(
        origin=ORIGIN, index=0, kind="x", at="2026-03-14T09:26:53.589Z", content={text: float(value)}, previous=None
    )
    assert verify_ledger.parse_entry(data)["content"] == {text: float(value)}


# --- a ledger and its tamperers -------------------------------------------------------------------------------------


def filled(store: Path, count: int, first: int = 0) -> Ledger:
    ledger = Ledger.open(store, create=True)
    for number in range(first, first + count):
        ledger.append("seal", {"run": f"run{number}", "identity": "00" * 32, "seal_sha256": "11" * 32}, at=AT)
    return ledger


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A store of nine entries with a checkpoint at five, which was also kept elsewhere."""
    store = tmp_path_factory.mktemp("pristine") / "store"
    held = make_checkpoint(filled(store, 5), SIGNER)
    filled(store, 4, first=5)
    for path in store.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return store, held


@pytest.fixture
def store(pristine: tuple[Path, bytes], tmp_path: Path) -> Path:
    shutil.copytree(pristine[0], tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def held(pristine: tuple[Path, bytes]) -> bytes:
    return pristine[1]


def rewritten(ledger: Ledger, changed: int, count: int) -> None:
    """What a careful forger does: change an entry and every one after it, so that they follow one another."""
    entries = list(ledger.entries())
    previous = entries[changed].previous
    for index in range(changed, count):
        content = {"run": "forged"} if index == changed else entries[min(index, len(entries) - 1)].content
        data = encode_entry(
            origin=ledger.origin, index=index, kind="seal", at=entries[0].at, content=content, previous=previous
        )
        ledger.entry_path(index).write_bytes(data)
        previous = merkle.leaf_hash(data).hex()


def edit(ledger: Ledger) -> None:
    path = ledger.entry_path(3)
    path.write_bytes(path.read_bytes().replace(b"run3", b"run4"))


def damage(ledger: Ledger) -> None:
    path = ledger.entry_path(3)
    path.write_bytes(path.read_bytes()[:-10])


def respell(ledger: Ledger) -> None:
    path = ledger.entry_path(8)
    path.write_bytes(path.read_bytes().replace(b'{"at"', b'{ "at"'))


def truncate(ledger: Ledger) -> None:
    for index in range(4, 9):
        ledger.entry_path(index).unlink()


def remove(ledger: Ledger) -> None:
    ledger.entry_path(2).unlink()
    ledger.entry_path(3).unlink()


def reorder(ledger: Ledger) -> None:
    first, second = ledger.entry_path(2).read_bytes(), ledger.entry_path(3).read_bytes()
    ledger.entry_path(2).write_bytes(second)
    ledger.entry_path(3).write_bytes(first)


def foreign_entry(ledger: Ledger) -> None:
    path = ledger.entry_path(8)
    path.write_bytes(path.read_bytes().replace(ledger.origin.encode(), ORIGIN.encode()))


def newer_entry(ledger: Ledger) -> None:
    path = ledger.entry_path(8)
    path.write_bytes(path.read_bytes().replace(b'"schema":1', b'"schema":2'))


def stray(ledger: Ledger) -> None:
    (ledger.entry_path(0).parent / "notes.txt").touch()
    (ledger.entry_path(0).parent / "000005000.json").write_bytes(ledger.entry_path(0).read_bytes())
    (ledger.directory / "entries" / "001").write_bytes(b"")


def rollback(ledger: Ledger) -> None:
    truncate(ledger)
    checkpoint_path(ledger, 5).unlink()


def fork(ledger: Ledger) -> None:
    rewritten(ledger, 2, 9)
    checkpoint_path(ledger, 5).unlink()


def careless_fork(ledger: Ledger) -> None:
    rewritten(ledger, 2, 9)


def renamed_checkpoint(ledger: Ledger) -> None:
    checkpoint_path(ledger, 5).rename(checkpoint_path(ledger, 4))


def damaged_checkpoint(ledger: Ledger) -> None:
    checkpoint_path(ledger, 5).write_bytes(b"torn")


def forged_checkpoint(ledger: Ledger) -> None:
    path = checkpoint_path(ledger, 5)
    checkpoint, note = parse_checkpoint(path.read_bytes())
    forged = Checkpoint(checkpoint.origin, 6, ledger.root(6))
    checkpoint_path(ledger, 6).write_bytes(Note(forged.text, note.signatures).data)


def strangers_checkpoint(ledger: Ledger) -> None:
    make_checkpoint(ledger, OTHER)


def other_stores_checkpoint(ledger: Ledger) -> None:
    checkpoint = Checkpoint(ORIGIN, 5, ledger.root(5))
    checkpoint_path(ledger, 5).write_bytes(Note(checkpoint.text, (sign_text(checkpoint.text, SIGNER),)).data)


def wiped(ledger: Ledger) -> None:
    shutil.rmtree(ledger.directory)


def new_origin(ledger: Ledger) -> None:
    wiped(ledger)
    store = ledger.directory.parent.parent
    (store / "store.json").unlink()
    filled(store, 9)


def damaged_store_document(ledger: Ledger) -> None:
    path = ledger.directory.parent.parent / "store.json"
    path.write_bytes(path.read_bytes().replace(b'"schema": 1', b'"schema": 3'))


def newer_store_document(ledger: Ledger) -> None:
    document = {"format": "caligo.store", "schema": 2, "origin": ledger.origin}
    (ledger.directory.parent.parent / "store.json").write_bytes(document_bytes(document))


E, C = "entries/000/000/{:09}.json", "checkpoints/{:09}.txt"
# What was done -> what is found with the checkpoint that was kept elsewhere, in order; of what, the last two arguments.
TAMPERING: list[tuple[Callable[[Ledger], None], list[tuple[str, str]]]] = [
    (edit, [("040", E.format(3)), ("046", C.format(5)), ("046", HELD)]),
    (damage, [("040", E.format(3)), ("040", E.format(3)), ("046", C.format(5)), ("046", HELD)]),
    (respell, [("040", E.format(8))]),
    (truncate, [("044", C.format(5)), ("045", HELD)]),
    (rollback, [("045", HELD)]),
    (remove, [("041", E.format(2)), ("046", C.format(5)), ("046", HELD)]),
    (reorder, [("042", E.format(2)), ("042", E.format(3)), ("040", E.format(3)), ("046", C.format(5)), ("046", HELD)]),
    (foreign_entry, [("043", E.format(8))]),
    (newer_entry, [("006", E.format(8))]),
    (
        stray,
        [("040", "entries/000/000/000005000.json"), ("040", "entries/000/000/notes.txt"), ("040", "entries/001")],
    ),
    (fork, [("046", HELD)]),
    (careless_fork, [("046", C.format(5)), ("046", HELD)]),
    (renamed_checkpoint, [("047", C.format(4))]),
    (damaged_checkpoint, [("047", C.format(5))]),
    (forged_checkpoint, [("047", C.format(6))]),
    (strangers_checkpoint, [("048", C.format(9))]),
    (other_stores_checkpoint, [("043", C.format(5))]),
    (wiped, [("045", HELD)]),
    (new_origin, [("045", HELD)]),
    (damaged_store_document, [("049", "store.json")]),
    (newer_store_document, [("049", "store.json")]),
]


def found(reports: list[LedgerReport]) -> list[tuple[str, str]]:
    return [(finding.code[-3:], finding.where) for report in reports for finding in report.findings]


def by_script(*arguments: str | Path, cwd: Path, code: int) -> dict[str, Any]:
    """What the script says, run by an interpreter that sees neither the repository nor the environment."""
    script = cwd / "elsewhere" / "verify_ledger.py"
    script.parent.mkdir(exist_ok=True)
    shutil.copy(SCRIPT, script)
    done = subprocess.run(
        [sys.executable, "-I", script, *arguments, "--json"], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def check_same(reports: list[LedgerReport], document: dict[str, Any]) -> None:
    """Library and script say the same of the same files."""
    assert len(reports) == len(document["reports"])
    for report, other in zip(reports, document["reports"], strict=True):
        assert (report.origin, report.size, report.root) == (other["origin"], other["size"], other["root"])
        assert [checkpoint.to_json() for checkpoint in report.checkpoints] == other["checkpoints"]
        assert [(item.code, item.where) for item in report.findings] == [
            (item["code"], item["where"]) for item in other["findings"]
        ]


def test_nothing_is_found_in_an_honest_ledger(store: Path, held: bytes, tmp_path: Path) -> None:
    reports = verify_store(store, held, TRUST)
    assert found(reports) == []
    assert [(checkpoint.holds, checkpoint.believed) for checkpoint in reports[0].checkpoints] == [
        (True, (SIGNER.name,))
    ] * 2
    assert (reports[0].size, reports[0].root) == (9, Ledger.open(store).root().hex())
    (tmp_path / "held").write_bytes(held)
    check_same(reports, by_script(store, "--key", KEY, "--checkpoint", "held", cwd=tmp_path, code=0))
    unsigned = verify_store(store, held)
    assert found(unsigned) == []
    assert unsigned[0].checkpoints[0].believed == ()
    assert json.loads(json.dumps(reports[0].to_json()))["checkpoints"][1]["where"] == HELD


@pytest.mark.parametrize(("tamper", "expected"), TAMPERING, ids=lambda value: getattr(value, "__name__", ""))
def test_every_tampering_is_found_by_library_and_script(
    store: Path,
    held: bytes,
    tmp_path: Path,
    tamper: Callable[[Ledger], None],
    expected: list[tuple[str, str]],
) -> None:
    ledger = Ledger.open(store)
    tamper(ledger)
    reports = verify_store(store, held, TRUST)
    assert found(reports) == expected
    (tmp_path / "held").write_bytes(held)
    check_same(reports, by_script(store, "--key", KEY, "--checkpoint", "held", cwd=tmp_path, code=8))
    for finding in (finding for report in reports for finding in report.findings):
        document = finding.to_json()
        assert document["what"]
        assert document["remedy"]
        shown = document["evidence"]
        if finding.code == Code.LEDGER_FORKED and "consistency_proof" in shown:
            # The proof that the report carries fails between the checkpoint and the ledger, and only because of it.
            path = [bytes.fromhex(value) for value in shown["consistency_proof"]]
            sizes = (shown["checkpoint_size"], shown["ledger_size"])
            root = bytes.fromhex(shown["ledger_root"])
            assert not merkle.verify_consistency(*sizes, path, bytes.fromhex(shown["checkpoint_root"]), root)
            assert merkle.verify_consistency(*sizes, path, bytes.fromhex(shown["root_at_checkpoint"]), root)
        if finding.code in (Code.LEDGER_ROLLED_BACK, Code.LEDGER_TRUNCATED):
            assert shown["ledger_size"] < shown["checkpoint_size"]


def test_what_nobody_sees_without_a_checkpoint_kept_elsewhere(store: Path, held: bytes, tmp_path: Path) -> None:
    """Whoever can write everything can rewrite everything; and old states look like states."""
    older = tmp_path / "older"
    shutil.copytree(store, older)
    rollback(Ledger.open(older))
    unseen = {"rewritten": store, "rolled back": older}
    fork(Ledger.open(store))
    forger = Ledger.open(store)
    checkpoint = Checkpoint(forger.origin, 5, forger.root(5))
    # With the key, even the checkpoint beside the ledger is made anew.
    checkpoint_path(forger, 5).write_bytes(Note(checkpoint.text, (sign_text(checkpoint.text, SIGNER),)).data)
    for name, place in unseen.items():
        assert found(verify_store(place, None, TRUST)) == [], name
        assert {code for code, where in found(verify_store(place, held, TRUST)) if where == HELD} <= {"045", "046"}
        assert found(verify_store(place, held, TRUST)) != [], name


def test_what_came_after_the_held_checkpoint_can_be_rewritten_unseen(store: Path, held: bytes) -> None:
    rewritten(Ledger.open(store), 6, 9)
    assert found(verify_store(store, held, TRUST)) == []


def test_every_flipped_byte_of_every_entry_is_found(store: Path, held: bytes) -> None:
    ledger = Ledger.open(store)
    flips = 0
    for index in (0, 4):
        path = ledger.entry_path(index)
        data = path.read_bytes()
        for place in range(0, len(data), 3):
            path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
            assert HELD in {finding.where for finding in verify(ledger, held).findings}
            flips += 1
        path.write_bytes(data)
    assert flips > 150
    assert verify(ledger, held).findings == ()


def test_foreign_ledgers_are_verified_too(store: Path, held: bytes, tmp_path: Path) -> None:
    other = tmp_path / "other"
    filled(other, 2)
    source = Ledger.open(store)
    target = foreign_ledger(other, source.origin)
    for entry in source.entries():
        target.adopt(entry.data)
    reports = verify_store(other, held, TRUST)
    assert [(report.size, len(report.findings)) for report in reports] == [(2, 0), (9, 0)]
    assert reports[1].checkpoints[0].where == HELD
    (tmp_path / "held").write_bytes(held)
    check_same(reports, by_script(other, "--key", KEY, "--checkpoint", "held", cwd=tmp_path, code=0))
    alone = by_script(target.directory, "--key", KEY, "--checkpoint", "held", cwd=tmp_path, code=0)
    check_same(reports[1:], alone)


def test_an_unreadable_held_checkpoint_is_a_finding(store: Path, tmp_path: Path) -> None:
    for place in (store, tmp_path):
        reports = verify_store(place, b"torn", TRUST)
        assert found(reports) == [("047", HELD)]
        (tmp_path / "held").write_bytes(b"torn")
        check_same(reports, by_script(place, "--checkpoint", "held", "--key", KEY, cwd=tmp_path, code=8))
    assert verify_store(tmp_path / "nothing") == []


# --- checkpoints beside the ledger ----------------------------------------------------------------------------------


def test_signatures_of_several_keys_join_one_checkpoint(store: Path) -> None:
    ledger = Ledger.open(store)
    first = make_checkpoint(ledger, SIGNER)
    assert make_checkpoint(ledger, SIGNER) == first
    both = make_checkpoint(ledger, OTHER)
    assert [signature.name for signature in parse_note(both).signatures] == [SIGNER.name, OTHER.name]
    assert checkpoint_path(ledger, 9).read_bytes() == both
    assert make_checkpoint(ledger, SIGNER, size=5) == checkpoint_path(ledger, 5).read_bytes()
    path = checkpoint_path(ledger, 9)
    path.chmod(0o644)
    path.write_bytes(b"torn")
    with pytest.raises(StoreError, match="says otherwise"):
        make_checkpoint(ledger, SIGNER)
    with pytest.raises(ConfigError, match="0 to 9"):
        make_checkpoint(ledger, SIGNER, size=10)


def test_an_empty_ledger_has_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has none"):
        make_checkpoint(Ledger.open(tmp_path, create=True), SIGNER)


def test_a_key_file_signs_checkpoints(store: Path, tmp_path: Path) -> None:
    public = generate_key(tmp_path / "key.pem", "lab")
    note = make_checkpoint(Ledger.open(store), load_signer(tmp_path / "key.pem"))
    assert check_signatures(parse_note(note), Trust((TrustedKey(public),))).believed[0].key == public


# --- proof files ----------------------------------------------------------------------------------------------------


def test_a_proof_file_convinces_without_the_ledger(store: Path, tmp_path: Path) -> None:
    ledger, entry = find_seal(store, "run3")
    assert (entry.index, ledger.origin) == (3, Ledger.open(store).origin)
    proof = make_proof(ledger, 3, covering_checkpoint(ledger, 3))
    data = proof_bytes(proof)
    proved = check_proof(data, TRUST)
    assert (proved.entry, proved.checkpoint.size, proved.believed) == (entry, 5, (SIGNER.name,))
    assert check_proof(data).believed == ()
    (tmp_path / "proof.json").write_bytes(data)
    report = by_script("--proof", "proof.json", "--key", KEY, cwd=tmp_path, code=0)["reports"][0]
    assert (report["index"], report["size"], report["believed"]) == (3, 5, [SIGNER.name])
    assert report["entry"]["content"]["run"] == "run3"


def changes(proof: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """A proof file that proves nothing, in every way."""

    def changed(**members: Any) -> bytes:
        return json.dumps({**proof, **members}).encode()

    path = proof["inclusion"]
    yield "entry", changed(entry=proof["entry"].replace("run3", "run4"))
    yield "entry spelt otherwise", changed(entry=proof["entry"].replace('{"at"', '{ "at"'))
    yield "entry is no text", changed(entry="\ud800")
    yield "another index", changed(index=2)
    yield "another size", changed(size=6)
    yield "another origin", changed(origin=ORIGIN)
    yield "shorter", changed(inclusion=path[:-1])
    yield "longer", changed(inclusion=[*path, path[0]])
    yield "much longer", changed(inclusion=path * 1000)
    yield "other path", changed(inclusion=path[::-1])
    yield "path of other things", changed(inclusion=["x"])
    yield "checkpoint", changed(checkpoint=proof["checkpoint"].replace("\n5\n", "\n6\n"))
    yield "torn checkpoint", changed(checkpoint=proof["checkpoint"][:-5])
    yield "index is no number", changed(index=True)
    yield "no schema", changed(schema=None)
    yield "another format", changed(format="caligo.run")
    yield "not JSON", b"{"
    yield "deep", b"[" * 100_000
    yield "a list", b"[]"


def test_a_changed_proof_proves_nothing(store: Path, tmp_path: Path) -> None:
    ledger = Ledger.open(store)
    proof = make_proof(ledger, 3, covering_checkpoint(ledger, 3))
    for name, data in changes(proof):
        with pytest.raises(LedgerCorruptError, match="proves nothing"):
            check_proof(data, TRUST)
        report = verify_ledger.check_proof(data, [verify_ledger.parse_key(KEY)])
        assert [item["code"] for item in report["findings"]] == ["CAL-STORE-046"], name
    newer = json.dumps({**proof, "schema": 2}).encode()
    with pytest.raises(SchemaVersionError):
        check_proof(newer)
    assert verify_ledger.check_proof(newer, [])["findings"][0]["code"] == "CAL-STORE-006"
    (tmp_path / "proof.json").write_bytes(newer)
    by_script("--proof", "proof.json", cwd=tmp_path, code=8)


def test_a_proof_without_a_signature_to_believe_is_refused(store: Path) -> None:
    ledger = Ledger.open(store)
    data = proof_bytes(make_proof(ledger, 3, covering_checkpoint(ledger, 3)))
    with pytest.raises(SignatureError, match="no trusted key signed it"):
        check_proof(data, Trust((TrustedKey(OTHER.public_key),)))
    with pytest.raises(SignatureError, match="revoked"):
        check_proof(data, TRUST.revoking(SIGNER.key_id))
    stranger = verify_ledger.parse_key(OTHER.public_key.verifier_key)
    assert [item["code"] for item in verify_ledger.check_proof(data, [stranger])["findings"]] == ["CAL-STORE-048"]


def test_a_proof_needs_a_checkpoint_that_covers_its_entry(store: Path, held: bytes) -> None:
    ledger = Ledger.open(store)
    with pytest.raises(ConfigError, match="no checkpoint covers entry 7"):
        covering_checkpoint(ledger, 7)
    for index, checkpoint in ((7, held), (0, b"torn"), (-1, held)):
        with pytest.raises(ConfigError):
            make_proof(ledger, index, checkpoint)
    with pytest.raises(ConfigError, match="no ledger"):
        find_seal(store, "run77")
    edit(ledger)
    with pytest.raises(LedgerCorruptError, match="root of the checkpoint"):
        make_proof(ledger, 0, held)


# --- the script -----------------------------------------------------------------------------------------------------


def test_the_script_names_what_it_was_not_given(store: Path, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-I", SCRIPT, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    code, text = run(store)
    assert (code, "signatures were not checked" in text, "nothing is wrong" in text) == (0, True, True)
    edit(Ledger.open(store))
    code, text = run(store, "--key", KEY)
    assert (code, "CAL-STORE-046" in text, "DOES NOT HOLD" in text) == (8, True, True)
    for wrong in (
        (),
        (store, "--proof", "x"),
        ("--proof", "x", "--checkpoint", "y"),
        ("nowhere",),
        (store, "--key", "x"),
        (store, "--key", KEY[:-3] + "AA="),
        (store, "--checkpoint", "nowhere"),
    ):
        assert run(*wrong)[0] == 2, wrong


def test_the_script_stands_alone() -> None:
    source = SCRIPT.read_text()
    assert "import caligo" not in source
    assert "from caligo" not in source

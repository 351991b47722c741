"""Keys and trust: a key that was made can be loaded, a damaged one is refused, rotation and revocation hold."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caligo.errors import ConfigError, SignatureError, SigningKeyError, StoreError
from caligo.store.audit.ledger import Ledger
from caligo.store.bundles.signing import (
    PublicKey,
    Signer,
    find_key,
    generate_key,
    load_signer,
    own_keys,
    read_passphrase,
)
from caligo.store.bundles.trust import Trust, TrustedKey, default_trust, load_trust, save_trust

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    generate_key(tmp_path / "lab.pem", "lab")
    return load_signer(tmp_path / "lab.pem")


# --- key files ----------------------------------------------------------------------------------------------------


def test_a_key_is_made_loaded_and_signs(tmp_path: Path) -> None:
    key = generate_key(tmp_path / "deep" / "er" / "lab.pem", "lab-2026")
    signer = load_signer(tmp_path / "deep" / "er" / "lab.pem")
    assert (signer.name, signer.public_key, signer.key_id) == ("lab-2026", key, key.key_id)
    assert key.key_id == hashlib.sha256(key.public_bytes).hexdigest()
    signature = signer.sign(b"what was done")
    assert signature == signer.sign(b"what was done")
    assert len(signature) == 64
    assert key.verifies(b"what was done", signature)
    assert not key.verifies(b"what was not done", signature)
    assert not key.verifies(b"what was done", signature[:-1])


def test_a_key_file_is_its_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "lab.pem"
    generate_key(path, "lab")
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with pytest.raises(SigningKeyError, match="never overwritten"):
        generate_key(path, "lab")
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, signer: Signer, mode: int) -> None:
    signer.path.chmod(mode)
    with pytest.raises(SigningKeyError, match="chmod 600"):
        load_signer(signer.path)


def test_private_bits_are_in_no_text_of_a_signer(signer: Signer) -> None:
    secret = signer.private.private_bytes_raw()
    for text in (repr(signer), str(signer)):
        assert secret.hex() not in text
        assert repr(secret) not in text


def test_an_encrypted_key_opens_with_its_passphrase_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phrase_file = tmp_path / "phrase"
    phrase_file.write_text("correct horse\n")
    phrase_file.chmod(0o600)
    phrase = read_passphrase(phrase_file)
    assert phrase == b"correct horse"
    path = tmp_path / "lab.pem"
    key = generate_key(path, "lab", passphrase=phrase)
    assert b"ENCRYPTED PRIVATE KEY" in path.read_bytes()
    assert load_signer(path, phrase).public_key == key
    with pytest.raises(SigningKeyError, match="passphrase"):
        load_signer(path)
    with pytest.raises(SigningKeyError, match="passphrase") as refused:
        load_signer(path, b"wrong")
    assert "wrong" not in refused.value.message
    assert read_passphrase() is None
    monkeypatch.setenv("CALIGO_KEY_PASSPHRASE", "correct horse")
    assert read_passphrase() == phrase


def test_a_bad_passphrase_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "phrase"
    path.write_text("\n")
    path.chmod(0o600)
    with pytest.raises(SigningKeyError, match="empty"):
        read_passphrase(path)
    path.chmod(0o644)
    with pytest.raises(SigningKeyError, match="0600"):
        read_passphrase(path)
    with pytest.raises(ConfigError, match="empty"):
        generate_key(tmp_path / "x.pem", "x", passphrase=b"")


def test_every_damaged_key_file_is_a_typed_error(tmp_path: Path, signer: Signer) -> None:
    whole = signer.path.read_bytes()
    begin = whole.index(b"-----BEGIN")
    path = tmp_path / "torn.pem"
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        path.chmod(0o600)
        with pytest.raises(SigningKeyError):
            load_signer(path)
    for place in range(begin + 30, len(whole) - 40, 5):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        try:
            loaded = load_signer(path)
        except SigningKeyError:
            continue
        assert loaded.key_id != signer.key_id or bytes(flipped) != whole


def test_foreign_keys_and_other_files_are_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448

    keys: list[Any] = [ec.generate_private_key(ec.SECP256R1()), ed448.Ed448PrivateKey.generate()]
    for number, foreign in enumerate(keys):
        path = tmp_path / f"{number}.pem"
        path.write_bytes(
            foreign.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        path.chmod(0o600)
        with pytest.raises(SigningKeyError, match="Ed25519"):
            load_signer(path)
    with pytest.raises(SigningKeyError, match="cannot be opened"):
        load_signer(tmp_path / "nothing.pem")
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(SigningKeyError, match="regular"):
        load_signer(tmp_path / "fifo")


def test_a_key_of_another_tool_is_named_after_its_file(tmp_path: Path, signer: Signer) -> None:
    path = tmp_path / "_my key.pem"
    whole = signer.path.read_bytes()
    path.write_bytes(whole[whole.index(b"-----BEGIN") :])
    path.chmod(0o600)
    assert load_signer(path).name == "my-key"
    assert load_signer(path).key_id == signer.key_id


def test_the_key_that_is_meant_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(SigningKeyError, match="got none"):
        find_key()
    generate_key(tmp_path / "caligo" / "keys" / "a.pem", "a")
    assert find_key() == find_key("a") == find_key("a.pem") == tmp_path / "caligo" / "keys" / "a.pem"
    generate_key(tmp_path / "caligo" / "keys" / "b.pem", "b")
    with pytest.raises(SigningKeyError, match="a, b"):
        find_key()
    monkeypatch.setenv("CALIGO_SIGNING_KEY", "b")
    assert find_key().stem == "b"
    with pytest.raises(SigningKeyError, match="'c'"):
        find_key("c")


# --- public keys --------------------------------------------------------------------------------------------------


def test_a_verifier_key_is_the_one_of_the_signed_note_specification() -> None:
    # The example of the Go package golang.org/x/mod/sumdb/note.
    text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    key = PublicKey.of_text(text)
    assert key.name == "PeterNeumann"
    assert key.verifier_key == text
    signature = base64.b64decode(
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    )
    assert signature[:4] == key.key_hash
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    assert key.verifies(text.encode(), signature[4:])


@given(st.binary(min_size=32, max_size=32), st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/@-]{0,63}", fullmatch=True))
def test_a_public_key_survives_its_text(public: bytes, name: str) -> None:
    key = PublicKey(name, public)
    assert PublicKey.of_text(f" {key.verifier_key}\n") == key


@given(st.data())
def test_a_changed_verifier_key_is_another_key_or_refused(data: st.DataObject) -> None:
    key = PublicKey("lab", hashlib.sha256(b"some").digest())
    text = key.verifier_key
    place = data.draw(st.integers(0, len(text) - 1))
    char = data.draw(st.characters(codec="ascii"))
    try:
        other = PublicKey.of_text(text[:place] + char + text[place + 1 :])
    except SigningKeyError:
        return
    assert other == key


# --- trust --------------------------------------------------------------------------------------------------------


def trusting(signer: Signer, **how: object) -> Trust:
    return Trust((TrustedKey(signer.public_key, **how),))  # type: ignore[arg-type]


def test_only_a_trusted_key_counts(signer: Signer) -> None:
    signature = signer.sign(b"text")
    trusted = trusting(signer)
    assert trusted.verify(b"text", signature, signer.key_id).key == signer.public_key
    with pytest.raises(SignatureError, match="changed after"):
        trusted.verify(b"Text", signature, signer.key_id)
    with pytest.raises(SignatureError, match="does not have"):
        Trust().verify(b"text", signature, signer.key_id)


def test_a_retired_key_counts_for_what_was_signed_before(signer: Signer) -> None:
    signature = signer.sign(b"text")
    retired = trusting(signer).retiring(signer.key_id, NOON)
    retired.verify(b"text", signature, signer.key_id, at=NOON - HOUR)
    retired.verify(b"text", signature, signer.key_id, at="2026-03-14T12:00:00Z")
    retired.verify(b"text", signature, signer.key_id)
    with pytest.raises(SignatureError, match="valid until"):
        retired.verify(b"text", signature, signer.key_id, at=NOON + HOUR)
    # Retiring later does not bring back what had ended.
    again = retired.retiring(signer.key_id, NOON + 2 * HOUR)
    with pytest.raises(SignatureError, match="valid until"):
        again.verify(b"text", signature, signer.key_id, at=NOON + HOUR)
    with pytest.raises(SigningKeyError, match="retired"):
        retired.require_usable(signer.key_id)


def test_a_revoked_key_counts_for_nothing_and_does_not_come_back(signer: Signer) -> None:
    revoked = trusting(signer).revoking(signer.key_id, "lost")
    for at in (None, NOON, NOON - HOUR * 9999):
        with pytest.raises(SignatureError, match="revoked"):
            revoked.verify(b"text", signer.sign(b"text"), signer.key_id, at=at)
    with pytest.raises(ConfigError, match="revoked"):
        revoked.retiring(signer.key_id, NOON)
    with pytest.raises(ConfigError, match="revoked"):
        revoked.adding(TrustedKey(signer.public_key))
    with pytest.raises(SigningKeyError, match="revoked"):
        revoked.require_usable(signer.key_id)


def test_a_key_is_not_believed_before_it_is_valid(signer: Signer) -> None:
    trust = trusting(signer, valid_from=NOON)
    with pytest.raises(SignatureError, match="valid from"):
        trust.verify(b"text", signer.sign(b"text"), signer.key_id, at=NOON - HOUR)


def test_a_key_is_found_by_id_beginning_of_id_name_and_note(signer: Signer) -> None:
    successor = TrustedKey(PublicKey("lab", bytes(32)))
    trust = trusting(signer).retiring(signer.key_id, NOON).adding(successor)
    first = trust.keys[0]
    assert trust.find(signer.key_id) == trust.find(signer.key_id[:10]) == first
    assert trust.find("lab") == successor, "the active one of that name"
    assert trust.find("nobody") is None
    assert trust.find_note_key("lab", signer.public_key.key_hash) == first
    assert trust.find_note_key("other", signer.public_key.key_hash) is None
    with pytest.raises(ConfigError, match="2"):
        trust.adding(TrustedKey(PublicKey("lab", bytes(31) + b"1"))).find("lab")


@given(
    st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.text(max_size=40)), unique_by=lambda pair: pair[0]),
    st.data(),
)
def test_a_trust_file_says_what_was_saved(
    tmp_path_factory: pytest.TempPathFactory, keys: list[tuple[bytes, str]], data: st.DataObject
) -> None:
    times = st.none() | st.integers(0, 4_000_000_000_000).map(
        lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    )
    entries = tuple(
        TrustedKey(
            PublicKey(f"key-{number}", public),
            data.draw(st.sampled_from(["active", "revoked"])),
            data.draw(times),
            data.draw(times),
            note,
        )
        for number, (public, note) in enumerate(keys)
    )
    path = tmp_path_factory.mktemp("trust") / "trust.toml"
    save_trust(Trust(entries), path)
    assert load_trust(path).keys == entries


def test_nobody_is_trusted_where_there_is_no_file_and_a_named_one_must_exist(tmp_path: Path) -> None:
    assert load_trust().keys == ()
    assert load_trust().path == default_trust()
    with pytest.raises(StoreError, match="there is none"):
        load_trust(tmp_path / "none.toml")


GOOD = f"""schema = 1
[[key]]
name = "lab"
key_id = "{hashlib.sha256(bytes(32)).hexdigest()}"
public = "{base64.b64encode(bytes(32)).decode()}"
status = "active"
"""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("schema = 1", "schema = 2"), "newer"),
        (("schema = 1", "schema = 1\nx = 2"), "schema"),
        (("active", "ok"), "status"),
        (("active", "retired"), "valid_until"),
        (("lab", "a lab"), "key name"),
        (("AAAA", "AAAB"), "SHA-256"),
        (("public", "publik"), "publik"),
        (('"active"', '"active"\nvalid_from = "yesterday"'), "with its zone"),
        (('"active"', '"active"\nvalid_from = "2026-01-01T00:00:00"'), "with its zone"),
        (('"active"', "1"), "texts"),
        (("[[key]]", "[[key]"), "TOML"),
        (("schema = 1", "schema = " + "[" * 5000), "TOML"),
    ],
)
def test_a_wrong_trust_file_is_refused_by_its_reason(tmp_path: Path, change: tuple[str, str], expected: str) -> None:
    path = tmp_path / "trust.toml"
    path.write_text(GOOD)
    assert len(load_trust(path).keys) == 1
    path.write_text(GOOD.replace(change[0], change[1], 1))
    with pytest.raises(ConfigError, match=expected):
        load_trust(path)


def test_a_key_stands_in_a_trust_file_once(tmp_path: Path) -> None:
    path = tmp_path / "trust.toml"
    path.write_text(GOOD + GOOD.removeprefix("schema = 1\n"))
    with pytest.raises(ConfigError, match="twice"):
        load_trust(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="TOML"):
        load_trust(path)


# --- the command line ---------------------------------------------------------------------------------------------


def key_command(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    from caligo.cli import main

    assert main(["store", "key", *words, "--json"]) == code
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_keys_are_made_handed_on_retired_and_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "mine"))
    made = key_command(capsys, "new", "lab/2026", "--note", 'the "first"\n', "--store", str(tmp_path / "store"))
    assert made["key_file"] == str(tmp_path / "mine" / "caligo" / "keys" / "lab-2026.pem")
    assert own_keys() == {made["key_id"]: Path(made["key_file"])}
    shown = key_command(capsys, "show")
    assert shown["verifier_key"] == made["verifier_key"]
    other = tmp_path / "theirs.toml"
    handed_on = tmp_path / "key.txt"
    handed_on.write_text(made["verifier_key"] + "\n")
    trusted = key_command(capsys, "trust", str(handed_on), "--until", "2030-01-01T00:00:00Z", "--trust", str(other))
    assert trusted["valid_until"] == "2030-01-01T00:00:00.000Z"
    retired = key_command(
        capsys, "retire", "lab/2026", "--at", "2029-01-01T00:00:00Z", "--trust", str(other), "--store", str(tmp_path)
    )
    assert (retired["status"], retired["valid_until"]) == ("retired", "2029-01-01T00:00:00.000Z")
    revoked = key_command(capsys, "revoke", made["key_id"][:12], "--store", str(tmp_path / "store"))
    assert revoked["status"] == "revoked"
    listed = key_command(capsys, "list")
    assert [(row["status"], row["file"]) for row in listed["keys"]] == [("revoked", made["key_file"])]
    entries = [entry for entry in Ledger.open(tmp_path / "store").entries() if entry.kind == "key"]
    assert [entry.content["action"] for entry in entries] == ["created", "revoked"]
    assert {entry.content["key_id"] for entry in entries} == {made["key_id"]}
    for wrong in (["revoke", "nobody"], ["trust", "no key"], ["new", "a b"], ["retire", "lab/2026", "--at", "noon"]):
        assert key_command(capsys, *wrong, code=8 if wrong[0] == "trust" else 2)["schema"] == "caligo.error/1"


def test_tables_of_keys_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from caligo.cli import main

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["store", "key", "list"]) == 0
    assert "has no key" in capsys.readouterr().err
    assert main(["store", "key", "new", "lab"]) == main(["store", "key", "list"]) == main(["store", "key", "show"]) == 0
    assert capsys.readouterr().out.count("lab") >= 4

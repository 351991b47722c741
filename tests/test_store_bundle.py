"""Signed bundles: equal inputs give equal bytes, no byte can be changed unseen, and nothing hostile is followed."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import json
import os
import random
import re
import subprocess
import sys
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bundles import document_of, members_of, opened, sign_again
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.cli import main
from caligo.errors import (
    BundleError,
    CaligoError,
    ConfigError,
    ResourceError,
    SignatureError,
    SigningKeyError,
    StoreError,
)
from caligo.store import RunWriter, State, files, load_run
from caligo.store.audit.ledger import Ledger, append_seal
from caligo.store.audit.notes import make_checkpoint
from caligo.store.bundles.archive import ArchiveError, safe_name, write_archive
from caligo.store.bundles.bundle import ENVELOPE_FILE, Bundle, read_bundle
from caligo.store.bundles.bundle_writer import WrittenBundle, write_bundle
from caligo.store.bundles.packages import installed_packages
from caligo.store.bundles.signing import PublicKey, Signer, generate_key, load_signer
from caligo.store.bundles.trust import Trust, TrustedKey, save_trust
from caligo.store.files import document_bytes

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


def make_run(store: Path, blocks: int = 20) -> Path:
    """A small sealed run."""
    with RunWriter.create(
        store, "demo", {"n": 1024, "p": 0.02, "out": "/some/where"}, seeds={"s": 1}, identity_excludes=["out"]
    ) as run:
        run.attach("note.txt", b"measured on a quiet machine\n")
        for block in range(blocks):
            run.record({"block": block, "outcome": "ok", "elapsed_ns": 1000 + block})
        run.seal({"blocks": blocks, "fer": 0.0})
    if not any(entry.content.get("run") == run.name for entry in Ledger.open(store, create=True).entries()):
        append_seal(run.path)
    return run.path


class Made:
    """A store with one run, a key, and the bundle of the run."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.store = base / "store"
        self.run = make_run(self.store)
        generate_key(base / "lab.pem", "lab")
        self.signer = load_signer(base / "lab.pem")
        self.trust = Trust((TrustedKey(self.signer.public_key),))
        self.lock = base / "requirements.lock"
        self.lock.write_text("numpy==2.0\n")
        self.path = base / "run.caligo-bundle.tar"
        self.written = self.bundle(self.path)
        self.data = self.path.read_bytes()

    def bundle(self, out: Path, **how: Any) -> WrittenBundle:
        usual: dict[str, Any] = {"out": out, "lock": self.lock, "at": NOON, "log": False}
        return write_bundle(self.run, self.signer, **(usual | how))

    def read(self, data: bytes) -> Bundle:
        path = self.base / "changed.tar"
        path.write_bytes(data)
        return read_bundle(path, self.trust)

    def resigned(self, statement: dict[str, Any], contents: dict[str, bytes], signer: Signer | None = None) -> bytes:
        """A bundle as a signer without scruples would make it, its digests and sizes right."""
        path = self.base / "resigned.tar"
        sign_again(statement, contents, signer or self.signer, path)
        return path.read_bytes()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("bundle"))


def code_of(error: pytest.ExceptionInfo[CaligoError]) -> str:
    return str(error.value.fields["code"])


# --- what a bundle is ---------------------------------------------------------------------------------------------


def test_a_bundle_says_what_its_run_says(made: Made) -> None:
    bundle = read_bundle(made.path, made.trust)
    run = load_run(made.run)
    assert bundle.run == run.name
    assert bundle.predicate["results"] == run.summary
    assert bundle.predicate["configuration"] == run.configuration
    assert bundle.predicate["seal_sha256"] == hashlib.sha256((made.run / "seal.json").read_bytes()).hexdigest()
    assert bundle.predicate["environment"]["packages"] == installed_packages()
    assert bundle.predicate["signed_at"] == "2026-03-14T12:00:00.000Z"
    assert bundle.signer.key == made.signer.public_key
    assert bundle.sha256 == made.written.sha256 == hashlib.sha256(made.data).hexdigest()
    assert bundle.size == made.written.size == len(made.data)
    assert bundle.read("environment/requirements.lock") == b"numpy==2.0\n"
    assert bundle.read(f"runs/{run.name}/note.txt") == b"measured on a quiet machine\n"
    assert bundle.proof == "included, checkpoint signed by lab"
    with pytest.raises(BundleError, match="there is none"):
        bundle.read("passwd")


def test_equal_inputs_give_equal_bytes(made: Made) -> None:
    append_seal(make_run(made.store))
    made.bundle(made.base / "again.tar", log=True)
    made.bundle(made.base / "thrice.tar")
    assert (made.base / "again.tar").read_bytes() == (made.base / "thrice.tar").read_bytes() == made.data
    entry = list(Ledger.open(made.store).entries())[-1]
    assert (entry.kind, entry.content) == (
        "bundle",
        {"run": made.run.name, "sha256": made.written.sha256, "key_id": made.signer.key_id},
    )


def test_the_time_of_signing_can_be_given_by_the_environment(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(NOON.timestamp())))
    made.bundle(made.base / "epoch.tar", at=None)
    assert (made.base / "epoch.tar").read_bytes() == made.data
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "noon")
    with pytest.raises(ConfigError, match="SOURCE_DATE_EPOCH"):
        made.bundle(made.base / "epoch2.tar", at=None)


def test_a_page_of_python_without_caligo_verifies_a_bundle(made: Made, tmp_path: Path) -> None:
    """The script of the contract, as it stands there."""
    contract = (Path(__file__).parents[1] / "specs" / "bundle.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", contract, re.DOTALL)
    script = tmp_path / "verify_bundle.py"
    script.write_text(code)

    def verify(bundle: Path, key: bytes) -> subprocess.CompletedProcess[str]:
        public = base64.b64encode(b"\x01" + key).decode()
        command = [sys.executable, "-I", str(script), str(bundle), public]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    good = verify(made.path, made.signer.public_bytes)
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout) == read_bundle(made.path, made.trust).predicate["results"]
    assert verify(made.path, bytes(31) + b"\x01").returncode == 1
    changed = tmp_path / "changed.tar"
    for name in ("bundle.json", "ledger/proof.json", f"runs/{made.run.name}/run.json"):
        place = made.data.index(members_of(made.path)[name][:200]) + 100
        changed.write_bytes(made.data[:place] + bytes([made.data[place] ^ 1]) + made.data[place + 1 :])
        assert verify(changed, made.signer.public_bytes).returncode == 1, name


def test_a_run_comes_out_of_its_bundle_as_it_was(made: Made, tmp_path: Path) -> None:
    bundle = read_bundle(made.path, made.trust)
    out = bundle.extract_run(tmp_path / "a store")
    assert load_run(out).state is State.SEALED
    assert list(load_run(out).records()) == list(load_run(made.run).records())
    with pytest.raises(StoreError):
        bundle.extract_run(tmp_path / "a store")


def test_a_kept_checkpoint_is_the_one_that_a_bundle_proves_against(tmp_path: Path) -> None:
    made = Made(tmp_path)
    make_run(made.store)
    generate_key(tmp_path / "notary.pem", "notary")
    notary = load_signer(tmp_path / "notary.pem")
    ledger = Ledger.open(made.store)
    make_checkpoint(ledger, notary)
    size = ledger.size()
    written = made.bundle(tmp_path / "b.tar")
    assert written.statement["predicate"]["ledger"]["size"] == size
    assert read_bundle(written.path, made.trust).proof == "included"
    both = made.trust.adding(TrustedKey(notary.public_key))
    assert read_bundle(written.path, both).proof == "included, checkpoint signed by notary"


def test_a_run_without_a_ledger_is_bundled_without_a_proof(tmp_path: Path, made: Made) -> None:
    alone = read_bundle(made.path, made.trust).extract_run(tmp_path)
    elsewhere = tmp_path / alone.name
    alone.rename(elsewhere)
    written = write_bundle(elsewhere, made.signer, out=tmp_path / "b.tar", lock=made.lock)
    assert written.statement["predicate"]["ledger"] is None
    assert read_bundle(tmp_path / "b.tar", made.trust).proof == "none"


# --- what is refused when writing ---------------------------------------------------------------------------------


def test_only_a_whole_sealed_run_is_bundled(tmp_path: Path, made: Made) -> None:
    with RunWriter.create(tmp_path, "demo", {}) as run:
        run.record({"block": 0})
    with pytest.raises(StoreError, match="interrupted"):
        write_bundle(run.path, made.signer, out=tmp_path / "b.tar")
    damaged = make_run(tmp_path)
    (damaged / "note.txt").chmod(0o644)
    (damaged / "note.txt").write_bytes(b"measured on a loud machine\n")
    with pytest.raises(StoreError, match="CAL-STORE-013"):
        write_bundle(damaged, made.signer, out=tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()


@pytest.mark.parametrize("judgement", ["quarantined", "rejected"])
def test_what_its_store_has_set_aside_is_not_signed(tmp_path: Path, made: Made, judgement: str) -> None:
    from caligo.store.findings import Code, Finding
    from caligo.store.governing import governance

    run = make_run(tmp_path / "store")
    if judgement == "rejected":
        governance.reject(tmp_path / "store", run.name, "the wrong channel")
    else:
        governance.quarantine(tmp_path / "store", run.name, [Finding(Code.RECORD_DAMAGED, "bytes changed", "a file")])
    with pytest.raises(StoreError, match=f"is {judgement}"):
        write_bundle(run, made.signer, out=tmp_path / "x.tar")
    assert not (tmp_path / "x.tar").exists()


def test_a_bundle_is_not_written_over_a_file_nor_with_a_key_out_of_use(made: Made) -> None:
    with pytest.raises(ConfigError, match="--force"):
        made.bundle(made.path)
    assert made.path.read_bytes() == made.data
    made.bundle(made.path, force=True)
    assert made.path.read_bytes() == made.data
    with pytest.raises(SigningKeyError, match="retired"):
        made.bundle(made.base / "x.tar", trust=made.trust.retiring(made.signer.key_id, NOON))
    with pytest.raises(ConfigError, match="lock file"):
        made.bundle(made.base / "x.tar", lock=made.base)
    with pytest.raises(StoreError):
        made.bundle(made.base / "no such directory" / "x.tar")
    assert not list(made.base.glob(".*partial"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_bundle_that_cannot_be_written_leaves_nothing(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    written = 0
    write_all = files.write_all

    def fails(descriptor: int, data: bytes) -> None:
        nonlocal written
        written += 1
        if written > 7:
            raise OSError(number, os.strerror(number))
        write_all(descriptor, data)

    monkeypatch.setattr(files, "write_all", fails)
    with pytest.raises(ResourceError if number == errno.ENOSPC else StoreError, match="write the bundle"):
        made.bundle(tmp_path / "b.tar")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../b", "a//b", "./a", "a\\b", "a\nb", "a/", "x" * 300, "\ud800"])
def test_a_name_that_leads_elsewhere_is_no_name(name: str) -> None:
    assert not safe_name(name)


# --- what is found when reading -----------------------------------------------------------------------------------


def test_no_byte_of_a_bundle_can_be_changed(made: Made) -> None:
    chosen = random.Random(1).sample(range(len(made.data)), 400)
    for place in {*chosen, *range(0, 512, 7), *range(len(made.data) - 40, len(made.data))}:
        for bit in (0, 5):
            flipped = bytearray(made.data)
            flipped[place] ^= 1 << bit
            with pytest.raises((BundleError, SignatureError)):
                made.read(bytes(flipped))


def test_a_bundle_cut_or_continued_anywhere_is_found(made: Made) -> None:
    lengths = random.Random(2).sample(range(len(made.data)), 100)
    for length in {*lengths, 0, 1, 511, 512, len(made.data) - 512, len(made.data) - 1}:
        with pytest.raises(BundleError):
            made.read(made.data[:length])
    for more in (b"\0", bytes(512), b"x"):
        with pytest.raises(BundleError):
            made.read(made.data + more)


def tar_of(members: list[tarfile.TarInfo], data: bytes = b"{}") -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for member in members:
            member.size = len(data) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return written.getvalue()


def test_foreign_archives_are_refused(made: Made, tmp_path: Path) -> None:
    link = tarfile.TarInfo(ENVELOPE_FILE)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hostile = [
        link,
        tarfile.TarInfo("../../etc/passwd"),
        tarfile.TarInfo("/etc/passwd"),
        tarfile.TarInfo(ENVELOPE_FILE),
    ]
    for member in hostile:
        with pytest.raises(BundleError, match=r"CAL-STORE-060.*expected the member") as refused:
            made.read(tar_of([member]))
        assert code_of(refused) == "CAL-STORE-060"
    (tmp_path / "directory").mkdir()
    with pytest.raises(BundleError, match="regular"):
        read_bundle(tmp_path / "directory", made.trust)
    with pytest.raises(StoreError, match="nothing"):
        read_bundle(tmp_path / "nothing", made.trust)


def test_members_repeated_added_left_out_or_exchanged_are_found(made: Made) -> None:
    members = list(members_of(made.path).items())
    path = made.base / "arranged.tar"
    for arranged in (
        [*members, members[-1]],
        [*members, ("runs/surplus", b"")],
        members[:-1],
        [*members[:2], members[3], members[2], *members[4:]],
        members[1:],
    ):
        write_archive(path, ((name, len(data), [data]) for name, data in arranged), replace=True)
        with pytest.raises(BundleError) as refused:
            read_bundle(path, made.trust)
        assert code_of(refused) == "CAL-STORE-060"


def test_a_size_that_cannot_be_is_refused_before_anything_is_read(made: Made) -> None:
    member = tarfile.TarInfo(ENVELOPE_FILE)
    member.size, member.mtime = 1 << 24, 315_532_800
    with pytest.raises(BundleError, match="ends within"):
        made.read(member.tobuf(tarfile.USTAR_FORMAT))
    member.size = 8**11 - 1
    with pytest.raises(BundleError, match="expected the member"):
        made.read(member.tobuf(tarfile.USTAR_FORMAT))


@settings(max_examples=50)
@given(st.binary(max_size=2000), st.booleans())
def test_no_bytes_bring_the_reader_down(made: Made, data: bytes, wrapped: bool) -> None:
    if wrapped:
        path = made.base / "wrapped.tar"
        write_archive(path, [(ENVELOPE_FILE, len(data), [data])], replace=True)
        data = path.read_bytes()
    with pytest.raises(BundleError):
        made.read(data)


@pytest.mark.parametrize(
    "envelope",
    [
        b"null",
        b"[]",
        b"[" * 100_000,
        b'{"payload":1,"payloadType":"x","signatures":[]}',
        b'{"payload":"","payloadType":"x","signatures":[1]}',
        b'{"payload":"","payloadType":1,"signatures":[]}',
        b'{"payload":"","payloadType":"application/vnd.caligo.bundle+json","signatures":[]}',
        b'{"payload":"e30=","payloadType":"x","signatures":[{"keyid":"a","sig":"!"}]}',
    ],
)
def test_what_is_no_envelope_is_refused(made: Made, envelope: bytes) -> None:
    for data in (envelope, envelope + b"\n"):
        path = made.base / "envelope.tar"
        write_archive(path, [(ENVELOPE_FILE, len(data), [data])], replace=True)
        with pytest.raises((BundleError, SignatureError), match=r"CAL-STORE-06[01]"):
            read_bundle(path, made.trust)


def test_whose_signature_counts_and_when(made: Made) -> None:
    with pytest.raises(SignatureError, match="key trust") as refused:
        read_bundle(made.path, Trust())
    assert code_of(refused) == "CAL-STORE-062"
    key_id = made.signer.key_id
    read_bundle(made.path, made.trust.retiring(key_id, NOON))
    for trust in (made.trust.retiring(key_id, NOON - timedelta(seconds=1)), made.trust.revoking(key_id)):
        with pytest.raises(SignatureError) as refused:
            read_bundle(made.path, trust)
        assert code_of(refused) == "CAL-STORE-063"


def test_another_key_under_a_trusted_id_is_found(made: Made) -> None:
    generate_key(made.base / "other.pem", "lab")
    other = load_signer(made.base / "other.pem")
    statement, contents = opened(made.path)
    data = made.resigned(statement, contents, other)
    forged = data.replace(other.key_id.encode(), made.signer.key_id.encode())
    with pytest.raises(SignatureError) as refused:
        made.read(forged)
    assert code_of(refused) == "CAL-STORE-061"


def set_member(statement: dict[str, Any], path: str, value: object) -> None:
    *way, last = path.split(".")
    for name in way:
        statement = statement[name]
    statement[last] = value


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("predicate.results", {"blocks": 20, "fer": 0.5}),
        ("predicate.configuration", {"n": 2048}),
        ("predicate.machine", {}),
        ("predicate.run.kind", "reconcile"),
        ("predicate.run.identity", "0" * 64),
        ("predicate.run.name", "20260101T000000.000Z-demo-00000000"),
        ("predicate.run.name", "../up"),
        ("predicate.run.sealed_at", "2020-01-01T00:00:00.000Z"),
        ("predicate.seal_sha256", "0" * 64),
        ("predicate.signed_at", "noon"),
        ("predicate.schema", 0),
        ("predicate.ledger", 7),
        ("_type", "other"),
    ],
)
def test_a_signed_statement_that_contradicts_its_run_is_found(made: Made, member: str, value: object) -> None:
    statement, contents = opened(made.path)
    assert made.read(made.resigned(statement, contents)).run == made.run.name
    set_member(statement, member, value)
    with pytest.raises(BundleError) as refused:
        made.read(made.resigned(statement, contents))
    assert code_of(refused) == "CAL-STORE-064"


def test_a_newer_bundle_asks_for_a_newer_caligo(made: Made) -> None:
    statement, contents = opened(made.path)
    statement["predicate"]["schema"] = 2
    with pytest.raises(StoreError, match="upgrade caligo"):
        made.read(made.resigned(statement, contents))


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "runs/../../up", "bundle.json"])
def test_a_signed_statement_leads_nowhere_else(made: Made, name: str) -> None:
    statement, contents = opened(made.path)
    contents[name] = b"root::0:0::/:/bin/sh\n"
    with pytest.raises(BundleError) as refused:
        made.read(made.resigned(statement, contents))
    assert code_of(refused) == "CAL-STORE-064"
    assert not (made.base / "up").exists()


def test_files_that_the_seal_does_not_list_are_found(made: Made) -> None:
    for change in ("added", "removed"):
        statement, contents = opened(made.path)
        if change == "added":
            contents[f"runs/{made.run.name}/more.txt"] = b"x"
        else:
            del contents[f"runs/{made.run.name}/note.txt"]
        with pytest.raises(BundleError, match="files of the seal"):
            made.read(made.resigned(statement, contents))


def test_a_run_sealed_anew_does_not_have_the_proof_of_the_old_seal(made: Made) -> None:
    statement, contents = opened(made.path)
    place = f"runs/{made.run.name}"
    note = b"measured on a silent machine\n"
    contents[f"{place}/note.txt"] = note
    seal = document_of(contents[f"{place}/seal.json"])
    seal["files"]["note.txt"] = {"bytes": len(note), "sha256": hashlib.sha256(note).hexdigest()}
    contents[f"{place}/seal.json"] = document_bytes(seal)
    statement["predicate"]["seal_sha256"] = hashlib.sha256(contents[f"{place}/seal.json"]).hexdigest()
    with pytest.raises(BundleError, match="another seal") as refused:
        made.read(made.resigned(statement, contents))
    assert code_of(refused) == "CAL-STORE-065"
    del contents["ledger/proof.json"]
    with pytest.raises(BundleError, match="incomplete"):
        made.read(made.resigned(statement, contents))
    statement["predicate"]["ledger"] = None
    assert made.read(made.resigned(statement, contents)).proof == "none"


@pytest.mark.parametrize(
    ("member", "value"), [("index", 1), ("size", 2), ("inclusion", ["00" * 32]), ("entry", "{}"), ("checkpoint", "")]
)
def test_a_wrong_proof_is_found(made: Made, member: str, value: object) -> None:
    statement, contents = opened(made.path)
    proof = json.loads(contents["ledger/proof.json"])
    contents["ledger/proof.json"] = json.dumps(proof | {member: value}).encode()
    with pytest.raises(BundleError) as refused:
        made.read(made.resigned(statement, contents))
    assert code_of(refused) == "CAL-STORE-065"
    if member in statement["predicate"]["ledger"]:
        statement, contents = opened(made.path)
        statement["predicate"]["ledger"][member] = value
        with pytest.raises(BundleError) as refused:
            made.read(made.resigned(statement, contents))
        assert code_of(refused) == "CAL-STORE-065"


def test_the_script_in_a_bundle_checks_its_proof_without_caligo(made: Made, tmp_path: Path) -> None:
    members = members_of(made.path)
    for name in ("proof.json", "verify_ledger.py"):
        (tmp_path / name).write_bytes(members[f"ledger/{name}"])
    key = made.signer.public_key.verifier_key
    words = [sys.executable, "-I", str(tmp_path / "verify_ledger.py"), "--proof", str(tmp_path / "proof.json")]
    assert subprocess.run([*words, "--key", key], check=False).returncode == 0
    other = PublicKey("lab", bytes(32)).verifier_key
    assert subprocess.run([*words, "--key", other], check=False, stderr=subprocess.DEVNULL).returncode == 8


def test_a_bundle_changed_after_it_was_verified_is_not_read(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    path.write_bytes(made.data)
    bundle = read_bundle(path, made.trust)
    entry = next(entry for entry in bundle.files if entry.name.endswith("note.txt"))
    changed = bytearray(made.data)
    changed[entry.offset] ^= 1
    path.write_bytes(changed)
    with pytest.raises(BundleError, match="changed since"):
        bundle.read(entry.name)
    with pytest.raises(BundleError, match="changed since"):
        bundle.extract_run(tmp_path / "out")


def test_an_archive_member_must_have_its_size(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="changed its size"):
        write_archive(tmp_path / "a.tar", [("a", 2, [b"abc"])])
    assert not list(tmp_path.iterdir())


# --- the command line ---------------------------------------------------------------------------------------------


def test_a_run_is_bundled_and_verified_from_the_command_line(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trust = save_trust(made.trust, tmp_path / "trust.toml")
    out = tmp_path / "b.tar"
    words = ["store", "bundle", made.run.name, "--key", str(made.signer.path), "--out", str(out), "--store"]
    assert main([*words, str(made.store), "--lock", str(made.lock), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert main(["store", "verify-bundle", str(out), "--trust", str(trust), "--json"]) == 0
    verified = json.loads(capsys.readouterr().out)
    assert verified["verified"]
    assert verified["run"] == made.run.name
    assert main(["store", "verify-bundle", str(out), "--trust", str(trust)]) == 0
    assert "included" in capsys.readouterr().out
    changed = bytearray(out.read_bytes())
    changed[-2000] ^= 1
    out.write_bytes(changed)
    assert main(["store", "verify-bundle", str(out), "--trust", str(trust), "--json"]) == 8
    assert json.loads(capsys.readouterr().out)["finding"]["code"] == "CAL-STORE-060"
    assert main(["store", "verify-bundle", str(out), "--trust", str(trust)]) == 8
    assert "CAL-STORE-060" in capsys.readouterr().err

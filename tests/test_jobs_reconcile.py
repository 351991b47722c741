"""The reconcile job: equal keys, a whole account, a true record; for any key, any number of threads, and on failure."""

from __future__ import annotations

import itertools
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import caligo
from caligo import bits
from caligo._native import required_bytes
from caligo.errors import (
    ConfigError,
    ExitCode,
    KeyFileError,
    LeakageCapError,
    MemoryBudgetError,
    ProtocolError,
    ShapeError,
)
from caligo.jobs import ReconcileOptions, ReconciliationReport, drift, reconcile, reconcile_party, reconcile_work
from caligo.jobs.party_report import PartyReport
from caligo.jobs.plan import Layout, plan_layout
from caligo.memory import FIXED_BYTES, MemoryLimit, block_buffer_bytes
from caligo.randomness import SecurityRandomness, sampled_positions
from caligo.reconciliation import parties, strategies
from caligo.reconciliation.authentication import CallerChannel
from caligo.reconciliation.messages import KeepAlive, Message
from caligo.reconciliation.session.common import Session
from caligo.reconciliation.strategies import NO_CAPS, BlockCaps, CodeRequest, ReconciledBlocks, strategy_type
from caligo.reconciliation.strategies.one_way import OneWay, default_escalation
from caligo.reconciliation.tracking import ANNOUNCEMENT_BITS
from caligo.reconciliation.verification import TAG_BITS, group_epsilon
from caligo.store import load_run
from caligo.transports import memory_pair

Packed = NDArray[np.uint8]

QUICK: dict[str, Any] = {"block_length": 1024, "list_size": 4, "efficiency": 2.2}


def two_keys(key_bits: int, qber: float = 0.02, seed: int = 1) -> tuple[Packed, Packed]:
    rng = np.random.default_rng(seed)
    alice = rng.integers(0, 2, key_bits, dtype=np.uint8)
    return bits.pack(alice), bits.pack(alice ^ (rng.random(key_bits) < qber))


def outcome_of(report: ReconciliationReport) -> dict[str, Any]:
    """Everything that must not depend on threads, machine and time."""
    document = report.to_json()
    for name in ("payload_mbps", "coded_mbps_per_core", "elapsed_s", "threads", "peak_rss_bytes", "run", "out"):
        del document[name]
    return document


def write_keys(directory: Path, alice: Packed, bob: Packed) -> tuple[Path, Path]:
    alice.tofile(directory / "a.bin")
    bob.tofile(directory / "b.bin")
    return directory / "a.bin", directory / "b.bin"


def test_small_lists_first_reconcile_the_same_key() -> None:
    keys = two_keys(60_000)
    settings_ = {"qber": 0.02, "block_length": 1024, "efficiency": 1.5, "seed": 5}
    plain = reconcile(*keys, list_size=8, escalation=(), **settings_)
    sizes = reconcile(*keys, list_size=8, escalation=[1, 2], **settings_)
    assert reconcile(*keys, list_size=8, **settings_).leakage == plain.leakage
    assert sizes.keys_equal
    assert sizes.leakage == plain.leakage
    assert sizes.blocks_ok >= plain.blocks_ok - 2
    with pytest.raises(ConfigError, match="escalation"):
        reconcile(*keys, list_size=8, escalation=(16,), **settings_)


# --- the way through ----------------------------------------------------------------------------------------------


def test_a_rest_too_short_for_the_checks_of_its_segments_is_not_cut() -> None:
    bits_ = 4 * 1024 + 304
    report = reconcile(
        *two_keys(bits_),
        key_bits=bits_,
        qber=0.11,
        block_length=1024,
        list_size=4,
        strategy="segmented",
        segment_length=64,
    )
    assert report.keys_equal
    whole, rest = strategy_type("segmented"), strategy_type("one-way")
    request = CodeRequest(1 << 9, 304, 0.11, 4, segment_length=64)
    assert not whole.choose_code(request).segments
    assert whole.choose_code(request).digest == rest.choose_code(replace(request, segment_length=None)).digest


@pytest.mark.parametrize("segment_length", [64, 128, None])
@pytest.mark.parametrize("list_size", [1, 8, 32])
def test_the_plan_for_segments_is_what_their_decoder_takes(segment_length: int | None, list_size: int) -> None:
    kind = strategy_type("segmented")
    planned = kind.required_bytes(1 << 12, list_size, "int8", "crc32", segment_length=segment_length)
    code = kind.choose_code(CodeRequest(1 << 12, 1 << 12, 0.02, list_size, segment_length=segment_length))
    taken = kind(code, list_size).decoder_bytes
    assert planned >= 0.8 * taken


@pytest.mark.parametrize("segment_length", [64, 256, 512, 1024])
def test_a_key_reconciled_in_segments_accounts_for_their_checks(segment_length: int) -> None:
    alice, bob = two_keys(20_300, seed=segment_length)
    report = reconcile(
        alice,
        bob,
        key_bits=20_300,
        qber=0.02,
        efficiency=4.0 if segment_length == 64 else 2.4,
        block_length=1024,
        list_size=8,
        strategy="segmented",
        segment_length=segment_length,
        threads=2,
    )
    assert report.keys_equal
    assert report.blocks_ok >= 0.8 * report.blocks
    assert report.strategy == "segmented"
    assert (
        report.leakage_bits_both_ways == sum(report.leakage.values()) == report.leakage_bits + report.leakage["reply"]
    )
    kinds = ("syndrome", "check", "segment_check")
    assert sum(report.leakage[kind] for kind in kinds) == sum(code.blocks * code.leakage_bits for code in report.codes)
    whole, rest = report.codes
    assert whole.efficiency == pytest.approx(4.0 if segment_length == 64 else 2.4, abs=0.01)
    segments = 0 if segment_length == 1024 else 1024 // segment_length
    assert whole.segment_length == (segment_length if segments else None)
    assert report.leakage["segment_check"] <= 16 * segments * report.blocks
    assert (report.leakage["segment_check"] > 0) == (segments > 0)
    assert rest.payload_length < 1024


@settings(max_examples=25)
@given(st.integers(600, 20_000), st.booleans(), st.integers(0, 2**32))
def test_any_key_is_reconciled_sampled_or_reported_and_every_bit_is_counted(
    key_bits: int, given_qber: bool, seed: int
) -> None:
    alice, bob = two_keys(key_bits, seed=seed)
    asked = {"qber": 0.02, "efficiency": 2.2} if given_qber else {"target_fer": 0.05}
    report = reconcile(alice, bob, key_bits=key_bits, block_length=1024, list_size=4, threads=2, **asked)
    assert report.keys_equal
    assert report.undetected_errors == 0
    assert report.alice_key is not None
    assert np.array_equal(report.alice_key, report.bob_key)
    assert report.blocks == report.blocks_ok + report.blocks_failed == sum(code.blocks for code in report.codes)
    in_blocks = sum(code.blocks * code.payload_length for code in report.codes)
    assert report.key_bits == key_bits == report.sampled_bits + report.discarded_bits + in_blocks
    assert report.alice_key.size == bits.packed_bytes(report.reconciled_bits)
    disclosed = sum(code.blocks * code.leakage_bits for code in report.codes)
    assert report.leakage["syndrome"] + report.leakage["check"] == disclosed
    assert report.leakage["segment_check"] == 0
    assert report.leakage["check"] == 32 * report.blocks
    assert report.leakage["verification"] == (TAG_BITS if report.failed_check < report.blocks else 0)
    assert (
        report.leakage_bits_both_ways == sum(report.leakage.values()) == report.leakage_bits + report.leakage["reply"]
    )
    assert report.true_qber == pytest.approx(bits.hamming_distance(alice, bob) / key_bits)
    assert (report.estimated_qber is None) == given_qber == (report.sampled_bits == 0)


def asymmetric_keys(key_bits: int, rates: tuple[float, float], seed: int = 1) -> tuple[Packed, Packed]:
    rng = np.random.default_rng(seed)
    bob = rng.integers(0, 2, key_bits, dtype=np.uint8)
    errors = rng.random(key_bits) < np.where(bob, rates[1], rates[0])
    return bits.pack(bob ^ errors), bits.pack(bob)


@pytest.mark.parametrize("strategy", ["one-way", "segmented"])
def test_errors_that_follow_bobs_bits_cost_less_and_change_the_account(strategy: str) -> None:
    keys = asymmetric_keys(150_000, (0.06, 0.015))
    asked: dict[str, Any] = {"block_length": 1 << 14, "list_size": 8, "strategy": strategy, "seed": 3}
    if strategy == "segmented":
        asked["segment_length"] = 1 << 12
    two = reconcile(*keys, **asked)
    one = reconcile(*keys, asymmetric="off", **asked)
    given = reconcile(*keys, qber=(0.063, 0.016), **asked)
    for report in (two, one, given):
        assert report.keys_equal
        assert report.blocks_failed <= 2
    assert one.design_qber_pair is None
    assert one.account == "leakage_bits"
    assert given.design_qber_pair == (0.063, 0.016)
    assert {code.design_qber for code in given.codes} == {given.design_qber}
    for report in (two, given):
        assert report.account == "leakage_bits_both_ways"
    assert two.design_qber_pair is not None
    assert two.design_qber == sum(two.design_qber_pair) / 2 == pytest.approx(one.design_qber, abs=1.1e-4)
    # Five per cent less by H(X|Y); some of it is lost to finite blocks.
    assert two.leakage_bits_both_ways < 0.975 * one.leakage_bits


def test_the_reconciled_key_is_alices_without_samples_and_failed_blocks() -> None:
    alice, bob = two_keys(10_000)
    report = reconcile(alice, bob, seed=7, **QUICK | {"efficiency": None, "target_fer": 0.01})
    positions = sampled_positions(
        reconcile_work.replayed_randomness(7).sampling_seed,
        10_000,
        report.sampled_bits,
    )
    if report.blocks_failed == 0 and report.discarded_bits == 0:
        assert report.alice_key is not None
        assert np.array_equal(report.alice_key, bits.remove_positions(alice, 10_000, positions))
    else:
        assert report.reconciled_bits < 10_000 - report.sampled_bits


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_nothing_but_time(threads: int, tmp_path: Path) -> None:
    alice, bob = write_keys(tmp_path, *two_keys(300_000, 0.03))
    settings_ = {"seed": 3, "block_length": 4096, "list_size": 2, "efficiency": 1.25}
    one = reconcile(alice, bob, out=tmp_path / "one", threads=1, store=tmp_path / "store", **settings_)
    many = reconcile(alice, bob, out=tmp_path / "many", threads=threads, store=tmp_path / "store", **settings_)
    assert outcome_of(one) == outcome_of(many)
    assert 0 < one.blocks_failed < one.blocks
    for name in ("alice.bin", "bob.bin"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()
    first, second = (
        [{k: v for k, v in record.items() if k != "elapsed_ns"} for record in load_run(Path(str(run))).records()]
        for run in (one.run, many.run)
    )
    assert first == second


def test_files_and_arrays_give_the_same_keys(tmp_path: Path) -> None:
    alice, bob = two_keys(50_001)
    paths = write_keys(tmp_path, alice, bob)
    in_memory = reconcile(alice, bob, key_bits=50_001, seed=1, **QUICK)
    in_files = reconcile(*paths, key_bits=50_001, seed=1, out=tmp_path / "out", **QUICK)
    assert outcome_of(in_memory) == outcome_of(in_files)
    assert in_files.alice_key is None
    assert in_memory.alice_key is not None
    for name in ("alice.bin", "bob.bin"):
        file = tmp_path / "out" / name
        assert file.read_bytes() == in_memory.alice_key.tobytes()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path / "out")) == ["alice.bin", "bob.bin"]


def test_big_bit_order_is_read_and_written(tmp_path: Path) -> None:
    alice, bob = two_keys(8_000)
    plain = reconcile(alice, bob, seed=1, **QUICK)
    turned = [np.packbits(bits.unpack(key, 8_000), bitorder="big") for key in (alice, bob)]
    report = reconcile(*write_keys(tmp_path, *turned), bit_order="big", seed=1, out=tmp_path / "out", **QUICK)
    written = np.fromfile(tmp_path / "out" / "alice.bin", dtype=np.uint8)
    assert plain.alice_key is not None
    unpacked = np.unpackbits(written, count=report.reconciled_bits, bitorder="big")
    assert np.array_equal(bits.pack(unpacked), plain.alice_key)


def test_the_record_adds_up_to_the_report(tmp_path: Path) -> None:
    alice, bob = two_keys(100_000, 0.025)
    report = reconcile(alice, bob, qber=0.02, store=tmp_path, block_length=2048, list_size=1, efficiency=1.6)
    run = load_run(Path(str(report.run)))
    records = list(run.records())
    assert 0 < report.blocks_failed < report.blocks
    assert [record["block"] for record in records] == list(range(report.blocks))
    assert sum(record["leakage_bits"] for record in records) == report.leakage_bits
    assert sum(record["leakage_bits_both_ways"] for record in records) == report.leakage_bits_both_ways
    assert sum(record["verification_bits"] for record in records) == report.leakage["verification"]
    assert (
        sum(record["payload_bits"] for record in records if record["outcome"] == "confirmed") == report.reconciled_bits
    )
    assert sum(record["true_errors"] for record in records) == bits.hamming_distance(alice, bob)
    assert sum(record["outcome"] == "uncorrected" for record in records) == report.failed_check
    assert run.summary is not None
    assert json.loads(json.dumps(run.summary))["leakage_bits"] == report.leakage_bits


def test_efficiency_counts_the_decoded_blocks_with_their_tags() -> None:
    alice, bob = two_keys(40_960, 0.024)
    report = reconcile(alice, bob, qber=0.02, block_length=1024, list_size=1, efficiency=1.9)
    assert 0 < report.blocks_failed < report.blocks
    leakage = report.blocks_ok * report.codes[0].leakage_bits + TAG_BITS
    assert report.efficiency is not None
    # The pooled error rate is that of the decoded blocks alone, which is below that of the key.
    implied = leakage / report.reconciled_bits / report.efficiency
    assert implied < caligo.channel.binary_entropy(report.true_qber)
    assert report.leakage_bits == report.blocks * report.codes[0].leakage_bits + TAG_BITS


@pytest.mark.parametrize(
    ("strategy", "changes"),
    [
        *itertools.product(sorted(strategies.STRATEGIES), [{}, {"qber": None, "sample_bits": 4000}, {"qber": 0.012}]),
        ("one-way", {"check": "none", "efficiency": 1.6, "target_fer": None}),
        ("one-way", {"qber": 0.017, "on_failure": "retry", "retries": 3}),
        ("one-way", {"qber": 0.014, "on_failure": "retry", "retries": 4, "max_rounds": 2}),
        (
            "segmented",
            {"qber": 0.017, "on_failure": "retry", "segment_length": 128, "target_fer": None, "efficiency": 2.0},
        ),
    ],
)
def test_one_process_counts_what_two_machines_count(
    strategy: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"qber": 0.02, "block_length": 1024, "list_size": 4, "strategy": strategy} | changes
    if not strategy_type(strategy).asks and "efficiency" not in asked:
        asked["target_fer"] = 0.1
    options = ReconcileOptions(**asked)
    keys = two_keys(40_000)
    drawn = SecurityRandomness(bytes(range(32)), bytes(range(32, 64)))
    monkeypatch.setattr(SecurityRandomness, "draw", lambda: drawn)  # another sample would be another design
    here = reconcile(*keys, options=options)
    ends = memory_pair()
    heard: list[Message] = []
    receive = Session.receive

    def listen(self: Session[Any], *messages: Message) -> Any:
        heard.extend(messages)
        return receive(self, *messages)

    monkeypatch.setattr(Session, "receive", listen)
    with ThreadPoolExecutor(2) as pool:
        sides = [
            pool.submit(reconcile_party, role, key, end, authentication=CallerChannel(), options=options)
            for role, key, end in zip(("alice", "bob"), keys, ends, strict=True)
        ]
        alice, bob = (side.result() for side in sides)
    assert here.messages == sum(not isinstance(message, KeepAlive) for message in heard)
    assert alice.leakage == bob.leakage
    said = {
        "account", "block_length", "blocks", "blocks_discarded", "blocks_failed", "blocks_ok", "check", "design_qber",
        "epsilon_correctness", "estimated_qber", "failed_check", "failed_verification", "given_up", "key_bits",
        "leakage", "leakage_bits", "leakage_bits_both_ways", "messages", "reconciled_bits", "rounds_max", "rounds_mean",
        "sampled_bits",
    }  # fmt: skip
    ours = here.to_json()
    for side in (alice, bob):
        theirs = side.to_json()
        assert {name: ours[name] for name in said} == {name: theirs[name] for name in said}


def two_parties(keys: tuple[Packed, Packed], *options: ReconcileOptions) -> list[PartyReport]:
    ends = memory_pair()
    with ThreadPoolExecutor(2) as pool:
        sides = [
            pool.submit(reconcile_party, role, key, end, authentication=CallerChannel(), options=asked)
            for role, key, end, asked in zip(("alice", "bob"), keys, ends, options, strict=True)
        ]
        return [side.result() for side in sides]


@pytest.mark.parametrize("given", [{"qber": (0.063, 0.016)}, {"sample_bits": 8000}])
def test_two_machines_find_the_same_two_rates_and_the_account_to_rely_on(given: dict[str, Any]) -> None:
    keys = asymmetric_keys(60_000, (0.06, 0.015))
    options = ReconcileOptions(block_length=1 << 12, list_size=4, target_fer=0.1, **given)
    alice, bob = two_parties(keys, options, options)
    assert alice.blocks_failed == bob.blocks_failed <= 4
    assert alice.design_qber_pair == bob.design_qber_pair is not None
    assert alice.design_qber_pair[0] / alice.design_qber_pair[1] == pytest.approx(4.0, rel=0.3)
    assert alice.account == bob.account == "leakage_bits_both_ways"
    assert {code.digest for code in alice.codes} == {code.digest for code in bob.codes}
    one = two_parties(keys, *(2 * [replace(options, qber=None, sample_bits=8000, asymmetric="off")]))
    assert [side.design_qber_pair for side in one] == [None, None]
    assert [side.account for side in one] == ["leakage_bits", "leakage_bits"]
    with pytest.raises(ProtocolError, match="parameters"):
        two_parties(keys, options, replace(options, asymmetric="off"))


# --- randomness and peeking ---------------------------------------------------------------------------------------


def test_public_randomness_is_fresh_and_persisted_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = two_keys(5_000)
    used: list[bytes] = []
    tag = parties.Alice.tag

    def spy(hash_key: bytes, payload: Any) -> Any:
        (run,) = [path for path in (tmp_path / "runs").iterdir() if not (path / "seal.json").exists()]
        written = json.loads((run / "run.json").read_text())["security_randomness"]
        assert SecurityRandomness.from_json(written).hash_key == hash_key
        used.append(hash_key)
        return tag(hash_key, payload)

    monkeypatch.setattr(parties.Alice, "tag", staticmethod(spy))
    for _ in range(2):
        reconcile(alice, bob, store=tmp_path, **QUICK)
    assert len(set(used)) == 2


def test_the_estimate_sees_the_sampled_positions_alone() -> None:
    alice, bob = two_keys(20_000)
    sampled = reconcile(alice, bob, seed=5, **QUICK)
    positions = sampled_positions(
        reconcile_work.replayed_randomness(5).sampling_seed,
        20_000,
        sampled.sampled_bits,
    )
    elsewhere = np.ones(20_000, dtype=np.uint8)
    elsewhere[positions] = 0
    other = bob ^ bits.pack(elsewhere & (np.random.default_rng(0).random(20_000) < 0.01))
    changed = reconcile(alice, other, seed=5, **QUICK)
    assert (changed.estimated_qber, changed.design_qber) == (sampled.estimated_qber, sampled.design_qber)
    assert changed.codes == sampled.codes
    assert changed.true_qber > sampled.true_qber


def test_a_seed_repeats_the_run_and_says_that_it_must_not_be_trusted(tmp_path: Path) -> None:
    alice, bob = two_keys(5_000)
    first, second = (reconcile(alice, bob, seed=9, store=tmp_path, **QUICK) for _ in range(2))
    assert outcome_of(first) == outcome_of(second)
    assert any("do not use" in warning for warning in first.warnings)
    document = json.loads((Path(str(first.run)) / "run.json").read_text())
    assert "not for keys in use" in document["configuration"]["randomness"]
    assert document["identity"] == json.loads((Path(str(second.run)) / "run.json").read_text())["identity"]


# --- blocks that fail ---------------------------------------------------------------------------------------------


class Forgetful(OneWay):
    """Flips one decoded bit in every third block and says it is fine."""

    name = "forgetful"

    def reconcile(self, alice: Packed, bob: Packed, caps: BlockCaps = NO_CAPS) -> ReconciledBlocks:
        outcome = super().reconcile(alice, bob, caps)
        outcome.decoded[::3, 0] ^= 1
        return outcome


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(strategies.STRATEGIES, "forgetful", f"{__name__}:Forgetful")
    return "forgetful"


def test_wrong_blocks_are_told_apart_and_they_alone_are_lost(forgetful: str, tmp_path: Path) -> None:
    alice, bob = two_keys(20_000)
    report = reconcile(alice, bob, strategy=forgetful, qber=0.02, store=tmp_path, **QUICK)
    right = reconcile(alice, bob, qber=0.02, **QUICK)
    wrong = {block for block in range(19) if block % 3 == 0} | {19}
    records = list(load_run(Path(str(report.run))).records())
    assert {record["block"] for record in records if record["outcome"] == "unconfirmed"} <= wrong
    assert report.failed_verification >= 7 - right.failed_check
    assert report.blocks_ok == right.blocks_ok - report.failed_verification
    assert report.undetected_errors == 0
    assert report.keys_equal
    hashed = report.blocks - report.failed_check
    assert report.leakage["verification"] == TAG_BITS * (1 + hashed)
    assert report.leakage["reply"] == right.leakage["reply"] + hashed
    assert report.messages == right.messages + 2
    epsilon = group_epsilon(sum(record["payload_bits"] for record in records if record["outcome"] != "uncorrected"))
    epsilon += sum(group_epsilon(record["payload_bits"]) for record in records if record["outcome"] != "uncorrected")
    assert report.epsilon_correctness == float(epsilon)
    assert sum(record["leakage_bits"] for record in records) == report.leakage_bits
    assert report.efficiency is not None


def test_wrong_blocks_too_short_for_tags_of_their_own_fail_their_group(forgetful: str, tmp_path: Path) -> None:
    alice, bob = two_keys(10_000)
    asked = QUICK | {"block_length": 256, "efficiency": 3.5}
    report = reconcile(alice, bob, strategy=forgetful, qber=0.02, store=tmp_path, **asked)
    assert report.blocks_ok == report.reconciled_bits == report.undetected_errors == 0
    assert report.failed_verification == report.blocks - report.failed_check
    assert report.leakage["verification"] == TAG_BITS
    assert report.efficiency is None
    assert report.keys_equal
    assert report.alice_key is not None
    assert report.alice_key.size == 0
    outcomes = {record["outcome"] for record in load_run(Path(str(report.run))).records()}
    assert "unconfirmed" in outcomes
    assert report.exit_code() == ExitCode.COMPLETED
    assert report.exit_code(strict=True) == ExitCode.BLOCKS_FAILED


def test_an_undetected_error_is_found_out_and_has_its_own_exit_code(
    forgetful: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parties, "tags_agree", lambda alice, bob: True)
    alice, bob = two_keys(20_000)
    report = reconcile(alice, bob, strategy=forgetful, qber=0.02, **QUICK)
    assert report.undetected_errors > 0
    assert not report.keys_equal
    assert report.exit_code() == ExitCode.UNDETECTED_ERROR


def test_blocks_that_fail_together_are_told_to_take_a_check() -> None:
    report = reconcile(*two_keys(8_000), qber=0.02, block_length=64, list_size=1, efficiency=1.2, check="none")
    assert report.failed_verification == report.blocks
    assert any("--check" in warning for warning in report.warnings)


def test_without_a_check_verification_alone_keeps_wrong_keys_out() -> None:
    alice, bob = two_keys(30_000, 0.03)
    report = reconcile(alice, bob, qber=0.02, check="none", block_length=1024, list_size=2, efficiency=1.3)
    assert report.leakage["check"] == report.failed_check == 0
    assert 0 < report.failed_verification < report.blocks
    assert report.blocks_ok == report.blocks - report.failed_verification
    assert report.keys_equal
    assert report.undetected_errors == 0


def test_unrelated_keys_give_no_key(tmp_path: Path) -> None:
    alice, _ = two_keys(30_000, seed=1)
    bob, _ = two_keys(30_000, seed=2)
    report = reconcile(alice, bob, qber=0.02, **QUICK)
    assert report.blocks_failed == report.blocks
    assert report.reconciled_bits == 0
    assert any("--qber" in warning for warning in report.warnings)
    with pytest.raises(KeyFileError, match="do not look like two sides"):
        reconcile(alice, bob, store=tmp_path, out=tmp_path / "out", **QUICK)
    assert list((tmp_path / "out").iterdir()) == []
    (run,) = (tmp_path / "runs").iterdir()
    assert load_run(run).state.value == "interrupted"


def test_identical_keys_are_reconciled_too() -> None:
    alice, _ = two_keys(50_000)
    report = reconcile(alice, alice.copy(), list_size=4)
    assert report.estimated_qber == report.true_qber == 0
    assert report.efficiency is None
    assert report.blocks_ok == report.blocks
    assert report.keys_equal


def test_a_qber_far_from_the_truth_is_pointed_out() -> None:
    alice, bob = two_keys(40_000, 0.02)
    low = reconcile(alice, bob, qber=0.003, block_length=2048, list_size=4)
    assert 2 * low.blocks_failed > low.blocks
    assert any("blocks failed" in warning and "--qber" in warning for warning in low.warnings)
    high = reconcile(alice, bob, qber=0.06, block_length=2048, list_size=4)
    assert high.blocks_failed == 0
    assert any("more was disclosed than needed" in warning for warning in high.warnings)
    right = reconcile(alice, bob, qber=0.02, block_length=2048, list_size=4)
    assert not right.warnings


def test_far_more_failures_than_were_aimed_at_are_pointed_out() -> None:
    keys = two_keys(200_000, 0.02)
    bad = reconcile(*keys, qber=0.015, block_length=2048, list_size=4)
    assert 0.05 * bad.blocks + 2 < bad.blocks_failed < bad.blocks / 2
    assert any(f"{bad.blocks_failed} of {bad.blocks} blocks failed" in warning for warning in bad.warnings)
    aimed = reconcile(*keys, qber=0.02, block_length=2048, list_size=4, target_fer=0.2)
    assert aimed.blocks_failed > 0.05 * aimed.blocks + 2
    assert not aimed.warnings


@pytest.mark.parametrize(
    ("cap", "named"),
    [
        ({"strategy": "interactive", "max_rounds": 2}, "--max-rounds"),
        ({"strategy": "incremental", "max_block_leakage_bits": 740}, "--max-block-leakage"),
        ({"qber": 0.013, "on_failure": "retry", "max_block_leakage_bits": 740}, "--max-block-leakage"),
    ],
)
def test_where_a_cap_failed_the_blocks_it_is_named_and_not_the_target(cap: dict[str, Any], named: str) -> None:
    keys = two_keys(150_000, 0.02)
    options = ReconcileOptions(**{"qber": 0.02, "block_length": 4096, "list_size": 4, "threads": 2} | cap)
    here = reconcile(*keys, options=options)
    assert here.given_up > 5
    for report in (here, *two_parties(keys, options, options)):
        (warning,) = (text for text in report.warnings if "blocks failed" in text)
        assert named in warning
        assert "--target-fer" not in warning
        assert "--qber" not in warning


# --- further attempts, and designs that follow the blocks -------------------------------------------------------------


def test_further_attempts_save_blocks_and_disclose_each_position_once(tmp_path: Path) -> None:
    keys = two_keys(60_000, 0.028)
    asked: dict[str, Any] = {"qber": 0.02, "block_length": 1024, "list_size": 4, "target_fer": 0.1, "seed": 1}
    once = reconcile(*keys, **asked)
    more = reconcile(*keys, **asked, on_failure="retry", retries=4, store=tmp_path, threads=3)
    assert more.keys_equal
    assert more.blocks_retried == once.failed_check > 10
    assert more.failed_check < once.failed_check / 4
    records = list(load_run(Path(str(more.run))).records())
    code = more.codes[0]
    request = CodeRequest(1024, 1024, 0.02, 4, target_fer=0.1)
    designs = [OneWay.choose_code(request)]
    assert designs[0].digest == code.digest
    for attempt in range(1, 5):
        wider = drift.further_code(strategy_type("one-way"), request, designs[0], attempt)
        assert wider is not None
        assert not (wider.info_mask & ~designs[-1].info_mask).any()
        designs.append(wider)
    for record in records[:-1]:
        attempts = record["attempts"]
        assert record["rounds"] == attempts - 1
        assert record["answer_bits"] == designs[attempts - 1].syndrome_bits - designs[0].syndrome_bits
        assert record["leakage_bits"] - record["verification_bits"] == code.leakage_bits + record["answer_bits"]
    assert more.leakage["answer"] == sum(record["answer_bits"] for record in records)
    assert more.leakage["syndrome"] == once.leakage["syndrome"]
    attempts = sum(record["attempts"] for record in records)
    assert more.leakage["reply"] == 2 * attempts + 1
    assert more.messages == 9 + 2 * attempts + 2
    assert more.rounds_max == max(record["attempts"] for record in records) - 1 <= 4


def test_further_attempts_stop_at_the_caps_of_a_block() -> None:
    keys = two_keys(60_000, 0.028)
    asked: dict[str, Any] = {"qber": 0.02, "block_length": 1024, "list_size": 4, "target_fer": 0.1}
    retry = {"on_failure": "retry", "retries": 4}
    plain = reconcile(*keys, **asked)
    silent = reconcile(*keys, **asked, **retry, max_rounds=0)
    assert (silent.given_up, silent.leakage) == (plain.failed_check, plain.leakage)
    cap = plain.codes[0].leakage_bits + 30
    capped = reconcile(*keys, **asked, **retry, max_block_leakage_bits=cap)
    assert capped.given_up > 0
    assert capped.leakage_bits <= cap * capped.blocks + TAG_BITS


def drifting_keys(key_bits: int, start: float, end: float, seed: int) -> tuple[Packed, Packed]:
    rng = np.random.default_rng(seed)
    alice = rng.integers(0, 2, key_bits, dtype=np.uint8)
    return bits.pack(alice), bits.pack(alice ^ (rng.random(key_bits) < np.linspace(start, end, key_bits)))


def test_designs_that_follow_a_drift_lose_fewer_blocks_and_disclose_less() -> None:
    keys = drifting_keys(64 << 16, 0.015, 0.03, seed=1)
    asked: dict[str, Any] = {"block_length": 1 << 14, "list_size": 4, "seed": 2}
    fixed = reconcile(*keys, **asked, follow_drift=False)
    follows = [reconcile(*keys, **asked, threads=threads) for threads in (1, 3)]
    assert outcome_of(follows[0]) == outcome_of(follows[1])
    assert follows[0].blocks_failed <= fixed.blocks_failed // 4
    shares = [report.leakage_bits / report.reconciled_bits for report in (follows[0], fixed)]
    assert shares[0] < 0.96 * shares[1]
    assert len(follows[0].codes) > 5
    assert sum(code.blocks for code in follows[0].codes) == follows[0].blocks
    # 16 stretches with a lag of two: Bob names 14 designs.
    assert follows[0].messages == fixed.messages + 14
    assert follows[0].leakage["reply"] == fixed.leakage["reply"] + 14 * ANNOUNCEMENT_BITS


def test_keys_that_never_decode_end_whatever_follows_them(tmp_path: Path) -> None:
    alice, _ = two_keys(1 << 21, seed=1)
    bob, _ = two_keys(1 << 21, seed=2)
    asked: dict[str, Any] = {"qber": 0.02, "block_length": 4096, "list_size": 1, "threads": 2, "on_failure": "retry"}
    report = reconcile(alice, bob, **asked, follow_drift=True, store=tmp_path)
    assert report.blocks_ok == report.reconciled_bits == report.undetected_errors == 0
    records = list(load_run(Path(str(report.run))).records())
    assert sum(record["leakage_bits_both_ways"] for record in records) == report.leakage_bits_both_ways
    designed = [record["design_qber"] for record in records]
    assert min(designed) == designed[0] < designed[-1]


@given(st.integers(1, 1 << 40), st.integers(8, 22))
def test_stretches_cover_a_key_and_are_known_in_time(key_bits: int, log_block: int) -> None:
    try:
        layout = plan_layout(key_bits, 1 << log_block)
    except KeyFileError:
        return
    stretches = drift.plan_stretches(layout)
    assert (stretches.count - 1) * stretches.bits < key_bits <= stretches.count * stretches.bits
    assert 2 <= stretches.lag <= drift.LONGEST_LAG


def test_an_earlier_run_tells_the_qber_in_place_of_a_sample(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"block_length": 4096, "list_size": 4, "store": tmp_path}
    first = reconcile(*drifting_keys(1 << 20, 0.02, 0.03, seed=1), **asked)
    keys = two_keys(200_000, 0.03, seed=2)
    then = reconcile(*keys, **asked, qber_from=first.run)
    assert then.sampled_bits == 0
    assert then.key_bits == then.reconciled_bits + then.discarded_bits + 4096 * then.blocks_failed
    assert then.estimated_qber == pytest.approx(0.03, rel=0.1)
    assert then.estimated_qber_low is not None
    assert then.design_qber > then.estimated_qber > first.true_qber
    assert then.blocks_failed <= 3
    assert load_run(Path(str(then.run))).configuration["qber_from"] == Path(str(first.run)).name
    with pytest.raises(ConfigError, match="two of them"):
        reconcile(*keys, **asked, qber=0.03, qber_from=first.run)
    nothing = reconcile(keys[0], two_keys(200_000, seed=9)[0], qber=0.02, check="none", **asked)
    assert nothing.blocks_ok == 0
    with pytest.raises(ConfigError, match="whose errors Bob knows"):
        reconcile(*keys, **asked, qber_from=nothing.run)


# --- caps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 4])
def test_a_cap_on_all_disclosure_ends_the_job_before_it_with_an_account(threads: int, tmp_path: Path) -> None:
    keys = write_keys(tmp_path, *two_keys(3 << 20, 0.01))
    asked: dict[str, Any] = {"qber": 0.01, "block_length": 1 << 14, "list_size": 1, "efficiency": 1.8}
    whole = reconcile(*keys, **asked)
    each = whole.codes[0].leakage_bits
    cap = 100 * each + 2 * TAG_BITS
    with pytest.raises(LeakageCapError) as caught:
        reconcile(*keys, **asked, max_leakage_bits=cap, threads=threads, out=tmp_path / "out", store=tmp_path / "store")
    assert caught.value.exit_code == ExitCode.PROTOCOL
    assert list((tmp_path / "out").iterdir()) == []
    (run,) = (tmp_path / "store" / "runs").iterdir()
    loaded = load_run(run)
    assert loaded.state.value == "interrupted"
    records = list(loaded.records())
    account = caught.value.fields
    # Blocks are opened sixteen at a time, so that of a hundred that the cap allows for, 96 are.
    assert account["blocks"] == len(records) == 96
    assert (
        account["leakage_bits"] == sum(record["leakage_bits"] for record in records) == 96 * each + 2 * TAG_BITS <= cap
    )
    assert account["leakage_bits_both_ways"] == sum(record["leakage_bits_both_ways"] for record in records)
    enough = reconcile(*keys, **asked, max_leakage_bits=whole.leakage_bits)
    assert enough.leakage_bits == whole.leakage_bits
    with pytest.raises(LeakageCapError):
        reconcile(*keys, **asked, max_leakage_bits=whole.leakage_bits - 1)


def test_a_group_too_dear_to_tell_apart_is_lost_whole(forgetful: str) -> None:
    keys = two_keys(20_480)
    right = reconcile(*keys, qber=0.02, **QUICK)
    cap = right.leakage_bits + 3 * TAG_BITS
    report = reconcile(*keys, strategy=forgetful, qber=0.02, max_leakage_bits=cap, **QUICK)
    assert report.leakage_bits == right.leakage_bits
    assert report.blocks_ok == report.reconciled_bits == 0
    assert report.keys_equal


def test_a_cap_below_what_opens_a_block_is_refused() -> None:
    least = reconcile(*two_keys(8_192), qber=0.02, **QUICK).codes[0].leakage_bits
    assert reconcile(*two_keys(8_192), qber=0.02, max_block_leakage_bits=least, **QUICK).blocks == 8
    with pytest.raises(ConfigError, match=str(least)):
        reconcile(*two_keys(8_192), qber=0.02, max_block_leakage_bits=least - 1, **QUICK)


# --- failures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["reading", "decoding", "following"])
def test_a_failure_in_the_middle_leaves_a_readable_run_and_no_output(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_keys(tmp_path, *two_keys(3 << 20, 0.01))
    calls = 0

    def fail(*_: Any) -> Any:
        raise KeyFileError("the disk is gone")

    follow = stage == "following"
    if stage == "reading":
        windows = Layout.windows

        def cut(self: Layout, *args: Any) -> Any:
            for number, window in enumerate(windows(self, *args)):
                if number == 6:
                    paths[0].write_bytes(paths[0].read_bytes()[:1000])
                yield window

        monkeypatch.setattr(Layout, "windows", cut)
    else:
        work = OneWay.reconcile

        def last(self: OneWay, *words: Any) -> ReconciledBlocks:
            nonlocal calls
            calls += 1
            return fail() if calls > 6 else work(self, *words)

        monkeypatch.setattr(OneWay, "reconcile", last)
    with pytest.raises(KeyFileError):
        reconcile(
            *paths, qber=0.01, block_length=1 << 16, list_size=1, efficiency=2, threads=3 if follow else 1,
            out=tmp_path / "out", store=tmp_path / "store", follow_drift=follow,
        )  # fmt: skip
    assert list((tmp_path / "out").iterdir()) == []
    (run,) = (tmp_path / "store" / "runs").iterdir()
    loaded = load_run(run)
    assert loaded.state.value == "interrupted"
    assert len(list(loaded.records())) in (0, 16)


def test_decoders_that_do_not_fit_the_memory_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile_work, "memory_limit", lambda: MemoryLimit(1 << 20, "test"))
    with pytest.raises(MemoryBudgetError, match="test"):
        reconcile(*two_keys(10_000), qber=0.02, **QUICK)


def test_threads_that_do_not_fit_the_memory_limit_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = required_bytes(1024, 4, "int8", escalation=default_escalation(1024, 4, "crc32"))
    decoder += block_buffer_bytes(1024)
    monkeypatch.setattr(reconcile_work, "memory_limit", lambda: MemoryLimit(FIXED_BYTES + 3 * decoder, "test"))
    report = reconcile(*two_keys(10_240), qber=0.02, threads=8, **QUICK)
    assert report.threads == 3
    assert report.keys_equal
    assert any("3 of 8 threads" in warning for warning in report.warnings)
    assert reconcile(*two_keys(10_000), qber=0.02, threads=8, **QUICK).threads < 3  # the rest has decoders of its own


def test_a_code_that_leaves_no_key_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        reconcile(*two_keys(10_000), qber=0.02, block_length=1024, efficiency=9.0, store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda key: key.astype(np.int64), ShapeError),
        (lambda key: key.astype(np.float64), ShapeError),
        (lambda key: np.repeat(key, 2)[::2], ShapeError),
        (lambda key: key.reshape(10, -1), ShapeError),
        (lambda key: key.tolist(), ShapeError),
        (lambda key: key[:-1], ShapeError),
        (lambda key: bits.unpack(key, 8_000)[:1_000], ShapeError),
        (lambda key: key[:0], KeyFileError),
        (lambda key: None, ShapeError),
    ],
)
def test_an_array_that_is_no_packed_key_is_refused(wrong: Any, error: type[Exception]) -> None:
    alice, bob = two_keys(8_000)
    with pytest.raises(error):
        reconcile(alice, wrong(bob), **QUICK)
    with pytest.raises(error):
        reconcile(wrong(alice), bob, **QUICK)


def test_stray_bits_beyond_the_key_are_refused() -> None:
    alice, bob = two_keys(8_000)
    alice[-1] |= 0x80
    with pytest.raises(ShapeError, match="zeros beyond"):
        reconcile(alice, bob, key_bits=7_999, **QUICK)


@pytest.mark.parametrize(
    "wrong",
    [
        {"qber": 0.0},
        {"qber": 0.5},
        {"qber": -0.1},
        {"qber": float("nan")},
        {"qber": 0.02, "sample_bits": 100},
        {"sample_bits": 0},
        {"sample_bits": 8_000},
        {"block_length": 1000},
        {"list_size": 33},
        {"efficiency": float("nan")},
        {"efficiency": -1.0},
        {"efficiency": 1.2, "target_fer": 0.1},
        {"target_fer": 0.0},
        {"target_fer": 1.0},
        {"check": "crc7"},
        {"strategy": "telepathy"},
        {"wish": "rounds"},
        {"wish": "everything"},
        {"max_rounds": -1},
        {"on_failure": "pray"},
        {"retries": 0, "on_failure": "retry"},
        {"retries": 5, "on_failure": "retry"},
        {"follow_drift": 1},
        {"max_leakage_bits": 0.5},
        {"max_block_leakage_bits": -1},
        {"precision": "int4"},
        {"engine": "steam"},
        {"threads": 0},
        {"threads": "2"},
        {"list_size": 8.0},
        {"efficiency": "1.2"},
        {"target_fer": "0.1"},
        {"sample_bits": 10.5},
        {"key_bits": "8000"},
        {"key_bits": 0},
        {"seed": -1},
        {"colour": "blue"},
    ],
)
def test_a_setting_outside_its_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        reconcile(*two_keys(8_000), **{"list_size": 4, **wrong})
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("unused", "names"),
    [
        ({"strategy": "interactive", "target_fer": 0.3}, "interactive"),
        ({"strategy": "incremental", "target_fer": 0.3}, "incremental"),
        ({"strategy": "interactive", "check": "crc16"}, "interactive"),
        ({"strategy": "incremental", "check": "none"}, "incremental"),
        ({"retries": 2}, "on_failure retry"),
        ({"strategy": "segmented", "segment_length": 1 << 14, "qber": 0.02}, "segmented"),
        ({"strategy": "segmented", "segment_length": 1 << 14}, "segmented"),
        ({"strategy": "segmented", "segment_length": 1 << 11, "block_length": 1 << 10, "qber": 0.02}, "segmented"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused_with_what_to_do(unused: dict[str, Any], names: str) -> None:
    keys = two_keys(8_000)
    with pytest.raises(ConfigError, match=names) as caught:
        reconcile(*keys, **unused)
    assert "leave it out" in str(caught.value)
    with pytest.raises(ConfigError, match=names), memory_pair()[0] as end:
        reconcile_party("bob", keys[1], end, authentication=CallerChannel(), options=ReconcileOptions(**unused))


def test_numpy_numbers_are_numbers(tmp_path: Path) -> None:
    alice, bob = two_keys(8_000)
    settings: dict[str, Any] = {
        "qber": np.float32(0.02),
        "block_length": np.int64(1024),
        "list_size": np.int8(4),
        "efficiency": np.float64(2.2),
        "threads": np.uint16(1),
    }
    report = reconcile(alice, bob, key_bits=np.int32(8_000), store=tmp_path, **settings)  # type: ignore[arg-type]
    assert report.blocks == 8
    assert load_run(Path(str(report.run))).configuration["block_length"] == 1024


def test_one_file_given_twice_is_pointed_out(tmp_path: Path) -> None:
    alice, bob = write_keys(tmp_path, *two_keys(8_000))
    os.link(alice, tmp_path / "again.bin")
    assert any("same file" in warning for warning in reconcile(alice, tmp_path / "again.bin", **QUICK).warnings)
    assert not any("same file" in warning for warning in reconcile(alice, bob, **QUICK).warnings)


def test_options_are_given_once() -> None:
    with pytest.raises(ConfigError, match="list_size"):
        reconcile(*two_keys(8_000), options=ReconcileOptions(qber=0.02), list_size=4)


def test_no_repr_or_record_shows_a_key(tmp_path: Path) -> None:
    alice, bob = two_keys(8_000)
    report = reconcile(alice, bob, qber=0.02, store=tmp_path, **QUICK)
    assert "alice_key" not in repr(report)
    assert "alice_key" not in report.to_json()
    for part in (report.alice_key, report.bob_key):
        assert part is not None
        for file in Path(str(report.run)).iterdir():
            assert part[:8].tobytes() not in file.read_bytes()
            assert part[:8].tobytes().hex() not in file.read_text()


def test_the_public_name_is_this_job() -> None:
    assert caligo.reconcile is reconcile
    code = OneWay.choose_code(CodeRequest(1024, 1024, 0.02, 4))
    assert code.payload_length == 1024

"""A bundled run is run again: what is true is reproduced, what was made up is not, and what cannot be told is said."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bundles import Forgery, members_of

from caligo.bench.decoder import measure_again
from caligo.cli import main
from caligo.errors import ConfigError
from caligo.jobs.replay import Replay, ReplayKeys, replay
from caligo.jobs.replay_comparison import Verdict, judge_rate, judge_times
from caligo.statistics import Proportion
from caligo.store import RunWriter, list_runs, load_run
from caligo.store.bundles.bundle import read_bundle
from caligo.store.bundles.bundle_writer import write_bundle
from caligo.store.bundles.signing import generate_key, load_signer
from caligo.store.bundles.trust import Trust, TrustedKey, save_trust
from caligo.store.values import run_identity

SIMULATE = ["simulate", "-N", "256", "-L", "4", "--threads", "2", "--frames"]


class Bench:
    """A store with runs, and bundles of them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.store = base / "store"
        generate_key(base / "lab.pem", "lab")
        self.signer = load_signer(base / "lab.pem")
        self.trust = Trust((TrustedKey(self.signer.public_key),))
        (base / "lock").write_text("")

    def record(self, *words: str, code: int = 0) -> Path:
        """Run a command that records; returns the bundle of its run."""
        before = {info.name for info in list_runs(self.store)}
        assert main([*words]) == code
        (new,) = (info for info in list_runs(self.store) if info.name not in before)
        path = self.base / f"{new.name}.tar"
        write_bundle(new.path, self.signer, out=path, lock=self.base / "lock", log=False)
        return path

    def replay(self, path: Path, **how: Any) -> Replay:
        return replay(read_bundle(path, self.trust), **({"timings": False} | how))

    def forged(self, forgery: Forgery) -> Path:
        return forgery.write(self.signer, self.base / "forged.tar")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("replay"))


@pytest.fixture(scope="module")
def simulated(bench: Bench) -> Path:
    words = ["--qber", "0.03", "--efficiency", "1.5", "--seed", "18446744073709551615", "--store", str(bench.store)]
    return bench.record(*SIMULATE, "300", *words)


@pytest.fixture(scope="module")
def keys(bench: Bench) -> ReplayKeys:
    out = bench.base / "sifted"
    words = ["--bits", "100000", "--qber", "0.02", "--seed", "5"]
    assert main(["keys", "simulate", "--out", str(out), *words]) == 0
    return ReplayKeys(out / "alice.bin", out / "bob.bin", outputs=bench.base / "reconciled")


@pytest.fixture(scope="module")
def inputs(keys: ReplayKeys) -> ReplayKeys:
    return replace(keys, outputs=None)


@pytest.fixture(scope="module")
def reconciled(bench: Bench, keys: ReplayKeys) -> Path:
    return bench.record(
        "reconcile", str(keys.alice), str(keys.bob), "-N", "4096", "-L", "4", "--threads", "1", "--target-fer", "0.2",
        "--out", str(keys.outputs), "--store", str(bench.store),
    )  # fmt: skip


def verdicts(outcome: Replay) -> dict[str, Verdict]:
    return {claim.name: claim.verdict for claim in outcome.comparison.claims}


def failed(outcome: Replay) -> set[str]:
    return {name for name, verdict in verdicts(outcome).items() if verdict is Verdict.NOT_REPRODUCED}


RECORDS = "every record, bit for bit"


# --- what is true is reproduced -----------------------------------------------------------------------------------


def test_a_simulation_is_reproduced_and_recorded_as_a_child(bench: Bench, simulated: Path, tmp_path: Path) -> None:
    outcome = bench.replay(simulated, store=tmp_path, threads=1)
    assert outcome.comparison.reproduced
    assert set(verdicts(outcome).values()) == {Verdict.REPRODUCED}
    assert {RECORDS, "the identity of the experiment", "fer", "leakage_bits"} <= set(verdicts(outcome))
    assert outcome.replayed is not None
    child = load_run(outcome.replayed)
    assert (child.kind, child.parents) == ("simulate", (outcome.run,))
    assert child.identity == read_bundle(simulated, bench.trust).predicate["run"]["identity"]


@pytest.mark.parametrize(
    "words",
    [
        ["--qber", "0.049,0.024", "--efficiency", "1.5"],
        ["--qber", "0.02", "-K", "150", "--segment-length", "64", "--escalation", "1,2", "--precision", "f32"],
        ["--qber", "0.02", "-K", "180", "--payload-length", "200", "--check", "crc16", "--max-frame-errors", "3"],
        ["--channel", "awgn", "--ebn0", "2", "-K", "128"],
    ],
)
def test_every_kind_of_simulation_is_reproduced(bench: Bench, words: list[str]) -> None:
    path = bench.record(*SIMULATE, "60", *words, "--store", str(bench.store))
    outcome = bench.replay(path)
    assert not failed(outcome)
    assert outcome.comparison.reproduced
    assert outcome.replayed is None


def test_a_reconciliation_is_reproduced_down_to_its_keys(bench: Bench, reconciled: Path, keys: ReplayKeys) -> None:
    outcome = bench.replay(reconciled, keys=keys, threads=2)
    assert not failed(outcome)
    assert verdicts(outcome)["the reconciled key alice.bin, bit for bit"] is Verdict.REPRODUCED
    assert {RECORDS, "leakage", "leakage_bits_both_ways", "true_qber", "codes"} <= set(verdicts(outcome))


def test_public_values_from_a_seed_are_reproduced(bench: Bench, inputs: ReplayKeys) -> None:
    path = bench.record(
        "reconcile", str(inputs.alice), str(inputs.bob), "--qber", "0.022", "-N", "8192", "-L", "4", "--seed", "7",
        "--interleave", "--strategy", "incremental", "--store", str(bench.store),
    )  # fmt: skip
    assert not failed(bench.replay(path, keys=inputs))


@pytest.mark.parametrize("kind", ["simulate", "reconcile"])
def test_the_run_of_a_job_is_reproduced(bench: Bench, inputs: ReplayKeys, kind: str) -> None:
    table = {
        "simulate": "[simulate]\nqber = 0.03\nefficiency = 1.5\nblock_length = 256\nlist_size = 4\nframes = 700\n",
        "reconcile": f'[keys]\nalice = "{inputs.alice}"\nbob = "{inputs.bob}"\n[reconcile]\nblock_length = 4096\n'
        "list_size = 4\n",
    }[kind]
    file = bench.base / f"{kind}.toml"
    file.write_text(f'schema = 1\n{table}[store]\ndir = "{bench.store}"\n')
    outcome = bench.replay(bench.record("run", str(file)), keys=inputs if kind == "reconcile" else None, threads=1)
    assert not failed(outcome)
    assert verdicts(outcome)[RECORDS] is Verdict.REPRODUCED


def test_a_measurement_is_held_by_its_error_rate_and_the_rest_of_its_figures(bench: Bench) -> None:
    path = bench.record(
        "bench", "decoder", "-N", "256", "-L", "4", "--qber", "0.04", "--efficiency", "1.5", "--seconds", "0.02",
        "--batch", "64", "--threads", "1", "--store", str(bench.store),
    )  # fmt: skip
    outcome = bench.replay(path, measure=measure_again)
    assert not failed(outcome)
    assert verdicts(outcome)["the error rate"] is Verdict.REPRODUCED
    with pytest.raises(ConfigError, match="measure"):
        bench.replay(path)


# --- what is not true is found ------------------------------------------------------------------------------------


def test_a_forged_record_is_found_although_every_hash_and_signature_is_right(bench: Bench, simulated: Path) -> None:
    forgery = Forgery(simulated)

    def embellish(records: list[dict[str, Any]]) -> None:
        bad = next(record for record in records if record["outcome"] != "ok")
        bad["outcome"] = "ok"

    forgery.change_records(embellish)
    outcome = bench.replay(bench.forged(forgery))
    assert failed(outcome) == {RECORDS}
    (claim,) = (claim for claim in outcome.comparison.claims if claim.name == RECORDS)
    assert "1 records differ" in claim.why
    assert "'ok', now 'detected_failure'" in claim.why


def test_a_forged_record_without_its_hash_is_found_too(bench: Bench, simulated: Path) -> None:
    forgery = Forgery(simulated)
    name = f"{forgery.place}records-main.jsonl"
    forgery.contents[name] = forgery.contents[name].replace(b"detected_failure", b"detected_fAilure", 1)
    outcome = bench.replay(bench.forged(forgery))
    assert {"the run directory is what was sealed", "the records are what was written"} <= failed(outcome)


def test_a_forged_figure_and_a_forged_configuration_are_found(bench: Bench, simulated: Path) -> None:
    forgery = Forgery(simulated)
    forgery.seal["summary"]["fer"] /= 2
    assert failed(bench.replay(bench.forged(forgery))) == {"fer"}
    forgery = Forgery(simulated)
    forgery.document["seeds"]["simulation"] = "7"
    identity = hashlib.sha256(b"not what it should be").hexdigest()
    forgery.document["identity"] = forgery.statement["predicate"]["run"]["identity"] = identity
    with pytest.raises(Exception, match="identity"):
        bench.replay(bench.forged(forgery))


@pytest.mark.parametrize("change", ["removed", "repeated", "moved"])
def test_records_removed_repeated_or_moved_are_found(bench: Bench, simulated: Path, change: str) -> None:
    forgery = Forgery(simulated)
    forgery.change_records(
        {
            "removed": lambda records: records.__delitem__(slice(200, None)),
            "repeated": lambda records: records.append(records[-1]),
            "moved": lambda records: records.reverse(),
        }[change]
    )
    outcome = bench.replay(bench.forged(forgery))
    if change == "removed":
        assert failed(outcome) == {"the number of records"}
        assert verdicts(outcome)["the error rate"] is Verdict.REPRODUCED
    else:
        assert failed(outcome) == {RECORDS}


def test_other_keys_give_another_record(bench: Bench, reconciled: Path, keys: ReplayKeys, tmp_path: Path) -> None:
    words = ["--bits", "100000", "--qber", "0.02", "--seed", "6"]
    assert main(["keys", "simulate", "--out", str(tmp_path), *words]) == 0
    others = ReplayKeys(tmp_path / "alice.bin", tmp_path / "bob.bin", outputs=keys.outputs)
    outcome = bench.replay(reconciled, keys=others)
    assert {RECORDS, "true_qber", "the reconciled key bob.bin, bit for bit"} <= failed(outcome)


def test_other_public_values_give_another_record(bench: Bench, reconciled: Path, keys: ReplayKeys) -> None:
    forgery = Forgery(reconciled)
    forgery.document["security_randomness"]["sampling_seed"] = "00" * 32
    assert RECORDS in failed(bench.replay(bench.forged(forgery), keys=keys))


# --- what cannot be told is said ----------------------------------------------------------------------------------


def test_another_version_or_machine_is_reported_and_is_no_failure(bench: Bench, simulated: Path) -> None:
    forgery = Forgery(simulated)
    forgery.document["code"] |= {"version": "0.0.1", "commit": "f" * 40}
    forgery.document["machine"]["fingerprint"] = "0" * 16
    forgery.statement["predicate"]["environment"]["packages"]["numpy"] = "1.0"
    outcome = bench.replay(bench.forged(forgery), timings=True)
    assert outcome.comparison.reproduced
    changes = {what: (recorded, here) for what, recorded, here in outcome.comparison.environment}
    assert changes["code.version"][0] == "0.0.1"
    assert changes["package numpy"][0] == "1.0"
    (claim,) = (claim for claim in outcome.comparison.claims if claim.name == "the time of a block")
    assert claim.verdict is Verdict.NOT_COMPARABLE
    assert "another machine" in claim.why


def test_an_engine_that_this_machine_lacks_is_replaced_and_told(bench: Bench, simulated: Path) -> None:
    file = bench.base / "engine.toml"
    file.write_text(
        "schema = 1\n[simulate]\nqber = 0.03\nefficiency = 1.5\nblock_length = 256\nlist_size = 4\nframes = 50\n"
        f'engine = "portable"\n[store]\ndir = "{bench.store}"\n'
    )
    forgery = Forgery(bench.record("run", str(file)))
    assert not failed(bench.replay(bench.forged(forgery)))
    forgery.document["configuration"]["engine"] = "avx4096"
    document = forgery.document
    excludes = document["identity_excludes"]
    identity = run_identity("simulate", document["configuration"], document["seeds"], excludes)
    document["identity"] = forgery.statement["predicate"]["run"]["identity"] = identity
    outcome = bench.replay(bench.forged(forgery))
    assert not failed(outcome)
    assert ("engine asked for", "avx4096", None) in outcome.comparison.environment


def test_keys_that_are_missing_or_superfluous_are_refused(
    bench: Bench, simulated: Path, reconciled: Path, keys: ReplayKeys, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="--alice and --bob"):
        bench.replay(reconciled)
    with pytest.raises(ConfigError, match="leave them out"):
        bench.replay(simulated, keys=keys)
    outcome = bench.replay(reconciled, keys=ReplayKeys(keys.alice, keys.bob, outputs=tmp_path))
    assert verdicts(outcome)["the reconciled key alice.bin, bit for bit"] is Verdict.NOT_COMPARABLE
    assert outcome.comparison.reproduced


def test_what_cannot_be_run_again_is_refused(bench: Bench, simulated: Path) -> None:
    for kind, configuration in (("reconcile", {"role": "alice"}), ("bench", {"command": "bench decoder --sweep"})):
        with RunWriter.create(bench.store, kind, configuration) as run:
            run.seal({})
        path = bench.base / f"{run.name}.tar"
        write_bundle(run.path, bench.signer, out=path, lock=bench.base / "lock", log=False)
        with pytest.raises(ConfigError, match="not run again"):
            bench.replay(path)


def test_the_run_that_told_the_error_rate_is_looked_for(
    bench: Bench, inputs: ReplayKeys, reconciled: Path, tmp_path: Path
) -> None:
    earlier = read_bundle(reconciled, bench.trust).run
    path = bench.record(
        "reconcile", str(inputs.alice), str(inputs.bob), "-N", "4096", "-L", "4", "--qber-from", earlier,
        "--store", str(bench.store),
    )  # fmt: skip
    with pytest.raises(ConfigError, match=earlier):
        bench.replay(path, keys=inputs, store=tmp_path)
    read_bundle(reconciled, bench.trust).extract_run(tmp_path)
    assert not failed(bench.replay(path, keys=inputs, store=tmp_path))


# --- judgement ----------------------------------------------------------------------------------------------------


def test_times_are_held_by_ranks_and_by_effect() -> None:
    times = [1000.0 + number % 17 for number in range(200)]
    assert judge_times("t", times, times).verdict is Verdict.REPRODUCED
    assert judge_times("t", times, [time * 0.5 for time in times]).verdict is Verdict.REPRODUCED
    assert judge_times("t", times, [time * 1.05 for time in times]).verdict is Verdict.REPRODUCED
    assert judge_times("t", times, [time * 1.2 for time in times]).verdict is Verdict.NOT_REPRODUCED
    assert judge_times("t", times[:19], times).verdict is Verdict.NOT_COMPARABLE


def test_rates_are_held_by_fishers_test() -> None:
    assert judge_rate("r", Proportion(10, 1000), Proportion(12, 1000)).verdict is Verdict.REPRODUCED
    assert judge_rate("r", Proportion(10, 1000), Proportion(60, 1000)).verdict is Verdict.NOT_REPRODUCED
    assert judge_rate("r", Proportion(0, 0), Proportion(1, 1)).verdict is Verdict.NOT_COMPARABLE


# --- keys stay where they are -------------------------------------------------------------------------------------


def test_a_bundle_has_no_bit_of_a_key_and_no_digest_to_test_guesses_against(
    bench: Bench, reconciled: Path, keys: ReplayKeys
) -> None:
    assert keys.outputs is not None
    whole = b"".join(members_of(reconciled).values())
    lowered = whole.lower()
    for path in (keys.alice, keys.bob, keys.outputs / "alice.bin", keys.outputs / "bob.bin"):
        key = path.read_bytes()
        names = ("md5", "sha1", "sha256", "sha384", "sha512", "blake2b", "sha3_256")
        values = [hashlib.new(name, key).digest() for name in names]
        values += [hashlib.blake2b(key, digest_size=size).digest() for size in (16, 32)]
        values += [key[start : start + 16] for start in range(0, len(key) - 16, 97)]
        for value in values:
            assert value not in whole
            assert value.hex().encode() not in lowered


# --- the command line ---------------------------------------------------------------------------------------------


def test_the_command_says_what_was_reproduced_and_ends_so(
    bench: Bench,
    simulated: Path,
    reconciled: Path,
    keys: ReplayKeys,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trust = ["--trust", str(save_trust(bench.trust, tmp_path / "trust.toml")), "--store", str(tmp_path / "store")]
    capsys.readouterr()
    assert main(["replay", str(simulated), "--no-timings", *trust, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["reproduced"]
    assert {claim["verdict"] for claim in document["claims"]} == {"reproduced"}
    assert Path(document["replayed"]).parent == tmp_path / "store" / "runs"
    words = ["replay", str(reconciled), "--no-timings", "--alice", str(keys.alice), *trust]
    assert main([*words, "--bob", str(keys.bob)]) == 0
    assert RECORDS in capsys.readouterr().out
    assert main(words) == 2
    assert main(["replay", str(simulated), "--outputs", str(tmp_path), *trust]) == 2
    forgery = Forgery(simulated)
    forgery.seal["summary"]["fer"] = 0.0
    assert main(["replay", str(bench.forged(forgery)), "--no-timings", *trust]) == 8
    captured = capsys.readouterr()
    assert "not reproduced" in captured.out
    assert "1 not reproduced" in captured.err

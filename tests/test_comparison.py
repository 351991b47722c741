"""Laws of the comparison of strategies: everybody gets the same blocks, and the figures are those of a reconcile job.

Covers: `compare_strategies`, its plot, `caligo compare-strategies`. Does not cover: Cascade itself (`test_cascade.py`),
what strategies disclose (`test_reconciliation.py`).
"""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_dialogue import ToySide

import caligo.cli
from caligo import StrategyComparison, compare_strategies, reconcile
from caligo.bench import ComparedStrategy, contestant_names
from caligo.bits import Packed
from caligo.codes import PolarCode, design_code
from caligo.errors import CaligoError, ConfigError, ExitCode, KeyFileError, ShapeError
from caligo.randomness import Stream, simulation_bits, simulation_errors
from caligo.reconciliation.cascade import CASCADES
from caligo.reconciliation.strategies import NO_CAPS, STRATEGIES, BlockCaps, CodeRequest, ReconciledBlocks
from caligo.reconciliation.strategies.dialogue import play
from caligo.reconciliation.strategies.one_way import OneWay

Keys = tuple[Packed, Packed]


def keys(bits: int, qber: float = 0.02) -> Keys:
    alice = simulation_bits(21, Stream.KEY_BITS, 0, bits)
    return alice, alice ^ simulation_errors(21, 0, bits, qber)


@pytest.fixture(scope="module")
def comparison() -> StrategyComparison:
    return compare_strategies(*keys(1 << 15), qber=0.02, block_length=1 << 12, list_size=8, round_trip_ms=20)


def row(comparison: StrategyComparison, name: str) -> ComparedStrategy:
    return next(item for item in comparison.strategies if item.strategy == name)


def test_everybody_is_compared_on_the_same_blocks(comparison: StrategyComparison) -> None:
    assert [item.strategy for item in comparison.strategies] == contestant_names()
    assert {item.strategy for item in comparison.strategies if item.yardstick} == set(CASCADES)
    assert {item.blocks for item in comparison.strategies} == {8}
    assert (comparison.blocks, comparison.payload_length, comparison.sampled_bits) == (8, 4096, 0)


def test_the_account_is_that_of_a_reconcile_job(comparison: StrategyComparison) -> None:
    job = reconcile(*keys(1 << 15), qber=0.02, block_length=1 << 12, list_size=8, seed=1)
    one_way = row(comparison, "one-way")
    assert one_way.net_bits == job.reconciled_bits - job.leakage_bits
    assert one_way.efficiency == job.efficiency
    assert (one_way.blocks_ok, one_way.failed_check) == (job.blocks_ok, job.failed_check)
    assert comparison.true_qber == job.true_qber


def test_figures_follow_from_each_other(comparison: StrategyComparison) -> None:
    first = comparison.strategies[0].net_bits
    for item in comparison.strategies:
        assert item.blocks == item.blocks_ok + item.failed_check + item.given_up + item.failed_verification
        assert item.net_share == item.net_bits / (8 * 4096)
        assert item.gain == pytest.approx(item.net_bits / first - 1)
        assert item.efficiency is not None
        assert item.efficiency_both_ways is not None
        assert 1.0 < item.efficiency <= item.efficiency_both_ways
        assert item.rounds_mean <= item.rounds_max
        assert item.coded_mbps == pytest.approx(4.096 / item.decode_ms)
        waiting_ms = item.rounds_mean * 20
        assert item.blocks_in_flight == math.ceil(1 + waiting_ms / item.decode_ms)
        assert item.net_mbps == pytest.approx(item.net_bits / 8 / item.decode_ms / 1e3)
        assert item.net_mbps_alone == pytest.approx(item.net_bits / 8 / (item.decode_ms + waiting_ms) / 1e3)


def test_talking_discloses_less_and_is_counted(comparison: StrategyComparison) -> None:
    one_way, cascade = row(comparison, "one-way"), row(comparison, "cascade-yan")
    assert one_way.rounds_max == 0
    assert (one_way.blocks_in_flight, one_way.net_mbps) == (1, one_way.net_mbps_alone)
    assert cascade.rounds_mean > 20
    assert cascade.messages_mean > 2 * cascade.rounds_mean
    assert cascade.alice_bits < one_way.alice_bits
    assert cascade.bob_bits > 0.9 * cascade.alice_bits


def test_the_error_rate_may_be_estimated_and_the_key_shorter_than_a_block() -> None:
    found = compare_strategies(*keys(20_000), list_size=4, strategies=["one-way", "cascade-original"])
    assert found.sampled_bits == round(20_000 ** (2 / 3))
    assert (found.blocks, found.block_length, found.payload_length) == (1, 1 << 15, 20_000 - found.sampled_bits)
    assert row(found, "one-way").assumed_qber > found.known_qber == row(found, "cascade-original").assumed_qber
    assert all(item.blocks_ok == 1 for item in found.strategies)


def test_where_two_rates_are_assumed_the_net_key_pays_for_both_ways() -> None:
    alice, bob = keys(1 << 14)
    bob ^= simulation_errors(22, 0, 1 << 14, 0.05) & bob
    settings: dict[str, Any] = {"block_length": 1 << 12, "list_size": 8, "strategies": ["one-way", "cascade-yan"]}
    for asked in ({"qber": (0.02, 0.068)}, {}):
        one_way, cascade = compare_strategies(alice, bob, **asked, **settings).strategies
        assert (one_way.account, cascade.account) == ("leakage_bits_both_ways", "leakage_bits")
        spent = (one_way.alice_bits + one_way.bob_bits) * one_way.blocks
        assert one_way.net_bits == pytest.approx(one_way.blocks_ok * 4096 - spent)
    one_rate = compare_strategies(alice, bob, asymmetric="off", **settings).strategies[0]
    assert one_rate.account == "leakage_bits"


def test_equal_keys_have_no_efficiency() -> None:
    alice, _ = keys(1 << 12)
    found = compare_strategies(alice, alice, qber=0.02, block_length=1 << 12, list_size=1)
    assert found.one_way_limit is None
    assert all(item.efficiency is None and item.blocks_ok == 1 for item in found.strategies)


def test_without_a_reconciled_block_nothing_is_gained() -> None:
    found = compare_strategies(*keys(1 << 13, 0.06), qber=0.01, block_length=1 << 12, list_size=1)
    one_way = row(found, "one-way")
    assert (one_way.blocks_ok, one_way.failed_check, one_way.efficiency) == (0, 2, None)
    assert one_way.net_bits < 0
    assert one_way.net_mbps < 0
    assert all(item.gain is None for item in found.strategies)


class Asking(OneWay):
    """The toy dialogue as a strategy with two wishes; the second one returns a wrong block."""

    name = "asking"
    wishes = ("little", "wrong")
    asks = True

    @staticmethod
    def choose_code(request: CodeRequest) -> PolarCode:
        check = {"little": "crc16", "wrong": "crc24"}[request.wish or ""]
        return design_code(request.block_length, qber=request.design_qber, efficiency=1.5, check=check)

    def reconcile(self, alice: Packed, bob: Packed, caps: BlockCaps = NO_CAPS) -> ReconciledBlocks:
        side = ToySide(self.code)
        outcome = play(side, side, alice, bob, caps)
        if self.code.check == "crc24":
            outcome.decoded[0, 0] ^= 1
        return outcome


def test_every_wish_is_compared_and_a_wrong_block_takes_its_group_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STRATEGIES, "asking", f"{__name__}:Asking")
    assert contestant_names()[-4:-2] == ["asking/little", "asking/wrong"]
    pair = keys(4 * 256)
    settings: dict[str, Any] = {"qber": 0.02, "block_length": 256, "list_size": 4}
    found = compare_strategies(*pair, strategies=["asking"], **settings)
    little, wrong = found.strategies
    assert (little.strategy, wrong.strategy) == ("asking/little", "asking/wrong")
    assert little.blocks_ok == 4 - little.failed_check >= 3
    assert (wrong.blocks_ok, wrong.failed_verification, wrong.efficiency) == (0, 4 - wrong.failed_check, None)
    assert little.rounds_max >= little.rounds_mean > 0
    assert little.messages_mean == 2 + 2 * little.rounds_mean
    assert little.bob_bits > 2 + 7 * little.rounds_mean
    assert little.assumed_qber == 0.02
    unsure = compare_strategies(*keys(4096), strategies=["asking/little", "one-way"], block_length=256, list_size=4)
    assert unsure.strategies[0].assumed_qber < unsure.known_qber < unsure.strategies[1].assumed_qber
    only = compare_strategies(*pair, strategies="asking/little", **settings)
    assert [item.net_bits for item in only.strategies] == [little.net_bits]


UNRELATED = (simulation_bits(1, Stream.KEY_BITS, 0, 1 << 14), simulation_bits(2, Stream.KEY_BITS, 0, 1 << 14))


@pytest.mark.parametrize(
    ("pair", "settings", "kind", "said"),
    [
        pytest.param(UNRELATED, {"qber": 0.02}, KeyFileError, "two sides of one", id="unrelated, QBER given"),
        pytest.param(UNRELATED, {}, KeyFileError, "two sides of one", id="unrelated, QBER estimated"),
        pytest.param(keys(128), {"block_length": 512, "qber": 0.02}, KeyFileError, "at least 256 bits", id="too short"),
        pytest.param(keys(1 << 13), {"blocks": 3, "block_length": 4096}, ConfigError, "at most the", id="blocks"),
        pytest.param(keys(512), {"strategies": ["one-way", "ldpc"]}, ConfigError, "ldpc", id="unknown"),
        pytest.param(keys(512), {"strategies": []}, ConfigError, "got none", id="no strategy"),
        pytest.param(keys(512), {"round_trip_ms": -1}, ConfigError, "round_trip_ms", id="negative round trip"),
        pytest.param(keys(512), {"round_trip_ms": math.nan}, ConfigError, "round_trip_ms", id="no round trip"),
        pytest.param(keys(512), {"round_trip_ms": "10"}, ConfigError, "round_trip_ms", id="round trip in words"),
        pytest.param(keys(512), {"list_size": 3}, ConfigError, "list_size", id="list size"),
        pytest.param(keys(512), {"block_length": 1000}, ConfigError, "block_length", id="block length"),
        pytest.param(keys(512), {"seed": -1}, ConfigError, "seed", id="seed"),
        pytest.param((keys(512)[0], keys(520)[1]), {"qber": 0.02}, ShapeError, "512", id="unequal lengths"),
    ],
)
def test_bad_input_is_refused(pair: Keys, settings: dict[str, Any], kind: type[CaligoError], said: str) -> None:
    with pytest.raises(kind, match=said):
        compare_strategies(*pair, **settings)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    for name, key in zip(("a.bin", "b.bin"), keys(1 << 13), strict=True):
        key.tofile(tmp_path / name)
    return str(tmp_path / "a.bin"), str(tmp_path / "b.bin")


QUICK = ["-N", "2^12", "-L", "4", "--qber", "0.02"]


def run(*words: str) -> int:
    return caligo.cli.main(["compare-strategies", *words])


def test_json_and_csv_say_the_same(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*files, *QUICK, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "caligo.compare-strategies/1"
    assert run(*files, *QUICK, "--csv") == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [line["strategy"] for line in lines] == [item["strategy"] for item in document["strategies"]]
    for line, item in zip(lines, document["strategies"], strict=True):
        assert int(line["net_bits"]) == item["net_bits"]
        assert float(line["efficiency"]) == item["efficiency"]
        assert float(line["true_qber"]) == document["true_qber"]


def test_people_get_two_tables_and_a_plot(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    for name in ("plot.svg", "plot.png"):
        assert run(*files, *QUICK, "--plot", str(tmp_path / name)) == 0
        assert (tmp_path / name).stat().st_size > 5_000
    shown = capsys.readouterr().out
    for name in [*contestant_names(), "2 blocks of 4,096 bits", "best one-way code", "a round trip of 10 ms"]:
        assert name in shown


def test_one_file_for_both_keys_is_noticed(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files[0], files[0], *QUICK, "--strategies", "one-way") == 0
    assert "same file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [("--csv", "--json"), ("--strategies", "one-way,"), ("--plot", "no-such-directory/x.svg"), ("--plot", "x.tiff7")],
)
def test_options_that_make_no_sense_are_usage_errors(files: tuple[str, str], words: tuple[str, ...]) -> None:
    if "--plot" in words:
        pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    assert run(*files, *QUICK, *words) == ExitCode.USAGE


def test_no_key_bit_is_in_a_result(comparison: StrategyComparison) -> None:
    assert not any(isinstance(value, np.ndarray | bytes) for value in comparison.to_json().values())

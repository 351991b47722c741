"""Laws of `caligo keys`: the files it writes, the one JSON object it prints, what it refuses and how."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from caligo.keys import count_differing_bits, open_pair


def caligo(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "caligo", *map(str, arguments)], check=False, capture_output=True, text=True, timeout=120
    )


def simulated(out: Path, *arguments: object) -> dict[str, Any]:
    done = caligo("keys", "simulate", "--seed", 7, "--out", out, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


def test_simulate_writes_two_private_files_and_reports_what_they_hold(tmp_path: Path) -> None:
    document = simulated(tmp_path / "out", "--bits", 100_003, "--qber", 0.03, "--drift", "0.2", "--drift-period", 2**16)
    assert document["schema"] == "caligo.keys-simulate/1"
    assert document["key_bits"] == 100_003
    assert document["drift"] == {"kind": "sine", "amplitude": 0.2, "period_bits": 2**16}
    assert sorted(os.listdir(tmp_path / "out")) == ["alice.bin", "bob.bin"]
    for name in ("alice", "bob"):
        path = Path(document[name])
        assert path.is_absolute()
        assert path.stat().st_size == 12501
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with open_pair(document["alice"], document["bob"], key_bits=100_003) as pair:
        assert count_differing_bits(pair.alice, pair.bob) == document["differing_bits"]
    assert document["true_qber"] == pytest.approx(0.03, abs=0.004)


def test_info_describes_a_key_and_warns_about_its_mode(tmp_path: Path) -> None:
    document = simulated(tmp_path, "--bits", 4097, "--qber", 0.03)
    done = caligo("keys", "info", document["alice"], "--key-bits", 4097, "--json")
    assert done.returncode == 0
    info = json.loads(done.stdout)
    assert info["schema"] == "caligo.keys-info/1"
    assert (info["format"], info["bit_order"], info["key_bits"], info["size_bytes"]) == ("packed", "little", 4097, 513)
    assert info["ones_fraction"] == info["ones"] / 4097
    assert info["mode"] == "0600"
    assert info["warnings"] == []
    assert done.stderr == ""
    os.chmod(document["alice"], 0o644)
    Path(tmp_path / "constant.bin").write_bytes(bytes(1000))
    assert "chmod 600" in caligo("keys", "info", document["alice"]).stderr
    constant = json.loads(caligo("keys", "info", tmp_path / "constant.bin", "--json").stdout)
    assert any("standard deviations" in warning for warning in constant["warnings"])


def test_people_get_tables(tmp_path: Path) -> None:
    done = caligo("keys", "simulate", "--bits", "2^16", "--qber", "0.02", "--seed", "1", "--out", tmp_path / "out")
    assert done.returncode == 0
    assert "65,536" in done.stdout
    assert "true QBER" in done.stdout
    done = caligo("keys", "info", tmp_path / "out" / "bob.bin", "--bit-order", "big")
    assert done.returncode == 0
    assert "big" in done.stdout
    assert "0600" in done.stdout


def test_simulate_never_overwrites_unasked(tmp_path: Path) -> None:
    simulated(tmp_path, "--bits", 1000, "--qber", 0.02)
    before = (tmp_path / "alice.bin").read_bytes()
    done = caligo("keys", "simulate", "--bits", 1000, "--qber", 0.02, "--seed", 8, "--out", tmp_path)
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert (tmp_path / "alice.bin").read_bytes() == before
    simulated(tmp_path, "--bits", 1000, "--qber", 0.04, "--force")
    assert sorted(os.listdir(tmp_path)) == ["alice.bin", "bob.bin"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("simulate", "--bits", 1000, "--qber", 0, "--seed", 1), 2),
        (("simulate", "--bits", 1000, "--qber", 0.5, "--seed", 1), 2),
        (("simulate", "--bits", 1000, "--qber", "nan", "--seed", 1), 2),
        (("simulate", "--bits", 0, "--qber", 0.02, "--seed", 1), 2),
        (("simulate", "--bits", 1000, "--qber", 0.02, "--seed", 1, "--drift", "wobbly"), 2),
        (("info", "MISSING"), 4),
        (("info", "EMPTY"), 4),
        (("info", "."), 4),
        (("info", "SHORT", "--key-bits", 100), 4),
        (("info", "SHORT", "--format", "npy"), 4),
    ],
)
def test_bad_input_gets_its_code_and_one_clear_message(
    tmp_path: Path, arguments: tuple[object, ...], code: int
) -> None:
    (tmp_path / "EMPTY").touch()
    (tmp_path / "SHORT").write_bytes(b"123")
    command, *rest = [tmp_path / str(a) if str(a).isupper() else a for a in arguments]
    if command == "simulate":
        rest += ["--out", tmp_path / "out"]
    done = caligo("keys", command, *rest)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_convert_keeps_the_key_and_what_was_known_of_it(tmp_path: Path) -> None:
    simulated(tmp_path, "--bits", 4096, "--qber", 0.03)
    start, epoch, stream, end = (tmp_path / name for name in ("alice.bin", "0000000c", "stream", "end.bin"))
    for arguments in (
        (start, epoch, "--to", "qcrypto", "--number", 12),
        (epoch, stream, "--to", "ait", "--state", "corrected", "--disclosed-bits", 700),
        (stream, end, "--format", "ait"),
    ):
        done = caligo("keys", "convert", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["key_bits"] == 4096
    assert end.read_bytes() == start.read_bytes()
    assert stat.S_IMODE(stream.stat().st_mode) == 0o600
    described = json.loads(caligo("keys", "info", epoch, "--json").stdout)
    assert (described["format"], described["part_word"], described["part_numbers"]) == ("qcrypto", "epoch", [12, 12])
    described = json.loads(caligo("keys", "info", stream, "--format", "ait", "--json").stdout)
    assert (described["state"], described["disclosed_bits"]) == ("corrected", 700)
    assert "corrected" in described["warnings"][0]
    assert caligo("keys", "convert", start, end).returncode == 2
    assert caligo("keys", "convert", start, tmp_path / "x", "--to", "ait", "--state", "amplified").returncode == 2
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_simulation_leaves_no_key_behind(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out"
    arguments = ["keys", "simulate", "--bits", "1e11", "--qber", "0.02", "--seed", "1", "--out", str(out)]
    heed = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = subprocess.Popen(
        # A shell in the background starts its children with SIGINT ignored.
        [sys.executable, "-c", f"{heed}; from caligo.cli import main; sys.exit(main())", *arguments],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (out.is_dir() and len(os.listdir(out)) == 2) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in messages
    assert os.listdir(out) == []

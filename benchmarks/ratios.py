"""Compares a run of the Python benchmarks with the accepted ratios to the calibration kernel.

    python benchmarks/ratios.py check     # fails where a ratio is more than MARGIN times the accepted one
    python benchmarks/ratios.py accept    # writes what is measured now to benchmarks/ratios.json

A ratio is the median processor time of a benchmark over that of a kernel that is not ours, in the same run (see
conftest.py). It still depends on the processor's model and on the engine; the file says which they were, and on others
the margin is OTHER_MACHINE_MARGIN: there the gate finds only what is grossly wrong. Benchmarks beyond the margin are
run again, twice at most, since somebody else's work can spoil a measurement but cannot make it better. The index of a
large store is not held so: its times are of whole processes and of the disk, and its tests count instead.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from caligo import _native

REPOSITORY = Path(__file__).resolve().parent.parent
ACCEPTED = REPOSITORY / "benchmarks" / "ratios.json"
MARGIN = 1.6
OTHER_MACHINE_MARGIN = 5.0
ATTEMPTS = 3
LEFT_OUT = "benchmarks/test_index_speed.py"


def machine(cpu: dict[str, Any]) -> str:
    """What a ratio depends on, apart from caligo."""
    model = " ".join(str(cpu.get(key, "-")) for key in ("vendor_id_raw", "family", "model"))
    return f"{model}, {_native.engines()[0]}"


def measure(names: list[str]) -> tuple[str, dict[str, float]]:
    """The machine, and ratios by benchmark; of all of them when none is named."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "benchmarks.json"
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-disable-gc"]
        ids = [f"benchmarks/{name}" for name in names] or ["benchmarks"]
        done = subprocess.run(
            [*words, f"--ignore={LEFT_OUT}", f"--benchmark-json={out}", *ids],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"the benchmarks failed:\n{done.stdout}{done.stderr}")
        document = json.loads(out.read_text())
    ratios = {
        entry["fullname"].removeprefix("benchmarks/"): round(entry["extra_info"]["ratio"], 4)
        for entry in document["benchmarks"]
    }
    return machine(document["machine_info"]["cpu"]), ratios


def check() -> list[str]:
    """What is wrong; prints the table."""
    accepted = json.loads(ACCEPTED.read_text())
    calibration = next(name for name in accepted["ratios"] if name.endswith("::test_calibration"))
    here, ratios = measure([])
    margin = MARGIN if here == accepted["machine"] else OTHER_MACHINE_MARGIN
    if here != accepted["machine"]:
        print(f"accepted on {accepted['machine']}, this is {here}: the margin is {margin}")
    if ratios.keys() != accepted["ratios"].keys():
        return ["the benchmarks are not those accepted"]
    for _attempt in range(ATTEMPTS - 1):
        slow = [name for name, ratio in ratios.items() if ratio > margin * accepted["ratios"][name]]
        if not slow:
            break
        for name, ratio in measure([calibration, *slow])[1].items():
            ratios[name] = min(ratios[name], ratio)
    findings = []
    for name, ratio in ratios.items():
        was = accepted["ratios"][name]
        print(f"{name:48} {ratio:>10.3f} {ratio / was:>6.2f} x")
        if ratio > margin * was:
            findings.append(f"{name}: {ratio / was:.2f} times the accepted ratio, more than {margin}")
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["check", "accept"])
    if parser.parse_args().action == "accept":
        here, ratios = measure([])
        ACCEPTED.write_text(json.dumps({"machine": here, "ratios": ratios}, indent=2) + "\n")
        print(f"accepted; look at: git diff {ACCEPTED.relative_to(REPOSITORY)}")
        return 0
    findings = check()
    if findings:
        print("\n".join(findings), file=sys.stderr)
        print(
            "remedy: find what made it slower; if it is wanted: make bench-accept, and commit the file", file=sys.stderr
        )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())

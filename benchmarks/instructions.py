"""Counts the instructions of fixed decodes under callgrind and compares them with what was accepted.

    python benchmarks/instructions.py check     # fails where a decode takes more than MARGIN more instructions
    python benchmarks/instructions.py accept    # writes what is counted now to benchmarks/instructions.json

Covers: the engines that valgrind can run, `portable` and `avx2`; the workloads of the crate's
`benches/instructions.rs`. Does not cover: `avx512`, which valgrind does not know (operations are counted in the crate's
`tests/operations.rs`, time is compared between engines in `tests/acceptance/test_speed.py`).

A count depends on the code, on the compiler and, a little, on the C library, but not on the machine or on what else it
does. The file says which rustc it was counted with; under another one the margin is OTHER_COMPILER_MARGIN. A count well
below the accepted one passes, and is worth accepting: the gate holds only what is written down.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
MANIFEST = REPOSITORY / "caligo" / "_native" / "Cargo.toml"
ACCEPTED = REPOSITORY / "benchmarks" / "instructions.json"
ENGINES = ("portable", "avx2")
MARGIN = 0.03
OTHER_COMPILER_MARGIN = 0.25


def valgrind() -> str | None:
    """Where valgrind is, if anywhere."""
    return shutil.which("valgrind")


def compiler() -> str:
    """The version of rustc, as `1.95.0`."""
    out = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout
    return out.split()[1]


def program() -> str:
    """Builds the benchmark and says where it is."""
    words = ["cargo", "bench", "--quiet", "--locked", "--manifest-path", str(MANIFEST), "--bench", "instructions"]
    done = subprocess.run([*words, "--no-run", "--message-format=json"], stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    (path,) = [message["executable"] for message in messages if message.get("executable")]
    return str(path)


def _count(path: str, engine: str, workload: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        collect = ["--collect-atstart=no", "--toggle-collect=*measured*"]
        done = subprocess.run(
            [*tool, *collect, path, engine, workload], capture_output=True, text=True, check=False, cwd=folder
        )
        if done.returncode != 0:
            raise SystemExit(f"callgrind failed on {engine} {workload}:\n{done.stderr}")
        (total,) = re.findall(r"^summary: (\d+)", out.read_text(), re.MULTILINE)
    return int(total)


def count() -> dict[str, dict[str, int]]:
    """Instructions by engine and workload."""
    path = program()
    listed = subprocess.run([path, "portable"], capture_output=True, text=True, check=True).stdout.split()
    tasks = [(engine, workload) for engine in ENGINES for workload in listed]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        totals = list(pool.map(lambda task: _count(path, *task), tasks))
    counts: dict[str, dict[str, int]] = {engine: {} for engine in ENGINES}
    for (engine, workload), total in zip(tasks, totals, strict=True):
        if total == 0:
            raise SystemExit(f"callgrind collected nothing of {engine} {workload}")
        counts[engine][workload] = total
    return counts


def compare(counts: dict[str, dict[str, int]], rustc: str) -> list[str]:
    """What is wrong with the counts; prints the table."""
    accepted = json.loads(ACCEPTED.read_text())
    same = accepted["rustc"] == rustc
    margin = MARGIN if same else OTHER_COMPILER_MARGIN
    if not same:
        print(f"counted with rustc {accepted['rustc']}, this is {rustc}: margin {margin:.0%} instead of {MARGIN:.0%}")
    findings = []
    for engine, totals in counts.items():
        if totals.keys() != accepted["instructions"][engine].keys():
            findings.append(f"{engine}: the workloads are not those accepted")
        for workload, total in totals.items():
            was = accepted["instructions"][engine].get(workload)
            if was is None:
                continue
            change = total / was - 1
            print(f"{engine:9} {workload:16} {total:>13,} {change:+7.1%}")
            if change > margin:
                findings.append(f"{engine} {workload}: {total:,} instructions, accepted were {was:,} ({change:+.1%})")
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["check", "accept"])
    action = parser.parse_args().action
    if valgrind() is None:
        print("valgrind not found; remedy: Debian/Ubuntu: apt install valgrind", file=sys.stderr)
        return 2
    counts, rustc = count(), compiler()
    if action == "accept":
        ACCEPTED.write_text(json.dumps({"rustc": rustc, "instructions": counts}, indent=2) + "\n")
        print(f"accepted; look at: git diff {ACCEPTED.relative_to(REPOSITORY)}")
        return 0
    findings = compare(counts, rustc)
    if findings:
        print("\n".join(findings), file=sys.stderr)
        print(
            "remedy: find what made it slower; if it is wanted: make bench-accept, and commit the file", file=sys.stderr
        )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())

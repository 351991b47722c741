"""Draws a flame graph per decoder: where its time goes, by inlined function.

    python benchmarks/flamegraphs.py docs/flamegraphs

Each decoder decodes for a few seconds under py-spy, native frames included; of every sample in the native call the
frames of the crate are kept, without line numbers and type parameters, and drawn as one SVG file. The width of a box is
its share of the samples; a file shows names and shares under the pointer. Kernels are inlined into the decoder, so
names come from the debug information, and a box without a child is its own code and what was merged into it.

Does not cover: what is outside the decoder (Python, making frames), or other machines: look at shares, not at times.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

WORK = """
import sys, time
from caligo.bench.decoder import BatchSource
from caligo.codes import design_code
from caligo.reconciliation.codecs.polar import PolarCodec
from caligo.simulation import BscChannel

log2, list_size, efficiency, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
code = design_code(1 << log2, qber=0.02, efficiency=efficiency)
with PolarCodec(code, list_size) as codec:
    source = BatchSource(codec, BscChannel(0.02), max(1, (1 << 20) >> log2), seed=1)
    batch = source.make(0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        source.decode(batch)
"""

DECODERS = {
    "single-12": (12, 1, 1.7),
    "single-20": (20, 1, 1.26),
    "list-8-16": (16, 8, 1.24),
    "list-32-12": (12, 32, 1.5),
    "list-32-20": (20, 32, 1.14),
}
CALL = "decode_slice (caligo/"
ROOT = "decode"
WIDTH, ROW, LEAST = 1000, 18, 0.004
COLOURS = ("#f2b134", "#ed8b43", "#f6cf71", "#e9a15b", "#f7b77e")


@dataclass
class Frame:
    """A function under its callers."""

    samples: int = 0
    children: dict[str, Frame] = field(default_factory=dict)

    def depth(self) -> int:
        """Levels from here down."""
        return 1 + max((child.depth() for child in self.children.values()), default=0)


def plain(frame: str) -> str:
    """A frame's name without type parameters and place."""
    name = re.sub(r"\s*\([^()]*\)$", "", frame)
    while (shorter := re.sub(r"<[^<>]*>|\{[^{}]*\}", "", name)) != name:
        name = shorter
    return name.rsplit("::", 1)[-1] or "closure"


def tree(collapsed: str) -> Frame:
    """The samples of the native call, by function; what a function calls of its own name is one with it."""
    root = Frame()
    for line in collapsed.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = re.split(r";(?! )", stack)  # a type such as `[i8; 64]` holds a semicolon too
        calls = [place for place, frame in enumerate(frames) if frame.startswith(CALL, frame.find("decode_slice"))]
        if not calls:
            continue
        at, samples, last = root, int(count), ROOT
        at.samples += samples
        for name in map(plain, frames[calls[-1] + 1 :]):
            # Entered through one wrapper or another: that says nothing.
            if name in ("compiled", "pick", last) or name.startswith("0x"):
                continue
            at = at.children.setdefault(name, Frame())
            at.samples += samples
            last = name
    return root


def drawing(root: Frame, title: str) -> str:
    """The flame graph as SVG, the root at the bottom."""
    height = (root.depth() + 2) * ROW
    boxes: list[str] = []

    def box(frame: Frame, name: str, left: float, level: int) -> None:
        share = frame.samples / root.samples
        if share < LEAST:
            return
        width, top = share * WIDTH, height - (level + 1) * ROW
        label = name if len(name) * 6.5 < width - 4 else ""
        colour = COLOURS[sum(name.encode()) % len(COLOURS)]
        boxes.append(
            f'<g><title>{escape(name)}: {share:.1%}</title><rect x="{left:.1f}" y="{top}" width="{width:.1f}" '
            f'height="{ROW - 1}" fill="{colour}"/><text x="{left + 3:.1f}" y="{top + 13}">{escape(label)}</text></g>'
        )
        for child, below in sorted(frame.children.items(), key=lambda item: -item[1].samples):
            box(below, child, left, level + 1)
            left += below.samples / root.samples * WIDTH

    box(root, ROOT, 0, 0)
    head = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="11"'
    ground = f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    heading = f'<text x="3" y="14" font-size="13">{escape(title)}</text>'
    return "\n".join([f"<svg {head}>", ground, heading, *boxes, "</svg>\n"])


def profile(log2: int, list_size: int, efficiency: float, seconds: float) -> Frame:
    """Samples of one decoder."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "stacks"
        recorder = ["py-spy", "record", "--native", "--rate", "200", "--format", "raw", "--output", str(out), "--"]
        work = [sys.executable, "-c", WORK, *map(str, (log2, list_size, efficiency, seconds))]
        done = subprocess.run([*recorder, *work], capture_output=True, text=True, check=False)
        if done.returncode != 0 or not out.exists():
            raise SystemExit(f"py-spy failed; it needs to trace its child (ptrace):\n{done.stderr}")
        root = tree(out.read_text())
    if root.samples == 0:
        raise SystemExit("no sample in the decoder: is the extension built with line tables?")
    return root


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    for name, (log2, list_size, efficiency) in DECODERS.items():
        root = profile(log2, list_size, efficiency, arguments.seconds)
        title = f"N = 2^{log2}, L = {list_size}, f = {efficiency:g}: {root.samples} samples"
        (arguments.directory / f"{name}.svg").write_text(drawing(root, title))
        print(f"{name}: {root.samples} samples, {root.depth()} levels")


if __name__ == "__main__":
    main()

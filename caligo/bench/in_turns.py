"""One side of a measurement in turns: a process that times a call of the decoder whenever it is told to.

    python -m caligo.bench.in_turns OPTIONS

Covers: what this process says and hears. Does not cover: whose turn it is (:mod:`caligo.bench.turns`), what is timed
(:mod:`caligo.bench.decoder`).

OPTIONS are those of :func:`caligo.bench.decoder.bench_decoder` as one JSON object, and `channel` as `{"qber": Q}`,
`{"qber": [Q, Q]}` or `{"ebn0_db": DB}`. The process first writes a line that says which caligo this is and how many
calls it makes before those that count, and after its last call one with the place of its run. In between it waits
before each call for a byte `t` on standard input, and writes a byte `.` when the call is recorded. It does nothing
between two turns: the core is somebody else's then.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import caligo
from caligo.bench.decoder import WARM_UP_CALLS, bench_decoder
from caligo.bench.turns import DONE, TURN
from caligo.errors import CaligoError, ConfigError
from caligo.simulation import AwgnChannel, BscChannel, Channel


def _channel(given: dict[str, Any]) -> Channel:
    if "ebn0_db" in given:
        return AwgnChannel(given["ebn0_db"])
    qber = given["qber"]
    return BscChannel(tuple(qber) if isinstance(qber, list) else qber)


def _say(document: dict[str, Any]) -> None:
    os.write(1, json.dumps(document).encode("ascii") + b"\n")


@contextmanager
def _turn() -> Iterator[None]:
    if os.read(0, 1) != TURN:
        raise ConfigError("expected a turn on standard input, got its end; start this with `caligo bench turns`")
    yield
    os.write(1, DONE)


def main(words: list[str]) -> int:
    """Measure as OPTIONS say; returns the exit code. An error is told in a line of its own to who gives the turns."""
    options: dict[str, Any] = json.loads(words[0])
    package = os.path.dirname(caligo.__file__)
    _say({"version": caligo.__version__, "package": package, "warm_up": WARM_UP_CALLS})
    try:
        channel = _channel(options.pop("channel"))
        store = Path(options.pop("store"))
        measured = bench_decoder(channel, **options, store=store, turn=_turn)
    except CaligoError as error:
        _say({"error": error.message, "exit_code": int(error.exit_code)})
        return int(error.exit_code)
    _say({"run": measured.run})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Holding a repeated run against the recorded one: claim by claim, each reproduced, not reproduced or not comparable.

Covers: records block by block, the figures of the summary, error rates by interval, timings on the same machine, what
differs in the environment. Does not cover: repeating the run (:mod:`.replay`).

What follows from configuration, seeds and keys has to be equal bit for bit: every record but for its time, every figure
but those of time, memory and place. Where the number of frames differs, error rates are held against each other by
Fisher's exact test. Timings are compared on the same machine, with the same engine and as many threads, by a rank test
on the time of each block: slower counts where it is significant and more than `SLOWDOWN`.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import zip_longest
from typing import Any

from caligo.statistics import Proportion, Samples, difference_test, rank_test
from caligo.store import Run
from caligo.store.findings import Finding

__all__ = ["Claim", "Comparison", "RecordComparison", "Verdict", "compare_runs", "judge_rate", "judge_times"]

SIGNIFICANCE = 0.01
"""A difference of rates or times counts where chance gives it less often."""

SLOWDOWN = 0.10
"""A slower replay counts where its median is slower by more than this share."""

LEAST_SAMPLES = 20
"""Fewer times on a side tell nothing."""

MOST_SAMPLES = 1 << 20
"""Times that are compared, the first of each run; 8 MiB a side."""

_EXAMPLES = 5
_OF_TIME_AND_PLACE = {
    "allocations_per_decode",
    "coded_mbps",
    "coded_mbps_per_core",
    "decode_s",
    "decoder_bytes",
    "decoding_s",
    "elapsed_s",
    "engine",
    "job",
    "latency_s",
    "out",
    "payload_mbps",
    "peak_rss_bytes",
    "run",
    "threads",
    "warnings",
}
"""Figures of a summary that no repetition has to reproduce."""

_OF_A_MEASUREMENT = {
    "calls",
    "detected_failures",
    "fer",
    "fer_high",
    "fer_low",
    "frame_errors",
    "frames",
    "undetected_errors",
}
"""Figures of a benchmark that depend on how many calls there was time for."""


class Verdict(StrEnum):
    """What became of a claim."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Claim:
    """One thing that a run says, and whether its repetition says the same.

    Attributes:
        name: what is claimed.
        verdict: what became of it.
        recorded: what the run says, short.
        replayed: what the repetition says.
        why: the reason, where it is not plain.
    """

    name: str
    verdict: Verdict
    recorded: Any = None
    replayed: Any = None
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """The claim as JSON values."""
        return {
            "claim": self.name,
            "verdict": self.verdict.value,
            "recorded": self.recorded,
            "replayed": self.replayed,
            "why": self.why,
        }


@dataclass(frozen=True)
class Comparison:
    """A run and its repetition.

    Attributes:
        claims: in the order of importance.
        environment: (what, recorded, here) of everything that differs around them.
    """

    claims: tuple[Claim, ...]
    environment: tuple[tuple[str, Any, Any], ...] = ()

    @property
    def reproduced(self) -> bool:
        """Whether every claim that can be compared was reproduced, and at least one could be."""
        verdicts = {claim.verdict for claim in self.claims}
        return Verdict.REPRODUCED in verdicts and Verdict.NOT_REPRODUCED not in verdicts


# --- records ------------------------------------------------------------------------------------------------------


@dataclass
class RecordComparison:
    """Records of two runs, gone through side by side.

    Attributes:
        recorded: records of the run.
        replayed: records of its repetition.
        differing: blocks of which both have a record, and not the same.
        examples: the first of them: (block, member, recorded, replayed).
        times: ``elapsed_ns`` of each side.
        errors: records of each side whose outcome is none of the good ones.
        disorder: why the records cannot be gone through; empty where they can.
    """

    recorded: int = 0
    replayed: int = 0
    differing: int = 0
    examples: list[tuple[int, str, Any, Any]] = field(default_factory=list)
    times: tuple[array[float], array[float]] = field(default_factory=lambda: (array("d"), array("d")))
    errors: list[int] = field(default_factory=lambda: [0, 0])
    disorder: str = ""


class _DisorderError(Exception):
    pass


def _by_block(run: Run, findings: list[Finding]) -> Iterator[dict[str, Any]]:
    """The records of all writers in the order of their blocks."""

    def ascending(writer: str) -> Iterator[tuple[int, dict[str, Any]]]:
        last = -1
        for record in run.records(writer, on_finding=findings.append):
            block = record.get("block")
            if not isinstance(block, int) or block <= last:
                raise _DisorderError(f"{run.name}: the blocks of {writer} do not ascend, after {last} comes {block!r}")
            last = block
            yield block, record

    merged = heapq.merge(*map(ascending, run.writers()), key=lambda pair: pair[0])
    last = -1
    for block, record in merged:
        if block == last:
            raise _DisorderError(f"{run.name}: block {block} is recorded twice")
        last = block
        yield record


def _good(record: Mapping[str, Any]) -> bool:
    return record.get("outcome") in ("ok", "confirmed")


def _compare_records(recorded: Run, replayed: Run, findings: list[Finding]) -> RecordComparison:
    comparison = RecordComparison()
    try:
        for old, new in zip_longest(_by_block(recorded, findings), _by_block(replayed, findings)):
            comparison.recorded += old is not None
            comparison.replayed += new is not None
            for side, record in enumerate((old, new)):
                if record is None:
                    continue
                comparison.errors[side] += not _good(record)
                times, elapsed_ns = comparison.times[side], record.get("elapsed_ns")
                if isinstance(elapsed_ns, int) and len(times) < MOST_SAMPLES:
                    times.append(elapsed_ns)
            if old is None or new is None:
                continue
            differing = [name for name in sorted({*old, *new} - {"elapsed_ns"}) if _other(old.get(name), new.get(name))]
            comparison.differing += bool(differing)
            for name in differing[: _EXAMPLES - len(comparison.examples)]:
                comparison.examples.append((old["block"], name, old.get(name), new.get(name)))
    except _DisorderError as error:
        comparison.disorder = str(error)
    return comparison


def _other(recorded: object, replayed: object) -> bool:
    """Whether two JSON values differ; true and 1 do."""
    return recorded != replayed or isinstance(recorded, bool) != isinstance(replayed, bool)


def _record_claims(records: RecordComparison, findings: list[Finding]) -> Iterator[Claim]:
    if findings:
        yield Claim(
            "the records are what was written",
            Verdict.NOT_REPRODUCED,
            why="; ".join(f"{finding.code}: {finding.what}" for finding in findings[:_EXAMPLES]),
        )
    counts = (records.recorded, records.replayed)
    if records.disorder:
        yield Claim("every record, bit for bit", Verdict.NOT_REPRODUCED, *counts, why=records.disorder)
        return
    if records.differing:
        block, member, old, new = records.examples[0]
        yield Claim(
            "every record, bit for bit",
            Verdict.NOT_REPRODUCED,
            *counts,
            why=f"{records.differing} records differ, first block {block}: {member} {old!r}, now {new!r}",
        )
    elif not min(counts):
        yield Claim("every record, bit for bit", Verdict.NOT_COMPARABLE, *counts, why="one of them has no records")
    else:
        yield Claim("every record, bit for bit", Verdict.REPRODUCED, *counts)
    if records.recorded != records.replayed:
        yield Claim("the number of records", Verdict.NOT_REPRODUCED, *counts)
        trials = (Proportion(records.errors[0], counts[0]), Proportion(records.errors[1], counts[1]))
        yield judge_rate("the error rate", *trials)


# --- rates and times ----------------------------------------------------------------------------------------------


def judge_rate(name: str, recorded: Proportion, replayed: Proportion) -> Claim:
    """Whether two error rates may be one: Fisher's exact test at `SIGNIFICANCE`."""
    if not recorded.trials or not replayed.trials:
        return Claim(name, Verdict.NOT_COMPARABLE, why="one of them has no frames")
    p_value = difference_test(recorded, replayed)
    verdict = Verdict.REPRODUCED if p_value >= SIGNIFICANCE else Verdict.NOT_REPRODUCED
    old, new = (f"{part.successes} of {part.trials}" for part in (recorded, replayed))
    return Claim(name, verdict, old, new, f"p = {p_value:.2g} by Fisher's exact test")


def judge_times(name: str, recorded: Iterable[float], replayed: Iterable[float]) -> Claim:
    """Whether the repetition is not slower: see the head of this module.

    Args:
        name: of the claim.
        recorded: times, nanoseconds.
        replayed: likewise.
    """
    before, now = Samples(recorded), Samples(replayed)
    if min(before.count, now.count) < LEAST_SAMPLES:
        return Claim(
            name,
            Verdict.NOT_COMPARABLE,
            why=f"expected {LEAST_SAMPLES} times on each side, got {before.count} and {now.count}",
        )
    old, new = float(before.median or 0.0), float(now.median or 0.0)
    p_value = rank_test(before, now, "less").p_value
    slower = p_value < SIGNIFICANCE and new > old * (1 + SLOWDOWN)
    return Claim(
        name,
        Verdict.NOT_REPRODUCED if slower else Verdict.REPRODUCED,
        f"median {old / 1e3:.1f} us",
        f"median {new / 1e3:.1f} us",
        f"p = {p_value:.2g} that it is no slower, by a rank test",
    )


def _incomparable_times(recorded: Run, replayed: Run) -> str:
    """Why times of the two tell nothing about each other; empty where they do."""
    for what, old, new in (
        ("machine", _fingerprint(recorded), _fingerprint(replayed)),
        ("engine", _engine(recorded), _engine(replayed)),
        ("number of threads", _threads(recorded), _threads(replayed)),
    ):
        if old is None or old != new:
            return f"another {what}: {old}, here {new}"
    return ""


def _fingerprint(run: Run) -> Any:
    return run.document["machine"].get("fingerprint")


def _engine(run: Run) -> Any:
    return (run.summary or {}).get("engine") or run.document["engine"].get("engine")


def _threads(run: Run) -> Any:
    return (run.summary or {}).get("threads") or run.configuration.get("threads")


# --- all of it ----------------------------------------------------------------------------------------------------


def compare_runs(recorded: Run, replayed: Run, *, timings: bool = True) -> Comparison:
    """Hold a repetition against its run.

    Args:
        recorded: sealed.
        replayed: sealed, of the same kind.
        timings: compare times too.
    """
    claims = [_identity(recorded, replayed)]
    measured = recorded.kind == "bench"
    if measured:
        claims += _measured_claims(recorded, replayed, timings)
    else:
        findings: list[Finding] = []
        records = _compare_records(recorded, replayed, findings)
        claims += _record_claims(records, findings)
        if timings:
            why = _incomparable_times(recorded, replayed)
            name = "the time of a block"
            claims.append(Claim(name, Verdict.NOT_COMPARABLE, why=why) if why else judge_times(name, *records.times))
    left_out = _OF_TIME_AND_PLACE | (_OF_A_MEASUREMENT if measured else set())
    claims += _figure_claims(recorded.summary or {}, replayed.summary or {}, left_out)
    return Comparison(tuple(claims), tuple(_environment(recorded, replayed)))


def _identity(recorded: Run, replayed: Run) -> Claim:
    same = recorded.identity == replayed.identity
    return Claim(
        "the identity of the experiment",
        Verdict.REPRODUCED if same else Verdict.NOT_REPRODUCED,
        recorded.identity,
        replayed.identity,
        "" if same else "the configuration that was run again is not the recorded one: see the environment",
    )


def _measured_claims(recorded: Run, replayed: Run, timings: bool) -> Iterator[Claim]:
    """A benchmark: the error rate over all calls, the time of a frame call by call."""
    rates: list[Proportion] = []
    times: list[array[float]] = []
    findings: list[Finding] = []
    for run in (recorded, replayed):
        total = Proportion(0, 0)
        each = array("d")
        for record in run.records(on_finding=findings.append):
            frames = int(record["frames"])
            total += Proportion(int(record["detected_failures"]) + int(record["undetected_errors"]), frames)
            if len(each) < MOST_SAMPLES:
                each.append(record["elapsed_ns"] / frames)
        rates.append(total)
        times.append(each)
    yield judge_rate("the error rate", *rates)
    if timings:
        why = _incomparable_times(recorded, replayed)
        name = "the time of a frame"
        yield Claim(name, Verdict.NOT_COMPARABLE, why=why) if why else judge_times(name, *times)


def _figure_claims(recorded: Mapping[str, Any], replayed: Mapping[str, Any], left_out: set[str]) -> Iterator[Claim]:
    for name, value in recorded.items():
        if name in left_out:
            continue
        if name not in replayed:
            yield Claim(name, Verdict.NOT_COMPARABLE, value, why="the replay has no such figure")
        else:
            new = replayed[name]
            yield Claim(name, Verdict.NOT_REPRODUCED if _other(value, new) else Verdict.REPRODUCED, value, new)


def _environment(recorded: Run, replayed: Run) -> Iterator[tuple[str, Any, Any]]:
    for section in ("code", "machine"):
        old, new = recorded.document[section], replayed.document[section]
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                yield f"{section}.{name}", old.get(name), new.get(name)
    for name, one, other in (
        ("engine", _engine(recorded), _engine(replayed)),
        ("threads", _threads(recorded), _threads(replayed)),
    ):
        if one != other:
            yield name, one, other

"""Physical sense: whether what a run claims can have happened.

Covers: the figures of runs of the kinds reconcile, simulate and bench (by hand, in a job, by one party of a session)
against their records, against each other, and against what no code, no processor and no clock can do. Does not cover:
whether bytes are what was written (:mod:`caligo.store.reader`), what is judged (:mod:`.validation`).

Everything here is a pure function of the documents, the records and the time that it is given. A member that is
absent, or of another type than caligo writes, is not judged: other programs may record runs of these kinds.

Source: ``specs/validation.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from caligo.store import layout
from caligo.store.findings import Code, Finding

__all__ = ["Claims", "Places", "integer", "number", "physical_findings"]

MOST_OF_A_CODE = 5
"""Findings of one code that are told one by one."""

RELATIVE = 1e-6
"""Figures that follow from others may differ by this much: they went through floating point."""

THREAD_MARGIN = 1.05
"""Decode times may add up to this much more than threads and time allow: they are read from different clocks."""

CLOCK_MARGIN_S = 5.0
"""Wall clock and steady clock may part by this much, and by a hundredth of the time, before that is worth a note."""

FUTURE_MARGIN = timedelta(days=1)

CODED_BITS_PER_NS = 1000.0
"""No core reads more coded bits in a nanosecond."""


def integer(mapping: Mapping[str, Any], name: str) -> int | None:
    """A member that is an integer, else None."""
    value = mapping.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number(mapping: Mapping[str, Any], name: str) -> float | None:
    """A member that is a number, as a float, else None."""
    value = mapping.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


class Claims:
    """Findings as they come up: the first few of each code in full, the others counted.

    Args:
        summary: the run's figures.
    """

    def __init__(self, summary: Mapping[str, Any]) -> None:
        self.summary = summary
        self._found: dict[Code, list[Finding]] = {}
        self._counts: dict[Code, int] = {}

    def refuse(self, code: Code, what: str, where: str) -> None:
        """Something cannot be."""
        self._counts[code] = count = self._counts.get(code, 0) + 1
        if count <= MOST_OF_A_CODE:
            self._found.setdefault(code, []).append(Finding(code, what, where))

    def expect_sum(self, name: str, expected: float | None, of: str) -> None:
        """A figure that has to be the sum (or the greatest, or the number) of something in the records.

        Args:
            name: member of the summary; absent ones are not judged.
            expected: what the records say; None: nothing.
            of: how it follows.
        """
        claimed = number(self.summary, name)
        if claimed is not None and expected is not None and claimed != expected:
            self.refuse(Code.SUMMARY_MISMATCH, f"{name} is {claimed:.16g}, {of} is {expected:.16g}", f"{_SEAL}, {name}")

    def expect_figure(self, name: str, expected: float | None, of: str, relative: float = RELATIVE) -> None:
        """A figure that follows from others; a claim of none where there is one does not."""
        if name not in self.summary or expected is None:
            return
        claimed = number(self.summary, name)
        if claimed is None or not math.isclose(claimed, expected, rel_tol=relative, abs_tol=1e-12):
            told = "none" if claimed is None else f"{claimed:.10g}"
            self.refuse(Code.FIGURE_MISMATCH, f"{name} is {told}, {of} gives {expected:.10g}", f"{_SEAL}, {name}")

    def expect_range(self, name: str, low: float, high: float) -> None:
        """A figure that lies between bounds, where it is one."""
        claimed = number(self.summary, name)
        if claimed is not None and not low <= claimed <= high:
            self.refuse(
                Code.OUT_OF_RANGE,
                f"{name} is {claimed:.10g}, from {low:g} to {high:g} was expected",
                f"{_SEAL}, {name}",
            )

    def expect_interval(self, low: str, name: str, high: str) -> None:
        """Three figures in order."""
        values = [number(self.summary, each) for each in (low, name, high)]
        known = [value for value in values if value is not None]
        if known != sorted(known):
            self.refuse(
                Code.FIGURE_MISMATCH,
                f"{name} lies outside its interval: {', '.join(f'{value:.6g}' for value in known)}",
                f"{_SEAL}, {name}",
            )

    def findings(self) -> list[Finding]:
        """All of them, by code."""
        found = []
        for code in sorted(self._found):
            found += self._found[code]
            more = self._counts[code] - len(self._found[code])
            if more:
                found.append(Finding(code, f"{more} more of this kind", _SEAL))
        return found


class Places:
    """Every block of a run once, in whatever order; memory by the blocks that come, not by how many are claimed.

    Args:
        blocks: how many are claimed.
    """

    _PAGE = 512

    def __init__(self, blocks: int) -> None:
        self._blocks = max(blocks, 0)
        self._pages: dict[int, bytearray] = {}
        self._count = 0

    def take(self, claims: Claims, block: int, where: str) -> None:
        """A record of a block has come."""
        if not 0 <= block < self._blocks:
            claims.refuse(Code.BLOCK_SEQUENCE, f"block {block} of {self._blocks} blocks", where)
            return
        number, place = divmod(block, self._PAGE)
        page = self._pages.setdefault(number, bytearray(self._PAGE // 8))
        bit = 1 << (place & 7)
        if page[place >> 3] & bit:
            claims.refuse(Code.BLOCK_SEQUENCE, f"block {block} is recorded twice", where)
            return
        page[place >> 3] |= bit
        self._count += 1

    def finish(self, claims: Claims) -> None:
        """There are no more."""
        if self._count == self._blocks:
            return
        first = 0
        while (page := self._pages.get(first // self._PAGE)) and page[first % self._PAGE >> 3] >> (first & 7) & 1:
            first += 1
        claims.refuse(
            Code.BLOCK_SEQUENCE,
            f"{self._blocks - self._count} of {self._blocks} blocks have no record, block {first} first",
            "records",
        )


_SEAL = layout.SEAL_FILE


def physical_findings(
    document: Mapping[str, Any], seal: Mapping[str, Any] | None, records: Iterable[Mapping[str, Any]], now: datetime
) -> list[Finding]:
    """What of a run cannot have happened.

    Args:
        document: content of ``run.json``.
        seal: content of ``seal.json``; None for a run without one, of which times alone are judged.
        records: its records, in any order; gone through once.
        now: the time of the validation.

    Returns:
        Findings of the codes CAL-STORE-030 to 039, by code; a function of the arguments alone.
    """
    summary = {} if seal is None else seal.get("summary")
    claims = Claims(summary if isinstance(summary, Mapping) else {})
    _judge_times(claims, document, seal, now)
    if seal is None or not claims.summary or claims.summary.get("salvaged") is True:
        return claims.findings()
    configuration = document.get("configuration")
    asked = configuration if isinstance(configuration, Mapping) else {}
    elapsed_s = number(seal, "elapsed_s")
    kind = document.get("kind")
    if kind == "reconcile" and integer(claims.summary, "blocks") is not None and "leakage" in claims.summary:
        from caligo.store.governing.physics_blocks import judge_blocks

        judge_blocks(claims, asked, records)
    elif kind == "simulate" and integer(claims.summary, "frames") is not None:
        from caligo.store.governing.physics_frames import judge_frames

        judge_frames(claims, asked, records, elapsed_s)
    elif kind == "bench" and asked.get("command") == "bench decoder":
        from caligo.store.governing.physics_frames import judge_calls

        judge_calls(claims, asked, records, elapsed_s)
    elif kind == "bench" and asked.get("command") == "bench decoder --sweep":
        from caligo.store.governing.physics_frames import judge_rows

        judge_rows(claims, asked, records)
    return claims.findings()


# --- times --------------------------------------------------------------------------------------------------------


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _judge_times(claims: Claims, document: Mapping[str, Any], seal: Mapping[str, Any] | None, now: datetime) -> None:
    """A clock that was wrong, or was set while the run went on, says nothing of the figures: notes."""
    started, sealed = _moment(document.get("started_at")), _moment((seal or {}).get("sealed_at"))
    for what, moment, where in (
        ("start", started, f"{layout.RUN_FILE}, started_at"),
        ("end", sealed, f"{_SEAL}, sealed_at"),
    ):
        if moment is not None and moment > now + FUTURE_MARGIN:
            claims.refuse(Code.TIME_IN_FUTURE, f"its {what} lies in the future: {layout.utc_text(moment)}", where)
    elapsed_s = None if seal is None else number(seal, "elapsed_s")
    if started is None or sealed is None or elapsed_s is None:
        return
    wall_s = (sealed - started).total_seconds()
    if abs(wall_s - elapsed_s) > CLOCK_MARGIN_S + 0.01 * abs(elapsed_s):
        claims.refuse(
            Code.CLOCK_STEP,
            f"between its start and its seal the wall clock went {wall_s:.3f} s, the steady clock {elapsed_s:.3f} s",
            f"{_SEAL}, sealed_at",
        )


def judge_memory(claims: Claims) -> None:
    """A process holds its decoder."""
    decoder, peak = integer(claims.summary, "decoder_bytes"), integer(claims.summary, "peak_rss_bytes")
    if decoder is not None and peak is not None and peak < decoder:
        claims.refuse(
            Code.OUT_OF_RANGE,
            f"peak_rss_bytes is {peak}, less than its decoder's {decoder}",
            f"{_SEAL}, peak_rss_bytes",
        )


def judge_decode_time(claims: Claims, decode_ns: int, threads: float | None, elapsed_s: float | None) -> None:
    """Threads decode no longer than they are there.

    Args:
        claims: to add to.
        decode_ns: sum over blocks or calls.
        threads: that decoded at the same time; None: not known.
        elapsed_s: how long; None: not known.
    """
    if threads is None or elapsed_s is None:
        return
    most_ns = (threads * elapsed_s * THREAD_MARGIN + 0.05) * 1e9
    if decode_ns > most_ns:
        claims.refuse(
            Code.TIME_IMPOSSIBLE,
            f"decoding took {decode_ns / 1e9:.6g} s, {threads:g} thread(s) had {threads * elapsed_s:.6g} s",
            f"{_SEAL}, elapsed_s",
        )


def judge_block_time(claims: Claims, elapsed_ns: int, coded_bits: int, where: str) -> None:
    """Decoding takes time, and no core reads bits faster than it can load them."""
    if elapsed_ns <= 0 or coded_bits > CODED_BITS_PER_NS * elapsed_ns:
        claims.refuse(Code.TIME_IMPOSSIBLE, f"{coded_bits} coded bits were decoded in {elapsed_ns} ns", where)


def judge_rate_interval(claims: Claims, failures: int, trials: int) -> None:
    """The frame error rate and its 95 % Clopper-Pearson interval are those of the counts."""
    if not trials or not 0 <= failures <= trials:
        return
    claims.expect_figure("fer", failures / trials, "frame_errors / frames")
    if "fer_low" in claims.summary or "fer_high" in claims.summary:
        from caligo.statistics import Proportion

        low, high = Proportion(failures, trials).interval()
        claims.expect_figure("fer_low", low, f"the interval of {failures} in {trials}", 1e-5)
        claims.expect_figure("fer_high", high, f"the interval of {failures} in {trials}", 1e-5)

"""A job of many ranks as one: how far it is, how fast, and what each rank says at the end.

Rank 0 hears from every rank now and then what it has done so far, and tells a line each interval. What is heard are
totals, so that hearing twice or not at all spoils nothing.

Counters that matter here: ``blocks`` (all that are finished), ``blocks_failed`` (those of them that failed) and
``payload_bits`` (of finished blocks); and the phase ``decode``.

Covers: adding up and telling. Does not cover: messages, clocks (every moment is an argument, in seconds of any clock
that does not go back), and drawing, which a :class:`~caligo.telemetry.progress.Progress` does.
"""

from __future__ import annotations

import math
import os
from collections import deque
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, Self, TextIO

from caligo.errors import ConfigError, ProtocolError
from caligo.telemetry.progress import NO_PROGRESS, Progress
from caligo.telemetry.spans import Snapshot
from caligo.telemetry.startup import StartupReport

PROGRESS_SCHEMA = "caligo.progress/1"
RANK_SCHEMA = "caligo.rank/1"

_MIB = 1 << 20
_SILENT_SHOWN = 5
_WINDOW = 8
"""Intervals over which the speed is taken that the remaining time follows from."""
_LIVE_INTERVAL_S = 0.5


@dataclass(frozen=True)
class ProgressReport:
    """How far a job is.

    Args:
        elapsed_s: seconds since this attempt began.
        blocks_done: blocks finished, failed ones and those of earlier attempts among them.
        blocks_total: blocks of the job.
        blocks_failed: blocks that failed in this attempt.
        payload_mbps_now: 10^6 key bits a second since the report before.
        payload_mbps: the same since this attempt began.
        decode_share: time spent in decoders over threads times elapsed time, of the ranks heard, 0 to 1; None before
            any was heard.
        efficiency: leakage over Shannon's limit so far; None where it is not known.
        eta_s: seconds that remain at the speed of the last intervals; None while there is none.
        headroom_bytes: least distance to a memory limit of any rank; None where no rank told.
        headroom_rank: that rank.
        ranks: how many there are.
        ranks_heard: ranks that said something in this attempt.
        ranks_silent: ranks that have not said anything for long and have not ended.
    """

    elapsed_s: float
    blocks_done: int
    blocks_total: int
    blocks_failed: int
    payload_mbps_now: float
    payload_mbps: float
    decode_share: float | None
    efficiency: float | None
    eta_s: float | None
    headroom_bytes: int | None
    headroom_rank: int | None
    ranks: int
    ranks_heard: int
    ranks_silent: tuple[int, ...]

    def line(self) -> str:
        """One line for people."""
        done = self.blocks_done / self.blocks_total if self.blocks_total else 1.0
        # Never 100 % before it is.
        parts = [f"{self.blocks_done:,}/{self.blocks_total:,} blocks ({math.floor(done * 1000) / 10:.1f} %)"]
        if self.blocks_failed:
            parts.append(f"{self.blocks_failed:,} failed")
        parts.append(f"key {self.payload_mbps_now:,.1f} Mbit/s now, {self.payload_mbps:,.1f} overall")
        if self.decode_share is not None:
            parts.append(f"decoders {self.decode_share:.1%} busy".replace("%", " %"))
        if self.efficiency is not None:
            parts.append(f"efficiency {self.efficiency:.4f}")
        parts.append(f"ETA {format_duration(self.eta_s)}")
        if self.headroom_bytes is not None:
            parts.append(f"memory head-room {self.headroom_bytes // _MIB:,} MiB (rank {self.headroom_rank})")
        parts.append(f"{self.ranks_heard}/{self.ranks} ranks heard")
        if self.ranks_silent:
            shown = ", ".join(map(str, self.ranks_silent[:_SILENT_SHOWN]))
            more = len(self.ranks_silent) - _SILENT_SHOWN
            parts.append(f"silent: {shown}" + (f" and {more} more" if more > 0 else ""))
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """All fields, and the schema."""
        return {"schema": PROGRESS_SCHEMA, **asdict(self), "ranks_silent": list(self.ranks_silent)}

    def figures(self) -> dict[str, float]:
        """What is worth showing beside a bar."""
        shown = {
            "payload_mbps_now": self.payload_mbps_now,
            "payload_mbps": self.payload_mbps,
            "decode_share": self.decode_share,
            "efficiency": self.efficiency,
            "headroom_bytes": self.headroom_bytes,
        }
        return {name: float(value) for name, value in shown.items() if value is not None}


class _Heard(NamedTuple):
    moment: float
    blocks: int
    blocks_failed: int
    payload_bits: int
    decode_ns: int
    threads: int
    headroom_bytes: int | None
    has_ended: bool


class JobProgress:
    """Adds up what ranks say. For one thread.

    Args:
        ranks: how many there are, >= 1.
        blocks_total: blocks of the job, >= 0.
        now: when this attempt begins.
        blocks_before: blocks that earlier attempts finished.
        silent_after_s: a rank is silent that said nothing for so long.

    Raises:
        ConfigError: an argument out of range.
    """

    def __init__(
        self, *, ranks: int, blocks_total: int, now: float, blocks_before: int = 0, silent_after_s: float = 60.0
    ) -> None:
        if ranks < 1 or not 0 <= blocks_before <= blocks_total or not silent_after_s > 0:
            raise ConfigError(
                f"expected ranks >= 1, 0 <= blocks_before <= blocks_total and silent_after_s > 0, got {ranks}, "
                f"{blocks_before}, {blocks_total} and {silent_after_s}",
                ranks=ranks,
                blocks_before=blocks_before,
                blocks_total=blocks_total,
                silent_after_s=silent_after_s,
            )
        self._ranks = ranks
        self._blocks_total = blocks_total
        self._blocks_before = blocks_before
        self._silent_after_s = silent_after_s
        self._start = now
        self._heard: dict[int, _Heard] = {}
        # (moment, blocks, payload_bits) of the last reports.
        self._history: deque[tuple[float, int, int]] = deque([(now, 0, 0)], maxlen=_WINDOW + 1)

    def hear(
        self,
        rank: int,
        snapshot: Snapshot,
        now: float,
        *,
        threads: int = 1,
        headroom_bytes: int | None = None,
        has_ended: bool = False,
    ) -> None:
        """Take what a rank has done in this attempt so far, in all.

        Args:
            rank: who says it, 0 <= rank < ranks.
            snapshot: its sums.
            now: when it is heard.
            threads: its decoders side by side.
            headroom_bytes: its distance to the nearest memory limit.
            has_ended: it will say no more.

        Raises:
            ProtocolError: there is no such rank.
        """
        if not 0 <= rank < self._ranks:
            raise ProtocolError(f"expected a rank from 0 to {self._ranks - 1}, heard from rank {rank}", rank=rank)
        counters = snapshot.counters
        decode = snapshot.phases.get("decode")
        self._heard[rank] = _Heard(
            now,
            counters.get("blocks", 0),
            counters.get("blocks_failed", 0),
            counters.get("payload_bits", 0),
            decode.total_ns if decode is not None else 0,
            threads,
            headroom_bytes,
            has_ended,
        )

    def report(self, now: float, *, efficiency: float | None = None) -> ProgressReport:
        """How far the job is, and the end of an interval.

        Args:
            now: the moment.
            efficiency: leakage over Shannon's limit so far, where the caller knows.
        """
        heard = self._heard
        blocks = sum(rank.blocks for rank in heard.values())
        bits = sum(rank.payload_bits for rank in heard.values())
        decode_s = sum(rank.decode_ns for rank in heard.values()) / 1e9
        threads_s = sum(rank.threads * (rank.moment - self._start) for rank in heard.values())
        told = [(rank.headroom_bytes, number) for number, rank in heard.items() if rank.headroom_bytes is not None]
        least = min(told, default=(None, None))
        last_moment, _, last_bits = self._history[-1]
        first_moment, first_blocks, _ = self._history[0]
        self._history.append((now, blocks, bits))
        done = min(self._blocks_before + blocks, self._blocks_total)
        return ProgressReport(
            elapsed_s=now - self._start,
            blocks_done=done,
            blocks_total=self._blocks_total,
            blocks_failed=sum(rank.blocks_failed for rank in heard.values()),
            payload_mbps_now=_per_second(bits - last_bits, now - last_moment) / 1e6,
            payload_mbps=_per_second(bits, now - self._start) / 1e6,
            decode_share=min(1.0, decode_s / threads_s) if threads_s > 0 else None,
            efficiency=efficiency,
            eta_s=self._remaining_s(
                done, _per_second(blocks - first_blocks, now - first_moment) or _per_second(blocks, now - self._start)
            ),
            headroom_bytes=least[0],
            headroom_rank=least[1],
            ranks=self._ranks,
            ranks_heard=len(heard),
            ranks_silent=tuple(number for number in range(self._ranks) if self._is_silent(number, now)),
        )

    def _remaining_s(self, done: int, blocks_per_s: float) -> float | None:
        if done >= self._blocks_total:
            return 0.0
        return (self._blocks_total - done) / blocks_per_s if blocks_per_s > 0 else None

    def _is_silent(self, rank: int, now: float) -> bool:
        heard = self._heard.get(rank)
        if heard is None:
            return now - self._start > self._silent_after_s
        return not heard.has_ended and now - heard.moment > self._silent_after_s


class Announcer:
    """Tells reports to whoever looks: a bar that it is given, a line that is rewritten on a terminal, or a line each.

    Args:
        stream: where lines go, such as standard error.
        interval_s: seconds between two lines; a bar or a terminal gets them at least twice a second.
        progress: a bar; lines are not written then.
        description: what is done, in a few words.

    Raises:
        ConfigError: `interval_s` is not positive.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        interval_s: float = 10.0,
        progress: Progress = NO_PROGRESS,
        description: str = "reconciling",
    ) -> None:
        if not interval_s > 0:
            raise ConfigError(f"expected a positive interval, got {interval_s} s", interval_s=interval_s)
        self._stream = stream
        self._progress = None if progress is NO_PROGRESS else progress
        self._description = description
        self._is_terminal = stream.isatty()
        is_live = self._progress is not None or self._is_terminal
        self._interval_s = min(interval_s, _LIVE_INTERVAL_S) if is_live else interval_s
        self._last: float | None = None
        self._shown_blocks: int | None = None

    def is_due(self, now: float) -> bool:
        """Whether it is time for a report; the first call begins the first interval."""
        if self._last is None:
            self._last = now
        return now - self._last >= self._interval_s

    def tell(self, report: ProgressReport, now: float) -> None:
        """Show a report; the next is due an interval later."""
        self._last = now
        if self._progress is not None:
            if self._shown_blocks is None:
                self._progress.start(self._description, report.blocks_total, "blocks")
            self._progress.advance(report.blocks_done - (self._shown_blocks or 0), **report.figures())
        elif self._is_terminal:
            self._stream.write(f"\r{report.line()[: self._columns() - 1]}\x1b[K")
        else:
            self._stream.write(f"caligo: {report.line()}\n")
        self._stream.flush()
        self._shown_blocks = report.blocks_done

    def _columns(self) -> int:
        try:
            return max(2, os.get_terminal_size(self._stream.fileno()).columns)
        except (OSError, ValueError):
            return 80

    def finish(self, then: str = "") -> None:
        """Nothing more will be told, but what comes then, where anything was told before.

        Args:
            then: in a few words; empty: nothing.
        """
        if self._shown_blocks is None:
            return
        if self._progress is not None:
            self._progress.finish()
        elif self._is_terminal:
            self._stream.write("\n")
        if then:
            self._stream.write(f"caligo: {then}\n")
        self._stream.flush()
        self._shown_blocks = None


@dataclass(frozen=True)
class RankReport:
    """What a rank says at its end, for the record.

    Args:
        rank: its number.
        host: its host.
        pid: its process.
        threads: its decoders side by side.
        elapsed_s: seconds from when it was ready to its end.
        memory_budget_bytes: what it was allowed.
        memory_source: who allowed that.
        peak_rss_bytes: the most resident memory that it had.
        in_flight_planned: blocks in flight that were planned.
        in_flight_least: the fewest that memory left room for.
        startup: what it cost to start.
        sums: its phases and counters.
        dropped_spans: spans that were counted and not kept.
    """

    rank: int
    host: str
    pid: int
    threads: int
    elapsed_s: float
    memory_budget_bytes: int
    memory_source: str
    peak_rss_bytes: int
    in_flight_planned: int
    in_flight_least: int
    startup: StartupReport
    sums: Snapshot
    dropped_spans: int = 0

    def to_json(self) -> dict[str, Any]:
        """All fields, and the schema."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            "schema": RANK_SCHEMA,
            **plain,
            "startup": asdict(self.startup),
            "sums": self.sums.to_json(),
        }

    @classmethod
    def from_json(cls, document: object) -> Self:
        """What :meth:`to_json` gave.

        Raises:
            ProtocolError: the document is something else.
        """
        try:
            values = dict(document)  # type: ignore[call-overload]
            if values.pop("schema") != RANK_SCHEMA:
                raise ValueError(RANK_SCHEMA)
            values["startup"] = StartupReport(**values["startup"])
            values["sums"] = Snapshot.from_json(values["sums"])
            return cls(**values)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ProtocolError(
                f"expected a report of a rank ({RANK_SCHEMA}), got something else; "
                "let all ranks run the same version of caligo"
            ) from error


def format_duration(seconds: float | None) -> str:
    """As ``1:02:03`` or ``2 d 3:04:05``; ``unknown`` for None."""
    if seconds is None:
        return "unknown"
    minutes, second = divmod(math.ceil(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return (f"{days} d " if days else "") + f"{hour}:{minute:02d}:{second:02d}"


def _per_second(amount: int, seconds: float) -> float:
    return amount / seconds if seconds > 0 else 0.0

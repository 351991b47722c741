"""Which code a window of the key gets: the plan's, or one that follows the error rate along the key.

Covers: stretches of a key, what is known when each is designed, designing ahead on a thread, designs that another
process has decided, the further codes of blocks that failed. Does not cover: forecasts
(:mod:`caligo.reconciliation.tracking`), the choice of a code for a QBER (:mod:`caligo.reconciliation.strategies`).

**Following.** A key is cut in *stretches* of equal length: a 64th of it, but at least a window and `LEAST_BLOCKS`
blocks, and at most `LONGEST_STRETCH_BITS`; a key of fewer than `LEAST_STRETCHES` is not followed. Stretch s is
designed for what the blocks of stretches 0 to s − lag say, where the lag is an eighth of the stretches, at least 2 and
at most `LONGEST_LAG`. Both follow from the layout, so the designs of a key are the same for any number of threads, and
so many stretches can be worked on at a time. Blocks count that passed their check, by the errors that were corrected in
them, and blocks that failed, as more than what they were designed for; neither waits for verification, which comes a
group later. Bob, who knows these counts, names the design of a stretch; that is `ANNOUNCEMENT_BITS` of his, and a
message.

The sampled positions, which lie all over the key, say nothing about drift: they decide the plan's design, which the
first stretches have, and which no stretch goes below until `LEARNING` stretches are known.

A design is kept as long as it lies in the *band* of the forecast, and else made anew for the band's upper end, moved up
to the coarse grid. The band is from one to two standard deviations above the mean where blocks that fail are lost, and
from the mean to four fifths of one above it where they are tried again (:data:`BANDS`). Where Bob can ask, a design is
for the mean itself, moved down: how much is left to requests is what the strategy's wish says, and every part in a
hundred below the true rate adds requests to that.

Where the plan has two error rates, by Bob's bit, all designs have them in its proportion.
A design that leaves no key, or that a cap forbids, is not made: the stretch keeps the design of the one before it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from caligo.channel import Qbers
from caligo.codes import PolarCode
from caligo.errors import CaligoError, ConfigError
from caligo.jobs.plan import WINDOW_BITS, Layout, Window
from caligo.reconciliation.estimation import divide_qber
from caligo.reconciliation.strategies import CodeRequest, StrategyType
from caligo.reconciliation.tracking import QberTracker, following_design_qber

__all__ = [
    "BANDS",
    "LONGEST_LAG",
    "LONGEST_STRETCH_BITS",
    "RETRY_EXCESS",
    "Design",
    "Designs",
    "Stretches",
    "further_code",
    "plan_stretches",
]

LEAST_BLOCKS = 4
"""In a stretch: a design takes as long as decoding several blocks, and says little by one of them."""

LEAST_STRETCHES = 8
"""A key of fewer has one design: before a drift is known, it is over."""

LONGEST_STRETCH_BITS = 1 << 26

LONGEST_LAG = 64
"""Stretches: 2^32 bits are worked on at a time, so that a thousand cores have something to do."""

BANDS = {"discard": (0.68, 0.95), "retry": (0.0, 0.6)}
"""Confidences of the two-sided intervals whose upper ends bound the band, by what becomes of a block that fails; 0: the
mean."""

CODES_KEPT = 32
"""For rates that come again."""

LEARNING = 3
"""Stretches from which a drift can be told."""

RETRY_EXCESS = 0.04
"""By how much more QBER than a block was designed for its first further attempt provides, as a part of it."""


@dataclass(frozen=True, slots=True)
class Stretches:
    """Equal stretches of a key, each with one design.

    Args:
        bits: key bits in each, >= 1.
        count: how many.
        lag: stretch s is designed when all up to s − lag are known.
    """

    bits: int
    count: int
    lag: int

    def of(self, window: Window) -> int:
        """The stretch of a window: where it starts."""
        return window.start_bit // self.bits


def plan_stretches(layout: Layout) -> Stretches:
    """Cut a key into stretches.

    Args:
        layout: of the key.
    """
    least = max(WINDOW_BITS, LEAST_BLOCKS * layout.segments[0].payload_length)
    bits = least * min(max(layout.key_bits // (64 * least), 1), max(LONGEST_STRETCH_BITS // least, 1))
    count = -(-layout.key_bits // bits)
    return Stretches(bits, count, min(max(count // 8, 2), LONGEST_LAG))


@dataclass(frozen=True, slots=True)
class Design:
    """What the blocks of a stretch are designed for.

    Args:
        qber: design QBER; of a pair, the mean that was asked for.
        codes: of each segment of the layout; of segments that the stretch does not touch, the plan's.
    """

    qber: float
    codes: tuple[PolarCode, ...]


class Designs:
    """The codes of a key's windows; shared by the worker threads.

    Args:
        kind: the strategy.
        layout: of the key.
        requests: what each segment's code was chosen by.
        planned: the plan's design.
        allows: whether blocks of a code may be opened.
        band: of `BANDS`.
        follow: whether designs follow the blocks.
        told: the designs of stretches are decided elsewhere and come by `tell`.
    """

    def __init__(
        self,
        kind: StrategyType,
        layout: Layout,
        requests: Sequence[CodeRequest],
        planned: Design,
        *,
        allows: Callable[[PolarCode], bool],
        band: tuple[float, float],
        follow: bool,
        told: bool = False,
    ) -> None:
        self._kind = kind
        self._requests = tuple(requests)
        self._latest = planned
        self._planned = planned
        self._layout = layout
        self._made: dict[tuple[float, int], PolarCode | None] = {}
        self._allows = allows
        self._band = band
        self._stretches = plan_stretches(layout)
        self._follow = follow and self._stretches.count >= LEAST_STRETCHES
        self._told = told
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._tracker = QberTracker()
        self._seen: dict[int, QberTracker] = {}
        self._ends: dict[int, int] = {}
        self._done_before = self._complete = 0
        self._designs: dict[int, Future[Design]] = {}
        self._qbers: dict[int, float] = {}
        self._decided = self._stretches.lag
        self._failure: BaseException | None = None
        self._trouble: BaseException | None = None
        self._further: dict[tuple[str, int], PolarCode | None] = {}
        decides = self._follow and not told
        self._designer = ThreadPoolExecutor(1, thread_name_prefix="caligo-designer") if decides else None

    def of(self, window: Window) -> Design:
        """The design of a window; waits for the windows that it depends on, all of which come before it.

        Raises:
            CaligoError: what came of one of these.
        """
        stretch = self._stretches.of(window)
        if not self._follow or stretch < self._stretches.lag:
            return self._planned
        with self._lock:
            if self._told:
                qber = self._qbers[stretch]
            else:
                future = self._future(stretch)
        if self._told:
            return Design(qber, self._codes(qber, stretch) or self._planned.codes)
        return future.result()

    @property
    def follows(self) -> bool:
        """Whether designs follow the blocks: it was asked for, and the key is long enough."""
        return self._follow

    @property
    def lagging_bits(self) -> int:
        """Key bits that can be worked on ahead of the first one that is not done."""
        return (self._stretches.lag - 1) * self._stretches.bits

    def decided_bits(self) -> int:
        """Key bits, from the first, whose stretches have designs.

        Raises:
            CaligoError: what came of a design.
        """
        if not self._follow:
            return self._layout.key_bits
        with self._lock:
            if self._trouble is not None:
                raise self._trouble
            while self._decided in self._qbers:
                self._decided += 1
            return self._decided * self._stretches.bits

    def stretches(self, windows: Iterable[Window]) -> list[int]:
        """The stretches whose designs windows need, those of the plan left out."""
        if not self._follow:
            return []
        return sorted({self._stretches.of(window) for window in windows} - set(range(self._stretches.lag)))

    def stretch_of(self, window: Window) -> int:
        """The stretch that a window belongs to."""
        return self._stretches.of(window)

    def decided(self, stretch: int) -> float:
        """The design QBER of a stretch that has one; see `decided_bits`."""
        with self._lock:
            return self._qbers[stretch]

    def tell(self, stretch: int, qber: float) -> None:
        """Take the design of a stretch as it was decided elsewhere, before a window of it is worked on.

        Args:
            stretch: index.
            qber: design QBER, for which there is a code.
        """
        with self._lock:
            self._qbers[stretch] = qber

    def code(self, qber: float, segment: int) -> PolarCode | None:
        """The code of a segment's blocks for a design QBER that was decided for one of its stretches."""
        return self._code(qber, segment)

    def announces(self, window: Window) -> bool:
        """Whether Bob names a design before this window."""
        stretches = self._stretches
        first = window.start_bit == 0 or (window.start_bit - 1) // stretches.bits < stretches.of(window)
        return self._follow and first and stretches.of(window) >= stretches.lag

    def observe(self, window: Window, seen: QberTracker) -> None:
        """Take what became of a window's blocks.

        Args:
            window: from any thread, in any order.
            seen: corrected errors and failures, by position.
        """
        if not self._follow or self._told:
            return
        stretch = self._stretches.of(window)
        with self._lock:
            self._seen[stretch] = self._seen[stretch] + seen if stretch in self._seen else seen
            self._ends[window.start_bit] = window.start_bit + window.key_bits
            while self._done_before in self._ends:
                self._done_before = self._ends.pop(self._done_before)
            while (self._complete + 1) * self._stretches.bits <= self._done_before:
                self._decide(self._complete + self._stretches.lag)
                self._complete += 1

    def fail(self, error: BaseException) -> None:
        """Let nobody wait for a window that has failed."""
        with self._lock:
            self._failure = error
            for future in self._designs.values():
                if not future.done():
                    future.set_exception(_stopped())

    def further(self, window: Window, code: PolarCode, attempt: int) -> PolarCode | None:
        """A code that discloses what `code` does and more, for blocks that failed.

        The order of the positions stays; as many are frozen as for a QBER that is greater by a part that doubles with
        every attempt, beginning at `RETRY_EXCESS`.

        Args:
            window: of the blocks.
            code: of the first attempt.
            attempt: 1 for the first further one.

        Returns:
            The code; None where it would leave no key.
        """
        key = (code.digest, attempt)
        with self._lock:
            if key not in self._further:
                self._further[key] = further_code(self._kind, self._requests[window.segment], code, attempt)
            return self._further[key]

    def close(self) -> None:
        """Stop designing."""
        self.fail(_stopped())
        if self._designer is not None:
            self._designer.shutdown(wait=True, cancel_futures=True)

    def _future(self, stretch: int) -> Future[Design]:
        future = self._designs.get(stretch)
        if future is None:
            future = self._designs[stretch] = Future()
            if self._failure is not None:
                future.set_exception(_stopped())
        return future

    def _decide(self, stretch: int) -> None:
        """Design a stretch on the designer's thread; in order, each after what it may know has been added."""
        if stretch >= self._stretches.count or self._designer is None:
            return
        seen = self._seen.pop(stretch - self._stretches.lag, QberTracker())
        future = self._future(stretch)
        self._designs.pop(stretch - self._stretches.lag, None)  # all of its windows are done

        def decide() -> None:
            try:
                design = self._design(stretch, seen)
            except BaseException as error:
                with self._lock:
                    self._trouble = error
                    if not future.done():
                        future.set_exception(error)
                return
            with self._lock:
                self._qbers[stretch] = design.qber
                if not future.done():
                    future.set_result(design)

        self._designer.submit(decide)

    def _design(self, stretch: int, seen: QberTracker) -> Design:
        self._tracker += seen
        forecast = self._tracker.forecast(stretch * self._stretches.bits + self._stretches.bits // 2)
        if forecast is None:
            return self._latest
        if self._kind.asks:
            qber = following_design_qber(forecast.qber, "low")
        else:
            low, high = (forecast.total.interval(part)[1] if part else forecast.qber for part in self._band)
            qber = following_design_qber(high, "high")
            if low <= self._latest.qber <= qber:
                qber = self._latest.qber
            elif stretch - self._stretches.lag < LEARNING - 1:
                qber = max(qber, self._planned.qber)
        for possible in (qber, self._latest.qber):
            codes = self._codes(possible, stretch)
            if codes is not None:
                self._latest = Design(possible, codes)
                return self._latest
        self._latest = self._planned
        return self._latest

    def _codes(self, qber: float, stretch: int) -> tuple[PolarCode, ...] | None:
        """The codes of the segments that a stretch touches, the plan's for the others; None where one may not be."""
        start, end = stretch * self._stretches.bits, (stretch + 1) * self._stretches.bits
        codes = list(self._planned.codes)
        for number, segment in enumerate(self._layout.segments):
            if segment.start_bit >= end or segment.start_bit + segment.key_bits <= start:
                continue
            code = self._code(qber, number)
            if code is None:
                return None
            codes[number] = code
        return tuple(codes)

    def _code(self, qber: float, number: int) -> PolarCode | None:
        if qber == self._planned.qber:
            return self._planned.codes[number]
        key = (qber, number)
        with self._making:
            if key not in self._made:
                while len(self._made) >= CODES_KEPT:
                    del self._made[next(iter(self._made))]
                self._made[key] = self._made_for(qber, self._requests[number])
            return self._made[key]

    def _made_for(self, qber: float, request: CodeRequest) -> PolarCode | None:
        try:
            code = self._kind.choose_code(replace(request, design_qber=self._divided(qber, request)))
        except ConfigError:
            return None
        return code if self._allows(code) else None

    def _divided(self, qber: float, request: CodeRequest) -> Qbers:
        """A design QBER, or where the plan has a pair, one in its proportion."""
        planned = request.design_qber
        return divide_qber(qber, planned, asks=self._kind.asks) if isinstance(planned, tuple) else qber


def further_code(kind: StrategyType, request: CodeRequest, code: PolarCode, attempt: int) -> PolarCode | None:
    """See `Designs.further`.

    Args:
        kind: the strategy.
        request: what `code` was chosen by.
        code: of the first attempt.
        attempt: 1 for the first further one.
    """
    if code.design_qber is None or code.assumed_qber is None:
        return None
    reached = 1.0 + RETRY_EXCESS * (2**attempt - 1)
    efficiency = code.efficiency(code.design_qber)
    efficiency *= efficiency / code.efficiency(min(reached * code.design_qber, 0.49))
    try:
        wider = kind.choose_code(
            replace(request, design_qber=code.assumed_qber, efficiency=efficiency, raise_efficiency=False)
        )
        both = (wider.info_mask & code.info_mask).tobytes()
        return replace(wider, info_set=both) if wider.segment_length == code.segment_length else None
    except ConfigError:
        return None


def _stopped() -> CaligoError:
    return CaligoError("expected the window before this one, got a failure there; see the other error")

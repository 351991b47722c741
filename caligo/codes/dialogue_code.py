"""A polar code that two parties talk about: cut at nodes of its tree, with an order and a rule of further disclosure.

Covers: how a block is cut, in which order the bits of a segment are disclosed, what a request for a segment contains,
and the design of all that. Does not cover: who asks and when (:mod:`caligo.reconciliation.strategies.interactive`),
nor which parameters are good (:mod:`caligo.reconciliation.strategies.interactive_table`). Contract:
``specs/interactive.md``.

The *parts* of a block are nodes of the code tree: runs of u whose lengths are powers of two and divide their starts. A
decoder leaves a part with one word. A check covers all words up to its part's: a wrong word that has its check by
chance fails the next one. A *segment* is a run of parts of which the last one has a check; it is what Bob names when he
asks.

Where to cut follows from density evolution. The *mass* of a position is twice its error probability under successive
cancellation if it is in the information set, else 0: nearly how often a decoder without a list loses its way there. A
part is cut in two as long as it has more than a given share of the block's mass. So the checks stand about equally
dense in what they guard against; a part with less mass has a shorter check, and one with next to none has none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from caligo.bits import unpack
from caligo.channel import Qbers
from caligo.codes.cache import DesignCache
from caligo.codes.design import design_code, error_probabilities
from caligo.codes.polar_code import PolarCode, validate_block_length
from caligo.codes.validation import validate_count
from caligo.errors import ConfigError

__all__ = ["MAX_PART_LENGTH", "MIN_PART_LENGTH", "DialogueCode", "RequestRule", "Talk", "design_dialogue_code"]

MIN_PART_LENGTH = 64
"""Parts are not cut below this."""

MAX_PART_LENGTH = 1 << 16
"""Longer parts are cut whatever their mass: what is decoded anew after an answer stays small."""

MAX_CHECK_BITS = 32

LIGHT = 0.02
"""No check is spent on a part with less than this share of the mass that a part may have."""

LEAST_CHECK_BITS = 4
"""Of a part that has a check."""

LAST_CHECK_BITS = 24
"""Of the last part: this check covers the whole block, and no other follows. A wrong block that has it costs its group
more than these bits."""


@dataclass(frozen=True, slots=True)
class RequestRule:
    """How many bits are disclosed when a segment is named; both sides compute it, so a request is a segment's number.

    A request is for `first_bits` bits of the segment, or for `back_bits` if a later segment was named before; for every
    earlier request that named the segment that number grows by `growth_percent`, rounded down; it is at most
    `most_bits`. It is twice, three times … as much after `hurry`, 2·`hurry` … requests for the block, so that a bad
    block ends too. It is at most what the segment has left.

    Args:
        first_bits: bits of the first request for a segment, >= 1.
        back_bits: the same when Bob goes back, >= 1.
        growth_percent: >= 0.
        most_bits: bits of the named segment in one request, >= 1.
        hurry: requests, >= 1.
        ahead_percent: how much of what later segments will probably need is disclosed before they fail, see
            :meth:`Talk.wants`; 0..100, 0: nothing.
        patience: failures of a segment before Bob goes back, >= 1.
        most_disclosed_bits: a request that would bring the block's disclosure above this is not made.
        most_requests: nor one beyond this number.

    Raises:
        ConfigError: a number out of range.
    """

    first_bits: int
    back_bits: int
    growth_percent: int
    most_bits: int
    hurry: int
    ahead_percent: int
    patience: int
    most_disclosed_bits: int
    most_requests: int

    def __post_init__(self) -> None:
        for field in fields(self):
            least = 0 if field.name in ("growth_percent", "ahead_percent") else 1
            most = 100 if field.name == "ahead_percent" else None
            validate_count(getattr(self, field.name), field.name, least, most)

    def bits(self, asked: int, goes_back: bool, requests: int = 0) -> int:
        """Bits of the named segment in a request, if it has so many left.

        Args:
            asked: requests that named this segment before.
            goes_back: a later one was named before.
            requests: requests for the block before.
        """
        wanted = self.back_bits if goes_back else self.first_bits
        for _ in range(asked):
            if wanted >= self.most_bits:
                break
            wanted += wanted * self.growth_percent // 100
        return min(wanted, self.most_bits) * (1 + requests // self.hurry)


@dataclass(frozen=True, repr=False)
class DialogueCode(PolarCode):
    """A polar code with parts, an order of disclosure and a rule of requests.

    Args:
        parts: (length, bits of its check) of each part, in order; lengths are powers of two that divide their starts
            and add up to N; 0 bits: no check. The last part has one.
        rule: of requests.
        order_sha256: SHA-256 (hexadecimal) of `disclosure_order` as little-endian uint32; by it two sides notice that
            their designs differ.

    Raises:
        ConfigError: a field is out of range or contradicts another.
    """

    parts: tuple[tuple[int, int], ...] = ()
    rule: RequestRule = RequestRule(1, 1, 0, 1, 1, 0, 1, 1, 1)
    order_sha256: str = ""

    _schema: ClassVar[str] = "caligo.dialogue-code/1"

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError("parts: expected at least one, got none; design_dialogue_code makes them", what="parts")
        start = 0
        for length, bits in self.parts:
            if length < 1 or length & (length - 1) or start % length or not 0 <= bits <= MAX_CHECK_BITS:
                raise ConfigError(
                    f"parts: expected powers of two that divide their starts, with checks of 0 to {MAX_CHECK_BITS} "
                    f"bits, got {length} positions from {start} on with {bits} bits",
                    what="parts",
                )
            start += length
        if start != self.block_length or not self.parts[-1][1]:
            raise ConfigError(
                f"parts: expected lengths that add up to {self.block_length}, the last one with a check, got {start}",
                what="parts",
                expected=self.block_length,
                got=start,
            )
        if self.segment_length is not None or self.check != "none" or self.design_qber is None:
            raise ConfigError(
                "expected parts with checks instead of equal segments and a check of the block, and a design QBER",
                what="parts",
            )
        super().__post_init__()

    @property
    def segments(self) -> int:
        """Segments of a block."""
        return len(self.segment_parts)

    @cached_property
    def segment_check_bits(self) -> int:
        """Bits of all check values of segments."""
        return sum(bits for _, bits in self.parts)

    @cached_property
    def segment_parts(self) -> tuple[tuple[int, int], ...]:
        """(first part, last part) of each segment."""
        last = [part for part, (_, bits) in enumerate(self.parts) if bits]
        return tuple(zip([0, *(part + 1 for part in last[:-1])], last, strict=True))

    @cached_property
    def segment_of_part(self) -> tuple[int, ...]:
        """The segment of each part."""
        return tuple(
            segment for segment, (first, last) in enumerate(self.segment_parts) for _ in range(first, last + 1)
        )

    @cached_property
    def segment_ends(self) -> NDArray[np.int64]:
        """One past the last position of each segment."""
        ends = np.cumsum([length for length, _ in self.parts], dtype=np.int64)
        return ends[[last for _, last in self.segment_parts]]

    @property
    def _probabilities(self) -> NDArray[np.float32]:
        return error_probabilities(
            self.block_length, payload_length=self.payload_length, design=self.design, qber=self.assumed_qber
        )

    @cached_property
    def ordered(self) -> tuple[NDArray[np.int64], tuple[int, ...], NDArray[np.int64]]:
        """`disclosure_order`, `segment_starts` and `reliability_segments`."""
        positions = np.flatnonzero(unpack(self.info_mask, self.block_length)).astype(np.int64)
        unreliable_first = np.argsort(-self._probabilities[positions], kind="stable")
        segments = np.searchsorted(self.segment_ends, positions[unreliable_first], side="right")
        by_segment = np.argsort(segments, kind="stable")
        order = positions[unreliable_first][by_segment]
        if self.order_sha256 not in ("", _sha256(order)):
            raise ConfigError(
                "the code's order of disclosure is not what density evolution gives here; make both with one caligo",
                what="order_sha256",
            )
        starts = tuple(np.searchsorted(segments[by_segment], np.arange(self.segments + 1)).tolist())
        return order, starts, segments

    @property
    def disclosure_order(self) -> NDArray[np.int64]:
        """The information set, segment after segment, in each by decreasing error probability, equal ones ascending.

        Raises:
            ConfigError: this caligo designs another order than the one the code was made with.
        """
        return self.ordered[0]

    @property
    def segment_starts(self) -> tuple[int, ...]:
        """Where each segment starts in `disclosure_order`; and its end."""
        return self.ordered[1]

    @cached_property
    def segment_sizes(self) -> tuple[int, ...]:
        """Information positions of each segment."""
        return tuple(int(size) for size in np.diff(self.segment_starts))

    @property
    def reliability_segments(self) -> NDArray[np.int64]:
        """The segments of the information positions, by decreasing error probability over the whole block."""
        return self.ordered[2]

    def _identity(self) -> dict[str, Any]:
        return super()._identity() | {
            "parts": [list(part) for part in self.parts],
            "rule": asdict(self.rule),
            "order_sha256": self.order_sha256,
        }

    @classmethod
    def _further_fields(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "parts": tuple((int(length), int(bits)) for length, bits in value["parts"]),
            "rule": RequestRule(**value["rule"]),
            "order_sha256": str(value["order_sha256"]),
        }


class Talk:
    """What both sides have heard about a block since its opening; all of it is public.

    Args:
        code: of the block.

    Attributes:
        taken: bits disclosed of each segment on request.
        asked: requests that named each segment.
        furthest: the last segment that was named so far; -1: none.
        requests: how many there were.
        answered_bits: bits disclosed on request.
    """

    __slots__ = ("_allowed", "answered_bits", "asked", "code", "furthest", "requests", "taken")

    def __init__(self, code: DialogueCode) -> None:
        self.code = code
        self._allowed: dict[int, tuple[tuple[int, int], ...]] = {}
        self.taken = [0] * code.segments
        self.asked = [0] * code.segments
        self.furthest = -1
        self.requests = 0
        self.answered_bits = 0

    def wants(self, segment: int) -> tuple[tuple[int, int], ...]:
        """What a request that names a segment is for: (segment, bits), ascending; nothing if it may not be made.

        Usually these are some bits of that segment. If the segments up to it needed much, there are more errors than
        the code was designed for, and later segments will want for bits too. Some are disclosed in the same answer, as
        many as if the block had been opened with so many more frozen bits.
        """
        known = self._allowed.get(segment)
        if known is None:
            known = self._allowed[segment] = self._wants(segment)
        return known

    def _wants(self, segment: int) -> tuple[tuple[int, int], ...]:
        code, rule = self.code, self.code.rule
        left = code.segment_sizes[segment] - self.taken[segment]
        if left <= 0 or self.requests >= rule.most_requests:
            return ()
        own = rule.bits(self.asked[segment], segment < self.furthest, self.requests)
        further: tuple[tuple[int, int], ...] = ()
        if rule.ahead_percent and 2 * sum(self.taken) > rule.first_bits * (segment + 1 + CALM_SEGMENTS):
            own, further = self._ahead(segment, own)
        bits_left = rule.most_disclosed_bits - code.leakage_bits - self.answered_bits
        own = min(own, left)
        if own > bits_left:
            return ()
        if own + sum(count for _, count in further) > bits_left:
            further = ()
        return ((segment, own), *further)

    def _ahead(self, segment: int, own: int) -> tuple[int, tuple[tuple[int, int], ...]]:
        """Bits of a segment and of later ones, by what the segments up to it needed."""
        code = self.code
        needed = sum(self.taken[: segment + 1]) * (segment + 1) // (segment + 1 + CALM_SEGMENTS)
        if not needed:
            return own, ()
        # Mostly few of the least reliable ones are enough.
        looked_at, segments = 4 * needed, code.reliability_segments
        while len(among := np.flatnonzero(segments[:looked_at] <= segment)) < needed and looked_at < len(segments):
            looked_at *= 4
        counts = np.bincount(segments[: among[:needed][-1] + 1], minlength=code.segments).tolist()
        shares = [
            code.rule.ahead_percent * count // 100 - taken for count, taken in zip(counts, self.taken, strict=True)
        ]
        further = ((each, shares[each]) for each in range(segment + 1, code.segments))
        return max(own, shares[segment]), tuple((each, share) for each, share in further if share > 0)

    def take(self, wants: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """Take note of a request that is made; the positions it is for, in the order of the answer."""
        order, starts, _ = self.code.ordered
        segment = wants[0][0]
        self.furthest = max(self.furthest, segment)
        self.asked[segment] += 1
        self.requests += 1
        self._allowed.clear()
        pieces = []
        for each, count in wants:
            start = starts[each] + self.taken[each]
            pieces.append(order[start : start + count])
            self.taken[each] += count
            self.answered_bits += count
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


CALM_SEGMENTS = 6
"""Segments that needed nothing, added to those from whose needs those of later ones are foreseen."""


def design_dialogue_code(
    block_length: int,
    *,
    payload_length: int,
    qber: Qbers,
    frozen_bits: int,
    rule: RequestRule,
    share: float = 1.0,
    check_bits: int = LAST_CHECK_BITS,
    cache: DesignCache | None = None,
) -> DialogueCode:
    """Design a code to talk about.

    Args:
        block_length: N, a power of two from 2 to 2^24.
        payload_length: key bits in a block, 1..N.
        qber: crossover probability, in (0, 0.5), of density evolution, or a pair: where Bob has 0, where he has 1.
        frozen_bits: bits that an opening discloses beside the checks, 0 or more.
        rule: of requests.
        share: most of the block's mass that a part may have, in (0, 1]; 1: one part, whatever its length.
        check_bits: of a part that has so much, 4..32; the last part has `LAST_CHECK_BITS` whatever its mass.
        cache: where designs are kept; default the process-wide one.

    Returns:
        The code.

    Raises:
        ConfigError: a parameter is out of range, or the checks leave no information.
    """
    validate_block_length(block_length)
    validate_count(check_bits, "check_bits", LEAST_CHECK_BITS, MAX_CHECK_BITS)
    if not 0.0 < share <= 1.0:
        raise ConfigError(f"share: expected 0 < share <= 1, got {share!r}", what="share", got=repr(share))
    whole = design_code(
        block_length,
        payload_length=payload_length,
        design="de",
        qber=qber,
        info_length=payload_length - frozen_bits,
        check="none",
        cache=cache,
    )
    probabilities = error_probabilities(
        block_length, payload_length=payload_length, design="de", qber=whole.assumed_qber, cache=cache
    )
    mass = np.where(unpack(whole.info_mask, block_length) == 1, 2.0 * probabilities.astype(np.float64), 0.0)
    fields_of_code = {field.name: getattr(whole, field.name) for field in fields(whole)}
    draft = DialogueCode(**fields_of_code, parts=_parts(mass, share, check_bits), rule=rule)
    return replace(draft, order_sha256=_sha256(draft.disclosure_order))


def _parts(mass: NDArray[np.float64], share: float, check_bits: int) -> tuple[tuple[int, int], ...]:
    """Cut a block, and say which parts have a check."""
    if share == 1.0:
        return ((len(mass), LAST_CHECK_BITS),)
    before = np.concatenate([[0.0], np.cumsum(mass)])
    most = share * float(before[-1])
    lengths: list[int] = []
    masses: list[float] = []

    def cut(start: int, length: int) -> None:
        own = float(before[start + length] - before[start])
        if length > MAX_PART_LENGTH or (own > most and length > MIN_PART_LENGTH):
            cut(start, length // 2)
            cut(start + length // 2, length // 2)
        else:
            lengths.append(length)
            masses.append(own)

    cut(0, len(mass))
    bits = [_graded(own, most, check_bits) for own in masses]
    bits[-1] = LAST_CHECK_BITS
    return tuple(zip(lengths, bits, strict=True))


def _graded(mass: float, most: float, check_bits: int) -> int:
    """Bits of the check of a part: one less for every halving of its mass; none if it is light."""
    if mass < LIGHT * most:
        return 0
    bits = check_bits
    while bits > LEAST_CHECK_BITS and mass < most / 2.0:
        mass *= 2.0
        bits -= 1
    return min(bits, check_bits)


def _sha256(order: NDArray[np.int64]) -> str:
    return hashlib.sha256(order.astype("<u4").tobytes()).hexdigest()

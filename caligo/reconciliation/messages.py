"""What the parties tell each other, as values.

Covers: the content of each message: those of one process that plays both parties on whole batches (`Disclosure`, `Tag`,
`Verdict`), and those of two processes (all others, `Message`). Does not cover: their form on a wire
(:mod:`caligo.reconciliation.wire`), their order (:mod:`.session`), authentication (:mod:`.authentication`).

All of it is public. Bob's answers say which blocks passed and whether a tag agreed; they depend on both keys and are
part of the transcript a security proof is told about (``specs/one-way.md``). What was disclosed about a key shows its
size alone in a `repr`, so that logs stay small and harmless.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from caligo.bits import packed_bytes
from caligo.errors import ShapeError

__all__ = [
    "NO_SESSION",
    "SETTLED",
    "Abort",
    "AbortReason",
    "Answer",
    "Bits",
    "Close",
    "Disclosure",
    "GroupTag",
    "GroupVerdict",
    "Hello",
    "KeepAlive",
    "Message",
    "Opening",
    "Outcome",
    "Plan",
    "PlanSection",
    "Request",
    "Resume",
    "Role",
    "Sample",
    "Seeds",
    "Settlement",
    "Tag",
    "Terms",
    "Verdict",
]

NO_SESSION = bytes(16)
"""Stands for a session that the sender does not know yet."""

SETTLED = 0xFFFF_FFFF
"""In the place of a number of turns: the sender holds the block settled."""


@dataclass(frozen=True, eq=False, repr=False)
class Disclosure:
    """Alice to Bob: what she discloses for a batch of B blocks of one code.

    Args:
        frozen_values: uint8 `[B, max(1, N // 8)]`: her transformed blocks at the frozen positions, zero elsewhere.
        check_values: uint32 `[B]`: check values of her blocks; uint32 `[B, 1 + segments]` if the code has segments,
            whose check values follow the block's.
    """

    frozen_values: NDArray[np.uint8]
    check_values: NDArray[np.uint32]

    def __repr__(self) -> str:
        return f"Disclosure(blocks={len(self.check_values)})"


@dataclass(frozen=True, slots=True, repr=False)
class Tag:
    """Alice to Bob: the verification tag of the decoded blocks of one group.

    Args:
        value: 16 bytes.
    """

    value: bytes

    def __repr__(self) -> str:
        return "Tag()"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Bob to Alice: whether his tag of a group agrees with hers.

    Args:
        agrees: if not, both sides discard every block of the group.
    """

    agrees: bool


# --- two processes ------------------------------------------------------------------------------------------------


class Role(IntEnum):
    """The two sides; the number is that on the wire."""

    ALICE = 1
    BOB = 2

    @property
    def peer(self) -> Role:
        """The other one."""
        return Role.BOB if self is Role.ALICE else Role.ALICE


class Settlement(IntEnum):
    """What became of a block; the number is that on the wire."""

    OK = 0
    FAILED = 1
    GIVEN_UP = 2


class AbortReason(IntEnum):
    """Why a side gave up; the number is that on the wire."""

    PROTOCOL = 1
    LEAKAGE_CAP = 2
    KEYS = 3
    RESOURCE = 4
    INTERRUPTED = 5
    OTHER = 6

    @property
    def sentence(self) -> str:
        """What the peer is told; the rest (names of files, the state of this machine) is nobody's business."""
        return _SENTENCES[self]


_SENTENCES = {
    AbortReason.PROTOCOL: "a message broke a rule, or the two sides want different things; its own report says more",
    AbortReason.LEAKAGE_CAP: "the next disclosure would exceed the cap that both sides were given",
    AbortReason.KEYS: "its key cannot be read, or the two are not sides of one key; its own report says more",
    AbortReason.RESOURCE: "its machine lacks memory or space; its own report says more",
    AbortReason.INTERRUPTED: "it was stopped",
    AbortReason.OTHER: "it cannot go on; its own report says why",
}


@dataclass(frozen=True, slots=True, repr=False)
class Bits:
    """A row of bits in a message.

    Args:
        length: how many.
        packed: ``ceil(length / 8)`` bytes, little bit order, unused bits zero.

    Raises:
        ShapeError: another size, or a stray bit.
    """

    length: int
    packed: bytes

    def __post_init__(self) -> None:
        if self.length < 0 or len(self.packed) != packed_bytes(self.length):
            raise ShapeError(
                f"expected {self.length} bits in {packed_bytes(max(self.length, 0))} bytes, got {len(self.packed)}",
                length=self.length,
                got=len(self.packed),
            )
        if self.length % 8 and self.packed[-1] >> self.length % 8:
            raise ShapeError(f"expected zeros beyond bit {self.length}, got ones", length=self.length)

    def __repr__(self) -> str:
        return f"Bits({self.length})"

    @classmethod
    def of(cls, packed: NDArray[np.uint8], length: int) -> Bits:
        """The first `length` bits of a packed row whose other bits are zero."""
        return cls(length, packed[: packed_bytes(length)].tobytes())

    @property
    def row(self) -> NDArray[np.uint8]:
        """The bits as a packed row, uint8 `[ceil(length / 8)]`, read-only."""
        return np.frombuffer(self.packed, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Terms:
    """What both sides must want alike, before either says a bit about its key.

    Args:
        key_bits: length of the key.
        strategy: name of the strategy.
        parameters: everything else that decides about blocks and codes, as canonical JSON.
        block_length: N of whole blocks.
        list_size: paths the decoder keeps; it decides how much is disclosed for a target frame error rate.
        check: name of the check value.
        efficiency: asked for; 0 where `target_fer` decides.
        target_fer: asked for; 0 where `efficiency` decides.
        qber: given, of a pair the mean; 0 where it is estimated.
        sample_bits: positions to sample; 0 where the QBER is given.
        group_bits: least payload of a verification group.
        max_rounds: most requests for one block; 0: none is allowed.
        max_block_leakage_bits: most bits disclosed for one block; 0: no cap.
        max_leakage_bits: most bits disclosed in the session; 0: no cap.
    """

    key_bits: int
    strategy: str
    parameters: str
    block_length: int
    list_size: int
    check: str
    efficiency: float
    target_fer: float
    qber: float
    sample_bits: int
    group_bits: int
    max_rounds: int
    max_block_leakage_bits: int
    max_leakage_bits: int


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a connection, each way.

    Args:
        role: of the sender.
        nonce: 32 bytes, fresh for this connection.
        session: 16 bytes, chosen by Alice; `NO_SESSION` from a Bob who has not heard of one.
        window: most blocks in flight that the sender wants; the smaller of both holds.
        terms: what the sender wants.
    """

    role: Role
    nonce: bytes
    session: bytes
    window: int
    terms: Terms


@dataclass(frozen=True, slots=True)
class Resume:
    """Second message of a connection, each way: what the sender has received in the session so far.

    Args:
        setup: messages of the set-up (`Seeds`, `Sample`, `Plan`).
        groups: tags (Bob) or verdicts (Alice).
        closed: whether a `Close` came.
        settled_before: every block below this one is settled.
        turns: for blocks from there on, ascending: (block, messages received about it, or `SETTLED`).
    """

    setup: int
    groups: int
    closed: bool
    settled_before: int
    turns: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Seeds:
    """Alice to Bob: the session's public random values.

    Args:
        sampling_seed: 32 bytes, names the sampled positions.
        hash_key: 32 bytes, key of the verification hash.
    """

    sampling_seed: bytes
    hash_key: bytes


@dataclass(frozen=True, slots=True)
class Sample:
    """Each way: the sender's bits at the sampled positions, now removed from both keys."""

    bits: Bits


@dataclass(frozen=True, slots=True)
class PlanSection:
    """Consecutive blocks of one code.

    Args:
        blocks: how many.
        payload_length: key bits in each.
        block_length: N.
        digest: SHA-256 of the code, 32 bytes.
    """

    blocks: int
    payload_length: int
    block_length: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """Each way: what follows from the terms and the samples; both must come to the same.

    Args:
        sampled_errors: sampled positions that differ.
        design_qber: what the codes are designed for; of a pair, the mean.
        sections: the blocks, in order.
    """

    sampled_errors: int
    design_qber: float
    sections: tuple[PlanSection, ...]


@dataclass(frozen=True, slots=True)
class Opening:
    """Alice to Bob: what she discloses of a block at once.

    Args:
        block: its index.
        frozen: her transformed block at the frozen positions, in natural order, and nothing else.
        segment_checks: the checks of its segments, joined; empty without segments.
        check: its check value.
    """

    block: int
    frozen: Bits
    segment_checks: Bits
    check: Bits


@dataclass(frozen=True, slots=True)
class Request:
    """Bob to Alice: what he asks about a block.

    Args:
        block: its index.
        round: 1 for the first request.
        wants: (segment, count): so many further bits of that segment, in design order; segments ascending.
    """

    block: int
    round: int
    wants: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Alice to Bob: the bits that a request asked for.

    Args:
        block: its index.
        round: of the request.
        bits: all of them, in the order of the request, within a segment in design order.
    """

    block: int
    round: int
    bits: Bits


@dataclass(frozen=True, slots=True)
class Outcome:
    """Bob to Alice: what became of a block.

    Args:
        block: its index.
        settlement: whether a candidate passed its check, none did, or Bob stopped asking.
    """

    block: int
    settlement: Settlement


@dataclass(frozen=True, slots=True, repr=False)
class GroupTag:
    """Alice to Bob: the tag of a group's blocks that are OK, joined in order.

    Args:
        group: its index.
        bits: bits that were hashed.
        tag: 16 bytes.
    """

    group: int
    bits: int
    tag: bytes

    def __repr__(self) -> str:
        return f"GroupTag(group={self.group}, bits={self.bits})"


@dataclass(frozen=True, slots=True)
class GroupVerdict:
    """Bob to Alice: whether his tag of a group is the same.

    Args:
        group: its index.
        agrees: if not, both discard the group.
    """

    group: int
    agrees: bool


@dataclass(frozen=True, slots=True, repr=False)
class BlockTags:
    """Alice to Bob, where the tags of a group differ and it is worth it: a tag of each of its blocks that are OK.

    Args:
        group: its index.
        tags: 16 bytes each, in order; none where a cap forbids them.
    """

    group: int
    tags: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"BlockTags(group={self.group}, tags={len(self.tags)})"


@dataclass(frozen=True, slots=True)
class BlockVerdicts:
    """Bob to Alice: which of the blocks whose tags came are the same; both discard the others.

    Args:
        group: its index.
        agree: a bit for each tag that came; not all of them ones.
    """

    group: int
    agree: Bits


@dataclass(frozen=True, slots=True)
class Close:
    """Last message, each way: the sender's account, which must be the receiver's too.

    Args:
        leakage_bits: disclosed by Alice.
        leakage_bits_both_ways: Bob's replies too.
        blocks_ok: verified blocks.
        blocks_failed: all others.
        reconciled_bits: payload of the verified blocks.
    """

    leakage_bits: int
    leakage_bits_both_ways: int
    blocks_ok: int
    blocks_failed: int
    reconciled_bits: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Either way: the sender gives up; nothing of the session is used.

    Args:
        reason: why.
        text: for people; printable ASCII; the sentence of the reason.
    """

    reason: AbortReason
    text: str


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Either way: the sender is still at work."""


Message: TypeAlias = (
    Hello
    | Resume
    | Seeds
    | Sample
    | Plan
    | Opening
    | Request
    | Answer
    | Outcome
    | GroupTag
    | GroupVerdict
    | BlockTags
    | BlockVerdicts
    | Close
    | Abort
    | KeepAlive
)

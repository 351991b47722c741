"""The textbook list decoder: slow, plain, and independent of the crate.

Covers: CRC-aided successive cancellation list decoding with arbitrary frozen values in double precision, on LLRs, with
its own polar transform and its own checks. Does not cover: speed, special nodes, pruning, quantisation. Error rates of
the native decoder are held against this one; block by block the two need not agree.

Sources: list decoding, Tal and Vardy, "List decoding of polar codes" (2015); its form in LLRs and the path metric
ln(1 + exp(-(1 - 2u)λ)), Balatsoukas-Stimming, Bastani Parizi and Burg, "LLR-based successive cancellation list decoding
of polar codes" (2015), equations 8 to 11. Departures: natural order instead of bit-reversed; the check value is
disclosed beside the syndrome instead of being appended to the message; several paths copy rows of indices, never LLRs
(all paths move through the tree together and rewrite a stage as a whole, so a row of indices is all a path needs to
know about the stages it did not write itself).

As in the crate, the decoder looks for the error pattern e = x ⊕ y, with y the hard decisions of its input: the LLRs are
all non-negative then, and ties cannot depend on the key.

Needs Numba (``pip install caligo[oracle]``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from caligo.bits import pack, unpack
from caligo.channel import Qbers, bsc_llr, validate_qbers
from caligo.codes.polar_code import PolarCode
from caligo.codes.validation import validate_name
from caligo.errors import ConfigError, ResourceError
from caligo.reconciliation.codecs import DecodedBatch
from caligo.reconciliation.codecs.boundary import (
    require_batch,
    require_check_values,
    require_frozen_values,
    require_list_size,
    require_llr,
)

__all__ = ["ReferenceCodec"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_CERTAIN = 1e30
"""LLR of a position known to be zero; large, and finite so that no difference of two is undefined."""

_HAS_NUMBA = find_spec("numba") is not None


def _compiled(function: _Function) -> _Function:
    if not _HAS_NUMBA:
        return function
    from numba import njit

    return cast("_Function", njit(cache=True, nogil=True)(function))


@_compiled
def _crc(width: int, polynomial: int, initial: int, reflected: bool, final_xor: int, data: Any) -> int:
    """A CRC bit by bit (Rocksoft model; input and output reflected together)."""
    register = initial
    top = 1 << (width - 1)
    every = (1 << width) - 1
    for byte in data:
        for k in range(8):
            bit = (byte >> k) & 1 if reflected else (byte >> (7 - k)) & 1
            feedback = ((register & top) >> (width - 1)) ^ bit
            register = (register << 1) & every
            if feedback:
                register ^= polynomial
    if reflected:
        mirrored = 0
        for k in range(width):
            mirrored |= ((register >> k) & 1) << (width - 1 - k)
        register = mirrored
    return register ^ final_xor


_CHECKS: dict[str, tuple[int, int, int, bool, int]] = {
    "crc16": (16, 0x1021, 0, False, 0),
    "crc24": (24, 0x864CFB, 0, False, 0),
    "crc32": (32, 0x04C11DB7, 0xFFFFFFFF, True, 0xFFFFFFFF),
}
"""Width, polynomial, initial register, reflected, final XOR: CRC-16/XMODEM, CRC-24/LTE-A, CRC-32/ISO-HDLC."""


def check_value(check: str, data: NDArray[np.uint8]) -> int:
    """The check value of a row of bytes.

    Args:
        check: ``none`` (always 0), ``crc16``, ``crc24`` or ``crc32``.
        data: uint8[bytes].
    """
    if check == "none":
        return 0
    return int(_crc(*_CHECKS[check], data))


def transform(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The polar transform x·F^(⊗n) of rows of 0/1 values, F = [[1, 0], [1, 1]]; it is its own inverse."""
    out = bits.copy()
    half = 1
    while half < out.shape[-1]:
        pairs = out.reshape(*out.shape[:-1], -1, 2, half)
        pairs[..., 0, :] ^= pairs[..., 1, :]
        half *= 2
    return out


@_compiled
def _boxplus(a: float, b: float) -> float:
    """The LLR of the sum of two bits: 2·artanh(tanh(a/2)·tanh(b/2)), without overflow."""
    least = min(abs(a), abs(b))
    if (a < 0.0) != (b < 0.0):
        least = -least
    return least + math.log1p(math.exp(-abs(a + b))) - math.log1p(math.exp(-abs(a - b)))


@_compiled
def _boxplus_minsum(a: float, b: float) -> float:
    """The approximation sign(a)·sign(b)·min(|a|, |b|)."""
    least = min(abs(a), abs(b))
    return -least if (a < 0.0) != (b < 0.0) else least


@_compiled
def _penalty(llr: float, bit: int) -> float:
    """What deciding `bit` adds to the path metric: ln(1 + exp(-(1 - 2·bit)·llr))."""
    against = -llr if bit == 0 else llr
    return max(against, 0.0) + math.log1p(math.exp(-abs(against)))


@_compiled
def _penalty_minsum(llr: float, bit: int) -> float:
    """The approximation: |llr| if the bit contradicts its sign, else nothing."""
    against = -llr if bit == 0 else llr
    return max(against, 0.0)


@_compiled
def _decode(channel_llr: Any, frozen: Any, frozen_values: Any, list_size: int, minsum: bool) -> Any:
    """List-decode one block; returns the candidates' x (uint8[paths, N]) and their path metrics, in no order.

    Stage s of the tree has nodes of 2^s bits; `llrs[path, 2^s : 2^(s+1)]` holds the LLRs of the node at stage s that is
    being decoded, `left[...]` the decided x of its left sibling once there is one. `llr_of[path, s]` and
    `left_of[path, s]` say which path's rows those are.
    """
    block_length = len(channel_llr)
    stages = 0
    while (1 << stages) < block_length:
        stages += 1
    llrs = np.zeros((list_size, 2 * block_length))
    left = np.zeros((list_size, 2 * block_length), dtype=np.uint8)
    right = np.zeros((list_size, 2 * block_length), dtype=np.uint8)
    llr_of = np.zeros((list_size, stages + 1), dtype=np.int64)
    left_of = np.zeros((list_size, stages + 1), dtype=np.int64)
    metric = np.zeros(list_size)
    decided = np.zeros(list_size, dtype=np.uint8)
    llrs[0, block_length:] = channel_llr
    paths = 1

    for leaf in range(block_length):
        # Down the tree: one right child (unless this is the first leaf), then left children to the leaf.
        stage = stages
        if leaf > 0:
            stage = 0
            while (leaf >> stage) & 1 == 0:
                stage += 1
            half = 1 << stage
            for path in range(paths):
                parent = llrs[llr_of[path, stage + 1]]
                sibling = left[left_of[path, stage]]
                for k in range(half):
                    upper = parent[2 * half + k]
                    lower = parent[3 * half + k]
                    llrs[path, half + k] = lower - upper if sibling[half + k] else lower + upper
            for path in range(paths):
                llr_of[path, stage] = path
        while stage > 0:
            stage -= 1
            half = 1 << stage
            for path in range(paths):
                parent = llrs[llr_of[path, stage + 1]]
                for k in range(half):
                    upper = parent[2 * half + k]
                    lower = parent[3 * half + k]
                    llrs[path, half + k] = _boxplus_minsum(upper, lower) if minsum else _boxplus(upper, lower)
            for path in range(paths):
                llr_of[path, stage] = path

        # The leaf: a known bit costs what it contradicts; an unknown one splits every path, and the best survive.
        if frozen[leaf]:
            for path in range(paths):
                bit = frozen_values[leaf]
                llr = llrs[path, 1]
                metric[path] += _penalty_minsum(llr, bit) if minsum else _penalty(llr, bit)
                decided[path] = bit
        else:
            split = np.empty(2 * paths)
            for path in range(paths):
                llr = llrs[path, 1]
                for bit in range(2):
                    split[2 * path + bit] = metric[path] + (_penalty_minsum(llr, bit) if minsum else _penalty(llr, bit))
            survivors = np.argsort(split, kind="mergesort")[:list_size]
            old_llr_of = llr_of.copy()
            old_left_of = left_of.copy()
            for k in range(len(survivors)):
                parent_path = survivors[k] // 2
                llr_of[k] = old_llr_of[parent_path]
                left_of[k] = old_left_of[parent_path]
                metric[k] = split[survivors[k]]
                decided[k] = survivors[k] & 1
            paths = len(survivors)

        # Up the tree: as long as this was a right child, join it with its left sibling.
        for path in range(paths):
            if leaf & 1:
                right[path, 1] = decided[path]
            else:
                left[path, 1] = decided[path]
                left_of[path, 0] = path
        stage = 0
        while (leaf >> stage) & 1 and stage < stages:
            half = 1 << stage
            is_left = (leaf >> (stage + 1)) & 1 == 0 and stage + 1 < stages
            for path in range(paths):
                sibling = left[left_of[path, stage]]
                target = left if is_left else right
                for k in range(half):
                    target[path, 2 * half + k] = sibling[half + k] ^ right[path, half + k]
                    target[path, 3 * half + k] = right[path, half + k]
            if is_left:
                for path in range(paths):
                    left_of[path, stage + 1] = path
            stage += 1
    return right[:paths, block_length:].copy(), metric[:paths].copy()


class ReferenceCodec:
    """The textbook decoder behind the codec protocol.

    Args:
        code: the code.
        list_size: paths to keep, any number from 1; 1 is successive cancellation.
        rule: ``exact`` (the default) or ``minsum``, for LLR combination and path metric alike.

    Raises:
        ResourceError: Numba is not installed.
        ConfigError: a parameter is out of range, or the code has segments.
    """

    def __init__(self, code: PolarCode, list_size: int, *, rule: Literal["exact", "minsum"] = "exact") -> None:
        if not _HAS_NUMBA:
            raise ResourceError(
                "the reference decoder needs Numba, which is not installed; run `pip install caligo[oracle]`",
                extra="oracle",
            )
        validate_name(rule, "rule", ("exact", "minsum"))
        if code.segments:
            raise ConfigError("code: expected one without segments, which the reference decoder knows nothing of")
        self.code = code
        self.list_size = require_list_size(list_size, None)
        self.rule = rule
        self._frozen = np.ones(code.block_length, dtype=np.uint8) - unpack(code.info_mask, code.block_length)

    @property
    def name(self) -> str:
        """``reference``."""
        return "reference"

    @property
    def engine(self) -> str:
        """``numba``."""
        return "numba"

    @property
    def decoder_bytes(self) -> int:
        """Bytes of the arrays one decoding works on, Python's own left out."""
        return self.list_size * self.code.block_length * 2 * (8 + 1 + 1)

    def syndrome(self, blocks: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
        """What Alice discloses; see `Codec.syndrome`."""
        require_batch(blocks, self.code, "blocks")
        u_packed = pack(transform(unpack(blocks, self.code.block_length)))
        checks = np.array([check_value(self.code.check, row) for row in blocks], dtype=np.uint32)
        return u_packed & self.code.frozen_mask, checks

    def decode(
        self,
        received: NDArray[np.uint8],
        frozen_values: NDArray[np.uint8],
        check_values: NDArray[np.uint32],
        qber: Qbers,
    ) -> DecodedBatch:
        """Decode blocks received over a binary symmetric channel; see `Codec.decode`."""
        require_batch(received, self.code, "received")
        assumed = validate_qbers(qber)
        at_zero, at_one = assumed if isinstance(assumed, tuple) else (assumed, assumed)
        llr = np.where(unpack(received, self.code.block_length), -bsc_llr(at_one), bsc_llr(at_zero))
        return self._decode_rows(llr, frozen_values, check_values)

    def decode_soft(
        self, llr: NDArray[np.float32], frozen_values: NDArray[np.uint8], check_values: NDArray[np.uint32]
    ) -> DecodedBatch:
        """Decode blocks from soft values; see `Codec.decode_soft`."""
        require_llr(llr, self.code)
        return self._decode_rows(llr.astype(np.float64), frozen_values, check_values)

    def _decode_rows(
        self, llr: NDArray[np.float64], frozen_values: NDArray[np.uint8], check_values: NDArray[np.uint32]
    ) -> DecodedBatch:
        code = self.code
        blocks = len(llr)
        require_frozen_values(frozen_values, code, blocks)
        require_check_values(check_values, code, blocks)
        llr[:, code.payload_length :] = _CERTAIN
        disclosed = unpack(code.frozen_mask, code.block_length)
        batch = DecodedBatch.undecided(code, blocks)
        for row in range(blocks):
            start = time.perf_counter_ns()
            hard = (llr[row] < 0.0).astype(np.uint8)
            values = (unpack(frozen_values[row], code.block_length) ^ transform(hard)) & disclosed
            candidates, metrics = _decode(np.abs(llr[row]), self._frozen, values, self.list_size, self.rule == "minsum")
            order = np.argsort(metrics, kind="stable")
            for path in order:
                x_packed = pack(candidates[path] ^ hard)
                if check_value(code.check, x_packed) == int(check_values[row]):
                    batch.decoded[row] = x_packed
                    batch.ok[row] = True
                    break
            else:
                batch.decoded[row] = pack(candidates[order[0]] ^ hard)
            batch.elapsed_ns[row] = time.perf_counter_ns() - start
        return batch

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

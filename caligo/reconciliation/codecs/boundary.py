"""The checks that arrays and parameters meet when they enter a codec; inside nothing is checked again.

Covers: dtype, shape, layout, stray bits, finite LLRs, ranges. Does not cover: the bits themselves, which no message and
no field of an error here ever shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caligo.codes.polar_code import PolarCode
from caligo.codes.validation import validate_count
from caligo.errors import ConfigError, ShapeError

__all__ = [
    "require_array",
    "require_batch",
    "require_check_values",
    "require_escalation",
    "require_frozen_values",
    "require_list_size",
    "require_llr",
]

LIST_SIZES = (1, 2, 4, 8, 16, 32)


def require_array(array: Any, what: str, dtype: type[np.generic], shape: tuple[int | None, ...]) -> None:
    """An array of this dtype and shape (None: any length), C-contiguous.

    Raises:
        ShapeError: it is not.
    """
    wanted = f"{np.dtype(dtype).name}[{', '.join('blocks' if axis is None else str(axis) for axis in shape)}]"
    if not isinstance(array, np.ndarray):
        raise ShapeError(
            f"{what}: expected a NumPy array {wanted}, got {type(array).__name__}", what=what, expected=wanted
        )
    got = f"{array.dtype.name}{list(array.shape)}"
    fits = array.ndim == len(shape) and all(
        axis is None or axis == length for axis, length in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        raise ShapeError(f"{what}: expected {wanted}, got {got}", what=what, expected=wanted, got=got)
    if not array.flags.c_contiguous:
        raise ShapeError(
            f"{what}: expected a C-contiguous array, got strides {array.strides}; pass numpy.ascontiguousarray of it",
            what=what,
            expected=wanted,
            got=got,
        )


def _require_zero_tail(rows: NDArray[np.uint8], bits: int, what: str) -> None:
    """No bit at or beyond `bits` is set in any row."""
    whole, rest = divmod(bits, 8)
    stray = bool(rows[:, whole + (rest > 0) :].any()) or bool(rest and (rows[:, whole] >> rest).any())
    if stray:
        raise ShapeError(
            f"{what}: a row has bits set at or beyond position {bits} (the payload length); these must be zero",
            what=what,
            payload_length=bits,
        )


def require_batch(rows: NDArray[np.uint8], code: PolarCode, what: str, blocks: int | None = None) -> None:
    """Packed blocks of a code: uint8[B, max(1, N // 8)], C-contiguous, shortened positions and padding zero.

    Raises:
        ShapeError: they are not.
    """
    require_array(rows, what, np.uint8, (blocks, max(1, code.block_length // 8)))
    _require_zero_tail(rows, code.payload_length, what)


def require_frozen_values(frozen_values: NDArray[np.uint8], code: PolarCode, blocks: int) -> None:
    """Packed frozen values of `blocks` blocks, zero outside the frozen set.

    Raises:
        ShapeError: they are not.
    """
    require_array(frozen_values, "frozen_values", np.uint8, (blocks, max(1, code.block_length // 8)))
    if (frozen_values & ~code.frozen_mask).any():
        raise ShapeError(
            "frozen_values: a row has bits set outside the frozen set; disclose PolarCodec.syndrome of the block",
            what="frozen_values",
        )


def require_check_values(check_values: NDArray[np.uint32], code: PolarCode, blocks: int) -> None:
    """Check values of `blocks` blocks: uint32[B], or uint32[B, 1 + segments] for a code with segments.

    Raises:
        ShapeError: they are not.
    """
    shape = (blocks, 1 + code.segments) if code.segments else (blocks,)
    require_array(check_values, "check_values", np.uint32, shape)


def require_llr(llr: NDArray[np.float32], code: PolarCode) -> None:
    """LLRs of a code: float32[B, N], C-contiguous, finite.

    Raises:
        ShapeError: they are not.
    """
    require_array(llr, "llr", np.float32, (None, code.block_length))
    if not np.isfinite(llr).all():
        raise ShapeError("llr: expected finite values, got a NaN or an infinity; clip certain positions", what="llr")


def require_list_size(list_size: int, allowed: tuple[int, ...] | None = LIST_SIZES) -> int:
    """A list size, one of `allowed` (None: any from 1).

    Raises:
        ConfigError: it is not.
    """
    value = validate_count(list_size, "list_size")
    if allowed is not None and value not in allowed:
        wanted = ", ".join(map(str, allowed))
        raise ConfigError(f"list_size: expected one of {wanted}, got {value}", what="list_size", got=repr(value))
    return value


def require_escalation(escalation: Sequence[int], list_size: int, check: str) -> tuple[int, ...]:
    """List sizes to try before `list_size`, increasing, the last perhaps the same; only a check says when to go on.

    Raises:
        ConfigError: they are not, or there are some and `check` is ``none``.
    """
    if isinstance(escalation, str | bytes) or not isinstance(escalation, Sequence):
        raise ConfigError(
            f"escalation: expected a sequence of list sizes such as (1, 8), got {escalation!r}",
            what="escalation",
            got=repr(escalation),
        )
    sizes = tuple(require_list_size(size) for size in escalation)
    below = sizes[:-1] if sizes[-1:] == (list_size,) and list_size > 1 else sizes
    if any(size >= after for size, after in pairwise((*below, list_size))):
        raise ConfigError(
            f"escalation: expected increasing list sizes, at most {list_size}, got {sizes}",
            what="escalation",
            got=repr(sizes),
        )
    if sizes and check == "none":
        raise ConfigError(
            "escalation: expected a code with a check, which says when a block failed, got check none; "
            "choose crc16, crc24 or crc32",
            what="escalation",
            got=repr(sizes),
        )
    return sizes

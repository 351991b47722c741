"""Types of the compiled extension; `make lint` holds them against the built module (stubtest).

Packed arrays are uint8, C-contiguous, little bit order (bit i of a row is bit i % 8 of byte i // 8), unused high bits zero.
`block_length` N is a power of two; a packed block is `max(1, N // 8)` bytes. Natural order everywhere.
Errors: ConfigError (values), ShapeError (dtype, shape, layout, stray bits), ResourceError.
"""

from collections.abc import Sequence
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "InteractiveDecoder",
    "PolarDecoder",
    "__version__",
    "allocation_count",
    "bernoulli_bits",
    "build_info",
    "check_bits",
    "check_names",
    "check_values",
    "cpu_features",
    "design_density_evolution",
    "design_gaussian",
    "design_nr",
    "design_polarization_weight",
    "engines",
    "interactive_check_values",
    "interactive_required_bytes",
    "philox4x32",
    "polar_transform",
    "random_bits",
    "required_bytes",
    "segment_check_values",
    "standard_normal",
    "universal_hash",
]

__version__: str

# --- build and machine -------------------------------------------------------------------------------------------------

def build_info() -> dict[str, str]: ...
def engines() -> list[str]: ...
def cpu_features() -> list[str]: ...
def allocation_count() -> int: ...

# --- bits, transform, checks -------------------------------------------------------------------------------------------

# `packed` is one row [bytes], or a batch of rows [blocks, bytes]; check_values of one row has one element.
def polar_transform(packed: NDArray[np.uint8], block_length: int) -> NDArray[np.uint8]: ...
def check_names() -> list[str]: ...
def check_bits(name: str) -> int: ...
def check_values(name: str, packed: NDArray[np.uint8]) -> NDArray[np.uint32]: ...

# [blocks, segments]; the check of a segment covers the transform of its part of the block's transform.
def segment_check_values(name: str, packed: NDArray[np.uint8], segment_length: int) -> NDArray[np.uint32]: ...

# 16-byte tag of one row of `bits` bits; `key` is 16 bytes of evaluation point and 16 of pad, little-endian.
def universal_hash(key: bytes, packed: NDArray[np.uint8], bits: int) -> bytes: ...

# --- randomness (specs/randomness.md) ----------------------------------------------------------------------------------

def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]: ...

# One packed row of `bits` bits; 0 <= seed, block < 2^64, 0 <= stream < 2^32.
def random_bits(seed: int, stream: int, block: int, bits: int) -> NDArray[np.uint8]: ...
def bernoulli_bits(seed: int, stream: int, block: int, bits: int, probability: float) -> NDArray[np.uint8]: ...
def standard_normal(seed: int, stream: int, block: int, count: int) -> NDArray[np.float32]: ...

# --- design ------------------------------------------------------------------------------------------------------------

# One number per position of u, natural order, smaller is more reliable (specs/design-grid.md). A tuple is a mixture: the QBER
# where Bob has 0, of which he has a share of `zero_weight`, and where he has 1.
def design_density_evolution(
    block_length: int,
    payload_length: int,
    qber: float | tuple[float, float],
    threads: int | None = None,
    *,
    zero_weight: float = 0.5,
) -> NDArray[np.float32]: ...
def design_gaussian(block_length: int, payload_length: int, sigma: float) -> NDArray[np.float32]: ...
def design_nr(block_length: int) -> NDArray[np.float32]: ...
def design_polarization_weight(block_length: int) -> NDArray[np.float32]: ...

# --- decoder -----------------------------------------------------------------------------------------------------------

def required_bytes(
    block_length: int,
    list_size: int,
    precision: str,
    info_set: NDArray[np.uint8] | None = None,
    escalation: Sequence[int] = (),
    segment_length: int | None = None,
) -> int: ...

@final
class PolarDecoder:
    def __new__(
        cls,
        block_length: int,
        info_set: NDArray[np.uint8],
        list_size: int,
        *,
        shortened: int = 0,
        check: str = "crc32",
        precision: Literal["int8", "f32"] = "int8",
        engine: str | None = None,
        escalation: Sequence[int] = (),
        segment_length: int | None = None,
        segment_check: str = "crc16",
    ) -> PolarDecoder: ...
    @property
    def block_length(self) -> int: ...
    @property
    def list_size(self) -> int: ...
    # List sizes tried before `list_size`, within the narrow threshold, each where the one before found no word with the check.
    @property
    def escalation(self) -> tuple[int, ...]: ...
    @property
    def engine(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def allocated_bytes(self) -> int: ...
    # One row per block; check_values is [blocks], or with segments [blocks, 1 + segments]: the block's, then theirs, 0 for
    # segments without information positions. A row that is refused ends the batch with its error; those before it are decoded.
    # Short blocks whose first list size is 1 are decoded 64 at a time: `elapsed_ns` is then the time of the group divided by
    # its blocks. A signal (Ctrl-C) ends the batch between groups. A tuple of QBERs is (where Bob has 0, where he has 1).
    def decode_bsc(
        self,
        received: NDArray[np.uint8],
        frozen_values: NDArray[np.uint8],
        check_values: NDArray[np.uint32],
        qber: float | tuple[float, float],
        decoded: NDArray[np.uint8],
        ok: NDArray[np.bool_],
        elapsed_ns: NDArray[np.uint64],
    ) -> None: ...
    def decode_soft(
        self,
        llr: NDArray[np.float32],
        frozen_values: NDArray[np.uint8],
        check_values: NDArray[np.uint32],
        decoded: NDArray[np.uint8],
        ok: NDArray[np.bool_],
        elapsed_ns: NDArray[np.uint64],
    ) -> None: ...

# --- interactive decoder (specs/rust-polar-crate.md, "Interactive decoding") ---------------------------------------------

# A block is cut in `segments`, pairs (length, check_bits): subtrees of the code tree, each a power of two from 64 that divides
# its start; 0 to 32 check bits.

# [blocks, segments]: Alice's side; 0 where a segment has no check. A check covers the words of all segments up to its own.
def interactive_check_values(packed: NDArray[np.uint8], segments: Sequence[tuple[int, int]]) -> NDArray[np.uint32]: ...

# Bytes of a decoder, and of the state of a block.
def interactive_required_bytes(
    block_length: int,
    info_set: NDArray[np.uint8],
    segments: Sequence[tuple[int, int]],
    list_size: int,
    precision: str = "int8",
    escalation: Sequence[int] = (),
    soft: bool = False,
) -> tuple[int, int]: ...

# A block is a row of `state_bytes` bytes that the caller keeps; the decoder keeps nothing of it. A row serves any decoder of the
# same code, segments, precision and input, whatever its list sizes and engine. Rows are key material.
@final
class InteractiveDecoder:
    def __new__(
        cls,
        block_length: int,
        info_set: NDArray[np.uint8],
        segments: Sequence[tuple[int, int]],
        list_size: int,
        *,
        shortened: int = 0,
        escalation: Sequence[int] = (),
        precision: Literal["int8", "f32"] = "int8",
        engine: str | None = None,
        soft: bool = False,
    ) -> InteractiveDecoder: ...
    @property
    def block_length(self) -> int: ...
    @property
    def segment_count(self) -> int: ...
    @property
    def list_size(self) -> int: ...
    @property
    def escalation(self) -> tuple[int, ...]: ...
    @property
    def engine(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def allocated_bytes(self) -> int: ...
    @property
    def state_bytes(self) -> int: ...
    # `qber` is P(error), or P(error) where Bob has 0 and where he has 1. A row that is refused ends the call with its error;
    # those before it are begun.
    def begin(
        self,
        received: NDArray[np.uint8],
        frozen_values: NDArray[np.uint8],
        check_values: NDArray[np.uint32],
        qber: float | tuple[float, float],
        states: NDArray[np.uint8],
    ) -> None: ...
    def begin_soft(
        self,
        llr: NDArray[np.float32],
        frozen_values: NDArray[np.uint8],
        check_values: NDArray[np.uint32],
        states: NDArray[np.uint8],
    ) -> None: ...
    # `stopped`: the segment that no survivor passes, or `segment_count` when all are decided. Where a block stopped before and
    # still stands, only `list_size` is tried. A signal (Ctrl-C) ends the call
    # between blocks.
    def run(self, states: NDArray[np.uint8], stopped: NDArray[np.uint32], elapsed_ns: NDArray[np.uint64]) -> None: ...
    # Alice's u at information positions of segments that are not decided, none of them disclosed before; `state` is one row.
    def disclose(self, state: NDArray[np.uint8], positions: NDArray[np.uint32], values: NDArray[np.uint8]) -> None: ...
    # Back to a segment that was decided; what was disclosed stays known.
    def rollback(self, state: NDArray[np.uint8], segment: int) -> None: ...
    # Alice's blocks, of blocks that are through.
    def finish(self, states: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> None: ...

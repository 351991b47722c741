"""Packed-bit arrays: the one representation of keys at every boundary.

A row of `bits` bits is a C-contiguous uint8 array of `packed_bytes(bits)` bytes in little bit order: bit i is bit i % 8
of byte i // 8, as `numpy.packbits(bitorder="little")` has it. The unused high bits of the last byte are zero. A batch
is `[rows, packed_bytes(bits)]`, each row padded on its own.

Covers: packing, counting, cutting at any alignment, joining rows of any length, selecting and removing positions, and
the checks that arrays meet when they enter caligo. Does not cover: key files (`caligo.keys`), the polar transform and
checksums (`caligo._native`).

Operations that widen bits to bytes work in windows of `WINDOW_BITS`: their scratch memory does not grow with the key.
No message, and no field of an error raised here, contains a bit of the array it complains about.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from caligo.errors import ConfigError, ShapeError

Packed = NDArray[np.uint8]

WINDOW_BITS = 1 << 20
"""Bits widened to bytes at a time; a multiple of 64."""

_JOIN_BYTES = 1 << 18


def packed_bytes(bits: int) -> int:
    """Bytes of a packed row.

    Args:
        bits: length of the row in bits, >= 0.

    Returns:
        ceil(bits / 8).

    Raises:
        ConfigError: `bits` is negative.
    """
    if bits < 0:
        raise ConfigError(f"expected a number of bits >= 0, got {bits}; give a length", bits=bits)
    return (bits + 7) // 8


def pack(bits: NDArray[np.uint8] | NDArray[np.bool_]) -> Packed:
    """Pack 0/1 values along the last axis.

    Args:
        bits: uint8 or bool, shape `[..., n]`, values 0 and 1.

    Returns:
        uint8 `[..., ceil(n / 8)]`, unused high bits zero.

    Raises:
        ShapeError: another dtype, no axis, or a value other than 0 and 1.
    """
    require_bits(bits, "bits to pack", contiguous=False)
    return np.ascontiguousarray(np.packbits(bits, axis=-1, bitorder="little"))


def unpack(packed: Packed, bits: int) -> NDArray[np.uint8]:
    """Widen packed rows to one byte per bit.

    Args:
        packed: uint8 `[..., at least ceil(bits / 8)]`.
        bits: bits per row, >= 0.

    Returns:
        uint8 `[..., bits]` of 0 and 1; eight times the memory of `packed`.

    Raises:
        ShapeError: another dtype, or fewer than `bits` bits in a row.
    """
    _require_bytes(packed, bits, "packed bits")
    return np.unpackbits(packed, axis=-1, count=bits, bitorder="little")


def count_ones(packed: Packed) -> int:
    """Number of ones in the whole array (any shape; padding is zero and counts nothing)."""
    if packed.size == 0:
        return 0
    if not packed.flags.c_contiguous:
        packed = np.ascontiguousarray(packed)
    flat = packed.reshape(-1)
    total = 0
    for start in range(0, flat.size, _JOIN_BYTES):
        part = flat[start : start + _JOIN_BYTES]
        words = part.size // 8 * 8
        total += int(np.bitwise_count(part[:words].view(np.uint64)).sum(dtype=np.int64))
        total += int(np.bitwise_count(part[words:]).sum(dtype=np.int64))
    return total


def hamming_distance(a: Packed, b: Packed) -> int:
    """Number of places in which two packed arrays of the same shape differ.

    Raises:
        ShapeError: the shapes or dtypes differ.
    """
    if a.shape != b.shape or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ShapeError(
            f"expected two uint8 arrays of one shape, got {a.dtype} {a.shape} and {b.dtype} {b.shape}; "
            "cut both keys to the same length first",
            shape_a=a.shape,
            shape_b=b.shape,
        )
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    total = 0
    for start in range(0, flat_a.size, _JOIN_BYTES):
        total += count_ones(flat_a[start : start + _JOIN_BYTES] ^ flat_b[start : start + _JOIN_BYTES])
    return total


def slice_bits(packed: Packed, start: int, bits: int) -> Packed:
    """Copy `bits` bits from bit `start` on, at any alignment.

    Args:
        packed: uint8 `[..., bytes]`; the cut is the same in every row.
        start: first bit, >= 0.
        bits: length of the cut, >= 0.

    Returns:
        A new packed array `[..., ceil(bits / 8)]`.

    Raises:
        ShapeError: the rows hold fewer than `start + bits` bits.
        ConfigError: `start` or `bits` is negative.
    """
    if start < 0 or bits < 0:
        raise ConfigError(
            f"expected start >= 0 and bits >= 0, got {start} and {bits}; cuts run forward", start=start, bits=bits
        )
    _require_bytes(packed, start + bits, "packed bits")
    first, shift = divmod(start, 8)
    size = packed_bytes(bits)
    source = packed[..., first : first + packed_bytes(shift + bits)]
    if shift == 0:
        cut = source.copy()
    else:
        cut = source[..., :size] >> np.uint8(shift)
        following = source[..., 1 : size + 1]
        cut[..., : following.shape[-1]] |= following << np.uint8(8 - shift)
    _clear_padding(cut, bits)
    return cut


def slice_rows(packed: Packed, start: int, row_bits: int, rows: int, row_bytes: int | None = None) -> Packed:
    """Cut `rows` consecutive rows of `row_bits` bits out of one long row, each padded with zeros to `row_bytes`.

    This is how a window of a key becomes a batch of blocks: `row_bits` is the payload length, `row_bytes` the packed
    block length.

    Args:
        packed: uint8 `[bytes]`.
        start: first bit of the first row, >= 0.
        row_bits: bits per row, >= 0, any alignment.
        rows: number of rows, >= 0.
        row_bytes: bytes per row of the result, >= ceil(row_bits / 8), which is also the default.

    Returns:
        uint8 `[rows, row_bytes]`, C-contiguous.

    Raises:
        ShapeError: `packed` is not one row, or holds fewer than `start + rows * row_bits` bits.
        ConfigError: a negative number, or `row_bytes` too small.
    """
    if rows < 0:
        raise ConfigError(f"expected rows >= 0, got {rows}; give the number of blocks in the batch", rows=rows)
    size = packed_bytes(row_bits)
    if row_bytes is None:
        row_bytes = size
    if row_bytes < size:
        raise ConfigError(
            f"expected row_bytes >= {size} for rows of {row_bits} bits, got {row_bytes}; give the packed block length",
            row_bytes=row_bytes,
            row_bits=row_bits,
        )
    if packed.ndim != 1:
        raise ShapeError(f"expected one packed row, got shape {packed.shape}; cut each row by itself", got=packed.shape)
    batch = np.zeros((rows, row_bytes), dtype=np.uint8)
    if row_bits % 8 == 0:
        batch[:, :size] = slice_bits(packed, start, rows * row_bits).reshape(rows, size)
    else:
        _require_bytes(packed, start + rows * row_bits, "packed bits")
        for row in range(rows):
            batch[row, :size] = slice_bits(packed, start + row * row_bits, row_bits)
    return batch


def select_bits(packed: Packed, mask: Packed, bits: int) -> Packed:
    """Keep the bits of a row at which a mask of the same length is one, in order.

    Args:
        packed: uint8 `[ceil(bits / 8)]`.
        mask: uint8 `[ceil(bits / 8)]`, packed likewise.
        bits: length of both rows.

    Returns:
        A packed row of `count_ones(mask)` bits.

    Raises:
        ShapeError: a row of another size, or stray padding.
    """
    require_packed(packed, bits, "row to select from")
    require_packed(mask, bits, "selection mask")
    writer = BitWriter()
    for start in range(0, bits, WINDOW_BITS):
        count = min(WINDOW_BITS, bits - start)
        window = slice(start // 8, packed_bytes(start + count))
        kept = unpack(packed[window], count)[unpack(mask[window], count).view(np.bool_)]
        writer.append(np.packbits(kept, bitorder="little"), kept.size)
    return np.frombuffer(writer.getvalue(), dtype=np.uint8).copy()


def spread_bits(kept: Packed, mask: Packed, bits: int) -> Packed:
    """Put bits where a mask is one, in order, and zeros elsewhere: the inverse of `select_bits`.

    Args:
        kept: uint8 `[ceil(ones / 8)]`, as many bits as the mask has ones.
        mask: uint8 `[ceil(bits / 8)]`.
        bits: length of the mask.

    Returns:
        A packed row of `bits` bits.

    Raises:
        ShapeError: a row of another size, or stray padding.
    """
    require_packed(mask, bits, "selection mask")
    require_packed(kept, count_ones(mask), "bits to spread")
    row = np.empty(packed_bytes(bits), dtype=np.uint8)
    taken = 0
    for start in range(0, bits, WINDOW_BITS):
        count = min(WINDOW_BITS, bits - start)
        window = slice(start // 8, packed_bytes(start + count))
        places = unpack(mask[window], count)
        ones = int(np.count_nonzero(places))
        places[places.view(np.bool_)] = unpack(slice_bits(kept, taken, ones), ones)
        row[window] = np.packbits(places, bitorder="little")
        taken += ones
    return row


def take_bits(packed: Packed, positions: NDArray[np.integer[Any]]) -> Packed:
    """Gather single bits of a row.

    Args:
        packed: uint8 `[bytes]`.
        positions: any integer dtype `[count]`, each in [0, 8 * bytes), in any order, repeats allowed.

    Returns:
        A packed row of `count` bits; bit j is the bit of `packed` at `positions[j]`.

    Raises:
        ShapeError: a position outside the row.
    """
    places = _require_positions(positions, 8 * packed.size, ascending=False)
    bits = (packed[places >> 3] >> (places & 7).astype(np.uint8)) & np.uint8(1)
    return np.packbits(bits, bitorder="little")


def remove_positions(packed: Packed, bits: int, positions: NDArray[np.integer[Any]]) -> Packed:
    """Drop single bits of a row and close the gaps (sampled positions are discarded this way).

    Args:
        packed: uint8 `[ceil(bits / 8)]`.
        bits: length of the row.
        positions: any integer dtype `[count]`, strictly ascending, each in [0, bits).

    Returns:
        A packed row of `bits - count` bits.

    Raises:
        ShapeError: positions out of range or not strictly ascending, a row of another size, or stray padding.
    """
    require_packed(packed, bits, "row to remove from")
    places = _require_positions(positions, bits, ascending=True)
    writer = BitWriter()
    for start in range(0, bits, WINDOW_BITS):
        count = min(WINDOW_BITS, bits - start)
        window = packed[start // 8 : packed_bytes(start + count)]
        first, last = np.searchsorted(places, (start, start + count))
        if first == last:
            writer.append(window, count)
            continue
        keep = np.ones(count, dtype=np.bool_)
        keep[places[first:last] - start] = False
        kept = unpack(window, count)[keep]
        writer.append(np.packbits(kept, bitorder="little"), kept.size)
    return np.frombuffer(writer.getvalue(), dtype=np.uint8).copy()


class ByteSink(Protocol):
    """Where a `BitWriter` puts whole bytes: any buffered binary file."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Take all of `data`."""
        ...


class BitWriter:
    """Joins packed rows of any bit length into one continuous stream of bytes, in bounded memory.

    At most seven bits wait inside between calls. With a sink, bytes go to it as they become whole; without one they
    are collected for `getvalue`. `finish` writes the last partial byte, its unused high bits zero. The sink is left
    open.

    Args:
        sink: a binary file object whose `write` takes the whole buffer (any buffered file does), or None to collect.
    """

    __slots__ = ("_bits", "_carry", "_collected", "_finished", "_sink")

    def __init__(self, sink: ByteSink | None = None) -> None:
        self._sink = sink
        self._collected = bytearray()
        self._carry = 0
        self._bits = 0
        self._finished = False

    def __repr__(self) -> str:
        return f"BitWriter(bits={self._bits})"

    @property
    def bits(self) -> int:
        """Bits appended so far."""
        return self._bits

    def append(self, packed: Packed, bits: int) -> None:
        """Append one row, or each row of a batch, of `bits` bits.

        Args:
            packed: uint8 `[at least ceil(bits / 8)]` or `[rows, at least ceil(bits / 8)]`; whatever lies beyond `bits`
                in a row is left out.
            bits: bits to take of each row, >= 0.

        Raises:
            ShapeError: rows too short, or neither one nor two axes.
            ConfigError: `bits` is negative, or the writer is finished.
        """
        if self._finished:
            raise ConfigError("expected an open BitWriter, got a finished one; append every row before finish()")
        _require_bytes(packed, bits, "row to append")
        if packed.ndim == 1:
            self._append_row(packed, bits)
        elif packed.ndim == 2:
            if bits % 8 == 0 and packed.flags.c_contiguous and packed.shape[1] * 8 == bits:
                self._append_row(packed.reshape(-1), bits * packed.shape[0])
            else:
                for row in packed:
                    self._append_row(row, bits)
        else:
            raise ShapeError(
                f"expected a packed row or a batch of rows, got {packed.ndim} axes; reshape to [rows, bytes]",
                got=packed.shape,
            )

    def finish(self) -> None:
        """Write the last partial byte; further rows are refused. A second call does nothing."""
        if not self._finished:
            self._finished = True
            if self._bits % 8:
                self._emit(bytes((self._carry,)))

    def getvalue(self) -> bytes:
        """Finish, and return everything collected.

        Raises:
            ConfigError: the writer has a sink, so nothing was collected.
        """
        if self._sink is not None:
            raise ConfigError("expected a BitWriter without a sink, got one with a sink; read the sink instead")
        self.finish()
        return bytes(self._collected)

    def _append_row(self, row: Packed, bits: int) -> None:
        """Shift the row up by the bits that wait, in pieces, and emit whole bytes."""
        step = 8 * _JOIN_BYTES
        for start in range(0, bits, step):
            self._append_piece(row[start // 8 :], min(step, bits - start))

    def _append_piece(self, row: Packed, bits: int) -> None:
        waiting = self._bits % 8
        size = packed_bytes(bits)
        if waiting == 0:
            joined = np.array(row[:size])
        else:
            joined = np.zeros(packed_bytes(waiting + bits), dtype=np.uint8)
            np.left_shift(row[:size], np.uint8(waiting), out=joined[:size])
            joined[1:] |= row[: joined.size - 1] >> np.uint8(8 - waiting)
            joined[0] |= np.uint8(self._carry)
        whole, rest = divmod(waiting + bits, 8)
        self._carry = int(joined[whole]) & ((1 << rest) - 1) if rest else 0
        self._bits += bits
        if whole:
            self._emit(joined[:whole].data)

    def _emit(self, whole: bytes | memoryview) -> None:
        if self._sink is None:
            self._collected += whole
        else:
            self._sink.write(whole)


def require_packed(array: object, bits: int, what: str, *, axes: Literal[1, 2] = 1) -> Packed:
    """Check an array of packed bits where it enters caligo.

    Args:
        array: what the caller passed.
        bits: bits that each row must hold.
        what: name of the argument, for the message.
        axes: 1 for one row `[bytes]`, 2 for a batch `[rows, bytes]`.

    Returns:
        The same array.

    Raises:
        ShapeError: not a NumPy array, not uint8, wrong shape, not C-contiguous, or ones beyond the last bit of a row.
    """
    size = packed_bytes(bits)
    shape = f"[{size}]" if axes == 1 else f"[rows, {size}]"
    if not isinstance(array, np.ndarray):
        raise ShapeError(
            f"{what}: expected a uint8 array {shape}, got {type(array).__name__}; pass a NumPy array packed with "
            "caligo.bits.pack",
            what=what,
            got=type(array).__name__,
        )
    if array.dtype != np.uint8:
        raise ShapeError(
            f"{what}: expected dtype uint8, got {array.dtype}; pack 0/1 values with caligo.bits.pack",
            what=what,
            expected="uint8",
            got=str(array.dtype),
        )
    if array.ndim != axes or array.shape[-1] != size:
        raise ShapeError(
            f"{what}: expected shape {shape} for {bits} bits, got {list(array.shape)}; "
            "bits are packed eight to a byte, little bit order (caligo.bits.pack)",
            what=what,
            expected=shape,
            got=array.shape,
        )
    if not array.flags.c_contiguous:
        raise ShapeError(
            f"{what}: expected a C-contiguous array, got strides {array.strides}; pass numpy.ascontiguousarray(...)",
            what=what,
            got=array.strides,
        )
    if bits % 8 and bool(np.any(array[..., -1] >> np.uint8(bits % 8))):
        raise ShapeError(
            f"{what}: expected zeros beyond bit {bits} of each row, got ones; "
            "check the length and the bit order, and cut with caligo.bits.slice_bits",
            what=what,
            bits=bits,
        )
    return array


def require_bits(array: object, what: str, *, contiguous: bool = True) -> NDArray[np.uint8] | NDArray[np.bool_]:
    """Check an array of unpacked bits where it enters caligo.

    Args:
        array: what the caller passed.
        what: name of the argument, for the message.
        contiguous: refuse an array that is not C-contiguous.

    Returns:
        The same array: uint8 or bool, at least one axis, values 0 and 1.

    Raises:
        ShapeError: anything else.
    """
    if not isinstance(array, np.ndarray) or array.dtype not in (np.dtype(np.uint8), np.dtype(np.bool_)):
        got = str(array.dtype) if isinstance(array, np.ndarray) else type(array).__name__
        raise ShapeError(
            f"{what}: expected a uint8 or bool array of 0 and 1, got {got}; convert with .astype(numpy.uint8)",
            what=what,
            expected="uint8",
            got=got,
        )
    if array.ndim == 0:
        raise ShapeError(f"{what}: expected at least one axis, got a scalar; pass an array", what=what, got=())
    if contiguous and not array.flags.c_contiguous:
        raise ShapeError(
            f"{what}: expected a C-contiguous array, got strides {array.strides}; pass numpy.ascontiguousarray(...)",
            what=what,
            got=array.strides,
        )
    if array.dtype == np.uint8 and array.size and int(array.max()) > 1:
        raise ShapeError(
            f"{what}: expected the values 0 and 1, got others; packed keys go in as they are, unpacked ones as 0/1",
            what=what,
        )
    return array


def _describe(array: object) -> str:
    return f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__


def _require_bytes(packed: object, bits: int, what: str) -> None:
    size = packed_bytes(bits)
    if not isinstance(packed, np.ndarray) or packed.dtype != np.uint8 or packed.ndim == 0 or packed.shape[-1] < size:
        got = _describe(packed)
        raise ShapeError(
            f"{what}: expected uint8 rows of at least {size} bytes ({bits} bits), got {got}; "
            "pass packed bits, or ask for fewer",
            what=what,
            expected=size,
            got=got,
        )


def _require_positions(positions: NDArray[np.integer[Any]], bits: int, *, ascending: bool) -> NDArray[np.int64]:
    if positions.ndim != 1 or not np.issubdtype(positions.dtype, np.integer):
        raise ShapeError(
            f"positions: expected integers [count], got {positions.dtype} {positions.shape}; pass bit numbers",
            got=positions.shape,
        )
    places = positions.astype(np.int64, copy=False)
    if places.size:
        lowest, highest = int(places.min()), int(places.max())
        if lowest < 0 or highest >= bits:
            raise ShapeError(
                f"positions: expected bit numbers in [0, {bits}), got some in [{lowest}, {highest}]; "
                "number the bits of this row from 0",
                bits=bits,
                lowest=lowest,
                highest=highest,
            )
        if ascending and bool(np.any(places[1:] <= places[:-1])):
            raise ShapeError(
                "positions: expected strictly ascending bit numbers, got repeats or another order; sort them, "
                "without repeats (numpy.unique)",
                count=places.size,
            )
    return places


def _clear_padding(packed: Packed, bits: int) -> None:
    if bits % 8:
        packed[..., -1] &= np.uint8((1 << bits % 8) - 1)

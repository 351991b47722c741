"""Format `qcrypto`: type-3 packets of the qcrypto software, one for each epoch of a key.

A packet is a header of four 32-bit words, little-endian (tag 3 or 0x103, epoch, number of entries, bits per entry), and
the entries, packed into 32-bit words from the most significant bit down, each word little-endian, the last one filled
up with zeros. A file holds one packet or several, a directory one file for each epoch, named by it in eight hexadecimal
digits. `specs/key-files.md` has the layout, its sources and test vectors.

Covers: reading and writing packets of one bit an entry, which is what sifting leaves. Does not cover: unsifted streams
(several bits an entry), the other packet types, final keys (type 7: never read, never written).
"""

from __future__ import annotations

import itertools
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caligo.bits import Packed, slice_bits
from caligo.errors import ConfigError, KeyFileError
from caligo.keys.files import RegularFile, explain
from caligo.keys.formats import FormatReader, FormatWriter
from caligo.keys.packed import reverse_bits
from caligo.keys.parts import Parts
from caligo.keys.protocols import require_key_bits, require_stretch

__all__ = ["MAX_EPOCH_BITS", "QcryptoKeyReader", "QcryptoKeyWriter", "begins_as_qcrypto"]

TAG = 0x3
TAG_EXTENDED = 0x103
"""The same packet, its epoch counted from 1970 in units of 2^29 ns."""

MAX_EPOCH_BITS = (1 << 32) - 32
"""Most bits in a packet that is written: whole words that the header can count."""

_HEADER = struct.Struct("<4I")
_WORD_BITS = 32
_EPOCHS = 1 << 32
_OTHERS = {1: "raw events", 2: "timing", 4: "coincidences", 6: "error correction", 7: "final key"}
_MAKE = "take the sifted type-3 files that the splicer writes"


@dataclass(frozen=True, slots=True)
class _Packet:
    offset: int  # of the first word
    tag: int
    epoch: int
    bits: int

    @property
    def end(self) -> int:
        return self.offset + 4 * _words(self.bits)


class QcryptoKeyReader(FormatReader):
    """Reads type-3 packets as one key, in the order of their epochs.

    Opening reads every header. Memory is some bytes an epoch; of a directory, one file is open at a time.

    Args:
        path: a file of packets, or a directory of files named by their epochs; hidden files in it are ignored.
        key_bits: length that all of them must have; None for whatever they have.

    Raises:
        KeyFileError: missing, unreadable, empty, truncated, not type 3, several bits an entry, ones among the unused
            bits at the end of a packet, epochs that do not ascend or are not the file's name, or not `key_bits` bits.
        ConfigError: `key_bits` < 1.
    """

    format = "qcrypto"
    part_word = "epoch"

    def __init__(self, path: str | os.PathLike[str], *, key_bits: int | None = None) -> None:
        require_key_bits(key_bits)
        self._path = Path(path)
        self._directory = self._path.is_dir()
        self._offsets: list[int] = []
        if self._directory:
            packets = self._scan_directory()
        else:
            self._file = RegularFile(self._path)
            self._size_bytes = self._file.size_bytes
            try:
                packets = self._scan(self._file)
            except BaseException:
                self._file.close()
                raise
        self.parts = Parts([packet.epoch for packet in packets], [packet.bits for packet in packets])
        self._offsets = [packet.offset for packet in packets]
        self._key_bits = self.parts.key_bits
        try:
            self._check(packets, key_bits)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> Path:
        """The file or directory."""
        return self._path

    @property
    def size_bytes(self) -> int:
        """Size of the file, or of all files of the directory."""
        return self._size_bytes

    @property
    def mode(self) -> int:
        """Permission bits of the file, or those that any file of the directory has."""
        return self._mode if self._directory else self._file.mode()

    def read_bits(self, start: int, bits: int) -> Packed:
        """Read a stretch; see `KeyReader.read_bits`."""
        require_stretch(start, bits, self._key_bits, self._path)
        return self.parts.read(start, bits, self._read_part)

    def close(self) -> None:
        """Release the file; a directory holds none."""
        if not self._directory:
            self._file.close()

    def _read_part(self, part: int, start: int, bits: int) -> Packed:
        first = start // _WORD_BITS
        size = 4 * (_words(start + bits) - first)
        offset = self._offsets[part] + 4 * first
        if self._directory:
            file = RegularFile(self._path / _epoch_name(int(self.parts.numbers[part])))
            try:
                data = file.read(offset, size)
            finally:
                file.close()
        else:
            data = self._file.read(offset, size)
        return slice_bits(_to_little_order(data), start - _WORD_BITS * first, bits)

    def _scan_directory(self) -> list[_Packet]:
        try:
            names = sorted(name for name in os.listdir(self._path) if not name.startswith("."))
        except OSError as error:
            raise explain(error, self._path, "read") from error
        packets: list[_Packet] = []
        self._size_bytes = self._mode = 0
        for name in names:
            if not re.fullmatch(r"[0-9a-f]{8}", name):
                raise self._refuse(
                    "files named by their epoch in eight hexadecimal digits", f"{name!r}", "move other files away"
                )
            file = RegularFile(self._path / name)
            try:
                found = self._scan(file)
                self._size_bytes += file.size_bytes
                self._mode |= file.mode()
            finally:
                file.close()
            if len(found) != 1 or found[0].epoch != int(name, 16):
                got = f"epochs {', '.join(f'{packet.epoch:08x}' for packet in found[:3])}"
                raise self._refuse(f"one packet, of epoch {name}, in {name}", got, "name each file by its epoch")
            packets += found
        if not packets:
            raise self._refuse("files of epochs", "an empty directory", "name the directory of the sifted keys")
        return packets

    def _scan(self, file: RegularFile) -> list[_Packet]:
        """Every packet of a file, its header and its unused bits checked."""
        packets: list[_Packet] = []
        at = 0
        while at < file.size_bytes:
            packet = self._packet(file, at)
            packets.append(packet)
            at = packet.end
        return packets

    def _packet(self, file: RegularFile, at: int) -> _Packet:
        where = f"at byte {at} of {file.path.name}"
        left = file.size_bytes - at
        if left < _HEADER.size:
            raise self._refuse(
                f"a header of {_HEADER.size} bytes {where}", f"{left} bytes", "the file is truncated, or has a tail"
            )
        tag, epoch, entries, bits_per_entry = _HEADER.unpack(file.read(at, _HEADER.size).tobytes())
        if tag not in (TAG, TAG_EXTENDED):
            raise self._refuse(f"tag 0x3 or 0x103 {where}", _tag_name(tag), _MAKE)
        if bits_per_entry != 1:
            raise self._refuse(f"1 bit per entry {where}", "another number", f"that is no sifted key: {_MAKE}")
        packet = _Packet(at + _HEADER.size, tag, epoch, entries)
        if packet.end > file.size_bytes:
            raise self._refuse(
                f"all the entries of the header {where}",
                f"{left - _HEADER.size} bytes, fewer than they take: the file is truncated, or no sifted key",
                "copy it again",
            )
        used = entries % _WORD_BITS
        if used and int.from_bytes(file.read(packet.end - 4, 4).tobytes(), "little") & ((1 << _WORD_BITS - used) - 1):
            raise self._refuse(
                f"zeros behind the {entries} entries {where}", "ones: the number of entries is wrong", "copy it again"
            )
        return packet

    def _check(self, packets: list[_Packet], key_bits: int | None) -> None:
        for before, after in itertools.pairwise(packets):
            if after.epoch <= before.epoch:
                raise self._refuse(
                    f"an epoch after {before.epoch:08x}", f"{after.epoch:08x}", "put each epoch once, in order"
                )
            if after.tag != before.tag:
                raise self._refuse(
                    f"tag {before.tag:#x} in every packet", f"{after.tag:#x}", "do not mix local and extended epochs"
                )
        if not self._key_bits:
            raise self._refuse("at least one bit", "packets without entries", "a key has at least one bit")
        if key_bits is not None and key_bits != self._key_bits:
            raise self._refuse(f"{key_bits} bits", f"{self._key_bits}", "leave --key-bits out: the headers say it")

    def _refuse(self, expected: str, got: str, remedy: str) -> KeyFileError:
        return KeyFileError(
            f"{self._path}: expected {expected}, got {got}; {remedy}", path=str(self._path), expected=expected, got=got
        )


class QcryptoKeyWriter(FormatWriter):
    """Writes type-3 packets of one bit an entry, with extended epochs, into one file; see `KeyWriter`.

    What is written is a raw key to qcrypto, whatever caligo did to it: a final key (type 7) is never written.

    Args:
        path: the file to be; an existing one is replaced at `commit`. qcrypto finds an epoch by the name of its file,
            which is the epoch in eight hexadecimal digits.
        epoch: of the first packet, in [0, 2^32).
        epoch_bits: bits in each packet but the last, a multiple of 32.

    Raises:
        KeyFileError: the directory is missing or not writable, or the target is a directory; while writing: epochs
            reach 2^32.
        ConfigError: `epoch` or `epoch_bits` outside its range.
    """

    format = "qcrypto"

    def __init__(self, path: str | os.PathLike[str], *, epoch: int = 0, epoch_bits: int = MAX_EPOCH_BITS) -> None:
        if not 0 <= epoch < _EPOCHS:
            raise ConfigError(f"expected an epoch in [0, 2^32), got {epoch}; give the first one", epoch=epoch)
        if not 0 < epoch_bits <= MAX_EPOCH_BITS or epoch_bits % _WORD_BITS:
            raise ConfigError(
                f"expected epoch_bits a multiple of {_WORD_BITS} up to {MAX_EPOCH_BITS}, got {epoch_bits}; "
                "leave it out for one epoch",
                epoch_bits=epoch_bits,
            )
        super().__init__(path)
        self._epoch = epoch
        self._epoch_bytes = epoch_bits // 8
        self._left = 0  # bytes that the packet being written still takes
        self._header_at = self._written = 0
        self._waiting = b""
        self._settled = False

    def write(self, data: bytes | memoryview) -> None:
        """Take whole bytes in little order, as `caligo.bits.BitWriter` hands them over."""
        view = memoryview(self._waiting + bytes(data)) if self._waiting else memoryview(data)
        whole = len(view) // 4 * 4
        self._waiting = bytes(view[whole:])
        self._write_words(view[:whole])

    def settle(self) -> None:
        """Write out the rest; see `KeyWriter.settle`."""
        if self._settled:
            return
        self._settled = True
        self._joined.finish()
        if self._waiting:
            self._write_words(memoryview(self._waiting.ljust(4, b"\0")))
        if self._written:
            bits = self._joined.bits - (self._packets - 1) * 8 * self._epoch_bytes
            self._file.rewrite(self._header_at, _HEADER.pack(TAG_EXTENDED, self._epoch, bits, 1))
        super().settle()

    @property
    def _packets(self) -> int:
        return -(-self._joined.bits // (8 * self._epoch_bytes))

    def _write_words(self, data: memoryview) -> None:
        while data:
            if not self._left:
                self._begin()
            part, data = data[: self._left], data[self._left :]
            words = reverse_bits(np.frombuffer(part, dtype=np.uint8)).view("<u4").byteswap()
            self._file.write(words.tobytes())
            self._left -= len(part)
            self._written += len(part)

    def _begin(self) -> None:
        if self._written:
            self._epoch += 1
        if self._epoch == _EPOCHS:
            raise KeyFileError(
                f"cannot write {self.path}: expected epochs below 2^32, got more; begin with a smaller epoch, or put "
                "more bits into each",
                path=str(self.path),
            )
        packets_before = self._written // self._epoch_bytes
        self._header_at = self._written + packets_before * _HEADER.size
        self._file.write(_HEADER.pack(TAG_EXTENDED, self._epoch, 8 * self._epoch_bytes, 1))
        self._left = self._epoch_bytes


def begins_as_qcrypto(head: bytes) -> bool:
    """Whether the first 16 bytes of a file are the header of a sifted type-3 packet; by chance once in 2^63 keys."""
    if len(head) < _HEADER.size:
        return False
    tag, _, _, bits_per_entry = _HEADER.unpack(head[: _HEADER.size])
    return tag in (TAG, TAG_EXTENDED) and bits_per_entry == 1


def _words(bits: int) -> int:
    return -(-bits // _WORD_BITS)


def _to_little_order(words: Packed) -> Packed:
    """Words filled from the most significant bit down, as packed bits in little order."""
    return reverse_bits(words.view("<u4").byteswap().view(np.uint8))


def _epoch_name(epoch: int) -> str:
    return f"{epoch:08x}"


def _tag_name(tag: int) -> str:
    """What a tag says, if it is one: the first bytes of a file of another format may be key bits, and are not shown."""
    swapped = int.from_bytes(tag.to_bytes(4, "little"), "big")
    if swapped in (TAG, TAG_EXTENDED):
        return f"{tag:#x}, as a big-endian machine writes it"
    kind = _OTHERS.get(tag & 0xFF) if tag >> 8 in (0, 1) else None
    return "no tag at all" if kind is None else f"{tag:#x}, type {tag & 0xFF} ({kind})"

"""A heap without holes while MPI starts, because MPICH tells the launcher what lies behind its address in memory.

MPICH 5.0 hands its address over as 4 KiB, whatever its length: in hexadecimal, with runs of zeros shortened, in pieces
of 511 bytes. Slurm's ``pmi2`` reads lines of 1,023 characters and breaks longer ones in two, which a piece without
zeros is. Where the address came to lie in a hole among what Python had freed (texts, compiled modules), ranks of a job
on several nodes died of broken addresses while the others waited, and did so again at every attempt.

So all holes that an address fits into are taken while MPI starts: it then lies among what MPI itself has allocated, in
which every second word is a pointer that ends in zeros. It takes some 5 ms.

Covers: the GNU C library; elsewhere nothing is done. Does not cover: addresses that are that long themselves.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_SMALLEST = 240
"""Bytes of the smallest hole that matters; an address has 300 and more."""

_CACHED = range(_SMALLEST, 1040, 16)
_CACHED_EACH = 8
"""The C library keeps up to seven freed blocks of each of these sizes aside."""

_MOST_BYTES = 1 << 26


class _Mallinfo2(ctypes.Structure):
    """What `mallinfo2` tells of the main heap."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


@contextmanager
def heap_without_holes() -> Iterator[None]:
    """While this lasts, the C library allocates at the end of its heap what is as long as an address of MPICH."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        yield
        return
    malloc, free, sbrk, mallinfo2 = library.malloc, library.free, library.sbrk, library.mallinfo2
    malloc.restype = sbrk.restype = ctypes.c_void_p
    malloc.argtypes = [ctypes.c_size_t]
    free.argtypes = [ctypes.c_void_p]
    free.restype = None
    mallinfo2.restype = _Mallinfo2
    taken: list[int] = []
    try:
        end = int(sbrk(0)) - int(mallinfo2().keepcost)
        for _ in range(_MOST_BYTES // _SMALLEST):
            taken.append(malloc(_SMALLEST))
            if not taken[-1] or taken[-1] >= end:
                break
        for size in _CACHED:
            taken += [malloc(size) for _ in range(_CACHED_EACH)]
        yield
    finally:
        for place in taken:
            free(place)

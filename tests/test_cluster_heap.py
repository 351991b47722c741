"""While MPI starts, what it allocates lies at the end of the heap, not in a hole among what was there before."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from caligo.cluster.heap import heap_without_holes

PROGRAM = """
import ctypes, sys
from caligo.cluster.heap import heap_without_holes

library = ctypes.CDLL(None)
library.malloc.restype = library.sbrk.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
places = [library.malloc(900 if place % 2 else 40) for place in range(20_000)]
holes = set(places[1::2])
for place in holes:
    library.free(place)
low, high = min(holes), max(holes)


def in_holes():
    made = [library.malloc(size) for size in range(300, 1100, 16)]
    for place in made:
        library.free(place)
    return sum(low <= place <= high for place in made)


before = in_holes()
with heap_without_holes():
    within = in_holes()
print(before, within)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="not the GNU C library")
def test_what_is_as_long_as_an_address_goes_behind_all_holes() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    before, within = map(int, done.stdout.split())
    assert before > 20
    assert within == 0


def test_memory_is_given_back_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="no MPI"), heap_without_holes():
        raise RuntimeError("no MPI")

"""Merkle trees as RFC 6962 defines them: roots, inclusion proofs, consistency proofs, and their verification.

Covers: hashes only; every function is pure. Does not cover: where leaves come from (:mod:`.ledger`).

A tree over n leaves is split at the largest power of two below n. The root of no leaves is the hash of nothing. Leaves
and nodes are hashed with different prefixes, so that neither passes for the other.

Source: RFC 6962, section 2.1; the verification as in RFC 9162, sections 2.1.3.2 and 2.1.4.2. Departs from them in one
place: a consistency proof from size 0 is empty and proves nothing but that both trees have the sizes they claim.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()
"""Root of the tree without leaves."""


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf: SHA-256 of 0x00 and its bytes."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256 of 0x01 and the hashes below it."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: enough to append leaves and to give the root, in O(log n) memory."""

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.size = 0
        """Leaves so far."""
        self._subtrees: list[bytes] = []
        for leaf in leaves:
            self.append(leaf)

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash at the right."""
        full = self.size
        while full & 1:
            leaf = node_hash(self._subtrees.pop(), leaf)
            full >>= 1
        self._subtrees.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Root over the leaves so far."""
        if not self._subtrees:
            return EMPTY_ROOT
        root = self._subtrees[-1]
        for subtree in reversed(self._subtrees[:-1]):
            root = node_hash(subtree, root)
        return root


def root(leaves: Iterable[bytes]) -> bytes:
    """Root of the tree over leaf hashes."""
    return Frontier(leaves).root()


def _split(size: int) -> int:
    """The largest power of two below ``size`` (at least 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Proof that a leaf is in the tree: the siblings on the way from it to the root.

    Args:
        leaves: leaf hashes of the whole tree.
        index: of the leaf, from 0.

    Raises:
        ValueError: no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise ValueError(f"expected an index of 0 to {len(leaves) - 1}, got {index}")
    path: list[bytes] = []
    start, stop = 0, len(leaves)
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(root(leaves[middle:stop]))
            stop = middle
        else:
            path.append(root(leaves[start:middle]))
            start = middle
    return path[::-1]


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to; None when it has the wrong length or the index is outside the tree."""
    if not 0 <= index < size:
        return None
    position, last, value = index, size - 1, leaf
    for sibling in path:
        if last == 0 or len(sibling) != HASH_BYTES:
            return None
        if position & 1 or position == last:
            value = node_hash(sibling, value)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            value = node_hash(value, sibling)
        position >>= 1
        last >>= 1
    return value if last == 0 else None


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], tree_root: bytes) -> bool:
    """Whether a proof shows that a leaf is the ``index``-th of the tree of ``size`` leaves with this root."""
    return root_from_inclusion(leaf, index, size, path) == tree_root


def consistency_path(leaves: Sequence[bytes], first: int) -> list[bytes]:
    """Proof that the tree of the first ``first`` leaves is the beginning of the tree over all.

    Args:
        leaves: leaf hashes of the larger tree.
        first: size of the smaller tree.

    Raises:
        ValueError: the smaller tree is the larger.
    """
    return _consistency_path(len(leaves), first, lambda start, stop: root(leaves[start:stop]))


def _consistency_path(second: int, first: int, root_over: Callable[[int, int], bytes]) -> list[bytes]:
    """The proof, from the roots over the leaves from ``start`` to before ``stop``."""
    if not 0 <= first <= second:
        raise ValueError(f"expected a size of 0 to {second}, got {first}")
    if first in (0, second):
        return []
    path: list[bytes] = []
    start, stop, whole = 0, second, True
    while start + (size := stop - start) != first:
        middle = start + _split(size)
        if first <= middle:
            path.append(root_over(middle, stop))
            stop = middle
        else:
            path.append(root_over(start, middle))
            start, whole = middle, False
    if not whole:
        path.append(root_over(start, stop))
    return path[::-1]


class Tree:
    """A tree that is asked often: the root of any number of first leaves in O(log n), for twice the leaves' memory."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.size = len(leaves)
        """Leaves."""
        self._levels: list[Sequence[bytes]] = [leaves]
        """The hashes of all complete subtrees, by the power of two of their leaves."""
        while len(below := self._levels[-1]) > 1:
            pairs = zip(below[::2], below[1::2], strict=False)
            self._levels.append([node_hash(left, right) for left, right in pairs])

    def root(self, size: int | None = None) -> bytes:
        """Root over the first leaves (None: all), as :func:`root`."""
        return self._over(0, self.size if size is None else size)

    def consistency_path(self, first: int) -> list[bytes]:
        """As :func:`consistency_path`."""
        return _consistency_path(self.size, first, self._over)

    def _over(self, start: int, stop: int) -> bytes:
        """Root over some leaves; ``start`` is where a subtree of as many begins."""
        size = stop - start
        if size <= 0:
            return EMPTY_ROOT
        if size & (size - 1) == 0:
            level = size.bit_length() - 1
            return self._levels[level][start >> level]
        middle = start + _split(size)
        return node_hash(self._over(start, middle), self._over(middle, stop))


def roots_from_consistency(
    first: int, second: int, path: Sequence[bytes], first_root: bytes
) -> tuple[bytes, bytes] | None:
    """The two roots that a consistency proof leads to; None when it has the wrong length or the sizes do not fit.

    Args:
        first: size of the smaller tree.
        second: size of the larger tree.
        path: the proof.
        first_root: root of the smaller tree, which the proof leaves out where it can be taken from there.
    """
    if not 0 <= first <= second or any(len(value) != HASH_BYTES for value in path):
        return None
    if first == second:
        return None if path else (first_root, first_root)
    if first == 0:
        return None
    hashes = list(path)
    if first & (first - 1) == 0:
        hashes.insert(0, first_root)
    if not hashes:
        return None
    position, last = first - 1, second - 1
    while position & 1:
        position >>= 1
        last >>= 1
    small = large = hashes[0]
    for value in hashes[1:]:
        if last == 0:
            return None
        if position & 1 or position == last:
            small, large = node_hash(value, small), node_hash(value, large)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            large = node_hash(large, value)
        position >>= 1
        last >>= 1
    return (small, large) if last == 0 else None


def verify_consistency(first: int, second: int, path: Sequence[bytes], first_root: bytes, second_root: bytes) -> bool:
    """Whether a proof shows that the tree with the first root is the beginning of the tree with the second."""
    if first == 0:
        return second >= 0 and not path and first_root == EMPTY_ROOT and (second > 0 or second_root == EMPTY_ROOT)
    return roots_from_consistency(first, second, path, first_root) == (first_root, second_root)

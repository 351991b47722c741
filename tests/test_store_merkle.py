"""Laws of the Merkle trees: the published vectors, an independent implementation, and what no proof may show.

pymerkle defines three things otherwise than RFC 6962, which the tests bridge: it counts leaves from one; its inclusion
paths begin with the leaf hash itself; and its consistency proofs list every subtree with a rule of how to join them, so
they are compared by what they prove, not by their bytes.
"""

from __future__ import annotations

import hashlib
import random

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caligo.store.audit import merkle, verify_ledger

# Inputs, roots and proofs of the tests of google/certificate-transparency (merkletree/merkle_tree_test.cc).
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
INCLUSIONS = {
    (0, 1): [],
    (0, 8): [A, B, C],
    (5, 8): [D, E, ROOTS[3]],
    (2, 3): [ROOTS[1]],
    (1, 5): [ROOTS[0], B, D],
}
CONSISTENCIES = {(1, 1): [], (1, 8): [A, B, C], (6, 8): [F, E, ROOTS[3]], (2, 5): [B, D]}

LEAVES = [merkle.leaf_hash(bytes.fromhex(text)) for text in INPUTS]


def tree(size: int) -> list[bytes]:
    return [merkle.leaf_hash(b"entry %d" % index) for index in range(size)]


def defined_root(leaves: list[bytes]) -> bytes:
    """The definition of RFC 6962, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + defined_root(leaves[:split]) + defined_root(leaves[split:])).digest()


def hexadecimal(path: list[bytes]) -> list[str]:
    return [value.hex() for value in path]


def test_the_published_vectors_hold() -> None:
    assert merkle.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for size, root in enumerate(ROOTS, 1):
        assert merkle.root(LEAVES[:size]).hex() == root
    for (index, size), path in INCLUSIONS.items():
        assert hexadecimal(merkle.inclusion_path(LEAVES[:size], index)) == path
    for (first, second), path in CONSISTENCIES.items():
        assert hexadecimal(merkle.consistency_path(LEAVES[:second], first)) == path


@pytest.mark.parametrize("size", range(131))
def test_an_independent_implementation_agrees(size: int) -> None:
    leaves, other = tree(size), pymerkle.InmemoryTree(algorithm="sha256")
    for index in range(size):
        other.append_entry(b"entry %d" % index)
    root = merkle.root(leaves)
    assert root == other.get_root() == defined_root(leaves) == verify_ledger.tree_root(leaves)
    for index in range(0, size, 1 + size // 9):
        proof = other.prove_inclusion(index + 1, size)
        assert [leaves[index], *merkle.inclusion_path(leaves, index)] == proof.path
    for first in range(1, size, 1 + size // 9):
        proof = other.prove_consistency(first, size)
        pymerkle.verify_consistency(merkle.root(leaves[:first]), root, proof, first, size, "sha256")
        path = merkle.consistency_path(leaves, first)
        assert merkle.verify_consistency(first, size, path, other.get_root(first), other.get_root())


def test_random_large_trees_agree_with_an_independent_implementation() -> None:
    chance = random.Random(6962)
    other = pymerkle.InmemoryTree(algorithm="sha256")
    leaves = tree(3000)
    for index in range(3000):
        other.append_entry(b"entry %d" % index)
    for _ in range(12):
        size = chance.randrange(200, 3001)
        index, first = chance.randrange(size), chance.randrange(1, size + 1)
        assert merkle.root(leaves[:size]) == other.get_root(size)
        assert [leaves[index], *merkle.inclusion_path(leaves[:size], index)] == other.prove_inclusion(
            index + 1, size
        ).path
        path = merkle.consistency_path(leaves[:size], first)
        assert merkle.verify_consistency(first, size, path, other.get_root(first), other.get_root(size))


def test_every_proof_of_small_trees_verifies_and_is_bound_to_its_place() -> None:
    for size in range(1, 34):
        leaves = tree(size)
        root = merkle.root(leaves)
        for index in range(size):
            path = merkle.inclusion_path(leaves, index)
            assert merkle.verify_inclusion(leaves[index], index, size, path, root)
            assert verify_ledger.root_of_path(leaves[index], index, size, path) == root
            for other in range(size + 2):
                if other != index:
                    assert not merkle.verify_inclusion(leaves[index], other, size, path, root)
            assert not merkle.verify_inclusion(leaves[index], index, size, [*path, root], root)
            if path:
                assert not merkle.verify_inclusion(leaves[index], index, size, path[:-1], root)
        for first in range(size + 1):
            path = merkle.consistency_path(leaves, first)
            before = merkle.root(leaves[:first])
            assert merkle.verify_consistency(first, size, path, before, root)
            assert not merkle.verify_consistency(first, size, [*path, root], before, root)
            assert not merkle.verify_consistency(first, size, path, leaves[0][::-1], root)


def test_a_changed_beginning_has_no_consistency_proof() -> None:
    for size in range(2, 40):
        leaves = tree(size)
        for first in range(1, size):
            forged = [*leaves]
            forged[first // 2] = merkle.leaf_hash(b"forged")
            path = merkle.consistency_path(forged, first)
            assert not merkle.verify_consistency(first, size, path, merkle.root(leaves[:first]), merkle.root(forged))


def test_what_is_outside_the_tree_is_refused() -> None:
    leaves = tree(5)
    for index in (-1, 5):
        with pytest.raises(ValueError, match="index"):
            merkle.inclusion_path(leaves, index)
        assert merkle.root_from_inclusion(leaves[0], index, 5, []) is None
    for first in (-1, 6):
        with pytest.raises(ValueError, match="size"):
            merkle.consistency_path(leaves, first)
        assert merkle.roots_from_consistency(first, 5, [], leaves[0]) is None
    assert merkle.roots_from_consistency(0, 5, [], merkle.EMPTY_ROOT) is None
    assert merkle.roots_from_consistency(3, 5, [], leaves[0]) is None
    assert merkle.roots_from_consistency(3, 5, [b"short"], leaves[0]) is None
    assert not merkle.verify_inclusion(leaves[0], 0, 2, [b"short"], leaves[0])
    assert not merkle.verify_consistency(0, 5, [], leaves[0], merkle.root(leaves))


hashes = st.binary(min_size=32, max_size=32)


@settings(max_examples=150, deadline=None)
@given(leaves=st.lists(hashes, min_size=1, max_size=80), data=st.data())
def test_proofs_verify_and_no_changed_hash_does(leaves: list[bytes], data: st.DataObject) -> None:
    size = len(leaves)
    root = merkle.root(leaves)
    assert root == defined_root(leaves)
    frontier = merkle.Frontier()
    for count, leaf in enumerate(leaves):
        assert frontier.root() == merkle.root(leaves[:count])
        frontier.append(leaf)
    index = data.draw(st.integers(0, size - 1))
    first = data.draw(st.integers(1, size))
    inclusion, consistency = merkle.inclusion_path(leaves, index), merkle.consistency_path(leaves, first)
    before = merkle.root(leaves[:first])
    assert merkle.verify_inclusion(leaves[index], index, size, inclusion, root)
    assert merkle.verify_consistency(first, size, consistency, before, root)
    for path, verifies in (
        (inclusion, lambda path: merkle.verify_inclusion(leaves[index], index, size, path, root)),
        (consistency, lambda path: merkle.verify_consistency(first, size, path, before, root)),
    ):
        if path:
            place, bit = data.draw(st.integers(0, len(path) - 1)), data.draw(st.integers(0, 255))
            value = bytearray(path[place])
            value[bit // 8] ^= 1 << bit % 8
            assert not verifies([*path[:place], bytes(value), *path[place + 1 :]])


@settings(max_examples=200, deadline=None)
@given(
    leaf=hashes,
    index=st.integers(-2, 70),
    size=st.integers(-2, 70),
    path=st.lists(st.binary(min_size=31, max_size=33) | hashes, max_size=9),
)
def test_both_verifiers_agree_on_any_path(leaf: bytes, index: int, size: int, path: list[bytes]) -> None:
    found = merkle.root_from_inclusion(leaf, index, size, path)
    other = verify_ledger.root_of_path(leaf, index, size, path) if all(len(value) == 32 for value in path) else None
    assert found == (other if size > 0 else None)


def test_a_tree_that_is_asked_often_gives_the_same_roots_and_proofs() -> None:
    for size in (*range(70), 127, 128, 129, 1000):
        leaves = tree(size)
        whole = merkle.Tree(leaves)
        assert (whole.size, whole.root()) == (size, merkle.root(leaves))
        for first in range(size + 1):
            assert whole.root(first) == merkle.root(leaves[:first])
            assert whole.consistency_path(first) == merkle.consistency_path(leaves, first)
        with pytest.raises(ValueError, match=f"0 to {size}"):
            whole.consistency_path(size + 1)

"""The tree against the vectors of Certificate Transparency and against RFC 6962's own recursive definition."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.audit.merkle import EMPTY_ROOT, Frontier, Tree, consistency_holds, inclusion_holds, leaf_hash

# The eight inputs and the roots of their prefixes: certificate-transparency-go, merkletree/merkle_tree_test.go (also in
# google/trillian and transparency-dev/merkle, testonly/constants.go).
_INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
_ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def _naive_root(leaves: list[bytes]) -> bytes:
    """MTH(D[n]) word for word, RFC 6962 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + _naive_root(leaves[:k]) + _naive_root(leaves[k:])).digest()


def _naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH(m, D[n]), RFC 6962 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*_naive_path(m, leaves[:k]), _naive_root(leaves[k:])]
    return [*_naive_path(m - k, leaves[k:]), _naive_root(leaves[:k])]


def _naive_subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b), RFC 6962 2.1.2."""
    if m == len(leaves):
        return [] if whole else [_naive_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*_naive_subproof(m, leaves[:k], whole), _naive_root(leaves[k:])]
    return [*_naive_subproof(m - k, leaves[k:], False), _naive_root(leaves[:k])]


def _leaves(count: int) -> list[bytes]:
    return [leaf_hash(index.to_bytes(4, "big")) for index in range(count)]


def test_the_roots_of_certificate_transparency_come_out():
    frontier, tree = Frontier(), Tree()
    assert frontier.root() == tree.root() == EMPTY_ROOT
    for data, root in zip(_INPUTS, _ROOTS, strict=True):
        frontier.append(leaf_hash(data))
        tree.append(leaf_hash(data))
        assert frontier.root().hex() == tree.root().hex() == root


def test_the_proofs_of_certificate_transparency_come_out():
    tree = Tree(leaf_hash(data) for data in _INPUTS)
    # Same source, testInclusionProofs and testConsistencyProofs.
    assert [node.hex() for node in tree.inclusion_proof(5, 8)] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [node.hex() for node in tree.consistency_proof(6, 8)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@given(st.integers(0, 200))
def test_every_tree_has_the_root_that_the_definition_gives(count: int):
    leaves = _leaves(count)
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    assert frontier.root() == Tree(leaves).root() == _naive_root(leaves)
    assert Frontier.from_bytes(count, frontier.to_bytes()).root() == frontier.root()


@given(st.data())
def test_inclusion_proofs_are_those_of_the_definition_and_prove_only_their_leaf(data: st.DataObject):
    size = data.draw(st.integers(1, 100))
    index = data.draw(st.integers(0, size - 1))
    leaves = _leaves(100)
    tree = Tree(leaves)
    proof, root = tree.inclusion_proof(index, size), tree.root(size)
    assert list(proof) == _naive_path(index, leaves[:size])
    assert inclusion_holds(leaves[index], index, size, proof, root)
    other = data.draw(st.integers(0, 99).filter(lambda i: i != index))
    assert not inclusion_holds(leaves[other], index, size, proof, root)
    assert not inclusion_holds(leaves[index], other, size, proof, root)
    assert not inclusion_holds(leaves[index], index, size, [*proof, root], root)
    if proof:
        assert not inclusion_holds(leaves[index], index, size, proof[:-1], root)


@given(st.data())
def test_consistency_proofs_are_those_of_the_definition_and_prove_only_their_trees(data: st.DataObject):
    size = data.draw(st.integers(1, 100))
    old_size = data.draw(st.integers(1, size))
    leaves = _leaves(100)
    tree = Tree(leaves)
    proof = tree.consistency_proof(old_size, size)
    old_root, root = tree.root(old_size), tree.root(size)
    assert list(proof) == _naive_subproof(old_size, leaves[:size], True)
    assert consistency_holds(old_size, old_root, size, root, proof)
    forged = leaf_hash(b"forged")
    assert not consistency_holds(old_size, forged, size, root, proof)
    assert not consistency_holds(old_size, old_root, size, forged, proof)
    assert not consistency_holds(old_size, old_root, size, root, [*proof, root])
    if proof:
        assert not consistency_holds(old_size, old_root, size, root, proof[:-1])
        assert not consistency_holds(old_size, old_root, size, root, [forged, *proof[1:]])


def test_what_a_tree_cannot_prove_is_refused():
    tree = Tree(_leaves(3))
    for index, size in ((3, 3), (-1, 3), (0, 4), (0, 0)):
        with pytest.raises(ValueError, match="cannot prove"):
            tree.inclusion_proof(index, size)
    for old_size, size in ((0, 3), (3, 2), (1, 4)):
        with pytest.raises(ValueError, match="cannot prove"):
            tree.consistency_proof(old_size, size)
    with pytest.raises(ValueError, match="does not have"):
        Frontier(3, [EMPTY_ROOT])


def test_a_record_that_looks_like_a_node_does_not_hash_like_one():
    left, right = _leaves(2)
    assert leaf_hash(b"\x01" + left + right) != Tree([left, right]).root()

"""The Merkle tree of RFC 6962 section 2.1 over SHA-256: roots, inclusion proofs, consistency proofs and their
verification.

Pure: knows no events, no files, no database, so that an outsider can read and repeat it. A leaf and an inner node are
hashed with different prefixes and must never be confused, otherwise a node could be passed off as a record.
"""

import hashlib
from collections.abc import Iterable, Sequence

HASH_LENGTH = 32
"""Bytes of a SHA-256 digest."""

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of the tree without leaves (RFC 6962 2.1)."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of one record: SHA-256(0x00 ‖ data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """What is needed to append to a tree and to know its root: the roots of its perfect subtrees, largest first.

    A tree of n leaves has as many of them as n has one-bits, so at most 64 hashes stand for any log.
    """

    def __init__(self, size: int = 0, roots: Iterable[bytes] = ()) -> None:
        self.size = size
        self._roots = list(roots)
        if size < 0 or len(self._roots) != size.bit_count() or any(len(root) != HASH_LENGTH for root in self._roots):
            raise ValueError(f"a tree of {size} leaves does not have these {len(self._roots)} subtrees")

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> "Frontier":
        """Read what `to_bytes` wrote. Raises ValueError when the length does not fit the size."""
        return cls(size, (data[start : start + HASH_LENGTH] for start in range(0, len(data), HASH_LENGTH)))

    def to_bytes(self) -> bytes:
        """The subtree roots one after the other, 32 bytes each."""
        return b"".join(self._roots)

    def append(self, leaf: bytes) -> None:
        """Add a leaf's hash at the end."""
        node, size = leaf, self.size
        while size & 1:
            node = node_hash(self._roots.pop(), node)
            size >>= 1
        self._roots.append(node)
        self.size += 1

    def root(self) -> bytes:
        """The root of the tree as it stands (Merkle Tree Hash, RFC 6962 2.1)."""
        return _fold(self._roots) if self._roots else EMPTY_ROOT

    def copy(self) -> "Frontier":
        """An independent frontier in the same state."""
        return Frontier(self.size, self._roots)


def _fold(roots: Sequence[bytes]) -> bytes:
    """Join subtree roots, largest first, into one; the smallest are joined first."""
    node = roots[-1]
    for left in reversed(roots[:-1]):
        node = node_hash(left, node)
    return node


class Tree:
    """A whole tree that can prove things. Holds 64 bytes of memory a leaf, and answers each proof in O(log n)."""

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self._levels: list[bytearray] = [bytearray()]
        self.size = 0
        for leaf in leaves:
            self.append(leaf)

    def append(self, leaf: bytes) -> None:
        """Add a leaf's hash at the end."""
        node, index, height = leaf, self.size, 0
        self._levels[0] += node
        while index & 1:
            node = node_hash(self._node(height, index - 1), node)
            index, height = index >> 1, height + 1
            if height == len(self._levels):
                self._levels.append(bytearray())
            self._levels[height] += node
        self.size += 1

    def _node(self, height: int, index: int) -> bytes:
        return bytes(self._levels[height][index * HASH_LENGTH : (index + 1) * HASH_LENGTH])

    def _range(self, start: int, end: int) -> bytes:
        """The Merkle Tree Hash of leaves start … end−1, a range that RFC 6962's recursion visits (so start is
        aligned).
        """
        roots = []
        while start < end:
            height = (end - start).bit_length() - 1
            roots.append(self._node(height, start >> height))
            start += 1 << height
        return _fold(roots)

    def root(self, size: int | None = None) -> bytes:
        """The root of the tree's first `size` leaves, of all when left out. Raises ValueError for more than there
        are.
        """
        size = self.size if size is None else size
        if not 0 <= size <= self.size:
            raise ValueError(f"the tree has {self.size} leaves, not {size}")
        return self._range(0, size) if size else EMPTY_ROOT

    def inclusion_proof(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """PATH(index, D[size]) of RFC 6962 2.1.1, from the leaf upwards. Raises ValueError outside the tree."""
        size = self.size if size is None else size
        if not 0 <= index < size <= self.size:
            raise ValueError(f"a tree of {self.size} leaves cannot prove leaf {index} within the first {size}")
        path, start, end = [], 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start = middle
        return tuple(reversed(path))

    def consistency_proof(self, old_size: int, size: int | None = None) -> tuple[bytes, ...]:
        """PROOF(old_size, D[size]) of RFC 6962 2.1.2; empty when the sizes are equal. Raises ValueError outside the
        tree.
        """
        size = self.size if size is None else size
        if not 0 < old_size <= size <= self.size:
            raise ValueError(f"a tree of {self.size} leaves cannot prove that {size} leaves extend {old_size}")
        proof, start, end, is_old_root = [], 0, size, True
        while old_size != end:
            middle = start + _split(end - start)
            if old_size <= middle:
                proof.append(self._range(middle, end))
                end = middle
            else:
                proof.append(self._range(start, middle))
                start, is_old_root = middle, False
        if not is_old_root:
            proof.append(self._range(start, end))
        return tuple(reversed(proof))


def _split(size: int) -> int:
    """The largest power of two smaller than `size` (k in RFC 6962 2.1); size > 1."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_holds(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `proof` shows that the leaf hash stands at `index` in the tree of `size` leaves (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    position, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and node == root


def consistency_holds(old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the tree of `size` leaves only added to that of `old_size` (RFC 9162 2.1.4.2)."""
    if old_size == size:
        return not proof and old_root == root
    if not 0 < old_size < size:
        return False
    nodes = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    if not nodes:
        return False
    position, last = old_size - 1, size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = nodes[0]
    for sibling in nodes[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and old == old_root and new == root

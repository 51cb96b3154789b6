"""The Merkle tree of RFC 9162 over leaf hashes: root, frontier, inclusion and consistency proofs. Pure.

A frontier is the roots of the perfect subtrees that make up a tree, largest first: one per set bit of the size.
It is all that is needed to append leaves and to know the root, so a checkpoint never reads old entries again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from pipeline_lib.audit.chain import node

EMPTY_ROOT = hashlib.sha256(b"").digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Root of all leaves. Source: RFC 9162 2.1.1."""
    return root_of(extend((), 0, leaves))


def extend(frontier: Sequence[bytes], size: int, leaves: Iterable[bytes]) -> tuple[bytes, ...]:
    """Frontier after appending ``leaves`` to a tree of ``size`` leaves."""
    if len(frontier) != size.bit_count():
        raise ValueError(f"a tree of {size} leaves has {size.bit_count()} perfect subtrees, found {len(frontier)}")
    stack = list(frontier)
    for leaf in leaves:
        carry = size
        while carry & 1:
            leaf = node(stack.pop(), leaf)
            carry >>= 1
        stack.append(leaf)
        size += 1
    return tuple(stack)


def root_of(frontier: Sequence[bytes]) -> bytes:
    """Root of the tree that a frontier stands for."""
    if not frontier:
        return EMPTY_ROOT
    result = frontier[-1]
    for left in reversed(frontier[:-1]):
        result = node(left, result)
    return result


class Tree:
    """All perfect subtrees over the leaves, hashed once, so that many proofs cost little more than one."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.size = len(leaves)
        self._levels = [list(leaves)]
        while len(level := self._levels[-1]) > 1:
            self._levels.append([node(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)])

    def root(self, size: int) -> bytes:
        """Root of the first ``size`` leaves."""
        return self._root(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Path from leaf ``index`` to the root of the first ``size`` leaves. Source: RFC 9162 2.1.3.1."""
        if not 0 <= index < size <= self.size:
            raise ValueError(f"leaf {index} is not in a tree of {size} leaves, of {self.size} known")
        path, start = [], 0
        while size > 1:
            k = _split(size)
            if index < k:
                path.append(self._root(start + k, size - k))
                size = k
            else:
                path.append(self._root(start, k))
                start, index, size = start + k, index - k, size - k
        return path[::-1]

    def consistency(self, old_size: int, size: int) -> list[bytes]:
        """Proof that the tree of ``old_size`` leaves is a prefix of that of ``size``. Source: RFC 9162 2.1.4.1."""
        if not 0 < old_size <= size <= self.size:
            raise ValueError(f"no tree of {old_size} leaves inside one of {size}, of {self.size} known")
        path, start, whole = [], 0, True
        while old_size != size:
            k = _split(size)
            if old_size <= k:
                path.append(self._root(start + k, size - k))
                size = k
            else:
                path.append(self._root(start, k))
                start, old_size, size, whole = start + k, old_size - k, size - k, False
        return path[::-1] if whole else [self._root(start, size), *path[::-1]]

    def _root(self, start: int, size: int) -> bytes:
        """Root of ``size`` leaves from ``start``, which no perfect subtree of that size straddles."""
        if size & (size - 1) == 0:
            level = size.bit_length() - 1
            return self._levels[level][start >> level]
        k = _split(size)
        return node(self._root(start, k), self._root(start + k, size - k))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """``Tree.inclusion`` for one proof."""
    return Tree(leaves).inclusion(index, len(leaves))


def includes(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected_root: bytes) -> bool:
    """Does ``path`` lead from the leaf to the root? Source: RFC 9162 2.1.3.2."""
    if not 0 <= index < size:
        return False
    fn, sn, result = index, size - 1, leaf
    for step in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            result = node(step, result)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            result = node(result, step)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and result == expected_root


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """``Tree.consistency`` for one proof."""
    return Tree(leaves).consistency(old_size, len(leaves))


def consistent(old_size: int, size: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Does ``path`` prove that the old tree is a prefix of the new one? Source: RFC 9162 2.1.4.2."""
    if not 0 < old_size <= size:
        return False
    if old_size == size:
        return not path and old_root == new_root
    steps = [old_root, *path] if old_size & (old_size - 1) == 0 else list(path)
    if not steps:
        return False
    fn, sn = old_size - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old = new = steps[0]
    for step in steps[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            old, new = node(step, old), node(step, new)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = node(new, step)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and old == old_root and new == new_root


def _split(size: int) -> int:
    """Largest power of two smaller than ``size`` (at least 2)."""
    return 1 << ((size - 1).bit_length() - 1)

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


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Path from leaf ``index`` to the root of all ``leaves``. Source: RFC 9162 2.1.3.1."""
    if not 0 <= index < len(leaves):
        raise ValueError(f"leaf {index} is not in a tree of {len(leaves)} leaves")
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*inclusion_proof(leaves[:k], index), root(leaves[k:])]
    return [*inclusion_proof(leaves[k:], index - k), root(leaves[:k])]


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
    """Proof that the tree of the first ``old_size`` leaves is a prefix of this one. Source: RFC 9162 2.1.4.1."""
    if not 0 < old_size <= len(leaves):
        raise ValueError(f"no tree of {old_size} leaves inside one of {len(leaves)}")
    return _subproof(leaves, old_size, True)


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


def _subproof(leaves: Sequence[bytes], old_size: int, whole: bool) -> list[bytes]:
    if old_size == len(leaves):
        return [] if whole else [root(leaves)]
    k = _split(len(leaves))
    if old_size <= k:
        return [*_subproof(leaves[:k], old_size, whole), root(leaves[k:])]
    return [*_subproof(leaves[k:], old_size - k, False), root(leaves[:k])]


def _split(size: int) -> int:
    """Largest power of two smaller than ``size`` (at least 2)."""
    return 1 << ((size - 1).bit_length() - 1)

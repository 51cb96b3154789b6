"""The tree against a second, recursive reading of RFC 9162."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.audit import merkle
from pipeline_lib.audit.chain import leaf

LEAVES = [leaf(b"%d" % number) for number in range(1_024)]


def by_definition(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162 2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + by_definition(leaves[:k]) + by_definition(leaves[k:])).digest()


def test_the_root_is_the_defined_one_for_every_small_size() -> None:
    for size in range(130):
        assert merkle.root(LEAVES[:size]) == by_definition(LEAVES[:size])
    assert merkle.root(LEAVES) == by_definition(LEAVES)


def test_growing_step_by_step_gives_the_same_root_at_every_size() -> None:
    frontier: tuple[bytes, ...] = ()
    for size, item in enumerate(LEAVES):
        frontier = merkle.extend(frontier, size, [item])
        if size % 37 == 0:
            assert merkle.root_of(frontier) == by_definition(LEAVES[: size + 1])


@given(st.integers(1, 1_024), st.data())
def test_inclusion_is_proven_for_the_leaf_and_for_no_other(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path, root = merkle.inclusion_proof(LEAVES[:size], index), merkle.root(LEAVES[:size])
    assert len(path) <= (size - 1).bit_length()
    assert merkle.includes(LEAVES[index], index, size, path, root)
    assert not merkle.includes(leaf(b"another"), index, size, path, root)
    for place in range(len(path)):
        broken = [*path[:place], b"\0" * 32, *path[place + 1 :]]
        assert not merkle.includes(LEAVES[index], index, size, broken, root)
    assert not merkle.includes(LEAVES[index], index, size, [*path, path[0] if path else root], root)
    if path:
        assert not merkle.includes(LEAVES[index], index, size, path[:-1], root)


@given(st.integers(1, 1_024), st.data())
def test_consistency_is_proven_for_a_prefix_and_for_nothing_else(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    path = merkle.consistency_proof(LEAVES[:size], old)
    old_root, root = merkle.root(LEAVES[:old]), merkle.root(LEAVES[:size])
    assert merkle.consistent(old, size, old_root, root, path)
    another = merkle.root([leaf(b"another"), *LEAVES[1:old]])
    assert not merkle.consistent(old, size, another, root, path)
    for place in range(len(path)):
        broken = [*path[:place], b"\0" * 32, *path[place + 1 :]]
        assert not merkle.consistent(old, size, old_root, root, broken)


def test_a_frontier_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="perfect subtrees"):
        merkle.extend([LEAVES[0]], 3, [LEAVES[1]])

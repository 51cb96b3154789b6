"""Where a raw score comes from: every split on a row's path is credited with the change of node value it made.

Bias (the roots' values and the base score) plus all contributions is the raw score, by telescoping, whatever the
values at the nodes are. One pass over the trees, linear in their depth. The kernel does the same in C; this is what
answers without it, and what the kernel is tested against. Source: serving.md 9.1; A. Saabas, "Interpreting random
forests", 2014. Decisions at a node: LightGBM ``Tree::NumericalDecision``, ``Tree::CategoricalDecision``.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from struct import pack, unpack

from pipeline_lib.errors import ContractError
from pipeline_lib.forest.layout import NODE, PROMISES, Forest

_CATEGORICAL, _DEFAULT_LEFT, _MISSING_ZERO, _MISSING_NAN = 1, 2, 1, 2
_ZERO = array("f", [1e-35])[0]
"""LightGBM's kZeroThreshold: what is not above it is zero."""


@dataclass(frozen=True)
class Node:
    threshold: float
    categories: frozenset[int] | None
    """The categories that go left; None: a numerical split."""
    value: float
    feature: int
    decision: int
    left: int
    right: int
    """Children >= 0 are nodes, negative ones are leaves ``~child``."""


@dataclass(frozen=True)
class Tree:
    nodes: tuple[Node, ...]
    leaves: tuple[float, ...]


class Trees:
    """A compiled forest as objects. Raises ContractError when a child, a feature or a category set does not exist."""

    def __init__(self, forest: Forest) -> None:
        self.outputs, self.width = forest.outputs, forest.width
        edges, words = forest.integers("category"), forest.integers("word")
        sets = [_members(words[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
        first, leaf = forest.integers("first_leaf"), forest.reals("leaf")
        rows = list(NODE.iter_unpack(forest.section("node")))
        self.trees = tuple(
            _tree(rows[first[i] - i : first[i + 1] - i - 1], leaf[first[i] : first[i + 1]], sets, self.width)
            for i in range(forest.trees)
        )

    def raw(self, row: Sequence[float]) -> tuple[float, ...]:
        """Raw scores [outputs] of a row [features], read as float32."""
        values, out = array("f", row), [0.0] * self.outputs
        for i, tree in enumerate(self.trees):
            _, value = _walk(tree, values, [0.0] * self.width)
            out[i % self.outputs] += value
        return tuple(out)

    def contributions(self, row: Sequence[float], output: int = 0) -> tuple[float, list[float]]:
        """(bias, one value per feature) of the raw score of one output, base score excluded."""
        values, bias, credit = array("f", row), 0.0, [0.0] * self.width
        for tree in self.trees[output :: self.outputs]:
            root, _ = _walk(tree, values, credit)
            bias += root
        return bias, credit


def _walk(tree: Tree, row: Sequence[float], credit: list[float]) -> tuple[float, float]:
    """Add the path's changes to ``credit``; returns the values of the root and of the leaf."""
    if not tree.nodes:
        return tree.leaves[0], tree.leaves[0]
    at, value = 0, tree.nodes[0].value
    while at >= 0:
        node = tree.nodes[at]
        at = node.left if _goes_left(node, row[node.feature]) else node.right
        after = tree.nodes[at].value if at >= 0 else tree.leaves[~at]
        credit[node.feature] += after - value
        value = after
    return tree.nodes[0].value, value


def _goes_left(node: Node, value: float) -> bool:
    value = 0.0 if abs(value) <= _ZERO else value
    if node.categories is not None:
        return -1 < value < 2**31 and int(value) in node.categories
    missing = (node.decision >> 2) & 3
    if isnan(value) and missing != _MISSING_NAN:
        value = 0.0
    if (missing == _MISSING_ZERO and value == 0) or (missing == _MISSING_NAN and isnan(value)):
        return bool(node.decision & _DEFAULT_LEFT)
    return value <= node.threshold


def _tree(
    rows: Sequence[tuple[int, float, int, int, int, int, int]], leaves: list[float], sets: Sequence[frozenset[int]],
    width: int,
) -> Tree:  # fmt: skip
    if len(rows) != len(leaves) - 1:
        raise ContractError(f"a compiled forest should have {PROMISES[5]}")
    nodes = []
    for i, (at, value, feature, decision, _, left, right) in enumerate(rows):
        if feature >= width or (decision & _CATEGORICAL and at >= len(sets)):
            raise ContractError(f"a compiled forest should have {PROMISES[7]}")
        if not all(i < child < len(rows) if child >= 0 else ~child < len(leaves) for child in (left, right)):
            raise ContractError(f"a compiled forest should have {PROMISES[6]}")
        threshold = unpack("<f", pack("<I", at))[0]
        categories = sets[at] if decision & _CATEGORICAL else None
        nodes.append(Node(threshold, categories, value, feature, decision, left, right))
    return Tree(tuple(nodes), tuple(leaves))


def _members(words: Sequence[int]) -> frozenset[int]:
    return frozenset(32 * i + bit for i, word in enumerate(words) for bit in range(32) if word >> bit & 1)

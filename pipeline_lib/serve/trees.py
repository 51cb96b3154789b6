"""Where a raw score comes from: every split on a row's path is credited with the change of node value it made.

Bias (the roots' values and the base score) plus all contributions is the raw score, by telescoping, whatever the
values at the nodes are. One pass over the trees, linear in their depth. Source: serving.md 9.1; A. Saabas,
"Interpreting random forests", 2014. Decisions at a node: LightGBM ``Tree::NumericalDecision``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from pipeline_lib.errors import ContractError

_DEFAULT_LEFT, _MISSING_ZERO, _MISSING_NAN, _ZERO = 2, 1, 2, 1e-35


@dataclass(frozen=True)
class Tree:
    """Children >= 0 are nodes, negative ones are leaves ``~child``."""

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    decision: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    gain: tuple[float, ...]
    node_value: tuple[float, ...]
    leaf_value: tuple[float, ...]


@dataclass(frozen=True)
class Forest:
    trees: tuple[Tree, ...]
    outputs: int
    """Tree ``i`` belongs to output ``i % outputs``."""
    width: int
    """Number of features."""

    def contributions(self, row: Sequence[float], output: int = 0) -> tuple[float, list[float]]:
        """(bias, one value per feature) of the raw score of one output, base score excluded."""
        bias, credit = 0.0, [0.0] * self.width
        for tree in self.trees[output :: self.outputs]:
            bias += _walk(tree, row, credit)
        return bias, credit


def parse(text: str) -> Forest:
    """Read LightGBM's text format. Raises ContractError for categorical splits, which no student uses."""
    head, *blocks = text.split("\nTree=")
    facts = _fields(head)
    forest = Forest(
        trees=tuple(_tree(_fields(block.split("\n\n", 1)[0])) for block in blocks),
        outputs=int(facts["num_tree_per_iteration"]),
        width=int(facts["max_feature_idx"]) + 1,
    )
    if not forest.trees:
        raise ContractError("a model without trees")
    return forest


def _walk(tree: Tree, row: Sequence[float], credit: list[float]) -> float:
    """Add the path's changes to ``credit``; returns the root's value."""
    if not tree.feature:
        return tree.leaf_value[0]
    node, value = 0, tree.node_value[0]
    while node >= 0:
        feature = tree.feature[node]
        child = tree.left[node] if _goes_left(tree, node, row[feature]) else tree.right[node]
        after = tree.node_value[child] if child >= 0 else tree.leaf_value[~child]
        credit[feature] += after - value
        node, value = child, after
    return tree.node_value[0]


def _goes_left(tree: Tree, node: int, value: float) -> bool:
    decision = tree.decision[node]
    missing = (decision >> 2) & 3
    if isnan(value) and missing != _MISSING_NAN:
        value = 0.0
    if (missing == _MISSING_ZERO and abs(value) <= _ZERO) or (missing == _MISSING_NAN and isnan(value)):
        return bool(decision & _DEFAULT_LEFT)
    return value <= tree.threshold[node]


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.split("\n") if "=" in line)


def _tree(facts: dict[str, str]) -> Tree:
    if facts["num_cat"] != "0" or facts.get("is_linear", "0") != "0":
        raise ContractError("a student's tree has categorical splits or linear leaves; neither is supported")

    def numbers(name: str, kind: Any) -> tuple[Any, ...]:
        return tuple(kind(part) for part in facts.get(name, "").split())

    return Tree(
        numbers("split_feature", int), numbers("threshold", float), numbers("decision_type", int),
        numbers("left_child", int), numbers("right_child", int), numbers("split_gain", float),
        numbers("internal_value", float), numbers("leaf_value", float),
    )  # fmt: skip

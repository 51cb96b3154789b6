"""LightGBM models as text, of any shape: what compiled forests are compared with LightGBM itself on."""

from __future__ import annotations

import math
import random
from array import array

POOL = [0.0, -0.0, 1e-35, -1e-35, 5e-36, 1.0000000180025095e-35, 1e-45, -1e-45, 1e-39, 1.0, 0.1, -0.1, 3.5, 1e10]
EDGES = [3.4028234663852886e38, 1e39, 1e300, math.inf, -3.4028234663852886e38, -1e300, -math.inf]
NAMES = ["a", "나이", "c_3", "d", "e"]


def text(
    rng: random.Random,
    *,
    trees: int = 6,
    outputs: int = 1,
    leaves: int = 8,
    sets: bool = False,
    zeros: bool = False,
    thresholds: list[float] | None = None,
) -> str:
    """A model of random trees.

    Args:
        sets: some splits are on categories; zeros: some read zero as missing.
        thresholds: numbers that splits compare with; else any, edges of float32 among them.
    """
    head = [
        "tree", "version=v4", f"num_class={outputs}", f"num_tree_per_iteration={outputs}", "label_index=0",
        f"max_feature_idx={len(NAMES) - 1}", f"feature_names={' '.join(NAMES)}",
        f"feature_infos={' '.join(['[-inf:inf]'] * len(NAMES))}", "", "",
    ]  # fmt: skip
    blocks = [_tree(rng, i, rng.randint(1, leaves), sets, zeros, thresholds) for i in range(trees * outputs)]
    return "\n".join(head) + "".join(blocks) + "end of trees\n"


def threshold(rng: random.Random) -> float:
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(POOL)
    return rng.choice(EDGES) if kind < 0.5 else rng.gauss(0, 1) * 10 ** rng.randint(-40, 38)


def row(rng: random.Random, thresholds: list[float]) -> list[float]:
    """Float32 values near what a model compares with, missing and extreme ones among them."""
    return [_value(rng, thresholds) for _ in NAMES]


def _value(rng: random.Random, thresholds: list[float]) -> float:
    kind = rng.random()
    if kind < 0.15:
        return math.nan
    if kind < 0.5:
        near = array("f", [rng.choice(thresholds)])[0]
        return _step(near, rng.choice([-1, 0, 0, 1]))
    if kind < 0.7:
        return float(rng.randint(-3, 70))
    return array("f", [threshold(rng)])[0]


def _step(value: float, by: int) -> float:
    """The float32 next to a float32."""
    bits = array("i")
    bits.frombytes(array("f", [value]).tobytes())
    if not math.isfinite(value) or bits[0] in (0, -(2**31)):
        return value
    stepped = array("f")
    stepped.frombytes(array("i", [bits[0] + by]).tobytes())
    return stepped[0]


def _tree(rng: random.Random, number: int, leaves: int, sets: bool, zeros: bool, thresholds: list[float] | None) -> str:
    values = [rng.gauss(0, 1) for _ in range(leaves)]
    if leaves == 1:
        return f"Tree={number}\nnum_leaves=1\nnum_cat=0\nleaf_value={values[0]!r}\nis_linear=0\nshrinkage=1\n\n\n"
    left, right = _children(rng, leaves)
    decisions, at, edges, words = [], [], [0], []
    for _ in range(leaves - 1):
        if sets and rng.random() < 0.4:
            decisions.append(1 | rng.choice([0, 8]))
            at.append(str(len(edges) - 1))
            words += [rng.getrandbits(32) for _ in range(rng.randint(1, 3))]
            edges.append(len(words))
        else:
            missing = rng.choice([0, 1, 2] if zeros else [0, 2])
            decisions.append(missing << 2 | rng.choice([0, 2]))
            at.append(repr(rng.choice(thresholds) if thresholds else threshold(rng)))
    columns = {
        "num_leaves": [leaves], "num_cat": [len(edges) - 1], "split_feature": [rng.randrange(5) for _ in at],
        "split_gain": [1] * len(at), "threshold": at, "decision_type": decisions, "left_child": left,
        "right_child": right, "leaf_value": [repr(v) for v in values],
        "internal_value": [repr(rng.gauss(0, 1)) for _ in at],
        **({"cat_boundaries": edges, "cat_threshold": words} if len(edges) > 1 else {}), "is_linear": [0],
    }  # fmt: skip
    lines = [f"Tree={number}", *(f"{name}={' '.join(map(str, found))}" for name, found in columns.items())]
    return "\n".join(lines) + "\nshrinkage=1\n\n\n"


def _children(rng: random.Random, leaves: int) -> tuple[list[int], list[int]]:
    """As LightGBM grows: a leaf becomes a node whose left child keeps its number."""
    left, right = [-1] * (leaves - 1), [-1] * (leaves - 1)
    parent: dict[int, tuple[int, bool]] = {0: (-1, True)}
    for node in range(leaves - 1):
        leaf = rng.choice(list(parent))
        above, is_left = parent[leaf]
        if above >= 0:
            (left if is_left else right)[above] = node
        left[node], right[node] = ~leaf, ~(node + 1)
        parent[leaf], parent[node + 1] = (node, True), (node, False)
    return left, right

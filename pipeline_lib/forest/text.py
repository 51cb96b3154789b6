"""A compiled forest -> LightGBM's text: what its own library predicts from when the kernel cannot be loaded.

Only what prediction reads; the outputs are raw. Source of the format: LightGBM 4 ``Tree::Tree(const char*)``.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import pack, unpack

from pipeline_lib.forest.layout import NODE, Forest

CATEGORICAL = 1


def text_of(forest: Forest) -> str:
    """The model's text. Predictions of its raw scores are those of the compiled file.

    LightGBM trusts its text, so the indices must have been checked (``serve/trees.py``).
    """
    head = [
        "tree", "version=v4", f"num_class={forest.outputs}", f"num_tree_per_iteration={forest.outputs}",
        "label_index=0", f"max_feature_idx={forest.width - 1}", f"feature_names={' '.join(forest.features)}",
        f"feature_infos={' '.join(['[-inf:inf]'] * forest.width)}", "",
    ]  # fmt: skip
    return "\n".join(head) + "\n" + "".join(_trees(forest)) + "end of trees\n"


def _trees(forest: Forest) -> list[str]:
    first, leaf = forest.integers("first_leaf"), forest.reals("leaf")
    nodes = list(NODE.iter_unpack(forest.section("node")))
    edges, words = forest.integers("category"), forest.integers("word")
    found = []
    for i in range(forest.trees):
        below = nodes[first[i] - i : first[i + 1] - i - 1]
        found.append(f"Tree={i}\n" + _tree(below, leaf[first[i] : first[i + 1]], edges, words))
    return found


def _tree(
    nodes: list[tuple[int, float, int, int, int, int, int]], leaves: list[float], edges: list[int], words: list[int]
) -> str:
    at: list[str] = []
    sets: list[list[int]] = []
    for threshold, _, _, decision, *_ in nodes:
        if decision & CATEGORICAL:
            at.append(str(len(sets)))
            sets.append(words[edges[threshold] : edges[threshold + 1]])
        else:
            at.append(repr(unpack("<f", pack("<I", threshold))[0]))
    lines: dict[str, Iterable[object]] = {"num_leaves": [len(leaves)], "num_cat": [len(sets)]}
    columns: dict[str, Iterable[object]] = {
        "split_feature": [n[2] for n in nodes], "threshold": at, "decision_type": [n[3] for n in nodes],
        "left_child": [n[5] for n in nodes], "right_child": [n[6] for n in nodes],
    }  # fmt: skip
    if sets:
        edge = [0]
        for members in sets:
            edge.append(edge[-1] + len(members))
        columns |= {"cat_boundaries": edge, "cat_threshold": [word for members in sets for word in members]}
    lines |= {**(columns if nodes else {}), "leaf_value": [repr(value) for value in leaves], "is_linear": [0]}
    return "".join(f"{name}={' '.join(map(str, values))}\n" for name, values in lines.items()) + "\n\n"

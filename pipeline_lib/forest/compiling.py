"""LightGBM's text format -> a compiled forest. Standard library alone: packaging and an old version's start use it.

Trees are renumbered: nodes in preorder, leaves from left to right, so that the leaves below a node are a range and a
node's left subtree is a run of bits. Trees keep their order, and so does the sum of their values.
Source of the format: LightGBM 4 ``Tree::ToString``, ``Tree::NumericalDecision``, ``Tree::CategoricalDecision``.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isinf, isnan
from struct import pack, unpack
from typing import Any

from pipeline_lib.errors import ContractError
from pipeline_lib.forest import layout

CATEGORICAL, DEFAULT_LEFT, MISSING_NONE, MISSING_ZERO, MISSING_NAN = 1, 2, 0, 1, 2
MASKS, MOST_LEAVES, MOST_TREES = (32, 64), 32767, 65536
_IDENTITY = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
_EXP = ("poisson", "gamma", "tweedie")


@dataclass
class _Parts:
    """Sections while they grow."""

    leaf: array[float] = field(default_factory=lambda: array("d"))
    node: list[bytes] = field(default_factory=list)
    first_leaf: array[int] = field(default_factory=lambda: array("I", [0]))
    category: array[int] = field(default_factory=lambda: array("I", [0]))
    word: array[int] = field(default_factory=lambda: array("I"))
    sorted: list[tuple[int, bool, float, int, int]] = field(default_factory=list)
    """(feature, NaN goes right, threshold, tree, leaves of the left subtree as bits)."""
    walked: bool = False
    """Something bit vectors do not hold: categories, or zero as missing."""
    most_leaves: int = 1


def compile_text(text: str, where: str) -> bytes:
    """The compiled file of a model.

    Raises:
        ContractError: no LightGBM text, or a model that cannot be compiled (linear leaves, averaged outputs, an
            objective whose output is not known); ``where`` names it.
    """
    head, *blocks = text.split("\nTree=")
    try:
        facts, parts = _fields(head), _Parts()
        for number, block in enumerate(blocks):
            _add(parts, _fields(block), number)
        return _file(facts, parts, len(blocks))
    except (KeyError, ValueError, IndexError, OverflowError) as error:
        raise ContractError(f"{where}: no LightGBM model: {type(error).__name__} {error}") from error
    except ContractError as error:
        raise ContractError(f"{where}: {error}") from error


def _file(facts: Mapping[str, str], parts: _Parts, trees: int) -> bytes:
    outputs, names = int(facts["num_tree_per_iteration"]), facts["feature_names"].split(" ")
    if not trees or trees % outputs or "average_output" in facts:
        raise ContractError(f"{trees} trees for {outputs} outputs, or outputs that are averages")
    if len(names) != int(facts["max_feature_idx"]) + 1:
        raise ContractError(f"{len(names)} feature names for {int(facts['max_feature_idx']) + 1} features")
    objective, parameter = _objective(facts.get("objective"))
    fits = next((bits for bits in MASKS if parts.most_leaves <= bits), 0)
    bits = 0 if parts.walked or trees > MOST_TREES else fits
    encoded = " ".join(names).encode("utf-8")
    header = layout.HEADER.pack(
        layout.MAGIC, layout.VERSION, bits, outputs, len(names), trees, len(parts.leaf), len(parts.category) - 1,
        len(parts.word), objective, len(encoded), parameter, 0,
    )  # fmt: skip
    mask, threshold, start, tree = _sorted(parts, len(names), bits)
    sections = (
        parts.leaf.tobytes(), mask, b"".join(parts.node), parts.first_leaf.tobytes(), threshold, start,
        parts.category.tobytes(), parts.word.tobytes(), tree,
    )  # fmt: skip
    return header + layout.packed(sections) + encoded


def _add(parts: _Parts, facts: Mapping[str, str], number: int) -> None:
    """One tree, its nodes in preorder and its leaves from left to right."""
    if facts.get("is_linear", "0") != "0":
        raise ContractError("linear leaves are not supported")
    leaves = int(facts["num_leaves"])
    if not 1 <= leaves <= MOST_LEAVES:
        raise ContractError(f"a tree of {leaves} leaves, 1 to {MOST_LEAVES} are supported")
    values = _numbers(facts, "leaf_value", float, leaves)
    leaf_order = [0]
    if leaves > 1:
        left = _numbers(facts, "left_child", int, leaves - 1)
        right = _numbers(facts, "right_child", int, leaves - 1)
        order, leaf_order = _preorder(left, right)
        _add_nodes(parts, facts, number, order, leaf_order, left, right)
    parts.leaf.extend(values[i] for i in leaf_order)
    parts.first_leaf.append(len(parts.leaf))
    parts.most_leaves = max(parts.most_leaves, leaves)


def _preorder(left: Sequence[int], right: Sequence[int]) -> tuple[list[int], list[int]]:
    """Nodes in preorder, and leaves from left to right, by their numbers in the text."""
    order: list[int] = []
    leaves: list[int] = []
    waiting = [0]
    while waiting:
        child = waiting.pop()
        if child < 0:
            leaves.append(~child)
        else:
            order.append(child)
            waiting += [right[child], left[child]]
        if len(order) > len(left):
            raise ContractError("the children of a tree run in circles")
    if sorted(order) != list(range(len(left))) or sorted(leaves) != list(range(len(left) + 1)):
        raise ContractError("the children of a tree do not reach every node and leaf once")
    return order, leaves


def _add_nodes(
    parts: _Parts, facts: Mapping[str, str], number: int, order: Sequence[int], leaf_order: Sequence[int],
    left: Sequence[int], right: Sequence[int],
) -> None:  # fmt: skip
    count = len(order)
    feature = _numbers(facts, "split_feature", int, count)
    decision = _numbers(facts, "decision_type", int, count)
    thresholds = _numbers(facts, "threshold", float, count)
    means = _numbers(facts, "internal_value", float, count)
    place = {node: i for i, node in enumerate(order)} | {~leaf: ~i for i, leaf in enumerate(leaf_order)}
    first = dict.fromkeys(order, 0)
    sets = _sets(parts, facts)
    for node in reversed(order):
        below = left[node]
        first[node] = ~place[below] if below < 0 else first[below]
    for node in order:
        after = ~place[right[node]] if right[node] < 0 else first[right[node]]
        kind, is_set = decision[node], bool(decision[node] & CATEGORICAL)
        threshold = 0.0 if is_set else floor32(thresholds[node])
        at = pack("<I", sets + int(thresholds[node])) if is_set else pack("<f", threshold)
        parts.node.append(
            at + pack("<fHBBhh", means[node], feature[node], kind, 0, place[left[node]], place[right[node]])
        )
        parts.walked |= is_set or (kind >> 2) & 3 == MISSING_ZERO
        parts.sorted.append(
            (feature[node], not _nan_left(kind, threshold), threshold, number, (1 << after) - (1 << first[node]))
        )


def _sets(parts: _Parts, facts: Mapping[str, str]) -> int:
    """Take a tree's sets of categories over; returns the number of the first."""
    first, count = len(parts.category) - 1, int(facts.get("num_cat", "0"))
    if count:
        edges, words = _numbers(facts, "cat_boundaries", int, count + 1), facts["cat_threshold"].split()
        parts.category.extend(len(parts.word) + edge for edge in edges[1:])
        parts.word.extend(int(word) for word in words)
        if edges[0] != 0 or sorted(edges) != edges or edges[-1] != len(words):
            raise ContractError("sets of categories that do not fit their words")
    return first


def _sorted(parts: _Parts, width: int, bits: int) -> tuple[bytes, bytes, bytes, bytes]:
    """(mask, threshold, start, tree) of the nodes as bit vectors read them; empty without ``bits``."""
    if not bits:
        return b"", b"", b"", b""
    nodes = sorted(parts.sorted, key=lambda node: node[:4])
    groups = [0] * (2 * width)
    for feature, nan_right, *_ in nodes:
        groups[2 * feature + nan_right] += 1
    start = array("I", [0])
    for count in groups:
        start.append(start[-1] + count)
    every = (1 << bits) - 1
    mask = array("I" if bits == 32 else "Q", [every ^ node[4] for node in nodes])
    threshold, tree = array("f", [node[2] for node in nodes]), array("H", [node[3] for node in nodes])
    return mask.tobytes(), threshold.tobytes(), start.tobytes(), tree.tobytes()


def floor32(threshold: float) -> float:
    """The largest float32 not above a threshold. Raises ContractError for NaN."""
    if isnan(threshold):
        raise ContractError("a threshold that is not a number")
    near: float = array("f", [threshold])[0]
    if near <= threshold:
        return near
    if isinf(near):
        return float(unpack("<f", pack("<I", 0x7F7FFFFF))[0])
    (bits,) = unpack("<i", pack("<f", near))
    below = -0x7FFFFFFF if near == 0 else bits - 1 if bits > 0 else bits + 1  # the first below zero is -2^-149
    return float(unpack("<f", pack("<i", below))[0])


def _nan_left(decision: int, threshold: float) -> bool:
    """Where NaN goes: a split that knows no missing values reads it as zero."""
    if (decision >> 2) & 3 == MISSING_NONE:
        return threshold >= 0
    return bool(decision & DEFAULT_LEFT)


def _objective(text: str | None) -> tuple[int, float]:
    """(what makes outputs of raw scores, its parameter)."""
    name, *options = (text or "").split(" ")
    settings = dict(option.split(":", 1) for option in options if ":" in option)
    if not name or name == "custom":
        return layout.RAW, 0.0
    if name in _IDENTITY and "sqrt" not in options:
        return layout.IDENTITY, 0.0
    if name == "binary":
        return layout.SIGMOID, float(settings["sigmoid"])
    if name == "cross_entropy":
        return layout.SIGMOID, 1.0
    if name == "multiclass":
        return layout.SOFTMAX, 0.0
    if name in _EXP:
        return layout.EXP, 0.0
    raise ContractError(f"no known output of the objective {text!r}")


def _fields(block: str) -> dict[str, str]:
    lines = block.split("\n\n", 1)[0].split("\n")
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def _numbers(facts: Mapping[str, str], name: str, kind: Any, count: int) -> list[Any]:
    found = [kind(part) for part in facts[name].split()]
    if len(found) != count:
        raise ContractError(f"{len(found)} values of {name}, expected {count}")
    return found

"""Where a customer's spend lies in the category tree, in the Poincare ball: hyperbolic_embedding.

Only tangent vectors and distances leave this module, never coordinates of the ball. Source: features.md 8.4.
"""

from __future__ import annotations

import re

import numpy as np

from pipeline_lib.features.ball import distance, log0, lorentz, midpoint, origin_distance
from pipeline_lib.features.columns import Column, Floats, Values, nan_where
from pipeline_lib.features.generator import Arrays, Generator, GroupUnavailable, Shape, seed_of
from pipeline_lib.features.hierarchy_spend import in_blocks, leaf_of, leaf_spend, on, spend_column, train_spend
from pipeline_lib.features.inputs import usable_categories
from pipeline_lib.features.material import Material
from pipeline_lib.features.stream import Window
from pipeline_lib.features.trees import Ints, Tree, category_tree, embed
from pipeline_lib.settings.feature_groups.hierarchy import Hierarchy
from pipeline_lib.settings.features import Features

TREE = "category_tree"
_DEPTHS = ("hyp_depth_mean", "hyp_depth_max", "hyp_depth_std", "hyp_depth_p90")
_TOP_SHARE = 0.9
_ROUNDING = 1e-12


def generator(shape: Shape, policy: Features) -> Generator:
    """8 = log0(gyromidpoint of the leaves, weighted by decayed spend); 4 = mean, max, standard deviation and 90th
    percentile of the leaves' distance from the origin, weighted; 8 = distance of the midpoint to the level-1
    categories with most train spend, named after them and in the order of the taxonomy.
    """
    own, place = policy.hierarchy, leaf_of(shape.categories)
    first = tuple(f"hyp_{i:02d}" for i in range(own.category_dim))
    fixed = (*(spend_column(n, "emb") for n in first), *(spend_column(n, "num") for n in _DEPTHS))
    anchors = _anchor_columns(shape)

    def fit(m: Material, made: Values) -> Arrays:
        tree, by_l1 = branches(m, shape, own)
        top = np.sort(np.lexsort((np.arange(len(by_l1)), -by_l1))[: own.anchors])
        return {"points": category_points(tree, own), "anchors": top}

    def make(m: Material, learnt: Arrays, made: Values) -> Values:
        names = [column.name for column in (*fixed, *(anchors[i] for i in learnt["anchors"]))]
        tree = category_tree(shape.categories)
        return in_blocks(m, names, lambda window: _block(window, tree, place, learnt, own.decay_days))

    return Generator(
        (*fixed, *anchors),
        make,
        fit,
        columns_of=lambda learnt, known: (*fixed, *(anchors[i] for i in learnt["anchors"])),
        block="hyper_emb",
    )


def branches(m: Material, shape: Shape, own: Hierarchy) -> tuple[Tree, Floats]:
    """The category tree, and the train spend on its level-1 categories [L1].

    Raises:
        GroupUnavailable: fewer than ``own.min_branches`` of them have any: a place in the tree is then no more than a
            share or two, many times over.
    """
    place = leaf_of(shape.categories)
    if place.max() < 0:
        raise GroupUnavailable("the source has no category that customers choose")
    tree = category_tree(shape.categories)
    by_l1 = np.bincount(tree.above(1), weights=train_spend(m, place, own.decay_days)).astype(np.float64)
    if (used := int((by_l1 > 0).sum())) < own.min_branches:
        raise GroupUnavailable(f"train spends in {used} level-1 categories, expected at least {own.min_branches}")
    return tree, by_l1


def category_points(tree: Tree, own: Hierarchy) -> Floats:
    """Points of all nodes of the category tree [N, dim], the same in every group that reads them."""
    return embed(tree, own.category_dim, own.ball, seed_of(TREE))


def _anchor_columns(shape: Shape) -> tuple[Column, ...]:
    """One candidate per level-1 category of a leaf, in the tree's order."""
    chosen = shape.categories.join(usable_categories(shape.categories).select("mcc_idx"), on="mcc_idx")
    names = chosen.select("l1_id", "l1").unique().sort("l1_id")["l1"]
    return tuple(spend_column(f"hyp_to_{re.sub(r'[^a-z0-9]+', '_', name.lower())}", "num") for name in names)


def _block(window: Window, tree: Tree, place: Ints, learnt: Arrays, decay_days: float) -> Floats:
    """[B, columns] in schema order."""
    points, weights = learnt["points"], leaf_spend(window, place, decay_days).year
    leaves = points[tree.leaves]
    centre = midpoint(on(weights, lorentz(leaves)))
    anchors = points[tree.nodes(1)[learnt["anchors"]]]
    to_anchors = distance(centre[:, None], anchors[None])
    return np.hstack([log0(centre), _depths(weights, origin_distance(leaves)), to_anchors])


def _depths(weights: Floats, depth: Floats) -> Floats:
    """Weighted mean, maximum, standard deviation and 90th percentile of ``depth`` [leaves] -> [R, 4]."""
    total = weights.sum(axis=1)
    safe = np.where(total > 0, total, np.nan)
    mean = on(weights, depth[:, None])[:, 0] / safe
    spread = (weights * (depth[None] - mean[:, None]) ** 2).sum(axis=1) / safe
    deepest = np.where(weights > 0, depth[None], -np.inf).max(axis=1)
    order = np.argsort(depth, kind="stable")
    reached = weights[:, order].cumsum(axis=1) >= (_TOP_SHARE - _ROUNDING) * total[:, None]
    p90 = depth[order][reached.argmax(axis=1)]
    bare = total == 0
    return np.stack([mean, nan_where(bare, deepest), np.sqrt(spread), nan_where(bare, p90)], axis=1)

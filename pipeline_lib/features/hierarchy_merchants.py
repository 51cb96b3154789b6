"""How a customer's spend is spread over the category tree and over merchants: merchant_hierarchy.

Where the published definition repeats a column of another group, ours differs and keeps the name's meaning:
``mh_merchants`` counts 90 days (360 would be ``unique_merchants`` again) and ``mh_freshness`` is weighted by spend
(unweighted it would be a function of ``recency_days``). Source: features.md 8.5 and F11.
"""

from __future__ import annotations

import numpy as np

from pipeline_lib.features.ball import distance, log0, lorentz, midpoint, norm
from pipeline_lib.features.columns import Column, Floats, Kind, Values, nan_where
from pipeline_lib.features.generator import Arrays, Generator, GroupUnavailable, Shape
from pipeline_lib.features.graph import axes_of
from pipeline_lib.features.hierarchy_aggregates import AGGREGATES, aggregates
from pipeline_lib.features.hierarchy_spend import (
    QUARTERS,
    LeafSpend,
    in_blocks,
    leaf_of,
    leaf_spend,
    on,
    purchases,
    spend_column,
)
from pipeline_lib.features.hyperbolic import branches, category_points
from pipeline_lib.features.material import Material
from pipeline_lib.features.stream import Window
from pipeline_lib.features.trees import Tree, category_tree
from pipeline_lib.settings.feature_groups.hierarchy import Hierarchy
from pipeline_lib.settings.features import Features

L1_RADIUS, L2_RADIUS = 0.5, 0.8
"""Planar layout: deeper nodes are nearer the rim."""
_NO_DIRECTION = 1e-9


def generator(shape: Shape, policy: Features) -> Generator:
    """Coordinates 8, components of the level-2 shares <= 8, aggregates 4, depth 3, spread 4. No purchase: NaN."""
    own = policy.hierarchy
    columns = _columns(own.share_components)
    place = leaf_of(shape.categories)

    def fit(m: Material, made: Values) -> Arrays:
        tree, _ = branches(m, shape, own)
        axes = axes_of(_share_gram(m, tree, own), own.share_components)
        if axes.shape[1] < 2:
            raise GroupUnavailable(f"the level-2 spend shares of train have rank {axes.shape[1]}")
        return {"points": category_points(tree, own)[tree.leaves], "axes": axes}

    def make(m: Material, learnt: Arrays, made: Values) -> Values:
        names = [column.name for column in _columns(learnt["axes"].shape[1])]
        tree = category_tree(shape.categories)

        def block(window: Window) -> Floats:
            return _of_tree(leaf_spend(window, place, own.decay_days), aggregates(window, own), tree, learnt)

        return in_blocks(m, names, block)

    return Generator(
        columns, make, fit, columns_of=lambda learnt, known: _columns(learnt["axes"].shape[1]), block="hyper_emb"
    )


def layout(tree: Tree) -> tuple[Floats, Floats]:
    """Plane positions of the level-1 [n1, 2] and level-2 [n2, 2] nodes.

    Level-2 nodes divide the circle equally, in the order of their parents; a level-1 node points to the middle of its
    children, so every child lies in its parent's sector.
    """
    parent = np.asarray(tree.parent)[tree.nodes(2)] - tree.nodes(1)[0]
    turn = (np.arange(len(parent)) + 0.5) / len(parent)
    middle = np.bincount(parent, weights=turn) / np.bincount(parent)
    return L1_RADIUS * _on_circle(middle), L2_RADIUS * _on_circle(turn)


def _columns(components: int) -> tuple[Column, ...]:
    polar: dict[str, Kind] = {"x": "emb", "y": "emb", "radius": "num", "angle": "cyc"}
    tangent = [spend_column(f"mh_l{level}_{name}", kind) for level in (1, 2) for name, kind in polar.items()]
    shares = [spend_column(f"mh_share_{i}", "emb") for i in range(components)]
    depth = [spend_column(name, "num") for name in ("mh_l1_effective", "mh_l2_effective", "mh_same_direction")]
    spread = [spend_column(f"mh_spread_{i + 1}", "num") for i in range(QUARTERS)]
    return (*tangent, *shares, *AGGREGATES, *depth, *spread)


def _of_tree(spend: LeafSpend, merchants: Floats, tree: Tree, learnt: Arrays) -> Floats:
    """Coordinates, shares, ``merchants`` [B, 4], depth and spread [B, 8 + components + 4 + 3 + 4]."""
    year, (l1_place, l2_place) = spend.year, layout(tree)
    l1, l2 = (on(year, _members(tree, level)) for level in (1, 2))
    first, second = (log0(midpoint(on(w, lorentz(p)))) for w, p in ((l1, l1_place), (l2, l2_place)))
    shares = _unit(on(_shares(l2), learnt["axes"]))
    depth = np.stack([_effective(l1), _effective(l2), _same_direction(first, second)], axis=1)
    return np.hstack([_polar(first), _polar(second), shares, merchants, depth, _spread(spend, learnt["points"])])


def _share_gram(m: Material, tree: Tree, own: Hierarchy) -> Floats:
    """Sum over rows of the outer product of the level-2 spend shares [L2, L2]."""
    place, member = leaf_of(m.categories), _members(tree, 2)
    gram = np.zeros((member.shape[1], member.shape[1]))
    for _, window in purchases(m):
        shares = np.nan_to_num(_shares(on(leaf_spend(window, place, own.decay_days).year, member)))
        gram += np.einsum("ri,rj->ij", shares, shares)
    return gram


def _members(tree: Tree, level: int) -> Floats:
    """1 where a leaf lies under a node of the level [leaves, nodes]."""
    above = tree.above(level)
    out = np.zeros((len(above), len(tree.nodes(level))))
    out[np.arange(len(above)), above] = 1.0
    return out


def _spread(spend: LeafSpend, points: Floats) -> Floats:
    """Mean hyperbolic distance of each quarter's leaves from the year's midpoint, weighted [B, 4], oldest first."""
    apart = distance(midpoint(on(spend.year, lorentz(points)))[:, None], points[None])
    weight = spend.quarters.sum(axis=2)
    near: Floats = (spend.quarters * apart[:, None]).sum(axis=2)
    return np.asarray(near / np.where(weight > 0, weight, np.nan))


def _shares(weights: Floats) -> Floats:
    total = weights.sum(axis=1, keepdims=True)
    return np.asarray(weights / np.where(total > 0, total, np.nan))


def _effective(weights: Floats) -> Floats:
    """exp(entropy of the shares) / number of categories: the share of categories in even use (0..1] [R]."""
    shares = _shares(weights)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=1)
    return np.asarray(np.exp(entropy) / weights.shape[1])


def _polar(tangent: Floats) -> Floats:
    """x, y, radius, angle / pi [R, 4]; no angle at the origin."""
    radius = norm(tangent)
    angle = nan_where(~(radius > _NO_DIRECTION), np.arctan2(tangent[:, 1], tangent[:, 0]) / np.pi)
    return np.column_stack([tangent, radius, angle])


def _same_direction(a: Floats, b: Floats) -> Floats:
    """(1 + cosine) / 2 of two vectors [R]; NaN where one has no direction."""
    length = norm(a) * norm(b)
    dot = a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1]
    return np.asarray((1.0 + dot / np.where(length > _NO_DIRECTION**2, length, np.nan)) / 2.0)


def _unit(vectors: Floats) -> Floats:
    length = norm(vectors)[:, None]
    return np.asarray(vectors / np.where(length > 0, length, np.nan))


def _on_circle(turn: Floats) -> Floats:
    return np.stack([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)], axis=1)

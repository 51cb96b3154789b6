"""Where a customer's holdings lie in the tree root -> families -> products: product_hierarchy.

Source: features.md 8.2.
"""

from __future__ import annotations

import numpy as np

from pipeline_lib.contracts.tables import product_column
from pipeline_lib.features.ball import log0, lorentz, midpoint, origin_distance
from pipeline_lib.features.columns import PRODUCTS, SNAPSHOT, Column, Floats, Kind, Values, ratio
from pipeline_lib.features.generator import Arrays, Generator, GroupUnavailable, Shape, seed_of
from pipeline_lib.features.hierarchy_spend import on
from pipeline_lib.features.material import Material
from pipeline_lib.features.trees import embed, product_tree
from pipeline_lib.settings.features import Features

GROUP = "product_hierarchy"


def generator(shape: Shape, policy: Features) -> Generator:
    """32 = log0(gyromidpoint of the held products, weighted by the months they were held); ``ph_norm`` = distance of
    that midpoint from the origin; ``ph_depth`` = mean distance of the held products. Nothing held: NaN.
    """
    own = policy.hierarchy
    lineage = tuple(f"{SNAPSHOT}.{name}" for name in (*map(product_column, shape.products), "snapshot_date"))
    kinds: dict[str, Kind] = {f"ph_{i:02d}": "emb" for i in range(own.product_dim)}
    columns = tuple(
        Column(name, kind, lineage, (PRODUCTS,))
        for name, kind in {**kinds, "ph_norm": "num", "ph_depth": "num"}.items()
    )

    def fit(m: Material, made: Values) -> Arrays:
        if len(set(shape.families)) == len(shape.products):
            raise GroupUnavailable("no family has two products: the tree says no more than the holdings")
        tree = product_tree(shape.families)
        return {"points": embed(tree, own.product_dim, own.ball, seed_of(GROUP))[tree.leaves]}

    return Generator(columns, _make, fit, block="collab_emb")


def _make(m: Material, learnt: Arrays, made: Values) -> Values:
    held, points = m.history.held_now, learnt["points"]
    months: Floats = np.where(held, m.history.months_held, 0).astype(np.float64)
    centre = midpoint(on(months, lorentz(points)))
    depth = on(held.astype(np.float64), origin_distance(points)[:, None])[:, 0]
    place = log0(centre)
    return {
        **{f"ph_{i:02d}": place[:, i] for i in range(place.shape[1])},
        "ph_norm": origin_distance(centre),
        "ph_depth": ratio(depth, held.sum(axis=1).astype(np.float64)),
    }

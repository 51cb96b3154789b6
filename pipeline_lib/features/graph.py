"""Relation to items through the customer-item graph: graph_collaborative and graph_stats.

A customer's vector is a sum over the customer's own edges of frozen item vectors. It is computed by the same formula
for train rows and for customers never seen, and no other row enters it (L23). Source: features.md 8.1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import coo_array, csr_array, hstack

from pipeline_lib.contracts.tables import product_column
from pipeline_lib.features.ball import norm
from pipeline_lib.features.columns import CATEGORY, EVENT, SNAPSHOT, Column, Floats, Kind, Values, nan_where
from pipeline_lib.features.generator import Arrays, Generator, GroupUnavailable, Shape, seed_of
from pipeline_lib.features.hierarchy_spend import leaf_of
from pipeline_lib.features.inputs import usable_categories
from pipeline_lib.features.lightgcn import Items, Sampler, row_of, train
from pipeline_lib.features.material import Material
from pipeline_lib.features.stream import LOOKBACK_DAYS
from pipeline_lib.settings.feature_groups.graph import Graph, LightGcn
from pipeline_lib.settings.features import Features

COLLABORATIVE = "graph_collaborative"
_SMALLEST_SHARE = 1e-10
"""Eigenvalues below this share of the largest are rounding."""


def graph_collaborative(shape: Shape, policy: Features) -> Generator:
    """A customer's vector is X Q with x_ui = w_ui / sqrt(d_u d_i) and Q learnt from train rows [items, width].

    ``svd``: X ~ U S V', Q = V, so that train rows have U S. ``lightgcn``: Q of ``lightgcn.Items``. Frozen per item is
    Q_i / sqrt(d_i); ``places`` is what the vector is compared with by a dot product to rank items. Edges: 1 for a
    product held at the cutoff, ln1p(events of 360 d) / its train mean for a category. An item that train never saw
    has no place in the graph and is no edge. No edge: NaN.
    """
    own = policy.graph
    items = len(shape.products) + len(usable_categories(shape.categories))
    columns = tuple(_column(shape, f"graph_{i:02d}", "emb") for i in range(min(own.width, items - 1)))

    def fit(m: Material, made: Values) -> Arrays:
        if own.backend == "none":
            raise GroupUnavailable("features.yaml: graph.backend is none")
        return _fit(m, shape, len(columns), own)

    return Generator(
        columns,
        lambda m, learnt, made: _make(m, shape, learnt),
        fit,
        columns_of=lambda learnt, known: columns[: learnt["items"].shape[1]],
        block="collab_emb",
        backend=own.backend,
    )


def graph_stats(shape: Shape, policy: Features) -> Generator:
    """Length of the customer's vector, and ln1p of the number of edges."""

    def fit(m: Material, made: Values) -> Arrays:
        if not made:
            raise GroupUnavailable(f"{COLLABORATIVE} is not built")
        return {"seen": _seen(edges_of(m, shape, 1.0))}

    def make(m: Material, learnt: Arrays, made: Values) -> Values:
        vector = np.stack(list(made.values()), axis=1)
        count = (edges_of(m, shape, 1.0) > 0) @ learnt["seen"].astype(np.float64)
        return {"graph_norm": norm(vector), "graph_degree": nan_where(count == 0, np.log1p(count))}

    columns = (_column(shape, "graph_norm", "num"), _column(shape, "graph_degree", "num"))
    return Generator(columns, make, fit, after=(COLLABORATIVE,))


def edges_of(m: Material, shape: Shape, scale: float) -> csr_array:
    """Edge weights [R, products + categories]; those to categories are divided by ``scale``."""
    row, mcc, count = (m.category_use[name].cast(pl.Int64).to_numpy() for name in ("row_id", "mcc_idx", "n_year"))
    leaf = leaf_of(shape.categories)[mcc]
    known = leaf >= 0
    size = (len(m), len(usable_categories(shape.categories)))
    categories = coo_array((np.log1p(count[known]) / scale, (row[known], leaf[known])), shape=size)
    out = csr_array(hstack([csr_array(m.history.held_now.astype(np.float64)), categories]))
    out.sort_indices()
    return out


def axes_of(gram: Floats, width: int) -> Floats:
    """Leading eigenvectors of a Gram matrix [n, n] as columns [n, <= width]; their largest entry is positive.

    Fewer than ``width`` where the rank is smaller.
    """
    values, vectors = np.linalg.eigh(gram)
    keep = np.flatnonzero(values[::-1] > max(values[-1], 0.0) * _SMALLEST_SHARE)[:width]
    axes = vectors[:, ::-1][:, keep]
    largest = np.abs(axes).argmax(axis=0)
    return np.asarray(axes * np.sign(axes[largest, np.arange(axes.shape[1])]))


def _fit(m: Material, shape: Shape, width: int, policy: Graph) -> Arrays:
    order = m.rows.select(pl.arg_sort_by("customer_key", "cutoff_date")).to_series().to_numpy()
    counted = edges_of(m, shape, 1.0)[order]  # rows in any order give the same bytes
    to_category = counted.indices >= len(shape.products)
    scale = float(counted.data[to_category].mean()) if to_category.any() else 1.0
    edges = edges_of(m, shape, scale)[order]
    degree = np.asarray(edges.sum(axis=0))
    by_item = _inverse_root(degree)
    normal = csr_array(edges * _inverse_root(np.asarray(edges.sum(axis=1)))[:, None] * by_item[None])
    if policy.backend == "svd":
        items = _decomposed(normal, np.sqrt(degree), width)
    else:
        items = _trained(edges, normal, m.history.added[order], width, policy.lightgcn)
    return {
        "items": items.towards * by_item[:, None],
        "places": items.places,
        "seen": _seen(edges),
        "scale": np.array([scale]),
    }


def _decomposed(normal: csr_array, root: Floats, width: int) -> Items:
    """Places are V times the root of the item's degree: the dot product is then X's approximation with its items'
    normalisation undone.
    """
    axes = axes_of((normal.T @ normal).toarray(), width)
    if axes.shape[1] < 2:
        raise GroupUnavailable(
            f"the train graph has rank {axes.shape[1]}: {normal.nnz} edges of {normal.shape[0]} rows"
        )
    return Items(axes, axes * root[:, None])


def _trained(edges: csr_array, normal: csr_array, added: npt.NDArray[np.int64], width: int, policy: LightGcn) -> Items:
    """``added``: times a row's products were added [R, products]."""
    products, items = added.shape[1], edges.shape[1]
    row, kind = row_of(edges), (np.arange(items) >= products).astype(np.int64)
    emphasis = np.ones(edges.nnz)
    own = np.flatnonzero(edges.indices < products)
    emphasis[own] += policy.added_weight * added[row[own], edges.indices[own]]
    shares = np.array([policy.product_share, 1.0 - policy.product_share])
    sampler = Sampler.of(edges, normal, kind, emphasis, shares)
    if sampler is None:
        raise GroupUnavailable(f"no row of the train graph has two edges and an item to compare: {edges.nnz} edges")
    return train(sampler, policy, width, seed_of(COLLABORATIVE))


def _make(m: Material, shape: Shape, learnt: Arrays) -> Values:
    edges = csr_array(edges_of(m, shape, float(learnt["scale"][0])) * learnt["seen"][None])
    degree = np.asarray(edges.sum(axis=1))
    out = (edges @ learnt["items"]) * np.where(degree > 0, _inverse_root(degree), np.nan)[:, None]
    return {f"graph_{i:02d}": out[:, i] for i in range(out.shape[1])}


def _seen(edges: csr_array) -> npt.NDArray[np.bool_]:
    """Items with an edge [items]."""
    return np.asarray(edges.sum(axis=0)) > 0


def _inverse_root(degree: Floats) -> Floats:
    """1 / sqrt, 0 for 0."""
    out: Floats = np.zeros_like(degree)
    np.divide(1.0, np.sqrt(degree), out=out, where=degree > 0)
    return out


def _column(shape: Shape, name: str, kind: Kind) -> Column:
    products = tuple(f"{SNAPSHOT}.{product_column(short)}" for short in shape.products)
    # A source without a category that customers choose has edges to products alone.
    used = len(usable_categories(shape.categories)) > 0
    events = (
        (f"{EVENT}.mcc_idx", f"{EVENT}.event_date", f"{CATEGORY}.code", f"{CATEGORY}.customer_made") if used else ()
    )
    return Column(name, kind, (*products, *events), lookback_days=LOOKBACK_DAYS)

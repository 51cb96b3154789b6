"""Relation to items: category multi-hot, product history, and the edges of the customer-item graph.

Source: features.md 4.4 and 8.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.contracts.tables import product_column
from pipeline_lib.features.columns import CATEGORY, EVENT, SNAPSHOT, Column, Values
from pipeline_lib.features.inputs import usable_categories
from pipeline_lib.features.material import Fitted, Material

_USED = (f"{EVENT}.mcc_idx", f"{EVENT}.event_date", f"{CATEGORY}.code")
OTHER = "mcc_other"


def mcc_columns(categories: pl.DataFrame, fitted: Fitted) -> tuple[Column, ...]:
    """One column per top category; ``mcc_other`` only when other categories exist."""
    names = dict(usable_categories(categories).iter_rows())
    own = tuple(Column(names[i], "bin", _USED) for i in fitted.top_categories)
    return (*own, Column(OTHER, "num", _USED)) if len(names) > len(own) else own


def mcc_multihot(m: Material, fitted: Fitted) -> Values:
    """1 if the category was used in the recent window; ``mcc_other`` = ln1p of how many others were."""
    names = dict(usable_categories(m.categories).iter_rows())
    used = m.category_use.filter((pl.col("n_recent") > 0) & pl.col("mcc_idx").is_in(list(names)))
    out: Values = {}
    for idx in fitted.top_categories:
        out[names[idx]] = np.zeros(len(m))
        out[names[idx]][used.filter(pl.col("mcc_idx") == idx)["row_id"].to_numpy()] = 1.0
    if len(names) > len(out):
        others = used.filter(~pl.col("mcc_idx").is_in(fitted.top_categories)).group_by("row_id").len()
        counts = np.zeros(len(m))
        counts[others["row_id"].to_numpy()] = others["len"].to_numpy()
        out[OTHER] = np.log1p(counts)
    return out


def product_history_columns(products: Sequence[str]) -> tuple[Column, ...]:
    return tuple(
        Column(f"hist_{p}", "bin", (f"{SNAPSHOT}.{product_column(p)}", f"{SNAPSHOT}.snapshot_date")) for p in products
    )


def product_history_multihot(m: Material) -> Values:
    """1 if the product was added or dropped in any observed month up to the cutoff."""
    moved = (m.history.added + m.history.dropped) > 0
    return {f"hist_{short}": moved[:, i].astype(np.float64) for i, short in enumerate(m.products)}


def item_names(categories: pl.DataFrame, products: Sequence[str]) -> list[tuple[str, str]]:
    """(column, kind) of every item of the graph: products in source order, then categories by mcc_idx."""
    return [
        *((product_column(short), "product") for short in products),
        *((name, "category") for name in usable_categories(categories)["name"]),
    ]


def edges(m: Material, fitted: Fitted) -> npt.NDArray[np.float32]:
    """Weights of the customer-item graph [R, items]: 1 if the product is held, category ln1p(events in a year)
    over the train mean; 0 = no edge.
    """
    held = m.profile.select(pl.col([product_column(p) for p in m.products]).cast(pl.Float64).fill_null(0.0)).to_numpy()
    known = usable_categories(m.categories)
    place = {idx: i for i, idx in enumerate(known["mcc_idx"])}
    used = m.category_use.filter(pl.col("mcc_idx").is_in(list(place)))
    weights = np.zeros((len(m), len(place)))
    columns = used["mcc_idx"].replace_strict(place, return_dtype=pl.Int64).to_numpy() if len(used) else np.zeros(0, int)
    weights[used["row_id"].to_numpy(), columns] = np.log1p(used["n_year"].to_numpy()) / fitted.edge_scale
    return np.hstack([held, weights]).astype(np.float32)

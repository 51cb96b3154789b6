"""Relation to items: category multi-hot, product history, and the edges of the customer-item graph.

Source: features.md 4.4 and 8.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.contracts.tables import product_column
from pipeline_lib.features.columns import CATEGORY, EVENT, SNAPSHOT, Column, Values
from pipeline_lib.features.generator import Generator, GroupUnavailable, Shape
from pipeline_lib.features.inputs import usable_categories
from pipeline_lib.features.material import Material
from pipeline_lib.settings.features import Features

_USED = (f"{EVENT}.mcc_idx", f"{EVENT}.event_date", f"{CATEGORY}.code")
OTHER = "mcc_other"


def mcc_multihot(shape: Shape, policy: Features) -> Generator:
    """1 if the category was used in the recent window; ``mcc_other`` = ln1p of how many others were."""
    names = dict(usable_categories(shape.categories).iter_rows())
    return Generator(
        _columns(names.values(), OTHER),
        lambda m, learnt, made: _mcc_multihot(m, [int(idx) for idx in learnt["top"]], names),
        lambda m, made: {"top": _top(m, policy.top_categories)},
        columns_of=lambda learnt, known: _columns(
            [names[int(idx)] for idx in learnt["top"]], OTHER if len(names) > len(learnt["top"]) else None
        ),
    )


def product_history_multihot(shape: Shape, policy: Features) -> Generator:
    """1 if the product was added or dropped in any observed month up to the cutoff."""
    columns = tuple(
        Column(f"hist_{p}", "bin", (f"{SNAPSHOT}.{product_column(p)}", f"{SNAPSHOT}.snapshot_date"))
        for p in shape.products
    )
    return Generator(columns, lambda m, learnt, made: _product_history(m))


def _columns(names: Iterable[str], other: str | None) -> tuple[Column, ...]:
    """One column per category; ``other`` only when other categories exist."""
    own = tuple(Column(name, "bin", _USED) for name in names)
    return (*own, Column(other, "num", _USED)) if other else own


def _top(m: Material, count: int) -> npt.NDArray[np.int64]:
    """Categories most used in the recent window, ties by mcc_idx.

    Raises:
        GroupUnavailable: the rows used none.
    """
    known = usable_categories(m.categories)
    recent = m.category_use.join(known, on="mcc_idx").group_by("mcc_idx").agg(pl.col("n_recent").sum())
    ranked = recent.filter(pl.col("n_recent") > 0).sort(["n_recent", "mcc_idx"], descending=[True, False])
    if ranked.is_empty():
        raise GroupUnavailable("train used no category in the recent window")
    return ranked["mcc_idx"][:count].to_numpy().astype(np.int64)


def _mcc_multihot(m: Material, top: Sequence[int], names: Mapping[int, str]) -> Values:
    used = m.category_use.filter((pl.col("n_recent") > 0) & pl.col("mcc_idx").is_in(list(names)))
    out: Values = {}
    for idx in top:
        out[names[idx]] = np.zeros(len(m))
        out[names[idx]][used.filter(pl.col("mcc_idx") == idx)["row_id"].to_numpy()] = 1.0
    if len(names) > len(out):
        others = used.filter(~pl.col("mcc_idx").is_in(list(top))).group_by("row_id").len()
        counts = np.zeros(len(m))
        counts[others["row_id"].to_numpy()] = others["len"].to_numpy()
        out[OTHER] = np.log1p(counts)
    return out


def _product_history(m: Material) -> Values:
    moved = (m.history.added + m.history.dropped) > 0
    return {f"hist_{short}": moved[:, i].astype(np.float64) for i, short in enumerate(m.products)}


def item_names(categories: pl.DataFrame, products: Sequence[str]) -> list[tuple[str, str]]:
    """(column, kind) of every item of the graph: products in source order, then categories by mcc_idx."""
    return [
        *((product_column(short), "product") for short in products),
        *((name, "category") for name in usable_categories(categories)["name"]),
    ]


def described_items(categories: pl.DataFrame, products: Sequence[str]) -> list[dict[str, str]]:
    """Name and kind of every item of the graph, in its order; of a category the names of its two levels, too."""
    above = categories.select(pl.col("mcc_idx").cast(pl.Int32), "l1", "l2")
    levels = usable_categories(categories).join(above, on="mcc_idx", how="left", maintain_order="left")
    own = {name: {"l1": l1, "l2": l2} for name, l1, l2 in levels.select("name", "l1", "l2").iter_rows()}
    return [{"name": name, "kind": kind, **own.get(name, {})} for name, kind in item_names(categories, products)]


def edge_scale(m: Material) -> float:
    """Mean ln1p count of the customer-category edges; 1 without any."""
    counts = m.category_use.sort("row_id", "mcc_idx")["n_year"].to_numpy()
    return float(np.log1p(counts).mean()) if len(counts) else 1.0


def edges(m: Material, scale: float) -> npt.NDArray[np.float32]:
    """Weights of the customer-item graph [R, items]: 1 if the product is held, category ln1p(events in a year)
    over the train mean ``scale``; 0 = no edge.
    """
    flags = m.profile.select(pl.col([product_column(p) for p in m.products]).cast(pl.Float64).fill_null(0.0))
    held = flags.to_numpy().reshape(len(m), len(m.products))
    known = usable_categories(m.categories)
    used = m.category_use.join(known.with_row_index("place"), on="mcc_idx", how="inner")
    weights = np.zeros((len(m), len(known)))
    weights[used["row_id"].to_numpy(), used["place"].to_numpy()] = np.log1p(used["n_year"].to_numpy()) / scale
    return np.hstack([held, weights]).astype(np.float32)

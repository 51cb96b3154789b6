"""The window that every contestant of ``benchmarks/collaborative.py`` sees: train edges, others' edges, what came next.

Edges are those of ``pipeline_lib.features.graph`` at a row's cutoff, read through ``FeatureInputs``, which cannot reach
a later month. What came next is read here alone, and only to score: products not held at the cutoff and held in the
snapshot of the label date; categories without an edge used by an act of the customer after the cutoff and up to the
label date. Both leave out items that no train row has an edge to: nobody can rank what nobody has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from pipeline_lib.contracts.tables import product_column
from pipeline_lib.features.build import inputs_of
from pipeline_lib.features.generator import Shape
from pipeline_lib.features.graph import edges_of
from pipeline_lib.features.groups import shape_of
from pipeline_lib.features.hierarchy_spend import leaf_of
from pipeline_lib.features.inputs import FeatureInputs
from pipeline_lib.features.load import opened
from pipeline_lib.features.material import Material
from pipeline_lib.features.ranges import fit_rows
from pipeline_lib.runs import RunContext

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
RECALL_AT, NDCG_AT = 5, 3


@dataclass(frozen=True)
class Side:
    """Rows of one split."""

    material: Material
    counts: csr_array
    """Raw edge weights [R, items]: 1 for a product held, ln1p(events of 360 d) for a category."""
    added: Bools
    """What came next [R, items]; nothing for train rows."""
    customer: Ints
    """Key of the row's customer [R]: what the bootstrap draws."""


@dataclass(frozen=True)
class Bank:
    shape: Shape
    train: Side
    val: Side
    test: Side
    tasks: dict[str, slice]
    """Task -> its items."""
    cutoffs: dict[str, list[str]]
    """Split -> its cutoffs."""

    def degree(self) -> Floats:
        """Train rows with an edge to the item [items]."""
        return np.bincount(self.train.counts.indices, minlength=self.train.counts.shape[1]).astype(np.float64)

    def weights(self, side: Side) -> csr_array:
        """Edge weights as the graph has them [R, items]; an item without a train edge is no edge."""
        factor = np.ones(self.train.counts.shape[1])
        to_category = self.train.counts.indices >= self.tasks["categories"].start
        factor[self.tasks["categories"]] = 1.0 / self.train.counts.data[to_category].mean()
        return csr_array(side.counts * (factor * (self.degree() > 0))[None])


def read_bank(ctx: RunContext, fit_customers: int | None = None) -> Bank:
    """Read ingest and labels of a finished run."""
    inputs = inputs_of(ctx)
    shape = shape_of(inputs)
    size = fit_customers or ctx.settings.features.work.fit_customers
    train = _side(ctx, inputs.at(fit_rows(inputs.rows, size)), shape, None)
    seen = np.asarray(train.counts.sum(axis=0)) > 0
    assigned = ctx.read("labels").path("split_assignment.parquet")
    val, test = (_side(ctx, inputs.at(_labelled(inputs.rows, assigned, name)), shape, seen) for name in ("val", "test"))
    products = len(shape.products)
    tasks = {"products": slice(0, products), "categories": slice(products, len(seen))}
    sides = {"train": train, "val": val, "test": test}
    days = {name: sorted(set(side.material.rows["cutoff_date"])) for name, side in sides.items()}
    return Bank(shape, train, val, test, tasks, {name: [str(day) for day in own] for name, own in days.items()})


def figures(bank: Bank, side: Side, score: Floats, task: str) -> tuple[Ints, Floats]:
    """(rows with an addition [n], their recall@5 and NDCG@3 [n, 2]); ties go to the item that comes first."""
    items = bank.tasks[task]
    rows = np.flatnonzero(side.added[:, items].any(axis=1))
    had = side.counts[rows][:, items].toarray() > 0
    open_to = ~had & (bank.degree()[items] > 0)
    ranked = np.argsort(-np.where(open_to, score[rows][:, items], -np.inf), axis=1, kind="stable")[:, :RECALL_AT]
    added = side.added[rows][:, items]
    hits, wanted = np.take_along_axis(added, ranked, axis=1), added.sum(axis=1)
    discount = 1.0 / np.log2(np.arange(2, NDCG_AT + 2))
    best = discount.cumsum()[np.minimum(wanted, NDCG_AT) - 1]
    return rows, np.stack([hits.sum(axis=1) / wanted, hits[:, :NDCG_AT] @ discount / best], axis=1)


def quality(bank: Bank, side: Side, score: Floats) -> float:
    """Mean of the four figures: what settings are chosen by."""
    return float(np.mean([figures(bank, side, score, task)[1].mean(axis=0) for task in bank.tasks]))


def _labelled(rows: pl.DataFrame, assigned: Path, split: str) -> pl.DataFrame:
    """Rows of the split whose label month is over."""
    dates = pl.read_parquet(assigned, columns=["customer_key", "cutoff_date", "split", "label_date"])
    own = rows.filter(pl.col("split") == split)
    return own.join(dates, on=["customer_key", "cutoff_date", "split"], how="left", maintain_order="left").filter(
        pl.col("label_date").is_not_null()
    )


def _side(ctx: RunContext, inputs: FeatureInputs, shape: Shape, seen: Bools | None) -> Side:
    with opened(inputs, ctx.settings.features, ctx.settings.place.threads) as data:
        m = data.material(timed=False)
    counts = edges_of(m, shape, 1.0)
    added = np.zeros(counts.shape, dtype=np.bool_)
    if seen is not None:
        added = _added(ctx, inputs, shape) & (counts.toarray() == 0) & seen
    return Side(m, counts, added, inputs.rows["customer_key"].to_numpy().astype(np.int64))


def _added(ctx: RunContext, inputs: FeatureInputs, shape: Shape) -> Bools:
    """What rows hold at the label date and use up to it [R, items]."""
    rows, ingest, parts = inputs.rows, ctx.read("ingest"), []
    for (label,), group in rows.group_by("label_date", maintain_order=True):
        held = _held(ingest.path(f"customer_snapshot/{label}.parquet"), group, shape.products)
        used = _used(ctx, group, label, shape)  # type: ignore[arg-type]
        flags = np.hstack([held, used])
        parts.append((group["row_id"].to_numpy(), flags))
    out = np.zeros((len(rows), parts[0][1].shape[1]), dtype=np.bool_)
    for where, flags in parts:
        out[where] = flags
    return out


def _held(path: Path, rows: pl.DataFrame, products: Sequence[str]) -> Bools:
    columns = [product_column(p) for p in products]
    table = pl.read_parquet(path, columns=["customer_key", *columns])
    found = rows.select("customer_key").join(table, on="customer_key", how="left", maintain_order="left")
    return found.select(columns).fill_null(0).to_numpy().reshape(len(rows), len(columns)) == 1


def _used(ctx: RunContext, rows: pl.DataFrame, label: date, shape: Shape) -> Bools:
    leaf = leaf_of(shape.categories)
    out = np.zeros((len(rows), int((leaf >= 0).sum())), dtype=np.bool_)
    ingest = ctx.read("ingest")
    months = {f"transaction_event/{d:%Y-%m}.parquet" for d in (rows["cutoff_date"].min(), label)}  # type: ignore[str-format]
    files = [ingest.path(name) for name in ingest.names("transaction_event/") if name in months]
    place = rows.select("customer_key", "cutoff_date").with_row_index("place")
    acts = pl.scan_parquet(files).filter(
        pl.col("event_type").is_in(list(ctx.settings.source.purchase_types)) & (pl.col("event_date") <= label)
    )
    found = acts.select("customer_key", "event_date", "mcc_idx").join(place.lazy(), on="customer_key")
    new = found.filter(pl.col("event_date") > pl.col("cutoff_date")).select("place", "mcc_idx").unique().collect()
    where, to = new["place"].to_numpy(), leaf[new["mcc_idx"].to_numpy()]
    out[where[to >= 0], to[to >= 0]] = True
    return out

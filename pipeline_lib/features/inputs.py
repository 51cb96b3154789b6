"""All that the feature stage can see. There is no path here to labels or to the customer segment.

``FeatureInputs`` is built once at the door from the finished stages and is the only thing handed on: generators
cannot reach ``label_table`` or ``customer_segment`` because no object they hold knows where those are.
Source: features.md 3 (forbidden inputs), data.md 12.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import polars as pl

from pipeline_lib.contracts.tables import SHARD_SHIFT
from pipeline_lib.errors import ContractError
from pipeline_lib.runs import StageOutput

KEYS = ("customer_key", "cutoff_date")
UNKNOWN_CATEGORY = "unknown"


@dataclass(frozen=True)
class FeatureInputs:
    rows: pl.DataFrame
    """row_id Int64, customer_key, cutoff_date, split, part, shard: one per row of every artefact, in their order."""
    snapshots: dict[date, Path]
    """Snapshot date -> file, up to the newest cutoff."""
    events: tuple[Path, ...]
    """Event files, by month."""
    categories: pl.DataFrame
    """dim_mcc."""
    products: tuple[str, ...]
    """Short names in the source's order."""
    families: tuple[int, ...]
    """``nba_class`` of every product."""
    unavailable: dict[str, str]
    """Canonical column -> why the source does not carry it."""
    acts: tuple[str, ...]
    """Event types that are acts of the customer (``purchase_types`` of the source)."""
    opened: tuple[str, ...]
    """Every file opened, as ``stage/name``: what the leakage check compares with the forbidden ones."""

    @property
    def shards(self) -> tuple[int, int]:
        """First and last shard of the rows' customers."""
        shards = self.rows["shard"].to_list()
        return min(shards), max(shards)

    def at(self, rows: pl.DataFrame) -> FeatureInputs:
        """The same for some of the rows, in the order given."""
        return replace(self, rows=numbered(rows))

    @classmethod
    def of(cls, ingest: StageOutput, labels: StageOutput, acts: Sequence[str]) -> FeatureInputs:
        """Open the allowed files of both stages, for all rows.

        Raises:
            ContractError: no rows to make, rows in another order, or a cutoff without a snapshot.
        """
        rows = split_rows(labels.path("split_assignment.parquet"))
        newest = max(rows["cutoff_date"].to_list())
        names = [name for name in ingest.names("customer_snapshot/") if _day(name) <= newest]
        snapshots = {_day(name): ingest.path(name) for name in names}
        if lacking := sorted(set(rows["cutoff_date"].unique()) - snapshots.keys()):
            raise ContractError(f"customer_snapshot: no file for the cutoffs {[str(day) for day in lacking]}")
        events = [name for name in ingest.names("transaction_event/") if _month(name) <= f"{newest:%Y-%m}"]
        dims = ["dim_mcc.parquet", "dim_product.parquet"]
        products = pl.read_parquet(ingest.path("dim_product.parquet")).sort("product_idx")
        opened = ["labels/split_assignment.parquet", *(f"ingest/{name}" for name in [*names, *events, *dims])]
        return cls(
            rows=rows,
            snapshots=dict(sorted(snapshots.items())),
            events=tuple(ingest.path(name) for name in sorted(events)),
            categories=pl.read_parquet(ingest.path("dim_mcc.parquet")).sort("mcc_idx"),
            products=tuple(products["short"]),
            families=tuple(products["nba_class"]),
            unavailable=dict(ingest.facts["unavailable"]),
            acts=tuple(acts),
            opened=tuple(sorted(opened)),
        )


def split_rows(path: Path) -> pl.DataFrame:
    """Keys, split and part of ``split_assignment`` with their position as ``row_id``; its labels' dates stay out.

    Raises:
        ContractError: no rows, or not in the order (shuffle_key, customer_key, cutoff_date), without which a range
            of rows would not be a range of customers.
    """
    rows = pl.read_parquet(path, columns=[*KEYS, "split", "part", "shuffle_key"])
    if rows.is_empty():
        raise ContractError("split_assignment has no rows: there is nothing to compute features for")
    order = ["shuffle_key", "customer_key", "cutoff_date"]
    if not rows.select(order).equals(rows.select(order).sort(order)):
        raise ContractError(f"split_assignment: expected the order ({', '.join(order)}), found another")
    shard = (pl.col("shuffle_key") // (1 << SHARD_SHIFT)).cast(pl.UInt16).alias("shard")
    return numbered(rows.select(*KEYS, "split", "part", shard))


def numbered(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with their position as the first column, ``row_id``."""
    bare = rows.drop("row_id", strict=False)
    return bare.with_row_index("row_id").with_columns(pl.col("row_id").cast(pl.Int64))


def usable_categories(categories: pl.DataFrame) -> pl.DataFrame:
    """mcc_idx and column name of the categories that customers choose, by mcc_idx."""
    chosen = categories.filter(pl.col("customer_made") & (pl.col("code") != UNKNOWN_CATEGORY)).sort("mcc_idx")
    names = [f"mcc_{re.sub(r'[^a-z0-9]+', '_', code.lower())}" for code in chosen["code"]]
    return chosen.select(pl.col("mcc_idx").cast(pl.Int32), pl.Series("name", names))


def bank_made(categories: pl.DataFrame) -> pl.DataFrame:
    """mcc_idx of the known categories that the bank books by itself: no act of the customer."""
    return categories.filter(~pl.col("customer_made") & (pl.col("code") != UNKNOWN_CATEGORY)).select("mcc_idx")


def _day(name: str) -> date:
    return date.fromisoformat(Path(name).stem)


def _month(name: str) -> str:
    return Path(name).stem

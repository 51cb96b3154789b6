"""What the generators read: a few aligned tables and arrays, one entry per row (customer at a cutoff).

``Material`` knows nothing of other rows; what is learnt from train rows are a group's fitted arrays. A value
therefore depends on the row's own data and on those arrays alone, whatever batch it is computed in (L21, L23).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.contracts.tables import product_column
from pipeline_lib.errors import ContractError
from pipeline_lib.features.events import Windows
from pipeline_lib.features.history import ALL_SHARDS, History, Holdings
from pipeline_lib.features.stream import Stream

PROFILE_COLUMNS = (
    "age", "sex", "income", "income_missing", "tenure_months", "tenure_unknown", "is_active", "is_new_customer",
    "country", "province_id", "channel", "relation_type", "employee_status", "is_resident", "is_foreign_born",
    "num_products",
)  # fmt: skip


@dataclass(frozen=True)
class Material:
    rows: pl.DataFrame
    """row_id, customer_key, cutoff_date, split, part."""
    profile: pl.DataFrame
    """The snapshot at the cutoff, in row order."""
    history: History
    windows: Windows
    category_use: pl.DataFrame
    """row_id, mcc_idx, n_recent, n_year, spend_cents."""
    categories: pl.DataFrame
    """dim_mcc."""
    products: tuple[str, ...]
    stream: Stream | None = None
    """The customers' own events, single ones; None: the source has none."""
    holdings: Holdings | None = None
    """By customer and month, for groups that need every month; a reader stays at or before the row's cutoff."""

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, rows: npt.NDArray[np.int64]) -> Material:
        """The same for some of the rows, in the order asked for; their ``row_id`` counts from 0 again."""
        place = pl.DataFrame({"row_id": rows, "place": np.arange(len(rows))})
        used = place.join(self.category_use, on="row_id", how="inner").sort("place", "mcc_idx")
        return replace(
            self,
            rows=_numbered(self.rows[rows]),
            profile=_numbered(self.profile[rows]),
            history=_picked(self.history, rows),
            windows=self.windows.at(rows),
            category_use=used.select(pl.col("place").alias("row_id"), pl.col(self.category_use.columns[1:])),
            stream=self.stream.at(rows) if self.stream else None,
        )


def _numbered(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("row_id"))


def _picked(history: History, rows: npt.NDArray[np.int64]) -> History:
    return History(**{f.name: getattr(history, f.name)[rows] for f in fields(history)})


def load_profiles(
    rows: pl.DataFrame, snapshots: Mapping[date, Path], products: tuple[str, ...], shards: tuple[int, int] = ALL_SHARDS
) -> pl.DataFrame:
    """The snapshot row of every (customer, cutoff), in row order.

    Raises:
        ContractError: a customer has no row in the snapshot of his cutoff.
    """
    columns = ["customer_key", *PROFILE_COLUMNS, *(product_column(short) for short in products)]
    parts = []
    for (cutoff,), group in rows.group_by("cutoff_date", maintain_order=True):
        assert isinstance(cutoff, date)
        near = pl.scan_parquet(snapshots[cutoff]).filter(pl.col("shard").is_between(*shards))
        found = group.select("row_id", "customer_key").join(
            near.select(columns).collect(), on="customer_key", how="left"
        )
        if lost := found["num_products"].null_count():
            raise ContractError(f"customer_snapshot/{cutoff}: {lost} customers of split_assignment have no row there")
        parts.append(found)
    return pl.concat(parts).sort("row_id")

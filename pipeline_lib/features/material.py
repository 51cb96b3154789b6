"""What the generators read: a few aligned tables and arrays, one entry per row (customer at a cutoff).

``Material`` knows nothing of other rows; everything learnt from train rows is in ``Fitted``. A value therefore
depends on the row's own data and on ``Fitted`` alone, whatever batch it is computed in (L21, L23).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from pipeline_lib.contracts.tables import product_column
from pipeline_lib.errors import ContractError
from pipeline_lib.features.events import Windows
from pipeline_lib.features.history import History
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

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Fitted:
    """Everything learnt from rows with split = train, and nothing else (L09)."""

    shares: dict[str, dict[str, float]]
    """country, channel, province_id: value -> share of train rows."""
    income_cuts: list[float]
    """Inner quantiles of income."""
    top_categories: list[int]
    """mcc_idx of the categories with a column of their own, most used first."""
    edge_scale: float
    """Mean ln1p count of the customer-category edges."""
    channel_scale: dict[str, float]
    """Divisor of the count channels of the sequence."""
    absent: dict[str, str]
    """Input -> why it is not available: columns of the source, event types, time of day."""
    max_event_date: date | None
    """Newest event that anything was fitted on."""

    def to_dict(self) -> dict[str, object]:
        newest = self.max_event_date.isoformat() if self.max_event_date else None
        return {**self.__dict__, "max_event_date": newest}


def load_profiles(rows: pl.DataFrame, snapshots: Mapping[date, Path], products: tuple[str, ...]) -> pl.DataFrame:
    """The snapshot row of every (customer, cutoff), in row order.

    Raises:
        ContractError: a customer has no row in the snapshot of his cutoff.
    """
    columns = ["customer_key", *PROFILE_COLUMNS, *(product_column(short) for short in products)]
    parts = []
    for (cutoff,), group in rows.group_by("cutoff_date", maintain_order=True):
        assert isinstance(cutoff, date)
        snapshot = pl.read_parquet(snapshots[cutoff], columns=columns)
        found = group.select("row_id", "customer_key").join(snapshot, on="customer_key", how="left")
        if lost := found["num_products"].null_count():
            raise ContractError(f"customer_snapshot/{cutoff}: {lost} customers of split_assignment have no row there")
        parts.append(found)
    return pl.concat(parts).sort("row_id")

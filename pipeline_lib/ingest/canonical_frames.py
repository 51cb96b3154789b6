"""From an adapter's parts to canonical snapshots, one month at a time: keys in, raw ids out, fixed row order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from pipeline_lib.contracts.tables import (
    PRODUCT_PREFIX,
    PROFILE,
    SHARD_SHIFT,
    product_column,
    snapshot_schema,
)
from pipeline_lib.errors import SchemaError


@dataclass(frozen=True)
class Shape:
    """What the source's settings promise about its tables."""

    products: Sequence[str]
    unavailable: Mapping[str, str]


def snapshot_frame(day: date, files: Sequence[Path], keys: pl.DataFrame, shape: Shape) -> pl.DataFrame:
    """Canonical ``customer_snapshot`` of one day.

    Args:
        keys: customer_id, customer_key, shuffle_key of all customers.

    Returns:
        Columns of ``contracts.tables.snapshot_schema``, by shuffle_key and customer_key.

    Raises:
        SchemaError: a column is absent without a reason or present in spite of one, a product is not 0/1, or a
            customer has two rows.
    """
    where = f"customer_snapshot {day}"
    rows = _whole(files)
    _require_profile(where, rows, shape)
    rows = rows.join(keys, on="customer_id", how="inner", validate="m:1")
    if twice := rows.height - rows.get_column("customer_key").n_unique():
        raise SchemaError(f"{where}: {twice} customers have more than one row; expected one per customer")
    flags = [product_column(p) for p in shape.products]
    schema = snapshot_schema(list(shape.products))
    return (
        rows.with_columns(pl.lit(c.absent, dtype=c.dtype).alias(c.name) for c in PROFILE if c.name not in rows.columns)
        .with_columns(
            snapshot_date=pl.lit(day),
            shard=pl.col("shuffle_key") // 2**SHARD_SHIFT,
            income_missing=pl.col("income").is_null().cast(pl.Int8),
            tenure_unknown=pl.col("tenure_months").is_null().cast(pl.Int8),
            num_products=pl.sum_horizontal(pl.lit(0, pl.Int16), *(pl.col(f).cast(pl.Int16) for f in flags)).cast(
                pl.Int8
            ),
        )
        .sort("shuffle_key", "customer_key")
        .select(pl.col(name).cast(dtype) for name, dtype in schema.items())
    )


def require_consecutive(days: Sequence[date]) -> None:
    """Raises SchemaError naming the first month without a snapshot."""
    for before, after in zip(days, days[1:], strict=False):
        months = (after.year - before.year) * 12 + after.month - before.month
        if months != 1:
            raise SchemaError(
                f"customer_snapshot: {before} is followed by {after}; expected one snapshot in each month, "
                f"found {months - 1} missing in between"
            )


def _whole(files: Sequence[Path]) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(file) for file in files], how="vertical")


def _require_profile(where: str, rows: pl.DataFrame, shape: Shape) -> None:
    names = {c.name for c in PROFILE}
    unexplained = sorted(names - set(rows.columns) - set(shape.unavailable))
    contradicted = sorted(set(rows.columns) & set(shape.unavailable))
    flags = [product_column(p) for p in shape.products]
    found = [n for n in rows.columns if n.startswith(PRODUCT_PREFIX)]
    if unexplained or contradicted:
        raise SchemaError(
            f"{where}: columns absent without a reason in unavailable_columns {unexplained}, "
            f"present although listed there {contradicted}"
        )
    if sorted(flags) != sorted(found):
        raise SchemaError(f"{where}: found products {sorted(found)}, expected {sorted(flags)}")
    for flag in flags:
        bad = rows.filter(~pl.col(flag).is_in([0, 1])).height
        if bad:
            raise SchemaError(f"{where}: column {flag} is not 0 or 1 in {bad} rows")

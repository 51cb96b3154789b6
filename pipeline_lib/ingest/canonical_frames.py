"""From an adapter's parts to canonical tables, one month at a time: keys in, raw ids out, fixed row order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import polars as pl

from pipeline_lib.contracts.tables import EVENT, PRODUCT_PREFIX, PROFILE, product_column, snapshot_schema
from pipeline_lib.errors import SchemaError


@dataclass(frozen=True)
class Shape:
    """What the source's settings promise about its tables."""

    products: Sequence[str]
    unavailable: Mapping[str, str]
    origin: str


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
        rows.with_columns(pl.lit(None, dtype=c.dtype).alias(c.name) for c in PROFILE if c.name not in rows.columns)
        .with_columns(
            snapshot_date=pl.lit(day),
            income_missing=pl.col("income").is_null().cast(pl.Int8),
            tenure_unknown=pl.col("tenure_months").is_null().cast(pl.Int8),
            num_products=pl.sum_horizontal(pl.col(f).cast(pl.Int16) for f in flags).cast(pl.Int8),
        )
        .sort("shuffle_key", "customer_key")
        .select(pl.col(name).cast(dtype) for name, dtype in schema.items())
    )


def event_frame(
    month: str, files: Sequence[Path], keys: pl.DataFrame, categories: pl.DataFrame, before: datetime, shape: Shape
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Canonical ``transaction_event`` of one month, and the events of customers without any snapshot.

    Returns:
        Columns of ``contracts.tables.EVENT`` by event_ts and event_id; and event_id, event_ts of the strangers.

    Raises:
        SchemaError: an event of another month, a category outside ``dim_mcc``, or an event id twice.
    """
    where = f"transaction_event {month}"
    rows = _whole(files).filter(pl.col("event_ts") < before)
    other = rows.filter(pl.col("event_ts").dt.strftime("%Y-%m") != month).height
    if other:
        raise SchemaError(f"{where}: {other} events lie in another month")
    if twice := rows.height - rows.get_column("event_id").n_unique():
        raise SchemaError(f"{where}: {twice} event ids repeat; expected each once")
    levels = categories.select("mcc_idx", "l1_id", "l2_id")
    strangers = (
        rows.join(keys, on="customer_id", how="anti").select("event_id", "event_ts").sort("event_ts", "event_id")
    )
    known = rows.join(keys, on="customer_id", how="inner").join(levels, on="mcc_idx", how="left")
    if unknown := known.get_column("l1_id").null_count():
        raise SchemaError(f"{where}: mcc_idx of {unknown} events is not in dim_mcc (0..{categories.height - 1})")
    frame = known.with_columns(event_date=pl.col("event_ts").dt.date(), origin=pl.lit(shape.origin))
    return frame.sort("event_ts", "event_id").select(pl.col(c.name).cast(c.dtype) for c in EVENT), strangers


def empty_events() -> pl.DataFrame:
    return pl.DataFrame(schema={c.name: c.dtype for c in EVENT})


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

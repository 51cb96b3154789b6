"""The canonical tables: columns, types, keys and ranges, said once. Source: data.md 5, docs/artefacts.md.

The suites of ``config/data.yaml`` ask for these ranges and value sets at every load; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

SEX = ("F", "M", "U")
SEGMENTS = ("TOP", "PARTICULARES", "UNIVERSITARIO", "UNKNOWN")
EVENT_TYPES = (
    "card_purchase",
    "card_refund",
    "cash_withdrawal",
    "deposit_inflow",
    "transfer_in",
    "transfer_out",
    "bank_booking",
)
"""``bank_booking`` is what the bank does by itself: interest, fees."""
ORIGINS = ("real", "synthetic")
PRODUCT_PREFIX = "prod_"


@dataclass(frozen=True)
class Column:
    """One column's promise. ``nullable`` False: known in every row; True: null means "not known".

    ``low`` and ``high`` are inclusive.
    """

    name: str
    dtype: pl.DataType
    nullable: bool = False
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] | None = None
    absent: str | None = None
    """What stands in every row of a source that does not carry the column; None: null."""


def _flag(name: str, *, nullable: bool = True) -> Column:
    return Column(name, pl.Int8(), nullable, 0, 1)


PROFILE = (
    Column("age", pl.Int16(), True, 18, 100),
    Column("sex", pl.String(), False, values=SEX, absent="U"),
    Column("income", pl.Float64(), True, 0, 5e7),
    Column("tenure_months", pl.Int16(), True, 0, 256),
    _flag("is_active"),
    _flag("is_new_customer"),
    Column("country", pl.String(), True),
    Column("province_id", pl.Int16(), True, 0, 52),
    Column("channel", pl.String(), True),
    Column("relation_type", pl.String(), True),
    Column("employee_status", pl.String(), True),
    _flag("is_resident"),
    _flag("is_foreign_born"),
    _flag("is_deceased"),
)
"""What an adapter may know about a customer at a snapshot."""

SHARDS = 1024
SHARD = Column("shard", pl.UInt16(), False, 0, SHARDS - 1)
"""The ten highest bits of the 60-bit ``shuffle_key``: a range of shards is a range of row groups."""
SHARD_SHIFT = 50
ROW_GROUP_ROWS = 100_000
"""Rows of a Parquet row group of the two big tables: what reading one shard costs."""

ADAPTER_SNAPSHOT = (Column("customer_id", pl.String()), *PROFILE)

SNAPSHOT = (
    Column("customer_key", pl.Int32(), False, 1),
    Column("snapshot_date", pl.Date()),
    SHARD,
    *PROFILE[:3],
    _flag("income_missing", nullable=False),
    PROFILE[3],
    _flag("tenure_unknown", nullable=False),
    *PROFILE[4:],
    Column("num_products", pl.Int8(), False, 0, 127),
)
"""Canonical ``customer_snapshot`` before its ``prod_<short>`` Int8 columns; key (customer_key, snapshot_date).

Rows by shuffle_key and customer_key.
"""

SEGMENT = (Column("customer_id", pl.String()), Column("segment", pl.String(), values=SEGMENTS))

ADAPTER_EVENT = (
    Column("event_id", pl.String()),
    Column("customer_id", pl.String()),
    Column("event_ts", pl.Datetime("us")),
    Column("event_type", pl.String(), values=EVENT_TYPES),
    Column("mcc_idx", pl.UInt8()),
    Column("amount", pl.Float64(), False, 0, 1e6),
    Column("signed_amount", pl.Float64()),
    Column("channel", pl.String(), True),
    Column("merchant_id", pl.String(), True),
)
"""What an adapter knows about an event; columns that may be null may be left out."""

EVENT = (
    Column("event_id", pl.String()),
    Column("customer_key", pl.Int32(), False, 1),
    SHARD,
    Column("event_ts", pl.Datetime("us")),
    Column("event_date", pl.Date()),
    Column("event_type", pl.String(), values=EVENT_TYPES),
    Column("mcc_idx", pl.UInt8(), False, 0, 255),
    Column("l1_id", pl.UInt8()),
    Column("l2_id", pl.UInt8()),
    Column("merchant_key", pl.Int64(), True, 0),
    Column("amount", pl.Float64(), False, 0, 1e6),
    Column("signed_amount", pl.Float64()),
    Column("channel", pl.String(), True),
    Column("origin", pl.String(), values=ORIGINS),
)
"""Canonical ``transaction_event``; key event_id; by month of event_ts.

Rows by shuffle_key, customer_key, event_ts and event_id.
"""

CATEGORY = (
    Column("mcc_idx", pl.UInt8()),
    Column("code", pl.String()),
    Column("l2_id", pl.UInt8()),
    Column("l1_id", pl.UInt8()),
    Column("l2", pl.String()),
    Column("l1", pl.String()),
    Column("customer_made", pl.Boolean()),
)

QUARANTINE = (
    Column("source", pl.String()),
    Column("month", pl.String()),
    Column("line_no", pl.Int64(), True),
    Column("reason", pl.String()),
    Column("raw", pl.String()),
)


def product_column(short: str) -> str:
    return f"{PRODUCT_PREFIX}{short}"


def snapshot_schema(products: list[str]) -> dict[str, pl.DataType]:
    """Name -> type of ``customer_snapshot`` for a source with these product short names."""
    return {c.name: c.dtype for c in SNAPSHOT} | {product_column(p): pl.Int8() for p in products}

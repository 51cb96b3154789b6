"""Rows that were refused: kept with their reason, and few, or the load fails. Source: data.md 2."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import polars as pl

from pipeline_lib.contracts.tables import QUARANTINE
from pipeline_lib.errors import SchemaError

EVENT_SOURCE = "transaction_event"
"""``source`` of refused events; every other source is a raw file of snapshots."""


def refused_events(month: str, strangers: pl.DataFrame) -> pl.DataFrame:
    """Quarantine rows of events whose customer no snapshot knows; ``strangers`` has ``event_id``."""
    return _typed(
        strangers.select(
            source=pl.lit(EVENT_SOURCE),
            month=pl.lit(month),
            line_no=pl.lit(None, dtype=pl.Int64),
            reason=pl.lit("the customer is in no snapshot"),
            raw="event_id",
        )
    )


def collected(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """All refused rows in a fixed order."""
    empty = pl.DataFrame(schema={c.name: c.dtype for c in QUARANTINE})
    return pl.concat([empty, *parts]).sort("source", "month", "line_no", "reason", "raw")


def require_few(
    refused: pl.DataFrame, snapshot_rows: Mapping[str, int], event_rows: Mapping[str, int], limit: float
) -> None:
    """Raises SchemaError when more than ``limit`` [0..1] of a month's snapshot rows or events were refused.

    Args:
        snapshot_rows, event_rows: accepted rows by month YYYY-MM.
    """
    events = pl.col("source") == EVENT_SOURCE
    for what, rows, accepted in (
        ("customer_snapshot", refused.filter(~events), snapshot_rows),
        ("transaction_event", refused.filter(events), event_rows),
    ):
        for (month,), bad in rows.sort("month").group_by(["month"], maintain_order=True):
            share = bad.height / (bad.height + accepted.get(str(month), 0))
            if share > limit:
                reasons = Counter(bad.get_column("reason").to_list()).most_common()
                raise SchemaError(
                    f"{what} {month}: {bad.height} rows refused, share {share:.6f}, expected at most {limit}",
                    [f"{reason}: {count} rows, first {_place(bad, reason)}" for reason, count in reasons],
                )


def _place(refused: pl.DataFrame, reason: str) -> str:
    """Where the first row of a reason stands: file and line, or the event's id."""
    source, line, raw = refused.filter(pl.col("reason") == reason).select("source", "line_no", "raw").row(0)
    return f"event {raw}" if line is None else f"{source} line {line}"


def _typed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(pl.col(c.name).cast(c.dtype) for c in QUARANTINE)

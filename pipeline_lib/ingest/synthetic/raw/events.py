"""A block's events as contract B. Source: data.md 4."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import polars as pl

from pipeline_lib.ingest.adapters.santander import EVENT_COLUMNS
from pipeline_lib.ingest.synthetic import frames, taxonomy
from pipeline_lib.ingest.synthetic.world import BlockMonth

NO_CATEGORY = 0
"""``mcc`` of what is no card event."""


def of(part: BlockMonth, before: date) -> Iterator[tuple[str, pl.DataFrame]]:
    """(``YYYY-MM``, rows of ``EVENT_COLUMNS``) of the calendar months that the block's window touches."""
    codes = pl.Series([*(int(code) for code in taxonomy.codes()), NO_CATEGORY], dtype=pl.Int32)
    for month, rows in frames.events(part, before):
        raw = rows.with_columns(
            ncodpers=pl.col("customer_id").cast(pl.Int64), mcc=codes.gather(rows.get_column("mcc_idx"))
        )
        yield month, raw.select(pl.col(name).cast(dtype) for name, dtype in EVENT_COLUMNS.items())

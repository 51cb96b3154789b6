"""The event stream, through DuckDB: statements in ``sql/features``, answers as arrays by row.

Sums are over integers (hundredths of the currency), so neither the order of rows and files nor the number of
threads can change a byte. Rows are asked for in ranges of ``row_id``, which bounds memory at any size.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib import sql
from pipeline_lib.errors import ContractError
from pipeline_lib.features.columns import Floats
from pipeline_lib.features.inputs import bank_made, usable_categories

BUCKETS = 14
"""Age buckets of ``windows.sql``: 7 days, the rest of 30, eleven times 30, the rest of 365."""
MEASURES = ("n", "active_days", "cents", "cents_sq", "n_night", "n_morning", "n_afternoon", "n_evening",
            "refund_cents", "consumption_cents", "inflow_cents")  # fmt: skip
MAX_L2 = 62
BLOCK_ROWS = 20_000
BLOCK_CUSTOMERS = 2_000
MEMORY_LIMIT = "1000MB"
LOOKBACK_DAYS = 365


@dataclass(frozen=True)
class Windows:
    """Measures by age bucket. ``sums[m]`` [R, 14], ``l2_mask`` [R, 14], ``recency`` days [R], NaN = none in 365."""

    sums: dict[str, Floats]
    l2_mask: npt.NDArray[np.int64]
    recency: Floats

    def at(self, rows: npt.NDArray[np.int64]) -> Windows:
        """The same for some of the rows, in the order asked for."""
        sums = {name: values[rows] for name, values in self.sums.items()}
        return Windows(sums, self.l2_mask[rows], self.recency[rows])

    def last(self, measure: str, days: int) -> Floats:
        """Sum over the newest 7 or 30 x k days [R]."""
        total: Floats = self.sums[measure][:, : _buckets(days)].sum(axis=1)
        return total

    def months(self, measure: str, count: int) -> Floats:
        """Sums per 30 days, newest first [R, count]."""
        by_bucket = self.sums[measure]
        first = by_bucket[:, :2].sum(axis=1, keepdims=True)
        return np.concatenate([first, by_bucket[:, 2 : count + 1]], axis=1)

    def categories_by_month(self, count: int) -> Floats:
        """Distinct level-2 categories per 30 days, newest first [R, count]."""
        first = (self.l2_mask[:, 0] | self.l2_mask[:, 1])[:, None]
        masks = np.concatenate([first, self.l2_mask[:, 2 : count + 1]], axis=1)
        counts: Floats = np.bitwise_count(masks).astype(np.float64)
        return counts


class EventStore:
    """A connection with the daily table of the given rows. Close it, or use it as a context manager."""

    def __init__(
        self,
        files: Sequence[Path],
        rows: pl.DataFrame,
        categories: pl.DataFrame,
        moves: pl.DataFrame,
        types: Mapping[str, Sequence[str]],
        threads: int,
    ) -> None:
        if int(categories["l2_id"].max() or 0) > MAX_L2:  # type: ignore[arg-type]
            raise ContractError(f"dim_mcc: level-2 ids up to {MAX_L2} fit the daily mask, found more")
        self._files = [str(path) for path in files]
        self._types = {name: list(values) for name, values in types.items()}
        self._rows = len(rows)
        self._spill = tempfile.TemporaryDirectory()
        limits: dict[str, str | bool | int | float | list[str]] = {
            "threads": threads,
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": self._spill.name,
        }
        self._db = duckdb.connect(config=limits)
        self._db.execute("SET preserve_insertion_order = false")
        self._table("category", usable_categories(categories).select("mcc_idx"))
        self._table("bank_made", bank_made(categories))
        self._table("product_move", moves)
        self._table("row_key", rows.select("row_id", "customer_key", "cutoff_date"))
        subject = rows.select("customer_key").unique().sort("customer_key")
        self._customers: list[int] = subject["customer_key"].to_list()
        self._table("subject", subject)
        train = rows.filter(pl.col("split") == "train").group_by("customer_key").agg(pl.col("cutoff_date").max())
        self._table("train_horizon", train.sort("customer_key"))
        cutoffs = rows["cutoff_date"].to_list()
        self._make_daily(min(cutoffs), max(cutoffs))

    def __enter__(self) -> EventStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._spill.cleanup()

    def facts(self) -> pl.DataFrame:
        """Per event type of train customers up to their cutoff: events, timed, newest."""
        return self._ask("event_facts", events=self._files)

    def windows(self) -> Windows:
        sums = {name: np.zeros((self._rows, BUCKETS)) for name in MEASURES}
        masks = np.zeros((self._rows, BUCKETS), dtype=np.int64)
        recency = np.full(self._rows, np.nan)
        for first, last in self.blocks():
            found = self._ask("windows", first=first, last=last)
            row, bucket = found["row_id"].to_numpy(), found["bucket"].to_numpy()
            for name in MEASURES:
                sums[name][row, bucket] = found[name].to_numpy()
            masks[row, bucket] = found["l2_mask"].to_numpy()
            newest = found.drop_nulls("recency").group_by("row_id").agg(pl.col("recency").min())
            recency[newest["row_id"].to_numpy()] = newest["recency"].to_numpy()
        return Windows(sums, masks, recency)

    def category_use(self, recent_days: int) -> pl.DataFrame:
        """Columns row_id, mcc_idx, n_recent, n_year, spend_cents: acts of the customer only."""
        parameters = {
            "events": self._files,
            "acts": [*self._types["spend"], *self._types["inflow"]],
            "spend": self._types["spend"],
            "recent_days": recent_days,
        }
        parts = [self._ask("category_use", first=a, last=b, **parameters) for a, b in self.blocks()]
        return pl.concat(parts)

    def days(self) -> Iterator[pl.DataFrame]:
        """The daily table by customer_key and event_date, a range of customers at a time."""
        keys = self._customers
        for first in range(0, len(keys), BLOCK_CUSTOMERS):
            last = min(first + BLOCK_CUSTOMERS, len(keys)) - 1
            yield self._ask("active_days", first=keys[first], last=keys[last])

    def channel_scale(self, quantile: float) -> dict[str, float | None]:
        """Train quantile of the count channels; None when train has no day at all."""
        return dict(self._ask("channel_scale", q=quantile).row(0, named=True))

    def blocks(self) -> Iterator[tuple[int, int]]:
        """(first, last) row ids, both inclusive."""
        for first in range(0, self._rows, BLOCK_ROWS):
            yield first, min(first + BLOCK_ROWS, self._rows) - 1

    def _make_daily(self, oldest: date, newest: date) -> None:
        statement = sql.load("features/daily_activity")
        parameters = {
            "events": self._files,
            "oldest": oldest - timedelta(days=LOOKBACK_DAYS),
            "newest": newest,
            **self._types,
        }
        self._db.execute(f"CREATE TEMP TABLE daily_activity AS {statement.text}", parameters)

    def _table(self, name: str, rows: pl.DataFrame) -> None:
        arrow = rows.to_arrow()
        self._db.register("incoming", arrow)
        self._db.execute(f'CREATE TEMP TABLE "{name}" AS SELECT * FROM incoming')
        self._db.unregister("incoming")

    def _ask(self, name: str, **parameters: object) -> pl.DataFrame:
        answer = self._db.sql(sql.load(f"features/{name}").text, params=parameters).to_arrow_table()
        return pl.DataFrame(answer)


def _buckets(days: int) -> int:
    return 1 if days == 7 else days // 30 + 1

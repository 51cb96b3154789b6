"""The event stream, through DuckDB: statements in ``sql/features``, answers as arrays by row.

Sums are over integers (hundredths of the currency), so neither the order of rows and files nor the number of
threads can change a byte. A store holds the customers of one range, which bounds memory at any size.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib import sql
from pipeline_lib.errors import ContractError
from pipeline_lib.features.columns import Floats
from pipeline_lib.features.inputs import FeatureInputs, bank_made, usable_categories
from pipeline_lib.features.stream import KINDS, NO_TIME, Events, Kind, Stream

BUCKETS = 14
"""Age buckets of ``windows.sql``: 7 days, the rest of 30, eleven times 30, the rest of 365."""
MEASURES = ("n", "active_days", "cents", "cents_sq", "n_night", "n_morning", "n_afternoon", "n_evening",
            "refund_cents", "consumption_cents", "inflow_cents")  # fmt: skip
MAX_L2 = 62
BLOCK_CUSTOMERS = 2_000
MEMORY_LIMIT = "1000MB"
LOOKBACK_DAYS = 365
Types = Mapping[str, Sequence[str]]
"""Kind of event -> event types."""


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
    """A connection with the events and the daily table of the customers of some rows. Close it, or use ``with``."""

    def __init__(self, inputs: FeatureInputs, types: Types, moves: pl.DataFrame, threads: int) -> None:
        categories, rows = inputs.categories, inputs.rows
        if int(categories["l2_id"].max() or 0) > MAX_L2:  # type: ignore[arg-type]
            raise ContractError(f"dim_mcc: level-2 ids up to {MAX_L2} fit the daily mask, found more")
        self._types = {name: list(values) for name, values in types.items()}
        self._rows = rows
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
        horizon = rows.group_by("customer_key").agg(pl.col("cutoff_date").max()).sort("customer_key")
        self._table("horizon", horizon)
        self._table("subject", horizon.select("customer_key"))
        self._customers: list[int] = horizon["customer_key"].to_list()
        self._read_events(inputs)
        self._create("daily_activity", **self._types)

    def __enter__(self) -> EventStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._spill.cleanup()

    def facts(self) -> pl.DataFrame:
        """Per event type of the rows' customers up to their newest cutoff: events, timed, merchants, newest."""
        return self._ask("event_facts")

    def windows(self) -> Windows:
        found = self._ask("windows")
        row, bucket = found["row_id"].to_numpy(), found["bucket"].to_numpy()
        sums = {name: np.zeros((len(self._rows), BUCKETS)) for name in MEASURES}
        for name in MEASURES:
            sums[name][row, bucket] = found[name].to_numpy()
        masks = np.zeros((len(self._rows), BUCKETS), dtype=np.int64)
        masks[row, bucket] = found["l2_mask"].to_numpy()
        recency = np.full(len(self._rows), np.nan)
        newest = found.drop_nulls("recency").group_by("row_id").agg(pl.col("recency").min())
        recency[newest["row_id"].to_numpy()] = newest["recency"].to_numpy()
        return Windows(sums, masks, recency)

    def category_use(self, recent_days: int) -> pl.DataFrame:
        """Columns row_id, mcc_idx, n_recent, n_year, spend_cents: acts of the customer only."""
        acts = [*self._types["spend"], *self._types["inflow"]]
        return self._ask("category_use", acts=acts, spend=self._types["spend"], recent_days=recent_days)

    def stream(self, timed: bool) -> Stream:
        """The events one by one, with each row's window. An event of an unlisted type is in no kind.

        Args:
            timed: the source's events carry a time of day: a fact of the source, not of these rows.
        """
        columns = {"event_type": pl.String(), "kind": pl.UInt8()}
        self._table("event_kind", pl.DataFrame(kind_of_type(self._types), schema=columns, orient="row"))
        found = self._ask("stream")
        second = found["second"].to_numpy().astype(np.int32)
        events = Events(
            day=found["day"].to_numpy().astype(np.int32),
            second=second if timed else np.full(len(second), NO_TIME, dtype=np.int32),
            kind=found["kind"].to_numpy().astype(np.uint8),
            mcc=found["mcc_idx"].to_numpy().astype(np.uint8),
            l2=found["l2_id"].to_numpy().astype(np.uint8),
            l1=found["l1_id"].to_numpy().astype(np.uint8),
            merchant=found["merchant_key"].to_numpy().astype(np.int64),
            amount=found["amount"].to_numpy().astype(np.float64),
        )
        return Stream.of(
            found["customer_key"].to_numpy().astype(np.int64),
            events,
            self._rows["customer_key"].to_numpy().astype(np.int64),
            self._rows["cutoff_date"].cast(pl.Int32).to_numpy(),
            also_spend(self._types),
        )

    def days(self) -> Iterator[pl.DataFrame]:
        """The daily table by customer_key and event_date, a range of customers at a time."""
        keys = self._customers
        for first in range(0, len(keys), BLOCK_CUSTOMERS):
            last = min(first + BLOCK_CUSTOMERS, len(keys)) - 1
            yield self._ask("active_days", first=keys[first], last=keys[last])

    def channel_scale(self, quantile: float) -> dict[str, float | None]:
        """Train quantile of the count channels; None when train has no day at all."""
        return dict(self._ask("channel_scale", q=quantile).row(0, named=True))

    def _read_events(self, inputs: FeatureInputs) -> None:
        cutoffs, (first, last) = inputs.rows["cutoff_date"].to_list(), inputs.shards
        bounds = {
            "first_shard": first,
            "last_shard": last,
            "oldest": min(cutoffs) - timedelta(days=LOOKBACK_DAYS),
            "newest": max(cutoffs),
        }
        self._create("event", events=[str(path) for path in inputs.events], **bounds)

    def _create(self, name: str, **parameters: object) -> None:
        self._db.execute(f"CREATE TEMP TABLE {name} AS {sql.load(f'features/{name}').text}", parameters)

    def _table(self, name: str, rows: pl.DataFrame) -> None:
        arrow = rows.to_arrow()
        self._db.register("incoming", arrow)
        self._db.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS SELECT * FROM incoming')
        self._db.unregister("incoming")

    def _ask(self, name: str, **parameters: object) -> pl.DataFrame:
        answer = self._db.sql(sql.load(f"features/{name}").text, params=parameters).to_arrow_table()
        return pl.DataFrame(answer)


def _buckets(days: int) -> int:
    return 1 if days == 7 else days // 30 + 1


def kind_of_type(types: Types) -> list[tuple[str, int]]:
    """Event type -> index into ``KINDS``; a type of several kinds has the one that says most, so spend comes last."""
    order = [*(kind for kind in KINDS if kind != "spend"), "spend"]
    named: dict[str, int] = {}
    for kind in order:
        for name in types[kind]:
            named.setdefault(name, KINDS.index(kind))
    return sorted(named.items())


def also_spend(types: Types) -> tuple[Kind, ...]:
    """Kinds whose types are all spend too."""
    return tuple(k for k in KINDS if k != "spend" and types[k] and set(types[k]) <= set(types["spend"]))

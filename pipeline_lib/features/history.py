"""Holdings by customer and month: what was held, added and dropped in the months up to a cutoff.

One dense array [customers, months, products] of int8: 1 held, 0 not held, -1 not known (no row that month, or a
null). A move needs two known values in consecutive months, so no event is booked across a gap. Source: data.md
5.2 (product_event).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.contracts.tables import SHARDS, product_column

Ints = npt.NDArray[np.int64]
UNKNOWN = -1
ALL_SHARDS = (0, SHARDS - 1)


@dataclass(frozen=True)
class Holdings:
    customers: Ints
    """Customer keys, ascending [N]."""
    first_month: int
    held: npt.NDArray[np.int8]
    """[N, M, P]."""
    present: npt.NDArray[np.bool_]
    """The customer has a row that month [N, M]."""
    days: dict[int, date]
    """Month number -> snapshot date."""

    def position(self, keys: Ints) -> Ints:
        return np.searchsorted(self.customers, keys)

    def moves(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Added and dropped between month m - 1 and m, at index m [N, M, P]; the first month has none."""
        before, after = self.held[:, :-1], self.held[:, 1:]
        added, dropped = (before == 0) & (after == 1), (before == 1) & (after == 0)
        pad = ((0, 0), (1, 0), (0, 0))
        return np.pad(added, pad), np.pad(dropped, pad)


def month_number(day: date) -> int:
    return day.year * 12 + day.month - 1


def load_holdings(
    snapshots: Mapping[date, Path], customers: Ints, products: Sequence[str], shards: tuple[int, int] = ALL_SHARDS
) -> Holdings:
    """Read the product flags of these customers from every snapshot file.

    Args:
        shards: first and last shard that the customers lie in: the row groups that are read.
    """
    numbers = [month_number(day) for day in snapshots]
    first, months = min(numbers), max(numbers) - min(numbers) + 1
    held = np.full((len(customers), months, len(products)), UNKNOWN, dtype=np.int8)
    present = np.zeros((len(customers), months), dtype=np.bool_)
    columns = [product_column(short) for short in products]
    for day, path in snapshots.items():
        near = pl.scan_parquet(path).filter(pl.col("shard").is_between(*shards))
        table = near.select("customer_key", *columns).collect()
        keys = table["customer_key"].to_numpy().astype(np.int64)
        known = np.isin(keys, customers)
        where, month = np.searchsorted(customers, keys[known]), month_number(day) - first
        present[where, month] = True
        if columns:  # a table without columns has lost its rows, too
            flags = table.select(pl.col(columns).cast(pl.Int8).fill_null(UNKNOWN)).to_numpy()
            held[where, month] = flags[known]
    return Holdings(customers, first, held, present, {month_number(day): day for day in snapshots})


@dataclass(frozen=True)
class History:
    """Per row (customer at a cutoff), over at most ``history_months`` months up to the cutoff."""

    months_observed: Ints
    added: npt.NDArray[np.int64]
    """Times each product was added [R, P]."""
    dropped: npt.NDArray[np.int64]
    held_ever: npt.NDArray[np.bool_]
    """[R, P]."""
    held_now: npt.NDArray[np.bool_]
    """At the cutoff [R, P]."""
    months_held: Ints
    """Months of the window in which each product was held [R, P]."""
    products_by_month: npt.NDArray[np.float64]
    """Products held per month, newest (the cutoff's) first [R, months]; NaN = no row that month."""
    added_by_month: npt.NDArray[np.float64]
    """Products added between the month before and this one, newest first [R, months]; NaN = not known."""
    dropped_by_month: npt.NDArray[np.float64]


def history_of(holdings: Holdings, keys: Ints, cutoffs: Sequence[date], months: int) -> History:
    """Summaries of every row; one pass per distinct cutoff.

    A move is counted when both of its months lie in the window, so rows with a longer past know no more.
    """
    products, total = holdings.held.shape[2], len(keys)
    observed = np.zeros(total, dtype=np.int64)
    added, dropped, months_held = (np.zeros((total, products), dtype=np.int64) for _ in range(3))
    ever, now = (np.zeros((total, products), dtype=np.bool_) for _ in range(2))
    by_month, added_in, dropped_in = (np.full((total, months), np.nan) for _ in range(3))
    add, drop = holdings.moves()
    numbers = np.array([month_number(day) for day in cutoffs]) - holdings.first_month
    where = holdings.position(keys)
    for cutoff in np.unique(numbers):
        at = np.flatnonzero(numbers == cutoff)
        low, high = max(0, int(cutoff) - months + 1), int(cutoff) + 1
        who = where[at]
        present, held = holdings.present[who, low:high], holdings.held[who, low:high] == 1
        observed[at] = present.sum(axis=1)
        added[at] = add[who, low + 1 : high].sum(axis=1)
        dropped[at] = drop[who, low + 1 : high].sum(axis=1)
        ever[at], now[at], months_held[at] = held.any(axis=1), held[:, -1], held.sum(axis=1)
        by_month[at, : high - low] = _newest_first(held.sum(axis=2), present)
        both = present[:, 1:] & present[:, :-1]
        added_in[at, : high - low - 1] = _newest_first(add[who, low + 1 : high].sum(axis=2), both)
        dropped_in[at, : high - low - 1] = _newest_first(drop[who, low + 1 : high].sum(axis=2), both)
    return History(observed, added, dropped, ever, now, months_held, by_month, added_in, dropped_in)


def _newest_first(values: npt.NDArray[np.int64], known: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    return np.where(known, values, np.nan)[:, ::-1]


def daily_moves(holdings: Holdings) -> pl.DataFrame:
    """Products added and dropped, booked on the snapshot date: customer_key, event_date, added, dropped."""
    add, drop = (moves.sum(axis=2) for moves in holdings.moves())
    who, month = np.nonzero(add + drop)
    dates = [holdings.days[holdings.first_month + int(m)] for m in month]
    return pl.DataFrame(
        {
            "customer_key": holdings.customers[who].astype(np.int32),
            "event_date": pl.Series(dates, dtype=pl.Date),
            "added": add[who, month].astype(np.int32),
            "dropped": drop[who, month].astype(np.int32),
        }
    )

"""Rows in portions of whole customers, so that memory does not grow with the bank and each portion is retried alone.

Rows lie in the order of ``shuffle_key``, so a range of rows is a range of customers and, in the canonical tables, a
range of row groups. Source: features.md 15 (unit of work).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline_lib.errors import ContractError


@dataclass(frozen=True)
class Range:
    """Rows [first, first + rows) of ``split_assignment``: all rows of some customers."""

    first: int
    rows: int

    def of(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.slice(self.first, self.rows)


def ranges_of(rows: pl.DataFrame, customers: int) -> list[Range]:
    """Portions of at most that many customers, in row order."""
    key = rows["customer_key"].to_numpy()
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))  # first row of each customer
    edges = [*starts[::customers].tolist(), len(rows)]
    return [Range(first, after - first) for first, after in zip(edges, edges[1:], strict=False)]


def fit_rows(rows: pl.DataFrame, customers: int) -> pl.DataFrame:
    """Train rows of the customers with the smallest shuffle keys, at most that many of them.

    Raises:
        ContractError: there is no train row.
    """
    train = rows.filter(pl.col("split") == "train")
    if train.is_empty():
        raise ContractError("split_assignment has no row with split = train: nothing can be fitted")
    return train.filter(pl.col("customer_key").rle_id() < customers)

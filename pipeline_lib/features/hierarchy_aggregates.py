"""Four aggregates of merchant_hierarchy that need no tree: how many merchants, how often again, how fresh, how even.

Source: features.md 8.5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline_lib.features.columns import EVENT, MERCHANT, Column, Floats, nan_where, ratio
from pipeline_lib.features.hierarchy_spend import SPEND, spend_column
from pipeline_lib.features.stream import LOOKBACK_DAYS, NO_MERCHANT, Window
from pipeline_lib.settings.feature_groups.hierarchy import Hierarchy

Ints = npt.NDArray[np.int64]


def _merchant_column(name: str) -> Column:
    lineage = (MERCHANT, f"{EVENT}.amount", f"{EVENT}.event_date")
    return Column(name, "num", lineage, SPEND, lookback_days=LOOKBACK_DAYS)


AGGREGATES = (
    _merchant_column("mh_merchants"),
    _merchant_column("mh_revisit"),
    spend_column("mh_freshness", "num"),
    _merchant_column("mh_gini"),
)


def aggregates(window: Window, own: Hierarchy) -> Floats:
    """[B, 4]. Purchases at merchants nobody knows count for freshness only; without a known merchant: NaN."""
    known, rows = window.where(window.events.merchant != NO_MERCHANT), len(window)
    order = np.lexsort((known.events.merchant, known.row))
    first = _starts(known.row[order], known.events.merchant[order])
    owner = known.row[order][first]
    count = _sums(owner, np.ones(len(owner)), rows)
    visits = np.diff(np.append(first, len(order)))
    recent = _sums(owner, np.minimum.reduceat(known.age[order], first) < own.recent_days, rows) if len(first) else count
    spend = np.add.reduceat(known.events.amount[order], first) if len(first) else np.zeros(0)
    many = np.log1p(recent) / np.log1p(own.many_merchants)
    again = ratio(_sums(owner, visits >= 2, rows), count)
    return np.stack(
        [nan_where(count == 0, many), again, _freshness(window, own.fresh_days), _gini(owner, spend, count)], axis=1
    )


def _freshness(window: Window, fresh_days: float) -> Floats:
    """Mean of exp(-age / fresh_days) over the purchases, weighted by amount [B]."""
    amount, rows = window.events.amount, len(window)
    fresh = _sums(window.row, amount * np.exp(-window.age / fresh_days), rows)
    return ratio(fresh, _sums(window.row, amount, rows))


def _gini(owner: Ints, spend: Floats, count: Floats) -> Floats:
    """Sum (2 i - n - 1) x_i / (n sum x) over the merchants of a row, x ascending, i from 1 [B].

    Args:
        owner: row of every merchant, ascending [M].
        spend: at that merchant [M].
        count: merchants of every row [B].
    """
    order = np.argsort(spend, kind="stable")
    small = owner.astype(np.min_scalar_type(len(count)))  # 16 bits in a block: a radix sort, a fifth of the time
    order = order[np.argsort(small[order], kind="stable")]
    rank = np.arange(1, len(owner) + 1) - (np.cumsum(count) - count)[owner]
    uneven = _sums(owner, (2 * rank - count[owner] - 1) * spend[order], len(count))
    return ratio(uneven, count * _sums(owner, spend, len(count)))


def _starts(row: Ints, merchant: Ints) -> Ints:
    """Where another (row, merchant) begins."""
    other = (np.diff(row) != 0) | (np.diff(merchant) != 0)
    return np.flatnonzero(np.concatenate([np.ones(min(len(row), 1), dtype=np.bool_), other]))


def _sums(row: Ints, weight: npt.NDArray[Any], rows: int) -> Floats:
    return np.bincount(row, weights=weight, minlength=rows).astype(np.float64)

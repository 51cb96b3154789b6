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


def _merchant_column(name: str) -> Column:
    lineage = (MERCHANT, f"{EVENT}.amount", f"{EVENT}.event_date")
    return Column(name, "num", lineage, (*SPEND, MERCHANT), lookback_days=LOOKBACK_DAYS)


AGGREGATES = (
    _merchant_column("mh_merchants"),
    _merchant_column("mh_revisit"),
    spend_column("mh_freshness", "num"),
    _merchant_column("mh_gini"),
)


def aggregates(window: Window, own: Hierarchy) -> Floats:
    """[B, 4]. Purchases at merchants nobody knows count for freshness only; without a known merchant: NaN."""
    known = window.where(window.events.merchant != NO_MERCHANT)
    merchants, revisit, gini = _by_merchant(known)
    recent = _by_merchant(known.last(own.recent_days))[0]
    count = nan_where(merchants == 0, np.log1p(recent) / np.log1p(own.many_merchants))
    return np.stack([count, revisit, _freshness(window, own.fresh_days), gini], axis=1)


def _freshness(window: Window, fresh_days: float) -> Floats:
    """Mean of exp(-age / fresh_days) over the purchases, weighted by amount [B]."""
    amount, rows = window.events.amount, len(window)
    fresh = _sums(window.row, amount * np.exp(-window.age / fresh_days), rows)
    return ratio(fresh, _sums(window.row, amount, rows))


def _by_merchant(window: Window) -> tuple[Floats, Floats, Floats]:
    """Merchants, share of them seen at least twice, and Gini coefficient of the spend over them [B] each.

    Gini = sum (2 i - n - 1) x_i / (n sum x), x ascending. Source: features.md 8.5.
    """
    row, rows = window.row, len(window)
    order = np.lexsort((window.events.merchant, row))
    pair = np.stack([row[order], window.events.merchant[order]])
    first = np.flatnonzero(np.diff(pair, axis=1, prepend=-2).any(axis=0))
    owner, visits = pair[0, first], np.diff(np.append(first, len(row)))
    spend = np.add.reduceat(window.events.amount[order], first) if len(first) else np.zeros(0)
    count = _sums(owner, np.ones(len(owner)), rows)
    again = _sums(owner, visits >= 2, rows)
    ranked = np.lexsort((spend, owner))
    rank = np.arange(len(owner)) - np.repeat(np.concatenate([[0], np.cumsum(count)[:-1]]), count.astype(np.int64)) + 1
    uneven = _sums(owner, (2 * rank - count[owner] - 1) * spend[ranked], rows)
    total = _sums(owner, spend, rows)
    return count, ratio(again, count), ratio(uneven, count * total)


def _sums(row: npt.NDArray[np.int64], weight: npt.NDArray[Any], rows: int) -> Floats:
    return np.bincount(row, weights=weight, minlength=rows).astype(np.float64)

"""How the customer spends: txn_behavior, txn_rolling and a first part of economics.

Every window ends at the cutoff. A month is 30 days counted back from the cutoff; months before the customer's
first snapshot are not observed and do not count. Source: features.md 4.3, 4.4 and 9.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.features.columns import (
    CATEGORY,
    EVENT,
    MERCHANT,
    SNAPSHOT,
    TIME_OF_DAY,
    Column,
    Floats,
    Values,
    event_type,
    nan_where,
    ratio,
)
from pipeline_lib.features.material import Material

MONTHS = 12
MONTH_DAYS = 30
YEAR_DAYS = MONTHS * MONTH_DAYS
RECENCY_CAP = 365.0
CENTS = 100.0
_SPEND = (event_type("spend"),)
_AMOUNT = (f"{EVENT}.amount", f"{EVENT}.event_date")
_MONTHS = (*_AMOUNT, f"{SNAPSHOT}.snapshot_date")
_WHEN = (f"{EVENT}.event_date",)
_HOUR = (f"{EVENT}.event_ts",)
_L2 = (f"{EVENT}.l2_id", f"{EVENT}.event_date")
_DAY_PARTS = ("morning", "afternoon", "evening", "night")

TXN_BEHAVIOR = (
    Column("monthly_txns", "num", (*_WHEN, f"{SNAPSHOT}.snapshot_date"), _SPEND),
    Column("avg_amount", "num", _AMOUNT, _SPEND),
    Column("monthly_spend", "num", _MONTHS, _SPEND),
    Column("unique_mcc", "num", (f"{EVENT}.mcc_idx", f"{CATEGORY}.customer_made"), _SPEND),
    Column("unique_merchants", "num", (MERCHANT,), _SPEND),
    *(Column(f"ratio_{part}", "num", _HOUR, (*_SPEND, TIME_OF_DAY)) for part in _DAY_PARTS),
    Column("recency_days", "num", _WHEN, _SPEND),
    Column("frequency", "num", (*_WHEN, f"{SNAPSHOT}.snapshot_date"), _SPEND),
    Column("monetary", "num", _MONTHS, _SPEND),
    Column("stability", "num", _MONTHS, _SPEND),
    Column("refund_ratio", "num", _AMOUNT, (*_SPEND, event_type("refund"))),
)


def txn_behavior(m: Material, stable_share: float) -> Values:
    """Columns of 360 days. Counts per observed month; shares of the spend events by part of the day."""
    w = m.windows
    n, spent = w.last("n", YEAR_DAYS), w.last("cents", YEAR_DAYS) / CENTS
    months = m.history.months_observed.astype(np.float64)
    monthly = w.months("cents", MONTHS) / CENTS
    observed = _observed(m)
    median = _masked_median(monthly, observed)
    near = (np.abs(monthly - median[:, None]) <= stable_share * median[:, None]) & observed
    return {
        "monthly_txns": n / months,
        "avg_amount": ratio(spent, n),
        "monthly_spend": spent / months,
        "unique_mcc": np.log1p(_distinct_categories(m)),
        **{f"ratio_{part}": ratio(w.last(f"n_{part}", YEAR_DAYS), n) for part in _DAY_PARTS},
        "recency_days": np.nan_to_num(w.recency, nan=RECENCY_CAP),
        "frequency": w.last("active_days", YEAR_DAYS) / np.minimum(months * MONTH_DAYS, YEAR_DAYS),
        "monetary": median,
        "stability": nan_where(median <= 0, near.sum(axis=1) / months),
        "refund_ratio": ratio(w.last("refund_cents", YEAR_DAYS) / CENTS, spent),
    }


def txn_rolling_columns(days: Sequence[int]) -> tuple[Column, ...]:
    names = {"sum": _AMOUNT, "mean": _AMOUNT, "std": _AMOUNT, "count": _WHEN, "active_days": _WHEN}
    return tuple(Column(f"roll_{d}d_{name}", "num", lineage, _SPEND) for d in days for name, lineage in names.items())


def txn_rolling(m: Material, days: Sequence[int]) -> Values:
    """Sum, mean, standard deviation, count and active days of spend in (c - d, c]; empty: 0, mean and std NaN."""
    out: Values = {}
    for d in days:
        n, cents, squares = (m.windows.last(name, d) for name in ("n", "cents", "cents_sq"))
        variance = ratio(squares - cents * ratio(cents, n), n - 1)
        out[f"roll_{d}d_sum"] = cents / CENTS
        out[f"roll_{d}d_mean"] = ratio(cents, n) / CENTS
        out[f"roll_{d}d_std"] = nan_where(n < 2, np.sqrt(np.maximum(variance, 0.0)) / CENTS)
        out[f"roll_{d}d_count"] = n
        out[f"roll_{d}d_active_days"] = m.windows.last("active_days", d)
    return out


_MONTHLY = (*_MONTHS, f"{EVENT}.event_type")
ECONOMICS = (
    Column("price_sensitivity", "num", _MONTHLY, (*_SPEND, event_type("refund"))),
    Column("cross_category_elasticity", "num", (*_L2, f"{SNAPSHOT}.snapshot_date"), _SPEND),
    Column("spending_diversification", "num", (*_L2, f"{EVENT}.amount"), _SPEND),
    Column("category_hhi", "num", (*_L2, f"{EVENT}.amount"), _SPEND),
    Column("spending_risk", "num", _MONTHLY, _SPEND),
    Column("discount_rate_proxy", "num", _MONTHLY, _SPEND),
    Column("savings_propensity", "num", _MONTHLY, (*_SPEND, event_type("inflow"))),
)


def economics(m: Material, min_months: int, max_log_ratio: float) -> Values:
    """The part of features.md 9 that needs monthly sums only; the income series come with the features issue."""
    observed = _observed(m)
    names = ("cents", "refund_cents", "consumption_cents", "inflow_cents")
    spend, refund, consumed, inflow = (m.windows.months(name, MONTHS) / CENTS for name in names)
    net = np.where(observed, spend - refund, 0.0)
    few = ((net > 0) & observed).sum(axis=1) < min_months
    few_income = ((inflow > 0) & observed).sum(axis=1) < min_months
    shares = _level2_shares(m)
    income, outgo = (np.where(observed, x, 0.0).sum(axis=1) for x in (inflow, consumed - refund))
    made = {
        "price_sensitivity": _masked_mean(ratio(refund, spend), observed & (spend > 0)),
        "cross_category_elasticity": _masked_cv(m.windows.categories_by_month(MONTHS), observed),
        "spending_diversification": -np.sum(shares * np.log(np.where(shares > 0, shares, 1.0)), axis=1),
        "category_hhi": np.sum(shares**2, axis=1),
        "spending_risk": _masked_cv(net, observed),
        "discount_rate_proxy": _halves(np.maximum(net, 0.0), m, max_log_ratio),
    }
    saved = nan_where(few_income, np.clip(ratio(income - outgo, income), -1.0, 1.0))
    return {**{name: nan_where(few, values) for name, values in made.items()}, "savings_propensity": saved}


def _observed(m: Material) -> npt.NDArray[np.bool_]:
    return np.arange(MONTHS)[None, :] < m.history.months_observed[:, None]


def _distinct_categories(m: Material) -> Floats:
    used = m.category_use.group_by("row_id").len()
    out = np.zeros(len(m))
    out[used["row_id"].to_numpy()] = used["len"].to_numpy()
    return out


def _level2_shares(m: Material) -> Floats:
    """Share of the year's spend by level-2 category [R, L2]; rows without spend are all zero."""
    known = m.category_use.join(m.categories.select(pl.col("mcc_idx").cast(pl.Int32), "l2_id"), on="mcc_idx")
    cents = np.zeros((len(m), int(m.categories["l2_id"].max() or 0) + 1))  # type: ignore[arg-type]
    np.add.at(cents, (known["row_id"].to_numpy(), known["l2_id"].to_numpy()), known["spend_cents"].to_numpy())
    total = cents.sum(axis=1, keepdims=True)
    shares: Floats = np.zeros_like(cents)
    np.divide(cents, total, out=shares, where=total > 0)
    return shares


def _halves(monthly: Floats, m: Material, limit: float) -> Floats:
    """ln((older half + 1) / (newer half + 1)) of the observed months, newest first in the array."""
    half = m.history.months_observed[:, None] // 2
    place, count = np.arange(MONTHS)[None, :], m.history.months_observed[:, None]
    newer = np.where(place < half, monthly, 0.0).sum(axis=1)
    older = np.where((place >= count - half) & (place < count), monthly, 0.0).sum(axis=1)
    logs: Floats = np.clip(np.log((older + 1) / (newer + 1)), -limit, limit)
    return logs


def _masked_mean(values: Floats, mask: npt.NDArray[np.bool_]) -> Floats:
    return ratio(np.where(mask, values, 0.0).sum(axis=1), mask.sum(axis=1).astype(np.float64))


def _masked_cv(values: Floats, mask: npt.NDArray[np.bool_]) -> Floats:
    """Sample standard deviation over mean; NaN with fewer than two values or a mean of 0."""
    count = mask.sum(axis=1).astype(np.float64)
    mean = _masked_mean(values, mask)
    squares = np.where(mask, (values - mean[:, None]) ** 2, 0.0).sum(axis=1)
    return ratio(np.sqrt(ratio(squares, np.maximum(count - 1, 0.0))), mean)


def _masked_median(values: Floats, mask: npt.NDArray[np.bool_]) -> Floats:
    """Median of the masked entries of each row; NaN without any."""
    order = np.sort(np.where(mask, values, np.inf), axis=1)
    count = mask.sum(axis=1)
    low, high = np.maximum((count - 1) // 2, 0), np.minimum(count // 2, values.shape[1] - 1)
    rows = np.arange(len(values))
    both = (order[rows, low], order[rows, high])
    return nan_where(count == 0, (both[0] + both[1]) / 2)

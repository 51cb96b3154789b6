"""How the customer spends: txn_behavior and txn_rolling.

Every window ends at the cutoff. A month is 30 days counted back from the cutoff; months before the customer's
first snapshot are not observed and do not count. Source: features.md 4.3 and 4.4.
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
from pipeline_lib.features.stream import NO_MERCHANT

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
        "unique_merchants": np.log1p(_distinct_merchants(m)),
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


def _observed(m: Material) -> npt.NDArray[np.bool_]:
    return np.arange(MONTHS)[None, :] < m.history.months_observed[:, None]


def _distinct_merchants(m: Material) -> Floats:
    """Known merchants of the year's spend [R]."""
    if m.stream is None:
        return np.full(len(m), np.nan)
    spend = m.stream.window(YEAR_DAYS, ("spend",))
    spend = spend.where(spend.events.merchant != NO_MERCHANT)
    seen = pl.DataFrame({"row": spend.row, "merchant": spend.events.merchant}).unique()["row"]
    return np.bincount(seen.to_numpy(), minlength=len(m)).astype(np.float64)


def _distinct_categories(m: Material) -> Floats:
    used = m.category_use.group_by("row_id").len()
    out = np.zeros(len(m))
    out[used["row_id"].to_numpy()] = used["len"].to_numpy()
    return out


def _masked_median(values: Floats, mask: npt.NDArray[np.bool_]) -> Floats:
    """Median of the masked entries of each row; NaN without any."""
    order = np.sort(np.where(mask, values, np.inf), axis=1)
    count = mask.sum(axis=1)
    low, high = np.maximum((count - 1) // 2, 0), np.minimum(count // 2, values.shape[1] - 1)
    rows = np.arange(len(values))
    both = (order[rows, low], order[rows, high])
    return nan_where(count == 0, (both[0] + both[1]) / 2)

"""Group ``economics``: what a customer's months of spend and income say about tastes, risk and saving (17).

S = spend net of refunds, C = S + cash, Y = money in, in the source's currency per 30 days counted back from the
cutoff, at most 12 of them. Months before the customer's first snapshot are not observed. Income columns need
``min_months`` months with Y > 0, the others as many with S > 0; else NaN.

Permanent income is a trailing mean. The filters that features.md allows from 24 months (Hodrick-Prescott, Kalman)
cannot apply: longer histories than 12 months would betray the split (data.md L28). Source: features.md 9.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline_lib.features.columns import EVENT, SNAPSHOT, Column, Floats, Values, event_type, nan_where, ratio
from pipeline_lib.features.economics_series import (
    Mask,
    PermanentIncome,
    elasticity,
    halves,
    masked_cv,
    masked_mean,
    smoothing,
)
from pipeline_lib.features.generator import Arrays, Generator, Shape
from pipeline_lib.features.material import Material
from pipeline_lib.settings.feature_groups.economics import Economics
from pipeline_lib.settings.features import Features

MONTHS = 12
LOOKBACK_DAYS = MONTHS * 30
CENTS = 100.0
_MONTHLY = (f"{EVENT}.amount", f"{EVENT}.event_date", f"{EVENT}.event_type", f"{SNAPSHOT}.snapshot_date")
_L2 = (f"{EVENT}.l2_id", f"{EVENT}.event_date")
_SPEND = (event_type("spend"),)
_INCOME = (event_type("inflow"),)


def _column(name: str, *needs: str, lineage: tuple[str, ...] = _MONTHLY) -> Column:
    return Column(name, "num", lineage, needs, lookback_days=LOOKBACK_DAYS)


COLUMNS = (
    _column("income_elasticity", *_SPEND, *_INCOME),
    _column("price_sensitivity", *_SPEND, event_type("refund")),
    _column("cross_category_elasticity", *_SPEND, lineage=(*_L2, f"{SNAPSHOT}.snapshot_date")),
    _column("spending_diversification", *_SPEND, lineage=(*_L2, f"{EVENT}.amount")),
    _column("category_hhi", *_SPEND, lineage=(*_L2, f"{EVENT}.amount")),
    _column("spending_risk", *_SPEND),
    _column("discount_rate_proxy", *_SPEND),
    _column("savings_propensity", *_SPEND, *_INCOME),
    _column("consumption_smoothing", *_SPEND, *_INCOME),
    _column("permanent_income_avg", *_INCOME),
    _column("permanent_income_stability", *_INCOME),
    _column("permanent_income_growth", *_INCOME),
    _column("permanent_income_trend", *_INCOME),
    _column("transitory_income_avg", *_INCOME),
    _column("transitory_income_volatility", *_INCOME),
    _column("transitory_income_max", *_INCOME),
    _column("bonus_frequency", *_INCOME),
)


def generator(shape: Shape, policy: Features) -> Generator:
    """The group ``economics``; it learns nothing."""
    return Generator(COLUMNS, lambda m, learnt, made: _make(m, learnt, policy.economics))


@dataclass(frozen=True)
class Ledger:
    """Monthly sums, oldest month first, newest last [R, 12]; 0 outside ``seen``."""

    spend: Floats
    """Gross."""
    refund: Floats
    net: Floats
    """S."""
    consumption: Floats
    """C."""
    income: Floats
    """Y."""
    seen: Mask
    """The month lies after the customer's first snapshot."""

    @classmethod
    def of(cls, m: Material) -> Ledger:
        seen = seen_months(m)
        spend, refund, consumed, income = (
            np.where(seen, m.windows.months(name, MONTHS)[:, ::-1] / CENTS, 0.0)
            for name in ("cents", "refund_cents", "consumption_cents", "inflow_cents")
        )
        return cls(spend, refund, spend - refund, consumed - refund, income, seen)


def seen_months(m: Material) -> Mask:
    """Months from the first known snapshot on, oldest first [R, 12]."""
    known = ~np.isnan(m.history.products_by_month[:, :MONTHS])
    months = known.shape[1] - known[:, ::-1].argmax(axis=1)
    months = np.where(known.any(axis=1), months, 0)
    return np.asarray(np.arange(MONTHS)[None, ::-1] < months[:, None])


def _make(m: Material, learnt: Arrays, policy: Economics) -> Values:
    ledger = Ledger.of(m)
    few_spend = ((ledger.net > 0) & ledger.seen).sum(axis=1) < policy.min_months
    few_income = ((ledger.income > 0) & ledger.seen).sum(axis=1) < policy.min_months
    spending = {**_tastes(m, ledger.seen), **_risks(ledger, policy)}
    income = {**_saving(ledger, policy), **permanent_income(ledger.income, ledger.seen, policy)}
    return {
        **{name: nan_where(few_spend, values) for name, values in spending.items()},
        **{name: nan_where(few_income, values) for name, values in income.items()},
    }


def _tastes(m: Material, seen: Mask) -> Values:
    shares = level2_shares(m)
    return {
        "cross_category_elasticity": masked_cv(m.windows.categories_by_month(MONTHS)[:, ::-1], seen),
        "spending_diversification": np.sum(shares * np.log(1 / np.where(shares > 0, shares, 1.0)), axis=1),
        "category_hhi": np.sum(shares**2, axis=1),
    }


def _risks(ledger: Ledger, policy: Economics) -> Values:
    spent = ledger.seen & (ledger.spend > 0)
    return {
        # Refunds of an earlier month can exceed the spend of this one; a share is at most 1.
        "price_sensitivity": masked_mean(np.minimum(ratio(ledger.refund, ledger.spend), 1.0), spent),
        "spending_risk": masked_cv(ledger.net, ledger.seen),
        "discount_rate_proxy": halves(ledger.net, ledger.seen, policy.max_log_ratio),
    }


def _saving(ledger: Ledger, policy: Economics) -> Values:
    income, outgo = ledger.income.sum(axis=1), ledger.consumption.sum(axis=1)
    return {
        "income_elasticity": elasticity(
            ledger.net,
            ledger.income,
            ledger.seen,
            policy.min_income_change,
            policy.max_elasticity,
            policy.min_elasticity_terms,
        ),
        "savings_propensity": np.clip(ratio(income - outgo, income), -1.0, 1.0),
        "consumption_smoothing": smoothing(ledger.income, ledger.consumption, ledger.seen),
    }


def permanent_income(income: Floats, seen: Mask, policy: Economics) -> Values:
    """The eight columns of permanent and transitory income from monthly income, oldest first [R, T]."""
    split = PermanentIncome.trailing(income, seen, policy.income_window)
    average, volatility, largest = split.transitory()
    return {
        "permanent_income_avg": split.level,
        "permanent_income_stability": split.stability,
        "permanent_income_growth": split.growth(policy.max_growth),
        "permanent_income_trend": split.trend,
        "transitory_income_avg": average,
        "transitory_income_volatility": volatility,
        "transitory_income_max": largest,
        "bonus_frequency": split.bonus_share(policy.bonus_share),
    }


def level2_shares(m: Material) -> Floats:
    """Share of the year's spend by level-2 category [R, L2]; rows without spend are all zero."""
    known = m.category_use.join(m.categories.select(pl.col("mcc_idx").cast(pl.Int32), "l2_id"), on="mcc_idx")
    width = int(m.categories["l2_id"].max() or 0) + 1  # type: ignore[arg-type]
    place = known["row_id"].to_numpy() * width + known["l2_id"].to_numpy().astype(np.int64)
    cents = np.bincount(place, weights=known["spend_cents"].to_numpy(), minlength=len(m) * width)
    table = cents.reshape(len(m), width).astype(np.float64)
    total = np.broadcast_to(table.sum(axis=1, keepdims=True), table.shape)
    return np.nan_to_num(ratio(table, total))

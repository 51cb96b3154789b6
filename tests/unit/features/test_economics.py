"""Economics against hand-made months and the slow, obvious formulas. Golden values: features.md 16."""

from __future__ import annotations

import statistics
from math import log
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.features import economics as group
from pipeline_lib.features.economics_series import PermanentIncome, elasticity, halves, masked_cv, smoothing
from pipeline_lib.features.events import BUCKETS, MEASURES, Windows
from pipeline_lib.settings.feature_groups.economics import Economics

POLICY = Economics(
    min_months=6,
    max_log_ratio=3.0,
    min_income_change=0.02,
    max_elasticity=5.0,
    min_elasticity_terms=3,
    income_window=6,
    max_growth=3.0,
    bonus_share=0.5,
)
SPEND, INCOME = [100.0, 110.0, 121.0, 133.1], [1000.0, 1100.0, 1100.0, 1210.0]


def row(*values: float) -> np.ndarray:
    return np.array([values], dtype=np.float64)


def all_seen(values: np.ndarray) -> np.ndarray:
    return np.ones(values.shape, dtype=bool)


def test_elasticity_skips_the_month_in_which_income_stood_still():
    s, y = row(*SPEND), row(*INCOME)
    assert elasticity(s, y, all_seen(s), 0.02, 5.0, 2) == pytest.approx([1.0])
    assert np.isnan(elasticity(s, y, all_seen(s), 0.02, 5.0, 3))


def test_one_wild_month_of_an_elasticity_is_clipped():
    s, y = row(100, 300, 300, 300), row(100, 110, 121, 133.1)
    assert elasticity(s, y, all_seen(s), 0.02, 5.0, 3) == pytest.approx([5 / 3])


def test_shares_of_categories_give_the_golden_numbers():
    m = material(months=[100.0] * 12, shares=[0.5, 0.3, 0.2])
    made = group._make(m, {}, POLICY)
    assert made["spending_diversification"] == pytest.approx([1.0297], abs=1e-4)
    assert made["category_hhi"] == pytest.approx([0.38])


def test_halves_leave_the_middle_month_out():
    assert halves(row(9, 9, 1000, 1, 1), np.ones((1, 5), bool), 3.0) == pytest.approx([log(19 / 3)])
    assert halves(row(5, 9, 9, 1, 1), np.array([[False, True, True, True, True]]), 3.0) == pytest.approx([log(19 / 3)])


monthly = st.lists(st.floats(0, 5000).map(lambda x: round(x, 2)), min_size=12, max_size=12)


@settings(max_examples=60, deadline=None)
@given(monthly, st.integers(2, 12))
def test_permanent_income_is_the_trailing_mean_of_the_seen_months(income, count):
    y = income[-count:]
    seen = np.arange(12)[None, :] >= 12 - count
    made = group.permanent_income(row(*income), seen, POLICY)
    p = [statistics.fmean(y[max(0, t - 5) : t + 1]) for t in range(count)]
    level = statistics.fmean(p)
    if level < 1e-3 or p[0] == 0:
        return
    rest = [a - b for a, b in zip(y, p, strict=True)]
    slope = np.polyfit(np.arange(count), np.array(p) / level, 1)[0]
    expected = {
        "permanent_income_avg": level,
        "permanent_income_stability": statistics.stdev(p) / level,
        "permanent_income_growth": np.clip((p[-1] - p[0]) / p[0], -3, 3),
        "permanent_income_trend": slope,
        "transitory_income_avg": statistics.fmean(rest) / level,
        "transitory_income_volatility": statistics.stdev(rest) / level,
        "transitory_income_max": max(rest) / level,
    }
    for name, value in expected.items():
        assert made[name] == pytest.approx([value], rel=1e-6, abs=1e-7), name


def test_a_bonus_is_income_far_above_its_trailing_mean():
    y = row(*[100.0] * 11, 400.0)
    split = PermanentIncome.trailing(y, all_seen(y), 6)
    assert split.bonus_share(0.5) == pytest.approx([1 / 12])
    assert split.bonus_share(2.0) == pytest.approx([0.0])


def test_consumption_that_moves_less_than_income_is_smooth():
    wild, calm = row(*[100.0, 300.0] * 3), row(*[100.0, 110.0] * 3)
    spread = [statistics.stdev(np.diff(np.log(x[0]))) + 0.05 for x in (wild, calm)]
    assert smoothing(wild, calm, all_seen(wild)) == pytest.approx([log(spread[0] / spread[1])])
    assert smoothing(calm, wild, all_seen(wild)) == pytest.approx([-log(spread[0] / spread[1])])


def test_variation_over_a_mean_that_is_not_positive_is_undefined():
    values = row(1, -1, 0)
    assert np.isnan(masked_cv(values, all_seen(values)))


def test_columns_are_those_declared_whoever_the_customer_is():
    made = group._make(material(months=[0.0] * 12), {}, POLICY)
    assert set(made) == {column.name for column in group.COLUMNS}
    assert len(group.COLUMNS) == 17
    assert all(np.isnan(values).all() for values in made.values())


def test_months_before_the_first_snapshot_do_not_count():
    """Twelve months of events, five of snapshots: too few months for anything."""
    late = group._make(material(months=[100.0] * 12, income=[500.0] * 12, snapshots=5), {}, POLICY)
    assert all(np.isnan(values).all() for values in late.values())
    enough = group._make(material(months=[9000.0] * 5 + [100.0] * 7, income=[500.0] * 12, snapshots=7), {}, POLICY)
    assert enough["savings_propensity"] == pytest.approx([0.8])
    assert enough["spending_risk"] == pytest.approx([0.0])


def test_a_month_without_a_snapshot_in_between_is_a_month():
    m = material(months=[100.0] * 12, income=[500.0] * 12, snapshots=8)
    m.history.products_by_month[0, 3] = np.nan
    assert group.seen_months(m).sum() == 8


def test_refunds_reduce_spend_and_saving_counts_cash_as_spent():
    m = material(months=[200.0] * 12, income=[500.0] * 12, refunds=[50.0] * 12, cash=[100.0] * 12)
    made = group._make(m, {}, POLICY)
    assert made["savings_propensity"] == pytest.approx([1 - (200 - 50 + 100) / 500])
    assert made["price_sensitivity"] == pytest.approx([0.25])


def test_a_month_that_returns_more_than_it_spends_has_a_refund_share_of_one():
    made = group._make(material(months=[900.0] * 11 + [10.0], refunds=[0.0] * 11 + [500.0]), {}, POLICY)
    assert made["price_sensitivity"] == pytest.approx([1 / 12])


def test_income_columns_and_spend_columns_are_undefined_apart():
    made = group._make(material(months=[100.0] * 12, income=[0.0] * 7 + [500.0] * 5), {}, POLICY)
    assert not np.isnan(made["spending_risk"]).any()
    assert np.isnan(made["permanent_income_avg"]).all()
    assert np.isnan(made["savings_propensity"]).all()


class OneRow(SimpleNamespace):
    def __len__(self) -> int:
        return 1


def material(
    months: list[float],
    income: list[float] | None = None,
    refunds: list[float] | None = None,
    cash: list[float] | None = None,
    snapshots: int = 12,
    shares: list[float] | None = None,
) -> OneRow:
    """One customer; months oldest first, sums in the currency."""
    zeros = [0.0] * 12
    refunds, cash = refunds or zeros, cash or zeros
    sums = {name: np.zeros((1, BUCKETS)) for name in MEASURES}
    by_name = {
        "cents": months,
        "refund_cents": refunds,
        "consumption_cents": [a + b for a, b in zip(months, cash, strict=True)],
        "inflow_cents": income or zeros,
    }
    for name, values in by_name.items():
        sums[name][0, 1:13] = np.array(values[::-1]) * 100
    held = np.where(np.arange(12) < snapshots, 1.0, np.nan)[None, :]
    weights = shares or [1.0]
    use = {
        "row_id": [0] * len(weights),
        "mcc_idx": range(len(weights)),
        "spend_cents": [round(sum(months) * 100 * w) for w in weights],
    }
    return OneRow(
        windows=Windows(sums, np.ones((1, BUCKETS), np.int64), np.zeros(1)),
        history=SimpleNamespace(products_by_month=held),
        category_use=pl.DataFrame(use, schema={"row_id": pl.Int64, "mcc_idx": pl.Int32, "spend_cents": pl.Int64}),
        categories=pl.DataFrame({"mcc_idx": range(len(weights)), "l2_id": range(len(weights))}).cast(pl.UInt8),
    )

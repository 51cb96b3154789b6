from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl
import pytest

from pipeline_lib.ingest.synthetic import frames, taxonomy
from pipeline_lib.ingest.synthetic.laws import Laws
from pipeline_lib.ingest.synthetic.purchases import SIGNS, TYPES, UNKNOWN
from pipeline_lib.ingest.synthetic.world import Bank, BlockMonth


@pytest.fixture(scope="module")
def events(small: tuple[Laws, Bank], months: list[BlockMonth]) -> pl.DataFrame:
    parts = [rows for part in months for _, rows in frames.events(part, small[1].logical_date)]
    return pl.concat(parts).sort("customer_id", "event_ts", "event_id")


def _of(events: pl.DataFrame, kind: str) -> pl.DataFrame:
    return events.filter(pl.col("event_type") == kind)


def test_events_come_in_five_types_with_the_sign_of_their_type(events: pl.DataFrame) -> None:
    assert set(events.get_column("event_type").unique()) == set(TYPES)
    sign = pl.col("event_type").replace_strict(TYPES, SIGNS.tolist(), return_dtype=pl.Float64)
    assert events.filter(pl.col("signed_amount") != sign * pl.col("amount")).is_empty()
    assert events.get_column("amount").min() >= 0.01
    cents = events.get_column("amount") * 100
    assert ((cents - cents.round()).abs() < 1e-4).all()


def test_only_card_events_have_a_category(events: pl.DataFrame) -> None:
    card = pl.col("event_type").is_in(["card_purchase", "card_refund"])
    assert events.filter(card & (pl.col("mcc_idx") == UNKNOWN)).is_empty()
    assert events.filter(~card & (pl.col("mcc_idx") != UNKNOWN)).is_empty()


def test_only_card_events_have_a_merchant_and_it_is_one_of_their_category(events: pl.DataFrame) -> None:
    card = pl.col("event_type").is_in(["card_purchase", "card_refund"])
    assert events.filter(card == pl.col("merchant_id").is_null()).is_empty()
    codes = pl.Series([*taxonomy.codes(), "unknown"])
    named = events.filter(card).select(
        found=pl.col("merchant_id").str.slice(0, 4), code=pl.col("mcc_idx").map_batches(lambda at: codes.gather(at))
    )
    assert named.filter(pl.col("found") != pl.col("code")).is_empty()


def test_customers_go_back_to_their_favourites_as_often_as_declared(
    small: tuple[Laws, Bank], events: pl.DataFrame
) -> None:
    law = small[0].policy.events.merchants
    cards = _of(events, "card_purchase").filter(pl.len().over("customer_id", "mcc_idx") >= 30)
    visits = cards.group_by("customer_id", "mcc_idx", "merchant_id").len()
    top = visits.sort("len", descending=True).group_by("customer_id", "mcc_idx").head(law.favourites)
    share = top.get_column("len").sum() / visits.get_column("len").sum()
    assert law.loyalty < share < law.loyalty + 0.15  # the most popular are met by chance, too
    early, late = (
        cards.filter(half)
        for half in (pl.col("event_ts") < datetime(2026, 2, 1), pl.col("event_ts") >= datetime(2026, 2, 1))
    )
    again = late.join(early, on=["customer_id", "merchant_id"], how="semi").height / late.height
    assert again > 0.6


def test_popularity_of_merchants_falls_as_a_power_of_the_rank(events: pl.DataFrame) -> None:
    code = taxonomy.codes().index("5411")
    visits = _of(events, "card_purchase").filter(pl.col("mcc_idx") == code).get_column("merchant_id").value_counts()
    count = np.sort(visits.get_column("count").to_numpy())[::-1]
    slope = np.polyfit(np.log(np.arange(1, 101)), np.log(count[:100]), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.25)


def test_events_belong_to_customers_with_a_row_at_the_end_of_their_window(months: list[BlockMonth]) -> None:
    for part in months:
        assert part.state.present[part.events.customer].all()


def test_events_lie_in_their_window(months: list[BlockMonth]) -> None:
    for part in months:
        assert part.events.time.min() >= 0
        assert part.events.time.max() < part.state.month.days * 86_400_000_000


def test_about_21_events_a_month_per_customer(events: pl.DataFrame, months: list[BlockMonth]) -> None:
    rows = sum(part.state.present.sum() for part in months if part.published)
    assert 19 < events.height / rows < 25


def test_purchases_repeat_the_category_before_at_the_declared_stickiness(
    small: tuple[Laws, Bank], events: pl.DataFrame
) -> None:
    cards = _of(events, "card_purchase")
    pairs = cards.with_columns(before=pl.col("mcc_idx").shift(1).over("customer_id")).drop_nulls("before")
    repeat = (pairs.get_column("mcc_idx") == pairs.get_column("before")).mean()
    own = cards.group_by("customer_id", "mcc_idx").len().with_columns(n=pl.col("len").sum().over("customer_id"))
    # Chance of meeting the same category again when nothing is repeated: sum p^2 of each customer, unbiased.
    again = own.group_by("customer_id").agg(
        chance=(pl.col("len") * (pl.col("len") - 1)).sum() / (pl.col("n") * (pl.col("n") - 1)).first(), n=pl.len()
    )
    chance = again.filter(pl.col("chance").is_finite()).get_column("chance").mean()
    sticky = small[0].policy.events.sticky
    assert abs(repeat - (sticky + (1 - sticky) * chance)) < 0.04


def test_a_refund_returns_an_earlier_purchase_3_to_20_days_later(events: pl.DataFrame) -> None:
    days = (pl.col("event_ts_right").dt.date() - pl.col("event_ts").dt.date()).dt.total_days()
    refunds, bought = _of(events, "card_refund"), _of(events, "card_purchase")
    keys = ["customer_id", "mcc_idx", "amount"]
    pairs = bought.join(refunds, on=keys, suffix="_right").filter(days.is_between(3, 20))
    assert pairs.get_column("event_id_right").n_unique() == refunds.height
    assert 0.015 < refunds.height / bought.height < 0.025


def test_salaries_double_in_june_and_december(small: tuple[Laws, Bank], events: pl.DataFrame) -> None:
    inflows = _of(events, "deposit_inflow").with_columns(month=pl.col("event_ts").dt.strftime("%Y-%m"))
    level = inflows.group_by("month").agg(pl.col("amount").median()).sort("month")
    by_month = dict(level.iter_rows())
    assert by_month["2025-12"] / by_month["2025-11"] == pytest.approx(2.0, rel=0.25)
    assert by_month["2026-06"] / by_month["2026-05"] == pytest.approx(2.0, rel=0.25)


def test_amounts_are_lognormal_with_the_law_of_their_category(small: tuple[Laws, Bank], events: pl.DataFrame) -> None:
    code = "5411"
    mean, sd = small[0].policy.leading_mcc[code][-2:]
    rows = _of(events, "card_purchase").filter(pl.col("mcc_idx") == taxonomy.codes().index(code))
    ln = np.log(rows.get_column("amount").to_numpy())
    assert ln.mean() == pytest.approx(mean, abs=0.15)  # wealth moves it a little
    assert ln.std() == pytest.approx(sd, abs=0.1)


def test_weekends_and_afternoons_are_busier(events: pl.DataFrame) -> None:
    cards = _of(events, "card_purchase")
    weekday = cards.get_column("event_ts").dt.weekday().value_counts().sort("event_ts").get_column("count")
    assert weekday[5] > 1.15 * weekday[0]  # Saturday against Monday
    night = (cards.get_column("event_ts").dt.hour() < 6).mean()
    assert 0.045 < night < 0.075

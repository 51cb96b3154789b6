"""Events one by one: their kinds, their windows, and what a source counts as spend."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from pipeline_lib.features.build import inputs_of
from pipeline_lib.features.events import also_spend, kind_of_type
from pipeline_lib.features.load import opened
from pipeline_lib.features.stream import KINDS, NO_TIME, Stream

CARDS = {
    "spend": ["card_purchase"],
    "refund": ["card_refund"],
    "cash": ["cash_withdrawal"],
    "inflow": ["deposit_inflow", "transfer_in"],
    "transfer": ["transfer_out"],
}
ACCOUNTS = {**CARDS, "spend": ["cash_withdrawal", "transfer_out"], "refund": []}


def test_a_type_has_the_kind_that_says_most():
    kinds = {name: KINDS[kind] for name, kind in kind_of_type(ACCOUNTS)}
    assert kinds == {
        "cash_withdrawal": "cash",
        "transfer_out": "transfer",
        "deposit_inflow": "inflow",
        "transfer_in": "inflow",
    }
    assert also_spend(ACCOUNTS) == ("cash", "transfer")
    assert also_spend(CARDS) == ()


@pytest.fixture(scope="module")
def whole(bank) -> tuple[Stream, pl.DataFrame, pl.DataFrame]:
    inputs = inputs_of(bank.ctx)
    with opened(inputs, bank.ctx.settings.features, 1) as data:
        stream = data.store.stream(timed=True)
    ingest = bank.ctx.read("ingest")
    events = pl.concat([pl.read_parquet(ingest.path(name)) for name in ingest.names("transaction_event/")])
    return stream, inputs.rows, events


@pytest.mark.parametrize("days", [1, 30, 90, 360])
def test_a_window_holds_the_events_up_to_the_cutoff_in_the_order_of_time(whole, days: int):
    stream, rows, events = whole
    window = stream.window(days, ("spend",))
    for place in range(0, len(rows), len(rows) // 15):
        row = rows.row(place, named=True)
        age = (pl.lit(row["cutoff_date"]) - pl.col("event_date")).dt.total_days()
        own = events.filter(
            (pl.col("customer_key") == row["customer_key"])
            & (pl.col("event_type") == "card_purchase")
            & age.is_between(0, days - 1)
        ).sort("event_ts", "event_id")
        part = window.rows(place, place + 1).events
        assert part.amount.tolist() == own["amount"].to_list()
        assert part.merchant.tolist() == own["merchant_key"].to_list()
        midnight = own["event_date"].cast(pl.Datetime("us"))
        assert part.second.tolist() == (own["event_ts"] - midnight).dt.total_seconds().to_list()


def test_a_source_without_a_clock_has_no_seconds(bank):
    inputs = inputs_of(bank.ctx)
    with opened(inputs, bank.ctx.settings.features, 1) as data:
        assert set(np.unique(data.store.stream(timed=False).events.second)) == {NO_TIME}

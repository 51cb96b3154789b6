"""Features against the slow and obvious way to compute them."""

from __future__ import annotations

import json
import statistics
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from pipeline_lib.features.history import history_of, load_holdings


@pytest.fixture(scope="module")
def sample(bank) -> list[dict]:
    rows = bank.table("feature_matrix.parquet")
    return rows[:: len(rows) // 12].to_dicts()


@pytest.fixture(scope="module")
def events(bank) -> pl.DataFrame:
    ingest = bank.ctx.read("ingest")
    return pl.concat([pl.read_parquet(ingest.path(name)) for name in ingest.names("transaction_event/")])


def within(events: pl.DataFrame, row: dict, days: int, kind: str = "card_purchase") -> pl.DataFrame:
    cutoff = row["cutoff_date"]
    near = pl.col("event_date").is_between(cutoff - timedelta(days=days - 1), cutoff)
    return events.filter((pl.col("customer_key") == row["customer_key"]) & near & (pl.col("event_type") == kind))


@pytest.mark.parametrize("days", [7, 30, 90, 180])
def test_rolling_windows_are_those_of_the_events(sample, events, days: int):
    for row in sample:
        amounts = within(events, row, days)["amount"].to_list()
        assert row[f"roll_{days}d_count"] == len(amounts)
        assert row[f"roll_{days}d_sum"] == pytest.approx(sum(amounts), rel=1e-5)
        assert row[f"roll_{days}d_active_days"] == within(events, row, days)["event_date"].n_unique()
        if len(amounts) > 1:
            assert row[f"roll_{days}d_std"] == pytest.approx(statistics.stdev(amounts), rel=1e-4, abs=1e-3)
        else:
            assert np.isnan(row[f"roll_{days}d_std"])


def test_behaviour_is_per_observed_month(sample, events):
    for row in sample:
        own = within(events, row, 360)
        assert row["monthly_txns"] == pytest.approx(len(own) / row["months_observed"], rel=1e-5)
        night = own.filter(pl.col("event_ts").dt.hour() < 6)
        assert row["ratio_night"] == pytest.approx(len(night) / len(own), rel=1e-5)
        newest = within(events, row, 365)["event_date"].max()
        assert row["recency_days"] == (row["cutoff_date"] - newest).days
        refunds = within(events, row, 360, "card_refund")["amount"].sum()
        assert row["refund_ratio"] == pytest.approx(refunds / own["amount"].sum(), rel=1e-5)


def test_monetary_is_the_median_month(sample, events):
    for row in sample:
        months = [
            within(events, {**row, "cutoff_date": row["cutoff_date"] - timedelta(days=30 * k)}, 30)["amount"].sum()
            for k in range(int(row["months_observed"]))
        ]
        assert row["monetary"] == pytest.approx(statistics.median(months), rel=1e-5)
        assert row["spending_risk"] == pytest.approx(_net_cv(row, events, len(months)), rel=1e-4)


def _net_cv(row: dict, events: pl.DataFrame, count: int) -> float:
    net = []
    for k in range(count):
        then = {**row, "cutoff_date": row["cutoff_date"] - timedelta(days=30 * k)}
        spent, back = (within(events, then, 30, kind)["amount"].sum() for kind in ("card_purchase", "card_refund"))
        net.append(spent - back)
    return statistics.stdev(net) / statistics.mean(net)


def test_category_columns_are_those_used_in_90_days(bank, sample, events):
    codes = dict(bank.table("dim_mcc.parquet", "ingest").select("mcc_idx", "code").iter_rows())
    for row in sample:
        used = {codes[i] for i in within(events, row, 90)["mcc_idx"]}
        assert {c for c in codes.values() if row.get(f"mcc_{c}") == 1.0} == used


def test_sequences_are_the_active_days_oldest_first(bank, events):
    schema = json.loads(bank.features.path("schema.json").read_bytes())
    channels, most = schema["sequence"]["channels"], schema["sequence"]["max_len"]
    at = channels.index("spend_log")
    for row in bank.table("sequences.parquet")[::37].to_dicts():
        assert len(row["txn_seq"]) == row["txn_len"] * len(channels)
        assert len(row["txn_dt"]) == row["txn_len"] <= most
        spent = within(events, row, 365).group_by("event_date").agg(pl.col("amount").sum())
        by_day = dict(spent.iter_rows())
        day = row["cutoff_date"] - timedelta(days=int(row["asof_gap"]))
        for step in reversed(range(row["txn_len"])):
            value = row["txn_seq"][step * len(channels) + at]
            assert value == pytest.approx(np.log1p(by_day.get(day, 0.0)), rel=1e-5, abs=1e-6)
            day -= timedelta(days=int(row["txn_dt"][step]))
        assert row["txn_dt"][0] == 0


def test_no_active_day_between_two_steps_is_left_out(bank, events):
    most = json.loads(bank.features.path("schema.json").read_bytes())["sequence"]["max_len"]
    moves = {(r["customer_key"], r["event_date"]) for r in events.to_dicts()}
    for row in bank.table("sequences.parquet")[::41].to_dicts():
        known = [d for key, d in moves if key == row["customer_key"] and d <= row["cutoff_date"]]
        known = [d for d in known if (row["cutoff_date"] - d).days < 365]
        assert row["txn_len"] >= min(len(known), most)  # product moves add days


def test_edges_are_holdings_and_used_categories(bank, events):
    edges = bank.table("edges.parquet")
    schema = json.loads(bank.features.path("schema.json").read_bytes())
    assert edges.columns[2:] == [item["name"] for item in schema["items"]]
    row = edges.row(5, named=True)
    used = {f"mcc_{c}" for c in _codes(bank, within(events, row, 360)["mcc_idx"])}
    assert {i["name"] for i in schema["items"] if i["kind"] == "category" and row[i["name"]] > 0} == used
    snapshot = bank.table(f"customer_snapshot/{row['cutoff_date']}.parquet", "ingest")
    held = snapshot.row(by_predicate=pl.col("customer_key") == row["customer_key"], named=True)
    assert all(row[i["name"]] == held[i["name"]] for i in schema["items"] if i["kind"] == "product")


def _codes(bank, places: pl.Series) -> set[str]:
    codes = dict(bank.table("dim_mcc.parquet", "ingest").select("mcc_idx", "code").iter_rows())
    return {codes[i] for i in places}


DAYS = [date(2026, 1, 28), date(2026, 2, 28), date(2026, 3, 28), date(2026, 4, 28)]


@pytest.fixture
def snapshots(tmp_path):
    """Customer 1 adds a loan in March; customer 2 is away in February and comes back with one; 3 has a null."""
    flags = {1: [0, 0, 1, 1], 2: [0, None, 1, 0], 3: [0, "null", 1, 1]}
    paths = {}
    for month, day in enumerate(DAYS):
        rows = [
            {"customer_key": key, "shard": key, "prod_loan": None if held[month] == "null" else held[month]}
            for key, held in flags.items()
            if held[month] is not None
        ]
        paths[day] = tmp_path / f"{day}.parquet"
        schema = {"customer_key": pl.Int32, "shard": pl.UInt16, "prod_loan": pl.Int8}
        pl.DataFrame(rows, schema=schema).write_parquet(paths[day])
    return paths


def test_moves_are_booked_between_known_consecutive_months_only(snapshots):
    holdings = load_holdings(snapshots, np.array([1, 2, 3]), ["loan"])
    history = history_of(holdings, np.array([1, 2, 3]), [DAYS[3]] * 3, months=12)
    assert history.months_observed.tolist() == [4, 3, 4]
    assert history.added[:, 0].tolist() == [1, 0, 0]
    assert history.dropped[:, 0].tolist() == [0, 1, 0]


def test_moves_after_the_cutoff_are_not_known(snapshots):
    holdings = load_holdings(snapshots, np.array([1, 2]), ["loan"])
    history = history_of(holdings, np.array([1, 2]), [DAYS[1], DAYS[2]], months=12)
    assert history.added[:, 0].tolist() == [0, 0]
    assert history.dropped[:, 0].tolist() == [0, 0]
    assert history.held_ever[:, 0].tolist() == [False, True]


def test_history_is_capped(snapshots):
    holdings = load_holdings(snapshots, np.array([1]), ["loan"])
    history = history_of(holdings, np.array([1]), [DAYS[3]], months=2)
    assert history.months_observed.tolist() == [2]
    assert history.added[:, 0].tolist() == [0]

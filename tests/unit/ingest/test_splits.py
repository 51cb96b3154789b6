from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib import settings
from pipeline_lib.errors import ContractError
from pipeline_lib.ingest.duck import connect
from pipeline_lib.ingest.labels import label
from pipeline_lib.ingest.load import ingest
from pipeline_lib.ingest.splits import BUCKETS, Cutoff, bucket_ranges, plan, plan_frame, require_gap
from pipeline_lib.runs import RunContext


def stamps(count: int) -> list[date]:
    return [date(2015 + m // 12, m % 12 + 1, 28) for m in range(count)]


def python_bucket(salt: str, key: int) -> int:
    return int(hashlib.sha256(f"{salt}|{key}".encode()).hexdigest()[:15], 16)


def test_golden_key_falls_into_the_same_bucket_in_python_and_duckdb(tmp_path: Path) -> None:
    policy = settings.load("synthetic").data.splits
    day = date(2015, 12, 28)
    parameters = {**policy.model_dump(include={"bucket_salt", "order_salt", "part_salt"}), "gate_buckets": 6000}
    with connect(tmp_path, 1, parameters) as duck:
        rows = pl.DataFrame({"customer_key": [12345], "snapshot_date": [day], "is_deceased": [0]})
        duck.register("snapshot", rows)
        duck.register("plan", plan_frame([Cutoff("serve", day, None)], policy))
        found = duck.frame("labels/split_assignment")
    assert python_bucket("split-v1", 12345) % BUCKETS == 6483
    assert found.get_column("bucket").to_list() == [6483]
    assert found.get_column("shuffle_key").to_list() == [python_bucket("order-v1", 12345)]


def test_spec_example_of_seventeen_months() -> None:
    cutoffs = plan(stamps(17), date(2016, 6, 5), step_months=2, train_cutoffs=1, min_history=7)
    assert {c.split: (c.cutoff_date, c.label_date) for c in cutoffs} == {
        "train": (date(2015, 12, 28), date(2016, 1, 28)),
        "val": (date(2016, 2, 28), date(2016, 3, 28)),
        "test": (date(2016, 4, 28), date(2016, 5, 28)),
        "test_seen": (date(2016, 4, 28), date(2016, 5, 28)),
        "serve": (date(2016, 5, 28), None),
    }
    assert require_gap(cutoffs, 30) == 31


def test_month_whose_events_are_not_all_loaded_is_no_label_month() -> None:
    cutoffs = plan(stamps(17), date(2016, 5, 27), step_months=2, train_cutoffs=1, min_history=7)
    assert [c.cutoff_date for c in cutoffs if c.split == "test"] == [date(2016, 3, 28)]


def test_train_cutoffs_without_history_are_left_out() -> None:
    cutoffs = plan(stamps(14), date(2016, 6, 5), step_months=2, train_cutoffs=6, min_history=7)
    assert [c.cutoff_date for c in cutoffs if c.split == "train"] == stamps(14)[6:9]


def test_gap_below_the_policy_is_refused_with_both_dates() -> None:
    cutoffs = plan(stamps(17), date(2016, 6, 5), step_months=1, train_cutoffs=1, min_history=7)
    with pytest.raises(ContractError, match=r"val opens at 2016-03-28, 0 days after .* 2016-03-28; expected .* 7 days"):
        require_gap(cutoffs, 7)


@given(
    months=st.integers(4, 40),
    step=st.integers(2, 4),
    wanted=st.integers(1, 6),
    history=st.integers(1, 9),
    late=st.integers(-40, 40),
)
def test_no_label_of_a_split_is_younger_than_the_next_split(
    months: int, step: int, wanted: int, history: int, late: int
) -> None:
    days = stamps(months)
    try:
        cutoffs = plan(
            days, days[-1] + timedelta(days=late), step_months=step, train_cutoffs=wanted, min_history=history
        )
    except ContractError:
        assert months < history + 2 * step + 1 + (2 if late < 0 else 0)
        return
    assert require_gap(cutoffs, 7) >= 28
    train = [c.cutoff_date for c in cutoffs if c.split == "train"]
    assert 1 <= len(train) <= wanted
    assert all(days.index(c) + 1 >= history for c in train)


@given(train=st.integers(1, 9000), val=st.integers(1, 900))
def test_buckets_are_disjoint_and_complete(train: int, val: int) -> None:
    ranges = bucket_ranges(train, val)
    cut = [ranges[s] for s in ("train", "val", "test")]
    assert cut[0][0] == 0
    assert cut[-1][1] == BUCKETS
    assert [a[1] for a in cut[:-1]] == [b[0] for b in cut[1:]]


def test_every_customer_has_one_split_and_one_part(
    new_bank: Callable[[], Any], load_bank: Callable[..., RunContext]
) -> None:
    bank = new_bank()
    for customer in range(1, 301):
        bank.hold(str(customer), stamps(9), "checking")
    ctx = load_bank(bank)
    ingest(ctx)
    rows = pl.read_parquet(label(ctx).path("split_assignment.parquet"))
    splits = rows.filter(pl.col("split").is_in(["train", "val", "test"]))
    assert splits.get_column("customer_key").n_unique() == splits.height == 300
    parts = {tuple(p) for p in rows.select("split", "part").unique().iter_rows()}
    assert parts == {
        ("train", "fit"),
        ("val", "stop"),
        ("val", "calib"),
        ("test", "gate"),
        ("test", "fidelity"),
        ("test_seen", "seen"),
        ("serve", "serve"),
    }
    serve = rows.filter(pl.col("split") == "serve")
    assert serve.height == 300
    assert serve.get_column("label_date").null_count() == 300
    for row in rows.iter_rows(named=True):
        assert row["bucket"] == python_bucket("split-v1", row["customer_key"]) % BUCKETS
        assert row["shuffle_key"] == python_bucket("order-v1", row["customer_key"])
    assert rows.equals(rows.sort("shuffle_key", "customer_key", "cutoff_date"))

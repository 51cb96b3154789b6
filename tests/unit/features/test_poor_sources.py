"""Sources that lack events, products, or both: groups leave the schema with a reason, and nothing fails."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

EVENTS = {"txn_behavior", "economics", "txn_rolling", "mcc_multihot"}
PRODUCTS = {"product_holdings", "product_history_multihot"}


def without_events(name: str, table: pl.DataFrame) -> pl.DataFrame:
    return table.clear() if name.startswith("transaction_event/") else table


def without_products(name: str, table: pl.DataFrame) -> pl.DataFrame:
    if name == "dim_product.parquet":
        return table.clear()
    if name.startswith("customer_snapshot/"):
        flags = [column for column in table.columns if column.startswith("prod_")]
        return table.drop(flags).with_columns(pl.lit(0, pl.Int8).alias("num_products"))
    return table


def without_both(name: str, table: pl.DataFrame) -> pl.DataFrame:
    return without_products(name, without_events(name, table))


EVERY_GROUP: dict[str, Any] = {"features": {"without": []}}


@pytest.mark.parametrize(
    ("change", "gone", "there"),
    [
        (without_events, EVENTS, PRODUCTS | {"demographics", "derived_temporal"}),
        (without_products, PRODUCTS, EVENTS | {"demographics", "derived_temporal"}),
        (without_both, EVENTS | PRODUCTS, {"demographics", "relationship"}),
    ],
)
def test_groups_leave_with_a_reason(bank, rebuilt, change, gone: set[str], there: set[str]):
    poor = rebuilt(ingest=change, overrides=EVERY_GROUP)
    schema = json.loads(poor.features.path("schema.json").read_bytes())
    groups = {group["name"]: group for group in schema["groups"]}
    for name in gone:
        assert not groups[name]["available"], name
        assert groups[name]["why"], name
    for name in there:
        assert groups[name]["available"], groups[name]["why"]
    values = poor.table("x_norm.parquet").drop("customer_key", "cutoff_date").to_numpy()
    assert np.isfinite(values).all()
    assert values.shape == (len(poor.table("split_assignment.parquet", "labels")), len(schema["columns"]))


def test_a_source_without_events_has_days_of_product_moves_alone(rebuilt):
    poor = rebuilt(ingest=without_events)
    schema = json.loads(poor.features.path("schema.json").read_bytes())
    assert schema["sequence"]["channels"] == ["products_added", "products_dropped"]
    assert poor.table("sequences.parquet")["txn_len"].sum() > 0


def test_a_source_without_both_has_sequences_of_length_0(rebuilt):
    poor = rebuilt(ingest=without_both)
    schema = json.loads(poor.features.path("schema.json").read_bytes())
    sequences = poor.table("sequences.parquet")
    assert schema["sequence"]["channels"] == []
    assert sequences["txn_len"].to_list() == [0] * len(sequences)
    assert sequences["asof_gap"].to_list() == [365.0] * len(sequences)
    assert [item["kind"] for item in schema["items"]] == ["category"] * len(schema["items"])
    assert not poor.table("edges.parquet").drop("customer_key", "cutoff_date").to_numpy().any()

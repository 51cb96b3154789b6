from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline_lib.errors import ContractError
from pipeline_lib.features.build import make_features, opened
from pipeline_lib.features.compute import compute
from pipeline_lib.features.fitted import Fitted
from pipeline_lib.features.groups import Plan, plan_of, shape_of
from pipeline_lib.features.inputs import FeatureInputs
from pipeline_lib.features.items import edges
from pipeline_lib.features.layout import Layout, lay_out
from pipeline_lib.runs import Out

KEYS = ["customer_key", "cutoff_date"]


def inputs_of(bank) -> FeatureInputs:
    acts = bank.ctx.settings.source.purchase_types
    return FeatureInputs.of(bank.ctx.read("ingest"), bank.ctx.read("labels"), acts)


@hypothesis_settings(
    max_examples=3, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 1000))
def test_order_of_rows_and_files_changes_no_byte(bank, rebuilt, seed: int):
    ingest = bank.ctx.read("ingest")
    events = pl.concat([pl.read_parquet(ingest.path(n)) for n in ingest.names("transaction_event/")])
    shuffled = events.sample(fraction=1.0, shuffle=True, seed=seed)
    months = sorted(ingest.names("transaction_event/"))
    size = -(-len(events) // len(months))

    def permuted(name: str, table: pl.DataFrame) -> pl.DataFrame:
        if name.startswith("transaction_event/"):  # every event in a file drawn at random
            return shuffled.slice(months.index(name) * size, size)
        return table.sample(fraction=1.0, shuffle=True, seed=seed) if len(table) > 1 else table

    assert rebuilt(ingest=permuted).digests() == bank.digests()


def test_two_threads_give_the_bytes_of_one(bank, rebuilt):
    assert rebuilt(threads=2).digests() == bank.digests()


def test_labels_and_segments_reach_no_feature(bank, rebuilt):
    def scrambled(name: str, table: pl.DataFrame) -> pl.DataFrame:
        if name == "label_table.parquet":
            return table.sample(fraction=1.0, shuffle=True, seed=1).head(10)
        return table.reverse() if name == "customer_segment.parquet" else table

    assert rebuilt(ingest=scrambled, labels=scrambled).digests() == bank.digests()


def test_inputs_know_no_path_to_labels_or_segment(bank):
    inputs = inputs_of(bank)
    text = " ".join(str(getattr(inputs, field.name)) for field in fields(inputs))
    assert "label_table" not in text
    assert "customer_segment" not in text
    assert set(inputs.rows.columns) == {"row_id", *KEYS, "split", "part"}


def test_events_after_the_newest_cutoff_change_nothing(bank, rebuilt):
    newest = bank.table("split_assignment.parquet", "labels")["cutoff_date"].max()

    def with_tomorrow(name: str, table: pl.DataFrame) -> pl.DataFrame:
        if name != f"transaction_event/{newest:%Y-%m}.parquet":
            return table
        later = table.with_columns(
            pl.lit(newest + timedelta(days=1)).alias("event_date"), (pl.col("amount") * 50).alias("amount")
        )
        return pl.concat([table, later])

    assert rebuilt(ingest=with_tomorrow).digests() == bank.digests()


def test_nothing_after_the_train_cutoff_reaches_a_train_row(bank, rebuilt):
    rows = bank.table("split_assignment.parquet", "labels")
    train_cutoff = rows.filter(pl.col("split") == "train")["cutoff_date"].max()

    def other_future(name: str, table: pl.DataFrame) -> pl.DataFrame:
        if name.startswith("transaction_event/"):
            return table.filter(pl.col("event_date") <= train_cutoff)
        if name.startswith("customer_snapshot/") and Path(name).stem > str(train_cutoff):
            flags = [c for c in table.columns if c.startswith("prod_")]
            return table.with_columns(pl.lit(0, pl.Int8).alias(c) for c in flags)
        return table

    changed = rebuilt(ingest=other_future)
    for name in ("feature_matrix.parquet", "x_norm.parquet", "edges.parquet", "sequences.parquet"):
        before, after = (
            b.table(name).filter(pl.Series((rows["split"] == "train").to_numpy())) for b in (bank, changed)
        )
        assert after.equals(before, null_equal=True), name
    assert changed.features.facts["schema_hash"] == bank.features.facts["schema_hash"]


def test_a_row_alone_equals_the_row_in_the_batch(bank):
    inputs, policy = inputs_of(bank), bank.ctx.settings.features
    plan, fitted, layout = learnt(bank)
    with opened(inputs, policy, 1) as (_, material):
        batch = compute(plan, layout, fitted.arrays, material)
        graph = edges(material, fitted.edge_scale)
    for place in range(0, len(inputs.rows), len(inputs.rows) // 5):
        one = inputs.rows.slice(place, 1).with_columns(pl.lit(0, pl.Int64).alias("row_id"))
        with opened(replace(inputs, rows=one), policy, 1) as (_, alone):
            values = compute(plan, layout, fitted.arrays, alone)
            assert np.array_equal(values[0], batch[place], equal_nan=True)
            assert np.array_equal(edges(alone, fitted.edge_scale)[0], graph[place])


def learnt(bank) -> tuple[Plan, Fitted, Layout]:
    plan = plan_of(shape_of(inputs_of(bank)), bank.ctx.settings.features)
    fitted = Fitted.read(bank.features.path("fitted.json"), bank.features.path("fitted.safetensors"))
    return plan, fitted, lay_out(plan, fitted.arrays, fitted.refused, fitted.absent)


def test_a_customer_without_a_snapshot_at_the_cutoff_is_an_error(bank, tmp_path: Path):
    inputs = inputs_of(bank)
    stranger = inputs.rows.head(1).with_columns(pl.lit(999_999, pl.Int32).alias("customer_key"))
    with pytest.raises(ContractError, match="1 customers of split_assignment have no row"):
        make_features(Out(tmp_path), replace(inputs, rows=stranger), bank.ctx.settings.features, 1)


def test_a_bank_without_train_rows_cannot_be_fitted(bank, tmp_path: Path):
    inputs = inputs_of(bank)
    untrained = inputs.rows.with_columns(pl.lit("serve").alias("split"))
    with pytest.raises(ContractError, match="no row with split = train"):
        make_features(Out(tmp_path), replace(inputs, rows=untrained), bank.ctx.settings.features, 1)

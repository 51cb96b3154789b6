from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline_lib.errors import ContractError, RequestRefused
from pipeline_lib.features.build import build_part, inputs_of, recipe_of
from pipeline_lib.features.fit import keys_sha256
from pipeline_lib.features.items import edges
from pipeline_lib.features.load import opened
from pipeline_lib.features.part import make_part
from pipeline_lib.runs import Out
from tests.unit.features.conftest import Bank

KEYS = ["customer_key", "cutoff_date"]


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
    inputs = inputs_of(bank.ctx)
    text = " ".join(str(getattr(inputs, field.name)) for field in fields(inputs))
    assert "label_table" not in text
    assert "customer_segment" not in text
    assert set(inputs.rows.columns) == {"row_id", *KEYS, "split", "part", "shard"}


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


def test_a_row_alone_equals_the_row_in_its_range(bank):
    inputs = inputs_of(bank.ctx)
    recipe, written = recipe_of(bank.ctx, inputs), bank.table("feature_matrix.parquet")
    graph = bank.table("edges.parquet").drop(KEYS).to_numpy()
    for place in range(3, len(inputs.rows), len(inputs.rows) // 4):
        with opened(inputs.at(inputs.rows[place]), recipe.policy, 1) as data:
            alone = data.material(timed=True)
        assert np.array_equal(
            recipe.made(alone).features, written[place].select(recipe.names).to_numpy(), equal_nan=True
        )
        assert np.array_equal(edges(alone, recipe.fitted.edge_scale)[0], graph[place])


def test_rows_picked_from_a_batch_keep_their_own_data(bank):
    inputs = inputs_of(bank.ctx)
    recipe = recipe_of(bank.ctx, inputs)
    with opened(inputs, recipe.policy, 1) as data:
        batch = data.material(timed=True)
    order = np.random.default_rng(5).permutation(len(batch))[:100]
    assert np.array_equal(recipe.made(batch.at(order)).features, recipe.made(batch).features[order], equal_nan=True)


def test_ranges_of_any_size_give_the_same_tables(bank, rebuilt):
    """Fifty customers a range: four ranges. Only what the scaler's sums round differently may differ."""
    small = rebuilt(overrides={"features": {"work": {"range_customers": 50}}})
    assert [f"features_part.{k}" for k in range(3)] == [s for s in small.stages() if s.startswith("features_part")]
    for name in ("feature_matrix.parquet", "sequences.parquet", "edges.parquet"):
        assert small.table(name).equals(bank.table(name), null_equal=True), name
    scaled, before = (b.table("x_norm.parquet").drop(KEYS).to_numpy() for b in (small, bank))
    assert np.allclose(scaled, before, rtol=0, atol=1e-5)
    assert small.features.facts["schema_hash"] == bank.features.facts["schema_hash"]


def test_the_fit_sees_the_first_train_customers_alone(bank, rebuilt):
    few = rebuilt(overrides={"features": {"work": {"fit_customers": 40}}})
    rows = bank.table("split_assignment.parquet", "labels")
    train = rows.filter(pl.col("split") == "train")
    assert few.ctx.read("features_fit").facts["fitted_on"]["customers"] == 40
    assert few.ctx.read("features_fit").facts["fitted_on"]["keys_sha256"] == keys_sha256(train.head(40))
    later = set(rows["customer_key"]) - set(train.head(40)["customer_key"])

    def without_the_others(name: str, table: pl.DataFrame) -> pl.DataFrame:
        if not name.startswith("transaction_event/"):
            return table
        return table.filter(~pl.col("customer_key").is_in(list(later)))

    again = rebuilt(ingest=without_the_others, overrides={"features": {"work": {"fit_customers": 40}}})
    assert again.digests("features_fit") == few.digests("features_fit")


def test_a_customer_without_a_snapshot_at_the_cutoff_is_an_error(bank, tmp_path: Path):
    inputs = inputs_of(bank.ctx)
    stranger = inputs.rows.head(1).with_columns(pl.lit(999_999, pl.Int32).alias("customer_key"))
    with pytest.raises(ContractError, match="1 customers of split_assignment have no row"):
        make_part(Out(tmp_path), recipe_of(bank.ctx, inputs), inputs.at(stranger), 1)


def test_a_bank_without_train_rows_cannot_be_fitted(rebuilt):
    def nobody(name: str, table: pl.DataFrame) -> pl.DataFrame:
        return table.with_columns(pl.lit("serve").alias("split")) if name == "split_assignment.parquet" else table

    with pytest.raises(ContractError, match="no row with split = train"):
        rebuilt(labels=nobody)


def test_rows_in_another_order_are_refused(rebuilt):
    def by_cutoff(name: str, table: pl.DataFrame) -> pl.DataFrame:
        return table.sort("cutoff_date", maintain_order=True) if name == "split_assignment.parquet" else table

    with pytest.raises(ContractError, match=r"expected the order \(shuffle_key, customer_key, cutoff_date\)"):
        rebuilt(labels=by_cutoff)


@pytest.mark.parametrize("number", ["9", "-1", "abc"])
def test_a_range_that_does_not_exist_is_refused(bank: Bank, number: str) -> None:
    with pytest.raises(RequestRefused, match=f"features_part.{number}: found no such range, expected 0 to 0"):
        build_part(bank.ctx, number)
    assert f"features_part.{number}" not in bank.stages()

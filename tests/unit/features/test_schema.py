from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from pipeline_lib.errors import SettingsError
from pipeline_lib.features.build import inputs_of
from pipeline_lib.features.columns import Column
from pipeline_lib.features.fit import keys_sha256
from pipeline_lib.features.groups import plan_of, shape_of
from pipeline_lib.features.schema import artefact_hash, schema_hash
from tests.unit.features.conftest import CORE, only

KEYS = ["customer_key", "cutoff_date"]
PROTECTED = {"age", "age_group", "sex_f", "country_freq", "is_foreign_born", "province_freq"}


def read_schema(bank) -> dict:
    return json.loads(bank.features.path("schema.json").read_bytes())


def test_group_ranges_tile_the_columns_in_the_order_of_the_policy(bank):
    schema = read_schema(bank)
    at = 0
    for group in schema["groups"]:
        assert group["start"] == at
        assert {c["group"] for c in schema["columns"][group["start"] : group["end"]]} == {group["name"]}
        at = group["end"]
    assert at == len(schema["columns"])
    assert [g["name"] for g in schema["groups"]] == list(bank.ctx.settings.features.groups)


def test_both_matrices_hold_the_schema_columns_and_the_rows_of_the_split(bank):
    names = [c["name"] for c in read_schema(bank)["columns"]]
    rows = bank.table("split_assignment.parquet", "labels")
    raw, scaled = bank.table("feature_matrix.parquet"), bank.table("x_norm.parquet")
    assert raw.columns == [*KEYS, "split", "part", *names]
    assert scaled.columns == [*KEYS, *names]
    for table in (raw, scaled, bank.table("sequences.parquet"), bank.table("edges.parquet")):
        assert table.select(KEYS).equals(rows.select(KEYS))
    assert set(raw.select(names).dtypes) == {pl.Float32}


def test_schema_hash_stays_when_only_fitted_numbers_change(bank):
    schema = read_schema(bank)
    assert (schema_hash(schema), artefact_hash(schema)) == (schema["schema_hash"], schema["artefact_hash"])
    schema["columns"][0]["mean"] += 1e-9
    assert schema_hash(schema) == schema["schema_hash"]
    assert artefact_hash(schema) != schema["artefact_hash"]


@pytest.mark.parametrize("field", ["name", "kind", "group", "block"])
def test_schema_hash_changes_with_what_a_consumer_reads(bank, field: str):
    schema = read_schema(bank)
    schema["columns"][0][field] = "other"
    assert schema_hash(schema) != schema["schema_hash"]


def test_a_backend_is_part_of_the_schema(bank):
    schema = read_schema(bank)
    schema["groups"][0]["backend"] = "abacus"
    assert schema_hash(schema) != schema["schema_hash"]


def test_blocks_tile_the_columns(bank):
    schema = read_schema(bank)
    assert [b["start"] for b in schema["blocks"]] == [0, *(b["end"] for b in schema["blocks"][:-1])]
    assert schema["blocks"][-1]["end"] == len(schema["columns"])
    for block in schema["blocks"]:
        assert {c["block"] for c in schema["columns"][block["start"] : block["end"]]} == {block["name"]}


def test_every_column_says_what_it_is(bank):
    for index, column in enumerate(read_schema(bank)["columns"]):
        assert column["index"] == index
        assert column["axis"] in {"State", "Snapshot", "Timeseries", "Hierarchy", "Item"}
        assert column["scaled"] == (column["kind"] in {"num", "emb"})
        assert column["protected"] == (column["name"] in PROTECTED)


def test_an_alias_names_a_column_and_a_linear_group_sums_up(bank):
    schema, raw = read_schema(bank), bank.table("feature_matrix.parquet")
    assert schema["aliases"]["volatility"] == "roll_180d_std"
    ratios, (total, *held) = schema["linear_groups"][:2]
    shares = raw.select(ratios).to_numpy().sum(axis=1)
    assert np.allclose(shares[~np.isnan(shares)], 1.0, atol=1e-4)
    assert np.array_equal(raw.select(held).to_numpy().sum(axis=1), raw[total].to_numpy())


def test_every_column_says_where_it_comes_from(bank):
    for column in read_schema(bank)["columns"]:
        assert column["lineage"], column["name"]
        assert all("." in source for source in column["lineage"])


def test_fingerprint_is_that_of_the_train_rows(bank):
    rows = bank.table("split_assignment.parquet", "labels")
    train = rows.filter(pl.col("split") == "train")
    fitted_on = read_schema(bank)["fitted_on"]
    assert fitted_on["rows"] == len(train)
    assert fitted_on["keys_sha256"] == keys_sha256(train)
    assert fitted_on["max_event_date"] <= str(train["cutoff_date"].max())


def test_x_norm_is_finite_and_standard_on_train(bank):
    schema = read_schema(bank)
    scaled, rows = bank.table("x_norm.parquet"), bank.table("split_assignment.parquet", "labels")
    values = scaled.drop(KEYS).to_numpy()
    assert np.isfinite(values).all()
    raw = bank.table("feature_matrix.parquet")
    train = (rows["split"] == "train").to_numpy()
    for i, column in enumerate(schema["columns"]):
        known = train & ~np.isnan(raw[column["name"]].to_numpy())
        z = values[known, i]
        if column["kind"] == "num" and column["std"] != 1.0 and np.abs(z).max() < 10:
            assert abs(z.mean()) < 0.01
            assert abs(z.std(ddof=1) - 1) < 0.01


def test_a_group_left_out_leaves_the_other_columns_as_they_were(bank, rebuilt):
    kept = [name for name in CORE if name != "relationship"]
    fewer, schema = rebuilt(overrides={"features": only(*kept)}), read_schema(bank)
    gone = [c["name"] for c in schema["columns"] if c["group"] == "relationship"]
    assert len(gone) == 7
    expected = bank.table("feature_matrix.parquet").drop(gone)
    assert fewer.table("feature_matrix.parquet").equals(expected, null_equal=True)
    assert read_schema(fewer)["schema_hash"] != schema["schema_hash"]


def test_a_group_nobody_makes_is_an_error(bank):
    policy = bank.ctx.settings.features
    groups = {**policy.groups, "horoscope": policy.groups["demographics"]}
    with pytest.raises(SettingsError, match="horoscope"):
        plan_of(shape_of(inputs_of(bank.ctx)), policy.model_copy(update={"groups": groups}))


def test_groups_of_one_block_lie_together(bank):
    policy = bank.ctx.settings.features
    groups = {"availability": policy.groups["demographics"], "demographics": policy.groups["demographics"]}
    with pytest.raises(SettingsError, match="block by block"):
        plan_of(shape_of(inputs_of(bank.ctx)), policy.model_copy(update={"groups": groups}))


def test_a_column_without_its_input_is_dropped_with_the_reason():
    column = Column("income_group", "code", ("customer_snapshot.income",))
    assert column.missing({"customer_snapshot.income": "not recorded"}) == "customer_snapshot.income: not recorded"
    assert column.missing({"customer_snapshot.age": "not recorded"}) is None


def test_unavailable_columns_leave_the_schema_and_are_never_zeros(bank, rebuilt):
    poorer = rebuilt(facts={"unavailable": {"income": "not recorded", "channel": "not recorded"}})
    schema = read_schema(poorer)
    names = {c["name"] for c in schema["columns"]}
    assert not names & {"income", "income_group", "income_missing", "channel_freq"}
    assert {d["name"]: d["why"] for d in schema["dropped"]}["income_group"] == "customer_snapshot.income: not recorded"
    assert "age" in names


def test_events_without_time_of_day_have_no_day_parts(rebuilt):
    def at_midnight(name: str, table: pl.DataFrame) -> pl.DataFrame:
        if not name.startswith("transaction_event/"):
            return table
        return table.with_columns(pl.col("event_date").cast(pl.Datetime("us")).alias("event_ts"))

    schema = read_schema(rebuilt(ingest=at_midnight))
    dropped = {d["name"]: d["why"] for d in schema["dropped"]}
    assert {"ratio_night", "ratio_morning", "ratio_afternoon", "ratio_evening", "night_share"} <= dropped.keys()
    assert "no time" in dropped["ratio_night"]


def test_an_event_type_train_never_saw_has_no_feature(rebuilt):
    def no_refunds(name: str, table: pl.DataFrame) -> pl.DataFrame:
        return table.filter(pl.col("event_type") != "card_refund") if name.startswith("transaction_event/") else table

    schema = read_schema(rebuilt(ingest=no_refunds))
    dropped = {d["name"] for d in schema["dropped"]}
    assert {"refund_ratio", "price_sensitivity", "refund_count"} <= dropped

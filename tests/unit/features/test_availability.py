"""Masks say what is known of a row; log copies lie in a block of their own. On a bank with both groups."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

KEYS = ["customer_key", "cutoff_date"]
LAST = ("log_copies", "availability")


@pytest.fixture(scope="module")
def full(bank, tmp_path_factory):
    """The bank again, its events thinned for the first customers, with both groups at the end."""
    from pipeline_lib.features.build import build
    from tests.unit.features.conftest import CORE, Bank, _copied, only, open_run

    ctx = open_run(tmp_path_factory.mktemp("full"), overrides={"features": only(*CORE, *LAST)})

    def thinned(name: str, table: pl.DataFrame) -> pl.DataFrame:
        if not name.startswith("transaction_event/"):
            return table
        rare = (pl.col("customer_key") <= 60) & (pl.col("event_ts").dt.day() != 1)
        return table.filter(~rare & (pl.col("customer_key") > 3))

    first = _copied(ctx, bank.ctx.read("ingest"), thinned, {}, [])
    _copied(ctx, bank.ctx.read("labels"), None, {}, [first])
    build(ctx)
    return Bank(ctx)


def purchases(full, days: int) -> list[int]:
    ingest = full.ctx.read("ingest")
    events = pl.concat([pl.read_parquet(ingest.path(n)) for n in ingest.names("transaction_event/")])
    events = events.filter(pl.col("event_type") == "card_purchase").select("customer_key", "event_date")
    rows = full.table("feature_matrix.parquet").select(KEYS).with_row_index("place")
    near = pl.col("event_date").is_between(pl.col("cutoff_date") - timedelta(days=days - 1), pl.col("cutoff_date"))
    counts = rows.join(events, on="customer_key").filter(near).group_by("place").len()
    return rows.join(counts, on="place", how="left", maintain_order="left")["len"].fill_null(0).to_list()


def test_masks_are_those_of_the_events(full):
    table = full.table("feature_matrix.parquet")
    assert table["valid_txn"].to_list() == [float(n >= 3) for n in purchases(full, 90)]
    assert table["avail_hgcn"].to_list() == [float(n > 0) for n in purchases(full, 360)]
    assert 0 < table["valid_txn"].mean() < 1
    assert 0 < table["avail_hgcn"].mean() < 1


def test_a_mask_says_whether_the_group_is_defined(full):
    table = full.table("feature_matrix.parquet")
    assert table["valid_econ"].to_list() == [float(v) for v in ~np.isnan(table["spending_risk"].to_numpy())]
    assert 0 < table["valid_econ"].mean() < 1


def test_a_group_that_is_not_made_has_no_mask(full):
    groups = {g["name"]: g for g in json.loads(full.features.path("schema.json").read_bytes())["groups"]}
    names = full.table("feature_matrix.parquet").columns
    assert "gmm_clustering" not in groups
    assert not {"valid_gmm", "valid_wave", "conf_tda_short", "avail_perslay", "valid_hmm_journey"} & set(names)


def test_log_copies_stay_at_their_magnitude_in_their_own_block(full):
    schema = json.loads(full.features.path("schema.json").read_bytes())
    raw, scaled = full.table("feature_matrix.parquet"), full.table("x_norm.parquet")
    assert [block["name"] for block in schema["blocks"]] == ["x_norm", "x_raw", "mask"]
    assert schema["log_copies"]
    for name in schema["log_copies"]:
        source = raw[name.removesuffix("__log")].to_numpy().astype(np.float64)
        copy = np.log1p(source).astype(np.float32)
        assert np.array_equal(raw[name].to_numpy(), copy, equal_nan=True)
        assert np.array_equal(scaled[name].to_numpy(), np.nan_to_num(copy, nan=0.0))


def test_a_copy_is_protected_like_its_column(full):
    columns = {c["name"]: c for c in json.loads(full.features.path("schema.json").read_bytes())["columns"]}
    for name in (n for n in columns if n.endswith("__log")):
        source = columns[name.removesuffix("__log")]
        assert columns[name]["protected"] == source["protected"]
        assert source["group"] in columns[name]["ancestors"]

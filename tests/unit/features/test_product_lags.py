"""The lag kernel against window functions of DuckDB and against the months read one by one."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.errors import ContractError
from pipeline_lib.features import product_lags_group
from pipeline_lib.features.history import Holdings, load_holdings
from pipeline_lib.features.product_lags import PER_PRODUCT, Past, advance, cube_features, feature_names

DAYS = [date(2025, month, 28) for month in range(1, 13)]
PRODUCTS = ("loan", "card", "fund")


def written(folder: Path, held: np.ndarray, days: list[date] = DAYS, order: int = 0) -> dict[date, Path]:
    """Files of flags [customers, months, products]; -1 = null, -2 = the customer has no row. Rows in a mixed order."""
    files = {}
    for month, day in enumerate(days[: held.shape[1]]):
        keys = np.random.default_rng(order + month).permutation(len(held))
        keys = keys[held[keys, month, 0] != -2]
        table = pl.DataFrame({"customer_key": pl.Series(keys + 1, dtype=pl.Int32), "shard": pl.Series(keys % 7)})
        for p, short in enumerate(PRODUCTS):
            flags = pl.Series(held[keys, month, p].astype(np.int8))
            table = table.with_columns(pl.when(flags >= 0).then(flags).alias(f"prod_{short}"))
        files[day] = folder / f"{day}.parquet"
        table.write_parquet(files[day])
    return files


def drawn(seed: int, customers: int = 40, months: int = 12, gaps: bool = True) -> np.ndarray:
    rng = np.random.default_rng(seed)
    held = (rng.random((customers, months, len(PRODUCTS))) < 0.5).astype(np.int8)
    if gaps:
        held[rng.random(held.shape) < 0.05] = -1
        held[rng.random(held.shape[:2]) < 0.1] = -2
    return held


def collected(files: dict[date, Path], **options: int) -> pl.DataFrame:
    names = feature_names(PRODUCTS)
    parts = [
        pl.DataFrame(block.features.T.copy(), schema=names, orient="row").with_columns(
            pl.Series("customer_key", block.customers), pl.lit(block.day).alias("day")
        )
        for block in cube_features(files, PRODUCTS, **options)
    ]
    return pl.concat(parts).sort("customer_key", "day")


def by_hand(months: list[int]) -> dict[str, int]:
    """Features of the newest of one product's months, oldest first; -1 = not known."""
    held = [m == 1 for m in months]
    before, now = (months[-2] if len(months) > 1 else -1), months[-1]
    return {
        "lag1": before,
        "sum3": sum(held[-3:]),
        "sum6": sum(held[-6:]),
        "running": sum(held),
        "acquired": -1 if before < 0 or now < 0 else int(before == 0 and now == 1),
    }


def test_every_feature_is_that_of_the_months_read_one_by_one(tmp_path):
    held = drawn(1)
    found = collected(written(tmp_path, held), block_customers=7)
    known = np.maximum(held, -1)
    rows = found.to_dicts()
    assert len(rows) == (held[:, :, 0] != -2).sum()
    for row in rows:
        who, month = row["customer_key"] - 1, DAYS.index(row["day"])
        for p, short in enumerate(PRODUCTS):
            expected = by_hand(known[who, : month + 1, p].tolist())
            assert {kind: row[f"lag_{short}_{kind}"] for kind in PER_PRODUCT} == expected
        assert row["lag_held"] == (known[who, month] == 1).sum()


def test_window_functions_say_the_same_where_no_month_is_missing(tmp_path):
    files = written(tmp_path, drawn(2, gaps=False))
    columns = []
    for short in PRODUCTS:
        own = f"prod_{short}"
        columns += [
            f"lag({own}) OVER w AS lag_{short}_lag1",
            f"sum({own}) OVER (w ROWS 2 PRECEDING) AS lag_{short}_sum3",
            f"sum({own}) OVER (w ROWS 5 PRECEDING) AS lag_{short}_sum6",
            f"sum({own}) OVER (w ROWS UNBOUNDED PRECEDING) AS lag_{short}_running",
            f"({own} = 1 AND lag({own}) OVER w = 0)::INT AS lag_{short}_acquired",
        ]
    listed = [str(path) for path in files.values()]
    source = "SELECT *, filename AS f FROM read_parquet($files, filename = true)"
    window = "WINDOW w AS (PARTITION BY customer_key ORDER BY f)"
    text = f"SELECT customer_key, f, {', '.join(columns)} FROM ({source}) {window} ORDER BY customer_key, f"
    expected = pl.DataFrame(duckdb.sql(text, params={"files": listed}).to_arrow_table())
    found = collected(files)
    first = pl.col("day") == DAYS[0]
    for name in feature_names(PRODUCTS)[:-1]:
        own = found.select(pl.when(pl.col(name) >= 0).then(pl.col(name)))[name]
        theirs = expected[name].cast(pl.Int8)
        if name.endswith("acquired"):
            assert found.filter(first)[name].unique().to_list() == [-1]
            own = own.fill_null(0)  # in SQL "held now AND null" is false for what is not held
            theirs = theirs.fill_null(0)
        assert own.to_list() == theirs.to_list(), name


def test_order_of_rows_and_size_of_blocks_change_nothing(tmp_path):
    held = drawn(3)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = collected(written(tmp_path / "a", held))
    assert first.equals(collected(written(tmp_path / "b", held, order=99), block_customers=1))
    assert first.equals(collected(written(tmp_path / "b", held, order=5), block_customers=1000))


def test_a_month_without_a_file_is_a_month_nobody_knows(tmp_path):
    files = written(tmp_path, np.ones((1, 3, 3), dtype=np.int8), days=[DAYS[0], DAYS[1], DAYS[3]])
    last = collected(files).row(-1, named=True)
    assert [last[f"lag_loan_{kind}"] for kind in PER_PRODUCT] == [-1, 2, 3, 3, -1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=30))
def test_one_product_through_any_months(months):
    past, out = Past.none(1, 1), np.empty((6, 1), dtype=np.int8)
    for month in months:
        advance(past, np.array([[month]], dtype=np.int8), out)
    assert dict(zip(PER_PRODUCT, out[:-1, 0].tolist(), strict=True)) == by_hand(months)


def test_twice_in_a_file_or_twice_in_a_month_is_refused(tmp_path):
    files = written(tmp_path, drawn(4, gaps=False))
    table = pl.read_parquet(files[DAYS[2]])
    pl.concat([table, table[:1]]).write_parquet(files[DAYS[2]])
    with pytest.raises(ContractError, match=r"2025-03-28.parquet: expected one row per customer_key, found 1 more"):
        collected(files)
    with pytest.raises(ContractError, match="one file per month"):
        collected({**files, date(2025, 1, 5): files[DAYS[0]]})


def test_names_are_121_for_24_products():
    names = feature_names([f"p{i}" for i in range(24)])
    assert len(names) == len(set(names)) == 121


class Rows(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.rows)


def material(holdings: Holdings, keys: list[int], cutoffs: list[date]) -> Rows:
    return Rows(rows=pl.DataFrame({"customer_key": keys, "cutoff_date": cutoffs}), holdings=holdings, products=PRODUCTS)


def test_the_group_is_the_kernel_at_the_cutoff_and_knows_no_older_month(tmp_path):
    held = drawn(5)
    files = written(tmp_path, held)
    keys = np.arange(1, len(held) + 1)
    holdings = load_holdings(files, keys, PRODUCTS)
    whole = collected(files)
    rows = whole.filter(pl.col("day").is_in([DAYS[4], DAYS[7]])).sample(fraction=1.0, shuffle=True, seed=1)
    m = material(holdings, rows["customer_key"].to_list(), rows["day"].to_list())
    made = product_lags_group._make(m, 12)
    for name in feature_names(PRODUCTS)[:-1]:
        expected = rows[name].to_numpy().astype(float)
        np.testing.assert_array_equal(made[name], np.where(expected < 0, np.nan, expected), err_msg=name)
    short = product_lags_group._make(m, 2)
    assert max(np.nanmax(short[f"lag_{p}_running"]) for p in PRODUCTS) == 2
    assert (
        len(
            product_lags_group.generator(SimpleNamespace(products=PRODUCTS), SimpleNamespace(history_months=12)).columns
        )
        == 15
    )

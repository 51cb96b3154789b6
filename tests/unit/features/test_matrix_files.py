"""Tables read a block at a time hold what they hold when read at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline_lib.errors import ContractError
from pipeline_lib.features import matrix_files
from pipeline_lib.features.matrix_files import matrix_of, rows_at

NAMES = ["b", "a"]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten rows in row groups of three, read in blocks of two; a null, a NaN and both zeros among them."""
    monkeypatch.setattr(matrix_files, "BLOCK_ROWS", 2)
    days = pl.Series("cutoff_date", np.arange(10), dtype=pl.Int32).cast(pl.Date)
    table = pl.DataFrame({"customer_key": np.arange(10, dtype=np.int32)[::-1], "cutoff_date": days})
    a = pl.Series("a", [0.0, -0.0, None, np.nan, np.inf, 0.1, 6, 7, 8, 9], dtype=pl.Float32)
    table = table.with_columns(a, pl.Series("b", np.linspace(0, 1, 10), dtype=pl.Float32))
    table.write_parquet(tmp_path / "x.parquet", row_group_size=3)
    return tmp_path / "x.parquet"


def test_a_matrix_is_the_table_bit_by_bit(path):
    table = pl.read_parquet(path)
    found, expected = matrix_of(path, NAMES, table), table.select(NAMES).to_numpy()
    assert found.flags.f_contiguous
    assert found.dtype == np.float32
    assert np.array_equal(np.signbit(found), np.signbit(expected))
    assert np.array_equal(found, expected, equal_nan=True)
    assert matrix_of(path, [], table).shape == (10, 0)


def test_other_rows_are_refused_wherever_they_lie(path):
    rows = pl.read_parquet(path)
    swapped = rows[[0, 1, 2, 3, 4, 5, 6, 7, 9, 8]]
    other = rows.with_columns(pl.col("cutoff_date").dt.offset_by("1d"))
    for wrong in (swapped, other, rows.head(9), pl.concat([rows, rows.head(1)])):
        with pytest.raises(ContractError, match=rf"x: expected the {len(wrong)} rows of split_assignment in order"):
            matrix_of(path, NAMES, wrong)


def test_some_rows_come_in_the_order_asked_for(path):
    places = np.array([9, 0, 4, 3, 8, 0])
    found = pl.DataFrame(rows_at(path, places, NAMES))
    assert found.equals(pl.read_parquet(path).select(NAMES)[places], null_equal=True)
    assert rows_at(path, places[:0], NAMES).num_rows == 0

"""``diagrams.parquet``: the bars of every row's persistence diagrams, as the teacher's topology expert reads them.

A row has, for each window, a flat list of (birth, death, dimension), one bar after another, in the order and with the
cap of ``topology.diagrams.Diagrams.listed``; units are the 95th percentile of the parts' deaths on train. No bar is an
empty list. Source: features.md 4.2 and 7.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline_lib.errors import ContractError
from pipeline_lib.features.generator import Ragged
from pipeline_lib.features.layout import Layout
from pipeline_lib.features.matrix_files import KEYS, blocks
from pipeline_lib.settings.feature_groups.topology import Topology

DIAGRAMS = "diagrams.parquet"
DIMENSIONS = (0, 1)
"""Parts and loops."""
BLOCK_ROWS = 20_000
_WINDOWS: tuple[Literal["short", "long"], ...] = ("short", "long")
_GROUP = "tda_"
_BAR = 3
"""Numbers of a bar."""


def described_diagrams(layout: Layout, policy: Topology) -> dict[str, dict[str, Any]]:
    """Window -> its longest list [bars] and the dimensions that a bar may have; empty when no window is made."""
    made = [name for name in _WINDOWS if (own := layout.groups.get(_GROUP + name)) and own.kept]
    return {name: {"max_bars": policy.span(name).max_bars, "dimensions": list(DIMENSIONS)} for name in made}


def diagram_columns(described: Mapping[str, Any]) -> list[str]:
    """Columns of the table beside its keys; without any there is no file."""
    return [_GROUP + name for name in described]


def write_diagrams(
    path: Path, keys: pl.DataFrame, described: Mapping[str, Mapping[str, Any]], lists: Mapping[str, Ragged]
) -> None:
    """Write the bars of the rows of ``keys`` [R], a row group per block of rows.

    Raises:
        ContractError: a bar is not one.
    """
    for name, own in described.items():
        found = lists[_GROUP + name]
        _require_bars(keys, _GROUP + name, np.diff(found.offsets), found.values, int(own["max_bars"]))
    columns = diagram_columns(described)
    bare = keys.select(KEYS).to_arrow()
    table = pa.table([*bare.columns, *(_column(lists[name]) for name in columns)], names=[*KEYS, *columns])
    pq.write_table(table, path, compression="zstd", row_group_size=BLOCK_ROWS)


def require_diagrams(path: Path, described: Mapping[str, Mapping[str, Any]], rows: pl.DataFrame) -> None:
    """The file holds these rows, and bars alone.

    Args:
        rows: customer_key and cutoff_date that the file has to hold [R].

    Raises:
        ContractError: it does not; names row and column.
    """
    for first, block in blocks(path, diagram_columns(described), rows):
        keys = rows.slice(first, len(block))
        for name, own in described.items():
            lists = block.column(_GROUP + name)
            counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
            _require_whole(keys, _GROUP + name, counts)
            bars = lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, _BAR)
            _require_bars(keys, _GROUP + name, counts // _BAR, bars, int(own["max_bars"]))


def _column(found: Ragged) -> pa.LargeListArray:
    values = np.ascontiguousarray(found.values, dtype=np.float32).reshape(-1)
    return pa.LargeListArray.from_arrays(pa.array(found.offsets * _BAR, type=pa.int64()), pa.array(values))


def _require_whole(keys: pl.DataFrame, column: str, counts: npt.NDArray[np.int64]) -> None:
    for row in np.flatnonzero(counts % _BAR)[:1]:
        raise ContractError(f"{_where(keys, column, row)}: expected three numbers a bar, found {counts[row]} numbers")


def _require_bars(
    keys: pl.DataFrame,
    column: str,
    counts: npt.NDArray[np.int64],
    bars: npt.NDArray[np.float32],
    most: int,
) -> None:
    """Every bar [K, 3] is finite, of a known dimension and 0 <= birth <= death; a row has at most ``most``."""
    birth, death, dimension = bars.T
    sound = np.isfinite(bars).all(axis=1) & (birth >= 0) & (death >= birth) & np.isin(dimension, DIMENSIONS)
    for place in np.flatnonzero(~sound)[:1]:
        row = int(np.searchsorted(np.cumsum(counts), place, side="right"))
        found = ", ".join(f"{value:g}" for value in bars[place])
        raise ContractError(
            f"{_where(keys, column, row)}: expected 0 <= birth <= death, finite, and dimension 0 or 1, found ({found})"
        )
    for row in np.flatnonzero(counts > most)[:1]:
        raise ContractError(f"{_where(keys, column, row)}: expected at most {most} bars, found {counts[row]}")


def _where(keys: pl.DataFrame, column: str, row: int) -> str:
    key = keys.row(int(row), named=True)
    return f"{DIAGRAMS}: column {column} of customer {key['customer_key']} at {key['cutoff_date']}"

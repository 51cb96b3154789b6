"""Tables of keys and float32 columns, and Parquet files that are written one range at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq


def with_columns(keys: pl.DataFrame, names: Sequence[str], values: npt.NDArray[np.float32]) -> pl.DataFrame:
    """Keys [R] beside the columns of ``values`` [R, F]."""
    own = pl.DataFrame(
        [pl.Series(name, values[:, i]) for i, name in enumerate(names)], schema=dict.fromkeys(names, pl.Float32)
    )
    return keys.hstack(own)


class TableWriter:
    """A Parquet file made of several tables with one schema; without any table there is no file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table)

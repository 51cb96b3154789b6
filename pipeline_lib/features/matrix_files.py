"""Wide Parquet tables read a block of rows at a time: memory stays flat however many rows a bank has."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_lib.errors import ContractError

Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
KEYS = ("customer_key", "cutoff_date")
BLOCK_ROWS = 16_384


def blocks(path: Path, names: Sequence[str], rows: pl.DataFrame) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Number of the first row and the columns ``names`` of every block, in order.

    Args:
        rows: customer_key and cutoff_date that the file has to hold [R].

    Raises:
        ContractError: the file holds other rows, or the same in another order.
    """
    refused = f"{path.stem}: expected the {len(rows)} rows of split_assignment in order, found others"
    keys, first = rows.select(KEYS), 0
    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows != len(rows):
            raise ContractError(refused)
        for block in file.iter_batches(BLOCK_ROWS, columns=list(dict.fromkeys([*KEYS, *names])), use_threads=False):
            own = pl.DataFrame(pa.Table.from_batches([block.select(KEYS)]))
            if not own.equals(keys.slice(first, len(own))):
                raise ContractError(refused)
            yield first, block
            first += len(own)


def matrix_of(path: Path, names: Sequence[str], rows: pl.DataFrame) -> Matrix:
    """Float columns of a table [R, F], null = NaN, column by column in a file that goes when nobody reads it any more.

    The system may drop pages of the file and read them again, so a table larger than memory can be judged.

    Raises:
        ContractError: as ``blocks``.
    """
    shape = (len(rows), len(names))
    if not shape[0] * shape[1]:
        return np.empty(shape, dtype=np.float32, order="F")
    with tempfile.TemporaryFile() as file:
        matrix = np.memmap(file, dtype=np.float32, mode="w+", shape=shape, order="F")
    for first, block in blocks(path, names, rows):
        for place, name in enumerate(names):
            matrix[first : first + len(block), place] = block.column(name).to_numpy(zero_copy_only=False)
    return np.asarray(matrix)


def rows_at(path: Path, places: Ints, names: Sequence[str]) -> pa.Table:
    """Some rows of a table, in the order asked for; only row groups that hold one of them are read."""
    found, numbers, first = [], [np.zeros(0, dtype=np.int64)], 0
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            here = np.flatnonzero((places >= first) & (places < first + count))
            if len(here):
                found.append(file.read_row_group(group, columns=list(names)).take(places[here] - first))
                numbers.append(here)
            first += count
        empty = file.schema_arrow.empty_table().select(list(names))
    return pa.concat_tables([empty, *found]).take(np.argsort(np.concatenate(numbers)))

"""DuckDB connections of this stage: bounded memory, spill to a scratch folder, statements from ``sql/``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_lib import sql
from pipeline_lib.contracts.tables import ROW_GROUP_ROWS

MEMORY_LIMIT = "4GB"


class Duck:
    """A connection that runs statements by name and gives each only the parameters it names."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, parameters: Mapping[str, Any]) -> None:
        self._connection = connection
        self._parameters = dict(parameters)

    def table(self, name: str, statement: str, **parameters: Any) -> None:
        """``CREATE TEMP TABLE name AS`` the statement ``sql/<statement>.sql``."""
        loaded = sql.load(statement)
        create = f"CREATE OR REPLACE TEMP TABLE {name} AS\n{loaded.text}"
        self._connection.execute(create, self._named(loaded, parameters))

    def fill(self, name: str, statement: str, *, first: bool, **parameters: Any) -> None:
        """Add a statement's rows to the table ``name``, which the first call makes."""
        loaded = sql.load(statement)
        verb = f"CREATE OR REPLACE TEMP TABLE {name} AS" if first else f"INSERT INTO {name}"
        self._connection.execute(f"{verb}\n{loaded.text}", self._named(loaded, parameters))

    def frame(self, statement: str, **parameters: Any) -> pl.DataFrame:
        """The rows of a statement."""
        loaded = sql.load(statement)
        found = self._connection.sql(loaded.text, params=self._named(loaded, parameters))
        return pl.DataFrame(found.to_arrow_table())

    def batches(self, statement: str, **parameters: Any) -> Iterator[pl.DataFrame]:
        """The rows of a statement, ROW_GROUP_ROWS or so at a time; at least one frame, if only an empty one."""
        loaded = sql.load(statement)
        found = self._connection.sql(loaded.text, params=self._named(loaded, parameters))
        reader = found.to_arrow_reader(ROW_GROUP_ROWS)
        batches = iter(reader)
        yield pl.DataFrame(pa.Table.from_batches([b for b in [next(batches, None)] if b], schema=reader.schema))
        for batch in batches:
            yield pl.DataFrame(pa.Table.from_batches([batch]))

    def rows(self, name: str) -> pl.DataFrame:
        """The rows of a table, in its order."""
        return pl.DataFrame(self._connection.sql(f"SELECT * FROM {name}").to_arrow_table())

    def write(self, path: Path, statement: str, **parameters: Any) -> int:
        """Stream a statement's rows, in its order, into one Parquet file; returns how many.

        The bytes depend on nothing but the rows: DuckDB's own writer marks a column REQUIRED or not by what its
        optimizer happens to know, so the writer here is Arrow's, with row groups of one size.
        """
        loaded = sql.load(statement)
        reader = self._connection.sql(loaded.text, params=self._named(loaded, parameters)).to_arrow_reader(
            ROW_GROUP_ROWS
        )
        rows = 0
        with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
            for group in _of_one_size(reader, ROW_GROUP_ROWS):
                writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
                rows += group.num_rows
        return rows

    def write_by(self, column: str, folder: Path, statement: str, **parameters: Any) -> None:
        """Stream a statement's rows into Parquet files under ``folder/<column>=<value>/``."""
        loaded = sql.load(statement)
        target = f"TO {_quoted(folder)} (FORMAT parquet, PARTITION_BY ({column}), WRITE_PARTITION_COLUMNS true)"
        self._connection.execute(f"COPY (\n{loaded.text}) {target}", self._named(loaded, parameters))

    def save(self, name: str, path: Path) -> None:
        """A table as a scratch file, in no order that anybody may rely on."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection.execute(f"COPY {name} TO {_quoted(path)} (FORMAT parquet)")

    def view(self, name: str, files: Sequence[Path], shards: tuple[int, int] | None = None) -> None:
        """A view over Parquet files of one schema, or over their rows of a range of shards (both ends included)."""
        names = ", ".join(_quoted(path) for path in files)
        read = f"read_parquet([{names}], hive_partitioning = false)"
        where = f" WHERE shard BETWEEN {shards[0]} AND {shards[1]}" if shards else ""
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT * FROM {read}{where}")

    def register(self, name: str, frame: pl.DataFrame) -> None:
        """A small frame as a table."""
        self._connection.register(f"{name}_arrow", frame.to_arrow())
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM {name}_arrow")
        self._connection.unregister(f"{name}_arrow")

    def _named(self, statement: sql.Statement, given: Mapping[str, Any]) -> dict[str, Any]:
        known = {**self._parameters, **given}
        return {name: known[name] for name in sorted(statement.parameters)}


@contextmanager
def connect(scratch: Path, threads: int, parameters: Mapping[str, Any]) -> Iterator[Duck]:
    """An in-memory database that spills to ``scratch``. Results do not depend on ``threads``."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": threads,
        "memory_limit": MEMORY_LIMIT,
        "temp_directory": str(scratch / "duckdb"),
    }
    with duckdb.connect(":memory:", config=config) as connection:
        yield Duck(connection, parameters)


def _of_one_size(reader: pa.RecordBatchReader, rows: int) -> Iterator[pa.Table]:
    """The reader's rows in tables of ``rows`` rows, the last one smaller."""
    held = reader.schema.empty_table()
    for batch in reader:
        held = pa.concat_tables([held, pa.Table.from_batches([batch])])
        while held.num_rows >= rows:
            yield held.slice(0, rows)
            held = held.slice(rows)
    if held.num_rows:
        yield held


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"

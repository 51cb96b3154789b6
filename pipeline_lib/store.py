"""The query store: LanceDB behind one small class. The only module that imports lancedb.

Everything in it is derived from the evidence and can be rebuilt; LanceDB does not fsync, so nothing is durable
because it is here. Written in large batches by one process at a time: a LanceDB commit rewrites a manifest, and many
small ones cost more each time. Source: audit.md 8; anchors.md C.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

LOAD_STATE = "load_state"
"""One row: the last checkpoint whose rows are all in the store."""


def quarter_table(log_table: str, ts: str) -> str:
    """``log_operation`` at ``2026-11-22T...Z`` -> ``log_operation__2026q4`` (quarters of UTC)."""
    return f"{log_table}__{ts[:4]}q{(int(ts[5:7]) + 2) // 3}"


def is_quarter_of(name: str, log_table: str) -> bool:
    return name.startswith(f"{log_table}__")


@dataclass(frozen=True)
class Near:
    """One search by vector."""

    column: str
    vector: Sequence[float]
    k: int
    nprobes: int
    """Partitions of the index that are looked into."""
    refine: int
    """So many times k candidates are compared by their true vectors."""


class QueryStore:
    """Tables by name under one folder or ``s3://`` URI."""

    def __init__(self, uri: str) -> None:
        import lancedb

        self._uri = uri
        self._db = lancedb.connect(uri)

    def names(self) -> list[str]:
        """All tables, sorted; not what a crash left of one that was being made."""
        return [name for name in self._listed() if self._opened(name) is not None]

    def _listed(self) -> list[str]:
        found: list[str] = []
        token: str | None = None
        while True:
            page = self._db.list_tables(page_token=token, limit=1_000)
            found.extend(page.tables)
            token = page.page_token
            if not token:
                return sorted(found)

    def append(self, name: str, rows: pa.Table) -> None:
        """Add a batch; the table is made when it is the first."""
        self._table(name, rows.schema).add(rows)

    def replace(self, name: str, rows: pa.Table) -> None:
        """Make ``rows`` the whole content of a table."""
        self._table(name, rows.schema).add(rows, mode="overwrite")

    def read(self, name: str, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
        """Rows of a table, in no order.

        Args:
            where: an SQL condition written by us; never text from a user.
        """
        query: Any = self._db.open_table(name).search()
        if where:
            query = query.where(where)
        if columns:
            query = query.select(list(columns))
        try:
            return query.to_arrow()
        except Exception as error:
            if type(error).__name__ != "RustPanic":  # its class cannot be imported
                raise
            raise RuntimeError(f"{self._uri}: table {name} cannot be decoded: {error}") from error

    def nearest(self, name: str, near: Near, where: str, columns: Sequence[str]) -> pa.Table:
        """The rows of a table nearest to a vector by cosine, with ``_distance`` = 1 - cosine, nearest first.

        Rows that do not meet ``where`` (SQL of ours) are left out before the search, not after it. Rows that came
        after the index was made are compared one by one.
        """
        query: Any = self._db.open_table(name).search(list(near.vector), vector_column_name=near.column)
        query = query.distance_type("cosine").where(where, prefilter=True).limit(near.k)
        query = query.nprobes(near.nprobes).refine_factor(near.refine)
        return query.select([*columns, "_distance"]).to_arrow()

    def count(self, name: str) -> int:
        return int(self._db.open_table(name).count_rows())

    def indexed(self, name: str, column: str) -> int | None:
        """Rows in the index of a vector column; None: there is no index."""
        table: Any = self._db.open_table(name)
        names = [index.name for index in table.list_indices() if list(index.columns) == [column]]
        return int(table.index_stats(names[0]).num_indexed_rows) if names else None

    def index_vectors(self, name: str, column: str, partitions: int, sub_vectors: int) -> None:
        """Make or remake the IVF-PQ index of a vector column, metric cosine."""
        from lancedb.index import IvfPq

        kind = IvfPq(distance_type="cosine", num_partitions=partitions, num_sub_vectors=sub_vectors)
        table: Any = self._db.open_table(name)
        table.create_index(column, config=kind, replace=True)

    def index_columns(self, name: str, ranges: Sequence[str] = (), few_values: Sequence[str] = ()) -> None:
        """Make or remake indexes for conditions: trees for columns asked by range, bitmaps for those of few values."""
        from lancedb.index import Bitmap, BTree

        table: Any = self._db.open_table(name)
        for columns, kind in ((ranges, BTree), (few_values, Bitmap)):
            for column in columns:
                table.create_index(column, config=kind(), replace=True)

    def compact(self, name: str, keep: timedelta, when_fragments: int) -> bool:
        """Merge small fragments once a table has so many; never prune versions younger than ``keep``."""
        table: Any = self._db.open_table(name)
        if table.stats()["fragment_stats"]["num_fragments"] < when_fragments:
            return False
        table.optimize(cleanup_older_than=keep)
        return True

    def drop(self, names: Sequence[str]) -> None:
        for name in names:
            self._db.drop_table(name)

    def _table(self, name: str, schema: pa.Schema) -> Any:
        table = self._opened(name)
        return self._db.create_table(name, schema=schema) if table is None else table

    def _opened(self, name: str) -> Any:
        """None when there is no such table: LanceDB lists a folder before its first version is in it."""
        try:
            return self._db.open_table(name)
        except ValueError as error:
            if "not found" not in str(error):
                raise
            return None

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the right to write. On ``s3://`` the scheduler must see to it that only one process loads."""
        if "://" in self._uri:
            yield
            return
        Path(self._uri).mkdir(parents=True, exist_ok=True)
        with open(Path(self._uri) / ".load.lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

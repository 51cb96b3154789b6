"""What an adapter hands over: canonical names and types, raw customer ids, one month at a time.

An adapter is a module under ``ingest/adapters`` with two functions and no knowledge of runs or stores:

    def files(source: Source, folder: Path | None) -> list[Path]
        The raw files that will be read (their digests are inputs of the stage); [] for a generator.

    def read(source: Source, folder: Path | None, logical_date: date, out: SourceTables) -> None
        Push every canonical table into ``out``: snapshots up to ``logical_date`` (inclusive) and events before it.

An adapter types and renames. It never imputes, joins labels, assigns customer keys or counts products: ``load``
does that once for all sources. Every ``add_*`` may be called several times for one month (blocks of customers);
the order of calls and of rows does not matter, because ``load`` sorts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl

from pipeline_lib.contracts.tables import (
    ADAPTER_EVENT,
    ADAPTER_SNAPSHOT,
    CATEGORY,
    PRODUCT_PREFIX,
    QUARANTINE,
    SEGMENT,
    Column,
)
from pipeline_lib.errors import SchemaError


class SourceTables:
    """Parts of tables as Parquet files in a scratch folder, which is deleted after the load."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: Counter[str] = Counter()
        """Named counts of what the adapter repaired, e.g. ``is_active: null to 0``."""
        self.file_rows: dict[str, int] = {}
        """Raw file name -> rows read from it."""
        self.event_origin: str | None = None
        """``origin`` of the events, where it is not the source's: generated events beside real snapshots."""
        self._parts: Counter[str] = Counter()

    def add_snapshot(self, day: date, rows: pl.DataFrame) -> None:
        """Customers at one snapshot.

        Args:
            rows: ``customer_id`` Utf8 and any of the columns of ``contracts.tables.ADAPTER_SNAPSHOT`` (those left
                out must be listed in ``source.unavailable_columns``), and ``prod_<short>`` Int8 0/1 for every
                product of the source. Null = not known.
        """
        known = [*ADAPTER_SNAPSHOT, *(Column(n, pl.Int8()) for n in rows.columns if n.startswith(PRODUCT_PREFIX))]
        self._write(f"snapshot/{day.isoformat()}", rows, known, optional=True)

    def add_segment(self, day: date, rows: pl.DataFrame) -> None:
        """``customer_id`` Utf8, ``segment`` Utf8 (``contracts.tables.SEGMENTS``), if the source carries it."""
        self._write(f"segment/{day.isoformat()}", rows, SEGMENT)

    def add_events(self, month: str, rows: pl.DataFrame) -> None:
        """Events of one month ``YYYY-MM``: ``contracts.tables.ADAPTER_EVENT``; nullable columns left out are null."""
        left_out = [c for c in ADAPTER_EVENT if c.nullable and c.name not in rows.columns]
        rows = rows.with_columns(pl.lit(None, dtype=c.dtype).alias(c.name) for c in left_out)
        self._write(f"event/{month}", rows, ADAPTER_EVENT)

    def add_quarantine(self, rows: pl.DataFrame) -> None:
        """Refused rows: ``source`` file name, ``month`` YYYY-MM, ``line_no``, ``reason``, ``raw`` (no customer id)."""
        self._write("quarantine", rows, QUARANTINE)

    def add_raw(self, suite: str, rows: pl.DataFrame) -> None:
        """Raw rows (strings) of the newest month for the row-level suite ``suite`` of the data policy."""
        self._write(f"raw/{suite}", rows, [Column(n, pl.String(), True) for n in rows.columns])

    def set_categories(self, rows: pl.DataFrame) -> None:
        """The whole ``dim_mcc``; see ``categories`` for the usual way to make it."""
        self._write("dim_mcc", rows, CATEGORY)

    def parts(self, table: str) -> list[Path]:
        """Files of one table or one month, e.g. ``snapshot/2016-05-28``."""
        return sorted((self.folder / table).glob("*.parquet"))

    def months(self, table: str) -> list[str]:
        """Months or days that have parts, ascending."""
        base = self.folder / table
        return sorted(p.name for p in base.iterdir() if p.is_dir()) if base.is_dir() else []

    def _write(self, table: str, rows: pl.DataFrame, columns: Sequence[Column], *, optional: bool = False) -> None:
        typed = _as_declared(table, rows, columns, optional=optional)
        target = self.folder / table / f"{self._parts[table]:05d}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        typed.write_parquet(target)
        self._parts[table] += 1


def category_table(rows: Sequence[tuple[str, str, str, bool]], unknown: str = "unknown") -> pl.DataFrame:
    """``dim_mcc`` from (code, level-2 name, level-1 name, customer_made).

    ``mcc_idx`` is the rank of the code in ascending order and the last index is ``unknown``, which is nobody's
    act; level ids follow the
    order of first appearance in ``rows``. Source: data.md 4.1.

    Returns:
        One row per code plus ``unknown``, by mcc_idx: mcc_idx UInt8, code, l2_id UInt8, l1_id UInt8, l2, l1,
        customer_made.
    """
    l2 = {name: i for i, name in enumerate(dict.fromkeys([*(r[1] for r in rows), unknown]))}
    l1 = {name: i for i, name in enumerate(dict.fromkeys([*(r[2] for r in rows), unknown]))}
    ordered = [*sorted(rows), (unknown, unknown, unknown, False)]
    records = [
        {"mcc_idx": i, "code": code, "l2_id": l2[b], "l1_id": l1[a], "l2": b, "l1": a, "customer_made": made}
        for i, (code, b, a, made) in enumerate(ordered)
    ]
    return pl.DataFrame(records, schema={c.name: c.dtype for c in CATEGORY})


def _as_declared(table: str, rows: pl.DataFrame, columns: Sequence[Column], *, optional: bool) -> pl.DataFrame:
    names = [c.name for c in columns]
    unknown = [n for n in rows.columns if n not in names]
    missing = [c.name for c in columns if c.name not in rows.columns and not (optional and (c.nullable or c.absent))]
    if unknown or missing:
        raise SchemaError(f"adapter table {table}: columns not in the contract {unknown}, missing {missing}")
    wrong = [
        f"{c.name}: found {rows.schema[c.name]}, expected {c.dtype}"
        for c in columns
        if c.name in rows.columns and rows.schema[c.name] != c.dtype
    ]
    if wrong:
        raise SchemaError(f"adapter table {table}: columns of the wrong type", wrong)
    if empty := [c.name for c in columns if not c.nullable and c.name in rows.columns and rows[c.name].null_count()]:
        raise SchemaError(f"adapter table {table}: columns {empty} hold nulls, expected a value in every row")
    return rows.select([n for n in names if n in rows.columns])

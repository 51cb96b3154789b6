"""Birmingham City Council's purchase cards: a stream of real expense categories without persons or products.

Customer = card. The expense category stands in for the merchant category. Its code is a tree by itself: the first
character is the group of the council's chart of accounts (H staff, J premises, K transport, L supplies ...), the first
two are the subgroup. A code belongs to its ``code_system``: the council changed its ledger, and the same code may mean
something else in another system, so every category and every node of the tree carries the system's name.

Parameters (``params`` of the source):
    first_month, last_month   YYYY-MM of the panel. The published files lack May 2014 and April 2015 but for a few rows
                              that stand in their neighbours; the panel is a span of whole months.
    idle_months               a card without a transaction for so many months has left. Only the past decides: a panel
                              up to a card's *last* transaction would tell at every cutoff that another one follows.
    code_systems              names of the code systems whose codes are built like the tree above, with blanks between
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import polars as pl

from pipeline_lib.errors import SchemaError
from pipeline_lib.ingest import readers
from pipeline_lib.ingest.source_tables import SourceTables, category_table
from pipeline_lib.settings.source import Source

FILE = "transactions_2014_2016.parquet"
COLUMNS: dict[str, pl.DataType] = {
    "txn_id": pl.Int64(),
    "card_id": pl.String(),
    "date": pl.Datetime("us"),
    "amount": pl.Float64(),
    "code_system": pl.String(),
    "category_code": pl.String(),
    "merchant_id": pl.String(),
}
"""The columns that are read. Nothing else of the file enters the pipeline."""

MAX_CATEGORIES = 255


def files(source: Source, folder: Path | None) -> list[Path]:
    """The one file of transactions."""
    return readers.required_files(readers.required_folder(source.name, folder), [FILE])


def read(source: Source, folder: Path | None, logical_date: date, out: SourceTables) -> None:
    """Month-end snapshots up to ``logical_date`` and the transactions of the panel's months before it."""
    rows = _read(source, files(source, folder)[0])
    out.file_rows[FILE] = rows.height
    first, last = (str(source.params[name]) for name in ("first_month", "last_month"))
    out.counts["transaction: month outside the panel"] += _outside(rows, first, last, logical_date)
    past = rows.filter(pl.col("date") < logical_date)
    categories = _categories(past)
    out.set_categories(categories)
    out.counts["category: none given, unknown"] += past.get_column("category_code").null_count()
    typed = _typed(past, categories)
    for day in readers.month_ends(first, last):
        if day <= logical_date:
            out.add_snapshot(day, _cards(past, day, int(source.params["idle_months"])))
        month = typed.filter(pl.col("event_ts").dt.date().is_between(day.replace(day=1), day))
        if month.height:
            out.add_events(f"{day:%Y-%m}", month)


def _read(source: Source, path: Path) -> pl.DataFrame:
    rows = readers.read_parquet(path, COLUMNS, source)
    readers.require_no_nulls(FILE, rows, [name for name in COLUMNS if name != "category_code"])
    readers.require_unique(FILE, rows, ["txn_id"])
    readers.require_past(FILE, rows, "date")
    readers.require_codes(FILE, rows, "code_system", str(source.params["code_systems"]).split())
    zero = (rows.get_column("amount") == 0).arg_true()
    if zero.len():
        raise SchemaError(f"{FILE}: amount in row {zero[0]} is 0; expected money spent (> 0) or refunded (< 0)")
    return rows


def _outside(rows: pl.DataFrame, first: str, last: str, logical_date: date) -> int:
    month = pl.col("date").dt.strftime("%Y-%m")
    return rows.filter((pl.col("date") < logical_date) & ~month.is_between(pl.lit(first), pl.lit(last))).height


def _categories(rows: pl.DataFrame) -> pl.DataFrame:
    """``dim_mcc`` of the codes used so far: what nobody has booked yet is not known yet."""
    used = rows.select("code_system", "category_code").drop_nulls().unique().sort(pl.all())
    if used.height > MAX_CATEGORIES:
        raise SchemaError(f"{FILE}: found {used.height} categories, expected at most {MAX_CATEGORIES}")
    return category_table(
        [
            (f"{system}:{code}", f"{system}:{code[:2]}", f"{system}:{code[:1]}", True)
            for system, code in used.iter_rows()
        ]
    )


def _typed(rows: pl.DataFrame, categories: pl.DataFrame) -> pl.DataFrame:
    """Columns of ``contracts.tables.ADAPTER_EVENT``; a negative amount is money that came back."""
    unknown = categories.get_column("mcc_idx").max()
    index = categories.select("code", "mcc_idx")
    refund = pl.col("amount") < 0
    return (
        rows.with_columns(code=pl.format("{}:{}", "code_system", "category_code"))
        .join(index, on="code", how="left", maintain_order="left")
        .select(
            event_id=pl.format("t{}", "txn_id"),
            customer_id="card_id",
            event_ts="date",
            event_type=pl.when(refund).then(pl.lit("card_refund")).otherwise(pl.lit("card_purchase")),
            mcc_idx=pl.col("mcc_idx").fill_null(unknown),
            amount=pl.col("amount").abs(),
            signed_amount=-pl.col("amount"),
            merchant_id="merchant_id",
        )
    )


def _cards(rows: pl.DataFrame, day: date, idle_months: int) -> pl.DataFrame:
    """Cards with a transaction in the ``idle_months`` months up to ``day``."""
    since = readers.month_before(day, idle_months)
    used = rows.filter((pl.col("date") > since) & (pl.col("date") < day + timedelta(days=1)))
    return used.select(customer_id="card_id").unique().sort("customer_id")

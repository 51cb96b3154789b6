"""A Portuguese bank's telemarketing campaigns, May 2008 to December 2009 (UCI Bank Marketing): one honest label.

One contact = one customer: the file does not tell who was called twice. There is no stream of events. The panel:

- at the end of the month of the contact, the customer as the file describes them *before* the call: no term deposit;
- at the end of the next month, the same profile, with the deposit if the call sold one (``y``).

So ``will_acquire_deposits`` at the contact's month is ``y``. Customers have no row before or after: whoever was only
carried into a month for its outcome has the label status ``absent`` there. Housing and personal loan are not observed
a second time; whatever would be a change of theirs is no label of this source.

Traps left outside on purpose: ``duration`` is known only after the call has ended; ``campaign`` counts the calls of
this campaign up to its last one, whose outcome is the label.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl

from pipeline_lib.ingest import readers
from pipeline_lib.ingest.source_tables import SourceTables, category_table
from pipeline_lib.settings.source import Source

FILE = "bank_full_2008_2009.parquet"
_WHOLE, _TEXT = pl.Int64(), pl.String()
COLUMNS: dict[str, pl.DataType] = {
    "row_no": _WHOLE,
    "age": _WHOLE,
    "housing": _TEXT,
    "loan": _TEXT,
    "contact": _TEXT,
    "day": _WHOLE,
    "month": _TEXT,
    "year_inferred": _WHOLE,
    "y": _TEXT,
}
"""The columns that are read. Nothing else of the file enters the pipeline."""

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
ANSWERS = ("no", "yes")


def files(source: Source, folder: Path | None) -> list[Path]:
    """The one file of contacts."""
    return readers.required_files(readers.required_folder(source.name, folder), [FILE])


def read(source: Source, folder: Path | None, logical_date: date, out: SourceTables) -> None:
    """Month-end snapshots up to ``logical_date``: those contacted in the month, and the outcome of the month before."""
    rows = _read(source, files(source, folder)[0])
    out.file_rows[FILE] = rows.height
    out.set_categories(category_table([]))
    young = pl.col("age").is_between(18, 100)
    out.counts["age: outside 18..100 to null"] += rows.filter(~young).height
    rows = rows.with_columns(age=pl.when(young).then("age"))
    contacts = {str(month): part for (month,), part in rows.group_by("month_of_contact")}
    before = f"{readers.month_before(readers.month_ends(min(contacts), min(contacts))[0], 1):%Y-%m}"
    for day in readers.month_ends(min(contacts), max(contacts), after=1):
        month = f"{day:%Y-%m}"
        if day <= logical_date:
            now, carried = (contacts.get(name, rows.clear()) for name in (month, before))
            asked = _customers(now, pl.lit(0))
            answered = _customers(carried, (pl.col("y") == "yes").cast(pl.Int8))
            out.add_snapshot(day, pl.concat([asked, answered]))
        before = month


def _read(source: Source, path: Path) -> pl.DataFrame:
    """The contacts with ``month_of_contact`` YYYY-MM."""
    rows = readers.read_parquet(path, COLUMNS, source)
    readers.require_no_nulls(FILE, rows, list(COLUMNS))
    readers.require_unique(FILE, rows, ["row_no"])
    readers.require_codes(FILE, rows, "month", MONTHS)
    for column in ("housing", "loan", "y"):
        readers.require_codes(FILE, rows, column, ANSWERS)
    number = pl.col("month").replace_strict(MONTHS, range(1, 13), return_dtype=pl.Int64)
    written = pl.format("{}-{}-{}", "year_inferred", number, "day")
    days = rows.with_columns(date=written.str.to_date("%Y-%m-%d", strict=False))
    readers.require_no_nulls(FILE, days, ["date"])
    readers.require_past(FILE, days, "date")
    return days.with_columns(month_of_contact=pl.col("date").dt.strftime("%Y-%m"))


def _customers(rows: pl.DataFrame, deposit: pl.Expr) -> pl.DataFrame:
    return rows.select(
        customer_id=pl.col("row_no").cast(pl.String),
        age=pl.col("age").cast(pl.Int16),
        channel="contact",
        prod_deposit=deposit.cast(pl.Int8),
        prod_mortgage=(pl.col("housing") == "yes").cast(pl.Int8),
        prod_loan=(pl.col("loan") == "yes").cast(pl.Int8),
    )

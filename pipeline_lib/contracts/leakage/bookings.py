"""Acts of the bank that pass for acts of the customer (R07), and labels against their declared rates (L24)."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from pipeline_lib.contracts.leakage import scores
from pipeline_lib.contracts.leakage.frames import TableSet
from pipeline_lib.contracts.leakage.raw import RawSet, RawTable
from pipeline_lib.contracts.leakage.text import finding
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage


def many_at_once(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """R07: a category that nearly all its receivers of a month receive on one day is made by the bank."""
    own = limits.raw
    counted = t.bookings.filter(pl.col("customer_made") & (pl.col("receivers") >= own.same_day_customers))
    share = (pl.col("same_day") / pl.col("receivers")).median()
    months = counted.group_by("code").agg(pl.len().alias("months"), share.alias("share")).sort("code")
    for code, seen, value in months.filter(pl.col("months") >= own.same_day_months).iter_rows():
        if value >= own.same_day:
            message = f"in {seen} months; called an act of the customer, it shows the calendar and not a habit"
            yield finding("R07", code, "share of receivers on one day", float(value), own.same_day, message)


def raw_many_at_once(raw: RawSet, limits: Leakage) -> Iterator[Finding]:
    """R07: the same in a raw table of dated rows, where nobody has said yet which values the bank makes by itself."""
    own = limits.raw
    for table in (t for t in raw.tables if t.blind):
        for who, day, name in _streams(table, own.max_classes):
            counted = same_day(table.rows.select(who=who, day=pl.col(day).cast(pl.Date), value=name), "value")
            enough = counted.filter(pl.col("receivers") >= own.same_day_customers)
            share = (pl.col("same_day") / pl.col("receivers")).median()
            found = enough.group_by("value").agg(pl.len().alias("months"), share.alias("share")).sort("value")
            for value, months, part in found.filter(pl.col("months") >= own.same_day_months).iter_rows():
                if part >= own.same_day:
                    message = (
                        f"{value!r} comes to nearly all its {who} on one day, in {months} months: made by the bank"
                    )
                    column = f"{table.name}.{name}"
                    yield finding("R07", column, "share of receivers on one day", float(part), own.same_day, message)


def same_day(rows: pl.DataFrame, category: str) -> pl.DataFrame:
    """Per category and month: who has it, and how many of them on its busiest day (``receivers``, ``same_day``)."""
    rows = rows.drop_nulls().with_columns(month=pl.col("day").dt.strftime("%Y-%m"))
    per_day = rows.group_by(category, "month", "day").agg(pl.col("who").n_unique().alias("same_day"))
    busiest = per_day.group_by(category, "month").agg(pl.col("same_day").max())
    receivers = rows.group_by(category, "month").agg(pl.col("who").n_unique().alias("receivers"))
    return receivers.join(busiest, on=[category, "month"])


def _streams(table: RawTable, most: int) -> Iterator[tuple[str, str, str]]:
    """(whose, when, what) of a table with many dated rows of one key."""
    for who in table.of_role("key"):
        repeated = table.rows[who].n_unique() < len(table.rows) / 2
        days = [name for name in table.of_role("time") if table.rows[name].dtype.is_temporal()]
        for day in days if repeated else ():
            for name in table.features:
                if table.rows[name].dtype == pl.String() and table.rows[name].n_unique() <= most:
                    yield who, day, name


def label_rates(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """L24: label rates on train are those that the generator declares; a real source declares none."""
    train = t.splits.filter(pl.col("split") == "train").select("customer_key", "cutoff_date")
    rows = t.labels.join(train, on=["customer_key", "cutoff_date"], how="semi")
    measured = {task: rows[task].drop_nulls().cast(pl.Float64) for task in t.declared_rates if task in t.tasks}
    means = {task: float(values.mean()) for task, values in measured.items() if len(values)}  # type: ignore[arg-type]
    yield from scores.rates_as_declared(means, t.declared_rates, limits)

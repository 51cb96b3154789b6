"""Acts of the bank that pass for acts of the customer (R07), and labels against their declared rates (L24)."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from pipeline_lib.contracts.leakage import scores
from pipeline_lib.contracts.leakage.frames import TableSet
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


def label_rates(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """L24: label rates on train are those that the generator declares; a real source declares none."""
    train = t.splits.filter(pl.col("split") == "train").select("customer_key", "cutoff_date")
    rows = t.labels.join(train, on=["customer_key", "cutoff_date"], how="semi")
    measured = {task: rows[task].drop_nulls().cast(pl.Float64) for task in t.declared_rates if task in t.tasks}
    means = {task: float(values.mean()) for task, values in measured.items() if len(values)}  # type: ignore[arg-type]
    yield from scores.rates_as_declared(means, t.declared_rates, limits)

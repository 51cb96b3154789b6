"""Leaks that show in the tables, each planted into a clean TableSet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from pipeline_lib.contracts.leakage import FileRange, TableSet
from pipeline_lib.contracts.leakage.frames import BOOKINGS
from pipeline_lib.contracts.leakage.text import Verdict

BINARY = "will_acquire_accounts"


@dataclass(frozen=True)
class TablePlant:
    """``statistic`` is the one the check must name."""

    name: str
    check: str
    statistic: str
    plant: Callable[[TableSet], TableSet]
    verdict: Verdict = "FAIL"


def no_gap(t: TableSet) -> TableSet:
    """Train labels end on the day the val cutoff lies."""
    first = t.splits.filter(pl.col("split") == "val")["cutoff_date"].min()
    train = pl.col("split") == "train"
    date = pl.when(train).then(pl.lit(first)).otherwise(pl.col("label_date"))
    return replace(t, splits=t.splits.with_columns(date.alias("label_date")))


def split_by_row(t: TableSet) -> TableSet:
    """Every fifth row of train becomes val, whoever the customer is."""
    moved = (pl.col("split") == "train") & (pl.int_range(pl.len()) % 5 == 0)
    split = pl.when(moved).then(pl.lit("val")).otherwise(pl.col("split"))
    return replace(t, splits=t.splits.with_columns(split.alias("split")))


def train_customers_in_test(t: TableSet) -> TableSet:
    """The report-only slice of seen customers is scored as test."""
    split = pl.when(pl.col("split") == "test_seen").then(pl.lit("test")).otherwise(pl.col("split"))
    return replace(t, splits=t.splits.with_columns(split.alias("split")))


def repeated_rows(t: TableSet) -> TableSet:
    train = t.splits.filter(pl.col("split") == "train").head(20)
    both = pl.concat([t.splits, train]).sort("shuffle_key", "customer_key", "cutoff_date")
    return replace(t, splits=both)


def bucket_by_row_number(t: TableSet) -> TableSet:
    bucket = (pl.int_range(pl.len()) % 10_000).cast(pl.Int16)
    return replace(t, splits=t.splits.with_columns(bucket.alias("bucket")))


def file_order(t: TableSet) -> TableSet:
    """Rows as the raw file had them, by customer."""
    return replace(t, splits=t.splits.sort("cutoff_date", "customer_key"))


def labels_in_row_order(t: TableSet) -> TableSet:
    """The source lists its buyers first, and the order survived."""
    place = t.splits.with_row_index("place").select("customer_key", "cutoff_date", "place")
    rows = t.labels.join(place.unique(["customer_key", "cutoff_date"]), on=["customer_key", "cutoff_date"], how="left")
    first = pl.col("place").rank("ordinal").over("cutoff_date") < 0.3 * pl.len().over("cutoff_date")
    label = pl.when(pl.col(BINARY).is_not_null()).then(first.cast(pl.Int16))
    return replace(t, labels=rows.with_columns(label.alias(BINARY)).drop("place"))


def other_rate_in_test(t: TableSet) -> TableSet:
    """Test customers were picked by their outcome."""
    test = t.splits.filter(pl.col("split") == "test").select("customer_key", "cutoff_date")
    rows = t.labels.join(test.with_columns(picked=pl.lit(True)), on=["customer_key", "cutoff_date"], how="left")
    label = pl.when(pl.col("picked") & pl.col(BINARY).is_not_null()).then(pl.lit(1, pl.Int16)).otherwise(pl.col(BINARY))
    return replace(t, labels=rows.with_columns(label.alias(BINARY)).drop("picked"))


def unlisted_file(t: TableSet) -> TableSet:
    """A pattern over names picked up the ground truth beside the raw files."""
    return replace(t, read_files={**t.read_files, "ground_truth.parquet": "0" * 64})


def replaced_file(t: TableSet) -> TableSet:
    return replace(t, read_files=dict.fromkeys(t.read_files, "f" * 64))


def stray_partition(t: TableSet) -> TableSet:
    return replace(t, outputs=(*t.outputs, "customer_snapshot/ground_truth.parquet"))


def ground_truth_column(t: TableSet) -> TableSet:
    columns = {**t.columns, "customer_snapshot": (*t.columns["customer_snapshot"], "persona")}
    return replace(t, columns=columns)


def future_event(t: TableSet) -> TableSet:
    last = t.events[-1]
    late = datetime.combine(t.logical_date + timedelta(days=1), datetime.min.time())
    return replace(t, events=(*t.events[:-1], FileRange(last.name, last.rows + 1, last.oldest, late)))


def later_snapshot(t: TableSet) -> TableSet:
    """The file of one month holds the profiles of the next."""
    first, second = t.snapshots[0], t.snapshots[1]
    return replace(t, snapshots=(replace(second, name=first.name), *t.snapshots[1:]))


def immature_labels(t: TableSet) -> TableSet:
    """Windows that have not ended are filled with zero."""
    late = pl.lit(t.newest_snapshot + timedelta(days=30))
    newest = pl.col("cutoff_date") == pl.col("cutoff_date").max()
    end = pl.when(newest).then(late).otherwise(pl.col("label_end_date"))
    return replace(t, labels=t.labels.with_columns(end.alias("label_end_date"), pl.col(BINARY).fill_null(0)))


def absent_customers(t: TableSet) -> TableSet:
    """Every tenth customer has left, and is missing from every rate."""
    gone = pl.int_range(pl.len()) % 10 == 0
    status = pl.when(gone).then(pl.lit("absent")).otherwise(pl.col("label_status"))
    tasks = [pl.when(~gone).then(pl.col(task)).alias(task) for task in t.tasks]
    return replace(t, labels=t.labels.with_columns(status.alias("label_status"), *tasks))


def window_over_a_gap(t: TableSet) -> TableSet:
    """The month after the test cutoff is missing: the window ends two months later."""
    stamps = sorted(t.labels["label_end_date"].unique().to_list())
    end = pl.col("label_end_date")
    last = pl.when(end == stamps[0]).then(pl.lit(stamps[0] + timedelta(days=31))).otherwise(end)
    return replace(t, labels=t.labels.with_columns(last.alias("label_end_date")))


def panel_jump(t: TableSet) -> TableSet:
    """A branch network was bought: a third more customers from one month to the next."""
    half = len(t.snapshots) // 2
    grown = tuple(replace(s, rows=s.rows * 4 // 3) if i >= half else s for i, s in enumerate(t.snapshots))
    return replace(t, snapshots=grown)


def drifted_rate(t: TableSet) -> TableSet:
    """Symmetric flips made a rare label twice as frequent as declared."""
    train = t.splits.filter(pl.col("split") == "train").select("customer_key", "cutoff_date")
    rate = t.labels.join(train, on=["customer_key", "cutoff_date"], how="semi")[BINARY].drop_nulls().cast(pl.Float64)
    return replace(t, declared_rates={BINARY: float(rate.mean()) / 2})  # type: ignore[arg-type]


def interest_as_a_purchase(t: TableSet) -> TableSet:
    """Interest of all accounts, booked on the last day of each month, listed as an act of the customer."""
    months = [f"2026-{month:02d}" for month in range(1, 7)]
    rows = {"code": "INTEREST", "customer_made": True, "receivers": 400, "same_day": 396}
    return replace(t, bookings=pl.DataFrame([{**rows, "month": month} for month in months], schema=BOOKINGS))


TABLE_PLANTS = (
    TablePlant("gap of 0 days", "L07", "gap in days", no_gap),
    TablePlant("split by row, not by customer", "L15", "rows on another side", split_by_row),
    TablePlant("train customers in test", "L15", "customers on two sides", train_customers_in_test),
    TablePlant("repeated rows", "L15", "repeated keys", repeated_rows),
    TablePlant("bucket from the row number", "L15", "rows with another bucket", bucket_by_row_number),
    TablePlant("rows in file order", "L02", "rows out of place", file_order),
    TablePlant("label follows the row order", "L02", "|Spearman|", labels_in_row_order),
    TablePlant("test customers picked by outcome", "L02", "p of the z-test", other_rate_in_test),
    TablePlant("ground-truth file read by a glob", "L03", "listed in ingest_manifest", unlisted_file),
    TablePlant("raw file replaced after listing", "L03", "sha256", replaced_file),
    TablePlant("stray file beside the partitions", "L03", "file of the contract", stray_partition),
    TablePlant("ground-truth column in a table", "L03", "name", ground_truth_column),
    TablePlant("event of the future", "L16", "newest event", future_event),
    TablePlant("profiles of the next month", "L16", "snapshot_date", later_snapshot),
    TablePlant("immature labels filled", "L18", "immature labels filled", immature_labels),
    TablePlant("customers gone from every rate", "L19", "share absent", absent_customers, "WARN"),
    TablePlant("label window over a gap", "L19", "end of the window", window_over_a_gap),
    TablePlant("jump of the panel", "L20", "change of rows", panel_jump, "WARN"),
    TablePlant("rate beside its declaration", "L24", "relative difference", drifted_rate, "WARN"),
    TablePlant("interest listed as a purchase", "R07", "share of receivers on one day", interest_as_a_purchase),
)

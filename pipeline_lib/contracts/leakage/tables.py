"""Files, dates and label status of the loaded tables (L03, L16, L18, L19, L20)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime

import polars as pl

from pipeline_lib.contracts.leakage.frames import TableSet
from pipeline_lib.contracts.leakage.text import finding
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage

PARTITIONS = re.compile(r"customer_snapshot/\d{4}-\d{2}-\d{2}\.parquet|transaction_event/\d{4}-\d{2}\.parquet")
SINGLE_FILES = frozenset(
    {"customer_segment.parquet", "dim_product.parquet", "dim_mcc.parquet", "quarantine_row.parquet",
     "ingest_manifest.parquet", "dq_report.json"}
)  # fmt: skip


def only_listed_files(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """L03: every raw file read is in ingest_manifest with the same digest."""
    for name, digest in sorted(t.read_files.items()):
        if name not in t.listed_files:
            yield finding("L03", name, "listed in ingest_manifest", "no", "yes", "a file was read that nobody listed")
        elif t.listed_files[name] != digest:
            message = "the file read is not the file listed"
            yield finding("L03", name, "sha256", digest[:12], t.listed_files[name][:12], message)


def only_known_tables(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """L03: nothing lies beside the canonical tables that a pattern over file names could pick up."""
    for name in t.outputs:
        if not PARTITIONS.fullmatch(name) and name not in SINGLE_FILES:
            message = "not a file of the contract: a pattern over names would read it"
            yield finding("L03", name, "file of the contract", "no", "yes", message)


def no_ground_truth(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """L03: no canonical table has a column of the generator's ground truth."""
    pattern = re.compile(limits.names.ground_truth)
    for table, columns in t.columns.items():
        for column in columns:
            if pattern.search(column.lower()):
                message = "the generator's ground truth lies in an input table"
                yield finding("L03", f"{table}.{column}", "name", column, limits.names.ground_truth, message)


def nothing_from_the_future(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """L16: events before the logical date and inside their month, snapshots up to it and on their own day."""
    for file in t.events:
        if file.newest is None or file.oldest is None:
            continue
        oldest, newest = _day(file.oldest), _day(file.newest)
        if newest >= t.logical_date:
            message = f"an event of {newest} in a run of {t.logical_date}"
            yield finding("L16", f"{file.name} event_ts", "newest event", str(newest), f"< {t.logical_date}", message)
        if {f"{oldest:%Y-%m}", f"{newest:%Y-%m}"} != {_stem(file.name)}:
            message = f"events from {oldest} to {newest} in the file of {_stem(file.name)}"
            yield finding("L16", f"{file.name} event_ts", "month", f"{newest:%Y-%m}", _stem(file.name), message)
    for file in t.snapshots:
        days = {str(day) for day in (file.oldest, file.newest)}
        if days != {_stem(file.name)} or _stem(file.name) > str(t.logical_date):
            message = f"snapshot_date {' to '.join(sorted(days))} in a run of {t.logical_date}"
            limit = f"{_stem(file.name)}, <= {t.logical_date}"
            yield finding("L16", f"{file.name} snapshot_date", "snapshot_date", str(file.newest), limit, message)


def no_immature_label(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """L18: a label is null unless its whole window is loaded and the customer has a row at its end."""
    late = pl.col("label_end_date") > t.newest_snapshot
    unripe = t.labels.filter(late | (pl.col("label_status") != "mature"))
    for label in t.tasks:
        filled = unripe[label].len() - unripe[label].null_count()
        if filled:
            message = f"labels of windows that end after {t.newest_snapshot} or of rows that are not mature"
            yield finding("L18", "label_status", "immature labels filled", filled, 0, message, label=label)


def few_absent_customers(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """L19: share of labelled rows without a row at the label date."""
    share = int((t.labels["label_status"] == "absent").sum()) / t.labels.height
    if share > limits.tables.warn_absent_share:
        message = "customers who left before the label date are missing from every rate"
        limit = limits.tables.warn_absent_share
        yield finding("L19", "label_status", "share absent", share, limit, message, verdict="WARN")


def windows_end_at_the_next_stamp(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """L19: every label window ends at the snapshot that follows its cutoff, never across a gap of the panel."""
    stamps = sorted(date.fromisoformat(_stem(file.name)) for file in t.snapshots)
    following = dict(zip(stamps, stamps[1:], strict=False))
    ends = t.labels.filter(pl.col("label_status") == "mature").select("cutoff_date", "label_end_date").unique()
    for cutoff, end in ends.sort("cutoff_date", "label_end_date").iter_rows():
        if following.get(cutoff) != end:
            message = f"the window of cutoff {cutoff} spans a gap or ends between snapshots"
            limit = str(following.get(cutoff, "a snapshot after the cutoff"))
            yield finding("L19", "label_end_date", "end of the window", str(end), limit, message)


def no_panel_jump(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """L20: the number of customers changes slowly from snapshot to snapshot, above all around a train cutoff."""
    limit = limits.tables.warn_panel_jump
    cutoffs = {str(day) for day in t.splits.filter(pl.col("split") == "train")["cutoff_date"].unique()}
    for before, after in zip(t.snapshots, t.snapshots[1:], strict=False):
        change = abs(after.rows - before.rows) / max(before.rows, 1)
        if change > limit:
            beside = sorted({_stem(before.name), _stem(after.name)} & cutoffs)
            message = f"{before.rows} rows before, {after.rows} rows then: a cutoff beside it sees another bank"
            message += f"; train cutoffs within a month: {', '.join(beside) or 'none'}"
            yield finding("L20", after.name, "change of rows", change, limit, message, verdict="WARN")


def _day(moment: date | datetime) -> date:
    return moment.date() if isinstance(moment, datetime) else moment


def _stem(name: str) -> str:
    return name.rsplit("/", 1)[-1].removesuffix(".parquet")

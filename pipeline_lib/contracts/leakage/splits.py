"""Time and customers are split as declared: gap, sides of customers, row order (L02, L07, L15)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from math import sqrt

import numpy as np
import polars as pl

from pipeline_lib.contracts.leakage.frames import TableSet
from pipeline_lib.contracts.leakage.hashing import buckets, customer_hash, split_of
from pipeline_lib.contracts.leakage.statistics import spearman, two_sided_p
from pipeline_lib.contracts.leakage.text import finding
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage

IN_TIME = ("train", "val", "test")
ALSO_ELSEWHERE = ("test_seen", "serve")
"""Slices that repeat customers on purpose: train customers at the test cutoff, and everybody at the newest one."""


def gap_between_splits(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """L07: a split starts at least ``gap_days`` after the last label date of the split before it [d]."""
    starts, ends = (_dates(t.splits, column) for column in ("cutoff_date", "label_date"))
    for split in IN_TIME:
        if not starts[split] or not ends[split]:
            message = "the split has no row with a label date, so no gap can be judged"
            yield finding("L07", split, "rows", 0, "> 0", message, verdict="UNJUDGED")
    for earlier, later in pairwise(split for split in IN_TIME if starts[split] and ends[split]):
        last, first = max(ends[earlier]), min(starts[later])
        if (days := (first - last).days) < t.gap_days:
            message = f"{earlier} labels end {last}, {later} starts {first}"
            yield finding("L07", "cutoff_date", "gap in days", days, f">= {t.gap_days}", message)


def customers_on_one_side(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """L15: a customer is in one split, and (customer, cutoff) once per split."""
    judged = t.splits.filter(~pl.col("split").is_in(ALSO_ELSEWHERE))
    sides = judged.group_by("customer_key").agg(pl.col("split").n_unique().alias("n")).filter(pl.col("n") > 1)
    if len(sides):
        message = "customers in more than one of train, val and test"
        yield finding("L15", "customer_key", "customers on two sides", len(sides), 0, message)
    repeated = t.splits.group_by("customer_key", "cutoff_date").len().filter(pl.col("len") > 1)
    if len(repeated):
        message = "rows with the same customer and cutoff"
        yield finding("L15", "customer_key, cutoff_date", "repeated keys", len(repeated), 0, message)


def split_by_hash(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """L15: bucket and side follow from the salted hash of the customer key, not from rows, files or chance."""
    keys = t.splits.select("customer_key", "bucket", "split").unique()
    own = buckets(t.bucket_salt, keys["customer_key"])
    wrong = sum(a != b for a, b in zip(own, keys["bucket"], strict=True))
    if wrong:
        message = f"bucket differs from the hash of the key with salt {t.bucket_salt!r}"
        yield finding("L15", "bucket", "rows with another bucket", wrong, 0, message)
    side = [split_of(b, t.train_buckets, t.val_buckets) for b in own]
    allowed = {"train": {"train", "test_seen", "serve"}, "val": {"val", "serve"}, "test": {"test", "serve"}}
    strayed = sum(s not in allowed[own_side] for own_side, s in zip(side, keys["split"], strict=True))
    if strayed:
        message = "rows whose split is not the one of their customer's bucket: a split by row, not by customer"
        yield finding("L15", "split", "rows on another side", strayed, 0, message)


def order_by_hash(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """L02: rows lie in the order of the salted hash, so no order of files or ids can reach the splits."""
    keys = t.splits["customer_key"].unique().to_list()
    expected = pl.DataFrame(
        {"customer_key": keys, "expected": [customer_hash(t.order_salt, key) for key in keys]},
        schema_overrides={"customer_key": t.splits.schema["customer_key"], "expected": pl.Int64},
    )
    rows = t.splits.join(expected, on="customer_key", how="left", maintain_order="left")
    wrong = int((rows["shuffle_key"] != rows["expected"]).sum())
    if wrong:
        message = f"shuffle_key differs from the hash of the key with salt {t.order_salt!r}"
        yield finding("L02", "shuffle_key", "rows with another key", wrong, 0, message)
    order = ["expected", "customer_key", "cutoff_date"]
    ordered = rows.sort(order)
    moved = sum(int((rows[name] != ordered[name]).sum()) for name in ("customer_key", "cutoff_date"))
    if moved:
        message = "rows are not in the order (shuffle_key, customer_key, cutoff_date)"
        yield finding("L02", "row order", "rows out of place", moved, 0, message)


def labels_do_not_follow_order(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """L02: |Spearman| of row number and label within one cutoff [0..1], beyond the limit and beyond chance."""
    rows = t.splits.with_row_index("place").filter(pl.col("split") != "serve")
    joined = rows.join(t.labels, on=["customer_key", "cutoff_date"], how="left", maintain_order="left")
    for label in t.tasks:
        for (cutoff,), part in joined.drop_nulls(label).group_by("cutoff_date", maintain_order=True):
            if len(part) < limits.min_rows:
                continue
            limit = max(limits.order.max_rank_correlation, limits.noise_z / sqrt(len(part)))
            r = spearman(part["place"].to_numpy().astype(np.float64), part[label].to_numpy().astype(np.float64))
            if abs(r) > limit:
                message = f"the label follows the row order at cutoff {cutoff} ({len(part)} rows)"
                yield finding("L02", "row number", "|Spearman|", abs(r), limit, message, label=label)


def rates_do_not_differ(t: TableSet, limits: Leakage) -> Iterator[Finding]:
    """L02: at one cutoff, train customers and test customers have the same mean label (two-sided z-test)."""
    joined = t.splits.join(t.labels, on=["customer_key", "cutoff_date"], how="inner")
    seen, unseen = (joined.filter(pl.col("split") == split) for split in ("test_seen", "test"))
    for label, kind in t.tasks.items():
        a, b = (part[label].drop_nulls().cast(pl.Float64).to_numpy() for part in (seen, unseen))
        if min(len(a), len(b)) < limits.min_rows:
            continue
        # The class numbers of a multiclass label have no mean; its rank order stands for the most frequent class.
        if kind == "multiclass":
            values, counts = np.unique(np.concatenate([a, b]), return_counts=True)
            a, b = (part == values[counts.argmax()] for part in (a, b))
        error = sqrt(a.var() / len(a) + b.var() / len(b))
        p = two_sided_p((a.mean() - b.mean()) / error) if error > 0 else float(a.mean() == b.mean())
        if p < limits.order.min_p_value:
            message = f"mean {a.mean():.4f} for train customers, {b.mean():.4f} for test customers at one cutoff"
            yield finding("L02", "split", "p of the z-test", f"{p:.2e}", limits.order.min_p_value, message, label=label)


def _dates(splits: pl.DataFrame, column: str) -> dict[str, list[date]]:
    """Distinct dates of a column in each split."""
    return {s: splits.filter(pl.col("split") == s)[column].drop_nulls().unique().to_list() for s in IN_TIME}

"""Which cutoffs train, validate and test: counted back from the newest mature one, never overlapping.

A cutoff is mature when its label month has a snapshot and events are loaded through it. Between the splits lie
embargoed months, so that no label of an earlier split is younger than the first cutoff of the next.
Source: data.md 7.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from pipeline_lib.errors import ContractError
from pipeline_lib.settings.data import Splits

BUCKETS = 10_000


@dataclass(frozen=True)
class Cutoff:
    split: str
    cutoff_date: date
    label_date: date | None


def plan(
    snapshots: Sequence[date], loaded_through: date, *, step_months: int, train_cutoffs: int, min_history: int
) -> list[Cutoff]:
    """Cutoffs of every split, oldest train cutoff first, ``serve`` last.

    Args:
        snapshots: consecutive month stamps, ascending.
        loaded_through: last day whose events are loaded.
        step_months: snapshots from the newest train cutoff to val, and from val to test.
        train_cutoffs: wanted train cutoffs; those with less history than ``min_history`` snapshots are refused.

    Raises:
        ContractError: not one train cutoff has enough history.
    """
    mature = [i for i in range(len(snapshots) - 1) if snapshots[i + 1] <= loaded_through]
    newest = mature[-1] if mature else -1
    newest_train = newest - 2 * step_months
    train = [i for i in range(newest_train - train_cutoffs + 1, newest_train + 1) if i + 1 >= min_history]
    if not train:
        raise ContractError(
            f"splits: found {len(snapshots)} snapshots and {len(mature)} cutoffs mature through {loaded_through}, "
            f"expected at least {min_history + 2 * step_months + 1} snapshots: {min_history} of history up to a train "
            f"cutoff, {step_months} from there to val, {step_months} to test, and test's label month"
        )
    at = [("train", i) for i in train] + [("val", newest - step_months), ("test", newest), ("test_seen", newest)]
    labelled = [Cutoff(split, snapshots[i], snapshots[i + 1]) for split, i in at]
    return [*labelled, Cutoff("serve", snapshots[-1], None)]


def require_gap(cutoffs: Sequence[Cutoff], gap_days: int) -> int:
    """The smallest gap between neighbouring splits [d].

    Gap = first cutoff of the later split - last label date of the earlier one. Source: data.md 7.1.

    Raises:
        ContractError: a gap is below ``gap_days``.
    """
    found = []
    for earlier, later in (("train", "val"), ("val", "test")):
        last_label = max(c.label_date for c in cutoffs if c.split == earlier and c.label_date)
        first_cutoff = min(c.cutoff_date for c in cutoffs if c.split == later)
        gap = (first_cutoff - last_label).days
        if gap < gap_days:
            raise ContractError(
                f"splits: {later} opens at {first_cutoff}, {gap} days after the last {earlier} label of {last_label}; "
                f"expected a gap of at least {gap_days} days (raise data.splits.step_months)"
            )
        found.append(gap)
    return min(found)


def bucket_ranges(train_buckets: int, val_buckets: int) -> dict[str, tuple[int, int]]:
    """Split -> [first, after) of the 10,000 customer buckets. Source: data.md 7.2."""
    val_end = train_buckets + val_buckets
    return {
        "train": (0, train_buckets),
        "val": (train_buckets, val_end),
        "test": (val_end, BUCKETS),
        "test_seen": (0, train_buckets),
        "serve": (0, BUCKETS),
    }


def plan_frame(cutoffs: Sequence[Cutoff], policy: Splits) -> pl.DataFrame:
    """The plan as the table ``plan`` of ``sql/labels``."""
    ranges = bucket_ranges(policy.train_buckets, policy.val_buckets)
    rows = [(c.split, c.cutoff_date, c.label_date, *ranges[c.split]) for c in cutoffs]
    columns = ["split", "cutoff_date", "label_date", "first_bucket", "after_bucket"]
    types = [pl.String, pl.Date, pl.Date, pl.Int32, pl.Int32]
    return pl.DataFrame(rows, schema=dict(zip(columns, types, strict=True)), orient="row")

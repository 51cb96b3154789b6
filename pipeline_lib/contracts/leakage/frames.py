"""What the leakage checks judge: plain tables and arrays, nothing that could read a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.settings.source import RawColumn

BOOKINGS = {
    "code": pl.String(),
    "customer_made": pl.Boolean(),
    "month": pl.String(),
    "receivers": pl.Int64(),
    "same_day": pl.Int64(),
}
"""Category, whether the source calls it an act of the customer, month, customers with it, those on its busiest day."""
MEASURED = {"num", "prob", "emb", "cyc"}
"""Kinds of columns that hold what a group measured; flags, codes, masks and log copies may be alike for everybody."""
Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FileRange:
    """One partition: what its name says and what it holds."""

    name: str
    rows: int
    oldest: date | datetime | None
    newest: date | datetime | None


@dataclass(frozen=True)
class Recheck:
    """Some rows made a second time in another way; a generator that looks at other rows gives other values."""

    name: str
    """How: ``alone``, ``order``, ``future``, ..."""
    rows: int
    differing: tuple[str, ...]
    """Columns whose values changed."""


@dataclass(frozen=True)
class Match:
    """How well the held products among the features equal those of the snapshots [share of rows]."""

    split: str
    at_cutoff: float
    at_label: float
    """The same for the snapshot at the label date; undefined without one: NaN."""
    moved: float
    """Share of rows whose holdings differ between the two: only these can tell."""


@dataclass(frozen=True)
class TableSet:
    """The tables of a run before features exist."""

    name: str
    logical_date: date
    newest_snapshot: date
    gap_days: int
    bucket_salt: str
    order_salt: str
    train_buckets: int
    val_buckets: int
    splits: pl.DataFrame
    """split_assignment, in the file's row order."""
    labels: pl.DataFrame
    """label_table."""
    tasks: Mapping[str, str]
    """Active task -> binary, multiclass or regression."""
    snapshots: tuple[FileRange, ...]
    """customer_snapshot files and the range of their ``snapshot_date``."""
    events: tuple[FileRange, ...]
    """transaction_event files and the range of their ``event_ts``."""
    read_files: Mapping[str, str]
    """Raw file -> digest of what was read."""
    listed_files: Mapping[str, str]
    """Raw file -> digest in ingest_manifest."""
    outputs: tuple[str, ...]
    """Names of all files that ingest wrote."""
    columns: Mapping[str, tuple[str, ...]]
    """Table -> its columns."""
    declared_rates: Mapping[str, float] = field(default_factory=dict)
    """Label -> rate that the generator's law states for the train cutoffs; empty for a real source."""
    bookings: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=BOOKINGS))
    """Per category: how many of its receivers of a month receive it on one day."""


@dataclass(frozen=True)
class TrainingFrame:
    """Features and labels of the same rows, in the same order."""

    name: str
    keys: pl.DataFrame
    """customer_key, cutoff_date, split, part."""
    raw: Matrix
    """feature_matrix [R, F], NaN = undefined."""
    scaled: Matrix
    """x_norm [R, F]."""
    schema: Mapping[str, Any]
    """schema.json."""
    labels: pl.DataFrame
    """One column per label, null = masked, joined by key [R]."""
    tasks: Mapping[str, str]
    """Active task -> binary, multiclass or regression."""
    asof_gap: npt.NDArray[np.float32]
    """Days from the last day of the sequence to the cutoff [R]."""
    opened: tuple[str, ...]
    """Files the feature stage opened, as ``stage/name``."""
    min_std: float
    clip_z: float
    fit_customers: int
    """Train customers the policy fits on at most."""
    raw_columns: Mapping[str, Mapping[str, RawColumn]] | None = None
    """Raw table -> raw column -> what the source declares of it; None for a generated bank, which has no raw table."""
    rechecks: tuple[Recheck, ...] = ()
    holdings: tuple[Match, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    """Input that the source lacks -> why."""

    @property
    def features(self) -> list[str]:
        return [column["name"] for column in self.schema["columns"]]

    def measured(self, group: Mapping[str, Any]) -> Ints:
        """Places of the columns that hold what a group of the schema measured."""
        places = range(group["start"], group["end"])
        return np.array([i for i in places if self.schema["columns"][i]["kind"] in MEASURED], dtype=np.int64)

    def ancestors(self, column: Mapping[str, Any]) -> list[str]:
        """``table.column`` that a feature descends from, its own and that of the groups its group reads."""
        return sorted({*column["lineage"], *self._behind.get(column["group"], set())})

    @cached_property
    def _behind(self) -> dict[str, set[str]]:
        """Group -> lineage of all columns of the groups it reads, directly or through another one."""
        after = {group["name"]: set(group.get("after", ())) for group in self.schema.get("groups", ())}
        own: dict[str, set[str]] = {}
        for column in self.schema["columns"]:
            own.setdefault(column["group"], set()).update(column["lineage"])
        out = {}
        for name in after:
            seen, todo = set(), list(after[name])
            while todo:
                one = todo.pop()
                if one not in seen:
                    seen.add(one)
                    todo += after.get(one, ())
            out[name] = set().union(*(own.get(one, set()) for one in seen))
        return out

    def rows_of(self, split: str) -> Ints:
        return np.flatnonzero((self.keys["split"] == split).to_numpy())


@dataclass(frozen=True)
class Coverage:
    """What was judged when nothing stopped the run."""

    name: str
    checks: tuple[str, ...]
    labels: tuple[str, ...]
    not_judged: Mapping[str, str]
    """Label, class, rule or table -> why no statistic was computed (inactive tasks, classes too rare)."""
    columns: int
    rows: int
    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Rule -> ids of the catalogue that it speaks for."""
    by_label: tuple[str, ...] = ()
    """Rules that judge the columns against every label; the others judge rows, columns or files once."""
    measures: Mapping[str, Any] = field(default_factory=dict)
    """Statistics below every limit too, for the report: what the rules saw."""

"""What the leakage checks judge: plain tables and arrays, nothing that could read a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

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

    @property
    def features(self) -> list[str]:
        return [column["name"] for column in self.schema["columns"]]

    def rows_of(self, split: str) -> Ints:
        return np.flatnonzero((self.keys["split"] == split).to_numpy())


@dataclass(frozen=True)
class Coverage:
    """What was judged when nothing stopped the run."""

    name: str
    checks: tuple[str, ...]
    labels: tuple[str, ...]
    not_judged: Mapping[str, str]
    """Label or class -> why no statistic was computed (inactive tasks, classes too rare)."""
    columns: int
    rows: int
